"""How good a recipe is forward in time: trained with what was known at a cut, tested on what came after it.

Every probability comes from ``serving.scorer``: the scorer that serves is the scorer that is evaluated. Figures are
on rows of (prospect, t), and their intervals from a bootstrap that draws whole prospects, since the rows of one
prospect go together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, Goal, format_time
from features.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from features.spec import FeatureSet
    from features.tables import Tables
    from training.model import Model

Floats = npt.NDArray[np.float64]

RESAMPLES = 200
BINS = 10
CUTS = 4
FIGURES = (
    "n",
    "rate",
    "mean_predicted",
    "auc",
    "log_loss",
    "brier",
    "brier_skill",
    "log_loss_gain",
    "calibration_error",
    "lift_top_tenth",
)
_TINY = 1e-15


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
        ``n``, ``rate`` and ``mean_predicted``; ``auc`` (ties count half), ``log_loss``, ``brier``; ``brier_skill``
        (1 - Brier / the constant's Brier) and ``log_loss_gain`` (the constant's log loss - log loss);
        ``calibration_error`` (mean distance of predicted and observed over 10 bins of equal mass; ties share a bin);
        ``lift_top_tenth`` (the rate among the tenth with the highest p / the rate). None where undefined (one class).
        With ``groups``: ``interval``, a mapping of figure -> [low, high].
    """
    rows = _Rows(y, p, constant)
    out = rows.figures(np.ones(rows.n))
    if groups is not None:
        _, index = np.unique(np.asarray(groups), return_inverse=True)
        count = int(index.max()) + 1 if rows.n else 0
        rng = np.random.default_rng(seed)
        draws = []
        for _ in range(resamples if count > 1 else 0):
            draws.append(rows.figures(rng.multinomial(count, np.full(count, 1 / count))[index].astype(np.float64)))
        interval = {}
        for name in out:
            found = [d[name] for d in draws if d[name] is not None]
            if found and name != "n":
                interval[name] = [float(v) for v in np.quantile(found, (0.025, 0.975))]
        out["interval"] = interval
    out["n"] = rows.n
    return out


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
        self.log_loss = _log_loss(self.y, self.p)
        self.brier = (self.y - self.p) ** 2
        self.constant: tuple[Floats, Floats] | None = None
        if constant is not None:
            flat = np.broadcast_to(np.asarray(constant, np.float64), self.y.shape)
            self.constant = (_log_loss(self.y, flat), (self.y - flat) ** 2)

    def figures(self, weight: Floats) -> dict[str, Any]:
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
        return {
            "n": total,
            "rate": rate,
            "mean_predicted": float((mass * self.levels).sum()) / total,
            "auc": _auc(mass, won),
            "log_loss": log_loss,
            "brier": brier,
            "brier_skill": 1 - brier / constant_brier if constant_brier else None,
            "log_loss_gain": constant_log_loss - log_loss,
            "calibration_error": _calibration_error(self.levels, mass, won, below / total),
            "lift_top_tenth": _top_tenth(mass, won, total) / rate if rate else None,
        }


def _log_loss(y: Floats, p: Floats) -> Floats:
    p = np.clip(p, _TINY, 1 - _TINY)
    return np.asarray(-np.where(y > 0, np.log(p), np.log1p(-p)), dtype=np.float64)


def _entropy(rate: float) -> float:
    return -sum(q * math.log(q) for q in (rate, 1 - rate) if q > 0)


def _auc(mass: Floats, won: Floats) -> float | None:
    lost = mass - won
    pairs = won.sum() * lost.sum()
    if not pairs:
        return None
    return float((won * (np.cumsum(lost) - lost / 2)).sum() / pairs)


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


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One cut: a model trained with what was known at it, and how it did on what came after.

    Attributes:
        cut, test_until: the tested times t are in (cut, test_until], microseconds.
        base_rate: the training base rate, the constant that the skill is measured against.
        figures: as ``metrics`` gives them, with intervals.
        by_age: the same without intervals for each landmark age (days; on a census, its floor to a landmark age).
        counts: ``tested`` rows and prospects, ``unobserved`` (the horizon not over by the end of what is known),
            ``late`` (kept out: closed by t, recorded later), and ``trained`` rows, prospects and outcomes.
        rows: pandas, one line per tested row: prospect_id, as_of, age_days, regime, y, p, constant.
        model: the model of the cut, without folds: its probabilities are what was tested.
    """

    cut: int
    test_until: int
    base_rate: float
    figures: Mapping[str, Any]
    by_age: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    rows: pd.DataFrame = field(repr=False)
    model: Model = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data, with times as ISO texts."""
        return {
            "cut": format_time(self.cut),
            "test_until": format_time(self.test_until),
            "base_rate": self.base_rate,
            "counts": dict(self.counts),
            "figures": dict(self.figures),
            "by_age": [dict(a) for a in self.by_age],
        }


