/* SPDX-License-Identifier: Apache-2.0
 * Requests are done one after the other, in the order in which they were posted; what was told before one is done
 * before it. One that waits for a lock is put aside and asked again after every other one, and every few milliseconds,
 * because others than this server's requests let locks go, too. It does not wait for ever: Linux's virtio-fs has no way
 * to tell that a signal has ended the wait, and the process would be one that nothing can end. It sleeps on the bell,
 * and looks again after it has said that it will.
 *
 * What waits for a disk and for nothing else (fsync and its like, reads of what is not in memory) other threads do,
 * with a descriptor and the slot's buffer: nothing else of the server is theirs.
 */
#include "share/server.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "share/fs.h"
#include "share/ring.h"

#define FDS_MIN 64u
#define HELPERS 4u
#define WAITERS (SHARE_SLOTS / 2) /* the others are for what makes them go on */
#define WAIT_LONGEST_NS 30000000000ull
#define WAIT_STEP_NS 5000000u

struct waiter {
	u32 slot, len, room;
	u64 unique, since_ns;
};

struct errand {
	struct fs_slow slow;
	u32 slot, room;
};

struct server {
	struct fs fs;
	struct ring *ring;
	int event;
	u32 posted_done, told_done;
	struct waiter waiter[WAITERS];
	u32 n_waiters;
	unsigned helpers, ready;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t more;
	struct errand errand[SHARE_SLOTS];
	u32 errands;
};

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void tell(struct server *s, const struct told *t)
{
	struct fs *f = &s->fs;

	if (t->what == TOLD_RESET) {
		fs_reset(f);
	} else if (t->what == TOLD_CLOSE) {
		struct handle *h = handle_find(f, t->id, false);

		h = h ? h : handle_find(f, t->id, true);
		if (h)
			handle_free(f, h);
	} else {
		struct node *n = node_find(f, t->id);

		if (n)
			node_forget(f, n, t->what);
	}
}

static bool hear(struct server *s)
{
	u32 told = atomic_load(&s->ring->told);
	bool any = told != s->told_done;

	for (; told != s->told_done; s->told_done++) {
		struct told t = s->ring->tell[s->told_done % RING_TOLD];

		tell(s, &t);
	}
	if (any)
		atomic_store(&s->ring->told_done, s->told_done);
	return any;
}

static void complete(struct server *s, struct ring_slot *r, u32 reply)
{
	u64 one = 1;
	u32 was;

	r->reply = reply;
	was = atomic_exchange(&r->state, SLOT_DONE);
	if (was == SLOT_WAITED)
		ring_wake(&r->state);
	else if (write(s->event, &one, sizeof(one)) < 0)
		_exit(0);
}

/* Who waits first gets it first. */
static void put_aside(struct server *s, u32 slot, u32 len, u32 room)
{
	u8 *buf = ring_buffer(s->ring, slot);
	struct waiter w = { .slot = slot, .len = len, .room = room, .since_ns = now_ns() };
	struct fuse_in_header h;

	memcpy(&h, buf, sizeof(h));
	w.unique = h.unique;
	if (s->n_waiters < WAITERS)
		s->waiter[s->n_waiters++] = w;
	else
		complete(s, &s->ring->slot[slot], fs_refuse(buf, len, room, -ENOLCK));
}

/* ---- errands ------------------------------------------------------------------------------------------------------
 */

static void do_errand(struct server *s, const struct errand *e)
{
	complete(s, &s->ring->slot[e->slot], fs_do_slow(&e->slow, ring_buffer(s->ring, e->slot), e->room));
}

static void *help(void *opaque)
{
	struct server *s = opaque;
	struct errand e;

	pthread_mutex_lock(&s->lock);
	s->ready++;
	pthread_cond_broadcast(&s->more);
	pthread_mutex_unlock(&s->lock);
	for (;;) {
		pthread_mutex_lock(&s->lock);
		while (!s->errands)
			pthread_cond_wait(&s->more, &s->lock);
		e = s->errand[0];
		memmove(s->errand, s->errand + 1, --s->errands * sizeof(e));
		pthread_mutex_unlock(&s->lock);
		do_errand(s, &e);
	}
	return NULL;
}

static void send(struct server *s, u32 slot, u32 room)
{
	const struct errand e = { s->fs.slow, slot, room };
	bool full;

	pthread_mutex_lock(&s->lock);
	full = s->errands == SHARE_SLOTS;
	if (!full)
		s->errand[s->errands++] = e;
	pthread_mutex_unlock(&s->lock);
	if (full)
		do_errand(s, &e);
	else
		pthread_cond_signal(&s->more);
}

