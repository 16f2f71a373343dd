/* SPDX-License-Identifier: Apache-2.0
 * A frame that comes in goes into as many buffers as it needs at once, so nothing is held between two events; one for
 * which the driver has no room waits in the network. A frame that goes out is copied, checked, and sent or kept in its
 * queue until the network takes it.
 *
 * Every frame is passed to the driver, whatever its receive filters say: they are hints (5.1.6.5.1), and what is at the
 * other end of the wire sends nothing to others.
 */
#include "dev/virtio/net.h"

#include <stdio.h>

#define QUEUE_SIZE 256
#define CHAINS_MAX 96u /* for one frame: the longest in buffers of a little less than 1 KiB */
#define DROPS_MAX 64u  /* frames that do not fit, for one buffer */

enum feature {
	F_CSUM = 0,
	F_GUEST_CSUM = 1,
	F_MTU = 3,
	F_MAC = 5,
	F_GUEST_TSO4 = 7,
	F_GUEST_TSO6 = 8,
	F_HOST_TSO4 = 11,
	F_HOST_TSO6 = 12,
	F_MRG_RXBUF = 15,
	F_STATUS = 16,
	F_CTRL_VQ = 17,
	F_CTRL_RX = 18,
	F_CTRL_MAC_ADDR = 23,
};

enum queue { Q_RX, Q_TX, Q_CONTROL };
enum config { CFG_MAC = 0, CFG_STATUS = 6, CFG_PAIRS = 8, CFG_MTU = 10, CFG_LEN = 12 };
enum { STATUS_LINK_UP = 1 };
enum control_class { CTRL_RX = 0, CTRL_MAC = 1 };
enum { CTRL_RX_LAST = 5, CTRL_MAC_TABLE = 0, CTRL_MAC_ADDR = 1 };
enum { CTRL_OK = 0, CTRL_ERR = 1 };

struct header {
	struct net_offload offload;
	u16 buffers;
};

struct virtio_net {
	struct virtio_dev d; /* first */
	struct net *net;
	u8 frame[NET_FRAME_MAX];
};

static struct virtio_net *of(struct virtio_dev *d)
{
	return container_of(d, struct virtio_net, d);
}

static void count(struct virtio_net *v, enum counter id, u64 n)
{
	counter_add(v->d.board.counters, id, n);
}

/* ---- out -----------------------------------------------------------------------------------------------------------
 */

/* Asks only for what was offered, and for nothing outside the frame. */
static bool offload_ok(const struct virtio_dev *d, const struct net_offload *o, u32 len)
{
	u8 gso = o->gso_type & (u8)~NET_GSO_ECN;

	if ((o->flags & NET_NEEDS_CSUM) && (!virtio_has(d, F_CSUM) || (u32)o->csum_start + o->csum_offset + 2 > len))
		return false;
	if (gso == NET_GSO_NONE)
		return true;
	return (o->flags & NET_NEEDS_CSUM) && o->gso_size && o->hdr_len <= len &&
	       ((gso == NET_GSO_TCPV4 && virtio_has(d, F_HOST_TSO4)) ||
		(gso == NET_GSO_TCPV6 && virtio_has(d, F_HOST_TSO6)));
}

static bool send_frame(struct virtio_net *v, struct virtq_chain *c)
{
	struct header h;
	struct net_frame f = { .bytes = v->frame };

	if (virtq_get(c, 0, &h, sizeof(h)) != sizeof(h)) {
		virtio_fail(&v->d, c, "a frame without a header");
		return true;
	}
	f.offload = h.offload;
	f.offload.flags &= NET_NEEDS_CSUM;
	f.len = c->out_len - (u32)sizeof(h);
	if (!f.len || f.len > sizeof(v->frame) || !offload_ok(&v->d, &f.offload, f.len)) {
		count(v, CNT_NET_DROPPED, 1);
	} else {
		virtq_get(c, sizeof(h), v->frame, f.len);
		if (!net_send(v->net, &f))
			return false;
		count(v, CNT_NET_TX_FRAMES, 1);
		count(v, CNT_NET_TX_BYTES, f.len);
	}
	virtio_complete(&v->d, c, 0);
	return true;
}

