"""The finder of targets, for the loop that extends it."""

from capsule._facts cimport FactWriter, Fs, Target, Task
from capsule._rows cimport EventRow, Span


cdef class TargetFinder(FactWriter):
    cdef public dict sockets  # b"socket:[1]" -> Target of the peer
    cdef object rules

    cdef Target word(self, const char *text, size_t length)
    cdef Target target(self, const EventRow *e, const char *heap, const Span *a, int rule, int arg,
                       Task task)
    cdef Target _pid(self, const char *text, size_t length)
    cdef Target _fd(self, const char *text, size_t length, Task task)
    cdef Target _path(self, const char *heap, const Span *a, int path, int dirfd, int last,
                      const EventRow *e, Task task)
    cdef Target _open(self, const char *heap, const Span *a, int path, int dirfd, int last,
                      const EventRow *e, Task task)
    cdef int _learn_cwd(self, const char *heap, const Span *dirfd, Fs fs) except -1
    cdef dict _cwd_memo(self, Fs fs)
