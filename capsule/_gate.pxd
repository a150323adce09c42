"""The launch gate in C: what a forked child does up to its execve, without Python."""

from libc.errno cimport EINTR, ENOEXEC, errno
from libc.stdint cimport uint8_t
from libc.stdlib cimport malloc
from posix.unistd cimport _exit, execve, read

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
    int PR_SET_PTRACER
    unsigned long PR_SET_PTRACER_ANY


cdef struct Program:
    char *path
    char **argv
    char **envp
    char **sh_argv  # /bin/sh for a file without a magic number, as execvp(3) does; or NULL


cdef inline char **strings(list texts) except NULL:
    cdef char **array = <char **>malloc((len(texts) + 1) * sizeof(char *))
    cdef Py_ssize_t i
    if array == NULL:
        raise MemoryError
    for i in range(len(texts)):
        array[i] = texts[i]
    array[len(texts)] = NULL
    return array


cdef inline int wait_at_gate(int gate, const sigset_t *mask) noexcept nogil:
    """Return once the gate opens; end the process if the supervisor is gone."""
    cdef uint8_t knock
    cdef Py_ssize_t got
    # Python ignores these two; an ignored signal would stay ignored in the target.
    signal(SIGPIPE, SIG_DFL)
    signal(SIGXFSZ, SIG_DFL)
    # Yama's ptrace_scope 1 lets only an ancestor attach unless the tracee agrees; without
    # Yama the call fails and nothing needs it.
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
    sigprocmask(SIG_SETMASK, mask, NULL)
    while True:
        got = read(gate, &knock, 1)
        if got < 0 and errno == EINTR:
            continue
        if got <= 0:
            _exit(125)
        if knock == b"G":
            break
    prctl(PR_SET_PTRACER, 0, 0, 0, 0)
    return 0


cdef inline int become(Program *program) noexcept nogil:
    """Execute the program; return errno if that cannot be done."""
    execve(program.path, program.argv, program.envp)
    if errno == ENOEXEC and program.sh_argv != NULL:
        execve("/bin/sh", program.sh_argv, program.envp)
    return errno
