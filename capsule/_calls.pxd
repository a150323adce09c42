"""Calls as events: returned, never returned, or held until their tracee's next line."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from capsule._batch cimport (
    ORPHAN, NO_PID, RETVAL, SELF_NUMBER, SYSCALL, Array, Batch, Head, Row, Text, array_append, array_reserve,
    open_row, place, push_row, where,
)
from capsule._names cimport HASH_SEED, NAME_ROOM, Known, Names, find_name, hash_step
from capsule._prefix cimport skip_blanks
from capsule._scan cimport Scan, push_last, scan_args, starts_with
from capsule._tracees cimport Node, Tracees, add_node, detach_node, find_node, free_node
from capsule._value cimport read_return

cdef extern from *:
    """
    /* 1: may begin a name; 3: may begin or follow. Names are C identifiers or strace's `???`. */
    static const unsigned char NAME_CLASS[256] = {
        ['a' ... 'z'] = 3, ['A' ... 'Z'] = 3, ['_'] = 3, ['?'] = 3, ['0' ... '9'] = 2,
    };
    """
    const unsigned char NAME_CLASS[256]


cdef struct Call:
    # A name, its `(` and what follows.
    Text name
    uint32_t name_len
    uint32_t hash
    Text args


cdef inline bint read_name(Text p, Call * call) noexcept nogil:
    """Read `name(`."""
    cdef uint32_t h = <uint32_t> HASH_SEED
    cdef Text q = p
    if NAME_CLASS[q[0]] & 1:
        while NAME_CLASS[q[0]]:
            h = hash_step(h, q[0])
            q += 1
    call.name = p
    call.name_len = <uint32_t> (q - p) if q - p < NAME_ROOM else 0
    call.hash = h
    call.args = q + 1
    return q[0] == 40 and call.name_len


cdef struct State:
    # All that outlives a line.
    Batch out
    Names names
    Tracees tracees
    Node torn  # a call that other text broke
    bint torn_open
    size_t torn_skip  # its prefix
    size_t torn_len  # up to where it is the call's own text
    Array joined  # a torn call put together
    Array plain  # a line without its colours
    bint colours  # a line may hold an ESC
    uint8_t table  # where in a table the text is
    size_t max_line
    uint64_t lines_in
    uint64_t joined_lines


cdef inline bint extend(State * s, Node * node, Text text, Text end) noexcept nogil:
    array_append(&node.text, text, end - text)
    if not array_reserve(&node.text, 1):
        s.tracees.failed = True
        return False
    node.text.at[node.text.used] = 10
    return True


cdef inline bint remember(
    State * s, Node * node, Text text, Text end, uint64_t line, Head * head, int flags
) noexcept nogil:
    """Copy a call's text and its prefix into a node, with a line end after the text."""
    node.line = line
    node.ts_ns = head.ts_ns
    node.ts_len = <uint8_t> head.ts_len
    memcpy(node.ts, head.ts, head.ts_len)
    node.flags = <uint8_t> flags
    node.text.used = 0
    return extend(s, node, text, end)


cdef inline void recall(Node * node, Head * head) noexcept nogil:
    head.pid = node.pid
    head.ts_ns = node.ts_ns
    head.ts = node.ts
    head.ts_len = node.ts_len


cdef inline bint hold_back(
    State * s, Call * call, Text text, Text end, uint64_t line, Head * head, int flags
) noexcept nogil:
    cdef Node * node
    if find_node(&s.tracees, head.pid) != NULL:
        return False
    node = add_node(&s.tracees, head.pid)
    if node == NULL:
        return False
    node.held = True
    s.tracees.held += 1
    return remember(s, node, text, end, line, head, flags)


cdef inline bint read_call(Text p, Text end, Call * call) noexcept nogil:
    """Read `name(` or `<... name resumed>`."""
    cdef Text q
    if p[0] != 60:
        return read_name(p, call)
    if not starts_with(p, end, b"<... ", 5):
        return False
    read_name(p + 5, call)
    q = call.args - 1
    if not call.name_len or not starts_with(q, end, b" resumed>", 9):
        return False
    q += 9
    if q[0] == 32 and not (q[1] == 61 and q[2] == 62) and not (q[1] == 47 and q[2] == 42):
        q += 1
    call.args = q
    return True


