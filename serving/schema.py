"""The strict reader of score requests, and the one shape of every error.

The published models stand in ``serving.openapi``. They are not what reads: the reader knows the columns that the
model's data set declares, sees repeated keys, gives every fault a code and its JSON path, floors times and fixes values
as ``features.contract`` says, and makes the canonical records in one pass.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

from features.contract import (
    ALWAYS,
    DAY,
    KEYS,
    STANDARD,
    TIME_MAX,
    TIME_MIN,
    Column,
    Dataset,
    clean_text,
    format_time,
    parse_date,
    parse_time,
    to_micro,
)
from features.errors import BadInput, LeadscoreError
from features.records import Event, Outcome, Records, Version, Versions
from serving.openapi import Related, ScoreRequest

# ------------------------------------------------------------------------------------------------------------ errors

STATUS: Mapping[str, int] = {
    "bad_json": 400,
    "bad_encoding": 400,
    "empty_body": 400,
    "too_deep": 400,
    "number_too_long": 400,
    "incomplete_body": 400,
    "unknown_path": 404,
    "unknown_goal": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "body_too_large": 413,
    "too_many_items": 413,
    "unsupported_media_type": 415,
    "internal": 500,
    "no_champion": 503,
}


def status_of(code: str) -> int:
    """The HTTP status of an error code; a fault of the request's content is 422."""
    return STATUS.get(code, 422)


def error_body(error: LeadscoreError) -> dict[str, Any]:
    """The one shape of every error."""
    return {
        "error": {"code": error.code, "message": error.message, "where": error.where, "remedy": error.remedy},
    }


def _within(error: BadInput, place: str) -> BadInput:
    """The error with its path prolonged to the front; faults carry relative paths until they leave the reader."""
    if not error.where:
        error.where = place
    elif place:
        error.where = f"{place}{error.where}" if error.where.startswith("[") else f"{place}.{error.where}"
    return error


def _optional(error: BadInput) -> BadInput:
    """The error of a field that need not be there: one way out more."""
    if error.code in ("wrong_type", "empty_key"):
        error.remedy = f"{error.remedy.removesuffix('.')}, or leave it out."
    return error


def _shown(name: str) -> str:
    """A field's name for a path: bounded, since anybody may send anything."""
    return name if len(name) <= 80 else name[:77] + "..."


# ----------------------------------------------------------------------------------------------------------- decoding


class _Repeated(dict[str, Any]):
    """An object that names one key twice: no plain dict, so that the reader stumbles over it where it stands."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    repeated = _Repeated(made)
    repeated.key = key
    return repeated


_decode = json.JSONDecoder(object_pairs_hook=_object).decode


def decode(body: bytes | str) -> Any:
    """The JSON value of a body, ready for ``RequestReader.read``.

    Raises BadInput ``bad_encoding``, ``empty_body``, ``bad_json``, ``too_deep`` or ``number_too_long``. Repeated
    keys and non-finite numbers are let through, marked; the reader names their place.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        try:
            body = str(body, "utf-8")
        except UnicodeDecodeError as e:
            raise BadInput(
                "bad_encoding", "the body is not UTF-8.", where=f"byte {e.start}", remedy="Send JSON encoded in UTF-8."
            ) from None
    if not body or body.isspace():
        raise BadInput("empty_body", "the body is empty.", remedy="Send a JSON object.")
    try:
        return _decode(body)
    except json.JSONDecodeError as e:
        marked = body.startswith("\ufeff")
        raise BadInput(
            "bad_json",
            "the body begins with a byte order mark (BOM)." if marked else f"the body is not valid JSON: {e.msg}.",
            where=f"line {e.lineno}, column {e.colno}",
            remedy="Send UTF-8 without the mark." if marked else "Mend the syntax there.",
        ) from None
    except RecursionError:
        raise BadInput(
            "too_deep", "the body is nested too deeply.", remedy="Send the flat records of the contract."
        ) from None
    except ValueError:  # Python's limit on the digits of an integer
        raise BadInput(
            "number_too_long", "a number has too many digits.", remedy="Send numbers of ordinary size."
        ) from None


