"""A request as its text, of which only what is asked for is made: that of ``POST /score`` and the items of a batch."""

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
