"""HubSpot's webhooks: the signature, the mapping, and what repeated and late deliveries leave in the store."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa

from features.contract import format_time, parse_time
from features.errors import BadInput, LeadscoreError
from serving.hook import SEEN, Hook, LiveWriter, apply
from serving.hubspot import (
    DEFAULT,
    FILE,
    PATH,
    Erase,
    Fact,
    Merge,
    Patch,
    check_signature,
    notices_of,
    parse_mapping,
    records_of,
    sign,
    signed_uri,
)
from serving.resources import LiveRecords
from serving.settings import Settings
from serving.store import FACTS, NAMES, VERSIONS, open_store
from tests.postgres import postgres
from tests.server import point, put_bundle, serving, until

SECRET = "a-client-secret"
URL = "https://score.example.com"
AT = 1_795_168_800_000  # milliseconds
RULES = parse_mapping(DEFAULT, Path(FILE))
_numbers = itertools.count(1)


def notice(kind: str, **more: Any) -> dict[str, Any]:
    """A notice as HubSpot sends it."""
    one = {
        "appId": 1,
        "eventId": next(_numbers),
        "subscriptionId": 7,
        "portalId": 2,
        "occurredAt": AT,
        "subscriptionType": kind,
        "attemptNumber": 0,
        "objectId": 101,
        "changeSource": "CRM_UI",
    }
    return {**one, **more}


def change(name: str, value: Any, object: str = "contact", **more: Any) -> dict[str, Any]:
    return notice(f"{object}.propertyChange", propertyName=name, propertyValue=value, **more)


# -- the signature -----------------------------------------------------------------------------------------------------


def headers(body: bytes, query: str = "", at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers that HubSpot would send, made by the rule of its documentation and not by our code."""
    timestamp = str(int((time.time() if at is None else at) * 1000))
    uri = f"{URL}{PATH}" + (f"?{query}" if query else "")
    text = "POST" + uri + body.decode() + timestamp
    mac = hmac.new(SECRET.encode() if secret == SECRET else secret.encode(), text.encode(), hashlib.sha256)
    return {
        "x-hubspot-signature-v3": base64.b64encode(mac.digest()).decode(),
        "x-hubspot-request-timestamp": timestamp,
    }


def check(given: dict[str, str], body: bytes, query: str = "", now: float | None = None, base: str = URL) -> str:
    """The code of the refusal, "" where the delivery is taken."""
    try:
        at = time.time() if now is None else now
        check_signature(given, SECRET, "POST", base, query, body, int(at * 1e6))
    except LeadscoreError as e:
        return e.code
    return ""


def test_a_signed_delivery_is_taken_and_no_other() -> None:
    body = '[{"propertyValue": "Élise"}]'.encode()
    good = headers(body)
    assert check(good, body) == ""
    assert check(good, body, base=URL + "/") == ""
    assert check(good, body + b" ") == "bad_signature"
    assert check(good, body, query="x=1") == "bad_signature"
    assert check(good, body, base="http://score.example.com") == "bad_signature"
    assert check(headers(body, secret="another"), body) == "bad_signature"
    for name in good:
        assert check({k: v for k, v in good.items() if k != name}, body) == "bad_signature"
    later = {**good, "x-hubspot-request-timestamp": str(int(good["x-hubspot-request-timestamp"]) + 1)}
    assert check(later, body) == "bad_signature"
    for odd in ("", "now", "-1", "1e3", "²", "9" * 40):
        assert check({**good, "x-hubspot-request-timestamp": odd}, body) == "bad_signature"
    for signature in ("", "x", "\u00e9"):
        assert check({**good, "x-hubspot-signature-v3": signature}, body) == "bad_signature"


def test_a_delivery_is_good_for_five_minutes() -> None:
    now = time.time()
    for age, code in ((0, ""), (299, ""), (301, "bad_signature"), (-299, ""), (-301, "bad_signature")):
        assert check(headers(b"[]", at=now - age), b"[]", now=now) == code, age


