/* SPDX-License-Identifier: Apache-2.0
 * An interrupt line is a value given to a chip at birth: which input of which chip it drives.
 */
#ifndef DEV_IRQ_H
#define DEV_IRQ_H

#include "base/base.h"

struct irq {
	void (*set)(void *chip, unsigned input, bool level);
	void *chip;
	unsigned input;
};

static inline void irq_set(const struct irq *i, bool level)
{
	if (i->set)
		i->set(i->chip, i->input, level);
}

static inline void irq_pulse(const struct irq *i)
{
	irq_set(i, true);
	irq_set(i, false);
}

/* Where every message-signalled interrupt goes (SDM 3A 11.11): address and data as the device would write them. */
struct msi_sink {
	void (*send)(void *opaque, u64 addr, u32 data);
	void *opaque;
};

#endif
