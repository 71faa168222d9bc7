"""Little data: it trains, shrunk towards the base rate, with intervals that hold the truth, and says so."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from features.spec import Attribute, Expression, FeatureSet
from features.tables import Tables
from tests.funnels import at, by_hand, planted
from training.calibration import Platt
from training.dataset import TrainingSet, build
from training.model import Model, columns, fit

WORLDS = 60 if os.environ.get("LEADSCORE_PROOFS") else 12
DAILY = {"good": 0.012, "poor": 0.004}
LOST = 0.004


def rows_of(tables: Tables) -> TrainingSet:
    features = (
        Attribute("prospects", "origin"),
        Attribute("prospects", "size"),
        Expression("age", (Attribute("prospects", "created_at"),)),
        Expression("calendar", part="weekday"),
    )
    return build(tables, FeatureSet(tables.dataset, features))


def truth(rows: TrainingSet, by_origin: Mapping[str, float] = DAILY) -> np.ndarray:
    """P(won within 30 days | open) of each prospect, by the rates that drew the world."""
    daily = np.array([by_origin[o] for o in rows.values["origin"]])
    return daily / (daily + LOST) * (1 - np.exp(-30 * (daily + LOST)))


@pytest.mark.parametrize("count", [20, 60, 200])
def test_intervals_of_few_prospects_hold_the_truth(count: int) -> None:
    held, widths, moved = [], [], []
    for seed in range(WORLDS):
        rows = rows_of(planted(count, seed=100 + seed, daily=DAILY, days=150))
        if not (rows.goal_at < at(150)).any():  # nobody converted: refused, see test_model
            continue
        model = fit(rows)
        few = model.card["data"]["learned_outcomes"] < 50
        assert few == any("the model learned from" in w["text"] for w in model.card["warnings"])
        scores = model.scorer.score_rows(columns(rows.values, rows.features))
        low, high, p = (np.array([getattr(s, f"probability{e}") for s in scores]) for e in ("_low", "_high", ""))
        q = truth(rows)
        held.append(np.mean((low <= q) & (q <= high)))
        widths.append(np.mean(high / low))
        moved.append(np.abs(np.log(p / model.card["base_rate"])).mean())
    assert len(held) >= WORLDS - 2
    assert np.mean(held) > 0.75  # nominal 90 %, of so few worlds
    assert np.mean(widths) > {20: 3.0, 60: 2.5, 200: 2.0}[count]  # and not by saying next to nothing: see below
    assert np.mean(widths) < 60
    assert np.mean(moved) < 0.7  # no fantasies from few: the truth itself differs from its mean by 0.5


def test_what_is_shrunk_saves_more_of_noise_than_it_costs_of_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The expected log loss above the truth's own, with the departures from the base rates shrunk and as they were."""

    def saved(daily: Mapping[str, float], seed: int) -> float:
        rows = rows_of(planted(60, seed=300 + seed, daily=daily, days=150))
        q = truth(rows, daily)

        def excess(model: Model) -> float:
            p = model.predict(rows)
            return float((q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))).mean())

        own = fit(rows)
        if own.card["signal"]["kept"] == 1:
            return 0.0
        with monkeypatch.context() as patch:
            patch.setattr(Platt, "kept", property(lambda _: 1.0))
            return excess(fit(rows)) - excess(own)

    noise, signal = (
        np.array([saved(daily, seed) for seed in range(WORLDS // 2)])
        for daily in ({"good": 0.007, "poor": 0.007}, DAILY)
    )
    assert noise.mean() > 2 * noise.std() / np.sqrt(len(noise)) > 0, noise
    assert noise.mean() > -2 * signal.mean(), (noise.mean(), signal.mean())


def twenty() -> Model:
    """Twenty prospects, five of them won after twelve days."""
    tables = by_hand(
        {f"p{i:02d}": 4 * i for i in range(20)},
        [(f"p{i:02d}", "won", 4 * i + 12) for i in range(0, 20, 4)],
        until=150,
    )
    features = FeatureSet(tables.dataset, (Expression("age", (Attribute("prospects", "created_at"),)),))
    return fit(build(tables, features))


def test_twenty_prospects_with_five_conversions_train() -> None:
    model = twenty()
    texts = [w["text"] for w in model.card["warnings"] if w["code"] == "few_outcomes"]
    assert any("5 outcomes" in text for text in texts)
    score = model.scorer.score_rows([[0.0]])[0]
    assert 0.05 < score.probability < 0.6  # 5 of 20 within 90 days, of those seen that long
    # Five outcomes leave the log-odds open by 1.64 / sqrt(5) at the least.
    logit = [math.log(p / (1 - p)) for p in (score.probability_low, score.probability, score.probability_high)]
    assert min(logit[1] - logit[0], logit[2] - logit[1]) >= 1.6448 / math.sqrt(5) - 1e-9
    assert score.probability_low > 0.01
    assert any(text.startswith("no outcome came between day 60 and day 90") for text in texts)
    assert model.card["choice"]["chosen"] == "blend_50"  # the steady one
    assert model.card["data"]["learned_outcomes"] == 5


@pytest.mark.parametrize("won", [1, 2])
def test_outcomes_of_a_single_fold_train_shrunk_to_the_base_rate(won: int) -> None:
    """One outcome, or all of one account: the hazard of the others saw none and has nothing to tell apart."""
    ids = [f"p{i:02d}" for i in range(24)]
    outcomes = [(p, "won", 4 * i + 12) for i, p in enumerate(ids[:won])]
    rows = rows_of_one_account(by_hand({p: 4 * i for i, p in enumerate(ids)}, outcomes, until=200), ids[:won])
    model = fit(rows)
    assert model.card["data"]["learned_outcomes"] == won
    assert any(f"{won} outcome" in w["text"] for w in model.card["warnings"] if w["code"] == "few_outcomes")
    scores = model.scorer.score_rows(columns(rows.values, rows.features))
    off = [abs(math.log(s.probability / model.card["base_rate"])) for s in scores]
    assert np.mean(off) < 0.7
    assert all(s.probability_low < s.probability < s.probability_high for s in scores)


def rows_of_one_account(tables: Tables, members: list[str]) -> TrainingSet:
    rows = build(tables, FeatureSet(tables.dataset, (Expression("age", (Attribute("prospects", "created_at"),)),)))
    ids = rows.rows["prospect_id"]
    return replace(rows, rows=rows.rows.assign(account_id=ids.where(~ids.isin(members), "one")))
