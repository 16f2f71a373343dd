/* SPDX-License-Identifier: Apache-2.0
 * Pages in a snapshot: guest RAM (sections "ram"), and what was written to the overlay of a disk ("disk0" ...), each
 * section some pages that follow one another; a later one counts. Pages of zeros are left out of RAM, unless an earlier
 * section may have the page. Machine lock, vCPUs stopped, no request under way, where nothing else is said.
 */
#ifndef SNAP_RAM_H
#define SNAP_RAM_H

#include "block/block.h"
#include "mem/mem.h"
#include "snap/format.h"

enum snap_ram { SNAP_RAM_NONE, SNAP_RAM_ALL, SNAP_RAM_FETCHED };

/* All pages, or those in the last mem_dirty_fetch(); *pages counts them. All may be written while the machine runs and
 * its writes are logged: a fetch then has what has to be written again. -1 with errno set. */
int snap_put_ram(struct snap_out *o, struct mem *m, enum snap_ram which, u64 *pages);
/* All that is not zero, as it is: a RAM byte of the i-th range stands at start + the ranges before + its place in this.
 * The rest of the file is to be a hole. -1 with errno set. */
int snap_put_plain(int fd, u64 start, struct mem *m);
/* What snap_put_plain() wrote, under RAM that reads as zero: it is read when it is touched. */
int snap_lay_plain(int fd, u64 start, struct mem *m, struct err *e);
int snap_put_overlay(struct snap_out *o, const char *name, struct block *b);
/* All RAM reads as zero. */
int snap_clear_ram(struct mem *m, struct err *e);
int snap_get_ram(const struct snap_section *sec, struct mem *m, struct err *e);
/* b is an overlay that nothing was written to yet. */
int snap_get_overlay(const struct snap_section *sec, struct block *b, struct err *e);

#endif
