/* SPDX-License-Identifier: Apache-2.0
 * The descriptors are shared with other processes, so O_NONBLOCK is not ours to set on them. A pipe or terminal is
 * opened anew, which gives flags of our own; where that is not possible (sockets, a file of another user) a poll goes
 * before each write of at most PIPE_BUF bytes, which then does not block.
 */
#include "chardev/bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define BUFFER (64u << 10)

struct bulk {
	struct chardev dev;
	struct loop *loop;
	struct bulk_user user;
	int in_fd, out_fd, own_in, own_fd; /* own_*: opened anew, or -1 */
	bool held, in_eof, delivering;
	u64 read, written;
	u32 at, len;
	u8 buf[BUFFER];
};

static void on_input(void *opaque, int fd, short revents);
static void on_output(void *opaque, int fd, short revents);

/* ---- input ------------------------------------------------------------------------------------------------------- */

static void watch_input(struct bulk *b)
{
	if (b->in_fd >= 0 && !b->held && !b->in_eof && !b->len)
		loop_watch(b->loop, b->in_fd, POLLIN, on_input, b);
	else if (b->in_fd >= 0)
		loop_unwatch(b->loop, b->in_fd);
}

/* The user's rx() may ask for more from inside: then this goes on in the call that is under way. */
static void deliver(struct bulk *b)
{
	const struct chardev_user *u = &b->dev.user;

	if (b->delivering || !u->room || !u->rx)
		return;
	b->delivering = true;
	while (b->len) {
		u32 n = (u32)MIN(b->len, u->room(u->opaque)), at = b->at;

		if (!n)
			break;
		b->at += n;
		b->len -= n;
		u->rx(u->opaque, b->buf + at, n);
	}
	b->delivering = false;
}

static void on_input(void *opaque, int fd, short revents)
{
	struct bulk *b = opaque;
	ssize_t n;

	(void)revents;
	if (b->len || b->in_eof)
		return;
	/* What poll saw, another reader of the same pipe may have taken: ours must not wait. */
	n = read(b->own_in >= 0 ? b->own_in : fd, b->buf, BUFFER);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	b->in_eof = n <= 0;
	b->at = 0;
	b->len = n > 0 ? (u32)n : 0;
	b->read += b->len;
	deliver(b);
	if (b->len || b->in_eof)
		watch_input(b);
	if (b->in_eof && b->user.ended)
		b->user.ended(b->user.opaque, &b->dev, b->read);
}

static void bulk_kick_input(struct chardev *c)
{
	struct bulk *b = container_of(c, struct bulk, dev);
	bool had = b->len;

	deliver(b);
	if (had && !b->len && !b->delivering)
		watch_input(b);
}

void bulk_hold_input(struct chardev *c, bool held)
{
	struct bulk *b = container_of(c, struct bulk, dev);

	b->held = held;
	watch_input(b);
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static int target(const struct bulk *b)
{
	return b->own_fd >= 0 ? b->own_fd : b->out_fd;
}

/* Bytes written, 0 if the far side is full, -1 if it is gone. */
static ssize_t write_some(struct bulk *b, const u8 *p, size_t n)
{
	struct pollfd pfd = { .fd = b->out_fd, .events = POLLOUT };
	ssize_t done;

	if (b->own_fd < 0 && poll(&pfd, 1, 0) <= 0)
		return 0;
	done = write(target(b), p, b->own_fd < 0 ? MIN(n, (size_t)PIPE_BUF) : n);
	return done >= 0 ? done : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static void refuse(struct bulk *b)
{
	if (errno != EPIPE)
		log_msg(LOG_ERROR, "cannot write the command's output: %s", strerror(errno));
	bulk_close_output(&b->dev);
	if (b->user.refused)
		b->user.refused(b->user.opaque, &b->dev);
}

static size_t bulk_write(struct chardev *c, const u8 *p, size_t n)
{
	struct bulk *b = container_of(c, struct bulk, dev);
	size_t taken = 0;

	while (b->out_fd >= 0 && taken < n) {
		ssize_t done = write_some(b, p + taken, n - taken);

		if (done < 0)
			refuse(b);
		if (done == 0) {
			loop_watch(b->loop, target(b), POLLOUT, on_output, b);
			break;
		}
		taken += done > 0 ? (size_t)done : 0;
	}
	if (b->out_fd < 0)
		taken = n;
	b->written += taken;
	if (taken && b->user.moved)
		b->user.moved(b->user.opaque, c);
	return taken;
}

static void on_output(void *opaque, int fd, short revents)
{
	struct bulk *b = opaque;

	(void)revents;
	loop_unwatch(b->loop, fd);
	if (b->dev.user.drained)
		b->dev.user.drained(b->dev.user.opaque);
}

u64 bulk_written(const struct chardev *c)
{
	return container_of(c, struct bulk, dev)->written;
}

void bulk_close_output(struct chardev *c)
{
	struct bulk *b = container_of(c, struct bulk, dev);

	if (b->out_fd < 0)
		return;
	loop_unwatch(b->loop, target(b));
	if (b->own_fd >= 0)
		close(b->own_fd);
	b->own_fd = b->out_fd = -1;
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

static void bulk_free(struct chardev *c)
{
	struct bulk *b = container_of(c, struct bulk, dev);

	bulk_close_output(c);
	if (b->in_fd >= 0)
		loop_unwatch(b->loop, b->in_fd);
	if (b->own_in >= 0)
		close(b->own_in);
	free(b);
}

static int open_anew(int fd, int mode)
{
	char path[64];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || !(S_ISFIFO(st.st_mode) || isatty(fd)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

struct chardev *bulk_new(struct loop *loop, int in_fd, int out_fd, const struct bulk_user *user, struct err *e)
{
	static const struct chardev_ops ops = { .write = bulk_write, .kick_input = bulk_kick_input, .free = bulk_free };
	struct bulk *b = calloc(1, sizeof(*b));

	if (!b) {
		err_set(e, "out of memory");
		return NULL;
	}
	b->dev.ops = &ops;
	b->loop = loop;
	b->user = *user;
	b->in_fd = in_fd;
	b->out_fd = out_fd;
	b->own_in = open_anew(in_fd, O_RDONLY);
	b->own_fd = open_anew(out_fd, O_WRONLY);
	watch_input(b);
	return &b->dev;
}
