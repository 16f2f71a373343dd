/* SPDX-License-Identifier: Apache-2.0
 * Output to a file, which is emptied first. No input.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "chardev/backends.h"
#include "chardev/stream.h"

static void file_free(struct chardev *c)
{
	struct stream *s = (struct stream *)c;
	int fd = s->out_fd;

	stream_flush(s, 1000);
	stream_detach(s);
	if (fd >= 0)
		close(fd);
	free(s);
}

static const struct chardev_ops file_ops = { .write = stream_write, .free = file_free };

struct chardev *file_new(const char *path, struct loop *loop, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct stream *s;

	if (fd < 0) {
		err_errno(e, "cannot open '%.200s' for a serial port's output", path);
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		close(fd);
		err_set(e, "out of memory");
		return NULL;
	}
	stream_init(s, loop, &file_ops);
	stream_attach(s, -1, fd);
	return &s->dev;
}
