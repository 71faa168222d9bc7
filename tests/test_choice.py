"""The choice among hazards, their blend in the scorer, the calibration guard and the recent level."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from features.contract import DAY
from features.errors import BadBundle
from features.spec import Attribute, Expression, FeatureSet
from serving.bundle import make_bundle
from serving.linear import Linear, at_knots
from serving.scorer import Scorer, encode, interval_weights
from tests.fixtures_bundle import SPEC, make_records, parts, training_rows
from tests.funnels import planted
from training import choice, hazard
from training.calibration import Platt, platt
from training.dataset import TrainingSet, build, intervals, labels
from training.hazard import Blend, Kept, Pooled, Regimes
from training.model import DEFAULTS, columns, fit
from training.start import start

FEATURES = (
    Attribute("prospects", "origin"),
    Attribute("prospects", "size"),
    Expression("age", (Attribute("prospects", "created_at"),)),
    Expression("calendar", part="weekday"),
)
AGE = "days_since_created_at"
KINDS = [Blend(60), Blend(60, 1.0), Blend(60, 0.5)]


@pytest.fixture(scope="module")
def rows() -> TrainingSet:
    tables = planted(900, seed=1, accounts=True)
    return build(tables, FeatureSet(tables.dataset, FEATURES))


def pooled_of(rows: TrainingSet) -> Pooled:
    edges = (0, 1, 3, 7, 14, 30)
    row, k, y = intervals(rows, edges)
    levels = ["fair", "good", "poor"]
    encoded = encode(columns(rows.values, rows.features), rows.features.names, {"origin": levels})
    _, prospect = np.unique(rows.rows["prospect_id"].to_numpy(dtype=object), return_inverse=True)
    ends = rows.as_of[row] + np.asarray(edges)[k + 1] * DAY
    weekday = (rows.goal_at // DAY + 3) % 7
    return Pooled(encoded, row, k, y, ends, edges, {0: 3}, rows.features.names, prospect, weekday, by_time=True)


def linear_part(seed: int = 0) -> dict[str, Any]:
    """A logistic part with random tables for the fixture's features."""
    rng = np.random.default_rng(seed)

    def pair() -> list[float]:
        return [float(v) for v in rng.normal(0, 0.3, 2)]

    numbers = {
        name: {"centre": rng.random(), "scale": 0.5 + rng.random(), "slope": pair(), "known": pair(), "missing": pair()}
        for name in SPEC.names
        if name not in SPEC.categories
    }
    levels = {
        name: [pair() for _ in range(len(known) + 2)] for name, known in parts()["constants"]["categories"].items()
    }
    return {
        "trees": 0.5,
        "intervals": rng.normal(0, 0.2, 7).tolist(),
        "late": np.linspace(-1, 1, 7).tolist(),
        "numbers": numbers,
        "levels": levels,
        "tables": [
            {"feature": AGE, "at": [0, 3, 30], "log_odds": rng.normal(0, 0.3, (3, 7)).tolist()},
            {"feature": "budget", "at": [2], "log_odds": rng.normal(0, 0.3, (1, 7)).tolist()},
        ],
    }


def table_log_odds(table: dict[str, Any], x: float, k: int) -> float:
    """By hand: linear in log(1 + x) between the values, flat beyond them, 0 where x is missing."""
    if math.isnan(x):
        return 0.0
    at = [math.log1p(v) for v in table["at"]]
    return float(np.interp(math.log1p(max(x, 0.0)), at, [row[k] for row in table["log_odds"]]))


def test_the_logistic_part_adds_what_its_tables_say() -> None:
    scorer = Scorer(make_bundle(**parts(linear=linear_part())), "1")
    linear, constants = linear_part(), parts()["constants"]
    raw, regimes = training_rows()
    booster = lightgbm.Booster(model_str=parts()["model_text"])
    for values, regime in zip(raw[:60], regimes[:60], strict=True):
        encoded = encode([values], SPEC.names, constants["categories"], constants["has_other"])[0]
        soon = late = 0.0
        for i, name in enumerate(SPEC.names):
            if name in linear["levels"]:
                pairs = linear["levels"][name]
                pair = pairs[-1] if math.isnan(encoded[i]) else pairs[int(encoded[i])]
            else:
                table, x = linear["numbers"][name], encoded[i]
                if math.isnan(x):
                    pair = table["missing"]
                else:
                    z = (math.copysign(math.log1p(abs(x)), x) - table["centre"]) / table["scale"]
                    z = min(max(z, -5.0), 5.0)
                    pair = [s * z + known for s, known in zip(table["slope"], table["known"], strict=True)]
            soon, late = soon + pair[0], late + pair[1]
        survival = 1.0
        for k in range(constants["edges"].index(30 if regime == "mass" else 90)):
            trees = booster.predict(np.append(encoded, k)[None], raw_score=True)[0]
            z = constants["starting_score"][k] + 0.5 * trees + linear["intervals"][k] + soon + linear["late"][k] * late
            z += sum(table_log_odds(t, encoded[SPEC.names.index(t["feature"])], k) for t in linear["tables"])
            survival *= 1 - 1 / (1 + math.exp(-(-0.1 + 0.9 * z)))
        assert scorer.score_rows([values], [regime])[0].probability == pytest.approx(1 - survival, abs=1e-12)


