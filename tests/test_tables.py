"""The data contract at the door: what is refused, what is noticed, and what the canonical tables then hold."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import struct
import unicodedata
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.columns import reading
from features.contract import (
    ALWAYS,
    DAY,
    MICRO,
    NEVER,
    STANDARD,
    Column,
    Dataset,
    clean_text,
    parse_dataset,
    parse_date,
    parse_time,
    to_micro,
)
from features.errors import BadInput, BadTables
from features.tables import Tables, check_until, read_tables, tables_from_frames

Rows = list[dict[str, Any]]
Data = dict[str, Rows]

GOOD: Data = {
    "prospects": [
        {
            "prospect_id": "p1",
            "created_at": "2026-03-01T09:00:00Z",
            "account_id": "a1",
            "source": "web",
            "regime": "mass",
            "approach": "b2b",
            "tender_deadline": "2027-01-01T00:00:00Z",
        },
        {"prospect_id": "p2", "created_at": "2026-03-02T09:00:00+02:00", "account_id": "a2", "source": "fair"},
        {"prospect_id": "p3", "created_at": "2026-03-03T09:00:00Z", "account_id": None},
    ],
    "accounts": [
        {"account_id": "a1", "country": "FR", "headcount": "25", "public_body": "true", "founded_on": "1999-05-01"},
        {"account_id": "a2", "country": "DE", "headcount": "1e3", "public_body": "no", "founded_on": None},
    ],
    "contacts": [
        {"contact_id": "c1", "account_id": "a1", "role": "buyer", "job_title": "Head of buying"},
        {"contact_id": "c2", "account_id": "a2", "role": "user", "job_title": None},
    ],
    "events": [
        {
            "event_id": "e1",
            "prospect_id": "p1",
            "type": "page_view",
            "occurred_at": "2026-03-02T10:00:00Z",
            "recorded_at": "2026-03-02T10:00:05Z",
            "contact_id": "c1",
            "direction": "inbound",
            "channel": "web",
            "value": "12.5",
        },
        {"event_id": "e2", "prospect_id": "p1", "type": "meeting", "occurred_at": "2026-03-03T10:00:00Z"},
        {"event_id": "e3", "prospect_id": "p2", "type": "meeting", "occurred_at": "2026-03-03T11:00:00Z"},
    ],
    "outcomes": [
        {"prospect_id": "p1", "outcome": "won", "occurred_at": "2026-04-01T00:00:00Z"},
        {"prospect_id": "p2", "outcome": "lost", "occurred_at": "2026-04-02T00:00:00Z", "recorded_at": None},
    ],
}
FORMS = ("csv", "parquet")


def columns_of(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def write(folder: Path, data: Data, form: str = "csv", toml: str | None = None) -> Path:
    """The data as files; in Parquet every column is text, so that the same bad cells fit in either form."""
    folder.mkdir(exist_ok=True)
    for table, rows in data.items():
        names = columns_of(rows) or [c.name for c in STANDARD[table]]
        if form == "csv":
            with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, names, lineterminator="\n")
                writer.writeheader()
                writer.writerows({n: "" if row.get(n) is None else row[n] for n in names} for row in rows)
        else:
            arrays = [pa.array([row.get(n) for row in rows], pa.string()) for n in names]
            pq.write_table(pa.Table.from_arrays(arrays, names=names), folder / f"{table}.parquet")
    if toml is not None:
        (folder / "dataset.toml").write_text(toml, encoding="utf-8")
    return folder


def refused(call: Callable[[], Any]) -> tuple[BadInput, ...]:
    with pytest.raises(BadTables) as caught:
        call()
    for problem in caught.value.problems:
        assert problem.message.endswith(".")
        assert problem.remedy
        assert problem.where
    assert caught.value.exit_code == 2
    return caught.value.problems


def contents(tables: Tables, table: str) -> Rows:
    got = getattr(tables, table)
    assert got is not None
    frame = got.to_pyarrow().to_pylist()
    return sorted(frame, key=lambda row: tuple((v is not None, str(v)) for v in row.values()))


def everything(tables: Tables) -> dict[str, Rows]:
    return {t: contents(tables, t) for t in STANDARD if t in tables.present}


# Refused ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    edit: Callable[[Data], Any]
    code: str
    place: str  # without the file's ending
    count: int | None = None
    row: int | None = None  # the first bad row
    toml: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""


def put(table: str, row: int, **values: Any) -> Callable[[Data], Any]:
    return lambda data: data[table][row].update(values)


def add(table: str, *rows: dict[str, Any]) -> Callable[[Data], Any]:
    return lambda data: data[table].extend(rows)


def drop(table: str) -> Callable[[Data], Any]:
    return lambda data: data.pop(table)


def empty(table: str) -> Callable[[Data], Any]:
    return lambda data: data[table].clear()


def rename(table: str, old: str, new: str) -> Callable[[Data], Any]:
    def edit(data: Data) -> None:
        data[table] = [{new if k == old else k: v for k, v in row.items()} for row in data[table]]

    return edit


def every(table: str, **values: Any) -> Callable[[Data], Any]:
    return lambda data: [row.update(values) for row in data[table]]


TRAIN = {"need_outcomes": True}
NOW = {"now": parse_time("2026-04-02T12:00:00Z")}
VERSIONS = {"observed_at": "2026-03-05T00:00:00Z"}
E1 = GOOD["events"][0]
P2 = GOOD["prospects"][1]

REFUSED = [
    Case("no prospects", drop("prospects"), "missing_table", "prospects"),
    Case("no outcomes to learn from", drop("outcomes"), "missing_table", "outcomes", options=TRAIN),
    Case(
        "columns declared for an absent table",
        drop("accounts"),
        "missing_table",
        "accounts",
        toml='[accounts.columns]\ntier = {kind = "category"}',
        remedy="remove [accounts.columns]",
    ),
    Case("empty prospects", empty("prospects"), "empty_table", "prospects", 0),
    Case(
        "empty outcomes",
        empty("outcomes"),
        "empty_table",
        "outcomes",
        0,
        options=TRAIN,
        remedy="at least 1 prospect must have reached the goal, and 50 make a sound model",
    ),
    Case("a required column missing", rename("events", "type", "kind"), "missing_column", "events: type"),
    Case(
        "a required column in capitals",
        rename("prospects", "created_at", "Created At"),
        "missing_column",
        "prospects: created_at",
        remedy="Rename its column `Created At` to `created_at`.",
    ),
    Case(
        "a declared column missing",
        lambda data: None,
        "missing_column",
        "prospects: origin",
        toml='[prospects.columns]\norigin = {kind = "category"}',
    ),
    Case(
        "an optional column in capitals",
        rename("prospects", "source", "Source"),
        "undeclared_column",
        "prospects: Source",
        remedy="Rename it to `source`.",
    ),
    Case(
        "an undeclared category",
        every("prospects", origin="paid"),
        "undeclared_column",
        "prospects: origin",
        remedy='Add this line to dataset.toml below [prospects.columns]: origin = {kind = "category"}',
    ),
    Case(
        "an undeclared number",
        every("accounts", seats="17.5"),
        "undeclared_column",
        "accounts: seats",
        remedy='seats = {kind = "number"}',
    ),
    Case(
        "an undeclared boolean of a name that TOML must quote",
        every("contacts", **{"opt in?": "True"}),
        "undeclared_column",
        "contacts: opt in?",
        remedy='"opt in?" = {kind = "boolean"}',
    ),
    Case(
        "an undeclared text",
        every("contacts", notes="said that they would call back once the budget has been voted by the board"),
        "undeclared_column",
        "contacts: notes",
        remedy='notes = {kind = "text"}',
    ),
    Case(
        "a column too many in events", every("events", mood="x"), "undeclared_column", "events: mood", remedy="Remove"
    ),
    Case("a name kept for ourselves", every("prospects", valid_from="x"), "undeclared_column", "prospects: valid_from"),
    Case(
        "columns told apart by capitals",
        every("prospects", SOURCE="x"),
        "duplicate_column",
        "prospects: SOURCE",
    ),
    Case("a number in words", put("accounts", 1, headcount="many"), "wrong_type", "accounts: headcount", 1, 2),
    Case("a decimal comma", put("accounts", 1, headcount="2,5"), "wrong_type", "accounts: headcount", 1, 2),
    Case("a number too large", put("accounts", 1, headcount="1e309"), "wrong_type", "accounts: headcount", 1, 2),
    Case("a number that is none", put("accounts", 0, headcount="nan"), "wrong_type", "accounts: headcount", 1, 1),
    Case("infinite headcount", put("accounts", 0, headcount="-inf"), "wrong_type", "accounts: headcount", 1, 1),
    Case("a boolean in doubt", put("accounts", 0, public_body="perhaps"), "wrong_type", "accounts: public_body", 1, 1),
    Case("a value in words", put("events", 2, value="free"), "wrong_type", "events: value", 1, 3),
    Case("a value too large", put("events", 2, value="1000000000.01"), "value_out_of_range", "events: value", 1, 3),
    Case("a value far too small", put("events", 2, value="-1e30"), "value_out_of_range", "events: value", 1, 3),
    Case("a null key", put("prospects", 1, prospect_id=None), "null_key", "prospects: prospect_id", 1, 2),
    Case("empty keys", every("events", event_id=""), "null_key", "events: event_id", 3, 1),
    Case("a blank key", put("events", 2, event_id=" \u00a0\t"), "null_key", "events: event_id", 1, 3),
    Case("a NUL in a key", put("prospects", 2, prospect_id="p\x003"), "bad_text", "prospects: prospect_id", 1, 3),
    Case("a NUL in another's key", put("events", 2, contact_id="\x00"), "bad_text", "events: contact_id", 1, 3),
    Case("a NUL in a category", put("prospects", 1, source="\x00fair"), "bad_text", "prospects: source", 1, 2),
    Case("a NUL in a text", every("contacts", job_title="e\u0301\x00 x"), "bad_text", "contacts: job_title", 2, 1),
    Case("a null prospect", put("events", 1, prospect_id=""), "null_key", "events: prospect_id", 1, 2),
    Case("a contact of no account", put("contacts", 0, account_id=None), "null_key", "contacts: account_id", 1, 1),
    Case("a null event type", put("events", 1, type=" \u00a0"), "null_key", "events: type", 1, 2),
    Case("a null outcome", put("outcomes", 1, outcome=None), "null_key", "outcomes: outcome", 1, 2),
    Case("never created", put("prospects", 2, created_at=None), "null_key", "prospects: created_at", 1, 3),
    Case(
        "no zone",
        put("prospects", 0, created_at="2026-03-01T09:00:00"),
        "zoneless_time",
        "prospects: created_at",
        1,
        1,
        remedy='timezone = "Europe/Paris"',
    ),
    Case("no time", put("outcomes", 0, occurred_at="2026-04-01"), "bad_time", "outcomes: occurred_at", 1, 1),
    Case("no such day", put("events", 1, occurred_at="2026-02-30T00:00:00Z"), "bad_time", "events: occurred_at", 1, 2),
    Case("no such hour", put("events", 1, occurred_at="2026-02-03T24:00:00Z"), "bad_time", "events: occurred_at", 1, 2),
    Case("white space", put("events", 1, occurred_at=" 2026-02-03T04:00:00Z"), "bad_time", "events: occurred_at", 1, 2),
    Case("yesterday", put("events", 1, recorded_at="yesterday"), "bad_time", "events: recorded_at", 1, 2),
    Case("epoch", put("events", 1, occurred_at="1772359200"), "bad_time", "events: occurred_at", 1, 2),
    Case(
        "year 0226", put("prospects", 1, observed_at="0226-01-01T00:00:00Z"), "bad_time", "prospects: observed_at", 1, 2
    ),
    Case(
        "year 2206",
        put("prospects", 1, tender_deadline="2206-01-01T00:00Z"),
        "bad_time",
        "prospects: tender_deadline",
        1,
    ),
    Case(
        "founded in the year 999", put("accounts", 1, founded_on="0999-12-31"), "bad_time", "accounts: founded_on", 1, 2
    ),
    Case("no such founding day", put("accounts", 1, founded_on="2001-02-29"), "bad_time", "accounts: founded_on", 1, 2),
    Case(
        "founded at noon", put("accounts", 1, founded_on="2001-02-28T12:00:00Z"), "bad_time", "accounts: founded_on", 1
    ),
    Case(
        "an unknown role",
        put("contacts", 1, role="Buyer"),
        "unknown_value",
        "contacts: role",
        1,
        2,
        remedy="buyer, pres",
    ),
    Case("an unknown regime", put("prospects", 0, regime="bulk"), "unknown_value", "prospects: regime", 1, 1),
    Case("an unknown approach", put("prospects", 0, approach="b2c"), "unknown_value", "prospects: approach", 1, 1),
    Case("an unknown direction", put("events", 0, direction="in"), "unknown_value", "events: direction", 1, 1),
    Case(
        "won before it came",
        put("outcomes", 0, occurred_at="2026-03-01T08:59:59.999999Z"),
        "outcome_before_creation",
        "outcomes: occurred_at",
        1,
        1,
    ),
    Case(
        "two states at one moment",
        add("accounts", {"account_id": "a2", "country": "AT", "headcount": "1000", "public_body": "0"}),
        "conflicting_versions",
        "accounts: account_id",
        1,
        2,
    ),
    Case(
        "two contact states at one observed_at",
        add(
            "contacts",
            {"contact_id": "c9", "account_id": "a1", "role": "buyer", **VERSIONS},
            {"contact_id": "c9", "account_id": "a1", "role": None, **VERSIONS},
        ),
        "conflicting_versions",
        "contacts: contact_id",
        1,
        3,
    ),
    Case(
        "two prospect states, one by default at its creation",
        add("prospects", {**P2, "source": "phone", "observed_at": "2026-03-02T07:00:00Z"}),
        "conflicting_versions",
        "prospects: prospect_id",
        1,
        2,
    ),
    Case(
        "created twice",
        add("prospects", {**P2, "created_at": "2026-03-02T10:00:00Z", **VERSIONS}),
        "created_at_changes",
        "prospects: created_at",
        1,
        4,
    ),
    Case(
        "one event id, two types", add("events", {**E1, "type": "call"}), "conflicting_event", "events: event_id", 1, 1
    ),
    Case(
        "one event id, value lost", add("events", {**E1, "value": None}), "conflicting_event", "events: event_id", 1, 1
    ),
    Case(
        "one event id, two prospects",
        add("events", {**E1, "prospect_id": "p2"}),
        "conflicting_event",
        "events: event_id",
    ),
    Case(
        "one outcome id, two outcomes",
        every("outcomes", outcome_id="o1"),
        "conflicting_outcome",
        "outcomes: outcome_id",
        1,
        1,
    ),
    Case("no such account", put("prospects", 1, account_id="a9"), "unknown_account", "prospects: account_id", 1, 2),
    Case(
        "an account's name is exact",
        put("prospects", 1, account_id="A2"),
        "unknown_account",
        "prospects: account_id",
        1,
    ),
    Case(
        "created tomorrow",
        put("prospects", 2, created_at="2026-04-02T12:00:00.000001Z"),
        "future_time",
        "prospects: created_at",
        1,
        3,
        options=NOW,
    ),
    Case(
        "observed tomorrow",
        put("accounts", 1, observed_at="2026-04-03T00:00:00Z"),
        "future_time",
        "accounts: observed_at",
        1,
        2,
        options=NOW,
    ),
    Case(
        "lost tomorrow",
        put("outcomes", 1, occurred_at="2026-04-03T00:00Z"),
        "future_time",
        "outcomes: occurred_at",
        1,
        2,
        options=NOW,
    ),
    Case(
        "recorded tomorrow",
        put("events", 0, recorded_at="2026-05-01T00:00:00Z"),
        "future_time",
        "events: recorded_at",
        1,
        1,
        options=NOW,
    ),
    Case("settings out of TOML", lambda data: None, "bad_dataset_toml", "dataset.toml", toml="timezone = "),
    Case("an unknown setting", lambda data: None, "unknown_setting", "dataset.toml", toml="zone = 'UTC'"),
    Case(
        "declared names told apart by capitals",
        lambda data: None,
        "bad_column",
        "dataset.toml: [prospects.columns]",
        toml='[prospects.columns]\nSource = {kind = "category"}',
    ),
    Case(
        "a declared name that is kept",
        lambda data: None,
        "bad_column",
        "dataset.toml: [prospects.columns]",
        toml='[prospects.columns]\nvalid_to = {kind = "category"}',
    ),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.name)
def test_refused(case: Case, form: str, tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    case.edit(data)
    folder = write(tmp_path / "data", data, form, case.toml)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    problems = refused(lambda: read_tables(folder, **case.options))
    table, colon, column = case.place.partition(":")
    file = f"{table}.{form}" if table in STANDARD and case.code != "missing_table" else table
    found = [p for p in problems if p.code == case.code]
    assert [p.where for p in found] == [file + colon + column], [str(p) for p in problems]
    assert len(problems) == 1 or case.name in ("a required column missing",), [str(p) for p in problems]
    assert case.remedy in found[0].remedy
    details = found[0].details
    if case.count is not None:
        assert details["count"] == case.count
        assert details["file"] == file
        assert details["table"] == table
    if column:
        assert details.get("column", column.strip()) == column.strip()
    if case.row is not None:
        assert details["rows"][0]["row"] == case.row
        assert f"row {case.row}" in found[0].message
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_every_finding_is_told_at_once_with_its_first_rows(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    data["events"] += [
        {"event_id": f"x{i}", "prospect_id": "p1", "type": "call", "occurred_at": "soon"} for i in range(7)
    ]
    data["contacts"][0]["role"] = "boss"
    data["prospects"][0]["account_id"] = "a7"
    data["prospects"][2]["created_at"] = "2026-03-03T09:00:00"
    data["outcomes"][0]["occurred_at"] = "2026-02-01T00:00:00Z"
    del data["outcomes"][0]["outcome"], data["outcomes"][1]["outcome"]
    problems = refused(lambda: read_tables(write(tmp_path / "d", data), need_outcomes=True))
    assert sorted(p.code for p in problems) == sorted(
        ("bad_time", "unknown_value", "unknown_account", "missing_column", "zoneless_time", "outcome_before_creation")
    )
    (times,) = (p for p in problems if p.code == "bad_time")
    assert times.details["count"] == 7
    assert times.details["rows"] == [{"row": 4 + i, "key": f"x{i}", "value": "soon"} for i in range(5)]
    assert times.message.startswith("7 values are ")
    (account,) = (p for p in problems if p.code == "unknown_account")
    assert account.details["rows"] == [{"row": 1, "key": "p1", "value": "a7"}]


def test_a_difference_is_named(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    data["events"].append({**E1, "type": "call", "value": "13"})
    (problem,) = refused(lambda: read_tables(write(tmp_path / "d", data)))
    assert "differ in type, value" in problem.message
    assert [r["row"] for r in problem.details["rows"]] == [1, 4]
    assert problem.details["rows"][1] == {"row": 4, "key": "e1", "value": "type=call, value=13.0"}


# Files that are none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no header"),
        (b"prospect_id,created_at\np1,2026-03-01T09:00:00Z,x\n", "has 3 fields where the header has 2 (line 2)"),
        (b"prospect_id,created_at\np1\n", "has 1 field where the header has 2 (line 2)"),
        (b'prospect_id,created_at\np1,"2026-03-01T09:00:00Z\n', "never closed (line 2)"),
        (b"prospect_id,created_at,source\np1,2026-03-01T09:00:00Z,caf\xe9\n", "is not UTF-8"),
        (
            b"prospect_id,created_at,source\n" + b"p1,2026-03-01T09:00:00Z,x\n" * 5000 + b"p,,\xe9\n",
            "UTF-8 (line 5002)",
        ),
        ("prospect_id,created_at\n".encode("utf-16"), "UTF-16"),
        (b"prospect_id,created_at\np1,2026-03-01T09:00:00Z\np2,2026-03-01T09:00:00Z\r\n", "line ends are mixed"),
    ],
)
def test_unreadable_csv(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "prospects.csv").write_bytes(content)
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert (problem.code, problem.where) == ("unreadable_file", "prospects.csv")
    assert says in problem.message
    assert str(tmp_path) not in str(problem)


def test_unreadable_parquet(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "parquet")
    good = (tmp_path / "events.parquet").read_bytes()
    for content in (b"", b"event_id,type\n", good[:-40], good[:60] + b"\xff" * 60 + good[120:]):
        (tmp_path / "events.parquet").write_bytes(content)
        (problem,) = refused(lambda: read_tables(tmp_path))
        assert (problem.code, problem.where) == ("unreadable_file", "events.parquet")
        assert str(tmp_path) not in str(problem)
    (tmp_path / "events.parquet").write_bytes(good)
    bad_text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("ii", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"account_id": ["a1"], "country": bad_text}), tmp_path / "accounts.parquet")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert (problem.code, problem.where) == ("unreadable_file", "accounts.parquet")
    assert "UTF-8" in problem.message


def test_a_name_that_the_engine_needs(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prospect_id": ["p1"], "file_row_number": [1]}), tmp_path / "prospects.parquet")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert (problem.code, problem.where) == ("unreadable_file", "prospects.parquet")
    assert "file_row_number" in problem.message


def test_unreadable_files_do_not_hide_the_other_findings(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    data["prospects"][0]["regime"] = "bulk"
    write(tmp_path, data)
    (tmp_path / "accounts.csv").write_bytes(b"\xff\xfe")
    assert {p.code for p in refused(lambda: read_tables(tmp_path))} == {"unreadable_file", "unknown_value"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("event.csv", "events"),
        ("Prospects.CSV", "prospects"),
        ("events_2024.csv", "events"),
        ("outcomes (1).csv", "outcomes"),
        ("acounts.parquet", "accounts"),
        ("contacts.csv.gz", "contacts"),
        ("outcomes.xlsx", "outcomes"),
        ("Dataset.toml", "dataset.toml"),
    ],
)
def test_a_file_that_looks_like_ours(name: str, meant: str, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / name).write_bytes(b"")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert (problem.code, problem.where) == ("unknown_file", name)
    assert meant in problem.remedy


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    for name in ("README.md", "invoices.csv", "notes.txt", ".events.csv.swp", "event_types.md", "pricing.parquet"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "archive").mkdir()
    assert read_tables(tmp_path).rows["events"] == 3


def test_a_folder_of_parts_is_not_overlooked(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "events.csv").unlink()
    (tmp_path / "events").mkdir()
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert problem.code == "unknown_file"
    (tmp_path / "events").rename(tmp_path / "events.parquet")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert problem.code == "unreadable_file"


def test_both_forms_of_a_table(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, {"events": GOOD["events"]}, "parquet")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert (problem.code, problem.where) == ("duplicate_table", "events")


def test_no_folder(tmp_path: Path) -> None:
    (problem,) = refused(lambda: read_tables(tmp_path / "nowhere"))
    assert problem.code == "missing_folder"
    (problem,) = refused(lambda: read_tables(write(tmp_path / "data", {})))
    assert problem.code == "missing_table"


def test_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "prospects.csv").write_text("prospect_id,created_at,source,source\np1,2026-03-01T09:00:00Z,a,b\n")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert (problem.code, problem.where) == ("duplicate_column", "prospects.csv: source")
    (tmp_path / "prospects.csv").unlink()
    arrays = [pa.array(["p1"]), pa.array(["2026-03-01T09:00:00Z"]), pa.array(["a"]), pa.array(["b"])]
    names = ["prospect_id", "created_at", "source", "source"]
    pq.write_table(pa.Table.from_arrays(arrays, names=names), tmp_path / "prospects.parquet")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert (problem.code, problem.where) == ("duplicate_column", "prospects.parquet: source")


def test_a_column_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "prospects.csv").write_text(",prospect_id,created_at\n0,p1,2026-03-01T09:00:00Z\n")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert problem.code == "undeclared_column"
    assert "index=False" in problem.remedy


# Types of Parquet ---------------------------------------------------------------------------------------------------


def parquet_prospects(folder: Path, **columns: pa.Array) -> Path:
    folder.mkdir(exist_ok=True)
    n = len(next(iter(columns.values())))
    base = {
        "prospect_id": pa.array([f"p{i}" for i in range(n)]),
        "created_at": pa.array([datetime(2026, 3, 1, tzinfo=UTC)] * n, pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table({**base, **columns}), folder / "prospects.parquet")
    return folder


DECLARED = """
[prospects.columns]
seats = {kind = "number"}
hot = {kind = "boolean"}
memo = {kind = "text"}
"""


@pytest.mark.parametrize(
    ("column", "array", "code", "count"),
    [
        ("seats", pa.array([True, None]), "wrong_type", 1),
        ("seats", pa.array([1.0, float("nan")]), "wrong_type", 1),
        ("seats", pa.array([1.0, float("inf")], pa.float32()), "wrong_type", 1),
        ("seats", pa.array([[1], [2]]), "wrong_type", 2),
        ("hot", pa.array([2, 1]), "wrong_type", 1),
        ("hot", pa.array([date(2026, 1, 1), None]), "wrong_type", 1),
        ("prospect_id", pa.array([1.0, 2.0]), "wrong_type", 2),
        ("prospect_id", pa.array([1, None]), "null_key", 1),
        ("source", pa.array([1.5, 2.5]), "wrong_type", 2),
        ("source", pa.array([True, False]), "wrong_type", 2),
        ("memo", pa.array([{"a": 1}, {"a": 2}]), "wrong_type", 2),
        ("regime", pa.array([1, 2]), "wrong_type", 2),
        ("created_at", pa.array([1, 2]), "wrong_type", 2),
        ("created_at", pa.array([datetime(2026, 1, 1)] * 2, pa.timestamp("us")), "zoneless_time", 2),
        ("created_at", pa.array([datetime(2026, 1, 1)] * 2, pa.timestamp("ns")), "zoneless_time", 2),
        ("created_at", pa.array([datetime(2026, 1, 1)] * 2, pa.timestamp("ms")), "zoneless_time", 2),
        ("created_at", pa.array([date(2026, 1, 1)] * 2), "bad_time", 2),
        ("created_at", pa.array([datetime(1899, 12, 31, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")), "bad_time", 2),
        ("created_at", pa.array([2**62, 2**62], pa.timestamp("us", "UTC")), "bad_time", 2),
    ],
)
def test_types_refused(column: str, array: pa.Array, code: str, count: int, tmp_path: Path) -> None:
    more = {"seats": pa.nulls(2), "hot": pa.nulls(2), "memo": pa.nulls(2), column: array}
    folder = parquet_prospects(tmp_path, **more)
    (folder / "dataset.toml").write_text(DECLARED)
    (problem,) = refused(lambda: read_tables(folder))
    assert (problem.code, problem.where) == (code, f"prospects.parquet: {column}")
    assert problem.details["count"] == count


@pytest.mark.parametrize(
    ("column", "array", "expected"),
    [
        ("seats", pa.array([7, None], pa.int8()), [7.0, None]),
        ("seats", pa.array([7, None], pa.uint64()), [7.0, None]),
        ("seats", pa.array([0.5, None], pa.float32()), [0.5, None]),
        ("seats", pa.array([Decimal("1.25"), None], pa.decimal128(10, 4)), [1.25, None]),
        ("seats", pa.array([" 1.5e2 ", ""]), [150.0, None]),
        ("hot", pa.array([1, 0], pa.int64()), [True, False]),
        ("hot", pa.array([1.0, None]), [True, None]),
        ("hot", pa.array(["Yes", "F"]), [True, False]),
        ("source", pa.array(["web", None]).dictionary_encode(), ["web", None]),
        ("source", pa.array([b"web", b" "]), ["web", None]),
        ("source", pa.array([6201, None]), ["6201", None]),
        ("source", pa.array(["web", ""], pa.large_string()), ["web", None]),
        ("memo", pa.array([date(2026, 1, 1), None]), ["2026-01-01", None]),
        ("regime", pa.array(["mass", None]).dictionary_encode(), ["mass", None]),
        ("account_id", pa.array([12, None]), ["12", None]),
        ("account_id", pa.array([" 12 ", ""]), [" 12 ", None]),
        ("tender_deadline", pa.nulls(2), [None, None]),
        ("tender_deadline", pa.array([1.0, None]).take(pa.array([1, 1])), [None, None]),
        ("tender_deadline", pa.array([1, -1], pa.timestamp("s", "UTC")), [MICRO, -MICRO]),
        ("tender_deadline", pa.array([1, -1], pa.timestamp("ms", "Europe/Paris")), [1000, -1000]),
        ("tender_deadline", pa.array([1999, -1], pa.timestamp("ns", "UTC")), [1, -1]),
        ("tender_deadline", pa.array([-1000, -1001], pa.timestamp("ns", "UTC")), [-1, -2]),
    ],
)
def test_types_accepted(column: str, array: pa.Array, expected: list[Any], tmp_path: Path) -> None:
    more = {"seats": pa.nulls(2), "hot": pa.nulls(2), "memo": pa.nulls(2), column: array}
    folder = parquet_prospects(tmp_path, **more)
    (folder / "dataset.toml").write_text(DECLARED)
    tables = read_tables(folder)
    assert [row[column] for row in sorted(contents(tables, "prospects"), key=lambda r: r["prospect_id"])] == expected


def test_zoneless_columns_are_read_in_the_zone_of_the_settings(tmp_path: Path) -> None:
    noon = {"summer": datetime(2026, 7, 1, 12), "winter": datetime(2026, 1, 1, 12)}
    for unit in ("us", "ns", "ms"):
        array = pa.array(list(noon.values()), pa.timestamp(unit))
        folder = parquet_prospects(tmp_path / unit, tender_deadline=array)
        (folder / "dataset.toml").write_text('timezone = "Europe/Paris"')
        got = [row["tender_deadline"] for row in contents(read_tables(folder), "prospects")]
        assert got == [parse_time("2026-07-01T10:00:00Z"), parse_time("2026-01-01T11:00:00Z")]
    old = parquet_prospects(tmp_path / "old", tender_deadline=pa.array([-1_500], pa.timestamp("ns")))
    (old / "dataset.toml").write_text('timezone = "Europe/Paris"')
    assert [row["tender_deadline"] for row in contents(read_tables(old), "prospects")] == [-3_600_000_000 - 2]
    text = deepcopy(GOOD)
    text["prospects"][0]["tender_deadline"] = "2026-07-01 12:00:00.1234567"
    text["prospects"][1]["tender_deadline"] = "2026-07-01 12:00:00.1234567-01:00"
    tables = read_tables(write(tmp_path / "text", text, toml='timezone = "Europe/Paris"'))
    got = {row["prospect_id"]: row["tender_deadline"] for row in contents(tables, "prospects")}
    assert got["p1"] == parse_time("2026-07-01T10:00:00.123456Z")
    assert got["p2"] == parse_time("2026-07-01T13:00:00.123456Z")


# Noticed and counted ------------------------------------------------------------------------------------------------


def noted(tables: Tables) -> dict[str, tuple[int, str]]:
    assert all(n.text.endswith(".") and str(n.count) in n.text for n in tables.notes)
    return {n.code: (n.count, n.where) for n in tables.notes}


@pytest.mark.parametrize("form", FORMS)
def test_nothing_to_note(form: str, tmp_path: Path) -> None:
    tables = read_tables(write(tmp_path, GOOD, form), need_outcomes=True)
    assert tables.notes == ()
    assert tables.rows == {"prospects": 3, "accounts": 2, "contacts": 2, "events": 3, "outcomes": 2}


@pytest.mark.parametrize("form", FORMS)
def test_noted(form: str, tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    late = "2026-03-04T00:00:00Z"
    data["events"] += [
        {**E1, "recorded_at": "2026-03-02T10:00:04Z"},  # the same, recorded earlier
        {**E1, "recorded_at": late, "type": " page_view", "value": "12.50"},  # the same once cleaned
        {"event_id": "e8", "prospect_id": "p8", "type": "call", "occurred_at": late},
        {"event_id": "e8", "prospect_id": "p8", "type": "call", "occurred_at": late},
        {"event_id": "e9", "prospect_id": "p1", "type": "call", "occurred_at": "2026-04-01T00:00:00.000001Z"},
        {"event_id": "e10", "prospect_id": "p1", "type": "call", "occurred_at": "2026-04-01T00:00:00Z"},
    ]
    data["outcomes"] += [
        {"prospect_id": "p8", "outcome": "won", "occurred_at": late, "recorded_at": "2026-12-04T00:00:00Z"},
        {"prospect_id": "p3", "outcome": "won", "occurred_at": late, "recorded_at": "2026-03-05T12:00:00Z"},
        {"prospect_id": "p3", "outcome": "expanded", "occurred_at": late, "recorded_at": "2026-03-05T00:00:00Z"},
        {"prospect_id": "p1", "outcome": "won", "occurred_at": "2026-04-01T00:00:00Z"},
    ]
    data["contacts"].append({"contact_id": "c7", "account_id": "a7"})
    data["accounts"].append(dict(data["accounts"][0]))
    tables = read_tables(write(tmp_path, data, form))
    texts = {n.code: n for n in tables.notes}
    repeats = {n.where: n.count for n in tables.notes if n.code == "identical_repeats"}
    assert repeats == {f"accounts.{form}": 1, f"events.{form}": 3, f"outcomes.{form}": 1}
    assert {c: v for c, v in noted(tables).items() if c != "identical_repeats"} == {
        "orphan_events": (1, f"events.{form}: prospect_id"),
        "orphan_outcomes": (1, f"outcomes.{form}: prospect_id"),
        "orphan_contacts": (1, f"contacts.{form}: account_id"),
        "late_outcomes": (1, f"outcomes.{form}: recorded_at"),
        "events_after_close": (1, f"events.{form}: occurred_at"),
    }
    assert "median 1.5 days" in texts["late_outcomes"].text
    events = {row["event_id"]: row for row in contents(tables, "events")}
    assert set(events) == {"e1", "e2", "e3", "e9", "e10"}
    assert events["e1"]["recorded_at"] == parse_time("2026-03-02T10:00:04Z")
    assert {row["prospect_id"] for row in contents(tables, "outcomes")} == {"p1", "p2", "p3"}
    assert "c7" in {row["contact_id"] for row in contents(tables, "contacts")}
    assert tables.rows == {"prospects": 3, "accounts": 2, "contacts": 3, "events": 5, "outcomes": 4}


def test_after_close_follows_the_goal(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    call = {"prospect_id": "p1", "type": "call"}
    data["events"] += [
        {"event_id": "e8", "occurred_at": "2026-04-10T00:00:00Z", **call},
        {"event_id": "e9", "occurred_at": "2026-06-10T00:00:00Z", **call},
    ]
    data["outcomes"] += [
        {"prospect_id": "p1", "outcome": "lost", "occurred_at": "2026-03-20T00:00:00Z"},
        {"prospect_id": "p1", "outcome": "renewed", "occurred_at": "2026-05-01T00:00:00Z"},
    ]
    assert noted(read_tables(write(tmp_path, data)))["events_after_close"][0] == 2
    renewal = '[goal]\noutcome = "renewed"\nstarts_at = "won"\n'
    assert noted(read_tables(write(tmp_path, data, toml=renewal)))["events_after_close"][0] == 1


def test_observed_before_creation_is_noted(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    data["prospects"][0]["observed_at"] = "2026-02-20T00:00:00Z"
    data["prospects"][1]["observed_at"] = data["prospects"][1]["created_at"]
    for form in FORMS:
        tables = read_tables(write(tmp_path / form, data, form))
        assert noted(tables) == {"observed_before_creation": (1, f"prospects.{form}: observed_at")}
        assert "1 row was observed before" in tables.notes[0].text


def test_a_goal_that_never_occurs_is_noted(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    for row, outcome in zip(data["outcomes"], ("Closed Won", "Closed Lost"), strict=True):
        row["outcome"] = outcome
    data["outcomes"].append({**data["outcomes"][1], "occurred_at": "2026-05-01T00:00:00Z"})
    (note,) = read_tables(write(tmp_path / "a", data)).notes
    assert (note.code, note.count, note.where) == ("goal_never_occurs", 3, "outcomes.csv: outcome")
    assert "of 3 outcomes none is 'won'" in note.text
    assert "there are 'Closed Lost' (2), 'Closed Won' (1)" in note.text
    assert 'write outcome = "Closed Won" below [goal]' in note.text
    renewal = '[goal]\noutcome = "Closed Lost"\nstarts_at = "closed  won"\n'
    (note,) = read_tables(write(tmp_path / "b", data, toml=renewal)).notes
    assert note.code == "start_never_occurs"
    assert 'write starts_at = "Closed Won"' in note.text
    assert read_tables(write(tmp_path / "c", data, toml='[goal]\noutcome = "Closed Won"')).notes == ()
    data["outcomes"] = [{**data["outcomes"][0], "outcome": f"stage {i}"} for i in range(7)]
    (note,) = read_tables(write(tmp_path / "d", data)).notes
    assert "'stage 4' (1) and 2 others; for the commonest, write" in note.text
    data["outcomes"].clear()
    assert read_tables(write(tmp_path / "e", data)).notes == ()


# The end of the data ------------------------------------------------------------------------------------------------


def with_end(end: str) -> str:
    return f'complete_until = "{end}"'


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        ("2026-04-02T12:00:00.000001Z", "future_time", "later than now, 2026-04-02T12:00:00Z"),
        ("2026-03-01T08:59:59Z", "empty_span", "before the first prospect, 2026-03-01T09:00:00Z"),
    ],
)
def test_an_end_that_the_data_cannot_have(end: str, code: str, says: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "data", GOOD, toml=with_end(end))
    (problem,) = refused(lambda: read_tables(folder, **NOW))
    assert (problem.code, problem.where) == (code, "dataset.toml: complete_until")
    assert says in problem.message
    frames = {t: pd.DataFrame(rows) for t, rows in GOOD.items()}
    (problem,) = refused(lambda: tables_from_frames(frames, Dataset(complete_until=parse_time(end)), **NOW))
    assert problem.code == code
    tables = read_tables(write(tmp_path / "good", GOOD))
    with pytest.raises(BadInput) as caught:
        check_until(tables, parse_time(end), NOW["now"])
    assert (caught.value.code, caught.value.where) == (code, "--until")
    assert says in caught.value.message
    assert caught.value.remedy


def test_an_end_that_the_data_can_have(tmp_path: Path) -> None:
    for end in ("2026-04-02T12:00:00Z", "2026-03-01T09:00:00Z"):
        tables = read_tables(write(tmp_path / end, GOOD, toml=with_end(end)), **NOW)
        assert tables.until == parse_time(end)
        check_until(tables, parse_time(end), NOW["now"])
    later = parse_time("2099-01-01T00:00:00Z")
    assert read_tables(write(tmp_path / "later", GOOD, toml=with_end("2099-01-01T00:00:00Z"))).until == later
    check_until(tables, later)
    # Observed only after their creation, the prospects are not known before.
    data = deepcopy(GOOD)
    for row in data["prospects"]:
        row["observed_at"] = "2026-04-01T00:00:00Z"
    folder = write(tmp_path / "observed", data, toml=with_end("2026-03-20T00:00:00Z"))
    assert [p.code for p in refused(lambda: read_tables(folder))] == ["empty_span"]


def test_a_quiet_end_is_noted(tmp_path: Path) -> None:
    def notes(name: str, data: Data, end: str) -> dict[str, tuple[int, str]]:
        return noted(read_tables(write(tmp_path / name, data, toml=with_end(end))))

    quiet = "dataset.toml: complete_until"
    assert notes("month", GOOD, "2026-06-02T00:00:00Z") == {"quiet_end": (61, quiet)}
    assert notes("tenth", GOOD, "2026-04-06T00:00:00Z") == {"quiet_end": (4, quiet)}  # of 36 days
    assert notes("short", GOOD, "2026-04-05T00:00:00Z") == {}
    data = deepcopy(GOOD)
    data["prospects"][0]["created_at"] = "2020-01-01T00:00:00Z"
    assert notes("long", data, "2026-05-02T00:00:00Z") == {}
    assert notes("longer", data, "2026-05-03T00:00:00Z") == {"quiet_end": (31, quiet)}
    data["accounts"][0]["observed_at"] = "2026-04-20T00:00:00Z"  # a state speaks too
    assert notes("states", data, "2026-05-03T00:00:00Z") == {}
    assert notes("after", data, "2026-03-10T00:00:00Z") == {}  # records after the end are no silence


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2025-01-01", "2025-01-01T00:00:00Z"),
        ("2025-01-01T09:00:00Z", "2025-01-01T09:00:00Z"),
        ("2025-01-01 09:00:00.25+02:00", "2025-01-01T07:00:00.25Z"),
    ],
)
def test_an_end_in_toml_is_read_as_in_quotes(written: str, read: str) -> None:
    for text in (written, f'"{written}"'):
        assert parse_dataset(f"complete_until = {text}").complete_until == parse_time(read)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("0200-01-01", "outside the years 1900 to 2100"),
        ("2200-01-01T00:00:00Z", "outside the years 1900 to 2100"),
        ("2025-01-01T09:00:00", "no zone"),
        ("09:00:00", "`09:00:00` is no time"),
        ("20250101", "`20250101` is no time"),
    ],
)
def test_an_end_in_toml_that_is_none(written: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_dataset(f"complete_until = {written}")
    assert (caught.value.code, caught.value.where) == ("bad_time", "dataset.toml: complete_until")
    assert says in caught.value.message


def test_the_horizon_of_the_rest_is_named() -> None:
    with pytest.raises(BadInput) as caught:
        parse_dataset("[goal]\nhorizon_days = {default = 90}")
    assert 'the key "" for the horizon of the rest' in caught.value.remedy
    goal = parse_dataset('[goal]\nhorizon_days = {mass = 30, "" = 90}').goal
    assert (goal.horizon("mass"), goal.horizon("project"), goal.horizon()) == (30, 90, 90)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ('{kind = "time"}', "`due` has 'time' as its kind, which is none that a column may have."),
        ('{known = "never"}', "`due` needs a kind."),
        ('"category"', "`due` needs a kind."),
        ('{kind = "text", nown = "never"}', "`due` has a setting 'nown' that is none of ours."),
    ],
)
def test_what_is_wrong_with_a_declared_column_is_said_as_it_is(entry: str, wrong: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_dataset(f"[prospects.columns]\ndue = {entry}")
    assert (caught.value.code, caught.value.message) == ("bad_column", wrong)
    assert "kinds: category, number, boolean, text" in caught.value.remedy


@pytest.mark.parametrize("name", ["", "  ", "\t\n", "\x01\x02", "\u200b", "a\x00b"])
def test_a_declared_column_without_a_name(name: str, tmp_path: Path) -> None:
    text = f"[prospects.columns]\n{json.dumps(name)} = {{kind = 'category'}}"
    (problem,) = refused(lambda: read_tables(write(tmp_path, GOOD, toml=text)))
    assert (problem.code, problem.where) == ("bad_column", "dataset.toml: [prospects.columns]")
    assert "name" in problem.remedy


def test_a_declared_name_may_hold_a_line_end(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    for row in data["prospects"]:
        row["Annual\nbudget \x01'\""] = "12"
    toml = '[prospects.columns]\n"Annual\\nbudget \\u0001\'\\"" = {kind = "number"}'
    for form in FORMS:
        rows = contents(read_tables(write(tmp_path / form, data, form, toml)), "prospects")
        assert [row["Annual\nbudget \x01'\""] for row in rows] == [12.0] * 3


# The canonical tables -----------------------------------------------------------------------------------------------


def test_canonical_tables(tmp_path: Path) -> None:
    tables = read_tables(write(tmp_path, GOOD))
    (p1, _, p3) = sorted(contents(tables, "prospects"), key=lambda r: r["prospect_id"])
    created = parse_time("2026-03-01T09:00:00Z")
    assert p1 == {
        "prospect_id": "p1",
        "created_at": created,
        "observed_at": None,
        "account_id": "a1",
        "source": "web",
        "regime": "mass",
        "approach": "b2b",
        "tender_deadline": parse_time("2027-01-01T00:00:00Z"),
        "tender_announced_at": None,
        "valid_from": created,
        "valid_to": NEVER,
    }
    assert p3["account_id"] is None
    (a1, a2) = sorted(contents(tables, "accounts"), key=lambda r: r["account_id"])
    assert (a1["headcount"], a1["public_body"], a1["founded_on"]) == (25.0, True, parse_date("1999-05-01"))
    assert (a2["headcount"], a2["public_body"], a2["founded_on"], a2["valid_from"]) == (1000.0, False, None, ALWAYS)
    e1 = contents(tables, "events")[0]
    assert (e1["value"], e1["recorded_at"]) == (12_500_000, parse_time("2026-03-02T10:00:05Z"))
    won = contents(tables, "outcomes")[0]
    closed = parse_time("2026-04-01T00:00:00Z")
    assert won == {
        "prospect_id": "p1",
        "outcome": "won",
        "occurred_at": closed,
        "recorded_at": closed,
        "outcome_id": f"p1|won|{closed}",
    }
    types = {t: dict(getattr(tables, t).schema().items()) for t in STANDARD}
    kinds = {"number": "float64", "boolean": "boolean", "time": "int64", "date": "int64", "value": "int64"}
    for table, columns in STANDARD.items():
        assert {c.name: str(types[table][c.name]) for c in columns} == {
            c.name: kinds.get(c.kind, "string") for c in columns
        }
    assert tables.present["outcomes"] == ("prospect_id", "outcome", "occurred_at", "recorded_at")
    made = tables.connection.con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert sorted(name for (name,) in made) == sorted(STANDARD)


def test_absent_tables_are_none_and_empty_ones_are_empty(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    data["events"].clear()
    del data["accounts"], data["contacts"], data["outcomes"]
    for form in FORMS:
        tables = read_tables(write(tmp_path / form, data, form))
        assert (tables.accounts, tables.contacts, tables.outcomes) == (None, None, None)
        assert contents(tables, "events") == []
        assert set(tables.present) == set(tables.rows) == {"prospects", "events"}


def test_versions(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    t1, t2 = "2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z"
    first = data["accounts"][0]
    data["accounts"] += [
        {**first, "headcount": "30", "observed_at": t2},
        {**first, "headcount": "28", "observed_at": t1},
        {**first, "headcount": "28.0", "observed_at": "2026-03-05T01:00:00+01:00"},
    ]
    data["prospects"].append({**data["prospects"][0], "source": None, "observed_at": t1})
    for form in FORMS:
        tables = read_tables(write(tmp_path / form, data, form))
        rows = [r for r in contents(tables, "accounts") if r["account_id"] == "a1"]
        assert sorted((r["valid_from"], r["valid_to"], r["headcount"]) for r in rows) == [
            (ALWAYS, parse_time(t1), 25.0),
            (parse_time(t1), parse_time(t2), 28.0),
            (parse_time(t2), NEVER, 30.0),
        ]
        rows = [r for r in contents(tables, "prospects") if r["prospect_id"] == "p1"]
        created = parse_time("2026-03-01T09:00:00Z")
        assert sorted((r["valid_from"], r["valid_to"], r["source"]) for r in rows) == [
            (created, parse_time(t1), "web"),
            (parse_time(t1), NEVER, None),
        ]


def test_declared_columns(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    for row, origin in zip(data["prospects"], ("e\u0301t\u00e9 ", "", None), strict=True):
        row.update(origin=origin, **{"lead quality": "0.5"}, hot="T")
    toml = """
    [prospects.columns]
    origin = {kind = "category"}
    "lead quality" = {kind = "number", known = "never"}
    hot = {kind = "boolean"}
    [contacts.columns]
    job_title = {known = "never"}
    [accounts.columns]
    legal_form = {known = "never"}
    """
    for form in FORMS:
        tables = read_tables(write(tmp_path / form, data, form, toml))
        rows = sorted(contents(tables, "prospects"), key=lambda r: r["prospect_id"])
        assert [r["origin"] for r in rows] == ["\u00e9t\u00e9", None, None]
        assert {(r["lead quality"], r["hot"]) for r in rows} == {(0.5, True)}
        assert tables.present["prospects"][-3:] == ("origin", "lead quality", "hot")


def typed(data: Data) -> dict[str, pa.Table]:
    """The data as a warehouse would write it: each column of the type of its kind."""
    out = {}
    for table, rows in data.items():
        arrays = {}
        for name in columns_of(rows):
            kind = Dataset().columns(table)[name].kind
            cells = [row.get(name) or None for row in rows]
            if kind == "time":
                micros = [None if c is None else parse_time(c) for c in cells]
                arrays[name] = pa.array(micros, pa.timestamp("us", "UTC"))
            elif kind in ("number", "value"):
                arrays[name] = pa.array([None if c is None else float(c) for c in cells])
            elif kind == "boolean":
                arrays[name] = pa.array([None if c is None else c in ("true", "yes", "1") for c in cells])
            elif kind == "date":
                arrays[name] = pa.array([None if c is None else date.fromisoformat(c) for c in cells])
            else:
                arrays[name] = pa.array(cells, pa.string())
        out[table] = pa.table(arrays)
    return out


def test_one_content_in_every_form(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    data["prospects"][0]["created_at"] = "1969-12-31T23:59:59.999999Z"  # before 1970
    data["prospects"][1]["tender_deadline"] = "2026-12-31T23:59:59.999999+01:00"  # the end of a day
    data["events"][1]["value"] = "-0.000001"
    data["events"][2]["value"] = "999999999.999999"
    data["accounts"][1]["headcount"] = "0.1"
    from_csv = everything(read_tables(write(tmp_path / "csv", data)))
    from_text = everything(read_tables(write(tmp_path / "text", data, "parquet")))
    frames = typed(data)
    (tmp_path / "typed").mkdir()
    for table, frame in frames.items():
        pq.write_table(frame, tmp_path / "typed" / f"{table}.parquet")
    from_typed = everything(read_tables(tmp_path / "typed"))
    from_arrow = everything(tables_from_frames(frames))
    from_pandas = everything(tables_from_frames({t: f.to_pandas() for t, f in frames.items()}))
    from_objects = everything(
        tables_from_frames({t: pd.DataFrame(rows, dtype=object) for t, rows in data.items()}, Dataset())
    )
    assert from_csv == from_text == from_typed == from_arrow == from_pandas == from_objects
    assert from_csv["prospects"][0]["valid_from"] == -1


@pytest.mark.parametrize(
    "text",
    [
        "prospect_id;created_at;source\np1;2026-03-01T09:00:00Z;a,b\n",
        "prospect_id\tcreated_at\tsource\np1\t2026-03-01T09:00:00Z\ta,b\n",
        '\ufeffprospect_id,created_at,source\r\np1,2026-03-01T09:00:00Z,"a,b"\r\n',
        '"prospect_id","source","created_at"\n\n"p1","a,b","2026-03-01T09:00:00Z"',
    ],
)
def test_csv_dialects(text: str, tmp_path: Path) -> None:
    (tmp_path / "prospects.csv").write_bytes(text.encode())
    (row,) = contents(read_tables(tmp_path), "prospects")
    assert (row["prospect_id"], row["source"]) == ("p1", "a,b")


def test_csv_quoted_fields_keep_their_line_ends_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    rows = [f'c{i},a1,"line one\nline ""two"""' for i in range(5000)]
    (tmp_path / "contacts.csv").write_text("contact_id,account_id,job_title\n" + "\n".join(rows) + "\n")
    (tmp_path / "prospects.csv").write_text("prospect_id,created_at\np1,2026-03-01T09:00:00Z\n")
    tables = read_tables(tmp_path)
    assert {r["job_title"] for r in contents(tables, "contacts")} == {'line one\nline "two"'}
    rows[4711] = ",a1,x"
    (tmp_path / "contacts.csv").write_text("contact_id,account_id,job_title\n" + "\n".join(rows) + "\n")
    (problem,) = refused(lambda: read_tables(tmp_path))
    assert problem.details["rows"] == [{"row": 4712, "key": None, "value": None}]


