"""Which hazard a data set can carry: a short ladder of models, judged by rolling log loss inside the training rows.

Cuts lie where two, three and four fifths of the outcomes had come. At each, every candidate learns from the intervals
over by then, and is judged on later landmarks by the log loss of all their observed intervals: the likelihood of the
time to the outcome, which uses prospects that are still open. Nothing after T is looked at.

Where at least two regimes have enough outcomes, what was chosen for all of them is then held against a model for each
regime: the chosen one, the blend of the plain recipe and the logistic one, with each regime's own effects on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, format_time
from serving.linear import Linear
from training.hazard import (
    TO_CHOOSE,
    Blend,
    Pooled,
    blended,
    boosters,
    logistic,
    model_rows,
    own_effects,
    recent_level,
)
from training.start import Start, start

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LADDER = (50, 100, 200, 400)
HALF = 0.5  # the logistic share of a blend
PLAIN = Blend(100)  # what is taken unless another is clearly better, and what the figures are told against
STEADY = Blend(LADDER[0], HALF)  # what takes its place below so many outcomes, by which 100 trees are led astray
FEW = 200
BY_REGIME = (Blend(100, HALF), Blend(LADDER[0], 1.0))  # tried with own effects, beside what was chosen for all
CANDIDATES = (*map(Blend, LADDER), Blend(LADDER[0], 1.0), *(Blend(trees, HALF) for trees in LADDER))
SHARES = (0.4, 0.6, 0.8)
FEWEST = 20  # outcomes before a cut and after it, for it to tell models apart
HALF_LIFE = 30.0  # days; how recent the level is, to which a hazard is shifted
SURE = 3.0  # standard errors by which a shift is shrunk
ENOUGH = 1.0  # standard errors within which fewer trees are as good
CLEAR = 2.0  # standard errors by which a candidate must beat the usual one


@dataclass(frozen=True)
class Choice:
    """What was chosen, by which cuts (microseconds), and each candidate's figures against the plain recipe.

    ``candidates`` hold name, log_loss (nats per landmark), difference to the plain recipe and its standard error.
    Without cuts there was too little to choose by, and ``chosen`` is the usual one. ``regimes`` are the same of what
    was chosen for all regimes (``pooled``) and of models with each regime's own effects, whose differences are to it;
    empty where these were not in question.
    """

    chosen: Blend
    cuts: tuple[int, ...]
    candidates: tuple[Mapping[str, Any], ...]
    pooled: Blend | None = None
    regimes: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the card holds it."""
        out: dict[str, Any] = {
            "chosen": self.chosen.name,
            "cuts": [format_time(cut) for cut in self.cuts],
            "candidates": [dict(c) for c in self.candidates],
        }
        if self.pooled is not None:
            out["regimes"] = {"pooled": self.pooled.name, "candidates": [dict(c) for c in self.regimes]}
        return out


