# cython: language_level=3
"""Strict JSON, checked in place: nothing is built, each byte is looked at once.

The grammar is that of docs/log-format.md: RFC 8259 without blanks, in UTF-8 (RFC 3629), no
member named twice and no lone surrogate (RFC 7493), names in ASCII without escapes.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

cdef extern from *:
    """
    /* What a byte is inside a string: 0 plain, 1 quote, 2 backslash, 3 control, 4 not ASCII. */
    static const unsigned char capsule_class[256] = {
        [0 ... 31] = 3, ['"'] = 1, ['\\\\'] = 2, [128 ... 255] = 4,
    };

    #include <emmintrin.h>
    /* Steps over plain bytes, sixteen at a time (SSE2 is part of x86-64). Compared as signed
       numbers, controls and what is not ASCII are both less than a blank. */
    static inline const unsigned char *capsule_plain(const unsigned char *p,
                                                     const unsigned char *end) {
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\\\');
        const __m128i blank = _mm_set1_epi8(' ');
        while (end - p >= 16) {
            __m128i v = _mm_loadu_si128((const __m128i *) p);
            __m128i special = _mm_or_si128(
                _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                _mm_cmplt_epi8(v, blank));
            int bits = _mm_movemask_epi8(special);
            if (bits)
                return p + __builtin_ctz(bits);
            p += 16;
        }
        while (p < end && capsule_class[*p] == 0)
            p++;
        return p;
    }
    """
    const uint8_t *capsule_plain(const uint8_t *p, const uint8_t *end) noexcept nogil
    const uint8_t CLASS "capsule_class"[256]

cdef enum:
    MAX_DEPTH = 16
    MAX_MEMBERS = 256
    MAX_NUMBER = 40

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


cdef inline bint string(Json *j) noexcept nogil:
    """Step over the rest of a string; `j.p` is after its opening quote."""
    cdef int what, unit
    cdef uint8_t c
    while True:
        j.p = capsule_plain(j.p, j.end)
        if j.p >= j.end:
            j.fault = F_SYNTAX
            return False
        what = CLASS[j.p[0]]
        if what == 1:
            j.p += 1
            return True
        if what == 3:
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


cdef inline bint number(Json *j) noexcept nogil:
    cdef const uint8_t *first = j.p
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
    if j.p - first > MAX_NUMBER:
        j.fault = F_SYNTAX
        return False
    return True


cdef inline bint word(Json *j, const char *text, int n) noexcept nogil:
    if j.end - j.p < n or memcmp(j.p, text, n) != 0:
        j.fault = F_SYNTAX
        return False
    j.p += n
    return True


cdef inline bint value(Json *j, int depth) noexcept nogil:
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


cdef inline bint whole(Json *j) noexcept nogil:
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


cdef inline bint members(Json *j, int depth, uint8_t close) noexcept nogil:
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
        # A member's name is ASCII without escapes: one name, one spelling.
        j.p = capsule_plain(j.p, j.end)
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
