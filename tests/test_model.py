from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from features.contract import DAY, Goal, format_time
from features.errors import BadInput
from features.spec import Aggregate, Attribute, Expression, FeatureSet
from features.tables import Tables
from serving.bundle import check_bundle, read_bundle
from serving.schema import parse_request
from serving.scorer import Scorer
from tests.funnels import at, by_hand, planted
from training import model as models
from training.dataset import TrainingSet, build, labels
from training.hazard import Pooled
from training.interval import LEVEL, interval
from training.model import DEFAULTS, Model, columns, fit
from training.run import seldom_collected
from training.start import start

ORIGIN_SIZE = (Attribute("prospects", "origin"), Attribute("prospects", "size"))
AGE = Expression("age", (Attribute("prospects", "created_at"),))


def rows_of(tables: Tables, *features: Any, until: int | None = None) -> TrainingSet:
    return build(tables, FeatureSet(tables.dataset, features or (*ORIGIN_SIZE, AGE)), until)


@pytest.fixture(scope="module")
def rows() -> TrainingSet:
    return rows_of(planted(900, seed=1, accounts=True))


@pytest.fixture(scope="module")
def model(rows: TrainingSet) -> Model:
    return fit(rows)


def test_it_learns_what_was_planted_and_how_often(rows: TrainingSet, model: Model) -> None:
    p = model.predict(rows)
    origin = rows.values["origin"].to_numpy()
    good, fair, poor = (p[origin == o].mean() for o in ("good", "fair", "poor"))
    # 30 days at 0.012, 0.004 and 0.001 a day, less those lost first (0.004 a day, for good).
    truth = [d / (d + 0.004) * (1 - math.exp(-30 * (d + 0.004))) for d in (0.012, 0.004, 0.001)]
    assert (good, fair) == pytest.approx(truth[:2], rel=0.35)
    assert truth[2] < poor < 0.5 * p.mean()  # shrunk towards the base rate, by design
    y, observed = labels(rows)
    assert p[observed].mean() == pytest.approx(y[observed].mean(), rel=0.15)
    assert model.card["warnings"] == []
    assert model.card["calibration"]["slope"] == pytest.approx(1, abs=0.25)
    figures = model.card["metrics"]["folds"]
    assert figures["n"] == observed.sum()
    assert 0.6 < figures["auc"] < 0.85
    assert figures["interval"]["log_loss_gain"][0] > 0


def test_the_probability_is_that_of_the_trees_and_the_starting_score(rows: TrainingSet) -> None:
    model = fit(rows, DEFAULTS)
    booster = lightgbm.Booster(model_str=model.model_text)
    constants = model.constants
    codes = {level: float(i) for i, level in enumerate(constants["categories"]["origin"])}
    part = rows.select(np.arange(len(rows)) < 50)
    plain = part.values.assign(origin=part.values["origin"].map(codes)).to_numpy(dtype=float)
    survival = np.ones(len(part))
    for k, begun in enumerate(constants["starting_score"]):
        raw = booster.predict(np.column_stack([plain, np.full(len(part), k)]), raw_score=True)
        survival *= 1 - 1 / (1 + np.exp(-(begun + raw)))
    assert constants["edges"] == [0, 1, 3, 7, 14, 30]
    assert model.predict(part) == pytest.approx(1 - survival, abs=1e-12)


def test_the_same_rows_and_seed_give_the_same_bundle(rows: TrainingSet, model: Model, tmp_path: Path) -> None:
    first = model.write(tmp_path / "first", created_at="2024-01-01T00:00:00Z")
    assert fit(rows).write(tmp_path / "again", created_at="2024-01-01T00:00:00Z") == first
    assert fit(rows, seed=1, folds=0).write(tmp_path / "other", created_at="2024-01-01T00:00:00Z") != first


def test_the_bundle_is_whole_and_scores_its_example_in_another_process(model: Model, tmp_path: Path) -> None:
    model.write(tmp_path / "bundle", created_at="2024-01-01T00:00:00Z")
    bundle = check_bundle(tmp_path / "bundle")
    assert bundle.card["created_at"] == "2024-01-01T00:00:00Z"
    assert 0 < bundle.card["example"]["probability"] < 1
    assert bundle.features == model.spec


