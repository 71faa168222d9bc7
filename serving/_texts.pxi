"""Events from the text of a request, as it came: nothing is decoded that no feature reads."""

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
