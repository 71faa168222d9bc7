from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from features.contract import DAY, Dataset, Goal, format_time
from features.errors import BadInput
from features.spec import Attribute, Expression, FeatureSet
from features.tables import Tables, tables_from_frames
from tests.funnels import at, by_hand, planted, times
from training.dataset import build, labels
from training.evaluate import (
    default_cuts,
    evaluate_forward,
    log_losses,
    metrics,
    paired_interval,
    rolling,
)
from training.model import columns, fit

ORIGIN_SIZE = (Attribute("prospects", "origin"), Attribute("prospects", "size"))


def drawn(count: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 8, count).round(2)  # rounded, so that there are ties
    return (rng.random(count) < p).astype(int), p


def test_figures_by_hand() -> None:
    found = metrics([0, 1, 1, 0], [0.1, 0.4, 0.35, 0.8])
    assert found["n"] == 4
    assert found["rate"] == 0.5
    assert found["mean_predicted"] == pytest.approx(0.4125)
    assert found["auc"] == 0.5  # of four pairs, the two with 0.1 are in order
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.4) + math.log(0.35) + math.log(0.2)) / 4)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.4225 + 0.64) / 4)
    assert found["brier_skill"] == pytest.approx(1 - found["brier"] / 0.25)
    assert found["log_loss_gain"] == pytest.approx(math.log(2) - found["log_loss"])
    assert found["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.65 + 0.8) / 4)  # each row a bin of its own
    assert found["lift_top_tenth"] == 0  # the tenth of four rows is a part of the highest, which was not won
    assert "interval" not in found


def test_skill_is_against_the_given_constant() -> None:
    y, p = [1, 0, 0, 0], [0.5, 0.25, 0.25, 0.0]
    found = metrics(y, p, constant=0.5)
    assert found["brier_skill"] == pytest.approx(1 - (0.25 + 0.125) / 1)
    assert found["log_loss_gain"] == pytest.approx(math.log(2) - (math.log(2) - 2 * math.log(0.75)) / 4)
    each = metrics(y, p, constant=[0.5, 0.25, 0.25, 0.0])
    assert each["brier_skill"] == 0
    assert each["log_loss_gain"] == pytest.approx(0)


@pytest.mark.parametrize("seed", range(3))
def test_figures_agree_with_scikit_learn(seed: int) -> None:
    y, p = drawn(2_000, seed)
    p = np.clip(p, 1e-6, 1)
    found = metrics(y, p)
    assert found["auc"] == pytest.approx(roc_auc_score(y, p))
    assert found["log_loss"] == pytest.approx(log_loss(y, p))
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))
    assert found["average_precision"] == pytest.approx(average_precision_score(y, p))
    fitted = LogisticRegression(C=1e12, tol=1e-10, max_iter=1_000).fit(np.log(p / (1 - p))[:, None], y)
    assert found["slope"] == pytest.approx(fitted.coef_[0, 0], rel=1e-4)
    assert found["intercept"] == pytest.approx(fitted.intercept_[0], rel=1e-4, abs=1e-5)


def test_slope_and_intercept_undo_what_was_done_to_calibrated_probabilities() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(-2, 1.2, 5_000)  # more than the levels that a resample keeps apart
    y = (rng.random(5_000) < 1 / (1 + np.exp(-z))).astype(int)
    honest = metrics(y, 1 / (1 + np.exp(-z)), groups=np.arange(5_000), resamples=60)
    boasting = metrics(y, 1 / (1 + np.exp(-2 * z - 1)), groups=np.arange(5_000), resamples=60)
    assert honest["slope"] == pytest.approx(1, abs=0.08)
    assert boasting["slope"] == pytest.approx(honest["slope"] / 2, rel=1e-6)
    assert boasting["intercept"] == pytest.approx(honest["intercept"] - honest["slope"] / 2, rel=1e-6)
    for found in (honest, boasting):
        low, high = found["interval"]["slope"]
        assert low < found["slope"] < high < low * 1.2
        assert found["interval"]["intercept"][0] < found["intercept"] < found["interval"]["intercept"][1]


