// SPDX-License-Identifier: GPL-2.0
/*
 * Bad addresses and bad counts. The lists are laid so that element k is the
 * first that cannot be reached, for every k over a few of whatever batches the
 * kernel copies in.
 */
#include "kqtest.h"

#include <poll.h>

#define MOST	40

static const struct timespec zero;

FIXTURE(faults) {
	int kq;
	size_t page;
	char *good;	/* a page, */
	char *none;	/* and behind it one that cannot be reached */
	struct kevent ev[64];
};

FIXTURE_SETUP(faults)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->page = sysconf(_SC_PAGESIZE);
	self->good = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->good);
	self->none = self->good + self->page;
	ASSERT_EQ(0, mprotect(self->none, self->page, PROT_NONE));
}

FIXTURE_TEARDOWN(faults)
{
	close(self->kq);
}

/*
 * A list of which k elements can be reached, and of the next as many bytes as
 * "part" says. Not all of these are aligned, which is as good as any other.
 */
static struct kevent *list_of(char *none, int k, size_t part)
{
	return (struct kevent *)(none - k * sizeof(struct kevent) - part);
}

/* Bytes of the element at the fault that can be reached. */
static const size_t parts[] = { 0, 1, 8, 16, sizeof(struct kevent) - 1 };

/* What no address range of the program's has, in every way there is. */
static void *bad_address(int i)
{
	static const uintptr_t address[] = {
		0, 8, 4096, -4096UL, -32UL, -1UL,
#if LONG_MAX > INT_MAX
		0x7ffffffff000, 0x7fffffffffe0, 0x800000000000,
		0x8000000000000000, 0xffff800000000000, 0xffffffff81000000,
#endif
	};

	return i < (int)ARRAY_SIZE(address) ? (void *)address[i] : MAP_FAILED;
}

#define BAD_ADDRESSES	12

/*
 * The change list.
 */

TEST_F(faults, in_the_change_list_at_any_element_is_efault)
{
	struct kevent *ch;
	int i, k, last;
	size_t p;

	for (k = 0; k <= MOST; k++) {
		for (p = 0; p < ARRAY_SIZE(parts); p++) {
			ch = list_of(self->none, k, parts[p]);
			for (i = 0; i < k; i++)
				EV_SET(&ch[i], i, EVFILT_USER, EV_ADD, 0, 0,
				       NULL);
			ASSERT_EQ(-EFAULT, kev(self->kq, ch, k + 1, NULL, 0,
					       NULL));
			ASSERT_EQ(-EFAULT, kev(self->kq, ch, MOST + 20,
					       self->ev, 64, &zero));
			/* Those applied are the first ones, without a gap. */
			for (last = 0; last < k; last++)
				if (change(self->kq, last, EVFILT_USER,
					   EV_DELETE))
					break;
			for (i = last; i < k; i++) {
				ASSERT_EQ(-ENOENT, change(self->kq, i,
							  EVFILT_USER,
							  EV_DELETE));
			}
		}
	}
}

TEST_F(faults, up_to_the_last_byte_of_the_change_list_is_none)
{
	struct kevent *ch;
	int i, k;

	for (k = 1; k <= MOST; k++) {
		ch = list_of(self->none, k, 0);
		for (i = 0; i < k; i++)
			EV_SET(&ch[i], i, EVFILT_USER, EV_ADD, 0, 0, NULL);
		ASSERT_EQ(0, kev(self->kq, ch, k, NULL, 0, NULL));
	}
	for (i = 0; i < MOST; i++) {
		EXPECT_EQ(0, trigger(self->kq, i));
	}
}

TEST_F(faults, in_the_change_list_take_no_event)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(-EFAULT, kev(self->kq, (void *)self->none, 1, self->ev, 64,
			       NULL));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(faults, wild_change_list_is_efault)
{
	int i;

	for (i = 0; i < BAD_ADDRESSES; i++) {
		EXPECT_EQ(-EFAULT, kev(self->kq, bad_address(i), 1, NULL, 0,
				       NULL))
			TH_LOG("address %p", bad_address(i));
		EXPECT_EQ(-EFAULT, kev(self->kq, bad_address(i), 1, self->ev,
				       64, &zero));
	}
}

/*
 * The event list. An event that could not be stored is still pending. What
 * comes of those before it in the list is left open. The call may give them,
 * and then they are delivered, once. Or it fails, and then the program can see
 * them in its list, if it looks, and may find them pending again. That one is
 * in neither place is what must not be. So every event is looked for in the
 * part of the list that can be reached, then in the next call's.
 */

FIXTURE(faults_events) {
	int kq;
	char *good;
	char *none;
	size_t page;
	struct kevent ev[64];
	int fds[MOST][2];
};

