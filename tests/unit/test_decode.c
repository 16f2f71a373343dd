/* SPDX-License-Identifier: Apache-2.0
 * The decoder: fields of chosen encodings in every mode, and length, operand and immediate fields of random bytes
 * against Zydis.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "cpu/decode.h"
#include "cpu/optab.h"

enum { M64, M32, M16, MREAL };

static enum decode_result decode(struct insn *i, const void *bytes, unsigned n, int mode)
{
	static const enum cpu_code code[] = { CODE64, CODE32, CODE16, CODE16 };

	return decode_insn(i, bytes, n, code[mode], mode == MREAL);
}

/* ---- chosen encodings ------------------------------------------------------------------------------------------ */

struct want_mem {
	const char *bytes;
	u8 n, mode, base, index, scale, seg, asz;
	s32 disp;
};

static void test_memory_operands(void **state)
{
	static const struct want_mem t[] = {
		{ "\x8b\x00", 2, M64, RAX, R_ZERO, 0, SEG_DS, 8, 0 },
		{ "\x8b\x45\xf8", 3, M64, RBP, R_ZERO, 0, SEG_SS, 8, -8 },
		{ "\x41\x8b\x45\xf8", 4, M64, R13, R_ZERO, 0, SEG_DS, 8, -8 },
		{ "\x8b\x04\x24", 3, M64, RSP, R_ZERO, 0, SEG_SS, 8, 0 },
		{ "\x41\x8b\x04\x24", 4, M64, R12, R_ZERO, 0, SEG_DS, 8, 0 },
		{ "\x42\x8b\x04\x25\x10\x00\x00\x00", 8, M64, R_ZERO, R12, 0, SEG_DS, 8, 16 },
		{ "\x8b\x04\x25\x10\x00\x00\x80", 7, M64, R_ZERO, R_ZERO, 0, SEG_DS, 8, (s32)0x80000010 },
		{ "\x8b\x05\x10\x00\x00\x00", 6, M64, R_RIP, R_ZERO, 0, SEG_DS, 8, 16 },
		{ "\x67\x8b\x05\x10\x00\x00\x00", 7, M64, R_RIP, R_ZERO, 0, SEG_DS, 4, 16 },
		{ "\x41\x8b\x05\x10\x00\x00\x00", 7, M64, R_RIP, R_ZERO, 0, SEG_DS, 8, 16 },
		{ "\x8b\x05\x10\x00\x00\x00", 6, M32, R_ZERO, R_ZERO, 0, SEG_DS, 4, 16 },
		{ "\x8b\x44\xcd\x04", 4, M32, RBP, RCX, 3, SEG_SS, 4, 4 },
		{ "\x8b\x04\xcd\x04\x00\x00\x00", 7, M32, R_ZERO, RCX, 3, SEG_DS, 4, 4 },
		{ "\x67\x8b\x02", 3, M32, RBP, RSI, 0, SEG_SS, 2, 0 },
		{ "\x8b\x46\xfe", 3, M16, RBP, R_ZERO, 0, SEG_SS, 2, -2 },
		{ "\x8b\x06\x34\x12", 4, M16, R_ZERO, R_ZERO, 0, SEG_DS, 2, 0x1234 },
		{ "\x8b\x80\xfe\xff", 4, MREAL, RBX, RSI, 0, SEG_DS, 2, -2 },
		{ "\x26\x8b\x46\x00", 4, MREAL, RBP, R_ZERO, 0, SEG_ES, 2, 0 },
		{ "\x67\x8b\x04\x24", 4, MREAL, RSP, R_ZERO, 0, SEG_SS, 4, 0 },
		{ "\x36\x8b\x00", 3, M64, RAX, R_ZERO, 0, SEG_DS, 8, 0 },
		{ "\x3e\x8b\x45\x00", 4, M64, RBP, R_ZERO, 0, SEG_SS, 8, 0 },
		{ "\x64\x3e\x8b\x00", 4, M64, RAX, R_ZERO, 0, SEG_FS, 8, 0 },
		{ "\x65\x8b\x04\x24", 4, M64, RSP, R_ZERO, 0, SEG_GS, 8, 0 },
		{ "\x3e\x8b\x45\x00", 4, M32, RBP, R_ZERO, 0, SEG_DS, 4, 0 },
	};

	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
		struct insn i;

		assert_int_equal(decode(&i, t[k].bytes, t[k].n, t[k].mode), DECODE_OK);
		if (i.len != t[k].n || i.base != t[k].base || i.index != t[k].index || i.scale != t[k].scale ||
		    i.seg != t[k].seg || i.asz != t[k].asz || i.disp != t[k].disp || !(i.flags & INSN_MEM))
			fail_msg("row %u: len %u base %u index %u scale %u seg %u asz %u disp %d", k, i.len, i.base,
				 i.index, i.scale, i.seg, i.asz, i.disp);
	}
}

