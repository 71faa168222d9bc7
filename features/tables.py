"""Reading a data folder: every row checked in the engine against the contract, then canonical tables in DuckDB.

All that is wrong is found before anything is refused, and nothing is written outside the engine's memory (a table
larger than that spills to the system's temporary folder and is cleaned up with the connection).
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.checks import alike, broken_columns, check_across, check_header, check_repeats, draft, is_reserved
from features.columns import Raw, ident, number_of, quote, run
from features.contract import DAY, DECLARING, FEW_OUTCOMES, KEYS, NEVER, STANDARD, Dataset, format_time, parse_dataset
from features.errors import BadInput, BadTables
from features.files import Source, UnreadableError, find_files, frame_source, unknown_name, unreadable
from features.titles import read_title

if TYPE_CHECKING:
    import ibis
    import pandas as pd
    import pyarrow as pa


QUIET = 30 * DAY  # the end of the data this long after the last record is spoken of


@dataclass(frozen=True)
class Note:
    """Something worth knowing that does not stand in the way: how many rows (days for ``quiet_end``), and where."""

    code: str
    text: str
    count: int
    where: str

    def to_json(self) -> dict[str, Any]:
        """The note as plain data."""
        return {"code": self.code, "text": self.text, "count": self.count, "where": self.where}


@dataclass(frozen=True)
class Tables:
    """The canonical tables of a data set, in a DuckDB of their own, in memory.

    A table that is not in the folder is None. Every column of the contract is there, and every declared one; what
    the files lack is a typed NULL. Keys, categories, enums and texts are VARCHAR, numbers DOUBLE, booleans BOOLEAN;
    times and dates BIGINT microseconds since 1970 (UTC); ``value`` BIGINT in units of 1e-6. State tables also have
    ``valid_from`` and ``valid_to``: a row is known as of t when ``valid_from <= t < valid_to``. Contacts have
    ``buying_role`` (the given role, else the one that the job title tells of) and ``rank`` (the title's), as text.

    Attributes:
        present: for each table of the folder, the columns that its file really holds, in the contract's order.
        rows: for each table of the folder, its canonical rows (identical repeats and orphans are not among them).
        digest: sha256 over the names and contents of the tables, and ``dataset.toml``.
    """

    connection: Any
    dataset: Dataset
    prospects: ibis.Table
    accounts: ibis.Table | None
    contacts: ibis.Table | None
    events: ibis.Table | None
    outcomes: ibis.Table | None
    present: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]
    notes: tuple[Note, ...]
    digest: str
    source: str

    @property
    def until(self) -> int:
        """The end of the data, T: ``complete_until``, else the latest recorded_at, else the latest of the states."""
        if self.dataset.complete_until is not None:
            return self.dataset.complete_until
        recorded = {t: "recorded_at" for t in ("events", "outcomes") if t in self.present}
        state = {t: "valid_from" for t in KEYS if t in self.present} | {"prospects": "greatest(created_at, valid_from)"}
        for latest in (recorded, state):
            each = [f"SELECT max({column}) AS t FROM {table}" for table, column in latest.items()]
            if each:
                (t,) = run(self.connection.con, f"SELECT max(t) FROM ({' UNION ALL '.join(each)})")[0]
                if t is not None:
                    return int(t)
        raise AssertionError("prospects are never empty")


def lasting(events: Any, t: Any) -> Any:
    """The condition (Ibis) that an event has not been retracted by t, in microseconds: ``t < retracted_at``."""
    return events.retracted_at.isnull() | (events.retracted_at > t)


def known_by(tables: Tables, until: int) -> Tables:
    """The tables as they stood at ``until`` (microseconds): nothing that was recorded later, and T is ``until``.

    An event that had been retracted by then stays, with its retraction: it was known until that. The columns that are
    present stay those of the files; the digest names the moment too.
    """

    def facts(table: Any) -> Any:
        if table is None:
            return None
        table = table.filter(table.occurred_at <= until, table.recorded_at <= until)
        if "retracted_at" in table.columns and "retracted_at" in tables.present["events"]:
            table = table.mutate(retracted_at=(table.retracted_at <= until).ifelse(table.retracted_at, None))
        return table

    def states(table: Any) -> Any:
        return None if table is None else table.filter(table.valid_from <= until)

    prospects = tables.prospects.filter(tables.prospects.created_at <= until, tables.prospects.valid_from <= until)
    digest = hashlib.sha256(f"{tables.digest} until {until}".encode()).hexdigest()
    return replace(
        tables,
        dataset=replace(tables.dataset, complete_until=until),
        prospects=prospects,
        accounts=states(tables.accounts),
        contacts=states(tables.contacts),
        events=facts(tables.events),
        outcomes=facts(tables.outcomes),
        digest=digest,
    )


def check_until(tables: Tables, until: int, now: int | None = None, where: str = "--until") -> None:
    """Refuse an end of the data (microseconds) that the tables cannot have.

    Raises:
        BadInput: ``future_time`` where it lies later than ``now``, ``empty_span`` where no prospect is known yet.
    """
    (first,) = run(tables.connection.con, "SELECT min(greatest(created_at, valid_from)) FROM prospects")[0]
    if (problem := _bad_end(until, first, now, where)) is not None:
        raise problem


def _bad_end(until: int, first: int | None, now: int | None, where: str) -> BadInput | None:
    """What is wrong with an end of the data; ``first`` is the moment from which a prospect is known."""
    if now is not None and until > now:
        message = f"the end of the data, {format_time(until)}, is later than now, {format_time(now)}."
        remedy = "Give the moment up to which the records are complete; what is still to come would count as silence."
        return BadInput("future_time", message, where=where, remedy=remedy)
    if first is not None and until < first:
        message = f"the end of the data, {format_time(until)}, lies before the first prospect, {format_time(first)}."
        remedy = "Give a moment after it, up to which the records are complete."
        return BadInput("empty_span", message, where=where, remedy=remedy)
    return None


def read_tables(folder: Path, *, now: int | None = None, need_outcomes: bool = False) -> Tables:
    """Read and check the data folder.

    Args:
        folder: holds ``prospects.csv`` or ``prospects.parquet`` and so on, and perhaps ``dataset.toml``. CSV is UTF-8
            with a header; commas, semicolons or tabs separate; an empty field is null, quoted or not.
        now: microseconds since 1970; times after it are refused. None: no such check.
        need_outcomes: whether outcomes must be there (to train) or may be missing (to score).

    A ``value`` is rounded half to even at its sixth decimal: text (CSV) and DECIMAL by their exact digits, a floating
    column by one product in double (``contract.to_micro`` gives the same integers).

    Raises:
        BadTables: with every finding; each has a stable code, its place, a remedy and, in ``details``, the file,
            table, column, count and the first bad rows (counted from 1, without the header and blank lines).
    """
    folder = Path(folder)
    if not folder.is_dir():
        remedy = "Give the folder that holds prospects.csv or prospects.parquet."
        missing = BadInput("missing_folder", "there is no such folder.", where=str(folder), remedy=remedy)
        raise BadTables([missing])
    settings, problems = b"", []
    dataset = Dataset()
    if (folder / "dataset.toml").exists():
        try:
            settings = (folder / "dataset.toml").read_bytes()
            dataset = parse_dataset(settings.decode("utf-8-sig"))
        except BadInput as e:
            problems.append(e)
        except (OSError, UnicodeDecodeError) as e:
            problems.append(unreadable("", "dataset.toml", e, str(folder)))
    sources, found = find_files(folder, dataset)
    if problems:  # without its settings, a table could be checked against the wrong ones only
        raise BadTables([*problems, *found])
    return _read(sources, dataset, found, now, need_outcomes, settings, str(folder))


def tables_from_frames(
    frames: Mapping[str, pd.DataFrame | pa.Table],
    dataset: Dataset | None = None,
    *,
    now: int | None = None,
    need_outcomes: bool = False,
) -> Tables:
    """As ``read_tables``, over pandas frames or Arrow tables by table name; the very same checks.

    A pandas index is not a column. Times without a zone are refused unless ``dataset.timezone`` names one; in pandas,
    NaN, NaT, NA and None are all null. A column of mixed Python types is read as text.
    """
    dataset = dataset or Dataset()
    problems = []
    for name in (n for n in frames if n not in STANDARD):
        near = difflib.get_close_matches(name, STANDARD, 1, 0.6)
        problems.append(unknown_name(name, near[0] if near else None, "frame"))
    sources = {table: frame_source(table, frames[table]) for table in STANDARD if table in frames}
    settings = json.dumps(dataset.to_json(), sort_keys=True).encode()
    return _read(sources, dataset, problems, now, need_outcomes, settings, "frames")


def _connect() -> Any:
    import ibis

    backend = ibis.duckdb.connect(
        autoinstall_known_extensions=False,
        autoload_known_extensions=False,
        temp_directory=str(Path(tempfile.gettempdir()) / f"leadscore-{uuid.uuid4().hex}"),
    )
    run(backend.con, "SET TimeZone = 'UTC'")
    if run(backend.con, "SELECT current_setting('enable_progress_bar')")[0][0]:
        # On in Jupyter with ipywidgets; without them it is off, and DuckDB refuses even to be told so.
        run(backend.con, "SET enable_progress_bar = false")
    run(backend.con, "CREATE SCHEMA draft")
    return backend


def _read(
    sources: Mapping[str, Source],
    dataset: Dataset,
    problems: list[BadInput],
    now: int | None,
    need_outcomes: bool,
    settings: bytes,
    source: str,
) -> Tables:
    backend = _connect()
    con = backend.con
    bad_settings = list(_check_settings(con, dataset))
    problems = [*bad_settings, *problems, *_missing_tables(sources, dataset, need_outcomes)]
    if bad_settings:
        raise BadTables(problems)
    raws: dict[str, Raw] = {}
    for table in (t for t in STANDARD if t in sources):
        raw, found = _draft(con, table, sources[table], dataset, now, source)
        problems += found
        if raw is None:
            continue
        raws[table] = raw
        (count,) = run(con, f"SELECT count(*) FROM draft.{table}")[0]
        if not count and (table == "prospects" or (table == "outcomes" and need_outcomes)):
            remedy = "Fill it; without prospects there is nothing to score."
            if table == "outcomes":
                remedy = (
                    f"Fill it; at least 1 prospect must have reached the goal, and {FEW_OUTCOMES} make a sound model."
                )
            details = {"file": raw.file, "table": table, "count": 0}
            problems.append(BadInput("empty_table", "there is no row.", where=raw.file, remedy=remedy, details=details))
    if dataset.complete_until is not None:
        first = None
        if "prospects" in raws:
            (first,) = run(con, "SELECT min(greatest(created_at, __from)) FROM draft.prospects")[0]
        end = _bad_end(dataset.complete_until, first, now, "dataset.toml: complete_until")
        problems += [] if end is None else [end]
    dropped = {}
    for table, raw in raws.items():
        dropped[table], found = check_repeats(con, raw, dataset)
        problems += found
    problems += check_across(con, raws, broken_columns(raws, dataset, problems))
    if problems:
        raise BadTables(problems)
    notes = [*_canonical(con, raws, dataset, dropped), *_notes(con, raws, dataset)]
    run(con, "DROP SCHEMA draft CASCADE")
    for table in ("repeated", "repeats", "differing"):
        run(con, f"DROP TABLE IF EXISTS temp.{table}")
    digests = {t: s.digest() for t, s in sources.items()} | {"dataset.toml": hashlib.sha256(settings).hexdigest()}
    digest = hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()
    return Tables(
        connection=backend,
        dataset=dataset,
        **{t: backend.table(t) if t in raws else None for t in STANDARD},
        present={t: tuple(c for c in dataset.columns(t) if c in raw.names) for t, raw in raws.items()},
        rows={t: int(run(con, f"SELECT count(*) FROM {t}")[0][0]) for t in raws},
        notes=tuple(notes),
        digest=digest,
        source=source,
    )


def _draft(
    con: Any, table: str, source: Source, dataset: Dataset, now: int | None, folder: str
) -> tuple[Raw | None, list[BadInput]]:
    """Open a source and read it to its end; without a raw relation, the finding says why it cannot be read."""
    import duckdb

    try:
        raw = source.open(con)
        return raw, [*check_header(con, raw, dataset), *draft(con, raw, dataset, now)]
    except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException, duckdb.OutOfMemoryException):
        raise  # our fault or the machine's, not the file's
    except (duckdb.Error, OSError, UnicodeDecodeError, csv.Error, UnreadableError) as e:
        return None, [unreadable(table, source.file, e, folder)]
    finally:
        run(con, "DROP TABLE IF EXISTS draft.raw")


def _check_settings(con: Any, dataset: Dataset) -> Iterator[BadInput]:
    """What only the engine can tell of ``dataset.toml``: zones it knows, names it can keep apart."""
    import duckdb

    if dataset.timezone is not None:
        try:
            run(con, f"SELECT epoch_us(TIMESTAMP '2000-01-01' AT TIME ZONE {quote(dataset.timezone)})")
        except duckdb.Error:
            yield BadInput(
                "unknown_timezone",
                f"the engine knows no time zone {dataset.timezone!r}.",
                where="dataset.toml: timezone",
                remedy='Use a name such as timezone = "Europe/Paris".',
            )
    for table in DECLARING:
        taken = {c.name.lower(): c.name for c in STANDARD[table]}
        for name in dataset.declared_columns(table):
            other = taken.setdefault(name.lower(), name)
            if other != name or is_reserved(name, table):
                why = f"differs from `{other}` only in capital letters" if other != name else "is kept for internal use"
                yield BadInput(
                    "bad_column",
                    f"the name `{name}` {why}.",
                    where=f"dataset.toml: [{table}.columns]",
                    remedy="Rename the column, in the file as well.",
                )


def _missing_tables(openers: Mapping[str, Any], dataset: Dataset, need_outcomes: bool) -> Iterator[BadInput]:
    for table in STANDARD:
        if table in openers:
            continue
        details = {"table": table}
        if table == "prospects" or (table == "outcomes" and need_outcomes):
            message = f"there is neither {table}.csv nor {table}.parquet."
            remedy = f"Add {table}.csv or {table}.parquet."
            yield BadInput("missing_table", message, where=table, remedy=remedy, details=details)
        elif dataset.declared_columns(table):
            message = f"dataset.toml declares columns of {table}, but there is no such table."
            remedy = f"Add {table}.csv or {table}.parquet, or remove [{table}.columns]."
            yield BadInput("missing_table", message, where=table, remedy=remedy, details=details)


def _canonical(con: Any, raws: Mapping[str, Raw], dataset: Dataset, dropped: Mapping[str, int]) -> Iterator[Note]:
    """Make the canonical tables of the drafts and yield what was noticed on the way."""
    for table, raw in raws.items():
        if dropped[table]:
            repeats = number_of(dropped[table], "row repeats another", "rows repeat another")
            text = f"{repeats} of {table}; each record was counted once."
            yield Note("identical_repeats", text, dropped[table], raw.file)
        columns = [ident(c) for c in dataset.columns(table)]
        known = ""
        if table in KEYS:
            window = f"(PARTITION BY {KEYS[table]} ORDER BY __from)"
            columns += ["__from AS valid_from", f"coalesce(lead(__from) OVER {window}, {NEVER}) AS valid_to"]
        else:
            filled = {'"recorded_at"': "__recorded AS recorded_at", '"outcome_id"': "__id AS outcome_id"}
            columns = [filled.get(c, c) for c in columns]
            known = "SEMI JOIN (SELECT DISTINCT prospect_id FROM prospects) USING (prospect_id)"
        drop = f"ANTI JOIN draft.drop_{table} USING (__row)" if dropped[table] else ""
        run(con, f"CREATE TABLE {table} AS SELECT {', '.join(columns)} FROM draft.{table} {drop} {known}")
        if known:
            (orphans,) = run(
                con, f"SELECT (SELECT count(*) FROM draft.{table}) - {dropped[table]} - (SELECT count(*) FROM {table})"
            )[0]
            if orphans:
                one = f"{table[:-1]} belongs to a prospect"
                many = f"{table} belong to prospects"
                text = f"{number_of(orphans, one, many)} not in prospects; left out."
                lost = f"SELECT DISTINCT prospect_id FROM draft.{table} ANTI JOIN prospects USING (prospect_id)"
                text += alike(con, lost, "SELECT prospect_id FROM prospects")
                yield Note(f"orphan_{table}", text, orphans, f"{raw.file}: prospect_id")
        run(con, f"DROP TABLE draft.{table}")
        if table == "contacts":
            _read_titles(con, dataset)


def _read_titles(con: Any, dataset: Dataset) -> None:
    """Give the contacts their ``buying_role`` and ``rank``: each title that occurs is read once.

    A column that is filled in hindsight tells nothing.
    """
    import pyarrow

    columns = dataset.columns("contacts")
    role, title = (c if columns[c].known != "never" else "NULL" for c in ("role", "job_title"))
    titles = [t for (t,) in run(con, f"SELECT DISTINCT {title} AS title FROM contacts WHERE title IS NOT NULL")]
    read = [read_title(t) for t in titles]
    known = {"title": titles, "title_role": [t.role for t in read], "title_rank": [t.rank for t in read]}
    con.register("titles", pyarrow.table({name: pyarrow.array(v, pyarrow.string()) for name, v in known.items()}))
    run(
        con,
        "CREATE OR REPLACE TABLE contacts AS "
        f"SELECT c.*, coalesce({role}, title_role)::VARCHAR AS buying_role, title_rank AS rank "
        f"FROM contacts AS c LEFT JOIN titles ON titles.title = {title}",
    )
    con.unregister("titles")


def _notes(con: Any, raws: Mapping[str, Raw], dataset: Dataset) -> Iterator[Note]:
    (count,) = run(con, "SELECT count(*) FROM prospects WHERE observed_at < created_at")[0]
    if count:
        text = f"{number_of(count, 'row was', 'rows were')} observed before the prospect was created."
        text += " A prospect is unknown until its created_at."
        yield Note("observed_before_creation", text, count, raws["prospects"].at("observed_at"))
    yield from _quiet_end(con, raws, dataset)
    if "contacts" in raws and "accounts" in raws:
        (count,) = run(
            con, "SELECT count(*) FROM contacts ANTI JOIN (SELECT DISTINCT account_id FROM accounts) USING (account_id)"
        )[0]
        if count:
            belonging = number_of(count, "contact belongs to an account", "contacts belong to accounts")
            text = f"{belonging} not in accounts; kept."
            yield Note("orphan_contacts", text, count, raws["contacts"].at("account_id"))
    if "events" in raws and dataset.stages:
        yield from _staged_never_occur(con, raws["events"], dataset)
    if "outcomes" not in raws:
        return
    yield from _goal_never_occurs(con, raws["outcomes"], dataset)
    count, delay = run(
        con, f"SELECT count(*), median(recorded_at - occurred_at) FROM outcomes WHERE recorded_at - occurred_at > {DAY}"
    )[0]
    if count:
        delayed = f"{number_of(count, 'outcome was', 'outcomes were')} recorded more than a day after occurring"
        text = f"{delayed} (median {delay / DAY:.1f} days)."
        yield Note("late_outcomes", text, count, raws["outcomes"].at("recorded_at"))
    if "events" not in raws:
        return
    goal = dataset.goal
    closing = ", ".join(quote(o) for o in goal.closing)
    started = ""  # what follows a sale closes only after that sale
    if goal.starts_at is not None:
        started = (
            "JOIN (SELECT prospect_id, min(occurred_at) AS start FROM outcomes "
            f"WHERE outcome = {quote(goal.starts_at)} GROUP BY prospect_id) AS s "
            "ON o.prospect_id = s.prospect_id AND o.occurred_at > s.start"
        )
    (count,) = run(
        con,
        "SELECT count(*) FROM events AS e JOIN (SELECT o.prospect_id, min(o.occurred_at) AS closed "
        f"FROM outcomes AS o {started} WHERE o.outcome IN ({closing}) GROUP BY o.prospect_id) AS c "
        "ON e.prospect_id = c.prospect_id AND e.occurred_at > c.closed",
    )[0]
    if count:
        text = f"{number_of(count, 'event')} occurred after the outcome that closed the prospect."
        yield Note("events_after_close", text, count, raws["events"].at("occurred_at"))


def _staged_never_occur(con: Any, raw: Raw, dataset: Dataset) -> Iterator[Note]:
    """A note for each event type that ``[stages]`` names and that no event bears."""
    occurring = dict(run(con, "SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY n DESC, type"))
    for stage, types in dataset.stages:
        for type_ in (t for t in types if t not in occurring):
            near = nearest(type_, occurring)
            text = f"no event is of the type {type_!r}, which [stages] names for {stage}; {there_are(occurring)}."
            text += f" Did you mean {near!r}?" if near is not None else ""
            yield Note("stage_never_occurs", text, sum(occurring.values()), raw.at("type"))


def _quiet_end(con: Any, raws: Mapping[str, Raw], dataset: Dataset) -> Iterator[Note]:
    """A note where the data are said to reach far beyond their last record: silence would be taken for loss."""
    until = dataset.complete_until
    if until is None:
        return
    moments = {"prospects": "greatest(created_at, valid_from)", "accounts": "valid_from", "contacts": "valid_from"}
    moments |= {"events": "recorded_at", "outcomes": "recorded_at"}
    each = [f"SELECT max({moments[t]}) AS t FROM {t} WHERE {moments[t]} <= {until}" for t in raws]
    latest = f"SELECT max(t) FROM ({' UNION ALL '.join(each)})"
    first, last = run(con, f"SELECT (SELECT min(created_at) FROM prospects), ({latest})")[0]
    quiet = until - last
    if quiet > QUIET or (quiet > DAY and 10 * quiet > until - first):
        days = quiet // DAY
        text = (
            f"nothing is recorded in the last {number_of(days, 'day')} before the end of the data: the last record is "
            f"of {format_time(last)}. If the records stop there, set complete_until to that moment; a model takes "
            "silence for loss."
        )
        yield Note("quiet_end", text, days, "dataset.toml: complete_until")


def nearest(wanted: str, names: Iterable[str]) -> str | None:
    """The name that is most like the wanted one but for its capitals; of alike ones the first, None where none is."""
    plain = {name.casefold(): name for name in reversed([*names])}
    near = difflib.get_close_matches(wanted.casefold(), plain, 1, 0.4)
    return plain[near[0]] if near else None


def there_are(occurring: Mapping[str, int]) -> str:
    """Which names occur how often, in words: the first five of them, commonest first as given."""
    shown = ", ".join(f"{name!r} ({n:,})" for name, n in islice(occurring.items(), 5))
    more = f" and {number_of(len(occurring) - 5, 'other')}" if len(occurring) > 5 else ""
    return f"there are {shown or 'none at all'}{more}"


def _goal_never_occurs(con: Any, raw: Raw, dataset: Dataset) -> Iterator[Note]:
    """A note for each outcome that the goal names and that no row of outcomes holds."""
    occurring = run(con, "SELECT outcome, count(*) AS n FROM outcomes GROUP BY outcome ORDER BY n DESC, outcome")
    names: dict[str, int] = dict(occurring)
    if not names:
        return
    total = sum(names.values())
    for code, setting, wanted in (
        ("goal_never_occurs", "outcome", dataset.goal.outcome),
        ("start_never_occurs", "starts_at", dataset.goal.starts_at),
    ):
        if wanted is None or wanted in names:
            continue
        near = nearest(wanted, names)
        written = json.dumps(occurring[0][0] if near is None else near, ensure_ascii=False)
        remedy = f"for {'the commonest' if near is None else 'the nearest'}, write {setting} = {written} below [goal]"
        found = f"of {number_of(total, 'outcome')} none is {wanted!r}, which [goal] names as {setting}"
        yield Note(code, f"{found}; {there_are(names)}; {remedy} in dataset.toml.", total, raw.at("outcome"))
