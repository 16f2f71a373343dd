/* SPDX-License-Identifier: Apache-2.0
 * The engine's birth and death, and its table.
 */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/lapic.h"

/* ---- the machine -------------------------------------------------------------------------------------------------
 */

static int enable(struct kvm_machine *m, u32 cap, u64 arg, const char *what, struct err *e)
{
	struct kvm_enable_cap c = { .cap = cap, .args[0] = arg };

	return ioctl(m->fd, KVM_ENABLE_CAP, &c) ? err_errno(e, "KVM does not do %s", what) : 0;
}

static int enable_all(struct kvm_machine *m, struct err *e)
{
	if (enable(m, KVM_CAP_X86_USER_SPACE_MSR,
		   KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER, "MSR exits",
		   e) ||
	    enable(m, KVM_CAP_EXCEPTION_PAYLOAD, 1, "payloads of exceptions", e))
		return -1;
	if (m->user_apic)
		return 0;
	return enable(m, KVM_CAP_SPLIT_IRQCHIP, KVM_ROUTES, "a split irqchip", e) ||
		       enable(m, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS, "32-bit APIC ids", e)
		   ? -1
		   : 0;
}

static size_t xsave_size(int sys)
{
	int n = ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	return n > (int)sizeof(struct kvm_xsave) ? (size_t)n : sizeof(struct kvm_xsave);
}

static void machine_free(void *machine)
{
	struct kvm_machine *m = machine;

	if (!m)
		return;
	if (m->mem)
		kvm_slots_fini(m);
	if (m->fd >= 0)
		close(m->fd);
	if (m->sys >= 0)
		close(m->sys);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static void *machine_new(struct mem *mem, const struct cpuid_model *model, const struct engine_options *o,
			 struct err *e)
{
	struct kvm_machine *m = calloc(1, sizeof(*m));

	if (!m) {
		err_set(e, "no memory for the engine kvm");
		return NULL;
	}
	m->user_apic = o && o->user_apic;
	pthread_mutex_init(&m->lock, NULL);
	m->sys = m->fd = -1;
	if (kvm_open(&m->sys, &m->fd, e) || kvm_check_caps(m->sys, e) || enable_all(m, e) ||
	    kvm_set_apic_bus(m, model, e) || kvm_msr_filter(m, model, e))
		goto fail;
	m->run_size = (size_t)ioctl(m->sys, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->xsave_size = xsave_size(m->sys);
	m->mem = mem;
	if (!kvm_slots_init(m, e))
		return m;
	m->mem = NULL;
fail:
	machine_free(m);
	return NULL;
}

/* ---- vCPUs -------------------------------------------------------------------------------------------------------
 */

static void vcpu_free(struct kvm_vcpu *v)
{
	if (v->run != MAP_FAILED)
		munmap(v->run, v->m->run_size);
	if (v->fd >= 0)
		close(v->fd);
	free(v->xsave);
	free(v->shadow);
	free(v);
}

static int vcpu_open(struct kvm_vcpu *v, struct err *e)
{
	v->fd = ioctl(v->m->fd, KVM_CREATE_VCPU, (unsigned long)v->cpu->index);
	if (v->fd < 0)
		return err_errno(e, "KVM makes no vCPU %u", v->cpu->index);
	v->run = mmap(NULL, v->m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		return err_errno(e, "KVM shows no vCPU %u", v->cpu->index);
	if (kvm_admit_kicks(v->fd))
		return err_errno(e, "KVM takes no signal mask");
	return kvm_give_cpuid(v, e);
}

static int attach(struct cpu *c, struct mem *mem, struct err *e)
{
	struct kvm_machine *m = c->engine_machine;
	struct kvm_vcpu *v = calloc(1, sizeof(*v));

	(void)mem;
	if (!v || c->index >= KVM_VCPUS_MAX) {
		free(v);
		return err_set(e, "no memory for vCPU %u", c->index);
	}
	v->m = m;
	v->cpu = c;
	v->fd = -1;
	v->run = MAP_FAILED;
	v->fresh = true;
	v->debug_rip = ~0ull;
	v->xsave = calloc(1, m->xsave_size);
	v->shadow = aligned_alloc(64, ALIGN_UP(sizeof(*v->shadow), 64));
	if (!v->xsave || !v->shadow || vcpu_open(v, e)) {
		if (!v->xsave || !v->shadow)
			err_set(e, "no memory for vCPU %u", c->index);
		vcpu_free(v);
		return -1;
	}
	memcpy(v->shadow, c, sizeof(*c));
	m->vcpu[c->index] = v;
	c->engine = v;
	return 0;
}

static void detach(struct cpu *c)
{
	struct kvm_vcpu *v = c->engine;

	if (!v)
		return;
	kvm_aside_fini(v);
	v->m->vcpu[c->index] = NULL;
	vcpu_free(v);
	c->engine = NULL;
}

/* Nobody runs. The state was made or changed elsewhere: with the APIC in the kernel it goes in now, before another vCPU
 * can send an interrupt to it. */
static void invalidate(struct cpu *c, enum tlb_scope_engine scope, u64 gpa)
{
	struct kvm_vcpu *v = kvm_vcpu_of(c);

	(void)gpa;
	if (scope != INVALIDATE_ALL || !v)
		return;
	v->fresh = true;
	v->unfinished = false;
	if (v->m->user_apic)
		return;
	lapic_sync(c);
	if (!kvm_import(v))
		memcpy(v->shadow, c, sizeof(*c));
}

static int limits(const struct engine_options *o, struct cpuid_limits *l, struct err *e)
{
	return kvm_limits(o && o->user_apic, l, e);
}

const struct engine_ops engine_kvm = {
	.name = "kvm",
	.timed = true,
	.host = ENGINE_HOST_KVM,
	.probe = kvm_probe,
	.limits = limits,
	.machine_new = machine_new,
	.machine_free = machine_free,
	.attach = attach,
	.run = kvm_run_loop,
	.kick = kvm_kick,
	.settle = kvm_settle,
	.msi = kvm_msi,
	.dirty_log = kvm_dirty_log,
	.invalidate = invalidate,
	.detach = detach,
};
