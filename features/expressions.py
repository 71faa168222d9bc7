"""Expressions over positions and of firms: for each its Ibis expression beside its online function.

Online, a function takes the expression's part and the values of its arguments (text, float, int of a time, or None)
and gives text, float or None. Offline, it takes the part and the arguments' Ibis columns. The rules of firms are those
of ``features.firms``, whose tables both sides read; ibis is imported only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from features.firms import (
    BAND_STAFF,
    BANDS,
    CATEGORY_STAFF,
    MASS_BELOW,
    NAF_SECTIONS,
    infer_regime,
    naf_part,
    size_conflict,
)

Values = Sequence[Any]


@dataclass(frozen=True)
class Rule:
    """One operation's two executions; both take (part, arguments)."""

    online: Callable[[str | None, Values], float | str | None]
    offline: Callable[[str | None, Values], Any]


# -- positions --------------------------------------------------------------------------------------------------------


def _reached(_: str | None, values: Values) -> float:
    for i in range(len(values), 0, -1):
        if values[i - 1] is not None:
            return float(i)
    return 0.0


def _reached_offline(_: str | None, values: Values) -> Any:
    return _first([(value.notnull(), i) for i, value in reversed([*enumerate(values, 1)])])


def _last_known(_: str | None, values: Values) -> float | None:
    for value in reversed(values):
        if value is not None:
            return float(value)
    return None


def _last_known_offline(_: str | None, values: Values) -> Any:
    import ibis

    return ibis.coalesce(*(value.cast("float64") for value in reversed(values)), ibis.null("float64"))


def _latest(_: str | None, values: Values) -> float:
    least, found = inf, 0
    for i, value in enumerate(values, 1):
        if value is not None and value <= least:
            least, found = value, i
    return float(found)


def _latest_offline(_: str | None, values: Values) -> Any:
    import ibis

    # Engines differ in whether the least of several may be NULL, so that none is.
    numbers = [value.cast("float64").fill_null(inf) for value in values]
    least = ibis.least(*numbers, ibis.literal(inf))
    return _first([((x == least) & (x < inf), i) for i, x in reversed([*enumerate(numbers, 1)])])


def _first(steps: Sequence[tuple[Any, int]]) -> Any:
    """The number beside the first condition that holds, 0 where none does."""
    import ibis

    return ibis.cases(*((condition, ibis.literal(float(number))) for condition, number in steps), else_=0.0)


# -- firms ------------------------------------------------------------------------------------------------------------

# As the pattern of ``firms.naf_part``, spelt out for engines whose \s and \d are other sets than Python's.
_BLANK = "[ \\t\\n\\r\\f\\x0b]?"
_EDGE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*"
_NAF_LONG = f"([0-9][0-9]){_BLANK}[A-Za-z]"
_NAF_DOTTED = f"\\.(?:([0-9][0-9])(?:{_BLANK}[A-Za-z])?|[0-9])"
_NAF = f"^{_EDGE}([0-9][0-9])(?:{_NAF_DOTTED}|{_NAF_LONG})?{_EDGE}$"


def _naf_offline(part: str | None, values: Values) -> Any:
    import ibis

    (code,) = values
    division = code.re_extract(_NAF, 1)
    divisions = {f"{n:02d}": s for s, (first, last) in NAF_SECTIONS.items() for n in range(first, last + 1)}
    missing = ibis.null("string")
    if part == "section":
        return division.substitute(divisions, else_=missing)
    known = division.isin([*divisions])
    if part == "division":
        return known.ifelse(division, missing)
    rest = ibis.coalesce(code.re_extract(_NAF, 2), "") + ibis.coalesce(code.re_extract(_NAF, 3), "")
    return (known & (rest != "")).ifelse(division + "." + rest, missing)


def _band_order(_: str | None, values: Values) -> float | None:
    order = BANDS.get(values[0])
    return None if order is None else float(order)


def _band_order_offline(_: str | None, values: Values) -> Any:
    return _looked_up(values[0], BANDS)


def _looked_up(column: Any, table: Mapping[str, float | None]) -> Any:
    """The number that the table has for a text, NULL where it has none."""
    import ibis

    numbers = {text: float(number) for text, number in table.items() if number is not None}
    return column.substitute(numbers, else_=ibis.null("float64"))


def _staff(headcount: Any, band: Any) -> Any:
    import ibis

    return ibis.coalesce(headcount.cast("float64"), _looked_up(band, {b: low for b, (low, _) in BAND_STAFF.items()}))


def _size_conflict(_: str | None, values: Values) -> float | None:
    found = size_conflict(*values)
    return None if found is None else float(found)


def _size_conflict_offline(_: str | None, values: Values) -> Any:
    import ibis

    category, headcount, band = values
    own = _staff(headcount, band)
    lowest = _looked_up(category, {c: low for c, (low, _) in CATEGORY_STAFF.items()})
    highest = _looked_up(category, {c: high for c, (_, high) in CATEGORY_STAFF.items()})
    conflict = (own < lowest) | (own >= highest.fill_null(inf) + 1.0)
    return (own.isnull() | lowest.isnull()).ifelse(ibis.null("float64"), conflict.cast("float64"))


def _regime_offline(_: str | None, values: Values) -> Any:
    import ibis

    given, deadline, headcount, band = values
    own = _staff(headcount, band)
    return ibis.cases(
        (given.notnull(), given),
        (deadline.notnull(), ibis.literal("project")),
        (own < MASS_BELOW, ibis.literal("mass")),
        (own >= MASS_BELOW, ibis.literal("industrial")),
        else_=ibis.null("string"),
    )


RULES: Mapping[str, Rule] = {
    "reached": Rule(_reached, _reached_offline),
    "last_known": Rule(_last_known, _last_known_offline),
    "latest": Rule(_latest, _latest_offline),
    "naf": Rule(lambda part, values: naf_part(values[0], part or ""), _naf_offline),
    "band_order": Rule(_band_order, _band_order_offline),
    "size_conflict": Rule(_size_conflict, _size_conflict_offline),
    "regime": Rule(lambda _, values: infer_regime(*values), _regime_offline),
}
