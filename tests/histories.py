"""Small worlds of raw rows, full of collisions, and random feature sets; and the same worlds as files and as records.

One generator, fed by any ``random.Random``: a seeded one for the thousand worlds that go through DuckDB together,
hypothesis's own for worlds that shrink. Raw rows are as in ``tests.oracle``.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from features.contract import ALWAYS, DAY, Column, Dataset, clean_text, parse_dataset, parse_date, parse_time
from features.errors import BadInput
from features.records import Event, Outcome, Records, Version, Versions, first_recorded
from features.spec import (
    CALENDAR_PARTS,
    NAF_PARTS,
    OPERATIONS,
    OUTCOME_OPERATIONS,
    Aggregate,
    Attribute,
    Expression,
    Feature,
    FeatureSet,
)
from features.titles import RANKS

Raw = dict[str, list[dict[str, Any]]]

DECLARED = {
    "prospects": {"origin": "category", "fit": "number", "flagged": "boolean", "remark": "text"},
    "accounts": {"tier": "category", "growth": "number"},
    "contacts": {"seniority": "category"},
}
FORMS = ("csv", "parquet-us", "parquet-ns", "parquet-text", "parquet-naive")
WINDOWS = (None, None, 1, 2, 3, 7)
TYPES = ("mail", "call", "D\u00e9mo", "visite guid\u00e9e", "quote")
STAGED = {"discover": ("mail", "quote"), "compare": ("call",), "decide": ("D\u00e9mo", "never sent")}
# Of every role and rank, of none, and such as no table of titles can know; a role is given only now and then.
TITLES = ("CFO", "ing\u00e9nieure", "Resp. achats", "acheteuse", "DSI", "infirmier", "VP Sales", "stagiaire", "zzz")
INDUSTRIES = ("62.01Z", "6201Z", "62.0", "43", "99.99", "b\u00e2timent", "00.00Z", "47.1Z", "62.01 z", "6201", "0112z")
BAND_CODES = ("NN", "00", "03", "11", "32", "52", "53", "3", "250 et plus")
OUTCOMES = ("won", "lost", "renewed", "priv\u00e9")
CHANNELS = ("web", "t\u00e9l\u00e9phone")
# Ids on which orders differ: by case, digits, accents, composed or not, beyond the sixteen-bit plane.
IDS = (*"12aBZz_", "10", "\u00e9", "e\u0301", "\u00df", "ss", "\uff5e", "\U0001f600", "a a", "\u4e2d")
_BIG = ("1000000000", "999999999.999999", "0.000001")
# A world's values have a theme, so that float sums of many would go wrong and sums beyond 2**53 come about.
VALUES = (
    ("0.1",),
    _BIG,
    tuple(f"-{v}" for v in _BIG),
    (*_BIG, *(f"-{v}" for v in _BIG), "0.1"),
    ("0.1", "0.2", "0.3", "-0.1", "3", "0", "123456.789", "19.99", "-7.000003", "333333333.333333"),
)
_MICRO = 1_000  # in nanoseconds
_DAY = 86_400_000_000_000
_STARTS = tuple(
    int((datetime(*day, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000_000
    for day in ((2024, 2, 27), (2025, 3, 29), (2023, 12, 30), (1969, 12, 30), (2020, 6, 15))
)


@dataclass(frozen=True)
class Shape:
    """What a data folder holds at all: which tables, which optional columns, in which form of file."""

    absent: tuple[str, ...] = ()  # tables
    empty: tuple[str, ...] = ()  # tables that are there and hold no row
    without: tuple[tuple[str, str], ...] = ()  # (table, column)
    form: str = "parquet-us"

    @property
    def toml(self) -> str:
        """The text of ``dataset.toml``; it declares columns of the tables that are there."""
        lines = ['timezone = "UTC"'] if self.form == "parquet-naive" else []
        for table, columns in DECLARED.items():
            if table not in self.absent:
                lines.append(f"[{table}.columns]")
                lines += [f'{name} = {{kind = "{kind}"}}' for name, kind in columns.items()]
        lines += ["[stages]", *(f"{stage} = {json.dumps(types)}" for stage, types in STAGED.items())]
        return "\n".join(lines) + "\n"

    @property
    def dataset(self) -> Dataset:
        return parse_dataset(self.toml)

    def columns(self, table: str) -> dict[str, Column]:
        gone = {column for where, column in self.without if where == table}
        return {name: c for name, c in self.dataset.columns(table).items() if name not in gone}


@dataclass
class World:
    """Raw rows of a few prospects, and the (prospect, t in microseconds) to look at."""

    rows: Raw
    pairs: list[tuple[str, int]] = field(default_factory=list)


def random_shape(r: random.Random) -> Shape:
    """Mostly everything; now and then a table or a column is not there, or a table is empty."""
    absent = [t for t in ("accounts", "contacts", "events", "outcomes") if r.random() < 0.06]
    empty = [t for t in ("contacts", "events", "outcomes") if t not in absent and r.random() < 0.04]
    dataset = Shape().dataset
    without = [
        (table, name)
        for table in ("prospects", "accounts", "contacts", "events", "outcomes")
        for name, column in dataset.columns(table).items()
        if not column.required and name not in DECLARED.get(table, ()) and r.random() < 0.06
    ]
    return Shape(tuple(absent), tuple(empty), tuple(without), r.choice(FORMS))


def random_world(r: random.Random, shape: Shape, tag: str = "") -> World:
    """A world on a tiny grid of times; ``tag`` stands before every id, so that worlds can share a folder."""
    return _Maker(r, shape, tag).world()


class _Maker:
    def __init__(self, r: random.Random, shape: Shape, tag: str) -> None:
        self.r, self.shape, self.tag = r, shape, tag
        start = r.choice(_STARTS)
        jitters = (0, 0, 0, _MICRO, -_MICRO, _DAY // 2, _DAY - _MICRO, _DAY - 1, 999, 500, -1)
        self.grid = [start + r.randrange(9) * _DAY + r.choice(jitters) for _ in range(r.randint(2, 6))]

    def moment(self) -> int:
        """A time of the grid, now and then a hair or a window beside it."""
        at = self.r.choice(self.grid)
        if self.r.random() < 0.3:
            at += self.r.choice((-_MICRO, _MICRO, -1, 1, 999, _DAY, -_DAY, 2 * _DAY, 7 * _DAY, 3 * _DAY - _MICRO))
        return at

    def maybe(self, what: Any, chance: float = 0.75) -> Any:
        return what if self.r.random() < chance else None

    def text(self, words: Sequence[str], nullable: bool = True) -> str | None:
        """A word, now and then as people type it: padded, with its accents apart, empty."""
        if nullable and self.r.random() < 0.25:
            return self.r.choice((None, "", "  "))
        word = self.r.choice(words)
        if self.r.random() < 0.15:
            word = self.r.choice((f" {word}", f"{word}\u00a0", f"\t{word} ", word.replace("\u00e9", "e\u0301")))
        return word

    def versions(self, table: str, key: str, make: Any, always: bool = False) -> list[dict[str, Any]]:
        """One to three versions of a key, no two at one moment unless they repeat one another."""
        columns = self.shape.columns(table)
        out: list[dict[str, Any]] = []
        taken: set[Any] = set()
        several = "observed_at" in columns
        for _ in range(self.r.choice((1, 1, 2, 3)) if several else 1):
            row = {"observed_at": self.maybe(self.moment(), 0.8) if several else None, **make()}
            since = row["observed_at"] if row["observed_at"] is not None else row.get("created_at")
            since = None if since is None else since // 1000
            if since in taken:
                continue
            taken.add(since)
            row = {name: row.get(name) for name in columns}
            out.append(row)
            if self.r.random() < 0.1:
                out.append(dict(row))
        return out

    def world(self) -> World:
        r, shape, tag = self.r, self.shape, self.tag
        ids = list(IDS)
        r.shuffle(ids)
        account_ids = [f"{tag}a{i}" for i in ids[: r.choice((0, 1, 1, 1, 2))]]
        prospect_ids = [f"{tag}p{i}" for i in ids[: r.choice((1, 2, 2, 3, 4))]]
        contact_ids = [f"{tag}c{i}" for i in ids[: r.choice((0, 1, 2, 3, 3))]]

        def account(key: str) -> dict[str, Any]:
            return {
                "account_id": key,
                "country": self.text(("FR", "DE")),
                "industry": self.text(INDUSTRIES),
                "headcount": self.maybe(r.choice((0, 1, 9, 9.5, 10, 25, 249, 249.5, 250, 5000, 0.5)), 0.6),
                "headcount_band": self.text(BAND_CODES),
                "headcount_band_year": self.maybe(r.choice((2021, 2024))),
                "company_category": self.text(("PME", "ETI", "GE")),
                "local_authority": self.maybe(r.random() < 0.5),
                "revenue": self.maybe(r.choice((0, -1.5, 0.1, 1e15, 123456.789))),
                "founded_on": self.maybe(
                    r.choice((date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date(1901, 3, 1)))
                ),
                "legal_form": self.text(("SA", "SARL")),
                "public_body": self.maybe(r.random() < 0.5),
                "tier": self.text(("gold", "\u00e9tain")),
                "growth": self.maybe(r.choice((0, -0.25, 0.1, 7, 1 / 3, 5e-324, -1e308))),
            }

        def contact(key: str) -> dict[str, Any]:
            return {
                "contact_id": key,
                "account_id": r.choice(account_ids),
                "role": self.maybe(self.text(("buyer", "prescriber", "user")), 0.6),
                "job_title": self.text(TITLES),
                "seniority": self.text(("senior", "junior")),
            }

        def prospect(key: str, created: int) -> dict[str, Any]:
            return {
                "prospect_id": key,
                "created_at": created,
                "account_id": self.maybe(r.choice(account_ids), 0.85) if account_ids else None,
                "source": self.text(("webinar", "salon", "r\u00e9seau")),
                "regime": self.maybe(self.text(("mass", "industrial", "project")), 0.6),
                "approach": self.text(("b2b", "b2b2e", "b2b2u")),
                "tender_deadline": self.maybe(self.moment() + r.choice((0, 30 * _DAY)), 0.5),
                "tender_announced_at": self.maybe(self.moment(), 0.5),
                "origin": self.text(("paid", "organic")),
                "fit": self.maybe(r.choice((0, 0.1, -2.5, 10, 10.0000001, 1e-9, 1.7e308))),
                "flagged": self.maybe(r.random() < 0.5),
                "remark": self.text(('call back, "soon"', "line\nbreak")),
            }

        rows: Raw = {t: [] for t in ("prospects", "accounts", "contacts", "events", "outcomes")}
        creations = {}
        for key in account_ids:
            rows["accounts"] += self.versions("accounts", key, lambda key=key: account(key))
        for key in contact_ids if account_ids else ():
            rows["contacts"] += self.versions("contacts", key, lambda key=key: contact(key))
        for key in prospect_ids:
            creations[key] = created = self.moment()
            rows["prospects"] += self.versions("prospects", key, lambda key=key, c=created: prospect(key, c))
        self.events(rows, prospect_ids, contact_ids, ids)
        self.outcomes(rows, creations)
        kept = {t: [] if t in shape.empty else found for t, found in rows.items() if t not in shape.absent}
        for found in kept.values():
            r.shuffle(found)
        return World(kept, [(p, t) for p in prospect_ids for t in self.moments(rows)])

    def events(self, rows: Raw, prospect_ids: list[str], contact_ids: list[str], ids: list[str]) -> None:
        r, tag = self.r, self.tag
        columns = self.shape.columns("events")
        values = r.choice(VALUES)
        favourite = r.choice(prospect_ids)  # so that others stay idle
        heap = r.random() < 0.15  # all on one prospect, so that sums grow large
        for n in range(len(ids) if heap else r.choice((0, 2, 6, 10, 14, 16))):
            at = self.moment()
            row = {
                "event_id": f"{tag}e{ids[n]}",
                "prospect_id": favourite
                if heap
                else r.choice((favourite, favourite, *prospect_ids, f"{tag}p-unknown")),
                "type": self.text(TYPES, nullable=False),
                "occurred_at": at,
                "recorded_at": r.choice((None, at, at, at, self.moment(), at + _MICRO, at - _DAY)),
                "contact_id": r.choice((None, f"{tag}c-unknown", *contact_ids * 2)),
                "direction": self.text(("inbound", "outbound")),
                "channel": self.text(CHANNELS),
                "value": self.maybe(Decimal(r.choice(values)), 1 if heap else 0.8),
                "retracted_at": None,
            }
            row = {name: row[name] for name in columns}
            if "retracted_at" in columns:
                row["retracted_at"] = self.retraction(row)
            rows["events"].append(row)
            while r.random() < 0.2:
                again = dict(row)
                if "recorded_at" in columns:
                    again["recorded_at"] = r.choice((None, self.moment(), at + 2 * _DAY))
                if "retracted_at" in columns:
                    again["retracted_at"] = self.retraction(again)
                again["occurred_at"] = at - at % 1000 + r.choice((0, at % 1000, 999))  # the same microsecond
                rows["events"].append(again)

    def retraction(self, row: Mapping[str, Any]) -> int | None:
        """Now and then a moment not before the event's recording, at times before it occurred."""
        r, recorded = self.r, row.get("recorded_at")
        recorded = row["occurred_at"] if recorded is None else recorded
        later = (recorded, recorded + _MICRO, recorded + _DAY, max(recorded, self.moment()))
        return r.choice((*(None,) * 12, *later))

    def outcomes(self, rows: Raw, creations: Mapping[str, int]) -> None:
        """Some outcomes after the prospects' creations, recorded late or twice; an id may be left to the default."""
        r = self.r
        columns = self.shape.columns("outcomes")
        for n in range(r.choice((0, 0, 1, 2, 4, 6))):
            key = r.choice([*creations])
            at = max(self.moment(), creations[key])
            row = {
                "prospect_id": key,
                "outcome": self.text(OUTCOMES, nullable=False),
                "occurred_at": at,
                "recorded_at": r.choice((None, at, self.moment(), at + _DAY, at + _MICRO)),
                "outcome_id": self.maybe(f"{self.tag}o{n}", 0.6),
            }
            row = {name: row[name] for name in columns}
            rows["outcomes"].append(row)
            while r.random() < 0.2:
                again = {name: r.choice((None, self.moment())) for name in columns if name == "recorded_at"}
                rows["outcomes"].append({**row, **again})

    def moments(self, rows: Raw) -> list[int]:
        """Three times to look at: on an edge of something, a window after it, or one microsecond beside."""
        r = self.r
        marks = [*self.grid]
        for found in rows.values():
            for row in found:
                marks += [
                    row[c]
                    for c in ("occurred_at", "recorded_at", "observed_at", "created_at", "retracted_at")
                    if row.get(c) is not None
                ]
        out = set()
        for _ in range(3):
            at = max(r.choice(marks) for _ in range(r.choice((1, 2, 4)))) // 1000
            at += r.choice((0, 0, 0, 1, -1)) + r.choice((0, 0, 1, 2, 3, 7)) * DAY
            out.add(at)
        return sorted(out)


