/* SPDX-License-Identifier: Apache-2.0
 * How a process takes from itself what it does not need, for good: limits, files (Landlock), system calls (seccomp).
 * What exactly, its own file says (net/confine.c, share/confine.c).
 */
#ifndef BASE_JAIL_H
#define BASE_JAIL_H

#include "base/err.h"

/* No core files, no new processes, no new privileges by any program; `files` open files at most, if not 0. what: whose
 * process, for the sentence. */
int jail_limits(unsigned files, const char *what, struct err *e);

struct jail_path {
	int fd;	    /* O_PATH; -1: left out */
	u64 access; /* LANDLOCK_ACCESS_FS_* below it */
};

/* Every right that Landlock of this host knows, out of those that this source knows. 0: there is none. */
u64 jail_rights(void);
/* All of them are gone, but for these. Nothing happens on a host without Landlock. True: it is in force. */
bool jail_files(const struct jail_path *p, unsigned n);

/* seccomp: these calls and what more() adds to the filter (an scmp_filter_ctx), which may be NULL; any other ends the
 * process. mmap and mprotect are allowed without PROT_EXEC only, and need not be in the list. */
int jail_calls(const int *calls, unsigned n, int (*more)(void *filter), const char *what, struct err *e);

/* What the process's own file says, with the same fate for every thread that it has; executable memory is among it. Any
 * other call ends the process with a sentence of signals_init(), and clone3 is a call that the host does not know,
 * which the C library understands. */
int jail_threads(const int *calls, unsigned n, int (*more)(void *filter, const void *opaque), const void *opaque,
		 struct err *e);

/* What jail_spaces() got. */
struct jail_got {
	bool user, mount, network;
};

/* Namespaces of its own, the mount namespace's root empty, and no privilege is left. Before there are threads; what the
 * host does not allow is left out. From then on no path leads anywhere. */
void jail_spaces(struct jail_got *got);
/* No file by path at all, but for reading below the directory `but` (or -1), and no signal to processes that were there
 * before. Nothing happens on a host without Landlock. True: it is in force. */
bool jail_no_files(int but);

#endif
