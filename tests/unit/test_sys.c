/* SPDX-License-Identifier: Apache-2.0
 * System instructions, run from their bytes: control and debug registers, fast system calls, invalidations, segment
 * bases, XCR0 (SDM 2A, 2B and 3A 2.5, 4.10.4; APM 3 where the vendors differ).
 */
#include "sys_world.h"

#include "cpu/fields.h"
#include "cpu/sys.h"

static struct flat *f;
static struct cpu *c;

static void enter(struct flat *flat, bool amd)
{
	f = world_enter(flat, "host", amd);
	c = f->c;
}

static int teardown(void **state)
{
	(void)state;
	if (f)
		flat_free(f);
	f = NULL;
	return 0;
}

static void faults(int out, unsigned vector)
{
	assert_int_equal(out, OUT_FAULT);
	assert_int_equal(c->exc.vector, vector);
	assert_int_equal(c->exc.has_error, vector == EXC_GP);
	assert_int_equal(c->exc.error, 0);
}

/* Runs the bytes as one instruction at the place where the last one stood. */
#define RUN(...) (c->r[R_RIP] = FLAT_CODE, ({ FLAT_BYTES(f, __VA_ARGS__); }), flat_exec(f))
#define MOV_CR(n) RUN(0x0f, 0x22, 0xc0 | (n) << 3)
#define MOV_CR8 RUN(0x44, 0x0f, 0x22, 0xc0)
#define MOV_DR(n) RUN(0x0f, 0x23, 0xc0 | (n) << 3)

static void test_cr0(void **state)
{
	static const u64 bad[] = { BIT(32), CR0_PG, CR0_PE | CR0_NW };

	(void)state;
	enter(flat_protected(0), false);
	c->efer |= EFER_LME;
	c->r[RAX] = c->cr0 | CR0_PG | CR0_PE; /* LME without PAE */
	faults(MOV_CR(0), EXC_GP);
	c->cr4 |= CR4_PAE;
	c->tr.attr = SEG_P | SYS_TSS16_BUSY;
	faults(MOV_CR(0), EXC_GP);
	c->tr.attr = SEG_P | SYS_TSS32_BUSY;
	assert_int_equal(MOV_CR(0), OUT_END);
	assert_true(c->efer & EFER_LMA);
	assert_int_equal(world.scope, TLB_ALL);
	c->r[RAX] = c->cr0 & ~CR0_PG;
	assert_int_equal(MOV_CR(0), OUT_END);
	assert_false(c->efer & EFER_LMA);
	teardown(state);
	enter(flat_long(0), false);
	for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
		c->r[RAX] = bad[k];
		faults(MOV_CR(0), EXC_GP);
	}
	c->r[RAX] = c->cr0 & ~CR0_PG; /* from 64-bit mode */
	faults(MOV_CR(0), EXC_GP);
	c->r[RAX] = c->cr0 | 0x1ff0; /* reserved low bits are ignored */
	assert_int_equal(MOV_CR(0), OUT_END);
	assert_int_equal(c->cr0 & 0x1fc0, 0);
	faults(RUN(0x0f, 0x22, 0xc8), EXC_UD);	     /* CR1 */
	faults(RUN(0x44, 0x0f, 0x20, 0xc8), EXC_UD); /* CR9 */
}

