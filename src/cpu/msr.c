/* SPDX-License-Identifier: Apache-2.0
 * RDMSR and WRMSR by one table: a row names a range, who has it (vendor, feature), and how it behaves. What no row
 * claims is #GP(0), as on hardware. Rows that read as zero stand for registers that guests touch without asking CPUID.
 */
#include "cpu/msr.h"

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/lapic.h"
#include "cpu/msr_parts.h"

#define HWCR_TSC_FREQ_SEL BIT(24)
#define HWCR_MC_STATUS_WR_EN BIT(18)
#define DE_CFG_LFENCE_SERIALIZE BIT(1)
#define MISC_ENABLE_VALID 0x400c51889ull
#define MISC_ENABLE_FORCED 0x1800ull /* BTS and PEBS unavailable */

bool cpu_canonical_max(const struct cpu *c, u64 lin)
{
	unsigned shift = 64u - c->model->lin_bits;

	return (u64)((s64)(lin << shift) >> shift) == lin;
}

/* ---- time ----------------------------------------------------------------------------------------------------------
 */

static void move_tsc(struct cpu *c, u64 delta)
{
	c->tsc_offset += delta;
	c->tsc_adjust += delta;
	lapic_tsc_changed(c);
	kvm_clock_update(c);
}

static bool tsc_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = cpu_guest_tsc(c);
	return true;
}

static bool tsc_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	move_tsc(c, val - cpu_guest_tsc(c));
	return true;
}

static bool tsc_adjust_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	move_tsc(c, val - c->tsc_adjust);
	return true;
}

/* ---- APIC ----------------------------------------------------------------------------------------------------------
 */

static bool apic_base_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	return lapic_base_write(c, val);
}

static bool x2apic_read(struct cpu *c, u32 idx, u64 *val)
{
	return lapic_x2apic_read(c, idx, val);
}

static bool x2apic_write(struct cpu *c, u32 idx, u64 val)
{
	return lapic_x2apic_write(c, idx, val);
}

static bool deadline_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = lapic_tsc_deadline_read(c);
	return true;
}

static bool deadline_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	lapic_tsc_deadline_write(c, val);
	return true;
}

/* ---- modes and segments
 * ---------------------------------------------------------------------------------------------- */

u64 msr_efer_valid(const struct cpu *c)
{
	return EFER_LMA | (cpu_has(c, FEAT_SYSCALL) ? EFER_SCE : 0) | (cpu_has(c, FEAT_LM) ? EFER_LME : 0) |
	       (cpu_has(c, FEAT_NX) ? EFER_NXE : 0) | (cpu_has(c, FEAT_FFXSR) ? EFER_FFXSR : 0) |
	       (cpu_has(c, FEAT_TCE) ? EFER_TCE : 0) | (cpu_has(c, FEAT_AUTOIBRS) ? EFER_AIBRSE : 0);
}

/* LMA is the processor's: what is written there is ignored. LME may not change under paging (SDM 3A 9.8.5). */
static bool efer_write(struct cpu *c, u32 idx, u64 val)
{
	u64 old = c->efer;

	(void)idx;
	if ((val & ~msr_efer_valid(c)) || ((c->cr0 & CR0_PG) && ((val ^ old) & EFER_LME)))
		return false;
	c->efer = (val & ~EFER_LMA) | (old & EFER_LMA);
	cpu_update_mode(c);
	if ((old ^ c->efer) & EFER_NXE)
		c->ops->tlb_flush(c, TLB_ALL, 0, 0);
	return true;
}

static bool seg_base_read(struct cpu *c, u32 idx, u64 *val)
{
	*val = c->seg[idx == MSR_FS_BASE ? SEG_FS : SEG_GS].base;
	return true;
}

static bool seg_base_write(struct cpu *c, u32 idx, u64 val)
{
	if (!cpu_canonical_max(c, val))
		return false;
	c->seg[idx == MSR_FS_BASE ? SEG_FS : SEG_GS].base = val;
	cpu_update_mode(c);
	return true;
}

/* Intel checks the SYSENTER addresses; AMD has 32 bits of them in use and takes any value. */
static bool sysenter_write(struct cpu *c, u32 idx, u64 val)
{
	unsigned shift = 64u - c->model->lin_bits;

	if (!cpu_canonical_max(c, val)) {
		if (!cpu_is_amd(c))
			return false;
		val = (u64)((s64)(val << shift) >> shift);
	}
	if (idx == MSR_SYSENTER_ESP)
		c->sysenter_esp = val;
	else
		c->sysenter_eip = val;
	return true;
}

static bool tsc_aux_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	if (val >> 32 && !cpu_is_amd(c))
		return false;
	c->tsc_aux = (u32)val;
	return true;
}

