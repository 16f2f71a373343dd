/* SPDX-License-Identifier: Apache-2.0
 * Which instructions to try, and with what. The encoding space is walked field by field (map, opcode, mandatory prefix,
 * W, L, ModRM.reg, memory or register); Zydis says whether an encoding means something, a list below keeps out what
 * must not run on the host, and the operands are drawn so that most addresses fall into the test's data pages.
 */
#include "isa.h"

#include <Zydis/Zydis.h>

u64 isa_rand(struct isa_rng *r)
{
	/* splitmix64 (Steele, Lea, Flood 2014) */
	u64 z = (r->s += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static bool one_in(struct isa_rng *r, unsigned n)
{
	return isa_rand(r) % n == 0;
}

/* ---- encodings ----------------------------------------------------------------------------------------------- */

#define N_LEGACY64 (4 * 256 * 4 * 2 * 8 * 2)
#define N_LEGACY32 (4 * 256 * 4 * 8 * 2)
#define N_VEX (3 * 256 * 4 * 2 * 2 * 2 * 8)
#define N_EVEX (3 * 256 * 4 * 2 * 4 * 2 * 2)

enum enc_kind { LEGACY64, LEGACY32, LEGACY16, VEX64, VEX32, EVEX64, EVEX32, NR_KINDS };

static const struct {
	u64 forms;
	enum cpu_code mode;
} kinds[NR_KINDS] = {
	[LEGACY64] = { N_LEGACY64, CODE64 }, [LEGACY32] = { N_LEGACY32, CODE32 }, [LEGACY16] = { N_LEGACY32, CODE16 },
	[VEX64] = { N_VEX, CODE64 },	     [VEX32] = { N_VEX, CODE32 },	  [EVEX64] = { N_EVEX, CODE64 },
	[EVEX32] = { N_EVEX, CODE32 },
};

u64 isa_forms(void)
{
	u64 n = 0;

	for (unsigned k = 0; k < NR_KINDS; k++)
		n += kinds[k].forms;
	return n;
}

static unsigned take(u64 *n, unsigned base)
{
	unsigned v = (unsigned)(*n % base);

	*n /= base;
	return v;
}

struct enc {
	u8 b[32];
	unsigned n;
};

static void put(struct enc *e, unsigned v)
{
	e->b[e->n++] = (u8)v;
}

static void put_tail(struct enc *e, struct isa_rng *r, unsigned ext, unsigned reg_form)
{
	unsigned mod = reg_form ? 3 : (unsigned)(isa_rand(r) % 3), rm = (unsigned)(isa_rand(r) & 7);

	put(e, mod << 6 | ext << 3 | rm);
	while (e->n < 15)
		put(e, (unsigned)isa_rand(r));
}

static void put_map(struct enc *e, unsigned map)
{
	if (map)
		put(e, 0x0f);
	if (map == 2)
		put(e, 0x38);
	if (map == 3)
		put(e, 0x3a);
}

static void make_legacy(struct enc *e, u64 n, struct isa_rng *r, enum cpu_code mode)
{
	static const u8 pfx[4] = { 0, 0x66, 0xf3, 0xf2 };
	bool long64 = mode == CODE64;
	unsigned reg_form = take(&n, 2), ext = take(&n, 8), w = long64 ? take(&n, 2) : 0, p = take(&n, 4);
	unsigned opcode = take(&n, 256), map = take(&n, 4);

	if (one_in(r, 16))
		put(e, 0xf0);
	if (mode != CODE32 && one_in(r, long64 ? 24 : 4))
		put(e, 0x67);
	if (p > 1 && one_in(r, 6))
		put(e, 0x66);
	if (p)
		put(e, pfx[p]);
	if (long64 && (w || one_in(r, 2)))
		put(e, 0x40 | w << 3 | (unsigned)(isa_rand(r) & 7));
	put_map(e, map);
	put(e, opcode);
	put_tail(e, r, ext, reg_form);
}

static void make_vex(struct enc *e, u64 n, struct isa_rng *r, enum cpu_code mode)
{
	unsigned reg_form = take(&n, 2), ext = take(&n, 8), w = take(&n, 2), l = take(&n, 2), pp = take(&n, 4);
	unsigned opcode = take(&n, 256), map = take(&n, 3) + 1, v = (unsigned)(isa_rand(r) & 15);

	if (one_in(r, 2))
		v = 15;
	put(e, 0xc4);
	put(e, (unsigned)(isa_rand(r) & 0xe0) | (mode == CODE64 ? 0 : 0xc0) | map);
	put(e, w << 7 | v << 3 | l << 2 | pp);
	put(e, opcode);
	put_tail(e, r, ext, reg_form);
}

static void make_evex(struct enc *e, u64 n, struct isa_rng *r, enum cpu_code mode)
{
	unsigned reg_form = take(&n, 2), b = take(&n, 2), l = take(&n, 4), w = take(&n, 2), pp = take(&n, 4);
	unsigned opcode = take(&n, 256), map = take(&n, 3) + 1, x = (unsigned)isa_rand(r);
	unsigned v = one_in(r, 2) ? 31 : x & 31, aaa = one_in(r, 2) ? 0 : x >> 5 & 7;

	put(e, 0x62);
	put(e, (x >> 8 & 0xf0) | (mode == CODE64 ? 0 : 0xc0) | map);
	put(e, w << 7 | (v & 15) << 3 | 4 | pp);
	put(e, (aaa && (x >> 16 & 1)) << 7 | l << 5 | b << 4 | (v >> 4) << 3 | aaa);
	put(e, opcode);
	put_tail(e, r, (unsigned)(isa_rand(r) & 7), reg_form);
}

/* ---- what must not run on the host, or cannot agree ------------------------------------------------------------ */

static bool denied_mnemonic(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_INTO:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RDPRU:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_ARPL:
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
	case ZYDIS_MNEMONIC_RDPKRU:
	case ZYDIS_MNEMONIC_WRPKRU:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_MONITORX:
	case ZYDIS_MNEMONIC_MWAITX:
	case ZYDIS_MNEMONIC_MONITOR:
	case ZYDIS_MNEMONIC_MWAIT:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_MCOMMIT:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_UMWAIT:
	case ZYDIS_MNEMONIC_UMONITOR:
	case ZYDIS_MNEMONIC_TPAUSE:
		return true;
	default:
		return false;
	}
}

static bool denied(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
	if (z->meta.category == ZYDIS_CATEGORY_SYSTEM || z->meta.category == ZYDIS_CATEGORY_SYSCALL ||
	    z->meta.category == ZYDIS_CATEGORY_SYSRET || z->meta.category == ZYDIS_CATEGORY_IO ||
	    z->meta.category == ZYDIS_CATEGORY_IOSTRINGOP || z->meta.category == ZYDIS_CATEGORY_INTERRUPT ||
	    z->meta.category == ZYDIS_CATEGORY_VTX || z->meta.isa_ext == ZYDIS_ISA_EXT_RTM ||
	    z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || z->meta.isa_ext == ZYDIS_ISA_EXT_SVM ||
	    z->meta.category == ZYDIS_CATEGORY_CET || (z->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED))
		return true;
	if (z->attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS))
		return true;
	for (unsigned k = 0; k < z->operand_count; k++)
		if (op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(op[k].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
		    op[k].visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			return true;
	return denied_mnemonic(z->mnemonic);
}

/* ---- operands -------------------------------------------------------------------------------------------------- */

static u64 rand_value(struct isa_rng *r)
{
	static const u64 edge[] = { 0,
				    1,
				    2,
				    0x7f,
				    0x80,
				    0xff,
				    0x7fff,
				    0x8000,
				    0xffff,
				    0x7fffffff,
				    0x80000000,
				    0xffffffff,
				    0x7fffffffffffffff,
				    0x8000000000000000,
				    0xffffffffffffffff,
				    63,
				    31,
				    15,
				    16,
				    17,
				    33 };
	u64 x = isa_rand(r);

	switch (isa_rand(r) % 6) {
	case 0:
		return edge[x % ARRAY_SIZE(edge)];
	case 1:
		return x >> (isa_rand(r) & 63);
	case 2:
		return ~(x >> (isa_rand(r) & 63));
	case 3:
		return x & 0xff;
	default:
		return x;
	}
}

static u64 rand_float(struct isa_rng *r)
{
	static const u64 f64[] = { 0,
				   0x8000000000000000,
				   0x3ff0000000000000,
				   0xbff0000000000000,
				   0x7ff0000000000000,
				   0xfff0000000000000,
				   0x7ff8000000000001,
				   0x7ff0000000000001,
				   0x0000000000000001,
				   0x000fffffffffffff,
				   0x0010000000000000,
				   0x7fefffffffffffff,
				   0x41dfffffffc00000 };
	static const u32 f32[] = { 0,	       0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00001,
				   0x7f800001, 1,	   0x007fffff, 0x00800000, 0x7f7fffff, 0x4effffff };

	if (one_in(r, 2))
		return f64[isa_rand(r) % ARRAY_SIZE(f64)];
	return (u64)f32[isa_rand(r) % ARRAY_SIZE(f32)] << 32 | f32[isa_rand(r) % ARRAY_SIZE(f32)];
}

static u64 rand_lane(struct isa_rng *r)
{
	return one_in(r, 3)   ? rand_float(r)
	       : one_in(r, 2) ? rand_value(r)
			      : (isa_rand(r) & 0x3fffffff3fffffff) | 0x3000000030000000;
}

static void rand_x87(struct isa_rng *r, struct x87 *x)
{
	*x = (struct x87){ .fcw = 0x37f };
	if (one_in(r, 2))
		x->fcw = (u16)(0x40 | (isa_rand(r) & 0xf00) | 0x3f);
	if (one_in(r, 5))
		x->fcw = (u16)(0x40 | (isa_rand(r) & 0xf3f));
	x->fsw = (u16)(isa_rand(r) & 0x7f00);
	if (one_in(r, 4))
		x->fsw |= isa_rand(r) & 0x7f;
	if (x->fsw & ~x->fcw & 0x3f)
		x->fsw |= 0x8080;
	x->ftw = one_in(r, 2) ? 0xff : (u8)isa_rand(r);
	for (unsigned i = 0; i < 8; i++) {
		u64 m = one_in(r, 4) ? rand_float(r) : isa_rand(r) | (one_in(r, 12) ? 0 : BIT(63));
		u16 e = one_in(r, 4) ? (u16)(rand_value(r)) : (u16)(0x3fe0 + isa_rand(r) % 64 + (isa_rand(r) & 0x8000));

		memcpy(x->st[i], &m, 8);
		memcpy(x->st[i] + 8, &e, 2);
	}
}

static void rand_state(struct isa_rng *r, struct isa_case *t)
{
	struct isa_state *s = &t->in;

	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++)
		s->r[i] = rand_value(r);
	s->rflags = (isa_rand(r) & FLAGS_ARITH) | (one_in(r, 8) ? FLAG_DF : 0);
	for (unsigned i = 0; i < 32; i++)
		for (unsigned k = 0; k < 8; k++)
			s->zmm[i].q[k] = rand_lane(r);
	for (unsigned i = 0; i < 8; i++)
		s->k[i] = one_in(r, 3) ? rand_value(r) : isa_rand(r);
	rand_x87(r, &s->x87);
	s->mxcsr = 0x1f80;
	if (one_in(r, 2))
		s->mxcsr |= isa_rand(r) & 0xe07f;
	if (one_in(r, 4))
		s->mxcsr = (u32)(isa_rand(r) & 0xffff);
	for (size_t i = 0; i < sizeof(t->mem); i += 8) {
		u64 v = one_in(r, 2) ? rand_lane(r) : isa_rand(r);
		memcpy(t->mem + i, &v, 8);
	}
}

/* An address in or near the data pages: mostly well inside, sometimes across an edge, seldom anywhere. */
static u64 rand_address(struct isa_rng *r)
{
	u64 x = isa_rand(r);

	switch (isa_rand(r) % 32) {
	case 0:
		return ISA_DATA - 64 + x % 128;
	case 1:
		return ISA_DATA + 4096 - 64 + x % 128;
	case 2:
		return ISA_DATA + 4096 + x % 4096;
	case 3:
		return ISA_DATA + ISA_PAGES * 4096 - 64 + x % 128;
	case 4:
		return 0x7fffffff0000 + (x & 0x1ffff) * (one_in(r, 2) ? 1 : 0x10001);
	case 5:
	case 6:
	case 7:
	case 8:
	case 9:
	case 10:
	case 11:
		return ISA_DATA + 512 + x % 2048;
	default:
		return ISA_DATA + 512 + (x % 2048 & ~63ull);
	}
}

static int gpr(ZydisRegister reg)
{
	ZydisRegister full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	return full >= ZYDIS_REGISTER_RAX && full <= ZYDIS_REGISTER_R15 ? (int)(full - ZYDIS_REGISTER_RAX) : -1;
}

static void patch(struct isa_case *t, unsigned off, unsigned bytes, u64 v)
{
	memcpy(t->code + off, &v, bytes);
}

/* Chooses base, index or displacement so that the operand lies at rand_address(). */
static void aim_memory(struct isa_rng *r, struct isa_case *t, const ZydisDecodedInstruction *z,
		       const ZydisDecodedOperand *op)
{
	u64 target = rand_address(r) - (t->mode == CODE16 ? ISA_BASE16 : 0);
	int base = gpr(op->mem.base), index = gpr(op->mem.index);
	u64 disp = (u64)op->mem.disp.value;
	u64 idx = 0;

	if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP) {
		patch(t, z->raw.disp.offset, 4, target - ISA_START - z->length);
		return;
	}
	if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
		unsigned vr = (unsigned)ZydisRegisterGetId(op->mem.index);

		for (unsigned k = 0; k < 8; k++)
			t->in.zmm[vr].q[k] = one_in(r, 3) ? (isa_rand(r) & 0x000000ff000000ff) : isa_rand(r) & 0x3ff;
		index = -1;
	}
	if (index >= 0 && index != base) {
		t->in.r[index] = isa_rand(r) & 0xff;
		idx = t->in.r[index] * op->mem.scale;
	}
	if (base >= 0 && base == index)
		t->in.r[base] = target / (op->mem.scale + 1);
	else if (base >= 0)
		t->in.r[base] = target - idx - disp;
	else if (z->raw.disp.size == 16)
		patch(t, z->raw.disp.offset, 2, target - idx);
	else if (z->raw.disp.size == 32)
		patch(t, z->raw.disp.offset, 4, target - idx);
	else if (z->raw.disp.size == 64)
		patch(t, z->raw.disp.offset, 8, target);
}

