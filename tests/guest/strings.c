/* SPDX-License-Identifier: Apache-2.0
 * String instructions, all prefixes and sizes, on random places: page crossings, overlaps, both directions, counts that
 * wrap, missing and read-only pages, an alias. What each leaves in
 * registers and memory is what a loop in C makes of it, element by element (SDM 1 7.3.9, SDM 2B REP).
 */
#include "kit/kit.h"

enum { P = 1, W = 2, PF = 14, PAGES = 6, ROUNDS = 4000 };
#define VA 0xc0001000ull /* with nothing around */
#define DF 0x400u
#define FLAGS 0x8d5u

struct regs {
	u64 rax, rcx, rsi, rdi, rflags;
};

extern void run_string(struct regs *r);
extern u64 run_at;
__asm__(".pushsection .bss; run_at: .skip 8; .popsection\n"
	"run_string: push %rbx; push %rdi; mov %rdi, %rbx; mov run_at, %rdx; mov 0(%rbx), %rax; mov 8(%rbx), %rcx;\n"
	"mov 16(%rbx), %rsi; mov 24(%rbx), %rdi; pushq 32(%rbx); popfq; call *%rdx; pushfq; popq 32(%rbx); cld;\n"
	"mov %rax, 0(%rbx); mov %rcx, 8(%rbx); mov %rsi, 16(%rbx); mov %rdi, 24(%rbx); pop %rdi; pop %rbx; ret\n");

static u64 *pt, seed = 88172645463325252ull;
static u8 *frame[PAGES], *image, *code;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Pages 0 and 1 are plain, 2 is missing, 3 plain, 4 read-only, 5 is page 0 again. */
static unsigned frame_of(u64 va)
{
	static const u8 of[PAGES] = { 0, 1, 2, 3, 4, 0 };

	return of[(va - VA) >> 12];
}

static bool may(u64 va, bool write)
{
	u64 n = (va - VA) >> 12;

	return va >= VA && n < PAGES && n != 2 && !(write && n == 4);
}

/* The first byte that faults, or 0. */
static u64 bad(u64 va, unsigned size, bool write)
{
	for (unsigned i = 0; i < size; i++)
		if (!may(va + i, write))
			return va + i;
	return 0;
}

static u8 *byte(u64 va)
{
	return image + frame_of(va) * 4096 + (va & 4095);
}

static u64 get(u64 va, unsigned size)
{
	u64 v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (u64)*byte(va + i) << (8 * i);
	return v;
}

static void put(u64 va, unsigned size, u64 v)
{
	for (unsigned i = 0; i < size; i++)
		*byte(va + i) = (u8)(v >> (8 * i));
}

static u64 flags_of(u64 a, u64 b, unsigned size)
{
	u64 f;

	if (size == 1)
		__asm__ volatile("cmpb %b2, %b1; pushfq; popq %0" : "=r"(f) : "q"(a), "q"(b) : "cc");
	else if (size == 2)
		__asm__ volatile("cmpw %w2, %w1; pushfq; popq %0" : "=r"(f) : "r"(a), "r"(b) : "cc");
	else if (size == 4)
		__asm__ volatile("cmpl %k2, %k1; pushfq; popq %0" : "=r"(f) : "r"(a), "r"(b) : "cc");
	else
		__asm__ volatile("cmpq %2, %1; pushfq; popq %0" : "=r"(f) : "r"(a), "r"(b) : "cc");
	return f & FLAGS;
}

struct insn {
	u8 opcode, rep; /* 0, 0xf2, 0xf3 */
	bool a32;
	unsigned size;
};

static u64 step(u64 r, s64 by, bool a32)
{
	return a32 ? (u32)(r + (u64)by) : r + (u64)by;
}

/* One element; the address that faults, or 0. */
static u64 element(const struct insn *i, struct regs *r)
{
	s64 by = r->rflags & DF ? -(s64)i->size : (s64)i->size;
	u64 si = i->a32 ? (u32)r->rsi : r->rsi, di = i->a32 ? (u32)r->rdi : r->rdi, at, v, mask;
	bool reads_si, reads_di = false, writes;

	mask = i->size == 8 ? ~0ull : (1ull << (8 * i->size)) - 1;
	reads_si = i->opcode == 0xa4 || i->opcode == 0xa6 || i->opcode == 0xac;
	writes = i->opcode == 0xa4 || i->opcode == 0xaa;
	reads_di = i->opcode == 0xa6 || i->opcode == 0xae;
	if (reads_si && (at = bad(si, i->size, false)))
		return at;
	if (reads_di && (at = bad(di, i->size, false)))
		return at;
	if (writes && (at = bad(di, i->size, true)))
		return at;
	v = reads_si ? get(si, i->size) : r->rax & mask;
	if (writes)
		put(di, i->size, v);
	if (reads_di)
		r->rflags = (r->rflags & ~(u64)FLAGS) | flags_of(v, get(di, i->size), i->size);
	if (i->opcode == 0xac)
		r->rax = i->size == 4 ? v : (r->rax & ~mask) | v;
	if (reads_si)
		r->rsi = step(r->rsi, by, i->a32);
	if (reads_di || writes)
		r->rdi = step(r->rdi, by, i->a32);
	return 0;
}

/* The whole instruction; the address that faults, or 0. */
static u64 model(const struct insn *i, struct regs *r)
{
	bool compares = i->opcode == 0xa6 || i->opcode == 0xae;
	u64 at;

	if (!i->rep)
		return element(i, r);
	while (i->a32 ? (u32)r->rcx : r->rcx) {
		at = element(i, r);
		if (at)
			return at;
		r->rcx = step(r->rcx, -1, i->a32);
		if (compares && !(r->rflags & 0x40) == (i->rep == 0xf3))
			break;
	}
	return 0;
}

