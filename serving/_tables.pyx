# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The encoder and the outlooks of ``serving.scorer``, the look-ups of ``serving.contributions`` and ``serving.linear``,
and the trio of ``serving.committee``, compiled.

See there what they mean. Equal to them to the bit: everything is added in their order, and what is multiplied and added
is rounded in between.
"""

cimport cython
from cpython.dict cimport PyDict_GetItemWithError
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.math cimport NAN, exp, expm1, fabs, floor, isnan, log, log1p
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcpy

from math import fsum

import numpy as np

from features.contract import ALWAYS, DAY, ROLES
from features.online import as_of
from features.records import Event, Version
from features.titles import buying_role

cdef extern from "Python.h":
    PyObject* PyTuple_GET_ITEM(object t, Py_ssize_t i)  # borrowed
    Py_ssize_t PyTuple_GET_SIZE(object t)
    void PyTuple_SET_ITEM(object t, Py_ssize_t i, object value)  # takes the reference
    object PyType_GenericAlloc(type of, Py_ssize_t size)

cdef enum:
    BITS = 8


cdef class ForestTables:
    """The tables of a ``Forest``: where rows stand in them, and what that gives."""

    cdef Py_ssize_t right, plain, lookups, columns, intervals, widest, size
    cdef double constant
    cdef bint finite  # all that is in the tables
    cdef Py_ssize_t[::1] coded, begin, end, slots, used
    cdef int32_t[::1] first, places, bits  # of each condition: where it stands in which look-ups, and as which bit
    cdef double[::1] threshold, value
    cdef double[:, ::1] parts
    cdef uint8_t[:, ::1] known  # which levels hold, by code + 1; the last row: of no code yet, none
    # Conditions on one feature that treat a missing value alike are a scale of rising thresholds: those hold that come
    # at a row's place on it or after. The levels of a column stand together too.
    cdef Py_ssize_t[::1] scale, feature, column
    cdef int32_t[::1] begun
    cdef Py_ssize_t[::1] zeros  # where a row of zeros stands, in the tables and on the scales

    def __init__(self, forest):
        cdef Py_ssize_t numbers = forest._right + forest._left, levels = len(forest._code)
        self.right, self.plain = forest._right, forest._plain
        self.columns, self.intervals = forest.columns, forest.intervals
        self.widest, self.constant = forest._widest, forest._constant
        self.threshold, self.coded = forest._threshold, forest._coded
        self.begin, self.end = forest._begin, forest._end
        self.value, self.parts, self.slots = forest._value, forest._parts, forest._slots
        self.finite = np.isfinite(forest._parts).all()
        self.used = (forest._slots.reshape(-1, BITS) < forest.columns).sum(axis=1)
        self.lookups, self.size = len(forest._offsets), len(self.value)
        known = np.zeros((self.widest + 3, levels), dtype=np.uint8)
        known[: self.widest + 2] = forest._known.reshape(levels, self.widest + 2).T
        self.known = known
        found = forest._bits.reshape(-1)
        order = np.argsort(found, kind="stable")
        order = order[: int((found < numbers + levels).sum())]  # without the places of a byte that no condition has
        self.places, self.bits = (order // BITS).astype(np.int32), (1 << order % BITS).astype(np.int32)
        self.first = np.searchsorted(found[order], np.arange(numbers + levels + 1)).astype(np.int32)
        new = np.diff(forest._feature, prepend=-1) != 0
        if forest._left:
            new[forest._right] = True
        self.scale = np.append(np.flatnonzero(new), numbers)
        self.feature = np.ascontiguousarray(forest._feature[new])
        self.column = numbers + np.searchsorted(forest._code, np.arange(len(self.coded) + 1))
        self.begun = np.array(forest._offsets)  # as if no condition held
        self.zeros = np.append(self.scale[1:], np.full(len(self.coded), self.widest + 2))
        places = np.array(self.zeros)
        self.begun = self._look(np.zeros((1, self.columns - 1)), places)[0]
        self.zeros = places

    def look(self, const double[:, ::1] matrix):
        """Where in the tables each row stands, shape (rows, look-ups)."""
        return self._look(matrix, np.array(self.zeros))

    cdef object _look(self, const double[:, ::1] matrix, places):
        """What ``look`` gives; a row is told from the one before, since rows are much alike, the first from zeros.

        ``places`` is where that one stands: on each scale, and as a row of ``known`` for each column of levels.
        """
        cdef Py_ssize_t rows = matrix.shape[0], width = self.columns - 1, r, i, k, place, code, numbers
        cdef Py_ssize_t scales = self.feature.shape[0], columns = self.coded.shape[0]
        cdef double x
        cdef bint right
        found = np.empty((rows, self.lookups), dtype=np.int32)
        if matrix.shape[1] != width:
            raise ValueError(f"not a matrix of {width} columns")
        cdef int32_t[:, ::1] out = found
        cdef Py_ssize_t[::1] stands = places
        cdef int32_t* at
        cdef const int32_t* before
        if not self.lookups or not rows:
            return found
        before = &self.begun[0]
        numbers = self.scale[scales]
        for r in range(rows):
            at = &out[r, 0]
            memcpy(at, before, self.lookups * sizeof(int32_t))
            before = at
            for i in range(scales):
                x, place = matrix[r, self.feature[i]], stands[i]
                right = self.scale[i] < self.right  # where what is missing goes
                while place < self.scale[i + 1] and (
                    not x <= self.threshold[place] if right else x > self.threshold[place]
                ):
                    self._turn(place, -1, at)
                    place += 1
                while place > self.scale[i] and (
                    x <= self.threshold[place - 1] if right else not x > self.threshold[place - 1]
                ):
                    place -= 1
                    self._turn(place, 1, at)
                stands[i] = place
            for i in range(columns):
                x = matrix[r, self.coded[i]]
                code = 0 if isnan(x) or x < -1.0 else self.widest + 1 if x > self.widest else <Py_ssize_t> x + 1
                place = stands[scales + i]
                if code == place:
                    continue
                for k in range(self.column[i], self.column[i + 1]):
                    if self.known[code, k - numbers] != self.known[place, k - numbers]:
                        self._turn(k, 1 if self.known[code, k - numbers] else -1, at)
                stands[scales + i] = code
        return found

    cdef inline void _turn(self, Py_ssize_t condition, int32_t sign, int32_t* at) noexcept:
        """A condition holds where it did not before (sign 1), or no longer (-1): move to where that is in the tables."""
        cdef int32_t k
        for k in range(self.first[condition], self.first[condition + 1]):
            at[self.places[k]] += sign * self.bits[k]

    def raw(self, const int32_t[:, ::1] index):
        """The trees' sum in each interval, shape (rows, intervals)."""
        cdef Py_ssize_t rows = index.shape[0], r, k, i
        cdef double one
        cdef double* value = &self.value[0] if self.size else NULL
        found = np.zeros((rows, self.intervals))
        bases = np.zeros(rows)
        cdef double[:, ::1] out = found
        cdef double[::1] base = bases
        self._check(index)
        # Row beside row: what is added to one sum need not wait for the one before.
        for k in range(self.plain):
            for r in range(rows):
                base[r] += value[self._place(index[r, k])]
        for k in range(self.plain, self.lookups):
            for r in range(rows):
                one = value[self._place(index[r, k])]
                for i in range(self.begin[k - self.plain], self.end[k - self.plain]):
                    out[r, i] += one
        for r in range(rows):
            for i in range(self.intervals):
                out[r, i] += base[r] + self.constant
        return found

    def contributions(self, const int32_t[:, ::1] index, const double[:, ::1] weights):
        """What each column adds, summed over the intervals with these weights (rows, intervals); (rows, columns)."""
        cdef Py_ssize_t rows = index.shape[0], r, k, i, begin, end, used
        cdef double share
        cdef double* sums
        cdef double* part
        cdef Py_ssize_t* slot
        found = np.zeros((rows, self.columns))
        run = np.zeros((rows, self.intervals + 1))
        cdef double[:, ::1] out = found, upto = run
        self._check(index)
        if weights.shape[0] != rows or weights.shape[1] != self.intervals:
            raise ValueError("not a weight for each row and interval")
        for r in range(rows):
            for k in range(self.intervals):
                upto[r, k + 1] = upto[r, k] + weights[r, k]
        for k in range(self.lookups):
            begin, end = 0, self.intervals
            if k >= self.plain:
                begin, end = self.begin[k - self.plain], self.end[k - self.plain]
            slot, used = &self.slots[k * BITS], self.used[k]
            for r in range(rows):
                share = upto[r, end] - upto[r, begin]
                if share == 0.0 and self.finite:
                    continue  # nothing of it lies within the horizon
                sums, part = &out[r, 0], &self.parts[self._place(index[r, k]), 0]
                for i in range(used):
                    sums[slot[i]] += part[i] * share
        return found

    cdef int _check(self, const int32_t[:, ::1] index) except -1:
        if index.shape[1] != self.lookups:
            raise ValueError(f"not {self.lookups} look-ups")
        return 0

    cdef inline Py_ssize_t _place(self, int32_t at) except -1:
        """A place of the index, which stands in the tables."""
        if <uint32_t> at >= <size_t> self.size:
            raise ValueError("no such place in the tables")
        return at


