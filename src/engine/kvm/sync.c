/* SPDX-License-Identifier: Apache-2.0
 * The whole of a vCPU's state into KVM and back (kvm.h, invariants 1 and 2).
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "cpu/cpuid.h"
#include "cpu/lapic.h"
#include "engine/kvm/kvm.h"

struct msr_list {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[KVM_MSRS_MAX];
};

static int failed(const struct kvm_vcpu *v, const char *what)
{
	log_msg(LOG_ERROR, "vCPU %u: KVM refuses %s", v->cpu->index, what);
	return -1;
}

/* ---- in ----------------------------------------------------------------------------------------------------------
 */

static int import_regs(struct kvm_vcpu *v)
{
	struct kvm_regs now, had;

	kvm_regs_from(&now, v->cpu);
	kvm_regs_from(&had, v->shadow);
	if (!v->fresh && !memcmp(&now, &had, sizeof(now)))
		return 0;
	return ioctl(v->fd, KVM_SET_REGS, &now) ? failed(v, "the general registers") : 0;
}

static int import_sregs(struct kvm_vcpu *v)
{
	struct kvm_sregs2 now, had;

	kvm_sregs_from(&now, v->cpu);
	kvm_sregs_from(&had, v->shadow);
	if (!v->fresh && !memcmp(&now, &had, sizeof(now)))
		return 0;
	return ioctl(v->fd, KVM_SET_SREGS2, &now) ? failed(v, "the control and segment registers") : 0;
}

static int import_vector(struct kvm_vcpu *v)
{
	const struct cpu *c = v->cpu, *s = v->shadow;
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = c->xcr0 } };

	if ((v->fresh || c->xcr0 != s->xcr0) && model_has(c->model, FEAT_XSAVE) && ioctl(v->fd, KVM_SET_XCRS, &x))
		return failed(v, "XCR0");
	if (!v->fresh && c->mxcsr == s->mxcsr && !memcmp(c->zmm, s->zmm, sizeof(c->zmm)) &&
	    !memcmp(c->k, s->k, sizeof(c->k)) && !memcmp(&c->x87, &s->x87, sizeof(c->x87)))
		return 0;
	kvm_xsave_from(v->xsave, v->m->xsave_size, c);
	return ioctl(v->fd, KVM_SET_XSAVE, v->xsave) ? failed(v, "the vector state") : 0;
}

static int import_debugregs(struct kvm_vcpu *v)
{
	struct kvm_debugregs now;

	if (!v->fresh && !memcmp(v->cpu->dr, v->shadow->dr, sizeof(v->cpu->dr)))
		return 0;
	kvm_debugregs_from(&now, v->cpu);
	return ioctl(v->fd, KVM_SET_DEBUGREGS, &now) ? failed(v, "the debug registers") : 0;
}

/* KVM says how many it took: up to the first that it does not know. */
static int import_msrs(struct kvm_vcpu *v)
{
	struct kvm_msr_entry had[KVM_MSRS_MAX] = { 0 };
	struct msr_list l = { 0 };
	char text[64];
	int n;

	l.head.nmsrs = kvm_msrs_from(l.entry, v->cpu, v->m->user_apic);
	kvm_msrs_from(had, v->shadow, v->m->user_apic);
	if (!v->fresh && !memcmp(l.entry, had, l.head.nmsrs * sizeof(had[0])))
		return 0;
	n = ioctl(v->fd, KVM_SET_MSRS, &l);
	if (n == (int)l.head.nmsrs)
		return 0;
	snprintf(text, sizeof(text), "MSR %x = %llx", n < 0 ? 0 : l.entry[n].index,
		 n < 0 ? 0ull : (unsigned long long)l.entry[n].data);
	return failed(v, text);
}

static int import_tsc(struct kvm_vcpu *v)
{
	u64 offset = v->cpu->tsc_offset;
	struct kvm_device_attr a = { .group = KVM_VCPU_TSC_CTRL,
				     .attr = KVM_VCPU_TSC_OFFSET,
				     .addr = (uintptr_t)&offset };

	if (!v->fresh && offset == v->shadow->tsc_offset)
		return 0;
	return ioctl(v->fd, KVM_SET_DEVICE_ATTR, &a) ? failed(v, "the TSC's offset") : 0;
}

/* All of the APIC but what others post. */
static bool apic_differs(const struct kvm_vcpu *v)
{
	return memcmp(&v->cpu->lapic, &v->shadow->lapic, offsetof(struct lapic, posted_irr)) != 0;
}

