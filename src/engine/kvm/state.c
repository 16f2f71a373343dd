/* SPDX-License-Identifier: Apache-2.0
 * Registers, segments, control registers, debug registers and pending events between struct cpu and KVM's structures.
 * Each pair of functions is its own inverse as far as KVM has a place for the state.
 */
#include <string.h>

#include "cpu/lapic.h"
#include "cpu/segment.h"
#include "engine/kvm/kvm.h"

/* ---- general registers -------------------------------------------------------------------------------------------
 */

void kvm_regs_from(struct kvm_regs *r, const struct cpu *c)
{
	*r = (struct kvm_regs){ .rax = c->r[RAX],
				.rbx = c->r[RBX],
				.rcx = c->r[RCX],
				.rdx = c->r[RDX],
				.rsi = c->r[RSI],
				.rdi = c->r[RDI],
				.rsp = c->r[RSP],
				.rbp = c->r[RBP],
				.r8 = c->r[R8],
				.r9 = c->r[R9],
				.r10 = c->r[R10],
				.r11 = c->r[R11],
				.r12 = c->r[R12],
				.r13 = c->r[R13],
				.r14 = c->r[R14],
				.r15 = c->r[R15],
				.rip = c->r[R_RIP] };
	r->rflags = cpu_rflags(c);
}

void kvm_regs_to(struct cpu *c, const struct kvm_regs *r)
{
	const u64 in_order[] = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi, r->r8,
				 r->r9,	 r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, 0,	 r->rip };

	_Static_assert(ARRAY_SIZE(in_order) == NR_REGS && R_RIP == NR_REGS - 1 && R15 == 15, "the enum's order");
	memcpy(c->r, in_order, sizeof(in_order));
	cpu_set_rflags_raw(c, r->rflags);
}

/* ---- segments and control registers ------------------------------------------------------------------------------
 */

static struct kvm_segment segment_from(const struct seg *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & SEG_TYPE,
		.s = !!(s->attr & SEG_S),
		.dpl = (s->attr & SEG_DPL) >> SEG_DPL_SHIFT,
		.present = !!(s->attr & SEG_P),
		.avl = !!(s->attr & SEG_AVL),
		.l = !!(s->attr & SEG_L),
		.db = !!(s->attr & SEG_D),
		.g = !!(s->attr & SEG_G),
		.unusable = !(s->attr & SEG_P),
	};
}

static struct seg segment_to(const struct kvm_segment *k)
{
	unsigned attr = (k->type & SEG_TYPE) | (k->s ? SEG_S : 0) | (k->dpl & 3u) << SEG_DPL_SHIFT |
			(k->present && !k->unusable ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) |
			(k->db ? SEG_D : 0) | (k->g ? SEG_G : 0);

	return (struct seg){ .sel = k->selector, .attr = (u16)attr, .limit = k->limit, .base = k->base };
}

static struct kvm_dtable table_from(const struct dtable *t)
{
	return (struct kvm_dtable){ .base = t->base, .limit = (u16)t->limit };
}

static struct dtable table_to(const struct kvm_dtable *k)
{
	return (struct dtable){ .base = k->base, .limit = k->limit };
}

