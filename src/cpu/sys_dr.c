/* SPDX-License-Identifier: Apache-2.0
 * MOV to and from the debug registers (SDM 3B 17.2, SDM 2B MOV). What the registers do is in debug.c.
 */
#include "cpu/debug.h"
#include "cpu/sys.h"

#define DR6_WRITABLE 0xe00full
#define DR6_FIXED 0xffff0ff0ull
#define DR7_WRITABLE 0xffff23ffull
#define DR7_FIXED 0x400ull

/* The register meant, DR4 and DR5 being other names of DR6 and DR7 unless CR4.DE; checks in the manual's order. */
static int select_dr(struct cpu *c, const struct insn *i, unsigned *n)
{
	*n = i->reg;
	if (*n > 7 || ((*n == 4 || *n == 5) && (c->cr4 & CR4_DE)))
		return cpu_ud(c);
	if (*n == 4 || *n == 5)
		*n += 2;
	if (sys_user(c))
		return cpu_gp(c, 0);
	if (!(c->dr[7] & DR7_GD))
		return OUT_DONE;
	cpu_raise(c, EXC_DB);
	c->exc.payload = DR6_BD;
	return OUT_FAULT;
}

int sys_mov_from_dr(struct cpu *c, const struct insn *i)
{
	unsigned n;
	int out = select_dr(c, i, &n);

	if (out)
		return out;
	c->r[i->rm] = i->osz == 8 ? c->dr[n] : (u32)c->dr[n];
	return OUT_DONE;
}

int sys_mov_to_dr(struct cpu *c, const struct insn *i)
{
	u64 val = i->osz == 8 ? c->r[i->rm] : (u32)c->r[i->rm];
	unsigned n;
	int out = select_dr(c, i, &n);

	if (out)
		return out;
	if (n >= 6 && val >> 32)
		return cpu_gp(c, 0);
	if (n == 6)
		val = (val & DR6_WRITABLE) | DR6_FIXED;
	else if (n == 7)
		val = (val & DR7_WRITABLE) | DR7_FIXED;
	c->dr[n] = val;
	cpu_update_mode(c);
	return OUT_END;
}