struct want_imm {
	const char *bytes;
	u8 n, mode, osz;
	u64 imm;
};

static void test_sizes_and_immediates(void **state)
{
	static const struct want_imm t[] = {
		{ "\x05\xff\xff\xff\xff", 5, M64, 4, ~0ull },
		{ "\x48\x05\xff\xff\xff\xff", 6, M64, 8, ~0ull },
		{ "\x66\x05\xff\xff", 4, M64, 2, ~0ull },
		{ "\x66\x48\x05\xff\xff\xff\x7f", 7, M64, 8, 0x7fffffff },
		{ "\x48\x66\x05\xff\x7f", 5, M64, 2, 0x7fff },		   /* REX not last: ignored */
		{ "\x48\x40\x05\xff\xff\xff\x7f", 7, M64, 4, 0x7fffffff }, /* the last REX counts */
		{ "\x05\xff\xff", 3, M16, 2, ~0ull },
		{ "\x66\x05\xff\xff\xff\x7f", 6, MREAL, 4, 0x7fffffff },
		{ "\x48\xb8\x88\x77\x66\x55\x44\x33\x22\x11", 10, M64, 8, 0x1122334455667788ull },
		{ "\xb8\xff\xff\xff\xff", 5, M64, 4, 0xffffffff },
		{ "\xb0\x80", 2, M64, 1, ~0ull << 7 },
		{ "\x6a\x80", 2, M64, 8, ~0ull << 7 },
		{ "\x66\x6a\x80", 3, M64, 2, ~0ull << 7 },
		{ "\x68\x00\x00\x00\x80", 5, M64, 8, 0xffffffff80000000ull },
		{ "\x66\x68\x00\x80", 4, M64, 2, 0xffffffffffff8000ull },
		{ "\xe8\xfe\xff\xff\xff", 5, M64, 8, ~1ull },
		{ "\x66\xe8\xfe\xff\xff\xff", 6, M64, 8, ~1ull }, /* 66 ignored on near branches */
		{ "\x66\xe8\xfe\xff", 4, M32, 2, ~1ull },
		{ "\xeb\xfe", 2, MREAL, 2, ~1ull },
		{ "\xe3\x80", 2, M64, 8, ~0ull << 7 },
		{ "\x0f\x84\xfe\xff\xff\xff", 6, M64, 8, ~1ull },
		{ "\x0f\x84\xfe\xff", 4, MREAL, 2, ~1ull },
		{ "\xc8\x34\x12\x05", 4, M64, 8, 0x51234 },
		{ "\xea\x78\x56\x34\x12\x08\x00", 7, M32, 4, 0x812345678ull },
		{ "\xea\x00\x7c\x00\xf0", 5, MREAL, 2, 0xf00000007c00ull },
		{ "\x9a\x00\x7c\x00\xf0", 5, MREAL, 2, 0xf00000007c00ull },
		{ "\xa1\x88\x77\x66\x55\x44\x33\x22\x11", 9, M64, 4, 0x1122334455667788ull },
		{ "\x67\xa1\x44\x33\x22\x91", 6, M64, 4, 0x91223344ull },
		{ "\xa0\x34\xf2", 3, MREAL, 1, 0xf234 },
		{ "\xcd\x80", 2, M64, 4, 0x80 },
		{ "\xe4\xf0", 2, M64, 1, 0xf0 },
		{ "\xc1\xe0\x81", 3, M64, 4, 0x81 },
		{ "\xc1\xf0\x81", 3, M64, 4, 0x81 },	   /* /6 is SHL */
		{ "\xf6\xc8\x80", 3, M64, 1, ~0ull << 7 }, /* TEST /1 */
		{ "\xf7\xc8\x80\x00\x00\x00", 6, M64, 4, 0x80 },
		{ "\xf7\xd0", 2, M64, 4, 0 },
		{ "\xc2\xff\xff", 3, M64, 8, 0xffff },
		{ "\x6b\xc0\x80", 3, M64, 4, ~0ull << 7 },
		{ "\x0f\xba\xe0\xff", 4, M64, 4, 0xff },
		{ "\xc7\x05\x00\x00\x00\x00\xff\xff\xff\xff", 10, M64, 4, ~0ull },
	};

	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
		struct insn i;

		assert_int_equal(decode(&i, t[k].bytes, t[k].n, t[k].mode), DECODE_OK);
		if (i.len != t[k].n || i.osz != t[k].osz || i.imm != t[k].imm || i.exec == exec_ud)
			fail_msg("row %u: len %u osz %u imm %llx%s", k, i.len, i.osz, (unsigned long long)i.imm,
				 i.exec == exec_ud ? " #UD" : "");
	}
}

