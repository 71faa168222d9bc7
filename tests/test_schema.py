from __future__ import annotations

import copy
import json
import os
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from features.contract import (
    ALWAYS,
    APPROACHES,
    DAY,
    DIRECTIONS,
    REGIMES,
    ROLES,
    STANDARD,
    Column,
    parse_dataset,
    parse_time,
)
from features.errors import BadInput
from features.online import merge_events
from features.records import Event, Outcome, Records, Version
from serving import openapi, rows, schema, values
from serving.faults import error_body, status_of
from serving.schema import ParsedRequest, parse_request
from serving.values import decode
from tests.bad_requests import BAD, LATER, OUTCOME, SIBLING, SIBLINGS_EVENT, Bad
from tests.fixtures_bundle import DATASET, SPEC, make_request, request_records

NOW = parse_time("2026-06-01T00:00:00Z")
MANY = 10 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 1
MODELS: dict[str, type[BaseModel]] = {
    "prospects": openapi.ProspectRecord,
    "accounts": openapi.AccountRecord,
    "contacts": openapi.ContactRecord,
    "events": openapi.EventRecord,
    "outcomes": openapi.OutcomeRecord,
}


def read(request: dict[str, Any], dataset: Any = DATASET) -> ParsedRequest:
    return parse_request(json.dumps(request), dataset, NOW)


def minimal(**more: Any) -> dict[str, Any]:
    return {"prospect": {"prospect_id": "p1", "created_at": "2026-03-01T09:00:00Z"}, **more}


def refused(request: Any, dataset: Any = DATASET) -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse_request(request if isinstance(request, bytes) else json.dumps(request), dataset, NOW)
    return caught.value


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD, ids=lambda b: b.name)
def test_a_bad_request_is_refused_with_code_and_path(bad: Bad) -> None:
    error = refused(bad.body)
    assert (error.code, error.where, status_of(error.code)) == (bad.code, bad.where, bad.status)
    assert error.message.endswith(".")
    assert error.remedy.endswith(".")
    assert set(error_body(error)["error"]) == {"code", "message", "where", "remedy"}
    json.dumps(error_body(error)).encode()


def test_the_table_holds_what_the_contract_names() -> None:
    assert len(BAD) >= 25
    assert len({b.name for b in BAD}) == len(BAD)
    assert {b.code for b in BAD} >= {
        "unknown_field",
        "duplicate_key",
        "zoneless_time",
        "bad_time",
        "non_finite",
        "wrong_type",
        "undeclared_column",
        "missing_field",
        "too_deep",
        "bad_text",
        "bad_encoding",
    }


def test_messages_do_not_repeat_what_was_sent() -> None:
    """Only names of fields may come back, in the path; never a value."""
    for bad in BAD:
        error = refused(bad.body)
        assert "ZZmarkZZ" not in error.message + error.remedy


REQUIRED = (
    "prospect",
    "prospect.prospect_id",
    "prospect.created_at",
    "contacts[0].contact_id",
    "events[0].event_id",
    "events[0].type",
    "events[0].occurred_at",
    "outcomes[0].outcome",
    "related.events[0].prospect_id",
)


@pytest.mark.parametrize("value", [3, True, [], ""], ids=repr)
@pytest.mark.parametrize("place", REQUIRED)
def test_no_way_out_leaves_a_required_field_out(place: str, value: Any) -> None:
    request = make_request()
    request["outcomes"] = [{"outcome": "lost", "occurred_at": "2026-03-04T12:00:00Z"}]
    sibling = {"event_id": "e9", "prospect_id": "p2", "type": "call", "occurred_at": "2026-03-02T10:00:00Z"}
    request["related"] = {"prospects": [{**request["prospect"], "prospect_id": "p2"}], "events": [sibling]}
    part: Any = request
    *steps, last = place.replace("[0]", ".0").split(".")
    for step in steps:
        part = part[int(step) if step.isdigit() else step]
    part[last] = value
    error = refused(json.dumps(request).encode())
    assert error.where.startswith(place) or (place, value) == ("prospect", [])
    assert "out" not in error.remedy.split()
    assert "out." not in error.remedy.split()


@pytest.mark.parametrize("place", ["goal", "as_of", "events", "related", "prospect.account_id", "prospect.attributes"])
def test_an_optional_field_may_be_left_out(place: str) -> None:
    request = make_request()
    *steps, last = place.split(".")
    (request[steps[0]] if steps else request)[last] = 3
    error = refused(json.dumps(request).encode())
    assert (error.code, error.where) == ("wrong_type", place)
    assert error.remedy.endswith(", or leave it out.")


def test_the_items_of_a_batch_are_required() -> None:
    with pytest.raises(BadInput) as caught:
        schema.items_of({"items": {}}, 5)
    assert (caught.value.where, caught.value.remedy) == ("items", "Send a list.")


_WORD = st.text(st.sampled_from('{}[]"\\\\:, \\n\u00e9\ud800ab'), max_size=6)
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORD, inner, max_size=3),
    max_leaves=6,
)
_BATCH = st.lists(st.dictionaries(_WORD, _VALUE, max_size=3) | st.just(make_request()) | _VALUE, max_size=5)


def taken(read: typing.Callable[[], typing.Iterable[Any]]) -> Any:
    """What is read, or the error: its code and its place."""
    try:
        return list(read())
    except BadInput as e:
        return e.code, e.where


