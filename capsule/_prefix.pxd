"""What strace puts before a call: pid, security context, times, syscall number, address.

The order is strace's own (printleader in strace.c): pid, `[context]`, absolute time, relative
time, `[number]` (-n), `[address]` (-i). Everything is optional.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from capsule._batch cimport NO_PID, NO_TIME, Head, Text
from capsule._scan cimport before, is_digit, skip_decoration
from capsule._value cimport read_seconds, read_stamp


cdef inline Text skip_blanks(Text p) noexcept nogil:
    while p[0] == 32:
        p += 1
    return p


cdef inline Text skip_comm(Text p, Text end) noexcept nogil:
    """Skip a `<comm>` (-Y) that may stand at `p`; NULL if it never ends."""
    return skip_decoration(p + 1, end) if p[0] == 60 else p


cdef inline Text skip_groups(Text p, Text end) noexcept nogil:
    """Skip `[…] ` groups at `p`: a security context, a syscall number, an address.

    A group holds one word, with blanks before it at most; `[ Process PID=…]` is none.
    """
    cdef Text q
    while p[0] == 91:
        q = skip_blanks(p + 1)
        if q[0] == 93:
            return p
        while q < end and q[0] != 93 and q[0] != 32:
            q += 1
        if q >= end or q[0] != 93 or q[1] != 32:
            return p
        p = skip_blanks(q + 1)
    return p


cdef inline Text read_pid(Text p, Text end, int32_t * pid) noexcept nogil:
    """Read `123 `, `123<comm> `, `[pid 123] ` or `[pid 123<comm>] `; `p` itself if there is none."""
    cdef Text q = p
    cdef Text first
    cdef int32_t value = 0
    cdef bint bracket = False
    if p[0] == 91:
        if not (p[1] == 112 and p[2] == 105 and p[3] == 100 and p[4] == 32):
            return p
        bracket = True
        q = skip_blanks(p + 5)
    first = q
    while is_digit(q[0]):
        if q - first == 7:
            return p
        value = value * 10 + (q[0] - 48)
        q += 1
    if q == first:
        return p
    q = skip_comm(q, end)
    if q == NULL:
        return p
    if bracket:
        if q[0] != 93:
            return p
        q += 1
    if q >= end or q[0] != 32:
        return p
    pid[0] = value
    return skip_blanks(q)


cdef inline Text read_number(Text p) noexcept nogil:
    """The byte after `123` or `123.456`; `p` itself if there is none."""
    cdef Text q = p
    while is_digit(q[0]):
        q += 1
    if q == p or q[0] != 46 or not is_digit(q[1]):
        return q
    q += 1
    while is_digit(q[0]):
        q += 1
    return q


cdef inline Text read_clock(Text p) noexcept nogil:
    """The byte after `12:34:56` or `12:34:56.789`; `p` itself if there is none."""
    cdef Text q = p
    cdef int part
    for part in range(3):
        if not is_digit(q[0]):
            return p
        q += 1
        if is_digit(q[0]):
            q += 1
        if part < 2:
            if q[0] != 58:
                return p
            q += 1
    if q[0] == 46 and is_digit(q[1]):
        q += 1
        while is_digit(q[0]):
            q += 1
    return q


cdef inline Text read_time(Text p, Text end, Head * head) noexcept nogil:
    """Read a time of day, seconds since the epoch (8 digits or more) or a relative time (-r)."""
    cdef uint64_t ns
    cdef Text whole = p
    cdef Text q
    if read_stamp(p, end, &ns):
        head.ts = p
        head.ts_len = 17
        head.ts_ns = <int64_t> ns
        return skip_blanks(p + 17)
    while is_digit(whole[0]):
        whole += 1
    if whole[0] == 58:
        q = read_clock(p)
    else:
        q = read_number(p)
        if whole - p >= 8 and q - p <= 30 and read_seconds(p, q, &ns):
            head.ts_ns = <int64_t> ns
    if q == p or q[0] != 32 or q - p > 30:
        head.ts_ns = NO_TIME
        return p
    head.ts = p
    head.ts_len = <int> (q - p)
    return skip_blanks(q)


cdef inline Text read_prefix(Text p, Text end, Head * head) noexcept nogil:
    """Read the prefix of a line into `head`; the first byte after it and its blanks."""
    cdef Text q
    head.pid = NO_PID
    head.ts_ns = NO_TIME
    head.ts_len = 0
    head.ts = p
    if is_digit(p[0]) or p[0] == 91:
        p = read_pid(p, end, &head.pid)
    else:
        p = skip_blanks(p)
    p = skip_groups(p, end)
    if is_digit(p[0]):
        p = read_time(p, end, head)
    if p[0] == 40 and p[1] == 43:
        q = read_number(skip_blanks(p + 2))
        if is_digit(before(q)) and q[0] == 41 and q[1] == 32:
            p = skip_blanks(q + 1)
    return skip_groups(p, end)
