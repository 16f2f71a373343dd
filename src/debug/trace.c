/* SPDX-License-Identifier: Apache-2.0 */
#include "debug/trace.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"

static const char *const kind_name[NR_TRACE_KINDS] = {
#define TRACE_KIND(id, name, text) [TRACE_##id] = name,
#include "cpu/trace_kinds.def"
#undef TRACE_KIND
};

static const char *const exc_name[] = { "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#CSO",
					"#TS", "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM" };

struct trace {
	FILE *f;
	const struct symbols *syms;
};

static int parse_one(const char *name, size_t len, u32 *mask, struct err *e)
{
	for (unsigned k = 0; k < NR_TRACE_KINDS; k++) {
		if (strlen(kind_name[k]) != len || strncmp(kind_name[k], name, len))
			continue;
		*mask |= 1u << k;
		return 0;
	}
	if (len == 3 && !strncmp(name, "all", 3)) {
		*mask |= (1u << NR_TRACE_KINDS) - 1;
		return 0;
	}
	return err_set(e,
		       "--trace knows no \"%.*s\": choose from exceptions, interrupts, softints, cr, msr, ports, "
		       "syscalls, mode, all",
		       (int)len, name);
}

int trace_parse(const char *list, u32 *mask, struct err *e)
{
	*mask = 0;
	for (;;) {
		size_t len = strcspn(list, ",");

		if (parse_one(list, len, mask, e))
			return -1;
		if (!list[len])
			return 0;
		list += len + 1;
	}
}

struct trace *trace_new(const char *file, const struct symbols *syms, struct err *e)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t) {
		err_errno(e, "cannot start a trace");
		return NULL;
	}
	t->syms = syms;
	t->f = file ? fopen(file, "we") : stderr;
	if (!t->f) {
		err_errno(e, "cannot write the trace to %s", file);
		free(t);
		return NULL;
	}
	return t;
}

void trace_free(struct trace *t)
{
	if (!t)
		return;
	if (t->f != stderr && (ferror(t->f) | fclose(t->f)))
		log_msg(LOG_ERROR, "the trace is not complete: its file could not be written to its end");
	free(t);
}

static void describe(FILE *f, enum trace_kind kind, u64 a, u64 b, u64 x)
{
	switch (kind) {
	case TRACE_EXCEPTION:
		if (a < ARRAY_SIZE(exc_name))
			fprintf(f, "exception %s", exc_name[a]);
		else
			fprintf(f, "exception %" PRIu64, a);
		if (b != ~0ull)
			fprintf(f, " error %#" PRIx64, b);
		if (a == EXC_PF || a == EXC_DB)
			fprintf(f, " %s %#" PRIx64, a == EXC_PF ? "cr2" : "dr6", x);
		return;
	case TRACE_INTERRUPT:
		fprintf(f, "interrupt %#" PRIx64 " from %s", a, b == 0 ? "apic" : b == 1 ? "8259" : "nmi");
		return;
	case TRACE_SOFT:
		fprintf(f, "int %#" PRIx64 " rax %#" PRIx64, a, b);
		return;
	case TRACE_CR:
		fprintf(f, "cr%" PRIu64 " %#" PRIx64 " -> %#" PRIx64, a, b, x);
		return;
	case TRACE_MSR:
		fprintf(f, "msr %#" PRIx64 " %s %#" PRIx64, a, x == 0 ? "read" : x == 1 ? "written" : "refused", b);
		return;
	case TRACE_PORT:
		fprintf(f, "port %#" PRIx64 " %s%u %#" PRIx64, a, x & 0x100 ? "out" : "in", (unsigned)(x & 0xff) * 8,
			b);
		return;
	case TRACE_SYSCALL:
		fprintf(f, "syscall %" PRIu64 " (%#" PRIx64 ", %#" PRIx64 ", …)", a, b, x);
		return;
	default:
		fprintf(f, "mode %u-bit cpl %" PRIu64 " cr0 %#" PRIx64, 16u << a, b, x);
	}
}

void trace_event(struct trace *t, const struct cpu *c, enum trace_kind kind, u64 a, u64 b, u64 x)
{
	u64 off = 0;
	const char *name = symbols_find(t->syms, c->r[R_RIP], &off);

	flockfile(t->f);
	fprintf(t->f, "cpu%u %12" PRIu64 " %016" PRIx64, c->index, c->icount, c->r[R_RIP]);
	if (name)
		fprintf(t->f, " %s+%#" PRIx64, name, off);
	fputs("  ", t->f);
	describe(t->f, kind, a, b, x);
	fputc('\n', t->f);
	funlockfile(t->f);
}
