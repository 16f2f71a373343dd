/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/irqor.h"

static void irqor_set(void *chip, unsigned input, bool level)
{
	struct irqor *g = chip;
	u32 before = g->levels;

	if (level)
		g->levels |= 1u << (input & 31);
	else
		g->levels &= ~(1u << (input & 31));
	if (!before != !g->levels)
		irq_set(&g->out, g->levels != 0);
}

struct irq irqor_input(struct irqor *g, unsigned n)
{
	return (struct irq){ .set = irqor_set, .chip = g, .input = n };
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct irqor
static const struct state_field state_fields[] = {
	STATE_UINT(S, levels),
};
#undef S

const struct state irqor_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
