/* SPDX-License-Identifier: Apache-2.0
 * The inside of guest-physical space, for mem/ and for walkers that need a frame in a few nanoseconds.
 *
 * The frame table has one word a 4 KiB frame: the page's host address with FRAME_* bits in the low twelve. A directory
 * by GiB points to tables of 2^18 words; both are lazily touched mappings, and a word is filled from the region list at
 * the frame's first use, so RAM that the guest never touches costs nothing. Without FW_RAM and FW_ROM it is not filled, or
 * the frame is not memory; its state bits belong to the address and count even then (switched ranges, mem.h).
 *
 * Who may do what
 *  - mem_frame(), mem_page(), mem_read(), mem_write(), mem_before_write(), mem_code_enter(), mem_code_leave() and the
 *    device and port accesses: any thread at any time.
 *  - Adding and removing regions, ports and listeners: at set-up or under exclusive execution. mem_set_a20() with the bus
 *    locked; vCPUs see it at their next safepoint. Device ranges also in a device's own access, with the bus locked: every search for a port's device is made under that
 *    lock, one in the region table under table_lock.
 *  - A word's state bits change by atomic read-modify-write only. Whoever caches write access to a frame (a vCPU's TLB)
 *    publishes its tag first and then calls mem_note_writer(); whoever enters code sets FW_CODE first and then looks
 * for tags, so one of the two always sees the other. A vCPU that has already compared a tag, or read the word, may
 * still be about to store: until all have passed a safepoint since (mem_code_settled()), the frame is FW_FRESH.
 *  - mem_write() and mem_code_enter() hold the frame's stripe lock, so that no DMA copy is half done when code bytes
 *    are read.
 */
#ifndef MEM_FRAME_H
#define MEM_FRAME_H

#include <stdatomic.h>

#include "mem/mem.h"

#define FRAME_DIR_SHIFT 30
#define FRAME_DIR_SIZE (1u << (52 - FRAME_DIR_SHIFT))
#define FRAME_TABLE_SIZE (1u << (FRAME_DIR_SHIFT - PAGE_SHIFT))
#define FRAME_STRIPES 64
#define MEM_MAX_REGIONS 128
#define MEM_MAX_PORT_RANGES 256
#define MEM_MAX_BANKS 4

enum {
	FW_RAM = 1 << 0,
	FW_ROM = 1 << 1,
	FW_CODE = 1 << 2,   /* some engine keeps decoded copies of bytes */
	FW_WRITER = 1 << 3, /* some vCPU may hold a write tag */
	FW_FRESH = 1 << 4,  /* code, but stores begun when it was data may still land */
	FW_HOLD = 1 << 5,   /* one holder; the rest of the low bits counts them, and sticks at its end */
	FW_HOLDS = 0xfe0,
	FW_STATE = FW_CODE | FW_WRITER | FW_FRESH | FW_HOLDS,
};

enum region_kind { REGION_RAM, REGION_ROM, REGION_MMIO };

struct region {
	u64 gpa, size;
	enum region_kind kind;
	u8 *hva;    /* RAM, ROM: the linear mapping */
	u64 offset; /* RAM, ROM: in the memfd */
	_Atomic u64 *laid; /* a bit a step that is a private copy of a file; NULL: none. lay.c */
	bool switched; /* shows a bank, whose mapping hva lies in, or nothing (ops) */
	const struct io_ops *ops;
	void *dev;
};

struct port_range {
	u16 first;
	u32 n;
	const struct io_ops *ops;
	void *dev;
};

typedef _Atomic u64 frame_word;

struct mem_dirty;

