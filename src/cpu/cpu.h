/* SPDX-License-Identifier: Apache-2.0
 * struct cpu: the whole architectural state of one virtual CPU, in the manual's names, and the outcome of executing.
 *
 * Invariants
 *  1. While no instruction executes (engine->run() has returned, an event is being delivered), r[R_RIP] is the
 *     instruction to execute next. While an exec function runs, r[R_RIP] is already the *following* instruction's
 *     address; the caller takes the length off again when the outcome is not OUT_DONE, OUT_END or OUT_HALT.
 *  2. r[R_ZERO] is always 0, so that an effective address needs no branches.
 *  3. The arithmetic flags (CF PF AF ZF SF OF) live in `aflags` only, in the form that LAHF and SETO leave in AX;
 *     `rflags` holds all other bits and zeroes there. Use cpu_rflags() and cpu_set_rflags_raw().
 *  4. Everything in `struct cpu_derived` is a function of the rest; cpu_update_mode() recomputes it and must be called
 *     after any change to CS, SS, CPL, CR0, CR3 (through ops), CR4, EFER, RFLAGS.AC/VM, DR7 or a segment cache.
 *  5. Only the vCPU's own thread reads or writes struct cpu, except `attention` and the posted words of the APIC.
 */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include <stdatomic.h>

#include "base/base.h"
#include "cpu/lapic_state.h"
#include "cpu/x86.h"

struct cpu;
struct insn;
struct tlbe;
struct cpuid_model;
struct debug_wishes;
struct engine_options;

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, R_ZERO, R_RIP, NR_REGS };
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, NR_SEGS };

/* What executing an instruction, or part of one, came to. Zero is the common case. */
enum outcome {
	OUT_DONE,	/* retired; the next one may follow at once */
	OUT_END,	/* retired; mode, translation or code may have changed: leave the block, check events */
	OUT_FAULT,	/* not retired, nothing changed; cpu->exc says what to deliver */
	OUT_AGAIN,	/* a rep iteration or a part of it is done and committed; same instruction again, events may come first */
	OUT_HALT,	/* retired; wait for an event (HLT, MWAIT; activity state is set) */
	OUT_UNIMPL,	/* known instruction that this library does not execute: the caller logs it, then #UD */
};

/* A segment register with its descriptor cache (SDM 3A 3.4.3). attr: descriptor bits 8..15 in 0..7 (type 0..3, S 4,
 * DPL 5..6, P 7), AVL L D G in 8..11; limit is in bytes, already scaled. A null selector has P = 0 ("unusable"). */
struct seg {
	u16 sel, attr;
	u32 limit;
	u64 base;
};

struct dtable {
	u64 base;
	u32 limit;
};

union vreg {
	u8 b[64];
	u16 w[32];
	u32 d[16];
	u64 q[8];
};

/* The x87 state in the order of FXSAVE's first 160 bytes (SDM 1, table 10-2), 64-bit pointers; the abridged tag word
 * is 1 for a valid register. st[i] is ST(i), relative to TOP. fcs/fds serve the formats without REX.W. */
struct x87 {
	u16 fcw, fsw;
	u8 ftw, rsvd;
	u16 fop;
	u64 fip, fdp;
	u16 fcs, fds;
	u8 st[8][16];
};

enum event_type { EV_NONE, EV_EXT_INT, EV_NMI, EV_FAULT, EV_TRAP, EV_SOFT_INT /* INT n */, EV_SOFT_EXC /* INT3, INTO */,
		  EV_PRIV_SW /* INT1 */ };

/* An exception or interrupt on its way to delivery. payload: CR2 for #PF, DR6 bits for #DB. */
struct event {
	u8 type, vector;
	bool has_error;
	u8 insn_len; /* of the INT n, INT3, INTO or INT1 */
	u32 error;
	u64 payload;
};

enum activity { ACT_RUNNING, ACT_HALTED, ACT_SHUTDOWN, ACT_WAIT_SIPI };

/* Posted from any thread with cpu_post(); consumed by the vCPU's thread. */
enum {
	ATT_KICK = 1 << 0,	/* leave run() as soon as possible; sticky */
	ATT_APIC = 1 << 1,	/* the APIC's posted words changed */
	ATT_EXTINT = 1 << 2,	/* level: the 8259's INTR line */
	ATT_NMI = 1 << 3,	/* one NMI latched; post by cpu_post_nmi() */
	ATT_INIT = 1 << 4,
	ATT_SIPI = 1 << 5,
	ATT_TIMER = 1 << 6,	/* the APIC timer should be looked at */
	ATT_EXCL = 1 << 7,	/* another vCPU asks for exclusive execution */
	ATT_EVENTS = 1 << 8,	/* own thread: an event became deliverable (IF set, shadow ended, #DB pending, TF) */
	ATT_NMI2 = 1 << 9,	/* a second NMI, from before the first could be taken */
};

