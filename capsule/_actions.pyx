"""Actions as they grow, and how one becomes a line of JSON (docs/actions.md has the keys)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    DETAIL_MEMO = 4096
    TAG_MEMO = 16384

cdef int64_t NO_TIME = -(<int64_t>1 << 62) * 2


cdef class Text:
    """A string of the trace, and the same as JSON once it is needed."""


cdef class Proc:
    """A process as its Actions name it, and those not yet written."""


cdef class Pending:
    """One Action that still grows."""


cdef class ActionWriter:
    """Writes lines of JSON into a buffer until `take` takes it."""

    def __dealloc__(self):
        PyMem_Free(self.kind_flags)
        PyMem_Free(self.out)

    def __init__(self, rules, kinds, immediate, tagged, summed):
        cdef int i
        self.rules = rules
        self.kinds = len(kinds)
        self.kind_flags = <uint8_t *>PyMem_Malloc(self.kinds)
        if self.kind_flags == NULL:
            raise MemoryError
        self.kind_json = []
        for i, kind in enumerate(kinds):
            self.kind_json.append(b'{"kind":"' + kind.encode() + b'"')
            self.kind_flags[i] = (
                (K_IMMEDIATE if kind in immediate else 0) | (K_TAGGED if kind in tagged else 0)
                | (K_SUMMED if kind in summed else 0)
                | (K_END if kind in ("proc.exit", "thread.exit") else 0)
            )
        self.detail_memo, self.tag_memo, self.errors = {}, {}, {}

    cdef bytes take(self):
        if not self.out_len:
            return b""
        result = PyBytes_FromStringAndSize(self.out, self.out_len)
        self.out_len = 0
        if self.out_cap > 1 << 22:
            PyMem_Free(self.out)
            self.out = NULL
            self.out_cap = 0
        return result

    cdef bytes json(self, Text text):
        if text.json is None:
            text.json = self.rules.quote(text.raw)
        return text.json

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

    cdef int _put(self, bytes data) except -1:
        cdef size_t length = PyBytes_GET_SIZE(data)
        if length == 0:
            return 0
        self._room(length)
        memcpy(self.out + self.out_len, PyBytes_AS_STRING(data), length)
        self.out_len += length
        return 0

    cdef int _lit(self, const char *text, size_t length) except -1:
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

    cdef int write(self, Pending entry) except -1:
        cdef uint8_t flags = self.kind_flags[entry.kind]
        cdef dict errors = None
        self.actions_out += 1
        self.counted += entry.count
        self._put(<bytes>PyList_GET_ITEM(self.kind_json, entry.kind))
        if entry.target is not None:
            self._lit(b',"target":', 10)
            self._put(self.json(entry.target))
        self._lit(b',"count":', 9)
        self._number(entry.count)
        if entry.amount >= 0:
            self._lit(b',"bytes":', 9)
            self._number(entry.amount)
        if entry.error is not None:
            self._lit(b',"errors":{', 11)
            self._put(self.json(entry.error))
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
            if flags & K_IMMEDIATE and PyBytes_GET_SIZE(entry.detail) > 64:  # hardly comes twice
                self._put(self.rules.detail(entry.detail))
            else:
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
        if PyBytes_GET_SIZE(detail) < 256:
            if len(self.detail_memo) >= DETAIL_MEMO:
                self.detail_memo = {}
            self.detail_memo[detail] = json
        return json

    cdef int _tags(self, Pending entry, dict errors) except -1:
        cdef PyObject *found = PyDict_GetItem(self.tag_memo, entry.key)
        cdef tuple pair
        if found != NULL:
            pair = <tuple>found
        else:
            pair = self.rules.candidates(
                entry.kind, None if entry.target is None else entry.target.raw, entry.access)
            if len(self.tag_memo) >= TAG_MEMO:
                self.tag_memo = {}
            self.tag_memo[entry.key] = pair
        rules = <object>PyTuple_GET_ITEM(pair, 0 if entry.error is None else 1)
        if rules:
            json = self.rules.tags(rules, entry.count, entry.amount, errors, entry.proc.uid,
                                   entry.detail)
            if json is not None:
                self._put(json)
        return 0
