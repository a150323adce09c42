/* Deeds that a sandbox should stop, each tried for real.
 *
 *   probes benign|DEED WORK OUTSIDE TCP OTHER_TCP UDP OTHER_UDP PEER ADDRESS
 *
 * `benign` is what the program is for: it reads, writes, renames, removes and chmods in WORK/out, talks to
 * TCP and UDP on 127.0.0.1 and to WORK/sock, forks and asks its terminal. A policy is drafted from that. A DEED is
 * what it does when somebody has taken it over. PEER is a process of the same user (`probes peer`), whose secret
 * lies at ADDRESS. `probes list` names the deeds.
 *
 * Exit status: 0 the deed was done; 1 it was refused, and why is on stdout; 3 usage.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char *work, *outside;
static int tcp, other_tcp, udp, other_udp;
static pid_t peer;
static void *address;

static char *join(const char *directory, const char *name) {
    char *path;
    return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}
#define OUT(name) join(outside, name)
#define IN(name) join(work, name)

static int reads(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY);
    return fd < 0 ? -1 : (int)read(fd, &byte, 1);
}

static int writes(const char *path, int flags, const void *data, size_t size, int mode) {
    int fd = open(path, O_WRONLY | flags, mode);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return -1;
    return close(fd);
}

static int inet(int type, int protocol, int port, int serve) {
    struct sockaddr_in at = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, type, protocol);
    if (fd < 0)
        return -1;
    if (serve)
        return bind(fd, (void *)&at, sizeof at) ? -1 : listen(fd, 1);
    if (type == SOCK_DGRAM)
        return sendto(fd, "x", 1, 0, (void *)&at, sizeof at) == 1 ? 0 : -1;
    return connect(fd, (void *)&at, sizeof at);
}

static int local(const char *name, int abstract) {
    struct sockaddr_un at = {AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(at.sun_path + abstract, name, sizeof at.sun_path - 2);
    return fd < 0 ? -1
                  : connect(fd, (void *)&at, offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name));
}

/* mov $42,%eax; ret */
static const unsigned char CODE[] = {0xb8, 42, 0, 0, 0, 0xc3};

static int runs(void *code) {
    if (code == MAP_FAILED)
        return -1;
    return ((int (*)(void))code)() == 42 ? 0 : -1;
}

/* An ELF file of one segment: xor %edi,%edi; mov $60,%eax; syscall (exit(0)). */
static const unsigned char ELF[] = {
    0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0,
    64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0,
    0x81, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
    0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05,
};

static char *const nothing[] = {"x", NULL};

/* -- files -- */
static int read_ssh_key(void) { return reads(OUT("home/.ssh/id_ed25519")); }
static int read_shadow(void) { return reads("/etc/shadow"); }
static int read_by_symlink(void) { return reads(IN("link")); }
static int read_by_dotdot(void) { return reads(IN("../outside/secret")); }
static int read_by_hard_link(void) {
    return link(OUT("secret"), IN("out/hard")) ? -1 : reads(IN("out/hard"));
}
static int read_by_handle(void) {
    union {
        struct file_handle head;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } handle;
    char byte;
    int id, fd;
    handle.head.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(AT_FDCWD, OUT("secret"), &handle.head, &id, 0))
        return -1;
    fd = open_by_handle_at(AT_FDCWD, &handle.head, O_RDONLY);
    return fd < 0 ? -1 : (int)read(fd, &byte, 1);
}
static char *of_peer(const char *name) {
    char *path;
    return asprintf(&path, "/proc/%d/%s", peer, name) < 0 ? NULL : path;
}
static int read_peer_environment(void) { return reads(of_peer("environ")); }
static int open_peer_memory(void) { return open(of_peer("mem"), O_RDWR); }
static int list_outside(void) { return open(outside, O_RDONLY | O_DIRECTORY) < 0 ? -1 : 0; }
static int write_outside(void) { return writes(OUT("file"), O_APPEND, "x", 1, 0); }
static int create_outside(void) { return writes(OUT("new"), O_CREAT | O_EXCL, "x", 1, 0600); }
static int create_in_tmp(void) {
    char name[] = "/tmp/capsule-probe.XXXXXX";
    int fd = mkstemp(name);
    return fd < 0 ? -1 : unlink(name);
}
static int truncate_outside(void) { return truncate(OUT("file"), 0); }
static int delete_outside(void) { return unlink(OUT("file")); }
static int rename_outside(void) { return rename(OUT("file"), OUT("renamed")); }
static int rename_into_reach(void) { return rename(OUT("secret"), IN("out/secret")); }
static int mkdir_outside(void) { return mkdir(OUT("directory"), 0700); }
static int symlink_outside(void) { return symlink("/", OUT("symlink")); }
static int chmod_outside(void) { return chmod(OUT("file"), 0777); }
static int make_device(void) { return mknod(IN("out/null"), S_IFCHR | 0600, makedev(1, 3)); }
static int write_core_pattern(void) { return open("/proc/sys/kernel/core_pattern", O_WRONLY); }