FIXTURE_VARIANT(faults_events) {
	int flags;
	bool pipes;
};

FIXTURE_VARIANT_ADD(faults_events, level_triggered_user_events) {
	.flags = 0,
};

FIXTURE_VARIANT_ADD(faults_events, clear_user_events) {
	.flags = EV_CLEAR,
};

FIXTURE_VARIANT_ADD(faults_events, oneshot_user_events) {
	.flags = EV_ONESHOT,
};

FIXTURE_VARIANT_ADD(faults_events, dispatch_user_events) {
	.flags = EV_DISPATCH,
};

FIXTURE_VARIANT_ADD(faults_events, level_triggered_pipes) {
	.flags = 0,
	.pipes = true,
};

FIXTURE_VARIANT_ADD(faults_events, clear_pipes) {
	.flags = EV_CLEAR,
	.pipes = true,
};

FIXTURE_VARIANT_ADD(faults_events, oneshot_pipes) {
	.flags = EV_ONESHOT,
	.pipes = true,
};

FIXTURE_SETUP(faults_events)
{
	int i;

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->page = sysconf(_SC_PAGESIZE);
	self->good = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->good);
	self->none = self->good + self->page;
	ASSERT_EQ(0, mprotect(self->none, self->page, PROT_NONE));
	for (i = 0; i < MOST && variant->pipes; i++) {
		ASSERT_EQ(0, pipe(self->fds[i]));
	}
}

FIXTURE_TEARDOWN(faults_events)
{
	close(self->kq);
}

/* Make n events pending, with i in udata, none left from before. */
static int arm(FIXTURE_DATA(faults_events) *self,
	       const FIXTURE_VARIANT(faults_events) *variant, int n)
{
	char byte;
	int i, ret;

	for (i = 0; i < n; i++) {
		void *udata = (void *)(uintptr_t)i;

		if (variant->pipes) {
			change(self->kq, self->fds[i][0], EVFILT_READ,
			       EV_DELETE);
			if (write(self->fds[i][1], "x", 1) != 1 ||
			    read(self->fds[i][0], &byte, 1) != 1 ||
			    write(self->fds[i][1], "x", 1) != 1)
				return -EIO;
			ret = change_all(self->kq, self->fds[i][0],
					 EVFILT_READ, EV_ADD | variant->flags,
					 0, 0, udata);
		} else {
			change(self->kq, i, EVFILT_USER, EV_DELETE);
			ret = change_all(self->kq, i, EVFILT_USER,
					 EV_ADD | variant->flags, NOTE_TRIGGER,
					 0, udata);
		}
		if (ret)
			return ret;
	}
	return 0;
}

static int disarm(FIXTURE_DATA(faults_events) *self,
		  const FIXTURE_VARIANT(faults_events) *variant, int n)
{
	char byte;
	int i;

	for (i = 0; i < n; i++) {
		if (variant->pipes) {
			change(self->kq, self->fds[i][0], EVFILT_READ,
			       EV_DELETE);
			if (read(self->fds[i][0], &byte, 1) != 1)
				return -EIO;
		} else {
			change(self->kq, i, EVFILT_USER, EV_DELETE);
		}
	}
	return pending(self->kq);
}

/* Which of n events a list of events has; none may be there that was not made. */
static bool collect(bool *seen, const struct kevent *events, int count, int n)
{
	int i;

	for (i = 0; i < count; i++) {
		uintptr_t number = (uintptr_t)events[i].udata;

		if (number >= (uintptr_t)n)
			return false;
		seen[number] = true;
	}
	return true;
}

TEST_F(faults_events, are_not_lost_at_any_element)
{
	int i, k, n, ret, stored, next;
	bool seen[MOST + 1];
	struct kevent *list;
	size_t p;

	for (k = 0; k < MOST; k++) {
		p = k % ARRAY_SIZE(parts);
		n = k + 1 + k % 3 * 5;
		if (n > MOST)
			n = MOST;
		list = list_of(self->none, k, parts[p]);
		memset(self->good, 0xff, self->page);
		ASSERT_EQ(0, arm(self, variant, n));
		ret = kev(self->kq, NULL, 0, list, n, &zero);
		ASSERT_TRUE(ret == -EFAULT || (ret > 0 && ret <= k))
			TH_LOG("%d, at element %d of %d", ret, k, n);

		/* udata of -1 is what memset() left. */
		for (stored = 0; stored < k; stored++)
			if (list[stored].udata == (void *)-1)
				break;
		ASSERT_LE(ret, stored);
		memset(seen, 0, sizeof(seen));
		ASSERT_TRUE(collect(seen, list, stored, n));
		next = poll_events(self->kq, self->ev, 64);
		ASSERT_LT(0, next);
		/* What was delivered is not again, unless it still holds. */
		if (ret > 0 && variant->flags) {
			ASSERT_EQ(n, ret + next);
		}
		ASSERT_TRUE(collect(seen, self->ev, next, n));
		for (i = 0; i < n; i++) {
			ASSERT_TRUE(seen[i])
				TH_LOG("event %d of %d lost, fault at %d", i,
				       n, k);
		}
		ASSERT_EQ(0, disarm(self, variant, n));
	}
}

