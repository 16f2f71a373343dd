/* SPDX-License-Identifier: Apache-2.0
 * FXSAVE and the XSAVE family: headers and their checks, layouts, the init optimisation, alignment, privilege, faults
 * that change nothing. SDM 1, chapter 13. The vCPU's own silicon is asked where user mode can: test_against_host().
 */
#include "unit/vec_world.h"

#include <cpuid.h>

#define XSAVE 0x0f, 0xae, 0x27
#define XSAVE64 0x48, 0x0f, 0xae, 0x27
#define XRSTOR 0x0f, 0xae, 0x2f
#define XRSTOR64 0x48, 0x0f, 0xae, 0x2f
#define XSAVEOPT64 0x48, 0x0f, 0xae, 0x37
#define XSAVEC64 0x48, 0x0f, 0xc7, 0x27
#define XSAVES64 0x48, 0x0f, 0xc7, 0x2f
#define XRSTORS64 0x48, 0x0f, 0xc7, 0x1f
#define FXSAVE64 0x48, 0x0f, 0xae, 0x07
#define FXRSTOR64 0x48, 0x0f, 0xae, 0x0f

static void mask(struct flat *f, u64 m)
{
	f->c->r[RAX] = (u32)m;
	f->c->r[RDX] = m >> 32;
	f->c->r[R_RIP] = FLAT_CODE;
}

static void fill(struct cpu *c)
{
	for (unsigned k = 0; k < sizeof(c->zmm); k++)
		((u8 *)c->zmm)[k] = (u8)(k * 7 + k / 64 + 1);
	for (unsigned k = 0; k < 8; k++)
		c->k[k] = 0x0101010101010101 * (k + 1);
	memset(c->x87.st, 0x42, sizeof(c->x87.st));
	for (unsigned k = 0; k < 8; k++)
		memset(c->x87.st[k] + 10, 0, 6);
	c->x87.ftw = 0xff;
	c->mxcsr = 0x1fa0;
}

static void round_trip(u8 save, u8 second, u64 comp, u8 restore_op, u8 restore_modrm)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;
	struct cpu *saved = malloc(sizeof(*c));

	fill(c);
	memcpy(saved->zmm, c->zmm, sizeof(c->zmm));
	memcpy(saved->k, c->k, sizeof(c->k));
	saved->x87 = c->x87;
	mask(f, ~0ull);
	assert_int_equal(FLAT_EXEC(f, 0x48, 0x0f, save, second), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA + 512, 8), 0xe7);
	assert_int_equal(flat_get(f, FLAT_DATA + 520, 8), comp);
	memset(c->zmm, 0, sizeof(c->zmm));
	memset(c->k, 0, sizeof(c->k));
	memset(&c->x87, 0, sizeof(c->x87));
	c->mxcsr = 0x1f80;
	mask(f, ~0ull);
	assert_int_equal(FLAT_EXEC(f, 0x48, 0x0f, restore_op, restore_modrm), OUT_DONE);
	assert_memory_equal(saved->zmm, c->zmm, sizeof(c->zmm));
	assert_memory_equal(saved->k, c->k, sizeof(c->k));
	assert_memory_equal(saved->x87.st, c->x87.st, sizeof(c->x87.st));
	assert_int_equal(c->mxcsr, 0x1fa0);
	free(saved);
	flat_free(f);
}

static void test_round_trips(void **state)
{
	(void)state;
	round_trip(0xae, 0x27, 0, 0xae, 0x2f);			/* XSAVE, XRSTOR */
	round_trip(0xae, 0x37, 0, 0xae, 0x2f);			/* XSAVEOPT */
	round_trip(0xc7, 0x27, 0x80000000000000e7, 0xae, 0x2f); /* XSAVEC, XRSTOR */
	round_trip(0xc7, 0x2f, 0x80000000000000e7, 0xc7, 0x1f); /* XSAVES, XRSTORS */
}

