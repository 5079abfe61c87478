// SPDX-License-Identifier: GPL-2.0
/*
 * Does at random whatever can be done to kqueues, from several threads of several
 * processes, and looks whether what is certain whatever the others do still holds.
 * The kernel's own complaints are the virtual machine's to see.
 *
 *   stress [-s SEED] [-d SECONDS] [-p PROCESSES] [-t THREADS] [-n STEPS]
 *          [-c CLASSES] [-f]
 *
 * A round is: processes are started, each of which starts threads, each of which
 * does so many steps. What a step does follows from the seed of the round, the
 * numbers of process and thread, and its own: not from how others came out, so that
 * a round done again does the same, if not in the same order, and one with fewer
 * threads, steps or classes of steps does a part of the same. With -d, rounds follow,
 * each with a seed made from the one before, until the time is over; without, there
 * is one. What to call for the same round once more is said before each.
 *
 * -f is for the debug kernel: allocations that the module makes fail now and then.
 *
 * STRESS_SEED and STRESS_SECONDS in the environment are for where it is called as a
 * test like others: without options it takes 20 seconds.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "kqtest.h"

#include <arpa/inet.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define PROCESSES	4
#define THREADS		4
#define MOST		16	/* of either */

/* A step, or all of a round, that takes longer hangs. */
#define STEP_PATIENCE	120	/* seconds */
#define ROUND_PATIENCE	400

/*
 * The descriptors of a process. Any thread may do anything to the raced ones, and at
 * the same time. What is done to a tracked one is done under its lock, and counted:
 * so it is known which registrations are past.
 */
enum {
	MAIL		= 40,	/* and the next: what descriptors are sent by */
	RACED		= 64,
	RACED_END	= 96,
	TRACKED		= RACED_END,
	TRACKED_END	= TRACKED + 16,
	KQUEUES		= TRACKED_END,
	KQUEUES_END	= KQUEUES + 6,
	SOLID		= KQUEUES_END,	/* a kqueue that is never closed */
	ECHO,				/* one that the echo thread sleeps on */
	OWN		= 128,		/* OWN_SIZE for each thread */
	OWN_SIZE	= 8,
};

#define DIR		"/tmp/kqueue-stress"
#define FILES		8
#define ECHO_IDENT	1

/* Of knotes that are to be delivered once. */
#define ONCE_BASE	1000000
#define ONCE_MAX	8192

enum class {
	CHANGE, WAIT, OPEN, CLOSE, IO, NAMES, FORK, SIGNAL, KQUEUE, MAILING, POLL, LIMITS,
	MOUNT, BAD, UNLOAD, ONCE, CHECK, CLASSES
};

static const char *const class_name[CLASSES] = {
	"change", "wait", "open", "close", "io", "names", "fork", "signal", "kqueue",
	"mailing", "poll", "limits", "mount", "bad", "unload", "once", "check",
};

/* How often each is drawn. */
static const int weight[CLASSES] = {
	[CHANGE] = 26, [WAIT] = 16, [OPEN] = 10, [CLOSE] = 8, [IO] = 10, [NAMES] = 5,
	[FORK] = 3, [SIGNAL] = 4, [KQUEUE] = 4, [MAILING] = 2, [POLL] = 3, [LIMITS] = 1,
	[MOUNT] = 1, [BAD] = 3, [UNLOAD] = 1, [ONCE] = 8, [CHECK] = 8,
};

struct round {
	uint64_t seed;
	int processes, threads, steps;
	unsigned int classes;
	bool faulty;
};

static struct round round_;
static const struct timespec zero;

/* What all processes of a round see. */
struct shared {
	_Atomic pid_t pid[MOST];
	atomic_int failed;
	atomic_ulong steps[CLASSES];
	atomic_ulong events;
};

static struct shared *shared;

/* This process's. */
static int process;
static atomic_bool stop;
static atomic_ulong echoes;

struct tracked {
	pthread_mutex_t lock;
	atomic_ulong registration;	/* those with a lower one are past */
};

static struct tracked tracked[TRACKED_END - TRACKED];

struct once {
	atomic_uint delivered;
	bool triggered, deleted, timer;
};

static struct once once[ONCE_MAX];
static atomic_uint once_count;

struct thread {
	int number;
	int step;
	uint64_t random;
	pthread_t thread;
};

static __thread struct thread *self;

/*
 * What is not so. Ends everything: what is left would be hard to make sense of.
 */
__attribute__((format(printf, 1, 2), noreturn))
static void fail(const char *format, ...)
{
	char text[512];
	va_list args;
	int len;

	len = snprintf(text, sizeof(text), "# seed %#llx, process %d, thread %d, step %d: ",
		       (unsigned long long)round_.seed, process,
		       self ? self->number : -1, self ? self->step : -1);
	va_start(args, format);
	len += vsnprintf(text + len, sizeof(text) - len - 1, format, args);
	va_end(args);
	if (len > (int)sizeof(text) - 2)
		len = sizeof(text) - 2;
	text[len++] = '\n';
	shared->failed = 1;
	if (write(STDOUT_FILENO, text, len) < 0)
		_exit(2);
	_exit(1);
}

#define MUST(condition) do {					\
	if (!(condition))					\
		fail("line %d: not so: %s (errno %d)", __LINE__,\
		     #condition, errno);			\
} while (0)

/*
 * Chance.
 */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t any(void)
{
	return self->random = mix(self->random);
}

static unsigned int below(unsigned int n)
{
	return (any() >> 16) % n;
}

static bool chance(unsigned int percent)
{
	return below(100) < percent;
}

#define ONE_OF(...) ({						\
	const long __a[] = { __VA_ARGS__ };			\
	__a[below(ARRAY_SIZE(__a))];				\
})

/*
 * Errors that kevent(2) may have.
 */

static bool documented(int error)
{
	switch (error) {
	case EACCES: case EBADF: case EFAULT: case EINTR: case EINVAL: case ELOOP:
	case ENOENT: case ENOMEM: case EOPNOTSUPP: case ESRCH:
		return true;
	}
	return false;
}

/* Errors that come of limits and lack of memory: then there is nothing to be checked. */
static bool scarce(int ret)
{
	return ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE || ret == -EAGAIN;
}

static bool on_descriptor(int filter)
{
	switch (filter) {
	case EVFILT_READ: case EVFILT_WRITE: case EVFILT_EXCEPT: case EVFILT_EMPTY:
	case EVFILT_VNODE: case EVFILT_PROCDESC:
		return true;
	}
	return false;
}

/*
 * Takes events. Of a tracked descriptor there is none whose registration was past
 * before the call was made, which is what "since" says. What is to be delivered once
 * is.
 */
