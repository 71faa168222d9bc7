"""A request that is read straight from its text is what the careful readers make of it, and so is every fault.

``LEADSCORE_PROOFS=1`` (``make proofs``) tries ten times as many cases.
"""

from __future__ import annotations

import copy
import hmac
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import DAY, TIME_MAX, Column, Dataset, parse_time
from features.errors import BadInput, LeadscoreError
from features.records import Records
from serving import completion, schema, service, values
from serving.ledger import tombstone
from serving.values import ReadEvents, ReadRequest, decode
from tests.fixtures_bundle import DATASET, make_request
from tests.test_store import CREATED, records

MANY = 10 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 1
NOW = parse_time("2026-06-01T00:00:00Z")
KINDS = (
    Column("a_category", "category"),
    Column("a_number", "number"),
    Column("a_boolean", "boolean"),
    Column("a_time", "time"),
    Column("a_date", "date"),
    Column("a_late", "number", known="never"),
    Column("a_cl\u00e9", "category"),
)
EVERY = Dataset(declared=(("prospects", KINDS), ("accounts", KINDS), ("contacts", KINDS)))
READERS = {"few": schema.RequestReader(DATASET), "every": schema.RequestReader(EVERY)}


def rich() -> dict[str, Any]:
    """A request with all that one may hold, as nearly everyone sends it."""
    at = "2026-03-05T09:00:00Z"
    told = {"a_category": "one", "a_number": 3, "a_boolean": True, "a_time": at, "a_late": 2.5}
    return {
        "account": {"account_id": "a1", "country": "FR", "headcount": 30.5, "public_body": False, "attributes": told},
        "as_of": "2026-04-01T00:00:00Z",
        "goal": None,
        "contacts": [
            {"contact_id": "c1", "role": "buyer", "attributes": {**told, "a_number": -0.0}},
            {"contact_id": "c2", "role": None, "account_id": "a1", "observed_at": at},
        ],
        "events": [
            {"event_id": "e1", "type": "call", "occurred_at": at, "contact_id": "c1", "value": 1.0},
            {"event_id": "e2", "type": "demo_request", "occurred_at": at, "direction": "inbound", "value": -2.25e-1},
        ],
        "outcomes": [
            {"outcome": "lost", "occurred_at": at, "recorded_at": "2026-03-06T09:00:00+01:00"},
            {"outcome_id": "o2", "outcome": "won", "occurred_at": at, "prospect_id": "p1"},
        ],
        "prospect": {
            "prospect_id": "p1",
            "created_at": "2026-03-01T09:00:00Z",
            "account_id": "a1",
            "source": "web search",
            "regime": "mass",
            "approach": "b2b",
            "attributes": {**told, "a_number": 12_345.678, "a_boolean": None},
        },
        "related": {
            "prospects": [{"prospect_id": "p2", "created_at": at}, {"prospect_id": "p3", "created_at": at}],
            "events": [
                {"event_id": "e3", "prospect_id": "p2", "type": "call", "occurred_at": at, "channel": "web"},
                {"event_id": "e4", "prospect_id": "p2", "type": "call", "occurred_at": at, "recorded_at": at}
                | {"value": -7, "contact_id": "c1", "direction": "outbound"},
            ],
            "outcomes": [{"prospect_id": "p2", "outcome": "won", "occurred_at": at}],
        },
    }  # fmt: skip


def body_of(text: str) -> bytes:
    return f'{{"items":[{text}]}}'.encode("utf-8", "surrogatepass")


def outcome(read: Any, *arguments: Any) -> Any:
    try:
        found = read(*arguments)
    except LeadscoreError as e:
        return e.code, e.where, e.message, e.remedy
    return repr(found), found  # of the same types too


def is_read(item: Any, reader: Any) -> bool:
    """Whether an item is read straight from its text to the end."""
    return type(item) is ReadRequest and reader._quick.take(item, NOW, NOW + schema._CLOCK_SKEW) is not None


