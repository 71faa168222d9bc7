"""An event that is taken back: known until ``retracted_at``, and not from then on, wherever events are read.

That features agree on it is tested with all the rest of them in ``tests/test_features_agree.py``.
"""

from __future__ import annotations

import csv
import random
import re
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.contract import DAY, parse_time
from features.errors import BadInput, BadTables
from features.offline import feature_table
from features.records import Event, first_recorded
from features.spec import Aggregate, FeatureSet
from features.standard import standard_features
from features.tables import Tables, known_by, read_tables, tables_from_frames
from serving.batch import requests
from serving.committee import people
from serving.openapi import EventRecord
from serving.rows import Scope, careful_event, read_event
from serving.schema import parse_request
from tests.agreement import spine_of
from tests.fixtures_bundle import DATASET
from training.audit import _event_rows, _prospects
from training.committee import usual_events

T = parse_time("2026-03-10T12:00:00Z")
OWN = Scope("p1", False, None)
EVENT = {"event_id": "e1", "type": "call", "occurred_at": "2026-03-02T10:00:00Z"}
COUNT = Aggregate("count")


def stamp(day: float) -> pd.Timestamp:
    return pd.Timestamp("2026-03-01T00:00:00Z") + pd.Timedelta(days=day)


def at(day: float) -> int:
    return int(stamp(day).value) // 1000


def tables(events: list[dict[str, Any]], **frames: pd.DataFrame) -> Tables:
    """One prospect, a known contact of each role, and these events (days of March 2026)."""
    names = [n for n in ("occurred_at", "recorded_at", "retracted_at") if any(n in e for e in events)]
    frame = pd.DataFrame([{"prospect_id": "p1", "type": "call", **e} for e in events])
    for name in names:
        frame[name] = pd.to_datetime([None if pd.isna(d) else stamp(d) for d in frame[name]], utc=True)
    return tables_from_frames(
        {
            "prospects": pd.DataFrame({"prospect_id": ["p1"], "created_at": [stamp(0)]}),
            "contacts": pd.DataFrame({"contact_id": ["c1"], "account_id": ["a1"], "role": ["buyer"]}),
            "outcomes": pd.DataFrame({"prospect_id": ["p1"], "outcome": ["won"], "occurred_at": [stamp(90)]}),
            "events": frame,
            **frames,
        }
    )


def counted(found: Tables, day: float) -> float:
    rows = feature_table(FeatureSet(found.dataset, (COUNT,)), found, spine_of([("p1", at(day))])).to_pyarrow()
    (count,) = rows["event_count"].to_pylist()
    return float(count)


# -- records ----------------------------------------------------------------------------------------------------------


def test_a_request_may_hold_the_retraction() -> None:
    body = {**EVENT, "recorded_at": "2026-03-03T00:00:00Z", "retracted_at": "2026-03-04T00:00:00.1234567+01:00"}
    found = read_event(body, OWN)
    assert found == careful_event(body, OWN)
    assert found.retracted_at == parse_time("2026-03-03T23:00:00Z") + 123_456
    assert found.recorded_at == parse_time("2026-03-03T00:00:00Z")
    for absent in (EVENT, {**EVENT, "retracted_at": None}):
        assert read_event(absent, OWN) == careful_event(absent, OWN)
        assert read_event(absent, OWN).retracted_at is None
    assert "retracted_at" in EventRecord.model_fields


@pytest.mark.parametrize(
    ("cells", "sound"),
    [
        ({"retracted_at": "2026-03-02T10:00:00Z"}, True),
        ({"retracted_at": "2026-03-02T09:59:59.999999Z"}, False),
        ({"retracted_at": "2026-03-01T00:00:00Z", "recorded_at": "2026-02-28T00:00:00Z"}, True),  # cancelled beforehand
        ({"retracted_at": "2026-03-03T00:00:00Z", "recorded_at": "2026-03-03T00:00:00.000001Z"}, False),
    ],
)
def test_nothing_is_retracted_before_it_is_recorded(cells: dict[str, str], sound: bool, tmp_path: Path) -> None:
    """The service and the reader of files refuse the same, with one code."""
    row = {**EVENT, **cells}
    if sound:
        assert read_event(row, OWN).retracted_at is not None
    else:
        with pytest.raises(BadInput) as caught:
            read_event(row, OWN)
        assert (caught.value.code, caught.value.where) == ("retracted_before_recorded", "retracted_at")
    for name, found in (
        ("prospects", {"prospect_id": "p1", "created_at": "2026-03-01T00:00:00Z"}),
        ("events", {"prospect_id": "p1", **row}),
    ):
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*found])
            writer.writeheader()
            writer.writerow(found)
    if sound:
        assert read_tables(tmp_path).rows["events"] == 1
        return
    with pytest.raises(BadTables) as refused:
        read_tables(tmp_path)
    (problem,) = refused.value.problems
    assert (problem.code, problem.where) == ("retracted_before_recorded", "events.csv: retracted_at")
    assert problem.details["count"] == 1
    assert problem.details["rows"][0]["key"] == "e1"