cdef class LinearTables:
    """The tables of a ``Linear``: what rows are to them, and what that gives."""

    cdef Py_ssize_t numbers, levels, tabled, knots, intervals, entries, regime, width
    cdef double clip
    cdef double[::1] centre, scale, codes, first, late_entries, absent, flat_at, step, every, late_share
    cdef double[:, :, ::1] soon
    cdef double[:, ::1] late, at, values, rise
    cdef Py_ssize_t[::1] level, offset, base, last, read, order

    def __init__(self, linear, double clip):
        self.numbers, self.levels = len(linear._numbers), len(linear._levels)
        self.tabled, self.knots = linear._at.shape
        self.intervals, self.width = len(linear.intervals), linear._width
        self.regime, self.clip = linear._regime, clip
        self.centre, self.scale, self.codes = linear._centre, linear._scale, linear._codes
        self.soon, self.late = np.ascontiguousarray(linear._soon), np.ascontiguousarray(linear._late)
        self.first, self.late_entries = linear._entries, linear._late_entries
        self.entries = len(self.late_entries)
        self.level, self.offset, self.absent = linear._levels, linear._offset, linear._absent
        self.at, self.last, self.base = linear._at, linear._last, linear._base
        self.flat_at, self.step = linear._flat_at, linear._step
        self.values, self.rise = np.ascontiguousarray(linear._values), np.ascontiguousarray(linear._rise)
        self.every, self.late_share, self.read = linear.intervals, linear.late, linear._read
        self.order = linear._order

    def see(self, const double[:, ::1] matrix):
        """Each feature's part soon and late, and each table's row."""
        cdef Py_ssize_t rows = matrix.shape[0], read = self.numbers + self.tabled, r, i, k, group, at, lower
        cdef double x, z, share
        both = np.empty((2, rows, self.numbers + self.levels))
        looked = np.empty((rows, self.tabled, self.intervals))
        cdef double[:, :, ::1] out = both, tables = looked
        if matrix.shape[1] != self.width:
            raise ValueError(f"not a matrix of {self.width} columns")
        sizes = np.empty((rows, read))
        cdef double[:, ::1] squashed = sizes  # as ``linear.squash``
        for r in range(rows):
            for i in range(read):
                squashed[r, i] = fabs(matrix[r, self.read[i]])
        np.log1p(sizes, out=sizes)  # NumPy's own, whose last bit may be another than the C library's
        for r in range(rows):
            for i in range(read):
                x = matrix[r, self.read[i]]
                squashed[r, i] *= 1.0 if x > 0.0 else -1.0 if x < 0.0 else x if isnan(x) else 0.0
        for r in range(rows):
            group = 0
            if self.regime >= 0:
                for i in range(len(self.codes)):
                    if matrix[r, self.regime] == self.codes[i]:
                        group = i + 1
                        break
            for i in range(self.numbers):
                x = squashed[r, i]
                if isnan(x):
                    out[0, r, i], out[1, r, i] = self.soon[group, 2, i], self.late[2, i]
                else:
                    z = (x - self.centre[i]) / self.scale[i]
                    z = -self.clip if z < -self.clip else z
                    z = self.clip if z > self.clip else z
                    out[0, r, i] = z * self.soon[group, 0, i] + self.soon[group, 1, i]
                    out[1, r, i] = z * self.late[0, i] + self.late[1, i]
            for i in range(self.levels):
                x = matrix[r, self.level[i]]
                at = <Py_ssize_t> (self.absent[i] if isnan(x) else x) + self.offset[i]
                if not 0 <= at < self.entries:
                    raise IndexError("no such level")
                out[0, r, self.numbers + i] = self.first[at + group * self.entries]
                out[1, r, self.numbers + i] = self.late_entries[at]
            for i in range(self.tabled):
                x = squashed[r, self.numbers + i]
                if isnan(x):
                    for k in range(self.intervals):
                        tables[r, i, k] = 0.0
                    continue
                x = x if x > 0.0 else 0.0
                lower = -1
                for k in range(self.knots):
                    lower += x >= self.at[i, k]
                lower = 0 if lower < 0 else self.last[i] if lower > self.last[i] else lower
                lower += self.base[i]
                share = (x - self.flat_at[lower]) / self.step[lower]
                share = 0.0 if share <= 0.0 else 1.0 if share > 1.0 else share
                for k in range(self.intervals):
                    tables[r, i, k] = self.rise[lower, k] * share + self.values[lower, k]
        return both[0], both[1], looked

    def of(self, const double[:, ::1] soon, const double[:, ::1] late, const double[:, :, ::1] tables):
        """What the parts of rows add to the log-odds in each interval, shape (rows, intervals)."""
        cdef Py_ssize_t rows = soon.shape[0], parts = self.numbers + self.levels, r, i, k
        cdef double first, second
        found = np.empty((rows, self.intervals))
        cdef double[:, ::1] out = found
        if soon.shape[1] != parts or late.shape[0] != rows or late.shape[1] != parts:
            raise ValueError("not the parts of these rows")
        if tables.shape[0] != rows or tables.shape[1] != self.tabled or tables.shape[2] != self.intervals:
            raise ValueError("not the parts of these rows")
        for r in range(rows):
            first = second = 0.0
            if parts:
                first, second = soon[r, 0], late[r, 0]
                for i in range(1, parts):
                    first += soon[r, i]
                    second += late[r, i]
            for k in range(self.intervals):
                out[r, k] = self.every[k] + first + second * self.late_share[k]
                for i in range(self.tabled):
                    out[r, k] += tables[r, i, k]
        return found

    def effects(self, soon, late, tables, const double[:, ::1] weights, const double[:, ::1] trees, double weight):
        """As ``hazards.Hazards.effects`` ends: those of the trees (and of the interval) with this weight, and these."""
        cdef Py_ssize_t rows = weights.shape[0], parts = self.numbers + self.levels, r, i, k
        cdef double whole, later, one
        cdef const double[:, ::1] first = soon, second = late
        cdef const double[:, :, ::1] steps = tables
        found = np.empty((rows, self.width))
        cdef double[:, ::1] out = found
        if self.intervals < 1 or weights.shape[1] != self.intervals or trees.shape[0] != rows or trees.shape[1] != self.width + 1:
            raise ValueError("not a weight for each interval, or an effect for each feature")
        if first.shape[0] < rows or first.shape[1] != parts or second.shape[0] < rows or second.shape[1] != parts:
            raise ValueError("not the parts of these rows")
        if steps.shape[0] < rows or steps.shape[1] != self.tabled or steps.shape[2] != self.intervals:
            raise ValueError("not the parts of these rows")
        for r in range(rows):
            for i in range(self.width):
                out[r, i] = weight * trees[r, i]
            whole, later = weights[r, 0], weights[r, 0] * self.late_share[0]
            for k in range(1, self.intervals):
                whole += weights[r, k]
                later += weights[r, k] * self.late_share[k]
            for i in range(parts):
                out[r, self.order[i]] += whole * first[r, i] + later * second[r, i]
            for i in range(self.tabled):
                one = weights[r, 0] * steps[r, i, 0]
                for k in range(1, self.intervals):
                    one += weights[r, k] * steps[r, i, k]
                out[r, self.read[self.numbers + i]] += one
        return found


