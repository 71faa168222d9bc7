# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Answers and receipts, compiled: their texts (``serving.record``, ``serving.receipts``), and what has moved
(``serving.previous``).

What they do not take, the plain forms write, and raise what is to be raised.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from libc.math cimport fabsf, isfinite, signbit
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from pydantic_core import to_json

from features.contract import format_time

cdef extern from "Python.h":
    bint PyTuple_Check(object value)
    Py_ssize_t PyTuple_GET_SIZE(object value)
    PyObject* PyTuple_GET_ITEM(object value, Py_ssize_t i)  # borrowed
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 most)
    unsigned char* PyUnicode_1BYTE_DATA(object text)
    str PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)

cdef double _WHOLE = 1e15  # below it, what has no fraction is written without an exponent
cdef enum:
    DEEP = 8  # levels of what is told of the score before


class _Unusual(Exception):
    """Left to the plain form."""


cdef class _Text:
    """JSON that is being written; the numbers with a fraction are put in at the end, all in one go."""

    cdef char* at
    cdef Py_ssize_t size, room, places_room
    cdef Py_ssize_t* places
    cdef list numbers
    cdef bint ascii

    def __cinit__(self):
        self.numbers = []
        self.ascii = True

    def __dealloc__(self):
        PyMem_Free(self.at)
        PyMem_Free(self.places)

    cdef inline int room_for(self, Py_ssize_t size) except -1:
        cdef char* at
        cdef Py_ssize_t room
        if self.size + size > self.room:
            room = 2 * (self.size + size) + 2_048
            at = <char*> PyMem_Realloc(self.at, room)
            if at == NULL:
                raise MemoryError
            self.at, self.room = at, room
        return 0

    cdef inline int put(self, const char* text, Py_ssize_t size) except -1:
        self.room_for(size)
        memcpy(self.at + self.size, text, size)
        self.size += size
        return 0

    cdef inline int byte(self, char one) except -1:
        self.room_for(1)
        self.at[self.size] = one
        self.size += 1
        return 0

    cdef inline int mark(self, bytes text) except -1:
        return self.put(<const char*> text, len(text))

    cdef int string(self, text) except -1:
        cdef Py_ssize_t size, i
        cdef const unsigned char* at
        cdef bint plain = True, ascii = True
        if type(text) is not str:
            raise _Unusual
        try:
            at = <const unsigned char*> PyUnicode_AsUTF8AndSize(text, &size)
        except UnicodeEncodeError:  # half of a surrogate pair
            raise _Unusual from None
        for i in range(size):
            if at[i] < 32 or at[i] == c'"' or at[i] == c"\\":
                plain = False
            ascii &= at[i] < 128
        if not ascii:
            self.ascii = False
        if not plain:
            return self.mark(to_json(text))
        self.byte(c'"')
        self.put(<const char*> at, size)
        return self.byte(c'"')

    cdef int whole(self, int64_t number) except -1:
        cdef char[20] digits
        cdef int i = 20
        cdef uint64_t left = <uint64_t> number
        self.room_for(24)
        if 0 <= number < 10:
            self.at[self.size] = <char> (48 + number)
            self.size += 1
            return 0
        if number < 0:
            left = 0 - left
            self.at[self.size] = c"-"
            self.size += 1
        while True:
            i -= 1
            digits[i] = <char> (48 + left % 10)
            left //= 10
            if left == 0:
                break
        while i < 20:
            self.at[self.size] = digits[i]
            self.size += 1
            i += 1
        return 0

    cdef int number(self, number) except -1:
        cdef double x = PyFloat_AS_DOUBLE(number)
        cdef Py_ssize_t count
        cdef Py_ssize_t* places
        if -_WHOLE < x < _WHOLE and <double> <int64_t> x == x:
            if x == 0.0 and signbit(x):
                self.byte(c"-")
            self.whole(<int64_t> x)
            return self.put(b".0", 2)
        if not isfinite(x):
            raise _Unusual
        count = len(self.numbers)
        if count == self.places_room:
            places = <Py_ssize_t*> PyMem_Realloc(self.places, (2 * count + 64) * sizeof(Py_ssize_t))
            if places == NULL:
                raise MemoryError
            self.places, self.places_room = places, 2 * count + 64
        self.places[count] = self.size
        self.numbers.append(number)
        return 0

    cdef int value(self, value, int deep) except -1:
        cdef Py_ssize_t i = 0
        cdef PyObject* key
        cdef PyObject* held
        cdef bint first = True
        if PyFloat_CheckExact(value):
            return self.number(value)
        if value is None:
            return self.put(b"null", 4)
        if type(value) is str:
            return self.string(value)
        if value is True:
            return self.put(b"true", 4)
        if value is False:
            return self.put(b"false", 5)
        if type(value) is int:
            if not -(2**63) < value < 2**63:
                raise _Unusual
            return self.whole(<int64_t> value)
        if deep <= 0:
            raise _Unusual
        if type(value) is list:
            self.byte(c"[")
            for one in <list> value:
                if not first:
                    self.byte(c",")
                first = False
                self.value(one, deep - 1)
            return self.byte(c"]")
        if type(value) is not dict:
            raise _Unusual
        self.byte(c"{")
        while PyDict_Next(value, &i, &key, &held):
            if not first:
                self.byte(c",")
            first = False
            self.string(<object> key)
            self.byte(c":")
            self.value(<object> held, deep - 1)
        return self.byte(c"}")

    cdef int named(self, rows, tuple names) except -1:
        """Rows of so many values, as a list of objects of these names; a name stands as it is to be written."""
        cdef Py_ssize_t count = len(names), i
        cdef bint first = True
        if type(rows) is not tuple:
            raise _Unusual
        self.byte(c"[")
        for row in <tuple> rows:
            if not PyTuple_Check(row) or PyTuple_GET_SIZE(row) != count:
                raise _Unusual
            if not first:
                self.byte(c",")
            first = False
            for i in range(count):
                self.mark(<bytes> names[i])
                self.value(<object> PyTuple_GET_ITEM(row, i), 0)
            self.byte(c"}")
        return self.byte(c"]")

    cdef str done(self):
        """The text, with its numbers."""
        cdef bytes numbers = to_json(self.numbers) if self.numbers else b"[]"
        cdef const char* from_ = <const char*> numbers
        cdef Py_ssize_t count = len(self.numbers), held = len(numbers), size, i, j, read = 1, begun = 0, to = 0
        cdef char* at
        size = self.size + (held - 1 - count if count else 0)  # without the brackets and commas
        if self.ascii:
            text = PyUnicode_New(size, 127)
            at = <char*> PyUnicode_1BYTE_DATA(text)
        else:
            text = None
            at = <char*> PyMem_Malloc(size + 1)
            if at == NULL:
                raise MemoryError
        for i in range(count):
            memcpy(at + to, self.at + begun, self.places[i] - begun)
            to += self.places[i] - begun
            begun = self.places[i]
            j = read
            while j < held and from_[j] != c"," and from_[j] != c"]":
                j += 1
            memcpy(at + to, from_ + read, j - read)
            to += j - read
            read = j + 1
        memcpy(at + to, self.at + begun, self.size - begun)
        if text is None:
            try:
                text = PyUnicode_DecodeUTF8(at, size, "strict")
            finally:
                PyMem_Free(at)
        return text


