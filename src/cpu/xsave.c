/* SPDX-License-Identifier: Apache-2.0
 * State instructions: FXSAVE and FXRSTOR, the XSAVE family, MXCSR, EMMS, VZEROUPPER and VZEROALL. SDM 1, chapter 13 and
 * 10.5; APM 4 for FFXSR and the error pointers.
 *
 * XINUSE is computed from the contents when it is asked for: a component in its initial configuration counts as not in
 * use, which the manual allows; there is no modified optimisation. The offsets of the standard form are the model's
 * (CPUID.0DH), those of the compacted form follow from the sizes.
 *
 * A save looks at every page it will write before it writes the first byte; a restore reads and checks everything
 * before it changes a register.
 */
#include "cpu/x87.h"

#include "cpu/cpuid.h"

#define HEADER 512u
#define EXTENDED 576u
#define AREA_MAX 8192u
#define COMPACTED BIT(63)
#define MXCSR_INIT 0x1f80u

enum { XC_X87, XC_SSE, XC_AVX, XC_K = 5, XC_ZMM_HI, XC_HI16, XC_LAST = XC_HI16 };

/* ---- MXCSR and small ones
 * -------------------------------------------------------------------------------------------- */

u32 vec_mxcsr_mask(const struct cpu *c)
{
	return 0xffff | (cpu_has(c, FEAT_MISALIGNSSE) ? (u32)MXCSR_MM : 0);
}

static int ldmxcsr(struct cpu *c, const struct insn *i, unsigned gate, enum feature f)
{
	u64 lin;
	u32 v = 0;
	int out = cpu_has(c, f) ? vec_gate(c, gate) : cpu_ud(c);

	if (!out)
		out = insn_linear(c, i, 4, ACC_R, &lin);
	if (!out)
		out = cpu_ld32(c, lin, &v, insn_acc(i, 0));
	if (out)
		return out;
	if (v & ~vec_mxcsr_mask(c))
		return cpu_gp(c, 0);
	c->mxcsr = v;
	return OUT_DONE;
}

static int stmxcsr(struct cpu *c, const struct insn *i, unsigned gate, enum feature f)
{
	u64 lin;
	int out = cpu_has(c, f) ? vec_gate(c, gate) : cpu_ud(c);

	if (!out)
		out = insn_linear(c, i, 4, ACC_W, &lin);
	return out ? out : cpu_st32(c, lin, c->mxcsr, insn_acc(i, 0));
}

static int exec_ldmxcsr(struct cpu *c, const struct insn *i)
{
	return ldmxcsr(c, i, GATE_SSE, FEAT_SSE);
}

static int exec_stmxcsr(struct cpu *c, const struct insn *i)
{
	return stmxcsr(c, i, GATE_SSE, FEAT_SSE);
}

static int exec_vldmxcsr(struct cpu *c, const struct insn *i)
{
	return ldmxcsr(c, i, GATE_AVX, FEAT_AVX);
}

static int exec_vstmxcsr(struct cpu *c, const struct insn *i)
{
	return stmxcsr(c, i, GATE_AVX, FEAT_AVX);
}

static int exec_emms(struct cpu *c, const struct insn *i)
{
	int out = cpu_has(c, FEAT_MMX) ? vec_gate(c, GATE_MMX) : cpu_ud(c);

	(void)i;
	if (!out)
		out = x87_pending(c);
	if (out)
		return out;
	x87_set_top(&c->x87, 0);
	c->x87.ftw = 0;
	return OUT_DONE;
}

/* Bytes from `keep` up become zero in all 16 registers (8 outside 64-bit mode). */
static int vzero(struct cpu *c, unsigned keep)
{
	int out = cpu_has(c, FEAT_AVX) ? vec_gate(c, GATE_AVX) : cpu_ud(c);

	if (out)
		return out;
	for (unsigned k = 0; k < (c->d.long64 ? 16 : 8); k++)
		memset(c->zmm[k].b + keep, 0, 64 - keep);
	return OUT_DONE;
}

static int exec_vzeroupper(struct cpu *c, const struct insn *i)
{
	(void)i;
	return vzero(c, 16);
}

static int exec_vzeroall(struct cpu *c, const struct insn *i)
{
	(void)i;
	return vzero(c, 0);
}

/* ---- areas in guest memory
 * -------------------------------------------------------------------------------------------- */

struct area {
	struct cpu *c;
	u64 lin;
	unsigned acc;
};

