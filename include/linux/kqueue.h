/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * What <linux/kqueue.h> means with this directory on the include path: for a
 * program, the ABI, just as where it is installed.
 */
#ifndef _LINUX_KQUEUE_H
#define _LINUX_KQUEUE_H

#include "../uapi/linux/kqueue.h"

#endif /* _LINUX_KQUEUE_H */
