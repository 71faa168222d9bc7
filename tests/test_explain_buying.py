"""Reasons of how firms buy: stages, roles, ranks, outcomes, the register's words, in both languages."""

from __future__ import annotations

from typing import Any

import pytest

from features.spec import Aggregate, Attribute, Expression, Feature
from serving.explain import label

HEADCOUNT, BAND = Attribute("accounts", "headcount"), Attribute("accounts", "headcount_band")
INDUSTRY, CATEGORY = Attribute("accounts", "industry"), Attribute("accounts", "company_category")
REGIME = Expression(
    "regime", (Attribute("prospects", "regime"), Attribute("prospects", "tender_deadline"), HEADCOUNT, BAND)
)


def by_stage(operation: str, **more: Any) -> tuple[Aggregate, ...]:
    return tuple(Aggregate(operation, stage=stage, **more) for stage in ("discover", "compare", "decide"))


def inbound(operation: str) -> tuple[Aggregate, ...]:
    return by_stage(operation, direction="inbound")


REACHED, LATEST = Expression("reached", by_stage("days_since_first")), Expression("latest", by_stage("days_since_last"))
BACK = Expression("difference", (REACHED, LATEST))
BACK_INBOUND = Expression(
    "difference",
    (Expression("reached", inbound("days_since_first")), Expression("latest", inbound("days_since_last"))),
)
DAYS_IN_STAGE = Expression("last_known", by_stage("days_since_first"))
OPEN = Aggregate("open", scope="account", table="prospects")

EXAMPLES: list[tuple[Feature, Any, str, str]] = [
    (
        Aggregate("count", days=30, stage="compare"),
        2.0,
        "events (comparison stage): 2 in the last 30 days",
        "événements (étape comparaison) : 2 au cours des 30 derniers jours",
    ),
    (
        Aggregate("days_since_last", rank="head"),
        12.0,
        "events (head): the last was 12 days ago",
        "événements (responsable) : le dernier a eu lieu il y a 12 jours",
    ),
    (
        Aggregate("count", "call", 90, direction="outbound", role="prescriber"),
        3.0,
        "call (outbound, prescriber): 3 in the last 90 days",
        "call (sortant, prescripteur) : 3 au cours des 90 derniers jours",
    ),
    (
        Aggregate("distinct_roles", days=30),
        2.0,
        "events: 2 different roles in the last 30 days",
        "événements : 2 rôles différents au cours des 30 derniers jours",
    ),
    (Aggregate("distinct_roles"), 0.0, "events: no role so far", "événements : aucun rôle à ce jour"),
    (
        Aggregate("top_contact_share", days=90),
        0.75,
        "events: 75% by a single contact in the last 90 days",
        "événements : 75 % d'un seul contact au cours des 90 derniers jours",
    ),
    (
        Aggregate("top_contact_share"),
        None,
        "events: no known contact so far",
        "événements : aucun contact connu à ce jour",
    ),
    (
        Aggregate("count", "won", scope="account", table="outcomes"),
        2.0,
        "outcome won (whole account): 2 so far",
        "résultat gagné (tout le compte) : 2 à ce jour",
    ),
    (
        Aggregate("days_since_last", "lost", scope="account", table="outcomes"),
        40.0,
        "outcome lost (whole account): the last was 40 days ago",
        "résultat perdu (tout le compte) : le dernier a eu lieu il y a 40 jours",
    ),
    (Aggregate("count", table="outcomes"), 0.0, "outcomes: none so far", "résultats : aucun à ce jour"),
    (OPEN, 3.0, "other open prospects of the account: 3", "autres prospects ouverts du compte : 3"),
    (OPEN, 0.0, "other open prospects of the account: none", "autres prospects ouverts du compte : aucun"),
    (OPEN, None, "other open prospects of the account: unknown", "autres prospects ouverts du compte : inconnu"),
    (REACHED, 2.0, "buying stage reached: comparison", "étape d'achat atteinte : comparaison"),
    (REACHED, 0.0, "buying stage reached: none", "étape d'achat atteinte : aucun"),
    (
        Expression("reached", inbound("days_since_first")),
        3.0,
        "buying stage reached (inbound): decision",
        "étape d'achat atteinte (entrant) : décision",
    ),
    (
        LATEST,
        1.0,
        "buying stage of the latest event: discovery",
        "étape d'achat du dernier événement : découverte",
    ),
    (
        DAYS_IN_STAGE,
        20.4,
        "entry into the buying stage reached: 20 days ago",
        "entrée dans l'étape d'achat atteinte : il y a 20 jours",
    ),
    (BACK, 0.0, "return to an earlier stage: no", "retour à une étape antérieure : non"),
    (BACK, 1.0, "return to an earlier stage: yes, by 1 stage", "retour à une étape antérieure : oui, de 1 étape"),
    (
        BACK_INBOUND,
        2.0,
        "return to an earlier stage (inbound): yes, by 2 stages",
        "retour à une étape antérieure (entrant) : oui, de 2 étapes",
    ),
    (
        Expression("naf", (INDUSTRY,), "section"),
        "J",
        "industry (section of activity): information, communication",
        "secteur d'activité (section d'activité) : information, communication",
    ),
    (
        Expression("naf", (INDUSTRY,), "division"),
        "62",
        "industry (division of activity): 62",
        "secteur d'activité (division d'activité) : 62",
    ),
    (
        Expression("band_order", (BAND,)),
        4.0,
        "headcount band (in order): 6 to 9",
        "tranche d'effectif (en rang) : 6 à 9",
    ),
    (BAND, "NN", "headcount band: no employer", "tranche d'effectif : non employeur"),
    (BAND, "53", "headcount band: 10,000 or more", "tranche d'effectif : 10\u202f000 ou plus"),
    (BAND, "50_to_99", "headcount band: 50 to 99", "tranche d'effectif : 50 to 99"),
    (
        Expression("size_conflict", (CATEGORY, HEADCOUNT, BAND)),
        1.0,
        "company category against the own headcount: in conflict",
        "catégorie d'entreprise et effectif propre : en conflit",
    ),
    (
        REGIME,
        "project",
        "buying regime (given or inferred): project",
        "régime d'achat (donné ou déduit) : projet",
    ),
    (
        Expression("age", (Attribute("prospects", "tender_announced_at"),)),
        8.0,
        "tender announcement: 8 days ago",
        "publication de l'appel d'offres : il y a 8 jours",
    ),
    (
        Expression("latest", (HEADCOUNT, Aggregate("count", "call"))),
        1.0,
        "smallest of headcount, number of events “call”: headcount",
        "plus petit parmi effectif, nombre d'événements « call » : effectif",
    ),
    (
        Expression("ratio", (Aggregate("count", scope="account", table="outcomes"), OPEN)),
        0.5,
        "ratio of number of outcomes (whole account) to other open prospects of the account: 0.5",
        "rapport entre nombre de résultats (tout le compte) et autres prospects ouverts du compte : 0,5",
    ),
]


@pytest.mark.parametrize(("feature", "value", "english", "french"), EXAMPLES)
def test_examples(feature: Feature, value: Any, english: str, french: str) -> None:
    assert label(feature, value, "en") == english
    assert label(feature, value, "fr") == french


def test_a_level_of_an_expression_without_a_code_of_its_own_is_said_to_be_rare() -> None:
    rare = label(Expression("naf", (INDUSTRY,), "division"), "99", other=True)
    assert rare == "industry (division of activity): 99 (rare or new value)"
