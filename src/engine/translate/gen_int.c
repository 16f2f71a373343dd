/* SPDX-License-Identifier: Apache-2.0
 * Integer instructions, copied: the guest's opcode with the host's registers, memory operands behind a probe.
 *
 * A form says what an opcode does with its operands. Flags that an instruction leaves as they are, or leaves undefined,
 * come out as on this silicon if the old ones are loaded before.
 */
#include "cpu/int.h"
#include "engine/translate/gen.h"

struct form {
	u16 op;
	u8 size, mem_size; /* of the operands; of the one in memory or, for extensions, of the source */
	u8 r, rm;	   /* guest registers; r is an opcode extension if !has_reg */
	bool has_reg, reg_written, rm_read, rm_written;
	bool flags_read, flags_written;
	bool flags_kept; /* read only because some are not written */
	u8 imm;		 /* bytes of immediate */
	bool plain;	 /* rm is a register although ModRM says otherwise or is absent */
};

/* Operands of the two usual directions. */
static void form_rm_reg(struct form *f, bool read, bool write)
{
	f->has_reg = true;
	f->rm_read = read;
	f->rm_written = write;
}

static void form_reg_rm(struct form *f)
{
	f->has_reg = f->reg_written = f->rm_read = true;
}

static void form_ext(struct form *f, unsigned ext, bool read, bool write, unsigned imm)
{
	f->r = (u8)ext;
	f->rm_read = read;
	f->rm_written = write;
	f->imm = (u8)imm;
}

static unsigned imm_z(const struct insn *i)
{
	return i->osz == 1 ? 1 : i->osz == 2 ? 2 : 4;
}

/* ADD OR ADC SBB AND SUB XOR CMP, by number. */
static void alu_flags(struct form *f, unsigned n)
{
	f->flags_written = true;
	f->flags_read = n == 2 || n == 3;
}

static bool form_alu(const struct insn *i, struct form *f)
{
	unsigned n = i->opcode >> 3, how = i->opcode & 7;

	alu_flags(f, n);
	if (how < 2) {
		form_rm_reg(f, true, n != 7);
	} else if (how < 4) {
		form_reg_rm(f);
		f->reg_written = n != 7;
	} else if (how < 6) {
		f->op = i->osz == 1 ? 0x80 : 0x81;
		f->plain = true;
		f->rm = RAX;
		form_ext(f, n, true, n != 7, imm_z(i));
	} else {
		return false;
	}
	return true;
}

static bool form_group1(const struct insn *i, struct form *f)
{
	unsigned n = i->modrm >> 3 & 7;

	alu_flags(f, n);
	if (i->opcode == 0x82)
		f->op = 0x80;
	form_ext(f, n, true, n != 7, i->opcode == 0x81 ? imm_z(i) : 1);
	return true;
}

static bool form_shift(const struct insn *i, struct form *f)
{
	unsigned n = i->modrm >> 3 & 7;

	f->flags_read = f->flags_written = true;
	f->flags_kept = n != 2 && n != 3; /* RCL and RCR */
	form_ext(f, n == 6 ? 4 : n, true, true, i->opcode < 0xd0 ? 1 : 0);
	return true;
}

/* TEST NOT NEG; multiplication and division are elsewhere. */
static bool form_group3(const struct insn *i, struct form *f)
{
	unsigned n = i->modrm >> 3 & 7;

	if (n > 3)
		return false;
	f->flags_written = n != 2;
	form_ext(f, n < 2 ? 0 : n, true, n >= 2, n < 2 ? imm_z(i) : 0);
	return true;
}

static bool form_inc_dec(struct form *f, unsigned n)
{
	f->flags_read = f->flags_written = f->flags_kept = true;
	form_ext(f, n, true, true, 0);
	return n < 2;
}

static bool form_imul(struct form *f, unsigned imm)
{
	form_reg_rm(f);
	f->flags_read = f->flags_written = f->flags_kept = true;
	f->imm = (u8)imm;
	return true;
}

static bool form_plain(struct form *f, unsigned op, unsigned rm)
{
	f->op = (u16)op;
	f->plain = true;
	f->rm = (u8)rm;
	return true;
}

