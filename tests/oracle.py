"""The oracle: every feature by the plainest possible scan over raw rows, written from the rules of time alone.

It shares no line with the two executions that it judges: not their sorting, windows, joins or reading. A world is a
mapping from table to raw rows (dicts); a table that is not in it was not given. Raw times are nanoseconds since 1970,
dates ``datetime.date``, values ``Decimal``, texts as they were typed, None where a cell is empty or a column absent.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from features.contract import Dataset
from features.spec import Aggregate, Attribute, Expression, Feature

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 24 * 60 * 60 * 1_000_000
_BLANKS = " \t\n\r\x0b\x0c\u00a0"


def read(raw: Rows, dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """The raw rows as the contract says they are to be read: times floored, texts cleaned, values in 1e-6."""
    return {
        table: [
            {name: _cell(row.get(name), column.kind) for name, column in dataset.columns(table).items()} for row in rows
        ]
        for table, rows in raw.items()
    }


def _cell(cell: Any, kind: str) -> Any:
    if cell is None:
        return None
    if kind == "time":
        return cell // 1000  # floored, before 1970 too
    if kind == "date":
        return (cell - date(1970, 1, 1)).days * _DAY
    if kind == "value":
        return int(cell * 1_000_000)
    if kind in ("category", "enum", "text"):
        return unicodedata.normalize("NFC", cell).strip(_BLANKS) or None
    if kind == "number":
        return float(cell)
    return cell  # a key or a boolean


@dataclass
class Oracle:
    """Answers for one world. ``tables`` are its rows after ``read``."""

    tables: dict[str, list[dict[str, Any]]]
    dataset: Dataset

    @staticmethod
    def of(raw: Rows, dataset: Dataset) -> Oracle:
        return Oracle(read(raw, dataset), dataset)

    def row(self, features: Sequence[Feature], prospect_id: str, t: int) -> list[Any]:
        """The features of a prospect at t (microseconds): text, float or None each."""
        return [self.value(feature, prospect_id, t) for feature in features]

    def value(self, feature: Feature, prospect_id: str, t: int) -> Any:
        if isinstance(feature, Attribute):
            return self._attribute(feature, prospect_id, t)
        if isinstance(feature, Aggregate):
            return self._aggregate(feature, prospect_id, t)
        return self._expression(feature, prospect_id, t)

    def _state(self, table: str, key: str, wanted: str | None, t: int) -> dict[str, Any] | None:
        """The row of a key as of t: the one with the greatest observed_at that is not after t."""
        best = None
        best_since = None
        for row in self.tables.get(table, []):
            if wanted is None or row[key] != wanted:
                continue
            since = row["observed_at"]
            if since is None:
                since = row["created_at"] if table == "prospects" else float("-inf")
            if since <= t and (best_since is None or since > best_since):
                best, best_since = row, since
        return best

    def _prospect(self, prospect_id: str, t: int) -> dict[str, Any] | None:
        return self._state("prospects", "prospect_id", prospect_id, t)

    def _account_of(self, prospect_id: str, t: int) -> str | None:
        row = self._prospect(prospect_id, t)
        return None if row is None else row["account_id"]

    def _attribute(self, feature: Attribute, prospect_id: str, t: int) -> Any:
        if feature.table == "prospects":
            row = self._prospect(prospect_id, t)
        else:
            row = self._state("accounts", "account_id", self._account_of(prospect_id, t), t)
        cell = None if row is None else row[feature.column]
        return float(cell) if isinstance(cell, bool) else cell

    def _events(self, t: int) -> list[dict[str, Any]]:
        """The events known at t: repeats are one event, recorded when first recorded."""
        merged: dict[str, dict[str, Any]] = {}
        for row in self.tables["events"]:
            recorded = row["occurred_at"] if row["recorded_at"] is None else row["recorded_at"]
            known = merged.get(row["event_id"])
            if known is None or recorded < known["recorded_at"]:
                merged[row["event_id"]] = {**row, "recorded_at": recorded}
        return [e for e in merged.values() if e["occurred_at"] <= t and e["recorded_at"] <= t]

    def _aggregate(self, feature: Aggregate, prospect_id: str, t: int) -> float | None:
        if "events" not in self.tables:
            return None
        if (feature.role is not None or feature.operation == "distinct_contacts") and "contacts" not in self.tables:
            return None
        if feature.scope == "account":
            account = self._account_of(prospect_id, t)
            if account is None:
                return None
            everyone = {row["prospect_id"] for row in self.tables["prospects"]}
            members = {p for p in everyone if self._account_of(p, t) == account}
        else:
            members = {prospect_id}
        within = [
            e
            for e in self._events(t)
            if e["prospect_id"] in members and (feature.days is None or t - feature.days * _DAY < e["occurred_at"])
        ]
        matching = [e for e in within if self._matches(feature, e, t)]
        values = [e["value"] for e in matching if e["value"] is not None]
        match feature.operation:
            case "count":
                return float(len(matching))
            case "sum":
                return float(sum(values)) / 1e6
            case "mean":
                return float(sum(values)) / float(len(values) * 1_000_000) if values else None
            case "min":
                return float(min(values)) / 1e6 if values else None
            case "max":
                return float(max(values)) / 1e6 if values else None
            case "last":
                valued = [e for e in matching if e["value"] is not None]
                if not valued:
                    return None
                # Bytes of UTF-8 stand in the order of their code points, as Python's texts do.
                latest = max(valued, key=lambda e: (e["occurred_at"], e["recorded_at"], e["event_id"].encode()))
                return float(latest["value"]) / 1e6
            case "distinct_contacts":
                named = {e["contact_id"] for e in matching}
                return float(len([c for c in named if self._state("contacts", "contact_id", c, t) is not None]))
            case "days_since_first":
                return (t - min(e["occurred_at"] for e in matching)) / _DAY if matching else None
            case "days_since_last":
                return (t - max(e["occurred_at"] for e in matching)) / _DAY if matching else None
            case "share":
                return len(matching) / len(within) if within else None
        raise AssertionError(feature.operation)

    def _matches(self, feature: Aggregate, event: dict[str, Any], t: int) -> bool:
        if feature.type is not None and event["type"] != feature.type:
            return False
        if feature.direction is not None and event["direction"] != feature.direction:
            return False
        if feature.channel is not None and event["channel"] != feature.channel:
            return False
        if feature.role is not None:
            contact = self._state("contacts", "contact_id", event["contact_id"], t)
            return contact is not None and contact["role"] == feature.role
        return True

    def _expression(self, feature: Expression, prospect_id: str, t: int) -> float | None:
        arguments = [self.value(a, prospect_id, t) for a in feature.arguments]
        if any(a is None for a in arguments):
            return None
        match feature.operation:
            case "ratio":
                ratio = math.nan if arguments[1] == 0 else arguments[0] / arguments[1]
                return ratio if math.isfinite(ratio) else None
            case "difference":
                difference = arguments[0] - arguments[1]
                return None if abs(difference) == math.inf else difference
            case "age":
                return (t - arguments[0]) / _DAY
            case "days_until":
                return (arguments[0] - t) / _DAY
            case "band":
                return float(len([c for c in feature.cuts if c <= arguments[0]]))
            case "calendar":
                moment = _EPOCH + timedelta(microseconds=arguments[0] if arguments else t)
                parts = {"month": moment.month, "weekday": moment.weekday(), "hour": moment.hour}
                return float(parts[feature.part or ""])
        raise AssertionError(feature.operation)
