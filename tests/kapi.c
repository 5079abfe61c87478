// SPDX-License-Identifier: GPL-2.0
/*
 * Filters of other modules: kqueue(9). The modules are in modules/, and their
 * files in the directory that MODULES in the environment names, /mnt/modules if
 * none. MODULE_ROUNDS says how often they are loaded, used and unloaded, 100
 * times if not.
 */
#include "kqtest.h"

#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/klog.h>

#define KNTEST	"/sys/kernel/debug/kntest/"

static const char *modules(void)
{
	return getenv("MODULES") ?: "/mnt/modules";
}

static int load(const char *name, const char *parameters)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s.ko", modules(), name);
	return load_module(path, parameters);
}

/* One whose last file has just been closed may be held for a moment still. */
static bool unloads(const char *name)
{
	int ret;

	return EVENTUALLY((ret = unload_module(name)) != -EAGAIN && ret != -EBUSY) &&
	       (!ret || ret == -ENOENT);
}

/* What kqueue.ko has said of modules that do what they must not. */
static int misuses(void)
{
	static char log[1 << 20];
	int n = 0, len = klogctl(3, log, sizeof(log) - 1);
	char *at = log;

	if (len < 0)
		return -errno;
	log[len] = '\0';
	while ((at = strstr(at, "kqueue: misuse: "))) {
		at++;
		n++;
	}
	return n;
}

/* Number of the filter of a name. */
static int by_name(int kq, const char *name)
{
	struct kfilter_mapping km = { .name = (char *)name };
	int ret = kqueue_ioctl(kq, KFILTER_BYNAME, &km);

	return ret ? ret : km.filter;
}

/* What kntest is to do: 0, or -errno. */
static int command(const char *format, ...)
{
	char text[80];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return write_file(KNTEST "command", text);
}

static long attached(void)
{
	return read_number(KNTEST "attached");
}

static long detached(void)
{
	return read_number(KNTEST "detached");
}

/* Knotes in a kqueue, by its fdinfo. */
static int knotes(int kq)
{
	char path[64], line[256];
	int n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", kq);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "knotes: %d", &n);
	if (f)
		fclose(f);
	return n;
}

static atomic_bool stop;

#define EXPECT_EVENT(kev, _ident, _fflags, _data, _flags) do {	\
	EXPECT_EQ((uintptr_t)(_ident), (kev).ident);		\
	EXPECT_EQ((unsigned int)(_fflags), (kev).fflags);	\
	EXPECT_EQ((int64_t)(_data), (kev).data);		\
	EXPECT_EQ((_flags), (kev).flags);			\
} while (0)

FIXTURE(kapi) {
	int kq;
	int misuses;
	int kntest, ticker, tally;
	struct kevent ev[16];
};

FIXTURE_SETUP(kapi)
{
	if (access(modules(), F_OK))
		SKIP(return, "MODULES does not say where the modules are");
	ASSERT_EQ(0, load("ticker", ""));
	ASSERT_EQ(0, load("tally", ""));
	ASSERT_EQ(0, load("kntest", ""));
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->misuses = misuses();
	self->kntest = by_name(self->kq, "EVFILT_KNTEST");
	self->ticker = by_name(self->kq, "EVFILT_TICKER");
	self->tally = by_name(self->kq, "EVFILT_TALLY");
	ASSERT_GT(-EVFILT_SYSCOUNT, self->kntest);
	ASSERT_GT(-EVFILT_SYSCOUNT, self->ticker);
	ASSERT_GT(-EVFILT_SYSCOUNT, self->tally);
}

FIXTURE_TEARDOWN(kapi)
{
	close(self->kq);
	EXPECT_TRUE(unloads("kntest"));
	EXPECT_TRUE(unloads("tally"));
	EXPECT_TRUE(unloads("ticker"));
}

TEST_F(kapi, filters_answer_to_their_names_and_numbers)
{
	char name[KFILTER_MAXNAME], path[64], line[256];
	struct kfilter_mapping km = { name, sizeof(name), self->kntest };
	bool shown = false;
	FILE *f;

	ASSERT_EQ(0, kqueue_ioctl(self->kq, KFILTER_BYFILTER, &km));
	EXPECT_STREQ("EVFILT_KNTEST", name);
	km.len = strlen("EVFILT_KNTEST");
	EXPECT_EQ(-ENAMETOOLONG, kqueue_ioctl(self->kq, KFILTER_BYFILTER, &km));
	EXPECT_EQ(-ENOENT, by_name(self->kq, "EVFILT_OTHER"));
	km.filter = -77;
	EXPECT_EQ(-ENOENT, kqueue_ioctl(self->kq, KFILTER_BYFILTER, &km));
	EXPECT_NE(self->kntest, self->ticker);
	EXPECT_NE(self->kntest, self->tally);
	ASSERT_EQ(0, change(self->kq, 7000, self->kntest, EV_ADD));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->kq);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f))
		shown |= strstr(line, "7000 EVFILT_KNTEST") != NULL;
	fclose(f);
	EXPECT_TRUE(shown);
}

