"""What tables add to the log-odds that trees give: base rates by age and weekday, and a logistic model.

A number counts through ``sign(x) log(1 + |x|)``, centred, scaled and held within ``CLIP``; a level and a missing value
have entries of their own. Every entry is less its mean over the training rows, so that the parts are contributions:
what sets the prospect apart from the average one. ``late`` says how much the second table counts in each interval.
A base rate by a feature is linear in log(1 + x) between the values that it is given for; by a category it is given for
every code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

CLIP = 5.0  # standard deviations beyond which a number says no more


def squash(x: Matrix) -> Matrix:
    """``sign(x) log(1 + |x|)``: counts and amounts on one scale."""
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)), dtype=np.float64)


class Linear:
    """The tables of ``constants.json``'s ``linear``, made ready: pure, safe in threads.

    Args:
        names: the features in the spec's order.
        data: ``trees`` (the weight of the trees' log-odds), ``intervals`` and ``late`` (one number per interval),
            ``numbers`` (feature -> centre, scale and the pairs [soon, late] slope, known, missing) and ``levels``
            (category feature -> a pair per code, then one for any other level and one for a missing one); both may be
            empty, without a logistic model. ``tables``: for each, the ``feature``, the values ``at`` (rising) and
            ``log_odds``, a number per interval for each of the values. ``regimes``, if there: the category ``feature``
            that tells them, and ``effects``: by code (as text) what a regime adds to the numbers' [slope, known,
            missing] and to the levels' entries, soon and late alike.
    """

    def __init__(self, names: Sequence[str], data: Mapping[str, Any]) -> None:
        self.trees = float(data["trees"])
        self.intervals = np.asarray(data["intervals"], dtype=np.float64)
        self.late = np.asarray(data["late"], dtype=np.float64)
        position = {name: i for i, name in enumerate(names)}
        numbers: Mapping[str, Mapping[str, Any]] = data["numbers"]
        self._numbers = np.array([position[name] for name in numbers], dtype=np.intp)
        self._centre = np.array([n["centre"] for n in numbers.values()], dtype=np.float64)
        self._scale = np.array([n["scale"] for n in numbers.values()], dtype=np.float64)
        self._slope, self._known, self._missing = (
            np.array([n[key] for n in numbers.values()], dtype=np.float64).reshape(-1, 2).T
            for key in ("slope", "known", "missing")
        )
        self._levels = [(position[name], np.array(pairs, dtype=np.float64)) for name, pairs in data["levels"].items()]
        self._width = len(position)
        regimes = data.get("regimes")
        self._regime = -1 if regimes is None else position[regimes["feature"]]
        self._own = [
            (
                float(code),
                np.array([own["numbers"][name] for name in numbers], dtype=np.float64).reshape(-1, 3).T,
                [(position[name], np.array(entries, dtype=np.float64)) for name, entries in own["levels"].items()],
            )
            for code, own in ({} if regimes is None else regimes["effects"]).items()
        ]
        self._tables = [
            (position[t["feature"]], np.log1p(np.array(t["at"], dtype=np.float64)), np.array(t["log_odds"], np.float64))
            for t in data["tables"]
        ]

    def parts(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        """What each feature adds to the log-odds, soon and late: two matrices (rows, features) of encoded rows."""
        soon, late = np.zeros((2, len(matrix), self._width))
        x = matrix[:, self._numbers]
        missing = np.isnan(x)
        z = np.clip((squash(np.where(missing, 0.0, x)) - self._centre) / self._scale, -CLIP, CLIP)
        for out, slope, known, absent in zip((soon, late), self._slope, self._known, self._missing, strict=True):
            out[:, self._numbers] = np.where(missing, absent, z * slope + known)
        for i, pairs in self._levels:
            code = matrix[:, i]
            absent = np.isnan(code)
            at = np.where(absent, len(pairs) - 1, np.where(absent, 0.0, code)).astype(np.intp)
            soon[:, i], late[:, i] = pairs[at, 0], pairs[at, 1]
        for regime, (slope, known, absent), levels in self._own:
            here = np.flatnonzero(matrix[:, self._regime] == regime)
            soon[np.ix_(here, self._numbers)] += np.where(missing[here], absent, z[here] * slope + known)
            for i, entries in levels:
                code = matrix[here, i]
                at = np.where(np.isnan(code), len(entries) - 1, np.nan_to_num(code)).astype(np.intp)
                soon[here, i] += entries[at]
        return soon, late

    def by_table(self, matrix: Matrix) -> list[tuple[int, Matrix]]:
        """What each table adds to the log-odds in each interval, (rows, intervals), with its feature's position."""
        return [(i, at_knots(matrix[:, i], at, table)) for i, at, table in self._tables]

    def log_odds(self, soon: Matrix, late: Matrix, tables: Sequence[tuple[int, Matrix]]) -> Matrix:
        """What the parts of rows add to the log-odds in each interval, shape (rows, intervals)."""
        out: Matrix = self.intervals + soon.sum(axis=1)[:, None] + late.sum(axis=1)[:, None] * self.late
        for _, table in tables:
            out = out + table
        return out


def knots(x: Matrix, at: Matrix) -> tuple[npt.NDArray[np.intp], Matrix]:
    """Between which values (given as log(1 + value)) each x lies: the lower one's index, the share of the next."""
    x = np.log1p(np.maximum(np.nan_to_num(x), 0.0))
    lower = np.clip(np.searchsorted(at, x, side="right") - 1, 0, max(len(at) - 2, 0))
    if len(at) == 1:
        return lower, np.zeros(len(x))
    return lower, np.clip((x - at[lower]) / (at[lower + 1] - at[lower]), 0.0, 1.0)


def at_knots(x: Matrix, at: Matrix, table: Matrix) -> Matrix:
    """The table's row at each x, linear in log(1 + x) and flat beyond its ends; 0 where x is missing."""
    lower, share = knots(x, at)
    upper = np.minimum(lower + 1, len(at) - 1)
    out = table[lower] * (1 - share)[:, None] + table[upper] * share[:, None]
    return np.asarray(np.where(np.isnan(x)[:, None], 0.0, out), dtype=np.float64)