# ---------------------------------------------------------------------------------------------------- single values


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "an object"


def _wrong(value: Any, expected: str) -> BadInput:
    if isinstance(value, _Repeated):
        return BadInput(
            "duplicate_key",
            "the object holds this key twice.",
            where=_shown(value.key),
            remedy="Keep one of them.",
        )
    if isinstance(value, float) and not math.isfinite(value):
        return BadInput("non_finite", "the number is not finite.", remedy="Send a finite number, or null for unknown.")
    return BadInput(
        "wrong_type",
        f"{_kind(value)} stands where {expected} is expected.",
        remedy=f"Send {expected}.",
    )


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _wrong(value, "a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadInput(
                "bad_text", "the text holds half of a surrogate pair.", remedy="Send well-formed Unicode."
            ) from None
    if "\0" in value:
        raise BadInput("bad_text", "the text holds a NUL character.", remedy="Remove it.")
    return value


def _key(value: Any) -> str:
    text = _text(value)
    if not text:
        raise BadInput("empty_key", "an identifier is empty.", remedy="Send the identifier.")
    return text


def _category(value: Any) -> str | None:
    return clean_text(_text(value))


def _enum(values: tuple[str, ...]) -> Callable[[Any], str | None]:
    known = frozenset(values)
    listed = ", ".join(values)

    def read(value: Any) -> str | None:
        if type(value) is str and value in known:
            return value
        text = _category(value)
        if text is not None and text not in known:
            raise BadInput(
                "unknown_value", f"the value is none of: {listed}.", remedy=f"Send one of: {listed}, or null."
            )
        return text

    return read


def _number(value: Any) -> float:
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise BadInput("non_finite", "the number is too large.", remedy="Send a finite number.") from None
    if type(value) is not float or not math.isfinite(value):
        raise _wrong(value, "a number")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong(value, "true or false")
    return value


def _value(value: Any) -> int:
    if type(value) is not int and (type(value) is not float or not math.isfinite(value)):
        raise _wrong(value, "a number")
    try:
        return to_micro(value)
    except ValueError as e:
        raise BadInput(
            "value_out_of_range", f"{e}.", remedy="Send the value in a larger unit, the same as in training."
        ) from None


_iso = datetime.fromisoformat
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _time(value: Any) -> int:
    if type(value) is not str:
        raise _wrong(value, "a time")
    # The commonest form, five times faster than the contract's reader; all others, and all faults, are left to that.
    if (
        len(value) == 20
        and value[19] == "Z"
        and value[16] == value[13] == ":"
        and value[10] == "T"
        and value[7] == value[4] == "-"
    ):
        try:
            micros = (_iso(value) - _EPOCH) // _MICROSECOND
        except ValueError:
            pass
        else:
            if TIME_MIN <= micros <= TIME_MAX:
                return micros
    try:
        return parse_time(value)
    except ValueError as e:
        zoneless = "no zone" in str(e)
        raise BadInput(
            "zoneless_time" if zoneless else "bad_time",
            f"{e}.",
            remedy="Send an ISO 8601 time with its zone, for example 2026-03-01T09:00:00Z.",
        ) from None


def _date(value: Any) -> int:
    if type(value) is not str:
        raise _wrong(value, "a date")
    try:
        return parse_date(value)
    except ValueError as e:
        raise BadInput("bad_date", f"{e}.", remedy="Send a day as YYYY-MM-DD.") from None


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "key": _key,
    "category": _category,
    "text": _category,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
    "date": _date,
    "value": _value,
}


def _reader(column: Column) -> Callable[[Any], Any]:
    return _enum(column.values) if column.kind == "enum" else _READERS[column.kind]


def _missing(name: str, reason: str = "") -> BadInput:
    return BadInput(
        "missing_field", f"the field is required{reason}.", where=name, remedy=f"Send {name}, and not as null."
    )


# ------------------------------------------------------------------------------------------------------------- requests


@dataclass(frozen=True)
class ParsedRequest:
    """A request in canonical form: the records, t in microseconds, the goal asked for (None: the default)."""

    records: Records
    as_of: int
    goal: str | None
    warnings: tuple[dict[str, str], ...] = ()


