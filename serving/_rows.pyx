# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The straight lines of ``serving.values``, ``serving.rows`` and ``serving.schema``, compiled: see there what is read.

What they do not take, the careful readers do, and tell what is wrong with it: nothing is refused here. The other parts
of this module, which is compiled as one, are those that it includes; here stand the columns of a model and the rows that
are read by them.
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


include "_values.pxi"  # times, plain texts
include "_facts.pxi"  # events and outcomes, from objects
include "_texts.pxi"  # events, from the text of a request
include "_requests.pxi"  # a request as its text
include "_known.pxi"  # what a score asks of facts


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
