/* SPDX-License-Identifier: Apache-2.0
 * What a user-mode oracle cannot show of the integer instructions: faults in the middle of a repeated one, locked
 * operations on both paths and from several threads, branch limits, stacks that wrap, ports.
 */
#include "flat_cpu.h"

#include <pthread.h>

static struct tlbe warm_tlb[TLB_SIZE];

/* Fills the lookaside for [lo, hi) of the flat memory; outside it every access takes the slow path. */
static void warm(struct flat *f, u64 lo, u64 hi)
{
	for (unsigned k = 0; k < TLB_SIZE; k++)
		warm_tlb[k] = (struct tlbe){ .r = TLB_NO_TAG, .w = TLB_NO_TAG };
	for (u64 lin = lo; lin < hi; lin += PAGE_SIZE)
		warm_tlb[(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)] = (struct tlbe){
			.r = lin | f->c->ctx,
			.w = lin | f->c->ctx,
			.add = (uintptr_t)f->mem,
		};
	f->c->tlb = warm_tlb;
}

/* Runs one repeated instruction to its end or fault; returns the outcome and counts the calls it took. */
static int rep(struct flat *f, u8 prefix, u8 opcode, unsigned *calls)
{
	int out;

	*calls = 0;
	do {
		out = FLAT_EXEC(f, prefix, opcode);
		++*calls;
	} while (out == OUT_AGAIN && *calls < 100000);
	return out;
}

static void test_rep_fault(void **state)
{
	(void)state;
	for (unsigned with_tlb = 0; with_tlb < 2; with_tlb++) {
		struct flat *f = flat_long(0);
		struct cpu *c = f->c;
		unsigned calls;

		if (with_tlb)
			warm(f, FLAT_DATA, FLAT_DATA + 0x3000);
		for (unsigned k = 0; k < 0x4000; k++)
			f->mem[FLAT_DATA + k] = (u8)(k * 7);
		f->ro_lo = FLAT_DATA + 0x23000;
		f->ro_hi = FLAT_DATA + 0x24000;
		c->r[RSI] = FLAT_DATA + 3;
		c->r[RDI] = FLAT_DATA + 0x22005;
		c->r[RCX] = 0x2000;
		flat_assert_fault(f, rep(f, 0xf3, 0xa4, &calls), EXC_PF, PF_W | PF_P);
		assert_int_equal(c->exc.payload, f->ro_lo);
		assert_int_equal(c->r[RDI], f->ro_lo);
		assert_int_equal(c->r[RSI], FLAT_DATA + 3 + 0xffb);
		assert_int_equal(c->r[RCX], 0x2000 - 0xffb);
		assert_int_equal(c->r[R_RIP], FLAT_CODE);
		assert_memory_equal(f->mem + FLAT_DATA + 3, f->mem + FLAT_DATA + 0x22005, 0xffb);
		c->r[RDI] = FLAT_DATA + 0x23ffc + 4;
		c->rflags |= FLAG_DF;
		c->r[RCX] = 5;
		c->r[RAX] = 0x11223344;
		f->ro_hi = FLAT_DATA + 0x23ff8;
		flat_assert_fault(f, rep(f, 0xf3, 0xab, &calls), EXC_PF, PF_W | PF_P);
		assert_int_equal(c->r[RDI], FLAT_DATA + 0x23ff4);
		assert_int_equal(c->r[RCX], 2);
		assert_int_equal(flat_get(f, FLAT_DATA + 0x23ff8, 8), 0x1122334411223344);
		flat_free(f);
	}
}

static void test_rep_bounded_and_overlap(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;
	unsigned calls;

	(void)state;
	warm(f, FLAT_DATA, FLAT_DATA + 0x20000);
	f->mem[FLAT_DATA] = 0x5a;
	c->r[RSI] = FLAT_DATA;
	c->r[RDI] = FLAT_DATA + 1;
	c->r[RCX] = 0x10000;
	assert_int_equal(rep(f, 0xf3, 0xa4, &calls), OUT_DONE);
	assert_in_range(calls, 16, 64);
	for (unsigned k = 0; k <= 0x10000; k++)
		assert_int_equal(f->mem[FLAT_DATA + k], 0x5a);
	/* REPNE SCASB stops behind the byte it found, in one page at a time. */
	f->mem[FLAT_DATA + 0x1234] = 9;
	c->r[R_RIP] = FLAT_CODE;
	c->r[RDI] = FLAT_DATA;
	c->r[RCX] = 0x10000;
	c->r[RAX] = 9;
	assert_int_equal(rep(f, 0xf2, 0xae, &calls), OUT_DONE);
	assert_int_equal(calls, 2);
	assert_int_equal(c->r[RDI], FLAT_DATA + 0x1235);
	assert_int_equal(c->r[RCX], 0x10000 - 0x1235);
	assert_true(c->aflags & AF_ZF);
	/* Under single step every iteration ends on its own. */
	c->r[R_RIP] = FLAT_CODE;
	c->r[RDI] = FLAT_DATA;
	c->r[RCX] = 7;
	c->rflags |= FLAG_TF;
	assert_int_equal(rep(f, 0xf3, 0xaa, &calls), OUT_DONE);
	assert_int_equal(calls, 7);
	flat_free(f);
}

