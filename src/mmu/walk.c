/* SPDX-License-Identifier: Apache-2.0
 * The page walk (SDM 3A chapter 4): no paging, 32-bit, PAE, 4-level and 5-level.
 *
 * The walk reads each entry once, collects the rights, decides, and only then writes: A bits on every level and D on
 * the leaf, by compare-exchange with the entry as it was read; if one of them has changed meanwhile, the walk starts
 * again. A walk that faults writes nothing. Tables in ROM keep their bits; tables in device windows are read as the
 * window reads, holes as ones.
 */
#include "mmu/state.h"

#include "base/counter.h"
#include "cpu/cpuid.h"

#define ADDR_MASK 0x000ffffffffff000ull
#define INLINE static inline __attribute__((always_inline))

/* ---- mode ------------------------------------------------------------------------------------------------------ */

static enum paging paging_mode(const struct cpu *c)
{
	if (!(c->cr0 & CR0_PG))
		return PAGING_NONE;
	if (!(c->cr4 & CR4_PAE))
		return PAGING_32;
	if (!(c->efer & EFER_LMA))
		return PAGING_PAE;
	return c->cr4 & CR4_LA57 ? PAGING_5LEVEL : PAGING_4LEVEL;
}

/* Bits hi..lo, none if hi < lo. */
static u64 span(int hi, int lo)
{
	return hi < lo ? 0 : (~0ull >> (63 - hi)) & (~0ull << lo);
}

/* Tables 4-4 to 4-6: a 4 MiB page's bits 20:13 are address bits 39:32, as many of them as exist. */
static void reserved_32(struct mmu *u, int phys)
{
	if (!cpu_has(u->c, FEAT_PSE36))
		phys = 32;
	u->rsvd[1][2] = BIT(21) | span(20, MIN(phys, 40) - 32 + 13);
}

/* Tables 4-8 to 4-11 and 4-15 to 4-20. AMD's CPUs reserve bit 8 in entries above the PDE that name a table. */
static void reserved_64(struct mmu *u, int phys)
{
	bool pae = u->paging == PAGING_PAE;
	u64 all = span(pae ? 62 : 51, phys) | (u->nxe ? 0 : BIT(63));
	u64 table = cpu_is_amd(u->c) ? BIT(8) : 0;

	u->rsvd[0][1] = u->rsvd[1][1] = u->rsvd[0][2] = all;
	u->rsvd[1][2] = all | span(20, 13);
	if (pae) {
		u->rsvd[0][3] = u->rsvd[1][3] = span(63, phys) | span(8, 5) | span(2, 1);
		return;
	}
	u->rsvd[0][3] = all | table;
	u->rsvd[1][3] = all | (cpu_has(u->c, FEAT_PDPE1GB) ? span(29, 13) : PTE_PS);
	u->rsvd[0][4] = u->rsvd[1][4] = u->rsvd[0][5] = u->rsvd[1][5] = all | PTE_PS | table;
}

void walk_refresh(struct mmu *u)
{
	const struct cpu *c = u->c;
	bool pg = c->cr0 & CR0_PG;

	u->paging = paging_mode(c);
	u->wp = c->cr0 & CR0_WP;
	u->smep = pg && (c->cr4 & CR4_SMEP);
	u->smap = pg && (c->cr4 & CR4_SMAP);
	u->nxe = (c->cr4 & CR4_PAE) && (c->efer & EFER_NXE);
	u->pge = c->cr4 & CR4_PGE;
	u->pse = c->cr4 & CR4_PSE;
	u->pf_fetch = u->nxe || u->smep ? PF_I : 0;
	memset(u->rsvd, 0, sizeof(u->rsvd));
	if (u->paging == PAGING_32)
		reserved_32(u, c->model->phys_bits);
	else if (u->paging != PAGING_NONE)
		reserved_64(u, c->model->phys_bits);
}

/* ---- entries --------------------------------------------------------------------------------------------------- */

/* One entry on the way down. */
struct step {
	u64 val, gpa;
	void *host; /* NULL: not RAM, its bits stay as they are */
};

INLINE void step_read(struct mmu *u, struct step *s, u64 gpa, unsigned size)
{
	u64 w;

	s->gpa = mem_a20(u->m, gpa);
	w = mem_frame(u->m, s->gpa);
	if (unlikely(!(w & FW_RAM))) {
		s->host = NULL;
		s->val = mem_mmio_read(u->m, s->gpa, size, NULL);
		return;
	}
	s->host = frame_host(w) + (s->gpa & ~PAGE_MASK);
	if (size == 8)
		s->val = __atomic_load_n((const u64 *)s->host, __ATOMIC_RELAXED);
	else
		s->val = __atomic_load_n((const u32 *)s->host, __ATOMIC_RELAXED);
}

