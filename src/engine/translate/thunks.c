/* SPDX-License-Identifier: Apache-2.0
 * Code that serves all blocks: the way in and out, the call of the library, the search for the next block.
 */
#include <stddef.h>

#include "engine/translate/cross.h"
#include "engine/translate/report.h"
#include "engine/translate/translate.h"
#include "mmu/mmu.h"

const u8 host_of[16] = { [RAX] = H_R13, [RCX] = H_RCX, [RDX] = H_RDX, [RBX] = H_RBX, [RSP] = H_R12, [RBP] = H_RBP,
			 [RSI] = H_RSI, [RDI] = H_RDI, [R8] = SLOT,   [R9] = SLOT,   [R10] = SLOT,  [R11] = SLOT,
			 [R12] = H_R9,	[R13] = H_R10, [R14] = H_R8,  [R15] = H_R11 };

static const u8 saved[] = { H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15 };

#define CPU(field) cpu_at(offsetof(struct cpu, field))

static struct opnd guest(unsigned r)
{
	return cpu_at(offsetof(struct cpu, r) + 8 * r);
}

void thunks_guest_registers(struct emit *e, bool load)
{
	for (unsigned r = 0; r < 16; r++)
		if (host_of[r] != SLOT)
			emit_rm(e, 8, load ? 0x8b : 0x89, host_of[r], guest(r));
}

static void push(struct emit *e, unsigned r, bool pop)
{
	if (r & 8)
		emit8(e, 0x41);
	emit8(e, (pop ? 0x58 : 0x50) | (r & 7));
}

/* enter_fn: RDI code, RSI cpu, RDX stop, RCX wanted, R8 recent. */
static void make_enter(struct emit *e)
{
	for (unsigned k = 0; k < ARRAY_SIZE(saved); k++)
		push(e, saved[k], false);
	emit_alu_imm(e, 8, ALU_SUB, reg(H_RSP), FRAME_SIZE);
	emit_store(e, mem(H_RSP, FRAME_CPU), H_RSI);
	emit_store(e, mem(H_RSP, FRAME_STOP), H_RDX);
	emit_store(e, mem(H_RSP, FRAME_WANTED), H_RCX);
	emit_store(e, mem(H_RSP, FRAME_RECENT), H_R8);
	emit_mov(e, H_R14, H_RDI);
	thunks_guest_registers(e, true);
	emit_rm(e, 4, 0xff, 4, reg(H_R14)); /* jmp r14 */
}
_Static_assert((8 + 6 * 8 + FRAME_SIZE) % 16 == 0, "calls from translated code are aligned");

/* Back to the caller of enter with RAX and RDX, registers already stored. */
static void make_return(struct emit *e)
{
	emit_alu_imm(e, 8, ALU_ADD, reg(H_RSP), FRAME_SIZE);
	for (unsigned k = ARRAY_SIZE(saved); k--;)
		push(e, saved[k], true);
	emit8(e, 0xc3);
}

/* RAX and RDX are a struct left: on to its code, or back to the caller of enter. */
static void make_go_or_return(struct emit *e)
{
	u8 *go;

	emit_alu_imm(e, 4, ALU_CMP, reg(H_RAX), LEAVE_GO);
	go = emit_forward(e, CC_E);
	make_return(e);
	emit_patch(go, e->p);
	emit_mov(e, H_R14, H_RDX);
	thunks_guest_registers(e, true);
	emit_rm(e, 4, 0xff, 4, reg(H_R14)); /* jmp r14 */
}

/* Called with R14 = instruction | number; returns if it retired and the block goes on, goes to where the next block is
 * entered, or leaves. */
