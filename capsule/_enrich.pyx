"""The enricher's inner loop: event rows in, fact rows out (see capsule/events.py).

Only what happens for every event lives here: find the task, find the target in a memo,
write one row. Every rule of what a call means is Python, in the `rules` object: it is asked
when a memo has no answer, for calls that change state, and for everything that is no call.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from collections import deque


cdef struct EventRow:
    uint64_t line
    int64_t ts_ns
    int64_t retval
    int64_t dur_ns
    int32_t pid
    uint16_t name_id
    uint8_t kind
    uint8_t flags
    uint32_t text_off
    uint32_t text_len
    uint32_t span_first
    uint32_t span_count
    uint32_t ret_off
    uint32_t ret_len
    uint32_t name_off
    uint32_t errno_off
    uint32_t ts_off
    uint16_t name_len
    uint16_t errno_len
    uint16_t ts_len
    uint16_t reserved0
    uint32_t reserved1

cdef struct Span:
    uint32_t off
    uint32_t len

cdef struct FactRow:
    uint64_t line
    int64_t ts_ns
    int64_t amount
    uint32_t proc
    uint32_t target
    uint32_t errno_id
    uint32_t detail_off
    uint32_t detail_len
    uint16_t kind
    uint8_t access
    uint8_t flags

cdef struct Plan:
    uint16_t kind
    uint16_t kind_pipe
    uint16_t kind_socket
    uint8_t rule
    int8_t arg
    uint8_t amount
    int8_t amount_arg
    uint8_t slow

cdef struct Header:
    uint32_t magic
    uint32_t rows
    uint32_t spans
    uint32_t heap

cdef enum:
    MAGIC_EVENTS = 0x31424543  # "CEB1"
    MAGIC_FACTS = 0x31424643  # "CFB1"
    FLAG_RETVAL = 1
    FLAG_JOINED = 2
    FLAG_SELF_NUMBER = 32
    KIND_SYSCALL = 0
    KIND_EXIT = 2
    KIND_KILLED = 3
    KIND_NOTE = 6
    HEADER_SIZE = 16
    ROW_SIZE = 88

cdef enum:
    R_NONE
    R_PATH
    R_AT
    R_OPENRET
    R_OPENATRET
    R_FD
    R_MAPFD
    R_SOCK
    R_SENDADDR
    R_ARG
    R_PID
    R_PIDRET
    R_FDREQ

cdef enum:
    A_NONE
    A_RET
    A_ARG

RULES = {
    "": R_NONE, "path": R_PATH, "at": R_AT, "openret": R_OPENRET, "openatret": R_OPENATRET,
    "fd": R_FD, "mapfd": R_MAPFD, "sock": R_SOCK, "sendaddr": R_SENDADDR, "arg": R_ARG,
    "pid": R_PID, "pidret": R_PIDRET, "fdreq": R_FDREQ,
    # the rest are named by their own handlers; this is what remains when one declines
    "addr": R_SOCK, "accept": R_SOCK, "sockret": R_NONE, "execpath": R_PATH, "execat": R_AT,
}
AMOUNTS = {"": A_NONE, "in": A_RET, "out": A_RET, "copy": A_RET, "map": A_ARG, "unmap": A_ARG}

cdef int64_t NO_TIME = -(<int64_t>1 << 62) * 2

cdef enum:
    # memo entries and their bytes kept before all are forgotten; numbering goes on
    MEMO_LIMIT = 1 << 16
    MEMO_BYTES = 1 << 24


cdef class Fs:
    """What CLONE_FS shares: working directory, root and umask; `None` is not known."""
    cdef public bytes cwd
    cdef public bytes root
    cdef public object umask
    cdef dict memo
    cdef bytes memo_cwd
    cdef uint32_t memo_epoch

    def __init__(self, cwd=None, root=None, umask=None):
        self.cwd, self.root, self.umask = cwd, root, umask

    def copy(self):
        """Return a copy that changes by itself."""
        return Fs(self.cwd, self.root, self.umask)


cdef class Task:
    """One thread of execution (a pid of the trace) and what it may share with others."""
    cdef public int tid
    cdef public uint32_t proc
    cdef public object process
    cdef public Fs fs
    cdef public object files

    def __init__(self, tid, process, fs, files):
        self.tid, self.process, self.fs, self.files = tid, process, fs, files
        self.proc = process.proc


cdef class Target:
    """What a call acts on: its text, what class of object it is, how it was opened."""
    cdef public bytes text  # None: nothing
    cdef public int cls  # 0 file, 1 pipe or the like, 2 socket
    cdef public int access  # 1 read, 2 write, 3 both
    cdef public bint create
    cdef public bytes detail
    cdef uint32_t number
    cdef uint32_t epoch

    def __init__(self, text, cls=0, access=0, create=False, detail=b""):
        self.text, self.cls, self.access = text, cls, access
        self.create, self.detail = create, detail


cdef class Call:
    """One event, taken apart for the rules."""
    cdef public uint64_t line
    cdef public int64_t ts_ns
    cdef public int pid
    cdef public int kind
    cdef public int flags
    cdef public int name_id
    cdef public object retval  # int; None when the value is no integer or no result
    cdef public bytes name
    cdef public bytes error
    cdef public bytes ret
    cdef public bytes text
    cdef public list args


cdef class FactLoop:
    """Turns event batches into fact batches; `rules` decides what is not routine."""
    cdef public dict tasks
    cdef public dict sockets  # b"socket:[1]" -> Target of the peer
    cdef public object ready  # event batches of a task that has just been identified
    cdef public bint holding
    cdef public int64_t hold_until
    cdef public uint64_t hold_line
    cdef public int64_t mark
    cdef public uint64_t events_in
    cdef public uint64_t events_out
    cdef public uint64_t seen_line
    cdef object rules
    cdef Plan *plan
    cdef int plans
    cdef int last_pid
    cdef Task last_task
    cdef int depth
    # memos: text -> Target, all forgotten together
    cdef uint32_t epoch
    cdef size_t memo_count, memo_bytes
    cdef dict strings
    cdef dict fds, paths, ats, opens, words, by_cwd, errnos
    cdef int create_kind, open_kind, unknown_kind
    # the batch being written
    cdef FactRow *rows
    cdef size_t n_rows, cap_rows
    cdef Span *spans
    cdef size_t n_spans, cap_spans
    cdef char *heap
    cdef size_t heap_len, heap_cap
    cdef uint32_t next_string, first_string, forget

    def __cinit__(self):
        self.next_string = self.first_string = 1
        self.mark = NO_TIME
        self.last_pid = -2

    def __dealloc__(self):
        PyMem_Free(self.plan)
        PyMem_Free(self.rows)
        PyMem_Free(self.spans)
        PyMem_Free(self.heap)

    def __init__(self, rules, table, kinds, by_class, slow):
        cdef int i
        self.rules = rules
        self.tasks, self.sockets, self.ready = {}, {}, deque()
        self._clear()
        number = {kind: i for i, kind in enumerate(kinds)}
        self.create_kind, self.open_kind = number["file.create"], number["file.open"]
        self.unknown_kind = number["sys.unknown"]
        self.plans = len(table) + 1
        self.plan = <Plan *>PyMem_Malloc(self.plans * sizeof(Plan))
        if self.plan == NULL:
            raise MemoryError
        memset(self.plan, 0, self.plans * sizeof(Plan))
        self.plan[0].kind = self.plan[0].kind_pipe = self.plan[0].kind_socket = number["sys.unknown"]
        for i, row in enumerate(table, 1):
            self.plan[i].kind = number[row.kind]
            self.plan[i].kind_pipe = number[by_class.get((row.kind, "pipe"), row.kind)]
            self.plan[i].kind_socket = number[by_class.get((row.kind, "socket"), row.kind)]
            self.plan[i].rule = RULES[row.target]
            self.plan[i].arg = row.target_arg
            self.plan[i].amount = AMOUNTS[row.bytes]
            self.plan[i].amount_arg = row.bytes_arg
            self.plan[i].slow = slow.get(row.name, 0)

    # -- strings and rows ------------------------------------------------------------------

    cdef void _clear(self):
        self.epoch += 1
        self.strings = {}
        self.fds, self.paths, self.ats, self.opens, self.words = {}, {}, {}, {}, {}
        self.by_cwd, self.errnos = {}, {}
        self.memo_count = self.memo_bytes = 0
        self.forget = self.next_string

    cdef inline int _remember(self, dict memo, bytes key, value) except -1:
        memo[key] = value
        self.memo_count += 1
        self.memo_bytes += PyBytes_GET_SIZE(key)
        return 0

    cdef int _grow_heap(self, size_t more) except -1:
        cdef size_t cap
        cdef char *heap
        if self.heap_len + more > self.heap_cap:
            cap = max(2 * self.heap_cap, self.heap_len + more, <size_t>65536)
            heap = <char *>PyMem_Realloc(self.heap, cap)
            if heap == NULL:
                raise MemoryError
            self.heap, self.heap_cap = heap, cap
        return 0

    cdef uint32_t _put(self, bytes data) except? 0xFFFFFFFF:
        cdef size_t length = PyBytes_GET_SIZE(data)
        cdef uint32_t at = <uint32_t>self.heap_len
        self._grow_heap(length)
        memcpy(self.heap + self.heap_len, PyBytes_AS_STRING(data), length)
        self.heap_len += length
        return at

    cdef uint32_t _intern(self, bytes text) except? 0xFFFFFFFF:
        cdef PyObject *found = PyDict_GetItem(self.strings, text)
        cdef Span *spans
        if found != NULL:
            return <uint32_t><object>found
        if self.n_spans == self.cap_spans:
            self.cap_spans = max(2 * self.cap_spans, <size_t>1024)
            spans = <Span *>PyMem_Realloc(self.spans, self.cap_spans * sizeof(Span))
            if spans == NULL:
                raise MemoryError
            self.spans = spans
        self.spans[self.n_spans].off = self._put(text)
        self.spans[self.n_spans].len = <uint32_t>PyBytes_GET_SIZE(text)
        self.n_spans += 1
        number = self.next_string
        self._remember(self.strings, text, number)
        self.next_string += 1
        return number

    cdef inline uint32_t _number(self, Target target) except? 0xFFFFFFFF:
        if target is None or target.text is None:
            return 0
        if target.epoch != self.epoch:
            target.number = self._intern(target.text)
            target.epoch = self.epoch
        return target.number

    cdef FactRow *_row(self) except NULL:
        cdef FactRow *rows
        if self.n_rows == self.cap_rows:
            self.cap_rows = max(2 * self.cap_rows, <size_t>512)
            rows = <FactRow *>PyMem_Realloc(self.rows, self.cap_rows * sizeof(FactRow))
            if rows == NULL:
                raise MemoryError
            self.rows = rows
        rows = self.rows + self.n_rows
        self.n_rows += 1
        return rows

    def process_fact(self, uint32_t proc, int pid, bytes exe, int64_t uid):
        """Write who `proc` is from here on; `uid` -1 and `exe` None are not known."""
        cdef uint32_t exe_id = 0 if exe is None else self._intern(exe)
        cdef FactRow *row = self._row()
        memset(row, 0, sizeof(FactRow))
        row.kind, row.proc, row.amount, row.ts_ns, row.target = 0xFFFF, proc, pid, uid, exe_id

    def process_gone(self, uint32_t proc):
        """Write that `proc` has ended and its number is not used again."""
        cdef FactRow *row = self._row()
        memset(row, 0, sizeof(FactRow))
        row.kind, row.proc = 0xFFFE, proc

    def emit(self, Call call, int kind, uint32_t proc, Target target,
             int64_t amount=-1, int access=0, bytes detail=b""):
        """Write the one row of `call`."""
        cdef uint32_t target_id = self._number(target)
        cdef uint32_t errno_id = 0
        if call.error is not None and not call.error.startswith(b"ERESTART"):
            errno_id = self._intern(call.error)
        cdef uint32_t off = self._put(detail)
        cdef FactRow *row = self._row()
        row.line, row.ts_ns, row.amount, row.proc = call.line, call.ts_ns, amount, proc
        row.target, row.errno_id, row.kind, row.access = target_id, errno_id, kind, access
        row.detail_off, row.detail_len = off, <uint32_t>PyBytes_GET_SIZE(detail)
        row.flags = (call.flags & FLAG_JOINED) != 0
        self.events_out += 1

    def forget_tasks(self):
        """Drop the remembered task: the tasks have changed."""
        self.last_pid = -2
        self.last_task = None

    # -- the loop --------------------------------------------------------------------------

    def feed(self, batch):
        """Return the facts of one event batch. ValueError if it is not one."""
        if len(batch):
            self._run(batch)
        return self.take()

    def take(self):
        """Return what has been written since the last batch."""
        cdef size_t size
        cdef uint32_t head[6]
        cdef char *out
        if self.n_rows == 0:
            return b""
        size = (sizeof(head) + self.n_rows * sizeof(FactRow) + self.n_spans * sizeof(Span)
                + self.heap_len)
        result = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(result)
        head[0], head[1], head[2] = MAGIC_FACTS, <uint32_t>self.n_rows, <uint32_t>self.n_spans
        head[3], head[4], head[5] = <uint32_t>self.heap_len, self.first_string, self.forget
        memcpy(out, head, sizeof(head))
        out += sizeof(head)
        memcpy(out, self.rows, self.n_rows * sizeof(FactRow))
        out += self.n_rows * sizeof(FactRow)
        if self.n_spans:
            memcpy(out, self.spans, self.n_spans * sizeof(Span))
        out += self.n_spans * sizeof(Span)
        if self.heap_len:
            memcpy(out, self.heap, self.heap_len)
        self.n_rows = self.n_spans = self.heap_len = 0
        self.first_string = self.next_string
        return result

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
                        self._clear()
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
                            continue
                    else:
                        task = <Task>found
                    self.last_pid, self.last_task = e.pid, task
                if e.kind != KIND_SYSCALL:
                    self.rules.other(self._call(e, heap, spans), task)
                    self._drain_ready()
                    continue
                plan = self.plan + (e.name_id if e.name_id < self.plans else 0)
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
            target = self._target(e, heap, a, plan.rule, arg, task)
        elif kind == self.unknown_kind and e.name_len:
            target = self._word(heap + e.name_off, e.name_len)
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
                number = 0 if key.startswith(b"ERESTART") else self._intern(key)
                self._remember(self.errnos, key, number)
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
            target_id = self._number(target)
            if target.detail:
                detail_off = self._put(target.detail)
                detail_len = <uint32_t>PyBytes_GET_SIZE(target.detail)
        row = self._row()
        row.line, row.ts_ns, row.amount, row.proc = e.line, e.ts_ns, amount, task.proc
        row.target, row.errno_id, row.kind = target_id, errno_id, kind
        row.access = 0 if target is None else target.access
        row.detail_off, row.detail_len = detail_off, detail_len
        row.flags = (e.flags & FLAG_JOINED) != 0
        self.events_out += 1
        return 0

    cdef Target _word(self, const char *text, size_t length):
        """Return the target that is the text itself."""
        cdef bytes key = PyBytes_FromStringAndSize(text, min(length, <size_t>256))
        cdef PyObject *found = PyDict_GetItem(self.words, key)
        if found != NULL:
            return <Target>found
        target = Target(key)
        self._remember(self.words, key, target)
        return target

    cdef Target _target(self, const EventRow *e, const char *heap, const Span *a, int rule, int arg,
                        Task task):
        cdef int count = e.span_count
        cdef const char *text
        cdef size_t length
        cdef int last
        if rule == R_PIDRET:
            if e.flags & FLAG_RETVAL and e.retval > 0 and not e.errno_len:
                return self._pid(heap + e.ret_off, e.ret_len)
            return self._pid(heap + a[0].off, a[0].len) if count else None
        if arg >= count:
            return None
        text, length = heap + a[arg].off, a[arg].len
        if rule == R_FD or rule == R_SOCK:
            return self._fd(text, length, task)
        if rule == R_MAPFD:
            return self._fd(text, length, task) if length and text[0] != c"-" else None
        if rule == R_PATH:
            return self._path(heap, a, arg, -1, arg, e, task)
        if rule == R_AT:
            if arg + 1 >= count:
                return None
            return self._path(heap, a, arg + 1, arg, arg + 1, e, task)
        if rule == R_OPENRET:
            return self._open(heap, a, arg, -1, min(arg + 1, count - 1), e, task)
        if rule == R_OPENATRET:
            if arg + 1 >= count:
                return None
            return self._open(heap, a, arg + 1, arg, min(arg + 2, count - 1), e, task)
        if rule == R_SENDADDR:
            if arg < count and length and text[0] == c"{":
                return self.rules.address_target(text[:length])
            return self._fd(heap + a[0].off, a[0].len, task)
        if rule == R_PID:
            return self._pid(text, length)
        if rule == R_FDREQ:
            return self._fd(text, length, task)
        return self._word(text, length)

    cdef Target _pid(self, const char *text, size_t length):
        cdef bytes key = b"pid:" + PyBytes_FromStringAndSize(text, min(length, <size_t>64))
        cdef PyObject *found = PyDict_GetItem(self.words, key)
        if found != NULL:
            return <Target>found
        target = Target(b"pid:" + self.rules.pid_text(key[4:]))
        self._remember(self.words, key, target)
        return target

    cdef Target _fd(self, const char *text, size_t length, Task task):
        cdef const char *mark = <const char *>memchr(text, c"<", length)
        cdef bytes key
        cdef PyObject *found
        cdef Target target
        if mark == NULL:
            return self.rules.fd_target(task, text[:length])
        key = PyBytes_FromStringAndSize(mark, length - (mark - text))
        found = PyDict_GetItem(self.fds, key)
        if found == NULL:
            target = self.rules.decoration_target(key)
            self._remember(self.fds, key, target)
        else:
            target = <Target>found
        if target.cls == 2:
            found = PyDict_GetItem(self.sockets, target.text)
            if found != NULL:
                return <Target>found
        return target

    cdef Target _path(self, const char *heap, const Span *a, int path, int dirfd, int last,
                      const EventRow *e, Task task):
        """The target of the path at `path`, seen from `dirfd` (-1: from the cwd)."""
        cdef const char *text = heap + a[path].off
        cdef size_t length = a[path].len
        cdef size_t off, end
        cdef dict memo
        cdef bytes key
        cdef PyObject *found
        cdef Fs fs = task.fs
        cdef bint absolute = length > 1 and text[0] == c'"' and text[1] == c"/"
        cdef int first = path if absolute or dirfd < 0 else dirfd
        if dirfd >= 0 and fs.cwd is None:
            self._learn_cwd(heap, a + dirfd, fs)
        off, end = a[first].off, <size_t>a[last].off + a[last].len
        memo = None
        if fs.root is None and end >= off:
            if absolute:
                memo = self.paths
            elif dirfd >= 0 and memchr(heap + a[dirfd].off, c"<", a[dirfd].len) != NULL:
                memo = self.ats
            elif dirfd < 0 or heap[a[dirfd].off] == c"A":
                memo = self._cwd_memo(fs)
        if memo is not None:
            key = PyBytes_FromStringAndSize(heap + off, end - off)
            found = PyDict_GetItem(memo, key)
            if found != NULL:
                return <Target>found
        target = self.rules.path_target(
            task,
            None if dirfd < 0 else heap[a[dirfd].off : a[dirfd].off + a[dirfd].len],
            text[:length],
            None if last == path else heap[a[last].off : a[last].off + a[last].len],
            None,
        )
        if memo is not None:
            self._remember(memo, key, target)
        return target

    cdef int _learn_cwd(self, const char *heap, const Span *dirfd, Fs fs) except -1:
        """`AT_FDCWD</home>` says where a process is of which nothing was known."""
        if dirfd.len > 9 and heap[dirfd.off] == c"A":
            fs.cwd = self.rules.base_of(None, heap[dirfd.off : dirfd.off + dirfd.len])
        return 0

    cdef dict _cwd_memo(self, Fs fs):
        if fs.memo is None or fs.memo_epoch != self.epoch or fs.memo_cwd is not fs.cwd:
            fs.memo = self.by_cwd.setdefault(fs.cwd, {})
            fs.memo_epoch, fs.memo_cwd = self.epoch, fs.cwd
        return fs.memo

    cdef Target _open(self, const char *heap, const Span *a, int path, int dirfd, int last,
                      const EventRow *e, Task task):
        """The target of an open: the file the kernel names, else the path as given."""
        cdef size_t off, end
        cdef bytes key
        cdef PyObject *found
        cdef Fs fs = task.fs
        if e.errno_len or not e.flags & FLAG_RETVAL or e.retval < 0 or e.flags & FLAG_SELF_NUMBER:
            return self._path(heap, a, path, dirfd, last, e, task)
        if memchr(heap + e.ret_off, c"<", e.ret_len) == NULL:
            target = self._path(heap, a, path, dirfd, last, e, task)
            self.rules.opened(task, e.retval, target, heap[a[last].off : a[last].off + a[last].len])
            return target
        if dirfd >= 0 and fs.cwd is None:
            self._learn_cwd(heap, a + dirfd, fs)
        off = a[path if dirfd < 0 else dirfd].off
        end = <size_t>e.ret_off + e.ret_len
        key = None
        if fs.root is None and end > off:
            key = PyBytes_FromStringAndSize(heap + off, end - off)
            found = PyDict_GetItem(self.opens, key)
            if found != NULL:
                return <Target>found
        target = self.rules.path_target(
            task,
            None if dirfd < 0 else heap[a[dirfd].off : a[dirfd].off + a[dirfd].len],
            heap[a[path].off : a[path].off + a[path].len],
            None if last == path else heap[a[last].off : a[last].off + a[last].len],
            heap[e.ret_off : e.ret_off + e.ret_len],
        )
        if key is not None:
            self._remember(self.opens, key, target)
        return target


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