def encode(rows, Py_ssize_t width, list levels not None, set strange):
    """Raw rows as the model's numbers: ``levels`` holds, for each column, None or its codes and that of any other.

    The rows with a level that has no code are added to ``strange``, where that is given.
    """
    cdef Py_ssize_t count = len(rows), r, i
    cdef PyObject* code
    cdef object value
    cdef list row
    cdef tuple coding
    cdef double* to
    found = np.empty((count, width))
    cdef double[:, ::1] out = found
    if len(levels) != width:
        raise ValueError("not a coding for each column")
    for r in range(count):
        row = rows[r] if type(rows[r]) is list else list(rows[r])
        if len(row) != width:
            raise ValueError(f"row {r} has {len(row)} values, not {width}")
        if not width:
            continue
        to = &out[r, 0]
        for i in range(width):
            value = row[i]
            if type(value) is float and levels[i] is None:  # nearly always
                to[i] = PyFloat_AS_DOUBLE(value)
            elif levels[i] is not None:
                coding = levels[i]
                codes, other = coding
                if isinstance(value, str):
                    code = PyDict_GetItemWithError(codes, value)
                    if code == NULL and strange is not None:
                        strange.add(r)
                    to[i] = <double> (other if code == NULL else <object> code)
                else:
                    to[i] = NAN
            elif value is None:
                to[i] = NAN
            elif isinstance(value, (str, bytes)):
                to[i] = float(value)
            else:
                to[i] = value
    return found


