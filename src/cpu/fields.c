/* SPDX-License-Identifier: Apache-2.0
 * The field table and what is generic over it: reading, writing, comparing, printing. The dump names the registers that
 * a reader of a triple fault wants first, in the manual's terms.
 */
#include "cpu/fields.h"

#define SIZE(member) sizeof(((struct cpu *)0)->member)
#define ROW(n, member, elem, k, f, v)             \
	{ .name = n,                              \
	  .offset = offsetof(struct cpu, member), \
	  .size = elem,                           \
	  .count = SIZE(member) / (elem),         \
	  .kind = k,                              \
	  .flags = f,                             \
	  .since = v },
/* The size of one integer of a member: its own for scalars, its element's for arrays. */
#define INT_SIZE(member)                                                                                              \
	_Generic(((struct cpu *)0)->member, u8 : 1, u16 : 2, u32 : 4, u64 : 8, const u32 * : 4, u32 * : 4, u64 * : 8, \
		 _Atomic u64 * : 8, atomic_uint : 4)
#define BYTES_SIZE(member) _Generic(((struct cpu *)0)->member, union vreg * : sizeof(union vreg), u8(*)[16] : 16)

#define UINT(n, member, f, v) ROW(n, member, INT_SIZE(member), FIELD_UINT, f, v)
#define BOOL(n, member, f, v) ROW(n, member, 1, FIELD_BOOL, f, v)
#define BYTES(n, member, f, v) ROW(n, member, BYTES_SIZE(member), FIELD_BYTES, f, v)
#define SEGMENT(n, member)                   \
	UINT(n ".sel", member.sel, 0, 1)     \
	UINT(n ".attr", member.attr, 0, 1)   \
	UINT(n ".limit", member.limit, 0, 1) \
	UINT(n ".base", member.base, 0, 1)
#define EVENT(n, member)                             \
	UINT(n ".type", member.type, 0, 1)           \
	UINT(n ".vector", member.vector, 0, 1)       \
	BOOL(n ".has_error", member.has_error, 0, 1) \
	UINT(n ".insn_len", member.insn_len, 0, 1)   \
	UINT(n ".error", member.error, 0, 1)         \
	UINT(n ".payload", member.payload, 0, 1)

static const struct cpu_field fields[] = {
#include "cpu/fields.def"
};

_Static_assert(sizeof(bool) == 1, "FIELD_BOOL is one byte");

const struct cpu_field *cpu_fields(size_t *n)
{
	*n = ARRAY_SIZE(fields);
	return fields;
}

const struct cpu_field *cpu_field_find(const char *name)
{
	for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
		if (!strcmp(fields[k].name, name))
			return &fields[k];
	return NULL;
}

static const u8 *element(const struct cpu *c, const struct cpu_field *f, unsigned i)
{
	return (const u8 *)c + f->offset + (size_t)i * f->size;
}

u64 cpu_field_get(const struct cpu *c, const struct cpu_field *f, unsigned i)
{
	u64 val = 0;

	memcpy(&val, element(c, f, i), MIN((size_t)f->size, sizeof(val)));
	return val;
}

void cpu_field_set(struct cpu *c, const struct cpu_field *f, unsigned i, u64 val)
{
	if (f->kind == FIELD_BOOL)
		val = val != 0;
	memcpy((u8 *)c + f->offset + (size_t)i * f->size, &val, MIN((size_t)f->size, sizeof(val)));
}

const char *cpu_field_text(const struct cpu *c, const struct cpu_field *f, unsigned i, char *buf, size_t size)
{
	const u8 *p = element(c, f, i);
	size_t at = 0;

	if (!size)
		return buf;
	*buf = 0;
	/* most significant byte first */
	for (unsigned k = f->size; k-- && at + 2 < size; at += 2)
		snprintf(buf + at, size - at, "%02x", p[k]);
	return buf;
}

unsigned cpu_field_diff(const struct cpu *a, const struct cpu *b, bool strict, cpu_field_diff_fn *fn, void *opaque)
{
	unsigned n = 0;

	for (size_t k = 0; k < ARRAY_SIZE(fields); k++) {
		const struct cpu_field *f = &fields[k];

		if ((f->flags & FIELD_NO_DIFF) && !strict)
			continue;
		for (unsigned i = 0; i < f->count; i++) {
			if (!memcmp(element(a, f, i), element(b, f, i), f->size))
				continue;
			n++;
			if (fn)
				fn(opaque, f, i, a, b);
		}
	}
	return n;
}

/* ---- the dump -----------------------------------------------------------------------------------------------------
 */

static void dump_registers(const struct cpu *c, FILE *f)
{
	static const char names[][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					 "r8",	"r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

	for (unsigned k = 0; k < 16; k++)
		fprintf(f, "%-3s %016llx%s", names[k], (unsigned long long)c->r[k], k % 4 == 3 ? "\n" : "  ");
	fprintf(f, "rip %016llx  rflags %08llx  cpl %u  %s  activity %u  shadow %u\n", (unsigned long long)c->r[R_RIP],
		(unsigned long long)cpu_rflags(c), c->d.cpl,
		c->d.long64 ? "64-bit"
		: c->d.lma  ? "compatibility"
		: c->d.vm86 ? "virtual-8086"
		: c->d.pe   ? "protected"
			    : "real",
		c->activity, c->int_shadow);
}

static void dump_segment(FILE *f, const char *name, const struct seg *s)
{
	fprintf(f, "%-4s %04x  base %016llx  limit %08x  attr %04x\n", name, s->sel, (unsigned long long)s->base,
		s->limit, s->attr);
}

static void dump_segments(const struct cpu *c, FILE *f)
{
	static const char names[][3] = { "es", "cs", "ss", "ds", "fs", "gs" };

	for (unsigned k = 0; k < NR_SEGS; k++)
		dump_segment(f, names[k], &c->seg[k]);
	dump_segment(f, "ldtr", &c->ldtr);
	dump_segment(f, "tr", &c->tr);
	fprintf(f, "gdtr base %016llx  limit %04x    idtr base %016llx  limit %04x\n", (unsigned long long)c->gdtr.base,
		c->gdtr.limit, (unsigned long long)c->idtr.base, c->idtr.limit);
}

static void dump_control(const struct cpu *c, FILE *f)
{
	fprintf(f, "cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx\n", (unsigned long long)c->cr0,
		(unsigned long long)c->cr2, (unsigned long long)c->cr3, (unsigned long long)c->cr4,
		(unsigned long long)c->efer);
	fprintf(f, "dr6 %08llx  dr7 %08llx  pending #DB %llx  attention %x  apic tpr %02x base %llx\n",
		(unsigned long long)c->dr[6], (unsigned long long)c->dr[7], (unsigned long long)c->pending_db,
		atomic_load(&c->attention), c->lapic.tpr, (unsigned long long)c->apic_base);
}

static void dump_event(FILE *f, const char *what, const struct event *e)
{
	if (e->type != EV_NONE)
		fprintf(f, "%s: type %u vector %u error %x payload %llx\n", what, e->type, e->vector, e->error,
			(unsigned long long)e->payload);
}

void cpu_dump(const struct cpu *c, FILE *f)
{
	fprintf(f, "vCPU %u, %llu instructions\n", c->index, (unsigned long long)c->icount);
	dump_registers(c, f);
	dump_segments(c, f);
	dump_control(c, f);
	dump_event(f, "last exception", &c->exc);
	dump_event(f, "event in delivery", &c->injected);
}
