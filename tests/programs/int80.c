/* Makes 32-bit system calls from a 64-bit program: getpid, and unlink of a file below 4 GiB. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

static long call32(long number, long first) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first) : "memory");
    return result;
}

int main(int argc, char **argv) {
    char *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    strncpy(low, argv[argc > 1 ? 1 : 0], 4095);
    return call32(20, 0) > 0 && call32(10, (long)low) == 0 ? 0 : 1;
}