static void take(const struct kevent *events, int n, const unsigned long *since)
{
	int i;

	shared->events += n;
	for (i = 0; i < n; i++) {
		const struct kevent *ev = &events[i];

		if (ev->flags & EV_ERROR) {
			if (ev->data && !documented(ev->data))
				fail("filter %d, ident %lu: error %lld", ev->filter,
				     (long)ev->ident, (long long)ev->data);
			continue;
		}
		if (ev->filter >= 0 || ev->filter < -EVFILT_SYSCOUNT)
			fail("an event of filter %d", ev->filter);
		if (on_descriptor(ev->filter) && ev->ident >= TRACKED &&
		    ev->ident < TRACKED_END &&
		    (uintptr_t)ev->udata < since[ev->ident - TRACKED])
			fail("filter %d, descriptor %lu: an event of registration %lu, which was past at %lu",
			     ev->filter, (long)ev->ident, (long)ev->udata,
			     since[ev->ident - TRACKED]);
		if ((ev->filter == EVFILT_USER || ev->filter == EVFILT_TIMER) &&
		    ev->ident >= ONCE_BASE && ev->ident < ONCE_BASE + ONCE_MAX) {
			struct once *o = &once[ev->ident - ONCE_BASE];

			MUST(ev->ident - ONCE_BASE < once_count);
			if (o->delivered++)
				fail("filter %d, ident %lu: delivered twice",
				     ev->filter, (long)ev->ident);
		}
	}
}

/* kevent(2), with all that is known of its result checked. */
static int call(int kq, const struct kevent *changes, int nchanges, int nevents,
		const struct timespec *timeout)
{
	unsigned long since[ARRAY_SIZE(tracked)];
	struct kevent events[40];
	size_t i;
	int n;

	for (i = 0; i < ARRAY_SIZE(tracked); i++)
		since[i] = tracked[i].registration;
	n = kev(kq, changes, nchanges, events, nevents, timeout);
	if (n < 0 && !documented(-n))
		fail("kevent: error %d", -n);
	if (n > nevents)
		fail("kevent: %d events where there is room for %d", n, nevents);
	if (n > 0)
		take(events, n, since);
	return n;
}

/* An event, alone, of a kqueue that nobody else uses. */
static int wait_own(int kq, struct kevent *ev, int nevents)
{
	int n;

	do {
		n = wait_events(kq, ev, nevents);
	} while (n == -EINTR);
	return n;
}

static int some_kqueue(void)
{
	return chance(30) ? SOLID : (int)(KQUEUES + below(KQUEUES_END - KQUEUES));
}

static int raced(void)
{
	return RACED + below(RACED_END - RACED);
}

static pid_t some_process(void)
{
	return shared->pid[below(round_.processes)];
}

static int own(int i)
{
	return OWN + self->number * OWN_SIZE + i;
}

/*
 * Changes of all kinds.
 */

static void draw_change(struct kevent *ch, int filter)
{
	static const unsigned int vnode[] = {
		NOTE_DELETE, NOTE_WRITE, NOTE_EXTEND, NOTE_ATTRIB, NOTE_LINK, NOTE_RENAME,
		NOTE_REVOKE, NOTE_TRUNCATE, NOTE_OPEN, NOTE_CLOSE, NOTE_CLOSE_WRITE,
		NOTE_READ,
	};
	unsigned int flags, fflags = 0, i;
	int64_t data = 0;
	uintptr_t ident;

	flags = chance(75) ? EV_ADD : ONE_OF(EV_DELETE, EV_ENABLE, EV_DISABLE, 0);
	if (chance(60))
		flags |= ONE_OF(EV_ONESHOT, EV_CLEAR, EV_DISPATCH, EV_DISABLE, EV_ENABLE,
				EV_RECEIPT, EV_CLEAR | EV_DISPATCH, EV_UDATA_SPECIFIC,
				EV_ONESHOT | EV_DISABLE, EV_KEEPUDATA);
	if (chance(5))
		flags = any();

	switch (filter) {
	case EVFILT_USER:
		ident = below(24);
		fflags = ONE_OF(0, NOTE_TRIGGER, NOTE_TRIGGER, NOTE_FFOR | 0x10,
				NOTE_FFAND | NOTE_TRIGGER, NOTE_FFCOPY | 0x700);
		if (chance(50))
			flags &= ~EV_ADD;
		break;
	case EVFILT_TIMER:
		ident = below(24);
		fflags = ONE_OF(0, NOTE_MSECONDS, NOTE_USECONDS, NOTE_NSECONDS,
				NOTE_SECONDS, NOTE_ABSTIME);
		data = ONE_OF(0, 1, 2, 5, 1000, -1, LONG_MAX);
		break;
	case EVFILT_SIGNAL:
		ident = below(67);
		break;
	case EVFILT_PROC:
		ident = chance(80) ? some_process() : (pid_t)below(2000);
		fflags = ONE_OF(NOTE_EXIT, NOTE_FORK, NOTE_EXEC, NOTE_TRACK, NOTE_REAP,
				NOTE_FORK | NOTE_EXEC | NOTE_EXIT | NOTE_TRACK,
				NOTE_TRACK | NOTE_REAP);
		break;
	case EVFILT_FS:
		ident = below(3);
		fflags = ONE_OF(0, VQ_MOUNT, VQ_UNMOUNT);
		break;
	case EVFILT_VNODE:
		for (i = 0; i < ARRAY_SIZE(vnode); i++)
			if (chance(40))
				fflags |= vnode[i];
		ident = raced();
		break;
	case EVFILT_PROCDESC:
		fflags = ONE_OF(NOTE_EXIT, NOTE_FORK, NOTE_EXEC, NOTE_TRACK);
		ident = raced();
		break;
	default:
		ident = chance(90) ? raced() : (int)(KQUEUES + below(KQUEUES_END - KQUEUES));
		fflags = ONE_OF(0, 0, NOTE_LOWAT, NOTE_EOF, NOTE_FILE_POLL, NOTE_OOB);
		data = ONE_OF(0, 0, 1, 10, 1 << 20);
	}
	if (chance(4))
		ident = any();
	if (chance(4))
		fflags = any();
	if (chance(4))
		data = any();
	/* In nobody's way who counts. */
	if (ident >= TRACKED && ident < TRACKED_END && on_descriptor(filter))
		ident = raced();
	if (ident >= ONCE_BASE && ident < ONCE_BASE + ONCE_MAX)
		ident = 0;
	EV_SET(ch, ident, filter, flags, fflags, data, (void *)(any() % 3));
}

static int some_filter(void)
{
	if (chance(2))
		return (int)below(40) - 30;
	return ONE_OF(EVFILT_READ, EVFILT_READ, EVFILT_READ, EVFILT_WRITE, EVFILT_WRITE,
		      EVFILT_VNODE, EVFILT_VNODE, EVFILT_VNODE, EVFILT_PROC, EVFILT_PROC,
		      EVFILT_SIGNAL, EVFILT_TIMER, EVFILT_TIMER, EVFILT_EXCEPT,
		      EVFILT_USER, EVFILT_USER, EVFILT_EMPTY, EVFILT_PROCDESC, EVFILT_FS);
}

