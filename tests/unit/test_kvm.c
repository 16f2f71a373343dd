/* SPDX-License-Identifier: Apache-2.0
 * The engine kvm as far as it goes without /dev/kvm: random state mapped to KVM's structures and back is the same
 * state, limits narrow the model host and refuse others, auto passes over what counts no instructions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/lapic_parts.h"
#include "engine/arbiter.h"
#include "engine/kvm/kvm.h"

#define ROUNDS 2000

static u64 seed = 0x9e3779b97f4a7c15;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void fill(void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((u8 *)p)[i] = (u8)(rnd() >> 24);
}

static u64 no_time(struct cpu *c)
{
	(void)c;
	return 1000000000;
}

static void nothing(struct cpu *c)
{
	(void)c;
}

static const struct cpu_ops world = { .now_ns = no_time, .host_tsc = no_time, .mode_changed = nothing };

static struct cpu *cpu(struct cpuid_model *m)
{
	struct cpu *c = cpu_new(1, m, &world);

	assert_non_null(c);
	return c;
}

static struct cpuid_model *model(const char *name)
{
	struct err e = { "" };
	struct cpuid_model *m = cpuid_model_new(name, 2, &e);

	assert_non_null(m);
	return m;
}

static struct seg random_seg(void)
{
	return (struct seg){ .sel = (u16)rnd(), .attr = (u16)(rnd() & 0xfff), .limit = (u32)rnd(), .base = rnd() };
}

static void random_registers(struct cpu *c)
{
	fill(c->r, sizeof(c->r));
	c->r[R_ZERO] = 0;
	cpu_set_rflags_raw(c, rnd() & 0x3f7fd5);
	for (unsigned k = 0; k < NR_SEGS; k++)
		c->seg[k] = random_seg();
	c->ldtr = random_seg();
	c->tr = random_seg();
	c->gdtr = (struct dtable){ rnd(), (u16)rnd() };
	c->idtr = (struct dtable){ rnd(), (u16)rnd() };
	c->cr0 = rnd();
	c->cr2 = rnd();
	c->cr3 = rnd();
	c->cr4 = rnd();
	c->efer = rnd();
	c->apic_base = rnd();
	c->lapic.tpr = (u32)(rnd() & 0xff);
	fill(c->pdpte, sizeof(c->pdpte));
	fill(c->dr, sizeof(c->dr));
}

static void test_registers(void **state)
{
	struct cpuid_model *m = model("x86-64-v2");
	struct cpu *a = cpu(m), *b = cpu(m);

	(void)state;
	for (unsigned n = 0; n < ROUNDS; n++) {
		struct kvm_regs r;
		struct kvm_sregs2 s;
		struct kvm_debugregs d;

		random_registers(a);
		memcpy(b->pdpte, a->pdpte, sizeof(b->pdpte));
		b->lapic.tpr = a->lapic.tpr & 15;
		memcpy(b->dr, a->dr, sizeof(b->dr));
		memset(b->dr, 0, 4 * sizeof(b->dr[0]));
		b->dr[6] = b->dr[7] = 0;
		kvm_regs_from(&r, a);
		kvm_sregs_from(&s, a);
		kvm_debugregs_from(&d, a);
		/* KVM_SET_SREGS2 refuses a 64-bit code segment outside long mode, where the bit means nothing. */
		if (!(a->efer & EFER_LMA)) {
			assert_int_equal(s.cs.l, 0);
			a->seg[SEG_CS].attr &= (u16)~SEG_L;
		}
		kvm_regs_to(b, &r);
		kvm_sregs_to(b, &s, true);
		kvm_debugregs_to(b, &d);
		assert_memory_equal(a->r, b->r, sizeof(a->r));
		assert_int_equal(cpu_rflags(a), cpu_rflags(b));
		assert_memory_equal(a->seg, b->seg, sizeof(a->seg));
		assert_memory_equal(&a->ldtr, &b->ldtr, sizeof(a->ldtr));
		assert_memory_equal(&a->tr, &b->tr, sizeof(a->tr));
		assert_true(a->gdtr.base == b->gdtr.base && a->gdtr.limit == b->gdtr.limit);
		assert_true(a->idtr.base == b->idtr.base && a->idtr.limit == b->idtr.limit);
		assert_true(a->cr0 == b->cr0 && a->cr2 == b->cr2 && a->cr3 == b->cr3 && a->cr4 == b->cr4);
		assert_true(a->efer == b->efer && a->apic_base == b->apic_base && a->lapic.tpr == b->lapic.tpr);
		assert_memory_equal(a->pdpte, b->pdpte, sizeof(a->pdpte));
		assert_memory_equal(a->dr, b->dr, sizeof(a->dr));
	}
	cpu_free(a);
	cpu_free(b);
	cpuid_model_free(m);
}