def test_the_uri_is_decoded_as_hubspot_does() -> None:
    """Twelve characters, and no others: a space or a percent sign stays as it is."""
    text = ":/?@!$'()*,; %&é"
    encoded = quote(text, safe="")
    assert signed_uri(URL, f"q={encoded}") == f"{URL}{PATH}?q=:/?@!$'()*,;%20%25%26%C3%A9"
    assert signed_uri(URL, f"q={encoded.lower()}").startswith(f"{URL}{PATH}?q=:/?@!$'()*,;")
    assert check(headers(b"[]", query="q=a:b"), b"[]", query="q=a%3Ab") == ""
    assert sign("s", "POST", "u", b"b", "1") == base64.b64encode(hmac.digest(b"s", b"POSTub1", "sha256")).decode()


# -- the mapping -------------------------------------------------------------------------------------------------------


def test_properties_become_fields() -> None:
    at = AT * 1000
    for given, wanted in (
        (change("jobtitle", "DSI"), [Patch("contacts", "101", {"job_title": "DSI"}, at)]),
        (change("hs_buying_role", "INFLUENCER"), [Patch("contacts", "101", {"role": "prescriber"}, at)]),
        (change("hs_buying_role", "OTHER"), [Patch("contacts", "101", {"role": None}, at)]),
        (change("numberofemployees", "25", "company"), [Patch("accounts", "101", {"headcount": 25.0}, at)]),
        (change("numberofemployees", "", "company"), [Patch("accounts", "101", {"headcount": None}, at)]),
        (
            change("associatedcompanyid", 55),
            [Patch("prospects", "101", {"account_id": "55"}, at), Patch("contacts", "101", {"account_id": "55"}, at)],
        ),
        (change("createdate", str(AT)), [Patch("prospects", "101", {"created_at": format_time(at)}, at)]),
        (
            change("createdate", "2026-03-01T09:00:00Z"),
            [Patch("prospects", "101", {"created_at": "2026-03-01T09:00:00Z"}, at)],
        ),
        (change("email", "person@example.com"), []),
        (change("jobtitle", "x", "deal"), []),
        (notice("contact.creation"), [Patch("prospects", "101", {}, at), Patch("contacts", "101", {}, at)]),
        (notice("object.creation", objectTypeId="0-2"), [Patch("accounts", "101", {}, at)]),
        (notice("contact.deletion"), []),
        (notice("contact.privacyDeletion"), [Erase("prospects", "101"), Erase("contacts", "101")]),
        (notice("conversation.newMessage"), []),
    ):
        assert records_of(given, RULES) == wanted, given


def test_engagements_become_events_and_stages_outcomes() -> None:
    opened = change("hs_email_last_open_date", str(AT - 5000), eventId=9)
    touched, fact = records_of(opened, RULES)
    assert touched == Patch("prospects", "101", {}, AT * 1000)
    assert fact == Fact(
        "events",
        {
            "event_id": f"hubspot-9-7-101-{AT}-email_open",
            "prospect_id": "101",
            "contact_id": "101",
            "type": "email_open",
            "occurred_at": format_time((AT - 5000) * 1000),
            "direction": "inbound",
            "channel": "email",
        },
    )
    assert records_of({**opened, "attemptNumber": 3}, RULES) == [touched, fact]  # a repeated notice is the same
    assert records_of({**opened, "propertyValue": ""}, RULES) == []
    for value in (str(AT + 1), "never", None):  # no time that can be: that of the notice
        changes = records_of({**opened, "propertyValue": value}, RULES)
        assert [c.item["occurred_at"] for c in changes if isinstance(c, Fact)] == (
            [] if value is None else [format_time(AT * 1000)]
        )
    won = records_of(change("lifecyclestage", "customer"), RULES)
    assert won[1] == Fact(
        "outcomes",
        {
            "outcome_id": f"hubspot-101-{AT}-won",
            "prospect_id": "101",
            "outcome": "won",
            "occurred_at": format_time(AT * 1000),
        },
    )
    assert records_of(change("lifecyclestage", "lead"), RULES) == []


