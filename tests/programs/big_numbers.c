/* Calls whose arguments and results are as large as the kernel's types allow, and larger. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
    struct timespec never = {INT64_MAX, INT64_MAX};
    setrlimit(RLIMIT_CORE, &most);
    syscall(SYS_lseek, 1, INT64_MIN, SEEK_SET);
    syscall(SYS_pread64, 0, (void *)-1L, UINT64_MAX, INT64_MAX);
    syscall(SYS_pwrite64, 99, (void *)-1L, UINT64_MAX, INT64_MIN);
    syscall(SYS_mmap, UINT64_MAX, UINT64_MAX, -1L, -1L, -1L, UINT64_MAX);
    syscall(SYS_clock_nanosleep, -1L, -1L, &never, 0L);
    syscall(SYS_kill, 1L << 62, -1L);
    syscall(1L << 40, -1L, -1L, -1L, -1L, -1L, -1L);
    syscall(-1L, -1L, -1L, -1L, -1L, -1L, -1L);
    return 0;
}