static void test_user(void **state)
{
	static const u8 code[][4] = {
		{ 0x0f, 0x22, 0xc0 }, { 0x0f, 0x20, 0xc0 }, { 0x0f, 0x23, 0xc0 },
		{ 0x0f, 0x21, 0xc0 }, { 0x0f, 0x06 },	    { 0x0f, 0x01, 0xf0 },
		{ 0x0f, 0x30 },	      { 0x0f, 0x32 },	    { 0xf4 },
		{ 0x0f, 0x08 },	      { 0x0f, 0x09 },	    { 0x0f, 0x01, 0x38 },
		{ 0x0f, 0x01, 0xf8 }, { 0x0f, 0x33 },	    { 0x0f, 0x35 },
	};

	(void)state;
	enter(flat_long(3), false);
	c->sysenter_cs = 0x10;
	for (size_t k = 0; k < ARRAY_SIZE(code); k++) {
		c->r[R_RIP] = FLAT_CODE;
		flat_code(f, code[k], 4);
		faults(flat_exec(f), EXC_GP);
		assert_int_equal(c->r[R_RIP], FLAT_CODE);
	}
	faults(RUN(0x0f, 0x01, 0xcb), EXC_UD);		   /* STAC */
	assert_int_equal(RUN(0x0f, 0x01, 0xe0), OUT_DONE); /* SMSW without UMIP */
	assert_int_equal(c->r[RAX], c->cr0);
	c->cr4 |= CR4_UMIP | CR4_TSD;
	faults(RUN(0x0f, 0x01, 0xe0), EXC_GP);
	faults(RUN(0x0f, 0x31), EXC_GP);
	c->cr4 &= ~CR4_TSD;
	assert_int_equal(RUN(0x0f, 0x31), OUT_DONE);
	assert_int_equal(c->r[RAX], world.tsc);
}

static void test_cr3(void **state)
{
	(void)state;
	enter(flat_long(0), false);
	c->r[RAX] = BIT(f->model.phys_bits) | 0x1000;
	faults(MOV_CR(3), EXC_GP);
	c->r[RAX] = BIT(63) | 0x1000;
	faults(MOV_CR(3), EXC_GP);
	c->r[RAX] = 0x1000;
	assert_int_equal(MOV_CR(3), OUT_END);
	assert_int_equal(world.flushes, 1);
	c->cr4 |= CR4_PCIDE;
	c->r[RAX] = BIT(63) | 0x2005;
	assert_int_equal(MOV_CR(3), OUT_END);
	assert_int_equal(world.flushes, 1);
	assert_int_equal(c->cr3, 0x2005);
	c->r[RAX] = 0x3007;
	assert_int_equal(MOV_CR(3), OUT_END);
	assert_int_equal(world.flushes, 2);
	assert_int_equal(world.scope, TLB_PCID);
	assert_int_equal(world.pcid, 7);
}

static void test_pdptes(void **state)
{
	(void)state;
	enter(flat_protected(0), false);
	c->cr0 |= CR0_PG;
	c->cr4 |= CR4_PAE;
	flat_put(f, 0x5020, 0x6001, 8);
	c->r[RAX] = 0x5020;
	assert_int_equal(MOV_CR(3), OUT_END);
	assert_int_equal(c->pdpte[0], 0x6001);
	flat_put(f, 0x5028, 0x6003, 8); /* reserved bit 1 in a present entry */
	faults(MOV_CR(3), EXC_GP);
	assert_int_equal(c->pdpte[1], 0);
	flat_put(f, 0x5028, 0x6002, 8); /* not present: anything goes */
	assert_int_equal(MOV_CR(3), OUT_END);
	assert_int_equal(c->pdpte[1], 0x6002);
	c->r[RAX] = 0xfffff000; /* no memory there */
	faults(MOV_CR(3), EXC_GP);
}

static void test_cr4(void **state)
{
	u64 cr4;

	(void)state;
	enter(flat_long(0), false);
	cr4 = c->cr4;
	c->r[RAX] = cr4 & ~CR4_PAE;
	faults(MOV_CR(4), EXC_GP);
	c->r[RAX] = cr4 | CR4_VMXE;
	faults(MOV_CR(4), EXC_GP);
	c->r[RAX] = cr4 | CR4_PKE;
	faults(MOV_CR(4), EXC_GP);
	c->r[RAX] = cr4 | CR4_LA57;
	faults(MOV_CR(4), EXC_GP);
	set_bit_of_model(&f->model, FEAT_LA57, true);
	faults(MOV_CR(4), EXC_GP); /* not under long mode's paging either */
	c->cr3 = 0x1001;
	c->r[RAX] = cr4 | CR4_PCIDE;
	faults(MOV_CR(4), EXC_GP);
	c->cr3 = 0x1000;
	assert_int_equal(MOV_CR(4), OUT_END);
	c->r[RAX] = cr4 | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_UMIP;
	assert_int_equal(MOV_CR(4), OUT_END);
	assert_int_equal(world.scope, TLB_ALL);
	assert_int_equal(c->cr4, c->r[RAX]);
	c->r[RAX] = 0x10;
	faults(MOV_CR8, EXC_GP);
	c->r[RAX] = 0xa;
	assert_int_equal(MOV_CR8, OUT_END);
	assert_int_equal(c->lapic.tpr, 0xa0);
}