enum cpu_code { CODE16, CODE32, CODE64 };


/* In block_key, above the code size; a flat 32-bit program's key is CODE32 and none of these. FS and GS have no part in
 * it, so that a kernel need not be translated anew for what user space has there. */
#define BLOCK_KEY_LEGACY (1u << 2)   /* real or virtual-8086 mode */
#define BLOCK_KEY_SEGMENTS (1u << 3) /* accesses by DS, ES or SS need the slow check */
#define BLOCK_KEY_LIMIT (1u << 4)    /* fetches must be compared with the limit of CS */
#define BLOCK_KEY_BASES (1u << 5)    /* CS, DS, ES or SS has a base, or the stack pointer is SP */

/* Recomputed by cpu_update_mode(). */
struct cpu_derived {
	u8 cpl;		/* SS.DPL; 0 in real mode, 3 in virtual-8086 */
	u8 code;	/* enum cpu_code: how instructions are decoded */
	bool pe, vm86, lma, long64;
	u8 seg_check;	/* bit SEG_x: accesses through it need the slow check (legacy modes, base or limit not flat) */
	u64 ebase[NR_SEGS]; /* base used in address formation: 0 for ES CS SS DS in 64-bit mode */
	u64 lin_mask;	/* linear addresses wrap here: 2^32 outside 64-bit mode */
	u64 sp_mask;	/* stack pointer width: 0xffff, 0xffffffff, ~0 */
	u32 block_key;	/* everything decoding and block lookup depend on besides the address */
};

/* What --trace can report; bit n of cpu->trace asks for kind n. */
enum trace_kind {
#define TRACE_KIND(id, name, text) TRACE_##id,
#include "cpu/trace_kinds.def"
#undef TRACE_KIND
	NR_TRACE_KINDS
};

/* The world, passed in by the owner of the cpu. All may be called only by the vCPU's thread. */
struct cpu_ops {
	/* Linear-address accesses of 1..64 bytes that missed the TLB, cross a page, or need checks; acc is ACC_*.
	 * OUT_DONE, or OUT_FAULT with cpu->exc set (#PF, #GP or #SS for non-canonical, #AC). All-or-nothing for stores.
	 * ACC_RMW on a load demands write permission too, so that the store that follows cannot fault. */
	int (*load)(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc);
	int (*store)(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc);
	/* Host pointer valid until the next safepoint to size bytes inside one page, or NULL (MMIO, code page, crossing). */
	void *(*pin)(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out);
	/* Host pointer, valid until the next safepoint, to [lin, lin + size) in one page, for a run of accesses; NULL where
	 * that is not plain RAM, would fault, or each access must be looked at: what is known of code there, and what the
	 * lookaside holds, makes no difference. Marks the page as used. What was to be written is written at once, and
	 * page_written() follows. */
	void *(*page)(struct cpu *c, u64 lin, unsigned size, bool write);
	void (*page_written)(struct cpu *c);
	/* Atomic compare-exchange for locked instructions on memory pin() refused (code frames, page-crossing, MMIO).
	 * Sets *seen to what was there; stores when equal to old. size 1 2 4 8 16. */
	int (*cmpxchg)(struct cpu *c, u64 lin, const void *old, const void *val, void *seen, unsigned size);
	void (*tlb_page)(struct cpu *c, u64 lin);				/* INVLPG */
	void (*tlb_flush)(struct cpu *c, enum tlb_scope scope, u32 pcid, u64 lin);	/* INVPCID, MOV CR3, CR0, CR4 */
	void (*mode_changed)(struct cpu *c);	/* after cpu_update_mode(): choose TLB arrays */
	/* Prefetch (CLFLUSH, PREFETCH: translation only). Walk a paging access without side effects for LAR-like probes. */
	u32 (*in)(struct cpu *c, u16 port, unsigned size);
	void (*out)(struct cpu *c, u16 port, unsigned size, u32 val);
	/* Physical accesses, for the few structures named by physical address (PDPTEs, kvmclock pages). 0 on success. */
	int (*phys_read)(struct cpu *c, u64 gpa, void *buf, unsigned size);
	int (*phys_write)(struct cpu *c, u64 gpa, const void *buf, unsigned size);
	u8 (*ack_extint)(struct cpu *c);	/* the vector of the 8259 pair's INTA cycle */
	u64 (*host_tsc)(struct cpu *c);		/* before offset */
	u64 (*now_ns)(struct cpu *c);		/* the VM clock */
	u64 (*wall_ns)(struct cpu *c);		/* UTC at this moment, for kvmclock */
	bool (*random)(struct cpu *c, void *buf, unsigned size);	/* RDRAND, RDSEED; false: CF = 0 */
	void (*ioapic_eoi)(struct cpu *c, u8 vector);	/* EOI broadcast for a level-triggered vector */
	void (*send_ipi)(struct cpu *c, u64 icr);	/* to other vCPUs (also self by shorthand); x2APIC form of ICR */
	/* lapic_next_deadline() may have changed (timer armed, stopped, fired): whoever posts ATT_TIMER should look.
	 * May be NULL. */
	void (*timer_changed)(struct cpu *c);
	/* FERR# changed or is looked at (CR0.NE = 0); answers IGNNE#: true lets waiting x87 instructions go on. NULL: true. */
	bool (*ferr)(struct cpu *c, bool asserted);
	/* The guest waits in a loop, or gives its time to others. May be NULL. */
	void (*relax)(struct cpu *c);
	/* Ends the HLT, or the next one, of the vCPU with this APIC id (KVM_HC_KICK_CPU). May be NULL. */
	void (*unhalt)(struct cpu *c, u32 apic_id);
	void (*exclusive_begin)(struct cpu *c);
	void (*exclusive_end)(struct cpu *c);
	/* An event of a kind that c->trace asks for; a, b, x as cpu_trace()'s callers say in trace_kinds.def. */
	void (*trace)(struct cpu *c, enum trace_kind kind, u64 a, u64 b, u64 x);
};

