# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The straight lines of ``serving.values``, ``serving.rows`` and ``serving.schema``, compiled: see there what is read.

What they do not take, the careful readers do, and tell what is wrong with it: nothing is refused here.
"""

from cython cimport no_gc
from cpython.dict cimport PyDict_CheckExact, PyDict_GetItemWithError, PyDict_Next, PyDict_Size
from cpython.list cimport PyList_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.math cimport isfinite, rint
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcmp, memcpy

from features._events cimport Read, ReadEvents
from features.contract import ALWAYS, DIRECTIONS, MICRO, TIME_MAX, TIME_MIN, VALUE_LIMIT
from features.records import Event, Outcome, Records, Version

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    unsigned char* PyUnicode_1BYTE_DATA(object text)
    PyObject* PyTuple_GET_ITEM(object t, Py_ssize_t i)  # borrowed
    Py_ssize_t PyTuple_GET_SIZE(object t)
    void PyTuple_SET_ITEM(object t, Py_ssize_t i, object value)  # takes the reference
    object PyType_GenericAlloc(type of, Py_ssize_t size)
    int PyObject_GenericSetAttr(object of, object name, object value) except -1
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 most)
    double PyOS_string_to_double(const char* text, char** end, PyObject* overflow) except? -1.0

cdef int64_t _NONE = -9_000_000_000_000_000_000  # no time
cdef int64_t _LEAST = TIME_MIN
cdef int64_t _MOST = TIME_MAX
cdef double _LIMIT = VALUE_LIMIT
cdef frozenset _DIRECTIONS = frozenset(DIRECTIONS)
cdef object _MICRO = MICRO
cdef int64_t _MICROS = MICRO
cdef object _ALWAYS = ALWAYS
cdef int64_t _EXACT = 2**53
cdef tuple _MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
cdef int[13] _DAYS  # of each month
for _i in range(12):
    _DAYS[_i + 1] = _MONTHS[_i]
cdef unsigned char[256] _PLAIN  # the bytes that stand for themselves in a text: visible ASCII but quote and backslash
for _i in range(256):
    _PLAIN[_i] = 0x20 <= _i <= 0x7E and _i != 0x22 and _i != 0x5C
cdef double[16] _TENS  # powers of ten
for _i in range(16):
    _TENS[_i] = 10.0**_i

if Event._fields != (
    "event_id", "prospect_id", "type", "occurred_at", "recorded_at", "contact_id", "direction", "channel", "value",
    "retracted_at",
):
    raise ImportError("serving._rows was built for other events")
if Outcome._fields != ("outcome_id", "prospect_id", "outcome", "occurred_at", "recorded_at"):
    raise ImportError("serving._rows was built for other outcomes")
if Version._fields != ("observed_at", "values"):
    raise ImportError("serving._rows was built for other versions")

cdef tuple _RECORDS = (
    "prospect_id", "prospect", "accounts", "contacts", "events", "outcomes", "related", "related_events",
    "related_outcomes",
)
cdef tuple _PARSED = ("records", "as_of", "goal", "warnings")  # of ``schema.ParsedRequest``
if tuple(Records.__dataclass_fields__) != _RECORDS or hasattr(Records, "__post_init__"):
    raise ImportError("serving._rows was built for other records")


def quick_time(text):
    """A time in microseconds since 1970, for every form of the contract but the rarest; None for all else."""
    cdef int64_t found
    if type(text) is not str:
        return None
    found = _time(text)
    return None if found == _NONE else found


cdef inline int _digits(const unsigned char* at, int count):
    """The number that so many digits write, -1 where one is none."""
    cdef int out = 0, i
    for i in range(count):
        if not c"0" <= at[i] <= c"9":
            return -1
        out = 10 * out + (at[i] - c"0")
    return out


cdef int64_t _time(text):
    if not PyUnicode_IS_COMPACT_ASCII(text):
        return _NONE
    return _time_at(PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text))


cdef int64_t _time_at(const unsigned char* at, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    cdef int year, month, day, hour, minute, second = 0, digit, most, zone_hour, zone_minute = 0, sign
    cdef int64_t micros = 0, days, unit = 100_000, out
    if size < 17 or size > 40 or at[4] != c"-" or at[7] != c"-" or at[13] != c":":
        return _NONE
    if at[10] != c"T" and at[10] != c"t" and at[10] != c" ":
        return _NONE
    year, month, day = _digits(at, 4), _digits(at + 5, 2), _digits(at + 8, 2)
    hour, minute = _digits(at + 11, 2), _digits(at + 14, 2)
    if year < 1 or not 1 <= month <= 12 or day < 1 or not 0 <= hour <= 23 or not 0 <= minute <= 59:
        return _NONE
    most = _DAYS[month]
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        most = 29
    if day > most:
        return _NONE
    i = 16
    if at[i] == c":":
        if size < 20:
            return _NONE
        second = _digits(at + 17, 2)
        if not 0 <= second <= 59:
            return _NONE
        i = 19
    if at[i] == c"." or at[i] == c",":
        i += 1
        digit = 0
        while i < size and c"0" <= at[i] <= c"9":
            micros += unit * (at[i] - c"0")  # what lies below a microsecond is cut off
            unit //= 10
            i += 1
            digit += 1
        if not 1 <= digit <= 9:
            return _NONE
    if i >= size:
        return _NONE
    days = _days(year, month, day)
    out = ((days * 24 + hour) * 60 + minute) * 60 + second
    if at[i] == c"Z" or at[i] == c"z":
        if i + 1 != size:
            return _NONE
    elif at[i] == c"+" or at[i] == c"-":
        sign = 1 if at[i] == c"+" else -1
        i += 1
        if size - i < 2:
            return _NONE
        zone_hour = _digits(at + i, 2)
        i += 2
        if i < size and at[i] == c":":
            i += 1
            if i == size:
                return _NONE
        if i < size:
            if size - i != 2:
                return _NONE
            zone_minute = _digits(at + i, 2)
        if not 0 <= zone_hour <= 23 or not 0 <= zone_minute <= 59:
            return _NONE
        out -= sign * (zone_hour * 60 + zone_minute) * 60
    else:
        return _NONE
    out = out * 1_000_000 + micros
    return out if _LEAST <= out <= _MOST else _NONE


cdef int64_t _days(int year, int month, int day):
    """The days from 1970 to a day of the proleptic Gregorian calendar (years that begin in March end in leap days)."""
    cdef int64_t era, of_era, of_year
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


cdef inline bint _plain(object text, bint word):
    """Whether a text is one that nothing is done to: an id or, with ``word``, a category."""
    if type(text) is not str or not PyUnicode_IS_COMPACT_ASCII(text):
        return False
    return _plain_at(PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text), word)


cdef inline bint _plain_at(const unsigned char* at, Py_ssize_t size, bint word) noexcept:
    cdef Py_ssize_t i
    cdef bint visible = False
    for i in range(size):
        if not c" " <= at[i] <= c"~":
            return False
        if at[i] != c" ":
            visible = True
    return visible and not (word and (at[0] == c" " or at[size - 1] == c" "))


cdef enum:
    EVENT_ID, PROSPECT_ID, TYPE, OCCURRED_AT, RECORDED_AT, CONTACT_ID, DIRECTION, CHANNEL, VALUE, OUTCOME_ID, OUTCOME, OTHER


cdef int _field(object name):
    """Which field of a fact a key names."""
    if type(name) is not str or not PyUnicode_IS_COMPACT_ASCII(name):
        return OTHER
    return _field_at(PyUnicode_1BYTE_DATA(name), PyUnicode_GET_LENGTH(name))


cdef int _field_at(const unsigned char* at, Py_ssize_t size) noexcept:
    if size == 4:
        return TYPE if memcmp(at, b"type", 4) == 0 else OTHER
    if size == 5:
        return VALUE if memcmp(at, b"value", 5) == 0 else OTHER
    if size == 7:
        return CHANNEL if memcmp(at, b"channel", 7) == 0 else OUTCOME if memcmp(at, b"outcome", 7) == 0 else OTHER
    if size == 8:
        return EVENT_ID if memcmp(at, b"event_id", 8) == 0 else OTHER
    if size == 9:
        return DIRECTION if memcmp(at, b"direction", 9) == 0 else OTHER
    if size == 10:
        if memcmp(at, b"contact_id", 10) == 0:
            return CONTACT_ID
        return OUTCOME_ID if memcmp(at, b"outcome_id", 10) == 0 else OTHER
    if size == 11:
        if memcmp(at, b"occurred_at", 11) == 0:
            return OCCURRED_AT
        if memcmp(at, b"recorded_at", 11) == 0:
            return RECORDED_AT
        return PROSPECT_ID if memcmp(at, b"prospect_id", 11) == 0 else OTHER
    return OTHER


cdef object _made(type fact, tuple fields):
    """A named tuple of these fields, past its constructor."""
    cdef Py_ssize_t size = PyTuple_GET_SIZE(fields), i
    cdef PyObject* value
    made = PyType_GenericAlloc(fact, size)
    for i in range(size):
        value = PyTuple_GET_ITEM(fields, i)
        Py_INCREF(<object> value)
        PyTuple_SET_ITEM(made, i, <object> value)
    return made


cdef inline void _put(made, Py_ssize_t i, object value) noexcept:
    Py_INCREF(value)
    PyTuple_SET_ITEM(made, i, value)


cdef object _made_event(
    object event_id, object own, object kind, int64_t occurred_at, int64_t recorded_at, object contact_id,
    object direction, object channel, object micros
):
    """An event that was not retracted."""
    cdef object at = occurred_at
    made = PyType_GenericAlloc(<type> Event, 10)
    _put(made, 0, event_id)
    _put(made, 1, own)
    _put(made, 2, kind)
    _put(made, 3, at)
    _put(made, 4, at if recorded_at == occurred_at else recorded_at)
    _put(made, 5, contact_id)
    _put(made, 6, direction)
    _put(made, 7, channel)
    _put(made, 8, micros)
    _put(made, 9, None)
    return made


cdef inline int64_t _moment(value):
    return _time(value) if type(value) is str else _NONE


cdef inline str _owner(object named, str own, bint related, object created):
    """As ``rows.Scope.owner``; None where it refuses."""
    if not related:
        return own if named is None or named == own else None
    if named is None or named == own or (created is not None and named not in created):
        return None
    return <str> named


def ordinary_event(data, scope):
    """As ``rows.plain_event``."""
    return _event(data, scope.own, scope.related, scope.created)


cdef object _event(data, str own, bint related, created):
    cdef Py_ssize_t at = 0
    cdef PyObject* key
    cdef PyObject* held
    cdef object event_id = None, kind = None, contact_id = None, channel = None, direction = None, micros = None, named = None, value
    cdef int64_t occurred_at = _NONE, recorded_at = _NONE
    cdef double number
    cdef int field
    if type(data) is not dict:
        return None
    while PyDict_Next(data, &at, &key, &held):
        value = <object> held
        field = _field(<object> key)
        if value is None and field < OUTCOME_ID:
            continue
        if field == EVENT_ID:
            if not _plain(value, False):
                return None
            event_id = value
        elif field == TYPE:
            if not _plain(value, True):
                return None
            kind = value
        elif field == OCCURRED_AT:
            occurred_at = _moment(value)
            if occurred_at == _NONE:
                return None
        elif field == RECORDED_AT:
            recorded_at = _moment(value)
            if recorded_at == _NONE:
                return None
        elif field == CONTACT_ID:
            if not _plain(value, False):
                return None
            contact_id = value
        elif field == DIRECTION:
            if type(value) is not str or value not in _DIRECTIONS:
                return None
            direction = value
        elif field == CHANNEL:
            if not _plain(value, True):
                return None
            channel = value
        elif field == VALUE:
            if type(value) is float:
                number = value
                if not -_LIMIT <= number <= _LIMIT:
                    return None
                micros = <int64_t> rint(number * 1e6)  # in double, then half to even: as ``contract.to_micro``
            elif type(value) is int and -_LIMIT <= value <= _LIMIT:
                micros = value * _MICRO
            else:
                return None
        elif field == PROSPECT_ID:
            if not _plain(value, False):
                return None
            named = value
        else:
            return None
    own = _owner(named, own, related, created)
    if own is None or event_id is None or kind is None or occurred_at == _NONE:
        return None
    if recorded_at == _NONE:
        recorded_at = occurred_at
    return _made_event(event_id, own, kind, occurred_at, recorded_at, contact_id, direction, channel, micros)


def ordinary_outcome(data, scope):
    """An outcome as it is sent by nearly everyone; None where it is none."""
    cdef str own
    cdef object created = scope.created
    cdef Py_ssize_t at = 0
    cdef PyObject* key
    cdef PyObject* held
    cdef object outcome_id = None, outcome = None, named = None, born, value
    cdef int64_t occurred_at = _NONE, recorded_at = _NONE
    cdef int field
    if type(data) is not dict:
        return None
    while PyDict_Next(data, &at, &key, &held):
        value = <object> held
        field = _field(<object> key)
        if field == OUTCOME:
            if not _plain(value, True):
                return None
            outcome = value
        elif field == OCCURRED_AT:
            occurred_at = _moment(value)
            if occurred_at == _NONE:
                return None
        elif field == RECORDED_AT or field == OUTCOME_ID or field == PROSPECT_ID:
            if value is None:
                continue
            if field == RECORDED_AT:
                recorded_at = _moment(value)
                if recorded_at == _NONE:
                    return None
            elif not _plain(value, False):
                return None
            elif field == PROSPECT_ID:
                named = value
            else:
                outcome_id = value
        else:
            return None
    own = _owner(named, scope.own, scope.related, created)
    if own is None or outcome is None or occurred_at == _NONE:
        return None
    born = None if created is None else created.get(own)
    if born is not None and occurred_at < <int64_t> born:
        return None
    if outcome_id is None:
        outcome_id = f"{own}|{outcome}|{occurred_at}"
    if recorded_at == _NONE:
        recorded_at = occurred_at
    return _made(Outcome, (outcome_id, own, outcome, occurred_at, recorded_at))


cdef inline Py_ssize_t _past_blanks(const unsigned char* at, Py_ssize_t i) noexcept:
    """Behind the blanks at i; a zero stands behind the text, which is none."""
    while at[i] <= c" " and (at[i] == c" " or at[i] == c"\n" or at[i] == c"\r" or at[i] == c"\t"):
        i += 1
    return i


cdef inline Py_ssize_t _past_text(const unsigned char* at, Py_ssize_t i) noexcept:
    """Behind the quote that ends the text that begins at i, of visible ASCII as it stands; -1 where it is another."""
    while _PLAIN[at[i]]:
        i += 1
    return i + 1 if at[i] == c'"' else -1


cdef Py_ssize_t _past_number(const unsigned char* at, Py_ssize_t i, bint* whole) noexcept:
    """Behind the number at i, as JSON writes them; -1 where there is none."""
    whole[0] = True
    i += at[i] == c"-"
    if at[i] == c"0":
        i += 1
    elif c"1" <= at[i] <= c"9":
        while c"0" <= at[i] <= c"9":
            i += 1
    else:
        return -1
    if at[i] == c".":
        whole[0] = False
        i += 1
        if not c"0" <= at[i] <= c"9":
            return -1
        while c"0" <= at[i] <= c"9":
            i += 1
    if at[i] == c"e" or at[i] == c"E":
        whole[0] = False
        i += 1
        i += at[i] == c"+" or at[i] == c"-"
        if not c"0" <= at[i] <= c"9":
            return -1
        while c"0" <= at[i] <= c"9":
            i += 1
    return i


cdef bint _double_at(const unsigned char* at, Py_ssize_t size, double* number) except -1:
    """Whether the number that JSON writes there is finite; it, rounded once."""
    cdef int64_t digits = 0
    cdef Py_ssize_t i = at[0] == c"-", behind_point = 0
    cdef char* end
    if size <= 16:
        while i < size:
            if at[i] == c".":
                behind_point = size - 1 - i
            elif c"0" <= at[i] <= c"9":
                digits = 10 * digits + (at[i] - c"0")
            else:
                break
            i += 1
        if i == size:
            # With a point there are 15 digits at most, which are exact, as the power of ten is: only their quotient is
            # rounded. The usual way changes the state of the processor before and after, which takes longer.
            number[0] = <double> digits / _TENS[behind_point]
            if at[0] == c"-":
                number[0] = -number[0]
            return True
    number[0] = PyOS_string_to_double(<const char*> at, &end, NULL)
    return <const unsigned char*> end == at + size and isfinite(number[0])


cdef bint _event_at(const unsigned char* at, Py_ssize_t* place, ReadEvents events) except -1:
    """Add the ordinary event at a place, which is moved behind it; False where there is none."""
    cdef Py_ssize_t i = place[0], begin, size
    cdef Read* event = events.add()
    cdef int64_t recorded_at = _NONE
    cdef double real
    cdef int32_t named
    cdef int field, seen = 0
    cdef bint whole
    event.occurred_at = _NONE
    if at[i] != c"{":
        return False
    while True:
        begin = _past_blanks(at, i + 1)
        if at[begin] != c'"':
            return False
        begin += 1
        i = _past_text(at, begin)
        if i < 0:
            return False
        field = _field_at(at + begin, i - 1 - begin)
        if field >= OUTCOME_ID or seen >> field & 1:
            return False
        seen |= 1 << field
        i = _past_blanks(at, i)
        if at[i] != c":":
            return False
        i = _past_blanks(at, i + 1)
        begin = i
        if at[i] == c'"':
            begin += 1
            i = _past_text(at, begin)
            size = i - 1 - begin
            if i < 0 or size > 1_000_000_000 or field == VALUE:
                return False
            if field == OCCURRED_AT:
                event.occurred_at = _time_at(at + begin, size)
                if event.occurred_at == _NONE:
                    return False
            elif field == RECORDED_AT:
                recorded_at = _time_at(at + begin, size)
                if recorded_at == _NONE:
                    return False
            elif size == 0 or at[begin] == c" " or at[i - 2] == c" ":
                return False  # not plain, or hardly so
            elif field == EVENT_ID:
                event.id, event.id_size = at + begin, <int32_t> size
            elif field == TYPE:
                event.type = events.number(at + begin, size)
            elif field == CONTACT_ID:
                event.contact = events.number(at + begin, size)
            elif field == CHANNEL:
                event.channel = events.number(at + begin, size)
            elif field == PROSPECT_ID:
                named = events.number(at + begin, size)
                if events.named != named:
                    if events.named >= 0:
                        return False  # of two prospects, or of one whose id comes after many other texts
                    events.named = named
            else:
                event.direction = events.number(at + begin, size)
                if events.word(event.direction) not in _DIRECTIONS:
                    return False
        elif at[i] == c"n" and at[i + 1] == c"u" and at[i + 2] == c"l" and at[i + 3] == c"l":
            i += 4
        elif field == VALUE:
            i = _past_number(at, begin, &whole)
            if i < 0 or i - begin > 40:
                return False
            if not _double_at(at + begin, i - begin, &real) or not -_LIMIT <= real <= _LIMIT:
                return False
            # Whole numbers are exact within the limit; others in double, then half to even: as ``contract.to_micro``.
            event.value = <int64_t> real * _MICROS if whole else <int64_t> rint(real * 1e6)
            event.valued = 1
        else:
            return False
        i = _past_blanks(at, i)
        if at[i] == c"}":
            break
        if at[i] != c",":
            return False
    place[0] = i + 1
    event.recorded_at = event.occurred_at if recorded_at == _NONE else recorded_at
    return event.id != NULL and event.type >= 0 and event.occurred_at != _NONE


cdef ReadEvents _events_at(bytes body, const unsigned char* at, Py_ssize_t* place):
    """The ordinary events of the list that begins at a place, which is moved behind it; None where one is none."""
    cdef Py_ssize_t i = place[0]
    cdef ReadEvents events = ReadEvents.__new__(ReadEvents, body)
    events.begin = i
    i = _past_blanks(at, i + 1)
    if at[i] != c"]":
        while True:
            if not _event_at(at, &i, events):
                return None
            i = _past_blanks(at, i)
            if at[i] == c"]":
                break
            if at[i] != c",":
                return None
            i = _past_blanks(at, i + 1)
    if not events.distinct():
        return None
    events.behind = place[0] = i + 1
    return events


cdef enum:
    KEYS = 64  # of an object: each is compared with those before it
    LEVELS = 6  # of objects and lists: those of the contract are not so deep

cdef enum:  # what a value is
    AN_OBJECT, A_LIST, A_TEXT, A_WHOLE, A_REAL, IS_TRUE, IS_FALSE, IS_NULL, ITS_EVENTS

cdef enum:  # the fields of a request
    ACCOUNT, AS_OF, CONTACTS, EVENTS, GOAL, OUTCOMES, PROSPECT, RELATED, FIELDS

cdef struct Token:  # a key or a value in a text
    int32_t kind
    int32_t begin, size  # of a text: what stands between its quotes
    int32_t behind  # the token that follows it and all that is in it


cdef int _request_field(const unsigned char* at, Py_ssize_t size) noexcept:
    if size == 4:
        return GOAL if memcmp(at, b"goal", 4) == 0 else FIELDS
    if size == 5:
        return AS_OF if memcmp(at, b"as_of", 5) == 0 else FIELDS
    if size == 6:
        return EVENTS if memcmp(at, b"events", 6) == 0 else FIELDS
    if size == 7:
        if memcmp(at, b"account", 7) == 0:
            return ACCOUNT
        return RELATED if memcmp(at, b"related", 7) == 0 else FIELDS
    if size == 8:
        if memcmp(at, b"contacts", 8) == 0:
            return CONTACTS
        if memcmp(at, b"outcomes", 8) == 0:
            return OUTCOMES
        return PROSPECT if memcmp(at, b"prospect", 8) == 0 else FIELDS
    return FIELDS


cdef str _made_text(const unsigned char* at, Py_ssize_t size):
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_1BYTE_DATA(text), at, size)
    return text


@no_gc  # what it holds holds nothing in turn
cdef class ReadRequest:
    """A request as it stands in its text: sound JSON, whose keys come once, of visible ASCII; where its values are.

    Of the fields it is known that they are those of a request, of its prospect that it is one record with a plain id.
    What else it holds is found out by ``Request.take``.
    """

    cdef readonly str prospect_id
    cdef readonly str goal
    cdef readonly bint bare  # nothing is known of its prospect but the id
    cdef readonly ReadEvents events
    cdef int64_t as_of
    cdef bytes body
    cdef Py_ssize_t begin, end
    cdef Token* token
    cdef Py_ssize_t count, room
    cdef int32_t[FIELDS] field  # the token of each field's value, -1 where it is not there or null

    def __cinit__(self, bytes body not None):
        cdef int field
        self.body = body
        self.as_of = _NONE
        for field in range(FIELDS):
            self.field[field] = -1

    def __dealloc__(self):
        PyMem_Free(self.token)

    @property
    def text(self):
        """It as it was sent."""
        return self.body[self.begin : self.end]

    def apart(self):
        """What ``events_apart`` gives of it."""
        if self.events is None:
            return self.text, None
        return self.body[self.begin : self.events.begin] + b"[]" + self.body[self.events.behind : self.end], self.events

    def listed(self):
        """How many contacts and events it lists, its own and those of related prospects."""
        cdef Py_ssize_t count = 0 if self.events is None else self.events.count
        return count + self._length(self.field[CONTACTS]) + self._length(self._within(RELATED, b"events"))

    cdef Py_ssize_t _length(self, int32_t i) noexcept:
        """How many values there are in the list that is this token; 0 where it is none."""
        cdef Py_ssize_t count = 0
        cdef int32_t behind
        if i >= 0 and self.token[i].kind == A_LIST:
            behind = self.token[i].behind
            i += 1
            while i < behind:
                count += 1
                i = self.token[i].behind
        return count

    cdef bint related(self) noexcept:
        """Whether what stands under ``related`` is an object of its three fields."""
        cdef const unsigned char* at = <const unsigned char*> <char*> self.body
        cdef int32_t i = self.field[RELATED], behind = self.token[i].behind
        if self.token[i].kind != AN_OBJECT:
            return False
        i += 1
        while i < behind:
            if not (
                self.token[i].size == 9 and memcmp(at + self.token[i].begin, b"prospects", 9) == 0
                or _request_field(at + self.token[i].begin, self.token[i].size) in (EVENTS, OUTCOMES)
            ):
                return False
            i = self.token[i + 1].behind
        return True

    cdef int32_t _within(self, int field, bytes name) noexcept:
        """The value of a name in the object that is a field's value; -1 where there is none."""
        cdef int32_t i = self.field[field], behind
        cdef const unsigned char* at = <const unsigned char*> <char*> self.body
        cdef Py_ssize_t size = len(name)
        if i < 0 or self.token[i].kind != AN_OBJECT:
            return -1
        behind = self.token[i].behind
        i += 1
        while i < behind:
            if self.token[i].size == size and memcmp(at + self.token[i].begin, <char*> name, size) == 0:
                return i + 1
            i = self.token[i + 1].behind
        return -1

    cdef int32_t _add(self, int kind, Py_ssize_t begin, Py_ssize_t size) except -1:
        cdef Py_ssize_t room
        cdef Token* token
        if self.count == self.room:
            room = 2 * self.room + 128
            token = <Token*> PyMem_Realloc(self.token, room * sizeof(Token))
            if token == NULL:
                raise MemoryError
            self.token, self.room = token, room
        token = &self.token[self.count]
        token.kind, token.begin, token.size = kind, <int32_t> begin, <int32_t> size
        self.count += 1
        token.behind = <int32_t> self.count
        return token.behind - 1

    cdef bint take(self, const unsigned char* at, Py_ssize_t i) except -1:
        """Read what begins at a place; False where it is not plain."""
        cdef int32_t key, value
        cdef int field
        if len(self.body) > 1_000_000_000:
            return False
        self.begin = i
        self.end = self._object(at, i, 1)
        if self.end < 0:
            return False
        key = 1
        while key < self.count:
            value = key + 1
            field = _request_field(at + self.token[key].begin, self.token[key].size)
            if field == FIELDS:
                return False
            if self.token[value].kind != IS_NULL:
                self.field[field] = value
            key = self.token[value].behind
        if not self._named(at):
            return False
        return self.field[EVENTS] < 0 if self.events is None else self.events.owned(self.prospect_id)

    cdef bint _named(self, const unsigned char* at) except -1:
        """Whether what is asked of it before it is read is plain; noted."""
        cdef int32_t i = self.field[PROSPECT], behind
        cdef Token* token
        if i < 0 or self.token[i].kind != AN_OBJECT:
            return False
        self.bare = True
        behind = self.token[i].behind
        i += 1
        while i < behind:
            token = &self.token[i + 1]
            if self.token[i].size == 11 and memcmp(at + self.token[i].begin, b"prospect_id", 11) == 0:
                self.prospect_id = _text_of(at, token, False)
            elif token.kind != IS_NULL:
                self.bare = False
            i = token.behind
        if self.prospect_id is None:
            return False
        i = self.field[GOAL]
        if i >= 0:
            self.goal = _text_of(at, &self.token[i], True)
            if self.goal is None:
                return False
        i = self.field[AS_OF]
        if i >= 0:
            self.as_of = _moment_of(at, &self.token[i])
            if self.as_of == _NONE:
                return False
        return True

    cdef Py_ssize_t _object(self, const unsigned char* at, Py_ssize_t i, int level) except -2:
        """Behind the object at a place, noted with all that is in it; -1 where it is not plain."""
        cdef int32_t[KEYS] keys
        cdef int count = 0, k
        cdef int32_t own = self._add(AN_OBJECT, i, 0)
        cdef Py_ssize_t begin, size
        cdef Token* other
        if at[i] != c"{" or level > LEVELS:
            return -1
        i = _past_blanks(at, i + 1)
        while at[i] != c"}" or count:  # behind a comma there is a key
            if at[i] != c'"' or count == KEYS:
                return -1
            begin = i + 1
            i = _past_text(at, begin)
            if i < 0:
                return -1
            size = i - 1 - begin
            for k in range(count):
                other = &self.token[keys[k]]
                if other.size == size and memcmp(at + other.begin, at + begin, size) == 0:
                    return -1
            keys[count] = self._add(A_TEXT, begin, size)
            count += 1
            i = _past_blanks(at, i)
            if at[i] != c":":
                return -1
            i = _past_blanks(at, i + 1)
            if level == 1 and at[i] == c"[" and _request_field(at + begin, size) == EVENTS:
                self._add(ITS_EVENTS, i, 0)
                self.events = _events_at(self.body, at, &i)
                if self.events is None:
                    return -1
            else:
                i = self._value(at, i, level + 1)
                if i < 0:
                    return -1
            i = _past_blanks(at, i)
            if at[i] == c"}":
                break
            if at[i] != c",":
                return -1
            i = _past_blanks(at, i + 1)
        self.token[own].behind = <int32_t> self.count
        return i + 1

    cdef Py_ssize_t _list(self, const unsigned char* at, Py_ssize_t i, int level) except -2:
        """Behind the list at a place, as ``_object`` gives it."""
        cdef int32_t own = self._add(A_LIST, i, 0)
        if level > LEVELS:
            return -1
        i = _past_blanks(at, i + 1)
        if at[i] != c"]":
            while True:
                i = self._value(at, i, level + 1)
                if i < 0:
                    return -1
                i = _past_blanks(at, i)
                if at[i] == c"]":
                    break
                if at[i] != c",":
                    return -1
                i = _past_blanks(at, i + 1)
        self.token[own].behind = <int32_t> self.count
        return i + 1

    cdef Py_ssize_t _value(self, const unsigned char* at, Py_ssize_t i, int level) except -2:
        """Behind the value at a place, as ``_object`` gives it."""
        cdef Py_ssize_t behind
        cdef bint whole
        cdef unsigned char c = at[i]
        if c == c'"':
            behind = _past_text(at, i + 1)
            if behind >= 0:
                self._add(A_TEXT, i + 1, behind - i - 2)
            return behind
        if c == c"{":
            return self._object(at, i, level)
        if c == c"[":
            return self._list(at, i, level)
        if c == c"t" and at[i + 1] == c"r" and at[i + 2] == c"u" and at[i + 3] == c"e":
            self._add(IS_TRUE, i, 4)
            return i + 4
        if c == c"n" and at[i + 1] == c"u" and at[i + 2] == c"l" and at[i + 3] == c"l":
            self._add(IS_NULL, i, 4)
            return i + 4
        if c == c"f" and at[i + 1] == c"a" and at[i + 2] == c"l" and at[i + 3] == c"s" and at[i + 4] == c"e":
            self._add(IS_FALSE, i, 5)
            return i + 5
        behind = _past_number(at, i, &whole)
        if behind < 0 or behind - i > 40:
            return -1
        self._add(A_WHOLE if whole else A_REAL, i, behind - i)
        return behind


