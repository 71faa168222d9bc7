"""The standard features: what stands in the set only where the data tell it, families, and the set without effort."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from features.contract import parse_dataset
from features.errors import BadInput
from features.spec import Aggregate, Attribute, Expression, Feature, FeatureSet, walk
from features.standard import FAMILIES, REGIME, drop_families, family, standard_features
from features.tables import Tables, tables_from_frames
from serving.scorer import _needs

STAGES = """
[stages]
discover = ["page_view", "webinar"]
compare = ["demo", "trial"]
decide = ["quote"]
"""
TYPES = ("page_view", "webinar", "demo", "trial", "quote", "call")
# What stood in the set before features knew of stages, titles, outcomes and the register.
PLAIN = [
    "source",
    "account_country",
    "account_industry",
    "account_headcount",
    "days_since_created_at",
    "as_of_weekday",
    "event_count_7d",
    "event_count_30d",
    "event_count_90d",
    "event_count",
    "event_days_since_last",
    "event_days_since_first",
    "call_count_30d",
    "call_count",
    "call_days_since_last",
    "page_view_count_30d",
    "page_view_count",
    "page_view_days_since_last",
    "account_event_count_30d",
    "account_event_days_since_last",
    "event_count_7d_per_event_count_30d",
]


def day(n: int) -> pd.Timestamp:
    return pd.Timestamp("2025-01-01", tz="UTC") + pd.Timedelta(days=n)


def plain() -> dict[str, pd.DataFrame]:
    """Twenty prospects with an account each, two types of events; no direction, no codes of the register."""
    n = range(20)
    return {
        "prospects": pd.DataFrame(
            {
                "prospect_id": [f"p{i}" for i in n],
                "created_at": [day(0)] * 20,
                "account_id": [f"a{i}" for i in n],
                "source": ["web", "fair"] * 10,
            }
        ),
        "accounts": pd.DataFrame(
            {
                "account_id": [f"a{i}" for i in n],
                "country": ["FR", "DE"] * 10,
                "industry": ["building", "retail", "software", "food"] * 5,
                "headcount": [float(5 * i) for i in n],
            }
        ),
        "events": pd.DataFrame(
            {
                "event_id": [f"e{i}" for i in n],
                "prospect_id": [f"p{i}" for i in n],
                "type": ["call", "page_view"] * 10,
                "occurred_at": [day(1 + i) for i in n],
            }
        ),
        "outcomes": pd.DataFrame(
            {"prospect_id": ["p1", "p2"], "outcome": ["won", "lost"], "occurred_at": [day(30)] * 2}
        ),
    }


def rich() -> dict[str, pd.DataFrame]:
    """The same with siblings, contacts by title, stages, directions, tenders and the register's codes."""
    frames = plain()
    n = range(20)
    frames["prospects"] = frames["prospects"].assign(
        account_id=[f"a{i // 3}" for i in n],
        regime=["mass", None] * 10,
        tender_deadline=[day(90) if i % 4 == 0 else pd.NaT for i in n],
        tender_announced_at=[day(2) if i % 4 == 0 else pd.NaT for i in n],
    )
    frames["accounts"] = frames["accounts"].assign(
        industry=["62.01Z", "62.02A", "63.11Z", "43.21A", "43.22B"] * 4,
        headcount_band=["NN", "11", "32", "53"] * 5,
        company_category=["PME", "GE"] * 10,
    )
    frames["contacts"] = pd.DataFrame(
        {
            "contact_id": ["c0", "c1", "c2"],
            "account_id": ["a0"] * 3,
            "role": [None, "user", None],
            "job_title": ["Responsable achats", None, "Directeur général"],
        }
    )
    m = range(60)
    frames["events"] = pd.DataFrame(
        {
            "event_id": [f"e{i}" for i in m],
            "prospect_id": [f"p{i % 20}" for i in m],
            "type": [TYPES[i % 6] for i in m],
            "direction": ["outbound" if i % 6 == 5 or i % 12 == 3 else "inbound" for i in m],
            "contact_id": [f"c{i // 20}" for i in m],
            "occurred_at": [day(1 + i) for i in m],
        }
    )
    return frames


def tables(frames: dict[str, pd.DataFrame], toml: str = "") -> Tables:
    return tables_from_frames(frames, parse_dataset(toml))


