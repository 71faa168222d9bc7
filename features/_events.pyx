# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The events of one request, as they were read from its text: numbers and places in that text.

Who asks for an event gets it as ``features.records.Event``; what a score needs of them is read without making one.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy, memset

from features.records import Event

cdef extern from "Python.h":
    unsigned char* PyUnicode_1BYTE_DATA(object text)
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 most)

if Event._fields != (
    "event_id", "prospect_id", "type", "occurred_at", "recorded_at", "contact_id", "direction", "channel", "value",
    "retracted_at",
):
    raise ImportError("features._events was built for other events")

cdef enum:
    SEARCHED = 32  # texts that a new one is compared with
    TRIED = 32  # places of an id, each taken by another


cdef str _made_text(const unsigned char* at, Py_ssize_t size):
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_1BYTE_DATA(text), at, size)
    return text


cdef class ReadEvents:
    """A sequence of events, none of them retracted, all of one prospect; ``serving._rows`` fills it.

    ``prospect_id`` is that prospect's once it is known; till then the events name it, or nobody.
    """

    def __cinit__(self, bytes body not None):
        self.body = body
        self.words = []
        self.named = -1

    def __dealloc__(self):
        PyMem_Free(self.event)
        PyMem_Free(self.known_at)

    cdef Read* add(self) except NULL:
        """Room for one more event, of which nothing is known."""
        cdef Py_ssize_t room
        cdef Read* event
        if self.count == self.room:
            room = 2 * self.room + 32
            event = <Read*> PyMem_Realloc(self.event, room * sizeof(Read))
            if event == NULL:
                raise MemoryError
            self.event, self.room = event, room
        event = &self.event[self.count]
        self.count += 1
        event.id = NULL
        event.type = event.contact = event.direction = event.channel = -1
        event.value = event.valued = 0
        return event

    cdef int32_t number(self, const unsigned char* at, Py_ssize_t size) except -2:
        """What a text of the body is told apart by: the same one has the same number, but beyond the first few."""
        cdef Py_ssize_t i, places
        cdef Text* texts = self.known_at
        for i in range(self.known if self.known < SEARCHED else SEARCHED):
            if texts[i].size == size and memcmp(texts[i].at, at, size) == 0:
                return i
        if self.known == self.places:
            places = 2 * self.places + SEARCHED
            texts = <Text*> PyMem_Realloc(texts, places * sizeof(Text))
            if texts == NULL:
                raise MemoryError
            self.known_at, self.places = texts, places
        texts[self.known].at, texts[self.known].size = at, size
        self.words.append(None)
        self.known += 1
        return self.known - 1

    cdef str word(self, int32_t number):
        """The text of a number."""
        if number < 0:
            return None
        text = self.words[number]
        if text is None:
            text = self.words[number] = _made_text(self.known_at[number].at, self.known_at[number].size)
        return <str> text

    cdef bint distinct(self) except -1:
        """Whether each event has an id of its own; also False where that would take long to find out."""
        cdef Py_ssize_t size = 64, mask, i, j, place, tried
        cdef uint64_t hashed
        cdef int32_t[64] few
        cdef int32_t* places = few
        cdef Read* event
        cdef Read* other
        cdef bint found = True
        while size < 2 * self.count:
            size *= 2
        if size > 64:
            places = <int32_t*> PyMem_Malloc(size * sizeof(int32_t))
            if places == NULL:
                raise MemoryError
        memset(places, 0xFF, size * sizeof(int32_t))  # -1: free
        mask = size - 1
        for i in range(self.count):
            event = &self.event[i]
            hashed = 14_695_981_039_346_656_037u
            for j in range(event.id_size):
                hashed = (hashed ^ event.id[j]) * 1_099_511_628_211u
            place = <Py_ssize_t> ((hashed ^ hashed >> 32) & <uint64_t> mask)
            tried = 0
            while places[place] >= 0:
                other = &self.event[places[place]]
                tried += 1
                if tried > TRIED or other.id_size == event.id_size and memcmp(other.id, event.id, event.id_size) == 0:
                    found = False
                    break
                place = (place + 1) & mask
            if not found:
                break
            places[place] = i
        if places != few:
            PyMem_Free(places)
        return found

    def owned(self, str prospect_id not None):
        """Whether the events are of this prospect, or name none: then they are."""
        if self.named >= 0 and self.word(self.named) != prospect_id:
            return False
        self.prospect_id = prospect_id
        self.all = None
        return True

    @property
    def text(self):
        """The list as it stands in the request."""
        return self.body[self.begin : self.behind]

    cdef tuple made(self):
        cdef Read* event
        cdef Py_ssize_t i
        cdef list out
        if self.all is None:
            out = []
            for i in range(self.count):
                event = &self.event[i]
                out.append(
                    Event(
                        _made_text(event.id, event.id_size),
                        self.prospect_id,
                        self.word(event.type),
                        event.occurred_at,
                        event.recorded_at,
                        self.word(event.contact),
                        self.word(event.direction),
                        self.word(event.channel),
                        event.value if event.valued else None,
                    )
                )
            self.all = tuple(out)
        return self.all

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(self.made())

    def __getitem__(self, at):
        return self.made()[at]

    def __eq__(self, other):
        if isinstance(other, ReadEvents):
            other = (<ReadEvents> other).made()
        return self.made() == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self):
        return hash(self.made())

    def __repr__(self):
        return repr(self.made())

    def __reduce__(self):
        return tuple, (self.made(),)

    def later(self, int64_t t):
        """How many of the events are stamped after t."""
        cdef Py_ssize_t i, count = 0
        for i in range(self.count):
            count += self.event[i].occurred_at > t or self.event[i].recorded_at > t
        return count

    def last_heard(self, int64_t t):
        """Of each contact, how many of its events are known at t, and when the last of these occurred."""
        cdef Py_ssize_t i
        cdef Read* event
        cdef int32_t* counts
        cdef int64_t* last
        cdef dict out = {}
        counts = <int32_t*> PyMem_Calloc(self.known + 1, sizeof(int32_t))
        last = <int64_t*> PyMem_Malloc((self.known + 1) * sizeof(int64_t))
        try:
            if counts == NULL or last == NULL:
                raise MemoryError
            for i in range(self.count):
                event = &self.event[i]
                if event.contact >= 0 and event.occurred_at <= t and event.recorded_at <= t:
                    if counts[event.contact] == 0 or event.occurred_at > last[event.contact]:
                        last[event.contact] = event.occurred_at
                    counts[event.contact] += 1
            for i in range(self.known):
                if counts[i]:
                    word = self.word(i)
                    count, at = out.get(word, (0, last[i]))
                    out[word] = (count + counts[i], max(<int64_t> at, last[i]))
        finally:
            PyMem_Free(counts)
            PyMem_Free(last)
        return out