@settings(max_examples=300 * MANY, deadline=None)
@given(items=_BATCH, indent=st.none() | st.integers(0, 2), escaped=st.booleans(), data=st.data())
def test_items_that_are_decoded_one_by_one_are_those_of_the_whole(
    items: list[Any], indent: int | None, escaped: bool, data: st.DataObject
) -> None:
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]))
    text = json.dumps({"items": items}, indent=indent, separators=separators, ensure_ascii=escaped)
    body = text.encode("utf-8", "surrogatepass")
    for _ in range(data.draw(st.integers(0, 2))):  # damaged
        start = data.draw(st.integers(0, len(body)))
        more = data.draw(st.sampled_from([b"", b"{", b"}", b"]", b'"', b",", b"\\", b"\xff", b'"items":[', b"{}"]))
        body = body[:start] + more + body[start + data.draw(st.integers(0, 3)) :]
    most = data.draw(st.integers(0, 6))
    wanted = taken(lambda: schema.items_of(decode(body), most))
    found = taken(lambda: map(values.listed, schema.items_in(body, most)))
    assert found == wanted
    assert [type(each) for each in found] == [type(each) for each in wanted]


@pytest.mark.parametrize(
    "frame",
    [
        '{"items":[%s]}}',
        '{"items":[%s]}]',
        '{"items":[%s]} x',
        '{"items":[%s]}\0',
        '{"items":[%s]',
        '{"items":[%s',
        '{"items":[%s,]}',
        '{"items":[,%s]}',
        '{"items":[%s %s]}',
        '{"items":[%s}]}',
        '{"items":[%s],"items":[]}',
        '{"items":[%s],"more":1}',
        '{"items" [%s]}',
        '{"items":%s}',
        '[{"items":[%s]}]',
        '{"item":[%s]}',
        '{"items":[%s,7,null,[]]}',
        ' {\n"items"\t:\r[ %s , %s ]\n} ',
    ],
)
def test_the_frame_of_a_batch_is_read_as_that_of_the_whole(frame: str) -> None:
    item = json.dumps(make_request(), separators=(",", ":"))
    body = frame.replace("%s", item).encode()
    wanted = taken(lambda: schema.items_of(decode(body), 5))
    assert taken(lambda: map(values.listed, schema.items_in(body, 5))) == wanted


def test_a_fault_in_an_item_has_its_place_in_the_whole() -> None:
    body = json.dumps({"items": [minimal(), minimal(goal="won")]}, separators=(",", ":")).encode()
    assert [*map(values.listed, schema.items_in(body, 5))] == [minimal(), minimal(goal="won")]
    with pytest.raises(BadInput) as caught:
        schema.items_in(body.replace(b'"won"', b"won"), 5)
    column = body.index(b'"won"') + 1
    assert (caught.value.code, caught.value.where) == ("bad_json", f"line 1, column {column}")


# -- events that are read straight from the text -----------------------------------------------------------------------

_ID = st.sampled_from(["e1", "e2", "e3", "p1", "", " ", " e4", "e5 ", "\u00e9", "a\\b", 'a"b', "a\nb", "c" * 300])
_TIME = st.sampled_from(
    [
        "2026-03-01T09:00:00Z",
        "2026-03-01 09:00:00.123456789+01:00",
        "2026-03-01T09:00Z",
        "2026-02-30T09:00:00Z",
        "2026-03-01T09:00:00",
        "2026-03-01",
        "",
        "20260301T090000Z",
    ]
)
_NUMBER = st.one_of(
    st.sampled_from([0, -0.0, 1, -1, 10**9, 10**9 + 1, -(10**9), 10**18, 10**40, 1e9, 1e300, 5e-324, 0.1, 1e-7]),
    st.floats(-1e9, 1e9),
    st.integers(-(10**9), 10**9),
)
_WORDS = st.sampled_from(
    ["call", "meeting", "web", "inbound", "outbound", "sideways", " call", "call ", "", "\u00e9t\u00e9"]
)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "event_id": _ID,
    "prospect_id": st.sampled_from(["p1", "p1", "p2", "p1 ", None]),
    "type": _WORDS,
    "occurred_at": _TIME,
    "recorded_at": _TIME | st.none(),
    "retracted_at": _TIME | st.none(),
    "contact_id": _ID | st.none(),
    "direction": _WORDS | st.none(),
    "channel": _WORDS | st.none(),
    "value": _NUMBER | st.none() | st.booleans() | st.just("7"),
    "other": st.just(1),
}
_STRAIGHT = {"event_id": "e9", "type": "call", "occurred_at": "2026-03-01T09:00:00Z"}


@st.composite
def _events(draw: st.DrawFn) -> list[Any]:
    """Events that are nearly all ordinary, but for a field here and there."""
    out = []
    for i in range(draw(st.integers(0, 4))):
        event = {**_STRAIGHT, "event_id": f"e{i}", "value": draw(st.integers(-9, 9) | st.floats(-9, 9))}
        for name in draw(st.lists(st.sampled_from([*_FIELDS]), max_size=2)):
            event[name] = draw(_FIELDS[name])
        for name in draw(st.lists(st.sampled_from([*event]), max_size=1)):
            if draw(st.integers(0, 3)) == 0:
                del event[name]
        out.append(dict(draw(st.permutations([*event.items()]))))
    return out


