/* SPDX-License-Identifier: Apache-2.0
 * Between chardev.c, which reads the option value, and the backends.
 */
#ifndef CHARDEV_BACKENDS_H
#define CHARDEV_BACKENDS_H

#include "chardev/chardev.h"

struct chardev *stdio_new(struct loop *loop, const struct chardev_keys *keys, struct err *e);
struct chardev *file_new(const char *path, struct loop *loop, struct err *e);
struct chardev *null_new(struct err *e);
struct chardev *pty_new(struct loop *loop, struct err *e);
struct chardev *unixsock_new(const char *path, struct loop *loop, struct err *e);

#endif
