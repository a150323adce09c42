# cython: language_level=3
"""strace text in, event batches out. Documented in _parse.pyi; the grammar is in docs/parser.md.

Here bytes become lines, and rows a batch. The rest has one room each: _lines (what a line is),
_prefix, _scan (arguments), _value (what a call returned), _calls (calls as events), _halves
(calls of more than one line), _tracees (what waits), _names, _notes, _batch. Nothing below
`feed` touches a Python object.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memchr, memcpy

from capsule._batch cimport (
    UNPARSED, Array, Head, Row, Span, Text, array_append, array_empty, array_free,
    array_reserve, emit_raw,
)
from capsule._calls cimport Call, State, give_up, read_name, release, seen
from capsule._halves cimport drop_torn
from capsule._lines cimport take_line
from capsule._names cimport NAME_ROOM, Known, add_name, fill_names
from capsule._prefix cimport read_prefix
from capsule._tracees cimport Node, free_tracees

cdef extern from "<string.h>" nogil:
    void * memrchr(const void * s, int c, size_t n)

cdef enum:
    MAX_FEED = 1 << 30
    MAX_LINE = 1 << 28
    PEEK_LIMIT = 512


cdef int by_line(const void * a, const void * b) noexcept nogil:
    cdef uint64_t left = (<Node **> a)[0].line
    cdef uint64_t right = (<Node **> b)[0].line
    return (left > right) - (left < right)


@cython.final
cdef class Parser:
    cdef State s
    cdef Array carry  # the line that has no end yet
    cdef bint in_cut  # inside a line longer than max_line
    cdef bint peeked  # how the carried line begins was seen already
    cdef uint64_t bytes_in
    cdef uint64_t cut

    def __cinit__(self, names=(), *, max_line=MAX_LINE):
        cdef bytes raw
        cdef Known * known
        cdef int i
        if not 1 <= max_line <= MAX_LINE:
            raise ValueError(f"max_line must be from 1 to {MAX_LINE} bytes")
        table = [each.encode() if isinstance(each, str) else bytes(each) for each in names]
        if len(table) > 65535:
            raise ValueError("at most 65535 names have an id")
        self.s.max_line = max_line
        if not fill_names(&self.s.names, len(table)):
            raise MemoryError
        for i, raw in enumerate(table):
            if 0 < len(raw) < NAME_ROOM:
                known = add_name(&self.s.names, <Text> PyBytes_AS_STRING(raw), len(raw))
                if known.id == 0:
                    known.id = <uint16_t> (i + 1)

    def __dealloc__(self):
        free(self.s.names.slots)
        free_tracees(&self.s.tracees)
        array_free(&self.s.torn.text)
        array_free(&self.s.joined)
        array_free(&self.s.plain)
        array_free(&self.s.out.rows)
        array_free(&self.s.out.spans)
        array_free(&self.s.out.extra)
        array_free(&self.carry)

    cdef void peek(self) noexcept nogil:
        """Decide a held call as soon as its tracee's next call begins, not when that line ends.

        The line is there in part while the tracee waits in that call. To any chunking the same
        bytes matter, the first PEEK_LIMIT of the line.
        """
        cdef size_t length = min(self.carry.used, <size_t> PEEK_LIMIT)
        cdef unsigned char after
        cdef Head head
        cdef Call call
        cdef Text rest
        if self.peeked or not self.s.tracees.held or not array_reserve(&self.carry, 1):
            return
        after = self.carry.at[length]
        self.carry.at[length] = 10
        rest = read_prefix(self.carry.at, self.carry.at + length, &head)
        if read_name(rest, &call):
            self.peeked = True
            seen(&self.s, head.pid, 0)
        elif length == PEEK_LIMIT:
            self.peeked = True
        self.carry.at[length] = after

    cdef void take_piece(self) noexcept nogil:
        """What `carry` holds is a piece of a line longer than `max_line`."""
        if self.in_cut:
            self.cut += 1
        else:
            self.peek()
        self.in_cut = True
        emit_raw(
            &self.s.out, UNPARSED, self.s.lines_in + 1, self.carry.at, self.carry.at + self.carry.used
        )
        self.carry.used = 0

    cdef void add_carry(self, Text p, Text end) noexcept nogil:
        cdef size_t room
        while self.carry.used + <size_t> (end - p) > self.s.max_line:
            room = self.s.max_line - self.carry.used
            array_append(&self.carry, p, room)
            if self.carry.failed:
                return
            p += room
            self.take_piece()
        array_append(&self.carry, p, end - p)

    cdef void take_carried(self, Text p, Text end) noexcept nogil:
        """These bytes end the line that began in earlier chunks, or that is longer than `max_line`."""
        self.add_carry(p, end)
        if not array_reserve(&self.carry, 1):
            return
        if self.in_cut:
            if self.carry.used:
                self.take_piece()
            self.in_cut = False
            self.s.lines_in += 1
        else:
            self.carry.at[self.carry.used] = 10
            take_line(&self.s, self.carry.at, self.carry.at + self.carry.used)
        array_empty(&self.carry)
        self.peeked = False

    cdef void take_chunk(self, Text p, size_t length) noexcept nogil:
        cdef Text end = p + length
        cdef Text newline = <Text> memrchr(p, 10, length) if length else NULL
        cdef Text whole = p if newline == NULL else newline + 1
        self.bytes_in += length
        self.s.out.data = p
        self.s.out.data_len = whole - p
        self.s.colours = length and memchr(p, 27, length) != NULL
        if self.carry.used and memchr(self.carry.at, 27, self.carry.used) != NULL:
            self.s.colours = True
        if p < whole and (self.carry.used or self.in_cut):
            newline = <Text> memchr(p, 10, end - p)
            self.take_carried(p, newline)
            p = newline + 1
        while p < whole:
            newline = <Text> memchr(p, 10, end - p)
            if <size_t> (newline - p) > self.s.max_line:
                self.take_carried(p, newline)
            else:
                take_line(&self.s, p, newline)
            p = newline + 1
        if p < end:
            self.add_carry(p, end)
            if not self.in_cut:
                self.peek()

    cdef bint failed(self) noexcept nogil:
        return (
            self.s.out.rows.failed or self.s.out.spans.failed or self.s.out.extra.failed
            or self.s.tracees.failed or self.s.joined.failed or self.s.plain.failed or self.carry.failed
        )

    cdef bytes batch(self):
        """The rows so far as a batch; the parser keeps none of them."""
        try:
            return self.copy_batch()
        finally:
            array_empty(&self.s.out.rows)
            array_empty(&self.s.out.spans)
            array_empty(&self.s.out.extra)
            array_empty(&self.s.plain)
            array_empty(&self.s.joined)
            self.s.out.data_len = 0

    cdef bytes copy_batch(self):
        cdef Array rows = self.s.out.rows
        cdef Array spans = self.s.out.spans
        cdef Array extra = self.s.out.extra
        cdef size_t data_len = self.s.out.data_len
        cdef bytes blob
        cdef char * at
        cdef uint32_t[3] sizes
        if self.failed():
            raise MemoryError("no memory for the open calls and the events of one chunk")
        if data_len + extra.used > 0xffffffff:
            raise OverflowError("the events of one chunk hold more than 4 GiB of text")
        if rows.used == 0:
            return b""
        sizes[0] = <uint32_t> (rows.used // sizeof(Row))
        sizes[1] = <uint32_t> (spans.used // sizeof(Span))
        sizes[2] = <uint32_t> (data_len + extra.used)
        blob = PyBytes_FromStringAndSize(NULL, 16 + rows.used + spans.used + data_len + extra.used)
        at = PyBytes_AS_STRING(blob)
        memcpy(at, b"CEB1", 4)
        memcpy(at + 4, sizes, 12)
        at += 16
        memcpy(at, rows.at, rows.used)
        at += rows.used
        if spans.used:
            memcpy(at, spans.at, spans.used)
        at += spans.used
        if data_len:
            memcpy(at, self.s.out.data, data_len)
        at += data_len
        if extra.used:
            memcpy(at, extra.at, extra.used)
        return blob

    def feed(self, data):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if view.len > MAX_FEED:
                raise ValueError("feed at most 1 GiB at a time")
            self.take_chunk(<Text> view.buf, view.len)
            return self.batch()
        finally:
            self.s.out.data = NULL
            PyBuffer_Release(&view)

    def finish(self):
        cdef Node ** waiting
        cdef Node * node
        cdef size_t n
        cdef size_t i
        if self.carry.used or self.in_cut:
            self.s.colours = True
            self.take_carried(NULL, NULL)
        drop_torn(&self.s)
        n = self.s.tracees.count
        if n:
            waiting = <Node **> malloc(n * sizeof(Node *))
            if waiting == NULL:
                raise MemoryError
            node = self.s.tracees.oldest
            for i in range(n):
                waiting[i] = node
                node = node.newer
            qsort(waiting, n, sizeof(Node *), &by_line)
            for i in range(n):
                if waiting[i].held:
                    release(&self.s, waiting[i], 0)
                else:
                    give_up(&self.s, waiting[i])
            free(waiting)
        return self.batch()

    def counters(self):
        return {
            "bytes_in": self.bytes_in,
            "lines_in": self.s.lines_in,
            "cut": self.cut,
            "events": self.s.out.events,
            "joined": self.s.joined_lines,
            "open": self.s.tracees.count + self.s.torn_open,
            "unparsed": self.s.out.unparsed,
            "notes": self.s.out.notes,
            "orphans": self.s.out.orphans,
        }