def random_features(r: random.Random, dataset: Dataset, count: int = 36) -> FeatureSet:
    """A feature set of ``count`` features: every operation, a plain sum and mean, the rest as it falls."""
    found: dict[str, Feature] = {f.name: f for f in (Aggregate("sum"), Aggregate("mean"))}
    for operation in OPERATIONS * 2:
        feature: Feature = random_aggregate(r, dataset, operation)
        found.setdefault(feature.name, feature)
    for feature in (*(random_outcomes(r) for _ in range(3)), OPEN):
        found.setdefault(feature.name, feature)
    while len(found) < count:
        feature = random_feature(r, dataset)
        found.setdefault(feature.name, feature)
    features = list(found.values())
    r.shuffle(features)
    return FeatureSet(dataset, tuple(features))


OPEN = Aggregate("open", scope="account", table="prospects")


def random_aggregate(r: random.Random, dataset: Dataset, operation: str) -> Aggregate:
    def now_and_then(choices: Sequence[str]) -> str | None:
        return r.choice(choices) if r.random() < 0.2 else None

    stages = [stage for stage, _ in dataset.stages]
    return Aggregate(
        operation,
        type=now_and_then(TYPES * 2 + ("never seen",)),
        days=r.choice(WINDOWS),
        scope=r.choice(("prospect", "account")),
        direction=now_and_then(("inbound", "outbound")),
        role=now_and_then(("buyer", "prescriber", "user")),
        channel=now_and_then(CHANNELS),
        stage=now_and_then(stages) if stages else None,
        rank=now_and_then(RANKS),
    )


