// SPDX-License-Identifier: GPL-2.0
/*
 * Run a command, and say whether it, or what it has started, has called epoll. A
 * call fails with ENOSYS, so that nothing works by it.
 *
 * usage: noepoll NAME COMMAND...
 *
 * The verdict is a line of TAP, to descriptor 3, which the command does not have. It
 * comes when all that the command has started is gone, so that of a server that puts
 * itself into the background too. The exit status is the command's, or 99 where epoll
 * was called. SIGTERM and SIGINT are passed on to the command.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define IS(nr)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)

static struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	/* A 32-bit program has other numbers; there are none among the run-times. */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	IS(__NR_epoll_create),
	IS(__NR_epoll_create1),
	IS(__NR_epoll_ctl),
	IS(__NR_epoll_ctl_old),
	IS(__NR_epoll_wait),
	IS(__NR_epoll_wait_old),
	IS(__NR_epoll_pwait),
	IS(__NR_epoll_pwait2),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static pid_t child;

static void pass_on(int sig)
{
	kill(child, sig);
}

static void die(const char *what)
{
	perror(what);
	_exit(98);
}

static void command(int pipe, char **argv)
{
	const struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };
	int listener;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getuid() && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("noepoll: no_new_privs");
	listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			   SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0)
		die("noepoll: seccomp");
	if (write(pipe, &listener, sizeof(listener)) != sizeof(listener))
		die("noepoll: write");
	/* All of the descriptors are this process's own from here on. */
	if (unshare(CLONE_FILES) < 0)
		die("noepoll: unshare");
	close(listener);
	close(pipe);
	close(pipe - 1);
	close(3);
	execvp(argv[0], argv);
	die(argv[0]);
}

static void answer(int listener, unsigned long *calls)
{
	struct seccomp_notif call;
	struct seccomp_notif_resp answer;
	char path[64], comm[32] = "?";
	int fd;

	memset(&call, 0, sizeof(call));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", call.pid);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		ssize_t n = read(fd, comm, sizeof(comm) - 1);

		comm[n > 0 ? n - 1 : 0] = '\0';
		close(fd);
	}
	if ((*calls)++ < 10)
		dprintf(3, "# %s, process %d, makes system call %d, of epoll\n",
			comm, call.pid, call.data.nr);
	memset(&answer, 0, sizeof(answer));
	answer.id = call.id;
	answer.error = -ENOSYS;
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
	int listener, status, pipes[2];
	unsigned long calls = 0;
	struct pollfd poller;

	if (argc < 3) {
		fprintf(stderr, "usage: noepoll NAME COMMAND...\n");
		return 98;
	}
	if (fcntl(3, F_GETFD) < 0)
		dup2(1, 3);
	if (pipe(pipes) < 0)
		die("noepoll: pipe");
	/* One table of descriptors for a while, so that both have the listener. */
	child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
	if (child < 0)
		die("noepoll: clone");
	if (!child)
		command(pipes[1], argv + 2);
	if (read(pipes[0], &listener, sizeof(listener)) != sizeof(listener))
		die("noepoll: read");
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);

	poller = (struct pollfd){ .fd = listener, .events = POLLIN };
	for (;;) {
		if (poll(&poller, 1, -1) < 0 && errno != EINTR)
			die("noepoll: poll");
		if (poller.revents & POLLIN)
			answer(listener, &calls);
		else if (poller.revents & POLLHUP)
			break;
		poller.revents = 0;
	}
	if (waitpid(child, &status, 0) < 0)
		die("noepoll: waitpid");
	if (calls)
		dprintf(3, "not ok - %s: epoll was called %lu times\n", argv[1], calls);
	else
		dprintf(3, "ok - %s: epoll was never called\n", argv[1]);
	if (calls)
		return 99;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