_Row = dict[str, Any]
_REQUEST = frozenset(ScoreRequest.model_fields)
_RELATED = frozenset(Related.model_fields)
_CLOCK_SKEW = DAY // 24  # of a caller's clock ahead of ours, before we speak of it
_UNDROPPABLE = frozenset({"prospect_id", "account_id", "contact_id", "created_at", "observed_at"})


class _StateReader:
    """Reads the rows of one state table: standard fields beside one another, declared ones under ``attributes``."""

    def __init__(self, table: str, dataset: Dataset) -> None:
        self.table = table
        columns = dataset.columns(table)
        standard = {c.name for c in STANDARD[table]}
        dropped = {n for n, c in columns.items() if c.known == "never"} - _UNDROPPABLE
        self.fields = {n: (_reader(columns[n]), n not in dropped) for n in standard}
        self.declared = {n: (_reader(c), n not in dropped) for n, c in columns.items() if n not in standard}
        self.required = tuple(c.name for c in STANDARD[table] if c.required and c.name != "account_id")
        self.demanded = frozenset({*self.required, "observed_at"})  # the latter in a list of versions
        self.empty: _Row = dict.fromkeys(columns)

    def read(self, data: Any) -> _Row:
        """A row with every column of the table, None where unknown; times in microseconds."""
        if type(data) is not dict:
            raise _wrong(data, "an object")
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
                    raise _within(e if name in self.demanded else _optional(e), name) from None
                if kept:
                    row[name] = value
        return row

    def _attributes(self, data: Any, row: _Row) -> None:
        if type(data) is not dict:
            raise _within(_optional(_wrong(data, "an object")), "attributes")
        for name, value in data.items():
            found = self.declared.get(name)
            if found is None:
                raise self._undeclared(name)
            if value is not None:
                read, kept = found
                try:
                    value = read(value)
                except BadInput as e:
                    raise _within(_optional(e), f"attributes.{_shown(name)}") from None
                if kept:
                    row[name] = value

    def _unknown(self, name: str) -> BadInput:
        if name in self.declared:
            return BadInput(
                "unknown_field",
                "the column is a declared one and has its place under `attributes`.",
                where=_shown(name),
                remedy="Move it into `attributes`.",
            )
        return _unknown_field(name, (*self.fields, "attributes"))

    def _undeclared(self, name: str) -> BadInput:
        if name in self.fields:
            return BadInput(
                "undeclared_column",
                "this is a standard field and stands beside `attributes`, not in it.",
                where=f"attributes.{_shown(name)}",
                remedy="Move it out of `attributes`.",
            )
        listed = ", ".join(self.declared) or "none"
        return BadInput(
            "undeclared_column",
            f"the model's data set declares no such column of {self.table}.",
            where=f"attributes.{_shown(name)}",
            remedy=f"Leave it out, or declare it in dataset.toml under [{self.table}.columns] and train again; "
            f"declared: {listed}.",
        )


def _unknown_field(name: str, known: Iterable[str]) -> BadInput:
    return BadInput(
        "unknown_field",
        "the field is not part of the contract.",
        where=_shown(name),
        remedy=f"Remove it; known fields: {', '.join(sorted(known))}.",
    )


def _fact_reader(table: str) -> Mapping[str, Callable[[Any], Any]]:
    return {c.name: _reader(c) for c in STANDARD[table]}


_EVENT = _fact_reader("events")
_EVENT_FIELDS = frozenset(_EVENT)
_direction = _EVENT["direction"]
_OUTCOME = _fact_reader("outcomes")
# In both tables, which share these names; prospect_id among the related.
_DEMANDED = frozenset(c.name for table in ("events", "outcomes") for c in STANDARD[table] if c.required)


def _fact(data: Any, fields: Mapping[str, Callable[[Any], Any]]) -> _Row:
    if type(data) is not dict:
        raise _wrong(data, "an object")
    row: _Row = {}
    for name, value in data.items():
        read = fields.get(name)
        if read is None:
            raise _unknown_field(name, fields)
        if value is not None:
            try:
                row[name] = read(value)
            except BadInput as e:
                raise _within(e if name in _DEMANDED else _optional(e), name) from None
    return row


