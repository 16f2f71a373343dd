/* SPDX-License-Identifier: Apache-2.0
 * The x86 page walk in every paging mode and the tagged soft TLB that caches it (SDM 3A chapter 4). Implements the
 * memory members of struct cpu_ops.
 */
#ifndef MMU_MMU_H
#define MMU_MMU_H

#include "cpu/access.h"
#include "mem/mem.h"

struct mmu;

/* Page-table geometry of the address space in force. */
enum paging { PAGING_NONE, PAGING_32, PAGING_PAE, PAGING_4LEVEL, PAGING_5LEVEL };

/* What a walk found. */
struct walk {
	u64 gpa;		/* of the byte asked for */
	u64 page_size;		/* 4 KiB, 2 MiB, 4 MiB, 1 GiB */
	u8 rights;		/* WALK_* that hold for the access mode */
	bool global;
	u8 pat_index;
};

struct mmu *mmu_new(struct cpu *c, struct mem *m);
void mmu_free(struct mmu *u);
/* Fills the memory members of ops: load, store, pin, cmpxchg, tlb_page, tlb_flush, mode_changed. */
void mmu_ops(struct cpu_ops *ops);
/* Re-reads every register that paging depends on (after a state load or engine switch) and drops all entries. */
void mmu_reset(struct cpu *c);

/* For fetching code: the host bytes of the page at lin with execute rights, its gpa, or OUT_FAULT with exc set.
 * *host is NULL when the page is not RAM or ROM (fetch from a device window). */
int mmu_fetch_page(struct cpu *c, u64 lin, const u8 **host, u64 *gpa);

/* Translation for debuggers and probes: no faults, no A/D updates, supervisor rights. False: not mapped. */
bool mmu_probe(struct cpu *c, u64 lin, u64 *gpa);
/* Walks again and compares each live TLB entry; returns the number of entries that disagree, said in the log. */
unsigned mmu_audit(struct cpu *c);

#endif
