/* SPDX-License-Identifier: Apache-2.0
 * Frames to the guest are sent with the descriptor blocking: a guest that does not take them slows down what the stack
 * reads from the host's sockets. A guest's frames are read without blocking, a bounded number between two polls.
 */
#include "net/slirp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "net/confine.h"
#include "net/csum.h"
#include "net/egress.h"

#define PORTION 64u
#define TIMERS_MAX 4u

struct stack_timer {
	bool used;
	SlirpTimerId id;
	void *opaque;
	s64 due_ms; /* -1: not armed */
};

struct stack {
	const struct net_spec *spec;
	Slirp *slirp;
	int fd;
	struct pollfd *poll;
	unsigned n, room;
	struct stack_timer timer[TIMERS_MAX];
	u8 buf[sizeof(struct net_offload) + NET_FRAME_MAX];
};

/* ---- what the library asks for ------------------------------------------------------------------------------------
 */

static ssize_t send_frame(const void *frame, size_t n, void *opaque)
{
	const struct stack *k = opaque;
	struct net_offload o = { .flags = NET_DATA_VALID };
	struct iovec v[2] = { { &o, sizeof(o) }, { (void *)(uintptr_t)frame, n } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	if (n > NET_FRAME_MAX)
		return (ssize_t)n;
	while (sendmsg(k->fd, &m, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			_exit(0); /* the machine is gone */
	return (ssize_t)n;
}

/* What a guest does wrong is its own affair. */
static void guest_error(const char *text, void *opaque)
{
	(void)text;
	(void)opaque;
}

static s64 now_ns(void *opaque)
{
	struct timespec t;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (s64)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *timer_make(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct stack *k = opaque;

	for (unsigned i = 0; i < TIMERS_MAX; i++)
		if (!k->timer[i].used) {
			k->timer[i] = (struct stack_timer){ true, id, cb_opaque, -1 };
			return &k->timer[i];
		}
	return NULL;
}

static void timer_drop(void *timer, void *opaque)
{
	(void)opaque;
	if (timer)
		((struct stack_timer *)timer)->used = false;
}

static void timer_set(void *timer, s64 due_ms, void *opaque)
{
	(void)opaque;
	if (timer)
		((struct stack_timer *)timer)->due_ms = due_ms;
}

static void ignore_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

static void ignore(void *opaque)
{
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = send_frame,
	.guest_error = guest_error,
	.clock_get_ns = now_ns,
	.timer_free = timer_drop,
	.timer_mod = timer_set,
	.register_poll_fd = ignore_fd,
	.unregister_poll_fd = ignore_fd,
	.notify = ignore,
	.timer_new_opaque = timer_make,
};

/* ---- the loop ------------------------------------------------------------------------------------------------------
 */

static int add_poll(int fd, int events, void *opaque)
{
	struct stack *k = opaque;
	short e = (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
			  (events & SLIRP_POLL_PRI ? POLLPRI : 0));

	if (k->n == k->room) {
		unsigned room = k->room ? 2 * k->room : 64;
		struct pollfd *more = realloc(k->poll, room * sizeof(*more));

		if (!more)
			return -1;
		k->poll = more;
		k->room = room;
	}
	k->poll[k->n] = (struct pollfd){ .fd = fd, .events = e };
	return (int)k->n++;
}

static int get_revents(int i, void *opaque)
{
	const struct stack *k = opaque;
	short r = i < 0 ? 0 : k->poll[i].revents;

	return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & POLLPRI ? SLIRP_POLL_PRI : 0) | (r & (POLLERR | POLLNVAL) ? SLIRP_POLL_ERR : 0) |
	       (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void guest_frame(struct stack *k, size_t n)
{
	struct net_offload o;
	u8 *frame = k->buf + sizeof(o), answer[EGRESS_REFUSAL_MAX];

	memcpy(&o, k->buf, sizeof(o));
	if (!egress_allows(k->spec, frame, n)) {
		n = egress_refuse(frame, n, answer);
		if (n)
			send_frame(answer, n, k);
		return;
	}
	if ((o.flags & NET_NEEDS_CSUM) && !csum_finish(frame, n, &o))
		return;
	slirp_input(k->slirp, frame, (int)n);
}

static void guest_frames(struct stack *k)
{
	for (unsigned i = 0; i < PORTION; i++) {
		ssize_t n = recv(k->fd, k->buf, sizeof(k->buf), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			_exit(0);
		if (n > (ssize_t)sizeof(struct net_offload))
			guest_frame(k, (size_t)n - sizeof(struct net_offload));
	}
}

static u32 timers_due(const struct stack *k, u32 timeout_ms)
{
	s64 now = now_ns(NULL) / 1000000;

	for (unsigned i = 0; i < TIMERS_MAX; i++)
		if (k->timer[i].used && k->timer[i].due_ms >= 0)
			timeout_ms = (u32)MIN((s64)timeout_ms, MAX(k->timer[i].due_ms - now, 0));
	return timeout_ms;
}

static void timers_fire(struct stack *k)
{
	s64 now = now_ns(NULL) / 1000000;

	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct stack_timer *t = &k->timer[i];

		if (!t->used || t->due_ms < 0 || t->due_ms > now)
			continue;
		t->due_ms = -1;
		slirp_handle_timer(k->slirp, t->id, t->opaque);
	}
}

static void turn(struct stack *k)
{
	u32 timeout = UINT32_MAX;
	int ret;

	k->n = 0;
	add_poll(k->fd, SLIRP_POLL_IN, k);
	slirp_pollfds_fill(k->slirp, &timeout, add_poll, k);
	timeout = timers_due(k, timeout);
	ret = poll(k->poll, k->n, timeout > INT32_MAX ? -1 : (int)timeout);
	if (ret > 0 && k->poll[0].revents)
		guest_frames(k);
	slirp_pollfds_poll(k->slirp, ret < 0, get_revents, k);
	timers_fire(k);
}

/* ---- the beginning -------------------------------------------------------------------------------------------------
 */

/* libslirp's TCP sends a whole segment, all that there is, or at least half of the widest window that it was ever
 * offered. A guest that has taken one segment of half a window offers a few bytes less than the other half, and then
 * nothing moves until the persist timer, five seconds later. So a segment is at most a quarter of a window without
 * scaling. */
#define TCP_MTU (40 + 16384)

static void fill_config(const struct net_spec *s, u16 mtu, SlirpConfig *c)
{
	*c = (SlirpConfig){
		.version = 4,
		.in_enabled = true,
		.vnetwork = { htonl(EGRESS_NETWORK) },
		.vnetmask = { htonl(0xffffff00u) },
		.vhost = { htonl(EGRESS_GATEWAY) },
		.vnameserver = { htonl(EGRESS_NAMES) },
		.vdhcp_start = { htonl(EGRESS_GUEST) },
		.in6_enabled = true,
		.vprefix_len = 64,
		.vhostname = "doppel",
		.if_mtu = MIN(mtu, TCP_MTU),
		.if_mru = MIN(mtu, TCP_MTU),
		.disable_host_loopback = !s->host_loopback,
	};
	inet_pton(AF_INET6, "fec0::", &c->vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &c->vhost6);
	inet_pton(AF_INET6, "fec0::3", &c->vnameserver6);
}

static int forward(struct stack *k, const struct net_forward *f, struct err *e)
{
	struct in_addr at, guest = { 0 };
	char text[INET_ADDRSTRLEN];

	memcpy(&at, f->at.bytes, 4);
	if (!slirp_add_hostfwd(k->slirp, f->udp, at, f->host, guest, f->guest))
		return 0;
	return err_errno(e, "-p: port %u of %s cannot be listened at", f->host,
			 inet_ntop(AF_INET, &at, text, sizeof(text)));
}

static int begin(struct stack *k, u16 mtu, struct err *e)
{
	SlirpConfig c;

	fill_config(k->spec, mtu, &c);
	k->slirp = slirp_new(&c, &callbacks, k);
	if (!k->slirp)
		return err_set(e, "--net user: libslirp cannot begin");
	for (unsigned i = 0; i < k->spec->n_forwards; i++)
		if (forward(k, &k->spec->forward[i], e))
			return -1;
	return confine(e);
}

void slirp_process(const struct net_spec *s, u16 mtu, int fd)
{
	struct stack *k = calloc(1, sizeof(*k));
	struct err e = { "out of memory" };
	bool ok;

	if (k) {
		k->spec = s;
		k->fd = fd;
	}
	ok = k && !begin(k, mtu, &e);
	if (child_say_ready(fd, &e, ok) || !ok)
		_exit(1);
	for (;;)
		turn(k);
}
