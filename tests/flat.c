// SPDX-License-Identifier: GPL-2.0
/*
 * What a call costs does not depend on how many knotes there are, but on what it
 * has to do. Each cost is measured with FEW knotes in a kqueue, and again when
 * there are MANY.
 *
 * This is for a machine whose time is instructions counted, and repeats to a part
 * in a thousand: scripts/vm run --icount. Anywhere else it tells of caches, and
 * of whatever else the machine does.
 */
#include "kqtest.h"
#include "uring.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define FEW	100
#define MANY	100000
#define READY	10
#define SPARE	64	/* objects that are there, and not yet watched */
#define ROUNDS	64	/* each way, SPARE things at most */
#define BATCHES	8	/* of which the cheapest counts: no interrupt was in it */
#define MOST	1.05	/* what MANY may cost, where FEW cost 1 */

static int kq;
static int watched;	/* so many, now */
static struct kevent ev[READY + 8];

static void must(bool so, const char *what)
{
	if (!so)
		ksft_exit_fail_msg("%s: %s\n", what, strerror(errno));
}

/*
 * What is watched. The first READY of them are ready all the time.
 */

static struct object {
	uintptr_t ident;
	int writer;
} object[MANY + SPARE];

struct kind {
	const char *name;
	int filter;
	void (*make)(struct object *o);
	void (*fire)(struct object *o);
	void (*rest)(struct object *o);
};

static void make_user(struct object *o)
{
	o->ident = o - object;
}

static void fire_user(struct object *o)
{
	must(!trigger(kq, o->ident), "NOTE_TRIGGER");
}

static void rest_user(struct object *o)
{
	must(!change(kq, o->ident, EVFILT_USER, EV_CLEAR), "EV_CLEAR");
}

static void make_eventfd(struct object *o)
{
	int fd = eventfd(0, 0);

	must(fd >= 0, "eventfd");
	o->ident = o->writer = fd;
}

static void make_pipe(struct object *o)
{
	int fds[2];

	must(!pipe(fds), "pipe");
	o->ident = fds[0];
	o->writer = fds[1];
}

static void fire_file(struct object *o)
{
	const uint64_t value = 1;

	must(write(o->writer, &value, sizeof(value)) == sizeof(value), "write");
}

static void rest_file(struct object *o)
{
	uint64_t value;

	must(read(o->ident, &value, sizeof(value)) == sizeof(value), "read");
}

static const struct kind kinds[] = {
	{ "user_events", EVFILT_USER, make_user, fire_user, rest_user },
	{ "eventfds", EVFILT_READ, make_eventfd, fire_file, rest_file },
	{ "pipes", EVFILT_READ, make_pipe, fire_file, rest_file },
};

/* One of those that are watched and not ready; in ROUNDS of this, from all over. */
static struct object *pick(int round)
{
	return &object[READY + (long)round * (watched - READY) / ROUNDS];
}

/*
 * What is measured. Each does its thing ROUNDS times.
 */

static void collect(const struct kind *kind)
{
	int i;

	(void)kind;
	for (i = 0; i < ROUNDS; i++)
		must(poll_events(kq, ev, ARRAY_SIZE(ev)) == READY, "collecting");
}

/* One more becomes ready, is collected with the others, and is so no more. */
static void report(const struct kind *kind)
{
	struct object *o;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		o = pick(i);
		kind->fire(o);
		must(poll_events(kq, ev, ARRAY_SIZE(ev)) == READY + 1, "reporting");
		kind->rest(o);
	}
	/* It is found out now that they are not. */
	must(poll_events(kq, ev, ARRAY_SIZE(ev)) == READY, "reporting");
}

static void add_and_delete(const struct kind *kind)
{
	uintptr_t ident;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ident = object[MANY + i % SPARE].ident;
		must(!change(kq, ident, kind->filter, EV_ADD), "EV_ADD");
		must(!change(kq, ident, kind->filter, EV_DELETE), "EV_DELETE");
	}
}

static void disable_and_enable(const struct kind *kind)
{
	uintptr_t ident;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ident = pick(i)->ident;
		must(!change(kq, ident, kind->filter, EV_DISABLE), "EV_DISABLE");
		must(!change(kq, ident, kind->filter, EV_ENABLE), "EV_ENABLE");
	}
}