/* Sets bits in the guest's entry if it still is what was read. False: it changed, walk again. */
static bool step_mark(struct mmu *u, struct step *s, u64 mark, unsigned size)
{
	bool code = mem_frame(u->m, s->gpa) & FW_CODE;
	u32 val32 = (u32)s->val;
	u64 val = s->val;
	bool ok;

	mem_mark_dirty(u->m, s->gpa, size);
	if (code)
		mem_before_write(u->m, s->gpa, size);
	if (size == 8)
		ok = __atomic_compare_exchange_n((u64 *)s->host, &val, val | mark, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_RELAXED);
	else
		ok = __atomic_compare_exchange_n((u32 *)s->host, &val32, val32 | (u32)mark, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_RELAXED);
	if (code)
		mem_after_write(u->m, s->gpa, size);
	return ok;
}

INLINE bool step_used(struct mmu *u, struct step *s, u64 mark, unsigned size)
{
	if (likely((s->val & mark) == mark) || unlikely(!s->host))
		return true;
	return step_mark(u, s, mark, size);
}

static u32 fault_code(const struct mmu *u, unsigned want, enum tlb_mode mode, u32 cause)
{
	return cause | (want == WALK_W ? PF_W : 0) | (mode == MODE_USER ? PF_U : 0) |
	       (want == WALK_X ? u->pf_fetch : 0);
}

/* ---- the walks: 0 done, 1 fault (*error), 2 again --------------------------------------------------------------- */

enum { WALK_DONE, WALK_FAULT, WALK_AGAIN };

struct request {
	u64 lin;
	unsigned want;
	enum tlb_mode mode;
	bool update;
};

/* Marks for the leaf at s[leaf]; the D bit that a write sets counts in *attr. */
INLINE int finish(struct mmu *u, const struct request *q, struct step *s, int top, int leaf, unsigned size, u64 *attr,
		  u32 *error)
{
	u64 dirty = q->want == WALK_W ? PTE_D : 0;

	if (q->want && unlikely(!(mmu_rights(u, *attr, q->mode) & q->want))) {
		*error = fault_code(u, q->want, q->mode, PF_P);
		return WALK_FAULT;
	}
	if (!q->update)
		return WALK_DONE;
	for (int level = top; level > leaf; level--)
		if (!step_used(u, &s[level], PTE_A, size))
			return WALK_AGAIN;
	if (!step_used(u, &s[leaf], PTE_A | dirty, size))
		return WALK_AGAIN;
	*attr |= dirty;
	return WALK_DONE;
}

/* PAT index: bits PWT, PCD and the leaf's PAT bit (bit 7 of a PTE, 12 of a larger page), at ATTR_PAT. */
INLINE u64 pat_attr(u64 leaf, bool large)
{
	u64 pat = large ? leaf >> 12 & 1 : leaf >> 7 & 1;

	return (pat << 2 | (leaf >> 3 & 3)) << 9;
}

INLINE int walk_levels(struct mmu *u, const struct request *q, u64 table, int top, u64 *page, u32 *error)
{
	u64 both = PTE_U | PTE_W, nx = 0, attr, base, size_mask;
	struct step s[6];
	int level = top, out;
	bool ps;

	for (;; level--) {
		u64 e;

		step_read(u, &s[level], table | (q->lin >> (3 + 9 * level) & 511) << 3, 8);
		e = s[level].val;
		ps = level > 1 && (e & PTE_PS);
		if (unlikely(!(e & PTE_P) || (e & u->rsvd[ps][level]))) {
			*error = fault_code(u, q->want, q->mode, e & PTE_P ? PF_P | PF_RSVD : 0);
			return WALK_FAULT;
		}
		both &= e;
		nx |= e;
		if (level == 1 || ps)
			break;
		table = e & ADDR_MASK;
	}
	attr = both | (nx >> 63 ? ATTR_NX : 0) | (s[level].val & (PTE_D | (u->pge ? PTE_G : 0)));
	attr |= level == 1 ? 0 : level == 2 ? ATTR_LARGE : ATTR_HUGE;
	size_mask = BIT(3 + 9 * level) - 1;
	base = s[level].val & ADDR_MASK & ~size_mask;
	*page = (base | (q->lin & size_mask & PAGE_MASK)) | pat_attr(s[level].val, ps);
	out = finish(u, q, s, top, level, 8, &attr, error);
	*page |= attr;
	return out;
}

static int walk_4level(struct mmu *u, const struct request *q, u64 *page, u32 *error)
{
	return walk_levels(u, q, u->c->cr3 & ADDR_MASK, 4, page, error);
}

