/* fork_storm LIMIT ROUNDS: at most LIMIT processes of this user (RLIMIT_NPROC), each of which
 * forks whenever it may, until fork has failed ROUNDS times; ROUNDS 0: for ever. With the word
 * "run" behind: each forks and ends at once, so that only the newest lives. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    rlim_t most = strtoul(argv[1], NULL, 10);
    long rounds = strtol(argv[2], NULL, 10), failed = 0;
    struct rlimit limit = {most, most};
    if (setrlimit(RLIMIT_NPROC, &limit) != 0)
        return 1;
    (void)!write(1, "up\n", 3);
    for (;;) {
        pid_t child = fork();
        if (child > 0 && argc > 3)
            _exit(0);
        if (child < 0 && errno == EAGAIN && ++failed == rounds)
            break;
        if (child == 0 && rounds && argc <= 3)
            while (failed < 3)
                failed += fork() < 0;
        if (child == 0 && rounds)
            _exit(0);
    }
    while (wait(NULL) > 0)
        ;
    return 0;
}
