/* storm N [PROGRAM]: N times fork, exec PROGRAM and wait; without PROGRAM the child just exits. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    for (long left = atol(argv[1]); left > 0; left--) {
        pid_t child;
        int status;
        if (argc > 2) {
            if (posix_spawn(&child, argv[2], NULL, NULL, argv + 2, environ) != 0)
                return perror(argv[2]), 1;
        } else if ((child = fork()) == 0) {
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            return perror("storm"), 1;
    }
    return 0;
}
