/* SPDX-License-Identifier: Apache-2.0
 * Vector and x87 state in host registers while translated code runs.
 *
 * Invariants
 *  1. cpu->host_live says which of the guest's vector state stands in the host's registers now; what it does not name
 *     stands in struct cpu. It is 0 whenever C code of doppel runs: the call of the library and the way out save first.
 *  2. A bit is set only if the mode lets an instruction that needs it run without #UD, #NM or #MF, and, for what
 * computes with MXCSR or x87's control word, with all exceptions masked. Whatever can change that (CR0, CR4, XCR0,
 * MXCSR, FCW) is an instruction of the library, hence clears host_live.
 *  3. With LIVE_FULL registers are there in the host's full width; without it only the XMM halves, which legacy SSE
 *     instructions cannot tell.
 *
 * A block looks at host_live before its first instruction that needs more of it than is known to be there. What is
 * missing is loaded out of line; what may not be loaded has the library do the instruction, and the block is left
 * behind it.
 */
#include "cpu/vec.h"
#include "cpu/x87.h"
#include "engine/translate/gen.h"

#define VECTOR (LIVE_SSE | LIVE_AVX | LIVE_512 | LIVE_FP)

static u32 may_be_live(const struct cpu *c)
{
	const u64 avx512 = XCR0_AVX512, avx = XCR0_SSE | XCR0_AVX;
	u32 may = 0;

	if (c->cr0 & CR0_TS)
		return 0;
	if (!(c->cr0 & CR0_EM) && (c->cr4 & CR4_OSFXSR))
		may |= LIVE_SSE;
	if ((c->cr4 & CR4_OSXSAVE) && (c->xcr0 & avx) == avx)
		may |= LIVE_AVX;
	if ((c->cr4 & CR4_OSXSAVE) && (c->xcr0 & avx512) == avx512)
		may |= LIVE_512;
	if ((c->mxcsr & MXCSR_MASKS) == MXCSR_MASKS)
		may |= LIVE_FP;
	if (!(c->cr0 & CR0_EM) && (c->x87.fcw & X87_FLAGS) == X87_FLAGS && !(c->x87.fsw & X87_ES))
		may |= LIVE_X87;
	return may;
}

/* ---- x87: FXSAVE's image, of which XMM registers and pointers are not used -------------------------------------- */

struct image {
	_Alignas(16) u8 b[512];
};

