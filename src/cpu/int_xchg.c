// SPDX-License-Identifier: Apache-2.0
/* XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B. */
#include "cpu/cpuid.h"
#include "cpu/int.h"
#include "cpu/int_lock.h"

#define PAUSES 32 /* so many are a loop that waits */

/* Whoever it waits for may need this host CPU. */
static int int_pause(struct cpu *c)
{
	if (++c->pauses % PAUSES == 0 && c->ops->relax)
		c->ops->relax(c);
	return OUT_DONE;
}

#define W 8
#include "cpu/int_xchg.inc.h"
#define W 16
#include "cpu/int_xchg.inc.h"
#define W 32
#include "cpu/int_xchg.inc.h"
#define W 64
#include "cpu/int_xchg.inc.h"

static void set_zf(struct cpu *c, bool equal)
{
	c->aflags = (u16)((c->aflags & ~AF_ZF) | (equal ? AF_ZF : 0));
}

/* Atomic whether locked or not. On memory without a host address the operand is first loaded for writing, so that its
 * faults come before the compare-exchange. *seen is the expected value on entry and what was there on return. */
static int cmpxchg_pair(struct cpu *c, const struct insn *i, u64 lin, void *seen, const void *val, unsigned size,
			bool (*host)(void *p, void *seen, const void *val))
{
	u8 old[16], want[16];
	int out;
	void *p = int_pin_locked(c, lin, size, insn_acc(i, ACC_W), &out);

	if (unlikely(out))
		return out;
	if (likely(p && !((uintptr_t)p & (size - 1)))) {
		set_zf(c, host(p, seen, val));
		return OUT_DONE;
	}
	out = c->ops->load(c, lin, old, size, insn_acc(i, ACC_RMW));
	memcpy(want, seen, size);
	if (!out)
		out = c->ops->cmpxchg(c, lin, want, val, seen, size);
	if (!out)
		set_zf(c, !memcmp(want, seen, size));
	return out;
}

static bool host_cmpxchg8b(void *p, void *seen, const void *val)
{
	typedef u64 __attribute__((aligned(1), may_alias)) guest;
	bool ok;

	asm volatile("lock cmpxchgq %[val], %[m]"
		     : "+a"(*(u64 *)seen), "=@ccz"(ok), [m] "+m"(*(volatile guest *)p)
		     : [val] "r"(*(const u64 *)val)
		     : "memory");
	return ok;
}

static bool host_cmpxchg16b(void *p, void *seen, const void *val)
{
	const u64 *v = val;
	u64 *s = seen;
	bool ok;

	asm volatile("lock cmpxchg16b %[m]"
		     : "+a"(s[0]), "+d"(s[1]), "=@ccz"(ok), [m] "+m"(*(volatile u128 *)p)
		     : "b"(v[0]), "c"(v[1])
		     : "memory");
	return ok;
}

int x86_cmpxchg8b_32(struct cpu *c, const struct insn *i)
{
	u64 seen = c->r[RDX] << 32 | (u32)c->r[RAX], val = c->r[RCX] << 32 | (u32)c->r[RBX], lin;
	int out;

	if (!cpu_has(c, FEAT_CX8))
		return cpu_ud(c);
	out = insn_linear(c, i, 8, ACC_W, &lin);
	if (likely(!out))
		out = cmpxchg_pair(c, i, lin, &seen, &val, 8, host_cmpxchg8b);
	if (unlikely(out))
		return out;
	if (!(c->aflags & AF_ZF)) {
		set_32(c, RAX, (u32)seen);
		set_32(c, RDX, (u32)(seen >> 32));
	}
	return OUT_DONE;
}

/* SDM 2A: #GP(0) if not aligned on 16 bytes. */
int x86_cmpxchg8b_64(struct cpu *c, const struct insn *i)
{
	u64 seen[2] = { c->r[RAX], c->r[RDX] }, val[2] = { c->r[RBX], c->r[RCX] }, lin;
	int out;

	if (!cpu_has(c, FEAT_CX16))
		return cpu_ud(c);
	out = insn_linear(c, i, 16, ACC_W, &lin);
	if (likely(!out) && (lin & 15))
		return cpu_gp(c, 0);
	if (likely(!out))
		out = cmpxchg_pair(c, i, lin, seen, val, 16, host_cmpxchg16b);
	if (unlikely(out))
		return out;
	if (!(c->aflags & AF_ZF)) {
		c->r[RAX] = seen[0];
		c->r[RDX] = seen[1];
	}
	return OUT_DONE;
}
