/* SPDX-License-Identifier: Apache-2.0
 * The interpreter: blocks and their links, exact budgets, self-modifying and page-crossing code, what happens between
 * two instructions, the debugger's wishes.
 */
#include "interp_world.h"

#include "engine/arbiter.h"

/* mov ecx, 1000; l: inc eax; dec ecx; jnz l; hlt */
#define LOOP 0xb9, 0xe8, 0x03, 0, 0, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xfa, 0xf4

static void test_loop(void **state)
{
	struct world *w = world_new();

	(void)state;
	CODE(w, W_CODE, LOOP);
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 1000);
	assert_int_equal(w->c->icount, 1 + 3000 + 1);
	assert_int_equal(w->c->r[R_RIP], W_CODE + 12);
	assert_int_equal(w->counters.n[CNT_INSNS], 3002);
	assert_in_range(w->counters.n[CNT_BLOCKS_MADE], 2, 4);
	assert_in_range(w->counters.n[CNT_BLOCKS_RUN], 1000, 1002);
	world_free(w);
}

static void test_budget_is_exact(void **state)
{
	struct world *w = world_new();

	(void)state;
	CODE(w, W_CODE, LOOP);
	for (u64 budget = 1; budget < 40; budget++) {
		world_restart(w);
		for (u64 n = 1; n <= 20; n++) {
			assert_int_equal(engine_interp.run(w->c, budget), EXIT_BUDGET);
			assert_int_equal(w->c->icount, n * budget);
			/* after 1 + 3 k instructions, k rounds are done */
			assert_int_equal(w->c->r[RAX], (n * budget - 1 + 2) / 3);
		}
	}
	world_free(w);
}

static void test_kick_is_sticky(void **state)
{
	struct world *w = world_new();

	(void)state;
	CODE(w, W_CODE, LOOP);
	cpu_post(w->c, ATT_KICK);
	assert_int_equal(engine_interp.run(w->c, 0), EXIT_KICK);
	assert_int_equal(w->c->icount, 0);
	run_to_halt(w);
	world_free(w);
}

/* A store into the instruction that follows it in the same block. */
static void test_modifies_next(void **state)
{
	struct world *w = world_new();

	(void)state;
	/* mov byte [rip+2], 7; nop; mov eax, 1 -> mov eax, 7; hlt */
	CODE(w, W_CODE, 0xc6, 0x05, 2, 0, 0, 0, 7, 0x90, 0xb8, 1, 0, 0, 0, 0xf4);
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 7);
	assert_int_equal(w->c->icount, 4);
	world_free(w);
}

/* The loop patches the immediate of its own first instruction each time round. */
static void test_modifies_itself_in_loop(void **state)
{
	struct world *w = world_new();

	(void)state;
	/* mov ecx, 100; l: add eax, 0; inc dword [rip-10]...; dec ecx; jnz l; hlt */
	CODE(w, W_CODE, 0xb9, 100, 0, 0, 0, 0x05, 0, 0, 0, 0, 0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75,
	     0xf1, 0xf4);
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 99 * 100 / 2);
	assert_in_range(w->counters.n[CNT_BLOCKS_DROPPED], 99, 300);
	world_free(w);
}

/* Data on the page of the code, but in no line of it. */
static void test_data_beside_code(void **state)
{
	struct world *w = world_new();

	(void)state;
	/* mov ecx, 1000; l: inc dword [rip+1014]; dec ecx; jnz l; hlt */
	CODE(w, W_CODE, 0xb9, 0xe8, 3, 0, 0, 0xff, 0x05, 0xf6, 3, 0, 0, 0xff, 0xc9, 0x75, 0xf6, 0xf4);
	run_to_halt(w);
	assert_int_equal(get(w, W_CODE + 11 + 0x3f6, 4), 1000);
	assert_int_equal(w->counters.n[CNT_BLOCKS_DROPPED], 0);
	world_free(w);
}