static void change_some(void)
{
	struct kevent ch[20];
	int i, n;

	if (chance(40)) {
		int at = below(ARRAY_SIZE(tracked));

		do
			draw_change(ch, some_filter());
		while (!on_descriptor(ch->filter));
		ch->ident = TRACKED + at;
		pthread_mutex_lock(&tracked[at].lock);
		ch->udata = (void *)tracked[at].registration;
		call(some_kqueue(), ch, 1, below(2), &zero);
		pthread_mutex_unlock(&tracked[at].lock);
		return;
	}
	n = chance(70) ? 1 : 1 + below(ARRAY_SIZE(ch));
	for (i = 0; i < n; i++)
		draw_change(&ch[i], some_filter());
	call(some_kqueue(), ch, n, chance(50) ? 0 : below(n + 1), &zero);
}

static void wait_some(void)
{
	struct timespec t = { 0 };
	struct kevent ch[3];
	int i, n = chance(30) ? below(4) : 0;

	if (chance(50))
		t.tv_nsec = below(3000000);
	for (i = 0; i < n; i++)
		draw_change(&ch[i], some_filter());
	call(some_kqueue(), ch, n, 1 + below(chance(20) ? 39 : 4), &t);
}

/*
 * Descriptors of all kinds.
 */

static const char *file_name(char *path, const char *kind)
{
	sprintf(path, DIR "/%s%d", kind, below(FILES));
	return path;
}

static int socket_pair(int type, int *other)
{
	int sv[2];

	if (socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, sv))
		return -1;
	*other = sv[1];
	return sv[0];
}

static int tcp_socket(bool listening)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(20000 + below(4)),
	};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (listening && !bind(fd, (void *)&addr, sizeof(addr)))
		listen(fd, 4);
	else if (!listening && connect(fd, (void *)&addr, sizeof(addr)) && errno == 0)
		return -1;
	return fd;
}

static int unix_socket(bool listening)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	/* In the abstract name space. */
	sprintf(addr.sun_path + 1, "stress%d", below(4));
	if (listening && !bind(fd, (void *)&addr, sizeof(addr)))
		listen(fd, 2);
	else if (!listening)
		(void)!connect(fd, (void *)&addr, sizeof(addr));
	return fd;
}

