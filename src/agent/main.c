/* SPDX-License-Identifier: Apache-2.0
 * From the kernel's first process to the command: drivers, ports, what doppel says. Whatever fails is told to doppel,
 * which ends the machine; process 1 itself never ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

u64 agent_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static void nap(void)
{
	struct timespec t = { .tv_nsec = 300000 };

	nanosleep(&t, NULL);
}

static void write_all(int fd, const void *p, size_t n)
{
	const u8 *at = p;

	while (n) {
		ssize_t done = write(fd, at, n);
		struct pollfd pfd = { .fd = fd, .events = POLLOUT };

		if (done < 0 && errno == EAGAIN)
			poll(&pfd, 1, 100);
		else if (done < 0 && errno != EINTR)
			return;
		if (done > 0) {
			at += done;
			n -= (size_t)done;
		}
	}
}

void agent_say_of(struct agent *a, u16 session, enum agent_message type, const void *p, u32 len)
{
	u8 whole[sizeof(struct agent_head) + 8 + AGENT_DATA_MAX];
	struct agent_head h = { .len = MIN(len, sizeof(whole) - sizeof(h)), .type = (u16)type, .session = session };

	memcpy(whole, &h, sizeof(h));
	memcpy(whole + sizeof(h), p, h.len);
	write_all(a->port[AGENT_CONTROL], whole, sizeof(h) + h.len);
}

void agent_say(struct agent *a, enum agent_message type, const void *p, u32 len)
{
	agent_say_of(a, 0, type, p, len);
}

void agent_fail(struct agent *a, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	agent_say(a, AGENT_FAILED, text, (u32)strlen(text) + 1);
	for (;;)
		pause();
}

const char *agent_string(u8 **at, const u8 *end)
{
	u8 *zero = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
	const char *s = (const char *)*at;

	if (!zero)
		return NULL;
	*at = zero + 1;
	return s;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static u64 number(const struct agent *a, unsigned bytes)
{
	u64 n = 0;

	memcpy(&n, a->body, MIN(bytes, a->head.len));
	return n;
}

static void words(struct agent *a, const char *word[4])
{
	u8 *at = a->body, *end = at + a->head.len;

	for (unsigned i = 0; i < 4; i++) {
		const char *s = agent_string(&at, end);

		word[i] = s ? s : "";
	}
}

static void handle(struct agent *a)
{
	const char *word[4];

	if (a->head.session) {
		exec_handle(a);
		return;
	}
	words(a, word);
	switch (a->head.type) {
	case AGENT_CLOCK:
		setup_clock(a->body, a->head.len);
		break;
	case AGENT_ENTROPY:
		setup_entropy(a->body, a->head.len);
		break;
	case AGENT_HOST:
		setup_host(word[0]);
		break;
	case AGENT_ROOT:
		setup_root(a, word[0], word[1]);
		break;
	case AGENT_SHARE:
		setup_share(a, word[0], word[1], word[2]);
		break;
	case AGENT_NET:
		setup_net(a, word);
		break;
	case AGENT_RUN:
		if (command_start(a, a->body, a->head.len))
			a->body = NULL;
		break;
	case AGENT_SIGNAL:
		command_signal(a, (u32)number(a, 4));
		break;
	case AGENT_SIZE:
		command_size(a, (u16)number(a, 2), (u16)(number(a, 4) >> 16));
		break;
	case AGENT_END:
		pump_end(a, number(a, 8));
		break;
	case AGENT_REFUSED:
		pump_refused(a, (u32)number(a, 4));
		break;
	}
}

/* Up to n more bytes of the message, into p, which has `have` already. */
static bool take(struct agent *a, u8 *p, u32 have, u32 want)
{
	ssize_t n = have < want ? read(a->port[AGENT_CONTROL], p + have, want - have) : 0;

	if (n > 0)
		a->have += (u32)n;
	return n > 0 && have + (u32)n == want;
}

void agent_receive(struct agent *a)
{
	const u32 head = sizeof(a->head);

	if (a->have < head && !take(a, (u8 *)&a->head, a->have, head))
		return;
	if (!a->body) {
		if (a->head.len > AGENT_MESSAGE_MAX)
			agent_fail(a, "a message of %u bytes", a->head.len);
		a->body = malloc(a->head.len + 1);
		if (!a->body)
			agent_fail(a, "the guest has no memory for a message of %u bytes", a->head.len);
	}
	if (a->head.len && !take(a, a->body, a->have - head, a->head.len))
		return;
	a->body[a->head.len] = 0;
	handle(a);
	free(a->body);
	a->body = NULL;
	a->have = 0;
}

/* ---- the start --------------------------------------------------------------------------------------------------- */

static void open_port(struct agent *a, unsigned n)
{
	struct pollfd pfd = { .events = POLLOUT };
	char path[32];

	snprintf(path, sizeof(path), "/dev/vport0p%u", n);
	do {
		a->port[n] = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (a->port[n] < 0)
			nap();
	} while (a->port[n] < 0);
	/* doppel's end is open a moment later. */
	pfd.fd = a->port[n];
	while (poll(&pfd, 1, 0) < 1 || (pfd.revents & POLLHUP))
		nap();
}

int main(void)
{
	static struct agent a;
	struct {
		u32 version, zero;
		u64 ns;
	} hello = { .version = AGENT_VERSION };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	a.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	a.in_end = ~0ull;
	a.pty = a.slave = -1;
	for (unsigned i = 0; i < AGENT_PORTS; i++)
		a.s[i].fd = -1;
	setup_early();
	for (unsigned i = 0; i < AGENT_PORTS; i++)
		open_port(&a, i);
	hello.ns = agent_clock();
	agent_say(&a, AGENT_HELLO, &hello, sizeof(hello));
	pump(&a);
}
