"""Each role's usual event: counted by what was recorded by T, with roles given or read from a title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from features.contract import Dataset, Goal
from features.spec import Aggregate, Attribute, Expression, FeatureSet
from features.tables import Tables, tables_from_frames
from serving.schema import parse_request
from tests.funnels import at, times
from training.committee import usual_events
from training.dataset import build
from training.model import fit

CONTACTS = [
    {"contact_id": "b", "role": "buyer", "job_title": None, "observed_at": 0.0},
    {"contact_id": "p", "role": None, "job_title": "Head of IT", "observed_at": 0.0},  # a prescriber by its title
    {"contact_id": "u", "role": "user", "job_title": None, "observed_at": 0.0},
    {"contact_id": "u", "role": "buyer", "job_title": None, "observed_at": 50.0},  # moved to purchasing
]


def tables_of(events: Sequence[tuple[Any, ...]], contacts: Any = CONTACTS) -> Tables:
    """Events are (contact, type, direction, channel, occurred, recorded)."""
    frame = pd.DataFrame(events, columns=["contact_id", "type", "direction", "channel", "occurred_at", "recorded_at"])
    frame["occurred_at"], frame["recorded_at"] = times(frame["occurred_at"]), times(frame["recorded_at"])
    frame["event_id"] = [f"e{i}" for i in range(len(frame))]
    frame["prospect_id"] = "x0"
    ids = [f"x{i}" for i in range(60)]
    prospects = pd.DataFrame({"prospect_id": ids, "created_at": times(range(60)), "account_id": "a"})
    outcomes = pd.DataFrame({"prospect_id": ids[::2], "outcome": "won", "occurred_at": times(range(3, 63, 2))})
    people = pd.DataFrame(contacts).assign(account_id="a")
    people["observed_at"] = times(people["observed_at"])
    frames = {"prospects": prospects, "outcomes": outcomes, "events": frame, "contacts": people}
    return tables_from_frames(frames, Dataset(complete_until=at(100), goal=Goal(horizons=(("", 7),))))


def inbound(contact: str, type_: str, channel: str | None, day: float = 10, recorded: float | None = None) -> Any:
    return contact, type_, "inbound", channel, day, day if recorded is None else recorded


EVENTS = [
    inbound("b", "reply", "email"),
    inbound("b", "reply", "phone"),
    inbound("b", "reply", "phone"),
    inbound("b", "visit", "web"),
    inbound("p", "demo", None),
    inbound("p", "demo", "web"),
    ("u", "call", "outbound", "phone", 10, 10),
    ("b", "call", "outbound", "phone", 10, 10),
    *[("b", "call", "outbound", "phone", 11, 11)] * 9,
    inbound("u", "login", "app", 20),
    *[inbound("b", "late", "web", 12, 80)] * 9,
]


def test_the_commonest_inbound_type_of_each_role_and_its_channel() -> None:
    tables = tables_of(EVENTS)
    assert usual_events(tables, at(40)) == {
        "buyer": {"type": "reply", "channel": "phone"},
        "prescriber": {"type": "demo", "channel": "web"},  # of equally common ones the known
        "user": {"type": "login", "channel": "app"},
    }
    # What is recorded only later is not known; a contact has the role that it has at T.
    assert usual_events(tables, at(60))["buyer"]["type"] == "reply"
    assert "user" not in usual_events(tables, at(60))
    assert usual_events(tables, at(80))["buyer"] == {"type": "late", "channel": "web"}


def test_ties_go_by_name_and_roles_never_seen_are_absent() -> None:
    tables = tables_of([inbound("b", "b", "y"), inbound("b", "a", "z"), inbound("b", "a", "x"), inbound("b", "b", "y")])
    assert usual_events(tables, at(40)) == {"buyer": {"type": "a", "channel": "x"}}
    outbound = tables_of([("b", "call", "outbound", None, 1, 1)])
    assert usual_events(outbound, at(40)) == {}


def test_without_directions_all_events_count() -> None:
    tables = tables_of(
        [("b", "call", None, None, 1, 1), ("b", "mail", None, "email", 2, 2), ("b", "mail", None, None, 3, 3)]
    )
    assert usual_events(tables, at(40)) == {"buyer": {"type": "mail", "channel": "email"}}


def test_the_bundle_holds_them() -> None:
    tables = tables_of(EVENTS)
    features = FeatureSet(tables.dataset, (Expression("age", (Attribute("prospects", "created_at"),)),))
    model = fit(build(tables, features))
    assert model.constants["committee"]["prescriber"] == {"type": "demo", "channel": "web"}
    served = model.bundle().constants.committee
    assert {role: event._asdict() for role, event in served.items()} == model.constants["committee"]


@pytest.mark.parametrize("absent", ["events", "contacts"])
def test_without_events_or_contacts_there_is_none(absent: str) -> None:
    assert usual_events(replace(tables_of(EVENTS), **{absent: None}), at(40)) == {}


def test_the_example_has_a_person_of_each_rank_an_event_of_each_stage_and_past_outcomes() -> None:
    tables = tables_of(EVENTS)
    dataset = replace(tables.dataset, stages=(("discover", ("visit",)), ("decide", ("demo",))))
    tables = replace(tables, dataset=dataset)
    made = (
        Aggregate("days_since_last", rank="executive"),
        Aggregate("days_since_last", stage="decide"),
        Aggregate("count", stage="discover"),
        Aggregate("distinct_roles"),
        Aggregate("top_contact_share", days=90),
        Aggregate("days_since_last", "won", table="outcomes", scope="account"),
        Aggregate("open", table="prospects", scope="account"),
    )
    model = fit(build(tables, FeatureSet(dataset, made)), folds=0)
    parsed = parse_request(model.card["example"]["request"], model.spec.dataset, 0)
    assert None not in model.scorer._features(parsed.records, parsed.as_of)
    assert (
        model.scorer.score(parsed.records, parsed.as_of, reasons=0).probability == model.card["example"]["probability"]
    )