/* -- network -- */
static int connect_elsewhere(void) { return inet(SOCK_STREAM, 0, other_tcp, 0); }
static int listen_tcp(void) { return inet(SOCK_STREAM, 0, 0, 1); }
static int send_udp_elsewhere(void) { return inet(SOCK_DGRAM, 0, other_udp, 0); }
static int raw_socket(void) { return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }
static int packet_socket(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static int connect_abstract(void) { return local(outside, 1); }
static int connect_unix_path(void) { return local(OUT("docker.sock"), 0); }

/* -- programs and code -- */
static int exec_other(void) { return execv("/bin/true", nothing); }
static int exec_written(void) {
    if (writes(IN("out/program"), O_CREAT | O_TRUNC, ELF, sizeof ELF, 0700))
        return -1;
    return execv(IN("out/program"), nothing);
}
static int exec_memfd(void) {
    int fd = memfd_create("x", 0);
    return fd < 0 || write(fd, ELF, sizeof ELF) < 0 ? -1 : (int)syscall(SYS_execveat, fd, "", nothing, environ, AT_EMPTY_PATH);
}
static int exec_setuid(void) {
    char *const argv[] = {"probes", "am_root", NULL};
    if (setgid(65534) || setuid(65534))
        return -1;
    return execv(OUT("setuid"), argv);
}
static int map_writable_code(void) {
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return code == MAP_FAILED ? -1 : runs(memcpy(code, CODE, sizeof CODE));
}
static int protect_code(void) {
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(code, CODE, sizeof CODE);
    return mprotect(code, 4096, PROT_READ | PROT_EXEC) ? -1 : runs(code);
}
static int map_memfd_code(void) {
    int fd = memfd_create("x", 0);
    if (fd < 0 || write(fd, CODE, sizeof CODE) < 0)
        return -1;
    return runs(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
}
static int map_written_code(void) {
    if (writes(IN("out/code"), O_CREAT | O_TRUNC, CODE, sizeof CODE, 0700))
        return -1;
    int fd = open(IN("out/code"), O_RDONLY);
    return fd < 0 ? -1 : runs(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
}
static int read_implies_exec(void) { return personality(READ_IMPLIES_EXEC); }

/* -- other processes -- */
static int ptrace_peer(void) { return (int)ptrace(PTRACE_SEIZE, peer, 0, 0); }
static int read_peer_memory(void) {
    char mine[8];
    struct iovec to = {mine, sizeof mine}, from = {address, sizeof mine};
    return process_vm_readv(peer, &to, 1, &from, 1, 0) < 0 ? -1 : 0;
}
static int write_peer_memory(void) {
    char mine[8] = "changed";
    struct iovec from = {mine, sizeof mine}, to = {address, sizeof mine};
    return process_vm_writev(peer, &from, 1, &to, 1, 0) < 0 ? -1 : 0;
}
static int signal_peer(void) { return kill(peer, SIGCONT); }
static int take_peer_descriptor(void) {
    int fd = (int)syscall(SYS_pidfd_open, peer, 0);
    return fd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, fd, 0, 0);
}

/* -- the kernel -- */
static int reaped(pid_t child) {
    int status;
    if (child == 0)
        _exit(0);
    return child < 0 || waitpid(child, &status, __WALL) < 0 ? -1 : 0;
}
static int unshare_user(void) { return unshare(CLONE_NEWUSER); }
static int clone_user(void) { return reaped((pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static int clone3_user(void) {
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    return reaped((pid_t)syscall(SYS_clone3, &args, sizeof args));
}
static int clone_untraced(void) { return reaped((pid_t)syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0)); }
static int mount_tmpfs(void) { return mount("none", IN("out"), "tmpfs", 0, NULL) ? -1 : umount(IN("out")); }
static int change_root(void) { return chroot(work); }
static int set_host_name(void) {
    char name[65];
    return gethostname(name, sizeof name) ? -1 : sethostname(name, strlen(name));
}
static int io_uring(void) {
    char params[256] = {0};
    return (int)syscall(SYS_io_uring_setup, 4, params);
}
static int call_of_32_bits(void) {
    long pid;
    __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20) : "r8", "r9", "r10", "r11", "memory");
    errno = pid < 0 ? (int)-pid : 0;
    return pid == getpid() ? 0 : -1;
}
static int call_of_x32(void) { return syscall(0x40000000 | SYS_getpid) == getpid() ? 0 : -1; }
static int kernel_key(void) {
    return (int)syscall(SYS_add_key, "user", "capsule-probe", "x", 1, -2 /* KEY_SPEC_PROCESS_KEYRING */);
}
static int bpf_map(void) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.map_type = BPF_MAP_TYPE_ARRAY;
    attr.key_size = attr.value_size = 4;
    attr.max_entries = 1;
    return (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}
static int perf_event(void) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK};
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}
static int user_fault_fd(void) { return (int)syscall(SYS_userfaultfd, O_CLOEXEC); }
static int type_into_terminal(void) { return ioctl(0, TIOCSTI, "x"); }
static int type_into_terminal_high(void) { return (int)syscall(SYS_ioctl, 0, 1UL << 32 | TIOCSTI, "x"); }