def test_an_association_is_one_event_from_either_end() -> None:
    one = notice("contact.associationChange", associationType="CONTACT_TO_MEETING", fromObjectId=101, toObjectId=8)
    other = notice(
        "object.associationChange", fromObjectTypeId="0-47", toObjectTypeId="0-1", fromObjectId=8, toObjectId=101
    )
    assert records_of(one, RULES) == records_of(other, RULES)
    assert records_of(one, RULES)[1].item["event_id"] == "hubspot-meeting-8-101-meeting"  # type: ignore[union-attr]
    assert records_of({**one, "associationRemoved": True}, RULES) == []
    deals = parse_mapping(
        '[[records]]\nobject = "deal"\ntable = "prospects"\nassociations = {company = "account_id"}', Path(FILE)
    )
    joined = notice("deal.associationChange", associationType="DEAL_TO_COMPANY", fromObjectId=3, toObjectId=55)
    assert records_of(joined, deals) == [Patch("prospects", "3", {"account_id": "55"}, AT * 1000)]
    left = {**joined, "associationRemoved": True}
    assert records_of(left, deals) == [Patch("prospects", "3", {"account_id": None}, AT * 1000)]


def test_merged_objects_are_one() -> None:
    merged = notice("contact.merge", primaryObjectId=1, mergedObjectIds=[2, 3], newObjectId=4)
    assert [c for c in records_of(merged, RULES) if isinstance(c, Merge)] == [
        Merge(table, id, "4") for table in ("prospects", "contacts") for id in ("1", "2", "3")
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"occurredAt": None},
        {"occurredAt": "soon"},
        {"objectId": None},
        {"objectId": {}},
        {"subscriptionType": "contact.propertyChange", "propertyName": 3},
        {"subscriptionType": "company.propertyChange", "propertyName": "numberofemployees", "propertyValue": "many"},
        {"subscriptionType": "contact.merge", "mergedObjectIds": 3},
        {"subscriptionType": "contact.merge", "mergedObjectIds": [None]},
        {"subscriptionType": "contact.associationChange"},
    ],
)
def test_a_broken_notice_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        records_of({**notice("contact.creation"), **bad}, RULES)


