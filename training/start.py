"""Where boosting starts: the base rate of each interval, and how it differs with the prospect's age and the weekday.

Few outcomes fall into a single day after a single landmark; a base rate pooled over what is alike knows more of that
day than trees can find in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY
from serving.linear import at_knots, knots
from training.goal import AGES

if TYPE_CHECKING:
    from training.hazard import Pooled

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

AGE = "days_since_created_at"  # the features by which base rates are told apart, where a model has them
WEEKDAY = "as_of_weekday"
WORTH = 3.0  # outcomes' worth of the daily rate at the neighbouring ages
INTERVAL = 500.0  # outcomes' worth of what the daily rates make of an interval
CELL = 50.0  # the same of an age and an interval together
STEPS = 8  # points at which an interval's daily rates are taken
DAY_WORTH = 10.0  # outcomes' worth of equal weekdays


@dataclass(frozen=True)
class Table:
    """What a feature adds to the log-odds of each interval: a row for each value ``at``, linear between them."""

    feature: int
    at: Floats
    log_odds: Floats

    def of(self, encoded: Floats) -> Floats:
        """What it adds for encoded rows, shape (rows, intervals)."""
        return at_knots(encoded[:, self.feature], np.log1p(self.at), self.log_odds)

    def times(self, share: float) -> Table:
        """A share of it."""
        return Table(self.feature, self.at, share * self.log_odds)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """As ``serving.linear.Linear`` takes it."""
        return {"feature": names[self.feature], "at": self.at.tolist(), "log_odds": self.log_odds.tolist()}


@dataclass(frozen=True)
class Start:
    """Log-odds before any tree: a number per interval, and what each table adds to it."""

    intervals: Floats
    tables: tuple[Table, ...] = ()

    def of(self, encoded: Floats) -> Floats:
        """The log-odds of encoded rows in every interval, shape (rows, intervals)."""
        out = np.tile(self.intervals, (len(encoded), 1))
        for table in self.tables:
            out += table.of(encoded)
        return out


def start(pooled: Pooled) -> Start:
    """The base rates of pooled rows; by age and weekday where the rows have those features and may use them.

    A gamma-Poisson mean: (outcomes + 1) / (expected + 1) times the expected rate, which is that of the pooled daily
    hazard over the interval's length. One outcome's worth of shrinkage vanishes with data and never says never.
    """
    edges = np.asarray(pooled.edges, dtype=np.float64)
    width = np.diff(edges)
    weight = np.ones(len(pooled.k)) if pooled.weight is None else pooled.weight
    rows = np.bincount(pooled.k, weight, minlength=len(width)).astype(np.float64)
    outcomes = np.bincount(pooled.k, pooled.y, len(width)).astype(np.float64)
    daily = max(float(outcomes.sum()), 0.5) / float(rows @ width)
    even = -np.expm1(-daily * width)
    intervals = _logit(_shrunk(even, rows, outcomes))
    if not pooled.by_time:
        return Start(intervals)
    position = {name: i for i, name in enumerate(pooled.names)}
    tables = []
    if pooled.age in position:
        tables.append(_by_age(pooled, position[pooled.age], weight, intervals))
    if WEEKDAY in position:
        tables.append(_by_weekday(pooled, position[WEEKDAY]))
    return Start(intervals, tuple(tables))


def _logit(p: Floats) -> Floats:
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def _shrunk(expected: Floats, rows: Floats, outcomes: Floats, worth: float = 1.0) -> Floats:
    rate = expected * (outcomes + worth) / (rows * expected + worth)
    return np.asarray(np.clip(rate, 1e-9, 0.999), dtype=np.float64)


def _by_age(pooled: Pooled, feature: int, weight: Floats, intervals: Floats) -> Table:
    """The rate at each age of the landmarks in each interval, though many of those cells hold no outcome.

    What is expected in a cell is what the daily rates of all ages (``Pace``) make of its interval; what came in an
    interval, and then in a cell, moves it by ``INTERVAL`` and by ``CELL`` outcomes' worth.
    """
    age = pooled.encoded[:, feature][pooled.row]
    days = np.array([d for d in AGES if d <= np.nanmax(age, initial=0.0)], dtype=np.float64)
    lower, share = knots(age, np.log1p(days))
    rows, outcomes = np.zeros((2, len(days), len(intervals)))
    for at, part in ((lower, 1 - share), (np.minimum(lower + 1, len(days) - 1), share)):
        part = np.where(np.isnan(age), 0.0, part * weight)
        np.add.at(rows, (at, pooled.k), part)
        np.add.at(outcomes, (at, pooled.k), part * pooled.y)
    expected = Pace.of(pooled, age, weight, days).hazard(days, pooled.edges)
    awaited, came = (rows * expected).sum(axis=0), outcomes.sum(axis=0)
    here = _shrunk(expected * (came + INTERVAL) / (awaited + INTERVAL), rows, outcomes, CELL)
    return Table(feature, days, _logit(here) - intervals)


@dataclass(frozen=True)
class Pace:
    """How many reach the goal a day, and how many leave one way or another, among those really open at an age.

    Attributes:
        age: days, rising.
        rate: outcomes a day at these ages; between them it is linear in log(1 + age).
        days: the ages from which ``leaving`` counts, rising from the first.
        leaving: the share that leaves a day, from each of ``days`` on.
    """

    age: Floats
    rate: Floats
    days: Floats
    leaving: Floats

    @staticmethod
    def of(pooled: Pooled, age: Floats, weight: Floats, days: Floats) -> Pace:
        """From landmark to landmark: who is at the next one was open all the while.

        A later interval of one landmark does not tell it: the lost stay at risk there as zeros (DESIGN 6). An outcome
        belongs to the last landmark before it. Counted are the prospects that were observed on to the next landmark,
        and as far as the intervals reach.
        """
        edges = np.asarray(pooled.edges, dtype=np.float64)
        known = ~np.isnan(age)
        at = np.searchsorted(days, np.where(known, age, 0.0), side="right") - 1
        begun = pooled.ends - ((edges[pooled.k + 1] + np.where(known, age, 0.0)) * DAY).astype(np.int64)
        until = pooled.ends.max(initial=0)
        came = np.flatnonzero(known & (pooled.y == 1))
        who = pooled.prospect[pooled.row[came]]
        last = np.full(int(pooled.prospect.max(initial=0)) + 1, -1)
        np.maximum.at(last, who, at[came])
        came = came[at[came] == last[who]]
        here = known & (pooled.k == 0)
        middle, outcomes, open_days, leaving = np.zeros((4, len(days)))
        left = 0.0
        for j, day in enumerate(days):
            following = days[j + 1] if j + 1 < len(days) else np.inf
            span = min(following - day, edges[-1])
            upto = int(np.searchsorted(edges, span)) - 1  # the interval in which the next landmark lies
            reach = max(day + edges[upto + 1], following + edges[1] if np.isfinite(following) else 0.0)
            seen = begun <= until - reach * DAY
            mine = seen & here & (at == j)
            count = float(weight[mine].sum())
            if np.isfinite(following):
                staying = float(weight[seen & here & (at == j + 1)].sum())
                left = max(0.0, float(np.log((count + 1) / (staying + 1)))) / (following - day)
            open_days[j] = count * (-np.expm1(-left * span) / left if left else span)
            outcomes[j] = (seen[came] & (at[came] == j) & (pooled.k[came] <= upto)).sum()
            middle[j], leaving[j] = day + span / 2, left
        overall = max(outcomes.sum(), 0.5) / max(open_days.sum(), 1e-9)
        near = (_with_next(outcomes) + 1) / (_with_next(open_days) + 1 / overall)
        return Pace(middle, near * (outcomes + WORTH) / (near * open_days + WORTH), days, leaving)

    def hazard(self, ages: Floats, edges: Sequence[int]) -> Floats:
        """P(goal in an interval after an age | not before), the lost at risk as zeros: shape (ages, intervals)."""
        lower, upper = np.asarray(edges[:-1], dtype=np.float64), np.asarray(edges[1:], dtype=np.float64)
        steps = lower[:, None] + (upper - lower)[:, None] * (np.arange(STEPS) + 0.5) / STEPS
        x = ages[:, None, None] + steps
        still = np.exp(self._left(ages)[:, None, None] - self._left(x))
        rate = np.interp(np.log1p(x), np.log1p(self.age), self.rate)
        flow = (rate * still).mean(axis=2) * (upper - lower)
        before = np.cumsum(flow, axis=1) - flow
        return np.asarray(np.clip(flow / np.maximum(1 - before, flow), 1e-9, 0.999), dtype=np.float64)

    def _left(self, age: Floats) -> Floats:
        """How far the open have fallen by an age, as minus the logarithm of their share."""
        at = np.maximum(np.searchsorted(self.days, age, side="right") - 1, 0)
        begun = np.concatenate([[0.0], np.cumsum(self.leaving[:-1] * np.diff(self.days))])
        return np.asarray(begun[at] + self.leaving[at] * np.maximum(age - self.days[at], 0.0), dtype=np.float64)


def _with_next(x: Floats) -> Floats:
    """Each number with those beside it, added up."""
    wide = np.pad(x, 1)
    return np.asarray(wide[:-2] + wide[1:-1] + wide[2:], dtype=np.float64)


def _by_weekday(pooled: Pooled, feature: int) -> Table:
    """How the days of an interval differ from an even week, from the weekday of each prospect's outcome."""
    came = np.flatnonzero(pooled.y == 1)
    _, first = np.unique(pooled.prospect[pooled.row[came]], return_index=True)
    counts = np.bincount(pooled.came_on[pooled.row[came[first]]], minlength=7)[:7].astype(np.float64)
    week = (counts + DAY_WORTH) / (counts.mean() + DAY_WORTH)
    table = np.array(
        [
            [
                np.log(week[(day + np.arange(a, b)) % 7].mean())
                for a, b in zip(pooled.edges, pooled.edges[1:], strict=False)
            ]
            for day in range(7)
        ]
    )
    return Table(feature, np.arange(7.0), table)
