/* SPDX-License-Identifier: Apache-2.0
 * Exits: one function each, counted and timed by cause.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/log.h"
#include "cpu/event.h"
#include "cpu/lapic.h"
#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

/* ---- ports and device memory -------------------------------------------------------------------------------------
 */

/* INS and OUTS come as several units at once. */
static bool exit_io(struct kvm_vcpu *v)
{
	struct kvm_run *r = v->run;
	struct cpu *c = v->cpu;
	u8 *data = (u8 *)r + r->io.data_offset;
	unsigned size = r->io.size;

	v->unfinished = true;
	for (u32 k = 0; k < r->io.count; k++, data += size) {
		u32 val = 0;

		if (r->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&val, data, size);
			c->ops->out(c, r->io.port, size, val);
		} else {
			val = c->ops->in(c, r->io.port, size);
			memcpy(data, &val, size);
		}
	}
	return true;
}

static u64 mmio_read(struct kvm_vcpu *v, u64 gpa, unsigned size)
{
	struct cpu *c = v->cpu;

	if (v->m->user_apic && lapic_claims(c, gpa)) {
		counter_inc(c->counters, CNT_APIC_ACCESS);
		return lapic_mmio_read(c, (u32)(gpa & ~PAGE_MASK), size);
	}
	counter_inc(c->counters, CNT_MMIO_READ);
	return mem_mmio_read(v->m->mem, gpa, size, NULL);
}

static void mmio_write(struct kvm_vcpu *v, u64 gpa, u64 val, unsigned size)
{
	struct cpu *c = v->cpu;

	if (v->m->user_apic && lapic_claims(c, gpa)) {
		counter_inc(c->counters, CNT_APIC_ACCESS);
		lapic_mmio_write(c, (u32)(gpa & ~PAGE_MASK), (u32)val, size);
		return;
	}
	counter_inc(c->counters, CNT_MMIO_WRITE);
	mem_mmio_write(v->m->mem, gpa, val, size, NULL);
}

static bool exit_mmio(struct kvm_vcpu *v)
{
	struct kvm_run *r = v->run;
	unsigned size = MIN(r->mmio.len, 8u);
	u64 val = 0;

	v->unfinished = true;
	if (r->mmio.is_write) {
		memcpy(&val, r->mmio.data, size);
		mmio_write(v, r->mmio.phys_addr, val, size);
	} else {
		val = mmio_read(v, r->mmio.phys_addr, size);
		memcpy(r->mmio.data, &val, size);
	}
	return true;
}

/* ---- MSRs --------------------------------------------------------------------------------------------------------
 */

/* What KVM refused although it has the register is #GP, but for the x2APIC's, which with our own APIC are ours. */
static bool ours(const struct kvm_vcpu *v)
{
	const struct kvm_run *r = v->run;

	return r->msr.reason != KVM_MSR_EXIT_REASON_INVAL ||
	       (v->m->user_apic && r->msr.index >= MSR_X2APIC && r->msr.index <= MSR_X2APIC + 0xff);
}

static bool exit_rdmsr(struct kvm_vcpu *v)
{
	struct kvm_run *r = v->run;
	u64 val = 0;

	v->unfinished = true;
	r->msr.error = !ours(v) || msr_read(v->cpu, r->msr.index, &val) != OUT_DONE;
	r->msr.data = val;
	return true;
}

/* Where a write has moved something that KVM keeps, too. */
static int pass_on(struct kvm_vcpu *v, u32 index)
{
	struct cpu *c = v->cpu;
	struct kvm_device_attr a = { .group = KVM_VCPU_TSC_CTRL,
				     .attr = KVM_VCPU_TSC_OFFSET,
				     .addr = (uintptr_t)&c->tsc_offset };
	struct kvm_sregs2 s;

	if ((index == MSR_TSC || index == MSR_TSC_ADJUST) && ioctl(v->fd, KVM_SET_DEVICE_ATTR, &a))
		return -1;
	if (index != MSR_APIC_BASE)
		return 0;
	if (kvm_finish(v) || ioctl(v->fd, KVM_GET_SREGS2, &s))
		return -1;
	s.apic_base = c->apic_base;
	return ioctl(v->fd, KVM_SET_SREGS2, &s);
}

static bool exit_wrmsr(struct kvm_vcpu *v)
{
	struct kvm_run *r = v->run;
	u32 index = r->msr.index;

	v->unfinished = true;
	r->msr.error = !ours(v) || msr_write(v->cpu, index, r->msr.data) != OUT_DONE;
	if (!r->msr.error && pass_on(v, index)) {
		log_msg(LOG_ERROR, "vCPU %u: KVM refuses what a write to MSR %x asks for", v->cpu->index, index);
		v->why = EXIT_FATAL;
		return false;
	}
	return true;
}

/* ---- the rest ----------------------------------------------------------------------------------------------------
 */

static bool exit_nothing(struct kvm_vcpu *v)
{
	(void)v;
	return true;
}

/* With the APIC in the kernel, KVM halts by itself. */
static bool exit_hlt(struct kvm_vcpu *v)
{
	v->cpu->activity = ACT_HALTED;
	counter_inc(v->cpu->counters, CNT_HALTS);
	return true;
}

static bool exit_eoi(struct kvm_vcpu *v)
{
	v->cpu->ops->ioapic_eoi(v->cpu, v->run->eoi.vector);
	return true;
}

static bool exit_shutdown(struct kvm_vcpu *v)
{
	v->why = EXIT_SHUTDOWN;
	return false;
}

