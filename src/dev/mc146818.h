/* SPDX-License-Identifier: Apache-2.0
 * The MC146818 real-time clock and 256 bytes of CMOS RAM at ports 0x70 to 0x73. Machine lock.
 */
#ifndef DEV_MC146818_H
#define DEV_MC146818_H

#include "base/clock.h"
#include "base/state.h"
#include "dev/irq.h"
#include "mem/mem.h"

struct mc146818 {
	u8 ram[256];	    /* registers and CMOS; the ten time registers stand here while updates are inhibited */
	u8 index, index_hi; /* as written to 0x70 (bits 6..0) and 0x72 */
	bool nmi_masked;    /* bit 7 of port 0x70 */
	s64 offset_s;	    /* calendar time (since 1970) minus VM time, in seconds */
	u32 offset_ns;	    /* and the rest, below a second */
	u64 div_start_ns;   /* VM time at which the divider chain was released */
	u64 seen_second;    /* seconds and periods already turned into flags */
	u64 seen_period;
	struct irq irq8;
	const struct clock *clock;
	struct timer update; /* the next second, when UIE or AIE waits for it */
	struct timer periodic;
};

/* utc_ns: the calendar time at birth. ram_below, ram_above: bytes of RAM below and above 4 GiB, for firmware. */
struct mc146818_config {
	u64 utc_ns, ram_below, ram_above;
	unsigned cpus;
	struct irq irq8;
};

struct mc146818 *mc146818_new(struct mem *m, const struct clock *clock, struct timerq *q,
			      const struct mc146818_config *cfg, struct err *e);
void mc146818_free(struct mc146818 *r);
/* RESET# (data sheet): interrupt enables and flags fall; time and CMOS stay. */
void mc146818_reset(struct mc146818 *r);
bool mc146818_nmi_masked(const struct mc146818 *r);

extern const struct state mc146818_state;

#endif
