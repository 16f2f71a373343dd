/* SPDX-License-Identifier: Apache-2.0
 * The machine's side of a file server.
 *
 * Where it runs. A hand-off to a process that sleeps on another CPU costs some 100 us, on the same CPU 3 us (DESIGN
 * section 7); the thread that submits has nothing else to do until the reply is there. So the server is bound to the
 * CPU of that thread, which then waits. If it waits for longer than WAIT_NS, or something else is under way that does,
 * the server may run anywhere and tells the I/O thread.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/child.h"
#include "base/log.h"
#include "share/ring.h"
#include "share/server.h"

#define WAIT_NS 400000u

struct share {
	struct share_spec spec;
	struct share_user user;
	struct loop *loop;
	struct ring *ring;
	int event, socket; /* that replies are there; that the server lives */
	pid_t pid;
	cpu_set_t anywhere;
	int bound; /* to this CPU, or -1 */
	bool dead;
	unsigned async; /* requests that done() will be called for */
	u32 hurried;	/* what was told when it was last woken */
	struct {
		bool taken, async;
		u32 room;
	} slot[SHARE_SLOTS];
};

/* ---- where it runs -------------------------------------------------------------------------------------------------
 */

static void bind_here(struct share *s)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (cpu < 0 || cpu == s->bound || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (!sched_setaffinity(s->pid, sizeof(set), &set))
		s->bound = cpu;
}

static void unbind(struct share *s)
{
	if (s->bound >= 0)
		sched_setaffinity(s->pid, sizeof(s->anywhere), &s->anywhere);
	s->bound = -1;
}

/* ---- requests ------------------------------------------------------------------------------------------------------
 */

int share_take(struct share *s)
{
	for (unsigned i = 0; i < SHARE_SLOTS; i++)
		if (!s->slot[i].taken) {
			s->slot[i].taken = true;
			return (int)i;
		}
	return -1;
}

void *share_buffer(struct share *s, unsigned slot)
{
	return ring_buffer(s->ring, slot);
}

static void ring_bell(struct share *s)
{
	atomic_fetch_add(&s->ring->bell, 1);
	if (atomic_load(&s->ring->asleep))
		ring_wake(&s->ring->bell);
	s->hurried = atomic_load_explicit(&s->ring->told, memory_order_relaxed);
}

static bool is_done(struct share *s, unsigned slot)
{
	return atomic_load(&s->ring->slot[slot].state) == SLOT_DONE;
}

/* False: it takes longer. */
static bool wait_for(struct share *s, unsigned slot)
{
	_Atomic u32 *state = &s->ring->slot[slot].state;
	u32 seen = SLOT_WAITED;

	ring_wait(state, SLOT_WAITED, WAIT_NS);
	return !atomic_compare_exchange_strong(state, &seen, SLOT_ASYNC);
}

bool share_submit(struct share *s, unsigned slot, u32 len, u32 room)
{
	struct ring_slot *r = &s->ring->slot[slot];
	u32 at = atomic_load_explicit(&s->ring->posted, memory_order_relaxed);
	bool wait = !s->async;

	s->slot[slot].room = room;
	r->len = len;
	r->room = room;
	r->reply = 0;
	if (s->dead) {
		atomic_store(&r->state, SLOT_DONE);
		return true;
	}
	if (wait)
		bind_here(s);
	atomic_store(&r->state, wait ? SLOT_WAITED : SLOT_ASYNC);
	s->ring->post[at % SHARE_SLOTS] = slot;
	atomic_store(&s->ring->posted, at + 1);
	ring_bell(s);
	if (wait && wait_for(s, slot))
		return true;
	unbind(s);
	s->slot[slot].async = true;
	s->async++;
	return false;
}

u32 share_reply(struct share *s, unsigned slot)
{
	u32 n = *(volatile u32 *)&s->ring->slot[slot].reply;

	return is_done(s, slot) && n <= s->slot[slot].room ? n : 0;
}

void share_release(struct share *s, unsigned slot)
{
	atomic_store(&s->ring->slot[slot].state, SLOT_FREE);
	s->slot[slot].taken = false;
}

/* ---- what is told --------------------------------------------------------------------------------------------------
 */

static bool tell(struct share *s, u64 id, u64 what)
{
	u32 at = atomic_load_explicit(&s->ring->told, memory_order_relaxed);

	if (s->dead)
		return true;
	if (at - atomic_load(&s->ring->told_done) >= RING_TOLD) {
		share_hurry(s);
		return false;
	}
	s->ring->tell[at % RING_TOLD] = (struct told){ id, what };
	atomic_store(&s->ring->told, at + 1);
	if (at + 1 - s->hurried >= RING_TOLD / 2)
		share_hurry(s);
	return true;
}

