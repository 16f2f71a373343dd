/* SPDX-License-Identifier: Apache-2.0 */
#include "debug/rsp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

int rsp_open(struct rsp *r, unsigned port, struct err *e)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((u16)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	memset(r, 0, sizeof(*r));
	r->fd = -1;
	r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (r->wake < 0 || r->listener < 0)
		return err_errno(e, "cannot make a socket for gdb");
	setsockopt(r->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(r->listener, (struct sockaddr *)&a, sizeof(a)) || listen(r->listener, 1))
		return err_errno(e, "--gdb cannot listen on 127.0.0.1:%u", port);
	return 0;
}

void rsp_close(struct rsp *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->listener >= 0)
		close(r->listener);
	if (r->wake >= 0)
		close(r->wake);
	r->fd = r->listener = r->wake = -1;
}

void rsp_wake(struct rsp *r)
{
	u64 one = 1;

	if (write(r->wake, &one, sizeof(one)) < 0)
		return; /* already full: it will wake */
}

/* Waits for fd or a wake-up: true when it was the wake-up, which is then used up. */
static bool woken_before(struct rsp *r, int fd)
{
	struct pollfd p[2] = { { .fd = r->wake, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	u64 n;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	return (p[0].revents & POLLIN) && read(r->wake, &n, sizeof(n)) == sizeof(n);
}

bool rsp_accept(struct rsp *r)
{
	int on = 1;

	if (woken_before(r, r->listener))
		return false;
	r->fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
	if (r->fd < 0)
		return true;
	setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	r->in_at = r->in_end = 0;
	r->no_ack = false;
	return true;
}

static void hang_up(struct rsp *r)
{
	close(r->fd);
	r->fd = -1;
}

/* The next byte, or -1 at the end of the connection; blocks. */
static int next_byte(struct rsp *r)
{
	if (r->in_at == r->in_end) {
		ssize_t n;

		do
			n = recv(r->fd, r->in, sizeof(r->in), 0);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			return -1;
		r->in_at = 0;
		r->in_end = (unsigned)n;
	}
	return r->in[r->in_at++];
}

static int digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int send_all(struct rsp *r, const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(r->fd, p, n, MSG_NOSIGNAL);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

/* The body behind '$': 1 a good packet, 0 a bad one (asked for again), -1 the end. */
static int read_body(struct rsp *r)
{
	unsigned n = 0, sum = 0;
	int c, hi, lo;

	while ((c = next_byte(r)) >= 0 && c != '#') {
		sum += (unsigned)c;
		if (c == '}') {
			c = next_byte(r);
			if (c < 0)
				return -1;
			sum += (unsigned)c;
			c ^= 0x20;
		}
		if (n < RSP_PACKET_MAX)
			r->packet[n++] = (char)c;
	}
	hi = next_byte(r);
	lo = next_byte(r);
	if (c < 0 || hi < 0 || lo < 0)
		return -1;
	r->packet[n] = 0;
	if (r->no_ack)
		return 1;
	if (digit(hi) * 16 + digit(lo) != (int)(sum & 0xff))
		return send_all(r, "-", 1) ? -1 : 0;
	return send_all(r, "+", 1) ? -1 : 1;
}

enum rsp_event rsp_wait(struct rsp *r)
{
	for (;;) {
		int c;

		if (r->in_at == r->in_end && woken_before(r, r->fd))
			return RSP_WOKEN;
		c = next_byte(r);
		if (c == 3)
			return RSP_INTERRUPT;
		if (c == '$')
			c = read_body(r);
		else if (c >= 0)
			continue; /* acknowledgements */
		if (c == 1)
			return RSP_PACKET;
		if (c < 0) {
			hang_up(r);
			return RSP_GONE;
		}
	}
}

int rsp_send(struct rsp *r, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	char out[2 * RSP_PACKET_MAX + 8];
	unsigned sum = 0;
	size_t n = 0;

	out[n++] = '$';
	for (size_t i = 0; i < MIN(len, (size_t)RSP_PACKET_MAX); i++) {
		char c = text[i];

		if (c == '#' || c == '$' || c == '}' || c == '*') {
			out[n++] = '}';
			sum += '}';
			c ^= 0x20;
		}
		out[n++] = c;
		sum += (u8)c;
	}
	out[n++] = '#';
	out[n++] = hex[sum >> 4 & 15];
	out[n++] = hex[sum & 15];
	return send_all(r, out, n);
}

void rsp_to_hex(char *out, const u8 *bytes, size_t n)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = hex[bytes[i] >> 4];
		*out++ = hex[bytes[i] & 15];
	}
	*out = 0;
}

size_t rsp_from_hex(u8 *out, size_t max, const char *h)
{
	size_t n = 0;

	for (; n < max && digit(h[0]) >= 0 && digit(h[1]) >= 0; h += 2)
		out[n++] = (u8)(digit(h[0]) << 4 | digit(h[1]));
	return n;
}