static void aim_operands(struct isa_rng *r, struct isa_case *t, const ZydisDecodedInstruction *z,
			 const ZydisDecodedOperand *op)
{
	u32 data = ISA_DATA - (t->mode == CODE16 ? ISA_BASE16 : 0);

	t->in.r[RSP] = data + 0x800 + (one_in(r, 4) ? isa_rand(r) % 64 : 0);
	if (one_in(r, 2))
		t->in.r[RBP] = data + 0x900;
	if (z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		t->in.r[RCX] = isa_rand(r) % 48;
	for (unsigned k = 0; k < z->operand_count; k++)
		if (op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && op[k].mem.base != ZYDIS_REGISTER_RSP)
			aim_memory(r, t, z, &op[k]);
		else if (op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
			 op[k].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			aim_memory(r, t, z, &op[k]);
	if (z->mnemonic == ZYDIS_MNEMONIC_XLAT)
		t->in.r[RBX] = data + 0x100;
	if (z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && z->raw.imm[0].is_relative) {
		u64 d = 0x10 + isa_rand(r) % 0x60;

		patch(t, z->raw.imm[0].offset, z->raw.imm[0].size / 8, one_in(r, 2) ? d : -d - 0x10);
		/* With 66, AMD takes 16 bits of displacement: the next instruction is an INT3 either way. */
		if (t->mode == CODE64 && z->raw.imm[0].size == 32 && (z->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE))
			patch(t, z->raw.imm[0].offset + 2, 2, one_in(r, 2) || !z->raw.rex.W ? 0xcccc : 0);
	}
}

static void make(struct enc *e, enum enc_kind kind, u64 n, struct isa_rng *r)
{
	if (kind <= LEGACY16)
		make_legacy(e, n, r, kinds[kind].mode);
	else if (kind <= VEX32)
		make_vex(e, n, r, kinds[kind].mode);
	else
		make_evex(e, n, r, kinds[kind].mode);
}

static bool decode(const struct enc *e, enum cpu_code mode, ZydisDecodedInstruction *z, ZydisDecodedOperand *op)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[] = {
		[CODE16] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16 },
		[CODE32] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32 },
		[CODE64] = { ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64 },
	};
	ZydisDecoder dec;

	ZydisDecoderInit(&dec, modes[mode].machine, modes[mode].stack);
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, e->b, 15, z, op)) && !denied(z, op);
}

bool isa_make(u64 form, struct isa_rng *r, struct isa_case *t)
{
	struct enc e = { .n = 0 };
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	unsigned kind = 0;

	for (; form >= kinds[kind].forms; kind++)
		form -= kinds[kind].forms;
	t->mode = kinds[kind].mode;
	make(&e, kind, form, r);
	if (!decode(&e, t->mode, &z, op))
		return false;
	if (!(z.attributes & ZYDIS_ATTRIB_HAS_MODRM) && kind <= LEGACY16 && (form & 15))
		return false;
	memset(t->code, 0xcc, sizeof(t->code));
	memcpy(t->code, e.b, z.length);
	t->len = 15;
	rand_state(r, t);
	aim_operands(r, t, &z, op);
	if (t->mode != CODE64)
		for (unsigned i = 0; i < 16; i++)
			t->in.r[i] = (u32)t->in.r[i];
	return true;
}
