// SPDX-License-Identifier: GPL-2.0
/*
 * Whether all that the debug kernel is there for is on in the kernel that runs.
 * That each checker finds a mistake is another question: mishap.sh.
 */
#include "kqtest.h"

#include <stdint.h>

#define DEBUGFS	"/sys/kernel/debug/"

/* A line of a file, or of what a command prints, that begins with a string. */
static bool says(FILE *f, const char *beginning)
{
	char line[512];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, beginning, strlen(beginning)))
			found = true;
	return found;
}

static bool file_says(const char *path, const char *beginning)
{
	FILE *f = fopen(path, "re");
	bool found = says(f, beginning);

	if (f)
		fclose(f);
	return found;
}

static bool configured(const char *option)
{
	FILE *f = popen("zcat /proc/config.gz", "re");
	bool found = says(f, option);

	if (f)
		pclose(f);
	return found;
}

TEST(kasan_watches_slabs_vmalloc_and_rust)
{
	EXPECT_TRUE(configured("CONFIG_KASAN_GENERIC=y"));
	EXPECT_TRUE(configured("CONFIG_KASAN_VMALLOC=y"));
	EXPECT_EQ(0, system("grep -qw __asan_load8_noabort /proc/kallsyms"));
	/* One report is not the last. */
	EXPECT_EQ(0, system("grep -qw kasan_multi_shot /proc/cmdline"));
}

TEST(lockdep_watches_locks_and_rcu)
{
	EXPECT_TRUE(configured("CONFIG_PROVE_LOCKING=y"));
	EXPECT_TRUE(configured("CONFIG_PROVE_RCU=y"));
	/* It is off for good after its first report. */
	EXPECT_EQ(0, system("grep -qE '^ debug_locks: +1$' /proc/lockdep_stats"));
}

/* What lockdep tells apart are classes, and the module's locks have theirs. */
TEST(lockdep_knows_the_locks_of_the_module)
{
	static const char *const names[] = {
		"kqueue", "kqueue_files", "kqueue_index",
	};
	char command[128];
	int kq = kqueue();

	ASSERT_LE(0, kq);
	ASSERT_EQ(0, change(kq, STDIN_FILENO, EVFILT_READ, EV_ADD));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(command, sizeof(command), "grep -q ': %s$' /proc/lockdep",
			 names[i]);
		EXPECT_EQ(0, system(command)) TH_LOG("%s", names[i]);
	}
	close(kq);
}

TEST(sleeping_in_atomic_context_is_watched)
{
	EXPECT_TRUE(configured("CONFIG_DEBUG_ATOMIC_SLEEP=y"));
}

TEST(kmemleak_scans)
{
	EXPECT_TRUE(configured("CONFIG_DEBUG_KMEMLEAK=y"));
	EXPECT_EQ(0, write_file(DEBUGFS "kmemleak", "scan"));
}

TEST(debug_objects_are_timers_work_and_what_is_freed)
{
	EXPECT_TRUE(configured("CONFIG_DEBUG_OBJECTS_TIMERS=y"));
	EXPECT_TRUE(configured("CONFIG_DEBUG_OBJECTS_WORK=y"));
	EXPECT_TRUE(configured("CONFIG_DEBUG_OBJECTS_FREE=y"));
	EXPECT_TRUE(file_says(DEBUGFS "debug_objects/stats", "max_chain"));
}

TEST(lists_are_watched)
{
	EXPECT_TRUE(configured("CONFIG_DEBUG_LIST=y"));
}

TEST(hung_tasks_and_soft_lockups_are_watched)
{
	EXPECT_LT(0, read_number("/proc/sys/kernel/hung_task_timeout_secs"));
	EXPECT_EQ(1, read_number("/proc/sys/kernel/soft_watchdog"));
	EXPECT_LT(0, read_number("/proc/sys/kernel/watchdog_thresh"));
}

TEST(rust_has_debug_assertions_and_overflow_checks)
{
	EXPECT_TRUE(configured("CONFIG_RUST_DEBUG_ASSERTIONS=y"));
	EXPECT_TRUE(configured("CONFIG_RUST_OVERFLOW_CHECKS=y"));
}

