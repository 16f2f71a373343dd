/* SPDX-License-Identifier: Apache-2.0
 * Which function executes an instruction: the rows of the opcode tables, joined at first use into one chain a (map,
 * opcode), most particular row first; then the data instructions; then #UD.
 */
#include "cpu/decode_parts.h"

#include <pthread.h>

#include "cpu/optab.h"

#define MAX_ROWS 2048

/* Written once under `once`, constant ever after. Index 0 ends a chain. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static u16 first_row[NR_MAPS][256];
static struct {
	const struct optab_row *row;
	u16 next;
} chain[MAX_ROWS];
static unsigned nr_chain = 1;

/* How particular a row is: an exact ModRM byte beats a demanded reg field beats a prefix. */
static unsigned row_rank(const struct optab_row *r)
{
	return (r->modrm ? 8 : 0) + (r->ext != EXT_ANY ? 4 : 0) + (r->pfx != PFX_ANY ? 2 : 0) +
	       (r->flags & OP_PLUS_R ? 0 : 1);
}

static void chain_insert(const struct optab_row *r, unsigned opcode)
{
	u16 *at = &first_row[r->map][opcode];

	if (nr_chain == MAX_ROWS)
		__builtin_trap(); /* our own tables outgrew MAX_ROWS */
	while (*at && row_rank(chain[*at].row) >= row_rank(r))
		at = &chain[*at].next;
	chain[nr_chain].row = r;
	chain[nr_chain].next = *at;
	*at = (u16)nr_chain++;
}

static void build(void)
{
	static const struct optab *const tabs[] = { &optab_integer, &optab_string, &optab_control, &optab_segment,
						    &optab_system };

	for (unsigned t = 0; t < ARRAY_SIZE(tabs); t++)
		for (size_t k = 0; k < tabs[t]->n; k++) {
			const struct optab_row *r = &tabs[t]->rows[k];

			for (unsigned o = 0; o < (r->flags & OP_PLUS_R ? 8 : 1); o++)
				chain_insert(r, r->opcode + o);
		}
}

/* Near branches ignore 66 in 64-bit mode on Intel's CPUs (SDM 2, 2.2.1.7: forced 64-bit operand size). */
static bool near_branch(const struct insn *i)
{
	u8 op = i->opcode;

	if (i->map == MAP_0F)
		return (op & 0xf0) == 0x80;
	if (i->map != MAP_1)
		return false;
	return (op & 0xf0) == 0x70 || (op >= 0xe0 && op <= 0xe3) || op == 0xe8 || op == 0xe9 || op == 0xeb ||
	       op == 0xc2 || op == 0xc3 || (op == 0xff && ((i->modrm & 0x38) == 0x10 || (i->modrm & 0x38) == 0x20));
}

/* Moves to and from control and debug registers, and descriptor-table registers: the mode alone decides. */
static bool mode_sized(const struct insn *i)
{
	return (i->map == MAP_0F && i->opcode >= 0x20 && i->opcode <= 0x23) ||
	       (i->map == MAP_0F && i->opcode == 0x01 && (i->modrm & 0x20) == 0 && (i->flags & INSN_MEM)) ||
	       (i->map == MAP_0F38 && i->opcode >= 0x80 && i->opcode <= 0x82);
}

static u8 row_size(const struct insn *i, const struct optab_row *r, const struct encoding *e)
{
	if (r->flags & OP_BYTE)
		return 1;
	if (r->flags & OP_SIZE_Y)
		return i->flags & INSN_REXW ? 8 : 4;
	if (e->code != CODE64) {
		if (mode_sized(i) && i->opcode != 0x01)
			return 4;
		return i->osz;
	}
	if (mode_sized(i) || (near_branch(i) && !e->amd))
		return 8;
	if (r->flags & OP_DEF64)
		return i->osz == 2 ? 2 : 8;
	return i->osz;
}

static bool row_matches(const struct insn *i, const struct optab_row *r)
{
	return (r->pfx == PFX_ANY || r->pfx == i->pfx) && (r->ext == EXT_ANY || r->ext == (i->modrm >> 3 & 7)) &&
	       (!r->modrm || (r->modrm & 0xff) == i->modrm);
}