cdef str _text_of(const unsigned char* at, Token* token, bint word):
    """A text that nothing is done to, as ``_plain`` tells; None for all else."""
    cdef Py_ssize_t size = token.size
    at += token.begin
    if token.kind != A_TEXT or not _plain_at(at, size, word):
        return None
    return _made_text(at, size)


cdef int64_t _moment_of(const unsigned char* at, Token* token) noexcept:
    return _time_at(at + token.begin, token.size) if token.kind == A_TEXT else _NONE


cdef bint _number_of(const unsigned char* at, Token* token, double* number) except -1:
    """Whether a value is a number that is exact, or finite; it."""
    cdef int64_t whole = 0
    cdef Py_ssize_t i = token.begin, behind = i + token.size
    cdef bint negative = at[i] == c"-"
    if token.kind == A_REAL:
        return _double_at(at + i, token.size, number)
    if token.kind != A_WHOLE or token.size > 15:
        return False
    i += negative
    while i < behind:
        whole = 10 * whole + (at[i] - c"0")
        i += 1
    number[0] = <double> (-whole if negative else whole)
    return True


cdef object _event_of(ReadRequest request, int32_t i, str own, dict created):
    """The event of a related prospect at a token, as ``ordinary_event`` reads it."""
    cdef const unsigned char* at = <const unsigned char*> <char*> request.body
    cdef Token* token = request.token
    cdef Token* value
    cdef int32_t behind = token[i].behind
    cdef object event_id = None, kind = None, contact_id = None, channel = None, direction = None, micros = None
    cdef object named = None, text
    cdef int64_t occurred_at = _NONE, recorded_at = _NONE, moment
    cdef double real
    cdef int field
    if token[i].kind != AN_OBJECT:
        return None
    i += 1
    while i < behind:
        field = _field_at(at + token[i].begin, token[i].size)
        value = &token[i + 1]
        i = value.behind
        if field >= OUTCOME_ID:
            return None
        if value.kind == IS_NULL:
            continue
        if field == OCCURRED_AT or field == RECORDED_AT:
            moment = _moment_of(at, value)
            if moment == _NONE:
                return None
            if field == OCCURRED_AT:
                occurred_at = moment
            else:
                recorded_at = moment
        elif field == VALUE:
            if value.kind != A_WHOLE and value.kind != A_REAL:
                return None
            if not _double_at(at + value.begin, value.size, &real) or not -_LIMIT <= real <= _LIMIT:
                return None
            micros = <int64_t> real * _MICROS if value.kind == A_WHOLE else <int64_t> rint(real * 1e6)
        else:
            text = _text_of(at, value, field == TYPE or field == CHANNEL)
            if text is None:
                return None
            if field == EVENT_ID:
                event_id = text
            elif field == TYPE:
                kind = text
            elif field == CONTACT_ID:
                contact_id = text
            elif field == CHANNEL:
                channel = text
            elif field == PROSPECT_ID:
                named = text
            elif text in _DIRECTIONS:
                direction = text
            else:
                return None
    own = _owner(named, own, True, created)
    if own is None or event_id is None or kind is None or occurred_at == _NONE:
        return None
    if recorded_at == _NONE:
        recorded_at = occurred_at
    return _made_event(event_id, own, kind, occurred_at, recorded_at, contact_id, direction, channel, micros)


