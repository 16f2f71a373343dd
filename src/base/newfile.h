/* SPDX-License-Identifier: Apache-2.0
 * A file that gets its name when all of it is there: until then it is a temporary one beside it.
 */
#ifndef BASE_NEWFILE_H
#define BASE_NEWFILE_H

#include "base/err.h"

struct newfile {
	char path[4096], temporary[4096];
	int fd; /* who has used it up sets -1 */
};

/* path may be there, as an ordinary file. */
int newfile_open(struct newfile *f, const char *path, struct err *e);
/* Closes it. ok: path is it from now on; else there was never anything. -1: ok, and the name cannot be given. */
int newfile_close(struct newfile *f, bool ok, struct err *e);

#endif