def test_slope_is_undefined_where_no_line_can_be_told() -> None:
    for y, p in (([0, 0], [0.1, 0.2]), ([0, 1], [0.3, 0.3]), ([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7])):
        found = metrics(y, p, groups=np.arange(len(y)))
        assert (found["slope"], found["intercept"]) == (None, None)
        assert "slope" not in found["interval"] or len(set(p)) > 1
    certain = metrics([1, 0, 1, 0], [1.0, 0.0, 0.4, 0.6])  # probabilities of 0 and 1 do not break it
    assert certain["slope"] is not None
    assert math.isfinite(certain["slope"])


def test_average_precision_by_hand() -> None:
    # Best first: won, lost, won, lost; a tie is one step.
    assert metrics([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.1])["average_precision"] == pytest.approx(2 / 3)
    assert metrics([0, 0], [0.5, 0.1])["average_precision"] is None


def test_the_loss_of_each_row() -> None:
    found = log_losses([1, 0, 1], [0.8, 0.4, 0.0])
    assert found[:2] == pytest.approx([-math.log(0.8), -math.log(0.6)])
    assert math.isfinite(found[2])
    assert found[2] > 30


def test_a_paired_interval_resamples_whole_prospects() -> None:
    rng = np.random.default_rng(0)
    difference = rng.normal(0.1, 1, 400)
    low, high = paired_interval(difference, np.arange(400))
    assert low < difference.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * difference.std() / math.sqrt(400), rel=0.15)
    # Ten copies of each prospect's row tell no more than one.
    copies = paired_interval(np.tile(difference, 10), np.tile(np.arange(400), 10))
    assert copies == pytest.approx((low, high))
    assert paired_interval(difference, np.arange(400), seed=1) != (low, high)
    held = [paired_interval(rng.normal(0, 1, 60), np.arange(60), resamples=200, seed=i) for i in range(60)]
    assert 51 <= sum(a <= 0 <= b for a, b in held) <= 60


@pytest.mark.parametrize("told", [1.0, 0.05, 4.0, -0.5])
@pytest.mark.parametrize("never", [0.0, 0.1])
def test_the_slope_is_that_of_a_logistic_regression_however_far_off(told: float, never: float) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1, 3_000)
    y = (rng.random(3_000) < 1 / (1 + np.exp(2 - z))).astype(int)
    p = np.where(rng.random(3_000) < never, 0.0, 1 / (1 + np.exp(2 - told * z)))
    clipped = np.clip(p, 1e-15, 1 - 1e-15)
    log_odds = (np.log(clipped) - np.log1p(-clipped))[:, None]
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1_000).fit(log_odds, y)
    found = metrics(y, p)
    assert found["slope"] == pytest.approx(expected.coef_[0, 0], rel=1e-3)
    assert found["intercept"] == pytest.approx(expected.intercept_[0], rel=1e-3)


def test_calibration_error_over_ten_bins_of_equal_mass() -> None:
    p = np.arange(1000) / 2000
    order = np.random.default_rng(0).permutation(1000)
    y = np.zeros(1000, dtype=int)
    bins = np.arange(1000) // 100
    for b in range(10):
        y[np.flatnonzero(bins == b)[: 5 * b + 10]] = 1  # rates 0.10, 0.15, ... 0.55
    expected = np.mean([abs(p[bins == b].mean() - (5 * b + 10) / 100) for b in range(10)])
    assert metrics(y[order], p[order])["calibration_error"] == pytest.approx(expected)


def test_ties_share_a_bin_and_the_top_tenth_takes_their_share() -> None:
    y = np.array([1] * 30 + [0] * 70)
    for order in (np.arange(100), np.arange(100)[::-1], np.random.default_rng(1).permutation(100)):
        flat = metrics(y[order], np.full(100, 0.3))
        assert flat["calibration_error"] == pytest.approx(0)
        assert flat["lift_top_tenth"] == pytest.approx(1)
        assert flat["auc"] == 0.5
    # Four certain ones at the top, then a tie of 96 with 26 won: the tenth is those four and six of the tie.
    p = np.array([0.9] * 4 + [0.3] * 96)
    assert metrics(y, p)["lift_top_tenth"] == pytest.approx((4 + 6 * 26 / 96) / 10 / 0.3)