static u8 *make_hand_over(struct translate *t, struct emit *e, cross_fn *fn)
{
	u8 *out, *at = e->p;

	thunks_guest_registers(e, false);
	emit_alu_imm(e, 8, ALU_SUB, reg(H_RSP), 8);
	thunks_unlive(t, e);
	emit_load(e, H_RDI, mem(H_RSP, 16 + FRAME_CPU));
	emit_mov(e, H_RSI, H_R14);
	emit_mov_imm(e, H_RAX, (u64)(uintptr_t)fn);
	emit_rm(e, 4, 0xff, 2, reg(H_RAX)); /* call rax */
	emit_alu_imm(e, 8, ALU_ADD, reg(H_RSP), 8);
	emit_rm(e, 4, 0x85, H_RAX, reg(H_RAX)); /* test eax, eax */
	out = emit_forward(e, CC_NE);
	thunks_guest_registers(e, true);
	emit8(e, 0xc3);
	emit_patch(out, e->p);
	emit_alu_imm(e, 8, ALU_ADD, reg(H_RSP), 8); /* the return address */
	make_go_or_return(e);
	return at;
}

/* Jumped to at an instruction that is in no block. */
static void make_step(struct translate *t, struct emit *e)
{
	t->step = e->p;
	thunks_guest_registers(e, false);
	thunks_unlive(t, e);
	emit_load(e, H_RDI, mem(H_RSP, FRAME_CPU));
	emit_mov_imm(e, H_RAX, (u64)(uintptr_t)step_over);
	emit_rm(e, 4, 0xff, 2, reg(H_RAX)); /* call rax */
	make_go_or_return(e);
}

static void make_leave(struct translate *t, struct emit *e)
{
	t->leave = e->p;
	thunks_guest_registers(e, false);
	emit_mov(e, H_R15, H_RAX);
	thunks_unlive(t, e);
	emit_mov(e, H_RAX, H_R15);
	emit_mov(e, H_RDX, H_R14);
	make_return(e);
}

/* Those of the guest's registers that are in host registers which C code may change. */
static void caller_saved(struct emit *e, bool load)
{
	const u32 clobbered = 1u << H_RCX | 1u << H_RDX | 1u << H_RSI | 1u << H_RDI | 0xfu << H_R8;

	for (unsigned r = 0; r < 16; r++)
		if (host_of[r] != SLOT && (clobbered >> host_of[r] & 1))
			emit_rm(e, 8, load ? 0x8b : 0x89, host_of[r], guest(r));
}

/* Called where a probe missed, with R14 the address, R15 the slot of the first byte probed, RAX the tag that the last
 * one should have. ZF: now it has. What is probed across pages never does. */
static u8 *make_refill(struct emit *e, bool write)
{
	size_t tag = write ? offsetof(struct tlbe, w) : offsetof(struct tlbe, r);
	u8 *at = e->p, *across, *below;

	emit_store(e, guest(RDI), H_RDI);
	emit_mov(e, H_RDI, H_RAX);
	emit_rm(e, 8, 0x33, H_RDI, reg(H_R14));
	emit_rm(e, 8, 0xc1, 5, reg(H_RDI)); /* shr rdi, 12 */
	emit8(e, PAGE_SHIFT);
	across = emit_forward(e, CC_NE);
	emit_mov(e, H_RDI, H_R14);
	emit_rm(e, 8, 0xc1, 5, reg(H_RDI)); /* shr rdi, 7 */
	emit8(e, PAGE_SHIFT - 5);
	emit_alu_imm(e, 4, ALU_AND, reg(H_RDI), (TLB_SIZE - 1) << 5);
	emit_rm(e, 8, 0x03, H_RDI, CPU(tlb));
	emit_rm(e, 8, 0x3b, H_RDI, reg(H_R15));
	below = emit_forward(e, CC_NE);
	emit_load(e, H_RDI, guest(RDI));
	caller_saved(e, false);
	push(e, H_RAX, false);
	emit_load(e, H_RDI, mem(H_RSP, 16 + FRAME_CPU));
	emit_mov(e, H_RSI, H_R14);
	emit_mov_imm(e, H_RDX, write);
	emit_mov_imm(e, H_RAX, (u64)(uintptr_t)mmu_refill);
	emit_rm(e, 4, 0xff, 2, reg(H_RAX)); /* call rax */
	push(e, H_RAX, true);
	caller_saved(e, true);
	emit_rm(e, 8, 0x3b, H_RAX, mem(H_R15, (s32)tag));
	emit8(e, 0xc3);
	emit_patch(across, e->p);
	emit_patch(below, e->p);
	emit_load(e, H_RDI, guest(RDI));
	emit8(e, 0xc3);
	return at;
}