def test_data_that_tell_nothing_new_have_the_set_that_they_had() -> None:
    assert [*standard_features(tables(plain())).names] == PLAIN
    assert [*standard_features(tables(plain()), effort=False).names] == PLAIN  # no event is known to be outbound
    unstaged = standard_features(tables(plain(), '[stages]\ndiscover = ["page_view"]\ndecide = ["never"]\n'))
    assert [*unstaged.names] == PLAIN  # one stage of one type that is counted on its own


def test_each_kind_is_there_where_the_data_tell_it() -> None:
    names = {*standard_features(tables(rich(), STAGES)).names}
    assert {
        "inferred_regime",
        "account_industry_division",
        "account_industry_section",
        "account_headcount_band_order",
        "account_company_category_size_conflict",
        "days_until_tender_deadline",
        "days_since_tender_announced_at",
        "discover_stage_event_count_30d",
        "compare_stage_event_count",
        "stage_reached",
        "days_in_stage",
        "stage_reached_minus_stage_latest",
        "buyer_event_distinct_contacts",
        "user_event_days_since_last",
        "event_distinct_roles_90d",
        "event_top_contact_share_90d",
        "head_event_days_since_last",
        "executive_event_days_since_last",
        "account_outcome_won_count",
        "account_outcome_lost_days_since_last",
        "account_open_prospects",
        "outbound_call_count_30d",
        "inbound_trial_count",
        "outbound_trial_count",
    } <= names
    assert not {"regime", "decide_stage_event_count", "account_outcome_renewed_count", "call_count_30d"} & names


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"outcomes": ("outcome", "expanded")}, {"account_outcome_won_count", "account_outcome_lost_count"}),
        ({"accounts": ("industry", "62")}, {"account_industry_division", "account_industry_section"}),
        ({"accounts": ("headcount_band", "11")}, {"account_headcount_band_order"}),
        ({"accounts": ("company_category", None)}, {"account_company_category_size_conflict"}),
        ({"contacts": ("job_title", None)}, {"head_event_days_since_last", "buyer_event_count_90d"}),
        ({"events": ("contact_id", "c0")}, {"event_top_contact_share_90d", "event_distinct_roles"}),
        ({"prospects": ("regime", "mass")}, {"inferred_regime"}),
    ],
)
def test_and_only_there(change: dict[str, tuple[str, Any]], gone: set[str]) -> None:
    frames = rich()
    assert gone <= {*standard_features(tables(frames, STAGES)).names}
    for table, (column, value) in change.items():
        frames[table] = frames[table].assign(**{column: value})
    assert not gone & {*standard_features(tables(frames, STAGES)).names}


def test_a_hindsight_column_infers_nothing() -> None:
    toml = STAGES + '[prospects.columns]\ntender_announced_at = {known = "never"}\nregime = {known = "never"}\n'
    names = standard_features(tables(rich(), toml)).names
    assert not {"inferred_regime", "regime", "days_since_tender_announced_at"} & {*names}


def test_without_effort_every_aggregate_of_events_is_inbound() -> None:
    found = standard_features(tables(rich(), STAGES), effort=False)
    parts = [p for f in found.features for p in walk(f) if isinstance(p, Aggregate) and p.table == "events"]
    assert parts
    assert {p.direction for p in parts} == {"inbound"}
    assert "call" not in {p.type for p in parts}  # it is only outbound
    assert {"inbound_stage_reached", "account_outcome_won_count", "inbound_trial_count"} <= {*found.names}
    frames = rich()
    frames["events"] = frames["events"].assign(direction="outbound")
    none = standard_features(tables(frames, STAGES), effort=False)
    assert not [p for f in none.features for p in walk(f) if isinstance(p, Aggregate) and p.table == "events"]


