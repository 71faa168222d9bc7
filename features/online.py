"""A feature set compiled to one pure function: a prospect's records and t in, its feature row out."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from features.aggregates import CLOSED, OPERATIONS, Group, needs_contacts
from features.contract import DAY, EPOCH
from features.expressions import RULES
from features.records import Event, Records, Versions, first_recorded
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet, walk
from features.titles import buying_role, read_title

# What an aggregate selects: table, scope, type, direction, role, channel, rank, stage.
_Filter = tuple[str, str, str | None, str | None, str | None, str | None, str | None, str | None]
_What = tuple[_Filter, str, int | None]  # and what it makes of them: operation, days


class _Context:
    """What is known about one prospect at t; made once for a row, read by every feature."""

    __slots__ = ("account", "groups", "open", "prospect", "records", "row", "siblings", "t")

    def __init__(self, records: Records, t: int, wide: bool) -> None:
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
        self.groups: list[Group] = []
        self.row: list[Any] = []  # the features; those of a group are there before any that is made of others
        self.open: float | None = None  # how many of the siblings are open, where a feature asks for it


_Getter = Callable[[_Context], Any]


def as_of(versions: Versions, t: int) -> Mapping[str, Any] | None:
    """The row as of t: the version with the greatest ``observed_at <= t``, None where none was known."""
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
    """

    def __init__(self, features: FeatureSet) -> None:
        filters: dict[_Filter, int] = {}
        self._width = len(features.features)
        self._aggregates: list[tuple[int, Aggregate, int]] = []  # position, feature and group
        self._others: list[tuple[int, _Getter]] = []
        self._reads: dict[int, frozenset[int]] = {}  # of the others: the groups that each is made of
        for i, f in enumerate(features.features):
            if isinstance(f, Aggregate) and _by_group(f):
                self._aggregates.append((i, f, filters.setdefault(_filter(f), len(filters))))
        at_hand = {_what(f): i for i, f, _ in self._aggregates}
        for i, f in enumerate(features.features):
            if not (isinstance(f, Aggregate) and _by_group(f)):
                used = _Used(filters, at_hand)
                self._others.append((i, _compile(f, features, used)))
                self._reads[i] = frozenset(used.indices)
        inside = [part for f in features.features for part in walk(f) if isinstance(part, Aggregate)]
        self._wide = any(a.scope == "account" for a in inside)
        self._wide_events = any(a.scope == "account" and a.table == "events" for a in inside)
        self._count_open = any(a.table == "prospects" for a in inside)
        self._of_events = tuple((wanted[1:], index) for wanted, index in filters.items() if wanted[0] == "events")
        self._of_outcomes = tuple((wanted[1:3], index) for wanted, index in filters.items() if wanted[0] == "outcomes")
        self._stages = {type_: stage for stage, types in features.dataset.stages for type_ in types}
        columns = features.dataset.columns("contacts")
        # These tell nothing.
        self._hindsight = {name: None for name in ("role", "job_title") if columns[name].known == "never"}
        # The groups of which only the times are read cost the least.
        whole = {
            filters[_filter(a)] for a in inside if a.table != "prospects" and not OPERATIONS[a.operation].only_times
        }
        self._whole = [index in whole for index in range(len(filters))]
        self._matching: dict[tuple[Any, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._plans: dict[tuple[bool, ...], _Plan] = {}

    def __call__(self, records: Records, t: int) -> list[Any]:
        """The feature row of one prospect."""
        context = self._context(records, t)
        return self._row(context, self._plan(context))

    def supposing(self, records: Records, t: int, more: Sequence[Supposed]) -> list[list[Any]]:
        """The feature row, then for each of ``more`` the row that the records would give with it.

        Each is supposed by itself: an event of the prospect's own at t (and no earlier, so that it is the last one),
        and a contact that comes with it. Only what such an event can change is computed again.
        """
        context = self._context(records, t)
        plan = self._plan(context)
        row = self._row(context, plan)
        out = [row]
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
                    found = self._person(supposed.among(records.contacts) or {}, contact, t)
                    contact, role, rank = (None, None, None) if found is None else (contact, *found)
                plain, full = self._match((True, event.type, event.direction, role, event.channel, rank))
                touched, groups = (*plain, *full), context.groups
                for index in plain:
                    groups[index].times.append(t)
                for index in full:
                    groups[index].add(event, contact, role)
                context.row = changed
                change = self._more(plan, touched)
                for i in change.counts:  # every window holds what happens at t
                    changed[i] += 1.0
                for i in change.lasts:
                    changed[i] = 0.0
                for i, window, reduce, index in change.others:
                    group = groups[index]
                    changed[i] = reduce(group, 0 if window is None else bisect_right(group.times, t - window), t)
                for i, get in change.dependent:
                    changed[i] = get(context)
                for index in plain:
                    groups[index].times.pop()
                for index in full:
                    groups[index].drop()
            out.append(changed)
        return out

    def _row(self, context: _Context, plan: _Plan) -> list[Any]:
        row = context.row = plan.empty.copy()
        for group, steps in zip(context.groups, plan.of, strict=True):
            if group.times:
                _reduce(group, steps, context.t, row)
        for i, get in self._others:
            row[i] = get(context)
        return row

    def _plan(self, context: _Context) -> _Plan:
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
            plan = _Plan([None] * self._width, [_Steps([], [], []) for _ in self._whole], {})
            for i, a, index in self._aggregates:
                if not own[a.table] or (needs_contacts(a) and not contacts):
                    continue
                if a.scope == "account" and not related[a.table]:
                    continue
                operation = OPERATIONS[a.operation]
                plan.empty[i] = operation.empty
                window = None if a.days is None else a.days * DAY
                if a.operation == "count":
                    plan.of[index].counts.append((i, window))
                elif a.operation == "days_since_last" and window is None:
                    plan.of[index].lasts.append(i)
                else:
                    plan.of[index].others.append((i, window, operation.online))
            self._plans[known] = plan
        return plan

    def _context(self, records: Records, t: int) -> _Context:
        context = _Context(records, t, self._wide)
        context.groups = [Group() if whole else _Times() for whole in self._whole]
        if records.events is not None and self._of_events:
            self._add_events(records, context, t)
        if records.outcomes is not None and self._of_outcomes:
            _add_outcomes(records, context, self._of_outcomes)
        if self._count_open:
            context.open = _open(records, context)
        return context

    def _add_events(self, records: Records, context: _Context, t: int) -> None:
        groups, contacts, matching = context.groups, records.contacts or {}, self._matching
        known: dict[str, tuple[str | None, str | None] | None] = {}  # role and rank of those known as of t
        mine = records.prospect_id
        for event in _known(records, context, t, self._wide_events):
            contact, role, rank = event.contact_id, None, None
            if contact is not None:
                if contact not in known:
                    known[contact] = self._person(contacts, contact, t)
                found = known[contact]
                if found is None:
                    contact = None
                else:
                    role, rank = found
            key = (event.prospect_id == mine, event.type, event.direction, role, event.channel, rank)
            indices = matching.get(key)
            plain, full = self._match(key) if indices is None else indices
            occurred_at = event.occurred_at
            for index in plain:
                groups[index].times.append(occurred_at)
            for index in full:
                group = groups[index]
                group.times.append(occurred_at)
                group.values.append(event.value)
                group.contacts.append(contact)
                group.roles.append(role)

    def _person(self, contacts: Mapping[str, Versions], contact: str, t: int) -> tuple[str | None, str | None] | None:
        """A contact's role and rank as of t, None where it is not known then."""
        row = as_of(contacts.get(contact, ()), t)
        if row is None:
            return None
        if self._hindsight:
            row = {**row, **self._hindsight}
        return buying_role(row), read_title(row.get("job_title")).rank

    def _match(self, key: tuple[Any, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The groups that an event belongs to: those of which only the times are read, and the others."""
        found = self._matching.get(key)
        if found is None:
            own, *have = key
            have.append(self._stages.get(key[1]))
            every = [
                index
                for (scope, *wanted), index in self._of_events
                if (own or scope == "account") and all(w is None or w == h for w, h in zip(wanted, have, strict=True))
            ]
            found = tuple(i for i in every if not self._whole[i]), tuple(i for i in every if self._whole[i])
            if len(self._matching) < 10_000:  # the texts come from outside: bounded
                self._matching[key] = found
        return found

    def _more(self, plan: _Plan, touched: tuple[int, ...]) -> _More:
        """What one more event in each of these groups changes."""
        found = plan.more.get(touched)
        if found is None:
            steps = [plan.of[index] for index in touched]
            found = _More(
                [i for each in steps for i, _ in each.counts],
                [i for each in steps for i in each.lasts],
                [(*other, index) for index, each in zip(touched, steps, strict=True) for other in each.others],
                [(i, get) for i, get in self._others if not self._reads[i].isdisjoint(touched)],
            )
            if len(plan.more) < 10_000:  # the texts that events are told apart by come from outside: bounded
                plan.more[touched] = found
        return found


def compile_features(features: FeatureSet) -> Compiled:
    """The feature set as a function of (records, t)."""
    return Compiled(features)


@dataclass(frozen=True)
class _Steps:
    """What one group gives: the features that count its window, those of its last time, and all others."""

    counts: list[tuple[int, int | None]]  # position and window in microseconds
    lasts: list[int]  # position of the days since the last one
    others: list[tuple[int, int | None, Callable[[Group, int, int], float | None]]]


@dataclass(frozen=True)
class _Plan:
    """What is computed where certain lists are known: the row of empty groups, and what each group gives otherwise."""

    empty: list[Any]
    of: list[_Steps]
    more: dict[tuple[int, ...], _More]  # by the groups that one more event falls into


class _More(NamedTuple):
    """What one more event at t changes: the features of its groups as in ``_Steps``, then those made of others."""

    counts: list[int]
    lasts: list[int]
    others: list[tuple[int, int | None, Callable[[Group, int, int], float | None], int]]  # and the group
    dependent: list[tuple[int, _Getter]]


def _reduce(group: Group, steps: _Steps, t: int, row: list[Any]) -> None:
    """Set the features of a group that is not empty, each but those whose window is."""
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


class Supposed(Protocol):
    """An event that did not happen, and the contacts with the person that may have to be supposed with it."""

    @property
    def event(self) -> Event:
        """The event."""

    def among(self, contacts: Mapping[str, Versions] | None) -> Mapping[str, Versions] | None:
        """The contacts, with that person."""


class _Times(Group):
    """A group of which only the times are read."""

    __slots__ = ()

    def __init__(self) -> None:
        self.times: list[int] = []


class _Used:
    """The groups of all features, those that one feature asks for, and where in the row its parts are at hand."""

    def __init__(self, filters: dict[_Filter, int], at_hand: Mapping[_What, int]) -> None:
        self.filters = filters
        self.at_hand = at_hand
        self.indices: set[int] = set()

    def index(self, wanted: _Filter) -> int:
        found = self.filters.setdefault(wanted, len(self.filters))
        self.indices.add(found)
        return found


def _filter(a: Aggregate) -> _Filter:
    return (a.table, a.scope, a.type, a.direction, a.role, a.channel, a.rank, a.stage)


def _what(a: Aggregate) -> _What:
    return (_filter(a), a.operation, a.days)


def _by_group(a: Aggregate) -> bool:
    """Whether the aggregate is reduced from the events of one group."""
    return a.table != "prospects" and a.operation != "share"


def _known(records: Records, context: _Context, t: int, wide: bool) -> list[Event]:
    """The events known at t in order, of the prospect and, where ``wide``, of its account's others."""
    known = [
        e
        for e in records.events or ()
        if e.occurred_at <= t and e.recorded_at <= t and (e.retracted_at is None or t < e.retracted_at)
    ]
    if wide and context.siblings:
        siblings = context.siblings
        known += [
            e
            for e in records.related_events or ()
            if e.occurred_at <= t
            and e.recorded_at <= t
            and (e.retracted_at is None or t < e.retracted_at)
            and e.prospect_id in siblings
        ]
    known.sort(key=_order)
    return known


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
        context.groups[index].times = [
            o.occurred_at
            for o, own in known
            if (own or scope == "account") and (outcome is None or o.outcome == outcome)
        ]


def _open(records: Records, context: _Context) -> float | None:
    """How many of the account's other prospects exist at t and are, by what is known then, neither won nor lost."""
    if context.siblings is None or records.related_outcomes is None or records.outcomes is None:
        return None
    t = context.t
    closed = {
        o.prospect_id
        for o in records.related_outcomes
        if o.outcome in CLOSED and o.occurred_at <= t and o.recorded_at <= t
    }
    return float(sum(1 for key, row in context.siblings.items() if row["created_at"] <= t and key not in closed))


_order = itemgetter(*(Event._fields.index(name) for name in ("occurred_at", "recorded_at", "event_id")))


def _compile(feature: Feature, features: FeatureSet, filters: _Used) -> _Getter:
    if isinstance(feature, Attribute):
        return _attribute(feature, features)
    if isinstance(feature, Aggregate):
        return _aggregate(feature, filters)
    return _expression(feature, [_compile(a, features, filters) for a in feature.arguments])


def _attribute(feature: Attribute, features: FeatureSet) -> _Getter:
    column, own = feature.column, feature.table == "prospects"
    if features.kind(feature) in ("number", "boolean"):

        def number(context: _Context) -> float | None:
            value = (context.prospect if own else context.account).get(column)
            return None if value is None else float(value)

        return number
    return lambda context: (context.prospect if own else context.account).get(column)


def _aggregate(feature: Aggregate, filters: _Used) -> _Getter:
    if feature.table == "prospects":
        return lambda context: context.open
    operation = OPERATIONS[feature.operation]
    index = filters.index(_filter(feature))
    position = filters.at_hand.get(_what(feature))
    if position is not None:
        return lambda context: context.row[position]
    share = feature.operation == "share"
    everything = (feature.table, feature.scope, None, None, None, None, None, None)
    whole = filters.index(everything) if share else index
    window = None if feature.days is None else feature.days * DAY
    account = feature.scope == "account"
    contacts = needs_contacts(feature)
    own, related = feature.table, f"related_{feature.table}"
    reduce, empty = operation.online, operation.empty

    def get(context: _Context) -> float | None:
        records = context.records
        if getattr(records, own) is None or (contacts and records.contacts is None):
            return None
        if account and (context.siblings is None or getattr(records, related) is None):
            return None
        group = context.groups[index]
        start = 0 if window is None else bisect_right(group.times, context.t - window)
        value = reduce(group, start, context.t) if start < len(group.times) else empty
        if not share:
            return value
        times = context.groups[whole].times
        number = len(times) - (0 if window is None else bisect_right(times, context.t - window))
        return (value or 0.0) / float(number) if number else None

    return get


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


def _moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


_CALENDAR: dict[str, Callable[[int], float]] = {
    "month": lambda micros: float(_moment(micros).month),
    "weekday": lambda micros: float(_moment(micros).weekday()),
    "hour": lambda micros: float(_moment(micros).hour),
}
