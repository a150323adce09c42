"""The few Linux calls that Python's standard library does not offer, and the launch gate."""

from libc.errno cimport EINTR, ENOEXEC, errno
from libc.stdint cimport int32_t, uint32_t, uint8_t
from libc.stdlib cimport malloc
from posix.unistd cimport _exit, execve, read, write

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigemptyset(sigset_t *set)
    int sigaddset(sigset_t *set, int signo)
    int sigprocmask(int how, const sigset_t *set, sigset_t *old)
    void (*signal(int signo, void (*handler)(int) noexcept nogil) noexcept nogil) (int) noexcept nogil
    int SIG_SETMASK
    int SIGPIPE
    int SIGXFSZ
    void (*SIG_DFL)(int) noexcept nogil

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
    int PR_SET_CHILD_SUBREAPER
    int PR_SET_DUMPABLE
    int PR_SET_NAME
    int PR_SET_PTRACER
    unsigned long PR_SET_PTRACER_ANY

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


cdef char **_strings(list texts) except NULL:
    cdef char **array = <char **>malloc((len(texts) + 1) * sizeof(char *))
    cdef Py_ssize_t i
    if array == NULL:
        raise MemoryError
    for i in range(len(texts)):
        array[i] = texts[i]
    array[len(texts)] = NULL
    return array


def gate_exec(int gate, int errors, bytes path, list argv, list envp, mask, bint script):
    cdef char **c_argv = _strings(argv)
    cdef char **c_envp = _strings(envp)
    cdef list sh_argv = [b"/bin/sh", path, *argv[1:]]
    cdef char **c_sh_argv = _strings(sh_argv)
    cdef char *c_path = path
    cdef sigset_t c_mask
    cdef int signo
    cdef int32_t failure
    cdef uint8_t knock
    cdef Py_ssize_t got
    sigemptyset(&c_mask)
    for signo in mask:
        sigaddset(&c_mask, signo)
    # Python ignores these two; an ignored signal would stay ignored in the target.
    signal(SIGPIPE, SIG_DFL)
    signal(SIGXFSZ, SIG_DFL)
    # Yama's ptrace_scope 1 lets only an ancestor attach unless the tracee agrees; without
    # Yama the call fails and nothing needs it.
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
    sigprocmask(SIG_SETMASK, &c_mask, NULL)
    while True:
        got = read(gate, &knock, 1)
        if got < 0 and errno == EINTR:
            continue
        if got <= 0:
            _exit(125)
        if knock == b"G":
            break
    prctl(PR_SET_PTRACER, 0, 0, 0, 0)
    execve(c_path, c_argv, c_envp)
    if errno == ENOEXEC and script:
        execve("/bin/sh", c_sh_argv, c_envp)
    failure = errno
    write(errors, &failure, sizeof(failure))
    _exit(127)
