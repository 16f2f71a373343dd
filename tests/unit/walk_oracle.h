/* SPDX-License-Identifier: Apache-2.0
 * An independent page walk for tests: slow, literal, written from the text of SDM 3A sections 4.3 to 4.8, one rule
 * after the other, sharing nothing with src/mmu.
 */
#ifndef TESTS_WALK_ORACLE_H
#define TESTS_WALK_ORACLE_H

#include "cpu/x86.h"

enum oracle_mode { OM_NONE, OM_32, OM_PAE, OM_4, OM_5 };

struct oracle {
	u64 cr0, cr3, cr4, efer, pdpte[4];
	unsigned phys_bits;
	bool pse36, pdpe1gb, amd;
	unsigned cpl;
	bool ac;
	u64 (*read)(void *opaque, u64 gpa, unsigned size);
	void *opaque;
	/* made by oracle_prepare() */
	enum oracle_mode mode;
	u64 reserved[6][2]; /* by level, by "maps a page" */
};

struct oracle_result {
	bool fault;
	u32 error;
	u64 gpa, page_size;
	bool global;
	unsigned n; /* entries used, top first */
	unsigned entry_size;
	u64 entry[5], old[5], marked[5]; /* address, value, value after A and D are set */
};

static bool oracle_nxe(const struct oracle *o)
{
	return (o->cr4 & CR4_PAE) && (o->efer & EFER_NXE);
}

/* Is this bit of an entry at this level reserved? Tables 4-4 to 4-6 (32-bit), 4-8 to 4-11 (PAE), 4-15 to 4-20. */
static bool oracle_bit_reserved(const struct oracle *o, unsigned level, bool page, unsigned bit)
{
	if (o->mode == OM_32) {
		unsigned m = o->pse36 ? o->phys_bits : 32;

		if (m > 40)
			m = 40;
		/* a 4 MiB page: bits 21:(M-19) are reserved */
		return level == 2 && page && bit <= 21 && bit >= m - 19;
	}
	if (o->mode == OM_PAE && level == 3) /* PDPTE: 2:1, 8:5, 63:M */
		return bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= o->phys_bits;
	if (bit == 63)
		return !oracle_nxe(o);
	if (bit >= o->phys_bits)
		return o->mode == OM_PAE || bit <= 51;
	if (level == 2 && page)
		return bit >= 13 && bit <= 20;
	if (level == 3 && page) {
		if (!o->pdpe1gb)
			return bit == 7;
		return bit >= 13 && bit <= 29;
	}
	if (level >= 4 && bit == 7)
		return true;
	return level >= 3 && bit == 8 && o->amd && (level > 3 || !page);
}

static inline void oracle_prepare(struct oracle *o)
{
	if (!(o->cr0 & CR0_PG))
		o->mode = OM_NONE;
	else if (!(o->cr4 & CR4_PAE))
		o->mode = OM_32;
	else if (!(o->efer & EFER_LMA))
		o->mode = OM_PAE;
	else
		o->mode = o->cr4 & CR4_LA57 ? OM_5 : OM_4;
	memset(o->reserved, 0, sizeof(o->reserved));
	for (unsigned level = 1; level <= 5; level++)
		for (unsigned page = 0; page < 2; page++)
			for (unsigned bit = 0; bit < 64; bit++)
				if (oracle_bit_reserved(o, level, page, bit))
					o->reserved[level][page] |= 1ull << bit;
}

/* SDM 3A 4.6.1. user_page: U/S is 1 in every entry; writable: R/W likewise; nx: XD is 1 in some entry. */
static bool oracle_permitted(const struct oracle *o, unsigned acc, bool user_page, bool writable, bool nx)
{
	bool user_access = o->cpl == 3 && !(acc & ACC_SYS), implicit = acc & ACC_SYS;

	nx = nx && oracle_nxe(o);
	if (user_access) {
		if (!user_page)
			return false;
		if (acc & ACC_X)
			return !nx;
		return acc & (ACC_W | ACC_RMW) ? writable : true;
	}
	if (acc & ACC_X) {
		if (user_page && (o->cr4 & CR4_SMEP))
			return false;
		return !nx;
	}
	if (user_page && (o->cr4 & CR4_SMAP)) {
		if (implicit || !o->ac)
			return false;
	}
	if (acc & (ACC_W | ACC_RMW))
		return writable || !(o->cr0 & CR0_WP);
	return true;
}

