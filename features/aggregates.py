"""The aggregate operations: for each its Ibis expression beside its online reducer, on one line of sight.

Offline, an operation sees the joined rows of one (prospect, t) and the condition that selects its window. Online,
it sees a ``Group``: the matching rows known at t in the order of (occurred_at, recorded_at, event_id), and the
index ``start`` where its window begins; the window always ends with the group, since nothing known at t lies after t.
Rows are events or, for the operations that look at times only, outcomes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from features.contract import DAY, MICRO, ROLES
from features.records import Event
from features.spec import Aggregate

CLOSED = ("won", "lost")  # a prospect with one of these outcomes is not open, whatever the goal


class Group:
    """The rows of one filter at one t, in order; sums are prefixes, so that any window costs one bisection.

    ``contacts`` holds None for no contact, or one that is not known at t; ``roles`` the contacts' buying roles as of t.
    """

    __slots__ = ("_counts", "_sums", "contacts", "roles", "times", "values")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.values: list[int | None] = []
        self.contacts: list[str | None] = []
        self.roles: list[str | None] = []
        self._sums: list[int] = []
        self._counts: list[int] = []

    @property
    def sums(self) -> list[int]:
        """The sum of the values before each position."""
        if len(self._sums) <= len(self.values):
            self._sums = [*accumulate((value or 0 for value in self.values), initial=0)]
        return self._sums

    @property
    def counts(self) -> list[int]:
        """The number of values before each position."""
        if len(self._counts) <= len(self.values):
            self._counts = [*accumulate((value is not None for value in self.values), initial=0)]
        return self._counts

    def add(self, event: Event, contact: str | None, role: str | None) -> None:
        """Append the next event in order; ``contact`` is its contact where that one is known at t, with its role."""
        self.times.append(event.occurred_at)
        self.values.append(event.value)
        self.contacts.append(contact)
        self.roles.append(role)

    def drop(self) -> None:
        """Take the last one out again."""
        self.times.pop()
        self.values.pop()
        self.contacts.pop()
        self.roles.pop()
        self._sums, self._counts = [], []


@dataclass(frozen=True)
class Operation:
    """One operation: its value over an empty window, its two executions, and whether it needs known contacts."""

    empty: float | None
    offline: Callable[[Any, Any], Any]  # (joined events, condition) -> Ibis scalar, NULL or 0 where nothing matches
    online: Callable[[Group, int, int], float | None]  # (group, start, t); called for windows that are not empty
    contacts: bool = False
    by_contact: bool = False  # offline sees (each known contact's counts, the name of the column that holds them)
    only_times: bool = False  # online reads nothing but the group's times


def chosen(column: Any, where: Any) -> Any:
    """The column where the condition holds, NULL elsewhere: what an aggregate passes over.

    Not as an aggregate's own condition: for each of these DuckDB picks the rows out of every column that any aggregate
    reads.
    """
    return where.ifelse(column, None)


def how_many(rows: Any, where: Any) -> Any:
    """How many rows the condition holds for; every row has an ``as_of``."""
    return chosen(rows.as_of, where).count()


def _double(total: Any) -> Any:
    # A negative HUGEINT loses an ulp on its way to DOUBLE in DuckDB; a positive one is rounded right.
    return (total < 0).ifelse(-((-total).cast("float64")), total.cast("float64"))


def _sum_offline(events: Any, where: Any) -> Any:
    return _double(chosen(events.value, where).sum()) / float(MICRO)


def _mean_offline(events: Any, where: Any) -> Any:
    values = chosen(events.value, where)
    number = values.count().cast("float64") * float(MICRO)
    return _double(values.sum()) / number.nullif(0.0)


def _last_offline(events: Any, where: Any) -> Any:
    # Compared field by field, in this order.
    order = events["order"]
    return events.value.argmax(order, where=where & events.value.notnull()).cast("float64") / float(MICRO)


def _days(micros: Any) -> Any:
    return micros.cast("float64") / float(DAY)


def _mean(group: Group, start: int, t: int) -> float | None:
    number = group.counts[-1] - group.counts[start]
    return float(group.sums[-1] - group.sums[start]) / float(number * MICRO) if number else None


def _extreme(pick: Callable[..., int]) -> Callable[[Group, int, int], float | None]:
    def reduce(group: Group, start: int, t: int) -> float | None:
        values = [v for v in group.values[start:] if v is not None]
        return float(pick(values)) / float(MICRO) if values else None

    return reduce


def _last(group: Group, start: int, t: int) -> float | None:
    for i in range(len(group.values) - 1, start - 1, -1):
        value = group.values[i]
        if value is not None:
            return float(value) / float(MICRO)
    return None


def _distinct(group: Group, start: int, t: int) -> float:
    found = set(group.contacts[start:])
    found.discard(None)
    return float(len(found))


def _roles(group: Group, start: int, t: int) -> float:
    found = set(group.roles[start:])
    found.discard(None)
    return float(len(found))


def _roles_offline(counts: Any, column: str) -> Any:
    # Three counts cost an engine less than the set of the distinct texts.
    active = counts[column] > 0
    found = [(how_many(counts, active & (counts.role == role)) > 0).cast("int64") for role in ROLES]
    return sum(found[1:], start=found[0]).cast("float64")


def _top_contact(group: Group, start: int, t: int) -> float | None:
    counts = Counter(contact for contact in group.contacts[start:] if contact is not None)
    return float(max(counts.values())) / float(counts.total()) if counts else None


def _top_contact_offline(counts: Any, column: str) -> Any:
    return counts[column].max().cast("float64") / counts[column].sum().cast("float64").nullif(0.0)


OPERATIONS: dict[str, Operation] = {
    "count": Operation(
        0.0,
        lambda e, where: how_many(e, where).cast("float64"),
        lambda g, start, t: float(len(g.times) - start),
        only_times=True,
    ),
    "sum": Operation(
        0.0,
        _sum_offline,
        lambda g, start, t: float(g.sums[-1] - g.sums[start]) / float(MICRO),
    ),
    "mean": Operation(None, _mean_offline, _mean),
    "min": Operation(
        None,
        lambda e, where: chosen(e.value, where).min().cast("float64") / float(MICRO),
        _extreme(min),
    ),
    "max": Operation(
        None,
        lambda e, where: chosen(e.value, where).max().cast("float64") / float(MICRO),
        _extreme(max),
    ),
    "last": Operation(None, _last_offline, _last),
    "distinct_contacts": Operation(
        0.0,
        lambda counts, column: how_many(counts, counts[column] > 0).cast("float64"),
        _distinct,
        contacts=True,
        by_contact=True,
    ),
    "distinct_roles": Operation(
        0.0,
        _roles_offline,
        _roles,
        contacts=True,
        by_contact=True,
    ),
    "top_contact_share": Operation(None, _top_contact_offline, _top_contact, contacts=True, by_contact=True),
    "days_since_first": Operation(
        None,
        lambda e, where: _days(e.as_of.max() - chosen(e.occurred_at, where).min()),
        lambda g, start, t: float(t - g.times[start]) / float(DAY),
        only_times=True,
    ),
    "days_since_last": Operation(
        None,
        lambda e, where: _days(e.as_of.max() - chosen(e.occurred_at, where).max()),
        lambda g, start, t: float(t - g.times[-1]) / float(DAY),
        only_times=True,
    ),
    # A share is a count over the count without filters; the denominator is joined in by the two executions.
    "share": Operation(
        0.0,
        lambda e, where: how_many(e, where).cast("float64"),
        lambda g, start, t: float(len(g.times) - start),
        only_times=True,
    ),
}


def needs_contacts(aggregate: Aggregate) -> bool:
    """Whether the aggregate is missing where the contacts are unknown."""
    if aggregate.table != "events":
        return False
    return OPERATIONS[aggregate.operation].contacts or aggregate.role is not None or aggregate.rank is not None
