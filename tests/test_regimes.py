"""Regimes in learning: inferred everywhere alike, and a model of each regime's own where the data speak for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.contract import Column, Dataset, Goal
from features.errors import BadBundle
from features.firms import infer_regime
from features.spec import Attribute, Expression, FeatureSet
from features.tables import Tables, tables_from_frames
from serving.batch import requests, score_tables
from serving.bundle import make_bundle
from serving.linear import Linear
from serving.schema import parse_request
from serving.scorer import rank_of
from tests.funnels import at, times
from training.choice import BY_REGIME, Choice
from training.dataset import TrainingSet, build
from training.evaluate import FIGURES, evaluate_forward
from training.hazard import Blend
from training.model import Model, columns, fit

REGIMES = ("industrial", "mass", "project")
DECLARED = (("prospects", (Column("origin", "category"), Column("size", "number"))),)
FEATURES = (
    Attribute("prospects", "origin"),
    Attribute("prospects", "size"),
    Attribute("prospects", "regime"),
    Expression("age", (Attribute("prospects", "created_at"),)),
    Expression("calendar", part="weekday"),
)


def turned(count: int, turn: float, seed: int = 1, shares: Any = (0.35, 0.5, 0.15), days: float = 300) -> Tables:
    """Prospects won at a daily rate that ``size`` raises in one regime and, by ``turn``, lowers in another."""
    rng = np.random.default_rng(seed)
    created = np.sort(rng.uniform(0, days, count))
    regime = rng.choice(REGIMES, count, p=shares)
    size, origin = rng.normal(size=count), rng.choice(["a", "b"], count)
    sign = np.array([{"mass": 1.0, "industrial": 1 - turn, "project": 1 - 2 * turn}[r] for r in regime])
    level = np.array([{"mass": 0.8, "industrial": 0.0, "project": 0.4}[r] for r in regime])
    rate = 0.004 * np.exp(level + sign * (0.9 * size + 0.6 * (origin == "a")))
    won, lost = created + rng.exponential(1 / rate), created + rng.exponential(250, count)
    first = np.minimum(won, lost)
    here = first < days
    ids = np.array([f"p{i:05d}" for i in range(count)])
    prospects = pd.DataFrame({"prospect_id": ids, "created_at": times(created), "origin": origin, "size": size})
    prospects["regime"] = regime
    outcomes = pd.DataFrame({"prospect_id": ids[here], "outcome": np.where(won < lost, "won", "lost")[here]})
    outcomes["occurred_at"] = times(first[here])
    goal = Goal(horizons=(("", 30), ("project", 60)))
    frames = {"prospects": prospects, "outcomes": outcomes}
    return tables_from_frames(frames, Dataset(complete_until=at(days), goal=goal, declared=DECLARED))


def rows_of(tables: Tables) -> TrainingSet:
    return build(tables, FeatureSet(tables.dataset, FEATURES))


@pytest.fixture(scope="module")
def crossed() -> tuple[TrainingSet, Model]:
    rows = rows_of(turned(3_000, 1.0))
    return rows, fit(rows, folds=0)


def test_effects_that_change_their_sign_get_a_model_of_each_regime(crossed: tuple[TrainingSet, Model]) -> None:
    _, model = crossed
    choice = model.card["choice"]
    assert model.card["model"] == choice["chosen"]
    assert choice["chosen"].endswith("_by_regime")
    found = {c["name"]: c for c in choice["regimes"]["candidates"]}
    assert found[choice["regimes"]["pooled"]]["difference"] == 0
    best = found[choice["chosen"]]
    assert best["difference"] < -2 * best["standard_error"]
    # What is served turns with the regime, and stays one model text.
    p = {}
    for regime in REGIMES:
        values = {"origin": ["a"] * 2, "size": [-1.5, 1.5], "regime": [regime] * 2, "as_of_weekday": [1.0] * 2}
        values["days_since_created_at"] = [7.0] * 2
        p[regime] = [s.probability for s in model.scorer.score_rows(values, [regime] * 2)]
    assert p["mass"][1] > 2 * p["mass"][0]
    assert p["project"][0] > 1.5 * p["project"][1]
    assert set(model.constants["linear"]["regimes"]["effects"]) == {"0", "1", "2"}
    assert model.model_text.count("tree_sizes=") == 1


def test_effects_that_all_regimes_share_keep_the_model_of_all() -> None:
    model = fit(rows_of(turned(2_000, 0.0, seed=2)), folds=0)
    assert "_by_regime" not in model.card["model"]
    assert "regimes" not in model.constants.get("linear", {})
    assert len(model.card["choice"]["regimes"]["candidates"]) >= 1 + len(BY_REGIME)


def test_the_same_rows_give_the_same_bits_by_regime(crossed: tuple[TrainingSet, Model]) -> None:
    rows, model = crossed
    again = fit(rows, folds=0)
    assert again.constants == model.constants
    assert again.model_text == model.model_text


def test_regimes_with_few_outcomes_are_not_in_question() -> None:
    # Nine in ten are mass: of the others there are too few for effects of their own.
    model = fit(rows_of(turned(1_000, 1.0, shares=(0.05, 0.9, 0.05), seed=3)), folds=0)
    assert "regimes" not in model.card["choice"]
    unknown = rows_of(turned(1_000, 0.0, seed=3))
    no_feature = FeatureSet(unknown.features.dataset, tuple(f for f in FEATURES if f != FEATURES[2]))
    without = replace(unknown, features=no_feature, values=unknown.values.drop(columns="regime"))
    without = replace(without, open_rows=None, open_values=None)
    assert "regimes" not in fit(without, folds=0).card["choice"]


@pytest.mark.parametrize("blend", [Blend(40), Blend(40, 0.5), Blend(40, 1.0)], ids=lambda b: b.name)
def test_what_is_chosen_by_regime_is_what_is_served(
    crossed: tuple[TrainingSet, Model], blend: Blend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The own effects that the choice judged add to the log-odds of all what the bundle's scorer adds."""
    from training import hazard
    from training import model as models

    rows, _ = crossed
    seen: dict[str, Any] = {}

    def chosen(pooled: Any, *_: Any) -> Choice:
        seen["pooled"] = pooled
        return Choice(replace(blend, by_regime=True), (), ())

    monkeypatch.setattr(models, "choose", chosen)
    rows = replace(rows, census=None)  # what it adds: tests/test_census.py
    model = fit(rows, folds=0)
    pooled = seen["pooled"]
    (of_all,) = hazard.train(pooled, blend, models.DEFAULTS, 0, [None])
    z = of_all.log_odds(pooled.encoded)
    own = hazard.own_effects(pooled, z[pooled.row, pooled.k])
    z[pooled.row, pooled.k] += own.added(pooled)
    whole = rows.select(np.isin(np.arange(len(rows)), pooled.row[pooled.k == len(pooled.edges) - 2]))
    served = model.scorer.score_rows(columns(whole.values, rows.features), whole.rows["regime"].tolist(), reasons=9)
    at_rows = np.flatnonzero(np.isin(np.arange(len(rows)), pooled.row[pooled.k == len(pooled.edges) - 2]))
    slope, shift = (model.constants["calibration"][key] for key in ("slope", "intercept"))
    for score, row in list(zip(served, at_rows, strict=True))[::200]:
        last = pooled.edges.index(score.horizon_days)
        hazards = 1 / (1 + np.exp(-(shift + slope * z[row, :last])))
        assert score.probability == pytest.approx(1 - np.prod(1 - hazards), abs=1e-9)
    assert any(r.feature == "size" for s in served for r in s.reasons)


