/* SPDX-License-Identifier: Apache-2.0
 * The inside of the MMU, shared by walk.c, tlb.c and access.c.
 *
 * Lookaside, first level: three direct-mapped arrays of struct tlbe, one an access mode, and two of fetched pages.
 * What another page displaces there goes to a small array of its own, hashed by more of the address, so that a few
 * pages that want one place change places by mmu_refill() and are not walked for.
 * Second level: one array of translations with their rights, whatever the mode; it serves mode changes, victims of the
 * first level, and global pages after CR3 loads.
 *
 * Tags are linear page | id. Ids 1..ID_MAX are given to (PCID, generation) in rising order, so dropping a space is
 * giving it the next id, and dropping all is raising the floor below which a PCID's id no longer counts. Global
 * translations carry the id `gid` in the second level. In the first level they carry the id of the space that used
 * them, but for the arrays that no user page can be in: data with SMAP in force, the supervisor's fetches under SMEP.
 * These have the id `sid`, which stays when the space changes, so that a kernel whose pages are global finds them warm.
 * The few pages that are not global (Linux writes code through some) are dropped by the change; if there were many, it
 * gives a new sid; where that happens often, each space has its own (sid is id). When ids run out the arrays are
 * cleared. Id 0 is never given (zeroed arrays are empty), nor 0xfff (TLB_NO_TAG).
 *
 * Invariants
 *  1. A first-level entry's rights hold for its array's mode under the current CR0.WP, CR4, EFER: a change of one of
 *     these (mode_changed) drops everything.
 *  2. A write tag exists only for RAM whose D bit is set and whose frame is not code (mem/frame.h tells the order).
 *  3. Every fill from a page larger than 4 KiB is noted in large2m or large1g, so that INVLPG knows when one page is
 * not enough.
 */
#ifndef MMU_STATE_H
#define MMU_STATE_H

#include "mem/frame.h"
#include "mmu/mmu.h"

#define ID_MAX 0xffe
#define VICTIM_BITS 8
#define VICTIMS (1u << VICTIM_BITS)
#define L2_BITS 14
#define L2_SIZE (1u << L2_BITS)
#define MAX_LOCAL 16
#define MAX_RENEWED 64
#define LARGE2M_BITS 16
#define LARGE1G_BITS 12

/* The mode of an access: user, supervisor with SMAP in force, supervisor that may touch user pages. */
enum tlb_mode { MODE_USER, MODE_SMAP, MODE_SUPER, NR_MODES };

/* Attributes of a translation, in the low bits of its page address: a page-table entry's own positions where it has
 * any. */
enum {
	PTE_P = 0x1,
	PTE_W = 0x2,
	PTE_U = 0x4,
	PTE_PWT = 0x8,
	PTE_PCD = 0x10,
	PTE_A = 0x20,
	PTE_D = 0x40,
	PTE_PS = 0x80,
	PTE_G = 0x100,
	ATTR_W = PTE_W,
	ATTR_U = PTE_U,
	ATTR_D = PTE_D,
	ATTR_G = PTE_G,
	ATTR_LARGE = PTE_PS, /* 2 or 4 MiB */
	ATTR_HUGE = 0x10,    /* 1 GiB */
	ATTR_NX = 0x8,
	ATTR_PAT = 0xe00, /* PAT index, walks only */
};

struct l2e {
	u64 tag, page; /* linear page | id; guest-physical page | ATTR_* */
};

struct mmu {
	struct mmu_hot hot;
	struct cpu *c;
	struct mem *m;
	struct {
		u64 gpa;
		unsigned len; /* 0: it was no code */
	} run;		      /* what access_page() gave for writing */

	/* the paging mode, as refresh() found it */
	enum paging paging;
	bool wp, smep, smap, nxe, pge, pse;
	bool armed;	       /* data breakpoints */
	atomic_bool map_stale; /* regions or the A20 gate changed */
	u64 cr0, cr3, cr4, efer, apic_base;
	u64 rsvd[2][6]; /* reserved bits by PS and level (1 is the PTE) */
	u32 pf_fetch;	/* PF_I, or 0 where error codes do not tell fetches */

	u16 next_id, floor, gid;
	u16 id, sid; /* of the current space; of what only the supervisor can use there, 0: to be given */
	bool shared; /* sid serves all spaces */
	/* the pages that stand under sid, though it is shared and they are not global; one more than MAX_LOCAL: too
	 * many */
	u64 local[MAX_LOCAL];
	unsigned n_local;
	unsigned renewed; /* how often there were too many when the space changed */
	u16 pcid_id[4096];
	u64 large2m[(1u << LARGE2M_BITS) / 64], large1g[(1u << LARGE1G_BITS) / 64];

