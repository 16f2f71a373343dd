/* SPDX-License-Identifier: Apache-2.0
 * The descriptors may be shared with other processes (a terminal, a pipe), so O_NONBLOCK is not ours to set on them:
 * each write is preceded by a poll, and writes are small enough not to block after it (PIPE_BUF).
 */
#include "chardev/stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define WRITE_CHUNK 512u

static void stream_ready(void *opaque, int fd, short revents);

void stream_init(struct stream *s, struct loop *loop, const struct chardev_ops *ops)
{
	s->dev.ops = ops;
	s->loop = loop;
	s->in_fd = s->out_fd = -1;
}

static u32 ring_used(const struct stream *s)
{
	return s->head - s->tail;
}

static void stream_watch_fd(struct stream *s, int fd)
{
	short events = 0;

	if (fd < 0)
		return;
	if (fd == s->in_fd && !s->in_eof && !s->starved)
		events |= POLLIN;
	if (fd == s->out_fd && ring_used(s))
		events |= POLLOUT;
	if (events)
		loop_watch(s->loop, fd, events, stream_ready, s);
	else
		loop_unwatch(s->loop, fd);
}

static void stream_watch(struct stream *s)
{
	stream_watch_fd(s, s->in_fd);
	if (s->out_fd != s->in_fd)
		stream_watch_fd(s, s->out_fd);
}

void stream_attach(struct stream *s, int in_fd, int out_fd)
{
	s->in_fd = in_fd;
	s->out_fd = out_fd;
	s->in_eof = s->starved = false;
	stream_watch(s);
}

void stream_detach(struct stream *s)
{
	if (s->in_fd >= 0)
		loop_unwatch(s->loop, s->in_fd);
	if (s->out_fd >= 0)
		loop_unwatch(s->loop, s->out_fd);
	s->in_fd = s->out_fd = -1;
	s->head = s->tail = 0;
}

/* A reader that went away is nobody's mistake; a full disk is. */
static void stream_broken(struct stream *s)
{
	if (s->hangup) {
		s->hangup(s);
		return;
	}
	if (errno != EPIPE)
		log_msg(LOG_ERROR, "what the guest writes to its console is lost from here on: %s", strerror(errno));
	if (s->out_fd >= 0 && s->out_fd != s->in_fd)
		loop_unwatch(s->loop, s->out_fd);
	s->out_fd = -1;
	s->head = s->tail = 0;
}

/* Bytes written at once, 0 when the far side is full, -1 when it is gone. */
static ssize_t stream_write_some(struct stream *s, const u8 *p, size_t n)
{
	struct pollfd pfd = { .fd = s->out_fd, .events = POLLOUT };
	ssize_t done;

	if (poll(&pfd, 1, 0) <= 0)
		return 0;
	if (!(pfd.revents & POLLOUT)) {
		errno = EPIPE;
		return -1;
	}
	done = write(s->out_fd, p, MIN(n, WRITE_CHUNK));
	if (done < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	return done;
}

/* Empties the ring as far as the far side takes it. */
static void stream_drain(struct stream *s)
{
	while (s->out_fd >= 0 && ring_used(s)) {
		u32 pos = s->tail % STREAM_RING;
		ssize_t done = stream_write_some(s, s->ring + pos, MIN(ring_used(s), STREAM_RING - pos));

		if (done < 0)
			stream_broken(s);
		if (done <= 0)
			return;
		s->tail += (u32)done;
	}
}

size_t stream_write(struct chardev *c, const u8 *p, size_t n)
{
	struct stream *s = (struct stream *)c;
	bool was_empty = !ring_used(s);
	size_t taken = 0;

	if (s->out_fd < 0)
		return n;
	while (was_empty && taken < n) {
		ssize_t done = stream_write_some(s, p + taken, n - taken);

		if (done < 0) {
			stream_broken(s);
			return n;
		}
		if (!done)
			break;
		taken += (size_t)done;
	}
	while (taken < n && ring_used(s) < STREAM_RING)
		s->ring[s->head++ % STREAM_RING] = p[taken++];
	if (was_empty && ring_used(s))
		stream_watch(s);
	return taken;
}

/* Hands the chip as much as it has room for. */
static void stream_deliver(struct stream *s)
{
	const struct chardev_user *u = &s->dev.user;

	if (!u->rx || !u->room)
		s->in_tail = s->in_head;
	while (s->in_head != s->in_tail) {
		u32 pos = s->in_tail % STREAM_IN;
		size_t n = MIN(MIN(s->in_head - s->in_tail, STREAM_IN - pos), u->room(u->opaque));

		if (!n)
			return;
		s->in_tail += (u32)n;
		u->rx(u->opaque, s->in + pos, n);
	}
}

static void stream_input(struct stream *s)
{
	size_t space = STREAM_IN - (s->in_head - s->in_tail);
	u8 buf[256];
	ssize_t n;

	if (!space && !s->lossy) {
		s->starved = true;
		return;
	}
	n = read(s->in_fd, buf, s->lossy ? sizeof(buf) : MIN(space, sizeof(buf)));
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		s->in_eof = true;
		if (s->hangup)
			s->hangup(s);
		return;
	}
	if (n > 0 && s->filter)
		n = (ssize_t)s->filter(s, buf, (size_t)n);
	for (ssize_t i = 0; i < n && s->in_head - s->in_tail < STREAM_IN; i++)
		s->in[s->in_head++ % STREAM_IN] = buf[i];
	stream_deliver(s);
}

static void stream_ready(void *opaque, int fd, short revents)
{
	struct stream *s = opaque;
	bool was_full = ring_used(s) == STREAM_RING;

	if (fd == s->out_fd && (revents & (POLLOUT | POLLERR | POLLHUP)))
		stream_drain(s);
	if (fd == s->in_fd && (revents & (POLLIN | POLLERR | POLLHUP | POLLNVAL)))
		stream_input(s);
	stream_watch(s);
	if (was_full && ring_used(s) < STREAM_RING && s->dev.user.drained)
		s->dev.user.drained(s->dev.user.opaque);
}

void stream_kick_input(struct chardev *c)
{
	struct stream *s = (struct stream *)c;

	stream_deliver(s);
	if (!s->starved || s->in_head - s->in_tail == STREAM_IN)
		return;
	s->starved = false;
	stream_watch(s);
}

void stream_flush(struct stream *s, unsigned timeout_ms)
{
	for (unsigned waited = 0; waited <= timeout_ms && s->out_fd >= 0 && ring_used(s); waited += 10) {
		struct pollfd pfd = { .fd = s->out_fd, .events = POLLOUT };

		poll(&pfd, 1, 10);
		stream_drain(s);
	}
}
