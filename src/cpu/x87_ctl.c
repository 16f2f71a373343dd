/* SPDX-License-Identifier: Apache-2.0
 * x87 control instructions: environment and state in their four formats, control and status words, FWAIT. They leave
 * the instruction and data pointers alone. SDM 1, 8.1.10 and figures 8-9 to 8-12.
 */
#include "cpu/x87.h"

#include "cpu/cpuid.h"

static int ctl_checks(struct cpu *c, bool waits)
{
	if (!cpu_has(c, FEAT_FPU))
		return cpu_ud(c);
	if (c->cr0 & (CR0_EM | CR0_TS))
		return cpu_raise(c, EXC_NM);
	return waits ? x87_pending(c) : OUT_DONE;
}

/* ---- words ------------------------------------------------------------------------------------------------------ */

static int exec_fwait(struct cpu *c, const struct insn *i)
{
	(void)i;
	if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		return cpu_raise(c, EXC_NM);
	return x87_pending(c);
}

static int exec_fninit(struct cpu *c, const struct insn *i)
{
	int out = ctl_checks(c, false);

	(void)i;
	if (out)
		return out;
	x87_init(&c->x87);
	x87_ferr(c);
	return OUT_DONE;
}

static int exec_fnclex(struct cpu *c, const struct insn *i)
{
	int out = ctl_checks(c, false);

	(void)i;
	if (out)
		return out;
	c->x87.fsw &= (u16) ~(X87_FLAGS | X87_SF | X87_ES | X87_B);
	x87_ferr(c);
	return OUT_DONE;
}

/* FENI, FDISI, FSETPM: no operation since the 387 (SDM 3A 22.18.8). */
static int exec_x87_nop(struct cpu *c, const struct insn *i)
{
	(void)i;
	return ctl_checks(c, false);
}

static int exec_fldcw(struct cpu *c, const struct insn *i)
{
	u64 lin;
	u16 v = 0;
	int out = ctl_checks(c, true);

	if (!out)
		out = insn_linear(c, i, 2, ACC_R, &lin);
	if (!out)
		out = cpu_ld16(c, lin, &v, insn_acc(i, 0));
	if (out)
		return out;
	c->x87.fcw = x87_fcw(v);
	x87_update_es(&c->x87);
	x87_ferr(c);
	return OUT_DONE;
}

static int store_word(struct cpu *c, const struct insn *i, u16 v)
{
	u64 lin;
	int out = insn_linear(c, i, 2, ACC_W, &lin);

	return out ? out : cpu_st16(c, lin, v, insn_acc(i, 0));
}

static int exec_fnstcw(struct cpu *c, const struct insn *i)
{
	int out = ctl_checks(c, false);

	return out ? out : store_word(c, i, c->x87.fcw);
}

static int exec_fnstsw(struct cpu *c, const struct insn *i)
{
	int out = ctl_checks(c, false);

	return out ? out : store_word(c, i, c->x87.fsw);
}

static int exec_fnstsw_ax(struct cpu *c, const struct insn *i)
{
	int out = ctl_checks(c, false);

	(void)i;
	if (!out)
		c->r[RAX] = (c->r[RAX] & ~0xffffull) | c->x87.fsw;
	return out;
}

/* ---- environment ----------------------------------------------------------------------------------------------------
 */

/* The two bits of the full tag word (SDM 1, 8.1.7). */
static unsigned tag_of(const u8 *st)
{
	u64 m;
	u16 e;

	memcpy(&m, st, 8);
	memcpy(&e, st + 8, 2);
	e &= 0x7fff;
	if (!e && !m)
		return 1;
	return !e || e == 0x7fff || !(m >> 63) ? 2 : 0;
}

static u16 full_tags(const struct x87 *f)
{
	unsigned top = x87_top(f);
	u16 t = 0;

	for (unsigned phys = 0; phys < 8; phys++)
		t |= (u16)((f->ftw >> phys & 1 ? tag_of(f->st[(phys - top) & 7]) : 3) << 2 * phys);
	return t;
}

static u8 abridged_tags(u16 t)
{
	u8 a = 0;

	for (unsigned phys = 0; phys < 8; phys++)
		a |= (u8)(((t >> 2 * phys & 3) != 3) << phys);
	return a;
}

static bool real_format(const struct cpu *c)
{
	return !c->d.pe || c->d.vm86;
}

static unsigned env_size(const struct insn *i)
{
	return i->osz == 2 ? 14 : 28;
}

static void put_word(u8 *b, unsigned osz, unsigned n, u32 v)
{
	if (osz == 2) {
		b[2 * n] = (u8)v;
		b[2 * n + 1] = (u8)(v >> 8);
	} else {
		memcpy(b + 4 * n, &v, 4);
	}
}

