/* SPDX-License-Identifier: Apache-2.0
 * The order inside each feature is gdb's own (gdb manual, appendix G.5.4): it fixes the order in the g packet.
 */
#include "debug/gdb_regs.h"

#include <stdarg.h>
#include <stdio.h>

#include "cpu/cpuid.h"

enum kind { K_GPR, K_RIP, K_FLAGS, K_SEL, K_ST, K_FPCTL, K_VEC, K_MXCSR, K_BASE, K_MASK, K_CR };

/* A run of registers that differ by a number: name with %u, first number, how many. */
struct run {
	u8 feature, kind, count, first, bytes, part; /* part: byte offset inside a vector register */
	const char *name, *type;
};

static const char *const feature_name[] = { "org.gnu.gdb.i386.core",	 "org.gnu.gdb.i386.sse",
					    "org.gnu.gdb.i386.segments", "org.gnu.gdb.i386.avx",
					    "org.gnu.gdb.i386.avx512",	 "org.doppel.control" };
static const char *const gpr_name[16] = { "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
					  "r8",	 "r9",	"r10", "r11", "r12", "r13", "r14", "r15" };
static const u8 gpr_of[16] = { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15 };
static const char *const sel_name[6] = { "cs", "ss", "ds", "es", "fs", "gs" };
static const u8 sel_of[6] = { SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS };
static const char *const fpctl_name[8] = { "fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop" };
static const char *const base_name[2] = { "fs_base", "gs_base" };
static const char *const cr_name[6] = { "k_gs_base", "cr0", "cr2", "cr3", "cr4", "efer" };

static const struct run runs[] = {
	{ 0, K_GPR, 16, 0, 8, 0, NULL, "int64" },	{ 0, K_RIP, 1, 0, 8, 0, "rip", "code_ptr" },
	{ 0, K_FLAGS, 1, 0, 4, 0, "eflags", "int32" },	{ 0, K_SEL, 6, 0, 4, 0, NULL, "int32" },
	{ 0, K_ST, 8, 0, 10, 0, "st%u", "i387_ext" },	{ 0, K_FPCTL, 8, 0, 4, 0, NULL, "int" },
	{ 1, K_VEC, 16, 0, 16, 0, "xmm%u", "vec128" },	{ 1, K_MXCSR, 1, 0, 4, 0, "mxcsr", "int32" },
	{ 2, K_BASE, 2, 0, 8, 0, NULL, "int64" },	{ 3, K_VEC, 16, 0, 16, 16, "ymm%uh", "uint128" },
	{ 4, K_VEC, 16, 16, 16, 0, "xmm%u", "vec128" }, { 4, K_VEC, 16, 16, 16, 16, "ymm%uh", "uint128" },
	{ 4, K_MASK, 8, 0, 8, 0, "k%u", "uint64" },	{ 4, K_VEC, 32, 0, 32, 32, "zmm%uh", "v2ui128" },
	{ 5, K_CR, 6, 0, 8, 0, NULL, "int64" },
};

static bool offered(const struct cpu *c, const struct run *r)
{
	return !(r->feature == 3 && !cpu_has(c, FEAT_AVX)) && !(r->feature == 4 && !cpu_has(c, FEAT_AVX512F));
}

/* The run that register n is in, and its place there; NULL past the last. */
static const struct run *find(const struct cpu *c, unsigned n, unsigned *k)
{
	for (const struct run *r = runs; r < runs + ARRAY_SIZE(runs); r++) {
		if (!offered(c, r))
			continue;
		if (n < r->count) {
			*k = n;
			return r;
		}
		n -= r->count;
	}
	return NULL;
}

unsigned gdb_reg_count(const struct cpu *c)
{
	unsigned n = 0;

	for (const struct run *r = runs; r < runs + ARRAY_SIZE(runs); r++)
		n += offered(c, r) ? r->count : 0;
	return n;
}

unsigned gdb_reg_size(const struct cpu *c, unsigned n)
{
	unsigned k;
	const struct run *r = find(c, n, &k);

	return r ? r->bytes : 0;
}

/* The full tag word of FSAVE from the abridged one: 3 empty, 0 otherwise (gdb shows no more). */
static u32 full_tag(u8 abridged)
{
	u32 t = 0;

	for (unsigned i = 0; i < 8; i++)
		t |= abridged >> i & 1 ? 0 : 3u << (2 * i);
	return t;
}

static u32 fpctl_get(const struct x87 *x, unsigned k)
{
	const u32 v[8] = { x->fcw, x->fsw, full_tag(x->ftw), x->fcs, (u32)x->fip, x->fds, (u32)x->fdp, x->fop };

	return v[k];
}

