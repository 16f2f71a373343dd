/* SPDX-License-Identifier: Apache-2.0
 * A vCPU as a part of a snapshot: the rows of fields.def once more, and what must hold of a state that somebody else
 * made.
 *
 * Executing relies on: control registers, EFER and XCR0 are a combination that the processor can be in; MXCSR has no
 * reserved bits (data instructions load it on the host); addresses that MSRs keep are canonical; enumerations are in
 * range. Everything else is just a guest that does strange things.
 */
#include "cpu/cpuid.h"
#include "cpu/fields.h"
#include "cpu/lapic.h"
#include "cpu/msr.h"
#include "cpu/segment.h"
#include "cpu/sys.h"
#include "cpu/vec.h"

#define SIZE(member) sizeof(((struct cpu *)0)->member)
#define ROW(n, m, elem, k)                   \
	{ .name = n,                         \
	  .offset = offsetof(struct cpu, m), \
	  .stride = elem,                    \
	  .count = SIZE(m) / (elem),         \
	  .size = elem,                      \
	  .kind = k,                         \
	  .since = 1,                        \
	  .max = (k) == STATE_KIND_BOOL ? 1 : ~0ull },
#define INT_SIZE(m)                                                                                              \
	_Generic(((struct cpu *)0)->m, u8 : 1, u16 : 2, u32 : 4, u64 : 8, const u32 * : 4, u32 * : 4, u64 * : 8, \
		 _Atomic u64 * : 8, atomic_uint : 4)
#define BYTES_SIZE(m) _Generic(((struct cpu *)0)->m, union vreg * : sizeof(union vreg), u8(*)[16] : 16)

#define UINT(n, m, f, v) ROW(n, m, INT_SIZE(m), STATE_KIND_UINT)
#define BOOL(n, m, f, v) ROW(n, m, 1, STATE_KIND_BOOL)
#define BYTES(n, m, f, v) ROW(n, m, BYTES_SIZE(m), STATE_KIND_BYTES)
#define SEGMENT(n, m)               \
	UINT(n ".sel", m.sel, 0, 1) \
	UINT(n ".attr", m.attr, 0, 1) UINT(n ".limit", m.limit, 0, 1) UINT(n ".base", m.base, 0, 1)
#define EVENT(n, m)                             \
	UINT(n ".type", m.type, 0, 1)           \
	UINT(n ".vector", m.vector, 0, 1)       \
	BOOL(n ".has_error", m.has_error, 0, 1) \
	UINT(n ".insn_len", m.insn_len, 0, 1) UINT(n ".error", m.error, 0, 1) UINT(n ".payload", m.payload, 0, 1)

static const struct state_field rows[] = {
#include "cpu/fields.def"
};

#define RFLAGS_KEPT                                                                                              \
	(FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | \
	 FLAG_ID)
#define CR0_BITS (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define ATT_KEPT (ATT_APIC | ATT_EXTINT | ATT_NMI | ATT_NMI2 | ATT_INIT | ATT_SIPI | ATT_TIMER | ATT_EVENTS)
#define DB_BITS 0x1e00full /* of DR6, that a trap sets */

static bool control_ok(const struct cpu *c)
{
	bool lma = (c->efer & EFER_LME) && (c->cr0 & CR0_PG);

	if ((c->cr0 & ~CR0_BITS) || ((c->cr0 & CR0_PG) && !(c->cr0 & CR0_PE)) ||
	    ((c->cr0 & CR0_NW) && !(c->cr0 & CR0_CD)))
		return false;
	if ((c->cr4 & ~sys_cr4_valid(c)) || (c->efer & ~msr_efer_valid(c)) || lma != !!(c->efer & EFER_LMA))
		return false;
	if (lma ? !(c->cr4 & CR4_PAE) : !!(c->cr4 & CR4_PCIDE))
		return false;
	return !(c->cr3 >> c->model->phys_bits);
}

