"""A bundle is written whole, read only as it was written, and tried where a crash does no harm."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fixtures_bundle import (
    ACCOUNT,
    COMMITTEE,
    GOAL,
    SPEC,
    make_records,
    make_request,
    parts,
    request_records,
    training_rows,
    write_format_1,
)

from features import spec
from features.errors import BadBundle, BadInput, LeadscoreError
from features.spec import feature_to_json
from serving.bundle import (
    FILES,
    FORMAT,
    MANIFEST,
    check_bundle,
    make_bundle,
    read_bundle,
    score_example,
    write_bundle,
)
from serving.champion import read_pointer
from serving.scorer import Scorer

ROOT = Path(__file__).resolve().parents[1]
ALL = (*FILES, MANIFEST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", **parts())
    return tmp_path / "bundle"


def resign(folder: Path) -> str:
    """Make the manifest agree with the files again, as a forger would; returns the new digest."""
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}))
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    resign(folder)


def refused(folder: Path, name: str, expected: str | None = None) -> BadBundle:
    with pytest.raises(BadBundle) as caught:
        read_bundle(folder, expected)
    assert caught.value.where == str(folder / name)
    assert caught.value.message
    assert caught.value.remedy
    return caught.value


# ------------------------------------------------------------------------------------------------ writing


def test_equal_content_gives_equal_bytes_and_the_digest_of_the_manifest(tmp_path: Path) -> None:
    made = parts()
    first = write_bundle(tmp_path / "a", **made)
    made["constants"] = dict(reversed(made["constants"].items()))
    second = write_bundle(tmp_path / "b", **made)
    assert first == second == hashlib.sha256((tmp_path / "a" / MANIFEST).read_bytes()).hexdigest()
    assert first == make_bundle(**made).digest
    for name in ALL:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(os.listdir(tmp_path / "a")) == sorted(ALL)


def test_a_reloaded_bundle_scores_with_identical_bits(folder: Path) -> None:
    made, loaded = Scorer(make_bundle(**parts()), "7"), Scorer(read_bundle(folder), "7")
    for seed in range(40):
        assert made.score(*make_records(seed)) == loaded.score(*make_records(seed))
    rows, regimes = training_rows()
    assert made.score_rows(rows[:200], regimes[:200], 5) == loaded.score_rows(rows[:200], regimes[:200], 5)


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    bundle, made = read_bundle(folder), parts()
    assert bundle.features.features == SPEC.features
    assert bundle.features.fingerprint == SPEC.fingerprint
    assert bundle.model_text == made["model_text"]
    assert bundle.constants.goal == GOAL
    assert list(bundle.constants.starting_score) == made["constants"]["starting_score"]
    assert bundle.constants.grade_cuts == (0.4, 0.2, 0.1)
    assert {role: usual._asdict() for role, usual in bundle.constants.committee.items()} == COMMITTEE
    assert bundle.constants.account._asdict() == ACCOUNT
    assert list(bundle.reference["mass"]) == made["reference"]["by_regime"]["mass"]
    assert bundle.card["example"] == made["card"]["example"]


def test_a_place_that_is_taken_is_left_alone(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ALL}
    with pytest.raises(BadInput) as caught:
        write_bundle(folder, **parts(grade_cuts={"A": 0.3, "B": 0.2, "C": 0.1}))
    assert caught.value.code == "bundle_exists"
    assert {name: (folder / name).read_bytes() for name in ALL} == before


@pytest.mark.parametrize(
    "change",
    [
        {"grade_cuts": {"A": 0.1, "B": 0.2, "C": 0.3}},
        {"starting_score": [float("nan")] * 7},
        {"starting_score": [object()] * 7},
    ],
)
def test_what_would_not_be_read_is_not_written(tmp_path: Path, change: dict[str, Any]) -> None:
    good = parts()
    good["constants"].update(change)
    with pytest.raises(BadBundle) as caught:
        write_bundle(tmp_path / "bundle", **good)
    assert "constants.json" in caught.value.where
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    made = parts()
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bundle(tmp_path / "bundle", **made)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("name", ALL)
def test_a_flipped_byte_is_refused_wherever_it_is(folder: Path, name: str) -> None:
    digest = read_bundle(folder).digest
    content = (folder / name).read_bytes()
    for at in {0, 1, len(content) // 3, len(content) // 2, len(content) - 2, len(content) - 1}:
        for bit in (0, 5):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            (folder / name).write_bytes(damaged)
            error = refused(folder, name, digest)
            assert error.code == ("bundle_digest" if name == MANIFEST else "bundle_damaged")
    (folder / name).write_bytes(content)
    assert read_bundle(folder, digest).digest == digest


@pytest.mark.parametrize("name", ALL)
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    digest = read_bundle(folder).digest
    content = (folder / name).read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        (folder / name).write_bytes(content[:length])
        refused(folder, name, digest)


@pytest.mark.parametrize("length", [0, 1, 0.5])
def test_a_truncated_manifest_is_refused_without_a_digest_too(folder: Path, length: float) -> None:
    content = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(content[: int(length) or int(length * len(content))])
    assert refused(folder, MANIFEST).code == "bundle_malformed"


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder, name).code == "bundle_incomplete"


@pytest.mark.parametrize("name", ["model.pkl", ".hidden", "__pycache__"])
def test_an_extra_file_is_refused(folder: Path, name: str) -> None:
    if name.startswith("__"):
        (folder / name).mkdir()
    else:
        (folder / name).write_text("x")
    assert refused(folder, name).code == "bundle_extra_file"


def test_a_manifest_that_lists_other_files_is_refused(folder: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    (folder / "more.txt").write_text("x")
    data["files"]["more.txt"] = hashlib.sha256(b"x").hexdigest()
    (folder / MANIFEST).write_text(json.dumps(data))
    assert refused(folder, MANIFEST).code == "bundle_malformed"


def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / "model.txt").unlink()
    (folder / "model.txt").mkdir()
    assert refused(folder, "model.txt").code == "bundle_unreadable"


@contextmanager
def pipe(path: Path) -> Iterator[None]:
    """A pipe that ends after some seconds, so that a reader who waits for it fails and does not hang."""
    os.mkfifo(path)
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    timer = threading.Timer(5, os.close, [handle])
    timer.start()
    try:
        yield
    finally:
        if timer.is_alive():
            timer.cancel()
            os.close(handle)


@pytest.mark.parametrize("name", ALL)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pipe(folder / name):
        error = refused(folder, name)
    assert error.code == "bundle_unreadable"
    assert "pipe" in error.message


@pytest.mark.parametrize("name", ALL)
def test_a_link_in_the_place_of_a_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """Even one to the right content: that may change without a bundle's being written."""
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    error = refused(folder, name)
    assert error.code == "bundle_unreadable"
    assert "link" in error.message


