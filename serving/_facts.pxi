"""Events and outcomes from objects that were decoded: the straight lines of ``serving.rows``."""

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