/* APM 3, 1.2.7: near branches honour 66 on AMD's CPUs. */
static void test_amd_branches(void **state)
{
	struct insn i;

	(void)state;
	assert_int_equal(decode_insn(&i, (const u8 *)"\x66\xe8\xfe\xff", 4, CODE64, DECODE_AMD), DECODE_OK);
	assert_int_equal(i.len, 4);
	assert_int_equal(i.osz, 2);
	assert_int_equal(decode_insn(&i, (const u8 *)"\x66\x48\xe8\xfe\xff\xff\xff", 7, CODE64, DECODE_AMD), DECODE_OK);
	assert_int_equal(i.osz, 8);
	assert_int_equal(decode_insn(&i, (const u8 *)"\xc3", 1, CODE64, DECODE_AMD), DECODE_OK);
	assert_int_equal(i.osz, 8);
}

static void test_byte_registers(void **state)
{
	struct insn i;

	(void)state;
	assert_int_equal(decode(&i, "\x88\xe7", 2, M64), DECODE_OK); /* mov bh, ah */
	assert_int_equal(i.reg8, 1);
	assert_int_equal(i.rm8, RBX * 8 + 1);
	assert_int_equal(decode(&i, "\x40\x88\xe7", 3, M64), DECODE_OK); /* mov dil, spl */
	assert_int_equal(i.reg8, RSP * 8);
	assert_int_equal(i.rm8, RDI * 8);
	assert_int_equal(decode(&i, "\x45\x88\xe7", 3, M64), DECODE_OK); /* mov r15b, r12b */
	assert_int_equal(i.reg8, R12 * 8);
	assert_int_equal(i.rm8, R15 * 8);
	assert_int_equal(decode(&i, "\xb4\x12", 2, M32), DECODE_OK); /* mov ah, 12h */
	assert_int_equal(i.rm8, 1);
	assert_int_equal(decode(&i, "\x41\xb4\x12", 3, M64), DECODE_OK); /* mov r12b, 12h */
	assert_int_equal(i.rm8, R12 * 8);
	assert_int_equal(decode(&i, "\x41\x50", 2, M64), DECODE_OK); /* push r8 */
	assert_int_equal(i.rm, R8);
	assert_int_equal(i.osz, 8);
}

