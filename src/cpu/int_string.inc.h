/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_string.c.
 */
#include "cpu/int_width.inc.h"

#if W == 8
#define SFX "b"
#elif W == 16
#define SFX "w"
#elif W == 32
#define SFX "l"
#else
#define SFX "q"
#endif

/* One element of the source (seg:rSI) and of the destination (ES:rDI). */
static inline int H(load_src)(struct cpu *c, const struct insn *i, T *v)
{
	u64 lin;
	int out = seg_linear(c, i->seg, c->r[RSI] & i->amask, BYTES, insn_acc(i, ACC_R), &lin);

	return unlikely(out) ? out : LD(c, lin, v, insn_acc(i, ACC_R));
}

static inline int H(load_dst)(struct cpu *c, const struct insn *i, T *v)
{
	u64 lin;
	int out = seg_linear(c, SEG_ES, c->r[RDI] & i->amask, BYTES, ACC_R, &lin);

	return unlikely(out) ? out : LD(c, lin, v, ACC_R);
}

static inline int H(store_dst)(struct cpu *c, const struct insn *i, T v)
{
	u64 lin;
	int out = seg_linear(c, SEG_ES, c->r[RDI] & i->amask, BYTES, ACC_W, &lin);

	return unlikely(out) ? out : STO(c, lin, v, ACC_W);
}

static inline s64 H(step)(const struct cpu *c)
{
	return c->rflags & FLAG_DF ? -(s64)BYTES : (s64)BYTES;
}

/* ---- single elements ---------------------------------------------------------------------------------------- */

static inline int H(movs_one)(struct cpu *c, const struct insn *i)
{
	T v;
	int out = H(load_src)(c, i, &v);

	if (likely(!out))
		out = H(store_dst)(c, i, v);
	if (unlikely(out))
		return out;
	string_advance(c, i, RSI, H(step)(c));
	string_advance(c, i, RDI, H(step)(c));
	return OUT_DONE;
}

static inline int H(stos_one)(struct cpu *c, const struct insn *i)
{
	int out = H(store_dst)(c, i, H(get)(c, RAX));

	if (likely(!out))
		string_advance(c, i, RDI, H(step)(c));
	return out;
}

static inline int H(lods_one)(struct cpu *c, const struct insn *i)
{
	T v;
	int out = H(load_src)(c, i, &v);

	if (unlikely(out))
		return out;
	H(set)(c, RAX, v);
	string_advance(c, i, RSI, H(step)(c));
	return OUT_DONE;
}

static inline void H(compare)(struct cpu *c, T a, T b)
{
	u16 f;

	asm("cmp %[b], %[a]" FLAGS_SAVE : "=a"(f) : [a] "r"(a), [b] "r"(b) : "cc");
	c->aflags = f;
}

static inline int H(cmps_one)(struct cpu *c, const struct insn *i)
{
	T a, b;
	bool dst_first = cmps_dst_first(c, i, W);
	int out = dst_first ? H(load_dst)(c, i, &b) : H(load_src)(c, i, &a);

	if (likely(!out))
		out = dst_first ? H(load_src)(c, i, &a) : H(load_dst)(c, i, &b);
	if (unlikely(out))
		return out;
	H(compare)(c, a, b);
	string_advance(c, i, RSI, H(step)(c));
	string_advance(c, i, RDI, H(step)(c));
	return OUT_DONE;
}

static inline int H(scas_one)(struct cpu *c, const struct insn *i)
{
	T b;
	int out = H(load_dst)(c, i, &b);

	if (unlikely(out))
		return out;
	H(compare)(c, H(get)(c, RAX), b);
	string_advance(c, i, RDI, H(step)(c));
	return OUT_DONE;
}

/* ---- runs of elements, by the host's own instruction: n is at least 1; the pointers are of the first element ----- */

#define HOST_REP(insn) "rep " insn SFX
#define HOST_REP_DOWN(insn) "std\n\trep " insn SFX "\n\tcld"

static u64 H(movs_run)(struct cpu *c, const struct insn *i, u64 n)
{
	u64 source = n, done;
	bool written = false;
	u8 *from = string_run(c, i, i->seg, RSI, BYTES, NULL, &source), *to;

	n = source;
	to = from ? string_run(c, i, SEG_ES, RDI, BYTES, &written, &n) : NULL;
	if (!to)
		return 0;
	done = n;
	if (c->rflags & FLAG_DF)
		asm volatile(HOST_REP_DOWN("movs") : "+S"(from), "+D"(to), "+c"(n) : : "memory", "cc");
	else
		asm volatile(HOST_REP("movs") : "+S"(from), "+D"(to), "+c"(n) : : "memory", "cc");
	if (unlikely(written))
		c->ops->page_written(c);
	string_advance(c, i, RSI, H(step)(c) * (s64)done);
	string_advance(c, i, RDI, H(step)(c) * (s64)done);
	return done;
}