TEST_F(faults_events, are_pending_to_poll_and_to_another_waiter)
{
	struct pollfd p = { .fd = self->kq, .events = POLLIN };

	ASSERT_EQ(0, arm(self, variant, 1));
	ASSERT_EQ(-EFAULT, kev(self->kq, NULL, 0, (void *)self->none, 1,
			       NULL));
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(faults_events, fit_up_to_the_last_byte_of_the_list)
{
	struct kevent *list;
	int k;

	for (k = 1; k <= MOST; k += 3) {
		list = list_of(self->none, k, 0);
		ASSERT_EQ(0, arm(self, variant, k));
		ASSERT_EQ(k, kev(self->kq, NULL, 0, list, k, &zero));
		ASSERT_EQ(0, disarm(self, variant, k));
	}
}

TEST_F(faults_events, stay_in_their_order)
{
	int i, n = 20;

	ASSERT_EQ(0, arm(self, variant, n));
	ASSERT_EQ(-EFAULT, kev(self->kq, NULL, 0, (void *)self->none, n,
			       &zero));
	ASSERT_EQ(n, poll_events(self->kq, self->ev, 64));
	for (i = 0; i < n; i++) {
		EXPECT_EQ((void *)(uintptr_t)i, self->ev[i].udata);
	}
}

TEST_F(faults, in_the_event_list_leave_the_event_to_another_waiter)
{
	struct waiter bad = { .kq = self->kq, .list = (void *)self->none };
	struct waiter good = { .kq = self->kq };

	/*
	 * Two threads sleep, and the one that is woken cannot store the event.
	 * The other must not sleep on: it was the one wake-up there was.
	 */
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR));
	ASSERT_TRUE(waiter_sleeps(&bad));
	ASSERT_TRUE(waiter_sleeps(&good));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&good));
	/* Unless it was that one that was woken; then it is the other's turn. */
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(-EFAULT, waiter_result(&bad));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(faults, wild_event_list_is_efault_where_there_is_an_event)
{
	int i;

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER, 0, NULL));
	for (i = 0; i < BAD_ADDRESSES; i++) {
		EXPECT_EQ(-EFAULT, kev(self->kq, NULL, 0, bad_address(i), 1,
				       NULL))
			TH_LOG("address %p", bad_address(i));
	}
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(faults, event_list_that_cannot_be_written_is_efault)
{
	ASSERT_EQ(0, mprotect(self->good, self->page, PROT_READ));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER, 0, NULL));
	EXPECT_EQ(-EFAULT, kev(self->kq, NULL, 0, (void *)self->good, 1,
			       NULL));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(faults, event_list_is_not_touched_where_there_is_no_event)
{
	EXPECT_EQ(0, kev(self->kq, NULL, 0, NULL, 1, &zero));
	EXPECT_EQ(0, kev(self->kq, NULL, 0, (void *)self->none, 8, &zero));
}

/* Several were pending, and when they are looked at none has anything to tell. */
TEST_F(faults, event_list_is_not_touched_where_the_events_have_gone)
{
	int fds[3][2];
	char byte;
	int i, k;

	for (k = 0; k < 3; k++) {
		ASSERT_EQ(0, pipe(fds[k]));
		ASSERT_EQ(0, change(self->kq, fds[k][0], EVFILT_READ, EV_ADD));
	}
	for (i = 0; i < BAD_ADDRESSES; i++) {
		for (k = 0; k < 3; k++) {
			ASSERT_EQ(1, write(fds[k][1], "x", 1));
			ASSERT_EQ(1, read(fds[k][0], &byte, 1));
		}
		EXPECT_EQ(0, kev(self->kq, NULL, 0, bad_address(i), 8, &zero))
			TH_LOG("address %p", bad_address(i));
	}
}