cdef tuple _related_events(ReadRequest request, int32_t i, str own, dict created):
    """The events of the list at a token; None where one is not ordinary, or its id comes twice or is an own one's."""
    cdef int32_t behind = request.token[i].behind
    cdef Py_ssize_t k
    cdef set seen = set()
    cdef list out = []
    cdef object event, id
    cdef ReadEvents events = request.events
    if request.token[i].kind != A_LIST:
        return None
    i += 1
    if i < behind and events is not None:
        for k in range(events.count):
            seen.add(_made_text(events.event[k].id, events.event[k].id_size))
    while i < behind:
        event = _event_of(request, i, own, created)
        if event is None:
            return None
        id = <object> PyTuple_GET_ITEM(event, 0)
        if id in seen:
            return None
        seen.add(id)
        out.append(event)
        i = request.token[i].behind
    return tuple(out)


cdef object _outcome_of(ReadRequest request, int32_t i, str own, bint related, dict created):
    """The outcome at a token, as ``ordinary_outcome`` reads it."""
    cdef const unsigned char* at = <const unsigned char*> <char*> request.body
    cdef Token* token = request.token
    cdef Token* value
    cdef int32_t behind = token[i].behind
    cdef object outcome_id = None, outcome = None, named = None, born
    cdef int64_t occurred_at = _NONE, recorded_at = _NONE
    cdef int field
    if token[i].kind != AN_OBJECT:
        return None
    i += 1
    while i < behind:
        field = _field_at(at + token[i].begin, token[i].size)
        value = &token[i + 1]
        i = value.behind
        if field == OUTCOME:
            outcome = _text_of(at, value, True)
        elif field == OCCURRED_AT:
            occurred_at = _moment_of(at, value)
        elif field != RECORDED_AT and field != OUTCOME_ID and field != PROSPECT_ID:
            return None
        elif value.kind == IS_NULL:
            continue
        elif field == RECORDED_AT:
            recorded_at = _moment_of(at, value)
            if recorded_at == _NONE:
                return None
        elif field == PROSPECT_ID:
            named = _text_of(at, value, False)
            if named is None:
                return None
        else:
            outcome_id = _text_of(at, value, False)
            if outcome_id is None:
                return None
    own = _owner(named, own, related, created)
    if own is None or outcome is None or occurred_at == _NONE:
        return None
    born = None if created is None else created.get(own)
    if born is not None and occurred_at < <int64_t> born:
        return None
    if outcome_id is None:
        outcome_id = f"{own}|{outcome}|{occurred_at}"
    if recorded_at == _NONE:
        recorded_at = occurred_at
    return _made(Outcome, (outcome_id, own, outcome, occurred_at, recorded_at))


