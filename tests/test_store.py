"""The live records on SQLite and on a real PostgreSQL: what is kept, what was known when, merges, erasure."""

from __future__ import annotations

import asyncio
import copy
import hmac
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from features.contract import Column, Dataset, format_time, parse_time
from features.errors import BadInput, LeadscoreError
from serving import history, ledger, resources, store
from serving.completion import Completed, id_of
from serving.gathered import Gathered
from serving.history import Question
from serving.resources import LiveRecords
from serving.schema import RequestReader
from serving.store import FACTS, NAMES, SCHEMA, VERSIONS, open_store, store_url
from tests.live import CREATED, START, Clock, clock, event, ids, records, refusal
from tests.postgres import Postgres, postgres

DATASET = Dataset(
    declared=(
        (
            "prospects",
            (Column("origin", "category"), Column("budget", "number"), Column("quality", "text", known="never")),
        ),
    )
)
READER = RequestReader(DATASET)
MALFORMED = 40 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 4  # hundreds of requests


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return store_url("", tmp_path)
    found: Postgres = request.getfixturevalue("server")
    return found.database()


@pytest.fixture
def live(url: str) -> Iterator[LiveRecords]:
    made = records(url, DATASET)
    yield made
    made.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return clock(monkeypatch)


def put(live: LiveRecords, prospect_id: str = "p", **more: Any) -> dict[str, Any]:
    return live.put("prospects", prospect_id, {"created_at": CREATED, **more})


def body(live: LiveRecords, prospect_id: str = "p", t: int | None = None) -> dict[str, Any]:
    known = live.history.prospect(prospect_id, t)
    assert known is not None
    return known.body


# State records --------------------------------------------------------------------------------------------------------


def test_each_change_is_a_version_and_a_repeat_is_none(live: LiveRecords, now: Clock) -> None:
    first = put(live, source="webinar")
    assert first == {"prospect_id": "p", "observed_at": format_time(START), "created": True}
    now.tick()
    again = live.put(
        "prospects", "p", {"source": " webinar ", "created_at": "2026-03-01T10:00:00+01:00", "regime": None}
    )
    assert again == {**first, "created": False}  # the same, otherwise written
    later = now.tick()
    assert put(live, source="fair") == {"prospect_id": "p", "observed_at": later, "created": False}
    assert body(live)["prospect"]["source"] == "fair"
    assert body(live, t=now.now - 1)["prospect"]["source"] == "webinar"
    assert live.history.prospect("p", START - 1) is None
    now.tick()
    assert put(live, source="webinar")["observed_at"] == format_time(now.now)  # back again is a change


def test_stamps_increase_though_the_clock_stands_still_or_goes_back(live: LiveRecords, now: Clock) -> None:
    stamps = [put(live, source=f"s{i}")["observed_at"] for i in range(3)]
    now.now -= 10_000_000
    stamps.append(put(live, source="last")["observed_at"])
    assert len(set(stamps)) == 4
    assert stamps == sorted(stamps, key=parse_time)
    known = live.history.prospect("p", None)
    assert known is not None
    assert format_time(known.newest) == stamps[-1]
    whole = asyncio.run(live.complete({"prospect": {"prospect_id": "p"}}, now.now, READER))
    assert whole.now == known.newest  # what was acknowledged is seen, whatever the clock says
    assert whole.data["prospect"]["source"] == "last"


def test_declared_columns_are_checked_and_kept_even_those_of_hindsight(live: LiveRecords) -> None:
    put(live, attributes={"origin": " x ", "budget": 5, "quality": "poor"})
    assert body(live)["prospect"]["attributes"] == {"origin": "x", "budget": 5, "quality": "poor"}
    error = refusal(lambda: put(live, attributes={"orign": "x"}))
    assert (error.code, error.where) == ("undeclared_column", "attributes.orign")
    error = refusal(lambda: put(live, attributes={"budget": "much"}))
    assert (error.code, error.where) == ("wrong_type", "attributes.budget")


def test_without_a_model_any_plain_attribute_is_kept(url: str) -> None:
    live = records(url)
    put(live, attributes={"anything": "x", "n": 1.5, "b": True, "gone": None})
    assert body(live)["prospect"]["attributes"] == {"anything": "x", "n": 1.5, "b": True}
    for bad, code in (([1], "wrong_type"), (float("inf"), "non_finite"), ("\ud800", "bad_text")):
        error = refusal(lambda bad=bad: put(live, attributes={"x": bad}))  # type: ignore[misc]
        assert (error.code, error.where) == (code, "attributes.x")
    live.close()


@pytest.mark.parametrize(
    ("kind", "data", "code", "where"),
    [
        ("prospects", {}, "missing_field", "created_at"),
        ("prospects", {"created_at": CREATED, "prospect_id": "q"}, "id_mismatch", "prospect_id"),
        ("prospects", {"created_at": CREATED, "observed_at": CREATED}, "stamped_here", "observed_at"),
        ("prospects", {"created_at": "2099-01-01T00:00:00Z"}, "future_time", "created_at"),
        ("prospects", {"created_at": CREATED, "colour": "red"}, "unknown_field", "colour"),
        ("prospects", [], "wrong_type", ""),
        ("contacts", {"role": "buyer"}, "missing_field", "account_id"),
        ("contacts", {"account_id": "a", "role": "boss"}, "unknown_value", "role"),
        ("accounts", {"headcount": "many"}, "wrong_type", "headcount"),
        ("accounts", {"account_id": "x" * 300}, "id_mismatch", "account_id"),
    ],
)
def test_a_bad_record_is_refused_with_its_place(live: LiveRecords, kind: str, data: Any, code: str, where: str) -> None:
    error = refusal(lambda: live.put(kind, "p", data))
    assert (error.code, error.where) == (code, where)


def test_an_id_that_no_index_holds_is_refused(live: LiveRecords) -> None:
    put(live, "é" * 256)
    assert refusal(lambda: put(live, "é" * 257)).code == "id_too_long"
    assert refusal(lambda: live.add("events", event("x" * 257))).where == "event_id"
    assert refusal(lambda: live.add("events", event("e", "p" * 257))).where == "prospect_id"


def test_a_prospect_is_created_once(live: LiveRecords) -> None:
    put(live)
    live.put("prospects", "p", {"source": "fair"})  # it need not be said again
    assert body(live)["prospect"]["created_at"] == CREATED
    error = refusal(lambda: live.put("prospects", "p", {"created_at": "2026-03-02T09:00:00Z"}))
    assert (error.code, error.where) == ("created_at_changes", "created_at")


def test_an_outcome_never_precedes_its_prospect_in_whatever_order_they_come(live: LiveRecords) -> None:
    early = {"prospect_id": "p", "outcome": "won", "occurred_at": "2026-02-01T00:00:00Z"}
    live.add("outcomes", early)  # the prospect is not known yet
    assert live.history.prospect("p", None) is None
    assert refusal(lambda: put(live)).code == "outcome_before_creation"
    put(live, "q")
    error = refusal(lambda: live.add("outcomes", [{**early, "prospect_id": "r"}, {**early, "prospect_id": "q"}]))
    assert (error.code, error.where) == ("outcome_before_creation", "[1].occurred_at")
    assert live.add("outcomes", {**early, "prospect_id": "r"})["accepted"] == 1  # nothing of the list was kept