@settings(max_examples=600 * MANY, deadline=None)
@given(events=_events(), indent=st.none() | st.just(1), first=st.booleans(), data=st.data())
def test_events_that_are_read_straight_are_those_of_the_lists(
    events: list[Any], indent: int | None, first: bool, data: st.DataObject
) -> None:
    request = {**make_request()}
    request.pop("events", None)
    request = {"events": events, **request} if first else {**request, "events": events}
    own = data.draw(st.sampled_from(["p1", "p1", "p1", "p1 ", " ", "\u00e9", 7]))
    request["prospect"] = {**request["prospect"], "prospect_id": own}
    separators = data.draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), (" ,", " :")]))
    text = json.dumps(request, indent=indent, separators=separators, ensure_ascii=data.draw(st.booleans()))
    body = text.encode("utf-8", "surrogatepass")
    if data.draw(st.integers(0, 2)) == 0:  # damaged
        start = data.draw(st.integers(0, len(body)))
        damage = [
            b"",
            b"{",
            b"}",
            b"]",
            b'"',
            b",",
            b"\\",
            b"\xff",
            b"\x00",
            b"null",
            b'"events":[],',
            b"0",
            b"-",
            b".",
        ]
        body = body[:start] + data.draw(st.sampled_from(damage)) + body[start + data.draw(st.integers(0, 2)) :]
    assert_read_alike(body)


def assert_read_alike(body: bytes) -> bool:
    """A request is the same by both ways; returns whether its events were read straight."""
    reader = schema.RequestReader(DATASET)

    def outcome(decoded: typing.Callable[[bytes], Any]) -> Any:
        try:
            return reader.read(decoded(body), NOW)
        except BadInput as e:
            return e.code, e.where, e.message, e.remedy

    found, wanted = outcome(values.decode_request), outcome(decode)
    assert found == wanted
    if isinstance(found, ParsedRequest):
        assert repr(found) == repr(wanted)  # of the same types too
    try:
        straight = values.decode_request(body)
    except BadInput:
        return False
    plain = values.listed(straight)
    assert repr(plain) == repr(decode(body))
    return straight is not plain


def _request_with(event: str) -> bytes:
    return f'{{"prospect":{json.dumps(minimal()["prospect"], separators=(",", ":"))},"events":[{event}]}}'.encode()


def _event_with(more: str) -> str:
    return json.dumps(_STRAIGHT, separators=(",", ":"))[:-1] + more + "}"


@pytest.mark.parametrize(
    "event",
    [
        _event_with(""),
        _event_with(',"value":12.5,"contact_id":"c1","direction":"inbound","channel":"web","prospect_id":"p1"'),
        _event_with(',"value":null,"contact_id":null,"recorded_at":null'),
        _event_with(' , "value" : -1e3 ,\n"recorded_at"\t: "2026-03-02T09:00:00+02:00" '),
        "",
    ],
)
def test_ordinary_events_are_read_straight(event: str) -> None:
    built = values.decode_request(_request_with(_event_with("")))["events"]
    if type(built) is list:
        pytest.skip("serving._rows was not built")
    assert assert_read_alike(_request_with(event))


@pytest.mark.parametrize(
    "event",
    [
        _event_with(',"type":"call"'),  # a key twice
        _event_with(',"retracted_at":"2026-03-05T09:00:00Z"'),
        _event_with(',"value":01'),
        _event_with(',"value":1.'),
        _event_with(',"value":.5'),
        _event_with(',"value":+5'),
        _event_with(',"value":1e'),
        _event_with(',"value":NaN'),
        _event_with(',"value":1e309'),
        _event_with(',"value":1000000000.5'),
        _event_with(',"value":"5"'),
        _event_with(',"value":nul'),
        _event_with(',"direction":"sideways"'),
        _event_with(',"channel":"a\\u0062"'),
        _event_with(',"channel":"\u00e9"'),
        _event_with(',"channel":" web"'),
        _event_with(',"prospect_id":"p2"'),
        _event_with(',"prospect_id":"p1"') + "," + _event_with(',"prospect_id":"p2"').replace("e9", "e8"),
        _event_with(',"prospect_id":"p2"') + "," + _event_with(',"prospect_id":"p1"').replace("e9", "e8"),
        _event_with(',"attributes":{}'),
        _event_with(","),
        _event_with("") + ",",
        _event_with("") + "," + _event_with(""),  # an id twice
        "null",
        "[]",
        '{"event_id":"e9"}',
    ],
)
def test_what_is_not_ordinary_is_left_to_the_careful_readers(event: str) -> None:
    assert not assert_read_alike(_request_with(event))


def test_events_that_were_read_for_another_prospect_are_read_anew() -> None:
    straight = values.decode_request(_request_with(_event_with("")))["events"]
    if type(straight) is list:
        pytest.skip("serving._rows was not built")
    for own in ("p1", "p2"):
        scope = rows.Scope(own, False, {own: NOW})
        found = rows.read_facts(straight, "events", scope, rows.read_event, {})
        assert [event.prospect_id for event in found] == [own]
    seen = {"e9": found[0]}
    with pytest.raises(BadInput, match="twice"):
        rows.read_facts(straight, "events", rows.Scope("p1", False, {"p1": NOW}), rows.read_event, seen)


@pytest.mark.parametrize("more", [{}, {"value": 5}])
def test_an_event_of_a_related_prospect_has_another_id_than_the_own(more: dict[str, Any]) -> None:
    other = {**minimal()["prospect"], "prospect_id": "p2"}
    theirs = {**_STRAIGHT, "prospect_id": "p2", **more}
    request = {**minimal(), "events": [_STRAIGHT], "related": {"prospects": [other], "events": [theirs]}}
    body = json.dumps(request, separators=(",", ":")).encode()
    assert_read_alike(body)
    with pytest.raises(BadInput, match="twice") as caught:
        schema.RequestReader(DATASET).read(values.decode_request(body), NOW)
    assert (caught.value.code, caught.value.where) == ("conflicting_event", "related.events[0]")
    assert_read_alike(
        body.replace(
            b'"event_id":"e9","type":"call","occurred_at":"2026-03-01T09:00:00Z","p',
            b'"event_id":"e8","type":"call","occurred_at":"2026-03-01T09:00:00Z","p',
        )
    )