static void test_foreign_write(void **state)
{
	struct world *w = world_new();

	(void)state;
	CODE(w, W_CODE, 0xb8, 1, 0, 0, 0, 0xf4);
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 1);
	CODE(w, W_CODE + 1, 2);
	world_restart(w);
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 2);
	world_free(w);
}

static void *write_code(void *arg)
{
	struct world *w = arg;

	CODE(w, W_CODE + 1, 1); /* jmp $ becomes jmp to the hlt */
	return NULL;
}

/* Another thread ends the endless loop. */
static void test_write_by_other_thread(void **state)
{
	struct world *w = world_new();
	pthread_t t;

	(void)state;
	CODE(w, W_CODE, 0xeb, 0xfe, 0x90, 0xf4);
	assert_int_equal(engine_interp.run(w->c, 1000), EXIT_BUDGET);
	assert_int_equal(pthread_create(&t, NULL, write_code, w), 0);
	run_to_halt(w);
	pthread_join(t, NULL);
	assert_int_equal(w->c->r[R_RIP], W_CODE + 4);
	world_free(w);
}

/* ---- pages ------------------------------------------------------------------------------------------------------ */

static void test_crosses_page(void **state)
{
	struct world *w = world_new();
	u64 at = W_CODE + 0x1000 - 2;

	(void)state;
	CODE(w, W_CODE, 0xe9, 0xf9, 0x0f, 0, 0);
	CODE(w, at, 0xb8, 0x11, 0x22, 0x33, 0x44, 0xf4); /* mov eax, imm32 over the edge */
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 0x44332211);
	CODE(w, at + 3, 0x55);
	world_restart(w);
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 0x44552211);
	world_free(w);
}

static void test_crosses_into_hole(void **state)
{
	struct world *w = world_new();
	u64 edge = W_CODE + 0x1000;

	(void)state;
	put(w, pte_at(edge), 0, 8);
	CODE(w, edge - 3, 0x90, 0xb8, 0x11);
	w->c->r[R_RIP] = edge - 3;
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_PF);
	assert_int_equal(w->c->cr2, edge);
	assert_int_equal(get(w, w->c->r[RSP] + 8, 8), edge - 2); /* the mov */

	/* An opcode that is undefined whatever follows asks for no more bytes. */
	CODE(w, edge - 2, 0x0f, 0x0b);
	world_restart(w);
	w->c->r[R_RIP] = edge - 2;
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_UD);

	/* A complete instruction at the very end; the next one is not there. */
	CODE(w, edge - 1, 0x90);
	world_restart(w);
	w->c->r[R_RIP] = edge - 1;
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_PF);
	assert_int_equal(get(w, w->c->r[RSP] + 8, 8), edge);
	world_free(w);
}

static void test_remap(void **state)
{
	struct world *w = world_new();
	u64 f1 = 0x200000, f2 = 0x201000;

	(void)state;
	CODE(w, f1, 0xff, 0xc0, 0xc3);	     /* inc eax; ret */
	CODE(w, f2, 0x83, 0xc0, 0x10, 0xc3); /* add eax, 16; ret */
	/* call f1; mov [pte f1], f2 | 7; invlpg [f1]; call f1; hlt */
	CODE(w, W_CODE, 0xbb, 0, 0, 0x20, 0, 0xff, 0xd3, 0x48, 0xc7, 0x04, 0x25, 0, 0x40, 0x10, 0, 0x07, 0x10, 0x20, 0,
	     0x0f, 0x01, 0x3b, 0xff, 0xd3, 0xf4);
	assert_int_equal(pte_at(f1), 0x104000);
	run_to_halt(w);
	assert_int_equal(halted_in(w), -1);
	assert_int_equal(w->c->r[RAX], 17);
	world_free(w);
}

