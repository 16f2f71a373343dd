/* SPDX-License-Identifier: Apache-2.0
 * A byte stream to the host world: the terminal, a file, a pseudo-terminal, a unix socket, nothing. It knows nothing of
 * the guest; a serial chip is one of its users.
 *
 * Locking: everything here is called with the machine lock held, from a vCPU's thread (writes) or from the I/O thread
 * (input, and output that had to wait). Callbacks are made with it held too.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "base/err.h"
#include "base/loop.h"

struct chardev;

struct chardev_ops {
	/* Takes 1..n bytes, or 0 when the far side does not drain: the user keeps them until it is told `drained`. */
	size_t (*write)(struct chardev *c, const u8 *p, size_t n);
	/* The user has room for input again. May be NULL. */
	void (*kick_input)(struct chardev *c);
	void (*free)(struct chardev *c);
};

/* The user's side: what the chip at the other end does. Any member may be NULL. */
struct chardev_user {
	size_t (*room)(void *opaque);			 /* how many bytes rx() takes now */
	void (*rx)(void *opaque, const u8 *p, size_t n); /* input, at most room() bytes */
	void (*drained)(void *opaque);			 /* a write that returned less than n may be tried again */
	void (*brk)(void *opaque);			 /* a line break was asked for */
	void *opaque;
};

struct chardev {
	const struct chardev_ops *ops;
	struct chardev_user user;
};

/* What the terminal's escape keys do (Ctrl-a and a letter); called with the machine lock held by the I/O thread. */
struct chardev_keys {
	void (*key)(void *opaque, char letter);
	void *opaque;
};

/* Makes the device that a --serial or --debugcon value names: stdio, file:F, pty, unix:F, none. keys may be NULL; only
 * stdio uses it. NULL and a sentence when it cannot be made. */
struct chardev *chardev_new(const char *spec, struct loop *loop, const struct chardev_keys *keys, struct err *e);
/* Writes what is still buffered (bounded wait), restores what was changed on the host, closes. */
void chardev_free(struct chardev *c);

/* A chip takes the device; at most one chip a device. */
void chardev_set_user(struct chardev *c, const struct chardev_user *user);

/* How many of n bytes were taken. A NULL device takes all and forgets them. */
static inline size_t chardev_write(struct chardev *c, const u8 *p, size_t n)
{
	return c ? c->ops->write(c, p, n) : n;
}

/* The user calls this when room() became more than 0 again. */
static inline void chardev_kick_input(struct chardev *c)
{
	if (c && c->ops->kick_input)
		c->ops->kick_input(c);
}

#endif
