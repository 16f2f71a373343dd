/* SPDX-License-Identifier: Apache-2.0
 * The translator against the interpreter: random instruction sequences, faults and page crossings included, run by both
 * from the same state; every field of the CPU and all memory that could be written must be equal. TRANSLATE_N programs
 * from TRANSLATE_SEED on; TRANSLATE_OPTS is what -O takes.
 */
#include "interp_world.h"
#include "vshapes.h"

#include "cpu/fields.h"
#include "engine/translate/opts.h"
#include "engine/translate/verify.h"

#define ROUNDS 6 /* of each program: the first ones are the interpreter's in both */
#define BUDGET 10000
#define CODE_BYTES 256
#define DATA_PAGES 8 /* of these, one is read-only and one not present */

static u64 rng;

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull >> 8;
}

static bool chance(unsigned percent)
{
	return rnd() % 100 < percent;
}

/* Jumps into the middle of instructions make others: ports float, nothing is random. */
static u32 no_in(struct cpu *c, u16 port, unsigned size)
{
	(void)c;
	(void)port;
	return size == 4 ? ~0u : (1u << (8 * size)) - 1;
}

static void no_out(struct cpu *c, u16 port, unsigned size, u32 val)
{
	(void)c;
	(void)port;
	(void)size;
	(void)val;
}

static bool no_random(struct cpu *c, void *buf, unsigned size)
{
	(void)c;
	memset(buf, 0, size);
	return false;
}

static struct world *interp_world(const char *model)
{
	struct world *w = world_new_model(model);

	w->ops.in = no_in;
	w->ops.out = no_out;
	w->ops.random = no_random;
	return w;
}

static struct engine_options asked;
static u64 flushed; /* times all code was dropped in the last run of random programs */

static struct world *translate_world_of(const char *model)
{
	struct world *w = interp_world(model);
	struct err e;

	engine_interp.detach(w->c);
	w->c->engine_options = &asked;
	assert_int_equal(engine_translate.attach(w->c, w->m, &e), 0);
	return w;
}

static struct world *translate_world(void)
{
	return translate_world_of("x86-64-v2");
}

static void translate_world_free(struct world *w)
{
	struct err e;

	engine_translate.detach(w->c);
	assert_int_equal(engine_interp.attach(w->c, w->m, &e), 0);
	world_free(w);
}

/* ---- programs ------------------------------------------------------------------------------------------------- */

/* An opcode with ModRM; imm: bytes of immediate, 'z' by operand size. */
struct shape {
	u16 op;
	u8 imm;
	s8 ext; /* -1: any */
};

static const struct shape shapes[] = {
	{ 0x00, 0, -1 },   { 0x01, 0, -1 },   { 0x02, 0, -1 },	 { 0x03, 0, -1 },   { 0x09, 0, -1 },
	{ 0x0b, 0, -1 },   { 0x11, 0, -1 },   { 0x13, 0, -1 },	 { 0x19, 0, -1 },   { 0x21, 0, -1 },
	{ 0x22, 0, -1 },   { 0x29, 0, -1 },   { 0x2b, 0, -1 },	 { 0x31, 0, -1 },   { 0x33, 0, -1 },
	{ 0x38, 0, -1 },   { 0x39, 0, -1 },   { 0x3b, 0, -1 },	 { 0x80, 1, -1 },   { 0x81, 'z', -1 },
	{ 0x83, 1, -1 },   { 0x84, 0, -1 },   { 0x85, 0, -1 },	 { 0x86, 0, -1 },   { 0x87, 0, -1 },
	{ 0x88, 0, -1 },   { 0x89, 0, -1 },   { 0x8a, 0, -1 },	 { 0x8b, 0, -1 },   { 0x8b, 0, -1 },
	{ 0x89, 0, -1 },   { 0x8d, 0, -1 },   { 0x63, 0, -1 },	 { 0x69, 'z', -1 }, { 0x6b, 1, -1 },
	{ 0xc0, 1, -1 },   { 0xc1, 1, -1 },   { 0xd0, 0, -1 },	 { 0xd1, 0, -1 },   { 0xd2, 0, -1 },
	{ 0xd3, 0, -1 },   { 0xc6, 1, 0 },    { 0xc7, 'z', 0 },	 { 0xf6, 1, 0 },    { 0xf7, 'z', 0 },
	{ 0xf6, 0, 2 },	   { 0xf7, 0, 2 },    { 0xf6, 0, 3 },	 { 0xf7, 0, 3 },    { 0xf6, 0, 4 },
	{ 0xf7, 0, 4 },	   { 0xf6, 0, 5 },    { 0xf7, 0, 5 },	 { 0xf7, 0, 6 },    { 0xfe, 0, 0 },
	{ 0xfe, 0, 1 },	   { 0xff, 0, 0 },    { 0xff, 0, 1 },	 { 0xff, 0, 6 },    { 0x8f, 0, 0 },
	{ 0xff, 0, 2 },	   { 0xff, 0, 4 },    { 0x0f1f, 0, -1 }, { 0x0faf, 0, -1 }, { 0x0fb6, 0, -1 },
	{ 0x0fb7, 0, -1 }, { 0x0fbe, 0, -1 }, { 0x0fbf, 0, -1 }, { 0x0fa3, 0, -1 }, { 0x0fab, 0, -1 },
	{ 0x0fbb, 0, -1 }, { 0x0fba, 1, 4 },  { 0x0fba, 1, 5 },	 { 0x0fba, 1, 6 },  { 0x0fba, 1, 7 },
	{ 0x0fa4, 1, -1 }, { 0x0fa5, 0, -1 }, { 0x0fac, 1, -1 }, { 0x0fad, 0, -1 }, { 0x0fb1, 0, -1 },
	{ 0x0fc1, 0, -1 }, { 0x0fbc, 0, -1 }, { 0x0fbd, 0, -1 }, { 0xf7, 0, 7 },    { 0xf6, 0, 6 },
	{ 0x8c, 0, -1 },   { 0x0fb0, 0, -1 }, { 0x0fc0, 0, -1 }, { 0x0fb3, 0, -1 }, { 0x0fc7, 0, 1 },
	{ 0x0fb8, 0, -1 },
};

