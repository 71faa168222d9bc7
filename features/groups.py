"""The facts of one prospect as of t in groups, one for each filter of a feature set: gathered in order, then reduced.

This is the definition. ``features/_groups.pyx`` is the same, compiled, and equal to the bit, which
``tests/test_features_agree.py`` shows of both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from features.aggregates import CLOSED, OPERATIONS, Group
from features.compiled import compiled
from features.contract import DAY
from features.records import Event, Outcome

Key = tuple[
    bool, str | None, str | None, str | None, str | None, str | None
]  # own, type, direction, role, channel, rank
Known = tuple[str | None, str | None]  # of a contact as of t: its role and its rank


class Step(NamedTuple):
    """What a group gives one cell of the row: an operation over a window in microseconds (None: over all)."""

    cell: int
    operation: str
    window: int | None


class PlainMatch:
    """The groups that an event belongs to: those of which only the times are read, and the others."""

    __slots__ = ("full", "plain")

    def __init__(self, plain: Sequence[int], full: Sequence[int]) -> None:
        self.plain = tuple(plain)
        self.full = tuple(full)


class PlainPlan:
    """The row of a prospect whose groups are all empty, and what each group gives otherwise."""

    def __init__(self, empty: Sequence[Any], steps: Sequence[Sequence[Step]]) -> None:
        self.empty = list(empty)
        self.of = [_Steps(each) for each in steps]


class _Steps:
    """The steps of one group: the counts, the days since the last one, and all others."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.counts: list[tuple[int, int | None]] = []
        self.lasts: list[int] = []
        self.others: list[tuple[int, int | None, Callable[[Group, int, int], float | None]]] = []
        for cell, operation, window in steps:
            if operation == "count":
                self.counts.append((cell, window))
            elif operation == "days_since_last" and window is None:
                self.lasts.append(cell)
            else:
                self.others.append((cell, window, OPERATIONS[operation].online))


class PlainGroups:
    """The groups of one prospect at t (microseconds); ``whole`` says of each whether more than its times is read."""

    def __init__(self, whole: Sequence[bool], t: int) -> None:
        self.t = t
        self._groups = [Group() if each else _Times() for each in whole]

    def add_events(
        self,
        events: Sequence[Event],
        related: Sequence[Event],
        siblings: Mapping[str, Any],
        prospect_id: str,
        matching: Mapping[Key, PlainMatch],
        match: Callable[[Key], PlainMatch],
        person: Callable[[str], Known | None],
    ) -> None:
        """Put the events known at t into their groups, in order; once.

        Args:
            events: those of the prospect.
            related: those of others, of which the ones of ``siblings`` count.
            siblings: the other prospects of the account as of t, by id.
            prospect_id: whose events are its own.
            matching: the groups by what tells events apart, as far as they are known.
            match: finds them where they are not.
            person: what is known of a contact at t.
        """
        t, groups = self.t, self._groups
        known: dict[str, Known | None] = {}
        for event in _known(events, related, siblings, t):
            contact, role, rank = event.contact_id, None, None
            if contact is not None:
                if contact not in known:
                    known[contact] = person(contact)
                found = known[contact]
                if found is None:
                    contact = None
                else:
                    role, rank = found
            key = (event.prospect_id == prospect_id, event.type, event.direction, role, event.channel, rank)
            to = matching.get(key) or match(key)
            occurred_at = event.occurred_at
            for index in to.plain:
                groups[index].times.append(occurred_at)
            for index in to.full:
                groups[index].add(event, contact, role)

    def add_outcomes(
        self,
        outcomes: Sequence[Outcome],
        related: Sequence[Outcome],
        siblings: Mapping[str, Any],
        filters: Sequence[tuple[int, str, str | None]],
    ) -> None:
        """Put the times of the outcomes known at t into their groups, of which nothing else is read; once.

        Args:
            outcomes: those of the prospect.
            related: those of others, of which the ones of ``siblings`` count.
            siblings: the other prospects of the account as of t, by id.
            filters: the groups, with the scope and the outcome (None: any) of each.
        """
        t = self.t
        known = [(o, True) for o in outcomes if o.occurred_at <= t and o.recorded_at <= t]
        known += [
            (o, False) for o in related if o.occurred_at <= t and o.recorded_at <= t and o.prospect_id in siblings
        ]
        known.sort(key=lambda item: item[0].occurred_at)
        for index, scope, outcome in filters:
            self._groups[index].times = [
                o.occurred_at
                for o, own in known
                if (own or scope == "account") and (outcome is None or o.outcome == outcome)
            ]

    def reduce(self, plan: PlainPlan, row: list[Any]) -> None:
        """Set the cells of all groups that are not empty, each but those whose window is."""
        for group, steps in zip(self._groups, plan.of, strict=True):
            if group.times:
                _reduce(group, steps, self.t, row)

    def suppose(
        self, plan: PlainPlan, to: PlainMatch, event: Event, contact: str | None, role: str | None, row: list[Any]
    ) -> None:
        """Set the cells that one more event at t changes, as if it were the last of its groups; these stay as they are.

        ``contact`` is the event's where it is known at t, ``role`` that contact's.
        """
        for index in to.plain:
            self._groups[index].times.append(self.t)
        for index in to.full:
            self._groups[index].add(event, contact, role)
        for index in (*to.plain, *to.full):
            _reduce(self._groups[index], plan.of[index], self.t, row)
        for index in to.plain:
            self._groups[index].times.pop()
        for index in to.full:
            self._groups[index].drop()