/* Leaves with a fixed reason. */
static void make_leave_for(struct translate *t, struct emit *e, enum leave why)
{
	emit_mov_imm(e, H_RAX, why);
	emit_jump(e, CC_ALWAYS, t->leave);
}

/* R14, a linear address, to R15, its entry among the fetched pages; jumps to *miss if it has none. */
static void make_fetch_probe(struct emit *e, u8 **miss)
{
	emit_mov(e, H_R15, H_R14);
	emit_rm(e, 8, 0xc1, 5, reg(H_R15)); /* shr r15, 12 */
	emit8(e, PAGE_SHIFT);
	emit_alu_imm(e, 4, ALU_AND, reg(H_R15), FETCH_SIZE - 1);
	emit_rm(e, 8, 0x8d, H_R15, (struct opnd){ .base = H_R15, .index = H_R15, .scale = 1 });
	emit_load(e, H_RAX, CPU(mmu));
	emit_load(e, H_RAX, mem(H_RAX, offsetof(struct mmu_hot, fetch)));
	emit_rm(e, 8, 0x8d, H_R15, (struct opnd){ .base = H_RAX, .index = H_R15, .scale = 3 });
	emit_mov(e, H_RAX, H_R14);
	emit_alu_imm(e, 8, ALU_AND, reg(H_RAX), -(s32)PAGE_SIZE);
	emit_rm(e, 2, 0x0b, H_RAX, CPU(fetch_ctx)); /* or ax, fetch_ctx */
	emit_rm(e, 8, 0x3b, H_RAX, mem(H_R15, offsetof(struct fetch_tlbe, tag)));
	*miss = emit_forward(e, CC_NE);
}
_Static_assert(sizeof(struct fetch_tlbe) == 24, "the probe multiplies by 3 and 8");

/* A field of the recent jump R14. */
static struct opnd jump_at(const struct translate *t, size_t field)
{
	return mem(H_R14, (s32)((uintptr_t)t->low->jump + field));
}

/* R15, an address in flat code, to R14, its entry among the recent jumps, and RAX, the salt it has there. */
static void make_jump_slot(struct emit *e, bool long64)
{
	emit_rm(e, 4, 0x69, H_R14, reg(H_R15)); /* imul r14d, r15d, JUMP_HASH */
	emit_bytes(e, JUMP_HASH, 4);
	emit_rm(e, 4, 0xc1, 5, reg(H_R14)); /* shr r14d, 32 - JUMP_BITS - 5 */
	emit8(e, 32 - JUMP_BITS - 5);
	emit_alu_imm(e, 4, ALU_AND, reg(H_R14), (s32)((JUMPS - 1) << 5));
	emit_load(e, H_RAX, CPU(salt));
	if (long64)
		return;
	emit_rm(e, 8, 0x0fba, 5, reg(H_RAX)); /* bts rax, JUMP_32 */
	emit8(e, JUMP_32);
}
_Static_assert(sizeof(struct jump) == 32, "a slot is its number shifted by 5");

void thunks_jump_find(struct translate *t, struct emit *e, bool long64, u8 *miss[2])
{
	make_jump_slot(e, long64);
	emit_rm(e, 8, 0x3b, H_R15, jump_at(t, offsetof(struct jump, lin)));
	miss[0] = emit_forward(e, CC_NE);
	emit_rm(e, 8, 0x3b, H_RAX, jump_at(t, offsetof(struct jump, salt)));
	miss[1] = emit_forward(e, CC_NE);
}

void thunks_jump_take(struct translate *t, struct emit *e)
{
	emit_alu_imm(e, 8, ALU_AND, reg(H_R15), -(s32)PAGE_SIZE);
	emit_store(e, guest(R_RIP), H_R15);
	emit_rm(e, 4, 0xff, 4, jump_at(t, offsetof(struct jump, code))); /* jmp [code] */
}

