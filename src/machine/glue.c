/* SPDX-License-Identifier: Apache-2.0
 * The world as a struct cpu sees it: ports, clocks, entropy, interrupt messages to and from other vCPUs.
 *
 * An interrupt message (IPI or MSI) is matched against every APIC; lowest-priority delivery takes the matching vCPU
 * whose TPR has the lowest class, by turns where several have, so that a spread exists.
 */
#include <x86intrin.h>

#include "cpu/lapic.h"
#include "machine/det.h"
#include "machine/pc.h"
#include "machine/vm.h"
#include "mmu/mmu.h"

static u32 glue_in(struct cpu *c, u16 port, unsigned size)
{
	u64 start = device_time_begin(c, CNT_IO_READ);
	u32 val = mem_port_read(vcpu_of(c)->vm->mem, port, size);

	device_time_end(c, start);
	cpu_trace(c, TRACE_PORT, port, val, size);
	return val;
}

static void glue_out(struct cpu *c, u16 port, unsigned size, u32 val)
{
	u64 start = device_time_begin(c, CNT_IO_WRITE);

	cpu_trace(c, TRACE_PORT, port, val, size | 0x100);
	mem_port_write(vcpu_of(c)->vm->mem, port, val, size);
	device_time_end(c, start);
}

static int glue_phys_read(struct cpu *c, u64 gpa, void *buf, unsigned size)
{
	return mem_read(vcpu_of(c)->vm->mem, gpa, buf, size);
}

static int glue_phys_write(struct cpu *c, u64 gpa, const void *buf, unsigned size)
{
	return mem_write(vcpu_of(c)->vm->mem, gpa, buf, size);
}

static u8 glue_ack_extint(struct cpu *c)
{
	struct vm *vm = vcpu_of(c)->vm;
	u8 vector;

	pthread_mutex_lock(&vm->lock);
	vector = pc_ack_intr(vm->pc);
	pthread_mutex_unlock(&vm->lock);
	return vector;
}

static u64 glue_host_tsc(struct cpu *c)
{
	struct vm *vm = vcpu_of(c)->vm;

	return vm->cfg.deterministic ? det_tsc(vm) : __rdtsc();
}

static u64 glue_now_ns(struct cpu *c)
{
	return clock_ns(&vcpu_of(c)->vm->clock);
}

static u64 glue_wall_ns(struct cpu *c)
{
	struct vm *vm = vcpu_of(c)->vm;

	return vm->cfg.deterministic ? det_wall_ns(vm) : clock_wall_ns();
}

static bool glue_random(struct cpu *c, void *buf, unsigned size)
{
	return inputs_random(vcpu_of(c)->vm->cfg.inputs, buf, size);
}

static void glue_ioapic_eoi(struct cpu *c, u8 vector)
{
	struct vm *vm = vcpu_of(c)->vm;

	pthread_mutex_lock(&vm->lock);
	pc_eoi(vm->pc, vector);
	pthread_mutex_unlock(&vm->lock);
}

/* Only the bootstrap processor's FERR# is wired to the chipset; the others go on as if IGNNE# were asserted. */
static bool glue_ferr(struct cpu *c, bool asserted)
{
	struct vm *vm = vcpu_of(c)->vm;
	bool ignne;

	if (c->index != 0)
		return true;
	pthread_mutex_lock(&vm->lock);
	ignne = pc_ferr(vm->pc, asserted);
	pthread_mutex_unlock(&vm->lock);
	return ignne;
}

static void glue_timer_changed(struct cpu *c)
{
	vcpu_publish_deadline(vcpu_of(c));
	vcpu_tell_steal(vcpu_of(c)); /* the guest's tick is when it looks */
}

static void glue_relax(struct cpu *c)
{
	struct vm *vm = vcpu_of(c)->vm;

	if (vm->nr_vcpus < 2)
		return;
	if (!vm->cfg.deterministic && !vcpu_should_doze(vcpu_of(c)))
		return;
	cpu_post(c, ATT_KICK); /* out of run(), behind this very instruction: to doze, or for the next vCPU's turn */
	c->block_end = NULL;
}

static void glue_unhalt(struct cpu *c, u32 apic_id)
{
	struct vm *vm = vcpu_of(c)->vm;

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct cpu *target = vm->vcpu[i]->cpu;

		if (__atomic_load_n(&target->lapic.id, __ATOMIC_RELAXED) != apic_id)
			continue;
		__atomic_store_n(&target->kvm_unhalted, 1, __ATOMIC_RELEASE);
		vcpu_post(vm->vcpu[i], ATT_EVENTS);
	}
}

static void glue_exclusive_begin(struct cpu *c)
{
	vcpu_exclusive_begin(vcpu_of(c));
}

