/* SPDX-License-Identifier: Apache-2.0
 * Data accesses that the lookaside's hit path leaves over: misses, page crossings, devices, the local APIC's window,
 * code frames, alignment checks, data breakpoints, and locked operations.
 *
 * The order of checks is the manual's: canonical form (#GP, #SS), alignment (#AC; silicon takes it before #PF), then
 * the pages from low to high; nothing is read or written before all of them passed.
 */
#include "mmu/state.h"

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/debug.h"
#include "cpu/lapic.h"

#define LINE_SIZE 64

/* An access, cut at a page boundary if it crosses one. */
struct span {
	u64 lin;
	unsigned n; /* bytes in the first page */
	unsigned pages;
	struct xlate x[2];
};

static int not_canonical(struct cpu *c, unsigned acc)
{
	return acc & ACC_SS ? cpu_raise_error(c, EXC_SS, 0) : cpu_gp(c, 0);
}

/* SDM 3A table 6-7; 0 where nothing is checked. Vectors: Intel checks "8 bytes or less" (SDM 2A 2.4), AMD the whole. */
static unsigned alignment(const struct cpu *c, unsigned size)
{
	switch (size) {
	case 6: /* far pointer */
		return 4;
	case 10: /* double extended precision, packed decimal */
		return 8;
	case 16:
	case 32:
	case 64:
		return cpu_is_amd(c) ? size : 0;
	default:
		return size <= 8 && !(size & (size - 1)) ? size : 0;
	}
}

/* SDM 3A 6.15, interrupt 17: in force at CPL 3 with CR0.AM and EFLAGS.AC. */
static bool misaligned(const struct cpu *c, u64 lin, unsigned size, unsigned acc)
{
	unsigned align;

	if (likely(!(c->rflags & FLAG_AC)) || c->d.cpl != 3 || !(c->cr0 & CR0_AM) || (acc & (ACC_SYS | ACC_NOALIGN)))
		return false;
	align = alignment(c, size);
	return align && (lin & (align - 1));
}

