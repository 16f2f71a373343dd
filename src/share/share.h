/* SPDX-License-Identifier: Apache-2.0
 * A directory of the host that a guest sees, as FUSE requests and replies. The server is a process of its own
 * (server.c), confined to that directory; this is the machine's side of it. It knows nothing of the guest's rings and
 * memory.
 *
 * A request goes through a slot: a buffer that both processes map. Whoever submits one waits a moment for the reply, on
 * the CPU that it runs on, for that is cheaper than to be told by another; what takes longer is told later.
 *
 * Locking: all calls with the machine lock held; so is done(), which comes from the I/O thread.
 */
#ifndef SHARE_SHARE_H
#define SHARE_SHARE_H

#include "base/counter.h"
#include "base/err.h"
#include "base/loop.h"

#define SHARE_TAG_MAX 36	  /* virtio 1.2, 5.11.4 */
#define SHARE_DATA_MAX (1u << 20) /* bytes that one request reads or writes */
#define SHARE_HEAD_MAX 4096u	  /* what may stand before them */
#define SHARE_SLOTS 32		  /* requests under way at once */

enum share_cache {
	SHARE_CACHE_AUTO,   /* names and attributes for a second, data while the file has not changed */
	SHARE_CACHE_NONE,   /* everything is asked for each time */
	SHARE_CACHE_ALWAYS, /* nobody else changes the directory */
};

/* What --share says. */
struct share_spec {
	char dir[1024];
	char tag[SHARE_TAG_MAX + 1];
	bool readonly, no_xattr, locks, writeback;
	enum share_cache cache;
	bool root_owned; /* what belongs to the server's user the guest sees as root's; not an option */
};

/* DIR[:TAG][,ro][,cache=auto|none|always][,writeback][,locks][,noxattr] */
int share_parse(struct share_spec *s, const char *text, struct err *e);

struct share;

struct share_user {
	/* The reply to what was submitted as `cookie` is there, `len` bytes at `data` (until share_release()). */
	void (*done)(void *opaque, unsigned slot);
	void *opaque;
};

/* Before any thread is made and any guest memory is there: the process begins here. */
struct share *share_new(const struct share_spec *s, struct loop *loop, struct err *e);
void share_free(struct share *s);
void share_set_user(struct share *s, const struct share_user *user);
const struct share_spec *share_spec_of(const struct share *s);

/* The server has ended before share_free(): what the guest asked since has failed. */
bool share_has_died(const struct share *s);

/* A free slot, or -1. Its buffer has SHARE_HEAD_MAX + SHARE_DATA_MAX bytes. */
int share_take(struct share *s);
void *share_buffer(struct share *s, unsigned slot);
/* The request of `len` bytes in the slot's buffer begins; the reply may have `room` bytes. True: the reply is there;
 * false: done() will tell. */
bool share_submit(struct share *s, unsigned slot, u32 len, u32 room);
/* How long the reply in the buffer is: 0 for none (the server has ended), else at most `room` as it was given. */
u32 share_reply(struct share *s, unsigned slot);
void share_release(struct share *s, unsigned slot);

/* Things that are told and not answered; they are done before what is submitted after. False: no room for now. */
bool share_forget(struct share *s, u64 node, u64 lookups);
bool share_close(struct share *s, u64 handle);
/* The guest's file system is gone: everything it had open is closed. */
void share_reset(struct share *s);
/* What was told should not wait any longer for the next request. */
void share_hurry(struct share *s);
/* Something was told that waits. */
bool share_waits(const struct share *s);

#endif