class _Times(Group):
    """A group of which only the times are read."""

    __slots__ = ()

    def __init__(self) -> None:
        self.times: list[int] = []


def _reduce(group: Group, steps: _Steps, t: int, row: list[Any]) -> None:
    times = group.times
    count = len(times)
    for i, window in steps.counts:
        start = 0 if window is None else bisect_right(times, t - window)
        if start < count:
            row[i] = float(count - start)
    if steps.lasts:
        since = float(t - times[-1]) / float(DAY)
        for i in steps.lasts:
            row[i] = since
    for i, window, reduce in steps.others:
        start = 0 if window is None else bisect_right(times, t - window)
        if start < count:
            row[i] = reduce(group, start, t)


_order = itemgetter(*(Event._fields.index(name) for name in ("occurred_at", "recorded_at", "event_id")))


def _known(events: Sequence[Event], related: Sequence[Event], siblings: Mapping[str, Any], t: int) -> list[Event]:
    """The events known at t in order, of the prospect and of its siblings."""
    known = [
        e
        for e in events
        if e.occurred_at <= t and e.recorded_at <= t and (e.retracted_at is None or t < e.retracted_at)
    ]
    if siblings:
        known += [
            e
            for e in related
            if e.occurred_at <= t
            and e.recorded_at <= t
            and (e.retracted_at is None or t < e.retracted_at)
            and e.prospect_id in siblings
        ]
    known.sort(key=_order)
    return known


def plain_still_open(siblings: Mapping[str, Mapping[str, Any]], related: Sequence[Outcome], t: int) -> float:
    """How many of an account's other prospects exist at t and are, by what is known then, neither won nor lost."""
    closed = {o.prospect_id for o in related if o.outcome in CLOSED and o.occurred_at <= t and o.recorded_at <= t}
    return float(sum(1 for key, row in siblings.items() if row["created_at"] <= t and key not in closed))


if TYPE_CHECKING:
    still_open = plain_still_open
    Groups = PlainGroups
    Match = PlainMatch
    Plan = PlainPlan
else:
    still_open = compiled("features._groups", "still_open", plain_still_open)
    Groups = compiled("features._groups", "Groups", PlainGroups)
    Match = compiled("features._groups", "Match", PlainMatch)
    Plan = compiled("features._groups", "Plan", PlainPlan)
