/* SPDX-License-Identifier: GPL-2.0 */
/*
 * io_uring, one request at a time.
 */
#ifndef URING_H
#define URING_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
	int fd;
	struct io_uring_params p;
	struct io_uring_sqe *sqes;
	char *ring;
};

/* 0, or -errno. */
static inline int uring_setup(struct uring *u)
{
	void *sqes;

	*u = (struct uring){};
	u->fd = syscall(SYS_io_uring_setup, 4, &u->p);
	if (u->fd < 0)
		return -errno;
	if (!(u->p.features & IORING_FEAT_SINGLE_MMAP))
		return -EOPNOTSUPP;
	u->ring = mmap(NULL, u->p.cq_off.cqes + u->p.cq_entries * sizeof(struct io_uring_cqe),
		       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd,
		       IORING_OFF_SQ_RING);
	sqes = mmap(NULL, u->p.sq_entries * sizeof(*u->sqes), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQES);
	u->sqes = sqes;
	return u->ring == MAP_FAILED || sqes == MAP_FAILED ? -errno : 0;
}

/* Of what uring_setup() says: the kernel has none, or none for us. */
static inline bool uring_is_missing(int error)
{
	return error == -ENOSYS || error == -EPERM;
}

static inline unsigned int *uring_at(struct uring *u, unsigned int offset)
{
	return (unsigned int *)(u->ring + offset);
}

/* Begins a request. 0, or -errno. */
static inline int uring_submit(struct uring *u, const struct io_uring_sqe *sqe)
{
	unsigned int *tail = uring_at(u, u->p.sq_off.tail);
	unsigned int at = *tail & *uring_at(u, u->p.sq_off.ring_mask);

	u->sqes[at] = *sqe;
	uring_at(u, u->p.sq_off.array)[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, u->fd, 1, 0, 0, NULL, 0) == 1 ? 0 : -errno;
}

/* Takes the next result: waits for one. */
static inline int uring_result(struct uring *u)
{
	unsigned int *head = uring_at(u, u->p.cq_off.head);
	unsigned int *tail = uring_at(u, u->p.cq_off.tail);
	struct io_uring_cqe *cqes = (void *)(u->ring + u->p.cq_off.cqes);
	int result;

	while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == *head)
		if (syscall(SYS_io_uring_enter, u->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 &&
		    errno != EINTR)
			return -errno;
	result = cqes[*head & *uring_at(u, u->p.cq_off.ring_mask)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

static inline int uring_do(struct uring *u, const struct io_uring_sqe *sqe)
{
	return uring_submit(u, sqe) ?: uring_result(u);
}

/* Room for so many files that have no descriptor. 0, or -errno. */
static inline int uring_reserve(struct uring *u, unsigned int files)
{
	struct io_uring_rsrc_register r = { .nr = files, .flags = IORING_RSRC_REGISTER_SPARSE };

	return syscall(SYS_io_uring_register, u->fd, IORING_REGISTER_FILES2, &r, sizeof(r)) < 0 ?
	       -errno : 0;
}

/* Opens a file into one of these. */
static inline int uring_open(struct uring *u, const char *path, int flags, unsigned int slot)
{
	const struct io_uring_sqe sqe = {
		.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
		.addr = (uintptr_t)path, .open_flags = flags, .file_index = slot + 1,
	};

	return uring_do(u, &sqe);
}

#endif