def test_the_card_says_what_it_was_trained_on(rows: TrainingSet, model: Model) -> None:
    card = model.card
    assert card["trained_until"] == format_time(at(200))
    assert card["horizon_days"] == 30
    assert card["data"]["digest"] == rows.digest
    assert card["data"]["rows"] == len(rows)
    assert card["data"]["prospects"] == 900
    assert card["data"]["learned_outcomes"] <= card["data"]["outcomes"]
    assert card["features"] == ["origin", "size", "days_since_created_at"]
    assert card["feature_fingerprint"] == rows.features.fingerprint
    assert card["model"] == card["choice"]["chosen"]
    assert [c["name"] for c in card["choice"]["candidates"]][:2] == ["trees_50", "trees_100"]
    assert {i["to_days"]: i["rows"] > 0 for i in card["intervals"]} == dict.fromkeys((1, 3, 7, 14, 30), True)
    assert card["libraries"]["lightgbm"] == lightgbm.__version__


def test_no_prospect_of_the_data_is_in_the_example(rows: TrainingSet, model: Model) -> None:
    request = model.card["example"]["request"]
    assert request["prospect"]["prospect_id"] not in set(rows.rows["prospect_id"])
    assert request["prospect"]["attributes"]["origin"] in ("good", "fair", "poor")
    parsed = parse_request(request, model.spec.dataset, 0)
    assert parsed.as_of == at(200)


def test_the_example_uses_everything_that_the_features_name() -> None:
    tables = by_hand(
        {f"p{i:03d}": i / 4 for i in range(200)},
        [(f"p{i:03d}", "won", i / 4 + 3 + i % 5) for i in range(0, 180, 3)],
        events=[(f"p{i:03d}", ("call", "mail")[i % 2], i / 4 + 1) for i in range(190)],
        until=60,
        goal=Goal(horizons=(("", 7),)),
    )
    features = (
        Aggregate("count", "call"),
        Aggregate("count", "mail", 30, direction="inbound", channel="web"),
        Aggregate("sum", role="buyer"),
        Aggregate("distinct_contacts", scope="account"),
        Expression("days_until", (Attribute("prospects", "tender_deadline"),)),
        Attribute("accounts", "headcount"),
        Expression("age", (Attribute("accounts", "founded_on"),)),
        Attribute("accounts", "public_body"),
        AGE,
    )
    model = fit(rows_of(tables, *features))
    request = model.card["example"]["request"]
    score = model.scorer.score(*parsed(model, request))
    assert score.probability == model.card["example"]["probability"]
    codes = {w.code for w in score.warnings}
    assert not codes & {"events_unknown", "contacts_unknown", "account_unknown", "related_unknown", "future_records"}
    raw = model.scorer._features(*parsed(model, request))
    assert None not in raw


def parsed(model: Model, request: dict[str, Any]) -> tuple[Any, int]:
    found = parse_request(request, model.spec.dataset, 0)
    return found.records, found.as_of


def test_the_starting_score_is_the_base_rate_of_each_interval() -> None:
    def starting(k: Any, y: Any) -> Any:
        none = np.zeros(len(k), dtype=np.int64)
        return start(Pooled(np.zeros((1, 0)), none, k, y, none, (0, 1, 3), {}, (), none[:1], none[:1])).intervals

    k = np.repeat([0, 1], [100_000, 50_000])
    y = np.zeros(150_000, dtype=np.int64)
    y[:1_000] = 1
    y[100_000:104_000] = 1
    rate = 1 / (1 + np.exp(-starting(k, y)))
    assert rate == pytest.approx([0.01, 0.08], rel=0.005)
    # By hand: 1 outcome in 10 rows of one day and none in 5 of two days, so 1 in 20 days; expected 0.4877 and 0.4758.
    k, y = np.repeat([0, 1], [10, 5]), np.array([1] + [0] * 14)
    one, two = 1 - math.exp(-0.05), 1 - math.exp(-0.1)
    expected = [one * 2 / (10 * one + 1), two * 1 / (5 * two + 1)]
    assert 1 / (1 + np.exp(-starting(k, y))) == pytest.approx(expected)


