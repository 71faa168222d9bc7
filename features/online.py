"""A feature set compiled to one pure function: a prospect's records and t in, its feature row out."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from features.aggregates import CLOSED, OPERATIONS, Group, needs_contacts
from features.contract import DAY, EPOCH
from features.expressions import RULES
from features.records import Event, Records, Versions, first_recorded
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet, walk
from features.titles import buying_role, read_title

# What an aggregate selects: table, scope, type, direction, role, channel, rank, stage.
_Filter = tuple[str, str, str | None, str | None, str | None, str | None, str | None, str | None]


class _Context:
    """What is known about one prospect at t; made once for a row, read by every feature."""

    __slots__ = ("account", "groups", "open", "prospect", "records", "siblings", "t")

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


def compile_features(features: FeatureSet) -> Callable[[Records, int], list[Any]]:
    """The feature set as a function of (records, t), pure and reentrant.

    Returns one raw value per feature, in the order of ``features.names``: text for a category, float for the rest
    (a boolean is 0.0 or 1.0), None where missing. The events of ``records`` must have gone through
    ``merge_events``.
    """
    filters: dict[_Filter, int] = {}
    getters = [_compile(f, features, filters) for f in features.features]
    inside = [part for f in features.features for part in walk(f) if isinstance(part, Aggregate)]
    wide = any(a.scope == "account" for a in inside)
    wide_events = any(a.scope == "account" and a.table == "events" for a in inside)
    count_open = any(a.table == "prospects" for a in inside)
    of_events = tuple((wanted[1:], index) for wanted, index in filters.items() if wanted[0] == "events")
    of_outcomes = tuple((wanted[1:3], index) for wanted, index in filters.items() if wanted[0] == "outcomes")
    stages = {type_: stage for stage, types in features.dataset.stages for type_ in types}
    columns = features.dataset.columns("contacts")
    hindsight = {name: None for name in ("role", "job_title") if columns[name].known == "never"}  # these tell nothing
    matching: dict[tuple[Any, ...], tuple[int, ...]] = {}

    def match(own: bool, *have: str | None) -> tuple[int, ...]:
        return tuple(
            index
            for (scope, *wanted), index in of_events
            if (own or scope == "account") and all(w is None or w == h for w, h in zip(wanted, have, strict=True))
        )

    def add_events(records: Records, context: _Context, t: int) -> None:
        groups, contacts = context.groups, records.contacts or {}
        known: dict[str, tuple[str | None, str | None] | None] = {}  # role and rank of those known as of t
        for _, _, _, own, event in _known(records, context, t, wide_events):
            contact, role, rank = event.contact_id, None, None
            if contact is not None:
                if contact not in known:
                    row = as_of(contacts.get(contact, ()), t)
                    if row is not None and hindsight:
                        row = {**row, **hindsight}
                    known[contact] = None if row is None else (buying_role(row), read_title(row.get("job_title")).rank)
                found = known[contact]
                if found is None:
                    contact = None
                else:
                    role, rank = found
            key = (own, event.type, event.direction, role, event.channel, rank)
            indices = matching.get(key)
            if indices is None:
                indices = match(*key, stages.get(event.type))
                if len(matching) < 10_000:  # the texts come from outside: bounded
                    matching[key] = indices
            for index in indices:
                groups[index].add(event, contact, role)

    def run(records: Records, t: int) -> list[Any]:
        context = _Context(records, t, wide)
        context.groups = [Group() for _ in filters]
        if records.events is not None and of_events:
            add_events(records, context, t)
        if records.outcomes is not None and of_outcomes:
            _add_outcomes(records, context, of_outcomes)
        if count_open:
            context.open = _open(records, context)
        return [get(context) for get in getters]

    return run


def _known(records: Records, context: _Context, t: int, wide: bool) -> list[tuple[int, int, str, bool, Event]]:
    known = [
        (e.occurred_at, e.recorded_at, e.event_id, True, e)
        for e in records.events or ()
        if e.occurred_at <= t and e.recorded_at <= t and (e.retracted_at is None or t < e.retracted_at)
    ]
    if wide and context.siblings:
        siblings = context.siblings
        known += [
            (e.occurred_at, e.recorded_at, e.event_id, False, e)
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


def _order(item: tuple[int, int, str, bool, Event]) -> tuple[int, int, str]:
    return item[:3]


def _compile(feature: Feature, features: FeatureSet, filters: dict[_Filter, int]) -> _Getter:
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


def _aggregate(feature: Aggregate, filters: dict[_Filter, int]) -> _Getter:
    if feature.table == "prospects":
        return lambda context: context.open
    operation = OPERATIONS[feature.operation]
    scope = (feature.table, feature.scope)
    wanted = (feature.type, feature.direction, feature.role, feature.channel, feature.rank, feature.stage)
    index = filters.setdefault((*scope, *wanted), len(filters))
    share = feature.operation == "share"
    whole = filters.setdefault((*scope, None, None, None, None, None, None), len(filters)) if share else index
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