def random_outcomes(r: random.Random) -> Aggregate:
    return Aggregate(
        r.choice(OUTCOME_OPERATIONS),
        type=r.choice((None, "won", "lost", "renewed", "priv\u00e9", "never seen")),
        days=r.choice(WINDOWS),
        scope=r.choice(("prospect", "account", "account")),
        table="outcomes",
    )


def _attributes(dataset: Dataset, kinds: tuple[str, ...]) -> list[Attribute]:
    return [
        Attribute(table, name)
        for table in ("prospects", "accounts")
        for name, column in dataset.columns(table).items()
        if column.kind in kinds
    ]


def random_feature(r: random.Random, dataset: Dataset, depth: int = 0) -> Feature:
    """Any feature; with ``depth``, one that yields a number, as an expression takes it."""
    kind = r.random()
    if kind < 0.25:
        plain = ("number", "boolean") if depth else ("number", "boolean", "category", "enum")
        return r.choice(_attributes(dataset, plain))
    if kind < 0.5 or depth > 2:
        some = (random_aggregate(r, dataset, r.choice(OPERATIONS)), random_outcomes(r), OPEN)
        return r.choices(some, (6, 2, 1))[0]
    if kind < 0.65:
        return _of_firms(r, dataset, depth)
    if kind < 0.78:
        return _of_positions(r, dataset, depth)
    moment = r.choice(_attributes(dataset, ("time", "date")))
    operation = r.choice(("ratio", "ratio", "difference", "band", "age", "days_until", "calendar"))
    if operation in ("ratio", "difference"):
        return Expression(operation, (random_feature(r, dataset, depth + 1), random_feature(r, dataset, depth + 1)))
    if operation == "band":
        cuts = tuple(sorted(r.sample((-1.0, 0.0, 0.1, 1.0, 2.5, 10.0, 250.0), r.randint(1, 4))))
        return Expression("band", (random_feature(r, dataset, depth + 1),), cuts=cuts)
    if operation == "calendar":
        return Expression("calendar", r.choice(((), (moment,))), part=r.choice(CALENDAR_PARTS))
    return Expression(operation, (moment,))