def test_what_was_recorded_later_is_not_looked_at() -> None:
    frames = rich()
    until = int(day(20).value // 1000)
    frames["outcomes"] = frames["outcomes"].assign(recorded_at=[day(40)] * 2)
    names = standard_features(tables(frames, STAGES), until).names
    assert "account_outcome_won_count" not in names
    assert "account_open_prospects" in names


STAGE = Aggregate("count", stage="discover")
FAMILY: list[tuple[Feature, str]] = [
    (Aggregate("count", "call", direction="outbound"), "effort"),
    (Aggregate("count", role="buyer", direction="outbound"), "effort"),
    (Aggregate("share", days=90, direction="inbound"), "interest"),
    (Aggregate("count"), "activity"),
    (Aggregate("top_contact_share"), "committee"),
    (Aggregate("days_since_last", rank="head", direction="inbound"), "committee"),
    (STAGE, "stage"),
    (Expression("reached", (STAGE, replace(STAGE, stage="decide"))), "stage"),
    (Aggregate("count", scope="account"), "account"),
    (Aggregate("count", "won", table="outcomes"), "account"),
    (Aggregate("open", scope="account", table="prospects"), "account"),
    (Expression("naf", (Attribute("accounts", "industry"),), "section"), "firm"),
    (Expression("age", (Attribute("accounts", "founded_on"),)), "firm"),
    (REGIME, "need"),
    (Attribute("prospects", "source"), "need"),
    (Expression("days_until", (Attribute("prospects", "tender_deadline"),)), "tender"),
    (Expression("age", (Attribute("prospects", "created_at"),)), "time"),
    (Expression("calendar", part="weekday"), "time"),
    (Expression("ratio", (Aggregate("count", days=7), Aggregate("count", days=30))), "activity"),
]


@pytest.mark.parametrize(("feature", "expected"), FAMILY)
def test_family(feature: Feature, expected: str) -> None:
    assert family(feature) == expected


def test_families_are_dropped_whole() -> None:
    assert {expected for _, expected in FAMILY} == {*FAMILIES}
    found = standard_features(tables(rich(), STAGES))
    rest = drop_families(found, "effort", "committee")
    assert rest.features == tuple(f for f in found.features if family(f) not in ("effort", "committee"))
    assert {"effort", "committee"} <= {family(f) for f in found.features}
    assert drop_families(found) == found
    with pytest.raises(BadInput, match="no family of features 'efforts'") as caught:
        drop_families(found, "efforts")
    assert caught.value.code == "unknown_family"


def test_a_spec_reads_back_equal_and_one_of_format_1_is_refused() -> None:
    found = standard_features(tables(rich(), STAGES))
    assert FeatureSet.from_json(found.to_json()) == found
    with pytest.raises(BadInput, match="format 1; this version reads 2") as caught:
        FeatureSet.from_json({**found.to_json(), "format": 1})
    assert caught.value.code == "spec_format"


@pytest.mark.parametrize(
    ("feature", "code"),
    [
        (Aggregate("count", stage="decided"), "bad_feature"),
        (Aggregate("count", rank="boss"), "bad_feature"),
        (Aggregate("count", table="contacts"), "bad_feature"),
        (Aggregate("sum", table="outcomes"), "bad_feature"),
        (Aggregate("open"), "bad_feature"),
        (Aggregate("open", table="prospects"), "bad_feature"),
        (Aggregate("open", days=3, scope="account", table="prospects"), "bad_feature"),
        (Aggregate("count", role="buyer", table="outcomes"), "bad_feature"),
        (Expression("reached", ()), "bad_feature"),
        (Expression("latest", (Attribute("prospects", "source"),)), "bad_feature"),
        (Expression("naf", (Attribute("accounts", "industry"),)), "bad_feature"),
        (Expression("naf", (Attribute("accounts", "headcount"),), "section"), "bad_feature"),
        (Expression("size_conflict", (Attribute("accounts", "headcount"),)), "bad_feature"),
    ],
)
def test_what_makes_no_sense_is_refused(feature: Feature, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        FeatureSet(parse_dataset(STAGES), (feature,))
    assert caught.value.code == code


def test_a_stage_that_is_not_declared_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        FeatureSet(parse_dataset(""), (STAGE,))
    assert caught.value.code == "unknown_stage"


def test_what_needs_a_list_of_a_request() -> None:
    won = Aggregate("count", "won", table="outcomes")
    features = (
        Aggregate("count"),
        won,
        replace(won, scope="account"),
        Aggregate("open", scope="account", table="prospects"),
        Aggregate("count", scope="account"),
        Aggregate("count", rank="head"),
    )
    needs = _needs([f.name for f in features], features)
    assert needs == {
        "events": ["event_count", "account_event_count", "head_event_count"],
        "contacts": ["head_event_count"],
        "account": [],
        "related": ["account_event_count"],
        "outcomes": ["outcome_won_count", "account_outcome_won_count", "account_open_prospects"],
        "related.outcomes": ["account_outcome_won_count", "account_open_prospects"],
    }
