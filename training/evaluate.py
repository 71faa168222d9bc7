"""How good a recipe is forward in time: trained with what was known at a cut, tested on what came after it.

Every probability comes from ``serving.scorer``: the scorer that serves is the scorer that is evaluated. Figures are
on rows of (prospect, t), and their intervals from a bootstrap that draws whole prospects, since the rows of one
prospect go together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, Goal, format_time
from features.errors import BadInput
from features.firms import BAND_STAFF
from training.verdicts import weak_signal as weak_signal

if TYPE_CHECKING:
    import pandas as pd

    from features.spec import FeatureSet
    from features.tables import Tables
    from training.dataset import TrainingSet
    from training.model import Model

Floats = npt.NDArray[np.float64]

RESAMPLES = 200
BINS = 10
CUTS = 4
LEAST = 30  # prospects that a level of a segment needs to stand for itself
MOST_LEVELS = 12
SIZES = (("1-9", 10), ("10-49", 50), ("50-249", 250), ("250+", None))  # headcount bands, each below its end
OTHER, UNKNOWN = "other", "unknown"
FIGURES = (
    "n",
    "rate",
    "mean_predicted",
    "auc",
    "average_precision",
    "log_loss",
    "brier",
    "brier_skill",
    "log_loss_gain",
    "calibration_error",
    "slope",
    "intercept",
    "lift_top_tenth",
)
_TINY = 1e-15
_COARSE = 2_048  # levels of p to which a resample's slope is rounded


def metrics(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    *,
    constant: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The figures of predicted probabilities against what happened.

    Args:
        y: 0 or 1 per row.
        p: probability per row.
        constant: what a constant would have said (one number, or one per row), for the skill; by default the rate
            of ``y`` itself, the best constant in hindsight.
        groups: the prospect of each row; given, ``interval`` holds 95 % intervals from resampled prospects.
        resamples: number of bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        ``n``, ``rate`` and ``mean_predicted``; ``auc`` (ties count half), ``average_precision`` (ties are one step),
        ``log_loss``, ``brier``; ``brier_skill`` (1 - Brier / the constant's Brier) and ``log_loss_gain`` (the
        constant's log loss - log loss); ``calibration_error`` (mean distance of predicted and observed over 10 bins of
        equal mass; ties share a bin); ``slope`` and ``intercept`` (logistic regression of y on the log-odds of p: 1 and
        0 are calibrated, a slope below 1 says too much spread; Cox 1958); ``lift_top_tenth`` (the rate among the tenth
        with the highest p / the rate). None where undefined (one class, or one p for the slope).
        With ``groups``: ``interval``, a mapping of figure -> [low, high].
    """
    rows = _Rows(y, p, constant)
    out = rows.figures(np.ones(rows.n))
    if groups is not None:
        _, index = np.unique(np.asarray(groups), return_inverse=True)
        count = int(index.max()) + 1 if rows.n else 0
        rng = np.random.default_rng(seed)
        line = (1.0, 0.0) if out["slope"] is None else (out["slope"], out["intercept"])
        draws = []
        for _ in range(resamples if count > 1 else 0):
            times = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
            draws.append(rows.figures(times[index], line))
        interval = {}
        for name in out:
            found = [d[name] for d in draws if d[name] is not None]
            if found and name != "n":
                interval[name] = [float(v) for v in np.quantile(found, (0.025, 0.975))]
        out["interval"] = interval
    out["n"] = rows.n
    return out


def log_losses(y: npt.ArrayLike, p: npt.ArrayLike) -> Floats:
    """The log loss of each row: -log of the probability that was given to what happened (0 or 1); never infinite."""
    p = np.clip(np.asarray(p, dtype=np.float64), _TINY, 1 - _TINY)
    return np.asarray(-np.where(np.asarray(y) > 0, np.log(p), np.log1p(-p)), dtype=np.float64)


