/* SPDX-License-Identifier: Apache-2.0
 * MSRs: reserved bits, canonical addresses, vendors and features, MTRRs, the KVM clock. Each refusal is #GP(0).
 */
#include "sys_world.h"

static struct flat *f;
static struct cpu *c;

static int setup(void **state)
{
	(void)state;
	f = world_enter(flat_long(0), "host", false);
	c = f->c;
	set_bit_of_model(&f->model, FEAT_SPEC_CTRL, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	flat_free(f);
	return 0;
}

static u64 get(u32 idx)
{
	u64 v = 0x1122334455667788;

	assert_int_equal(msr_read(c, idx, &v), OUT_DONE);
	return v;
}

static void put(u32 idx, u64 v)
{
	assert_int_equal(msr_write(c, idx, v), OUT_DONE);
}

static void no_get(u32 idx)
{
	u64 v = 0x1122334455667788;

	assert_int_equal(msr_read(c, idx, &v), OUT_FAULT);
	assert_int_equal(c->exc.vector, EXC_GP);
	assert_true(c->exc.has_error && !c->exc.error);
	assert_true(v == 0x1122334455667788 || idx >= 0x800);
}

static void no_put(u32 idx, u64 v)
{
	assert_int_equal(msr_write(c, idx, v), OUT_FAULT);
	assert_int_equal(c->exc.vector, EXC_GP);
}

static void test_unknown(void **state)
{
	u64 n = f->counters.n[CNT_MSR_UNKNOWN];

	(void)state;
	no_get(0x12345);
	no_put(0xdeadbeef, 0);
	no_get(0xffffffff);
	no_get(2);
	assert_int_equal(f->counters.n[CNT_MSR_UNKNOWN], n + 4);
	no_get(MSR_AMD_HWCR); /* not on Intel */
	no_get(0xe8);	      /* APERF */
}

/* Values that kernels' and test suites' write-and-read-back checks use. */
static void test_plain(void **state)
{
	static const struct {
		u32 idx;
		u64 val;
	} t[] = {
		{ MSR_SYSENTER_CS, 0x1234 },
		{ MSR_SYSENTER_ESP, 0x123456789abc },
		{ MSR_SYSENTER_EIP, 0x123456789abc },
		{ MSR_MISC_ENABLE, 0x400c51889 },
		{ MSR_PAT, 0x07070707 },
		{ MSR_FS_BASE, 0x123456789abc },
		{ MSR_GS_BASE, 0x123456789abc },
		{ MSR_KERNEL_GS_BASE, 0xffff800000000000 },
		{ MSR_LSTAR, 0x123456789abc },
		{ MSR_CSTAR, 0x123456789abc },
		{ MSR_STAR, 0x23001000000000 },
		{ MSR_SFMASK, 0xffffffff },
		{ MSR_TSC_AUX, 0xfff },
		{ MSR_SPEC_CTRL, 1 },
	};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		put(t[k].idx, t[k].val);
		assert_true(get(t[k].idx) == t[k].val);
	}
	assert_true(c->d.ebase[SEG_FS] == 0x123456789abc);
}

static void test_refused(void **state)
{
	static const u32 canonical[] = { MSR_SYSENTER_ESP,   MSR_SYSENTER_EIP, MSR_FS_BASE, MSR_GS_BASE,
					 MSR_KERNEL_GS_BASE, MSR_LSTAR,	       MSR_CSTAR };

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(canonical); k++) {
		no_put(canonical[k], 0x800000000000);
		no_put(canonical[k], 0x8000000000000000);
	}
	no_put(MSR_TSC_AUX, BIT(32));
	no_put(MSR_PAT, 2);
	no_put(MSR_PAT, 8ull << 56);
	no_put(MSR_XSS, 1);
	no_put(MSR_ARCH_CAPABILITIES, 0);
	no_put(MSR_PLATFORM_INFO, 0);
	no_get(MSR_PRED_CMD);
	put(MSR_PRED_CMD, 1);
	no_put(MSR_PRED_CMD, 2);
	no_put(MSR_SPEC_CTRL, 8);
	no_put(MSR_FLUSH_CMD, 1);
	no_put(MSR_MTRRCAP, 0);
}