TEST_F(faults, error_event_that_cannot_be_stored_is_efault)
{
	struct kevent ch[4], *list;
	int i, k;

	for (k = 0; k < 4; k++) {
		for (i = 0; i < 4; i++)
			EV_SET(&ch[i], i, EVFILT_USER, EV_DELETE, 0, 0, NULL);
		list = list_of(self->none, k, 0);
		EXPECT_EQ(-EFAULT, kev(self->kq, ch, 4, list, 4, &zero));
	}
	/* So is a receipt. */
	EV_SET(&ch[0], 1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	EXPECT_EQ(-EFAULT, kev(self->kq, ch, 1, (void *)self->none, 1, &zero));
}

/*
 * The arguments.
 */

TEST_F(faults, wild_arguments_are_efault)
{
	struct kqueue_kevent *args;
	size_t part;
	int i;

	for (i = 0; i < BAD_ADDRESSES; i++) {
		EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KQUEUE_IOC_KEVENT,
						bad_address(i)));
	}
	for (part = 0; part < sizeof(*args); part++) {
		memset(self->good, 0, self->page);
		args = (void *)(self->none - part);
		EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KQUEUE_IOC_KEVENT,
						args));
	}
	args = (void *)(self->none - sizeof(*args));
	EXPECT_EQ(0, kqueue_ioctl(self->kq, KQUEUE_IOC_KEVENT, args));
}

/* Where the library has to convert the time, it is the one that reads it. */
#if LONG_MAX > INT_MAX
TEST_F(faults, wild_timeout_is_efault)
{
	int i;

	/* The first is NULL, which is none. */
	for (i = 1; i < BAD_ADDRESSES; i++) {
		EXPECT_EQ(-EFAULT, kev(self->kq, NULL, 0, self->ev, 1,
				       bad_address(i)));
	}
}
#endif

/*
 * Counts.
 */

TEST_F(faults, list_of_length_0_may_be_anywhere)
{
	int i;

	for (i = 0; i < BAD_ADDRESSES; i++) {
		EXPECT_EQ(0, kev(self->kq, bad_address(i), 0, self->ev, 8,
				 &zero));
		EXPECT_EQ(0, kev(self->kq, NULL, 0, bad_address(i), 0, NULL));
	}
}

TEST_F(faults, negative_counts_are_einval)
{
	static const int count[] = { -1, -2, -8, INT_MIN, INT_MIN + 1 };
	struct kevent ch;
	size_t i;

	EV_SET(&ch, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
	for (i = 0; i < ARRAY_SIZE(count); i++) {
		EXPECT_EQ(-EINVAL, kev(self->kq, &ch, count[i], NULL, 0,
				       NULL));
		EXPECT_EQ(-EINVAL, kev(self->kq, &ch, count[i], self->ev, 8,
				       &zero));
		EXPECT_EQ(-EINVAL, kev(self->kq, NULL, 0, self->ev, count[i],
				       &zero));
		/* Found out before the change is applied. */
		EXPECT_EQ(-EINVAL, kev(self->kq, &ch, 1, self->ev, count[i],
				       &zero));
	}
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-ENOENT, trigger(self->kq, 1));
}

static bool refused(int ret)
{
	return ret == -EINVAL || ret == -EFAULT;
}

TEST_F(faults, absurd_counts_end_and_are_refused)
{
	static const int count[] = {
		INT_MAX, INT_MAX - 1, INT_MAX / 32, INT_MAX / 32 + 1, 1 << 27,
		1 << 26,
	};
	struct kevent *list = list_of(self->none, 3, 0);
	size_t i;
	int k;

	for (k = 0; k < 3; k++)
		EV_SET(&list[k], k, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
	for (i = 0; i < ARRAY_SIZE(count); i++) {
		EXPECT_TRUE(refused(kev(self->kq, NULL, count[i], NULL, 0,
					NULL)));
		EXPECT_TRUE(refused(kev(self->kq, (void *)self->none, count[i],
					self->ev, 8, NULL)));
		EXPECT_TRUE(refused(kev(self->kq, list, count[i], NULL, 0,
					NULL)));
		EXPECT_TRUE(refused(kev(self->kq, list, 3, NULL, count[i],
					NULL)));
	}
}

TEST_F(faults, more_room_than_events_costs_nothing)
{
	struct kevent *list = list_of(self->none, 3, 0);
	int i, n;

	/* Room that is claimed and not there: it is not looked at. */
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, change_all(self->kq, i, EVFILT_USER,
					EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0,
					NULL));
	}
	ASSERT_EQ(3, kev(self->kq, NULL, 0, list, 100000, &zero));
	/* Absurd, it may be refused, but then without harm. */
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, trigger(self->kq, i));
	}
	n = kev(self->kq, NULL, 0, list, INT_MAX, &zero);
	if (n == -EINVAL)
		n = pending(self->kq);
	EXPECT_EQ(3, n);
}

TEST_HARNESS_MAIN
