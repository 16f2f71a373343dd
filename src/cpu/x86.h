/* SPDX-License-Identifier: Apache-2.0
 * The architecture's constants under the manual's names: flags, control registers, exceptions, descriptor bits, access
 * kinds. SDM 3A chapters 2 to 6.
 */
#ifndef CPU_X86_H
#define CPU_X86_H

#include "base/base.h"

enum {
	FLAG_CF = 1 << 0, FLAG_PF = 1 << 2, FLAG_AF = 1 << 4, FLAG_ZF = 1 << 6, FLAG_SF = 1 << 7, FLAG_TF = 1 << 8,
	FLAG_IF = 1 << 9, FLAG_DF = 1 << 10, FLAG_OF = 1 << 11, FLAG_IOPL = 3 << 12, FLAG_NT = 1 << 14,
	FLAG_RF = 1 << 16, FLAG_VM = 1 << 17, FLAG_AC = 1 << 18, FLAG_VIF = 1 << 19, FLAG_VIP = 1 << 20,
	FLAG_ID = 1 << 21,
};

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_LA57 BIT(12)
#define CR4_VMXE BIT(13)
#define CR4_SMXE BIT(14)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define CR4_PKE BIT(22)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define EFER_SVME BIT(12)
#define EFER_FFXSR BIT(14)
#define EFER_TCE BIT(15)

enum {
	EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF, EXC_CSO, EXC_TS, EXC_NP, EXC_SS, EXC_GP,
	EXC_PF, EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM,
};

enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

/* struct seg .attr: bits 8..15 and 20..23 of a descriptor's second word. */
enum {
	SEG_TYPE = 0xf, SEG_A = 0x1, SEG_W = 0x2 /* data: writable */, SEG_R = 0x2 /* code: readable */,
	SEG_E = 0x4 /* data: expand-down */, SEG_C = 0x4 /* code: conforming */, SEG_CODE = 0x8, SEG_S = 0x10,
	SEG_DPL = 0x60, SEG_DPL_SHIFT = 5, SEG_P = 0x80, SEG_AVL = 0x100, SEG_L = 0x200, SEG_D = 0x400, SEG_G = 0x800,
};

/* System descriptor types (S = 0). */
enum {
	SYS_TSS16_AVAIL = 1, SYS_LDT = 2, SYS_TSS16_BUSY = 3, SYS_CALL16 = 4, SYS_TASK_GATE = 5, SYS_INT16 = 6,
	SYS_TRAP16 = 7, SYS_TSS32_AVAIL = 9, SYS_TSS32_BUSY = 11, SYS_CALL32 = 12, SYS_INT32 = 14, SYS_TRAP32 = 15,
};

/* The kind of a memory access. Explicit accesses are made with the rights of the current CPL. */
enum {
	ACC_R = 0,
	ACC_W = 1,
	ACC_X = 2,
	ACC_RMW = 4,	/* with a load: the store that follows must not fault */
	ACC_SS = 8,	/* a non-canonical address raises #SS, not #GP */
	ACC_SYS = 16,	/* implicit supervisor access (descriptor tables, TSS, IDT), whatever the CPL */
	ACC_NOALIGN = 32, /* no #AC check */
};

enum tlb_scope {
	TLB_ALL,	/* everything, global entries too */
	TLB_NON_GLOBAL,	/* all address spaces, global entries stay */
	TLB_PCID,	/* one address space's non-global entries */
	TLB_PCID_PAGE,	/* one page of one address space, not global entries */
};

#endif
