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
from functools import lru_cache
from typing import Any

from features.contract import Dataset
from features.spec import Aggregate, Attribute, Expression, Feature
from features.titles import read_title

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
        """The events known at t: repeats are one event, recorded when first recorded, gone when first retracted."""
        merged: dict[str, dict[str, Any]] = {}
        for row in self.tables["events"]:
            recorded = row["occurred_at"] if row["recorded_at"] is None else row["recorded_at"]
            known = merged.get(row["event_id"])
            if known is None or recorded < known["recorded_at"]:
                merged[row["event_id"]] = {**row, "recorded_at": recorded}
        retractions: dict[str, int] = {}
        for row in self.tables["events"]:
            if row["retracted_at"] is not None:
                earlier = retractions.get(row["event_id"], row["retracted_at"])
                retractions[row["event_id"]] = min(earlier, row["retracted_at"])
        gone = {key for key, at in retractions.items() if at <= t}
        return [e for key, e in merged.items() if key not in gone and e["occurred_at"] <= t and e["recorded_at"] <= t]

    def _outcomes(self, t: int) -> list[dict[str, Any]]:
        """The outcomes known at t, each once: by its id, or by prospect, outcome and time where it has none."""
        merged: dict[Any, dict[str, Any]] = {}
        for row in self.tables["outcomes"]:
            recorded = row["occurred_at"] if row["recorded_at"] is None else row["recorded_at"]
            key = row["outcome_id"] or (row["prospect_id"], row["outcome"], row["occurred_at"])
            known = merged.get(key)
            if known is None or recorded < known["recorded_at"]:
                merged[key] = {**row, "type": row["outcome"], "recorded_at": recorded}
        return [o for o in merged.values() if o["occurred_at"] <= t and o["recorded_at"] <= t]

    def _members(self, account: str, t: int) -> set[str]:
        everyone = {row["prospect_id"] for row in self.tables["prospects"]}
        return {p for p in everyone if self._account_of(p, t) == account}

    def _open(self, prospect_id: str, t: int) -> float | None:
        account = self._account_of(prospect_id, t)
        if account is None or "outcomes" not in self.tables:
            return None
        ended = {o["prospect_id"] for o in self._outcomes(t) if o["outcome"] in ("won", "lost")}
        others = self._members(account, t) - {prospect_id}
        return float(len([p for p in others - ended if (self._prospect(p, t) or {})["created_at"] <= t]))

    def _aggregate(self, feature: Aggregate, prospect_id: str, t: int) -> float | None:
        if feature.table == "prospects":
            return self._open(prospect_id, t)
        if feature.table not in self.tables:
            return None
        of_contacts = feature.operation in ("distinct_contacts", "distinct_roles", "top_contact_share")
        if (feature.role or feature.rank or of_contacts) and "contacts" not in self.tables:
            return None
        if feature.scope == "account":
            account = self._account_of(prospect_id, t)
            if account is None:
                return None
            members = self._members(account, t)
        else:
            members = {prospect_id}
        within = [
            e
            for e in (self._events(t) if feature.table == "events" else self._outcomes(t))
            if e["prospect_id"] in members and (feature.days is None or t - feature.days * _DAY < e["occurred_at"])
        ]
        matching = [e for e in within if self._matches(feature, e, t)]
        match feature.operation:
            case "count":
                return float(len(matching))
            case "distinct_contacts":
                return float(len({e["contact_id"] for e in matching if self._contact(e, t) is not None}))
            case "distinct_roles":
                return float(len({self._role(e, t) for e in matching} - {None}))
            case "top_contact_share":
                named = [e["contact_id"] for e in matching if self._contact(e, t) is not None]
                return max(named.count(c) for c in named) / len(named) if named else None
            case "days_since_first":
                return (t - min(e["occurred_at"] for e in matching)) / _DAY if matching else None
            case "days_since_last":
                return (t - max(e["occurred_at"] for e in matching)) / _DAY if matching else None
            case "share":
                return len(matching) / len(within) if within else None
        return self._of_values(feature.operation, [e for e in matching if e["value"] is not None])

    def _of_values(self, operation: str, valued: list[dict[str, Any]]) -> float | None:
        values = [e["value"] for e in valued]
        if operation == "sum":
            return float(sum(values)) / 1e6
        if not values:
            return None
        match operation:
            case "mean":
                return float(sum(values)) / float(len(values) * 1_000_000)
            case "min":
                return float(min(values)) / 1e6
            case "max":
                return float(max(values)) / 1e6
            case "last":
                # Bytes of UTF-8 stand in the order of their code points, as Python's texts do.
                latest = max(valued, key=lambda e: (e["occurred_at"], e["recorded_at"], e["event_id"].encode()))
                return float(latest["value"]) / 1e6
        raise AssertionError(operation)

    def _contact(self, event: dict[str, Any], t: int) -> dict[str, Any] | None:
        """The contact of an event, as of t."""
        if event["contact_id"] is None:
            return None
        return self._state("contacts", "contact_id", event["contact_id"], t)

    def _role(self, event: dict[str, Any], t: int) -> str | None:
        """The part that the contact of an event plays, as of t: the given one, or else what its title says."""
        contact = self._contact(event, t)
        if contact is None:
            return None
        given: str | None = contact["role"]
        return read_title(contact["job_title"]).role if given is None else given

    def _matches(self, feature: Aggregate, event: dict[str, Any], t: int) -> bool:
        if feature.type is not None and event["type"] != feature.type:
            return False
        if feature.table == "outcomes":
            return True
        if feature.stage is not None and event["type"] not in dict(self.dataset.stages)[feature.stage]:
            return False
        if feature.direction is not None and event["direction"] != feature.direction:
            return False
        if feature.channel is not None and event["channel"] != feature.channel:
            return False
        if feature.role is not None and self._role(event, t) != feature.role:
            return False
        if feature.rank is not None:
            contact = self._contact(event, t)
            return contact is not None and read_title(contact["job_title"]).rank == feature.rank
        return True

    def _expression(self, feature: Expression, prospect_id: str, t: int) -> float | str | None:
        arguments = [self.value(a, prospect_id, t) for a in feature.arguments]
        match feature.operation:
            case "reached" | "last_known" | "latest":
                return _position(feature.operation, arguments)
            case "size_conflict":
                return _conflict(*arguments)
            case "regime":
                return _regime(*arguments)
        if any(a is None for a in arguments):
            return None
        match feature.operation:
            case "naf":
                return _naf(arguments[0], feature.part or "")
            case "band_order":
                return float(_BANDS.index(arguments[0])) if arguments[0] in _BANDS else None
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


