"""From a bundle and a prospect's records to a score: the one scorer of every path, pure once it is made.

A prospect's row is encoded once and repeated for each interval k up to its horizon; the trees give the log-odds of
the hazard in each, and ``P(within e_K | t) = 1 - prod_k (1 - hazard_k)``. A single prospect is a batch of one.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.aggregates import needs_contacts
from features.compiled import compiled
from features.contract import Goal, format_time
from features.errors import BadInput
from features.online import as_of as row_as_of
from features.online import compile_features
from features.records import Event, Outcome, Records
from features.regimes import regime_of
from features.spec import Aggregate, Attribute, walk
from features.standard import family
from serving.bundle import GRADES, Bundle, Constants
from serving.committee import Committee, Missing, Trio, ranked, trio
from serving.explain import label
from serving.hazards import Hazards, Seen

Matrix = npt.NDArray[np.float64]
Columns = Mapping[str, Any]  # one array (or list) of raw values per feature
Rows = Sequence[Sequence[Any]]  # raw values in the order of the spec, as ``compile_features`` gives them

COMPILED = (
    "features._events",
    "features._groups",
    "features._program",
    "serving._answers",
    "serving._rows",
    "serving._tables",
)  # what a score spends its time in, where built
_SOME = 20  # prospects whose records are at hand at a time
_LABELS = 20_000  # phrases kept: they are made of values that come from outside
_LONG = 200  # letters of a value up to which its phrase is kept
_GRADES = ("D", *reversed(GRADES))  # the worst first


class Warned(NamedTuple):
    """Something the reader of a score should know."""

    code: str
    text: str


class Reason(NamedTuple):
    """A feature's part in a score: ``effect`` in log-odds of the hazard, weighted over the intervals.

    ``family`` says what kind of thing moved it: interest that the prospect showed, effort of our own, the firm, ...
    """

    feature: str
    label: str
    value: float | int | str | None
    effect: float
    family: str


class Evidence(NamedTuple):
    """What a score was computed from: with the bundle, enough to compute it again to the bit.

    ``features`` are raw values in the spec's order. ``effects`` are those of all features, as ``Reason.effect``, of
    which an answer gives the greatest; None where no reasons were asked for.
    """

    features: Sequence[Any]
    regime: str | None
    effects: Matrix | None


@dataclass(frozen=True)
class Score:
    """The answer about one prospect; ``curve`` holds (days, probability) up to the horizon.

    ``committee`` is None where the contacts are unknown, and for raw feature rows, which do not hold them. ``evidence``
    is None where the features were given in columns.
    """

    prospect_id: str
    as_of: int
    goal: str
    horizon_days: int
    probability: float
    probability_low: float
    probability_high: float
    curve: tuple[tuple[int, float], ...]
    score: int
    grade: str
    reasons: tuple[Reason, ...]
    committee: Committee | None = field(default=None, kw_only=True)
    evidence: Evidence | None = field(default=None, kw_only=True, compare=False, repr=False)
    warnings: tuple[Warned, ...]
    model_version: str

    def with_warnings(self, more: Iterable[Mapping[str, str]]) -> Score:
        """The score with further warnings ({code, text}) before its own: those of reading the request."""
        first = tuple(Warned(w["code"], w["text"]) for w in more)
        return replace(self, warnings=(*first, *self.warnings)) if first else self

    def to_json(self) -> dict[str, Any]:
        """The answer of ``POST /score``, but for the receipt, which the service adds."""
        return {
            "prospect_id": self.prospect_id,
            "as_of": format_time(self.as_of),
            "goal": self.goal,
            "horizon_days": self.horizon_days,
            "probability": self.probability,
            "probability_low": self.probability_low,
            "probability_high": self.probability_high,
            "curve": [{"days": days, "probability": probability} for days, probability in self.curve],
            "score": self.score,
            "grade": self.grade,
            "reasons": [reason._asdict() for reason in self.reasons],
            "committee": None if self.committee is None else self.committee.to_json(),
            "warnings": [warning._asdict() for warning in self.warnings],
            "model_version": self.model_version,
        }


def encode(
    data: Rows | Columns,
    names: Sequence[str],
    categories: Mapping[str, Sequence[str]],
    has_other: frozenset[str] | Sequence[str] = frozenset(),
) -> Matrix:
    """Raw feature values as the model's numbers: the encoder of serving and of training.

    Args:
        data: rows in the order of ``names``, or a mapping of a column (array or list) for each name. A value is text
            for a category, a number for the rest; None or NaN is missing.
        names: the features in the spec's order.
        categories: the levels of each category feature; a level's position is its code.
        has_other: the features whose other levels get the code ``len(levels)``; else those are missing.

    Returns:
        float64 matrix (rows, features), C-contiguous; NaN is missing.
    """
    return _Encoder(names, categories, has_other).encode(data)


# Compiled where that was built; each stands for what is beside its use.
_encode: Any = compiled("serving._tables", "encode", None)
_finished: Any = compiled("serving._tables", "finished", None)
_weights: Any = compiled("serving._tables", "weights", None)
_outlooks: Any = compiled("serving._tables", "outlooks", None)
_chances: Any = compiled("serving._tables", "chances", None)
_reasons: Any = compiled("serving._tables", "reasons", None)


class _Encoder:
    def __init__(
        self,
        names: Sequence[str],
        categories: Mapping[str, Sequence[str]],
        has_other: frozenset[str] | Sequence[str],
    ) -> None:
        self.names = tuple(names)
        self.codes: list[tuple[int, dict[str, float], float]] = []  # position, codes, the code of any other level
        for i, name in enumerate(self.names):
            if name in categories:
                levels = {level: float(code) for code, level in enumerate(categories[name])}
                self.codes.append((i, levels, float(len(levels)) if name in has_other else math.nan))
        self._levels: list[Any] = [None] * len(self.names)
        for i, levels, other in self.codes:
            self._levels[i] = (levels, other)

    def encode(self, data: Rows | Columns, strange: set[int] | None = None) -> Matrix:
        """The matrix; the rows with a level that has no code are added to ``strange``, where that is given."""
        if isinstance(data, Mapping):
            return self._columns(data, strange)
        if _encode is not None:
            return np.asarray(_encode(data, len(self.names), self._levels, strange))
        rows = [list(row) for row in data]
        for i, codes, other in self.codes:
            for r, row in enumerate(rows):
                level = row[i]
                if strange is not None and isinstance(level, str) and level not in codes:
                    strange.add(r)
                row[i] = codes.get(level, other) if isinstance(level, str) else None
        # numpy reads None as NaN
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.names))

    def _columns(self, data: Columns, strange: set[int] | None) -> Matrix:
        count = len(data[self.names[0]]) if self.names else 0
        out = np.empty((count, len(self.names)), dtype=np.float64)
        coded = {i for i, _, _ in self.codes}
        for i, name in enumerate(self.names):
            if i not in coded:
                out[:, i] = np.asarray(data[name], dtype=np.float64)
        for i, codes, other in self.codes:
            levels = data[self.names[i]]
            if strange is not None:
                strange.update(r for r, v in enumerate(levels) if isinstance(v, str) and v not in codes)
            out[:, i] = np.fromiter(
                (codes.get(v, other) if isinstance(v, str) else math.nan for v in levels), np.float64, count
            )
        return out


def softplus(z: float) -> float:
    """``log(1 + exp(z))``, that is -log(1 - hazard) for log-odds z; exact to rounding far out on both sides."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def sigmoid(x: float) -> float:
    """``1 / (1 + exp(-x))`` without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    power = math.exp(x)
    return power / (1.0 + power)


def interval_weights(z: Sequence[float]) -> list[float]:
    """``w_k = S_(k-1) h_k / P``: the share of the probability that falls into each interval; they sum to 1."""
    total, shares = 0.0, []
    for value in z:
        step = softplus(value)
        shares.append(math.exp(-total) * -math.expm1(-step))
        total += step
    whole = math.fsum(shares)
    if whole <= 0.0:  # every hazard underflows: the ratios are those of exp(z)
        shares = [math.exp(value - max(z)) for value in z]
        whole = math.fsum(shares)
    return [share / whole for share in shares]


def plain_survival(z: Sequence[float], count: int) -> tuple[list[float], float]:
    """The probability by the end of each of the first intervals, and -log of the share that has none by the last."""
    total, p, out = 0.0, 0.0, []
    for value in z[:count]:
        total += softplus(value)
        p = max(p, -math.expm1(-total))
        out.append(p)
    return out, total


def plain_chance(z: Sequence[float], count: int) -> float:
    """The probability by the end of the last of the first intervals."""
    return plain_survival(z, count)[0][-1]


_Outlook = tuple[tuple[tuple[int, float], ...], float, float, float]


def plain_outlook(
    z: Sequence[float],
    count: int,
    edges: Sequence[int],
    knots: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
) -> _Outlook:
    """The curve, its last probability and that one's interval, from the log-odds of the first hazards."""
    found, total = plain_survival(z, count)
    curve, p = tuple(zip(edges[1 : count + 1], found, strict=True)), found[-1]
    if p <= 0.0:
        return curve, 0.0, 0.0, 0.0
    logit = total + math.log(p)  # log(p / (1 - p)), exact also where p rounds to 1
    least = sigmoid(logit - interpolate(logit, knots, low))
    most = sigmoid(logit + interpolate(logit, knots, high))
    return curve, p, min(least, p), max(most, p)


