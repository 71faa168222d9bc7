"""Verdicts: noise gives ``weak_signal``, a rate or scores that moved give ``drift``, a still world gives neither.

``LEADSCORE_PROOFS=1`` (``make proofs``) runs 20 seeds of each, and the noise also in a CRM with all its tables.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.contract import DAY, NEVER, Dataset, Goal, format_time
from features.spec import Attribute, Expression, FeatureSet
from features.standard import standard_features
from features.tables import Tables, read_tables, tables_from_frames
from tests.funnels import ORIGIN, at, by_hand, planted, times
from training.dataset import TrainingSet, build, labels
from training.evaluate import evaluate_forward, log_losses, paired_interval, rolling
from training.model import fit
from training.simulate import SWITCHES, Mechanisms, simulate
from training.verdicts import drift, rate_drift, score_drift, slope_off, weak_signal

PROOFS = os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0")
SEEDS = range(20 if PROOFS else 2)
FEATURES = (
    Attribute("prospects", "origin"),
    Attribute("prospects", "size"),
    Expression("age", (Attribute("prospects", "created_at"),)),
)
DAYS = 540


def moved(
    count: int, seed: int, factor: float = 1.0, *, since: float = DAYS - 75, end: float = DAYS, other: float = math.inf
) -> Tables:
    """A funnel as ``planted``, whose rate of winning is multiplied by ``factor`` from day ``since`` on.

    ``count`` prospects are created over ``DAYS``, further ones at the same pace until ``end``; from day ``other`` on
    nine in ten come from the good origin, and no more from the poor one.
    """
    rng = np.random.default_rng(seed)
    count = round(count * end / DAYS)
    created = np.sort(rng.uniform(0, end, count))
    origin = rng.choice(["good", "fair", "poor"], count)
    origin = np.where(created < other, origin, rng.choice(["good", "fair"], count, p=[0.9, 0.1]))
    daily = pd.Series(origin).map({"good": 0.006, "fair": 0.002, "poor": 0.0005}).to_numpy()
    needed = rng.exponential(1 / daily)  # days at the rate before
    before = np.maximum(since - created, 0)
    won = created + np.where(needed <= before, needed, before + (needed - before) / factor)
    lost = created + rng.exponential(1 / 0.004, count)
    first = np.minimum(won, lost)
    ids = np.array([f"p{i:05d}" for i in range(count)])
    here = first < end
    outcomes = {"prospect_id": ids, "outcome": np.where(won < lost, "won", "lost")}
    frames = {
        "prospects": pd.DataFrame({"prospect_id": ids, "created_at": times(created), "origin": origin}),
        "outcomes": pd.DataFrame({**outcomes, "occurred_at": times(np.minimum(first, end))})[here],
    }
    frames["prospects"]["size"] = rng.lognormal(3, 1, count).round(1)
    frames["outcomes"]["recorded_at"] = frames["outcomes"]["occurred_at"]
    dataset = Dataset(complete_until=at(end), goal=Goal(horizons=(("", 60),)), declared=ORIGIN)
    return tables_from_frames(frames, dataset)


def rows_of(tables: Tables, until: float | None = None) -> TrainingSet:
    features = FeatureSet(tables.dataset, FEATURES)
    return build(tables, features, None if until is None else at(until))


def test_weak_signal_unless_the_gain_is_clearly_positive() -> None:
    assert weak_signal({"interval": {"log_loss_gain": [0.001, 0.02]}}) is None
    weak = weak_signal({"interval": {"log_loss_gain": [-0.001, 0.02]}})
    assert weak is not None
    assert weak["code"] == "weak_signal"
    assert "-0.0010 and +0.0200" in weak["text"]
    assert "no better than chance" in weak["text"]
    assert weak_signal({"interval": {}}) is not None
    worse = weak_signal({"interval": {"log_loss_gain": [-0.03, -0.01]}})
    assert worse is not None
    assert "worse than a constant" in worse["text"]
    assert "chance" not in worse["text"]


def test_a_slope_off_one_is_put_in_words() -> None:
    assert slope_off({}) is None
    assert slope_off({"interval": {"slope": [0.9, 1.1]}}) is None
    wide, narrow = (slope_off({"interval": {"slope": ends}}) for ends in ([0.7, 0.9], [1.1, 1.4]))
    assert wide is not None
    assert narrow is not None
    assert "between 0.70 and 0.90" in wide["text"]
    assert "high ones promise too much and low ones too little" in wide["text"]
    assert "high ones promise too little and low ones too much" in narrow["text"]
    assert "The order of the prospects stands" in wide["text"]
    none = slope_off({"interval": {"slope": [-0.5, 0.8]}})
    assert none is not None
    assert "stands" not in none["text"]
    assert "may be no better than chance; do not reckon" in none["text"]


def noise(seed: int) -> Tables:
    """A funnel in which nothing tells who wins."""
    return planted(1200, seed=seed, daily={"a": 0.004, "b": 0.004, "c": 0.004})


def noisy_crm(seed: int, folder: Path) -> Tables:
    """The simulated CRM with all its tables, none of which has a part in who wins."""
    still = Mechanisms().without(*SWITCHES.keys() - {"lags", "versions", "followers", "titles", "week", "leads"})
    simulate(prospects=2_000, days=365, seed=seed, mechanisms=replace(still, win=(-6.2,) * 4)).write(folder)
    return read_tables(folder)


def speaks_of_noise(tables: Tables, seed: int, cuts: Sequence[int] | None = None) -> tuple[bool, float]:
    """Whether ``weak_signal`` is given, and the share of open prospects within 1.5 times the base rate, up or down.

    The base rate is that of each prospect's own horizon: a regime with a short one has a lower rate, noise or not.
    """
    features = standard_features(tables)
    training_set = build(tables, features)
    model = fit(training_set, seed=seed, folds=5)
    assert training_set.open_rows is not None
    assert training_set.open_values is not None
    ahead = replace(training_set, rows=training_set.open_rows, values=training_set.open_values)
    off = model.predict(ahead) / model.base_rates(ahead)
    folds = 5 if model.guarded else 0  # as ``training.run.train`` judges it
    found = rolling(tables, features, cuts, seed=seed, resamples=100, folds=folds)
    return weak_signal(found.figures) is not None, float(((off < 1.5) & (off > 1 / 1.5)).mean())


def test_noise_gives_weak_signal_and_probabilities_near_the_base_rate() -> None:
    found = [speaks_of_noise(noise(seed), seed, [at(100), at(135)]) for seed in SEEDS]
    assert sum(weak and near >= 0.9 for weak, near in found) >= 0.95 * len(found), found


@pytest.mark.skipif(not PROOFS, reason="a long proof: make proofs")
def test_noise_in_a_whole_crm_gives_weak_signal_and_probabilities_near_the_base_rate(tmp_path: Path) -> None:
    found = [speaks_of_noise(noisy_crm(seed, tmp_path / str(seed)), seed) for seed in SEEDS]
    assert sum(weak and near >= 0.9 for weak, near in found) >= 0.95 * len(found), found


def test_what_is_judged_is_what_is_served_also_where_no_signal_is_clear(tmp_path: Path) -> None:
    """The guards act at every cut where they act at T: in the figures, and in the gate's fits of another recipe."""
    from training.gate import refit
    from training.registry import Home
    from training.run import train

    tables = noise(7)
    features = FeatureSet(tables.dataset, FEATURES)
    done = train(tables, home=Home(tmp_path / "home"), features=features)
    assert done.model.guarded
    free = rolling(tables, features, resamples=0)
    assert [e.folds for e in free.evaluations] == [0] * len(free.evaluations)

    def spread(p: pd.Series) -> float:
        return float(np.log(p).std())

    unguarded = pd.concat([e.rows for e in free.evaluations])["p"]
    assert spread(done.rows["p"]) < 0.6 * spread(unguarded)
    judged = rolling(tables, features, resamples=0, folds=5)
    assert pd.concat([e.rows for e in judged.evaluations])["p"].tolist() == done.rows["p"].tolist()
    for mine, again in zip(judged.evaluations, refit(tables, features, None, judged.evaluations), strict=True):
        assert again.rows["p"].tolist() == mine.rows["p"].tolist()


