"""The model: a pooled discrete-time hazard of boosted trees, its interval, its grades and its card (DESIGN 6).

Landmarks and future intervals make the rows of one binary LightGBM (boosted landmark supermodel: Sandqvist 2026,
arXiv 2601.17605; discrete-time survival as classification: Suresh et al. 2022). Encoding, starting score and
probabilities are the scorer's own, so that what is served is what was fitted.
"""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, Goal, format_time
from features.errors import BadInput
from features.spec import Aggregate, Attribute, FeatureSet, walk
from serving.bundle import FORMAT, Bundle, read_bundle, write_bundle
from serving.scorer import Scorer, Trees, encode, expand
from training import goal as goals
from training.dataset import TrainingSet, intervals, labels
from training.evaluate import metrics, weak_signal

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# DESIGN 6: small and shrunk beat large and searched on four real sets, forward in time.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "num_iterations": 100,
        "max_depth": 5,
        "num_leaves": 15,
        "learning_rate": 0.05,
        "min_data_in_leaf": 200,
        "lambda_l2": 10.0,
        "feature_fraction": 0.5,
        "cat_smooth": 50.0,
    }
)
_FIXED = {
    "objective": "binary",
    "boost_from_average": False,  # the starting score is ours: LightGBM keeps none in its file
    "deterministic": True,
    "force_row_wise": True,
    "feature_pre_filter": False,  # so that folds may share the binned rows
    "num_threads": 1,  # threads within a training spin where cores are shared: whole trainings run side by side instead
    "verbosity": -1,
}
_WORKERS = 2
FOLDS = 5
LEVEL = 0.9
RARE = 20  # prospects that a level needs to get a code of its own
MOST_LEVELS = 60
NEIGHBOURS = 50
KNOTS = 32
FEW_OUTCOMES = 50
FEW_IN_LAST = 5
FEW_OPEN = 20  # prospects below which a population gives no ranks
QUANTILES = 1001
_CHUNK = 65_536  # model rows predicted at a time
_WIDEST = 6.0  # log-odds: no interval arm is longer
_WIDE = {"level": LEVEL, "logit": [0.0], "low": [_WIDEST], "high": [_WIDEST]}


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

    def predict(self, rows: TrainingSet) -> Floats:
        """P(goal within the horizon | t) of each row, from the scorer; each row's horizon is that of its regime."""
        return _predict(self.scorer, rows.rows, rows.values)

    def base_rates(self, rows: TrainingSet) -> Floats:
        """What the training base rate says for each row: the probability without any feature."""
        return _base_rates(self.constants["starting_score"], self.constants["edges"], rows.horizons())


