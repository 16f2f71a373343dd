/* SPDX-License-Identifier: Apache-2.0
 * Instructions that invalidate: translations (SDM 3A 4.10.4.1) and caches, of which the guest's are the host's and need
 * nothing.
 */
#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "cpu/segment.h"
#include "cpu/sys.h"

/* A non-canonical address makes INVLPG a no-op; limits are not checked. */
int sys_invlpg(struct cpu *c, const struct insn *i)
{
	u64 lin = (c->d.ebase[i->seg] + insn_ea(c, i)) & c->d.lin_mask;

	if (sys_user(c))
		return cpu_gp(c, 0);
	if (cpu_canonical(c, lin))
		c->ops->tlb_page(c, lin);
	return OUT_END;
}

enum { INVPCID_ADDRESS, INVPCID_SINGLE, INVPCID_ALL, INVPCID_NON_GLOBAL };

static bool invpcid_valid(const struct cpu *c, u64 type, const u64 desc[2])
{
	if (type > INVPCID_NON_GLOBAL || desc[0] >> 12)
		return false;
	if (type <= INVPCID_SINGLE && desc[0] && !(c->cr4 & CR4_PCIDE))
		return false;
	return type != INVPCID_ADDRESS || cpu_canonical(c, desc[1]);
}

int sys_invpcid(struct cpu *c, const struct insn *i)
{
	static const u8 scope[] = { TLB_PCID_PAGE, TLB_PCID, TLB_ALL, TLB_NON_GLOBAL };
	u64 type = i->osz == 8 ? c->r[i->reg] : (u32)c->r[i->reg], desc[2], lin;
	int out;

	if (!cpu_has(c, FEAT_INVPCID))
		return cpu_ud(c);
	if (sys_user(c))
		return cpu_gp(c, 0);
	out = insn_linear(c, i, sizeof(desc), ACC_R, &lin);
	if (!out)
		out = cpu_ld(c, lin, desc, sizeof(desc), insn_acc(i, ACC_R | ACC_NOALIGN));
	if (out)
		return out;
	if (!invpcid_valid(c, type, desc))
		return cpu_gp(c, 0);
	c->ops->tlb_flush(c, scope[type], (u32)desc[0], desc[1]);
	return OUT_END;
}

int sys_invd(struct cpu *c, const struct insn *i)
{
	(void)i;
	return sys_user(c) ? cpu_gp(c, 0) : OUT_DONE;
}
