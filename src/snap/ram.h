/* SPDX-License-Identifier: Apache-2.0
 * Guest RAM in a snapshot: sections "ram", each some pages that follow one another; pages of zeros are left out.
 * Machine lock, vCPUs stopped.
 */
#ifndef SNAP_RAM_H
#define SNAP_RAM_H

#include "mem/mem.h"
#include "snap/format.h"

/* -1 with errno set. */
int snap_put_ram(struct snap_out *o, struct mem *m);
/* All RAM reads as zero. */
int snap_clear_ram(struct mem *m, struct err *e);
int snap_get_ram(const struct snap_section *sec, struct mem *m, struct err *e);

#endif