/* ---- in ------------------------------------------------------------------------------------------------------------
 */

/* The next chain; when there is none the driver is asked to tell of one, before those that are held go back. */
static struct virtq_chain *next_chain(struct virtq *q)
{
	struct virtq_chain *c = virtq_pop(q);

	return c || q->broken || !virtq_rearm(q) ? c : virtq_pop(q);
}

/* Chains from first on that hold need bytes together; 0 if there are not as many now. *never: nor ever. */
static unsigned gather(struct virtio_net *v, struct virtq_chain **chain, u64 need, bool *never)
{
	struct virtq *q = chain[0]->q;
	bool merge = virtio_has(&v->d, F_MRG_RXBUF);
	u64 have = chain[0]->in_len;
	unsigned n = 1;

	while (have < need && merge && n < CHAINS_MAX && (chain[n] = next_chain(q)))
		have += chain[n++]->in_len;
	if (have >= need)
		return n;
	*never = !merge || n == CHAINS_MAX || n == q->size;
	while (--n)
		virtq_unpop(chain[n]);
	return 0;
}

static void scatter(struct virtio_net *v, struct virtq_chain **chain, unsigned n, const struct net_frame *f)
{
	struct header h = { f->offload, (u16)n };
	u32 done = 0, at = sizeof(h);

	if (!virtio_has(&v->d, F_GUEST_CSUM))
		h.offload.flags = 0;
	virtq_put(chain[0], 0, &h, sizeof(h));
	for (unsigned i = 0; i < n; i++) {
		u32 put = virtq_put(chain[i], at, f->bytes + done, f->len - done);

		done += put;
		virtio_complete(&v->d, chain[i], at + put);
		at = 0;
	}
	count(v, CNT_NET_RX_FRAMES, 1);
	count(v, CNT_NET_RX_BYTES, f->len);
}

static bool give_frame(struct virtio_net *v, struct virtq_chain *c)
{
	struct virtq_chain *chain[CHAINS_MAX] = { c };
	struct net_frame f;
	unsigned n;

	if (c->in_len < sizeof(struct header)) {
		virtio_fail(&v->d, c, "a buffer that is too short for a frame's header");
		return true;
	}
	for (unsigned drops = 0; drops < DROPS_MAX && net_peek(v->net, &f); drops++) {
		bool never = false;

		n = gather(v, chain, sizeof(struct header) + (u64)f.len, &never);
		if (n) {
			scatter(v, chain, n, &f);
			net_take(v->net);
			return true;
		}
		if (!never)
			return false;
		count(v, CNT_NET_DROPPED, 1);
		net_take(v->net);
	}
	return false;
}

/* ---- control --------------------------------------------------------------------------------------------------------
 */

static u8 control(struct virtio_net *v, const struct virtq_chain *c, const u8 *command)
{
	u8 mac[6];

	if (command[0] == CTRL_RX)
		return command[1] <= CTRL_RX_LAST ? CTRL_OK : CTRL_ERR;
	if (command[0] != CTRL_MAC)
		return CTRL_ERR;
	if (command[1] == CTRL_MAC_TABLE)
		return CTRL_OK;
	if (command[1] != CTRL_MAC_ADDR || virtq_get(c, 2, mac, sizeof(mac)) != sizeof(mac))
		return CTRL_ERR;
	memcpy(v->d.config + CFG_MAC, mac, sizeof(mac));
	return CTRL_OK;
}

static bool take_control(struct virtio_net *v, struct virtq_chain *c)
{
	u8 command[2], ack;

	if (virtq_get(c, 0, command, sizeof(command)) != sizeof(command) || !c->in_len) {
		virtio_fail(&v->d, c, "a command that is too short, or without room for the answer");
		return true;
	}
	ack = control(v, c, command);
	virtio_complete(&v->d, c, virtq_put(c, 0, &ack, 1));
	return true;
}

/* ---- the device
 * ------------------------------------------------------------------------------------------------------ */

static bool net_request(struct virtio_dev *d, unsigned n, struct virtq_chain *c)
{
	switch (n) {
	case Q_RX:
		return give_frame(of(d), c);
	case Q_TX:
		return send_frame(of(d), c);
	}
	return take_control(of(d), c);
}