static u32 get_word(const u8 *b, unsigned osz, unsigned n)
{
	u32 v = 0;

	memcpy(&v, b + n * (osz == 2 ? 2 : 4), osz == 2 ? 2 : 4);
	return v;
}

/* The pointers as the seven words 3..6 hold them. The real-mode formats have linear addresses, 20 or 32 bits. */
static void put_pointers(const struct cpu *c, u8 *b, unsigned osz)
{
	const struct x87 *f = &c->x87;
	u32 ip = (u32)f->fip, dp = (u32)f->fdp, hi = osz == 2 ? 0 : 0xffff0000;
	u16 fcs = cpu_has(c, FEAT_ZERO_FCS_FDS) ? 0 : f->fcs, fds = cpu_has(c, FEAT_ZERO_FCS_FDS) ? 0 : f->fds;

	if (!real_format(c)) {
		put_word(b, osz, 3, ip);
		put_word(b, osz, 4, osz == 2 ? fcs : fcs | (u32)f->fop << 16);
		put_word(b, osz, 5, dp);
		put_word(b, osz, 6, hi | fds);
		return;
	}
	ip += (u32)f->fcs << 4;
	dp += (u32)f->fds << 4;
	put_word(b, osz, 3, hi | (ip & 0xffff));
	put_word(b, osz, 4, (osz == 2 ? (ip >> 16 & 15) << 12 : ip >> 16 << 12) | (f->fop & 0x7ff));
	put_word(b, osz, 5, hi | (dp & 0xffff));
	put_word(b, osz, 6, osz == 2 ? (dp >> 16 & 15) << 12 : dp >> 16 << 12);
}

static void get_pointers(const struct cpu *c, struct x87 *f, const u8 *b, unsigned osz)
{
	u32 w4 = get_word(b, osz, 4), w6 = get_word(b, osz, 6);

	if (!real_format(c)) {
		f->fip = get_word(b, osz, 3);
		f->fcs = (u16)w4;
		f->fop = osz == 2 ? 0 : w4 >> 16 & 0x7ff;
		f->fdp = get_word(b, osz, 5);
		f->fds = (u16)w6;
		return;
	}
	f->fip = (get_word(b, osz, 3) & 0xffff) | (w4 >> 12 & (osz == 2 ? 0xf : 0xffff)) << 16;
	f->fdp = (get_word(b, osz, 5) & 0xffff) | (w6 >> 12 & (osz == 2 ? 0xf : 0xffff)) << 16;
	f->fop = w4 & 0x7ff;
	f->fcs = f->fds = 0;
}

static void put_env(const struct cpu *c, u8 *b, unsigned osz)
{
	u32 hi = osz == 2 ? 0 : 0xffff0000;

	put_word(b, osz, 0, hi | c->x87.fcw);
	put_word(b, osz, 1, hi | c->x87.fsw);
	put_word(b, osz, 2, hi | full_tags(&c->x87));
	put_pointers(c, b, osz);
}

/* ST(0) to ST(7) are the caller's business. */
static void get_env(const struct cpu *c, struct x87 *f, const u8 *b, unsigned osz)
{
	f->fcw = x87_fcw((u16)get_word(b, osz, 0));
	f->fsw = (u16)get_word(b, osz, 1);
	f->ftw = abridged_tags((u16)get_word(b, osz, 2));
	get_pointers(c, f, b, osz);
	x87_update_es(f);
}

/* The first word of an operand is looked at, then the last byte, then the others (observed on Zen 4 and Sapphire
 * Rapids: it decides CR2 where an operand crosses pages). */
static int touch_ends(struct cpu *c, u64 lin, unsigned size, unsigned acc)
{
	u8 v[4];
	int out = cpu_ld(c, lin, v, size == 14 || size == 94 ? 2 : 4, acc);

	return out ? out : cpu_ld8(c, (lin + size - 1) & c->d.lin_mask, v, acc);
}

static int exec_fnstenv(struct cpu *c, const struct insn *i)
{
	u8 b[28];
	u64 lin;
	int out = ctl_checks(c, false);

	if (!out)
		out = insn_linear(c, i, env_size(i), ACC_W, &lin);
	if (!out)
		out = touch_ends(c, lin, env_size(i), insn_acc(i, ACC_RMW));
	if (out)
		return out;
	put_env(c, b, i->osz);
	out = cpu_st(c, lin, b, env_size(i), insn_acc(i, 0));
	if (out)
		return out;
	c->x87.fcw |= X87_FLAGS;
	x87_update_es(&c->x87);
	x87_ferr(c);
	return OUT_DONE;
}