def test_a_folder_of_a_difficult_name(tmp_path: Path) -> None:
    for form in FORMS:
        folder = write(tmp_path / f"it's [1]* {form}?", GOOD, form)
        assert read_tables(folder).rows["prospects"] == 3


def test_until(tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    assert read_tables(write(tmp_path / "a", data)).until == parse_time("2026-04-02T00:00:00Z")
    data["events"][0]["recorded_at"] = "2026-05-01T00:00:00Z"
    assert read_tables(write(tmp_path / "b", data)).until == parse_time("2026-05-01T00:00:00Z")
    toml = 'complete_until = "2026-04-20T00:00:00Z"'
    assert read_tables(write(tmp_path / "c", data, toml=toml)).until == parse_time("2026-04-20T00:00:00Z")
    del data["events"], data["outcomes"]
    assert read_tables(write(tmp_path / "d", data)).until == parse_time("2026-03-03T09:00:00Z")
    data["accounts"][0]["observed_at"] = "2026-03-09T00:00:00Z"
    assert read_tables(write(tmp_path / "e", data)).until == parse_time("2026-03-09T00:00:00Z")


def test_digest(tmp_path: Path) -> None:
    first = read_tables(write(tmp_path / "a", GOOD)).digest
    assert len(first) == 64
    assert read_tables(write(tmp_path / "b", GOOD)).digest == first
    assert read_tables(write(tmp_path / "c", GOOD, toml="")).digest == first
    assert read_tables(write(tmp_path / "d", GOOD, toml="order_only = true")).digest != first
    data = deepcopy(GOOD)
    data["events"][0]["value"] = "13.5"
    assert read_tables(write(tmp_path / "e", data)).digest != first
    del data["events"]
    assert read_tables(write(tmp_path / "f", data)).digest != first
    (tmp_path / "a" / "notes.txt").write_text("not ours")
    assert read_tables(tmp_path / "a").digest == first


def test_now_lets_past_and_deadlines_pass(tmp_path: Path) -> None:
    folder = write(tmp_path, GOOD)
    assert read_tables(folder, now=parse_time("2026-04-02T00:00:00Z")).rows["prospects"] == 3


def test_reading_writes_nothing_into_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "data", GOOD)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    tables = read_tables(folder)
    tables.connection.con.execute("SELECT count(*) FROM range(1000000) AS a GROUP BY a.range % 7")
    assert os.listdir(tmp_path / "cwd") == []


