/* SPDX-License-Identifier: Apache-2.0
 * One instruction at a time: what crosses a page or a segment's end, what is fetched from a device, what runs under TF,
 * RF, an interrupt shadow or armed breakpoints.
 *
 * Bytes are fetched as needed: the second page is asked for only if the first one's bytes do not make an instruction,
 * so that #PF on it (CR2 is its first byte) comes exactly when the CPU would still be fetching. The limit of CS is
 * #GP(0) likewise (SDM 3A 5.3), as is a sixteenth byte (SDM 2, 2.3.11).
 */
#include "engine/interp/interp.h"

#include "cpu/debug.h"
#include "cpu/event.h"
#include "mmu/mmu.h"

/* Bytes at lin that lie in one page: n of them into buf. */
static int fetch_bytes(struct interp *in, u64 lin, u8 *buf, unsigned n, u64 *gpa)
{
	const u8 *host;

	if (mmu_fetch_page(in->cpu, lin, &host, gpa))
		return OUT_FAULT;
	if (host) {
		memcpy(buf, host, n);
		return OUT_DONE;
	}
	for (unsigned k = 0; k < n; k++)
		buf[k] = (u8)mem_mmio_read(in->mem, *gpa + k, 1, NULL);
	return OUT_DONE;
}

static bool stepped_fits(const struct stepped *s, u64 gpa, u32 key, const u8 *bytes, unsigned n)
{
	return s->gpa == gpa && s->key == key && s->insn.exec && s->insn.len <= n &&
	       !memcmp(s->insn.raw, bytes, s->insn.len);
}

/* Did these bytes, which are not all, begin the instruction that s holds? */
static bool stepped_begins(const struct stepped *s, u64 gpa, u32 key, const u8 *bytes, unsigned n)
{
	return s->gpa == gpa && s->key == key && s->insn.exec && s->insn.len > n && !memcmp(s->insn.raw, bytes, n);
}

static enum decode_result decode_stepped(struct interp *in, struct stepped *s, u64 gpa, const u8 *bytes, unsigned n)
{
	struct cpu *c = in->cpu;
	enum decode_result r;

	if (stepped_fits(s, gpa, c->d.block_key, bytes, n))
		return DECODE_OK;
	if (stepped_begins(s, gpa, c->d.block_key, bytes, n))
		return DECODE_MORE;
	s->gpa = gpa;
	s->key = c->d.block_key;
	r = decode_insn(&s->insn, bytes, n, c->d.code, interp_how(c));
	if (r != DECODE_OK)
		s->insn.exec = NULL;
	counter_inc(c->counters, CNT_DECODED);
	return r;
}

/* The instruction at r[R_RIP]; OUT_FAULT with exc set. */
static int fetch_insn(struct interp *in, struct insn **i)
{
	struct cpu *c = in->cpu;
	u64 rip = c->r[R_RIP], lin = interp_pc(c), limit = interp_limit(c), gpa, gpa2;
	unsigned page = (unsigned)(PAGE_SIZE - (lin & ~PAGE_MASK)), room = 15, n;
	enum decode_result r;
	struct stepped *s;
	u8 bytes[15];

	if (rip > limit)
		return cpu_gp(c, 0);
	if (limit - rip < 14)
		room = (unsigned)(limit - rip) + 1;
	n = MIN(room, page);
	if (fetch_bytes(in, lin, bytes, n, &gpa))
		return OUT_FAULT;
	s = &in->stepped[(gpa ^ gpa >> 8) & (STEP_CACHE - 1)];
	*i = &s->insn;
	r = decode_stepped(in, s, gpa, bytes, n);
	if (r == DECODE_MORE && page < room) {
		if (fetch_bytes(in, (lin + page) & c->d.lin_mask, bytes + page, room - page, &gpa2))
			return OUT_FAULT;
		r = decode_stepped(in, s, gpa, bytes, room);
	}
	return r == DECODE_OK ? OUT_DONE : cpu_gp(c, 0);
}

int step_insn(struct interp *in)
{
	struct cpu *c = in->cpu;
	u32 rflags = c->rflags;
	u64 at;
	u8 shadow = c->int_shadow;
	struct insn *i = NULL;
	int out;

	if (!c->d.long64)
		c->r[R_RIP] &= 0xffffffff;
	if (debug_code_armed(c) && debug_code_breakpoint(c))
		return interp_outcome(in, NULL, OUT_FAULT);
	if (fetch_insn(in, &i))
		return interp_outcome(in, NULL, OUT_FAULT);
	c->block_end = NULL;
	at = c->r[R_RIP];
	out = cpu_exec(c, i);
	if (out == OUT_DONE || out == OUT_END || out == OUT_HALT) {
		c->icount++;
		event_retire(c, rflags, shadow, i, at);
	} else if (out == OUT_AGAIN) {
		if ((rflags & FLAG_TF) && !(c->debugctl & DEBUGCTL_BTF))
			event_step(c);
		event_between_iterations(c, i);
		interp_count_unretired(in);
	}
	return out == OUT_DONE ? OUT_DONE : interp_outcome(in, i, out);
}
