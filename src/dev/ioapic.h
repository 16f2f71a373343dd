/* SPDX-License-Identifier: Apache-2.0
 * The I/O APIC (Intel 82093AA, 290566; version 0x20 with the EOI register as in the ICH families). Machine lock.
 */
#ifndef DEV_IOAPIC_H
#define DEV_IOAPIC_H

#include "base/state.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000ull

struct ioapic {
	u64 rte[IOAPIC_PINS]; /* redirection table entries, remote IRR at bit 14 */
	u32 lines;	      /* input levels as driven; 1 is the electrical high */
	u8 select;	      /* IOREGSEL */
	u8 id;
	struct msi_sink out; /* interrupt messages in MSI format; delivery mode 7 (ExtINT) included */
};

struct ioapic *ioapic_new(struct mem *m, u64 base, struct msi_sink out, struct err *e);
void ioapic_free(struct ioapic *a);
void ioapic_reset(struct ioapic *a);
/* struct irq target; input 0 to 23. */
void ioapic_set_irq(void *ioapic, unsigned input, bool level);
/* The EOI broadcast of a local APIC for a level-triggered vector (SDM 3A 11.8.5). */
void ioapic_eoi(struct ioapic *a, u8 vector);

extern const struct state ioapic_state;

#endif
