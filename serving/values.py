"""One JSON value of a request: decoded, and read strictly as the column it stands for, as ``features.contract`` says.

Nothing is coerced or guessed. A reader raises BadInput without a place, which its caller adds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from features.compiled import compiled
from features.contract import (
    EPOCH,
    MICRO,
    MICROSECOND,
    TIME_MAX,
    TIME_MIN,
    WHITESPACE,
    Column,
    clean_text,
    format_time,
    parse_date,
    parse_time,
    to_micro,
)
from features.errors import BadInput
from features.firms import clean_number, valid_siren, valid_siret
from serving.faults import optional, shown, within


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


def _plain(body: bytes) -> Any:
    """The value of a body that is plainly sound, in less than half the time; None where that has to be found out.

    Repeated keys are seen by counting. Where no space stands before a colon, every key is followed by ``":`` in the
    body, so that there are at most so many keys; those of the value that was read are counted too, but for the places
    where objects of the contract do not lie. Where the two are equal, no key came twice.
    """
    # To look for a single byte costs next to nothing.
    if any(space in body and space + b":" in body for space in (b" ", b"\n", b"\t", b"\r")):
        return None
    try:
        data = from_json(body, cache_strings="keys")
    except ValueError:
        return None
    if type(data) is not dict:
        return None
    items = data.get("items") if len(data) == 1 else None
    if type(items) is list:
        keys = 1
        for item in items:
            if type(item) is not dict:
                return None
            keys += count_keys(item)
    else:
        keys = count_keys(data)
    return data if keys == body.count(b'":') else None


def plain_keys(data: dict[str, Any]) -> int:
    """The keys of an object, of the objects in it, and of those in the lists in these; no more than there are."""
    count = len(data)
    for part in data.values():
        if type(part) is dict:
            count += len(part)
            for inner in part.values():
                if type(inner) is dict:
                    count += len(inner)
                elif type(inner) is list:
                    count += _listed(inner)
        elif type(part) is list:
            count += _listed(part)
    return count


def _listed(rows: list[Any]) -> int:
    count = 0
    for row in rows:
        if type(row) is dict:
            count += len(row)
            if "attributes" in row and type(row["attributes"]) is dict:
                count += len(row["attributes"])
    return count


# Compiled where that was built.
count_keys: Callable[[dict[str, Any]], int] = compiled("serving._rows", "count_keys", plain_keys)

_decode = json.JSONDecoder(object_pairs_hook=_object).decode


class _NeverRead:
    """No events and no requests are read straight from a text, where that was not built."""


# The events of a request, read straight from its text: ordinary ones, of one prospect, each of an id of its own.
ReadEvents: type[Any] = compiled("features._events", "ReadEvents", _NeverRead)
# A request that is plain in all that is asked of it before it is read, where its values are in its text.
ReadRequest: type[Any] = compiled("serving._rows", "ReadRequest", _NeverRead)
_Apart = tuple[bytes, Any]  # a text without its events, and these, None where they stand in it
_events_apart: Callable[[bytes], _Apart | None] = compiled("serving._rows", "events_apart", lambda body: None)
_request_read: Callable[[bytes], Any] = compiled("serving._rows", "request_read", lambda body: None)
_items_apart: Callable[[bytes, int], list[Any] | None] = compiled(
    "serving._rows", "items_apart", lambda body, most: None
)


def _joined(rest: bytes, events: Any) -> Any:
    """The value of a request's text and of its events, None where that is not plain."""
    data = _plain(rest)
    if data is None or events is None:
        return data
    prospect = data.get("prospect")
    own = prospect.get("prospect_id") if type(prospect) is dict else None
    if type(own) is not str or not events.owned(own):
        return None
    data["events"] = events
    return data


def decode_request(body: bytes) -> Any:
    """As ``decode``, for ``RequestReader.read`` alone: with ``ReadEvents`` in place of a list where they are such."""
    found = _events_apart(body)
    data = None if found is None else _joined(*found)
    return decode(body) if data is None else data


def decode_score(body: bytes) -> Any:
    """A request for a score as ``ReadRequest``, or as ``decode_request`` gives it."""
    read = _request_read(body)
    return decode_request(body) if read is None else read


def decode_items(body: bytes, most: int) -> list[Any] | None:
    """Each item of a batch as ``ReadRequest``, or as ``decode_request`` gives it.

    None where the batch is not plain, or of more than ``most`` items.
    """
    items = []
    for found in _items_apart(body, most) or ():
        data = found if type(found) is ReadRequest else _joined(*found)
        if data is None:
            return None
        items.append(data)
    return items or None  # none at all: not plain, or empty


def unread(request: Any) -> Any:
    """What ``decode_request`` gives of the text of a ``ReadRequest``."""
    data = _joined(*request.apart())
    return from_json(request.text, cache_strings="keys") if data is None else data


