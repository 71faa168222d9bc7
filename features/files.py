"""From a data folder or from frames to raw relations in the engine, and what is said of a file that is none."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from features.columns import Raw, number_of, quote, run
from features.contract import STANDARD, Dataset
from features.errors import BadInput

_DATA_ENDINGS = {
    *("csv", "tsv", "txt", "tab", "parquet", "parq", "pq", "json", "jsonl", "ndjson", "xls", "xlsx", "ods"),
    *("feather", "arrow", "orc", "avro", "gz", "zip", "zst", "bz2", "xz"),
}


@dataclass(frozen=True)
class Source:
    """Where a table comes from: its name for messages, how the engine opens it, and a sha256 of its content."""

    file: str
    open: Callable[[Any], Raw]
    digest: Callable[[], str]


class UnreadableError(Exception):
    """A file that is no table; the arguments are what is wrong with it and the remedy."""


# Files ------------------------------------------------------------------------------------------------------------


def find_files(folder: Path, dataset: Dataset) -> tuple[dict[str, Source], list[BadInput]]:
    """The source of each table in the folder, and the findings on files that only look like one."""
    sources: dict[str, Source] = {}
    problems = []
    for path in sorted(folder.iterdir()):
        table = path.stem
        if path.suffix in (".csv", ".parquet") and table in STANDARD:
            if table in sources:
                message = f"{table} is there twice, as {sources[table].file} and {path.name}."
                details = {"file": path.name, "table": table}
                remedy = "Keep one of the two files."
                problems.append(BadInput("duplicate_table", message, where=table, remedy=remedy, details=details))
                continue
            opener = _open_csv if path.suffix == ".csv" else _open_parquet
            sources[table] = Source(
                path.name, partial(opener, table=table, path=path, dataset=dataset), partial(_file_digest, path)
            )
        elif path.name != "dataset.toml" and (near := _looks_like(path)):
            problems.append(unknown_name(path.name, near, "folder" if path.is_dir() else "file"))
    return sources, problems


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _looks_like(path: Path) -> str | None:
    """The name that a file probably was meant to have: events_2024.csv, Events.CSV, event.parquet, events.csv.gz."""
    name, _, endings = path.name.lower().partition(".")
    kinds = set(endings.split("."))
    if not name or path.name.startswith("~"):
        return None
    if "toml" in kinds:
        return "dataset.toml" if difflib.get_close_matches(name, ["dataset"], 1, 0.85) else None
    if not path.is_dir() and not kinds & _DATA_ENDINGS:
        return None
    stem = re.sub(r"[^a-z]+(copy|part|new|old|final)?|(copy|part)$", "", name)
    near = difflib.get_close_matches(stem, [*STANDARD, *(t.removesuffix("s") for t in STANDARD)], 1, 0.85)
    if not near:
        return None
    return near[0] if near[0] in STANDARD else near[0] + "s"


def unknown_name(name: str, near: str | None, what: str) -> BadInput:
    """The finding on a file, folder or frame that is ``near`` a name of ours but has another."""
    if near is None:
        remedy = f"Use the names {', '.join(STANDARD)}."
    elif what == "frame" or near == "dataset.toml":
        remedy = f"Name it {near}, or leave it out."
    else:
        remedy = f"Put its rows into one file, {near}.csv or {near}.parquet, or move it away."
    message = f"the {what} looks like {near} but has another name." if near else f"no table has this {what}'s name."
    return BadInput("unknown_file", message, where=name, remedy=remedy, details={"file": name})


def _open_csv(con: Any, table: str, path: Path, dataset: Dataset) -> Raw:
    names, delimiter = csv_header(path, dataset.columns(table))
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names)))
    run(
        con,
        f"CREATE OR REPLACE TABLE draft.raw AS SELECT * FROM read_csv({quote(str(path))}, auto_detect = false, "
        f"columns = {{{columns}}}, header = true, delim = {quote(delimiter)}, quote = '\"', escape = '\"', "
        "nullstr = '', encoding = 'utf-8')",
    )
    relation = "(SELECT rowid AS __row, * FROM draft.raw)"
    return Raw(table, path.name, relation, tuple(names), ("VARCHAR",) * len(names))


def csv_header(path: Path, columns: Mapping[str, Any]) -> tuple[list[str], str]:
    """The column names and the separator: of comma, semicolon and tab the one that yields the most known names."""
    with path.open("rb") as file:
        head = file.read(512)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:2]:
        raise UnreadableError("is UTF-16, not UTF-8", "Save it as UTF-8.")
    if (other := _other_format(head)) is not None and other != "text":
        raise UnreadableError(f"is {other}, not CSV", "Export it as UTF-8 CSV.")
    best: tuple[int, list[str], str] = (-1, [], ",")
    for delimiter in ",;\t":
        with path.open(encoding="utf-8-sig", newline="") as text:
            names = next(csv.reader(text, delimiter=delimiter), [])
        known = sum(n in columns for n in names)
        if known > best[0]:
            best = (known, names, delimiter)
    if not best[1]:
        raise UnreadableError("has no header", "Put the column names into the first line.")
    if not best[0] and (line := _header_below(path, columns)):
        raise UnreadableError(f"has its column names in line {line}, not in the first", "Remove the lines above them.")
    return best[1], best[2]


def _header_below(path: Path, columns: Mapping[str, Any]) -> int | None:
    """The line, of the first twenty, that holds two known names or more: the header below a report's preface."""
    with path.open(encoding="utf-8-sig", newline="") as text:
        for number, line in enumerate(itertools.islice(text, 20), 1):
            for delimiter in ",;\t":
                names = [n.strip().strip('"') for n in line.split(delimiter)]
                if sum(n in columns for n in names) > 1:
                    return number
    return None