/* One of whatever there is; where it comes in pairs, the second too. */
static int make(int *other)
{
	struct itimerspec it = { .it_value.tv_nsec = 1 + below(3000000) };
	sigset_t set;
	char path[64];
	int fds[2];

	*other = -1;
	switch (below(25)) {
	case 0: case 1: case 2:
		if (pipe2(fds, O_NONBLOCK))
			return -1;
		*other = fds[1];
		return fds[0];
	case 3: case 4:
		return socket_pair(SOCK_STREAM, other);
	case 5:
		return socket_pair(SOCK_DGRAM, other);
	case 6:
		return socket_pair(SOCK_SEQPACKET, other);
	case 7:
		return tcp_socket(true);
	case 8:
		return tcp_socket(false);
	case 9:
		return unix_socket(true);
	case 10:
		return unix_socket(false);
	case 11:
		return eventfd(below(2), EFD_NONBLOCK);
	case 12:
		fds[0] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
		timerfd_settime(fds[0], 0, &it, NULL);
		return fds[0];
	case 13:
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		return signalfd(-1, &set, SFD_NONBLOCK);
	case 14:
		fds[0] = inotify_init1(IN_NONBLOCK);
		inotify_add_watch(fds[0], DIR, IN_ALL_EVENTS);
		return fds[0];
	case 15:
		return epoll_create1(0);
	case 16:
		fds[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
		if (fds[0] >= 0) {
			int zero = 0;

			ioctl(fds[0], TIOCSPTLCK, &zero);
			*other = ioctl(fds[0], TIOCGPTPEER,
				       O_RDWR | O_NOCTTY | O_NONBLOCK);
		}
		return fds[0];
	case 17:
		return open(DIR "/fifo", ONE_OF(O_RDWR, O_RDONLY, O_WRONLY) | O_NONBLOCK);
	case 18: case 19:
		return open(file_name(path, "file"),
			    ONE_OF(O_RDWR, O_RDONLY, O_WRONLY | O_APPEND, O_RDWR | O_TRUNC,
				   O_PATH) | O_CREAT, 0600);
	case 20: case 21:
		return open(chance(50) ? DIR : file_name(path, "dir"),
			    O_RDONLY | O_DIRECTORY);
	case 22:
		return open(ONE_OF(0, 1) ? "/dev/null" : "/proc/self/stat", O_RDONLY);
	case 23:
		return memfd_create("stress", 0);
	default:
		return pidfd_open(some_process(), 0);
	}
}

/* Puts a descriptor where it is to be. A tracked one's registrations are past then. */
static void put(int fd)
{
	int at;

	if (fd < 0)
		return;
	if (chance(35)) {
		at = below(ARRAY_SIZE(tracked));
		pthread_mutex_lock(&tracked[at].lock);
		dup2(fd, TRACKED + at);
		tracked[at].registration++;
		pthread_mutex_unlock(&tracked[at].lock);
	} else {
		dup2(fd, raced());
	}
	close(fd);
}

static void open_some(void)
{
	int fd, other;

	fd = make(&other);
	put(fd);
	put(other);
}

static void close_some(void)
{
	int fd = raced(), at = below(ARRAY_SIZE(tracked)), copy;
	unsigned int how = below(7);
	bool past;

	if (chance(50)) {
		pthread_mutex_lock(&tracked[at].lock);
		fd = TRACKED + at;
		/* To dup a descriptor to itself does nothing, nor does a bad one. */
		past = how != 0;
		if (how == 0) {
			dup2(fd, fd);
		} else if (how == 1) {
			close_range(fd, fd, 0);
		} else if (how == 2) {
			past = dup2(raced(), fd) == fd;
		} else if (how == 3) {
			/* Away, and back in its place. */
			copy = dup(fd);
			past = copy >= 0;
			if (past) {
				close(fd);
				dup2(copy, fd);
				close(copy);
			}
		} else {
			close(fd);
		}
		tracked[at].registration += past;
		pthread_mutex_unlock(&tracked[at].lock);
		return;
	}
	switch (how) {
	case 0:
		close_range(fd, fd + below(4), below(2) ? CLOSE_RANGE_CLOEXEC : 0);
		break;
	case 1:
		dup2(raced(), fd);
		break;
	case 2:
		dup3(fd, raced(), O_CLOEXEC);
		break;
	default:
		close(fd);
	}
}

static void move_data(void)
{
	int fd = chance(60) ? raced() : (int)(TRACKED + below(ARRAY_SIZE(tracked)));
	char bytes[64] = "stress";
	int n;

	/* Of these none blocks, as all was opened not to. */
	switch (below(13)) {
	case 0: case 1: case 2: case 3:
		(void)!write(fd, bytes, 1 + below(sizeof(bytes)));
		break;
	case 4: case 5: case 6:
		(void)!read(fd, bytes, 1 + below(sizeof(bytes)));
		break;
	case 7:
		shutdown(fd, below(3));
		break;
	case 8:
		(void)!ftruncate(fd, below(200));
		break;
	case 9:
		lseek(fd, below(100), ONE_OF(SEEK_SET, SEEK_CUR, SEEK_END));
		break;
	case 10:
		send(fd, "!", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 11:
		n = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
		put(n);
		break;
	default:
		fchmod(fd, 0600 | below(64));
	}
}

static void change_names(void)
{
	char one[64], two[64];

	file_name(one, "file");
	file_name(two, "file");
	switch (below(11)) {
	case 0: case 1:
		rename(one, two);
		break;
	case 2: case 3:
		unlink(one);
		break;
	case 4:
		(void)!link(one, two);
		break;
	case 5:
		mkdir(file_name(one, "dir"), 0700);
		break;
	case 6:
		rmdir(file_name(one, "dir"));
		break;
	case 7:
		(void)!truncate(one, below(100));
		break;
	case 8:
		chmod(one, 0600);
		break;
	case 9:
		utimensat(AT_FDCWD, one, NULL, 0);
		break;
	default:
		rename(file_name(one, "dir"), file_name(two, "dir"));
	}
}

/*
 * Processes.
 */

/* What another program does, in the place of a child's: see main(). */
static void exec_child(int code)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", code);
	execl(DIR "/stress", "stress", "--child", text, NULL);
	_exit(code);
}

/* A child has no kqueue of its parent, or, for want of memory, one that is of no use. */
static void look_for_kqueue(void)
{
	int ret = kev(SOLID, NULL, 0, NULL, 0, NULL);

	MUST(ret == -EBADF);
	MUST(round_.faulty || fcntl(SOLID, F_GETFD) < 0);
}

static void child(int how, int code)
{
	struct kevent ch;
	int kq;

	look_for_kqueue();
	switch (how) {
	case 0: case 1:
		exec_child(code);
		break;
	case 2:
		if (!fork())
			_exit(0);
		break;
	case 3:
		kq = kqueue();
		EV_SET(&ch, RACED, EVFILT_READ, EV_ADD, 0, 0, NULL);
		kev(kq, &ch, 1, NULL, 0, NULL);
		EV_SET(&ch, getppid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_FORK, 0, NULL);
		kev(kq, &ch, 1, NULL, 0, NULL);
		EV_SET(&ch, 1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 50, NULL);
		kev(kq, &ch, 1, NULL, 0, NULL);
		break;
	case 4:
		kill(getpid(), SIGKILL);
	}
	_exit(code);
}

static void reap_child(pid_t pid)
{
	int status;

	if (pid <= 0)
		return;
	while (waitpid(pid, &status, 0) < 0)
		MUST(errno == EINTR);
	MUST(!WIFEXITED(status) || WEXITSTATUS(status) != 1);
}

static void watch_process(int kq, pid_t pid)
{
	struct kevent ch;

	EV_SET(&ch, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_FORK | NOTE_EXEC |
	       (chance(50) ? NOTE_TRACK : 0) | (chance(30) ? NOTE_REAP : 0), 0, NULL);
	call(kq, &ch, 1, 0, NULL);
}

/* A child, made in one of the ways there are. */
static pid_t make_child(void)
{
	int how = below(6), code = 2 + below(100);
	pid_t pid;

	switch (below(6)) {
	case 0:
		pid = vfork();
		if (!pid) {
			if (how < 3)
				exec_child(code);
			_exit(code);
		}
		break;
	case 1:
		/* It shares the descriptors, and has the kqueues. */
		pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
		if (!pid) {
			int ret = kev(SOLID, NULL, 0, NULL, 0, NULL);

			MUST(ret == 0);
			if (how < 2) {
				MUST(how ? !unshare(CLONE_FILES) :
				     !close_range(RACED, RACED_END, CLOSE_RANGE_UNSHARE));
				MUST(kev(SOLID, NULL, 0, NULL, 0, NULL) == -EBADF);
			} else if (how == 2) {
				exec_child(code);
			}
			_exit(code);
		}
		break;
	default:
		pid = fork();
		if (!pid)
			child(how, code);
	}
	return pid;
}

static void fork_some(void)
{
	pid_t pid = make_child();
	int fd, kq = some_kqueue();

	if (pid < 0)
		return;
	if (chance(60))
		watch_process(kq, pid);
	if (chance(30)) {
		fd = pidfd_open(pid, 0);
		put(fd);
	}
	reap_child(pid);
}

static void signal_some(void)
{
	int signal = ONE_OF(SIGUSR1, SIGUSR1, SIGUSR2, SIGWINCH, 0);
	union sigval value = { 0 };

	switch (below(3)) {
	case 0:
		kill(some_process(), signal);
		break;
	case 1:
		sigqueue(getpid(), signal, value);
		break;
	default:
		tgkill(getpid(), gettid(), signal);
	}
}

/*
 * Kqueues.
 */

static void kqueues_some(void)
{
	struct kqueue_create create = { 0 };
	int slot = KQUEUES + below(KQUEUES_END - KQUEUES), kq = -1;
	__u32 flavour;

	switch (below(8)) {
	case 0: case 1: case 2:
		kq = kqueue();
		if (kq < 0)
			MUST(scarce(-errno));
		break;
	case 3:
		create.flavour = below(5);
		create.flags = below(3);
		kq = ioctl(SOLID, KQUEUE_IOC_CREATE, &create);
		if (kq < 0)
			MUST(errno == EINVAL || scarce(-errno));
		break;
	case 4:
		kq = dup(KQUEUES + below(KQUEUES_END - KQUEUES));
		break;
	case 5:
		flavour = below(4);
		ioctl(slot, KQUEUE_IOC_FLAVOUR, &flavour);
		break;
	case 6:
		dup2(slot, raced());
		break;
	default:
		close(slot);
	}
	if (kq >= 0) {
		dup2(kq, slot);
		close(kq);
	}
}

/* Descriptors in messages, to whichever process takes them; or not at all. */
static void mail_some(void)
{
	char space[CMSG_SPACE(4 * sizeof(int))] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = sizeof(space),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fds[2] = { chance(50) ? SOLID : KQUEUES, raced() }, i, n, fd;

	if (chance(40)) {
		msg.msg_controllen = CMSG_SPACE(sizeof(fds));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
		sendmsg(MAIL + below(2), &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		return;
	}
	if (chance(50)) {
		/* Taken from another process. */
		pid_t other = some_process();
		int pidfd = pidfd_open(other, 0);

		fd = pidfd_getfd(pidfd, SOLID, 0);
		if (fd >= 0) {
			if (other != getpid())
				MUST(kev(fd, NULL, 0, NULL, 0, NULL) == -EBADF);
			close(fd);
		}
		close(pidfd);
		return;
	}
	if (recvmsg(MAIL + below(2), &msg, MSG_DONTWAIT) < 0)
		return;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			put(fd);
		}
	}
}

