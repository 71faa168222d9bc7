"""``leadscore load``: the history of a data folder into the store of live records, with its own times.

Written in batches of one transaction each, between which the service goes on writing. What is there already is passed
over, so a load that was broken off is simply started again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from features.contract import DECLARING, KEYS, STANDARD, format_time, parse_time
from features.errors import BadInput, LeadscoreError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from features.tables import Tables
    from serving.intake import Intake
    from serving.ledger import Added, Fact, State
    from serving.store import Store

BATCH = 1_000


@dataclass(frozen=True)
class Loaded:
    """Rows by table: new ones, ones that were there, and ones left out since their person was erased."""

    accepted: Mapping[str, int]
    repeated: Mapping[str, int]
    erased: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The counts as plain data."""
        return {"accepted": dict(self.accepted), "repeated": dict(self.repeated), "erased": dict(self.erased)}


def load_tables(tables: Tables, store: Store, say: Callable[[str], None] = lambda _: None) -> Loaded:
    """Write every row of the tables into the store, and what their ``dataset.toml`` declares.

    Raises LeadscoreError where the store fails, and ``load_stopped`` where a row contradicts what it holds: what came
    before stays.
    """
    from serving.intake import Intake, union
    from serving.ledger import add, put_versions

    intake = Intake(union([tables.dataset]))
    store.write(lambda connection: _declare(connection, tables))
    accepted: dict[str, int] = {}
    repeated: dict[str, int] = {}
    erased: dict[str, int] = {}
    for table in ("accounts", "contacts", "prospects", "events", "outcomes"):
        if table not in tables.rows:
            continue
        done, new, old = 0, 0, 0
        for batch in _batches(tables, table):

            def work(connection: Connection, table: str = table, batch: list[dict[str, Any]] = batch) -> Added:
                if table in KEYS:
                    return put_versions(connection, [_state(intake, table, row) for row in batch])
                return add(connection, [_fact(table, row) for row in batch], 0, backfill=True)

            try:
                added = store.write(work)
            except BadInput as e:
                raise _stopped(e, table, done) from None
            done, new, old = done + len(batch), new + added.accepted, old + added.repeated
            if done // 50_000 > (done - len(batch)) // 50_000:
                say(f"{table}: {done:,} of {tables.rows[table]:,} rows")
        say(f"{table}: {new:,} new, {old:,} were there")
        accepted[table], repeated[table], erased[table] = new, old, done - new - old
    return Loaded(accepted, repeated, erased)


def _stopped(error: BadInput, table: str, done: int) -> LeadscoreError:
    return LeadscoreError(
        "load_stopped",
        f"after {done:,} rows of {table}: {error.message}",
        where=f"{table}: {error.where}" if not error.where.startswith(table) else error.where,
        remedy=f"{error.remedy} Then load again: what is there already is passed over.",
    )


def _declare(connection: Connection, tables: Tables) -> None:
    """Keep what the folder declares, beside what earlier ones did, and until when it is complete."""
    from serving.resources import COMPLETE, DATASET
    from serving.store import get_meta, put_meta

    declared = tables.dataset.to_json()
    until = max(tables.until, parse_time(get_meta(connection, COMPLETE) or format_time(tables.until)))
    before = json.loads(get_meta(connection, DATASET) or "{}")
    for table in DECLARING:
        columns = {**before.get(table, {}).get("columns", {}), **declared.get(table, {}).get("columns", {})}
        if columns:
            declared[table] = {"columns": columns}
    put_meta(connection, COMPLETE, format_time(until))
    put_meta(connection, DATASET, json.dumps({**declared, "timezone": None, "complete_until": None}))


def _batches(tables: Tables, table: str) -> Iterator[list[dict[str, Any]]]:
    found = getattr(tables, table)
    order = [KEYS[table], "valid_from"] if table in KEYS else [f"{table[:-1]}_id"]
    for batch in found.order_by(order).to_pyarrow().to_batches(max_chunksize=BATCH):
        yield batch.to_pylist()


def _state(intake: Intake, table: str, row: Mapping[str, Any]) -> State:
    from serving.intake import read_id
    from serving.ledger import State

    key = KEYS[table]
    account_id = row.get("account_id") if table != "accounts" else None
    return State(
        table,
        read_id(row[key], key),
        intake.text(table, row),
        None if account_id is None else read_id(account_id, "account_id"),
        row.get("created_at"),
        row["valid_from"],
    )


def _fact(table: str, row: Mapping[str, Any]) -> Fact:
    from serving.intake import event_text, outcome_fact, read_id
    from serving.ledger import Fact

    owner = read_id(row["prospect_id"], "prospect_id")
    if table == "outcomes":
        made = f"{owner}|{row['outcome']}|{row['occurred_at']}"  # what an outcome without an id is called
        given = None if row["outcome_id"] == made else read_id(row["outcome_id"], "outcome_id")
        return outcome_fact(owner, row["outcome"], row["occurred_at"], given, row["recorded_at"])
    contact_id = row["contact_id"]
    return Fact(
        "events",
        read_id(row["event_id"], "event_id"),
        owner,
        row["occurred_at"],
        event_text({c.name: row[c.name] for c in STANDARD["events"]}),
        None if contact_id is None else read_id(contact_id, "contact_id"),
        row["recorded_at"],
        row.get("retracted_at"),
    )
