"""The scorer: its arithmetic against the formula, its bits on every path, its reasons and its warnings."""

from __future__ import annotations

import builtins
import json
import math
import random
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixtures_bundle import (
    DATASET,
    EDGES,
    HAS_OTHER,
    LEVELS,
    SPEC,
    STARTING,
    make_records,
    make_scorer,
    parts,
    request_records,
    trained_text,
    training_rows,
    with_outcome,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import ALWAYS, DAY, Goal, format_time
from features.errors import BadBundle, BadInput
from features.online import compile_features
from features.records import Event, Records, Version
from features.spec import Aggregate, Attribute, FeatureSet
from features.standard import FAMILIES, family
from serving import openapi, trees
from serving.bundle import make_bundle
from serving.scorer import Score, Scorer, _scores, encode, interpolate, interval_weights, sigmoid, softplus
from serving.trees import Trees, expand

CATEGORIES = SPEC.categories


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer()


def random_row(rng: random.Random) -> list[Any]:
    row: list[Any] = []
    for name in SPEC.names:
        if rng.random() < 0.2:
            row.append(None)
        elif name in CATEGORIES:
            row.append(rng.choice([*LEVELS[name], "never met"]))
        else:
            row.append(rng.choice([0.0, 1.0, 2.5, 40.0, rng.expovariate(0.1)]))
    return row


# ------------------------------------------------------------------------------------------------ arithmetic


def test_the_probability_is_the_formula_over_plain_lightgbm(scorer: Scorer) -> None:
    import lightgbm

    booster = lightgbm.Booster(model_str=trained_text())
    rows, regimes = training_rows()
    answers = scorer.score_rows(rows[:300], regimes[:300])
    for row, regime, answer in zip(rows, regimes, answers, strict=False):
        codes = []
        for name, value in zip(SPEC.names, row, strict=True):
            if name in LEVELS and value is not None:
                known = value in LEVELS[name]
                value = LEVELS[name].index(value) if known else len(LEVELS[name]) if name in HAS_OTHER else math.nan
            codes.append(math.nan if value is None else float(value))
        horizon = 30 if regime == "mass" else 90
        alive, curve = 1.0, []
        for k in range(EDGES.index(horizon)):
            raw = booster.predict(np.array([[*codes, float(k)]]), raw_score=True)[0]
            alive *= 1 - 1 / (1 + math.exp(-(-0.1 + 0.9 * (STARTING[k] + raw))))
            curve.append((EDGES[k + 1], 1 - alive))
        p = 1 - alive
        assert answer.horizon_days == horizon
        assert [days for days, _ in answer.curve] == [days for days, _ in curve]
        assert [q for _, q in answer.curve] == pytest.approx([q for _, q in curve], abs=1e-12)
        assert answer.probability == answer.curve[-1][1] == pytest.approx(p, abs=1e-12)
        logit = math.log(p / (1 - p))
        low = np.interp(logit, [-4.0, -1.0, 1.0], [0.6, 0.3, 0.5])
        high = np.interp(logit, [-4.0, -1.0, 1.0], [0.5, 0.25, 0.7])
        assert answer.probability_low == pytest.approx(1 / (1 + math.exp(-(logit - low))), abs=1e-12)
        assert answer.probability_high == pytest.approx(1 / (1 + math.exp(-(logit + high))), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), regime=st.sampled_from([None, "mass", "industrial", "project"]))
def test_the_answer_is_coherent(scorer: Scorer, seed: int, regime: str | None) -> None:
    answer = scorer.score_rows([random_row(random.Random(seed))], [regime], 3)[0]
    probabilities = [q for _, q in answer.curve]
    assert probabilities == sorted(probabilities)
    assert [d for d, _ in answer.curve] == [e for e in EDGES if 1 <= e <= (30 if regime == "mass" else 90)]
    assert answer.probability == probabilities[-1]
    assert 0 <= answer.probability_low <= answer.probability <= answer.probability_high <= 1
    assert 0 <= answer.score <= 100
    assert answer.grade == next(
        (g for g, cut in zip("ABC", (0.4, 0.2, 0.1), strict=True) if answer.probability >= cut), "D"
    )
    assert len(answer.reasons) == 3


