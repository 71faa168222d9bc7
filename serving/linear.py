"""What tables add to the log-odds that trees give: base rates by age and weekday, and a logistic model.

A number counts through ``sign(x) log(1 + |x|)``, centred, scaled and held within ``CLIP``; a level and a missing value
have entries of their own. Every entry is less its mean over the training rows, so that the parts are contributions:
what sets the prospect apart from the average one. ``late`` says how much the second table counts in each interval.
A base rate by a feature is linear in log(1 + x) between the values that it is given for; by a category it is given for
every code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.compiled import compiled

Matrix = npt.NDArray[np.float64]

CLIP = 5.0  # standard deviations beyond which a number says no more


def squash(x: Matrix) -> Matrix:
    """``sign(x) log(1 + |x|)``: counts and amounts on one scale."""
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)), dtype=np.float64)


def summed(x: Matrix) -> Matrix:
    """The sums along the last axis, added in its order: NumPy's own order depends on the shape."""
    if x.shape[-1] == 0:
        return np.zeros(x.shape[:-1])
    return np.asarray(np.add.accumulate(x, axis=-1)[..., -1])


class Parts(NamedTuple):
    """Rows as the tables see them: soon and late (rows, numbers and levels), and (rows, tables, intervals)."""

    soon: Matrix
    late: Matrix
    tables: Matrix


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
        levels: Mapping[str, Any] = data["levels"]
        regimes = data.get("regimes")
        own: Mapping[str, Any] = {} if regimes is None else regimes["effects"]
        self._width = len(position)
        self._regime = -1 if regimes is None else position[regimes["feature"]]
        self._codes = np.array([float(code) for code in own], dtype=np.float64)
        self._order = np.array([position[name] for name in (*numbers, *levels)], dtype=np.intp)
        self._numbers = np.array([position[name] for name in numbers], dtype=np.intp)
        self._centre = np.array([n["centre"] for n in numbers.values()], dtype=np.float64)
        self._scale = np.array([n["scale"] for n in numbers.values()], dtype=np.float64)
        # By regime (first: none that has effects of its own): soon [slope, known, missing]; late is that of all.
        soon, late = (
            np.array([[n[key][i] for n in numbers.values()] for key in ("slope", "known", "missing")], np.float64)
            for i in (0, 1)
        )
        mine = [np.array([e["numbers"][name] for name in numbers], np.float64).reshape(-1, 3).T for e in own.values()]
        self._soon = np.stack([soon, *(soon + each for each in mine)])  # (regimes, 3, numbers)
        self._late = late
        # The entries of all levels after one another, by regime too.
        tables = [np.array(pairs, dtype=np.float64).reshape(-1, 2) for pairs in levels.values()]
        first = np.concatenate([t[:, 0] for t in tables]) if tables else np.zeros(0)
        added = [
            np.concatenate([[], *(np.array(e["levels"][name], np.float64) for name in levels)]) for e in own.values()
        ]
        self._entries = np.concatenate([first, *(first + each for each in added)])
        self._late_entries = np.concatenate([t[:, 1] for t in tables]) if tables else np.zeros(0)
        lengths = np.array([len(t) for t in tables], dtype=np.intp)
        self._levels = np.array([position[name] for name in levels], dtype=np.intp)
        self._offset = np.cumsum(lengths) - lengths
        self._absent = lengths - 1.0  # the entry of a missing level, the last
        self._steps(position, data["tables"])
        self._read = np.concatenate([self._numbers, self._tabled])
        build = compiled("serving._tables", "LinearTables", None)
        self._tables = None if build is None else build(self, CLIP)

    def _steps(self, position: Mapping[str, int], tables: Sequence[Mapping[str, Any]]) -> None:
        """The tables by a feature's value, brought to one number of knots."""
        self._tabled = np.array([position[t["feature"]] for t in tables], dtype=np.intp)
        most = max((len(t["at"]) for t in tables), default=0)
        most = max(most, 2)
        self._at = np.full((len(tables), most), np.inf)
        self._last = np.zeros(len(tables), dtype=np.intp)  # the greatest knot that another one follows
        values = np.zeros((len(tables), most, len(self.intervals)))
        for i, table in enumerate(tables):
            at, log_odds = np.log1p(np.array(table["at"], np.float64)), np.array(table["log_odds"], np.float64)
            if len(at) == 1:  # flat
                at, log_odds = np.array([at[0], at[0] + 1.0]), np.concatenate([log_odds, log_odds])
            self._at[i, : len(at)], values[i, : len(at)] = at, log_odds
            self._last[i] = len(at) - 2
        self._base = np.arange(len(tables), dtype=np.intp) * most
        self._flat_at = self._at.reshape(-1)
        with np.errstate(invalid="ignore"):
            self._step = np.append(np.diff(self._flat_at), np.inf)
        rise = np.diff(values, axis=1, append=values[:, -1:])  # from each knot to the next
        self._values, self._rise = (each.reshape(-1, len(self.intervals)) for each in (values, rise))

    def see(self, matrix: Matrix) -> Parts:
        """What encoded rows are to the tables: each feature's part soon and late, and each table's row."""
        rows, count = len(matrix), len(self._numbers)
        if self._tables is not None:
            return Parts(*self._tables.see(np.ascontiguousarray(matrix)))
        squashed = squash(matrix.take(self._read, axis=1))  # the numbers, then what the tables are by
        missing = np.isnan(squashed)
        z = squashed[:, :count] - self._centre
        z /= self._scale
        np.minimum(np.maximum(z, -CLIP, out=z), CLIP, out=z)
        group: Any = None
        given = self._soon
        if len(self._codes):
            same = matrix[:, self._regime, None] == self._codes
            group = np.where(same.any(axis=1), same.argmax(axis=1) + 1, 0)
            given = self._soon[group]
        both = np.empty((2, rows, len(self._order)))
        soon, late = both
        for out, slope, known, absent in (
            (soon[:, :count], given[:, 0], given[:, 1], given[:, 2]),
            (late[:, :count], self._late[0], self._late[1], self._late[2]),
        ):
            np.multiply(z, slope, out=out)
            out += known
            np.copyto(out, absent, where=missing[:, :count])
        if len(self._levels):
            code = matrix.take(self._levels, axis=1)
            np.copyto(code, self._absent, where=np.isnan(code))
            at = code.astype(np.intp)
            at += self._offset
            late[:, count:] = self._late_entries.take(at)
            if group is not None:
                at += (group * len(self._late_entries))[:, None]
            soon[:, count:] = self._entries.take(at)
        return Parts(soon, late, self._look(squashed[:, count:], missing[:, count:]))

    def _look(self, squashed: Matrix, missing: npt.NDArray[np.bool_]) -> Matrix:
        """What each table adds in each interval, shape (rows, tables, intervals)."""
        y = np.maximum(squashed, 0.0)
        y[missing] = 0.0
        lower = (y[:, :, None] >= self._at).sum(axis=2)
        lower -= 1
        np.minimum(np.maximum(lower, 0, out=lower), self._last, out=lower)
        lower += self._base
        share = y - self._flat_at.take(lower)
        share /= self._step.take(lower)
        np.minimum(np.maximum(share, 0.0, out=share), 1.0, out=share)
        out = self._rise.take(lower, axis=0)
        out *= share[:, :, None]
        out += self._values.take(lower, axis=0)
        out[missing] = 0.0
        return np.asarray(out, dtype=np.float64)

    def of(self, parts: Parts) -> Matrix:
        """What the parts of rows add to the log-odds in each interval, shape (rows, intervals)."""
        if self._tables is not None:
            return np.asarray(self._tables.of(*parts))
        out: Matrix = self.intervals + summed(parts.soon)[:, None] + summed(parts.late)[:, None] * self.late
        for i in range(len(self._tabled)):
            out += parts.tables[:, i]
        return out

    def effects(self, parts: Parts, weights: Matrix, trees: Matrix) -> Matrix:
        """What the features add, summed over the intervals with these weights; (rows, features).

        ``trees`` is what the trees add, by feature and last by interval: it counts with the trees' weight.
        """
        if self._tables is not None:
            return np.asarray(self._tables.effects(*parts, weights, trees, self.trees))
        out = np.asarray(self.trees * trees[:, :-1], dtype=np.float64)
        rows = len(weights)
        late = summed(weights * self.late)[:, None]
        out[:, self._order] += summed(weights)[:, None] * parts.soon[:rows] + late * parts.late[:rows]
        for i, column in enumerate(self._tabled.tolist()):  # two of them may be by one feature
            out[:, column] += summed(weights * parts.tables[:rows, i])
        return out

    def parts(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        """What each feature adds to the log-odds, soon and late: two matrices (rows, features) of encoded rows."""
        seen = self.see(matrix)
        soon, late = np.zeros((2, len(matrix), self._width))
        soon[:, self._order], late[:, self._order] = seen.soon, seen.late
        return soon, late


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