@pytest.mark.parametrize("more", [b"}", b" x", b"\0", b"{}", b",", b"]", b'"'])
def test_what_stands_behind_a_request_is_refused(more: bytes) -> None:
    assert not assert_read_alike(_request_with(_event_with("")) + more)
    assert_read_alike(_request_with(_event_with("")) + b" \n\t\r")
    with pytest.raises(BadInput):
        values.decode_request(_request_with(_event_with("")) + more)


def test_a_second_list_of_events_is_seen() -> None:
    body = _request_with(_event_with(""))[:-1] + b',"events":[]}'
    assert not assert_read_alike(body)
    escaped = body.replace(b',"events":[]', b',"event\\u0073":[]')
    assert b"u0073" in escaped
    assert not assert_read_alike(escaped)


def test_events_of_a_prospect_without_a_name_are_left() -> None:
    assert not assert_read_alike(b'{"events":[' + _event_with("").encode() + b"]}")
    assert not assert_read_alike(b'{"events":[' + _event_with("").encode() + b'],"prospect":{"prospect_id":7}}')


def test_a_byte_order_mark_is_named() -> None:
    error = refused(b"\xef\xbb\xbf{}")
    assert error.code == "bad_json"
    assert "byte order mark" in error.message
    assert "mark" in error.remedy
    assert "byte order mark" not in refused("x\ufeff".encode()).message


def test_a_path_is_bounded() -> None:
    error = refused(minimal(**{"x" * 10_000: 1}))
    assert error.code == "unknown_field"
    assert len(error.where) == 80


# -- what is accepted ------------------------------------------------------------------------------------------------


def test_the_example_of_the_bundles_reads_as_written_by_hand() -> None:
    parsed, (records, as_of) = read(make_request()), request_records()
    assert parsed.as_of == as_of
    assert parsed.goal is None
    assert parsed.warnings == ()
    known = parsed.records
    assert known.events == records.events
    assert (known.outcomes, known.related, known.related_events, known.related_outcomes) == ((), {}, (), ())
    for mine, theirs in (
        ({"p1": known.prospect}, {"p1": records.prospect}),
        (known.accounts, records.accounts),
        (known.contacts, records.contacts),
    ):
        assert mine is not None
        assert theirs is not None
        assert set(mine) == set(theirs)
        for key, versions in theirs.items():
            assert [v.observed_at for v in mine[key]] == [v.observed_at for v in versions]
            for a, b in zip(mine[key], versions, strict=True):
                assert {k: v for k, v in a.values.items() if v is not None} == b.values


def test_the_published_example_runs() -> None:
    parsed = read(openapi.EXAMPLE)
    assert parsed.records.prospect[0].values["regime"] == "industrial"
    openapi.ScoreRequest.model_validate_json(json.dumps(openapi.EXAMPLE))


def test_absent_is_unknown_and_empty_is_empty() -> None:
    none = read(minimal()).records
    assert (none.accounts, none.contacts, none.events, none.outcomes) == (None, None, None, None)
    assert (none.related, none.related_events, none.related_outcomes) == (None, None, None)
    null = read(minimal(account=None, contacts=None, events=None, outcomes=None, related=None, as_of=None, goal=None))
    assert null.records == none
    some = read(minimal(contacts=[], events=[], outcomes=[], related={"prospects": [], "events": [], "outcomes": []}))
    assert (some.records.contacts, some.records.events, some.records.outcomes) == ({}, (), ())
    assert (some.records.related, some.records.related_events, some.records.related_outcomes) == ({}, (), ())
    half = read(minimal(related={"prospects": []})).records
    assert (half.related, half.related_events) == ({}, None)


def test_as_of_defaults_to_now_and_a_later_one_is_told() -> None:
    assert read(minimal()).as_of == NOW
    assert read(minimal(as_of="2026-06-01T00:30:00Z")).warnings == ()
    late = read(minimal(as_of="2026-07-01T00:00:00Z"))
    assert late.as_of == NOW + 30 * DAY
    assert [w["code"] for w in late.warnings] == ["as_of_in_future"]
    born_later = minimal()
    born_later["prospect"]["created_at"] = "2026-07-01T00:00:00Z"
    error = refused(born_later)
    assert (error.code, error.where) == ("as_of_before_creation", "prospect.created_at")


def test_times_are_floored_to_microseconds() -> None:
    event = {"event_id": "e", "type": "call", "occurred_at": "2026-03-02T10:00:00.123456999+01:00"}
    early = {**event, "event_id": "f", "occurred_at": "1969-12-31T23:59:59.9999999Z"}
    events = read(minimal(events=[event, early])).records.events
    assert events is not None
    assert [e.occurred_at for e in events] == [parse_time("2026-03-02T09:00:00Z") + 123_456, -1]


def test_recorded_at_defaults_to_occurred_at() -> None:
    event = {"event_id": "e", "type": "call", "occurred_at": "2026-03-02T10:00:00Z"}
    late = {**event, "event_id": "f", "recorded_at": "2026-03-03T10:00:00Z"}
    outcome = {"outcome": "won", "occurred_at": "2026-03-04T10:00:00Z"}
    records = read(minimal(events=[event, late], outcomes=[outcome])).records
    assert records.events is not None
    at = parse_time("2026-03-02T10:00:00Z")
    assert [(e.occurred_at, e.recorded_at) for e in records.events] == [(at, at), (at, at + DAY)]
    won = at + 2 * DAY
    assert records.outcomes == (Outcome(f"p1|won|{won}", "p1", "won", won, won),)


