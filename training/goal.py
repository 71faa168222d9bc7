"""What counts as conversion, and when: episodes, landmarks, who is open, the recording delay (DESIGN 4 and 6).

Row selection only, as Ibis expressions: nothing is computed before somebody asks for the rows. Times are
microseconds since 1970, ages and edges are days.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from features.contract import DAY, Goal
from features.episodes import at_each, episodes, known_outcomes, only_open

if TYPE_CHECKING:
    from features.tables import Tables

# Doubling on from 720 days; the last one spans more than the two centuries that the contract admits.
AGES = (0, 1, 3, 7, 14, 30, 60, 90, 180, 360, *(720 * 2**i for i in range(8)))
EDGES = (0, 1, 3, 7, 14, 30, 60, 90, 180, 360, 720)
DELAY_PERCENT = 99


def edges(goal: Goal) -> tuple[int, ...]:
    """The interval edges in days, from 0: the common ones up to the longest horizon, and every declared horizon."""
    horizons = {days for _, days in goal.horizons}
    longest = max(horizons)
    return tuple(sorted({e for e in EDGES if e <= longest} | horizons))


def landmark_spine(tables: Tables, goal: Goal, until: int | None = None, ages: Sequence[int] = AGES) -> Any:
    """The landmarks (``prospect_id``, ``as_of``) before ``until`` at which the prospect was open.

    Open by what was known at the landmark itself: a closing outcome that was recorded only later does not count.

    Args:
        tables: the canonical tables.
        goal: what is predicted.
        until: the end of the data, T; the tables' own when None.
        ages: days since the episode's start.
    """
    until = tables.until if until is None else until
    spine = at_each(episodes(tables, goal, until), "age", ages)
    spine = spine.mutate(as_of=spine.started_at + spine.age * DAY)
    return only_open(spine.filter(spine.as_of < until))


def weekly(after: int, until: int) -> tuple[int, ...]:
    """The census times of a span: every seventh day after ``after``, up to and with ``until``."""
    return tuple(range(after + 7 * DAY, until + 1, 7 * DAY))


def recording_delay(tables: Tables, goal: Goal, until: int) -> int:
    """How late outcomes get recorded: the 99th percentile (nearest rank) over those known at T, in microseconds.

    The goal's outcomes and the closing ones count; 0 where none is known.
    """
    outcomes = known_outcomes(tables, until)
    if outcomes is None:
        return 0
    outcomes = outcomes.filter(outcomes.outcome.isin(goal.closing))
    known = outcomes.select(delay=outcomes.known_at - outcomes.occurred_at).to_pyarrow()
    delays = np.sort(known["delay"].to_numpy())
    return int(delays[-(-DELAY_PERCENT * len(delays) // 100) - 1]) if len(delays) else 0
