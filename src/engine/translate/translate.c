/* SPDX-License-Identifier: Apache-2.0
 * The engine `translate`: hot blocks run as host code, all else by the interpreter it is built on. Right from the first
 * block: what has no translation is a call of the library for one instruction (thunks.c, hand_over()).
 */
#include "engine/translate/translate.h"
#include "engine/translate/report.h"
#include "engine/translate/verify.h"

#include <asm/prctl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "cpu/event.h"

static struct translate *of(struct interp *in)
{
	return (struct translate *)in;
}
_Static_assert(offsetof(struct translate, in) == 0, "an interpreter is the head of a translator");

static void flushed(struct interp *in)
{
	of(in)->used = of(in)->first;
	of(in)->used_cold = CODE_COLD;
	links_flushed(in);
	report_flushed(of(in)->report);
}

/* Is there host code for b now? Heats it up to that. */
static bool have_code(struct interp *in, struct block *b)
{
	struct translate *t = of(in);
	u64 start;

	if (likely(b->code != in->no_code))
		return true;
	if (b->heat < HEAT && opt(t, OPT_WARM)) {
		b->heat++;
		return false;
	}
	if (t->used + CODE_ROOM > t->end || t->used_cold + CODE_ROOM > t->end_cold ||
	    t->n_links + CODE_LINKS > MAX_LINKS) {
		in->flush_wanted = true;
		cpu_post(in->cpu, ATT_EXCL);
		return false;
	}
	start = clock_host_ns();
	gen_block(t, b);
	counter_add(in->cpu->counters, CNT_TRANSLATOR_NS, MIN(clock_host_ns() - start, 1000000ull));
	return true;
}

/* As interp_leave_block(): the instruction ended the run of its code, which had retired `before` since icount was
 * right. */
static int leave_code(struct interp *in, const struct insn *i, unsigned before, int out)
{
	struct cpu *c = in->cpu;

	c->icount += before + 1;
	if (out == OUT_FAULT || out == OUT_AGAIN || out == OUT_UNIMPL) {
		c->r[R_RIP] -= i->len;
		c->icount--;
	}
	if (out == OUT_AGAIN) {
		event_between_iterations(c, i);
		interp_count_unretired(in);
	}
	if (out)
		out = interp_outcome(in, i, out);
	return out == OUT_AGAIN ? OUT_DONE : out;
}

static int after(struct translate *t, struct left l)
{
	switch (l.why) {
	case LEAVE_LOOKUP:
		return OUT_DONE;
	case LEAVE_NEXT:
		return OUT_END;
	case LEAVE_LINK:
		t->left = (struct link *)l.at;
		return OUT_DONE;
	default:
		return leave_code(&t->in, (const struct insn *)(l.at & ~63ull), l.at & 63,
				  l.why == LEAVE_STOP ? OUT_DONE : (int)l.why);
	}
}

/* One block, entered behind its look: the next block's ends it, since forward links are off. */
static int run_verified(struct translate *t, struct block *b)
{
	struct interp *in = &t->in;
	enter_fn *enter = (enter_fn *)(uintptr_t)code_rx(t, t->enter);
	struct left l;

	t->stop = in->cpu->icount;
	in->cpu->r[R_RIP] -= b->gpa & (PAGE_SIZE - 1);
	l = enter((const u8 *)b->code + t->look, in->cpu, t->stop, (u32)~in->ignored, in->recent);
	if (!verify_compare(t->verify, in->cpu, b)) {
		t->failed = true;
		cpu_post(in->cpu, ATT_KICK);
	}
	return after(t, l);
}

/* How translated code gets to b, from where it has just left it. */
static void way_to(struct translate *t, struct link *left, struct block *b)
{
	if (left)
		links_set(t, left, b);
	if ((!left || left->far) && opt(t, OPT_JUMPS))
		links_note_jump(t, t->in.cpu->r[R_RIP], b);
}

_Static_assert(NATIVE_SLACK >= 2 * ROW_INSNS, "else code is interpreted before each look");

static int run_chain(struct interp *in, struct block *b, u64 stop, struct chain_end *last)
{
	struct translate *t = of(in);
	struct cpu *c = in->cpu;
	enter_fn *enter = (enter_fn *)(uintptr_t)code_rx(t, t->enter);
	struct link *left = t->left;

	t->left = NULL;
	if (unlikely(c->wishes || (stop - c->icount < 2 * ROW_INSNS && !t->about)))
		return interp_run_chain(in, b, stop, last);
	if (!have_code(in, b))
		return interp_run_chain(in, b, c->icount + b->n, last);
	*last = (struct chain_end){ .b = NULL };
	way_to(t, left, b);
	counter_inc(c->counters, CNT_TRANSLATED_ENTERED);
	if (unlikely(t->verify) && verify_prepare(t->verify, c, b))
		return run_verified(t, b);
	t->stop = t->about ? stop - 1 : stop - ROW_INSNS - BLOCK_INSNS;
	c->r[R_RIP] -= b->gpa & (PAGE_SIZE - 1);
	return after(t, enter(b->code, c, t->stop, (u32)~in->ignored, in->recent));
}