static void test_efer(void **state)
{
	u64 v = get(MSR_EFER);

	(void)state;
	no_put(MSR_EFER, v | BIT(1));
	no_put(MSR_EFER, v & ~EFER_LME); /* under paging */
	put(MSR_EFER, (v | EFER_SCE | EFER_NXE) & ~EFER_LMA);
	assert_true(get(MSR_EFER) == (v | EFER_SCE | EFER_NXE)); /* LMA is not software's */
	assert_int_equal(world.scope, TLB_ALL);
	no_put(MSR_EFER, v | EFER_SVME);
	set_bit_of_model(&f->model, FEAT_NX, false);
	no_put(MSR_EFER, v | EFER_NXE);
}

static void test_tsc(void **state)
{
	(void)state;
	put(MSR_TSC, 5);
	assert_true(get(MSR_TSC) == 5);
	assert_true(get(MSR_TSC_ADJUST) == 5 - world.tsc);
	world.tsc += 10;
	assert_true(get(MSR_TSC) == 15);
	put(MSR_TSC_ADJUST, 0);
	assert_true(get(MSR_TSC) == world.tsc);
}

static void test_mtrr(void **state)
{
	(void)state;
	assert_int_equal(get(MSR_MTRRCAP), 0x508);
	put(0x200, 0x80000006);
	put(0x201, 0xfff80000800);
	no_put(0x200, 0x80000002);
	no_put(0x200, 0x80000106);
	no_put(0x201, 0x801);
	no_put(0x200, BIT(f->model.phys_bits));
	put(0x20f, 0);
	no_get(0x210);
	put(MSR_MTRR_FIX64K, 0x0606060606060606);
	put(0x259, 0);
	put(0x26f, 0x0505050505050505);
	no_put(0x26f, 2);
	no_get(0x25a);
	put(MSR_MTRR_DEF_TYPE, 0xc06);
	no_put(MSR_MTRR_DEF_TYPE, 0x1006);
	no_put(MSR_MTRR_DEF_TYPE, 7);
	assert_true(get(0x200) == 0x80000006 && get(MSR_MTRR_FIX64K) == 0x0606060606060606);
}

static void test_mca(void **state)
{
	u64 banks = get(MSR_MCG_CAP) & 0xff;

	(void)state;
	assert_int_equal(banks, NR_MC_BANKS);
	for (u32 k = 0; k < banks; k++) {
		put(MSR_MC0_CTL + 4 * k, ~0ull);
		put(MSR_MC0_CTL + 4 * k + 1, 0);
		no_put(MSR_MC0_CTL + 4 * k + 1, 1);
		assert_true(get(MSR_MC0_CTL + 4 * k) == ~0ull);
		put(MSR_MC0_CTL + 4 * k, ~BIT(10));
		no_put(MSR_MC0_CTL + 4 * k, 0xaaaaaaaaaaaaaaaa);
	}
	no_get(MSR_MC0_CTL + 4 * NR_MC_BANKS);
	put(MSR_MC0_CTL + 2, ~0ull);
	put(MSR_MC0_CTL + 3, 1);
	no_put(MSR_AMD_HWCR, BIT(18));
	f->model.amd = true;
	put(MSR_MC0_CTL + 2, 1);
	no_put(MSR_MC0_CTL + 1, 1);
	put(MSR_AMD_HWCR, BIT(18));
	put(MSR_MC0_CTL + 1, 1);
	set_bit_of_model(&f->model, FEAT_MCA, false);
	no_get(MSR_MCG_CAP);
}

