"""The few Linux calls that Python's standard library does not offer, and the launch gate."""

from libc.errno cimport errno
from libc.stdint cimport int32_t, uint32_t
from posix.unistd cimport _exit, read, write

from capsule._gate cimport (
    Program, become, prctl, sigaddset, sigemptyset, sigset_t, strings, wait_at_gate
)

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_CHILD_SUBREAPER
    int PR_SET_DUMPABLE
    int PR_SET_NAME

cdef extern from "<sys/signalfd.h>" nogil:
    cdef struct signalfd_siginfo:
        uint32_t ssi_signo
        int32_t ssi_code
        uint32_t ssi_pid
    int c_signalfd "signalfd" (int fd, const sigset_t *mask, int flags)
    int SFD_CLOEXEC
    int SFD_NONBLOCK


cdef int _check(long result) except -1:
    if result < 0:
        raise OSError(errno, "prctl")
    return 0


def set_child_subreaper():
    _check(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def set_dumpable(bint on):
    _check(prctl(PR_SET_DUMPABLE, on, 0, 0, 0))


def set_name(bytes name):
    _check(prctl(PR_SET_NAME, <unsigned long><char *>name, 0, 0, 0))


def signalfd(signals):
    cdef sigset_t mask
    cdef int signo, fd
    sigemptyset(&mask)
    for signo in signals:
        sigaddset(&mask, signo)
    fd = c_signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK)
    if fd < 0:
        raise OSError(errno, "signalfd")
    return fd


def read_signals(int fd):
    cdef signalfd_siginfo info
    found = []
    while read(fd, &info, sizeof(info)) == sizeof(info):
        found.append((info.ssi_signo, info.ssi_code, info.ssi_pid))
    return found


def gate_exec(int gate, int errors, bytes path, list argv, list envp, mask, bint script):
    cdef list sh_argv = [b"/bin/sh", path, *argv[1:]]
    cdef Program program
    cdef sigset_t c_mask
    cdef int signo
    cdef int32_t failure
    program.path = path
    program.argv = strings(argv)
    program.envp = strings(envp)
    program.sh_argv = strings(sh_argv) if script else NULL
    sigemptyset(&c_mask)
    for signo in mask:
        sigaddset(&c_mask, signo)
    wait_at_gate(gate, &c_mask)
    failure = become(&program)
    write(errors, &failure, sizeof(failure))
    _exit(127)