# Frames -------------------------------------------------------------------------------------------------------------


def prospects_frame(**columns: Any) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    base = {"prospect_id": [f"p{i}" for i in range(n)], "created_at": ["2026-03-01T09:00:00Z"] * n}
    return pd.DataFrame({**base, **columns})


@pytest.mark.parametrize(
    ("created_at", "code", "count"),
    [
        ([pd.Timestamp("2026-03-01"), pd.NaT], "zoneless_time", 1),
        ([pd.Timestamp("2026-03-01", tz="UTC"), pd.Timestamp("2026-03-01")], "zoneless_time", 1),
        ([datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00"], "zoneless_time", 1),
        ([date(2026, 3, 1), date(2026, 3, 2)], "bad_time", 2),
        ([pd.Period("2026-03-01"), pd.Period("2026-03-02")], "bad_time", 2),
        ([1.5, 2.5], "wrong_type", 2),
    ],
)
def test_frames_refused(created_at: list[Any], code: str, count: int) -> None:
    frame = prospects_frame(created_at=pd.Series(created_at))
    problems = {p.code: p for p in refused(lambda: tables_from_frames({"prospects": frame}))}
    assert (problems[code].where, problems[code].details["count"]) == ("prospects: created_at", count)


def test_frames_of_many_kinds() -> None:
    paris = timezone(timedelta(hours=1))
    frame = prospects_frame(
        created_at=pd.Series([datetime(2026, 3, 1, 1, tzinfo=paris), datetime(2026, 3, 1, tzinfo=UTC)], dtype=object),
        account_id=pd.Series([1, None], dtype="Int64"),
        source=pd.Series(["a", float("nan")], dtype="category"),
        regime=pd.Series([None, "mass"], dtype=object),
        seats=pd.Series([1.5, float("nan")], dtype="float16"),
        hot=pd.Series([True, None], dtype=object),
        memo=pd.Series(["x", 1], dtype=object),
    )
    frame.index = pd.Index([5, 6], name="prospect_id")
    tables = tables_from_frames({"prospects": frame}, parse_dataset(DECLARED))
    rows = sorted(contents(tables, "prospects"), key=lambda r: r["prospect_id"])
    midnight = parse_time("2026-03-01T00:00:00Z")
    names = ("created_at", "account_id", "source", "regime", "seats", "hot", "memo")
    assert [tuple(r[n] for n in names) for r in rows] == [
        (midnight, "1", "a", None, 1.5, True, "x"),
        (midnight, None, None, "mass", None, None, "1"),
    ]


def test_frames_go_through_the_same_checks() -> None:
    frames = {t: pd.DataFrame(rows) for t, rows in GOOD.items()}
    assert tables_from_frames(frames, need_outcomes=True).rows["events"] == 3
    assert tables_from_frames(frames).digest == tables_from_frames({t: f.copy() for t, f in frames.items()}).digest
    frames["events"].loc[0, "direction"] = "sideways"
    (problem,) = refused(lambda: tables_from_frames(frames))
    assert (problem.code, problem.where) == ("unknown_value", "events: direction")
    (problem,) = refused(lambda: tables_from_frames({"prospects": frames["prospects"], "event": frames["events"]}))
    assert (problem.code, problem.where) == ("unknown_file", "event")
    doubled = pd.concat([frames["prospects"], frames["prospects"][["source"]]], axis=1)
    problems = refused(lambda: tables_from_frames({"prospects": doubled}))
    assert [p.code for p in problems] == ["duplicate_column"]
    naive = frames["prospects"].assign(created_at=pd.to_datetime(["2026-03-01", "2026-03-02", "2026-03-03"]))
    tables = tables_from_frames({"prospects": naive}, Dataset(timezone="America/New_York"))
    assert contents(tables, "prospects")[0]["created_at"] == parse_time("2026-03-01T05:00:00Z")


# The engine's reading and Python's are one --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Any:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def read_cells(engine: Any, kind: str, cells: pa.Array, zone: str | None = None) -> list[tuple[Any, int]]:
    """(canonical value, number of the fault) of each cell, by the SQL that reads such a column."""
    engine.register("cells", pa.table({"c0": cells, "__row": pa.array(range(len(cells)))}))
    (sql_type,) = {r[1] for r in engine.execute("DESCRIBE SELECT c0 FROM cells").fetchall()}
    how = reading(Column("x", kind, values=("a",)), sql_type, 0, zone)
    legal = f"CASE WHEN {how.legal} THEN m0 END" if how.legal else "m0"
    rows = engine.execute(
        f"SELECT v0, CASE WHEN x0 IS NULL OR v0 IS NOT NULL THEN 0 ELSE {how.fault} END FROM (SELECT *, {legal} AS v0 "
        f"FROM (SELECT *, {how.m} AS m0 FROM (SELECT c0, __row, {how.x} AS x0 FROM cells))) ORDER BY __row"
    ).fetchall()
    engine.unregister("cells")
    return rows


def or_none(function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except ValueError:
        return None


digits = st.text("0123456789", min_size=1, max_size=12)
near_times = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(
            ["2026-03-01", "1969-12-31", "1900-01-01", "1899-12-31", "2100-01-01", "2024-02-29", "2023-02-29"]
        ),
        st.sampled_from(["T", "t", " ", "  ", ""]),
        st.sampled_from(["00:00", "23:59", "24:00", "12:60", "9:00", "12:30"]),
        st.sampled_from(["", ":00", ":59", ":60", ":5"]),
        st.one_of(st.just(""), st.builds("".join, st.tuples(st.sampled_from([".", ","]), digits))),
        st.sampled_from(["", "", "", " ", "\t", "\x0b", "\u00a0", "  "]),
        st.sampled_from(
            ["Z", "z", "", "+02:00", "-0530", "+14", "-23:59", "+24:00", "+05:75", "+23:60", "UTC", "+2:00"]
        ),
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(near_times, min_size=30, max_size=60))
@example(["2026-03-01T09:00:00Z\n", "\n2026-03-01T09:00:00Z", "٢026-03-01T09:00:00Z", "2026-03-01T09:00:00\nZ"])
@example(["2026-03-01T09:00:00Z", "2026-03-01 09:00:00.123+01:30", "1969-12-31T23:59:59.999999-13:59"])
@example(["2026-03-01T09:00:00.123456789Z", "1969-12-31T23:59:59.999999999Z", "2099-12-31T23:59:59.9999999-00:01"])
def test_times_are_read_as_python_reads_them(engine: Any, texts: list[str]) -> None:
    read = read_cells(engine, "time", pa.array(texts))
    assert [v for v, _ in read] == [or_none(parse_time, t) for t in texts]
    for text, (value, fault) in zip(texts, read, strict=True):
        assert (value is None) == (fault > 0)
        if fault == 3:  # said to lack nothing but its zone
            assert or_none(parse_time, text + "Z") is not None or or_none(parse_time, text.rstrip() + "Z") is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-2_208_988_800 * 10**9, 4_102_444_800 * 10**9), min_size=20, max_size=40))