/* A driver that does not run takes nothing, and its network goes on. */
static void on_arrived(void *opaque)
{
	struct virtio_net *v = opaque;
	struct net_frame f;

	if (virtio_live(&v->d)) {
		virtio_run(&v->d, Q_RX);
		return;
	}
	for (unsigned i = 0; i < DROPS_MAX && net_peek(v->net, &f); i++)
		net_take(v->net);
}

static void on_drained(void *opaque)
{
	virtio_run(opaque, Q_TX);
}

static void set_link(struct virtio_net *v, bool up)
{
	v->d.config[CFG_STATUS] = up ? STATUS_LINK_UP : 0;
}

static void on_link(void *opaque, bool up)
{
	struct virtio_net *v = opaque;

	set_link(v, up);
	virtio_config_changed(&v->d);
}

static void tell_accepted(struct virtio_dev *d)
{
	net_accepts(of(d)->net, (virtio_has(d, F_GUEST_CSUM) ? NET_ACCEPTS_CSUM : 0u) |
				    (virtio_has(d, F_GUEST_TSO4) ? NET_ACCEPTS_TSO4 : 0u) |
				    (virtio_has(d, F_GUEST_TSO6) ? NET_ACCEPTS_TSO6 : 0u));
}

static int net_loaded(struct virtio_dev *d, struct err *e)
{
	(void)e;
	/* The link is this process's own. */
	set_link(of(d), of(d)->net->up);
	return 0;
}

static void net_go_on(struct virtio_dev *d)
{
	tell_accepted(d);
	on_arrived(of(d));
}

static const struct virtio_ops net_ops = {
	.name = "virtio-net",
	.type = VIRTIO_NET,
	.class_code = 0x020000,
	.request = net_request,
	.started = tell_accepted,
	.reset = tell_accepted,
	.loaded = net_loaded,
	.go_on = net_go_on,
};

int virtio_net_each_state(struct virtio_net *v, unsigned index, state_fn *fn, void *opaque)
{
	char name[32];

	snprintf(name, sizeof(name), "virtio-net.%u", index);
	return fn(opaque, name, &virtio_state, &v->d);
}

static void fill_config(struct virtio_net *v, const u8 mac[6])
{
	u16 pairs = 1, mtu = v->net->mtu;

	v->d.config_len = CFG_LEN;
	memcpy(v->d.config + CFG_MAC, mac, 6);
	memcpy(v->d.config + CFG_PAIRS, &pairs, 2);
	memcpy(v->d.config + CFG_MTU, &mtu, 2);
	set_link(v, v->net->up);
}

struct virtio_net *virtio_net_new(const struct virtio_board *b, struct net *net, const u8 mac[6], struct err *e)
{
	struct virtio_net *v = dev_alloc(sizeof(*v), e);

	if (!v)
		return NULL;
	v->net = net;
	v->d.offered = BIT(F_MTU) | BIT(F_MAC) | BIT(F_MRG_RXBUF) | BIT(F_STATUS) | BIT(F_CTRL_VQ) | BIT(F_CTRL_RX) |
		       BIT(F_CTRL_MAC_ADDR);
	if (net->finishes)
		v->d.offered |= BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_GUEST_TSO4) | BIT(F_GUEST_TSO6) |
				BIT(F_HOST_TSO4) | BIT(F_HOST_TSO6);
	fill_config(v, mac);
	net_set_user(net, &(struct net_user){ on_arrived, on_drained, on_link, v });
	if (!virtio_init(&v->d, b, &net_ops, 3, QUEUE_SIZE, e))
		return v;
	virtio_net_free(v);
	return NULL;
}

static void nothing(void *opaque)
{
	(void)opaque;
}

static void no_link(void *opaque, bool up)
{
	(void)opaque;
	(void)up;
}

void virtio_net_free(struct virtio_net *v)
{
	if (!v)
		return;
	virtio_deinit(&v->d);
	net_set_user(v->net, &(struct net_user){ nothing, nothing, no_link, NULL });
	free(v);
}

_Static_assert(sizeof(struct header) == 12, "as it lies in guest memory");