cdef inline void skip_comma(Call * call) noexcept nogil:
    """Releases from 6.16 begin a second half with the comma; without a first half it ends nothing."""
    if call.args[0] == 44:
        call.args += 1


cdef inline bint emit_call(
    State * s, Call * call, Text text, Text end, uint64_t line, Head * head, int flags, bint hold
) noexcept nogil:
    """Add a call that returned; False (and no trace of it) if `text` holds no return value.

    A value that is the call's own number waits for the tracee's next line: SIGSYS there
    says that the call never ran.
    """
    cdef Row * row
    cdef Scan scan
    cdef Known * known
    cdef uint32_t off = where(&s.out, text)
    cdef size_t spans = s.out.spans.used
    cdef int64_t number
    row = open_row(&s.out, SYSCALL, line, head)
    scan = scan_args(call.args, end, &s.out.spans, text, off)
    if scan.close == NULL:
        s.out.spans.used = spans
        return False
    push_last(&s.out.spans, scan.arg, scan.close, text, off)
    row.flags = <uint8_t> flags
    row.name_off = off + <uint32_t> (call.name - text)
    row.name_len = <uint16_t> call.name_len
    read_return(skip_blanks(scan.close + 1) + 2, end, row, text, off)
    known = find_name(&s.names, call.name, call.name_len, call.hash)
    if known.length:
        row.name_id = known.id
        if row.flags & RETVAL and row.retval >= 0:
            number = row.retval & ~(<int64_t> 0x40000000)
            if number == known.number or number == known.number32:
                if flags & SELF_NUMBER:
                    row.flags &= ~RETVAL
                    row.retval = 0
                elif hold and hold_back(s, call, text, end, line, head, flags):
                    s.out.spans.used = spans
                    return True
    push_row(&s.out, row, text, end, head)
    return True


cdef inline void emit_endless(
    State * s, Call * call, Text text, Text end, uint64_t line, Head * head, int flags
) noexcept nogil:
    """Add a call whose return was never seen."""
    cdef Row * row
    cdef Scan scan
    cdef Known * known
    cdef uint32_t off
    cdef unsigned char unknown = 63
    row = open_row(&s.out, SYSCALL, line, head)
    row.ret_off = <uint32_t> (s.out.data_len + s.out.extra.used)
    row.ret_len = 1
    array_append(&s.out.extra, &unknown, 1)
    off = where(&s.out, text)
    scan = scan_args(call.args, end, &s.out.spans, text, off)
    push_last(&s.out.spans, scan.arg, end if scan.close == NULL else scan.close, text, off)
    row.flags = <uint8_t> (flags | ORPHAN)
    row.name_off = off + <uint32_t> (call.name - text)
    row.name_len = <uint16_t> call.name_len
    known = find_name(&s.names, call.name, call.name_len, call.hash)
    if known.length:
        row.name_id = known.id
    push_row(&s.out, row, text, end, head)

# ---- tracees ----


cdef inline void release(State * s, Node * node, int flags) noexcept nogil:
    """Let a held call go; `flags` may say that it never ran."""
    cdef Head head
    cdef Call call
    cdef Text text = node.text.at
    detach_node(&s.tracees, node)
    recall(node, &head)
    if read_call(text, text + node.text.used, &call):
        if text[0] == 60:
            skip_comma(&call)
        emit_call(s, &call, text, text + node.text.used, node.line, &head, node.flags | flags, False)
    free_node(&s.tracees, node)


cdef inline void seen(State * s, int32_t pid, int flags) noexcept nogil:
    """A line of this tracee begins: its held call is decided."""
    cdef Node * node
    if s.tracees.held:
        node = find_node(&s.tracees, pid)
        if node != NULL and node.held:
            release(s, node, flags)
        if pid != NO_PID:
            node = find_node(&s.tracees, NO_PID)
            if node != NULL and node.held:
                release(s, node, 0)


cdef inline void give_up(State * s, Node * node) noexcept nogil:
    """An open call whose other half can no longer come."""
    cdef Head head
    cdef Call call
    cdef Text text = node.text.at
    detach_node(&s.tracees, node)
    recall(node, &head)
    read_name(text, &call)
    emit_endless(s, &call, text, text + node.text.used, node.line, &head, node.flags)
    free_node(&s.tracees, node)


cdef inline void close_open(State * s, int32_t pid) noexcept nogil:
    cdef Node * node = find_node(&s.tracees, pid)
    if node != NULL:
        give_up(s, node)
