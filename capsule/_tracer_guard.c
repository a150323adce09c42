/* Preloaded into strace (LD_PRELOAD): strace fails open, this makes it fail closed.
 *
 * - PTRACE_O_EXITKILL (ptrace(2)) on every tracee: when strace dies, by whatever signal, the
 *   kernel kills all tracees in one step. A child takes the option over as it is born, so no
 *   fork bomb outruns it. strace has --kill-on-exit only since 6.6, and not together with -p.
 * - A thread that waits for the reader of the trace pipe to go away, and ends strace then. By
 *   itself strace goes on without output: -I3 blocks SIGPIPE.
 * - PR_SET_DUMPABLE 0: another program of the same user cannot open the pipe through
 *   /proc/<strace>/fd and write lines of its own, nor read or ptrace strace.
 *
 * CAPSULE_GUARD holds the pipe's descriptor, and "k" in front of it for EXITKILL; without the
 * "k" (a program that was only attached to) the kernel lets go of the tracees instead.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef PTRACE_O_EXITKILL
#define PTRACE_O_EXITKILL 0x00100000
#endif

typedef long ptrace_call(int request, pid_t pid, void *addr, void *data);

static int exitkill;
static struct pollfd pipe_end;

/* strace forks a child to try PTRACE_SEIZE on. Without privileges that fails on an undumpable
 * one (ptrace(2)), and strace would fall back to PTRACE_ATTACH, under which no tracee can be
 * stopped (SIGSTOP, Ctrl-Z): so its children are born dumpable. */
static void dumpable(void) { prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }
static void undumpable(void) { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

static void *wait_for_the_readers_death(void *unused) {
    (void)unused;
    pipe_end.events = 0; /* POLLERR is always reported: no read end is open (poll(2)) */
    while (poll(&pipe_end, 1, -1) < 0 && errno == EINTR)
        ;
    _exit(70);
}

__attribute__((constructor)) static void guard(void) {
    const char *wish = getenv("CAPSULE_GUARD");
    undumpable();
    pthread_atfork(dumpable, undumpable, NULL);
    if (wish == NULL)
        return;
    exitkill = wish[0] == 'k';
    pipe_end.fd = atoi(wish + exitkill);
    unsetenv("LD_PRELOAD");
    unsetenv("CAPSULE_GUARD");
    /* Says that the guard is here: the supervisor holds the same open file description. */
    fcntl(pipe_end.fd, F_SETFL, fcntl(pipe_end.fd, F_GETFL) | O_APPEND);

    pthread_t thread;
    pthread_attr_t small;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* strace's signals are for strace */
    if (pthread_create(&thread, &small, wait_for_the_readers_death, NULL) != 0)
        _exit(71);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...) {
    static ptrace_call *next;
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *addr = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (next == NULL)
        next = (ptrace_call *)dlsym(RTLD_NEXT, "ptrace");
    if (exitkill && (request == PTRACE_SEIZE || request == PTRACE_SETOPTIONS))
        data = (void *)((unsigned long)data | PTRACE_O_EXITKILL);
    return next((int)request, pid, addr, data);
}
