"""A feature set compiled to one pure function: a prospect's records and t in, its feature row out."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import Any, Protocol

from features.aggregates import CLOSED, OPERATIONS, needs_contacts
from features.contract import DAY, EPOCH
from features.expressions import RULES
from features.groups import Groups, Key, Known, Match, Plan, Step
from features.records import Event, Records, Versions, first_recorded
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet, walk
from features.titles import buying_role, read_title

# What an aggregate selects: table, scope, type, direction, role, channel, rank, stage.
_Filter = tuple[str, str, str | None, str | None, str | None, str | None, str | None, str | None]
_What = tuple[_Filter, str, int | None]  # and what it makes of them: operation, days


class _Context:
    """What is known about one prospect at t; made once for a row, read by every feature."""

    __slots__ = ("account", "groups", "open", "prospect", "records", "row", "siblings", "t")

    def __init__(self, records: Records, t: int, wide: bool, whole: Sequence[bool]) -> None:
        self.t = t
        self.records = records
        self.prospect = as_of(records.prospect, t) or {}
        account_id = self.prospect.get("account_id")
        accounts = records.accounts or {}
        self.account = (as_of(accounts.get(account_id, ()), t) or {}) if account_id is not None else {}
        # The account's other prospects as of t, with their rows; None where they, or the account, are unknown.
        self.siblings: dict[str, Mapping[str, Any]] | None = None
        if wide and account_id is not None and records.related is not None:
            self.siblings = {}
            for prospect_id, versions in records.related.items():
                row = as_of(versions, t)
                if row is not None and row.get("account_id") == account_id:
                    self.siblings[prospect_id] = row
        self.groups = Groups(whole, t)
        self.row: list[Any] = []  # the cells; those of a group are there before any feature that is made of others
        self.open: float | None = None  # how many of the siblings are open, where a feature asks for it


_Getter = Callable[[_Context], Any]


def as_of(versions: Versions, t: int) -> Mapping[str, Any] | None:
    """The row as of t: the version with the greatest ``observed_at <= t``, None where none was known."""
    if len(versions) == 1:  # nearly always
        observed_at, values = versions[0]
        return values if observed_at <= t else None
    best, found = None, None
    for observed_at, values in versions:
        if observed_at <= t and (best is None or observed_at > best):
            best, found = observed_at, values
    return found


def merge_events(events: Iterable[Event]) -> tuple[Event, ...]:
    """Identical repeats of an id collapse to the smallest ``recorded_at`` and the earliest retraction.

    Raises BadInput ``conflicting_event`` where one id comes with two contents.
    """
    kept: dict[str, Event] = {}
    for event in events:
        kept[event.event_id] = first_recorded(kept.get(event.event_id, event), event)
    return tuple(kept.values())


class Compiled:
    """A feature set as a function of (records, t): pure and reentrant. Made by ``compile_features``.

    A row holds one raw value per feature, in the order of ``features.names``: text for a category, float for the rest
    (a boolean is 0.0 or 1.0), None where missing. The events of ``records`` must have gone through ``merge_events``.

    Inside, a row has further cells behind those: the aggregates that only other features are made of.
    """

    def __init__(self, features: FeatureSet) -> None:
        self._width = len(features.features)
        self._attributes: list[tuple[int, bool, str]] = []  # texts and times: position, whether the prospect's, column
        self._others: list[tuple[int, _Getter]] = []
        self._reads: dict[int, frozenset[int]] = {}  # of the others: the groups that each is made of
        cells = _Cells(self._width)
        for i, f in enumerate(features.features):
            if isinstance(f, Aggregate) and _by_group(f):
                cells.place(f, i)
        for i, f in enumerate(features.features):
            if isinstance(f, Attribute) and features.kind(f) not in _NUMBERS:
                self._attributes.append((i, f.table == "prospects", f.column))
            elif not (isinstance(f, Aggregate) and _by_group(f)):
                cells.used = set()
                self._others.append((i, _compile(f, features, cells)))
                self._reads[i] = frozenset(cells.used)
        self._cells = cells.listed
        inside = [part for f in features.features for part in walk(f) if isinstance(part, Aggregate)]
        self._wide = any(a.scope == "account" for a in inside)
        self._wide_events = any(a.scope == "account" and a.table == "events" for a in inside)
        self._count_open = any(a.table == "prospects" for a in inside)
        self._of_events = tuple((wanted[1:], i) for wanted, i in cells.groups.items() if wanted[0] == "events")
        self._of_outcomes = tuple((wanted[1:3], i) for wanted, i in cells.groups.items() if wanted[0] == "outcomes")
        self._stages = {type_: stage for stage, types in features.dataset.stages for type_ in types}
        columns = features.dataset.columns("contacts")
        # These tell nothing.
        self._hindsight = {name: None for name in ("role", "job_title") if columns[name].known == "never"}
        # The groups of which only the times are read cost the least.
        whole = {index for _, a, index in self._cells if not OPERATIONS[a.operation].only_times}
        self._whole = tuple(index in whole for index in range(len(cells.groups)))
        self._matching: dict[Key, Match] = {}
        self._plans: dict[tuple[bool, ...], Plan] = {}
        self._dependent: dict[tuple[int, ...], list[tuple[int, _Getter]]] = {}

    def __call__(self, records: Records, t: int) -> list[Any]:
        """The feature row of one prospect."""
        context = self._context(records, t)
        return self._row(context, self._plan(context))[: self._width]

    def supposing(self, records: Records, t: int, more: Sequence[Supposed]) -> list[list[Any]]:
        """The feature row, then for each of ``more`` the row that the records would give with it.

        Each is supposed by itself: an event of the prospect's own at t (and no earlier, so that it is the last one),
        and a contact that comes with it. Only what such an event can change is computed again.
        """
        context = self._context(records, t)
        plan = self._plan(context)
        row = self._row(context, plan)
        out = [row[: self._width]]
        for supposed in more:
            event = supposed.event
            if event.occurred_at != t or event.recorded_at != t:
                raise ValueError("a supposed event is one at t")
            if records.events is None:
                raise ValueError("an event is supposed, but the events are unknown")
            changed = row.copy()
            if self._of_events:
                contact, role, rank = event.contact_id, None, None
                if contact is not None:
                    found = self._person(supposed.among(records.contacts) or {}, t, contact)
                    contact, role, rank = (None, None, None) if found is None else (contact, *found)
                to = self._match((True, event.type, event.direction, role, event.channel, rank))
                context.groups.suppose(plan, to, event, contact, role, changed)
                context.row = changed
                for i, get in self._made_of((*to.plain, *to.full)):
                    changed[i] = get(context)
            out.append(changed[: self._width])
        return out

    def _row(self, context: _Context, plan: Plan) -> list[Any]:
        row = context.row = plan.empty.copy()
        context.groups.reduce(plan, row)
        prospect, account = context.prospect, context.account
        for i, own, column in self._attributes:
            row[i] = (prospect if own else account).get(column)
        for i, get in self._others:
            row[i] = get(context)
        return row

    def _plan(self, context: _Context) -> Plan:
        """What there is to compute where these lists are known."""
        records = context.records
        known = (
            records.events is not None,
            records.outcomes is not None,
            records.contacts is not None,
            context.siblings is not None and records.related_events is not None,
            context.siblings is not None and records.related_outcomes is not None,
        )
        plan = self._plans.get(known)
        if plan is None:
            events, outcomes, contacts, related_events, related_outcomes = known
            own = {"events": events, "outcomes": outcomes}
            related = {"events": related_events, "outcomes": related_outcomes}
            empty: list[Any] = [None] * max(self._width, *(cell + 1 for cell, _, _ in self._cells), 0)
            steps: list[list[Step]] = [[] for _ in self._whole]
            for cell, a, index in self._cells:
                if not own[a.table] or (needs_contacts(a) and not contacts):
                    continue
                if a.scope == "account" and not related[a.table]:
                    continue
                empty[cell] = OPERATIONS[a.operation].empty
                steps[index].append(Step(cell, a.operation, None if a.days is None else a.days * DAY))
            plan = self._plans[known] = Plan(empty, steps)
        return plan

    def _context(self, records: Records, t: int) -> _Context:
        context = _Context(records, t, self._wide, self._whole)
        if records.events is not None and self._of_events:
            siblings = (context.siblings or {}) if self._wide_events else {}
            context.groups.add_events(
                records.events,
                (records.related_events or ()) if siblings else (),
                siblings,
                records.prospect_id,
                self._matching,
                self._match,
                partial(self._person, records.contacts or {}, t),
            )
        if self._of_outcomes and records.outcomes is not None and (records.outcomes or records.related_outcomes):
            _add_outcomes(records, context, self._of_outcomes)
        if self._count_open:
            context.open = _open(records, context)
        return context

    def _person(self, contacts: Mapping[str, Versions], t: int, contact: str) -> Known | None:
        """A contact's role and rank as of t, None where it is not known then."""
        row = as_of(contacts.get(contact, ()), t)
        if row is None:
            return None
        if self._hindsight:
            row = {**row, **self._hindsight}
        return buying_role(row), read_title(row.get("job_title")).rank

    def _match(self, key: Key) -> Match:
        """The groups that an event belongs to."""
        found = self._matching.get(key)
        if found is None:
            own, *have = key
            have.append(self._stages.get(key[1]))
            every = [
                index
                for (scope, *wanted), index in self._of_events
                if (own or scope == "account") and all(w is None or w == h for w, h in zip(wanted, have, strict=True))
            ]
            found = Match([i for i in every if not self._whole[i]], [i for i in every if self._whole[i]])
            if len(self._matching) < 10_000:  # the texts come from outside: bounded
                self._matching[key] = found
        return found

    def _made_of(self, groups: tuple[int, ...]) -> list[tuple[int, _Getter]]:
        """The features that are made of others which one more event in each of these groups changes."""
        found = self._dependent.get(groups)
        if found is None:
            found = [(i, get) for i, get in self._others if not self._reads[i].isdisjoint(groups)]
            if len(self._dependent) < 10_000:  # the texts that events are told apart by come from outside: bounded
                self._dependent[groups] = found
        return found