	struct mem_listener listener;
	struct tlbe l1[NR_MODES][TLB_SIZE], victim[NR_MODES][VICTIMS];
	struct fetch_tlbe fetch[2][FETCH_SIZE]; /* supervisor, user */
	struct l2e l2[L2_SIZE];
};

/* The entries of the first level, one behind the other. */
#define NR_L1 (NR_MODES * (TLB_SIZE + VICTIMS))
_Static_assert(offsetof(struct mmu, victim) == offsetof(struct mmu, l1) + sizeof(((struct mmu *)NULL)->l1),
	       "NR_L1 entries from l1 on");

/* A translation as the slow path uses it. */
struct xlate {
	u8 *host; /* of the byte, RAM and ROM; else NULL */
	u64 gpa;
	u32 frame; /* FW_*; 0 for devices and holes */
};

static inline struct mmu *cpu_mmu(const struct cpu *c)
{
	return c->mmu;
}

static inline enum tlb_mode mmu_mode(const struct mmu *u, unsigned acc)
{
	const struct cpu *c = u->c;

	if (c->d.cpl == 3 && !(acc & ACC_SYS))
		return MODE_USER;
	if (!u->smap)
		return MODE_SUPER;
	return (acc & ACC_SYS) || !(c->rflags & FLAG_AC) ? MODE_SMAP : MODE_SUPER;
}

/* What the first level's tags for data in this mode carry. */
static inline u16 mmu_tag(const struct mmu *u, enum tlb_mode mode)
{
	return mode == MODE_SMAP ? u->sid : u->id;
}

static inline u16 mmu_fetch_tag(const struct mmu *u, bool user)
{
	return !user && u->smep ? u->sid : u->id;
}

/* WALK_* that a translation's attributes give to a mode (SDM 3A 4.6.1). */
static inline unsigned mmu_rights(const struct mmu *u, u64 attr, enum tlb_mode mode)
{
	unsigned r = attr & ATTR_NX ? 0 : WALK_X;

	if (mode == MODE_USER)
		return attr & ATTR_U ? r | WALK_R | (attr & ATTR_W ? WALK_W : 0) : 0;
	if (attr & ATTR_U) {
		if (u->smep)
			r = 0;
		if (mode == MODE_SMAP)
			return r;
	}
	return r | WALK_R | (attr & ATTR_W || !u->wp ? WALK_W : 0);
}

static inline unsigned acc_want(unsigned acc)
{
	return acc & ACC_X ? WALK_X : acc & (ACC_W | ACC_RMW) ? WALK_W : WALK_R;
}

/* walk.c: recomputes the paging mode from the registers. */
void walk_refresh(struct mmu *u);
/* The walk for an access that wants one WALK_* right (0: none asked, no faults but missing translations) in mode.
 * True: *page is the 4 KiB page | ATTR_*. False: *error is the #PF's. */
bool walk(struct mmu *u, u64 lin, unsigned want, enum tlb_mode mode, bool update, u64 *page, u32 *error);

/* tlb.c: lin (canonical, masked) to x through every level of lookaside, filling them. OUT_DONE or OUT_FAULT. */
int tlb_translate(struct mmu *u, u64 lin, unsigned acc, struct xlate *x);
/* Starts with nothing cached. */
void tlb_reset(struct mmu *u);
void tlb_flush_all(struct mmu *u);
void tlb_op_page(struct cpu *c, u64 lin);
void tlb_op_flush(struct cpu *c, enum tlb_scope scope, u32 pcid, u64 lin);
void tlb_op_mode_changed(struct cpu *c);

/* access.c */
int access_load(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc);
int access_store(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc);
void *access_page(struct cpu *c, u64 lin, unsigned size, bool write);
void *access_pin(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out);
int access_cmpxchg(struct cpu *c, u64 lin, const void *old, const void *val, void *seen, unsigned size);

/* False where every access has to be looked at. */
static inline bool tlb_in_use(const struct mmu *u)
{
	return u->c->tlb >= u->l1[0] && u->c->tlb <= u->l1[NR_MODES - 1];
}

/* Where a linear address lies once mode limits are applied: *lin masked outside 64-bit mode; false: not canonical.
 * Implicit supervisor accesses in IA-32e mode use all 64 bits of their table's base, whatever the code size. */
static inline bool lin_canonical(const struct mmu *u, u64 *lin)
{
	const struct cpu *c = u->c;
	unsigned drop = u->paging == PAGING_5LEVEL ? 64 - 57 : 64 - 48;

	if (!c->d.lma) {
		*lin = (u32)*lin;
		return true;
	}
	return (u64)((s64)(*lin << drop) >> drop) == *lin;
}

#endif
