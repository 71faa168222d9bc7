"""What a raw column becomes and what may be wrong with it: the data contract as SQL, run where the rows are.

Nothing is pulled out of the engine but counts and, of what is wrong, the first five rows. Every table passes
through three stages: the raw relation (columns ``c0``, ``c1``, ... as found, and ``__row`` from 0), the draft
``draft.<table>`` (canonical columns, one fault number ``__f<i>`` beside each that can fail), and the canonical table.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from features.columns import (
    FALSE,
    NUMBER,
    SQL_TYPES,
    TRUE,
    Fault,
    Raw,
    Reading,
    family_of,
    ident,
    number_of,
    quote,
    reading,
    run,
    trimmed,
)
from features.contract import (
    ALWAYS,
    DECLARING,
    KEYS,
    STANDARD,
    TITLED,
    WHITESPACE,
    Column,
    Dataset,
    format_time,
    is_visible,
)
from features.errors import BadInput

FIRST = 5  # bad rows shown
IDS = {**KEYS, "events": "event_id", "outcomes": "prospect_id"}  # what names a row to a person

# What each kind of row has besides its columns: its moment or its identity, with the defaults of the contract.
DERIVED = {
    "prospects": "coalesce(observed_at, created_at) AS __from",
    "accounts": f"coalesce(observed_at, {ALWAYS}) AS __from",
    "contacts": f"coalesce(observed_at, {ALWAYS}) AS __from",
    "events": "event_id AS __id, coalesce(recorded_at, occurred_at) AS __recorded",
    "outcomes": "coalesce(outcome_id, prospect_id || '|' || outcome || '|' || occurred_at) AS __id, "
    "coalesce(recorded_at, occurred_at) AS __recorded",
}
MOMENTS = ("created_at", "observed_at", "occurred_at", "recorded_at", "retracted_at")  # none lies in the future
# Columns that two rows of one identity may differ in and still be the same record.
APART = {"observed_at", "recorded_at", "retracted_at", "created_at", "outcome_id"}


# Findings -------------------------------------------------------------------------------------------------------


def finding(
    raw: Raw, column: str | None, code: str, message: str, remedy: str, count: int | None = None, rows: Any = ()
) -> BadInput:
    """One thing that is wrong with a table; ``rows`` are (row number from 1, key, value) of the first bad ones."""
    details: dict[str, Any] = {"file": raw.file, "table": raw.table}
    if column is not None:
        details["column"] = column
    if count is not None:
        details["count"] = count
        details["rows"] = [dict(zip(("row", "key", "value"), row, strict=True)) for row in rows]
        if rows:
            row, key, value = rows[0]
            shown = f", {value!r}" if value is not None else f", key {key!r}" if key is not None else ""
            message = f"{message.rstrip('.')} (first: row {row}{shown})."
    return BadInput(code, message, where=raw.at(column) if column else raw.file, remedy=remedy, details=details)


def _sentence(count: int, what: str) -> str:
    return f"{number_of(count, 'value')} {'is' if count == 1 else 'are'} {what}."


def _bad_rows(con: Any, query: str) -> tuple[int, list[tuple[Any, ...]]]:
    """Count and first rows of a query that yields ``__row, key, value`` for each bad row."""
    rows = run(
        con,
        "SELECT count(*) OVER (), __row + 1, left(key::VARCHAR, 100), left(value::VARCHAR, 100) "
        f"FROM ({query}) ORDER BY __row LIMIT {FIRST}",
    )
    return (rows[0][0] if rows else 0), [row[1:] for row in rows]


def _shown_time(c: str) -> str:
    return f"replace(make_timestamp({c})::VARCHAR, ' ', 'T') || 'Z'"


def _shown(column: Column) -> str:
    c = ident(column.name)
    shown = {"time": _shown_time(c), "date": f"make_timestamp({c})::DATE::VARCHAR", "value": f"({c} / 1e6)::VARCHAR"}
    return shown.get(column.kind, f"{c}::VARCHAR")


# The columns that a file has --------------------------------------------------------------------------------------


def check_header(con: Any, raw: Raw, dataset: Dataset) -> list[BadInput]:
    """Findings on the columns: twice there, missing, undeclared, of a name that we keep for ourselves."""
    columns = dataset.columns(raw.table)
    problems = []
    seen: set[str] = set()
    told = set()
    for name in raw.names:
        if name.lower() in seen and is_visible(name):
            told.add(name)
            remedy = "Keep one of them; capital letters do not tell columns apart."
            problems.append(finding(raw, name, "duplicate_column", f"two columns are named `{name}`.", remedy))
        seen.add(name.lower())
    strangers = {_plain(n): n for n in reversed(raw.names) if n not in columns}
    declared = dataset.declared_columns(raw.table)
    standard = {c.name for c in STANDARD[raw.table]}
    for name, column in columns.items():
        alike = strangers.get(_plain(name))
        if name in raw.names or not (column.required or name in declared):
            if name not in raw.names and alike is not None:
                told.add(alike)
                remedy = f"Rename it to `{name}`."
                problems.append(finding(raw, alike, "undeclared_column", f"`{alike}` is almost `{name}`.", remedy))
            continue
        if alike is not None:
            told.add(alike)
            remedy = f"Rename its column `{alike}` to `{name}`."
        elif name not in standard:
            remedy = f"Add the column, or remove its line from [{raw.table}.columns] in dataset.toml."
        elif column.required:
            remedy = f"Add the column; {raw.table} always hold {', '.join(c for c in columns if columns[c].required)}."
        else:
            continue  # a standard column marked known = "never" need not be there
        problems.append(finding(raw, name, "missing_column", f"{raw.file} has no column `{name}`.", remedy))
    nameless = [j + 1 for j, name in enumerate(raw.names) if not is_visible(name)]
    if nameless:
        which = ", ".join(map(str, nameless[:FIRST])) + (", ..." if len(nameless) > FIRST else "")
        message = f"{number_of(len(nameless), 'column has', 'columns have')} no name (counted from 1: {which})."
        remedy = "Give it a name or remove it (pandas: to_csv(..., index=False))."
        problems.append(finding(raw, None, "undeclared_column", message, remedy))
    for j, name in enumerate(raw.names):
        if name not in columns and name not in told and is_visible(name):
            problems.append(_undeclared(con, raw, j, name))
    return problems


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold()) or name


def _undeclared(con: Any, raw: Raw, j: int, name: str) -> BadInput:
    message = f"nothing declares the column `{name}`."
    if family_of(raw.types[j]) == "other" and raw.table in DECLARING:
        message = f"nothing declares the column `{name}`, and its type {raw.types[j]} could not be declared."
        remedy = "Remove it, or make each of its parts a column of its own and declare those in dataset.toml."
    elif is_reserved(name, raw.table):
        remedy = "Remove or rename it; the name is kept for internal use (pandas: index=False)."
    elif raw.table not in DECLARING:
        known = [c.name for c in STANDARD[raw.table]]
        near = difflib.get_close_matches(name, known, 1, 0.8)
        remedy = f"Rename it to `{near[0]}`." if near else f"Remove it; {raw.table} hold only {', '.join(known)}."
    else:
        key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
        line = f'{key} = {{kind = "{_guess(con, raw, j)}"}}'
        remedy = f"Add this line to dataset.toml below [{raw.table}.columns]: {line}"
    return finding(raw, name, "undeclared_column", message, remedy)


def is_reserved(name: str, table: str) -> bool:
    """Whether the canonical table and the feature rows keep a column name for themselves."""
    kept = ("valid_from", "valid_to", "as_of", *(TITLED if table == "contacts" else ()))
    return name.lower() in kept or name.startswith("__")


def _guess(con: Any, raw: Raw, j: int) -> str:
    """The likely kind of an undeclared column, from its type or else from its values."""
    family, c = family_of(raw.types[j]), f"c{j}"
    if family != "text":
        numbers = dict.fromkeys(("integer", "float", "decimal"), "number")
        return {**numbers, "boolean": "boolean", "empty": "category"}.get(family, "text")
    words = ", ".join(map(quote, TRUE + FALSE))
    total, numbers_, booleans, distinct, length = run(
        con,
        f"SELECT count(x), count(*) FILTER (regexp_full_match(x, {quote(NUMBER)})), "
        f"count(*) FILTER (lower(x) IN ({words})), approx_count_distinct(x), coalesce(avg(length(x)), 0) "
        f"FROM (SELECT {trimmed(c)} AS x FROM {raw.relation})",
    )[0]
    if total and booleans == total:
        return "boolean"
    if total and numbers_ == total:
        return "number"
    return "text" if length > 60 or (total > 50 and distinct > 0.8 * total) else "category"


# The rows, each by itself ---------------------------------------------------------------------------------------


def draft(con: Any, raw: Raw, dataset: Dataset, now: int | None) -> list[BadInput]:
    """Read the raw relation into ``draft.<table>`` in one pass and tell what is wrong with single values.

    Raises the engine's error when the file cannot be read to its end.
    """
    columns = dataset.columns(raw.table)
    place = {name: j for j, name in enumerate(raw.names)}
    found = {
        name: (j, reading(column, raw.types[j], j, dataset.timezone))
        for name, column in columns.items()
        if (j := place.get(name)) is not None
    }
    run(con, f"CREATE OR REPLACE TABLE draft.{raw.table} AS {_draft_query(raw, columns, found)}")

    tally: list[tuple[str, str, Fault]] = []  # column, condition, what it means
    for name, (j, read) in found.items():
        column = ident(name)
        for k, fault in enumerate(read.faults, 1):
            tally.append((name, f"__f{j} = {k}", fault))
        if columns[name].required:
            fine = f" AND __f{j} = 0" if read.faults else ""
            empty = Fault("null_key", "missing", f"Every row needs its {name}: fill it in or leave the row out.")
            tally.append((name, f"{column} IS NULL{fine}", empty))
        if now is not None and name in MOMENTS:
            what = f"later than now, {format_time(now)}"
            remedy = "Mend the times (day and month swapped? a wrong zone?) or leave the rows out until they come true."
            tally.append((name, f"{column} > {now}", Fault("future_time", what, remedy)))
    if not tally:
        return []
    counts = run(
        con, f"SELECT {', '.join(f'count(*) FILTER ({where})' for _, where, _ in tally)} FROM draft.{raw.table}"
    )[0]
    problems = []
    key = ident(IDS[raw.table])
    for count, (name, where, fault) in zip(counts, tally, strict=True):
        if count:
            _, rows = _bad_rows(
                con,
                f"SELECT d.__row, d.{key} AS key, r.c{place[name]} AS value "
                f"FROM (SELECT * FROM draft.{raw.table} WHERE {where} ORDER BY __row LIMIT {FIRST}) AS d "
                f"JOIN {raw.relation} AS r ON d.__row = r.__row",
            )
            remedy = fault.remedy
            if any(value == name for _, _, value in rows):
                remedy = f"Remove the rows that repeat the header. Otherwise: {remedy}"
            problems.append(finding(raw, name, fault.code, _sentence(count, fault.what), remedy, count, rows))
    return problems


def _draft_query(raw: Raw, columns: Mapping[str, Column], found: Mapping[str, tuple[int, Reading]]) -> str:
    readings = list(found.values())

    def step(items: Iterable[str], source: str) -> str:
        return f"SELECT {', '.join(items)} FROM {source}"

    query = step(["__row", *(f"c{j}, {r.x} AS x{j}" for j, r in readings)], raw.relation)
    query = step(["*", *(f"{r.m} AS m{j}" for j, r in readings)], f"({query})")
    legal = (f"CASE WHEN {r.legal} THEN m{j} END AS v{j}" if r.legal else f"m{j} AS v{j}" for j, r in readings)
    query = step(["*", *legal], f"({query})")
    final = ["__row"]
    for name, column in columns.items():
        sql_type = SQL_TYPES.get(column.kind, "VARCHAR")
        value = f"v{found[name][0]}" if name in found else "NULL"
        final.append(f"{value}::{sql_type} AS {ident(name)}")
    for j, r in readings:
        if r.faults:
            fault = f"CASE WHEN x{j} IS NULL OR v{j} IS NOT NULL THEN 0 ELSE {r.fault} END"
            final.append(f"({fault})::UTINYINT AS __f{j}")
    return step(["*", DERIVED[raw.table]], f"({step(final, f'({query})')})")


# The rows, against each other -------------------------------------------------------------------------------------


def check_repeats(con: Any, raw: Raw, dataset: Dataset) -> tuple[int, list[BadInput]]:
    """Rows of one identity: the number of identical repeats, and the findings on those that differ.

    The repeats' row numbers go to ``draft.drop_<table>``, if there are any; of a group the row recorded first stays,
    else the first one. Of events it takes the earliest retraction of the group: a retraction holds whoever tells it.
    """
    table = raw.table
    ids = [KEYS[table], "__from"] if table in KEYS else ["__id"]
    group, order = ", ".join(ids), "__row" if table in KEYS else "__recorded, __row"
    there = " AND ".join(f"{i} IS NOT NULL" for i in ids)
    found = f"SELECT {group} FROM draft.{table} WHERE {there} GROUP BY ALL HAVING count(*) > 1"
    run(con, f"CREATE OR REPLACE TEMP TABLE repeated AS {found}")
    if run(con, "SELECT count(*) FROM repeated") == [(0,)]:
        return 0, []
    run(
        con,
        f"CREATE OR REPLACE TEMP TABLE repeats AS SELECT *, row_number() OVER (PARTITION BY {group} ORDER BY {order}) "
        f"AS __n, min(__row) OVER (PARTITION BY {group}) AS __first "
        f"FROM draft.{table} SEMI JOIN repeated USING ({group})",
    )
    run(con, f"CREATE OR REPLACE TABLE draft.drop_{table} AS SELECT __row FROM repeats WHERE __n > 1")
    (dropped,) = run(con, f"SELECT count(*) FROM draft.drop_{table}")[0]
    if "retracted_at" in raw.names and table == "events":
        run(
            con,
            "UPDATE draft.events AS d SET retracted_at = g.earliest FROM (SELECT min(__row) FILTER (__n = 1) AS kept, "
            "min(retracted_at) AS earliest FROM repeats GROUP BY __id) AS g "
            "WHERE d.__row = g.kept AND g.earliest IS NOT NULL",
        )
    content = [c for c in dataset.columns(table).values() if c.name not in {*ids, *APART, "event_id"}]
    compared = f"SELECT DISTINCT {group}, {', '.join(ident(c.name) for c in content)} FROM repeats"
    differing = f"SELECT {group} FROM ({compared}) GROUP BY ALL HAVING count(*) > 1"
    run(con, f"CREATE OR REPLACE TEMP TABLE differing AS {differing}")
    (count,) = run(con, "SELECT count(*) FROM differing")[0]
    return dropped, [_difference(con, raw, group, content, count)] if count else []


def _difference(con: Any, raw: Raw, group: str, content: Sequence[Column], count: int) -> BadInput:
    """The finding on the ``count`` groups of temp.differing, with the columns that tell their rows apart."""
    each = [f"count(DISTINCT coalesce({ident(c.name)}::VARCHAR, chr(0))) AS n{i}" for i, c in enumerate(content)]
    flags = run(
        con,
        f"SELECT {', '.join(f'max(n{i}) > 1' for i in range(len(content)))} FROM "
        f"(SELECT {', '.join(each)} FROM repeats SEMI JOIN differing USING ({group}) GROUP BY {group})",
    )[0]
    unlike = [c for c, differs in zip(content, flags, strict=True) if differs]
    names = ", ".join(c.name for c in unlike)
    shown = " || ', ' || ".join(f"{quote(c.name + '=')} || coalesce({_shown(c)}, 'null')" for c in unlike)
    state = raw.table in KEYS
    rows = run(
        con,
        f"SELECT __row + 1, left({KEYS[raw.table] if state else '__id'}, 100), left({shown}, 200) FROM repeats "
        f"SEMI JOIN differing USING ({group}) ORDER BY __first, __row LIMIT {FIRST}",
    )
    if state:
        key, code = KEYS[raw.table], "conflicting_versions"
        message = f"{number_of(count, f'{key} has', f'{key}s have')} two rows at one moment that differ in {names}."
        remedy = "Keep one row per key and observed_at; give an observed_at to tell versions apart."
    else:
        what = raw.table.removesuffix("s")
        key, code = f"{what}_id", f"conflicting_{what}"
        message = f"{number_of(count, f'{key} stands', f'{key}s stand')} for rows that differ in {names}."
        remedy = f"Give each {what} an id of its own, or keep the one row that is true."
    return finding(raw, key, code, message, remedy, count, rows)


def check_across(con: Any, raws: Mapping[str, Raw], broken: set[tuple[str, str]]) -> list[BadInput]:
    """Findings between rows and tables; ``broken`` are the columns that are not there to compare with."""

    def usable(table: str, *columns: str) -> bool:
        return table in raws and not any((table, c) in broken for c in columns)

    problems = []

    def look(raw: Raw, column: str, code: str, query: str, what: str, remedy: str) -> None:
        count, rows = _bad_rows(con, query)
        if count:
            problems.append(finding(raw, column, code, _sentence(count, what), remedy, count, rows))

    if usable("prospects", "prospect_id", "created_at"):
        look(
            raws["prospects"],
            "created_at",
            "created_at_changes",
            f"SELECT __row, prospect_id AS key, {_shown_time('created_at')} AS value FROM draft.prospects "
            "JOIN (SELECT prospect_id, arg_min(created_at, __row) AS first FROM draft.prospects "
            "WHERE created_at IS NOT NULL GROUP BY prospect_id HAVING count(DISTINCT created_at) > 1) "
            "USING (prospect_id) WHERE created_at <> first",
            "unlike the created_at of the prospect's first row",
            "A prospect is created once: give all its rows the same created_at, and the change its observed_at.",
        )
    if usable("prospects", "account_id") and usable("accounts", "account_id"):
        lost = "FROM draft.prospects ANTI JOIN draft.accounts USING (account_id) WHERE account_id IS NOT NULL"
        look(
            raws["prospects"],
            "account_id",
            "unknown_account",
            f"SELECT __row, prospect_id AS key, account_id AS value {lost}",
            "not in accounts",
            f"Add the accounts to {raws['accounts'].file}, or leave account_id empty where the account is unknown."
            + alike(con, f"SELECT DISTINCT account_id {lost}", "SELECT account_id FROM draft.accounts"),
        )
    given = "recorded_at" in raws["events"].names if "events" in raws else False
    if usable("events", "occurred_at", "retracted_at", *(["recorded_at"] if given else [])):
        look(
            raws["events"],
            "retracted_at",
            "retracted_before_recorded",
            f"SELECT __row, event_id AS key, {_shown_time('retracted_at')} AS value FROM draft.events "
            "WHERE retracted_at < __recorded",
            f"earlier than {'the recorded_at' if given else 'the occurred_at'} of the event",
            "Mend the one or the other, or leave the rows out: what was retracted before it was recorded was never "
            "known (recorded_at is by default occurred_at: give the true one where an event was cancelled beforehand).",
        )
    if usable("prospects", "prospect_id", "created_at") and usable("outcomes", "prospect_id", "occurred_at"):
        look(
            raws["outcomes"],
            "occurred_at",
            "outcome_before_creation",
            f"SELECT o.__row, o.prospect_id AS key, {_shown_time('o.occurred_at')} AS value FROM draft.outcomes AS o "
            "JOIN (SELECT prospect_id, min(created_at) AS created_at FROM draft.prospects GROUP BY prospect_id) AS p "
            "ON o.prospect_id = p.prospect_id AND o.occurred_at < p.created_at",
            "earlier than the creation of the prospect",
            "Mend created_at or occurred_at; where both are known to the day only, stamp creations at the day's start "
            "and outcomes at its end.",
        )
    return problems


# How two systems write one key: each by what it is reduced to, and the word for what differs. Of Salesforce's ids, 18
# characters are the 15 and a checksum that tells their capitals apart.
_KEY_FORMS = (
    ("trim(k, {blank})", "white space around it"),
    ("lower(trim(k, {blank}))", "capital letters"),
    (r"regexp_replace(trim(k, {blank}), '\.0+$', '')", "a decimal part, .0"),
    ("ltrim(trim(k, {blank}), '0')", "leading zeros"),
    ("CASE WHEN length(k) IN (15, 18) THEN left(k, 15) END", "its length (Salesforce writes 15 or 18 characters)"),
)


def alike(con: Any, lost: str, known: str) -> str:
    """A sentence on keys that are not found though they are there, written otherwise; empty where there are none.

    Both queries yield one column of keys; the first way of writing that finds any of the lost ones is told.
    """
    if run(con, f"SELECT count(*) FROM ({lost})") == [(0,)]:
        return ""
    for form, what in _KEY_FORMS:
        reduced = form.format(blank=quote(WHITESPACE))
        count, a, b = run(
            con,
            f"SELECT count(*), min(l.k), arg_min(o.k, l.k) FROM (SELECT k, {reduced} AS r FROM ({lost}) AS t(k)) AS l "
            f"JOIN (SELECT {reduced} AS r, min(k) AS k FROM ({known}) AS t(k) WHERE r <> '' GROUP BY r) AS o USING (r)",
        )[0]
        if count:
            are = number_of(count, "key differs", "keys differ")
            return f" {are} from one that is there only in {what}, such as {a[:100]!r} from {b[:100]!r}."
    return ""


def broken_columns(raws: Mapping[str, Raw], dataset: Dataset, problems: Sequence[BadInput]) -> set[tuple[str, str]]:
    """The columns that are absent or hold another type altogether, so that comparing them would mislead."""
    out = {(r.table, c) for r in raws.values() for c in dataset.columns(r.table) if c not in r.names}
    for p in problems:
        if p.code == "wrong_type":
            out.add((p.details["table"], p.details["column"]))
    return out