struct want_ud {
	const char *bytes;
	u8 n, modes; /* bit by mode: is #UD there */
};

static void test_undefined(void **state)
{
	enum { ALL = 15, IN64 = 1, NOT64 = 14, REAL = 8 };
	static const struct want_ud t[] = {
		{ "\x0f\x0b", 2, ALL },
		{ "\x0f\xff\xc0", 3, ALL },
		{ "\x0f\xb9\xc0", 3, ALL },
		{ "\x0f\x04", 2, ALL },
		{ "\x0f\x0a", 2, ALL },
		{ "\x0f\x24", 2, ALL },
		{ "\x0f\x3f", 2, ALL },
		{ "\xf0\x01\xc0", 3, ALL }, /* LOCK on a register */
		{ "\xf0\x89\x03", 3, ALL }, /* LOCK MOV */
		{ "\xf0\x39\x03", 3, ALL }, /* LOCK CMP */
		{ "\xf0\x83\x3b\x01", 4, ALL },
		{ "\xf0\x01\x03", 3, 0 },
		{ "\xf0\x0f\xba\x2b\x01", 5, 0 },
		{ "\xf0\x0f\xba\x23\x01", 5, ALL },
		{ "\xf0\x86\x03", 3, 0 },
		{ "\xf0\x90", 2, ALL },
		{ "\x8d\xc0", 2, ALL }, /* LEA of a register */
		{ "\x06", 1, IN64 },
		{ "\x27", 1, IN64 },
		{ "\x60", 1, IN64 },
		{ "\xce", 1, IN64 },
		{ "\xd6", 1, IN64 },
		{ "\x82\xc0\x01", 3, IN64 },
		{ "\x9a\x00\x00\x00\x00\x00\x00", 7, IN64 },
		{ "\xea\x00\x00\x00\x00\x00\x00", 7, IN64 },
		{ "\xd4\x0a", 2, IN64 },
		{ "\x63\xc0", 2, REAL },     /* ARPL */
		{ "\x0f\x00\xd0", 3, REAL }, /* LLDT */
		{ "\xc5\xf8\x77", 3, REAL }, /* VZEROUPPER; LDS of a register */
		{ "\x66\xc5\xf8\x77", 4, ALL },
		{ "\xf3\xc5\xf8\x77", 4, ALL },
		{ "\xc4\xe0\x78\x77\xc0", 5, ALL }, /* map 0 */
		{ "\x62\xf1\x7c\x40\x77\xc0", 6, ALL },
		{ "\x8f\xc8\x00", 3, ALL }, /* POP /1; XOP on AMD's older ones */
		{ "\xfe\xd0", 2, ALL },
		{ "\xff\xf8", 2, ALL },
		{ "\x0f\xc7\xc8", 3, ALL }, /* CMPXCHG8B of a register */
		{ "\xc6\xf8\x00", 3, ALL }, /* XABORT */
		{ "\x0f\x01\xd6", 3, ALL }, /* XTEST */
		{ "\x0f\x20\xc0", 3, 0 },
		{ "\xf1", 1, 0 },
		{ "\x0f\x0d\x03", 3, 0 },
		{ "\x0f\x18\x23", 3, 0 },
		{ "\x0f\x19\xc0", 3, 0 },
		{ "\x0f\x1c\x03", 3, 0 },
		{ "\x0f\x1d\xc0", 3, 0 },
		{ "\xf3\x0f\x1e\xfa", 4, 0 },
		{ "\xf3\x0f\x1e\xc8", 4, 0 }, /* RDSSP is a NOP without CET */
		{ "\x0f\x1f\x44\x00\x00", 5, 0 },
		{ "\xf7\xc8\x00\x00\x00\x00", 6, 0 },
		{ "\xd0\xf0", 2, 0 },
		{ "\xdf\xc0", 2, 0 }, /* FFREEP */
		{ "\xdc\xd0", 2, 0 }, /* FCOM, alias */
		{ "\xdc\xd8", 2, 0 }, /* FCOMP, alias */
		{ "\xde\xd0", 2, 0 }, /* FCOMP, alias */
		{ "\xdd\xc8", 2, 0 }, /* FXCH, alias */
		{ "\xdf\xc8", 2, 0 }, /* FXCH, alias */
		{ "\xdf\xd0", 2, 0 }, /* FSTP, alias */
		{ "\xdf\xd8", 2, 0 }, /* FSTP, alias */
		{ "\xd9\xd8", 2, 0 }, /* FSTPNCE */
		{ "\xdb\xe0", 2, 0 }, /* FNENI */
		{ "\xdb\xe1", 2, 0 }, /* FNDISI */
		{ "\xdb\xe4", 2, 0 }, /* FNSETPM */
		{ "\xd9\xd1", 2, ALL },
		{ "\xd9\xe2", 2, ALL },
		{ "\xdb\xe5", 2, ALL },
	};

	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(t); k++)
		for (int mode = M64; mode <= MREAL; mode++) {
			struct insn i;
			bool ud, wanted = t[k].modes >> mode & 1;

			if (decode(&i, t[k].bytes, t[k].n, mode) != DECODE_OK)
				continue; /* shorter immediates in some modes */
			ud = i.exec == exec_ud;
			if (ud != wanted || i.exec == exec_unimpl)
				fail_msg("row %u (%02x %02x %02x) mode %d: %s", k, (u8)t[k].bytes[0], (u8)t[k].bytes[1],
					 (u8)t[k].bytes[2], mode,
					 i.exec == exec_unimpl ? "unimpl"
					 : ud		       ? "ud"
							       : "ok");
		}
}

