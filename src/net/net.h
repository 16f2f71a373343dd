/* SPDX-License-Identifier: Apache-2.0
 * A network as one card of the guest sees it: Ethernet frames out and in. The way to it (a process with a TCP/IP stack
 * of its own, a tap interface of the host) is behind the operations; it knows nothing of the guest.
 *
 * Frames come in by asking: the user is told that one has arrived and takes it when it has room. One that waits keeps
 * the others waiting, where the sender can see it.
 *
 * Locking: all calls with the machine lock held; so are the callbacks, which come from the I/O thread.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/counter.h"
#include "base/err.h"
#include "base/loop.h"

#define NET_FRAME_MAX (14u + 4u + 65535u) /* an Ethernet header with a VLAN tag, the longest IP packet */
#define NET_MTU_MIN 68u			  /* RFC 791, 3.2 */
#define NET_MTU_MAX 65520u
#define NET_FORWARDS_MAX 32
#define NET_ALLOWED_MAX 32

/* What is left to do for a frame: virtio 1.2, 5.1.6, struct virtio_net_hdr without num_buffers. */
struct net_offload {
	u8 flags, gso_type;
	u16 hdr_len, gso_size, csum_start, csum_offset;
};

enum net_flag { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };
enum net_gso { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_TCPV6 = 4, NET_GSO_ECN = 0x80 };

/* What a guest can take unfinished (TCP segments that are not cut, checksums that are not made). */
enum net_accepts { NET_ACCEPTS_CSUM = 1, NET_ACCEPTS_TSO4 = 2, NET_ACCEPTS_TSO6 = 4 };

struct net_frame {
	struct net_offload offload;
	const u8 *bytes;
	u32 len;
};

/* An address of the host's world; family 4 or 6. */
struct net_address {
	u8 family, bytes[16];
};

struct net_forward {
	struct net_address at; /* where the host listens */
	u16 host, guest;       /* ports */
	bool udp;
};

struct net_allowed {
	struct net_address to;
	u16 port; /* 0: any */
};

enum net_kind { NET_NONE, NET_USER, NET_TAP };

/* What --net and -p say. */
struct net_spec {
	enum net_kind kind;
	char interface[16]; /* tap */
	char pcap[512];
	u8 mac[6];
	u16 mtu;			/* 0: what suits the network */
	bool host_loopback;		/* the gateway's address is the host's own 127.0.0.1 */
	unsigned n_forwards, n_allowed; /* n_allowed 0: everything is allowed */
	struct net_forward forward[NET_FORWARDS_MAX];
	struct net_allowed allowed[NET_ALLOWED_MAX];
};

struct net;

struct net_ops {
	/* False: not now, drained() will say when. */
	bool (*send)(struct net *n, const struct net_frame *f);
	/* The frame that has waited longest, valid until take(); false: none. */
	bool (*peek)(struct net *n, struct net_frame *f);
	void (*take)(struct net *n);
	void (*accepts)(struct net *n, unsigned what); /* enum net_accepts; may be NULL */
	void (*free)(struct net *n);
};

struct net_user {
	void (*arrived)(void *opaque); /* peek() has a frame */
	void (*drained)(void *opaque); /* send() may be tried again */
	void (*link)(void *opaque, bool up);
	void *opaque;
};

struct net {
	const struct net_ops *ops;
	struct net_user user;
	u16 mtu;
	bool up;
	bool finishes; /* frames may be sent unfinished: checksums and cutting are its work */
};

/* "none", "user" or "tap:IF" with what follows behind commas. index: which card, for its address. */
int net_parse(struct net_spec *s, const char *text, unsigned index, struct err *e);
/* "[ADDR:]HOST:GUEST[/udp]", for a user network. */
int net_parse_forward(struct net_spec *s, const char *text, struct err *e);

/* Before any thread is made and any guest memory is there: the process of a user network begins here. */
struct net *net_new(const struct net_spec *s, struct loop *loop, struct err *e);
void net_free(struct net *n);

static inline void net_set_user(struct net *n, const struct net_user *user)
{
	n->user = *user;
}

static inline bool net_send(struct net *n, const struct net_frame *f)
{
	return n->ops->send(n, f);
}

static inline bool net_peek(struct net *n, struct net_frame *f)
{
	return n->ops->peek(n, f);
}

static inline void net_take(struct net *n)
{
	n->ops->take(n);
}

static inline void net_accepts(struct net *n, unsigned what)
{
	if (n->ops->accepts)
		n->ops->accepts(n, what);
}

#endif
