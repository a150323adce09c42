"""Growing C arrays, and the rows of an event batch (layout: capsule/events.py)."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from capsule._rows cimport EventRow as Row
from capsule._rows cimport Span

cdef extern from *:
    """
    enum { SYSCALL, SIGNAL, EXIT, KILLED, STOPPED, SUPERSEDED, NOTE, UNPARSED };
    enum { RETVAL = 1, JOINED = 2, CORE = 4, INJECTED = 8, ORPHAN = 16, SELF_NUMBER = 32,
           TORN = 64 };
    #define NO_TIME INT64_MIN
    enum { NO_DURATION = -1, NO_PID = -1 };
    """
    int SYSCALL, SIGNAL, EXIT, KILLED, STOPPED, SUPERSEDED, NOTE, UNPARSED
    int RETVAL, JOINED, CORE, INJECTED, ORPHAN, SELF_NUMBER, TORN
    int64_t NO_TIME
    int NO_DURATION, NO_PID

ctypedef const unsigned char * Text

cdef enum:
    KEPT_ROOM = 4 << 20


cdef struct Array:
    # Bytes that grow by doubling; `failed` stays set once memory ran out, and writes then do nothing.
    unsigned char * at
    size_t used
    size_t room
    bint failed


cdef inline bint array_reserve(Array * a, size_t more) noexcept nogil:
    """Make room for `more` bytes; False (and `failed`) when there is no memory."""
    cdef size_t room
    cdef void * at
    if a.used + more <= a.room:
        return True
    if a.failed:
        return False
    room = a.room * 2 if a.room else 128
    while room < a.used + more:
        room *= 2
    at = realloc(a.at, room)
    if at == NULL:
        a.failed = True
        return False
    a.at = <unsigned char *> at
    a.room = room
    return True


cdef inline void array_append(Array * a, const void * src, size_t length) noexcept nogil:
    if length and array_reserve(a, length):
        memcpy(a.at + a.used, src, length)
        a.used += length


cdef inline void array_free(Array * a) noexcept nogil:
    free(a.at)
    a.at = NULL
    a.used = a.room = 0


cdef inline void array_empty(Array * a) noexcept nogil:
    """Forget the bytes, and the memory too if one large chunk or line took it."""
    a.used = 0
    if a.room > KEPT_ROOM:
        array_free(a)


cdef struct Head:
    # What an event says of itself before its text: the prefix of the line that opened it.
    int32_t pid
    int ts_len
    int64_t ts_ns
    Text ts


cdef struct Batch:
    # The heap is the chunk's whole lines (`data`), then the texts that are not in them (`extra`).
    Array rows
    Row nowhere  # what is written when there is no memory for a row
    Array spans
    Array extra
    Text data
    size_t data_len
    uint64_t events
    uint64_t unparsed
    uint64_t notes
    uint64_t orphans


cdef inline uint32_t where(Batch * out, Text p) noexcept nogil:
    """The heap offset that place() will give to a text at `p`."""
    if out.data <= p < out.data + out.data_len:
        return <uint32_t> (p - out.data)
    return <uint32_t> (out.data_len + out.extra.used)


cdef inline uint32_t place(Batch * out, Text p, size_t length) noexcept nogil:
    """See that a text is in the heap; its offset there."""
    cdef uint32_t off = where(out, p)
    if not out.data <= p < out.data + out.data_len:
        array_append(&out.extra, p, length)
    return off


cdef inline Row * open_row(Batch * out, int kind, uint64_t line, Head * head) noexcept nogil:
    """A row after the last, which only push_row makes one of the batch."""
    cdef Row * row = &out.nowhere
    if array_reserve(&out.rows, sizeof(Row)):
        row = <Row *> (out.rows.at + out.rows.used)
    memset(row, 0, sizeof(Row))
    row.kind = <uint8_t> kind
    row.line = line
    row.pid = head.pid
    row.ts_ns = head.ts_ns
    row.dur_ns = NO_DURATION
    row.span_first = <uint32_t> (out.spans.used // sizeof(Span))
    return row


cdef inline void push_row(Batch * out, Row * row, Text text, Text end, Head * head) noexcept nogil:
    """Add the row whose texts lie in `text`; its spans are there already."""
    row.text_off = place(out, text, end - text)
    row.text_len = <uint32_t> (end - text)
    if head.ts_len:
        row.ts_off = place(out, head.ts, head.ts_len)
        row.ts_len = <uint16_t> head.ts_len
    row.span_count = <uint32_t> (out.spans.used // sizeof(Span)) - row.span_first
    if row.flags & ORPHAN:
        out.orphans += 1
    out.events += 1
    if not out.rows.failed:
        out.rows.used += sizeof(Row)


cdef inline void emit_raw(Batch * out, int kind, uint64_t line, Text text, Text end) noexcept nogil:
    """A note or a line that is not understood."""
    cdef Row * row
    cdef Head head
    head.pid = NO_PID
    head.ts_ns = NO_TIME
    head.ts_len = 0
    if kind == NOTE:
        out.notes += 1
    else:
        out.unparsed += 1
    row = open_row(out, kind, line, &head)
    push_row(out, row, text, end, &head)