@settings(max_examples=200, deadline=None)
@given(z=st.lists(st.floats(-2_000, 2_000), min_size=1, max_size=12))
def test_the_weights_of_the_intervals_sum_to_one(z: list[float]) -> None:
    weights = interval_weights(z)
    assert min(weights) >= 0
    assert math.fsum(weights) == pytest.approx(1, abs=1e-12)


def test_the_weights_are_the_shares_of_the_probability() -> None:
    hazards = [0.2, 0.5, 0.1]
    weights = interval_weights([math.log(h / (1 - h)) for h in hazards])
    p = 1 - 0.8 * 0.5 * 0.9
    assert weights == pytest.approx([0.2 / p, 0.8 * 0.5 / p, 0.8 * 0.5 * 0.1 / p], abs=1e-14)


@pytest.mark.parametrize("x", [-1e308, -800, -40, -1, 0, 1, 40, 800, 1e308])
def test_the_functions_hold_far_out(x: float) -> None:
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1)
    assert softplus(x) == pytest.approx(np.logaddexp(0, x), rel=1e-15)


def test_interpolation() -> None:
    knots, values = [0.0, 1.0, 3.0], [1.0, 2.0, 0.0]
    got = [interpolate(x, knots, values) for x in (-math.inf, -1, 0, 0.25, 1, 2, 3, 9, math.inf)]
    assert got == [1, 1, 1, 1.25, 2, 1, 0, 0, 0]
    assert interpolate(5, [1.0], [0.3]) == interpolate(-5, [1.0], [0.3]) == 0.3


def test_a_tiny_probability_keeps_its_digits() -> None:
    plain = {"calibration": {"slope": 1.0, "intercept": 0.0}}
    row = training_rows()[0][:1]
    near = make_scorer(**plain).score_rows(row)[0]
    far = make_scorer(**plain, starting_score=[-50.0] * 7)
    raw = far._hazards.trees.raw(expand(encode(row, SPEC.names, LEVELS, HAS_OTHER), [7])).tolist()
    answer = far.score_rows(row, reasons=2)[0]
    assert near.probability > 1e-3
    assert 0 < answer.probability < 1e-15  # 1 - prod(1 - h) in plain doubles is 0
    assert answer.probability == pytest.approx(math.fsum(math.exp(r - 50) for r in raw), rel=1e-12)
    assert 0 < answer.probability_low < answer.probability < answer.probability_high
    assert answer.score == 0
    assert len(answer.reasons) == 2


@pytest.mark.parametrize(("start", "expected"), [(-10_000.0, 0.0), (10_000.0, 1.0)])
def test_certainty_does_not_break_the_answer(start: float, expected: float) -> None:
    answer = make_scorer(starting_score=[start] * 7).score_rows(training_rows()[0][:1], reasons=3)[0]
    assert answer.probability == expected
    assert answer.probability_low <= expected <= answer.probability_high
    json.dumps(answer.to_json(), allow_nan=False)
    assert all(math.isfinite(r.effect) for r in answer.reasons)


def test_an_interval_without_width_still_holds_the_probability() -> None:
    narrow = {"level": 0.9, "logit": [0.0], "low": [0.0], "high": [0.0]}
    for answer in make_scorer(interval=narrow).score_rows(training_rows()[0][:300]):
        assert answer.probability_low <= answer.probability <= answer.probability_high
        assert answer.probability_high - answer.probability_low < 1e-12


def scored(scorer: Scorer, p: float, regime: str | None = None) -> Score:
    """A score of this probability."""
    outlook = (((30, p),), p, p, p)
    return _scores(scorer._fixed, [outlook], ["p1"], [0], [regime], [()], None, None, [], None, None)[0]


