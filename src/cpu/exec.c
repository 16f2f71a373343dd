/* SPDX-License-Identifier: Apache-2.0
 * One instruction by the library, as every engine's fallback runs it.
 */
#include "cpu/insn.h"

int cpu_exec(struct cpu *c, const struct insn *i)
{
	u64 rip = c->r[R_RIP];
	int out;

	c->r[R_RIP] = (rip + i->len) & c->d.lin_mask;
	out = i->exec(c, i);
	if (unlikely(out == OUT_FAULT || out == OUT_AGAIN || out == OUT_UNIMPL))
		c->r[R_RIP] = rip;
	return out;
}

int exec_ud(struct cpu *c, const struct insn *i)
{
	(void)i;
	return cpu_ud(c);
}

int exec_unimpl(struct cpu *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return OUT_UNIMPL;
}
