/* SPDX-License-Identifier: Apache-2.0
 * The local APIC's heart: which interrupts it accepts, in which order they reach the core, and how they end (SDM
 * 3A 11.6 and 11.8). The register file is in lapic_regs.c, the timer in lapic_timer.c.
 *
 * Invariants
 *  1. A vector is in IRR, or posted by another thread and not yet folded in, or both; folding never loses one, because
 * a poster sets posted_tmr before posted_irr and the fold takes them in the opposite order.
 *  2. pv_eoi_pending: exactly one vector is in service, it is edge-triggered, and the guest's PV EOI word held 1 when
 * it was last looked at. Once anything else wants in, the word is taken back, so that the guest's EOI comes here.
 */
#include "cpu/lapic.h"

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/lapic_parts.h"
#include "cpu/msr.h"

/* ---- 256-bit registers ------------------------------------------------------------------------------------------ */

static int highest(const u32 r[8])
{
	for (int k = 7; k >= 0; k--)
		if (r[k])
			return k * 32 + 31 - __builtin_clz(r[k]);
	return -1;
}

static bool test(const u32 r[8], unsigned v)
{
	return r[v / 32] >> (v % 32) & 1;
}

static void assign(u32 r[8], unsigned v, bool on)
{
	if (on)
		r[v / 32] |= 1u << (v % 32);
	else
		r[v / 32] &= ~(1u << (v % 32));
}

/* ---- acceptance ------------------------------------------------------------------------------------------------- */

void lapic_error(struct cpu *c, u32 esr_bit)
{
	struct lapic *a = &c->lapic;
	bool again = a->esr_pending & esr_bit;

	a->esr_pending |= esr_bit;
	/* an illegal vector in LVT Error itself must not call us again and again */
	if (!again && (a->lvt[LVT_ERROR] & 0xff) >= 16)
		lapic_deliver_local(c, LVT_ERROR);
}

void lapic_accept(struct cpu *c, u8 vector, bool level)
{
	if (vector < 16) {
		lapic_error(c, ESR_RECV_ILLEGAL);
		return;
	}
	if (!(c->lapic.svr & SVR_ENABLE))
		return;
	assign(c->lapic.irr, vector, true);
	assign(c->lapic.tmr, vector, level);
	cpu_post(c, ATT_APIC);
}

void lapic_deliver_local(struct cpu *c, unsigned lvt)
{
	u32 l = c->lapic.lvt[lvt];
	bool fixed_only = lvt == LVT_TIMER || lvt == LVT_ERROR;

	if (l & LVT_MASKED)
		return;
	switch (fixed_only ? APIC_DM_FIXED : LVT_MODE(l)) {
	case APIC_DM_FIXED:
		lapic_accept(c, (u8)l, lvt == LVT_LINT0 && (l & LVT_LEVEL));
		break;
	case APIC_DM_NMI:
		cpu_post_nmi(c);
		break;
	case APIC_DM_INIT:
		cpu_post(c, ATT_INIT);
		break;
	}
}

void lapic_lint1_nmi(struct cpu *c)
{
	if (lapic_hw_enabled(c))
		lapic_deliver_local(c, LVT_LINT1);
	else
		cpu_post_nmi(c);
}

bool lapic_accepts_extint(const struct cpu *c)
{
	u32 l = c->lapic.lvt[LVT_LINT0];

	return !lapic_hw_enabled(c) || (!(l & LVT_MASKED) && LVT_MODE(l) == APIC_DM_EXTINT);
}

/* ---- other threads ---------------------------------------------------------------------------------------------- */

void lapic_post(struct cpu *target, u8 vector, bool level)
{
	struct lapic *a = &target->lapic;
	u64 bit = BIT(vector % 64);

	if (level)
		atomic_fetch_or(&a->posted_tmr[vector / 64], bit);
	atomic_fetch_or(&a->posted_irr[vector / 64], bit);
	cpu_post(target, ATT_APIC);
}

void lapic_post_icr(struct cpu *target, u64 icr)
{
	switch (ICR_MODE(icr)) {
	case APIC_DM_FIXED:
	case APIC_DM_LOWEST:
		lapic_post(target, ICR_VECTOR(icr), icr & ICR_LEVEL);
		break;
	case APIC_DM_NMI:
		cpu_post_nmi(target);
		break;
	case APIC_DM_INIT:
		/* a level de-assert only synchronised arbitration ids, long ago */
		if (!(icr & ICR_ASSERT) && (icr & ICR_LEVEL))
			break;
		/* a SIPI from before, which a halted processor has not looked at, is not one that follows this INIT */
		atomic_fetch_and(&target->attention, ~(unsigned)ATT_SIPI);
		cpu_post(target, ATT_INIT);
		break;
	case APIC_DM_SIPI:
		__atomic_store_n(&target->sipi_vector, ICR_VECTOR(icr), __ATOMIC_RELEASE);
		cpu_post(target, ATT_SIPI);
		break;
	case APIC_DM_EXTINT:
		cpu_post(target, ATT_EXTINT);
		break;
	}
}