static void poll_some(void)
{
	struct epoll_event event = { .events = EPOLLIN | (chance(50) ? EPOLLET : 0) };
	struct pollfd p[3];
	struct timeval tv = { 0 };
	char path[64], text[512];
	fd_set set;
	int i, fd;

	switch (below(5)) {
	case 0: case 1:
		for (i = 0; i < 3; i++)
			p[i] = (struct pollfd){ .fd = i ? some_kqueue() : raced(),
						.events = POLLIN };
		poll(p, 3, below(2));
		break;
	case 2:
		FD_ZERO(&set);
		FD_SET(SOLID, &set);
		select(SOLID + 1, &set, NULL, NULL, &tv);
		break;
	case 3:
		/* Kqueues in epolls; the other way round goes by itself. */
		epoll_ctl(raced(), EPOLL_CTL_ADD, some_kqueue(), &event);
		break;
	default:
		sprintf(path, "/proc/self/fdinfo/%d", some_kqueue());
		fd = open(path, O_RDONLY);
		while (fd >= 0 && read(fd, text, sizeof(text)) > 0)
			;
		if (fd >= 0)
			close(fd);
	}
}

static const char *const limit[] = {
	USER_EVENTS_MAX, WATCHES_MAX, "/sys/module/kqueue/parameters/timers_max",
};

static long usual[ARRAY_SIZE(limit)];

static void limit_some(void)
{
	int at = below(ARRAY_SIZE(limit));

	write_number(limit[at], chance(40) ? below(60) : (unsigned long)usual[at]);
}

static void mount_some(void)
{
	char path[64], file[80];

	file_name(path, "mount");
	mkdir(path, 0700);
	switch (below(3)) {
	case 0:
		mount("stress", path, "tmpfs", 0, "size=64k");
		break;
	case 1:
		sprintf(file, "%s/file", path);
		put(open(file, O_RDWR | O_CREAT, 0600));
		break;
	default:
		umount2(path, MNT_DETACH);
	}
}

static void bad_some(void)
{
	struct kfilter_mapping mapping = { .filter = (int)below(40) - 20, .len = below(40) };
	void *bad = (void *)ONE_OF(8, 0x7ffffffff000, -4096, 1L << 62);
	struct kevent ch;
	char name[40] = "EVFILT_READ";
	int kq = some_kqueue();

	draw_change(&ch, some_filter());
	switch (below(8)) {
	case 0:
		MUST(documented(-kev(kq, bad, 1, NULL, 0, NULL)));
		break;
	case 1: {
		int n = kev(kq, &ch, 1, bad, 1, &zero);

		MUST(n >= 0 || documented(-n));
		break;
	}
	case 2:
		MUST(documented(-kev(kq, &ch, -1, NULL, 0, NULL)));
		break;
	case 3:
		MUST(documented(-kev(kq, NULL, 0, &ch, -(int)below(100) - 1, NULL)));
		break;
	case 4:
		MUST(documented(-kev(kq, NULL, 0, &ch, 1,
				     &(struct timespec){ .tv_nsec = -1 })));
		break;
	case 5:
		mapping.name = chance(80) ? name : bad;
		if (ioctl(SOLID, chance(50) ? KFILTER_BYNAME : KFILTER_BYFILTER, &mapping))
			MUST(errno == ENOENT || errno == EFAULT || errno == EINVAL ||
			     errno == ENAMETOOLONG || errno == ERANGE);
		break;
	case 6:
		MUST(ioctl(SOLID, any() | 1U << 31, bad) < 0);
		break;
	default:
		MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, SOLID, 0) == MAP_FAILED);
	}
}

/* This process has kqueues: the module stays. */
static void unload_some(void)
{
	MUST(syscall(SYS_delete_module, "kqueue", O_NONBLOCK));
	MUST(errno == EAGAIN || errno == EBUSY || errno == EPERM);
}

/*
 * What is to be delivered once, to whoever waits on the solid kqueue.
 */
static void once_some(void)
{
	unsigned int at = once_count;
	struct once *o;
	bool timer = chance(30);
	int ret;

	do {
		if (at == ONCE_MAX)
			return;
	} while (!atomic_compare_exchange_weak(&once_count, &at, at + 1));
	o = &once[at];
	if (timer) {
		ret = change_all(SOLID, ONCE_BASE + at, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
				 NOTE_USECONDS, 1 + below(2000), NULL);
		MUST(!ret || scarce(ret));
		o->timer = true;
		o->triggered = !ret;
		return;
	}
	ret = change(SOLID, ONCE_BASE + at, EVFILT_USER,
		     EV_ADD | EV_ONESHOT | (chance(50) ? EV_CLEAR : 0));
	MUST(!ret || scarce(ret));
	if (ret)
		return;
	ret = trigger(SOLID, ONCE_BASE + at);
	MUST(!ret);
	o->triggered = true;
	if (chance(70))
		return;
	/* Again: it may have been delivered, or else this is the same event. */
	if (chance(50)) {
		ret = trigger(SOLID, ONCE_BASE + at);
		MUST(!ret || ret == -ENOENT);
	}
	ret = change(SOLID, ONCE_BASE + at, EVFILT_USER, EV_DELETE);
	MUST(!ret || ret == -ENOENT);
	o->deleted = !ret;
}

/*
 * What is certain of a thread's own kqueue and descriptors, whatever else goes on.
 */

static void check_oneshot(int kq)
{
	struct kevent ev[2];
	int ret;

	ret = change(kq, 1, EVFILT_USER, EV_ADD | EV_ONESHOT);
	MUST(!ret || scarce(ret));
	if (ret)
		return;
	MUST(pending(kq) == 0);
	MUST(trigger(kq, 1) == 0);
	MUST(wait_own(kq, ev, 2) == 1);
	MUST(ev[0].ident == 1 && ev[0].filter == EVFILT_USER);
	MUST(pending(kq) == 0);
	MUST(trigger(kq, 1) == -ENOENT);
}

