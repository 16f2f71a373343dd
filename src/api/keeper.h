/* SPDX-License-Identifier: Apache-2.0
 * What a machine in its sandbox still needs of paths, in a process that no guest speaks to: the sockets that the
 * machine made go when it ends, however it ends, and the console's key for a snapshot has a file to write to. Which
 * these are is fixed before the guest begins.
 */
#ifndef API_KEEPER_H
#define API_KEEPER_H

#include "base/err.h"

#define KEEPER_SOCKETS 16

struct keeper_paths {
	const char *snapshot;		    /* NULL: none */
	const char *socket[KEEPER_SOCKETS]; /* of these the ones that are sockets */
	unsigned nr_sockets;
};

struct keeper;

/* Before there are threads and guest memory. */
struct keeper *keeper_new(const struct keeper_paths *p, struct err *e);
/* The machine has made its sockets: from now on they are the keeper's to take away. */
int keeper_arm(struct keeper *k, struct err *e);
/* The snapshot's file, to be written; it has its name after keeper_commit(). From one thread at a time. */
int keeper_open(struct keeper *k, struct err *e);
int keeper_commit(struct keeper *k, bool ok, struct err *e);
/* Ends it, and what it keeps; NULL is none. */
void keeper_free(struct keeper *k);

#endif
