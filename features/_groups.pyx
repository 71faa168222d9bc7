# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""``features.groups``, compiled: see there what it does. Equal to it to the bit.

The events known at t lie in arrays, in their order; a group is a list of places in these. Texts that are only compared
(contacts, roles) are numbers here, given as they come.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport qsort
from libc.string cimport memcmp

from features._events cimport Read, ReadEvents
from features.aggregates import CLOSED
from features.contract import DAY, MICRO
from features.records import Event, Outcome
from features.titles import read_title

cdef extern from *:
    """
    typedef __int128 leadscore_wide;
    """
    ctypedef long long wide "leadscore_wide"  # sums of values: no number of them overflows it

cdef extern from "Python.h":
    PyObject* PyTuple_GET_ITEM(object t, Py_ssize_t i)  # borrowed
    int PyUnicode_Compare(PyObject* a, PyObject* b) nogil  # so that it fits qsort; the lock is held

cdef enum:
    ALIKE = 32  # kinds of events that are told apart quickly

cdef frozenset _CLOSED = frozenset(CLOSED)
cdef tuple _NOBODY = (-1, -1, None, None)
cdef double _DAY = DAY
cdef double _MICRO = MICRO
cdef enum:
    EVENT_ID, PROSPECT_ID, TYPE, OCCURRED_AT, RECORDED_AT, CONTACT_ID, DIRECTION, CHANNEL, VALUE, RETRACTED_AT, FIELDS

if Event._fields != (
    "event_id", "prospect_id", "type", "occurred_at", "recorded_at", "contact_id", "direction", "channel", "value",
    "retracted_at",
):
    raise ImportError("features._groups was built for other events")

cdef enum:
    ENDED_ID, ENDED_PROSPECT, ENDED_HOW, ENDED_AT, ENDED_RECORDED, ENDED_FIELDS

if Outcome._fields != ("outcome_id", "prospect_id", "outcome", "occurred_at", "recorded_at"):
    raise ImportError("features._groups was built for other outcomes")

cdef enum:
    COUNT, LAST_TIME, FIRST_TIME, SUM, MEAN, MIN, MAX, LAST, CONTACTS, ROLES, TOP

_OPERATIONS = {
    "count": COUNT, "days_since_last": LAST_TIME, "days_since_first": FIRST_TIME, "sum": SUM, "mean": MEAN,
    "min": MIN, "max": MAX, "last": LAST, "distinct_contacts": CONTACTS, "distinct_roles": ROLES,
    "top_contact_share": TOP,
}

cdef struct Step:
    int32_t cell
    int32_t operation
    int64_t window  # 0: over all

cdef struct Entry:  # an event known at t
    int64_t occurred_at
    int64_t recorded_at
    void* event  # an Event or, where there is no id, a Read
    PyObject* event_id

cdef struct Ended:  # an outcome known at t
    int64_t occurred_at
    PyObject* outcome

cdef struct Fact:  # what an event tells the reducers
    int64_t time
    int64_t value
    int32_t contact  # -1: none that is known
    int32_t role  # -1: none
    int8_t valued


cdef class Match:
    """The groups that an event belongs to."""

    cdef readonly tuple plain
    cdef readonly tuple full
    cdef int32_t* indices
    cdef Py_ssize_t count

    def __cinit__(self, plain, full):
        self.plain, self.full = tuple(plain), tuple(full)
        every = (*self.plain, *self.full)
        self.count = len(every)
        self.indices = <int32_t*> PyMem_Malloc((self.count + 1) * sizeof(int32_t))
        if self.indices == NULL:
            raise MemoryError
        for i, index in enumerate(every):
            self.indices[<Py_ssize_t> i] = index

    def __dealloc__(self):
        PyMem_Free(self.indices)