def compile_features(features: FeatureSet) -> Compiled:
    """The feature set as a function of (records, t)."""
    return Compiled(features)


class Supposed(Protocol):
    """An event that did not happen, and the contacts with the person that may have to be supposed with it."""

    @property
    def event(self) -> Event:
        """The event."""

    def among(self, contacts: Mapping[str, Versions] | None) -> Mapping[str, Versions] | None:
        """The contacts, with that person."""


class _Cells:
    """The cells of a row that are reduced from groups, and the groups that the feature at hand asks for."""

    def __init__(self, width: int) -> None:
        self.groups: dict[_Filter, int] = {}
        self.listed: list[tuple[int, Aggregate, int]] = []  # cell, aggregate and group
        self.used: set[int] = set()
        self._next = width  # behind those of the features
        self._at: dict[_What, tuple[int, int]] = {}  # cell and group

    def place(self, a: Aggregate, cell: int) -> None:
        """Reduce an aggregate to this cell."""
        group = self.groups.setdefault(_filter(a), len(self.groups))
        self.listed.append((cell, a, group))
        self._at.setdefault(_what(a), (cell, group))

    def of(self, a: Aggregate) -> int:
        """The cell of an aggregate that a feature is made of."""
        if _what(a) not in self._at:
            self.place(a, self._next)
            self._next += 1
        cell, group = self._at[_what(a)]
        self.used.add(group)
        return cell