def assert_read_alike(body: bytes, reader: Any) -> bool:
    """A batch is the same by both ways; returns whether all of its items were read straight.

    So is what stands in the list, sent by itself.
    """
    alone = body[len(b'{"items":[') : -len(b"]}")]
    assert repr(outcome(_decoded, alone)) == repr(outcome(decode, alone))
    try:
        wanted = schema.items_of(decode(body), 9)
    except BadInput as e:
        told = (e.code, e.where, e.message, e.remedy)
        assert outcome(schema.items_in, body, 9) == told
        return False
    found = schema.items_in(body, 9)
    assert repr([*map(values.listed, found)]) == repr(wanted)
    for item, data in zip(found, wanted, strict=True):
        assert outcome(reader.read, item, NOW, "items[0]") == outcome(reader.read, data, NOW, "items[0]")
        assert outcome(schema.goal_of, item) == outcome(schema.goal_of, data)
        assert service._weight(item) == service._weight(data)
        if type(item) is ReadRequest:
            assert repr(values.listed(values.unread(item))) == repr(data)
            assert item.prospect_id == completion.id_of(data, "prospect", "prospect_id")
            assert item.bare == completion.only_names(data)
    return all(is_read(item, reader) for item in found)


def _decoded(body: bytes) -> Any:
    found = values.decode_score(body)
    if type(found) is ReadRequest:
        assert found.text == body.strip(b" \n\r\t")
    return values.listed(found)


def built() -> None:
    if READERS["few"]._quick is None:
        pytest.skip("serving._rows was not built")


def written(request: Any, **how: Any) -> str:
    return json.dumps(request, **{"separators": (",", ":"), **how})


WORDS = ("a", "a1", "p1", "p2", "c1", "e1", "won", "buyer", "mass", " a", "a\\b", "\u00e9", "\x7f", "\0", "", " ")
TIMES = ("2026-03-05T09:00:00Z", "2026-03-05T09:00:00.123+02:00", "2026-03-05", "2026-02-30T09:00:00Z")
NUMBERS = (0, -0.0, 7, 1.5, 2**53, 10**16, -(10**15), 1e300, 5e-324, 0.1)


def places(value: Any) -> list[Any]:
    """All objects and lists of a value."""
    inner = value.values() if type(value) is dict else value if type(value) is list else ()
    own = [value] if type(value) in (dict, list) else []
    return [*own, *(found for each in inner for found in places(each))]


# -- what is read straight ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"indent": 1}, {"separators": (" , ", " :\n")}])
@pytest.mark.parametrize("name", ["few", "every"])
def test_what_nearly_everyone_sends_is_read_straight(name: str, how: Any) -> None:
    built()
    request = make_request() if name == "few" else rich()
    assert assert_read_alike(body_of(written(request, **how)), READERS[name])
    (item,) = schema.items_in(body_of(written(request)), 1)
    assert type(READERS[name].read(item, NOW).records.events) is ReadEvents


def test_what_the_benchmark_sends_is_read_straight() -> None:
    from benchmarks.serve import bodies

    built()
    requests = bodies({**rich(), "outcomes": []}, 20)[:3]
    assert assert_read_alike(body_of(",".join(map(written, requests))), READERS["every"])


@pytest.mark.parametrize("name", sorted(rich()))
def test_what_is_left_out_or_null_is_read_straight_too(name: str) -> None:
    built()
    for request in ({**rich(), name: None}, {key: value for key, value in rich().items() if key != name}):
        assert assert_read_alike(body_of(written(request)), READERS["every"]) == (name != "prospect")


def test_a_prospect_that_names_no_account_is_read_straight_where_it_stands_alone() -> None:
    built()
    sound = rich()
    del sound["prospect"]["account_id"], sound["account"], sound["related"], sound["contacts"][1]["account_id"]
    assert assert_read_alike(body_of(written(sound)), READERS["every"])
    assert assert_read_alike(body_of(written({"prospect": sound["prospect"]})), READERS["every"])
    for more in (
        {"account": {"country": "FR"}},
        {"account": {"account_id": "a1"}},
        {"related": {"prospects": []}},
        {"contacts": [{"contact_id": "c1", "account_id": "a1"}]},
    ):
        assert not assert_read_alike(body_of(written({**sound, **more})), READERS["every"])


