"""Lines that strace prints and that are no event of a tracee: messages, dumps, stacks, tables."""

from capsule._batch cimport Text
from capsule._scan cimport before, ends_with, is_digit, starts_with

cdef inline bint is_table_row(Text p, Text end) noexcept nogil:
    """A row of -c: ` 36.84    0.000105          26         4           mmap`."""
    while p[0] == 32:
        p += 1
    if not is_digit(p[0]):
        return False
    while is_digit(p[0]):
        p += 1
    if not (p[0] == 46 and is_digit(p[1]) and is_digit(p[2]) and p[3] == 32):
        return False
    p += 3
    while p[0] == 32:
        p += 1
    if not is_digit(p[0]):
        return False
    while is_digit(p[0]):
        p += 1
    return p[0] == 46 and is_digit(p[1])


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


cdef inline bint is_note(Text p, Text end, Text rest) noexcept nogil:
    """Whether a line is a note; `rest` is what follows its prefix."""
    return (
        starts_with(p, end, b" > ", 3)
        or starts_with(p, end, b" | ", 3)
        or starts_with(p, end, b"strace: ", 8)
        or (starts_with(rest, end, b"[ Process PID=", 14) and ends_with(rest, end, b" ]", 2))
        or starts_with(p, end, b"% time ", 7)
        or starts_with(p, end, b"------ ----", 11)
        or is_table_row(p, end)
        or is_process_message(rest, end)
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