static void x87_to_host(const struct cpu *c)
{
	static const u32 mxcsr = 0x1f80;
	struct image m;

	memset(m.b, 0, 32);
	memcpy(m.b, &c->x87.fcw, 2);
	memcpy(m.b + 2, &c->x87.fsw, 2);
	m.b[4] = c->x87.ftw;
	memcpy(m.b + 24, &mxcsr, 4);
	memcpy(m.b + 32, c->x87.st, sizeof(c->x87.st));
	__asm__ volatile("fxrstor64 %0" ::"m"(m)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
			   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* Called from translated code, after the vector registers were saved. */
static void x87_from_host(struct cpu *c)
{
	struct image m;

	__asm__ volatile("fxsave64 %0\n\tfninit" : "=m"(m));
	memcpy(&c->x87.fcw, m.b, 2);
	memcpy(&c->x87.fsw, m.b + 2, 2);
	c->x87.ftw = m.b[4];
	memcpy(c->x87.st, m.b + 32, sizeof(c->x87.st));
}

/* What becomes live so that `need` is; 0 if it may not. all: what was live so far, too. x87 is loaded here; vector
 * registers by the caller, afterwards. */
static u64 grant(struct cpu *c, u32 need, u32 all)
{
	u32 may = may_be_live(c), live = all & may;

	if (need & ~(may | LIVE_FULL))
		return 0;
	if (live & VECTOR)
		live |= may & (LIVE_SSE | LIVE_FP);
	if (live & (LIVE_AVX | LIVE_512))
		live |= LIVE_FULL | (may & (LIVE_AVX | LIVE_512));
	if (live & LIVE_X87)
		x87_to_host(c);
	return live;
}

/* ---- moves of whole registers -------------------------------------------------------------------------------------
 */

/* [gs:disp] as the memory operand of register n */
static void put_gs(struct emit *e, unsigned n, size_t disp)
{
	emit8(e, (n & 7) << 3 | 4);
	emit8(e, 0x25);
	emit_bytes(e, disp, 4);
}

static void move_xmm(struct emit *e, unsigned n, bool load)
{
	emit8(e, 0x65);
	if (n & 8)
		emit8(e, 0x44);
	emit8(e, 0x0f);
	emit8(e, load ? 0x28 : 0x29); /* movaps */
	put_gs(e, n, offsetof(struct cpu, zmm) + 64 * n);
}

static void move_ymm(struct emit *e, unsigned n, bool load)
{
	emit8(e, 0x65);
	emit8(e, 0xc5);
	emit8(e, n & 8 ? 0x7d : 0xfd);
	emit8(e, load ? 0x6f : 0x7f); /* vmovdqa */
	put_gs(e, n, offsetof(struct cpu, zmm) + 64 * n);
}

static void move_zmm(struct emit *e, unsigned n, bool load)
{
	emit8(e, 0x65);
	emit8(e, 0x62);
	emit8(e, 0x61 | (n & 8 ? 0 : 0x80) | (n & 16 ? 0 : 0x10));
	emit8(e, 0xfd);
	emit8(e, 0x48);
	emit8(e, load ? 0x6f : 0x7f); /* vmovdqa64 */
	put_gs(e, n, offsetof(struct cpu, zmm) + 64 * n);
}

static void move_k(struct emit *e, unsigned n, bool load)
{
	emit8(e, 0x65);
	emit8(e, 0xc4);
	emit8(e, 0xe1);
	emit8(e, __builtin_cpu_supports("avx512bw") ? 0xf8 : 0x78); /* kmovq, kmovw */
	emit8(e, load ? 0x90 : 0x91);
	put_gs(e, n, offsetof(struct cpu, k) + 8 * n);
}

static void move_full(struct emit *e, bool load)
{
	bool zmm = __builtin_cpu_supports("avx512f");

	for (unsigned n = 0; n < (zmm ? 32 : 16); n++)
		(zmm ? move_zmm : move_ymm)(e, n, load);
	for (unsigned n = 0; zmm && n < 8; n++)
		move_k(e, n, load);
}

/* Jumps if host_live, which is in register r, has none of the bits. */
static u8 *unless(struct emit *e, unsigned r, unsigned b)
{
	emit_rm(e, 4, 0xf7, 0, reg(r));
	emit_bytes(e, b, 4);
	return emit_forward(e, CC_E);
}

static void move_all(struct emit *e, unsigned r, bool load)
{
	u8 *narrow = unless(e, r, LIVE_FULL), *done = NULL, *none;

	if (__builtin_cpu_supports("avx"))
		move_full(e, load);
	if (!load && __builtin_cpu_supports("avx")) {
		emit8(e, 0xc5); /* vzeroupper */
		emit8(e, 0xf8);
		emit8(e, 0x77);
	}
	done = emit_forward(e, CC_ALWAYS);
	emit_patch(narrow, e->p);
	none = unless(e, r, LIVE_SSE);
	for (unsigned n = 0; n < 16; n++)
		move_xmm(e, n, load);
	emit_patch(none, e->p);
	emit_patch(done, e->p);
}

/* ---- parts of code that all blocks share ---------------------------------------------------------------------------
 */

static void call_c(struct emit *e, const void *fn)
{
	emit_mov_imm(e, H_RAX, (u64)(uintptr_t)fn);
	emit_alu_imm(e, 8, ALU_SUB, reg(H_RSP), 8);
	emit_rm(e, 4, 0xff, 2, reg(H_RAX)); /* call rax */
	emit_alu_imm(e, 8, ALU_ADD, reg(H_RSP), 8);
}

static void ret(struct emit *e)
{
	emit8(e, 0xc3);
}

static void call(struct emit *e, const u8 *to)
{
	emit8(e, 0xe8);
	e->p += 4;
	emit_patch(e->p - 4, to);
}

/* Called with the guest's general registers stored; keeps those that C keeps. Everything live goes to struct cpu, and
 * the host's MXCSR and x87 are C's again. */
static void make_save(struct translate *t, struct emit *e)
{
	u8 *skip;

	t->live_save = e->p;
	emit_rm(e, 4, 0x8b, H_RDX, CPU(host_live));
	skip = unless(e, H_RDX, LIVE_FP);
	emit_rm(e, 4, 0x0fae, 3, CPU(mxcsr)); /* stmxcsr */
	emit_rm(e, 4, 0xc7, 0, CPU(host_live));
	emit_bytes(e, 0x1f80, 4);
	emit_rm(e, 4, 0x0fae, 2, CPU(host_live)); /* ldmxcsr */
	emit_patch(skip, e->p);
	move_all(e, H_RDX, false);
	emit_rm(e, 4, 0xc7, 0, CPU(host_live));
	emit_bytes(e, 0, 4);
	skip = unless(e, H_RDX, LIVE_X87);
	emit_mov_imm(e, H_RDI, (u64)(uintptr_t)t->in.cpu);
	call_c(e, (const void *)x87_from_host);
	emit_patch(skip, e->p);
	ret(e);
}

/* EAX: what has to be live. Answers 0, or 1 when it may not be. Keeps the guest's registers; clobbers R14, R15, flags.
 */
static void make_load(struct translate *t, struct emit *e)
{
	u8 *none, *skip;

	t->live_load = e->p;
	emit_rm(e, 4, 0x8b, H_R14, reg(H_RAX));
	emit_rm(e, 4, 0x8b, H_R15, CPU(host_live));
	thunks_guest_registers(e, false);
	emit_alu_imm(e, 8, ALU_SUB, reg(H_RSP), 8);
	thunks_unlive(t, e);
	emit_alu_imm(e, 8, ALU_ADD, reg(H_RSP), 8);
	emit_mov_imm(e, H_RDI, (u64)(uintptr_t)t->in.cpu);
	emit_rm(e, 4, 0x8b, H_RSI, reg(H_R14));
	emit_rm(e, 4, 0x8b, H_RDX, reg(H_R14));
	emit_rm(e, 4, 0x0b, H_RDX, reg(H_R15));
	call_c(e, (const void *)grant);
	emit_rm(e, 4, 0x8b, H_R14, reg(H_RAX));
	thunks_guest_registers(e, true);
	emit_rm(e, 4, 0x85, H_R14, reg(H_R14));
	none = emit_forward(e, CC_E);
	emit_rm(e, 4, 0x89, H_R14, CPU(host_live));
	skip = unless(e, H_R14, LIVE_FP);
	emit_rm(e, 4, 0x0fae, 2, CPU(mxcsr)); /* ldmxcsr */
	emit_patch(skip, e->p);
	move_all(e, H_R14, true);
	emit_rm(e, 4, 0x31, H_RAX, reg(H_RAX));
	ret(e);
	emit_patch(none, e->p);
	emit_mov_imm(e, H_RAX, 1);
	ret(e);
}

void live_make(struct translate *t, struct emit *e)
{
	__builtin_cpu_init();
	make_save(t, e);
	make_load(t, e);
}

void thunks_unlive(struct translate *t, struct emit *e)
{
	u8 *none;

	emit_alu_imm(e, 4, ALU_CMP, CPU(host_live), 0);
	none = emit_forward(e, CC_E);
	call(e, t->live_save);
	emit_patch(none, e->p);
}

/* ---- in a block ----------------------------------------------------------------------------------------------------
 */

void gen_live(struct gen *g, unsigned need)
{
	struct emit *e = &g->e;
	struct cold *c;

	if (!(need & ~g->live))
		return;
	gen_flags_save(g);
	emit_rm(e, 4, 0x8b, H_RAX, CPU(host_live));
	emit_rm(e, 4, 0xf7, 2, reg(H_RAX)); /* not eax */
	emit8(e, 0xa9);			    /* test eax, need */
	emit_bytes(e, need, 4);
	gen_cold_if(g, CC_NE);
	c = &g->cold[g->n_cold - 1];
	c->load = (u8)need;
	c->back = e->p;
	g->flags = FLAGS_MEM;
	g->e.r14++;
	g->live |= need;
}

void gen_live_load(struct gen *g, unsigned need)
{
	emit_mov_imm(&g->e, H_RAX, need);
	call(&g->e, g->t->live_load);
	emit_rm(&g->e, 4, 0x85, H_RAX, reg(H_RAX));
}