def choose(pooled: Pooled, as_of: Ints, horizons: Ints, until: int, params: Mapping[str, Any], seed: int = 0) -> Choice:
    """The candidate with the least rolling log loss, or the plain one (below ``FEW`` outcomes the steady one) where the
    gain is not clear.

    Args:
        pooled: the pooled rows; where they are many, a sample of them chooses.
        as_of: of each landmark, microseconds.
        horizons: of each landmark, days: later intervals are not judged.
        until: what is known ends here, microseconds.
        params: LightGBM parameters, but for the number of trees.
        seed: of the trees.
    """
    usual = STEADY if len(np.unique(pooled.prospect[pooled.row[pooled.y == 1]])) < FEW else PLAIN
    pooled = pooled.thinned(seed, TO_CHOOSE)
    cuts = _cuts(pooled, as_of)
    if not cuts:
        return Choice(usual, (), ())
    windows = _windows(pooled, as_of, horizons, cuts, until)
    learned = [past for _, past, _ in windows]
    losses = _Losses(pooled)
    told: list[dict[Blend, tuple[Floats, Floats, Floats]]] = []  # the log-odds after a cut, lately, and before it
    for booster, (cut, past, ahead) in zip(boosters(pooled, max(LADDER), params, seed, learned), windows, strict=True):
        before, after, recent = _split(pooled, cut, past, ahead)
        begun = start(before)
        linear = blended(before, begun, logistic(before, begun, seed), 1.0)
        assert linear is not None
        now, then = (_log_odds(part, booster, linear, begun) for part in (after, recent))
        for blend in CANDIDATES:
            losses.add(blend, after, now[blend], recent, then[blend], cut)
        if pooled.regime is not None:
            learnt = _log_odds(before, booster, linear, begun)
            told.append({blend: (now[blend], then[blend], learnt[blend]) for blend in CANDIDATES})
    rows = sum(len(np.unique(pooled.row[ahead])) for _, _, ahead in windows)
    figures = losses.figures(CANDIDATES, PLAIN, rows)
    chosen = _clearly_best(CANDIDATES, losses.figures(CANDIDATES, usual, rows), usual)
    alike = [blend for blend in CANDIDATES if blend.logistic == chosen.logistic and blend.trees <= chosen.trees]
    chosen = _fewest_trees(alike, losses.figures(alike, chosen, rows))
    if pooled.regime is None:
        return Choice(chosen, cuts, figures)
    variants = _by_regime(pooled, tuple(dict.fromkeys((chosen, *BY_REGIME))), windows, told, losses)
    mine = losses.figures((chosen, *variants), chosen, rows)
    return Choice(_clearly_best((chosen, *variants), mine, chosen), cuts, figures, chosen, mine)


_Window = tuple[int, Mask, Mask]  # a cut, the pooled rows over by it, and those of the landmarks after it


def _windows(pooled: Pooled, as_of: Ints, horizons: Ints, cuts: tuple[int, ...], until: int) -> list[_Window]:
    last = np.asarray(pooled.edges)[pooled.k + 1] <= horizons[pooled.row]
    return [
        (cut, pooled.ends <= cut, last & (as_of[pooled.row] > cut) & (as_of[pooled.row] <= end))
        for cut, end in zip(cuts, (*cuts[1:], until), strict=True)
    ]


def _split(pooled: Pooled, cut: int, past: Mask, ahead: Mask) -> tuple[Pooled, Pooled, Pooled]:
    """What a cut knows, what it is judged on, and the recent part of what it knows."""
    before, after = pooled.select(past), pooled.select(ahead)
    return before, after, before.select(before.ends > cut - round(5 * HALF_LIFE) * DAY)


class _Losses:
    """The log loss of each candidate by prospect, added up over the cuts."""

    def __init__(self, pooled: Pooled) -> None:
        self._prospect, self._count = pooled.prospect, int(pooled.prospect.max()) + 1
        self._of: dict[Blend, Floats] = {}

    def add(self, blend: Blend, after: Pooled, now: Floats, recent: Pooled, then: Floats, cut: int) -> None:
        """Those of the rows ``after`` a cut, of the log-odds ``now``, shifted to the level of the ``recent`` ones."""
        z = now + level(recent, then, cut)
        loss = np.logaddexp(0.0, z) - after.y * z
        weight = loss if after.weight is None else loss * after.weight
        found = np.bincount(self._prospect[after.row], weight, self._count)
        self._of[blend] = self._of.get(blend, np.zeros(self._count)) + found

    def figures(self, blends: Sequence[Blend], against: Blend, rows: int) -> tuple[Mapping[str, Any], ...]:
        """The card's entry of each, compared with one of them by prospect."""
        out = []
        for blend in blends:
            difference = self._of[blend] - self._of[against]
            out.append(
                {
                    "name": blend.name,
                    "log_loss": float(self._of[blend].sum()) / rows,
                    "difference": float(difference.sum()) / rows,
                    "standard_error": float(np.sqrt((difference**2).sum())) / rows,
                }
            )
        return tuple(out)


def _clearly_best(blends: Sequence[Blend], figures: Sequence[Mapping[str, Any]], given: Blend) -> Blend:
    """The one with the least loss where its gain over the given one is clear, else that one."""
    best = min(range(len(figures)), key=lambda i: figures[i]["log_loss"])
    sure = figures[best]["difference"] < -CLEAR * figures[best]["standard_error"]
    return blends[best] if sure else given


