/* SPDX-License-Identifier: Apache-2.0
 * What stands at the reset vector of a board without firmware; see pcreset.c.
 */
#ifndef MACHINE_PCRESET_H
#define MACHINE_PCRESET_H

#include "mem/mem.h"

/* The last page below 4 GiB as ROM. 0, or -1 with *e. */
int pc_add_reset_rom(struct mem *m, struct err *e);

#endif
