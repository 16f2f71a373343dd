/* SPDX-License-Identifier: Apache-2.0
 * The operand-width template: defines, for W bits (8, 16, 32, 64), the types and the operand access that handlers are
 * written in. A family's template includes this file first; int_width_end.inc.h takes the names away again.
 *
 *	T, S		the unsigned and signed type		H(name)		a helper of this width, name_W
 *	REG(i), RM(i)	operand names for H(get) and H(set)	X(name)		an exec function, x86_name_W
 *	LOAD_INSN STORE_INSN RMW_INSN	whole exec functions of a memory form
 *
 * The helpers are defined once a translation unit and width; the names as often as needed.
 */
#include "cpu/int.h"

#define INT_CAT_(a, b) a##b
#define INT_CAT(a, b) INT_CAT_(a, b)
#define T INT_CAT(u, W)
#define S INT_CAT(s, W)
#define H(name) INT_CAT(name##_, W)
#define X(name) INT_CAT(x86_##name##_, W)
#define BYTES (W / 8)
#define LD INT_CAT(cpu_ld, W)
#define STO INT_CAT(cpu_st, W)
#if W == 8
#define REG(i) ((i)->reg8)
#define RM(i) ((i)->rm8)
#else
#define REG(i) ((i)->reg)
#define RM(i) ((i)->rm)
#endif

/* Exec functions whose hit path makes no call and so keeps no frame; a miss starts over in a function of its own.
 * LOAD_INSN (_FROM: of another width): run is an expression of c, i and the loaded v. STORE_INSN: val is what is
 * stored. RMW_INSN: as H(rmw). */