static void test_lengths(void **state)
{
	static const u8 long15[] = { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
				     0x66, 0x66, 0x66, 0x66, 0x66, 0x89, 0xc0 };
	static const u8 long16[] = { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
				     0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x89 };
	struct insn i;

	(void)state;
	assert_int_equal(decode(&i, long15, 15, M64), DECODE_OK);
	assert_int_equal(i.len, 15);
	assert_int_equal(decode(&i, long16, 15, M64), DECODE_TOO_LONG);
	assert_int_equal(decode(&i, long16, 14, M64), DECODE_MORE);
	assert_int_equal(decode(&i, "\x48", 1, M64), DECODE_MORE);
	assert_int_equal(decode(&i, "\x0f", 1, M64), DECODE_MORE);
	assert_int_equal(decode(&i, "\x8b\x04", 2, M64), DECODE_MORE);
	assert_int_equal(decode(&i, "\xe8\x00\x00\x00", 4, M64), DECODE_MORE);
	/* Undefined already: no further byte is asked for. */
	assert_int_equal(decode(&i, "\x0f\x04", 2, M64), DECODE_OK);
	assert_int_equal(decode(&i, "\x9a", 1, M64), DECODE_OK);
	assert_int_equal(decode(&i, "\x06", 1, M64), DECODE_OK);
}

/* VEX and EVEX in 32-bit code: only where LES, LDS and BOUND would name a register. */
static void test_vex_ambiguity(void **state)
{
	struct insn i;

	(void)state;
	assert_int_equal(decode(&i, "\xc5\xf8\x58\xc1", 4, M32), DECODE_OK);
	assert_int_equal(i.len, 4);
	assert_true(i.flags & INSN_VEX);
	assert_int_equal(i.map, MAP_VEX_0F);
	assert_int_equal(decode(&i, "\xc5\x38\x58\xc1", 4, M32), DECODE_OK);
	assert_int_equal(i.len, 2);
	assert_false(i.flags & INSN_VEX);
	assert_int_equal(decode(&i, "\x62\x01\xff\xff", 4, M32), DECODE_OK);
	assert_int_equal(i.len, 2);
	assert_int_equal(decode(&i, "\xc5\xf8\x58\xc1", 4, MREAL), DECODE_OK);
	assert_int_equal(i.len, 2);
	assert_ptr_equal(i.exec, exec_ud);
	/* vaddps zmm0, zmm17, [rax + 64]: disp8 scaled, vvvv with V' */
	assert_int_equal(decode(&i, "\x62\xf1\x74\x40\x58\x40\x01", 7, M64), DECODE_OK);
	assert_int_equal(i.disp, 64);
	assert_int_equal(i.vvvv, 17);
}

