// SPDX-License-Identifier: GPL-2.0
/*
 * A first program: says what is typed, until the input ends, and that nothing
 * was typed for ten seconds. It is written as for a BSD; nothing in it is for
 * Linux.
 *
 *   cc -Iinclude -o hello tests/hello.c build/libkqueue.a
 */
#include <sys/types.h>
#include <sys/event.h>
#include <sys/time.h>

#include <err.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	struct timespec patience = { .tv_sec = 10 };
	struct kevent change, event;
	char buf[256];
	ssize_t len;
	int kq, n;

	kq = kqueue();
	if (kq < 0)
		err(1, "kqueue");

	/* Tell us, until further notice, when standard input can be read. */
	EV_SET(&change, STDIN_FILENO, EVFILT_READ, EV_ADD, 0, 0, NULL);
	if (kevent(kq, &change, 1, NULL, 0, NULL) < 0)
		err(1, "kevent: watch standard input");

	for (;;) {
		n = kevent(kq, NULL, 0, &event, 1, &patience);
		if (n < 0)
			err(1, "kevent");
		if (n == 0) {
			printf("nothing for ten seconds\n");
			continue;
		}

		printf("%lld bytes to read%s\n", (long long)event.data,
		       event.flags & EV_EOF ? ", and no more will come" : "");
		len = read(STDIN_FILENO, buf, sizeof(buf));
		if (len < 0)
			err(1, "read");
		if (len == 0)
			return 0;
		printf("read: %.*s", (int)len, buf);
	}
}
