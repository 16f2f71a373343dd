/* SPDX-License-Identifier: Apache-2.0
 * Vector instructions, copied: the guest's encoding with its vector registers as they are (a guest's XMM5 is the
 * host's), general registers where the host has them, and a memory operand behind the probe at [r14].
 *
 * A masked operand is probed as a whole: where all of it may be accessed, fault suppression has nothing to suppress.
 * What misses, is misaligned or crosses pages is the library's.
 */
#include "cpu/cpuid.h"
#include "cpu/optab.h"
#include "cpu/vec.h"
#include "engine/translate/gen.h"

/* ---- encoding -------------------------------------------------------------------------------------------------------
 */

struct places {
	unsigned reg, rm; /* host register numbers; rm is the base if memory */
	s32 disp;
};

static const u8 pp_bits[] = { [PFX_NONE] = 0, [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3 };

static void put_legacy(struct emit *e, const struct vparse *p, const struct places *at)
{
	static const u8 byte[] = { [PFX_66] = 0x66, [PFX_F3] = 0xf3, [PFX_F2] = 0xf2 };
	unsigned rex = p->w << 3 | (at->reg >> 3 & 1) << 2 | (at->rm >> 3 & 1);

	if (p->pp)
		emit8(e, byte[p->pp]);
	if (rex)
		emit8(e, 0x40 | rex);
	emit8(e, 0x0f);
	if (p->map > 1)
		emit8(e, p->map == 2 ? 0x38 : 0x3a);
}

static void put_vex(struct emit *e, const struct vparse *p, const struct places *at)
{
	emit8(e, 0xc4);
	emit8(e, (~at->reg >> 3 & 1) << 7 | 0x40 | (~at->rm >> 3 & 1) << 5 | p->map);
	emit8(e, p->w << 7 | (~(unsigned)p->vvvv & 15) << 3 | (p->ll & 1) << 2 | pp_bits[p->pp]);
}

static void put_evex(struct emit *e, const struct vparse *p, const struct places *at)
{
	unsigned v = p->vvvv;

	emit8(e, 0x62);
	emit8(e, (~at->reg >> 3 & 1) << 7 | (~at->rm >> 4 & 1) << 6 | (~at->rm >> 3 & 1) << 5 |
		     (~at->reg >> 4 & 1) << 4 | p->map);
	emit8(e, p->w << 7 | (~v & 15) << 3 | 4 | pp_bits[p->pp]);
	emit8(e, p->z << 7 | p->ll << 5 | p->b << 4 | (~v >> 4 & 1) << 3 | p->aaa);
}

/* Non-temporal stores are stores: a guest's SFENCE is not the host's. */
static unsigned plain_opcode(const struct vparse *p)
{
	if (p->map == 1 && p->mem && p->opcode == 0x2b)
		return 0x29;
	if (p->map == 1 && p->mem && p->opcode == 0xe7)
		return 0x7f;
	return p->opcode;
}

static void put_insn(struct emit *e, const struct vparse *p, const struct places *at)
{
	if (p->enc == ENC_LEGACY)
		put_legacy(e, p, at);
	else if (p->enc == ENC_VEX)
		put_vex(e, p, at);
	else
		put_evex(e, p, at);
	emit8(e, plain_opcode(p));
	emit8(e, (p->mem ? at->disp ? 0x80 : 0 : 0xc0) | (at->reg & 7) << 3 | (at->rm & 7));
	if (p->mem && at->disp)
		emit_bytes(e, (u32)at->disp, 4);
	for (unsigned k = 0; k < p->nimm; k++)
		emit8(e, p->imm[k]);
}

/* ---- what can be done
 * ------------------------------------------------------------------------------------------------
 */

static bool place_is_right(u8 kind, unsigned n)
{
	return n < 8 || kind == OPK_XMM || (kind == OPK_GPR && n < 16);
}

static bool can_copy(const struct gen *g, const struct vparse *p, const struct vop *v)
{
	if ((v->exec != exec_vec_reg && v->exec != exec_vec_mem) || p->map < 1 || p->map > 3 || v->gpr_implied)
		return false;
	if (!vec_has(g->t->in.cpu, v->feature) || v->gate == GATE_NONE)
		return false;
	if (p->mem && (!v->mem_size || !gen_can_address(g)))
		return false;
	if (p->mem && p->enc == ENC_LEGACY && v->mmx && p->opcode == 0xe7) /* MOVNTQ */
		return false;
	if (v->mmx && !gen_opt(g, OPT_X87))
		return false;
	return place_is_right(v->reg_kind, p->reg) && (p->mem || place_is_right(v->rm_kind, p->rm)) &&
	       place_is_right(v->vvvv_kind, p->vvvv);
}

static unsigned needs(const struct vparse *p, const struct vop *v)
{
	static const u8 of_gate[] = { [GATE_SSE] = LIVE_SSE, [GATE_AVX] = LIVE_AVX, [GATE_AVX512] = LIVE_512 };
	unsigned need = v->gate == GATE_MMX ? 0 : of_gate[v->gate];

	if (v->mmx)
		need |= LIVE_X87;
	if (p->enc != ENC_LEGACY)
		need |= LIVE_FULL;
	return need | (v->mxcsr ? LIVE_FP : 0);
}

/* ---- generation
 * --------------------------------------------------------------------------------------------------------
 */

/* A host address is aligned to what its linear address is. */
static void gen_check_alignment(struct gen *g, const struct vop *v)
{
	if (!v->align)
		return;
	if (g->at) {
		emit_rm(&g->e, 8, 0x8d, H_R14, gen_at(g));
		g->at = 0;
	}
	emit_rm(&g->e, 1, 0xf6, 0, reg(H_R14)); /* test r14b, align - 1 */
	emit8(&g->e, v->align - 1u);
	gen_cold_if(g, CC_NE);
	g->flags = FLAGS_MEM;
}

static void gen_vector_operand(struct gen *g, const struct vop *v)
{
	if (gen_shared(g, PLACE_EXPLICIT, v->mem_size, v->mem_written)) {
		if (v->align)
			gen_flags_save(g);
		gen_check_alignment(g, v);
		return;
	}
	gen_flags_save(g);
	gen_linear(g);
	g->at = 0;
	gen_check_alignment(g, v);
	gen_probe_place(g, PLACE_EXPLICIT, v->mem_size, v->mem_written);
}

static unsigned host_place(struct gen *g, u8 kind, unsigned n, unsigned temp)
{
	return kind == OPK_GPR ? gen_read(g, n, temp) : n;
}

static void write_back(struct gen *g, u8 kind, bool written, unsigned n, unsigned at)
{
	if (kind == OPK_GPR && written && host_of[n] == SLOT)
		emit_store(&g->e, guest_at(n), at);
}

static void gen_copy(struct gen *g, const struct vparse *p, const struct vop *v)
{
	struct places at = { .rm = H_R14 };

	gen_live(g, needs(p, v));
	if (p->mem)
		gen_vector_operand(g, v);
	at.disp = g->at;
	at.reg = host_place(g, v->reg_kind, p->reg, H_R15);
	if (!p->mem)
		at.rm = host_place(g, v->rm_kind, p->rm, H_R14);
	put_insn(&g->e, p, &at);
	g->e.r14 += !p->mem;
	write_back(g, v->reg_kind, v->gpr_reg_written, p->reg, at.reg);
	if (!p->mem)
		write_back(g, v->rm_kind, v->gpr_rm_written, p->rm, at.rm);
	if (v->writes_flags)
		g->flags = FLAGS_HOST;
}

/* VZEROUPPER and VZEROALL, which outside 64-bit mode leave registers 8 to 15 alone; EMMS. */
static bool gen_77(struct gen *g)
{
	const struct insn *i = g->i;
	bool vex = i->flags & INSN_VEX;

	if (i->opcode != 0x77 || (i->map != MAP_0F && i->map != MAP_VEX_0F) || i->exec == exec_ud || i->pfx != PFX_NONE)
		return false;
	if (vex ? !gen_long64(g) || !cpu_has(g->t->in.cpu, FEAT_AVX)
		: !gen_opt(g, OPT_X87) || !cpu_has(g->t->in.cpu, FEAT_MMX))
		return false;
	gen_live(g, vex ? LIVE_AVX | LIVE_FULL : LIVE_X87);
	for (unsigned k = 0; k < i->len; k++)
		emit8(&g->e, i->raw[k]);
	return true;
}

bool gen_vector(struct gen *g)
{
	struct vparse p;
	const struct vop *v;

	if (g->i->map == MAP_1)
		return false;
	if (gen_77(g))
		return true;
	v = vec_describe(g->i, (enum cpu_code)(g->b->key & 3), &p);
	if (!v || !can_copy(g, &p, v))
		return false;
	gen_copy(g, &p, v);
	return true;
}