/* Within the components that the host has a place for. */
static void test_vector(void **state)
{
	struct cpuid_model *m = model("host");
	struct cpu *a = cpu(m), *b = cpu(m);
	static u8 area[16384];

	(void)state;
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned width = m->xcr0_mask & 0x40 ? 64 : m->xcr0_mask & 4 ? 32 : 16;

		fill(a->zmm, sizeof(a->zmm));
		fill(a->k, sizeof(a->k));
		fill(&a->x87, sizeof(a->x87));
		a->x87.rsvd = 0;
		a->x87.fcs = a->x87.fds = 0;
		a->mxcsr = (u32)rnd();
		for (unsigned k = 0; k < 8; k++)
			memset(a->x87.st[k] + 10, 0, 6);
		for (unsigned k = 0; k < 32; k++)
			memset(a->zmm[k].b + (k < 16 || width == 64 ? width : 0), 0,
			       64 - (k < 16 || width == 64 ? width : 0));
		if (width < 64)
			memset(a->k, 0, sizeof(a->k));
		memset(b->zmm, 0xa5, sizeof(b->zmm));
		kvm_xsave_from(area, sizeof(area), a);
		kvm_xsave_to(b, area, sizeof(area));
		assert_memory_equal(a->zmm, b->zmm, sizeof(a->zmm));
		assert_memory_equal(a->k, b->k, sizeof(a->k));
		assert_memory_equal(&a->x87, &b->x87, offsetof(struct x87, st) + sizeof(a->x87.st));
		assert_int_equal(a->mxcsr, b->mxcsr);
	}
	cpu_free(a);
	cpu_free(b);
	cpuid_model_free(m);
}

static void test_msrs(void **state)
{
	struct cpuid_model *m = model("x86-64-v2");
	struct cpu *a = cpu(m), *b = cpu(m);
	struct kvm_msr_entry list[KVM_MSRS_MAX], back[KVM_MSRS_MAX];

	(void)state;
	for (unsigned user = 0; user < 2; user++) {
		unsigned n;

		a->lstar = rnd();
		a->star = rnd();
		a->pat = rnd();
		a->kernel_gs_base = rnd();
		a->sysenter_eip = rnd();
		a->spec_ctrl = rnd();
		a->tsc_aux = rnd();
		a->lapic.tsc_deadline = rnd();
		n = kvm_msrs_from(list, a, user);
		kvm_msrs_to(b, list, n);
		assert_int_equal(kvm_msrs_from(back, b, user), n);
		assert_memory_equal(list, back, n * sizeof(list[0]));
		assert_true(a->lstar == b->lstar && a->pat == b->pat && a->tsc_aux == b->tsc_aux);
		assert_true((a->lapic.tsc_deadline == b->lapic.tsc_deadline) == !user);
		b->lapic.tsc_deadline = 0;
	}
	cpu_free(a);
	cpu_free(b);
	cpuid_model_free(m);
}

static void random_apic(struct lapic *a)
{
	fill(a->irr, sizeof(a->irr));
	fill(a->isr, sizeof(a->isr));
	fill(a->tmr, sizeof(a->tmr));
	for (unsigned k = LVT_TIMER; k < NR_LVT; k++)
		a->lvt[k] = (u32)rnd() & 0x1f7ff;
	a->lvt[LVT_TIMER] = (a->lvt[LVT_TIMER] & 0x1ffff) | (u32)(rnd() & 1) << 17;
	a->id = 1;
	a->ldr = (u32)rnd();
	a->dfr = (u32)rnd();
	a->tpr = (u32)rnd() & 0xff;
	a->svr = (u32)rnd() & 0x11ff;
	a->esr = (u32)rnd() & 0xff;
	a->icr_lo = (u32)rnd();
	a->icr_hi = (u32)rnd();
	a->timer_div = (u32)rnd() & 0xb;
	a->timer_init = 1000000 + ((u32)rnd() & 0xffffff);
	a->timer_start_ns = no_time(NULL);
}

static void test_apic(void **state)
{
	struct cpuid_model *m = model("x86-64-v2");
	struct cpu *a = cpu(m), *b = cpu(m);
	struct kvm_apic_page page;

	(void)state;
	for (unsigned n = 0; n < ROUNDS; n++) {
		a->apic_base = b->apic_base = APIC_DEFAULT_BASE | APIC_BASE_EN | (rnd() & 1 ? APIC_BASE_X2 : 0);
		random_apic(&a->lapic);
		lapic_timer_resume(a, a->lapic.timer_init);
		kvm_apic_from(&page, a);
		kvm_apic_to(b, &page);
		assert_memory_equal(&a->lapic, &b->lapic, offsetof(struct lapic, posted_irr));
	}
	/* a count that is over must not begin again */
	a->lapic.lvt[LVT_TIMER] = 0x20;
	lapic_timer_resume(a, 0);
	kvm_apic_from(&page, a);
	kvm_apic_to(b, &page);
	assert_true(b->lapic.timer_deadline_ns == CLOCK_NEVER);
	cpu_free(a);
	cpu_free(b);
	cpuid_model_free(m);
}