static void test_gates(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	mask(f, 7);
	c->cr4 &= ~CR4_OSXSAVE;
	flat_assert_fault(f, FLAT_EXEC(f, XSAVE), EXC_UD, 0);
	flat_assert_fault(f, FLAT_EXEC(f, XRSTOR), EXC_UD, 0);
	c->cr4 |= CR4_OSXSAVE;
	c->cr0 |= CR0_TS;
	flat_assert_fault(f, FLAT_EXEC(f, XSAVE), EXC_NM, 0);
	flat_assert_fault(f, FLAT_EXEC(f, XRSTORS64), EXC_NM, 0);
	flat_assert_fault(f, FLAT_EXEC(f, FXSAVE64), EXC_NM, 0);
	c->cr0 &= ~CR0_TS;
	c->r[RDI] += 16;
	flat_assert_fault(f, FLAT_EXEC(f, XSAVE), EXC_GP, 0);
	flat_assert_fault(f, FLAT_EXEC(f, XRSTOR), EXC_GP, 0);
	assert_int_equal(FLAT_EXEC(f, FXSAVE64), OUT_DONE);
	c->r[RDI] += 8;
	mask(f, 7);
	flat_assert_fault(f, FLAT_EXEC(f, FXSAVE64), EXC_GP, 0);
	flat_assert_fault(f, FLAT_EXEC(f, FXRSTOR64), EXC_GP, 0);
	c->r[RDI] = FLAT_DATA;
	vec_drop_feature(f, FEAT_XSAVES);
	flat_assert_fault(f, FLAT_EXEC(f, XSAVES64), EXC_UD, 0);
	flat_free(f);
}

static void test_supervisor_forms_need_cpl0(void **state)
{
	struct flat *f = vec_world(3);

	(void)state;
	mask(f, 7);
	flat_assert_fault(f, FLAT_EXEC(f, XSAVES64), EXC_GP, 0);
	flat_assert_fault(f, FLAT_EXEC(f, XRSTORS64), EXC_GP, 0);
	flat_free(f);
}

struct bad_header {
	u64 bv, xcomp;
	unsigned off; /* a byte of the rest of the header set to 1; 0 none */
	bool ok;
};

static const struct bad_header headers[] = {
	{ 0, 0, 0, true },
	{ 7, 0, 0, true },
	{ 8, 0, 0, false }, /* not in XCR0 */
	{ 0x8000000000000001, 0, 0, false },
	{ 1, 1, 0, false },  /* XCOMP_BV without bit 63 */
	{ 1, 0, 16, false }, /* bytes 16..23 */
	{ 1, 0, 24, true },  /* not looked at in the standard form */
	{ 1, 0x8000000000000001, 0, true },
	{ 2, 0x8000000000000001, 0, false }, /* XSTATE_BV beyond XCOMP_BV */
	{ 0, 0x8000000000000009, 0, false }, /* XCOMP_BV beyond XCR0 */
	{ 1, 0x8000000000000001, 16, false },
	{ 1, 0x8000000000000001, 63, false },
};

static void test_header_checks(void **state)
{
	struct flat *f = vec_world(0);

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(headers); k++) {
		const struct bad_header *h = &headers[k];
		int out;

		memset(f->mem + FLAT_DATA, 0, 4096);
		flat_put(f, FLAT_DATA, 0x37f, 2);
		flat_put(f, FLAT_DATA + 24, 0x1f80, 4);
		flat_put(f, FLAT_DATA + 512, h->bv, 8);
		flat_put(f, FLAT_DATA + 520, h->xcomp, 8);
		if (h->off)
			f->mem[FLAT_DATA + 512 + h->off] = 1;
		mask(f, 7);
		out = FLAT_EXEC(f, XRSTOR64);
		if (h->ok ? out != OUT_DONE : out != OUT_FAULT || f->c->exc.vector != EXC_GP)
			fail_msg("header %zu: outcome %d", k, out);
		mask(f, 7);
		out = FLAT_EXEC(f, XRSTORS64);
		if ((h->ok && h->xcomp) ? out != OUT_DONE : out != OUT_FAULT || f->c->exc.vector != EXC_GP)
			fail_msg("header %zu, XRSTORS: outcome %d", k, out);
	}
	flat_free(f);
}

static void test_mxcsr_reserved(void **state)
{
	struct flat *f = vec_world(0);

	(void)state;
	memset(f->mem + FLAT_DATA, 0, 4096);
	flat_put(f, FLAT_DATA + 24, 0x40000, 4);
	mask(f, 2);
	flat_assert_fault(f, FLAT_EXEC(f, XRSTOR64), EXC_GP, 0); /* whatever XSTATE_BV says */
	mask(f, 4);
	flat_assert_fault(f, FLAT_EXEC(f, XRSTOR64), EXC_GP, 0);
	mask(f, 1);
	assert_int_equal(FLAT_EXEC(f, XRSTOR64), OUT_DONE);
	mask(f, 0);
	flat_assert_fault(f, FLAT_EXEC(f, FXRSTOR64), EXC_GP, 0);
	flat_put(f, FLAT_DATA + 520, BIT(63) | 2, 8);
	mask(f, 2);
	f->c->mxcsr = 0x1fbf;
	assert_int_equal(FLAT_EXEC(f, XRSTOR64), OUT_DONE); /* compacted: SSE is initialised, MXCSR with it */
	assert_int_equal(f->c->mxcsr, 0x1f80);
	flat_free(f);
}