def _fewest_trees(alike: Sequence[Blend], figures: Sequence[Mapping[str, Any]]) -> Blend:
    """The fewest trees that are not told from the best (one standard error: Breiman et al. 1984, section 3.4.3)."""
    return next(b for b, f in zip(alike, figures, strict=True) if f["difference"] <= ENOUGH * f["standard_error"])


def _by_regime(
    pooled: Pooled,
    blends: Sequence[Blend],
    windows: Sequence[_Window],
    told: Sequence[Mapping[Blend, tuple[Floats, Floats, Floats]]],
    losses: _Losses,
) -> tuple[Blend, ...]:
    """Judge some of the candidates with each regime's own effects on top; returns these."""
    for (cut, past, ahead), known in zip(windows, told, strict=True):
        before, after, recent = _split(pooled, cut, past, ahead)
        for blend in blends:
            now, then, learnt = known[blend]
            own = own_effects(before, learnt)
            variant = replace(blend, by_regime=True)
            losses.add(variant, after, now + own.added(after), recent, then + own.added(recent), cut)
    return tuple(replace(blend, by_regime=True) for blend in blends)


def level(recent: Pooled, log_odds: Floats, until: int) -> float:
    """The shift to the level of the recent past, shrunk to nothing unless it is clearly there.

    Positive-part shrinkage (James and Stein 1961), by ``SURE`` standard errors: where the rate stands still the shift
    is 0, where it moved the hazard follows within weeks instead of a horizon.
    """
    shift, error = recent_level(recent, log_odds, until, HALF_LIFE)
    if shift == 0.0:
        return 0.0
    return shift * max(0.0, 1.0 - (SURE * error / shift) ** 2)


def _cuts(pooled: Pooled, as_of: Ints) -> tuple[int, ...]:
    """The ends of intervals by which two, three and four fifths of the prospects that reached the goal had done so."""
    with_outcome = pooled.y == 1
    last = np.full(int(pooled.prospect.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(last, pooled.prospect[pooled.row[with_outcome]], pooled.ends[with_outcome])
    reached = np.sort(last[last < np.iinfo(np.int64).max])
    cuts = sorted({int(reached[int(share * len(reached))]) for share in SHARES}) if len(reached) else []
    out = []
    for cut, end in zip(cuts, [*cuts[1:], np.iinfo(np.int64).max], strict=True):
        inside = (as_of[pooled.row] > cut) & (as_of[pooled.row] <= end)
        before = len(np.unique(pooled.prospect[pooled.row[with_outcome & (pooled.ends <= cut)]]))
        after = len(np.unique(pooled.prospect[pooled.row[with_outcome & inside]]))
        if min(before, after) >= FEWEST:
            out.append(cut)
    return tuple(out)


def _log_odds(pooled: Pooled, booster: Any, linear: Mapping[str, Any], begun: Start) -> dict[Blend, Floats]:
    """The log-odds of each pooled row by every candidate."""
    matrix = model_rows(pooled)
    trees: dict[int, Floats] = {}
    total, first = pooled.starting(begun), 0
    for rounds in LADDER:
        if len(matrix):
            total = total + booster.predict(
                matrix, raw_score=True, start_iteration=first, num_iteration=rounds - first, num_threads=1
            )
        trees[rounds], first = total, rounds
    flat = _flat(pooled, linear, begun)
    return {
        blend: flat if blend.logistic == 1 else (1 - blend.logistic) * trees[blend.trees] + blend.logistic * flat
        for blend in CANDIDATES
    }


def _flat(pooled: Pooled, linear: Mapping[str, Any], begun: Start) -> Floats:
    """The log-odds of each pooled row by the logistic model alone."""
    tables = Linear(pooled.names, linear)
    used, at = np.unique(pooled.row, return_inverse=True)
    encoded = pooled.encoded[used]
    added = tables.of(tables.see(encoded))[at, pooled.k]
    return np.asarray(begun.intervals[pooled.k] + added, dtype=np.float64)