static bool tsc_aux_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = c->tsc_aux;
	return cpu_has(c, FEAT_RDTSCP) || cpu_has(c, FEAT_RDPID);
}

/* ---- memory types
 * ------------------------------------------------------------------------------------------------------ */

static bool mtrr_read(struct cpu *c, u32 idx, u64 *val)
{
	return msr_mtrr_read(c, idx, val);
}

static bool mtrr_write(struct cpu *c, u32 idx, u64 val)
{
	return msr_mtrr_write(c, idx, val);
}

static bool pat_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	if (!msr_pat_valid(val))
		return false;
	c->pat = val;
	return true;
}

/* ---- identity, speculation
 * ------------------------------------------------------------------------------------------------ */

static bool arch_caps_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = c->model->arch_capabilities;
	return true;
}

/* Intel: revision in the upper half; AMD: PATCH_LEVEL. */
static bool microcode_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = cpu_is_amd(c) ? c->model->microcode : (u64)c->model->microcode << 32;
	return true;
}

/* Maximum non-turbo ratio in units of 100 MHz, bits 15..8. */
static bool platform_info_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = MIN(cpuid_tsc_hz(c->model) / 100000000, 0xffull) << 8;
	return true;
}

/* IBRS, STIBP, SSBD, BHI_DIS_S. */
static u64 spec_ctrl_valid(const struct cpu *c)
{
	bool intel = cpu_has(c, FEAT_SPEC_CTRL);

	return (intel || cpu_has(c, FEAT_AMD_IBRS) ? BIT(0) : 0) |
	       (intel || cpu_has(c, FEAT_STIBP) || cpu_has(c, FEAT_AMD_STIBP) ? BIT(1) : 0) |
	       (cpu_has(c, FEAT_SSBD) || cpu_has(c, FEAT_AMD_SSBD) ? BIT(2) : 0) |
	       (cpu_has(c, FEAT_BHI_CTRL) ? BIT(10) : 0);
}

static bool spec_ctrl_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = c->spec_ctrl;
	return spec_ctrl_valid(c) != 0;
}

static bool spec_ctrl_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	if (!spec_ctrl_valid(c) || (val & ~spec_ctrl_valid(c)))
		return false;
	c->spec_ctrl = val;
	return true;
}

/* A command: bit 0 flushes what does not exist here. */
static bool pred_cmd_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	return (cpu_has(c, FEAT_SPEC_CTRL) || cpu_has(c, FEAT_AMD_IBPB)) && !(val & ~1ull);
}

static bool flush_cmd_write(struct cpu *c, u32 idx, u64 val)
{
	(void)c;
	(void)idx;
	return !(val & ~1ull);
}

static bool misc_enable_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	if (val & ~MISC_ENABLE_VALID)
		return false;
	c->misc_enable = val | MISC_ENABLE_FORCED;
	return true;
}

/* Locked by its own bit 0 until reset; VMX and SMX are not there to be enabled. */
static bool feature_control_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	if ((c->feature_control & 1) || (val & ~1ull))
		return false;
	c->feature_control = val;
	return true;
}

/* ---- machine check
 * ------------------------------------------------------------------------------------------------------- */

static bool mcg_cap_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)c;
	(void)idx;
	*val = NR_MC_BANKS | BIT(8); /* MCG_CTL present */
	return true;
}

static bool mcg_ctl_write(struct cpu *c, u32 idx, u64 val)
{
	(void)idx;
	if (val && val != ~0ull)
		return false;
	c->mcg_ctl = val;
	return true;
}

static u64 *mc_register(struct cpu *c, u32 idx)
{
	unsigned bank = (idx - MSR_MC0_CTL) / 4;
	u64 *r[4] = { &c->mc_ctl[bank], &c->mc_status[bank], &c->mc_addr[bank], &c->mc_misc[bank] };

	return r[idx % 4];
}

static bool mc_read(struct cpu *c, u32 idx, u64 *val)
{
	*val = *mc_register(c, idx);
	return true;
}

/* Software may only clear STATUS (SDM 3B 16.3.2), but on AMD's under HWCR.McStatusWrEn (APM 2, 9.3.2). ADDR and MISC
 * take anything, as on AMD's and under KVM; the SDM has #GP for ones there too, which no guest asks for. */
static bool mc_write(struct cpu *c, u32 idx, u64 val)
{
	bool status = idx % 4 == 1, control = idx % 4 == 0;

	if (status && val && !(cpu_is_amd(c) && (c->amd_hwcr & HWCR_MC_STATUS_WR_EN)))
		return false;
	/* all or nothing, as on P6 and under KVM; old kernels leave bit 10 (GART errors) or 0 out */
	if (control && val && (val | BIT(10) | 1) != ~0ull)
		return false;
	*mc_register(c, idx) = val;
	return true;
}