def finished(const double[:, ::1] log_odds, const double[::1] starting, double intercept, double slope):
    """As ``scorer.Scorer._log_odds`` ends: calibrated."""
    cdef Py_ssize_t r, k
    found = np.empty((log_odds.shape[0], log_odds.shape[1]))
    cdef double[:, ::1] out = found
    if log_odds.shape[1] != starting.shape[0]:
        raise ValueError("not a starting score for each interval")
    for r in range(log_odds.shape[0]):
        for k in range(log_odds.shape[1]):
            out[r, k] = intercept + slope * (starting[k] + log_odds[r, k])
    return found


def blended(double weight, const double[:, ::1] raw, const double[:, ::1] more):
    """As ``hazards.Hazards.log_odds`` ends: the trees' log-odds with this weight, and what the tables add."""
    cdef Py_ssize_t r, k
    found = np.empty((raw.shape[0], raw.shape[1]))
    cdef double[:, ::1] out = found
    if more.shape[0] != raw.shape[0] or more.shape[1] != raw.shape[1]:
        raise ValueError("not of the same rows")
    for r in range(raw.shape[0]):
        for k in range(raw.shape[1]):
            out[r, k] = weight * raw[r, k] + more[r, k]
    return found


cdef inline double _softplus(double z) noexcept nogil:
    return (z if z > 0.0 else 0.0) + log1p(exp(-fabs(z)))


