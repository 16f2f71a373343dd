/* SPDX-License-Identifier: Apache-2.0
 * Control registers: every rule of SDM 3A 2.5, 4.1 and 9.8 on what may be combined, the PDPTE registers of PAE paging
 * (4.4.1), and what each change does to cached translations (4.10.4).
 */
#include "cpu/sys.h"

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/lapic.h"

#define CR0_VALID (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR3_NO_FLUSH BIT(63)
#define TSS_TYPE_32 8u

/* ---- PDPTE registers ----------------------------------------------------------------------------------------------
 */

static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

static bool pdpte_valid(const struct cpu *c, u64 e)
{
	u64 reserved = ~(BIT(c->model->phys_bits) - 1) | 0x1e6;

	return !(e & 1) || !(e & reserved);
}

/* The four entries at cr3; false: one of them has reserved bits set and nothing was loaded. */
static bool load_pdptes(struct cpu *c, u64 cr3)
{
	u64 e[4];

	if (c->ops->phys_read(c, cr3 & 0xffffffe0, e, sizeof(e)))
		memset(e, 0xff, sizeof(e));
	for (unsigned k = 0; k < 4; k++)
		if (!pdpte_valid(c, e[k]))
			return false;
	memcpy(c->pdpte, e, sizeof(e));
	return true;
}

/* ---- CR0 ------------------------------------------------------------------------------------------------------------
 */

/* PG goes from 0 to 1: into which mode, and may it (SDM 3A 9.8.5)? False: #GP(0). */
static bool enter_paging(struct cpu *c, u64 *efer)
{
	if (!(c->efer & EFER_LME))
		return true;
	if (!(c->cr4 & CR4_PAE) || (c->seg[SEG_CS].attr & SEG_L) || !(c->tr.attr & TSS_TYPE_32))
		return false;
	*efer |= EFER_LMA;
	return true;
}

/* PG goes from 1 to 0: not out of 64-bit mode, not under PCIDs. */
static bool leave_paging(struct cpu *c, u64 *efer)
{
	if (c->d.long64 || (c->cr4 & CR4_PCIDE))
		return false;
	*efer &= ~EFER_LMA;
	return true;
}

int sys_write_cr0(struct cpu *c, u64 val)
{
	u64 old = c->cr0, efer = c->efer, changed;

	if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)))
		return cpu_gp(c, 0);
	val = (val & CR0_VALID) | CR0_ET;
	changed = old ^ val;
	if ((changed & CR0_PG) && !(val & CR0_PG ? enter_paging(c, &efer) : leave_paging(c, &efer)))
		return cpu_gp(c, 0);
	if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(val, c->cr4, efer) && !load_pdptes(c, c->cr3))
		return cpu_gp(c, 0);
	c->cr0 = val;
	c->efer = efer;
	if (changed & (CR0_PG | CR0_WP | CR0_PE))
		c->ops->tlb_flush(c, TLB_ALL, 0, 0);
	cpu_update_mode(c);
	return OUT_END;
}

/* ---- CR3 ------------------------------------------------------------------------------------------------------------
 */

static u64 cr3_reserved(const struct cpu *c)
{
	return c->efer & EFER_LMA ? ~(BIT(c->model->phys_bits) - 1) : 0;
}

int sys_write_cr3(struct cpu *c, u64 val)
{
	bool pcide = c->cr4 & CR4_PCIDE, keep = pcide && (val & CR3_NO_FLUSH);

	if (pcide)
		val &= ~CR3_NO_FLUSH;
	if (val & cr3_reserved(c))
		return cpu_gp(c, 0);
	if (pae_paging(c->cr0, c->cr4, c->efer) && !load_pdptes(c, val))
		return cpu_gp(c, 0);
	counter_inc(c->counters, CNT_CR3_LOADS);
	c->cr3 = val;
	if (!keep)
		c->ops->tlb_flush(c, TLB_PCID, pcide ? val & 0xfff : 0, 0);
	cpu_update_mode(c);
	return OUT_END;
}

/* ---- CR4 ------------------------------------------------------------------------------------------------------------
 */

u64 sys_cr4_valid(const struct cpu *c)
{
	static const struct {
		u16 feature;
		u32 bits;
	} by_feature[] = {
		{ FEAT_VME, CR4_VME | CR4_PVI }, { FEAT_TSC, CR4_TSD },	      { FEAT_DE, CR4_DE },
		{ FEAT_PSE, CR4_PSE },		 { FEAT_PAE, CR4_PAE },	      { FEAT_MCE, CR4_MCE },
		{ FEAT_PGE, CR4_PGE },		 { FEAT_FXSR, CR4_OSFXSR },   { FEAT_SSE, CR4_OSXMMEXCPT },
		{ FEAT_UMIP, CR4_UMIP },	 { FEAT_LA57, CR4_LA57 },     { FEAT_FSGSBASE, CR4_FSGSBASE },
		{ FEAT_PCID, CR4_PCIDE },	 { FEAT_XSAVE, CR4_OSXSAVE }, { FEAT_SMEP, CR4_SMEP },
		{ FEAT_SMAP, CR4_SMAP },
	};
	u64 valid = CR4_PCE;

	for (size_t k = 0; k < ARRAY_SIZE(by_feature); k++)
		if (cpu_has(c, by_feature[k].feature))
			valid |= by_feature[k].bits;
	return valid;
}