def test_one_class_leaves_undefined_what_is() -> None:
    found = metrics([0, 0, 0], [0.1, 0.2, 0.3], groups=["a", "b", "c"])
    assert found["auc"] is None
    assert found["lift_top_tenth"] is None
    assert found["brier_skill"] is None
    assert found["log_loss"] > 0
    assert "auc" not in found["interval"]
    assert metrics([], [])["log_loss"] is None


def test_what_are_no_probabilities_or_labels_is_refused() -> None:
    for y, p in (([0, 1], [0.5, 1.1]), ([0, 1], [0.5, math.nan]), ([0, 2], [0.5, 0.5]), ([0, 1], [0.5])):
        with pytest.raises(ValueError, match="must"):
            metrics(y, p)


def test_intervals_come_from_whole_prospects() -> None:
    y, p = drawn(400)
    ids = np.arange(400).astype(str)
    once = metrics(y, p, groups=ids)["interval"]
    # Ten copies of each prospect's row tell no more than one.
    copies = metrics(np.tile(y, 10), np.tile(p, 10), groups=np.tile(ids, 10))
    assert copies["interval"]["log_loss"] == pytest.approx(once["log_loss"])
    blind = metrics(np.tile(y, 10), np.tile(p, 10), groups=np.arange(4_000).astype(str))["interval"]
    for figure in ("auc", "log_loss", "brier", "rate", "lift_top_tenth"):
        low, high = copies["interval"][figure]
        assert low < copies[figure] < high
        assert blind[figure][1] - blind[figure][0] < 0.6 * (high - low)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(60):
        y, p = drawn(300, seed)
        low, high = metrics(y, p, groups=np.arange(300), resamples=100, seed=seed)["interval"]["rate"]
        held += low <= 1 / 9 <= high
    assert 50 <= held <= 60


def test_the_bootstrap_is_seeded() -> None:
    y, p = drawn(200)
    ids = np.arange(200)
    first = metrics(y, p, groups=ids, seed=1)
    assert metrics(y, p, groups=ids, seed=1) == first
    assert metrics(y, p, groups=ids, seed=2)["interval"] != first["interval"]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return planted(900, seed=11, lag=1.5)


@pytest.fixture(scope="module")
def features(tables: Tables) -> FeatureSet:
    return FeatureSet(tables.dataset, ORIGIN_SIZE)


def test_it_tests_the_landmarks_after_the_cut_with_what_is_known_at_the_end(
    tables: Tables, features: FeatureSet
) -> None:
    found = evaluate_forward(tables, features, at(120), at(150))
    assert found.rows["as_of"].between(at(120) + 1, at(150)).all()
    every = build(tables, features)
    y, observed = labels(every)
    expected = observed & (every.as_of > at(120)) & (every.as_of <= at(150))
    assert found.rows["y"].tolist() == y[expected].tolist()
    assert found.rows["prospect_id"].tolist() == every.rows["prospect_id"][expected].tolist()
    assert found.counts["tested"] == expected.sum() > 300
    assert found.figures["n"] == expected.sum()
    assert found.figures["auc"] > 0.6
    assert found.figures["interval"]["log_loss_gain"][0] > 0
    assert sum(a["n"] for a in found.by_age) == expected.sum()
    assert [a["age_days"] for a in found.by_age] == [0, 1, 3, 7, 14, 30, 60, 90]


def test_it_trains_as_one_would_have_at_the_cut(tables: Tables, features: FeatureSet) -> None:
    found = evaluate_forward(tables, features, at(120), at(150))
    then = fit(build(tables, features, at(120)), folds=0)
    assert found.model.model_text == then.model_text
    assert found.base_rate == then.card["base_rate"]
    assert found.rows["constant"].unique() == pytest.approx([then.card["base_rate"]])
    assert found.model.card["trained_until"] == format_time(at(120))