@pytest.mark.parametrize("name", ["prospects", "events", "outcomes"])
def test_of_related_ones_too(name: str) -> None:
    built()
    for related in ({**rich()["related"], name: None}, {name: rich()["related"][name]}, {}):
        assert_read_alike(body_of(written({**rich(), "related": related})), READERS["every"])
    assert assert_read_alike(body_of(written({**rich(), "related": {name: []}})), READERS["every"])


# -- what is not -------------------------------------------------------------------------------------------------------

ODD = [
    ('"p1"', '"p\\u0031"'),
    ('"p1"', '"p\u00e9"'),
    ('"p1"', '" "'),
    ('"p1"', "7"),
    ('"goal":null', '"goal":" won"'),
    ('"goal":null', '"goal":7'),
    ('"as_of":"2026', '"as_of":"1026'),
    ('"as_of":"2026', '"as_of":"2027'),  # to come
    ('"as_of":"2026-04', '"as_of":"2026-02'),  # before it was created
    ('"goal":null', '"more":null'),
    ('"goal":null', '"goal":null,"goal":null'),
    ('"goal":null', '"event\\u0073":[]'),
    ('"goal":null', '"events":[]'),
    ('"role":"buyer"', '"role":"queen"'),
    ('"role":"buyer"', '"role":""'),
    ('"role":"buyer"', '"role":"buyer","role":"buyer"'),
    ('"role":"buyer"', '"name":"x"'),
    ('"contact_id":"c2"', '"contact_id":"c1"'),  # twice
    ('"contact_id":"c2"', '"contact_id":null'),
    ('"contact_id":"c2","role":null,"account_id":"a1"', '"contact_id":"c2","account_id":"a2"'),
    ('"headcount":30.5', '"headcount":030.5'),
    ('"headcount":30.5', '"headcount":1e999'),
    ('"headcount":30.5', '"headcount":9007199254740993'),
    ('"headcount":30.5', '"headcount":NaN'),
    ('"headcount":30.5', '"headcount":"30"'),
    ('"headcount":30.5', '"headcount":true'),
    ('"public_body":false', '"public_body":0'),
    ('"public_body":false', '"public_body":falsy'),
    ('"public_body":false', '"siren":"552100554"'),
    ('"public_body":false', '"attributes":{}'),
    ('"country":"FR"', '"country":"FR "'),
    ('"country":"FR"', '"country":{}'),
    ('"country":"FR"', '"country":[[[[[[[[]]]]]]]]'),
    ('"a_time":"2026-03-05T09:00:00Z"', '"a_time":"2026-03-05T09:00:00"'),
    ('"a_time":"2026-03-05T09:00:00Z"', '"a_date":"2026-03-05"'),
    ('"a_category":"one"', '"source":"one"'),
    ('"a_category":"one"', '"attributes":{}'),
    ('"a_category":"one"', '"a_cl\u00e9":"one"'),
    ('"attributes":{"a_cat', '"attributes":[],"more":{"a_cat'),
    ('"outcome":"lost"', '"outcome":null'),
    ('"outcome":"lost"', '"result":"lost"'),
    ('"outcome_id":"o2"', '"outcome_id":"p1|lost|1772701200000000"'),  # as the other one's is by default
    ('"outcome_id":"o2"', '"outcome_id":""'),
    ('"outcome":"won","occurred_at":"2026', '"outcome":"won","occurred_at":"2025'),  # before it was created
    ('"prospect_id":"p2","outcome"', '"prospect_id":"p9","outcome"'),
    ('"prospect_id":"p2","outcome"', '"prospect_id":"p1","outcome"'),
    ('"prospect_id":"p2","outcome"', '"outcome"'),
    ('"prospect_id":"p3"', '"prospect_id":"p2"'),
    ('"prospect_id":"p3"', '"prospect_id":"p1"'),
    ('"prospect_id":"p3",', '"prospect_id":"p3","created_at":null}],"x":[{'),
    ('"related":{', '"related":{"more":[],'),
    ('"related":{', '"related":[],"more":{'),
    ('"events":[{"event_id":"e3"', '"events":{"event_id":"e3"},"more":[{"event_id":"e3"'),
    ('"event_id":"e3","prospect_id":"p2"', '"event_id":"e3"'),
    ('"event_id":"e3","prospect_id":"p2"', '"event_id":"e3","prospect_id":"p1"'),
    ('"event_id":"e3","prospect_id":"p2"', '"event_id":"e3","prospect_id":"p9"'),
    ('"event_id":"e3"', '"event_id":"e4"'),
    ('"event_id":"e3"', '"event_id":"e1"'),
    ('"event_id":"e3"', '"event_id":null'),
    ('"channel":"web"', '"channel":"web "'),
    ('"channel":"web"', '"retracted_at":null'),
    ('"channel":"web"', '"outcome_id":"o9"'),
    ('"value":-7', '"value":1000000001'),
    ('"value":-7', '"value":1e999'),
    ('"value":-7', '"value":true'),
    ('"direction":"outbound"', '"direction":"sideways"'),
    ('"account_id":"a1","source"', '"account_id":"a2","source"'),
    ('"account_id":"a1","source"', '"source"'),  # named by its account alone
    ('"event_id":"e2"', '"event_id":"e1"'),
    ('"type":"call"', '"type":"call","prospect_id":"p2"'),
    ('"events":[{"event_id":"e1"', '"events":true,"more":[{"event_id":"e1"'),
    ('{"prospect_id":"p1",', '[{"prospect_id":"p1","observed_at":"2026-03-02T09:00:00Z",'),
]


