"""The trees as tables: a row's sums in all intervals, and exactly what each feature adds to them, by look-ups.

What a tree gives depends on which of its splits send the row to the left. The leaves of a tree are put into groups
that hang on at most ``BITS`` splits, and for each outcome of these a table holds what the group adds: the value of
the leaf that is reached, if it is among them, and the features' contributions of all its leaves. They are those of
LightGBM, the path-dependent Shapley values of TreeSHAP (Lundberg et al. 2020), written leaf by leaf: a leaf of value
v, whose path has the features 1..d, gives feature i

    v (o_i - z_i) * integral over u in (0, 1) of the product over j != i of (o_j u + z_j (1 - u))

where o_j says whether the row satisfies all conditions on feature j of the path, and z_j is the product of the shares
of the training rows that did at each of them. The integral is that of a polynomial, which Gauss's points give exactly.

Only the splits on the interval tell the intervals of one row apart: their outcomes are known beforehand, so that a
group without any is looked up once, and one with some once for each run of intervals that it does not tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from features.errors import BadBundle
from serving.linear import summed

Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]  # of the tables' entries, at most ``_MOST``

BITS = 8  # splits of a group at most: one byte
_MOST = 4_000_000  # entries of the tables at most, 72 bytes each
_PART = 64  # rows that are looked up at a time, so that what is in between stays in the processor's cache


class Unsupported(Exception):
    """The trees are of a kind that the tables do not hold: LightGBM has to be asked itself."""


@dataclass(frozen=True)
class _Tree:
    """One tree of the model's text; a child below 0 is leaf ``~child``."""

    features: list[int]
    conditions: list[tuple[Any, ...]]  # what sends a row to the left: equal ones are one
    left: list[int]
    right: list[int]
    values: list[float]
    counts: list[int]
    leaf_counts: list[int]

    def count(self, node: int) -> int:
        return self.counts[node] if node >= 0 else self.leaf_counts[~node]


@dataclass
class _Group:
    """Leaves of one tree: for each its path, as (node, whether to the left) from the root."""

    nodes: tuple[int, ...]
    leaves: list[tuple[int, tuple[tuple[int, bool], ...]]] = field(default_factory=list)


