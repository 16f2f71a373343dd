/* SPDX-License-Identifier: Apache-2.0
 * KVM's paravirtual MSRs (Linux Documentation/virt/kvm/x86/msr.rst): the clock pages, PV EOI, poll control. Each exists
 * only if the model's leaf 40000001H offers it.
 */
#include "base/clock.h"
#include "cpu/cpuid.h"
#include "cpu/msr_parts.h"

/* The page of MSR_KVM_SYSTEM_TIME: ns = system_time + (((tsc - tsc_timestamp) << shift) * mul >> 32). */
struct pvclock_time {
	u32 version, pad0; /* odd while being changed */
	u64 tsc_timestamp, system_time;
	u32 mul;
	s8 shift;
	u8 flags; /* bit 0: all vCPUs' pages agree */
	u8 pad[2];
};
_Static_assert(sizeof(struct pvclock_time) == 32, "the guest's ABI");

struct pvclock_wall {
	u32 version, sec, nsec;
};
_Static_assert(sizeof(struct pvclock_wall) == 12, "the guest's ABI");

/* A multiplier below 2^32: hz << shift must exceed 10^9. */
static void scale(u64 hz, struct pvclock_time *t)
{
	hz = MAX(hz, 1000000ull);
	t->shift = 0;
	while (hz << t->shift <= NS_PER_SEC)
		t->shift++;
	t->mul = (u32)(((u128)NS_PER_SEC << 32) / (hz << t->shift));
}

/* The version protocol: odd, body, even. body starts with the version. */
static void publish(struct cpu *c, u64 gpa, void *body, unsigned size)
{
	u32 odd, even;

	if (gpa >> c->model->phys_bits)
		return;
	c->kvm_clock_version = (c->kvm_clock_version & ~1u) + 2;
	even = c->kvm_clock_version;
	odd = even - 1;
	memcpy(body, &odd, sizeof(odd));
	if (c->ops->phys_write(c, gpa, &odd, sizeof(odd)) || c->ops->phys_write(c, gpa, body, size))
		return;
	c->ops->phys_write(c, gpa, &even, sizeof(even));
}

void kvm_clock_update(struct cpu *c)
{
	struct pvclock_time t = { 0 };

	if (!(c->kvm_system_time & 1))
		return;
	scale(cpuid_tsc_hz(c->model), &t);
	t.tsc_timestamp = cpu_guest_tsc(c);
	t.system_time = c->ops->now_ns(c);
	t.flags = cpu_has(c, FEAT_KVM_CLOCKSOURCE_STABLE) ? 1 : 0;
	publish(c, c->kvm_system_time & ~1ull, &t, sizeof(t));
}

/* The page of MSR_KVM_STEAL_TIME. */
struct kvm_steal {
	u64 steal;
	u32 version, flags;
	u8 preempted, pad[47];
};
_Static_assert(sizeof(struct kvm_steal) == 64, "the guest's ABI");

static u64 steal_gpa(const struct cpu *c)
{
	u64 gpa = c->kvm_steal_time & ~63ull;

	return (c->kvm_steal_time & 1) && !(gpa >> c->model->phys_bits) ? gpa : 0;
}

u64 kvm_preempted_gpa(const struct cpu *c)
{
	u64 gpa = steal_gpa(c);

	return gpa ? gpa + offsetof(struct kvm_steal, preempted) : 0;
}

void kvm_steal_add(struct cpu *c, u64 ns)
{
	const unsigned at = offsetof(struct kvm_steal, version);
	u64 gpa = steal_gpa(c), steal;
	u32 version;

	if (!gpa || c->ops->phys_read(c, gpa, &steal, sizeof(steal)) ||
	    c->ops->phys_read(c, gpa + at, &version, sizeof(version)))
		return;
	version |= 1;
	steal += ns;
	c->ops->phys_write(c, gpa + at, &version, sizeof(version));
	c->ops->phys_write(c, gpa, &steal, sizeof(steal));
	version++;
	c->ops->phys_write(c, gpa + at, &version, sizeof(version));
}

/* The wall clock's page says when the VM clock was 0. */
static void write_wall_clock(struct cpu *c, u64 gpa)
{
	u64 boot = c->ops->wall_ns(c) - c->ops->now_ns(c);
	struct pvclock_wall w = { .sec = (u32)(boot / NS_PER_SEC), .nsec = (u32)(boot % NS_PER_SEC) };

	publish(c, gpa, &w, sizeof(w));
}

bool msr_kvm_clock_read(struct cpu *c, u32 idx, u64 *val)
{
	*val = idx == MSR_KVM_WALL_CLOCK || idx == MSR_KVM_WALL_CLOCK_NEW ? c->kvm_wall_clock : c->kvm_system_time;
	return true;
}

bool msr_kvm_clock_write(struct cpu *c, u32 idx, u64 val)
{
	if (idx == MSR_KVM_WALL_CLOCK || idx == MSR_KVM_WALL_CLOCK_NEW) {
		c->kvm_wall_clock = val;
		write_wall_clock(c, val);
	} else {
		c->kvm_system_time = val;
		kvm_clock_update(c);
	}
	return true;
}

bool msr_kvm_pv_eoi_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	if (val & 2)
		return false;
	c->kvm_pv_eoi = val;
	c->lapic.pv_eoi_pending = false;
	return true;
}