#define SLOW_HALF static __attribute__((noinline, cold)) int
#define LOAD_INSN(name, run) LOAD_INSN_FROM(name, W, run)
#define LOAD_INSN_FROM(name, bits, run)                                            \
	SLOW_HALF H(name##_slow)(struct cpu * c, const struct insn *i)             \
	{                                                                          \
		INT_CAT(u, bits) v = 0;                                            \
		int out = INT_CAT(load_slow_, bits)(c, i, &v);                     \
		return out ? out : (run);                                          \
	}                                                                          \
	int X(name)(struct cpu * c, const struct insn *i)                          \
	{                                                                          \
		void *p;                                                           \
		if (likely(insn_hit_r(c, i, bits / 8, &p))) {                      \
			INT_CAT(u, bits) v = *(volatile INT_CAT(guest_, bits) *)p; \
			return (run);                                              \
		}                                                                  \
		return H(name##_slow)(c, i);                                       \
	}
#define STORE_INSN(name, val)                               \
	int X(name)(struct cpu * c, const struct insn *i)   \
	{                                                   \
		void *p;                                    \
		if (unlikely(!insn_hit_w(c, i, BYTES, &p))) \
			return H(store_slow)(c, i, (val));  \
		*(volatile H(guest) *)p = (val);            \
		return OUT_DONE;                            \
	}
#define RMW_INSN(name, op, b, k)                                                      \
	SLOW_HALF H(name##_slow)(struct cpu * c, const struct insn *i)                \
	{                                                                             \
		return H(rmw)(c, i, op, b, k);                                        \
	}                                                                             \
	int X(name)(struct cpu * c, const struct insn *i)                             \
	{                                                                             \
		void *p;                                                              \
		u16 f = c->aflags;                                                    \
		if (unlikely(!insn_hit_w(c, i, BYTES, &p) || (i->flags & INSN_LOCK))) \
			return H(name##_slow)(c, i);                                  \
		*(volatile H(guest) *)p = op(&f, *(volatile H(guest) *)p, b, k);      \
		c->aflags = f;                                                        \
		return OUT_DONE;                                                      \
	}

#if !defined(INT_HAVE_8) && W == 8
#define INT_HAVE_8
#define INT_DEFINE
#elif !defined(INT_HAVE_16) && W == 16
#define INT_HAVE_16
#define INT_DEFINE
#elif !defined(INT_HAVE_32) && W == 32
#define INT_HAVE_32
#define INT_DEFINE
#elif !defined(INT_HAVE_64) && W == 64
#define INT_HAVE_64
#define INT_DEFINE
#endif

#ifdef INT_DEFINE
#undef INT_DEFINE

typedef T __attribute__((aligned(1), may_alias)) H(guest);

/* r is a register number, or for bytes the offset that reg8 and rm8 hold. The accumulator is 0 in both. */
static inline T H(get)(const struct cpu *c, unsigned r)
{
#if W == 8
	return ((const u8 *)c->r)[r];
#else
	return (T)c->r[r];
#endif
}

/* Bytes and words merge, doublewords clear the upper half. */
static inline void H(set)(struct cpu *c, unsigned r, T v)
{
#if W == 8
	((u8 *)c->r)[r] = v;
#elif W == 16
	*(u16 __attribute__((may_alias)) *)&c->r[r] = v;
#else
	c->r[r] = v;
#endif
}

static __attribute__((noinline, unused, cold)) int H(load_slow)(struct cpu *c, const struct insn *i, T *v)
{
	u64 lin;
	int out = insn_linear(c, i, BYTES, ACC_R, &lin);

	if (unlikely(out))
		return out;
	return LD(c, lin, v, insn_acc(i, ACC_R));
}

static inline __attribute__((always_inline)) int H(load)(struct cpu *c, const struct insn *i, T *v)
{
	void *p;
	T slow = 0;
	int out;

	if (likely(insn_hit_r(c, i, BYTES, &p))) {
		*v = *(volatile H(guest) *)p;
		return OUT_DONE;
	}
	out = H(load_slow)(c, i, &slow);
	*v = slow;
	return out;
}

static __attribute__((noinline, unused, cold)) int H(store_slow)(struct cpu *c, const struct insn *i, T v)
{
	u64 lin;
	int out = insn_linear(c, i, BYTES, ACC_W, &lin);

	if (unlikely(out))
		return out;
	return STO(c, lin, v, insn_acc(i, ACC_W));
}

static inline __attribute__((always_inline)) int H(store)(struct cpu *c, const struct insn *i, T v)
{
	void *p;

	if (unlikely(!insn_hit_w(c, i, BYTES, &p)))
		return H(store_slow)(c, i, v);
	*(volatile H(guest) *)p = v;
	return OUT_DONE;
}

/* Replaces the operand at lin by op(f, it, b, k), atomically if lock; *old is what was there. Commits memory only. */
static inline __attribute__((always_inline)) int H(rmw_at)(struct cpu *c, u64 lin, unsigned acc, bool lock,
							   H(rmw_fn) * op, T b, T k, T *old, u16 *f)
{
	volatile H(guest) *p = tlb_hit_w(c, lin, BYTES);

	if (unlikely(!p || lock))
		return H(int_rmw_slow)(c, lin, acc, lock, op, b, k, old, f);
	*old = *p;
	*p = op(f, *old, b, k);
	return OUT_DONE;
}

/* The usual read-modify-write instruction: memory operand, second source b, flags committed with it. */
static inline __attribute__((always_inline)) int H(rmw)(struct cpu *c, const struct insn *i, H(rmw_fn) * op, T b, T k)
{
	u64 lin;
	u16 f = c->aflags;
	T old;
	int out = insn_linear(c, i, BYTES, ACC_W, &lin);

	if (unlikely(out))
		return out;
	out = H(rmw_at)(c, lin, insn_acc(i, ACC_W), i->flags & INSN_LOCK, op, b, k, &old, &f);
	if (likely(!out))
		c->aflags = f;
	return out;
}

/* The same on a register. */
static inline __attribute__((always_inline)) int H(rmr)(struct cpu *c, unsigned r, H(rmw_fn) * op, T b, T k)
{
	u16 f = c->aflags;
	T v = op(&f, H(get)(c, r), b, k);

	c->aflags = f;
	H(set)(c, r, v);
	return OUT_DONE;
}

#endif