static void test_lmsw_clts(void **state)
{
	(void)state;
	enter(flat_real(), false);
	c->cr0 |= CR0_TS;
	assert_int_equal(RUN(0x0f, 0x06), OUT_END);
	assert_false(c->cr0 & CR0_TS);
	c->r[RAX] = 0xffff;
	assert_int_equal(RUN(0x0f, 0x01, 0xf0), OUT_END);
	assert_int_equal(c->cr0 & 0xffff, 0x1f);
	c->r[RAX] = 0;
	assert_int_equal(RUN(0x0f, 0x01, 0xf0), OUT_END);
	assert_int_equal(c->cr0 & 0xf, 1); /* PE stays */
}

static void test_debug_registers(void **state)
{
	(void)state;
	enter(flat_long(0), false);
	c->r[RAX] = 0xffffffff;
	assert_int_equal(MOV_DR(4), OUT_END); /* DR6's other name */
	assert_int_equal(c->dr[6], 0xffffefff);
	c->r[RAX] = 0;
	assert_int_equal(MOV_DR(6), OUT_END);
	assert_int_equal(c->dr[6], 0xffff0ff0);
	c->r[RAX] = 0xffffffff & ~(u64)DR7_GD;
	assert_int_equal(MOV_DR(7), OUT_END);
	assert_int_equal(c->dr[7], 0xffff07ff);
	c->r[RAX] = BIT(32);
	faults(MOV_DR(7), EXC_GP);
	faults(MOV_DR(6), EXC_GP);
	assert_int_equal(MOV_DR(0), OUT_END);
	faults(RUN(0x44, 0x0f, 0x23, 0xc0), EXC_UD); /* DR8 */
	c->cr4 |= CR4_DE;
	faults(MOV_DR(5), EXC_UD);
	c->dr[7] |= DR7_GD;
	faults(MOV_DR(5), EXC_UD);
	faults(RUN(0x0f, 0x21, 0xc0), EXC_DB);
	assert_int_equal(c->exc.payload, DR6_BD);
}

static void test_syscall_intel(void **state)
{
	(void)state;
	enter(flat_long(3), false);
	c->star = (u64)(SEL_DATA3 - 24) << 48 | (u64)SEL_CODE0 << 32;
	c->lstar = 0xffffffff81000000;
	c->sfmask = FLAG_IF | FLAG_TF | FLAG_DF;
	faults(RUN(0x0f, 0x05), EXC_UD);
	c->efer |= EFER_SCE;
	cpu_set_rflags_raw(c, FLAG_IF | FLAG_DF | FLAG_CF | FLAG_TF);
	assert_int_equal(RUN(0x0f, 0x05), OUT_END);
	assert_int_equal(c->pending_db, 0); /* TF was masked */
	assert_int_equal(c->r[RCX], FLAT_CODE + 2);
	assert_int_equal(c->r[R11], FLAG_IF | FLAG_DF | FLAG_CF | FLAG_TF | 2);
	assert_true(c->r[R_RIP] == c->lstar);
	assert_int_equal(cpu_rflags(c), FLAG_CF | 2);
	assert_int_equal(c->d.cpl, 0);
	assert_int_equal(c->seg[SEG_SS].sel, SEL_CODE0 + 8);
	/* SYSRETQ */
	c->r[R_RIP] = FLAT_CODE;
	c->r[R11] = ~0ull;
	c->r[RCX] = 0x800000000000;
	faults(RUN(0x48, 0x0f, 0x07), EXC_GP);
	assert_int_equal(c->d.cpl, 0);
	c->r[RCX] = 0x7ffffffff000;
	assert_int_equal(RUN(0x48, 0x0f, 0x07), OUT_END);
	assert_int_equal(c->d.cpl, 3);
	assert_true(c->d.long64);
	assert_int_equal(cpu_rflags(c), 0x3c7fd7);
	assert_true(c->r[R_RIP] == 0x7ffffffff000);
	assert_int_equal(c->seg[SEG_CS].sel, (SEL_DATA3 - 24 + 16) | 3);
	assert_int_equal(c->seg[SEG_SS].sel, (SEL_DATA3 - 24 + 8) | 3);
	faults(RUN(0x48, 0x0f, 0x07), EXC_GP); /* at CPL 3 */
}

