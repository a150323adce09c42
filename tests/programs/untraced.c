/* Hides a child from the tracer with CLONE_UNTRACED. With the word "run": the child forks and
 * ends at once, and its child too, 300,000 times; else it waits. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long untraced(void) { return syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0); }

int main(int argc, char **argv) {
    int run = argc > 1 && strcmp(argv[1], "run") == 0;
    if (untraced() != 0)
        return 0;
    setsid();
    while (!run)
        pause();
    for (long n = 0; n < 300000; n++) /* only the newest generation lives */
        if (untraced() != 0)
            _exit(0);
    return 0;
}
