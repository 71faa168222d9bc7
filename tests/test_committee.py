"""The buying trio: who takes part as of t, and the model asked again with one more sign, which leaves no trace."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import ALWAYS, DAY, ROLES
from features.records import Event, Records, Version, Versions
from serving import openapi
from serving.bundle import UsualEvent
from serving.committee import ENGAGED_DAYS, RoleStanding, Sign, people, signs, standing, trio
from serving.scorer import Score, Scorer
from tests.fixtures_bundle import make_records, make_scorer, request_records, training_rows

T = 1_000 * DAY
USUAL = {role: {"type": "meeting", "channel": None} for role in ROLES}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer(committee=USUAL)


def person(contact: str, **values: Any) -> tuple[str, Versions]:
    return contact, (Version(ALWAYS, {"contact_id": contact, "account_id": "a1", **values}),)


def event(contact: str | None, at: int, recorded_at: int | None = None, number: int = 0, **values: Any) -> Event:
    return Event(f"e{number}-{contact}-{at}", "p1", "call", at, at if recorded_at is None else recorded_at, contact)


def roles_of(
    contacts: dict[str, Versions], *events: Event, known: bool = True
) -> dict[str, tuple[bool, bool | None, float | None]]:
    persons = people(contacts, events, "a1", T)
    found = standing(persons.values(), T, known)
    assert [s.role for s in found] == list(ROLES)
    return {s.role: (s.known, s.engaged, s.days_since) for s in found}


# -- who takes part ----------------------------------------------------------------------------------------------------


def test_a_role_is_known_by_a_contact_and_engaged_by_a_recent_event() -> None:
    contacts = dict([person("c1", role="buyer"), person("c2", role="user"), person("c3")])
    events = [event("c1", T - 200 * DAY), event("c1", T - 10 * DAY), event("c2", T - 100 * DAY), event("c3", T)]
    assert roles_of(contacts, *events) == {
        "buyer": (True, True, 10.0),
        "user": (True, False, 100.0),
        "prescriber": (False, False, None),
    }


@pytest.mark.parametrize(
    ("at", "recorded_at", "engaged", "days"),
    [
        (T, T, True, 0.0),
        (T - ENGAGED_DAYS * DAY + 1, T, True, ENGAGED_DAYS - 1 / DAY),
        (T - ENGAGED_DAYS * DAY, T, False, float(ENGAGED_DAYS)),  # the window is open at its beginning
        (T + 1, T + 1, False, None),  # the future
        (T - DAY, T + 1, False, None),  # not known yet
    ],
)
def test_the_window_is_that_of_the_features(at: int, recorded_at: int, engaged: bool, days: float | None) -> None:
    found = roles_of(dict([person("c1", role="buyer")]), event("c1", at, recorded_at))
    assert found["buyer"] == (True, engaged, days)


def test_a_role_is_that_as_of_t() -> None:
    versions = (
        Version(T - 5 * DAY, {"contact_id": "c1", "account_id": "a1", "role": "user"}),
        Version(T, {"contact_id": "c1", "account_id": "a1", "role": "buyer"}),
        Version(T + 1, {"contact_id": "c1", "account_id": "a1", "role": "prescriber"}),
    )
    found = roles_of({"c1": versions, "c2": (Version(T + 1, {"role": "user"}),)}, event("c1", T - 9 * DAY))
    assert found == {"buyer": (True, True, 9.0), "prescriber": (False, False, None), "user": (False, False, None)}


def test_a_role_is_read_from_the_title_and_never_overridden() -> None:
    contacts = dict(
        [
            person("c1", job_title="Responsable achats"),
            person("c2", job_title="Acheteuse", role="user"),
            person("c3", job_title="xyzzy"),
        ]
    )
    found = roles_of(contacts)
    assert {role: known for role, (known, _, _) in found.items()} == {"buyer": True, "prescriber": False, "user": True}


def test_who_has_left_the_account_takes_no_part() -> None:
    gone = (
        Version(ALWAYS, {"account_id": "a1", "role": "buyer"}),
        Version(T, {"account_id": "a2", "role": "buyer"}),
    )
    unnamed = (Version(ALWAYS, {"account_id": None, "role": "user"}),)
    found = roles_of({"c1": gone, "c2": unnamed}, event("c1", T - DAY), event("c2", T - DAY))
    assert found["buyer"] == (False, False, None)
    assert found["user"] == (True, True, 1.0)


def test_unknown_events_say_nothing_of_engagement() -> None:
    found = roles_of(dict([person("c1", role="buyer")]), known=False)
    assert found["buyer"] == (True, None, None)
    assert found["user"] == (False, None, None)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_roles_are_those_of_a_plain_count(scorer: Scorer, seed: int) -> None:
    records, t = make_records(seed)
    score = scorer.score(records, t, reasons=0)
    assert score.committee is not None
    for role, contact in (("buyer", "c1"), ("user", "c2"), ("prescriber", None)):
        times = [
            e.occurred_at
            for e in records.events or ()
            if contact is not None and e.contact_id == contact and max(e.occurred_at, e.recorded_at) <= t
        ]
        found = next(s for s in score.committee.roles if s.role == role)
        assert found.known == (contact is not None)
        assert found.engaged == any(at > t - 90 * DAY for at in times)
        assert found.days_since == ((t - max(times)) / DAY if times else None)


# -- what is missing ---------------------------------------------------------------------------------------------------


def by_role(score: Score) -> dict[str, float]:
    assert score.committee is not None
    return {m.role: m.probability for m in score.committee.missing}


def test_missing_is_the_score_with_the_event_by_hand(scorer: Scorer) -> None:
    """The buyer is known and silent, the prescriber unknown, the user engaged; each figure to the bit."""
    records, t = request_records()
    contacts = dict([person("c1", role="buyer"), person("c2", role="user")])
    records = replace(
        records, contacts=contacts, events=tuple(e._replace(contact_id="c2") for e in records.events or ())
    )
    score = scorer.score(records, t)
    assert set(by_role(score)) == {"buyer", "prescriber"}

    def after(more: dict[str, Versions], contact: str) -> float:
        sign = Event("by hand", "p1", "meeting", t, t, contact, "inbound")
        with_it = replace(records, contacts={**contacts, **more}, events=(*(records.events or ()), sign))
        return scorer.score(with_it, t).probability

    stranger = dict([person("stranger", role="prescriber")])
    assert by_role(score) == {"buyer": after({}, "c1"), "prescriber": after(stranger, "stranger")}
    assert all(p > score.probability for p in by_role(score).values())  # the fixture's model likes meetings


def test_the_event_comes_from_the_one_who_was_last_heard_of() -> None:
    usual = {"buyer": UsualEvent("call", "phone")}

    def who(contacts: dict[str, Versions], *events: Event) -> str | None:
        persons = people(contacts, events, "a1", T)
        (sign,) = signs(standing(persons.values(), T, True), persons.values(), usual, "p1", "a1", T)
        assert sign.event[2:] == ("call", T, T, sign.event.contact_id, "inbound", "phone", None, None)
        assert sign.event.prospect_id == "p1"
        assert (sign.person is None) == (sign.event.contact_id in contacts)
        return sign.event.contact_id if sign.person is None else None

    contacts = dict([person(c, role="buyer") for c in ("c1", "c2", "c3")])
    old, older = event("c3", T - 100 * DAY), event("c2", T - 200 * DAY)
    assert who(contacts, old, older) == "c3"
    assert who(contacts, older) == "c2"
    assert who(contacts) == "c1"  # of nobody heard yet, the first by id
    assert who(dict([person("c1", role="user")])) is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_at_once_they_are_the_standing_and_the_signs_of_the_people(data: st.DataObject) -> None:
    ids = st.sampled_from(["c0", "c1", "c2", "c3", "c4", "c10"])
    times = st.sampled_from([ALWAYS, T - 91 * DAY, T - 90 * DAY, T - 90 * DAY + 1, T - 1, T, T + 1])
    rows = st.fixed_dictionaries(
        {
            "account_id": st.sampled_from([None, "a1", "a1", "a2"]),
            "role": st.sampled_from([None, *ROLES, "cook"]),
            "job_title": st.sampled_from([None, "Head of purchasing", "Acheteur", "?"]),
        }
    )
    versions = st.lists(st.builds(Version, times, rows), min_size=1, max_size=3).map(tuple)
    contacts = dict(data.draw(st.lists(st.tuples(ids, versions), max_size=5)))
    events = data.draw(st.none() | st.lists(st.builds(event, st.none() | ids, times, times), max_size=6))
    usual = {role: UsualEvent("call", None) for role in data.draw(st.sets(st.sampled_from(ROLES)))}
    account = data.draw(st.sampled_from([None, "a1"]))
    persons = people(contacts, events or (), account, T).values()
    roles = standing(persons, T, events is not None)
    found = trio(contacts, events, usual, "p1", account, T)
    assert found == (roles, signs(roles, persons, usual, "p1", account, T))
    assert all(type(role) is RoleStanding for role in found[0])
    assert all((type(sign), type(sign.event)) == (Sign, Event) for sign in found[1])


def test_an_engaged_role_and_one_without_a_usual_event_are_not_missing() -> None:
    scorer = make_scorer(committee={"buyer": USUAL["buyer"]})
    records, t = request_records()  # a buyer, engaged
    score = scorer.score(records, t)
    assert score.committee is not None
    assert [s.role for s in score.committee.roles if not s.engaged] == ["prescriber", "user"]
    assert score.committee.missing == ()
    assert list(by_role(scorer.score(replace(records, events=()), t))) == ["buyer"]


def test_the_most_promising_comes_first() -> None:
    usual = {**USUAL, "user": {"type": "fair", "channel": None}, "prescriber": {"type": "fair", "channel": None}}
    scorer = make_scorer(committee=usual)
    records, t = request_records()
    missing = scorer.score(replace(records, events=()), t).committee
    assert missing is not None
    found = [(m.role, m.event_type) for m in missing.missing]
    assert found[0] == ("buyer", "meeting")  # the model knows no fairs
    assert [m.probability for m in missing.missing] == sorted((m.probability for m in missing.missing), reverse=True)
    assert missing.missing[1].probability == missing.missing[2].probability
    assert found[1:] == [("prescriber", "fair"), ("user", "fair")]  # equal: in the order of the roles


def test_unknown_lists(scorer: Scorer) -> None:
    records, t = request_records()
    assert scorer.score(replace(records, contacts=None), t).committee is None
    blind = scorer.score(replace(records, events=None), t).committee
    assert blind is not None
    assert blind.missing == ()
    assert [(s.known, s.engaged) for s in blind.roles] == [(True, None), (False, None), (False, None)]
    empty = scorer.score(replace(records, contacts={}), t).committee
    assert empty is not None
    assert [m.role for m in empty.missing] != []
    assert not any(s.known for s in empty.roles)


def test_what_is_supposed_leaves_no_trace(scorer: Scorer) -> None:
    records, t = request_records()
    before = copy.deepcopy(records)
    score = scorer.score(records, t, reasons=100)
    assert records == before
    assert score.committee is not None
    assert score.committee.missing
    text = json.dumps(score.to_json())
    assert "\\u0000" not in text
    without = scorer.score(records, t, reasons=100, committee=False)
    assert without.committee is None
    assert replace(score, committee=None) == without
    assert scorer.score(records, t, reasons=100) == score  # and once more


def test_only_records_tell_of_a_committee(scorer: Scorer) -> None:
    assert scorer.score_rows(training_rows()[0][:2])[0].committee is None
    assert scorer.score_rows(training_rows()[0][:2])[0].to_json()["committee"] is None


def test_the_probability_alone_has_the_bits_of_the_score(scorer: Scorer) -> None:
    many = [make_records(seed) for seed in range(40)]
    t = max(t for _, t in many)
    wanted = [scorer.score(records, t).probability for records, _ in many]
    assert scorer.probabilities([records for records, _ in many], t) == wanted
    assert scorer.probabilities([], t) == []


def test_the_answer_says_what_its_figures_rest_on(scorer: Scorer) -> None:
    records, t = request_records()
    answer = scorer.score(records, t).to_json()
    committee = answer["committee"]
    assert list(committee) == ["roles", "missing", "basis"]
    assert committee["basis"] == "model_sensitivity"
    assert list(committee["roles"][0]) == ["role", "known", "engaged", "days_since"]
    assert list(committee["missing"][0]) == ["role", "event_type", "probability"]
    openapi.ProspectScore.model_validate_json(json.dumps(answer), strict=True)
    described = json.dumps(openapi.schemas()["Committee"]) + json.dumps(openapi.schemas()["MissingRole"])
    assert "sensitivity" in described
    assert "no causal claim" in described


def test_a_committee_does_not_depend_on_the_order_of_records(scorer: Scorer) -> None:
    records, t = make_records(5)
    turned: Records = replace(
        records,
        contacts=dict(reversed(list((records.contacts or {}).items()))),
        events=tuple(reversed(records.events or ())),
    )
    assert scorer.score(turned, t) == scorer.score(records, t)
