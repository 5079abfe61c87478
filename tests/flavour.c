// SPDX-License-Identifier: GPL-2.0
/*
 * Where the BSDs differ, a kqueue is as the one it was made for.
 */
#include "kqtest.h"

/* What KQUEUE_AS_... makes of kqueue(), in one program. */
int kqueue_as_freebsd(void);
int kqueue_as_netbsd(void);
int kqueue_as_macos(void);

FIXTURE(flavour) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_VARIANT(flavour) {
	int (*make)(void);
	unsigned int number;
	const char *name;
	bool replaces;	/* a change without EV_ADD replaces udata and data */
};

FIXTURE_VARIANT_ADD(flavour, openbsd) {
	.make = kqueue, .number = KQUEUE_FLAVOUR_OPENBSD,
	.name = "openbsd", .replaces = false,
};

FIXTURE_VARIANT_ADD(flavour, freebsd) {
	.make = kqueue_as_freebsd, .number = KQUEUE_FLAVOUR_FREEBSD,
	.name = "freebsd", .replaces = true,
};

FIXTURE_VARIANT_ADD(flavour, netbsd) {
	.make = kqueue_as_netbsd, .number = KQUEUE_FLAVOUR_NETBSD,
	.name = "netbsd", .replaces = true,
};

FIXTURE_VARIANT_ADD(flavour, macos) {
	.make = kqueue_as_macos, .number = KQUEUE_FLAVOUR_MACOS,
	.name = "macos", .replaces = true,
};

FIXTURE_SETUP(flavour)
{
	self->kq = variant->make();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(flavour)
{
	close(self->kq);
}

/* Whether fdinfo gives the kqueue this flavour. */
static bool is_of(int kq, const char *name)
{
	char path[64], line[64] = "", want[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", kq);
	snprintf(want, sizeof(want), "flavour:\t%s\n", name);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file) && strcmp(line, want))
		;
	if (file)
		fclose(file);
	return !strcmp(line, want);
}

TEST_F(flavour, is_told_by_fdinfo)
{
	EXPECT_TRUE(is_of(self->kq, variant->name));
}

TEST_F(flavour, can_be_chosen_when_created)
{
	struct kqueue_create args = { .flavour = variant->number };
	int kq = kqueue_ioctl(self->kq, KQUEUE_IOC_CREATE, &args);

	ASSERT_LE(0, kq);
	EXPECT_TRUE(is_of(kq, variant->name));
	close(kq);
}

TEST_F(flavour, cannot_be_changed_while_there_are_knotes)
{
	__u32 other = KQUEUE_FLAVOUR_FREEBSD;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	EXPECT_EQ(-EBUSY, kqueue_ioctl(self->kq, KQUEUE_IOC_FLAVOUR, &other));
	EXPECT_TRUE(is_of(self->kq, variant->name));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(0, kqueue_ioctl(self->kq, KQUEUE_IOC_FLAVOUR, &other));
	EXPECT_TRUE(is_of(self->kq, "freebsd"));
}

TEST_F(flavour, that_is_none_is_refused)
{
	__u32 none[] = { KQUEUE_FLAVOUR_MACOS + 1, 0x80000000, ~0U };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(none); i++) {
		EXPECT_EQ(-EINVAL, kqueue_ioctl(self->kq, KQUEUE_IOC_FLAVOUR,
						&none[i]));
	}
	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KQUEUE_IOC_FLAVOUR, NULL));
	EXPECT_TRUE(is_of(self->kq, variant->name));
}

TEST_F(flavour, udata_on_a_change_without_add)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, 0, 0,
				(void *)0x11));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0,
				(void *)0x22));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(variant->replaces ? (void *)0x22 : (void *)0x11,
		  self->ev[0].udata);
}

TEST_F(flavour, udata_with_keepudata_is_kept)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, 0, 0,
				(void *)0x11));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_KEEPUDATA,
				NOTE_TRIGGER, 0, (void *)0x22));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ((void *)0x11, self->ev[0].udata);
}

TEST_F(flavour, keepudata_with_add_is_einval)
{
	EXPECT_EQ(-EINVAL, change(self->kq, 1, EVFILT_USER,
				  EV_ADD | EV_KEEPUDATA));
	EXPECT_EQ(-ENOENT, change(self->kq, 1, EVFILT_USER, EV_DELETE));
}

TEST_F(flavour, user_data_on_a_change_without_add)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, 0, 11, NULL));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 22,
				NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(variant->replaces ? 22 : 11, self->ev[0].data);
}

TEST_F(flavour, user_clear_in_a_change_takes_the_trigger_back)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER,
				11, NULL));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_CLEAR, 0, 22, NULL));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(flavour, user_clear_in_a_change_and_data)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER,
				11, NULL));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_CLEAR, 0, 22, NULL));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 33,
				NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(variant->replaces ? 33 : 0, self->ev[0].data);
}

TEST_F(flavour, user_flags_after_a_delivery_with_clear)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER | NOTE_FFCOPY | 5, 0, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(5, self->ev[0].fflags);
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	/* OpenBSD clears them, the others have them until they are changed. */
	EXPECT_EQ(variant->replaces ? 5 : 0, self->ev[0].fflags);
}

TEST_F(flavour, timer_of_0_is_one_unit)
{
	double start = now();

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
				NOTE_SECONDS, 0, NULL));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_LE(1, now() - start);
}

TEST_F(flavour, data_of_an_exit_is_the_status_but_in_macos)
{
	const bool macos = variant->number == KQUEUE_FLAVOUR_MACOS;
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(5);
	ASSERT_EQ(0, change_all(self->kq, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
				NULL));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(macos ? 0 : status, self->ev[0].data);
}

TEST_HARNESS_MAIN
