/* SPDX-License-Identifier: Apache-2.0
 * virtio console (virtio 1.2, 5.3) with several ports, each on a character device. Machine lock.
 */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "chardev/chardev.h"
#include "dev/virtio/virtio.h"

#define VIRTIO_PORTS_MAX 8

struct virtio_console;

struct virtio_port_config {
	struct chardev *chr; /* stays its owner's */
	const char *name;    /* NULL: a console (hvc); else a plain port that the guest finds under this name */
};

/* Port 0 is the one that drivers without multiport see. */
struct virtio_console *virtio_console_new(const struct virtio_board *b, const struct virtio_port_config *ports,
					  unsigned n_ports, struct err *e);
void virtio_console_free(struct virtio_console *v);
/* A port's terminal has this size now. */
void virtio_console_resize(struct virtio_console *v, unsigned port, u16 cols, u16 rows);
/* Its parts. */
int virtio_console_each_state(struct virtio_console *v, state_fn *fn, void *opaque);

#endif