TEST_F(kapi, a_module_is_told_the_number_that_its_filter_got)
{
	EXPECT_EQ(self->kntest, (int)read_number(KNTEST "number"));
}

TEST_F(kapi, a_number_is_had_by_one)
{
	EXPECT_EQ(0, command("add -100"));
	EXPECT_EQ(-EEXIST, command("add -100"));
	EXPECT_EQ(-EEXIST, command("add %d", self->kntest));
	EXPECT_EQ(-EEXIST, command("add %d", EVFILT_READ));
	EXPECT_EQ(-EINVAL, command("add 1"));
	EXPECT_EQ(-EINVAL, command("add 0"));
	EXPECT_EQ(-EINVAL, command("add -32769"));
	EXPECT_EQ(-EINVAL, command("del %d", EVFILT_READ));
	EXPECT_EQ(0, command("del -100"));
	EXPECT_EQ(-EINVAL, command("del -100"));
}

TEST_F(kapi, a_name_is_had_by_one)
{
	EXPECT_EQ(-EEXIST, command("name EVFILT_KNTEST"));
	EXPECT_EQ(-EEXIST, command("name EVFILT_READ"));
	EXPECT_EQ(0, command("name EVFILT_SECOND"));
	EXPECT_EQ(-EEXIST, command("name EVFILT_SECOND"));
	EXPECT_GT(-EVFILT_SYSCOUNT, by_name(self->kq, "EVFILT_SECOND"));
	EXPECT_EQ(-EINVAL, command("name EVFILT_A_NAME_THAT_HAS_32_LETTERS"));
	EXPECT_EQ(-EINVAL, command("unname EVFILT_READ"));
	EXPECT_EQ(-ENOENT, command("unname EVFILT_THIRD"));
	EXPECT_EQ(0, command("unname EVFILT_SECOND"));
	EXPECT_EQ(-ENOENT, by_name(self->kq, "EVFILT_SECOND"));
}

/* As FreeBSD's aio(4) does. */
TEST_F(kapi, a_reserved_number_can_be_had)
{
	EXPECT_EQ(-EINVAL, change(self->kq, 1, EVFILT_AIO, EV_ADD));
	ASSERT_EQ(0, command("add %d", EVFILT_AIO));
	EXPECT_EQ(-EEXIST, command("add %d", EVFILT_AIO));
	EXPECT_EQ(EVFILT_AIO, by_name(self->kq, "EVFILT_AIO"));
	EXPECT_EQ(0, change(self->kq, 1, EVFILT_AIO, EV_ADD));
	EXPECT_EQ(-EBUSY, command("del %d", EVFILT_AIO));
	EXPECT_EQ(0, change(self->kq, 1, EVFILT_AIO, EV_DELETE));
	EXPECT_EQ(0, command("del %d", EVFILT_AIO));
	EXPECT_EQ(-EINVAL, change(self->kq, 1, EVFILT_AIO, EV_ADD));
}

TEST_F(kapi, what_has_knotes_stays)
{
	int filter;

	ASSERT_EQ(0, command("name EVFILT_SECOND"));
	filter = by_name(self->kq, "EVFILT_SECOND");
	ASSERT_EQ(0, change(self->kq, 1, filter, EV_ADD));
	EXPECT_EQ(-EBUSY, command("unname EVFILT_SECOND"));
	EXPECT_EQ(-EBUSY, command("del %d", filter));
	EXPECT_EQ(-EAGAIN, unload_module("kntest"));
	ASSERT_EQ(0, change(self->kq, 1, self->tally, EV_ADD));
	EXPECT_EQ(-EAGAIN, unload_module("tally"));
	close(self->kq);
	EXPECT_EQ(0, command("unname EVFILT_SECOND"));
	EXPECT_EQ(0, unload_module("tally"));
	EXPECT_EQ(0, load("tally", ""));
	self->kq = kqueue();
}

