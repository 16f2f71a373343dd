/* SPDX-License-Identifier: Apache-2.0
 * Division, where it cannot fault, and the system instructions that kernels are full of: CLI, PUSHF, MOV from segment
 * registers. What the quick test does not vouch for is the library's.
 */
#include "cpu/optab.h"
#include "engine/translate/gen.h"

enum { CC_BE = 6 };

/* The quotient fits if the upper half is less than the divisor. */
static void gen_div_check(struct gen *g, struct opnd by)
{
	emit_rm(&g->e, g->i->osz, 0x3b, host_of[RDX], by);
	gen_cold_if(g, CC_AE);
}

/* ... or if the upper half only extends the lower one's sign and the divisor is neither 0 nor -1. */
static void gen_idiv_check(struct gen *g, struct opnd by)
{
	unsigned size = g->i->osz;

	emit_rm(&g->e, size, 0x8b, H_RAX, reg(host_of[RAX]));
	emit_rm(&g->e, size, 0xc1, 7, reg(H_RAX)); /* sar rax, 63 */
	emit8(&g->e, size * 8 - 1);
	emit_rm(&g->e, size, 0x3b, host_of[RDX], reg(H_RAX));
	gen_cold_if(g, CC_NE);
	emit_rm(&g->e, size, 0x8b, H_RAX, by);
	emit_alu_imm(&g->e, size, ALU_ADD, reg(H_RAX), 1);
	emit_alu_imm(&g->e, size, ALU_CMP, reg(H_RAX), 1);
	gen_cold_if(g, CC_BE);
}

static bool gen_division(struct gen *g)
{
	const struct insn *i = g->i;
	unsigned ext = i->modrm >> 3 & 7;
	struct opnd by = mem(H_R14, 0);

	if (i->osz < 4 || ((i->flags & INSN_MEM) && !gen_can_address(g)))
		return false;
	gen_flags_save(g);
	if (i->flags & INSN_MEM) {
		gen_operand_at_r14(g, i->osz, false);
	} else {
		by = reg(gen_read(g, i->rm, H_R14));
	}
	if (ext == 6)
		gen_div_check(g, by);
	else
		gen_idiv_check(g, by);
	g->flags = FLAGS_MEM;
	gen_flags_load(g);
	emit_mov(&g->e, H_RAX, host_of[RAX]);
	emit_rm(&g->e, i->osz, 0xf7, ext, by);
	emit_mov(&g->e, host_of[RAX], H_RAX);
	g->flags = FLAGS_HOST;
	return true;
}

static bool gen_cli(struct gen *g)
{
	gen_flags_save(g);
	emit_rm(&g->e, 1, 0x80, ALU_CMP, CPU(d.cpl));
	emit8(&g->e, 0);
	gen_cold_if(g, CC_NE);
	emit_rm(&g->e, 4, 0x81, ALU_AND, CPU(rflags));
	emit_bytes(&g->e, ~(u32)FLAG_IF, 4);
	g->flags = FLAGS_MEM;
	return true;
}

/* R15 = RFLAGS as cpu_rflags() puts it together, without VM and RF. */
static void gen_rflags(struct gen *g)
{
	struct emit *e = &g->e;

	emit_rm(e, 4, 0x0fb6, H_R15, cpu_at(offsetof(struct cpu, aflags) + 1));
	emit_rm(e, 4, 0x0fb6, H_RAX, CPU(aflags));
	emit_rm(e, 4, 0x81, ALU_AND, reg(H_R15));
	emit_bytes(e, 0xd5, 4);
	emit_alu_imm(e, 4, ALU_AND, reg(H_RAX), AF_OF);
	emit_rm(e, 4, 0xc1, 4, reg(H_RAX)); /* shl eax, 11 */
	emit8(e, 11);
	emit_rm(e, 4, 0x0b, H_R15, reg(H_RAX));
	emit_rm(e, 4, 0x0b, H_R15, CPU(rflags));
	emit_rm(e, 4, 0x81, ALU_AND, reg(H_R15));
	emit_bytes(e, ~(u32)(FLAG_VM | FLAG_RF), 4);
}

static bool gen_pushf(struct gen *g)
{
	s32 word = (s32)gen_width(g);

	if (g->i->osz != gen_width(g))
		return false;
	gen_flags_save(g);
	gen_stack_probe(g, -word, true);
	gen_rflags(g);
	emit_rm(&g->e, gen_width(g), 0x89, H_R15, gen_at(g));
	gen_add_rsp(g, -word);
	return true;
}

/* MOV r, segment register. */
static bool gen_from_segment(struct gen *g)
{
	const struct insn *i = g->i;
	unsigned n = i->modrm >> 3 & 7, to = host_of[i->rm] == SLOT ? H_R14 : host_of[i->rm];

	struct opnd sel = cpu_at(offsetof(struct cpu, seg) + n * sizeof(struct seg) + offsetof(struct seg, sel));

	if ((i->flags & INSN_MEM) || n >= NR_SEGS)
		return false;
	if (i->osz == 2)
		emit_rm(&g->e, 2, 0x8b, to, sel);
	else
		emit_rm(&g->e, 4, 0x0fb7, to, sel);
	if (to == H_R14)
		emit_rm(&g->e, i->osz == 2 ? 2 : 8, 0x89, H_R14, guest_at(i->rm));
	return true;
}

bool gen_misc(struct gen *g)
{
	const struct insn *i = g->i;

	if (i->map != MAP_1 || !gen_flat(g) || (i->flags & INSN_LOCK))
		return false;
	switch (i->opcode) {
	case 0x8c:
		return gen_from_segment(g);
	case 0x9c:
		return gen_pushf(g);
	case 0xf7:
		return (i->modrm & 0x30) == 0x30 && gen_division(g);
	case 0xfa:
		return gen_cli(g);
	default:
		return false;
	}
}
