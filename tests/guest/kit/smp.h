/* SPDX-License-Identifier: Apache-2.0
 * Several processors in a guest: starting them, running a function on all, IPIs. APIC ids are 0 .. kit_cpus - 1.
 */
#ifndef GUEST_KIT_SMP_H
#define GUEST_KIT_SMP_H

#include "kit/kit.h"

#define KIT_CPUS_MAX 64
#define KIT_TRAMPOLINE 0x8000u
#define APIC(off) (*(volatile u32 *)(0xfee00000ull + (off)))

enum { APIC_ID = 0x20, APIC_TPR = 0x80, APIC_EOI = 0xb0, APIC_LDR = 0xd0, APIC_DFR = 0xe0, APIC_SVR = 0xf0,
       APIC_ESR = 0x280, APIC_ICR = 0x300, APIC_ICR_HI = 0x310 };

extern unsigned kit_cpus;

/* INIT and SIPI to all others; returns how many processors run, this one included. */
unsigned kit_smp_start(void);
/* The same for one processor, which is thrown out of whatever it does. False: it did not come. */
bool kit_smp_restart(unsigned cpu);
/* fn(cpu, arg) on every processor; returns when all are done. The others have interrupts enabled while they wait. */
void kit_smp_run(void (*fn)(unsigned cpu, void *arg), void *arg);
/* This processor's number. */
unsigned kit_cpu(void);
/* Until *word is at least want; false after a long while. */
bool kit_wait(volatile u64 *word, u64 want);
/* xAPIC: lo is the low half of the ICR. */
void kit_ipi(unsigned dest, u32 lo);
/* Inside kit_smp_run(), by a processor that will not return: it is done. */
void kit_done_early(void);
/* All processors meet here; for use inside kit_smp_run(). */
void kit_barrier(void);

static inline void pause(void) { __asm__ volatile("pause" ::: "memory"); }
static inline u64 rdtsc(void) { u32 a, d; __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)); return (u64)d << 32 | a; }
static inline void serialize(void) { u32 r[4]; cpuid(0, 0, r); }
static inline u64 lock_add(volatile u64 *p, u64 v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }

#endif
