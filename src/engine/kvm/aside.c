/* SPDX-License-Identifier: Apache-2.0
 * What KVM cannot do is done by the interpreter, an instruction or some at a time: events that KVM has no place for,
 * instructions that its emulator does not know, all code while A20 is off, a debugger's single step.
 *
 * The guest's memory was written to behind the interpreter's back, so it begins with nothing: no decoded code, no
 * translations. With the APIC in the kernel no interrupt of the APIC is taken meanwhile; they wait in the kernel.
 */
#include <string.h>

#include "base/log.h"
#include "cpu/event.h"
#include "engine/kvm/kvm.h"
#include "mmu/mmu.h"

static int attach(struct kvm_vcpu *v)
{
	struct err e = { "" };

	if (v->interp)
		return 0;
	if (engine_interp.attach(v->cpu, v->m->mem, &e)) {
		v->cpu->engine = v;
		log_msg(LOG_ERROR, "%s", e.text);
		return -1;
	}
	v->interp = v->cpu->engine;
	v->cpu->engine = v;
	return 0;
}

void kvm_aside_fini(struct kvm_vcpu *v)
{
	if (!v->interp)
		return;
	v->cpu->engine = v->interp;
	engine_interp.detach(v->cpu);
	v->interp = NULL;
	v->cpu->engine = v;
}

static void forget_translations(struct kvm_vcpu *v)
{
	mmu_reset(v->cpu);
	engine_interp.invalidate(v->cpu, INVALIDATE_ALL, 0);
}

/* IRR of a kernel's APIC is out of sight; what the instruction itself put there stays. */
static enum engine_exit run_interp(struct kvm_vcpu *v, unsigned n)
{
	struct cpu *c = v->cpu;
	u32 irr[8];
	enum engine_exit why;

	memcpy(irr, c->lapic.irr, sizeof(irr));
	if (!v->m->user_apic)
		memset(c->lapic.irr, 0, sizeof(irr));
	c->engine = v->interp;
	forget_translations(v);
	why = engine_interp.run(c, n);
	engine_interp.invalidate(c, INVALIDATE_ALL, 0);
	c->engine = v;
	for (unsigned k = 0; k < 8 && !v->m->user_apic; k++)
		c->lapic.irr[k] |= irr[k];
	return why;
}

int kvm_interpret(struct kvm_vcpu *v, unsigned n)
{
	const struct debug_wishes *wishes = v->cpu->wishes;
	enum engine_exit why;

	if (attach(v))
		return -1;
	counter_inc(v->cpu->counters, CNT_KVM_ASIDE);
	v->cpu->wishes = NULL;
	why = run_interp(v, n);
	v->cpu->wishes = wishes;
	if (why == EXIT_KICK)
		cpu_post(v->cpu, ATT_KICK);
	return 0;
}

static bool unfit(const struct kvm_vcpu *v)
{
	const struct cpu *c = v->cpu;

	return c->injected.type != EV_NONE || c->pending_db || !mem_get_a20(v->m->mem) ||
	       (atomic_load(&c->attention) & (ATT_INIT | ATT_SIPI));
}

/* Long enough for a loop that waits for A20; each round looks at kicks. */
#define ASIDE_INSNS 2000

int kvm_resolve(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;

	while (unfit(v)) {
		bool a20 = mem_get_a20(v->m->mem);

		if (atomic_load(&c->attention) & ATT_KICK)
			return 0;
		if (kvm_interpret(v, a20 ? 1 : ASIDE_INSNS))
			return -1;
		if (c->activity != ACT_RUNNING)
			return 0;
	}
	return 0;
}