static void check_dispatch(int kq)
{
	struct kevent ev[2];
	int ret;

	ret = change(kq, 2, EVFILT_USER, EV_ADD | EV_DISPATCH | EV_CLEAR);
	MUST(!ret || scarce(ret));
	if (ret)
		return;
	MUST(trigger(kq, 2) == 0);
	MUST(wait_own(kq, ev, 2) == 1);
	MUST(trigger(kq, 2) == 0);
	MUST(pending(kq) == 0);
	MUST(change(kq, 2, EVFILT_USER, EV_ENABLE) == 0);
	MUST(wait_own(kq, ev, 2) == 1);
	MUST(change(kq, 2, EVFILT_USER, EV_DELETE) == 0);
}

/* Gone with its descriptor, and nothing to those that have its number later. */
static void check_close(int kq)
{
	int fds[2], in = own(1), out = own(2), ret, n = 1 + below(60);
	struct kevent ev[2];
	char bytes[64];

	if (chance(50) ? pipe2(fds, O_NONBLOCK) :
			 socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds)) {
		MUST(scarce(-errno));
		return;
	}
	dup2(fds[0], in);
	dup2(fds[1], out);
	close(fds[0]);
	close(fds[1]);
	ret = change(kq, in, EVFILT_READ, EV_ADD | ONE_OF(0, EV_CLEAR, EV_DISPATCH));
	MUST(!ret || scarce(ret));
	if (!ret) {
		MUST(pending(kq) == 0);
		MUST(write(out, bytes, n) == n);
		if (chance(60)) {
			MUST(wait_own(kq, ev, 2) == 1);
			MUST((int)ev[0].ident == in && ev[0].data == n);
		}
		switch (below(4)) {
		case 0:
			MUST(!close(in));
			break;
		case 1:
			MUST(dup2(out, in) == in);
			break;
		case 2:
			MUST(!close_range(in, in, 0));
			break;
		default:
			ret = dup(in);
			MUST(ret >= 0);
			close(in);
			MUST(dup2(ret, in) == in);
			close(ret);
		}
		MUST(pending(kq) == 0);
		MUST(dup2(out, in) == in);
		MUST(pending(kq) == 0);
		MUST(change(kq, in, EVFILT_READ, EV_DELETE) == -ENOENT);
	}
	close(in);
	close(out);
}

static void check_exit(int kq)
{
	int code = 2 + below(100), ret;
	struct kevent ev[2];
	pid_t pid = fork();

	if (!pid) {
		look_for_kqueue();
		_exit(code);
	}
	if (pid < 0) {
		MUST(scarce(-errno));
		return;
	}
	ret = change_all(kq, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	MUST(!ret || scarce(ret));
	if (!ret) {
		MUST(wait_own(kq, ev, 2) == 1);
		MUST((pid_t)ev[0].ident == pid && ev[0].flags & EV_EOF);
		if (ev[0].data != code << 8)
			fail("exit status %lld, not %d", (long long)ev[0].data, code << 8);
		MUST(pending(kq) == 0);
	}
	reap_child(pid);
}

static void check_signal(int kq)
{
	int signal = SIGRTMIN + 1 + self->number, n = 1 + below(5), i, ret;
	union sigval value = { 0 };
	struct kevent ev[2];

	ret = change(kq, signal, EVFILT_SIGNAL, EV_ADD);
	MUST(!ret || scarce(ret));
	if (ret)
		return;
	for (i = 0; i < n; i++)
		MUST(!(chance(50) ? kill(getpid(), signal) : sigqueue(getpid(), signal, value)));
	MUST(wait_own(kq, ev, 2) == 1);
	if (ev[0].data != n)
		fail("%lld signals, not %d", (long long)ev[0].data, n);
	MUST(pending(kq) == 0);
	MUST(change(kq, signal, EVFILT_SIGNAL, EV_DELETE) == 0);
}

static void check_vnode(int kq)
{
	char path[64];
	struct kevent ev[2];
	int fd, ret;

	sprintf(path, DIR "/own-%d-%d", process, self->number);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0) {
		MUST(scarce(-errno));
		return;
	}
	dup2(fd, own(1));
	close(fd);
	fd = own(1);
	ret = change_all(kq, fd, EVFILT_VNODE, EV_ADD | EV_CLEAR,
			 NOTE_DELETE | NOTE_WRITE | NOTE_EXTEND, 0, NULL);
	MUST(!ret || scarce(ret));
	if (!ret) {
		MUST(write(fd, "x", 1) == 1);
		MUST(wait_own(kq, ev, 2) == 1);
		MUST(ev[0].fflags == (NOTE_WRITE | NOTE_EXTEND));
		unlink(path);
		MUST(wait_own(kq, ev, 2) == 1);
		MUST(ev[0].fflags == NOTE_DELETE);
		/* It has no name, and is watched still: if there was memory for that. */
		MUST(write(fd, "x", 1) == 1);
		if (!round_.faulty) {
			MUST(wait_own(kq, ev, 2) == 1);
			MUST(ev[0].fflags == (NOTE_WRITE | NOTE_EXTEND));
		}
	}
	close(fd);
	unlink(path);
	MUST(pending(kq) == 0);
}

static void check_timer(int kq)
{
	struct kevent ev[2];
	int ret;

	ret = change_all(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS,
			 below(500), NULL);
	MUST(!ret || scarce(ret));
	if (ret)
		return;
	MUST(wait_own(kq, ev, 2) == 1);
	MUST(ev[0].filter == EVFILT_TIMER && ev[0].data >= 1);
	MUST(pending(kq) == 0);
}

static void check_nested(int kq)
{
	int inner = own(3), fd = kqueue(), ret;
	struct kevent ev[2];

	if (fd < 0) {
		MUST(scarce(-errno));
		return;
	}
	dup2(fd, inner);
	close(fd);
	ret = change(kq, inner, EVFILT_READ, EV_ADD);
	MUST(!ret || scarce(ret));
	if (!ret)
		ret = change(inner, 1, EVFILT_USER, EV_ADD);
	MUST(!ret || scarce(ret));
	if (!ret) {
		MUST(trigger(inner, 1) == 0);
		MUST(wait_own(kq, ev, 2) == 1);
		MUST((int)ev[0].ident == inner && ev[0].data == 1);
	}
	close(inner);
	MUST(pending(kq) == 0);
}

/* A thread that sleeps in kevent(2), for as long as it takes, is woken. */
static void check_echo(int kq)
{
	unsigned long before = echoes;
	double end = now() + STEP_PATIENCE;

	(void)kq;
	MUST(trigger(ECHO, ECHO_IDENT) == 0);
	while (echoes == before) {
		MUST(now() < end);
		usleep(200);
	}
}

