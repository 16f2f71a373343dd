/* SPDX-License-Identifier: Apache-2.0
 * Takes an encoding of the vector maps apart: legacy 0F maps, VEX, EVEX. The decoder has checked it already. SDM 2,
 * chapter 2.
 */
#include "cpu/vec.h"

#include "cpu/optab.h"

struct cursor {
	const u8 *b;
	unsigned at, n;
	u8 rex, osz, rep;
	bool asz;
};

static u8 next(struct cursor *k)
{
	return k->at < k->n ? k->b[k->at++] : 0;
}

static bool take_prefix(struct cursor *k, u8 b, enum cpu_code code)
{
	u8 rex = k->rex;

	k->rex = 0; /* counts only right before the opcode (SDM 2, 2.2.1) */
	switch (b) {
	case 0x66:
		k->osz = 1;
		return true;
	case 0x67:
		k->asz = true;
		return true;
	case 0xf2:
		k->rep = PFX_F2;
		return true;
	case 0xf3:
		k->rep = PFX_F3;
		return true;
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0xf0:
		return true;
	default:
		if (code == CODE64 && (b & 0xf0) == 0x40) {
			k->rex = b;
			return true;
		}
		k->rex = rex;
		return false;
	}
}

static void parse_legacy(struct cursor *k, struct vparse *p, u8 first)
{
	p->enc = ENC_LEGACY;
	p->pp = k->rep ? k->rep : k->osz ? PFX_66 : PFX_NONE;
	p->w = k->rex >> 3 & 1;
	p->opcode = first;
	if (first != 0x0f)
		return;
	p->map = 1;
	p->opcode = next(k);
	if (p->opcode == 0x38 || p->opcode == 0x3a) {
		p->map = p->opcode == 0x38 ? 2 : 3;
		p->opcode = next(k);
	}
}

static const u8 pp_of[4] = { PFX_NONE, PFX_66, PFX_F3, PFX_F2 };

/* The complemented extension bits become a REX byte. */
static void parse_vex(struct cursor *k, struct vparse *p, bool three)
{
	u8 b = next(k), rxb = three ? ~b >> 5 & 7 : ~b >> 5 & 4;

	p->enc = ENC_VEX;
	p->map = 1;
	if (three) {
		p->map = b & 0x1f;
		b = next(k);
		p->w = b >> 7;
	}
	p->vvvv = ~b >> 3 & 15;
	p->ll = b >> 2 & 1;
	p->pp = pp_of[b & 3];
	k->rex = rxb;
	p->opcode = next(k);
}

static void parse_evex(struct cursor *k, struct vparse *p, u8 *r_hi, u8 *v_hi)
{
	u8 b0 = next(k), b1 = next(k), b2 = next(k);

	p->enc = ENC_EVEX;
	p->map = b0 & 7;
	k->rex = ~b0 >> 5 & 7;
	*r_hi = (~b0 >> 4 & 1) << 4;
	p->w = b1 >> 7;
	p->pp = pp_of[b1 & 3];
	p->z = b2 >> 7;
	p->ll = b2 >> 5 & 3;
	p->b = b2 >> 4 & 1;
	*v_hi = (~b2 >> 3 & 1) << 4;
	p->vvvv = (u8)((~b1 >> 3 & 15) | *v_hi);
	p->aaa = b2 & 7;
	p->opcode = next(k);
}

static void parse_disp(struct cursor *k, struct vparse *p, bool addr16, u8 base)
{
	unsigned mod = p->modrm >> 6, size = mod == 1 ? 1 : 0, n;
	u32 v = 0;

	if (addr16)
		size = mod == 2 || (!mod && (p->modrm & 7) == 6) ? 2 : size;
	else
		size = mod == 2 || (!mod && base == 5) ? 4 : size;
	for (n = 0; n < size; n++)
		v |= (u32)next(k) << 8 * n;
	p->disp8 = size == 1;
	p->disp = size == 1 ? (s8)v : size == 2 ? (s16)v : (s32)v;
}

static void parse_modrm(struct cursor *k, struct vparse *p, enum cpu_code code, u8 r_hi, u8 v_hi)
{
	bool addr16 = code == CODE16 ? !k->asz : code == CODE32 && k->asz;
	u8 sib, base;

	p->modrm = next(k);
	p->reg = (u8)((p->modrm >> 3 & 7) | (k->rex >> 2 & 1) << 3 | r_hi);
	p->rm = (u8)((p->modrm & 7) | (k->rex & 1) << 3);
	p->mem = p->modrm >> 6 != 3;
	if (!p->mem) {
		if (p->enc == ENC_EVEX)
			p->rm |= (k->rex >> 1 & 1) << 4;
		return;
	}
	base = p->modrm & 7;
	if (!addr16 && base == 4) {
		sib = next(k);
		base = sib & 7;
		p->vindex = (u8)((sib >> 3 & 7) | (k->rex >> 1 & 1) << 3 | v_hi);
	}
	parse_disp(k, p, addr16, base);
}

bool vec_parse(const struct insn *i, enum cpu_code code, struct vparse *p)
{
	struct cursor k = { .b = i->raw, .n = i->len };
	u8 b, r_hi = 0, v_hi = 0;

	memset(p, 0, sizeof(*p));
	do
		b = next(&k);
	while (take_prefix(&k, b, code) && k.at < k.n);
	if ((i->flags & INSN_VEX) && (b == 0xc4 || b == 0xc5))
		parse_vex(&k, p, b == 0xc4);
	else if ((i->flags & INSN_VEX) && b == 0x62)
		parse_evex(&k, p, &r_hi, &v_hi);
	else
		parse_legacy(&k, p, b);
	if (k.at < k.n)
		parse_modrm(&k, p, code, r_hi, v_hi);
	while (k.at < k.n && p->nimm < sizeof(p->imm))
		p->imm[p->nimm++] = next(&k);
	if (p->nimm)
		p->is4 = p->imm[0] >> 4;
	if (code != CODE64) {
		p->reg &= 7;
		p->rm &= 7;
		p->vvvv &= 7;
		p->is4 &= 7;
		p->vindex &= 7;
	}
	return k.at == k.n;
}
