"""A feature set compiled to one pure function: a prospect's records and t in, its feature row out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from features.aggregates import OPERATIONS, needs_contacts
from features.compiled import compiled
from features.contract import DAY
from features.groups import Groups, Key, Known, Match, Plan, still_open
from features.groups import Step as Reduced
from features.program import MADE, Input, Program, Step
from features.records import Event, Records, Versions, first_recorded
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet
from features.titles import buying_role, read_title

# What an aggregate selects: table, scope, type, direction, role, channel, rank, stage.
_Filter = tuple[str, str, str | None, str | None, str | None, str | None, str | None, str | None]
_SUPPOSED = 1_000  # kinds of supposed events that are kept
_NUMBERS = ("number", "boolean")  # kinds that are a float in a row


def plain_as_of(versions: Versions, t: int) -> Mapping[str, Any] | None:
    """The row as of t: the version with the greatest ``observed_at <= t``, None where none was known."""
    if len(versions) == 1:  # nearly always
        observed_at, values = versions[0]
        return values if observed_at <= t else None
    best, found = None, None
    for observed_at, values in versions:
        if observed_at <= t and (best is None or observed_at > best):
            best, found = observed_at, values
    return found


as_of: Callable[[Versions, int], Mapping[str, Any] | None] = compiled("features._groups", "as_of", plain_as_of)


class PlainPeople:
    """What is known at t of contacts: the role and the rank of each, None where it is not known then.

    What the columns of ``hindsight`` hold tells nothing.
    """

    def __init__(self, contacts: Mapping[str, Versions], t: int, hindsight: Mapping[str, None]) -> None:
        self._contacts = contacts
        self._t = t
        self._hindsight = hindsight

    def __call__(self, contact: str) -> Known | None:
        """The role and the rank of one contact."""
        contacts, t = self._contacts, self._t
        row = as_of(contacts.get(contact, ()), t)
        if row is None:
            return None
        if self._hindsight:
            row = {**row, **self._hindsight}
        return buying_role(row), read_title(row.get("job_title")).rank


if TYPE_CHECKING:
    People = PlainPeople
else:
    People = compiled("features._groups", "People", PlainPeople)


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

    Inside, a row has further cells behind those: what only other features are made of.
    """

    def __init__(self, features: FeatureSet) -> None:
        self._width = len(features.features)
        cells = _Cells(features)
        self._cells = cells.reduced
        self._room = cells.room
        self._time, self._open = cells.time, cells.open
        self._program = Program(cells.room, cells.inputs, cells.steps)
        self._steps = [(step, cells.made_of[step.cell]) for step in cells.steps]
        wide = [filters for filters in cells.groups if filters[1] == "account"]
        self._wide = bool(wide) or cells.open is not None
        self._wide_events = any(filters[0] == "events" for filters in wide)
        self._of_events = tuple((wanted[1:], i) for wanted, i in cells.groups.items() if wanted[0] == "events")
        self._of_outcomes = tuple((i, *wanted[1:3]) for wanted, i in cells.groups.items() if wanted[0] == "outcomes")
        self._stages: dict[str | None, str] = {
            type_: stage for stage, types in features.dataset.stages for type_ in types
        }
        # The types and the channels that a group or a stage names.
        self._kinds = frozenset((*self._stages, *(wanted[1] for wanted, _ in self._of_events)))
        self._channels = frozenset(wanted[4] for wanted, _ in self._of_events)
        columns = features.dataset.columns("contacts")
        # These tell nothing.
        self._hindsight = {name: None for name in ("role", "job_title") if columns[name].known == "never"}
        # The groups of which only the times are read cost the least.
        whole = {index for _, a, index in self._cells if not OPERATIONS[a.operation].only_times}
        self._whole = tuple(index in whole for index in range(len(cells.groups)))
        self._matching: dict[Key, Match] = {}
        self._plans: dict[tuple[bool, ...], Plan] = {}
        self._dependent: dict[tuple[int, ...], Program] = {}
        self._supposed: dict[Key, tuple[Match, Program]] = {}

    def __call__(self, records: Records, t: int) -> list[Any]:
        """The feature row of one prospect."""
        return self.supposing(records, t, ())[0]

    def supposing(self, records: Records, t: int, more: Sequence[Supposed]) -> list[list[Any]]:
        """The feature row, then for each of ``more`` the row that the records would give with it.

        Each is supposed by itself: an event of the prospect's own at t (and no earlier, so that it is the last one),
        and a contact that comes with it. Only what such an event can change is computed again.
        """
        prospect = as_of(records.prospect, t) or {}
        account_id, account, siblings = prospect.get("account_id"), None, None
        if account_id is not None:
            accounts = records.accounts or {}
            account = as_of(accounts.get(account_id, ()), t)
            if self._wide and records.related is not None:
                siblings = _siblings(records.related, account_id, t) if records.related else {}
        groups = self._groups(records, t, siblings or {})
        plan = self._plan(records, siblings is not None)
        row = plan.empty.copy()
        groups.reduce(plan, row)
        self._program.read(row, prospect, account or {})
        row[self._time] = t
        if self._open is not None and siblings is not None and records.outcomes is not None:
            related = records.related_outcomes
            row[self._open] = None if related is None else still_open(siblings, related, t)
        self._program.make(row)
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
                    found = People(supposed.among(records.contacts) or {}, t, self._hindsight)(contact)
                    contact, role, rank = (None, None, None) if found is None else (contact, *found)
                key = (True, event.type, event.direction, role, event.channel, rank)
                to, program = self._supposed.get(key) or self._suppose(key)
                groups.suppose(plan, to, event, contact, role, changed)
                program.make(changed)
            out.append(changed)
        for row in out:
            del row[self._width :]
        return out

    def _groups(self, records: Records, t: int, siblings: Mapping[str, Any]) -> Groups:
        """What is known at t, in groups."""
        groups = Groups(self._whole, t)
        if records.events is not None and self._of_events:
            others = siblings if self._wide_events else {}
            groups.add_events(
                records.events,
                (records.related_events or ()) if others else (),
                others,
                records.prospect_id,
                self._matching,
                self._match,
                People(records.contacts or {}, t, self._hindsight),
            )
        if self._of_outcomes and records.outcomes is not None and (records.outcomes or records.related_outcomes):
            groups.add_outcomes(records.outcomes, records.related_outcomes or (), siblings, self._of_outcomes)
        return groups

    def _plan(self, records: Records, siblings: bool) -> Plan:
        """What there is to compute where these lists are known."""
        known = (
            records.events is not None,
            records.outcomes is not None,
            records.contacts is not None,
            siblings and records.related_events is not None,
            siblings and records.related_outcomes is not None,
        )
        plan = self._plans.get(known)
        if plan is None:
            events, outcomes, contacts, related_events, related_outcomes = known
            own = {"events": events, "outcomes": outcomes}
            related = {"events": related_events, "outcomes": related_outcomes}
            empty: list[Any] = [None] * self._room
            steps: list[list[Reduced]] = [[] for _ in self._whole]
            for cell, a, index in self._cells:
                if not own[a.table] or (needs_contacts(a) and not contacts):
                    continue
                if a.scope == "account" and not related[a.table]:
                    continue
                empty[cell] = OPERATIONS[a.operation].empty
                steps[index].append(Reduced(cell, a.operation, None if a.days is None else a.days * DAY))
            plan = self._plans[known] = Plan(empty, steps)
        return plan

    def _match(self, key: Key) -> Match:
        """The groups that an event belongs to."""
        own, kind, direction, role, channel, rank = key
        # What no group asks for is all the same: what comes from outside is not kept, and fills no room.
        kind = kind if kind in self._kinds else None
        channel = channel if channel in self._channels else None
        key = (own, kind, direction, role, channel, rank)
        found = self._matching.get(key)
        if found is None:
            have = (kind, direction, role, channel, rank, self._stages.get(kind))
            every = [
                index
                for (scope, *wanted), index in self._of_events
                if (own or scope == "account") and all(w is None or w == h for w, h in zip(wanted, have, strict=True))
            ]
            found = Match([i for i in every if not self._whole[i]], [i for i in every if self._whole[i]])
            self._matching[key] = found
        return found

    def _suppose(self, key: Key) -> tuple[Match, Program]:
        """The groups that a supposed event belongs to, and what makes the cells that it changes."""
        to = self._match(key)
        groups = (*to.plain, *to.full)
        program = self._dependent.get(groups)
        if program is None:
            program = Program(self._room, (), [step for step, of in self._steps if not of.isdisjoint(groups)])
            self._dependent[groups] = program
        if len(self._supposed) < _SUPPOSED:
            self._supposed[key] = to, program
        return to, program


