"""Oracle = DuckDB = online: on thousands of generated histories, and on cases written by hand with their numbers.

``LEADSCORE_PROOFS=1`` (``make proofs``) runs ten times as many histories, other ones each time for the shrinking test.
"""

from __future__ import annotations

import math
import os
import random
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.contract import DAY, NEVER, parse_time
from features.offline import feature_table
from features.online import compile_features
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet
from features.tables import read_tables
from features.titles import read_title
from tests.agreement import assert_agree, by_offline, by_online, by_oracle, same, spine_of
from tests.histories import (
    FORMS,
    STAGED,
    Raw,
    Shape,
    World,
    cases,
    joined,
    random_features,
    random_shape,
    random_world,
    records_of,
    write_folder,
)
from tests.mutations import MUTATIONS, ROOT, Mutation

PROOF = 10 if os.environ.get("LEADSCORE_PROOFS", "") not in ("", "0") else 1
BATCHES, WORLDS = 18 * PROOF, 60  # 1080 histories, ten times as many in the proofs

# The first batches are of shapes that chance must not leave out; the rest are random ones.
SHAPES = (
    *(Shape(form=form) for form in FORMS),
    Shape(absent=("accounts",)),
    Shape(absent=("contacts",), form="csv"),
    Shape(absent=("events",)),
    Shape(empty=("contacts", "outcomes"), form="csv"),
    Shape(absent=("outcomes",)),
)


def batch(seed: int) -> tuple[Shape, list[World], FeatureSet]:
    r = random.Random(seed)
    shape = SHAPES[seed] if seed < len(SHAPES) else random_shape(r)
    worlds = [random_world(r, shape, f"w{n}:") for n in range(WORLDS)]
    return shape, worlds, random_features(r, shape.dataset)


@pytest.mark.parametrize("seed", range(BATCHES))
def test_oracle_duckdb_and_online_agree(seed: int, tmp_path: Path) -> None:
    shape, worlds, features = batch(seed)
    assert_agree(features, worlds, shape, tmp_path, seed)