static bool cr4_allowed(const struct cpu *c, u64 val)
{
	u64 changed = c->cr4 ^ val;

	if (val & ~sys_cr4_valid(c))
		return false;
	if ((c->efer & EFER_LMA) && (!(val & CR4_PAE) || (changed & CR4_LA57)))
		return false;
	if (changed & val & CR4_PCIDE)
		return (c->efer & EFER_LMA) && !(c->cr3 & 0xfff);
	return true;
}

int sys_write_cr4(struct cpu *c, u64 val)
{
	const u64 reload = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP;
	const u64 flush = CR4_PGE | CR4_PAE | CR4_PSE | CR4_PCIDE | CR4_LA57 | CR4_SMEP | CR4_SMAP;
	u64 changed = c->cr4 ^ val;

	if (!cr4_allowed(c, val))
		return cpu_gp(c, 0);
	if ((changed & reload) && pae_paging(c->cr0, val, c->efer) && !load_pdptes(c, c->cr3))
		return cpu_gp(c, 0);
	c->cr4 = val;
	if (changed & flush)
		c->ops->tlb_flush(c, TLB_ALL, 0, 0);
	cpu_update_mode(c);
	return OUT_END;
}

/* ---- CR8 ------------------------------------------------------------------------------------------------------------
 */

static int write_cr8(struct cpu *c, u64 val)
{
	if (val & ~0xfull)
		return cpu_gp(c, 0);
	lapic_cr8_write(c, val);
	return OUT_END;
}

/* ---- instructions
 * ----------------------------------------------------------------------------------------------------- */

static bool cr_exists(unsigned n)
{
	return n == 0 || (n >= 2 && n <= 4) || n == 8;
}

static u64 read_cr(const struct cpu *c, unsigned n)
{
	switch (n) {
	case 0:
		return c->cr0;
	case 2:
		return c->cr2;
	case 3:
		return c->cr3;
	case 4:
		return c->cr4;
	default:
		return lapic_cr8_read(c);
	}
}

static int write_cr(struct cpu *c, unsigned n, u64 val)
{
	switch (n) {
	case 0:
		return sys_write_cr0(c, val);
	case 2:
		c->cr2 = val;
		return OUT_DONE;
	case 3:
		return sys_write_cr3(c, val);
	case 4:
		return sys_write_cr4(c, val);
	default:
		return write_cr8(c, val);
	}
}

int sys_mov_from_cr(struct cpu *c, const struct insn *i)
{
	u64 val;

	if (!cr_exists(i->reg))
		return cpu_ud(c);
	if (sys_user(c))
		return cpu_gp(c, 0);
	val = read_cr(c, i->reg);
	c->r[i->rm] = i->osz == 8 ? val : (u32)val;
	return OUT_DONE;
}

int sys_mov_to_cr(struct cpu *c, const struct insn *i)
{
	u64 val = i->osz == 8 ? c->r[i->rm] : (u32)c->r[i->rm];

	if (!cr_exists(i->reg))
		return cpu_ud(c);
	if (sys_user(c))
		return cpu_gp(c, 0);
	counter_inc(c->counters, CNT_CR_WRITE);
	cpu_trace(c, TRACE_CR, i->reg, read_cr(c, i->reg), val);
	return write_cr(c, i->reg, val);
}

int sys_clts(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (sys_user(c))
		return cpu_gp(c, 0);
	c->cr0 &= ~CR0_TS;
	cpu_update_mode(c);
	return OUT_END;
}

/* LMSW loads PE, MP, EM and TS; it can set PE but not clear it. */
int sys_lmsw(struct cpu *c, const struct insn *i)
{
	u16 word = (u16)c->r[i->rm];
	u64 lin;
	int out;

	if (sys_user(c))
		return cpu_gp(c, 0);
	if (i->flags & INSN_MEM) {
		out = insn_linear(c, i, 2, ACC_R, &lin);
		if (!out)
			out = cpu_ld16(c, lin, &word, insn_acc(i, ACC_R));
		if (out)
			return out;
	}
	return sys_write_cr0(c, (c->cr0 & ~0xeull) | (word & 0xf));
}

int sys_smsw(struct cpu *c, const struct insn *i)
{
	u64 lin;
	int out;

	if (sys_user(c) && (c->cr4 & CR4_UMIP))
		return cpu_gp(c, 0);
	if (i->flags & INSN_MEM) {
		out = insn_linear(c, i, 2, ACC_W, &lin);
		return out ? out : cpu_st16(c, lin, (u16)c->cr0, insn_acc(i, ACC_W));
	}
	if (i->osz == 2)
		c->r[i->rm] = (c->r[i->rm] & ~0xffffull) | (u16)c->cr0;
	else
		c->r[i->rm] = (u32)c->cr0;
	return OUT_DONE;
}