static int exec_fldenv(struct cpu *c, const struct insn *i)
{
	u8 b[28];
	u64 lin;
	int out = ctl_checks(c, true);

	if (!out)
		out = insn_linear(c, i, env_size(i), ACC_R, &lin);
	if (!out)
		out = touch_ends(c, lin, env_size(i), insn_acc(i, 0));
	if (!out)
		out = cpu_ld(c, lin, b, env_size(i), insn_acc(i, 0));
	if (out)
		return out;
	x87_set_top(&c->x87, get_word(b, i->osz, 1) >> 11 & 7);
	get_env(c, &c->x87, b, i->osz);
	x87_ferr(c);
	return OUT_DONE;
}

/* ---- the whole state
 * ------------------------------------------------------------------------------------------------- */

#define STATE_MAX 108

/* Up to 108 bytes in pieces of 64, after a look at every page they touch. */
static int store_state(struct cpu *c, u64 lin, const u8 *b, unsigned size, unsigned acc)
{
	u8 probe[64];
	int out = touch_ends(c, lin, size, acc | ACC_RMW);

	acc |= ACC_NOALIGN; /* that of a word is checked, and no more needed */
	if (!out)
		out = cpu_ld(c, lin, probe, 64, acc | ACC_RMW);
	if (!out)
		out = cpu_ld(c, (lin + 64) & c->d.lin_mask, probe, size - 64, acc | ACC_RMW);
	if (!out)
		out = cpu_st(c, lin, b, 64, acc);
	return out ? out : cpu_st(c, (lin + 64) & c->d.lin_mask, b + 64, size - 64, acc);
}

static int exec_fnsave(struct cpu *c, const struct insn *i)
{
	u8 b[STATE_MAX];
	unsigned env = env_size(i);
	u64 lin;
	int out = ctl_checks(c, false);

	if (!out)
		out = insn_linear(c, i, env + 80, ACC_W, &lin);
	if (out)
		return out;
	put_env(c, b, i->osz);
	for (unsigned k = 0; k < 8; k++)
		memcpy(b + env + 10 * k, c->x87.st[k], 10);
	out = store_state(c, lin, b, env + 80, insn_acc(i, 0));
	if (out)
		return out;
	x87_init(&c->x87);
	x87_ferr(c);
	return OUT_DONE;
}

static int exec_frstor(struct cpu *c, const struct insn *i)
{
	u8 b[STATE_MAX];
	unsigned env = env_size(i);
	u64 lin;
	int out = ctl_checks(c, true);

	if (!out)
		out = insn_linear(c, i, env + 80, ACC_R, &lin);
	if (!out)
		out = touch_ends(c, lin, env + 80, insn_acc(i, 0));
	if (!out)
		out = cpu_ld(c, lin, b, 64, insn_acc(i, ACC_NOALIGN));
	if (!out)
		out = cpu_ld(c, (lin + 64) & c->d.lin_mask, b + 64, env + 80 - 64, insn_acc(i, ACC_NOALIGN));
	if (out)
		return out;
	get_env(c, &c->x87, b, i->osz);
	for (unsigned k = 0; k < 8; k++) {
		memset(c->x87.st[k], 0, 16);
		memcpy(c->x87.st[k], b + env + 10 * k, 10);
	}
	x87_ferr(c);
	return OUT_DONE;
}

/* ---- binding
 * ----------------------------------------------------------------------------------------------------------- */

static exec_fn *find_reg(u8 op, u8 modrm)
{
	switch (op << 8 | modrm) {
	case 0x3e0:
	case 0x3e1:
	case 0x3e4:
		return exec_x87_nop;
	case 0x3e2:
		return exec_fnclex;
	case 0x3e3:
		return exec_fninit;
	case 0x7e0:
		return exec_fnstsw_ax;
	default:
		return NULL;
	}
}

static exec_fn *find_mem(u8 op, u8 reg)
{
	switch (op << 4 | reg) {
	case 0x14:
		return exec_fldenv;
	case 0x15:
		return exec_fldcw;
	case 0x16:
		return exec_fnstenv;
	case 0x17:
		return exec_fnstcw;
	case 0x54:
		return exec_frstor;
	case 0x56:
		return exec_fnsave;
	case 0x57:
		return exec_fnstsw;
	default:
		return NULL;
	}
}

bool x87_ctl_bind(struct insn *i)
{
	exec_fn *f;

	if (i->opcode == 0x9b)
		f = exec_fwait;
	else if (i->modrm >= 0xc0)
		f = find_reg(i->opcode & 7, i->modrm);
	else
		f = find_mem(i->opcode & 7, i->modrm >> 3 & 7);
	if (!f)
		return false;
	i->exec = f;
	return true;
}
