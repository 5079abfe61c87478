// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing of the kernel's memory is seen in what it writes: all of that is filled
 * before, and looked through after.
 */
#include "kqtest.h"

#include <ctype.h>
#include <regex.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const struct timespec zero;

#define FILL	0xa5

static bool is_filled(const void *from, size_t len)
{
	const unsigned char *byte = from;

	while (len && *byte == FILL)
		byte++, len--;
	return !len;
}

/* What an allocator that watches for mistakes fills memory with, or an address
 * of the kernel's.
 */
static bool is_suspicious(uint64_t value)
{
	static const unsigned char poison[] = { 0x6b, 0x5a, 0xa5, 0xaa, 0xbb, 0xcc };
	unsigned int half = value;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(poison); i++) {
		if (half == poison[i] * 0x01010101U)
			return true;
	}
	return value >> 47 == 0x1ffff && value < -4096ULL;
}

FIXTURE(curious) {
	int kq;
	int inner;
	int pipe[2], sock[2];
	int file, event;
	pid_t child;
	struct kevent *ev;
};

FIXTURE_SETUP(curious)
{
	char path[] = "/tmp/curious.XXXXXX";

	self->kq = kqueue();
	self->inner = kqueue();
	ASSERT_LE(0, self->inner);
	ASSERT_EQ(0, pipe(self->pipe));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sock));
	self->file = mkstemp(path);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, unlink(path));
	self->event = eventfd(1, 0);
	ASSERT_LE(0, self->event);
	self->child = fork();
	if (!self->child)
		_exit(3);
	ASSERT_LT(0, self->child);
	self->ev = malloc(64 * sizeof(self->ev[0]));
	ASSERT_NE(NULL, self->ev);
	memset(self->ev, FILL, 64 * sizeof(self->ev[0]));
}

FIXTURE_TEARDOWN(curious)
{
	reap(self->child);
	free(self->ev);
}

#define UDATA	((void *)0x1234)

/* One of each kind, all of which have happened, and what each is to say. */
static int make_all(FIXTURE_DATA(curious) *self, struct kevent *expected)
{
	struct kevent *e = expected;
	int i;

	EV_SET(e++, 7, EVFILT_USER, EV_ADD, NOTE_TRIGGER | 0x5, 9, UDATA);
	EV_SET(e++, 7, EVFILT_TIMER, EV_ADD, NOTE_ABSTIME, 1, UDATA);
	EV_SET(e++, SIGWINCH, EVFILT_SIGNAL, EV_ADD, 0, 0, UDATA);
	EV_SET(e++, self->file, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_ATTRIB, 0, UDATA);
	EV_SET(e++, self->child, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, UDATA);
	EV_SET(e++, self->pipe[0], EVFILT_READ, EV_ADD, 0, 0, UDATA);
	EV_SET(e++, self->pipe[1], EVFILT_WRITE, EV_ADD, 0, 0, UDATA);
	EV_SET(e++, self->sock[0], EVFILT_READ, EV_ADD, 0, 0, UDATA);
	EV_SET(e++, self->file, EVFILT_READ, EV_ADD, NOTE_FILE_POLL, 0, UDATA);
	EV_SET(e++, self->file, EVFILT_WRITE, EV_ADD, 0, 0, UDATA);
	EV_SET(e++, self->event, EVFILT_READ, EV_ADD, 0, 0, UDATA);
	EV_SET(e++, self->inner, EVFILT_READ, EV_ADD, 0, 0, UDATA);
	if (change_all(self->inner, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL) ||
	    kev(self->kq, expected, e - expected, NULL, 0, NULL) ||
	    write(self->pipe[1], "abc", 3) != 3 ||
	    write(self->sock[1], "abcd", 4) != 4 ||
	    fchmod(self->file, 0600) || kill(getpid(), SIGWINCH))
		return -1;
	for (i = 0; i < e - expected; i++) {
		expected[i].flags &= ~EV_ADD;
		expected[i].fflags = 0;
		expected[i].data = 0;
	}
	expected[0].fflags = 0x5;
	expected[0].data = 9;
	expected[1].flags = EV_CLEAR;
	expected[1].data = 1;
	expected[2].flags = EV_CLEAR;
	expected[2].data = 1;
	expected[3].fflags = NOTE_ATTRIB;
	expected[4].flags = EV_CLEAR | EV_EOF | EV_ONESHOT;
	expected[4].fflags = NOTE_EXIT;
	expected[4].data = 3 << 8;
	expected[5].data = 3;
	expected[6].data = 15 * 4096;
	expected[7].data = 4;
	expected[10].data = 1;
	expected[11].data = 1;
	return e - expected;
}

static bool has_event(const struct kevent *events, int n, const struct kevent *ev)
{
	int i;

	for (i = 0; i < n && memcmp(&events[i], ev, sizeof(*ev)); i++)
		;
	return i < n;
}

TEST_F(curious, of_an_event_every_byte_is_told_and_none_behind_the_last)
{
	struct kevent expected[16];
	int n = make_all(self, expected), i;

	ASSERT_LT(0, n);
	ASSERT_TRUE(EVENTUALLY(waitid(P_PID, self->child, NULL,
				      WEXITED | WNOWAIT) == 0));
	ASSERT_EQ(n, poll_events(self->kq, self->ev, 64));
	for (i = 0; i < n; i++) {
		EXPECT_TRUE(has_event(self->ev, n, &expected[i])) {
			TH_LOG("filter %d: flags %#x fflags %#x data %lld",
			       self->ev[i].filter, self->ev[i].flags,
			       self->ev[i].fflags, (long long)self->ev[i].data);
		}
	}
	EXPECT_TRUE(is_filled(&self->ev[n], (64 - n) * sizeof(self->ev[0])));
}

