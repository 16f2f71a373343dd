/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_rmw.c.
 */
#include "cpu/int_width.inc.h"

static bool H(cas)(void *p, T *old, T val)
{
	bool ok;

	asm volatile("lock cmpxchg %[val], %[m]"
		     : "+a"(*old), "=@ccz"(ok), [m] "+m"(*(volatile H(guest) *)p)
		     : [val] "r"(val)
		     : "memory");
	return ok;
}

static void H(rmw_host)(void *p, H(rmw_fn) * op, T b, T k, T *old, u16 *f)
{
	const u16 f0 = *f;
	T v = *(volatile H(guest) *)p, val;

	do {
		*f = f0;
		val = op(f, v, b, k);
	} while (!H(cas)(p, &v, val));
	*old = v;
}

static int H(rmw_bus)(struct cpu *c, u64 lin, unsigned acc, H(rmw_fn) * op, T b, T k, T *old, u16 *f)
{
	const u16 f0 = *f;
	T v, val, seen = 0;
	int out = c->ops->load(c, lin, &v, BYTES, acc | ACC_RMW);

	for (int n = 0; !out && n < RMW_TRIES; n++) {
		*f = f0;
		val = op(f, v, b, k);
		out = c->ops->cmpxchg(c, lin, &v, &val, &seen, BYTES);
		if (!out && seen == v) {
			*old = v;
			return OUT_DONE;
		}
		v = seen;
	}
	return out ? out : OUT_AGAIN;
}

int H(int_rmw_slow)(struct cpu *c, u64 lin, unsigned acc, bool lock, H(rmw_fn) * op, T b, T k, T *old, u16 *f)
{
	T val;
	int out = OUT_DONE;
	void *p;

	if (lock) {
		p = int_pin_locked(c, lin, BYTES, acc, &out);
		if (unlikely(out))
			return out;
		if (unlikely(!p))
			return H(rmw_bus)(c, lin, acc, op, b, k, old, f);
		H(rmw_host)(p, op, b, k, old, f);
		return OUT_DONE;
	}
	out = c->ops->load(c, lin, old, BYTES, (acc & ~ACC_W) | ACC_RMW);
	if (out)
		return out;
	val = op(f, *old, b, k);
	return c->ops->store(c, lin, &val, BYTES, acc | ACC_W);
}

#include "cpu/int_width_end.inc.h"
