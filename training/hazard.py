"""The hazard's two parts and their blend: boosted trees and a logistic model over the same pooled rows.

A pooled row is a landmark with one future interval at risk and wholly observed (discrete-time survival as
classification: Suresh et al. 2022; boosted landmark supermodel: Sandqvist 2026, arXiv 2601.17605).

A regime (how a firm buys) may have effects of its own: on top of the hazard of all, each regime's base rates and a
logistic model's slopes are fitted to its rows, shrunk to nothing by the same ridge prior. So a regime borrows from the
whole what its own outcomes do not contradict (partial pooling: Gelman and Hill 2007, chapter 12), and the trees stay
one text. Trees of each regime alone lost to the trees of all, which may split on the regime, on every simulated set
that was tried, even where effects changed their sign between regimes: too few outcomes reach each tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY
from serving.linear import CLIP, Linear, squash
from serving.trees import Trees, expand
from training.start import AGE, Start, start

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# DESIGN 6's plain recipe: small and shrunk beat large and searched on four real sets, forward in time.
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
    "force_col_wise": True,  # the same trees as by rows, without a copy of the columns for each
    "feature_pre_filter": False,  # so that folds may share the binned rows
    "num_threads": 1,  # threads within a training spin where cores are shared: whole trainings run side by side instead
    "verbosity": -1,
}
_WORKERS = 2
_CHUNK = 65_536  # model rows predicted at a time
MOST_FOR_LOGISTIC = 60_000  # its few weights are sure with fewer rows than trees need
STRENGTH = 0.01  # scikit-learn's C: a prior deviation of 0.1 per standard deviation of a feature
LEVEL_WORTH = 1.0  # units of information by which a regime's own level is held to the whole's
_FREE = 3.0  # scale of the intervals' indicators, so that the prior hardly holds them
_CURVED = 4_000  # rows that tell well enough how a loss curves


@dataclass(frozen=True)
class Blend:
    """What a hazard is made of: ``trees`` rounds of boosting, and the share of the log-odds that is logistic.

    ``by_regime``: whether each regime has effects of its own on top. ``searched``: whether the trees' parameters came
    of a search, and so are others than the usual ones.
    """

    trees: int
    logistic: float = 0.0
    by_regime: bool = False
    searched: bool = False

    @property
    def name(self) -> str:
        """As cards and tables call it."""
        kind = "logistic" if self.logistic == 1 else f"{'blend' if self.logistic else 'trees'}_{self.trees}"
        kind = f"searched_{kind}" if self.searched else kind
        return f"{kind}_by_regime" if self.by_regime else kind


@dataclass(frozen=True)
class Regimes:
    """Where pooled rows tell their regime: a category feature's position, and the codes that may have own effects."""

    feature: int
    codes: tuple[int, ...]


@dataclass(frozen=True)
class Kept:
    """How many pooled rows without the outcome are kept: so many for each with it, within two bounds."""

    per_outcome: int
    least: int
    most: int


TO_FIT = Kept(20, 80_000, 300_000)  # more moved no figure
TO_CHOOSE = Kept(8, 30_000, 120_000)  # enough to tell models apart, a dozen trainings in the time of one


