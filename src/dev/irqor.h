/* SPDX-License-Identifier: Apache-2.0
 * An OR gate: a line shared by several drivers is high while any of them drives it high.
 */
#ifndef DEV_IRQOR_H
#define DEV_IRQOR_H

#include "base/state.h"
#include "dev/irq.h"

struct irqor {
	u32 levels; /* by input, 0 to 31 */
	struct irq out;
};

/* The input n (0 to 31) of the gate as a line to give away. */
struct irq irqor_input(struct irqor *g, unsigned n);

extern const struct state irqor_state;

#endif