TEST_F(curious, answer_to_a_change_is_the_change_and_its_error)
{
	struct kevent changes[3];
	int i;

	EV_SET(&changes[0], ~0UL, EVFILT_USER, EV_DELETE, ~0U, -1, (void *)-1L);
	EV_SET(&changes[1], 1, -200, EV_ADD, 0, 0, NULL);
	EV_SET(&changes[2], 5, EVFILT_USER, EV_ADD | EV_RECEIPT, 3, 4, UDATA);
	ASSERT_EQ(3, kev(self->kq, changes, 3, self->ev, 64, &zero));
	for (i = 0; i < 3; i++)
		changes[i].flags = EV_ERROR;
	changes[0].data = ENOENT;
	changes[1].data = EINVAL;
	changes[2].data = 0;
	EXPECT_EQ(0, memcmp(changes, self->ev, sizeof(changes)));
	EXPECT_TRUE(is_filled(&self->ev[3], 61 * sizeof(self->ev[0])));
}

/* An argument, with more around it than it needs. */
struct argument {
	unsigned char before[64];
	union {
		struct kqueue_kevent kevent;
		struct kqueue_create create;
		struct kfilter_mapping mapping;
		__u32 flavour;
	};
	unsigned char after[64];
};

TEST_F(curious, arguments_are_not_written_to_but_for_what_is_asked)
{
	static const char read_name[KFILTER_MAXNAME] = "EVFILT_READ";
	struct argument arg, before;
	char name[2 * KFILTER_MAXNAME];
	int fd;

	memset(&arg, FILL, sizeof(arg));
	arg.kevent = (struct kqueue_kevent){ .timeout = (uintptr_t)&zero };
	before = arg;
	ASSERT_EQ(0, kqueue_ioctl(self->kq, KQUEUE_IOC_KEVENT, &arg.kevent));
	EXPECT_EQ(0, memcmp(&before, &arg, sizeof(arg)));

	memset(&arg, FILL, sizeof(arg));
	arg.create = (struct kqueue_create){ .flags = KQUEUE_CLOEXEC };
	before = arg;
	fd = kqueue_ioctl(self->kq, KQUEUE_IOC_CREATE, &arg.create);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, memcmp(&before, &arg, sizeof(arg)));

	memset(&arg, FILL, sizeof(arg));
	arg.flavour = KQUEUE_FLAVOUR_NETBSD;
	before = arg;
	ASSERT_EQ(0, kqueue_ioctl(fd, KQUEUE_IOC_FLAVOUR, &arg.flavour));
	EXPECT_EQ(0, memcmp(&before, &arg, sizeof(arg)));

	/* Of the padding behind it, too, nothing. */
	memset(&arg, FILL, sizeof(arg));
	arg.mapping.name = (char *)read_name;
	before = arg;
	ASSERT_EQ(0, kqueue_ioctl(self->kq, KFILTER_BYNAME, &arg.mapping));
	before.mapping.filter = EVFILT_READ;
	EXPECT_EQ(0, memcmp(&before, &arg, sizeof(arg)));

	memset(&arg, FILL, sizeof(arg));
	memset(name, FILL, sizeof(name));
	arg.mapping.name = name;
	arg.mapping.len = sizeof(name);
	arg.mapping.filter = EVFILT_READ;
	before = arg;
	ASSERT_EQ(0, kqueue_ioctl(self->kq, KFILTER_BYFILTER, &arg.mapping));
	EXPECT_EQ(0, memcmp(&before, &arg, sizeof(arg)));
	EXPECT_STREQ(read_name, name);
	EXPECT_TRUE(is_filled(name + sizeof("EVFILT_READ"),
			      sizeof(name) - sizeof("EVFILT_READ")));
}

/* Whether all numbers in a line, be they hex or not, are above suspicion. */
static bool has_clean_numbers(const char *line)
{
	const char *p = line;
	char *end;

	while (*p) {
		if (!isdigit(*p)) {
			p++;
			continue;
		}
		if (is_suspicious(strtoull(p, &end, 0)))
			return false;
		p = end;
	}
	return true;
}

TEST_F(curious, fdinfo_has_what_was_asked_for_and_nothing_else)
{
	static const char knote[] =
		"^knote:\t[0-9]+ EVFILT_[A-Z]+ flags 0x[0-9a-f]+ "
		"fflags 0x[0-9a-f]+ data -?[0-9]+ udata 0x1234 status"
		"( (active|queued|disabled))*\n$";
	static const char other[] =
		"^(pos:\t0|flags:\t[0-7]+|mnt_id:\t[0-9]+|ino:\t[0-9]+|"
		"flavour:\topenbsd|knotes:\t12|pending:\t[0-9]+)\n$";
	struct kevent expected[16];
	char path[64], line[256];
	regex_t is_knote, is_other;
	int lines = 0;
	FILE *f;

	ASSERT_EQ(12, make_all(self, expected));
	ASSERT_EQ(0, regcomp(&is_knote, knote, REG_EXTENDED | REG_NOSUB));
	ASSERT_EQ(0, regcomp(&is_other, other, REG_EXTENDED | REG_NOSUB));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->kq);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		bool one = !regexec(&is_knote, line, 0, NULL, 0);

		EXPECT_TRUE(one || !regexec(&is_other, line, 0, NULL, 0))
			TH_LOG("%s", line);
		EXPECT_TRUE(has_clean_numbers(line))
			TH_LOG("%s", line);
		lines += one;
	}
	EXPECT_EQ(12, lines);
	fclose(f);
}

TEST_HARNESS_MAIN