class Forest:
    """A LightGBM model as tables: pure, safe in threads. Rows are given without the interval, the model's last column.

    Args:
        model_text: the model as LightGBM writes it.
        columns: the number of its columns.
        intervals: how many values 0, 1, ... the last one takes.

    Raises Unsupported for trees whose paths are longer than ``BITS``, linear leaves, averaged forests, and zeros that
    count as missing; BadBundle for a split on a column that there is none of.
    """

    def __init__(self, model_text: str, columns: int, intervals: int) -> None:
        self.columns = columns
        self.intervals = intervals
        self.step = _PART
        found: dict[tuple[Any, ...], int] = {}
        trees = [_read(block) for block in _blocks(model_text)]
        if not all(0 <= feature < columns for tree in trees for feature in tree.features):
            raise BadBundle(
                "bad_model",
                "a tree splits on a column that the model has not.",
                where="model.txt",
                remedy="The file was damaged: train again, or serve another version.",
            )
        self._constant = sum(tree.values[0] for tree in trees if not tree.left)
        parts = [(tree, group) for tree in trees if tree.left for group in _groups(tree)]
        interval = columns - 1

        def on_interval(part: tuple[_Tree, _Group]) -> bool:
            tree, group = part
            return any(tree.features[node] == interval for node in group.nodes)

        parts.sort(key=on_interval)  # those without first
        plain = sum(not on_interval(part) for part in parts)
        bits: list[list[tuple[Any, ...] | None]] = []  # of each look-up: the conditions of its byte
        offsets: list[int] = []
        runs: list[tuple[int, int]] = []  # of each look-up: the intervals that it stands for
        of: list[list[int]] = []  # of each group on the interval: its look-up in each interval
        tables: list[tuple[Matrix, Matrix]] = []
        slots: list[list[int]] = []
        size = 0
        for tree, group in parts:
            conditions = sorted({tree.conditions[n] for n in group.nodes}, key=repr)
            features = sorted({tree.features[n] for n in group.nodes})
            place = {condition: i for i, condition in enumerate(conditions)}
            tables.append(_table(tree, group, place, features))
            byte = [c if c[1] != interval else None for c in conditions]
            byte += [None] * (BITS - len(byte))
            slot = [*features, *[columns] * (BITS - len(features))]
            fixed = [(i, c) for i, c in enumerate(conditions) if c[1] == interval]
            known = [sum(_holds(c, float(k)) << i for i, c in fixed) for k in range(intervals)]
            if fixed:
                of.append([])
            start = 0
            for k in range(1, intervals + 1):
                if k == intervals or known[k] != known[start]:
                    if fixed:
                        of[-1] += [len(bits)] * (k - start)
                    bits.append(byte)
                    offsets.append(size + known[start])
                    runs.append((start, k))
                    slots.append(slot)
                    start = k
            size += 1 << len(conditions)
            if size > _MOST:
                raise Unsupported("the tables would be too large")
        self._plain = plain
        # By feature and rising threshold: those that a row's value turns lie side by side.
        wanted = sorted({c for byte in bits for c in byte if c is not None}, key=lambda c: (_kind(c), *c[1:]))
        found = {c: i for i, c in enumerate(wanted)}
        kinds = [_kind(c) for c in wanted]
        self._right, self._left = kinds.count(0), kinds.count(1)  # conditions by where a missing value goes; levels
        numbers = self._right + self._left
        self._feature = np.array([c[1] for c in wanted[:numbers]], dtype=np.intp)
        self._threshold = np.array([c[2] for c in wanted[:numbers]], dtype=np.float64)
        self._levels(wanted[numbers:])
        self._never = len(wanted)
        self._bits = np.array(
            [[self._never if c is None else found[c] for c in byte] for byte in bits], dtype=np.intp
        ).reshape(len(bits), BITS)
        self._offsets = np.array(offsets, dtype=np.int32)
        begin, end = np.array(runs, dtype=np.intp).reshape(-1, 2).T
        self._begin, self._end = np.ascontiguousarray(begin[plain:]), np.ascontiguousarray(end[plain:])
        self._of = np.array(of, dtype=np.intp).reshape(-1, intervals).T.copy()
        self._value = np.concatenate([value for value, _ in tables]) if tables else np.zeros(0)
        self._parts = np.concatenate([part for _, part in tables]) if tables else np.zeros((0, BITS))
        self._slots = np.array(slots, dtype=np.intp).reshape(-1)
        build = compiled("serving._tables", "ForestTables", None)
        self._tables = None if build is None else build(self)

    def _levels(self, conditions: Sequence[tuple[Any, ...]]) -> None:
        """The conditions on category features: a table of outcomes by code + 1, where 0 stands for a missing one."""
        columns = sorted({c[1] for c in conditions})
        self._widest = max((max(c[2], default=0) for c in conditions), default=0) + 1
        width = self._widest + 2
        table = np.zeros((len(conditions), width), dtype=bool)
        for i, (_, _, codes) in enumerate(conditions):
            table[i, [code + 1 for code in codes]] = True
        self._coded = np.array(columns, dtype=np.intp)
        self._code = np.array([columns.index(c[1]) for c in conditions], dtype=np.intp)
        self._row = np.arange(len(conditions), dtype=np.intp) * width
        self._known = table.reshape(-1)

    def look(self, matrix: Matrix) -> Indices:
        """Where in the tables each row stands, shape (rows, look-ups)."""
        if self._tables is not None:
            return np.asarray(self._tables.look(np.ascontiguousarray(matrix)))
        rows = len(matrix)
        out = np.empty((rows, self._never + 1), dtype=bool)
        right, numbers = self._right, self._right + self._left
        x = matrix.take(self._feature, axis=1)
        np.less_equal(x[:, :right], self._threshold[:right], out=out[:, :right])
        # What is missing goes to the left where it is not greater.
        np.greater(x[:, right:], self._threshold[right:], out=out[:, right:numbers])
        np.logical_not(out[:, right:numbers], out=out[:, right:numbers])
        if len(self._coded):
            code = matrix.take(self._coded, axis=1)
            code[np.isnan(code)] = -1.0
            at = (np.minimum(np.maximum(code, -1.0), self._widest).astype(np.intp) + 1).take(self._code, axis=1)
            at += self._row
            self._known.take(at, out=out[:, numbers : self._never], mode="clip")
        out[:, self._never] = False
        packed = np.packbits(out.take(self._bits, axis=1).reshape(rows, self._bits.size), axis=1, bitorder="little")
        return packed + self._offsets

    def raw(self, index: Indices) -> Matrix:
        """The trees' sum in each interval, shape (rows, intervals)."""
        if self._tables is not None:
            return np.asarray(self._tables.raw(index))
        value = self._value.take(index)
        out = summed(value[:, : self._plain])[:, None] + self._constant
        return np.asarray(out + summed(value.take(self._of, axis=1)), dtype=np.float64)

    def contributions(self, index: Indices, weights: Matrix) -> Matrix:
        """What each column adds, summed over the intervals with these weights (rows, intervals); (rows, columns)."""
        if self._tables is not None:
            return np.asarray(self._tables.contributions(index, weights))
        rows = len(index)
        run = np.zeros((rows, self.intervals + 1))
        np.cumsum(weights, axis=1, out=run[:, 1:])
        share = np.empty(index.shape)
        share[:, : self._plain] = run[:, -1:]
        np.subtract(run.take(self._end, axis=1), run.take(self._begin, axis=1), out=share[:, self._plain :])
        out = np.empty((rows, self.columns))
        for r in range(rows):
            parts = self._parts.take(index[r], axis=0)
            parts *= share[r, :, None]
            out[r] = np.bincount(self._slots, parts.reshape(-1), self.columns + 1)[:-1]
        return out


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """The trees of a model's text, each as its lines."""
    head, *blocks = text.split("\nTree=")
    if "\naverage_output" in head:
        raise Unsupported("an averaged forest")
    for block in blocks:
        lines = block.split("\n\n", 1)[0].split("\n")
        yield dict(line.split("=", 1) for line in lines if "=" in line)