@example([-1, -999, -1000, -1001, 0, 1, 999, 1000, 1001])
def test_nanoseconds_are_floored(engine: Any, nanos: list[int]) -> None:
    zoned = read_cells(engine, "time", pa.array(nanos, pa.timestamp("ns", "UTC")))
    named = read_cells(engine, "time", pa.array(nanos, pa.timestamp("ns")), "UTC")
    assert [v for v, _ in zoned] == [v for v, _ in named] == [n // 1000 for n in nanos]


any_double = st.floats() | st.floats(-1e9, 1e9) | st.integers(-(10**15), 10**15).map(lambda n: n / 1e6)
half_micros = st.integers(-(10**15), 10**15 - 1).map(lambda n: (n + 0.5) / 1e6)


@settings(max_examples=40, deadline=None)
@given(st.lists(any_double, min_size=50), st.lists(half_micros, min_size=50))
@example([0.5e-6, 1.5e-6, 2.5e-6, -0.5e-6, 1e9, -1e9, math.nextafter(1e9, 2e9), math.inf, math.nan, 5e-324], [0.1])
def test_to_micro_is_what_the_engine_does_to_doubles(engine: Any, doubles: list[float], halves: list[float]) -> None:
    values = doubles + halves
    read = read_cells(engine, "value", pa.array(values, pa.float64()))
    assert [v for v, _ in read] == [or_none(to_micro, x) for x in values]
    assert [f for _, f in read] == [int(v is None) for v, _ in read]


decimal_texts = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "-", "+"]),
        st.text("0123456789", max_size=12) | st.sampled_from(["1000000000", "999999999", "000000000000000000001"]),
        st.sampled_from(["", "."]),
        st.text("0123456789", max_size=12)
        | st.sampled_from(["0000005", "0000015", "00000050000000000000000000000000001", "9999995", "0" * 60 + "1"]),
        st.sampled_from(
            ["", "", "e3", "E-3", "e+2", "e-400", "e400", "e99999999999999999999", "e-99999999999999999999"]
        ),
    ),
)