struct mem {
	frame_word **dir;
	unsigned dir_used; /* entries from here on are empty */
	u64 a20_mask;
	int fd;
	u64 fd_size;
	bool private; /* nothing is in the memfd */
	unsigned owned; /* steps that moved there: mem_own() */
	atomic_flag table_lock; /* held for copies and moves of regions[] only */
	unsigned n_regions;
	struct region regions[MEM_MAX_REGIONS];	      /* by gpa */
	u16 *port_map;				      /* by port: 1 + index into ports[], 0 unclaimed */
	struct port_range ports[MEM_MAX_PORT_RANGES]; /* n 0: free */
	unsigned n_banks;
	struct mem_bank bank[MEM_MAX_BANKS];
	struct mem_listener *listeners;
	_Atomic u64 epoch; /* counts the wishes for safepoints */
	unsigned n_writers; /* listeners that cache write access: vCPUs */
	atomic_flag stripe[FRAME_STRIPES];
	atomic_bool dirty_on; /* written frames are logged in *dirty, which is there from the first time to the end */
	struct mem_dirty *dirty;
	void (*bus_lock)(void *opaque); /* both or none */
	void (*bus_unlock)(void *opaque);
	void *bus_opaque;
};

/* The region list's answer for a frame whose word is not filled; fills it. 0: not RAM or ROM. */
u64 mem_frame_fill(struct mem *m, u64 gpa);
/* The stripe of a frame. Who takes several does so by rising address, for fewer than FRAME_STRIPES frames. */
void mem_stripe_lock(struct mem *m, u64 gpa);
void mem_stripe_unlock(struct mem *m, u64 gpa);
void mem_lock_bus(struct mem *m);
void mem_unlock_bus(struct mem *m);
/* The range that holds gpa, as it is now; false: none. Any thread. */
bool mem_region(const struct mem *m, u64 gpa, struct region *r);
/* The first range that ends above gpa; false: none. Any thread. */
bool mem_region_next(const struct mem *m, u64 gpa, struct region *r);

static inline frame_word *mem_frame_slot(const struct mem *m, u64 gpa)
{
	u64 i = gpa >> FRAME_DIR_SHIFT;
	frame_word *table;

	if (unlikely(i >= FRAME_DIR_SIZE))
		return NULL;
	table = m->dir[i];
	return likely(table) ? &table[(gpa >> PAGE_SHIFT) & (FRAME_TABLE_SIZE - 1)] : NULL;
}

/* The frame's word: host page address | FW_*; 0 for devices and holes. */
static inline u64 mem_frame(struct mem *m, u64 gpa)
{
	frame_word *slot = mem_frame_slot(m, gpa);
	u64 w;

	if (unlikely(!slot))
		return 0;
	w = atomic_load_explicit(slot, memory_order_acquire);
	return likely(w & (FW_RAM | FW_ROM)) ? w : mem_frame_fill(m, gpa);
}

/* The same if the word is filled, else 0. */
static inline u64 mem_frame_known(const struct mem *m, u64 gpa)
{
	frame_word *slot = mem_frame_slot(m, gpa);
	u64 w = slot ? atomic_load_explicit(slot, memory_order_acquire) : 0;

	return w & (FW_RAM | FW_ROM) ? w : 0;
}

static inline u8 *frame_host(u64 word)
{
	return (u8 *)(uintptr_t)(word & PAGE_MASK);
}

void mem_mark_dirty_range(struct mem *m, u64 gpa, u64 len);
void mem_dirty_free(struct mem *m);

/* For the log of written frames, by whoever writes, or may from now on, and tells in no other way. Any thread. */
static inline void mem_mark_dirty(struct mem *m, u64 gpa, u64 len)
{
	if (unlikely(atomic_load_explicit(&m->dirty_on, memory_order_relaxed)))
		mem_mark_dirty_range(m, gpa, len);
}

/* After publishing a write tag: true if the tag may stay, false if the frame is code and it must go again. */
static inline bool mem_note_writer(struct mem *m, u64 gpa)
{
	frame_word *slot = mem_frame_slot(m, gpa);

	mem_mark_dirty(m, gpa, 1);
	return !(atomic_fetch_or(slot, FW_WRITER) & FW_CODE);
}

/* After a write to a code frame landed: blocks made between the announcement and the write must go as well, which can
 * exist only if another thread runs guest code. */
static inline void mem_after_write(struct mem *m, u64 gpa, unsigned len)
{
	if (m->n_writers > 1)
		mem_before_write(m, gpa, len);
}

/* Physical addresses that the CPU puts out go through this mask (the A20 gate); DMA does not. */
static inline u64 mem_a20(const struct mem *m, u64 gpa)
{
	return gpa & m->a20_mask;
}

#endif