def fit(
    training_set: TrainingSet,
    params: Mapping[str, Any] = DEFAULTS,
    seed: int = 0,
    *,
    grade_cuts: Mapping[str, float] | None = None,
    folds: int = FOLDS,
) -> Model:
    """Fit the hazard, and from prospect-grouped folds its interval and figures. Same rows and seed, same model.

    Args:
        training_set: rows with landmarks before T (see ``training.dataset.build``).
        params: LightGBM parameters over ``DEFAULTS``.
        seed: of the trees and the folds.
        grade_cuts: A, B and C as probabilities, to keep those of an earlier champion; by default from the base rate.
        folds: how many; 0 leaves them out, for a model of which only the probabilities are wanted (its interval is
            then as wide as can be, and its card has no figures).

    Raises:
        BadInput: ``one_class``, ``too_few_outcomes`` or ``horizon_too_long``, each with what there is and is needed.
    """
    goal, features, horizons = training_set.goal, training_set.features, training_set.horizons()
    edges = goals.edges(goal)
    row, k, y = intervals(training_set, edges)
    _check(training_set, edges, k, y)
    categories, rare = _levels(training_set)
    encoded = encode(columns(training_set.values, features), features.names, categories, list(rare))
    pooled = _Pooled(encoded, row, k, y, edges, [features.names.index(name) for name in categories])
    given = {**DEFAULTS, **params}

    fold = _folds(training_set, row[y == 1], folds, seed) if folds else np.zeros(0, dtype=np.int64)
    numbers = np.unique(fold)
    whole, *others = pooled.train(given, seed, [np.ones(len(y), dtype=bool), *(fold[row] != n for n in numbers)])
    base_rates = _base_rates(whole.starting, edges, horizons)
    base_rate = float(base_rates.mean())
    judged = None
    if others:
        # Hazard log-odds (rows, intervals) of every row from trees that saw neither its prospect nor its account.
        held_out = np.empty((len(encoded), len(edges) - 1))
        for number, trained in zip(numbers, others, strict=True):
            held_out[fold == number] = trained.log_odds(encoded[fold == number])
        judged = _Judged.of(training_set, held_out, edges, base_rates, _platt(held_out[row, k], y), seed)

    constants = {
        "format": FORMAT,
        "goal": goal.to_json(),
        "edges": list(edges),
        "starting_score": whole.starting.tolist(),
        "categories": categories,
        "has_other": sorted(rare),
        "rare": rare,
        "calibration": {"slope": 1.0, "intercept": 0.0},
        "interval": _WIDE if judged is None else judged.interval,
        "grade_cuts": _grade_cuts(base_rate) if grade_cuts is None else dict(grade_cuts),
    }
    learned = int(training_set.rows["prospect_id"].iloc[row[y == 1]].nunique())
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
        "params": _all_params(given, seed, len(y)),
        "seed": seed,
        "base_rate": base_rate,
        "intervals": [
            {"from_days": start, "to_days": end, "rows": int((k == i).sum()), "outcomes": int(y[k == i].sum())}
            for i, (start, end) in enumerate(pairwise(edges))
        ],
        "calibration": {"used": False} if judged is None else {**judged.calibration, "used": False},
        "metrics": {} if judged is None else {"folds": judged.figures},
        "warnings": _warnings(learned, edges, int(y[k == k.max()].sum()), judged),
        "libraries": _libraries(),
        "example": {"request": example(features, goal, categories, training_set), "probability": 0.0},
    }
    alone = {"format": FORMAT, "by_regime": {"": [base_rate]}}  # until the scorer itself has scored the population
    draft = Model(features, whole.text, constants, card, alone, None if judged is None else judged.rows)
    model = replace(draft, reference=_reference(draft.scorer, training_set))
    return model.with_card(example={**card["example"], "probability": _score_example(model)})


@dataclass(frozen=True)
class _Judged:
    """What the folds tell: the rows whose horizon is wholly observed with their y and p, and what follows of them."""

    rows: pd.DataFrame
    figures: Mapping[str, Any]
    calibration: Mapping[str, float]
    interval: Mapping[str, Any]

    @staticmethod
    def of(
        training_set: TrainingSet,
        held_out: Floats,
        edges: tuple[int, ...],
        base_rates: Floats,
        platt: tuple[float, float],
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
            dict(zip(("slope", "intercept"), platt, strict=True)),
            _interval(rows["p"].to_numpy(), rows["y"].to_numpy(), prospects),
        )


def columns(values: pd.DataFrame, features: FeatureSet) -> dict[str, Any]:
    """The raw feature columns as the scorer takes them: arrays of object for a category, of float64 for the rest."""
    texts = set(features.categories)
    return {name: values[name].to_numpy(dtype=object if name in texts else np.float64) for name in features.names}


