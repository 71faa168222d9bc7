"""The account map: dependence is learned both ways, independence stays the naive product, few teach nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from features.contract import DAY, Dataset, Goal
from features.spec import Attribute, Expression, FeatureSet
from features.tables import Tables, tables_from_frames
from serving.bundle import AccountMap as Served
from tests.funnels import ORIGIN, at, times
from training import account as accounts
from training.account import AccountMap, fit_map, naive_logit
from training.dataset import TrainingSet, build
from training.evaluate import log_losses
from training.model import fit

HORIZON, STEP = 30.0, 10.0


def crowd(kind: str, count: int, seed: int) -> tuple[Any, ...]:
    """Accounts of two to four prospects with calibrated probabilities, which come together, apart or on their own."""
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 5, count)
    account = np.repeat(np.arange(count), n)
    p = 1 / (1 + np.exp(-rng.normal(-1.8, 1.0, len(account))))
    u = rng.random(len(account))
    if kind == "together":  # what decides is three quarters the account's own: a normal copula
        common, own = rng.normal(size=count)[account], rng.normal(size=len(account))
        u = norm.cdf(np.sqrt(0.75) * common + np.sqrt(0.25) * own)
    if kind == "apart":  # one budget: at most one of them, as far as the probabilities allow
        for a in range(count):
            mine = np.flatnonzero(account == a)
            p[mine] *= min(1.0, 0.95 / p[mine].sum())
            ends = np.cumsum(p[mine])
            won = np.searchsorted(ends, rng.random())
            u[mine] = 1.0
            if won < len(mine):
                u[mine[won]] = 0.0
    return p, (u < p).astype(np.int64), account


def by_account(p: Any, y: Any, account: Any) -> tuple[Any, Any, Any, Any]:
    naive = 1 - np.exp(np.bincount(account, np.log1p(-p)))
    best = np.zeros(len(naive))
    np.maximum.at(best, account, p)
    return naive, best, np.bincount(account), np.minimum(np.bincount(account, y), 1)


@pytest.mark.parametrize("kind", ["together", "apart"])
def test_dependence_is_learned_in_both_directions(kind: str) -> None:
    p, y, who = crowd(kind, 1_500, 0)
    found = fit_map(p, y, who, np.zeros(len(p), dtype=np.int64), HORIZON, HORIZON)
    assert found.fitted
    p, y, who = crowd(kind, 6_000, 1)
    naive, best, n, won = by_account(p, y, who)
    mapped = found.apply(naive_logit(np.log1p(-naive)), np.log(n))
    served = np.maximum(mapped, best)  # as the service has it: an account is no less likely than its best prospect
    losses = [float(log_losses(won, q).mean()) for q in (served, naive, best)]
    assert losses[0] < min(losses[1:])
    assert found.of([0.2, 0.3]) == pytest.approx(max(0.3, found.apply(naive_logit(np.log(0.56)), np.log(2))))
    assert mapped.mean() == pytest.approx(won.mean(), abs=0.015)
    assert (mapped.mean() < naive.mean()) == (kind == "together")


def test_the_error_is_how_far_the_map_would_come_out_otherwise() -> None:
    """Its standard error over accounts drawn anew: much less than that of how many came, with which p was in line."""
    p, _, who = crowd("together", 500, 1)
    z, log_n = naive_logit(np.bincount(who, np.log1p(-p))), np.log(np.bincount(who))
    shifts, told = [], []
    for seed in range(40):
        p, y, who = crowd("together", 500, 100 + seed)
        found = fit_map(p, y, who, np.zeros(len(p), dtype=np.int64), HORIZON, HORIZON)
        shifts.append(found.intercept + (found.naive - 1) * z + found.size * log_n)
        told.append(found.error)
    spread = float(np.sqrt(np.var(shifts, axis=0, ddof=1).mean()))
    assert 0.75 < spread / np.mean(told) < 1.33
    assert np.mean(told) < 0.08


def test_a_weak_dependence_is_learned_without_moving_small_chances() -> None:
    """Two of a shared round: what is likely falls, what is unlikely stays the sum of its parts."""
    rng = np.random.default_rng(4)
    count = 3_000
    n = rng.integers(2, 5, count)
    who = np.repeat(np.arange(count), n)
    shared = rng.gamma(1.0, 1.0, count)[who]  # of mean 1, on the hazards
    hazard = np.exp(rng.normal(-2.5, 1.2, len(who)))
    p = 1 - 1 / (1 + hazard)  # the mean over what is shared
    y = (rng.random(len(who)) < -np.expm1(-hazard * shared)).astype(np.int64)
    found = fit_map(p, y, who, np.zeros(len(p), dtype=np.int64), HORIZON, HORIZON)
    naive = 1 - np.exp(np.bincount(who, np.log1p(-p)))
    true = 1 - 1 / (1 + np.bincount(who, hazard))
    mapped = found.apply(naive_logit(np.log1p(-naive)), np.log(n))
    assert naive.mean() > 1.07 * true.mean()
    assert mapped.mean() == pytest.approx(true.mean(), rel=0.02)
    assert np.abs(mapped - true).mean() < 0.35 * np.abs(naive - true).mean()
    few = true < 0.05
    assert few.sum() > 50
    assert mapped[few].mean() == pytest.approx(true[few].mean(), rel=0.15)


def test_independence_stays_near_the_naive_product() -> None:
    p, y, who = crowd("alone", 1_500, 2)
    found = fit_map(p, y, who, np.zeros(len(p), dtype=np.int64), HORIZON, HORIZON)
    assert found.fitted
    assert 0.02 < found.error < 0.08  # how unsure that is, all the same
    assert (found.intercept, found.naive, found.size) == (0.0, 1.0, 0.0)
    assert "Nothing could be told from chance" in found.words
    assert found.of([0.1, 0.3]) == pytest.approx(0.37)
    assert found.of([0.37]) == 0.37  # a single prospect is itself


def test_too_few_accounts_stay_the_naive_product_and_say_how_many() -> None:
    p, y, who = crowd("together", 40, 3)
    found = fit_map(p, y, who, np.zeros(len(p), dtype=np.int64), HORIZON, HORIZON)
    assert found.constants() == {"intercept": 0.0, "naive": 1.0, "size": 0.0, "error": 0.0}
    assert not found.fitted
    assert found.accounts == 40
    assert "40 accounts" in found.words
    assert found.of([0.1, 0.2]) == pytest.approx(0.28)
    alone = fit_map(p[:0], y[:0], who[:0], who[:0], HORIZON, HORIZON)
    assert alone.words.startswith("There was no account")
    assert alone.words.endswith("so an account's probability is the naive product.")


def test_what_the_folds_models_lack_is_no_dependence() -> None:
    """Predictions that are too flat or too low of all prospects alike say nothing of how these depend on each other."""
    p, y, who = crowd("alone", 3_000, 9)
    flat = 1 / (1 + np.exp(-(0.6 * np.log(p / (1 - p)) - 0.4)))
    found = fit_map(flat, y, who, np.zeros(len(p), dtype=np.int64), HORIZON, HORIZON)
    assert found.of([0.1, 0.1]) == pytest.approx(0.19, abs=0.01)
    assert found.of([0.4, 0.3]) == pytest.approx(0.58, abs=0.02)


def test_more_accounts_move_further_and_repeated_censuses_are_no_more_evidence() -> None:
    p, y, who = crowd("together", 3_000, 4)
    t = np.zeros(len(p), dtype=np.int64)
    few, many = (who < 60, who < 3_000)
    small, large = (fit_map(p[m], y[m], who[m], t[m], HORIZON, HORIZON) for m in (few, many))
    naive = 1 - 0.7 * 0.8**2  # about what an account of three has
    assert large.of([0.3, 0.2, 0.2]) < small.of([0.3, 0.2, 0.2]) <= naive + 1e-12
    assert large.error < small.error
    # The same accounts three times within a horizon: three times the rows, the same weight, hardly another error.
    again = fit_map(np.tile(p, 3), np.tile(y, 3), np.tile(who, 3), np.repeat([0, 1, 2], len(p)) * DAY, STEP, HORIZON)
    assert again.rows == 3 * large.rows
    assert again.accounts == large.accounts
    assert again.of([0.1, 0.1]) == pytest.approx(large.of([0.1, 0.1]), abs=1e-6)
    assert again.error == pytest.approx(large.error, rel=0.1)


def test_the_naive_log_odds_are_exact_far_out() -> None:
    assert naive_logit(np.log1p(-0.19)) == pytest.approx(np.log(0.19 / 0.81))
    assert naive_logit(-1e-9) == pytest.approx(np.log(1e-9), rel=1e-6)
    assert naive_logit(-700.0) == pytest.approx(700.0)


GOAL = Goal(horizons=(("", 30),))


def firms(count: int, seed: int, *, together: bool, days: float = 240) -> Tables:
    """Accounts of three prospects created at once, each won at a daily rate that ``size`` sets.

    ``together``: they are won by one decision, on one day; else each on its own.
    """
    rng = np.random.default_rng(seed)
    created = np.repeat(np.sort(rng.uniform(0, days, count)), 3)
    size = np.repeat(rng.normal(size=count), 3).round(2)
    rate = 0.006 * np.exp(0.8 * size)
    own = rng.exponential(1, 3 * count)
    decided = np.repeat(own[::3], 3) if together else own
    won = created + decided / rate
    ids = np.array([f"p{i:05d}" for i in range(3 * count)])
    prospects = pd.DataFrame({"prospect_id": ids, "created_at": times(created), "size": size})
    prospects["origin"] = "any"
    prospects["account_id"] = [f"a{i // 3:05d}" for i in range(3 * count)]
    here = won < days
    outcomes = pd.DataFrame({"prospect_id": ids[here], "outcome": "won", "occurred_at": times(won[here])})
    frames = {"prospects": prospects, "outcomes": outcomes,
              "accounts": pd.DataFrame({"account_id": sorted(set(prospects["account_id"]))})}  # fmt: skip
    return tables_from_frames(frames, Dataset(complete_until=at(days), goal=GOAL, declared=ORIGIN))


def rows_of(tables: Tables) -> TrainingSet:
    age = Expression("age", (Attribute("prospects", "created_at"),))
    return build(tables, FeatureSet(tables.dataset, (Attribute("prospects", "size"), age)))


def test_training_learns_the_map_from_accounts_that_no_fold_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = fit_map

    def watched(p: Any, y: Any, account: Any, as_of: Any, step: float, horizon: float) -> AccountMap:
        seen.append((p, y, account, as_of))
        return original(p, y, account, as_of, step, horizon)

    monkeypatch.setattr("training.model.fit_map", watched)
    rows = rows_of(firms(500, 5, together=True))
    model = fit(rows)
    card, constants = model.card["account"], model.constants["account"]
    assert card["fitted"]
    assert card["accounts"] > 200
    assert "Learned from" in card["text"]
    # Three of 5 %, whose fate is one: the account's is 5 %, not 14 %.
    found = AccountMap(**constants)
    assert found.of([0.05] * 3) == pytest.approx(0.05, abs=0.02)
    assert found.of([0.15] * 3) == pytest.approx(0.15, abs=0.03)
    served = model.bundle().constants.account
    assert served == Served(**constants)
    # The censuses end a horizon before T, and hold only prospects that were open beside another.
    assert rows.siblings is not None
    assert rows.siblings.as_of.max() + 30 * DAY <= at(240)
    assert rows.siblings.rows.groupby(["account_id", "as_of"])["prospect_id"].nunique().min() > 1
    p, _, account, as_of = seen[0]
    assert pd.Series(p).between(0, 1, inclusive="neither").all()
    assert pd.DataFrame({"a": account, "t": as_of}).value_counts().min() > 1


def test_prospects_on_their_own_give_the_naive_product() -> None:
    model = fit(rows_of(firms(500, 6, together=False)))
    found = AccountMap(**model.constants["account"])
    assert model.card["account"]["fitted"]
    assert found.of([0.05] * 3) == pytest.approx(1 - 0.95**3, abs=0.02)
    assert found.of([0.15] * 3) == pytest.approx(1 - 0.85**3, abs=0.03)


def test_without_siblings_nothing_is_computed_for_them() -> None:
    rows = rows_of(firms(40, 7, together=True))
    alone = rows_of(_single(firms(40, 7, together=True)))
    assert rows.siblings is not None
    assert alone.siblings is None
    with pytest.raises(AssertionError):
        pd.testing.assert_frame_equal(rows.rows, alone.rows)


def _single(tables: Tables) -> Tables:
    from dataclasses import replace

    return replace(tables, prospects=tables.prospects.filter(tables.prospects.prospect_id.endswith("0")))


def test_only_the_latest_censuses_are_kept_where_there_are_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = firms(60, 8, together=False)
    whole = rows_of(tables).siblings
    monkeypatch.setattr(accounts, "MOST_ROWS", 150)
    fewer = rows_of(tables).siblings
    assert whole is not None
    assert fewer is not None
    assert len(fewer) <= 150 + 180
    assert set(fewer.as_of) < set(whole.as_of)
    assert fewer.as_of.max() == whole.as_of.max()