def _filter(a: Aggregate) -> _Filter:
    return (a.table, a.scope, a.type, a.direction, a.role, a.channel, a.rank, a.stage)


def _what(a: Aggregate) -> _What:
    return (_filter(a), a.operation, a.days)


def _by_group(a: Aggregate) -> bool:
    """Whether the aggregate is reduced from the events of one group."""
    return a.table != "prospects" and a.operation != "share"


def _add_outcomes(records: Records, context: _Context, filters: Sequence[tuple[tuple[str | None, ...], int]]) -> None:
    t, siblings = context.t, context.siblings or {}
    known = [(o, True) for o in records.outcomes or () if o.occurred_at <= t and o.recorded_at <= t]
    known += [
        (o, False)
        for o in records.related_outcomes or ()
        if o.occurred_at <= t and o.recorded_at <= t and o.prospect_id in siblings
    ]
    known.sort(key=lambda item: item[0].occurred_at)
    for (scope, outcome), index in filters:
        times = [
            o.occurred_at
            for o, own in known
            if (own or scope == "account") and (outcome is None or o.outcome == outcome)
        ]
        context.groups.set_times(index, times)


def _open(records: Records, context: _Context) -> float | None:
    """How many of the account's other prospects exist at t and are, by what is known then, neither won nor lost."""
    if context.siblings is None or records.related_outcomes is None or records.outcomes is None:
        return None
    if not context.siblings:
        return 0.0
    t = context.t
    closed = {
        o.prospect_id
        for o in records.related_outcomes
        if o.outcome in CLOSED and o.occurred_at <= t and o.recorded_at <= t
    }
    return float(sum(1 for key, row in context.siblings.items() if row["created_at"] <= t and key not in closed))