cdef tuple _outcomes_of(ReadRequest request, int32_t i, str own, bint related, dict created, dict seen):
    """The outcomes of the list at a token; None where one is not ordinary, or its id was seen."""
    cdef int32_t behind = request.token[i].behind
    cdef list out = []
    cdef object outcome, id
    if request.token[i].kind != A_LIST:
        return None
    i += 1
    while i < behind:
        outcome = _outcome_of(request, i, own, related, created)
        if outcome is None:
            return None
        id = <object> PyTuple_GET_ITEM(outcome, 0)
        if id in seen:
            return None
        seen[id] = outcome
        out.append(outcome)
        i = request.token[i].behind
    return tuple(out)


cdef object _frozen(type of, tuple names, tuple values):
    """A frozen data class of these fields, past its constructor."""
    cdef Py_ssize_t i
    made = PyType_GenericAlloc(of, 0)
    for i in range(PyTuple_GET_SIZE(names)):
        PyObject_GenericSetAttr(made, <object> PyTuple_GET_ITEM(names, i), <object> PyTuple_GET_ITEM(values, i))
    return made


cdef class _Apart:
    """An object in a text: where it ends (-1: nowhere), and the list of its own events, where it is plainly one."""

    cdef Py_ssize_t end
    cdef ReadEvents events

    cdef int find(self, bytes body, const unsigned char* at, Py_ssize_t i) except -1:
        """As braces outside of texts tell."""
        cdef Py_ssize_t depth = 0, after, size = len(body)
        cdef unsigned char c
        self.end = -1
        self.events = None
        while i < size:
            c = at[i]
            i += 1
            if c == c'"':
                after = i
                while i < size and at[i] != c'"':
                    i += 2 if at[i] == c"\\" else 1
                i += 1
                if depth == 1 and i - after == 7 and self.events is None and i <= size and memcmp(at + after, b"events", 6) == 0:
                    after = _past_blanks(at, i)
                    if at[after] == c":":
                        after = _past_blanks(at, after + 1)
                        if at[after] == c"[":
                            self.events = _events_at(body, at, &after)
                            if self.events is not None:
                                i = after
            elif c == c"{":
                depth += 1
            elif c == c"}":
                depth -= 1
                if depth == 0:
                    self.end = i
                    return 0
        return 0

    cdef tuple apart(self, bytes body, Py_ssize_t start):
        """The object's text, with an empty list of events where these were read, and them."""
        if self.events is None:
            return body[start : self.end], None
        return body[start : self.events.begin] + b"[]" + body[self.events.behind : self.end], self.events