def test_what_is_recorded_after_the_cut_changes_the_test_and_not_the_model() -> None:
    prospects = {f"p{i:03d}": i / 3 for i in range(300)}
    early = [(p, "won", d + 1 + i % 9) for i, (p, d) in enumerate(prospects.items()) if i % 4 == 0 and d < 80]
    late = [(p, "won", d + 1 + i % 9, d + 30) for i, (p, d) in enumerate(prospects.items()) if i % 4 == 1 and d > 55]
    goal = Goal(horizons=(("", 14),))
    first, second = (by_hand(prospects, outcomes, until=150, goal=goal) for outcomes in (early, early + late))
    features = FeatureSet(first.dataset, (Attribute("prospects", "source"),))
    a, b = (evaluate_forward(t, features, at(85), at(110)) for t in (first, second))
    assert a.model.model_text == b.model.model_text
    assert a.figures["rate"] < b.figures["rate"]
    # Rows between such a win and its record are neither of the one class nor of the other.
    assert b.counts["late"] > 10
    assert a.counts["late"] == 0


def test_rows_whose_horizon_is_not_over_are_left_out_and_counted(tables: Tables, features: FeatureSet) -> None:
    found = evaluate_forward(tables, features, at(120), at(200))
    every = build(tables, features)
    _, observed = labels(every)
    after = every.as_of > at(120)
    assert found.counts["tested"] == (after & observed).sum()
    assert found.counts["unobserved"] == (after & ~observed).sum() > 100
    assert found.rows["as_of"].max() + 30 * DAY <= every.observed_until


def test_a_horizon_of_ones_own(tables: Tables, features: FeatureSet) -> None:
    found = evaluate_forward(tables, features, at(120), at(150), 7)
    assert found.model.constants["edges"] == [0, 1, 3, 7]
    assert found.figures["rate"] < 0.6 * evaluate_forward(tables, features, at(120), at(150)).figures["rate"]


def test_every_point_of_the_curve_on_the_rows_observed_up_to_it(tables: Tables, features: FeatureSet) -> None:
    found = evaluate_forward(tables, features, at(120), at(200))
    every = build(tables, features)
    every = every.select((every.as_of > at(120)) & (every.as_of <= at(200)))
    scores = found.model.scorer.score_rows(columns(every.values, features))
    start = np.asarray(found.model.constants["starting_score"])
    assert [h["days"] for h in found.by_horizon] == [1, 3, 7, 14, 30]
    for i, figures in enumerate(found.by_horizon):
        y, observed = labels(every, figures["days"])
        p = np.array([score.curve[i][1] for score in scores])[observed]
        constant = 1 - np.prod(1 - 1 / (1 + np.exp(-start[: i + 1])))
        expected = metrics(y[observed], p, constant=constant)
        assert figures == {"days": figures["days"], **{k: pytest.approx(v) for k, v in expected.items()}}
    sizes = [h["n"] for h in found.by_horizon]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] == found.figures["n"]
    assert found.by_horizon[-1]["log_loss"] == pytest.approx(found.figures["log_loss"])
    assert found.by_horizon[-1]["log_loss_gain"] == pytest.approx(found.figures["log_loss_gain"])
    rates = [h["rate"] for h in found.by_horizon]
    assert rates == sorted(rates)


def test_a_regime_is_tested_up_to_its_own_horizon() -> None:
    goal = Goal(horizons=(("", 30), ("mass", 7)))
    tables = planted(700, seed=4, regimes=("mass", "industrial"), goal=goal)
    features = FeatureSet(tables.dataset, ORIGIN_SIZE)
    found = evaluate_forward(tables, features, at(120), at(150), resamples=0)
    mass, rest = (found.rows["regime"] == r for r in ("mass", "industrial"))
    assert {level["level"]: level["n"] for level in found.by["regime"]} == {
        "mass": mass.sum(),
        "industrial": rest.sum(),
    }
    by_days = {h["days"]: h["n"] for h in found.by_horizon}
    assert by_days[7] >= len(found.rows)
    assert by_days[14] <= by_days[7] - mass.sum()
    for level in found.by["regime"]:
        part = found.rows[found.rows["regime"] == level["level"]]
        assert level["log_loss"] == pytest.approx(metrics(part["y"], part["p"])["log_loss"])
        assert level["rate"] == part["y"].mean()


