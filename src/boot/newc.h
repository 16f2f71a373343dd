/* SPDX-License-Identifier: Apache-2.0
 * An initramfs made in memory: a cpio archive in the format "newc" (Linux, Documentation/driver-api/early-userspace/
 * buffer-format.rst).
 */
#ifndef BOOT_NEWC_H
#define BOOT_NEWC_H

#include <sys/types.h>

#include "base/err.h"

struct newc {
	u8 *data;
	size_t len, room;
	u32 inodes;
	bool failed; /* out of memory */
};

struct newc_file {
	const char *path; /* without a leading slash */
	mode_t mode;	  /* with its type */
	uid_t uid;
	gid_t gid;
	dev_t device; /* of a device's file */
	u32 mtime;
	const void *data; /* contents; a link's target */
	size_t len;
};

void newc_add(struct newc *n, const struct newc_file *f);
/* Directories, root's. */
void newc_add_dir(struct newc *n, const char *path);
/* All of a directory's tree, as its own root. -1 with a sentence. */
int newc_add_tree(struct newc *n, const char *dir, struct err *e);
/* The trailer; then the archive as a file without a name, for the loader, or -1 with a sentence. Frees the rest. */
int newc_finish(struct newc *n, struct err *e);

#endif