cdef inline double _sigmoid(double x) noexcept nogil:
    cdef double power
    if x >= 0.0:
        return 1.0 / (1.0 + exp(-x))
    power = exp(x)
    return power / (1.0 + power)


cdef double _interpolated(double x, const double[::1] knots, const double[::1] values) noexcept nogil:
    """As ``scorer.interpolate``."""
    cdef Py_ssize_t i = 0, end = knots.shape[0], middle
    while i < end:  # as ``bisect_right``
        middle = (i + end) // 2
        if x < knots[middle]:
            end = middle
        else:
            i = middle + 1
    if i == 0:
        return values[0]
    if i == knots.shape[0]:
        return values[i - 1]
    return values[i - 1] + (x - knots[i - 1]) / (knots[i] - knots[i - 1]) * (values[i] - values[i - 1])


cdef int _check_counts(const double[:, ::1] z, Py_ssize_t start, list counts) except -1:
    if start < 0 or start + len(counts) > z.shape[0]:
        raise ValueError("more counts than rows")
    for count in counts:
        if not 1 <= count <= z.shape[1]:
            raise ValueError("not so many intervals")
    return 0


def outlooks(
    const double[:, ::1] z, list counts not None, tuple edges not None,
    const double[::1] knots, const double[::1] low, const double[::1] high,
):
    """As ``scorer.plain_outlook`` of each of the first rows."""
    cdef Py_ssize_t r, k, count
    cdef double total, p, now, logit, least, most
    cdef list out = [], curve
    _check_counts(z, 0, counts)
    if len(edges) <= z.shape[1] or not 0 < knots.shape[0] == low.shape[0] == high.shape[0]:
        raise ValueError("not an edge for each interval, or a distance for each knot")
    for r in range(len(counts)):
        count, total, p, curve = counts[r], 0.0, 0.0, []
        for k in range(count):
            total += _softplus(z[r, k])
            now = -expm1(-total)
            p = now if now > p else p
            curve.append((edges[k + 1], p))
        least = most = 0.0
        if p > 0.0:
            logit = total + log(p)
            least = _sigmoid(logit - _interpolated(logit, knots, low))
            most = _sigmoid(logit + _interpolated(logit, knots, high))
        out.append((tuple(curve), p, p if p < least else least, p if p > most else most))
    return out