def _of_firms(r: random.Random, dataset: Dataset, depth: int) -> Expression:
    """Mostly over the columns that they are meant for, now and then over another of that kind."""

    def column(name: str, *kinds: str) -> Attribute:
        return Attribute("accounts", name) if r.random() < 0.8 else r.choice(_attributes(dataset, kinds))

    headcount, band = column("headcount", "number"), column("headcount_band", "category", "enum")
    operation = r.choice(("band_order", "size_conflict") if depth else ("naf", "band_order", "size_conflict", "regime"))
    if operation == "naf":
        return Expression("naf", (column("industry", "category"),), part=r.choice(NAF_PARTS))
    if operation == "band_order":
        return Expression("band_order", (band,))
    if operation == "size_conflict":
        return Expression("size_conflict", (column("company_category", "category", "enum"), headcount, band))
    regime, deadline = Attribute("prospects", "regime"), r.choice(_attributes(dataset, ("time",)))
    return Expression("regime", (regime, deadline, headcount, band))


def _of_positions(r: random.Random, dataset: Dataset, depth: int) -> Expression:
    """The stage reached, its days, the latest stage; or a position among any numbers."""
    operation = r.choice(("reached", "last_known", "latest"))
    stages = [stage for stage, _ in dataset.stages]
    if len(stages) > 1 and r.random() < 0.5:
        aggregate = random_aggregate(r, dataset, r.choice(("days_since_first", "days_since_last", "count", "last")))
        return Expression(operation, tuple(replace(aggregate, stage=stage) for stage in stages))
    return Expression(operation, tuple(random_feature(r, dataset, depth + 1) for _ in range(r.randint(1, 3))))