def test_own_effects_are_relative_to_the_mean_of_their_regime(crossed: tuple[TrainingSet, Model]) -> None:
    rows, model = crossed
    with_own = Linear(model.spec.names, model.constants["linear"])
    without = Linear(model.spec.names, {k: v for k, v in model.constants["linear"].items() if k != "regimes"})
    encoded = model.scorer._encoder.encode(columns(rows.values, rows.features))
    added = with_own.parts(encoded)[0] - without.parts(encoded)[0]
    code = encoded[:, model.spec.names.index("regime")]
    for c in range(3):
        # The landmarks that were learned from, not all of these: near 0, where the effects themselves are not.
        assert abs(added[code == c].sum(axis=1).mean()) < 0.1
        assert np.abs(added[code == c]).max() > 0.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"feature": "size"}, "`feature`"),
        ({"effects": {"7": {}}}, "`effects`"),
        ({"effects": {"0": {"numbers": {}, "levels": {}}}}, "`numbers`"),
    ],
)
def test_damaged_effects_are_refused(crossed: tuple[TrainingSet, Model], change: dict[str, Any], words: str) -> None:
    _, model = crossed
    linear = model.constants["linear"]
    broken = {**linear, "regimes": {**linear["regimes"], **change}}
    with pytest.raises(BadBundle, match=words):
        make_bundle(
            spec=model.spec,
            model_text=model.model_text,
            constants={**model.constants, "linear": broken},
            card=model.card,
            reference=model.reference,
        )