static bool match_x2(u32 id, u32 ldr, u32 dest, bool logical)
{
	if (dest == 0xffffffff)
		return true;
	if (logical)
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	/* 8-bit senders (MSI, xAPIC) say "all" with FFH; no processor has that id */
	return dest == id || dest == 0xff;
}

static bool match_x(u32 id, u32 ldr, u32 dfr, u32 dest, bool logical)
{
	u32 mda = dest & 0xff, mine = ldr >> 24;

	if (mda == 0xff)
		return true;
	if (!logical)
		return dest == id;
	switch (dfr >> 28) {
	case 0xf:
		return mda & mine;
	case 0:
		return (mda >> 4 == 0xf || mda >> 4 == mine >> 4) && (mda & mine & 0xf);
	default:
		return false;
	}
}

bool lapic_match(const struct cpu *target, u32 dest, bool logical)
{
	u64 base = __atomic_load_n(&target->apic_base, __ATOMIC_RELAXED);
	u32 id = __atomic_load_n(&target->lapic.id, __ATOMIC_RELAXED);
	u32 ldr = __atomic_load_n(&target->lapic.ldr, __ATOMIC_RELAXED);
	u32 dfr = __atomic_load_n(&target->lapic.dfr, __ATOMIC_RELAXED);

	if (!(base & APIC_BASE_EN))
		return false;
	if (base & APIC_BASE_X2)
		return match_x2(id, ldr, dest, logical);
	return match_x(id, ldr, dfr, dest, logical);
}

/* ---- priorities and service ------------------------------------------------------------------------------------- */

u8 lapic_ppr(const struct cpu *c)
{
	int isrv = highest(c->lapic.isr);
	u8 tpr = (u8)c->lapic.tpr, service = isrv < 0 ? 0 : (u8)isrv & 0xf0;

	return (tpr & 0xf0) >= service ? tpr : service;
}

/* PV EOI: the word at kvm_pv_eoi (bit 0 of the MSR enables). False: the page is not memory. */
static bool pv_eoi_word(struct cpu *c, u8 *word)
{
	return !(c->kvm_pv_eoi >> c->model->phys_bits) && !c->ops->phys_read(c, c->kvm_pv_eoi & ~3ull, word, 1);
}

void lapic_pv_eoi_sync(struct cpu *c)
{
	u8 word = 1;

	if (likely(!c->lapic.pv_eoi_pending) || !pv_eoi_word(c, &word))
		return;
	if (!(word & 1)) {
		c->lapic.pv_eoi_pending = false;
		lapic_eoi(c);
	}
}

static void pv_eoi_withdraw(struct cpu *c)
{
	u8 word = 1;

	if (!c->lapic.pv_eoi_pending)
		return;
	c->lapic.pv_eoi_pending = false;
	if (!pv_eoi_word(c, &word))
		return;
	word &= 0xfe;
	c->ops->phys_write(c, c->kvm_pv_eoi & ~3ull, &word, 1);
}

/* Something new wants in while the guest may still end the vector in service by its word: take the word back. */
static void pv_eoi_revoke(struct cpu *c)
{
	lapic_pv_eoi_sync(c);
	pv_eoi_withdraw(c);
}

void lapic_pv_eoi_end(struct cpu *c)
{
	pv_eoi_revoke(c);
}

static bool alone_in_service(const struct lapic *a, unsigned vector)
{
	unsigned n = 0;

	for (int k = 0; k < 8; k++)
		n += (unsigned)__builtin_popcount(a->isr[k]);
	return n == 1 && test(a->isr, vector) && !test(a->tmr, vector) && highest(a->irr) < 0;
}

/* Offers the guest to end this vector through its word instead of an EOI. */
static void pv_eoi_offer(struct cpu *c, unsigned vector)
{
	u8 word;

	if (!(c->kvm_pv_eoi & 1) || !alone_in_service(&c->lapic, vector) || !pv_eoi_word(c, &word))
		return;
	word |= 1;
	if (!c->ops->phys_write(c, c->kvm_pv_eoi & ~3ull, &word, 1))
		c->lapic.pv_eoi_pending = true;
}

void lapic_eoi(struct cpu *c)
{
	struct lapic *a = &c->lapic;
	int v = highest(a->isr);

	pv_eoi_withdraw(c);
	if (v < 0)
		return;
	assign(a->isr, (unsigned)v, false);
	if (test(a->tmr, (unsigned)v) && !(a->svr & SVR_NO_BROADCAST))
		c->ops->ioapic_eoi(c, (u8)v);
	cpu_post(c, ATT_EVENTS);
}

int lapic_pending_vector(struct cpu *c)
{
	int v;

	if (!lapic_hw_enabled(c))
		return -1;
	v = highest(c->lapic.irr);
	if (v < 0)
		return -1;
	if (unlikely(c->lapic.pv_eoi_pending))
		pv_eoi_revoke(c);
	return (v & 0xf0) > (lapic_ppr(c) & 0xf0) ? v : -1;
}

