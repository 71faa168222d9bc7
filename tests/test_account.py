"""An account from its prospects, and its people: the arithmetic, what counts as open, and the strict reader."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import DAY, Goal, parse_time
from features.errors import BadInput
from features.records import AccountRecords, Event, Version
from serving import openapi
from serving.account import combine, interval, logit, open_prospects, score_account, score_contacts, weights
from serving.bundle import AccountMap
from serving.faults import error_body, status_of
from serving.schema import bounded
from serving.scorer import Score, Scorer
from tests.bad_requests import MARK
from tests.fixtures_account import AS_OF, NOW, account_records, account_request, parse_account
from tests.fixtures_bundle import ACCOUNT, DATASET, make_records, make_request, make_scorer, request_records

MAP = AccountMap(**ACCOUNT)
NAIVE = AccountMap(0.0, 1.0, 0.0, 0.0)
CHANCES = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8)
T = parse_time(AS_OF)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer()


# -- the arithmetic ----------------------------------------------------------------------------------------------------


@given(p=st.floats(0.0, 1.0))
def test_of_one_prospect_it_is_the_prospects_own(p: float) -> None:
    assert combine([p], MAP) == p
    assert weights([p], MAP) == [1.0]


def test_the_identity_is_the_naive_product() -> None:
    assert combine([0.2, 0.5, 0.1], NAIVE) == pytest.approx(1 - 0.8 * 0.5 * 0.9, abs=1e-15)
    assert combine([1e-18, 2e-18], NAIVE) == pytest.approx(3e-18, rel=1e-12)  # 1 - prod in plain doubles is 0


def test_the_map_is_its_formula() -> None:
    naive = 1 - 0.8 * 0.7 * 0.75
    wanted = -0.1 + 0.9 * math.log(naive / (1 - naive)) - 0.2 * math.log(3)
    assert wanted > math.log(0.3 / 0.7)  # above the best prospect's
    assert combine([0.2, 0.3, 0.25], MAP) == pytest.approx(1 / (1 + math.exp(-wanted)), abs=1e-15)


@settings(max_examples=200)
@given(p=CHANCES, seed=st.integers(0, 9))
def test_the_map_keeps_order_and_bounds(p: list[float], seed: int) -> None:
    found = combine(p, MAP)
    assert max(p) <= found <= 1
    turned = p[:]
    random.Random(seed).shuffle(turned)
    assert combine(turned, MAP) == found
    higher = [min(1.0, x + 0.1) for x in p]
    assert combine(higher, MAP) >= found


@pytest.mark.parametrize(("p", "expected"), [([0.0, 0.0], 0.0), ([1.0, 0.3], 1.0), ([1.0, 1.0], 1.0)])
def test_certainty_is_kept(p: list[float], expected: float) -> None:
    assert combine(p, MAP) == expected
    assert all(math.isfinite(w) for w in weights(p, MAP))


def some_score(probability: float, low: float, high: float) -> Score:
    return replace(make_score(), probability=probability, probability_low=low, probability_high=high)


def make_score() -> Score:
    return Score("p", 0, "won", 90, 0.5, 0.4, 0.6, ((90, 0.5),), 50, "B", (), (), "7")


def test_the_interval_is_the_map_of_both_ends_wider_by_its_own_doubt() -> None:
    scores = [some_score(0.2, 0.1, 0.3), some_score(0.3, 0.2, 0.45)]
    sure = MAP._replace(error=0.0)
    p = combine([0.2, 0.3], MAP)
    low, high = interval(scores, sure, 0.9)
    assert (low, high) == pytest.approx((combine([0.1, 0.2], MAP), combine([0.3, 0.45], MAP)), abs=1e-12)
    low_, high_ = interval(scores, MAP, 0.9)
    doubt = NormalDist().inv_cdf(0.95) * MAP.error
    assert logit(p) - logit(low_) == pytest.approx(math.hypot(logit(p) - logit(low), doubt), abs=1e-9)
    assert logit(high_) - logit(p) == pytest.approx(math.hypot(logit(high) - logit(p), doubt), abs=1e-9)
    assert low_ < low < p < high < high_
    assert interval(scores[:1], MAP, 0.9) == (0.1, 0.3)  # of one prospect: its own


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-300, 1 - 1e-16])
def test_the_interval_holds_far_out(p: float) -> None:
    low, high = interval([some_score(p, p, p), some_score(p, p, p)], MAP, 0.9)
    assert 0 <= low <= combine([p, p], MAP) <= high <= 1
    assert math.isfinite(logit(p))


def test_the_weights_are_the_derivatives() -> None:
    p = [0.2, 0.3, 0.25]
    step = 1e-6
    for i, weight in enumerate(weights(p, MAP)):
        moved = p[:]
        moved[i] = 1 / (1 + math.exp(-(logit(p[i]) + step)))
        change = (logit(combine(moved, MAP)) - logit(combine(p, MAP))) / step
        assert weight == pytest.approx(change, rel=1e-4)
    steep = AccountMap(-3.0, 1.0, 0.0, 0.0)
    assert combine(p, steep) == 0.3
    assert weights(p, steep) == [0.0, 1.0, 0.0]  # where it is the best prospect's own


# -- one account -------------------------------------------------------------------------------------------------------


def as_account(seed: int) -> tuple[AccountRecords, int]:
    """A random prospect alone with its account."""
    records, t = make_records(seed)
    account = AccountRecords(
        account_id="a1",
        prospects={records.prospect_id: records.prospect},
        accounts=records.accounts,
        contacts=records.contacts,
        events={records.prospect_id: records.events or ()},
        outcomes={},
    )
    return account, t


def test_an_account_of_one_prospect_is_that_prospect_to_the_bit(scorer: Scorer) -> None:
    for seed in range(30):
        account, t = as_account(seed)
        (prospect_id,) = account.prospects
        alone = scorer.score(account.of(prospect_id), t)
        found = score_account(scorer, account, t)
        assert found.prospects == (alone,)
        same = ("as_of", "goal", "horizon_days", "probability", "probability_low", "probability_high", "committee")
        for name in same:
            assert getattr(found, name) == getattr(alone, name), name
        assert [r[:5] for r in found.reasons] == [tuple(r) for r in alone.reasons]
        assert {r.prospect_id for r in found.reasons} <= {prospect_id}
        assert found.warnings == alone.warnings
        assert score_contacts(scorer, account, t).probability == alone.probability


def test_every_open_prospect_is_scored_with_the_others_beside_it(scorer: Scorer) -> None:
    account, t = account_records()
    found = score_account(scorer, account, t)
    assert {s.prospect_id for s in found.prospects} == {"p1", "p2"}
    assert [s.probability for s in found.prospects] == sorted((s.probability for s in found.prospects), reverse=True)
    for score in found.prospects:
        assert score == scorer.score(account.of(score.prospect_id), t)
    records = account.of("p1")
    assert [e.event_id for e in records.events or ()] == ["e1", "e2"]
    assert [e.event_id for e in records.related_events or ()] == ["e3", "e4"]
    assert set(records.related or ()) == {"p2", "p3"}
    assert [o.outcome for o in records.related_outcomes or ()] == ["won"]
    assert found.probability == combine([s.probability for s in found.prospects], MAP)
    assert max(s.probability for s in found.prospects) <= found.probability
    assert found.probability_low <= found.probability <= found.probability_high
    assert found.warnings[0] == ("not_open", "1 prospect is not open at this time and counted as history only.")


def test_a_closed_prospect_is_history_only(scorer: Scorer) -> None:
    """Its events are those of the account, but its own chance is no part of the account's."""
    account, t = account_records()
    near = Event("e9", "p3", "call", t - DAY, t - DAY)
    livelier = account.adding(near, account.contacts)
    assert score_account(scorer, livelier, t) != score_account(scorer, account, t)  # the account's events in 30 days
    still_open = replace(account, outcomes={})
    assert len(score_account(scorer, still_open, t).prospects) == 3