static bool flags_ok(const struct cpu *c)
{
	if ((c->rflags & ~(u32)(RFLAGS_KEPT | 2)) || !(c->rflags & 2) || (c->aflags & ~0xd501u) != 0x0200)
		return false;
	return !(c->rflags & FLAG_VM) || ((c->cr0 & CR0_PE) && !(c->efer & EFER_LMA));
}

static bool segments_ok(const struct cpu *c)
{
	const struct seg *const others[] = { &c->ldtr, &c->tr };

	for (unsigned s = 0; s < NR_SEGS; s++)
		if ((c->seg[s].attr & ~0xfffu) || !cpu_canonical_max(c, c->seg[s].base))
			return false;
	for (unsigned s = 0; s < ARRAY_SIZE(others); s++)
		if ((others[s]->attr & ~0xfffu) || !cpu_canonical_max(c, others[s]->base))
			return false;
	return cpu_canonical_max(c, c->gdtr.base) && cpu_canonical_max(c, c->idtr.base);
}

static bool hidden_ok(const struct cpu *c)
{
	const struct event *e = &c->injected;

	return c->activity <= ACT_WAIT_SIPI && c->activity != ACT_SHUTDOWN && c->int_shadow <= 2 &&
	       !(c->pending_db & ~DB_BITS) && e->type <= EV_PRIV_SW && e->insn_len <= 15 &&
	       (e->type == EV_NONE || e->type == EV_EXT_INT || e->type == EV_SOFT_INT || e->vector < 32) &&
	       !(c->dr[6] >> 32) && !(c->dr[7] >> 32);
}

static bool vector_ok(const struct cpu *c)
{
	bool xcr0_ok = cpu_has(c, FEAT_XSAVE) ? sys_xcr0_valid(c, c->xcr0) : c->xcr0 == XCR0_X87; /* as at reset */

	return xcr0_ok && !(c->xss & ~c->model->xss_mask) && !(c->mxcsr & ~vec_mxcsr_mask(c));
}

static bool msrs_ok(const struct cpu *c)
{
	const u64 base_bits = APIC_BASE_BSP | APIC_BASE_EN | (cpu_has(c, FEAT_X2APIC) ? APIC_BASE_X2 : 0) |
			      ((BIT(c->model->phys_bits) - 1) & PAGE_MASK);
	const u64 mode = APIC_BASE_EN | APIC_BASE_X2;

	return cpu_canonical_max(c, c->lstar) && cpu_canonical_max(c, c->cstar) &&
	       cpu_canonical_max(c, c->kernel_gs_base) && cpu_canonical_max(c, c->sysenter_eip) &&
	       cpu_canonical_max(c, c->sysenter_esp) && msr_pat_valid(c->pat) && !(c->apic_base & ~base_bits) &&
	       (c->apic_base & mode) != APIC_BASE_X2;
}

static bool apic_ok(const struct cpu *c)
{
	const struct lapic *a = &c->lapic;

	if ((c->apic_base & APIC_BASE_X2) && a->id != c->index)
		return false;
	return a->tpr <= 0xff && !(a->timer_div & ~0xbu);
}

static int state_loaded(void *object, struct err *e)
{
	struct cpu *c = object;
	const char *wrong = !control_ok(c)    ? "control registers"
			    : !flags_ok(c)    ? "flags"
			    : !segments_ok(c) ? "segments"
			    : !hidden_ok(c)   ? "hidden state"
			    : !vector_ok(c)   ? "vector state"
			    : !msrs_ok(c)     ? "model-specific registers"
			    : !apic_ok(c)     ? "local APIC"
					      : NULL;

	if (wrong)
		return err_set(e, "vCPU %u cannot have such %s", c->index, wrong);
	atomic_store(&c->attention, (atomic_load(&c->attention) & ATT_KEPT) | ATT_APIC | ATT_TIMER | ATT_EVENTS);
	c->exc = (struct event){ 0 };
	c->block_end = NULL;
	cpu_update_mode(c);
	return 0;
}

const struct state cpu_state = { .field = rows, .n = ARRAY_SIZE(rows), .loaded = state_loaded };