@given(cases())
@settings(
    max_examples=100 * PROOF,
    deadline=None,
    derandomize=PROOF == 1,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
def test_oracle_and_online_agree_and_shrink(case: tuple[Shape, World, FeatureSet]) -> None:
    _, world, features = case
    expected, found = by_oracle(features, world), by_online(features, world)
    for pair in world.pairs:
        for feature, a, b in zip(features.features, expected[pair], found[pair], strict=True):
            assert same(a, b), (pair, feature, a, b)


def test_the_histories_hold_what_they_are_meant_to() -> None:
    """The generator could rot in silence: each of the collisions has to come about in many worlds."""
    seen: Counter[str] = Counter()
    for seed in range(18):
        for world in batch(seed)[1]:
            seen.update(_traits(world))
    assert seen["worlds"] >= 1000
    rare = {name: seen[name] for name in TRAITS if seen[name] < 20}
    assert not rare, rare


TRAITS = (
    "late recording", "recorded before it occurred", "repeat with another recorded_at", "tied times",
    "tied recorded_at too", "null value", "unknown contact", "no contact", "contact known later",
    "several prospect versions",
    "several account versions", "several contact versions", "role changes", "contact moves", "prospect moves",
    "no account", "idle prospect", "idle account", "idle contact", "sibling", "sibling known later", "orphan event",
    "no events", "events absent", "contacts absent", "accounts absent", "at exactly t", "one microsecond after t",
    "at exactly t - 7 d", "a microsecond inside t - 7 d", "day end", "nanoseconds", "before 1970", "t before creation",
    "sum beyond 2**53", "float sum goes wrong", "repeated version",
    "outcomes absent", "late outcome", "repeated outcome", "outcome of a sibling", "outcome at exactly t",
    "closed and open siblings", "title without a role", "role against the title", "rank changes",
    "event of a stage", "event of no stage", "stages tied", "stages go back",
    "retracted", "retracted at exactly t", "retracted a microsecond after t", "retracted before it occurred",
    "repeat with another retraction", "repeat without its retraction",
)  # fmt: skip


def _traits(world: World) -> set[str]:
    rows = {t: world.rows.get(t, []) for t in ("prospects", "accounts", "contacts", "events", "outcomes")}
    out = {"worlds", *(f"{t} absent" for t in rows if t not in world.rows)}
    by: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for table, key in (
        ("prospects", "prospect_id"),
        ("accounts", "account_id"),
        ("contacts", "contact_id"),
        ("events", "event_id"),
    ):
        by[table] = {}
        for row in rows[table]:
            by[table].setdefault(row[key], []).append(row)

    def note(name: str, holds: Any) -> None:
        if holds:
            out.add(name)

    for table, name in (("prospects", "prospect"), ("accounts", "account"), ("contacts", "contact")):
        for key, found in by[table].items():
            distinct = {repr(r) for r in found}
            note(f"several {name} versions", len(distinct) > 1)
            note("repeated version", len(distinct) < len(found))
            note(
                f"idle {name}",
                not any(r.get(f"{name}_id") == key for t in ("prospects", "events") for r in rows[t] if t != table),
            )
            if name != "account":
                note(f"{name} moves", len({r.get("account_id") for r in found}) > 1)
            if name == "contact":
                note("role changes", len({r.get("role") for r in found}) > 1)
    times = {t for _, t in world.pairs}
    note("no events", not rows["events"])
    note("no account", any(r.get("account_id") is None for r in rows["prospects"]))
    places = Counter(
        (r.get("occurred_at", 0) // 1000, r.get("recorded_at")) for e in by["events"].values() for r in e[:1]
    )
    note("tied recorded_at too", any(n > 1 and rec is not None for (_, rec), n in places.items()))
    note("tied times", max(Counter(at for at, _ in places.elements()).values(), default=0) > 1)
    for found in by["events"].values():
        note("repeat with another recorded_at", len({r.get("recorded_at") for r in found}) > 1)
        retractions = {r.get("retracted_at") for r in found}
        note("repeat with another retraction", len(retractions - {None}) > 1)
        note("repeat without its retraction", len(retractions) > 1 and None in retractions)
    for r in rows["events"]:
        at, recorded = r["occurred_at"], r.get("recorded_at")
        note("late recording", recorded is not None and recorded > at)
        note("recorded before it occurred", recorded is not None and recorded < at)
        note("null value", r.get("value") is None)
        retracted = r.get("retracted_at")
        note("retracted", retracted is not None)
        note("retracted at exactly t", retracted is not None and retracted // 1000 in times)
        note("retracted a microsecond after t", retracted is not None and retracted // 1000 - 1 in times)
        note("retracted before it occurred", retracted is not None and retracted < at)
        note("no contact", r.get("contact_id") is None)
        note("orphan event", r["prospect_id"] not in by["prospects"])
        note("nanoseconds", at % 1000)
        note("before 1970", at < 0)
        note("day end", (at // 1000 + 1) % DAY == 0)
        note("at exactly t", at // 1000 in times)
        note("one microsecond after t", at // 1000 - 1 in times)
        note("at exactly t - 7 d", at // 1000 + 7 * DAY in times)
        note("a microsecond inside t - 7 d", at // 1000 - 1 + 7 * DAY in times)
        contact = by["contacts"].get(r.get("contact_id") or "")
        note("unknown contact", r.get("contact_id") is not None and contact is None)
        since = min((v.get("observed_at") or -NEVER for v in contact), default=0) if contact else 0
        note("contact known later", contact and any(at // 1000 <= t < since // 1000 for t in times))
    staged = {type_: n for n, types in enumerate(STAGED.values()) for type_ in types}
    steps = sorted(
        (r["occurred_at"] // 1000, staged[kind])
        for found in by["events"].values()
        for r in found[:1]
        if (kind := unicodedata.normalize("NFC", r["type"]).strip()) in staged
    )
    note("event of a stage", steps)
    note("event of no stage", len(steps) < len(by["events"]))
    note("stages tied", any(a[0] == b[0] and a[1] != b[1] for a, b in pairwise(steps)))
    note("stages go back", any(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(steps)))
    for found in by["contacts"].values():
        read = [(r.get("role"), read_title(r.get("job_title"))) for r in found]
        note("title without a role", any(title.role and not (role or "").strip() for role, title in read))
        note("role against the title", any((role or "").strip() not in ("", title.role) for role, title in read))
        note("rank changes", len({title.rank for _, title in read}) > 1)
    ends = Counter((r["prospect_id"], r["outcome"], r["occurred_at"] // 1000) for r in rows["outcomes"])
    note("repeated outcome", any(n > 1 for n in ends.values()))
    for r in rows["outcomes"]:
        note("late outcome", (r.get("recorded_at") or r["occurred_at"]) > r["occurred_at"])
        note("outcome at exactly t", r["occurred_at"] // 1000 in times)
    values = [
        int(r["value"].scaleb(6)) for found in by["events"].values() for r in found[:1] if r.get("value") is not None
    ]
    note("sum beyond 2**53", abs(sum(values)) > 2**53)
    note("float sum goes wrong", sum(v / 1e6 for v in values) != sum(values) / 1e6)
    for p, t in world.pairs:
        note("t before creation", all(r["created_at"] // 1000 > t for r in by["prospects"][p]))
        mine = {r.get("account_id") for r in by["prospects"][p]} - {None}
        for other, found in by["prospects"].items():
            if other != p and mine & {r.get("account_id") for r in found}:
                out.add("sibling")
                note("outcome of a sibling", any(end[0] == other for end in ends))
                closed = {end[0] for end in ends if (end[1] or "").strip() in ("won", "lost")}
                note("closed and open siblings", other not in closed and closed - {p})
                note("sibling known later", all((r.get("observed_at") or r["created_at"]) // 1000 > t for r in found))
    return out


# -- by hand ----------------------------------------------------------------------------------------------------------


def at(text: str) -> int:
    """A time as raw rows hold it, in nanoseconds; a bare clock time is of 10 March 2024."""
    if "T" not in text:
        text = f"2024-03-10T{text}"
    body, _, digits = text.removesuffix("Z").partition(".")
    return parse_time(body + ("" if "+" in body else "Z")) * 1000 + int(digits.ljust(9, "0") or 0)


def day(n: float, beside: int = 0) -> int:
    """``n`` days after T (before it, when negative), and ``beside`` nanoseconds."""
    return NOON + round(n * 86_400_000_000_000) + beside


NOON = at("12:00:00")
T = NOON // 1000
US = 1000  # a microsecond in nanoseconds


def prospect(**cells: Any) -> dict[str, Any]:
    return {"prospect_id": "p", "created_at": day(-100), **cells}


def event(event_id: str, occurred_at: int, **cells: Any) -> dict[str, Any]:
    return {"event_id": event_id, "prospect_id": "p", "type": "mail", "occurred_at": occurred_at, **cells}


def contact(
    observed_at: int | None = None,
    role: str | None = None,
    contact_id: str = "c",
    account_id: str = "a",
    title: str | None = None,
) -> dict[str, Any]:
    row = {"contact_id": contact_id, "account_id": account_id, "observed_at": observed_at, "role": role}
    return {**row, "job_title": title}


def outcome(kind: str, occurred_at: int, prospect_id: str = "p", **cells: Any) -> dict[str, Any]:
    return {"prospect_id": prospect_id, "outcome": kind, "occurred_at": occurred_at, **cells}


def world(**tables: list[dict[str, Any]]) -> Raw:
    """A folder in which every table is there; ``contacts=None`` takes one away."""
    rows: dict[str, Any] = {"prospects": [prospect()], "accounts": [{"account_id": "a"}, {"account_id": "b"}]}
    rows |= {"contacts": [], "events": [], "outcomes": [], **tables}
    return {name: found for name, found in rows.items() if found is not None}


@dataclass(frozen=True)
class Case:
    name: str
    rows: Raw
    expected: tuple[tuple[Feature, Any], ...]
    t: int = T
    prospect_id: str = "p"

    @property
    def shape(self) -> Shape:
        absent = tuple(t for t in ("accounts", "contacts", "events", "outcomes") if t not in self.rows)
        return Shape(absent, form="parquet-ns")


def values(*texts: str | None) -> list[dict[str, Any]]:
    """Events a minute apart with these values."""
    return [
        event(f"e{n}", day(-1) + n * 60_000_000_000, value=None if v is None else Decimal(v))
        for n, v in enumerate(texts)
    ]


COUNT, WEEK = Aggregate("count"), Aggregate("count", days=7)
BUYERS, USERS = Aggregate("count", role="buyer"), Aggregate("count", role="user")
DISTINCT = Aggregate("distinct_contacts")
LAST, SUM, MEAN = Aggregate("last"), Aggregate("sum"), Aggregate("mean")
MIN, MAX, FIRST_DAY, LAST_DAY = (
    Aggregate("min"),
    Aggregate("max"),
    Aggregate("days_since_first"),
    Aggregate("days_since_last"),
)
ACCOUNT = Aggregate("count", scope="account")
SOURCE = Attribute("prospects", "source")
COUNTRY = Attribute("accounts", "country")
HEADCOUNT = Attribute("accounts", "headcount")
CREATED = Attribute("prospects", "created_at")

BORDERS = world(events=[event("1", day(-7)), event("2", day(-7, US)), event("3", NOON), event("4", NOON + US)])
RECORDED = world(
    events=[
        event("late", day(-1), recorded_at=NOON),
        event("early", NOON, recorded_at=day(-2)),
        event("at once", day(-3)),
    ]
)
RETRACTED = world(
    prospects=[prospect(account_id="a"), prospect(prospect_id="q", account_id="a")],
    contacts=[contact(contact_id="c"), contact(contact_id="d")],
    events=[
        event("1", day(-3), retracted_at=NOON, value=Decimal(1), contact_id="c"),
        event("2", day(-2), retracted_at=NOON + US, value=Decimal(2), contact_id="d"),
        event("3", day(-1), value=Decimal(4), contact_id="d"),
        event("4", day(-1), prospect_id="q", type="call", retracted_at=NOON),
        event("5", day(-1), prospect_id="q", retracted_at=day(1)),
    ],
)
RETOLD = world(
    events=[
        event("1", day(-4), recorded_at=day(-3)),
        event("1", day(-4), recorded_at=day(-2), retracted_at=day(2)),
        event("1", day(-4), recorded_at=day(-1), retracted_at=NOON),
    ]
)
VERSIONS = world(
    prospects=[
        prospect(observed_at=day(-2), source="fair", account_id="a"),
        prospect(observed_at=NOON, source=None, account_id="b"),
        prospect(observed_at=day(1), source="mail", account_id="a"),
    ],
    accounts=[
        {"account_id": "a", "observed_at": None, "country": "FR"},
        {"account_id": "a", "observed_at": day(-1), "country": "DE"},
        {"account_id": "b", "observed_at": day(1), "country": "IT"},
    ],
)
ROLES = world(
    contacts=[contact(day(-9), "user"), contact(NOON, "buyer"), contact(day(5), "prescriber")],
    events=[event(str(n), day(-n), contact_id="c") for n in (1, 2, 3)],
)
STRANGERS = world(
    contacts=[contact(None, "buyer", "known"), contact(day(1), "buyer", "later"), contact(None, None, "plain")],
    events=[
        event(str(n), day(-1), contact_id=c)
        for n, c in enumerate(("known", "known", "later", "nowhere", None, "plain"))
    ],
)
EVERY_OPERATION = (COUNT, SUM, DISTINCT, MEAN, MIN, MAX, LAST, FIRST_DAY, LAST_DAY, Aggregate("share"))
SHARES = world(
    contacts=[contact(None, "buyer")],
    events=[
        event("1", day(-1), contact_id="c"),
        event("2", day(-2), type="call"),
        event("3", day(-3), type="call"),
        event("4", day(-30), direction="inbound"),
    ],
)
SIBLINGS = world(
    prospects=[
        prospect(account_id="a"),
        prospect(prospect_id="joins", created_at=day(-50), observed_at=day(-50), account_id="b"),
        prospect(prospect_id="joins", created_at=day(-50), observed_at=NOON, account_id="a"),
        prospect(prospect_id="leaves", created_at=day(-50), observed_at=day(-50), account_id="a"),
        prospect(prospect_id="leaves", created_at=day(-50), observed_at=NOON, account_id=None),
        prospect(prospect_id="comes later", created_at=day(1), account_id="a"),
        prospect(prospect_id="elsewhere", account_id="b"),
    ],
    events=[
        event("1", day(-1)),
        event("10", day(-2), prospect_id="joins"),
        event("11", day(-2), prospect_id="joins"),
        event("100", day(-2), prospect_id="leaves"),
        *(event(f"later {n}", day(-3), prospect_id="comes later") for n in range(3)),
        *(event(f"elsewhere {n}", day(-1), prospect_id="elsewhere") for n in range(4)),
    ],
)
FILTERED = world(
    events=[
        event("1", day(-1), direction="inbound", channel="web"),
        event("2", day(-1), direction="inbound", channel="phone"),
        event("3", day(-1), direction="outbound", channel="web"),
        event("4", day(-1), type="call", direction="inbound", channel="web"),
        event("5", day(-1), channel="web"),
    ]
)
TITLED = world(
    contacts=[
        contact(day(-9), None, "c", title="Acheteuse"),
        contact(NOON, "user", "c", title="Acheteuse"),  # what is given is never overridden
        contact(None, None, "d", title="Responsable achats"),
        contact(None, None, "e", title="zzz"),
    ],
    events=[
        event("1", day(-1), contact_id="c"),
        event("2", day(-2), contact_id="d"),
        event("3", day(-3), contact_id="d"),
        event("4", day(-4), contact_id="e"),
    ],
)
TOP, ROLE_COUNT = Aggregate("top_contact_share"), Aggregate("distinct_roles")
STAGES = world(
    events=[
        event("1", day(-40), type="mail"),
        event("2", day(-20), type="D\u00e9mo"),
        event("3", day(-3), type="quote"),
        event("4", day(-1), type="visite guid\u00e9e"),
    ]
)


def by_stage(operation: str, **more: Any) -> tuple[Aggregate, ...]:
    return tuple(Aggregate(operation, stage=stage, **more) for stage in ("discover", "compare", "decide"))


REACHED = Expression("reached", by_stage("days_since_first"))
LATEST = Expression("latest", by_stage("days_since_last"))
WON, LOST = Aggregate("count", "won", table="outcomes"), Aggregate("days_since_last", "lost", table="outcomes")
ACCOUNT_WON = Aggregate("count", "won", scope="account", table="outcomes")
ACCOUNT_ENDED = Aggregate("days_since_first", scope="account", table="outcomes")
OPEN = Aggregate("open", scope="account", table="prospects")
ENDED = world(
    prospects=[
        *(prospect(prospect_id=p, account_id="a") for p in ("p", "won", "lost late", "renewed", "open")),
        prospect(prospect_id="joins", observed_at=day(-50), account_id="b"),
        prospect(prospect_id="joins", observed_at=NOON, account_id="a"),
        prospect(prospect_id="leaves", observed_at=day(-50), account_id="a"),
        prospect(prospect_id="leaves", observed_at=day(1), account_id=None),
        prospect(prospect_id="known before it is created", created_at=day(1), observed_at=day(-9), account_id="a"),
        prospect(prospect_id="elsewhere", account_id="b"),
    ],
    outcomes=[
        outcome("won", day(-5), "won"),
        outcome("won", day(-5), "won", recorded_at=day(9)),  # the same once more
        outcome("lost", day(-3), "lost late", recorded_at=NOON),
        outcome("renewed", day(-2), "renewed"),
        outcome("won", day(-8), "elsewhere"),
        outcome("won", NOON, "leaves"),
        outcome("expanded", day(-7)),
    ],
)
NAF, BAND, CATEGORY = (Attribute("accounts", name) for name in ("industry", "headcount_band", "company_category"))
ORDER, CONFLICT = Expression("band_order", (BAND,)), Expression("size_conflict", (CATEGORY, HEADCOUNT, BAND))
REGIME = Expression(
    "regime", (Attribute("prospects", "regime"), Attribute("prospects", "tender_deadline"), HEADCOUNT, BAND)
)


def firm(prospect_cells: dict[str, Any] | None = None, **cells: Any) -> Raw:
    return world(
        prospects=[prospect(account_id="a", **(prospect_cells or {}))], accounts=[{"account_id": "a", **cells}]
    )


def naf(section: str | None, division: str | None, class_: str | None) -> tuple[tuple[Feature, Any], ...]:
    parts = {"section": section, "division": division, "class": class_}
    return tuple((Expression("naf", (NAF,), part=part), answer) for part, answer in parts.items())


CASES = (
    # A window of w at t is (t - w, t] on occurred_at.
    Case("window borders", BORDERS, ((WEEK, 2.0), (COUNT, 3.0), (Aggregate("share", days=7), 1.0))),
    Case("window borders, a microsecond before", BORDERS, ((WEEK, 2.0), (COUNT, 2.0)), T - 1),
    Case("window borders, a microsecond after", BORDERS, ((WEEK, 2.0), (COUNT, 4.0)), T + 1),
    # Both occurred_at and recorded_at must be <= t; recorded_at defaults to occurred_at.
    Case("recorded at t", RECORDED, ((COUNT, 3.0),)),
    Case("recorded after t", RECORDED, ((COUNT, 1.0),), T - 1),
    Case(
        "repeats count once, from their first recording on",
        world(events=[event("1", day(-3), recorded_at=r) for r in (day(2), day(-1), day(1), day(-1))]),
        ((COUNT, 1.0),),
        T - DAY,
    ),
    Case(
        "repeats before their first recording",
        world(events=[event("1", day(-3), recorded_at=r) for r in (day(2), day(-1), day(1))]),
        ((COUNT, 0.0),),
        T - DAY - 1,
    ),
    # An event is known while t < retracted_at, wherever it is counted.
    Case("retracted at t", RETRACTED, ((COUNT, 2.0), (SUM, 6.0), (LAST_DAY, 1.0), (FIRST_DAY, 2.0), (DISTINCT, 1.0))),
    Case("retracted after t", RETRACTED, ((COUNT, 3.0), (SUM, 7.0), (ACCOUNT, 5.0), (DISTINCT, 2.0)), T - 1),
    Case("retracted by t, of the account", RETRACTED, ((ACCOUNT, 3.0), (Aggregate("share", type="call"), 0.0))),
    Case(
        "cancelled before it should have occurred",
        world(events=[event("1", day(-1), recorded_at=day(-5), retracted_at=day(-2)), event("2", day(-1))]),
        ((COUNT, 1.0), (LAST_DAY, 1.0)),
    ),
    Case(
        "retracted at its recording: never known",
        world(events=[event("1", day(-3), recorded_at=NOON, retracted_at=NOON)]),
        ((COUNT, 0.0),),
    ),
    Case("a repeat tells of the retraction", RETOLD, ((COUNT, 1.0), (LAST, None)), T - 1),
    Case("of two retractions the first holds", RETOLD, ((COUNT, 0.0), (FIRST_DAY, None))),
    Case(
        "a repeat without recorded_at was recorded when it occurred",
        world(events=[event("1", day(-3), recorded_at=r) for r in (day(2), None)]),
        ((COUNT, 1.0),),
        T - 3 * DAY,
    ),
    # State is the row with the greatest observed_at <= t; null in a version means unknown.
    Case("state at the version's own time", VERSIONS, ((SOURCE, None), (COUNTRY, None))),
    Case("state a microsecond before", VERSIONS, ((SOURCE, "fair"), (COUNTRY, "DE")), T - 1),
    Case("state before the account's second version", VERSIONS, ((SOURCE, "fair"), (COUNTRY, "FR")), T - DAY - 1),
    Case("state before anything is known", VERSIONS, ((SOURCE, None), (COUNTRY, None)), T - 2 * DAY - 1),
    Case("state after all", VERSIONS, ((SOURCE, "mail"), (COUNTRY, "DE")), T + 9 * DAY),
    Case(
        "without observed_at a prospect is known from its creation",
        world(
            prospects=[prospect(created_at=NOON, source="fair", account_id="a")],
            accounts=[{"account_id": "a", "country": "FR"}],
        ),
        ((SOURCE, "fair"), (COUNTRY, "FR")),
    ),
    Case(
        "before its creation nothing is known of it, but its events are",
        world(
            prospects=[prospect(created_at=NOON, source="fair", account_id="a")],
            events=[event("1", day(-1))],
        ),
        ((SOURCE, None), (COUNTRY, None), (COUNT, 1.0), (ACCOUNT, None), (Expression("age", (CREATED,)), None)),
        T - 1,
    ),
    Case(
        "repeated versions are one",
        world(prospects=[prospect(observed_at=day(-2), source="fair")] * 3, events=values("1", "2")),
        ((SOURCE, "fair"), (COUNT, 2.0), (SUM, 3.0)),
    ),
    # A contact's role is that as of t, for all of the contact's events.
    Case("role as of t", ROLES, ((BUYERS, 3.0), (USERS, 0.0))),
    Case("role a microsecond before it changes", ROLES, ((BUYERS, 0.0), (USERS, 3.0)), T - 1),
    Case("role later", ROLES, ((BUYERS, 0.0), (Aggregate("count", role="prescriber"), 3.0)), T + 5 * DAY),
    Case("role before the contact is known", ROLES, ((BUYERS, 0.0), (USERS, 0.0), (DISTINCT, 0.0)), T - 9 * DAY - 1),
    # A missing or unknown contact has no role and is not counted as a distinct one.
    Case("unknown contacts", STRANGERS, ((COUNT, 6.0), (BUYERS, 2.0), (DISTINCT, 2.0))),
    Case("unknown contacts, later", STRANGERS, ((BUYERS, 3.0), (DISTINCT, 3.0)), T + DAY),
    Case(
        "a contact that moves to another account keeps its events",
        world(
            contacts=[contact(day(-9), "buyer"), contact(day(-1), "buyer", account_id="b")],
            prospects=[prospect(account_id="a")],
            events=[event("1", day(-3), contact_id="c")],
        ),
        ((BUYERS, 1.0), (DISTINCT, 1.0), (Aggregate("count", role="buyer", scope="account"), 1.0)),
    ),
    # Empty windows give 0 for counts and sums, missing for the rest; an absent table is unknown.
    Case("no events", world(), tuple(zip(EVERY_OPERATION, (0.0, 0.0, 0.0, *(None,) * 7), strict=True))),
    Case(
        "events outside the window only",
        world(prospects=[prospect(account_id="a")], events=[event("1", day(-8), value=Decimal("2"))]),
        tuple(
            (replace(a, days=7, scope=scope), expected)
            for scope in ("prospect", "account")
            for a, expected in zip(EVERY_OPERATION, (0.0, 0.0, 0.0, *(None,) * 7), strict=True)
        ),
    ),
    Case("events table absent", world(events=None), tuple((a, None) for a in (*EVERY_OPERATION, ACCOUNT))),
    Case(
        "contacts table absent",
        world(contacts=None, events=[event("1", day(-1), contact_id="c")]),
        (
            (COUNT, 1.0),
            (BUYERS, None),
            (DISTINCT, None),
            (Aggregate("share", role="buyer"), None),
            (Aggregate("share"), 1.0),
        ),
    ),
    Case(
        "contacts table empty",
        world(events=[event("1", day(-1), contact_id="c")]),
        ((COUNT, 1.0), (BUYERS, 0.0), (DISTINCT, 0.0), (Aggregate("share", role="buyer"), 0.0)),
    ),
    Case(
        "accounts table absent",
        world(accounts=None, prospects=[prospect(account_id="a")], events=values("1")),
        ((COUNTRY, None), (HEADCOUNT, None), (ACCOUNT, 1.0)),
    ),
    Case(
        "values all null",
        world(events=values(None, None)),
        ((COUNT, 2.0), (SUM, 0.0), (MEAN, None), (MIN, None), (LAST, None)),
    ),
    # share is matching events over all events of the same window and scope.
    Case(
        "share",
        SHARES,
        (
            (Aggregate("share", type="call"), 0.5),
            (Aggregate("share", type="call", days=7), 2 / 3),
            (Aggregate("share", type="visit", days=7), 0.0),
            (Aggregate("share", role="buyer", days=7), 1 / 3),
            (Aggregate("share", direction="inbound"), 0.25),
            (Aggregate("share", type="call", days=1), None),
        ),
    ),
    # last takes the greatest (occurred_at, recorded_at, event_id) with a non-null value.
    Case("last skips nulls", world(events=values("1", "2", None)), ((LAST, 2.0),)),
    Case("last is the latest", world(events=values("9", "2", "5")[::-1]), ((LAST, 5.0), (MIN, 2.0), (MAX, 9.0))),
    Case(
        "last, tied: the later recorded",
        world(
            events=[
                event(i, day(-1), recorded_at=r, value=Decimal(v))
                for i, r, v in (("z", day(-1), "1"), ("a", day(-0.5), "2"))
            ]
        ),
        ((LAST, 2.0),),
    ),
    Case(
        "last, tied twice: the greater id, by code points",
        world(
            events=[
                event(i, day(-1), value=Decimal(n))
                for n, i in enumerate(("~", "\U0001f600", "\u00e9", "e\u0301", "\uff5e", "Z", "10", "9"))
            ]
        ),
        ((LAST, 1.0),),
    ),
    Case(
        "last, tied twice: capitals before small letters, digits as text",
        world(events=[event(i, day(-1), value=Decimal(n)) for n, i in enumerate(("a", "B", "10", "9"))]),
        ((LAST, 0.0),),
    ),
    # A number of days is microseconds / 86,400,000,000, never a calendar difference.
    Case("a microsecond is a part of a day", world(events=[event("1", NOON - US)]), ((LAST_DAY, 1 / 86_400_000_000),)),
    Case(
        "a day of 23 hours",
        world(events=[event("1", at("2024-03-30T12:00:00+01:00")), event("2", at("2024-03-31T11:59:59+02:00"))]),
        ((FIRST_DAY, 23 / 24), (LAST_DAY, 1 / 86_400)),
        parse_time("2024-03-31T12:00:00+02:00"),
    ),
    Case(
        "two minutes around midnight",
        world(events=[event("1", at("2024-03-09T23:59:00")), event("2", at("2024-03-09T23:59:59.999999"))]),
        (
            (FIRST_DAY, 120 / 86_400),
            (LAST_DAY, 60.000001 / 86_400),
            (Aggregate("days_since_first", days=1), 120 / 86_400),
        ),
        at("2024-03-10T00:01:00") // 1000,
    ),
    Case(
        "days since the first within the window",
        world(events=[event("1", day(-30)), event("2", day(-5)), event("3", day(-2), type="call")]),
        ((FIRST_DAY, 30.0), (replace(FIRST_DAY, days=7), 5.0), (LAST_DAY, 2.0), (replace(LAST_DAY, type="mail"), 5.0)),
    ),
    # Sums are exact: integers of 1e-6, one division.
    Case("three tenths", world(events=values("0.1", "0.1", "0.1")), ((SUM, 0.3), (MEAN, 0.1), (MIN, 0.1), (MAX, 0.1))),
    Case("ten tenths", world(events=values(*["0.1"] * 10)), ((SUM, 1.0), (MEAN, 0.1))),
    Case(
        "large beside small",
        world(events=values("1000000000", "0.000001", "-1000000000")),
        ((SUM, 1e-06), (MEAN, 1 / 3_000_000)),
    ),
    Case(
        "beyond 2**53, where doubles have gaps",
        world(events=values(*["999999999.999999"] * 11, "0.000001")),
        ((SUM, 10999999999.99999), (MAX, 999999999.999999), (LAST, 0.000001)),
    ),
    Case(
        "beyond 2**53, negative",
        world(events=values(*["-999999999.999999"] * 11, "-0.000001")),
        ((SUM, -10999999999.99999), (MIN, -999999999.999999)),
    ),
    Case("sums that cancel", world(events=values("19.99", "-19.99", "0")), ((SUM, 0.0), (MEAN, 0.0))),
    # Times are floored to microseconds before any comparison.
    Case(
        "nanoseconds are floored",
        world(
            events=[
                event("1", NOON + 999),
                event("2", day(-7, 999)),
                event("3", day(-7, 1000)),
                event("4", NOON + 1000),
            ]
        ),
        ((COUNT, 3.0), (WEEK, 2.0), (LAST_DAY, 0.0)),
    ),
    Case(
        "repeats are compared after flooring",
        world(events=[event("1", day(-1, n)) for n in (0, 1, 999)]),
        ((COUNT, 1.0), (LAST_DAY, 1.0)),
    ),
    Case(
        "nanoseconds before 1970 are floored, not cut",
        world(prospects=[prospect(created_at=at("1969-01-01T00:00:00"))], events=[event("1", -1), event("2", -1001)]),
        ((LAST_DAY, 1 / 86_400_000_000), (FIRST_DAY, 2 / 86_400_000_000)),
        0,
    ),
    # Account scope: the prospects whose row as of t has the account, itself included.
    Case("account siblings", SIBLINGS, ((ACCOUNT, 3.0), (COUNT, 1.0))),
    Case("account siblings a microsecond before", SIBLINGS, ((ACCOUNT, 2.0),), T - 1),
    Case("account siblings once another is known", SIBLINGS, ((ACCOUNT, 6.0),), T + DAY),
    Case("no account as of t", SIBLINGS, ((ACCOUNT, None), (COUNT, 1.0)), T, "leaves"),
    Case("another account as of t", SIBLINGS, ((ACCOUNT, 6.0), (COUNT, 2.0)), T - 1, "joins"),
    Case("an account without events", world(prospects=[prospect(account_id="a")]), ((ACCOUNT, 0.0),)),
    # A role that is not given is read from the title; ranks come from titles alone.
    Case(
        "roles and ranks by title",
        TITLED,
        (
            (BUYERS, 2.0),
            (USERS, 1.0),
            (ROLE_COUNT, 2.0),
            (Aggregate("distinct_roles", days=2), 1.0),
            (Aggregate("distinct_contacts", role="buyer"), 1.0),
            (Aggregate("days_since_last", rank="head"), 2.0),
            (Aggregate("count", role="user", rank="staff"), 1.0),
            (Aggregate("count", rank="executive"), 0.0),
        ),
    ),
    Case("roles by title, before one is given", TITLED, ((BUYERS, 3.0), (USERS, 0.0), (ROLE_COUNT, 1.0)), T - 1),
    Case("roles by title, before the contact is known", TITLED, ((BUYERS, 0.0), (TOP, None)), T - 10 * DAY),
    # The most active contact's part of the events whose contact is known.
    Case(
        "top contact",
        STRANGERS,
        (
            (TOP, 2 / 3),
            (replace(TOP, role="buyer"), 1.0),
            (replace(TOP, days=1), None),
            (replace(TOP, type="call"), None),
            (ROLE_COUNT, 1.0),
        ),
    ),
    Case("top contact, later", STRANGERS, ((TOP, 0.5),), T + DAY),
    Case(
        "top contact of tied ones, in each window",
        TITLED,
        ((TOP, 0.5), (replace(TOP, days=2), 1.0), (replace(TOP, days=3), 0.5), (replace(TOP, scope="account"), None)),
    ),
    Case("contacts absent", world(contacts=None, events=STRANGERS["events"]), ((TOP, None), (ROLE_COUNT, None))),
    Case(
        "nobody is known",
        world(events=STRANGERS["events"]),
        ((TOP, None), (ROLE_COUNT, 0.0), (replace(TOP, days=7), None)),
    ),
    # Stages are of event types; a type of no stage counts in none.
    Case(
        "stages",
        STAGES,
        (
            (Aggregate("count", stage="discover"), 2.0),
            (Aggregate("count", type="mail", stage="discover"), 1.0),
            (Aggregate("count", type="mail", stage="decide"), 0.0),
            (Aggregate("count", days=30, stage="compare"), 0.0),
            (Aggregate("share", stage="decide"), 0.25),
            (REACHED, 3.0),
            (Expression("last_known", by_stage("days_since_first")), 20.0),
            (LATEST, 1.0),
            (Expression("difference", (REACHED, LATEST)), 2.0),
        ),
    ),
    Case("stages earlier", STAGES, ((REACHED, 1.0), (LATEST, 1.0)), T - 21 * DAY),
    Case(
        "no stage",
        STAGES,
        ((REACHED, 0.0), (LATEST, 0.0), (Expression("last_known", by_stage("days_since_first")), None)),
        T - 41 * DAY,
    ),
    Case(
        "the later of two stages at one time",
        world(events=[event("1", day(-1), type="call"), event("2", day(-1), type="mail")]),
        ((LATEST, 2.0), (REACHED, 2.0)),
    ),
    Case("stages without events", world(events=None), ((REACHED, 0.0), (LATEST, 0.0), (by_stage("count")[0], None))),
    Case(
        "positions of any numbers",
        world(prospects=[prospect(account_id="a", fit=-2.0)], accounts=[{"account_id": "a", "headcount": 25}]),
        (
            (Expression("reached", (COUNT, MEAN)), 1.0),
            (Expression("last_known", (HEADCOUNT, Attribute("prospects", "fit"), MEAN)), -2.0),
            (Expression("latest", (HEADCOUNT, Attribute("prospects", "fit"), MEAN)), 2.0),
            (Expression("latest", (MEAN,)), 0.0),
            (Expression("band", (Expression("reached", (COUNT,)),), cuts=(1.0,)), 1.0),
        ),
    ),
    # Outcomes known at t, of the prospect's own or of the account's as of t; who else is open there.
    Case(
        "past outcomes",
        ENDED,
        (
            (WON, 0.0),
            (LOST, None),
            (ACCOUNT_WON, 2.0),
            (replace(ACCOUNT_WON, days=5), 1.0),
            (replace(LOST, scope="account"), 3.0),
            (ACCOUNT_ENDED, 7.0),
            (replace(ACCOUNT_ENDED, type="renewed"), 2.0),
            (Aggregate("count", table="outcomes"), 1.0),
            (OPEN, 3.0),  # renewed, open, joins
        ),
    ),
    Case(
        "past outcomes a microsecond before",
        ENDED,
        ((ACCOUNT_WON, 1.0), (replace(LOST, scope="account"), None), (OPEN, 4.0)),  # joins is not there, two not closed
        T - 1,
    ),
    Case("one that leaves and one that is created", ENDED, ((ACCOUNT_WON, 1.0), (OPEN, 4.0)), T + DAY),
    Case("outcomes of another account", ENDED, ((ACCOUNT_WON, 1.0), (OPEN, 0.0)), T - 1, "joins"),
    Case("outcomes without an account", ENDED, ((ACCOUNT_WON, None), (OPEN, None), (WON, 1.0)), T + DAY, "leaves"),
    Case(
        "outcomes table absent",
        world(prospects=ENDED["prospects"], outcomes=None),
        ((WON, None), (LOST, None), (ACCOUNT_WON, None), (OPEN, None)),
    ),
    Case(
        "no outcomes", world(prospects=ENDED["prospects"]), ((WON, 0.0), (LOST, None), (ACCOUNT_WON, 0.0), (OPEN, 6.0))
    ),
    # Firms by the register.
    Case("NAF", firm(industry=" 62.01Z"), naf("J", "62", "62.01")),
    Case("NAF without its point", firm(industry="0112z"), naf("A", "01", "01.12")),
    Case("NAF of a division", firm(industry="43"), naf("F", "43", None)),
    Case("NAF of a group", firm(industry="47.1"), naf("G", "47", None)),
    Case("NAF with a space", firm(industry="99.00 Z"), naf("U", "99", "99.00")),
    Case("no NAF: a number", firm(industry="6201"), naf(None, None, None)),
    Case("no NAF: no such division", firm(industry="00.00Z"), naf(None, None, None)),
    Case("no NAF: two letters", firm(industry="62.01ZZ"), naf(None, None, None)),
    Case("no NAF: digits of another script", firm(industry="\u0666\u0662"), naf(None, None, None)),
    Case("NAF unknown", firm(), naf(None, None, None)),
    Case(
        "a firm that employs nobody",
        firm(headcount_band="NN", company_category="GE"),
        ((ORDER, 0.0), (CONFLICT, 1.0), (REGIME, "mass")),
    ),
    Case(
        "a firm's own headcount before its band",
        firm(headcount=249.5, headcount_band="53", company_category="PME"),
        ((ORDER, 15.0), (CONFLICT, 0.0), (REGIME, "industrial")),
    ),
    Case(
        "a category too small",
        firm(headcount_band="32", company_category="PME"),
        ((ORDER, 10.0), (CONFLICT, 1.0), (REGIME, "industrial")),
    ),
    Case(
        "a band that the register has not",
        firm(headcount_band="250+", company_category="PME"),
        ((ORDER, None), (CONFLICT, None), (REGIME, None)),
    ),
    Case("a headcount alone", firm(headcount=9.5), ((ORDER, None), (CONFLICT, None), (REGIME, "mass"))),
    Case("ten of staff", firm(headcount=10), ((REGIME, "industrial"),)),
    Case("a tender", firm({"tender_deadline": day(-9)}, headcount=3), ((REGIME, "project"),)),
    Case("a given regime", firm({"tender_deadline": day(9), "regime": "mass"}, headcount=99), ((REGIME, "mass"),)),
    Case(
        "accounts absent",
        world(accounts=None, prospects=[prospect(tender_deadline=NOON)]),
        ((REGIME, "project"), (ORDER, None), (CONFLICT, None), *naf(None, None, None)),
    ),
    # The filters hold together.
    Case(
        "filters",
        FILTERED,
        (
            (Aggregate("count", direction="inbound"), 3.0),
            (Aggregate("count", channel="web"), 4.0),
            (Aggregate("count", direction="inbound", channel="web"), 2.0),
            (Aggregate("count", type="mail", direction="inbound", channel="web"), 1.0),
            (Aggregate("count", type="nothing"), 0.0),
        ),
    ),
    Case(
        "texts are NFC and trimmed, an empty one is null",
        world(
            prospects=[prospect(source=" re\u0301seau\u00a0", origin="", regime=" mass ")],
            events=[event("1", day(-1), type="de\u0301mo ", channel=" ")],
        ),
        (
            (SOURCE, "r\u00e9seau"),
            (Attribute("prospects", "origin"), None),
            (Attribute("prospects", "regime"), "mass"),
            (Aggregate("count", type="d\u00e9mo"), 1.0),
        ),
    ),
    Case(
        "numbers and booleans",
        world(
            prospects=[prospect(flagged=False, fit=0.1, account_id="a")],
            accounts=[{"account_id": "a", "public_body": True, "headcount": 25, "revenue": 1e15}],
        ),
        (
            (Attribute("prospects", "flagged"), 0.0),
            (Attribute("prospects", "fit"), 0.1),
            (Attribute("accounts", "public_body"), 1.0),
            (HEADCOUNT, 25.0),
            (Attribute("accounts", "revenue"), 1e15),
            (Attribute("accounts", "growth"), None),
        ),
    ),
    Case(
        "expressions",
        world(
            prospects=[prospect(account_id="a", tender_deadline=day(-0.5), flagged=True)],
            accounts=[{"account_id": "a", "headcount": 25, "founded_on": date(1969, 12, 31)}],
            events=values("3", "4"),
        ),
        (
            (Expression("ratio", (COUNT, HEADCOUNT)), 2 / 25),
            (Expression("ratio", (COUNT, Aggregate("count", type="call"))), None),
            (Expression("ratio", (COUNT, MEAN)), 2 / 3.5),
            (Expression("ratio", (Attribute("prospects", "fit"), COUNT)), None),
            (Expression("difference", (SUM, HEADCOUNT)), -18.0),
            (Expression("difference", (Attribute("prospects", "flagged"), COUNT)), -1.0),
            (Expression("age", (CREATED,)), 100.0),
            (Expression("age", (Attribute("accounts", "founded_on"),)), 19793.5),
            (Expression("days_until", (Attribute("prospects", "tender_deadline"),)), -0.5),
            (Expression("calendar", (), part="weekday"), 6.0),
            (Expression("calendar", (), part="hour"), 12.0),
            (Expression("calendar", (Attribute("accounts", "founded_on"),), part="month"), 12.0),
            (Expression("calendar", (Attribute("accounts", "founded_on"),), part="weekday"), 2.0),
            (Expression("band", (HEADCOUNT,), cuts=(10.0, 25.0, 50.0)), 2.0),
            (Expression("band", (Attribute("prospects", "fit"),), cuts=(10.0,)), None),
        ),
    ),
    Case(
        "a firm of the year 1000",
        world(
            prospects=[prospect(account_id="a")],
            accounts=[{"account_id": "a", "founded_on": date(1000, 1, 1)}],
        ),
        (
            (Expression("age", (Attribute("accounts", "founded_on"),)), 374077.5),
            (Expression("calendar", (Attribute("accounts", "founded_on"),), part="month"), 1.0),
            (Expression("calendar", (Attribute("accounts", "founded_on"),), part="weekday"), 2.0),
        ),
    ),
    Case(
        "a microsecond before 1970 is in December",
        world(prospects=[prospect(created_at=at("1960-01-01T00:00:00"))]),
        (
            (Expression("calendar", (), part="month"), 12.0),
            (Expression("calendar", (), part="weekday"), 2.0),
            (Expression("calendar", (), part="hour"), 23.0),
        ),
        -1,
    ),
)


def by_hand_in_one_query(group: list[Case], shape: Shape, folder: Path) -> dict[str, dict[str, Any]]:
    """DuckDB's values by case and feature: the cases side by side in one folder, told apart by a mark on every id."""

    def marked(row: dict[str, Any], n: int) -> dict[str, Any]:
        return {k: f"{n}:{v}" if k.endswith("_id") and v is not None else v for k, v in row.items()}

    worlds = [
        World(
            {table: [marked(row, n) for row in found] for table, found in case.rows.items()},
            [(f"{n}:{case.prospect_id}", case.t)],
        )
        for n, case in enumerate(group)
    ]
    features = FeatureSet(shape.dataset, tuple(dict.fromkeys(f for case in group for f, _ in case.expected)))
    answers = by_offline(features, joined(worlds), shape, folder)
    return {
        case.name: dict(zip(features.names, answers[f"{n}:{case.prospect_id}", case.t], strict=True))
        for n, case in enumerate(group)
    }


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    shapes: dict[Shape, list[Case]] = {}
    for case in CASES:
        shapes.setdefault(case.shape, []).append(case)
    out: dict[str, dict[str, Any]] = {}
    for shape, found in shapes.items():
        out |= by_hand_in_one_query(found, shape, tmp_path_factory.mktemp("by_hand"))
    return out


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_by_hand(case: Case, offline: dict[str, dict[str, Any]]) -> None:
    small = World(case.rows, [(case.prospect_id, case.t)])
    features = FeatureSet(case.shape.dataset, tuple(feature for feature, _ in case.expected))
    (oracle,), (online,) = by_oracle(features, small).values(), by_online(features, small).values()
    for (feature, expected), *found in zip(case.expected, oracle, online, strict=True):
        answers = {"oracle": found[0], "online": found[1], "offline": offline[case.name][feature.name]}
        wrong = {who: answer for who, answer in answers.items() if not same(answer, expected)}
        assert not wrong, f"{feature.name} is {expected}, but {wrong}"


EXTREMES = (0.0, 5e-324, 2.3e-308, 1e-160, 0.1, 1.0, 3.0, 1e160, 1e308, sys.float_info.max)
FIT, GROWTH = Attribute("prospects", "fit"), Attribute("accounts", "growth")
RATIO, DIFFERENCE = Expression("ratio", (FIT, GROWTH)), Expression("difference", (FIT, GROWTH))
OF_EXTREMES = (
    RATIO,
    DIFFERENCE,
    Expression("ratio", (GROWTH, FIT)),
    Expression("ratio", (RATIO, DIFFERENCE)),
    Expression("difference", (DIFFERENCE, RATIO)),
    Expression("band", (RATIO,), cuts=(0.0, 1.0)),
    Expression("ratio", (Aggregate("count"), FIT)),
)


@pytest.mark.parametrize("form", ["csv", "parquet-us"])
def test_extreme_numbers_agree_and_what_no_double_can_hold_is_missing(form: str, tmp_path: Path) -> None:
    """Every pair of them: no infinite number may reach a model, nor an answer, whose JSON could not hold it."""
    numbers = (*EXTREMES, *(-x for x in EXTREMES))
    pairs = [(f"{i}", a, b) for i, (a, b) in enumerate(product(numbers, numbers))]
    rows = world(
        prospects=[prospect(prospect_id=key, account_id=key, fit=a) for key, a, _ in pairs],
        accounts=[{"account_id": key, "growth": b} for key, _, b in pairs],
    )
    features = FeatureSet(Shape().dataset, OF_EXTREMES)
    small = World(rows, [(key, T) for key, _, _ in pairs])
    assert_agree(features, [small], Shape(form=form), tmp_path)
    found = by_online(features, small)
    for key, a, b in pairs:
        ratio, difference, *_ = found[key, T]
        assert (ratio is None) == (b == 0 or math.isinf(a / b)), (a, b)
        assert (difference is None) == math.isinf(a - b), (a, b)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_any_two_numbers_agree(a: float, b: float) -> None:
    small = World(
        world(prospects=[prospect(account_id="a", fit=a)], accounts=[{"account_id": "a", "growth": b}]), [("p", T)]
    )
    features = FeatureSet(Shape().dataset, OF_EXTREMES)
    (expected,), (found,) = by_oracle(features, small).values(), by_online(features, small).values()
    assert all(same(x, y) for x, y in zip(expected, found, strict=True)), (expected, found)


def test_an_absent_list_is_unknown_and_an_empty_one_empty() -> None:
    rows = world(prospects=[prospect(account_id="a")], events=values("1"), contacts=[contact(None, "buyer")])
    dataset = Shape().dataset
    full = records_of(rows, "p", dataset, random.Random(0))
    compute = compile_features(
        FeatureSet(dataset, (COUNT, BUYERS, DISTINCT, ACCOUNT, Aggregate("share", role="buyer")))
    )
    assert compute(full, T) == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert compute(replace(full, events=None), T) == [None] * 5
    assert compute(replace(full, events=()), T) == [0.0, 0.0, 0.0, 0.0, None]
    assert compute(replace(full, contacts=None), T) == [1.0, None, None, 1.0, None]
    assert compute(replace(full, contacts={}), T) == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert compute(replace(full, related=None), T) == [1.0, 0.0, 0.0, None, 0.0]
    assert compute(replace(full, related_events=None), T) == [1.0, 0.0, 0.0, None, 0.0]
    assert compute(replace(full, related={}, related_events=()), T) == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert compute(replace(full, accounts=None), T) == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_an_absent_list_of_outcomes_is_unknown_and_an_empty_one_empty() -> None:
    dataset = Shape().dataset
    full = records_of(ENDED, "p", dataset, random.Random(0))
    compute = compile_features(FeatureSet(dataset, (COUNT, WON, ACCOUNT_WON, OPEN, ACCOUNT, REACHED)))
    assert compute(full, T) == [0.0, 0.0, 2.0, 3.0, 0.0, 0.0]
    assert compute(replace(full, outcomes=None), T) == [0.0, None, None, None, 0.0, 0.0]
    assert compute(replace(full, related_outcomes=None), T) == [0.0, 0.0, None, None, 0.0, 0.0]
    assert compute(replace(full, related=None), T) == [0.0, 0.0, None, None, None, 0.0]
    assert compute(replace(full, related_events=None), T) == [0.0, 0.0, 2.0, 3.0, None, 0.0]
    assert compute(replace(full, events=None), T) == [None, 0.0, 2.0, 3.0, None, 0.0]
    assert compute(replace(full, related={}, related_outcomes=(), outcomes=()), T) == [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("hidden", "roles", "heads"), [("role", 1.0, 1.0), ("job_title", 1.0, 0.0)])
def test_what_is_filled_in_hindsight_tells_no_role_nor_rank(
    hidden: str, roles: float, heads: float, tmp_path: Path
) -> None:
    rows = world(
        contacts=[contact(None, "user", "c", title="Responsable achats")], events=[event("1", day(-1), contact_id="c")]
    )
    folder = write_folder(tmp_path, rows, Shape())
    toml = (folder / "dataset.toml").read_text(encoding="utf-8")
    toml = toml.replace("[contacts.columns]", f'[contacts.columns]\n{hidden} = {{known = "never"}}')
    (folder / "dataset.toml").write_text(toml, encoding="utf-8")
    tables = read_tables(folder)
    buyers = BUYERS if hidden == "role" else USERS
    features = FeatureSet(tables.dataset, (buyers, ROLE_COUNT, Aggregate("count", rank="head")))
    found = feature_table(features, tables, spine_of([("p", T)])).to_pyarrow().to_pylist()[0]
    online = compile_features(features)(records_of(rows, "p", tables.dataset, random.Random(0)), T)
    assert [found[name] for name in features.names] == online == [1.0, roles, heads]


def test_the_same_records_in_any_order_give_the_same_row() -> None:
    _, worlds, features = batch(1)
    busy = max(worlds, key=lambda w: len(w.rows["events"]))
    assert by_online(features, busy, 1) == by_online(features, busy, 2) == by_oracle(features, busy)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_text_of_a_known_mistake_stands_in_its_source(mutation: Mutation) -> None:
    """The mutations themselves run in the long proofs; one whose text is gone would prove nothing there."""
    assert mutation.old in (ROOT / "features" / mutation.file).read_text(encoding="utf-8")
