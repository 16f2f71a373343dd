// SPDX-License-Identifier: Apache-2.0
/* BT BTS BTR BTC, BSF BSR, TZCNT LZCNT POPCNT, CRC32. */
#include "cpu/cpuid.h"
#include "cpu/int.h"

#define W 8 /* for CRC32's sources */
#include "cpu/int_width.inc.h"
#include "cpu/int_width_end.inc.h"
#define W 16
#include "cpu/int_bits.inc.h"
#define W 32
#include "cpu/int_bits.inc.h"
#define W 64
#include "cpu/int_bits.inc.h"

/* The destination is 64 bits wide with REX.W, else 32; either way the upper half becomes zero. */
#define CRC32_OP(bits, mod)                                                                                         \
	static int crc32_##bits(struct cpu *c, const struct insn *i, u##bits v)                                     \
	{                                                                                                           \
		u64 crc = c->r[i->reg];                                                                             \
		asm("crc32 %[v], %" mod "[crc]" : [crc] "+r"(crc) : [v] "r"(v));                                    \
		c->r[i->reg] = (u32)crc;                                                                            \
		return OUT_DONE;                                                                                    \
	}                                                                                                           \
	int x86_crc32_m_##bits(struct cpu *c, const struct insn *i)                                                 \
	{                                                                                                           \
		u##bits v;                                                                                          \
		int out;                                                                                            \
		if (!cpu_has(c, FEAT_SSE42))                                                                        \
			return cpu_ud(c);                                                                           \
		out = load_##bits(c, i, &v);                                                                        \
		return out ? out : crc32_##bits(c, i, v);                                                           \
	}                                                                                                           \
	int x86_crc32_r_##bits(struct cpu *c, const struct insn *i)                                                 \
	{                                                                                                           \
		return !cpu_has(c, FEAT_SSE42) ? cpu_ud(c) : crc32_##bits(c, i, get_##bits(c, CRC32_RM_##bits(i))); \
	}
#define CRC32_RM_8(i) ((i)->rm8)
#define CRC32_RM_16(i) ((i)->rm)
#define CRC32_RM_32(i) ((i)->rm)
#define CRC32_RM_64(i) ((i)->rm)
CRC32_OP(8, "k")
CRC32_OP(16, "k")
CRC32_OP(32, "k")
CRC32_OP(64, "q")