cdef class Plan:
    """The row of a prospect whose groups are all empty, and what each group gives otherwise."""

    cdef readonly list empty
    cdef Step* steps
    cdef int32_t* first  # of each group: its first step; one more at the end
    cdef Py_ssize_t groups

    def __cinit__(self, empty, steps):
        self.empty = list(empty)
        self.groups = len(steps)
        self.steps = <Step*> PyMem_Malloc((sum(map(len, steps)) + 1) * sizeof(Step))
        self.first = <int32_t*> PyMem_Malloc((self.groups + 1) * sizeof(int32_t))
        if self.steps == NULL or self.first == NULL:
            raise MemoryError
        cdef Py_ssize_t at = 0, group = 0
        for each in steps:
            self.first[group] = at
            for cell, operation, window in each:
                if not 0 <= cell < len(self.empty) or (window is not None and window <= 0):
                    raise ValueError("no such cell or window")
                self.steps[at].cell = cell
                self.steps[at].operation = _OPERATIONS[operation]
                self.steps[at].window = 0 if window is None else window
                at += 1
            group += 1
        self.first[group] = at

    def __dealloc__(self):
        PyMem_Free(self.steps)
        PyMem_Free(self.first)


cdef class Groups:
    """The groups of one prospect at t (microseconds)."""

    cdef int64_t t
    cdef Py_ssize_t count  # groups
    cdef Py_ssize_t facts
    cdef Fact* fact  # in order, and one place for a supposed one
    cdef int32_t** members  # of each group: the places of its facts
    cdef int32_t* sizes
    cdef int32_t* pool  # that the members lie in
    cdef int64_t** times  # of the groups of which only times were set
    cdef int32_t* marks  # of each contact: when it was last seen, or how often
    cdef Py_ssize_t people
    cdef int32_t stamp
    cdef dict codes  # by contact: its number
    cdef dict roles  # by role: its number

    def __cinit__(self, whole, int64_t t):
        self.t = t
        self.count = len(whole)
        self.codes, self.roles = {}, {}
        self.members = <int32_t**> PyMem_Calloc(self.count + 1, sizeof(int32_t*))
        self.times = <int64_t**> PyMem_Calloc(self.count + 1, sizeof(int64_t*))
        self.sizes = <int32_t*> PyMem_Calloc(self.count + 1, sizeof(int32_t))
        if self.members == NULL or self.times == NULL or self.sizes == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t g
        if self.times != NULL:
            for g in range(self.count):
                PyMem_Free(self.times[g])
        PyMem_Free(self.times)
        PyMem_Free(self.members)
        PyMem_Free(self.sizes)
        PyMem_Free(self.fact)
        PyMem_Free(self.pool)
        PyMem_Free(self.marks)

    def add_events(
        self, events not None, tuple related not None, siblings, str prospect_id, dict matching not None, match, person
    ):
        """Put the events known at t into their groups, in order; once."""
        cdef bint read = type(events) is ReadEvents and not (siblings and related)
        cdef tuple made = () if read else tuple(events)
        cdef Py_ssize_t most = (len(events) if read else len(made)) + len(related), n, i, k
        cdef Entry* entries
        cdef Match to
        cdef list matches = []
        if self.fact != NULL:
            raise ValueError("the events are there already")
        if most > 2_000_000_000:
            raise MemoryError
        entries = <Entry*> PyMem_Malloc((most + 1) * sizeof(Entry))
        self.fact = <Fact*> PyMem_Malloc((most + 1) * sizeof(Fact))
        if entries == NULL or self.fact == NULL:
            PyMem_Free(entries)
            raise MemoryError
        try:
            if read:
                n = self._known_read(<ReadEvents> events, entries)
                _sort(entries, n)
                self._facts_read(<ReadEvents> events, entries, n, prospect_id, matching, match, person, matches)
            else:
                n = self._known(made, None, entries, 0)
                if siblings:
                    n = self._known(related, siblings, entries, n)
                _sort(entries, n)
                for i in range(n):
                    matches.append(
                        self._fact(<object> entries[i].event, &self.fact[i], prospect_id, matching, match, person)
                    )
        finally:
            PyMem_Free(entries)
        for i in range(n):
            to = <Match> matches[i]
            for k in range(to.count):
                if not 0 <= to.indices[k] < self.count or self.times[to.indices[k]] != NULL:
                    raise ValueError("no such group")
                self.sizes[to.indices[k]] += 1
        self.facts = n
        self._lay(matches)

    cdef Py_ssize_t _known_read(self, ReadEvents events, Entry* entries) noexcept:
        """Note those known at t of the events as they were read."""
        cdef Py_ssize_t i, n = 0
        cdef Read* event
        for i in range(events.count):
            event = &events.event[i]
            if event.occurred_at <= self.t and event.recorded_at <= self.t:
                entries[n].occurred_at, entries[n].recorded_at = event.occurred_at, event.recorded_at
                entries[n].event, entries[n].event_id = event, NULL
                n += 1
        return n

    cdef int _facts_read(
        self, ReadEvents events, Entry* entries, Py_ssize_t n, str prospect_id, dict matching, match, person, list matches
    ) except -1:
        """As ``_fact`` for each of them, but those that are alike are looked up once."""
        cdef Py_ssize_t[ALIKE] firsts  # of each kind met: its first event
        cdef Py_ssize_t i, j, kinds = 0
        cdef Read* event
        cdef Read* other
        cdef Fact* fact
        cdef bint own = events.prospect_id == prospect_id
        cdef tuple known
        for i in range(n):
            event, fact = <Read*> entries[i].event, &self.fact[i]
            fact.time, fact.valued, fact.value = event.occurred_at, event.valued, event.value
            for j in range(kinds):
                other = <Read*> entries[firsts[j]].event
                if (
                    other.type == event.type
                    and other.direction == event.direction
                    and other.channel == event.channel
                    and other.contact == event.contact
                ):
                    fact.contact, fact.role = self.fact[firsts[j]].contact, self.fact[firsts[j]].role
                    matches.append(matches[firsts[j]])
                    break
            else:
                known = self._person(events.word(event.contact), person)
                fact.contact, fact.role = known[0], known[1]
                matches.append(
                    _matched(
                        (own, events.word(event.type), events.word(event.direction), known[2],
                         events.word(event.channel), known[3]),
                        matching,
                        match,
                    )
                )
                if kinds < ALIKE:
                    firsts[kinds] = i
                    kinds += 1
        return 0

    cdef Py_ssize_t _known(self, tuple events, siblings, Entry* entries, Py_ssize_t n) except -1:
        """Note the events known at t behind the first n, those of siblings where these are given."""
        cdef object event, retracted
        cdef int64_t occurred_at, recorded_at
        for event in events:
            if not isinstance(event, tuple) or PyTuple_GET_SIZE(event) != FIELDS:
                raise TypeError("not an event")
            occurred_at = <object> PyTuple_GET_ITEM(event, OCCURRED_AT)
            if occurred_at > self.t:
                continue
            recorded_at = <object> PyTuple_GET_ITEM(event, RECORDED_AT)
            if recorded_at > self.t:
                continue
            retracted = <object> PyTuple_GET_ITEM(event, RETRACTED_AT)
            if retracted is not None and not self.t < <int64_t> retracted:
                continue
            if siblings is not None and <object> PyTuple_GET_ITEM(event, PROSPECT_ID) not in siblings:
                continue
            if not isinstance(<object> PyTuple_GET_ITEM(event, EVENT_ID), str):
                raise TypeError("not an event")
            entries[n].occurred_at, entries[n].recorded_at = occurred_at, recorded_at
            entries[n].event = <void*> event
            entries[n].event_id = PyTuple_GET_ITEM(event, EVENT_ID)
            n += 1
        return n

    cdef Match _fact(self, object event, Fact* fact, str prospect_id, dict matching, match, person):
        """What an event tells the reducers, and the groups that it belongs to."""
        cdef object value = <object> PyTuple_GET_ITEM(event, VALUE)
        cdef tuple known = self._person(<object> PyTuple_GET_ITEM(event, CONTACT_ID), person)
        fact.time = <object> PyTuple_GET_ITEM(event, OCCURRED_AT)
        fact.contact, fact.role = known[0], known[1]
        fact.valued = value is not None
        fact.value = 0 if value is None else value
        key = (
            prospect_id == <object> PyTuple_GET_ITEM(event, PROSPECT_ID),
            <object> PyTuple_GET_ITEM(event, TYPE),
            <object> PyTuple_GET_ITEM(event, DIRECTION),
            known[2],
            <object> PyTuple_GET_ITEM(event, CHANNEL),
            known[3],
        )
        return _matched(key, matching, match)

    cdef tuple _person(self, contact, person):
        """Of a contact: its number, its role's number (-1 where there is none), its role and its rank."""
        if contact is None:
            return _NOBODY
        known = self.codes.get(contact)
        if known is None:
            found = person(contact)
            if found is None:
                known = _NOBODY
            else:
                role, rank = found
                known = (self.people, self._role(role), role, rank)
                self.people += 1
            self.codes[contact] = known
        return known

    cdef int32_t _role(self, role) except -2:
        if role is None:
            return -1
        return self.roles.setdefault(role, len(self.roles))

    cdef int _lay(self, list matches) except -1:
        """Give each group the places of its facts, with room for one more."""
        cdef Py_ssize_t g, i, k, total = 0
        cdef Match to
        cdef int32_t* size
        for g in range(self.count):
            total += self.sizes[g] + 1
        self.pool = <int32_t*> PyMem_Malloc(total * sizeof(int32_t))
        self.marks = <int32_t*> PyMem_Calloc(self.people + 1, sizeof(int32_t))
        if self.pool == NULL or self.marks == NULL:
            raise MemoryError
        total = 0
        for g in range(self.count):
            self.members[g] = self.pool + total
            total += self.sizes[g] + 1
            if self.times[g] == NULL:
                self.sizes[g] = 0
        for i in range(len(matches)):
            to = <Match> matches[i]
            for k in range(to.count):
                size = &self.sizes[to.indices[k]]
                self.members[to.indices[k]][size[0]] = i
                size[0] += 1
        return 0

    def add_outcomes(self, outcomes, related, siblings, filters):
        """Put the times of the outcomes known at t into their groups, of which nothing else is read; once."""
        cdef tuple own = tuple(outcomes), others = tuple(related)  # hold what is noted
        cdef Py_ssize_t most = len(own) + len(others), owned, n, i, count
        cdef Ended* known = <Ended*> PyMem_Malloc((most + 1) * sizeof(Ended))
        cdef Py_ssize_t index
        cdef int64_t* times
        if known == NULL:
            raise MemoryError
        try:
            owned = self._ended(own, None, known, 0)
            n = self._ended(others, siblings, known, owned)
            for index, scope, outcome in filters:
                if not 0 <= index < self.count or self.times[index] != NULL or self.sizes[index]:
                    raise ValueError("no such group")
                times = self.times[index] = <int64_t*> PyMem_Malloc((n + 1) * sizeof(int64_t))
                if times == NULL:
                    raise MemoryError
                count = 0
                for i in range(n if scope == "account" else owned):
                    if outcome is None or <object> known[i].outcome == outcome:
                        times[count] = known[i].occurred_at
                        count += 1
                if count > 1:
                    qsort(times, count, sizeof(int64_t), _compare_times)
                self.sizes[index] = count
        finally:
            PyMem_Free(known)

    cdef Py_ssize_t _ended(self, tuple outcomes, siblings, Ended* known, Py_ssize_t n) except -1:
        """Note the outcomes known at t behind the first n, those of siblings where these are given."""
        cdef object outcome
        for outcome in outcomes:
            if not _is_known(outcome, self.t):
                continue
            if siblings is not None and <object> PyTuple_GET_ITEM(outcome, ENDED_PROSPECT) not in siblings:
                continue
            known[n].occurred_at = <object> PyTuple_GET_ITEM(outcome, ENDED_AT)
            known[n].outcome = PyTuple_GET_ITEM(outcome, ENDED_HOW)
            n += 1
        return n

    def reduce(self, Plan plan not None, list row not None):
        """Set the cells of all groups that are not empty, each but those whose window is."""
        cdef Py_ssize_t g
        self._check(plan, row)
        for g in range(self.count):
            if self.sizes[g]:
                self._reduce(g, plan, row)

    def suppose(self, Plan plan not None, Match to not None, event, contact, role, list row not None):
        """Set the cells that one more event at t changes, as if it were the last of its groups."""
        cdef Py_ssize_t k, g
        cdef Fact* fact
        self._check(plan, row)
        if self.fact == NULL:
            raise ValueError("an event is supposed where there are none")
        fact = &self.fact[self.facts]
        value = event.value
        fact.time, fact.valued, fact.value = self.t, value is not None, 0 if value is None else value
        fact.role = self._role(role)
        fact.contact = -1
        if contact is not None:
            known = self.codes.get(contact)
            fact.contact = self.people if known is None or known[0] < 0 else known[0]
        for k in range(to.count):
            if not 0 <= to.indices[k] < self.count or self.times[to.indices[k]] != NULL:
                raise ValueError("no such group")
        for k in range(to.count):
            g = to.indices[k]
            self.members[g][self.sizes[g]] = self.facts
            self.sizes[g] += 1
            try:
                self._reduce(g, plan, row)
            finally:
                self.sizes[g] -= 1

    cdef int _check(self, Plan plan, list row) except -1:
        if plan.groups != self.count or len(row) != len(plan.empty):
            raise ValueError("the plan is one of other features")
        if self.fact != NULL and self.pool == NULL:
            raise ValueError("the events could not be added")
        return 0

    cdef int _reduce(self, Py_ssize_t g, Plan plan, list row) except -1:
        cdef Py_ssize_t n = self.sizes[g], start
        cdef int32_t* own = self.members[g]
        cdef int64_t* times = self.times[g]
        cdef Step* step = plan.steps + plan.first[g]
        cdef Step* end = plan.steps + plan.first[g + 1]
        cdef int64_t first, last
        while step < end:
            start = 0 if step.window == 0 else self._after(g, self.t - step.window)
            if start < n:
                if step.operation == COUNT:
                    row[step.cell] = <double> (n - start)
                elif step.operation == LAST_TIME:
                    last = times[n - 1] if times != NULL else self.fact[own[n - 1]].time
                    row[step.cell] = <double> (self.t - last) / _DAY
                elif step.operation == FIRST_TIME:
                    first = times[start] if times != NULL else self.fact[own[start]].time
                    row[step.cell] = <double> (self.t - first) / _DAY
                elif times != NULL:
                    raise ValueError("of this group only times are known")
                else:
                    row[step.cell] = self._value(step.operation, own, start, n)
            step += 1
        return 0

    cdef Py_ssize_t _after(self, Py_ssize_t g, int64_t time):
        """How many of a group's facts are not after a time."""
        cdef Py_ssize_t low = 0, high = self.sizes[g], middle
        cdef int64_t at
        while low < high:
            middle = (low + high) // 2
            at = self.times[g][middle] if self.times[g] != NULL else self.fact[self.members[g][middle]].time
            if at <= time:
                low = middle + 1
            else:
                high = middle
        return low

    cdef object _value(self, int32_t operation, int32_t* own, Py_ssize_t start, Py_ssize_t n):
        """What the reducers that read more than times give for a window that is not empty."""
        cdef Py_ssize_t i
        cdef Fact* fact
        cdef wide total = 0
        cdef int64_t number = 0, best = 0, roles = 0
        cdef int32_t base
        if operation == SUM or operation == MEAN:
            for i in range(start, n):
                fact = &self.fact[own[i]]
                if fact.valued:
                    total += fact.value
                    number += 1
            if operation == SUM:
                return <double> total / _MICRO
            return <double> total / <double> (number * <int64_t> _MICRO) if number else None
        if operation == MIN or operation == MAX:
            for i in range(start, n):
                fact = &self.fact[own[i]]
                if fact.valued and (not number or (fact.value < best if operation == MIN else fact.value > best)):
                    best, number = fact.value, 1
            return <double> best / _MICRO if number else None
        if operation == LAST:
            for i in range(n - 1, start - 1, -1):
                fact = &self.fact[own[i]]
                if fact.valued:
                    return <double> fact.value / _MICRO
            return None
        if operation == ROLES:
            for i in range(start, n):
                fact = &self.fact[own[i]]
                if fact.role >= 0:
                    if fact.role >= 63:
                        raise ValueError("too many roles")
                    if not roles >> fact.role & 1:
                        roles |= <int64_t> 1 << fact.role
                        number += 1
            return <double> number
        # A contact's mark counts its facts in this window; what lies below the base is of windows before.
        if self.stamp > 2_000_000_000 - (n - start):
            for i in range(self.people + 1):
                self.marks[i] = 0
            self.stamp = 0
        base = self.stamp
        for i in range(start, n):
            fact = &self.fact[own[i]]
            if fact.contact >= 0:
                if self.marks[fact.contact] <= base:
                    self.marks[fact.contact] = base
                    number += 1
                self.marks[fact.contact] += 1
                best = max(best, self.marks[fact.contact] - base)
        self.stamp = base + <int32_t> (n - start)
        if operation == CONTACTS:
            return <double> number
        if not number:
            return None
        number = 0
        for i in range(start, n):
            number += self.fact[own[i]].contact >= 0
        return <double> best / <double> number


