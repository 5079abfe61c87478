// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/PID/fdinfo/FD of a kqueue.
 */
#include "kqtest.h"

FIXTURE(fdinfo) {
	int kq;
	char text[1 << 16];
};

FIXTURE_SETUP(fdinfo)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(fdinfo)
{
	close(self->kq);
}

/* Reads it all; the number of lines that begin with what. */
static int lines(int kq, char *text, size_t size, const char *what)
{
	char path[64], *line;
	size_t len = 0;
	ssize_t n;
	int fd, count = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", kq);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	text[len] = '\0';
	for (line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		count += !strncmp(line, what, strlen(what));
	}
	return count;
}

TEST_F(fdinfo, tells_the_flavour)
{
	EXPECT_EQ(1, lines(self->kq, self->text, sizeof(self->text),
			   "flavour:\topenbsd"));
}

TEST_F(fdinfo, counts_knotes_and_pending_events)
{
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_EQ(0, change(self->kq, 2, EVFILT_USER, EV_ADD));
	ASSERT_EQ(0, trigger(self->kq, 2));
	EXPECT_EQ(1, lines(self->kq, self->text, sizeof(self->text), "knotes:\t2\n"));
	EXPECT_EQ(1, lines(self->kq, self->text, sizeof(self->text), "pending:\t1\n"));
	EXPECT_EQ(2, lines(self->kq, self->text, sizeof(self->text), "knote:"));
}

TEST_F(fdinfo, has_a_line_for_a_knote)
{
	ASSERT_EQ(0, change_all(self->kq, 77, EVFILT_USER,
				EV_ADD | EV_CLEAR | EV_DISABLE,
				NOTE_TRIGGER | 5, -3, (void *)0xabc));
	EXPECT_EQ(1, lines(self->kq, self->text, sizeof(self->text),
			   "knote:\t77 EVFILT_USER flags 0x20 fflags 0x5 "
			   "data -3 udata 0xabc status active disabled\n"));
	ASSERT_EQ(0, change(self->kq, 77, EVFILT_USER, EV_ENABLE));
	EXPECT_EQ(1, lines(self->kq, self->text, sizeof(self->text),
			   "knote:\t77 EVFILT_USER flags 0x20 fflags 0x5 "
			   "data -3 udata 0xabc status active queued\n"));
}

TEST_F(fdinfo, shows_all_of_many)
{
	int i;

	for (i = 0; i < 500; i++) {
		ASSERT_EQ(0, change(self->kq, i, EVFILT_USER, EV_ADD));
	}
	EXPECT_EQ(500, lines(self->kq, self->text, sizeof(self->text), "knote:"));
}

static atomic_bool stop;

static void *exchange(void *arg)
{
	int kq = *(int *)arg, i;

	for (i = 0; !stop; i = (i + 1) % 100) {
		change(kq, i, EVFILT_USER, EV_ADD);
		trigger(kq, i);
		change(kq, i, EVFILT_USER, EV_DELETE);
	}
	return NULL;
}

TEST_F(fdinfo, while_knotes_come_and_go)
{
	pthread_t thread;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, exchange, &self->kq));
	for (i = 0; i < 500; i++) {
		/* One at a time is there, though not the same for long. */
		EXPECT_GE(100, lines(self->kq, self->text, sizeof(self->text),
				     "knote:"));
	}
	stop = true;
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

TEST_HARNESS_MAIN
