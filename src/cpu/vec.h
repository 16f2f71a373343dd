/* SPDX-License-Identifier: Apache-2.0
 * Data instructions: what the files of this family share. See vector.c for the idea.
 */
#ifndef CPU_VEC_H
#define CPU_VEC_H

#include "cpu/decode.h"
#include "cpu/insn.h"

#define MXCSR_FLAGS 0x3fu
#define MXCSR_MASKS 0x1f80u
#define MXCSR_MM BIT(17) /* AMD: misaligned operands allowed */

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_K BIT(5)
#define XCR0_ZMM_HI BIT(6)
#define XCR0_HI16 BIT(7)
#define XCR0_AVX512 (XCR0_SSE | XCR0_AVX | XCR0_K | XCR0_ZMM_HI | XCR0_HI16)

/* An encoding taken apart; register numbers are whole (REX, VEX, EVEX bits applied). */
enum vec_encoding { ENC_LEGACY, ENC_VEX, ENC_EVEX };

struct vparse {
	u8 enc, map, pp, opcode, modrm; /* map: 1, 2, 3, and 0 for one-byte opcodes; pp: PFX_* */
	u8 w, ll, b, z, aaa;
	u8 reg, rm, vvvv, is4, vindex;
	u8 nimm, imm[4];
	bool mem, disp8;
	s32 disp;
};

/* False when the bytes are no instruction with a ModRM in one of the maps that this family serves. */
bool vec_parse(const struct insn *i, enum cpu_code code, struct vparse *p);

/* ---- stubs ---------------------------------------------------------------------------------------------------- */

/* A stub loads the operands from where its arguments point, executes the instruction, and stores the results; 0, or
 * MXCSR as the host left it when the instruction raised an unmasked SIMD exception: then nothing was stored. aux is the
 * mask register of an EVEX form or the register named by an is4 immediate. */
typedef u32 vec_stub(struct cpu *c, void *mem, void *reg, void *rm, void *vvvv, void *aux);
#define STUB_ILLEGAL BIT(31) /* returned when the host does not know the instruction after all: #UD */
/* The same for x87: image is a 512-byte FXSAVE area, loaded before and stored after. */
typedef u32 x87_stub(void *image, void *mem, u16 *aflags);

enum vec_gate { GATE_NONE, GATE_X87, GATE_MMX, GATE_SSE, GATE_AVX, GATE_AVX512 };

/* How an EVEX mask (or the mask operand of VMASKMOV) selects bytes of the memory operand. */
enum vec_masking {
	VM_PLAIN,  /* it does not: the whole operand is accessed */
	VM_ELEMS,  /* bit n: the n-th element */
	VM_BCAST,  /* the one element, if any bit is set */
	VM_TUPLE,  /* element n modulo the operand's count */
	VM_PACKED, /* as many elements as bits are set (expand, compress) */
	VM_QWORDS, /* byte n selects the quadword that it lies in (GF2P8AFFINEQB and kin) */
};

/* Everything that executing needs to know and that does not depend on register numbers or addresses. */
struct vop {
	union {
		vec_stub *run;
		x87_stub *run_x87;
	};
	exec_fn *exec;
	u8 gate;
	u8 mem_size, align;
	bool mem_read, mem_written, align_explicit, unaligned_on_amd;
	bool mxcsr, mmx, mask_vvvv;
	bool probe; /* masked store without fault suppression: all of the operand must be writable */
	u8 reg_kind, rm_kind, vvvv_kind, aux_kind; /* OPK_*, OPK_NONE where the encoding names no register */
	u8 mmx_written;				   /* OPE_REG or OPE_RM: which MMX register is written; 0 for none */
	u8 masking, mem_elem, n_elem, vlen;
	u8 index_size; /* bytes of an index, gathers and scatters */
	/* For translators: general registers that are written, named by the encoding (OPE_REG, OPE_RM) or implied. */
	bool writes_flags, gpr_reg_written, gpr_rm_written, gpr_implied;
	bool proven; /* the host has executed it */
	u16 feature[4];
	u32 hash;
	struct vop *next;
	u8 key_len, key[26];
};