static void test_cache_fills_up(void **state)
{
	struct world *w = world_new();
	struct interp *in = w->c->engine;

	(void)state;
	in->pool_size = 8192;
	/* 64 blocks in a row, each inc eax; jmp to the next */
	for (unsigned k = 0; k < 64; k++)
		CODE(w, W_CODE + 32 * k, 0xff, 0xc0, 0xeb, 28, 0xf4);
	CODE(w, W_CODE + 32 * 64, 0xff, 0xc9, 0x74, 5, 0xe9, 0xf3, 0xf7, 0xff, 0xff, 0xf4);
	w->c->r[RCX] = 50;
	run_to_halt(w);
	assert_int_equal(halted_in(w), -1);
	assert_int_equal(w->c->r[RAX], 64 * 50);
	assert_true(w->counters.n[CNT_CACHE_FLUSHES] > 50);
	world_free(w);
}

/* ---- limits and other modes -------------------------------------------------------------------------------------- */

/* Real mode, and the end of the code segment: #GP for the byte beyond, whether an instruction begins or ends there. */
static void test_real_mode_limit(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		cpu_reset(w->c, false);
		mmu_reset(w->c);
		w->c->seg[SEG_CS] = (struct seg){ .sel = 0, .attr = 0x9b, .limit = 0xffff };
		w->c->seg[SEG_SS].base = 0;
		cpu_update_mode(w->c);
		w->c->r[RSP] = 0x7000;
		w->c->r[R_RIP] = 0xfffe - k;
		put(w, 13 * 4, 0x9000, 4);
		CODE(w, 0x9000, 0xf4);
		CODE(w, 0xfffd, 0x90, 0x90, k ? 0xb8 : 0x90, 0x34, 0x12); /* nops; mov ax, 1234h over the end */
		run_to_halt(w);
		assert_int_equal(w->c->r[R_RIP], 0x9001);
		assert_int_equal(get(w, 0x7000 - 6, 2), k ? 0xffff : 0x0000);
	}
	world_free(w);
}

static void test_too_long(void **state)
{
	struct world *w = world_new();

	(void)state;
	CODE(w, W_CODE, 0x90, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
	     0x90);
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_GP);
	assert_int_equal(get(w, w->c->r[RSP], 8), 0);
	assert_int_equal(get(w, w->c->r[RSP] + 8, 8), W_CODE + 1);
	world_free(w);
}

/* ---- between instructions ---------------------------------------------------------------------------------------- */

static void test_sti_shadow(void **state)
{
	struct world *w = world_new();

	(void)state;
	w->extint = 0x40;
	w->c->apic_base = 0; /* the 8259 reaches the core */
	CODE(w, W_CODE, 0x90, 0xfb, 0xff, 0xc0, 0xff, 0xc0, 0xf4);
	cpu_post(w->c, ATT_EXTINT);
	run_to_halt(w);
	assert_int_equal(halted_in(w), 0x40);
	assert_int_equal(w->c->r[RAX], 1);
	assert_int_equal(get(w, w->c->r[RSP], 8), W_CODE + 4);
	world_free(w);
}

/* INTR held while IF is clear costs nothing and is not forgotten. */
static void test_masked_interrupt(void **state)
{
	struct world *w = world_new();

	(void)state;
	w->extint = 0x41;
	w->c->apic_base = 0;
	CODE(w, W_CODE, LOOP);
	CODE(w, W_CODE + 11, 0xfb, 0x90, 0x90, 0xf4);
	cpu_post(w->c, ATT_EXTINT);
	run_to_halt(w);
	assert_int_equal(halted_in(w), 0x41);
	assert_int_equal(get(w, w->c->r[RSP], 8), W_CODE + 13);
	assert_int_equal(w->c->r[RAX], 1000);
	world_free(w);
}