static u64 H(stos_run)(struct cpu *c, const struct insn *i, u64 n)
{
	bool written = false;
	u8 *to = string_run(c, i, SEG_ES, RDI, BYTES, &written, &n);
	u64 done = n;

	if (!to)
		return 0;
	if (c->rflags & FLAG_DF)
		asm volatile(HOST_REP_DOWN("stos") : "+D"(to), "+c"(n) : "a"(c->r[RAX]) : "memory", "cc");
	else
		asm volatile(HOST_REP("stos") : "+D"(to), "+c"(n) : "a"(c->r[RAX]) : "memory", "cc");
	if (unlikely(written))
		c->ops->page_written(c);
	string_advance(c, i, RDI, H(step)(c) * (s64)done);
	return done;
}

/* Only the last element stays. */
static u64 H(lods_run)(struct cpu *c, const struct insn *i, u64 n)
{
	u8 *from = string_run(c, i, i->seg, RSI, BYTES, NULL, &n);

	if (!from)
		return 0;
	H(set)(c, RAX, *(volatile H(guest) *)(from + H(step)(c) * (s64)(n - 1)));
	string_advance(c, i, RSI, H(step)(c) * (s64)n);
	return n;
}

#define COMPARE_RUN(insn, outs, ins)                                                                           \
	do {                                                                                                   \
		bool down = c->rflags & FLAG_DF, ne = i->flags & INSN_REPNE;                                   \
		if (down && ne)                                                                                \
			asm volatile("std\n\trepne " insn SFX "\n\tcld" FLAGS_SAVE:outs:ins : "memory", "cc"); \
		else if (down)                                                                                 \
			asm volatile("std\n\trepe " insn SFX "\n\tcld" FLAGS_SAVE:outs:ins : "memory", "cc");  \
		else if (ne)                                                                                   \
			asm volatile("repne " insn SFX FLAGS_SAVE:outs:ins : "memory", "cc");                  \
		else                                                                                           \
			asm volatile("repe " insn SFX FLAGS_SAVE:outs:ins : "memory", "cc");                   \
	} while (0)
#define COMMA ,

static u64 H(cmps_run)(struct cpu *c, const struct insn *i, u64 n)
{
	bool dst_first = cmps_dst_first(c, i, W);
	u8 *b = dst_first ? string_run(c, i, SEG_ES, RDI, BYTES, NULL, &n) : NULL, *a = NULL;
	u64 left, ax = 0;

	if (b || !dst_first)
		a = string_run(c, i, i->seg, RSI, BYTES, NULL, &n);
	if (a && !dst_first)
		b = string_run(c, i, SEG_ES, RDI, BYTES, NULL, &n);
	if (!a || !b)
		return 0;
	left = n;
	COMPARE_RUN("cmps", "+S"(a)COMMA "+D"(b)COMMA "+c"(left)COMMA "+a"(ax), );
	c->aflags = (u16)ax;
	string_advance(c, i, RSI, H(step)(c) * (s64)(n - left));
	string_advance(c, i, RDI, H(step)(c) * (s64)(n - left));
	return n - left;
}

static u64 H(scas_run)(struct cpu *c, const struct insn *i, u64 n)
{
	u8 *b = string_run(c, i, SEG_ES, RDI, BYTES, NULL, &n);
	u64 left = n, ax = c->r[RAX];

	if (!b)
		return 0;
	COMPARE_RUN("scas", "+D"(b)COMMA "+c"(left)COMMA "+a"(ax), );
	c->aflags = (u16)ax;
	string_advance(c, i, RDI, H(step)(c) * (s64)(n - left));
	return n - left;
}

/* ---- the instructions --------------------------------------------------------------------------------------- */

#define STRING_OP(name, more)                                                                                    \
	static int H(rep_##name)(struct cpu * c, const struct insn *i)                                           \
	{                                                                                                        \
		u64 n = c->r[RCX] & i->amask, done;                                                              \
		int out;                                                                                         \
		if (!n)                                                                                          \
			return string_empty(c, i);                                                               \
		done = string_single(c) ? 0 : H(name##_run)(c, i, n);                                            \
		if (!done) {                                                                                     \
			out = H(name##_one)(c, i);                                                               \
			if (unlikely(out))                                                                       \
				return out;                                                                      \
			done = 1;                                                                                \
		}                                                                                                \
		string_advance(c, i, RCX, -(s64)done);                                                           \
		return n != done && (more) ? OUT_AGAIN : OUT_DONE;                                               \
	}                                                                                                        \
	static int H(name)(struct cpu * c, const struct insn *i)                                                 \
	{                                                                                                        \
		return unlikely(i->flags & (INSN_REP | INSN_REPNE)) ? H(rep_##name)(c, i) : H(name##_one)(c, i); \
	}

STRING_OP(movs, true)
STRING_OP(stos, true)
STRING_OP(lods, true)
STRING_OP(cmps, string_goes_on(c, i))
STRING_OP(scas, string_goes_on(c, i))

#undef HOST_REP
#undef HOST_REP_DOWN
#undef COMPARE_RUN
#undef COMMA
#undef STRING_OP
#undef SFX
#include "cpu/int_width_end.inc.h"