def test_the_way_out_of_damage_names_promote(folder: Path) -> None:
    (folder / "model.txt").write_text("tree")
    assert "leadscore promote" in refused(folder, "model.txt").remedy
    (folder / "model.txt").unlink()
    assert "leadscore promote" in refused(folder, "model.txt").remedy
    with pytest.raises(BadBundle) as caught:
        read_bundle(folder / "nothing")
    assert "leadscore promote" in caught.value.remedy


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadBundle) as caught:
        read_bundle(tmp_path / "nothing")
    assert caught.value.code == "bundle_missing"


def test_a_forged_bundle_is_caught_by_the_expected_digest(folder: Path) -> None:
    digest = read_bundle(folder).digest
    edit(folder, "constants.json", lambda d: d["grade_cuts"].update(C=0.05))
    assert read_bundle(folder).constants.grade_cuts[-1] == 0.05  # it agrees with itself
    assert refused(folder, MANIFEST, digest).code == "bundle_digest"


@pytest.mark.parametrize("name", ["constants.json", "card.json", "reference.json", MANIFEST])
@pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1, str(FORMAT), None, True])
def test_another_format_is_refused(folder: Path, name: str, version: Any) -> None:
    if name == MANIFEST:
        data = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**data, "format": version}))
    else:
        edit(folder, name, lambda d: d.update(format=version))
    assert refused(folder, name).code == "bundle_format"


@pytest.mark.parametrize("version", [spec.FORMAT - 1, spec.FORMAT + 1, str(spec.FORMAT), None])
def test_another_format_of_the_spec_is_refused(folder: Path, version: Any) -> None:
    edit(folder, "spec.json", lambda d: d.update(format=version))
    assert refused(folder, "spec.json").code == "spec_format"


