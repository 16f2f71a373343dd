/* SPDX-License-Identifier: Apache-2.0
 * Model-specific registers: numbers, bits, and the two functions behind RDMSR and WRMSR. SDM 4 chapter 2, APM 2
 * appendix A, Linux Documentation/virt/kvm/x86/msr.rst.
 */
#ifndef CPU_MSR_H
#define CPU_MSR_H

#include "cpu/cpu.h"

enum {
	MSR_P5_MC_ADDR = 0, MSR_P5_MC_TYPE = 1, MSR_TSC = 0x10, MSR_PLATFORM_ID = 0x17, MSR_APIC_BASE = 0x1b,
	MSR_EBL_CR_POWERON = 0x2a, MSR_SMI_COUNT = 0x34, MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48, MSR_PRED_CMD = 0x49, MSR_BIOS_UPDT_TRIG = 0x79, MSR_BIOS_SIGN_ID = 0x8b,
	MSR_PLATFORM_INFO = 0xce, MSR_MTRRCAP = 0xfe, MSR_ARCH_CAPABILITIES = 0x10a, MSR_FLUSH_CMD = 0x10b,
	MSR_MISC_FEATURES = 0x140, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MCG_CTL = 0x17b, MSR_MISC_ENABLE = 0x1a0, MSR_DEBUGCTL = 0x1d9,
	MSR_LASTBRANCHFROM = 0x1db, MSR_LASTBRANCHTO = 0x1dc, MSR_LASTINTFROM = 0x1dd, MSR_LASTINTTO = 0x1de,
	MSR_MTRR_PHYSBASE0 = 0x200, MSR_MTRR_FIX64K = 0x250, MSR_MTRR_FIX16K_8 = 0x258, MSR_MTRR_FIX16K_A = 0x259,
	MSR_MTRR_FIX4K = 0x268, MSR_PAT = 0x277, MSR_MC0_CTL2 = 0x280, MSR_MTRR_DEF_TYPE = 0x2ff, MSR_MC0_CTL = 0x400,
	MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800, MSR_XSS = 0xda0,
};
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_AMD_SYSCFG 0xc0010010u
#define MSR_AMD_HWCR 0xc0010015u
#define MSR_AMD_DE_CFG 0xc0011029u
#define MSR_KVM_WALL_CLOCK 0x11u
#define MSR_KVM_SYSTEM_TIME 0x12u
#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define MSR_KVM_STEAL_TIME 0x4b564d03u
#define MSR_KVM_PV_EOI 0x4b564d04u
#define MSR_KVM_POLL_CONTROL 0x4b564d05u

#define EFER_AIBRSE BIT(21) /* AMD automatic IBRS */

#define NR_MTRR_VAR 8
#define NR_MC_BANKS 8

/* RDMSR and WRMSR without the CPL check: OUT_DONE, or OUT_FAULT with #GP(0) in c->exc (unknown MSR, reserved bits,
 * non-canonical address, wrong mode). A write sees to cpu_update_mode(), flushes and attention itself. */
int msr_read(struct cpu *c, u32 idx, u64 *val);
int msr_write(struct cpu *c, u32 idx, u64 val);

/* MTRRs and PAT at power-on are 0 and 0007040600070406H; firmware's settings are the loader's to make. */
bool msr_mtrr_read(const struct cpu *c, u32 idx, u64 *val);	/* msr_mtrr.c: false, #GP(0) */
bool msr_mtrr_write(struct cpu *c, u32 idx, u64 val);
bool msr_pat_valid(u64 val);
u64 msr_efer_valid(const struct cpu *c); /* the bits of EFER that this model has */

/* Rewrites this vCPU's kvmclock page; after a restore, or when the TSC or the VM clock has jumped. */
void kvm_clock_update(struct cpu *c);
/* The vCPU could have run for so many nanoseconds more, but the host's CPUs were taken: adds them to its page. */
void kvm_steal_add(struct cpu *c, u64 ns);
/* Where the page's `preempted` byte stands (bit 0: not running, bit 1: flush the TLB before it does); 0: nowhere. */
u64 kvm_preempted_gpa(const struct cpu *c);

/* The guest's TSC now: host's plus offset. */
static inline u64 cpu_guest_tsc(struct cpu *c)
{
	return c->ops->host_tsc(c) + c->tsc_offset;
}

/* Canonical as a value kept in a register (MSRs, INVPCID descriptors): by the width the processor has, LA57 in force or
 * not (SDM 1, 3.3.7.1). cpu_canonical() in segment.h goes by the mode. */
bool cpu_canonical_max(const struct cpu *c, u64 lin);

#endif