cdef class People:
    """What is known at t of contacts: the role and the rank of each, None where it is not known then."""

    cdef object contacts, t
    cdef bint by_role, by_title

    def __cinit__(self, contacts not None, t, hindsight):
        self.contacts, self.t = contacts, t
        self.by_role, self.by_title = "role" not in hindsight, "job_title" not in hindsight

    def __call__(self, contact):
        row = as_of(self.contacts.get(contact, ()), self.t)
        if row is None:
            return None
        role = row.get("role") if self.by_role else None
        title = row.get("job_title") if self.by_title else None
        if title is None:
            return role, None
        read = read_title(title)
        return read.role if role is None else role, read.rank


cpdef object as_of(versions, t):
    """The row as of t: the version with the greatest ``observed_at <= t``, None where none was known."""
    cdef PyObject* only
    if type(versions) is tuple and PyTuple_GET_SIZE(versions) == 1:  # nearly always
        only = PyTuple_GET_ITEM(versions, 0)
        if isinstance(<object> only, tuple) and PyTuple_GET_SIZE(<object> only) == 2:
            return <object> PyTuple_GET_ITEM(<object> only, 1) if <object> PyTuple_GET_ITEM(<object> only, 0) <= t else None
    best = found = None
    for observed_at, values in versions:
        if observed_at <= t and (best is None or observed_at > best):
            best, found = observed_at, values
    return found


