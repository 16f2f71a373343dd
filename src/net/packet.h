/* SPDX-License-Identifier: Apache-2.0
 * A network behind a descriptor: one packet a read or write, struct net_offload in front of each frame. That is what a
 * tap interface does with IFF_VNET_HDR (linux/if_tun.h), and what we do with the process of a user network.
 */
#ifndef NET_PACKET_H
#define NET_PACKET_H

#include "net/net.h"

struct pcap;

struct packet {
	struct net net; /* first */
	struct loop *loop;
	int fd;
	struct pcap *pcap; /* may be NULL */
	const char *what;  /* for the message when it is gone */
	short watched;
	bool blocked;
	u32 len; /* of the packet that waits; 0: none */
	u8 buf[sizeof(struct net_offload) + NET_FRAME_MAX];
};

/* Takes the descriptor, which does not block. n->ops stays the caller's to set. */
int packet_init(struct packet *p, int fd, const struct net_spec *s, struct loop *loop, struct err *e);
void packet_deinit(struct packet *p);
bool packet_send(struct net *n, const struct net_frame *f);
bool packet_peek(struct net *n, struct net_frame *f);
void packet_take(struct net *n);

/* ---- the ways ---- */
struct net *net_user_new(const struct net_spec *s, struct loop *loop, struct err *e);
struct net *net_tap_new(const struct net_spec *s, struct loop *loop, struct err *e);

#endif