static bool has_pdptes(const struct cpu *c)
{
	return (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !(c->efer & EFER_LMA);
}

void kvm_sregs_from(struct kvm_sregs2 *s, const struct cpu *c)
{
	*s = (struct kvm_sregs2){
		.es = segment_from(&c->seg[SEG_ES]),
		.cs = segment_from(&c->seg[SEG_CS]),
		.ss = segment_from(&c->seg[SEG_SS]),
		.ds = segment_from(&c->seg[SEG_DS]),
		.fs = segment_from(&c->seg[SEG_FS]),
		.gs = segment_from(&c->seg[SEG_GS]),
		.ldt = segment_from(&c->ldtr),
		.tr = segment_from(&c->tr),
		.gdt = table_from(&c->gdtr),
		.idt = table_from(&c->idtr),
		.cr0 = c->cr0,
		.cr2 = c->cr2,
		.cr3 = c->cr3,
		.cr4 = c->cr4,
		.cr8 = c->lapic.tpr >> 4 & 15,
		.efer = c->efer,
		.apic_base = c->apic_base,
	};
	if (!(c->efer & EFER_LMA))
		s->cs.l = 0; /* means nothing there, and KVM refuses it */
	if (!has_pdptes(c))
		return;
	s->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	for (unsigned k = 0; k < 4; k++)
		s->pdptrs[k] = c->pdpte[k];
}

void kvm_sregs_to(struct cpu *c, const struct kvm_sregs2 *s, bool with_apic)
{
	const struct kvm_segment *const in_order[] = { &s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs };

	for (unsigned k = 0; k < NR_SEGS; k++)
		c->seg[k] = segment_to(in_order[k]);
	c->ldtr = segment_to(&s->ldt);
	c->tr = segment_to(&s->tr);
	c->gdtr = table_to(&s->gdt);
	c->idtr = table_to(&s->idt);
	c->cr0 = s->cr0;
	c->cr2 = s->cr2;
	c->cr3 = s->cr3;
	c->cr4 = s->cr4;
	c->efer = s->efer;
	for (unsigned k = 0; k < 4 && (s->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID); k++)
		c->pdpte[k] = s->pdptrs[k];
	if (with_apic) {
		c->apic_base = s->apic_base;
		c->lapic.tpr = (c->lapic.tpr & 15) | (u32)(s->cr8 & 15) << 4;
	}
}

void kvm_debugregs_from(struct kvm_debugregs *d, const struct cpu *c)
{
	*d = (struct kvm_debugregs){ .dr6 = c->dr[6], .dr7 = c->dr[7] };
	for (unsigned k = 0; k < 4; k++)
		d->db[k] = c->dr[k];
}

void kvm_debugregs_to(struct cpu *c, const struct kvm_debugregs *d)
{
	for (unsigned k = 0; k < 4; k++)
		c->dr[k] = d->db[k];
	c->dr[6] = d->dr6;
	c->dr[7] = d->dr7;
}

/* ---- events ------------------------------------------------------------------------------------------------------
 *
 * Exceptions and interrupts whose delivery has begun never go to KVM (invariant 3), so _from() leaves them out.
 */

#define DB_BITS 0xe00full /* of DR6, that a trap sets */

void kvm_events_from(struct kvm_vcpu_events *v, const struct cpu *c)
{
	unsigned att = atomic_load(&c->attention);

	*v = (struct kvm_vcpu_events){
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_PAYLOAD,
	};
	v->interrupt.shadow = c->int_shadow == 1   ? KVM_X86_SHADOW_INT_STI
			      : c->int_shadow == 2 ? KVM_X86_SHADOW_INT_MOV_SS
						   : 0;
	v->nmi.masked = c->nmi_blocked;
	v->nmi.pending = (u8)(!!(att & ATT_NMI) + !!(att & ATT_NMI2));
}

static struct event exception_to(const struct cpu *c, const struct kvm_vcpu_events *v)
{
	struct event e = { .type = EV_FAULT, .vector = v->exception.nr };

	e.has_error = v->exception.has_error_code;
	e.error = e.has_error ? v->exception.error_code : 0;
	if (e.vector == EXC_PF)
		e.payload = v->exception_has_payload ? v->exception_payload : c->cr2;
	else if (e.vector == EXC_DB)
		e.payload = v->exception_has_payload ? v->exception_payload & DB_BITS : c->dr[6] & DB_BITS;
	return e;
}

/* CR2 and DR6 must be there already: where KVM has no payload for them, they hold it. KVM raises INT3 and INTO as
 * exceptions at the instruction itself; interrupted in that, they are run again. */
void kvm_events_to(struct cpu *c, const struct kvm_vcpu_events *v)
{
	bool soft = v->exception.nr == EXC_BP || v->exception.nr == EXC_OF;

	c->int_shadow = v->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? 2
			: v->interrupt.shadow & KVM_X86_SHADOW_INT_STI	? 1
									: 0;
	c->nmi_blocked = v->nmi.masked;
	atomic_fetch_and(&c->attention, ~(unsigned)(ATT_NMI | ATT_NMI2));
	for (unsigned k = 0; k < v->nmi.pending && k < 2; k++)
		cpu_post_nmi(c);
	c->injected = (struct event){ .type = EV_NONE };
	c->pending_db = 0;
	if (v->exception.injected && !soft)
		c->injected = exception_to(c, v);
	else if (v->exception.pending && v->exception.nr == EXC_DB && v->exception_has_payload)
		c->pending_db = v->exception_payload & DB_BITS;
	else if (v->exception.pending && !soft)
		c->injected = exception_to(c, v);
	else if (v->nmi.injected)
		c->injected = (struct event){ .type = EV_NMI, .vector = EXC_NMI };
	else if (v->interrupt.injected && !v->interrupt.soft)
		c->injected = (struct event){ .type = EV_EXT_INT, .vector = v->interrupt.nr };
}
