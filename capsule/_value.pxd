"""Numbers, times and what follows a call's `= `. Texts end as _scan.pxd says."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from capsule._batch cimport INJECTED, RETVAL, Row, Text
from capsule._scan cimport before, ends_with, is_digit, starts_with
cdef extern from *:
    """
    #include <string.h>
    #include <stdint.h>
    /* Eight decimal digits at once (as in simdjson's parse_eight_digits), `zeros` of them as 0. */
    static inline int eight_digits(const unsigned char *p, int zeros, uint64_t *value)
    {
        uint64_t x;
        memcpy(&x, p, 8);
        x = (x & ~((1ull << 8 * zeros) - 1)) | (0x3030303030303030 & ((1ull << 8 * zeros) - 1));
        if ((x & 0xF0F0F0F0F0F0F0F0) != 0x3030303030303030
            || ((x + 0x0606060606060606) & 0xF0F0F0F0F0F0F0F0) != 0x3030303030303030)
            return 0;
        x -= 0x3030303030303030;
        x = x * 10 + (x >> 8);
        *value = ((x & 0x000000FF000000FF) * 0x000F424000000064
                  + ((x >> 16 & 0x000000FF000000FF) * 0x0000271000000001)) >> 32;
        return 1;
    }
    """
    bint eight_digits(Text p, int zeros, uint64_t * value) noexcept nogil


cdef inline bint read_decimal(Text p, Text end, uint64_t * value) noexcept nogil:
    """All of the text as a decimal number that fits in 63 bits."""
    cdef uint64_t total = 0
    if p >= end or end - p > 19:
        return False
    while p < end:
        if not is_digit(p[0]):
            return False
        total = total * 10 + (p[0] - 48)
        p += 1
    value[0] = total
    return total >> 63 == 0


cdef inline bint read_stamp(Text p, Text end, uint64_t * ns) noexcept nogil:
    """`1795541433.084596 `, the stamp of -ttt in this century, as nanoseconds."""
    cdef uint64_t whole
    cdef uint64_t part
    if end - p < 18 or p[10] != 46 or p[17] != 32 or not is_digit(p[8]) or not is_digit(p[9]):
        return False
    # The six decimals are read as eight digits, of which the first two are made zero.
    if not eight_digits(p, 0, &whole) or not eight_digits(p + 9, 2, &part):
        return False
    whole = whole * 100 + (p[8] - 48) * 10 + (p[9] - 48)
    ns[0] = (whole * 1000000 + part) * 1000
    return whole < <uint64_t> 9223372036


cdef inline bint read_seconds(Text p, Text end, uint64_t * ns) noexcept nogil:
    """`12` or `12.345` seconds (up to nine decimals) as nanoseconds that fit in 63 bits."""
    cdef uint64_t whole = 0
    cdef uint64_t part = 0
    cdef int digits = 0
    cdef Text q = p
    while q < end and is_digit(q[0]):
        if q - p >= 10:
            return False
        whole = whole * 10 + (q[0] - 48)
        q += 1
    if q == p:
        return False
    if q < end:
        if q[0] != 46 or end - q < 2 or end - q > 10:
            return False
        q += 1
        while q < end:
            if not is_digit(q[0]):
                return False
            part = part * 10 + (q[0] - 48)
            digits += 1
            q += 1
    while digits < 9:
        part *= 10
        digits += 1
    if whole >= <uint64_t> 9223372036:
        return False
    ns[0] = whole * 1000000000 + part
    return True


cdef inline Text read_integer(Text p, Text end, int64_t * value) noexcept nogil:
    """Read `-1`, `42`, `0x2a` or `052` into `value`; the byte after it.

    NULL when there is no number or it does not fit in 64 bits, signed.
    """
    cdef bint negative = p[0] == 45
    cdef uint64_t total = 0
    cdef uint64_t limit = (<uint64_t> 1 << 63) - 1
    cdef uint64_t digit
    cdef unsigned int base = 10
    cdef Text first
    if negative:
        p += 1
    if p[0] == 48:
        if p[1] == 120:
            base = 16
            p += 2
        elif is_digit(p[1]):
            base = 8
    first = p
    while p < end:
        digit = p[0]
        if is_digit(p[0]):
            digit -= 48
        elif base == 16 and 97 <= digit <= 102:
            digit -= 87
        else:
            break
        # Below 2 ** 59 no base can overflow; the exact test divides.
        if digit >= base or (total >> 59 and total > (limit - digit) // base):
            return NULL
        total = total * base + digit
        p += 1
    if p == first:
        return NULL
    value[0] = -(<int64_t> total) if negative else <int64_t> total
    return p


cdef inline Text strip_duration(Text start, Text end, int64_t * dur_ns) noexcept nogil:
    """Drop a trailing ` <0.000006>` (-T) and blanks; the new end."""
    cdef Text p
    cdef uint64_t ns
    while end > start and before(end) == 32:
        end -= 1
    if end - start >= 4 and before(end) == 62:
        p = end - 2
        while p > start and (is_digit(p[0]) or p[0] == 46) and end - p < 24:
            p -= 1
        if p > start and p[0] == 60 and before(p) == 32 and read_seconds(p + 1, end - 1, &ns):
            dur_ns[0] = <int64_t> ns
            end = p - 1
            while end > start and before(end) == 32:
                end -= 1
    return end


cdef inline bint injected(Text start, Text end) noexcept nogil:
    """Whether the value ends in one of strace's own remarks that it tampered with the call."""
    if ends_with(start, end, b" (DELAYED)", 10):
        end -= 10
    return (
        ends_with(start, end, b" (INJECTED)", 11)
        or ends_with(start, end, b" (INJECTED: args)", 17)
        or ends_with(start, end, b" (INJECTED: args, retval)", 25)
    )


cdef inline void read_return(Text p, Text end, Row * row, Text base, uint32_t base_off) noexcept nogil:
    """Fill `ret`, `retval`, `errno`, `dur_ns` and flags of `row` from the text after `= `."""
    cdef int64_t value
    cdef Text q
    cdef Text word
    end = strip_duration(p, end, &row.dur_ns)
    row.ret_off = base_off + <uint32_t> (p - base)
    row.ret_len = <uint32_t> (end - p)
    if p[0] == 63:
        q = p + 1
    else:
        q = read_integer(p, end, &value)
        if q == NULL or not (q == end or q[0] == 32 or q[0] == 60):
            return
        row.retval = value
        row.flags |= RETVAL
    if before(end) == 41 and injected(q, end):
        row.flags |= INJECTED
    if q == end or q[0] != 32:
        return
    word = q + 1
    q = word
    if word[0] == 69:
        while q < end and q - word < 32 and (65 <= q[0] <= 90 or is_digit(q[0]) or q[0] == 95):
            q += 1
        if q != end and q[0] != 32:
            return
    elif starts_with(word, end, b"(errno ", 7):
        word += 7
        q = word
        while q < end and is_digit(q[0]) and q - word < 20:
            q += 1
        if q == end or q[0] != 41:
            return
    else:
        return
    row.errno_off = base_off + <uint32_t> (word - base)
    row.errno_len = <uint16_t> (q - word)
