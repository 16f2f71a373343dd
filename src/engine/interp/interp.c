/* SPDX-License-Identifier: Apache-2.0
 * The engine `interp`: decoded blocks, run by calling one function an instruction. The reference for every other
 * engine.
 *
 * The loop keeps the instruction pointer in a local and stores it before each instruction, because only the last
 * instruction of a block may change it. Everything that needs a look between two instructions (attention, budget,
 * debugging, mode changes) is looked at between blocks; a block is cut short where the budget ends in it.
 */
#include "engine/interp/interp.h"

#include <stdlib.h>

#include "base/log.h"
#include "cpu/debug.h"
#include "cpu/event.h"
#include "mem/frame.h"
#include "mmu/mmu.h"

#define POOL_SIZE (128ul << 20)

/* Attention bits that stay up while they cannot be delivered; looked at again after whatever may change that. */
#define ATT_LEVELS (ATT_EXTINT | ATT_NMI | ATT_NMI2)
#define LEVEL_CHECK 0xfff /* ... and each time so many instructions have gone by */

static void report_unimplemented(struct cpu *c, const struct insn *i)
{
	char text[128], bytes[3 * 15 + 1];

	for (unsigned k = 0; k < i->len; k++) {
		static const char hex[] = "0123456789abcdef";

		bytes[3 * k] = hex[i->raw[k] >> 4];
		bytes[3 * k + 1] = hex[i->raw[k] & 15];
		bytes[3 * k + 2] = ' ';
	}
	bytes[3 * i->len - 1] = 0;
	decode_text(i->raw, i->len, c->d.code, c->r[R_RIP], text, sizeof(text));
	log_guest("instruction not implemented, raising #UD: %s at %04x:%llx (%s)", text, c->seg[SEG_CS].sel,
		  (unsigned long long)c->r[R_RIP], bytes);
}

void interp_count_unretired(struct interp *in)
{
	in->cpu->unretired++;
	if (in->icount_end != NO_BUDGET)
		in->icount_end--;
}

static int deliver(struct interp *in)
{
	struct cpu *c = in->cpu;
	struct event e = c->exc;

	interp_count_unretired(in);
	if (e.type == EV_SOFT_INT || e.type == EV_SOFT_EXC || e.type == EV_PRIV_SW || e.type == EV_TRAP)
		c->icount++;
	return event_deliver(c, &e);
}

int interp_outcome(struct interp *in, const struct insn *i, int out)
{
	in->ignored = 0;
	switch (out) {
	case OUT_UNIMPL:
		report_unimplemented(in->cpu, i);
		cpu_ud(in->cpu);
		return deliver(in);
	case OUT_FAULT:
		return deliver(in);
	default:
		return out;
	}
}

/* ---- blocks --------------------------------------------------------------------------------------------------- */

static inline bool pressing(struct cpu *c, unsigned ignored)
{
	return atomic_load_explicit(&c->attention, memory_order_relaxed) & ~ignored;
}

int interp_leave_block(struct interp *in, const struct block *b, const struct insn *i, int out)
{
	struct cpu *c = in->cpu;

	c->icount += (u64)(i - b->insn);
	if (out == OUT_FAULT || out == OUT_AGAIN || out == OUT_UNIMPL) {
		c->r[R_RIP] -= i[-1].len;
		c->icount--;
	}
	if (out == OUT_AGAIN) {
		event_between_iterations(c, i - 1);
		interp_count_unretired(in);
	}
	if (out)
		out = interp_outcome(in, i - 1, out);
	return out == OUT_AGAIN ? OUT_DONE : out;
}

/* The first n instructions of b, where the budget ends in it. */
static int run_part(struct interp *in, struct block *b, u64 n)
{
	struct cpu *c = in->cpu;
	struct insn *i = b->insn;
	int out;

	c->block_end = i + n;
	do {
		c->r[R_RIP] += i->len;
		out = i->exec(c, i);
		i++;
	} while (!out && i < (const struct insn *)c->block_end);
	return interp_leave_block(in, b, i, out);
}

/* A link is right if its target is as far from b in the frame as r[R_RIP] has gone: gpa + skew is the same for both.
 * Not inlined, so that what the loop needs stays in registers. */
