// SPDX-License-Identifier: GPL-2.0
/*
 * Loading and unloading the module. KQUEUE_KO in the environment is its file.
 * MODULE_ROUNDS says how often it is done over, 30 times if not.
 *
 * At the end it is loaded, as it was before.
 */
#include "kqtest.h"
#include "net.h"

#include <dirent.h>
#include <sys/eventfd.h>

static bool is_loaded(void)
{
	return access("/sys/module/kqueue", F_OK) == 0;
}

/* What unloading says to a module that is in use. */
static bool in_use(int error)
{
	return error == -EAGAIN || error == -EBUSY;
}

/* What opening says where the module is not, or is just going or coming. */
static bool not_there(int error)
{
	return error == ENOENT || error == ENXIO || error == ENODEV;
}

FIXTURE(module) {
	int kq;
};

FIXTURE_SETUP(module)
{
	self->kq = -1;
	if (!getenv("KQUEUE_KO"))
		SKIP(return, "KQUEUE_KO does not say where kqueue.ko is");
	ASSERT_EQ(0, access(getenv("KQUEUE_KO"), R_OK));
	ASSERT_TRUE(is_loaded());
}

FIXTURE_TEARDOWN(module)
{
	if (self->kq >= 0)
		close(self->kq);
	if (getenv("KQUEUE_KO") && !is_loaded())
		load_kqueue();
}

/* Something of everything, so that something of everything could be left. */
static int use(int kq)
{
	int i, n, ret = 0, fds[2], sv[2], event = eventfd(1, 0), file, dir;
	char path[] = "/tmp/kqueue-module-XXXXXX";
	struct kevent ev[8];
	pid_t pid;

	file = mkstemp(path);
	dir = open("/tmp", O_RDONLY | O_CLOEXEC);
	if (pipe(fds) || unix_pair(sv) || file < 0 || dir < 0)
		return -errno;
	for (i = 0; i < 1000 && !ret; i++)
		ret = change(kq, i, EVFILT_USER, EV_ADD | EV_CLEAR);
	if (!ret)
		ret = change(kq, fds[0], EVFILT_READ, EV_ADD);
	if (!ret)
		ret = change(kq, sv[0], EVFILT_READ, EV_ADD | EV_CLEAR);
	if (!ret)
		ret = change(kq, sv[0], EVFILT_EMPTY, EV_ADD | EV_ONESHOT);
	if (!ret)
		ret = change(kq, event, EVFILT_READ, EV_ADD | EV_DISPATCH);
	if (!ret)
		ret = change_all(kq, file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
				 NOTE_DELETE | NOTE_REVOKE, 0, NULL);
	if (!ret)
		ret = change_all(kq, dir, EVFILT_VNODE, EV_ADD, NOTE_DELETE, 0,
				 NULL);
	if (!ret)
		ret = change(kq, file, EVFILT_READ, EV_ADD);
	unlink(path);
	if (!ret)
		ret = trigger(kq, 500);
	if (!ret && (write(fds[1], "x", 1) != 1 || write(sv[1], "x", 1) != 1))
		ret = -errno;
	n = ret ? ret : poll_events(kq, ev, 8);
	/* A child has none of it; then closing takes knotes along. */
	pid = fork();
	if (!pid)
		_exit(close(kq) == -1 ? 0 : 1);
	ret = reap(pid);
	close(fds[0]);
	close(fds[1]);
	close(sv[0]);
	close(sv[1]);
	close(event);
	close(file);
	close(dir);
	return n == 6 ? ret : n < 0 ? n : -ENOMSG;
}

TEST_F(module, in_use_it_cannot_be_unloaded)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	EXPECT_TRUE(in_use(unload_kqueue()));
	EXPECT_EQ(0, use(self->kq));
	EXPECT_TRUE(in_use(unload_kqueue()));
	/* By a thread that waits, too. */
	struct waiter w = { .kq = self->kq };

	ASSERT_TRUE(waiter_sleeps(&w));
	EXPECT_TRUE(in_use(unload_kqueue()));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_F(module, not_in_use_it_can_be_unloaded_and_loaded_again)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, use(self->kq));
	ASSERT_EQ(0, close(self->kq));
	ASSERT_TRUE(EVENTUALLY(unload_kqueue() == 0));
	EXPECT_FALSE(is_loaded());
	self->kq = kqueue();
	EXPECT_EQ(-1, self->kq);
	EXPECT_TRUE(not_there(errno)) TH_LOG("errno %d", errno);
	ASSERT_EQ(0, load_kqueue());
	ASSERT_TRUE(EVENTUALLY((self->kq = kqueue()) >= 0));
	EXPECT_EQ(0, use(self->kq));
}

TEST_F(module, limits_are_the_defaults_when_it_is_loaded_again)
{
	long user_events_max = read_number(USER_EVENTS_MAX);
	long watches_max = read_number(WATCHES_MAX);

	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 7));
	ASSERT_EQ(0, write_number(WATCHES_MAX, 7));
	ASSERT_TRUE(EVENTUALLY(unload_kqueue() == 0));
	ASSERT_EQ(0, load_kqueue());
	EXPECT_EQ(user_events_max, read_number(USER_EVENTS_MAX));
	EXPECT_EQ(watches_max, read_number(WATCHES_MAX));
}

