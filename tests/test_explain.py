"""Every feature, with every kind of value, is a phrase in both languages."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from features.contract import DIRECTIONS, ROLES, STAGES, STANDARD
from features.errors import BadInput
from features.spec import (
    CALENDAR_PARTS,
    EXPRESSIONS,
    NAF_PARTS,
    OPERATIONS,
    OUTCOME_OPERATIONS,
    SCOPES,
    Aggregate,
    Attribute,
    Expression,
    Feature,
)
from features.titles import RANKS
from serving.explain import LANGUAGES, human, label, number

VALUES = (None, math.nan, 0.0, 1.0, 2.5, -3.0, 0.004, 1_234_567.0)
HEADCOUNT, REVENUE = Attribute("accounts", "headcount"), Attribute("accounts", "revenue")
BAND, INDUSTRY, CATEGORY = (Attribute("accounts", c) for c in ("headcount_band", "industry", "company_category"))
REGIME = Attribute("prospects", "regime")
CREATED, DEADLINE = Attribute("prospects", "created_at"), Attribute("prospects", "tender_deadline")
AGGREGATES = [
    Aggregate(operation, type_, days, scope, direction, role, channel)
    for operation, type_, days, scope, direction, role, channel in itertools.product(
        OPERATIONS, (None, "page_view"), (None, 1, 30), SCOPES, (None, *DIRECTIONS), (None, *ROLES), (None, "web_site")
    )
]
STAGED = [
    tuple(Aggregate(operation, stage=stage, direction=direction, days=days) for stage in ("discover", "compare"))
    for operation in ("days_since_first", "days_since_last", "count")
    for direction in (None, "inbound")
    for days in (None, 30)
]
AGGREGATES += [
    Aggregate(operation, type_, days, scope, table="outcomes")
    for operation, type_, days, scope in itertools.product(
        OUTCOME_OPERATIONS, (None, "won", "sent_back"), (None, 1, 30), SCOPES
    )
]
AGGREGATES += [
    Aggregate(operation, stage=stage, rank=rank)
    for operation, stage, rank in itertools.product(OPERATIONS, (None, *STAGES), (None, *RANKS))
    if stage or rank
]
AGGREGATES.append(Aggregate("open", scope="account", table="prospects"))
EXPRESSED: list[tuple[Expression, tuple[Any, ...]]] = [
    *(
        (Expression(operation, (a, b)), VALUES)
        for operation in ("ratio", "difference")
        for a, b in (
            (HEADCOUNT, REVENUE),
            (Aggregate("count", "page_view", 7), Aggregate("count", "page_view", 30)),
            (Aggregate("count", days=7), Aggregate("count")),
            (Aggregate("sum", "web_order", role="buyer"), Aggregate("distinct_contacts")),
            (Aggregate("days_since_last"), Expression("age", (CREATED,))),
            *((Aggregate(o, "page_view", 7, "account", "inbound"), HEADCOUNT) for o in OPERATIONS),
        )
    ),
    *((Expression(operation, (a,)), VALUES) for operation in ("age", "days_until") for a in (CREATED, DEADLINE)),
    *(
        (Expression(operation, arguments), (None, math.nan, 0.0, 1.0, 2.0, 3.0, 45.5))
        for operation in ("reached", "last_known", "latest")
        for arguments in (*STAGED, (HEADCOUNT, REVENUE, Aggregate("count", "page_view")), (HEADCOUNT,))
    ),
    *((Expression("naf", (INDUSTRY,), part), (None, math.nan, "J", "62", "62.01", "_")) for part in NAF_PARTS),
    (Expression("band_order", (BAND,)), (None, math.nan, *map(float, range(16)))),
    (Expression("size_conflict", (CATEGORY, HEADCOUNT, BAND)), (None, math.nan, 0.0, 1.0)),
    (Expression("regime", (REGIME, DEADLINE, HEADCOUNT, BAND)), (None, "mass", "industrial", "project")),
    *(
        (Expression("calendar", a, part), (None, math.nan, *map(float, values)))
        for part, values in (("month", range(1, 13)), ("weekday", range(7)), ("hour", range(24)))
        for a in ((), (CREATED,), (DEADLINE,))
    ),
    *(
        (Expression("band", (a,), cuts=(10.0, 50.0, 2_500.5)), (None, math.nan, 0.0, 1.0, 2.0, 3.0))
        for a in (HEADCOUNT, Aggregate("count", "page_view", 30), Expression("age", (CREATED,)))
    ),
]


def proper(text: str) -> None:
    assert text.strip() == text != ""
    for wrong in ("_", "None", "nan", "{", "}", "  ", "Aggregate", "Attribute", "[]", "()"):
        assert wrong not in text, text
    assert "\n" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_aggregate_is_a_phrase(language: str) -> None:
    for feature in AGGREGATES:
        for value in VALUES:
            proper(label(feature, value, language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_different_aggregates_have_different_phrases(language: str) -> None:
    assert len({label(f, 2.5, language) for f in AGGREGATES}) == len(AGGREGATES)
    # Where there is no event, the first and the last are missing alike.
    others = [f for f in AGGREGATES if f.operation != "days_since_first"]
    assert len({label(f, None, language) for f in others}) == len(others)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_expression_is_a_phrase(language: str) -> None:
    assert {e.operation for e, _ in EXPRESSED} == set(EXPRESSIONS)
    assert {e.part for e, _ in EXPRESSED if e.part} == {*CALENDAR_PARTS, *NAF_PARTS}
    for feature, values in EXPRESSED:
        for value in values:
            proper(label(feature, value, language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_attribute_is_a_phrase(language: str) -> None:
    declared = [("prospects", "lead_quality"), ("accounts", "is_partner"), ("accounts", "_")]
    standard = [(t, c.name) for t in ("prospects", "accounts") for c in STANDARD[t] if c.kind != "key"]
    for table, column in (*standard, *declared):
        for value, kind, other in itertools.product(
            (*VALUES, "paid_search", "b2b", "mass", "_", "62.01Z"),
            (None, "category", "number", "boolean"),
            (False, True),
        ):
            proper(label(Attribute(table, column), value, language, kind=kind, other=other))


EXAMPLES: list[tuple[Feature, Any, dict[str, Any], str, str]] = [
    (
        Aggregate("count", "meeting", 30),
        4.0,
        {},
        "meeting: 4 in the last 30 days",
        "meeting : 4 au cours des 30 derniers jours",
    ),
    (Aggregate("count", "meeting"), 0.0, {}, "meeting: none so far", "meeting : aucun à ce jour"),
    (
        Aggregate("count", days=1),
        None,
        {},
        "events: number unknown in the last day",
        "événements : nombre inconnu au cours du dernier jour",
    ),
    (
        Aggregate("count", "page_view", 7, "account", "inbound", "buyer", "web_site"),
        12_000.0,
        {},
        "page view (inbound, web site, buyer, whole account): 12,000 in the last 7 days",
        "page view (entrant, web site, acheteur, tout le compte) : 12\u202f000 au cours des 7 derniers jours",
    ),
    (
        Aggregate("mean", "quote"),
        1250.5,
        {},
        "quote: average value 1,250 so far",
        "quote : valeur moyenne 1\u202f250 à ce jour",
    ),
    (
        Aggregate("days_since_last", "call"),
        3.7,
        {},
        "call: the last was 3 days ago",
        "call : le dernier a eu lieu il y a 3 jours",
    ),
    (
        Aggregate("days_since_first", days=30),
        0.2,
        {},
        "events: the first in the last 30 days was less than a day ago",
        "événements : le premier au cours des 30 derniers jours a eu lieu il y a moins d'un jour",
    ),
    (Aggregate("days_since_last"), None, {}, "events: none known so far", "événements : aucun connu à ce jour"),
    (
        Aggregate("share", days=90, direction="inbound"),
        0.255,
        {},
        "events (inbound): 25.5% of all events in the last 90 days",
        "événements (entrant) : 25,5 % des événements au cours des 90 derniers jours",
    ),
    (
        Aggregate("distinct_contacts", days=90),
        1.0,
        {},
        "events: 1 contact in the last 90 days",
        "événements : 1 contact au cours des 90 derniers jours",
    ),
    (Attribute("accounts", "country"), "FR", {}, "country: FR", "pays : FR"),
    (Attribute("accounts", "public_body"), 1.0, {}, "public body: yes", "organisme public : oui"),
    (Attribute("prospects", "regime"), "mass", {}, "buying regime: mass", "régime d'achat : masse"),
    (Attribute("prospects", "approach"), "b2b2e", {}, "approach: B2B2E", "approche : B2B2E"),
    (Attribute("prospects", "vip"), 0.0, {"kind": "boolean"}, "vip: no", "vip : non"),
    (Attribute("prospects", "vip"), 0.0, {"kind": "number"}, "vip: 0", "vip : 0"),
    (
        Attribute("prospects", "lead_type"),
        "on_line",
        {"other": True},
        "lead type: on line (rare or new value)",
        "lead type : on line (valeur rare ou nouvelle)",
    ),
    (Attribute("accounts", "headcount"), None, {}, "headcount: unknown", "effectif : inconnu"),
    (Attribute("accounts", "revenue"), 0.126, {}, "revenue: 0.13", "chiffre d'affaires : 0,13"),
    (Expression("age", (CREATED,)), 12.9, {}, "creation: 12 days ago", "création : il y a 12 jours"),
    (Expression("age", (CREATED,)), 1.0, {}, "creation: 1 day ago", "création : il y a 1 jour"),
    (Expression("age", (CREATED,)), 4_000.0, {}, "creation: 10 years ago", "création : il y a 10 ans"),
    (
        Expression("days_until", (DEADLINE,)),
        5.5,
        {},
        "tender deadline: in 5 days",
        "date limite de l'appel d'offres : dans 5 jours",
    ),
    (
        Expression("days_until", (DEADLINE,)),
        -150.0,
        {},
        "tender deadline: 4 months ago",
        "date limite de l'appel d'offres : il y a 4 mois",
    ),
    (
        Expression("ratio", (Aggregate("count", days=7), Aggregate("count", days=30))),
        0.25,
        {},
        "events: 25% of those in the last 30 days came in the last 7 days",
        "événements : 25 % de ceux au cours des 30 derniers jours sont venus au cours des 7 derniers jours",
    ),
    (
        Expression("ratio", (Aggregate("count", "page_view", 7), HEADCOUNT)),
        0.5,
        {},
        "ratio of number of events “page view” in the last 7 days to headcount: 0.5",
        "rapport entre nombre d'événements « page view » au cours des 7 derniers jours et effectif : 0,5",
    ),
    (Expression("calendar", (CREATED,), "month"), 3.0, {}, "creation (month): March", "création (mois) : mars"),
    (
        Expression("calendar", (), "weekday"),
        0.0,
        {},
        "time of scoring (weekday): Monday",
        "moment du score (jour) : lundi",
    ),
    (
        Expression("calendar", (), "hour"),
        9.0,
        {},
        "time of scoring (hour): 09:00 UTC",
        "moment du score (heure) : 9 h UTC",
    ),
    (
        Expression("band", (HEADCOUNT,), cuts=(10.0, 250.0)),
        1.0,
        {},
        "headcount: from 10 to below 250",
        "effectif : de 10 à moins de 250",
    ),
    (Expression("band", (HEADCOUNT,), cuts=(10.0, 250.0)), 0.0, {}, "headcount: below 10", "effectif : moins de 10"),
    (Expression("band", (HEADCOUNT,), cuts=(10.0, 250.0)), 2.0, {}, "headcount: 250 or more", "effectif : 250 ou plus"),
]


@pytest.mark.parametrize(("feature", "value", "more", "english", "french"), EXAMPLES)
def test_examples(feature: Feature, value: Any, more: dict[str, Any], english: str, french: str) -> None:
    assert label(feature, value, "en", **more) == english
    assert label(feature, value, "fr", **more) == french
    assert label(feature, value, **more) == english


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        label(HEADCOUNT, 3.0, "de")
    assert caught.value.code == "unknown_language"
    assert "fr" in caught.value.remedy


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (4.0, "4"),
        (0.1, "0.1"),
        (2.50, "2.5"),
        (99.999, "100"),
        (123.4, "123"),
        (-1234, "-1,234"),
        (0.00123, "0.0012"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_names() -> None:
    assert human("paid__search_") == "paid search"
    assert human("_") == "-"
