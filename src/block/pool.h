/* SPDX-License-Identifier: Apache-2.0
 * Host work that may wait (a read of what is not cached, a flush), carried out by a few threads instead of the one that
 * asks for it.
 *
 * A job is handed in with the owner's lock held; its work() runs without it, in a thread of the pool; done() is called
 * with it again. Jobs that end while a thread waits for the lock are delivered together with it, and settle() follows
 * once for all of them: that is where the owner tells its guest. No order among jobs.
 *
 * Threads are made when there is work and none of them is free. A pool of no threads takes nothing: whoever asks does
 * the work himself, which is the deterministic mode.
 */
#ifndef BLOCK_POOL_H
#define BLOCK_POOL_H

#include "base/base.h"
#include "base/err.h"

#define BLOCK_POOL_THREADS 4

struct block_pool;
struct block_job;

/* Who hands jobs in. */
struct block_client {
	struct block_pool *pool; /* NULL: none */
	void (*done)(struct block_client *c, struct block_job *j);
	void (*settle)(struct block_client *c);
	/* the pool's */
	unsigned busy;
	bool unsettled;
	struct block_client *next;
};

struct block_job {
	void (*work)(struct block_job *j);
	/* the pool's */
	struct block_client *client;
	struct block_job *next;
};

struct block_pool_lock {
	void (*lock)(void *opaque);
	void (*unlock)(void *opaque);
	void *opaque;
};

struct block_pool *block_pool_new(unsigned threads, const struct block_pool_lock *l, struct err *e);
/* Nothing may be under way. Without the lock. */
void block_pool_free(struct block_pool *p);
/* With the lock. False: not taken (no pool, or no thread); the caller does the work, and nobody calls done(). */
bool block_submit(struct block_client *c, struct block_job *j);
/* Waits until every job of the pool, or of one client, is delivered, those included that follow from them. Without the
 * lock; with guests stopped, or they may go on handing in. */
void block_pool_drain(struct block_pool *p);
void block_client_drain(struct block_client *c);

#endif
