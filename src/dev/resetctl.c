/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/resetctl.h"

enum { SYS_RST = 0x02, RST_CPU = 0x04, FULL_RST = 0x08 };

void resetctl_reset(struct resetctl *r)
{
	r->value = 0;
}

void resetctl_init(struct resetctl *r, struct call reset)
{
	r->reset = reset;
	resetctl_reset(r);
}

u8 resetctl_read(const struct resetctl *r)
{
	return r->value;
}

/* RST_CPU going from 0 to 1 starts what the other two bits chose. */
void resetctl_write(struct resetctl *r, u8 v)
{
	bool rise = (v & RST_CPU) && !(r->value & RST_CPU);

	r->value = v & (SYS_RST | FULL_RST);
	if (!rise)
		return;
	if (!(v & SYS_RST))
		call_make(&r->reset, RESET_INIT);
	else
		call_make(&r->reset, v & FULL_RST ? RESET_POWER : RESET_HARD);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct resetctl
static const struct state_field state_fields[] = {
	STATE_UINT(S, value),
};
#undef S

const struct state resetctl_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
