"""What a CRM sends to be kept, read: strictly as a score request is, and brought into one form to be compared by.

The canonical text of a record holds neither the ids that say whom it is about nor the times that the store stamps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from features.contract import DAY, KEYS, STANDARD, Column, Dataset
from features.errors import BadInput
from serving.faults import mismatch, missing, optional, shown, within
from serving.ledger import Fact, State
from serving.ledger import text_of as _write
from serving.rows import Row, Scope, StateReader, careful_event, read_outcome
from serving.values import plain, read_category, reader_of, wrong

_AHEAD = DAY // 24  # how far a sender's clock may be ahead of ours
_LONGEST = 256  # characters of an id: what an index of PostgreSQL holds in any case
_ID = reader_of(Column("id", "key"))
_OUTCOME_FIELDS = tuple(c for c in STANDARD["outcomes"] if c.name not in ("prospect_id", "recorded_at", "outcome_id"))
_EVENT_FIELDS = tuple(
    c
    for c in STANDARD["events"]
    if c.name not in ("event_id", "prospect_id", "contact_id", "recorded_at", "retracted_at")
)


def read_id(value: Any, where: str) -> str:
    """An id that the store can keep."""
    try:
        text: str = _ID(value)
        if len(text) > _LONGEST:
            raise BadInput(
                "id_too_long",
                f"the id is longer than {_LONGEST} characters.",
                remedy="Send the identifier that your CRM uses itself.",
            )
        return one_line(text)
    except BadInput as e:
        raise within(e, where) from None


def one_line(id: str) -> str:
    """The id, which a path can hold; raises BadInput ``bad_id``, without a place, where it has a line break."""
    if "\n" in id:  # a path ends there for those who route it: the record could be neither read nor erased
        raise BadInput("bad_id", "the id has a line break.", remedy="Send the identifier that your CRM uses itself.")
    return id


def union(datasets: Iterable[Dataset]) -> Dataset | None:
    """One data set that declares what any of these does, the first coming first; None for none.

    Columns that are filled in hindsight are kept too: no feature may name them, a person may.
    """
    declared: dict[str, dict[str, Column]] = {}
    some = False
    for dataset in datasets:
        some = True
        for table in KEYS:
            for name, column in dataset.columns(table).items():
                declared.setdefault(table, {}).setdefault(name, replace(column, known="observed"))
    if not some:
        return None
    return Dataset(declared=tuple((table, tuple(columns.values())) for table, columns in declared.items()))


class Intake:
    """Reads what is to be kept. ``dataset`` says which columns are declared; None: any, since no model is there yet."""

    def __init__(self, dataset: Dataset | None) -> None:
        self._free = dataset is None
        self._readers = {table: StateReader(table, dataset or Dataset()) for table in KEYS}
        self._columns = {
            table: {n: c for n, c in (dataset or Dataset()).columns(table).items() if n != KEYS[table]}
            for table in KEYS
        }

    def state(self, kind: str, id: str, data: Any, now: int, created_at: int | None = None) -> State:
        """A record of a state table under its id; ``created_at`` stands in where a prospect's is left out.

        Raises BadInput with the path in the record.
        """
        key = KEYS[kind]
        id = read_id(id, key)
        given = data
        if type(data) is dict and self._free:
            given = {name: value for name, value in data.items() if name != "attributes"}
        row = self._readers[kind].read(given)
        if row[key] not in (None, id):
            raise mismatch(key, "the record names another id than its path")
        if row["observed_at"] is not None:
            raise _stamped("observed_at")
        account_id = row.get("account_id") if kind != "accounts" else None
        if account_id is not None:
            read_id(account_id, "account_id")
        if kind == "contacts" and account_id is None:
            raise missing("account_id")
        if kind == "prospects":
            if row["created_at"] is None:
                row["created_at"] = created_at
            if row["created_at"] is None:
                raise missing("created_at")
            _past(row["created_at"], now, "created_at")
        attributes = _scalars(data.get("attributes")) if self._free else None
        record = self.text(kind, row, attributes)
        return State(kind, id, record, account_id, row.get("created_at"))

    def text(self, kind: str, row: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> str:
        """The canonical text of a row of a state table; ``attributes`` are those of a row that declares none."""
        out: Row = {}
        declared: Row = dict(attributes or {})
        standard = {c.name for c in STANDARD[kind]}
        for name, column in self._columns[kind].items():
            value = row.get(name)
            if value is not None and name not in ("account_id", "observed_at"):
                (out if name in standard else declared)[name] = plain(column, value)
        if declared:
            out["attributes"] = declared
        return _write(out)

    def facts(self, kind: str, items: list[Any], now: int, listed: str) -> list[Fact]:
        """Events or outcomes; ``listed`` is the path before the index of each, empty for a single one."""
        out = []
        for index, item in enumerate(items):
            place = f"{listed}{index}]" if listed else ""
            try:
                fact = self._event(item, now) if kind == "events" else self._outcome(item, now)
            except BadInput as e:
                raise within(e, place) from None
            out.append(replace(fact, place=place))
        return out

    def _event(self, data: Any, now: int) -> Fact:
        data, owner = _owned(data)
        replaces = data.pop("replaces", None)
        if replaces is not None:
            replaces = read_id(replaces, "replaces")
        event = careful_event(data, Scope(owner, False, None))
        read_id(event.event_id, "event_id")
        if replaces == event.event_id:
            raise BadInput(
                "replaces_itself", "the event would replace itself.", where="replaces", remedy="Send a new event_id."
            )
        if event.contact_id is not None:
            read_id(event.contact_id, "contact_id")
        _past(event.occurred_at, now, "occurred_at")
        record = event_text(event._asdict())
        return Fact("events", event.event_id, owner, event.occurred_at, record, event.contact_id, replaces=replaces)

    def _outcome(self, data: Any, now: int) -> Fact:
        data, owner = _owned(data)
        outcome = read_outcome(data, Scope(owner, False, None))
        if data.get("outcome_id") is not None:
            read_id(outcome.outcome_id, "outcome_id")
        _past(outcome.occurred_at, now, "occurred_at")
        given = data.get("outcome_id") is not None
        return outcome_fact(owner, outcome.outcome, outcome.occurred_at, outcome.outcome_id if given else None)


def outcome_fact(
    owner: str, outcome: str, occurred_at: int, outcome_id: str | None, recorded_at: int | None = None
) -> Fact:
    """An outcome as it is kept: without an id of its own, under one made of what it says."""
    row = {"outcome": outcome, "occurred_at": occurred_at}
    key, record = outcome_id, {c.name: plain(c, row[c.name]) for c in _OUTCOME_FIELDS}
    if key is None:
        key = "=" + hashlib.sha256(f"{owner}|{outcome}|{occurred_at}".encode()).hexdigest()
    else:
        record["outcome_id"] = key
    return Fact("outcomes", key, owner, occurred_at, _write(record), recorded_at=recorded_at)


def event_text(row: Mapping[str, Any]) -> str:
    """The canonical text of an event."""
    return _write({c.name: plain(c, row[c.name]) for c in _EVENT_FIELDS if row.get(c.name) is not None})


def _owned(data: Any) -> tuple[Row, str]:
    """A fact without what the store says itself, and the prospect that it must name."""
    if type(data) is not dict:
        raise wrong(data, "an object")
    for name in ("recorded_at", "retracted_at"):
        if data.get(name) is not None:
            raise _stamped(name)
    if data.get("prospect_id") is None:
        raise missing("prospect_id")
    return dict(data), read_id(data["prospect_id"], "prospect_id")


def _stamped(name: str) -> BadInput:
    return BadInput(
        "stamped_here",
        "this time is stamped by the store, on arrival.",
        where=name,
        remedy="Leave it out; to bring history with its own times, use: leadscore load DATA.",
    )


def _past(at: int, now: int, where: str) -> None:
    if at > now + _AHEAD:
        raise BadInput(
            "future_time",
            "this lies in the future.",
            where=where,
            remedy="Send it once it has happened, with the time in UTC or with its zone.",
        )


def _scalars(data: Any) -> Row:
    """Attributes that no model has declared yet: texts, numbers, booleans."""
    if data is None:
        return {}
    if type(data) is not dict:
        raise within(optional(wrong(data, "an object")), "attributes")
    out: Row = {}
    number = reader_of(Column("", "number"))
    for name, value in data.items():
        try:
            read_category(name)
            if isinstance(value, str):
                value = read_category(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                value = plain(Column("", "number"), number(value))
            elif value is not None and not isinstance(value, bool):
                raise optional(wrong(value, "a text, a number, true or false"))
        except BadInput as e:
            raise within(e, f"attributes.{shown(name)}") from None
        if value is not None:
            out[name] = value
    return out
