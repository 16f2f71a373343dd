/* SPDX-License-Identifier: Apache-2.0
 * Two machines in one process, with the same inputs: the leader records them in memory, the follower replays them as
 * they come. In each slice of a turn the leader's engine runs a block or some, as it likes to; then the follower's
 * engine, which stops exactly, runs as many instructions. After every slice all fields of the vCPU must agree (but
 * XINUSE and what only waits for a look); after every MEMORY_EVERY instructions, and at the end, all of RAM.
 *
 * When memory differs, both start again, the leader now replaying its own record; when they come to the first turn
 * after memory was last the same, the page that differed is compared after each slice.
 */
#include "debug/lockstep.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cpu/decode.h"
#include "cpu/fields.h"
#include "machine/det.h"
#include "mmu/mmu.h"

#define MEMORY_EVERY 4000000
#define RANGES 64
#define TOLD_FIELDS 12
#define TOLD_INSNS 24
#define NO_PAGE ~0ull

struct range {
	u32 from, len; /* in struct cpu */
};

/* Where a slice began. */
struct place {
	u64 rip, pc, icount;
	enum cpu_code code;
	u16 cs;
	u8 bytes[128];
	size_t n_bytes;
};

struct lockstep {
	struct vm_config cfg[2];
	struct inputs *inputs[2];
	struct vm *vm[2]; /* leader, follower */
	u64 every;
	struct range range[RANGES];
	unsigned n_ranges;
	u64 ran, checked_at;	 /* instructions, of all vCPUs */
	u64 checked_turn;	 /* memory was the same at its beginning */
	u64 watched, watch_from; /* a page, compared after each slice from that turn on; or NO_PAGE */
	bool differ;
	struct place at;
};

struct vm *lockstep_lead(struct lockstep *l)
{
	return l->vm[0];
}

static const char *name_of(const struct lockstep *l, unsigned k)
{
	return l->cfg[k].engine->name;
}

/* ---- life ----------------------------------------------------------------------------------------------------------
 */

/* Neighbouring fields as one, so that a comparison is a few calls of memcmp(). */
static void make_ranges(struct lockstep *l)
{
	size_t n;
	const struct cpu_field *f = cpu_fields(&n);

	for (size_t i = 0; i < n; i++) {
		struct range *r = &l->range[l->n_ranges ? l->n_ranges - 1 : 0];
		u32 len = (u32)f[i].size * f[i].count;

		if (f[i].flags & FIELD_NO_DIFF)
			continue;
		if (l->n_ranges && r->from + r->len == f[i].offset)
			r->len += len;
		else if (l->n_ranges < RANGES)
			l->range[l->n_ranges++] = (struct range){ f[i].offset, len };
		else
			r->len = f[i].offset + len - r->from; /* too much: a difference there is looked up by field */
	}
}

static int make_machines(struct lockstep *l, struct err *e)
{
	l->cfg[0].inputs = l->inputs[0];
	l->vm[0] = l->inputs[0] ? vm_new(&l->cfg[0], e) : NULL;
	if (!l->vm[0])
		return -1;
	l->inputs[1] = inputs_follow(l->inputs[0], e);
	if (!l->inputs[1])
		return -1;
	l->cfg[1].inputs = l->inputs[1];
	l->cfg[1].lead = l->vm[0];
	l->vm[1] = vm_new(&l->cfg[1], e);
	return l->vm[1] ? 0 : -1;
}

static void drop_machines(struct lockstep *l)
{
	struct err e;

	for (unsigned k = 2; k--; l->vm[k] = NULL)
		vm_free(l->vm[k]);
	inputs_close(l->inputs[1], &e);
	l->inputs[1] = NULL;
}

/* Nobody hears or sees the follower, and neither changes what is on the host. */
static void quiet_config(struct vm_config *cfg)
{
	for (unsigned i = 0; i < VM_SERIAL_MAX; i++)
		if (cfg->serial[i])
			cfg->serial[i] = "none";
	if (cfg->debugcon)
		cfg->debugcon = "none";
	for (unsigned i = 0; i < cfg->nr_ports; i++)
		strcpy(cfg->port[i].where, "none");
	cfg->timeout_ns = 0;
	cfg->trace_mask = 0;
}