TEST_F(kapi, the_operators_of_an_older_module_will_do)
{
	ASSERT_EQ(0, command("add_shorter -100"));
	ASSERT_EQ(0, change(self->kq, 0, -100, EV_ADD));
	/* It has no f_touch, and what stands in its place is not called. */
	EXPECT_EQ(0, change(self->kq, 0, -100, EV_DISABLE));
	EXPECT_EQ(0, change(self->kq, 0, -100, EV_ENABLE));
	EXPECT_EQ(0, command("tell 0 5"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 0, 0, 5, 0);
	EXPECT_EQ(0, change(self->kq, 0, -100, EV_DELETE));
	EXPECT_EQ(0, command("del -100"));
	EXPECT_EQ(-E2BIG, command("add_newer -100"));
	EXPECT_EQ(-EINVAL, command("add_lacking -100"));
	EXPECT_EQ(-EINVAL, command("del -100"));
}

TEST_F(kapi, a_module_can_register_for_a_process)
{
	int null = open("/dev/null", O_RDWR);

	EXPECT_EQ(0, command("register %d 7", self->kq));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(7, self->ev[0].ident);
	EXPECT_EQ(EVFILT_USER, self->ev[0].filter);
	EXPECT_EQ(-EAGAIN, command("register_nowait %d 8", self->kq));
	EXPECT_EQ(-EBADF, command("register %d 7", null));
	EXPECT_EQ(-EBADF, command("register 1000 7"));
	EXPECT_EQ(-EBADF, command("register -1 7"));
	close(null);
}

TEST_F(kapi, a_module_cannot_register_for_another_process)
{
	EXPECT_EQ(-EINVAL, command("register_other %d 8", self->kq));
	EXPECT_EQ(0, knotes(self->kq));
}

/* Of the locks whose functions are the module's own, as kl_locked can be asked. */
TEST_F(kapi, a_lock_that_is_said_to_be_held_and_is_not_is_told)
{
	EXPECT_EQ(0, command("tell_locked 2 1"));
	EXPECT_EQ(self->misuses, misuses());
	EXPECT_EQ(0, command("tell_falsely 2 1"));
	EXPECT_EQ(self->misuses + 1, misuses());
}

TEST_F(kapi, what_was_destroyed_is_not_used)
{
	EXPECT_EQ(0, command("use_destroyed"));
	EXPECT_EQ(self->misuses + 1, misuses());
}

/* With a spin lock of its own, and with the one that all share. */
TEST_F(kapi, an_interrupt_may_tell)
{
	for (int list = 0; list < 4; list += 3) {
		ASSERT_EQ(0, change(self->kq, list, self->kntest, EV_ADD | EV_CLEAR));
		EXPECT_EQ(0, command("tell_irq %d 3", list));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
		EXPECT_EVENT(self->ev[0], list, 0, 3, EV_CLEAR);
		EXPECT_EQ(0, pending(self->kq));
	}
}

/*
 * Who polls is told in an interrupt. Whatever else happens meanwhile, that is soon over,
 * and the rest is told by a task.
 */
TEST_F(kapi, an_interrupt_does_not_tell_who_polls_for_ever)
{
	long in_irq, in_task;
	int i;

	for (i = 0; i < 90; i++) {
		ASSERT_EQ(0, change(self->kq, 10 * i, self->kntest, EV_ADD));
	}
	ASSERT_EQ(0, command("poll_and_tell %d 90", self->kq));
	in_irq = read_number(KNTEST "in_irq");
	in_task = read_number(KNTEST "in_task");
	EXPECT_EQ(90, in_irq + in_task);
	EXPECT_GT(5, in_irq) TH_LOG("%ld of them in interrupts", in_irq);
	for (i = 0; i < 90; i++) {
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 1));
		EXPECT_EVENT(self->ev[0], 10 * i, 0, 1, 0);
		ASSERT_EQ(0, change(self->kq, 10 * i, self->kntest, EV_DELETE));
	}
}

/*
 * Where io_submit(2) is to poll, and the wake-up does not say of what, a worker asks the
 * kqueue in the place of the program.
 */
TEST_F(kapi, a_worker_may_poll_for_a_program)
{
	struct iocb cb = {
		.aio_fildes = self->kq,
		.aio_lio_opcode = IOCB_CMD_POLL,
		.aio_buf = POLLIN,
	}, *cbs = &cb;
	struct timespec patience = { .tv_sec = PATIENCE };
	struct io_event done = { };
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, 1, &ctx) && errno == ENOSYS)
		SKIP(return, "no io_setup(2)");
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_EQ(1, syscall(SYS_io_submit, ctx, 1, &cbs));
	ASSERT_EQ(0, command("wake_pollers %d", self->kq));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(1, syscall(SYS_io_getevents, ctx, 1, 1, &done, &patience));
	EXPECT_EQ(POLLIN, done.res & (POLLIN | POLLERR | POLLHUP));
	EXPECT_EQ(0, syscall(SYS_io_destroy, ctx));
}

TEST_F(kapi, an_attach_that_fails_leaves_nothing)
{
	EXPECT_EQ(-EPERM, change(self->kq, 1000, self->kntest, EV_ADD));
	EXPECT_EQ(0, command("empty 0"));
	EXPECT_EQ(self->misuses, misuses());
	/* Also if the module has left something. */
	EXPECT_EQ(-EPERM, change(self->kq, 2000, self->kntest, EV_ADD));
	EXPECT_EQ(0, command("empty 0"));
	EXPECT_EQ(self->misuses + 1, misuses());
	EXPECT_EQ(2, attached());
	EXPECT_EQ(0, detached());
	EXPECT_EQ(0, knotes(self->kq));
	EXPECT_EQ(-ENOENT, change(self->kq, 1000, self->kntest, EV_DELETE));
}

TEST_F(kapi, a_detach_that_leaves_the_list_is_mended)
{
	ASSERT_EQ(0, change(self->kq, 5000, self->kntest, EV_ADD));
	EXPECT_EQ(0, change(self->kq, 5000, self->kntest, EV_DELETE));
	EXPECT_EQ(0, command("empty 0"));
	EXPECT_EQ(self->misuses + 1, misuses());
	EXPECT_EQ(0, command("tell 0 1"));
}

TEST_F(kapi, a_knote_on_no_list_is_detached)
{
	ASSERT_EQ(0, change(self->kq, 4000, self->kntest, EV_ADD));
	EXPECT_EQ(0, command("empty 0"));
	EXPECT_EQ(0, change(self->kq, 4000, self->kntest, EV_DELETE));
	EXPECT_EQ(1, detached());
}

