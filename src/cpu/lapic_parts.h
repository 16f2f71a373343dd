/* SPDX-License-Identifier: Apache-2.0
 * What the local APIC's three files share: lapic.c (acceptance, priorities, EOI, modes), lapic_regs.c (the register file
 * in both forms, ICR), lapic_timer.c.
 */
#ifndef CPU_LAPIC_PARTS_H
#define CPU_LAPIC_PARTS_H

#include "base/clock.h"
#include "cpu/lapic.h"

/* Register offsets in the xAPIC window; x2APIC MSR 800H + offset / 16 (SDM 3A tables 11-1 and 11-6). */
enum {
	APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_APR = 0x90, APIC_PPR = 0xa0, APIC_EOI = 0xb0,
	APIC_RRD = 0xc0, APIC_LDR = 0xd0, APIC_DFR = 0xe0, APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_TMR = 0x180,
	APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR = 0x300, APIC_ICR_HI = 0x310, APIC_LVT = 0x320,
	APIC_LVT_LAST = 0x370, APIC_TIMER_INIT = 0x380, APIC_TIMER_COUNT = 0x390, APIC_TIMER_DIV = 0x3e0,
	APIC_SELF_IPI = 0x3f0,
};

/* Version 14H, six LVT entries, EOI broadcasts can be suppressed. */
#define APIC_VERSION_VALUE (0x14u | 5u << 16 | 1u << 24)

#define SVR_ENABLE BIT(8)
#define SVR_NO_BROADCAST BIT(12)

#define LVT_MODE(l) ((l) >> 8 & 7)
#define LVT_MASKED BIT(16)
#define LVT_LEVEL BIT(15)
#define LVT_TIMER_MODE(l) ((l) >> 17 & 3)
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE };

enum { ESR_SEND_ILLEGAL = 1 << 5, ESR_RECV_ILLEGAL = 1 << 6, ESR_ILLEGAL_REG = 1 << 7 };

static inline bool lapic_hw_enabled(const struct cpu *c)
{
	return c->apic_base & APIC_BASE_EN;
}

static inline bool lapic_x2(const struct cpu *c)
{
	return (c->apic_base & (APIC_BASE_EN | APIC_BASE_X2)) == (APIC_BASE_EN | APIC_BASE_X2);
}

/* lapic.c */
void lapic_accept(struct cpu *c, u8 vector, bool level);	/* own thread: into IRR */
void lapic_deliver_local(struct cpu *c, unsigned lvt);		/* one event of an LVT source */
void lapic_error(struct cpu *c, u32 esr_bit);
void lapic_eoi(struct cpu *c);
u8 lapic_ppr(const struct cpu *c);
void lapic_pv_eoi_sync(struct cpu *c);				/* the guest may have cleared its PV EOI word */

/* lapic_timer.c */
void lapic_timer_reset(struct cpu *c);
void lapic_timer_run(struct cpu *c);				/* fires what is due */
u32 lapic_timer_count(struct cpu *c);
void lapic_timer_set_init(struct cpu *c, u32 val);
void lapic_timer_set_div(struct cpu *c, u32 val);
/* Registers, LVT and tsc_deadline stand in the state; arms the timer that has `left` of its count to go (0: is over). */
void lapic_timer_resume(struct cpu *c, u32 left);
void lapic_timer_set_lvt(struct cpu *c, u32 val);

#endif
