"""The aggregator's inner loop: fact rows in, lines of JSON out (docs/actions.md).

A row joins the pending Action of its process, kind, target and access, or opens one. What a
record says beyond counts and texts (details, tags, the summary) is Python, in `rules`, asked
once an Action or once a distinct text, never once an event.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from capsule._actions cimport K_END, K_IMMEDIATE, ActionWriter, Pending, Proc, Text
from capsule._rows cimport (
    FACT_JOINED, MAGIC_FACTS, PROCESS_GONE, FactHeader, FactRow, Span,
)

cdef enum:
    WINDOW_ROWS = 4096

cdef int64_t NO_TIME = -(<int64_t>1 << 62) * 2
cdef int64_t MOST = (<int64_t>1 << 62) - 1 + (<int64_t>1 << 62)
cdef int64_t WINDOW_NS = 50000000
cdef int64_t STEP_NS = 5000000000  # an event this far back means that the clock was set


cdef class ActionLoop(ActionWriter):
    """Turns fact batches into lines of JSON; `rules` knows details, tags and the summary."""
    cdef int exit_call
    cdef dict procs
    cdef list texts
    cdef uint32_t base
    cdef Pending head
    cdef Pending tail
    cdef Pending last
    cdef int64_t mark
    cdef public uint64_t events_in
    cdef public uint64_t processes
    cdef public uint64_t pending_now
    cdef public uint64_t pending_most

    def __cinit__(self):
        self.mark = NO_TIME

    def __init__(self, rules, kinds, immediate, tagged, summed):
        cdef Proc nobody = Proc.__new__(Proc)
        super().__init__(rules, kinds, immediate, tagged, summed)
        self.exit_call = kinds.index("sys.exit")
        self.procs, self.texts, self.base = {}, [], 1
        nobody.json, nobody.pending, nobody.uid, nobody.pid = b"", {}, -1, -1
        self.procs[0] = nobody

    def feed(self, batch):
        """Return the Actions that one fact batch completes. ValueError if it is not one."""
        if len(batch):
            self._run(batch)
        return self.take()

    def tick(self, int64_t now_ns):
        """Return the Actions whose windows are over at `now_ns`."""
        self._close_windows(now_ns)
        return self.take()

    def next_tick_ns(self):
        """Return when the oldest window is over; None when none is open, or time is not known."""
        while self.head is not None and self.head.done:
            self.head = self.head.next
        if self.head is None:
            self.tail = None
            return None
        return None if self.head.opened_ns == NO_TIME else self.head.opened_ns + WINDOW_NS

    def finish(self):
        """Return every Action still pending."""
        self._flush_all()
        return self.take()

    def alive(self, most):
        """Return the pids of processes whose end has not been seen, at most `most` of them."""
        cdef Proc proc
        found = []
        for proc in self.procs.values():
            if proc.pid >= 0:
                found.append(proc.pid)
                if len(found) == most:
                    break
        return found

    # -- rows ------------------------------------------------------------------------------

    cdef int _run(self, batch) except -1:
        cdef const uint8_t[::1] view = batch
        cdef size_t size = view.shape[0]
        cdef const FactHeader *header = <const FactHeader *>&view[0]
        cdef const FactRow *rows
        cdef const FactRow *row
        cdef const Span *spans
        cdef const char *heap
        cdef size_t i
        cdef Text text
        if (size < sizeof(FactHeader) or header.magic != MAGIC_FACTS
                or size != sizeof(FactHeader) + <size_t>header.rows * sizeof(FactRow)
                + <size_t>header.strings * sizeof(Span) + header.heap):
            raise ValueError("not a fact batch")
        rows = <const FactRow *>(&view[0] + sizeof(FactHeader))
        spans = <const Span *>(rows + header.rows)
        heap = <const char *>(spans + header.strings)
        if header.first != self.base + len(self.texts):
            raise ValueError("a fact batch is missing: its strings do not follow on")
        for i in range(header.strings):
            if <uint64_t>spans[i].off + spans[i].len > header.heap:
                raise ValueError("a string reaches outside its batch")
            text = Text.__new__(Text)
            text.raw = PyBytes_FromStringAndSize(heap + spans[i].off, spans[i].len)
            self.texts.append(text)
        for i in range(header.rows):
            row = rows + i
            if row.kind >= PROCESS_GONE:
                self._process(row)
                continue
            if row.kind >= self.kinds or (
                    <uint64_t>row.detail_off + row.detail_len > header.heap):
                raise ValueError("a fact reaches outside its batch")
            self._event(row, heap)
        if header.forget > self.base:
            del self.texts[: header.forget - self.base]
            self.base = header.forget
            self.tag_memo = {}
        return 0

    cdef Text _text(self, uint32_t number):
        if number == 0:
            return None
        if number < self.base or number - self.base >= <size_t>len(self.texts):
            raise ValueError("a fact names a string that was never sent")
        return <Text>PyList_GET_ITEM(self.texts, number - self.base)

    cdef int _process(self, const FactRow *row) except -1:
        cdef Proc proc = self.procs.get(row.proc)
        if proc is not None:
            self._flush(proc)
        if row.kind == PROCESS_GONE:
            self.procs.pop(row.proc, None)
            self.last = None
            return 0
        if proc is None:
            proc = self._introduce(row.proc)
        proc.uid, proc.pid = row.ts_ns, row.amount
        json = b',"proc":%d' % row.proc
        if row.amount >= 0:
            json += b',"pid":%d' % row.amount
        if row.target:
            json += b',"exe":' + self.json(self._text(row.target))
        if row.ts_ns >= 0:
            json += b',"uid":%d' % row.ts_ns
        proc.json = json
        return 0

    cdef Proc _introduce(self, uint32_t number):
        cdef Proc proc = Proc.__new__(Proc)
        proc.number, proc.pending, proc.uid, proc.json = number, {}, -1, b',"proc":%d' % number
        proc.pid = -1
        self.procs[number] = proc
        self.processes += 1
        return proc

    cdef int _event(self, const FactRow *row, const char *heap) except -1:
        cdef uint64_t key
        cdef Pending entry
        cdef Pending folded
        cdef Proc proc
        cdef PyObject *found
        cdef int64_t amount
        cdef uint8_t flags = self.kind_flags[row.kind]
        self.events_in += 1
        if row.ts_ns != NO_TIME:
            if row.ts_ns > self.mark:
                self.mark = row.ts_ns
            elif row.ts_ns < self.mark - STEP_NS and not row.flags & FACT_JOINED:
                self._flush_all()
                self.mark = row.ts_ns
        self._close_windows(self.mark)
        key = <uint64_t>row.kind << 36 | <uint64_t>row.access << 32 | row.target
        entry = self.last
        if entry is None or entry.done or entry.key != key or entry.proc.number != row.proc:
            found = PyDict_GetItem(self.procs, row.proc)
            proc = <Proc>found if found != NULL else self._introduce(row.proc)
            if flags & K_IMMEDIATE:
                folded = None
                if flags & K_END:
                    folded = self._exit_call(proc)
                self._flush(proc)
                entry = self._open(row, key, proc, heap)
                if folded is not None:
                    self._fold(entry, folded)
                self.write(entry)
                return 0
            found = PyDict_GetItem(proc.pending, key)
            if found == NULL:
                entry = self._open(row, key, proc, heap)
                proc.pending[key] = entry
                if self.tail is None:
                    self.head = entry
                else:
                    self.tail.next = entry
                self.tail = self.last = entry
                self.pending_now += 1
                if self.pending_now > self.pending_most:
                    self.pending_most = self.pending_now
                return 0
            entry = <Pending>found
            self.last = entry
        entry.count += 1
        if row.amount >= 0:
            amount = max(entry.amount, <int64_t>0)
            entry.amount = amount + row.amount if amount < MOST - row.amount else MOST
        if row.ts_ns != NO_TIME:
            if row.ts_ns > entry.last_ns:
                entry.last_ns = row.ts_ns
            if row.ts_ns < entry.first_ns or entry.first_ns == NO_TIME:
                entry.first_ns = row.ts_ns
        if row.line > entry.last_line:
            entry.last_line = row.line
        elif row.line < entry.first_line:
            entry.first_line = row.line
        if row.errno_id:
            self._error(entry, self._text(row.errno_id), 1)
        if row.detail_len and entry.detail is None:
            entry.detail = PyBytes_FromStringAndSize(heap + row.detail_off, row.detail_len)
        return 0

    cdef Pending _open(self, const FactRow *row, uint64_t key, Proc proc, const char *heap):
        cdef Pending entry = Pending.__new__(Pending)
        entry.key, entry.proc, entry.kind, entry.access = key, proc, row.kind, row.access
        entry.target = self._text(row.target)
        entry.count, entry.amount = 1, row.amount
        entry.first_ns = entry.last_ns = row.ts_ns
        entry.first_line = entry.last_line = row.line
        entry.opened_ns, entry.opened_row = self.mark, self.events_in
        if row.detail_len:
            entry.detail = PyBytes_FromStringAndSize(heap + row.detail_off, row.detail_len)
        if row.errno_id:
            self._error(entry, self._text(row.errno_id), 1)
        return entry

    cdef int _error(self, Pending entry, Text error, uint64_t count) except -1:
        if entry.error is None:
            entry.error = error
            entry.error_count = count
        elif entry.error is error:
            entry.error_count += count
        else:
            if entry.errors is None:
                entry.errors = {}
            entry.errors[error.raw] = entry.errors.get(error.raw, 0) + count
        return 0

    cdef Pending _exit_call(self, Proc proc):
        """Take the pending exit(2) or exit_group(2) of a process out, if there is one."""
        cdef uint64_t key = <uint64_t>self.exit_call << 36
        cdef Pending entry = proc.pending.pop(key, None)
        if entry is not None:
            entry.done = True
            self.pending_now -= 1
        return entry

    cdef int _fold(self, Pending entry, Pending call) except -1:
        """The call that ended a process and its end are one Action."""
        entry.count += call.count
        entry.first_line = min(entry.first_line, call.first_line)
        if call.first_ns != NO_TIME:
            entry.first_ns = min(entry.first_ns, call.first_ns)
        if call.error is not None:
            self._error(entry, call.error, call.error_count)
        return 0

    # -- windows ---------------------------------------------------------------------------

    cdef int _close_windows(self, int64_t now_ns) except -1:
        cdef Pending entry = self.head
        while entry is not None:
            if not entry.done:
                if (now_ns < entry.opened_ns + WINDOW_NS or entry.opened_ns == NO_TIME) and (
                        self.events_in < entry.opened_row + WINDOW_ROWS):
                    break
                entry.proc.pending.pop(entry.key, None)
                entry.done = True
                self.pending_now -= 1
                self.write(entry)
            entry = self.head = entry.next
        if entry is None:
            self.tail = None
        return 0

    cdef int _flush(self, Proc proc) except -1:
        cdef Pending entry
        if proc.pending:
            for entry in proc.pending.values():
                entry.done = True
                self.pending_now -= 1
                self.write(entry)
            proc.pending.clear()
        return 0

    cdef int _flush_all(self) except -1:
        cdef Pending entry = self.head
        while entry is not None:
            if not entry.done:
                entry.proc.pending.pop(entry.key, None)
                entry.done = True
                self.pending_now -= 1
                self.write(entry)
            entry = self.head = entry.next
        self.tail = self.last = None
        return 0
