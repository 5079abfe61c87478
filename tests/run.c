// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the test programs that lie beside it, passes their TAP through, and
 * counts it.
 *
 *   run [-q] [NAME...]
 *
 * NAME is a program's; all of them without one, or where it is "all". What NAME.tap says is taken as
 * said where there is no such program: it was found out when it was built.
 * With -q, only what did not pass is shown, and what was said on the way to it.
 *
 * The last line is "N passed, N failed, N skipped", the exit status 0 only
 * where nothing failed. A program that ends before its plan is complete, or
 * gives a status that its output does not explain, is a failure.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * A program bounds each of its tests itself. This is for one that cannot, for
 * it hangs in the kernel.
 */
#define PROGRAM_TIMEOUT	1000	/* seconds without output */

struct counts {
	int passed, failed, skipped;
	int planned;		/* -1 before there is a plan */
};

static char here[PATH_MAX];
static bool quiet;
static char *kept;		/* with -q, the output since the last result */
static size_t kept_len;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void say(const char *text, size_t len)
{
	if (!quiet) {
		fwrite(text, 1, len, stdout);
		return;
	}
	kept = realloc(kept, kept_len + len);
	if (!kept)
		err(2, "realloc");
	memcpy(kept + kept_len, text, len);
	kept_len += len;
}

static void show_kept(bool show)
{
	if (show)
		fwrite(kept, 1, kept_len, stdout);
	kept_len = 0;
}

/* One line of TAP. Only the words that begin it count. */
static void count_line(const char *line, struct counts *c)
{
	if (!strncmp(line, "not ok", 6)) {
		c->failed++;
		show_kept(true);
	} else if (!strncmp(line, "ok ", 3)) {
		if (strstr(line, "# SKIP") || strstr(line, "# skip")) {
			c->skipped++;
			show_kept(true);
		} else {
			c->passed++;
			show_kept(false);
		}
	} else if (!strncmp(line, "1..", 3) && isdigit(line[3])) {
		c->planned = atoi(line + 3);
		show_kept(false);
	}
}

/* Reads to the end, or until nothing has come for too long: then false. */
static bool read_tap(int fd, struct counts *c)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	static char buf[8192];
	size_t len = 0, line;
	ssize_t n;
	char *nl;

	for (;;) {
		n = poll(&p, 1, PROGRAM_TIMEOUT * 1000);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		n = read(fd, buf + len, sizeof(buf) - 1 - len);
		if (n < 0)
			err(2, "read");
		len += n;
		while ((nl = memchr(buf, '\n', len)) || (len && n == 0) ||
		       len == sizeof(buf) - 1) {
			line = nl ? (size_t)(nl - buf) + 1 : len;
			say(buf, line);
			buf[line - !!nl] = '\0';
			count_line(buf, c);
			len -= line;
			memmove(buf, buf + line, len);
		}
		fflush(stdout);
		if (n == 0)
			return true;
	}
}

static void complain(struct counts *c, const char *name, const char *what,
		     int value)
{
	char text[256];
	int len;

	len = snprintf(text, sizeof(text), "not ok - %s: ", name);
	len += snprintf(text + len, sizeof(text) - len, what, value);
	len += snprintf(text + len, sizeof(text) - len, "\n");
	say(text, len);
	show_kept(true);
	c->failed++;
}

static void check_plan(struct counts *c, const char *name)
{
	int done = c->passed + c->failed + c->skipped;

	if (c->planned < 0)
		complain(c, name, "ended without a plan", 0);
	else if (done < c->planned)
		complain(c, name, "%d planned tests did not run",
			 c->planned - done);
	else if (done > c->planned)
		complain(c, name, "%d more tests than planned",
			 done - c->planned);
}

static void replay(const char *path, const char *name, struct counts *c)
{
	FILE *f = fopen(path, "r");

	if (!f) {
		complain(c, name, "there is no such test", 0);
		return;
	}
	read_tap(fileno(f), c);
	fclose(f);
	check_plan(c, name);
}