static bool form_map_1(const struct insn *i, struct form *f)
{
	unsigned op = i->opcode;

	if (op < 0x40)
		return form_alu(i, f);
	switch (op) {
	case 0x40 ... 0x4f: /* not in 64-bit mode, where these are REX */
		form_plain(f, 0xff, i->rm);
		return form_inc_dec(f, op >> 3 & 1);
	case 0x63:
		form_reg_rm(f);
		f->mem_size = 4;
		return i->osz == 8;
	case 0x69:
		return form_imul(f, imm_z(i));
	case 0x6b:
		return form_imul(f, 1);
	case 0x80 ... 0x83:
		return form_group1(i, f);
	case 0x84:
	case 0x85:
		f->flags_written = true;
		form_rm_reg(f, true, false);
		return true;
	case 0x88:
	case 0x89:
		form_rm_reg(f, false, true);
		return true;
	case 0x8a:
	case 0x8b:
		form_reg_rm(f);
		return true;
	case 0xa8:
	case 0xa9:
		f->flags_written = true;
		form_ext(f, 0, true, false, imm_z(i));
		return form_plain(f, i->osz == 1 ? 0xf6 : 0xf7, RAX);
	case 0xb0 ... 0xb7:
		form_ext(f, 0, false, true, 1);
		return form_plain(f, 0xc6, i->rm);
	case 0xc0:
	case 0xc1:
	case 0xd0 ... 0xd3:
		return form_shift(i, f);
	case 0xc6:
	case 0xc7:
		form_ext(f, 0, false, true, imm_z(i));
		return !(i->modrm & 0x38);
	case 0xf6:
	case 0xf7:
		return form_group3(i, f);
	case 0xfe:
	case 0xff:
		return form_inc_dec(f, i->modrm >> 3 & 7);
	default:
		return false;
	}
}

static bool form_extend(const struct insn *i, struct form *f)
{
	form_reg_rm(f);
	f->mem_size = i->opcode & 1 ? 2 : 1;
	return true;
}

/* Bit tests: with a register offset the operand may lie elsewhere in memory. */
static bool form_bit(const struct insn *i, struct form *f)
{
	f->flags_read = f->flags_written = true;
	if (i->opcode == 0xba) {
		unsigned n = i->modrm >> 3 & 7;

		form_ext(f, n, true, n != 4, 1);
		return n >= 4;
	}
	form_rm_reg(f, true, i->opcode != 0xa3);
	return !(i->flags & INSN_MEM);
}

static bool form_map_0f(const struct insn *i, struct form *f)
{
	unsigned op = i->opcode;

	f->op = (u16)(0x0f00 | op);
	switch (op) {
	case 0x40 ... 0x4f:
		form_reg_rm(f);
		f->flags_read = true;
		return true;
	case 0x90 ... 0x9f:
		f->flags_read = true;
		form_ext(f, 0, false, true, 0);
		return true;
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
	case 0xba:
		return form_bit(i, f);
	case 0xa4:
	case 0xa5:
	case 0xac:
	case 0xad:
		form_rm_reg(f, true, true);
		f->flags_read = f->flags_written = true;
		f->imm = op & 1 ? 0 : 1;
		return i->osz != 2;
	case 0xaf:
		return form_imul(f, 0);
	case 0xb6:
	case 0xb7:
	case 0xbe:
	case 0xbf:
		return form_extend(i, f);
	default:
		return false;
	}
}

/* AH, CH, DH, BH: not where REX is. */
static bool high_reg(const struct insn *i, const struct form *f)
{
	return f->size == 1 && f->has_reg && (i->reg8 & 7);
}

static bool high_rm(const struct insn *i, const struct form *f)
{
	bool rm_is_reg = !(i->flags & INSN_MEM) || f->plain;
	bool absent = f->plain && (f->op == 0x80 || f->op == 0xf6);

	return f->mem_size == 1 && rm_is_reg && !absent && (i->rm8 & 7);
}

/* As gen_read(); the second byte of r, to temp, if high. Flag-neutral; uses RAX. */
static unsigned gen_read_part(struct gen *g, unsigned r, bool high, unsigned temp)
{
	if (!high)
		return gen_read(g, r, temp);
	emit_mov(&g->e, H_RAX, host_of[r & 3]);
	emit8(&g->e, 0x0f); /* movzx eax, ah */
	emit8(&g->e, 0xb6);
	emit8(&g->e, 0xc4);
	emit_mov(&g->e, temp, H_RAX);
	return temp;
}