def still_open(siblings, related, int64_t t):
    """How many of an account's other prospects exist at t and are, by what is known then, neither won nor lost."""
    cdef set closed = set()
    cdef Py_ssize_t count = 0
    for outcome in related:
        if _is_known(outcome, t) and <object> PyTuple_GET_ITEM(outcome, ENDED_HOW) in _CLOSED:
            closed.add(<object> PyTuple_GET_ITEM(outcome, ENDED_PROSPECT))
    for key, row in siblings.items():
        if row["created_at"] <= t and key not in closed:
            count += 1
    return <double> count


cdef bint _is_known(outcome, int64_t t) except -1:
    if not isinstance(outcome, tuple) or PyTuple_GET_SIZE(outcome) != ENDED_FIELDS:
        raise TypeError("not an outcome")
    if <int64_t> <object> PyTuple_GET_ITEM(outcome, ENDED_AT) > t:
        return False
    return <int64_t> <object> PyTuple_GET_ITEM(outcome, ENDED_RECORDED) <= t


cdef int _compare_times(const void* a, const void* b) noexcept nogil:
    cdef int64_t one = (<const int64_t*> a)[0], other = (<const int64_t*> b)[0]
    return (one > other) - (one < other)


cdef Match _matched(tuple key, dict matching, match):
    """The groups that events of this kind belong to."""
    to = matching.get(key)
    if to is None:
        to = match(key)
    if type(to) is not Match:
        raise TypeError("not a match")
    return <Match> to


