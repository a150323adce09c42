"""One line of strace: what kind it is, and the kinds that are no call."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from capsule._batch cimport (
    CORE, EXIT, KILLED, NOTE, RETVAL, SELF_NUMBER, SIGNAL, STOPPED, SUPERSEDED, UNPARSED, Head, Row, Text,
    array_reserve, emit_raw, open_row, push_row, where,
)
from capsule._calls cimport NAME_CLASS, Call, State, close_open, read_name, seen
from capsule._halves cimport drop_torn, join_torn, take_call, take_resumed
from capsule._names cimport NAME_ROOM
from capsule._notes cimport NO_TABLE, in_table, is_note
from capsule._prefix cimport read_prefix
from capsule._scan cimport before, ends_with, is_digit, push_span, starts_with
from capsule._tracees cimport Node, find_node, hang, unhang
from capsule._value cimport read_decimal, strip_duration


cdef inline bint by_seccomp(Text p, Text end) noexcept nogil:
    """Whether a siginfo is of seccomp's making; one that a process sent says so (SI_USER…)."""
    cdef Text at = p
    while True:
        at = <Text> memchr(at, 115, end - at)
        if at == NULL:
            return True
        if starts_with(at, end, b"si_code=SI_", 11):
            return False
        at += 1


cdef inline bint take_signal(State * s, Text text, Text end, uint64_t line, Head * head) noexcept nogil:
    """`--- SIGCHLD {…} ---`, `--- stopped by SIGSTOP ---` and their old forms."""
    cdef Row * row
    cdef Text p = text + 4
    cdef Text last = end - 4
    cdef Text name
    cdef Text name_end
    cdef int kind = SIGNAL
    cdef uint32_t off
    if not (last >= p and ends_with(p, end, b" ---", 4)):
        return False
    if starts_with(p, last, b"stopped by ", 11):
        kind = STOPPED
        p += 11
    name = p
    if p[0] == 123:
        if not starts_with(p, last, b"{si_signo=", 10):
            return False
        name = p + 10
    name_end = name
    while NAME_CLASS[name_end[0]] and name_end < last and name_end - name < NAME_ROOM:
        name_end += 1
    if not starts_with(name, name_end, b"SIG", 3):
        return False
    if p == name:
        p = name_end
        if p != last and p[0] != 32:
            return False
        if kind == STOPPED and p != last:
            return False
    drop_torn(s)
    if kind == SIGNAL and name_end - name == 6 and memcmp(name, b"SIGSYS", 6) == 0:
        seen(s, head.pid, SELF_NUMBER if by_seccomp(p, last) else 0)
    else:
        seen(s, head.pid, 0)
    off = where(&s.out, text)
    row = open_row(&s.out, kind, line, head)
    row.name_off = off + <uint32_t> (name - text)
    row.name_len = <uint16_t> (name_end - name)
    while p < last and p[0] == 32:
        p += 1
    if p < last:
        push_span(&s.out.spans, p, last, text, off)
    push_row(&s.out, row, text, end, head)
    return True


cdef inline bint take_exit(State * s, Text text, Text end, uint64_t line, Head * head) noexcept nogil:
    """`+++ exited with 0 +++`, `+++ killed by SIGKILL +++`, `+++ superseded by execve in pid 7 +++`."""
    cdef Row * row
    cdef Text p = text + 4
    cdef Text last
    cdef Text name_end
    cdef uint64_t value
    cdef uint32_t off
    cdef int64_t ignored
    cdef int flags = 0
    cdef Node * node
    last = strip_duration(p, end, &ignored) - 4
    if not (last >= p and memcmp(last, b" +++", 4) == 0):
        return False
    if starts_with(p, last, b"killed by SIG", 13):
        p += 10
        name_end = p
        while NAME_CLASS[name_end[0]] and name_end < last and name_end - p < NAME_ROOM:
            name_end += 1
        if name_end != last:
            if last - name_end != 14 or memcmp(name_end, b" (core dumped)", 14) != 0:
                return False
            flags = CORE
        drop_torn(s)
        seen(s, head.pid, SELF_NUMBER if name_end - p == 6 and memcmp(p, b"SIGSYS", 6) == 0 else 0)
        close_open(s, head.pid)
        off = where(&s.out, text)
        row = open_row(&s.out, KILLED, line, head)
        row.flags = <uint8_t> flags
        row.name_off = off + <uint32_t> (p - text)
        row.name_len = <uint16_t> (name_end - p)
        push_row(&s.out, row, text, end, head)
        return True
    if starts_with(p, last, b"exited with ", 12):
        p += 12
    elif starts_with(p, last, b"superseded by execve in pid ", 28):
        p += 28
        flags = 1
    else:
        return False
    if not read_decimal(p, last, &value):
        return False
    drop_torn(s)
    seen(s, head.pid, 0)
    close_open(s, head.pid)
    off = where(&s.out, text)
    row = open_row(&s.out, SUPERSEDED if flags else EXIT, line, head)
    row.flags = <uint8_t> RETVAL
    row.retval = <int64_t> value
    row.ret_off = off + <uint32_t> (p - text)
    row.ret_len = <uint32_t> (last - p)
    push_row(&s.out, row, text, end, head)
    if flags and value <= 0x7fffffff:
        seen(s, <int32_t> value, 0)
        node = find_node(&s.tracees, <int32_t> value)
        if node != NULL:
            unhang(&s.tracees, node)
            node.pid = head.pid
            hang(&s.tracees, node)
    return True


cdef inline void strip_colours(State * s, Text p, Text end) noexcept nogil:
    """Copy a line into `plain` without its SGR sequences (ECMA-48: ESC [ … m)."""
    cdef Text q
    s.plain.used = 0
    if not array_reserve(&s.plain, end - p + 1):
        return
    while p < end:
        if p[0] == 27 and p[1] == 91:
            q = p + 2
            while is_digit(q[0]) or q[0] == 59 or q[0] == 58:
                q += 1
            if q < end and q[0] == 109:
                p = q + 1
                continue
        s.plain.at[s.plain.used] = p[0]
        s.plain.used += 1
        p += 1
    s.plain.at[s.plain.used] = 10


cdef inline void take_line(State * s, Text p, Text end) noexcept nogil:
    """One line, `end` at its terminator."""
    cdef Head head
    cdef Call call
    cdef Text raw = p
    cdef Text raw_end
    cdef Text rest
    cdef uint64_t line
    s.lines_in += 1
    line = s.lines_in
    if end > p and before(end) == 13:
        end -= 1
    raw_end = end
    if s.colours and memchr(p, 27, end - p) != NULL:
        strip_colours(s, p, end)
        p = s.plain.at
        end = p + s.plain.used
    rest = read_prefix(p, end, &head)
    if read_name(rest, &call):
        take_call(s, &call, rest, end, p, line, &head)
    elif rest[0] == 60 and take_resumed(s, rest, end, line, &head):
        pass
    elif starts_with(rest, end, b"--- ", 4) and take_signal(s, rest, end, line, &head):
        pass
    elif starts_with(rest, end, b"+++ ", 4) and take_exit(s, rest, end, line, &head):
        pass
    elif is_note(p, end, rest) or in_table(p, end, &s.table):
        emit_raw(&s.out, NOTE, line, raw, raw_end)
        return
    elif not join_torn(s, p, end):
        emit_raw(&s.out, UNPARSED, line, raw, raw_end)
    s.table = NO_TABLE