@pytest.mark.parametrize(("old", "new"), ODD)
def test_what_is_odd_is_left_to_the_careful_readers(old: str, new: str) -> None:
    text = written(rich())
    assert old in text
    assert not assert_read_alike(body_of(text.replace(old, new)), READERS["every"])
    assert not assert_read_alike(body_of(f"{text},{text.replace(old, new)},{text}"), READERS["every"])


def test_every_value_is_replaced_by_every_other() -> None:
    """The reader of one that is found where another is expected must not pass it over."""
    request = rich()
    read = 0
    for place in places(request):
        for key in [*place] if type(place) is dict else range(len(place)):
            kept = place[key]
            for odd in (None, True, [], {}, [{}], *WORDS, *TIMES, *NUMBERS):
                place[key] = odd
                read += assert_read_alike(body_of(written(request)), READERS["every"])
            place[key] = kept
    assert read > 100 or READERS["every"]._quick is None


def test_every_joint_of_a_text_is_damaged() -> None:
    text = written(rich() | {"goal": None})
    joints = [i for i, c in enumerate(text) if c in '{}[],:"']
    for i in joints:
        for damaged in (text[:i] + text[i + 1 :], *(text[:i] + more + text[i:] for more in (",", "{", "]", "1", "\\"))):
            assert_read_alike(body_of(damaged), READERS["every"])


def test_a_list_of_versions_is_left_to_the_careful_readers() -> None:
    at = {"observed_at": "2026-03-05T09:00:00Z"}
    request = rich()
    for name in ("prospect", "account"):
        assert not assert_read_alike(body_of(written({**request, name: [request[name] | at]})), READERS["every"])
    for more in ({"contacts": [[request["contacts"][0] | at]]}, {"related": {"prospects": [[]]}}):
        assert not assert_read_alike(body_of(written({**request, **more})), READERS["every"])


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [1, 3, 9, 300_000])
def test_what_is_nested_deeply_is_left(opens: str, closes: str, depth: int) -> None:
    deep = opens * depth + "1" + closes * depth
    assert not assert_read_alike(body_of(written(rich()).replace('"FR"', deep)), READERS["every"])