static void stepping(struct interp *in, struct block *b)
{
	struct translate *t = of(in);
	struct link *left = t->left;

	t->left = NULL;
	if (opt(t, OPT_STEP) && !in->cpu->wishes && have_code(in, b))
		way_to(t, left, b);
}

static const struct interp_hooks hooks = { .run_chain = run_chain,
					   .stepping = stepping,
					   .flushed = flushed,
					   .unlinked = links_unlinked,
					   .dropped = links_dropped };

/* ---- the contract --------------------------------------------------------------------------------------------- */

/* GS base is free in 64-bit processes: libc uses FS. */
static int set_gs(const void *p)
{
	return (int)syscall(SYS_arch_prctl, ARCH_SET_GS, p);
}

/* Anonymous, so that perf takes names from its map; mremap() of nothing gives the same pages a second address. */
static int code_map(struct translate *t, struct err *e)
{
	t->rx = MAP_FAILED;
	t->rw = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t->rw == MAP_FAILED)
		goto fail;
	t->rx = mremap(t->rw, 0, CODE_SIZE, MREMAP_MAYMOVE);
	if (t->rx != MAP_FAILED && !mprotect(t->rx, CODE_SIZE, PROT_READ | PROT_EXEC))
		return 0;
fail:
	err_errno(e, "cannot map memory for translated code");
	if (t->rx != MAP_FAILED)
		munmap(t->rx, CODE_SIZE);
	if (t->rw != MAP_FAILED)
		munmap(t->rw, CODE_SIZE);
	return -1;
}

static void code_unmap(struct translate *t)
{
	munmap(t->rw, CODE_SIZE);
	munmap(t->rx, CODE_SIZE);
}

static int translate_probe(struct err *e)
{
	struct translate *t = calloc(1, sizeof(*t)); /* more than a small stack holds */
	int ret = t ? code_map(t, e) : err_set(e, "no memory for the engine translate");

	if (!ret)
		code_unmap(t);
	free(t);
	return ret;
}

static int start_verifying(struct translate *t, u64 every, struct err *e)
{
	if (!every)
		return 0;
	t->opts &= ~(BIT(OPT_FORWARD) | BIT(OPT_SUPER));
	t->verify = verify_new(every);
	return t->verify ? 0 : err_set(e, "no memory for --verify");
}

/* size: bytes of code to keep, 0 for all there is room for; one block always fits. */
static void set_code_ends(struct translate *t, u64 size)
{
	t->end = CODE_COLD;
	t->end_cold = CODE_SIZE;
	if (!size)
		return;
	t->end = MIN(t->end, t->first + size / 2 + CODE_ROOM);
	t->end_cold = MIN(t->end_cold, CODE_COLD + size / 2 + CODE_ROOM);
}

static int translate_attach(struct cpu *c, struct mem *m, struct err *e)
{
	struct translate *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(e, "no memory for the translator");
	t->opts = c->engine_options ? c->engine_options->opts : opts_default();
	t->about = c->engine_options && c->engine_options->about;
	t->in.cpu = c;
	t->report = report_new(t, c->engine_options, e);
	if (!t->report || (c->engine_options && start_verifying(t, c->engine_options->verify, e)) || code_map(t, e))
		goto fail;
	t->counting = t->verify || !opt(t, OPT_LOOK);
	if (report_code(t->report, c->engine_options, e))
		goto fail_links;
	if (links_init(t)) {
		err_errno(e, "no memory for links between translated blocks");
		goto fail_links;
	}
	thunks_make(t);
	set_code_ends(t, c->engine_options ? c->engine_options->code_size : 0);
	t->in.hooks = &hooks;
	t->in.level_check = 0xffff;
	t->in.no_code = code_rx(t, t->missing);
	t->in.cpu = c;
	if (!interp_init(&t->in, c, m, e))
		return 0;
fail_links:
	links_free(t);
	code_unmap(t);
fail:
	verify_free(t->verify);
	report_free(t->report);
	free(t);
	return -1;
}

static void translate_detach(struct cpu *c)
{
	struct translate *t = c->engine;

	if (!t)
		return;
	interp_fini(&t->in); /* flushes, links too */
	links_free(t);
	code_unmap(t);
	verify_free(t->verify);
	report_free(t->report);
	free(t);
}

static enum engine_exit translate_run(struct cpu *c, u64 budget)
{
	struct translate *t = c->engine;
	enum engine_exit why;

	/* in.native is asked again after a number of instructions */
	if (unlikely((budget || t->in.native) && !t->counting)) {
		t->counting = true;
		thunks_measure_look(t);
		blocks_flush(&t->in);
	}
	set_gs(c);
	why = interp_run(c, budget);
	return unlikely(t->failed) ? EXIT_FATAL : why;
}

static void translate_report(const void *state, engine_report_fn *fn, void *opaque)
{
	const struct translate *t = state;

	report_list(t->report, fn, opaque);
}

const struct engine_ops engine_translate = {
	.name = "translate",
	.probe = translate_probe,
	.attach = translate_attach,
	.run = translate_run,
	.kick = interp_kick,
	.invalidate = interp_invalidate,
	.detach = translate_detach,
	.report = translate_report,
	.audit = interp_audit,
};