static void test_sysret_32(void **state)
{
	(void)state;
	enter(flat_long(0), false);
	c->efer |= EFER_SCE;
	c->star = 0x23ull << 48;
	c->r[RCX] = 0x1122334455667788;
	c->r[R11] = 2;
	assert_int_equal(RUN(0x0f, 0x07), OUT_END);
	assert_true(c->d.lma && !c->d.long64 && c->d.code == CODE32);
	assert_int_equal(c->seg[SEG_CS].sel, 0x23);
	assert_int_equal(c->r[R_RIP], 0x55667788);
}

static void test_syscall_amd(void **state)
{
	(void)state;
	enter(flat_long(0), true);
	c->efer |= EFER_SCE;
	c->star = (u64)0x23 << 48 | (u64)SEL_CODE0 << 32;
	c->cstar = 0xffffffff82000000;
	c->seg[SEG_SS] = (struct seg){ .sel = 0 }; /* null, as after an interrupt in 64-bit mode */
	c->r[RCX] = 0x800000000000;		   /* not checked at CPL 0 */
	c->r[R11] = 2;
	assert_int_equal(RUN(0x48, 0x0f, 0x07), OUT_END);
	assert_int_equal(c->d.cpl, 3);
	assert_int_equal(c->seg[SEG_SS].sel, 0x2b);
	assert_false(c->seg[SEG_SS].attr & SEG_P); /* the cache stays what it was */
	c->seg[SEG_CS].attr = ATTR_CODE32(3);
	cpu_update_mode(c);
	assert_int_equal(RUN(0x0f, 0x05), OUT_END); /* from compatibility mode */
	assert_true(c->r[R_RIP] == c->cstar && c->d.long64);
	c->sysenter_cs = 8;
	faults(RUN(0x0f, 0x34), EXC_UD); /* no SYSENTER in long mode */
	teardown(state);
	enter(flat_protected(3), true);
	c->efer |= EFER_SCE;
	c->star = (u64)SEL_CODE0 << 32 | 0x12345;
	c->rflags |= FLAG_IF;
	assert_int_equal(RUN(0x0f, 0x05), OUT_END);
	assert_int_equal(c->r[R_RIP], 0x12345);
	assert_int_equal(c->d.code, CODE32);
	assert_false(c->rflags & FLAG_IF);
	teardown(state);
	enter(flat_protected(3), false);
	c->efer |= EFER_SCE;
	faults(RUN(0x0f, 0x05), EXC_UD); /* Intel: 64-bit mode only */
}