/* Every check of an access, and its translation. */
static int resolve(struct mmu *u, u64 lin, unsigned size, unsigned acc, struct span *s)
{
	struct cpu *c = u->c;
	u64 last = lin + size - 1;

	/* in compatibility mode an access that begins below 4 GiB wraps there */
	if (!(lin & ~c->d.lin_mask) && !(acc & ACC_SYS))
		last &= c->d.lin_mask;
	if (unlikely(!lin_canonical(u, &lin) || !lin_canonical(u, &last)))
		return not_canonical(c, acc);
	if (unlikely(misaligned(c, lin, size, acc)))
		return cpu_raise_error(c, EXC_AC, 0);
	s->lin = lin;
	s->n = size;
	s->pages = 1;
	if (tlb_translate(u, lin, acc, &s->x[0]))
		return OUT_FAULT;
	if (likely(tlb_fits(lin, size)))
		return OUT_DONE;
	s->n = (unsigned)(PAGE_SIZE - (lin & ~PAGE_MASK));
	s->pages = 2;
	return tlb_translate(u, last & PAGE_MASK, acc, &s->x[1]);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

typedef u16 __attribute__((aligned(1), may_alias)) un16;
typedef u32 __attribute__((aligned(1), may_alias)) un32;
typedef u64 __attribute__((aligned(1), may_alias)) un64;

/* One host access for natural sizes, so that aligned ones are atomic. */
static void ram_get(void *buf, const void *host, unsigned n)
{
	switch (n) {
	case 1:
		*(u8 *)buf = *(const volatile u8 *)host;
		break;
	case 2:
		*(un16 *)buf = *(const volatile un16 *)host;
		break;
	case 4:
		*(un32 *)buf = *(const volatile un32 *)host;
		break;
	case 8:
		*(un64 *)buf = *(const volatile un64 *)host;
		break;
	default:
		memcpy(buf, host, n);
	}
}

static void ram_put(void *host, const void *buf, unsigned n)
{
	switch (n) {
	case 1:
		*(volatile u8 *)host = *(const u8 *)buf;
		break;
	case 2:
		*(volatile un16 *)host = *(const un16 *)buf;
		break;
	case 4:
		*(volatile un32 *)host = *(const un32 *)buf;
		break;
	case 8:
		*(volatile un64 *)host = *(const un64 *)buf;
		break;
	default:
		memcpy(host, buf, n);
	}
}

/* Devices are read in pieces of 8 bytes, the local APIC in pieces of 4. */
static void device_get(struct mmu *u, u64 gpa, u8 *buf, unsigned n)
{
	bool apic = lapic_claims(u->c, gpa);

	while (n) {
		unsigned k = MIN(n, apic ? 4u : 8u);
		u64 start = device_time_begin(u->c, apic ? CNT_APIC_ACCESS : CNT_MMIO_READ);
		u64 v = apic ? lapic_mmio_read(u->c, (u32)(gpa & ~PAGE_MASK), k) : mem_mmio_read(u->m, gpa, k, NULL);

		device_time_end(u->c, start);
		memcpy(buf, &v, k);
		buf += k;
		gpa += k;
		n -= k;
	}
}

/* What a write raises is to be seen before the next instruction. */
static void device_put(struct mmu *u, u64 gpa, const u8 *buf, unsigned n)
{
	bool apic = lapic_claims(u->c, gpa);

	while (n) {
		unsigned k = MIN(n, apic ? 4u : 8u);
		u64 v = 0, start = device_time_begin(u->c, apic ? CNT_APIC_ACCESS : CNT_MMIO_WRITE);

		memcpy(&v, buf, k);
		if (apic)
			lapic_mmio_write(u->c, (u32)(gpa & ~PAGE_MASK), (u32)v, k);
		else
			mem_mmio_write(u->m, gpa, v, k, NULL);
		device_time_end(u->c, start);
		buf += k;
		gpa += k;
		n -= k;
	}
	u->c->block_end = NULL;
}

static void get(struct mmu *u, const struct xlate *x, void *buf, unsigned n)
{
	if (likely(x->frame)) {
		ram_get(buf, x->host, n);
		return;
	}
	counter_inc(u->c->counters, CNT_TLB_SLOW);
	device_get(u, x->gpa, buf, n);
}

static void put(struct mmu *u, const struct xlate *x, const void *buf, unsigned n)
{
	if (likely((x->frame & (FW_RAM | FW_CODE)) == FW_RAM)) {
		ram_put(x->host, buf, n);
		return;
	}
	counter_inc(u->c->counters, CNT_TLB_SLOW);
	if (x->frame & FW_RAM) {
		mem_before_write(u->m, x->gpa, n);
		ram_put(x->host, buf, n);
		mem_after_write(u->m, x->gpa, n);
	} else if (!x->frame) {
		device_put(u, x->gpa, buf, n);
	}
}

/* ---- the operations -----------------------------------------------------------------------------------------------
 */

int access_load(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc)
{
	struct mmu *u = cpu_mmu(c);
	struct span s;

	if (resolve(u, lin, size, acc, &s))
		return OUT_FAULT;
	get(u, &s.x[0], buf, s.n);
	if (unlikely(s.pages == 2)) {
		counter_inc(c->counters, CNT_TLB_SLOW);
		get(u, &s.x[1], (u8 *)buf + s.n, size - s.n);
	}
	if (unlikely(u->armed))
		debug_data_access(c, s.lin, size, acc & ~(unsigned)ACC_W);
	return OUT_DONE;
}

int access_store(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc)
{
	struct mmu *u = cpu_mmu(c);
	struct span s;

	if (resolve(u, lin, size, acc | ACC_W, &s))
		return OUT_FAULT;
	put(u, &s.x[0], buf, s.n);
	if (unlikely(s.pages == 2)) {
		counter_inc(c->counters, CNT_TLB_SLOW);
		put(u, &s.x[1], (const u8 *)buf + s.n, size - s.n);
	}
	if (unlikely(u->armed))
		debug_data_access(c, s.lin, size, acc | ACC_W);
	return OUT_DONE;
}

/* An operation across cache lines would lock the host's bus: it is left to cmpxchg and exclusive execution. */
static bool within_line(u64 lin, unsigned size)
{
	return (lin & (LINE_SIZE - 1)) + size <= LINE_SIZE;
}

void *access_pin(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out)
{
	struct mmu *u = cpu_mmu(c);
	struct span s;

	*out = resolve(u, lin, size, acc | ACC_W, &s);
	if (*out || !within_line(s.lin, size) || (s.x[0].frame & (FW_RAM | FW_CODE)) != FW_RAM)
		return NULL;
	if (unlikely(u->armed))
		debug_data_access(c, s.lin, size, ACC_W);
	return s.x[0].host;
}

void *access_page(struct cpu *c, u64 lin, unsigned size, bool write)
{
	struct mmu *u = cpu_mmu(c);
	struct xlate x;

	u->run.len = 0;
	if (!tlb_in_use(u) || !lin_canonical(u, &lin) || tlb_translate(u, lin, write ? ACC_W : ACC_R, &x))
		return NULL;
	if (!write)
		return x.host;
	if (!(x.frame & FW_RAM))
		return NULL;
	if (x.frame & FW_CODE) {
		counter_inc(c->counters, CNT_TLB_SLOW);
		u->run.gpa = x.gpa;
		u->run.len = size;
		mem_before_write(u->m, x.gpa, size);
	}
	return x.host;
}

static void page_written(struct cpu *c)
{
	struct mmu *u = cpu_mmu(c);

	if (u->run.len)
		mem_after_write(u->m, u->run.gpa, u->run.len);
}

static void host_cmpxchg16(void *host, const void *old, const void *val, void *seen)
{
	u64 lo, hi, vlo, vhi;

	memcpy(&lo, old, 8);
	memcpy(&hi, (const u8 *)old + 8, 8);
	memcpy(&vlo, val, 8);
	memcpy(&vhi, (const u8 *)val + 8, 8);
	__asm__ volatile("lock cmpxchg16b %2"
			 : "+a"(lo), "+d"(hi), "+m"(*(char(*)[16])host)
			 : "b"(vlo), "c"(vhi)
			 : "cc", "memory");
	memcpy(seen, &lo, 8);
	memcpy((u8 *)seen + 8, &hi, 8);
}

#define HOST_CMPXCHG(type)                                                                                        \
	do {                                                                                                      \
		type o, v;                                                                                        \
		memcpy(&o, old, sizeof(o));                                                                       \
		memcpy(&v, val, sizeof(v));                                                                       \
		__asm__ volatile("lock cmpxchg %2, %1" : "+a"(o), "+m"(*(type *)host) : "r"(v) : "cc", "memory"); \
		memcpy(seen, &o, sizeof(o));                                                                      \
	} while (0)

static void host_cmpxchg(void *host, const void *old, const void *val, void *seen, unsigned size)
{
	switch (size) {
	case 1:
		HOST_CMPXCHG(u8);
		break;
	case 2:
		HOST_CMPXCHG(u16);
		break;
	case 4:
		HOST_CMPXCHG(u32);
		break;
	case 8:
		HOST_CMPXCHG(u64);
		break;
	default:
		host_cmpxchg16(host, old, val, seen);
	}
}

/* What memory cannot do at once: with every other vCPU stopped. */
static int cmpxchg_exclusive(struct cpu *c, u64 lin, const void *old, const void *val, void *seen, unsigned size)
{
	const unsigned acc = ACC_RMW | ACC_NOALIGN;
	int out;

	if (c->ops->exclusive_begin)
		c->ops->exclusive_begin(c);
	out = access_load(c, lin, seen, size, acc);
	if (!out)
		out = access_store(c, lin, memcmp(seen, old, size) ? seen : val, size, acc);
	if (c->ops->exclusive_end)
		c->ops->exclusive_end(c);
	return out;
}

int access_cmpxchg(struct cpu *c, u64 lin, const void *old, const void *val, void *seen, unsigned size)
{
	struct mmu *u = cpu_mmu(c);
	struct span s;

	if (resolve(u, lin, size, ACC_W | ACC_RMW | ACC_NOALIGN, &s))
		return OUT_FAULT;
	counter_inc(c->counters, CNT_TLB_SLOW);
	if (!within_line(s.lin, size) || !(s.x[0].frame & FW_RAM) || (size == 16 && (s.lin & 15)))
		return cmpxchg_exclusive(c, lin, old, val, seen, size);
	if (s.x[0].frame & FW_CODE)
		mem_before_write(u->m, s.x[0].gpa, size);
	host_cmpxchg(s.x[0].host, old, val, seen, size);
	if (s.x[0].frame & FW_CODE)
		mem_after_write(u->m, s.x[0].gpa, size);
	if (unlikely(u->armed))
		debug_data_access(c, s.lin, size, ACC_W);
	return OUT_DONE;
}

static int phys_read(struct cpu *c, u64 gpa, void *buf, unsigned size)
{
	struct mmu *u = cpu_mmu(c);

	return mem_read(u->m, mem_a20(u->m, gpa), buf, size);
}

static int phys_write(struct cpu *c, u64 gpa, const void *buf, unsigned size)
{
	struct mmu *u = cpu_mmu(c);

	return mem_write(u->m, mem_a20(u->m, gpa), buf, size);
}

void mmu_ops(struct cpu_ops *ops)
{
	ops->load = access_load;
	ops->store = access_store;
	ops->pin = access_pin;
	ops->page = access_page;
	ops->page_written = page_written;
	ops->cmpxchg = access_cmpxchg;
	ops->tlb_page = tlb_op_page;
	ops->tlb_flush = tlb_op_flush;
	ops->mode_changed = tlb_op_mode_changed;
	ops->phys_read = phys_read;
	ops->phys_write = phys_write;
}