@st.composite
def cases(draw: Any) -> tuple[Shape, World, FeatureSet]:
    """A shape, one world of that shape and a feature set over it; shrinks."""
    r = draw(st.randoms(use_true_random=False))
    shape = random_shape(r)
    return shape, random_world(r, shape), random_features(r, shape.dataset, 20)


def joined(worlds: Sequence[World]) -> World:
    """Worlds with different tags as one."""
    rows = {table: [row for w in worlds for row in w.rows[table]] for table in worlds[0].rows}
    return World(rows, [pair for w in worlds for pair in w.pairs])


# -- as files ---------------------------------------------------------------------------------------------------------


def time_text(nanos: int, zone: str = "Z") -> str:
    """An ISO 8601 text with nine digits."""
    seconds, fraction = divmod(nanos, 1_000_000_000)
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    if zone == "+02:00":
        moment += timedelta(hours=2)
    return f"{moment.isoformat()}.{fraction:09d}{zone}"


def write_folder(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], shape: Shape) -> Path:
    """Write a data folder of raw rows in the shape's form."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(shape.toml, encoding="utf-8")
    for table, found in rows.items():
        columns = shape.columns(table)
        if shape.form == "csv":
            with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                for n, row in enumerate(found):
                    writer.writerow([_csv_cell(row.get(name), c.kind, n) for name, c in columns.items()])
        else:
            _write_parquet(folder / f"{table}.parquet", found, columns, shape.form)
    return folder


def _csv_cell(cell: Any, kind: str, n: int) -> str:
    if cell is None:
        return ""
    if kind == "time":
        return time_text(cell, "+02:00" if n % 3 == 0 else "Z")
    if kind == "boolean":
        return "true" if cell else "false"
    if kind == "date":
        return cell.isoformat()
    return repr(cell) if kind == "number" else str(cell)


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Column], form: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    unit = {"parquet-us": "us", "parquet-ns": "ns", "parquet-naive": "us"}.get(form)
    moment = pa.string() if unit is None else pa.timestamp(unit, tz=None if form == "parquet-naive" else "UTC")
    types = {"time": moment, "date": pa.date32(), "number": pa.float64(), "value": pa.float64(), "boolean": pa.bool_()}

    def cell(value: Any, kind: str) -> Any:
        if value is None:
            return None
        if kind == "time":
            return time_text(value) if unit is None else value if unit == "ns" else value // 1000
        return float(value) if kind in ("number", "value") else value

    arrays = {
        name: pa.array([cell(row.get(name), c.kind) for row in rows], type=types.get(c.kind, pa.string()))
        for name, c in columns.items()
    }
    pq.write_table(pa.table(arrays), path)


# -- as records -------------------------------------------------------------------------------------------------------


def records_of(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], prospect_id: str, dataset: Dataset, r: random.Random
) -> Records:
    """What a caller or the store would hand over of one prospect: its own records and those of its account's others."""
    return next(records_of_all(rows, [prospect_id], dataset, r))