/* Does i, on registers, write all flags without reading any? */
static bool writes_all_flags(const struct insn *i)
{
	unsigned op = i->opcode, n = op < 0x40 ? op >> 3 : i->modrm >> 3 & 7;

	if (op < 0x40 ? (op & 7) < 6 : op >= 0x80 && op <= 0x83)
		return n != 2 && n != 3;
	return op == 0x84 || op == 0x85 || op == 0xa8 || op == 0xa9;
}

static bool only_moves(const struct insn *i)
{
	unsigned op = i->opcode;

	if (i->map == MAP_0F)
		return (op & 0xf6) == 0xb6;
	return (op >= 0x88 && op <= 0x8b) || (op >= 0xb0 && op <= 0xbf) || (op == 0x63 && i->osz == 8);
}

/* Are the flags behind this instruction seen by nobody? So if others overwrite them before anything can fault or leave.
 */
static bool flags_die(const struct gen *g)
{
	if (!gen_opt(g, OPT_FLAGS))
		return false;
	for (const struct insn *i = g->i + 1; i < g->end; i++) {
		bool lea = i->map == MAP_1 && i->opcode == 0x8d;

		if ((i->map != MAP_1 && i->map != MAP_0F) || (i->flags & (INSN_VEX | INSN_LOCK | INSN_END)) ||
		    ((i->flags & INSN_MEM) && !lea) || i->exec == exec_ud || i->exec == exec_unimpl)
			return false;
		if (i->map == MAP_1 && writes_all_flags(i))
			return true;
		if (!lea && !only_moves(i))
			return false;
	}
	return false;
}

/* How these flags could be made again, afterwards. */
static void note_again(struct gen *g, const struct form *f, bool in_memory)
{
	const struct insn *i = g->i;
	unsigned op = f->op, n = op < 0x40 ? op >> 3 : f->r, to = f->has_reg && f->reg_written ? f->r : f->rm;
	unsigned from = f->has_reg && f->reg_written ? f->rm : f->r;
	bool group1 = op >= 0x80 && op <= 0x83, test = op == 0x84 || op == 0x85,
	     neg = (op == 0xf6 || op == 0xf7) && n == 3;
	struct again *a = &g->again;

	*a = (struct again){ .how = AGAIN_NOT };
	if (high_reg(i, f) || high_rm(i, f) || g->alone)
		return;
	if ((op < 0x40 || group1) && (n == 1 || n == 4 || n == 6) && !(in_memory && !f->reg_written))
		a->how = AGAIN_TEST;
	else if (in_memory)
		return;
	else if (test || ((op == 0xf6 || op == 0xf7) && n < 2) || ((op < 0x40 || group1) && n == 7))
		a->how = AGAIN_SAME;
	else if ((op < 0x40 || group1) && (n == 0 || n == 5) && !(f->has_reg && f->r == f->rm))
		a->how = AGAIN_UNDO;
	else if (neg)
		a->how = AGAIN_TWICE;
	else
		return;
	if (a->how == AGAIN_SAME && op < 0x40 && (op & 2)) { /* CMP reg, rm */
		to = f->r;
		from = f->rm;
	}
	a->op = (u8)(op < 0x40 ? op & ~2u : op);
	a->size = f->size;
	a->to = (u8)to;
	a->from = (u8)from;
	a->has_reg = f->has_reg;
	a->n_imm = f->imm;
	a->imm = (u32)i->imm;
	a->k = (u8)(g->k + 1);
	a->regs = (u16)(1u << (to & 15) | (f->has_reg && a->how != AGAIN_TEST ? 1u << (from & 15) : 0));
}

