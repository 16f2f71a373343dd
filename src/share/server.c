/* SPDX-License-Identifier: Apache-2.0
 * Requests are done one after the other, in the order in which they were posted; what was told before one is done
 * before it. It sleeps on the bell, and looks again after it has said that it will.
 */
#include "share/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/child.h"
#include "share/fs.h"
#include "share/ring.h"

#define FDS_MIN 64u

struct server {
	struct fs fs;
	struct ring *ring;
	int event;
	u32 posted_done, told_done;
};

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

static bool serve_one(struct server *s)
{
	u32 slot, len, room;
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
	complete(s, r, fs_request(&s->fs, ring_buffer(s->ring, slot), len, room));
	return true;
}

static void sleep_until_rung(struct server *s)
{
	struct ring *r = s->ring;
	u32 bell = atomic_load(&r->bell);

	atomic_store(&r->asleep, 1);
	if (atomic_load(&r->posted) == s->posted_done && atomic_load(&r->told) == s->told_done)
		ring_wait(&r->bell, bell, 0);
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
	s->fs.owns = !geteuid();
	if (confine_root(spec, &dir, &proc, e))
		return -1;
	ret = fs_init(&s->fs, spec, dir, proc);
	if (ret == -EINVAL)
		return err_set(e, "--share: '%.200s' shows the host's state, not files: it cannot be shared",
			       spec->dir);
	errno = -ret;
	if (ret)
		return err_errno(e, "--share: '%.200s' cannot be shared", spec->dir);
	return confine_share(spec, dir, e);
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
	for (;;)
		if (!serve_one(s) && !hear(s))
			sleep_until_rung(s);
}