@dataclass(frozen=True, eq=False)
class Rolling:
    """Several cuts and their rows taken together; ``skipped`` names the cuts that could not be used, and why."""

    evaluations: Sequence[Evaluation]
    figures: Mapping[str, Any]
    by_age: Sequence[Mapping[str, Any]]
    skipped: Sequence[Mapping[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "cuts": [e.to_json() for e in self.evaluations],
            "figures": dict(self.figures),
            "by_age": [dict(a) for a in self.by_age],
            "skipped": [dict(s) for s in self.skipped],
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
        params: LightGBM parameters over the defaults.
        census: test on weekly censuses of all open prospects (what is served) instead of on landmarks.
        seed: of the training and the bootstrap.
        resamples: of the bootstrap.
        computed: the features of all landmarks, where they are at hand (see ``training.dataset.build``).

    Raises:
        BadInput: the training at the cut is refused, or nothing can be tested (``nothing_to_test``).
    """
    from features.episodes import census_spine
    from features.standard import standard_features
    from training import goal as goals
    from training.dataset import build, labels
    from training.model import DEFAULTS, fit

    goal = tables.dataset.goal if goal is None else goal
    if horizon is not None:
        goal = replace(goal, horizons=(("", horizon),))
    features = standard_features(tables, until=cut) if features is None else features
    training_set = build(tables, features, until=cut, goal=goal, with_open=False, computed=computed)
    model = fit(training_set, {**DEFAULTS, **(params or {})}, seed=seed, folds=0)
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
    whole = len(tested)
    tested, y = tested.select(observed), y[observed]
    rows = tested.rows[["prospect_id", "as_of", "age_days", "regime"]].copy()
    rows["y"], rows["p"], rows["constant"] = y, model.predict(tested), model.base_rates(tested)
    return Evaluation(
        cut,
        test_until,
        float(model.card["base_rate"]),
        _figures(rows, resamples, seed),
        _by_age(rows),
        {
            "tested": len(tested),
            "prospects": tested.counts["prospects"],
            "unobserved": whole - len(tested),
            "late": tested.counts["late"],
            "trained": len(training_set),
            "trained_prospects": training_set.counts["prospects"],
            "trained_outcomes": training_set.counts["outcomes"],
        },
        rows,
        model,
    )


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
) -> Rolling:
    """Evaluate at several cuts, each tested up to the next, and take all the tested rows together.

    Without ``cuts`` those of ``default_cuts``. A cut at which nothing can be trained or tested is skipped, with the
    reason. Raises BadInput (``no_cuts``) when none is left.
    """
    import pandas as pd

    from features.offline import feature_table
    from training.goal import landmark_spine

    goal = tables.dataset.goal if goal is None else goal
    if horizon is not None:
        goal = replace(goal, horizons=(("", horizon),))
    if cuts is None:
        cuts = default_cuts(tables, goal)
    ordered = sorted(cuts)
    last = _last_tested(tables, goal)
    computed = None
    if features is not None and goal.starts_at is None:  # a start that is recorded late moves its landmarks
        computed = feature_table(features, tables, landmark_spine(tables, goal)).cache()
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
    rows = pd.concat([e.rows for e in done], ignore_index=True)
    return Rolling(done, _figures(rows, resamples, seed), _by_age(rows), skipped)


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


def weak_signal(figures: Mapping[str, Any]) -> dict[str, str] | None:
    """The warning that the gain over a constant is not clearly positive, or None where it is."""
    low, high = figures.get("interval", {}).get("log_loss_gain", (-math.inf, math.inf))
    if low > 0:
        return None
    found = "cannot be told" if not math.isfinite(low) else f"lies between {low:+.4f} and {high:+.4f} (log loss, 95 %)"
    return {
        "code": "weak_signal",
        "text": f"the gain over a constant {found}: the scores may rank no better than chance. "
        "Add what distinguishes prospects, or more outcomes.",
    }


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


def _figures(rows: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    ids = rows["prospect_id"].to_numpy(dtype=object)
    constant = rows["constant"].to_numpy()
    return metrics(rows["y"], rows["p"], constant=constant, groups=ids, resamples=resamples, seed=seed)


def _by_age(rows: pd.DataFrame) -> list[dict[str, Any]]:
    from training.goal import AGES

    ages = np.asarray(AGES)
    floor = ages[np.searchsorted(ages, rows["age_days"].to_numpy(), side="right") - 1]
    out = []
    for age in np.unique(floor):
        part = rows[floor == age]
        out.append({"age_days": int(age), **metrics(part["y"], part["p"], constant=part["constant"].to_numpy())})
    return out
