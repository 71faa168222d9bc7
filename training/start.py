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

from serving.linear import at_knots, knots
from training.goal import AGES

if TYPE_CHECKING:
    from training.hazard import Pooled

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

AGE = "days_since_created_at"  # the features by which base rates are told apart, where a model has them
WEEKDAY = "as_of_weekday"
CELL = 5.0  # outcomes' worth of what is expected of an age and an interval together
PACE = 50.0  # outcomes' worth of a daily rate that depends on the age attained, and not on how soon it is
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
        tables.append(_by_age(pooled, position[pooled.age], weight, even, intervals))
    if WEEKDAY in position:
        tables.append(_by_weekday(pooled, position[WEEKDAY]))
    return Start(intervals, tuple(tables))


def _logit(p: Floats) -> Floats:
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def _shrunk(expected: Floats, rows: Floats, outcomes: Floats, worth: float = 1.0) -> Floats:
    rate = expected * (outcomes + worth) / (rows * expected + worth)
    return np.asarray(np.clip(rate, 1e-9, 0.999), dtype=np.float64)


def _by_age(pooled: Pooled, feature: int, weight: Floats, even: Floats, intervals: Floats) -> Table:
    """The rate at each age of the landmarks in each interval, though many of those cells hold no outcome.

    What is expected in a cell is the even daily rate times a factor of the age attained in it and a factor of the
    interval, alternately fitted (a log-linear model of Poisson counts); what came there moves it by ``CELL`` outcomes'
    worth. The interval's factor, which the first days leave unsure, is 1 but for ``PACE``.
    """
    age = pooled.encoded[:, feature][pooled.row]
    days = np.array([d for d in AGES if d <= np.nanmax(age, initial=0.0)], dtype=np.float64)
    lower, share = knots(age, np.log1p(days))
    rows, outcomes = np.zeros((2, len(days), len(even)))
    for at, part in ((lower, 1 - share), (np.minimum(lower + 1, len(days) - 1), share)):
        part = np.where(np.isnan(age), 0.0, part * weight)
        np.add.at(rows, (at, pooled.k), part)
        np.add.at(outcomes, (at, pooled.k), part * pooled.y)
    edges = np.asarray(pooled.edges, dtype=np.float64)
    middle = (edges[:-1] + edges[1:]) / 2
    attained = np.searchsorted(days, days[:, None] + middle[None, :], side="right") - 1
    by_interval, by_attained = np.ones(len(even)), np.ones(len(days))
    for _ in range(20):
        expected = rows * even * by_attained[attained]
        by_interval = (outcomes.sum(axis=0) + PACE) / (expected.sum(axis=0) + PACE)
        expected = rows * even * by_interval
        came, awaited = (np.bincount(attained.ravel(), x.ravel(), len(days)) for x in (outcomes, expected))
        by_attained = (came + 1) / (awaited + 1)
    here = _shrunk(even * by_interval * by_attained[attained], rows, outcomes, CELL)
    return Table(feature, days, _logit(here) - intervals)


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