def rank_of(p: float, quantiles: Sequence[float]) -> int:
    """The share of a population, given by quantiles, up to p, in percent; of those who have p themselves, half."""
    below = bisect_left(quantiles, p)
    upto = bisect_right(quantiles, p, below)
    return 100 * (below + (upto - below + 1) // 2) // len(quantiles)


class Fixed(NamedTuple):
    """What is the same in all scores of a model; ``cuts`` are between ``grades``, the worst first."""

    goal: str
    version: str
    warnings: tuple[Warned, ...]
    grades: tuple[str, ...]
    cuts: tuple[float, ...]
    reference: Mapping[str, Sequence[float]]


def plain_scores(
    fixed: Fixed,
    outlooks: list[_Outlook],
    ids: list[str],
    times: list[int],
    regimes: list[str | None],
    warnings: list[tuple[Warned, ...]],
    told: list[tuple[Reason, ...]] | None,
    looked_at: list[Trio | None] | None,
    after: list[float],
    rows: list[Sequence[Any]] | None,
    effects: Matrix | None,
) -> list[Score]:
    """The scores of as many prospects as there are outlooks.

    ``after`` are the probabilities after the signs of all of them, in their order. ``told`` are their reasons, ``rows``
    their raw values and ``effects`` those of all features: None where there are none.
    """
    left = iter(after)
    out = []
    for i, (curve, p, low, high) in enumerate(outlooks):
        looked = None if looked_at is None else looked_at[i]
        regime = regimes[i]
        quantiles = fixed.reference.get(regime or "", fixed.reference[""])
        out.append(
            Score(
                prospect_id=ids[i],
                as_of=times[i],
                goal=fixed.goal,
                horizon_days=curve[-1][0],
                probability=p,
                probability_low=low,
                probability_high=high,
                curve=curve,
                score=rank_of(p, quantiles),
                grade=fixed.grades[bisect_right(fixed.cuts, p)],
                reasons=() if told is None else told[i],
                committee=looked and Committee(looked[0], ranked(looked[1], [*islice(left, len(looked[1]))])),
                warnings=(*warnings[i], *fixed.warnings),
                model_version=fixed.version,
                evidence=None if rows is None else Evidence(rows[i], regime, None if effects is None else effects[i]),
            )
        )
    return out


_quick_scores: Any = compiled("serving._tables", "scores", None)
_SCORES = (Score, Committee, Missing, Evidence)
_scores: Callable[..., list[Score]] = plain_scores if _quick_scores is None else partial(_quick_scores, _SCORES)


def plain_greatest(values: Matrix, rank: npt.NDArray[np.intp], most: int) -> list[int]:
    """The places of the values farthest from 0, the farthest first, equal ones by their rank; ``most`` of them."""
    out: list[int] = np.lexsort((rank, -np.abs(values)))[:most].tolist()
    return out


greatest: Callable[[Matrix, npt.NDArray[np.intp], int], list[int]] = compiled(
    "serving._tables", "greatest", plain_greatest
)


def interpolate(x: float, knots: Sequence[float], values: Sequence[float]) -> float:
    """Piecewise linear through (knots, values), flat beyond both ends."""
    i = bisect_right(knots, x)
    if i == 0:
        return values[0]
    if i == len(knots):
        return values[-1]
    share = (x - knots[i - 1]) / (knots[i] - knots[i - 1])
    return values[i - 1] + share * (values[i] - values[i - 1])


Ended = Callable[[str], None]  # told the name of a stage at its end: features, model, reasons


def unwatched(stage: str) -> None:
    """What is told of the stages where nobody times them."""


class Scorer:
    """A bundle made ready to score. Pure from here on: no clock, no file, no environment; safe in threads.

    Give it only what ``check_bundle`` returned where the process must live on. ``version`` stands in every answer.
    """

    def __init__(self, bundle: Bundle, version: str) -> None:
        self.version = version
        self.digest = bundle.digest
        self.card = bundle.card
        self.spec = bundle.features
        self.constants: Constants = bundle.constants
        self.goal = bundle.constants.goal
        self._features = compile_features(self.spec)
        self._names = self.spec.names
        self._families = tuple(family(f) for f in self.spec.features)
        self._kinds = tuple(self.spec.kind(f) for f in self.spec.features)
        self._rank = np.argsort(np.argsort(np.array(self._names)))  # the order among equal effects
        self._encoder = _Encoder(self._names, self.constants.categories, self.constants.has_other)
        intervals = len(self.constants.edges) - 1
        self._hazards = Hazards(bundle.model_text, self._names, intervals, self.constants.linear)
        self._starting = np.array(self.constants.starting_score, dtype=np.float64)[:intervals]
        interval = self.constants.knots, self.constants.low, self.constants.high
        self._interval = tuple(np.array(each, dtype=np.float64) for each in interval)
        self._told: dict[tuple[int, Any, str], Reason] = {}  # by feature, value and language; without the effect
        self.needs = _needs(self._names, self.spec.features)  # by list of a request: the features missing without it
        warnings = tuple(Warned(w["code"], w["text"]) for w in bundle.card.get("warnings", ()))
        cuts = tuple(reversed(self.constants.grade_cuts))
        self._fixed = Fixed(self.goal.outcome, version, warnings, _GRADES, cuts, bundle.reference)

    def score(
        self,
        records: Records,
        as_of: int,
        *,
        reasons: int = 5,
        language: str = "en",
        committee: bool = True,
        ended: Ended = unwatched,
    ) -> Score:
        """Score one prospect with what was known at ``as_of`` (microseconds since 1970).

        ``reasons`` is the greatest number of reasons; ``language`` that of their labels; ``committee`` whether the
        buying trio is looked at; ``ended`` is told the name of each stage at its end. The events of ``records`` must
        have gone through ``merge_events``. Raises BadInput ``as_of_before_creation``.
        """
        asked = ((records, as_of),)
        return self.score_each(asked, reasons=reasons, language=language, committee=committee, ended=ended)[0]

    def score_all(
        self,
        prospects: Iterable[Records],
        as_of: int,
        *,
        reasons: int = 5,
        language: str = "en",
        committee: bool = True,
        ended: Ended = unwatched,
    ) -> list[Score]:
        """What ``score`` gives for each of the prospects, in their order; their records are gone through once."""
        asked = ((records, as_of) for records in prospects)
        return self.score_each(asked, reasons=reasons, language=language, committee=committee, ended=ended)

    def score_each(
        self,
        asked: Iterable[tuple[Records, int]],
        *,
        reasons: int = 5,
        language: str = "en",
        committee: bool = True,
        ended: Ended = unwatched,
    ) -> list[Score]:
        """What ``score`` gives for each of (records, as_of), to the bit, with one call of the model for all of them."""
        rows: list[list[Any]] = []
        regimes: list[str | None] = []
        ids: list[str] = []
        times: list[int] = []
        warnings: list[tuple[Warned, ...]] = []
        looked_at: list[Trio | None] = []
        supposed: list[list[Any]] = []
        # Some at a time, and one kind of work after the other: what each kind needs of the processor's cache is there
        # for the next prospect.
        left = iter(asked)
        while some := [*islice(left, _SOME)]:
            for records, as_of in some:
                _born(records, as_of)
            looked = [self._committee(*each) if committee else None for each in some]
            regimes += [regime_of(*each, self.spec.dataset) for each in some]
            ids += [records.prospect_id for records, _ in some]
            times += [as_of for _, as_of in some]
            warnings += [self._records_warnings(*each) for each in some]
            looked_at += looked
            for each, seen in zip(some, looked, strict=True):
                row, *others = self._features.supposing(*each, () if seen is None else seen[1])
                rows.append(row)
                supposed += others
        ended("features")
        scores = self._score(rows, regimes, reasons, ids, times, warnings, language, looked_at, supposed, ended)
        ended("reasons")
        return scores

    def _committee(self, records: Records, t: int) -> Trio | None:
        """The roles as of t and the signs to suppose; None where the contacts are unknown."""
        if records.contacts is None:
            return None
        account_id = (row_as_of(records.prospect, t) or {}).get("account_id")
        usual, whose = self.constants.committee, records.prospect_id
        return trio(records.contacts, records.events, usual, whose, account_id, t)

    def probabilities(self, prospects: Iterable[Records], as_of: int) -> list[float]:
        """The probability alone of each prospect, with the bits of ``score``; without reasons it costs little."""
        rows, regimes = [], []
        for records in prospects:
            rows.append(self._features(records, as_of))
            regimes.append(regime_of(records, as_of, self.spec.dataset))
        return self._alone(rows, regimes)

    def _alone(self, rows: Rows, regimes: Sequence[str | None]) -> list[float]:
        """The probability of each raw feature row."""
        counts = self._counts(regimes)
        matrix = self._encoder.encode(rows)
        out: list[float] = []
        for part in self._chunks(len(counts)):
            out += self._chances(self._log_odds(self._hazards.see(matrix[part])), 0, counts[part])
        return out

    def _counts(self, regimes: Sequence[str | None]) -> list[int]:
        """How many intervals lie within each one's horizon."""
        by = {regime: self.constants.edges.index(self.goal.horizon(regime)) for regime in {*regimes}}
        return [by[regime] for regime in regimes]

    def score_rows(
        self,
        rows: Rows | Columns,
        regimes: Sequence[str | None] | None = None,
        reasons: int = 0,
        *,
        prospect_ids: Sequence[str] | None = None,
        as_of: Sequence[int] | None = None,
        language: str = "en",
    ) -> list[Score]:
        """Score raw feature rows (or columns by name), as the offline table gives them, one Score each, in order.

        What only records can tell (closed, unknown lists) is not warned of here. Without ``prospect_ids`` and
        ``as_of`` those fields are "" and 0.
        """
        if isinstance(rows, Mapping):
            columns = [rows[name] for name in self._names]
            count = len(columns[0])
            if any(len(column) != count for column in columns):
                raise ValueError("the columns differ in length")
        else:
            count = len(rows)
        for given in (regimes, prospect_ids, as_of):
            if given is not None and len(given) != count:
                raise ValueError(f"{count} rows, but {len(given)} values beside them")
        return self._score(
            rows,
            [None] * count if regimes is None else regimes,
            reasons,
            [""] * count if prospect_ids is None else prospect_ids,
            [0] * count if as_of is None else as_of,
            [()] * count,
            language,
        )

    def _score(
        self,
        data: Rows | Columns,
        regimes: Sequence[str | None],
        reasons: int,
        ids: Sequence[str],
        times: Sequence[int],
        warnings: Sequence[tuple[Warned, ...]],
        language: str,
        looked_at: Sequence[Trio | None] = (),
        supposed: Rows = (),
        ended: Ended = unwatched,
    ) -> list[Score]:
        counts = self._counts(regimes)
        if not counts:
            return []
        whose = [r for r, looked in enumerate(looked_at) if looked is not None for _ in looked[1]]
        strange: set[int] = set()
        everything = self._encoder.encode(data if isinstance(data, Mapping) else [*data, *supposed], strange)
        matrix = everything[: len(counts)]
        if len(everything) <= self._hazards.step:  # in one go, with what is supposed
            seen = self._hazards.see(everything)
            z = self._log_odds(seen)
            after = self._chances(z, len(counts), [counts[r] for r in whose])
        else:
            seen = None
            after = self._alone(supposed, [regimes[r] for r in whose])
        begun = 0
        out: list[Score] = []
        for part in self._chunks(len(counts)):
            if seen is None or part.start:
                seen = self._hazards.see(matrix[part])
                z = self._log_odds(seen)
            ended("model")
            effects = self._effects(seen, z, counts[part]) if reasons > 0 else None
            told = None if effects is None else self._reasons(effects, data, part, reasons, language)
            looked = list(looked_at[part]) if looked_at else None
            said = list(warnings[part])
            for r in sorted(strange.intersection(range(part.start, part.stop))):
                said[r - part.start] = (*said[r - part.start], *self._unseen(self._cells(data, r)))
            signs = 0 if looked is None else sum([len(each[1]) for each in looked if each is not None])
            out += _scores(
                self._fixed,
                self._outlooks(z, counts[part]),
                list(ids[part]),
                list(times[part]),
                list(regimes[part]),
                said,
                told,
                looked,
                after[begun : begun + signs],
                None if isinstance(data, Mapping) else list(data[part]),
                effects,
            )
            begun += signs
        return out

    def _chunks(self, count: int) -> list[slice]:
        """The rows of a call in parts that the model is given at a time."""
        step = self._hazards.step
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def _log_odds(self, seen: Seen) -> Matrix:
        """The log-odds of the hazard in every interval of every row."""
        constants, log_odds = self.constants, self._hazards.log_odds(seen)
        if _finished is not None:
            return np.asarray(_finished(log_odds, self._starting, constants.intercept, constants.slope))
        return np.asarray(constants.intercept + constants.slope * (self._starting + log_odds))

    def _effects(self, seen: Seen, z: Matrix, counts: list[int]) -> Matrix:
        """The features' effects in the first rows, as many as there are counts."""
        weights = None if _weights is None else _weights(z, counts)
        if weights is None:
            weights = np.zeros((len(counts), self._hazards.intervals))
            for r, count in enumerate(counts):
                weights[r, :count] = interval_weights(z[r, :count].tolist())
        return self._hazards.effects(seen, weights) * self.constants.slope

    def _cells(self, data: Rows | Columns, r: int) -> Callable[[int], Any]:
        if isinstance(data, Mapping):
            columns, names = data, self._names
            return lambda i: columns[names[i]][r]
        return data[r].__getitem__

    def _outlooks(self, z: Matrix, counts: list[int]) -> list[_Outlook]:
        """The outlook of the first rows, as many as there are counts."""
        edges = self.constants.edges
        if _outlooks is not None:
            return list(_outlooks(z, counts, edges, *self._interval))
        interval = self.constants.knots, self.constants.low, self.constants.high
        return [plain_outlook(z[r].tolist(), count, edges, *interval) for r, count in enumerate(counts)]

    def _chances(self, z: Matrix, start: int, counts: list[int]) -> list[float]:
        """The probability alone of the rows from ``start`` on, to the bit."""
        if _chances is not None:
            return list(_chances(z, start, counts))
        return [plain_chance(z[start + i].tolist(), count) for i, count in enumerate(counts)]

    def _reasons(
        self, effects: Matrix, data: Rows | Columns, part: slice, most: int, language: str
    ) -> list[tuple[Reason, ...]]:
        """The reasons of each of the rows of a part, the greatest effect first."""
        if _reasons is not None and not isinstance(data, Mapping):
            return list(_reasons(effects, self._rank, most, data[part], language, self._told, self._reason))
        out = []
        for r, mine in zip(range(part.start, part.stop), effects, strict=True):
            cells, told = self._cells(data, r), []
            for i in greatest(mine, self._rank, most):
                effect = float(mine[i])
                if effect == 0.0:
                    break
                told.append(self._reason(i, plain_value(cells(i)), language)._replace(effect=effect))
            out.append(tuple(told))
        return out

    def described(self, i: int, raw: Any, language: str = "en") -> tuple[float | int | str | None, str]:
        """The i-th feature with a raw value: the value as plain JSON, and what it says in words."""
        value = plain_value(raw)
        return value, self._reason(i, value, language).label

    def _reason(self, i: int, value: float | int | str | None, language: str) -> Reason:
        """The i-th feature with a value as plain JSON, as a reason of no effect."""
        key = (i, value, language)
        found = self._told.get(key)
        if found is None:
            other = isinstance(value, str) and value not in self.constants.categories[self._names[i]]
            text = label(self.spec.features[i], value, language, kind=self._kinds[i], other=other)
            found = Reason(self._names[i], text, value, 0.0, self._families[i])
            if len(self._told) >= _LABELS:
                self._told.clear()
            if not isinstance(value, str) or len(value) <= _LONG:
                self._told[key] = found
        return found

    def _unseen(self, cells: Callable[[int], Any]) -> list[Warned]:
        out = []
        for i, codes, other in self._encoder.codes:
            level = cells(i)
            if level is None or level in codes or not isinstance(level, str):
                continue
            name = self._names[i]
            if level not in self.constants.rare.get(name, ()):
                treated = "missing" if math.isnan(other) else "a rare one"
                shown = level if len(level) <= 60 else level[:57] + "..."
                out.append(
                    Warned("unseen_level", f"{name}: the model has not learnt {shown!r}; it counts as {treated}.")
                )
        return out

    def _records_warnings(self, records: Records, t: int) -> tuple[Warned, ...]:
        out = []
        started, closed = episode(records.outcomes or (), self.goal, t)
        if not started:
            text = f"{self.goal.starts_at!r}, from which this goal counts, is not known at this time."
            out.append(Warned("not_started", text))
        elif closed is not None:
            when = format_time(closed.occurred_at)
            out.append(Warned("prospect_closed", f"the prospect was closed by {closed.outcome!r} at {when}."))
        deadline = (row_as_of(records.prospect, t) or {}).get("tender_deadline")
        if deadline is not None and deadline < t:
            text = f"the deadline of the tender has passed: it was {format_time(deadline)}."
            out.append(Warned("tender_closed", text))
        ahead = future(records, t)
        if ahead:
            what = "1 record is" if ahead == 1 else f"{ahead} records are"
            out.append(Warned("future_records", f"{what} stamped after this time; what comes later is left out."))
        for name in _unknown(records):
            users = self.needs[name]
            if users:
                features = "1 feature is" if len(users) == 1 else f"{len(users)} features are"
                text = f"`{name}` was not given; {features} missing for it ({users[0]}, for one)."
                out.append(Warned(f"{name.replace('.', '_')}_unknown", text))
        return tuple(out)


def _unknown(records: Records) -> list[str]:
    """The lists of a request that are not known."""
    found = []
    if records.events is None:
        found.append("events")
    if records.contacts is None:
        found.append("contacts")
    if records.accounts is None:
        found.append("account")
    if records.related is None or records.related_events is None:
        found.append("related")
    if records.outcomes is None:
        found.append("outcomes")
    if records.related is None or records.related_outcomes is None:
        found.append("related.outcomes")
    return found


def episode(outcomes: Sequence[Outcome], goal: Goal, t: int) -> tuple[bool, Outcome | None]:
    """Whether the prospect's episode has started at t, and the outcome known at t that has closed it, if any."""
    if not outcomes:
        return goal.starts_at is None, None
    known = sorted(
        (o for o in outcomes if o.occurred_at <= t and o.recorded_at <= t),
        key=lambda o: (o.occurred_at, o.recorded_at, o.outcome_id),
    )
    start = next((o.occurred_at for o in known if o.outcome == goal.starts_at), None)
    if goal.starts_at is not None and start is None:
        return False, None
    closing = (o for o in known if o.outcome in goal.closing and (start is None or o.occurred_at > start))
    return True, next(closing, None)


def _born(records: Records, t: int) -> None:
    """Raise BadInput where the prospect did not exist yet at t."""
    created_at = None
    for version in records.prospect:
        created_at = version.values.get("created_at")
        if created_at is not None:
            break
    if created_at is None or t < created_at:
        born = "at an unknown time" if created_at is None else f"at {format_time(created_at)}"
        raise BadInput(
            "as_of_before_creation",
            f"at {format_time(t)} the prospect did not exist yet: it was created {born}.",
            where="as_of",
            remedy="Ask for a time at or after its created_at.",
        )


def _needs(names: Sequence[str], features: Sequence[Any]) -> dict[str, list[str]]:
    """For each list of a request, the features that are missing without it."""
    lists = ("events", "contacts", "account", "related", "outcomes", "related.outcomes")
    out: dict[str, list[str]] = {name: [] for name in lists}
    for name, feature in zip(names, features, strict=True):
        parts = list(walk(feature))
        aggregates = [p for p in parts if isinstance(p, Aggregate)]
        if any(a.table == "events" for a in aggregates):
            out["events"].append(name)
        if any(a.table != "events" for a in aggregates):  # outcomes, or who of the account is open
            out["outcomes"].append(name)
        if any(a.table != "events" and a.scope == "account" for a in aggregates):
            out["related.outcomes"].append(name)
        if any(needs_contacts(a) for a in aggregates):
            out["contacts"].append(name)
        if any(a.scope == "account" and a.table == "events" for a in aggregates):
            out["related"].append(name)
        if any(isinstance(p, Attribute) and p.table == "accounts" for p in parts):
            out["account"].append(name)
    return out


def plain_later(facts: Iterable[Event | Outcome], t: int) -> int:
    """How many of the facts are stamped after t."""
    return sum(1 for fact in facts if fact.occurred_at > t or fact.recorded_at > t)


def plain_future(records: Records, t: int) -> int:
    """How many of the records are stamped after t."""
    count = 0
    for version in records.prospect:
        if version.observed_at > t:
            count += 1
    for rows in (records.accounts, records.contacts, records.related):
        if rows:
            for versions in rows.values():
                for version in versions:
                    if version.observed_at > t:
                        count += 1
    for facts in (records.events, records.outcomes, records.related_events, records.related_outcomes):
        if facts:
            count += plain_later(facts, t)
    return count


future: Callable[[Records, int], int] = compiled("serving._rows", "future", plain_future)


def plain_value(raw: Any) -> float | int | str | None:
    """A raw value as plain JSON: whole numbers without a fraction, NaN as None."""
    if raw is None or isinstance(raw, str):
        return raw
    number = float(raw)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