/* The last byte of the area is read-only: nothing before it may have been written. */
static void test_fault_writes_nothing(void **state)
{
	struct flat *f = vec_world(0);

	(void)state;
	fill(f->c);
	f->c->r[RDI] = 0x50000 - 64;
	f->ro_lo = 0x50000;
	f->ro_hi = 0x51000;
	mask(f, ~0ull);
	assert_int_equal(FLAT_EXEC(f, XSAVE64), OUT_FAULT);
	assert_int_equal(f->c->exc.payload, 0x50000);
	for (unsigned k = 0; k < 64; k++)
		assert_int_equal(f->mem[0x50000 - 64 + k], 0);
	flat_free(f);
}

static void test_fxsave_forms(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	fill(c);
	memset(f->mem + FLAT_DATA, 0xcc, 512);
	c->x87.fip = 0x123456789abc;
	c->x87.fcs = 0x33;
	mask(f, 0);
	assert_int_equal(FLAT_EXEC(f, FXSAVE64), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA + 8, 8), 0x123456789abc);
	assert_int_equal(flat_get(f, FLAT_DATA + 28, 4), 0x2ffff);
	assert_memory_equal(f->mem + FLAT_DATA + 160 + 15 * 16, c->zmm[15].b, 16);
	assert_int_equal(f->mem[FLAT_DATA + 416], 0xcc);
	mask(f, 0);
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0xae, 0x07), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA + 8, 8), 0x0000003356789abc);
	memset(f->mem + FLAT_DATA + 160, 0xcc, 256);
	c->efer |= EFER_FFXSR;
	mask(f, 0);
	assert_int_equal(FLAT_EXEC(f, FXSAVE64), OUT_DONE);
	assert_int_equal(f->mem[FLAT_DATA + 160], 0xcc);
	f->model.amd = true; /* no pending exception: no pointers */
	mask(f, 0);
	assert_int_equal(FLAT_EXEC(f, FXSAVE64), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA + 8, 8), 0);
	flat_free(f);
}

/* ---- what the host's own XSAVE forms write for the same state
 * -------------------------------------------------------- */

static _Alignas(64) u8 host_area[4096];

#define HOST(ins, lo)                                                                                               \
	__asm__ volatile("fninit\n\tvzeroall\n\tldmxcsr %1\n\t" ins " %0"                                           \
			 : "+m"(host_area)                                                                          \
			 : "m"(mxcsr), "a"(lo), "d"(0)                                                              \
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
			   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

static void compare_host(struct flat *f, u32 mxcsr, u32 m, int form)
{
	static const u8 code[3][4] = { { XSAVE64 }, { XSAVEOPT64 }, { XSAVEC64 } };
	static const u32 host_mxcsr = 0x1f80;
	struct cpu *c = f->c;

	memset(host_area, 0xcc, sizeof(host_area));
	memset(host_area + 512, 0, 64);
	host_area[512] = 4;
	memcpy(f->mem + FLAT_DATA, host_area, sizeof(host_area));
	if (form == 0)
		HOST("xsave64", m);
	else if (form == 1)
		HOST("xsaveopt64", m);
	else
		HOST("xsavec64", m);
	__asm__ volatile("ldmxcsr %0" ::"m"(host_mxcsr));
	memset(c->zmm, 0, sizeof(c->zmm));
	memset(&c->x87, 0, sizeof(c->x87));
	c->x87.fcw = 0x37f;
	c->mxcsr = mxcsr;
	mask(f, m);
	flat_code(f, code[form], 4);
	assert_int_equal(flat_exec(f), OUT_DONE);
	if (host_area[512] & 1) /* FNINIT leaves the registers: x87 counts as in use on the host */
		return;
	assert_memory_equal(f->mem + FLAT_DATA, host_area, 1024);
}

static void test_against_host(void **state)
{
	struct flat *f = vec_world(0);
	u32 a, b, c, d;

	(void)state;
	__cpuid_count(0xd, 1, a, b, c, d);
	if (!(a & 2))
		skip();
	vec_drop_feature(f, FEAT_ZERO_FCS_FDS);
	for (u32 m = 2; m < 8; m += 2)
		for (int form = 0; form < 3; form++) {
			compare_host(f, 0x1f80, m, form);
			compare_host(f, 0x1fa0, m, form);
		}
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_gates),
		cmocka_unit_test(test_supervisor_forms_need_cpl0),
		cmocka_unit_test(test_header_checks),
		cmocka_unit_test(test_mxcsr_reserved),
		cmocka_unit_test(test_fault_writes_nothing),
		cmocka_unit_test(test_fxsave_forms),
		cmocka_unit_test(test_against_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
