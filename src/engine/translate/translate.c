/* SPDX-License-Identifier: Apache-2.0
 * The engine `translate`: hot blocks run as host code, all else by the interpreter it is built on. Right from the first
 * block: what has no translation is a call of the library for one instruction (thunks.c, hand_over()).
 */
#include "engine/translate/translate.h"

#include <asm/prctl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/event.h"

static struct translate *of(struct interp *in)
{
	return (struct translate *)in;
}
_Static_assert(offsetof(struct translate, in) == 0, "an interpreter is the head of a translator");

static void flushed(struct interp *in)
{
	of(in)->used = of(in)->first;
	links_flushed(in);
}

/* Is there host code for b now? Heats it up to that. */
static bool have_code(struct interp *in, struct block *b)
{
	struct translate *t = of(in);

	if (likely(b->code != in->no_code))
		return true;
	if (b->heat < HEAT && opt(t, OPT_WARM)) {
		b->heat++;
		return false;
	}
	if (t->used + CODE_ROOM > CODE_SIZE || t->n_links + CODE_LINKS > MAX_LINKS) {
		in->flush_wanted = true;
		cpu_post(in->cpu, ATT_EXCL);
		return false;
	}
	gen_block(t, b);
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

static int run_chain(struct interp *in, struct block *b, u64 stop, struct chain_end *last)
{
	struct translate *t = of(in);
	struct cpu *c = in->cpu;
	enter_fn *enter = (enter_fn *)(uintptr_t)code_rx(t, t->enter);
	struct link *left = t->left;

	t->left = NULL;
	if (unlikely(c->wishes || stop - c->icount < 2 * ROW_INSNS))
		return interp_run_chain(in, b, stop, last);
	if (!have_code(in, b))
		return interp_run_chain(in, b, c->icount + b->n, last);
	*last = (struct chain_end){ .b = NULL };
	if (left)
		links_set(t, left, b);
	else if (opt(t, OPT_JUMPS))
		links_note_jump(t, c->r[R_RIP], b);
	counter_inc(c->counters, CNT_TRANSLATED_ENTERED);
	t->stop = stop - ROW_INSNS - BLOCK_INSNS;
	c->r[R_RIP] -= b->gpa & (PAGE_SIZE - 1);
	return after(t, enter(b->code, c, t->stop, (u32)~in->ignored, in->recent, t->jumps));
}

static const struct interp_hooks hooks = {
	.run_chain = run_chain, .flushed = flushed, .unlinked = links_unlinked, .dropped = links_dropped
};

/* ---- the contract --------------------------------------------------------------------------------------------- */

/* GS base is free in 64-bit processes: libc uses FS. */
static int set_gs(const void *p)
{
	return (int)syscall(SYS_arch_prctl, ARCH_SET_GS, p);
}

static int code_map(struct translate *t, struct err *e)
{
	int fd = memfd_create("doppel-code", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, CODE_SIZE))
		goto fail;
	t->rw = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	t->rx = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (t->rw == MAP_FAILED || t->rx == MAP_FAILED)
		goto fail;
	close(fd);
	return 0;
fail:
	err_errno(e, "cannot map memory for translated code");
	if (t->rw != MAP_FAILED && t->rw)
		munmap(t->rw, CODE_SIZE);
	if (fd >= 0)
		close(fd);
	return -1;
}

static void code_unmap(struct translate *t)
{
	munmap(t->rw, CODE_SIZE);
	munmap(t->rx, CODE_SIZE);
}

static int translate_probe(struct err *e)
{
	struct translate t = { .rw = NULL };

	if (code_map(&t, e))
		return -1;
	code_unmap(&t);
	return 0;
}

static int translate_attach(struct cpu *c, struct mem *m, struct err *e)
{
	struct translate *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(e, "no memory for the translator");
	t->opts = c->engine_options ? c->engine_options->opts : opts_default();
	t->in.cpu = c;
	if (code_map(t, e))
		goto fail;
	thunks_make(t);
	t->in.hooks = &hooks;
	t->in.level_check = 0xffff;
	t->in.no_code = code_rx(t, t->missing);
	t->in.cpu = c;
	if (links_init(t)) {
		err_errno(e, "no memory for links between translated blocks");
		goto fail_links;
	}
	if (!interp_init(&t->in, c, m, e))
		return 0;
fail_links:
	links_free(t);
	code_unmap(t);
fail:
	free(t);
	return -1;
}

static void translate_detach(struct cpu *c)
{
	struct translate *t = c->engine;

	if (!t)
		return;
	links_free(t);
	interp_fini(&t->in);
	code_unmap(t);
	free(t);
}

static enum engine_exit translate_run(struct cpu *c, u64 budget)
{
	set_gs(c);
	return interp_run(c, budget);
}

const struct engine_ops engine_translate = {
	.name = "translate",
	.probe = translate_probe,
	.attach = translate_attach,
	.run = translate_run,
	.kick = interp_kick,
	.invalidate = interp_invalidate,
	.detach = translate_detach,
};
