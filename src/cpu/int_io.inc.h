/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_io.c: 8, 16 and 32 bits.
 */
#include "cpu/int_width.inc.h"

static int H(in)(struct cpu *c, u16 port)
{
	int out = io_check(c, port, BYTES);

	if (out)
		return out;
	H(set)(c, RAX, (T)c->ops->in(c, port, BYTES));
	io_watch(c, port, BYTES);
	return OUT_END;
}

static int H(out)(struct cpu *c, u16 port)
{
	int out = io_check(c, port, BYTES);

	if (out)
		return out;
	c->ops->out(c, port, BYTES, H(get)(c, RAX));
	io_watch(c, port, BYTES);
	return OUT_END;
}

int X(in_imm)(struct cpu *c, const struct insn *i)
{
	return H(in)(c, (u8)i->imm);
}

int X(in_dx)(struct cpu *c, const struct insn *i)
{
	(void)i;
	return H(in)(c, (u16)c->r[RDX]);
}

int X(out_imm)(struct cpu *c, const struct insn *i)
{
	return H(out)(c, (u8)i->imm);
}

int X(out_dx)(struct cpu *c, const struct insn *i)
{
	(void)i;
	return H(out)(c, (u16)c->r[RDX]);
}

/* The destination is proved writable before the port is read, which cannot be undone. */
static int H(ins_one)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	T v;
	int out = io_check(c, (u16)c->r[RDX], BYTES);

	if (!out)
		out = seg_linear(c, SEG_ES, c->r[RDI] & i->amask, BYTES, ACC_W, &lin);
	if (!out && !tlb_hit_w(c, lin, BYTES) && !c->ops->pin(c, lin, BYTES, ACC_W, &out) && !out)
		out = c->ops->load(c, lin, &v, BYTES, ACC_RMW);
	if (out)
		return out;
	v = (T)c->ops->in(c, (u16)c->r[RDX], BYTES);
	out = STO(c, lin, v, ACC_W);
	if (out)
		return out;
	io_watch(c, (u16)c->r[RDX], BYTES);
	io_advance(c, i, RDI, BYTES);
	return OUT_DONE;
}

static int H(outs_one)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	T v;
	int out = io_check(c, (u16)c->r[RDX], BYTES);

	if (!out)
		out = seg_linear(c, i->seg, c->r[RSI] & i->amask, BYTES, insn_acc(i, ACC_R), &lin);
	if (!out)
		out = LD(c, lin, &v, insn_acc(i, ACC_R));
	if (out)
		return out;
	c->ops->out(c, (u16)c->r[RDX], BYTES, v);
	io_watch(c, (u16)c->r[RDX], BYTES);
	io_advance(c, i, RSI, BYTES);
	return OUT_DONE;
}

int X(ins)(struct cpu *c, const struct insn *i)
{
	return io_repeat(c, i, H(ins_one));
}

int X(outs)(struct cpu *c, const struct insn *i)
{
	return io_repeat(c, i, H(outs_one));
}

#include "cpu/int_width_end.inc.h"