def test_a_batch_of_blends_gives_the_bits_of_single_rows() -> None:
    scorer = Scorer(make_bundle(**parts(linear=linear_part(1))), "1")
    raw, regimes = training_rows()
    whole = scorer.score_rows(raw[:300], regimes[:300], reasons=4)
    assert whole == [scorer.score_rows([v], [r], reasons=4)[0] for v, r in zip(raw[:300], regimes[:300], strict=True)]
    records, t = make_records(3)
    values = scorer._features(records, t)
    one = scorer.score(records, t, reasons=3)
    assert one.probability == scorer.score_rows([values], [records.prospect[0].values["regime"]])[0].probability


def test_reasons_of_a_blend_are_the_parts_of_both() -> None:
    scorer = Scorer(make_bundle(**parts(linear=linear_part(2))), "1")
    raw, _ = training_rows()
    matrix = encode(raw[:1], SPEC.names, scorer.constants.categories, scorer.constants.has_other)
    expanded = np.column_stack([np.repeat(matrix, 7, axis=0), np.arange(7.0)])
    linear = linear_part(2)
    soon, late = Linear(SPEC.names, linear).parts(matrix)
    trees = scorer._hazards.trees.contributions(expanded)[:, :-2]
    each = 0.5 * trees + soon + np.array(linear["late"])[:, None] * late
    raw_log_odds = 0.5 * scorer._hazards.trees.raw(expanded) + linear["intervals"]
    raw_log_odds += soon.sum() + np.array(linear["late"]) * late.sum()
    for table in linear["tables"]:
        i = SPEC.names.index(table["feature"])
        added = at_knots(matrix[:, i], np.log1p(table["at"]), np.array(table["log_odds"]))[0]
        each[:, i] += added
        raw_log_odds += added
    constants = scorer.constants
    z = (constants.intercept + constants.slope * (np.array(constants.starting_score) + raw_log_odds)).tolist()
    expected = 0.9 * (np.array(interval_weights(z))[:, None] * each).sum(axis=0)
    found = {r.feature: r.effect for r in scorer.score_rows(raw[:1], [None], reasons=99)[0].reasons}
    assert found == pytest.approx({n: e for n, e in zip(SPEC.names, expected, strict=True) if e}, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trees": 1.5}, "`trees`"),
        ({"late": [0.0] * 6}, "`late`"),
        ({"numbers": {}}, "`numbers`"),
        ({"tables": [{"feature": "nobody", "at": [0.0], "log_odds": [[0.0] * 7]}]}, "`feature`"),
        ({"tables": [{"feature": "source", "at": [0.0], "log_odds": [[0.0] * 7]}]}, "`at`"),
        ({"tables": [{"feature": AGE, "at": [1.0, 1.0], "log_odds": [[0.0] * 7] * 2}]}, "`at`"),
        ({"tables": [{"feature": AGE, "at": [1.0], "log_odds": [[0.0] * 6]}]}, "`log_odds`"),
        ({"levels": {"source": [], "origin": [], "account_country": []}}, "`account_country`"),
    ],
)
def test_a_damaged_logistic_part_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadBundle, match=words):
        make_bundle(**{**parts(), "constants": {**parts()["constants"], "linear": {**linear_part(), **change}}})