static void test_single_step(void **state)
{
	struct world *w = world_new();

	(void)state;
	/* pushfq; or word [rsp], 100h; popfq; inc eax; inc eax; hlt */
	CODE(w, W_CODE, 0x9c, 0x66, 0x81, 0x0c, 0x24, 0, 1, 0x9d, 0xff, 0xc0, 0xff, 0xc0, 0xf4);
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_DB);
	assert_int_equal(w->c->r[RAX], 1);
	assert_int_equal(get(w, w->c->r[RSP], 8), W_CODE + 10);
	assert_true(w->c->dr[6] & 1 << 14);
	world_free(w);
}

static void test_debug_register_breakpoint(void **state)
{
	struct world *w = world_new();

	(void)state;
	CODE(w, W_CODE, LOOP);
	w->c->dr[0] = W_CODE + 7;
	w->c->dr[7] = 0x402;
	cpu_update_mode(w->c);
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_DB);
	assert_int_equal(w->c->r[RAX], 1);
	assert_int_equal(get(w, w->c->r[RSP], 8), W_CODE + 7);
	world_free(w);
}

static void test_fault_in_block(void **state)
{
	struct world *w = world_new();

	(void)state;
	put(w, pte_at(W_DATA), 0, 8);
	/* inc eax; mov ecx, [W_DATA]; inc eax; hlt */
	CODE(w, W_CODE, 0xff, 0xc0, 0x8b, 0x0c, 0x25, 0, 0, 4, 0, 0xff, 0xc0, 0xf4);
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_PF);
	assert_int_equal(w->c->cr2, W_DATA);
	assert_int_equal(w->c->r[RAX], 1);
	assert_int_equal(get(w, w->c->r[RSP] + 8, 8), W_CODE + 2);
	assert_int_equal(w->c->icount, 1 + 1);
	world_free(w);
}

/* Where the block that stands for "no link yet" would lie if it lay anywhere. */
static void test_jump_to_the_last_byte(void **state)
{
	struct world *w = world_new();

	(void)state;
	/* mov rax, -1; jmp rax */
	CODE(w, W_CODE, 0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0);
	run_to_halt(w);
	assert_int_equal(halted_in(w), EXC_PF);
	assert_int_equal(w->c->cr2, ~0ull);
	assert_int_equal(w->c->icount, 2 + 1);
	world_free(w);
}

static void test_triple_fault(void **state)
{
	struct world *w = world_new();

	(void)state;
	w->c->idtr.limit = 0;
	CODE(w, W_CODE, 0x0f, 0x0b);
	assert_int_equal(engine_interp.run(w->c, 0), EXIT_SHUTDOWN);
	world_free(w);
}

/* A rep instruction under a budget retires once, whatever the number of pieces. */
static void test_rep(void **state)
{
	struct world *w = world_new();

	(void)state;
	/* mov edi, W_DATA; mov ecx, 10000; mov al, 0x5a; rep stosb; hlt */
	CODE(w, W_CODE, 0xbf, 0, 0, 4, 0, 0xb9, 0x10, 0x27, 0, 0, 0xb0, 0x5a, 0xf3, 0xaa, 0xf4);
	run_to_halt(w);
	assert_int_equal(halted_in(w), -1);
	assert_int_equal(w->c->icount, 5);
	assert_int_equal(w->c->r[RCX], 0);
	assert_int_equal(w->c->r[RDI], W_DATA + 10000);
	assert_int_equal(get(w, W_DATA + 9999, 2), 0x5a);
	world_free(w);
}