static void run(const char *path, const char *name, struct counts *c)
{
	int fds[2], status;
	bool ended;
	pid_t pid;

	/* Close-on-exec: what the tests inherit is to be 0, 1 and 2. */
	if (pipe2(fds, O_CLOEXEC))
		err(2, "pipe");
	pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (!pid) {
		setpgid(0, 0);
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execl(path, path, NULL);
		_exit(127);
	}
	close(fds[1]);
	ended = read_tap(fds[0], c);
	close(fds[0]);
	if (!ended) {
		kill(-pid, SIGKILL);
		complain(c, name, "no word for %d seconds", PROGRAM_TIMEOUT);
		/* If that did not end it, nothing will. */
		for (int i = 0; i < 100 && !waitpid(pid, NULL, WNOHANG); i++)
			usleep(100000);
		return;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			err(2, "waitpid");
	check_plan(c, name);
	if (WIFSIGNALED(status))
		complain(c, name, "ended by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) && !c->failed)
		complain(c, name, "exit status %d", WEXITSTATUS(status));
}

/*
 * The tests of loading and unloading need the module's file. It is looked for
 * where scripts/vm puts it, and in the directory the tests were built into.
 */
static void find_module(void)
{
	static const char *const place[] = {
		"/vm/kqueue.ko", "%s/kqueue.ko", "%s/../kqueue.ko",
	};
	char path[PATH_MAX + 32];
	size_t i;

	if (getenv("KQUEUE_KO"))
		return;
	for (i = 0; i < sizeof(place) / sizeof(place[0]); i++) {
		snprintf(path, sizeof(path), place[i], here);
		if (!access(path, R_OK)) {
			setenv("KQUEUE_KO", path, 1);
			return;
		}
	}
}

int main(int argc, char **argv)
{
	static char all[] = TESTS;
	struct counts total = { 0 };
	char *names[64], *name, path[PATH_MAX + 64];
	int count = 0, opt, i;
	double start = now(), begun;
	ssize_t len;

	setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
	while ((opt = getopt(argc, argv, "q")) != -1) {
		if (opt != 'q') {
			fprintf(stderr, "usage: %s [-q] [NAME...]\n", argv[0]);
			return 2;
		}
		quiet = true;
	}
	len = readlink("/proc/self/exe", here, sizeof(here) - 1);
	if (len < 0)
		err(2, "/proc/self/exe");
	here[len] = '\0';
	*strrchr(here, '/') = '\0';
	find_module();

	i = optind;
	do {
		if (i < argc && strcmp(argv[i], "all")) {
			names[count++] = argv[i];
			continue;
		}
		for (name = strtok(all, " "); name && count < 64;
		     name = strtok(NULL, " "))
			names[count++] = name;
	} while (++i < argc && count < 64);

	printf("TAP version 13\n");
	setenv("KSFT_TAP_LEVEL", "1", 1);
	for (i = 0; i < count; i++) {
		struct counts c = { .planned = -1 };

		printf("# [%d/%d] %s\n", i + 1, count, names[i]);
		fflush(stdout);
		begun = now();
		kept_len = 0;
		snprintf(path, sizeof(path), "%s/%s", here, names[i]);
		if (!access(path, X_OK)) {
			run(path, names[i], &c);
		} else {
			strcat(path, ".tap");
			replay(path, names[i], &c);
		}
		printf("# [%d/%d] %s: %d passed, %d failed, %d skipped in %.1f s\n",
		       i + 1, count, names[i], c.passed, c.failed, c.skipped,
		       now() - begun);
		total.passed += c.passed;
		total.failed += c.failed;
		total.skipped += c.skipped;
	}
	printf("# %.0f s\n", now() - start);
	printf("%d passed, %d failed, %d skipped\n", total.passed,
	       total.failed, total.skipped);
	return total.failed ? 1 : 0;
}