static void test_events(void **state)
{
	struct cpuid_model *m = model("x86-64-v2");
	struct cpu *a = cpu(m), *b = cpu(m);
	struct kvm_vcpu_events v;

	(void)state;
	for (unsigned n = 0; n < 12; n++) {
		atomic_store(&a->attention, n & 4 ? ATT_NMI | (n & 8 ? ATT_NMI2 : 0) : 0);
		a->int_shadow = n % 3;
		a->nmi_blocked = n & 1;
		kvm_events_from(&v, a);
		kvm_events_to(b, &v);
		assert_int_equal(a->int_shadow, b->int_shadow);
		assert_int_equal(a->nmi_blocked, b->nmi_blocked);
		assert_int_equal(atomic_load(&a->attention), atomic_load(&b->attention));
	}
	/* a page fault whose delivery was interrupted: CR2 has what the payload would say */
	b->cr2 = 0x1234;
	v = (struct kvm_vcpu_events){ .exception = {
					  .injected = 1, .nr = EXC_PF, .has_error_code = 1, .error_code = 6 } };
	kvm_events_to(b, &v);
	assert_int_equal(b->injected.type, EV_FAULT);
	assert_int_equal(b->injected.error, 6);
	assert_int_equal(b->injected.payload, 0x1234);
	/* a single step that is due */
	v = (struct kvm_vcpu_events){ .exception = { .nr = EXC_DB, .pending = 1 },
				      .exception_has_payload = 1,
				      .exception_payload = 0x4000 };
	kvm_events_to(b, &v);
	assert_int_equal(b->injected.type, EV_NONE);
	assert_int_equal(b->pending_db, 0x4000);
	v = (struct kvm_vcpu_events){ .interrupt = { .injected = 1, .nr = 0x41 } };
	kvm_events_to(b, &v);
	assert_int_equal(b->injected.type, EV_EXT_INT);
	assert_int_equal(b->injected.vector, 0x41);
	cpu_free(a);
	cpu_free(b);
	cpuid_model_free(m);
}

static void test_limits(void **state)
{
	struct cpuid_limits l = { .who = "nobody" };
	struct err e = { "" };
	struct cpuid_model *m;

	(void)state;
	memset(l.features, 0xff, sizeof(l.features));
	cpuid_limits_allow(&l, FEAT_PCID, false);
	m = cpuid_model_new_within("host", 1, &l, &e);
	assert_non_null(m);
	assert_false(model_has(m, FEAT_PCID) || model_has(m, FEAT_INVPCID));
	assert_int_equal(m->arch_capabilities, 0);
	cpuid_model_free(m);
	assert_null(cpuid_model_new_within("x86-64-v2", 1, &l, &e));
	assert_non_null(strstr(e.text, "pcid"));
	assert_null(cpuid_model_new_within("x86-64-v2,-pcid", 1, &l, &e));
	assert_non_null(strstr(e.text, "-arch_capabilities"));
	l.apic_bus_hz = APIC_BUS_HZ_KVM;
	m = cpuid_model_new_within("x86-64-v2,-pcid,-arch_capabilities", 1, &l, &e);
	assert_non_null(m);
	assert_int_equal(cpuid_apic_bus_hz(m), APIC_BUS_HZ_KVM);
	cpuid_model_free(m);
}

static void test_arbiter(void **state)
{
	struct arbiter_needs counting = { .counting = true };
	struct err e = { "" }, passed;
	const struct engine_ops *ops = arbiter_choose_for("auto", &counting, &passed, &e);

	(void)state;
	assert_true(ops && !ops->timed);
	assert_string_equal(passed.text, "");
	assert_null(arbiter_choose_for("kvm", &counting, &passed, &e));
	assert_non_null(strstr(e.text, "does not count instructions"));
	/* here or there: it works, or it says why not */
	e.text[0] = 0;
	assert_true(arbiter_choose("kvm", &e) || strstr(e.text, "kvm"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers), cmocka_unit_test(test_vector), cmocka_unit_test(test_msrs),
		cmocka_unit_test(test_apic),	  cmocka_unit_test(test_events), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_arbiter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