def test_texts_are_cleaned_and_keys_are_exact() -> None:
    request = minimal(
        events=[{"event_id": " e ", "type": " De\u0301mo ", "occurred_at": "2026-03-02T10:00:00Z", "channel": ""}]
    )
    request["prospect"].update(prospect_id=" p1", source="\u00a0", regime=" mass ")
    records = read(request).records
    assert records.prospect_id == " p1"
    assert records.events is not None
    at = parse_time("2026-03-02T10:00:00Z")
    assert records.events == (Event(" e ", " p1", "D\u00e9mo", at, at),)
    assert records.prospect[0].values["source"] is None
    assert records.prospect[0].values["regime"] == "mass"


def test_values_are_integers_of_a_millionth() -> None:
    sent = (0, 1, -1, 0.1, 12.5, 1e-6, 0.0000004, 1e9, -(10**9), 0.30000000000000004)
    events = [
        {"event_id": str(i), "type": "call", "occurred_at": "2026-03-02T10:00:00Z", "value": value}
        for i, value in enumerate(sent)
    ]
    records = read(minimal(events=events)).records
    assert records.events is not None
    assert [e.value for e in records.events] == [
        0,
        10**6,
        -(10**6),
        10**5,
        12_500_000,
        1,
        0,
        10**15,
        -(10**15),
        300_000,
    ]
    assert {type(e.value) for e in records.events} == {int}


def test_repeats_collapse_to_the_smallest_recorded_at() -> None:
    event = {"event_id": "e", "type": "call", "occurred_at": "2026-03-02T10:00:00Z"}
    other = {**event, "event_id": "f"}
    repeats = [{**event, "recorded_at": f"2026-03-0{d}T10:00:00Z"} for d in (5, 3, 4)]
    records = read(minimal(events=[repeats[0], other, *repeats[1:]], outcomes=[OUTCOME, OUTCOME])).records
    assert records.events is not None
    assert [(e.event_id, e.recorded_at) for e in records.events] == [
        ("e", parse_time("2026-03-03T10:00:00Z")),
        ("f", parse_time("2026-03-02T10:00:00Z")),
    ]
    assert records.outcomes is not None
    assert len(records.outcomes) == 1
    assert merge_events(records.events) == records.events


def test_state_is_known_from_its_observation_its_creation_or_always() -> None:
    account = {"account_id": "a1", "country": "FR"}
    request = minimal(
        account=[
            {**account, "observed_at": "2026-03-04T00:00:00Z"},
            {**account, "country": "DE", "observed_at": "2026-01-01T00:00:00Z"},
        ],
        contacts=[{"contact_id": "c1", "role": "user"}, [{"contact_id": "c2", "observed_at": "2026-03-02T00:00:00Z"}]],
    )
    records = read(request).records
    created = parse_time("2026-03-01T09:00:00Z")
    assert [v.observed_at for v in records.prospect] == [created]
    assert records.accounts is not None
    assert [(v.observed_at, v.values["country"]) for v in records.accounts["a1"]] == [
        (parse_time("2026-01-01T00:00:00Z"), "DE"),
        (parse_time("2026-03-04T00:00:00Z"), "FR"),
    ]
    assert records.contacts is not None
    assert {c: v[0].observed_at for c, v in records.contacts.items()} == {
        "c1": ALWAYS,
        "c2": parse_time("2026-03-02T00:00:00Z"),
    }


def test_versions_may_stand_flat_in_a_list_of_records_and_identical_ones_collapse() -> None:
    first = {"contact_id": "c1", "role": "user"}
    later = {"contact_id": "c1", "role": "buyer", "observed_at": "2026-03-02T00:00:00Z"}
    records = read(minimal(contacts=[later, first, first])).records
    assert records.contacts is not None
    assert [(v.observed_at, v.values["role"]) for v in records.contacts["c1"]] == [
        (ALWAYS, "user"),
        (parse_time("2026-03-02T00:00:00Z"), "buyer"),
    ]


def test_the_account_that_nobody_names_is_a_placeholder() -> None:
    records = read(minimal(account={"country": "FR"}, related={"prospects": [SIBLING], "events": []})).records
    assert records.prospect[0].values["account_id"] == ""
    assert records.accounts is not None
    assert list(records.accounts) == [""]
    assert records.accounts[""][0].values["account_id"] == ""
    assert records.related is not None
    assert records.related["p2"][0].values["account_id"] == ""
    contacts = [{"contact_id": "c1", "account_id": "a1"}, {"contact_id": "c2"}]  # a name that nothing contradicts
    people = read(minimal(account={"country": "FR"}, contacts=contacts)).records.contacts
    assert people is not None
    assert {c: v[0].values["account_id"] for c, v in people.items()} == {"c1": "a1", "c2": ""}


