"""Confinement between the launch gate and execve: Landlock and seccomp, set by the target itself."""

from libc.errno cimport EINTR, ENOSYS, EOPNOTSUPP, errno
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.unistd cimport _exit, close, getppid

from capsule._gate cimport (
    Program, become, prctl, sigaddset, sigemptyset, sigset_t, strings, wait_at_gate
)

cdef extern from *:
    """
    #include <signal.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <sys/ioctl.h>
    #include <sys/prctl.h>
    #include <sys/resource.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    /* landlock(7); distributions' headers are older than their kernels. */
    #define CAP_LANDLOCK_CREATE 444
    #define CAP_LANDLOCK_ADD 445
    #define CAP_LANDLOCK_RESTRICT 446
    #define CAP_CLOSE_RANGE 436
    #define CAP_PIDFD_OPEN 434
    #define CAP_PIDFD_GETFD 438
    #define CAP_WAIT_KILLABLE (1UL << 5)  /* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV */
    struct cap_ruleset { uint64_t fs, net, scoped; };
    struct __attribute__((packed)) cap_beneath { uint64_t rights; int32_t fd; };
    struct cap_port { uint64_t rights, port; };

    static inline long cap_call(long nr, long a, long b, long c, long d) {
        return syscall(nr, a, b, c, d);
    }
    static inline int32_t cap_get(int32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void cap_put(int32_t *at, int32_t value) {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }
    static inline void cap_pause(void) { __builtin_ia32_pause(); }
    """
    struct cap_ruleset:
        uint64_t fs
        uint64_t net
        uint64_t scoped
    struct cap_beneath:
        uint64_t rights
        int32_t fd
    struct cap_port:
        uint64_t rights
        uint64_t port
    struct sock_fprog:
        unsigned short len
        void *filter
    struct rlimit:
        unsigned long rlim_cur
        unsigned long rlim_max
    struct seccomp_data:
        int nr
        uint32_t arch
        uint64_t instruction_pointer
        uint64_t args[6]
    struct seccomp_notif:
        uint64_t id
        uint32_t pid
        uint32_t flags
        seccomp_data data
    struct seccomp_notif_resp:
        uint64_t id
        long long val
        int error
        uint32_t flags
    long cap_call(long nr, long a, long b, long c, long d) nogil
    int32_t cap_get(int32_t *at) nogil
    void cap_put(int32_t *at, int32_t value) nogil
    void cap_pause() nogil
    int setrlimit(int resource, const rlimit *limit) nogil
    int ioctl(int fd, unsigned long request, void *argument) nogil
    long CAP_LANDLOCK_CREATE, CAP_LANDLOCK_ADD, CAP_LANDLOCK_RESTRICT
    long CAP_CLOSE_RANGE, CAP_PIDFD_OPEN, CAP_PIDFD_GETFD, SYS_seccomp
    long CAP_WAIT_KILLABLE
    long SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL
    long SECCOMP_FILTER_FLAG_NEW_LISTENER
    unsigned long SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
    uint32_t SECCOMP_USER_NOTIF_FLAG_CONTINUE
    int PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, SIGKILL

STEPS = (
    "", "the supervisor is gone", "no_new_privs", "close_range", "landlock_restrict_self",
    "setrlimit", "seccomp", "the seccomp listener was not taken over", "execve",
)

# What the page that supervisor and target share holds, as 32-bit integers.
cdef enum:
    FAILED_STEP = 0
    FAILED_ERRNO = 1
    LISTENER = 2  # the descriptor + 1
    TAKEN_OVER = 3
    CONFINED = 4

CONFINED_SLOT = CONFINED

cdef enum:
    MOST_LIMITS = 16
    MOST_KEPT = 64
    LISTENER_SPINS = 400000000  # of some 40 cycles each: seconds
    CLOSE_RANGE_CLOEXEC = 4
    LANDLOCK_CREATE_RULESET_VERSION = 1
    LANDLOCK_RULE_PATH_BENEATH = 1
    LANDLOCK_RULE_NET_PORT = 2


cdef long _checked(long result, str what) except -1:
    if result < 0:
        raise OSError(errno, what)
    return result


def landlock_abi():
    cdef long abi = cap_call(CAP_LANDLOCK_CREATE, 0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0)
    if abi < 0 and errno not in (ENOSYS, EOPNOTSUPP):
        raise OSError(errno, "landlock_create_ruleset")
    return max(abi, 0)


def create_ruleset(uint64_t fs, uint64_t net, uint64_t scoped):
    cdef cap_ruleset ruleset
    cdef long size = 24 if scoped else 16 if net else 8
    ruleset.fs, ruleset.net, ruleset.scoped = fs, net, scoped
    return _checked(
        cap_call(CAP_LANDLOCK_CREATE, <long>&ruleset, size, 0, 0), "landlock_create_ruleset"
    )


def add_path(int ruleset, uint64_t rights, int fd):
    cdef cap_beneath rule
    rule.rights, rule.fd = rights, fd
    _checked(
        cap_call(CAP_LANDLOCK_ADD, ruleset, LANDLOCK_RULE_PATH_BENEATH, <long>&rule, 0),
        "landlock_add_rule",
    )