def _other_format(head: bytes) -> str | None:
    """What a file is by its first bytes, if neither a table in CSV nor in Parquet; ``text`` for other text."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<table", b"<?xml")):
        return "a web page or XML"
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    return "text" if head and not any(b < 9 for b in head) else None


_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "Parquet",
}


def _open_parquet(con: Any, table: str, path: Path, dataset: Dataset) -> Raw:
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(512)
        if not head.startswith(b"PAR1") and (other := _other_format(head)) is not None:
            remedy = f"Write it as Parquet, or name it {table}.csv if it is CSV."
            raise UnreadableError(f"is {other}, not Parquet", remedy)
    options = "file_row_number = true, hive_partitioning = false, binary_as_string = true"
    source = f"read_parquet({quote(str(path))}, {options})"
    fields = run(con, f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({quote(str(path))})")
    names = []

    def walk(i: int, depth: int) -> int:
        if depth == 1:
            names.append(fields[i][0])  # as written: the engine renames a second column of the same name
        following = i + 1
        for _ in range(fields[i][1]):
            following = walk(following, depth + 1)
        return following

    walk(0, 0)
    if "file_row_number" in (n.lower() for n in names):
        raise UnreadableError("has a column file_row_number", "Rename it; the engine counts rows under that name.")
    types = [row[1] for row in run(con, f"DESCRIBE SELECT * FROM {source}")][:-1]
    aliases = ", ".join(f"c{j}" for j in range(len(names)))
    return Raw(table, path.name, f"(SELECT * FROM {source} AS raw({aliases}, __row))", tuple(names), tuple(types))


def unreadable(table: str, file: str, error: Exception, folder: str) -> BadInput:
    """What the engine said of a file, in our words and without its options."""
    text = str(error)
    line = f" (line {found[1]})" if (found := re.search(r"CSV Error on Line: (\d+)", text)) else ""
    remedy = "Write the file again, as Parquet or UTF-8 CSV."
    if isinstance(error, UnreadableError):
        message, remedy = error.args
    elif isinstance(error, UnicodeDecodeError) or "unicode" in text.lower() or "UTF8" in text:
        message, remedy = f"is not UTF-8{line}", "Save it as UTF-8."
    elif fields := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
        message = f"has {number_of(int(fields[2]), 'field')} where the header has {fields[1]}{line}"
        remedy = "Mend that line; a field that holds the separator or a line end stands between double quotes."
    elif "unterminated quote" in text:
        message = f"has a double quote that is never closed{line}"
        remedy = "Close it; within a quoted field, write it twice."
    elif "invalid state" in text:
        message = "is no valid CSV: its line ends are mixed, or something follows a closing quote"
        remedy = "Save it again with one kind of line end, and double quotes written twice within quoted fields."
    elif isinstance(error, OSError) and error.strerror:
        message = f"cannot be read: {error.strerror}"
    else:
        first = re.sub(r"^[\w ]*Error: ", "", (text.splitlines() or [type(error).__name__])[0])
        message = f"cannot be read: {first.replace(folder.rstrip('/') + '/', '')[:200].rstrip('.')}"
    return BadInput("unreadable_file", f"{message}.", where=file, remedy=remedy, details={"file": file, "table": table})


# Frames -----------------------------------------------------------------------------------------------------------


def frame_source(table: str, frame: Any) -> Source:
    """A pandas frame, an Arrow table or whatever speaks Arrow's protocol, as the source of a table."""
    return Source(table, partial(_open_frame, table=table, frame=frame), partial(_frame_digest, frame))


