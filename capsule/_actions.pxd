"""An Action that grows, and its writer, for the loop that extends it."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef class Text:
    cdef bytes raw
    cdef bytes json


cdef class Proc:
    cdef uint32_t number
    cdef int64_t uid
    cdef int64_t pid
    cdef bytes json
    cdef dict pending


cdef class Pending:
    cdef uint64_t key
    cdef Proc proc
    cdef int kind
    cdef int access
    cdef bint done
    cdef Text target
    cdef uint64_t count
    cdef int64_t amount
    cdef int64_t first_ns
    cdef int64_t last_ns
    cdef uint64_t first_line
    cdef uint64_t last_line
    cdef int64_t opened_ns
    cdef uint64_t opened_row
    cdef bytes detail
    cdef Text error
    cdef uint64_t error_count
    cdef dict errors
    cdef Pending next


cdef class ActionWriter:
    cdef object rules
    cdef list kind_json
    cdef uint8_t *kind_flags
    cdef int kinds
    cdef dict detail_memo
    cdef dict tag_memo
    cdef public uint64_t actions_out
    cdef public uint64_t counted
    cdef public dict errors
    cdef char *out
    cdef size_t out_len, out_cap

    cdef bytes take(self)
    cdef bytes json(self, Text text)
    cdef int write(self, Pending entry) except -1
    cdef int _room(self, size_t more) except -1
    cdef int _put(self, bytes data) except -1
    cdef int _lit(self, const char *text, size_t length) except -1
    cdef int _number(self, int64_t value) except -1
    cdef bytes _detail(self, bytes detail)
    cdef int _tags(self, Pending entry, dict errors) except -1

cdef enum:
    K_IMMEDIATE = 1
    K_TAGGED = 2
    K_SUMMED = 4
    K_END = 8  # takes the pending exit call with it