static void check_some(void)
{
	static void (*const check[])(int kq) = {
		check_oneshot, check_dispatch, check_close, check_close, check_exit,
		check_signal, check_vnode, check_timer, check_nested, check_echo,
	};

	check[below(ARRAY_SIZE(check))](own(0));
}

static void (*const action[CLASSES])(void) = {
	[CHANGE] = change_some, [WAIT] = wait_some, [OPEN] = open_some,
	[CLOSE] = close_some, [IO] = move_data, [NAMES] = change_names,
	[FORK] = fork_some, [SIGNAL] = signal_some, [KQUEUE] = kqueues_some,
	[MAILING] = mail_some, [POLL] = poll_some, [LIMITS] = limit_some,
	[MOUNT] = mount_some, [BAD] = bad_some, [UNLOAD] = unload_some,
	[ONCE] = once_some, [CHECK] = check_some,
};

static enum class draw_class(void)
{
	static int sum;
	int i, at;

	if (!sum)
		for (i = 0; i < CLASSES; i++)
			sum += weight[i];
	at = below(sum);
	for (i = 0; (at -= weight[i]) >= 0; i++)
		;
	return i;
}

static void *thread_main(void *arg)
{
	enum class class;

	self = arg;
	for (self->step = 0; self->step < round_.steps && !stop; self->step++) {
		self->random = mix(mix(mix(round_.seed + process) + self->number) +
				   self->step);
		class = draw_class();
		if (!(round_.classes & 1U << class))
			continue;
		action[class]();
		shared->steps[class]++;
	}
	return NULL;
}

static void *echo_main(void *arg)
{
	struct thread me = { .number = MOST };
	struct kevent ev;
	int n;

	(void)arg;
	self = &me;
	for (;;) {
		n = kev(ECHO, NULL, 0, &ev, 1, NULL);
		if (n == -EINTR)
			continue;
		MUST(n == 1 && ev.ident == ECHO_IDENT && ev.filter == EVFILT_USER);
		if (stop)
			return NULL;
		echoes++;
	}
}

/*
 * A process.
 */

static void on_signal(int signal)
{
	(void)signal;
}

/* A kqueue that has to be had; where allocations fail, after some. */
static void need_kqueue(int at)
{
	double end = now() + STEP_PATIENCE;
	int kq;

	while ((kq = kqueue()) < 0) {
		MUST(scarce(-errno));
		MUST(now() < end);
	}
	MUST(dup2(kq, at) == at);
	close(kq);
}

static void need_change(int kq, uintptr_t ident, int filter, int flags)
{
	double end = now() + STEP_PATIENCE;
	int ret;

	while ((ret = change(kq, ident, filter, flags))) {
		MUST(scarce(ret));
		MUST(now() < end);
	}
}

/* How many are not yet delivered of what will be. */
static unsigned int outstanding(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < once_count; i++)
		n += once[i].triggered && !once[i].deleted && !once[i].delivered;
	return n;
}

static void settle(void)
{
	double end = now() + STEP_PATIENCE;
	unsigned int i;

	while (outstanding()) {
		if (now() >= end) {
			for (i = 0; i < once_count; i++)
				if (once[i].triggered && !once[i].deleted &&
				    !once[i].delivered)
					fail("%u of %u events are lost, the first is the %s %u",
					     outstanding(), once_count,
					     once[i].timer ? "timer" : "user event", i);
		}
		call(SOLID, NULL, 0, 32, &(struct timespec){ .tv_nsec = 1000000 });
	}
	for (i = 0; i < once_count; i++)
		MUST(once[i].delivered + once[i].deleted <= 1);
}

/* How a process ends. Of the others it is known what has to be so then. */
enum ending { ORDERLY, EXIT, EXEC, KILLED };

static enum ending ending_of(int number)
{
	static const enum ending other[] = { ORDERLY, EXIT, EXEC, KILLED };

	return number < 2 ? ORDERLY : other[mix(round_.seed ^ number) % 4];
}

__attribute__((noreturn))
static void process_main(int number)
{
	struct thread threads[MOST] = {}, me = { .number = -1 };
	enum ending ending = ending_of(number);
	pthread_mutexattr_t attr;
	pthread_t echo;
	int i;

	process = number;
	self = &me;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Its name for the others. */
	shared->pid[number] = getpid();
	for (i = 0; i < round_.processes; i++)
		MUST(EVENTUALLY(shared->pid[i]));

	pthread_mutexattr_init(&attr);
	for (i = 0; i < (int)ARRAY_SIZE(tracked); i++)
		pthread_mutex_init(&tracked[i].lock, &attr);
	if (round_.faulty)
		MUST(!write_file("/proc/self/make-it-fail", "1"));

	need_kqueue(SOLID);
	need_kqueue(ECHO);
	need_change(ECHO, ECHO_IDENT, EVFILT_USER, EV_ADD | EV_CLEAR);
	for (i = KQUEUES; i < KQUEUES_END; i += 2)
		need_kqueue(i);
	for (i = 0; i < round_.threads; i++) {
		threads[i].number = i;
		need_kqueue(OWN + i * OWN_SIZE);
	}
	MUST(!pthread_create(&echo, NULL, echo_main, NULL));
	for (i = 0; i < round_.threads; i++)
		MUST(!pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]));

	if (ending != ORDERLY) {
		/* In the middle of it: when the first thread is through. */
		pthread_join(threads[0].thread, NULL);
		if (ending == KILLED)
			kill(getpid(), SIGKILL);
		if (ending == EXEC) {
			/* The others go on sending; a handler would be lost, and then it kills. */
			signal(SIGUSR2, SIG_IGN);
			exec_child(0);
		}
		_exit(0);
	}
	for (i = 0; i < round_.threads; i++)
		pthread_join(threads[i].thread, NULL);
	settle();
	for (i = 0; i < round_.threads; i++)
		MUST(pending(OWN + i * OWN_SIZE) == 0);
	stop = true;
	MUST(trigger(ECHO, ECHO_IDENT) == 0);
	pthread_join(echo, NULL);
	_exit(0);
}

/*
 * A round.
 */

static long references(void)
{
	return read_number("/sys/module/kqueue/refcnt");
}

static void show_file(const char *path)
{
	char text[2048];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (len > 0)
		fprintf(stdout, "# %s:\n%.*s\n", path, (int)len, text);
	close(fd);
}

/* What those are at that have not come to an end. */
static void show_processes(void)
{
	char command[128];
	int i;

	for (i = 0; i < round_.processes; i++) {
		snprintf(command, sizeof(command),
			 "cd /proc/%d/task && head -n 30 */syscall */stack", shared->pid[i]);
		fflush(stdout);
		if (system(command))
			show_file("/proc/locks");
	}
}