struct lockstep *lockstep_new(const struct vm_config *cfg, const struct engine_ops *follow, u64 every, struct err *e)
{
	struct lockstep *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(e, "out of memory");
		return NULL;
	}
	l->every = every;
	l->watched = NO_PAGE;
	l->cfg[0] = *cfg;
	l->cfg[0].deterministic = true;
	l->cfg[0].engine_options.about = true;
	for (unsigned i = 0; i < cfg->nr_disks; i++)
		l->cfg[0].disk[i].overlay = !cfg->disk[i].readonly;
	l->cfg[1] = l->cfg[0];
	l->cfg[1].engine = follow;
	quiet_config(&l->cfg[1]);
	make_ranges(l);
	l->inputs[0] = inputs_record(NULL, e);
	if (!make_machines(l, e))
		return l;
	lockstep_free(l);
	return NULL;
}

void lockstep_free(struct lockstep *l)
{
	struct err e;

	if (!l)
		return;
	drop_machines(l);
	inputs_close(l->inputs[0], &e);
	free(l);
}

/* ---- telling ------------------------------------------------------------------------------------------------------
 */

struct telling {
	struct lockstep *l;
	unsigned told;
};

static void tell_field(void *opaque, const struct cpu_field *f, unsigned i, const struct cpu *a, const struct cpu *b)
{
	struct telling *t = opaque;
	char x[160], y[160], index[16] = "";

	if (t->told++ >= TOLD_FIELDS)
		return;
	if (f->count > 1)
		snprintf(index, sizeof(index), "[%u]", i);
	fprintf(stderr, "  %s%s: %s %s, %s %s\n", f->name, index, name_of(t->l, 0),
		cpu_field_text(a, f, i, x, sizeof(x)), name_of(t->l, 1), cpu_field_text(b, f, i, y, sizeof(y)));
}

static void note_place(struct lockstep *l, struct vcpu *v)
{
	struct cpu *c = v->cpu;
	struct place *p = &l->at;

	p->rip = c->r[R_RIP];
	p->pc = (c->d.ebase[SEG_CS] + c->r[R_RIP]) & c->d.lin_mask;
	p->icount = c->icount;
	p->code = c->d.code;
	p->cs = c->seg[SEG_CS].sel;
	p->n_bytes = 0;
}

/* The code at the slice's beginning, from the follower's memory, as it was mapped at its end. */
static void read_code(struct lockstep *l, struct cpu *c)
{
	struct place *p = &l->at;
	u64 gpa;

	while (p->n_bytes < sizeof(p->bytes) && mmu_probe(c, p->pc + p->n_bytes, &gpa) &&
	       !mem_read(l->vm[1]->mem, gpa, p->bytes + p->n_bytes, 1))
		p->n_bytes++;
}

static void tell_code(struct lockstep *l, struct vcpu *v, u64 ran)
{
	struct place *p = &l->at;
	size_t at = 0;

	read_code(l, v->cpu);
	fprintf(stderr, "  it began at %04x:%llx and ran %llu instructions:\n", p->cs, (unsigned long long)p->rip,
		(unsigned long long)ran);
	for (unsigned n = 0; n < MIN(ran, (u64)TOLD_INSNS) && at < p->n_bytes; n++) {
		char text[128];
		struct insn i;

		if (decode_insn(&i, p->bytes + at, (unsigned)MIN(p->n_bytes - at, (size_t)15), p->code, 0) != DECODE_OK)
			break;
		decode_text(p->bytes + at, i.len, p->code, p->rip + at, text, sizeof(text));
		fprintf(stderr, "    %llx  %s\n", (unsigned long long)(p->rip + at), text);
		at += i.len;
	}
}