def _open_frame(con: Any, table: str, frame: Any) -> Raw:
    arrow = _to_arrow(frame)
    names = tuple(arrow.column_names)
    con.register("frame", arrow.rename_columns([f"c{j}" for j in range(len(names))]))
    try:
        run(con, "CREATE OR REPLACE TABLE draft.raw AS SELECT * FROM frame")
    finally:
        con.unregister("frame")
    types = tuple(row[1] for row in run(con, "DESCRIBE draft.raw"))
    return Raw(table, table, "(SELECT rowid AS __row, * FROM draft.raw)", names, types)


def _to_arrow(frame: Any) -> Any:
    """A frame as an Arrow table, its names kept even where two are alike, without its index."""
    import pyarrow

    if isinstance(frame, pyarrow.Table):
        return frame
    if not hasattr(frame, "iloc"):
        return pyarrow.table(frame)
    columns = [_to_arrow_column(frame.iloc[:, j]) for j in range(frame.shape[1])]
    return pyarrow.Table.from_arrays(columns, names=[str(n) for n in frame.columns])


def _to_arrow_column(series: Any) -> Any:
    """A column by Arrow's own reading; as text where that refuses it or would blur it."""
    import pandas
    import pyarrow

    if isinstance(series.dtype, pandas.DatetimeTZDtype):
        utc = series.dt.tz_convert("UTC").dt.tz_localize(None)  # by itself, Arrow goes through what pandas deprecates
        return pyarrow.array(utc).cast(pyarrow.timestamp(series.dt.unit, "UTC"))
    if series.dtype == object:
        zoned = {v.tzinfo is not None for v in series if hasattr(v, "tzinfo") and not pandas.isna(v)}
        plain = len(zoned) < 2  # Arrow would take the naive times of a mixed column for UTC
    else:
        plain = not isinstance(series.dtype, pandas.SparseDtype) and str(series.dtype) != "float16"
    if plain:
        try:
            column = pyarrow.Array.from_pandas(series)
            if not isinstance(column.type, pyarrow.BaseExtensionType):
                return column
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError):
            pass
    texts = [None if pandas.isna(v) else v.isoformat() if hasattr(v, "isoformat") else str(v) for v in series]
    return pyarrow.array(texts, pyarrow.string())


class _HashFile(io.RawIOBase):
    """A file that keeps nothing but the hash of what is written to it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)


def _frame_digest(frame: Any) -> str:
    import pyarrow

    arrow = _to_arrow(frame).replace_schema_metadata(None).combine_chunks()  # how it was cut is not content
    file = _HashFile()
    with pyarrow.ipc.new_stream(pyarrow.PythonFile(file, "w"), arrow.schema) as stream:
        stream.write_table(arrow)
    return file.hash.hexdigest()