static bool wanted(const struct debug_wishes *w, u64 pc)
{
	for (unsigned k = 0; w && k < w->n && k < ARRAY_SIZE(w->addr); k++)
		if (w->addr[k] == pc)
			return true;
	return false;
}

/* Past four breakpoints KVM steps, and each step is looked at. While there are any, the guest's own #DBs come here too.
 */
static bool exit_debug(struct kvm_vcpu *v)
{
	const struct kvm_debug_exit_arch *d = &v->run->debug.arch;
	bool stepping = v->cpu->wishes && v->cpu->wishes->n > 4;

	if (!wanted(v->cpu->wishes, d->pc) && stepping)
		return !kvm_set_debug(v); /* again: POPF and its like have taken TF away */
	if (!wanted(v->cpu->wishes, d->pc)) {
		v->complete = !kvm_export(v);
		v->why = EXIT_FATAL;
		v->cpu->pending_db |= d->dr6 & 0xe00f;
		return v->complete && kvm_reenter(v);
	}
	v->debug_rip = v->run->debug.arch.pc;
	v->why = EXIT_DEBUG;
	return false;
}

/* KVM's own emulator does not know the instruction: ours does. */
static bool exit_internal(struct kvm_vcpu *v)
{
	struct kvm_run *r = v->run;

	if (r->internal.suberror != KVM_INTERNAL_ERROR_EMULATION &&
	    r->internal.suberror != KVM_INTERNAL_ERROR_DELIVERY_EV) {
		log_msg(LOG_ERROR, "vCPU %u: KVM gave up, internal error %u", v->cpu->index, r->internal.suberror);
		v->why = EXIT_FATAL;
		return false;
	}
	v->complete = !kvm_export(v) && !kvm_interpret(v, 1);
	v->why = EXIT_FATAL;
	return v->complete && kvm_reenter(v);
}

static bool exit_unknown(struct kvm_vcpu *v)
{
	struct kvm_run *r = v->run;

	log_msg(LOG_ERROR, "vCPU %u: KVM left for a reason that nobody expects (%u, %llx)", v->cpu->index,
		r->exit_reason,
		(unsigned long long)(r->exit_reason == KVM_EXIT_FAIL_ENTRY ? r->fail_entry.hardware_entry_failure_reason
									   : r->hw.hardware_exit_reason));
	v->why = EXIT_FATAL;
	return false;
}

static const struct cause {
	u32 reason;
	enum counter count, ns;
	bool (*deal)(struct kvm_vcpu *v);
} causes[] = {
	{ KVM_EXIT_IO, CNT_KVM_IO, CNT_KVM_IO_NS, exit_io },
	{ KVM_EXIT_MMIO, CNT_KVM_MMIO, CNT_KVM_MMIO_NS, exit_mmio },
	{ KVM_EXIT_X86_RDMSR, CNT_KVM_MSR, CNT_KVM_MSR_NS, exit_rdmsr },
	{ KVM_EXIT_X86_WRMSR, CNT_KVM_MSR, CNT_KVM_MSR_NS, exit_wrmsr },
	{ KVM_EXIT_HLT, CNT_KVM_HLT, CNT_KVM_HLT_NS, exit_hlt },
	{ KVM_EXIT_IRQ_WINDOW_OPEN, CNT_KVM_WINDOW, CNT_KVM_WINDOW_NS, exit_nothing },
	{ KVM_EXIT_IOAPIC_EOI, CNT_KVM_EOI, CNT_KVM_EOI_NS, exit_eoi },
	{ KVM_EXIT_SET_TPR, CNT_KVM_TPR, CNT_KVM_TPR_NS, exit_nothing },
	{ KVM_EXIT_INTR, CNT_KVM_KICK, CNT_KVM_KICK_NS, exit_nothing },
	{ KVM_EXIT_DEBUG, CNT_KVM_DEBUG, CNT_KVM_DEBUG_NS, exit_debug },
	{ KVM_EXIT_INTERNAL_ERROR, CNT_KVM_EMULATION, CNT_KVM_EMULATION_NS, exit_internal },
	{ KVM_EXIT_SHUTDOWN, CNT_KVM_OTHER, CNT_KVM_OTHER_NS, exit_shutdown },
	{ ~0u, CNT_KVM_OTHER, CNT_KVM_OTHER_NS, exit_unknown },
};

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec;
}

bool kvm_exit(struct kvm_vcpu *v)
{
	const struct cause *x = causes;
	u64 began = now_ns();
	bool more;

	while (x->reason != v->run->exit_reason && x->reason != ~0u)
		x++;
	counter_inc(v->cpu->counters, x->count);
	more = x->deal(v);
	counter_add(v->cpu->counters, x->ns, now_ns() - began);
	return more;
}

int kvm_finish(struct kvm_vcpu *v)
{
	int ret = 0;

	if (!v->unfinished)
		return 0;
	v->run->immediate_exit = 1;
	do {
		v->unfinished = false;
		ret = ioctl(v->fd, KVM_RUN, 0);
		/* the next unit of a string, the second page of a long access */
		if (!ret && !kvm_exit(v))
			break;
	} while (!ret);
	v->run->immediate_exit = 0;
	if (ret && errno == EINTR)
		return 0;
	log_msg(LOG_ERROR, "vCPU %u: KVM does not complete an instruction: %s", v->cpu->index, strerror(errno));
	return -1;
}