def test_an_object_of_many_keys_is_left() -> None:
    request = rich()
    request["prospect"]["attributes"] = {f"key {i}": i for i in range(100)}
    assert not assert_read_alike(body_of(written(request)), READERS["every"])
    assert not assert_read_alike(body_of(written({f"key {i}": i for i in range(100)})), READERS["every"])


# -- whatever is sent --------------------------------------------------------------------------------------------------

ODDS = st.one_of(
    st.sampled_from([None, True, False, [], {}, [{}], [[]], *WORDS, *TIMES, *NUMBERS]),
    st.floats(-1e9, 1e9),
    st.integers(-(10**17), 10**17),
    st.text(max_size=3),
)
KEYS = ("prospect_id", "account_id", "contact_id", "outcome_id", "created_at", "observed_at", "recorded_at", "source")
OTHERS = ("role", "regime", "attributes", "events", "goal", "more", "siren", "founded_on", "prospects", "outcomes")
NAMES = st.sampled_from([*KEYS, *OTHERS, *(column.name for column in KINDS)])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A request that is nearly one that is read straight, as a text."""
    request = rich()
    if draw(st.integers(0, 3)) == 0:
        del request["prospect"]["account_id"], request["account"], request["related"]
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.sampled_from(places(request)))
        how = draw(st.integers(0, 3))
        if type(place) is list:
            if how == 0 and place:
                place.append(dict(place[0]) if type(place[0]) is dict else place[0])
            elif how == 1 and place:
                place.pop()
            elif how == 2:
                place.append(copy.deepcopy(draw(ODDS)))
        elif how == 0 or not place:
            place[draw(NAMES)] = copy.deepcopy(draw(ODDS))
        elif how == 1:
            del place[draw(st.sampled_from([*place]))]
        else:
            place[draw(st.sampled_from([*place]))] = copy.deepcopy(draw(ODDS))
    if draw(st.booleans()):
        request = dict(draw(st.permutations([*request.items()])))
    separators = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), (" ,", "\t:")]))
    text = written(request, separators=separators, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 3)) == 0:  # damaged
        start = draw(st.integers(0, len(text)))
        damage = ["", "{", "}", "[", "]", '"', ",", ":", "\\", "\0", "\u00e9", "null", "0", "-", ".", "e", " ", "\n"]
        damage += ['"goal":null,', '"role":null,', "{},", "[],", "tru", '{"items":[']
        text = text[:start] + draw(st.sampled_from(damage)) + text[start + draw(st.integers(0, 2)) :]
    return text


@settings(max_examples=1_500 * MANY, deadline=None)
@given(st.lists(texts(), min_size=1, max_size=2))
def test_whatever_is_sent_is_read_alike(items: list[str]) -> None:
    assert_read_alike(body_of(",".join(items)), READERS["every"])


def test_much_of_what_is_sent_is_read_straight() -> None:
    """Else the test above would compare the careful readers with themselves."""
    built()
    taken = []

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(texts())
    def send(text: str) -> None:
        taken.append(assert_read_alike(body_of(text), READERS["every"]))

    send()
    assert 0.15 < sum(taken) / len(taken) < 0.9


@pytest.mark.parametrize("whole", [written(rich()), written(make_request(), indent=1)])
def test_a_body_that_ends_anywhere_is_read_alike(whole: str) -> None:
    body = body_of(whole)
    for size in range(len(body)):
        assert not assert_read_alike(body[:size], READERS["every"])


def test_numbers_are_those_of_the_whole_decoder() -> None:
    built()
    for text in ("0", "-0", "0.0", "-0.0", "1e5", "1E+05", "-1.25e-3", "123456789012345", "-12345678901234", "1e22"):
        (item,) = schema.items_in(body_of(written(rich()).replace("12345.678", text)), 1)
        assert is_read(item, READERS["every"])
    for text in ("0.1", "0.30000000000000004", "1e23", "123456789012345678", "5e-324", "2.2250738585072011e-308"):
        assert_read_alike(body_of(written(rich()).replace("12345.678", text)), READERS["every"])


@settings(max_examples=300 * MANY, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**18), 10**18)
    | st.builds(lambda a, b: a / 10**b, st.integers(-(10**16), 10**16), st.integers(0, 18))
)
def test_a_number_is_that_of_the_whole_decoder(number: float) -> None:
    text = written(rich()).replace("12345.678", repr(number)).replace("-0.225", repr(number))
    assert_read_alike(body_of(text), READERS["every"])


def test_a_request_is_read_anew_by_each_reader() -> None:
    built()
    (item,) = schema.items_in(body_of(written(make_request())), 1)
    first, second = (READERS["few"].read(item, NOW) for _ in range(2))
    assert first == second
    assert first.records.prospect[0].values is not second.records.prospect[0].values
    assert outcome(READERS["every"].read, item, NOW) == outcome(READERS["every"].read, make_request(), NOW)


def test_one_that_was_made_by_hand_is_empty() -> None:
    built()
    empty = ReadRequest(b'{"prospect":{}}')
    assert (empty.text, empty.apart(), empty.listed(), empty.prospect_id) == (b"", (b"", None), 0, None)
    assert READERS["few"]._quick.take(empty, NOW, NOW) is None
    tables = (READERS["few"]._prospects.compiled,) * 3
    with pytest.raises(ValueError, match="other requests"):
        type(READERS["few"]._quick)(*tables, Records)


def test_a_time_to_come_is_warned_of() -> None:
    for later in (0, DAY // 24, DAY // 24 + 1, TIME_MAX - NOW):
        request = {**rich(), "as_of": values.format_time(NOW + later)}
        (item,) = schema.items_in(body_of(written(request)), 1)
        found = READERS["every"].read(item, NOW)
        assert found == READERS["every"].read(request, NOW)
        assert bool(found.warnings) == (later > DAY // 24)


@pytest.mark.parametrize("size", [0, 1, 32, 64, 65, 200])
def test_a_tombstone_is_the_hmac_of_an_id(size: int) -> None:
    for kind, id in (("prospects", "p1"), ("contacts", "\u00e9" * 100), ("prospects", "")):
        key = bytes(range(size))
        assert tombstone(key, kind, id) == hmac.digest(key, f"{kind}/{id}".encode(), "sha256").hex()


def test_of_strangers_that_are_read_straight_the_store_is_asked_as_of_others(tmp_path: Path) -> None:
    live = records(f"sqlite:///{tmp_path / 'live.db'}")
    live.put("prospects", "stored", {"created_at": CREATED})
    live.history.prospect("stored", None)
    prospects = [{"prospect_id": name, "source": more} for name in ("stored", "nobody") for more in (None, "web")]
    requests = [{"prospect": prospect, "as_of": CREATED} for prospect in prospects]
    items = schema.items_in(body_of(",".join(map(written, requests))), 9)
    found, wanted = live.alone(items, 5), live.alone(requests, 5)
    assert [type(one) for one in found] == [type(one) for one in wanted]
    assert [getattr(one, "code", "") for one in found] == ["", "", "unknown_prospect", ""]
    assert str(found[2]) == str(wanted[2])
    asked = [[(each, READERS["few"]) for each in some] for some in (items, requests)]
    assert repr(live.at_once(asked[0], 5)) == repr(live.at_once(asked[1], 5))


def test_a_batch_of_too_many_items_takes_no_room_for_them() -> None:
    """An item that is read straight takes more room than its text."""
    built()
    body = body_of(",".join([written(make_request())] * 3))
    assert values.decode_items(body, 2) is None
    assert len(values.decode_items(body, 3) or ()) == 3
    with pytest.raises(BadInput, match="3 items, more than 2"):
        schema.items_in(body, 2)


def test_contacts_weigh_too() -> None:
    request = {**make_request(), "contacts": [{"contact_id": f"c{i}"} for i in range(400)]}
    (item,) = schema.items_in(body_of(written(request)), 1)
    assert service._weight(item) == service._weight(decode(written(request))) >= 3.0