def test_an_effect_gives_no_weak_signal() -> None:
    tables = planted(2_000, seed=12)
    found = rolling(tables, FeatureSet(tables.dataset, FEATURES), [at(110), at(140)], params={}, resamples=100)
    assert weak_signal(found.figures) is None


def test_outcomes_against_days_by_hand() -> None:
    # Every day two prospects, of whom one in two wins at the age of ten days; from day 300 on, one in eight. In the
    # ages from 7 to 14 days the former are watched for 5 days on average (three, and four where they do not win), the
    # latter for 6.5: rates of 0.5 / 5 and 0.125 / 6.5 a day.
    prospects = {f"p{i:04d}": i / 2 for i in range(800)}
    wins = [(p, "won", d + 10) for i, (p, d) in enumerate(prospects.items()) if i % (2 if d + 10 < 300 else 8) == 0]
    losses = [(p, "lost", d + 30) for p, d in prospects.items() if p not in {w[0] for w in wins}]
    known = [o for o in wins + losses if o[2] < 400]
    found = rate_drift(rows_of_by_hand(by_hand(prospects, known, until=400, goal=Goal(horizons=(("", 14),)))))
    assert found is not None
    assert found["code"] == "drift"
    assert found["since"] == format_time(at(400) - 14 * 7 * DAY)  # of the shares of 58 weeks the one from day 302
    assert found["observed"] == sum(what == "won" and day >= 302 for _, what, day in known)
    assert found["ratio"] == pytest.approx((0.125 / 6.5) / (0.5 / 5), rel=0.05)
    assert found["low"] < found["ratio"] < found["high"] < 1 / 1.15
    assert found["expected"] == pytest.approx(found["observed"] / found["ratio"])
    assert str(found["observed"]) in found["text"]
    assert found["since"][:10] in found["text"]