def records_of_all(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], prospect_ids: Sequence[str], dataset: Dataset, r: random.Random
) -> Iterator[Records]:
    """As ``records_of``, for several prospects of one world; ``r`` shuffles whatever has no order."""
    prospects = _versions(rows["prospects"], "prospects", dataset, r)
    accounts = _versions(rows["accounts"], "accounts", dataset, r) if "accounts" in rows else None
    contacts = _versions(rows["contacts"], "contacts", dataset, r) if "contacts" in rows else None
    events = _events(rows["events"], dataset) if "events" in rows else None
    outcomes = _outcomes(rows["outcomes"]) if "outcomes" in rows else None
    for key in prospect_ids:
        own = {v.values["account_id"] for v in prospects[key]} - {None}
        others = {
            other: found
            for other, found in prospects.items()
            # Whoever shared an account at any time; now and then everyone, since the function has to look itself.
            if other != key and (own & {v.values["account_id"] for v in found} or r.random() < 0.2)
        }
        mine = None if events is None else _mixed([e for e in events if e.prospect_id == key], r)
        theirs = None if events is None else _mixed([e for e in events if e.prospect_id in others], r)
        yield Records(
            prospect_id=key,
            prospect=prospects[key],
            accounts=accounts,
            contacts=contacts,
            events=mine,
            outcomes=None if outcomes is None else tuple(o for o in outcomes if o.prospect_id == key),
            related=others,
            related_events=theirs,
            related_outcomes=None if outcomes is None else tuple(o for o in outcomes if o.prospect_id in others),
        )