def chances(const double[:, ::1] z, Py_ssize_t start, list counts not None):
    """As ``scorer.plain_chance`` of each of the rows from ``start`` on."""
    cdef Py_ssize_t r, k, count
    cdef double total, p, now
    cdef list out = []
    _check_counts(z, start, counts)
    for r in range(len(counts)):
        count, total, p = counts[r], 0.0, 0.0
        for k in range(count):
            total += _softplus(z[start + r, k])
            now = -expm1(-total)
            p = now if now > p else p
        out.append(p)
    return out


def weights(const double[:, ::1] z, list counts not None):
    """As ``scorer.interval_weights`` of each of the first rows, 0 beyond its count. None where one underflows."""
    cdef Py_ssize_t r, k, count
    cdef double total, step, whole
    found = np.zeros((len(counts), z.shape[1]))
    cdef double[:, ::1] out = found
    _check_counts(z, 0, counts)
    for r in range(len(counts)):
        count, total = counts[r], 0.0
        for k in range(count):
            step = _softplus(z[r, k])
            out[r, k] = exp(-total) * -expm1(-step)
            total += step
        whole = fsum([out[r, k] for k in range(count)])
        if whole <= 0.0:
            return None
        for k in range(count):
            out[r, k] /= whole
    return found


def greatest(const double[::1] values, const Py_ssize_t[::1] rank, Py_ssize_t most):
    """As ``scorer.plain_greatest``."""
    if rank.shape[0] != values.shape[0]:
        raise ValueError("not a rank for each value")
    return _first(values, rank, most)


def reasons(
    const double[:, ::1] effects, const Py_ssize_t[::1] rank, Py_ssize_t most, rows,
    str language, dict kept not None, unkept,
):
    """As ``scorer.Scorer._reasons`` of each of these raw rows; ``unkept`` makes what is not ``kept``."""
    cdef Py_ssize_t r, i, width = effects.shape[1]
    cdef PyObject* found
    cdef list out = [], told
    if rank.shape[0] != width or len(rows) != effects.shape[0]:
        raise ValueError("not a rank for each effect, or not the effects of these rows")
    for r in range(effects.shape[0]):
        row, told = rows[r], []
        if len(row) != width:
            raise ValueError("not an effect for each value")
        for i in _first(effects[r], rank, most):
            if effects[r, i] == 0.0:
                break
            value = _plain(row[i])
            found = PyDict_GetItemWithError(kept, (i, value, language))
            told.append(_with_effect(unkept(i, value, language) if found == NULL else <object> found, effects[r, i]))
        out.append(tuple(told))
    return out