static int import_apic(struct kvm_vcpu *v)
{
	struct kvm_mp_state mp = { .mp_state = v->cpu->activity == ACT_HALTED	   ? KVM_MP_STATE_HALTED
					       : v->cpu->activity == ACT_WAIT_SIPI ? KVM_MP_STATE_INIT_RECEIVED
										   : KVM_MP_STATE_RUNNABLE };
	struct kvm_apic_page page;

	if (v->m->user_apic)
		return 0;
	lapic_pv_eoi_end(v->cpu);
	if (v->fresh || apic_differs(v)) {
		kvm_apic_from(&page, v->cpu);
		if (ioctl(v->fd, KVM_SET_LAPIC, &page))
			return failed(v, "the local APIC");
	}
	if ((v->fresh || v->cpu->activity != v->shadow->activity) && ioctl(v->fd, KVM_SET_MP_STATE, &mp))
		return failed(v, "the activity state");
	kvm_forward_kick(v);
	return 0;
}

static int import_events(struct kvm_vcpu *v)
{
	struct kvm_vcpu_events now;
	struct cpu *c = v->cpu, *s = v->shadow;

	kvm_events_from(&now, c);
	if (!v->fresh && !now.nmi.pending && c->int_shadow == s->int_shadow && c->nmi_blocked == s->nmi_blocked &&
	    s->injected.type == EV_NONE && !s->pending_db && !(atomic_load(&s->attention) & (ATT_NMI | ATT_NMI2)))
		return 0;
	atomic_fetch_and(&c->attention, ~(unsigned)(ATT_NMI | ATT_NMI2));
	return ioctl(v->fd, KVM_SET_VCPU_EVENTS, &now) ? failed(v, "the pending events") : 0;
}

int kvm_import(struct kvm_vcpu *v)
{
	if (import_sregs(v) || import_regs(v) || import_vector(v) || import_debugregs(v) || import_tsc(v) ||
	    import_apic(v) || import_msrs(v) || import_events(v))
		return -1;
	v->fresh = false;
	v->window_known = false;
	return 0;
}

/* ---- out ---------------------------------------------------------------------------------------------------------
 */

static int export_vector(struct kvm_vcpu *v)
{
	bool large = v->m->xsave_size > sizeof(struct kvm_xsave);
	struct kvm_xcrs x;

	if (ioctl(v->fd, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, v->xsave))
		return failed(v, "to show the vector state");
	kvm_xsave_to(v->cpu, v->xsave, v->m->xsave_size);
	if (!model_has(v->cpu->model, FEAT_XSAVE))
		return 0;
	if (ioctl(v->fd, KVM_GET_XCRS, &x))
		return failed(v, "to show XCR0");
	for (u32 k = 0; k < x.nr_xcrs && k < KVM_MAX_XCRS; k++)
		if (!x.xcrs[k].xcr)
			v->cpu->xcr0 = x.xcrs[k].value;
	return 0;
}

static int export_msrs(struct kvm_vcpu *v)
{
	struct msr_list l = { 0 };

	l.head.nmsrs = kvm_msrs_from(l.entry, v->cpu, v->m->user_apic);
	if (ioctl(v->fd, KVM_GET_MSRS, &l) != (int)l.head.nmsrs)
		return failed(v, "to show its MSRs");
	kvm_msrs_to(v->cpu, l.entry, l.head.nmsrs);
	return 0;
}

static u8 activity_of(const struct kvm_mp_state *mp)
{
	switch (mp->mp_state) {
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD:
		return ACT_HALTED;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
		return ACT_WAIT_SIPI;
	default:
		return ACT_RUNNING;
	}
}

static int export_apic(struct kvm_vcpu *v, const struct kvm_mp_state *mp)
{
	struct cpu *c = v->cpu;
	struct kvm_apic_page page;

	if (v->m->user_apic)
		return 0;
	if (ioctl(v->fd, KVM_GET_LAPIC, &page))
		return failed(v, "to show the local APIC");
	kvm_apic_to(c, &page);
	c->activity = activity_of(mp);
	return 0;
}

static int export_regs(struct kvm_vcpu *v)
{
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;

	if (ioctl(v->fd, KVM_GET_REGS, &regs) || ioctl(v->fd, KVM_GET_SREGS2, &sregs) ||
	    ioctl(v->fd, KVM_GET_DEBUGREGS, &debug) || ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events))
		return failed(v, "to show its registers");
	kvm_regs_to(v->cpu, &regs);
	kvm_sregs_to(v->cpu, &sregs, !v->m->user_apic);
	kvm_debugregs_to(v->cpu, &debug);
	kvm_events_to(v->cpu, &events);
	return 0;
}