def test_the_account_is_implied_by_its_place() -> None:
    assert read(minimal()).records.prospect[0].values["account_id"] is None
    named = read(
        minimal(account={"account_id": "a1"}, contacts=[{"contact_id": "c"}], related={"prospects": [SIBLING]})
    )
    assert named.records.prospect[0].values["account_id"] == "a1"
    assert named.records.related is not None
    assert named.records.related["p2"][0].values["account_id"] == "a1"
    assert named.records.contacts is not None
    assert named.records.contacts["c"][0].values["account_id"] == "a1"
    request = minimal(account={"country": "FR"})
    request["prospect"]["account_id"] = "a1"
    accounts = read(request).records.accounts
    assert accounts is not None
    assert list(accounts) == ["a1"]
    sibling = read(minimal(related={"prospects": [{**SIBLING, "account_id": "a9"}]})).records
    assert sibling.prospect[0].values["account_id"] == "a9"


def test_a_prospect_that_changed_its_account_names_both() -> None:
    versions = [{**LATER, "account_id": "a1"}, {**LATER, "account_id": "a2", "observed_at": "2026-03-03T00:00:00Z"}]
    accounts = [{"account_id": a, "observed_at": "2026-01-01T00:00:00Z"} for a in ("a1", "a2")]
    moved = [{**SIBLING, "account_id": a, "observed_at": f"2026-03-0{d}T00:00:00Z"} for a, d in (("a7", 1), ("a2", 4))]
    records = read({"prospect": versions, "account": accounts, "related": {"prospects": [moved]}}).records
    assert [v.values["account_id"] for v in records.prospect] == ["a1", "a2"]
    assert records.accounts is not None
    assert set(records.accounts) == {"a1", "a2"}
    assert records.related is not None
    assert [v.values["account_id"] for v in records.related["p2"]] == ["a7", "a2"]
    assert refused({"prospect": versions, "account": {"country": "FR"}}).where == "account.account_id"
    assert (
        refused({"prospect": versions, "related": {"prospects": [SIBLING]}}).where == "related.prospects[0].account_id"
    )
    assert refused({"prospect": versions, "account": {"account_id": "a7"}}).code == "id_mismatch"


def test_a_version_may_say_that_the_account_is_unknown() -> None:
    versions = [LATER, {**LATER, "account_id": "a1", "observed_at": "2026-03-03T00:00:00Z"}]
    records = read({"prospect": versions, "account": {"account_id": "a1"}}).records
    assert [v.values["account_id"] for v in records.prospect] == [None, "a1"]


def test_related_records() -> None:
    outcome = {**OUTCOME, "prospect_id": "p2"}
    related = {"prospects": [SIBLING], "events": [SIBLINGS_EVENT, SIBLINGS_EVENT], "outcomes": [outcome]}
    records = read(minimal(related=related)).records
    at, lost = parse_time("2026-03-02T10:00:00Z"), parse_time("2026-03-04T12:00:00Z")
    assert records.related_events == (Event("e9", "p2", "call", at, at),)
    assert records.related_outcomes == (Outcome(f"p2|lost|{lost}", "p2", "lost", lost, lost),)
    assert records.events is None
    early = {**outcome, "occurred_at": "2025-12-31T00:00:00Z"}
    error = refused(minimal(related={**related, "outcomes": [early]}))
    assert (error.code, error.where) == ("outcome_before_creation", "related.outcomes[0].occurred_at")


def test_ids_may_be_repeated_where_they_agree() -> None:
    request = make_request()
    request["events"][0]["prospect_id"] = "p1"
    request["contacts"][0]["account_id"] = "a1"
    request["outcomes"] = [{**OUTCOME, "prospect_id": "p1"}]
    assert read(request).records.events == request_records()[0].events


HINDSIGHT = parse_dataset(
    """
[prospects.columns]
origin = {kind = "category"}
quality = {kind = "category", known = "never"}
source = {known = "never"}
[contacts.columns]
seniority = {kind = "number"}
"""
)


def test_a_column_filled_in_hindsight_is_accepted_and_ignored() -> None:
    request = minimal()
    request["prospect"].update(source="fair", attributes={"quality": "good", "origin": "paid"})
    values = read(request, HINDSIGHT).records.prospect[0].values
    assert values["origin"] == "paid"
    assert values.get("quality") is None
    assert values.get("source") is None
    request["prospect"]["attributes"]["quality"] = 3
    assert refused(request, HINDSIGHT).where == "prospect.attributes.quality"


def test_declared_columns_of_contacts() -> None:
    records = read(minimal(contacts=[{"contact_id": "c", "attributes": {"seniority": 2}}]), HINDSIGHT).records
    assert records.contacts is not None
    assert records.contacts["c"][0].values["seniority"] == 2.0
    assert type(records.contacts["c"][0].values["seniority"]) is float


def test_records_after_as_of_are_kept_for_the_features_to_leave_out() -> None:
    event = {"event_id": "e", "type": "call", "occurred_at": "2026-04-01T10:00:00Z"}
    parsed = read(minimal(events=[event], as_of="2026-03-05T00:00:00Z"))
    assert parsed.records.events is not None
    assert len(parsed.records.events) == 1


def test_a_batch_names_the_place_of_its_item() -> None:
    with pytest.raises(BadInput) as caught:
        schema.RequestReader(DATASET).read({"prospect": {"prospect_id": 1}}, NOW, "items[3]")
    assert caught.value.where == "items[3].prospect.prospect_id"
    for body, code, where in (
        ([], "wrong_type", ""),
        ({}, "missing_field", "items"),
        ({"items": {}}, "wrong_type", "items"),
        ({"items": [], "more": 1}, "unknown_field", "more"),
        ({"items": [1, 2, 3]}, "too_many_items", "items"),
    ):
        with pytest.raises(BadInput) as caught:
            schema.items_of(decode(json.dumps(body)), 2)
        assert (caught.value.code, caught.value.where) == (code, where)
    assert schema.items_of({"items": [1, 2]}, 2) == [1, 2]