static int area_write(const struct area *a, unsigned off, const void *src, unsigned size)
{
	const u8 *p = src;
	int out = OUT_DONE;

	while (size && !out) {
		unsigned n = MIN(size, 64u);

		out = cpu_st(a->c, (a->lin + off) & a->c->d.lin_mask, p, n, a->acc);
		off += n;
		p += n;
		size -= n;
	}
	return out;
}

static int area_read(const struct area *a, unsigned off, void *dst, unsigned size)
{
	u8 *p = dst;
	int out = OUT_DONE;

	while (size && !out) {
		unsigned n = MIN(size, 64u);

		out = cpu_ld(a->c, (a->lin + off) & a->c->d.lin_mask, p, n, a->acc);
		off += n;
		p += n;
		size -= n;
	}
	return out;
}

/* May all of [0, size) be written? One byte of each page is asked for. */
static int area_probe(const struct area *a, unsigned size)
{
	int out = OUT_DONE;
	u8 b;

	for (unsigned off = 0; off < size && !out;
	     off = (unsigned)(ALIGN_DOWN(a->lin + off, PAGE_SIZE) + PAGE_SIZE - a->lin))
		out = cpu_ld8(a->c, (a->lin + off) & a->c->d.lin_mask, &b, a->acc | ACC_RMW);
	return out;
}

static int area_open(struct cpu *c, const struct insn *i, unsigned size, unsigned align, unsigned acc, struct area *a)
{
	int out = insn_linear(c, i, size, acc, &a->lin);

	a->c = c;
	a->acc = insn_acc(i, 0) | ACC_NOALIGN;
	if (out)
		return out;
	return a->lin & (align - 1) ? cpu_gp(c, 0) : OUT_DONE;
}

/* ---- the legacy region
 * --------------------------------------------------------------------------------------------------- */

/* Bytes 0..23. wide is REX.W: 64-bit pointers, no selectors. AMD stores the pointers only while an exception is
 * pending, zeros otherwise (APM 2, 11.4.4 and CPUID XSaveErPtr). */
static void put_x87(const struct cpu *c, u8 *b, bool wide)
{
	struct x87 f = c->x87;

	f.rsvd = 0;
	if (cpu_is_amd(c) && !(f.fsw & X87_ES)) {
		f.fop = 0;
		f.fip = f.fdp = 0;
		f.fcs = f.fds = 0;
	}
	if (cpu_has(c, FEAT_ZERO_FCS_FDS))
		f.fcs = f.fds = 0;
	if (!wide) {
		f.fip = (u32)f.fip | (u64)f.fcs << 32;
		f.fdp = (u32)f.fdp | (u64)f.fds << 32;
	}
	memcpy(b, &f, 24);
}

static void get_x87(const u8 *b, const u8 *st, bool wide, struct x87 *f)
{
	memcpy(f, b, 24);
	f->rsvd = 0;
	f->fop &= 0x7ff;
	f->fcw = x87_fcw(f->fcw);
	f->fcs = f->fds = 0;
	if (!wide) {
		f->fcs = (u16)(f->fip >> 32);
		f->fds = (u16)(f->fdp >> 32);
		f->fip = (u32)f->fip;
		f->fdp = (u32)f->fdp;
	}
	for (unsigned k = 0; k < 8; k++) {
		memset(f->st[k], 0, 16);
		memcpy(f->st[k], st + 16 * k, 10);
	}
	x87_update_es(f);
}

_Static_assert(offsetof(struct x87, fdp) == 16, "FXSAVE's first 24 bytes");

static int fx_checks(struct cpu *c)
{
	if (!cpu_has(c, FEAT_FXSR))
		return cpu_ud(c);
	return c->cr0 & (CR0_EM | CR0_TS) ? cpu_raise(c, EXC_NM) : OUT_DONE;
}

/* XMM registers take part: with OSFXSR, except under FFXSR in 64-bit mode at CPL 0. */
static unsigned fx_xmm(const struct cpu *c)
{
	if (!(c->cr4 & CR4_OSFXSR) || ((c->efer & EFER_FFXSR) && c->d.long64 && !c->d.cpl))
		return 0;
	return c->d.long64 ? 16 : 8;
}

/* AMD's processors check words' alignment before the area's where #AC is in force; Intel leaves it open (SDM 2A
 * FXSAVE). */