TEST_F(kapi, touch_is_told_of_changes_and_fills_events)
{
	ASSERT_EQ(0, change(self->kq, 3000, self->kntest, EV_ADD | EV_CLEAR));
	/* What f_touch has done: one more change, and its data on top. */
	EXPECT_EQ(0, change_all(self->kq, 3000, self->kntest, 0, 0, 5, NULL));
	EXPECT_EQ(0, change_all(self->kq, 3000, self->kntest, 0, 0, 6, NULL));
	EXPECT_EQ(-EDOM, change_all(self->kq, 3000, self->kntest, 0, 13, 7, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 3000, 2, 11, EV_CLEAR);
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, command("tell 0 1"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 3000, 0, 1, EV_CLEAR);
}

/* What the filter has given up is not lost, and nor is what comes then. */
TEST_F(kapi, what_cannot_be_stored_is_delivered_later)
{
	struct kevent *nowhere = (struct kevent *)8;

	ASSERT_EQ(0, change(self->kq, 3000, self->kntest, EV_ADD | EV_CLEAR));
	ASSERT_EQ(0, change_all(self->kq, 3000, self->kntest, 0, 0, 5, NULL));
	EXPECT_EQ(-EFAULT, poll_events(self->kq, nowhere, 1));
	EXPECT_EQ(0, command("tell 0 2"));
	EXPECT_EQ(-EFAULT, poll_events(self->kq, nowhere, 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 3000, 1, 5, EV_CLEAR);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 3000, 0, 2, EV_CLEAR);
	EXPECT_EQ(0, pending(self->kq));

	ASSERT_EQ(0, change(self->kq, 0, self->kntest, EV_ADD | EV_CLEAR));
	ASSERT_EQ(0, command("tell 0 3"));
	ASSERT_EQ(0, change(self->kq, 3000, self->kntest, EV_DELETE));
	EXPECT_EQ(-EFAULT, poll_events(self->kq, nowhere, 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 0, 0, 3, EV_CLEAR);
	EXPECT_EQ(0, pending(self->kq));

	ASSERT_EQ(0, change_all(self->kq, 1, self->tally, EV_ADD | EV_CLEAR, 0, 1, NULL));
	ASSERT_EQ(0, change_all(self->kq, 1, self->tally, 0, 0, 4, NULL));
	EXPECT_EQ(-EFAULT, poll_events(self->kq, nowhere, 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 1, 1, 4, EV_CLEAR);
}

TEST_F(kapi, process_shapes_what_is_delivered)
{
	ASSERT_EQ(0, command("add -100"));
	ASSERT_EQ(0, change_all(self->kq, 9, -100, EV_ADD, 0, 25, (void *)4));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 9, 0, 10, 0);
	EXPECT_EQ((void *)4, self->ev[0].udata);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 9, 0, 10, 0);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 9, 0, 5, EV_ONESHOT | EV_EOF);
	EXPECT_EQ(0, knotes(self->kq));
	EXPECT_EQ(1, detached());
	/* f_peek says that there is nothing. */
	ASSERT_EQ(0, change_all(self->kq, 9, -100, EV_ADD, 0, 0, NULL));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, 9, -100, EV_DELETE));
	EXPECT_EQ(0, command("del -100"));
}

TEST_F(kapi, a_filter_in_rust_is_told_of_changes_and_shapes_events)
{
	ASSERT_EQ(0, change_all(self->kq, 1, self->tally, EV_ADD, 0, 10, NULL));
	EXPECT_EQ(0, change_all(self->kq, 1, self->tally, 0, 0, 6, NULL));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-EDOM, change_all(self->kq, 1, self->tally, 0, 1, 7, NULL));
	EXPECT_EQ(0, change_all(self->kq, 1, self->tally, 0, 0, 7, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 1, 2, 13, 0);
	EXPECT_EQ(0, change_all(self->kq, 1, self->tally, 0, 1, 3, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 1, 1, 10, 0);
	EXPECT_EQ(0, change_all(self->kq, 1, self->tally, 0, 1, 1, NULL));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-EINVAL, change_all(self->kq, 1, self->tally, EV_ADD, 0, -1, NULL));
	EXPECT_EQ(-EINVAL, change_all(self->kq, 2, self->tally, EV_ADD, 0, -1, NULL));
	EXPECT_EQ(-ENOENT, change(self->kq, 2, self->tally, EV_DELETE));
	EXPECT_EQ(0, change_all(self->kq, 1, self->tally, EV_ADD | EV_CLEAR, 0, 2, NULL));
	EXPECT_EQ(0, change_all(self->kq, 1, self->tally, 0, 0, 3, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 1, 1, 3, EV_CLEAR);
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, change(self->kq, 1, self->tally, EV_DELETE));
}

