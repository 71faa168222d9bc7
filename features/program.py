"""What a row holds beside the groups: attributes as they stand, and the values that are made of other cells of it.

This is the definition. ``features/_program.pyx`` is the same, compiled, and equal to the bit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from features.compiled import compiled
from features.contract import DAY, EPOCH
from features.expressions import RULES


class Input(NamedTuple):
    """A cell that holds a column of the prospect's or its account's row, as it stands or as a number."""

    cell: int
    own: bool
    column: str
    number: bool


Made = Callable[[Any, Sequence[Any]], Any]  # of a detail and of values


class Step(NamedTuple):
    """A cell that an operation, which has this function and this detail, makes of others."""

    cell: int
    operation: str
    made: Made
    detail: Any
    places: tuple[int, ...]


class PlainProgram:
    """The inputs of a row of ``width`` cells, and the steps in an order in which each finds what it is made of."""

    def __init__(self, width: int, inputs: Sequence[Input], steps: Sequence[Step]) -> None:
        self._inputs = inputs
        self._steps = [(cell, made, detail, places) for cell, _, made, detail, places in steps]

    def read(self, row: list[Any], prospect: Mapping[str, Any], account: Mapping[str, Any]) -> None:
        """Set the cells of the inputs."""
        for cell, own, column, number in self._inputs:
            value = (prospect if own else account).get(column)
            row[cell] = float(value) if number and value is not None else value

    def make(self, row: list[Any]) -> None:
        """Set the cells of the steps."""
        for cell, made, detail, places in self._steps:
            row[cell] = made(detail, [row[i] for i in places])


def _days(_: None, values: Sequence[Any]) -> float | None:
    later, earlier = values
    return None if later is None or earlier is None else float(later - earlier) / float(DAY)


def _share(_: None, values: Sequence[Any]) -> float | None:
    count, whole = values
    return None if count is None or not whole else count / whole


def _ratio(_: None, values: Sequence[Any]) -> float | None:
    a, b = values
    return None if a is None or b is None or b == 0 else _finite(a / b)


def _difference(_: None, values: Sequence[Any]) -> float | None:
    a, b = values
    return None if a is None or b is None else _finite(a - b)


def _finite(x: float) -> float | None:
    """The number, or missing where it is too large for a double: no answer can hold an infinite one."""
    return x if math.isfinite(x) else None


def _band(cuts: Sequence[float], values: Sequence[Any]) -> float | None:
    return None if values[0] is None else float(bisect_right(cuts, values[0]))


def _calendar(part: str, values: Sequence[Any]) -> float | None:
    (micros,) = values
    if micros is None:
        return None
    if part == "weekday":
        return float((micros // DAY + 3) % 7)  # 1970 began on a Thursday
    if part == "hour":
        return float(micros // (DAY // 24) % 24)
    return float((EPOCH + timedelta(microseconds=micros)).month)


MADE: Mapping[str, Made] = {
    "days": _days,
    "share": _share,
    "ratio": _ratio,
    "difference": _difference,
    "band": _band,
    "calendar": _calendar,
    **{name: rule.online for name, rule in RULES.items()},
}

if TYPE_CHECKING:
    Program = PlainProgram
else:
    Program = compiled("features._program", "Program", PlainProgram)
