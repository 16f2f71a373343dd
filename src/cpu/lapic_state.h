/* SPDX-License-Identifier: Apache-2.0
 * The local APIC's registers as vCPU state (SDM 3A 11.4). Its own thread reads and writes it without a lock; other
 * threads only set bits in the posted words and then cpu_post(ATT_APIC).
 */
#ifndef CPU_LAPIC_STATE_H
#define CPU_LAPIC_STATE_H

#include <stdatomic.h>

#include "base/base.h"

enum { LVT_CMCI_UNUSED, LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, NR_LVT };

struct lapic {
	u32 id, ldr, dfr, tpr, svr, esr, esr_pending, icr_lo, icr_hi;
	u32 lvt[NR_LVT];
	u32 irr[8], isr[8], tmr[8];
	u32 timer_init, timer_div;	/* divide configuration register as written */
	u64 timer_start_ns;		/* VM clock when the count began */
	u64 timer_deadline_ns;		/* when the timer fires next; ~0 is never */
	u64 tsc_deadline;		/* IA32_TSC_DEADLINE as written, 0 when disarmed */
	_Atomic u64 posted_irr[4];	/* fixed interrupts from other threads, not yet in irr */
	_Atomic u64 posted_tmr[4];	/* those of them that are level-triggered */
	bool pv_eoi_pending;		/* the guest may clear the PV EOI word instead of writing EOI */
};

#endif
