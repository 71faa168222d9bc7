"""The data contract: which tables and columns exist, what they hold, and what ``dataset.toml`` declares.

Pure data, light to import: the service loads it too.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from features.errors import BadInput
from features.firms import CATEGORIES

DAY = 86_400_000_000  # microseconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ALWAYS = -(2**62)  # "known always": earlier than any time
NEVER = 2**62  # a version that no later one replaces

MICRO = 1_000_000  # a value is kept as an integer of 1e-6
VALUE_LIMIT = 10**9  # in units; beyond it a value is refused
TIME_MIN = -2_208_988_800_000_000  # 1900-01-01
TIME_MAX = 4_102_444_800_000_000  # 2100-01-01: beyond it a time is a typing error
DATE_MIN = -30_610_224_000_000_000  # 1000-01-01: a date such as founded_on may lie far back

ROLES = ("buyer", "prescriber", "user")
DIRECTIONS = ("inbound", "outbound")
REGIMES = ("mass", "industrial", "project")
APPROACHES = ("b2b", "b2b2e", "b2b2u")
STAGES = ("discover", "compare", "decide")  # of buying, in order

# Trimmed at both ends of a text, by this very set on every engine.
WHITESPACE = " \t\n\r\x0b\x0c\u00a0"


@dataclass(frozen=True)
class Column:
    """One column: its name, what it holds, whether it must be there and may be named by a feature.

    ``kind`` is one of: key (text, exact), category and enum (text after NFC and trim), number, boolean,
    text (free text, no feature), time (an instant), date (a day), value (fixed point, 1e-6).
    ``known = "never"`` marks a column that is filled in hindsight. ``form`` names a key's own syntax: a siren or a
    siret of the French register, whose spaces are taken out and whose check digit must be sound.
    """

    name: str
    kind: str
    required: bool = False
    values: tuple[str, ...] = ()
    known: str = "observed"
    form: str = ""


FEW_OUTCOMES = 50  # below which a model is not sound, though it trains
DECLARABLE = ("category", "number", "boolean", "text")

STANDARD: Mapping[str, tuple[Column, ...]] = {
    "prospects": (
        Column("prospect_id", "key", required=True),
        Column("created_at", "time", required=True),
        Column("observed_at", "time"),
        Column("account_id", "key"),
        Column("source", "category"),
        Column("regime", "enum", values=REGIMES),
        Column("approach", "enum", values=APPROACHES),
        Column("tender_deadline", "time"),
        Column("tender_announced_at", "time"),
    ),
    "accounts": (
        Column("account_id", "key", required=True),
        Column("observed_at", "time"),
        Column("country", "category"),
        Column("industry", "category"),
        Column("headcount", "number"),
        Column("headcount_band", "category"),
        Column("revenue", "number"),
        Column("founded_on", "date"),
        Column("legal_form", "category"),
        Column("public_body", "boolean"),
        Column("siren", "key", form="siren"),
        Column("siret", "key", form="siret"),
        Column("company_category", "enum", values=CATEGORIES),
        Column("headcount_band_year", "number"),
        Column("local_authority", "boolean"),
    ),
    "contacts": (
        Column("contact_id", "key", required=True),
        Column("account_id", "key", required=True),
        Column("observed_at", "time"),
        Column("role", "enum", values=ROLES),
        Column("job_title", "text"),
    ),
    "events": (
        Column("event_id", "key", required=True),
        Column("prospect_id", "key", required=True),
        Column("type", "category", required=True),
        Column("occurred_at", "time", required=True),
        Column("recorded_at", "time"),
        Column("contact_id", "key"),
        Column("direction", "enum", values=DIRECTIONS),
        Column("channel", "category"),
        Column("value", "value"),
        Column("retracted_at", "time"),
    ),
    "outcomes": (
        Column("prospect_id", "key", required=True),
        Column("outcome", "category", required=True),
        Column("occurred_at", "time", required=True),
        Column("recorded_at", "time"),
        Column("outcome_id", "key"),
    ),
}
KEYS = {"prospects": "prospect_id", "accounts": "account_id", "contacts": "contact_id"}  # of the state tables
TITLED = ("buying_role", "rank")  # what the canonical contacts have beside their columns, from role and job_title
DECLARING = ("prospects", "accounts", "contacts")  # tables that may hold declared columns


@dataclass(frozen=True)
class Goal:
    """What is predicted: the ``outcome``, within a horizon, from creation or from the outcome ``starts_at``.

    ``horizons`` maps a regime to its horizon in days; the key ``""`` is the horizon of the rest: of every prospect
    whose regime is unknown or has none of its own. In dataset.toml: ``horizon_days = {mass = 30, "" = 90}``.
    """

    outcome: str = "won"
    horizons: tuple[tuple[str, int], ...] = (("", 90),)
    starts_at: str | None = None

    def horizon(self, regime: str | None = None) -> int:
        """The horizon in days for a regime; without one of its own, the common or else the longest."""
        table = self._table
        return table[regime] if regime and regime in table else table.get("", max(table.values()))

    @cached_property
    def _table(self) -> dict[str, int]:
        return dict(self.horizons)

    @cached_property  # scoring asks for it once for each outcome
    def closing(self) -> tuple[str, ...]:
        """The outcomes that close a prospect: the goal's own, and won and lost (but for the start's own)."""
        return tuple(sorted({self.outcome, "won", "lost"} - {self.starts_at or ""}))

    def to_json(self) -> dict[str, Any]:
        """The goal as ``[goal]`` of dataset.toml writes it."""
        horizon: Any = self._table[""] if set(self._table) == {""} else dict(self._table)
        return {"outcome": self.outcome, "starts_at": self.starts_at, "horizon_days": horizon}


@dataclass(frozen=True)
class Dataset:
    """What ``dataset.toml`` says: the zone of zoneless times, the data's end, the goal, declared columns, stages.

    ``stages`` holds the event types of each buying stage that has some, in the order discover, compare, decide.
    """

    timezone: str | None = None
    complete_until: int | None = None
    goal: Goal = field(default_factory=Goal)
    declared: tuple[tuple[str, tuple[Column, ...]], ...] = ()
    order_only: bool = False
    stages: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def columns(self, table: str) -> Mapping[str, Column]:
        """Every column that the table may hold, standard ones first."""
        return self._columns[table]

    @cached_property  # the regime of each prospect that is scored asks for it
    def hindsight(self) -> frozenset[tuple[str, str]]:
        """The (table, column) that are filled in hindsight: they tell nothing."""
        return frozenset(
            (table, name) for table in STANDARD for name, c in self.columns(table).items() if c.known == "never"
        )

    @cached_property
    def _columns(self) -> dict[str, dict[str, Column]]:
        mine = dict(self.declared)
        return {table: {c.name: c for c in (*given, *mine.get(table, ()))} for table, given in STANDARD.items()}

    def declared_columns(self, table: str) -> dict[str, Column]:
        """The declared columns of a table."""
        return {c.name: c for c in dict(self.declared).get(table, ())}

    def to_json(self) -> dict[str, Any]:
        """The data set as dataset.toml writes it."""
        return {
            "timezone": self.timezone,
            "complete_until": None if self.complete_until is None else format_time(self.complete_until),
            "goal": self.goal.to_json(),
            "order_only": self.order_only,
            **{table: {"columns": {c.name: _entry(table, c) for c in columns}} for table, columns in self.declared},
            **({"stages": {stage: list(types) for stage, types in self.stages}} if self.stages else {}),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], where: str = "dataset.toml") -> Dataset:
        """Read what ``to_json`` or ``dataset.toml`` holds; raises BadInput with the place of a fault."""
        return _dataset(data, where)


def _entry(table: str, column: Column) -> dict[str, str]:
    """A declared column's line; that of a standard one, whose kind is given, says only what it is known from."""
    standard = any(c.name == column.name for c in STANDARD[table])
    return {"known": column.known} if standard else {"kind": column.kind, "known": column.known}