def events_apart(bytes body not None):
    """A request's text with an empty list for its events, and these; None where one of them is not ordinary.

    They are the prospect's that they name (``ReadEvents.owned`` sees to that). The text is told apart by its braces
    alone: it is sound JSON where the rest is.
    """
    cdef const unsigned char* at = <const unsigned char*> <char*> body
    cdef Py_ssize_t i = _past_blanks(at, 0)
    cdef _Apart found = _Apart()
    if at[i] != c"{":
        return None
    found.find(body, at, i)
    if found.events is None or found.end < 0 or _past_blanks(at, found.end) != len(body):
        return None
    return found.apart(body, i)


def request_read(bytes body not None):
    """A request as ``ReadRequest``; None where it is not plainly one."""
    cdef const unsigned char* at = <const unsigned char*> <char*> body
    cdef Py_ssize_t i = _past_blanks(at, 0)
    cdef ReadRequest read = ReadRequest.__new__(ReadRequest, body)
    return read if at[i] == c"{" and read.take(at, i) and _past_blanks(at, read.end) == len(body) else None


def items_apart(bytes body not None, Py_ssize_t most):
    """Each item of a batch ``{"items": [{...}, ...]}`` as ``ReadRequest``; None where it is not plainly one, of ``most``.

    Of an item that is none there is what ``events_apart`` gives, with None for events that are not ordinary: they
    stand in the text then.
    """
    cdef const unsigned char* at = <const unsigned char*> <char*> body
    cdef Py_ssize_t size = len(body), i = _past_blanks(at, 0)
    cdef _Apart found = _Apart()
    cdef ReadRequest read
    cdef list out = []
    if at[i] != c"{":
        return None
    i = _past_blanks(at, i + 1)
    if size - i < 7 or memcmp(at + i, b'"items"', 7) != 0:
        return None
    i = _past_blanks(at, i + 7)
    if at[i] != c":":
        return None
    i = _past_blanks(at, i + 1)
    if at[i] != c"[":
        return None
    while at[i] != c"]":
        i = _past_blanks(at, i + 1)  # behind the bracket, or the comma
        if at[i] != c"{" or len(out) == most:  # an item takes more room than its text
            return None
        read = ReadRequest.__new__(ReadRequest, body)
        if read.take(at, i):
            out.append(read)
            i = _past_blanks(at, read.end)
        else:
            found.find(body, at, i)
            if found.end < 0:
                return None
            out.append(found.apart(body, i))
            i = _past_blanks(at, found.end)
        if at[i] != c"," and at[i] != c"]":
            return None
    i = _past_blanks(at, i + 1)
    return out if at[i] == c"}" and _past_blanks(at, i + 1) == size else None