bool share_forget(struct share *s, u64 node, u64 lookups)
{
	return lookups >= TOLD_CLOSE || tell(s, node, lookups);
}

bool share_close(struct share *s, u64 handle)
{
	return tell(s, handle, TOLD_CLOSE);
}

void share_reset(struct share *s)
{
	tell(s, 0, TOLD_RESET);
	share_hurry(s);
}

void share_hurry(struct share *s)
{
	if (!s->dead)
		ring_bell(s);
}

bool share_waits(const struct share *s)
{
	return !s->dead && atomic_load(&s->ring->told_done) != atomic_load(&s->ring->told);
}

/* ---- the I/O thread ------------------------------------------------------------------------------------------------
 */

static void deliver(struct share *s)
{
	for (unsigned i = 0; i < SHARE_SLOTS; i++) {
		if (!s->slot[i].async || (!s->dead && !is_done(s, i)))
			continue;
		s->slot[i].async = false;
		s->async--;
		s->user.done(s->user.opaque, i);
	}
}

static void on_event(void *opaque, int fd, short revents)
{
	struct share *s = opaque;
	u64 n;

	(void)revents;
	if (read(fd, &n, sizeof(n)) == sizeof(n))
		deliver(s);
}

static void on_socket(void *opaque, int fd, short revents)
{
	struct share *s = opaque;

	(void)revents;
	log_msg(LOG_ERROR, "the file server has ended: what the guest asks of %s fails", s->spec.dir);
	loop_unwatch(s->loop, fd);
	s->dead = true;
	deliver(s);
}

/* ---- life ----------------------------------------------------------------------------------------------------------
 */

static void nobody(void *opaque, unsigned slot)
{
	(void)opaque;
	(void)slot;
}

void share_set_user(struct share *s, const struct share_user *user)
{
	s->user = user ? *user : (struct share_user){ nobody, NULL };
}

const struct share_spec *share_spec_of(const struct share *s)
{
	return &s->spec;
}

bool share_has_died(const struct share *s)
{
	return s->dead;
}

static void child(void *opaque)
{
	const struct server_begin *b = opaque;

	server_process(b);
}

static int start(struct share *s, struct err *e)
{
	int pair[2], ret;
	struct server_begin b = { .spec = &s->spec, .ring = s->ring, .event = s->event };

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_errno(e, "--share: no socket");
	s->socket = pair[0];
	b.socket = pair[1];
	s->pid = child_start("doppel-fs", (const int[]){ s->event, pair[1] }, 2, child, &b);
	ret = s->pid < 0 ? err_errno(e, "--share: no process") : 0;
	close(pair[1]);
	madvise(s->ring, RING_BYTES, MADV_DONTFORK);
	return ret || child_wait_ready(pair[0], "--share: the file server", e) ? -1 : 0;
}

static int make(struct share *s, struct err *e)
{
	void *p = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_errno(e, "--share: no memory");
	s->ring = p;
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event < 0)
		return err_errno(e, "--share: no event descriptor");
	if (sched_getaffinity(0, sizeof(s->anywhere), &s->anywhere))
		memset(&s->anywhere, 0xff, sizeof(s->anywhere));
	if (start(s, e))
		return -1;
	if (loop_watch(s->loop, s->event, POLLIN, on_event, s) || loop_watch(s->loop, s->socket, POLLIN, on_socket, s))
		return err_set(e, "out of memory");
	return 0;
}

struct share *share_new(const struct share_spec *spec, struct loop *loop, struct err *e)
{
	struct share *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, "out of memory");
		return NULL;
	}
	s->spec = *spec;
	s->loop = loop;
	s->event = s->socket = s->bound = -1;
	share_set_user(s, NULL);
	if (!make(s, e))
		return s;
	share_free(s);
	return NULL;
}

void share_free(struct share *s)
{
	if (!s)
		return;
	if (s->event >= 0) {
		loop_unwatch(s->loop, s->event);
		close(s->event);
	}
	if (s->socket >= 0) {
		loop_unwatch(s->loop, s->socket);
		close(s->socket);
	}
	child_reap(s->pid);
	if (s->ring)
		munmap(s->ring, RING_BYTES);
	free(s);
}
