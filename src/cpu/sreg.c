/* SPDX-License-Identifier: Apache-2.0
 * Instructions that read and load segment registers: MOV, PUSH, POP, LDS and kin. MOV SS and POP SS open the shadow in
 * which no interrupt, NMI or debug trap is taken (SDM 3A 6.8.3).
 */
#include "cpu/cpuid.h"
#include "cpu/event.h"
#include "cpu/segment.h"
#include "cpu/stack.h"

static unsigned modrm_seg(const struct insn *i)
{
	return i->modrm >> 3 & 7; /* REX.R does not reach segment registers */
}

/* PUSH and POP name the register in the opcode: 06 0E 16 1E, 0F A0, 0F A8 and their odd neighbours. */
static unsigned opcode_seg(const struct insn *i)
{
	if (i->map == 0)
		return i->opcode >> 3 & 3;
	return i->opcode < 0xa8 ? SEG_FS : SEG_GS;
}

/* Loads seg; leaves the block when decoding may now differ, or when SS opens its shadow (shadow true). */
static int load_and_end(struct cpu *c, unsigned seg, u16 sel, bool shadow)
{
	u32 key = c->d.block_key;
	int out = seg_load(c, seg, sel);

	if (out)
		return out;
	if (seg != SEG_SS)
		return c->d.block_key == key ? OUT_DONE : OUT_END;
	if (shadow) {
		c->int_shadow = 2;
		cpu_post(c, ATT_EVENTS);
	}
	return OUT_END;
}

int exec_mov_from_sreg(struct cpu *c, const struct insn *i)
{
	unsigned seg = modrm_seg(i);
	u64 lin;
	int out;

	if (seg > SEG_GS)
		return cpu_ud(c);
	if (!(i->flags & INSN_MEM)) {
		gpr_write(c, i->rm, i->osz, c->seg[seg].sel);
		return OUT_DONE;
	}
	out = insn_linear(c, i, 2, ACC_W, &lin);
	return out ? out : cpu_st16(c, lin, c->seg[seg].sel, insn_acc(i, ACC_W));
}

int exec_mov_to_sreg(struct cpu *c, const struct insn *i)
{
	unsigned seg = modrm_seg(i);
	u16 sel = (u16)c->r[i->rm & 15];
	u64 lin;

	if (seg > SEG_GS || seg == SEG_CS)
		return cpu_ud(c);
	if (i->flags & INSN_MEM) {
		int out = insn_linear(c, i, 2, ACC_R, &lin);

		if (!out)
			out = cpu_ld16(c, lin, &sel, insn_acc(i, ACC_R));
		if (out)
			return out;
	}
	return load_and_end(c, seg, sel, true);
}

/* Intel writes only the selector's 16 bits of a 32-bit slot; AMD extends with zeroes (SDM 2 PUSH; APM 3 PUSH). */
int exec_push_sreg(struct cpu *c, const struct insn *i)
{
	u64 sp = stack_ptr(c), off = (sp - i->osz) & c->d.sp_mask, lin;
	u16 sel = c->seg[opcode_seg(i)].sel;
	int out;

	if (i->osz != 4 || cpu_is_amd(c)) {
		out = stack_push(c, &sp, sel, i->osz);
	} else {
		out = seg_linear(c, SEG_SS, off, 2, ACC_W | ACC_SS, &lin);
		if (!out)
			out = cpu_st16(c, lin, sel, ACC_SS);
		sp = off;
	}
	if (!out)
		stack_commit(c, sp);
	return out;
}

/* The stack pointer moves by the old SS's rules, so before SS changes. */
int exec_pop_sreg(struct cpu *c, const struct insn *i)
{
	u64 old = c->r[RSP], off = old & c->d.sp_mask, lin;
	u16 sel = 0;
	int out = seg_linear(c, SEG_SS, off, 2, ACC_R | ACC_SS, &lin);

	if (!out)
		out = cpu_ld16(c, lin, &sel, ACC_SS);
	if (out)
		return out;
	stack_commit(c, off + i->osz);
	out = load_and_end(c, opcode_seg(i), sel, true);
	if (out == OUT_FAULT)
		c->r[RSP] = old;
	return out;
}

static unsigned far_pointer_seg(const struct insn *i)
{
	switch (i->opcode) {
	case 0xc4:
		return SEG_ES;
	case 0xc5:
		return SEG_DS;
	case 0xb2:
		return SEG_SS;
	case 0xb4:
		return SEG_FS;
	}
	return SEG_GS;
}

/* LES, LDS, LSS, LFS, LGS. On AMD a 64-bit operand size loads 32 bits (APM 3). No interrupt shadow with LSS. */
int exec_load_far_ptr(struct cpu *c, const struct insn *i)
{
	unsigned size = i->osz == 8 && cpu_is_amd(c) ? 4 : i->osz;
	u64 lin, off = 0;
	u8 raw[10];
	int out = insn_linear(c, i, size + 2, ACC_R, &lin);

	if (!out)
		out = cpu_ld(c, lin, raw, size + 2, insn_acc(i, ACC_R));
	if (out)
		return out;
	memcpy(&off, raw, size);
	out = load_and_end(c, far_pointer_seg(i), (u16)(raw[size] | raw[size + 1] << 8), false);
	if (out != OUT_FAULT)
		gpr_write(c, i->reg, size, off);
	return out;
}