static void test_sysenter(void **state)
{
	(void)state;
	enter(flat_protected(3), false);
	faults(RUN(0x0f, 0x34), EXC_GP); /* null SYSENTER_CS */
	c->sysenter_cs = SEL_CODE0 | 3;
	c->sysenter_esp = 0xffffffff00001000;
	c->sysenter_eip = 0x4000;
	c->rflags |= FLAG_IF;
	assert_int_equal(RUN(0x0f, 0x34), OUT_END);
	assert_int_equal(c->seg[SEG_CS].sel, SEL_CODE0);
	assert_int_equal(c->r[RSP], 0x1000);
	assert_int_equal(c->r[R_RIP], 0x4000);
	assert_int_equal(c->d.cpl, 0);
	assert_false(c->rflags & FLAG_IF);
	c->r[RCX] = 0x9000;
	c->r[RDX] = 0xa000;
	assert_int_equal(RUN(0x0f, 0x35), OUT_END);
	assert_int_equal(c->r[RSP], 0x9000);
	assert_int_equal(c->r[R_RIP], 0xa000);
	assert_int_equal(c->seg[SEG_CS].sel, (SEL_CODE0 + 16) | 3);
	assert_int_equal(c->d.cpl, 3);
	teardown(state);
	enter(flat_long(0), false);
	c->sysenter_cs = SEL_CODE0;
	c->r[RCX] = 0x800000000000;
	faults(RUN(0x48, 0x0f, 0x35), EXC_GP);
	c->r[RCX] = 0x9000;
	assert_int_equal(RUN(0x48, 0x0f, 0x35), OUT_END);
	assert_int_equal(c->seg[SEG_CS].sel, (SEL_CODE0 + 32) | 3);
	assert_true(c->d.long64);
	teardown(state);
	enter(flat_real(), false);
	c->sysenter_cs = 8;
	faults(RUN(0x0f, 0x34), EXC_GP);
}

static int invpcid(u64 type, u64 lo, u64 hi)
{
	flat_put(f, FLAT_DATA, lo, 8);
	flat_put(f, FLAT_DATA + 8, hi, 8);
	c->r[RAX] = type;
	c->r[RBX] = FLAT_DATA;
	return RUN(0x66, 0x0f, 0x38, 0x82, 0x03);
}

static void test_invalidate(void **state)
{
	(void)state;
	enter(flat_long(0), false);
	assert_int_equal(invpcid(2, 0, 0), OUT_END);
	assert_int_equal(world.scope, TLB_ALL);
	assert_int_equal(invpcid(3, 5, 0), OUT_END);
	assert_int_equal(world.scope, TLB_NON_GLOBAL);
	faults(invpcid(4, 0, 0), EXC_GP);
	faults(invpcid(1, 5, 0), EXC_GP); /* PCIDE is clear */
	faults(invpcid(3, 0x1000, 0), EXC_GP);
	c->cr4 |= CR4_PCIDE;
	assert_int_equal(invpcid(0, 5, 0x123456), OUT_END);
	assert_int_equal(world.scope, TLB_PCID_PAGE);
	assert_int_equal(world.pcid, 5);
	assert_int_equal(world.lin, 0x123456);
	faults(invpcid(0, 5, 0x800000000000), EXC_GP);
	assert_int_equal(invpcid(1, 5, 0x800000000000), OUT_END);
	unsigned n = f->flushes;
	c->r[RAX] = 0x1234;
	assert_int_equal(RUN(0x0f, 0x01, 0x38), OUT_END);
	assert_int_equal(f->flushes, n + 1);
	c->r[RAX] = 0x800000000000; /* not canonical: nothing happens */
	assert_int_equal(RUN(0x0f, 0x01, 0x38), OUT_END);
	assert_int_equal(f->flushes, n + 1);
}

static void test_bases(void **state)
{
	(void)state;
	enter(flat_long(0), false);
	faults(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0), EXC_UD); /* CR4.FSGSBASE is clear */
	c->cr4 |= CR4_FSGSBASE;
	c->r[RAX] = 0x123456789abc;
	assert_int_equal(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0), OUT_DONE);
	assert_true(c->d.ebase[SEG_FS] == 0x123456789abc);
	assert_int_equal(RUN(0xf3, 0x0f, 0xae, 0xc3), OUT_DONE); /* rdfsbase ebx */
	assert_int_equal(c->r[RBX], 0x56789abc);
	c->r[RAX] = 0x800000000000;
	faults(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd8), EXC_GP);
	c->kernel_gs_base = 0xffff888000000000;
	assert_int_equal(RUN(0x0f, 0x01, 0xf8), OUT_DONE);
	assert_true(c->d.ebase[SEG_GS] == 0xffff888000000000 && c->kernel_gs_base == 0);
	c->tsc_aux = 0x1003;
	assert_int_equal(RUN(0xf3, 0x0f, 0xc7, 0xf8), OUT_DONE); /* rdpid */
	assert_int_equal(c->r[RAX], 0x1003);
	assert_int_equal(RUN(0x0f, 0x01, 0xf9), OUT_DONE);
	assert_int_equal(c->r[RCX], 0x1003);
	teardown(state);
	enter(flat_protected(0), false);
	faults(RUN(0x0f, 0x01, 0xf8), EXC_UD);
}

