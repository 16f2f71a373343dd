/* SPDX-License-Identifier: Apache-2.0
 * Bit scans and counts, and the VEX-encoded integer instructions (BMI1, BMI2): the host's own, as the library's are.
 * Whatever the model does not offer is the library's.
 */
#include "cpu/cpuid.h"
#include "cpu/optab.h"
#include "engine/translate/gen.h"

/* R14 = host address of the source, or the register it is in. */
static struct opnd gen_source(struct gen *g)
{
	if (!(g->i->flags & INSN_MEM))
		return reg(gen_read(g, g->i->rm, H_R14));
	gen_operand_at_r14(g, g->i->osz, false);
	return mem(H_R14, 0);
}

/* BSF BSR TZCNT LZCNT POPCNT. The destination is read, since a source of 0 leaves it to BSF and BSR as it is. */
static bool gen_scan(struct gen *g)
{
	const struct insn *i = g->i;
	bool count = i->pfx == PFX_F3;
	struct opnd from;
	unsigned to;

	if (i->opcode == 0xb8 && (!count || !cpu_has(g->t->in.cpu, FEAT_POPCNT)))
		return false;
	if (count && i->opcode != 0xb8)
		count = cpu_has(g->t->in.cpu, i->opcode == 0xbc ? FEAT_BMI1 : FEAT_LZCNT);
	from = gen_source(g);
	gen_flags_load(g);
	to = gen_read(g, i->reg, H_R15);
	if (count)
		emit8(&g->e, 0xf3);
	emit_rm(&g->e, i->osz, 0x0f00 | i->opcode, to, from);
	if (to == H_R15)
		emit_store(&g->e, guest_at(i->reg), H_R15);
	g->flags = FLAGS_HOST;
	return true;
}

/* What a VEX-encoded one does besides reading rm. */
struct bmi {
	u8 feature;
	bool flags, group; /* group: ModRM.reg is an extension */
	bool reads_v, writes_v, imm;
};

static bool bmi_of(const struct insn *i, struct bmi *b)
{
	unsigned n = i->modrm >> 3 & 7;

	*b = (struct bmi){ .feature = FEAT_BMI2, .reads_v = true };
	if (i->map == MAP_VEX_0F3A) {
		b->reads_v = false;
		b->imm = true; /* RORX */
		return i->opcode == 0xf0 && i->pfx == PFX_F2;
	}
	switch (i->opcode) {
	case 0xf2: /* ANDN */
		b->feature = FEAT_BMI1;
		b->flags = true;
		return i->pfx == PFX_NONE;
	case 0xf3: /* BLSR BLSMSK BLSI */
		*b = (struct bmi){ .feature = FEAT_BMI1, .flags = true, .group = true, .writes_v = true };
		return i->pfx == PFX_NONE && n >= 1 && n <= 3;
	case 0xf5: /* BZHI, PEXT, PDEP */
		b->flags = i->pfx == PFX_NONE;
		return i->pfx != PFX_66;
	case 0xf6: /* MULX */
		b->reads_v = false;
		b->writes_v = true;
		return i->pfx == PFX_F2;
	case 0xf7: /* BEXTR, SHLX SARX SHRX */
		b->flags = i->pfx == PFX_NONE;
		if (b->flags)
			b->feature = FEAT_BMI1;
		return true;
	default:
		return false;
	}
}

/* VEX.128 with memory at [r14]. */
static void put_vex(struct gen *g, unsigned r, unsigned v, struct opnd rm)
{
	static const u8 pp[] = { [PFX_NONE] = 0, [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3 };
	const struct insn *i = g->i;
	struct emit *e = &g->e;

	emit8(e, 0xc4);
	emit8(e, (~r >> 3 & 1) << 7 | 0x40 | (~(unsigned)rm.base >> 3 & 1) << 5 | (i->map == MAP_VEX_0F3A ? 3 : 2));
	emit8(e, (unsigned)(i->osz == 8) << 7 | (~v & 15) << 3 | pp[i->pfx]);
	emit8(e, i->opcode);
	emit8(e, (rm.is_reg ? 0xc0 : 0) | (r & 7) << 3 | (rm.base & 7u));
}

static bool gen_bmi(struct gen *g)
{
	const struct insn *i = g->i;
	struct bmi b;
	struct opnd rm;
	unsigned r, v = 0;

	if ((i->map != MAP_VEX_0F38 && i->map != MAP_VEX_0F3A) || !bmi_of(i, &b) || !cpu_has(g->t->in.cpu, b.feature))
		return false;
	rm = gen_source(g);
	if (b.flags)
		gen_flags_load(g);
	if (b.reads_v)
		v = gen_read(g, i->vvvv, H_RAX);
	else if (b.writes_v)
		v = host_of[i->vvvv] == SLOT ? H_RAX : host_of[i->vvvv];
	r = b.group ? i->modrm >> 3 & 7 : host_of[i->reg] == SLOT ? H_R15 : host_of[i->reg];
	put_vex(g, r, v, rm);
	if (b.imm)
		emit8(&g->e, (unsigned)i->imm & 0xff);
	if (b.writes_v && v == H_RAX)
		emit_store(&g->e, guest_at(i->vvvv), H_RAX);
	if (!b.group && r == H_R15)
		emit_store(&g->e, guest_at(i->reg), H_R15);
	if (b.flags)
		g->flags = FLAGS_HOST;
	return true;
}

bool gen_bits(struct gen *g)
{
	const struct insn *i = g->i;

	if ((i->flags & INSN_MEM) && !gen_can_address(g))
		return false;
	if (i->flags & INSN_VEX)
		return i->osz >= 4 && gen_bmi(g);
	return i->map == MAP_0F && (i->opcode == 0xb8 || i->opcode == 0xbc || i->opcode == 0xbd) && gen_scan(g);
}
