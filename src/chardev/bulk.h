/* SPDX-License-Identifier: Apache-2.0
 * A descriptor as one direction of a guest's port, for streams whose bytes and end matter: nothing is dropped, nothing
 * is changed, all is counted. Output is not buffered here: what the far side does not take stays with the guest.
 */
#ifndef CHARDEV_BULK_H
#define CHARDEV_BULK_H

#include "chardev/chardev.h"

/* Called with the machine lock held. */
struct bulk_user {
	void (*ended)(void *opaque, struct chardev *c, u64 bytes); /* no more input: so many bytes came in all */
	void (*refused)(void *opaque, struct chardev *c);	   /* nobody takes the output any more; it is dropped */
	void (*moved)(void *opaque, struct chardev *c);		   /* output was written (or dropped) */
	void *opaque;
};

/* in_fd or out_fd may be -1, and stay their owner's. */
struct chardev *bulk_new(struct loop *loop, int in_fd, int out_fd, const struct bulk_user *user, struct err *e);
/* Held: nothing is read, as if nothing came. Machine lock, or before the machine runs. */
void bulk_hold_input(struct chardev *c, bool held);
/* Output so far, what was dropped included. */
u64 bulk_written(const struct chardev *c);
/* Output ends: what comes from here on is dropped; nothing of doppel's holds the descriptor's file open but out_fd. */
void bulk_close_output(struct chardev *c);

#endif