struct cpu {
	/* hot: what the interpreter and the translator touch on each instruction */
	u64 r[NR_REGS];
	struct tlbe *tlb;	/* the lookaside array for the current access mode, or one that never hits */
	u16 ctx;		/* 12-bit address-space tag mixed into TLB tags */
	u16 aflags;		/* (LAHF's AH) << 8 | OF */
	u32 rflags;		/* without the arithmetic flags; bit 1 set */
	struct cpu_derived d;
	atomic_uint attention;	/* ATT_* */
	u16 fetch_ctx;		/* as ctx, for fetches */
	u64 salt;		/* other for each space and privilege, in bits that canonical addresses repeat: for
				 * engines that remember what they found at a linear address */
	const void *block_end;	/* set to NULL by ops when the code being executed was changed or a device
				 * was written: stop after this instruction */
	const struct cpu_ops *ops;
	struct event exc;	/* what OUT_FAULT asks to deliver */

	struct seg seg[NR_SEGS], ldtr, tr;
	struct dtable gdtr, idtr;
	u64 cr0, cr2, cr3, cr4, cr8_unused, efer;
	u64 dr[8];		/* 4 and 5 unused */
	u64 pdpte[4];

	/* hidden state, by name */
	u8 activity;		/* enum activity */
	u8 int_shadow;		/* 0, 1 = STI, 2 = MOV SS / POP SS: ends after the next instruction */
	bool nmi_blocked;
	bool smi_pending_unused;
	u64 pending_db;		/* DR6 bits of a trap-class #DB due after the current instruction */
	bool no_step;		/* the instruction being retired takes no single-step trap (INT n; SYSCALL that masked TF) */
	struct event injected;	/* being delivered when the engine was left */
	u64 monitor_addr;
	bool monitor_armed;
	u8 sipi_vector;
	u64 tsc_offset, tsc_adjust;

	/* vector state: zmm in full width, XINUSE per XCR0 bit as last tracked */
	_Alignas(64) union vreg zmm[32];
	u64 k[8];
	_Alignas(16) struct x87 x87;
	u32 mxcsr;
	u64 xcr0, xss, xinuse;

	/* MSRs with a field of their own */
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, misc_enable, tsc_aux, apic_base, spec_ctrl, debugctl, mtrr_def_type, smbase, feature_control, xfd;
	u64 mtrr_physbase[8], mtrr_physmask[8], mtrr_fixed[11];
	u64 bios_sign_id, mcg_status, mcg_ctl, mc_ctl[8], mc_status[8], mc_addr[8], mc_misc[8];
	u64 amd_hwcr, amd_syscfg, amd_de_cfg;
	u64 kvm_system_time, kvm_wall_clock, kvm_async_pf, kvm_pv_eoi, kvm_steal_time, kvm_poll_control;
	u32 kvm_clock_version;
	u8 kvm_unhalted;	/* atomic: a kick has come that no HLT has used up */

	struct lapic lapic;

