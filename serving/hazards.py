"""The model of a bundle as one function: encoded rows in, the log-odds of the hazard in every interval out.

Trees and, in a blend, what a logistic model and tables add to their log-odds (``serving.linear``). The trees are looked
up in tables (``serving.contributions``), or asked of LightGBM where they are of a kind that the tables do not hold; a
model has one of the two, so that every path gives the same bits, and each row is computed on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from serving.contributions import Forest, Unsupported
from serving.linear import Linear, Parts
from serving.trees import Trees, expand

Matrix = npt.NDArray[np.float64]

_MOST = 65_536  # model rows of LightGBM held in memory at a time


# A training makes several scorers of one model, which differ in what its card says alone.
_forest = lru_cache(maxsize=1)(Forest)

_blended: Any = compiled("serving._tables", "blended", None)


class Seen(NamedTuple):
    """Rows made ready: where they stand in the tables (or the rows as LightGBM takes them), and the linear parts."""

    index: Any
    parts: Parts | None


class Hazards:
    """Pure once it is made, safe in threads. ``step`` is the number of rows that it should be given at a time.

    Args:
        model_text: the trees as LightGBM writes them.
        names: the features in the spec's order.
        intervals: their number, K.
        linear: what ``Linear`` takes, or None.

    Raises BadBundle where LightGBM refuses the trees.
    """

    def __init__(
        self, model_text: str, names: Sequence[str], intervals: int, linear: Mapping[str, Any] | None = None
    ) -> None:
        self.intervals = intervals
        self.trees = Trees(model_text, len(names) + 1)
        self.linear = None if linear is None else Linear(names, linear)
        self.forest: Forest | None
        try:
            self.forest = _forest(model_text, len(names) + 1, intervals)
            self.step = self.forest.step
        except Unsupported:
            self.forest = None
            self.step = max(1, _MOST // intervals)

    def see(self, matrix: Matrix) -> Seen:
        """Make encoded rows ready for the two questions below."""
        parts = None if self.linear is None else self.linear.see(matrix)
        if self.forest is not None:
            return Seen(self.forest.look(matrix), parts)
        return Seen(expand(matrix, [self.intervals] * len(matrix)), parts)

    def log_odds(self, seen: Seen) -> Matrix:
        """The log-odds in each interval, before the starting score; shape (rows, intervals)."""
        if self.forest is not None:
            raw = self.forest.raw(seen.index)
        else:
            raw = self.trees.raw(seen.index).reshape(-1, self.intervals)
        if self.linear is None or seen.parts is None:
            return raw
        if _blended is not None:
            return np.asarray(_blended(self.linear.trees, raw, self.linear.of(seen.parts)))
        return np.asarray(self.linear.trees * raw + self.linear.of(seen.parts), dtype=np.float64)

    def effects(self, seen: Seen, weights: Matrix) -> Matrix:
        """What the features add to the log-odds, summed over the intervals with these weights.

        ``weights`` (n, intervals) are those of the first n rows; the result has the shape (n, features).
        """
        rows, intervals = weights.shape
        if self.forest is not None:
            out = self.forest.contributions(seen.index[:rows], weights)
        else:
            parts = self.trees.contributions(seen.index[: rows * intervals]).reshape(rows, intervals, -1)
            # Added one after the other (no BLAS), so that a batch gives the bits of a single row.
            out = (weights[:, :, None] * parts[:, :, :-1]).sum(axis=1)
        if self.linear is None or seen.parts is None:
            return np.ascontiguousarray(out[:, :-1])  # without the interval itself
        return self.linear.effects(seen.parts, weights, out)
