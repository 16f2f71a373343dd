// SPDX-License-Identifier: Apache-2.0
/* IN OUT INS OUTS. The permission check comes first (SDM 1, 19.5.2), then the memory operand's, then the port. A port
 * may change anything (A20, reset, an interrupt): each access ends the block. */
#include "cpu/debug.h"
#include "cpu/int.h"
#include "cpu/segment.h"

static void io_set(struct cpu *c, const struct insn *i, unsigned r, u64 v)
{
	c->r[r] = i->asz == 2 ? (c->r[r] & ~0xffffull) | (v & 0xffff) : v & i->amask;
}

static void io_advance(struct cpu *c, const struct insn *i, unsigned r, unsigned size)
{
	io_set(c, i, r, c->rflags & FLAG_DF ? c->r[r] - size : c->r[r] + size);
}

/* I/O breakpoints (SDM 3B 17.3.1.2). */
static inline void io_watch(struct cpu *c, u16 port, unsigned size)
{
	if (unlikely(c->dr[7] & DR7_ENABLES))
		debug_io_access(c, port, size);
}

/* One element a call; events may come between two. */
static int io_repeat(struct cpu *c, const struct insn *i, exec_fn *one)
{
	u64 n = c->r[RCX] & i->amask;
	bool rep = i->flags & (INSN_REP | INSN_REPNE);
	int out;

	if (rep && !n)
		return OUT_DONE;
	out = one(c, i);
	if (out)
		return out;
	if (rep)
		io_set(c, i, RCX, n - 1);
	return rep && n != 1 ? OUT_AGAIN : OUT_END;
}

#define W 8
#include "cpu/int_io.inc.h"
#define W 16
#include "cpu/int_io.inc.h"
#define W 32
#include "cpu/int_io.inc.h"