static int fx_open(struct cpu *c, const struct insn *i, unsigned acc, struct area *a)
{
	int out = area_open(c, i, 512, 1, acc, a);

	if (out || !(a->lin & 15))
		return out;
	if (cpu_is_amd(c) && (a->lin & 3) && c->d.cpl == 3 && (c->cr0 & CR0_AM) && (c->rflags & FLAG_AC))
		return cpu_raise_error(c, EXC_AC, 0);
	return cpu_gp(c, 0);
}

static int exec_fxsave(struct cpu *c, const struct insn *i)
{
	u8 b[416] = { 0 };
	u32 mask = vec_mxcsr_mask(c);
	unsigned n = fx_xmm(c);
	struct area a;
	int out = fx_checks(c);

	if (!out)
		out = fx_open(c, i, ACC_W, &a);
	if (!out)
		out = area_probe(&a, 512);
	if (out)
		return out;
	put_x87(c, b, i->flags & INSN_REXW);
	memcpy(b + 24, &c->mxcsr, 4);
	memcpy(b + 28, &mask, 4);
	memcpy(b + 32, c->x87.st, 128);
	for (unsigned k = 0; k < n; k++)
		memcpy(b + 160 + 16 * k, c->zmm[k].b, 16);
	return area_write(&a, 0, b, 160 + 16 * n);
}

static int exec_fxrstor(struct cpu *c, const struct insn *i)
{
	u8 b[416];
	unsigned n = fx_xmm(c);
	struct area a;
	u32 mxcsr;
	int out = fx_checks(c);

	if (!out)
		out = fx_open(c, i, ACC_R, &a);
	if (!out)
		out = area_read(&a, 0, b, sizeof(b));
	if (out)
		return out;
	memcpy(&mxcsr, b + 24, 4);
	if (mxcsr & ~vec_mxcsr_mask(c))
		return cpu_gp(c, 0);
	if (c->cr4 & CR4_OSFXSR)
		c->mxcsr = mxcsr;
	get_x87(b, b + 32, i->flags & INSN_REXW, &c->x87);
	for (unsigned k = 0; k < n; k++)
		memcpy(c->zmm[k].b, b + 160 + 16 * k, 16);
	x87_ferr(c);
	return OUT_DONE;
}

/* ---- components
 * ------------------------------------------------------------------------------------------------------------ */

/* One strip of an extended component: `size` bytes at `from` of each of n registers. */
struct strip {
	u8 from, size, first, n;
};

static const struct strip strips[XC_LAST + 1] = {
	[XC_SSE] = { 0, 16, 0, 16 },
	[XC_AVX] = { 16, 16, 0, 16 },
	[XC_ZMM_HI] = { 32, 32, 0, 16 },
	[XC_HI16] = { 0, 64, 16, 16 },
};

/* Outside 64-bit mode eight registers are saved and restored, and no sixteen upper ones (SDM 1, 13.5). */
static unsigned strip_count(const struct cpu *c, const struct strip *s)
{
	if (c->d.long64)
		return s->n;
	return s->first ? 0 : 8;
}

/* n is a multiple of 16. */
static inline bool all_zero(const u8 *p, size_t n)
{
	u64 w[2], any = 0;

	for (; n; n -= sizeof(w), p += sizeof(w)) {
		memcpy(w, p, sizeof(w));
		any |= w[0] | w[1];
	}
	return !any;
}

/* What is done to each register of strips, whose sizes are told here one by one: each is a few moves, no call. */
static inline __attribute__((always_inline)) bool strips_used(const struct cpu *c, const struct strip *s, unsigned size)
{
	bool used = false;

	for (unsigned k = 0; k < strip_count(c, s) && !used; k++)
		used = !all_zero(c->zmm[s->first + k].b + s->from, size);
	return used;
}

static inline __attribute__((always_inline)) void strips_zero(struct cpu *c, const struct strip *s, unsigned size)
{
	for (unsigned k = 0; k < strip_count(c, s); k++)
		memset(c->zmm[s->first + k].b + s->from, 0, size);
}

static inline __attribute__((always_inline)) void strips_put(const struct cpu *c, const struct strip *s, unsigned size,
							     u8 *to)
{
	for (unsigned k = 0; k < strip_count(c, s); k++)
		memcpy(to + k * size, c->zmm[s->first + k].b + s->from, size);
}

