"""Lines that strace prints and that are no event of a tracee: messages, dumps, stacks, tables."""

from libc.stdint cimport uint8_t
from libc.string cimport strlen

from capsule._batch cimport Text
from capsule._scan cimport before, ends_with, is_digit, starts_with

cdef extern from *:
    """
    /* The titles of a table's columns (cdesc in strace's count.c). */
    static const char *const TITLES[] = {
        "% time", "seconds", "usecs/call", "calls", "errors", "syscall", "shortest", "longest",
        "wall-total", "wall-min", "wall-max", "wall-avg",
    };
    enum { TITLE_COUNT = sizeof(TITLES) / sizeof(TITLES[0]) };
    enum { NO_TABLE, HEAD, ROWS, TOTAL };
    """
    const char * const TITLES[12]
    int TITLE_COUNT
    int NO_TABLE, HEAD, ROWS, TOTAL


cdef inline bint is_table_head(Text p, Text end) noexcept nogil:
    """Two or more titles and blanks."""
    cdef int titles = 0
    cdef int i
    cdef Py_ssize_t length
    while True:
        while p < end and p[0] == 32:
            p += 1
        if p == end:
            return titles >= 2
        for i in range(TITLE_COUNT):
            length = strlen(TITLES[i])
            if starts_with(p, end, TITLES[i], length) and (p + length == end or p[length] == 32):
                p += length
                titles += 1
                break
        else:
            return False


cdef inline bint is_divider(Text p, Text end) noexcept nogil:
    """Dashes and blanks."""
    if p[0] != 45:
        return False
    while p < end and (p[0] == 45 or p[0] == 32):
        p += 1
    return p == end


cdef inline bint in_table(Text p, Text end, uint8_t * table) noexcept nogil:
    """Whether a line is part of a table (-c): head, divider, rows, divider, total."""
    if table[0] != ROWS and table[0] != TOTAL and is_table_head(p, end):
        table[0] = HEAD
        return True
    if table[0] == HEAD:
        table[0] = ROWS if is_divider(p, end) else NO_TABLE
        return table[0] == ROWS
    if table[0] == ROWS:
        if is_divider(p, end):
            table[0] = TOTAL
        return True
    if table[0] == TOTAL:
        table[0] = NO_TABLE
        return True
    return False


cdef inline bint is_process_message(Text p, Text end) noexcept nogil:
    """`Process 7 attached`, `Process 7 detached`, … of releases before 4.9 or so."""
    if not starts_with(p, end, b"Process ", 8):
        return False
    p += 8
    if not is_digit(p[0]):
        return False
    while is_digit(p[0]):
        p += 1
    return (
        starts_with(p, end, b" attached", 9)
        or starts_with(p, end, b" detached", 9)
        or starts_with(p, end, b" suspended", 10)
        or starts_with(p, end, b" resumed", 8)
    )


cdef inline bint is_vector_message(Text p, Text end) noexcept nogil:
    """` * 2 bytes in buffer 0`, ` = 2 buffers in vector 0`: what a dump is of."""
    if not (starts_with(p, end, b" * ", 3) or starts_with(p, end, b" = ", 3)):
        return False
    p += 3
    if not is_digit(p[0]):
        return False
    while is_digit(p[0]):
        p += 1
    return (
        starts_with(p, end, b" bytes in buffer ", 17) or starts_with(p, end, b" buffers in vector ", 19)
    )


cdef inline bint is_note(Text p, Text end, Text rest) noexcept nogil:
    """Whether a line is a note; `rest` is what follows its prefix."""
    return (
        starts_with(p, end, b" > ", 3)
        or starts_with(p, end, b" | ", 3)
        or starts_with(p, end, b"strace: ", 8)
        or (starts_with(rest, end, b"[ Process PID=", 14) and ends_with(rest, end, b" ]", 2))
        or is_process_message(rest, end)
        or starts_with(p, end, b"System call usage summary for ", 30)
        or starts_with(p, end, b" VCPU", 5)
        or is_vector_message(p, end)
    )


cdef inline Text glued_message(Text p, Text end) noexcept nogil:
    """Where strace's own `strace: Process 7 attached` begins at the end of a line; else `end`."""
    cdef Text q = end
    if not ends_with(p, end, b" attached", 9):
        return end
    q -= 9
    while q > p and is_digit(before(q)):
        q -= 1
    if not ends_with(p, q, b"strace: Process ", 16):
        return end
    return q - 16