def _siblings(related: Mapping[str, Versions], account_id: str, t: int) -> dict[str, Mapping[str, Any]]:
    """The account's other prospects as of t, with their rows."""
    found = {}
    for prospect_id, versions in related.items():
        row = as_of(versions, t)
        if row is not None and row.get("account_id") == account_id:
            found[prospect_id] = row
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
    """Where in a row the features lie, then what they are made of; and how each cell comes about."""

    def __init__(self, features: FeatureSet) -> None:
        self._kind = features.kind
        # By their text, since an expression may hold lists.
        self._at: dict[str, int] = {repr(feature): cell for cell, feature in enumerate(features.features)}
        self.time = len(self._at)  # the cell that holds t
        self.room = self.time + 1
        self.open: int | None = None  # that of how many of the account's other prospects are open
        self.groups: dict[_Filter, int] = {}
        self.reduced: list[tuple[int, Aggregate, int]] = []  # cell, aggregate and group
        self.inputs: list[Input] = []
        self.steps: list[Step] = []
        self.made_of: dict[int, frozenset[int]] = {}  # of each cell: the groups
        for feature in features.features:
            self._of(feature)

    def _of(self, feature: Feature) -> int:
        """The cell of a feature; where it is none yet, it becomes one behind those that it is made of."""
        cell = self._at.get(repr(feature))
        if cell is None:
            cell = self._at[repr(feature)] = self.room
            self.room += 1
        if cell not in self.made_of:
            self.made_of[cell] = self._placed(feature, cell)
        return cell

    def _placed(self, feature: Feature, cell: int) -> frozenset[int]:
        """Have this cell hold the feature; returns the groups that it is made of."""
        if isinstance(feature, Attribute):
            own, number = feature.table == "prospects", self._kind(feature) in _NUMBERS
            self.inputs.append(Input(cell, own, feature.column, number))
            return frozenset()
        if isinstance(feature, Expression):
            places = [self._of(each) for each in feature.arguments]
            operation, detail = feature.operation, feature.cuts if feature.operation == "band" else feature.part
            if operation == "age":
                operation, places = "days", [self.time, *places]
            elif operation == "days_until":
                operation, places = "days", [*places, self.time]
            elif operation == "calendar":
                places = places or [self.time]
        elif feature.table == "prospects":
            self.open = cell
            return frozenset()
        elif feature.operation == "share":  # a count over the count without filters
            whole = Aggregate("count", days=feature.days, scope=feature.scope)
            places = [self._of(replace(feature, operation="count")), self._of(whole)]
            operation, detail = "share", None
        else:
            group = self.groups.setdefault(_filter(feature), len(self.groups))
            self.reduced.append((cell, feature, group))
            return frozenset((group,))
        self.steps.append(Step(cell, operation, MADE[operation], detail, tuple(places)))
        return frozenset().union(*(self.made_of.get(place, ()) for place in places))


def _filter(a: Aggregate) -> _Filter:
    return (a.table, a.scope, a.type, a.direction, a.role, a.channel, a.rank, a.stage)
