# cython: language_level=3
"""The chain's two hot loops: wrapping bodies into records, and checking records.

Both look at each byte once. The grammar they hold is that of docs/log-format.md: RFC 8259
JSON without blanks, in UTF-8, no member named twice, no lone surrogate (RFC 7493).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from capsule._json cimport (
    F_CADENCE,
    F_CONTROL,
    F_COUNT,
    F_DEPTH,
    F_DUPLICATE,
    F_HASH,
    F_KIND,
    F_LONG,
    F_MEMBERS,
    F_PREV,
    F_SEQ,
    F_SHAPE,
    F_START,
    F_SUFFIX,
    F_SURROGATE,
    F_SYNTAX,
    F_TYPE,
    F_UTF8,
    OK,
    Json,
    members,
)

from blake3 import blake3 as _blake3

cdef object blake3 = _blake3

cdef enum:
    MAX_LINE = 16 << 20
    SUFFIX = 149
    HASH_PART = 75
    HEAD_ROOM = 64  # {"seq":<20 digits>,"type":"action",

FAULTS = {
    F_SYNTAX: "is not valid JSON",
    F_UTF8: "is not valid UTF-8",
    F_CONTROL: "holds a control character",
    F_DUPLICATE: "names a member twice",
    F_DEPTH: "is nested too deeply",
    F_MEMBERS: "has an object with too many members",
    F_SURROGATE: "escapes half a surrogate pair",
    F_COUNT: "has no whole number as its count",
    F_SHAPE: "does not begin as a record",
    F_SEQ: "is out of sequence",
    F_SUFFIX: "does not end in prev and hash",
    F_PREV: "does not follow the record before it: prev is another hash",
    F_HASH: "does not match its hash",
    F_TYPE: "is of a type that does not exist",
    F_LONG: "is longer than a line may be",
    F_CADENCE: "goes past the checkpoint cadence unsigned",
    F_KIND: "is an action without a kind",
    F_START: "is not a start record, and nothing else may come first",
}

cdef const char *HEX = b"0123456789abcdef"

cdef inline int decimal(uint64_t number, uint8_t *out) noexcept nogil:
    cdef uint8_t back[20]
    cdef int n = 0, i
    while True:
        back[n] = <uint8_t> (48 + number % 10)
        number //= 10
        n += 1
        if number == 0:
            break
    for i in range(n):
        out[i] = back[n - 1 - i]
    return n


cdef inline void to_hex(const uint8_t *raw, uint8_t *out) noexcept nogil:
    cdef int i
    for i in range(32):
        out[2 * i] = HEX[raw[i] >> 4]
        out[2 * i + 1] = HEX[raw[i] & 15]


cdef int hash_hex(object hasher, const uint8_t *data, Py_ssize_t n, uint8_t *out) except -1:
    """BLAKE3 of `n` bytes as 64 hex digits. `hasher` is used again and again: a new one costs
    a fifth of hashing a record. It is its chain's own, as `update` may let other threads run."""
    cdef bytes piece = PyBytes_FromStringAndSize(<const char *> data, n)
    hasher.reset()
    hasher.update(piece)
    cdef bytes raw = hasher.digest()
    to_hex(<const uint8_t *> PyBytes_AS_STRING(raw), out)
    return 0


def check_opened(bytes opened not None):
    """What is wrong with a record's bytes up to `sig` or `prev`: a text of FAULTS, or None."""
    cdef Json j
    j.p = <const uint8_t *> PyBytes_AS_STRING(opened) + 1
    j.end = j.p + PyBytes_GET_SIZE(opened) - 1
    j.fault = OK
    j.counted = False
    j.count = 0
    if PyBytes_GET_SIZE(opened) < 2 or opened[0] != c'{':
        return FAULTS[F_SHAPE]
    return None if members(&j, 1, 0) else FAULTS[j.fault]


cdef class Appender:
    """The end of a chain that grows: the next seq, the head, and what has been counted."""

    cdef public unsigned long long seq
    cdef uint8_t prev[64]
    cdef object hasher
    cdef readonly unsigned long long actions
    cdef readonly unsigned long long count_sum

    def __init__(self, unsigned long long seq, bytes head not None):
        self.seq = seq
        self.head = head
        self.hasher = blake3()

    @property
    def head(self):
        return PyBytes_FromStringAndSize(<char *> self.prev, 64)

    @head.setter
    def head(self, bytes head not None):
        if len(head) != 64:
            raise ValueError("a head is 64 hex digits")
        memcpy(self.prev, PyBytes_AS_STRING(head), 64)

    def wrap(self, bytes batch not None, Py_ssize_t pos, Py_ssize_t limit):
        cdef const uint8_t *base = <const uint8_t *> PyBytes_AS_STRING(batch)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(batch)
        cdef Py_ssize_t room = (size - pos) + 4096, used = 0, n, need, records = 0
        cdef const uint8_t *line
        cdef const uint8_t *stop
        cdef uint8_t *out = <uint8_t *> malloc(room)
        cdef uint8_t *grown
        cdef uint8_t *at
        cdef uint8_t *record
        cdef Json j
        if out == NULL:
            raise MemoryError
        try:
            while records < limit and pos < size:
                line = base + pos
                stop = <const uint8_t *> memchr(line, 10, size - pos)
                n = (stop - line) if stop != NULL else size - pos
                j.p = line + 1
                j.end = line + n - 1
                j.fault = OK
                j.counted = False
                j.count = 0
                if (
                    stop == NULL or n < 11 or memcmp(line, b'{"kind":"', 9) != 0
                    or line[n - 1] != c'}' or n > MAX_LINE - 512
                    or not members(&j, 1, 0) or not j.counted
                ):
                    break
                need = n + HEAD_ROOM + SUFFIX
                if room - used < need:
                    room = room * 2 + need
                    grown = <uint8_t *> realloc(out, room)
                    if grown == NULL:
                        raise MemoryError
                    out = grown
                record = out + used
                at = record
                memcpy(at, b'{"seq":', 7)
                at += 7
                at += decimal(self.seq, at)
                memcpy(at, b',"type":"action",', 17)
                at += 17
                memcpy(at, line + 1, n - 2)
                at += n - 2
                memcpy(at, b',"prev":"', 9)
                memcpy(at + 9, self.prev, 64)
                at[73] = c'"'
                at += 74
                hash_hex(self.hasher, record, at - record, self.prev)
                memcpy(at, b',"hash":"', 9)
                memcpy(at + 9, self.prev, 64)
                memcpy(at + 73, b'"}\n', 3)
                at += 76
                used = at - out
                self.seq += 1
                self.actions += 1
                self.count_sum += j.count
                records += 1
                pos += n + 1
            return PyBytes_FromStringAndSize(<char *> out, used), pos, records
        finally:
            free(out)