@dataclass(frozen=True)
class _Scope:
    """Whose facts a list may hold: the prospect's own, or those of its related prospects.

    ``created`` maps the prospects in question to their creation; None where they are unknown.
    """

    own: str
    related: bool
    created: Mapping[str, int] | None

    def owner(self, row: _Row) -> str:
        """The prospect that a fact belongs to."""
        named: str | None = row.get("prospect_id")
        if not self.related:
            if named is not None and named != self.own:
                raise _mismatch("prospect_id", "the record names another prospect than the one it stands with")
            return self.own
        if named is None:
            raise _missing("prospect_id", " in a related list")
        if named == self.own:
            raise _itself("prospect_id")
        if self.created is not None and named not in self.created:
            raise BadInput(
                "unknown_prospect",
                "the record names a prospect that is not among the related ones.",
                where="prospect_id",
                remedy="Add that prospect to related.prospects, or remove the record.",
            )
        return named


def _event(data: Any, scope: _Scope) -> Event:
    """An event: the ordinary ones, which are nearly all, in one straight line, any other field by field."""
    if type(data) is dict and data.keys() <= _EVENT_FIELDS:
        get = data.get
        event_id, kind, contact_id, channel = get("event_id"), get("type"), get("contact_id"), get("channel")
        if (
            type(event_id) is str
            and event_id.isascii()
            and event_id.isprintable()
            and event_id
            and type(kind) is str
            and kind.isascii()
            and kind.isprintable()
            and (kind := kind.strip(" "))
            and (contact_id is None or (type(contact_id) is str and contact_id.isalnum() and contact_id.isascii()))
            and (channel is None or (type(channel) is str and channel.isalnum() and channel.isascii()))
            and get("prospect_id") in (None, scope.own)
            and not scope.related
        ):
            try:
                direction, value, recorded_at = get("direction"), get("value"), get("recorded_at")
                if direction is not None:
                    direction = _direction(direction)
                if value is not None:
                    value = _value(value)
                occurred_at = _time(get("occurred_at"))
                recorded_at = occurred_at if recorded_at is None else _time(recorded_at)
            except BadInput:
                pass  # told with its place below
            else:
                row = (event_id, scope.own, kind, occurred_at, recorded_at, contact_id, direction, channel, value)
                return tuple.__new__(Event, row)  # half the time of Event(...)
    return _careful_event(data, scope)


def _careful_event(data: Any, scope: _Scope) -> Event:
    row = _fact(data, _EVENT)
    get = row.get
    event_id, kind, occurred_at = get("event_id"), get("type"), get("occurred_at")
    if event_id is None or kind is None or occurred_at is None:
        raise _missing("event_id" if event_id is None else "type" if kind is None else "occurred_at")
    recorded_at = get("recorded_at")
    return Event(
        event_id,
        scope.owner(row),
        kind,
        occurred_at,
        occurred_at if recorded_at is None else recorded_at,
        get("contact_id"),
        get("direction"),
        get("channel"),
        get("value"),
    )


def _outcome(data: Any, scope: _Scope) -> Outcome:
    row = _fact(data, _OUTCOME)
    outcome, occurred_at = row.get("outcome"), row.get("occurred_at")
    if outcome is None or occurred_at is None:
        raise _missing("outcome" if outcome is None else "occurred_at")
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


def _facts(data: Any, place: str, scope: _Scope, read: Callable[[Any, _Scope], Any], seen: _Row) -> Any:
    """The facts of one list, identical repeats collapsed to the smallest ``recorded_at``; None for an absent list.

    ``seen`` maps ids to facts and is shared by the own and the related list: an id is one fact wherever it stands.
    Events and outcomes both hold the id at index 0 and ``recorded_at`` at index 4.
    """
    if data is None:
        return None
    before = len(seen)
    for index, item in enumerate(_list(data, place)):
        try:
            fact = read(item, scope)
            known = seen.setdefault(fact[0], fact)
            if known is not fact:
                if known._replace(recorded_at=0) != fact._replace(recorded_at=0):
                    raise BadInput(
                        "conflicting_event" if type(fact) is Event else "conflicting_outcome",
                        "the id comes twice, with two contents.",
                        remedy="A fact never changes: send a correction under an id of its own.",
                    )
                if fact.recorded_at < known.recorded_at:
                    seen[fact[0]] = fact
        except BadInput as e:
            raise _within(e, f"{place}[{index}]") from None
    return tuple(islice(seen.values(), before, None))