static void gen_form(struct gen *g, const struct form *f)
{
	bool in_memory = (g->i->flags & INSN_MEM) && !f->plain;
	unsigned r = f->r, rm = H_R14;

	if (in_memory && (g->i->flags & INSN_LOCK)) {
		gen_flags_save(g);
		gen_linear(g);
		gen_aligned(g, f->mem_size);
		gen_probe(g, f->mem_size, true);
	} else if (in_memory) {
		gen_operand(g, f->mem_size, f->rm_written);
	}
	if (f->flags_read && !(f->flags_kept && g->flags == FLAGS_MEM && flags_die(g)))
		gen_flags_load(g);
	if (f->has_reg)
		r = gen_read_part(g, f->r, high_reg(g->i, f), H_R15);
	if (!in_memory)
		rm = gen_read_part(g, f->rm, high_rm(g->i, f), H_R14);
	if (g->i->flags & INSN_LOCK)
		emit8(&g->e, 0xf0);
	emit_rm(&g->e, f->size, f->op, r, in_memory ? gen_at(g) : reg(rm));
	emit_bytes(&g->e, g->i->imm, f->imm);
	if (f->flags_written) {
		g->flags = FLAGS_HOST;
		note_again(g, f, in_memory);
	}
	if (f->has_reg && f->reg_written && r == H_R15)
		emit_store(&g->e, guest_at(f->r), H_R15);
	if (!in_memory && f->rm_written && rm == H_R14)
		emit_store(&g->e, guest_at(f->rm), H_R14);
}

/* ---- AH, CH, DH and BH as destinations ----------------------------------------------------------------------------
 */

static bool high_written(const struct insn *i, const struct form *f)
{
	return (high_reg(i, f) && f->reg_written) || (high_rm(i, f) && f->rm_written);
}

/* The other operand, a byte, to FRAME_TEMP. Flag-neutral; uses RAX, R14 and R15. */
static void gen_other_byte(struct gen *g, const struct form *f)
{
	bool in_memory = (g->i->flags & INSN_MEM) && !f->plain;
	unsigned from = H_R15;

	if (in_memory)
		emit_rm(&g->e, 4, 0x0fb6, H_R15, gen_at(g)); /* movzx */
	else if (f->reg_written)
		from = gen_read_part(g, f->rm, high_rm(g->i, f), H_R15);
	else
		from = gen_read_part(g, f->r, high_reg(g->i, f), H_R15);
	emit_store(&g->e, mem(H_RSP, FRAME_TEMP), from);
}

/* By way of the host's AH, which no instruction with REX can name: so the other operand, if there is one, is
 * [rsp + FRAME_TEMP]. */
static void gen_high(struct gen *g, const struct form *f)
{
	struct emit *e = &g->e;
	unsigned to = host_of[(f->has_reg && f->reg_written ? f->r : f->rm) & 3], op = f->op;

	if ((g->i->flags & INSN_MEM) && !f->plain)
		gen_operand(g, 1, false);
	if (f->flags_read && !(f->flags_kept && g->flags == FLAGS_MEM && flags_die(g)))
		gen_flags_load(g);
	if (f->has_reg)
		gen_other_byte(g, f);
	emit_mov(e, H_RAX, to);
	if (op > 0xff)
		emit8(e, op >> 8);
	if (f->has_reg) {
		emit8(e, (op & 0xff) | 2); /* to the register */
		emit8(e, 0xa4);
		emit8(e, 0x24);
		emit_bytes(e, FRAME_TEMP, 4);
	} else {
		emit8(e, op & 0xff);
		emit8(e, 0xc4 | f->r << 3);
		emit_bytes(e, g->i->imm, f->imm);
	}
	emit_mov(e, to, H_RAX);
	if (f->flags_written) {
		g->flags = FLAGS_HOST;
		g->again = (struct again){ .how = AGAIN_NOT };
	}
}

/* ---- those of a kind of their own ---------------------------------------------------------------------------------
 */

/* MUL and IMUL into RDX:RAX, by way of the host's. */
static bool gen_mul(struct gen *g)
{
	const struct insn *i = g->i;
	struct opnd rm;

	if (!(i->flags & INSN_MEM)) {
		if (i->osz == 1 && (i->rm8 & 7))
			return false;
		gen_flags_load(g);
		rm = reg(gen_read(g, i->rm, H_R14));
	} else {
		if (!gen_can_address(g))
			return false;
		gen_operand(g, i->osz, false);
		gen_flags_load(g);
		rm = gen_at(g);
	}
	emit_mov(&g->e, H_RAX, host_of[RAX]);
	emit_rm(&g->e, i->osz, i->opcode, i->modrm >> 3 & 7, rm);
	emit_mov(&g->e, host_of[RAX], H_RAX);
	g->flags = FLAGS_HOST;
	return true;
}