/* A 16-bit pointer wraps within its segment, element by element. */
static void test_rep_wrap16(void **state)
{
	struct flat *f = flat_real();
	struct cpu *c = f->c;
	unsigned calls;

	(void)state;
	seg_load_legacy(c, SEG_ES, 0x4000);
	cpu_update_mode(c);
	warm(f, 0x40000, 0x50000);
	c->r[RDI] = 0xabcdfffd;
	c->r[RCX] = 0x12340006;
	c->r[RAX] = 0x77;
	assert_int_equal(rep(f, 0xf3, 0xaa, &calls), OUT_DONE);
	assert_int_equal(c->r[RDI], 0xabcd0003);
	assert_int_equal(c->r[RCX], 0x12340000);
	assert_int_equal(flat_get(f, 0x4fffd, 3), 0x777777);
	assert_int_equal(flat_get(f, 0x40000, 4), 0x777777);
	flat_free(f);
}

static void test_locked_slow_path(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;

	(void)state;
	/* lock add [rbx], eax across a cache line goes by cmpxchg */
	c->r[RBX] = FLAT_DATA + 62;
	c->r[RAX] = 0x01010101;
	flat_put(f, FLAT_DATA + 62, 0xff000001, 4);
	assert_int_equal(FLAT_EXEC(f, 0xf0, 0x01, 0x03), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA + 62, 4), 0x00010102);
	assert_true(c->aflags & AF_CF);
	c->r[R_RIP] = FLAT_CODE;
	f->ro_lo = FLAT_DATA;
	f->ro_hi = FLAT_DATA + 0x1000;
	c->r[RBX] = FLAT_DATA;
	flat_assert_fault(f, FLAT_EXEC(f, 0xf0, 0x0f, 0xb1, 0x0b), EXC_PF, PF_W | PF_P);
	/* CMPXCHG that fails still writes, so faults; XCHG is locked without a prefix */
	c->r[RAX] = 1;
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0xb1, 0x0b), EXC_PF, PF_W | PF_P);
	flat_assert_fault(f, FLAT_EXEC(f, 0x87, 0x0b), EXC_PF, PF_W | PF_P);
	assert_int_equal(c->r[RAX], 1);
	/* CMPXCHG16B: alignment, then both results */
	f->model.features[FEAT_CX16 / 64] |= 1ull << (FEAT_CX16 % 64);
	c->r[RBX] = FLAT_DATA + 0x2008;
	c->r[RSI] = FLAT_DATA + 0x2008;
	flat_assert_fault(f, FLAT_EXEC(f, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), EXC_GP, 0);
	c->r[RSI] = FLAT_DATA + 0x2010;
	flat_put(f, FLAT_DATA + 0x2010, 5, 8);
	flat_put(f, FLAT_DATA + 0x2018, 6, 8);
	assert_int_equal(FLAT_EXEC(f, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), OUT_DONE);
	assert_false(c->aflags & AF_ZF);
	assert_int_equal(c->r[RAX], 5);
	assert_int_equal(c->r[RDX], 6);
	c->r[R_RIP] = FLAT_CODE;
	c->r[RCX] = 8;
	assert_int_equal(FLAT_EXEC(f, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), OUT_DONE);
	assert_true(c->aflags & AF_ZF);
	assert_int_equal(flat_get(f, FLAT_DATA + 0x2010, 8), FLAT_DATA + 0x2008);
	assert_int_equal(flat_get(f, FLAT_DATA + 0x2018, 8), 8);
	flat_free(f);
}

static void *add_many(void *arg)
{
	struct flat *f = arg;

	for (unsigned k = 0; k < 100000; k++) {
		f->c->r[R_RIP] = FLAT_CODE;
		flat_exec(f);
	}
	return NULL;
}

static void test_locked_threads(void **state)
{
	struct flat *a = flat_long(0), *b = flat_long(0);
	u8 *own = b->mem;
	pthread_t t;

	(void)state;
	b->mem = a->mem;
	a->c->r[RBX] = b->c->r[RBX] = FLAT_DATA;
	FLAT_BYTES(a, 0xf0, 0x48, 0xff, 0x03);
	assert_int_equal(pthread_create(&t, NULL, add_many, b), 0);
	add_many(a);
	pthread_join(t, NULL);
	assert_int_equal(flat_get(a, FLAT_DATA, 8), 200000);
	b->mem = own;
	flat_free(b);
	flat_free(a);
}