static void tell_head(struct lockstep *l, unsigned vcpu, const char *what)
{
	l->differ = true;
	fprintf(stderr, "doppel: lockstep: %s and %s differ in %s, on vCPU %u behind instruction %llu (turn %llu)\n",
		name_of(l, 0), name_of(l, 1), what, vcpu, (unsigned long long)l->at.icount,
		(unsigned long long)l->vm[0]->det.turn);
}

/* ---- comparing ----------------------------------------------------------------------------------------------------
 */

static bool same_fields(const struct lockstep *l, const struct cpu *a, const struct cpu *b)
{
	for (unsigned i = 0; i < l->n_ranges; i++)
		if (memcmp((const u8 *)a + l->range[i].from, (const u8 *)b + l->range[i].from, l->range[i].len))
			return !cpu_field_diff(a, b, false, NULL, NULL);
	return true;
}

/* RAM's first page that differs, from gpa on and below end; NO_PAGE: none. */
static u64 page_that_differs(struct lockstep *l, u64 gpa, u64 end)
{
	for (; gpa < end; gpa += PAGE_SIZE) {
		u64 a = vm_next_data(l->vm[0], gpa, end), b = vm_next_data(l->vm[1], gpa, end);
		const u8 *p, *q;

		gpa = MIN(a, b);
		if (gpa >= end)
			break;
		p = mem_page(l->vm[0]->mem, gpa, false);
		q = mem_page(l->vm[1]->mem, gpa, false);
		if (p && q && memcmp(p, q, PAGE_SIZE))
			return gpa;
	}
	return NO_PAGE;
}

static u64 memory_that_differs(struct lockstep *l)
{
	u64 gpa, size, page = NO_PAGE;

	for (unsigned i = 0; page == NO_PAGE && mem_ram_range(l->vm[0]->mem, i, &gpa, &size); i++)
		page = page_that_differs(l, gpa, gpa + size);
	return page;
}

static void tell_memory(struct lockstep *l, u64 gpa)
{
	const u8 *p = mem_page(l->vm[0]->mem, gpa, false), *q = mem_page(l->vm[1]->mem, gpa, false);
	unsigned told = 0;

	for (unsigned k = 0; k < PAGE_SIZE && told < TOLD_FIELDS; k++)
		if (p[k] != q[k] && ++told)
			fprintf(stderr, "  memory %llx: %s %02x, %s %02x\n", (unsigned long long)gpa + k, name_of(l, 0),
				p[k], name_of(l, 1), q[k]);
}

static void compare(struct lockstep *l, unsigned i, u64 ran, u64 followed)
{
	struct cpu *a = l->vm[0]->vcpu[i]->cpu, *b = l->vm[1]->vcpu[i]->cpu;
	struct telling t = { .l = l };

	if (ran != followed || !same_fields(l, a, b)) {
		tell_head(l, i, "the vCPU's state");
		if (ran != followed)
			fprintf(stderr, "  %s ran %llu instructions, %s %llu\n", name_of(l, 0), (unsigned long long)ran,
				name_of(l, 1), (unsigned long long)followed);
		cpu_field_diff(a, b, false, tell_field, &t);
		tell_code(l, l->vm[1]->vcpu[i], MAX(ran, followed));
	} else if (l->watched != NO_PAGE && l->vm[0]->det.turn >= l->watch_from &&
		   page_that_differs(l, l->watched, l->watched + PAGE_SIZE) != NO_PAGE) {
		tell_head(l, i, "memory");
		tell_memory(l, l->watched);
		tell_code(l, l->vm[1]->vcpu[i], ran);
	}
}

/* ---- running ------------------------------------------------------------------------------------------------------
 */

static bool going(const struct lockstep *l)
{
	return !l->differ && !atomic_load(&l->vm[0]->ended) && !atomic_load(&l->vm[1]->ended);
}

