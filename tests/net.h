/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sockets for the tests.
 */
#ifndef KQTEST_NET_H
#define KQTEST_NET_H

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A machine that was only just started may not have its loopback up. */
static inline void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	if (!ioctl(s, SIOCGIFFLAGS, &ifr) && !(ifr.ifr_flags & IFF_UP)) {
		ifr.ifr_flags |= IFF_UP;
		ioctl(s, SIOCSIFFLAGS, &ifr);
	}
	close(s);
}

/* A socket bound to a port of its own on the loopback. */
static inline int inet_bound(int type, struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int s;

	loopback_up();
	s = socket(AF_INET, type, 0);
	*addr = (struct sockaddr_in) {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	if (bind(s, (struct sockaddr *)addr, len) ||
	    getsockname(s, (struct sockaddr *)addr, &len))
		return -1;
	return s;
}

static inline int tcp_listen(struct sockaddr_in *addr, int backlog)
{
	int s = inet_bound(SOCK_STREAM, addr);

	return s < 0 || listen(s, backlog) ? -1 : s;
}

/* A port of the loopback that nobody listens on. */
static inline int closed_port(int type, struct sockaddr_in *addr)
{
	int s = inet_bound(type, addr);

	return s < 0 ? -1 : close(s);
}

/* Both ends of a connection. Small buffers, which are soon full. */
static inline int tcp_pair(int sv[2])
{
	struct sockaddr_in addr;
	int s = tcp_listen(&addr, 1), size = 16384;

	sv[0] = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(sv[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (connect(sv[0], (struct sockaddr *)&addr, sizeof(addr)))
		return -1;
	sv[1] = accept(s, NULL, NULL);
	close(s);
	return sv[1] < 0 ? -1 : 0;
}

static inline int unix_pair(int sv[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
}

/* Two UDP sockets, connected to each other. */
static inline int udp_pair(int sv[2])
{
	struct sockaddr_in addr[2];

	sv[0] = inet_bound(SOCK_DGRAM, &addr[0]);
	sv[1] = inet_bound(SOCK_DGRAM, &addr[1]);
	if (sv[0] < 0 || sv[1] < 0 ||
	    connect(sv[0], (struct sockaddr *)&addr[1], sizeof(addr[1])) ||
	    connect(sv[1], (struct sockaddr *)&addr[0], sizeof(addr[0])))
		return -1;
	return 0;
}

/* A Unix socket that listens, in the abstract name space: nothing to remove. */
static inline int unix_listen(int type, struct sockaddr_un *addr,
			      socklen_t *len, int backlog)
{
	int s = socket(AF_UNIX, type, 0);

	*len = sizeof(sa_family_t);	/* the kernel chooses a name */
	*addr = (struct sockaddr_un) { .sun_family = AF_UNIX };
	if (bind(s, (struct sockaddr *)addr, *len))
		return -1;
	*len = sizeof(*addr);
	if (getsockname(s, (struct sockaddr *)addr, len) ||
	    listen(s, backlog))
		return -1;
	return s;
}

static inline int readable_bytes(int fd)
{
	int n = -1;

	return ioctl(fd, FIONREAD, &n) ? -1 : n;
}

static inline int get_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) ? -1 : value;
}

static inline int set_nonblocking(int fd)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Write until no more goes in, or read until no more comes; how much it was. */
static inline long fill(int fd)
{
	static const char buf[4096];
	long total = 0;
	ssize_t n;

	set_nonblocking(fd);
	while ((n = write(fd, buf, sizeof(buf))) > 0)
		total += n;
	/* The last bit of room may be less than that. */
	while ((n = write(fd, buf, 1)) > 0)
		total += n;
	return total;
}

static inline long drain(int fd)
{
	char buf[4096];
	long total = 0;
	ssize_t n;

	set_nonblocking(fd);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		total += n;
	return total;
}

/* Close so that the other end sees a reset. */
static inline void reset_connection(int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* Put a descriptor on its way; it is a reference to its file until it is taken. */
static inline int send_fd(int sock, int fd)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	control.hdr.cmsg_level = SOL_SOCKET;
	control.hdr.cmsg_type = SCM_RIGHTS;
	control.hdr.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

#endif /* KQTEST_NET_H */
