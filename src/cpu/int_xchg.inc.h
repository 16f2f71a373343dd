/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_xchg.c.
 */
#include "cpu/int_width.inc.h"

static T H(take_b)(u16 *f, T a, T b, T k)
{
	(void)f;
	(void)a;
	(void)k;
	return b;
}

static T H(xadd)(u16 *f, T a, T b, T k)
{
	(void)k;
	asm("add %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "=a"(*f) : [b] "r"(b) : "cc");
	return a;
}

/* k is the accumulator; an operand that differs from it is written back. */
static T H(cmpxchg)(u16 *f, T a, T b, T k)
{
	asm("cmp %[a], %[k]" FLAGS_SAVE : "=a"(*f) : [a] "r"(a), [k] "r"(k) : "cc");
	return a == k ? b : a;
}

/* Exchange with memory is locked without a prefix. */
int X(xchg_mr)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	u16 f = 0;
	T old;
	int out = insn_linear(c, i, BYTES, ACC_W, &lin);

	if (likely(!out))
		out = H(int_rmw_slow)(c, lin, insn_acc(i, ACC_W), true, H(take_b), H(get)(c, REG(i)), 0, &old, &f);
	if (likely(!out))
		H(set)(c, REG(i), old);
	return out;
}

int X(xchg_rr)(struct cpu *c, const struct insn *i)
{
	T a = H(get)(c, RM(i)), b = H(get)(c, REG(i));

	H(set)(c, RM(i), b);
	H(set)(c, REG(i), a);
	return OUT_DONE;
}

int X(xadd_mr)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	u16 f = c->aflags;
	T old;
	int out = insn_linear(c, i, BYTES, ACC_W, &lin);

	if (likely(!out))
		out = H(rmw_at)(c, lin, insn_acc(i, ACC_W), i->flags & INSN_LOCK, H(xadd), H(get)(c, REG(i)), 0, &old,
				&f);
	if (unlikely(out))
		return out;
	c->aflags = f;
	H(set)(c, REG(i), old);
	return OUT_DONE;
}

/* Where both operands are one register, the sum stays. */
int X(xadd_rr)(struct cpu *c, const struct insn *i)
{
	u16 f = c->aflags;
	T old = H(get)(c, RM(i)), sum = H(xadd)(&f, old, H(get)(c, REG(i)), 0);

	c->aflags = f;
	H(set)(c, REG(i), old);
	H(set)(c, RM(i), sum);
	return OUT_DONE;
}

int X(cmpxchg_mr)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	u16 f = c->aflags;
	T old;
	int out = insn_linear(c, i, BYTES, ACC_W, &lin);

	if (likely(!out))
		out = H(rmw_at)(c, lin, insn_acc(i, ACC_W), i->flags & INSN_LOCK, H(cmpxchg), H(get)(c, REG(i)),
				H(get)(c, RAX), &old, &f);
	if (unlikely(out))
		return out;
	c->aflags = f;
	if (!(f & AF_ZF))
		H(set)(c, RAX, old);
	return OUT_DONE;
}

#if W == 8
int X(cmpxchg_rr)(struct cpu *c, const struct insn *i)
{
	u16 f;
	T old = H(get)(c, RM(i)), val = H(cmpxchg)(&f, old, H(get)(c, REG(i)), H(get)(c, RAX));

	c->aflags = f;
	if (f & AF_ZF)
		H(set)(c, RM(i), val);
	else
		H(set)(c, RAX, old);
	return OUT_DONE;
}
#else
#define HOST_CMPXCHG(mod)                                                                               \
	asm("mov %[acc], %%rax\n\tcmpxchg %" mod "[src], %" mod "[dst]\n\tmov %%rax, %[acc]" FLAGS_SAVE \
	    : [acc] "+&r"(acc), [dst] "+&r"(dst), "=&a"(f)                                              \
	    : [src] "r"(src)                                                                            \
	    : "cc")

/* On the host with whole registers, for the upper halves that a doubleword form may or may not clear. */
int X(cmpxchg_rr)(struct cpu *c, const struct insn *i)
{
	u64 acc = c->r[RAX], dst = c->r[i->rm], src = c->r[i->reg];
	u16 f;

#if W == 16
	HOST_CMPXCHG("w");
#elif W == 32
	HOST_CMPXCHG("k");
#else
	HOST_CMPXCHG("q");
#endif
	c->aflags = f;
	c->r[RAX] = acc;
	c->r[i->rm] = dst;
	return OUT_DONE;
}
#undef HOST_CMPXCHG
#endif

#if W != 8
/* 90+r. 90 itself is NOP, which also keeps the upper half of RAX; behind F3 it is PAUSE. */
int X(xchg_ra)(struct cpu *c, const struct insn *i)
{
	T a = H(get)(c, RM(i));

	if (i->rm == RAX)
		return likely(i->pfx != PFX_F3) ? OUT_DONE : int_pause(c);
	H(set)(c, RM(i), H(get)(c, RAX));
	H(set)(c, RAX, a);
	return OUT_DONE;
}
#endif

#include "cpu/int_width_end.inc.h"