# -- the reader and the published models agree -----------------------------------------------------------------------


@pytest.mark.parametrize("table", list(MODELS))
def test_the_models_have_the_fields_of_the_contract(table: str) -> None:
    fields = MODELS[table].model_fields
    columns = {c.name: c for c in STANDARD[table]}
    assert set(fields) - {"attributes"} == set(columns)
    assert ("attributes" in fields) == (table in ("prospects", "accounts", "contacts"))
    implied = {"prospects": set(), "accounts": {"account_id"}, "contacts": {"account_id"}}.get(table, {"prospect_id"})
    assert {n for n, f in fields.items() if f.is_required()} == {n for n, c in columns.items() if c.required} - implied


@pytest.mark.parametrize(
    ("model", "field", "values"),
    [
        (openapi.ProspectRecord, "regime", REGIMES),
        (openapi.ProspectRecord, "approach", APPROACHES),
        (openapi.ContactRecord, "role", ROLES),
        (openapi.EventRecord, "direction", DIRECTIONS),
    ],
)
def test_the_models_have_the_values_of_the_contract(
    model: type[BaseModel], field: str, values: tuple[str, ...]
) -> None:
    choices = typing.get_args(typing.get_args(model.model_fields[field].annotation)[0])
    assert choices == values


def _full() -> dict[str, Any]:
    """A request with every field of the contract."""
    version = {"observed_at": "2026-03-02T00:00:00Z"}
    prospect = {
        **LATER,
        "account_id": "a1",
        "source": "fair",
        "regime": "mass",
        "approach": "b2b",
        "tender_deadline": "2026-05-01T00:00:00Z",
        "attributes": {"origin": "radio", "budget": 1.5, "vip": False},
    }
    account = {
        **version,
        "account_id": "a1",
        "country": "FR",
        "industry": "62.01Z",
        "headcount": 12,
        "headcount_band": "11",
        "revenue": 1e6,
        "founded_on": "2001-02-03",
        "legal_form": "SARL",
        "public_body": True,
        "attributes": {},
    }
    contact = {**version, "contact_id": "c1", "account_id": "a1", "role": "user", "job_title": "CFO", "attributes": {}}
    event = {
        "event_id": "e1",
        "prospect_id": "p1",
        "type": "call",
        "occurred_at": "2026-03-02T10:00:00Z",
        "recorded_at": "2026-03-02T11:00:00Z",
        "contact_id": "c1",
        "direction": "inbound",
        "channel": "phone",
        "value": 2,
    }
    outcome = {
        "outcome_id": "o1",
        "prospect_id": "p1",
        "outcome": "won",
        "occurred_at": "2026-03-04T10:00:00Z",
        "recorded_at": "2026-03-04T11:00:00Z",
    }
    related = {
        "prospects": [{**prospect, "prospect_id": "p2"}],
        "events": [{**event, "event_id": "e2", "prospect_id": "p2"}],
        "outcomes": [{**outcome, "outcome_id": "o2", "prospect_id": "p2"}],
    }
    return {
        "prospect": prospect,
        "account": account,
        "contacts": [contact],
        "events": [event],
        "outcomes": [outcome],
        "related": related,
        "as_of": "2026-03-06T00:00:00Z",
        "goal": "won",
    }


