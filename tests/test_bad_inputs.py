"""The mistakes of real exports and integrations: each is told with its place, how many, and the way out."""

from __future__ import annotations

import copy
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.contract import parse_time
from features.errors import BadInput, BadTables
from features.tables import read_tables
from serving.schema import parse_request
from tests.fixtures_bundle import DATASET, make_request

NOW = parse_time("2026-06-01T00:00:00Z")

# A small export as a CRM writes it, one text per table.
EXPORT = {
    "prospects": """prospect_id,created_at,account_id,source,regime
006A,2026-03-01T09:00:00Z,12,web,mass
006B,2026-03-02T09:00:00Z,13,fair,
006C,2026-03-03T09:00:00Z,,phone,mass
""",
    "accounts": """account_id,country,headcount,revenue,founded_on,public_body
12,FR,25,1234.5,1999-05-01,false
13,DE,1000,,,true
""",
    "contacts": """contact_id,account_id,role
c1,12,buyer
c2,13,user
""",
    "events": """event_id,prospect_id,type,occurred_at,value,direction
e1,006A,page_view,2026-03-02T10:00:00Z,12.5,inbound
e2,006A,meeting,2026-03-03T10:00:00Z,,outbound
e3,006B,meeting,2026-03-03T11:00:00Z,,
""",
    "outcomes": """prospect_id,outcome,occurred_at
006A,won,2026-04-01T00:00:00Z
006B,lost,2026-04-02T00:00:00Z
""",
}

Edit = Callable[[str], str]


def swap(*pairs: tuple[str, str]) -> Edit:
    """Each text for another; it must be there."""

    def edit(text: str) -> str:
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        return text

    return edit


@dataclass(frozen=True)
class Bad:
    """A mistake in one table: what is told of it, and words that message and remedy must hold."""

    name: str
    table: str
    edit: Edit
    code: str
    column: str
    says: tuple[str, ...]
    remedy: tuple[str, ...]
    count: int | None = None
    row: int | None = None
    value: str | None = None
    also: tuple[str, ...] = ()  # codes of what the same mistake brings with it