@dataclass(frozen=True)
class Pooled:
    """The pooled rows: ``row`` indexes the encoded matrix, ``k`` is the interval, ``y`` whether the goal came in it.

    Attributes:
        encoded: float64 (landmarks, features), as the scorer encodes them.
        ends: when each pooled row's interval ended, int64 microseconds.
        weight: how many rows each stands for; None where all are kept.
        came_on: the weekday (0 is Monday) of each landmark's outcome; anything where there is none.
        by_time: whether base rates are told apart by age and weekday.
        age: the feature that tells the age, since creation or since the outcome that an episode starts at.
        regime: where the regimes with enough outcomes are told; None where fewer than two have them.
        levels: category feature's position -> how many levels have a code of their own.
        prospect: of each landmark, a number.
    """

    encoded: Floats
    row: Ints
    k: Ints
    y: Ints
    ends: Ints
    edges: tuple[int, ...]
    levels: Mapping[int, int]
    names: tuple[str, ...]
    prospect: Ints
    came_on: Ints
    weight: Floats | None = None
    by_time: bool = False
    age: str = AGE
    regime: Regimes | None = None

    def starting(self, start: Start) -> Floats:
        """The starting log-odds of each pooled row."""
        return np.asarray(start.of(self.encoded)[self.row, self.k], dtype=np.float64)

    def select(self, which: Mask | Ints) -> Pooled:
        """Some of the pooled rows."""
        weight = None if self.weight is None else self.weight[which]
        return replace(
            self, row=self.row[which], k=self.k[which], y=self.y[which], ends=self.ends[which], weight=weight
        )

    def thinned(self, seed: int, kept: Kept) -> Pooled:
        """All rows with the outcome, and so many of the others as still tell something, weighted to stand for all."""
        others = np.flatnonzero(self.y == 0)
        count = min(max(kept.per_outcome * int(self.y.sum()), kept.least), kept.most)
        if len(others) <= count:
            return self
        chosen = np.random.default_rng(seed).permutation(others)[:count]
        part = self.select(np.sort(np.concatenate([np.flatnonzero(self.y == 1), chosen])))
        weight = np.ones(len(part.y)) if part.weight is None else part.weight
        return replace(part, weight=np.where(part.y == 1, weight, weight * len(others) / count))


@dataclass(frozen=True)
class Hazard:
    """A fitted hazard: the intervals' starting score, the trees' text, and what tables add to it, if anything.

    ``kinds`` are the same trees and the logistic model, each alone; empty unless asked for.
    """

    starting: Floats
    text: str
    linear: Mapping[str, Any] | None
    names: tuple[str, ...]
    kinds: tuple[Hazard, ...] = ()

    def _added(self) -> dict[str, Any]:
        """What tables add, also where they add nothing."""
        none = [0.0] * len(self.starting)
        nothing = {"trees": 1.0, "intervals": none, "late": none, "numbers": {}, "levels": {}, "tables": []}
        return dict(nothing if self.linear is None else self.linear)

    def shifted(self, by: Floats) -> Hazard:
        """The hazard with something added to the log-odds of each interval; its starting score stays the base rate."""
        linear = self._added()
        linear["intervals"] = (np.asarray(linear["intervals"]) + by).tolist()
        return replace(self, linear=linear, kinds=tuple(kind.shifted(by) for kind in self.kinds))

    def held(self, share: float) -> Hazard:
        """The hazard whose departures from the intervals' base rates are so large a share of what they were."""
        given = self._added()
        linear = {**given, "trees": given["trees"] * share, **_effects_times(given, share)}
        linear["tables"] = [{**table, "log_odds": _times(table["log_odds"], share)} for table in given["tables"]]
        if "regimes" in given:
            linear["regimes"] = {**given["regimes"], "effects": _times(given["regimes"]["effects"], share)}
        return replace(self, linear=linear, kinds=tuple(kind.held(share) for kind in self.kinds))

    def log_odds(self, encoded: Floats) -> Floats:
        """The log-odds of the hazard of every row in every interval, shape (rows, intervals)."""
        count = len(self.starting)
        trees = Trees(self.text, encoded.shape[1] + 1)
        linear = None if self.linear is None else Linear(self.names, self.linear)
        out = np.empty((len(encoded), count))
        step = max(1, _CHUNK // count)
        for at in range(0, len(encoded), step):
            part = encoded[at : at + step]
            raw = trees.raw(expand(part, [count] * len(part))).reshape(-1, count)
            if linear is not None:
                raw = linear.trees * raw + linear.of(linear.see(part))
            out[at : at + step] = self.starting + raw
        return out

    def of_pooled(self, pooled: Pooled) -> Floats:
        """The log-odds of the hazard of each pooled row."""
        trees = Trees(self.text, pooled.encoded.shape[1] + 1)
        rows = np.arange(len(pooled.row))
        parts = [pooled.select(rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK)]
        raw = np.concatenate([np.zeros(0), *(trees.raw(model_rows(part)) for part in parts)])
        if self.linear is not None:
            linear = Linear(self.names, self.linear)
            raw = linear.trees * raw + linear_log_odds(linear, pooled)
        return np.asarray(self.starting[pooled.k] + raw, dtype=np.float64)


def train(
    pooled: Pooled,
    blend: Blend,
    params: Mapping[str, Any],
    seed: int,
    parts: Sequence[Mask | None],
    kinds: bool = False,
) -> list[Hazard]:
    """One hazard on the pooled rows of each mask (None: on all), side by side over the same binned rows.

    With ``kinds``, that on all the rows has both kinds of model alone beside it.
    """
    from threadpoolctl import threadpool_limits

    def one(text: str, part: Mask | None) -> Hazard:
        mine = pooled if part is None else pooled.select(part)
        begun = start(mine)
        both = kinds and part is None
        linear = logistic(mine, begun, seed) if blend.logistic > 0 or both else None

        def of(share: float) -> Hazard:
            tables = blended(mine, begun, linear if share else None, share)
            hazard = Hazard(begun.intervals, text, tables, pooled.names)
            if not blend.by_regime or mine.regime is None:
                return hazard
            own = own_effects(mine, hazard.of_pooled(mine))
            return replace(hazard, linear=with_regimes(mine, tables, own, share))

        return replace(of(blend.logistic), kinds=(of(0.0), of(1.0)) if both else ())

    rounds = blend.trees
    grown = boosters(pooled, binned(pooled, params, seed), rounds, params, seed, parts)
    texts = [str(booster.model_to_string()) for booster in grown]
    # Held to one thread here too: of two side by side, the first to be done would lift the other's limit.
    with threadpool_limits(1), ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(one, texts, parts))