def _places(request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The path of every object in a request."""

    def walk(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, dict):
            yield path
            for key, part in value.items():
                yield from walk(part, (*path, key))
        elif isinstance(value, list):
            for index, part in enumerate(value):
                yield from walk(part, (*path, index))

    return walk(request, ())


def _get(request: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        request = request[step]
    return request


def _model_accepts(request: Any) -> bool:
    try:
        openapi.ScoreRequest.model_validate_json(json.dumps(request), strict=True)
    except ValidationError:
        return False
    return True


def _reader_accepts(request: Any) -> bool:
    try:
        read(request)
    except BadInput:
        return False
    return True


def test_every_field_of_the_models_is_read_and_no_other() -> None:
    """Field by field through a full request: what one refuses, the other refuses."""
    full = _full()
    assert set(full) == set(openapi.ScoreRequest.model_fields)
    read(full)
    openapi.ScoreRequest.model_validate_json(json.dumps(full), strict=True)
    tried, emptied = 0, ("account", "prospect", "prospects")
    for path in _places(full):
        if path[-1:] == ("attributes",):
            continue
        for name in (*_get(full, path), "stranger"):
            for value in (None, [], {}, True, "", "word", 7, 1e300, "2026-03-02T00:00:00"):
                request = copy.deepcopy(full)
                _get(request, path)[name] = value
                if value == "" or name in ("account_id", "prospect_id") or (value == [] and name in emptied):
                    continue  # blank texts, and how records agree, are beyond a JSON schema
                assert _reader_accepts(request) == _model_accepts(request), (path, name, value)
                tried += 1
    assert tried > 400


def test_the_document_names_every_field() -> None:
    schemas = openapi.schemas()
    assert set(schemas["ScoreRequest"]["properties"]) == set(openapi.ScoreRequest.model_fields)
    for table, model in MODELS.items():
        assert set(schemas[model.__name__]["properties"]) == set(model.model_fields), table
    text = json.dumps(schemas)
    for word in ('"null"', "anyOf", "$defs", "const", "prefixItems"):  # not of OpenAPI 3.0
        assert word not in text
    references = {r.split('"')[0] for r in text.split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
    for name, entry in schemas.items():
        assert entry["description"], name


# -- fast paths are the plain ones ------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    ["e1", "page_view", " call", "D\u00e9mo", "", " ", "a b", "x\x00", "\ud800", "\x7f", "tab\t", "\u00a0x"]
)
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), TEXTS, st.just([]), st.just({}))
TIMES = st.sampled_from(
    [
        "2026-03-02T10:00:00Z",
        "2026-03-02T10:00:00.123456789Z",
        "2026-03-02T10:00:00",
        "2026-02-30T10:00:00Z",
        "2026-W01-1T00:00:00Z",
        "x",
    ]
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.one_of(TEXTS, ANYTHING),
        "type": st.one_of(TEXTS, ANYTHING),
        "occurred_at": st.one_of(TIMES, TIMES, ANYTHING),
        "recorded_at": st.one_of(TIMES, ANYTHING),
        "prospect_id": st.one_of(st.just("p1"), st.just("p2"), ANYTHING),
        "contact_id": st.one_of(TEXTS, ANYTHING),
        "direction": st.one_of(st.sampled_from(["inbound", " outbound", "up"]), ANYTHING),
        "channel": st.one_of(TEXTS, ANYTHING),
        "value": st.one_of(st.floats(-2e9, 2e9), ANYTHING),
        "stranger": ANYTHING,
    },
)


def _outcome_of(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except BadInput as e:
        return e.code, e.where, e.message


@settings(max_examples=400, deadline=None)
@given(EVENTS, st.booleans())
def test_the_straight_line_reads_events_as_field_by_field(event: dict[str, Any], related: bool) -> None:
    scope = rows.Scope("p1", related, {"p1": 0, "p2": 0})
    assert _outcome_of(rows.read_event, event, scope) == _outcome_of(rows.careful_event, event, scope)


def test_the_straight_line_is_taken_by_ordinary_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(rows, "careful_event")
    stored = {"contact_id": "3f0e8f5c-6f0a-4a49", "recorded_at": "2026-03-02T10:00:00.123456Z"}  # as the store gives it
    events = [*make_request()["events"], *_full()["events"]]
    for event in (*events, {**events[0], **stored}):
        assert isinstance(rows.read_event(event, rows.Scope("p1", False, None)), Event)


def _by_the_contract(text: str) -> Any:
    try:
        return parse_time(text)
    except ValueError:
        return None


@settings(max_examples=400, deadline=None)
@example("2026-W01-1T00:00:00Z")  # what the standard library takes beyond the contract
@example("2026-03-01T090000.0Z")
@given(
    st.one_of(
        st.datetimes().map(lambda d: d.strftime("%Y-%m-%dT%H:%M:%SZ")),
        st.from_regex(r"[0-9]{4}-[0-9W]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{2,7})?Z", fullmatch=True),
        st.from_regex(
            r"20[0-9]{2}-0[0-9]-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9:. ]{3}([0-9:. ]{3})?Z", fullmatch=True
        ),
        st.text("0123456789-:TWZ.,+ \u0661", min_size=20, max_size=20),
    )
)
def test_times_are_read_as_the_contract_does(text: str) -> None:
    try:
        found = values.read_time(text)
    except BadInput:
        found = None
    assert found == _by_the_contract(text)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=20,
    )
)
def test_whatever_json_is_sent_it_is_read_or_refused(value: Any) -> None:
    """No other exception ever leaves the reader, wherever the value stands."""
    assert decode(json.dumps(value)) == value
    for request in (
        value,
        minimal(account=value),
        minimal(events=[value]),
        minimal(related=value),
        {"prospect": value},
    ):
        with_attributes = minimal()
        with_attributes["prospect"]["attributes"] = value
        for sent in (request, with_attributes):
            try:
                parsed = parse_request(json.dumps(sent), DATASET, NOW)
            except BadInput:
                continue
            assert isinstance(parsed.records, Records)


def test_bytes_text_and_object_read_alike() -> None:
    request = make_request()
    text = json.dumps(request)
    assert parse_request(text, DATASET, NOW) == parse_request(text.encode(), DATASET, NOW)
    assert parse_request(request, DATASET, NOW) == parse_request(text, DATASET, NOW)


def test_the_features_of_a_parsed_request_are_those_of_its_records() -> None:
    from features.online import compile_features

    run = compile_features(SPEC)
    parsed, (records, as_of) = read(make_request()), request_records()
    assert run(parsed.records, parsed.as_of) == run(records, as_of)
    assert isinstance(parsed.records.prospect[0], Version)


@pytest.mark.parametrize("name", ["a1", "\u00e91"])  # read in one straight line, and field by field
def test_an_account_may_declare_a_column_of_the_name_of_a_prospects_creation(name: str) -> None:
    more = ("accounts", (Column("created_at", "category"),)), ("contacts", (Column("created_at", "category"),))
    dataset = replace(DATASET, declared=(*(d for d in DATASET.declared if d[0] == "prospects"), *more))
    request = make_request()
    account = {"account_id": name, "attributes": {"created_at": "long ago"}}
    request |= {"prospect": {**request["prospect"], "account_id": name, "attributes": {}}, "account": account}
    request["contacts"] = [{"contact_id": "c1", "attributes": {"created_at": "late"}}, {"contact_id": "c2"}]
    records = parse_request(json.dumps(request), dataset, NOW).records
    for versions in (*(records.accounts or {}).values(), *(records.contacts or {}).values()):
        assert [version.observed_at for version in versions] == [ALWAYS]
    assert (records.accounts or {})[name][0].values["created_at"] == "long ago"
