"""Small data sets for the tests of training: by hand in days, or drawn with a planted effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.contract import DAY, Column, Dataset, Goal
from features.tables import Tables, tables_from_frames

START = 1_704_067_200_000_000  # 2024-01-01T00:00Z
ORIGIN = (("prospects", (Column("origin", "category"), Column("size", "number"))),)


def at(days: float) -> int:
    """That many days after the start, in microseconds."""
    return START + round(days * DAY)


def times(days: Iterable[float]) -> pd.Series[Any]:
    """Days after the start as a column of times."""
    return pd.to_datetime(pd.Series([at(d) for d in days], dtype="int64"), unit="us", utc=True)


def by_hand(
    prospects: Mapping[str, float] | Sequence[Mapping[str, Any]],
    outcomes: Sequence[tuple[Any, ...]] = (),
    *,
    until: float | None = None,
    goal: Goal | None = None,
    events: Sequence[tuple[Any, ...]] | None = None,
    declared: Any = (),
) -> Tables:
    """Tables from days: prospects by name -> creation (or rows), outcomes (prospect, outcome, occurred[, recorded]).

    Events are (prospect, type, occurred[, recorded]).
    """
    if isinstance(prospects, Mapping):
        prospects = [{"prospect_id": name, "created_at": day} for name, day in prospects.items()]
    frame = pd.DataFrame(list(prospects))
    for column in ("created_at", "observed_at"):
        if column in frame:
            frame[column] = times(frame[column])
    frames = {"prospects": frame, "outcomes": _facts(outcomes, "outcome")}
    if events is not None:
        frames["events"] = _facts(events, "type")
        frames["events"]["event_id"] = [f"e{i}" for i in range(len(events))]
    end = None if until is None else at(until)
    return tables_from_frames(frames, Dataset(complete_until=end, goal=goal or Goal(), declared=declared))


def _facts(rows: Sequence[tuple[Any, ...]], word: str) -> pd.DataFrame:
    filled = [(*row, row[2]) if len(row) == 3 else row for row in rows]
    return pd.DataFrame(
        {
            "prospect_id": pd.Series([r[0] for r in filled], dtype=object),
            word: pd.Series([r[1] for r in filled], dtype=object),
            "occurred_at": times(r[2] for r in filled),
            "recorded_at": times(r[3] for r in filled),
        }
    )


def planted(
    count: int = 800,
    seed: int = 0,
    *,
    days: float = 200,
    daily: Mapping[str, float] | None = None,
    accounts: bool = False,
    regimes: Sequence[str] = (),
    goal: Goal | None = None,
    lag: float = 0.0,
) -> Tables:
    """Prospects created evenly over the days, won at a constant daily rate that their ``origin`` sets.

    A tenth as many are lost at 0.004 a day; the data are complete until the days are over. ``size`` is noise.
    ``lag``: the mean delay in days until an outcome is recorded.
    """
    rng = np.random.default_rng(seed)
    daily = {"good": 0.012, "fair": 0.004, "poor": 0.001} if daily is None else daily
    created = np.sort(rng.uniform(0, days, count))
    origin = rng.choice(list(daily), count)
    won = created + rng.exponential(1 / np.array([daily[o] for o in origin]))
    lost = created + rng.exponential(1 / 0.004, count)
    ids = np.array([f"p{i:05d}" for i in range(count)])
    frame = pd.DataFrame({"prospect_id": ids, "created_at": times(created), "origin": origin})
    frame["size"] = rng.lognormal(3, 1, count).round(1)
    frames = {"prospects": frame}
    if accounts:
        frame["account_id"] = [f"a{i}" for i in rng.integers(0, max(1, count // 3), count)]
        frames["accounts"] = pd.DataFrame({"account_id": sorted(set(frame["account_id"]))})
    if regimes:
        frame["regime"] = rng.choice(list(regimes), count)
    first = np.minimum(won, lost)
    recorded = first + rng.exponential(lag, count) if lag else first
    here = recorded < days
    frames["outcomes"] = pd.DataFrame(
        {
            "prospect_id": ids[here],
            "outcome": np.where(won < lost, "won", "lost")[here],
            "occurred_at": times(first[here]),
            "recorded_at": times(recorded[here]),
        }
    )
    goal = goal or Goal(horizons=(("", 30),))
    return tables_from_frames(frames, Dataset(complete_until=at(days), goal=goal, declared=ORIGIN))
