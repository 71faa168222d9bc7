"""``leadscore dataset``: the training table as a file, enough to rebuild the learning, with a spec that trains."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from features.contract import DAY, NEVER, Dataset, parse_moment
from features.errors import BadInput
from features.spec import Aggregate, FeatureSet
from features.standard import standard_features
from features.tables import known_by, read_tables
from training import export
from training.cli import app
from training.dataset import TrainingSet, build, intervals, labels
from training.goal import edges
from training.run import read_features
from training.simulate import simulate

UNTIL = "2025-11-01"


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "data"
    simulate(prospects=600, days=365, seed=2).write(folder)
    return folder


@pytest.fixture(scope="module")
def expected(data: Path) -> TrainingSet:
    """The rows that a training at UNTIL learns from."""
    tables = known_by(read_tables(data), parse_moment(UNTIL))
    return build(tables, standard_features(tables))


@pytest.fixture(scope="module", params=["parquet", "csv"])
def written(request: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("out") / f"training.{request.param}"
    answer = run("dataset", data, "--out", out, "--until", UNTIL, "--json")
    assert answer.exit_code == 0
    assert {p.name for p in out.parent.iterdir()} == {"training.spec.json", out.name}
    return out, json.loads(answer.stdout)


def read(out: Path) -> pd.DataFrame:
    if out.suffix == ".parquet":
        return pd.read_parquet(out)
    codes = dict.fromkeys(("account_industry", "account_industry_division", "account_headcount_band"), object)
    frame = pd.read_csv(out, float_precision="round_trip", dtype=codes)
    for name in ("as_of", "goal_at"):
        assert frame[name].dropna().str.endswith("Z").all()
        frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True)
    return frame


def micros(times: pd.Series) -> np.ndarray[Any, Any]:
    out = times.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    return np.where(times.isna(), NEVER, out)


def test_the_table_is_what_a_training_learns_from(written: tuple[Path, dict[str, Any]], expected: TrainingSet) -> None:
    out, answer = written
    frame = read(out)
    assert answer["rows"] == len(frame) == len(expected)
    assert answer["columns"] == list(frame.columns)
    assert list(frame.columns) == [*export.BEFORE, *expected.features.names, *export.AFTER]
    assert frame["prospect_id"].tolist() == expected.rows["prospect_id"].tolist()
    assert (micros(frame["as_of"]) == expected.as_of).all()
    np.testing.assert_array_equal(frame["age_days"], expected.rows["age_days"])
    assert frame["account_id"].isna().any()
    for name in expected.features.names:
        have, want = frame[name], expected.values[name]
        assert (have.isna().to_numpy() == want.isna().to_numpy()).all(), name
        if name in expected.features.categories:
            assert have.dropna().tolist() == want.dropna().tolist(), name
        else:
            np.testing.assert_array_equal(have.to_numpy(dtype=float), want.to_numpy(dtype=float), err_msg=name)


def test_the_label_is_null_where_it_is_not_known(written: tuple[Path, dict[str, Any]], expected: TrainingSet) -> None:
    frame = read(written[0])
    y, observed = labels(expected)
    assert (micros(frame["goal_at"]) == expected.goal_at).all()
    assert (frame["converted"].notna().to_numpy() == observed).all()
    assert frame["converted"].dropna().astype(int).tolist() == y[observed].tolist()
    assert 0 < y[observed].sum() < observed.sum() < len(frame)
    early = frame["goal_at"].notna() & frame["converted"].isna()
    assert early.any()  # the goal has come, the horizon is not over
    assert frame["horizon_days"].tolist() == expected.horizons().tolist()  # by regime, given or inferred
    assert frame["horizon_days"].nunique() == 3  # each has its own
    assert written[1]["labelled"] == observed.sum()


def test_the_pooled_hazard_follows_from_the_table_alone(
    written: tuple[Path, dict[str, Any]], expected: TrainingSet
) -> None:
    frame, answer = read(written[0]), written[1]
    as_of, goal_at = micros(frame["as_of"]), micros(frame["goal_at"])
    found = []
    for k, (a, b) in enumerate(pairwise(answer["edges"])):
        at_risk = (goal_at > as_of + a * DAY) & (b <= frame["observed_days"].to_numpy())
        found += [(i, k, int(goal_at[i] <= as_of[i] + b * DAY)) for i in np.flatnonzero(at_risk)]
    row, k, y = intervals(expected, edges(expected.goal))
    assert sorted(found) == sorted(zip(row.tolist(), k.tolist(), y.tolist(), strict=True))
    assert y.sum() > 0


def test_its_spec_is_the_feature_set(written: tuple[Path, dict[str, Any]], data: Path, expected: TrainingSet) -> None:
    spec = export.spec_path(written[0])
    assert written[1]["spec"] == str(spec)
    assert read_features(spec, read_tables(data).dataset).features == expected.features.features
    assert FeatureSet.from_json(json.loads(spec.read_text())) == expected.features


def test_its_spec_trains(data: Path, expected: TrainingSet, tmp_path: Path) -> None:
    """A spec changed by hand makes another table, whose own spec trains a model on just those features."""
    mine = (*expected.features.features[:6], Aggregate("count", "call", 9))
    names = (*expected.features.names[:6], "call_count_9d")
    spec = tmp_path / "mine.json"
    spec.write_text(json.dumps(FeatureSet(expected.features.dataset, mine).to_json()))
    out = tmp_path / "training.csv"
    answer = run("dataset", data, "--out", out, "--until", UNTIL, "--features", spec, "--json")
    assert json.loads(answer.stdout)["features"] == list(names)

    home = tmp_path / "home"
    spec = tmp_path / "training.spec.json"
    trained = run("train", data, "--until", UNTIL, "--features", spec, "--home", home, "--json")
    assert trained.exit_code == 0, trained.output
    goal = json.loads((home / "champion.json").read_text())["goals"]["won"]
    fitted = FeatureSet.from_json(json.loads((home / goal["path"] / "spec.json").read_text()))
    assert fitted.features == mine
    assert fitted.names == names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("training.txt", "neither"),
        ("training", "neither"),
        ("nowhere/training.csv", "no folder"),
        ("data/training.csv", "among the tables"),
        ("a_folder.csv", "is a folder"),
        ("taken.parquet", "is a folder"),
    ],
)
def test_a_bad_place_is_refused_before_the_work(data: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "a_folder.csv").mkdir()
    (tmp_path / "taken.spec.json").mkdir()
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    found = run("dataset", data, "--out", tmp_path / name, "--json")
    assert found.exit_code == 2
    error = json.loads(found.stdout)["error"]
    assert error["code"] == "bad_output"
    assert said in error["message"]
    assert "building" not in found.stderr
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_what_cannot_be_written_leaves_what_was_there(
    expected: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "training.csv"
    out.write_text("mine")

    def full(self: pd.DataFrame, path: Path, **_: Any) -> None:
        path.write_text("half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(export.BadInput, match="No space left"):
        export.write_training_table(expected, out)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("training.csv", "mine")]


def test_a_feature_may_not_take_the_name_of_the_label(tmp_path: Path) -> None:
    simulate(prospects=120, days=200, seed=1).write(tmp_path / "data")
    prospects = pd.read_parquet(tmp_path / "data" / "prospects.parquet")
    prospects.rename(columns={"campaign": "converted"}).to_parquet(tmp_path / "data" / "prospects.parquet")
    declaration = tmp_path / "data" / "dataset.toml"
    declaration.write_text(declaration.read_text().replace("campaign", "converted"))
    found = run("dataset", tmp_path / "data", "--out", tmp_path / "x.csv", "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["code"] == "name_taken"
    assert not (tmp_path / "x.csv").exists()


def test_a_feature_spec_of_another_format_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "spec.json"
    old.write_text(json.dumps({"format": 1, "features": [{"kind": "aggregate", "operation": "count"}]}))
    with pytest.raises(BadInput) as refused:
        read_features(old, Dataset())
    assert (refused.value.code, refused.value.where) == ("spec_format", str(old))