def paired_interval(
    difference: npt.ArrayLike, prospects: npt.ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the mean of a difference per row, as of two recipes' losses, resampling whole prospects.

    Args:
        difference: one number per row.
        prospects: the prospect of each row.
        resamples: number of bootstrap resamples.
        seed: of the bootstrap.
    """
    _, index = np.unique(np.asarray(prospects), return_inverse=True)
    count = int(index.max()) + 1
    sums, sizes = np.bincount(index, np.asarray(difference, np.float64), count), np.bincount(index, minlength=count)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = rng.integers(0, count, count)
        means.append(float(sums[drawn].sum() / sizes[drawn].sum()))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


class _Rows:
    """Rows prepared once, so that a resample, which only weighs them anew, is cheap."""

    def __init__(self, y: npt.ArrayLike, p: npt.ArrayLike, constant: npt.ArrayLike | None) -> None:
        self.y = np.asarray(y, dtype=np.float64)
        self.p = np.asarray(p, dtype=np.float64)
        if self.y.shape != self.p.shape or self.y.ndim != 1:
            raise ValueError("y and p must be of one length")
        if not np.all((self.p >= 0) & (self.p <= 1)) or not np.all((self.y == 0) | (self.y == 1)):
            raise ValueError("p must lie within 0 and 1, and y be 0 or 1")
        self.n = len(self.y)
        self.levels, self.level = np.unique(self.p, return_inverse=True)
        clipped = np.clip(self.levels, _TINY, 1 - _TINY)
        self.log_odds = np.log(clipped) - np.log1p(-clipped)
        self.coarse = np.arange(len(self.levels)) * min(_COARSE, len(self.levels)) // max(1, len(self.levels))
        self.coarse_log_odds = np.bincount(self.coarse, self.log_odds) / np.maximum(1, np.bincount(self.coarse))
        self.log_loss = log_losses(self.y, self.p)
        self.brier = (self.y - self.p) ** 2
        self.constant: tuple[Floats, Floats] | None = None
        if constant is not None:
            flat = np.broadcast_to(np.asarray(constant, np.float64), self.y.shape)
            self.constant = (log_losses(self.y, flat), (self.y - flat) ** 2)

    def figures(self, weight: Floats, near: tuple[float, float] | None = None) -> dict[str, Any]:
        """The figures of the rows so weighted; ``near``, the line of all rows, makes a resample's cheap."""
        # Everything that depends on the order of p is computed on its distinct values: ties are exact. Sums are
        # written out, since a matrix product would start threads, which spin where cores are shared.
        mass: Floats = np.bincount(self.level, weight, len(self.levels)).astype(np.float64)
        won: Floats = np.bincount(self.level, weight * self.y, len(self.levels)).astype(np.float64)
        total = float(mass.sum())
        if not total:
            return dict.fromkeys(FIGURES)
        rate = float(won.sum()) / total
        log_loss, brier = (float((weight * loss).sum()) / total for loss in (self.log_loss, self.brier))
        if self.constant is None:  # the losses of the rate itself, in closed form
            constant_log_loss, constant_brier = _entropy(rate), rate * (1 - rate)
        else:
            constant_log_loss, constant_brier = (float((weight * loss).sum()) / total for loss in self.constant)
        below = np.cumsum(mass) - mass
        if near is None:
            line = logistic_line(self.log_odds, won, mass)
        else:
            won_here, mass_here = (np.bincount(self.coarse, w).astype(np.float64) for w in (won, mass))
            line = logistic_line(self.coarse_log_odds, won_here, mass_here, near)
        return {
            "n": total,
            "rate": rate,
            "mean_predicted": float((mass * self.levels).sum()) / total,
            "auc": _auc(mass, won),
            "average_precision": _average_precision(mass, won),
            "log_loss": log_loss,
            "brier": brier,
            "brier_skill": 1 - brier / constant_brier if constant_brier else None,
            "log_loss_gain": constant_log_loss - log_loss,
            "calibration_error": _calibration_error(self.levels, mass, won, below / total),
            "slope": None if line is None else line[0],
            "intercept": None if line is None else line[1],
            "lift_top_tenth": _top_tenth(mass, won, total) / rate if rate else None,
        }


def _entropy(rate: float) -> float:
    return -sum(q * math.log(q) for q in (rate, 1 - rate) if q > 0)


def _auc(mass: Floats, won: Floats) -> float | None:
    lost = mass - won
    pairs = won.sum() * lost.sum()
    if not pairs:
        return None
    return float((won * (np.cumsum(lost) - lost / 2)).sum() / pairs)


def _average_precision(mass: Floats, won: Floats) -> float | None:
    """The mean precision over the wins, each at its own threshold."""
    total = won.sum()
    if not total:
        return None
    mass, won = mass[::-1], won[::-1]
    precision = np.cumsum(won) / np.maximum(np.cumsum(mass), _TINY)
    return float((precision * won).sum() / total)


def logistic_line(
    x: Floats, won: Floats, mass: Floats, start: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Slope and intercept of a logistic regression on one variable, by Newton's method.

    Args:
        x: the variable, as the log-odds of a prediction.
        won: the weight of the ones at each x.
        mass: the weight of all at each x.
        start: slope and intercept to begin at; the flat line at the rate when None, from which Newton's method comes
            to the solution wherever it lies.

    Returns:
        None where they cannot be told: one class, one x, or classes that x separates.
    """
    rate = float(won.sum()) / float(mass.sum())
    if not 0 < rate < 1:
        return None
    # On the scale of x itself the two go together, and a predictor that says nearly the same of all has a steep line:
    # Newton's steps are taken about the mean of x, in its standard deviations.
    mean = float((mass * x).sum()) / float(mass.sum())
    x = x - mean
    spread = math.sqrt(float((mass * x * x).sum()) / float(mass.sum()))
    if not spread > 1e-9:
        return None
    x = x / spread
    slope, intercept = 0.0, math.log(rate) - math.log1p(-rate)
    if start is not None:
        slope, intercept = start[0] * spread, start[1] + start[0] * mean
    for _ in range(25):
        z = slope * x + intercept
        p = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
        weight, miss = mass * p * (1 - p), won - mass * p
        weighted = weight * x
        a, b, c = float((weighted * x).sum()), float(weighted.sum()), float(weight.sum())
        determinant = a * c - b * b
        if not determinant > 1e-9 * a * c:
            return None
        up, over = float((miss * x).sum()), float(miss.sum())
        # A step in either is held to 2: far from the solution Newton's own may leap out of all bounds.
        step = np.clip(((c * up - b * over) / determinant, (a * over - b * up) / determinant), -2, 2)
        slope, intercept = slope + float(step[0]), intercept + float(step[1])
        if np.abs(step).max() < 1e-7:
            return slope / spread, intercept - slope * mean / spread
    return None


def _calibration_error(levels: Floats, mass: Floats, won: Floats, below: Floats) -> float:
    bins = np.minimum((BINS * (below + mass / mass.sum() / 2)).astype(int), BINS - 1)
    predicted = np.bincount(bins, mass * levels, BINS)
    return float(np.abs(predicted - np.bincount(bins, won, BINS)).sum() / mass.sum())


def _top_tenth(mass: Floats, won: Floats, total: float) -> float:
    """The rate among the tenth of the mass with the highest p; of a tie at its border the same share of all."""
    mass, won = mass[::-1], won[::-1]
    above = np.cumsum(mass) - mass
    share = np.clip((total / 10 - above) / np.where(mass > 0, mass, 1), 0, 1)
    return float((won * share).sum() / (total / 10))


def lift_of(level: npt.NDArray[np.int64], y: Floats, weight: Floats) -> float | None:
    """The lift of the top tenth of weighted rows, whose predictions are told by their rank; None without any 1."""
    mass, won = (np.bincount(level, w).astype(np.float64) for w in (weight, weight * y))
    total, ones = float(mass.sum()), float(won.sum())
    return _top_tenth(mass, won, total) / (ones / total) if ones else None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One cut: a model trained with what was known at it, and how it did on what came after.

    Attributes:
        cut, test_until: the tested times t are in (cut, test_until], microseconds.
        base_rate: the training base rate, the constant that the skill is measured against.
        figures: as ``metrics`` gives them, with intervals.
        by_age: the same without intervals for each landmark age (days; on a census, its floor to a landmark age).
        by: the same for each ``level`` of a segment as of t: ``regime`` (given or inferred; with its ``horizon_days``),
            ``size`` (headcount band of the account) and ``source``. Levels of fewer than 30 prospects are taken
            together as ``other``; a segment of which nothing is known is absent.
        by_horizon: the same for every point of the curve (``days``), on the rows whose time up to it is wholly observed
            and whose own horizon reaches it; the skill is over the base rate within those days.
        counts: ``tested`` rows and prospects, ``unobserved`` (the horizon not over by the end of what is known),
            ``late`` (kept out: closed by t, recorded later), and ``trained`` rows, prospects and outcomes.
        rows: pandas, one line per tested row: prospect_id, as_of, age_days, regime, source, size (text, None where
            unknown), y, p, constant.
        curve: pandas, one line per row and point of its curve: days, y, p, constant.
        model: the model of the cut: its probabilities are what was tested.
        folds: of its fit; with none, its guards were left out.
        seconds: that the fit took, with the choice of the model where there is one.
    """

    cut: int
    test_until: int
    base_rate: float
    figures: Mapping[str, Any]
    by_age: Sequence[Mapping[str, Any]]
    by: Mapping[str, Sequence[Mapping[str, Any]]]
    by_horizon: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    rows: pd.DataFrame = field(repr=False)
    curve: pd.DataFrame = field(repr=False)
    model: Model = field(repr=False)
    seconds: float = field(repr=False)
    folds: int = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data, with times as ISO texts."""
        return {
            "cut": format_time(self.cut),
            "test_until": format_time(self.test_until),
            "base_rate": self.base_rate,
            "counts": dict(self.counts),
            **_plain(self),
        }


@dataclass(frozen=True, eq=False)
class Rolling:
    """Several cuts and their rows taken together; ``skipped`` names the cuts that could not be used, and why."""

    evaluations: Sequence[Evaluation]
    figures: Mapping[str, Any]
    by_age: Sequence[Mapping[str, Any]]
    by: Mapping[str, Sequence[Mapping[str, Any]]]
    by_horizon: Sequence[Mapping[str, Any]]
    skipped: Sequence[Mapping[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data; a single cut's segments and horizons are left out, being small."""
        left_out = ("by", "by_horizon")
        return {
            "cuts": [{name: v for name, v in e.to_json().items() if name not in left_out} for e in self.evaluations],
            **_plain(self),
            "skipped": [dict(s) for s in self.skipped],
        }


def _plain(found: Evaluation | Rolling) -> dict[str, Any]:
    return {
        "figures": dict(found.figures),
        "by_age": [dict(a) for a in found.by_age],
        "by": {name: [dict(level) for level in levels] for name, levels in found.by.items()},
        "by_horizon": [dict(h) for h in found.by_horizon],
    }


def evaluate_forward(
    tables: Tables,
    features: FeatureSet | None,
    cut: int,
    test_until: int,
    horizon: int | None = None,
    *,
    goal: Goal | None = None,
    params: Mapping[str, Any] | None = None,
    census: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    folds: int = 0,
    computed: Any = None,
) -> Evaluation:
    """Train with only what was recorded by ``cut``; test on t in (cut, test_until] with everything known at the end.

    Args:
        tables: canonical tables.
        features: the features of the recipe; the standard ones as they would have been derived at the cut when None.
        cut: microseconds.
        test_until: microseconds; rows whose horizon ends after what is known are left out and counted.
        horizon: days, for every regime; the goal's own when None.
        goal: what is predicted; the tables' own when None.
        params: LightGBM parameters over the defaults; None lets the data choose the model, at each cut anew; as
            for ``training.model.fit``.
        census: test on weekly censuses of all open prospects (what is served) instead of on landmarks.
        seed: of the training and the bootstrap.
        resamples: of the bootstrap.
        folds: of the fit, whose guards (``training.calibration``) then act at the cut as they do in what is served;
            without them it is judged as if they had nothing to say, in a fraction of the time.
        computed: features that are at hand (see ``training.dataset.at_hand``).

    Raises:
        BadInput: the training at the cut is refused, or nothing can be tested (``nothing_to_test``).
    """
    from features.episodes import census_spine
    from features.standard import standard_features
    from training import goal as goals
    from training.dataset import build, labels
    from training.model import fit

    goal = tables.dataset.goal if goal is None else goal
    if horizon is not None:
        goal = replace(goal, horizons=(("", horizon),))
    features = standard_features(tables, until=cut) if features is None else features
    training_set = build(tables, features, until=cut, goal=goal, with_open=False, computed=computed)
    started = time.perf_counter()
    model = fit(training_set, params, seed=seed, folds=folds)
    seconds = time.perf_counter() - started
    if census:
        times = goals.weekly(cut, test_until)
        spine = census_spine(tables, goal, times) if times else None
    else:
        spine = goals.landmark_spine(tables, goal)
        spine = spine.filter(spine.as_of > cut, spine.as_of <= test_until)
    try:
        if spine is None:
            raise BadInput("no_rows", "no census falls between the cut and the end of the test.")
        tested = build(tables, features, spine=spine, goal=goal, computed=None if census else computed)
    except BadInput as e:
        raise e if e.code != "no_rows" else _nothing(cut, test_until) from None
    y, observed = labels(tested)
    if not observed.any():
        raise _nothing(cut, test_until)
    p, points = _scored(model, tested)
    rows = tested.rows[["prospect_id", "as_of", "age_days", "regime"]].copy()
    rows["y"], rows["p"], rows["constant"] = y, p, model.base_rates(tested)
    rows = rows.merge(_segments(tables, spine), how="left", on=["prospect_id", "as_of"])
    rows = rows[observed].reset_index(drop=True)
    curve = _curve(model, tested, points)
    return Evaluation(
        cut=cut,
        test_until=test_until,
        base_rate=float(model.card["base_rate"]),
        counts={
            "tested": len(rows),
            "prospects": int(rows["prospect_id"].nunique()),
            "unobserved": len(tested) - len(rows),
            "late": tested.counts["late"],
            "trained": len(training_set),
            "trained_prospects": training_set.counts["prospects"],
            "trained_outcomes": training_set.counts["outcomes"],
        },
        rows=rows,
        curve=curve,
        model=model,
        seconds=seconds,
        folds=folds,
        **_broken_down(rows, curve, resamples, seed, goal),
    )


def _scored(model: Model, tested: TrainingSet) -> tuple[Floats, Floats]:
    """The scorer's probability of each row, and its curve: (rows, points), NaN beyond the row's own horizon."""
    from training.model import columns

    regimes = [r if isinstance(r, str) else None for r in tested.rows["regime"]]
    scores = model.scorer.score_rows(columns(tested.values, model.spec), regimes)
    curve = np.full((len(scores), len(model.constants["edges"]) - 1), np.nan)
    for line, score in zip(curve, scores, strict=True):
        line[: len(score.curve)] = [p for _, p in score.curve]
    return np.array([score.probability for score in scores], dtype=np.float64), curve


def _curve(model: Model, tested: TrainingSet, predicted: Floats) -> pd.DataFrame:
    """Every point of the curves of the rows, as long as what happened up to it is known."""
    import pandas as pd

    from training.dataset import labels

    base = -np.expm1(-np.cumsum(np.logaddexp(0.0, np.asarray(model.constants["starting_score"], dtype=np.float64))))
    parts = []
    for i, days in enumerate(model.constants["edges"][1:]):
        y, observed = labels(tested, days)
        here = observed & np.isfinite(predicted[:, i])
        parts.append(pd.DataFrame({"days": days, "y": y[here], "p": predicted[here, i], "constant": base[i]}))
    return pd.concat(parts, ignore_index=True)


def _segments(tables: Tables, spine: Any) -> pd.DataFrame:
    """The source of each prospect and the size of its account as of t, from the tables whatever the features are."""
    import ibis

    def as_of(rows: Any, states: Any, key: str, *names: str) -> Any:
        found = rows.left_join(
            states.select(key, "valid_from", "valid_to", *names),
            [rows[key] == states[key], states.valid_from <= rows.as_of, states.valid_to > rows.as_of],
        )
        return found.select(*rows.columns, *names)

    rows = as_of(spine, tables.prospects, "prospect_id", "source", "account_id")
    if tables.accounts is None:
        rows = rows.mutate(size=ibis.null("string"))
    else:
        rows = as_of(rows, tables.accounts, "account_id", "headcount", "headcount_band")
        bands = [(rows.headcount < end, name) for name, end in SIZES if end is not None]
        given = rows.headcount_band
        # A register's codes lie within our bands; one of another scheme may straddle them.
        known = given.substitute(_size_of_code(), else_=ibis.literal(OTHER))
        by_band = given.isnull().ifelse(ibis.null("string"), known)
        rows = rows.mutate(size=ibis.cases((rows.headcount.isnull(), by_band), *bands, else_=SIZES[-1][0]))
    frame: pd.DataFrame = rows.select("prospect_id", "as_of", "source", "size").to_pandas()
    return frame


def _size_of_code() -> dict[str, str]:
    """The headcount band of each code of the register, and of each band itself."""
    of_code = {
        code: next(name for name, end in SIZES if end is None or least < end) for code, (least, _) in BAND_STAFF.items()
    }
    return of_code | {name: name for name, _ in SIZES}


def rolling(
    tables: Tables,
    features: FeatureSet | None = None,
    cuts: Sequence[int] | None = None,
    horizon: int | None = None,
    *,
    goal: Goal | None = None,
    params: Mapping[str, Any] | None = None,
    census: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    folds: int = 0,
    computed: Any = None,
) -> Rolling:
    """Evaluate at several cuts, each tested up to the next, and take all the tested rows together.

    The arguments are those of ``evaluate_forward``; features that are not at hand are computed once. Without ``cuts``
    those of ``default_cuts``. A cut at which nothing can be trained or tested is skipped, with the reason. Raises
    BadInput (``no_cuts``) when none is left.
    """
    import pandas as pd

    from training.dataset import at_hand

    goal = tables.dataset.goal if goal is None else goal
    if horizon is not None:
        goal = replace(goal, horizons=(("", horizon),))
    if cuts is None:
        cuts = default_cuts(tables, goal)
    ordered = sorted(cuts)
    last = _last_tested(tables, goal)
    if features is not None and computed is None:
        computed = at_hand(tables, features, goal, ordered)
    done, skipped = [], []
    for cut, end in zip(ordered, [*ordered, last][1:], strict=True):
        try:
            done.append(
                evaluate_forward(
                    tables,
                    features,
                    cut,
                    end,
                    goal=goal,
                    params=params,
                    census=census,
                    seed=seed,
                    resamples=resamples,
                    folds=folds,
                    computed=computed,
                )
            )
        except BadInput as e:
            skipped.append({"cut": format_time(cut), "reason": e.message})
    if not done:
        raise BadInput(
            "no_cuts",
            "at no cut could a model be trained and tested forward in time"
            + (f": at {skipped[-1]['cut']}, {skipped[-1]['reason']}" if skipped else "."),
            where="cuts",
            remedy="Use data that span at least twice the horizon, or a shorter horizon.",
        )
    rows, curve = (pd.concat([getattr(e, name) for e in done], ignore_index=True) for name in ("rows", "curve"))
    return Rolling(done, skipped=skipped, **_broken_down(rows, curve, resamples, seed, goal))


def default_cuts(tables: Tables, goal: Goal, count: int = CUTS) -> tuple[int, ...]:
    """Cuts for a rolling evaluation: midnights at equal steps over the later half of the time that can be tested.

    Empty when the history is shorter than the longest horizon.
    """
    from features.episodes import episodes

    first = episodes(tables, goal, tables.until).started_at.min().execute()
    last = _last_tested(tables, goal)
    if first is None or math.isnan(first) or last <= first:
        return ()
    half = int(first) + (last - int(first)) // 2
    return tuple(sorted({(half + (last - half) * i // count) // DAY * DAY for i in range(count)}))


def _last_tested(tables: Tables, goal: Goal) -> int:
    """The last t whose longest horizon is over by what is known at the end."""
    from training import goal as goals

    longest = max(days for _, days in goal.horizons)
    until = tables.until
    return until - goals.recording_delay(tables, goal, until) - longest * DAY


def _nothing(cut: int, test_until: int) -> BadInput:
    return BadInput(
        "nothing_to_test",
        f"no prospect open after {format_time(cut)} and by {format_time(test_until)} has a horizon that is over.",
        where="cut",
        remedy="Choose an earlier cut, or a shorter horizon.",
    )


def _broken_down(rows: pd.DataFrame, curve: pd.DataFrame, resamples: int, seed: int, goal: Goal) -> dict[str, Any]:
    """The figures of all rows with intervals, and without them by age, by segment and by horizon."""
    from training.goal import AGES

    ages = np.asarray(AGES)
    floor = ages[np.searchsorted(ages, rows["age_days"].to_numpy(), side="right") - 1]
    ids, constant = rows["prospect_id"].to_numpy(dtype=object), rows["constant"].to_numpy()
    by = {name: _by_level(rows, name) for name in ("regime", "size", "source")}
    by["regime"] = [
        {"level": r["level"], **({} if r["level"] == OTHER else {"horizon_days": goal.horizon(r["level"])}), **r}
        for r in by["regime"]
    ]
    return {
        "figures": metrics(rows["y"], rows["p"], constant=constant, groups=ids, resamples=resamples, seed=seed),
        "by_age": [{"age_days": int(age), **_of(rows[floor == age])} for age in np.unique(floor)],
        "by": {name: levels for name, levels in by.items() if levels},
        "by_horizon": [{"days": int(d), **_of(curve[curve["days"] == d])} for d in np.unique(curve["days"])],
    }


def _by_level(rows: pd.DataFrame, segment: str) -> list[dict[str, Any]]:
    """Figures by level: sizes in their order, others by their number of rows, what is unknown or pooled last."""
    if rows[segment].isna().all():
        return []
    level = rows[segment].astype(object).where(rows[segment].notna(), UNKNOWN)
    prospects = rows["prospect_id"].groupby(level).nunique()
    sizes = [name for name, _ in SIZES]

    def place(name: str) -> tuple[Any, ...]:
        return name == UNKNOWN, sizes.index(name) if name in sizes else len(sizes), -int((level == name).sum()), name

    kept = sorted((str(name) for name in prospects.index[prospects >= LEAST]), key=place)[:MOST_LEVELS]
    level = level.where(level.isin(kept), OTHER)
    parts = {name: rows[level == name] for name in dict.fromkeys((*kept, OTHER))}
    return [{"level": name, **_of(part)} for name, part in parts.items() if part["prospect_id"].nunique() >= LEAST]


def _of(part: pd.DataFrame) -> dict[str, Any]:
    return metrics(part["y"], part["p"], constant=part["constant"].to_numpy())