def test_the_score_is_the_rank_in_the_population_of_the_regime(scorer: Scorer) -> None:
    quantiles = [i / 200 for i in range(101)]
    for p, want in ((-0.001, 0), (0.0, 0), (0.004, 0), (0.005, 1), (0.25, 50), (0.5, 100), (1.0, 100)):
        share = sum(q <= p for q in quantiles) / 101
        assert scored(scorer, p).score == scored(scorer, p, "project").score == int(100 * share)
        assert abs(scored(scorer, p).score - want) <= 1
    assert scored(scorer, 0.2, "mass").score == int(100 * 81 / 101)  # a population of its own


def test_prospects_that_nothing_sets_apart_are_not_all_the_best() -> None:
    """Where no signal is clear a model may say one probability to all: each is then in the middle, not at rank 100."""
    bundle = make_bundle(**parts())
    p = Scorer(bundle, "7").score_rows(training_rows()[0][:1])[0].probability

    def rank(*population: float) -> int:
        among = replace(bundle, reference={"": tuple(sorted(population))})
        return Scorer(among, "7").score_rows(training_rows()[0][:1])[0].score

    assert rank(*[p] * 40) == 50
    assert rank(*[p / 2] * 20, *[p] * 20) == 75
    assert rank(p / 2, p) == 100  # alone the best
    assert (rank(p / 2, p / 3), rank(2 * p)) == (100, 0)


def test_a_grade_begins_at_its_cut(scorer: Scorer) -> None:
    grades = [scored(scorer, p).grade for p in (1.0, 0.4, math.nextafter(0.4, 0), 0.2, 0.1, 0.0999, 0.0)]
    assert grades == ["A", "A", "B", "B", "C", "D", "D"]


# ------------------------------------------------------------------------------------------------ one path


