/* SPDX-License-Identifier: Apache-2.0
 * Memory operands: effective address, segment base, and the lookaside of cpu/access.h inline. What misses starts over
 * in the library.
 */
#include "engine/translate/gen.h"

bool gen_can_address(const struct gen *g)
{
	const struct insn *i = g->i;
	s64 disp = (s64)i->disp + g->next + PAGE_SIZE;

	if (i->asz == 2 || (i->base == R_RIP && disp != (s32)disp))
		return false;
	if (gen_long64(g))
		return true;
	return !(g->b->key & (i->seg >= SEG_FS ? BLOCK_KEY_LEGACY : BLOCK_KEY_SEGMENTS)) && i->seg != SEG_CS;
}

struct opnd gen_ea(struct gen *g)
{
	const struct insn *i = g->i;
	struct opnd m = { .base = H_NONE, .index = H_NONE, .scale = i->scale, .disp = i->disp };

	if (i->base == R_RIP) {
		emit_load(&g->e, H_R14, guest_at(R_RIP));
		m.base = H_R14;
		m.disp += (s32)(g->next - g->bias);
	} else if (i->base != R_ZERO) {
		m.base = (u8)gen_read(g, i->base, H_R14);
	}
	if (i->index != R_ZERO)
		m.index = (u8)gen_read(g, i->index, H_R15);
	return m;
}

/* Outside 64-bit mode the block's key does not tell whether FS and GS are flat; user space often has none in GS. */
void gen_segment(struct gen *g)
{
	unsigned s = g->i->seg;
	bool outer = s >= SEG_FS;

	if (!gen_long64(g) && outer) {
		emit_rm(&g->e, 1, 0xf6, 0, CPU(d.seg_check)); /* test byte seg_check, bit */
		emit8(&g->e, 1u << s);
		gen_cold_if(g, CC_NE);
		g->flags = FLAGS_MEM;
	}
	if (outer || (g->b->key & BLOCK_KEY_BASES))
		emit_rm(&g->e, gen_width(g), 0x03, H_R14, cpu_at(offsetof(struct cpu, d.ebase) + 8 * s));
}

void gen_linear(struct gen *g)
{
	emit_rm(&g->e, g->i->asz, 0x8d, H_R14, gen_ea(g));
	gen_segment(g);
}

void gen_probe(struct gen *g, unsigned size, bool write)
{
	struct emit *e = &g->e;
	size_t tag = write ? offsetof(struct tlbe, w) : offsetof(struct tlbe, r);

	if (!gen_opt(g, OPT_TLB))
		gen_cold_if(g, CC_ALWAYS);
	emit_mov(e, H_R15, H_R14);
	emit_rm(e, 8, 0xc1, 5, reg(H_R15)); /* shr r15, 7 */
	emit8(e, PAGE_SHIFT - 5);
	emit_alu_imm(e, 4, ALU_AND, reg(H_R15), (TLB_SIZE - 1) << 5);
	emit_rm(e, 8, 0x03, H_R15, CPU(tlb));
	emit_rm(e, 8, 0x8d, H_RAX, mem(H_R14, (s32)size - 1));
	emit_alu_imm(e, 8, ALU_AND, reg(H_RAX), -(s32)PAGE_SIZE);
	emit_rm(e, 2, 0x0b, H_RAX, CPU(ctx)); /* or ax, ctx */
	emit_rm(e, 8, 0x3b, H_RAX, mem(H_R15, (s32)tag));
	gen_cold_if(g, CC_NE);
	emit_rm(e, 8, 0x03, H_R14, mem(H_R15, offsetof(struct tlbe, add)));
	g->flags = FLAGS_MEM;
}
_Static_assert(sizeof(struct tlbe) == 1 << 5, "the probe shifts by PAGE_SHIFT - 5");