_Placed = tuple[str, _Row]  # a row and its path


class RequestReader:
    """Reads score requests for one declared data set; make one per model and keep it."""

    def __init__(self, dataset: Dataset) -> None:
        self._prospects = _StateReader("prospects", dataset)
        self._accounts = _StateReader("accounts", dataset)
        self._contacts = _StateReader("contacts", dataset)

    def read(self, data: Any, now: int, place: str = "") -> ParsedRequest:
        """A decoded request in canonical form; ``now`` (microseconds) is the default of ``as_of``.

        Raises BadInput with a code and the JSON path; ``place`` is put before the path.
        """
        try:
            return self._read(data, now)
        except BadInput as e:
            raise (_within(e, place) if place else e) from None

    def _read(self, data: Any, now: int) -> ParsedRequest:
        if type(data) is not dict:
            raise _wrong(data, "an object")
        if not data.keys() <= _REQUEST:
            raise _unknown_field(next(k for k in data if k not in _REQUEST), _REQUEST)
        get = data.get
        goal = _field(data, "goal", _category)
        as_of = _field(data, "as_of", _time)
        if get("prospect") is None:
            raise _missing("prospect")
        rows = self._rows(self._prospects, get("prospect"), "prospect")
        prospect_id, created_at = _identity(rows)
        if created_at > (now if as_of is None else as_of):
            raise BadInput(
                "as_of_before_creation",
                "the prospect did not exist yet at the time to score at.",
                where="prospect.created_at" if as_of is None else "as_of",
                remedy="Send an as_of at or after the prospect's created_at.",
            )
        related = _part(data, "related", _RELATED)
        siblings = self._many(self._prospects, related, "prospects", "related.prospects")
        accounts = None if get("account") is None else self._rows(self._accounts, data["account"], "account")
        ids = _accounts_of(rows, accounts, siblings)
        others = None if siblings is None else _related(siblings, prospect_id, ids)
        own = _Scope(prospect_id, False, {prospect_id: created_at})
        created = None if others is None else {p: v[0].values["created_at"] for p, v in others.items()}
        theirs = _Scope(prospect_id, True, created)
        seen: _Row = {}
        events = _facts(get("events"), "events", own, _event, seen)
        related_events = _facts((related or {}).get("events"), "related.events", theirs, _event, seen)
        seen = {}
        outcomes = _facts(get("outcomes"), "outcomes", own, _outcome, seen)
        related_outcomes = _facts((related or {}).get("outcomes"), "related.outcomes", theirs, _outcome, seen)
        contacts = self._many(self._contacts, data, "contacts", "contacts")
        records = Records(
            prospect_id=prospect_id,
            prospect=_versions(rows, "prospect_id")[prospect_id],
            accounts=None if accounts is None else _versions(accounts, "account_id"),
            contacts=None if contacts is None else _people(contacts, ids),
            events=events,
            outcomes=outcomes,
            related=others,
            related_events=related_events,
            related_outcomes=related_outcomes,
        )
        return ParsedRequest(records, now if as_of is None else as_of, goal, _notices(as_of, now))

    def _rows(self, reader: _StateReader, data: Any, place: str) -> list[_Placed]:
        """One record or a list of its versions, each with its path."""
        if type(data) is not list:
            return [(place, self._row(reader, data, place))]
        if not data:
            raise BadInput(
                "empty_list", "the list of versions is empty.", where=place, remedy="Send at least one version."
            )
        out = []
        for index, version in enumerate(data):
            where = f"{place}[{index}]"
            row = self._row(reader, version, where)
            if row["observed_at"] is None:
                raise _within(_missing("observed_at", " in a list of versions"), where)
            out.append((where, row))
        return out

    def _row(self, reader: _StateReader, data: Any, place: str) -> _Row:
        try:
            row = reader.read(data)
            for name in reader.required:
                if row[name] is None:
                    raise _missing(name)
        except BadInput as e:
            raise _within(e, place) from None
        return row

    def _many(self, reader: _StateReader, data: Any, name: str, place: str) -> list[_Placed] | None:
        """A list of records, each one or a list of its versions."""
        if data is None or data.get(name) is None:
            return None
        key = KEYS[reader.table]
        out: list[_Placed] = []
        for index, item in enumerate(_list(data[name], place)):
            rows = self._rows(reader, item, f"{place}[{index}]")
            for where, row in rows[1:]:
                if row[key] != rows[0][1][key]:
                    raise _mismatch(f"{where}.{key}", "versions of one record bear one id")
            out.extend(rows)
        return out