struct program {
	u8 byte[CODE_BYTES];
	unsigned n;
	bool long64, vector;
	bool focused; /* most operands are near each other by one register */
	u8 focus;
	u64 segments; /* the generator's state for these */
};

static void put8(struct program *p, u64 v)
{
	if (p->n < CODE_BYTES - 16)
		p->byte[p->n++] = (u8)v;
}

static void put_n(struct program *p, u64 v, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		put8(p, v >> (8 * k));
}

/* An operand near the others of a focused program. */
static void put_near(struct program *p, unsigned r)
{
	put8(p, 0x40 | r << 3 | p->focus);
	if (p->focus == 4)
		put8(p, 0x24);
	put8(p, chance(80) ? rnd() % 48 : rnd());
}

/* Displacements stay small, so that bases that point at data still do. */
static void put_modrm(struct program *p, int ext)
{
	unsigned mod = (unsigned)(rnd() & 3), rm = (unsigned)(rnd() & 7);
	unsigned r = ext < 0 ? (unsigned)(rnd() & 7) : (unsigned)ext;

	if (p->focused && chance(60)) {
		put_near(p, r);
		return;
	}
	put8(p, mod << 6 | r << 3 | rm);
	if (mod == 3)
		return;
	if (rm == 4) {
		unsigned sib = (unsigned)(chance(60) ? 0x20 | (rnd() & 7) : rnd() & 0xff);

		put8(p, sib);
		if (mod == 0 && (sib & 7) == 5) {
			put_n(p, W_DATA + rnd() % (DATA_PAGES * PAGE_SIZE), 4);
			return;
		}
	}
	if (mod == 0 && rm == 5)
		put_n(p, W_DATA - (p->long64 ? W_CODE : 0) + rnd() % (DATA_PAGES * PAGE_SIZE), 4);
	else if (mod == 1)
		put8(p, rnd());
	else if (mod == 2)
		put_n(p, rnd() % 0x2000 - 0x1000, 4);
}

/* What has no ModRM byte; most of it one or two bytes. */
static void put_short(struct program *p, bool osz16)
{
	static const u8 plain[] = {
		0x50, 0x53, 0x55, 0x57, 0x58, 0x5b, 0x5e, 0x5f, 0x54, 0x5c, 0xc9, 0x98, 0x99, 0x90,
		0x91, 0x93, 0x97, 0xf8, 0xf9, 0xf5, 0xc3, 0x9c, 0xaa, 0xa4, 0xa5, 0xab, 0xfc, 0xfa
	};
	unsigned z = osz16 ? 2 : 4;

	switch (rnd() % 8) {
	case 0:
		put8(p, 0x04 + (rnd() & 0x38));
		put8(p, rnd());
		break;
	case 1:
		put8(p, 0x05 + (rnd() & 0x38));
		put_n(p, rnd(), z);
		break;
	case 2:
		put8(p, 0xb0 + (rnd() & 7));
		put8(p, rnd());
		break;
	case 3:
		put8(p, 0x70 + (rnd() & 15));
		put8(p, rnd() % 12);
		break;
	case 4:
		put8(p, 0x0f);
		put8(p, 0xc8 + (rnd() & 7));
		break;
	case 5:
		put8(p, chance(50) ? 0xeb : 0x6a);
		put8(p, rnd() % 8);
		break;
	case 6:
		put8(p, chance(50) ? 0xe8 : 0x68);
		put_n(p, rnd() % 16, z);
		break;
	default:
		put8(p, plain[rnd() % sizeof(plain)]);
	}
}

