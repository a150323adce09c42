from libc.stdint cimport uint32_t, uint64_t


cdef class ArgumentCounts:
    cdef list texts  # by name_id: None, or the text of an argument → [count, line of the first]
    cdef list names

    cdef int add(self, uint32_t name_id, const char *text, size_t length, uint64_t line) except -1
