/* SPDX-License-Identifier: Apache-2.0
 * The high precision event timer (IA-PC HPET Specification 1.0a): three comparators over one 64-bit counter of 100 MHz.
 * Machine lock.
 */
#ifndef DEV_HPET_H
#define DEV_HPET_H

#include "base/clock.h"
#include "base/state.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define HPET_BASE 0xfed00000ull
#define HPET_TIMERS 3
#define HPET_PERIOD_FS 10000000u
#define HPET_HZ 100000000ull
#define HPET_ID 0x8086a201u	/* revision 1, three timers, 64 bits, legacy replacement, vendor 8086 */
#define HPET_ROUTES 0x00f00000u /* I/O APIC inputs 20 to 23 */

struct hpet_timer {
	u64 config; /* Tn_CONF: what software may write */
	u64 comparator, period, fsb;
	u64 armed_from; /* counter value up to which matches have been seen */
	struct timer timer;
	struct hpet *hpet;
};

struct hpet {
	u64 config, isr;
	u64 stopped_at;		   /* the counter while it does not run */
	u64 base_ns;		   /* VM time at which it stood at stopped_at, while it runs */
	bool pit_level, rtc_level; /* what the chips that legacy replacement silences drive */
	struct hpet_timer t[HPET_TIMERS];
	struct irq irq0, irq8; /* the PIT's and the RTC's lines: routed through here */
	struct irq gsi[24];
	struct msi_sink msi;
	const struct clock *clock;
};

struct hpet_config {
	struct irq irq0, irq8;
	struct irq gsi[24]; /* inputs of HPET_ROUTES */
	struct msi_sink msi;
};

enum { HPET_IN_PIT, HPET_IN_RTC };

struct hpet *hpet_new(struct mem *m, const struct clock *clock, struct timerq *q, const struct hpet_config *cfg,
		      struct err *e);
void hpet_free(struct hpet *h);
void hpet_reset(struct hpet *h);
/* struct irq target for the PIT's and the RTC's outputs: passed on to irq0 and irq8 unless legacy replacement is on. */
void hpet_legacy_irq(void *hpet, unsigned input, bool level);

extern const struct state hpet_state;

#endif