TABLES = [
    Bad(
        "days of Excel",
        "outcomes",
        swap(("2026-04-01T00:00:00Z", "46113"), ("2026-04-02T00:00:00Z", "46114.375")),
        "bad_time",
        "occurred_at",
        ("2 values are a bare number, not a time", "row 1, '46113'"),
        ("2026-03-01T09:00:00Z", "Excel", "1899-12-30"),
        2,
        1,
    ),
    Bad(
        "milliseconds since 1970",
        "events",
        swap(("2026-03-02T10:00:00Z", "1772445600000")),
        "bad_time",
        "occurred_at",
        ("1 value is a bare number", "'1772445600000'"),
        ('unit="ms"',),
        1,
        1,
    ),
    Bad(
        "day first",
        "prospects",
        swap(("2026-03-02T09:00:00Z", "02/03/2026 09:00")),
        "bad_time",
        "created_at",
        ("1 value is not a time", "row 2, '02/03/2026 09:00'"),
        ("year first", "2026-03-01T09:00:00Z"),
        1,
        2,
    ),
    Bad(
        "the name of a zone in each time",
        "events",
        swap(("10:00:00Z", "10:00:00 Europe/Paris")),
        "bad_time",
        "occurred_at",
        ("2 values are not a time", "Europe/Paris"),
        ("Z or an offset such as +02:00",),
        2,
        1,
    ),
    Bad(
        "midnight as 24:00",
        "outcomes",
        swap(("2026-04-02T00:00:00Z", "2026-04-01T24:00:00Z")),
        "bad_time",
        "occurred_at",
        ("no moment of the calendar", "24:00:00Z"),
        ("hours run from 00 to 23",),
        1,
        2,
    ),
    Bad(
        "a leap second",
        "events",
        swap(("2026-03-03T11:00:00Z", "2016-12-31T23:59:60Z")),
        "bad_time",
        "occurred_at",
        ("no moment of the calendar", ":60Z"),
        ("seconds to 59",),
        1,
        3,
    ),
    Bad(
        "the thirtieth of February",
        "events",
        swap(("2026-03-02T10:00:00Z", "2026-02-30 10:00:00+01:00")),
        "bad_time",
        "occurred_at",
        ("no moment of the calendar", "2026-02-30"),
        ("Mend the year, the day or the hour",),
        1,
        1,
    ),
    Bad(
        "a founding year alone",
        "accounts",
        swap(("1999-05-01", "1999")),
        "bad_time",
        "founded_on",
        ("1 value is not a day between the years 1000 and 2100", "'1999'"),
        ("2026-03-01, year first",),
        1,
        1,
    ),
    Bad(
        "a local number",
        "accounts",
        lambda text: text.replace("1234.5", '"1.234,56"'),
        "wrong_type",
        "revenue",
        ("1 value is not a finite number", "'1.234,56'"),
        ("decimal point", "without thousands separators"),
        1,
        1,
    ),
    Bad(
        "a currency",
        "events",
        swap((",12.5,", ",12.50 EUR,")),
        "wrong_type",
        "value",
        ("1 value is not a number", "'12.50 EUR'"),
        ("signs of currency", "1234.5"),
        1,
        1,
    ),
    Bad(
        "a percent sign",
        "accounts",
        swap((",25,", ",25 %,")),
        "wrong_type",
        "headcount",
        ("1 value is not a finite number", "'25 %'"),
        ("units",),
        1,
        1,
    ),
    Bad(
        "not available",
        "accounts",
        swap((",1000,", ",N/A,"), (",25,", ",#REF!,")),
        "wrong_type",
        "headcount",
        ("2 values are", "'#REF!'"),
        ("leave it empty where unknown",),
        2,
        1,
    ),
    Bad(
        "Y and N",
        "accounts",
        swap(("01,false", "01,N"), (",true", ",Y")),
        "wrong_type",
        "public_body",
        ("2 values are neither true nor false", "'N'"),
        ("true or false", "yes, no, 1, 0"),
        2,
        1,
    ),
    Bad(
        "roles in capitals",
        "contacts",
        swap((",buyer", ",Buyer"), (",user", ",END USER")),
        "unknown_value",
        "role",
        ("2 values are not one of buyer, prescriber, user", "'Buyer'"),
        ("small letters", "buyer, prescriber, user"),
        2,
        1,
    ),
    Bad(
        "a direction with an emoji",
        "events",
        swap((",inbound", ",📥 inbound")),
        "unknown_value",
        "direction",
        ("1 value is not one of inbound, outbound", "📥"),
        ("inbound, outbound",),
        1,
        1,
    ),
    Bad(
        "two columns swapped",
        "prospects",
        swap(("prospect_id,created_at", "created_at,prospect_id")),
        "bad_time",
        "created_at",
        ("3 values are not a time", "'006A'"),
        ("2026-03-01T09:00:00Z",),
        3,
        1,
    ),
    Bad(
        "a second header",
        "events",
        lambda text: text.splitlines(keepends=True)[0] + text,
        "bad_time",
        "occurred_at",
        ("1 value is not a time", "row 1, 'occurred_at'"),
        ("Remove the rows that repeat the header",),
        1,
        1,
        also=("wrong_type", "unknown_value"),
    ),
    Bad(
        "a row of totals",
        "prospects",
        lambda text: text + "Total: 3,,,,\n",
        "null_key",
        "created_at",
        ("1 value is missing", "row 4, key 'Total: 3'"),
        ("leave the row out",),
        1,
        4,
    ),
    Bad(
        "an id of white space",
        "events",
        swap(("e2,", "  ,")),
        "null_key",
        "event_id",
        ("1 value is missing", "row 2, '  '"),
        ("Every row needs its event_id",),
        1,
        2,
    ),
    Bad(
        "an account in other letters",
        "prospects",
        lambda text: text.replace(",12,", ",ACME,"),
        "unknown_account",
        "account_id",
        ("1 value is not in accounts", "'ACME'"),
        ("Add the accounts to accounts", "1 key differs", "only in capital letters", "'ACME' from 'acme'"),
        1,
        1,
    ),
    Bad(
        "trailing spaces in a foreign key",
        "prospects",
        swap((",12,", ",12 ,"), (",13,", ",13\u00a0,")),
        "unknown_account",
        "account_id",
        ("2 values are not in accounts", "'12 '"),
        ("2 keys differ", "white space around it"),
        2,
        1,
    ),
    Bad(
        "account ids that went through floats",
        "prospects",
        swap((",12,", ",12.0,"), (",13,", ",13.0,")),
        "unknown_account",
        "account_id",
        ("2 values are not in accounts", "'12.0'"),
        ("a decimal part", "'12.0' from '12'"),
        2,
        1,
    ),
    Bad(
        "account ids that lost their zeros",
        "prospects",
        swap((",12,", ",0012,")),
        "unknown_account",
        "account_id",
        ("1 value is not in accounts",),
        ("leading zeros", "'0012' from '12'"),
        1,
        1,
    ),
    Bad(
        "Salesforce ids of 18 characters against 15",
        "prospects",
        swap((",13,", ",0015g00000AbCdEFGH,")),
        "unknown_account",
        "account_id",
        ("1 value is not in accounts",),
        ("15 or 18 characters", "'0015g00000AbCdEFGH' from '0015g00000AbCdE'"),
        1,
        2,
    ),
    Bad(
        "a column with a space behind its name",
        "prospects",
        swap((",source,", ",source ,")),
        "undeclared_column",
        "source ",
        ("`source ` is almost `source`",),
        ("Rename it to `source`",),
    ),
    Bad(
        "a column of the CRM",
        "prospects",
        swap((",regime", ",Amount (EUR)"), (",mass", ",1200"), ("fair,", "fair,900")),
        "undeclared_column",
        "Amount (EUR)",
        ("nothing declares the column `Amount (EUR)`",),
        ("[prospects.columns]", '"Amount (EUR)" = {kind = "number"}'),
    ),
    Bad(
        "the wrong table's columns",
        "outcomes",
        swap(("prospect_id,outcome,occurred_at", "prospect_id,stage,occurred_at")),
        "missing_column",
        "outcome",
        ("has no column `outcome`",),
        ("Add the column", "prospect_id, outcome, occurred_at"),
        also=("undeclared_column",),
    ),
    Bad(
        "an outcome entered twice under one id",
        "outcomes",
        lambda text: (
            text.replace("occurred_at\n", "occurred_at,outcome_id\n")
            .replace("04-01T00:00:00Z", "04-01T00:00:00Z,o1")
            .replace("04-02T00:00:00Z", "04-02T00:00:00Z,o1")
        ),
        "conflicting_outcome",
        "outcome_id",
        ("1 outcome_id stands for rows that differ in prospect_id, outcome, occurred_at",),
        ("an id of its own",),
        1,
        1,
    ),
]