def count_keys(dict data not None):
    """As ``values.plain_keys``."""
    cdef Py_ssize_t count = PyDict_Size(data), at = 0, inner
    cdef PyObject* key
    cdef PyObject* held
    cdef PyObject* deeper
    while PyDict_Next(data, &at, &key, &held):
        if PyDict_CheckExact(<object> held):
            count += PyDict_Size(<object> held)
            inner = 0
            while PyDict_Next(<object> held, &inner, &key, &deeper):
                if PyDict_CheckExact(<object> deeper):
                    count += PyDict_Size(<object> deeper)
                elif PyList_CheckExact(<object> deeper):
                    count += _listed(<list> <object> deeper)
        elif PyList_CheckExact(<object> held):
            count += _listed(<list> <object> held)
    return count


cdef Py_ssize_t _listed(list rows) except -1:
    cdef Py_ssize_t count = 0
    cdef object row
    cdef PyObject* attributes
    for row in rows:
        if PyDict_CheckExact(row):
            count += PyDict_Size(row)
            attributes = PyDict_GetItemWithError(row, "attributes")
            if attributes != NULL and PyDict_CheckExact(<object> attributes):
                count += PyDict_Size(<object> attributes)
    return count


cdef struct Column:
    const unsigned char* at  # its name; NULL: there is none
    Py_ssize_t size
    int kind
    bint kept
    PyObject* name  # as ``_Columns.all`` holds it
    PyObject* values


