/* SPDX-License-Identifier: Apache-2.0
 * The local APIC's register file, in its two forms: the xAPIC window, which forgives, and the x2APIC MSRs, where every
 * reserved register and bit is #GP(0) (SDM 3A 11.4, 11.12). The interrupt command register is here too.
 */
#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/lapic_parts.h"
#include "cpu/msr.h"

#define X2APIC_ICR_RESERVED (bits(~0ull, 31, 20) << 20 | 3ull << 16 | BIT(13))

/* ---- interrupt command ---------------------------------------------------------------------------------------------
 */

/* Does this message reach its sender too? For machines without a router of IPIs. */
static bool reaches_self(const struct cpu *c, u64 icr)
{
	unsigned shorthand = ICR_SHORTHAND(icr);

	if (shorthand)
		return shorthand != 3;
	return lapic_match(c, ICR_DEST(icr), icr & ICR_LOGICAL);
}

/* icr in x2APIC form. The self shorthand stays here; all else, the sender included if it is addressed, is the machine's
 * to route. */
static void send(struct cpu *c, u64 icr)
{
	unsigned mode = ICR_MODE(icr);

	if ((mode == APIC_DM_FIXED || mode == APIC_DM_LOWEST) && ICR_VECTOR(icr) < 16) {
		lapic_error(c, ESR_SEND_ILLEGAL);
		return;
	}
	if (mode == APIC_DM_REMOTE_READ || mode == APIC_DM_EXTINT)
		return;
	counter_inc(c->counters, CNT_IPIS);
	if (ICR_SHORTHAND(icr) == 1) {
		if (mode == APIC_DM_FIXED)
			lapic_accept(c, ICR_VECTOR(icr), false);
		else if (mode == APIC_DM_NMI || mode == APIC_DM_INIT)
			lapic_post_icr(c, icr); /* not a valid combination (SDM 3A table 11-3); delivered, as by KVM */
	} else if (c->ops->send_ipi) {
		c->ops->send_ipi(c, icr);
	} else if (reaches_self(c, icr)) {
		lapic_post_icr(c, icr);
	}
}

static void write_icr_lo(struct cpu *c, u32 val)
{
	c->lapic.icr_lo = val & 0xcdfff & ~(u32)ICR_PENDING;
	send(c, (u64)(c->lapic.icr_hi >> 24) << 32 | c->lapic.icr_lo);
}

static void write_icr_x2(struct cpu *c, u64 val)
{
	c->lapic.icr_lo = (u32)(val & ~ICR_PENDING);
	c->lapic.icr_hi = (u32)(val >> 32);
	send(c, val & ~ICR_PENDING);
}

/* ---- writes common to both forms -----------------------------------------------------------------------------------
 */

static u32 lvt_valid(const struct cpu *c, unsigned k)
{
	const u32 base = 0xff | (u32)LVT_MASKED;

	switch (k) {
	case LVT_TIMER:
		return base | (cpu_has(c, FEAT_TSC_DEADLINE) ? 3u << 17 : 1u << 17);
	case LVT_LINT0:
	case LVT_LINT1:
		return base | 7u << 8 | 1u << 13 | 1u << 15;
	case LVT_ERROR:
		return base;
	default:
		return base | 7u << 8;
	}
}

static void write_lvt(struct cpu *c, unsigned k, u32 val)
{
	val &= lvt_valid(c, k);
	if (!(c->lapic.svr & SVR_ENABLE))
		val |= LVT_MASKED;
	if (k == LVT_TIMER)
		lapic_timer_set_lvt(c, val);
	else
		c->lapic.lvt[k] = val;
	if (k == LVT_LINT0)
		cpu_post(c, ATT_EVENTS);
}

static void write_svr(struct cpu *c, u32 val)
{
	c->lapic.svr = val & 0x13ff;
	if (val & SVR_ENABLE)
		return;
	for (unsigned k = LVT_TIMER; k < NR_LVT; k++)
		write_lvt(c, k, c->lapic.lvt[k]);
}

static void write_esr(struct cpu *c)
{
	c->lapic.esr = c->lapic.esr_pending;
	c->lapic.esr_pending = 0;
}

static void write_tpr(struct cpu *c, u32 val)
{
	c->lapic.tpr = val & 0xff;
	cpu_post(c, ATT_EVENTS);
}

/* Registers that take a write in both forms; false: none of them. */
static bool write_common(struct cpu *c, u32 reg, u32 val)
{
	switch (reg) {
	case APIC_TPR:
		write_tpr(c, val);
		return true;
	case APIC_EOI:
		lapic_eoi(c);
		return true;
	case APIC_SVR:
		write_svr(c, val);
		return true;
	case APIC_ESR:
		write_esr(c);
		return true;
	case APIC_TIMER_INIT:
		lapic_timer_set_init(c, val);
		return true;
	case APIC_TIMER_DIV:
		lapic_timer_set_div(c, val);
		return true;
	}
	if (reg < APIC_LVT || reg > APIC_LVT_LAST)
		return false;
	write_lvt(c, LVT_TIMER + (reg - APIC_LVT) / 16, val);
	return true;
}

/* ---- reads common to both forms ------------------------------------------------------------------------------------
 */

