/* dense N: N system calls and hardly anything between them (open, read, write, close in turn). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char block[256];
    if (argc != 2)
        return 2;
    int sink = open("/dev/null", O_WRONLY);
    for (long left = atol(argv[1]); left > 0; left -= 4) {
        int fd = open("/dev/zero", O_RDONLY);
        if (fd < 0 || read(fd, block, sizeof block) != sizeof block
            || write(sink, block, sizeof block) != sizeof block || close(fd) != 0)
            return perror("dense"), 1;
    }
    return 0;
}
