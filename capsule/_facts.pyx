"""Tasks, targets and calls as the enricher's loop holds them, and the writer of fact batches."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset

from capsule._rows cimport FACT_JOINED, FLAG_JOINED, MAGIC_FACTS, PROCESS_FACT, PROCESS_GONE
from capsule._rows cimport FactHeader, FactRow, Span


cdef class Fs:
    """What CLONE_FS shares: working directory, root and umask; `None` is not known."""

    def __init__(self, cwd=None, root=None, umask=None):
        self.cwd, self.root, self.umask = cwd, root, umask

    def copy(self):
        """Return a copy that changes by itself."""
        return Fs(self.cwd, self.root, self.umask)


cdef class Task:
    """One thread of execution (a pid of the trace) and what it may share with others."""

    def __init__(self, tid, process, fs, files):
        self.tid, self.process, self.fs, self.files = tid, process, fs, files
        self.proc = process.proc


cdef class Target:
    """What a call acts on: its text, what class of object it is, how it was opened."""

    def __init__(self, text, cls=0, access=0, create=False, detail=b""):
        self.text, self.cls, self.access = text, cls, access
        self.create, self.detail = create, detail


cdef class Call:
    """One event, taken apart for the rules."""


cdef class FactWriter:
    """Writes rows, strings and details until `take` makes them one batch."""

    def __cinit__(self):
        self.next_string = self.first_string = 1

    def __dealloc__(self):
        PyMem_Free(self.rows)
        PyMem_Free(self.spans)
        PyMem_Free(self.heap)

    cdef void clear(self):
        self.epoch += 1
        self.strings = {}
        self.fds, self.paths, self.ats, self.opens, self.words = {}, {}, {}, {}, {}
        self.by_cwd, self.errnos = {}, {}
        self.memo_count = self.memo_bytes = 0
        self.forget = self.next_string

    cdef int remember(self, dict memo, bytes key, value) except -1:
        memo[key] = value
        self.memo_count += 1
        self.memo_bytes += PyBytes_GET_SIZE(key)
        return 0

    cdef int _grow_heap(self, size_t more) except -1:
        cdef size_t cap
        cdef char *heap
        if self.heap_len + more > self.heap_cap:
            cap = max(2 * self.heap_cap, self.heap_len + more, <size_t>65536)
            heap = <char *>PyMem_Realloc(self.heap, cap)
            if heap == NULL:
                raise MemoryError
            self.heap, self.heap_cap = heap, cap
        return 0

    cdef uint32_t put(self, bytes data) except? 0xFFFFFFFF:
        cdef size_t length = PyBytes_GET_SIZE(data)
        cdef uint32_t at = <uint32_t>self.heap_len
        if length == 0:
            return at
        self._grow_heap(length)
        memcpy(self.heap + self.heap_len, PyBytes_AS_STRING(data), length)
        self.heap_len += length
        return at

    cdef uint32_t intern(self, bytes text) except? 0xFFFFFFFF:
        cdef PyObject *found = PyDict_GetItem(self.strings, text)
        cdef Span *spans
        if found != NULL:
            return <uint32_t><object>found
        if self.n_spans == self.cap_spans:
            self.cap_spans = max(2 * self.cap_spans, <size_t>1024)
            spans = <Span *>PyMem_Realloc(self.spans, self.cap_spans * sizeof(Span))
            if spans == NULL:
                raise MemoryError
            self.spans = spans
        self.spans[self.n_spans].off = self.put(text)
        self.spans[self.n_spans].len = <uint32_t>PyBytes_GET_SIZE(text)
        self.n_spans += 1
        number = self.next_string
        self.remember(self.strings, text, number)
        self.next_string += 1
        return number

    cdef uint32_t number(self, Target target) except? 0xFFFFFFFF:
        if target is None or target.text is None:
            return 0
        if target.epoch != self.epoch:
            target.number = self.intern(target.text)
            target.epoch = self.epoch
        return target.number

    cdef FactRow *row(self) except NULL:
        cdef FactRow *rows
        if self.n_rows == self.cap_rows:
            self.cap_rows = max(2 * self.cap_rows, <size_t>512)
            rows = <FactRow *>PyMem_Realloc(self.rows, self.cap_rows * sizeof(FactRow))
            if rows == NULL:
                raise MemoryError
            self.rows = rows
        rows = self.rows + self.n_rows
        self.n_rows += 1
        return rows

    def process_fact(self, uint32_t proc, int pid, bytes exe, int64_t uid):
        """Write who `proc` is from here on; `uid` -1 and `exe` None are not known."""
        cdef uint32_t exe_id = 0 if exe is None else self.intern(exe)
        cdef FactRow *row = self.row()
        memset(row, 0, sizeof(FactRow))
        row.kind, row.proc, row.amount, row.ts_ns, row.target = PROCESS_FACT, proc, pid, uid, exe_id

    def process_gone(self, uint32_t proc):
        """Write that `proc` has ended and its number is not used again."""
        cdef FactRow *row = self.row()
        memset(row, 0, sizeof(FactRow))
        row.kind, row.proc = PROCESS_GONE, proc

    def emit(self, Call call, int kind, uint32_t proc, Target target,
             int64_t amount=-1, int access=0, bytes detail=b""):
        """Write the one row of `call`."""
        cdef uint32_t target_id = self.number(target)
        cdef uint32_t errno_id = 0
        if call.error is not None and not call.error.startswith(b"ERESTART"):
            errno_id = self.intern(call.error)
        cdef uint32_t off = self.put(detail)
        cdef FactRow *row = self.row()
        row.line, row.ts_ns, row.amount, row.proc = call.line, call.ts_ns, amount, proc
        row.target, row.errno_id, row.kind, row.access = target_id, errno_id, kind, access
        row.detail_off, row.detail_len = off, <uint32_t>PyBytes_GET_SIZE(detail)
        row.flags = FACT_JOINED if call.flags & FLAG_JOINED else 0
        self.events_out += 1

    def take(self):
        """Return what has been written since the last batch."""
        cdef size_t size
        cdef FactHeader head
        cdef char *out
        if self.n_rows == 0:
            return b""
        size = (sizeof(FactHeader) + self.n_rows * sizeof(FactRow) + self.n_spans * sizeof(Span)
                + self.heap_len)
        result = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(result)
        head.magic, head.rows, head.strings = MAGIC_FACTS, <uint32_t>self.n_rows, <uint32_t>self.n_spans
        head.heap, head.first, head.forget = <uint32_t>self.heap_len, self.first_string, self.forget
        memcpy(out, &head, sizeof(FactHeader))
        out += sizeof(FactHeader)
        memcpy(out, self.rows, self.n_rows * sizeof(FactRow))
        out += self.n_rows * sizeof(FactRow)
        if self.n_spans:
            memcpy(out, self.spans, self.n_spans * sizeof(Span))
        out += self.n_spans * sizeof(Span)
        if self.heap_len:
            memcpy(out, self.heap, self.heap_len)
        self.n_rows = self.n_spans = self.heap_len = 0
        self.first_string = self.next_string
        return result
