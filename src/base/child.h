/* SPDX-License-Identifier: Apache-2.0
 * A process of the machine's own for a part of its work, apart from it: forked before there are threads or guest
 * memory, without the caller's files and terminal, gone when the caller is. What it may still do, its own confinement
 * says.
 */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <sys/types.h>

#include "base/err.h"

/* Runs fn(opaque), which does not return, in a new process that has /dev/null as its first three files, the files of
 * `keep` and no others. Signals for the whole process group do not end it. Its number, or -1 and errno. */
pid_t child_start(const char *name, const int *keep, unsigned n, void (*fn)(void *opaque), void *opaque);
/* Its first message on the socket fd: "ok", or the sentence of its error. what: for a sentence of our own. */
int child_wait_ready(int fd, const char *what, struct err *e);
/* In the child. */
int child_say_ready(int fd, const struct err *e, bool ok);
/* In the child: ends, by a signal, with the other end of the socket fd, on which it gets nothing any more. For a parent
 * that is confined so that even the signal for its own end does not leave it. */
void child_end_with(int fd);
/* Ends it and waits for that;
 * pid <= 0 is none. What a confined parent may not end is given a second to end by itself, its socket being closed. */
void child_reap(pid_t pid);

#endif
