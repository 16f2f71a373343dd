/* SPDX-License-Identifier: Apache-2.0
 * Data instructions where user mode on silicon cannot look: feature, mode and #NM gates, alignment, fault suppression,
 * partial gathers, SIMD exceptions with and without OSXMMEXCPT, nothing changed by a fault.
 */
#include "unit/vec_world.h"

struct probe {
	const char *name;
	u8 n, code[12];
	enum { P_X87, P_MMX, P_SSE, P_AVX, P_512 } kind;
	enum feature f;
};

static const struct probe probes[] = {
	{ "fld1", 2, { 0xd9, 0xe8 }, P_X87, FEAT_FPU },
	{ "fcmovb", 2, { 0xda, 0xc1 }, P_X87, FEAT_CMOV },
	{ "paddb mm", 3, { 0x0f, 0xfc, 0xc1 }, P_MMX, FEAT_MMX },
	{ "pshufb mm", 4, { 0x0f, 0x38, 0x00, 0xc1 }, P_MMX, FEAT_SSSE3 },
	{ "movups", 3, { 0x0f, 0x10, 0x07 }, P_SSE, FEAT_SSE },
	{ "movdqa", 4, { 0x66, 0x0f, 0x6f, 0x07 }, P_SSE, FEAT_SSE2 },
	{ "paddb xmm", 4, { 0x66, 0x0f, 0xfc, 0xc1 }, P_SSE, FEAT_SSE2 },
	{ "pabsb", 5, { 0x66, 0x0f, 0x38, 0x1c, 0xc1 }, P_SSE, FEAT_SSSE3 },
	{ "pmulld", 5, { 0x66, 0x0f, 0x38, 0x40, 0xc1 }, P_SSE, FEAT_SSE41 },
	{ "aesenc", 5, { 0x66, 0x0f, 0x38, 0xdc, 0xc1 }, P_SSE, FEAT_AES },
	{ "sha1nexte", 4, { 0x0f, 0x38, 0xc8, 0xc1 }, P_SSE, FEAT_SHA },
	{ "maskmovdqu", 4, { 0x66, 0x0f, 0xf7, 0xc1 }, P_SSE, FEAT_SSE2 },
	{ "ldmxcsr", 3, { 0x0f, 0xae, 0x16 }, P_SSE, FEAT_SSE },
	{ "vaddps ymm", 4, { 0xc5, 0xf4, 0x58, 0xc2 }, P_AVX, FEAT_AVX },
	{ "vpaddb ymm", 4, { 0xc5, 0xf5, 0xfc, 0xc2 }, P_AVX, FEAT_AVX2 },
	{ "vfmadd", 5, { 0xc4, 0xe2, 0x75, 0x98, 0xc2 }, P_AVX, FEAT_FMA },
	{ "vcvtph2ps", 5, { 0xc4, 0xe2, 0x7d, 0x13, 0xc1 }, P_AVX, FEAT_F16C },
	{ "vzeroupper", 3, { 0xc5, 0xf8, 0x77 }, P_AVX, FEAT_AVX },
	{ "vpaddd zmm", 6, { 0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2 }, P_512, FEAT_AVX512F },
	{ "vpaddd xmm evex", 6, { 0x62, 0xf1, 0x75, 0x08, 0xfe, 0xc2 }, P_512, FEAT_AVX512VL },
	{ "vpaddb zmm", 6, { 0x62, 0xf1, 0x75, 0x48, 0xfc, 0xc2 }, P_512, FEAT_AVX512BW },
	{ "kmovq", 5, { 0xc4, 0xe1, 0xf8, 0x90, 0xc1 }, P_512, FEAT_AVX512BW },
};

static int run(struct flat *f, const struct probe *p)
{
	f->c->r[R_RIP] = FLAT_CODE;
	flat_code(f, p->code, p->n);
	return flat_exec(f);
}

static void expect(struct flat *f, const struct probe *p, u8 vector, const char *when)
{
	int out = run(f, p);

	if (vector == 0 ? out != OUT_DONE : out != OUT_FAULT || f->c->exc.vector != vector)
		fail_msg("%s, %s: outcome %d, vector %d instead of %d", p->name, when, out, f->c->exc.vector, vector);
	if (vector)
		assert_int_equal(f->c->r[R_RIP], FLAT_CODE);
}