/* EV_ONESHOT that the filter asks for, when it is asked for its event under the lock. */
TEST_F(kapi, a_filter_in_rust_can_say_that_an_event_is_the_last)
{
	for (int room = 1; room <= 2; room++) {
		ASSERT_EQ(0, change_all(self->kq, 1, self->tally, EV_ADD, 2, 5, NULL));
		EXPECT_EQ(0, change_all(self->kq, 1, self->tally, 0, 0, 5, NULL));
		if (room == 2)
			ASSERT_EQ(0, change_all(self->kq, 2, self->tally, EV_ADD, 2, 0, NULL));
		ASSERT_EQ(room, poll_events(self->kq, self->ev, room));
		EXPECT_EVENT(self->ev[0], 1, 1, 5, EV_ONESHOT);
		EXPECT_EQ(0, pending(self->kq));
		EXPECT_EQ(0, knotes(self->kq));
	}
}

/* With events that are not asked for, but are in the knote. */
TEST_F(kapi, the_last_event_of_a_filter_comes_with_others)
{
	ASSERT_EQ(0, command("add -100"));
	ASSERT_EQ(0, change_all(self->kq, 9, -100, EV_ADD, 0, 10, NULL));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 9, 0, 10, EV_ONESHOT | EV_EOF);
	EXPECT_EQ(1, self->ev[1].ident);
	EXPECT_EQ(1, knotes(self->kq));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, command("del -100"));
}

TEST_F(kapi, a_knote_on_no_list_can_be_activated)
{
	EXPECT_EQ(-ENOENT, command("activate 10"));
	ASSERT_EQ(0, command("add -100"));
	ASSERT_EQ(0, change(self->kq, 9, -100, EV_ADD));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, command("activate 10"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 9, 0, 10, EV_ONESHOT | EV_EOF);
	EXPECT_EQ(-ENOENT, command("activate 10"));
	EXPECT_EQ(0, command("del -100"));
}

TEST_F(kapi, a_list_in_rust_tells_all_that_are_on_it)
{
	int bell, i;

	ASSERT_EQ(0, load("bell", ""));
	bell = by_name(self->kq, "EVFILT_BELL");
	ASSERT_GT(-EVFILT_SYSCOUNT, bell);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, change_all(self->kq, i, bell, EV_ADD, 0, i == 2 ? 5 : 0, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 2, 0, 5, EV_CLEAR);
	EXPECT_EQ(0, change_all(self->kq, 0, bell, 0, 0, 3, NULL));
	ASSERT_EQ(3, poll_events(self->kq, self->ev, 16));
	for (i = 0; i < 3; i++)
		EXPECT_EVENT(self->ev[i], i, 0, 3, EV_CLEAR);
	/* One in the middle goes. */
	EXPECT_EQ(0, change(self->kq, 1, bell, EV_DELETE));
	EXPECT_EQ(0, change_all(self->kq, 2, bell, 0, 0, 4, NULL));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 16));
	EXPECT_EVENT(self->ev[0], 0, 0, 4, EV_CLEAR);
	EXPECT_EVENT(self->ev[1], 2, 0, 4, EV_CLEAR);
	EXPECT_EQ(0, change(self->kq, 0, bell, EV_DELETE));
	EXPECT_EQ(0, change(self->kq, 2, bell, EV_DELETE));
	EXPECT_TRUE(unloads("bell"));
}

/* The registration of a module that fails to begin goes, and no one could use it. */
TEST_F(kapi, a_module_that_fails_to_begin_leaves_nothing)
{
	ASSERT_EQ(0, unload_module("kntest"));
	EXPECT_EQ(-EINVAL, load("kntest", "fail=1"));
	EXPECT_EQ(-ENOENT, by_name(self->kq, "EVFILT_KNTEST"));
	EXPECT_EQ(self->misuses + 1, misuses());
	EXPECT_EQ(0, load("kntest", ""));
}

/*
 * Descriptors: /dev/ticker.
 */

static int ticker(int ticks)
{
	int fd = open("/dev/ticker", O_RDWR | O_CLOEXEC);
	char text[16];

	snprintf(text, sizeof(text), "%d", ticks);
	if (ticks && write(fd, text, strlen(text)) < 0)
		return -errno;
	return fd;
}

TEST_F(kapi, a_timer_interrupt_makes_events)
{
	int fd = ticker(5), null = open("/dev/null", O_RDWR), total = 0, n;
	char buf[16];

	EXPECT_EQ(-EINVAL, change(self->kq, null, self->ticker, EV_ADD));
	EXPECT_EQ(-EBADF, change(self->kq, 1000, self->ticker, EV_ADD));
	ASSERT_EQ(0, change(self->kq, fd, self->ticker, EV_ADD));
	while (total < 5) {
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
		EXPECT_EQ((uintptr_t)fd, self->ev[0].ident);
		EXPECT_LE(1, self->ev[0].data);
		n = read(fd, buf, sizeof(buf));
		ASSERT_LE(self->ev[0].data, n);
		total += n;
	}
	EXPECT_EQ(5, total);
	EXPECT_EQ(0, pending(self->kq));
	close(fd);
	close(null);
}

