/* SPDX-License-Identifier: Apache-2.0
 * The reset control register at port 0xcf9 (82371SB 2.5.4). PCI's configuration ports stand around it, so pci.c routes
 * byte accesses here. Machine lock.
 */
#ifndef DEV_RESETCTL_H
#define DEV_RESETCTL_H

#include "base/state.h"
#include "dev/dev.h"

struct resetctl {
	u8 value;
	struct call reset; /* enum reset_kind */
};

void resetctl_init(struct resetctl *r, struct call reset);
void resetctl_reset(struct resetctl *r);
u8 resetctl_read(const struct resetctl *r);
void resetctl_write(struct resetctl *r, u8 v);

extern const struct state resetctl_state;

#endif