def model_rows(pooled: Pooled) -> Floats:
    """The pooled rows as the trees take them: the landmark's encoded features, then the interval."""
    matrix = np.empty((len(pooled.row), pooled.encoded.shape[1] + 1))
    np.take(pooled.encoded, pooled.row, axis=0, out=matrix[:, :-1])
    matrix[:, -1] = pooled.k
    return matrix


def linear_log_odds(linear: Linear, pooled: Pooled) -> Floats:
    """What tables add to the log-odds of each pooled row."""
    used, at = np.unique(pooled.row, return_inverse=True)
    return np.asarray(linear.of(linear.see(pooled.encoded[used]))[at, pooled.k], dtype=np.float64)


def binned(pooled: Pooled, params: Mapping[str, Any], seed: int) -> Any:
    """The pooled rows as LightGBM bins them, which no parameter of ``training.search`` changes."""
    import lightgbm

    shared = all_params(params, seed, len(pooled.y))
    return lightgbm.Dataset(
        model_rows(pooled), pooled.y, weight=pooled.weight, categorical_feature=sorted(pooled.levels), params=shared
    ).construct()


def boosters(
    pooled: Pooled, whole: Any, rounds: int, params: Mapping[str, Any], seed: int, parts: Sequence[Mask | None]
) -> list[Any]:
    """LightGBM boosters, one for each mask (None: all rows) of the pooled rows, which are ``whole`` when binned.

    The first n trees of more are those of a training on n.
    """
    import lightgbm

    def one(part: Mask | None) -> Any:
        mine = pooled if part is None else pooled.select(part)
        given = all_params(params, seed, len(mine.y))
        given.pop("num_iterations")
        data = whole if part is None and len(parts) == 1 else _subset(whole, part, given)
        data.set_init_score(mine.starting(start(mine)))
        return lightgbm.train(given, data, num_boost_round=rounds)

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(one, parts))