def _compile(feature: Feature, features: FeatureSet, cells: _Cells) -> _Getter:
    if isinstance(feature, Attribute):
        return _attribute(feature, features)
    if isinstance(feature, Aggregate):
        return _aggregate(feature, cells)
    return _expression(feature, [_compile(a, features, cells) for a in feature.arguments])


_NUMBERS = ("number", "boolean")  # kinds that are a float in a row


def _attribute(feature: Attribute, features: FeatureSet) -> _Getter:
    column, own = feature.column, feature.table == "prospects"
    if features.kind(feature) in _NUMBERS:

        def number(context: _Context) -> float | None:
            value = (context.prospect if own else context.account).get(column)
            return None if value is None else float(value)

        return number
    return lambda context: (context.prospect if own else context.account).get(column)


class _Cell:
    """What is in a cell of the row."""

    __slots__ = ("cell",)

    def __init__(self, cell: int) -> None:
        self.cell = cell

    def __call__(self, context: _Context) -> Any:
        return context.row[self.cell]


def _aggregate(feature: Aggregate, cells: _Cells) -> _Getter:
    if feature.table == "prospects":
        return lambda context: context.open
    if feature.operation != "share":
        return _Cell(cells.of(feature))
    # A share is a count over the count without filters.
    part = cells.of(replace(feature, operation="count"))
    whole = cells.of(Aggregate("count", days=feature.days, scope=feature.scope))

    def share(context: _Context) -> float | None:
        count, number = context.row[part], context.row[whole]
        return None if count is None or not number else count / number

    return share


def _expression(feature: Expression, arguments: list[_Getter]) -> _Getter:
    if feature.operation == "calendar":
        part = _CALENDAR[feature.part or ""]
        if not arguments:
            return lambda context: part(context.t)
        return lambda context: None if (x := arguments[0](context)) is None else part(x)
    if feature.operation == "band":
        cuts = feature.cuts
        return lambda context: None if (x := arguments[0](context)) is None else float(bisect_right(cuts, x))
    if feature.operation == "age":
        return lambda context: None if (x := arguments[0](context)) is None else float(context.t - x) / float(DAY)
    if feature.operation == "days_until":
        return lambda context: None if (x := arguments[0](context)) is None else float(x - context.t) / float(DAY)
    if feature.operation in RULES:
        rule, name = RULES[feature.operation].online, feature.part
        places = [get.cell for get in arguments if isinstance(get, _Cell)]
        if len(places) == len(arguments) > 1:
            several = itemgetter(*places)
            return lambda context: rule(name, several(context.row))
        return lambda context: rule(name, [get(context) for get in arguments])
    first, second = arguments
    if feature.operation == "ratio":

        def ratio(context: _Context) -> float | None:
            a, b = first(context), second(context)
            return None if a is None or b is None or b == 0 else _finite(a / b)

        return ratio

    def difference(context: _Context) -> float | None:
        a, b = first(context), second(context)
        return None if a is None or b is None else _finite(a - b)

    return difference


def _finite(x: float) -> float | None:
    """The number, or missing where it is too large for a double: no answer can hold an infinite one."""
    return x if math.isfinite(x) else None


_CALENDAR: dict[str, Callable[[int], float]] = {
    "month": lambda micros: float((EPOCH + timedelta(microseconds=micros)).month),
    "weekday": lambda micros: float((micros // DAY + 3) % 7),  # 1970 began on a Thursday
    "hour": lambda micros: float(micros // (DAY // 24) % 24),
}