static inline __attribute__((always_inline)) void strips_get(struct cpu *c, const struct strip *s, unsigned size,
							     const u8 *from)
{
	for (unsigned k = 0; k < strip_count(c, s); k++)
		memcpy(c->zmm[s->first + k].b + s->from, from + k * size, size);
}

static bool x87_in_use(const struct x87 *f)
{
	return f->fcw != 0x37f || f->fsw || f->ftw || f->fop || f->fip || f->fdp || f->fcs || f->fds ||
	       !all_zero(f->st[0], sizeof(f->st));
}

static bool in_use(const struct cpu *c, unsigned comp)
{
	const struct strip *s = &strips[comp];

	if (comp == XC_X87)
		return x87_in_use(&c->x87);
	if (comp == XC_K)
		return !all_zero((const u8 *)c->k, sizeof(c->k));
	return s->size == 16 ? strips_used(c, s, 16) : s->size == 32 ? strips_used(c, s, 32) : strips_used(c, s, 64);
}

static u64 xinuse(const struct cpu *c)
{
	u64 m = 0;

	for (unsigned k = 0; k <= XC_LAST; k++)
		if (k <= XC_AVX || k >= XC_K)
			m |= (u64)in_use(c, k) << k;
	return m;
}

static void component_init(struct cpu *c, unsigned comp)
{
	const struct strip *s = &strips[comp];

	if (comp == XC_X87) {
		memset(&c->x87, 0, sizeof(c->x87));
		c->x87.fcw = 0x37f;
	} else if (comp == XC_K) {
		memset(c->k, 0, sizeof(c->k));
	}
	if (s->size == 16)
		strips_zero(c, s, 16);
	else if (s->size == 32)
		strips_zero(c, s, 32);
	else if (s->size == 64)
		strips_zero(c, s, 64);
}

static unsigned component_size(const struct cpu *c, unsigned comp)
{
	return c->model->xsave_size[comp];
}

/* Where component comp >= 2 stands: in the standard form by CPUID, in the compacted form behind the lower ones. */
static unsigned component_offset(const struct cpu *c, u64 xcomp, unsigned comp)
{
	unsigned off = EXTENDED;

	if (!(xcomp & COMPACTED))
		return c->model->xsave_offset[comp];
	for (unsigned k = 2; k < comp; k++)
		if (xcomp >> k & 1)
			off += component_size(c, k);
	return off;
}

/* The bytes from the start of the area to the end of the last component in rfbm. */
static unsigned area_size(const struct cpu *c, u64 xcomp, u64 rfbm)
{
	unsigned size = EXTENDED;

	for (unsigned k = 2; k <= XC_LAST; k++)
		if (rfbm >> k & 1)
			size = MAX(size, component_offset(c, xcomp, k) + component_size(c, k));
	return size;
}

/* ---- saving
 * ------------------------------------------------------------------------------------------------------------------ */

enum { XS_OPT = 1, XS_COMPACT = 2, XS_SUPERVISOR = 4 };

static int xsave_checks(struct cpu *c, enum feature f, bool supervisor)
{
	if (!cpu_has(c, f) || !(c->cr4 & CR4_OSXSAVE))
		return cpu_ud(c);
	if (c->cr0 & CR0_TS)
		return cpu_raise(c, EXC_NM);
	return supervisor && c->d.cpl ? cpu_gp(c, 0) : OUT_DONE;
}

static u64 requested(const struct cpu *c, bool supervisor)
{
	u64 m = (c->r[RDX] << 32) | (u32)c->r[RAX];

	return m & (c->xcr0 | (supervisor ? c->xss : 0));
}

static int save_component(const struct area *a, u64 xcomp, unsigned comp)
{
	struct cpu *c = a->c;
	const struct strip *s = &strips[comp];
	unsigned off = comp == XC_SSE ? 160 : component_offset(c, xcomp, comp);
	u8 b[16 * 64];

	if (comp == XC_K)
		return area_write(a, off, c->k, sizeof(c->k));
	if (s->size == 16)
		strips_put(c, s, 16, b);
	else if (s->size == 32)
		strips_put(c, s, 32, b);
	else
		strips_put(c, s, 64, b);
	return area_write(a, off, b, strip_count(c, s) * s->size);
}

static int save_x87(const struct area *a, bool wide)
{
	u8 b[24];
	int out;

	put_x87(a->c, b, wide);
	out = area_write(a, 0, b, sizeof(b));
	return out ? out : area_write(a, 32, a->c->x87.st, 128);
}

