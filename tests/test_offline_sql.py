"""The SQL of the offline execution: a snapshot of it, and that it reads the events once.

``LEADSCORE_SNAPSHOTS=write`` writes the snapshot anew; look at the difference before keeping it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import pytest
import sqlglot
from sqlglot import exp

from features.offline import feature_table
from features.spec import Aggregate, Attribute, Expression, FeatureSet
from tests import agreement
from tests.histories import Shape
from tests.test_features_agree import SIBLINGS, contact

SNAPSHOT = Path(__file__).parent / "snapshots" / "offline.sql"
FEATURES = (
    Attribute("prospects", "source"),
    Attribute("accounts", "headcount"),
    Aggregate("count", type="mail", days=7),
    Aggregate("sum", scope="account"),
    Aggregate("last", role="buyer"),
    Aggregate("distinct_contacts", days=30),
    Aggregate("days_since_last", direction="inbound", channel="web"),
    Aggregate("share", type="mail", days=30, scope="account"),
    Aggregate("count", days=30, stage="discover", rank="head"),
    Aggregate("distinct_roles", days=90),
    Aggregate("top_contact_share", days=90),
    Aggregate("top_contact_share"),
    Aggregate("count", "won", scope="account", table="outcomes"),
    Aggregate("open", scope="account", table="prospects"),
    Expression("reached", tuple(Aggregate("days_since_first", stage=s) for s in ("discover", "compare", "decide"))),
    Expression("naf", (Attribute("accounts", "industry"),), part="class"),
    Expression("band_order", (Attribute("accounts", "headcount_band"),)),
    Expression("age", (Attribute("prospects", "created_at"),)),
    Expression("ratio", (Aggregate("count"), Attribute("accounts", "headcount"))),
    Expression("band", (Attribute("accounts", "headcount"),), cuts=(10.0, 50.0)),
    Expression("calendar", (), part="weekday"),
)


@pytest.fixture
def query(tmp_path: Path) -> tuple[Any, Any]:
    """The connection, and the fixed feature set over every table and a spine that is a table too."""
    shape = Shape()
    tables = agreement.tables_of({**SIBLINGS, "contacts": [contact(None, "buyer")]}, shape, tmp_path)
    spine = tables.connection.create_table("spine", schema=ibis.schema({"prospect_id": "string", "as_of": "int64"}))
    return tables, feature_table(FeatureSet(shape.dataset, FEATURES), tables, spine)


def test_the_sql_is_the_one_that_was_read(query: tuple[Any, Any]) -> None:
    _, table = query
    sql = str(ibis.to_sql(table, dialect="duckdb")).strip() + "\n"
    if os.environ.get("LEADSCORE_SNAPSHOTS") == "write":
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(sql, encoding="utf-8")
    assert sql == SNAPSHOT.read_text(encoding="utf-8"), "the SQL changed; LEADSCORE_SNAPSHOTS=write keeps the new one"


def test_the_events_are_read_once(query: tuple[Any, Any]) -> None:
    tables, table = query
    events = tables.events.get_name()
    sql = str(ibis.to_sql(table, dialect="duckdb"))
    named = [found.name for found in sqlglot.parse_one(sql, read="duckdb").find_all(exp.Table)]
    assert named.count(events) == 1, "the SQL names the events more than once"
    plan = json.loads(tables.connection.raw_sql(f"EXPLAIN (FORMAT json) {sql}").fetchall()[0][1])
    scanned = [name for name in _scans(plan) if name == events]
    assert len(scanned) == 1, "the engine scans the events more than once"


def test_two_readings_would_be_seen(query: tuple[Any, Any]) -> None:
    tables, _ = query
    name = tables.events.get_name()
    twice = f"SELECT prospect_id FROM {name} UNION ALL SELECT event_id FROM {name}"
    plan = json.loads(tables.connection.raw_sql(f"EXPLAIN (FORMAT json) {twice}").fetchall()[0][1])
    assert list(_scans(plan)).count(name) == 2


def _scans(plan: Any) -> Iterator[str]:
    """The tables that a plan of DuckDB scans, once per scan."""
    for node in plan if isinstance(plan, list) else [plan]:
        table = node.get("extra_info", {}).get("Table")
        if table is not None:
            yield table.rsplit(".", 1)[-1].strip('"')
        yield from _scans(node.get("children", []))