# Facts ----------------------------------------------------------------------------------------------------------------


def test_facts_come_alone_or_in_lists_and_repeats_change_nothing(live: LiveRecords, now: Clock) -> None:
    put(live)
    at = now.tick()
    assert live.add("events", event("e1")) == {"accepted": 1, "repeated": 0, "recorded_at": at}
    later = now.tick()
    both = [event("e1", occurred_at="2026-03-02T11:00:00+01:00", channel=None), event("e2")]
    assert live.add("events", {"items": both}) == {"accepted": 1, "repeated": 1, "recorded_at": later}
    assert live.add("events", both) == {"accepted": 0, "repeated": 2, "recorded_at": None}
    assert live.add("events", []) == {"accepted": 0, "repeated": 0, "recorded_at": None}
    assert live.add("events", [event("e3"), event("e3")])["repeated"] == 1
    found = body(live)["events"]
    assert [(e["event_id"], e["recorded_at"]) for e in found[:2]] == [("e1", at), ("e2", later)]
    assert ids(body(live, t=now.now - 1)["events"]) == ["e1"]


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("events", event("e"), event("e", type="mail")),
        ("events", event("e"), event("e", "q")),
        ("events", event("e"), event("e", value=1)),
        ("events", event("e"), event("e", contact_id="c")),
        (
            "outcomes",
            {"outcome_id": "o", "prospect_id": "p", "outcome": "won", "occurred_at": CREATED},
            {"outcome_id": "o", "prospect_id": "p", "outcome": "lost", "occurred_at": CREATED},
        ),
    ],
)
def test_one_id_has_one_content_and_a_list_is_kept_whole_or_not(
    live: LiveRecords, kind: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    live.add(kind, one)
    new = {**one, f"{kind[:-1]}_id": "new"}
    error = refusal(lambda: live.add(kind, {"items": [new, other]}))
    assert (error.code, error.where) == (f"conflicting_{kind[:-1]}", "items[1]")
    assert refusal(lambda: live.add(kind, [new, {**new, "occurred_at": "2026-03-03T00:00:00Z"}])).where == "[1]"
    assert live.add(kind, new)["accepted"] == 1


@pytest.mark.parametrize(
    ("change", "code", "where"),
    [
        ({"recorded_at": CREATED}, "stamped_here", "recorded_at"),
        ({"prospect_id": None}, "missing_field", "prospect_id"),
        ({"occurred_at": "2099-01-01T00:00:00Z"}, "future_time", "occurred_at"),
        ({"occurred_at": "2026-03-02"}, "bad_time", "occurred_at"),
        ({"note": "x"}, "unknown_field", "note"),
        ({"replaces": "e"}, "replaces_itself", "replaces"),
        ({"replaces": "nobody"}, "unknown_event", "replaces"),
        ({"value": 1e10}, "value_out_of_range", "value"),
        ({"type": None}, "missing_field", "type"),
    ],
)
def test_a_bad_event_is_refused_with_its_place(
    live: LiveRecords, change: dict[str, Any], code: str, where: str
) -> None:
    error = refusal(lambda: live.add("events", [event("ok"), {**event("e"), **change}]))
    assert (error.code, error.where) == (code, f"[1].{where}")
    assert live.add("events", event("ok"))["accepted"] == 1


def test_too_long_a_list_is_refused(url: str) -> None:
    live = records(url, most=2)
    assert refusal(lambda: live.add("events", [event(f"e{i}") for i in range(3)])).code == "too_many_items"
    live.close()


def test_outcomes_without_an_id_are_one_by_what_they_say(live: LiveRecords) -> None:
    put(live)
    won = {"prospect_id": "p", "outcome": "won", "occurred_at": "2026-04-01T00:00:00Z"}
    assert live.add("outcomes", won)["accepted"] == 1
    assert live.add("outcomes", {**won, "occurred_at": "2026-04-01T02:00:00+02:00"})["repeated"] == 1
    (found,) = body(live)["outcomes"]
    assert "outcome_id" not in found


def test_what_was_never_sent_is_unknown_and_what_was_is_empty(live: LiveRecords) -> None:
    put(live)
    assert set(body(live)) == {"prospect"}
    live.add("events", event("e", "other"))
    assert body(live)["events"] == []
    assert "outcomes" not in body(live)


def test_an_event_is_taken_back_or_replaced_from_then_on(live: LiveRecords, now: Clock) -> None:
    put(live)
    live.add("events", [event("e1"), event("e2")])
    before = now.now
    at = now.tick()
    assert live.retract("e1") == {"event_id": "e1", "retracted_at": at}
    now.tick()
    assert live.retract("e1")["retracted_at"] == at
    assert live.add("events", event("e1"))["repeated"] == 1  # a late repeat does not bring it back
    assert ids(body(live)["events"]) == ["e2"]
    new = event("e3", type="mail", replaces="e2")
    again = format_time(now.now)
    assert live.add("events", new)["accepted"] == 1
    assert live.add("events", new)["repeated"] == 1
    assert ids(body(live)["events"]) == ["e3"]
    assert all("replaces" not in e for e in body(live)["events"])
    assert {e["event_id"]: e.get("retracted_at") for e in body(live)["events"]} == {"e1": at, "e2": again, "e3": None}
    # A request that still sends what was taken back does not bring it back either.
    own = {k: v for k, v in event("e1").items() if k != "prospect_id"}
    merged = whole(live, {"prospect": {"prospect_id": "p"}, "events": [own]})
    read = READER.read(merged.data, merged.now).records.events
    assert {e.event_id for e in read or () if e.retracted_at is None} == {"e3"}
    assert ids(body(live, t=before)["events"]) == ["e1", "e2"]
    assert refusal(lambda: live.retract("nobody")).code == "unknown_event"
    put(live, "q")
    assert refusal(lambda: live.add("events", event("e4", "q", replaces="e3"))).where == "replaces"


# Accounts, contacts, related prospects --------------------------------------------------------------------------------


def family(live: LiveRecords) -> None:
    live.put("accounts", "a", {"country": "FR"})
    put(live, account_id="a")
    put(live, "sibling", account_id="a")
    put(live, "stranger", account_id="b")
    live.put("contacts", "c", {"account_id": "a", "role": "buyer"})
    live.add("events", [event("e1", contact_id="c"), event("e2", "sibling"), event("e3", "stranger")])
    live.add("outcomes", {"prospect_id": "sibling", "outcome": "lost", "occurred_at": "2026-04-01T00:00:00Z"})


def test_the_account_its_people_and_its_other_prospects_come_along(live: LiveRecords, now: Clock) -> None:
    family(live)
    found = body(live)
    assert found["account"]["country"] == "FR"
    assert ids(found["contacts"], "contact_id") == ["c"]
    assert ids(found["events"]) == ["e1"]
    assert ids(found["related"]["prospects"], "prospect_id") == ["sibling"]
    assert ids(found["related"]["events"]) == ["e2"]
    assert found["related"]["outcomes"][0]["prospect_id"] == "sibling"
    before = now.now
    now.tick()
    put(live, account_id="b")  # re-parenting is a new version
    assert ids(body(live)["related"]["prospects"], "prospect_id") == ["stranger"]
    assert ids(body(live)["contacts"], "contact_id") == ["c"]  # its event names it
    assert ids(body(live, "sibling")["related"]["prospects"], "prospect_id") == []
    assert ids(body(live, t=before)["related"]["prospects"], "prospect_id") == ["sibling"]


def test_an_account_is_read_with_all_its_prospects(live: LiveRecords) -> None:
    family(live)
    known = live.history.account("a", None)
    assert known is not None
    assert ids(known.body["prospects"], "prospect_id") == ["p", "sibling"]
    assert ids(known.body["events"]) == ["e1", "e2"]
    assert live.history.account("nobody", None) is None
    assert live.history.account("a", START - 1) is None


def test_a_merged_prospect_gives_its_facts_to_the_other_from_then_on(live: LiveRecords, now: Clock) -> None:
    family(live)
    live.put("prospects", "into", {"created_at": "2026-05-01T00:00:00Z"})
    live.add("outcomes", {"prospect_id": "p", "outcome": "lost", "occurred_at": "2026-04-02T00:00:00Z"})
    before = now.now
    at = now.tick()
    done = live.merge("prospects", "p", {"into": "into"})
    assert done == {"prospect_id": "p", "into": "into", "merged_at": at, "merged": True}
    assert live.merge("prospects", "p", {"into": "into"}) == {**done, "merged": False}
    found = body(live, "into")
    assert [(e["event_id"], e["recorded_at"]) for e in found["events"]] == [("e1", at)]
    assert found["outcomes"] == []  # it ended before the other began
    assert body(live, "p") == found
    assert body(live, "into", before)["events"] == []
    assert ids(body(live, "p", before)["events"]) == ["e1"]
    assert body(live, "p", before)["prospect"]["prospect_id"] == "p"
    assert body(live, "sibling")["related"]["prospects"] == []
    # Deliveries of before, and new ones by the old id.
    assert live.add("events", event("e1", contact_id="c"))["repeated"] == 1
    live.add("events", event("e9", "p"))
    assert "e9" in ids(body(live, "into")["events"])
    assert live.put("prospects", "p", {"source": "fair"})["prospect_id"] == "into"
    assert body(live, "into")["prospect"] == {
        **body(live, "into")["prospect"],
        "source": "fair",
        "created_at": "2026-05-01T00:00:00Z",
    }
    assert live.retract("e1")
    assert "e1" not in ids(body(live, "into")["events"])


def test_what_comes_by_the_old_id_moves_no_creation(live: LiveRecords, now: Clock) -> None:
    put(live, "old")
    live.put("prospects", "p", {"created_at": "2026-05-01T00:00:00Z"})
    live.merge("prospects", "old", {"into": "p"})
    now.tick()
    put(live, "old", source="fair")  # as the CRM knows it, with its own creation
    assert body(live, "p")["prospect"]["source"] == "fair"
    assert body(live, "p")["prospect"]["created_at"] == "2026-05-01T00:00:00Z"
    same = live.put("prospects", "p", {"created_at": "2026-05-01T00:00:00Z", "source": "fair"})
    assert same["observed_at"] == format_time(now.now)


def test_merges_follow_one_another_and_never_go_round(live: LiveRecords, now: Clock) -> None:
    for name in ("p", "q", "r"):
        put(live, name)
        live.add("events", event(f"e-{name}", name))
    now.tick()
    live.merge("prospects", "p", {"into": "q"})
    middle = now.now
    assert refusal(lambda: live.merge("prospects", "q", {"into": "p"})).code == "merge_cycle"
    assert refusal(lambda: live.merge("prospects", "q", {"into": "q"})).code == "merge_cycle"
    assert refusal(lambda: live.merge("prospects", "p", {"into": "r"})).code == "already_merged"
    assert refusal(lambda: live.merge("prospects", "q", {"into": "nobody"})).code == "unknown_prospect"
    assert refusal(lambda: live.merge("prospects", "q", {})).where == "into"
    assert refusal(lambda: live.merge("prospects", "q", {"to": "r"})).code == "unknown_field"
    now.tick()
    live.merge("prospects", "q", {"into": "r"})
    assert sorted(ids(body(live, "p")["events"])) == ["e-p", "e-q", "e-r"]
    assert sorted(ids(body(live, "p", middle)["events"])) == ["e-p", "e-q"]
    assert live.merge("prospects", "p", {"into": "r"})["merged"] is False  # it stands for r already


def test_merged_accounts_bring_their_people_and_prospects_together(live: LiveRecords, now: Clock) -> None:
    family(live)
    live.put("accounts", "b", {"country": "DE"})
    before = now.now
    at = now.tick()
    live.merge("accounts", "a", {"into": "b"})
    found = body(live)
    assert found["account"] == {"account_id": "b", "country": "DE", "observed_at": format_time(before)}
    assert found["prospect"]["account_id"] == "b"
    assert found["prospect"]["observed_at"] == at
    assert ids(found["related"]["prospects"], "prospect_id") == ["sibling", "stranger"]
    assert ids(found["contacts"], "contact_id") == ["c"]
    assert body(live, t=before)["account"]["account_id"] == "a"
    put(live, "late", account_id="a")
    assert body(live, "late")["prospect"]["account_id"] == "b"
    assert put(live, account_id="a")["observed_at"] == at  # the same as the newest version, by the old id
    known = live.history.account("a", None)
    assert known is not None
    assert known.body["account"]["account_id"] == "b"


def test_a_request_may_go_on_calling_an_account_by_its_old_id(live: LiveRecords, now: Clock) -> None:
    family(live)
    live.put("accounts", "b", {"country": "DE"})
    live.merge("accounts", "a", {"into": "b"})
    stored = body(live)
    record = {"prospect_id": "p", "created_at": CREATED, "account_id": "a"}
    told = asyncio.run(live.complete({"prospect": record}, now.now, READER)).data
    assert told["prospect"] == {**record, "account_id": "b"}
    assert (told["account"], told["related"]) == (stored["account"], stored["related"])
    contacts = [{"contact_id": "n", "account_id": "a", "role": "user"}]
    whole = {"account": {"account_id": "a"}, "contacts": contacts}
    told = asyncio.run(live.complete_account(whole, now.now, READER)).data
    assert {c["account_id"] for c in told["contacts"]} == {"b"}
    told = asyncio.run(live.complete({"prospect": {"prospect_id": "p"}, "contacts": contacts}, now.now, READER)).data
    assert {c["account_id"] for c in told["contacts"]} == {"b"}


def test_a_merged_contact_gives_its_events_to_the_other(live: LiveRecords, now: Clock) -> None:
    family(live)
    live.put("contacts", "d", {"account_id": "a", "role": "user"})
    before = now.now
    now.tick()
    live.merge("contacts", "c", {"into": "d"})
    (found,) = body(live)["events"]
    assert (found["event_id"], found["contact_id"]) == ("e1", "d")
    assert ids(body(live)["contacts"], "contact_id") == ["d"]
    assert body(live, t=before)["events"][0]["contact_id"] == "c"
    assert live.add("events", event("e1", contact_id="c"))["repeated"] == 1
    live.add("events", event("e5", contact_id="c"))
    assert {e["contact_id"] for e in body(live)["events"]} == {"d"}


def test_a_request_may_go_on_calling_people_and_siblings_by_their_old_ids(live: LiveRecords, now: Clock) -> None:
    family(live)
    live.put("contacts", "d", {"account_id": "a", "role": "user"})
    put(live, "elder", account_id="a")
    before = now.now
    now.tick()
    live.merge("contacts", "c", {"into": "d"})
    live.merge("prospects", "sibling", {"into": "elder"})
    own = [
        {n: v for n, v in event(e, contact_id="c").items() if n != "prospect_id"} for e in ("e1", "new")
    ]  # one is stored
    theirs = [event("e2", "sibling"), event("e9", "sibling")]
    lost = {"prospect_id": "sibling", "outcome": "lost", "occurred_at": "2026-04-01T00:00:00Z"}
    related = {"prospects": [{"prospect_id": "sibling", "created_at": CREATED}], "events": theirs, "outcomes": [lost]}
    people = [{"contact_id": "c", "role": "user"}]
    request = {"prospect": {"prospect_id": "p"}, "contacts": people, "events": own, "related": related}
    read = READER.read(whole(live, request).data, now.now).records
    assert {e.event_id: e.contact_id for e in read.events or () if e.retracted_at is None} == {"e1": "d", "new": "d"}
    assert set(read.contacts or ()) == {"d"}
    assert set(read.related or ()) == {"elder"}
    assert {e.event_id for e in read.related_events or ()} == {"e2", "e9"}
    assert {e.prospect_id for e in (*(read.related_events or ()), *(read.related_outcomes or ()))} == {"elder"}
    # As of before they were merged, they are who they were.
    told = whole(live, {**request, "as_of": format_time(before)}).data
    assert {e["contact_id"] for e in told["events"] if e["event_id"] == "new"} == {"c"}
    assert {e["prospect_id"] for e in told["related"]["events"]} == {"sibling"}
    # And so in a request about their account.
    of_all = {"account": {"account_id": "a"}, "contacts": people, "events": [event("e1", contact_id="c"), *theirs]}
    told = asyncio.run(live.complete_account(of_all, now.now, READER)).data
    account = READER.read_account(told, now.now).records
    assert set(account.contacts or ()) == {"d"}
    assert {e.event_id for e in (account.events or {})["elder"]} == {"e2", "e9"}
    assert {e.contact_id for e in (account.events or {})["p"]} == {"d"}


def test_what_a_request_says_of_an_account_counts_under_its_old_id_too(live: LiveRecords, now: Clock) -> None:
    family(live)
    live.put("accounts", "b", {"country": "DE"})
    live.merge("accounts", "a", {"into": "b"})
    for name in ("a", "b"):
        told = asyncio.run(
            live.complete_account({"account": {"account_id": name, "headcount": 10}}, now.now, READER)
        ).data
        assert told["account"] == {"account_id": "b", "headcount": 10}


def test_a_list_is_unknown_at_a_time_before_the_store_held_anything_of_it(live: LiveRecords, now: Clock) -> None:
    put(live, account_id="a")
    before = now.now
    then = body(live, t=before)
    assert not {"contacts", "events", "outcomes"} & set(then)
    now.tick()
    live.put("contacts", "c", {"account_id": "x"})
    live.add("events", event("e", "stranger"))
    live.add("outcomes", {"prospect_id": "stranger", "outcome": "won", "occurred_at": "2026-04-01T00:00:00Z"})
    found = body(live)
    assert (found["contacts"], found["events"], found["outcomes"]) == ([], [], [])
    assert body(live, t=before) == then  # what came later, of whomever, changes nothing of what was known then


# Erasure --------------------------------------------------------------------------------------------------------------


def everything(live: LiveRecords) -> str:
    """All that stands in the tables, as text."""
    with live.store.engine.connect() as connection:
        return repr([connection.execute(sa.select(table)).all() for table in (NAMES, VERSIONS, FACTS)])


def test_an_erased_prospect_leaves_a_stone_without_a_name(live: LiveRecords, now: Clock) -> None:
    family(live)
    put(live, "secret-person@example.com", source="confidential", account_id="a")
    live.add("events", event("event-seven", "secret-person@example.com", channel="whispering"))
    put(live, "former-name")
    live.add("events", event("event-eight", "former-name"))
    live.merge("prospects", "former-name", {"into": "secret-person@example.com"})
    told: list[Any] = []
    live.erasers.append(lambda connection, prospects, contacts, now: told.extend(prospects))
    at = now.tick()
    gone = live.erase("prospects", "former-name")  # by its alias, as everything is
    assert gone == {"prospect_id": "former-name", "erased_at": at, "versions": 3, "events": 2, "outcomes": 0}
    assert sorted(told) == ["former-name", "secret-person@example.com"]
    for word in ("secret", "former", "confidential", "whispering", "seven", "eight"):
        assert word not in everything(live)
    now.tick()
    again = live.erase("prospects", "secret-person@example.com")
    assert (again["erased_at"], again["versions"]) == (at, 0)
    for name in ("former-name", "secret-person@example.com"):
        for call in (
            lambda name=name: put(live, name),  # type: ignore[misc]
            lambda name=name: live.add("outcomes", {"prospect_id": name, "outcome": "won", "occurred_at": CREATED}),  # type: ignore[misc]
            lambda name=name: live.merge("prospects", "p", {"into": name}),  # type: ignore[misc]
            lambda name=name: live.merge("prospects", name, {"into": "p"}),  # type: ignore[misc]
            lambda name=name: live.prospect(name, None),  # type: ignore[misc]
        ):
            assert refusal(call).code == "erased"
    error = refusal(lambda: live.add("events", [event("ok"), event("e10", "former-name")]))
    assert error.where == "[1].prospect_id"
    assert live.erase("prospects", "never-seen")["erased_at"] == format_time(now.now)
    assert body(live)["related"]["events"] == body(live)["related"]["events"]


def test_an_erased_contact_takes_its_events_along(live: LiveRecords) -> None:
    family(live)
    told: list[Any] = []
    live.erasers.append(lambda connection, prospects, contacts, now: told.extend(prospects))
    gone = live.erase("contacts", "c")
    assert (gone["versions"], gone["events"]) == (1, 1)
    assert told == ["p", "sibling"]  # whose answers may speak of it
    assert body(live).get("contacts", []) == []  # of which there is none left
    assert body(live).get("events", []) == []
    assert refusal(lambda: live.put("contacts", "c", {"account_id": "a"})).code == "erased"
    assert refusal(lambda: live.add("events", event("e9", contact_id="c"))).where == "contact_id"


def test_an_eraser_that_fails_leaves_everything(live: LiveRecords) -> None:
    family(live)

    def fail(connection: sa.Connection, prospects: Any, contacts: Any, now: int) -> None:
        raise RuntimeError

    live.erasers.append(fail)
    with pytest.raises(RuntimeError):
        live.erase("prospects", "p")
    assert ids(body(live)["events"]) == ["e1"]


def test_a_new_file_has_larger_pages_and_an_older_one_stays_as_it_is(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as connection:
        connection.execute("CREATE TABLE other (id TEXT)")  # made with SQLite's own pages
    for path, size in ((tmp_path / "new.db", 8192), (old, 4096)):
        live = records(f"sqlite:///{path}", DATASET)
        put(live, "p1")
        assert body(live, "p1")["prospect"]["prospect_id"] == "p1"
        live.close()
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA page_size").fetchall() == [(size,)]
            assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_sqlite_keeps_no_bytes_of_what_was_erased(tmp_path: Path) -> None:
    live = records(store_url("", tmp_path))
    put(live, "someone", source="whispering")
    assert any(b"whispering" in path.read_bytes() for path in tmp_path.iterdir())
    live.erase("prospects", "someone")
    assert not any(b"whispering" in path.read_bytes() for path in tmp_path.iterdir())
    assert not any(b"someone" in path.read_bytes() for path in tmp_path.iterdir())
    live.close()


# With what a request brings -------------------------------------------------------------------------------------------


def whole(live: LiveRecords, data: Any, now: int = START + 10**9) -> Any:
    return asyncio.run(live.complete(data, now, READER))


def test_a_requests_own_records_stand_with_the_stored_ones(live: LiveRecords) -> None:
    family(live)
    data = {
        "prospect": {"prospect_id": "p", "created_at": CREATED, "source": "mine", "account_id": "a"},
        "contacts": [{"contact_id": "c", "role": "user"}, {"contact_id": "new"}],
        "events": [event("mine"), {k: v for k, v in event("e1", contact_id="c").items() if k != "prospect_id"}],
        "related": {"prospects": [{"prospect_id": "third", "created_at": CREATED}]},
    }
    found = whole(live, data).data
    assert found["prospect"]["source"] == "mine"
    assert found["account"]["country"] == "FR"
    assert found["contacts"] == data["contacts"]
    assert ids(found["events"]) == ["mine", "e1", "e1"]
    assert ids(found["related"]["prospects"], "prospect_id") == ["third", "sibling"]
    assert ids(found["related"]["events"]) == ["e2"]


def test_a_request_that_contradicts_the_store_is_refused_at_its_own_place(live: LiveRecords) -> None:
    family(live)
    for data, code, where in (
        ({"events": [event("new"), event("e1", type="mail")]}, "conflicting_event", "events[1]"),
        ({"related": {"events": [event("e2", "sibling", type="mail")]}}, "conflicting_event", "related.events[0]"),
    ):
        error = refusal(lambda data=data: whole(live, {"prospect": {"prospect_id": "p"}, **data}))  # type: ignore[misc]
        assert (error.code, error.where) == (code, where)
    other = {"prospect_id": "p", "created_at": "2026-03-05T00:00:00Z"}
    error = refusal(lambda: whole(live, {"prospect": other}))
    assert (error.code, error.where) == ("created_at_changes", "prospect.created_at")


def test_a_contact_of_another_account_stands_in_the_way_of_no_score(live: LiveRecords) -> None:
    family(live)
    live.put("contacts", "far", {"account_id": "b", "role": "user"})
    live.add("events", event("e4", contact_id="far"))
    found = whole(live, {"prospect": {"prospect_id": "p"}})
    assert set(READER.read(found.data, found.now).records.contacts or ()) == {"c", "far"}
    # The request knows better: it has moved, and of the former account those come along whom its events name.
    live.put("contacts", "idle", {"account_id": "a"})
    moved = {"prospect_id": "p", "created_at": CREATED, "account_id": "z"}
    found = whole(live, {"prospect": moved})
    read = READER.read(found.data, found.now).records
    assert set(read.contacts or ()) == {"c", "far"}
    assert read.related is None
    assert read.accounts is None
    live.add("events", event("e5", contact_id="idle"))
    for wrong_one in ("e4", "e5"):  # they were of the wrong people
        live.retract(wrong_one)
    assert "far" not in {c["contact_id"] for c in body(live)["contacts"]}
    found = whole(live, {"prospect": moved})
    assert set(READER.read(found.data, found.now).records.contacts or ()) == {"c"}
    for wrong in ({"contact_id": ["c"]}, {"event_id": ["e"]}):  # the reader says what is wrong with it
        sent = {"prospect": moved, "events": [{**event("new"), **wrong}]}
        found = whole(live, sent)
        error = refusal(lambda found=found: READER.read(found.data, found.now))  # type: ignore[misc]
        assert error.where == f"events[0].{next(iter(wrong))}"
    found = whole(live, {"prospect": {**moved, "account_id": ["z"]}})
    assert refusal(lambda: READER.read(found.data, found.now)).where == "prospect.account_id"


@pytest.mark.parametrize("seed", range(MALFORMED))
def test_no_malformed_request_about_a_stored_prospect_is_a_fault_of_ours(live: LiveRecords, seed: int) -> None:
    """Whatever stands where, beside what is stored: it is read, or refused with an error of ours."""
    family(live)
    chance = random.Random(seed)
    prospect = {"prospect_id": "p", "created_at": CREATED, "account_id": "a"}
    sound = {
        "prospect": prospect,
        "account": {"account_id": "a", "country": "FR"},
        "contacts": [{"contact_id": "c", "role": "buyer"}],
        "events": [event("new", contact_id="c"), event("e1")],
        "outcomes": [{"outcome": "lost", "occurred_at": "2026-05-01T00:00:00Z"}],
        "related": {"prospects": [{**prospect, "prospect_id": "sibling"}], "events": [event("n", "sibling")]},
    }
    places = [place for place in _places(sound) if place not in ((), ("prospect", "prospect_id"))]
    refused = 0
    for _ in range(100):
        data = copy.deepcopy(sound)
        data["prospect"]["account_id"] = chance.choice(["a", "elsewhere"])  # type: ignore[index]
        *way, last = chance.choice(places)
        at: Any = data
        for step in way:
            at = at[step]
        at[last] = chance.choice([["x"], {"a": 1}, None, 7, True, "", [[]], [None], 1e308, "x", "\ud800", "\0"])
        try:
            found = whole(live, data)
            READER.read(found.data, found.now)
        except LeadscoreError:
            refused += 1
    assert refused > 50


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*way, key))