static void test_branch_limits(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	c->seg[SEG_CS].limit = FLAT_CODE + 0x40;
	cpu_update_mode(c);
	flat_assert_fault(f, FLAT_EXEC(f, 0xe9, 0x00, 0x10, 0x00, 0x00), EXC_GP, 0);
	assert_int_equal(c->r[R_RIP], FLAT_CODE);
	c->r[RSP] = FLAT_STACK0;
	flat_assert_fault(f, FLAT_EXEC(f, 0xe8, 0x00, 0x10, 0x00, 0x00), EXC_GP, 0);
	assert_int_equal(c->r[RSP], FLAT_STACK0);
	c->r[RCX] = 2;
	flat_assert_fault(f, FLAT_EXEC(f, 0xe2, 0x7f), EXC_GP, 0);
	assert_int_equal(c->r[RCX], 2);
	flat_free(f);
	f = flat_long(0);
	c = f->c;
	c->r[RAX] = 0x800000000000;
	flat_assert_fault(f, FLAT_EXEC(f, 0xff, 0xe0), EXC_GP, 0);
	flat_assert_fault(f, FLAT_EXEC(f, 0xff, 0xd0), EXC_GP, 0);
	flat_put(f, c->r[RSP], 0x800000000000, 8);
	flat_assert_fault(f, FLAT_EXEC(f, 0xc3), EXC_GP, 0);
	flat_free(f);
}

static void test_stack_wrap16(void **state)
{
	struct flat *f = flat_real();
	struct cpu *c = f->c;

	(void)state;
	seg_load_legacy(c, SEG_SS, 0x5000);
	cpu_update_mode(c);
	c->r[RSP] = 0x12340000;
	c->r[RAX] = 0xbeef;
	assert_int_equal(FLAT_EXEC(f, 0x50), OUT_DONE);
	assert_int_equal(c->r[RSP], 0x1234fffe);
	assert_int_equal(flat_get(f, 0x5fffe, 2), 0xbeef);
	c->r[R_RIP] = FLAT_CODE;
	assert_int_equal(FLAT_EXEC(f, 0x5b), OUT_DONE);
	assert_int_equal(c->r[RBX], 0xbeef);
	assert_int_equal(c->r[RSP], 0x12340000);
	c->r[R_RIP] = FLAT_CODE;
	c->r[RSP] = 1;
	flat_assert_fault(f, FLAT_EXEC(f, 0x50), EXC_SS, 0);
	assert_int_equal(c->r[RSP], 1);
	/* PUSHA that would cross the end: nothing moves */
	c->r[RSP] = 7;
	flat_assert_fault(f, FLAT_EXEC(f, 0x60), EXC_SS, 0);
	assert_int_equal(c->r[RSP], 7);
	flat_free(f);
}

static void test_enter_probe(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;
	u64 sp = c->r[RSP];

	(void)state;
	c->r[RBP] = 0x1111;
	f->ro_lo = sp - 0x3000;
	f->ro_hi = sp - 0x1000;
	flat_assert_fault(f, FLAT_EXEC(f, 0xc8, 0x00, 0x20, 0x00), EXC_PF, PF_W | PF_P);
	assert_int_equal(c->r[RSP], sp);
	assert_int_equal(c->r[RBP], 0x1111);
	assert_int_equal(FLAT_EXEC(f, 0xc8, 0x10, 0x00, 0x00), OUT_DONE);
	assert_int_equal(c->r[RBP], sp - 8);
	assert_int_equal(c->r[RSP], sp - 0x18);
	flat_free(f);
}

static void test_ports(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;
	unsigned calls;

	(void)state;
	f->port_value = 0x89abcdef;
	c->r[RAX] = ~0ull;
	assert_int_equal(FLAT_EXEC(f, 0xec), OUT_END);
	assert_int_equal(c->r[RAX], 0xffffffffffffffef);
	c->r[R_RIP] = FLAT_CODE;
	assert_int_equal(FLAT_EXEC(f, 0x48, 0xed), OUT_END);
	assert_int_equal(c->r[RAX], 0x89abcdef);
	c->r[R_RIP] = FLAT_CODE;
	c->r[RDI] = FLAT_DATA;
	c->r[RCX] = 3;
	assert_int_equal(rep(f, 0xf3, 0x6d, &calls), OUT_END);
	assert_int_equal(calls, 3);
	assert_int_equal(flat_get(f, FLAT_DATA + 4, 8), 0x89abcdef89abcdef);
	assert_int_equal(c->r[RDI], FLAT_DATA + 12);
	/* A destination that faults leaves the port alone. */
	c->r[R_RIP] = FLAT_CODE;
	c->r[RCX] = 1;
	f->ro_lo = FLAT_DATA;
	f->ro_hi = FLAT_DATA + 0x1000;
	flat_assert_fault(f, rep(f, 0xf3, 0x6c, &calls), EXC_PF, PF_W | PF_P);
	assert_int_equal(c->r[RCX], 1);
	flat_free(f);
	f = flat_long(3);
	flat_assert_fault(f, FLAT_EXEC(f, 0xee), EXC_GP, 0);
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rep_fault),      cmocka_unit_test(test_rep_bounded_and_overlap),
		cmocka_unit_test(test_rep_wrap16),     cmocka_unit_test(test_locked_slow_path),
		cmocka_unit_test(test_locked_threads), cmocka_unit_test(test_branch_limits),
		cmocka_unit_test(test_stack_wrap16),   cmocka_unit_test(test_enter_probe),
		cmocka_unit_test(test_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
