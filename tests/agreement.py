"""Three answers to one question: the oracle's, DuckDB's and the service's; and the smallest disagreement."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from features import online
from features.contract import MICRO, format_time
from features.errors import BadInput
from features.groups import PlainGroups, PlainMatch, PlainPlan, plain_still_open
from features.offline import feature_table
from features.online import PlainPeople, compile_features, plain_as_of
from features.program import PlainProgram
from features.records import Records
from features.spec import Feature, FeatureSet
from features.tables import Tables, read_tables
from serving.values import ReadEvents, decode_request
from tests.histories import Raw, Shape, World, joined, records_of_all, write_folder
from tests.oracle import Oracle

Pair = tuple[str, int]
Answers = dict[Pair, list[Any]]


@dataclass(frozen=True)
class Difference:
    pair: Pair
    feature: Feature
    oracle: Any
    offline: Any
    online: Any

    def __str__(self) -> str:
        answers = f"oracle {self.oracle!r}, offline {self.offline!r}, online {self.online!r}"
        return f"{self.pair}: {self.feature}\n  {answers}"


def by_oracle(features: FeatureSet, world: World) -> Answers:
    oracle = Oracle.of(world.rows, features.dataset)
    return {(p, t): oracle.row(features.features, p, t) for p, t in world.pairs}


def plainly() -> Any:
    """As where nothing was compiled: a context in which the plain forms serve."""
    return patch.multiple(
        online,
        Groups=PlainGroups,
        Match=PlainMatch,
        Plan=PlainPlan,
        Program=PlainProgram,
        People=PlainPeople,
        as_of=plain_as_of,
        still_open=plain_still_open,
    )


def by_online(features: FeatureSet, world: World, seed: int = 0) -> Answers:
    """What the service computes, compiled and plainly, which must be the same."""
    ids = sorted({p for p, _ in world.pairs})
    records = dict(zip(ids, records_of_all(world.rows, ids, features.dataset, random.Random(seed)), strict=True))
    compute = compile_features(features)
    answers = {(p, t): compute(records[p], t) for p, t in world.pairs}
    read = {p: as_read(each) for p, each in records.items()}
    for (p, t), row in answers.items():
        straight = read[p]
        if straight is not None:
            of_text = compute(straight, t)
            assert all(map(same, row, of_text)), f"{(p, t)}: {row}, of events read from a text {of_text}"
    with plainly():
        compute = compile_features(features)
        for (p, t), row in answers.items():
            plain = compute(records[p], t)
            assert all(map(same, row, plain)), f"{(p, t)}: compiled {row}, plainly {plain}"
    return answers


def as_read(records: Records) -> Records | None:
    """The same records, their events as the service reads them from a text.

    None where one of them is not ordinary, and where that was not built.
    """
    if records.events is None:
        return None
    listed = []
    for event in records.events:
        row = {name: value for name, value in event._asdict().items() if value is not None}
        row.update({name: format_time(row[name]) for name in row if name.endswith("_at")})
        if event.value is not None:
            row["value"] = event.value / MICRO
        listed.append(row)
    body = json.dumps({"prospect": {"prospect_id": records.prospect_id}, "events": listed}, separators=(",", ":"))
    events = decode_request(body.encode())["events"]
    if type(events) is not ReadEvents:
        return None
    assert tuple(events) == tuple(records.events)
    return replace(records, events=events)


def by_offline(features: FeatureSet, world: World, shape: Shape, folder: Path) -> Answers:
    """Through the whole path: files, validation, canonical tables, one DuckDB query."""
    tables = tables_of(world.rows, shape, folder)
    found = feature_table(features, tables, spine_of(world.pairs)).to_pyarrow().to_pydict()
    rows = zip(found["prospect_id"], found["as_of"], *(found[name] for name in features.names), strict=True)
    out: Answers = {}
    for prospect_id, t, *values in rows:
        assert (prospect_id, t) not in out, f"two rows for {(prospect_id, t)}"
        out[prospect_id, t] = values
    return out


def tables_of(rows: Raw, shape: Shape, folder: Path) -> Tables:
    """Raw rows as canonical tables, by way of files in the shape's form."""
    return read_tables(write_folder(folder, rows, shape))


def spine_of(pairs: Sequence[Pair]) -> Any:
    import ibis
    import pyarrow as pa

    ids, times = pa.array([p for p, _ in pairs], pa.string()), pa.array([t for _, t in pairs], pa.int64())
    return ibis.memtable(pa.table({"prospect_id": ids, "as_of": times}))


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, and of one kind."""
    return type(a) is type(b) and bool(a == b)


def differences(features: FeatureSet, oracle: Answers, offline: Answers, online: Answers) -> list[Difference]:
    assert set(oracle) == set(offline) == set(online), "not the same (prospect, t)"
    return [
        Difference(pair, feature, *three)
        for pair in oracle
        for feature, *three in zip(features.features, oracle[pair], offline[pair], online[pair], strict=True)
        if not (same(three[0], three[1]) and same(three[0], three[2]))
    ]


def compare(
    features: FeatureSet, worlds: Sequence[World], shape: Shape, folder: Path, seed: int = 0
) -> list[Difference]:
    """Every disagreement of the three: DuckDB sees all worlds at once, the other two one after the other."""
    offline = by_offline(features, joined(worlds), shape, folder)
    oracle: Answers = {}
    online: Answers = {}
    for world in worlds:
        oracle |= by_oracle(features, world)
        online |= by_online(features, world, seed)
    return differences(features, oracle, offline, online)


def assert_agree(features: FeatureSet, worlds: Sequence[World], shape: Shape, folder: Path, seed: int = 0) -> None:
    """The three agree on worlds of one shape, put into one folder; otherwise fails with a small example."""
    found = compare(features, worlds, shape, folder / "all", seed)
    if found:
        first = found[0]
        if os.environ.get("LEADSCORE_SHRINK") == "0":
            raise AssertionError(f"{len(found)} differences; for example {first}")
        alone = next(w for w in worlds if first.pair in w.pairs)
        example = shrunk(FeatureSet(features.dataset, (first.feature,)), alone, first.pair, shape, folder, seed)
        names = sorted({type(d.feature).__name__ + " " + getattr(d.feature, "operation", "") for d in found})
        raise AssertionError(f"{len(found)} differences ({', '.join(names)}); for example\n{first}\n{shape}\n{example}")


def shrunk(
    features: FeatureSet, world: World, pair: Pair, shape: Shape, folder: Path, seed: int, steps: int = 80
) -> str:
    """The rows of a world without those that the disagreement does not need (at most ``steps`` tries)."""

    def still(rows: Raw) -> list[Difference]:
        nonlocal steps
        steps -= 1
        try:
            return compare(features, [World(rows, [pair])], shape, folder / f"shrunk-{steps}", seed)
        except (BadInput, KeyError):  # what is left is no longer a valid folder
            return []

    rows = world.rows
    if not still(rows):
        return "(not reproduced by this world and feature alone)"
    for size in (4, 2, 1):
        for table in rows:
            i = 0
            while i < len(rows[table]) and steps > 0:
                fewer = {**rows, table: rows[table][:i] + rows[table][i + size :]}
                if still(fewer):
                    rows = fewer
                else:
                    i += size
    left = still(rows)
    return f"{left[0] if left else ''}\n{show(rows)}"


def show(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = []
    for table, found in rows.items():
        lines.append(f"{table}: {len(found)} row(s)")
        lines += [f"  { {k: v for k, v in row.items() if v is not None} }" for row in found]
    return "\n".join(lines)