def _field(data: _Row, name: str, read: Callable[[Any], Any]) -> Any:
    value = data.get(name)
    if value is None:
        return None
    try:
        return read(value)
    except BadInput as e:
        raise _within(_optional(e), name) from None


def _list(value: Any, place: str) -> list[Any]:
    if type(value) is not list:
        raise _within(_optional(_wrong(value, "a list")), place)
    return value


def _part(data: _Row, name: str, known: frozenset[str]) -> _Row | None:
    value = data.get(name)
    if value is None:
        return None
    if type(value) is not dict:
        raise _within(_optional(_wrong(value, "an object")), name)
    for field in value:
        if field not in known:
            raise _within(_unknown_field(field, known), name)
    return value


def _mismatch(where: str, rule: str) -> BadInput:
    return BadInput("id_mismatch", f"the ids do not agree: {rule}.", where=where, remedy="Correct it, or leave it out.")


def _identity(rows: list[_Placed]) -> tuple[str, int]:
    """The id and the creation that all versions of a prospect share."""
    first = rows[0][1]
    for where, row in rows[1:]:
        if row["prospect_id"] != first["prospect_id"]:
            raise _mismatch(f"{where}.prospect_id", "versions of one record bear one id")
        if row["created_at"] != first["created_at"]:
            raise BadInput(
                "created_at_changes",
                "two versions of the prospect were created at two times.",
                where=f"{where}.created_at",
                remedy="A prospect is created once: send the same created_at in every version.",
            )
    return first["prospect_id"], first["created_at"]


def _named(rows: Iterable[_Placed]) -> dict[str, str]:
    """The accounts that the rows name, each with the path of its first naming."""
    out: dict[str, str] = {}
    for where, row in rows:
        if row["account_id"] is not None:
            out.setdefault(row["account_id"], f"{where}.account_id")
    return out


def _accounts_of(rows: list[_Placed], accounts: list[_Placed] | None, siblings: list[_Placed] | None) -> set[str]:
    """The accounts that the prospect belongs or belonged to; fills in what its place implies.

    Records that stand together without naming their account belong to one whose id is unknown: ``""`` stands for it.
    """
    own, given = _named(rows), _named(accounts or ())
    for account_id, where in given.items():
        if own and account_id not in own:
            raise _mismatch(where, "the prospect names another account")
    known = own or given or _named(siblings or ())
    if not own:
        if len(known) > 1:
            raise _within(_missing("account_id", ", since several accounts are named"), rows[0][0])
        if not known and (accounts is not None or siblings is not None):
            known = {"": ""}
        for _, row in rows:
            row["account_id"] = next(iter(known), None)
    for where, row in accounts or ():
        if row["account_id"] is None:
            if len(known) > 1:
                raise _within(_missing("account_id", ", since the prospect names several accounts"), where)
            row["account_id"] = next(iter(known))
    return set(known)


