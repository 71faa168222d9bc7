"""Bad score requests, each with the code and the path that it must be refused with: read in-process and over HTTP.

They are written for the data set of ``tests.fixtures_bundle``. No log may ever hold the ``MARK`` that stands in them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fixtures_bundle import make_request

MARK = "ZZmarkZZ"


@dataclass(frozen=True)
class Bad:
    name: str
    body: bytes
    status: int
    code: str
    where: str


def _edited(edit: Callable[[dict[str, Any]], Any]) -> bytes:
    request = copy.deepcopy(make_request())
    request["prospect"]["source"] = MARK
    edit(request)
    return json.dumps(request).encode()


def _at(*path: Any, value: Any) -> Callable[[dict[str, Any]], Any]:
    def edit(request: dict[str, Any]) -> None:
        place: Any = request
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return edit


def _without(*path: Any) -> Callable[[dict[str, Any]], Any]:
    def edit(request: dict[str, Any]) -> None:
        place: Any = request
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return edit


def _repeat(where: str, item: int, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    def edit(request: dict[str, Any]) -> None:
        request[where].append({**request[where][item], **changes})

    return edit


OUTCOME = {"outcome": "lost", "occurred_at": "2026-03-04T12:00:00Z"}
SIBLING = {"prospect_id": "p2", "created_at": "2026-01-01T00:00:00Z"}
LATER = {"prospect_id": "p1", "created_at": "2026-03-01T09:00:00Z", "observed_at": "2026-03-02T00:00:00Z"}
SIBLINGS_EVENT = {"event_id": "e9", "prospect_id": "p2", "type": "call", "occurred_at": "2026-03-02T10:00:00Z"}

# name, edit of a good request, code, path
EDITS: list[tuple[str, Callable[[dict[str, Any]], Any], str, str]] = [
    # what is not known
    ("unknown field", _at("propsect", value=MARK), "unknown_field", "propsect"),
    ("unknown field of the prospect", _at("prospect", "colour", value=MARK), "unknown_field", "prospect.colour"),
    ("unknown field of an event", _at("events", 1, "note", value=MARK), "unknown_field", "events[1].note"),
    ("unknown field of an outcome", _at("outcomes", value=[{**OUTCOME, "x": MARK}]), "unknown_field", "outcomes[0].x"),
    ("unknown field of related", _at("related", "accounts", value=[MARK]), "unknown_field", "related.accounts"),
    ("declared column beside", _at("prospect", "origin", value=MARK), "unknown_field", "prospect.origin"),
    (
        "undeclared column",
        _at("prospect", "attributes", "foo", value=MARK),
        "undeclared_column",
        "prospect.attributes.foo",
    ),
    (
        "standard column inside",
        _at("prospect", "attributes", "source", value=MARK),
        "undeclared_column",
        "prospect.attributes.source",
    ),
    (
        "column declared elsewhere",
        _at("account", "attributes", value={"origin": MARK}),
        "undeclared_column",
        "account.attributes.origin",
    ),
    # what is missing
    ("no prospect", _without("prospect"), "missing_field", "prospect"),
    ("null prospect", _at("prospect", value=None), "missing_field", "prospect"),
    ("no prospect_id", _without("prospect", "prospect_id"), "missing_field", "prospect.prospect_id"),
    ("null created_at", _at("prospect", "created_at", value=None), "missing_field", "prospect.created_at"),
    ("event without id", _without("events", 0, "event_id"), "missing_field", "events[0].event_id"),
    ("event without type", _without("events", 0, "type"), "missing_field", "events[0].type"),
    ("event of blank type", _at("events", 0, "type", value="  "), "missing_field", "events[0].type"),
    ("event without time", _without("events", 1, "occurred_at"), "missing_field", "events[1].occurred_at"),
    (
        "outcome without name",
        _at("outcomes", value=[{"occurred_at": "2026-03-04T12:00:00Z"}]),
        "missing_field",
        "outcomes[0].outcome",
    ),
    ("contact without id", _at("contacts", 0, value={"role": "user"}), "missing_field", "contacts[0].contact_id"),
    (
        "related event of nobody",
        _at("related", "events", value=[{"event_id": "e9", "type": "call", "occurred_at": "2026-03-02T10:00:00Z"}]),
        "missing_field",
        "related.events[0].prospect_id",
    ),
    (
        "version without observed_at",
        _at("prospect", value=[{**LATER, "observed_at": None}]),
        "missing_field",
        "prospect[0].observed_at",
    ),
    ("no versions", _at("prospect", value=[]), "empty_list", "prospect"),
    ("empty id", _at("prospect", "prospect_id", value=""), "empty_key", "prospect.prospect_id"),
    ("empty contact of an event", _at("events", 0, "contact_id", value=""), "empty_key", "events[0].contact_id"),
    ("blank id", _at("prospect", "prospect_id", value=" \u00a0"), "empty_key", "prospect.prospect_id"),
    ("blank account", _at("prospect", "account_id", value="\t"), "empty_key", "prospect.account_id"),
    ("blank id of an event", _at("events", 0, "event_id", value="  "), "empty_key", "events[0].event_id"),
    ("blank contact of an event", _at("events", 0, "contact_id", value=" "), "empty_key", "events[0].contact_id"),
    # wrong types: nothing is coerced
    ("prospect is a text", _at("prospect", value=MARK), "wrong_type", "prospect"),
    ("events is an object", _at("events", value={MARK: 1}), "wrong_type", "events"),
    ("event is a text", _at("events", 0, value=MARK), "wrong_type", "events[0]"),
    ("related is a list", _at("related", value=[]), "wrong_type", "related"),
    ("attributes is a list", _at("prospect", "attributes", value=[MARK]), "wrong_type", "prospect.attributes"),
    ("number as text", _at("account", "headcount", value="40"), "wrong_type", "account.headcount"),
    ("text as number", _at("events", 0, "type", value=3), "wrong_type", "events[0].type"),
    ("id as number", _at("prospect", "prospect_id", value=1), "wrong_type", "prospect.prospect_id"),
    ("boolean as number", _at("account", "public_body", value=1), "wrong_type", "account.public_body"),
    ("number as boolean", _at("account", "revenue", value=True), "wrong_type", "account.revenue"),
    ("value as text", _at("events", 1, "value", value="12.5"), "wrong_type", "events[1].value"),
    ("time as number", _at("events", 0, "occurred_at", value=1772445600), "wrong_type", "events[0].occurred_at"),
    (
        "declared number as text",
        _at("prospect", "attributes", "budget", value=MARK),
        "wrong_type",
        "prospect.attributes.budget",
    ),
    (
        "declared boolean as text",
        _at("prospect", "attributes", "vip", value="true"),
        "wrong_type",
        "prospect.attributes.vip",
    ),
    (
        "declared category as number",
        _at("prospect", "attributes", "origin", value=3),
        "wrong_type",
        "prospect.attributes.origin",
    ),
    ("goal as number", _at("goal", value=1), "wrong_type", "goal"),
    # times
    (
        "zoneless time",
        _at("prospect", "created_at", value="2026-03-01T09:00:00"),
        "zoneless_time",
        "prospect.created_at",
    ),
    ("zoneless as_of", _at("as_of", value="2026-03-05T09:00:00.5"), "zoneless_time", "as_of"),
    ("no time at all", _at("events", 0, "occurred_at", value=MARK), "bad_time", "events[0].occurred_at"),
    ("a date for a time", _at("events", 0, "recorded_at", value="2026-03-02"), "bad_time", "events[0].recorded_at"),
    ("no such day", _at("events", 0, "occurred_at", value="2026-02-30T10:00:00Z"), "bad_time", "events[0].occurred_at"),
    (
        "the year 0001",
        _at("events", 0, "occurred_at", value="0001-01-01T00:00:00Z"),
        "bad_time",
        "events[0].occurred_at",
    ),
    ("a time for a date", _at("account", "founded_on", value="2020-01-01T00:00:00Z"), "bad_date", "account.founded_on"),
    # values
    ("unknown regime", _at("prospect", "regime", value=MARK), "unknown_value", "prospect.regime"),
    ("unknown role", _at("contacts", 0, "role", value="boss"), "unknown_value", "contacts[0].role"),
    ("unknown direction", _at("events", 0, "direction", value="up"), "unknown_value", "events[0].direction"),
    ("value too large", _at("events", 1, "value", value=1e9 + 1), "value_out_of_range", "events[1].value"),
    ("value too small", _at("events", 1, "value", value=-(10**12)), "value_out_of_range", "events[1].value"),
    ("number beyond a float", _at("account", "revenue", value=10**400), "non_finite", "account.revenue"),
    ("lone surrogate", _at("prospect", "source", value="\ud800" + MARK), "bad_text", "prospect.source"),
    ("lone surrogate in an id", _at("events", 0, "event_id", value="e\udfff"), "bad_text", "events[0].event_id"),
    ("NUL in an id", _at("events", 0, "event_id", value="e\x001"), "bad_text", "events[0].event_id"),
    ("NUL", _at("events", 0, "type", value="page\x00view"), "bad_text", "events[0].type"),
    # records that contradict one another
    ("one event, two contents", _repeat("events", 0, type="call"), "conflicting_event", "events[2]"),
    (
        "one event here and there",
        lambda r: r["related"].update(prospects=[SIBLING], events=[{**SIBLINGS_EVENT, "event_id": "e1"}]),
        "conflicting_event",
        "related.events[0]",
    ),
    (
        "one outcome, two contents",
        _at("outcomes", value=[{**OUTCOME, "outcome_id": "o1"}, {**OUTCOME, "outcome_id": "o1", "outcome": "won"}]),
        "conflicting_outcome",
        "outcomes[1]",
    ),
    (
        "two versions at once",
        _at("prospect", value=[LATER, {**LATER, "source": "fair"}]),
        "conflicting_versions",
        "prospect[1]",
    ),
    ("two rows of a contact", _repeat("contacts", 0, role="user"), "conflicting_versions", "contacts[1]"),
    (
        "two creations",
        _at(
            "prospect",
            value=[LATER, {**LATER, "observed_at": "2026-03-03T00:00:00Z", "created_at": "2026-03-02T00:00:00Z"}],
        ),
        "created_at_changes",
        "prospect[1].created_at",
    ),
    (
        "two prospects",
        _at("prospect", value=[LATER, {**LATER, "observed_at": "2026-03-03T00:00:00Z", "prospect_id": "p2"}]),
        "id_mismatch",
        "prospect[1].prospect_id",
    ),
    ("event of another", _at("events", 0, "prospect_id", value="p2"), "id_mismatch", "events[0].prospect_id"),
    (
        "outcome of another",
        _at("outcomes", value=[{**OUTCOME, "prospect_id": "p2"}]),
        "id_mismatch",
        "outcomes[0].prospect_id",
    ),
    ("another account", _at("account", "account_id", value="a2"), "id_mismatch", "account.account_id"),
    (
        "contact of another account",
        _at("contacts", 0, "account_id", value="a2"),
        "id_mismatch",
        "contacts[0].account_id",
    ),
    (
        "related of another account",
        _at("related", "prospects", value=[{**SIBLING, "account_id": "a2"}]),
        "id_mismatch",
        "related.prospects[0].account_id",
    ),
    (
        "related to itself",
        _at("related", "prospects", value=[{**SIBLING, "prospect_id": "p1"}]),
        "related_to_itself",
        "related.prospects[0].prospect_id",
    ),
    (
        "own event among the related",
        _at("related", "events", value=[{**SIBLINGS_EVENT, "prospect_id": "p1"}]),
        "related_to_itself",
        "related.events[0].prospect_id",
    ),
    (
        "event of a stranger",
        _at("related", "events", value=[SIBLINGS_EVENT]),
        "unlisted_prospect",
        "related.events[0].prospect_id",
    ),
    ("as_of before creation", _at("as_of", value="2026-02-28T23:59:59Z"), "as_of_before_creation", "as_of"),
    (
        "outcome before creation",
        _at("outcomes", value=[{**OUTCOME, "occurred_at": "2026-02-28T00:00:00Z"}]),
        "outcome_before_creation",
        "outcomes[0].occurred_at",
    ),
]

_GOOD = _edited(lambda request: None)


def _raw(old: str, new: str) -> bytes:
    text = _GOOD.decode()
    assert text.count(old) == 1, old
    return text.replace(old, new).encode()


# name, body, status, code, path
RAW: list[tuple[str, bytes, int, str, str]] = [
    ("empty body", b"", 400, "empty_body", ""),
    ("blank body", b" \n", 400, "empty_body", ""),
    ("no JSON", MARK.encode(), 400, "bad_json", "line 1, column 1"),
    ("cut short", _GOOD[:-1], 400, "bad_json", f"line 1, column {len(_GOOD)}"),
    ("two values", _GOOD + b" {}", 400, "bad_json", f"line 1, column {len(_GOOD) + 2}"),
    ("no value", b'{"%s": }' % MARK.encode(), 400, "bad_json", "line 1, column 14"),
    ("single quotes", b"{'%s': 1}" % MARK.encode(), 400, "bad_json", "line 1, column 2"),
    ("control character", b'{"%s": "a\nb"}' % MARK.encode(), 400, "bad_json", "line 1, column 16"),
    ("not UTF-8", b'{"%s": "\xff"}' % MARK.encode(), 400, "bad_encoding", "byte 14"),
    ("UTF-16", _GOOD.decode().encode("utf-16"), 400, "bad_encoding", "byte 0"),
    ("byte order mark", b"\xef\xbb\xbf" + _GOOD, 400, "bad_json", "line 1, column 1"),
    ("nested lists", b"[" * 100_000 + MARK.encode(), 400, "too_deep", ""),
    ("nested objects", b'{"a":' * 100_000, 400, "too_deep", ""),
    (
        "nested in a field",
        _raw('"headcount": 40', '"headcount": ' + "[" * 100 + "]" * 100),
        422,
        "wrong_type",
        "account.headcount",
    ),
    ("endless digits", _raw('"headcount": 40', '"headcount": 1' + "0" * 5000), 400, "number_too_long", ""),
    ("a list", b"[" + _GOOD + b"]", 422, "wrong_type", ""),
    ("null", b"null", 422, "wrong_type", ""),
    ("a text", json.dumps(MARK).encode(), 422, "wrong_type", ""),
    ("repeated field", _raw('"as_of":', '"as_of": null, "as_of":'), 422, "duplicate_key", "as_of"),
    (
        "repeated field of the prospect",
        _raw('"created_at":', '"source": 1, "created_at":'),
        422,
        "duplicate_key",
        "prospect.source",
    ),
    (
        "repeated field of an event",
        _raw('"event_id": "e2"', '"event_id": "e2", "event_id": "e2"'),
        422,
        "duplicate_key",
        "events[1].event_id",
    ),
    (
        "repeated attribute",
        _raw('"vip": true', '"vip": true, "vip": true'),
        422,
        "duplicate_key",
        "prospect.attributes.vip",
    ),
    ("NaN", _raw('"value": 12.5', '"value": NaN'), 422, "non_finite", "events[1].value"),
    ("Infinity", _raw('"headcount": 40', '"headcount": -Infinity'), 422, "non_finite", "account.headcount"),
    ("1e309", _raw('"value": 12.5', '"value": 1e309'), 422, "non_finite", "events[1].value"),
    ("1e309 declared", _raw('"budget": 25000.5', '"budget": 1e309'), 422, "non_finite", "prospect.attributes.budget"),
]

BAD: tuple[Bad, ...] = (
    *(Bad(name, _edited(edit), 422, code, where) for name, edit, code, where in EDITS),
    *(Bad(*row) for row in RAW),
)
