/* SPDX-License-Identifier: Apache-2.0
 * Bytes to struct insn (SDM 2, chapter 2). Prefixes, opcode, ModRM, SIB, displacement and immediate are parsed here, by
 * a table with a letter an opcode; Zydis judges what no row of the opcode tables names, and every VEX and EVEX form.
 *
 * Invariant: DECODE_MORE is returned only if the instruction that the present bytes begin really has more bytes, so
 * that an undefined opcode just before an unmapped page is #UD and not #PF.
 */
#include "cpu/decode.h"

#include "cpu/decode_parts.h"
#include "cpu/optab.h"

/* What follows an opcode. M: ModRM; b: signed imm8, u: unsigned imm8, B and U: the same after ModRM; z: imm16/32,
 * Z: after ModRM; j: rel16/32; v: imm16/32/64; w: imm16; o: moffs; p: far pointer; e: ENTER; g and G: group 3, byte and
 * word; C: ModRM without memory forms; ~: nothing, undefined; 6: as '~' in 64-bit mode, else nothing; !: prefix or
 * escape, never looked up. */
static const char follow_1[257] = "MMMMbz66MMMMbz6!"
				  "MMMMbz66MMMMbz66"
				  "MMMMbz!6MMMMbz!6"
				  "MMMMbz!6MMMMbz!6"
				  "                "
				  "                "
				  "66MM!!!!zZbB    "
				  "bbbbbbbbbbbbbbbb"
				  "BZBBMMMMMMMMMMMM"
				  "          p     "
				  "oooo    bz      "
				  "bbbbbbbbvvvvvvvv"
				  "UUw MMBZe w  u6 "
				  "MMMMuu6 MMMMMMMM"
				  "bbbbuuuujjpb    "
				  "! !!  gG      MM";
static const char follow_0f[257] = "MMMM~     ~~~M ~"
				   "MMMMMMMMMMMMMMMM"
				   "CCCC~~~~MMMMMMMM"
				   "      ~ !~!~~~~~"
				   "MMMMMMMMMMMMMMMM"
				   "MMMMMMMMMMMMMMMM"
				   "MMMMMMMMMMMMMMMM"
				   "UUUUMMM MM~~MMMM"
				   "jjjjjjjjjjjjjjjj"
				   "MMMMMMMMMMMMMMMM"
				   "   MUM~~   MUMMM"
				   "MMMMMMMMMMUMMMMM"
				   "MMUMUUUM        "
				   "MMMMMMMMMMMMMMMM"
				   "MMMMMMMMMMMMMMMM"
				   "MMMMMMMMMMMMMMMM";

struct parse {
	const u8 *p;
	unsigned n, pos;
	enum decode_result err;
	struct insn *i;
	struct encoding e;
	u8 rex;	   /* W R X B in bits 3..0, whatever the prefix */
	u8 r2, x2; /* EVEX: bit 4 of reg and rm */
	u8 rep;	   /* 0, F2, F3: the last of them */
	u8 seg;	   /* effective override, or NR_SEGS */
	u8 asz67;
};

static u8 next8(struct parse *s)
{
	if (s->err)
		return 0;
	if (s->pos < s->n)
		return s->p[s->pos++];
	s->err = s->pos < INSN_MAX ? DECODE_MORE : DECODE_TOO_LONG;
	return 0;
}

static u64 next(struct parse *s, unsigned size)
{
	u64 v = 0;

	for (unsigned k = 0; k < size; k++)
		v |= (u64)next8(s) << (8 * k);
	return v;
}

static u64 next_signed(struct parse *s, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (u64)((s64)(next(s, size) << shift) >> shift);
}