def test_deliveries_are_lists_of_objects_in_the_order_of_time() -> None:
    late, early, born = change("a", "1", occurredAt=AT + 9), change("a", "2"), notice("contact.creation")
    assert notices_of([late, early, born]) == [born, early, late]
    assert notices_of(early) == [early]
    for bad in (None, "x", 3, [3], [[]]):
        with pytest.raises(BadInput):
            notices_of(bad)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[", "TOML"),
        ("[[record]]\n", "part"),
        ("records = 3", "list"),
        ('[[records]]\nobject = "contact"', "lacks"),
        ('[[records]]\nobject = "contact"\ntable = "people"', "people"),
        ('[[records]]\nobject = "contact"\ntable = "contacts"\nfields = {x = "email"}', "email"),
        ('[[records]]\nobject = "contact"\ntable = "contacts"\nfields = {x = 3}', "no field"),
        ('[[records]]\nobject = "contact"\ntable = "contacts"\nfields = "x"', "fields"),
        ('[[records]]\nobject = "contact"\ntable = "contacts"\nkinds = {x = "money"}', "kinds"),
        ('[[events]]\nobject = "contact"\ntype = "x"\nproperty = "y"', "no prospect"),
        ('[[events]]\nobject = "contact"\ntype = "x"', "either"),
        ('[[events]]\nobject = "contact"\ntype = "x"\nproperty = "y"\ndirection = "up"', "direction"),
        ('[[outcomes]]\nobject = "contact"\nproperty = "x"\nvalues = {a = 1}', "values"),
    ],
)
def test_a_wrong_mapping_is_told_with_its_place(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(LeadscoreError) as caught:
        parse_mapping(text, tmp_path / FILE)
    assert caught.value.code == "bad_mapping"
    assert word in caught.value.message
    assert caught.value.where == str(tmp_path / FILE)


# -- into the store ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def databases() -> Iterator[Any]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveRecords]:
    sqlite = f"sqlite:///{tmp_path / 'live.db'}"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("databases").database()
    live = LiveRecords(open_store(url), list, 1000)
    yield live
    live.close()


STORY = [
    notice("company.creation", objectId=55),
    change("country", "FR", "company", objectId=55),
    change("numberofemployees", "25", "company", objectId=55, occurredAt=AT + 10),
    change("numberofemployees", "30", "company", objectId=55, occurredAt=AT + 5_000),
    notice("contact.creation"),
    change("jobtitle", "Acheteuse"),
    change("associatedcompanyid", "55", occurredAt=AT + 20),
    change("hs_analytics_source", "PAID_SEARCH", occurredAt=AT + 30),
    change("hs_email_last_open_date", str(AT + 40), occurredAt=AT + 50),
    change("hs_email_last_open_date", str(AT + 60), occurredAt=AT + 70),
    notice(
        "contact.associationChange",
        associationType="CONTACT_TO_CALL",
        fromObjectId=101,
        toObjectId=8,
        occurredAt=AT + 80,
    ),
    notice(
        "call.associationChange", associationType="CALL_TO_CONTACT", fromObjectId=8, toObjectId=101, occurredAt=AT + 80
    ),
    change("lifecyclestage", "customer", occurredAt=AT + 90),
]


def check_the_story(live: LiveRecords) -> None:
    body = live.prospect("101", None)
    prospect = {k: v for k, v in body["prospect"].items() if k != "observed_at"}
    assert prospect == {
        "prospect_id": "101",
        "created_at": format_time(AT * 1000),
        "account_id": "55",
        "source": "PAID_SEARCH",
    }
    account = {k: v for k, v in body["account"].items() if k != "observed_at"}
    assert account == {"account_id": "55", "country": "FR", "headcount": 30}
    people = [{k: v for k, v in c.items() if k != "observed_at"} for c in body["contacts"]]
    assert people == [{"contact_id": "101", "account_id": "55", "job_title": "Acheteuse"}]
    assert sorted(e["type"] for e in body["events"]) == ["call", "email_open", "email_open"]
    assert {e["contact_id"] for e in body["events"]} == {"101"}
    assert [o["outcome"] for o in body["outcomes"]] == ["won"]


def test_a_story_is_what_the_store_holds_in_whatever_order_and_however_often_it_comes(live: LiveRecords) -> None:
    """Deliveries of random notices, some of them again and again, until each has come at least once."""
    writer = LiveWriter(live)
    rng = random.Random(5)
    assert apply(notices_of(STORY), RULES, writer)["refused"] == []
    check_the_story(live)
    again = apply(notices_of(STORY), RULES, writer)
    assert (again["accepted"], again["refused"]) == (0, [])
    for _ in range(10):
        assert apply(notices_of(rng.choices(STORY, k=4)), RULES, writer)["accepted"] == 0
    check_the_story(live)


def test_an_order_that_overtakes_itself_ends_the_same(live: LiveRecords) -> None:
    writer = LiveWriter(live)
    notices = STORY[:]
    random.Random(3).shuffle(notices)
    # Its creation is known from the first notice on, whichever that is; here all but the latest come with it.
    for one in [STORY[4], *notices]:
        assert apply([one], RULES, writer)["refused"] == []
    check_the_story(live)


def test_a_person_without_a_company_stands_alone(live: LiveRecords) -> None:
    writer = LiveWriter(live)
    apply([notice("contact.creation"), change("jobtitle", "DSI")], RULES, writer)
    body = live.prospect("101", None)
    assert body["prospect"]["account_id"] == body["contacts"][0]["account_id"] == "of-101"
    apply([change("associatedcompanyid", "55", occurredAt=AT + 1)], RULES, writer)
    apply([change("associatedcompanyid", "", occurredAt=AT + 2)], RULES, writer)
    assert live.prospect("101", None)["prospect"]["account_id"] == "of-101"


def test_merging_and_privacy(live: LiveRecords) -> None:
    writer = LiveWriter(live)
    apply([notice("contact.creation"), notice("contact.creation", objectId=102)], RULES, writer)
    apply([change("hs_email_last_open_date", str(AT), objectId=102)], RULES, writer)
    merged = notice("contact.merge", primaryObjectId=101, mergedObjectIds=[102])
    assert apply([merged], RULES, writer)["refused"] == []
    assert apply([merged], RULES, writer)["accepted"] == 0
    body = live.prospect("102", None)
    assert body["prospect"]["prospect_id"] == "101"
    assert len(body["events"]) == 1
    gone = notice("contact.privacyDeletion")
    assert apply([gone], RULES, writer)["accepted"] == 2
    assert apply([gone], RULES, writer) == {"accepted": 0, "repeated": 2, "ignored": 0, "refused": []}
    with pytest.raises(LeadscoreError):
        live.prospect("101", None)
    # what comes later is acknowledged, and not kept
    late = change("jobtitle", "DSI", eventId=77)
    assert apply([late], RULES, writer)["refused"] == [{"event_id": "77", "code": "erased"}]


def test_a_contact_made_of_two_is_as_old_as_the_older_and_keeps_what_they_achieved(live: LiveRecords) -> None:
    writer = LiveWriter(live)
    apply([notice("contact.creation", occurredAt=AT - 9000)], RULES, writer)
    apply([notice("contact.creation", objectId=102, occurredAt=AT - 5000)], RULES, writer)
    apply([change("hs_analytics_source", "PAID", occurredAt=AT - 4000)], RULES, writer)
    apply([change("lifecyclestage", "customer", objectId=102, occurredAt=AT - 3000)], RULES, writer)
    merged = notice("contact.merge", primaryObjectId=101, mergedObjectIds=[102], newObjectId=103)
    assert apply([merged], RULES, writer)["refused"] == []
    body = live.prospect("101", None)
    assert body["prospect"] == {
        **body["prospect"],
        "prospect_id": "103",
        "created_at": format_time((AT - 9000) * 1000),
        "source": "PAID",
        "account_id": "of-103",
    }
    assert [o["outcome"] for o in body["outcomes"]] == ["won"]
    assert apply([merged], RULES, writer)["accepted"] == 0
    # One of them was erased: the other's is kept.
    apply([notice("contact.privacyDeletion", objectId=201)], RULES, writer)
    apply([notice("contact.creation", objectId=202, occurredAt=AT - 5000)], RULES, writer)
    third = notice("contact.merge", eventId=9, primaryObjectId=201, mergedObjectIds=[202], newObjectId=203)
    assert apply([third], RULES, writer)["refused"] == [{"event_id": "9", "code": "erased"}]
    assert live.prospect("202", None)["prospect"]["prospect_id"] == "203"
    assert live.prospect("203", None)["prospect"]["created_at"] == format_time((AT - 5000) * 1000)


def test_no_account_is_left_that_bears_an_erased_persons_id(live: LiveRecords) -> None:
    writer = LiveWriter(live)
    apply([notice("contact.creation"), notice("contact.creation", objectId=102)], RULES, writer)
    apply([notice("contact.privacyDeletion")], RULES, writer)
    with live.store.engine.connect() as connection:
        kept = repr([connection.execute(sa.select(table)).all() for table in (NAMES, VERSIONS, FACTS, SEEN)])
    assert "'of-102'" in kept
    assert "101'" not in kept


def test_one_bad_notice_spoils_no_other_and_a_failing_store_all(live: LiveRecords, tmp_path: Path) -> None:
    writer = LiveWriter(live)
    bad = change("numberofemployees", "many", "company", objectId=55, eventId=5)
    found = apply([notice("company.creation", objectId=55), bad, notice("contact.creation")], RULES, writer)
    assert found["refused"] == [{"event_id": "5", "code": "wrong_type"}]
    assert found["accepted"] == 3

    class Failing(LiveWriter):
        def patch(self, patch: Patch) -> bool:
            raise LeadscoreError("store_unavailable", "gone")

    with pytest.raises(LeadscoreError, match="gone"):
        apply([notice("contact.creation")], RULES, Failing(live))


def test_a_mapping_of_ones_own_is_taken_when_it_changes(live: LiveRecords, tmp_path: Path) -> None:
    hook = Hook(LiveWriter(live), tmp_path, SECRET, URL)
    assert hook.rules() == RULES
    own = '[[records]]\nobject = "deal"\ntable = "prospects"\nfields = {amount = "attributes.amount"}\n'
    own += 'kinds = {amount = "number"}'
    (tmp_path / FILE).write_text(own)
    body = json.dumps([change("amount", "12.5", "deal", objectId=3), change("amount", "", "deal", objectId=4)]).encode()
    assert hook.take(headers(body), "", body) == {"accepted": 2, "repeated": 0, "ignored": 0, "refused": []}
    assert live.prospect("3", None)["prospect"]["attributes"] == {"amount": 12.5}
    assert "attributes" not in live.prospect("4", None)["prospect"]
    (tmp_path / FILE).write_text("[")
    with pytest.raises(LeadscoreError) as caught:
        hook.take(headers(body), "", body)
    assert caught.value.code == "bad_mapping"
    with pytest.raises(LeadscoreError) as caught:
        hook.take(headers(body), "", body + b" ")  # nobody else learns that
    assert caught.value.code == "bad_signature"


# -- a running service -------------------------------------------------------------------------------------------------


def test_a_service_takes_signed_deliveries_without_a_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    point(home, {"won": {**put_bundle(home, "one"), "version": "1"}})
    own = {"LEADSCORE_HUBSPOT_SECRET": SECRET, "LEADSCORE_HUBSPOT_URL": URL, "LEADSCORE_POLL_SECONDS": "0.05"}
    from serving.keys import add_key

    _, key = add_key(home, "crm", ["score"])
    body = json.dumps(STORY).encode()

    def deliver(given: dict[str, str], query: str = "") -> httpx.Response:
        kind = {"content-type": "application/json", "x-forwarded-for": "192.0.2.7"}
        return server.client.post(PATH + query, content=body, headers={**kind, **given})

    with serving(home, tmp_path / "empty", **own) as server:
        until(lambda: server.client.post("/score", json={}).status_code == 401, "keys are asked for")
        for given, query in (({}, ""), (headers(body, secret="x"), ""), (headers(body), "?a=b")):
            answer = deliver(given, query)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "bad_signature")
        answer = deliver(headers(body))
        assert answer.status_code == 200, answer.text
        assert answer.json()["refused"] == []
        again = deliver(headers(body, query="a=b"), "?a=b")
        assert (again.status_code, again.json()["accepted"]) == (200, 0)
        bears = {"x-api-key": key}
        scored = server.client.post("/score", json={"prospect": {"prospect_id": "101"}}, headers=bears)
        assert scored.status_code == 200, scored.text
        assert server.client.get(PATH, headers=bears).status_code == 405
        assert SECRET not in server.output()
        assert "Acheteuse" not in server.output()