@pytest.mark.parametrize(
    ("change", "open_"),
    [
        (lambda r: r["prospects"][1].update(created_at="2026-03-05T09:00:00.000001Z"), ["p1"]),
        (lambda r: r["prospects"][1].update(created_at=AS_OF), ["p1", "p2"]),
        (
            lambda r: r["outcomes"].append({"prospect_id": "p1", "outcome": "lost", "occurred_at": AS_OF}),
            ["p2"],
        ),
        (
            lambda r: r["outcomes"].append(
                {
                    "prospect_id": "p1",
                    "outcome": "lost",
                    "occurred_at": AS_OF,
                    "recorded_at": "2026-03-06T00:00:00Z",
                }
            ),
            ["p1", "p2"],
        ),
        (
            lambda r: r["outcomes"].append({"prospect_id": "p1", "outcome": "expanded", "occurred_at": AS_OF}),
            ["p1", "p2"],
        ),
        (lambda r: r.pop("outcomes"), ["p1", "p2", "p3"]),
        (
            lambda r: r["prospects"].append(
                [
                    {
                        "prospect_id": "p4",
                        "created_at": "2026-01-01T00:00:00Z",
                        "account_id": account_id,
                        "observed_at": observed_at,
                    }
                    for account_id, observed_at in (("a1", "2026-01-01T00:00:00Z"), ("a2", "2026-02-01T00:00:00Z"))
                ]
            ),
            ["p1", "p2"],  # p4 has moved to another account
        ),
    ],
)
def test_what_is_open(scorer: Scorer, change: Callable[[dict[str, Any]], Any], open_: list[str]) -> None:
    request = account_request()
    change(request)
    parsed = parse_account(request)
    assert open_prospects(scorer, parsed.records, parsed.as_of) == open_