TEST(programs_of_32_bits_run)
{
#ifdef __x86_64__
	long pid;

	/* getpid(), as they call it. */
	asm volatile ("int $0x80" : "=a" (pid) : "a" (20) : "memory", "r8", "r9",
		      "r10", "r11");
	EXPECT_EQ(getpid(), pid);
#endif
}

TEST(the_file_systems_are_there)
{
	static const char *const names[] = {
		"nodev\ttmpfs", "\text4", "nodev\toverlay", "nodev\tproc",
		"nodev\t9p", "\tfuseblk", "nodev\tcgroup2",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		EXPECT_TRUE(file_says("/proc/filesystems", names[i]))
			TH_LOG("%s", names[i]);
	}
}

/*
 * Fault injection: the next time this task comes to such a point, that fails.
 * Once only, since with every copy failing nobody could turn it off.
 */
static int fail_next(const char *what)
{
	static const char *const settings[][2] = {
		{ "task-filter", "1" }, { "probability", "100" },
		{ "interval", "1" }, { "verbose", "0" },
		/* Not all of them have these. */
		{ "ignore-gfp-wait", "0" }, { "min-order", "1" },
		{ "times", "1" },
	};
	char path[128];
	int ret;

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s/%s", what, settings[i][0]);
		ret = write_file(path, settings[i][1]);
		if (ret && ret != -ENOENT)
			return ret;
	}
	return write_file("/proc/self/make-it-fail", "1");
}

static int stop_failing(const char *what)
{
	char path[128];

	write_file("/proc/self/make-it-fail", "0");
	snprintf(path, sizeof(path), DEBUGFS "%s/probability", what);
	return write_file(path, "0");
}

TEST(an_allocation_can_be_made_to_fail)
{
	int fd, error;

	ASSERT_EQ(0, fail_next("failslab"));
	fd = memfd_create("fail", 0);
	error = errno;
	ASSERT_EQ(0, stop_failing("failslab"));
	EXPECT_EQ(-1, fd);
	EXPECT_EQ(ENOMEM, error);
}

TEST(an_allocation_of_pages_can_be_made_to_fail)
{
	int fds[2], ret, error;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, fail_next("fail_page_alloc"));
	/* The array of 256 buffers is too large for a slab. */
	ret = fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
	error = errno;
	ASSERT_EQ(0, stop_failing("fail_page_alloc"));
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(ENOMEM, error);
}

TEST(a_copy_to_or_from_the_program_can_be_made_to_fail)
{
	int fds[2], ret, error;

	ASSERT_EQ(0, fail_next("fail_usercopy"));
	ret = pipe(fds);
	error = errno;
	ASSERT_EQ(0, stop_failing("fail_usercopy"));
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(EFAULT, error);
}

#define KCOV_INIT_TRACE	_IOR('c', 1, unsigned long)
#define KCOV_ENABLE	_IO('c', 100)
#define KCOV_DISABLE	_IO('c', 101)
#define KCOV_TRACE_PC	0
#define KCOV_WORDS	(64 << 10)

TEST(kcov_covers_the_module)
{
	int kcov = open(DEBUGFS "kcov", O_RDWR | O_CLOEXEC), kq = kqueue();
	unsigned long *cover, idle, used;

	ASSERT_LE(0, kcov);
	ASSERT_LE(0, kq);
	ASSERT_EQ(0, ioctl(kcov, KCOV_INIT_TRACE, KCOV_WORDS));
	cover = mmap(NULL, KCOV_WORDS * sizeof(long), PROT_READ | PROT_WRITE,
		     MAP_SHARED, kcov, 0);
	ASSERT_NE(MAP_FAILED, (void *)cover);
	ASSERT_EQ(0, ioctl(kcov, KCOV_ENABLE, KCOV_TRACE_PC));
	__atomic_store_n(&cover[0], 0, __ATOMIC_RELAXED);
	getppid();
	idle = __atomic_load_n(&cover[0], __ATOMIC_RELAXED);
	change(kq, 1, EVFILT_USER, EV_ADD);
	used = __atomic_load_n(&cover[0], __ATOMIC_RELAXED);
	ASSERT_EQ(0, ioctl(kcov, KCOV_DISABLE, 0));
	EXPECT_EQ(0, idle);
	EXPECT_LT(20, used);
	close(kcov);
	close(kq);
}

TEST_HARNESS_MAIN