/* vec_code.c: executable memory and the cache of stubs, one a process. */
const struct vop *vec_cache_find(const u8 *key, unsigned len);
/* Copies v and its code in; NULL when the bounded memory is used up. */
const struct vop *vec_cache_add(const struct vop *v, const u8 *code, unsigned len);
/* Runs with the code at a scratch place, serialised among all threads: for when the cache is full. */
int vec_scratch_exec(struct cpu *c, const struct insn *i, struct vop *v, const u8 *code, unsigned len);

void vec_expect_fault(void); /* make sure that an unmasked SIMD exception will come to us */

/* vec_emit.c: makes v and its code; the number of code bytes, or 0 when p is nothing this family executes. */
#define VEC_CODE_MAX 256
unsigned vec_emit(const struct vparse *p, const struct insn *i, enum cpu_code code, struct vop *v, u8 *out);
unsigned x87_emit(u8 opcode, u8 modrm, bool flags_in, bool flags_out, u8 *out);

/* ---- checks ----------------------------------------------------------------------------------------------------- */

int vec_gate_slow(struct cpu *c, unsigned gate); /* #UD, #NM, #MF */
int x87_pending(struct cpu *c);			 /* before a waiting x87 or MMX instruction: #MF, FERR#, or OUT_DONE */

static inline int vec_gate(struct cpu *c, unsigned gate)
{
	if (gate == GATE_SSE && likely(!(c->cr0 & (CR0_EM | CR0_TS)) && (c->cr4 & CR4_OSFXSR)))
		return OUT_DONE;
	return vec_gate_slow(c, gate);
}

bool vec_has(const struct cpu *c, const u16 *feature);
u32 vec_mxcsr_mask(const struct cpu *c); /* MXCSR's writable bits, as FXSAVE stores them */
/* The outcome of a segment check on an operand that must be aligned to align bytes (0: need not): out, or #GP(0), since
 * silicon looks at the alignment before the stack segment's limit. */
int vec_aligned_first(struct cpu *c, const struct insn *i, unsigned align, int out);
int vec_load(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc);
int vec_store(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc);
int vec_simd_fault(struct cpu *c, u32 mxcsr); /* sets the sticky bits; #XM or #UD */

/* ---- MMX over the x87 registers --------------------------------------------------------------------------------- */

static inline unsigned x87_top(const struct x87 *f)
{
	return f->fsw >> 11 & 7;
}

static inline void *mmx_reg(struct cpu *c, unsigned n)
{
	return c->x87.st[(n - x87_top(&c->x87)) & 7];
}

void mmx_commit(struct cpu *c);	   /* TOP = 0, all tags valid */
void x87_update_es(struct x87 *f); /* FSW.ES and B follow the flags and FCW's masks */
void x87_init(struct x87 *f);
void x87_set_top(struct x87 *f, unsigned top);
void x87_ferr(struct cpu *c); /* tells the chipset what FERR# is now, where NE = 0 */

/* ---- the binders and special executors ----------------------------------------------------------------------------
 */

bool x87_bind(struct insn *i);
bool vec_state_bind(struct insn *i, const struct vparse *p); /* xsave.c: FXSAVE and kin, LDMXCSR, EMMS, VZERO* */
exec_fn *vec_fast_find(const struct vparse *p);
/* What a translator needs to run i itself as the very instruction: its parts, and what surrounds it. NULL if i is not
 * run by a stub, or this host has not shown yet that it knows it. x87 instructions that compute have no parts. */
const struct vop *vec_describe(const struct insn *i, enum cpu_code code, struct vparse *p);
int vec_masked(struct cpu *c, const struct insn *i, const struct vop *v);
exec_fn exec_vec_reg, exec_vec_mem, exec_x87_reg, exec_x87_mem;
exec_fn exec_gather_vex, exec_gather_evex, exec_scatter, exec_maskmov;
int vec_run(struct cpu *c, const struct insn *i, const struct vop *v, void *mem);

#endif