__attribute__((noinline)) int interp_run_chain(struct interp *in, struct block *b, u64 stop, struct chain_end *last)
{
	struct cpu *c = in->cpu;
	u64 rip = c->r[R_RIP], skew = rip - b->gpa, blocks = 0, next;
	const unsigned wanted = ~in->ignored;
	struct block *from = NULL;
	bool jumped = false;
	struct insn *i;
	int out = OUT_DONE;

	for (;;) {
		if (unlikely(b->n > stop - c->icount)) {
			if (stop != c->icount)
				out = run_part(in, b, stop - c->icount);
			from = NULL;
			break;
		}
		i = b->insn;
		c->block_end = b->end;
		blocks++;
		for (;;) {
			rip += i->len;
			c->r[R_RIP] = rip;
			out = i->exec(c, i);
			if (unlikely(out))
				break;
			if (unlikely(++i >= (const struct insn *)c->block_end))
				break;
		}
		if (unlikely(i != b->end)) {
			out = interp_leave_block(in, b, out ? i + 1 : i, out);
			from = NULL;
			break;
		}
		c->icount += b->n;
		next = c->r[R_RIP];
		jumped = next != rip;
		from = b;
		b = b->succ[jumped];
		rip = next;
		if (unlikely(b->gpa + skew != next))
			break;
		if (unlikely(atomic_load_explicit(&c->attention, memory_order_relaxed) & wanted))
			break;
	}
	*last = (struct chain_end){ .b = from, .jumped = jumped };
	counter_add(c->counters, CNT_BLOCKS_RUN, blocks);
	return out;
}

/* Lets the chain that ended at `last` lead to b from now on: invariant 3. Not if the cache was emptied meanwhile. */
static void link_blocks(struct interp *in, const struct chain_end *last, struct block *b, u64 flushes)
{
	struct block *from = last->b;

	if (from && in->flushes == flushes && from->key == b->key && !(b->key & BLOCK_KEY_LIMIT) &&
	    !((from->gpa ^ b->gpa) >> PAGE_SHIFT))
		from->succ[last->jumped] = b;
}

/* Runs block after block until something else wants a look: stop is the instruction count at which something does at
 * the latest, from `look` on nothing is begun; once asks for one chain only. Returns the last outcome, dealt with;
 * OUT_AGAIN if the next instruction must be stepped. */
static int run_blocks(struct interp *in, u64 stop, u64 look, bool once)
{
	struct cpu *c = in->cpu;
	struct chain_end last = { .b = NULL };
	u64 limit = interp_limit(c), flushes;
	struct block *b;
	int out;

	do {
		flushes = in->flushes;
		if (unlikely(build_find(in, interp_pc(c), &b)))
			return interp_outcome(in, NULL, OUT_FAULT);
		if (unlikely(!b || !b->n || c->r[R_RIP] + b->bytes - 1 > limit)) {
			if (b && !b->n && in->hooks && in->hooks->stepping)
				in->hooks->stepping(in, b);
			return OUT_AGAIN;
		}
		link_blocks(in, &last, b, flushes);
		out = in->hooks ? in->hooks->run_chain(in, b, stop, &last) : interp_run_chain(in, b, stop, &last);
		stop = MIN(stop, in->icount_end);
	} while (!out && !once && !pressing(c, in->ignored) && c->icount < stop && c->icount < look);
	return out;
}

/* ---- between blocks ------------------------------------------------------------------------------------------- */

/* Deals with attention; false when run() must return *why. */
static bool attend(struct interp *in, enum engine_exit *why)
{
	struct cpu *c = in->cpu;
	unsigned att = atomic_load(&c->attention);

	if (att & ATT_KICK) {
		atomic_fetch_and(&c->attention, ~(unsigned)ATT_KICK);
		counter_inc(c->counters, CNT_KICKS);
		*why = EXIT_KICK;
		return false;
	}
	if (att & ATT_EXCL) {
		atomic_fetch_and(&c->attention, ~(unsigned)ATT_EXCL);
		atomic_store(&in->seen, atomic_load(&in->mem->epoch));
		blocks_drain(in);
		mmu_safepoint(c);
	}
	in->ignored = 0;
	in->ignored_since = c->icount;
	if (!event_poll(c))
		in->ignored = att & ATT_LEVELS;
	return true;
}

/* The vCPU does not run. False: nothing wakes it now. */
static bool wake(struct interp *in, enum engine_exit *why)
{
	struct cpu *c = in->cpu;

	*why = c->activity == ACT_SHUTDOWN ? EXIT_SHUTDOWN : EXIT_HALT;
	return c->activity != ACT_SHUTDOWN && event_deliverable(c) && event_poll(c);
}

/* Is the next instruction one that the debugger wants to see first, and has not just been told of? */
static bool at_breakpoint(const struct interp *in)
{
	const struct debug_wishes *w = in->cpu->wishes;
	u64 pc = interp_pc(in->cpu);

	if (in->debug_icount == in->cpu->icount)
		return false;
	for (unsigned k = 0; k < w->n && k < ARRAY_SIZE(w->addr); k++)
		if (w->addr[k] == pc)
			return true;
	return false;
}

static bool breakpoint_near(const struct debug_wishes *w, u64 pc)
{
	for (unsigned k = 0; k < w->n && k < ARRAY_SIZE(w->addr); k++)
		if (!((w->addr[k] ^ pc) >> PAGE_SHIFT))
			return true;
	return false;
}

static bool must_step(const struct cpu *c)
{
	const struct debug_wishes *w = c->wishes;

	return event_step_needed(c) || (c->dr[7] & DR7_ENABLES) ||
	       (unlikely(w) && (w->step || breakpoint_near(w, interp_pc(c))));
}

