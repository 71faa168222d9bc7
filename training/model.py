"""The model: a hazard chosen and fitted, with its interval, its calibration, its grades and its card (DESIGN 6).

Encoding, starting score and probabilities are the scorer's own, so that what is served is what was fitted.
"""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, FEW_OUTCOMES, Goal, format_time
from features.errors import BadInput
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet
from serving.bundle import FORMAT, Bundle, read_bundle, write_bundle
from serving.scorer import Scorer, encode
from training import goal as goals
from training.account import AccountMap, census_step, fit_map
from training.calibration import Platt, platt
from training.choice import choose, level
from training.dataset import TrainingSet, intervals, labels, regime_horizons
from training.evaluate import metrics, weak_signal
from training.example import example
from training.hazard import DEFAULTS as DEFAULTS
from training.hazard import TO_FIT, Blend, Hazard, Pooled, Regimes, all_params, train
from training.interval import LEVEL, WIDEST, interval
from training.search import silent
from training.start import AGE

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FOLDS = 5
RARE = 20  # prospects that a level needs to get a code of its own
MOST_LEVELS = 60
FEW_IN_LAST = 5
REGIME_OUTCOMES = 50  # prospects that a regime learned an outcome from, for effects of its own to be tried
FEW_OPEN = 20  # prospects below which a population gives no ranks
QUANTILES = 1001
_WIDE = {"level": LEVEL, "logit": [0.0], "low": [WIDEST], "high": [WIDEST]}


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model, complete but for its place: what ``write`` turns into a bundle.

    Attributes:
        spec: the features.
        model_text: the trees, LightGBM's text.
        constants: what ``constants.json`` holds.
        card: what ``card.json`` holds.
        reference: what ``reference.json`` holds.
        folds: pandas, the out-of-fold predictions: prospect_id, as_of, age_days, regime, y, p, for the rows whose
            horizon is wholly observed; None when there were no folds.
    """

    spec: FeatureSet
    model_text: str
    constants: Mapping[str, Any]
    card: Mapping[str, Any]
    reference: Mapping[str, Any]
    folds: pd.DataFrame | None = field(repr=False, default=None)

    @property
    def goal(self) -> Goal:
        """What it predicts."""
        return self.scorer.goal

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer that would serve this model, from a bundle written and read again."""
        return Scorer(self.bundle(), "candidate")

    def bundle(self) -> Bundle:
        """The model as a verified bundle in memory."""
        with tempfile.TemporaryDirectory(prefix="leadscore-") as folder:
            self.write(Path(folder) / "bundle")
            return read_bundle(Path(folder) / "bundle")

    def write(self, folder: Path | str, **card: Any) -> str:
        """Write the bundle, with more entries for its card (``created_at=...``); returns its digest."""
        return write_bundle(
            folder,
            spec=self.spec,
            model_text=self.model_text,
            constants=self.constants,
            card={**self.card, **card},
            reference=self.reference,
        )

    def with_card(self, **card: Any) -> Model:
        """The model with these entries of its card added or replaced."""
        return replace(self, card={**self.card, **card})

    def with_rolling(self, figures: Mapping[str, Any], details: Mapping[str, Any] | None = None) -> Model:
        """The model with the figures of a rolling evaluation on its card, which then decide on ``weak_signal``."""
        warnings = [w for w in self.card["warnings"] if w["code"] != "weak_signal"]
        weak = weak_signal(figures)
        shown = {**self.card["metrics"], "rolling": dict(figures)}
        more = {} if details is None else {"rolling": dict(details)}
        return self.with_card(metrics=shown, warnings=[*warnings, *([weak] if weak else [])], **more)

    @property
    def guarded(self) -> bool:
        """Whether the folds changed the probabilities: a slope that was mended, or an unclear signal held back."""
        return bool(self.card["calibration"]["used"]) or self.card["signal"]["kept"] < 1

    def predict(self, rows: TrainingSet) -> Floats:
        """P(goal within the horizon | t) of each row, from the scorer; each row's horizon is that of its regime."""
        return _predict(self.scorer, rows.rows, rows.values)

    def base_rates(self, rows: TrainingSet) -> Floats:
        """What the training base rate says for each row: the probability without any feature."""
        return _base_rates(self.constants["starting_score"], self.constants["edges"], rows.horizons())


