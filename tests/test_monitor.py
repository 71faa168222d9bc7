"""``leadscore monitor``: a world that stands still gives no warning, one that moved does, and only what has had its
time is judged.

``LEADSCORE_PROOFS=1`` (``make proofs``) runs ten times as many worlds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.contract import DAY, NEVER, format_time
from features.errors import BadInput
from features.spec import FeatureSet
from features.tables import Tables
from serving.scorer import Scorer
from tests.funnels import at
from tests.live import records
from tests.server import point
from tests.test_verdicts import DAYS, FEATURES, moved
from training import monitor
from training.cli import app
from training.dataset import build
from training.model import Model, fit
from training.monitor import SAID, figures, live_tables, matured, receipts_of, watch

PROOFS = os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0")
CUT = DAYS - 150
SEEDS = range(10 if PROOFS else 1)


def trained(tables: Tables, seed: int = 0) -> Model:
    """A champion that was trained until the cut."""
    return fit(build(tables, FeatureSet(tables.dataset, FEATURES), at(CUT)), seed=seed, folds=0)


def lines(found: dict[str, Any], source: str = "champion") -> dict[int, dict[str, Any]]:
    return {line["days"]: line for line in found["matured"] if line["source"] == source}


def codes(found: dict[str, Any]) -> list[str]:
    return [w["code"] for w in found["warnings"]]


def said(*rows: tuple[str, float, int, float]) -> pd.DataFrame:
    """Rows of (prospect, day, days, probability)."""
    return pd.DataFrame([(i, at(day), days, p) for i, day, days, p in rows], columns=list(SAID))


# -- what has had its time --------------------------------------------------------------------------------------------


def test_only_what_has_had_its_time_and_each_outcome_once() -> None:
    goal_at = {"won": at(50), "at the edge": at(40), "just after": at(40) + 1, "never": NEVER, "before": at(5)}
    found = matured(
        said(
            ("won", 30, 30, 0.5),
            ("won", 40, 30, 0.6),  # the same time once more
            ("won", 1, 29, 0.1),  # and a time that ends before it begins
            ("won", 30, 29, 0.7),  # overlaps with the first
            ("at the edge", 10, 30, 0.2),
            ("just after", 10, 30, 0.2),
            ("never", 70, 30, 0.3),
            ("never", 70.001, 30, 0.3),  # not over yet
            ("before", 10, 30, 0.9),  # had it already
            ("stranger", 10, 30, 0.9),
        ),
        goal_at,
        at(100),
    )
    rows = list(zip(found["prospect_id"], found["as_of"], found["y"], strict=True))
    assert rows == [
        ("at the edge", at(10), 1),
        ("just after", at(10), 0),
        ("never", at(70), 0),
        ("won", at(1), 0),
        ("won", at(30), 1),
    ]


def test_the_figures_are_those_of_a_binomial() -> None:
    found = said(*((f"p{n}", 1, 30, 0.2) for n in range(100))).assign(y=[1] * 35 + [0] * 65)
    told = figures(found)
    assert (told["n"], told["prospects"], told["observed"]) == (100, 100, 35)
    assert told["expected"] == pytest.approx(20)
    assert told["ratio"] == pytest.approx(1.75)
    for end in (told["low"], told["high"]):  # where the distance is 2.33 standard deviations under that very ratio
        assert abs(35 - end * 20) == pytest.approx(2.33 * np.sqrt(end * 100 * 0.2 * 0.8))
    assert told["low"] < 1.75 < told["high"]
    none = figures(found.assign(y=0))
    assert (none["ratio"], none["low"]) == (0, 0)
    assert none["high"] == pytest.approx(2.33**2 * 16 / 20 / 20)
    few = figures(found[:10].assign(y=0))
    assert (few["expected"], few["ratio"]) == (pytest.approx(2), None)


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(1, 8, 400)
    rows = said(*((f"p{n}", 1, 30, chance) for n, chance in enumerate(p)))
    held = [(lambda t: t["low"] <= 1 <= t["high"])(figures(rows.assign(y=rng.random(400) < p))) for _ in range(300)]
    assert 0.95 <= np.mean(held) <= 1.0


# -- worlds -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def still() -> tuple[Tables, Scorer]:
    """A world that stands still, and a champion that was trained until the cut."""
    tables = moved(2_000, 0)
    return tables, trained(tables).scorer


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_that_stands_still_gives_no_warning(seed: int, still: tuple[Tables, Scorer]) -> None:
    tables, scorer = still
    if seed:
        tables = moved(2_000, seed)
        scorer = trained(tables, seed).scorer
    found = watch(tables, scorer)
    assert codes(found) == []
    assert found["trained_until"] == format_time(at(CUT))
    told = lines(found)
    assert set(told) >= {7, 30, 60}
    assert [told[d]["n"] for d in (7, 30, 60)] == sorted((told[d]["n"] for d in (7, 30, 60)), reverse=True)
    assert 0.6 < told[60]["ratio"] < 1.6
    assert told[60]["auc"] > 0.55
    assert (found["rate"]["drift"], found["scores"]["drift"]) == (False, False)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("factor", "side"), [(0.25, -1), (3.0, 1)])
def test_a_rate_that_moved_after_the_training_is_told(factor: float, side: int, still: tuple[Tables, Scorer]) -> None:
    """Until the cut it is the world that stands still, so the champion is the same."""
    tables = moved(2_000, 0, factor, since=CUT)
    found = watch(tables, still[1])
    assert codes(found) == ["outcomes_differ", "drift"]
    assert np.sign(np.log(lines(found)[60]["ratio"])) == side
    assert np.sign(np.log(found["rate"]["ratio"])) == side
    assert "60 days" in found["warnings"][0]["text"]


def test_other_prospects_since_the_training_are_told(still: tuple[Tables, Scorer]) -> None:
    found = watch(moved(2_000, 0, other=CUT), still[1])
    assert "drift" in codes(found)
    assert found["scores"]["drift"]


def test_nothing_is_said_too_early(still: tuple[Tables, Scorer]) -> None:
    tables, scorer = still
    found = watch(tables, scorer, until=at(CUT + 3))
    assert (found["matured"], codes(found)) == ([], ["too_early"])
    # After two weeks, only the first week's curve can be judged.
    assert set(lines(watch(tables, scorer, until=at(CUT + 15)))) == {1, 3, 7}


def test_of_many_prospects_some_are_asked_about(still: tuple[Tables, Scorer], monkeypatch: pytest.MonkeyPatch) -> None:
    tables, scorer = still
    whole = watch(tables, scorer)
    assert whole["asked"]["one_in"] == 1
    assert whole["asked"]["times"] == 21  # weeks in 150 days
    monkeypatch.setattr(monitor, "ROWS", whole["asked"]["rows"] // 3)
    monkeypatch.setattr(monitor, "TIMES", 10)
    part = watch(tables, scorer)
    assert part["asked"]["times"] == 7
    assert part["asked"]["rows"] < whole["asked"]["rows"] / 3
    assert 0 < lines(part)[7]["prospects"] < lines(whole)[7]["prospects"]
    assert lines(part)[7]["low"] < 1 < lines(part)[7]["high"]


def test_the_answers_that_were_given_are_judged_by_themselves(still: tuple[Tables, Scorer]) -> None:
    """Of other versions too, but only the champion's own are warned of."""
    tables, scorer = still
    ids = [f"p{n:05d}" for n in range(2_000)]
    given = pd.concat(
        [
            said(*((i, CUT + 20, 60, 0.9) for i in ids)).assign(version=scorer.version),
            said(*((i, CUT + 20, 60, 0.9) for i in ids)).assign(version="old"),
        ]
    )
    given["stands_for"] = given["prospect_id"]
    found = watch(tables, scorer, receipts=given)
    assert codes(found) == ["outcomes_differ"]
    assert "answers given" in found["warnings"][0]["text"]
    told = [line for line in found["matured"] if line["source"] == "receipts"]
    assert {line["version"] for line in told} == {"old", scorer.version}
    assert told[0]["ratio"] < 0.5
    assert codes(watch(tables, scorer, receipts=given[given["version"] == "old"])) == []
    # Of who was merged since, what became of the other one is what came; twice about one, it counts once.
    merged = given.assign(prospect_id="lead of " + given["prospect_id"])
    again = watch(tables, scorer, receipts=pd.concat([merged, given[given["prospect_id"] < "p01000"]]))
    assert [line for line in again["matured"] if line["source"] == "receipts"] == told


