# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""``features.program``, compiled: see there what it does. Equal to it to the bit.

An operation on what it nearly always meets (floats, integers of a time, None) is done here; all else by its function.
"""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int32_t, int64_t

from features.contract import DAY

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1

cdef double _DAY = DAY
cdef int64_t _MICROS = DAY
cdef int64_t _WEEK = 7 * _MICROS
cdef int64_t _FAR = 1 << 62  # between two times nearer than this lies a difference that fits

cdef enum:
    OTHER, DAYS, SHARE, RATIO, DIFFERENCE, REACHED, LAST_KNOWN, LATEST, WEEKDAY

_OPERATIONS = {
    "days": DAYS, "share": SHARE, "ratio": RATIO, "difference": DIFFERENCE, "reached": REACHED,
    "last_known": LAST_KNOWN, "latest": LATEST,
}
_TWO = ("days", "share", "ratio", "difference")  # of two values

cdef struct Input:
    int32_t cell
    bint own
    bint number

cdef struct Step:
    int32_t cell
    int32_t operation
    int32_t first  # of its places
    int32_t count


cdef class Program:
    """The inputs of a row of ``width`` cells, and the steps in an order in which each finds what it is made of."""

    cdef Py_ssize_t width, inputs, steps
    cdef Input* input
    cdef Step* step
    cdef int32_t* places
    cdef list columns  # of the inputs
    cdef list functions  # of the steps
    cdef list details

    def __cinit__(self, Py_ssize_t width, inputs, steps):
        cdef Py_ssize_t i = 0, place = 0
        self.width, self.inputs, self.steps = width, len(inputs), len(steps)
        self.columns, self.functions, self.details = [], [], []
        self.input = <Input*> PyMem_Malloc((self.inputs + 1) * sizeof(Input))
        self.step = <Step*> PyMem_Malloc((self.steps + 1) * sizeof(Step))
        self.places = <int32_t*> PyMem_Malloc((sum([len(each.places) for each in steps]) + 1) * sizeof(int32_t))
        if self.input == NULL or self.step == NULL or self.places == NULL:
            raise MemoryError
        for cell, own, column, number in inputs:
            self.input[i].cell, self.input[i].own, self.input[i].number = self._cell(cell), own, number
            self.columns.append(column)
            i += 1
        i = 0
        for cell, operation, made, detail, places in steps:
            if operation in _TWO and len(places) != 2:
                raise ValueError(f"{operation} takes two values")
            self.step[i].cell, self.step[i].operation = self._cell(cell), _OPERATIONS.get(operation, OTHER)
            if operation == "calendar" and detail == "weekday" and len(places) == 1:
                self.step[i].operation = WEEKDAY
            self.step[i].first, self.step[i].count = place, len(places)
            for each in places:
                self.places[place] = self._cell(each)
                place += 1
            self.functions.append(made)
            self.details.append(detail)
            i += 1

    def __dealloc__(self):
        PyMem_Free(self.input)
        PyMem_Free(self.step)
        PyMem_Free(self.places)

    cdef int32_t _cell(self, cell) except -1:
        if not 0 <= cell < self.width:
            raise ValueError("no such cell")
        return cell

    def read(self, list row not None, prospect, account):
        """Set the cells of the inputs."""
        cdef Py_ssize_t i
        cdef Input* input
        self._check(row)
        for i in range(self.inputs):
            input = &self.input[i]
            value = _got(prospect if input.own else account, self.columns[i])
            if input.number and value is not None and not PyFloat_CheckExact(value):
                value = float(value)
            row[input.cell] = value

    def make(self, list row not None):
        """Set the cells of the steps."""
        cdef Py_ssize_t i
        self._check(row)
        for i in range(self.steps):
            row[self.step[i].cell] = self._made(i, row)

    cdef int _check(self, list row) except -1:
        if len(row) != self.width:
            raise ValueError("the row is one of other features")
        return 0

    cdef object _made(self, Py_ssize_t i, list row):
        cdef Step* step = &self.step[i]
        cdef int32_t* places = self.places + step.first
        cdef Py_ssize_t k
        cdef double least
        cdef int64_t later, earlier
        if step.operation == REACHED:
            for k in range(step.count, 0, -1):
                if row[places[k - 1]] is not None:
                    return <double> k
            return 0.0
        if step.operation == LAST_KNOWN or step.operation == LATEST:
            if not self._floats(step, row):
                return self._other(i, row)
            if step.operation == LAST_KNOWN:
                for k in range(step.count - 1, -1, -1):
                    if row[places[k]] is not None:
                        return row[places[k]]
                return None
            least, found = INFINITY, 0.0
            for k in range(step.count):
                value = row[places[k]]
                if value is not None and PyFloat_AS_DOUBLE(value) <= least:
                    least, found = PyFloat_AS_DOUBLE(value), <double> (k + 1)
            return found
        if step.operation == WEEKDAY and _time(row[places[0]], &later):
            return <double> (((later % _WEEK + _WEEK) % _WEEK // _MICROS + 3) % 7)
        if step.operation == OTHER or step.operation == WEEKDAY:
            return self._other(i, row)
        a, b = row[places[0]], row[places[1]]
        if a is None or b is None:
            return None
        if step.operation == DAYS:
            if _time(a, &later) and _time(b, &earlier):
                return <double> (later - earlier) / _DAY
        elif PyFloat_CheckExact(a) and PyFloat_CheckExact(b):
            return _of_two(step.operation, PyFloat_AS_DOUBLE(a), PyFloat_AS_DOUBLE(b))
        return self._other(i, row)

    cdef bint _floats(self, Step* step, list row):
        """Whether all values that are there are floats."""
        cdef Py_ssize_t k
        for k in range(step.count):
            value = row[self.places[step.first + k]]
            if value is not None and not PyFloat_CheckExact(value):
                return False
        return True

    cdef object _other(self, Py_ssize_t i, list row):
        cdef Py_ssize_t k
        cdef Step* step = &self.step[i]
        cdef list values = []
        for k in range(step.count):
            values.append(row[self.places[step.first + k]])
        return self.functions[i](self.details[i], values)


cdef object _got(row, column):
    return (<dict> row).get(column) if type(row) is dict else row.get(column)


cdef bint _time(value, int64_t* found) except -1:
    """Whether this is an integer that a time may be."""
    cdef int far = 0
    if not PyLong_CheckExact(value):
        return False
    found[0] = PyLong_AsLongLongAndOverflow(value, &far)
    return not far and -_FAR <= found[0] < _FAR


cdef object _of_two(int32_t operation, double a, double b):
    cdef double found
    if operation != DIFFERENCE and b == 0:
        return None
    found = a - b if operation == DIFFERENCE else a / b
    return found if operation == SHARE or isfinite(found) else None