def _read(block: dict[str, str]) -> _Tree:
    if block.get("is_linear", "0") != "0":
        raise Unsupported("linear leaves")
    values = [float(v) for v in block["leaf_value"].split()]
    if int(block["num_leaves"]) == 1:
        return _Tree([], [], [], [], values, [], [])
    features, thresholds = _ints(block["split_feature"]), block["threshold"].split()
    borders, words = _ints(block.get("cat_boundaries", "")), _ints(block.get("cat_threshold", ""))
    conditions: list[tuple[Any, ...]] = []
    for feature, threshold, kind in zip(features, thresholds, _ints(block["decision_type"]), strict=True):
        if kind & 1:
            at = int(float(threshold))
            held = words[borders[at] : borders[at + 1]]
            codes = tuple(32 * i + bit for i, word in enumerate(held) for bit in range(32) if word >> bit & 1)
            conditions.append(("level", feature, codes))
            continue
        missing = kind >> 2 & 3
        if missing == 1:
            raise Unsupported("zeros that count as missing")
        value = float(threshold)
        if np.isnan(value):
            raise Unsupported("a split at no number")
        left = bool(kind & 2) if missing == 2 else value >= 0.0  # none known in training: counts as 0
        conditions.append(("left" if left else "right", feature, value))
    return _Tree(
        features,
        conditions,
        _ints(block["left_child"]),
        _ints(block["right_child"]),
        values,
        _ints(block["internal_count"]),
        _ints(block["leaf_count"]),
    )


def _ints(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def _kind(condition: tuple[Any, ...]) -> int:
    return ("right", "left", "level").index(condition[0])


def _holds(condition: tuple[Any, ...], value: float) -> bool:
    """Whether a known value is sent to the left."""
    return int(value) in condition[2] if condition[0] == "level" else value <= condition[2]


def _groups(tree: _Tree) -> list[_Group]:
    """The leaves in groups that hang on at most ``BITS`` splits, few of them."""

    def under(node: int, path: tuple[tuple[int, bool], ...]) -> list[_Group]:
        if node < 0:
            if len(path) > BITS:
                raise Unsupported(f"a path of {len(path)} splits")
            return [_Group(tuple(n for n, _ in path), [(~node, path)])]
        left = under(tree.left[node], (*path, (node, True)))
        right = under(tree.right[node], (*path, (node, False)))
        return _joined([*left, *right])

    return under(0, ())


def _joined(groups: list[_Group]) -> list[_Group]:
    """Groups put together while two of them fit into one, those of the fewest splits first."""
    while True:
        pairs = [(len({*a.nodes, *b.nodes}), i, j) for j, b in enumerate(groups) for i, a in enumerate(groups[:j])]
        size, i, j = min(pairs, default=(BITS + 1, 0, 0))
        if size > BITS:
            return groups
        one, other = groups[i], groups[j]
        joined = _Group(tuple(sorted({*one.nodes, *other.nodes})), [*one.leaves, *other.leaves])
        groups = [group for k, group in enumerate(groups) if k not in (i, j)]
        groups.append(joined)


def _table(
    tree: _Tree, group: _Group, place: dict[tuple[Any, ...], int], features: Sequence[int]
) -> tuple[Matrix, Matrix]:
    """For each outcome of a group's conditions, the value it adds and the contributions of its features."""
    outcome = _outcomes(len(place))
    points, weights = _gauss()
    value = np.zeros(len(outcome))
    parts = np.zeros((len(outcome), BITS))
    for leaf, path in group.leaves:
        satisfied: dict[int, npt.NDArray[np.bool_]] = {}
        share: dict[int, float] = {}
        for node, left in path:
            feature, child = tree.features[node], tree.left[node] if left else tree.right[node]
            held = outcome[:, place[tree.conditions[node]]] == left
            satisfied[feature] = held if feature not in satisfied else satisfied[feature] & held
            share[feature] = share.get(feature, 1.0) * (tree.count(child) / tree.count(node))
        o = np.array([satisfied[f] for f in satisfied], dtype=np.float64)  # (d, outcomes)
        z = np.array([share[f] for f in satisfied])[:, None]
        value += tree.values[leaf] * o.all(axis=0)
        factor = o[:, :, None] * points + (z * (1.0 - points))[:, None, :]  # (d, outcomes, points)
        for i, feature in enumerate(satisfied):
            rest = np.delete(factor, i, axis=0).prod(axis=0)
            parts[:, features.index(feature)] += tree.values[leaf] * (o[i] - z[i]) * (rest * weights).sum(axis=1)
    return value, parts


@cache
def _outcomes(bits: int) -> npt.NDArray[np.bool_]:
    """Every outcome of so many conditions, the first in the lowest bit."""
    return (np.arange(1 << bits)[:, None] >> np.arange(bits) & 1).astype(bool)


@cache
def _gauss() -> tuple[Matrix, Matrix]:
    """Points and weights on (0, 1), exact for the degrees that a path of ``BITS`` splits may have."""
    points, weights = np.polynomial.legendre.leggauss((BITS + 1) // 2)
    return (points + 1.0) / 2.0, weights / 2.0
