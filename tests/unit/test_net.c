/* SPDX-License-Identifier: Apache-2.0
 * The words of --net and -p, checksums, the egress list, and the virtio card on a network that is an array.
 */
#include "unit/virtio_driver.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dev/virtio/net.h"
#include "net/csum.h"
#include "net/egress.h"
#include "net/packet.h"

#define RAM (8u << 20)
#define RINGS 0x10000
#define BUFFER 0x200000
#define V1 BIT(VIRTIO_F_VERSION_1)
#define MERGE BIT(15)
#define HEAD 12u

/* ---- words ---------------------------------------------------------------------------------------------------------
 */

static void test_spec(void **state)
{
	static const char *const wrong[] = { "",
					     "users",
					     "tap",
					     "tap:",
					     "none,mtu=9",
					     "user,",
					     "user,mtu=67",
					     "user,mtu=65521",
					     "user,mac=1",
					     "user,mac=01:00:00:00:00:01",
					     "user,allow=1.2.3.4",
					     "user,allow=:1",
					     "user,allow=1.2.3.4:0",
					     "user,allow=1.2.3.4:65536",
					     "user,allow=1.2.3.4:1x",
					     "tap:x,host-loopback",
					     "tap:x,allow=1.2.3.4:5",
					     "user,pcap=",
					     "tap:sixteen-letters-x" };
	struct net_spec s;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		e.text[0] = 0;
		assert_int_equal(net_parse(&s, wrong[i], 0, &e), -1);
		assert_non_null(strstr(e.text, "--net"));
	}
	assert_int_equal(
	    net_parse(&s, "user,mac=52:54:00:ab:cd:ef,mtu=1400,allow=[2001:db8::1]:*,allow=10.1.2.3:443", 0, &e), 0);
	assert_int_equal(s.kind, NET_USER);
	assert_memory_equal(s.mac, "\x52\x54\x00\xab\xcd\xef", 6);
	assert_int_equal(s.mtu, 1400);
	assert_int_equal(s.n_allowed, 2);
	assert_int_equal(s.allowed[0].to.family, 6);
	assert_int_equal(s.allowed[0].port, 0);
	assert_int_equal(s.allowed[1].to.family, 4);
	assert_memory_equal(s.allowed[1].to.bytes, "\x0a\x01\x02\x03", 4);
	assert_int_equal(s.allowed[1].port, 443);
	assert_int_equal(net_parse(&s, "tap:tap7,pcap=/tmp/x", 1, &e), 0);
	assert_string_equal(s.interface, "tap7");
	assert_string_equal(s.pcap, "/tmp/x");
	assert_int_equal(s.mac[0] & 3, 2); /* of one card, administered here */
}

static void test_forward(void **state)
{
	static const char *const wrong[] = {
		"",	"80",	   "80:",	":80",	     "80:0",	   "80:65536",
		"x:80", "80:80/x", "1.2.3:1:2", "[::1]:1:2", "1.2.3.4:80", "80:80/udp/udp"
	};
	struct net_spec s = { 0 };
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(net_parse_forward(&s, wrong[i], &e), -1);
	assert_int_equal(net_parse_forward(&s, "8080:80", &e), 0);
	assert_int_equal(net_parse_forward(&s, "0.0.0.0:53:5353/udp", &e), 0);
	assert_int_equal(s.n_forwards, 2);
	assert_int_equal(s.forward[0].host, 8080);
	assert_int_equal(s.forward[0].guest, 80);
	assert_memory_equal(s.forward[0].at.bytes, "\x7f\0\0\x01", 4);
	assert_true(s.forward[1].udp);
	assert_int_equal(s.forward[1].at.bytes[0], 0);
	for (unsigned i = 2; i < NET_FORWARDS_MAX; i++)
		assert_int_equal(net_parse_forward(&s, "1:2", &e), 0);
	assert_int_equal(net_parse_forward(&s, "1:2", &e), -1);
}

/* ---- checksums ------------------------------------------------------------------------------------------------------
 */