def test_more_than_a_score_can_go_through_is_refused(live: LiveRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    family(live)
    monkeypatch.setattr(history, "_MOST", 4)
    assert body(live)["events"]
    live.add("events", [event("e5"), event("e6")])
    assert refusal(lambda: live.history.prospect("p", None)).code == "too_many_items"


def test_requests_completed_together_are_what_each_is_by_itself(
    live: LiveRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands beside it: what is unknown, erased, merged, contradicts the store, or holds too much."""
    family(live)
    for name in ("erased", "merged", "much"):
        put(live, name)
    live.add("events", [event(f"much{i}", "much") for i in range(400)])
    live.erase("prospects", "erased")
    live.merge("prospects", "merged", {"into": "p"})
    monkeypatch.setattr(history, "_MOST", 399)
    monkeypatch.setattr(history, "_FEW", 398)
    record = {"created_at": CREATED, "account_id": "a"}
    data: list[Any] = [
        {"prospect": {"prospect_id": name}} for name in ("p", "nobody", "erased", "merged", "much", "sibling", "p")
    ]
    data += [
        {"prospect": {"prospect_id": "p", **record}, "events": [event("mine")]},
        {"prospect": {"prospect_id": "nobody", **record}},
        {"prospect": {"prospect_id": "much", **record}},
        {"prospect": {"prospect_id": "p"}, "events": [event("e1", type="mail")]},
        {"prospect": {"prospect_id": "p"}, "as_of": "2026-03-03T00:00:00Z"},
        {"prospect": {"prospect_id": "erased", **record}},
        {"prospect": "none"},
        [],
    ]

    def told(found: Any) -> Any:
        return (found.code, found.message, found.where) if isinstance(found, LeadscoreError) else found

    def one(each: Any) -> Any:
        try:
            return whole(live, each)
        except LeadscoreError as e:
            return told(e)

    now, alone = START + 10**9, [one(each) for each in data]
    codes = [each[0] for each in alone if type(each) is tuple]
    assert codes == ["unknown_prospect", "erased", "too_many_items", "too_many_items", "conflicting_event",
                     "unknown_prospect", "erased"]  # fmt: skip
    asked = [(each, READER) for each in data]
    assert [told(found) for found in asyncio.run(live.complete_each(asked, now))] == alone
    named = [i for i, each in enumerate(data) if id_of(each, "prospect", "prospect_id")]
    small = [i for i in named if data[i]["prospect"]["prospect_id"] != "much"]
    for some in (named, small):
        at_once = live.at_once([asked[i] for i in some], now)
        if not live.store.sqlite or some is named:  # another database, or too much for the event loop
            assert at_once is None
        else:
            assert at_once is not None
            assert [told(found) for found in at_once] == [alone[i] for i in some]


def test_the_event_loop_is_held_for_few_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of facts, of the account's other prospects and its contacts, of all items and of all their times together."""
    live = records(store_url("", tmp_path))
    live.put("accounts", "a", {})
    for i in range(4):
        put(live, f"p{i}", account_id="a")
        live.put("contacts", f"c{i}", {"account_id": "a"})
    live.add("events", [event(f"e{i}", f"p{i}") for i in range(4)])
    rows = 3 + 4 + 4  # of the siblings, the contacts and the events of all
    one, late = Question("p0"), Question("p0", START + 10**12)
    for asked, most in (
        ([one], rows),
        ([one, one], 2 * rows),
        ([one, Question("p1")], 2 * rows),
        ([one, late], 2 * rows),
    ):
        monkeypatch.setattr(history, "_FEW", most)
        assert live.history.at_once(asked) == live.history.prospects(asked)
        monkeypatch.setattr(history, "_FEW", most - 1)
        assert live.history.at_once(asked) is None
        live.history._heavy.clear()
    live.close()


def test_aliases_of_aliases_of_any_length_are_followed_to_their_end(live: LiveRecords) -> None:
    family(live)
    for name in ("c1", "c2", "c3", "d1", "d2"):
        live.put("contacts", name, {"account_id": "a"})
    for name, into in (("c1", "c2"), ("c2", "c3"), ("d1", "d2")):
        live.merge("contacts", name, {"into": into})
    data = {"prospect": {"prospect_id": "p"}, "events": [event("n1", contact_id="c1"), event("n2", contact_id="d1")]}
    found = whole(live, data)
    assert [e["contact_id"] for e in found.data["events"][:2]] == ["c3", "d2"]


def test_a_long_row_of_aliases_is_followed_by_writers_too(tmp_path: Path) -> None:
    live = records(store_url("", tmp_path))
    for i in range(101):
        put(live, f"n{i}")
    for i in range(100):
        live.merge("prospects", f"n{i}", {"into": f"n{i + 1}"})
    assert put(live, "n0", source="fair")["prospect_id"] == "n100"
    live.add("events", event("e", "n0"))
    assert ids(body(live, "n0")["events"]) == ["e"]
    live.close()


def test_a_damaged_record_is_the_fault_of_no_other(tmp_path: Path) -> None:
    live = records(store_url("", tmp_path))
    for name in ("bad", "good"):
        put(live, name)
    with sqlite3.connect(tmp_path / "live.db") as connection:
        connection.execute("UPDATE live_versions SET record = '{\"crea' WHERE id = 'bad'")
    asked = [({"prospect": {"prospect_id": name}}, READER) for name in ("good", "bad", "good")]
    at_once = live.at_once(asked, START)
    assert at_once is not None
    for found in (at_once, asyncio.run(live.complete_each(asked, START))):
        assert [type(each) for each in found] == [Completed, ValueError, Completed]
    with pytest.raises(ValueError, match=r"JSON|EOF"):
        live.history.prospect("bad", None)
    live.close()


def test_several_wait_for_the_store_as_long_as_each_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = records(store_url("", tmp_path))
    for i in range(8):
        put(live, f"p{i}", source="fair")
    asked = [({"prospect": {"prospect_id": f"p{i}", "created_at": CREATED}, "contacts": []}, READER) for i in range(8)]
    read = live.history.prospects
    slow = threading.Event()

    def slowly(questions: Any) -> Any:
        slow.wait(0.1 * len(questions))
        return read(questions)

    monkeypatch.setattr(live, "_prospects", Gathered(slowly, live._threads))
    monkeypatch.setattr(resources, "_PATIENCE", 0.5)
    together = asyncio.run(live.complete_each(asked, START + 10**9))
    assert [each.warnings for each in together if isinstance(each, Completed)] == [()] * 8
    monkeypatch.setattr(resources, "_PATIENCE", 0.02)
    late = asyncio.run(live.complete_each(asked, START + 10**9))
    assert [each.warnings[0]["code"] for each in late if isinstance(each, Completed)] == ["store_unavailable"] * 8
    live.close()


def test_what_takes_long_to_find_is_broken_off_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it finds: rows that are looked at hold it as much as those that are brought."""
    live = records(store_url("", tmp_path))
    put(live)
    put(live, "other")
    early = Question("p", time.time_ns() // 1000)  # before any of its events
    live.add("events", [event(f"e{i}") for i in range(500)])
    assert live.history.at_once([early]) == live.history.prospects([early])
    asker = live.store._asker
    monkeypatch.setattr(store, "_STEP", 100)
    monkeypatch.setattr(store, "_STEPS", 1_000)
    live.store._forget_asker()
    assert live.history.at_once([early]) is None
    kept = live.store._asker
    assert kept is not None
    assert kept is not asker  # that was closed
    assert live.history.at_once([Question("other")]) is not None
    assert live.store._asker is kept  # nothing was wrong with it
    monkeypatch.setattr(store, "_STEPS", 1_000_000)
    assert live.history.at_once([early]) is None  # it is remembered for a while
    assert live.history.at_once([Question("other"), early]) is None
    later = time.monotonic() + history._HEAVY_SECONDS + 1
    monkeypatch.setattr(history.time, "monotonic", lambda: later)
    assert live.history.at_once([early]) is not None
    live.close()


def test_a_request_of_many_ids_is_not_looked_up_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = records(store_url("", tmp_path))
    put(live)
    people = [{"contact_id": f"c{i}"} for i in range(20)]
    monkeypatch.setattr(history, "_FEW", 20)
    for request, many in (
        ({"contacts": people}, False),
        ({"contacts": [*people, {"contact_id": "x"}]}, True),
        ({"related": {"events": [event(f"e{i}", "x") for i in range(21)]}}, True),
    ):
        assert (live.history.at_once([Question("p", None, request)]) is None) == many
        live.history._heavy.clear()
    live.close()


def test_a_failed_look_leaves_no_connection_open(tmp_path: Path) -> None:
    live = records(store_url("", tmp_path))
    put(live)
    assert live.history.at_once([Question("p")]) is not None
    asker = live.store._asker
    assert asker is not None
    with sqlite3.connect(tmp_path / "live.db") as connection:
        connection.execute("DROP TABLE live_facts")
    assert live.history.at_once([Question("p")]) is None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        asker.connection.execute("SELECT 1")
    live.close()


def test_a_database_that_others_hold_is_not_waited_for_on_the_event_loop(tmp_path: Path) -> None:
    live = records(store_url("", tmp_path))
    put(live)
    assert live.history.at_once([Question("p")]) is not None
    asker = live.store._asker
    assert asker is not None
    assert asker.connection.execute("PRAGMA busy_timeout").fetchall() == [(0,)]  # milliseconds
    asker.connection.close()
    live.store._asker = None
    live.store.close()
    other = sqlite3.connect(tmp_path / "live.db", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert live.history.at_once([Question("p")]) is None
    assert live.history.spoken_of(["p"]) is None
    other.execute("ROLLBACK")
    other.close()
    assert live.history.at_once([Question("p")]) is not None
    live.close()


def test_only_an_id_needs_something_stored(live: LiveRecords) -> None:
    for name in ("nobody", "sibling"):  # before and after the store was ever asked
        error = refusal(lambda name=name: whole(live, {"prospect": {"prospect_id": name}}))  # type: ignore[misc]
        assert (error.code, error.where) == ("unknown_prospect", "prospect.prospect_id")
        put(live)
    data = {"prospect": {"prospect_id": "nobody", "created_at": CREATED}}
    assert whole(live, data).data is data
    error = refusal(lambda: whole(live, {"prospect": {"prospect_id": "p"}, "as_of": "2026-03-03T00:00:00Z"}))
    assert error.code == "unknown_prospect"  # as of then


def test_what_a_model_cannot_read_of_the_store_is_missing_and_told(url: str) -> None:
    live = records(url)  # no model yet: anything goes
    put(live, attributes={"budget": "much", "extra": 1, "origin": "x"})
    found = whole(live, {"prospect": {"prospect_id": "p"}})
    assert found.data["prospect"]["attributes"] == {"origin": "x"}
    (warning,) = found.warnings
    assert warning["code"] == "stored_unreadable"
    assert "budget" in warning["text"]
    live.close()


# Several at once ------------------------------------------------------------------------------------------------------


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that are made at one moment; a refusal is a result."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return call()
        except LeadscoreError as e:
            return e

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_two_stores_on_one_database_give_one_truth(url: str) -> None:
    one, other = records(url), records(url)
    opened = at_once(one.store.ready, other.store.ready)  # both migrate at once
    assert opened == [None, None]
    put(one)
    one.add("events", event("e"))
    assert ids(body(other)["events"]) == ["e"]
    for live in (one, other):
        live.close()


def test_workers_that_meet_over_a_new_file_wait_for_each_other(tmp_path: Path) -> None:
    for n in range(40):  # SQLite itself refuses one in ten of such meetings
        stores = [open_store(f"sqlite:///{tmp_path / f'{n}.db'}") for _ in range(2)]
        assert at_once(*(made.ready for made in stores)) == [None, None]
        for made in stores:
            made.close()


def test_writers_at_once_leave_one_content_for_an_id_and_one_order_of_versions(url: str) -> None:
    stores = [records(url) for _ in range(2)]
    put(stores[0])
    for round_ in range(5):
        calls = [
            lambda live=stores[i % 2], i=i, r=round_: live.add(
                "events", [event(f"e{r}", channel=str(i)), event(f"x{r}{i}")]
            )
            for i in range(4)
        ]
        results = at_once(*calls)  # type: ignore[arg-type]
        kept = [r for r in results if isinstance(r, dict)]
        assert len(kept) == 1
        assert {r.code for r in results if isinstance(r, LeadscoreError)} == {"conflicting_event"}
        puts = at_once(*(lambda live=stores[i % 2], i=i, r=round_: put(live, source=f"{r}{i}") for i in range(4)))  # type: ignore[misc]
        assert len({p["observed_at"] for p in puts}) == 4
        same = at_once(*(lambda live=stores[i % 2], r=round_: put(live, source=f"same{r}") for i in range(4)))  # type: ignore[misc]
        assert len({p["observed_at"] for p in same}) == 1
    assert len(body(stores[0])["events"]) == 10
    for live in stores:
        live.close()


def test_merges_and_writes_at_once_lose_nothing(url: str) -> None:
    stores = [records(url) for _ in range(2)]
    for round_ in range(4):
        old, new = f"old{round_}", f"new{round_}"
        put(stores[0], old)
        put(stores[0], new)
        calls: list[Callable[[], Any]] = [
            lambda i=i, o=old: stores[i % 2].add("events", [event(f"{o}-{i}-{j}", o) for j in range(5)])  # type: ignore[misc]
            for i in range(3)
        ]
        calls.append(lambda o=old, n=new: stores[1].merge("prospects", o, {"into": n}))  # type: ignore[misc]
        results = at_once(*calls)
        assert all(isinstance(r, dict) for r in results), results
        assert len(body(stores[0], new)["events"]) == 15
    for live in stores:
        live.close()


@pytest.mark.parametrize("late", ["retract", "erase contacts", "erase prospects"])
def test_a_merge_under_way_brings_nothing_back(late: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is moved while it is taken back, or while its person is erased, does not survive as the copy."""
    one, other = records(url), records(url)
    for name in ("old", "new"):
        put(one, name)
        one.put("contacts", name, {"account_id": "a"})
    one.add("events", event("e1", "old", contact_id="old"))
    move, moved, go = ledger._move, threading.Event(), threading.Event()

    def slow(*args: Any) -> None:
        move(*args)
        moved.set()
        go.wait(10)

    monkeypatch.setattr(ledger, "_move", slow)
    kind = "contacts" if late == "erase prospects" else "prospects"
    with ThreadPoolExecutor(2) as pool:
        merging = pool.submit(one.merge, kind, "old", {"into": "new"})
        assert moved.wait(10)
        call = other.retract if late == "retract" else partial(other.erase, late.split()[1])
        coming = pool.submit(call, "e1" if late == "retract" else "old")
        with suppress(TimeoutError):
            coming.result(0.3)
        go.set()
        merging.result(30)
        coming.result(30)
    with one.store.engine.connect() as connection:
        query = sa.select(sa.func.count()).where(FACTS.c.id == "e1", FACTS.c.retracted_at.is_(None))
        assert connection.execute(query).scalar() == 0
    for live in (one, other):
        live.close()


# The database ---------------------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused(url: str, live: LiveRecords) -> None:
    put(live)
    with live.store.engine.begin() as connection:
        connection.execute(SCHEMA.update().values(version=99))
    newer = records(url)
    error = refusal(lambda: put(newer))
    assert error.code == "store_schema"
    assert "99" in error.message
    newer.close()


def test_another_part_keeps_tables_and_versions_of_its_own(url: str) -> None:
    store = open_store(url)
    done: list[str] = []
    store.add_part("other", (lambda connection: done.append("first"),))
    store.ready()
    store.close()
    store = open_store(url)
    store.add_part("other", (lambda connection: done.append("first"), lambda connection: done.append("second")))
    store.ready()
    assert done == ["first", "second"]
    store.close()


@pytest.mark.parametrize("text", ["mysql://x", "live.db", "sqlite://", "sqlite:///:memory:", ""])
def test_a_url_that_names_no_store_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_store(text)
    assert caught.value.code == "bad_store"


def test_the_password_is_never_shown() -> None:
    assert "secret" not in open_store("postgresql://u:secret@nowhere.invalid/x").url


# -- whether anything is known of the prospects of several requests, in one look --------------------------------------


def _bodies(*prospect_ids: str, **more: Any) -> list[dict[str, Any]]:
    return [{"prospect": {"prospect_id": prospect_id, "created_at": CREATED, **more}} for prospect_id in prospect_ids]


def test_strangers_are_told_at_once_and_those_that_are_known_are_not(tmp_path: Path) -> None:
    live = records(f"sqlite:///{tmp_path / 'live.db'}")
    other = records(f"sqlite:///{tmp_path / 'live.db'}")  # another worker's
    live.put("prospects", "stored", {"created_at": CREATED})
    live.put("prospects", "gone", {"created_at": CREATED})
    live.erase("prospects", "gone")
    live.history.prospect("stored", None)  # whose first look-up finds the key of the tombstones
    assert live.history.spoken_of(["nobody"]) == set()
    assert live.history.spoken_of([f"nobody-{i}" for i in range(20)]) == set()
    for known in ("stored", "gone"):
        assert live.history.spoken_of([known]) == {known}
        assert live.history.spoken_of(["nobody", known, "none", known]) == {known}
    many = [f"nobody-{i}" for i in range(1_500)]
    assert live.history.spoken_of(["gone", *many, "stored"]) == {"gone", "stored"}
    strangers = live.alone(_bodies("a", "b", "c"), 5)
    assert [found.data for found in strangers if isinstance(found, Completed)] == _bodies("a", "b", "c")
    found = live.alone(_bodies("a", "stored", "b", "gone"), 5)
    assert [type(one) for one in found] == [Completed, type(None), Completed, type(None)]
    other.put("prospects", "a", {"created_at": CREATED})  # seen by the one that knew nothing of it
    assert live.alone(_bodies("a", "b"), 5)[0] is None


def test_batches_of_every_size_are_asked_for_in_few_statements(tmp_path: Path) -> None:
    """Each would be kept for good: a caller who sends every size could fill the memory."""
    live = records(f"sqlite:///{tmp_path / 'live.db'}")
    live.put("prospects", "stored", {"created_at": CREATED})
    live.history.prospect("stored", None)
    nobodies = [f"nobody-{i}" for i in range(600)]
    before = len(live.store._texts)
    for size in range(600):
        assert live.history.spoken_of([*nobodies[:size], "stored"]) == {"stored"}
    assert 0 < len(live.store._texts) - before <= 9
    before = len(live.store._texts)
    for size in range(600):
        found = live.history.at_once([Question(id) for id in [*nobodies[:size], "stored"]])
        assert found is not None
        assert [known and known.id for known in found] == [None] * size + ["stored"]  # type: ignore[union-attr]
    assert 0 < len(live.store._texts) - before <= 20


def test_what_only_names_a_stranger_and_what_no_path_can_hold_is_refused_in_its_place(tmp_path: Path) -> None:
    live = records(f"sqlite:///{tmp_path / 'live.db'}")
    live.put("prospects", "stored", {"created_at": CREATED})
    live.history.prospect("stored", None)
    bare = {"prospect": {"prospect_id": "nobody"}, "as_of": CREATED}
    broken = {"prospect": {"prospect_id": "a\nb"}}
    found = live.alone([*_bodies("a"), bare, broken, {"prospect": 7}, None], 5)
    assert [getattr(one, "code", "") for one in found] == ["", "unknown_prospect", "bad_id", "", ""]
    assert getattr(found[2], "where", "") == "prospect.prospect_id"
    assert isinstance(found[3], Completed)  # the reader says what is wrong with it
    assert isinstance(found[4], Completed)


def test_a_store_that_cannot_tell_at_once_is_asked_the_long_way(tmp_path: Path) -> None:
    live = records(f"sqlite:///{tmp_path / 'live.db'}")
    assert live.history.spoken_of(["nobody"]) is None  # nothing was looked up yet
    assert live.alone(_bodies("nobody"), 5) == [None]


@given(
    st.binary(max_size=80),
    st.sampled_from(["prospects", "contacts"]),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_tombstone_is_the_hmac_that_stores_hold_already(key: bytes, kind: str, id: str) -> None:
    assert ledger.tombstone(key, kind, id) == hmac.digest(key, f"{kind}/{id}".encode(), "sha256").hex()
