"""Which hazard a data set can carry: a short ladder of models, judged by rolling log loss inside the training rows.

Cuts lie where two, three and four fifths of the outcomes had come. At each, every candidate learns from the intervals
over by then, and is judged on later landmarks by the log loss of all their observed intervals: the likelihood of the
time to the outcome, which uses prospects that are still open. Nothing after T is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, format_time
from serving.linear import Linear
from training.hazard import TO_CHOOSE, Blend, Pooled, blended, boosters, logistic, recent_level
from training.start import Start, start

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LADDER = (50, 100, 200, 400)
HALF = 0.5  # the logistic share of a blend
PLAIN = Blend(100)
CANDIDATES = (*map(Blend, LADDER), Blend(LADDER[0], 1.0), *(Blend(trees, HALF) for trees in LADDER))
SHARES = (0.4, 0.6, 0.8)
FEWEST = 20  # outcomes before a cut and after it, for it to tell models apart
HALF_LIFE = 30.0  # days; how recent the level is, to which a hazard is shifted
SURE = 3.0  # standard errors by which a shift is shrunk
CLEAR = 2.0  # standard errors by which a candidate must beat the plain recipe


@dataclass(frozen=True)
class Choice:
    """What was chosen, by which cuts (microseconds), and each candidate's figures against the plain recipe.

    ``candidates`` hold name, log_loss (nats per landmark), difference to the plain recipe and its standard error.
    Without cuts there was too little to choose by, and ``chosen`` is the plain recipe.
    """

    chosen: Blend
    cuts: tuple[int, ...]
    candidates: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As the card holds it."""
        return {
            "chosen": self.chosen.name,
            "cuts": [format_time(cut) for cut in self.cuts],
            "candidates": [dict(c) for c in self.candidates],
        }


def choose(pooled: Pooled, as_of: Ints, horizons: Ints, until: int, params: Mapping[str, Any], seed: int = 0) -> Choice:
    """The candidate with the least rolling log loss, or the plain one where the gain is not clear.

    Args:
        pooled: the pooled rows; where they are many, a sample of them chooses.
        as_of: of each landmark, microseconds.
        horizons: of each landmark, days: later intervals are not judged.
        until: what is known ends here, microseconds.
        params: LightGBM parameters, but for the number of trees.
        seed: of the trees.
    """
    pooled = pooled.thinned(seed, TO_CHOOSE)
    cuts = _cuts(pooled, as_of)
    if not cuts:
        return Choice(PLAIN, (), ())
    learned = [pooled.ends <= cut for cut in cuts]
    last = np.asarray(pooled.edges)[pooled.k + 1] <= horizons[pooled.row]
    tested = [
        last & (as_of[pooled.row] > cut) & (as_of[pooled.row] <= end)
        for cut, end in zip(cuts, (*cuts[1:], until), strict=True)
    ]
    count = int(pooled.prospect.max()) + 1
    losses = {blend: np.zeros(count) for blend in CANDIDATES}
    for booster, past, ahead, cut in zip(
        boosters(pooled, max(LADDER), params, seed, learned), learned, tested, cuts, strict=True
    ):
        before, after = pooled.select(past), pooled.select(ahead)
        recent = before.select(before.ends > cut - round(5 * HALF_LIFE) * DAY)
        begun = start(before)
        linear = blended(before, begun, logistic(before, begun, seed), 1.0)
        assert linear is not None
        now, then = (_log_odds(part, booster, linear, begun) for part in (after, recent))
        for blend in CANDIDATES:
            z = now[blend] + level(recent, then[blend], cut)
            loss = np.logaddexp(0.0, z) - after.y * z
            weight = loss if after.weight is None else loss * after.weight
            losses[blend] += np.bincount(pooled.prospect[after.row], weight, count)
    rows = sum(len(np.unique(pooled.row[ahead])) for ahead in tested)
    plain = losses[PLAIN]
    figures: list[dict[str, Any]] = []
    for blend in CANDIDATES:
        difference = losses[blend] - plain
        error = float(np.sqrt((difference**2).sum())) / rows
        figures.append(
            {
                "name": blend.name,
                "log_loss": float(losses[blend].sum()) / rows,
                "difference": float(difference.sum()) / rows,
                "standard_error": error,
            }
        )
    best = min(range(len(figures)), key=lambda i: figures[i]["log_loss"])
    sure = figures[best]["difference"] < -CLEAR * figures[best]["standard_error"]
    return Choice(CANDIDATES[best] if sure else PLAIN, cuts, tuple(figures))


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
    matrix = np.empty((len(pooled.row), pooled.encoded.shape[1] + 1))
    np.take(pooled.encoded, pooled.row, axis=0, out=matrix[:, :-1])
    matrix[:, -1] = pooled.k
    trees: dict[int, Floats] = {}
    total, first = pooled.starting(begun), 0
    for rounds in LADDER:
        if len(matrix):
            total = total + booster.predict(
                matrix, raw_score=True, start_iteration=first, num_iteration=rounds - first, num_threads=1
            )
        trees[rounds], first = total, rounds
    tables = Linear(pooled.names, linear)
    used, at = np.unique(pooled.row, return_inverse=True)
    encoded = pooled.encoded[used]
    flat = begun.intervals[pooled.k] + tables.log_odds(*tables.parts(encoded), tables.by_table(encoded))[at, pooled.k]
    return {
        blend: flat if blend.logistic == 1 else (1 - blend.logistic) * trees[blend.trees] + blend.logistic * flat
        for blend in CANDIDATES
    }