static int save_mxcsr(const struct area *a)
{
	u32 v[2] = { a->c->mxcsr, vec_mxcsr_mask(a->c) };

	return area_write(a, 24, v, sizeof(v));
}

static int save_components(const struct area *a, const struct insn *i, u64 save, u64 xcomp, bool mxcsr)
{
	int out = OUT_DONE;

	if (save & XCR0_X87)
		out = save_x87(a, i->flags & INSN_REXW);
	if (!out && mxcsr)
		out = save_mxcsr(a);
	for (unsigned k = XC_SSE; k <= XC_LAST && !out; k++)
		if (save >> k & 1)
			out = save_component(a, xcomp, k);
	return out;
}

/* The four forms differ in what they skip (components not in use), in the layout, and in the header: the standard form
 * keeps the bits of XSTATE_BV that it was not asked for. */
static int xsave(struct cpu *c, const struct insn *i, unsigned kind, enum feature f)
{
	u64 rfbm = requested(c, kind & XS_SUPERVISOR), used = xinuse(c), bv = 0;
	u64 xcomp = kind & XS_COMPACT ? rfbm | COMPACTED : 0, save = rfbm;
	bool mxcsr = rfbm & (XCR0_SSE | XCR0_AVX);
	struct area a;
	int out = xsave_checks(c, f, kind & XS_SUPERVISOR);

	if (out)
		return out;
	if ((kind & XS_COMPACT) && c->mxcsr != MXCSR_INIT)
		used |= XCR0_SSE;
	if (kind & (XS_OPT | XS_COMPACT))
		save &= used;
	if (kind & XS_COMPACT)
		mxcsr = save & XCR0_SSE;
	out = area_open(c, i, area_size(c, xcomp, rfbm), 64, ACC_W, &a);
	if (!out)
		out = area_probe(&a, area_size(c, xcomp, save));
	if (!out && !(kind & XS_COMPACT))
		out = area_read(&a, HEADER, &bv, 8);
	if (!out)
		out = save_components(&a, i, save, xcomp, mxcsr);
	bv = kind & XS_COMPACT ? used & rfbm : (bv & ~rfbm) | (used & rfbm);
	if (!out)
		out = area_write(&a, HEADER, &bv, 8);
	if (!out && (kind & XS_COMPACT))
		out = area_write(&a, HEADER + 8, &xcomp, 8);
	return out;
}

static int exec_xsave(struct cpu *c, const struct insn *i)
{
	return xsave(c, i, 0, FEAT_XSAVE);
}

static int exec_xsaveopt(struct cpu *c, const struct insn *i)
{
	return xsave(c, i, XS_OPT, FEAT_XSAVEOPT);
}

static int exec_xsavec(struct cpu *c, const struct insn *i)
{
	return xsave(c, i, XS_COMPACT, FEAT_XSAVEC);
}

static int exec_xsaves(struct cpu *c, const struct insn *i)
{
	return xsave(c, i, XS_COMPACT | XS_SUPERVISOR, FEAT_XSAVES);
}

/* ---- restoring
 * ----------------------------------------------------------------------------------------------------------------- */

struct header {
	u64 bv, xcomp, rest[6];
};

/* SDM 1, 13.8 and 13.12. */
static bool header_valid(const struct cpu *c, const struct header *h, bool supervisor)
{
	u64 allowed = c->xcr0 | (supervisor ? c->xss : 0);

	if (!(h->xcomp & COMPACTED))
		return !supervisor && !h->xcomp && !h->rest[0] && !(h->bv & ~c->xcr0);
	if (!cpu_has(c, FEAT_XSAVEC) || (h->xcomp & ~COMPACTED & ~allowed) || (h->bv & ~h->xcomp))
		return false;
	for (unsigned k = 0; k < 6; k++)
		if (h->rest[k])
			return false;
	return true;
}

static void restore_component(struct cpu *c, const u8 *img, const struct header *h, unsigned comp, bool wide)
{
	const struct strip *s = &strips[comp];
	const u8 *p;

	if (comp == XC_X87) {
		get_x87(img, img + 32, wide, &c->x87);
		return;
	}
	p = img + (comp == XC_SSE ? 160 : component_offset(c, h->xcomp, comp));
	if (comp == XC_K)
		memcpy(c->k, p, sizeof(c->k));
	if (s->size == 16)
		strips_get(c, s, 16, p);
	else if (s->size == 32)
		strips_get(c, s, 32, p);
	else if (s->size == 64)
		strips_get(c, s, 64, p);
}