def rows_of_by_hand(tables: Tables) -> TrainingSet:
    return build(tables, FeatureSet(tables.dataset, (Expression("age", (Attribute("prospects", "created_at"),)),)))


def test_a_rate_that_stands_still_gives_no_drift() -> None:
    found = [rate_drift(rows_of(moved(2_000, seed, 1.0))) for seed in range(20 if PROOFS else 6)]
    assert sum(f is not None for f in found) <= (1 if PROOFS else 0), found


@pytest.mark.parametrize("last", [60, 90])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_rate_halved_or_doubled_near_the_end_gives_drift(factor: float, last: int) -> None:
    for seed in SEEDS:
        found = rate_drift(rows_of(moved(4_000, seed, factor, since=DAYS - last)))
        assert found is not None
        assert abs(math.log(found["ratio"] / factor)) < math.log(1.6)  # its weeks are not just those that changed
        assert abs(at(DAYS - last) - pd.Timestamp(found["since"]).value // 1000) < 60 * DAY


def test_growth_and_ageing_are_no_drift() -> None:
    # Four times as many prospects of late, and a rate that falls with age: fewer outcomes a prospect, no change.
    rng = np.random.default_rng(0)
    created = np.sort(np.concatenate([rng.uniform(0, 400, 700), rng.uniform(300, 400, 1_400)]))
    won = created + np.where(rng.random(len(created)) < 0.3, rng.exponential(8, len(created)), np.inf)
    prospects = {f"p{i:04d}": float(day) for i, day in enumerate(created)}
    wins = [(p, "won", float(day)) for p, day in zip(prospects, won, strict=True) if day < 400]
    assert rate_drift(rows_of_by_hand(by_hand(prospects, wins, until=400, goal=Goal(horizons=(("", 14),))))) is None


def test_outcomes_typed_in_by_the_month_are_no_drift() -> None:
    # All of a month's wins bear the date of its last day: the last month is silent until its end.
    rng = np.random.default_rng(1)
    created = np.sort(rng.uniform(0, 405, 1_500))
    won = created + rng.exponential(60, len(created))
    stamped = np.ceil(won / 30) * 30
    prospects = {f"p{i:04d}": float(day) for i, day in enumerate(created)}
    wins = [(p, "won", float(day)) for p, day in zip(prospects, stamped, strict=True) if day < 405]
    rows = rows_of_by_hand(by_hand(prospects, wins, until=418, goal=Goal(horizons=(("", 14),))))
    assert rate_drift(rows) is None


def test_outcomes_that_cease_or_that_only_just_began() -> None:
    rows = rows_of(moved(2_000, 0, 1.0))
    late = rows.goal_at > at(DAYS - 90)
    ceased = rate_drift(replace(rows, goal_at=np.where(late, NEVER, rows.goal_at)))
    assert ceased is not None
    assert (ceased["observed"], ceased["ratio"]) == (0, 0.0)
    assert ceased["expected"] > 20
    began = rate_drift(replace(rows, goal_at=np.where(late, rows.goal_at, NEVER)))
    assert began is not None
    assert "over 100" in began["text"]
    nothing = replace(rows, goal_at=np.full_like(rows.goal_at, NEVER))
    assert rate_drift(nothing) is None


def test_a_handful_of_outcomes_is_no_drift() -> None:
    """All in the last weeks, though the first of the prospects was there long before: of so few nothing is told."""
    for count, told in ((3, False), (30, True)):
        prospects = {f"p{i:02d}": 0.0 if i < count else 100.0 for i in range(2 * count)}
        wins = [(f"p{i:02d}", "won", 165.0 + i / count) for i in range(count)]
        rows = rows_of_by_hand(by_hand(prospects, wins, until=200, goal=Goal(horizons=(("", 14),))))
        assert (rate_drift(rows) is not None) == told


def test_scores_of_other_prospects_are_a_drift_and_of_the_same_are_none() -> None:
    tables = moved(1_500, 3, 1.0)
    truth = {"good": 0.3, "fair": 0.1, "poor": 0.02}

    def predict(rows: TrainingSet) -> Any:
        return rows.values["origin"].map(truth).to_numpy(dtype=float)  # three values: nearly all is ties

    assert score_drift(rows_of(tables), predict) is None
    found = score_drift(rows_of(moved(1_500, 3, other=DAYS - 90)), predict)
    assert found is not None
    assert found["code"] == "drift"
    assert found["index"] > 0.5
    assert abs(at(DAYS - 90) - pd.Timestamp(found["since"]).value // 1000) < 60 * DAY
    assert found["since"][:10] in found["text"]
    # Ages of landmarks shift where a CRM ages; scores that depend on the age alone do not.
    assert score_drift(rows_of(tables), lambda rows: 1 / (1 + rows.rows["age_days"].to_numpy())) is None
    # Of a handful nothing can be told.
    few = rows_of(moved(150, 3, other=DAYS - 90))
    assert score_drift(few, predict) is None


def test_many_prospects_are_sampled() -> None:
    tables = moved(1_500, 3, 1.0)
    seen = []

    def predict(rows: TrainingSet) -> Any:
        seen.append(rows.rows["prospect_id"].nunique())
        return np.full(len(rows), 0.1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.verdicts.MOST", 400)
        assert score_drift(rows_of(tables), predict) is None
    assert seen == [400]


def mature(tables: Tables, features: FeatureSet, cut: int, tested: pd.DataFrame) -> Any:
    """What the usual classifier says: LightGBM by default, on the landmarks whose whole horizon was over at the cut."""
    from lightgbm import LGBMClassifier

    known = build(tables, features, cut, with_open=False)
    levels = {name: sorted(known.values[name].dropna().unique()) for name in features.categories}

    def matrix(values: pd.DataFrame) -> pd.DataFrame:
        out = values[list(features.names)].copy()
        for name, found in levels.items():
            out[name] = pd.Categorical(out[name], found)
        return out

    y, observed = labels(known)
    fitted = LGBMClassifier(verbosity=-1, n_jobs=1).fit(matrix(known.values[observed]), y[observed])
    ahead = build(tables, features, with_open=False).frame
    rows = tested[["prospect_id", "as_of"]].merge(ahead, how="left", on=["prospect_id", "as_of"])
    return fitted.predict_proba(matrix(rows))[:, 1]


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_rate_that_moved_is_warned_of_and_forward_the_loss_is_below_that_of_a_classifier_on_mature_rows(
    factor: float,
) -> None:
    for seed in SEEDS[: 20 if PROOFS else 1]:
        tables = moved(4_000, seed, factor, end=DAYS + 120)
        features, cut = FeatureSet(tables.dataset, FEATURES), at(DAYS)
        assert drift(build(tables, features, cut, with_open=False), lambda rows: np.full(len(rows), 0.1))
        found = evaluate_forward(tables, features, cut, at(DAYS + 60), resamples=0).rows
        theirs = log_losses(found["y"], mature(tables, features, cut, found))
        gain = theirs - log_losses(found["y"], found["p"])
        low, _ = paired_interval(gain, found["prospect_id"], seed=seed)
        assert gain.mean() > 0
        assert low > 0, (seed, gain.mean(), low)


def test_the_answer_the_card_and_a_score_warn_of_a_drift(tmp_path: Path) -> None:
    from serving.bundle import read_bundle
    from serving.scorer import Scorer
    from training.registry import Home
    from training.run import train

    tables = moved(1_500, 1, 3.0)
    done = train(tables, home=Home(tmp_path / "home"), features=FeatureSet(tables.dataset, FEATURES), params={})
    (warning,) = [w for w in done.to_json()["warnings"] if w["code"] == "drift"]
    assert warning["ratio"] > 1.5
    done.model.write(tmp_path / "bundle")
    scorer = Scorer(read_bundle(tmp_path / "bundle"), "1")
    assert warning in scorer.card["warnings"]
    score = scorer.score_rows([["good", 20.0, 3.0]])[0]
    assert ("drift", warning["text"]) in [tuple(w) for w in score.warnings]
    assert len(warning["text"]) < 350