def spelt(text: str) -> Decimal:
    """The decimal that a text spells out; ValueError when it is no number."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        raise ValueError(text)
    mantissa, _, exponent = text.lower().partition("e")
    return Decimal(f"{mantissa}e{max(-10_000, min(10_000, int(exponent or 0)))}")


@settings(max_examples=60, deadline=None)
@given(st.lists(decimal_texts, min_size=30, max_size=60))
@example(["1e3", "1e9", "1e10", "1000000000.0", "1000000000.0000001", "999999999.9999995", "0.0000005", "0.0000015"])
@example(["-0", "-0.0000005", "1_000", "0x10", "inf", "nan", "1.", ".5", ".", "", "5e-7", "15e-7", "1,5", "1 0"])
def test_value_texts_are_rounded_by_their_digits(engine: Any, texts: list[str]) -> None:
    read = read_cells(engine, "value", pa.array(texts))
    assert [v for v, _ in read] == [or_none(lambda t: to_micro(spelt(t)), t) for t in texts]
    for text, (value, fault) in zip(texts, read, strict=True):
        wrong = or_none(spelt, text) is None
        assert fault == (0 if value is not None or not text else 2 if wrong else 1)


def test_value_decimals_are_rounded_by_their_digits(engine: Any) -> None:
    cells = [Decimal("0.0000005"), Decimal("0.0000015"), Decimal("-1.0000025"), Decimal("999999999.1"), None]
    read = read_cells(engine, "value", pa.array(cells, pa.decimal128(38, 10)))
    assert [v for v, _ in read] == [0, 2, -1_000_002, 999_999_999_100_000, None]
    integers = read_cells(engine, "value", pa.array([10**9, -(10**9), 10**9 + 1, 2**63 - 1], pa.int64()))
    assert integers == [(10**15, 0), (-(10**15), 0), (None, 1), (None, 1)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30), min_size=20))
def test_numbers_are_read_as_python_reads_them(engine: Any, numbers: list[float]) -> None:
    texts = [repr(x) for x in numbers]
    assert [v for v, _ in read_cells(engine, "number", pa.array(texts))] == [float(t) for t in texts]


near_texts = st.text(
    st.sampled_from("aé\u0301e\u0327\u00a0 \t\r\n\x0b\x0c\x00\u2003\u212b한ᄒ\u1161Ⅸ🙂") | st.characters(), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(st.lists(near_texts, min_size=20, max_size=60))
@example(["e\u0301", " \u1112\u1161 ", "\u00a0e\u0301\x00\u0301 ", "\x00", "a\x00b\u0301\x00", " \x85", "\u2003x"])
def test_texts_are_cleaned_as_python_cleans_them(engine: Any, texts: list[str]) -> None:
    # A sign that this Python's Unicode does not know yet has no normal form to compare.
    texts = [t for t in texts if all(unicodedata.category(c) not in ("Cn", "Cs") for c in t)] or ["a"]
    read = read_cells(engine, "category", pa.array(texts))
    assert read == [(None, 1) if "\0" in t else (clean_text(t), 0) for t in texts]


@pytest.mark.parametrize(
    "text",
    [
        *("2026-03-01", "1899-12-31", "1731-03-05", "1582-10-10", "1500-02-29", "1600-02-29", "1000-01-01"),
        *("0999-12-31", "2100-01-01", "2100-01-02", "2026-02-29", "2026-3-1", "", "20260301"),
    ],
)
def test_dates_are_read_as_python_reads_them(engine: Any, text: str) -> None:
    ((value, _),) = read_cells(engine, "date", pa.array([text]))
    assert value == or_none(parse_date, text)


def test_midnight_is_a_date(engine: Any) -> None:
    day = parse_date("2026-03-01")
    texts = ["2026-03-01 00:00:00", "2026-03-01T00:00Z", "2026-03-01T00:00:00.000+00:00", "2026-03-01T00:00:01"]
    assert [v for v, _ in read_cells(engine, "date", pa.array(texts))] == [day, day, day, None]
    stamps = pa.array([day, day + 1, day - DAY], pa.timestamp("us"))
    assert [v for v, _ in read_cells(engine, "date", stamps)] == [day, None, day - DAY]
    assert [v for v, _ in read_cells(engine, "date", pa.array([day * 1000], pa.timestamp("ns", "UTC")))] == [day]


def test_to_micro_refuses_what_a_value_cannot_be() -> None:
    for x in (math.nan, math.inf, -math.inf, 1e9 + 1, 10**10, Decimal("NaN"), Decimal("1000000000.0000001")):
        with pytest.raises(ValueError, match="finite"):
            to_micro(x)
    assert to_micro(3) == 3_000_000
    assert to_micro(Decimal("0.00000050000000000000000000000000000000001")) == 1