def parse_dataset(text: str, where: str = "dataset.toml") -> Dataset:
    """Read the text of a ``dataset.toml``; raises BadInput naming the line or the key that is wrong."""
    try:
        return _dataset(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as e:
        raise BadInput(
            "bad_dataset_toml", f"not valid TOML: {e}.", where=where, remedy="Mend the syntax at that line."
        ) from None


def _dataset(data: Mapping[str, Any], where: str) -> Dataset:
    known = {"timezone", "complete_until", "goal", "order_only", "stages", *DECLARING}
    for key in data:
        if key not in known:
            raise BadInput(
                "unknown_setting",
                f"`{key}` is not a setting.",
                where=where,
                remedy=f"Use one of: {', '.join(sorted(known))}.",
            )
    timezone = data.get("timezone")
    if timezone is not None:
        try:
            ZoneInfo(timezone)
        except Exception:
            raise BadInput(
                "unknown_timezone",
                f"{timezone!r} names no time zone.",
                where=f"{where}: timezone",
                remedy='Use a name of the tz database, for example timezone = "Europe/Paris".',
            ) from None
    until = data.get("complete_until")
    if until is not None:
        try:
            until = parse_moment(until) if isinstance(until, str) else _from_toml_time(until)
        except ValueError as e:
            raise BadInput(
                "bad_time",
                f"{e}.",
                where=f"{where}: complete_until",
                remedy='Write an ISO 8601 time with its zone, for example complete_until = "2026-06-30T00:00:00Z".',
            ) from None
    order_only = data.get("order_only", False)
    if not isinstance(order_only, bool):
        raise BadInput(
            "bad_setting", "must be true or false.", where=f"{where}: order_only", remedy="Write true or false."
        )
    declared = []
    for table in DECLARING:
        if table in data:
            declared.append((table, _declared(table, data[table], where)))
    stages = _stages(data.get("stages", {}), where)
    return Dataset(timezone, until, _goal(data.get("goal", {}), where), tuple(declared), order_only, stages)


def _from_toml_time(value: Any) -> int:
    """What TOML reads as a time or a day by itself (unquoted), as the same text in quotes would be read."""
    if isinstance(value, date):  # a datetime is one too
        return parse_moment(value.isoformat())
    raise ValueError(f"`{value}` is no time")


def _goal(data: Any, where: str) -> Goal:
    place = f"{where}: [goal]"
    if not isinstance(data, Mapping):
        raise BadInput("bad_goal", "goal is not a table.", where=place, remedy='Write [goal] with outcome = "won".')
    for key in data:
        if key not in ("outcome", "starts_at", "horizon_days"):
            raise BadInput(
                "unknown_setting",
                f"`{key}` is not a setting of the goal.",
                where=place,
                remedy="Use outcome, starts_at, horizon_days.",
            )
    outcome = data.get("outcome", "won")
    starts_at = data.get("starts_at")
    for name, text in (("outcome", outcome), ("starts_at", starts_at)):
        if text is None and name == "starts_at":
            continue
        if not isinstance(text, str) or clean_text(text) is None:
            raise BadInput(
                "bad_goal", f"{name} must be the name of an outcome.", where=place, remedy=f'Write {name} = "won".'
            )
    outcome = clean_text(outcome)
    starts_at = None if starts_at is None else clean_text(starts_at)
    if outcome == starts_at:
        raise BadInput(
            "bad_goal",
            "starts_at and outcome are the same.",
            where=place,
            remedy='For what follows a sale write starts_at = "won" and, say, outcome = "renewed".',
        )
    raw = data.get("horizon_days", 90)
    table = dict(raw) if isinstance(raw, Mapping) else {"": raw}
    for regime, days in table.items():
        if regime and regime not in REGIMES:
            raise BadInput(
                "bad_goal",
                f"horizon_days names the unknown regime {regime!r}.",
                where=place,
                remedy=f'Use {", ".join(REGIMES)}, and the key "" for the horizon of the rest: '
                'horizon_days = {mass = 30, "" = 90}.',
            )
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 3600:
            raise BadInput(
                "bad_goal",
                f"a horizon is a whole number of days from 1 to 3600, not {days!r}.",
                where=place,
                remedy="Write, for example, horizon_days = 90.",
            )
    if not table:
        raise BadInput("bad_goal", "horizon_days is empty.", where=place, remedy="Write horizon_days = 90.")
    return Goal(str(outcome), tuple(sorted(table.items())), starts_at)


def _stages(data: Any, where: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    place, example = f"{where}: [stages]", 'Write, for example, discover = ["page_view", "webinar"].'
    if not isinstance(data, Mapping):
        raise BadInput("bad_stages", "stages is not a table.", where=place, remedy=f"Write [stages]. {example}")
    for key in data:
        if key not in STAGES:
            raise BadInput(
                "unknown_setting", f"`{key}` is no buying stage.", where=place, remedy=f"Use {', '.join(STAGES)}."
            )
    stage_of: dict[str, str] = {}
    out = []
    for stage in (s for s in STAGES if s in data):
        if not isinstance(data[stage], list | tuple):
            raise BadInput("bad_stages", f"{stage} is not a list of event types.", where=place, remedy=example)
        types = []
        for text in data[stage]:
            type_ = clean_text(text) if isinstance(text, str) else None
            if type_ is None:
                raise BadInput("bad_stages", f"{stage} holds {text!r}, no event type.", where=place, remedy=example)
            if type_ in stage_of:
                message = f"the event type {type_!r} stands in {stage_of[type_]} and again in {stage}."
                raise BadInput("bad_stages", message, where=place, remedy="Keep it in one stage, once.")
            stage_of[type_] = stage
            types.append(type_)
        if types:
            out.append((stage, tuple(types)))
    return tuple(out)


def _declared(table: str, data: Any, where: str) -> tuple[Column, ...]:
    place = f"{where}: [{table}.columns]"
    if not isinstance(data, Mapping) or set(data) - {"columns"} or not isinstance(data.get("columns", {}), Mapping):
        raise BadInput(
            "unknown_setting",
            f"[{table}] may hold only `columns`.",
            where=place,
            remedy=f'Write [{table}.columns] and, below it, name = {{kind = "category"}}.',
        )
    out = []
    standard = {c.name for c in STANDARD[table]}
    for name, entry in data.get("columns", {}).items():
        if not is_visible(name):
            raise BadInput(
                "bad_column",
                f"the column {name!r} has no name that can be read.",
                where=place,
                remedy="Give the column a name of visible characters, in the file as well, or remove the line.",
            )
        if name in standard and isinstance(entry, Mapping) and set(entry) == {"known"} and entry["known"] == "never":
            # A standard column may be marked as filled in hindsight, never retyped.
            column = next(c for c in STANDARD[table] if c.name == name)
            out.append(replace(column, known="never"))
            continue
        if name in standard:
            raise BadInput(
                "bad_column",
                f"`{name}` is a standard column and has its kind already.",
                where=place,
                remedy='Remove the line, or write only {known = "never"}.',
            )
        if not isinstance(entry, Mapping) or set(entry) - {"kind", "known"} or entry.get("kind") not in DECLARABLE:
            unknown = sorted(set(entry) - {"kind", "known"}) if isinstance(entry, Mapping) else []
            wrong = f"has a setting {unknown[0]!r} that is none of ours" if unknown else "needs a kind"
            if not unknown and isinstance(entry, Mapping) and "kind" in entry:
                wrong = f"has {entry['kind']!r} as its kind, which is none that a column may have"
            raise BadInput(
                "bad_column",
                f"`{name}` {wrong}.",
                where=place,
                remedy=f'Write {name} = {{kind = "category"}}; kinds: {", ".join(DECLARABLE)}.',
            )
        knownness = entry.get("known", "observed")
        if knownness not in ("observed", "never"):
            raise BadInput(
                "bad_column",
                f"`{name}`: known = {knownness!r} is not a word we use.",
                where=place,
                remedy='Leave `known` out, or write known = "never" for a column filled in hindsight.',
            )
        out.append(Column(name, entry["kind"], known=knownness))
    return tuple(out)


def clean_text(text: str) -> str | None:
    """NFC and trim; an empty text is None. The same rule holds in the engine and online."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.strip(WHITESPACE) or None


def is_visible(name: str) -> bool:
    """Whether a column's name can be read and written down: some visible character, and no NUL."""
    return "\0" not in name and any(c.isprintable() and not c.isspace() for c in name)


_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?\s?([Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)


def parse_time(text: str) -> int:
    """An ISO 8601 time with its zone, as microseconds since 1970, floored; raises ValueError otherwise."""
    out = _parse(text)
    if not TIME_MIN <= out <= TIME_MAX:
        raise ValueError("the time lies outside the years 1900 to 2100")
    return out


def _parse(text: str) -> int:
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError("not an ISO 8601 time such as 2026-03-01T09:00:00Z")
    day, clock, seconds, fraction, zone = found.groups()
    if zone is None:
        raise ValueError("the time has no zone; add Z or an offset such as +02:00")
    if zone in "Zz":
        zone = "+00:00"
    elif len(zone) == 3:
        zone += ":00"
    elif len(zone) == 5:
        zone = f"{zone[:3]}:{zone[3:]}"
    micros = int(((fraction or "") + "000000")[:6])
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{seconds or ':00'}{zone}")
        return (moment - EPOCH) // MICROSECOND + micros
    except (ValueError, OverflowError):
        raise ValueError("no such day or hour") from None


def parse_moment(text: str) -> int:
    """As ``parse_time``, but a bare date is its midnight in UTC (the command line's rule for ``--until``)."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        text += "T00:00:00Z"
    return parse_time(text)


def parse_date(text: str) -> int:
    """A day ``YYYY-MM-DD`` as the microseconds of its midnight in UTC; raises ValueError otherwise.

    Days go back to ``DATE_MIN``, the year 1000: firms are older than the records of them.
    """
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError("not a date such as 2026-03-01")
    out = _parse(text + "T00:00:00Z")
    if not DATE_MIN <= out <= TIME_MAX:
        raise ValueError("the day lies outside the years 1000 to 2100")
    return out


@lru_cache(maxsize=4_096)
def format_time(micros: int) -> str:
    """Microseconds since 1970 as an ISO 8601 text in UTC, with no more digits than needed."""
    moment = EPOCH + timedelta(microseconds=micros)
    return moment.replace(tzinfo=None).isoformat() + "Z"


def to_micro(x: float | int | Decimal) -> int:
    """A ``value`` as an integer of 1e-6; raises ValueError when it is not finite or beyond ``VALUE_LIMIT``.

    An int or a Decimal (the digits that JSON or a CSV file spells out) is rounded half to even as it stands. A float
    is multiplied by a million in double first, then rounded half to even: what every engine can do, to the bit. Both
    give the same integer for every number of at most six decimals.
    """
    if isinstance(x, Decimal):
        # copy_abs and quantize read every digit, where arithmetic would first round to the context's 28.
        if x.is_finite() and x.copy_abs() <= VALUE_LIMIT:
            return int(x.quantize(Decimal("0.000001"), ROUND_HALF_EVEN).scaleb(6))
    elif abs(x) <= VALUE_LIMIT:
        return round(x * MICRO)
    raise ValueError("the value is not finite or lies beyond one thousand million")