cdef tuple _CURVE = (b'{"days":', b',"probability":')
cdef tuple _REASON = (b'{"feature":', b',"label":', b',"value":', b',"effect":', b',"family":')
cdef tuple _ROLE = (b'{"role":', b',"known":', b',"engaged":', b',"days_since":')
cdef tuple _MISSING = (b'{"role":', b',"event_type":', b',"probability":')
cdef tuple _WARNING = (b'{"code":', b',"text":')


def answer(score, receipt_id, previous, basis):
    """As ``record.plain_answer``; None where that is to write it."""
    cdef _Text text = _Text()
    try:
        text.mark(b'{"prospect_id":')
        text.string(score.prospect_id)
        text.mark(b',"as_of":')
        text.string(format_time(score.as_of))
        text.mark(b',"goal":')
        text.string(score.goal)
        text.mark(b',"horizon_days":')
        text.value(score.horizon_days, 0)
        text.mark(b',"probability":')
        text.value(score.probability, 0)
        text.mark(b',"probability_low":')
        text.value(score.probability_low, 0)
        text.mark(b',"probability_high":')
        text.value(score.probability_high, 0)
        text.mark(b',"curve":')
        text.named(score.curve, _CURVE)
        text.mark(b',"score":')
        text.value(score.score, 0)
        text.mark(b',"grade":')
        text.string(score.grade)
        text.mark(b',"reasons":')
        text.named(score.reasons, _REASON)
        text.mark(b',"committee":')
        committee = score.committee
        if committee is None:
            text.mark(b"null")
        else:
            text.mark(b'{"roles":')
            text.named(committee.roles, _ROLE)
            text.mark(b',"missing":')
            text.named(committee.missing, _MISSING)
            text.mark(b',"basis":')
            text.string(basis)
            text.mark(b"}")
        text.mark(b',"warnings":')
        text.named(score.warnings, _WARNING)
        text.mark(b',"model_version":')
        text.string(score.model_version)
        text.mark(b',"receipt_id":')
        text.string(receipt_id)
        text.mark(b',"previous":')
        text.value(previous, DEEP)
        text.mark(b"}")
        return text.done()
    except _Unusual:
        return None


