/* stopwatch FILE COMMAND…: runs COMMAND and writes its wall time in nanoseconds to FILE. */
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv)
{
    pid_t child;
    int status;
    if (argc < 3)
        return 2;
    long long began = now_ns();
    if (posix_spawnp(&child, argv[2], NULL, NULL, argv + 2, environ) != 0)
        return perror(argv[2]), 127;
    if (waitpid(child, &status, 0) != child)
        return perror("waitpid"), 1;
    long long took = now_ns() - began;
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%lld\n", took) < 0 || fclose(file) != 0)
        return perror(argv[1]), 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