/* By putting another in its place, which is watched then. */
static void watch_and_close(const struct kind *kind)
{
	int i, fd, from = object[MANY].ident;

	(void)kind;
	for (i = 0; i < ROUNDS; i++) {
		fd = dup3(from, object[MANY + 1 + i % (SPARE - 1)].ident, 0);
		must(fd >= 0, "dup3");
		must(!change(kq, fd, EVFILT_READ, EV_ADD), "EV_ADD");
	}
}

static const struct cost {
	const char *name;
	void (*once)(const struct kind *kind);
	bool of_files;	/* and not of what has no descriptor */
} costs[] = {
	{ "collecting_10_events", collect, false },
	{ "reporting_one_more", report, false },
	{ "adding_and_deleting_one", add_and_delete, false },
	{ "disabling_and_enabling_one", disable_and_enable, false },
	{ "closing_what_is_watched", watch_and_close, true },
};

static double nanoseconds(const struct cost *cost, const struct kind *kind)
{
	double best = 1e9, start, took;
	int i;

	cost->once(kind);	/* what is allocated once, is now */
	for (i = 0; i < BATCHES; i++) {
		start = now();
		cost->once(kind);
		took = (now() - start) * 1e9 / ROUNDS;
		if (took < best)
			best = took;
	}
	return best;
}

static void watch(const struct kind *kind, int many)
{
	for (; watched < many; watched++)
		must(!change(kq, object[watched].ident, kind->filter, EV_ADD),
		     "EV_ADD");
}

static bool applies(const struct cost *cost, const struct kind *kind)
{
	return !cost->of_files || kind->make != make_user;
}

static void measure(const struct kind *kind)
{
	double few[ARRAY_SIZE(costs)] = {}, many;
	size_t i;
	int n;

	kq = kqueue();
	must(kq >= 0, "kqueue");
	/* All of them: what files cost the system is not what is asked. */
	for (n = 0; n < MANY + SPARE; n++)
		kind->make(&object[n]);
	watched = 0;
	watch(kind, FEW);
	for (n = 0; n < READY; n++)
		kind->fire(&object[n]);
	for (i = 0; i < ARRAY_SIZE(costs); i++)
		if (applies(&costs[i], kind))
			few[i] = nanoseconds(&costs[i], kind);
	watch(kind, MANY);
	for (i = 0; i < ARRAY_SIZE(costs); i++) {
		if (!applies(&costs[i], kind))
			continue;
		many = nanoseconds(&costs[i], kind);
		ksft_print_msg("%.0f with %d, %.0f with %d: %.4f\n", few[i], FEW,
			       many, MANY, many / few[i]);
		ksft_test_result(many <= few[i] * MOST, "flat.%s.%s\n",
				 kind->name, costs[i].name);
	}
	/* And whatever was made since. */
	close_range(kq, ~0U, 0);
}

/*
 * What is past: processes that are gone, though their last events were not read, or their
 * kqueues are held by others. What others do costs no more for it.
 */

static int sockets[2];
static struct uring ring;

/* As cheap as can be: its memory is this one's. */
#define FORKED() ({			\
	pid_t __pid = vfork();		\
					\
	must(__pid >= 0, "vfork");	\
	__pid;				\
})

/* A kqueue of a child that is gone, and did nothing else. */
static void make_left(void)
{
	char control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	pid_t pid = FORKED();

	if (!pid) {
		*cmsg = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		*(int *)CMSG_DATA(cmsg) = kqueue();
		_exit(sendmsg(sockets[0], &msg, 0) != 1);
	}
	must(reap(pid) == 0, "sendmsg");
	iov.iov_base = control;
	must(recvmsg(sockets[1], &msg, 0) == 1 && msg.msg_controllen, "recvmsg");
}

/* The same, and it never had a descriptor of it. */
static void make_slotless(void)
{
	static unsigned int slots;
	pid_t pid = FORKED();

	if (!pid)
		_exit(uring_open(&ring, "/dev/kqueue", O_RDWR, slots) != 0);
	must(reap(pid) == 0, "IORING_OP_OPENAT");
	slots++;
}