HORIZONS = Goal(horizons=(("", 30), ("mass", 7), ("project", 20)))
VERSIONED = (Attribute("prospects", "origin"), Attribute("prospects", "size"), Attribute("accounts", "headcount"))


def inferred(count: int = 700, seed: int = 4, *, hindsight: bool = False) -> Tables:
    """Prospects whose regime is given, or only a deadline, or only the firm's staff; in versions that change it."""
    rng = np.random.default_rng(seed)
    created = np.sort(rng.uniform(0, 100, count))
    ids = [f"p{i:04d}" for i in range(count)]
    prospects = []
    for i, (name, day) in enumerate(zip(ids, created, strict=True)):
        row = {
            "prospect_id": name,
            "created_at": day,
            "observed_at": day,
            "account_id": f"a{i % 60}" if i % 7 else None,
        }
        row |= {"origin": "ab"[i % 2], "size": float(i % 5), "regime": None, "tender_deadline": None}
        if i % 5 == 0:
            row["regime"] = REGIMES[i % 3]
        if i % 5 == 1:
            row["tender_deadline"] = day + 40
        prospects.append(row)
        if i % 5 == 2:  # a deadline that becomes known ten days later
            prospects.append({**row, "observed_at": day + 10, "tender_deadline": day + 60})
        if i % 5 == 3:  # a regime that is corrected
            prospects.append({**row, "observed_at": day + 20, "regime": "mass"})
    accounts = []
    for i in range(60):
        staff = {0: (5.0, None), 1: (None, "12"), 2: (9.5, "53"), 3: (None, "NN"), 4: (None, None)}[i % 5]
        accounts.append(
            {"account_id": f"a{i}", "observed_at": -10.0, "headcount": staff[0], "headcount_band": staff[1]}
        )
        if i % 4 == 0:
            accounts.append({"account_id": f"a{i}", "observed_at": 50.0, "headcount": 30.0, "headcount_band": None})
    won = created + rng.exponential(60, count)
    here = won < 120
    frames = {"prospects": pd.DataFrame(prospects), "accounts": pd.DataFrame(accounts)}
    for frame, columns_ in (
        (frames["prospects"], ("created_at", "observed_at", "tender_deadline")),
        (frames["accounts"], ("observed_at",)),
    ):
        for column in columns_:
            known = frame[column].notna()
            frame[column] = times(frame[column].fillna(0)).where(known, pd.NaT)
    frames["outcomes"] = pd.DataFrame({"prospect_id": np.array(ids)[here], "outcome": "won"})
    frames["outcomes"]["occurred_at"] = times(won[here])
    declared = DECLARED
    if hindsight:
        column = Column("tender_deadline", "time", known="never")
        declared = (("prospects", (*DECLARED[0][1], column)),)
    return tables_from_frames(frames, Dataset(complete_until=at(120), goal=HORIZONS, declared=declared))