def test_an_episode_after_a_sale() -> None:
    scorer = make_scorer(goal=Goal("renewed", (("", 90),), "won").to_json())
    account, t = account_records()
    assert open_prospects(scorer, account, t) == ["p3"]


def test_no_open_prospect_has_its_code(scorer: Scorer) -> None:
    request = account_request()
    request["outcomes"] += [{"prospect_id": p, "outcome": "lost", "occurred_at": AS_OF} for p in ("p1", "p2")]
    parsed = parse_account(request)
    ask: Any
    for ask in (score_account, score_contacts):
        with pytest.raises(BadInput) as caught:
            ask(scorer, parsed.records, parsed.as_of)
        assert (caught.value.code, caught.value.where) == ("no_open_prospect", "prospects")
        assert status_of(caught.value.code) == 422


def test_the_order_of_what_is_sent_changes_nothing(scorer: Scorer) -> None:
    wanted = None
    for seed in range(6):
        request = account_request()
        for name in ("prospects", "contacts", "events"):
            random.Random(seed).shuffle(request[name])
        parsed = parse_account(request)
        found = (
            score_account(scorer, parsed.records, parsed.as_of).to_json(),
            score_contacts(scorer, parsed.records, parsed.as_of).to_json(),
        )
        wanted = wanted or found
        assert found == wanted


def test_horizons_that_differ_are_said(scorer: Scorer) -> None:
    request = account_request()
    request["prospects"][0]["regime"] = "mass"
    parsed = parse_account(request)
    found = score_account(scorer, parsed.records, parsed.as_of)
    assert sorted(s.horizon_days for s in found.prospects) == [30, 90]
    assert found.horizon_days == 90
    assert [w.code for w in found.warnings][:2] == ["mixed_horizons", "not_open"]
    assert "30, 90 days" in found.warnings[0].text


def test_the_warnings_of_the_account_are_those_of_all_its_prospects(scorer: Scorer) -> None:
    request = account_request()
    request["prospects"][0]["attributes"]["origin"] = "radio"
    request["prospects"][1]["tender_deadline"] = "2026-03-01T00:00:00Z"
    del request["contacts"], request["events"]
    parsed = parse_account(request)
    found = score_account(scorer, parsed.records, parsed.as_of)
    codes = [w.code for w in found.warnings]
    assert codes == ["not_open", "events_unknown", "contacts_unknown", "few_outcomes"]
    of = {s.prospect_id: {w.code for w in s.warnings} for s in found.prospects}
    assert "unseen_level" in of["p1"] - of["p2"]
    assert "tender_closed" in of["p2"] - of["p1"]
    assert found.committee is None
    more = found.with_warnings([{"code": "first", "text": "said by the reader"}])
    assert [w.code for w in more.warnings] == ["first", *codes]