def listed(data: Any) -> Any:
    """What ``decode`` gives, of what ``decode_request`` or ``decode_items`` gave."""
    if type(data) is ReadRequest:
        return from_json(data.text, cache_strings="keys")
    events: Any = data.get("events") if type(data) is dict else None
    return {**data, "events": from_json(events.text)} if type(events) is ReadEvents else data


def decode(body: bytes | str) -> Any:
    """The JSON value of a body, ready for ``RequestReader.read``.

    Raises BadInput ``bad_encoding``, ``empty_body``, ``bad_json``, ``too_deep`` or ``number_too_long``. Repeated
    keys and non-finite numbers are let through, marked; the reader names their place.
    """
    if isinstance(body, bytes):
        data = _plain(body)
        if data is not None:
            return data
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


def wrong(value: Any, expected: str) -> BadInput:
    """The fault of a value that is not what is expected: of another type, not finite, or an object of two like keys."""
    if isinstance(value, _Repeated):
        return BadInput(
            "duplicate_key",
            "the object holds this key twice.",
            where=shown(value.key),
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
        raise wrong(value, "a text")
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
    if not text.strip(WHITESPACE):
        raise BadInput("empty_key", "an identifier is empty.", remedy="Send the identifier.")
    return text


def _number_of_form(valid: Callable[[str], bool], code: str, what: str) -> Callable[[Any], str | None]:
    def read(value: Any) -> str | None:
        number = clean_number(_text(value))
        if number and not valid(number):
            raise BadInput(code, f"the number is not {what}.", remedy="Correct it, or send null where it is unknown.")
        return number or None

    return read


_FORMS: Mapping[str, Callable[[Any], str | None]] = {
    "siren": _number_of_form(valid_siren, "bad_siren", "a siren: 9 digits, the last of them a check digit"),
    "siret": _number_of_form(
        valid_siret,
        "bad_siret",
        "a siret: the 9 digits of a siren and 5 of an establishment, with their check digits",
    ),
}


def read_category(value: Any) -> str | None:
    """A text after NFC and trim; None where nothing is left."""
    return clean_text(_text(value))


def _enum(values: tuple[str, ...]) -> Callable[[Any], str | None]:
    known = frozenset(values)
    listed = ", ".join(values)

    def read(value: Any) -> str | None:
        if type(value) is str and value in known:
            return value
        text = read_category(value)
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
        raise wrong(value, "a number")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise wrong(value, "true or false")
    return value


def read_value(value: Any) -> int:
    """A ``value`` as an integer of 1e-6."""
    if type(value) is not int and (type(value) is not float or not math.isfinite(value)):
        raise wrong(value, "a number")
    try:
        return to_micro(value)
    except ValueError as e:
        raise BadInput(
            "value_out_of_range", f"{e}.", remedy="Send the value in a larger unit, the same as in training."
        ) from None


_iso = datetime.fromisoformat


def plain_time(value: Any) -> int | None:
    """A time in microseconds since 1970 where it has one of the commonest forms, else None."""
    size = len(value) if type(value) is str else 0
    if (
        (size == 20 or (size in (24, 27) and value[19] == "."))
        and value[-1] == "Z"
        and value[16] == value[13] == ":"
        and value[10] == "T"
        and value[7] == value[4] == "-"
    ):
        try:
            micros = (_iso(value) - EPOCH) // MICROSECOND
        except ValueError:
            return None
        if TIME_MIN <= micros <= TIME_MAX:
            return micros
    return None


# Compiled where that was built, which takes nearly all forms (``serving/_rows.pyx``).
quick_time: Callable[[Any], int | None] = compiled("serving._rows", "quick_time", plain_time)


def read_time(value: Any) -> int:
    """A time in microseconds since 1970."""
    if type(value) is not str:
        raise wrong(value, "a time")
    # What this does not take, and all faults, are left to the contract's reader, which is slower.
    micros = quick_time(value)
    if micros is not None:
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
        raise wrong(value, "a date")
    try:
        return parse_date(value)
    except ValueError as e:
        raise BadInput("bad_date", f"{e}.", remedy="Send a day as YYYY-MM-DD.") from None


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "key": _key,
    "category": read_category,
    "text": read_category,
    "number": _number,
    "boolean": _boolean,
    "time": read_time,
    "date": _date,
    "value": read_value,
}


def reader_of(column: Column) -> Callable[[Any], Any]:
    """What reads the values of a column."""
    if column.form:
        return _FORMS[column.form]
    return _enum(column.values) if column.kind == "enum" else _READERS[column.kind]


def read_list(value: Any, place: str) -> list[Any]:
    """A list as it stands at a path; a fault names that."""
    if type(value) is not list:
        raise within(optional(wrong(value, "a list")), place)
    return value


def plain(column: Column, value: Any) -> Any:
    """A canonical value of a column as a request writes it: what the reader makes that value of again."""
    if column.kind == "time":
        return format_time(value)
    if column.kind == "date":
        return format_time(value)[:10]
    if column.kind == "value":
        return value / MICRO
    if column.kind == "number":
        return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)
    return value
