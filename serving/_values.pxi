"""The values of a record: times, plain texts, and what a field may hold."""

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