def test_the_reasons_are_the_prospects_weighted(scorer: Scorer) -> None:
    account, t = account_records()
    found = score_account(scorer, account, t, reasons=1_000)
    scores = sorted(found.prospects, key=lambda s: s.prospect_id)
    share = dict(zip(("p1", "p2"), weights([s.probability for s in scores], MAP), strict=True))
    total = sum(share[s.prospect_id] * r.effect for s in scores for r in s.reasons)
    assert sum(r.effect for r in found.reasons) == pytest.approx(total, abs=1e-12)
    shared = {r.feature: r for r in found.reasons if r.prospect_id is None}
    assert "account_event_count_30d" in shared  # one value, said of both
    both = [next(r for r in s.reasons if r.feature == "account_event_count_30d") for s in scores]
    wanted = sum(share[s.prospect_id] * r.effect for s, r in zip(scores, both, strict=True))
    assert shared["account_event_count_30d"].effect == pytest.approx(wanted, abs=1e-15)
    own = [r for r in found.reasons if r.feature == "source"]
    assert {r.prospect_id for r in own} <= {"p1", "p2"}
    effects = [abs(r.effect) for r in found.reasons]
    assert effects == sorted(effects, reverse=True)
    few = score_account(scorer, account, t, reasons=2)
    assert few.reasons == found.reasons[:2]
    assert [len(s.reasons) for s in few.prospects] == [2, 2]
    none = score_account(scorer, account, t, reasons=0)
    assert (none.reasons, none.prospects[0].reasons) == ((), ())
    assert none.probability == found.probability


def test_the_trio_of_the_account_is_that_of_all_its_prospects(scorer: Scorer) -> None:
    account, t = account_records()
    found = score_account(scorer, account, t)
    assert found.committee is not None
    roles = {s.role: (s.known, s.engaged) for s in found.committee.roles}
    assert roles == {"buyer": (True, True), "prescriber": (True, True), "user": (True, False)}
    of_p1 = next(s for s in found.prospects if s.prospect_id == "p1").committee
    assert of_p1 is not None
    assert next(s.days_since for s in of_p1.roles if s.role == "user") is None  # its meeting was p3's
    # The user's usual event, one of the best prospect's, by hand.
    best = found.prospects[0].prospect_id
    sign = Event("by hand", best, "page_view", t, t, "c3", "inbound", "web")
    after = score_account(scorer, account.adding(sign, account.contacts), t)
    assert [(m.role, m.probability) for m in found.committee.missing] == [("user", after.probability)]


def test_the_answers_are_those_of_the_contract(scorer: Scorer) -> None:
    account, t = account_records()
    found = score_account(scorer, account, t).to_json()
    assert list(found) == [n for n in openapi.AccountAnswer.model_fields if n != "receipt_id"]
    for each in found["prospects"]:
        assert list(each) == list(openapi.ProspectScore.model_fields)
    openapi.AccountAnswer.model_validate_json(json.dumps({**found, "receipt_id": "r"}), strict=True)
    people = score_contacts(scorer, account, t).to_json()
    assert list(people) == [n for n in openapi.ContactsAnswer.model_fields if n != "receipt_id"]
    assert people["basis"] == "model_sensitivity"
    openapi.ContactsAnswer.model_validate_json(json.dumps({**people, "receipt_id": "r"}), strict=True)


# -- its people --------------------------------------------------------------------------------------------------------


def test_people_are_ranked_by_what_their_events_move(scorer: Scorer) -> None:
    account, t = account_records()
    before = copy.deepcopy(account)
    found = score_contacts(scorer, account, t)
    assert account == before  # nothing supposed or taken away is left behind
    assert found.probability == score_account(scorer, account, t).probability
    of = {c.contact_id: c for c in found.contacts}
    assert set(of) == {"c1", "c2", "c3", "c4"}
    effects = [c.effect for c in found.contacts if c.effect is not None]
    assert effects == sorted(effects, reverse=True)
    assert (of["c1"].events, of["c2"].events, of["c3"].events, of["c4"].events) == (2, 1, 1, 0)
    assert of["c2"].days_since == 1 - 1 / 24
    for contact in ("c1", "c2"):
        kept = {p: tuple(e for e in own if e.contact_id != contact) for p, own in (account.events or {}).items()}
        without = score_account(scorer, replace(account, events=kept), t).probability
        assert of[contact].probability_without == without
        assert of[contact].effect == logit(found.probability) - logit(without)
    assert of["c1"].effect is not None
    assert of["c1"].effect > 0  # the fixture's model likes page views
    best = score_account(scorer, account, t).prospects[0].prospect_id
    sign = Event("by hand", best, "meeting", t, t, "c1", "inbound")
    assert of["c1"].probability_after == score_account(scorer, account.adding(sign, account.contacts), t).probability