cdef enum Stop:
    S_MORE = 0
    S_CONTROL = 1
    S_BAD = 2

MORE, CONTROL, BAD = S_MORE, S_CONTROL, S_BAD


cdef class Scanner:
    """Checks a chain record by record; stops for what only Python can judge."""

    cdef public unsigned long long seq
    cdef uint8_t prev[64]
    cdef object hasher
    cdef public unsigned long long limit
    cdef public unsigned long long unsealed
    cdef public unsigned long long watch
    cdef public unsigned long long actions
    cdef public unsigned long long count_sum
    cdef readonly Py_ssize_t pos
    cdef readonly Py_ssize_t line_end
    cdef readonly str kind
    cdef readonly int fault

    def __init__(self, unsigned long long seq, bytes head not None, unsigned long long limit):
        self.seq = seq
        self.hasher = blake3()
        self.limit = limit
        self.watch = <unsigned long long> -1
        self.head = head

    @property
    def head(self):
        return PyBytes_FromStringAndSize(<char *> self.prev, 64)

    @head.setter
    def head(self, bytes head not None):
        if len(head) != 64:
            raise ValueError("a head is 64 hex digits")
        memcpy(self.prev, PyBytes_AS_STRING(head), 64)

    cdef int check(self, const uint8_t *line, Py_ssize_t n, int *kind) except -1:
        cdef uint8_t expected[64]
        cdef const uint8_t *tail
        cdef int i
        cdef Json j
        if n >= MAX_LINE:
            return F_LONG
        if n < SUFFIX + 20 or memcmp(line, b'{"seq":', 7) != 0:
            return F_SHAPE
        i = decimal(self.seq, expected)
        if memcmp(line + 7, expected, i) != 0 or 48 <= line[7 + i] <= 57:
            return F_SEQ
        line_type = line + 7 + i
        if memcmp(line_type, b',"type":"', 9) != 0:
            return F_SHAPE
        tail = line + n - SUFFIX
        if (
            memcmp(tail, b',"prev":"', 9) != 0 or memcmp(tail + 73, b'","hash":"', 10) != 0
            or memcmp(line + n - 2, b'"}', 2) != 0
        ):
            return F_SUFFIX
        if memcmp(tail + 9, self.prev, 64) != 0:
            return F_PREV
        hash_hex(self.hasher, line, n - HASH_PART, expected)
        if memcmp(line + n - 66, expected, 64) != 0:
            return F_HASH
        j.p = line + 1
        j.end = tail
        j.fault = OK
        j.counted = False
        j.count = 0
        if not members(&j, 1, 0):
            return j.fault
        line_type += 9
        if memcmp(line_type, b'action"', 7) == 0:
            kind[0] = 0
            if memcmp(line_type + 7, b',"kind":"', 9) != 0:
                return F_KIND
            if not j.counted:
                return F_COUNT
        elif memcmp(line_type, b'gap"', 4) == 0:
            kind[0] = 1
        elif memcmp(line_type, b'checkpoint"', 11) == 0:
            kind[0] = 2
        elif memcmp(line_type, b'start"', 6) == 0:
            kind[0] = 3
        elif memcmp(line_type, b'end"', 4) == 0:
            kind[0] = 4
        else:
            return F_TYPE
        if self.seq == 0 and kind[0] != 3:
            return F_START
        memcpy(self.prev, expected, 64)
        self.seq += 1
        if kind[0] == 0:
            self.actions += 1
            self.count_sum += j.count
        return OK

    def copy(self):
        cdef Scanner twin = Scanner(self.seq, self.head, self.limit)
        twin.unsealed, twin.watch = self.unsealed, self.watch
        twin.actions, twin.count_sum = self.actions, self.count_sum
        return twin

    def scan(self, bytes buf not None, Py_ssize_t pos):
        cdef const uint8_t *base = <const uint8_t *> PyBytes_AS_STRING(buf)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(buf)
        cdef const uint8_t *stop
        cdef int kind = 0
        while True:
            self.pos = pos
            stop = <const uint8_t *> memchr(base + pos, 10, size - pos) if pos < size else NULL
            if stop == NULL:
                return S_MORE
            self.line_end = stop - base
            self.fault = self.check(base + pos, self.line_end - pos, &kind)
            if self.fault != OK:
                return S_BAD
            if kind == 0 or kind == 1:
                if self.unsealed >= self.limit:
                    self.seq -= 1
                    self.fault = F_CADENCE
                    return S_BAD
                self.unsealed += 1
            if kind or self.seq > self.watch:
                self.kind = ("action", "gap", "checkpoint", "start", "end")[kind]
                return S_CONTROL
            pos = self.line_end + 1