def segmented(bands: tuple[str, ...] = ("50-249",)) -> Tables:
    """800 prospects of 200 accounts: a fourth has 5 heads, a fourth 20 and from day 120 on 300, a fourth only a band,
    a fourth nothing known. Half came from the web, the other half from fifty rare sources, or from none."""
    rng = np.random.default_rng(5)
    created = np.sort(rng.uniform(0, 200, 800))
    account = rng.integers(0, 200, 800)
    ids = [f"p{i:03d}" for i in range(800)]
    source = np.where(rng.random(800) < 0.5, "web", [f"fair {i}" for i in rng.integers(0, 50, 800)]).astype(object)
    source[rng.random(800) < 0.2] = None
    won = created + rng.exponential(150, 800)
    accounts = [
        {
            "account_id": f"a{i}",
            "observed_at": day,
            "headcount": {0: 5.0, 1: 20.0 if day < 120 else 300.0}.get(i % 4),
            "headcount_band": bands[i // 4 % len(bands)] if i % 4 == 2 else None,
        }
        for i in range(200)
        for day in ((0.0, 120.0) if i % 4 == 1 else (0.0,))
    ]
    versions = pd.DataFrame(accounts)
    versions["observed_at"] = times(versions["observed_at"])
    frames = {
        "prospects": pd.DataFrame({"prospect_id": ids, "created_at": times(created), "source": source}),
        "accounts": versions,
        "outcomes": pd.DataFrame({"prospect_id": ids, "outcome": "won", "occurred_at": times(won)})[won < 200],
    }
    frames["prospects"]["account_id"] = [f"a{i}" for i in account]
    frames["outcomes"]["recorded_at"] = frames["outcomes"]["occurred_at"]
    return tables_from_frames(frames, Dataset(complete_until=at(200), goal=Goal(horizons=(("", 14),))))


def test_segments_are_those_of_the_tables_as_of_t_whatever_the_features_are() -> None:
    tables = segmented()
    features = FeatureSet(tables.dataset, (Expression("age", (Attribute("prospects", "created_at"),)),))
    found = evaluate_forward(tables, features, at(100), at(150), resamples=0)
    rows = found.rows
    facts = tables.prospects.select("prospect_id", "source", "account_id").to_pandas().set_index("prospect_id")
    facts = facts.loc[rows["prospect_id"]].reset_index()
    kind = facts["account_id"].str[1:].astype(int) % 4
    grown = rows["as_of"] >= at(120)
    expected = kind.map({0: "1-9", 1: "10-49", 2: "50-249", 3: "unknown"}).mask((kind == 1) & grown, "250+")
    sizes = found.by["size"]
    assert [level["level"] for level in sizes] == ["1-9", "10-49", "50-249", "250+", "unknown"]
    assert {level["level"]: level["n"] for level in sizes} == expected.value_counts().to_dict()
    for level in sizes:
        part = rows[(expected == level["level"]).to_numpy()]
        assert level["log_loss"] == pytest.approx(metrics(part["y"], part["p"])["log_loss"])
    web, unknown = facts["source"] == "web", facts["source"].isna()
    assert [(level["level"], level["n"]) for level in found.by["source"]] == [
        ("web", web.sum()),
        ("unknown", unknown.sum()),
        ("other", (~web & ~unknown).sum()),  # fifty sources of a few prospects each
    ]
    # Nobody gave a regime: it is told by the staff. A band that is none of the register's tells nothing.
    regimes = kind.map({0: "mass", 1: "industrial"}).fillna("unknown").value_counts()
    assert {level["level"]: level["n"] for level in found.by["regime"]} == regimes.to_dict()
    assert [level["horizon_days"] for level in found.by["regime"]] == [14] * 3


def test_codes_of_the_register_are_told_as_the_bands_that_they_lie_in() -> None:
    tables = segmented(("21", "31", "12", "53", "NN", "11 to 50"))
    features = FeatureSet(tables.dataset, (Expression("age", (Attribute("prospects", "created_at"),)),))
    found = evaluate_forward(tables, features, at(100), at(150), params={}, resamples=0)
    accounts = tables.prospects.select("prospect_id", "account_id").to_pandas().set_index("prospect_id")["account_id"]
    number = found.rows["prospect_id"].map(accounts).str[1:].astype(int)
    expected = (number // 4 % 6).map({0: "50-249", 1: "50-249", 2: "10-49", 3: "250+", 4: "1-9", 5: "other"})
    banded = number % 4 == 2
    assert found.rows["size"][banded].tolist() == expected[banded].tolist()
    assert {level["level"] for level in found.by["size"]} <= {"1-9", "10-49", "50-249", "250+", "other", "unknown"}


def test_a_census_tests_everyone_open_each_week(tables: Tables, features: FeatureSet) -> None:
    found = evaluate_forward(tables, features, at(120), at(150), census=True)
    assert sorted(found.rows["as_of"].unique()) == [at(127), at(134), at(141), at(148)]
    assert len(found.rows) > 1_000
    assert found.figures["auc"] > 0.6
    with pytest.raises(BadInput) as caught:
        evaluate_forward(tables, features, at(120), at(126), census=True)
    assert caught.value.code == "nothing_to_test"


def test_without_features_the_standard_ones_of_the_cut_are_taken(tables: Tables) -> None:
    found = evaluate_forward(tables, None, at(120), at(150), params={"num_iterations": 20})
    assert "origin" in found.model.spec.names
    assert found.model.card["params"]["num_iterations"] == 20


def test_nothing_to_test_is_said(tables: Tables, features: FeatureSet) -> None:
    with pytest.raises(BadInput) as caught:
        evaluate_forward(tables, features, at(180), at(190))
    assert caught.value.code == "nothing_to_test"
    assert caught.value.remedy


def test_rolling_takes_the_rows_of_all_cuts_together(tables: Tables, features: FeatureSet) -> None:
    cuts = [at(100), at(125)]
    found = rolling(tables, features, cuts)
    first, second = found.evaluations
    assert (first.cut, first.test_until, second.cut) == (at(100), at(125), at(125))
    assert (found.figures["n"], found.skipped) == (len(first.rows) + len(second.rows), [])
    assert found.figures["log_loss"] == pytest.approx(
        np.average([first.figures["log_loss"], second.figures["log_loss"]], weights=[len(first.rows), len(second.rows)])
    )
    # Each row's constant is the base rate of its own cut.
    assert found.figures["log_loss_gain"] == pytest.approx(
        np.average(
            [first.figures["log_loss_gain"], second.figures["log_loss_gain"]],
            weights=[len(first.rows), len(second.rows)],
        )
    )
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [c["cut"] for c in said["cuts"]] == [format_time(c) for c in cuts]
    assert said["figures"]["n"] == found.figures["n"]
    assert set(said) == {"cuts", "figures", "by_age", "by", "by_horizon", "skipped"}
    assert set(said["cuts"][0]) == {"cut", "test_until", "base_rate", "counts", "figures", "by_age"}
    assert [h["days"] for h in said["by_horizon"]] == [1, 3, 7, 14, 30]
    assert said["by_horizon"][0]["n"] == sum(e.by_horizon[0]["n"] for e in found.evaluations)


def test_cuts_at_which_nothing_can_be_trained_are_skipped_with_the_reason(tables: Tables, features: FeatureSet) -> None:
    found = rolling(tables, features, [at(10), at(120)])
    assert len(found.evaluations) == 1
    assert found.skipped[0]["cut"] == format_time(at(10))
    assert "one class only" in found.skipped[0]["reason"]
    with pytest.raises(BadInput) as caught:
        rolling(tables, features, [at(10)])
    assert caught.value.code == "no_cuts"


def test_default_cuts_lie_in_the_later_half_of_what_can_be_tested(tables: Tables) -> None:
    goal = tables.dataset.goal
    cuts = default_cuts(tables, goal)
    last = build(tables, FeatureSet(tables.dataset, ORIGIN_SIZE)).observed_until - 30 * DAY
    assert len(cuts) == 4
    assert all(cut % DAY == 0 for cut in cuts)
    assert at(75) < cuts[0] < cuts[1] < cuts[2] < cuts[3] < last
    assert default_cuts(tables, replace(goal, horizons=(("", 300),))) == ()
    with pytest.raises(BadInput) as caught:
        rolling(tables, horizon=300)
    assert caught.value.code == "no_cuts"
