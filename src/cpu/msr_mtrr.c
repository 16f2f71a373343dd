/* SPDX-License-Identifier: Apache-2.0
 * Memory types: MTRRs and PAT as registers with their checks (SDM 3A 12.11, 12.12). All guest memory is in fact cached
 * as the host caches it, so no type has an effect.
 */
#include "cpu/cpuid.h"
#include "cpu/msr.h"

/* MTRRcap: eight variable ranges, fixed ranges, write combining. */
#define MTRRCAP_VALUE (NR_MTRR_VAR | BIT(8) | BIT(10))
#define MTRR_VALID BIT(11)
#define MTRR_DEF_FIXED BIT(10)
#define MTRR_DEF_ENABLE BIT(11)

/* UC, WC, WT, WP, WB; PAT adds UC- (7). */
static bool type_valid(unsigned type, bool pat)
{
	return type < 8 && ((pat ? 0xf3 : 0x73) >> type & 1);
}

static bool types_valid(u64 val, bool pat)
{
	for (unsigned k = 0; k < 64; k += 8)
		if (!type_valid(val >> k & 0xff, pat))
			return false;
	return true;
}

bool msr_pat_valid(u64 val)
{
	return types_valid(val, true);
}

static u64 address_bits(const struct cpu *c)
{
	return (BIT(c->model->phys_bits) - 1) & PAGE_MASK;
}

/* Index of a fixed-range register in mtrr_fixed[], or -1. */
static int fixed_index(u32 idx)
{
	if (idx == MSR_MTRR_FIX64K)
		return 0;
	if (idx == MSR_MTRR_FIX16K_8 || idx == MSR_MTRR_FIX16K_A)
		return (int)(idx - MSR_MTRR_FIX16K_8) + 1;
	if (idx >= MSR_MTRR_FIX4K && idx < MSR_MTRR_FIX4K + 8)
		return (int)(idx - MSR_MTRR_FIX4K) + 3;
	return -1;
}

static bool is_variable(u32 idx)
{
	return idx >= MSR_MTRR_PHYSBASE0 && idx < MSR_MTRR_PHYSBASE0 + 2 * NR_MTRR_VAR;
}

bool msr_mtrr_read(const struct cpu *c, u32 idx, u64 *val)
{
	unsigned k = (idx - MSR_MTRR_PHYSBASE0) / 2;

	if (idx == MSR_MTRRCAP)
		*val = MTRRCAP_VALUE;
	else if (idx == MSR_MTRR_DEF_TYPE)
		*val = c->mtrr_def_type;
	else if (is_variable(idx))
		*val = idx & 1 ? c->mtrr_physmask[k] : c->mtrr_physbase[k];
	else if (fixed_index(idx) >= 0)
		*val = c->mtrr_fixed[fixed_index(idx)];
	else
		return false;
	return true;
}

static bool write_variable(struct cpu *c, u32 idx, u64 val)
{
	unsigned k = (idx - MSR_MTRR_PHYSBASE0) / 2;

	if (idx & 1) {
		if (val & ~(address_bits(c) | MTRR_VALID))
			return false;
		c->mtrr_physmask[k] = val;
	} else {
		if ((val & ~(address_bits(c) | 0xff)) || !type_valid(val & 0xff, false))
			return false;
		c->mtrr_physbase[k] = val;
	}
	return true;
}

bool msr_mtrr_write(struct cpu *c, u32 idx, u64 val)
{
	if (idx == MSR_MTRR_DEF_TYPE) {
		if ((val & ~(0xff | MTRR_DEF_FIXED | MTRR_DEF_ENABLE)) || !type_valid(val & 0xff, false))
			return false;
		c->mtrr_def_type = val;
		return true;
	}
	if (is_variable(idx))
		return write_variable(c, idx, val);
	if (fixed_index(idx) < 0 || !types_valid(val, false))
		return false;
	c->mtrr_fixed[fixed_index(idx)] = val;
	return true;
}
