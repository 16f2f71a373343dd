/* SPDX-License-Identifier: Apache-2.0
 * Debug registers at work: instruction, data and I/O breakpoints (SDM 3B chapter 17).
 */
#include "cpu/debug.h"

static const u8 len_of[4] = { 1, 2, 8, 4 };

static unsigned dr7_len(const struct cpu *c, unsigned n)
{
	return len_of[c->dr[7] >> (18 + 4 * n) & 3];
}

/* DR6.B bits of the enabled breakpoints whose kind is in the set kinds and which meet [addr, addr + size). Addresses
 * are aligned to the length (SDM 3B 17.2.5). */
static u64 debug_match(const struct cpu *c, unsigned kinds, u64 addr, unsigned size)
{
	u64 hit = 0;

	for (unsigned n = 0; n < 4; n++) {
		unsigned len = dr7_len(c, n);
		u64 bp = c->dr[n] & ~(u64)(len - 1);

		if (dr7_enabled(c, n) && (kinds >> dr7_kind(c, n) & 1) && addr < bp + len && bp < addr + size)
			hit |= BIT(n);
	}
	return hit;
}

static bool debug_armed(const struct cpu *c, unsigned kinds)
{
	for (unsigned n = 0; (c->dr[7] & DR7_ENABLES) && n < 4; n++)
		if (dr7_enabled(c, n) && (kinds >> dr7_kind(c, n) & 1))
			return true;
	return false;
}

bool debug_code_armed(const struct cpu *c)
{
	return debug_armed(c, 1u << DR7_EXEC);
}

bool debug_data_armed(const struct cpu *c)
{
	return debug_armed(c, 1u << DR7_WRITE | 1u << DR7_ACCESS);
}

bool debug_code_breakpoint(struct cpu *c)
{
	u64 lin = (c->d.ebase[SEG_CS] + c->r[R_RIP]) & c->d.lin_mask, hit = 0;

	if ((c->rflags & FLAG_RF) || c->int_shadow == 2)
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (dr7_enabled(c, n) && dr7_kind(c, n) == DR7_EXEC && c->dr[n] == lin)
			hit |= BIT(n);
	if (!hit)
		return false;
	c->exc = (struct event){ .type = EV_FAULT, .vector = EXC_DB, .payload = hit };
	return true;
}

void debug_data_access(struct cpu *c, u64 lin, unsigned size, unsigned acc)
{
	u64 hit = debug_match(c, acc & (ACC_W | ACC_RMW) ? 1u << DR7_WRITE | 1u << DR7_ACCESS : 1u << DR7_ACCESS, lin,
			      size);

	if (hit) {
		c->pending_db |= hit;
		cpu_post(c, ATT_EVENTS);
	}
}

void debug_io_access(struct cpu *c, u16 port, unsigned size)
{
	u64 hit = c->cr4 & CR4_DE ? debug_match(c, 1u << DR7_IO, port, size) : 0;

	if (hit) {
		c->pending_db |= hit;
		cpu_post(c, ATT_EVENTS);
	}
}
