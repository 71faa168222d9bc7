"""From tables to answers: what is absent is warned of, and a request says what the engine saw."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from features.contract import DAY, Dataset, parse_dataset, parse_time
from features.errors import BadInput
from features.spec import Aggregate, Attribute, Expression, FeatureSet
from features.tables import Tables, tables_from_frames
from serving.batch import check_columns, requests, table_warnings
from serving.bundle import make_bundle
from serving.schema import parse_request
from serving.scorer import Scorer
from tests.fixtures_bundle import parts

AT = parse_time("2025-03-01T00:00:00Z")


def time(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def tables(**frames: Any) -> Tables:
    given = {
        "prospects": pd.DataFrame(
            {
                "prospect_id": ["p1", "late", "early", "gone"],
                "created_at": [time("2025-01-01"), time("2025-01-01"), time("2025-06-01"), time("2025-01-02")],
                "observed_at": [time("2025-01-01"), time("2025-09-01"), time("2025-01-01"), time("2025-01-02")],
                "account_id": ["a", "a", "a", None],
                "source": ["web", "fair", "web", "web"],
            }
        ),
        "events": pd.DataFrame(
            {
                "event_id": ["e1", "e2", "e3"],
                "prospect_id": ["p1", "late", "p1"],
                "type": ["page_view", "page_view", "meeting"],
                "occurred_at": [time("2025-02-01"), time("2025-02-02"), time("2025-04-01")],
            }
        ),
        "outcomes": pd.DataFrame({"prospect_id": ["gone"], "outcome": ["lost"], "occurred_at": [time("2025-02-01")]}),
    }
    given.update(frames)
    return tables_from_frames({k: v for k, v in given.items() if v is not None})


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(make_bundle(**parts()), "1")


def test_requests_are_made_for_the_created_and_only_for_them() -> None:
    made = {body["prospect"]["prospect_id"]: body for body in requests(tables(), AT)}
    assert sorted(made) == ["gone", "late", "p1"]
    assert [e["event_id"] for e in made["p1"]["events"]] == ["e1"]  # e3 lies in the future
    # Observed only later: nothing but its creation is known, and the reader is told from when on.
    assert set(made["late"]["prospect"]) == {"prospect_id", "created_at", "observed_at"}


def test_a_prospect_observed_later_reads_as_the_engine_sees_it() -> None:
    from features.offline import feature_table
    from features.online import compile_features

    found = tables()
    spec = FeatureSet(
        found.dataset,
        (
            Attribute("prospects", "source"),
            Expression("age", (Attribute("prospects", "created_at"),)),
            Aggregate("count"),
            Aggregate("count", scope="account"),
        ),
    )
    spine = found.prospects.filter(found.prospects.prospect_id == "late").select("prospect_id").mutate(as_of=AT)
    (row,) = feature_table(spec, found, spine).to_pyarrow().to_pylist()
    (body,) = requests(found, AT, ["late"])
    parsed = parse_request(json.dumps(body), found.dataset, AT)
    assert compile_features(spec)(parsed.records, AT) == [row[name] for name in spec.names]
    assert [row[name] for name in spec.names] == [None, None, 1.0, None]


def keyed(key: str) -> tuple[Any, list[dict[str, Any]]]:
    """A prospect or an event of this id: as a frame, and in requests."""
    frame = pd.DataFrame({"prospect_id": ["p1", key], "created_at": [time("2025-01-01")] * 2})
    born = {"created_at": "2025-01-01T00:00:00Z"}
    event = {"event_id": key, "type": "call", "occurred_at": "2025-01-01T00:00:00Z"}
    return frame, [
        {"prospect": {"prospect_id": key, **born}},
        {"prospect": {"prospect_id": "p", **born}, "events": [event]},
    ]


@pytest.mark.parametrize("key", [" ", "  ", "\t\n\u00a0"], ids=ascii)
def test_a_key_of_white_space_names_nobody_in_files_and_in_requests(key: str) -> None:
    frame, bodies = keyed(key)
    with pytest.raises(BadInput) as caught:
        tables(prospects=frame, events=None, outcomes=None)
    assert caught.value.code == "null_key"
    for body in bodies:
        with pytest.raises(BadInput) as caught:
            parse_request(body, Dataset(), AT)
        assert caught.value.code == "empty_key"


@pytest.mark.parametrize("key", ["\u2003", "\u200b", " a ", "\u00a0a"], ids=ascii)
def test_any_other_key_is_exact_in_files_and_in_requests(key: str) -> None:
    frame, bodies = keyed(key)
    found = tables(prospects=frame, events=None, outcomes=None)
    assert set(found.prospects.prospect_id.to_pyarrow().to_pylist()) == {"p1", key}
    first, second = (parse_request(body, Dataset(), AT).records for body in bodies)
    assert first.prospect_id == key
    assert [e.event_id for e in second.events or ()] == [key]


def test_absent_tables_and_a_time_past_the_data_are_warned_of(scorer: Scorer) -> None:
    codes = {w["code"] for w in table_warnings(scorer, tables(events=None, outcomes=None), AT + 900 * DAY)}
    assert {"events_unknown", "outcomes_unknown", "as_of_after_data"} <= codes
    assert "events_unknown" not in {w["code"] for w in table_warnings(scorer, tables(), AT)}


def test_a_declared_column_of_the_model_must_be_declared_but_an_absent_table_is_unknown() -> None:
    toml = '[accounts.columns]\nrating = {kind = "number"}\n'
    model = type("Model", (), {"spec": FeatureSet(parse_dataset(toml), (Attribute("accounts", "rating"),))})
    check_columns(model.spec, tables())
    accounts = pd.DataFrame({"account_id": ["a"]})
    with pytest.raises(Exception, match="rating"):
        check_columns(model.spec, tables(accounts=accounts))
