"""What the enricher's loop knows of tasks and targets, and the writer of fact batches."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from capsule._rows cimport FactRow, Span


cdef class Fs:
    cdef public bytes cwd
    cdef public bytes root
    cdef public object umask
    cdef dict memo
    cdef bytes memo_cwd
    cdef uint32_t memo_epoch


cdef class Task:
    cdef public int tid
    cdef public uint32_t proc
    cdef public object process
    cdef public Fs fs
    cdef public object files


cdef class Target:
    cdef public bytes text  # None: nothing
    cdef public int cls  # 0 file, 1 pipe or the like, 2 socket
    cdef public int access  # 1 read, 2 write, 3 both
    cdef public bint create
    cdef public bytes detail
    cdef uint32_t number
    cdef uint32_t epoch


cdef class Call:
    cdef public uint64_t line
    cdef public int64_t ts_ns
    cdef public int pid
    cdef public int kind
    cdef public int flags
    cdef public int name_id
    cdef public object retval  # int; None when the value is no integer or no result
    cdef public bytes name
    cdef public bytes error
    cdef public bytes ret
    cdef public bytes text
    cdef public list args


cdef class FactWriter:
    cdef public uint64_t events_out
    cdef uint32_t epoch
    cdef size_t memo_count, memo_bytes
    cdef dict strings
    cdef dict fds, paths, ats, opens, words, by_cwd, errnos
    cdef FactRow *rows
    cdef size_t n_rows, cap_rows
    cdef Span *spans
    cdef size_t n_spans, cap_spans
    cdef char *heap
    cdef size_t heap_len, heap_cap
    cdef uint32_t next_string, first_string, forget

    cdef void clear(self)
    cdef int _grow_heap(self, size_t more) except -1
    cdef int remember(self, dict memo, bytes key, value) except -1
    cdef uint32_t put(self, bytes data) except? 0xFFFFFFFF
    cdef uint32_t intern(self, bytes text) except? 0xFFFFFFFF
    cdef uint32_t number(self, Target target) except? 0xFFFFFFFF
    cdef FactRow *row(self) except NULL
