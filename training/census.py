"""The level of each interval among those who are served: any open prospect at any time, not only at a landmark.

Landmarks lie close together while a prospect is young, and a recent sign is as old as the landmark makes it. So a
hazard that is right on average at landmarks may be wrong on average at the times at which people ask, most of all
within the first days. How much is told without learning anything: over all the time that prospects were open, count
what came in each interval after each moment (exactly, as a length of time), and hold it against what the hazard says at
a systematic sample of those moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features.contract import DAY, NEVER, Goal

if TYPE_CHECKING:
    from features.tables import Tables
    from training.dataset import TrainingSet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOMENTS = 8_000  # sampled: the mean of a hazard over them is sure to some two per cent
WORTH = 25.0  # outcomes' worth of the level that the landmarks gave


@dataclass(frozen=True)
class OpenTime:
    """When prospects were open and could be asked about, and when the goal came: microseconds, one entry for each.

    Attributes:
        opened: from when on a prospect was known to be open.
        shut: when it closed, or was known to; what is not over by ``until`` ends there.
        goal_at: when the goal came, ``NEVER`` where it did not.
        until: what is known ends here.
    """

    opened: Ints
    shut: Ints
    goal_at: Ints
    until: int

    def moments(self, count: int) -> tuple[Ints, Ints, float]:
        """A systematic sample of the open time: which prospect, when, and the days that each moment stands for."""
        lengths = np.maximum(np.minimum(self.shut, self.until) - self.opened, 0)
        total = int(lengths.sum())
        if total == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0.0
        ends = np.cumsum(lengths)
        at = ((np.arange(count) + 0.5) * (total / count)).astype(np.int64)
        who = np.searchsorted(ends, at, side="right")
        return who, self.opened[who] + at - (ends[who] - lengths[who]), total / count / DAY

    def came(self, edges: Sequence[int]) -> Floats:
        """For each interval the days of open time after which the goal came within it, observed to its end."""
        steps = np.asarray(edges, dtype=np.int64) * DAY
        begin = np.maximum(self.opened[:, None], self.goal_at[:, None] - steps[None, 1:])
        end = np.minimum(self.goal_at[:, None] - steps[None, :-1], self.shut[:, None])
        end = np.minimum(end, self.until - steps[None, 1:])
        days = np.where(self.goal_at[:, None] < NEVER, np.maximum(end - begin, 0), 0)
        return np.asarray(days.sum(axis=0) / DAY, dtype=np.float64)


@dataclass(frozen=True)
class Census:
    """Sampled moments with their features; ``days`` of open time for each. ``time`` is all the open time."""

    sample: TrainingSet
    days: float
    time: OpenTime

    def shift(self, log_odds: Floats, edges: Sequence[int]) -> Floats:
        """What is to be added to the log-odds of each interval, so that its mean is what came.

        Both counts are taken in outcomes (an outcome is seen from as many days as the interval is long) and held by
        ``WORTH`` of them: a gamma-Poisson mean, which changes little where few came.

        Args:
            log_odds: of the hazard, shape (sampled moments, intervals).
            edges: of the intervals, days.
        """
        steps = np.asarray(edges, dtype=np.int64) * DAY
        as_of, goal_at = self.sample.as_of[:, None], self.sample.goal_at[:, None]
        at_risk = (goal_at > as_of + steps[None, :-1]) & (as_of + steps[None, 1:] <= self.time.until)
        width = np.diff(np.asarray(edges, dtype=np.float64))
        expected = (at_risk / (1 + np.exp(-log_odds))).sum(axis=0) * self.days / width
        return np.asarray(np.log((self.time.came(edges) / width + WORTH) / (expected + WORTH)), dtype=np.float64)


def open_time(tables: Tables, goal: Goal, until: int, observed_until: int) -> tuple[Any, OpenTime]:
    """The ids of the prospects known by ``until``, and their open time that had been observed.

    Raises nothing; a prospect that is never open has no time.
    """
    from features.episodes import episodes

    found = episodes(tables, goal, until).order_by(["prospect_id", "started_at"]).to_pandas()
    names = ("started_at", "known_at", "closed_at", "closed_known_at", "goal_at")
    started, known, closed, closed_known, goal_at = (found[name].to_numpy(dtype=np.int64) for name in names)
    opened, shut = np.maximum(started, known), np.minimum(closed, closed_known)
    return found["prospect_id"].to_numpy(dtype=object), OpenTime(opened, shut, goal_at, observed_until)