def test_a_bundle_of_format_1_is_refused_with_its_version_and_the_way_out(tmp_path: Path) -> None:
    """Whole and signed as its own version left it; nothing in it is read as if it were of today's format."""
    folder = tmp_path / "old"
    digest = write_format_1(folder)
    error = refused(folder, MANIFEST, digest)
    assert error.code == "bundle_format"
    assert "format 1, which an earlier version of leadscore wrote" in error.message
    assert f"reads format {FORMAT}" in error.message
    assert "Train again" in error.remedy
    assert "the version that trained it" in error.remedy
    with pytest.raises(BadBundle) as caught:
        check_bundle(folder, digest)
    assert caught.value.code == "bundle_format"
    # Signed anew as today's, what it lacks is still told.
    for name in ("constants.json", "card.json", "reference.json"):
        edit(folder, name, lambda d: d.update(format=FORMAT))
    edit(folder, "spec.json", lambda d: d.update(format=spec.FORMAT))
    assert "committee" in refused(folder, "constants.json").message


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": NaN}', '{"format": 1, "x": Infinity}', "[" * 100_000, "\xff"]
)
def test_what_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    for name in ("spec.json", "constants.json", "card.json", "reference.json"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(text.encode("latin-1"))
        resign(folder)
        assert refused(folder, name).code == "bundle_malformed"
        (folder / name).write_bytes(before)


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *keys, value = path

    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


def _drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return change


BROKEN: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("constants.json", _drop("goal"), "goal"),
    ("constants.json", _set("goal", "horizon_days", 80), "edges"),
    ("constants.json", _set("goal", "horizon_days", "soon"), "horizon"),
    ("constants.json", _set("edges", [0, 3, 1, 7, 14, 30, 60, 90]), "edges"),
    ("constants.json", _set("edges", [1, 2, 3, 7, 14, 30, 60, 90]), "edges"),
    ("constants.json", _set("edges", [0, 1, 2.5, 7, 14, 30, 60, 90]), "edges"),
    ("constants.json", _set("starting_score", [0.0] * 6), "starting_score"),
    ("constants.json", _set("starting_score", ["0"] * 7), "starting_score"),
    ("constants.json", _drop("categories", "origin"), "categories"),
    ("constants.json", _set("categories", "budget", []), "categories"),
    ("constants.json", _set("categories", "origin", ["b", "a"]), "categories.origin"),
    ("constants.json", _set("categories", "origin", ["a", "a"]), "categories.origin"),
    ("constants.json", _set("has_other", ["budget"]), "has_other"),
    ("constants.json", _set("rare", "origin", "leaflet"), "origin"),
    ("constants.json", _set("calibration", "slope", 0), "slope"),
    ("constants.json", _set("calibration", "slope", True), "slope"),
    ("constants.json", _drop("calibration", "intercept"), "intercept"),
    ("constants.json", _set("interval", "level", 1), "level"),
    ("constants.json", _set("interval", "logit", []), "logit"),
    ("constants.json", _set("interval", "logit", [0, 0, 1]), "logit"),
    ("constants.json", _set("interval", "low", [0.1, -0.1, 0.1]), "low"),
    ("constants.json", _set("interval", "high", [0.1]), "low"),
    ("constants.json", _drop("grade_cuts", "B"), "B"),
    ("constants.json", _set("grade_cuts", "A", 1.5), "grade_cuts"),
    ("constants.json", _set("grade_cuts", "E", 0.0), "grade_cuts"),
    ("constants.json", _drop("committee"), "committee"),
    ("constants.json", _set("committee", []), "committee"),
    ("constants.json", _set("committee", "chief", {"type": "call", "channel": None}), "committee"),
    ("constants.json", _set("committee", "buyer", "call"), "committee.buyer"),
    ("constants.json", _set("committee", "buyer", {"type": "call"}), "committee.buyer"),
    ("constants.json", _set("committee", "buyer", {"type": "", "channel": None}), "committee.buyer"),
    ("constants.json", _set("committee", "buyer", {"type": None, "channel": None}), "committee.buyer"),
    ("constants.json", _set("committee", "buyer", {"type": "call", "channel": 3}), "committee.buyer"),
    ("constants.json", _set("committee", "buyer", {"type": "call", "channel": None, "value": 1}), "committee.buyer"),
    ("constants.json", _drop("account"), "account"),
    ("constants.json", _drop("account", "intercept"), "intercept"),
    ("constants.json", _drop("account", "size"), "size"),
    ("constants.json", _set("account", "size", "1"), "size"),
    ("constants.json", _set("account", "naive", 0), "account.naive"),
    ("constants.json", _set("account", "naive", -1.0), "account.naive"),
    ("constants.json", _set("account", "error", -0.1), "account.error"),
    ("reference.json", _drop("by_regime", ""), "by_regime"),
    ("reference.json", _set("by_regime", "mass", []), "mass"),
    ("reference.json", _set("by_regime", "mass", [0.2, 0.1]), "mass"),
    ("reference.json", _set("by_regime", "mass", [0.2, 1.1]), "mass"),
    ("card.json", _drop("example"), "example"),
    ("card.json", _drop("example", "request", "as_of"), "as_of"),
    ("card.json", _set("example", "probability", 2), "probability"),
    ("card.json", _set("warnings", [{"code": "x"}]), "warnings"),
    ("spec.json", _drop("features"), "features"),
    ("spec.json", _set("features", []), "feature"),
    ("spec.json", _set("features", [{"kind": "python", "code": "1"}]), "kind"),
]