def values(row):
    """As ``wire.encode`` writes a list of raw values; None where that is to write it."""
    cdef _Text text = _Text()
    if type(row) is not list:
        return None
    try:
        text.value(row, 1)
        return text.done()
    except _Unusual:
        return None


def moved(bytes before not None, bytes after not None, Py_ssize_t most, float least):
    """As ``previous.plain_greatest_changes``."""
    cdef Py_ssize_t count = len(after) // sizeof(float), kept = 0, i, j
    cdef const float* one = <const float*> <const char*> before
    cdef const float* other = <const float*> <const char*> after
    cdef Py_ssize_t* places
    cdef float* sizes
    cdef float size
    if len(before) != len(after) or len(after) % sizeof(float):
        raise ValueError("not of the same features")
    most = max(0, min(most, count))
    sizes = <float*> PyMem_Malloc((most + 1) * sizeof(float))
    places = <Py_ssize_t*> PyMem_Malloc((most + 1) * sizeof(Py_ssize_t))
    try:
        if sizes == NULL or places == NULL:
            raise MemoryError
        for i in range(count):
            size = fabsf(other[i] - one[i])
            if not size >= least or (kept == most and (most == 0 or size <= sizes[most - 1])):
                continue
            j = kept
            while j and sizes[j - 1] < size:
                sizes[j], places[j] = sizes[j - 1], places[j - 1]  # the last place is one too many
                j -= 1
            sizes[j], places[j] = size, i
            kept = min(kept + 1, most)
        return [places[i] for i in range(kept)]
    finally:
        PyMem_Free(sizes)
        PyMem_Free(places)


def narrowed(effects):
    """As ``previous.plain_narrowed``. Raises TypeError where they are no row of float64."""
    cdef Py_buffer held
    cdef const double* from_
    cdef float* to
    cdef Py_ssize_t i, count
    PyObject_GetBuffer(effects, &held, PyBUF_ND | PyBUF_FORMAT)
    try:
        if held.ndim != 1 or held.format == NULL or held.format[0] != c"d" or held.format[1] != 0:
            raise TypeError("no row of float64")
        count = held.shape[0]
        found = PyBytes_FromStringAndSize(NULL, count * sizeof(float))
        from_, to = <const double*> held.buf, <float*> PyBytes_AS_STRING(found)
        for i in range(count):
            to[i] = <float> from_[i]
        return found
    finally:
        PyBuffer_Release(&held)


def identifier(int64_t now, uint64_t random):
    """As ``receipts.plain_identifier``."""
    cdef uint64_t millis = <uint64_t> (now // 1000), rest = <uint64_t> (now % 1000)
    cdef uint64_t[2] halves
    cdef unsigned char* at
    cdef int i, place = 0
    if now < 0 or millis >> 48:
        raise ValueError("not a time that an id can tell")
    halves[0] = millis << 16 | 7 << 12 | rest * 4096 // 1000
    halves[1] = <uint64_t> 2 << 62 | random >> 2
    text = PyUnicode_New(36, 127)
    at = PyUnicode_1BYTE_DATA(text)
    for i in range(32):
        if i == 8 or i == 12 or i == 16 or i == 20:
            at[place] = c"-"
            place += 1
        at[place] = (<const unsigned char*> b"0123456789abcdef")[halves[i // 16] >> 4 * (15 - i % 16) & 15]
        place += 1
    return text
