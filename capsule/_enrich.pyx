"""The enricher's inner loop: event rows in, fact rows out (see capsule/events.py).

Only what happens for every event lives here: find the task, find the target in a memo,
write one row. Every rule of what a call means is Python, in the `rules` object: it is asked
when a memo has no answer, for calls that change state, and for everything that is no call.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memset

from capsule._argcounts cimport ArgumentCounts
from capsule._facts cimport Call, Target, Task
from capsule._locate cimport TargetFinder
from capsule._rows cimport (
    A_ARG, A_NONE, A_RET, FACT_JOINED, FLAG_JOINED, FLAG_RETVAL, FLAG_SELF_NUMBER, HEADER_SIZE,
    KIND_EXIT, KIND_KILLED, KIND_NOTE, KIND_SYSCALL, MAGIC_EVENTS, R_NONE, ROW_SIZE, EventRow, FactRow,
    Header, Plan, Span,
)

cdef extern from "<string.h>" nogil:
    void *memmem(const void *haystack, size_t size, const void *needle, size_t length)

from collections import deque

from capsule._locate import RULES

cdef const char *WX = "PROT_WRITE|PROT_EXEC"

AMOUNTS = {"": A_NONE, "in": A_RET, "out": A_RET, "copy": A_RET, "map": A_ARG, "unmap": A_ARG}

cdef int64_t NO_TIME = -(<int64_t>1 << 62) * 2

cdef enum:
    # memo entries and their bytes kept before all are forgotten; numbering goes on
    MEMO_LIMIT = 1 << 14
    MEMO_BYTES = 1 << 22


cdef class FactLoop(TargetFinder):
    """Turns event batches into fact batches; `rules` decides what is not routine."""
    cdef public dict tasks
    cdef public object ready  # event batches of a task that has just been identified
    cdef public bint holding
    cdef public int64_t hold_until
    cdef public uint64_t hold_line
    cdef public int64_t mark
    cdef public uint64_t events_in
    cdef public uint64_t seen_line
    cdef Plan *plan
    cdef int plans
    cdef int last_pid
    cdef Task last_task
    cdef int depth
    cdef int create_kind, open_kind, unknown_kind
    cdef uint64_t *counted  # calls by name_id, then the line of the first of each
    cdef list names
    cdef int mmap_id
    cdef uint64_t wx_count, wx_line
    cdef ArgumentCounts seen_arguments

    def __cinit__(self):
        self.mark = NO_TIME
        self.last_pid = -2

    def __dealloc__(self):
        PyMem_Free(self.plan)
        PyMem_Free(self.counted)

    def __init__(self, rules, table, kinds, by_class, slow, watched):
        cdef int i
        super().__init__(rules)
        self.tasks, self.ready = {}, deque()
        number = {kind: i for i, kind in enumerate(kinds)}
        self.create_kind, self.open_kind = number["file.create"], number["file.open"]
        self.unknown_kind = number["sys.unknown"]
        self.plans = len(table) + 1
        self.plan = <Plan *>PyMem_Malloc(self.plans * sizeof(Plan))
        if self.plan == NULL:
            raise MemoryError
        memset(self.plan, 0, self.plans * sizeof(Plan))
        self.names = [None] + [row.name for row in table]
        self.mmap_id = self.names.index("mmap")
        self.counted = <uint64_t *>PyMem_Malloc(2 * self.plans * sizeof(uint64_t))
        if self.counted == NULL:
            raise MemoryError
        memset(self.counted, 0, 2 * self.plans * sizeof(uint64_t))
        self.plan[0].kind = self.plan[0].kind_pipe = self.plan[0].kind_socket = number["sys.unknown"]
        self.plan[0].watched = -1
        for i, row in enumerate(table, 1):
            self.plan[i].kind = number[row.kind]
            self.plan[i].kind_pipe = number[by_class.get((row.kind, "pipe"), row.kind)]
            self.plan[i].kind_socket = number[by_class.get((row.kind, "socket"), row.kind)]
            self.plan[i].rule = RULES[row.target]
            self.plan[i].arg = row.target_arg
            self.plan[i].amount = AMOUNTS[row.bytes]
            self.plan[i].amount_arg = row.bytes_arg
            self.plan[i].slow = slow.get(row.name, 0)
            self.plan[i].watched = watched.get(row.name, -1)
        self.seen_arguments = ArgumentCounts(self.names, watched)

    def forget_tasks(self):
        """Drop the remembered task: the tasks have changed."""
        self.last_pid = -2
        self.last_task = None

    def calls(self):
        """Return `[name, count, first line]` of every call the table knows, in its order.

        mmap of memory that is writable and executable at once has an entry of its own too.
        """
        cdef int i
        found = [[self.names[i], self.counted[2 * i], self.counted[2 * i + 1]]
                 for i in range(1, self.plans) if self.counted[2 * i]]
        if self.wx_count:
            found.append(["mmap PROT_WRITE|PROT_EXEC", self.wx_count, self.wx_line])
        return found

    def arguments(self):
        """Return `[name, text, count, first line]` of each value of an argument that is watched."""
        return self.seen_arguments.found()

    cdef inline int _count_call(self, const EventRow *e, const char *heap, const Span *spans) except -1:
        cdef uint64_t *counted = self.counted + 2 * e.name_id
        cdef const Span *arg
        counted[0] += 1
        if e.line < counted[1] or counted[0] == 1:
            counted[1] = e.line
        if e.name_id == self.mmap_id and e.span_count > 2:
            arg = spans + e.span_first + 2
            # strace writes the bits in this order: [PROT_READ|]PROT_WRITE|PROT_EXEC
            if arg.len >= 20 and memmem(heap + arg.off, arg.len, WX, 20) != NULL:
                if self.wx_count == 0 or e.line < self.wx_line:
                    self.wx_line = e.line
                self.wx_count += 1
        elif self.plan[e.name_id].watched >= 0 and e.span_count > <uint32_t>self.plan[e.name_id].watched:
            arg = spans + e.span_first + self.plan[e.name_id].watched
            self.seen_arguments.add(e.name_id, heap + arg.off, arg.len, e.line)
        return 0

    # -- the loop --------------------------------------------------------------------------

    def feed(self, batch):
        """Return the facts of one event batch. ValueError if it is not one."""
        if len(batch):
            self._run(batch)
        return self.take()

    def drain(self):
        """Run the events of tasks that have just been identified."""
        if self.depth:
            return
        self.depth = 1
        try:
            self._drain_ready()
        finally:
            self.depth = 0

    cdef int _run(self, batch) except -1:
        cdef const uint8_t[::1] view = batch
        cdef size_t size = view.shape[0]
        cdef const Header *header = <const Header *>&view[0]
        cdef const EventRow *events
        cdef const EventRow *e
        cdef const Span *spans
        cdef const char *heap
        cdef size_t i
        cdef PyObject *found
        cdef Task task
        cdef Plan *plan
        cdef Call call
        if (size < HEADER_SIZE or header.magic != MAGIC_EVENTS
                or size != HEADER_SIZE + <size_t>header.rows * ROW_SIZE
                + <size_t>header.spans * sizeof(Span) + header.heap):
            raise ValueError("not an event batch")
        events = <const EventRow *>(&view[0] + HEADER_SIZE)
        spans = <const Span *>(events + header.rows)
        heap = <const char *>(spans + header.spans)
        self.depth += 1
        try:
            for i in range(header.rows):
                e = events + i
                self._check(e, header, spans)
                if self.depth == 1:
                    self.events_in += 1
                    self.seen_line = e.line
                    if e.ts_ns > self.mark:
                        self.mark = e.ts_ns
                    if self.holding and (self.mark >= self.hold_until or e.line >= self.hold_line):
                        self.rules.expire()
                        self._drain_ready()
                    if self.memo_count > MEMO_LIMIT or self.memo_bytes > MEMO_BYTES:
                        self.clear()
                if e.pid == self.last_pid:
                    task = self.last_task
                else:
                    found = PyDict_GetItem(self.tasks, e.pid)
                    if found == NULL:
                        if e.kind >= KIND_NOTE:
                            self.rules.other(self._call(e, heap, spans), None)
                            continue
                        task = self.rules.unknown(e.pid)
                        if task is None:
                            self.rules.hold(e.pid, e.line, self._cut(e, heap, spans),
                                            e.kind == KIND_EXIT or e.kind == KIND_KILLED)
                            self._drain_ready()
                            continue
                    else:
                        task = <Task>found
                    self.last_pid, self.last_task = e.pid, task
                if e.kind != KIND_SYSCALL:
                    self.rules.other(self._call(e, heap, spans), task)
                    self._drain_ready()
                    continue
                plan = self.plan
                if e.name_id < self.plans:
                    plan += e.name_id
                    self._count_call(e, heap, spans)
                # 2: only where strace did not say what the descriptors are
                if plan.slow == 1 or (plan.slow == 2 and not _decorated(e, heap, spans)):
                    call = self._call(e, heap, spans)
                    if self.rules.special(call, task):
                        self._drain_ready()
                        continue
                self._routine(e, heap, spans, plan, task)
        finally:
            self.depth -= 1
        return 0

    cdef inline int _drain_ready(self) except -1:
        if self.depth == 1 and self.ready:
            while self.ready:
                self._run(self.ready.popleft())
        return 0

    cdef inline int _check(self, const EventRow *e, const Header *h, const Span *spans) except -1:
        cdef uint64_t end = h.heap
        cdef size_t k
        if (<uint64_t>e.text_off + e.text_len > end or <uint64_t>e.ret_off + e.ret_len > end
                or <uint64_t>e.name_off + e.name_len > end
                or <uint64_t>e.errno_off + e.errno_len > end
                or <uint64_t>e.span_first + e.span_count > h.spans):
            raise ValueError("an event reaches outside its batch")
        for k in range(e.span_count):
            if <uint64_t>spans[e.span_first + k].off + spans[e.span_first + k].len > end:
                raise ValueError("an argument reaches outside its batch")
        return 0

    cdef Call _call(self, const EventRow *e, const char *heap, const Span *spans):
        cdef Call call = Call.__new__(Call)
        cdef size_t k
        cdef const Span *s
        call.line, call.ts_ns, call.pid, call.kind = e.line, e.ts_ns, e.pid, e.kind
        call.flags, call.name_id = e.flags, e.name_id
        call.retval = (e.retval if e.flags & FLAG_RETVAL and not e.flags & FLAG_SELF_NUMBER
                       else None)
        call.name = heap[e.name_off : e.name_off + e.name_len]
        call.error = heap[e.errno_off : e.errno_off + e.errno_len] if e.errno_len else None
        call.ret = heap[e.ret_off : e.ret_off + e.ret_len]
        call.text = heap[e.text_off : e.text_off + e.text_len] if e.kind != KIND_SYSCALL else None
        call.args = []
        for k in range(e.span_count):
            s = spans + e.span_first + k
            call.args.append(heap[s.off : s.off + s.len])
        return call

    cdef bytes _cut(self, const EventRow *e, const char *heap, const Span *spans):
        """Return this one event as a batch of its own."""
        cdef EventRow row = e[0]
        cdef bytearray texts = bytearray()
        cdef bytearray own = bytearray()
        cdef Span span
        cdef Header header
        cdef size_t k
        row.text_off = _copy(texts, heap, e.text_off, e.text_len)
        # a call's arguments lie side by side: keep them so, the memos read across them
        cdef size_t low = <size_t>-1
        cdef size_t high = 0
        for k in range(e.span_count):
            span = spans[e.span_first + k]
            low = min(low, <size_t>span.off)
            high = max(high, <size_t>span.off + span.len)
        if e.ret_len:
            low = min(low, <size_t>e.ret_off)
            high = max(high, <size_t>e.ret_off + e.ret_len)
        cdef size_t base = len(texts)
        if high > low:
            _copy(texts, heap, low, high - low)
        for k in range(e.span_count):
            span = spans[e.span_first + k]
            span.off = <uint32_t>(span.off - low + base)
            own += (<const char *>&span)[:sizeof(Span)]
        if e.ret_len:
            row.ret_off = <uint32_t>(e.ret_off - low + base)
        row.name_off = _copy(texts, heap, e.name_off, e.name_len)
        row.errno_off = _copy(texts, heap, e.errno_off, e.errno_len)
        row.ts_off = row.ts_len = 0
        row.span_first = 0
        if not e.ret_len:
            row.ret_off = 0
        header.magic, header.rows, header.spans = MAGIC_EVENTS, 1, e.span_count
        header.heap = <uint32_t>len(texts)
        return ((<const char *>&header)[:HEADER_SIZE] + (<const char *>&row)[:ROW_SIZE]
                + bytes(own) + bytes(texts))

    cdef int _routine(self, const EventRow *e, const char *heap, const Span *spans, Plan *plan,
                      Task task) except -1:
        cdef Target target = None
        cdef int kind = plan.kind
        cdef int64_t amount = -1
        cdef uint32_t errno_id = 0
        cdef uint32_t detail_off = 0
        cdef uint32_t detail_len = 0
        cdef uint32_t target_id
        cdef FactRow *row
        cdef const Span *a = spans + e.span_first
        cdef PyObject *found
        cdef bytes key
        cdef int arg = plan.arg

        if plan.rule != R_NONE:
            target = self.target(e, heap, a, plan.rule, arg, task)
        elif kind == self.unknown_kind and e.name_len:
            target = self.word(heap + e.name_off, e.name_len)
        if target is not None:
            if target.cls == 1:
                kind = plan.kind_pipe
            elif target.cls == 2:
                kind = plan.kind_socket
            if target.create and kind == self.open_kind:
                kind = self.create_kind

        if e.errno_len:
            key = PyBytes_FromStringAndSize(heap + e.errno_off, e.errno_len)
            found = PyDict_GetItem(self.errnos, key)
            if found == NULL:
                number = 0 if key.startswith(b"ERESTART") else self.intern(key)
                self.remember(self.errnos, key, number)
                errno_id = number
            else:
                errno_id = <uint32_t><object>found
        elif plan.amount == A_RET:
            if e.flags & FLAG_RETVAL and not e.flags & FLAG_SELF_NUMBER and e.retval >= 0:
                amount = e.retval
        elif plan.amount == A_ARG and plan.amount_arg < <int>e.span_count:
            amount = _integer(heap + a[plan.amount_arg].off, a[plan.amount_arg].len)

        target_id = 0
        if target is not None:
            target_id = self.number(target)
            if target.detail:
                detail_off = self.put(target.detail)
                detail_len = <uint32_t>PyBytes_GET_SIZE(target.detail)
        row = self.row()
        row.line, row.ts_ns, row.amount, row.proc = e.line, e.ts_ns, amount, task.proc
        row.target, row.errno_id, row.kind = target_id, errno_id, kind
        row.access = 0 if target is None else target.access
        row.detail_off, row.detail_len = detail_off, detail_len
        row.flags = FACT_JOINED if e.flags & FLAG_JOINED else 0
        self.events_out += 1
        return 0

cdef inline bint _decorated(const EventRow *e, const char *heap, const Span *spans) noexcept:
    """Whether the first argument carries what `-y` adds."""
    cdef const Span *first = spans + e.span_first
    return e.span_count == 0 or memchr(heap + first.off, c"<", first.len) != NULL


cdef uint32_t _copy(bytearray into, const char *heap, size_t off, size_t length):
    at = len(into)
    if length:
        into += heap[off : off + length]
    return <uint32_t>at


cdef int64_t _integer(const char *text, size_t length) noexcept:
    """The unsigned integer that the text is, decimal or 0x hex; -1 if it is none."""
    cdef uint64_t value = 0
    cdef size_t i = 0
    cdef int digit
    cdef int base = 10
    if length > 2 and text[0] == c"0" and text[1] == c"x":
        base, i = 16, 2
    if i == length or length > 20:
        return -1
    while i < length:
        if c"0" <= text[i] <= c"9":
            digit = text[i] - c"0"
        elif base == 16 and c"a" <= text[i] <= c"f":
            digit = text[i] - c"a" + 10
        else:
            return -1
        value = value * base + digit
        i += 1
    return <int64_t>value if value < (<uint64_t>1 << 62) else -1