def by_hand(tables: Tables, prospects: pd.DataFrame, accounts: pd.DataFrame, prospect_id: str, t: int) -> str | None:
    """The regime by a plain reading of the rule over the rows as of t."""

    def as_of(frame: pd.DataFrame) -> dict[str, Any]:
        known = frame[frame["valid_from"] <= t]
        return {} if known.empty else known.sort_values("valid_from").iloc[-1].to_dict()

    row = as_of(prospects[prospects["prospect_id"] == prospect_id])
    firm = as_of(accounts[accounts["account_id"] == row["account_id"]])
    known = {k: None if v is None or v != v else v for k, v in {**firm, **row}.items()}
    deadline = known.get("tender_deadline")
    if tables.dataset.columns("prospects")["tender_deadline"].known == "never":
        deadline = None
    return infer_regime(known.get("regime"), deadline, known.get("headcount"), known.get("headcount_band"))


@pytest.mark.parametrize("hindsight", [False, True])
def test_the_inferred_regime_is_one_in_training_batch_and_single_scores(hindsight: bool) -> None:
    tables = inferred(hindsight=hindsight)
    assert tables.accounts is not None
    frames = (tables.prospects.to_pandas(), tables.accounts.to_pandas())
    rows = build(tables, FeatureSet(tables.dataset, VERSIONED))
    sample = rows.rows.iloc[:: max(1, len(rows) // 150)]
    for line in sample.itertuples():
        found = line.regime if isinstance(line.regime, str) else None
        assert found == by_hand(tables, *frames, line.prospect_id, line.as_of)
    assert set(rows.rows["regime"].dropna()) == set(REGIMES)
    assert rows.rows["regime"].isna().any()
    assert rows.horizons().tolist() == [
        {"mass": 7, "project": 20}.get(r, 30) for r in rows.rows["regime"].where(rows.rows["regime"].notna(), "")
    ]

    model = fit(rows, folds=0)
    assert set(model.reference["by_regime"]) >= {"", "mass", "industrial"}
    scorer, t = model.scorer, at(115)
    batch = {s.prospect_id: s for s in score_tables(scorer, tables, t)}
    reference = scorer._fixed.reference
    for request in requests(tables, t, sorted(batch)[::4]):
        parsed = parse_request(request, scorer.spec.dataset, 0)
        single = scorer.score(parsed.records, parsed.as_of, reasons=0)
        regime = by_hand(tables, *frames, single.prospect_id, t)
        other = batch[single.prospect_id]
        assert (single.horizon_days, single.probability, single.score) == (
            other.horizon_days,
            other.probability,
            other.score,
        )
        assert single.horizon_days == HORIZONS.horizon(regime)
        population = reference.get(regime or "", reference[""])
        assert single.score == rank_of(single.probability, population)
    assert {s.horizon_days for s in batch.values()} == {7, 20, 30}


def test_figures_by_regime_know_the_inferred_one_and_its_horizon() -> None:
    tables = inferred()
    found = evaluate_forward(tables, FeatureSet(tables.dataset, VERSIONED), at(60), at(90), resamples=0)
    levels = {level["level"]: level for level in found.by["regime"]}
    assert {name: levels[name]["horizon_days"] for name in REGIMES} == {"industrial": 30, "mass": 7, "project": 20}
    counted = found.rows["regime"].value_counts()
    assert {name: levels[name]["n"] for name in REGIMES} == counted.to_dict()
    assert set(FIGURES) <= set(levels["mass"])
