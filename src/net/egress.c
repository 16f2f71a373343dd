/* SPDX-License-Identifier: Apache-2.0 */
#include "net/egress.h"

#include "net/csum.h"

enum { ETH_LEN = 14, IP4_LEN = 20, IP6_LEN = 40 };
enum { TYPE_IP4 = 0x0800, TYPE_ARP = 0x0806, TYPE_IP6 = 0x86dd };
enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58 };
enum { PORT_DNS = 53, PORT_DHCP = 67, PORT_DHCP6 = 547 };
enum { TCP_LEN = 20, TCP_FLAGS = 13, TCP_CSUM = 16, IP4_CSUM = 10, HOPS = 64 };
enum { TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

/* A packet, its addresses in the order of the wire. */
struct packet_view {
	u8 family, proto;
	const u8 *dst, *body;
	size_t n; /* bytes of body */
};

static u16 be16(const u8 *p)
{
	return (u16)(p[0] << 8 | p[1]);
}

static u32 be32(const u8 *p)
{
	return (u32)be16(p) << 16 | be16(p + 2);
}

static u64 be64(const u8 *p)
{
	return (u64)be32(p) << 32 | be32(p + 4);
}

static bool is_listed(const struct net_spec *s, const struct packet_view *v, u16 port)
{
	for (unsigned i = 0; i < s->n_allowed; i++) {
		const struct net_allowed *a = &s->allowed[i];

		if (a->to.family == v->family && (!a->port || a->port == port) &&
		    !memcmp(a->to.bytes, v->dst, v->family == 4 ? 4 : 16))
			return true;
	}
	return false;
}

static bool is_gateway(const struct packet_view *v)
{
	return v->family == 4 && be32(v->dst) == EGRESS_GATEWAY;
}

static bool is_names(const struct packet_view *v)
{
	if (v->family == 4)
		return be32(v->dst) == EGRESS_NAMES;
	return be64(v->dst) == EGRESS_PREFIX6 && be64(v->dst + 8) == 3;
}

/* What goes no further than the private network. */
static bool is_near(const struct packet_view *v)
{
	if (v->family == 4)
		return (be32(v->dst) & 0xffffff00u) == EGRESS_NETWORK;
	return v->dst[0] == 0xff || (v->dst[0] == 0xfe && (v->dst[1] & 0xc0) == 0x80) || be64(v->dst) == EGRESS_PREFIX6;
}

/* The answers of a forwarded UDP port, to programs of this host. */
static bool is_answer(const struct net_spec *s, const struct packet_view *v, u16 from)
{
	for (unsigned i = 0; i < s->n_forwards; i++)
		if (s->forward[i].udp && s->forward[i].guest == from)
			return is_gateway(v);
	return false;
}

static bool tcp_allowed(const struct net_spec *s, const struct packet_view *v)
{
	u16 port;

	if (v->n < 20)
		return false;
	port = be16(v->body + 2);
	if ((v->body[TCP_FLAGS] & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return true;
	return is_listed(s, v, port) || (is_names(v) && port == PORT_DNS);
}

static bool udp_allowed(const struct net_spec *s, const struct packet_view *v)
{
	u16 from, port;

	if (v->n < 8)
		return false;
	from = be16(v->body);
	port = be16(v->body + 2);
	if (v->family == 4 && port == PORT_DHCP && (be32(v->dst) == 0xffffffffu || is_gateway(v)))
		return true;
	if (v->family == 6 && port == PORT_DHCP6 && v->dst[0] == 0xff)
		return true;
	return is_listed(s, v, port) || (is_names(v) && port == PORT_DNS) || is_answer(s, v, from);
}

/* Pings have no port: the host must be listed with any. */
static bool icmp_allowed(const struct net_spec *s, const struct packet_view *v)
{
	return is_listed(s, v, 0) || is_near(v);
}

static bool packet_allowed(const struct net_spec *s, const struct packet_view *v)
{
	switch (v->proto) {
	case PROTO_TCP:
		return tcp_allowed(s, v);
	case PROTO_UDP:
		return udp_allowed(s, v);
	case PROTO_ICMP:
		return v->family == 4 && icmp_allowed(s, v);
	case PROTO_ICMP6:
		return v->family == 6 && icmp_allowed(s, v);
	}
	return false;
}

static bool view4(struct packet_view *v, const u8 *p, size_t n)
{
	size_t head = n ? (p[0] & 15u) * 4u : 0;

	if (n < IP4_LEN || head < IP4_LEN || n < head || (be16(p + 6) & 0x3fff))
		return false;
	*v = (struct packet_view){ .family = 4, .proto = p[9], .dst = p + 16, .body = p + head, .n = n - head };
	return true;
}

static bool view6(struct packet_view *v, const u8 *p, size_t n)
{
	if (n < IP6_LEN)
		return false;
	*v = (struct packet_view){ .family = 6, .proto = p[6], .dst = p + 24, .body = p + IP6_LEN, .n = n - IP6_LEN };
	return true;
}

static bool view(struct packet_view *v, const u8 *frame, size_t n)
{
	u16 type = n > ETH_LEN ? be16(frame + 12) : 0;

	return (type == TYPE_IP4 && view4(v, frame + ETH_LEN, n - ETH_LEN)) ||
	       (type == TYPE_IP6 && view6(v, frame + ETH_LEN, n - ETH_LEN));
}

bool egress_allows(const struct net_spec *s, const u8 *frame, size_t n)
{
	struct packet_view v;

	if (!s->n_allowed)
		return true;
	if (n > ETH_LEN && be16(frame + 12) == TYPE_ARP)
		return true;
	return view(&v, frame, n) && packet_allowed(s, &v);
}

/* ---- refusals ------------------------------------------------------------------------------------------------------
 */

static void put32(u8 *p, u32 x)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (u8)(x >> (24 - 8 * i));
}

/* A TCP header alone, its checksum's place filled with that of the pseudo-header. */
static void refuse_tcp(u8 *tcp, const struct packet_view *v, const u8 *addresses)
{
	u8 pseudo[40] = { 0 };
	size_t len = v->family == 4 ? 8 : 32;
	u16 sum;

	memset(tcp, 0, TCP_LEN);
	memcpy(tcp, v->body + 2, 2);
	memcpy(tcp + 2, v->body, 2);
	put32(tcp + 8, be32(v->body + 4) + 1);
	tcp[12] = TCP_LEN / 4 << 4;
	tcp[TCP_FLAGS] = TCP_RST | TCP_ACK;
	memcpy(pseudo, addresses, len);
	pseudo[len + 1] = PROTO_TCP;
	pseudo[len + 3] = TCP_LEN;
	sum = csum_sum(pseudo, len + 4);
	memcpy(tcp + TCP_CSUM, &sum, 2);
	csum_finish(tcp, TCP_LEN, &(struct net_offload){ .csum_offset = TCP_CSUM });
}

size_t egress_refuse(const u8 *frame, size_t n, u8 answer[EGRESS_REFUSAL_MAX])
{
	struct packet_view v;
	const u8 *ip = frame + ETH_LEN;
	u8 *out = answer + ETH_LEN;

	if (!view(&v, frame, n) || v.proto != PROTO_TCP || v.n < TCP_LEN)
		return 0;
	memcpy(answer, frame + 6, 6);
	memcpy(answer + 6, frame, 6);
	memcpy(answer + 12, frame + 12, 2);
	if (v.family == 6) {
		memcpy(out, (u8[]){ 0x60, 0, 0, 0, 0, TCP_LEN, PROTO_TCP, HOPS }, 8);
		memcpy(out + 8, ip + 24, 16);
		memcpy(out + 24, ip + 8, 16);
		refuse_tcp(out + IP6_LEN, &v, out + 8);
		return ETH_LEN + IP6_LEN + TCP_LEN;
	}
	memcpy(out, (u8[IP4_LEN]){ 0x45, 0, 0, IP4_LEN + TCP_LEN, 0, 0, 0x40, 0, HOPS, PROTO_TCP }, IP4_LEN);
	memcpy(out + 12, ip + 16, 4);
	memcpy(out + 16, ip + 12, 4);
	csum_finish(out, IP4_LEN, &(struct net_offload){ .csum_offset = IP4_CSUM });
	refuse_tcp(out + IP4_LEN, &v, out + 12);
	return ETH_LEN + IP4_LEN + TCP_LEN;
}

_Static_assert(ETH_LEN + IP6_LEN + TCP_LEN == EGRESS_REFUSAL_MAX, "the longest refusal");
