/* tree DEPTH: every process forks two children until DEPTH levels are full, and waits for them. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    for (int level = atoi(argv[1]); level > 0; level--) {
        int born = 0;
        for (int side = 0; side < 2; side++) {
            pid_t child = fork();
            if (child < 0)
                return perror("fork"), 1;
            if (child == 0) {
                born = 1;
                break;
            }
        }
        if (!born)
            break;
    }
    int status, worst = 0;
    while (wait(&status) > 0)
        worst |= status;
    return worst != 0;
}
