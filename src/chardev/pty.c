/* SPDX-License-Identifier: Apache-2.0
 * A pseudo-terminal. The slave side is kept open here too, so that output before a reader comes is kept by the kernel
 * (and, when that is full, in the ring, then dropped) and a reader that leaves is no hang-up.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "chardev/backends.h"
#include "chardev/stream.h"

struct pty {
	struct stream s;
	int master, slave;
};

/* Nobody may be reading: a full ring drops, the guest goes on. */
static size_t pty_write(struct chardev *c, const u8 *p, size_t n)
{
	stream_write(c, p, n);
	return n;
}

static void pty_free(struct chardev *c)
{
	struct pty *p = container_of(c, struct pty, s.dev);

	stream_flush(&p->s, 100);
	stream_detach(&p->s);
	close(p->slave);
	close(p->master);
	free(p);
}

static const struct chardev_ops pty_ops = { .write = pty_write, .kick_input = stream_kick_input, .free = pty_free };

static int pty_open(struct pty *p, char *name, size_t size)
{
	struct termios t;

	p->slave = -1;
	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->master < 0 || grantpt(p->master) || unlockpt(p->master) || ptsname_r(p->master, name, size))
		return -1;
	p->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->slave < 0 || tcgetattr(p->slave, &t))
		return -1;
	cfmakeraw(&t);
	return tcsetattr(p->slave, TCSANOW, &t);
}

struct chardev *pty_new(struct loop *loop, struct err *e)
{
	struct pty *p = calloc(1, sizeof(*p));
	char name[64];

	if (!p || pty_open(p, name, sizeof(name))) {
		err_errno(e, "cannot make a pseudo-terminal");
		if (p && p->slave >= 0)
			close(p->slave);
		if (p && p->master >= 0)
			close(p->master);
		free(p);
		return NULL;
	}
	stream_init(&p->s, loop, &pty_ops);
	stream_attach(&p->s, p->master, p->master);
	log_msg(LOG_ERROR, "serial port on %s", name);
	return &p->s.dev;
}