/* All legacy prefixes and a REX that stands last; returns the first byte after them. */
static u8 parse_prefixes(struct parse *s)
{
	bool code64 = s->e.code == CODE64;

	for (;;) {
		u8 b = next8(s);

		switch (b) {
		case 0x66:
			s->e.osz66 = true;
			break;
		case 0x67:
			s->asz67 = 1;
			break;
		case 0xf2:
		case 0xf3:
			s->rep = b;
			break;
		case 0xf0:
			s->e.lock = true;
			break;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			if (!code64)
				s->seg = (u8)(SEG_ES + ((b >> 3) & 3));
			break;
		case 0x64:
			s->seg = SEG_FS;
			break;
		case 0x65:
			s->seg = SEG_GS;
			break;
		default:
			if (!code64 || (b & 0xf0) != 0x40)
				return b;
			s->rex = b;
			continue;
		}
		s->rex = 0;
	}
}

static void set_sizes(struct parse *s)
{
	struct insn *i = s->i;
	bool code64 = s->e.code == CODE64;

	if (code64)
		i->asz = s->asz67 ? 4 : 8;
	else
		i->asz = (s->e.code == CODE32) != s->asz67 ? 4 : 2;
	i->amask = bytes_mask(i->asz);
	if (code64 && (s->rex & 8))
		i->osz = 8;
	else
		i->osz = (s->e.code == CODE16) == s->e.osz66 ? 4 : 2;
}

/* ---- opcode --------------------------------------------------------------------------------------------------- */

static char escape_0f(struct parse *s)
{
	struct insn *i = s->i;

	i->map = MAP_0F;
	i->opcode = next8(s);
	if (i->opcode != 0x38 && i->opcode != 0x3a) {
		if (i->opcode == 0x78 && (s->e.osz66 || s->rep == 0xf2))
			return 'X'; /* EXTRQ, INSERTQ: two immediate bytes */
		return s->err ? ' ' : follow_0f[i->opcode];
	}
	i->map = i->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
	i->opcode = next8(s);
	return i->map == MAP_0F38 ? 'M' : 'U';
}

/* What follows the opcode in a VEX or EVEX map (1..3). */
static char vex_opcode(struct parse *s, unsigned map)
{
	struct insn *i = s->i;

	if (map < 1 || map > 3)
		return '~';
	i->map = (u8)(MAP_VEX_0F + map - 1);
	i->opcode = next8(s);
	i->flags |= INSN_VEX;
	s->e.vex = true;
	if (map == 3)
		return 'U';
	if (map == 2)
		return 'M';
	if (i->opcode == 0x77)
		return s->e.evex ? 'M' : ' ';
	return follow_0f[i->opcode] == 'U' && (i->opcode & 0xf0) != 0xa0 && i->opcode != 0xba ? 'U' : 'M';
}

/* REX, 66, F2, F3 and LOCK before VEX or EVEX are #UD (SDM 2, 2.3). */
static bool vex_prefixed(const struct parse *s)
{
	return s->rex || s->e.osz66 || s->rep || s->e.lock;
}

static char parse_vex(struct parse *s, u8 first)
{
	struct insn *i = s->i;
	bool code64 = s->e.code == CODE64, three = first == 0xc4;
	u8 p1, p2;

	if (vex_prefixed(s))
		return '~';
	p1 = next8(s);
	p2 = three ? next8(s) : (u8)(p1 & 0x7f);
	if (code64)
		s->rex = (u8)((p2 >> 7) << 3 | (~p1 >> 5 & (three ? 7 : 4)));
	else
		s->rex = (u8)((p2 >> 7) << 3);
	i->vvvv = (u8)(~p2 >> 3 & (code64 ? 15 : 7));
	i->pfx = p2 & 3;
	return vex_opcode(s, three ? p1 & 0x1f : 1);
}

static char parse_evex(struct parse *s)
{
	struct insn *i = s->i;
	bool code64 = s->e.code == CODE64;
	u8 p0, p1, p2;

	if (vex_prefixed(s))
		return '~';
	p0 = next8(s);
	p1 = next8(s);
	p2 = next8(s);
	if ((p0 & 8) || !(p1 & 4))
		return '~';
	s->e.evex = true;
	s->rex = (u8)((p1 >> 7) << 3 | (code64 ? ~p0 >> 5 & 7 : 0));
	if (code64) {
		s->r2 = (u8)(~p0 & 0x10);
		s->x2 = (u8)((~p0 >> 6 & 1) << 4);
	}
	i->vvvv = (u8)((~p1 >> 3 & (code64 ? 15 : 7)) | (code64 ? (~p2 & 8) << 1 : 0));
	i->pfx = p1 & 3;
	return vex_opcode(s, p0 & 7);
}

