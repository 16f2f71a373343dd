/* SPDX-License-Identifier: Apache-2.0
 * The local APIC (SDM 3A chapter 11): xAPIC window, x2APIC MSRs, interrupt acceptance, IPIs, the timer.
 *
 * All functions belong to the vCPU's own thread, but lapic_post(), lapic_post_icr() and lapic_match(), which any thread
 * may call: they read the target's id, LDR, DFR and mode, and write only its posted words and attention bits.
 */
#ifndef CPU_LAPIC_H
#define CPU_LAPIC_H

#include "cpu/cpu.h"

#define APIC_DEFAULT_BASE 0xfee00000ull
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2 BIT(10)
#define APIC_BASE_EN BIT(11)

/* The APIC timer's input clock, before the divider, as on a board with a 100 MHz bus; told in CPUID 40000010H. */
#define APIC_BUS_HZ 100000000ull
#define APIC_BUS_HZ_KVM 1000000000ull /* of kernels before Linux 6.11, where nobody can choose */

/* Delivery modes: ICR, LVT and MSI bits 10..8. APIC_DM_REMOTE_READ is a reserved mode on real hardware. */
enum { APIC_DM_FIXED, APIC_DM_LOWEST, APIC_DM_SMI, APIC_DM_REMOTE_READ, APIC_DM_NMI, APIC_DM_INIT, APIC_DM_SIPI,
       APIC_DM_EXTINT };

/* ICR bits (x2APIC form: destination in 63..32). */
#define ICR_VECTOR(icr) ((u8)(icr))
#define ICR_MODE(icr) ((unsigned)((icr) >> 8 & 7))
#define ICR_LOGICAL BIT(11)
#define ICR_PENDING BIT(12)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)
#define ICR_SHORTHAND(icr) ((unsigned)((icr) >> 18 & 3)) /* 0 none, 1 self, 2 all, 3 all but self */
#define ICR_DEST(icr) ((u32)((icr) >> 32))

/* Power-on or INIT (init true: the APIC id and the posted words' owner stay). Leaves apic_base alone but for power-on. */
void lapic_reset(struct cpu *c, bool init);

/* Does the xAPIC window stand at the page of gpa for this vCPU (enabled, xAPIC mode)? */
static inline bool lapic_claims(const struct cpu *c, u64 gpa)
{
	return (c->apic_base & (APIC_BASE_EN | APIC_BASE_X2)) == APIC_BASE_EN && !((c->apic_base ^ gpa) >> PAGE_SHIFT);
}

/* An access to the xAPIC window; off is 0..0xfff. Registers are 32 bits wide on 16-byte boundaries; other accesses are
 * undefined by the manual: reads give the bytes of the register or 0, writes that are not 32 bits wide are dropped. */
u32 lapic_mmio_read(struct cpu *c, u32 off, unsigned size);
void lapic_mmio_write(struct cpu *c, u32 off, u32 val, unsigned size);

/* MSRs 800H..8FFH. False: #GP(0) (not x2APIC mode, reserved register or bits, not readable or writable). */
bool lapic_x2apic_read(struct cpu *c, u32 msr, u64 *val);
bool lapic_x2apic_write(struct cpu *c, u32 msr, u64 val);

/* IA32_APIC_BASE. False: #GP(0) (reserved bits, forbidden transition; SDM 3A figure 11-27). */
bool lapic_base_write(struct cpu *c, u64 val);

/* IA32_TSC_DEADLINE; reads 0 unless the timer is in that mode. */
u64 lapic_tsc_deadline_read(struct cpu *c);
void lapic_tsc_deadline_write(struct cpu *c, u64 val);
/* To be called when the guest's TSC is moved (IA32_TSC, TSC_ADJUST). */
void lapic_tsc_changed(struct cpu *c);

/* CR8 is TPR bits 7..4. */
u64 lapic_cr8_read(const struct cpu *c);
void lapic_cr8_write(struct cpu *c, u64 val);

/* From any thread: the interrupt arrives (edge or level), attention is posted; the caller kicks the vCPU. Ignored by a
 * disabled APIC when it is folded in. Vectors below 16 are reported to the target's ESR. */
void lapic_post(struct cpu *target, u8 vector, bool level);
/* From any thread: what an ICR write or an MSI of any delivery mode does at one matching target. SIPI's vector goes into
 * target->sipi_vector before ATT_SIPI is posted. SMI is ignored (no SMM). */
void lapic_post_icr(struct cpu *target, u64 icr);
/* Does this target's APIC accept a message to dest? In xAPIC mode dest is 8 bits, 0xff (x2APIC: ~0) is all. */
bool lapic_match(const struct cpu *target, u32 dest, bool logical);

/* The local interrupt inputs of this vCPU, in its own thread. LINT0 carries the 8259's INTR (ExtINT), LINT1 NMI. */
void lapic_lint1_nmi(struct cpu *c);
/* Does INTR (ATT_EXTINT) reach the core: APIC disabled in APIC_BASE, or LINT0 unmasked as ExtINT. */
bool lapic_accepts_extint(const struct cpu *c);

/* Folds posted words into IRR/TMR, runs the timer, honours a PV EOI. Call when ATT_APIC or ATT_TIMER is seen, and before
 * lapic_pending_vector(). */
void lapic_sync(struct cpu *c);
/* Takes back what the guest was offered to end through its PV EOI word, or ends it if it did. */
void lapic_pv_eoi_end(struct cpu *c);
/* The vector that would be delivered now by IRR, ISR and PPR, or -1. Has no side effects. */
int lapic_pending_vector(struct cpu *c);
/* Interrupt acknowledge: moves the pending vector from IRR to ISR and returns it (the spurious vector if there is none). */
u8 lapic_ack(struct cpu *c);
/* VM-clock time in nanoseconds at which the timer must be looked at (post ATT_TIMER then), CLOCK_NEVER (~0) if never. */
u64 lapic_next_deadline(struct cpu *c);

#endif