/* ---- AMD
 * ---------------------------------------------------------------------------------------------------------------------
 */

static bool hwcr_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = c->amd_hwcr | HWCR_TSC_FREQ_SEL;
	return true;
}

/* Bits 3, 6 and 8 (caches, FERR) do nothing here; the rest is not offered. */
static bool hwcr_write(struct cpu *c, u32 idx, u64 val)
{
	const u64 ignored = BIT(3) | BIT(6) | BIT(8) | HWCR_TSC_FREQ_SEL;

	(void)idx;
	if (val & ~(ignored | HWCR_MC_STATUS_WR_EN))
		return false;
	c->amd_hwcr = val & HWCR_MC_STATUS_WR_EN;
	return true;
}

static bool de_cfg_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)idx;
	*val = c->amd_de_cfg | DE_CFG_LFENCE_SERIALIZE;
	return true;
}

/* ---- the table
 * ------------------------------------------------------------------------------------------------------------- */

static bool zero_read(struct cpu *c, u32 idx, u64 *val)
{
	(void)c;
	(void)idx;
	*val = 0;
	return true;
}

static bool ignore_write(struct cpu *c, u32 idx, u64 val)
{
	(void)c;
	(void)idx;
	(void)val;
	return true;
}

static bool zero_only_write(struct cpu *c, u32 idx, u64 val)
{
	(void)c;
	(void)idx;
	return !val;
}

enum { ANY, INTEL, AMD };
enum { CANONICAL = 1 };
#define NO_FEATURE 0xffff

struct msr_row {
	u32 first, last;
	u8 vendor, flags;
	u16 feature;
	u16 field;	     /* offset of a u64 in struct cpu: read as it is, and written in the bits of `valid` */
	u64 valid;	     /* other bits are reserved: #GP(0) */
	msr_read_fn *read;   /* NULL: the field, or #GP(0) without one */
	msr_write_fn *write; /* NULL: the field, or #GP(0) */
};

#define FIELD(name) offsetof(struct cpu, name)
#define ALL_BITS (~0ull)
#define FN(a, b, v, f, rd, wr) { a, b, v, 0, f, 0, 0, rd, wr },
#define PLAIN(a, v, f, name, valid, flags) { a, a, v, flags, f, FIELD(name), valid, NULL, NULL },
#define FIELD_WR(a, v, f, name, wr) { a, a, v, 0, f, FIELD(name), 0, NULL, wr },
#define ZERO(a, b, v) { a, b, v, 0, NO_FEATURE, 0, 0, zero_read, ignore_write },

static const struct msr_row rows[] = {
#include "cpu/msr.def"
};

/* The rows stand in ascending order and do not overlap. */
static const struct msr_row *row_of(u32 idx)
{
	size_t lo = 0, hi = ARRAY_SIZE(rows);

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (idx > rows[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < ARRAY_SIZE(rows) && idx >= rows[lo].first ? &rows[lo] : NULL;
}

/* The row, if this model has the register. */
static const struct msr_row *find(const struct cpu *c, u32 idx)
{
	const struct msr_row *r = row_of(idx);

	if (!r || (r->vendor != ANY && (r->vendor == AMD) != cpu_is_amd(c)))
		return NULL;
	return r->feature == NO_FEATURE || cpu_has(c, r->feature) ? r : NULL;
}

static u64 *field_of(struct cpu *c, const struct msr_row *r)
{
	return r->field ? (u64 *)((char *)c + r->field) : NULL;
}

static bool read_row(struct cpu *c, const struct msr_row *r, u32 idx, u64 *val)
{
	if (r->read)
		return r->read(c, idx, val);
	if (!r->field)
		return false;
	*val = *field_of(c, r);
	return true;
}

static bool write_row(struct cpu *c, const struct msr_row *r, u32 idx, u64 val)
{
	if (r->write)
		return r->write(c, idx, val);
	if (!r->field || (val & ~r->valid) || ((r->flags & CANONICAL) && !cpu_canonical_max(c, val)))
		return false;
	*field_of(c, r) = val;
	return true;
}

int msr_read(struct cpu *c, u32 idx, u64 *val)
{
	const struct msr_row *r = find(c, idx);

	if (!r)
		counter_inc(c->counters, CNT_MSR_UNKNOWN);
	return r && read_row(c, r, idx, val) ? OUT_DONE : cpu_gp(c, 0);
}

int msr_write(struct cpu *c, u32 idx, u64 val)
{
	const struct msr_row *r = find(c, idx);

	if (!r)
		counter_inc(c->counters, CNT_MSR_UNKNOWN);
	return r && write_row(c, r, idx, val) ? OUT_DONE : cpu_gp(c, 0);
}
