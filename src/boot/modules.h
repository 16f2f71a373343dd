/* SPDX-License-Identifier: Apache-2.0
 * A Linux kernel's modules on this host: which files must be loaded, and in which order, so that given ones can be.
 */
#ifndef BOOT_MODULES_H
#define BOOT_MODULES_H

#include "base/err.h"

struct modules;

/* dir: /lib/modules/RELEASE or anything with .ko files (.ko.xz, .ko.zst, .ko.gz) below it. */
struct modules *modules_open(const char *dir, struct err *e);
void modules_free(struct modules *m);

struct module_file {
	const char *name; /* with _ for - */
	const char *path; /* of this host */
	const u8 *data;	  /* unpacked */
	size_t len;
};

/* Calls fn for each module that `wanted` needs, dependencies first, each once in the life of m; then for itself. A
 * module that there is no file for is taken to be a part of the kernel: *missing tells. -1 with a sentence if a file
 * cannot be read or fn gave -1. */
int modules_need(struct modules *m, const char *wanted, int (*fn)(void *opaque, const struct module_file *f),
		 void *opaque, bool *missing, struct err *e);

#endif
