/* SPDX-License-Identifier: Apache-2.0
 * A host's or user's error on its way up: one clear sentence. Only main and cli/ print it and end the process.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/base.h"

struct err {
	char text[1000];
};

/* Writes the sentence and returns -1, so that `return err_set(e, "…");` reads well. e may be NULL. */
int err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, with ": strerror(errno)" behind it. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