/* RFC 1071's own words: 16 bits at a time. */
static u16 slow_sum(const u8 *p, size_t n)
{
	u32 sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += (u32)(p[i] | (i + 1 < n ? p[i + 1] << 8 : 0));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

static void test_csum(void **state)
{
	struct net_offload o = { .flags = NET_NEEDS_CSUM, .csum_start = 10, .csum_offset = 6 };
	u8 p[3000];

	(void)state;
	srand(1);
	for (unsigned round = 0; round < 2000; round++) {
		size_t n = (size_t)rand() % sizeof(p);

		for (size_t i = 0; i < n; i++)
			p[i] = (u8)(round & 1 ? 0xff : rand());
		assert_int_equal(csum_sum(p, n) % 0xffff, slow_sum(p, n) % 0xffff);
	}
	assert_true(csum_finish(p, 100, &o));
	assert_int_equal(csum_sum(p + 10, 90) % 0xffff, (slow_sum(p + 10, 90)) % 0xffff);
	assert_true(csum_finish(p, 18, &o));
	assert_false(csum_finish(p, 17, &o));
	o.csum_start = 0xffff;
	o.csum_offset = 0xffff;
	assert_false(csum_finish(p, sizeof(p), &o));
}

/* ---- egress
 * ---------------------------------------------------------------------------------------------------------- */

struct probe {
	u8 bytes[128];
	size_t n;
};

static struct probe probe4(u8 proto, const char *to, u16 from_port, u16 port, u8 flags)
{
	struct probe p = { .n = 14 + 20 + 20 };
	u8 *ip = p.bytes + 14, *body = ip + 20;

	p.bytes[12] = 8;
	ip[0] = 0x45;
	ip[9] = proto;
	inet_pton(AF_INET, to, ip + 16);
	body[0] = (u8)(from_port >> 8);
	body[1] = (u8)from_port;
	body[2] = (u8)(port >> 8);
	body[3] = (u8)port;
	body[13] = flags;
	return p;
}

static struct probe probe6(u8 next, const char *to, u16 port, u8 flags)
{
	struct probe p = { .n = 14 + 40 + 20 };
	u8 *ip = p.bytes + 14, *body = ip + 40;

	p.bytes[12] = 0x86;
	p.bytes[13] = 0xdd;
	ip[0] = 0x60;
	ip[6] = next;
	inet_pton(AF_INET6, to, ip + 24);
	body[2] = (u8)(port >> 8);
	body[3] = (u8)port;
	body[13] = flags;
	return p;
}

static void test_egress(void **state)
{
	struct net_spec s;
	struct err e;
	struct probe p;
	u8 answer[EGRESS_REFUSAL_MAX];
#define ALLOWED(...) (p = __VA_ARGS__, egress_allows(&s, p.bytes, p.n))

	(void)state;
	assert_int_equal(net_parse(&s, "user", 0, &e), 0);
	assert_true(ALLOWED(probe4(6, "8.8.8.8", 1, 80, 2)));
	assert_int_equal(net_parse(&s, "user,allow=10.1.2.3:443,allow=[2001:db8::1]:*", 0, &e), 0);
	assert_int_equal(net_parse_forward(&s, "5000:7/udp", &e), 0);
	/* TCP: what opens a connection. */
	assert_true(ALLOWED(probe4(6, "10.1.2.3", 1, 443, 2)));
	assert_false(ALLOWED(probe4(6, "10.1.2.3", 1, 444, 2)));
	assert_false(ALLOWED(probe4(6, "10.1.2.4", 1, 443, 2)));
	assert_false(ALLOWED(probe4(6, "10.1.2.4", 1, 443, 2 | 1)));
	assert_true(ALLOWED(probe4(6, "10.1.2.4", 1, 443, 16)));
	assert_true(ALLOWED(probe4(6, "10.0.2.2", 1, 9, 2 | 16)));
	assert_false(ALLOWED(probe4(6, "10.0.2.2", 1, 9, 2)));
	assert_true(ALLOWED(probe6(6, "2001:db8::1", 9, 2)));
	assert_false(ALLOWED(probe6(6, "2001:db8::2", 9, 2)));
	/* UDP: every packet. */
	assert_false(ALLOWED(probe4(17, "8.8.8.8", 1, 53, 0)));
	assert_true(ALLOWED(probe4(17, "10.0.2.3", 1, 53, 0)));
	assert_true(ALLOWED(probe4(6, "10.0.2.3", 1, 53, 2)));
	assert_false(ALLOWED(probe4(17, "10.0.2.3", 1, 54, 0)));
	assert_true(ALLOWED(probe4(17, "255.255.255.255", 68, 67, 0)));
	assert_true(ALLOWED(probe4(17, "10.0.2.2", 7, 40000, 0)));
	assert_false(ALLOWED(probe4(17, "9.9.9.9", 7, 40000, 0)));
	assert_false(ALLOWED(probe4(17, "10.0.2.2", 8, 40000, 0)));
	/* Pings, and what could hide a port. */
	assert_true(ALLOWED(probe4(1, "10.0.2.2", 0, 0, 0)));
	assert_false(ALLOWED(probe4(1, "10.1.2.3", 0, 0, 0)));
	assert_true(ALLOWED(probe6(58, "2001:db8::1", 0, 0)));
	assert_true(ALLOWED(probe6(58, "ff02::1", 0, 0)));
	assert_false(ALLOWED(probe6(58, "2001:db8::2", 0, 0)));
	assert_false(ALLOWED(probe6(43, "2001:db8::1", 443, 2)));
	assert_false(ALLOWED(probe4(132, "10.1.2.3", 1, 443, 0)));
	p = probe4(6, "10.1.2.3", 1, 443, 2);
	p.bytes[14 + 6] = 0x20;
	assert_false(egress_allows(&s, p.bytes, p.n));
	p = probe4(6, "10.1.2.3", 1, 443, 2);
	p.bytes[13] = 6; /* ARP */
	assert_true(egress_allows(&s, p.bytes, p.n));
	p.bytes[12] = 0x81; /* VLAN */
	p.bytes[13] = 0;
	assert_false(egress_allows(&s, p.bytes, p.n));
	/* A connection that is refused ends at once. */
	p = probe4(6, "10.1.2.4", 0x1234, 443, 2);
	memcpy(p.bytes + 14 + 12, "\x0a\0\2\x0f", 4);
	memcpy(p.bytes + 34 + 4, "\0\0\0\xff", 4);
	assert_int_equal(egress_refuse(p.bytes, p.n, answer), 54);
	assert_int_equal(csum_sum(answer + 14, 20), 0xffff);
	assert_memory_equal(answer + 26, "\x0a\1\2\4\x0a\0\2\x0f\1\xbb\x12\x34\0\0\0\0\0\0\1\0", 20);
	memcpy(answer + 14 + 8, "\0\6\0\x14", 4); /* the pseudo-header is where the header was */
	assert_int_equal(csum_sum(answer + 14 + 8, 32), 0xffff);
	p = probe6(6, "2001:db8::2", 443, 2);
	assert_int_equal(egress_refuse(p.bytes, p.n, answer), 74);
	memcpy(answer + 14 + 4, "\0\6\0\x14", 4);
	assert_int_equal(csum_sum(answer + 14 + 4, 56), 0xffff);
	p = probe4(17, "10.1.2.4", 1, 443, 2);
	assert_int_equal(egress_refuse(p.bytes, p.n, answer), 0);
	for (size_t n = 0; n < 54; n++) {
		p = probe4(6, "10.1.2.3", 1, 443, 2);
		assert_false(egress_allows(&s, p.bytes, n));
	}
#undef ALLOWED
}

/* ---- the card
 * -------------------------------------------------------------------------------------------------------- */

static struct drv_dev d;
static struct drv_queue q[3];

/* A network whose frames are written by the test. */
static struct {
	struct net n;
	u8 out[70000], in[4][70000];
	struct net_offload out_offload, in_offload;
	u32 out_len, in_len[4];
	unsigned sent, head, tail, accepts;
	bool busy;
} wire;

static bool wire_send(struct net *n, const struct net_frame *f)
{
	(void)n;
	if (wire.busy)
		return false;
	memcpy(wire.out, f->bytes, f->len);
	wire.out_len = f->len;
	wire.out_offload = f->offload;
	wire.sent++;
	return true;
}

static bool wire_peek(struct net *n, struct net_frame *f)
{
	(void)n;
	if (wire.head == wire.tail)
		return false;
	*f = (struct net_frame){ wire.in_offload, wire.in[wire.tail % 4], wire.in_len[wire.tail % 4] };
	return true;
}

static void wire_take(struct net *n)
{
	(void)n;
	wire.tail++;
}

static void wire_accepts(struct net *n, unsigned what)
{
	(void)n;
	wire.accepts = what;
}

static const struct net_ops wire_ops = {
	.send = wire_send, .peek = wire_peek, .take = wire_take, .accepts = wire_accepts
};

static struct virtio_net *card_new(void)
{
	struct virtio_board b = drv_board_init(&d, RAM);
	struct virtio_net *v;

	memset(&wire, 0, sizeof(wire));
	wire.n = (struct net){ .ops = &wire_ops, .mtu = 9000, .up = true, .finishes = true };
	v = virtio_net_new(&b, &wire.n, (const u8 *)"\x52\x54\0\1\2\3", &d.b.err);
	assert_non_null(v);
	drv_find(&d);
	return v;
}

static void card_end(struct virtio_net *v)
{
	virtio_net_free(v);
	pci_free(d.bus);
	board_free(&d.b);
}

static void begin(u64 features)
{
	assert_true(drv_negotiate(&d, V1 | features));
	for (unsigned i = 0; i < 3; i++)
		drv_add_queue(&d, i, &q[i], 16, RINGS + i * 0x10000);
	drv_go(&d);
}

/* One frame out of the guest, with this header; true when the device has given it back. */
static bool transmit(const struct net_offload *o, const void *bytes, u32 len)
{
	struct drv_seg s = { BUFFER, HEAD + len, false };
	u32 used;

	memset(d.ram + BUFFER, 0, HEAD);
	if (o)
		memcpy(d.ram + BUFFER, o, sizeof(*o));
	memcpy(d.ram + BUFFER + HEAD, bytes, len);
	assert_true(drv_offer(&q[1], &s, 1, 0) >= 0);
	drv_kick(&d, 1);
	return drv_take(&q[1], &used) >= 0;
}

static void offer(u64 at, u32 len)
{
	struct drv_seg s = { at, len, true };

	assert_true(drv_offer(&q[0], &s, 1, 0) >= 0);
	drv_kick(&d, 0);
}

static void arrives(u8 fill, u32 len)
{
	memset(wire.in[wire.head % 4], fill, len);
	wire.in_len[wire.head++ % 4] = len;
	wire.n.user.arrived(wire.n.user.opaque);
}

static void test_out(void **state)
{
	struct virtio_net *v = card_new();
	struct net_offload csum = { .flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };
	struct net_offload tso = { NET_NEEDS_CSUM, NET_GSO_TCPV4, 54, 1448, 34, 16 };
	u8 frame[600] = { 1, 2, 3 };
	u32 used;

	(void)state;
	assert_int_equal(mem_mmio_read(d.b.mem, d.device, 4, NULL), 0x01005452);
	assert_int_equal(mem_mmio_read(d.b.mem, d.device + 6, 2, NULL), 1);
	assert_int_equal(mem_mmio_read(d.b.mem, d.device + 10, 2, NULL), 9000);
	begin(BIT(0) | BIT(1) | BIT(7) | BIT(11));
	assert_int_equal(wire.accepts, NET_ACCEPTS_CSUM | NET_ACCEPTS_TSO4);
	assert_true(transmit(NULL, frame, 60));
	assert_int_equal(wire.out_len, 60);
	assert_memory_equal(wire.out, frame, 60);
	assert_true(transmit(&csum, frame, 600));
	assert_int_equal(wire.out_offload.csum_start, 34);
	assert_true(transmit(&tso, frame, 600));
	assert_int_equal(wire.sent, 3);
	/* Wrong: outside the frame, a type that was not offered, no size, a header beyond the end. */
	csum.csum_start = 584;
	assert_true(transmit(&csum, frame, 600));
	tso.gso_type = NET_GSO_TCPV6;
	assert_true(transmit(&tso, frame, 600));
	tso.gso_type = NET_GSO_TCPV4;
	tso.gso_size = 0;
	assert_true(transmit(&tso, frame, 600));
	tso.gso_size = 1;
	tso.hdr_len = 601;
	assert_true(transmit(&tso, frame, 600));
	assert_true(transmit(NULL, frame, 0));
	assert_int_equal(wire.sent, 3);
	assert_int_equal(d.counters.n[CNT_NET_DROPPED], 5);
	/* The wire is busy. */
	wire.busy = true;
	assert_false(transmit(NULL, frame, 100));
	wire.busy = false;
	wire.n.user.drained(wire.n.user.opaque);
	assert_true(drv_take(&q[1], &used) >= 0);
	assert_int_equal(wire.sent, 4);
	card_end(v);
}

static void test_in(void **state)
{
	struct virtio_net *v = card_new();
	u32 len;

	(void)state;
	arrives(1, 100); /* nobody there: gone */
	assert_int_equal(wire.tail, 1);
	begin(MERGE);
	wire.in_offload.flags = NET_DATA_VALID;
	arrives(2, 100); /* no buffer: it waits */
	assert_int_equal(wire.tail, 1);
	offer(BUFFER, 1000);
	assert_int_equal(wire.tail, 2);
	assert_true(drv_take(&q[0], &len) >= 0);
	assert_int_equal(len, HEAD + 100);
	assert_int_equal(d.ram[BUFFER], 0); /* checksums were not accepted */
	assert_int_equal(get16(&q[0], BUFFER + 10), 1);
	assert_int_equal(d.ram[BUFFER + HEAD + 99], 2);
	/* Over three buffers, of which the last comes late. */
	offer(BUFFER, 1000);
	offer(BUFFER + 0x1000, 1000);
	arrives(3, 2500);
	assert_int_equal(wire.tail, 2);
	assert_true(drv_take(&q[0], &len) < 0);
	offer(BUFFER + 0x2000, 1000);
	assert_int_equal(wire.tail, 3);
	assert_int_equal(get16(&q[0], BUFFER + 10), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(drv_take(&q[0], &len) >= 0);
		assert_int_equal(len, i < 2 ? 1000 : 2512 - 2000);
	}
	assert_int_equal(d.ram[BUFFER + 0x2000], 3);
	assert_int_equal(d.ram[BUFFER + 0x2000 + 511], 3);
	/* More than the whole ring has: dropped, and the next one comes. */
	for (unsigned i = 0; i < 16; i++)
		offer(BUFFER + i * 64, 64);
	arrives(4, 2000);
	assert_int_equal(d.counters.n[CNT_NET_DROPPED], 1);
	arrives(5, 50);
	assert_true(drv_take(&q[0], &len) >= 0);
	assert_int_equal(len, HEAD + 50);
	/* The cable. */
	wire.n.user.link(wire.n.user.opaque, false);
	assert_int_equal(mem_mmio_read(d.b.mem, d.device + 6, 2, NULL), 0);
	card_end(v);
}

static void test_in_single(void **state)
{
	struct virtio_net *v = card_new();
	u32 len;

	(void)state;
	begin(BIT(1));
	wire.in_offload.flags = NET_DATA_VALID;
	offer(BUFFER, 500);
	offer(BUFFER + 0x1000, 1600);
	arrives(1, 1000); /* not split without the feature: dropped */
	assert_int_equal(wire.tail, 1);
	assert_int_equal(d.counters.n[CNT_NET_DROPPED], 1);
	arrives(2, 488);
	assert_true(drv_take(&q[0], &len) >= 0);
	assert_int_equal(len, 500);
	assert_int_equal(d.ram[BUFFER], NET_DATA_VALID);
	/* A buffer without room for a header breaks the rules. */
	offer(BUFFER, 8);
	arrives(3, 10);
	arrives(3, 10);
	assert_int_equal(drv_get(&d, COMMON_STATUS, 1) & VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET);
	card_end(v);
}

static u8 command(u8 class, u8 cmd, const void *more, u32 len)
{
	struct drv_seg s[2] = { { BUFFER, 2 + len, false }, { BUFFER + 0x1000, 1, true } };
	u32 used;

	d.ram[BUFFER] = class;
	d.ram[BUFFER + 1] = cmd;
	memcpy(d.ram + BUFFER + 2, more, len);
	d.ram[BUFFER + 0x1000] = 0x77;
	assert_true(drv_offer(&q[2], s, 2, 0) >= 0);
	drv_kick(&d, 2);
	assert_true(drv_take(&q[2], &used) >= 0);
	assert_int_equal(used, 1);
	return d.ram[BUFFER + 0x1000];
}

static void test_control(void **state)
{
	struct virtio_net *v = card_new();

	(void)state;
	begin(BIT(17) | BIT(18) | BIT(23));
	assert_int_equal(command(0, 0, "\1", 1), 0);
	assert_int_equal(command(0, 6, "\1", 1), 1);
	assert_int_equal(command(1, 1, "\x52\x54\0\7\7\7", 6), 0);
	assert_int_equal(mem_mmio_read(d.b.mem, d.device + 2, 4, NULL), 0x07070700);
	assert_int_equal(command(1, 1, "\x52\x54", 2), 1);
	assert_int_equal(command(9, 0, "", 0), 1);
	card_end(v);
}

/* ---- the process of a user network
 * ------------------------------------------------------------------------------------ */

static unsigned arrived;
static bool cut;

static void on_arrived(void *opaque)
{
	(void)opaque;
	arrived++;
}

static void on_link(void *opaque, bool up)
{
	(void)opaque;
	cut = !up;
}

/* An ARP request for the gateway is answered; a port in use is a sentence; a process that ends takes the link down. */
static void test_user(void **state)
{
	static const u8 arp[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,	  1,	2,  3, 8, 6,
				    0,	  1,	8,    0,    6,	  4,	0,    1,    0x52, 0x54, 0,  1, 2, 3,
				    10,	  0,	2,    15,   0,	  0,	0,    0,    0,	  0,	10, 0, 2, 2 };
	struct net_frame f = { .bytes = arp, .len = sizeof(arp) };
	struct net_spec s;
	struct err e = { "" };
	struct loop *l = loop_new(&e);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(a);
	int taken = socket(AF_INET, SOCK_STREAM, 0);
	char port[32];
	struct net *n;

	(void)state;
	assert_int_equal(net_parse(&s, "user", 0, &e), 0);
	assert_int_equal(bind(taken, (struct sockaddr *)&a, sizeof(a)) | listen(taken, 1), 0);
	getsockname(taken, (struct sockaddr *)&a, &size);
	snprintf(port, sizeof(port), "%u:80", ntohs(a.sin_port));
	assert_int_equal(net_parse_forward(&s, port, &e), 0);
	assert_null(net_new(&s, l, &e));
	assert_non_null(strstr(e.text, "-p: port"));
	s.n_forwards = 0;
	n = net_new(&s, l, &e);
	assert_non_null(n);
	net_set_user(n, &(struct net_user){ on_arrived, on_arrived, on_link, NULL });
	assert_true(net_send(n, &f));
	for (unsigned i = 0; i < 50 && !arrived; i++) {
		loop_wait(l, 100000000);
		loop_dispatch(l);
	}
	assert_true(net_peek(n, &f));
	assert_int_equal(f.bytes[12] << 8 | f.bytes[13], 0x0806);
	assert_int_equal(f.bytes[21], 2); /* the answer */
	net_take(n);
	shutdown(container_of(n, struct packet, net)->fd, SHUT_RDWR);
	assert_int_equal(net_peek(n, &f), 0);
	assert_true(cut && !n->up);
	net_free(n);
	loop_free(l);
	close(taken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),	  cmocka_unit_test(test_forward), cmocka_unit_test(test_csum),
		cmocka_unit_test(test_egress),	  cmocka_unit_test(test_out),	  cmocka_unit_test(test_in),
		cmocka_unit_test(test_in_single), cmocka_unit_test(test_control), cmocka_unit_test(test_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
