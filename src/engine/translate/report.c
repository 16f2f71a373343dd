/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/translate/report.h"

#include <stdlib.h>
#include <unistd.h>

#include "cpu/optab.h"
#include "engine/translate/codenames.h"
#include "engine/translate/translate.h"

#define TOP 32 /* mnemonics that are told */

/* Executions by the library of an opcode (with ModRM.reg, which groups need), and one instance of it. */
struct handed {
	u64 n;
	u8 raw[15], len, code;
};

struct report {
	struct translate *t;
	FILE *dump, *perf;
	struct codenames *symbols; /* or NULL */
	struct handed handed[NR_MAPS][256][8][2];
};

static int open_perf_map(struct report *r, struct err *e)
{
	char name[64];

	snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)getpid());
	r->perf = fopen(name, "we");
	if (!r->perf)
		return err_errno(e, "cannot write %s", name);
	setvbuf(r->perf, NULL, _IOLBF, 0);
	return 0;
}

static int open_dump(struct report *r, const char *name, struct err *e)
{
	r->dump = *name ? fopen(name, "we") : stderr;
	return r->dump ? 0 : err_errno(e, "cannot write %s", name);
}

int report_code(struct report *r, const struct engine_options *o, struct err *e)
{
	if (!o || !o->jit_symbols)
		return 0;
	r->symbols = codenames_new(r->t->rx, CODE_SIZE);
	return r->symbols ? 0 : err_set(e, "no memory for the names of translated code");
}

void report_flushed(struct report *r)
{
	if (r->symbols)
		codenames_drop(r->symbols);
}

struct report *report_new(struct translate *t, const struct engine_options *o, struct err *e)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r) {
		err_set(e, "no memory for the translator");
		return NULL;
	}
	r->t = t;
	if (o && ((o->perf_map && open_perf_map(r, e)) || (o->dump_blocks && open_dump(r, o->dump_blocks, e)))) {
		report_free(r);
		return NULL;
	}
	return r;
}

void report_free(struct report *r)
{
	if (!r)
		return;
	if (r->perf)
		fclose(r->perf);
	if (r->dump && r->dump != stderr)
		fclose(r->dump);
	codenames_free(r->symbols);
	free(r);
}

/* ---- what the library does ----------------------------------------------------------------------------------------
 */

void report_handed(struct report *r, const struct insn *i)
{
	struct handed *h = &r->handed[i->map][i->opcode][i->modrm >> 3 & 7][i->modrm >= 0xc0];

	if (unlikely(!h->n++)) {
		memcpy(h->raw, i->raw, sizeof(h->raw));
		h->len = i->len;
		h->code = r->t->in.cpu->d.code;
	}
}

struct named {
	char name[24];
	u64 n;
};

struct list {
	struct named *row;
	size_t n;
};

/* Mnemonic with its prefixes: what stands before the operands. */
static void mnemonic(const struct handed *h, char *name, size_t size)
{
	static const char *const prefix[] = {
		"lock ", "rep ", "repe ", "repne ", "repz ", "repnz ", "data16 ", "bnd "
	};
	char text[100];
	size_t at = 0;

	decode_text(h->raw, h->len, h->code, 0, text, sizeof(text));
	for (size_t k = 0; k < ARRAY_SIZE(prefix); k++)
		if (!strncmp(text + at, prefix[k], strlen(prefix[k]))) {
			at += strlen(prefix[k]);
			k = ~(size_t)0;
		}
	at += strcspn(text + at, " ");
	snprintf(name, size, "%.*s", (int)at, text);
}

static void collect(struct list *l, const struct handed *h)
{
	char name[24];

	if (!h->n)
		return;
	mnemonic(h, name, sizeof(name));
	for (size_t k = 0; k < l->n; k++)
		if (!strcmp(l->row[k].name, name)) {
			l->row[k].n += h->n;
			return;
		}
	memcpy(l->row[l->n].name, name, sizeof(name));
	l->row[l->n++].n = h->n;
}

static int by_count(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return x->n < y->n ? 1 : x->n > y->n ? -1 : strcmp(x->name, y->name);
}

void report_list(const struct report *r, engine_report_fn *fn, void *opaque)
{
	const struct handed *h = &r->handed[0][0][0][0];
	size_t n = sizeof(r->handed) / sizeof(*h);
	struct list l = { .row = calloc(n, sizeof(*l.row)) };

	for (size_t k = 0; l.row && k < n; k++)
		collect(&l, &h[k]);
	qsort(l.row, l.n, sizeof(*l.row), by_count);
	for (size_t k = 0; k < MIN(l.n, (size_t)TOP); k++)
		fn(opaque, l.row[k].name, l.row[k].n);
	free(l.row);
}

/* ---- guest and host side by side ----------------------------------------------------------------------------------
 */

/* Host instructions of [p, end), each on a line; the first has `left` beside it. */
static void dump_host(struct report *r, const char *left, const u8 *p, const u8 *end)
{
	char text[120];
	struct insn i;

	if (p == end)
		fprintf(r->dump, "%-52s |\n", left);
	while (p < end) {
		u64 pc = (u64)(uintptr_t)code_rx(r->t, p);
		unsigned n = (unsigned)MIN(15, end - p);

		if (decode_insn(&i, p, n, CODE64, 0) != DECODE_OK)
			i.len = 1;
		fprintf(r->dump, "%-52s | %llx  %s\n", left, (unsigned long long)pc,
			decode_text(p, i.len, CODE64, pc, text, sizeof(text)));
		left = "";
		p += i.len;
	}
}

static void dump_block(struct report *r, const struct block *b, u8 *const *at, const u8 *start, const u8 *end)
{
	const struct cpu *c = r->t->in.cpu;
	u64 rip = c->r[R_RIP];
	char text[120], left[160];

	fprintf(r->dump, "block at %llx, physical %llx, key %x: %u instructions, %u bytes to %zu\n",
		(unsigned long long)rip, (unsigned long long)b->gpa, b->key, b->n, b->bytes, (size_t)(end - start));
	dump_host(r, "  (entry)", start, at[0]);
	for (unsigned k = 0; k < b->n; k++) {
		const struct insn *i = &b->insn[k];

		decode_text(i->raw, i->len, (enum cpu_code)(b->key & 3), rip, text, sizeof(text));
		snprintf(left, sizeof(left), "  %llx  %s", (unsigned long long)rip, text);
		dump_host(r, left, at[k], at[k + 1]);
		rip += i->len;
	}
	if (at[b->n] != end)
		dump_host(r, "  (rarely taken)", at[b->n], end);
	fputc('\n', r->dump);
}

static void name_code(struct report *r, const char *name, const u8 *start, const u8 *end)
{
	const void *code = code_rx(r->t, start);
	size_t size = (size_t)(end - start);

	if (r->perf)
		fprintf(r->perf, "%llx %zx %s\n", (unsigned long long)(uintptr_t)code, size, name);
	if (r->symbols)
		codenames_add(r->symbols, name, code, size);
}

void report_block(struct report *r, const struct block *b, u8 *const *at, const u8 *start, const u8 *end)
{
	char name[32];

	if (r->perf || r->symbols) {
		snprintf(name, sizeof(name), "guest:%llx", (unsigned long long)r->t->in.cpu->r[R_RIP]);
		name_code(r, name, start, end);
	}
	if (r->dump)
		dump_block(r, b, at, start, end);
}

void report_thunk(struct report *r, const char *name, const u8 *start, const u8 *end)
{
	char full[32];

	snprintf(full, sizeof(full), "translate:%s", name);
	name_code(r, full, start, end);
	if (r->symbols)
		codenames_keep(r->symbols);
}
