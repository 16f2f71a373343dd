/* SPDX-License-Identifier: Apache-2.0
 * The x86 page walk in every paging mode and the tagged soft TLB that caches it (SDM 3A chapter 4). Implements the
 * memory members of struct cpu_ops.
 */
#ifndef MMU_MMU_H
#define MMU_MMU_H

#include "base/clock.h"
#include "base/counter.h"
#include "cpu/access.h"
#include "mem/mem.h"

struct mmu;

#define FETCH_BITS 10
#define FETCH_SIZE (1u << FETCH_BITS)
#define FLUSHED_PAGES 32

/* A page that code was fetched from. Tags as in struct tlbe; zero never matches. */
struct fetch_tlbe {
	u64 tag;
	const u8 *host; /* first byte of the page, RAM or ROM */
	u64 gpa;	/* of the page */
};

/* What RFLAGS.AC decides for the supervisor: cpu->tlb and cpu->ctx. */
struct mmu_ac {
	struct tlbe *tlb;
	u64 ctx;
};

/* The head of struct mmu: what the inline hit path of fetches needs. */
struct mmu_hot {
	const struct fetch_tlbe *fetch; /* the array for the current privilege */
	struct mmu_ac ac[2];		/* by RFLAGS.AC */
	/* For engines that remember what they found at a linear address under cpu->salt: tells of a page whose
	 * translation may not be used any more, of all with lin ~0, when numbers of spaces are given anew. */
	void (*fetch_dropped)(void *opaque, u64 lin);
	void *opaque;
	/* For caches of translations beside this one: how often more than a page was flushed, and the pages that were, whatever
	 * the space, the last of them in a ring. */
	u64 flushed_many, flushed_pages;
	u64 flushed_page[FLUSHED_PAGES];
};

/* Page-table geometry of the address space in force. */
enum paging { PAGING_NONE, PAGING_32, PAGING_PAE, PAGING_4LEVEL, PAGING_5LEVEL };

enum { WALK_R = 1, WALK_W = 2, WALK_X = 4 };

/* What a walk found. */
struct walk {
	u64 gpa;       /* of the byte asked for */
	u64 page_size; /* 4 KiB, 2 MiB, 4 MiB, 1 GiB */
	u8 rights;     /* WALK_* that hold for the access mode (user, supervisor, AC) */
	bool global;
	u8 pat_index;
};

struct mmu *mmu_new(struct cpu *c, struct mem *m);
void mmu_free(struct mmu *u);
/* Fills the memory members of ops: load, store, pin, page, cmpxchg, tlb_page, tlb_flush, mode_changed, phys_read,
 * phys_write. */
void mmu_ops(struct cpu_ops *ops);
/* Re-reads every register that paging depends on (after a state load or engine switch) and drops all entries. */
void mmu_reset(struct cpu *c);

/* Own thread, between instructions, when ATT_EXCL is seen: does what other threads asked for. */
void mmu_safepoint(struct cpu *c);

/* For fetching code: the host address of the byte at lin (good to the end of its page) with execute rights, and its
 * gpa; or OUT_FAULT with exc set. *host is NULL when the page is not RAM or ROM (fetch from a device window). */
int mmu_fetch_page(struct cpu *c, u64 lin, const u8 **host, u64 *gpa);

/* The same where the lookaside has it, else false and mmu_fetch_page() decides. For each block entry. */
static inline bool mmu_fetch_hit(const struct cpu *c, u64 lin, const u8 **host, u64 *gpa)
{
	const struct mmu_hot *hot = c->mmu;
	const struct fetch_tlbe *e = &hot->fetch[(lin >> PAGE_SHIFT) & (FETCH_SIZE - 1)];

	if (unlikely(e->tag != ((lin & PAGE_MASK) | c->fetch_ctx)))
		return false;
	*host = e->host + (lin & ~PAGE_MASK);
	*gpa = e->gpa + (lin & ~PAGE_MASK);
	return true;
}

/* Fills the lookaside for a data access at lin by an instruction, if that can be done without a fault; the caller looks
 * whether the entry is there. May be called while vector state stands in host registers: uses general registers only,
 * and then walks no tables. */
void mmu_refill(struct cpu *c, u64 lin, bool write);

/* The walk itself, for an access of kind acc (ACC_*; rights of the CPL unless ACC_SYS). update: set A and D bits as the
 * access would. OUT_DONE, or OUT_FAULT with cpu->exc holding the #PF. Touches no TLB. */
int mmu_walk(struct cpu *c, u64 lin, unsigned acc, bool update, struct walk *w);

/* Translation for debuggers and probes: no faults, no A/D updates, supervisor rights. False: not mapped. */
bool mmu_probe(struct cpu *c, u64 lin, u64 *gpa);
/* Walks again and compares each live TLB entry; returns the number of entries that disagree, said in the log. */
unsigned mmu_audit(struct cpu *c);

/* Around an access to a device, counted in `count`: one in DEVICE_SAMPLE is timed. */
#define DEVICE_SAMPLE 16

static inline u64 device_time_begin(struct cpu *c, enum counter count)
{
	counter_inc(c->counters, count);
	return !c->counters || c->counters->n[count] % DEVICE_SAMPLE ? 0 : clock_host_ns();
}

static inline void device_time_end(struct cpu *c, u64 start)
{
	if (start)
		counter_sampled(c->counters, CNT_DEVICE_NS, CNT_DEVICE_SPREAD, clock_host_ns() - start, DEVICE_SAMPLE);
}

#endif