/* Opens and closes until it is told to stop. */
static int set_tracing(const char *value)
{
	int fd = open("/proc/sys/kernel/ftrace_enabled", O_WRONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, value, 1) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/*
 * Without function tracing closes are not seen, though it could all be set up.
 * From 7.3 on it cannot be switched off: the attempt fails, and changes nothing.
 */
TEST_F(module, where_closes_are_not_seen_it_does_not_load)
{
	int ret, off;

	ASSERT_EQ(0, unload_kqueue());
	off = set_tracing("0");
	ret = load_kqueue();
	ASSERT_EQ(0, set_tracing("1"));
	if (off == -EOPNOTSUPP) {
		EXPECT_EQ(0, ret);
		return;
	}
	ASSERT_EQ(0, off);
	EXPECT_EQ(-EOPNOTSUPP, ret);
	EXPECT_FALSE(is_loaded());
	ASSERT_EQ(0, load_kqueue());
}

TEST_F(module, where_closes_are_not_seen_there_is_no_kqueue)
{
	int kq, error, off;

	/* Loaded anew the probes are not armed. */
	ASSERT_EQ(0, unload_kqueue());
	ASSERT_EQ(0, load_kqueue());
	off = set_tracing("0");
	kq = kqueue();
	error = errno;
	ASSERT_EQ(0, set_tracing("1"));
	if (off == -EOPNOTSUPP) {
		EXPECT_LE(0, kq);
		close(kq);
		return;
	}
	ASSERT_EQ(0, off);
	EXPECT_EQ(-1, kq);
	EXPECT_EQ(EOPNOTSUPP, error);
	EXPECT_TRUE(EVENTUALLY((kq = kqueue()) >= 0));
	close(kq);
}

static void keep_opening(atomic_int *stop)
{
	long opened = 0;
	int kq;

	while (!*stop) {
		kq = kqueue();
		if (kq < 0) {
			CHILD_CHECK(not_there(errno));
			sched_yield();
			continue;
		}
		/* Once it is open it works, whoever unloads what. */
		CHILD_CHECK(change_all(kq, 1, EVFILT_USER, EV_ADD,
				       NOTE_TRIGGER, 0, NULL) == 0);
		CHILD_CHECK(pending(kq) == 1);
		CHILD_CHECK(close(kq) == 0);
		opened++;
		/* Now and then there has to be none. */
		if (opened % 3 == 0)
			usleep(opened % 7 * 300);
	}
	CHILD_CHECK(opened > 0);
}

TEST_F(module, unloading_against_opening)
{
	atomic_int *stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int i, ret, unloaded = 0, refused = 0;
	double end = now() + 3;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, (void *)stop);
	*stop = 0;
	pid = fork();
	if (!pid) {
		keep_opening(stop);
		_exit(0);
	}
	for (i = 0; unloaded < 100 && now() < end; i++) {
		ret = unload_kqueue();
		if (ret == 0) {
			unloaded++;
			ASSERT_EQ(0, load_kqueue());
		} else {
			ASSERT_TRUE(in_use(ret)) TH_LOG("%d", ret);
			refused++;
		}
	}
	*stop = 1;
	EXPECT_EQ(0, reap(pid));
	TH_LOG("%d times unloaded, %d times refused", unloaded, refused);
}

/*
 * Bytes of kernel memory that the allocators the module uses have given out.
 * Caches are shrunk first: what is free in them is not to count.
 */
static long kernel_memory(void)
{
	char line[512], name[64], path[320];
	long active, size, total = 0;
	struct dirent *d;
	DIR *dir;
	FILE *f;

	dir = opendir("/sys/kernel/slab");
	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink",
			 d->d_name);
		if (!strncmp(d->d_name, "kmalloc", 7))
			write_file(path, "1");
	}
	if (dir)
		closedir(dir);

	f = fopen("/proc/slabinfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %ld %*d %ld", name, &active,
			   &size) == 3 &&
		    !strncmp(name, "kmalloc", 7))
			total += active * size;
	}
	if (f)
		fclose(f);

	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmallocUsed: %ld kB", &size) == 1 ||
		    sscanf(line, "Percpu: %ld kB", &size) == 1)
			total += size * 1024;
	}
	if (f)
		fclose(f);
	return total;
}

static int load_use_unload(void)
{
	int kq, ret = load_kqueue();

	if (ret)
		return ret;
	if (!EVENTUALLY((kq = kqueue()) >= 0))
		return -errno;
	ret = use(kq);
	close(kq);
	if (!EVENTUALLY(unload_kqueue() == 0))
		return -EBUSY;
	return ret;
}

TEST_F_TIMEOUT(module, loaded_used_and_unloaded_over_and_over_leaves_nothing, 900)
{
	/*
	 * Each time there are a thousand knotes, some 300 kB: all of them left
	 * once would be seen, and one object of 10 kB left every time. Others
	 * in the kernel come and go by a few pages.
	 */
	const long tolerance = 1 << 18;
	int n = getenv("MODULE_ROUNDS") ? atoi(getenv("MODULE_ROUNDS")) : 30;
	long before, after;
	int i;

	ASSERT_TRUE(EVENTUALLY(unload_kqueue() == 0));
	/* What is made once and kept is not what is looked for. */
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, load_use_unload());
	}
	before = kernel_memory();
	ASSERT_LT(0, before);
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, load_use_unload()) TH_LOG("round %d", i);
	}
	EXPECT_TRUE(EVENTUALLY((after = kernel_memory()) < before + tolerance))
		TH_LOG("%ld bytes more after %d rounds", after - before, n);
	TH_LOG("%d rounds, %ld kB more", n, (after - before) / 1024);
	ASSERT_EQ(0, load_kqueue());
}

TEST_HARNESS_MAIN
