"""After the sale: a goal whose clock starts at an outcome is trained, judged and scored by the same path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.contract import DAY, Column, Dataset, Goal, format_time
from features.standard import standard_features
from features.tables import Tables, tables_from_frames
from serving.batch import requests, score_tables
from serving.schema import parse_request
from tests.funnels import at, times
from training.dataset import build
from training.model import fit
from training.registry import Home
from training.run import load_scorer, train, write_scores

RENEWED = Goal("renewed", (("", 30),), starts_at="won")
SINCE = "outcome_won_days_since_first"


def contracts(count: int = 900, seed: int = 0, days: float = 420) -> Tables:
    """Prospects won after some weeks to months, and renewed about 90 days after that, happy ones more often.

    How long they took to buy tells nothing of the renewal: only the days since the sale do.
    """
    rng = np.random.default_rng(seed)
    created = rng.uniform(-100, days - 60, count)
    won = created + rng.uniform(5, 150, count)
    mood = rng.choice(["happy", "sour"], count)
    renews = rng.random(count) < np.where(mood == "happy", 0.8, 0.3)
    renewed = np.where(renews, won + rng.normal(90, 8, count), np.inf)
    churned = won + rng.uniform(100, 400, count)
    ids = np.array([f"p{i:05d}" for i in range(count)])
    rows = [
        *zip(ids, ["won"] * count, won, strict=True),
        *zip(ids, ["renewed"] * count, renewed, strict=True),
        *zip(ids, ["lost"] * count, churned, strict=True),
    ]
    rows = [row for row in rows if row[2] < days]
    outcomes = pd.DataFrame(rows, columns=["prospect_id", "outcome", "occurred_at"])
    outcomes["occurred_at"] = times(outcomes["occurred_at"])
    prospects = pd.DataFrame({"prospect_id": ids, "created_at": times(created), "mood": mood})
    declared = (("prospects", (Column("mood", "category"),)),)
    dataset = Dataset(complete_until=at(days), goal=RENEWED, declared=declared)
    return tables_from_frames({"prospects": prospects, "outcomes": outcomes}, dataset)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return contracts()


def test_the_standard_features_tell_the_days_since_the_sale(tables: Tables) -> None:
    features = standard_features(tables)
    assert SINCE in features.names
    rows = build(tables, features)
    # Ages count from the sale, exactly, and so does the feature: nothing was recorded late here.
    assert np.allclose(rows.values[SINCE].to_numpy(float), rows.rows["age_days"].to_numpy())
    assert not np.allclose(rows.values["days_since_created_at"].to_numpy(float), rows.rows["age_days"].to_numpy())


def test_base_rates_go_by_the_days_since_the_sale(tables: Tables) -> None:
    rows = build(tables, standard_features(tables))
    model = fit(rows, folds=0)
    told = {t["feature"] for t in model.constants["linear"]["tables"]}
    assert SINCE in told
    assert "days_since_created_at" not in told


def test_a_renewal_goal_is_trained_judged_and_scored(tables: Tables, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    done = train(tables, home=home, params={"num_iterations": 60})  # a recipe, for speed
    assert done.promoted
    assert done.goal == "renewed"
    assert done.metrics["auc"] > 0.75
    assert done.metrics["interval"]["log_loss_gain"][0] > 0
    scorer = load_scorer(home, "renewed")
    assert scorer.goal == RENEWED

    t = at(400)
    scores = {s.prospect_id: s for s in score_tables(scorer, tables, t)}
    won = tables.outcomes.filter(tables.outcomes.outcome == "won").to_pandas().set_index("prospect_id")["occurred_at"]
    since = pd.Series({p: (t - won[p]) / DAY for p in scores})
    p = pd.Series({name: s.probability for name, s in scores.items()})
    assert since.min() >= 0  # nobody is scored before the sale
    soon, fresh = p[(since > 60) & (since < 80)], p[since < 30]
    assert soon.mean() > 3 * fresh.mean()  # due within the month, and not yet

    assert write_scores(scorer, tables, t, tmp_path / "scores.csv") == len(scores)
    for request in requests(tables, t, sorted(scores)[:15]):
        parsed = parse_request(request, scorer.spec.dataset, 0)
        one = scorer.score(parsed.records, parsed.as_of, reasons=3)
        assert one.probability == scores[one.prospect_id].probability
        assert not {w.code for w in one.warnings} & {"not_started", "prospect_closed"}


def test_before_the_sale_the_answer_says_that_the_clock_has_not_started(tables: Tables) -> None:
    model = fit(build(tables, standard_features(tables)), folds=0)
    request: dict[str, Any] = {
        "prospect": {"prospect_id": "x", "created_at": format_time(at(10)), "attributes": {"mood": "happy"}},
        "outcomes": [],
        "as_of": format_time(at(30)),
    }
    parsed = parse_request(request, model.spec.dataset, 0)
    score = model.scorer.score(parsed.records, parsed.as_of)
    assert "not_started" in {w.code for w in score.warnings}
