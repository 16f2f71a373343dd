/* SPDX-License-Identifier: Apache-2.0
 * What translated code calls: one instruction by the library, and what has to be looked at behind it.
 *
 * Most instructions that end a block (ring crossings, STI, POPF, CR3 loads, faults) leave nothing to attend to. Then
 * the next block is entered at once, if it is at hand; all else goes the long way through the interpreter's loop.
 *
 * An interrupt shadow, or RF, holds for one instruction. Where nothing waits to be taken, neither breakpoints are armed
 * nor the budget ends, it can be told from no shadow only by an event that comes between the two instructions: so it is
 * dropped, and the next block is entered behind its look at attention.
 */
#include <stddef.h>

#include "base/clock.h"
#include "cpu/debug.h"
#include "cpu/event.h"
#include "engine/translate/report.h"
#include "engine/translate/translate.h"
#include "mmu/mmu.h"

#define LIBRARY_SAMPLE 64 /* every so many calls one is timed */
#define STRING_ROUNDS 64  /* pages of a string operation between two looks at the clock of the loop */

/* The block at r[R_RIP] if it has code and can be entered here: as build_find() and run_blocks() would. */
static const struct block *at_hand(struct translate *t, struct cpu *c)
{
	const struct block *b;
	const u8 *host;
	u64 gpa;

	if (!(c->d.long64 || (c->d.block_key == CODE32 && c->r[R_RIP] < BIT(32) - PAGE_SIZE)) ||
	    !mmu_fetch_hit(c, c->r[R_RIP], &host, &gpa))
		return NULL;
	b = t->in.recent[(gpa ^ gpa >> 12) & (RECENT - 1)];
	return b && b->gpa == gpa && b->key == c->d.block_key && b->code != t->in.no_code ? b : NULL;
}

/* Can the next instruction follow with nothing of interp.c's run_loop() between? */
static bool nothing_presses(const struct translate *t, const struct cpu *c)
{
	return !atomic_load_explicit(&c->attention, memory_order_relaxed) && c->activity == ACT_RUNNING && !c->wishes &&
	       !(c->dr[7] & DR7_ENABLES) && !(c->rflags & FLAG_TF) && c->int_shadow != 2 && !c->pending_db &&
	       c->icount <= t->stop;
}

static const void *go_on(struct translate *t, struct cpu *c)
{
	const struct block *b;
	unsigned skip = 0;

	/* an exact budget counts what does not retire, and stop does not */
	if (!opt(t, OPT_CROSS) || (t->in.icount_end != NO_BUDGET && !t->about) || !nothing_presses(t, c))
		return NULL;
	if (interp_native(&t->in))
		return NULL;
	b = at_hand(t, c);
	if (!b)
		return NULL;
	if (c->int_shadow || (c->rflags & FLAG_RF)) {
		if (!b->n || (b->insn[0].flags & INSN_END))
			return NULL;
		c->int_shadow = 0;
		c->rflags &= ~(u32)FLAG_RF;
		skip = t->look;
	}
	c->r[R_RIP] &= PAGE_MASK;
	return (const u8 *)b->code + skip;
}

/* Rounds of a repeated string operation; the last one's outcome. */
static int repeat(struct translate *t, struct cpu *c, const struct insn *i)
{
	int out = OUT_AGAIN;

	for (unsigned n = 0; n < STRING_ROUNDS && out == OUT_AGAIN && c->block_end; n++) {
		if (atomic_load_explicit(&c->attention, memory_order_relaxed))
			break;
		interp_count_unretired(&t->in);
		out = i->exec(c, i);
	}
	return out;
}

static struct left retire(struct translate *t, struct cpu *c, const struct insn *i, unsigned k, int out)
{
	bool levels = t->in.ignored;
	const void *code;

	t->in.ignored = 0;
	if (out == OUT_END) {
		c->icount += k + 1;
	} else {
		struct event e = c->exc;

		c->icount += k;
		c->r[R_RIP] -= i->len;
		interp_count_unretired(&t->in);
		event_deliver(c, &e);
	}
	code = levels ? NULL : go_on(t, c);
	return (struct left){ code ? LEAVE_GO : LEAVE_NEXT, (u64)(uintptr_t)code };
}

static struct left execute(struct translate *t, struct cpu *c, u64 at)
{
	const struct insn *i = (const struct insn *)(at & ~63ull);
	int out;

	c->block_end = i + 1;
	counter_inc(c->counters, CNT_HANDED_OVER);
	report_handed(t->report, i);
	out = i->exec(c, i);
	if (likely(!out))
		return (struct left){ likely(c->block_end) ? OUT_DONE : LEAVE_STOP, at };
	if (out == OUT_AGAIN && !(c->rflags & FLAG_TF) && (t->in.icount_end == NO_BUDGET || t->about)) {
		out = repeat(t, c, i);
		if (!out)
			return (struct left){ c->block_end ? OUT_DONE : LEAVE_STOP, at };
	}
	if (out == OUT_END || (out == OUT_FAULT && c->exc.type == EV_FAULT))
		return retire(t, c, i, at & 63, out);
	return (struct left){ (u64)out, at };
}

struct left step_over(struct cpu *c)
{
	struct translate *t = c->engine;
	bool levels = t->in.ignored;
	const void *code = NULL;
	int out;

	out = step_insn(&t->in);
	if (out == OUT_HALT)
		counter_inc(c->counters, CNT_HALTS);
	else if (!levels)
		code = go_on(t, c);
	return (struct left){ code ? LEAVE_GO : LEAVE_NEXT, (u64)(uintptr_t)code };
}

struct left hand_over(struct cpu *c, u64 at)
{
	struct translate *t = c->engine;
	struct left l;
	u64 start;

	if (likely(++t->sample % LIBRARY_SAMPLE))
		return execute(t, c, at);
	start = clock_host_ns();
	l = execute(t, c, at);
	counter_sampled(c->counters, CNT_LIBRARY_NS, CNT_LIBRARY_SPREAD, clock_host_ns() - start, LIBRARY_SAMPLE);
	return l;
}
