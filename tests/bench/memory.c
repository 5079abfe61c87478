// SPDX-License-Identifier: GPL-2.0
/* The kernel's memory for a descriptor that is watched, as /proc/meminfo tells it. */
#include "bench.h"

#define MANY	100000

/* Slab caches and what is larger, in bytes. */
static double kernel_memory(void)
{
	FILE *file = fopen("/proc/sys/vm/stat_refresh", "w");
	double kilobytes, sum = 0;
	char line[128];

	/* The counters of each CPU are added up. */
	must(file && fputs("1\n", file) >= 0 && !fclose(file));
	file = fopen("/proc/meminfo", "r");
	must(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Slab: %lf", &kilobytes) == 1 ||
		    sscanf(line, "VmallocUsed: %lf", &kilobytes) == 1)
			sum += kilobytes * 1024;
	fclose(file);
	return sum;
}

void bench_memory(void)
{
	static int fds[MANY];
	double before;
	int i, kq, ep;

	for (i = 0; i < MANY; i++)
		fds[i] = new_eventfd(0);
	kq = new_kqueue();
	before = kernel_memory();
	for (i = 0; i < MANY; i++)
		change(kq, fds[i], EVFILT_READ, EV_ADD, 0, 0);
	print("memory", KQUEUE, (kernel_memory() - before) / MANY);
	ep = new_epoll();
	before = kernel_memory();
	for (i = 0; i < MANY; i++)
		control(ep, EPOLL_CTL_ADD, fds[i], EPOLLIN);
	print("memory", PEER, (kernel_memory() - before) / MANY);
	close(kq);
	close(ep);
	for (i = 0; i < MANY; i++)
		close(fds[i]);
}