/* Each tick is told of, however fast they come, and a waiter is woken. */
TEST_F(kapi, no_wake_up_from_an_interrupt_is_lost)
{
	int fd = ticker(0), total = 0, n;
	char buf[512];

	ASSERT_EQ(0, change(self->kq, fd, self->ticker, EV_ADD | EV_CLEAR));
	ASSERT_EQ(3, write(fd, "300", 3));
	while (total < 300) {
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
		n = read(fd, buf, sizeof(buf));
		total += n > 0 ? n : 0;
	}
	close(fd);
}

/* f_detach sleeps, and a close does not: it is put off, to the end of the close. */
TEST_F(kapi, a_close_takes_the_knotes_along)
{
	int fd = ticker(0), again;
	pid_t pid;

	ASSERT_EQ(0, change(self->kq, fd, self->ticker, EV_ADD));
	again = dup(fd);
	ASSERT_EQ(0, change(self->kq, again, self->ticker, EV_ADD));
	EXPECT_EQ(2, knotes(self->kq));
	close(fd);
	EXPECT_EQ(1, knotes(self->kq));
	ASSERT_EQ(STDERR_FILENO, dup2(STDERR_FILENO, STDERR_FILENO));
	ASSERT_EQ(again, dup2(self->kq, again));
	EXPECT_EQ(0, knotes(self->kq));
	close(again);
	/* All is over when the call has returned. */
	EXPECT_EQ(0, unload_module("ticker"));
	EXPECT_EQ(0, load("ticker", ""));
	self->ticker = by_name(self->kq, "EVFILT_TICKER");

	fd = ticker(0);
	ASSERT_EQ(0, change(self->kq, fd, self->ticker, EV_ADD));
	ASSERT_EQ(0, syscall(SYS_close_range, fd, fd, 0));
	EXPECT_EQ(0, knotes(self->kq));
	EXPECT_EQ(0, unload_module("ticker"));
	EXPECT_EQ(0, load("ticker", ""));

	pid = fork();
	if (!pid) {
		int kq = kqueue(), filter = by_name(kq, "EVFILT_TICKER");

		fd = ticker(1000);
		CHILD_CHECK(!change(kq, fd, filter, EV_ADD));
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
	EXPECT_TRUE(unloads("ticker"));
	EXPECT_EQ(0, load("ticker", ""));
}

static void *scan(void *arg)
{
	struct kevent ev[8];

	while (!stop)
		poll_events(*(int *)arg, ev, 8);
	return NULL;
}

/* Two may end one knote: who delivers its last event, and who closes its file. */
TEST_F(kapi, a_close_against_the_last_delivery)
{
	pthread_t threads[2];
	int fd, i, ready = ticker(1000);

	ASSERT_LE(0, ready);
	stop = false;
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, scan, &self->kq));
	for (i = 0; i < 2000; i++) {
		fd = dup(ready);
		ASSERT_EQ(0, change(self->kq, fd, self->ticker, EV_ADD | EV_ONESHOT));
		if (i & 1)
			change(self->kq, fd, self->ticker, EV_DELETE);
		close(fd);
	}
	stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, knotes(self->kq));
	close(ready);
}

/*
 * Lists, with each kind of lock.
 */

FIXTURE(knlist) {
	int kq, kntest, misuses;
	struct kevent ev[16];
};

FIXTURE_VARIANT(knlist) {
	int list;
	bool has_owner;	/* the module itself can take the lock */
};

FIXTURE_VARIANT_ADD(knlist, spin) { 0, true };
FIXTURE_VARIANT_ADD(knlist, mutex) { 1, true };
FIXTURE_VARIANT_ADD(knlist, functions) { 2, true };
FIXTURE_VARIANT_ADD(knlist, shared) { 3, false };

FIXTURE_SETUP(knlist)
{
	if (access(modules(), F_OK))
		SKIP(return, "MODULES does not say where the modules are");
	ASSERT_EQ(0, load("kntest", ""));
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->kntest = by_name(self->kq, "EVFILT_KNTEST");
	self->misuses = misuses();
}

FIXTURE_TEARDOWN(knlist)
{
	close(self->kq);
	EXPECT_EQ(self->misuses, misuses());
	EXPECT_TRUE(unloads("kntest"));
}

#define ADD(flags, fflags) \
	change_all(self->kq, variant->list, self->kntest, EV_ADD | (flags), fflags, 0, NULL)
#define LIST(verb, hint)	command("%s %d %d", verb, variant->list, hint)

TEST_F(knlist, what_is_told_is_delivered)
{
	ASSERT_EQ(0, ADD(0, 4));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, LIST("tell", 3));
	/* f_event says so for as long as it is so. */
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
		EXPECT_EVENT(self->ev[0], variant->list, 4, 3, 0);
	}
	if (variant->has_owner) {
		EXPECT_EQ(0, LIST("tell_locked", 2));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
		EXPECT_EQ(5, self->ev[0].data);
	}
	EXPECT_EQ(-EBUSY, LIST("empty", 0));
	EXPECT_EQ(0, change(self->kq, variant->list, self->kntest, EV_DELETE));
	EXPECT_EQ(0, LIST("empty", 0));
	EXPECT_EQ(1, detached());
	EXPECT_EQ(0, LIST("tell", 3));
	EXPECT_EQ(0, pending(self->kq));
}