static exec_fn *row_exec(const struct insn *i, const struct encoding *e, const struct optab_row *r, u8 osz)
{
	unsigned k = osz == 1 ? 0 : osz == 2 ? 1 : osz == 4 ? 2 : 3;

	if (e->legacy && r->flags & OP_PROT)
		return exec_ud;
	if (!e->modrm)
		return r->mem[k] ? r->mem[k] : r->reg[k];
	return i->flags & INSN_MEM ? r->mem[k] : r->reg[k];
}

/* True when some row is for this encoding; i->exec stays NULL if none of them has a function for it. */
static bool bind_row(struct insn *i, const struct encoding *e)
{
	bool matched = false;

	for (unsigned k = first_row[i->map][i->opcode]; k; k = chain[k].next) {
		const struct optab_row *r = chain[k].row;
		u8 osz;

		if (!row_matches(i, r))
			continue;
		matched = true;
		if (e->code == CODE64 ? r->flags & OP_NO64 : r->flags & OP_ONLY64)
			continue;
		osz = row_size(i, r, e);
		i->exec = row_exec(i, e, r, osz);
		if (!i->exec)
			continue;
		i->osz = osz;
		if (r->flags & OP_END)
			i->flags |= INSN_END;
		return true;
	}
	return matched;
}

/* SDM 2A, LOCK: these, with a memory destination. */
static bool lockable(const struct insn *i)
{
	unsigned ext = i->modrm >> 3 & 7;
	u8 op = i->opcode;

	if (!(i->flags & INSN_MEM))
		return false;
	if (i->map == MAP_1) {
		if (op < 0x38)
			return (op & 7) < 2;
		if (op >= 0x80 && op <= 0x83)
			return ext != 7;
		return op == 0x86 || op == 0x87 || ((op == 0xf6 || op == 0xf7) && (ext == 2 || ext == 3)) ||
		       ((op == 0xfe || op == 0xff) && ext < 2);
	}
	if (i->map != MAP_0F)
		return false;
	return op == 0xab || op == 0xb3 || op == 0xbb || (op == 0xba && ext > 4) || op == 0xb0 || op == 0xb1 ||
	       op == 0xc0 || op == 0xc1 || (op == 0xc7 && ext == 1);
}

static void bind_ud(struct insn *i)
{
	i->exec = exec_ud;
	i->flags |= INSN_END;
}

/* UD0 and UD1 take a ModRM byte and are undefined on purpose. */
static bool is_ud(const struct insn *i)
{
	return i->map == MAP_0F && (i->opcode == 0xb9 || i->opcode == 0xff);
}

static bool is_x87(const struct insn *i)
{
	return i->map == MAP_1 && (i->opcode & 0xf8) == 0xd8;
}

/* disp8 of an EVEX instruction counts in units of the access (SDM 2, 2.7.5). */
static void scale_disp8(struct insn *i, unsigned scale)
{
	if ((i->flags & INSN_MEM) && i->modrm >> 6 == 1)
		i->disp *= (s32)scale;
}

void decode_bind(struct insn *i, const struct encoding *e)
{
	enum validity v = ENC_VALID;
	unsigned scale = 1;
	bool matched;

	pthread_once(&once, build);
	if (e->undefined || is_ud(i) || (e->lock && !lockable(i))) {
		bind_ud(i);
		return;
	}
	if (e->vex)
		v = decode_validate(i, e, &scale);
	if (v == ENC_INVALID) {
		bind_ud(i);
		return;
	}
	scale_disp8(i, scale);
	matched = !e->evex && bind_row(i, e);
	if (i->exec)
		return;
	if (!e->vex && !is_x87(i))
		v = decode_validate(i, e, &scale);
	if (v != ENC_INVALID && vector_bind(i, e->code))
		return;
	if (is_x87(i))
		v = decode_validate(i, e, &scale);
	bind_ud(i);
	if (v == ENC_VALID && !matched)
		i->exec = exec_unimpl;
}