static bool read_common(struct cpu *c, u32 reg, u32 *val)
{
	const struct lapic *a = &c->lapic;

	switch (reg) {
	case APIC_VERSION:
		*val = APIC_VERSION_VALUE;
		return true;
	case APIC_TPR:
		*val = a->tpr;
		return true;
	case APIC_PPR:
		*val = lapic_ppr(c);
		return true;
	case APIC_LDR:
		*val = a->ldr;
		return true;
	case APIC_SVR:
		*val = a->svr;
		return true;
	case APIC_ESR:
		*val = a->esr;
		return true;
	case APIC_TIMER_INIT:
		*val = a->timer_init;
		return true;
	case APIC_TIMER_COUNT:
		lapic_timer_run(c);
		*val = lapic_timer_count(c);
		return true;
	case APIC_TIMER_DIV:
		*val = a->timer_div;
		return true;
	}
	if (reg >= APIC_ISR && reg < APIC_ESR) {
		const u32 *set = reg < APIC_TMR ? a->isr : reg < APIC_IRR ? a->tmr : a->irr;

		*val = set[reg / 16 % 8];
		return true;
	}
	if (reg < APIC_LVT || reg > APIC_LVT_LAST)
		return false;
	*val = a->lvt[LVT_TIMER + (reg - APIC_LVT) / 16];
	return true;
}

/* ---- xAPIC ---------------------------------------------------------------------------------------------------------
 */

static u32 read_xapic(struct cpu *c, u32 reg)
{
	u32 val = 0;

	switch (reg) {
	case APIC_ID:
		return c->lapic.id << 24;
	case APIC_DFR:
		return c->lapic.dfr;
	case APIC_ICR:
		return c->lapic.icr_lo;
	case APIC_ICR_HI:
		return c->lapic.icr_hi;
	case APIC_APR:
	case APIC_RRD:
	case APIC_EOI:
		return 0;
	}
	if (!read_common(c, reg, &val))
		lapic_error(c, ESR_ILLEGAL_REG);
	return val;
}

u32 lapic_mmio_read(struct cpu *c, u32 off, unsigned size)
{
	u32 val, shift = (off & 15) * 8;

	counter_inc(c->counters, CNT_APIC_ACCESS);
	if ((off & 15) + size > 4)
		return 0;
	lapic_sync(c);
	val = read_xapic(c, off & 0xff0) >> shift;
	return size >= 4 ? val : val & (u32)bytes_mask(size);
}

void lapic_mmio_write(struct cpu *c, u32 off, u32 val, unsigned size)
{
	counter_inc(c->counters, CNT_APIC_ACCESS);
	if (size != 4 || (off & 15))
		return;
	lapic_sync(c);
	switch (off & 0xff0) {
	case APIC_LDR:
		__atomic_store_n(&c->lapic.ldr, val & 0xff000000, __ATOMIC_RELAXED);
		break;
	case APIC_DFR:
		__atomic_store_n(&c->lapic.dfr, val | 0x0fffffff, __ATOMIC_RELAXED);
		break;
	case APIC_ICR:
		write_icr_lo(c, val);
		break;
	case APIC_ICR_HI:
		c->lapic.icr_hi = val & 0xff000000;
		break;
	case APIC_ID: /* writable, as on AMD's and older Intel processors */
		__atomic_store_n(&c->lapic.id, val >> 24, __ATOMIC_RELAXED);
		break;
	case APIC_VERSION:
	case APIC_TIMER_COUNT:
		break;
	default:
		if (!write_common(c, off & 0xff0, val))
			lapic_error(c, ESR_ILLEGAL_REG);
	}
}

/* ---- x2APIC --------------------------------------------------------------------------------------------------------
 */

bool lapic_x2apic_read(struct cpu *c, u32 msr, u64 *val)
{
	u32 reg = (msr - MSR_X2APIC) << 4, v = 0;

	counter_inc(c->counters, CNT_APIC_ACCESS);
	if (!lapic_x2(c))
		return false;
	lapic_sync(c);
	if (reg == APIC_ID)
		v = c->lapic.id;
	else if (reg == APIC_ICR)
		*val = (u64)c->lapic.icr_hi << 32 | c->lapic.icr_lo;
	else if (!read_common(c, reg, &v))
		return false;
	if (reg != APIC_ICR)
		*val = v;
	return true;
}

/* Bits a 32-bit register takes; others are reserved. 0 for registers that are not writable. */
static u32 x2apic_valid(const struct cpu *c, u32 reg, bool *writable)
{
	*writable = true;
	switch (reg) {
	case APIC_TPR:
	case APIC_SELF_IPI:
		return 0xff;
	case APIC_EOI:
	case APIC_ESR:
		return 0;
	case APIC_SVR:
		return 0x13ff;
	case APIC_TIMER_INIT:
		return 0xffffffff;
	case APIC_TIMER_DIV:
		return 0xb;
	}
	*writable = reg >= APIC_LVT && reg <= APIC_LVT_LAST;
	/* delivery status and remote IRR are read-only, not reserved */
	return *writable ? lvt_valid(c, LVT_TIMER + (reg - APIC_LVT) / 16) | 1u << 12 | 1u << 14 : 0;
}

bool lapic_x2apic_write(struct cpu *c, u32 msr, u64 val)
{
	u32 reg = (msr - MSR_X2APIC) << 4;
	bool writable;

	counter_inc(c->counters, CNT_APIC_ACCESS);
	if (!lapic_x2(c))
		return false;
	lapic_sync(c);
	if (reg == APIC_ICR) {
		if (val & X2APIC_ICR_RESERVED)
			return false;
		write_icr_x2(c, val);
		return true;
	}
	if ((val & ~(u64)x2apic_valid(c, reg, &writable)) || !writable)
		return false;
	if (reg == APIC_SELF_IPI)
		send(c, val | 1u << 18);
	else
		write_common(c, reg, (u32)val);
	return true;
}