/* Runs some instructions: one, or blocks. */
static void run_some(struct interp *in)
{
	struct cpu *c = in->cpu;
	int out = OUT_AGAIN;
	u64 stop = in->icount_end, look = ~0ull;

	if (unlikely(atomic_load_explicit(&in->flush_wanted, memory_order_relaxed)))
		blocks_flush(in);
	if (in->ignored) {
		stop = MIN(stop, in->ignored_since + in->level_check);
		if (c->icount >= stop) {
			in->ignored = 0; /* look again */
			return;
		}
	}
	if (unlikely(in->native)) {
		if ((interp_native(in) || c->icount >= in->native_look) && in->native(in))
			return;
		look = in->native_look;
		stop = MIN(stop, look + NATIVE_SLACK);
	}
	if (!must_step(c))
		out = run_blocks(in, stop, look, c->wishes);
	if (out == OUT_AGAIN)
		out = step_insn(in);
	if (out == OUT_HALT)
		counter_inc(c->counters, CNT_HALTS);
}

static enum engine_exit run_loop(struct interp *in)
{
	struct cpu *c = in->cpu;
	enum engine_exit why;
	bool first = true;

	for (;;) {
		if (pressing(c, in->ignored) && !attend(in, &why))
			return why;
		if (unlikely(c->activity != ACT_RUNNING)) {
			if (wake(in, &why))
				continue;
			return why;
		}
		if (c->icount >= in->icount_end)
			return EXIT_BUDGET;
		if (unlikely(c->wishes) && ((c->wishes->step && !first) || at_breakpoint(in))) {
			in->debug_icount = c->icount;
			return EXIT_DEBUG;
		}
		first = false;
		run_some(in);
	}
}

/* Who sees a vCPU that does not run need not wait for it to pass a safepoint: it passes one here. */
static void set_running(struct interp *in, bool on)
{
	pthread_mutex_lock(&in->lock);
	in->thread = pthread_self();
	atomic_store(&in->running, on);
	pthread_mutex_unlock(&in->lock);
	atomic_store(&in->seen, atomic_load(&in->mem->epoch));
}

enum engine_exit interp_run(struct cpu *c, u64 budget)
{
	struct interp *in = c->engine;
	u64 start = c->icount;
	enum engine_exit why;

	in->icount_end = budget ? start + budget : NO_BUDGET;
	in->ignored = 0;
	set_running(in, true);
	why = run_loop(in);
	set_running(in, false);
	counter_add(c->counters, CNT_INSNS, c->icount - start);
	return why;
}

/* ---- the contract --------------------------------------------------------------------------------------------- */

static int interp_probe(struct err *e)
{
	(void)e;
	return 0;
}

int interp_init(struct interp *in, struct cpu *c, struct mem *m, struct err *e)
{
	in->cpu = c;
	in->mem = m;
	in->debug_icount = ~0ull;
	if (!in->level_check)
		in->level_check = LEVEL_CHECK;
	if (blocks_init(in, POOL_SIZE, e))
		return -1;
	pthread_mutex_init(&in->lock, NULL);
	in->listener = (struct mem_listener){ .code_write = blocks_code_write,
					      .map_changed = blocks_map_changed,
					      .want_safepoint = blocks_want_safepoint,
					      .passed_safepoint = blocks_passed_safepoint,
					      .opaque = in };
	mem_add_listener(m, &in->listener);
	c->engine = in;
	return 0;
}

void interp_fini(struct interp *in)
{
	mem_remove_listener(in->mem, &in->listener);
	blocks_free(in);
	pthread_mutex_destroy(&in->lock);
	in->cpu->engine = NULL;
}

static int interp_attach(struct cpu *c, struct mem *m, struct err *e)
{
	struct interp *in = calloc(1, sizeof(*in));

	if (!in)
		return err_set(e, "no memory for the interpreter");
	if (interp_init(in, c, m, e)) {
		free(in);
		return -1;
	}
	return 0;
}

static void interp_detach(struct cpu *c)
{
	struct interp *in = c->engine;

	if (!in)
		return;
	interp_fini(in);
	free(in);
}

/* The run loop looks at attention before anything else; the post that the caller made is all it needs. */
void interp_kick(struct cpu *c)
{
	(void)c;
}

void interp_invalidate(struct cpu *c, enum tlb_scope_engine scope, u64 gpa)
{
	struct interp *in = c->engine;

	if (scope == INVALIDATE_ALL)
		in->flush_wanted = true;
	else if (scope == INVALIDATE_PAGE)
		blocks_code_write(in, gpa & PAGE_MASK, PAGE_SIZE);
}

const struct engine_ops engine_interp = {
	.name = "interp",
	.probe = interp_probe,
	.attach = interp_attach,
	.run = interp_run,
	.kick = interp_kick,
	.invalidate = interp_invalidate,
	.detach = interp_detach,
	.audit = interp_audit,
};