def _subset(whole: Any, part: Mask | None, params: Mapping[str, Any]) -> Any:
    count = whole.num_data()
    rows = np.arange(count) if part is None else np.flatnonzero(part)
    return whole.subset(rows.tolist(), params=dict(params)).construct()


def all_params(given: Mapping[str, Any], seed: int, rows: int) -> dict[str, Any]:
    """Every parameter that LightGBM gets, for so many rows."""
    given = {**DEFAULTS, **given}
    leaf = max(1, min(int(given["min_data_in_leaf"]), rows // 50))  # so that little data still splits
    return {**_FIXED, **given, "min_data_in_leaf": leaf, "seed": seed}


def logistic(pooled: Pooled, begun: Start, seed: int) -> dict[str, Any]:
    """A logistic hazard, as ``blended`` takes it: what ``serving.linear.Linear`` does, its ``tables`` not yet as JSON.

    Every feature has an effect and another that grows with the logarithm of the time to the interval; a ridge prior
    (``STRENGTH``) holds both, and hardly the intervals' own levels. Contributions are relative to their mean over the
    landmarks; ``intervals`` are relative to the starting score, to which the scorer adds them. Rows without an outcome
    (or with nothing else: a fold of few outcomes, all of one account) tell nothing apart: they stay at the start.
    """
    middle = (np.asarray(pooled.edges[:-1]) + np.asarray(pooled.edges[1:])) / 2
    late = np.log1p(middle) - np.log1p(middle).mean()
    late /= max(float(late.std()), 1e-9)
    seen = _Design.of(pooled)
    used, numbers, gaps = seen.used, seen.numbers, seen.gaps
    z, missing, design, centre, scale = seen.z, seen.missing, seen.matrix, seen.centre, seen.scale

    rows = _fewer(pooled, seed)
    at, k = np.searchsorted(used, pooled.row[rows]), pooled.k[rows]
    offset = pooled.starting(begun)[rows] - begun.intervals[k]
    weight = np.ones(len(rows)) if pooled.weight is None else pooled.weight[rows]
    others = pooled.y[rows] == 0
    everyone = np.ones(len(pooled.y)) if pooled.weight is None else pooled.weight
    weight[others] *= everyone[pooled.y == 0].sum() / max(weight[others].sum(), 1e-9)
    width, count = design.shape[1], len(late)
    effects, own, start_share = np.zeros((2, width)), begun.intervals, 1.0
    if 0 < others.sum() < len(others):
        landmarks, place = np.unique(at, return_inverse=True)
        free = np.column_stack([np.eye(count)[k], offset, np.ones(len(rows))])
        logit = _Logit(design[landmarks], place, (np.ones(len(rows)), late[k]), free, pooled.y[rows], weight)
        hardly = np.full(count + 1, 1 / (STRENGTH * _FREE**2))
        prior = np.concatenate([np.full(2 * width, 1 / STRENGTH), hardly, [0.0]])
        level = begun.intervals.mean()
        found = logit.ridge(prior, np.concatenate([np.zeros(2 * width), begun.intervals - level, [1.0, level]]))
        effects = found[: 2 * width].reshape(2, width)  # soon, late
        own, start_share = found[2 * width : -2] + found[-1], float(found[-2])

    out: dict[str, Any] = {"late": late.tolist(), "numbers": {}, "levels": {}}
    out["tables"] = [table.times(start_share) for table in begun.tables]
    means = np.zeros(2)
    gap = {int(j): len(numbers) + n for n, j in enumerate(gaps)}
    for j, i in enumerate(numbers):
        absent = effects[:, gap[j]] if j in gap else np.zeros(2)
        mean = effects[:, j] * z[:, j].mean() + absent * missing[:, j].mean()
        means += mean
        out["numbers"][pooled.names[i]] = {
            "centre": float(centre[j]),
            "scale": float(scale[j]),
            "slope": effects[:, j].tolist(),
            "known": (-mean).tolist(),
            "missing": (absent - mean).tolist(),
        }
    first = len(numbers) + len(gaps)
    for i, count in pooled.levels.items():
        pairs = effects[:, first : first + count + 2]
        mean = pairs @ design[:, first : first + count + 2].mean(axis=0)
        means += mean
        out["levels"][pooled.names[i]] = (pairs - mean[:, None]).T.tolist()
        first += count + 2
    out["intervals"] = (own + means[0] + means[1] * late - begun.intervals).tolist()
    return out


@dataclass(frozen=True)
class _Logit:
    """Rows of a logistic model, whose landmarks stand in ``matrix`` once however many rows each has.

    A row's log-odds are its ``offset``, for each of the ``shares`` (a number a row) that times what the landmark
    ``place`` has by the effects that go with it, and what ``free`` (rows, levels) has by the levels.
    """

    matrix: Floats
    place: Ints
    shares: tuple[Floats, ...]
    free: Floats
    y: Ints
    weight: Floats
    offset: Floats | float = 0.0

    def ridge(self, prior: Floats, begin: Floats) -> Floats:
        """The effects, then levels, of the greatest likelihood under a prior of these precisions, from a beginning on.

        What the columns tell goes together, so that L-BFGS alone would take hundreds of steps: it is given the
        variables in which the curvature at the beginning, of some of the rows, is the same in every direction.
        """
        from scipy.linalg import solve_triangular
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

        def loss(x: Floats) -> tuple[float, Floats]:
            t = begin + solve_triangular(root, x, check_finite=False)
            z = self._log_odds(t)
            small = np.exp(-np.abs(z))  # never overflows
            p = np.where(z > 0, 1.0, small) / (1 + small)
            value = float((self.weight * (np.maximum(z, 0.0) + np.log1p(small) - self.y * z)).sum())
            value += float((prior * t * t).sum()) / 2
            slope = self._slope(self.weight * (p - self.y)) + prior * t
            return value, solve_triangular(root, slope, trans="T", check_finite=False)

        with threadpool_limits(1):  # the same bits however many cores there are
            root = self._curvature_root(prior, begin)
            options = {"maxiter": 500, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-4}
            found = minimize(loss, np.zeros(len(begin)), jac=True, method="L-BFGS-B", options=options).x
            return np.asarray(begin + solve_triangular(root, found, check_finite=False), dtype=np.float64)

    # Of a matrix and a vector einsum is faster than a matrix product, and starts no threads.

    def _log_odds(self, t: Floats) -> Floats:
        width = self.matrix.shape[1]
        z = self.offset + np.einsum("ij,j->i", self.free, t[len(self.shares) * width :])
        for n, share in enumerate(self.shares):
            z += share * np.einsum("ij,j->i", self.matrix, t[n * width : (n + 1) * width])[self.place]
        return np.asarray(z, dtype=np.float64)

    def _slope(self, miss: Floats) -> Floats:
        of_landmark = (np.bincount(self.place, share * miss, len(self.matrix)) for share in self.shares)
        parts = [np.einsum("ij,i->j", self.matrix, each) for each in of_landmark]
        return np.concatenate([*parts, np.einsum("ij,i->j", self.free, miss)])

    def _curvature_root(self, prior: Floats, t: Floats) -> Floats:
        """The upper root of the loss's second derivatives, as some of the rows, evenly taken, tell them."""
        some = slice(None, None, max(1, len(self.y) // _CURVED))
        p = 1 / (1 + np.exp(-np.clip(self._log_odds(t)[some], -500, 500)))
        worth = self.weight[some] * p * (1 - p) * len(self.y) / len(p)
        landmark = self.matrix[self.place[some]]
        rows = np.hstack([*(landmark * share[some, None] for share in self.shares), self.free[some]])
        rows *= np.sqrt(worth)[:, None]
        curvature = rows.T @ rows
        curvature[np.diag_indices_from(curvature)] += prior
        return np.asarray(np.linalg.cholesky(curvature).T, dtype=np.float64)


@dataclass(frozen=True)
class _Design:
    """The landmarks of pooled rows as a linear model takes them, each once: numbers, gaps, then levels.

    ``used`` are the landmarks; ``numbers`` the positions of the numbers among the features and ``gaps`` those among
    the numbers that are missing somewhere; ``z`` the numbers squashed, centred and scaled, 0 where ``missing``.
    """

    used: Ints
    numbers: list[int]
    gaps: Ints
    z: Floats
    missing: Mask
    matrix: Floats
    centre: Floats
    scale: Floats

    @staticmethod
    def of(pooled: Pooled) -> _Design:
        used = np.unique(pooled.row)
        numbers = [i for i in range(len(pooled.names)) if i not in pooled.levels]
        x = pooled.encoded[used][:, numbers]
        missing = np.isnan(x)
        z = np.where(missing, np.nan, squash(np.where(missing, 0.0, x)))
        known = np.maximum((~missing).sum(axis=0), 1)
        centre = np.nansum(z, axis=0) / known
        scale = np.sqrt(np.nansum((z - centre) ** 2, axis=0) / known)
        scale = np.where(scale > 1e-9, scale, 1.0)  # a constant says nothing: it is 0 once centred
        z = np.where(missing, 0.0, np.clip((z - centre) / scale, -CLIP, CLIP))
        gaps = np.flatnonzero(missing.any(axis=0))
        matrix = np.hstack([z, missing[:, gaps].astype(float), *_indicators(pooled, used)])
        return _Design(used, numbers, gaps, z, missing, matrix, centre, scale)

    def like(self, pooled: Pooled, used: Ints) -> Floats:
        """Landmarks of these rows or others, in the same columns."""
        x = pooled.encoded[used][:, self.numbers]
        missing = np.isnan(x)
        z = np.clip((squash(np.where(missing, 0.0, x)) - self.centre) / self.scale, -CLIP, CLIP)
        gaps = missing[:, self.gaps].astype(float)
        return np.hstack([np.where(missing, 0.0, z), gaps, *_indicators(pooled, used)])


def _indicators(pooled: Pooled, used: Ints) -> list[Floats]:
    """Of each category 0 or 1 for each level, then any other, then a missing one."""
    out = []
    for i, count in pooled.levels.items():
        code = pooled.encoded[used, i]
        at = np.where(np.isnan(code), count + 1, np.nan_to_num(code)).astype(np.intp)
        out.append(np.eye(count + 2)[at])
    return out


@dataclass(frozen=True)
class OwnEffects:
    """What sets regimes apart from the hazard of all: by code, log-odds of each interval, and effects of the design.

    Effects are of the columns of a ``_Design``; those of a landmark are relative to their mean over its regime.
    """

    intervals: Mapping[int, Floats]
    effects: Mapping[int, Floats]
    means: Mapping[int, Floats]
    design: _Design

    def added(self, pooled: Pooled) -> Floats:
        """What they add to the log-odds of each pooled row, of these rows or others."""
        assert pooled.regime is not None
        out = np.zeros(len(pooled.row))
        used, at = np.unique(pooled.row, return_inverse=True)
        matrix = self.design.like(pooled, used)
        code = pooled.encoded[used, pooled.regime.feature]
        for c, effects in self.effects.items():
            of_landmark = np.einsum("ij,j->i", matrix, effects) - (self.means[c] * effects).sum()
            here = code[at] == c
            out[here] = of_landmark[at[here]] + self.intervals[c][pooled.k[here]]
        return out


def own_effects(pooled: Pooled, log_odds: Floats) -> OwnEffects:
    """The effects of each regime with enough outcomes, fitted to its rows from the log-odds of all, by a ridge prior.

    The prior holds slopes as ``STRENGTH`` does in the logistic model; a regime's level is held by ``LEVEL_WORTH``
    rows' worth of information, and each of its intervals by ten times as much.
    """
    assert pooled.regime is not None
    design = _Design.of(pooled)
    at = np.searchsorted(design.used, pooled.row)
    code = pooled.encoded[pooled.row, pooled.regime.feature]
    intervals, effects, means = {}, {}, {}
    for c in pooled.regime.codes:
        here = code == c
        if not here.any():
            continue
        landmarks, place = np.unique(at[here], return_inverse=True)
        matrix = design.matrix[landmarks]
        mean = matrix.mean(axis=0)
        effects[c], intervals[c] = _apart(pooled.select(here), matrix - mean, place, log_odds[here])
        means[c] = mean
    return OwnEffects(intervals, effects, means, design)


def _apart(mine: Pooled, matrix: Floats, place: Ints, offset: Floats) -> tuple[Floats, Floats]:
    """Effects of the columns of ``matrix``, whose line ``place`` is each row's, and log-odds of each interval."""
    weight = np.ones(len(mine.y)) if mine.weight is None else mine.weight
    width, count = matrix.shape[1], len(mine.edges) - 1
    prior = np.concatenate([np.full(width, 1 / STRENGTH), [LEVEL_WORTH], np.full(count, 10 * LEVEL_WORTH)])
    alike = np.ones(len(mine.y))
    free = np.column_stack([alike, np.eye(count)[mine.k]])
    found = _Logit(matrix, place, (alike,), free, mine.y, weight, offset).ridge(prior, np.zeros(len(prior)))
    return found[:width], found[width] + found[width + 1 :]


def with_regimes(
    pooled: Pooled, linear: Mapping[str, Any] | None, own: OwnEffects, share: float
) -> dict[str, Any] | None:
    """The tables of a hazard with the own effects of regimes: ``regimes`` as ``serving.linear.Linear`` takes them.

    Where there is no logistic model (``share`` 0), its numbers and levels are there with slopes of 0: they hold the
    scales that the own effects are on.
    """
    assert pooled.regime is not None
    count = len(pooled.edges) - 1
    out: dict[str, Any] = dict(linear or {"trees": 1.0 - share, "intervals": [0.0] * count, "late": [0.0] * count,
                                          "numbers": {}, "levels": {}, "tables": []})  # fmt: skip
    design, feature = own.design, pooled.regime.feature
    if not out["numbers"] and not out["levels"]:
        none = [0.0, 0.0]
        out["numbers"] = {
            pooled.names[i]: {"centre": float(centre), "scale": float(scale), "slope": none, "known": none,
                              "missing": none}
            for i, centre, scale in zip(design.numbers, design.centre, design.scale, strict=True)
        }  # fmt: skip
        out["levels"] = {pooled.names[i]: [none] * (levels + 2) for i, levels in pooled.levels.items()}
    table = np.zeros((pooled.levels[feature] + 1, count))
    effects = {}
    gap = {int(j): len(design.numbers) + n for n, j in enumerate(design.gaps)}
    for c, found in own.effects.items():
        table[c] = own.intervals[c]
        mean = own.means[c] * found
        numbers, levels = {}, {}
        for j, i in enumerate(design.numbers):
            centred = mean[j] + (mean[gap[j]] if j in gap else 0.0)
            absent = found[gap[j]] if j in gap else 0.0
            numbers[pooled.names[i]] = [float(found[j]), float(-centred), float(absent - centred)]
        first = len(design.numbers) + len(design.gaps)
        for i, size in pooled.levels.items():
            part = slice(first, first + size + 2)
            levels[pooled.names[i]] = (found[part] - mean[part].sum()).tolist()
            first += size + 2
        effects[str(c)] = {"numbers": numbers, "levels": levels}
    own_table = {"feature": pooled.names[feature], "at": list(range(len(table))), "log_odds": table.tolist()}
    out["tables"] = [*out["tables"], own_table]
    out["regimes"] = {"feature": pooled.names[feature], "effects": effects}
    return out


def _fewer(pooled: Pooled, seed: int) -> Ints:
    """Indices of pooled rows for the logistic part: all where they are few enough, else a sample of both classes."""
    if len(pooled.y) <= MOST_FOR_LOGISTIC:
        return np.arange(len(pooled.y))
    rng = np.random.default_rng(seed)
    with_outcome, others = np.flatnonzero(pooled.y == 1), np.flatnonzero(pooled.y == 0)
    if len(with_outcome) > MOST_FOR_LOGISTIC // 3:  # far more than so few weights need; both classes at one rate
        return np.sort(rng.permutation(len(pooled.y))[:MOST_FOR_LOGISTIC])
    return np.sort(np.concatenate([with_outcome, rng.permutation(others)[: MOST_FOR_LOGISTIC - len(with_outcome)]]))


def blended(pooled: Pooled, begun: Start, linear: Mapping[str, Any] | None, share: float) -> dict[str, Any] | None:
    """What tables add to trees that were boosted from a start, with so large a share of a logistic model.

    None where they add nothing: no logistic model, and no base rate but that of the intervals.
    """

    count = len(begun.intervals)
    out: dict[str, Any] = {"trees": 1.0 - share, "intervals": [0.0] * count, "late": [0.0] * count}
    out |= {"numbers": {}, "levels": {}}
    if linear is not None:
        out |= {"late": linear["late"], **_effects_times(linear, share)}
    tables = [table.times(1 - share) for table in begun.tables]
    if linear is not None:
        both = zip(tables, linear["tables"], strict=True)
        tables = [replace(own, log_odds=own.log_odds + share * other.log_odds) for own, other in both]
    out["tables"] = [table.to_json(pooled.names) for table in tables]
    return out if linear is not None or tables else None


def _times(value: Any, share: float) -> Any:
    """Numbers times a share, in lists and mappings of whatever depth."""
    if isinstance(value, Mapping):
        return {key: _times(v, share) for key, v in value.items()}
    return [_times(v, share) for v in value] if isinstance(value, list) else value * share


def _effects_times(linear: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The intervals, numbers and levels of a logistic model's tables with so large a share of their effects."""
    scales = ("centre", "scale")  # of the values, not of the effects
    numbers = {
        name: {key: v if key in scales else _times(v, share) for key, v in entry.items()}
        for name, entry in linear["numbers"].items()
    }
    of = {key: _times(linear[key], share) for key in ("intervals", "levels")}
    return {**of, "numbers": numbers}


def recent_level(pooled: Pooled, log_odds: Floats, until: int, half_life: float) -> tuple[float, float]:
    """How far, in log-odds, the outcomes of the recent past lie above what a hazard says, and how sure that is.

    One Newton solution for a common shift, each pooled row weighing half as much for every ``half_life`` days that
    its interval ended before ``until``.

    Args:
        pooled: the rows.
        log_odds: of each pooled row, by the hazard.
        until: microseconds.
        half_life: days.

    Returns:
        The shift and its standard error, from the residuals of whole prospects.
    """
    weight = 0.5 ** ((until - pooled.ends) / DAY / half_life)
    if pooled.weight is not None:
        weight = weight * pooled.weight
    shift = 0.0
    for _ in range(30):
        p = 1 / (1 + np.exp(-(log_odds + shift)))
        information = float((weight * p * (1 - p)).sum()) + 1.0  # a prior of one unit: no outcome, no infinite shift
        step = float((weight * (pooled.y - p)).sum() - shift) / information
        shift += float(np.clip(step, -1, 1))
        if abs(step) < 1e-9:
            break
    p = 1 / (1 + np.exp(-(log_odds + shift)))
    score = np.bincount(pooled.prospect[pooled.row], weight * (pooled.y - p))
    information = float((weight * p * (1 - p)).sum()) + 1.0
    return shift, float(np.sqrt((score**2).sum() + 1.0)) / information