/* R, X, B inverted; outside 64-bit mode R and X must be 1, else it is another instruction. */
static unsigned random_rxb(const struct program *p)
{
	return p->long64 ? (unsigned)(rnd() & 0xa0) | 0x40 : 0xe0;
}

/* ANDN, BLSR and kin, BZHI PEXT PDEP, MULX, BEXTR SHLX SARX SHRX, RORX; the wrong prefix now and then. */
static void put_bmi(struct program *p)
{
	static const u8 op[] = { 0xf2, 0xf3, 0xf5, 0xf6, 0xf7, 0xf7 };
	bool rorx = chance(10);

	put8(p, 0xc4);
	put8(p, random_rxb(p) | (rorx ? 3 : 2));
	put8(p, (rnd() & 0xfb) | (rorx ? 3 : 0) | (rorx || !p->long64 ? 0x78 : 0));
	put8(p, rorx ? 0xf0 : op[rnd() % sizeof(op)]);
	put_modrm(p, -1);
	if (rorx)
		put8(p, rnd());
}

/* REP MOVS, REP STOS, with counts that mostly stay in a page. */
static void put_string(struct program *p)
{
	static const u8 op[] = { 0xa4, 0xa5, 0xaa, 0xab };

	if (chance(85)) {
		put8(p, 0xb9); /* mov ecx */
		put_n(p, rnd() % (chance(80) ? 40 : 5000), 4);
	}
	if (chance(10))
		put8(p, 0xfd); /* std */
	if (chance(10))
		put8(p, chance(50) ? 0x66 : 0x67);
	put8(p, 0xf3);
	if (p->long64 && chance(60))
		put8(p, 0x48);
	put8(p, op[rnd() % sizeof(op)]);
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE */
static void put_base(struct program *p)
{
	put8(p, 0xf3);
	put8(p, 0x40 | (rnd() & 9));
	put_n(p, 0xae0f, 2);
	put8(p, 0xc0 | (rnd() & 0x1f));
}

static void put_insn(struct program *p)
{
	bool osz16 = chance(10), w = false;
	const struct shape *s = &shapes[rnd() % ARRAY_SIZE(shapes)];
	unsigned op = s->op;

	if (chance(4)) {
		put_string(p);
		return;
	}
	if (p->long64 && chance(2)) {
		put_base(p);
		return;
	}
	if (chance((op & 0xfffe) == 0x0fbc || op == 0x0fb8 ? 60 : 0))
		put8(p, 0xf3);
	if (osz16)
		put8(p, 0x66);
	if (chance(5))
		put8(p, 0x64 + (rnd() & 1));
	if (chance(3))
		put8(p, 0x67);
	if (chance(4))
		put8(p, 0xf0);
	if (p->long64 && chance(60)) {
		u64 rex = 0x40 | (rnd() & 15);

		w = rex & 8;
		put8(p, rex);
	}
	if (chance(25)) {
		put_short(p, osz16 && !w);
		return;
	}
	if (chance(4)) {
		put_bmi(p);
		return;
	}
	if (chance(8))
		op = (unsigned)((chance(50) ? 0x0f40 : 0x0f90) + (rnd() & 15));
	if (op >> 8)
		put8(p, op >> 8);
	put8(p, op);
	put_modrm(p, op == s->op ? s->ext : -1);
	if (op == s->op)
		put_n(p, rnd(), s->imm == 'z' ? (osz16 && !w ? 2 : 4) : s->imm);
}

/* ---- vector and x87 instructions -----------------------------------------------------------------------------------
 */

static void put_vmodrm(struct program *p, const struct vshape *s)
{
	unsigned r = s->ext < 0 ? (unsigned)(rnd() & 7) : (unsigned)s->ext, rm = (unsigned)(rnd() & 7);
	unsigned mod = s->reg_only ? 3 : (unsigned)(rnd() & 3);

	if (mod != 3 && p->focused && chance(60)) {
		put_near(p, r);
		return;
	}
	if (mod == 3 || rm == 4 || (mod == 0 && rm == 5)) {
		put8(p, 0xc0 | r << 3 | rm);
		return;
	}
	put8(p, mod << 6 | r << 3 | rm);
	if (mod)
		put_n(p, chance(80) ? rnd() & 0x30 : rnd() & 0x7f, mod == 1 ? 1 : 4);
}

static void put_legacy_vector(struct program *p, const struct vshape *s)
{
	static const u8 byte[] = { 0, 0x66, 0xf3, 0xf2 };

	if (s->pp)
		put8(p, byte[s->pp]);
	if (p->long64 && chance(50))
		put8(p, 0x40 | (rnd() & 15));
	put8(p, 0x0f);
	if (s->map > 1)
		put8(p, s->map == 2 ? 0x38 : 0x3a);
}

static void put_vex_vector(struct program *p, const struct vshape *s)
{
	unsigned v = s->two ? 15 : (unsigned)(rnd() & 15);

	put8(p, 0xc4);
	put8(p, random_rxb(p) | s->map);
	put8(p, (unsigned)(rnd() & 0x84) | v << 3 | s->pp);
}

static void put_evex_vector(struct program *p, const struct vshape *s)
{
	unsigned v = s->two ? 31 : (unsigned)(rnd() & 31) | (p->long64 ? 0 : 16);

	put8(p, 0x62);
	put8(p, random_rxb(p) | (p->long64 ? rnd() & 0x10 : 0x10) | s->map);
	put8(p, (unsigned)(rnd() & 0x80) | (v & 15) << 3 | 4 | s->pp);
	put8(p, (unsigned)(rnd() % 3) << 5 | (chance(10) ? 0x10 : 0) | (v >> 4) << 3 |
		    (chance(60) ? 0 : (unsigned)(rnd() & 0x87)));
}

static void put_x87(struct program *p)
{
	static const u8 control[][2] = { { 0xdf, 0xe0 }, { 0xdb, 0xe3 }, { 0xdb, 0xe2 }, { 0xd9, 0xe8 } };
	static const struct vshape any = { .ext = -1 };
	unsigned n = (unsigned)(rnd() % 16);

	if (n < 4) {
		put_n(p, control[n][0] | control[n][1] << 8, 2);
	} else if (n == 4) {
		put8(p, 0x9b);
	} else {
		put8(p, 0xd8 + (rnd() & 7));
		put_vmodrm(p, &any);
	}
}

static void put_vector(struct program *p)
{
	const struct vshape *s = &vshapes[rnd() % ARRAY_SIZE(vshapes)];
	unsigned form = (unsigned)(rnd() % 10);

	if (chance(20)) {
		put_x87(p);
		return;
	}
	if (form < 5)
		put_legacy_vector(p, s);
	else if (form < 8)
		put_vex_vector(p, s);
	else
		put_evex_vector(p, s);
	put8(p, s->op);
	if (s->reg_only == 2)
		return;
	put_vmodrm(p, s);
	put_n(p, rnd(), s->imm);
}

static void make_program(struct program *p)
{
	unsigned n = 1 + (unsigned)(rnd() % 24);

	memset(p->byte, 0xf4, sizeof(p->byte));
	p->n = 0;
	p->long64 = chance(60);
	p->segments = rnd() | 1;
	p->focused = chance(40);
	p->focus = rnd() & 7;
	while (n--)
		if (p->vector && chance(75))
			put_vector(p);
		else
			put_insn(p);
}

/* ---- states --------------------------------------------------------------------------------------------------- */

static u64 random_value(void)
{
	static const u64 edges[] = { 0, 1, ~0ull, 0x80, 0x7fff, 0x80000000, 0x7fffffffffffffff, 0x8000000000000000 };

	switch (rnd() % 8) {
	case 0:
		return edges[rnd() % ARRAY_SIZE(edges)];
	case 1:
		return rnd();
	case 2: /* close to a page's end */
		return W_DATA + (1 + rnd() % DATA_PAGES) * PAGE_SIZE - rnd() % 10;
	default:
		return W_DATA + rnd() % (DATA_PAGES * PAGE_SIZE);
	}
}

/* A float or double of usual size, an integer, or anything. */
static u64 random_lane(void)
{
	switch (rnd() % 4) {
	case 0:
		return 0x3ff0000000000000 | rnd() >> 8;
	case 1:
		return 0x3f800000 | (rnd() & 0x7fffff) | (u64)(0x40000000 | (rnd() & 0xffffff)) << 32;
	case 2:
		return rnd() & 0xff;
	default:
		return rnd() << 8 ^ rnd();
	}
}

static void random_x87(struct x87 *f)
{
	f->fcw = (u16)(0x37f ^ (rnd() & 0xc00) ^ (chance(15) ? rnd() & 0x3f : 0));
	f->fsw = (u16)(rnd() & 0x7800) | (chance(30) ? rnd() & 0x3f & f->fcw : 0);
	f->ftw = chance(50) ? (u8)rnd() : 0xff;
	for (unsigned k = 0; k < 8; k++) {
		u64 m = (rnd() << 10 ^ rnd()) | (chance(90) ? 1ull << 63 : 0);
		u16 e = (u16)(chance(90) ? 0x3ff0 + rnd() % 32 : rnd());

		memcpy(f->st[k], &m, 8);
		memcpy(f->st[k] + 8, &e, 2);
	}
}

static void random_vectors(struct cpu *c)
{
	for (unsigned n = 0; n < 32; n++)
		for (unsigned k = 0; k < 8; k++)
			c->zmm[n].q[k] = chance(50) ? 0 : random_lane();
	for (unsigned n = 0; n < 8; n++)
		c->k[n] = rnd() << 20 ^ rnd();
	random_x87(&c->x87);
	c->mxcsr = (u32)(0x1f80 | (rnd() & 0xe07f));
	if (chance(10))
		c->mxcsr = (c->mxcsr & ~0x3fu) ^ (u32)(rnd() & 0x1f80);
	c->cr0 |= CR0_NE | CR0_MP | (chance(4) ? CR0_TS : 0);
	c->cr4 |= (chance(97) ? CR4_OSFXSR : 0) | CR4_OSXSAVE | (chance(80) ? CR4_OSXMMEXCPT : 0);
	c->xcr0 = chance(15) ? 3 : chance(15) ? 7 : 0xe7;
	if (!cpu_has(c, FEAT_AVX512F))
		c->xcr0 &= 7;
	for (unsigned r = RAX; r <= R15; r++)
		if (r != RSP && chance(85))
			c->r[r] &= ~63ull;
}

/* Mostly flat; bases, limits, an expand-down stack, 16 bits of stack pointer or of code, none in GS. */
static void random_segments(struct cpu *c)
{
	static const u8 base[] = { SEG_DS, SEG_ES, SEG_SS, SEG_CS };

	c->seg[SEG_CS] = (struct seg){ .sel = 24, .attr = chance(8) ? 0x89b : 0xc9b, .limit = ~0u };
	if (chance(20))
		c->seg[chance(50) ? SEG_GS : SEG_FS] = (struct seg){ .attr = 0 };
	if (chance(60))
		return;
	for (unsigned k = 0; k < ARRAY_SIZE(base); k++) {
		if (chance(30))
			c->seg[base[k]].base = chance(50) ? rnd() & 0xff : -(rnd() & 0xfff) & 0xffffffff;
		if (chance(10))
			c->seg[base[k]].limit = W_DATA + rnd() % (4 * PAGE_SIZE);
	}
	c->r[R_RIP] = (c->r[R_RIP] - c->seg[SEG_CS].base) & 0xffffffff;
	if (chance(20))
		c->seg[SEG_SS].attr = 0x893;
	if (chance(10))
		c->seg[SEG_DS].attr = 0xc91;
	if (chance(10)) {
		c->seg[SEG_ES].attr = 0xc97;
		c->seg[SEG_ES].limit = 0xfff;
	}
}

static void random_state(struct world *w, const struct program *p)
{
	struct cpu *c = w->c;

	world_restart(w);
	for (unsigned r = RAX; r <= R15; r++)
		if (r != RSP)
			c->r[r] = random_value();
	c->r[RSP] = W_STACK + 0x1000 - 8 * (rnd() % 16) - (chance(10) ? rnd() % 8 : 0);
	cpu_set_rflags_raw(c, 2 | (rnd() & FLAGS_ARITH));
	c->seg[SEG_FS].base = 0x100 + (rnd() & 0xff);
	c->seg[SEG_GS].base = rnd() & 0xfff;
	if (!p->long64) {
		u64 states = rng;

		rng = p->segments; /* the same each time, or nothing gets hot */
		random_segments(c);
		rng = states;
		for (unsigned r = RAX; r <= R15; r++)
			c->r[r] = (u32)c->r[r];
	}
	if (chance(90))
		c->cr4 |= CR4_FSGSBASE;
	if (p->vector)
		random_vectors(c);
	cpu_update_mode(c);
}

static void world_copy_registers(struct world *to, const struct world *from)
{
	struct cpu *c = to->c;

	world_restart(to);
	memcpy(c->r, from->c->r, sizeof(c->r));
	memcpy(c->seg, from->c->seg, sizeof(c->seg));
	memcpy(c->zmm, from->c->zmm, sizeof(c->zmm));
	memcpy(c->k, from->c->k, sizeof(c->k));
	c->x87 = from->c->x87;
	c->mxcsr = from->c->mxcsr;
	c->xcr0 = from->c->xcr0;
	c->cr0 = from->c->cr0;
	c->cr4 = from->c->cr4;
	c->aflags = from->c->aflags;
	c->rflags = from->c->rflags;
	cpu_update_mode(c);
}

/* A program may have written the page tables: the next begins with good ones, or all that follow end at once. */
static void set_up(struct world *w, const struct program *p)
{
	world_tables(w);
	code_at(w, W_CODE, p->byte, sizeof(p->byte));
	put(w, pte_at(W_DATA + 3 * PAGE_SIZE), (W_DATA + 3 * PAGE_SIZE) | 5, 8); /* CR0.WP is set below */
	put(w, pte_at(W_DATA + 5 * PAGE_SIZE), 0, 8);
}

/* Data, stack and page tables. */
static bool same_memory(const struct world *a, const struct world *b)
{
	static const struct {
		u64 gpa, size;
	} part[] = { { W_CODE, PAGE_SIZE },
		     { W_DATA - PAGE_SIZE, (DATA_PAGES + 2) * PAGE_SIZE },
		     { W_STACK - PAGE_SIZE, 3 * PAGE_SIZE },
		     { W_TABLES, 6 * PAGE_SIZE } };
	static u8 x[16 * PAGE_SIZE], y[16 * PAGE_SIZE];

	for (unsigned k = 0; k < ARRAY_SIZE(part); k++) {
		mem_read(a->m, part[k].gpa, x, part[k].size);
		mem_read(b->m, part[k].gpa, y, part[k].size);
		for (u64 n = 0; n < part[k].size; n++)
			if (x[n] != y[n]) {
				print_message("memory at %llx: %02x, translated %02x\n",
					      (unsigned long long)(part[k].gpa + n), x[n], y[n]);
				return false;
			}
	}
	return true;
}

static void tell(void *opaque, const struct cpu_field *f, unsigned i, const struct cpu *a, const struct cpu *b)
{
	char x[200], y[200];

	(void)opaque;
	print_message("%s[%u]: %s, translated %s\n", f->name, i, cpu_field_text(a, f, i, x, sizeof(x)),
		      cpu_field_text(b, f, i, y, sizeof(y)));
}

static void tell_program(const struct program *p, u64 seed)
{
	char text[100];
	unsigned n = 0;

	print_message("TRANSLATE_SEED=%llu TRANSLATE_N=1\n", (unsigned long long)seed);
	while (n < p->n) {
		struct insn i;

		if (decode_insn(&i, p->byte + n, 15, p->long64 ? CODE64 : CODE32, 0) != DECODE_OK)
			break;
		print_message(
		    "%8x  %s\n", W_CODE + n,
		    decode_text(p->byte + n, i.len, p->long64 ? CODE64 : CODE32, W_CODE + n, text, sizeof(text)));
		n += i.len;
	}
}

static void run_pair(struct world *a, struct world *b, u64 seed, bool vector)
{
	struct program p = { .vector = vector };
	bool same = true;

	rng = seed * 0x9e3779b97f4a7c15ull + 1;
	make_program(&p);
	set_up(a, &p);
	set_up(b, &p);
	for (unsigned round = 0; same && round < ROUNDS; round++) {
		random_state(a, &p);
		world_copy_registers(b, a);
		a->c->cr0 |= CR0_WP;
		b->c->cr0 |= CR0_WP;
		cpu_update_mode(a->c);
		cpu_update_mode(b->c);
		same = engine_interp.run(a->c, BUDGET) == engine_translate.run(b->c, BUDGET);
		same = !cpu_field_diff(a->c, b->c, true, tell, NULL) && same_memory(a, b) && same &&
		       a->c->icount == b->c->icount;
	}
	if (!same) {
		tell_program(&p, seed);
		fail();
	}
}

static u64 setting(const char *name, u64 otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

static void run_random(const char *model, u64 n, bool vector)
{
	struct world *a = interp_world(model), *b = translate_world_of(model);
	u64 seed = setting("TRANSLATE_SEED", 1);

	for (u64 k = 0; k < n; k++)
		run_pair(a, b, seed + k, vector);
	print_message("%llu translated, %llu called, %llu handed over\n",
		      (unsigned long long)b->counters.n[CNT_TRANSLATED],
		      (unsigned long long)b->counters.n[CNT_TRANSLATED_CALLS],
		      (unsigned long long)b->counters.n[CNT_HANDED_OVER]);
	assert_true(asked.opts != opts_default() || b->counters.n[CNT_TRANSLATED] > n);
	flushed = b->counters.n[CNT_CACHE_FLUSHES];
	world_free(a);
	translate_world_free(b);
}

static void test_random(void **state)
{
	(void)state;
	run_random("x86-64-v2", setting("TRANSLATE_N", 12000), false);
}

static void test_random_host(void **state)
{
	(void)state;
	run_random("host", setting("TRANSLATE_N", 3000), false);
}

static void test_random_vectors(void **state)
{
	(void)state;
	run_random("host", setting("TRANSLATE_VECTOR_N", setting("TRANSLATE_N", 8000)), true);
}

/* With room for a few blocks, all code is dropped again and again. */
static void test_full_cache(void **state)
{
	u64 flushes;

	(void)state;
	asked.code_size = PAGE_SIZE;
	run_random("x86-64-v2", 1500, false);
	flushes = flushed;
	run_random("host", 800, true);
	asked.code_size = 0;
	assert_true(asked.opts != opts_default() || (flushes > 100 && flushed > 100));
}

/* ---- what only the translator does ------------------------------------------------------------------------------ */

/* mov ecx, 100000; l: inc eax; dec ecx; jnz l; hlt */
static const u8 loop[] = { 0xb9, 0xa0, 0x86, 0x01, 0, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xfa, 0xf4 };

static void test_loop(void **state)
{
	struct world *w = translate_world();

	(void)state;
	code_at(w, W_CODE, loop, sizeof(loop));
	assert_int_equal(engine_translate.run(w->c, 0), EXIT_HALT);
	assert_int_equal(w->c->r[RAX], 100000);
	assert_int_equal(w->c->icount, 300002);
	assert_int_equal(w->c->r[R_RIP], W_CODE + 12);
	assert_true(asked.opts != opts_default() || w->counters.n[CNT_TRANSLATED_ENTERED] < 10);
	translate_world_free(w);
}

static void test_budget_is_exact(void **state)
{
	struct world *w = translate_world();

	(void)state;
	code_at(w, W_CODE, loop, sizeof(loop));
	for (u64 budget = 1; budget < 100000; budget += 777) {
		world_restart(w);
		assert_int_equal(engine_translate.run(w->c, budget), EXIT_BUDGET);
		assert_int_equal(w->c->icount, budget);
		assert_int_equal(w->c->r[RAX], (budget + 1) / 3);
	}
	translate_world_free(w);
}

/* A loop that counts in the immediate of its own first instruction. */
static void test_modifies_itself(void **state)
{
	struct world *w = translate_world();

	(void)state;
	/* mov ecx, 100; l: add eax, 0; inc dword [rip - 10]; dec ecx; jnz l; hlt */
	CODE(w, W_CODE, 0xb9, 100, 0, 0, 0, 0x05, 0, 0, 0, 0, 0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75,
	     0xf1, 0xf4);
	assert_int_equal(engine_translate.run(w->c, 0), EXIT_HALT);
	assert_int_equal(w->c->r[RAX], 99 * 100 / 2);
	translate_world_free(w);
}

/* 64 blocks in a row, each inc eax; jmp to the next: 50 times round, with room for two or three. */
static void test_loop_in_full_cache(void **state)
{
	struct world *w;

	(void)state;
	asked.code_size = PAGE_SIZE;
	w = translate_world();
	for (unsigned k = 0; k < 64; k++)
		CODE(w, W_CODE + 100 * k, 0xff, 0xc0, 0xe9, 93, 0, 0, 0, 0xf4);
	CODE(w, W_CODE + 100 * 64, 0xff, 0xc9, 0x74, 5, 0xe9, 0xf7, 0xe6, 0xff, 0xff, 0xf4);
	w->c->r[RCX] = 50;
	assert_int_equal(engine_translate.run(w->c, 0), EXIT_HALT);
	assert_int_equal(halted_in(w), -1);
	assert_int_equal(w->c->r[RAX], 64 * 50);
	assert_int_equal(w->c->icount, 50 * (64 * 2 + 3));
	translate_world_free(w);
	asked.code_size = 0;
}

/* mov eax, 1; mov ecx, 9; l: dec ecx; jnz l; ret over the edge of two pages: code that gets hot. */
static const u8 counting[] = { 0xb8, 1, 0, 0, 0, 0xb9, 9, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xc3 };
#define COUNTING (0x200ffc)

static void call_counting(struct world *w, u64 at, u32 want)
{
	for (unsigned n = 0; n < 5; n++) {
		world_restart(w);
		w->c->r[RBX] = at;
		CODE(w, W_CODE, 0xff, 0xd3, 0xf4); /* call rbx; hlt */
		assert_int_equal(engine_translate.run(w->c, 0), EXIT_HALT);
		assert_int_equal(halted_in(w), -1);
		assert_int_equal(w->c->r[RAX], want);
	}
}

/* Written as devices do, and by the guest through another linear address, on both sides of the edge. */
static void test_written_elsewhere(void **state)
{
	struct world *w = translate_world();
	const u64 alias = 0x300000;

	(void)state;
	for (u64 page = 0; page < 2; page++)
		put(w, pte_at(alias + page * PAGE_SIZE), ((COUNTING & PAGE_MASK) + page * PAGE_SIZE) | 7, 8);
	mmu_reset(w->c);
	code_at(w, COUNTING, counting, sizeof(counting));
	call_counting(w, COUNTING, 1);
	for (u32 v = 2; v < 40; v++) {
		u64 at = COUNTING + 1 + v % 4; /* of the immediate: bytes 1, 2 in the first page, 3, 4 in the second */
		u32 imm;

		if (v % 3) { /* mov byte [rdi], al; hlt */
			world_restart(w);
			CODE(w, W_CODE, 0x88, 0x07, 0xf4);
			w->c->r[RAX] = v;
			w->c->r[RDI] = alias + (at - (COUNTING & PAGE_MASK));
			assert_int_equal(engine_translate.run(w->c, 0), EXIT_HALT);
			assert_int_equal(halted_in(w), -1);
		} else {
			put(w, at, v, 1);
		}
		imm = (u32)get(w, COUNTING + 1, 4);
		assert_int_equal(imm >> 8 * (v % 4) & 0xff, v);
		call_counting(w, v % 2 ? COUNTING : alias + (COUNTING & (PAGE_SIZE - 1)), imm);
	}
	translate_world_free(w);
}

static void *end_loop(void *arg)
{
	struct world *w = arg;

	CODE(w, W_CODE + 1, 1); /* jmp $ becomes jmp to the hlt */
	return NULL;
}

static void test_write_by_other_thread(void **state)
{
	struct world *w = translate_world();
	pthread_t t;

	(void)state;
	CODE(w, W_CODE, 0xeb, 0xfe, 0x90, 0xf4);
	assert_int_equal(engine_translate.run(w->c, 20000), EXIT_BUDGET);
	assert_int_equal(pthread_create(&t, NULL, end_loop, w), 0);
	assert_int_equal(engine_translate.run(w->c, 0), EXIT_HALT);
	pthread_join(t, NULL);
	assert_int_equal(w->c->r[R_RIP], W_CODE + 4);
	translate_world_free(w);
}

static void test_kick_is_sticky(void **state)
{
	struct world *w = translate_world();

	(void)state;
	code_at(w, W_CODE, loop, sizeof(loop));
	cpu_post(w->c, ATT_KICK);
	assert_int_equal(engine_translate.run(w->c, 0), EXIT_KICK);
	assert_int_equal(w->c->icount, 0);
	translate_world_free(w);
}

/* ---- --verify ------------------------------------------------------------------------------------------------- */

/* mov [rbx], eax; add eax, ecx; movups xmm1, [rbx]; jmp . */
static const u8 verified[] = { 0x89, 0x03, 0x01, 0xc8, 0x0f, 0x10, 0x0b, 0xeb, 0xfe };

/* The interpreter runs the block, notes and undoes it. */
static struct block *prepare(struct world *w, struct verify *v)
{
	struct block *b;

	world_restart(w);
	w->c->cr4 |= CR4_OSFXSR;
	w->c->r[RAX] = 5;
	w->c->r[RCX] = 6;
	w->c->r[RBX] = W_DATA;
	put(w, W_DATA, 0x1111, 8);
	assert_int_equal(build_find(w->c->engine, W_CODE, &b), OUT_DONE);
	assert_int_equal(b->n, 4);
	assert_true(verify_prepare(v, w->c, b));
	assert_int_equal(w->c->r[RAX], 5);
	assert_int_equal(get(w, W_DATA, 8), 0x1111);
	return b;
}

/* Stands for translated code. */
static void run_block(struct world *w, const struct block *b)
{
	for (unsigned k = 0; k < b->n; k++) {
		w->c->r[R_RIP] += b->insn[k].len;
		assert_int_equal(b->insn[k].exec(w->c, &b->insn[k]), OUT_DONE);
	}
	w->c->icount += b->n;
}

static void test_verify(void **state)
{
	struct world *w = interp_world("x86-64-v2");
	struct verify *v = verify_new(1);
	struct block *b;

	(void)state;
	code_at(w, W_CODE, verified, sizeof(verified));
	b = prepare(w, v);
	run_block(w, b);
	assert_true(verify_compare(v, w->c, b));
	assert_int_equal(w->counters.n[CNT_VERIFIED], 1);
	b = prepare(w, v);
	run_block(w, b);
	w->c->r[RAX] ^= 1;
	assert_false(verify_compare(v, w->c, b));
	b = prepare(w, v);
	run_block(w, b);
	w->c->zmm[1].b[15] ^= 1;
	assert_false(verify_compare(v, w->c, b));
	b = prepare(w, v);
	run_block(w, b);
	put(w, W_DATA, 6, 1);
	assert_false(verify_compare(v, w->c, b));
	verify_free(v);
	world_free(w);
}

/* Blocks that cannot be run twice: IN, a store to a page that is not there. */
static void test_verify_refuses(void **state)
{
	struct world *w = interp_world("x86-64-v2");
	struct verify *v = verify_new(1);
	struct block *b;

	(void)state;
	CODE(w, W_CODE, 0xe4, 0x10, 0xeb, 0xfe);
	assert_int_equal(build_find(w->c->engine, W_CODE, &b), OUT_DONE);
	assert_false(verify_prepare(v, w->c, b));
	put(w, pte_at(W_DATA), 0, 8);
	code_at(w, W_CODE + 0x100, verified, sizeof(verified));
	w->c->r[RBX] = W_DATA;
	w->c->r[R_RIP] = W_CODE + 0x100;
	assert_int_equal(build_find(w->c->engine, W_CODE + 0x100, &b), OUT_DONE);
	assert_false(verify_prepare(v, w->c, b));
	assert_int_equal(w->c->r[R_RIP], W_CODE + 0x100);
	verify_free(v);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_budget_is_exact),
		cmocka_unit_test(test_modifies_itself),
		cmocka_unit_test(test_kick_is_sticky),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_verify_refuses),
		cmocka_unit_test(test_loop_in_full_cache),
		cmocka_unit_test(test_written_elsewhere),
		cmocka_unit_test(test_write_by_other_thread),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_host),
		cmocka_unit_test(test_full_cache),
		cmocka_unit_test(test_random_vectors),
	};

	struct err e;

	if (opts_parse(getenv("TRANSLATE_OPTS") ? getenv("TRANSLATE_OPTS") : "all", &asked.opts, &e))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