static int xsetbv(u64 val)
{
	c->r[RCX] = 0;
	c->r[RAX] = (u32)val;
	c->r[RDX] = val >> 32;
	return RUN(0x0f, 0x01, 0xd1);
}

static void test_xcr0(void **state)
{
	(void)state;
	enter(flat_long(0), false);
	f->model.xcr0_mask = 0xe7;
	faults(xsetbv(3), EXC_UD);
	c->cr4 |= CR4_OSXSAVE;
	assert_int_equal(xsetbv(0xe7), OUT_END);
	assert_int_equal(xsetbv(7), OUT_END);
	faults(xsetbv(6), EXC_GP);
	faults(xsetbv(5), EXC_GP);
	faults(xsetbv(0x27), EXC_GP);
	faults(xsetbv(0xe3), EXC_GP);
	faults(xsetbv(0x207), EXC_GP);
	faults(xsetbv(BIT(63) | 7), EXC_GP);
	assert_int_equal(c->xcr0, 7);
	c->r[RCX] = 0;
	assert_int_equal(RUN(0x0f, 0x01, 0xd0), OUT_DONE);
	assert_int_equal(c->r[RAX], 7);
	c->r[RCX] = 2;
	faults(RUN(0x0f, 0x01, 0xd0), EXC_GP);
	faults(RUN(0x66, 0x0f, 0x01, 0xd0), EXC_UD);
}

static void test_misc(void **state)
{
	static const u8 undefined[][4] = {
		{ 0x0f, 0x0b },	      { 0x0f, 0x01, 0xc2 }, { 0x0f, 0x01, 0xd8 }, { 0x0f, 0xaa },
		{ 0x0f, 0x37 },	      { 0xc6, 0xf8, 0 },    { 0x0f, 0x01, 0xc8 }, { 0x0f, 0xff, 0xc0 },
		{ 0x0f, 0xb9, 0xc0 }, { 0x0f, 0x01, 0xee }, { 0x0f, 0xc7, 0x30 }, { 0x0f, 0x78, 0xc0 },
	};

	(void)state;
	enter(flat_long(0), false);
	for (size_t k = 0; k < ARRAY_SIZE(undefined); k++) {
		c->r[R_RIP] = FLAT_CODE;
		flat_code(f, undefined[k], 4);
		faults(flat_exec(f), EXC_UD);
	}
	assert_int_equal(RUN(0xf4), OUT_HALT);
	assert_int_equal(c->activity, ACT_HALTED);
	cpu_set_rflags_raw(c, FLAG_OF | FLAG_ZF | FLAG_PF);
	assert_int_equal(RUN(0x66, 0x0f, 0xc7, 0xf0), OUT_DONE); /* rdrand ax */
	assert_int_equal(c->r[RAX] & 0xffff, 0x5a5a);
	assert_int_equal(cpu_rflags(c), FLAG_CF | 2);
	world.random_fails = true;
	assert_int_equal(RUN(0x48, 0x0f, 0xc7, 0xf8), OUT_DONE); /* rdseed rax */
	assert_int_equal(c->r[RAX], 0);
	assert_int_equal(cpu_rflags(c), 2);
	c->r[RAX] = 99;
	assert_int_equal(RUN(0x0f, 0x01, 0xc1), OUT_END); /* VMCALL: -KVM_ENOSYS */
	assert_true(c->r[RAX] == (u64)-1000);
	c->r[RAX] = 10; /* IPIs without a mask: none sent */
	c->r[RBX] = c->r[RCX] = c->r[RDX] = 0;
	c->r[RSI] = 0x40 | 1 << 18; /* a shorthand is not for this call */
	assert_int_equal(RUN(0x0f, 0x01, 0xd9), OUT_END);
	assert_true(c->r[RAX] == (u64)-22);
	c->r[RAX] = 11;
	assert_int_equal(RUN(0x0f, 0x01, 0xc1), OUT_END);
	assert_true(c->r[RAX] == 0);
	c->activity = ACT_RUNNING;
	c->kvm_unhalted = 1; /* a kick that came first ends the next HLT */
	assert_int_equal(RUN(0xf4), OUT_END);
	assert_int_equal(c->activity, ACT_RUNNING);
	assert_int_equal(c->kvm_unhalted, 0);
	assert_int_equal(RUN(0xf4), OUT_HALT);
	assert_false(event_deliverable(c));
	c->kvm_unhalted = 1;
	assert_true(event_deliverable(c));
	assert_true(event_poll(c));
	assert_int_equal(c->activity, ACT_RUNNING);
	assert_false(event_deliverable(c));
	assert_int_equal(RUN(0x0f, 0x01, 0xcb), OUT_DONE);
	assert_true(c->rflags & FLAG_AC);
	assert_int_equal(RUN(0x0f, 0x01, 0xca), OUT_DONE);
	assert_false(c->rflags & FLAG_AC);
	c->r[RAX] = 0x40000000;
	assert_int_equal(RUN(0x0f, 0xa2), OUT_DONE);
	assert_int_equal(c->r[RBX], 0x4b4d564b);
	c->r[RCX] = 0xffffffff00000000 | MSR_TSC;
	assert_int_equal(RUN(0x0f, 0x32), OUT_DONE);
	assert_int_equal(c->r[RAX], world.tsc);
	c->r[RCX] = 0xdead;
	faults(RUN(0x0f, 0x32), EXC_GP);
	faults(RUN(0x0f, 0x30), EXC_GP);
}