/* CBW CWDE CDQE, CWD CDQ CQO. */
static bool gen_widen(struct gen *g)
{
	const struct insn *i = g->i;

	emit_mov(&g->e, H_RAX, host_of[RAX]);
	if (i->osz == 2)
		emit8(&g->e, 0x66);
	if (i->osz == 8)
		emit8(&g->e, 0x48);
	emit8(&g->e, i->opcode);
	if (i->opcode == 0x98)
		emit_mov(&g->e, host_of[RAX], H_RAX);
	return true;
}

static bool gen_lea(struct gen *g)
{
	const struct insn *i = g->i;
	s64 disp = (s64)i->disp + g->next + PAGE_SIZE;
	unsigned to = host_of[i->reg];

	if (i->base == R_RIP && disp != (s32)disp)
		return false;
	emit_rm(&g->e, i->asz, 0x8d, H_R14, gen_ea(g));
	if (to == SLOT && i->osz != 8) {
		emit_load(&g->e, H_R15, guest_at(i->reg));
		to = H_R15;
	}
	if (to == SLOT) {
		emit_store(&g->e, guest_at(i->reg), H_R14);
		return true;
	}
	emit_rm(&g->e, i->osz, 0x8b, to, reg(H_R14));
	if (to == H_R15)
		emit_store(&g->e, guest_at(i->reg), H_R15);
	return true;
}

/* B8 to BF, any immediate there is. */
static bool gen_mov_imm(struct gen *g)
{
	const struct insn *i = g->i;
	unsigned to;

	if (i->osz == 2)
		return false;
	to = host_of[i->rm] == SLOT ? H_R14 : host_of[i->rm];
	emit_mov_imm(&g->e, to, i->imm);
	if (to == H_R14)
		emit_store(&g->e, guest_at(i->rm), H_R14);
	return true;
}

static bool gen_xchg_regs(struct gen *g, unsigned a, unsigned b)
{
	if (host_of[a] == SLOT || host_of[b] == SLOT || g->i->osz == 1)
		return false;
	emit_rm(&g->e, g->i->osz, 0x87, host_of[a], reg(host_of[b]));
	return true;
}

static bool gen_bswap(struct gen *g)
{
	const struct insn *i = g->i;
	unsigned r;

	if (i->osz == 2)
		return false;
	r = gen_read(g, i->rm, H_R14);
	g->e.r14 += r == H_R14;
	if (i->osz == 8 || (r & 8))
		emit8(&g->e, 0x40 | (i->osz == 8 ? 8u : 0) | r >> 3);
	emit8(&g->e, 0x0f);
	emit8(&g->e, 0xc8 | (r & 7));
	if (r == H_R14)
		emit_store(&g->e, guest_at(i->rm), H_R14);
	return true;
}

/* -1: none of these. */
static int gen_special(struct gen *g)
{
	const struct insn *i = g->i;

	if (i->exec == x86_nop)
		return true;
	if (i->map == MAP_0F)
		return (i->opcode & 0xf8) == 0xc8 ? gen_bswap(g) : -1;
	switch (i->opcode) {
	case 0x87:
		return !(i->flags & INSN_MEM) && gen_xchg_regs(g, i->reg, i->rm);
	case 0x8d:
		return gen_lea(g);
	case 0x90:
		if (i->rm == RAX) /* PAUSE has something to do */
			return !(i->flags & INSN_REP);
		return gen_xchg_regs(g, RAX, i->rm);
	case 0x91 ... 0x97:
		return gen_xchg_regs(g, RAX, i->rm);
	case 0x98:
	case 0x99:
		return gen_widen(g);
	case 0xb8 ... 0xbf:
		return gen_mov_imm(g);
	case 0xf6:
	case 0xf7:
		return (i->modrm & 0x30) == 0x20 ? gen_mul(g) : -1;
	default:
		return -1;
	}
}

bool gen_integer(struct gen *g)
{
	const struct insn *i = g->i;
	struct form f = { .op = i->opcode, .size = i->osz, .mem_size = i->osz, .r = i->reg, .rm = i->rm };
	int special;

	if (i->map != MAP_1 && i->map != MAP_0F)
		return false;
	special = gen_special(g);
	if (special >= 0)
		return special;
	if (!(i->map == MAP_1 ? form_map_1(i, &f) : form_map_0f(i, &f)))
		return false;
	if ((i->flags & INSN_MEM) && !f.plain && !gen_can_address(g))
		return false;
	if (high_written(i, &f))
		gen_high(g, &f);
	else
		gen_form(g, &f);
	return true;
}
