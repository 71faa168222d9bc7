"""``leadscore export``: the live records as a data folder that ``check`` and ``train`` read.

Every fact keeps the time at which it was known: versions their ``observed_at``, facts their ``recorded_at``. What was
erased is not there. A merged prospect is not there under its old id: its facts are those of the prospect that it was
merged into, known from the merge on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.contract import ALWAYS, KEYS, STANDARD, Column, Dataset, format_time, parse_date, parse_time

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.engine import Connection

    from serving.store import Store

Row = dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """What was written: rows by table, facts of prospects without a record that were left out, columns inferred,
    values that are not of their declared kind and were left out, and up to when the records are complete."""

    rows: Mapping[str, int]
    orphans: Mapping[str, int]
    inferred: Mapping[str, Mapping[str, str]]
    unreadable: Mapping[str, int]
    complete_until: str | None

    def to_json(self) -> Row:
        """The summary as plain data."""
        return {
            "rows": dict(self.rows),
            "orphans": dict(self.orphans),
            "inferred": {table: dict(columns) for table, columns in self.inferred.items()},
            "unreadable": dict(self.unreadable),
            "complete_until": self.complete_until,
        }


def export_folder(store: Store, out: Path, champion: Dataset | None = None) -> Exported:
    """Write the live records as the data folder ``out``, all or nothing, as they stand at one moment.

    Declared are the columns of the champion's data set, then those of what was loaded; any other attribute that
    records bear is declared by what its values are. Raises BadInput as ``training.sources.folder.check_target`` does
    and ``empty_store``; LeadscoreError where the store fails.
    """
    from features.errors import BadInput
    from training.sources.folder import check_target, write_folder

    check_target(out)
    found = store.read(_read)
    if not found.rows["prospects"]:
        raise BadInput(
            "empty_store",
            "the store holds no prospect.",
            where=store.url,
            remedy="Check the home or LEADSCORE_STORE; records come with PUT /v1/prospects/ID or leadscore load DATA.",
        )
    known = [d for d in (champion, found.loaded) if d is not None]
    dataset, inferred = _declared(known, found.rows)
    until = found.until
    dataset = replace(dataset, timezone=None, complete_until=until)
    unreadable: dict[str, int] = defaultdict(int)
    tables = {table: _table(table, rows, dataset, unreadable) for table, rows in found.rows.items() if rows}
    declared = {table: columns for table, columns in dataset.declared if table in tables}
    dataset = replace(dataset, declared=tuple(declared.items()))
    write_folder(out, tables, declaration(dataset), title="export of the live records")
    return Exported(
        {table: made.num_rows for table, made in tables.items()},
        {table: n for table, n in found.orphans.items() if n},
        inferred,
        dict(unreadable),
        None if until is None else format_time(until),
    )


def champion_dataset(home: Path, goal: str | None = None) -> Dataset | None:
    """The data set of the champion that serves (for a goal), None without one; raises LeadscoreError where broken."""
    from serving.bundle import read_bundle
    from serving.champion import read_pointer

    pointer = read_pointer(home)
    entry = None if pointer is None else pointer["goals"].get(goal or pointer["default"])
    return None if entry is None else read_bundle(home / entry["path"]).features.dataset


@dataclass(frozen=True)
class _Found:
    rows: dict[str, list[Row]]
    orphans: dict[str, int]
    loaded: Dataset | None
    until: int | None


def _read(connection: Connection) -> _Found:
    import sqlalchemy as sa

    from serving.resources import COMPLETE, DATASET
    from serving.store import FACTS, NAMES, VERSIONS, get_meta

    merged = sa.select(NAMES.c.id).where(NAMES.c.kind == "prospects", NAMES.c.target.is_not(None))
    aliases = set(connection.execute(merged).scalars())
    rows: dict[str, list[Row]] = {table: [] for table in STANDARD}
    newest = ALWAYS
    stood: dict[str, str] = {}  # the account of each contact, by its version before
    versions = sa.select(VERSIONS).order_by(VERSIONS.c.kind, VERSIONS.c.id, VERSIONS.c.observed_at)
    for v in connection.execute(versions):
        if v.kind == "prospects" and v.id in aliases:
            continue
        if v.record is None:  # ended by a merge; a contact that stands for nobody any more has no role
            if v.kind == "contacts" and v.id in stood:
                rows["contacts"].append({"contact_id": v.id, "account_id": stood[v.id], "observed_at": v.observed_at})
                newest = max(newest, v.observed_at)
            continue
        if v.kind == "contacts":
            stood[v.id] = v.account_id
        row = json.loads(v.record)
        row |= row.pop("attributes", {})
        row[KEYS[v.kind]] = v.id
        if v.kind != "accounts":
            row["account_id"] = v.account_id
        row["observed_at"] = None if v.observed_at == ALWAYS else v.observed_at
        rows[v.kind].append(row)
        newest = max(newest, v.observed_at)
    prospects = {row["prospect_id"] for row in rows["prospects"]}
    orphans = {"events": 0, "outcomes": 0}
    again: set[tuple[str, str]] = set()
    for f in connection.execute(sa.select(FACTS).order_by(FACTS.c.kind, FACTS.c.id, FACTS.c.part)):
        if f.prospect_id in aliases or (f.retracted_at is not None and f.kind != "events"):
            continue
        newest = max(newest, f.recorded_at, f.retracted_at or ALWAYS)
        if f.prospect_id not in prospects:
            orphans[f.kind] += 1
            continue
        row = json.loads(f.record)
        row |= {"prospect_id": f.prospect_id, "recorded_at": f.recorded_at}
        if f.kind == "events":
            # A fact that a merge of contacts moved is there twice: until then, and from then on.
            row["event_id"] = f"{f.id}~{f.part}" if (f.kind, f.id) in again else f.id
            row |= {"contact_id": f.contact_id, "retracted_at": f.retracted_at}
        again.add((f.kind, f.id))
        rows[f.kind].append(row)
    _bare_accounts(rows)
    loaded = get_meta(connection, DATASET)
    complete = get_meta(connection, COMPLETE)
    until = max(newest, ALWAYS if complete is None else parse_time(complete))
    return _Found(
        rows,
        orphans,
        None if loaded is None else Dataset.from_json(json.loads(loaded)),
        None if until == ALWAYS else until,
    )


def _bare_accounts(rows: Mapping[str, list[Row]]) -> None:
    """An account that a prospect names and of which nothing was sent: a row that says nothing."""
    known = {row["account_id"] for row in rows["accounts"]}
    named = {row["account_id"] for row in rows["prospects"]} - {None}
    rows["accounts"].extend({"account_id": account_id, "observed_at": None} for account_id in sorted(named - known))


def _declared(known: list[Dataset], rows: Mapping[str, list[Row]]) -> tuple[Dataset, dict[str, dict[str, str]]]:
    """The data set with every column that the records bear declared; and those whose kind is only inferred."""
    first = known[0] if known else Dataset()
    declared, inferred = {}, {}
    for table in KEYS:
        columns: dict[str, Column] = {}
        for dataset in known:
            for column in dict(dataset.declared).get(table, ()):
                columns.setdefault(column.name, column)
        new = {
            name: kind
            for name, kind in _kinds(rows[table]).items()
            if name not in columns and all(c.name != name for c in STANDARD[table])
        }
        if new:
            inferred[table] = new
        columns |= {name: Column(name, kind) for name, kind in new.items()}
        if columns:
            declared[table] = tuple(columns.values())
    return replace(first, declared=tuple(declared.items())), inferred


def _kinds(rows: Iterable[Row]) -> dict[str, str]:
    """For each name its kind: that of all its values, or category where they differ."""
    seen: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name, value in row.items():
            if value is not None:
                seen[name].add(_kind(value))
    return {name: next(iter(kinds)) if len(kinds) == 1 else "category" for name, kinds in sorted(seen.items())}


def _kind(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "category"


def _table(table: str, rows: list[Row], dataset: Dataset, unreadable: dict[str, int]) -> pa.Table:
    """The rows as Arrow: the required columns, the declared ones, and every other that holds something."""
    import pyarrow as pa

    arrays = {}
    for name, column in dataset.columns(table).items():
        values = list(_values(column, (row.get(name) for row in rows), f"{table}.{name}", unreadable))
        declared = all(c.name != name for c in STANDARD[table])
        if column.required or declared or any(v is not None for v in values):
            arrays[name] = pa.array(values, type=_arrow_type(column))
    return pa.table(arrays)


def _arrow_type(column: Column) -> Any:
    import pyarrow as pa

    kinds = {
        "time": pa.timestamp("us", tz="UTC"),
        "date": pa.string(),
        "number": pa.float64(),
        "value": pa.float64(),
        "boolean": pa.bool_(),
    }
    return kinds.get(column.kind, pa.string())


def _values(column: Column, values: Iterable[Any], place: str, unreadable: dict[str, int]) -> Iterator[Any]:
    """The values of a column; what a later model declares otherwise than it was sent is left out and counted."""
    numbers, texts = column.kind in ("number", "value"), column.kind in ("category", "text", "key", "enum")
    for value in values:
        if value is None:
            yield None
        elif column.kind == "time":
            yield parse_time(value) if isinstance(value, str) else value
        elif column.kind == "date":
            parse_date(value)
            yield value
        elif column.kind == "boolean":
            fits = isinstance(value, bool)
            unreadable.update({} if fits else {place: unreadable[place] + 1})
            yield value if fits else None
        elif numbers:
            fits = _kind(value) == "number"
            unreadable.update({} if fits else {place: unreadable[place] + 1})
            yield float(value) if fits else None
        elif texts and not isinstance(value, str):
            yield json.dumps(value)
        else:
            yield value


def declaration(dataset: Dataset) -> str:
    """A data set as the text of a ``dataset.toml``."""
    told = dataset.to_json()
    lines = [f"{key} = {_toml(told[key])}" for key in ("timezone", "complete_until") if told[key] is not None]
    if told["order_only"]:
        lines.append("order_only = true")
    lines += ["", "[goal]", *(f"{key} = {_toml(value)}" for key, value in told["goal"].items() if value is not None)]
    if "stages" in told:
        lines += ["", "[stages]", *(f"{stage} = {_toml(types)}" for stage, types in told["stages"].items())]
    for table in KEYS:
        if table in told:
            lines += ["", f"[{table}.columns]"]
            lines += [f"{_toml(name)} = {_toml(entry)}" for name, entry in told[table]["columns"].items()]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """A text, number, truth value, list or flat table as TOML writes it; a text of JSON is one of TOML but for DEL."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