cdef object _plain(raw):
    """As ``scorer.plain_value``."""
    cdef double number
    if raw is None or isinstance(raw, str):
        return raw
    value = raw if type(raw) is float else float(raw)
    number = value
    if isnan(number):
        return None
    return <long long> number if number == floor(number) and fabs(number) < 9007199254740992.0 else value


cdef object _with_effect(reason, double effect):
    """The ``scorer.Reason`` with this effect."""
    cdef Py_ssize_t i
    if not isinstance(reason, tuple) or PyTuple_GET_SIZE(reason) != 5:
        raise TypeError("not a reason")
    made = PyType_GenericAlloc(type(reason), 5)
    for i in range(5):
        value = effect if i == 3 else <object> PyTuple_GET_ITEM(reason, i)
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, i, value)
    return made


cdef list _first(const double[::1] values, const Py_ssize_t[::1] rank, Py_ssize_t most):
    """The places of the values farthest from 0, the farthest first, equal ones by their rank, those that are NaN last."""
    cdef Py_ssize_t count = values.shape[0], kept = 0, i, j
    cdef double size
    cdef Py_ssize_t* at
    cdef double* by
    most = max(0, min(most, count))
    at = <Py_ssize_t*> PyMem_Malloc((most + 1) * (sizeof(Py_ssize_t) + sizeof(double)))
    if at == NULL:
        raise MemoryError
    by = <double*> (at + most + 1)
    for i in range(count):
        size = -1.0 if isnan(values[i]) else fabs(values[i])
        j = kept
        while j and (by[j - 1] < size or (by[j - 1] == size and rank[at[j - 1]] > rank[i])):
            at[j], by[j] = at[j - 1], by[j - 1]  # the last place is one too many
            j -= 1
        at[j], by[j] = i, size
        kept = min(kept + 1, most)
    try:
        return [at[i] for i in range(kept)]
    finally:
        PyMem_Free(at)


def trio(tuple of not None, contacts, events, usual, prospect_id, account_id, t):
    """As ``committee.plain_trio``; ``of`` is ``committee._TRIO``."""
    cdef type standing, sign
    cdef bint known = events is not None
    cdef dict heard
    cdef list who = [None] * len(ROLES), when = [None] * len(ROLES), roles = [], signs = []
    cdef Py_ssize_t i
    standing, sign, span, unreal, last_heard = of
    heard = last_heard(events or (), t)
    if not issubclass(standing, tuple) or not issubclass(sign, tuple):
        raise TypeError("not named tuples")
    for contact, versions in contacts.items():
        row = as_of(versions, t)
        if row is None:
            continue
        home = row.get("account_id")
        if account_id is not None and home is not None and home != account_id:
            continue
        role = row.get("role")
        role = buying_role(row) if role is None else role
        if role not in ROLES:
            continue
        i = ROLES.index(role)
        last = heard.get(contact)
        at = None if last is None else last[1]
        if who[i] is not None:
            now, before = ALWAYS if at is None else at, ALWAYS if when[i] is None else when[i]
            if now < before or (now == before and contact > who[i]):
                continue
        who[i], when[i] = contact, at
    begun = t - span
    for i, role in enumerate(ROLES):
        at = when[i] if known else None
        engaged = None if not known else at is not None and at > begun
        roles.append(_named(standing, (role, who[i] is not None, engaged, None if at is None else (t - at) / DAY)))
        if engaged is False and role in usual:
            kind, channel = usual[role]
            contact, person = who[i], None
            if contact is None:
                contact = unreal + role
                row = {"contact_id": contact, "account_id": account_id, "role": role}
                person = (contact, (_named(Version, (ALWAYS, row)),))
            event = (unreal, prospect_id, kind, t, t, contact, "inbound", channel, None, None)
            signs.append(_named(sign, (role, _named(Event, event), person)))
    return tuple(roles), signs