/* Parts of a run of the string instruction op (after F3) over the page at 0x200000, and over code there if asked to. */
static u64 parts(u8 op, bool down, bool code)
{
	struct world *w = world_new();
	u64 n;

	CODE(w, 0x200000 + 0x300, 0xc3);
	CODE(w, 0x200000 + 0x900, 0xc3);
	/* call rbx; call rbp; mov ecx, 4096; mov edi, ...; mov esi, ...; (std); rep op; hlt */
	CODE(w, W_CODE, 0xff, 0xd3, 0xff, 0xd5, 0xb9, 0, 0x10, 0, 0, 0xbf, down ? 0xff : 0, down ? 0x0f : 0, 0x20, 0,
	     0xbe, down ? 0xff : 0, down ? 0x0f : 0, 0x24, 0, down ? 0xfd : 0x90, 0xf3, op, 0xf4);
	CODE(w, W_CODE + 0x100, 0xc3);
	w->c->r[RBX] = code ? 0x200300 : W_CODE + 0x100;
	w->c->r[RBP] = code ? 0x200900 : W_CODE + 0x100;
	run_to_halt(w);
	assert_int_equal(halted_in(w), -1);
	assert_int_equal(w->c->icount, 10);
	assert_int_equal(w->c->r[RCX], 0);
	n = w->c->unretired;
	if (code) { /* which is gone */
		world_restart(w);
		w->c->r[R_RIP] = 0x200300;
		CODE(w, 0x200300, 0xf4);
		run_to_halt(w);
		assert_int_equal(w->c->icount, 1);
	}
	world_free(w);
	return n;
}

/* Every engine has to count the same, whatever of the code it knows at that moment. */
static void test_parts_of_rep(void **state)
{
	(void)state;
	for (unsigned down = 0; down < 2; down++) {
		assert_int_equal(parts(0xaa, down, true), parts(0xaa, down, false));
		assert_int_equal(parts(0xa4, down, true), parts(0xa4, down, false));
	}
}

/* ---- debugger, arbiter ------------------------------------------------------------------------------------------- */

static void test_wishes(void **state)
{
	struct world *w = world_new();
	struct debug_wishes step = { .step = true }, stop = { .n = 1, .addr = { W_CODE + 7 } };

	(void)state;
	CODE(w, W_CODE, LOOP);
	w->c->wishes = &step;
	for (unsigned k = 1; k < 5; k++) {
		assert_int_equal(engine_interp.run(w->c, 0), EXIT_DEBUG);
		assert_int_equal(w->c->icount, k);
	}
	w->c->wishes = &stop;
	for (unsigned k = 2; k < 6; k++) {
		assert_int_equal(engine_interp.run(w->c, 0), EXIT_DEBUG);
		assert_int_equal(w->c->r[R_RIP], W_CODE + 7);
		assert_int_equal(w->c->r[RAX], k);
	}
	w->c->wishes = NULL;
	run_to_halt(w);
	assert_int_equal(w->c->r[RAX], 1000);
	world_free(w);
}

static void test_arbiter(void **state)
{
	struct err e;

	(void)state;
	assert_ptr_equal(arbiter_choose("interp", &e), &engine_interp);
	assert_non_null(arbiter_choose("auto", &e));
	assert_non_null(arbiter_choose(NULL, &e));
	assert_null(arbiter_choose("vax", &e));
	assert_non_null(strstr(e.text, "vax"));
	assert_non_null(strstr(e.text, "interp"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_budget_is_exact),
		cmocka_unit_test(test_kick_is_sticky),
		cmocka_unit_test(test_modifies_next),
		cmocka_unit_test(test_modifies_itself_in_loop),
		cmocka_unit_test(test_data_beside_code),
		cmocka_unit_test(test_foreign_write),
		cmocka_unit_test(test_write_by_other_thread),
		cmocka_unit_test(test_crosses_page),
		cmocka_unit_test(test_crosses_into_hole),
		cmocka_unit_test(test_remap),
		cmocka_unit_test(test_cache_fills_up),
		cmocka_unit_test(test_real_mode_limit),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_sti_shadow),
		cmocka_unit_test(test_masked_interrupt),
		cmocka_unit_test(test_single_step),
		cmocka_unit_test(test_debug_register_breakpoint),
		cmocka_unit_test(test_fault_in_block),
		cmocka_unit_test(test_jump_to_the_last_byte),
		cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_rep),
		cmocka_unit_test(test_parts_of_rep),
		cmocka_unit_test(test_wishes),
		cmocka_unit_test(test_arbiter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
