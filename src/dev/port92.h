/* SPDX-License-Identifier: Apache-2.0
 * System control port A at 0x92 (82371SB 2.5.3.4): fast A20 and fast processor reset. Machine lock.
 */
#ifndef DEV_PORT92_H
#define DEV_PORT92_H

#include "base/state.h"
#include "dev/dev.h"
#include "dev/irq.h"
#include "mem/mem.h"

struct port92 {
	u8 value;
	struct irq a20;	   /* level: this port opens the gate; the board ORs it with the keyboard controller's */
	struct call reset; /* RESET_INIT */
};

struct port92 *port92_new(struct mem *m, struct irq a20, struct call reset, struct err *e);
void port92_free(struct port92 *p);
void port92_reset(struct port92 *p);

extern const struct state port92_state;

#endif
