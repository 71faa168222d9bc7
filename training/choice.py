"""Which hazard a data set can carry: a short ladder of models, judged by rolling log loss inside the training rows.

Cuts lie where two, three and four fifths of the outcomes had come. At each, every candidate learns from the intervals
over by then, and is judged on later landmarks by the log loss of all their observed intervals: the likelihood of the
time to the outcome, which uses prospects that are still open. Nothing after T is looked at.

With ``trials``, as many more are tried (``training.search``) on all cuts but the last, and nothing is seen that was not
over by the last; there the best of them is held against what was chosen.

Where at least two regimes have enough outcomes, what was chosen for all of them is then held against a model for each
regime: the chosen one, the blend of the plain recipe and the logistic one, with each regime's own effects on top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.contract import DAY, format_time
from serving.linear import Linear
from training.hazard import (
    TO_CHOOSE,
    Blend,
    Pooled,
    binned,
    blended,
    boosters,
    linear_log_odds,
    logistic,
    model_rows,
    own_effects,
    recent_level,
)
from training.search import SPACE, Proposal, search, silent
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
    search: Mapping[str, Any] | None = None

    @property
    def params(self) -> Mapping[str, Any]:
        """The LightGBM parameters that a search found, where what was chosen has them; else none."""
        return self.search["params"] if self.search is not None and self.chosen.searched else {}

    def to_json(self) -> dict[str, Any]:
        """As the card holds it."""
        out: dict[str, Any] = {
            "chosen": self.chosen.name,
            "cuts": [format_time(cut) for cut in self.cuts],
            "candidates": [dict(c) for c in self.candidates],
        }
        if self.pooled is not None:
            out["regimes"] = {"pooled": self.pooled.name, "candidates": [dict(c) for c in self.regimes]}
        if self.search is not None:
            out["search"] = dict(self.search)
        return out


def choose(
    pooled: Pooled,
    as_of: Ints,
    horizons: Ints,
    until: int,
    params: Mapping[str, Any],
    seed: int = 0,
    trials: int = 0,
    say: Callable[[str], None] = silent,
) -> Choice:
    """The candidate with the least rolling log loss, or the plain one (below ``FEW`` outcomes the steady one) where the
    gain is not clear.

    Args:
        pooled: the pooled rows; where they are many, a sample of them chooses.
        as_of: of each landmark, microseconds.
        horizons: of each landmark, days: later intervals are not judged.
        until: what is known ends here, microseconds.
        params: LightGBM parameters, but for the number of trees.
        seed: of the trees and of the search.
        trials: how many more to search for.
        say: called now and then with how far a search is.
    """
    usual = STEADY if len(np.unique(pooled.prospect[pooled.row[pooled.y == 1]])) < FEW else PLAIN
    pooled = pooled.thinned(seed, TO_CHOOSE)
    cuts = _cuts(pooled, as_of)
    searched: Mapping[str, Any] | None = {"trials": trials, "taken": False} if trials else None
    if not cuts:
        return Choice(usual, (), (), search=searched)
    windows = _windows(pooled, as_of, horizons, cuts, until)
    stages = [_Stage.of(pooled, window, seed) for window in windows]
    losses = _Losses(pooled)
    told: list[dict[Blend, _Told]] = []
    whole = binned(pooled, params, seed)
    parts = [stage.past for stage in stages]
    for booster, stage in zip(boosters(pooled, whole, max(LADDER), params, seed, parts), stages, strict=True):
        now = _log_odds(_Ready.of(stage.after, stage), booster)
        if pooled.regime is None:
            learnt, then = now, _log_odds(_Ready.of(stage.recent, stage), booster)
        else:
            learnt = _log_odds(_Ready.of(stage.before, stage), booster)
            then = {blend: z[stage.late] for blend, z in learnt.items()}
        for blend in CANDIDATES:
            losses.add(blend, stage, now[blend], then[blend])
        told.append({blend: (now[blend], then[blend], learnt[blend]) for blend in CANDIDATES})
    rows = sum(stage.rows for stage in stages)
    figures = losses.figures(CANDIDATES, PLAIN, rows)
    chosen = _clearly_best(CANDIDATES, losses.figures(CANDIDATES, usual, rows), usual)
    alike = [blend for blend in CANDIDATES if blend.logistic == chosen.logistic and blend.trees <= chosen.trees]
    chosen = _fewest_trees(alike, losses.figures(alike, chosen, rows))
    if trials and len(stages) > 1:
        chosen, searched = _searched(pooled, whole, stages, chosen, told, losses, params, seed, trials, say)
    if pooled.regime is None:
        return Choice(chosen, cuts, figures, search=searched)
    variants = _by_regime(tuple(dict.fromkeys((chosen, *BY_REGIME))), stages, told, losses)
    mine = losses.figures((chosen, *variants), chosen, rows)
    return Choice(_clearly_best((chosen, *variants), mine, chosen), cuts, figures, chosen, mine, searched)


_Window = tuple[int, Mask, Mask]  # a cut, the pooled rows over by it, and those of the landmarks after it
# The log-odds after a cut, lately before it, and of all that it knows, which only models by regime ask for.
_Told = tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class _Stage:
    """A cut made ready: what it knows (``past``) and the recent part of that (``late`` among it), what it is judged on,
    and what all candidates share there: base rates and the logistic model."""

    cut: int
    past: Mask
    late: Mask
    before: Pooled
    after: Pooled
    recent: Pooled
    begun: Start
    linear: Mapping[str, Any]

    @staticmethod
    def of(pooled: Pooled, window: _Window, seed: int) -> _Stage:
        cut, past, ahead = window
        before = pooled.select(past)
        late = before.ends > cut - round(5 * HALF_LIFE) * DAY
        begun = start(before)
        linear = blended(before, begun, logistic(before, begun, seed), 1.0)
        assert linear is not None
        return _Stage(cut, past, late, before, pooled.select(ahead), before.select(late), begun, linear)

    @property
    def rows(self) -> int:
        """How many landmarks it is judged on."""
        return len(np.unique(self.after.row))

    def by(self, end: int) -> _Stage:
        """The same, judged only on what was over by then."""
        return replace(self, after=self.after.select(self.after.ends <= end))


def _windows(pooled: Pooled, as_of: Ints, horizons: Ints, cuts: tuple[int, ...], until: int) -> list[_Window]:
    last = np.asarray(pooled.edges)[pooled.k + 1] <= horizons[pooled.row]
    return [
        (cut, pooled.ends <= cut, last & (as_of[pooled.row] > cut) & (as_of[pooled.row] <= end))
        for cut, end in zip(cuts, (*cuts[1:], until), strict=True)
    ]


def _searched(
    pooled: Pooled,
    whole: Any,
    stages: Sequence[_Stage],
    chosen: Blend,
    told: Sequence[dict[Blend, _Told]],
    losses: _Losses,
    params: Mapping[str, Any],
    seed: int,
    trials: int,
    say: Callable[[str], None],
) -> tuple[Blend, Mapping[str, Any]]:
    """What is taken after a search, and what came of it; its figures join ``told`` and ``losses`` where it is taken."""
    *earlier, last = stages
    seen = [stage.by(last.cut) for stage in earlier]
    ready = [tuple(_Ready.of(part, stage) for part in (stage.after, stage.recent)) for stage in seen]
    rows = sum(stage.rows for stage in seen)

    def grown(proposal: Proposal, where: Sequence[_Stage]) -> list[Any]:
        return boosters(pooled, whole, proposal.trees, proposal.params, seed, [stage.past for stage in where])

    def loss(proposal: Proposal) -> float:
        mine, blend = _Losses(pooled), Blend(proposal.trees, proposal.logistic, searched=True)
        for booster, stage, parts in zip(grown(proposal, seen), seen, ready, strict=True):
            now, then = (_of(proposal, part, booster) for part in parts)
            mine.add(blend, stage, now, then)
        return mine.total(blend) / max(rows, 1)

    best = search(loss, trials, {**params, "num_iterations": PLAIN.trees}, seed, say)
    blend = Blend(best.trees, best.logistic, searched=True)
    everywhere = []
    for booster, stage in zip(grown(best, stages), stages, strict=True):
        now, then = (_of(best, _Ready.of(part, stage), booster) for part in (stage.after, stage.recent))
        learnt = now if pooled.regime is None else _of(best, _Ready.of(stage.before, stage), booster)
        everywhere.append((now, then, learnt))
    judge = _Losses(pooled)
    judge.add(chosen, last, *told[-1][chosen][:2])
    judge.add(blend, last, *everywhere[-1][:2])
    figures = judge.figures((chosen, blend), chosen, last.rows)
    taken = _clearly_best((chosen, blend), figures, chosen) == blend
    if taken:
        for stage, of_stage, new in zip(stages, told, everywhere, strict=True):
            of_stage[blend] = new
            losses.add(blend, stage, *new[:2])
    kept = {name: best.params[name] for name in SPACE}
    came = {"trials": trials, "taken": taken, "cut": format_time(last.cut), "against": chosen.name}
    return blend if taken else chosen, {**came, **figures[1], "params": kept}


class _Losses:
    """The log loss of each candidate by prospect, added up over the cuts."""

    def __init__(self, pooled: Pooled) -> None:
        self._prospect, self._count = pooled.prospect, int(pooled.prospect.max()) + 1
        self._of: dict[Blend, Floats] = {}

    def add(self, blend: Blend, stage: _Stage, now: Floats, then: Floats) -> None:
        """Those of the rows after a cut, of the log-odds ``now``, shifted to the level of the recent (``then``)."""
        after = stage.after
        z = now + level(stage.recent, then, stage.cut)
        loss = np.logaddexp(0.0, z) - after.y * z
        weight = loss if after.weight is None else loss * after.weight
        found = np.bincount(self._prospect[after.row], weight, self._count)
        self._of[blend] = self._of.get(blend, np.zeros(self._count)) + found

    def total(self, blend: Blend) -> float:
        """The candidate's log loss, nats over all that was added."""
        return float(self._of[blend].sum())

    def figures(self, blends: Sequence[Blend], against: Blend, rows: int) -> tuple[Mapping[str, Any], ...]:
        """The card's entry of each, compared with one of them by prospect."""
        out = []
        for blend in blends:
            difference = self._of[blend] - self._of[against]
            out.append(
                {
                    "name": blend.name,
                    "log_loss": self.total(blend) / rows,
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
    blends: Sequence[Blend], stages: Sequence[_Stage], told: Sequence[Mapping[Blend, _Told]], losses: _Losses
) -> tuple[Blend, ...]:
    """Judge some of the candidates with each regime's own effects on top; returns these."""
    for stage, known in zip(stages, told, strict=True):
        for blend in blends:
            now, then, learnt = known[blend]
            own = own_effects(stage.before, learnt)
            variant = replace(blend, by_regime=True)
            losses.add(variant, stage, now + own.added(stage.after), then + own.added(stage.recent))
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


class _Ready(NamedTuple):
    """Pooled rows made ready for any trees: what these take, the starting log-odds, and the logistic model's."""

    matrix: Floats
    begun: Floats
    flat: Floats

    @staticmethod
    def of(pooled: Pooled, stage: _Stage) -> _Ready:
        return _Ready(model_rows(pooled), pooled.starting(stage.begun), _flat(pooled, stage.linear, stage.begun))


def _log_odds(rows: _Ready, booster: Any) -> dict[Blend, Floats]:
    """The log-odds of each pooled row by every candidate."""
    trees: dict[int, Floats] = {}
    total, first = rows.begun, 0
    for rounds in LADDER:
        total = total + _raw(booster, rows.matrix, first, rounds - first)
        trees[rounds], first = total, rounds
    return {blend: _mixed(trees[blend.trees], rows.flat, blend.logistic) for blend in CANDIDATES}


def _of(proposal: Proposal, rows: _Ready, booster: Any) -> Floats:
    """The log-odds of each pooled row by a proposal's trees and its share of the logistic model."""
    return _mixed(rows.begun + _raw(booster, rows.matrix, 0, -1), rows.flat, proposal.logistic)


def _raw(booster: Any, matrix: Floats, first: int, count: int) -> Floats:
    """What so many trees from one on give each row."""
    if not len(matrix):
        return np.zeros(0)
    raw = booster.predict(matrix, raw_score=True, start_iteration=first, num_iteration=count, num_threads=1)
    return np.asarray(raw, dtype=np.float64)


def _mixed(trees: Floats, flat: Floats, share: float) -> Floats:
    return flat if share == 1 else (1 - share) * trees + share * flat


def _flat(pooled: Pooled, linear: Mapping[str, Any], begun: Start) -> Floats:
    """The log-odds of each pooled row by the logistic model alone."""
    added = linear_log_odds(Linear(pooled.names, linear), pooled)
    return np.asarray(begun.intervals[pooled.k] + added, dtype=np.float64)
