/* SPDX-License-Identifier: Apache-2.0
 * CPU models and CPUID: what a name promises, what is refused, and the leaves that follow the vCPU's state.
 */
#include "sys_world.h"

static struct cpuid_model *model(const char *name)
{
	struct err e = { "" };
	struct cpuid_model *m = cpuid_model_new(name, 2, &e);

	if (!m)
		print_message("%s\n", e.text);
	assert_non_null(m);
	return m;
}

static void refused(const char *name, const char *word)
{
	struct err e = { "" };

	assert_null(cpuid_model_new(name, 1, &e));
	assert_non_null(strstr(e.text, word));
}

static void test_levels(void **state)
{
	struct cpuid_model *m = model("x86-64-v2");

	(void)state;
	assert_true(model_has(m, FEAT_SSE42) && model_has(m, FEAT_CX16) && model_has(m, FEAT_PCID));
	assert_false(model_has(m, FEAT_AVX) || model_has(m, FEAT_RTM) || model_has(m, FEAT_LA57));
	assert_false(m->amd);
	assert_int_equal(m->xcr0_mask, 3);
	assert_int_equal(m->arch_capabilities & 0x21, 0x21);
	cpuid_model_free(m);
}

static void test_names(void **state)
{
	(void)state;
	refused("pentium", "pentium");
	refused("x86-64-v2,+nonsense", "nonsense");
	refused("x86-64-v2,+rtm", "does not implement");
	refused("x86-64-v2,-lm", "cannot be taken away");
	refused("x86-64-v2,-avx,+avx2", "needs");
	refused("x86-64-v2,sse", "+feature");
	struct cpuid_model *m = model("x86-64-v2,+la57,-pcid");
	assert_true(model_has(m, FEAT_LA57));
	assert_int_equal(m->lin_bits, 57);
	assert_false(model_has(m, FEAT_PCID) || model_has(m, FEAT_INVPCID));
	cpuid_model_free(m);
}

static void test_never_offered(void **state)
{
	static const u16 never[] = { FEAT_RTM,	 FEAT_HLE,     FEAT_AMX_TILE, FEAT_PKU, FEAT_CET_SS, FEAT_CET_IBT,
				     FEAT_UINTR, FEAT_WAITPKG, FEAT_MONITOR,  FEAT_SVM, FEAT_VMX,    FEAT_3DNOW };
	static const char *const names[] = { "x86-64-v2", "host" };

	(void)state;
	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		struct cpuid_model *m = model(names[n]);

		for (size_t k = 0; k < ARRAY_SIZE(never); k++)
			assert_false(model_has(m, never[k]));
		cpuid_model_free(m);
	}
}

static void test_dynamic(void **state)
{
	struct flat *f = world_enter(flat_long(0), "host", true);
	struct cpu *c = f->c;
	u32 r[4];

	(void)state;
	c->index = 5;
	cpuid_query(c, 1, 0, r);
	assert_int_equal(r[1] >> 24, 5);
	assert_false(r[2] >> 27 & 1);
	assert_true(r[3] >> 9 & 1);
	c->cr4 |= CR4_OSXSAVE;
	c->apic_base &= ~APIC_BASE_EN;
	cpuid_query(c, 1, 0, r);
	assert_true(r[2] >> 27 & 1);
	assert_false(r[3] >> 9 & 1);
	cpuid_query(c, 0xb, 1, r);
	assert_int_equal(r[3], 5);
	assert_int_equal(r[2], 0x201);
	cpuid_query(c, 0xb, 7, r);
	assert_int_equal(r[2], 7);
	cpuid_query(c, 0xd, 0, r);
	assert_int_equal(r[1], 576);
	if (f->model.xcr0_mask & 4) {
		c->xcr0 = 7;
		cpuid_query(c, 0xd, 0, r);
		assert_int_equal(r[1], 832);
		cpuid_query(c, 0xd, 1, r);
		assert_int_equal(r[1], 832);
	}
	c->xcr0 = f->model.xcr0_mask;
	cpuid_query(c, 0xd, 0, r);
	assert_int_equal(r[1], r[2]);
	flat_free(f);
}

/* Past the maximum: Intel answers as for the highest basic leaf, AMD with zeros. */
static void test_out_of_range(void **state)
{
	struct flat *f = world_enter(flat_long(0), "x86-64-v2", false);
	u32 a[4], b[4];

	(void)state;
	cpuid_query(f->c, 0x16, 0, a);
	cpuid_query(f->c, 0x1234, 0, b);
	assert_memory_equal(a, b, sizeof(a));
	cpuid_query(f->c, 0x80001234, 0, b);
	assert_memory_equal(a, b, sizeof(a));
	f->model.amd = true;
	cpuid_query(f->c, 0x80001234, 0, b);
	assert_int_equal(b[0] | b[1] | b[2] | b[3], 0);
	flat_free(f);
}

static void test_kvm(void **state)
{
	struct flat *f = world_enter(flat_long(0), "x86-64-v2", false);
	char sig[13] = "";
	u32 r[4];

	(void)state;
	cpuid_query(f->c, 0x40000000, 0, r);
	memcpy(sig, r + 1, 12);
	assert_string_equal(sig, "KVMKVMKVM");
	cpuid_query(f->c, 0x40000001, 0, r);
	assert_int_equal(r[0] & 9, 9);
	assert_false(r[0] >> 4 & 1);		 /* asynchronous page faults */
	assert_int_equal(r[0] & 0x2ae0, 0x2ae0); /* steal time, EOI, unhalt, TLB flush, IPIs, yield */
	flat_free(f);
}

static void test_tsc_hz(void **state)
{
	u64 a = tsc_measure_hz(), b = tsc_measure_hz();

	(void)state;
	assert_true(a > 100000000 && a < 20000000000ull);
	assert_true((a > b ? a - b : b - a) < a / 10000); /* 100 ppm; NTP corrects 500 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),	      cmocka_unit_test(test_names),
		cmocka_unit_test(test_never_offered), cmocka_unit_test(test_dynamic),
		cmocka_unit_test(test_out_of_range),  cmocka_unit_test(test_kvm),
		cmocka_unit_test(test_tsc_hz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