def add_port(int ruleset, uint64_t rights, int port):
    cdef cap_port rule
    rule.rights, rule.port = rights, port
    _checked(
        cap_call(CAP_LANDLOCK_ADD, ruleset, LANDLOCK_RULE_NET_PORT, <long>&rule, 0),
        "landlock_add_rule",
    )


def has_action(uint32_t action):
    return cap_call(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, <long>&action, 0) == 0


cdef int32_t *_slots(unsigned char[::1] page):
    return <int32_t *>&page[0]


cdef void _fail(int32_t *page, int step, int status) noexcept nogil:
    cap_put(&page[FAILED_ERRNO], errno)
    cap_put(&page[FAILED_STEP], step)
    _exit(status)


cdef int _close_all_but(int *kept, int count) noexcept nogil:
    """Let execve close every descriptor above 2 but the `kept` ones, which are in order."""
    cdef unsigned int first = 3
    cdef int i
    for i in range(count):
        if <unsigned int>kept[i] > first:
            if cap_call(CAP_CLOSE_RANGE, first, kept[i] - 1, CLOSE_RANGE_CLOEXEC, 0) < 0:
                return -1
        first = kept[i] + 1
    return cap_call(CAP_CLOSE_RANGE, first, 0xffffffff, CLOSE_RANGE_CLOEXEC, 0)


def confined_exec(
    int gate, int errors, bytes path, list argv, list envp, mask, bint script,
    page_buffer, int parent, bytes bpf, bint listen, int ruleset, list limits, list keep,
):
    cdef list sh_argv = [b"/bin/sh", path, *argv[1:]]
    cdef Program program
    cdef sigset_t c_mask
    cdef int signo, i, kept_count = len(keep), limit_count = len(limits)
    cdef int32_t *page = _slots(page_buffer)
    cdef sock_fprog filter
    cdef int resources[MOST_LIMITS]
    cdef rlimit values[MOST_LIMITS]
    cdef int kept[MOST_KEPT]
    cdef long listener, spins = 0
    if kept_count > MOST_KEPT or limit_count > MOST_LIMITS:
        raise ValueError("too many descriptors or limits")
    program.path = path
    program.argv = strings(argv)
    program.envp = strings(envp)
    program.sh_argv = strings(sh_argv) if script else NULL
    for i in range(limit_count):
        resources[i], values[i].rlim_cur, values[i].rlim_max = limits[i]
    for i, fd in enumerate(sorted(keep)):
        kept[i] = fd
    filter.len = len(bpf) // 8
    filter.filter = <void *><char *>bpf
    sigemptyset(&c_mask)
    for signo in mask:
        sigaddset(&c_mask, signo)
    # From here to execve: no Python, no allocation, nothing but system calls.
    with nogil:
        wait_at_gate(gate, &c_mask)
        if parent > 0:
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            if getppid() != parent:
                _fail(page, 1, 125)
        if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
            _fail(page, 2, 125)
        if _close_all_but(kept, kept_count) < 0:
            _fail(page, 3, 125)
        if ruleset >= 0 and cap_call(CAP_LANDLOCK_RESTRICT, ruleset, 0, 0, 0) < 0:
            _fail(page, 4, 125)
        for i in range(limit_count):
            if setrlimit(resources[i], &values[i]) < 0:
                _fail(page, 5, 125)
        if filter.len > 0 and not listen:
            if cap_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, <long>&filter, 0) < 0:
                _fail(page, 6, 125)
        elif filter.len > 0:
            listener = cap_call(
                SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_NEW_LISTENER | CAP_WAIT_KILLABLE, <long>&filter, 0,
            )
            if listener < 0:
                _fail(page, 6, 125)
            # The filter is on: a call that it hands over would wait for a listener nobody has
            # yet. Shared memory needs no call.
            cap_put(&page[LISTENER], <int32_t>listener + 1)
            while cap_get(&page[TAKEN_OVER]) == 0:
                cap_pause()
                spins += 1
                if spins > LISTENER_SPINS:
                    _fail(page, 7, 125)
        cap_put(&page[CONFINED], 1)
        become(&program)
        _fail(page, 8, 127)


def take_listener(page_buffer, int pid):
    cdef int32_t *page = _slots(page_buffer)
    cdef long pidfd, fd
    cdef int32_t theirs = cap_get(&page[LISTENER])
    if theirs == 0:
        return -1
    pidfd = _checked(cap_call(CAP_PIDFD_OPEN, pid, 0, 0, 0), "pidfd_open")
    fd = cap_call(CAP_PIDFD_GETFD, pidfd, theirs - 1, 0, 0)

    try:
        _checked(fd, "pidfd_getfd")
    finally:
        close(pidfd)
    cap_put(&page[TAKEN_OVER], 1)
    return fd


def next_call(int listener):
    """Return one waiting call and let it go on."""
    cdef seccomp_notif call
    cdef seccomp_notif_resp answer
    cdef int i

    memset(&call, 0, sizeof(call))
    memset(&answer, 0, sizeof(answer))
    with nogil:
        while ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0:
            if errno != EINTR:
                with gil:
                    return None  # it was killed, or a signal came: the call waits no more
        answer.id = call.id
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer)
    return (call.pid, call.data.arch, call.data.nr, tuple([call.data.args[i] for i in range(6)]))
