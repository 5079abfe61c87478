// SPDX-License-Identifier: GPL-2.0
/*
 * The close of a descriptor that is in no kqueue, nor is there one in this process: once
 * of a file that goes with it, once of a duplicate.
 */
#include "bench.h"

#define MANY	128

static int file;

static void close_files(void)
{
	int fds[MANY], i;

	for (i = 0; i < MANY; i++)
		fds[i] = new_eventfd(0);
	begin();
	for (i = 0; i < MANY; i++)
		close(fds[i]);
	end();
}

static void close_duplicates(void)
{
	int fds[MANY], i;

	for (i = 0; i < MANY; i++)
		fds[i] = dup(file);
	begin();
	for (i = 0; i < MANY; i++)
		close(fds[i]);
	end();
}

/* The cheapest of many runs, under a name of the caller's. */
static void measure(void (*once)(void), const char *name, const char *suffix, const char *with)
{
	char full[64];
	double best = 1e18;
	int i;

	for (i = 0; i < 16; i++) {
		spent = 0;
		once();
		if (spent < best)
			best = spent;
	}
	snprintf(full, sizeof(full), "%s%s", name, suffix);
	print(full, with, best / MANY);
}

void bench_close(const char *name, const char *with)
{
	file = new_eventfd(0);
	measure(close_files, name, "_file", with);
	measure(close_duplicates, name, "_duplicate", with);
}
