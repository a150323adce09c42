# cython: language_level=3
"""The chain's two hot loops: wrapping bodies into records, and checking records.

Both look at each byte once. The grammar they hold is that of docs/log-format.md: RFC 8259
JSON without blanks, in UTF-8, no member named twice, no lone surrogate (RFC 7493).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from blake3 import blake3 as _blake3

cdef object blake3 = _blake3

cdef enum:
    MAX_LINE = 16 << 20
    MAX_DEPTH = 16
    MAX_MEMBERS = 256
    SUFFIX = 149
    HASH_PART = 75
    HEAD_ROOM = 64  # {"seq":<20 digits>,"type":"action",

cdef enum Fault:
    OK = 0
    F_SYNTAX = 1
    F_UTF8 = 2
    F_CONTROL = 3
    F_DUPLICATE = 4
    F_DEPTH = 5
    F_MEMBERS = 6
    F_SURROGATE = 7
    F_COUNT = 8
    F_SHAPE = 9
    F_SEQ = 10
    F_SUFFIX = 11
    F_PREV = 12
    F_HASH = 13
    F_TYPE = 14
    F_LONG = 15
    F_CADENCE = 16
    F_KIND = 17
    F_START = 18

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

# What a byte is inside a string: 0 plain, 1 quote, 2 backslash, 3 control, 4 not ASCII.
cdef uint8_t CLASS[256]
cdef int _i
for _i in range(256):
    CLASS[_i] = 3 if _i < 32 or _i == 127 else (4 if _i >= 128 else 0)
CLASS[34] = 1
CLASS[92] = 2


cdef struct Json:
    const uint8_t *p
    const uint8_t *end
    int fault
    bint counted
    uint64_t count


cdef inline int hex4(const uint8_t *p) noexcept nogil:
    cdef int value = 0, i, c
    for i in range(4):
        c = p[i]
        if 48 <= c <= 57:
            c -= 48
        elif 97 <= (c | 32) <= 102:
            c = (c | 32) - 87
        else:
            return -1
        value = value << 4 | c
    return value


cdef inline bint utf8(Json *j) noexcept nogil:
    """Step over one character that is not ASCII (RFC 3629, section 4)."""
    cdef const uint8_t *p = j.p
    cdef Py_ssize_t left = j.end - p
    cdef uint8_t low = 0x80, high = 0xBF
    cdef int more, i
    if 0xC2 <= p[0] <= 0xDF:
        more = 1
    elif 0xE0 <= p[0] <= 0xEF:
        more = 2
        if p[0] == 0xE0:
            low = 0xA0
        elif p[0] == 0xED:
            high = 0x9F
    elif 0xF0 <= p[0] <= 0xF4:
        more = 3
        if p[0] == 0xF0:
            low = 0x90
        elif p[0] == 0xF4:
            high = 0x8F
    else:
        j.fault = F_UTF8
        return False
    if left <= more or p[1] < low or p[1] > high:
        j.fault = F_UTF8
        return False
    for i in range(2, more + 1):
        if p[i] & 0xC0 != 0x80:
            j.fault = F_UTF8
            return False
    j.p = p + more + 1
    return True


cdef bint string(Json *j) noexcept nogil:
    """Step over the rest of a string; `j.p` is after its opening quote."""
    cdef int what, unit
    cdef uint8_t c
    while True:
        while j.p < j.end and CLASS[j.p[0]] == 0:
            j.p += 1
        if j.p >= j.end:
            j.fault = F_SYNTAX
            return False
        what = CLASS[j.p[0]]
        if what == 1:
            j.p += 1
            return True
        if what == 3:
            if j.p[0] == 127:  # DEL is a control character that JSON allows
                j.p += 1
                continue
            j.fault = F_CONTROL
            return False
        if what == 4:
            if not utf8(j):
                return False
            continue
        if j.end - j.p < 2:
            j.fault = F_SYNTAX
            return False
        c = j.p[1]
        if c == c'u':
            unit = hex4(j.p + 2) if j.end - j.p >= 6 else -1
            if unit < 0:
                j.fault = F_SYNTAX
                return False
            j.p += 6
            if 0xD800 <= unit <= 0xDFFF:
                if (
                    unit >= 0xDC00 or j.end - j.p < 6 or j.p[0] != c'\\' or j.p[1] != c'u'
                    or hex4(j.p + 2) < 0xDC00 or hex4(j.p + 2) > 0xDFFF
                ):
                    j.fault = F_SURROGATE
                    return False
                j.p += 6
        elif (
            c == c'"' or c == c'\\' or c == c'/' or c == c'b' or c == c'f' or c == c'n'
            or c == c'r' or c == c't'
        ):
            j.p += 2
        else:
            j.fault = F_SYNTAX
            return False


cdef inline bint digits(Json *j) noexcept nogil:
    cdef const uint8_t *first = j.p
    while j.p < j.end and 48 <= j.p[0] <= 57:
        j.p += 1
    return j.p > first


cdef bint number(Json *j) noexcept nogil:
    if j.p[0] == c'-':
        j.p += 1
    if j.p < j.end and j.p[0] == c'0':
        j.p += 1
    elif not digits(j):
        j.fault = F_SYNTAX
        return False
    if j.p < j.end and j.p[0] == c'.':
        j.p += 1
        if not digits(j):
            j.fault = F_SYNTAX
            return False
    if j.p < j.end and (j.p[0] | 32) == c'e':
        j.p += 1
        if j.p < j.end and (j.p[0] == c'+' or j.p[0] == c'-'):
            j.p += 1
        if not digits(j):
            j.fault = F_SYNTAX
            return False
    return True


cdef inline bint word(Json *j, const char *text, int n) noexcept nogil:
    if j.end - j.p < n or memcmp(j.p, text, n) != 0:
        j.fault = F_SYNTAX
        return False
    j.p += n
    return True


cdef bint value(Json *j, int depth) noexcept nogil:
    cdef uint8_t c
    if j.p >= j.end:
        j.fault = F_SYNTAX
        return False
    c = j.p[0]
    if c == c'"':
        j.p += 1
        return string(j)
    if c == c'-' or 48 <= c <= 57:
        return number(j)
    if c == c'{':
        if depth >= MAX_DEPTH:
            j.fault = F_DEPTH
            return False
        j.p += 1
        if j.p < j.end and j.p[0] == c'}':
            j.p += 1
            return True
        return members(j, depth + 1, c'}')
    if c == c'[':
        if depth >= MAX_DEPTH:
            j.fault = F_DEPTH
            return False
        j.p += 1
        if j.p < j.end and j.p[0] == c']':
            j.p += 1
            return True
        while value(j, depth + 1):
            if j.p >= j.end:
                break
            c = j.p[0]
            j.p += 1
            if c == c']':
                return True
            if c != c',':
                break
        if j.fault == OK:
            j.fault = F_SYNTAX
        return False
    if c == c't':
        return word(j, b"true", 4)
    if c == c'f':
        return word(j, b"false", 5)
    if c == c'n':
        return word(j, b"null", 4)
    j.fault = F_SYNTAX
    return False


cdef bint whole(Json *j) noexcept nogil:
    """Read the record's own count: digits, below 2^63, without a leading zero."""
    cdef const uint8_t *first = j.p
    cdef uint64_t sum = 0
    while j.p < j.end and 48 <= j.p[0] <= 57:
        if j.p - first >= 18:
            return False
        sum = sum * 10 + (j.p[0] - 48)
        j.p += 1
    if j.p == first or (first[0] == c'0' and j.p - first > 1):
        return False
    if j.p < j.end and j.p[0] != c',' and j.p[0] != c'}':
        return False
    j.count = sum
    j.counted = True
    return True


