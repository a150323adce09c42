"""What a call acts on, found in a memo or asked of the rules: see capsule/syscalls.py."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.string cimport memchr

from capsule._facts cimport FactWriter, Fs, Target, Task
from capsule._rows cimport FLAG_RETVAL, FLAG_SELF_NUMBER, EventRow, Span
from capsule._rows cimport (
    R_AT, R_FD, R_FDREQ, R_MAPFD, R_NONE, R_OPENATRET, R_OPENRET, R_PATH, R_PID, R_PIDRET, R_SENDADDR,
    R_SOCK, R_ARG,
)

RULES = {
    "": R_NONE, "path": R_PATH, "at": R_AT, "openret": R_OPENRET, "openatret": R_OPENATRET,
    "fd": R_FD, "mapfd": R_MAPFD, "sock": R_SOCK, "sendaddr": R_SENDADDR, "arg": R_ARG,
    "pid": R_PID, "pidret": R_PIDRET, "fdreq": R_FDREQ,
    # the rest are named by their own handlers; this is what remains when one declines
    "addr": R_SOCK, "accept": R_SOCK, "sockret": R_NONE, "execpath": R_PATH, "execat": R_AT,
}


cdef class TargetFinder(FactWriter):
    """Finds the target of each call; what has been found once is remembered."""

    def __init__(self, rules):
        self.rules = rules
        self.sockets = {}
        self.clear()

    cdef Target word(self, const char *text, size_t length):
        """Return the target that is the text itself."""
        cdef bytes key = PyBytes_FromStringAndSize(text, min(length, <size_t>256))
        cdef PyObject *found = PyDict_GetItem(self.words, key)
        if found != NULL:
            return <Target>found
        target = Target(key)
        self.remember(self.words, key, target)
        return target

    cdef Target target(self, const EventRow *e, const char *heap, const Span *a, int rule, int arg,
                       Task task):
        cdef int count = e.span_count
        cdef const char *text
        cdef size_t length
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
        return self.word(text, length)

    cdef Target _pid(self, const char *text, size_t length):
        cdef bytes key = b"pid:" + PyBytes_FromStringAndSize(text, min(length, <size_t>64))
        cdef PyObject *found = PyDict_GetItem(self.words, key)
        if found != NULL:
            return <Target>found
        target = Target(b"pid:" + self.rules.pid_text(key[4:]))
        self.remember(self.words, key, target)
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
            self.remember(self.fds, key, target)
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
            self.remember(memo, key, target)
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
            self.remember(self.opens, key, target)
        return target