void thunks_jump(struct translate *t, struct emit *e, bool long64)
{
	u8 *miss[2];

	thunks_jump_find(t, e, long64, miss);
	thunks_jump_take(t, e);
	for (unsigned n = 0; n < 2; n++)
		emit_patch(miss[n], long64 ? t->jump : t->jump32);
}

/* As links_note_jump() for the block R15, whose key is in RAX, at r[R_RIP], and on to its code; *miss if it has none.
 * In 32-bit code that is not flat nothing happens. */
static void make_note_jump(struct translate *t, struct emit *e, bool long64, u8 **miss)
{
	u8 *not = NULL;

	if (!long64) {
		emit_alu_imm(e, 4, ALU_CMP, reg(H_RAX), CODE32);
		not = emit_forward(e, CC_NE);
	}
	emit_load(e, H_RAX, mem(H_R15, offsetof(struct block, code)));
	emit_mov_imm(e, H_R15, (u64)(uintptr_t)code_rx(t, t->missing));
	emit_rm(e, 8, 0x3b, H_RAX, reg(H_R15));
	*miss = emit_forward(e, CC_E);
	emit_store(e, mem(H_RSP, FRAME_TEMP), H_RAX);
	emit_load(e, H_R15, guest(R_RIP));
	make_jump_slot(e, long64);
	emit_store(e, jump_at(t, offsetof(struct jump, lin)), H_R15);
	emit_store(e, jump_at(t, offsetof(struct jump, salt)), H_RAX);
	emit_load(e, H_RAX, mem(H_RSP, FRAME_TEMP));
	emit_store(e, jump_at(t, offsetof(struct jump, code)), H_RAX);
	emit_mov(e, H_RAX, H_R15);
	emit_rm(e, 8, 0xc1, 5, reg(H_RAX)); /* shr rax, 12 */
	emit8(e, PAGE_SHIFT);
	emit_alu_imm(e, 4, ALU_AND, reg(H_RAX), JUMP_PAGES - 1);
	emit_rm(e, 1, 0xc6, 0, mem(H_RAX, (s32)(uintptr_t)t->low->page)); /* mov byte [rax + page], 1 */
	emit8(e, 1);
	emit_rm(e, 1, 0xc6, 0, mem(H_NONE, (s32)(uintptr_t)&t->low->any));
	emit8(e, 1);
	thunks_jump_take(t, e);
	if (not )
		emit_patch(not, e->p);
}

/* The block at r[R_RIP], by the path that build_find() tries first. */
static void make_lookup(struct translate *t, struct emit *e, bool legacy)
{
	u8 *miss[7];
	unsigned n = 0;

	emit_load(e, H_R14, guest(R_RIP));
	if (legacy) { /* close to the end of 4 GiB, limits decide */
		emit_rm(e, 8, 0x8d, H_R15, mem(H_R14, PAGE_SIZE));
		emit_rm(e, 8, 0xc1, 5, reg(H_R15));
		emit8(e, 32);
		miss[n++] = emit_forward(e, CC_NE);
	}
	emit_rm(e, 8, 0x03, H_R14, CPU(d.ebase[SEG_CS]));
	emit_rm(e, 8, 0x23, H_R14, CPU(d.lin_mask));
	make_fetch_probe(e, &miss[n++]);
	emit_alu_imm(e, 4, ALU_AND, reg(H_R14), PAGE_SIZE - 1);
	emit_rm(e, 8, 0x03, H_R14, mem(H_R15, offsetof(struct fetch_tlbe, gpa)));
	emit_mov(e, H_RAX, H_R14);
	emit_rm(e, 8, 0xc1, 5, reg(H_RAX));
	emit8(e, PAGE_SHIFT);
	emit_rm(e, 4, 0x33, H_RAX, reg(H_R14));
	emit_alu_imm(e, 4, ALU_AND, reg(H_RAX), RECENT - 1);
	emit_load(e, H_R15, mem(H_RSP, FRAME_RECENT));
	emit_load(e, H_R15, (struct opnd){ .base = H_R15, .index = H_RAX, .scale = 3 });
	emit_rm(e, 8, 0x85, H_R15, reg(H_R15));
	miss[n++] = emit_forward(e, CC_E);
	emit_rm(e, 8, 0x3b, H_R14, mem(H_R15, offsetof(struct block, gpa)));
	miss[n++] = emit_forward(e, CC_NE);
	emit_rm(e, 4, 0x8b, H_RAX, CPU(d.block_key));
	emit_rm(e, 2, 0x3b, H_RAX, mem(H_R15, offsetof(struct block, key)));
	miss[n++] = emit_forward(e, CC_NE);
	make_note_jump(t, e, !legacy, &miss[n++]);
	emit_alu_imm(e, 4, ALU_AND, reg(H_R14), PAGE_SIZE - 1);
	emit_rm(e, 8, 0x29, H_R14, guest(R_RIP));
	emit_rm(e, 4, 0xff, 4, mem(H_R15, offsetof(struct block, code))); /* jmp [code] */
	while (n)
		emit_patch(miss[--n], t->cold);
}