/* EV_CLEAR that the program asks for, and that the filter does. */
TEST_F(knlist, clear_begins_anew)
{
	for (int own = 0; own < 2; own++) {
		ASSERT_EQ(0, ADD(own ? 0 : EV_CLEAR, own));
		EXPECT_EQ(0, LIST("tell", 3));
		EXPECT_EQ(0, LIST("tell", 4));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
		EXPECT_EVENT(self->ev[0], variant->list, own, 7, EV_CLEAR);
		EXPECT_EQ(0, pending(self->kq));
		EXPECT_EQ(0, LIST("tell", 1));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
		EXPECT_EQ(1, self->ev[0].data);
		ASSERT_EQ(0, change(self->kq, variant->list, self->kntest, EV_DELETE));
	}
}

/* What was delivered with the one or the other is not pending still. */
TEST_F(knlist, clear_leaves_nothing_to_poll_for)
{
	for (int own = 0; own < 2; own++) {
		for (int room = 1; room <= 2; room++) {
			struct pollfd polled = { .fd = self->kq, .events = POLLIN };

			ASSERT_EQ(0, ADD(own ? 0 : EV_CLEAR, own));
			EXPECT_EQ(0, LIST("tell", 3));
			EXPECT_EQ(1, poll(&polled, 1, 0));
			/* Alone, or with another one that is ready. */
			if (room == 2)
				ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_ONESHOT,
							NOTE_TRIGGER, 0, NULL));
			EXPECT_EQ(room, poll_events(self->kq, self->ev, room));
			EXPECT_EQ(0, poll(&polled, 1, 0));
			ASSERT_EQ(0, change(self->kq, variant->list, self->kntest, EV_DELETE));
		}
	}
}

TEST_F(knlist, what_is_disabled_collects)
{
	ASSERT_EQ(0, ADD(EV_CLEAR | EV_DISABLE, 0));
	EXPECT_EQ(0, LIST("tell", 3));
	EXPECT_EQ(0, LIST("tell", 3));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, change(self->kq, variant->list, self->kntest, EV_ENABLE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(6, self->ev[0].data);
}

TEST_F(knlist, a_change_replaces_what_is_asked_for)
{
	ASSERT_EQ(0, ADD(EV_CLEAR, 4));
	ASSERT_EQ(0, ADD(EV_CLEAR, 8));
	EXPECT_EQ(0, LIST("tell", 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(8, self->ev[0].fflags);
	EXPECT_EQ(1, attached());
}

TEST_F(knlist, clear_delivers_a_last_event)
{
	const char *verbs[] = { "clear", "clear_locked" };

	for (int i = 0; i < 1 + variant->has_owner; i++) {
		ASSERT_EQ(0, ADD(0, 2));
		EXPECT_EQ(0, LIST(verbs[i], 0));
		EXPECT_EQ(0, LIST("empty", 0));
		EXPECT_EQ(i, detached());
		/* Told no more. */
		EXPECT_EQ(0, LIST("tell", 5));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
		/* With what f_event has found last. */
		EXPECT_EVENT(self->ev[0], variant->list, 2, 0,
			     EV_ONESHOT | EV_EOF);
		EXPECT_EQ(i + 1, detached());
		EXPECT_EQ(0, knotes(self->kq));
	}
}

TEST_F(knlist, delete_delivers_nothing)
{
	const char *verbs[] = { "delete", "delete_locked" };

	for (int i = 0; i < 1 + variant->has_owner; i++) {
		ASSERT_EQ(0, ADD(0, 0));
		EXPECT_EQ(0, LIST("tell", 5));
		EXPECT_EQ(0, LIST(verbs[i], 0));
		EXPECT_EQ(0, LIST("empty", 0));
		EXPECT_EQ(0, pending(self->kq));
		/* One that is registered now is another one, and stays. */
		ASSERT_EQ(0, ADD(0, 0));
		EXPECT_TRUE(EVENTUALLY(knotes(self->kq) == 1));
		EXPECT_EQ(0, LIST("tell", 6));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
		EXPECT_EQ(6, self->ev[0].data);
		EXPECT_EQ(i, detached());
		EXPECT_EQ(0, change(self->kq, variant->list, self->kntest, EV_DELETE));
		EXPECT_EQ(i + 1, detached());
	}
}

TEST_F(knlist, a_knote_can_be_taken_off_while_it_is_told)
{
	ASSERT_EQ(0, ADD(0, 0));
	EXPECT_EQ(0, LIST("tell", 5));
	EXPECT_EQ(0, LIST("tell", -1));
	EXPECT_EQ(0, LIST("empty", 0));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, change(self->kq, variant->list, self->kntest, EV_DELETE));
	EXPECT_EQ(0, detached());
}

TEST_F(knlist, all_on_a_list_are_told)
{
	int n, sum = 0;

	for (n = 0; n < 100; n++)
		ASSERT_EQ(0, change_all(self->kq, variant->list, self->kntest,
					EV_ADD | EV_CLEAR | EV_UDATA_SPECIFIC,
					0, 0, (void *)(uintptr_t)n));
	EXPECT_EQ(0, LIST("tell", 1));
	while ((n = poll_events(self->kq, self->ev, 16)) > 0)
		sum += n;
	EXPECT_EQ(100, sum);
}

TEST_F(knlist, there_is_a_limit_to_a_list)
{
	int n, ret = 0;

	for (n = 0; n < 2000 && !ret; n++)
		ret = change_all(self->kq, variant->list, self->kntest,
				 EV_ADD | EV_UDATA_SPECIFIC, 0, 0,
				 (void *)(uintptr_t)n);
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_EQ(1025, n);
	EXPECT_EQ(1, detached());
	EXPECT_EQ(1024, knotes(self->kq));
	EXPECT_EQ(0, LIST("tell", 1));
	EXPECT_EQ(1, poll_events(self->kq, self->ev, 1));
	/* With one less there is room for one. */
	EXPECT_EQ(0, change_all(self->kq, variant->list, self->kntest,
				EV_DELETE | EV_UDATA_SPECIFIC, 0, 0, NULL));
	EXPECT_EQ(0, ADD(0, 0));
}

/*
 * Objects that go while their knotes are used, told, and deleted.
 */

struct user {
	int list, kntest;
	/* What has gone wrong first, and in which call. */
	int add, scan, delete, tell;
};

#define NOTE(place, error)	((place) = (place) ?: (error))

static void *use(void *arg)
{
	struct user *u = arg;
	struct kevent ev[4];
	int kq = kqueue(), n, i;

	for (i = 0; !stop; i++) {
		/* One that was cleared may be there, and so be changed. */
		NOTE(u->add, change(kq, u->list, u->kntest,
				    EV_ADD | (i & 1 ? EV_CLEAR : 0)));
		/* Those that were cleared are there until they are delivered. */
		n = poll_events(kq, ev, 4);
		if (n < 0)
			NOTE(u->scan, n);
		if (i & 2) {
			n = change(kq, u->list, u->kntest, EV_DELETE);
			if (n != -ENOENT)
				NOTE(u->delete, n);
		}
		if (!(i & 63)) {
			close(kq);
			kq = kqueue();
		}
	}
	close(kq);
	return NULL;
}

static void *tell(void *arg)
{
	struct user *u = arg;

	while (!stop)
		NOTE(u->tell, command("tell %d 1", u->list));
	return NULL;
}

TEST_F(knlist, an_object_may_go_at_any_time)
{
	static const char *verbs[] = { "destroy", "clear", "delete", "tell" };
	struct user u[3] = { };
	pthread_t thread[3];
	int i;

	stop = false;
	for (i = 0; i < 3; i++) {
		u[i].list = variant->list;
		u[i].kntest = self->kntest;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, use, &u[i]));
	}
	for (i = 0; i < 500; i++)
		ASSERT_EQ(0, LIST(verbs[i % 4], 1));
	stop = true;
	for (i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, u[i].add);
		EXPECT_EQ(0, u[i].scan);
		EXPECT_EQ(0, u[i].delete);
		EXPECT_EQ(0, u[i].tell);
	}
}