static void check_gates(struct flat *f, const struct probe *p)
{
	struct cpu *c = f->c;
	u64 cr0 = c->cr0, cr4 = c->cr4, xcr0 = c->xcr0;

	expect(f, p, 0, "all enabled");
	c->cr0 = cr0 | CR0_TS;
	expect(f, p, EXC_NM, "TS");
	c->cr0 = cr0 | CR0_EM;
	expect(f, p, p->kind == P_X87 ? EXC_NM : p->kind <= P_SSE ? EXC_UD : 0, "EM");
	c->cr0 = cr0;
	c->cr4 = cr4 & ~CR4_OSFXSR;
	expect(f, p, p->kind == P_SSE ? EXC_UD : 0, "no OSFXSR");
	c->cr4 = cr4 & ~CR4_OSXSAVE;
	expect(f, p, p->kind >= P_AVX ? EXC_UD : 0, "no OSXSAVE");
	c->cr0 = cr0 | CR0_TS;
	expect(f, p, p->kind >= P_AVX ? EXC_UD : EXC_NM, "no OSXSAVE, TS");
	c->cr0 = cr0;
	c->cr4 = cr4;
	c->xcr0 = 3;
	expect(f, p, p->kind >= P_AVX ? EXC_UD : 0, "XCR0 without AVX");
	c->xcr0 = 7;
	expect(f, p, p->kind == P_512 ? EXC_UD : 0, "XCR0 without AVX-512");
	c->xcr0 = xcr0;
	vec_drop_feature(f, p->f);
	expect(f, p, EXC_UD, "feature not offered");
	f->model.features[p->f / 64] |= BIT(p->f % 64);
}

static void test_gates(void **state)
{
	struct flat *f = vec_world(0);

	(void)state;
	flat_put(f, FLAT_DATA + 0x1000, 0x1f80, 4);
	for (size_t k = 0; k < ARRAY_SIZE(probes); k++)
		check_gates(f, &probes[k]);
	flat_free(f);
}

static void test_pending_x87_stops_mmx(void **state)
{
	struct flat *f = vec_world(0);

	(void)state;
	f->c->x87.fcw = 0x37b;
	f->c->x87.fsw = 0x8084;
	expect(f, &probes[2], EXC_MF, "pending #Z");
	expect(f, &probes[4], 0, "SSE does not care");
	flat_free(f);
}

static void test_alignment(void **state)
{
	struct flat *f = vec_world(0);

	(void)state;
	f->c->r[RDI]++;
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x28, 0x07), EXC_GP, 0);	      /* movaps */
	flat_assert_fault(f, FLAT_EXEC(f, 0x66, 0x0f, 0xe7, 0x07), EXC_GP, 0);	      /* movntdq */
	flat_assert_fault(f, FLAT_EXEC(f, 0x66, 0x0f, 0xfc, 0x07), EXC_GP, 0);	      /* paddb */
	flat_assert_fault(f, FLAT_EXEC(f, 0xc5, 0xfc, 0x28, 0x07), EXC_GP, 0);	      /* vmovaps ymm */
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x10, 0x07), OUT_DONE);		      /* movups */
	assert_int_equal(FLAT_EXEC(f, 0xf2, 0x0f, 0xf0, 0x07), OUT_DONE);	      /* lddqu */
	assert_int_equal(FLAT_EXEC(f, 0x66, 0x0f, 0x3a, 0x63, 0x07, 0x00), OUT_DONE); /* pcmpistri */
	assert_int_equal(FLAT_EXEC(f, 0xc5, 0xf5, 0xfc, 0x07), OUT_DONE);	      /* vpaddb */
	f->c->mxcsr |= MXCSR_MM;
	assert_int_equal(FLAT_EXEC(f, 0x66, 0x0f, 0xfc, 0x07), OUT_DONE);
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x28, 0x07), EXC_GP, 0);
	flat_free(f);
}

