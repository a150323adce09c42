# cython: language_level=3
"""Event batches as JSON lines. Documented in _jsonl.pyi."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from capsule._batch cimport (
    NO_DURATION, NO_PID, NO_TIME, NOTE, RETVAL, SELF_NUMBER, SYSCALL, UNPARSED, Array, Row, Span, Text,
    array_free, array_reserve,
)

cdef extern from *:
    """
    /* 0: as it is. 1: control. 2: a quote. 3: a backslash. 4: not ASCII. */
    static const unsigned char JSON_CLASS[256] = {
        [0 ... 31] = 1, ['"'] = 2, ['\\\\'] = 3, [128 ... 255] = 4,
    };
    static const unsigned char SHORT[32] = {
        [8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r',
    };
    static const char *const KIND_NAMES[] = {
        "syscall", "signal", "exit", "killed", "stopped", "superseded", "note", "unparsed",
    };
    """
    const unsigned char JSON_CLASS[256]
    const unsigned char SHORT[32]
    const char * const KIND_NAMES[8]

cdef enum:
    WIDEST = 6  # bytes that one byte of text may become: \u001b
    FIXED = 320  # keys, punctuation and numbers of one event


cdef inline void put(Array * out, const char * text, size_t length) noexcept nogil:
    """Append to memory that is reserved already."""
    memcpy(out.at + out.used, text, length)
    out.used += length


cdef inline void put_number(Array * out, int64_t value) noexcept nogil:
    cdef char[20] digits
    cdef int at = 20
    cdef uint64_t rest = <uint64_t> value
    if value < 0:
        rest = 0 - rest
        put(out, b"-", 1)
    while True:
        at -= 1
        digits[at] = <char> (48 + rest % 10)
        rest //= 10
        if rest == 0:
            break
    put(out, &digits[at], 20 - at)


cdef inline int utf8_length(Text p, Text end) noexcept nogil:
    """Bytes of the UTF-8 character at `p`, whose first byte is not ASCII; 0 if invalid (RFC 3629)."""
    cdef unsigned char a = p[0]
    cdef int length
    cdef int i
    if 0xC2 <= a <= 0xDF:
        length = 2
    elif 0xE0 <= a <= 0xEF:
        length = 3
    elif 0xF0 <= a <= 0xF4:
        length = 4
    else:
        return 0
    if end - p < length:
        return 0
    for i in range(1, length):
        if p[i] & 0xC0 != 0x80:
            return 0
    if (
        (a == 0xE0 and p[1] < 0xA0)  # overlong
        or (a == 0xED and p[1] > 0x9F)  # a surrogate
        or (a == 0xF0 and p[1] < 0x90)  # overlong
        or (a == 0xF4 and p[1] > 0x8F)  # beyond U+10FFFF
    ):
        return 0
    return length


cdef inline void put_text(Array * out, Text p, Text end) noexcept nogil:
    """Append a JSON string of a text as capsule.text.escape has it."""
    cdef Text start
    cdef unsigned char c
    cdef int length
    cdef const char * hexes = b"0123456789abcdef"
    cdef char[6] code
    put(out, b'"', 1)
    while p < end:
        start = p
        while p < end and JSON_CLASS[p[0]] == 0:
            p += 1
        put(out, <const char *> start, p - start)
        if p == end:
            break
        c = p[0]
        if JSON_CLASS[c] == 2:
            put(out, b'\\"', 2)
        elif JSON_CLASS[c] == 3:
            put(out, b"\\\\\\\\", 4)
        elif JSON_CLASS[c] == 4:
            length = utf8_length(p, end)
            if length:
                put(out, <const char *> p, length)
                p += length
                continue
            memcpy(code, b"\\\\x", 3)
            code[3] = hexes[c >> 4]
            code[4] = hexes[c & 15]
            put(out, code, 5)
        elif SHORT[c]:
            code[0] = 92
            code[1] = <char> SHORT[c]
            put(out, code, 2)
        else:
            memcpy(code, b"\\u00", 4)
            code[4] = hexes[c >> 4]
            code[5] = hexes[c & 15]
            put(out, code, 6)
        p += 1
    put(out, b'"', 1)


cdef inline bint put_event(
    Array * out, const Row * row, Text spans, uint32_t n_spans, Text heap, uint64_t heap_len
) noexcept nogil:
    """Append one event as a line; False if it points outside its batch."""
    cdef Span span
    cdef uint32_t i
    cdef uint64_t room = <uint64_t> row.ts_len + row.name_len + row.errno_len + row.ret_len
    if (
        <uint64_t> row.ts_off + row.ts_len > heap_len
        or <uint64_t> row.name_off + row.name_len > heap_len
        or <uint64_t> row.errno_off + row.errno_len > heap_len
        or <uint64_t> row.ret_off + row.ret_len > heap_len
        or <uint64_t> row.text_off + row.text_len > heap_len
        or <uint64_t> row.span_first + row.span_count > n_spans
        or row.kind > UNPARSED
    ):
        return False
    if not array_reserve(out, FIXED + WIDEST * room):
        return True
    put(out, b'{"line":', 8)
    put_number(out, <int64_t> row.line)
    if row.pid != NO_PID:
        put(out, b',"pid":', 7)
        put_number(out, row.pid)
    if row.ts_len:
        put(out, b',"ts":', 6)
        put_text(out, heap + row.ts_off, heap + row.ts_off + row.ts_len)
    if row.ts_ns != NO_TIME:
        put(out, b',"ts_ns":', 9)
        put_number(out, row.ts_ns)
    put(out, b',"kind":"', 9)
    for i in range(10):
        if KIND_NAMES[row.kind][i] == 0:
            break
        put(out, &KIND_NAMES[row.kind][i], 1)
    put(out, b'"', 1)
    if row.name_len:
        put(out, b',"name":', 8)
        put_text(out, heap + row.name_off, heap + row.name_off + row.name_len)
    if row.kind == SYSCALL or row.span_count:
        put(out, b',"args":[', 9)
        for i in range(row.span_count):
            memcpy(&span, spans + (row.span_first + i) * sizeof(Span), sizeof(Span))
            if <uint64_t> span.off + span.len > heap_len:
                return False
            if not array_reserve(out, FIXED + WIDEST * (room + span.len)):
                return True
            if i:
                put(out, b",", 1)
            put_text(out, heap + span.off, heap + span.off + span.len)
        put(out, b"]", 1)
    if row.ret_len:
        put(out, b',"ret":', 7)
        if row.flags & SELF_NUMBER:
            put(out, b'"?"', 3)
        else:
            put_text(out, heap + row.ret_off, heap + row.ret_off + row.ret_len)
    if row.flags & RETVAL:
        put(out, b',"retval":', 10)
        put_number(out, row.retval)
    if row.errno_len:
        put(out, b',"errno":', 9)
        put_text(out, heap + row.errno_off, heap + row.errno_off + row.errno_len)
    if row.dur_ns != NO_DURATION:
        put(out, b',"dur_ns":', 10)
        put_number(out, row.dur_ns)
    if row.kind == NOTE or row.kind == UNPARSED:
        if not array_reserve(out, FIXED + WIDEST * <uint64_t> row.text_len):
            return True
        put(out, b',"raw":', 7)
        put_text(out, heap + row.text_off, heap + row.text_off + row.text_len)
    put(out, b"}\n", 2)
    return True


def jsonl(batch):
    cdef Py_buffer view
    cdef Array out
    cdef uint32_t[3] sizes
    cdef Row row
    cdef Text at
    cdef Text spans
    cdef Text heap
    cdef uint64_t expected
    cdef uint32_t i
    cdef bint sound = True
    memset(&out, 0, sizeof(out))
    PyObject_GetBuffer(batch, &view, PyBUF_SIMPLE)
    try:
        if view.len == 0:
            return b""
        at = <Text> view.buf
        if view.len < 16 or memcmp(at, b"CEB1", 4) != 0:
            raise ValueError("not an event batch")
        memcpy(sizes, at + 4, 12)
        at += 16
        expected = 16 + <uint64_t> sizes[0] * sizeof(Row) + <uint64_t> sizes[1] * sizeof(Span) + sizes[2]
        if <uint64_t> view.len != expected:
            raise ValueError("not an event batch")
        spans = at + <uint64_t> sizes[0] * sizeof(Row)
        heap = spans + <uint64_t> sizes[1] * sizeof(Span)
        with nogil:
            array_reserve(&out, sizes[2] * 2)
            for i in range(sizes[0]):
                memcpy(&row, at + i * sizeof(Row), sizeof(Row))
                sound = put_event(&out, &row, spans, sizes[1], heap, sizes[2])
                if not sound or out.failed:
                    break
        if out.failed:
            raise MemoryError
        if not sound:
            raise ValueError("an event points outside its batch")
        return PyBytes_FromStringAndSize(<char *> out.at, out.used)
    finally:
        array_free(&out)
        PyBuffer_Release(&view)
