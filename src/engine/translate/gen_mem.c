/* SPDX-License-Identifier: Apache-2.0
 * Memory operands: effective address, segment base, and the lookaside of cpu/access.h inline. What misses starts over
 * in the library.
 */
#include "cpu/optab.h"
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
		if (g->flags != FLAGS_NONE)
			g->flags = FLAGS_MEM;
	}
	if (outer || (g->b->key & BLOCK_KEY_BASES))
		emit_rm(&g->e, gen_width(g), 0x03, H_R14, cpu_at(offsetof(struct cpu, d.ebase) + 8 * s));
}

void gen_linear(struct gen *g)
{
	const struct insn *i = g->i;
	struct opnd ea = gen_ea(g);

	if (i->asz != 8 || ea.index != H_NONE || ea.disp || ea.base == H_NONE)
		emit_rm(&g->e, i->asz, 0x8d, H_R14, ea);
	else if (ea.base != H_R14)
		emit_mov(&g->e, H_R14, ea.base);
	gen_segment(g);
}

void gen_linear_implied(struct gen *g, unsigned r, s32 d)
{
	if (d)
		emit_rm(&g->e, gen_width(g), 0x8d, H_R14, mem(host_of[r], d));
	else
		emit_rm(&g->e, gen_width(g), 0x8b, H_R14, reg(host_of[r]));
}

/* ---- the soft TLB -------------------------------------------------------------------------------------------------
 */

void gen_tlb_compare(struct gen *g, unsigned below, unsigned beyond, bool write)
{
	struct emit *e = &g->e;
	size_t tag = write ? offsetof(struct tlbe, w) : offsetof(struct tlbe, r);

	if (below)
		emit_rm(e, 8, 0x8d, H_R15, mem(H_R14, -(s32)below));
	else
		emit_mov(e, H_R15, H_R14);
	emit_rm(e, 8, 0xc1, 5, reg(H_R15)); /* shr r15, 7 */
	emit8(e, PAGE_SHIFT - 5);
	emit_alu_imm(e, 4, ALU_AND, reg(H_R15), (TLB_SIZE - 1) << 5);
	emit_rm(e, 8, 0x03, H_R15, CPU(tlb));
	if (beyond)
		emit_rm(e, 8, 0x8d, H_RAX, mem(H_R14, (s32)beyond));
	else
		emit_mov(e, H_RAX, H_R14);
	emit_alu_imm(e, 8, ALU_AND, reg(H_RAX), -(s32)PAGE_SIZE);
	emit_rm(e, 2, 0x0b, H_RAX, CPU(ctx)); /* or ax, ctx */
	emit_rm(e, 8, 0x3b, H_RAX, mem(H_R15, (s32)tag));
}
_Static_assert(sizeof(struct tlbe) == 1 << 5, "the probe shifts by PAGE_SHIFT - 5");

static struct cold *gen_probe_range(struct gen *g, const struct range *r)
{
	struct emit *e = &g->e;
	struct cold *c;

	if (!gen_opt(g, OPT_TLB))
		gen_cold_if(g, CC_ALWAYS);
	gen_tlb_compare(g, r->below, r->beyond, r->write);
	gen_cold_if(g, CC_NE);
	c = &g->cold[g->n_cold - 1];
	if (gen_opt(g, OPT_REFILL)) {
		c->refill = r->write ? 2 : 1;
		c->probed = e->p;
	}
	emit_rm(e, 8, 0x03, H_R14, mem(H_R15, offsetof(struct tlbe, add)));
	g->at = 0;
	if (g->flags != FLAGS_NONE)
		g->flags = FLAGS_MEM;
	return c;
}

void gen_probe(struct gen *g, unsigned size, bool write)
{
	gen_probe_range(g, &(struct range){ .beyond = size - 1, .write = write });
}

void gen_probe_place(struct gen *g, unsigned which, unsigned size, bool write)
{
	struct range r;
	struct cold *c;

	if (!gen_share_range(g, which, size, write, &r)) {
		gen_probe(g, size, write);
		return;
	}
	c = gen_probe_range(g, &r);
	c->wide = true;
	c->upgrade = r.write && !write;
	c->live = (u8)g->live;
	gen_share_keep(g, which, &r);
}

void gen_operand(struct gen *g, unsigned size, bool write)
{
	if (gen_shared(g, PLACE_EXPLICIT, size, write))
		return;
	gen_flags_lose(g);
	gen_linear(g);
	gen_probe_place(g, PLACE_EXPLICIT, size, write);
}

void gen_operand_at_r14(struct gen *g, unsigned size, bool write)
{
	gen_operand(g, size, write);
	if (g->at)
		emit_rm(&g->e, 8, 0x8d, H_R14, gen_at(g));
	g->at = 0;
}