cdef int _compare(const void* a, const void* b) noexcept nogil:
    """By (occurred_at, recorded_at, event_id)."""
    cdef const Entry* one = <const Entry*> a
    cdef const Entry* other = <const Entry*> b
    if one.occurred_at != other.occurred_at:
        return -1 if one.occurred_at < other.occurred_at else 1
    if one.recorded_at != other.recorded_at:
        return -1 if one.recorded_at < other.recorded_at else 1
    return PyUnicode_Compare(one.event_id, other.event_id) if one.event_id != NULL else _compare_ids(one, other)


cdef int _compare_ids(const Entry* a, const Entry* b) noexcept nogil:
    """As they were read: of ASCII, whose order is that of its bytes."""
    cdef const Read* one = <const Read*> a.event
    cdef const Read* other = <const Read*> b.event
    cdef int found = memcmp(one.id, other.id, min(one.id_size, other.id_size))
    return found if found != 0 else one.id_size - other.id_size


cdef void _sort(Entry* entries, Py_ssize_t n):
    """Sort; what is in order, or in the opposite one as most callers list their events, at next to no cost."""
    cdef Py_ssize_t i
    cdef bint rising = True, falling = True
    cdef Entry entry
    for i in range(1, n):
        if _compare(&entries[i - 1], &entries[i]) > 0:
            rising = False
        else:
            falling = False
        if not rising and not falling:
            qsort(entries, n, sizeof(Entry), _compare)
            return
    if not rising:
        for i in range(n // 2):
            entry = entries[i]
            entries[i] = entries[n - 1 - i]
            entries[n - 1 - i] = entry