/* In legacy modes C4, C5 and 62 are LES, LDS and BOUND unless the next byte would be a register form (SDM 2, 2.3.5). */
static bool is_vex(struct parse *s)
{
	if (s->e.legacy)
		return false;
	if (s->e.code == CODE64)
		return true;
	if (s->pos < s->n)
		return (s->p[s->pos] & 0xc0) == 0xc0;
	next8(s);
	return false;
}

static char parse_opcode(struct parse *s)
{
	struct insn *i = s->i;
	u8 b = parse_prefixes(s);

	if (s->err)
		return ' ';
	i->pfx = s->rep == 0xf3 ? PFX_F3 : s->rep == 0xf2 ? PFX_F2 : s->e.osz66 ? PFX_66 : PFX_NONE;
	if (b == 0x0f)
		return escape_0f(s);
	if ((b == 0xc4 || b == 0xc5 || b == 0x62) && is_vex(s))
		return b == 0x62 ? parse_evex(s) : parse_vex(s, b);
	i->map = MAP_1;
	i->opcode = b;
	if (s->e.code == CODE64 && (b == 0x82 || b == 0x9a || b == 0xea || b == 0xd4 || b == 0xd5))
		return '6';
	return follow_1[b];
}

/* ---- operands ------------------------------------------------------------------------------------------------- */

static void parse_mem16(struct parse *s, unsigned mod, unsigned rm)
{
	static const u8 base[8] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
	static const u8 index[8] = { RSI, RDI, RSI, RDI, R_ZERO, R_ZERO, R_ZERO, R_ZERO };
	struct insn *i = s->i;

	if (mod == 0 && rm == 6) {
		i->disp = (s32)next_signed(s, 2);
		return;
	}
	i->base = base[rm];
	i->index = index[rm];
	if (mod)
		i->disp = (s32)next_signed(s, mod == 1 ? 1 : 2);
}

static void parse_mem(struct parse *s, unsigned mod, unsigned rm)
{
	struct insn *i = s->i;
	unsigned base = rm;

	if (rm == 4) {
		u8 sib = next8(s);
		unsigned index = (sib >> 3 & 7) | (s->rex & 2) << 2;

		base = sib & 7;
		i->scale = sib >> 6;
		i->index = index == 4 ? R_ZERO : (u8)index;
	}
	if (mod == 0 && base == 5) {
		i->disp = (s32)next_signed(s, 4);
		if (rm == 5 && s->e.code == CODE64)
			i->base = R_RIP;
		return;
	}
	i->base = (u8)(base | (s->rex & 1) << 3);
	if (mod)
		i->disp = (s32)next_signed(s, mod == 1 ? 1 : 4);
}

/* Gathers and scatters index by a vector register: not part of the effective address. */
static bool is_vsib(const struct insn *i)
{
	u8 op = i->opcode;

	return i->map == MAP_VEX_0F38 &&
	       ((op >= 0x90 && op <= 0x93) || (op >= 0xa0 && op <= 0xa3) || op == 0xc6 || op == 0xc7);
}

static void parse_modrm(struct parse *s, bool mem_forms)
{
	struct insn *i = s->i;
	unsigned mod, rm;

	i->modrm = next8(s);
	s->e.modrm = true;
	mod = i->modrm >> 6;
	rm = i->modrm & 7;
	i->reg = (u8)((i->modrm >> 3 & 7) | (s->rex & 4) << 1 | s->r2);
	if (mod == 3 || !mem_forms) {
		i->rm = (u8)(rm | (s->rex & 1) << 3 | s->x2);
		return;
	}
	i->flags |= INSN_MEM;
	if (i->asz == 2)
		parse_mem16(s, mod, rm);
	else
		parse_mem(s, mod, rm);
	if (is_vsib(i))
		i->index = R_ZERO;
	if (s->seg == NR_SEGS && (i->base == RSP || i->base == RBP))
		i->seg = SEG_SS;
}

