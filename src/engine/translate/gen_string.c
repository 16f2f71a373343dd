/* SPDX-License-Identifier: Apache-2.0
 * REP MOVS and REP STOS in 64-bit mode, upwards, inside one page of memory on each side: the host's own instruction on
 * the host's addresses, which has the order of elements and the overlaps of the guest's. Kernels clear and copy pages
 * and small buffers so. All else, a count of 0 too, is the library's, before anything is changed.
 */
#include "cpu/optab.h"
#include "engine/translate/gen.h"

/* The elements from r on leave the page: to the library. RAX is lost. */
static void gen_inside(struct gen *g, unsigned r, unsigned shift)
{
	struct emit *e = &g->e;
	struct opnd end = { .base = (u8)r, .index = H_RCX, .scale = (u8)shift, .disp = -1 };

	emit_rm(e, 8, 0x8d, H_RAX, end);
	emit_rm(e, 8, 0x33, H_RAX, reg(r));
	emit_rm(e, 8, 0xf7, 0, reg(H_RAX)); /* test rax, ~(PAGE_SIZE - 1) */
	emit_bytes(e, (u32)-PAGE_SIZE, 4);
	gen_cold_if(g, CC_NE);
}

/* Upwards, at least one element, at most a page. Flags are saved. */
static void gen_countable(struct gen *g, unsigned shift)
{
	struct emit *e = &g->e;

	gen_flags_save(g);
	emit_rm(e, 4, 0xf7, 0, CPU(rflags)); /* test rflags, DF */
	emit_bytes(e, FLAG_DF, 4);
	gen_cold_if(g, CC_NE);
	g->flags = FLAGS_MEM;
	emit_rm(e, 8, 0x8d, H_RAX, mem(H_RCX, -1));
	emit_alu_imm(e, 8, ALU_CMP, reg(H_RAX), (s32)(PAGE_SIZE >> shift));
	gen_cold_if(g, CC_AE);
}

static void emit_rep(struct emit *e, unsigned opcode, unsigned size)
{
	emit8(e, 0xf3);
	if (size == 2)
		emit8(e, 0x66);
	if (size == 8)
		emit8(e, 0x48);
	emit8(e, opcode - (size == 1));
}

/* RDI is the host's end, R14 its begin: RDI is the guest's again, which was R15. */
static void gen_stos(struct gen *g, unsigned size)
{
	struct emit *e = &g->e;

	emit_mov(e, H_R14, H_RDI);
	gen_probe(g, 1, true);
	emit_mov(e, H_R15, H_RDI);
	emit_mov(e, H_RDI, H_R14);
	emit_mov(e, H_RAX, host_of[RAX]);
	emit_rep(e, 0xab, size);
	emit_rm(e, 8, 0x2b, H_RDI, reg(H_R14));
	emit_rm(e, 8, 0x03, H_RDI, reg(H_R15));
}

static void gen_movs(struct gen *g, unsigned size)
{
	struct emit *e = &g->e;

	emit_mov(e, H_R14, H_RSI);
	gen_probe(g, 1, false);
	emit_store(e, mem(H_RSP, FRAME_TEMP), H_R14);
	emit_mov(e, H_R14, H_RDI);
	gen_probe(g, 1, true);
	emit_mov(e, H_R15, H_RSI);
	emit_mov(e, H_RAX, H_RDI);
	emit_load(e, H_RSI, mem(H_RSP, FRAME_TEMP));
	emit_mov(e, H_RDI, H_R14);
	emit_rep(e, 0xa5, size);
	emit_rm(e, 8, 0x2b, H_RDI, reg(H_R14)); /* the bytes */
	emit_rm(e, 8, 0x8d, H_RSI, (struct opnd){ .base = H_R15, .index = H_RDI });
	emit_rm(e, 8, 0x03, H_RDI, reg(H_RAX));
}

bool gen_string(struct gen *g)
{
	const struct insn *i = g->i;
	bool stos = (i->opcode & 0xfe) == 0xaa;
	unsigned size = i->opcode & 1 ? i->osz : 1, shift = (unsigned)__builtin_ctz(size);

	if (i->map != MAP_1 || !(stos || (i->opcode & 0xfe) == 0xa4) || !gen_long64(g) || i->asz != 8 ||
	    !(i->flags & INSN_REP) || (i->flags & (INSN_LOCK | INSN_END)) || i->seg >= SEG_FS)
		return false;
	gen_countable(g, shift);
	gen_inside(g, H_RDI, shift);
	if (stos) {
		gen_stos(g, size);
	} else {
		gen_inside(g, H_RSI, shift);
		gen_movs(g, size);
	}
	gen_share_drop(g);
	return true;
}
_Static_assert(PAGE_SIZE == 4096, "a page of bytes is 4096 elements, the greatest count");
