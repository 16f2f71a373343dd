/* SPDX-License-Identifier: Apache-2.0
 * The coprocessor error logic of a PC: FERR# raises IRQ 13, a write to port 0xf0 answers with IGNNE# (82371SB 2.5.5;
 * SDM 1 8.7.2). Machine lock.
 */
#ifndef DEV_FERR_H
#define DEV_FERR_H

#include "base/state.h"
#include "dev/irq.h"
#include "mem/mem.h"

struct ferr {
	bool ferr, ignne, pending; /* FERR# and IGNNE# as asserted; IRQ 13 */
	struct irq irq13;
};

struct ferr *ferr_new(struct mem *m, struct irq irq13, struct err *e);
void ferr_free(struct ferr *f);
void ferr_reset(struct ferr *f);
/* The bootstrap processor's FERR#; answers whether IGNNE# is asserted. */
bool ferr_set(struct ferr *f, bool asserted);

extern const struct state ferr_state;

#endif
