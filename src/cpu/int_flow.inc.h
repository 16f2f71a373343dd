/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_flow.c: 16, 32 and 64 bits.
 */
#include "cpu/int_width.inc.h"

/* OUT_DONE if control may go to t, which is already cut to the operand size. */
static inline int H(check_target)(struct cpu *c, T t)
{
#if W == 64
	if (unlikely((t + BIT(47)) >> 48) && !cpu_canonical(c, t))
		return cpu_gp(c, 0);
#else
	if (unlikely(t > c->seg[SEG_CS].limit) && c->d.code != CODE64)
		return cpu_gp(c, 0);
#endif
	return OUT_DONE;
}

static inline int H(jump)(struct cpu *c, u64 to)
{
	int out = H(check_target)(c, (T)to);

	if (likely(!out))
		c->r[R_RIP] = (T)to;
	return out;
}

#if W != 64
/* A call beyond the limit on a stack whose page is not there: AMD's silicon tells of the page (seen on Zen 4). */
static int H(call_beyond)(struct cpu *c)
{
	u64 lin, was;

	if (cpu_is_amd(c) && !seg_linear(c, SEG_SS, (c->r[RSP] - BYTES) & c->d.sp_mask, BYTES, ACC_W | ACC_SS, &lin) &&
	    c->ops->load(c, lin, &was, BYTES, ACC_W | ACC_RMW | ACC_SS))
		return OUT_FAULT;
	return cpu_gp(c, 0);
}
#endif

SLOW_HALF H(call_slow)(struct cpu *c, u64 to)
{
	u64 sp = c->r[RSP];
	int out = H(check_target)(c, (T)to);

#if W != 64
	if (unlikely(out))
		return H(call_beyond)(c);
#endif
	if (likely(!out))
		out = stack_push(c, &sp, c->r[R_RIP], BYTES);
	if (unlikely(out))
		return out;
	stack_commit(c, sp);
	c->r[R_RIP] = (T)to;
	return OUT_DONE;
}

/* The target is checked before the stack (SDM 2A, CALL), but for call_beyond(). Operand size 64 means a flat stack. */
static inline int H(call)(struct cpu *c, u64 to)
{
#if W == 64
	u64 sp = c->r[RSP] - 8;
	volatile guest_64 *p = tlb_hit_w(c, sp, 8);

	if (likely(p && !((to + BIT(47)) >> 48))) {
		*p = c->r[R_RIP];
		c->r[RSP] = sp;
		c->r[R_RIP] = to;
		return OUT_DONE;
	}
#endif
	return H(call_slow)(c, to);
}

SLOW_HALF H(ret_slow)(struct cpu *c, unsigned release)
{
	u64 sp = c->r[RSP], to;
	int out = stack_pop(c, &sp, &to, BYTES);

	if (likely(!out))
		out = H(check_target)(c, (T)to);
	if (unlikely(out))
		return out;
	stack_commit(c, sp + release);
	c->r[R_RIP] = (T)to;
	return OUT_DONE;
}

static inline int H(ret)(struct cpu *c, unsigned release)
{
#if W == 64
	volatile guest_64 *p = tlb_hit_r(c, c->r[RSP], 8);
	u64 to;

	if (likely(p)) {
		to = *p;
		if (likely(!((to + BIT(47)) >> 48))) {
			c->r[RSP] += 8 + release;
			c->r[R_RIP] = to;
			return OUT_DONE;
		}
	}
#endif
	return H(ret_slow)(c, release);
}

static inline int H(branch)(struct cpu *c, const struct insn *i, bool taken)
{
	return taken ? H(jump)(c, c->r[R_RIP] + i->imm) : OUT_DONE;
}

/* LOOP and kin: rCX of the address size counts; it changes only if the branch does not fault. */
static inline int H(loop)(struct cpu *c, const struct insn *i, bool cond)
{
	u64 n = (c->r[RCX] - 1) & i->amask;
	int out = H(branch)(c, i, n && cond);

	if (likely(!out))
		c->r[RCX] = i->asz == 2 ? (c->r[RCX] & ~0xffffull) | n : n;
	return out;
}

static int H(jmp_rel)(struct cpu *c, const struct insn *i)
{
	return H(jump)(c, c->r[R_RIP] + i->imm);
}

static int H(call_rel)(struct cpu *c, const struct insn *i)
{
	return H(call)(c, c->r[R_RIP] + i->imm);
}

static int H(jmp_r)(struct cpu *c, const struct insn *i)
{
	return H(jump)(c, c->r[i->rm]);
}

static int H(jmp_m)(struct cpu *c, const struct insn *i)
{
	T v;
	int out;

	out = H(load)(c, i, &v);
	return unlikely(out) ? out : H(jump)(c, v);
}

static int H(call_r)(struct cpu *c, const struct insn *i)
{
	return H(call)(c, c->r[i->rm]);
}

static int H(call_m)(struct cpu *c, const struct insn *i)
{
	T v;
	int out;

	out = H(load)(c, i, &v);
	return unlikely(out) ? out : H(call)(c, v);
}

static int H(ret_near)(struct cpu *c, const struct insn *i)
{
	(void)i;
	return H(ret)(c, 0);
}

static int H(ret_imm)(struct cpu *c, const struct insn *i)
{
	return H(ret)(c, i->imm & 0xffff);
}

static int H(loop_any)(struct cpu *c, const struct insn *i)
{
	return H(loop)(c, i, true);
}

static int H(loope)(struct cpu *c, const struct insn *i)
{
	return H(loop)(c, i, (bool)(c->aflags & AF_ZF) == loop_sense(c, i, true));
}

static int H(loopne)(struct cpu *c, const struct insn *i)
{
	return H(loop)(c, i, (bool)(c->aflags & AF_ZF) == loop_sense(c, i, false));
}

static int H(jcxz)(struct cpu *c, const struct insn *i)
{
	return H(branch)(c, i, !(c->r[RCX] & i->amask));
}

#define JCC(name, cc)                                               \
	static int H(j##name)(struct cpu * c, const struct insn *i) \
	{                                                           \
		return H(branch)(c, i, flags_cond(cc, c->aflags));  \
	}
CONDITIONS(JCC)
#undef JCC
#include "cpu/int_width_end.inc.h"