cdef bint members(Json *j, int depth, uint8_t close) noexcept nogil:
    """Step over an object's members. `close` 0: they reach to `j.end`, without the brace."""
    cdef const uint8_t *keys[MAX_MEMBERS]
    cdef uint32_t lengths[MAX_MEMBERS]
    cdef const uint8_t *key
    cdef uint64_t seen = 0, bit
    cdef int n = 0, i
    cdef uint32_t length
    cdef uint8_t c
    while True:
        if j.p >= j.end or j.p[0] != c'"':
            j.fault = F_SYNTAX
            return False
        j.p += 1
        key = j.p
        # A member's name is printable ASCII without escapes: one name, one spelling.
        while j.p < j.end and CLASS[j.p[0]] == 0:
            j.p += 1
        length = <uint32_t> (j.p - key)
        if j.end - j.p < 2 or j.p[0] != c'"' or j.p[1] != c':' or length == 0:
            j.fault = F_SYNTAX
            return False
        j.p += 2
        bit = <uint64_t> 1 << ((length * 5 + key[0] + key[length - 1] * 3) & 63)
        if seen & bit:
            for i in range(n):
                if lengths[i] == length and memcmp(keys[i], key, length) == 0:
                    j.fault = F_DUPLICATE
                    return False
        seen |= bit
        if n == MAX_MEMBERS:
            j.fault = F_MEMBERS
            return False
        keys[n] = key
        lengths[n] = length
        n += 1
        if depth == 1:
            # The suffix that follows holds these two.
            if length == 4 and (memcmp(key, b"prev", 4) == 0 or memcmp(key, b"hash", 4) == 0):
                j.fault = F_DUPLICATE
                return False
            if length == 5 and memcmp(key, b"count", 5) == 0 and whole(j):
                if close == 0 and j.p == j.end:
                    return True
                if j.p < j.end and j.p[0] == c',':
                    j.p += 1
                    continue
                j.fault = F_SYNTAX
                return False
        if not value(j, depth):
            return False
        if j.p >= j.end:
            if close == 0:
                return True
            j.fault = F_SYNTAX
            return False
        c = j.p[0]
        j.p += 1
        if c == close and close != 0:
            return True
        if c != c',':
            j.fault = F_SYNTAX
            return False


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


cdef int hash_hex(const uint8_t *data, Py_ssize_t n, uint8_t *out) except -1:
    cdef bytes piece = PyBytes_FromStringAndSize(<const char *> data, n)
    cdef bytes raw = blake3(piece).digest()
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
    cdef readonly unsigned long long actions
    cdef readonly unsigned long long count_sum

    def __init__(self, unsigned long long seq, bytes head not None):
        self.seq = seq
        self.head = head

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
                hash_hex(record, at - record, self.prev)
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
    cdef public unsigned long long limit
    cdef public unsigned long long unsealed
    cdef readonly unsigned long long actions
    cdef readonly unsigned long long count_sum
    cdef readonly Py_ssize_t pos
    cdef readonly Py_ssize_t line_end
    cdef readonly str kind
    cdef readonly int fault

    def __init__(self, unsigned long long seq, bytes head not None, unsigned long long limit):
        self.seq = seq
        self.limit = limit
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
        hash_hex(line, n - HASH_PART, expected)
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
        memcpy(self.prev, expected, 64)
        self.seq += 1
        if kind[0] == 0:
            self.actions += 1
            self.count_sum += j.count
        return OK

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
            if kind:
                self.kind = ("", "gap", "checkpoint", "start", "end")[kind]
                return S_CONTROL
            pos = self.line_end + 1