static void count_diff(void *opaque, const struct cpu_field *fd, unsigned i, const struct cpu *a, const struct cpu *b)
{
	(void)a;
	(void)b;
	assert_string_equal(fd->name, "zmm");
	assert_int_equal(i, 7);
	++*(unsigned *)opaque;
}

static void test_fields(void **state)
{
	size_t n;
	const struct cpu_field *t = cpu_fields(&n);
	unsigned hits = 0;
	char buf[160];

	(void)state;
	enter(flat_long(0), false);
	for (size_t k = 0; k < n; k++) {
		assert_true(t[k].size && t[k].count && t[k].offset + t[k].size * t[k].count <= sizeof(struct cpu));
		assert_ptr_equal(cpu_field_find(t[k].name), &t[k]); /* names are unique */
		for (size_t j = 0; j < k; j++)
			assert_true(t[j].offset + t[j].size * t[j].count <= t[k].offset ||
				    t[k].offset + t[k].size * t[k].count <= t[j].offset);
	}
	struct cpu *copy = cpu_new(0, &f->model, &f->ops);
	memcpy(copy, c, sizeof(*c));
	assert_int_equal(cpu_field_diff(c, copy, true, NULL, NULL), 0);
	copy->zmm[7].b[63] ^= 1;
	assert_int_equal(cpu_field_diff(c, copy, false, count_diff, &hits), 1);
	assert_int_equal(hits, 1);
	cpu_field_set(copy, cpu_field_find("dr"), 7, 0x1234);
	assert_int_equal(copy->dr[7], 0x1234);
	assert_int_equal(cpu_field_get(copy, cpu_field_find("dr"), 7), 0x1234);
	assert_string_equal(cpu_field_text(copy, cpu_field_find("dr"), 7, buf, sizeof(buf)), "0000000000001234");
	cpu_free(copy);
	FILE *sink = fopen("/dev/null", "w");
	cpu_dump(c, sink);
	fclose(sink);
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, teardown)
	const struct CMUnitTest tests[] = {
		T(test_cr0),
		T(test_user),
		T(test_cr3),
		T(test_pdptes),
		T(test_cr4),
		T(test_lmsw_clts),
		T(test_debug_registers),
		T(test_syscall_intel),
		T(test_sysret_32),
		T(test_syscall_amd),
		T(test_sysenter),
		T(test_invalidate),
		T(test_bases),
		T(test_xcr0),
		T(test_misc),
		T(test_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
