"""What standard features look at, and what is said of filters that match nothing."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from features.contract import parse_time
from features.filters import idle_filters
from features.spec import Aggregate, Expression, FeatureSet
from features.standard import standard_features
from features.tables import Tables, tables_from_frames


def times(*days: str) -> list[pd.Timestamp]:
    return [pd.Timestamp(day, tz="UTC") for day in days]


def made(**more: Any) -> Tables:
    frames = {
        "prospects": pd.DataFrame({"prospect_id": ["p"], "created_at": times("2025-01-01"), "account_id": ["a"]}),
        "events": pd.DataFrame(
            {
                "event_id": ["1", "2", "3", "4"],
                "prospect_id": ["p"] * 4,
                "type": ["meeting", "meeting", "call", "call"],
                "channel": ["web", None, None, None],
                "contact_id": ["c", "c", "d", "d"],
                "occurred_at": times("2025-01-02", "2025-01-03", "2025-01-03", "2025-01-04"),
            }
        ),
        **more,
    }
    return tables_from_frames({name: frame for name, frame in frames.items() if frame is not None})


def test_a_mistyped_event_type_is_told_with_the_nearest() -> None:
    tables = made()
    count = Aggregate("count", "metting", 30)
    features = FeatureSet(
        tables.dataset,
        (
            Aggregate("count", "meeting"),
            count,
            Expression("ratio", (count, Aggregate("count", "Meeting", 90))),
            Aggregate("count", "zzz", channel="web"),
            Aggregate("count", channel="phone"),
        ),
    )
    notes = idle_filters(features, tables)
    assert [(n.code, n.count, n.where) for n in notes] == [
        ("filter_matches_nothing", 1, "events: type"),
        ("filter_matches_nothing", 2, "events: type"),
        ("filter_matches_nothing", 1, "events: type"),
        ("filter_matches_nothing", 1, "events: channel"),
    ]
    capital, mistyped, strange, phone = (n.text for n in notes)
    assert "'Meeting'" in capital
    assert "'metting', for which metting_count_30d and 1 other feature will be" in mistyped
    assert mistyped.endswith("there are 'call' (2), 'meeting' (2); the nearest is 'meeting'.")
    assert strange.endswith("'meeting' (2).")
    assert phone.endswith("there are 'web' (1).")


def test_nothing_is_said_where_all_match_or_nothing_can_be_compared() -> None:
    tables = made()
    assert idle_filters(standard_features(tables), tables) == ()
    missing = FeatureSet(tables.dataset, (Aggregate("count", "nothing"),))
    assert idle_filters(missing, made(events=None)) == ()
    frame = made().events.to_pandas()  # type: ignore[union-attr]
    empty = frame[["event_id", "prospect_id", "type"]].assign(occurred_at=times("2025-01-02")[0])[:0]
    (note,) = idle_filters(missing, made(events=empty))
    assert note.text.endswith("there are none at all.")


@pytest.mark.parametrize(("until", "role"), [("2025-02-01", False), ("2025-04-01", True)])
def test_standard_features_know_no_role_that_came_later(until: str, role: bool) -> None:
    contacts = pd.DataFrame(
        {
            "contact_id": ["c", "d", "c", "d"],
            "account_id": ["a"] * 4,
            "observed_at": times("2025-01-01", "2025-01-01", "2025-03-01", "2025-03-01"),
            "role": [None, None, "buyer", "user"],
        }
    )
    names = standard_features(made(contacts=contacts), parse_time(f"{until}T00:00:00Z")).names
    assert "event_distinct_contacts" in names
    assert ("buyer_event_count_90d" in names) == role
