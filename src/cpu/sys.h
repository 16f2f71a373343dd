/* SPDX-License-Identifier: Apache-2.0
 * The system instructions by file, for the rows in sys_table.c.
 */
#ifndef CPU_SYS_H
#define CPU_SYS_H

#include "cpu/insn.h"

#define SYSRET_FLAGS 0x3c7fd7ull /* all that SYSRET loads: not RF, VM, reserved bits */

exec_fn sys_mov_from_cr, sys_mov_to_cr, sys_clts, sys_lmsw, sys_smsw; /* sys_cr.c */
exec_fn sys_mov_from_dr, sys_mov_to_dr;				      /* sys_dr.c */
exec_fn sys_invlpg, sys_invpcid, sys_invd;			      /* sys_tlb.c */
exec_fn sys_syscall, sys_sysret, sys_sysenter, sys_sysexit;	      /* sys_call.c */
exec_fn sys_rdmsr, sys_wrmsr, sys_rdtsc, sys_rdtscp, sys_rdpid, sys_rdpmc, sys_rdrand, sys_rdseed,
    sys_cpuid;											    /* sys_reg.c */
exec_fn sys_swapgs, sys_rdfsbase, sys_rdgsbase, sys_wrfsbase, sys_wrgsbase, sys_xgetbv, sys_xsetbv; /* sys_reg.c */
exec_fn sys_hlt, sys_monitor, sys_mwait, sys_hypercall, sys_clac, sys_stac, sys_serialize;	    /* sys_misc.c */

/* sys_call.c: SYSCALL and SYSRET between 64-bit user code and a 64-bit kernel, without traps and tracing, past the
 * general way: as OUT_END. False: nothing was done, and sys_syscall() or sys_sysret() decides. */
bool sys_syscall_plain(struct cpu *c);
bool sys_sysret_plain(struct cpu *c, const struct insn *i);

/* Privileged instructions: #GP(0) unless CPL is 0. */
static inline bool sys_user(const struct cpu *c)
{
	return unlikely(c->d.cpl != 0);
}

/* Loads CR0, CR3 or CR4 with every check and side effect; OUT_END or OUT_FAULT. */
int sys_write_cr0(struct cpu *c, u64 val);
int sys_write_cr3(struct cpu *c, u64 val);
int sys_write_cr4(struct cpu *c, u64 val);
/* The bits of CR4 that this model has; may XCR0 be this? */
u64 sys_cr4_valid(const struct cpu *c);
bool sys_xcr0_valid(const struct cpu *c, u64 val);

#endif