void thunks_look_closely(struct emit *e, u8 *out[2])
{
	emit_load(e, H_RAX, CPU(icount));
	emit_rm(e, 8, 0x3b, H_RAX, mem(H_RSP, FRAME_STOP));
	out[0] = emit_forward(e, CC_A);
	emit_rm(e, 4, 0x8b, H_RAX, CPU(attention));
	emit_rm(e, 4, 0x85, H_RAX, mem(H_RSP, FRAME_WANTED));
	out[1] = emit_forward(e, CC_NE);
}

void thunks_look(const struct translate *t, struct emit *e, const u8 *out)
{
	u8 *to[2];

	if (t->counting) {
		thunks_look_closely(e, to);
		emit_patch(to[0], out);
		emit_patch(to[1], out);
	} else {
		emit_alu_imm(e, 4, ALU_CMP, CPU(attention), 0);
		emit_jump(e, CC_NE, out);
	}
}

void thunks_measure_look(struct translate *t)
{
	u8 room[64] = { 0 };
	struct emit e = { .p = room };

	thunks_look(t, &e, room);
	t->look = (unsigned)(e.p - room);
}

/* What stands in for the code of a block, in R15, that has none: r[R_RIP] is made whole again. */
static void make_missing(struct translate *t, struct emit *e)
{
	t->missing = e->p;
	emit_load(e, H_R14, mem(H_R15, offsetof(struct block, gpa)));
	emit_alu_imm(e, 4, ALU_AND, reg(H_R14), PAGE_SIZE - 1);
	emit_rm(e, 8, 0x01, H_R14, guest(R_RIP));
	emit_jump(e, CC_ALWAYS, t->cold);
}

void thunks_make(struct translate *t)
{
	struct emit e = { .p = t->rw };

	t->enter = e.p;
	make_enter(&e);
	live_make(t, &e);
	t->hand_over = make_hand_over(t, &e, hand_over);
	for (unsigned n = 0; n < NR_CROSS; n++)
		t->cross[n] = make_hand_over(t, &e, cross_functions[n]);
	make_step(t, &e);
	make_leave(t, &e);
	t->refill[0] = make_refill(&e, false);
	t->refill[1] = make_refill(&e, true);
	t->cold = e.p;
	make_leave_for(t, &e, LEAVE_LOOKUP);
	make_missing(t, &e);
	t->jump = e.p;
	emit_store(&e, guest(R_RIP), H_R15);
	t->lookup = e.p;
	make_lookup(t, &e, false);
	t->jump32 = e.p;
	emit_store(&e, guest(R_RIP), H_R15);
	t->lookup32 = e.p;
	make_lookup(t, &e, true);
	thunks_measure_look(t);
	report_thunk(t->report, "enter", t->enter, t->live_save);
	report_thunk(t->report, "live", t->live_save, t->hand_over);
	report_thunk(t->report, "hand_over", t->hand_over, t->leave);
	report_thunk(t->report, "leave", t->leave, t->lookup);
	report_thunk(t->report, "lookup", t->lookup, e.p);
	t->used_cold = CODE_COLD;
	t->first = t->used = ALIGN_UP((size_t)(e.p - t->rw), (size_t)64);
}