cdef class _Columns:
    """Columns by the text of their names."""

    cdef tuple all
    cdef Column* place
    cdef uint64_t mask

    def __cinit__(self, dict columns not None):
        cdef Column* place
        cdef uint64_t size = 8
        self.all = tuple([(name, *column) for name, column in columns.items()])
        while size < 2 * <uint64_t> len(columns) + 2:
            size *= 2
        self.place = <Column*> PyMem_Calloc(size, sizeof(Column))
        if self.place == NULL:
            raise MemoryError
        self.mask = size - 1
        for column in self.all:
            name = column[0]
            if type(name) is not str or not PyUnicode_IS_COMPACT_ASCII(name):
                continue  # no plain text names it
            place = self._place(PyUnicode_1BYTE_DATA(name), PyUnicode_GET_LENGTH(name))
            place.at, place.size = PyUnicode_1BYTE_DATA(name), PyUnicode_GET_LENGTH(name)
            place.kind, place.kept = column[1], column[2]
            place.name, place.values = <PyObject*> name, <PyObject*> column[3]

    def __dealloc__(self):
        PyMem_Free(self.place)

    cdef Column* _place(self, const unsigned char* at, Py_ssize_t size) noexcept:
        """The place of a name, or the free one that it would take: one always is free."""
        cdef uint64_t hashed = <uint64_t> size
        cdef Column* place
        if size:  # three letters tell the columns of a table apart, nearly always
            hashed += 3 * at[0] + 5 * at[size // 2] + 7 * at[size - 1]
        while True:
            place = &self.place[hashed & self.mask]
            if place.at == NULL or place.size == size and memcmp(place.at, at, size) == 0:
                return place
            hashed += 1


_KINDS = {"key": 1, "category": 2, "text": 2, "number": 3, "boolean": 4, "time": 5, "enum": 6}


cdef class StateColumns:
    """The columns of a state table: of each its kind, whether a feature may name it, and an enum's values."""

    cdef dict standard
    cdef dict declared
    cdef dict empty
    cdef _Columns beside
    cdef _Columns inside

    def __init__(self, standard, declared, empty):
        self.standard = {name: (_KINDS.get(kind, 0), kept, values) for name, (kind, kept, values) in standard.items()}
        self.declared = {name: (_KINDS.get(kind, 0), kept, values) for name, (kind, kept, values) in declared.items()}
        self.empty = dict(empty)
        self.beside, self.inside = _Columns(self.standard), _Columns(self.declared)

    cdef dict take(self, ReadRequest request, int32_t i):
        """What ``read`` gives of the value at a token."""
        cdef dict row
        if request.token[i].kind != AN_OBJECT:
            return None
        row = self.empty.copy()
        return row if self._take(request, i, self.beside, row, True) else None

    cdef bint _take(self, ReadRequest request, int32_t i, _Columns columns, dict row, bint outer) except -1:
        cdef const unsigned char* at = <const unsigned char*> <char*> request.body
        cdef Token* token = request.token
        cdef Token* key
        cdef Token* value
        cdef int32_t behind = token[i].behind
        cdef Column* column
        cdef object read
        cdef int64_t moment
        cdef double number
        cdef int kind
        i += 1
        while i < behind:
            key, value = &token[i], &token[i + 1]
            i = value.behind
            column = columns._place(at + key.begin, key.size)
            if column.at == NULL:
                if not outer or key.size != 10 or memcmp(at + key.begin, b"attributes", 10) != 0:
                    return False
                if value.kind == IS_NULL:
                    continue
                if value.kind != AN_OBJECT:
                    return False
                if not self._take(request, <int32_t> (value - token), self.inside, row, False):
                    return False
                continue
            if value.kind == IS_NULL:
                continue
            kind = column.kind
            if kind == 1 or kind == 2:
                read = _text_of(at, value, kind == 2)
                if read is None:
                    return False
            elif kind == 3:
                if not _number_of(at, value, &number):
                    return False
                read = number
            elif kind == 4:
                if value.kind != IS_TRUE and value.kind != IS_FALSE:
                    return False
                read = value.kind == IS_TRUE
            elif kind == 5:
                moment = _moment_of(at, value)
                if moment == _NONE:
                    return False
                read = moment
            elif kind == 6:
                read = _text_of(at, value, False)
                if read is None or read not in <object> column.values:
                    return False
            else:
                return False
            if column.kept:
                row[<object> column.name] = read
        return True

    cpdef dict read(self, data):
        """A row as it is sent by nearly everyone; None where it is none."""
        cdef dict row
        if type(data) is not dict:
            return None
        row = self.empty.copy()
        return row if self._fill(data, self.standard, row, True) else None

    cdef bint _fill(self, dict data, dict columns, dict row, bint outer) except -1:
        cdef Py_ssize_t at = 0
        cdef PyObject* key
        cdef PyObject* held
        cdef PyObject* found
        cdef object value
        cdef int kind
        cdef int64_t moment
        cdef double number
        while PyDict_Next(data, &at, &key, &held):
            value = <object> held
            found = PyDict_GetItemWithError(columns, <object> key)
            if found == NULL:
                if not outer or <object> key != "attributes":
                    return False
                if value is None:
                    continue
                if type(value) is not dict or not self._fill(value, self.declared, row, False):
                    return False
                continue
            if value is None:
                continue
            column = <tuple> <object> found
            kind = column[0]
            if kind == 1 or kind == 2:
                if not _plain(value, kind == 2):
                    return False
            elif kind == 3:
                if type(value) is float:
                    number = value
                    if not isfinite(number):
                        return False
                elif type(value) is int and -_EXACT <= value <= _EXACT:
                    value = <double> <int64_t> value
                else:
                    return False
            elif kind == 4:
                if type(value) is not bool:
                    return False
            elif kind == 5:
                moment = _moment(value)
                if moment == _NONE:
                    return False
                value = moment
            elif kind == 6:
                if type(value) is not str or value not in column[2]:
                    return False
            else:
                return False
            if column[1]:
                row[<object> key] = value
        return True


cdef class Request:
    """What ``schema.RequestReader`` reads of the state records of an ordinary request: one version of each."""

    cdef StateColumns prospects, accounts, contacts
    cdef type parsed

    def __init__(
        self, StateColumns prospects not None, StateColumns accounts not None, StateColumns contacts not None,
        type parsed not None
    ):
        if tuple(parsed.__dataclass_fields__) != _PARSED or hasattr(parsed, "__post_init__"):
            raise ValueError("serving._rows was built for other requests")
        self.prospects, self.accounts, self.contacts, self.parsed = prospects, accounts, contacts, parsed

    def take(self, ReadRequest request not None, int64_t now, int64_t latest):
        """What ``schema.RequestReader.read`` gives of a request; None where it is another.

        All is of the account that the prospect names, or alone of a prospect that names none. One whose ``as_of`` lies
        behind ``latest`` is warned of there.
        """
        cdef int32_t[FIELDS] field = request.field
        cdef str id = request.prospect_id
        cdef object account_id, created_at, accounts = None, contacts = None, events = request.events
        cdef object outcomes = None, related_events = None, related_outcomes = None
        cdef dict prospect, row, others = None, born = None, seen = {}
        cdef int32_t i
        if field[PROSPECT] < 0:
            return None
        prospect = self.prospects.take(request, field[PROSPECT])
        if prospect is None:
            return None
        created_at, account_id = prospect["created_at"], prospect["account_id"]
        if created_at is None:
            return None
        if request.as_of != _NONE:
            if request.as_of > latest:
                return None
            now = request.as_of
        if <int64_t> created_at > now:
            return None
        if field[ACCOUNT] >= 0:
            row = self.accounts.take(request, field[ACCOUNT])
            if row is None or account_id is None or not _belongs(row, account_id):
                return None
            accounts = {account_id: (_version(row, _ALWAYS),)}
        if field[CONTACTS] >= 0:
            contacts = self._taken(self.contacts, request, field[CONTACTS], "contact_id", account_id, None)
            if contacts is None:
                return None
        if field[OUTCOMES] >= 0:
            outcomes = _outcomes_of(request, field[OUTCOMES], id, False, {id: created_at}, seen)
            if outcomes is None:
                return None
        i = field[RELATED]
        if i >= 0:
            if not request.related():
                return None
            i = request._within(RELATED, b"prospects")
            if i >= 0 and request.token[i].kind != IS_NULL:
                born = {}
                others = self._taken(self.prospects, request, i, "prospect_id", account_id, born)
                if others is None or account_id is None or id in others:
                    return None
            i = request._within(RELATED, b"events")
            if i >= 0 and request.token[i].kind != IS_NULL:
                related_events = _related_events(request, i, id, born)
                if related_events is None:
                    return None
            i = request._within(RELATED, b"outcomes")
            if i >= 0 and request.token[i].kind != IS_NULL:
                related_outcomes = _outcomes_of(request, i, id, True, born, seen)
                if related_outcomes is None:
                    return None
        records = _frozen(
            Records,
            _RECORDS,
            (
                id, (_version(prospect, created_at),), accounts, contacts, events, outcomes, others, related_events,
                related_outcomes,
            ),
        )
        return _frozen(self.parsed, _PARSED, (records, now, request.goal, ()))

    def read(self, dict data not None):
        """The prospect's id and creation, and the versions of it, its account, contacts and related prospects.

        These are all of the account that the prospect names. None where the request is another one.
        """
        cdef dict prospect, row, others = None
        cdef object related, account, listed, account_id, prospect_id, created_at, versions
        prospect = self.prospects.read(data.get("prospect"))
        if prospect is None:
            return None
        prospect_id, created_at = prospect["prospect_id"], prospect["created_at"]
        account_id = prospect["account_id"]
        if prospect_id is None or created_at is None or account_id is None:
            return None
        accounts = None
        account = data.get("account")
        if account is not None:
            row = self.accounts.read(account)
            if row is None or not _belongs(row, account_id):
                return None
            accounts = {account_id: (_version(row, _ALWAYS),)}
        contacts = None
        listed = data.get("contacts")
        if listed is not None:
            contacts = self._listed(self.contacts, listed, "contact_id", account_id, False)
            if contacts is None:
                return None
        related = data.get("related")
        if related is not None:
            if type(related) is not dict:
                return None
            listed = related.get("prospects")
            if listed is not None:
                others = self._listed(self.prospects, listed, "prospect_id", account_id, True)
                if others is None or prospect_id in others:
                    return None
        return prospect_id, created_at, (_version(prospect, created_at),), accounts, contacts, others

    cdef dict _taken(self, StateColumns columns, ReadRequest request, int32_t i, str key, account_id, dict born):
        """What ``_listed`` gives of the list at a token; ``born``, if any, takes when each was created."""
        cdef dict out = {}, row
        cdef object id, since = _ALWAYS
        cdef int32_t behind = request.token[i].behind
        if request.token[i].kind != A_LIST:
            return None
        i += 1
        while i < behind:
            row = columns.take(request, i)
            if row is None or not _belongs(row, account_id):
                return None
            id = row[key]
            if id is None or id in out:
                return None
            if born is not None:
                since = row["created_at"]
                if since is None:
                    return None
                born[id] = since
            out[id] = (_version(row, since),)
            i = request.token[i].behind
        return out

    cdef dict _listed(self, StateColumns columns, listed, str key, account_id, bint born):
        """The versions of each record of a list, by its id; None where the list is none of the ordinary ones."""
        cdef dict out = {}, row
        cdef object each, id, since = _ALWAYS
        if type(listed) is not list:
            return None
        for each in <list> listed:
            row = columns.read(each)
            if row is None or not _belongs(row, account_id):
                return None
            id = row[key]
            if id is None or id in out:
                return None
            if born:
                since = row["created_at"]
                if since is None:
                    return None
            out[id] = (_version(row, since),)
        return out


cdef bint _belongs(dict row, account_id) except -1:
    """Whether a record is of this account, or names none: then it is."""
    named = row["account_id"]
    if named is None:
        row["account_id"] = account_id
        return True
    return named == account_id


cdef object _version(dict row, since):
    """The version of a row, known since it was observed or, where that is not said, since then."""
    observed_at = row["observed_at"]
    made = PyType_GenericAlloc(<type> Version, 2)
    _put(made, 0, since if observed_at is None else observed_at)
    _put(made, 1, row)
    return made


def last_heard(events, int64_t t):
    """As ``committee.plain_last_heard``."""
    if type(events) is ReadEvents:
        return events.last_heard(t)
    cdef dict out = {}
    cdef object event, contact, retracted, known
    cdef int64_t occurred_at, recorded_at
    for event in events:
        if not isinstance(event, tuple) or PyTuple_GET_SIZE(event) != 10:
            raise TypeError("not an event")
        contact = <object> PyTuple_GET_ITEM(event, 5)
        if contact is None:
            continue
        occurred_at, recorded_at = <object> PyTuple_GET_ITEM(event, 3), <object> PyTuple_GET_ITEM(event, 4)
        if occurred_at > t or recorded_at > t:
            continue
        retracted = <object> PyTuple_GET_ITEM(event, 9)
        if retracted is not None and t >= <int64_t> retracted:
            continue
        known = out.get(contact)
        if known is None:
            out[contact] = (1, occurred_at)
        else:
            out[contact] = (<int64_t> known[0] + 1, max(<int64_t> known[1], occurred_at))
    return out


def later(facts, int64_t t):
    """As ``scorer.plain_later``."""
    if type(facts) is ReadEvents:
        return facts.later(t)
    cdef Py_ssize_t count = 0
    cdef object fact
    for fact in facts:
        if not isinstance(fact, tuple) or PyTuple_GET_SIZE(fact) < 5:
            raise TypeError("not a fact")
        if <int64_t> <object> PyTuple_GET_ITEM(fact, 3) > t or <int64_t> <object> PyTuple_GET_ITEM(fact, 4) > t:
            count += 1
    return count


def future(records, int64_t t):
    """As ``scorer.plain_future``."""
    cdef Py_ssize_t count = _versions_later(records.prospect, t)
    for rows in (records.accounts, records.contacts, records.related):
        if rows:
            for versions in rows.values():
                count += _versions_later(versions, t)
    for facts in (records.events, records.outcomes, records.related_events, records.related_outcomes):
        if facts is not None:
            count += later(facts, t)
    return count


cdef Py_ssize_t _versions_later(tuple versions, int64_t t) except -1:
    cdef Py_ssize_t count = 0
    cdef object version
    for version in versions:
        if not isinstance(version, tuple) or PyTuple_GET_SIZE(version) != 2:
            raise TypeError("not a version")
        count += <int64_t> <object> PyTuple_GET_ITEM(version, 0) > t
    return count


def ordinary_events(list items not None, Py_ssize_t start, scope, dict seen not None):
    """As ``rows.plain_events``."""
    cdef Py_ssize_t i
    cdef object event, created = scope.created
    cdef str own = scope.own
    cdef bint related = scope.related
    if start < 0:
        raise ValueError("a start before the list")
    for i in range(start, len(items)):
        event = _event(items[i], own, related, created)
        if event is None or seen.setdefault(<object> PyTuple_GET_ITEM(event, 0), event) is not event:
            return i
    return len(items)