	/* not architectural */
	const struct cpuid_model *model;
	void *vm;		/* the owner's: the machine's view of this vCPU */
	void *mmu;		/* mmu/'s private state */
	void *engine;		/* the running engine's private state */
	void *engine_machine;	/* what an engine has for the whole machine (engine.h), or NULL */
	const struct debug_wishes *wishes;	/* the debugger's, or NULL (engine.h) */
	const struct engine_options *engine_options; /* the user's, or NULL: as the engine likes (engine.h) */
	unsigned index;		/* 0 is the bootstrap processor */
	u32 pauses;		/* PAUSE instructions so far */
	bool free_running;	/* nobody records or repeats the run, and ops->host_tsc is the host's RDTSC */
	u32 host_live;		/* the engine's: which state stands in host registers now; 0 whenever C code runs */
	u64 icount;		/* instructions retired, where the engine counts them */
	u64 unretired;		/* what else counts against a budget: deliveries of faults, parts of repeated instructions */
	struct counters *counters;
	u32 trace;		/* TRACE_* bits that this vCPU reports */
};

/* ---- flags -------------------------------------------------------------------------------------------------- */

enum { AF_OF = 0x0001, AF_CF = 0x0100, AF_PF = 0x0400, AF_AF = 0x1000, AF_ZF = 0x4000, AF_SF = 0x8000 };
#define FLAGS_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static inline u16 aflags_from_rflags(u64 f)
{
	return (u16)((f & 0xd5) << 8 | 0x0200 | bits(f, 11, 11));
}

/* All of RFLAGS as PUSHFQ would show it (RF and VM included). */
static inline u64 cpu_rflags(const struct cpu *c)
{
	return c->rflags | ((c->aflags >> 8) & 0xd5) | (u64)(c->aflags & 1) << 11;
}

/* Stores every bit as given, without checks; the caller sees to cpu_update_mode() and ATT_EVENTS. */
static inline void cpu_set_rflags_raw(struct cpu *c, u64 f)
{
	c->aflags = aflags_from_rflags(f);
	c->rflags = (u32)((f & ~(u64)FLAGS_ARITH) | 2);
}

/* Reports an event to --trace; costs one test where nobody asks. */
static inline void cpu_trace(struct cpu *c, enum trace_kind kind, u64 a, u64 b, u64 x)
{
	if (unlikely(c->trace & (1u << kind)) && c->ops->trace)
		c->ops->trace(c, kind, a, b, x);
}

/* ---- raising: each returns OUT_FAULT so that `return cpu_gp(c, 0);` reads well ------------------------------- */

static inline int cpu_raise(struct cpu *c, u8 vector)
{
	c->exc = (struct event){ .type = EV_FAULT, .vector = vector };
	return OUT_FAULT;
}

static inline int cpu_raise_error(struct cpu *c, u8 vector, u32 error)
{
	c->exc = (struct event){ .type = EV_FAULT, .vector = vector, .has_error = true, .error = error };
	return OUT_FAULT;
}

static inline int cpu_ud(struct cpu *c)
{
	return cpu_raise(c, EXC_UD);
}

static inline int cpu_gp(struct cpu *c, u32 error)
{
	return cpu_raise_error(c, EXC_GP, error);
}

static inline int cpu_pf(struct cpu *c, u64 lin, u32 error)
{
	c->exc = (struct event){ .type = EV_FAULT, .vector = EXC_PF, .has_error = true, .error = error, .payload = lin };
	return OUT_FAULT;
}

/* ---- life cycle and mode (cpu.c, mode.c) --------------------------------------------------------------------- */

struct cpu *cpu_new(unsigned index, const struct cpuid_model *model, const struct cpu_ops *ops);
void cpu_free(struct cpu *c);
/* Power-on or INIT state (SDM 3A table 9-1). INIT keeps vector state, MTRRs and most MSRs. */
void cpu_reset(struct cpu *c, bool init);
void cpu_update_mode(struct cpu *c);
/* From any thread: latch attention bits; the caller kicks the engine if the vCPU may be asleep or in a stub. */
static inline void cpu_post(struct cpu *c, unsigned att)
{
	atomic_fetch_or_explicit(&c->attention, att, memory_order_seq_cst);
}

/* An NMI arrives. A processor takes the first within a few instructions and latches one more while that is served; a
 * vCPU may look later, so two that came in between are both kept, and IRET cuts what is left to one. */
static inline void cpu_post_nmi(struct cpu *c)
{
	if (atomic_fetch_or(&c->attention, ATT_NMI) & ATT_NMI)
		atomic_fetch_or(&c->attention, ATT_NMI2);
}


#endif
