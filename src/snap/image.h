/* SPDX-License-Identifier: Apache-2.0
 * An image: a machine as it stood at one moment, made to be started from again and again. Its RAM lies in the file as
 * it is, with holes for pages of zeros, so that it costs a copy of what the guest used; all else stands behind it as in
 * a snapshot. Only for files that nobody else can write: RAM has no checksum.
 */
#ifndef SNAP_IMAGE_H
#define SNAP_IMAGE_H

#include "snap/snap.h"

struct snap_image {
	char about[3000]; /* which machine it is of; ends with 0, as files: for who opens it to compare */
	char files[5000]; /* what else went into it */
	u64 made_ns;	  /* how long it took to get there, for who wants to tell */
};

/* Of a machine that stands still for it, into an empty file. The caller vouches that no file server has state for the
 * guest. Not from a vCPU's thread, and without the machine lock. */
int snap_image_save(struct vm *vm, int fd, const struct snap_image *i, struct err *e);
/* For snap_load(). fd is closed in any case. */
struct snap *snap_image_open(int fd, struct snap_image *i, struct err *e);

#endif