TEST_F(knlist, who_tells_may_do_so_at_any_time)
{
	static const char *verbs[] = { "clear", "delete", "clear_locked",
				       "delete_locked" };
	int i, n = variant->has_owner ? 4 : 2;
	struct user u[3] = { };
	pthread_t thread[3];

	stop = false;
	for (i = 0; i < 3; i++) {
		u[i].list = variant->list;
		u[i].kntest = self->kntest;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, i ? use : tell, &u[i]));
	}
	for (i = 0; i < 500; i++)
		ASSERT_EQ(0, LIST(verbs[i % n], 0));
	stop = true;
	for (i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, u[i].add);
		EXPECT_EQ(0, u[i].scan);
		EXPECT_EQ(0, u[i].delete);
		EXPECT_EQ(0, u[i].tell);
	}
}

/* Each time something is used, and something is left for the unloading. */
TEST(the_modules_come_and_go)
{
	int rounds = atoi(getenv("MODULE_ROUNDS") ?: "100"), i, kq, fd;
	struct kevent ev[2];

	if (access(modules(), F_OK))
		SKIP(return, "MODULES does not say where the modules are");
	kq = kqueue();
	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(0, load("ticker", ""));
		ASSERT_EQ(0, load("tally", ""));
		fd = ticker(2);
		ASSERT_EQ(0, change(kq, fd, by_name(kq, "EVFILT_TICKER"), EV_ADD));
		ASSERT_EQ(1, wait_events(kq, ev, 2));
		EXPECT_EQ((uintptr_t)fd, ev[0].ident);
		ASSERT_EQ(0, change(kq, 1, by_name(kq, "EVFILT_TALLY"), EV_ADD));
		/* The ticks are not read. */
		ASSERT_EQ(2, wait_events(kq, ev, 2));
		close(fd);
		ASSERT_EQ(0, change(kq, 1, by_name(kq, "EVFILT_TALLY"), EV_DELETE));
		ASSERT_EQ(0, unload_module("tally"));
		ASSERT_EQ(0, unload_module("ticker"));
		ASSERT_EQ(0, pending(kq));
	}
	close(kq);
}

TEST_HARNESS_MAIN