def _versions(rows: Iterable[_Placed], key: str) -> dict[str, Versions]:
    """The versions by id, in the order of time; identical repeats collapsed."""
    found: dict[str, dict[int, _Row]] = {}
    for where, row in rows:
        since = row["observed_at"]
        if since is None:
            since = row.get("created_at", ALWAYS)
        known = found.setdefault(row[key], {})
        other = known.setdefault(since, row)
        if other is not row and {**other, "observed_at": None} != {**row, "observed_at": None}:
            raise BadInput(
                "conflicting_versions",
                "two differing versions of the record are known from the same moment.",
                where=where,
                remedy="Send one of them, or give each its own observed_at.",
            )
    return {
        name: tuple(Version(since, versions[since]) for since in sorted(versions)) for name, versions in found.items()
    }


def _by_id(rows: Iterable[_Placed], key: str) -> dict[str, list[_Placed]]:
    out: dict[str, list[_Placed]] = {}
    for placed in rows:
        out.setdefault(placed[1][key], []).append(placed)
    return out


def _agree(rows: list[_Placed], ids: set[str]) -> None:
    """At some time the record must have belonged to one of the prospect's accounts."""
    named = _named(rows)
    if named and ids and ids.isdisjoint(named):
        raise _mismatch(next(iter(named.values())), "the prospect belongs to another account")


def _related(rows: list[_Placed], prospect_id: str, ids: set[str]) -> dict[str, Versions]:
    for sibling, versions in _by_id(rows, "prospect_id").items():
        if sibling == prospect_id:
            raise _itself(f"{versions[0][0]}.prospect_id")
        _identity(versions)
        _agree(versions, ids)
        if not _named(versions):
            if len(ids) > 1:
                reason = ", since the prospect names several accounts"
                raise _within(_missing("account_id", reason), versions[0][0])
            for _, row in versions:
                row["account_id"] = next(iter(ids))
    return _versions(rows, "prospect_id")


def _people(rows: list[_Placed], ids: set[str]) -> dict[str, Versions]:
    for versions in _by_id(rows, "contact_id").values():
        _agree(versions, ids)
        if len(ids) == 1:
            for _, row in versions:
                if row["account_id"] is None:
                    row["account_id"] = next(iter(ids))
    return _versions(rows, "contact_id")


def _itself(where: str) -> BadInput:
    return BadInput(
        "related_to_itself",
        "the prospect itself stands among its related ones.",
        where=where,
        remedy="Send its records in `events` and `outcomes`, and only other prospects under `related`.",
    )


def _notices(as_of: int | None, now: int) -> tuple[dict[str, str], ...]:
    if as_of is None or as_of <= now + _CLOCK_SKEW:
        return ()
    text = f"as_of lies after {format_time(now)}, when the request came: what happens until then is not known."
    return ({"code": "as_of_in_future", "text": text},)


def goal_of(data: Any) -> str | None:
    """The goal that a decoded request asks for, None for the default; raises BadInput where it is no text."""
    return _field(data, "goal", _category) if type(data) is dict else None


def items_of(data: Any, most: int) -> list[Any]:
    """The items of a decoded batch; raises BadInput where the frame is wrong or holds more than ``most``."""
    if type(data) is not dict:
        raise _wrong(data, "an object")
    for name in data:
        if name != "items":
            raise _unknown_field(name, ("items",))
    if data.get("items") is None:
        raise _missing("items")
    items = data["items"]
    if type(items) is not list:
        raise _within(_wrong(items, "a list"), "items")
    if len(items) > most:
        raise BadInput(
            "too_many_items",
            f"the batch holds {len(items)} items, more than {most}.",
            where="items",
            remedy="Send several batches.",
        )
    return items


@lru_cache(maxsize=16)
def _reader_of(dataset: Dataset) -> RequestReader:
    return RequestReader(dataset)


def parse_request(body: bytes | str | dict[str, Any], dataset: Dataset, now: int) -> ParsedRequest:
    """The canonical form of one score request: a JSON body, or what ``decode`` or ``json.loads`` made of it.

    ``now`` (microseconds since 1970) is the default of ``as_of``. Raises BadInput; nothing is coerced or guessed.
    """
    data = body if isinstance(body, dict) else decode(body)
    return _reader_of(dataset).read(data, now)