# -- the command ------------------------------------------------------------------------------------------------------


def write_data(tables: Tables, data: Path) -> None:
    data.mkdir()
    (data / "dataset.toml").write_text(
        f'complete_until = "{format_time(tables.until)}"\n[goal]\noutcome = "won"\nhorizon_days = 60\n'
        '[prospects.columns]\norigin = {kind = "category"}\nsize = {kind = "number"}\n'
    )
    for name, columns in (("prospects", ("created_at",)), ("outcomes", ("occurred_at", "recorded_at"))):
        frame = getattr(tables, name).to_pandas()[list(tables.present[name])]
        for column in columns:
            frame[column] = pd.to_datetime(frame[column], unit="us", utc=True)
        frame.to_parquet(data / f"{name}.parquet", index=False)


def run(*args: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, args), "--json"], catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def test_the_command_over_a_data_folder_and_over_the_live_records(tmp_path: Path) -> None:
    tables = moved(1_200, 0)
    home, data = tmp_path / "home", tmp_path / "data"
    write_data(tables, data)
    code, answer = run("monitor", data, "--home", home)
    assert (code, answer["error"]["code"]) == (2, "no_champion")
    digest = trained(tables).write(home / "bundles" / "one")
    point(home, {"won": {"version": "4", "path": "bundles/one", "digest": digest, "run_id": "r"}})
    code, answer = run("monitor", data, "--home", home)
    assert code == 0, answer
    assert (answer["model_version"], answer["until"]) == ("4", format_time(tables.until))
    assert {line["version"] for line in answer["matured"]} == {"4"}
    shown = CliRunner().invoke(app, ["monitor", str(data), "--home", str(home)], catch_exceptions=False)
    assert "champion 4" in shown.stdout
    assert "No receipts are kept here" in shown.stdout
    code, none = run("monitor", "--home", home)
    assert (code, none["error"]["code"]) == (2, "no_data")
    # The same records, loaded into the live store.
    code, loaded = run("load", data, "--home", home)
    assert code == 0, loaded
    code, live = run("monitor", "--home", home)
    assert code == 0, live
    judged = [line for line in live["matured"] if line["source"] == "champion"]
    assert [(m["days"], m["n"], m["expected"], m["observed"]) for m in judged] == [
        (m["days"], m["n"], pytest.approx(m["expected"]), m["observed"]) for m in answer["matured"]
    ]


