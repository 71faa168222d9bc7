"""Effort apart from interest: what of a model's gain rests on outbound events, and the model without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.contract import Column, Dataset, Goal
from features.errors import BadInput
from features.spec import Aggregate, Attribute, Expression, FeatureSet
from features.standard import family, standard_features
from features.tables import Tables, tables_from_frames
from tests.funnels import at, planted, times
from training.cli import app
from training.effort import compare, has_outbound, rests_on_effort, without_effort, words
from training.evaluate import Evaluation, evaluate_forward
from training.registry import Home
from training.run import train

GOAL = Goal(horizons=(("", 30),))
MADE = (Attribute("prospects", "origin"), Expression("age", (Attribute("prospects", "created_at"),)))
CALLS = Aggregate("count", "call", direction="outbound")


def sold(count: int = 900, seed: int = 0, *, follows: bool = True, days: float = 200) -> Tables:
    """Prospects of a hidden worth that drives wins; sales sees it and calls the worthy ones on the first day.

    ``follows``: calls follow the worth, so that they foretell wins without causing any; else they are random. Visits
    are inbound, and rise with ``origin``, which tells a little.
    """
    rng = np.random.default_rng(seed)
    created = np.sort(rng.uniform(0, days, count))
    worth = rng.normal(size=count)
    origin = np.where(rng.random(count) < 0.5, "good", "poor")
    rate = 0.006 * np.exp(1.1 * worth + 0.4 * (origin == "good"))
    won = created + rng.exponential(1 / rate)
    ids = np.array([f"p{i:05d}" for i in range(count)])
    called = rng.random(count) < (1 / (1 + np.exp(-2.5 * worth)) if follows else 0.5)
    visits = rng.random(count) < 0.5
    events = pd.DataFrame(
        {
            "prospect_id": np.concatenate([ids[called], ids[visits]]),
            "type": ["call"] * int(called.sum()) + ["visit"] * int(visits.sum()),
            "direction": ["outbound"] * int(called.sum()) + ["inbound"] * int(visits.sum()),
            "occurred_at": times(np.concatenate([created[called], created[visits]]) + 1e-4),
        }
    )
    events["event_id"] = [f"e{i}" for i in range(len(events))]
    here = won < days
    frames = {
        "prospects": pd.DataFrame({"prospect_id": ids, "created_at": times(created), "origin": origin}),
        "events": events,
        "outcomes": pd.DataFrame({"prospect_id": ids[here], "outcome": "won", "occurred_at": times(won[here])}),
    }
    declared = (("prospects", (Column("origin", "category"),)),)
    return tables_from_frames(frames, Dataset(complete_until=at(days), goal=GOAL, declared=declared))


def last_cut(tables: Tables, features: FeatureSet) -> Evaluation:
    return evaluate_forward(tables, features, at(110), at(165), resamples=0)


@pytest.mark.parametrize("follows", [True, False])
def test_it_tells_what_rests_on_calls_that_follow_belief(follows: bool) -> None:
    tables = sold(follows=follows)
    features = FeatureSet(tables.dataset, (*MADE, CALLS))
    mine = last_cut(tables, features)
    found = rests_on_effort(tables, features, features, mine)
    assert found is not None
    low, high = found["gain_lost_interval"]
    assert low <= found["gain_lost"] <= high
    assert found["with"]["features"] == 1 + found["without"]["features"]
    difference = found["with"]["log_loss_gain"] - found["without"]["log_loss_gain"]
    assert found["gain_lost"] == pytest.approx(difference, abs=2e-3)
    if follows:
        assert low > 0
        assert found["share"] > 0.4
        assert found["lift_lost"] > 0
        assert found["lift_lost_interval"][0] < found["lift_lost"] < found["lift_lost_interval"][1]
        assert "of the gain over a constant rests on outbound effort" in found["text"]
    else:
        assert low < 0 < high or high < 0
        assert "rests on outbound effort: of" not in found["text"]


def test_without_effort_no_feature_counts_an_outbound_event() -> None:
    tables = sold()
    assert "effort" in {family(f) for f in standard_features(tables).features}
    bare = without_effort(tables, None)
    assert "effort" not in {family(f) for f in bare.features}
    assert not any("call" in name for name in bare.names)
    given = FeatureSet(tables.dataset, (*MADE, CALLS))
    assert without_effort(tables, given).names == FeatureSet(tables.dataset, MADE).names


def test_where_nothing_is_outbound_nothing_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = planted(300, seed=1)
    assert not has_outbound(quiet)
    tables = sold(300)
    assert has_outbound(tables)
    events = tables.events
    assert events is not None
    assert not has_outbound(replace(tables, events=events.filter(events.direction == "inbound")))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("fitted")

    features = FeatureSet(tables.dataset, MADE)  # counts no event at all
    mine = last_cut(tables, features)
    monkeypatch.setattr("training.evaluate.evaluate_forward", never)
    assert rests_on_effort(tables, features, features, mine) is None
    assert rests_on_effort(quiet, None, features, mine) is None


def test_a_window_of_a_few_says_that_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = sold(300)
    features = FeatureSet(tables.dataset, (*MADE, CALLS))
    mine = last_cut(tables, features)
    few = mine.rows[mine.rows["prospect_id"].isin(mine.rows["prospect_id"].unique()[:5])]
    nobody = mine.rows.assign(y=0)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("fitted")

    monkeypatch.setattr("training.evaluate.evaluate_forward", never)
    for rows in (few, nobody):
        found = rests_on_effort(tables, features, features, replace(mine, rows=rows))
        assert found is not None
        assert "cannot be told" in found["text"]
        assert "at least 20 and 5 are needed" in found["text"]
        assert "gain_lost_interval" not in found


def test_the_same_rows_are_asked_for() -> None:
    tables = sold(300)
    features = FeatureSet(tables.dataset, MADE)
    mine = last_cut(tables, features)
    other = evaluate_forward(tables, features, at(100), at(165), resamples=0)
    with pytest.raises(ValueError, match="same rows"):
        compare(mine, other)
    same = compare(mine, mine)
    assert same["gain_lost"] == 0
    assert same["lift_lost"] == 0


def test_the_words_say_what_can_be_told() -> None:
    base = {
        "cut": "2025-10-03T00:00:00Z",
        "rows": 1812,
        "with": {"log_loss_gain": 0.05, "lift_top_tenth": 3.0},
        "without": {"log_loss_gain": 0.03, "lift_top_tenth": 2.5},
        "gain_lost": 0.02,
        "gain_lost_interval": [0.01, 0.03],
        "lift_lost": 0.5,
        "lift_lost_interval": [0.1, 0.9],
    }
    window = "In the last window (from 2025-10-03, 1,812 landmarks), "
    assert words(base).startswith(window + "40 % of the gain over a constant rests on outbound effort")
    assert "3.00 times the average rate with it and 2.50 without" in words(base)
    assert "cannot be told from nothing" in words({**base, "gain_lost_interval": [-0.01, 0.03]})
    assert words({**base, "gain_lost": -0.02, "gain_lost_interval": [-0.03, -0.01]}).startswith(
        window + "nothing rests"
    )
    assert words({**base, "with": {"log_loss_gain": -0.01, "lift_top_tenth": 1.0}}).startswith(
        window + "there is no gain"
    )


def test_training_says_what_rests_on_effort_or_leaves_it_out(tmp_path: Path) -> None:
    tables, quick = sold(500), {"num_iterations": 30}
    done = train(tables, home=Home(tmp_path / "home"), params=quick)
    told = done.to_json()["effort"]
    assert not told["left_out"]
    assert told["text"] in done.report
    assert any("call" in name for name in done.model.spec.names)
    bare = train(tables, home=Home(tmp_path / "home"), params=quick, effort=False)
    assert bare.to_json()["effort"]["left_out"]
    assert not any("call" in name for name in bare.model.spec.names)
    # The gate compares the two recipes as any others.
    assert bare.gate is not None
    assert "log loss" in bare.reason


def test_the_command_hands_the_option_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def stop(*_: Any, effort: bool, **__: Any) -> Any:
        seen.append(effort)
        raise BadInput("one_class", "enough", where="outcomes", remedy="none")

    monkeypatch.setattr("training.run.train", stop)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "prospects.csv").write_text("prospect_id,created_at\na,2026-01-01T00:00:00Z\n", encoding="utf-8")
    (folder / "outcomes.csv").write_text(
        "prospect_id,outcome,occurred_at\na,won,2026-02-01T00:00:00Z\n", encoding="utf-8"
    )
    for extra in ([], ["--without-effort"]):
        CliRunner().invoke(app, ["train", str(folder), "--home", str(tmp_path / "home"), "--json", *extra])
    assert seen == [True, False]