def test_a_broken_recording_is_not_told_twice(tmp_path: Path) -> None:
    frame = pd.DataFrame([{"prospect_id": "p1", **EVENT, "recorded_at": 5.5, "retracted_at": "2026-03-02T00:00:00Z"}])
    prospects = pd.DataFrame([{"prospect_id": "p1", "created_at": "2026-03-01T00:00:00Z"}])
    with pytest.raises(BadTables) as refused:
        tables_from_frames({"prospects": prospects, "events": frame})
    assert [p.code for p in refused.value.problems] == ["wrong_type"]


def test_a_retraction_in_the_future_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame([{"prospect_id": "p1", **EVENT, "retracted_at": "2026-03-12T00:00:00Z"}])
    prospects = pd.DataFrame([{"prospect_id": "p1", "created_at": "2026-03-01T00:00:00Z"}])
    prospects.to_csv(tmp_path / "prospects.csv", index=False)
    frame.to_csv(tmp_path / "events.csv", index=False)
    assert read_tables(tmp_path, now=T + 2 * DAY).rows["events"] == 1
    with pytest.raises(BadTables) as refused:
        read_tables(tmp_path, now=T)
    assert [(p.code, p.details["column"]) for p in refused.value.problems] == [("future_time", "retracted_at")]


def test_a_retraction_holds_whoever_tells_it_and_in_any_order() -> None:
    told = [
        Event("e", "p", "call", 1, 5),
        Event("e", "p", "call", 1, 3, retracted_at=9),
        Event("e", "p", "call", 1, 4, retracted_at=7),
    ]
    for one, two, three in permutations(told):
        expected = Event("e", "p", "call", 1, 3, retracted_at=7)
        assert first_recorded(first_recorded(one, two), three) == expected
        assert first_recorded(one, first_recorded(two, three)) == expected
    for other in (Event("e", "p", "mail", 1, 3, retracted_at=9), Event("e", "p", "call", 2, 3)):
        with pytest.raises(BadInput, match="two contents"):
            first_recorded(told[1], other)


def test_repeats_in_one_request_are_one_event() -> None:
    retold = {**EVENT, "recorded_at": "2026-03-03T00:00:00Z", "retracted_at": "2026-03-04T00:00:00Z"}
    prospect = {"prospect_id": "p1", "created_at": "2026-03-01T09:00:00Z", "account_id": "a1"}
    for events in ([EVENT, retold], [retold, EVENT]):
        parsed = parse_request({"prospect": prospect, "events": events}, DATASET, T)
        (event,) = parsed.records.events or ()
        assert event.recorded_at == parse_time("2026-03-02T10:00:00Z")
        assert event.retracted_at == parse_time("2026-03-04T00:00:00Z")


# -- tables -----------------------------------------------------------------------------------------------------------


def test_repeats_in_a_file_are_one_event() -> None:
    """What stays is the row recorded first, with the earliest retraction; a row of its own keeps its own."""
    told = [
        {"event_id": "e", "occurred_at": 1.0, "recorded_at": 4.0, "retracted_at": 9.0},
        {"event_id": "e", "occurred_at": 1.0, "recorded_at": 3.0, "retracted_at": None},
        {"event_id": "e", "occurred_at": 1.0, "recorded_at": 6.0, "retracted_at": 7.0},
        {"event_id": "f", "occurred_at": 1.0, "recorded_at": 2.0, "retracted_at": 8.0},
        {"event_id": "g", "occurred_at": 1.0, "recorded_at": 2.0, "retracted_at": None},
    ]
    for seed in range(4):
        random.Random(seed).shuffle(told)
        found = tables(told)
        rows = {r["event_id"]: (r["recorded_at"], r["retracted_at"]) for r in found.events.to_pyarrow().to_pylist()}
        assert rows == {"e": (at(3), at(7)), "f": (at(2), at(8)), "g": (at(2), None)}
        assert [(n.code, n.count) for n in found.notes if n.code == "identical_repeats"] == [("identical_repeats", 2)]


def test_without_the_column_nothing_is_paid_for_it() -> None:
    """The join that makes features asks for retractions only where a file has the column."""
    spine = [("p1", at(5))]
    sql = []
    for cells in ({}, {"retracted_at": 4.0}):
        found = tables([{"event_id": "e", "occurred_at": 1.0, **cells}])
        query = feature_table(FeatureSet(found.dataset, (COUNT,)), found, spine_of(spine))
        sql.append(str(found.connection.compile(query)))
    asked = re.compile(r'"retracted_at" (IS NULL|>)')
    assert [len(asked.findall(text)) for text in sql] == [0, 2]


