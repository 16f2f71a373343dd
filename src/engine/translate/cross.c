/* SPDX-License-Identifier: Apache-2.0
 * SYSCALL and SYSRET between 64-bit user code and a 64-bit kernel: cpu/sys_call.c's frequent case, and on to the target
 * by the recent jumps.
 */
#include "engine/translate/cross.h"

#include "cpu/sys.h"
#include "mmu/mmu.h"

/* The instruction has retired; the next block looks at attention and count. */
static struct left go(struct translate *t, struct cpu *c, u64 at)
{
	u64 lin = c->r[R_RIP];
	const struct jump *j = &t->low->jump[jump_slot(lin)];

	c->icount += (at & 63) + 1;
	if (interp_native(&t->in))
		return (struct left){ LEAVE_NEXT, 0 };
	if (unlikely(j->lin != lin || j->salt != c->salt))
		return (struct left){ LEAVE_NEXT, 0 };
	c->r[R_RIP] = lin & PAGE_MASK;
	return (struct left){ LEAVE_GO, (u64)(uintptr_t)j->code };
}

/* A level that waits for a change of flags (in.ignored) is the general way's. */
static struct left cross_syscall(struct cpu *c, u64 at)
{
	struct translate *t = c->engine;

	return unlikely(t->in.ignored) || !sys_syscall_plain(c) ? hand_over(c, at) : go(t, c, at);
}

static struct left cross_sysret(struct cpu *c, u64 at)
{
	struct translate *t = c->engine;

	if (unlikely(t->in.ignored) || !sys_sysret_plain(c, (const struct insn *)(at & ~63ull)))
		return hand_over(c, at);
	return go(t, c, at);
}

cross_fn *const cross_functions[NR_CROSS] = { [CROSS_SYSCALL] = cross_syscall, [CROSS_SYSRET] = cross_sysret };

int cross_find(const struct translate *t, const struct insn *i)
{
	static exec_fn *const exec[NR_CROSS] = { [CROSS_SYSCALL] = sys_syscall, [CROSS_SYSRET] = sys_sysret };

	for (int n = 0; opt(t, OPT_FAST) && n < NR_CROSS; n++)
		if (i->exec == exec[n])
			return n;
	return -1;
}