/* vCPU i's part of a turn; what it counts for. */
static u64 run_vcpu(struct lockstep *l, unsigned i, u64 budget)
{
	enum engine_exit why = EXIT_BUDGET, ignored;
	u64 all = 0;

	while (why == EXIT_BUDGET && all < budget && going(l)) {
		u64 ran, followed;

		note_place(l, l->vm[1]->vcpu[i]);
		ran = det_slice(l->vm[0]->vcpu[i], MIN(l->every, budget - all), &why);
		followed = det_slice(l->vm[1]->vcpu[i], MAX(ran, 1ull), &ignored);
		compare(l, i, ran, followed);
		all += ran;
	}
	l->ran += all;
	return det_progress(all, why);
}

static bool turn(struct lockstep *l, struct err *e)
{
	bool lead = det_turn_begin(l->vm[0]), follow = det_turn_begin(l->vm[1]);
	u64 budget = det_budget(l->vm[0]), most = 0;

	if (!lead || !follow)
		return false;
	for (unsigned i = 0; i < l->vm[0]->nr_vcpus && going(l); i++) {
		u64 ran = run_vcpu(l, i, budget);

		most = MAX(most, ran);
	}
	if (l->differ)
		return false;
	lead = det_turn_end(l->vm[0], most, e);
	follow = det_turn_end(l->vm[1], most, e);
	return lead && follow;
}

/* False: memory differs, and nothing has been said of it. */
static bool check_memory(struct lockstep *l)
{
	u64 page = memory_that_differs(l);

	l->checked_at = l->ran;
	if (page == NO_PAGE) {
		l->checked_turn = l->vm[0]->det.turn;
		return true;
	}
	l->watched = page;
	l->watch_from = l->checked_turn;
	return false;
}

/* True: all is well so far, or all has been said. */
static bool pass(struct lockstep *l, struct err *e)
{
	while (turn(l, e))
		if (l->ran - l->checked_at >= MEMORY_EVERY && l->watched == NO_PAGE && !check_memory(l))
			return false;
	return l->differ || l->watched != NO_PAGE || check_memory(l);
}

/* Once more, now that it is known which page to look at. */
static int find_store(struct lockstep *l, struct err *e)
{
	struct input_end end = { 0 };
	u64 page = l->watched;

	inputs_arrive(l->inputs[0], INPUT_END, 0, &end, sizeof(end));
	drop_machines(l);
	inputs_rewind(l->inputs[0]);
	quiet_config(&l->cfg[0]);
	l->ran = l->checked_at = 0;
	if (make_machines(l, e))
		return -1;
	pass(l, e);
	if (!l->differ) {
		fprintf(
		    stderr,
		    "doppel: lockstep: %s and %s differ in memory, page %llx, before turn %llu; not when run again\n",
		    name_of(l, 0), name_of(l, 1), (unsigned long long)page, (unsigned long long)l->checked_turn);
		l->differ = true;
	}
	return 0;
}

/* Both must end, and for the same reason. */
static void compare_ends(struct lockstep *l)
{
	const struct vm *a = l->vm[0], *b = l->vm[1];
	bool outside = a->det.outside && !atomic_load(&b->ended);

	if (outside || (atomic_load(&a->status) == atomic_load(&b->status) && !strcmp(a->why, b->why)))
		return;
	l->differ = true;
	fprintf(stderr, "doppel: lockstep: %s ended with '%s', %s with '%s'\n", name_of(l, 0), a->why, name_of(l, 1),
		atomic_load(&b->ended) ? b->why : "nothing");
}

int lockstep_run(struct lockstep *l, struct err *e)
{
	if (!pass(l, e) && find_store(l, e))
		return VM_STATUS_FAILURE;
	if (!l->differ)
		compare_ends(l);
	if (l->differ)
		vm_end(l->vm[0], VM_STATUS_FAILURE, "the engines differ");
	else
		fprintf(stderr, "doppel: lockstep: %llu instructions, no difference\n", (unsigned long long)l->ran);
	return l->differ ? VM_STATUS_FAILURE : atomic_load(&l->vm[0]->status);
}