@dataclass(frozen=True)
class _Trained:
    """The starting score, one log-odds per interval, and the trees' text."""

    starting: Floats
    text: str

    def log_odds(self, encoded: Floats) -> Floats:
        """The log-odds of the hazard of every row in every interval, shape (rows, intervals)."""
        count = len(self.starting)
        trees = Trees(self.text, encoded.shape[1] + 1)
        out = np.empty((len(encoded), count))
        step = max(1, _CHUNK // count)
        for at in range(0, len(encoded), step):
            part = encoded[at : at + step]
            out[at : at + step] = self.starting + trees.raw(expand(part, [count] * len(part))).reshape(-1, count)
        return out


@dataclass(frozen=True)
class _Pooled:
    """The pooled rows: ``row`` indexes the encoded matrix, ``k`` is the interval, ``y`` whether the goal came in it."""

    encoded: Floats
    row: Ints
    k: Ints
    y: Ints
    edges: tuple[int, ...]
    categorical: list[int]

    def train(self, given: Mapping[str, Any], seed: int, parts: Sequence[npt.NDArray[np.bool_]]) -> list[_Trained]:
        """One training on the pooled rows of each mask, side by side over the same binned rows."""
        import lightgbm

        matrix = np.empty((len(self.row), self.encoded.shape[1] + 1))
        np.take(self.encoded, self.row, axis=0, out=matrix[:, :-1])
        matrix[:, -1] = self.k
        whole = lightgbm.Dataset(
            matrix,
            self.y,
            categorical_feature=self.categorical,
            params=_all_params(given, seed, len(self.y)),
            free_raw_data=True,
        ).construct()
        del matrix

        def one(part: npt.NDArray[np.bool_]) -> _Trained:
            k, y = self.k[part], self.y[part]
            params = _all_params(given, seed, len(y))
            rounds = int(params.pop("num_iterations"))
            starting = _starting_score(self.edges, k, y)
            data = whole.subset(np.flatnonzero(part).tolist(), params=params).construct()
            data.set_init_score(starting[k])
            return _Trained(starting, str(lightgbm.train(params, data, num_boost_round=rounds).model_to_string()))

        with ThreadPoolExecutor(_WORKERS) as pool:
            return list(pool.map(one, parts))


def _all_params(given: Mapping[str, Any], seed: int, rows: int) -> dict[str, Any]:
    leaf = max(1, min(int(given["min_data_in_leaf"]), rows // 50))  # so that little data still splits
    return {**_FIXED, **given, "min_data_in_leaf": leaf, "seed": seed}


def _starting_score(edges: Sequence[int], k: Ints, y: Ints) -> Floats:
    """Log-odds of each interval's base rate, shrunk as one outcome's worth towards one daily rate for all.

    A gamma-Poisson mean: (outcomes + 1) / (expected + 1) times the expected rate, where the expected rate is that of
    the pooled daily hazard over the interval's length. It vanishes with data and never says never.
    """
    width = np.diff(np.asarray(edges, dtype=np.float64))
    rows = np.bincount(k, minlength=len(width)).astype(np.float64)
    outcomes = np.bincount(k, y, len(width))
    daily = max(float(outcomes.sum()), 0.5) / float(rows @ width)
    expected = -np.expm1(-daily * width)
    rate = np.clip(expected * (outcomes + 1) / (rows * expected + 1), 1e-9, 0.999)
    return np.asarray(np.log(rate) - np.log1p(-rate), dtype=np.float64)


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
        out.append(
            {
                "code": "few_outcomes",
                "text": f"only {_outcomes(in_last)} came between day {edges[-2]} and day {edges[-1]}: "
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


def _within(log_odds: Floats, edges: Sequence[int], horizons: Ints) -> Floats:
    """P(within the horizon | t) = 1 - prod(1 - hazard) of each row, from hazard log-odds (rows, intervals)."""
    survived = np.cumsum(np.logaddexp(0.0, log_odds), axis=1)  # -log of the share that has not converted
    last = np.searchsorted(np.asarray(edges), horizons) - 1
    return np.asarray(-np.expm1(-survived[np.arange(len(log_odds)), last]), dtype=np.float64)


def _base_rates(starting: npt.ArrayLike, edges: Sequence[int], horizons: Ints) -> Floats:
    wide = np.broadcast_to(np.asarray(starting, dtype=np.float64), (len(horizons), len(edges) - 1))
    return _within(wide, edges, horizons)


def _predict(scorer: Scorer, rows: pd.DataFrame, values: pd.DataFrame) -> Floats:
    regimes = [r if isinstance(r, str) else None for r in rows["regime"]]
    scores = scorer.score_rows(columns(values, scorer.spec), regimes)
    return np.array([s.probability for s in scores], dtype=np.float64)


def _platt(z: Floats, y: Ints) -> tuple[float, float]:
    """Slope and intercept of y on the hazard's log-odds z by Newton's method; 1 and 0 where they cannot be told."""
    slope, intercept = 1.0, 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(slope * z + intercept, -500, 500)))
        weight, miss = p * (1 - p), y - p
        a, b, c = float((weight * z * z).sum()), float((weight * z).sum()), float(weight.sum())
        up, over = float((miss * z).sum()), float(miss.sum())
        determinant = a * c - b * b
        if determinant <= 1e-9 * a * c:
            break
        steps = np.clip(((c * up - b * over) / determinant, (a * over - b * up) / determinant), -2, 2)
        slope, intercept = slope + float(steps[0]), intercept + float(steps[1])
        if np.abs(steps).max() < 1e-9:
            return slope, intercept
    return 1.0, 0.0


def _interval(p: Floats, y: Ints, prospects: npt.NDArray[Any]) -> dict[str, Any]:
    """How far, in log-odds, the probability may lie below and above a prediction, by out-of-fold neighbours.

    Rows are sorted by prediction and cut into bins of equal mass, of ``NEIGHBOURS`` rows or a few more. They do not
    grow with the data: the interval is about one prospect among its like, not about the mean of a large group. A bin
    with n distinct prospects and rate r gives the quantiles of Beta(nr + 1/2, n(1 - r) + 1/2) (Jeffreys); the rates
    are made monotone.
    An arm is the longer of what the bin's outcomes say and what as many outcomes at the predicted rate would say, so
    that it never vanishes. Arms are averaged to at most ``KNOTS`` knots, which the scorer interpolates.
    """
    from scipy.special import betaincinv
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    _, who = np.unique(prospects[order], return_inverse=True)
    bins = max(1, len(p) // NEIGHBOURS)
    parts = np.array_split(np.arange(len(p)), bins)
    n = np.array([len(np.unique(who[i])) for i in parts], dtype=np.float64)
    centre = np.clip([p[i].mean() for i in parts], 1e-6, 1 - 1e-6)
    rate = IsotonicRegression(y_min=0, y_max=1).fit_transform(centre, [y[i].mean() for i in parts], sample_weight=n)
    at = np.log(centre) - np.log1p(-centre)
    tail = (1 - LEVEL) / 2

    def arms(r: Floats) -> tuple[Floats, Floats]:
        ends = [np.clip(betaincinv(n * r + 0.5, n * (1 - r) + 0.5, q), 1e-9, 1 - 1e-9) for q in (tail, 1 - tail)]
        down, up = (np.log(e) - np.log1p(-e) for e in ends)
        return at - down, up - at

    low, high = (np.clip(np.maximum(a, b), 0, _WIDEST) for a, b in zip(arms(rate), arms(centre), strict=True))
    knots = np.array_split(np.arange(bins), min(KNOTS, bins))
    x = np.array([at[i].mean() for i in knots])
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(x)) > 1e-9])
    return {
        "level": LEVEL,
        "logit": x[keep].tolist(),
        "low": np.array([low[i].mean() for i in knots])[keep].tolist(),
        "high": np.array([high[i].mean() for i in knots])[keep].tolist(),
    }


def _grade_cuts(base_rate: float) -> dict[str, float]:
    return {"A": min(2 * base_rate, (1 + base_rate) / 2), "B": base_rate, "C": base_rate / 2}


def _reference(scorer: Scorer, training_set: TrainingSet) -> dict[str, Any]:
    """Quantiles of the probability among the prospects open at T, for all and by regime: what a rank compares with.

    With fewer than ``FEW_OPEN`` of them, each prospect's latest landmark stands in.
    """
    rows, values = training_set.open_rows, training_set.open_values
    if rows is None or values is None or len(rows) < FEW_OPEN:
        latest = ~training_set.rows.duplicated("prospect_id", keep="last").to_numpy()
        rows, values = training_set.rows[latest], training_set.values[latest]
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


def example(
    features: FeatureSet, goal: Goal, categories: Mapping[str, Sequence[str]], training_set: TrainingSet
) -> dict[str, Any]:
    """A made-up request of ``POST /score`` that touches every column and event type the features name.

    No row of the data is in it: levels come from the fitted ones, numbers are medians, times are round days before T.
    """
    until = training_set.until // DAY * DAY

    def day(days: int) -> str:
        return format_time(until - days * DAY)

    prospect: dict[str, Any] = {"prospect_id": "example", "created_at": day(10)}
    account: dict[str, Any] = {}
    declared = {table: set(features.dataset.declared_columns(table)) for table in ("prospects", "accounts")}
    aggregates: list[Aggregate] = []
    for part in (part for f in features.features for part in walk(f)):
        if isinstance(part, Aggregate):
            aggregates.append(part)
        if not isinstance(part, Attribute) or part.column in ("created_at", "observed_at"):
            continue
        place = prospect if part.table == "prospects" else account
        column = features.dataset.columns(part.table)[part.column]
        value = _made_up(column.kind, column.values, categories.get(part.name, ()), part.name, training_set, day)
        if value is not None:
            if part.column in declared[part.table] and column.kind not in ("time", "date", "enum"):
                place.setdefault("attributes", {})[part.column] = value
            else:
                place[part.column] = value
    request: dict[str, Any] = {"prospect": prospect}
    wide = any(a.scope == "account" for a in aggregates)
    if account or wide:
        prospect["account_id"] = account["account_id"] = "example-account"
        request["account"] = account
    roles = sorted({a.role for a in aggregates if a.role})
    if roles or any(a.operation == "distinct_contacts" for a in aggregates):
        request["contacts"] = [{"contact_id": f"example-{r}", "role": r} for r in roles or ["buyer"]]
    if aggregates:
        request["events"] = _events(aggregates, [c["contact_id"] for c in request.get("contacts", [])], day)
    request["outcomes"] = []
    if goal.starts_at:
        request["outcomes"] = [{"outcome": goal.starts_at, "occurred_at": day(8)}]
    if wide:
        request["related"] = {"prospects": [], "events": [], "outcomes": []}
    return {**request, "as_of": day(0)}


def _made_up(
    kind: str,
    values: Sequence[str],
    levels: Sequence[str],
    name: str,
    training_set: TrainingSet,
    day: Callable[[int], str],
) -> Any:
    if kind in ("category", "enum"):
        return next(iter(levels), next(iter(values), None))
    if kind == "boolean":
        return True
    if kind == "time":
        return day(-30)
    if kind == "date":
        return day(3650)[:10]
    if name in training_set.values.columns:
        known = training_set.values[name].dropna()
        if len(known):
            return float(f"{known.median():.3g}")
    return 1.0


def _events(
    aggregates: Sequence[Aggregate], contacts: Sequence[str], day: Callable[[int], str]
) -> list[dict[str, Any]]:
    """One event for each distinct filter, on days that go back from t."""
    valued = any(a.operation in ("sum", "mean", "min", "max", "last") for a in aggregates)
    kinds = sorted({(a.type or "", a.direction or "", a.channel or "") for a in aggregates})
    kinds = [kind for kind in kinds if any(kind)] or [("", "", "")]
    kinds = [kind for kind in kinds if kind[0]] or kinds
    out = []
    for i, (type_, direction, channel) in enumerate(kinds):
        event: dict[str, Any] = {"event_id": f"example-{i + 1}", "type": type_ or "event"}
        event["occurred_at"] = day(1 + i % 8)
        if direction:
            event["direction"] = direction
        if channel:
            event["channel"] = channel
        if contacts:
            event["contact_id"] = contacts[i % len(contacts)]
        if valued:
            event["value"] = 1.0
        out.append(event)
    return out


def _score_example(model: Model) -> float:
    from serving.schema import parse_request

    request = model.card["example"]["request"]
    parsed = parse_request(request, model.spec.dataset, 0)
    return model.scorer.score(parsed.records, parsed.as_of, reasons=0).probability


def _libraries() -> dict[str, str]:
    names = ("lightgbm", "numpy", "pandas", "duckdb", "ibis-framework", "scikit-learn", "scipy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
