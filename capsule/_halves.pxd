"""Calls that take more than one line: unfinished and resumed halves, lines broken by other text."""

from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcmp, memset

from capsule._batch cimport (
    JOINED, NO_PID, ORPHAN, TORN, UNPARSED, Array, Head, Text, array_append, array_empty, array_free,
    array_reserve, emit_raw,
)
from capsule._calls cimport (
    Call, State, close_open, emit_call, emit_endless, extend, give_up, read_call, read_name, recall, remember,
    seen, skip_comma,
)
from capsule._notes cimport glued_message
from capsule._scan cimport Scan, before, scan_args, starts_with
from capsule._tracees cimport Node, add_node, detach_node, find_node, free_node, hang, unhang

cdef extern from "<string.h>" nogil:
    void * memrchr(const void * s, int c, size_t n)

cdef enum:
    NEAR_OPEN_CALLS = 64  # how far back a half without pid looks for its other half

cdef enum Ending:
    # How a call line ends that has no return value.
    NOTHING  # it does not: other text broke it
    PENDING  # the rest comes later
    NEVER  # the rest never comes


cdef inline Ending read_ending(Text p, Text end, Text * cut) noexcept nogil:
    """Classify a call line without a return value; `cut` is where its own text ends."""
    cdef Text angle
    cdef Ending ending
    cut[0] = end
    if end == p or before(end) != 62:
        return NOTHING
    angle = <Text> memrchr(p, 60, end - p)
    if angle == NULL:
        return NOTHING
    if starts_with(angle, end, b"<unfinished ...>", 16) or starts_with(angle, end, b"<pid changed to ", 16):
        ending = PENDING
    elif (
        starts_with(angle, end, b"<unfinished ... exit status ", 28)
        or starts_with(angle, end, b"<detached ...>", 14)
        or starts_with(angle, end, b"<Cannot restart pid ", 20)
    ):
        ending = NEVER
    else:
        return NOTHING
    if angle > p and before(angle) == 32:
        angle -= 1
    cut[0] = angle
    return ending


cdef inline bint is_half_of(Node * node, Call * call) noexcept nogil:
    """Whether an open call is the one that a second half names; `???` may be any."""
    cdef Text name = node.text.at
    if node.held:
        return False
    if name[0] == 63:
        return True
    return (
        node.text.used > call.name_len
        and name[call.name_len] == 40
        and memcmp(name, call.name, call.name_len) == 0
    )


cdef inline Node * find_half(State * s, int32_t pid, Call * call) noexcept nogil:
    """The open call of a second half.

    strace leaves the pid out while it has one tracee only, so one half may lack it.
    """
    cdef Node * node = find_node(&s.tracees, pid)
    cdef int looked = 0
    if node != NULL and is_half_of(node, call):
        return node
    if pid != NO_PID:
        node = find_node(&s.tracees, NO_PID)
        return node if node != NULL and is_half_of(node, call) else NULL
    node = s.tracees.newest
    while node != NULL and looked < NEAR_OPEN_CALLS:
        if is_half_of(node, call):
            return node
        node = node.older
        looked += 1
    return NULL

# ---- lines ----


cdef inline bint returns_at_all(State * s, Text args, Text end) noexcept nogil:
    cdef size_t spans = s.out.spans.used
    cdef Scan scan = scan_args(args, end, &s.out.spans, args, 0)
    s.out.spans.used = spans
    return scan.close != NULL


cdef inline void rename(Node * node, Call * call) noexcept nogil:
    """Give the name that the second half has to a call begun as `???`."""
    cdef Call old
    cdef Array text
    read_name(node.text.at, &old)
    memset(&text, 0, sizeof(text))
    array_append(&text, call.name, call.name_len)
    array_append(&text, old.name + old.name_len, node.text.used - old.name_len)
    array_free(&node.text)
    node.text = text


cdef inline void drop_torn(State * s) noexcept nogil:
    """The end of the torn call did not come: keep its text."""
    if s.torn_open:
        s.torn_open = False
        emit_raw(&s.out, UNPARSED, s.torn.line, s.torn.text.at, s.torn.text.at + s.torn.text.used)
        array_empty(&s.torn.text)


cdef inline void start_torn(
    State * s, Text text, Text end, size_t skip, uint64_t line, Head * head, int flags
) noexcept nogil:
    """Keep a call that other text broke, for the line that holds its end."""
    cdef Text cut = glued_message(text, end)
    s.torn.pid = head.pid
    remember(s, &s.torn, text, end, line, head, flags)
    s.torn_open = True
    s.torn_skip = skip
    s.torn_len = cut - text


