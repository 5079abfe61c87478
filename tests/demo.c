// SPDX-License-Identifier: GPL-2.0
/*
 * What a kqueue reports: of a pipe, a TCP connection, an event that another thread
 * triggers, a timer, a signal that is ignored, a tree of processes, a file, and
 * where it ends. Prints every call it makes and what came of it.
 */
#include <sys/types.h>
#include <sys/event.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int kq;
static int surprises;

static void title(const char *text)
{
	printf("\n%s\n", text);
}

/* What the program does. */
__attribute__((format(printf, 1, 2)))
static void doing(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("  ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

static const char *filter_name(short filter)
{
	static char name[KFILTER_MAXNAME];
	struct kfilter_mapping map = {
		.name = name, .len = sizeof(name), .filter = filter,
	};

	if (ioctl(kq, KFILTER_BYFILTER, &map))
		snprintf(name, sizeof(name), "filter %d", filter);
	return name;
}

static void print_event(const struct kevent *ev)
{
	static const struct {
		unsigned int flag;
		const char *name;
	} flags[] = {
		{ EV_ONESHOT, " EV_ONESHOT" }, { EV_CLEAR, " EV_CLEAR" },
		{ EV_DISPATCH, " EV_DISPATCH" }, { EV_ERROR, " EV_ERROR" },
		{ EV_EOF, " EV_EOF" },
	};
	size_t i;

	printf("    -> %s, ident %lu, data %lld", filter_name(ev->filter),
	       (unsigned long)ev->ident, (long long)ev->data);
	if (ev->fflags)
		printf(", fflags %#x", ev->fflags);
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (ev->flags & flags[i].flag)
			printf("%s", flags[i].name);
	if (ev->udata)
		printf("  [%s]", (char *)ev->udata);
	printf("\n");
}

/* Ask for events, and show them; how many there were. */
static int show(const char *what, int expected)
{
	const struct timespec second = { .tv_sec = 10 }, none = { 0 };
	struct kevent ev[8];
	int i, n;

	n = kevent(kq, NULL, 0, ev, 8, expected ? &second : &none);
	if (n < 0)
		err(1, "kevent");
	doing("kevent: %d event%s%s", n, n == 1 ? "" : "s", what);
	for (i = 0; i < n; i++)
		print_event(&ev[i]);
	surprises += n != expected;
	return n;
}

static void watch_for(uintptr_t ident, int filter, int flags,
		      unsigned int fflags, int64_t data, const char *name)
{
	struct kevent change;

	EV_SET(&change, ident, filter, flags, fflags, data, (void *)name);
	if (kevent(kq, &change, 1, NULL, 0, NULL) < 0)
		err(1, "kevent: %s", name);
	doing("watch %s", name);
}

static void watch(uintptr_t ident, int filter, int flags, const char *name)
{
	watch_for(ident, filter, flags, 0, 0, name);
}

static void show_pipe(void)
{
	char buf[16];
	int fds[2];

	title("A pipe");
	if (pipe(fds))
		err(1, "pipe");
	watch(fds[0], EVFILT_READ, EV_ADD, "the read end of the pipe");
	show(", the pipe is empty", 0);
	doing("write 5 bytes");
	if (write(fds[1], "hello", 5) != 5)
		err(1, "write");
	show("", 1);
	doing("read 2 of them");
	if (read(fds[0], buf, 2) != 2)
		err(1, "read");
	show("", 1);
	doing("close the write end");
	close(fds[1]);
	show(", with what was not read", 1);
	doing("close the read end: it is watched no more");
	close(fds[0]);
	show("", 0);
}

static void show_tcp(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int server, client, conn;
	struct kevent change;

	title("A TCP connection");
	server = socket(AF_INET, SOCK_STREAM, 0);
	if (server < 0 || bind(server, (struct sockaddr *)&addr, len) ||
	    getsockname(server, (struct sockaddr *)&addr, &len) ||
	    listen(server, 5))
		err(1, "listen");
	client = socket(AF_INET, SOCK_STREAM, 0);
	watch(client, EVFILT_WRITE, EV_ADD | EV_ONESHOT,
	      "the client for writing, once");
	show(", the client is not connected", 0);
	doing("connect the client");
	if (connect(client, (struct sockaddr *)&addr, len))
		err(1, "connect");
	show(", there is room to write", 1);
	watch(server, EVFILT_READ, EV_ADD, "the listening socket");
	show(", one connection is waiting", 1);
	conn = accept(server, NULL, NULL);
	if (conn < 0)
		err(1, "accept");
	doing("accept it");
	watch(conn, EVFILT_READ, EV_ADD | EV_CLEAR,
	      "the connection, told once of everything new");
	doing("the client sends 12 bytes");
	if (send(client, "Hello, world", 12, 0) != 12)
		err(1, "send");
	show("", 1);
	show(", nothing is new", 0);
	doing("the client closes");
	close(client);
	show(", the 12 bytes are still there", 1);
	EV_SET(&change, server, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	kevent(kq, &change, 1, NULL, 0, NULL);
	close(conn);
	close(server);
}

static void *other_thread(void *arg)
{
	struct kevent change;

	(void)arg;
	EV_SET(&change, 42, EVFILT_USER, 0,
	       NOTE_TRIGGER | NOTE_FFCOPY | 0xabc, 0, NULL);
	if (kevent(kq, &change, 1, NULL, 0, NULL) < 0)
		err(1, "kevent: trigger");
	return NULL;
}

static void show_user(void)
{
	pthread_t thread;

	title("A user event");
	watch(42, EVFILT_USER, EV_ADD | EV_CLEAR, "user event 42");
	show(", nobody has triggered it", 0);
	doing("another thread triggers it, with flags 0xabc");
	if (pthread_create(&thread, NULL, other_thread, NULL))
		errx(1, "pthread_create");
	show("", 1);
	pthread_join(thread, NULL);
	show(", delivery has cleared it", 0);
}

static void show_timer(void)
{
	struct kevent change;

	title("A timer");
	watch_for(1, EVFILT_TIMER, EV_ADD, NOTE_MSECONDS, 100, "every 100 ms");
	show("", 1);
	show("", 1);
	doing("once, in 250 us from now on");
	EV_SET(&change, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 250,
	       (void *)"once");
	if (kevent(kq, &change, 1, NULL, 0, NULL) < 0)
		err(1, "kevent: once");
	show("", 1);
}

static void show_signal(void)
{
	int i;

	title("A signal that is ignored");
	signal(SIGUSR1, SIG_IGN);
	watch(SIGUSR1, EVFILT_SIGNAL, EV_ADD, "SIGUSR1");
	doing("send it three times; it does nothing");
	for (i = 0; i < 3; i++)
		kill(getpid(), SIGUSR1);
	show(", it was counted", 1);
}

/* A parent and its child, who exit with 7 and 9. */
static void family(int go)
{
	char c;
	pid_t pid;

	if (read(go, &c, 1) != 1)
		_exit(1);
	pid = fork();
	if (!pid)
		_exit(9);
	waitpid(pid, NULL, 0);
	_exit(7);
}

static void show_process(void)
{
	const struct timespec patience = { .tv_sec = 10 };
	int go[2], seen = 0, ends = 0;
	struct kevent ev;
	pid_t pid;

	title("A tree of processes");
	if (pipe(go))
		err(1, "pipe");
	pid = fork();
	if (!pid)
		family(go[0]);
	doing("a child is process %d, and waits", pid);
	watch_for(pid, EVFILT_PROC, EV_ADD, NOTE_TRACK | NOTE_FORK | NOTE_EXIT, 0,
		  "the child, and its children");
	doing("it forks; both exit, the grandchild with 9, the child with 7");
	if (write(go[1], "", 1) != 1)
		err(1, "write");
	while (ends < 2 && kevent(kq, NULL, 0, &ev, 1, &patience) == 1) {
		print_event(&ev);
		if (ev.fflags & NOTE_CHILD)
			doing("     a child of process %lld", (long long)ev.data);
		if (ev.fflags & NOTE_FORK)
			doing("     has forked");
		if (ev.fflags & NOTE_EXIT)
			doing("     has exited with %d",
			      WEXITSTATUS((int)ev.data));
		seen++;
		ends += !!(ev.fflags & NOTE_EXIT);
	}
	/* A birth, a fork, two ends. */
	surprises += seen != 4 || ends != 2;
	waitpid(pid, NULL, 0);
	close(go[0]);
	close(go[1]);
}

static void print_notes(unsigned int notes)
{
	static const struct {
		unsigned int note;
		const char *name;
	} names[] = {
		{ NOTE_DELETE, "NOTE_DELETE" }, { NOTE_WRITE, "NOTE_WRITE" },
		{ NOTE_EXTEND, "NOTE_EXTEND" }, { NOTE_LINK, "NOTE_LINK" },
		{ NOTE_RENAME, "NOTE_RENAME" },
	};
	size_t i;

	printf("      ");
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (notes & names[i].note)
			printf(" %s", names[i].name);
	printf("\n");
}

/* What has happened to the file, in one event. */
static void show_notes(unsigned int expected)
{
	const struct timespec patience = { .tv_sec = 10 };
	struct kevent ev;

	if (kevent(kq, NULL, 0, &ev, 1, &patience) != 1)
		err(1, "kevent");
	print_event(&ev);
	print_notes(ev.fflags);
	surprises += (ev.fflags & expected) != expected;
}

static void show_file(void)
{
	const char *log = "/tmp/kqueue-demo.log", *old = "/tmp/kqueue-demo.log.1";
	char buf[16];
	int fd, writer;

	title("A file that grows and is renamed");
	writer = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	fd = open(log, O_RDONLY);
	if (writer < 0 || fd < 0)
		err(1, "%s", log);
	watch(fd, EVFILT_READ, EV_ADD, "the file for reading, as tail -f does");
	show(", it is at its end", 0);
	doing("somebody writes 6 bytes");
	if (write(writer, "a line", 6) != 6)
		err(1, "write");
	show("", 1);
	doing("read them");
	if (read(fd, buf, sizeof(buf)) != 6)
		err(1, "read");
	show(", it is at its end again", 0);
	watch_for(fd, EVFILT_VNODE, EV_ADD | EV_CLEAR,
		  NOTE_WRITE | NOTE_EXTEND | NOTE_RENAME | NOTE_LINK | NOTE_DELETE,
		  0, "what happens to it");
	doing("it is renamed");
	if (rename(log, old))
		err(1, "rename");
	show_notes(NOTE_RENAME);
	doing("it is deleted, and still open");
	unlink(old);
	show_notes(NOTE_DELETE);
	doing("and still it can grow");
	if (write(writer, "the end", 7) != 7)
		err(1, "write");
	/* One for each filter. */
	show("", 2);
	close(writer);
	close(fd);
}

static void show_limit(void)
{
	struct kevent change;
	int i;

	title("The limit of user events of a process");
	for (i = 0;; i++) {
		EV_SET(&change, 100 + i, EVFILT_USER, EV_ADD, 0, 0, NULL);
		if (kevent(kq, &change, 1, NULL, 0, NULL) < 0)
			break;
	}
	doing("%d more could be added, then kevent said: %s", i,
	      strerror(errno));
	surprises += errno != ENOMEM;
	EV_SET(&change, 100, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	kevent(kq, &change, 1, NULL, 0, NULL);
	EV_SET(&change, 5000, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0,
	       (void *)"one more");
	if (kevent(kq, &change, 1, NULL, 0, NULL) < 0)
		err(1, "kevent: add after delete");
	doing("with one deleted, there is room for one");
	show("", 1);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	kq = kqueue();
	if (kq < 0)
		err(1, "kqueue");
	printf("kqueue: descriptor %d\n", kq);
	show_pipe();
	show_tcp();
	show_user();
	show_timer();
	show_signal();
	show_process();
	show_file();
	show_limit();
	close(kq);
	printf("\n");
	if (surprises)
		printf("%d of these answers are not what was expected.\n",
		       surprises);
	return surprises ? 1 : 0;
}
