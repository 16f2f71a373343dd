/* SPDX-License-Identifier: Apache-2.0
 * ACPI power management as in the PIIX4 (82371AB chapter 7.2; ACPI 6.3 section 4.8). Machine lock.
 *
 * Ports at base: PM1a event 0 to 3, PM1a control 4 and 5, PM timer 8 to 11, GPE0 12 to 15; SMI_CMD at 0xb2.
 */
#ifndef DEV_ACPIPM_H
#define DEV_ACPIPM_H

#include "base/clock.h"
#include "base/state.h"
#include "dev/dev.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define PM_TIMER_HZ 3579545ull
#define ACPIPM_BASE 0x600
#define ACPIPM_SIZE 64
#define ACPIPM_GPE0 12 /* offset of GPE0_BLK, 4 bytes: status, enable */
#define ACPIPM_SMI_CMD 0xb2
#define ACPIPM_ENABLE 0xf1 /* what FADT tells to write to SMI_CMD */
#define ACPIPM_DISABLE 0xf0
#define ACPIPM_SLP_S5 0 /* SLP_TYP of soft off */

struct acpipm {
	u16 pm1_sts, pm1_en, pm1_cnt;
	u16 gpe_sts, gpe_en;
	u16 gpe_lines;
	u8 apm_cmd, apm_sts;
	bool wide;	   /* PM timer of 32 bits (TMR_VAL_EXT) */
	u64 overflow_seen; /* half periods of the timer already turned into TMR_STS */
	u16 base;	   /* 0: not decoded */
	struct mem *mem;
	const struct clock *clock;
	struct timer timer;
	struct irq sci;
	struct call power_off; /* arg: SLP_TYP, ACPIPM_SLP_S5 */
};

struct acpipm *acpipm_new(struct mem *m, const struct clock *clock, struct timerq *q, bool wide, struct irq sci,
			  struct call power_off, struct err *e);
void acpipm_free(struct acpipm *p);
void acpipm_reset(struct acpipm *p);
/* Moves the port block; 0 stops decoding it. */
void acpipm_set_base(struct acpipm *p, u16 base);
/* The user pressed the power button. */
void acpipm_press_power(struct acpipm *p);
/* struct irq target: general purpose event inputs 0 to 15. */
void acpipm_set_gpe(void *acpipm, unsigned input, bool level);

extern const struct state acpipm_state;

#endif
