"""What other compiled modules may use of ``features/_events.pyx``."""

from libc.stdint cimport int8_t, int32_t, int64_t

cdef struct Read:  # an event as it was read; a text is a number, -1 for none
    int64_t occurred_at
    int64_t recorded_at
    int64_t value
    const unsigned char* id
    int32_t id_size
    int32_t type
    int32_t contact
    int32_t direction
    int32_t channel
    int8_t valued

cdef struct Text:
    const unsigned char* at
    Py_ssize_t size

cdef class ReadEvents:
    cdef readonly str prospect_id
    cdef bytes body  # that all texts lie in
    cdef Py_ssize_t begin, behind  # of their list in it
    cdef Py_ssize_t count, room
    cdef Read* event
    cdef Py_ssize_t known, places
    cdef Text* known_at
    cdef list words
    cdef int32_t named
    cdef tuple all

    cdef Read* add(self) except NULL
    cdef int32_t number(self, const unsigned char* at, Py_ssize_t size) except -2
    cdef str word(self, int32_t number)
    cdef bint distinct(self) except -1
    cdef tuple made(self)