cdef inline bint join_torn(State * s, Text text, Text end) noexcept nogil:
    """Try a line that is none of strace's as the next part of the torn call."""
    cdef Head head
    cdef Call call
    cdef Text whole
    cdef Text cut
    cdef Ending ending
    cdef Node * node
    cdef int flags = s.torn.flags | TORN | JOINED
    if not s.torn_open:
        return False
    ending = read_ending(text, end, &cut)
    if ending == NOTHING and not returns_at_all(s, text, end):
        return False
    s.joined.used = 0
    array_append(&s.joined, s.torn.text.at + s.torn_skip, s.torn_len - s.torn_skip)
    array_append(&s.joined, text, cut - text)
    if not array_reserve(&s.joined, 1):
        return False
    s.joined.at[s.joined.used] = 10
    whole = s.joined.at
    cut = whole + s.joined.used
    recall(&s.torn, &head)
    read_name(whole, &call)
    if ending == NOTHING:
        if not emit_call(s, &call, whole, cut, s.torn.line, &head, flags, True):
            return False
    elif ending == NEVER:
        emit_endless(s, &call, whole, cut, s.torn.line, &head, flags)
    else:
        close_open(s, head.pid)
        node = add_node(&s.tracees, head.pid)
        if node == NULL:
            return False
        remember(s, node, whole, cut, s.torn.line, &head, flags)
    s.torn_open = False
    array_empty(&s.torn.text)
    s.joined_lines += 1
    return True


cdef inline void take_call(
    State * s, Call * call, Text text, Text end, Text raw, uint64_t line, Head * head
) noexcept nogil:
    """A line with `name(`."""
    cdef Text cut
    cdef Ending ending
    cdef Node * node
    if s.tracees.count:
        seen(s, head.pid, 0)
        close_open(s, head.pid)
    drop_torn(s)
    if emit_call(s, call, text, end, line, head, 0, True):
        return
    ending = read_ending(text, end, &cut)
    if ending == NEVER:
        emit_endless(s, call, text, cut, line, head, 0)
    elif ending == PENDING:
        node = add_node(&s.tracees, head.pid)
        if node != NULL:
            remember(s, node, text, cut, line, head, 0)
    else:
        start_torn(s, raw, end, text - raw, line, head, 0)


cdef inline bint take_orphan(
    State * s, Call * call, Text text, Text end, Text cut, Ending ending, uint64_t line, Head * head
) noexcept nogil:
    """A second half without a first."""
    cdef Node * node
    cdef unsigned char paren = 40
    skip_comma(call)
    if ending == NOTHING:
        if not returns_at_all(s, call.args, end):
            return False
        close_open(s, head.pid)
        drop_torn(s)
        emit_call(s, call, text, end, line, head, ORPHAN, True)
        return True
    close_open(s, head.pid)
    drop_torn(s)
    if ending == NEVER:
        emit_endless(s, call, text, cut, line, head, 0)
        return True
    node = add_node(&s.tracees, head.pid)
    if node != NULL and remember(s, node, call.name, call.name + call.name_len, line, head, ORPHAN):
        extend(s, node, &paren, &paren + 1)
        extend(s, node, call.args, cut if cut > call.args else call.args)
    return True


cdef inline bint take_resumed(
    State * s, Text text, Text end, uint64_t line, Head * head
) noexcept nogil:
    """A line with `<... name resumed>`; False if it is not understood."""
    cdef Call call
    cdef Head opening
    cdef Text cut
    cdef Ending ending
    cdef Node * node
    if not read_call(text, end, &call):
        return False
    seen(s, head.pid, 0)
    ending = read_ending(call.args, end, &cut)
    node = find_half(s, head.pid, &call)
    if node != NULL and node.text.used + (cut - call.args) > s.max_line:
        node = NULL
    if node == NULL:
        return take_orphan(s, &call, text, end, cut, ending, line, head)
    drop_torn(s)
    s.joined_lines += 1
    node.flags |= JOINED
    if node.text.at[0] == 63:
        rename(node, &call)
    extend(s, node, call.args, cut)
    if node.pid != head.pid and head.pid != NO_PID:
        close_open(s, head.pid)
        unhang(&s.tracees, node)
        node.pid = head.pid
        hang(&s.tracees, node)
    if ending == PENDING:
        return True
    if ending == NEVER:
        give_up(s, node)
        return True
    detach_node(&s.tracees, node)
    recall(node, &opening)
    text = node.text.at
    end = text + node.text.used
    read_name(text, &call)
    if not emit_call(s, &call, text, end, node.line, &opening, node.flags, True):
        start_torn(s, text, end, 0, node.line, &opening, node.flags)
    free_node(&s.tracees, node)
    return True