static u64 place(void)
{
	u64 near = (rnd() % (PAGES + 1)) << 12, off = rnd() % 96;

	return VA + (rnd() % 4 ? near + off - 48 : rnd() % (PAGES << 12));
}

static u64 count(void)
{
	static const u16 some[] = { 0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 64, 511, 512, 513, 1024, 4095, 4096, 4097 };

	return some[rnd() % (sizeof(some) / sizeof(*some))];
}

/* Few byte values, so that comparisons go on for a while. */
static void fill(void)
{
	u8 two = (u8)rnd();
	u64 r = 0;

	for (unsigned n = 0; n < PAGES * 4096; n++) {
		r = n % 64 ? r >> 1 : rnd() & rnd() & rnd() & rnd() & rnd();
		image[n] = r & 1 ? two : 0;
	}
	for (unsigned n = 0; n < PAGES - 1; n++)
		memcpy(frame[n], image + n * 4096, 4096);
}

static struct insn pick(void)
{
	static const u8 ops[] = { 0xa4, 0xa4, 0xa6, 0xaa, 0xaa, 0xac, 0xae };
	static const u8 reps[] = { 0, 0xf2, 0xf3, 0xf3 };

	return (struct insn){
		.opcode = ops[rnd() % 7], .rep = reps[rnd() % 4], .a32 = rnd() % 3 == 0, .size = 1u << (rnd() % 4)
	};
}

/* Each form has its own place, so that it becomes hot there. */
static u64 encode(const struct insn *i)
{
	unsigned n = (i->opcode - 0xa4u) / 2 * 32 + (i->rep ? i->rep - 0xf1u : 0) * 8 + i->a32 * 4 +
		     (unsigned)__builtin_ctz(i->size);
	u8 *p = code + n * 16, *start = p;

	if (*p)
		return (u64)start;
	if (i->a32)
		*p++ = 0x67;
	if (i->size == 2)
		*p++ = 0x66;
	if (i->rep)
		*p++ = i->rep;
	if (i->size == 8)
		*p++ = 0x48;
	*p++ = i->opcode + (i->size > 1);
	*p = 0xc3;
	return (u64)start;
}

static void compare(const struct insn *i, const struct regs *want, const struct regs *got, u64 fault, int v)
{
	kit_case("vector", "SDM 2B", fault ? PF : (u64)-1, (u64)(s64)v);
	if (fault && v == PF && i->opcode != 0xa6) /* no order of its operands is promised */
		kit_case("CR2", "SDM 3A 4.7", fault, kit_last.cr2);
	kit_case("RCX", "SDM 2B REP", want->rcx, got->rcx);
	kit_case("RSI", "SDM 2B", want->rsi, got->rsi);
	kit_case("RDI", "SDM 2B", want->rdi, got->rdi);
	kit_case("RAX", "SDM 2B LODS", want->rax, got->rax);
	kit_case("flags", "SDM 2B CMPS, SCAS", want->rflags & (FLAGS | DF), got->rflags & (FLAGS | DF));
}

static u64 memory_differs(void)
{
	for (unsigned n = 0; n < PAGES - 1; n++)
		for (unsigned k = 0; k < 4096; k += 8)
			if (n != 2 && *(u64 *)(image + n * 4096 + k) != *(u64 *)(frame[n] + k))
				return n << 12 | k | 1;
	return 0;
}

static void one(void)
{
	struct insn i = pick();
	struct regs r = { rnd(), count(), place(), place(), 2 | (rnd() & FLAGS) | (rnd() % 3 ? 0 : DF) }, want, got;
	u64 fault;
	int v;

	if (rnd() % 3 == 0)
		r.rdi = r.rsi + rnd() % 32 - 16;
	if (rnd() % 8 == 0)
		r.rcx |= rnd() << 32;
	if (i.a32) {
		r.rsi |= rnd() % 4 ? 0 : rnd() << 32;
		r.rdi |= rnd() % 4 ? 0 : rnd() << 32;
	}
	if (rnd() % 16 == 0)
		r.rax = 0;
	if (rnd() % 16 == 0)
		fill();
	want = got = r;
	run_at = encode(&i);
	fault = model(&i, &want);
	v = kit_try((void (*)(void *))run_string, &got);
	if (v >= 0)
		got = (struct regs){ kit_last.f.rax, kit_last.f.rcx, kit_last.f.rsi, kit_last.f.rdi,
				     kit_last.f.rflags };
	__asm__ volatile("cld");
	kit_with("opcode/rep/a32/size %x rcx %x rsi %x rdi %x",
		 (u32)i.opcode << 16 | (u32)i.rep << 8 | (u32)i.a32 << 4 | i.size, (u32)r.rcx, (u32)r.rsi, (u32)r.rdi);
	compare(&i, &want, &got, fault, v);
	kit_case("memory", "SDM 2B", 0, memory_differs());
}

int guest_main(void)
{
	pt = kit_page();
	for (unsigned n = 0; n < PAGES; n++)
		frame[n] = kit_page();
	code = kit_page();
	kit_page();
	image = kit_page();
	for (unsigned n = 1; n < PAGES; n++)
		kit_page();
	for (unsigned n = 0; n < PAGES; n++)
		pt[n + 1] = n == 2 ? 0 : (u64)frame[n == 5 ? 0 : n] | P | (n == 4 ? 0 : W);
	kit_pd[3][0] = (u64)pt | P | W;
	wrcr3(rdcr3());
	wrcr0(rdcr0() | 0x10000);
	fill();
	for (unsigned n = 0; n < ROUNDS; n++)
		one();
	return kit_done();
}