def test_what_stood_at_a_time_knows_no_later_retraction_but_keeps_the_earlier() -> None:
    found = tables([{"event_id": "e", "occurred_at": 1.0, "retracted_at": 5.0}])
    assert [counted(found, day) for day in (2, 4.9, 5, 6)] == [1, 1, 0, 0]
    before, after = known_by(found, at(4)), known_by(found, at(5))
    assert [r["retracted_at"] for r in before.events.to_pyarrow().to_pylist()] == [None]
    assert [counted(before, day) for day in (2, 4)] == [1, 1]
    # A landmark before the retraction sees the event in what is known after it too.
    assert [r["retracted_at"] for r in after.events.to_pyarrow().to_pylist()] == [at(5)]
    assert [counted(after, day) for day in (2, 5)] == [1, 0]


def test_a_request_of_a_table_holds_what_is_known_then_and_no_more() -> None:
    found = tables(
        [
            {"event_id": "gone", "occurred_at": 1.0, "retracted_at": 3.0},
            {"event_id": "later", "occurred_at": 1.0, "retracted_at": 5.0},
            {"event_id": "stays", "occurred_at": 1.0, "retracted_at": None},
        ]
    )
    for day, expected in ((2, {"gone", "later", "stays"}), (3, {"later", "stays"}), (5, {"stays"})):
        (body,) = requests(found, at(day))
        assert {e["event_id"] for e in body["events"]} == expected
        assert not any("retracted_at" in e for e in body["events"])
        assert counted(found, day) == len(expected)


# -- everything else that reads events --------------------------------------------------------------------------------


def test_the_people_are_not_counted_by_what_was_taken_back() -> None:
    contacts = dict(parse_request(
        {"prospect": {"prospect_id": "p1", "created_at": "2026-03-01T09:00:00Z"}, "contacts": [{"contact_id": "c1"}]},
        DATASET, T,
    ).records.contacts or {})  # fmt: skip
    events = [
        Event("1", "p1", "call", T - DAY, T - DAY, "c1", retracted_at=T),
        Event("2", "p1", "call", T - 2 * DAY, T - 2 * DAY, "c1", retracted_at=T + 1),
        Event("3", "p1", "call", T - 3 * DAY, T - 3 * DAY, "c1"),
    ]
    assert [(p.events, p.last) for p in people(contacts, events, None, T).values()] == [(2, T - 2 * DAY)]
    assert [p.events for p in people(contacts, events, None, T - 1).values()] == [3]
    assert [p.events for p in people(contacts, events, None, T + 1).values()] == [1]


def test_the_usual_event_of_a_role_is_one_that_stands() -> None:
    mine = {"occurred_at": 1.0, "contact_id": "c1", "direction": "inbound"}
    found = tables(
        [
            *({"event_id": f"s{n}", "type": "spam", "retracted_at": 3.0, **mine} for n in range(3)),
            {"event_id": "d", "type": "demo", "retracted_at": None, **mine},
        ]
    )
    assert usual_events(found, at(3) - 1)["buyer"]["type"] == "spam"
    assert usual_events(found, at(3))["buyer"]["type"] == "demo"


def test_no_standard_feature_is_made_of_what_was_taken_back() -> None:
    mine = {"occurred_at": 1.0, "channel": None}
    found = tables(
        [
            {"event_id": "s", "type": "spam", "retracted_at": 3.0, **mine},
            {"event_id": "d", "type": "demo", "retracted_at": None, **mine},
            {"event_id": "v", "type": "visit", "retracted_at": None, **mine},
        ]
    )
    types = {
        day: {f.type for f in standard_features(found, until=at(day)).features if isinstance(f, Aggregate)} - {None}
        for day in (2, 3)
    }
    assert types == {2: {"spam", "demo", "visit"}, 3: {"demo", "visit"}}


def test_the_audit_looks_at_no_event_that_was_never_known() -> None:
    """Known from its recording until its retraction; one taken back before it counted says nothing of hindsight."""
    found = tables(
        [
            {"event_id": "cancelled", "type": "call", "occurred_at": 5.0, "recorded_at": 1.0, "retracted_at": 2.0},
            {"event_id": "held", "type": "call", "occurred_at": 6.0, "recorded_at": 1.0, "retracted_at": 7.0},
        ]
    )
    spine, who = _prospects(known_by(found, at(100)), found.dataset.goal, followed=False)
    rows = _event_rows(found, "type", spine)
    assert rows["known"].tolist() == rows["dated"].tolist() == [at(6)]
    assert len(who) == 1
