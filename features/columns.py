"""How one raw column becomes canonical: for each kind and each type that a file may give it, the SQL that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from features.contract import (
    DATE_MIN,
    DAY,
    MICRO,
    TIME_MAX,
    TIME_MIN,
    VALUE_LIMIT,
    WHITESPACE,
    Column,
    format_time,
)
from features.firms import LA_POSTE, SPACES

SQL_TYPES = {"number": "DOUBLE", "boolean": "BOOLEAN", "time": "BIGINT", "date": "BIGINT", "value": "BIGINT"}
TRUE, FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")


@dataclass(frozen=True)
class Raw:
    """A table as found: ``file`` for messages, ``relation`` in SQL, its columns' names and DuckDB types in order."""

    table: str
    file: str
    relation: str
    names: tuple[str, ...]
    types: tuple[str, ...]

    def at(self, column: str) -> str:
        """The place of a column, for messages."""
        return f"{self.file}: {column}"


def number_of(n: int, one: str, many: str | None = None) -> str:
    """A count in words: ``1 value``, ``12,000 values``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def run(con: Any, query: str) -> list[tuple[Any, ...]]:
    """A statement's rows, all of them: what is left unread would block the connection."""
    rows: list[tuple[Any, ...]] = con.execute(query).fetchall()
    return rows


