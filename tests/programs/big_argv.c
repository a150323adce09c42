/* Executes a program with all the arguments the kernel takes: 15 words of 128 KiB each. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 15, BYTES = 131071 };

int main(void) {
    char *argv[WORDS + 2] = {"true"};
    for (int i = 1; i <= WORDS; i++) {
        argv[i] = malloc(BYTES + 1);
        memset(argv[i], 'a' + i, BYTES - 1);
        argv[i][BYTES - 1] = 0;
    }
    execve("/bin/true", argv, (char *[]){NULL});
    return 1;
}