/* vmovdqu8 zmm1{k1}, [rdi] and back, the upper half of the operand in a hole. */
static void test_masked_fault_suppression(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	c->r[RDI] = 0x50000 - 32;
	f->hole_lo = 0x50000;
	f->hole_hi = 0x51000;
	memset(f->mem + c->r[RDI], 0x5a, 32);
	memset(&c->zmm[1], 0x11, 64);
	c->k[1] = 0xffffffff;
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf1, 0x7f, 0x49, 0x6f, 0x0f), OUT_DONE);
	assert_int_equal(c->zmm[1].b[31], 0x5a);
	assert_int_equal(c->zmm[1].b[32], 0x11);
	c->k[1] = 0x80000000000000ff;
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf1, 0x7f, 0x49, 0x6f, 0x0f), OUT_FAULT);
	assert_int_equal(c->exc.vector, EXC_PF);
	memset(&c->zmm[1], 0x77, 64);
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x0f), OUT_FAULT);
	assert_int_equal(f->mem[c->r[RDI]], 0x5a); /* all or nothing */
	c->k[1] = 0xff;
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x0f), OUT_DONE);
	assert_int_equal(f->mem[c->r[RDI] + 7], 0x77);
	assert_int_equal(f->mem[c->r[RDI] + 8], 0x5a);
	/* vcvtpd2dq xmm1{k1}, [rdi]{1to2}: two bits count, though the register has room for four */
	c->r[RDI] = 0x50000;
	c->k[1] = 0xfc;
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf1, 0xff, 0x19, 0xe6, 0x0f), OUT_DONE);
	c->k[1] = 2;
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf1, 0xff, 0x19, 0xe6, 0x0f), OUT_FAULT);
	flat_free(f);
}

/* vpgatherdd zmm1{k1}, [rdi + zmm2 * 4]: the third element is in a hole. */
static void test_partial_gather(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	for (u32 k = 0; k < 16; k++) {
		c->zmm[2].d[k] = k == 2 ? 0x1000 : k;
		flat_put(f, FLAT_DATA + 4 * k, 100 + k, 4);
	}
	f->hole_lo = FLAT_DATA + 0x4000;
	f->hole_hi = FLAT_DATA + 0x5000;
	memset(&c->zmm[1], 0xff, 64);
	c->k[1] = 0xffff;
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x97), OUT_FAULT);
	assert_int_equal(c->exc.vector, EXC_PF);
	assert_int_equal(c->exc.payload, FLAT_DATA + 0x4000);
	assert_int_equal(c->k[1], 0xfffc);
	assert_int_equal(c->zmm[1].d[1], 101);
	assert_int_equal(c->zmm[1].d[3], 0xffffffff);
	f->hole_lo = f->hole_hi = 0;
	assert_int_equal(FLAT_EXEC(f, 0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x97), OUT_DONE);
	assert_int_equal(c->k[1], 0);
	assert_int_equal(c->zmm[1].d[15], 115);
	flat_free(f);
}

/* divss xmm1, xmm0 by zero: #XM with the flag set and no result, #UD without OSXMMEXCPT. */
static void test_simd_exception(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	memset(&c->zmm[0], 0, 64);
	c->zmm[1].d[0] = 0x3f800000;
	assert_int_equal(FLAT_EXEC(f, 0xf3, 0x0f, 0x5e, 0xc8), OUT_DONE);
	assert_int_equal(c->mxcsr, 0x1f84);
	c->zmm[1].d[0] = 0x3f800000;
	c->mxcsr = 0x1d80;
	flat_assert_fault(f, FLAT_EXEC(f, 0xf3, 0x0f, 0x5e, 0xc8), EXC_XM, 0);
	assert_int_equal(c->mxcsr, 0x1d84);
	assert_int_equal(c->zmm[1].d[0], 0x3f800000);
	c->cr4 &= ~CR4_OSXMMEXCPT;
	flat_assert_fault(f, FLAT_EXEC(f, 0xf3, 0x0f, 0x5e, 0xc8), EXC_UD, 0);
	flat_free(f);
}

/* A store that faults leaves MXCSR as it was: vcvtps2ph [rdi], ymm0 is inexact here. */
static void test_store_fault_keeps_mxcsr(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	for (unsigned k = 0; k < 8; k++)
		c->zmm[0].d[k] = 0x3f800001;
	f->ro_lo = FLAT_DATA;
	f->ro_hi = FLAT_DATA + 0x1000;
	assert_int_equal(FLAT_EXEC(f, 0xc4, 0xe3, 0x7d, 0x1d, 0x07, 0x00), OUT_FAULT);
	assert_int_equal(c->mxcsr, 0x1f80);
	f->ro_hi = f->ro_lo;
	assert_int_equal(FLAT_EXEC(f, 0xc4, 0xe3, 0x7d, 0x1d, 0x07, 0x00), OUT_DONE);
	assert_int_equal(c->mxcsr, 0x1fa0);
	flat_free(f);
}