def test_without_data_and_without_live_records(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        live_tables(tmp_path, "won")
    assert (caught.value.code, "leadscore monitor DATA" in caught.value.remedy) == ("no_data", True)
    assert receipts_of(tmp_path, "won") is None
    assert list(tmp_path.iterdir()) == []


def test_receipts_are_read_from_the_store(tmp_path: Path) -> None:
    from serving.receipts import MODELS, PART, RECEIPTS, STEPS, new_id
    from serving.store import open_store, store_url

    store = open_store(store_url("", tmp_path))
    store.add_part(PART, STEPS)

    def row(subject: str, as_of: int, given: int, **more: Any) -> dict[str, Any]:
        answer = json.dumps({"horizon_days": 30})
        base = {"id": new_id(given), "kind": "prospect", "subject": subject, "goal": "won", "version": "3"}
        base |= {"digest": "d", "as_of": as_of, "language": "en", "probability": 0.25, "answer": answer}
        return {**base, **more}

    now = at(10)
    rows = [
        row("p1", now, now + 5),
        row("in hindsight", now - 30 * DAY, now),
        row("another goal", now, now, goal="renewed"),
        row("an account", now, now, kind="account"),
    ]
    store.write(lambda c: c.execute(RECEIPTS.insert(), rows))
    assert MODELS.name in store.read(lambda c: __import__("sqlalchemy").inspect(c).get_table_names())
    store.close()
    found = receipts_of(tmp_path, "won")
    assert found is not None
    assert found.to_dict("records") == [
        {"prospect_id": "p1", "as_of": now, "days": 30, "probability": 0.25, "version": "3", "stands_for": "p1"}
    ]
    assert receipts_of(tmp_path, "lost") is not None
    live = records(store_url("", tmp_path))
    for name in ("p1", "p2", "p3"):
        live.put("prospects", name, {"created_at": "2024-01-01T00:00:00Z"})
    live.merge("prospects", "p1", {"into": "p2"})
    live.merge("prospects", "p2", {"into": "p3"})
    live.close()
    found = receipts_of(tmp_path, "won")
    assert found is not None
    assert found[["prospect_id", "stands_for"]].to_dict("records") == [{"prospect_id": "p1", "stands_for": "p3"}]
