// SPDX-License-Identifier: GPL-2.0
/*
 * What things cost with a kqueue, and with what one would use without. Prints a line a
 * cost: the case, with what, nanoseconds. See bench.h.
 *
 * usage: bench counted            all that is measured in instructions
 *        bench profile            the same for the profiler; the numbers are how often
 *        bench threads            what is done by two threads at once
 *        bench close NAME WITH    the close of a descriptor alone
 *        bench hold               has a kqueue open, until it is killed
 */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define RUNS	12

double begun, spent;
bool profiling;
const struct timespec zero;

void print(const char *name, const char *with, double cost)
{
	printf("%s\t%s\t%.1f\n", name, with, cost);
	fflush(stdout);
}

static void run(void (*once)(void), double *best)
{
	if (!once)
		return;
	spent = 0;
	once();
	if (spent < *best)
		*best = spent;
}

/* Prints how often the case does its thing. The second time, as it is measured. */
static void profile(const char *name, const char *with, double per, void (*once)(void))
{
	if (!once)
		return;
	profiling = false;
	once();
	profiling = true;
	once();
	CASE_MARKER;
	print(name, with, per);
}

void compare(const char *name, double per, void (*with_kqueue)(void),
	     void (*with_peer)(void))
{
	double kqueue_best = 1e18, peer_best = 1e18;
	int i;

	if (profiling) {
		profile(name, KQUEUE, per, with_kqueue);
		profile(name, PEER, per, with_peer);
		return;
	}
	for (i = 0; i < RUNS; i++) {
		run(with_kqueue, &kqueue_best);
		run(HAS_PEER ? with_peer : NULL, &peer_best);
		/* What is made once, and what is in no cache yet, is now. */
		if (!i)
			kqueue_best = peer_best = 1e18;
	}
	if (with_kqueue)
		print(name, KQUEUE, kqueue_best / per);
	if (HAS_PEER && with_peer)
		print(name, PEER, peer_best / per);
}

void without_kqueues(void)
{
	sleep(HAS_PEER ? 12 : 0);
}

int new_eventfd(int value)
{
	int fd = eventfd(value, 0);

	must(fd >= 0);
	return fd;
}

static void fill(int fd, int bytes)
{
	while (bytes--)
		must(write(fd, "", 1) == 1);
}

int new_pipe(int bytes)
{
	int fds[2];

	must(!pipe(fds));
	fill(fds[1], bytes);
	return fds[0];
}

int new_tcp(int bytes)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int near = socket(AF_INET, SOCK_STREAM, 0), far;

	must(listener >= 0 && near >= 0);
	must(!bind(listener, (struct sockaddr *)&addr, len));
	must(!listen(listener, 1));
	must(!getsockname(listener, (struct sockaddr *)&addr, &len));
	must(!connect(near, (struct sockaddr *)&addr, len));
	far = accept(listener, NULL, NULL);
	must(far >= 0);
	close(listener);
	fill(far, bytes);
	return near;
}

void want_descriptors(long many)
{
	const struct rlimit limit = { many, many };

	must(!setrlimit(RLIMIT_NOFILE, &limit));
}

/* In a process of its own. What libkqueue cannot do is left out. */
static void apart(void (*cases)(void))
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (!pid) {
		alarm(HAS_PEER ? 0 : 60);
		cases();
		exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	if (HAS_PEER && status)
		exit(1);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	want_descriptors(500000);
	if (!strcmp(what, "profile")) {
		profiling = true;
		what = "counted";
	}
	if (!strcmp(what, "counted")) {
		apart(bench_wait);
		apart(bench_change);
		apart(bench_wake);
		apart(bench_timer);
		apart(bench_signal);
		apart(bench_child);
		apart(bench_pingpong);
		apart(bench_idle);
		if (HAS_PEER && !profiling)
			apart(bench_memory);
	} else if (!strcmp(what, "threads")) {
		bench_threads();
	} else if (!strcmp(what, "close") && argc == 4) {
		bench_close(argv[2], argv[3]);
	} else if (!strcmp(what, "hold")) {
		new_kqueue();
		puts("holding");
		fflush(stdout);
		pause();
	} else {
		fprintf(stderr, "usage: bench counted|profile|threads|close NAME WITH|hold\n");
		return 2;
	}
	return 0;
}