def test_who_had_no_event_moves_nothing(scorer: Scorer) -> None:
    account, t = account_records()
    (idle,) = (c for c in score_contacts(scorer, account, t).contacts if c.contact_id == "c4")
    assert (idle.events, idle.days_since, idle.effect) == (0, None, 0.0)
    assert idle.probability_without == score_account(scorer, account, t).probability
    later = Event("e9", "p1", "meeting", t + 1, t + 1, "c4")  # not known yet
    assert score_contacts(scorer, account.adding(later, account.contacts), t).contacts == tuple(
        score_contacts(scorer, account, t).contacts
    )


def test_what_is_known_of_a_person(scorer: Scorer) -> None:
    account, t = account_records()
    of = {c.contact_id: c for c in score_contacts(scorer, account, t).contacts}
    assert (of["c1"].role, of["c1"].role_inferred, of["c1"].rank) == ("buyer", False, None)
    assert (of["c2"].role, of["c2"].role_inferred, of["c2"].rank) == ("prescriber", True, "executive")
    assert (of["c3"].role, of["c3"].role_inferred, of["c3"].rank) == ("user", False, "head")  # the given role holds
    assert (of["c4"].role, of["c4"].role_inferred, of["c4"].rank) == (None, False, None)
    # No prescriber was met inbound in training, and of c4 no role is known.
    assert of["c2"].probability_after is None
    assert of["c4"].probability_after is None
    assert of["c3"].probability_after is not None


def test_unknown_events_leave_the_people_unranked(scorer: Scorer) -> None:
    account, t = account_records()
    found = score_contacts(scorer, replace(account, events=None), t)
    assert [c.contact_id for c in found.contacts] == ["c1", "c2", "c3", "c4"]
    for contact in found.contacts:
        assert contact[4:] == (None,) * 5


def test_only_the_people_of_the_account_at_that_time_are_ranked(scorer: Scorer) -> None:
    account, t = account_records()
    contacts = {
        **(account.contacts or {}),
        "c5": (Version(t + 1, {"contact_id": "c5", "account_id": "a1"}),),
        "c6": (
            Version(t - DAY, {"contact_id": "c6", "account_id": "a1"}),
            Version(t, {"contact_id": "c6", "account_id": "a2"}),
        ),
    }
    found = score_contacts(scorer, replace(account, contacts=contacts), t)
    assert {c.contact_id for c in found.contacts} == {"c1", "c2", "c3", "c4"}
    assert score_contacts(scorer, replace(account, contacts={}), t).contacts == ()


# -- the reader --------------------------------------------------------------------------------------------------------


def test_a_request_means_its_records() -> None:
    parsed = parse_account(account_request())
    records = parsed.records
    assert (records.account_id, parsed.as_of, parsed.goal, parsed.warnings) == ("a1", T, None, ())
    assert {p: v[0].values["account_id"] for p, v in records.prospects.items()} == dict.fromkeys(
        ("p1", "p2", "p3"), "a1"
    )
    assert {c: v[0].values["account_id"] for c, v in (records.contacts or {}).items()} == dict.fromkeys(
        ("c1", "c2", "c3", "c4"), "a1"
    )
    assert {p: len(own) for p, own in (records.events or {}).items()} == {"p1": 2, "p2": 1, "p3": 1}
    assert set(records.outcomes or ()) == {"p3"}


def test_an_account_of_one_means_what_score_reads() -> None:
    request = make_request()
    asked = {
        "account": request["account"],
        "contacts": request["contacts"],
        "prospects": [request["prospect"]],
        "events": [{**e, "prospect_id": "p1"} for e in request["events"]],
        "outcomes": [],
        "as_of": request["as_of"],
    }
    parsed = parse_account(asked)
    wanted, t = request_records()
    # The reader fills every column that the data set has; what is known must agree.
    found = parsed.records.of("p1")
    assert parsed.as_of == t
    assert (found.events, found.outcomes, found.related, found.related_events, found.related_outcomes) == (
        wanted.events,
        (),
        {},
        (),
        (),
    )
    for one, other in ((found.prospect, wanted.prospect), (found.accounts["a1"], wanted.accounts["a1"])):  # type: ignore[index]
        assert {k: v for k, v in one[0].values.items() if v is not None} == other[0].values