def _position(operation: str, numbers: Sequence[float | None]) -> float | None:
    place, found = 0, None
    for i, number in enumerate(numbers):
        if number is None:
            continue
        # A later number takes the place: always, or only where it is not larger.
        if operation != "latest" or found is None or number <= found:
            place, found = i + 1, number
    return found if operation == "last_known" else float(place)


# The nomenclatures once more, as INSEE prints them: the bands with their staff, the sections with their divisions.
_BANDS = ["NN", "00", "01", "02", "03", "11", "12", "21", "22", "31", "32", "41", "42", "51", "52", "53"]
_FROM = (0, 0, 1, 3, 6, 10, 20, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10000)
_SECTIONS = {
    "A": "01 02 03",
    "B": "05 06 07 08 09",
    "C": "10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33",
    "D": "35",
    "E": "36 37 38 39",
    "F": "41 42 43",
    "G": "45 46 47",
    "H": "49 50 51 52 53",
    "I": "55 56",
    "J": "58 59 60 61 62 63",
    "K": "64 65 66",
    "L": "68",
    "M": "69 70 71 72 73 74 75",
    "N": "77 78 79 80 81 82",
    "O": "84",
    "P": "85",
    "Q": "86 87 88",
    "R": "90 91 92 93",
    "S": "94 95 96",
    "T": "97 98",
    "U": "99",
}


@lru_cache
def _naf(code: str, part: str) -> str | None:
    """Without a pattern: every form that a code of a division may have is written down and compared."""
    code = code.strip()
    letter = "@" if code[-1:].isascii() and code[-1:].isalpha() else ""
    written = code[:-1] + letter if letter else code
    for section, divisions in _SECTIONS.items():
        for division in divisions.split():
            answers = {"section": section, "division": division, "class": None}
            if written in (division, *(f"{division}.{n}" for n in range(10))):
                return answers[part]
            for n in range(100):
                forms = (f"{division}.{n:02d}", f"{division}.{n:02d}@", f"{division}{n:02d}@")
                spaced = (f"{form[:-1]}{blank}@" for form in forms[1:] for blank in " \t\n\r\f\v")
                if written in forms or written in spaced:
                    return {**answers, "class": f"{division}.{n:02d}"}[part]
    return None


def _staff(headcount: float | None, band: str | None) -> float | None:
    if headcount is None and band in _BANDS:
        return _FROM[_BANDS.index(band)]
    return headcount


def _conflict(category: str | None, headcount: float | None, band: str | None) -> float | None:
    staff = _staff(headcount, band)
    if staff is None:
        return None
    match category:
        case "PME":
            return float(not 0 <= staff < 250)  # a number of another column may be below none
        case "ETI":
            return float(not 250 <= staff < 5000)
        case "GE":
            return float(staff < 5000)
    return None


def _regime(regime: str | None, deadline: int | None, headcount: float | None, band: str | None) -> str | None:
    if regime is not None:
        return regime
    if deadline is not None:
        return "project"
    staff = _staff(headcount, band)
    if staff is None:
        return None
    return "industrial" if staff >= 10 else "mass"