u8 lapic_ack(struct cpu *c)
{
	int v = lapic_pending_vector(c);

	if (v < 0)
		return (u8)c->lapic.svr;
	assign(c->lapic.irr, (unsigned)v, false);
	assign(c->lapic.isr, (unsigned)v, true);
	pv_eoi_offer(c, (unsigned)v);
	return (u8)v;
}

static void fold_word(struct cpu *c, unsigned k)
{
	struct lapic *a = &c->lapic;
	u64 irr = atomic_exchange(&a->posted_irr[k], 0);
	u64 level = atomic_fetch_and(&a->posted_tmr[k], ~irr) & irr;

	if (!lapic_hw_enabled(c))
		return;
	while (irr) {
		unsigned bit = (unsigned)__builtin_ctzll(irr);

		irr &= irr - 1;
		lapic_accept(c, (u8)(k * 64 + bit), level >> bit & 1);
	}
}

void lapic_sync(struct cpu *c)
{
	for (unsigned k = 0; k < 4; k++)
		if (atomic_load_explicit(&c->lapic.posted_irr[k], memory_order_relaxed))
			fold_word(c, k);
	lapic_timer_run(c);
	lapic_pv_eoi_sync(c);
}

/* ---- modes ------------------------------------------------------------------------------------------------------ */

void lapic_reset(struct cpu *c, bool init)
{
	struct lapic *a = &c->lapic;
	u32 ldr;

	/* Others match their interrupts with these three meanwhile. */
	if (!init)
		__atomic_store_n(&a->id, c->index, __ATOMIC_RELAXED);
	ldr = lapic_x2(c) ? (a->id >> 4) << 16 | 1u << (a->id & 15) : 0;
	__atomic_store_n(&a->ldr, ldr, __ATOMIC_RELAXED);
	__atomic_store_n(&a->dfr, 0xffffffff, __ATOMIC_RELAXED);
	a->tpr = a->esr = a->esr_pending = a->icr_lo = a->icr_hi = 0;
	a->svr = 0xff;
	for (unsigned k = 0; k < NR_LVT; k++)
		a->lvt[k] = LVT_MASKED;
	/* The boot processor is born in the virtual wire mode that firmware would set up: 8259 through LINT0. */
	if (c->apic_base & APIC_BASE_BSP)
		a->lvt[LVT_LINT0] = APIC_DM_EXTINT << 8;
	memset(a->irr, 0, sizeof(a->irr));
	memset(a->isr, 0, sizeof(a->isr));
	memset(a->tmr, 0, sizeof(a->tmr));
	for (unsigned k = 0; k < 4; k++) {
		atomic_store(&a->posted_irr[k], 0);
		atomic_store(&a->posted_tmr[k], 0);
	}
	a->pv_eoi_pending = false;
	lapic_timer_reset(c);
}

/* SDM 3A figure 11-27: x2APIC is left only by disabling, and entered only from xAPIC mode. */
static bool transition_allowed(u64 from, u64 to)
{
	const u64 mode = APIC_BASE_EN | APIC_BASE_X2;

	if ((to & mode) == APIC_BASE_X2)
		return false;
	if ((from & mode) == mode)
		return (to & mode) != APIC_BASE_EN;
	return (from & APIC_BASE_EN) || (to & mode) != mode;
}

bool lapic_base_write(struct cpu *c, u64 val)
{
	u64 valid = APIC_BASE_BSP | APIC_BASE_EN | (cpu_has(c, FEAT_X2APIC) ? APIC_BASE_X2 : 0);
	u64 old = c->apic_base;

	valid |= (BIT(c->model->phys_bits) - 1) & PAGE_MASK;
	if ((val & ~valid) || !transition_allowed(old, val))
		return false;
	__atomic_store_n(&c->apic_base, val, __ATOMIC_RELAXED);
	/* an id written in xAPIC mode is forgotten: off and on is a power-up, and x2APIC ids cannot be changed */
	if ((old ^ val) & (APIC_BASE_EN | APIC_BASE_X2))
		__atomic_store_n(&c->lapic.id, c->index, __ATOMIC_RELAXED);
	if ((old ^ val) & APIC_BASE_EN)
		lapic_reset(c, true);
	else if (lapic_x2(c) && !(old & APIC_BASE_X2))
		__atomic_store_n(&c->lapic.ldr, (c->index >> 4) << 16 | 1u << (c->index & 15), __ATOMIC_RELAXED);
	if (old != val)
		c->ops->tlb_flush(c, TLB_ALL, 0, 0);
	cpu_post(c, ATT_APIC);
	return true;
}

u64 lapic_cr8_read(const struct cpu *c)
{
	return c->lapic.tpr >> 4 & 0xf;
}

void lapic_cr8_write(struct cpu *c, u64 val)
{
	lapic_pv_eoi_sync(c);
	c->lapic.tpr = (u32)(val << 4 & 0xf0);
	cpu_post(c, ATT_EVENTS);
}