static inline void oracle_fault(const struct oracle *o, unsigned acc, u32 cause, struct oracle_result *r)
{
	r->fault = true;
	r->error = cause;
	if (acc & (ACC_W | ACC_RMW))
		r->error |= PF_W;
	if (o->cpl == 3 && !(acc & ACC_SYS))
		r->error |= PF_U;
	if ((acc & ACC_X) && ((o->cr4 & CR4_SMEP) || oracle_nxe(o)))
		r->error |= PF_I;
}

static bool oracle_entry_ok(const struct oracle *o, unsigned level, u64 e, bool page, unsigned acc,
			    struct oracle_result *r)
{
	if (!(e & 1))
		oracle_fault(o, acc, 0, r);
	else if (e & o->reserved[level][page])
		oracle_fault(o, acc, PF_P | PF_RSVD, r);
	return !r->fault;
}

static inline struct oracle_result oracle_walk(const struct oracle *o, u64 lin, unsigned acc)
{
	static const unsigned shift64[] = { 0, 12, 21, 30, 39, 48 }, shift32[] = { 0, 12, 22 };
	struct oracle_result r = { .entry_size = o->mode == OM_32 ? 4 : 8 };
	bool user = true, writable = true, nx = false, page = false;
	unsigned level = o->mode == OM_32 || o->mode == OM_PAE ? 2 : o->mode == OM_4 ? 4 : 5;
	u64 table = o->cr3 & 0x000ffffffffff000ull, e = 0, size;

	if (o->mode == OM_NONE) {
		r.gpa = lin;
		r.page_size = 4096;
		return r;
	}
	if (o->mode == OM_32)
		table &= 0xffffffff;
	if (o->mode == OM_PAE) {
		e = o->pdpte[lin >> 30 & 3];
		if (!oracle_entry_ok(o, 3, e, false, acc, &r))
			return r;
		table = e & 0x000ffffffffff000ull;
	}
	for (;; level--) {
		unsigned index = o->mode == OM_32 ? lin >> shift32[level] & 0x3ff : lin >> shift64[level] & 0x1ff;

		r.entry[r.n] = table + index * r.entry_size;
		e = o->read(o->opaque, r.entry[r.n], r.entry_size);
		r.old[r.n] = r.marked[r.n] = e;
		r.n++;
		page = level == 1 || (level <= 3 && (e & 0x80));
		if (o->mode == OM_32 && level == 2 && !(o->cr4 & CR4_PSE))
			page = false;
		if (!oracle_entry_ok(o, level, e, page, acc, &r))
			return r;
		user = user && (e & 4);
		writable = writable && (e & 2);
		nx = nx || (o->mode != OM_32 && e >> 63);
		if (page)
			break;
		table = e & (o->mode == OM_32 ? 0xfffff000ull : 0x000ffffffffff000ull);
	}
	size = 1ull << (o->mode == OM_32 ? shift32[level] : shift64[level]);
	if (o->mode == OM_32 && level == 2)
		r.gpa = (e & 0xffc00000) | (e >> 13 & 0xff) << 32;
	else
		r.gpa = e & 0x000ffffffffff000ull & ~(size - 1);
	r.gpa |= lin & (size - 1);
	r.page_size = size;
	r.global = (o->cr4 & CR4_PGE) && (e & 0x100);
	if (!oracle_permitted(o, acc, user, writable, nx)) {
		oracle_fault(o, acc, PF_P, &r);
		return r;
	}
	for (unsigned i = 0; i < r.n; i++)
		r.marked[i] |= 0x20;
	if (acc & (ACC_W | ACC_RMW))
		r.marked[r.n - 1] |= 0x40;
	return r;
}

#endif