@pytest.mark.parametrize(("name", "change", "word"), BROKEN)
def test_content_that_is_not_as_agreed_is_refused(
    folder: Path, name: str, change: Callable[[dict[str, Any]], None], word: str
) -> None:
    edit(folder, name, change)
    assert word in refused(folder, name).message


def test_infinite_numbers_in_json_are_refused(folder: Path) -> None:
    text = (folder / "constants.json").read_text()
    assert "-4.5," in text
    (folder / "constants.json").write_text(text.replace("-4.5,", "1e999,", 1))
    resign(folder)
    assert "finite" in refused(folder, "constants.json").message


def test_a_hindsight_column_in_the_spec_is_refused(folder: Path) -> None:
    edit(folder, "spec.json", lambda d: d["dataset"]["prospects"]["columns"]["origin"].update(known="never"))
    assert refused(folder, "spec.json").code == "hindsight_column"


def test_reading_a_bundle_never_loads_lightgbm(folder: Path) -> None:
    code = (
        "import sys; from serving.bundle import read_bundle; read_bundle(sys.argv[1])\n"
        "loaded = {'lightgbm', 'pandas', 'sklearn', 'mlflow', 'ibis', 'duckdb'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)


# ------------------------------------------------------------------------------------------------ the child process


def test_a_good_bundle_passes_the_check(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a stray module was imported')")
    monkeypatch.chdir(tmp_path)  # what lies in the working folder must not matter
    bundle = check_bundle("bundle", read_bundle(folder).digest)
    assert bundle == read_bundle("bundle")
    assert score_example(bundle) == bundle.card["example"]["probability"]


def test_the_example_is_the_request_that_the_tests_read_by_hand(folder: Path) -> None:
    records, t = request_records()
    assert Scorer(read_bundle(folder), "1").score(records, t).probability == score_example(read_bundle(folder))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.6])
def test_a_truncated_model_of_a_forged_bundle_is_refused_and_we_live(folder: Path, share: float) -> None:
    # The manifest agrees with the truncated model, so that only trying it can tell: LightGBM refuses the first and
    # ends the process on the others.
    text = (folder / "model.txt").read_text()
    (folder / "model.txt").write_text(text[: int(len(text) * share)])
    resign(folder)
    read_bundle(folder)
    with pytest.raises(BadBundle) as caught:
        check_bundle(folder)
    if share == 0.0:
        assert caught.value.code == "bad_model"
        assert caught.value.where == str(folder / "model.txt")
    elif share == 0.02:
        assert caught.value.code == "bundle_crashes"
        assert "SIG" in caught.value.message
        assert caught.value.where == str(folder / "model.txt")
    else:  # whether memory beyond the text is touched or other trees are read is not ours to say
        assert caught.value.code in ("bundle_crashes", "bad_model", "bundle_example")


def test_an_example_that_scores_otherwise_is_refused(folder: Path) -> None:
    edit(folder, "card.json", lambda d: d["example"].update(probability=d["example"]["probability"] + 2e-9))
    with pytest.raises(BadBundle) as caught:
        check_bundle(folder)
    assert caught.value.code == "bundle_example"
    assert caught.value.where == str(folder / "card.json")


def test_an_example_that_is_no_request_is_refused(folder: Path) -> None:
    edit(folder, "card.json", lambda d: d["example"]["request"]["prospect"].pop("created_at"))
    with pytest.raises(BadBundle) as caught:
        check_bundle(folder)
    assert "card.json" in caught.value.where
    assert "example" in caught.value.where


def test_a_model_of_other_columns_is_refused(folder: Path) -> None:
    edit(
        folder,
        "spec.json",
        lambda d: d["features"].append(feature_to_json(SPEC.features[2]) | {"column": "revenue", "table": "accounts"}),
    )
    with pytest.raises(BadBundle) as caught:
        check_bundle(folder)
    assert caught.value.code == "bad_model"


def test_a_check_that_takes_too_long_is_ended(folder: Path) -> None:
    with pytest.raises(BadBundle) as caught:
        check_bundle(folder, timeout=0.02)
    assert caught.value.code == "bundle_timeout"


# ------------------------------------------------------------------------------------------------ MLflow


