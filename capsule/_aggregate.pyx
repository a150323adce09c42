"""The aggregator's inner loop: fact rows in, lines of JSON out (docs/actions.md).

A row joins the pending Action of its process, kind, target and access, or opens one. What a
record says beyond counts and texts (details, tags, the summary) is Python, in `rules`, asked
once an Action or once a distinct text, never once an event.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


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

cdef struct Span:
    uint32_t off
    uint32_t len

cdef struct Header:
    uint32_t magic
    uint32_t rows
    uint32_t strings
    uint32_t heap
    uint32_t first
    uint32_t forget

cdef enum:
    MAGIC_FACTS = 0x31424643  # "CFB1"
    FLAG_JOINED = 1
    PROCESS_FACT = 0xFFFF
    PROCESS_GONE = 0xFFFE
    K_IMMEDIATE = 1
    K_TAGGED = 2
    K_SUMMED = 4
    K_END = 8  # takes the pending exit call with it
    WINDOW_ROWS = 4096
    DETAIL_MEMO = 16384

cdef int64_t NO_TIME = -(<int64_t>1 << 62) * 2
cdef int64_t MOST = (<int64_t>1 << 62) - 1 + (<int64_t>1 << 62)
cdef int64_t WINDOW_NS = 50000000
cdef int64_t STEP_NS = 5000000000  # an event this far back means that the clock was set


cdef class Text:
    """A string of the trace, and the same as JSON once it is needed."""
    cdef bytes raw
    cdef bytes json


cdef class Proc:
    """A process as its Actions name it, and those not yet written."""
    cdef uint32_t number
    cdef int64_t uid
    cdef bytes json
    cdef dict pending


cdef class Pending:
    """One Action that still grows."""
    cdef uint64_t key
    cdef Proc proc
    cdef int kind
    cdef int access
    cdef bint done
    cdef Text target
    cdef uint64_t count
    cdef int64_t amount
    cdef int64_t first_ns
    cdef int64_t last_ns
    cdef uint64_t first_line
    cdef uint64_t last_line
    cdef int64_t opened_ns
    cdef uint64_t opened_row
    cdef bytes detail
    cdef Text error
    cdef uint64_t error_count
    cdef dict errors
    cdef Pending next


cdef class ActionLoop:
    """Turns fact batches into lines of JSON; `rules` knows details, tags and the summary."""
    cdef object rules
    cdef list kind_json
    cdef uint8_t *kind_flags
    cdef int kinds
    cdef int exit_call
    cdef dict procs
    cdef list texts
    cdef uint32_t base
    cdef dict detail_memo
    cdef dict tag_memo
    cdef Pending head
    cdef Pending tail
    cdef Pending last
    cdef int64_t mark
    cdef public uint64_t events_in
    cdef public uint64_t actions_out
    cdef public uint64_t counted
    cdef public uint64_t processes
    cdef public uint64_t pending_now
    cdef public uint64_t pending_most
    cdef public dict errors
    cdef char *out
    cdef size_t out_len, out_cap

    def __cinit__(self):
        self.mark = NO_TIME

    def __dealloc__(self):
        PyMem_Free(self.kind_flags)
        PyMem_Free(self.out)

    def __init__(self, rules, kinds, immediate, tagged, summed):
        cdef int i
        cdef Proc nobody = Proc.__new__(Proc)
        self.rules = rules
        self.kinds = len(kinds)
        self.kind_flags = <uint8_t *>PyMem_Malloc(self.kinds)
        if self.kind_flags == NULL:
            raise MemoryError
        self.kind_json = []
        self.exit_call = -1
        for i, kind in enumerate(kinds):
            self.kind_json.append(b'{"kind":"' + kind.encode() + b'"')
            self.kind_flags[i] = (
                (K_IMMEDIATE if kind in immediate else 0) | (K_TAGGED if kind in tagged else 0)
                | (K_SUMMED if kind in summed else 0)
                | (K_END if kind in ("proc.exit", "thread.exit") else 0)
            )
            if kind == "sys.exit":
                self.exit_call = i
        self.procs, self.texts, self.base = {}, [], 1
        self.detail_memo, self.tag_memo, self.errors = {}, {}, {}
        nobody.json, nobody.pending, nobody.uid = b"", {}, -1
        self.procs[0] = nobody

    def feed(self, batch):
        """Return the Actions that one fact batch completes. ValueError if it is not one."""
        if len(batch):
            self._run(batch)
        return self._take()

    def tick(self, int64_t now_ns):
        """Return the Actions whose windows are over at `now_ns`."""
        self._close_windows(now_ns)
        return self._take()

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
        return self._take()

    cdef bytes _take(self):
        if not self.out_len:
            return b""
        result = PyBytes_FromStringAndSize(self.out, self.out_len)
        self.out_len = 0
        if self.out_cap > 1 << 22:
            PyMem_Free(self.out)
            self.out = NULL
            self.out_cap = 0
        return result

    # -- rows ------------------------------------------------------------------------------

    cdef int _run(self, batch) except -1:
        cdef const uint8_t[::1] view = batch
        cdef size_t size = view.shape[0]
        cdef const Header *header = <const Header *>&view[0]
        cdef const FactRow *rows
        cdef const FactRow *row
        cdef const Span *spans
        cdef const char *heap
        cdef size_t i
        cdef Text text
        if (size < sizeof(Header) or header.magic != MAGIC_FACTS
                or size != sizeof(Header) + <size_t>header.rows * sizeof(FactRow)
                + <size_t>header.strings * sizeof(Span) + header.heap):
            raise ValueError("not a fact batch")
        rows = <const FactRow *>(&view[0] + sizeof(Header))
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

    cdef bytes _json(self, Text text):
        if text.json is None:
            text.json = self.rules.quote(text.raw)
        return text.json

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
        proc.uid = row.ts_ns
        json = b',"proc":%d' % row.proc
        if row.amount >= 0:
            json += b',"pid":%d' % row.amount
        if row.target:
            json += b',"exe":' + self._json(self._text(row.target))
        if row.ts_ns >= 0:
            json += b',"uid":%d' % row.ts_ns
        proc.json = json
        return 0

    cdef Proc _introduce(self, uint32_t number):
        cdef Proc proc = Proc.__new__(Proc)
        proc.number, proc.pending, proc.uid, proc.json = number, {}, -1, b',"proc":%d' % number
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
            elif row.ts_ns < self.mark - STEP_NS and not row.flags & FLAG_JOINED:
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
                self._write(entry)
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
                self._write(entry)
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
                self._write(entry)
            proc.pending.clear()
        return 0

    cdef int _flush_all(self) except -1:
        cdef Pending entry = self.head
        while entry is not None:
            if not entry.done:
                entry.proc.pending.pop(entry.key, None)
                entry.done = True
                self.pending_now -= 1
                self._write(entry)
            entry = self.head = entry.next
        self.tail = self.last = None
        return 0

    # -- records ---------------------------------------------------------------------------

    cdef int _room(self, size_t more) except -1:
        cdef size_t cap
        cdef char *out
        if self.out_len + more > self.out_cap:
            cap = max(2 * self.out_cap, self.out_len + more, <size_t>65536)
            out = <char *>PyMem_Realloc(self.out, cap)
            if out == NULL:
                raise MemoryError
            self.out, self.out_cap = out, cap
        return 0

    cdef inline int _put(self, bytes data) except -1:
        cdef size_t length = PyBytes_GET_SIZE(data)
        self._room(length)
        memcpy(self.out + self.out_len, PyBytes_AS_STRING(data), length)
        self.out_len += length
        return 0

    cdef inline int _lit(self, const char *text, size_t length) except -1:
        self._room(length)
        memcpy(self.out + self.out_len, text, length)
        self.out_len += length
        return 0

    cdef int _number(self, int64_t value) except -1:
        cdef char digits[24]
        cdef int at = 24
        cdef bint negative = value < 0
        cdef uint64_t rest = <uint64_t>(-value) if negative else <uint64_t>value
        while True:
            at -= 1
            digits[at] = <char>(48 + rest % 10)
            rest //= 10
            if rest == 0:
                break
        if negative:
            at -= 1
            digits[at] = 45
        return self._lit(digits + at, 24 - at)

    cdef int _write(self, Pending entry) except -1:
        cdef uint8_t flags = self.kind_flags[entry.kind]
        cdef dict errors = None
        self.actions_out += 1
        self.counted += entry.count
        self._put(<bytes>PyList_GET_ITEM(self.kind_json, entry.kind))
        if entry.target is not None:
            self._lit(b',"target":', 10)
            self._put(self._json(entry.target))
        self._lit(b',"count":', 9)
        self._number(entry.count)
        if entry.amount >= 0:
            self._lit(b',"bytes":', 9)
            self._number(entry.amount)
        if entry.error is not None:
            self._lit(b',"errors":{', 11)
            self._put(self._json(entry.error))
            self._lit(b":", 1)
            self._number(entry.error_count)
            name = entry.error.raw
            self.errors[name] = self.errors.get(name, 0) + entry.error_count
            errors = {name: entry.error_count}
            if entry.errors is not None:
                errors.update(entry.errors)
                for name, count in entry.errors.items():
                    self._lit(b",", 1)
                    self._put(self.rules.quote(name))
                    self._lit(b":", 1)
                    self._number(count)
                    self.errors[name] = self.errors.get(name, 0) + count
            self._lit(b"}", 1)
        if entry.first_ns != NO_TIME:
            self._lit(b',"first_ns":', 12)
            self._number(entry.first_ns)
            self._lit(b',"last_ns":', 11)
            self._number(entry.last_ns)
        self._put(entry.proc.json)
        self._lit(b',"lines":[', 10)
        self._number(entry.first_line)
        self._lit(b",", 1)
        self._number(entry.last_line)
        self._lit(b"]", 1)
        if entry.access == 1:
            self._lit(b',"access":"read"', 16)
        elif entry.access == 2:
            self._lit(b',"access":"write"', 17)
        elif entry.access == 3:
            self._lit(b',"access":"read-write"', 22)
        if entry.detail is not None:
            self._put(self._detail(entry.detail))
        if flags & K_TAGGED:
            self._tags(entry, errors)
        if flags & K_SUMMED:
            self.rules.note(entry.kind, entry.proc.number,
                            None if entry.target is None else entry.target.raw,
                            entry.count, errors, entry.detail,
                            entry.first_line, entry.last_ns if entry.last_ns != NO_TIME else None)
        self._lit(b"}\n", 2)
        return 0

    cdef bytes _detail(self, bytes detail):
        cdef PyObject *found = PyDict_GetItem(self.detail_memo, detail)
        if found != NULL:
            return <bytes>found
        json = self.rules.detail(detail)
        if PyBytes_GET_SIZE(detail) < 512:
            if len(self.detail_memo) >= DETAIL_MEMO:
                self.detail_memo = {}
            self.detail_memo[detail] = json
        return json

    cdef int _tags(self, Pending entry, dict errors) except -1:
        cdef PyObject *found = PyDict_GetItem(self.tag_memo, entry.key)
        if found != NULL:
            rules = <object>found
        else:
            rules = self.rules.candidates(
                entry.kind, None if entry.target is None else entry.target.raw, entry.access)
            if len(self.tag_memo) >= 1 << 17:
                self.tag_memo = {}
            self.tag_memo[entry.key] = rules
        if rules:
            json = self.rules.tags(rules, entry.count, entry.amount, errors, entry.proc.uid,
                                   entry.detail)
            if json is not None:
                self._put(json)
        return 0