def _mixed(items: Sequence[Any], r: random.Random) -> tuple[Any, ...]:
    out = list(items)
    r.shuffle(out)
    return tuple(out)


def canonical(cell: Any, kind: str) -> Any:
    """A raw cell as the records hold it, through the product's own readers of texts and times."""
    if cell is None:
        return None
    if kind == "time":
        return parse_time(time_text(cell))
    if kind == "date":
        return parse_date(cell.isoformat())
    if kind == "value":
        return int(cell.scaleb(6))
    if kind in ("category", "enum", "text"):
        return clean_text(cell)
    return float(cell) if kind == "number" else cell


def _canonical(row: Mapping[str, Any], table: str, dataset: Dataset) -> dict[str, Any]:
    return {name: canonical(row.get(name), c.kind) for name, c in dataset.columns(table).items()}


def _versions(rows: Sequence[Mapping[str, Any]], table: str, dataset: Dataset, r: random.Random) -> dict[str, Versions]:
    key = {"prospects": "prospect_id", "accounts": "account_id", "contacts": "contact_id"}[table]
    out: dict[str, list[Version]] = {}
    for row in rows:
        values = _canonical(row, table, dataset)
        since = values["observed_at"]
        if since is None:
            since = values["created_at"] if table == "prospects" else ALWAYS
        out.setdefault(values[key], []).append(Version(since, values))
    return {k: _mixed(found, r) for k, found in out.items()}


def _events(rows: Sequence[Mapping[str, Any]], dataset: Dataset) -> tuple[Event, ...]:
    from features.online import merge_events

    found = []
    for row in rows:
        values = _canonical(row, "events", dataset)
        if values["recorded_at"] is None:
            values["recorded_at"] = values["occurred_at"]
        found.append(Event(**values))
    try:
        return tuple(merge_events(found))
    except BadInput as e:
        raise AssertionError(f"the generator never makes this: {e}") from e


def _outcomes(rows: Sequence[Mapping[str, Any]]) -> tuple[Outcome, ...]:
    out: dict[str, Outcome] = {}
    for row in rows:
        at = row["occurred_at"] // 1000
        recorded = at if row.get("recorded_at") is None else row["recorded_at"] // 1000
        name = clean_text(row["outcome"]) or ""
        key = row.get("outcome_id") or f"{row['prospect_id']}|{name}|{at}"
        found = Outcome(key, row["prospect_id"], name, at, recorded)
        out[key] = first_recorded(out.get(key, found), found)
    return tuple(out.values())