/* They stand at their work when this returns, for the filter that comes then has no calls by which threads begin.
 * Without any the server does it all itself. */
static void start_helpers(void *opaque)
{
	struct server *s = opaque;
	pthread_t t;

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	while (s->helpers < HELPERS && !pthread_create(&t, NULL, help, s)) {
		s->helpers++;
		pthread_mutex_lock(&s->lock);
		while (s->ready < s->helpers)
			pthread_cond_wait(&s->more, &s->lock);
		pthread_mutex_unlock(&s->lock);
	}
	s->fs.defers = s->helpers > 0;
}

/* ---- requests -----------------------------------------------------------------------------------------------------
 */

static bool serve_one(struct server *s)
{
	u32 slot, len, room, reply;
	struct ring_slot *r;

	if (atomic_load(&s->ring->posted) == s->posted_done)
		return false;
	hear(s);
	slot = *(volatile u32 *)&s->ring->post[s->posted_done++ % SHARE_SLOTS];
	if (slot >= SHARE_SLOTS)
		return true;
	r = &s->ring->slot[slot];
	len = MIN(*(volatile u32 *)&r->len, RING_BUFFER);
	room = MIN(*(volatile u32 *)&r->room, RING_BUFFER);
	reply = fs_request(&s->fs, ring_buffer(s->ring, slot), len, room);
	if (reply == FS_LATER)
		put_aside(s, slot, len, room);
	else if (reply == FS_SLOW)
		send(s, slot, room);
	else
		complete(s, r, reply);
	return true;
}

/* True: it does not wait any more. */
static bool retry(struct server *s, const struct waiter *w, u64 now)
{
	u8 *buf = ring_buffer(s->ring, w->slot);
	u32 reply;

	if ((w->unique && s->fs.interrupted == w->unique) || now - w->since_ns > WAIT_LONGEST_NS)
		reply = fs_refuse(buf, w->len, w->room, -EINTR);
	else
		reply = fs_request(&s->fs, buf, w->len, w->room);
	if (reply == FS_LATER)
		return false;
	complete(s, &s->ring->slot[w->slot], reply);
	return true;
}

static void retry_all(struct server *s)
{
	u64 now = s->n_waiters ? now_ns() : 0;
	u32 n = 0;

	for (u32 i = 0; i < s->n_waiters; i++)
		if (!retry(s, &s->waiter[i], now))
			s->waiter[n++] = s->waiter[i];
	s->n_waiters = n;
	s->fs.interrupted = 0;
}

static void sleep_until_rung(struct server *s)
{
	struct ring *r = s->ring;
	u32 bell = atomic_load(&r->bell);

	atomic_store(&r->asleep, 1);
	if (atomic_load(&r->posted) == s->posted_done && atomic_load(&r->told) == s->told_done)
		ring_wait(&r->bell, bell, s->n_waiters ? WAIT_STEP_NS : 0);
	atomic_store(&r->asleep, 0);
}

/* Half of the descriptors are for what the guest has open. */
static u32 fds_for_nodes(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return FDS_MIN;
	return MAX((u32)MIN(l.rlim_max, 1u << 16) / 2, FDS_MIN);
}

static int begin(struct server *s, const struct share_spec *spec, struct err *e)
{
	int dir, proc, ret;

	s->fs.max_fds = fds_for_nodes();
	s->fs.uid = geteuid();
	s->fs.gid = getegid();
	s->fs.owns = !s->fs.uid;
	if (confine_root(spec, &dir, &proc, e))
		return -1;
	ret = fs_init(&s->fs, spec, dir, proc);
	if (ret == -EINVAL)
		return err_set(e, "--share: '%.200s' shows the host's state, not files: it cannot be shared",
			       spec->dir);
	errno = -ret;
	if (ret)
		return err_errno(e, "--share: '%.200s' cannot be shared", spec->dir);
	return confine_share(spec, dir, start_helpers, s, e);
}

void server_process(const struct server_begin *b)
{
	struct server *s = calloc(1, sizeof(*s));
	struct err e = { "out of memory" };
	bool ok;

	if (s) {
		s->ring = b->ring;
		s->event = b->event;
	}
	child_end_with(b->socket);
	ok = s && !begin(s, b->spec, &e);
	if (child_say_ready(b->socket, &e, ok) || !ok)
		_exit(1);
	for (;;) {
		if (!serve_one(s) && !hear(s))
			sleep_until_rung(s);
		retry_all(s);
	}
}