def test_the_bundle_logged_as_a_pyfunc_gives_the_same_answers(folder: Path, tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    model_path = tmp_path / "model"
    mlflow.pyfunc.save_model(model_path, loader_module="serving.pyfunc", data_path=str(folder))
    model = mlflow.pyfunc.load_model(str(model_path))
    bad = make_request()
    del bad["prospect"]["created_at"]
    other = {**make_request(), "goal": "renewed"}
    early = {**make_request(), "as_of": "2026-02-01T00:00:00Z"}
    bodies = [json.dumps(make_request()), json.dumps(bad), "{", json.dumps(other), json.dumps(early)]
    frame = model.predict(pd.DataFrame({"request": bodies}, index=[10, 11, 12, 13, 14]))
    bundle = read_bundle(folder)
    wanted = Scorer(bundle, bundle.digest[:12]).score(*request_records()).to_json()
    assert {field: frame.loc[10, field] for field in wanted} == wanted
    assert list(frame.columns) == [*wanted, "error"]
    assert frame.loc[10, "error"] is None
    errors = frame["error"].iloc[1:].tolist()
    assert all(e["code"] and e["message"] for e in errors)
    assert [e["code"] for e in errors[2:]] == ["unknown_goal", "as_of_before_creation"]
    assert frame["probability"].isna().tolist() == [False, True, True, True, True]
    with pytest.raises(BadInput, match="column"):
        model.predict(pd.DataFrame({"body": bodies}))


# ------------------------------------------------------------------------------------------------ the pointer


def with_history(*steps: Any, path: str = "bundles/7") -> str:
    entry = {"version": "7", "path": path, "digest": "ab", "run_id": "r"}
    return json.dumps({"format": 1, "default": "won", "goals": {"won": entry}, "history": steps})


STEP = {"goal": "won", "action": "promote", "reason": "", "version": "7", "path": "x", "digest": "y", "run_id": "r"}


def test_no_pointer_is_no_champion(tmp_path: Path) -> None:
    assert read_pointer(tmp_path) is None


def test_the_pointer_is_read(tmp_path: Path) -> None:
    entry = {"version": "7", "path": "bundles/7", "digest": "ab", "run_id": "r"}
    pointer = {"format": 1, "default": "won", "goals": {"won": entry}, "history": []}
    (tmp_path / "champion.json").write_text(json.dumps(pointer))
    assert read_pointer(tmp_path) == pointer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 2, "default": "won", "goals": {}, "history": []}',
        '{"format": 1, "default": "won", "goals": {}, "history": []}',
        '{"format": 1, "default": "won", "goals": {"won": {"version": 7, "path": "x", "digest": "y"}}, "history": []}',
        '{"format": 1, "default": "won", "goals": {"won": {"version": "7", "path": "x"}}, "history": []}',
        '{"format": 1, "default": "won", "goals": {"won": {"version": "7", "path": "x", "digest": "y"}}}',
        '{"format": 1, "default": [], "goals": {"won": {"version": "7", "path": "x", "digest": "y"}}, "history": []}',
        with_history({}),
        with_history("promote"),
        with_history({k: v for k, v in STEP.items() if k != "run_id"}),
        with_history({**STEP, "action": "forget"}),
        with_history({**STEP, "action": "rollback"}),
        with_history({**STEP, "path": "../x"}),
        with_history(path="../x"),
        with_history(path="bundles/../../x"),
        with_history(path="/x"),
        with_history(path=""),
    ],
)
def test_a_damaged_pointer_is_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "champion.json").write_text(text)
    with pytest.raises(LeadscoreError) as caught:
        read_pointer(tmp_path)
    assert caught.value.code == "bad_pointer"
    assert "promote" in caught.value.remedy.lower()


def test_a_history_of_promotions_and_rollbacks_is_read(tmp_path: Path) -> None:
    (tmp_path / "champion.json").write_text(with_history(STEP, {**STEP, "action": "rollback", "from": "8"}))
    pointer = read_pointer(tmp_path)
    assert pointer is not None
    assert len(pointer["history"]) == 2


def test_a_pipe_in_the_place_of_the_pointer_is_not_waited_for(tmp_path: Path) -> None:
    with pipe(tmp_path / "champion.json"), pytest.raises(LeadscoreError, match="not a file") as caught:
        read_pointer(tmp_path)
    assert caught.value.code == "bad_pointer"


@pytest.mark.parametrize("below", ["", "below"])
def test_a_home_that_is_a_file_is_refused(tmp_path: Path, below: str) -> None:
    home = tmp_path / "home"
    home.write_text("")
    with pytest.raises(BadInput, match="file") as caught:
        read_pointer(home / below)
    assert (caught.value.code, caught.value.where, caught.value.exit_code) == ("bad_home", str(home / below), 2)
