/* SPDX-License-Identifier: Apache-2.0
 * x87 instructions, copied, on the host's x87 with the guest's state in it (gen_vec_live.c: LIVE_X87).
 *
 * The pointers (FIP, FDP, FOP) are the guest's and kept in struct cpu. FDP is stored by each instruction that has one;
 * FIP and FOP once, before whatever could see them: the block's end, a call of the library, a path out (gen.x87).
 */
#include "cpu/cpuid.h"
#include "cpu/optab.h"
#include "cpu/vec.h"
#include "engine/translate/gen.h"

void gen_x87_pointers(struct gen *g, const struct x87_last *last, unsigned bias)
{
	struct emit *e = &g->e;

	if (!last->any)
		return;
	emit_load(e, H_RAX, guest_at(R_RIP));
	emit_rm(e, gen_long64(g) ? 8 : 4, 0x8d, H_RAX, mem(H_RAX, (s32)(last->off - bias)));
	emit_store(e, CPU(x87.fip), H_RAX);
	emit_rm(e, 4, 0x0fb7, H_RAX, CPU(seg[SEG_CS].sel));
	emit_rm(e, 2, 0x89, H_RAX, CPU(x87.fcs));
	emit_rm(e, 2, 0xc7, 0, CPU(x87.fop));
	emit_bytes(e, last->fop, 2);
}

void gen_x87_flush(struct gen *g)
{
	gen_x87_pointers(g, &g->x87, g->bias);
	g->x87.any = false;
}

/* R14 = host address; the effective address stays in the frame. */
static void gen_x87_operand(struct gen *g, unsigned size, bool write)
{
	gen_flags_save(g);
	emit_rm(&g->e, g->i->asz, 0x8d, H_R14, gen_ea(g));
	emit_store(&g->e, mem(H_RSP, FRAME_TEMP), H_R14);
	gen_segment(g);
	gen_probe(g, size, write);
}

static void gen_data_pointer(struct gen *g)
{
	emit_load(&g->e, H_RAX, mem(H_RSP, FRAME_TEMP));
	emit_store(&g->e, CPU(x87.fdp), H_RAX);
	emit_rm(&g->e, 4, 0x0fb7, H_RAX, cpu_at(offsetof(struct cpu, seg[0].sel) + g->i->seg * sizeof(struct seg)));
	emit_rm(&g->e, 2, 0x89, H_RAX, CPU(x87.fds));
}

static bool reads_flags(const struct insn *i)
{
	unsigned op = i->opcode & 7;

	return i->modrm >= 0xc0 && (op == 2 || op == 3) && (i->modrm >> 3 & 7) < 4; /* FCMOVcc */
}

static bool writes_flags(const struct insn *i)
{
	unsigned op = i->opcode & 7, n = i->modrm >> 3 & 7;

	return i->modrm >= 0xc0 && (op == 3 || op == 7) && (n == 5 || n == 6); /* F(U)COMI(P) */
}

static bool gen_compute(struct gen *g, const struct vop *v)
{
	const struct insn *i = g->i;
	bool in_memory = i->modrm < 0xc0;

	if (!vec_has(g->t->in.cpu, v->feature) || (in_memory && !gen_can_address(g)))
		return false;
	gen_live(g, LIVE_X87);
	if (in_memory)
		gen_x87_operand(g, v->mem_size, v->mem_written);
	if (reads_flags(i) || writes_flags(i)) /* FCOMI leaves some as they are */
		gen_flags_load(g);
	if (in_memory)
		emit8(&g->e, 0x41);
	emit8(&g->e, i->opcode);
	emit8(&g->e, in_memory ? (i->modrm & 0x38) | (H_R14 & 7) : i->modrm);
	if (in_memory)
		gen_data_pointer(g);
	if (writes_flags(i))
		g->flags = FLAGS_HOST;
	g->x87 = (struct x87_last){ .any = true,
				    .fop = (u16)((i->opcode & 7) << 8 | i->modrm),
				    .off = g->next - i->len };
	return true;
}

/* ---- control words ----------------------------------------------------------------------------------------------- */

/* FLDCW of a word that unmasks something is the library's. The word is read once. */
static void gen_fldcw(struct gen *g)
{
	struct emit *e = &g->e;

	emit_rm(e, 4, 0x0fb7, H_R15, mem(H_R14, 0)); /* movzx r15d, word [r14] */
	emit_store(e, mem(H_RSP, FRAME_TEMP), H_R15);
	emit_rm(e, 4, 0xf7, 2, reg(H_R15)); /* not r15d */
	emit_rm(e, 4, 0xf7, 0, reg(H_R15)); /* test r15d, 0x3f */
	emit_bytes(e, 0x3f, 4);
	gen_cold_if(g, CC_NE);
	emit_rm(e, 4, 0xd9, 5, mem(H_RSP, FRAME_TEMP));
}

static bool gen_word(struct gen *g)
{
	const struct insn *i = g->i;
	unsigned ext = i->modrm >> 3 & 7;

	if (i->modrm >= 0xc0 || !gen_can_address(g))
		return false;
	if (!(i->opcode == 0xd9 && (ext == 5 || ext == 7)) && !(i->opcode == 0xdd && ext == 7))
		return false;
	gen_live(g, LIVE_X87);
	gen_x87_operand(g, 2, ext == 7);
	if (ext == 5)
		gen_fldcw(g);
	else
		emit_rm(&g->e, 4, i->opcode, 7, mem(H_R14, 0));
	return true;
}

static bool gen_control(struct gen *g)
{
	const struct insn *i = g->i;

	if (!cpu_has(g->t->in.cpu, FEAT_FPU))
		return false;
	if (i->opcode == 0x9b) { /* FWAIT: nothing is pending where x87 is live */
		gen_live(g, LIVE_X87);
		return true;
	}
	if (i->opcode != 0xdf || i->modrm != 0xe0)
		return gen_word(g);
	gen_flags_save(g); /* FNSTSW AX, by way of the host's */
	gen_live(g, LIVE_X87);
	emit8(&g->e, 0xdf);
	emit8(&g->e, 0xe0);
	emit_rm(&g->e, 2, 0x8b, host_of[RAX], reg(H_RAX));
	return true;
}

bool gen_x87(struct gen *g)
{
	const struct insn *i = g->i;
	const struct vop *v;
	struct vparse p;

	if (i->map != MAP_1 || ((i->opcode & 0xf8) != 0xd8 && i->opcode != 0x9b) || i->exec == exec_ud ||
	    i->exec == exec_unimpl)
		return false;
	v = vec_describe(i, (enum cpu_code)(g->b->key & 3), &p);
	return v ? gen_compute(g, v) : gen_control(g);
}