def cells(text: str) -> list[list[str]]:
    import csv

    return list(csv.reader(io.StringIO(text)))


def write(folder: Path, export: dict[str, str], form: str) -> Path:
    """The export as CSV, or as Parquet with every column a text."""
    folder.mkdir()
    for table, text in export.items():
        if form == "csv":
            (folder / f"{table}.csv").write_text(text, encoding="utf-8")
        else:
            names, *rows = cells(text)
            columns = [pa.array([row[j] or None for row in rows], pa.string()) for j in range(len(names))]
            pq.write_table(pa.Table.from_arrays(columns, names=names), folder / f"{table}.parquet")
    return folder


def problems_of(folder: Path) -> tuple[BadInput, ...]:
    with pytest.raises(BadTables) as caught:
        read_tables(folder, now=NOW)
    for problem in caught.value.problems:
        assert str(folder) not in str(problem)
    return caught.value.problems


def assert_helps(problem: BadInput, says: tuple[str, ...], remedy: tuple[str, ...]) -> None:
    for words in says:
        assert words in problem.message, problem.message
    for words in remedy:
        assert words in problem.remedy, problem.remedy
    assert problem.message.endswith(".")
    assert problem.remedy.endswith((".", "}"))


def test_the_export_itself_is_good(tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        tables = read_tables(write(tmp_path / form, EXPORT, form), now=NOW)
        assert tables.notes == ()
        assert tables.rows == {"prospects": 3, "accounts": 2, "contacts": 2, "events": 3, "outcomes": 2}


# For the keys that only look alike, the accounts are written in the other way too.
ACCOUNTS = {
    "an account in other letters": ("12,FR", "acme,FR"),
    "Salesforce ids of 18 characters against 15": ("13,DE", "0015g00000AbCdE,DE"),
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("bad", TABLES, ids=lambda bad: bad.name)
def test_a_bad_table(bad: Bad, form: str, tmp_path: Path) -> None:
    export = {**EXPORT, bad.table: bad.edit(EXPORT[bad.table])}
    if bad.name in ACCOUNTS:
        export["accounts"] = swap(ACCOUNTS[bad.name])(export["accounts"])
        del export["contacts"]
    problems = problems_of(write(tmp_path / "data", export, form))
    found = [p for p in problems if p.code == bad.code]
    assert [p.where for p in found] == [f"{bad.table}.{form}: {bad.column}"], [str(p) for p in problems]
    assert {p.code for p in problems} == {bad.code, *bad.also}
    assert_helps(found[0], bad.says, bad.remedy)
    assert found[0].details.get("count") == bad.count
    if bad.row is not None:
        assert found[0].details["rows"][0]["row"] == bad.row
        assert f"row {bad.row}" in found[0].message


# Files ----------------------------------------------------------------------------------------------------------------


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


PROSPECTS = EXPORT["prospects"].encode()
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>prospect_id,created_at</body></html>"

FILES: list[tuple[str, str, bytes, str, str]] = [
    ("a page that asks to sign in", "prospects.csv", PAGE, "is a web page or XML, not CSV", "Export it as UTF-8 CSV"),
    ("a workbook named CSV", "prospects.csv", zipped(), "Excel workbook, not CSV", "Export it as UTF-8 CSV"),
    ("an old workbook", "prospects.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 9, "old Excel workbook", "UTF-8 CSV"),
    ("Parquet named CSV", "prospects.csv", b"PAR1\x15\x04\x15", "is Parquet, not CSV", "Export it as UTF-8 CSV"),
    ("gzip named CSV", "prospects.csv", gzip.compress(PROSPECTS), "compressed by gzip, not CSV", "UTF-8 CSV"),
    ("UTF-16 with its mark", "prospects.csv", PROSPECTS.decode().encode("utf-16"), "UTF-16", "Save it as UTF-8"),
    ("UTF-16 without a mark", "prospects.csv", PROSPECTS.decode().encode("utf-16-le"), "UTF-16", "Save it as UTF-8"),
    ("a zip named Parquet", "prospects.parquet", zipped(), "is a zip archive or an Excel workbook, not Pa", "Write it"),
    ("CSV named Parquet", "prospects.parquet", PROSPECTS, "is text, not Parquet", "name it prospects.csv"),
    (
        "lines of preface",
        "prospects.csv",
        b"Report of 2026-06-01,,,,\n" + PROSPECTS,
        "has its column names in line 2, not in the first",
        "Remove the lines above them",
    ),
    (
        "Latin letters",
        "prospects.csv",
        PROSPECTS.replace(b"web", "caf\u00e9".encode("cp1252")),
        "is not UTF-8",
        "Save it as UTF-8",
    ),
    (
        "a comma in a field without quotes",
        "prospects.csv",
        PROSPECTS.replace(b"phone", b"phone, cold"),
        "has 6 fields where the header has 5 (line 4)",
        "between double quotes",
    ),
]


@pytest.mark.parametrize(("name", "content", "says", "remedy"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_a_file_that_is_something_else(name: str, content: bytes, says: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    problem = problems_of(tmp_path)[0]
    assert (problem.code, problem.where) == ("unreadable_file", name)
    assert_helps(problem, (says,), (remedy,))


def test_a_folder_where_a_file_is_expected(tmp_path: Path) -> None:
    write(tmp_path / "data", EXPORT, "csv")
    (tmp_path / "data" / "events.csv").unlink()
    (tmp_path / "data" / "events.csv").mkdir()
    (problem,) = problems_of(tmp_path / "data")
    assert (problem.code, problem.where) == ("unreadable_file", "events.csv")
    assert_helps(problem, ("cannot be read: Is a directory",), ("Write the file again",))


NOON = [datetime(2026, 3, 1, 12, tzinfo=UTC)] * 3
TYPED: list[tuple[str, pa.Array, str, tuple[str, ...], tuple[str, ...]]] = [
    (
        "owner",
        pa.array([{"id": 1, "name": "x"}] * 3),
        "undeclared_column",
        ("`owner`", "STRUCT"),
        ("a column of its own",),
    ),
    ("source", pa.array([["web", "fair"]] * 3), "wrong_type", ("3 values are of the type VARCHAR[]",), ("as text",)),
    ("created_at", pa.array([1772445600000] * 3), "wrong_type", ("BIGINT, which holds no time",), ('unit="ms"',)),
    (
        "account_id",
        pa.array([12.0, None, 13.0]),
        "wrong_type",
        ("2 values are of the type DOUBLE, which holds no key",),
        ("Int64",),
    ),
    (
        "created_at",
        pa.array([t.replace(tzinfo=None) for t in NOON], pa.timestamp("us")),
        "zoneless_time",
        ("3 values are without a zone",),
        ('timezone = "Europe/Paris"',),
    ),
]


@pytest.mark.parametrize(("column", "array", "code", "says", "remedy"), TYPED)
def test_a_parquet_column_of_the_wrong_type(
    column: str, array: pa.Array, code: str, says: tuple[str, ...], remedy: tuple[str, ...], tmp_path: Path
) -> None:
    base = {"prospect_id": pa.array(["a", "b", "c"]), "created_at": pa.array(NOON, pa.timestamp("us", "UTC"))}
    pq.write_table(pa.table({**base, column: array}), tmp_path / "prospects.parquet")
    (problem,) = problems_of(tmp_path)
    assert (problem.code, problem.where) == (code, f"prospects.parquet: {column}")
    assert_helps(problem, says, remedy)


def test_columns_without_a_name_are_counted(tmp_path: Path) -> None:
    wide = "\n".join(line + ",,\t" for line in EXPORT["prospects"].splitlines())
    (problem,) = problems_of(write(tmp_path / "d", {"prospects": wide}, "csv"))
    assert (problem.code, problem.where) == ("undeclared_column", "prospects.csv")
    assert_helps(problem, ("2 columns have no name (counted from 1: 6, 7)",), ("remove it",))


# Accepted, and spoken of ----------------------------------------------------------------------------------------------


def test_semicolons_behind_a_byte_order_mark(tmp_path: Path) -> None:
    export = {t: "\ufeff" + text.replace(",", ";") for t, text in EXPORT.items()}
    assert read_tables(write(tmp_path / "good", export, "csv"), now=NOW).rows["events"] == 3
    export["events"] = export["events"].replace(";12.5;", ";12,5;")  # the decimals of the same locale
    (problem,) = problems_of(write(tmp_path / "bad", export, "csv"))
    assert (problem.code, problem.where, problem.details["count"]) == ("wrong_type", "events.csv: value", 1)
    assert_helps(problem, ("1 value is not a number (first: row 1, '12,5')",), ("decimal point",))


def test_the_stages_of_a_crm_for_outcomes(tmp_path: Path) -> None:
    export = {**EXPORT, "outcomes": EXPORT["outcomes"].replace("won", "Closed Won").replace("lost", "Closed Lost")}
    (note,) = read_tables(write(tmp_path / "d", export, "csv"), now=NOW).notes
    assert (note.code, note.count, note.where) == ("goal_never_occurs", 2, "outcomes.csv: outcome")
    assert 'write outcome = "Closed Won" below [goal] in dataset.toml' in note.text


@pytest.mark.parametrize(
    ("written", "says"),
    [("006A ", "white space"), ("006a", "capital letters"), ("6A", "leading zeros"), ("007A", "")],
)
def test_facts_of_prospects_written_otherwise(written: str, says: str, tmp_path: Path) -> None:
    export = {**EXPORT, "events": EXPORT["events"].replace("006A", written)}
    (note,) = read_tables(write(tmp_path / "d", export, "csv"), now=NOW).notes
    assert (note.code, note.count, note.where) == ("orphan_events", 2, "events.csv: prospect_id")
    assert note.text.startswith("2 events belong to prospects not in prospects; left out.")
    assert (f"1 key differs from one that is there only in {says}" in note.text) == bool(says), note.text


def test_signs_and_emoji_are_text_like_any_other(tmp_path: Path) -> None:
    export = {t: text.replace("fair", "🎪 foire, 100 % \u20ac") for t, text in EXPORT.items()}
    export["prospects"] = export["prospects"].replace("🎪 foire, 100 % \u20ac", '"🎪 foire, 100 % \u20ac"')
    tables = read_tables(write(tmp_path / "d", export, "csv"), now=NOW)
    assert "🎪 foire, 100 % \u20ac" in tables.prospects.source.to_pyarrow().to_pylist()


# Requests -------------------------------------------------------------------------------------------------------------


def at(*path: Any, value: Any) -> Callable[[dict[str, Any]], Any]:
    def edit(request: dict[str, Any]) -> None:
        place: Any = request
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return edit


def renamed(*path: Any, to: str) -> Callable[[dict[str, Any]], Any]:
    def edit(request: dict[str, Any]) -> None:
        place: Any = request
        for step in path[:-1]:
            place = place[step]
        place[to] = place.pop(path[-1])

    return edit


def wrapped(make: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], Any]:
    def edit(request: dict[str, Any]) -> None:
        made = make(dict(request))
        request.clear()
        request.update(made)

    return edit


@dataclass(frozen=True)
class BadRequest:
    name: str
    edit: Callable[[dict[str, Any]], Any]
    code: str
    where: str
    says: tuple[str, ...]
    remedy: tuple[str, ...]


TIME = ("ISO 8601", "2026-03-01T09:00:00Z")
REQUESTS = [
    BadRequest(
        "camel case",
        renamed("prospect", "prospect_id", to="prospectId"),
        "unknown_field",
        "prospect.prospectId",
        ("not part of the contract",),
        ("known fields", "prospect_id"),
    ),
    BadRequest(
        "another name for a time",
        renamed("events", 0, "occurred_at", to="timestamp"),
        "unknown_field",
        "events[0].timestamp",
        ("not part of the contract",),
        ("occurred_at",),
    ),
    BadRequest(
        "a request within a request",
        wrapped(lambda request: {"data": request}),
        "unknown_field",
        "data",
        ("not part of the contract",),
        ("prospect",),
    ),
    BadRequest(
        "a batch sent to score",
        wrapped(lambda request: {"items": [request]}),
        "unknown_field",
        "items",
        ("not part of the contract",),
        ("prospect", "as_of"),
    ),
    BadRequest(
        "a declared column under a name of the CRM",
        renamed("prospect", "attributes", "origin", to="Origin__c"),
        "undeclared_column",
        "prospect.attributes.Origin__c",
        ("declares no such column of prospects",),
        ("[prospects.columns]", "declared: origin, budget, vip"),
    ),
    BadRequest(
        "a regime in capitals",
        at("prospect", "regime", value="Mass"),
        "unknown_value",
        "prospect.regime",
        ("none of: mass, industrial, project",),
        ("mass, industrial, project", "null"),
    ),
    BadRequest(
        "a role in capitals",
        at("contacts", 0, "role", value="Buyer"),
        "unknown_value",
        "contacts[0].role",
        ("buyer, prescriber, user",),
        ("Send one of",),
    ),
    BadRequest(
        "a direction cut short",
        at("events", 0, "direction", value="in"),
        "unknown_value",
        "events[0].direction",
        ("inbound, outbound",),
        ("Send one of",),
    ),
    BadRequest(
        "a number in local writing",
        at("account", "revenue", value="1.234,56"),
        "wrong_type",
        "account.revenue",
        ("a text stands where a number is expected",),
        ("Send a number",),
    ),
    BadRequest(
        "an amount with its currency",
        at("events", 1, "value", value={"amount": 12.5, "currency": "EUR"}),
        "wrong_type",
        "events[1].value",
        ("an object stands where a number is expected",),
        ("Send a number",),
    ),
    BadRequest(
        "N for no",
        at("account", "public_body", value="N"),
        "wrong_type",
        "account.public_body",
        ("a text stands where true or false is expected",),
        ("Send true or false",),
    ),
    BadRequest(
        "an account id through floats",
        at("prospect", "account_id", value=12.0),
        "wrong_type",
        "prospect.account_id",
        ("a number stands where a text is expected",),
        ("Send a text",),
    ),
    BadRequest(
        "an account in other letters",
        at("account", "account_id", value="A1"),
        "id_mismatch",
        "account.account_id",
        ("ids do not agree", "another account"),
        ("Correct it, or leave it out",),
    ),
    BadRequest(
        "events by id",
        at("events", value={"e1": {"type": "call", "occurred_at": "2026-03-02T10:00:00Z"}}),
        "wrong_type",
        "events",
        ("an object stands where a list is expected",),
        ("Send a list",),
    ),
    BadRequest(
        "milliseconds since 1970",
        at("events", 0, "occurred_at", value=1772445600000),
        "wrong_type",
        "events[0].occurred_at",
        ("a number stands where a time is expected",),
        ("Send a time",),
    ),
    BadRequest(
        "the same in quotes",
        at("events", 0, "occurred_at", value="1772445600000"),
        "bad_time",
        "events[0].occurred_at",
        ("not an ISO 8601 time",),
        TIME,
    ),
    BadRequest(
        "the name of a zone",
        at("prospect", "created_at", value="2026-03-01T10:00:00 Europe/Paris"),
        "bad_time",
        "prospect.created_at",
        ("not an ISO 8601 time",),
        TIME,
    ),
    BadRequest(
        "now in words", at("as_of", value="now"), "bad_time", "as_of", ("not an ISO 8601 time",), ("with its zone",)
    ),
    BadRequest(
        "midnight as 24:00",
        at("events", 0, "occurred_at", value="2026-03-02T24:00:00Z"),
        "bad_time",
        "events[0].occurred_at",
        ("no such day or hour",),
        TIME,
    ),
    BadRequest(
        "a leap second",
        at("events", 0, "occurred_at", value="2016-12-31T23:59:60Z"),
        "bad_time",
        "events[0].occurred_at",
        ("no such day or hour",),
        TIME,
    ),
    BadRequest(
        "a founding year",
        at("account", "founded_on", value="1999"),
        "bad_date",
        "account.founded_on",
        ("not a date such as 2026-03-01",),
        ("YYYY-MM-DD",),
    ),
    BadRequest(
        "founded before there were dates",
        at("account", "founded_on", value="0999-12-31"),
        "bad_date",
        "account.founded_on",
        ("outside the years 1000 to 2100",),
        ("YYYY-MM-DD",),
    ),
    BadRequest(
        "an outcome of the year before",
        at("outcomes", value=[{"outcome": "lost", "occurred_at": "2025-03-04T12:00:00Z"}]),
        "outcome_before_creation",
        "outcomes[0].occurred_at",
        ("before its prospect was created",),
        ("Correct the time",),
    ),
    BadRequest(
        "created in a year to come",
        lambda r: (r.pop("as_of", None), r["prospect"].update(created_at="2027-03-01T09:00:00Z")),
        "as_of_before_creation",
        "prospect.created_at",
        ("did not exist yet",),
        ("as_of", "created_at"),
    ),
]


@pytest.mark.parametrize("bad", REQUESTS, ids=lambda bad: bad.name)
def test_a_bad_request(bad: BadRequest) -> None:
    request = copy.deepcopy(make_request())
    bad.edit(request)
    for body in (json.dumps(request), json.dumps(request).encode()):
        with pytest.raises(BadInput) as caught:
            parse_request(body, DATASET, NOW)
        assert (caught.value.code, caught.value.where) == (bad.code, bad.where)
        assert_helps(caught.value, bad.says, bad.remedy)


def test_a_date_of_long_ago_is_read_as_the_files_read_it(tmp_path: Path) -> None:
    request = copy.deepcopy(make_request())
    for day in ("1000-01-01", "1731-03-05", "1899-12-31"):
        request["account"]["founded_on"] = day
        accounts = parse_request(request, DATASET, NOW).records.accounts
        assert accounts is not None
        ((_, online),) = accounts["a1"]
        export = {**EXPORT, "accounts": EXPORT["accounts"].replace("1999-05-01", day)}
        read = read_tables(write(tmp_path / day, export, "csv"), now=NOW).accounts
        assert read is not None
        assert online["founded_on"] in read.founded_on.to_pyarrow().to_pylist()