@pytest.mark.parametrize("blend", KINDS, ids=[b.name for b in KINDS])
def test_what_is_served_is_what_was_fitted(
    rows: TrainingSet, blend: Blend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = choice.Choice(blend, (), ())
    monkeypatch.setattr("training.model.choose", lambda *_: chosen)
    rows = replace(rows, census=None)  # what it adds: tests/test_census.py
    model = fit(rows, folds=0)
    (fitted,) = hazard.train(pooled_of(rows), blend, DEFAULTS, 0, [None])
    z = fitted.log_odds(pooled_of(rows).encoded) + model.constants["calibration"]["intercept"]
    assert model.predict(rows) == pytest.approx(1 - np.prod(1 / (1 + np.exp(z)), axis=1), abs=1e-12)
    assert model.card["model"] == blend.name
    p, origin = model.predict(rows), rows.values["origin"].to_numpy()
    assert p[origin == "good"].mean() > 2 * p[origin == "poor"].mean()
    y, observed = labels(rows)
    assert p[observed].mean() == pytest.approx(y[observed].mean(), rel=0.15)
    first = model.write(tmp_path / "a", created_at="2024-01-01T00:00:00Z")
    assert fit(rows, folds=0).write(tmp_path / "b", created_at="2024-01-01T00:00:00Z") == first


@pytest.mark.parametrize("blend", [*KINDS, Blend(60, 0.5, by_regime=True)], ids=lambda b: b.name)
def test_a_held_hazard_departs_by_so_much_less_from_the_base_rates(rows: TrainingSet, blend: Blend) -> None:
    pooled = replace(pooled_of(rows), regime=Regimes(0, (0, 1, 2)))
    (free,) = hazard.train(pooled, blend, DEFAULTS, 0, [None], kinds=True)
    z, begun = free.log_odds(pooled.encoded), free.starting
    assert np.abs(z - begun).max() > 0.3
    for share in (0.4, 0.0):
        held = free.held(share)
        assert held.starting is begun
        assert held.log_odds(pooled.encoded) == pytest.approx(begun + share * (z - begun), abs=1e-9)
        for whole, part in zip(free.kinds, held.kinds, strict=True):
            inside = begun + share * (whole.log_odds(pooled.encoded) - begun)
            assert part.log_odds(pooled.encoded) == pytest.approx(inside, abs=1e-9)
    assert free.log_odds(pooled.encoded) == pytest.approx(z, abs=0)  # it is left as it was


def test_without_a_clear_signal_the_model_stays_with_the_base_rates_and_its_doubt_stays_wide() -> None:
    """Of 200 prospects that nothing sets apart little is told apart; a clear signal is told in full."""
    kept = []
    for seed in range(5):
        tables = planted(200, seed=seed, daily={"a": 0.006, "b": 0.006, "c": 0.006})
        noise = build(tables, FeatureSet(tables.dataset, FEATURES))
        model = fit(noise)
        kept.append(model.card["signal"]["kept"])
        assert model.card["signal"]["slope_error"] > 0
        off = np.log(model.predict(noise) / model.base_rates(noise))
        assert np.abs(off).max() < 0.2 + 1.5 * kept[-1]
        scores = model.scorer.score_rows(columns(noise.values, noise.features))
        true = 0.006 / 0.010 * (1 - np.exp(-30 * 0.010))
        assert np.mean([s.probability_low < true < s.probability_high for s in scores]) > 0.9
        assert all(s.probability_high / s.probability_low > 1.3 for s in scores)
    assert sorted(kept)[2] < 0.5
    assert fit(build(planted(900, seed=1), FeatureSet(tables.dataset, FEATURES))).card["signal"]["kept"] == 1


def test_the_share_that_is_kept_of_an_unclear_signal_is_its_slope() -> None:
    assert [Platt(s, 0.0, 0.2).kept for s in (-0.3, 0.1, 0.39, 0.41, 0.9, 1.4)] == [0.0, 0.1, 0.39, 1.0, 1.0, 1.0]
    assert Platt(1.4, 0.0, 0.9).kept == 1  # nothing is blown up
    assert Platt().kept == 1  # nothing is told
    assert Platt().to_signal() == {"kept": 1.0}
    assert Platt(0.1, 0.0, 0.2).to_signal() == {"kept": 0.1, "slope": 0.1, "slope_error": 0.2}
    # Log-odds that are given count in full: only what departs from them has the slope.
    rng = np.random.default_rng(1)
    begun, apart = rng.normal(-3, 1, 40_000), rng.normal(0, 1, 40_000)
    y = (rng.random(len(begun)) < 1 / (1 + np.exp(-begun - 0.3 * apart))).astype(np.int64)
    found = platt(apart, y, np.arange(len(y)), None, begun)
    assert found.slope == pytest.approx(0.3, abs=4 * found.error)
    assert found.error < 0.05


def test_contributions_of_the_logistic_part_are_relative_to_the_average_landmark(rows: TrainingSet) -> None:
    pooled = pooled_of(rows)
    (fitted,) = hazard.train(pooled, Blend(1, 1.0), DEFAULTS, 0, [None])
    assert fitted.linear is not None
    used = np.unique(pooled.row)
    soon, late = Linear(pooled.names, fitted.linear).parts(pooled.encoded[used])
    assert np.abs(np.column_stack([soon, late]).mean(axis=0)).max() < 1e-9


def test_thinned_rows_stand_for_all(rows: TrainingSet) -> None:
    pooled = pooled_of(rows)
    assert pooled.thinned(0, hazard.TO_FIT) is pooled  # few enough
    thin = pooled.thinned(0, Kept(2, 3_000, 10_000))
    assert thin.weight is not None
    assert (int((thin.y == 0).sum()), int(thin.y.sum())) == (3_000, int(pooled.y.sum()))
    assert thin.weight.sum() == pytest.approx(len(pooled.y))
    again = thin.thinned(1, Kept(1, 1_500, 10_000))
    assert again.weight is not None
    assert again.weight.sum() == pytest.approx(len(pooled.y))
    assert start(thin).intervals == pytest.approx(start(pooled).intervals, abs=0.15)
    p = [hazard.train(part, Blend(60), DEFAULTS, 0, [None])[0].log_odds(pooled.encoded) for part in (pooled, thin)]
    assert np.corrcoef(p[0].ravel(), p[1].ravel())[0, 1] > 0.97
    assert p[1].mean() == pytest.approx(p[0].mean(), abs=0.1)


def choose(rows: TrainingSet) -> choice.Choice:
    pooled = pooled_of(rows)
    return choice.choose(pooled, rows.as_of, rows.horizons(), rows.observed_until, DEFAULTS)


def test_every_candidate_is_judged_and_noise_prefers_the_shrunk(rows: TrainingSet) -> None:
    found = choose(rows)
    assert len(found.cuts) == 3
    assert list(found.cuts) == sorted(found.cuts)
    figures = {c["name"]: c for c in found.candidates}
    assert set(figures) == {b.name for b in choice.CANDIDATES}
    assert figures["trees_100"]["difference"] == 0
    # Noise alone: whatever overfits loses, and nothing beats the plain recipe clearly.
    shuffled = rows.values.sample(frac=1, random_state=0).reset_index(drop=True)
    noise = choose(replace(rows, values=shuffled))
    losses = {c["name"]: c["log_loss"] for c in noise.candidates}
    assert losses["trees_400"] > losses["trees_100"] > losses["trees_50"]


def test_the_choice_looks_at_nothing_but_the_rows_it_is_given(rows: TrainingSet) -> None:
    """Outcomes after the last cut move the figures of the last window only by being tested, never by being learned."""
    pooled = pooled_of(rows)
    learned: list[Any] = []
    original = choice.boosters

    def watched(pooled: Pooled, *given: Any) -> Any:
        learned.extend(given[-1])  # the masks
        return original(pooled, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "boosters", watched)
        found = choose(rows)
    for cut, mask in zip(found.cuts, learned, strict=True):
        assert pooled.ends[mask].max() <= cut
        assert rows.as_of[pooled.row[mask]].max() < cut


def test_few_outcomes_choose_nothing() -> None:
    tables = planted(80, seed=3)
    found = fit(build(tables, FeatureSet(tables.dataset, FEATURES)), folds=0)
    assert found.card["choice"] == {"chosen": "blend_50", "cuts": [], "candidates": []}


def test_the_level_follows_a_rate_that_moved_and_stands_still_where_it_did_not(rows: TrainingSet) -> None:
    pooled = pooled_of(rows)
    z = hazard.train(pooled, Blend(100), DEFAULTS, 0, [None])[0].log_odds(pooled.encoded)[pooled.row, pooled.k]
    until = rows.observed_until
    assert choice.level(pooled, z, until) == 0.0
    moved = choice.level(pooled, z - 1.2, until)  # as if the past had promised a third of what came
    assert 0.8 < moved < 1.25
    shift, error = hazard.recent_level(pooled, z - 1.2, until, choice.HALF_LIFE)
    assert shift == pytest.approx(1.2, abs=3 * error)
    none = replace(pooled, y=np.zeros_like(pooled.y))
    assert -50 < hazard.recent_level(none, z, until, choice.HALF_LIFE)[0] < 0


def test_the_guard_acts_only_on_a_slope_that_is_clearly_off() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(-3, 1.2, 40_000)
    y = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(np.int64)
    who = np.arange(len(z))
    right = platt(z, y, who)
    assert right.slope == pytest.approx(1, abs=0.06)
    assert right.used == (1.0, 0.0)
    assert right.to_json()["used"] is False
    spread = platt(2 * z + 1, y, who)
    assert spread.used == pytest.approx((0.5, -0.5), abs=0.05)
    few = platt(2 * z[:150] + 1, y[:150], who[:150])  # off as well, and not surely so
    assert few.used == (1.0, 0.0)
    # Repeated rows of the same prospects are no more evidence; a row of weight 3 is as three.
    assert platt(np.tile(z, 4), np.tile(y, 4), np.tile(who, 4)).error == pytest.approx(right.error, rel=0.01)
    assert platt(z, y, who, np.full(len(z), 3.0)).slope == pytest.approx(right.slope)
    assert platt(z, np.zeros_like(y), who) == Platt()