static bool round_passes(void)
{
	double end = now() + ROUND_PATIENCE;
	int i, sv[2], status, left = round_.processes;
	bool passed = true;
	pid_t pid;

	memset(shared, 0, sizeof(*shared));
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sv))
		return false;
	dup2(sv[0], MAIL);
	dup2(sv[1], MAIL + 1);
	close(sv[0]);
	close(sv[1]);
	for (i = 0; i < round_.processes; i++) {
		pid = fork();
		if (!pid)
			process_main(i);
		if (pid < 0)
			return false;
	}
	while (left) {
		pid = waitpid(-1, &status, WNOHANG);
		if (pid > 0) {
			left--;
			/* Those who are killed, kill themselves. */
			if (WIFEXITED(status) ? WEXITSTATUS(status) :
						WTERMSIG(status) != SIGKILL) {
				printf("# process %d ended with status %#x\n", pid, status);
				passed = false;
				break;
			}
			continue;
		}
		if (shared->failed || now() > end) {
			passed = false;
			break;
		}
		usleep(5000);
	}
	if (!passed && left) {
		if (!shared->failed) {
			printf("# it hangs, or has died\n");
			show_processes();
		}
		for (i = 0; i < round_.processes; i++)
			if (shared->pid[i])
				kill(shared->pid[i], SIGKILL);
		while (left && waitpid(-1, &status, 0) > 0)
			left--;
	}
	/* What is in the mail goes with it. */
	close(MAIL);
	close(MAIL + 1);
	for (i = 0; i < FILES; i++) {
		char path[64];

		sprintf(path, DIR "/mount%d", i);
		while (!umount2(path, MNT_DETACH))
			;
	}
	for (i = 0; i < (int)ARRAY_SIZE(limit); i++)
		write_number(limit[i], usual[i]);
	/* Nobody has a kqueue now; the last of them may go a little later. */
	if (passed && !EVENTUALLY(references() == 0)) {
		printf("# seed %#llx: %ld references to the module are left\n",
		       (unsigned long long)round_.seed, references());
		passed = false;
	}
	if (passed && getenv("KQUEUE_KO")) {
		if (unload_kqueue() || load_kqueue()) {
			printf("# seed %#llx: cannot unload and load it: %s\n",
			       (unsigned long long)round_.seed, strerror(errno));
			passed = false;
		}
	}
	return passed;
}

static bool make_directory(void)
{
	char path[64];
	int i;

	mkdir(DIR, 0755);
	for (i = 0; i < FILES; i++) {
		sprintf(path, DIR "/file%d", i);
		close(open(path, O_RDWR | O_CREAT, 0600));
		sprintf(path, DIR "/dir%d", i);
		mkdir(path, 0700);
	}
	mkfifo(DIR "/fifo", 0600);
	/* From memory, whatever the file system is that this was started from. */
	return system("cp /proc/$PPID/exe " DIR "/stress") == 0;
}

/* Allocations with a function of the module's on the stack fail, one in 30. */
static bool make_faulty(void)
{
	static const char *const setting[][2] = {
		{ "task-filter", "Y" }, { "ignore-gfp-wait", "N" }, { "verbose", "0" },
		{ "stacktrace-depth", "32" }, { "interval", "1" }, { "times", "-1" },
		{ "probability", "3" },
	};
	char path[128], value[64];
	unsigned long text;
	size_t i;
	FILE *f = fopen("/sys/module/kqueue/sections/.text", "r");

	if (!f || fscanf(f, "%lx", &text) != 1)
		return false;
	fclose(f);
	snprintf(value, sizeof(value), "%#lx", text);
	if (write_file("/sys/kernel/debug/failslab/require-start", value))
		return false;
	/* What follows is the module's, up to the next one. */
	snprintf(value, sizeof(value), "%#lx", text + (1UL << 20));
	if (write_file("/sys/kernel/debug/failslab/require-end", value))
		return false;
	for (i = 0; i < ARRAY_SIZE(setting); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/failslab/%s", setting[i][0]);
		if (write_file(path, setting[i][1]))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	double start = now(), seconds = 0;
	const char *text = getenv("STRESS_SEED");
	unsigned long steps[CLASSES] = { 0 }, all = 0, events = 0;
	int opt, i, rounds = 0;
	bool passed = true;

	/* What is called in the place of a child, see exec_child(). */
	if (argc == 3 && !strcmp(argv[1], "--child"))
		return atoi(argv[2]);

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	round_ = (struct round){
		.seed = text ? strtoull(text, NULL, 0) : 1, .processes = PROCESSES, .threads = THREADS, .steps = 150,
		.classes = (1U << CLASSES) - 1,
	};
	text = getenv("STRESS_SECONDS");
	if (argc == 1)
		seconds = text ? atof(text) : 20;
	while ((opt = getopt(argc, argv, "s:d:p:t:n:c:f")) != -1) {
		switch (opt) {
		case 's':
			round_.seed = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			seconds = atof(optarg);
			break;
		case 'p':
			round_.processes = atoi(optarg);
			break;
		case 't':
			round_.threads = atoi(optarg);
			break;
		case 'n':
			round_.steps = atoi(optarg);
			break;
		case 'c':
			round_.classes = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			round_.faulty = true;
			break;
		default:
			return 2;
		}
	}
	if (round_.processes < 1 || round_.processes > MOST || round_.threads < 1 ||
	    round_.threads > MOST)
		return 2;
	/* What goes wrong with signals is no other's. */
	setpgid(0, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || !make_directory())
		return 2;
	/* All processes have it from here, before anybody sends them anything. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	sigaction(SIGUSR2, &sa, NULL);
	for (i = 0; i <= MOST && SIGRTMIN + 1 + i <= SIGRTMAX; i++)
		signal(SIGRTMIN + 1 + i, SIG_IGN);
	for (i = 0; i < (int)ARRAY_SIZE(limit); i++)
		usual[i] = read_number(limit[i]);

	printf("1..1\n");
	do {
		if (round_.faulty && !make_faulty()) {
			printf("# allocations cannot be made to fail\n");
			return 2;
		}
		printf("# stress -s %#llx -p %d -t %d -n %d -c %#x%s\n",
		       (unsigned long long)round_.seed, round_.processes, round_.threads,
		       round_.steps, round_.classes, round_.faulty ? " -f" : "");
		passed = round_passes();
		for (i = 0; i < CLASSES; i++) {
			steps[i] += shared->steps[i];
			all += shared->steps[i];
		}
		events += shared->events;
		rounds++;
		if (passed)
			round_.seed = mix(round_.seed);
	} while (passed && now() - start < seconds);

	printf("#");
	for (i = 0; i < CLASSES; i++)
		printf(" %s %lu", class_name[i], steps[i]);
	printf("\n# %d rounds, %lu steps, %lu events, %.0f s\n", rounds, all, events,
	       now() - start);
	printf("%s 1 stress\n", passed ? "ok" : "not ok");
	return !passed;
}