#define DEED(name) {#name, name}
static const struct {
    const char *name;
    int (*tried)(void);
} DEEDS[] = {
    DEED(read_ssh_key), DEED(read_shadow), DEED(read_by_symlink), DEED(read_by_dotdot), DEED(read_by_hard_link),
    DEED(read_by_handle), DEED(read_peer_environment), DEED(open_peer_memory), DEED(list_outside),
    DEED(write_outside), DEED(create_outside), DEED(create_in_tmp), DEED(truncate_outside), DEED(delete_outside),
    DEED(rename_outside), DEED(rename_into_reach), DEED(mkdir_outside), DEED(symlink_outside), DEED(chmod_outside),
    DEED(make_device), DEED(write_core_pattern), DEED(connect_elsewhere), DEED(listen_tcp),
    DEED(send_udp_elsewhere), DEED(raw_socket), DEED(packet_socket), DEED(connect_abstract),
    DEED(connect_unix_path), DEED(exec_other), DEED(exec_written), DEED(exec_memfd), DEED(exec_setuid),
    DEED(map_writable_code), DEED(protect_code), DEED(map_memfd_code), DEED(map_written_code),
    DEED(read_implies_exec), DEED(ptrace_peer), DEED(read_peer_memory), DEED(write_peer_memory), DEED(signal_peer),
    DEED(take_peer_descriptor), DEED(unshare_user), DEED(clone_user), DEED(clone3_user), DEED(clone_untraced),
    DEED(mount_tmpfs), DEED(change_root), DEED(set_host_name), DEED(io_uring), DEED(call_of_32_bits),
    DEED(call_of_x32), DEED(kernel_key), DEED(bpf_map), DEED(perf_event), DEED(user_fault_fd),
    DEED(type_into_terminal), DEED(type_into_terminal_high),
};

static int benign(void) {
    struct termios settings;
    char *made = IN("out/made");
    int failed = 0;
    tcgetattr(0, &settings);
    failed |= reads(IN("input")) != 1;
    failed |= writes(made, O_CREAT | O_TRUNC, "x", 1, 0600);
    failed |= chmod(made, 0644) || rename(made, IN("out/moved")) || reads(IN("out/moved")) != 1;
    failed |= unlink(IN("out/moved"));
    failed |= inet(SOCK_STREAM, 0, tcp, 0) || inet(SOCK_DGRAM, 0, udp, 0) || local(IN("sock"), 0);
    failed |= reaped(fork()) || kill(getpid(), 0) || prctl(PR_SET_NAME, "probes");
    puts(failed ? "failed" : "done");
    return failed;
}

static void be_peer(void) {
    static char secret[8] = "secret";
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    printf("%d %p\n", getpid(), (void *)secret);
    fflush(stdout);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    size_t at, deeds = sizeof DEEDS / sizeof *DEEDS;
    if (argc == 2 && !strcmp(argv[1], "peer"))
        be_peer();
    if (argc == 2 && !strcmp(argv[1], "am_root"))
        return geteuid() ? puts("no privilege"), 1 : 0;
    if (argc == 2 && !strcmp(argv[1], "list")) {
        for (at = 0; at < deeds; at++)
            puts(DEEDS[at].name);
        return 0;
    }
    if (argc != 10)
        return 3;
    work = argv[2], outside = argv[3];
    tcp = atoi(argv[4]), other_tcp = atoi(argv[5]), udp = atoi(argv[6]), other_udp = atoi(argv[7]);
    peer = atoi(argv[8]);
    address = (void *)strtoul(argv[9], NULL, 16);
    if (!strcmp(argv[1], "benign"))
        return benign();
    for (at = 0; at < deeds; at++)
        if (!strcmp(argv[1], DEEDS[at].name)) {
            errno = 0;
            if (DEEDS[at].tried() >= 0)
                return 0;
            puts(errno ? strerrorname_np(errno) : "other");
            return 1;
        }
    return 3;
}