def test_without_a_secret_there_is_no_hook(tmp_path: Path) -> None:
    hook = Hook(LiveWriter(LiveRecords(open_store(f"sqlite:///{tmp_path / 'x.db'}"), list, 10)), tmp_path, "", "")
    with pytest.raises(LeadscoreError) as caught:
        hook.take(headers(b"[]"), "", b"[]")
    assert caught.value.code == "no_hook"
    assert parse_time(format_time(AT * 1000)) == AT * 1000


def test_the_documents_mapping_and_table_are_sound(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs/hubspot.md").read_text(encoding="utf-8")
    own = parse_mapping(text.split("```toml\n")[1].split("```")[0], tmp_path / FILE)
    assert records_of(change("amount", "3", "deal"), own) == [
        Patch("prospects", "101", {"attributes.amount": 3.0}, AT * 1000)
    ]
    assert records_of(change("dealstage", "closedwon", "deal"), own)[1].item["outcome"] == "won"  # type: ignore[union-attr]
    assert records_of(change("type", "PARTNER", "company"), own)[0].fields == {"attributes.kind": "partner"}  # type: ignore[union-attr]
    for rule in RULES.records:
        for name in (*rule.fields, *rule.fields.values()):
            assert f"`{name}`" in text, name
    for event in RULES.events:
        assert f"`{event.type}`" in text
        if event.property:
            assert event.property.removeprefix("hs_email_last") in text
    for outcome in RULES.outcomes:
        for value, meant in outcome.values.items():
            assert f"`{outcome.property}` = `{value}`" in text
            assert f"`{meant}`" in text


@pytest.mark.parametrize("url", ["score.example.com", "ftp://x", "https://x?y=1", "https://x#y"])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        Settings.from_environment({"LEADSCORE_HUBSPOT_URL": url})
    assert caught.value.where == "LEADSCORE_HUBSPOT_URL"
    told = Settings.from_environment({"LEADSCORE_HUBSPOT_URL": URL + "/crm", "LEADSCORE_HUBSPOT_SECRET": SECRET})
    assert told.hubspot_url == URL + "/crm"
    assert SECRET not in repr(told)
