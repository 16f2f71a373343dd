// SPDX-License-Identifier: Apache-2.0
/* Hints, fences and cache lines. Caches are coherent and not modelled: what remains is the check of the address. */
#include "cpu/cpuid.h"
#include "cpu/int.h"

int x86_nop(struct cpu *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return OUT_DONE;
}

/* 0F 0D with a register operand: reserved NOP at Intel, #UD at AMD (APM 3, PREFETCH). */
int x86_prefetch_reg(struct cpu *c, const struct insn *i)
{
	(void)i;
	return cpu_is_amd(c) ? cpu_ud(c) : OUT_DONE;
}

int x86_lfence(struct cpu *c, const struct insn *i)
{
	(void)i;
	return cpu_has(c, FEAT_SSE2) ? OUT_DONE : cpu_ud(c);
}

int x86_mfence(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (!cpu_has(c, FEAT_SSE2))
		return cpu_ud(c);
	asm volatile("mfence" : : : "memory");
	return OUT_DONE;
}

int x86_sfence(struct cpu *c, const struct insn *i)
{
	(void)i;
	return cpu_has(c, FEAT_SSE) ? OUT_DONE : cpu_ud(c);
}

/* Checked like a load of one byte (SDM 2A, CLFLUSH); in an execute-only code segment it is allowed. */
static int flush_line(struct cpu *c, const struct insn *i, bool offered)
{
	u64 lin;
	u8 v;
	int out;

	if (!offered)
		return cpu_ud(c);
	out = insn_linear(c, i, 1, ACC_R, &lin);
	return out ? out : cpu_ld8(c, lin, &v, insn_acc(i, ACC_NOALIGN));
}

int x86_clflush(struct cpu *c, const struct insn *i)
{
	return flush_line(c, i, cpu_has(c, FEAT_CLFSH));
}

int x86_clflushopt(struct cpu *c, const struct insn *i)
{
	return flush_line(c, i, cpu_has(c, FEAT_CLFLUSHOPT));
}

int x86_clwb(struct cpu *c, const struct insn *i)
{
	return flush_line(c, i, cpu_has(c, FEAT_CLWB));
}

/* APM 3, CLZERO: the aligned 64 bytes around seg:rAX become zero. */
int x86_clzero(struct cpu *c, const struct insn *i)
{
	static const u8 zero[64];
	u64 lin;
	int out;

	if (!cpu_has(c, FEAT_CLZERO))
		return cpu_ud(c);
	out = seg_linear(c, i->seg, c->r[RAX] & i->amask & ~63ull, 64, insn_acc(i, ACC_W), &lin);
	return out ? out : cpu_st(c, lin & ~63ull, zero, 64, insn_acc(i, ACC_NOALIGN));
}
