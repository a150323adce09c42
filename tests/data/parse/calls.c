/* Makes the calls that strace prints in unusual ways; argv[1] says which. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void *exec_true(void *unused)
{
	char *argv[] = {"true", NULL}, *envp[] = {NULL};
	execve("/bin/true", argv, envp);
	return unused;
}

static void thread_execve(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, exec_true, NULL);
	pthread_join(thread, NULL);
}

static void ignore(int unused) { (void) unused; }

/* mkdir gives `action`; a handler for SIGSYS lets the process go on. */
static void seccomp(unsigned action, int handled)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, code};
	if (handled)
		signal(SIGSYS, ignore);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	mkdir("never", 0700);
}

static void names(void)
{
	const char *paths[] = {"a b", "a, b", "a) = 0", "a\nb", "a<b>", "a\"b", "a\\", "a'b /* c", "caf\xe9"};
	struct stat st;
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
		int fd = open(paths[i], O_CREAT | O_RDWR, 0600);
		fstat(fd, &st);
		unlink(paths[i]);
		write(fd, paths[i], strlen(paths[i]));
		close(fd);
	}
}

static void sockets(void)
{
	struct sockaddr_un address = {AF_UNIX, "s>) = 0, \"x"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), pair[2];
	bind(fd, (void *) &address, sizeof address);
	listen(fd, 1);
	close(fd);
	unlink(address.sun_path);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	struct pollfd polled = {pair[0], POLLIN, 0};
	poll(&polled, 1, 0);
	write(pair[1], "x", 1);
	poll(&polled, 1, 0);
	struct iovec parts[2] = {{"one", 3}, {"two", 3}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	sendmsg(pair[1], &message, 0);
}

static void odd(void)
{
	umask(022);
	umask(077);
	syscall(0x1b8, 1, 2, 3, 4, 5, 6);
	syscall(9999, 1);
	fcntl(0, F_GETFL);
	syscall(SYS_mkdir | 0x40000000, "never", 0700);
	mmap(NULL, 1 << 21, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT, -1, 0);
	int pid;
	__asm__ volatile("int $0x80" : "=a"(pid) : "a"(20));
	getpid();
	char long_text[300];
	memset(long_text, 'x', sizeof long_text);
	long_text[1] = 0;
	long_text[2] = '8';
	write(1, long_text, sizeof long_text);
}

/* A signal interrupts a call, and the call is restarted. */
static void restart(void)
{
	struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
	int pipes[2], parent = getpid();
	sigaction(SIGUSR1, &action, NULL);
	pipe(pipes);
	if (fork() == 0) {
		char state[200] = "";
		while (!strstr(state, ") S")) { /* until the parent sleeps in read */
			char name[40];
			snprintf(name, sizeof name, "/proc/%d/stat", parent);
			int fd = open(name, O_RDONLY);
			if (read(fd, state, sizeof state - 1) < 0)
				_exit(1);
			close(fd);
		}
		kill(parent, SIGUSR1);
		write(pipes[1], "x", 1);
		_exit(3);
	}
	char byte;
	read(pipes[0], &byte, 1);
	wait(NULL);
}

/* A child stops and is continued. */
static void stop(void)
{
	int status, child = fork();
	if (child == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(child, &status, WUNTRACED);
	kill(child, SIGCONT);
	waitpid(child, &status, 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "thread-execve"))
		thread_execve();
	else if (!strcmp(what, "kill"))
		seccomp(SECCOMP_RET_KILL_PROCESS, 0);
	else if (!strcmp(what, "trap"))
		seccomp(SECCOMP_RET_TRAP, 1);
	else if (!strcmp(what, "names"))
		names();
	else if (!strcmp(what, "sockets"))
		sockets();
	else if (!strcmp(what, "odd"))
		odd();
	else if (!strcmp(what, "restart"))
		restart();
	else if (!strcmp(what, "abort"))
		abort();
	else if (!strcmp(what, "stop"))
		stop();
	return 0;
}