static void test_text(void **state)
{
	char buf[96];

	(void)state;
	assert_string_equal(decode_text((const u8 *)"\x48\x01\xd8", 3, CODE64, 0, buf, sizeof(buf)), "add rax, rbx");
	assert_string_equal(decode_text((const u8 *)"\xeb\xfe", 2, CODE64, 0x1000, buf, sizeof(buf)),
			    "jmp 0x0000000000001000");
	assert_non_null(strstr(decode_text((const u8 *)"\x06", 1, CODE64, 0, buf, sizeof(buf)), "bad"));
	assert_string_equal(decode_text((const u8 *)"\x06", 1, CODE64, 0, buf, 3), "(b");
}

/* ---- against Zydis --------------------------------------------------------------------------------------------- */

static u64 rng;

static u64 random64(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* Bytes that look like instructions: some prefixes, an escape now and then, the rest random. */
static void random_bytes(u8 *p)
{
	static const u8 prefixes[] = { 0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x64,
				       0x65, 0x48, 0x41, 0x4f, 0x44, 0x26, 0x3e };
	static const u8 escapes[][2] = { { 0x0f, 0 }, { 0x0f, 0x38 }, { 0x0f, 0x3a },
					 { 0xc5, 0 }, { 0xc4, 0xe2 }, { 0x62, 0xf1 } };
	unsigned n = 0, k = random64() % 4;

	for (unsigned b = 0; b < 15; b += 8) {
		u64 r = random64();

		memcpy(p + b, &r, MIN(8u, 15 - b));
	}
	while (k--)
		p[n++] = prefixes[random64() % sizeof(prefixes)];
	k = random64() % 12;
	if (k < ARRAY_SIZE(escapes)) {
		p[n++] = escapes[k][0];
		if (escapes[k][1])
			p[n++] = escapes[k][1];
	}
}

/* Zydis 4.0.0 takes REX.B for a base where SIB has none, if the address size is 32 bits. */
static bool zydis_base_wrong(const ZydisDecodedInstruction *z)
{
	return z->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 && z->address_width == 32 && z->raw.modrm.mod == 0 &&
	       z->raw.modrm.rm == 4 && z->raw.sib.base == 5;
}

static const char *mem_differs(const struct insn *i, const ZydisDecodedOperand *o)
{
	static const ZydisRegister segs[] = { ZYDIS_REGISTER_ES, ZYDIS_REGISTER_CS, ZYDIS_REGISTER_SS,
					      ZYDIS_REGISTER_DS, ZYDIS_REGISTER_FS, ZYDIS_REGISTER_GS };
	ZydisRegister base = o->mem.base, index = o->mem.index;
	int b = base == ZYDIS_REGISTER_NONE				   ? R_ZERO
		: base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_EIP ? R_RIP
									   : ZydisRegisterGetId(base);
	int x = index == ZYDIS_REGISTER_NONE ? R_ZERO : ZydisRegisterGetId(index);

	if (i->base != b)
		return "base";
	if (o->mem.type != ZYDIS_MEMOP_TYPE_VSIB && i->index != x)
		return "index";
	if (i->index != R_ZERO && 1 << i->scale != o->mem.scale)
		return "scale";
	if (o->mem.type == ZYDIS_MEMOP_TYPE_MEM && segs[i->seg] != o->mem.segment)
		return "segment";
	return (s64)i->disp != o->mem.disp.value ? "displacement" : NULL;
}

static const char *imm_differs(const struct insn *i, const ZydisDecodedInstruction *z)
{
	u64 want = z->raw.imm[0].value.u, mask;
	unsigned size = z->raw.imm[0].size;

	if (!size || z->raw.imm[1].size || i->exec == exec_ud || i->exec == exec_unimpl || (i->flags & INSN_VEX))
		return NULL;
	mask = size == 64 ? ~0ull : BIT(size) - 1;
	return (i->imm & mask) != (want & mask) ? "immediate" : NULL;
}

static const char *differs(const struct insn *i, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	if (i->len != z->length)
		return "length";
	if (i->asz * 8 != z->address_width)
		return "address size";
	for (unsigned k = 0; k < z->operand_count_visible; k++) {
		const char *what = NULL;

		if (o[k].type == ZYDIS_OPERAND_TYPE_MEMORY && o[k].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
			what = mem_differs(i, &o[k]);
		if (what)
			return what;
	}
	return i->map <= MAP_0F3A && i->map != MAP_1 ? NULL : imm_differs(i, z);
}

static void fail_bytes(const char *what, const u8 *p, int mode, const struct insn *i, unsigned zlen)
{
	char hex[64] = "";

	for (unsigned k = 0; k < 15; k++)
		snprintf(hex + 3 * k, sizeof(hex) - 3 * k, "%02x ", p[k]);
	fail_msg("%s differs, mode %d: %s(len %u, Zydis %u)", what, mode, hex, i->len, zlen);
}

static bool of_other_cpus(const ZydisDecodedInstruction *z)
{
	return z->encoding == ZYDIS_INSTRUCTION_ENCODING_XOP || z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
	       z->meta.isa_ext == ZYDIS_ISA_EXT_TBM || z->meta.isa_ext == ZYDIS_ISA_EXT_AMD3DNOW ||
	       z->meta.isa_ext == ZYDIS_ISA_EXT_PADLOCK || z->meta.isa_ext == ZYDIS_ISA_EXT_MPX;
}

static void test_random_against_zydis(void **state)
{
	static const ZydisMachineMode machine[] = { ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_MACHINE_MODE_LEGACY_32,
						    ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_REAL_16 };
	static const ZydisStackWidth width[] = { ZYDIS_STACK_WIDTH_64, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_16,
						 ZYDIS_STACK_WIDTH_16 };
	const char *seed = getenv("SEED");
	unsigned valid = 0;

	(void)state;
	rng = seed ? strtoull(seed, NULL, 0) : 0x9e3779b97f4a7c15ull;
	for (unsigned n = 0; n < 400000; n++) {
		ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
		ZydisDecodedInstruction z;
		ZydisDecoder d;
		struct insn i;
		u8 p[15];
		int mode = n & 3;
		const char *what;

		random_bytes(p);
		ZydisDecoderInit(&d, machine[mode], width[mode]);
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, p, 15, &z, o)))
			continue;
		if (of_other_cpus(&z))
			continue; /* here they are other undefined encodings */
		if ((z.attributes & ZYDIS_ATTRIB_HAS_NOTRACK) || zydis_base_wrong(&z))
			continue; /* of CET; without it, 3E is a segment override */
		valid++;
		if (decode(&i, p, 15, mode) != DECODE_OK)
			fail_bytes("result", p, mode, &i, z.length);
		if (mode == MREAL && z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
			continue;
		if (i.exec == exec_ud && z.raw.imm[0].size)
			continue; /* refused before the immediate */
		what = differs(&i, &z, o);
		if (what)
			fail_bytes(what, p, mode, &i, z.length);
	}
	assert_true(valid > 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_operands),
		cmocka_unit_test(test_sizes_and_immediates),
		cmocka_unit_test(test_byte_registers),
		cmocka_unit_test(test_amd_branches),
		cmocka_unit_test(test_undefined),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_vex_ambiguity),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_random_against_zydis),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