static void fpctl_set(struct x87 *x, unsigned k, u32 v)
{
	if (k == 0)
		x->fcw = (u16)v;
	else if (k == 1)
		x->fsw = (u16)v;
	else if (k == 2)
		for (unsigned i = 0; i < 8; i++)
			x->ftw = (u8)((x->ftw & ~(1u << i)) | ((v >> (2 * i) & 3) != 3) << i);
	else if (k == 7)
		x->fop = v & 0x7ff;
}

static u64 *cr_field(struct cpu *c, unsigned k)
{
	u64 *const f[6] = { &c->kernel_gs_base, &c->cr0, &c->cr2, &c->cr3, &c->cr4, &c->efer };

	return f[k];
}

/* Where registers that are plain bytes of struct cpu lie; NULL for the computed ones. */
static void *plain(struct cpu *c, const struct run *r, unsigned k)
{
	switch (r->kind) {
	case K_GPR:
		return &c->r[gpr_of[k]];
	case K_RIP:
		return &c->r[R_RIP];
	case K_ST:
		return c->x87.st[k];
	case K_VEC:
		return c->zmm[r->first + k].b + r->part;
	case K_MXCSR:
		return &c->mxcsr;
	case K_BASE:
		return &c->seg[k ? SEG_GS : SEG_FS].base;
	case K_MASK:
		return &c->k[k];
	case K_CR:
		return cr_field(c, k);
	default:
		return NULL;
	}
}

void gdb_reg_get(const struct cpu *c, unsigned n, u8 *out)
{
	unsigned k = 0;
	const struct run *r = find(c, n, &k);
	void *p = r ? plain((struct cpu *)c, r, k) : NULL;
	u32 v;

	if (!r)
		return;
	if (p) {
		memcpy(out, p, r->bytes);
		return;
	}
	v = r->kind == K_FLAGS ? (u32)cpu_rflags(c) : r->kind == K_SEL ? c->seg[sel_of[k]].sel : fpctl_get(&c->x87, k);
	memcpy(out, &v, 4);
}

void gdb_reg_set(struct cpu *c, unsigned n, const u8 *in)
{
	unsigned k = 0;
	const struct run *r = find(c, n, &k);
	void *p = r ? plain(c, r, k) : NULL;
	u32 v;

	if (!r)
		return;
	memcpy(&v, in, 4);
	if (p)
		memcpy(p, in, r->bytes);
	else if (r->kind == K_FLAGS)
		cpu_set_rflags_raw(c, v);
	else if (r->kind == K_FPCTL)
		fpctl_set(&c->x87, k, v);
	/* A selector alone makes no descriptor cache: gdb writes all registers back, so it stays as it is. */
}

static void put(char *buf, size_t size, size_t *n, const char *fmt, ...)
{
	va_list ap;
	int k;

	va_start(ap, fmt);
	k = vsnprintf(buf + *n, size - *n, fmt, ap);
	va_end(ap);
	*n = MIN(*n + (size_t)k, size - 1);
}

static void put_name(char *name, size_t size, const struct run *r, unsigned k)
{
	const char *s = r->kind == K_GPR     ? gpr_name[k]
			: r->kind == K_SEL   ? sel_name[k]
			: r->kind == K_FPCTL ? fpctl_name[k]
			: r->kind == K_BASE  ? base_name[k]
			: r->kind == K_CR    ? cr_name[k]
					     : NULL;

	if (s)
		snprintf(name, size, "%s", s);
	else
		snprintf(name, size, r->name, r->first + k);
}

size_t gdb_reg_xml(const struct cpu *c, char *buf, size_t size)
{
	size_t n = 0;
	int feature = -1;

	put(buf, size, &n,
	    "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
	    "<architecture>i386:x86-64</architecture>");
	for (const struct run *r = runs; r < runs + ARRAY_SIZE(runs); r++) {
		if (!offered(c, r))
			continue;
		if (r->feature != feature) {
			put(buf, size, &n, "%s<feature name=\"%s\">", feature < 0 ? "" : "</feature>",
			    feature_name[r->feature]);
			if (r->feature == 1)
				put(buf, size, &n, "<vector id=\"vec128\" type=\"uint8\" count=\"16\"/>");
			if (r->feature == 4)
				put(buf, size, &n,
				    "<vector id=\"vec128\" type=\"uint8\" count=\"16\"/><vector id=\"v2ui128\" "
				    "type=\"uint128\" count=\"2\"/>");
			feature = r->feature;
		}
		for (unsigned k = 0; k < r->count; k++) {
			char name[16];

			put_name(name, sizeof(name), r, k);
			put(buf, size, &n, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", name, r->bytes * 8u,
			    r->type);
		}
	}
	put(buf, size, &n, "</feature></target>");
	return n;
}
