/* SPDX-License-Identifier: Apache-2.0
 * Segmentation: descriptors, loads of segment registers with every check, accesses to the system tables, I/O
 * permission. SDM 3A chapters 3 and 5; SDM 1, 19.5 (I/O permission).
 *
 * Functions return OUT_DONE, or OUT_FAULT with cpu->exc set and nothing changed. They change segment registers and
 * leave cpu_update_mode() to the caller unless they say otherwise.
 */
#ifndef CPU_SEGMENT_H
#define CPU_SEGMENT_H

#include "cpu/insn.h"

/* ---- for every family --------------------------------------------------------------------------------------- */

/* Sets a segment register and its cache to fixed values (SYSCALL and kin). attr as in struct seg. The caller calls
 * cpu_update_mode() when all are set. */
void seg_set(struct cpu *c, unsigned seg, u16 sel, u64 base, u32 limit, u16 attr);
/* What loading sel does in real or virtual-8086 mode: base = sel * 16; limits survive in real mode (SDM 3A 21.1.1). */
void seg_load_legacy(struct cpu *c, unsigned seg, u16 sel);
/* MOV/POP to a data or stack segment register (not CS) in the current mode. Ends with cpu_update_mode(). */
int seg_load(struct cpu *c, unsigned seg, u16 sel);
/* May this code touch ports [port, port + size)? IOPL, virtual-8086 mode, TSS bitmap: OUT_DONE or #GP(0). */
int io_check(struct cpu *c, u16 port, unsigned size);
/* The flat descriptor attributes of SYSCALL and kin. */
#define ATTR_CODE64(dpl) (SEG_CODE | SEG_R | SEG_A | SEG_S | SEG_P | SEG_L | SEG_G | (dpl) << SEG_DPL_SHIFT)
#define ATTR_CODE32(dpl) (SEG_CODE | SEG_R | SEG_A | SEG_S | SEG_P | SEG_D | SEG_G | (dpl) << SEG_DPL_SHIFT)
#define ATTR_DATA32(dpl) (SEG_W | SEG_A | SEG_S | SEG_P | SEG_D | SEG_G | (dpl) << SEG_DPL_SHIFT)

/* ---- for the segmentation files themselves ------------------------------------------------------------------ */

/* A descriptor as it stands in memory; hi is read for 16-byte system descriptors only. */
struct desc {
	u64 lo, hi;
	u64 addr; /* linear */
};

static inline u16 desc_attr(const struct desc *d)
{
	return (u16)(bits(d->lo, 47, 40) | bits(d->lo, 55, 52) << 8);
}

static inline unsigned desc_dpl(const struct desc *d)
{
	return (unsigned)bits(d->lo, 46, 45);
}

static inline u32 desc_limit(const struct desc *d)
{
	u32 l = (u32)((d->lo & 0xffff) | bits(d->lo, 51, 48) << 16);

	return d->lo & BIT(55) ? l << 12 | 0xfff : l;
}

static inline u64 desc_base(const struct desc *d)
{
	return bits(d->lo, 39, 16) | bits(d->lo, 63, 56) << 24 | d->hi << 32;
}

static inline unsigned seg_dpl(const struct seg *s)
{
	return (s->attr & SEG_DPL) >> SEG_DPL_SHIFT;
}

static inline struct seg seg_from_desc(u16 sel, const struct desc *d)
{
	return (struct seg){ .sel = sel, .attr = desc_attr(d), .limit = desc_limit(d), .base = desc_base(d) };
}

/* Stack pointer width of a stack segment in the mode that follows. */
static inline u64 seg_sp_mask(const struct seg *ss, bool long64)
{
	return long64 ? ~0ull : ss->attr & SEG_D ? 0xffffffffull : 0xffffull;
}

/* Is la canonical for this vCPU (4- or 5-level paging)? */
static inline bool cpu_canonical(const struct cpu *c, u64 la)
{
	unsigned shift = c->cr4 & CR4_LA57 ? 7 : 16;

	return (u64)((s64)(la << shift) >> shift) == la;
}

/* Implicit supervisor accesses: descriptor tables, TSS, IDT. size 1..64. */
int sys_load(struct cpu *c, u64 lin, void *buf, unsigned size);
int sys_store(struct cpu *c, u64 lin, const void *buf, unsigned size);
/* Locked: byte at lin = (byte & ~clear) | set; *old, if not NULL, gets what was there. */
int sys_update_byte(struct cpu *c, u64 lin, u8 clear, u8 set, u8 *old);

/* Reads the 8 bytes of sel's descriptor; vector(sel & ~3) when it lies outside its table. sel is not null. */
int desc_fetch(struct cpu *c, u16 sel, struct desc *d, u8 vector);
/* The same and, in long mode, the upper half of a system descriptor or call gate into d->hi, its type bits checked. */
int desc_fetch_system(struct cpu *c, u16 sel, struct desc *d, u8 vector);
/* Sets the accessed bit of a code or data descriptor, in memory and in *d. */
int desc_set_accessed(struct cpu *c, struct desc *d);

/* cpu_raise_error() with a selector's error code. */
static inline int seg_fault(struct cpu *c, u8 vector, u16 sel)
{
	return cpu_raise_error(c, vector, sel & 0xfffc);
}

/* The checks that limit and type of an arbitrary descriptor cache make on an access by software of the mode that
 * follows (protected, not 64-bit); false: fault. */
bool seg_allows(const struct seg *s, u64 off, u64 size, unsigned acc, bool legacy);
/* After a return to an outer level or a new task: a data segment that cpl may not keep becomes null (SDM RET). */
void seg_drop_inner(struct cpu *c, unsigned cpl);
/* A null segment register as this vendor leaves it. */
void seg_set_null(struct cpu *c, unsigned seg, u16 sel);
/* Fetches and checks SS for privilege level cpl (MOV SS rules) into *out, accessed bit set; vector is #GP or #TS. */
int seg_check_ss(struct cpu *c, u16 sel, unsigned cpl, u8 vector, struct seg *out);

/* Reads an inner stack pointer from the TSS in force: legacy SSn:ESPn (ss, sp), or RSPn / ISTn in long mode. */
int tss_stack(struct cpu *c, unsigned level, u16 *ss, u64 *sp);
int tss_stack64(struct cpu *c, unsigned slot, u64 *sp); /* slot 0..2: RSP0..2, 4..10: IST1..7 */

/* General register of size bytes as instructions write it: 2 merges, 4 clears the upper half. */
static inline void gpr_write(struct cpu *c, unsigned reg, unsigned size, u64 v)
{
	if (size == 2)
		c->r[reg] = (c->r[reg] & ~0xffffull) | (v & 0xffff);
	else
		c->r[reg] = size == 4 ? (u32)v : v;
}

/* The exec functions of the rows in segtab.c, by file. */
exec_fn exec_mov_from_sreg, exec_mov_to_sreg, exec_push_sreg, exec_pop_sreg, exec_load_far_ptr; /* sreg.c */
exec_fn exec_sldt, exec_str, exec_lldt, exec_ltr, exec_verr, exec_verw, exec_sgdt, exec_sidt, exec_lgdt, exec_lidt,
    exec_lar, exec_lsl, exec_arpl; /* systab.c */
exec_fn exec_jmp_far_imm, exec_jmp_far_mem, exec_call_far_imm, exec_call_far_mem, exec_retf, exec_retf_imm; /* far.c */
exec_fn exec_iret;											    /* iret.c */
exec_fn exec_int3, exec_int_n, exec_into, exec_int1; /* event.c */
exec_fn exec_pushf, exec_popf, exec_cli, exec_sti;   /* flags.c */

#endif