/* Reads the parts that will be needed into img, which is laid out like the area. */
static int read_parts(const struct area *a, u8 *img, const struct header *h, u64 load)
{
	int out = area_read(a, 0, img, HEADER);

	for (unsigned k = 2; k <= XC_LAST && !out; k++) {
		unsigned off = component_offset(a->c, h->xcomp, k), size = component_size(a->c, k);

		if ((load >> k & 1) && off + size <= AREA_MAX)
			out = area_read(a, off, img + off, size);
	}
	return out;
}

/* What MXCSR becomes: from memory whatever XSTATE_BV says in the standard form; part of SSE in the compacted form. */
static u32 new_mxcsr(const struct cpu *c, const u8 *img, const struct header *h, u64 rfbm)
{
	u32 v;

	memcpy(&v, img + 24, 4);
	if (!(h->xcomp & COMPACTED))
		return rfbm & (XCR0_SSE | XCR0_AVX) ? v : c->mxcsr;
	if (!(rfbm & XCR0_SSE))
		return c->mxcsr;
	return h->bv & XCR0_SSE ? v : MXCSR_INIT;
}

static int xrstor(struct cpu *c, const struct insn *i, bool supervisor, enum feature f)
{
	u64 rfbm = requested(c, supervisor);
	u8 img[AREA_MAX];
	struct header h;
	struct area a;
	u32 mxcsr;
	int out = xsave_checks(c, f, supervisor);

	if (!out)
		out = area_open(c, i, EXTENDED, 64, ACC_R, &a);
	if (!out)
		out = area_read(&a, HEADER, &h, sizeof(h));
	if (out)
		return out;
	if (!header_valid(c, &h, supervisor))
		return cpu_gp(c, 0);
	out = insn_linear(c, i, area_size(c, h.xcomp, rfbm & h.bv), ACC_R, &a.lin);
	if (!out)
		out = read_parts(&a, img, &h, rfbm & h.bv);
	if (out)
		return out;
	mxcsr = new_mxcsr(c, img, &h, rfbm);
	if (mxcsr & ~vec_mxcsr_mask(c))
		return cpu_gp(c, 0);
	c->mxcsr = mxcsr;
	for (unsigned k = 0; k <= XC_LAST; k++)
		if (rfbm & h.bv & BIT(k))
			restore_component(c, img, &h, k, i->flags & INSN_REXW);
		else if (rfbm >> k & 1)
			component_init(c, k);
	x87_ferr(c);
	return OUT_DONE;
}

static int exec_xrstor(struct cpu *c, const struct insn *i)
{
	return xrstor(c, i, false, FEAT_XSAVE);
}

static int exec_xrstors(struct cpu *c, const struct insn *i)
{
	return xrstor(c, i, true, FEAT_XSAVES);
}

/* ---- binding
 * ---------------------------------------------------------------------------------------------------------------------
 */

static exec_fn *find_0fae(const struct vparse *p)
{
	static exec_fn *const legacy[8] = { exec_fxsave, exec_fxrstor, exec_ldmxcsr, exec_stmxcsr,
					    exec_xsave,	 exec_xrstor,  exec_xsaveopt };
	unsigned reg = p->modrm >> 3 & 7;

	if (!p->mem || p->pp)
		return NULL;
	if (p->enc == ENC_LEGACY)
		return legacy[reg];
	return reg == 2 ? exec_vldmxcsr : reg == 3 ? exec_vstmxcsr : NULL;
}

static exec_fn *find_0fc7(const struct vparse *p)
{
	static exec_fn *const f[8] = { [3] = exec_xrstors, [4] = exec_xsavec, [5] = exec_xsaves };

	return p->mem && !p->pp && p->enc == ENC_LEGACY ? f[p->modrm >> 3 & 7] : NULL;
}

bool vec_state_bind(struct insn *i, const struct vparse *p)
{
	exec_fn *f = NULL;

	if (p->map != 1 || p->enc == ENC_EVEX)
		return false;
	if (p->opcode == 0xae)
		f = find_0fae(p);
	else if (p->opcode == 0xc7)
		f = find_0fc7(p);
	else if (p->opcode == 0x77 && !p->pp)
		f = p->enc == ENC_LEGACY ? exec_emms : p->ll ? exec_vzeroall : exec_vzeroupper;
	if (!f)
		return false;
	i->exec = f;
	return true;
}