static unsigned size_z(const struct insn *i)
{
	return i->osz == 2 ? 2 : 4;
}

static void parse_far(struct parse *s)
{
	u64 off = next(s, size_z(s->i));

	s->i->imm = off | next(s, 2) << 32;
}

static void parse_enter(struct parse *s)
{
	u64 size = next(s, 2);

	s->i->imm = size | next(s, 1) << 16;
}

static void parse_imm(struct parse *s, char kind)
{
	struct insn *i = s->i;

	switch (kind) {
	case 'b':
	case 'B':
		i->imm = next_signed(s, 1);
		break;
	case 'u':
	case 'U':
		i->imm = next(s, 1);
		break;
	case 'X':
	case 'w':
		i->imm = next(s, 2);
		break;
	case 'z':
	case 'Z':
		i->imm = next_signed(s, size_z(i));
		break;
	case 'j':
		i->imm = next_signed(s, s->e.code == CODE64 && !s->e.amd ? 4 : size_z(i));
		break;
	case 'v':
		i->imm = next(s, i->osz);
		break;
	case 'o':
		i->imm = next(s, i->asz);
		i->flags |= INSN_MEM;
		break;
	case 'p':
		parse_far(s);
		break;
	case 'e':
		parse_enter(s);
		break;
	case 'g':
		if ((i->modrm & 0x30) == 0)
			i->imm = next_signed(s, 1);
		break;
	case 'G':
		if ((i->modrm & 0x30) == 0)
			i->imm = next_signed(s, size_z(i));
		break;
	default:
		break;
	}
}

/* A byte register's place in cpu->r[]: without REX, 4..7 are AH CH DH BH. */
static u8 byte_offset(unsigned reg, bool rex)
{
	return (u8)(!rex && (reg & ~3u) == 4 ? (reg - 4) * 8 + 1 : (reg & 15) * 8);
}

static void set_flags(struct parse *s)
{
	struct insn *i = s->i;

	i->flags |= (s->rep == 0xf3 ? INSN_REP : 0) | (s->rep == 0xf2 ? INSN_REPNE : 0) | (s->e.osz66 ? INSN_OSZ : 0) |
		    (s->e.lock ? INSN_LOCK : 0);
	if (s->rex & 8 && s->e.code == CODE64)
		i->flags |= INSN_REXW;
	if (s->rex && !s->e.vex)
		i->flags |= INSN_REX;
	if (!s->e.modrm)
		i->rm = (u8)((i->opcode & 7) | (s->rex & 1) << 3);
	i->reg8 = byte_offset(i->reg, i->flags & INSN_REX);
	i->rm8 = byte_offset(i->rm, i->flags & INSN_REX);
}

static void parse_init(struct parse *s, struct insn *i)
{
	memset(i, 0, sizeof(*i));
	i->base = i->index = R_ZERO;
	s->i = i;
	s->seg = NR_SEGS;
}

enum decode_result decode_insn(struct insn *i, const u8 *bytes, unsigned n, enum cpu_code code, unsigned how)
{
	struct parse s = { .p = bytes,
			   .n = MIN(n, INSN_MAX),
			   .e = { .code = code, .legacy = how & DECODE_LEGACY, .amd = how & DECODE_AMD } };
	char kind;

	parse_init(&s, i);
	kind = parse_opcode(&s);
	i->seg = s.seg == NR_SEGS ? SEG_DS : s.seg;
	set_sizes(&s);
	if (kind == '~' || (kind == '6' && code == CODE64))
		s.e.undefined = true;
	else if (kind >= 'A' && kind <= 'Z')
		parse_modrm(&s, kind != 'C');
	else if (kind == 'g')
		parse_modrm(&s, true);
	if (s.err)
		return s.err;
	if (!s.e.undefined)
		parse_imm(&s, kind);
	if (s.err)
		return s.err;
	i->len = (u8)s.pos;
	memcpy(i->raw, bytes, s.pos);
	set_flags(&s);
	decode_bind(i, &s.e);
	return DECODE_OK;
}