def fit(
    training_set: TrainingSet,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    grade_cuts: Mapping[str, float] | None = None,
    folds: int = FOLDS,
    say: Callable[[str], None] = silent,
) -> Model:
    """Fit the hazard, and from prospect-grouped folds its interval and figures. Same rows and seed, same model.

    Args:
        training_set: rows with landmarks before T (see ``training.dataset.build``).
        params: LightGBM parameters over ``DEFAULTS``, for boosted trees and nothing else; by default the data choose
            among a few models (``training.choice``), and the level follows the recent past. ``{"trials": n}`` is the
            default with a search for n more models.
        seed: of the trees, the folds and the sample of rows.
        grade_cuts: A, B and C as probabilities, to keep those of an earlier champion; by default from the base rate.
        folds: how many; 0 leaves them out, for a model of which only the probabilities are wanted (its interval is
            then as wide as can be, and its card has no figures).
        say: called now and then with how far a search is.

    Raises:
        BadInput: ``one_class``, ``too_few_outcomes`` or ``horizon_too_long``, each with what there is and is needed.
    """
    goal, features, horizons = training_set.goal, training_set.features, training_set.horizons()
    edges = goals.edges(goal)
    row, k, y = intervals(training_set, edges)
    _check(training_set, edges, k, y)
    categories, rare = _levels(training_set)

    def coded(values: pd.DataFrame) -> Floats:
        return encode(columns(values, features), features.names, categories, list(rare))

    encoded = coded(training_set.values)
    ends = training_set.as_of[row] + np.asarray(edges, dtype=np.int64)[k + 1] * DAY
    at = {name: i for i, name in enumerate(features.names)}
    _, prospect = np.unique(training_set.rows["prospect_id"].to_numpy(dtype=object), return_inverse=True)
    levels = {at[name]: len(known) for name, known in categories.items()}
    came_on = (training_set.goal_at // DAY + 3) % 7  # the first of January 1970 was a Thursday
    pooled = Pooled(encoded, row, k, y, ends, edges, levels, features.names, prospect, came_on)
    pooled = replace(pooled, regime=_regimes(pooled, features), age=_age(features, goal))
    params, trials = _trials(params)
    given = {**DEFAULTS, **(params or {})}
    choice, blend = None, Blend(int(given["num_iterations"]))
    if params is None:
        pooled = replace(pooled.thinned(seed, TO_FIT), by_time=True)
        choice = choose(pooled, training_set.as_of, horizons, training_set.observed_until, given, seed, trials, say)
        blend, given = choice.chosen, {**given, **choice.params}

    fold = _folds(training_set, row[y == 1], folds, seed) if folds else np.zeros(0, dtype=np.int64)
    numbers = np.unique(fold)
    parts = [None, *(fold[pooled.row] != n for n in numbers)]
    whole, *others = train(pooled, blend, given, seed, parts, kinds=folds > 0)
    base_rates = _base_rates(whole.starting, edges, horizons)
    base_rate = float(base_rates.mean())
    learned = len(np.unique(prospect[row[y == 1]]))
    judged, guard, signal, doubt, account = None, Platt(), Platt(), _WIDE, AccountMap()
    held_out = np.empty((len(encoded), len(edges) - 1))
    free = (*others, *whole.kinds)  # what the same data would have allowed
    if others:
        # Hazard log-odds (rows, intervals) of every row from a hazard that saw neither its prospect nor its account.
        begun = np.empty_like(held_out)
        for number, trained in zip(numbers, others, strict=True):
            here = fold == number
            held_out[here], begun[here] = trained.log_odds(encoded[here]), trained.starting
        who, at_risk = prospect[pooled.row], (pooled.row, pooled.k)
        if params is None:
            signal = platt((held_out - begun)[at_risk], pooled.y, who, pooled.weight, begun[at_risk])
        if signal.kept < 1:
            whole, *others = (hazard.held(signal.kept) for hazard in (whole, *others))
            held_out = begun + signal.kept * (held_out - begun)
        guard = platt(held_out[at_risk], pooled.y, who, pooled.weight)
    slope, intercept = guard.used
    if params is None and training_set.census is not None:
        asked = coded(training_set.census.sample.values)
        shift = training_set.census.shift(intercept + slope * whole.log_odds(asked), edges)
        whole, *others = (hazard.shifted(shift / slope) for hazard in (whole, *others))
        free = tuple(hazard.shifted(shift / slope) for hazard in free)
        held_out = held_out + shift / slope
    if others:
        judged = _Judged.of(training_set, intercept + slope * held_out, edges, base_rates, seed)
        account = _account(training_set, others, numbers, fold, (slope, intercept), categories, rare)
        people, seen = _population(training_set)
        served = coded(seen)
        until = regime_horizons(goal, people)
        own, *rest = (_logit_within(intercept + slope * each.log_odds(served), edges, until) for each in (whole, *free))
        doubt = interval(own, np.array(rest[: len(others)]), np.array(rest[len(others) :]), learned)
    if params is None:
        intercept += level(pooled, intercept + slope * whole.of_pooled(pooled), training_set.observed_until)

    constants = {
        "committee": {role: dict(event) for role, event in training_set.committee.items()},
        "account": account.constants(),
        "format": FORMAT,
        "goal": goal.to_json(),
        "edges": list(edges),
        "starting_score": whole.starting.tolist(),
        "categories": categories,
        "has_other": sorted(rare),
        "rare": rare,
        "calibration": {"slope": slope, "intercept": intercept},
        "interval": doubt,
        "grade_cuts": _grade_cuts(base_rate) if grade_cuts is None else dict(grade_cuts),
        **({} if whole.linear is None else {"linear": whole.linear}),
    }
    card = {
        "goal": goal.to_json(),
        "horizon_days": goal.to_json()["horizon_days"],
        "trained_until": format_time(training_set.until),
        "data": {
            "digest": training_set.digest,
            **training_set.counts,
            "pooled_rows": len(y),
            "learned_outcomes": learned,
            "from": format_time(int(training_set.as_of.min())),
            "until": format_time(training_set.until),
            "recording_delay_days": training_set.delay / DAY,
        },
        "features": list(features.names),
        "feature_fingerprint": features.fingerprint,
        "model": blend.name,
        **({} if choice is None else {"choice": choice.to_json()}),
        "params": {**all_params(given, seed, len(pooled.y)), "num_iterations": blend.trees},
        "seed": seed,
        "base_rate": base_rate,
        "intervals": [
            {"from_days": start, "to_days": end, "rows": int((k == i).sum()), "outcomes": int(y[k == i].sum())}
            for i, (start, end) in enumerate(pairwise(edges))
        ],
        "calibration": guard.to_json(),
        "signal": signal.to_signal(),
        "recent_level": intercept - guard.used[1],
        "account": account.to_json(),
        "metrics": {} if judged is None else {"folds": judged.figures},
        "warnings": _warnings(learned, edges, int(y[k == k.max()].sum()), judged),
        "libraries": _libraries(),
        "example": {"request": example(features, goal, categories, training_set), "probability": 0.0},
    }
    alone = {"format": FORMAT, "by_regime": {"": [base_rate]}}  # until the scorer itself has scored the population
    draft = Model(features, whole.text, constants, card, alone, None if judged is None else judged.rows)
    model = replace(draft, reference=_reference(draft.scorer, training_set))
    return model.with_card(example={**card["example"], "probability": _score_example(draft)})


def _trials(params: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, int]:
    """The LightGBM parameters (None: the data choose) and how many more models are searched for."""
    if params is None or "trials" not in params:
        return params, 0
    if len(params) > 1:
        raise ValueError("parameters are given or searched for, not both")
    return None, int(params["trials"])


@dataclass(frozen=True)
class _Judged:
    """What the folds tell: the rows whose horizon is wholly observed with their y and p, and what follows of them."""

    rows: pd.DataFrame
    figures: Mapping[str, Any]

    @staticmethod
    def of(
        training_set: TrainingSet,
        held_out: Floats,
        edges: tuple[int, ...],
        base_rates: Floats,
        seed: int,
    ) -> _Judged:
        y, observed = labels(training_set)
        rows = training_set.rows.loc[observed, ["prospect_id", "as_of", "age_days", "regime"]].reset_index(drop=True)
        rows["y"] = y[observed]
        rows["p"] = _within(held_out[observed], edges, training_set.horizons()[observed])
        prospects = rows["prospect_id"].to_numpy(dtype=object)
        return _Judged(
            rows,
            metrics(rows["y"], rows["p"], constant=base_rates[observed], groups=prospects, seed=seed),
        )


def columns(values: pd.DataFrame, features: FeatureSet) -> dict[str, Any]:
    """The raw feature columns as the scorer takes them: arrays of object for a category, of float64 for the rest."""
    texts = set(features.categories)
    return {name: values[name].to_numpy(dtype=object if name in texts else np.float64) for name in features.names}


def _check(training_set: TrainingSet, edges: tuple[int, ...], k: Ints, y: Ints) -> None:
    """Refuse what nothing can be learned from, saying how much there is and how much is needed."""
    outcome, counts = training_set.goal.outcome, training_set.counts
    prospects, reached = counts["prospects"], counts["outcomes"]
    until = format_time(training_set.until)
    details = {"prospects": prospects, "outcomes": reached, "needed": 1, "recommended": FEW_OUTCOMES}
    if reached == 0:
        raise BadInput(
            "one_class",
            f"none of the {prospects} prospects had reached `{outcome}` by {until}: there is one class only.",
            where="outcomes",
            remedy=f"At least 1 must have, and {FEW_OUTCOMES} make a sound model; check the goal and --until.",
            details=details,
        )
    if reached == prospects:
        raise BadInput(
            "one_class",
            f"all of the {prospects} prospects reached `{outcome}`: there is one class only.",
            where="prospects",
            remedy="Add the prospects that are still open or were lost; at least 1 is needed, some hundreds are sound.",
            details={**details, "outcomes": reached},
        )
    first, longest = int(training_set.as_of.min()), edges[-1]
    needed = first + longest * DAY + training_set.delay
    if not len(y) or int(k.max()) < len(edges) - 2:
        span = max(0.0, (training_set.observed_until - first) / DAY)
        shorter = f", or a horizon of at most {int(span)} days" if 1 <= int(span) < longest else ""
        whole, late = (training_set.until - first) / DAY, training_set.delay / DAY
        known = f", of which the last {late:.1f} are not wholly recorded" if late else ""
        raise BadInput(
            "horizon_too_long" if len(y) else "too_few_outcomes",
            f"no prospect was observed to the end of the horizon of {longest} days: "
            f"the data span {whole:.1f} days{known}.",
            where="horizon_days",
            remedy=f"Use data that are complete until at least {format_time(needed)}{shorter}.",
            details={**details, "span_days": span, "horizon_days": longest, "data_needed_until": format_time(needed)},
        )
    if not y.any():
        raise BadInput(
            "too_few_outcomes",
            f"of the {reached} `{outcome}` known by {until}, none falls into an observed interval after a landmark.",
            where="outcomes",
            remedy=f"At least 1 must, and {FEW_OUTCOMES} make a sound model; use data over a longer time.",
            details={**details, "outcomes": 0},
        )


def _warnings(learned: int, edges: tuple[int, ...], in_last: int, judged: _Judged | None) -> list[dict[str, str]]:
    out = []
    if learned < FEW_OUTCOMES:
        out.append(
            {
                "code": "few_outcomes",
                "text": f"the model learned from {_outcomes(learned)}; {FEW_OUTCOMES} or more make a sound one. "
                "Read the intervals, not only the probabilities.",
            }
        )
    if in_last < FEW_IN_LAST:
        count = f"only {_outcomes(in_last)}" if in_last else "no outcome"
        out.append(
            {
                "code": "few_outcomes",
                "text": f"{count} came between day {edges[-2]} and day {edges[-1]}: "
                "the end of the curve leans on the base rate.",
            }
        )
    weak = None if judged is None else weak_signal(judged.figures)
    return [*out, *([weak] if weak else [])]


def _outcomes(count: int) -> str:
    return "1 outcome" if count == 1 else f"{count} outcomes"


def _levels(training_set: TrainingSet) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The levels with a code of their own, and the rare ones that share another, by category feature."""
    levels, rare = {}, {}
    ids = training_set.rows["prospect_id"]
    for name in training_set.features.categories:
        column = training_set.values[name]
        counts = ids.groupby(column.astype(object).to_numpy(), sort=True).nunique()
        common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = {str(level) for level, count in common[:MOST_LEVELS] if count >= RARE}
        levels[name] = sorted(kept)
        others = sorted({str(level) for level in counts.index} - kept)
        if others:
            rare[name] = others
    return levels, rare


def _age(features: FeatureSet, goal: Goal) -> str:
    """The name of the feature that tells a prospect's age: days since creation, or since the goal's start."""
    for feature in features.features:
        if (
            isinstance(feature, Aggregate)
            and (feature.table, feature.operation, feature.scope) == ("outcomes", "days_since_first", "prospect")
            and feature.type == goal.starts_at
        ):
            return feature.name
    return AGE


def _regimes(pooled: Pooled, features: FeatureSet) -> Regimes | None:
    """The regimes with enough outcomes for effects of their own; None where fewer than two have them."""
    at = next((i for i, f in enumerate(features.features) if is_regime(f)), None)
    if at is None or at not in pooled.levels:
        return None
    came = np.unique(pooled.row[pooled.y == 1])
    code = pooled.encoded[came, at]
    enough = [
        c for c in range(pooled.levels[at]) if len(np.unique(pooled.prospect[came[code == c]])) >= REGIME_OUTCOMES
    ]
    return Regimes(at, tuple(enough)) if len(enough) > 1 else None


def is_regime(feature: Feature) -> bool:
    """Whether a feature is the prospect's regime, given or inferred."""
    if isinstance(feature, Attribute):
        return (feature.table, feature.column) == ("prospects", "regime")
    return isinstance(feature, Expression) and feature.operation == "regime"


def _folds(training_set: TrainingSet, positive: Ints, folds: int, seed: int) -> Ints:
    """The fold of each row: prospects that ever shared an account stay together, outcomes are spread evenly."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, prospect = np.unique(training_set.rows["prospect_id"].to_numpy(dtype=object), return_inverse=True)
    known = training_set.rows["account_id"].notna().to_numpy()
    accounts, account = np.unique(training_set.rows["account_id"].to_numpy(dtype=object)[known], return_inverse=True)
    size = int(prospect.max()) + 1 + len(accounts)
    links = (np.ones(int(known.sum())), (prospect[known], int(prospect.max()) + 1 + account))
    _, component = connected_components(coo_matrix(links, shape=(size, size)), directed=False)
    group = component[prospect]
    if len(np.unique(group)) < folds:  # one account holds nearly everybody: its prospects must stand for themselves
        group = prospect
    _, group = np.unique(group, return_inverse=True)
    count = int(group.max()) + 1
    outcomes = np.bincount(group[np.unique(positive)], minlength=count)
    shuffled = np.random.default_rng(seed).permutation(count)
    order = shuffled[np.argsort(-outcomes[shuffled], kind="stable")]
    fold_of_group = np.empty(count, dtype=np.int64)
    fold_of_group[order] = np.arange(count) % folds
    return np.asarray(fold_of_group[group], dtype=np.int64)


def _account(
    training_set: TrainingSet,
    others: Sequence[Hazard],
    numbers: Ints,
    fold: Ints,
    line: tuple[float, float],
    categories: Mapping[str, Sequence[str]],
    rare: Mapping[str, Sequence[str]],
) -> AccountMap:
    """How prospects of one account depend on each other, each scored by a hazard that saw none of its account.

    Left out are the accounts whose prospects are not all in one fold, since none of the hazards has seen none of them.
    """
    found = training_set.siblings
    if found is None:
        return AccountMap()
    of_prospect = dict(zip(training_set.rows["prospect_id"], fold, strict=True))
    mine = np.array([of_prospect.get(p, -1) for p in found.rows["prospect_id"]], dtype=np.int64)
    _, who = np.unique(found.rows["account_id"].to_numpy(dtype=object), return_inverse=True)
    lowest, highest = np.full(len(who), len(numbers)), np.full(len(who), -1)
    np.minimum.at(lowest, who, mine)
    np.maximum.at(highest, who, mine)
    y, observed = labels(found)
    usable = (lowest[who] == highest[who]) & (mine >= 0) & observed
    encoded = encode(columns(found.values, found.features), found.features.names, categories, list(rare))
    slope, intercept = line
    edges = goals.edges(found.goal)
    p = np.zeros(len(mine))
    for number, hazard in zip(numbers, others, strict=True):
        here = usable & (mine == number)
        p[here] = _within(intercept + slope * hazard.log_odds(encoded[here]), edges, found.horizons()[here])
    step, horizon = float(census_step(found.goal)), float(found.horizons().mean())
    return fit_map(p[usable], y[usable], who[usable], found.as_of[usable], step, horizon)


def _within(log_odds: Floats, edges: Sequence[int], horizons: Ints) -> Floats:
    """P(within the horizon | t) = 1 - prod(1 - hazard) of each row, from hazard log-odds (rows, intervals)."""
    survived = np.cumsum(np.logaddexp(0.0, log_odds), axis=1)  # -log of the share that has not converted
    last = np.searchsorted(np.asarray(edges), horizons) - 1
    return np.asarray(-np.expm1(-survived[np.arange(len(log_odds)), last]), dtype=np.float64)


def _logit_within(log_odds: Floats, edges: Sequence[int], horizons: Ints) -> Floats:
    """The log-odds of ``_within``."""
    p = np.clip(_within(log_odds, edges, horizons), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def _base_rates(starting: npt.ArrayLike, edges: Sequence[int], horizons: Ints) -> Floats:
    wide = np.broadcast_to(np.asarray(starting, dtype=np.float64), (len(horizons), len(edges) - 1))
    return _within(wide, edges, horizons)


def _predict(scorer: Scorer, rows: pd.DataFrame, values: pd.DataFrame) -> Floats:
    regimes = [r if isinstance(r, str) else None for r in rows["regime"]]
    scores = scorer.score_rows(columns(values, scorer.spec), regimes)
    return np.array([s.probability for s in scores], dtype=np.float64)


def _grade_cuts(base_rate: float) -> dict[str, float]:
    return {"A": min(2 * base_rate, (1 + base_rate) / 2), "B": base_rate, "C": base_rate / 2}


def _population(training_set: TrainingSet) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The prospects open at T with their features; with fewer than ``FEW_OPEN``, each prospect's latest landmark."""
    rows, values = training_set.open_rows, training_set.open_values
    if rows is None or values is None or len(rows) < FEW_OPEN:
        latest = ~training_set.rows.duplicated("prospect_id", keep="last").to_numpy()
        return training_set.rows[latest], training_set.values[latest]
    return rows, values


def _reference(scorer: Scorer, training_set: TrainingSet) -> dict[str, Any]:
    """Quantiles of the probability among the prospects open at T, for all and by regime: what a rank compares with."""
    rows, values = _population(training_set)
    p = _predict(scorer, rows, values)
    by_regime = {"": _quantiles(p)}
    for regime in sorted({r for r in rows["regime"] if isinstance(r, str)}):
        here = (rows["regime"] == regime).to_numpy()
        if here.sum() >= FEW_OPEN:
            by_regime[regime] = _quantiles(p[here])
    return {"format": FORMAT, "by_regime": by_regime}


def _quantiles(p: Floats) -> list[float]:
    if len(p) <= QUANTILES:
        return [float(v) for v in np.sort(p)]
    ranks = np.linspace(0, 1, QUANTILES)
    return [float(v) for v in np.maximum.accumulate(np.quantile(p, ranks))]


def _score_example(model: Model) -> float:
    from serving.schema import parse_request

    request = model.card["example"]["request"]
    parsed = parse_request(request, model.spec.dataset, 0)
    return model.scorer.score(parsed.records, parsed.as_of, reasons=0).probability


def _libraries() -> dict[str, str]:
    names = ("lightgbm", "numpy", "pandas", "duckdb", "ibis-framework", "scikit-learn", "scipy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