def test_absent_lists_are_unknown_and_the_account_may_be_unnamed(scorer: Scorer) -> None:
    bare = {"prospects": [{"prospect_id": "p1", "created_at": "2026-03-01T09:00:00Z"}]}
    parsed = parse_account(bare)
    assert parsed.as_of == NOW
    records = parsed.records
    assert (records.accounts, records.contacts, records.events, records.outcomes) == (None, None, None, None)
    found = score_account(scorer, records, parsed.as_of)
    assert found.account_id is None
    assert len(found.prospects) == 1
    late = parse_account({**bare, "as_of": "2090-01-01T00:00:00Z"})
    assert [w["code"] for w in late.warnings] == ["as_of_in_future"]


def test_the_account_is_known_from_its_prospects_too() -> None:
    request = account_request()
    del request["account"]
    records = parse_account(request).records
    assert records.account_id == "a1"
    assert {v[0].values["account_id"] for v in records.prospects.values()} == {"a1"}
    request["account"] = {"country": "FR"}
    assert set(parse_account(request).records.accounts or ()) == {"a1"}


def test_a_record_sent_twice_is_one() -> None:
    request = account_request()
    request["prospects"].append(request["prospects"][0])
    request["events"].append(request["events"][0])
    assert parse_account(request).records == parse_account(account_request()).records


Edit = Callable[[dict[str, Any]], Any]
BAD: list[tuple[str, Edit, str, str]] = [
    ("no prospects", lambda r: r.pop("prospects"), "missing_field", "prospects"),
    ("null prospects", lambda r: r.update(prospects=None), "missing_field", "prospects"),
    ("empty prospects", lambda r: r.update(prospects=[]), "empty_list", "prospects"),
    ("one prospect, no list", lambda r: r.update(prospects=r["prospects"][0]), "wrong_type", "prospects"),
    ("prospect is a text", lambda r: r["prospects"].append(MARK), "wrong_type", "prospects[3]"),
    ("an item of /score", lambda r: r.update(prospect=r["prospects"][0]), "unknown_field", "prospect"),
    ("related", lambda r: r.update(related={}), "unknown_field", "related"),
    ("unknown field", lambda r: r["events"][1].update(note=MARK), "unknown_field", "events[1].note"),
    (
        "undeclared column",
        lambda r: r["prospects"][0]["attributes"].update(x=MARK),
        "undeclared_column",
        "prospects[0].attributes.x",
    ),
    ("two accounts", lambda r: r["prospects"][1].update(account_id="a2"), "id_mismatch", "prospects[1].account_id"),
    (
        "two accounts, none meant",
        lambda r: (r.pop("account"), r["prospects"][1].update(account_id="a2")),
        "id_mismatch",
        "prospects[1].account_id",
    ),
    (
        "two accounts in versions",
        lambda r: r.update(
            account=[{"account_id": a, "observed_at": f"2026-01-0{n}T00:00:00Z"} for n, a in ((1, "a1"), (2, "a2"))]
        ),
        "id_mismatch",
        "account[1].account_id",
    ),
    ("a list of one account's", lambda r: r.update(account=[]), "empty_list", "account"),
    ("contact of another", lambda r: r["contacts"][0].update(account_id="a2"), "id_mismatch", "contacts[0].account_id"),
    (
        "prospect twice, two contents",
        lambda r: r["prospects"].append({**r["prospects"][1], "source": MARK}),
        "conflicting_versions",
        "prospects[3]",
    ),
    (
        "prospect twice, two creations",
        lambda r: r["prospects"].append({**r["prospects"][1], "created_at": "2026-01-11T00:00:00Z"}),
        "created_at_changes",
        "prospects[3].created_at",
    ),
    (
        "event twice, two contents",
        lambda r: r["events"].append({**r["events"][0], "type": MARK}),
        "conflicting_event",
        "events[4]",
    ),
    (
        "event twice, two prospects",
        lambda r: r["events"].append({**r["events"][0], "prospect_id": "p2"}),
        "conflicting_event",
        "events[4]",
    ),
    (
        "contact twice, two contents",
        lambda r: r["contacts"].append({**r["contacts"][0], "role": "user"}),
        "conflicting_versions",
        "contacts[4]",
    ),
    ("event of nobody", lambda r: r["events"][0].pop("prospect_id"), "missing_field", "events[0].prospect_id"),
    (
        "event of a stranger",
        lambda r: r["events"][0].update(prospect_id=MARK),
        "unlisted_prospect",
        "events[0].prospect_id",
    ),
    ("outcome of nobody", lambda r: r["outcomes"][0].pop("prospect_id"), "missing_field", "outcomes[0].prospect_id"),
    (
        "outcome before creation",
        lambda r: r["outcomes"][0].update(occurred_at="2025-05-01T00:00:00Z"),
        "outcome_before_creation",
        "outcomes[0].occurred_at",
    ),
    ("zoneless as_of", lambda r: r.update(as_of="2026-03-05T09:00:00"), "zoneless_time", "as_of"),
    (
        "zoneless creation",
        lambda r: r["prospects"][2].update(created_at="2025-06-01T09:00:00"),
        "zoneless_time",
        "prospects[2].created_at",
    ),
    (
        "zoneless event",
        lambda r: r["events"][3].update(occurred_at="2025-07-01T10:00:00"),
        "zoneless_time",
        "events[3].occurred_at",
    ),
    ("goal is a number", lambda r: r.update(goal=3), "wrong_type", "goal"),
    (
        "prospect without creation",
        lambda r: r["prospects"][1].pop("created_at"),
        "missing_field",
        "prospects[1].created_at",
    ),
    (
        "version without observed_at",
        lambda r: r["prospects"].append([{"prospect_id": "p4", "created_at": AS_OF}]),
        "missing_field",
        "prospects[3][0].observed_at",
    ),
]