static void glue_exclusive_end(struct cpu *c)
{
	vcpu_exclusive_end(vcpu_of(c));
}

/* ---- interrupt messages ------------------------------------------------------------------------------------------ */

static void deliver(struct vcpu *v, u64 icr)
{
	lapic_post_icr(v->cpu, icr);
	vcpu_post(v, 0);
}

/* To the matching vCPU of the lowest task priority class (SDM 3A 11.6.2.4), by turns among several. */
static void deliver_lowest(struct vm *vm, u64 icr)
{
	unsigned last = atomic_fetch_add_explicit(&vm->lowest_turn, 1, memory_order_relaxed), least = ~0u, class;
	struct vcpu *best = NULL;

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[(last + i) % vm->nr_vcpus];

		class = __atomic_load_n(&v->cpu->lapic.tpr, __ATOMIC_RELAXED) >> 4;
		if (class >= least || !lapic_match(v->cpu, ICR_DEST(icr), icr & ICR_LOGICAL))
			continue;
		least = class;
		best = v;
	}
	if (best)
		deliver(best, (icr & ~(7ull << 8)) | APIC_DM_FIXED << 8);
}

static void deliver_matching(struct vm *vm, u64 icr)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (lapic_match(vm->vcpu[i]->cpu, ICR_DEST(icr), icr & ICR_LOGICAL))
			deliver(vm->vcpu[i], icr);
}

static void glue_send_ipi(struct cpu *c, u64 icr)
{
	struct vcpu *self = vcpu_of(c);
	struct vm *vm = self->vm;
	unsigned shorthand = ICR_SHORTHAND(icr);

	if (!shorthand && ICR_MODE(icr) == APIC_DM_LOWEST) {
		deliver_lowest(vm, icr);
		return;
	}
	if (!shorthand) {
		deliver_matching(vm, icr);
		return;
	}
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i] == self ? shorthand != 3 : shorthand != 1)
			deliver(vm->vcpu[i], icr);
}

/* SDM 3A 11.11: address bits 19..12 destination, 3 redirection hint, 2 logical; data bits 7..0 vector, 10..8 mode, 14
 * assert, 15 level. */
void vm_msi(void *opaque, u64 addr, u32 data)
{
	struct vm *vm = opaque;
	const struct engine_ops *engine = vm->nr_vcpus ? vm->vcpu[0]->engine : NULL;
	u64 dest = bits(addr, 19, 12), icr;
	bool logical = addr & 4, hint = addr & 8;

	/* while vCPUs are held, all that arrives is in struct cpu */
	if (engine && engine->msi && !__atomic_load_n(&vm->hold, __ATOMIC_ACQUIRE) &&
	    engine->msi(vm->engine_machine, addr, data))
		return;
	if (dest == 0xff && !logical)
		dest = 0xffffffff;
	icr = (data & 0xc7ff) | (logical ? ICR_LOGICAL : 0) | dest << 32;
	if (!(icr & ICR_LEVEL))
		icr |= ICR_ASSERT;
	if (ICR_MODE(icr) == APIC_DM_LOWEST || (hint && logical && ICR_MODE(icr) == APIC_DM_FIXED))
		deliver_lowest(vm, icr);
	else
		deliver_matching(vm, icr);
}

/* INTR is wired to the bootstrap processor's LINT0. A level: the bit stays while the line is high. */
void vm_intr(void *opaque, unsigned input, bool level)
{
	struct vm *vm = opaque;

	(void)input;
	if (!vm->nr_vcpus)
		return;
	if (level)
		vcpu_post(vm->vcpu[0], ATT_EXTINT);
	else
		atomic_fetch_and(&vm->vcpu[0]->cpu->attention, ~(unsigned)ATT_EXTINT);
}

void vm_fill_ops(struct vm *vm)
{
	mmu_ops(&vm->ops);
	vm->ops.in = glue_in;
	vm->ops.out = glue_out;
	vm->ops.phys_read = glue_phys_read;
	vm->ops.phys_write = glue_phys_write;
	vm->ops.ack_extint = glue_ack_extint;
	vm->ops.host_tsc = glue_host_tsc;
	vm->ops.now_ns = glue_now_ns;
	vm->ops.wall_ns = glue_wall_ns;
	vm->ops.random = glue_random;
	vm->ops.ioapic_eoi = glue_ioapic_eoi;
	vm->ops.send_ipi = glue_send_ipi;
	vm->ops.ferr = glue_ferr;
	vm->ops.timer_changed = glue_timer_changed;
	vm->ops.relax = glue_relax;
	vm->ops.unhalt = glue_unhalt;
	vm->ops.exclusive_begin = glue_exclusive_begin;
	vm->ops.exclusive_end = glue_exclusive_end;
	vm->ops.trace = vm->cfg.trace;
}