def refused(tables: Tables, until: float | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        fit(rows_of(tables, AGE, until=None if until is None else at(until)))
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    return caught.value


WEEK = Goal(horizons=(("", 7),))


def test_one_class_is_refused_with_what_there_is_and_is_needed() -> None:
    nobody = refused(by_hand({"a": 0, "b": 0}, [("a", "lost", 2)], until=100, goal=WEEK))
    assert nobody.code == "one_class"
    assert "none of the 2 prospects" in nobody.message
    assert nobody.details["outcomes"] == 0
    assert nobody.details["needed"] == 1
    everybody = refused(by_hand({"a": 0, "b": 0}, [("a", "won", 2), ("b", "won", 9)], until=100, goal=WEEK))
    assert everybody.code == "one_class"
    assert "all of the 2 prospects" in everybody.message


def test_outcomes_that_no_observed_interval_holds_are_too_few() -> None:
    # Won on day 60, after the longest interval from any landmark before it that ends by day 60 (30 + 7 < 60).
    error = refused(by_hand({"a": 0, "b": 0}, [("a", "won", 50)], until=300, goal=WEEK))
    assert error.code == "too_few_outcomes"
    assert "of the 1 `won`" in error.message


def test_a_horizon_longer_than_the_data_is_refused_with_how_long_they_would_have_to_be() -> None:
    outcomes = [("a", "won", 2), ("b", "won", 10, 12)]
    error = refused(by_hand({"a": 0, "b": 0, "c": 0}, outcomes, until=31, goal=Goal(horizons=(("", 30),))))
    assert error.code == "horizon_too_long"
    assert "the data span 31.0 days, of which the last 2.0 are not wholly recorded" in error.message
    assert error.details["data_needed_until"] == format_time(at(32))
    assert "at most 29 days" in error.remedy
    # One day more is enough.
    fit(rows_of(by_hand({"a": 0, "b": 0, "c": 0}, outcomes, until=32, goal=Goal(horizons=(("", 30),))), AGE))


def test_no_observed_interval_at_all_is_too_few() -> None:
    error = refused(by_hand({"a": 0, "b": 0}, [("a", "won", 0.5)], until=0.75, goal=WEEK))
    assert error.code == "too_few_outcomes"
    assert "data_needed_until" in error.details
    assert "at most" not in error.remedy  # no horizon is short enough


def test_twenty_prospects_with_five_wins_train_with_a_warning_and_wide_intervals() -> None:
    tables = by_hand(
        {f"p{i:02d}": i / 2 for i in range(20)},
        [(f"p{i:02d}", "won", i / 2 + 2.5) for i in (1, 5, 8, 12, 15)],
        until=60,
        goal=Goal(horizons=(("", 30),)),
    )
    rows = rows_of(tables, AGE, Attribute("prospects", "source"))
    model = fit(rows)
    scores = model.scorer.score_rows(columns(rows.values, rows.features))
    assert "few_outcomes" in {w["code"] for w in model.card["warnings"]}
    assert "5 outcomes" in model.card["warnings"][0]["text"]
    young = [s for s, age in zip(scores, rows.rows["age_days"], strict=True) if age == 0]
    assert all(s.probability_low < s.probability / 1.3 for s in young)
    assert all(s.probability_high > s.probability * 1.3 for s in young)
    assert 0.1 < np.mean([s.probability for s in young]) < 0.5


def test_few_outcomes_in_the_last_interval_are_said() -> None:
    rows = rows_of(planted(900, seed=2, daily={"good": 0.02, "fair": 0.005}))
    quick = replace(rows, goal_at=np.where(rows.goal_at - rows.as_of < 13 * DAY, rows.goal_at, 2**62))
    texts = [w["text"] for w in fit(quick, folds=0).card["warnings"] if w["code"] == "few_outcomes"]
    assert any("between day 14 and day 30" in text for text in texts)


def test_rare_levels_share_a_code_and_unseen_ones_take_it() -> None:
    rows = rows_of(planted(900, seed=3, daily={"good": 0.012, "fair": 0.004}))
    column = rows.values["origin"].astype(object).copy()
    ids = rows.rows["prospect_id"]
    some = ids.unique()
    column[ids.isin(some[:20])] = "twenty"
    column[ids.isin(some[20:39])] = "nineteen"
    column[ids.isin(some[40:45])] = None
    model = fit(replace(rows, values=rows.values.assign(origin=column)), folds=0)
    assert model.constants["categories"]["origin"] == ["fair", "good", "twenty"]
    assert model.constants["has_other"] == ["origin"]
    assert model.constants["rare"] == {"origin": ["nineteen"]}
    values = {"origin": ["nineteen", "never seen", None], "size": [20.0] * 3, "days_since_created_at": [1.0] * 3}
    rare, unseen, missing = model.scorer.score_rows(values)
    assert rare.probability == unseen.probability
    assert [w.code for w in unseen.warnings if w.code == "unseen_level"] == ["unseen_level"]
    assert not [w for w in rare.warnings if w.code == "unseen_level"]
    assert missing.probability > 0


def test_only_the_commonest_levels_are_kept() -> None:
    rows = rows_of(planted(2_500, seed=4, daily={"good": 0.012, "fair": 0.004}), *ORIGIN_SIZE)
    number = rows.rows["prospect_id"].str[1:].astype(int)
    # Levels of 50 down to 20 prospects, and of 19: of the 62 that reach 20, the two smallest have to go.
    sizes = np.concatenate([np.linspace(50, 20, 62).astype(int), [19] * 5])
    level = np.repeat(np.arange(len(sizes)), sizes)
    names = np.array([f"L{level[n]:02d}" if n < len(level) else None for n in number], dtype=object)
    model = fit(replace(rows, values=rows.values.assign(origin=names)), folds=0)
    assert model.constants["categories"]["origin"] == [f"L{i:02d}" for i in range(60)]
    assert model.constants["rare"]["origin"] == [f"L{i:02d}" for i in range(60, 67)]


def test_folds_keep_prospects_and_accounts_together(rows: TrainingSet) -> None:
    positive = np.flatnonzero(labels(rows)[0])
    fold = models._folds(rows, positive, 5, seed=0)
    frame = rows.rows.assign(fold=fold, positive=labels(rows)[0])
    assert frame.groupby("account_id")["fold"].nunique().max() == 1
    assert frame.groupby("prospect_id")["fold"].nunique().max() == 1
    assert frame.groupby("account_id")["prospect_id"].nunique().max() > 2
    share = frame.groupby("fold")["positive"].sum() / frame["positive"].sum()
    assert share.between(0.1, 0.3).all()


def test_folds_keep_together_what_ever_shared_an_account(rows: TrainingSet) -> None:
    # p, q and r never all meet: p and q in x, then q and r in y.
    first = rows.select(np.arange(len(rows)) < 400)
    moved = first.rows.copy()
    names = moved["prospect_id"].unique()
    p, q, r = names[0], names[1], names[2]
    lines = {n: moved.index[moved["prospect_id"] == n] for n in (p, q, r)}
    moved["account_id"] = [f"own-{n}" for n in moved["prospect_id"]]
    moved.loc[lines[p], "account_id"] = "x"
    moved.loc[lines[q][:1], "account_id"] = "x"
    moved.loc[lines[q][1:], "account_id"] = "y"
    moved.loc[lines[r], "account_id"] = "y"
    for seed in range(5):
        fold = models._folds(replace(first, rows=moved), np.arange(3), 5, seed)
        assert len({int(f) for n in (p, q, r) for f in fold[lines[n]]}) == 1
        assert len(np.unique(fold)) == 5


def test_folds_without_accounts_or_with_a_single_one_are_by_prospect(rows: TrainingSet) -> None:
    for account in (None, "one"):
        same = replace(rows, rows=rows.rows.assign(account_id=account))
        fold = models._folds(same, np.arange(10), 5, seed=0)
        assert np.bincount(fold).min() > 0.1 * len(rows)
        assert rows.rows.assign(fold=fold).groupby("prospect_id")["fold"].nunique().max() == 1


def test_out_of_fold_figures_do_not_know_their_own_labels() -> None:
    # Noise alone, but each prospect can be told from all others: only a leak between folds could rank them.
    tables = planted(500, seed=6, daily={"any": 0.006})
    model = fit(rows_of(tables, *ORIGIN_SIZE))
    assert model.card["metrics"]["folds"]["auc"] == pytest.approx(0.5, abs=0.08)
    assert "weak_signal" in {w["code"] for w in model.card["warnings"]}


def test_an_interval_adds_up_what_the_folds_and_the_kinds_of_model_leave_open() -> None:
    x = np.linspace(-4, 0, 400)
    folds = x + np.array([-0.2, -0.1, 0.0, 0.1, 0.2])[:, None]
    kinds = np.array([x + 0.3, x - 0.3])
    found = interval(x, folds, kinds, 1000)
    # By hand: the jackknife's variance is 4/5 of the sum of squares, 0.08; half the distance is 0.3. Five folds leave
    # four degrees of freedom: Student's 95 % point is 2.1318.
    arm = 2.1318468 * math.sqrt(0.08 + 0.09)
    assert found["low"] == found["high"] == pytest.approx([arm] * 16)
    assert found["level"] == LEVEL == 0.9
    assert (np.diff(found["logit"]) > 0).all()
    # So few outcomes leave more open than the folds show.
    assert interval(x, folds, kinds, 4)["low"][0] == pytest.approx(2.1318468 * math.sqrt(1 / 4 + 0.09))
    # Where models differ more, the interval is wider there, and there only.
    wider = interval(x, folds, np.where(x > -1, 3, 1) * (kinds - x) + x, 1000)["low"]
    assert wider[0] == pytest.approx(arm)
    assert wider[-1] > 1.5 * arm


@pytest.mark.parametrize("count", [1, 20, 60, 400])
def test_an_interval_is_knots_that_the_scorer_takes(count: int) -> None:
    x = np.repeat(-2.0, count) if count < 60 else np.random.default_rng(1).normal(-2, 1, count)
    found = interval(x, np.tile(x, (5, 1)), np.tile(x, (2, 1)), 30)
    assert (np.diff(found["logit"]) > 0).all()
    assert 1 <= len(found["logit"]) == len(found["low"]) == len(found["high"]) <= 16
    assert found["low"] == pytest.approx([2.1318468 / math.sqrt(30)] * len(found["low"]))


def test_of_one_probability_for_all_the_doubt_is_that_of_all() -> None:
    """A model that tells nobody apart has one doubt: not that of the prospects who happen to stand first."""
    x = np.full(400, -2.0)
    kinds = np.stack([x, x + np.repeat([2.0, 0.0], 200)])
    found = interval(x, np.tile(x, (5, 1)), kinds, 100)
    assert found["logit"] == [-2.0]
    assert found["low"] == found["high"] == pytest.approx([2.1318468 * math.sqrt(1 / 100 + 0.5)])


def test_the_interval_narrows_with_data() -> None:
    # Of one recipe: left to choose, few outcomes take a steadier one, whose interval is the narrower for it.
    few, many = (fit(rows_of(planted(count, seed=9)), DEFAULTS) for count in (250, 2_000))
    assert np.mean(few.constants["interval"]["low"]) > 1.4 * np.mean(many.constants["interval"]["low"])


def test_grades_follow_the_base_rate_or_what_they_were(rows: TrainingSet, model: Model) -> None:
    base = model.card["base_rate"]
    assert base == pytest.approx(labels(rows)[0][labels(rows)[1]].mean(), rel=0.15)
    assert model.constants["grade_cuts"] == pytest.approx({"A": 2 * base, "B": base, "C": base / 2})
    assert models._grade_cuts(0.6) == pytest.approx({"A": 0.8, "B": 0.6, "C": 0.3})
    kept = {"A": 0.5, "B": 0.25, "C": 0.1}
    again = fit(rows, grade_cuts=kept, folds=0)
    assert again.constants["grade_cuts"] == kept


def test_ranks_compare_with_the_prospects_open_at_the_end(rows: TrainingSet, model: Model) -> None:
    assert rows.open_rows is not None
    assert rows.open_values is not None
    p = sorted(s.probability for s in model.scorer.score_rows(columns(rows.open_values, rows.features)))
    assert len(p) > 100
    assert model.reference["by_regime"] == {"": p}
    scores = model.scorer.score_rows(columns(rows.open_values, rows.features))
    assert {s.score for s in scores} > {5, 100}
    # Too few of them: each prospect's latest landmark stands in.
    few = replace(rows, open_rows=rows.open_rows[:19], open_values=rows.open_values[:19])
    assert len(fit(few, folds=0).reference["by_regime"][""]) == 900


def test_a_large_population_is_kept_as_quantiles() -> None:
    p = np.random.default_rng(0).random(5_000)
    quantiles = models._quantiles(p)
    assert len(quantiles) == 1001
    assert (quantiles[0], quantiles[500], quantiles[-1]) == pytest.approx((p.min(), np.median(p), p.max()))


@pytest.fixture(scope="module")
def by_regime() -> tuple[TrainingSet, Model]:
    goal = Goal(horizons=(("", 30), ("mass", 7), ("project", 20)))
    rows = rows_of(planted(900, seed=7, regimes=("mass", "industrial", "project"), goal=goal))
    return rows, fit(rows)


def test_each_regime_is_predicted_to_its_own_horizon(by_regime: tuple[TrainingSet, Model]) -> None:
    rows, model = by_regime
    assert model.constants["edges"] == [0, 1, 3, 7, 14, 20, 30]
    scores = model.scorer.score_rows(columns(rows.values, rows.features), rows.rows["regime"].tolist())
    assert [s.horizon_days for s in scores] == rows.horizons().tolist()
    assert model.predict(rows).tolist() == [s.probability for s in scores]
    y, observed = labels(rows)
    for days in (7, 20, 30):
        here = observed & (rows.horizons() == days)
        assert model.predict(rows)[here].mean() == pytest.approx(y[here].mean(), rel=0.3)
        assert model.base_rates(rows)[here].mean() == pytest.approx(y[here].mean(), rel=0.3)
    assert set(model.reference["by_regime"]) == {"", "mass", "industrial", "project"}
    assert model.folds is not None
    assert len(model.folds) == observed.sum()


def test_without_folds_the_probabilities_are_the_same_and_nothing_is_claimed(rows: TrainingSet, model: Model) -> None:
    quick = fit(rows, folds=0)
    assert quick.model_text == model.model_text
    assert quick.folds is None
    assert quick.card["metrics"] == {}
    score = quick.scorer.score_rows(columns(rows.values, rows.features))[0]
    assert score.probability_low < score.probability / 10
    assert score.probability_high > 0.9


def test_parameters_go_over_the_defaults(rows: TrainingSet) -> None:
    small = fit(rows, {"num_iterations": 3}, folds=0)
    assert small.model_text.count("Tree=") == 3
    assert small.card["params"]["num_leaves"] == DEFAULTS["num_leaves"]
    assert small.card["params"]["min_data_in_leaf"] == 200
    few = rows_of(planted(150, seed=8))
    assert fit(few, folds=0).card["params"]["min_data_in_leaf"] < 100


@pytest.mark.parametrize(
    "fill",
    [
        lambda column: None,
        lambda column: "same",
        lambda column: [f"level {i}" for i in range(len(column))],
    ],
    ids=["missing", "constant", "all different"],
)
def test_a_category_that_tells_nothing_does_no_harm(rows: TrainingSet, fill: Callable[[Any], Any]) -> None:
    column = fill(rows.values["origin"])
    values = rows.values.assign(origin=column).astype({"origin": object})
    same = replace(rows, values=values, open_rows=None, open_values=None)
    p = fit(same, folds=0).predict(same)
    assert p.mean() == pytest.approx(labels(rows)[0][labels(rows)[1]].mean(), rel=0.2)


def test_rolling_figures_decide_on_weak_signal(model: Model) -> None:
    strong = {"auc": 0.7, "interval": {"log_loss_gain": [0.01, 0.02]}}
    weak = {"auc": 0.5, "interval": {"log_loss_gain": [-0.01, 0.02]}}
    judged = model.with_rolling(weak, {"cuts": []})
    assert [w["code"] for w in judged.card["warnings"]] == ["weak_signal"]
    assert judged.card["metrics"]["rolling"] == weak
    assert judged.with_rolling(strong).card["warnings"] == []


def test_a_model_scores_as_its_bundle_does(rows: TrainingSet, model: Model, tmp_path: Path) -> None:
    model.write(tmp_path / "bundle")
    scorer = Scorer(read_bundle(tmp_path / "bundle"), "1")
    scores = scorer.score_rows(columns(rows.values, rows.features), rows.rows["regime"].tolist())
    assert [s.probability for s in scores] == model.predict(rows).tolist()


def test_the_collector_comes_seldom_during_a_training_and_as_before_after_it() -> None:
    usual, during = gc.get_threshold(), []

    @seldom_collected()
    def fail() -> None:
        during.append(gc.get_threshold()[0])
        raise RuntimeError

    gc.set_threshold(700, 10, 10)
    try:
        with pytest.raises(RuntimeError):
            fail()
        assert gc.get_threshold() == (700, 10, 10)
        assert during == [50_000]
    finally:
        gc.set_threshold(*usual)
