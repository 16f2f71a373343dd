/* SPDX-License-Identifier: Apache-2.0
 * Memory as instructions see it: linear addresses, the hit path of the soft TLB inline, all else through cpu->ops.
 *
 * A TLB entry's tags are (linear page | address-space tag); a tag that never matches is ~0. An entry for writing
 * exists only if the page is RAM, writable with the current rights, its dirty bit is set, and its frame is not code.
 * A canonical page cannot equal a non-canonical address, so a hit implies canonical. Address alignment checking and
 * data breakpoints are in force exactly when cpu->tlb is the array that never hits.
 */
#ifndef CPU_ACCESS_H
#define CPU_ACCESS_H

#include "cpu/cpu.h"

#define TLB_BITS 12
#define TLB_SIZE (1u << TLB_BITS)
#define TLB_NO_TAG (~0ull)

struct tlbe {
	u64 r, w;		/* tags for reading and writing */
	uintptr_t add;		/* host address = linear address + add */
	u64 gpa;		/* page's guest-physical address, for audits and write notification */
};

static inline struct tlbe *tlb_slot(const struct cpu *c, u64 lin)
{
	return &c->tlb[(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)];
}

/* The tag that an entry for [lin, lin + size) has. Where the access crosses pages it is the next page's, which the slot
 * of lin never holds. */
static inline u64 tlb_tag(const struct cpu *c, u64 lin, unsigned size)
{
	return ((lin + size - 1) & PAGE_MASK) | c->ctx;
}

static inline bool tlb_fits(u64 lin, unsigned size)
{
	return (lin & (PAGE_SIZE - 1)) <= PAGE_SIZE - size;
}

/* Host address of [lin, lin + size) for reading, or NULL when the slow path must decide. */
static inline void *tlb_hit_r(const struct cpu *c, u64 lin, unsigned size)
{
	const struct tlbe *e = tlb_slot(c, lin);

	if (likely(e->r == tlb_tag(c, lin, size)))
		return (void *)(lin + e->add);
	return NULL;
}

/* Another vCPU that makes code of the page takes this tag away (mmu/tlb.c). */
static inline u64 tlb_write_tag(const struct tlbe *e)
{
	return __atomic_load_n(&e->w, __ATOMIC_RELAXED);
}

static inline void *tlb_hit_w(const struct cpu *c, u64 lin, unsigned size)
{
	const struct tlbe *e = tlb_slot(c, lin);

	if (likely(tlb_write_tag(e) == tlb_tag(c, lin, size)))
		return (void *)(lin + e->add);
	return NULL;
}

/* The hit path of an access of kind acc. Implicit supervisor accesses have rights of their own, so they never hit; a load
 * for read-modify-write needs a write tag. acc is mostly constant, and so are these tests. */
static inline void *tlb_hit_ld(const struct cpu *c, u64 lin, unsigned size, unsigned acc)
{
	if (acc & ACC_SYS)
		return NULL;
	return acc & (ACC_W | ACC_RMW) ? tlb_hit_w(c, lin, size) : tlb_hit_r(c, lin, size);
}

static inline void *tlb_hit_st(const struct cpu *c, u64 lin, unsigned size, unsigned acc)
{
	return acc & ACC_SYS ? NULL : tlb_hit_w(c, lin, size);
}

/* cpu_ld16(c, lin, &v, acc) and friends: OUT_DONE or OUT_FAULT. One access of natural size, so atomic when aligned.
 * The slow halves work on copies, so that the caller's value may stay in a register. */
#define CPU_ACCESSORS(bits)                                                                                            \
	static inline int cpu_ld##bits(struct cpu *c, u64 lin, u##bits *v, unsigned acc)                              \
	{                                                                                                              \
		typedef u##bits __attribute__((aligned(1), may_alias)) unaligned;                                      \
		void *p = tlb_hit_ld(c, lin, bits / 8, acc);                                                           \
		if (unlikely(!p)) {                                                                                    \
			u##bits slow = 0;                                                                              \
			int out = c->ops->load(c, lin, &slow, bits / 8, acc);                                          \
			if (!out)                                                                                      \
				*v = slow;                                                                             \
			return out;                                                                                    \
		}                                                                                                      \
		*v = *(volatile unaligned *)p;                                                                         \
		return OUT_DONE;                                                                                       \
	}                                                                                                              \
	static inline int cpu_st##bits(struct cpu *c, u64 lin, u##bits v, unsigned acc)                                \
	{                                                                                                              \
		typedef u##bits __attribute__((aligned(1), may_alias)) unaligned;                                      \
		void *p = tlb_hit_st(c, lin, bits / 8, acc);                                                           \
		if (unlikely(!p)) {                                                                                    \
			u##bits slow = v;                                                                              \
			return c->ops->store(c, lin, &slow, bits / 8, acc | ACC_W);                                    \
		}                                                                                                      \
		*(volatile unaligned *)p = v;                                                                          \
		return OUT_DONE;                                                                                       \
	}

CPU_ACCESSORS(8)
CPU_ACCESSORS(16)
CPU_ACCESSORS(32)
CPU_ACCESSORS(64)
#undef CPU_ACCESSORS

/* size 1..64 bytes into or out of buf; not necessarily atomic. */
static inline int cpu_ld(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc)
{
	void *p = tlb_hit_ld(c, lin, size, acc);

	if (unlikely(!p))
		return c->ops->load(c, lin, buf, size, acc);
	memcpy(buf, p, size);
	return OUT_DONE;
}

static inline int cpu_st(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc)
{
	void *p = tlb_hit_st(c, lin, size, acc);

	if (unlikely(!p))
		return c->ops->store(c, lin, buf, size, acc | ACC_W);
	memcpy(p, buf, size);
	return OUT_DONE;
}

#endif