def bad_account(edit: Edit) -> dict[str, Any]:
    request = account_request()
    edit(request)
    return request


@pytest.mark.parametrize(("edit", "code", "where"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_request_is_refused_with_code_and_path(edit: Edit, code: str, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_account(bad_account(edit))
    error = caught.value
    assert (error.code, error.where, status_of(error.code)) == (code, where, 422)
    assert error.message.endswith(".")
    assert error.remedy.endswith(".")
    assert MARK not in error.message + error.remedy
    assert set(error_body(error)["error"]) == {"code", "message", "where", "remedy"}


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"x"'])
def test_a_request_is_an_object(body: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        parse_account(body)
    assert (caught.value.code, caught.value.where) == ("wrong_type", "")


def test_a_key_twice_is_refused() -> None:
    body = json.dumps(account_request()).replace('"prospects":', '"prospects": [], "prospects":', 1).encode()
    with pytest.raises(BadInput) as caught:
        parse_account(body)
    assert (caught.value.code, caught.value.where) == ("duplicate_key", "prospects")


def test_an_account_is_bounded() -> None:
    records = parse_account(account_request()).records  # 3 prospects, 4 contacts, 4 events
    bounded(records, 3, 3 * 7 * 4, by_contact=False)
    bounded(records, 12, 3 * 9 * 4, by_contact=True)
    bounded(replace(records, contacts=None, events=None), 3, 1, by_contact=True)
    for most, steps, by_contact, where in (
        (2, 1_000, False, "prospects"),
        (2, 1_000, True, "prospects"),
        (11, 1_000, True, "contacts"),
        (12, 3 * 7 * 4 - 1, False, "events"),
        (12, 3 * 9 * 4 - 1, True, "events"),
    ):
        with pytest.raises(BadInput) as caught:
            bounded(records, most, steps, by_contact)
        assert (caught.value.code, caught.value.where) == ("too_many_items", where)
    assert status_of("too_many_items") == 413


def test_the_models_and_the_reader_agree_on_the_fields() -> None:
    request = account_request()
    openapi.AccountRequest.model_validate_json(json.dumps(request), strict=True)
    assert {*request, "goal"} == set(openapi.AccountRequest.model_fields)
    for name in openapi.AccountRequest.model_fields:
        for value in (True, "word", 7):
            if name == "goal" and value == "word":
                continue
            with pytest.raises(BadInput):
                parse_account({**account_request(), name: value})
            with pytest.raises(ValueError, match=name):
                openapi.AccountRequest.model_validate_json(json.dumps({**request, name: value}), strict=True)
    example = copy.deepcopy(openapi.EXAMPLE_ACCOUNT)
    assert DATASET.columns("prospects")  # the example needs no declared column
    openapi.AccountRequest.model_validate_json(json.dumps(example), strict=True)
    assert len(parse_account(example).records.prospects) == 3