def test_a_single_row_has_the_bits_of_the_batch(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, regimes = training_rows()
    batch = scorer.score_rows(rows, regimes, 5)
    assert len(batch) == len(rows)
    for i in range(0, len(rows), 41):
        assert scorer.score_rows([rows[i]], [regimes[i]], 5)[0] == batch[i]
    monkeypatch.setattr(scorer._hazards, "step", 7)  # many small chunks
    assert scorer.score_rows(rows[:200], regimes[:200], 5) == batch[:200]
    monkeypatch.setattr(scorer._hazards, "forest", None)  # LightGBM itself
    direct = scorer.score_rows(rows[:200], regimes[:200], 5)
    assert [s.probability for s in direct] == pytest.approx([s.probability for s in batch[:200]], rel=1e-12)
    monkeypatch.setattr(trees, "_FEW", 0)  # always with threads
    assert scorer.score_rows(rows[:200], regimes[:200], 5) == direct


def test_records_and_rows_give_the_same_answer(scorer: Scorer) -> None:
    run = compile_features(SPEC)
    for seed in range(60):
        records, t = make_records(seed)
        regime = records.prospect[0].values["regime"]
        one = scorer.score(records, t)
        other = scorer.score_rows([run(records, t)], [regime], 5, prospect_ids=[records.prospect_id], as_of=[t])[0]
        assert one.committee is not None
        assert replace(one, warnings=(), committee=None) == replace(other, warnings=())


def test_columns_and_rows_give_the_same_answer(scorer: Scorer) -> None:
    rows, regimes = training_rows()
    columns: dict[str, Any] = {}
    for i, name in enumerate(SPEC.names):
        cells = [row[i] for row in rows[:300]]
        columns[name] = np.array(cells, dtype=object if name in CATEGORIES else np.float64)
    assert scorer.score_rows(columns, regimes[:300], 5) == scorer.score_rows(rows[:300], regimes[:300], 5)


def test_threads_do_not_disturb_each_other(scorer: Scorer) -> None:
    records = [make_records(seed) for seed in range(30)]
    wanted = [scorer.score(*r) for r in records]
    failures: list[int] = []

    def work() -> None:
        for i, r in enumerate(records):
            if scorer.score(*r) != wanted[i]:
                failures.append(i)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_once_made_it_reads_no_clock_and_no_file(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("not pure")

    records, t = make_records(3)
    wanted = scorer.score(records, t)
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", forbidden)
        for name in ("time", "time_ns", "monotonic", "perf_counter"):
            patch.setattr(time, name, forbidden)
        patch.setattr("os.environ", {})
        got = scorer.score(records, t)
    assert got == wanted


def test_no_rows_are_no_scores(scorer: Scorer) -> None:
    assert scorer.score_rows([], [], 5) == []
    assert scorer.score_rows({name: [] for name in SPEC.names}) == []


def test_lists_that_do_not_fit_are_refused(scorer: Scorer) -> None:
    rows = training_rows()[0][:2]
    with pytest.raises(ValueError, match="2 rows"):
        scorer.score_rows(rows, [None])
    with pytest.raises(ValueError, match="length"):
        scorer.score_rows({name: [None] * (1 if name == "origin" else 2) for name in SPEC.names})


def test_a_model_of_other_columns_is_refused() -> None:
    with pytest.raises(BadBundle, match="columns"):
        Trees(trained_text(), len(SPEC.names))
    with pytest.raises(BadBundle):
        Trees("", len(SPEC.names) + 1)


# ------------------------------------------------------------------------------------------------ encoding


def test_codes_others_and_missing() -> None:
    names = ["colour", "size", "shape"]
    levels = {"colour": ["blue", "red"], "shape": ["round"]}
    rows = [
        ["blue", 1.5, "round"],
        ["red", None, "square"],
        ["green", True, None],
        [None, 0, "round"],
        [math.nan, math.nan, math.nan],
        ["", 2, ""],
    ]
    nan = math.nan
    want = np.array([[0, 1.5, 0], [1, nan, nan], [2, 1, nan], [nan, 0, 0], [nan, nan, nan], [2, 2, nan]])
    got = encode(rows, names, levels, ["colour"])
    np.testing.assert_array_equal(got, want)
    assert got.dtype == np.float64
    assert got.flags.c_contiguous
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    np.testing.assert_array_equal(encode(columns, names, levels, frozenset(["colour"])), want)
    arrays = {name: np.array(cells, dtype=object) for name, cells in columns.items()}
    np.testing.assert_array_equal(encode(arrays, names, levels, ["colour"]), want)
    assert rows[0] == ["blue", 1.5, "round"]  # the input is left as it was
    assert encode([], names, levels).shape == (0, 3)


def test_expansion_appends_the_interval() -> None:
    got = expand(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), [2, 0, 3])
    assert got.tolist() == [[1, 2, 0], [1, 2, 1], [5, 6, 0], [5, 6, 1], [5, 6, 2]]
    assert got.flags.c_contiguous


# ------------------------------------------------------------------------------------------------ reasons


def test_contributions_and_expected_value_add_up_to_the_raw_score(scorer: Scorer) -> None:
    matrix = expand(encode(training_rows()[0][:200], SPEC.names, LEVELS, HAS_OTHER), [7] * 200)
    parts_ = scorer._hazards.trees.contributions(matrix)
    assert parts_.shape == (1400, len(SPEC.names) + 2)
    np.testing.assert_allclose(parts_.sum(axis=1), scorer._hazards.trees.raw(matrix), atol=1e-10)


def test_the_effects_are_the_weighted_contributions(scorer: Scorer) -> None:
    rows, regimes = training_rows()
    answers = scorer.score_rows(rows[:60], regimes[:60], 1_000)
    for row, regime, answer in zip(rows, regimes, answers, strict=False):
        counts = EDGES.index(30 if regime == "mass" else 90)
        matrix = expand(encode([row], SPEC.names, LEVELS, HAS_OTHER), [counts])
        raw, contributions = scorer._hazards.trees.raw(matrix), scorer._hazards.trees.contributions(matrix)
        z = -0.1 + 0.9 * (STARTING[:counts] + raw)
        hazard = 1 / (1 + np.exp(-z))
        before = np.concatenate([[1.0], np.cumprod(1 - hazard)[:-1]])
        weights = before * hazard / answer.probability
        want = dict(zip(SPEC.names, 0.9 * (weights @ contributions)[: len(SPEC.names)], strict=True))
        got = {r.feature: r.effect for r in answer.reasons}
        for name, effect in want.items():
            assert got.get(name, 0.0) == pytest.approx(effect, abs=1e-12)
        # What is no reason: the interval itself and where the trees start from.
        rest = 0.9 * float(weights @ contributions[:, len(SPEC.names) :].sum(axis=1))
        assert sum(got.values()) + rest == pytest.approx(0.9 * float(weights @ raw), abs=1e-10)


def test_reasons_are_the_greatest_effects_in_order(scorer: Scorer) -> None:
    rows, regimes = training_rows()
    for full, few in zip(
        scorer.score_rows(rows[:50], regimes[:50], 1_000), scorer.score_rows(rows[:50], regimes[:50], 3), strict=True
    ):
        sizes = [abs(r.effect) for r in full.reasons]
        assert sizes == sorted(sizes, reverse=True)
        assert 0.0 not in sizes
        assert few.reasons == full.reasons[:3]
        assert {r.feature for r in full.reasons} <= set(SPEC.names)  # the interval is none


def test_equal_effects_stand_in_the_order_of_their_names_and_zeros_are_left_out() -> None:
    scorer = make_scorer()

    def stub(seen: Any, weights: Any) -> Any:
        out = np.zeros((len(weights), len(SPEC.names)))
        for name, value in (("vip", 0.5), ("budget", -0.5), ("origin", 0.5), ("source", 0.7)):
            out[:, SPEC.names.index(name)] = value
        return out

    scorer._hazards.effects = stub  # type: ignore[method-assign]
    got = scorer.score_rows(training_rows()[0][:1], reasons=10)[0].reasons
    assert [r.feature for r in got] == ["source", "budget", "origin", "vip"]
    assert [r.effect for r in got] == pytest.approx([0.63, -0.45, 0.45, 0.45])
    assert scorer.score_rows(training_rows()[0][:1], reasons=0)[0].reasons == ()


def test_a_reason_holds_the_raw_value(scorer: Scorer) -> None:
    records, t = request_records()
    reasons = {r.feature: r for r in scorer.score(records, t, reasons=100).reasons}
    row = dict(zip(SPEC.names, compile_features(SPEC)(records, t), strict=True))
    for name, reason in reasons.items():
        assert reason.value == row[name]
        assert reason.label
    assert reasons["origin"].value == "paid_search"
    assert reasons["origin"].label == "origin: paid search"
    assert reasons["meeting_count"].value == 1
    assert isinstance(reasons["meeting_count"].value, int)
    french = {r.feature: r.label for r in scorer.score(records, t, reasons=100, language="fr").reasons}
    assert french["meeting_count"] == "meeting : 1 à ce jour"
    missing = scorer.score_rows([[None] * len(SPEC.names)], reasons=100)[0].reasons
    assert missing
    assert {r.value for r in missing} == {None}


# ------------------------------------------------------------------------------------------------ records and time


def codes(answer: Any) -> list[str]:
    return [w.code for w in answer.warnings if w.code != "few_outcomes"]


def test_the_answer_has_the_keys_of_the_contract_in_order(scorer: Scorer) -> None:
    records, t = request_records()
    answer = scorer.score(records, t).to_json()
    assert list(answer) == [
        "prospect_id",
        "as_of",
        "goal",
        "horizon_days",
        "probability",
        "probability_low",
        "probability_high",
        "curve",
        "score",
        "grade",
        "reasons",
        "committee",
        "warnings",
        "model_version",
    ]
    assert (answer["prospect_id"], answer["as_of"]) == ("p1", "2026-03-05T09:00:00Z")
    assert (answer["goal"], answer["horizon_days"], answer["model_version"]) == ("won", 90, "7")
    assert list(answer["curve"][0]) == ["days", "probability"]
    assert list(answer["reasons"][0]) == ["feature", "label", "value", "effect", "family"]
    assert answer["warnings"] == [{"code": "few_outcomes", "text": "only 80 outcomes were known."}]
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_a_time_before_the_creation_is_refused(scorer: Scorer) -> None:
    records, _ = request_records()
    created = records.prospect[0].values["created_at"]
    scorer.score(records, created)
    with pytest.raises(BadInput) as caught:
        scorer.score(records, created - 1)
    assert (caught.value.code, caught.value.where) == ("as_of_before_creation", "as_of")


def test_the_horizon_is_that_of_the_regime_as_of_t(scorer: Scorer) -> None:
    records, t = request_records()
    values = records.prospect[0].values
    versions = (
        Version(values["created_at"], {**values, "regime": "industrial"}),
        Version(t, {**values, "regime": "mass"}),
        Version(t + 1, {**values, "regime": "project"}),
    )
    records = replace(records, prospect=versions)
    assert scorer.score(records, t - 1).horizon_days == 90
    assert scorer.score(records, t).horizon_days == 30
    assert scorer.score(records, t + 1).horizon_days == 90


def test_what_is_stamped_later_changes_nothing_but_the_count(scorer: Scorer) -> None:
    records, t = request_records()
    before = scorer.score(records, t)
    values, account = records.prospect[0].values, (records.accounts or {})["a1"]
    later = replace(
        records,
        prospect=(*records.prospect, Version(t + 1, {**values, "origin": "partner"})),
        accounts={"a1": (*account, Version(t + 1, {"account_id": "a1", "country": "DE"}))},
        events=(
            *(records.events or ()),
            Event("e8", "p1", "meeting", t + 1, t + 1),
            Event("e9", "p1", "meeting", t - DAY, t + 1),
        ),
        related={"s1": (Version(t + 1, {"prospect_id": "s1"}),)},
        related_events=(Event("e7", "s1", "meeting", t - DAY, t + DAY),),
    )
    after = scorer.score(later, t)
    assert replace(after, warnings=()) == replace(before, warnings=())
    assert codes(after) == ["future_records"]
    assert after.warnings[0].text.startswith("6 records are")
    one = scorer.score(with_outcome(records, "won", t + 1), t)
    assert codes(one) == ["future_records"]
    assert one.warnings[0].text.startswith("1 record is")


def test_what_is_stamped_at_t_is_known(scorer: Scorer) -> None:
    records, t = request_records()
    values, account = records.prospect[0].values, (records.accounts or {})["a1"][0].values
    now = replace(
        records,
        prospect=(*records.prospect, Version(t, {**values, "origin": "partner"})),
        accounts={"a1": (Version(t, account),)},
        events=(*(records.events or ()), Event("e8", "p1", "meeting", t, t)),
    )
    answer = scorer.score(now, t, reasons=100)
    assert codes(answer) == []
    given = {r.feature: r.value for r in answer.reasons}
    assert (given["origin"], given["meeting_count"]) == ("partner", 2)


def test_a_closed_prospect_is_scored_with_a_warning(scorer: Scorer) -> None:
    records, t = request_records()
    for outcome in ("won", "lost"):
        assert codes(scorer.score(with_outcome(records, outcome, t), t)) == ["prospect_closed"]
    assert codes(scorer.score(with_outcome(records, "expanded", t), t)) == []
    assert codes(scorer.score(with_outcome(records, "won", t, t + 1), t)) == ["future_records"]  # not known yet


def test_an_episode_after_a_sale() -> None:
    goal = Goal("renewed", (("", 90),), "won")
    scorer = make_scorer(goal=goal.to_json())
    records, t = request_records()
    assert codes(scorer.score(records, t)) == ["not_started"]
    won = with_outcome(records, "won", t - DAY)
    assert codes(scorer.score(won, t)) == []
    assert codes(scorer.score(with_outcome(won, "lost", t - 2 * DAY), t)) == []  # before the episode
    assert codes(scorer.score(with_outcome(won, "lost", t), t)) == ["prospect_closed"]
    assert codes(scorer.score(with_outcome(won, "renewed", t), t)) == ["prospect_closed"]
    assert scorer.score(won, t).goal == "renewed"


@pytest.mark.parametrize(
    ("change", "code", "list_name"),
    [
        ({"events": None}, "events_unknown", "events"),
        ({"contacts": None}, "contacts_unknown", "contacts"),
        ({"accounts": None}, "account_unknown", "account"),
        ({"related": None}, "related_unknown", "related"),
        ({"related_events": None}, "related_unknown", "related"),
    ],
)
def test_an_unknown_list_is_warned_of_where_features_need_it(
    scorer: Scorer, change: dict[str, Any], code: str, list_name: str
) -> None:
    run = compile_features(SPEC)
    for seed in range(30):
        records, t = make_records(seed)
        without = replace(records, **change)
        assert [w.code for w in scorer.score(without, t).warnings if w.code.endswith("_unknown")] == [code]
        # The features said to be missing are those that turn missing, and no other changes.
        for name, whole, rest in zip(SPEC.names, run(records, t), run(without, t), strict=True):
            assert rest is None if name in scorer.needs[list_name] else rest == whole
    text = next(w.text for w in scorer.score(without, t).warnings if w.code == code)
    assert f"`{list_name}`" in text


def test_empty_lists_are_known(scorer: Scorer) -> None:
    records, t = request_records()
    empty = replace(records, events=(), contacts={}, accounts={}, related={}, related_events=())
    assert codes(scorer.score(empty, t)) == []


def flat_scorer(spec: FeatureSet) -> Scorer:
    """A scorer of numbers only, with a model that hardly learnt anything: for what does not hang on the model."""
    import lightgbm

    rng = np.random.default_rng(1)
    count = len(spec.features)
    x = np.column_stack([*rng.normal(size=(count, 500)), rng.integers(0, 7, 500)])
    settings_ = {"objective": "binary", "verbosity": -1, "num_leaves": 4, "num_threads": 1}
    text = lightgbm.train(settings_, lightgbm.Dataset(x, (x[:, 0] > 0).astype(float)), 5).model_to_string()
    return make_scorer(spec=spec, model_text=text, categories={}, has_other=[], rare={})


def test_unknown_outcomes_are_warned_of_where_features_need_them() -> None:
    spec = FeatureSet(
        DATASET,
        (
            Attribute("prospects", "budget"),
            Aggregate("count", type="won", table="outcomes"),
            Aggregate("count", type="won", table="outcomes", scope="account"),
            Aggregate("open", table="prospects", scope="account"),
        ),
    )
    own, wide, open_ = spec.names[1:]
    scorer = flat_scorer(spec)
    assert scorer.needs["events"] == []
    assert scorer.needs["outcomes"] == [own, wide, open_]
    assert scorer.needs["related.outcomes"] == [wide, open_]
    records, t = request_records()
    assert codes(scorer.score(records, t)) == []
    assert codes(scorer.score(replace(records, events=None), t)) == []
    assert codes(scorer.score(replace(records, outcomes=None), t)) == ["outcomes_unknown"]
    assert codes(scorer.score(replace(records, related_outcomes=None), t)) == ["related_outcomes_unknown"]
    assert codes(scorer.score(replace(records, related=None), t)) == ["related_outcomes_unknown"]


def test_a_tender_past_its_deadline_is_said(scorer: Scorer) -> None:
    records, t = request_records()

    def said(deadline: int) -> list[str]:
        (version,) = records.prospect
        values = {**version.values, "regime": "project", "tender_deadline": deadline}
        answer = scorer.score(replace(records, prospect=(version._replace(values=values),)), t)
        assert 0 < answer.probability < 1  # it is answered all the same
        return [w.text for w in answer.warnings if w.code == "tender_closed"]

    assert said(t - 1) == [f"the deadline of the tender has passed: it was {format_time(t - 1)}."]
    assert said(t) == said(t + 1) == []


def test_a_reason_says_which_family_it_is_of(scorer: Scorer) -> None:
    records, t = request_records()
    of = {r.feature: r.family for r in scorer.score(records, t, reasons=100).reasons}
    by_name = dict(zip(SPEC.names, SPEC.features, strict=True))
    assert of == {name: family(by_name[name]) for name in of}
    assert of["budget"] == "need"
    assert of["page_view_count_30d"] == "activity"  # of either direction
    directed = FeatureSet(
        DATASET,
        (
            Aggregate("count", direction="inbound"),
            Aggregate("count", direction="outbound"),
            Attribute("accounts", "headcount"),
        ),
    )
    found = flat_scorer(directed)._families
    assert found == ("interest", "effort", "firm")
    assert tuple(openapi.schemas()["Reason"]["properties"]["family"]["enum"]) == FAMILIES


def test_lists_that_no_feature_needs_are_not_missed() -> None:
    import lightgbm

    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=500), rng.integers(0, 7, 500)])
    settings_ = {"objective": "binary", "verbosity": -1, "num_leaves": 4, "num_threads": 1}
    text = lightgbm.train(settings_, lightgbm.Dataset(x, (x[:, 0] > 0).astype(float)), 5).model_to_string()
    spec = FeatureSet(DATASET, (Attribute("prospects", "budget"),))
    scorer = make_scorer(spec=spec, model_text=text, categories={}, has_other=[], rare={})
    values = {"prospect_id": "p", "created_at": 0, "budget": 3.0}
    answer = scorer.score(Records("p", (Version(0, values),)), DAY)
    assert codes(answer) == []
    assert [r.feature for r in answer.reasons] == ["budget"]


