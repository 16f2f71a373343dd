/* SPDX-License-Identifier: Apache-2.0
 * Names to backends.
 */
#include "chardev/chardev.h"

#include "chardev/backends.h"

struct chardev *chardev_new(const char *spec, struct loop *loop, const struct chardev_keys *keys, struct err *e)
{
	if (!strcmp(spec, "stdio"))
		return stdio_new(loop, keys, e);
	if (!strcmp(spec, "none") || !strcmp(spec, "null"))
		return null_new(e);
	if (!strcmp(spec, "pty"))
		return pty_new(loop, e);
	if (!strncmp(spec, "file:", 5) && spec[5])
		return file_new(spec + 5, loop, e);
	if (!strncmp(spec, "unix:", 5) && spec[5])
		return unixsock_new(spec + 5, loop, e);
	err_set(e, "unknown character device '%.100s': use stdio, file:FILE, pty, unix:PATH or none", spec);
	return NULL;
}

void chardev_free(struct chardev *c)
{
	if (c)
		c->ops->free(c);
}

void chardev_set_user(struct chardev *c, const struct chardev_user *user)
{
	if (!c)
		return;
	c->user = *user;
	chardev_kick_input(c);
}
