"""One record of a request: a row of a state table, an event or an outcome, canonical, with the path of every fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from pydantic_core import from_json

from features.compiled import compiled
from features.contract import ALWAYS, DIRECTIONS, MICRO, STANDARD, Dataset
from features.errors import BadInput
from features.records import Event, Outcome, first_recorded
from serving.faults import itself, mismatch, missing, optional, shown, unknown_field, within
from serving.values import ReadEvents, read_list, read_time, read_value, reader_of, wrong

Row = dict[str, Any]
_UNDROPPABLE = frozenset({"prospect_id", "account_id", "contact_id", "created_at", "observed_at"})


class StateReader:
    """Reads the rows of one state table: standard fields beside one another, declared ones under ``attributes``."""

    def __init__(self, table: str, dataset: Dataset) -> None:
        self.table = table
        columns = dataset.columns(table)
        standard = {c.name for c in STANDARD[table]}
        dropped = {n for n, c in columns.items() if c.known == "never"} - _UNDROPPABLE
        self.fields = {n: (reader_of(columns[n]), n not in dropped) for n in standard}
        self.declared = {n: (reader_of(c), n not in dropped) for n, c in columns.items() if n not in standard}
        self.required = tuple(c.name for c in STANDARD[table] if c.required and c.name != "account_id")
        self.demanded = frozenset({*self.required, "observed_at"})  # the latter in a list of versions
        self.empty: Row = dict.fromkeys(columns)
        build = compiled("serving._rows", "StateColumns", None)
        kinds = {n: "" if c.form else c.kind for n, c in columns.items()}  # a form is left to its own reader
        quick = {n: (kinds[n], n not in dropped, frozenset(c.values)) for n, c in columns.items()}
        beside = {n: c for n, c in quick.items() if n in standard}
        inside = {n: c for n, c in quick.items() if n not in standard}
        self.compiled = None if build is None else build(beside, inside, self.empty)

    def read(self, data: Any) -> Row:
        """A row with every column of the table, None where unknown; times in microseconds."""
        if self.compiled is not None:
            quick: Row | None = self.compiled.read(data)
            if quick is not None:
                return quick
        if type(data) is not dict:
            raise wrong(data, "an object")
        row = self.empty.copy()
        fields = self.fields
        for name, value in data.items():
            found = fields.get(name)
            if found is None:
                if name != "attributes":
                    raise self._unknown(name)
                if value is not None:
                    self._attributes(value, row)
            elif value is not None:
                read, kept = found
                try:
                    value = read(value)
                except BadInput as e:
                    raise within(e if name in self.demanded else optional(e), name) from None
                if kept:
                    row[name] = value
        return row

    def _attributes(self, data: Any, row: Row) -> None:
        if type(data) is not dict:
            raise within(optional(wrong(data, "an object")), "attributes")
        for name, value in data.items():
            found = self.declared.get(name)
            if found is None:
                raise self._undeclared(name)
            if value is not None:
                read, kept = found
                try:
                    value = read(value)
                except BadInput as e:
                    raise within(optional(e), f"attributes.{shown(name)}") from None
                if kept:
                    row[name] = value

    def _unknown(self, name: str) -> BadInput:
        if name in self.declared:
            return BadInput(
                "unknown_field",
                "the column is a declared one and has its place under `attributes`.",
                where=shown(name),
                remedy="Move it into `attributes`.",
            )
        return unknown_field(name, (*self.fields, "attributes"))

    def _undeclared(self, name: str) -> BadInput:
        if name in self.fields:
            return BadInput(
                "undeclared_column",
                "this is a standard field and stands beside `attributes`, not in it.",
                where=f"attributes.{shown(name)}",
                remedy="Move it out of `attributes`.",
            )
        listed = ", ".join(self.declared) or "none"
        return BadInput(
            "undeclared_column",
            f"the model's data set declares no such column of {self.table}.",
            where=f"attributes.{shown(name)}",
            remedy=f"Leave it out, or declare it in dataset.toml under [{self.table}.columns] and train again; "
            f"declared: {listed}.",
        )


def _fact_reader(table: str) -> Mapping[str, Callable[[Any], Any]]:
    return {c.name: reader_of(c) for c in STANDARD[table]}


_EVENT = _fact_reader("events")
_ORDINARY = frozenset(_EVENT) - {"retracted_at"}
_direction = _EVENT["direction"]
_OUTCOME = _fact_reader("outcomes")
# In both tables, which share these names; prospect_id among the related.
_DEMANDED = frozenset(c.name for table in ("events", "outcomes") for c in STANDARD[table] if c.required)


def _fact(data: Any, fields: Mapping[str, Callable[[Any], Any]]) -> Row:
    if type(data) is not dict:
        raise wrong(data, "an object")
    row: Row = {}
    for name, value in data.items():
        read = fields.get(name)
        if read is None:
            raise unknown_field(name, fields)
        if value is not None:
            try:
                row[name] = read(value)
            except BadInput as e:
                raise within(e if name in _DEMANDED else optional(e), name) from None
    return row


class Scope(NamedTuple):
    """Whose facts a list may hold: the prospect's own, or those of its related prospects.

    ``created`` maps the prospects in question to their creation; None where they are unknown. ``listed`` is the path
    of their list. An account's facts are all of related prospects, and ``own`` is no id then.
    """

    own: str
    related: bool
    created: Mapping[str, int] | None
    listed: str = "related.prospects"

    def owner(self, row: Row) -> str:
        """The prospect that a fact belongs to."""
        named: str | None = row.get("prospect_id")
        if not self.related:
            if named is not None and named != self.own:
                raise mismatch("prospect_id", "the record names another prospect than the one it stands with")
            return self.own
        if named is None:
            raise missing("prospect_id", f", as in every list beside {self.listed}")
        if named == self.own:
            raise itself("prospect_id")
        if self.created is not None and named not in self.created:
            raise BadInput(
                "unlisted_prospect",
                "the record names a prospect that is not among those given with it.",
                where="prospect_id",
                remedy=f"Add that prospect to {self.listed}, or remove the record.",
            )
        return named


def read_event(data: Any, scope: Scope) -> Event:
    """An event: the ordinary ones, which are nearly all, in one straight line, any other field by field."""
    event = ordinary_event(data, scope)
    return careful_event(data, scope) if event is None else event


def plain_event(data: Any, scope: Scope) -> Event | None:
    """An event as it is sent by nearly everyone; None where it is none."""
    if type(data) is not dict or scope.related or not data.keys() <= _ORDINARY:
        return None
    get = data.get
    event_id, kind, contact_id, channel = get("event_id"), get("type"), get("contact_id"), get("channel")
    if not (
        type(event_id) is str
        and _plain_id(event_id)
        and type(kind) is str
        and (kind in _WORDS or _word(kind))
        and (contact_id is None or (type(contact_id) is str and _plain_id(contact_id)))
        and (channel is None or (type(channel) is str and (channel in _WORDS or _word(channel))))
        and get("prospect_id") in (None, scope.own)
    ):
        return None
    try:
        direction, value, recorded_at = get("direction"), get("value"), get("recorded_at")
        if direction is not None and direction not in _DIRECTIONS:
            direction = _direction(direction)
        if value is not None:
            plain = type(value) is float and -1e9 <= value <= 1e9 and value.is_integer()
            value = int(value) * MICRO if plain else read_value(value)
        occurred_at = read_time(get("occurred_at"))
        recorded_at = occurred_at if recorded_at is None else read_time(recorded_at)
    except (BadInput, TypeError):
        return None  # told with its place by the careful reader
    row = (event_id, scope.own, kind, occurred_at, recorded_at, contact_id, direction, channel, value, None)
    return tuple.__new__(Event, row)  # half the time of Event(...)


def plain_events(items: list[Any], start: int, scope: Scope, seen: Row) -> int:
    """Read the ordinary events from ``start`` on into ``seen``, until any other or one whose id is there; its index."""
    for index in range(start, len(items)):
        event = ordinary_event(items[index], scope)
        if event is None or seen.setdefault(event[0], event) is not event:
            return index
    return len(items)


# Compiled where that was built (``serving/_rows.pyx``).
ordinary_event: Callable[[Any, Scope], Event | None] = compiled("serving._rows", "ordinary_event", plain_event)
ordinary_outcome: Callable[[Any, Scope], Outcome | None] = compiled(
    "serving._rows", "ordinary_outcome", lambda data, scope: None
)
ordinary_events: Callable[[list[Any], int, Scope, Row], int] = compiled(
    "serving._rows", "ordinary_events", plain_events
)
_WORDS: set[str] = set()  # event types and channels that were met, and are kept as they come
_DIRECTIONS = frozenset(DIRECTIONS)


def _plain_id(text: str) -> bool:
    """Whether an id is one that nothing is done to."""
    return text.isascii() and text.isprintable() and text.strip(" ") != ""


def _word(text: str) -> bool:
    """Whether a text is a plain word, which nothing is done to; remembered."""
    if not (text.isascii() and text.isprintable() and text and text[0] != " " and text[-1] != " "):
        return False
    if len(_WORDS) < 10_000 and len(text) <= 100:  # the texts come from outside: bounded
        _WORDS.add(text)
    return True


def careful_event(data: Any, scope: Scope) -> Event:
    """An event, field by field: any that is sound, and the place of what is wrong with any other."""
    row = _fact(data, _EVENT)
    get = row.get
    event_id, kind, occurred_at = get("event_id"), get("type"), get("occurred_at")
    if event_id is None or kind is None or occurred_at is None:
        raise missing("event_id" if event_id is None else "type" if kind is None else "occurred_at")
    recorded_at, retracted_at = get("recorded_at"), get("retracted_at")
    recorded_at = occurred_at if recorded_at is None else recorded_at
    if retracted_at is not None and retracted_at < recorded_at:
        raise BadInput(
            "retracted_before_recorded",
            "the event was retracted before it was recorded, which is by default when it occurred.",
            where="retracted_at",
            remedy="Correct the one or the other, or leave the event out: it was never known.",
        )
    return Event(
        event_id,
        scope.owner(row),
        kind,
        occurred_at,
        recorded_at,
        get("contact_id"),
        get("direction"),
        get("channel"),
        get("value"),
        retracted_at,
    )


def read_outcome(data: Any, scope: Scope) -> Outcome:
    """An outcome; its id is by default made of what it says."""
    outcome = ordinary_outcome(data, scope)
    return careful_outcome(data, scope) if outcome is None else outcome


def careful_outcome(data: Any, scope: Scope) -> Outcome:
    """An outcome, field by field, as ``careful_event`` reads an event."""
    row = _fact(data, _OUTCOME)
    outcome, occurred_at = row.get("outcome"), row.get("occurred_at")
    if outcome is None or occurred_at is None:
        raise missing("outcome" if outcome is None else "occurred_at")
    owner = scope.owner(row)
    if occurred_at < (scope.created or {}).get(owner, ALWAYS):
        raise BadInput(
            "outcome_before_creation",
            "the outcome occurred before its prospect was created.",
            where="occurred_at",
            remedy="Correct the time of the one or of the other.",
        )
    recorded_at = row.get("recorded_at")
    return Outcome(
        row.get("outcome_id") or f"{owner}|{outcome}|{occurred_at}",
        owner,
        outcome,
        occurred_at,
        occurred_at if recorded_at is None else recorded_at,
    )


def read_facts(data: Any, place: str, scope: Scope, read: Callable[[Any, Scope], Any], seen: Row) -> Any:
    """The facts of one list, identical repeats collapsed by ``first_recorded``; None for an absent list.

    ``seen`` maps ids to facts and is shared by the own and the related list: an id is one fact wherever it stands.
    Events and outcomes both hold their id at index 0. ``ReadEvents`` are given as they are, and not put there.
    """
    if data is None:
        return None
    if type(data) is ReadEvents:
        if data.prospect_id == scope.own and not scope.related and not seen:
            return data
        data = from_json(data.text)
    items = read_list(data, place)
    if not items:
        return ()
    before, index = len(seen), 0
    while index < len(items):
        if read is read_event:
            index = ordinary_events(items, index, scope, seen)
            if index == len(items):
                break
        try:
            fact = read(items[index], scope)
            known = seen.setdefault(fact[0], fact)
            if known is not fact:
                seen[fact[0]] = first_recorded(known, fact)
        except BadInput as e:
            raise within(e, f"{place}[{index}]") from None
        index += 1
    return tuple(islice(seen.values(), before, None))