static int walk_5level(struct mmu *u, const struct request *q, u64 *page, u32 *error)
{
	return walk_levels(u, q, u->c->cr3 & ADDR_MASK, 5, page, error);
}

static int walk_pae(struct mmu *u, const struct request *q, u64 *page, u32 *error)
{
	u64 e = u->c->pdpte[q->lin >> 30 & 3];

	if (!(e & PTE_P) || (e & u->rsvd[0][3])) {
		*error = fault_code(u, q->want, q->mode, e & PTE_P ? PF_P | PF_RSVD : 0);
		return WALK_FAULT;
	}
	return walk_levels(u, q, e & ADDR_MASK, 2, page, error);
}

static int walk_32(struct mmu *u, const struct request *q, u64 *page, u32 *error)
{
	struct step s[3];
	u64 attr, both, e;
	int leaf, out;

	step_read(u, &s[2], (u->c->cr3 & 0xfffff000) | (q->lin >> 22 & 1023) << 2, 4);
	e = both = s[2].val;
	leaf = u->pse && (e & PTE_PS) ? 2 : 1;
	if (leaf == 2) {
		*page = (e & 0xffc00000) | (e >> 13 & 0xff) << 32 | (q->lin & 0x3ff000);
	} else if (e & PTE_P) {
		step_read(u, &s[1], (e & 0xfffff000) | (q->lin >> 12 & 1023) << 2, 4);
		e = s[1].val;
		both &= e;
		*page = e & 0xfffff000;
	}
	if (!(e & PTE_P) || (leaf == 2 && (e & u->rsvd[1][2]))) {
		*error = fault_code(u, q->want, q->mode, e & PTE_P ? PF_P | PF_RSVD : 0);
		return WALK_FAULT;
	}
	attr = (both & (PTE_U | PTE_W)) | (e & (PTE_D | (u->pge ? PTE_G : 0))) | (leaf == 2 ? ATTR_LARGE : 0);
	*page |= pat_attr(e, leaf == 2);
	out = finish(u, q, s, 2, leaf, 4, &attr, error);
	*page |= attr;
	return out;
}

bool walk(struct mmu *u, u64 lin, unsigned want, enum tlb_mode mode, bool update, u64 *page, u32 *error)
{
	const struct request q = { .lin = lin, .want = want, .mode = mode, .update = update };
	int out;

	if (u->paging == PAGING_NONE) {
		*page = (lin & PAGE_MASK) | ATTR_U | ATTR_W | ATTR_D;
		return true;
	}
	counter_inc(u->c->counters, CNT_PAGE_WALKS);
	do {
		switch (u->paging) {
		case PAGING_32:
			out = walk_32(u, &q, page, error);
			break;
		case PAGING_PAE:
			out = walk_pae(u, &q, page, error);
			break;
		case PAGING_5LEVEL:
			out = walk_5level(u, &q, page, error);
			break;
		default:
			out = walk_4level(u, &q, page, error);
		}
	} while (unlikely(out == WALK_AGAIN));
	return out == WALK_DONE;
}

/* ---- for others ------------------------------------------------------------------------------------------------- */

static u64 attr_page_size(const struct mmu *u, u64 page)
{
	if (page & ATTR_HUGE)
		return 1 << 30;
	if (page & ATTR_LARGE)
		return u->paging == PAGING_32 ? 4 << 20 : 2 << 20;
	return PAGE_SIZE;
}

int mmu_walk(struct cpu *c, u64 lin, unsigned acc, bool update, struct walk *w)
{
	struct mmu *u = cpu_mmu(c);
	enum tlb_mode mode = mmu_mode(u, acc);
	u32 error;
	u64 page;

	if (!walk(u, lin, acc_want(acc), mode, update, &page, &error))
		return cpu_pf(c, lin, error);
	w->gpa = mem_a20(u->m, (page & ADDR_MASK) | (lin & ~PAGE_MASK));
	w->page_size = attr_page_size(u, page);
	w->rights = (u8)mmu_rights(u, page, mode);
	w->global = page & ATTR_G;
	w->pat_index = page >> 9 & 7;
	return OUT_DONE;
}

bool mmu_probe(struct cpu *c, u64 lin, u64 *gpa)
{
	struct mmu *u = cpu_mmu(c);
	u32 error;
	u64 page;

	if (!lin_canonical(u, &lin) || !walk(u, lin, 0, MODE_SUPER, false, &page, &error))
		return false;
	*gpa = mem_a20(u->m, (page & ADDR_MASK) | (lin & ~PAGE_MASK));
	return true;
}