@cython.boundscheck(True)
@cython.wraparound(True)
def scores(
    tuple of not None, fixed, list outlooks not None, list ids not None, list times not None,
    list regimes not None, list warnings not None, list told, list looked_at, list after not None, list rows, effects,
):
    """As ``scorer.plain_scores``; ``of`` is ``scorer._SCORES``."""
    cdef type score, committee, missing, evidence
    cdef Py_ssize_t count = len(outlooks), begun = 0, i, below, upto, size
    cdef tuple curve, said, card_warnings, grades
    cdef list out = []
    cdef double chance
    score, committee, missing, evidence = of
    if not (issubclass(committee, tuple) and issubclass(missing, tuple) and issubclass(evidence, tuple)):
        raise TypeError("not named tuples")
    goal, version, card_warnings, grades, cuts, reference = fixed
    for one in (ids, times, regimes, warnings, told, looked_at, rows):
        if one is not None and len(<list?> one) != count:
            raise ValueError("not as many as there are outlooks")
    every = reference[""]
    for i in range(count):
        curve, p, low, high = outlooks[i]
        regime, chance = regimes[i], p
        quantiles = every if regime is None else reference.get(regime, every)
        size = len(quantiles)
        if size == 0:
            raise ValueError("not a population")
        below = _up_to(quantiles, chance, False, 0)
        upto = _up_to(quantiles, chance, True, below)
        made = None
        looked = None if looked_at is None else looked_at[i]
        if looked is not None:
            roles, signs = looked
            made = _named(committee, (roles, _ranked(missing, signs, after, begun)))
            begun += len(<list?> signs)
        said = warnings[i]
        found = PyType_GenericAlloc(score, 0)
        _set(found, "__dict__", {
            "prospect_id": ids[i],
            "as_of": times[i],
            "goal": goal,
            "horizon_days": curve[-1][0],
            "probability": p,
            "probability_low": low,
            "probability_high": high,
            "curve": curve,
            "score": 100 * (below + (upto - below + 1) // 2) // size,
            "grade": grades[_up_to(cuts, chance, True, 0)],
            "reasons": () if told is None else told[i],
            "committee": made,
            "warnings": said + card_warnings if card_warnings else said,
            "model_version": version,
            "evidence": None if rows is None else _named(
                evidence, (rows[i], regime, None if effects is None else effects[i])
            ),
        })
        out.append(found)
    return out


cdef object _set = object.__setattr__


cdef Py_ssize_t _up_to(rising, double x, bint equal, Py_ssize_t low) except -1:
    """How many of these are less than x or, where ``equal``, no greater; those before ``low`` are."""
    cdef Py_ssize_t high = len(rising), middle
    cdef double value
    while low < high:
        middle = (low + high) // 2
        value = rising[middle]
        if value < x or (equal and value == x):
            low = middle + 1
        else:
            high = middle
    return low


cdef tuple _ranked(type missing, list signs, list after, Py_ssize_t begun):
    """As ``committee.ranked``: the signs come in the order of the roles."""
    cdef Py_ssize_t i, j
    cdef list out = []
    if begun + len(signs) > len(after):
        raise ValueError("not a probability for each sign")
    for i in range(len(signs)):
        sign = signs[i]
        p = after[begun + i]
        j = i
        while j > 0 and out[j - 1][2] < p:
            j -= 1
        out.insert(j, _named(missing, (sign.role, sign.event.type, p)))
    return tuple(out)


cdef object _named(type of, tuple fields):
    """A named tuple of these fields, past its constructor."""
    cdef Py_ssize_t size = PyTuple_GET_SIZE(fields), i
    made = PyType_GenericAlloc(of, size)
    for i in range(size):
        value = <object> PyTuple_GET_ITEM(fields, i)
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, i, value)
    return made
