"""What a score asks of facts: who was last heard of, and how many are of the future."""

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