def quote(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def ident(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Fault:
    """One way for a value to be wrong."""

    code: str
    what: str  # completes "12 values are ..."
    remedy: str


@dataclass(frozen=True)
class Reading:
    """SQL in steps: ``x`` of the raw column (null where it is empty), ``m`` of x, and the test that m is ``legal``.

    A value whose x is there and whose m is null or illegal is at fault; ``fault`` says which, from 1.
    """

    x: str
    m: str
    legal: str = ""
    fault: str = "1"
    faults: tuple[Fault, ...] = ()


_INTEGERS = {f"{u}{t}" for u in ("", "U") for t in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")}
NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_FAMILIES = {
    "key": {"integer", "uuid"},
    "category": {"integer"},
    "enum": set(),
    "text": {"integer", "float", "decimal", "boolean", "uuid", "date", "timestamp"},
    "number": {"integer", "float", "decimal"},
    "boolean": {"boolean", "integer", "float"},
    "time": {"timestamp", "date"},
    "date": {"timestamp", "date"},
    "value": {"integer", "float", "decimal"},
}


def family_of(sql_type: str) -> str:
    """What a DuckDB type is to us: text, integer, float, decimal, boolean, uuid, date, timestamp, empty or other."""
    head = sql_type.strip('"').split("(")[0]
    if sql_type.endswith("]") or head in ("STRUCT", "MAP", "UNION"):
        return "other"
    if head in _INTEGERS:
        return "integer"
    if head.startswith("TIMESTAMP"):
        return "timestamp"
    names = {"VARCHAR": "text", "ENUM": "text", "JSON": "text", "NULL": "empty", "FLOAT": "float", "DOUBLE": "float"}
    return names.get(head, head.lower() if head in ("DECIMAL", "BOOLEAN", "UUID", "DATE") else "other")


def reading(column: Column, sql_type: str, j: int, zone: str | None) -> Reading:
    """How the column at position j of the file, of this DuckDB type, is read as its kind."""
    family, c, x, m = family_of(sql_type), f"c{j}", f"x{j}", f"m{j}"
    kind = column.kind
    if family == "empty":
        return Reading("NULL", "NULL")
    if family not in _FAMILIES[kind] | {"text"}:
        what = f"of the type {sql_type}, which holds no {kind}"
        return Reading(c, "NULL", faults=(Fault("wrong_type", what, _wrong_type_remedy(kind)),))
    if column.form:
        return _number_of_form(column.form, family, c, x, m)
    if kind in ("key", "category", "text"):
        text = _clean(f"{c}::VARCHAR")
        if kind == "key":  # exact, but for nothing and white space alone, which name nobody
            text = f"CASE WHEN trim({c}::VARCHAR, {quote(WHITESPACE)}) <> '' THEN {c}::VARCHAR END"
        if family != "text":
            return Reading(text, x)
        return Reading(text, x, f"NOT contains({m}, chr(0))", faults=(_NUL,))
    if kind == "enum":
        names = ", ".join(column.values)
        letters = ", in small letters" if names.islower() else ", in capitals" if names.isupper() else ""
        remedy = f"Write one of: {names}{letters}; leave it empty where unknown."
        fault = Fault("unknown_value", f"not one of {names}", remedy)
        return Reading(_clean(f"{c}::VARCHAR"), x, f"{m} IN ({', '.join(map(quote, column.values))})", faults=(fault,))
    readers = {"number": _number, "boolean": _boolean, "value": _value, "date": _date}
    if kind in readers:
        return readers[kind](family, sql_type, c, x, m)
    return _time_text(c, x, m, zone) if family == "text" else _time_typed(sql_type, c, x, m, zone)


_NUL = Fault(
    "bad_text",
    "a text with a NUL character",
    "Remove the NUL characters (pandas: .str.replace(chr(0), '')); the service refuses them too.",
)
_EPOCH = 'pandas.to_datetime(column, unit="ms", utc=True)'


def _wrong_type_remedy(kind: str) -> str:
    return {
        "key": "Write it as text or as whole numbers (pandas made a column with gaps a float? .astype('Int64')).",
        "category": 'Write it as text; declare numbers as kind = "number", yes and no as kind = "boolean".',
        "time": "Write it as text such as 2026-03-01T09:00:00Z or as a timestamp with a zone "
        f"(milliseconds since 1970? {_EPOCH}).",
        "date": "Write it as YYYY-MM-DD or as a date.",
        "boolean": "Write true or false (also yes, no, 1, 0); leave it empty where unknown.",
        "text": "Write it as one text, or leave the column out.",
    }.get(
        kind,
        "Write plain numbers with a decimal point, such as 1234.5, without thousands separators, units or signs of "
        "currency; leave it empty where unknown.",
    )


def _clean(c: str) -> str:
    """``contract.clean_text`` in SQL. nfc_normalize stops at a NUL; a text that holds one is kept, to be refused."""
    nfc = f"CASE WHEN strlen({c}) = length({c}) OR contains({c}, chr(0)) THEN {c} ELSE nfc_normalize({c}) END"
    return f"nullif(trim({nfc}, {quote(WHITESPACE)}), '')"


_FORMS = {
    "siren": (9, "a siren: 9 digits, the last of them a check digit"),
    "siret": (14, "a siret: the 9 digits of a siren and 5 of an establishment, with their check digits"),
}


def _number_of_form(form: str, family: str, c: str, x: str, m: str) -> Reading:
    """``firms.valid_siren`` and ``valid_siret`` in SQL; a whole number has lost no more than its leading zeros."""
    length, what = _FORMS[form]
    remedy = f"Mend it or leave it empty; {form}s are text, lest their leading zeros be lost."
    text = f"translate({c}::VARCHAR, {quote(SPACES)}, '')"
    if family == "integer":
        text = f"lpad({c}::VARCHAR, greatest({length}, strlen({c}::VARCHAR))::INTEGER, '0')"
    legal = f"regexp_full_match({m}, '\\d{{{length}}}') AND trim({m}, '0') <> '' AND {_luhn(m, 9)}"
    if form == "siret":
        post = f"starts_with({m}, {quote(LA_POSTE)}) AND ({_digit_sum(m, length)}) % 5 = 0"
        legal += f" AND ({_luhn(m, length)} OR {post})"
    return Reading(f"nullif({text}, '')", x, legal, faults=(Fault(f"bad_{form}", f"not {what}", remedy),))


def _luhn(m: str, length: int) -> str:
    """Whether the first digits of a text have a sound check digit: every second one, from the right, counts twice."""
    digits = (
        f"try_cast({m}[{i}] AS TINYINT)"
        if (length - i) % 2 == 0
        else f"try_cast(translate({m}[{i}], '0123456789', '0246813579') AS TINYINT)"
        for i in range(1, length + 1)
    )
    return f"({' + '.join(digits)}) % 10 = 0"


def _digit_sum(m: str, length: int) -> str:
    return " + ".join(f"try_cast({m}[{i}] AS TINYINT)" for i in range(1, length + 1))


def trimmed(c: str) -> str:
    """A raw text without the white space around it, null where nothing is left."""
    return f"nullif(trim({c}::VARCHAR, {quote(WHITESPACE)}), '')"


def _number(family: str, sql_type: str, c: str, x: str, m: str) -> Reading:
    fault = Fault("wrong_type", "not a finite number", _wrong_type_remedy("number"))
    if family == "text":
        # The engine's own cast lets 1_000 and inf pass.
        m_sql = f"CASE WHEN regexp_full_match({x}, {quote(NUMBER)}) THEN try_cast({x} AS DOUBLE) END"
        return Reading(trimmed(c), m_sql, f"isfinite({m})", faults=(fault,))
    return Reading(c, f"{x}::DOUBLE", f"isfinite({m})", faults=(fault,))


def _boolean(family: str, sql_type: str, c: str, x: str, m: str) -> Reading:
    fault = Fault("wrong_type", "neither true nor false", _wrong_type_remedy("boolean"))
    if family == "boolean":
        return Reading(c, x)
    if family == "text":
        words = [", ".join(map(quote, w)) for w in (TRUE, FALSE)]
        m_sql = f"CASE WHEN lower({x}) IN ({words[0]}) THEN true WHEN lower({x}) IN ({words[1]}) THEN false END"
        return Reading(trimmed(c), m_sql, faults=(fault,))
    return Reading(c, f"CASE {x} WHEN 1 THEN true WHEN 0 THEN false END", faults=(fault,))


def _value(family: str, sql_type: str, c: str, x: str, m: str) -> Reading:
    """``contract.to_micro`` in SQL: text and DECIMAL by their digits, a float through one product in double."""
    large = Fault(
        "value_out_of_range",
        f"beyond ±{VALUE_LIMIT:,} or not finite",
        "Mend the amount or give it in a larger unit (thousands); leave it empty where unknown.",
    )
    if family in ("text", "decimal"):
        wrong = Fault("wrong_type", "not a number", _wrong_type_remedy("value"))
        fault = f"CASE WHEN regexp_full_match({x}, {quote(NUMBER)}) THEN 1 ELSE 2 END"
        return Reading(trimmed(c), _micros_of_digits(x), fault=fault, faults=(large, wrong))
    within = f"{x} BETWEEN -{VALUE_LIMIT} AND {VALUE_LIMIT}"
    if family == "integer":
        return Reading(c, f"CASE WHEN {within} THEN {x}::BIGINT * {MICRO} END", faults=(large,))
    # An operand in DOUBLE, lest a literal such as 1e9 draw the product into another type.
    product = f"round_even({x}::DOUBLE * {MICRO}::DOUBLE, 0)::BIGINT"
    return Reading(c, f"CASE WHEN {within} THEN {product} END", faults=(large,))


def _micros_of_digits(x: str) -> str:
    """A decimal text as micros, half to even, exact for any number of digits and any exponent."""
    plain = r"[+-]?\d{1,9}(\.\d{0,6})?"
    parts = r"^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$"
    far = 10**12
    # Each lambda over a list of one names a step: the parts; digits without leading zeros and the exponent; the
    # count q of digits that stand before the point once the number is in micros; what is left of that point and
    # right of it; the rounding.
    p = f"regexp_extract({x}, {quote(parts)}, ['sign', 'whole', 'part', 'exponent'])"
    exponent = (
        "CASE WHEN p.exponent = '' THEN 0 ELSE greatest(-{far}, least({far}, coalesce(try_cast(p.exponent AS BIGINT), "
        "CASE WHEN starts_with(p.exponent, '-') THEN -{far} ELSE {far} END))) END"
    ).replace("{far}", str(far))
    digits = (
        "{'sign': p.sign, 'd': ltrim(p.whole || p.part, '0'), "
        f"'q': strlen(p.whole) + 6 + {exponent} - strlen(p.whole || p.part) + strlen(ltrim(p.whole || p.part, '0'))}}"
    )
    split = (
        "{'sign': n.sign, 'base': CASE WHEN n.d = '' OR n.q <= 0 THEN 0 WHEN n.q <= 16 "
        "THEN rpad(left(n.d, n.q), n.q::INTEGER, '0')::BIGINT END, "
        "'rest': CASE WHEN n.d = '' OR n.q NOT BETWEEN 0 AND 16 THEN '' ELSE rtrim(substr(n.d, n.q + 1), '0') END}"
    )
    limit = VALUE_LIMIT * MICRO
    rounded = (
        f"CASE WHEN s.base < {limit} OR s.base = {limit} AND s.rest = '' "
        "THEN (CASE WHEN s.sign = '-' THEN -1 ELSE 1 END) "
        "* (s.base + (s.rest > '5' OR s.rest = '5' AND s.base % 2 = 1)::BIGINT) END"
    )
    exact = f"[{p}]"
    for name, step in (("p", digits), ("n", split), ("s", rounded)):
        exact = f"list_transform({exact}, lambda {name}: {step})"
    # 21 digits, so that the product is taken in 128 bits: in 64 it overflows from 9.2 million units on.
    return (
        f"CASE WHEN regexp_full_match({x}, {quote(plain)}) THEN (try_cast({x} AS DECIMAL(21, 6)) * {MICRO})::BIGINT "
        f"WHEN regexp_full_match({x}, {quote(NUMBER)}) THEN ({exact})[1] END"
    )


_BLANK = r"[ \t\n\r\f\v]"  # as Python's \s; the engine's own lacks \v
_DATE = rf"^(\d{{4}}-\d\d-\d\d)(?:[Tt ]00:00(?::00)?(?:[.,]0{{1,9}})?{_BLANK}?(?:[Zz]|[+-]00(?::?00)?)?)?$"
# ``contract.parse_time``'s syntax, with the hours, minutes and seconds that its calendar allows.
_TIME = (
    r"^(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d)(:[0-5]\d)?(?:[.,](\d{1,9}))?"
    rf"{_BLANK}?([Zz]|[+-]\d\d(?::?\d\d)?)?$"
)
_YEARS = f"between the years {format_time(TIME_MIN)[:4]} and {format_time(TIME_MAX)[:4]}"
_DATE_YEARS = f"between the years {format_time(DATE_MIN)[:4]} and {format_time(TIME_MAX)[:4]}"
_BAD_TIME = Fault(
    "bad_time",
    f"not a time {_YEARS}",
    "Write a time such as 2026-03-01T09:00:00Z: year first, the zone as Z or an offset such as +02:00, nothing around.",
)
_NO_MOMENT = Fault(
    "bad_time",
    f"no moment of the calendar {_YEARS}",
    "Mend the year, the day or the hour: hours run from 00 to 23, minutes and seconds to 59, offsets to 23:59.",
)
_BARE_NUMBER = Fault(
    "bad_time",
    "a bare number, not a time",
    f"Write a time such as 2026-03-01T09:00:00Z (milliseconds since 1970? {_EPOCH}; days of Excel? "
    'unit="D", origin="1899-12-30", then tz_localize).',
)
_NO_TIME = Fault(
    "bad_time",
    "a date without a time of day",
    "Add the hour and the zone; where only the day is known, stamp its end, such as 2026-03-01T23:59:59.999999Z.",
)
_ZONELESS = Fault(
    "zoneless_time",
    "without a zone",
    'Add the zone to each time (Z or an offset), or name it in dataset.toml, for example timezone = "Europe/Paris".',
)


def _years(m: str, first: int = TIME_MIN) -> str:
    return f"{m} BETWEEN {first} AND {TIME_MAX}"


def _date(family: str, sql_type: str, c: str, x: str, m: str) -> Reading:
    remedy = "Write a day such as 2026-03-01, year first; leave it empty where unknown."
    fault = Fault("bad_time", f"not a day {_DATE_YEARS}", remedy)
    legal = f"{_years(m, DATE_MIN)} AND {m} % {DAY} = 0"
    if family == "timestamp":
        return Reading(c, _micros(sql_type, x), legal, faults=(fault,))
    text = f"regexp_extract(nullif({c}::VARCHAR, ''), {quote(_DATE)}, 1)" if family == "text" else c
    return Reading(text, f"epoch_us(try_cast(try_cast({x} AS DATE) AS TIMESTAMP))", legal, faults=(fault,))


def _time_text(c: str, x: str, m: str, zone: str | None) -> Reading:
    # The shape that most files have goes through the engine's own cast, many times faster; what that leaves, by parts.
    usual = r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
    parts = f"regexp_extract({x}, {quote(_TIME)}, ['day', 'clock', 'seconds', 'fraction', 'zone'])"
    local = "try_cast(p.day || ' ' || p.clock || p.seconds AS TIMESTAMP)"
    minutes = "coalesce(try_cast(p.zone[2:3] AS INTEGER) * 60, 0)"
    minutes += " + CASE WHEN strlen(p.zone) > 3 THEN coalesce(try_cast(p.zone[-2:] AS INTEGER), 0) ELSE 0 END"
    offset = (
        f"CASE WHEN p.zone IN ('Z', 'z') THEN 0 WHEN {minutes} < 1440 "
        f"THEN (CASE WHEN p.zone[1] = '-' THEN -60000000 ELSE 60000000 END)::BIGINT * ({minutes}) END"
    )
    # Digits beyond the sixth are dropped: the fraction counts forward from the second, so that floors on either side.
    fraction = "CASE WHEN p.fraction = '' THEN 0 ELSE rpad(p.fraction[1:6], 6, '0')::BIGINT END"
    named = f"epoch_us({local} AT TIME ZONE {quote(zone)})" if zone else "NULL"
    by_parts = (
        f"CASE WHEN p.day = '' THEN NULL WHEN p.zone = '' THEN {named} + {fraction} "
        f"ELSE epoch_us({local}) - ({offset}) + {fraction} END"
    )
    m_sql = (
        f"CASE WHEN regexp_full_match({x}, {quote(usual)}) THEN epoch_us(try_cast({x} AS TIMESTAMPTZ)) "
        f"ELSE list_transform([{parts}], lambda p: {by_parts})[1] END"
    )
    fault = rf"CASE WHEN regexp_full_match({x}, '{_BLANK}*\d{{4}}-\d\d-\d\d{_BLANK}*') THEN 2 "
    if zone is None:
        fault += f"WHEN ({parts}).day <> '' AND ({parts}).zone = '' THEN 3 "
    shape = rf"\d{{4}}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d)?([.,]\d{{1,9}})?{_BLANK}?([Zz]|[+-]\d\d(:?\d\d)?)?"
    fault += rf"WHEN regexp_full_match({x}, '{shape}') THEN 4 "
    fault += rf"WHEN regexp_full_match({x}, '[+-]?\d+([.,]\d+)?') THEN 5 ELSE 1 END"
    return Reading(
        f"nullif({c}::VARCHAR, '')",
        m_sql,
        _years(m),
        fault,
        (_BAD_TIME, _NO_TIME, _ZONELESS, _NO_MOMENT, _BARE_NUMBER),
    )


def _time_typed(sql_type: str, c: str, x: str, m: str, zone: str | None) -> Reading:
    if sql_type == "DATE":
        return Reading(c, "NULL", faults=(_NO_TIME,))
    micros = _micros(sql_type, x)
    if not _zoned(sql_type):
        if zone is None:
            return Reading(c, "NULL", faults=(_ZONELESS,))
        micros = f"epoch_us(make_timestamp({micros}) AT TIME ZONE {quote(zone)})"
    return Reading(c, micros, _years(m), faults=(_BAD_TIME,))


def _zoned(sql_type: str) -> bool:
    return "TIME ZONE" in sql_type or sql_type.startswith("TIMESTAMPTZ")


def _micros(sql_type: str, x: str) -> str:
    """Micros of a timestamp, floored: // and the engine's casts go towards zero or the nearest."""
    if sql_type.endswith("_NS"):
        return f"(epoch_ns({x}) - ((epoch_ns({x}) % 1000) + 1000) % 1000) // 1000"
    return f"epoch_us({x})" if _zoned(sql_type) else f"epoch_us({x}::TIMESTAMP)"
