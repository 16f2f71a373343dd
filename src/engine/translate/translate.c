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

static struct translate *of(struct interp *in)
{
	return (struct translate *)in;
}
_Static_assert(offsetof(struct translate, in) == 0, "an interpreter is the head of a translator");

static void flushed(struct interp *in)
{
	of(in)->used = of(in)->first;
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
	if (t->used + CODE_ROOM > CODE_SIZE) {
		in->flush_wanted = true;
		cpu_post(in->cpu, ATT_EXCL);
		return false;
	}
	gen_block(t, b);
	return true;
}

static int after(struct interp *in, struct left l, struct chain_end *last)
{
	const struct insn *i;
	const struct block *b;
	unsigned k;

	switch (l.why) {
	case LEAVE_LOOKUP:
		return OUT_DONE;
	case LEAVE_NEXT:
		return OUT_END;
	case LEAVE_LINK0:
	case LEAVE_LINK1:
		*last = (struct chain_end){ .b = (struct block *)l.at, .jumped = l.why == LEAVE_LINK1 };
		return OUT_DONE;
	default:
		k = l.at & 63;
		i = (const struct insn *)(l.at & ~63ull);
		b = (const struct block *)((const u8 *)(i - k) - offsetof(struct block, insn));
		return interp_leave_block(in, b, i + 1, l.why == LEAVE_STOP ? OUT_DONE : (int)l.why);
	}
}

static int run_chain(struct interp *in, struct block *b, u64 stop, struct chain_end *last)
{
	struct translate *t = of(in);
	struct cpu *c = in->cpu;
	enter_fn *enter = (enter_fn *)(uintptr_t)code_rx(t, t->enter);

	if (unlikely(c->wishes || stop - c->icount < 2 * ROW_INSNS))
		return interp_run_chain(in, b, stop, last);
	if (!have_code(in, b))
		return interp_run_chain(in, b, c->icount + b->n, last);
	*last = (struct chain_end){ .b = NULL };
	counter_inc(c->counters, CNT_TRANSLATED_ENTERED);
	t->stop = stop - ROW_INSNS - BLOCK_INSNS;
	return after(in, enter(b->code, c, t->stop, (u32)~in->ignored, in->recent), last);
}

static const struct interp_hooks hooks = { .run_chain = run_chain, .flushed = flushed };

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
	t->in.no_code = code_rx(t, t->cold);
	if (!interp_init(&t->in, c, m, e)) {
		t->in.nowhere->code = code_rx(t, t->link);
		return 0;
	}
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