/* What Linux reads at boot without the safe variants, by vendor. */
static void test_linux_reads(void **state)
{
	static const u32 both[] = { MSR_APIC_BASE,	   MSR_EFER,	MSR_PAT,	MSR_MTRRCAP,
				    MSR_MTRR_DEF_TYPE,	   MSR_MCG_CAP, MSR_TSC_ADJUST, MSR_BIOS_SIGN_ID,
				    MSR_ARCH_CAPABILITIES, MSR_XSS,	MSR_DEBUGCTL };
	static const u32 intel[] = { MSR_MISC_ENABLE, MSR_PLATFORM_ID, MSR_FEATURE_CONTROL, MSR_SPEC_CTRL };
	static const u32 amd[] = { MSR_AMD_HWCR, MSR_AMD_SYSCFG, MSR_AMD_DE_CFG, 0xc0010055, 0xc001001f, 0xc001001a };

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(both); k++)
		get(both[k]);
	for (size_t k = 0; k < ARRAY_SIZE(intel); k++)
		get(intel[k]);
	put(MSR_BIOS_SIGN_ID, 0);
	assert_true(get(MSR_BIOS_SIGN_ID) >> 32);
	assert_true(get(MSR_MISC_ENABLE) & 1);
	f->model.amd = true;
	for (size_t k = 0; k < ARRAY_SIZE(both); k++)
		get(both[k]);
	for (size_t k = 0; k < ARRAY_SIZE(amd); k++)
		get(amd[k]);
	assert_true(get(MSR_AMD_HWCR) & BIT(24));
	assert_true(get(MSR_AMD_DE_CFG) & 2);
	put(MSR_SYSENTER_EIP, 0x800000000000); /* AMD takes any value */
	no_get(MSR_SMI_COUNT);
}

static void test_x2apic_range(void **state)
{
	(void)state;
	no_get(0x802);
	put(MSR_APIC_BASE, get(MSR_APIC_BASE) | APIC_BASE_X2);
	assert_int_equal(get(0x802), 0);
	no_get(0x8ff);
	no_put(MSR_APIC_BASE, get(MSR_APIC_BASE) & ~APIC_BASE_X2);
}

static u64 mem(u64 at, unsigned size)
{
	return flat_get(f, at, size);
}

static void test_kvmclock(void **state)
{
	u64 mul;
	s8 shift;

	(void)state;
	world.now = 5000000000ull;
	world.wall = 1700000005000000123ull;
	put(MSR_KVM_WALL_CLOCK_NEW, 0x6000);
	assert_int_equal(mem(0x6000, 4) & 1, 0);
	assert_int_equal(mem(0x6004, 4), 1700000000);
	assert_int_equal(mem(0x6008, 4), 123);
	put(MSR_KVM_SYSTEM_TIME_NEW, 0x7000 | 1);
	assert_true(mem(0x7000, 4) && !(mem(0x7000, 4) & 1));
	assert_true(mem(0x7008, 8) == world.tsc && mem(0x7010, 8) == world.now);
	mul = mem(0x7018, 4);
	shift = (s8)mem(0x701c, 1);
	assert_int_equal(mem(0x701d, 1), 1);
	/* a second of the 2 GHz TSC is a second */
	assert_true(shift >= 0 && ((u128)(2000000000ull << shift) * mul >> 32) == 1000000000);
	u64 version = mem(0x7000, 4);
	put(MSR_TSC, 12345);
	assert_int_equal(mem(0x7000, 4), version + 2);
	assert_int_equal(mem(0x7008, 8), 12345);
	put(MSR_KVM_SYSTEM_TIME, ~1ull | 1); /* no memory there: nothing happens */
	put(MSR_KVM_SYSTEM_TIME, 0);
	no_put(MSR_KVM_PV_EOI, 3);
	no_put(MSR_KVM_STEAL_TIME, 0x8000 | 3); /* bits 5..1 are reserved */
	kvm_steal_add(f->c, 7);
	assert_int_equal(mem(0x8000, 8), 0); /* off */
	put(MSR_KVM_STEAL_TIME, 0x8000 | 1);
	kvm_steal_add(f->c, 7);
	kvm_steal_add(f->c, 5);
	assert_int_equal(mem(0x8000, 8), 12);
	assert_int_equal(mem(0x8008, 4), 4);
	assert_int_equal(kvm_preempted_gpa(f->c), 0x8010);
	put(MSR_KVM_STEAL_TIME, 0);
	assert_int_equal(kvm_preempted_gpa(f->c), 0);
	no_get(0x4b564d02); /* asynchronous page faults are not offered */
	set_bit_of_model(&f->model, FEAT_KVM_CLOCKSOURCE2, false);
	no_get(MSR_KVM_SYSTEM_TIME_NEW);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_unknown), T(test_plain), T(test_refused),     T(test_efer),	   T(test_tsc),
		T(test_mtrr),	 T(test_mca),	T(test_linux_reads), T(test_x2apic_range), T(test_kvmclock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
