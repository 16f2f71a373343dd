/* SPDX-License-Identifier: Apache-2.0
 * Between the files of snap/: what snapshots and images have in common.
 */
#ifndef SNAP_WRITE_H
#define SNAP_WRITE_H

#include "snap/snap.h"

/* All vCPUs stand, nothing is under way, no reset is due, and the machine lock is held; and the end of that. */
void snap_stand_still(struct vm *vm);
void snap_stand_no_more(struct vm *vm);
/* A snapshot without RAM, of a machine that stands still; with the machine lock. */
int snap_write_rest(struct vm *vm, FILE *f, struct err *e);
/* f is where such a snapshot begins; its RAM is in the same file, from start on. */
struct snap *snap_open_behind(FILE *f, u64 start, u64 ram, struct err *e);

#endif