static void make_tracked(void)
{
	pid_t pid = FORKED();

	if (!pid)
		_exit(0);
	must(reap(pid) == 0, "reap");
}

static void begin_left(void)
{
	must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), "socketpair");
}

static void begin_slotless(void)
{
	begin_left();
	must(!uring_setup(&ring) && !uring_reserve(&ring, 1024), "io_uring");
}

static void begin_tracked(void)
{
	must(!change_all(kq, getpid(), EVFILT_PROC, EV_ADD, NOTE_TRACK | NOTE_EXIT, 0, NULL),
	     "NOTE_TRACK");
}

static double cheapest(void (*once)(void))
{
	double best = 1e9, start, took;
	int i, k;

	for (i = 0; i < BATCHES; i++) {
		start = now();
		for (k = 0; k < ROUNDS; k++)
			once();
		took = (now() - start) * 1e9 / ROUNDS;
		if (took < best)
			best = took;
	}
	return best;
}

static void open_and_close(void)
{
	int fd = dup(sockets[0]);

	must(fd >= 0 && !close(fd), "close");
}

/* In children, which may be taken for those that are gone; the dearest counts. */
static double closes(void)
{
	double worst = 0, took;
	int fds[2], i;
	pid_t pid;

	must(!pipe(fds), "pipe");
	for (i = 0; i < 8; i++) {
		pid = fork();
		must(pid >= 0, "fork");
		if (!pid) {
			took = cheapest(open_and_close);
			_exit(write(fds[1], &took, sizeof(took)) != sizeof(took));
		}
		must(reap(pid) == 0 && read(fds[0], &took, sizeof(took)) == sizeof(took), "read");
		if (took > worst)
			worst = took;
	}
	close(fds[0]);
	close(fds[1]);
	return worst;
}

static double forks(void)
{
	return cheapest(make_tracked);
}

static const struct past {
	const char *name;
	void (*begin)(void);
	void (*make)(void);
	double (*cost)(void);
	int many;
} pasts[] = {
	{ "closes_after_processes_whose_kqueues_are_held", begin_left, make_left, closes, 600 },
	{ "closes_after_processes_whose_kqueues_had_no_descriptor", begin_slotless, make_slotless,
	  closes, 600 },
	{ "forks_after_children_whose_ends_were_not_read", begin_tracked, make_tracked, forks,
	  4000 },
};

static void measure_past(const struct past *past)
{
	double few, many;
	int i;

	kq = kqueue();
	must(kq >= 0, "kqueue");
	past->begin();
	for (i = 0; i < FEW; i++)
		past->make();
	few = past->cost();
	for (; i < past->many; i++)
		past->make();
	many = past->cost();
	ksft_print_msg("%.0f with %d, %.0f with %d: %.4f\n", few, FEW, many, past->many, many / few);
	ksft_test_result(many <= few * MOST, "flat.%s\n", past->name);
	close_range(kq, ~0U, 0);
}

int main(void)
{
	const struct rlimit descriptors = { 2 * (MANY + SPARE) + 64,
					    2 * (MANY + SPARE) + 64 };
	const long user_events = read_number(USER_EVENTS_MAX);
	const long watches = read_number(WATCHES_MAX);
	int planned = ARRAY_SIZE(pasts);
	size_t i, j;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		for (j = 0; j < ARRAY_SIZE(costs); j++)
			planned += applies(&costs[j], &kinds[i]);
	ksft_set_plan(planned);
	must(!setrlimit(RLIMIT_NOFILE, &descriptors), "RLIMIT_NOFILE");
	must(!write_number(USER_EVENTS_MAX, MANY + SPARE), USER_EVENTS_MAX);
	must(!write_number(WATCHES_MAX, 2 * MANY), WATCHES_MAX);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		measure(&kinds[i]);
	/* Their numbers are not used again meanwhile. */
	must(!write_number("/proc/sys/kernel/pid_max", 4000000), "pid_max");
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		measure_past(&pasts[i]);
	write_number(USER_EVENTS_MAX, user_events);
	write_number(WATCHES_MAX, watches);
	ksft_finished();
}