static void test_upper_halves(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	memset(c->zmm, 0x33, sizeof(c->zmm));
	assert_int_equal(FLAT_EXEC(f, 0x66, 0x0f, 0xfc, 0xc1), OUT_DONE); /* paddb xmm0, xmm1 keeps */
	assert_int_equal(c->zmm[0].b[0], 0x66);
	assert_int_equal(c->zmm[0].b[16], 0x33);
	assert_int_equal(FLAT_EXEC(f, 0xc5, 0xf1, 0xfc, 0xc2), OUT_DONE); /* vpaddb xmm0, xmm1, xmm2 zeroes */
	assert_int_equal(c->zmm[0].b[16], 0);
	assert_int_equal(c->zmm[0].b[63], 0);
	assert_int_equal(FLAT_EXEC(f, 0xc5, 0xfc, 0x77), OUT_DONE); /* vzeroall */
	assert_int_equal(c->zmm[15].b[0], 0);
	assert_int_equal(c->zmm[16].b[0], 0x33);
	flat_free(f);
}

/* Stubs that differ in their immediate alone: pshufd, pshufhw, pshuflw by 256 each. */
static void test_many_stubs(void **state)
{
	static const u8 op[][5] = { { 0x66, 0x0f, 0x70, 0xc8 },
				    { 0xf3, 0x0f, 0x70, 0xc8 },
				    { 0xf2, 0x0f, 0x70, 0xc8 } };
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	for (unsigned k = 0; k < 4; k++)
		c->zmm[0].d[k] = k;
	for (unsigned imm = 0; imm < 256; imm++)
		for (unsigned o = 0; o < ARRAY_SIZE(op); o++) {
			u8 code[5] = { op[o][0], op[o][1], op[o][2], op[o][3], (u8)imm };

			c->r[R_RIP] = FLAT_CODE;
			flat_code(f, code, 5);
			assert_int_equal(flat_exec(f), OUT_DONE);
			if (!o)
				assert_int_equal(c->zmm[1].d[1], imm >> 2 & 3);
		}
	flat_free(f);
}

/* When the cache is full an instruction is made anew each time, in the scratch slot: vpaddd zmm1, zmm2, zmm3. */
static void test_scratch(void **state)
{
	static const u8 raw[] = { 0x62, 0xf1, 0x6d, 0x48, 0xfe, 0xcb };
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;
	u8 code[VEC_CODE_MAX];
	struct vop v = { .key_len = 0 };
	struct vparse p;
	struct insn i;
	unsigned n;

	(void)state;
	assert_int_equal(decode_insn(&i, raw, sizeof(raw), CODE64, false), DECODE_OK);
	assert_true(vec_parse(&i, CODE64, &p));
	n = vec_emit(&p, &i, CODE64, &v, code);
	assert_in_range(n, 1, VEC_CODE_MAX);
	c->zmm[2].d[15] = 40;
	c->zmm[3].d[15] = 2;
	for (unsigned k = 0; k < 3; k++) {
		memset(&c->zmm[1], 0xff, 64);
		assert_int_equal(vec_scratch_exec(c, &i, &v, code, n), OUT_DONE);
		assert_int_equal(c->zmm[1].d[15], 42);
		assert_int_equal(c->zmm[1].d[0], 0);
	}
	flat_free(f);
}

/* A segment's limit holds for the whole operand: movups of 16 bytes at limit - 14. */
static void test_segment_limit(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	vec_enable(f);
	c->seg[SEG_DS].limit = FLAT_DATA + 15;
	cpu_update_mode(c);
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x10, 0x07), OUT_DONE);
	c->r[RDI]++;
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x10, 0x07), EXC_GP, 0);
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gates),
		cmocka_unit_test(test_pending_x87_stops_mmx),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_masked_fault_suppression),
		cmocka_unit_test(test_partial_gather),
		cmocka_unit_test(test_simd_exception),
		cmocka_unit_test(test_store_fault_keeps_mxcsr),
		cmocka_unit_test(test_upper_halves),
		cmocka_unit_test(test_many_stubs),
		cmocka_unit_test(test_scratch),
		cmocka_unit_test(test_segment_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
