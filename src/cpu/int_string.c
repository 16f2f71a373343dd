// SPDX-License-Identifier: Apache-2.0
/* MOVS STOS LODS CMPS SCAS (SDM 2, REP). One call executes one run: as many elements as lie within one page on each
 * side with all checks passed at once, done by the host's own repeated instruction, whose order of elements, overlap
 * and flags are the guest's; or else a single element the ordinary way. Registers are exact after every run, and while
 * elements remain the outcome is OUT_AGAIN, so that events are taken after at most a page. */
#include "cpu/cpuid.h"
#include "cpu/int.h"
#include "cpu/segment.h"

/* A pointer or count of the address size moves; 32 bits clear the upper half. */
static inline void string_advance(struct cpu *c, const struct insn *i, unsigned r, s64 by)
{
	u64 v = (c->r[r] + (u64)by) & i->amask;

	c->r[r] = unlikely(i->asz == 2) ? (c->r[r] & ~0xffffull) | v : v;
}

static int string_empty(struct cpu *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return OUT_DONE;
}

/* A single-step trap follows each iteration. */
static bool string_single(const struct cpu *c)
{
	return c->rflags & FLAG_TF;
}

static bool string_goes_on(const struct cpu *c, const struct insn *i)
{
	return (bool)(c->aflags & AF_ZF) == !(i->flags & INSN_REPNE);
}

/* Which operand of CMPS faults first: AMD reads ES:rDI before seg:rSI, but not in REPE CMPSB (seen on Zen 4). */
static inline bool cmps_dst_first(const struct cpu *c, const struct insn *i, unsigned width)
{
	return cpu_is_amd(c) && !(width == 8 && (i->flags & INSN_REP));
}

/* Cuts *n to the elements from seg:r on that neither wrap nor leave the page; returns the first one's host address, or
 * NULL when fewer than one is left or only the slow path can tell. How far a run goes depends on nothing but the state
 * of the guest, since its parts are counted, and every engine has to count the same. written: for writing; set if
 * page_written() has to follow. */
static u8 *string_run(struct cpu *c, const struct insn *i, unsigned seg, unsigned r, unsigned size, bool *written,
		      u64 *n)
{
	u64 off = c->r[r] & i->amask, lin, low, in_page, max;
	bool down = c->rflags & FLAG_DF;
	unsigned bytes;
	u8 *p;

	if (!*n || i->amask - off < size - 1)
		return NULL;
	max = down ? off / size + 1 : (i->amask - off - (size - 1)) / size + 1;
	low = (c->d.ebase[seg] + off) & (PAGE_SIZE - 1);
	if (low + size > PAGE_SIZE)
		return NULL;
	in_page = (down ? low : PAGE_SIZE - size - low) / size + 1;
	*n = MIN(*n, MIN(max, in_page));
	low = down ? off - (*n - 1) * size : off;
	bytes = (unsigned)*n * size;
	if (seg_linear(c, seg, low, bytes, written ? ACC_W : ACC_R, &lin))
		return NULL;
	p = written ? tlb_hit_w(c, lin, bytes) : tlb_hit_r(c, lin, bytes);
	if (unlikely(!p) && c->ops->page) { /* both operands may want the same place in the lookaside */
		p = c->ops->page(c, lin, bytes, written);
		if (written)
			*written = p;
	}
	return p && down ? p + (*n - 1) * size : p;
}

#define W 8
#include "cpu/int_string.inc.h"
#define W 16
#include "cpu/int_string.inc.h"
#define W 32
#include "cpu/int_string.inc.h"
#define W 64
#include "cpu/int_string.inc.h"

#define STRING(opcode, name)                                                                  \
	{ MAP_1, opcode, EXT_ANY, PFX_ANY, OP_BYTE | OP_STRING, 0, OPFN_B(name), OPFN_NONE }, \
	{                                                                                     \
		MAP_1, (opcode) + 1, EXT_ANY, PFX_ANY, OP_STRING, 0, OPFN_SZ(name), OPFN_NONE \
	}

/* Ports are at most 32 bits wide, whatever REX.W says. */
#define PORT_SZ(f)                           \
	{                                    \
		NULL, f##_16, f##_32, f##_32 \
	}
#define PORT(opcode, flags, mem, reg)                                          \
	{                                                                      \
		MAP_1, opcode, EXT_ANY, PFX_ANY, (flags) | OP_END, 0, mem, reg \
	}

static const struct optab_row rows[] = {
	STRING(0xa4, movs),
	STRING(0xa6, cmps),
	STRING(0xaa, stos),
	STRING(0xac, lods),
	STRING(0xae, scas),
	PORT(0x6c, OP_BYTE | OP_STRING, OPFN_B(x86_ins), OPFN_NONE),
	PORT(0x6d, OP_STRING, PORT_SZ(x86_ins), OPFN_NONE),
	PORT(0x6e, OP_BYTE | OP_STRING, OPFN_B(x86_outs), OPFN_NONE),
	PORT(0x6f, OP_STRING, PORT_SZ(x86_outs), OPFN_NONE),
	PORT(0xe4, OP_BYTE, OPFN_NONE, OPFN_B(x86_in_imm)),
	PORT(0xe5, 0, OPFN_NONE, PORT_SZ(x86_in_imm)),
	PORT(0xe6, OP_BYTE, OPFN_NONE, OPFN_B(x86_out_imm)),
	PORT(0xe7, 0, OPFN_NONE, PORT_SZ(x86_out_imm)),
	PORT(0xec, OP_BYTE, OPFN_NONE, OPFN_B(x86_in_dx)),
	PORT(0xed, 0, OPFN_NONE, PORT_SZ(x86_in_dx)),
	PORT(0xee, OP_BYTE, OPFN_NONE, OPFN_B(x86_out_dx)),
	PORT(0xef, 0, OPFN_NONE, PORT_SZ(x86_out_dx)),
};

const struct optab optab_string = { "string", rows, ARRAY_SIZE(rows) };
