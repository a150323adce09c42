/* Makes, renames and removes a file of every name it is given. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char deep[4200] = "";
    for (int i = 1; i < argc; i++) {
        int fd = open(argv[i], O_CREAT | O_WRONLY | O_EXCL, 0600);
        if (fd < 0)
            return 1;
        if (write(fd, argv[i], strlen(argv[i])) < 0 || close(fd) || rename(argv[i], "renamed") ||
            unlink("renamed"))
            return 2;
    }
    /* 4 KiB, the longest path there can be (PATH_MAX) and one past it. */
    while (strlen(deep) < 4095)
        strcat(deep, strlen(deep) % 200 == 199 ? "/" : "d");
    open(deep, O_RDONLY);
    strcat(deep, "dd");
    open(deep, O_RDONLY);
    return 0;
}