/* KVM shows a kick that no HLT has used up only in that a halted vCPU is none, so this one is halted for a moment. 1 if
 * there is one, 0, -1. An INIT that comes meanwhile is obeyed by the asking, and *mp is what it made of the vCPU. */
static int kick_waits(struct kvm_vcpu *v, struct kvm_mp_state *mp)
{
	struct kvm_mp_state now = { .mp_state = KVM_MP_STATE_HALTED };

	if (!model_has(v->cpu->model, FEAT_KVM_PV_UNHALT) || mp->mp_state != KVM_MP_STATE_RUNNABLE)
		return 0;
	if (ioctl(v->fd, KVM_SET_MP_STATE, &now) || ioctl(v->fd, KVM_GET_MP_STATE, &now))
		return -1;
	if (activity_of(&now) == ACT_WAIT_SIPI) {
		*mp = now;
		return 0;
	}
	return ioctl(v->fd, KVM_SET_MP_STATE, mp) ? -1 : now.mp_state == KVM_MP_STATE_RUNNABLE;
}

/* KVM has used it up once it has run the halted vCPU. Where it was halted indeed, the next HLT is over at once, too:
 * who waits for kicks looks again. */
static int take_kick(struct kvm_vcpu *v, struct kvm_mp_state *mp)
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };
	int waits = kick_waits(v, mp);

	if (waits <= 0)
		return waits;
	__atomic_store_n(&v->cpu->kvm_unhalted, 1, __ATOMIC_RELEASE);
	return ioctl(v->fd, KVM_SET_MP_STATE, &halted) || kvm_nudge(v) || ioctl(v->fd, KVM_GET_MP_STATE, mp) ? -1 : 0;
}

/* MSRs before the APIC, whose timer may be the TSC deadline; the activity state first, because asking for it has INIT
 * and SIPI obeyed. */
int kvm_export(struct kvm_vcpu *v)
{
	struct kvm_mp_state mp;

	if (kvm_finish(v) || (v->handed && kvm_nudge(v)))
		return failed(v, "to complete what it began");
	if (!v->m->user_apic && (ioctl(v->fd, KVM_GET_MP_STATE, &mp) || take_kick(v, &mp)))
		return failed(v, "to show its activity state");
	if (export_regs(v) || export_vector(v) || export_msrs(v) || export_apic(v, &mp))
		return -1;
	cpu_update_mode(v->cpu);
	memcpy(v->shadow, v->cpu, sizeof(*v->cpu));
	return 0;
}

/* Not where run() left it: INIT and SIPI came together, and it runs again as it did. */
static bool restarted(struct kvm_vcpu *v)
{
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	const struct seg *cs = &v->shadow->seg[SEG_CS];

	if (ioctl(v->fd, KVM_GET_REGS, &regs) || ioctl(v->fd, KVM_GET_SREGS2, &sregs))
		return false;
	return regs.rip != v->shadow->r[R_RIP] || sregs.cs.selector != cs->sel || sregs.cs.base != cs->base;
}

/* An INIT or SIPI that reached it has made another processor of it; asking has it obeyed. A kick has it run. */
static bool settle_activity(struct kvm_vcpu *v)
{
	struct kvm_mp_state mp;

	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp))
		return false;
	if (activity_of(&mp) == v->shadow->activity && !restarted(v) && kick_waits(v, &mp) <= 0)
		return false;
	return kvm_export(v) == 0;
}

/* Interrupts that reached the kernel's APIC after the vCPU had left run(). */
void kvm_settle(struct cpu *c)
{
	struct kvm_vcpu *v = kvm_vcpu_of(c);
	struct kvm_apic_page page;

	if (v->m->user_apic || v->fresh)
		return;
	if (settle_activity(v) || ioctl(v->fd, KVM_GET_LAPIC, &page))
		return;
	for (unsigned k = 0; k < 8; k++) {
		u32 late = page.reg[0x200 / 4 + 4 * k] & ~v->shadow->lapic.irr[k];
		u32 level = page.reg[0x180 / 4 + 4 * k] & late;

		c->lapic.irr[k] |= late;
		c->lapic.tmr[k] = (c->lapic.tmr[k] & ~late) | level;
		v->shadow->lapic.irr[k] |= late;
		v->shadow->lapic.tmr[k] = (v->shadow->lapic.tmr[k] & ~late) | level;
	}
	cpu_post(c, ATT_APIC);
}
