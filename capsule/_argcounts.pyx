"""What the arguments were that policies have rules for (capsule/arguments): counted by their text."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr

cdef enum:
    TEXTS_MOST = 512  # of one call that are told apart
    TEXT_MOST = 256  # bytes


cdef class ArgumentCounts:
    """Counts for each of `names` (by its number) that is in `watched`."""

    def __init__(self, names, watched):
        self.names = names
        self.texts = [{} if name in watched else None for name in names]

    cdef int add(self, uint32_t name_id, const char *text, size_t length, uint64_t line) except -1:
        cdef dict texts = <dict>PyList_GET_ITEM(self.texts, name_id)
        cdef const char *comma
        cdef bytes key
        cdef list count
        cdef PyObject *found
        length = min(length, <size_t>TEXT_MOST)
        if length and text[0] == c"{":  # of a structure, the first member
            comma = <const char *>memchr(text, c",", length)
            if comma != NULL:
                length = comma - text
        key = PyBytes_FromStringAndSize(text, length)
        found = PyDict_GetItem(texts, key)
        if found != NULL:
            count = <list>found
        else:
            count = texts.setdefault(key if len(texts) < TEXTS_MOST else b"*", [0, line])
        count[0] += 1
        if line < count[1]:
            count[1] = line
        return 0

    def found(self):
        """Return `[name, text, count, line of the first]` of each value seen."""
        return [[self.names[i], text.decode("utf-8", "backslashreplace"), count, line]
                for i, texts in enumerate(self.texts) if texts
                for text, (count, line) in texts.items()]