def test_levels_the_model_has_not_learnt(scorer: Scorer) -> None:
    records, t = request_records()

    def with_values(**changes: Any) -> Records:
        version = records.prospect[0]
        return replace(records, prospect=(version._replace(values={**version.values, **changes}),))

    def said(**changes: Any) -> list[str]:
        return [w.text for w in scorer.score(with_values(**changes), t).warnings if w.code == "unseen_level"]

    assert said() == []
    assert said(origin=None) == []
    assert said(origin="leaflet") == []  # rare in training: no surprise
    assert said(origin="radio") == ["origin: the model has not learnt 'radio'; it counts as a rare one."]
    assert said(source="radio") == ["source: the model has not learnt 'radio'; it counts as missing."]
    assert len(said(source="radio", origin="radio")) == 2
    assert len(said(source="x" * 5_000)[0]) < 200
    rare = scorer.score(with_values(origin="radio"), t, reasons=100).reasons
    assert next(r.label for r in rare if r.feature == "origin") == "origin: radio (rare or new value)"


def test_the_order_of_warnings_is_fixed(scorer: Scorer) -> None:
    records, t = request_records()
    values = {**records.prospect[0].values, "origin": "radio"}
    bare = Records("p1", (Version(ALWAYS, values), Version(t + 1, values)))
    answer = scorer.score(with_outcome(bare, "lost", t - DAY), t)
    assert [w.code for w in answer.warnings] == [
        "prospect_closed",
        "future_records",
        "events_unknown",
        "contacts_unknown",
        "account_unknown",
        "related_unknown",
        "unseen_level",
        "few_outcomes",
    ]
    assert format_time(t - DAY) in answer.warnings[0].text
    more = answer.with_warnings([{"code": "first", "text": "said by the reader"}])
    assert [w.code for w in more.warnings][:2] == ["first", "prospect_closed"]
    assert answer.with_warnings([]) == answer


def test_phrases_are_forgotten_when_there_are_too_many_and_new_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made of values that come from outside: a bound that keeps the first ones keeps none of today's."""
    monkeypatch.setattr("serving.scorer._LABELS", 3)
    scorer = make_scorer()
    i = next(i for i, kind in enumerate(scorer._kinds) if kind == "number")
    for value in range(10):
        scorer.described(i, float(value))
    assert len(scorer._told) <= 3
    assert (i, 9, "en") in scorer._told


def test_phrases_of_long_texts_are_told_and_not_kept() -> None:
    scorer = make_scorer()
    i = next(i for i, kind in enumerate(scorer._kinds) if kind == "category")
    long = "x" * 100_000
    value, text = scorer.described(i, long)
    assert value == long
    assert long in text
    scorer.described(i, "short")
    assert [value for _, value, _ in scorer._told] == ["short"]
