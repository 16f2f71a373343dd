/* SPDX-License-Identifier: Apache-2.0
 * x87: computing instructions run on the host over an FXSAVE image with the guest's own control word; an unmasked
 * exception is no more than a bit in the image that comes back, and becomes #MF (or FERR#) before the next waiting
 * instruction, as SDM 1, 8.6 and 8.7 have it. Instruction and data pointers are the guest's and kept here, never the
 * stub's. Control instructions are in x87_ctl.c.
 */
#include "cpu/x87.h"

#include "cpu/cpuid.h"

/* ---- state ------------------------------------------------------------------------------------------------------- */

void x87_update_es(struct x87 *f)
{
	f->fsw &= (u16) ~(X87_ES | X87_B);
	if (f->fsw & ~f->fcw & X87_FLAGS)
		f->fsw |= X87_ES | X87_B;
}

/* Another TOP: the physical registers stay, so st[], which is relative to TOP, turns. */
void x87_set_top(struct x87 *f, unsigned top)
{
	unsigned turn = (top - x87_top(f)) & 7;
	u8 old[8][16];

	f->fsw = (u16)((f->fsw & ~X87_TOP) | top << 11);
	if (!turn)
		return;
	memcpy(old, f->st, sizeof(old));
	for (unsigned k = 0; k < 8; k++)
		memcpy(f->st[k], old[(k + turn) & 7], 16);
}

/* What FNINIT does; the data registers keep their bits (SDM 2A FINIT). */
void x87_init(struct x87 *f)
{
	x87_set_top(f, 0);
	f->fcw = 0x37f;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = f->fdp = 0;
	f->fcs = f->fds = 0;
}

void mmx_commit(struct cpu *c)
{
	c->x87.ftw = 0xff;
	x87_set_top(&c->x87, 0);
}

/* ---- pending exceptions --------------------------------------------------------------------------------------------
 */

void x87_ferr(struct cpu *c)
{
	if (!(c->cr0 & CR0_NE) && c->ops->ferr)
		c->ops->ferr(c, c->x87.fsw & X87_ES);
}

/* With NE = 0 the processor asserts FERR# and freezes until an interrupt, unless the chipset asserts IGNNE#
 * (SDM 3A 9.2.1, SDM 1 appendix D). Frozen is "again": interrupts are looked at in between. */
int x87_pending(struct cpu *c)
{
	if (likely(!(c->x87.fsw & X87_ES)))
		return OUT_DONE;
	if (c->cr0 & CR0_NE)
		return cpu_raise(c, EXC_MF);
	return !c->ops->ferr || c->ops->ferr(c, true) ? OUT_DONE : OUT_AGAIN;
}

/* ---- execution ------------------------------------------------------------------------------------------------------
 */

struct image {
	_Alignas(16) u8 b[512];
};

/* Flags that would trap at once on the host (IGNNE# case) are held back and put back afterwards. */
static u16 image_load(struct image *m, const struct x87 *f)
{
	u16 held = f->fsw & X87_ES ? f->fsw & X87_FLAGS : 0, fsw = f->fsw & (u16) ~(held | X87_ES | X87_B);
	static const u32 mxcsr = 0x1f80;

	if (!held)
		fsw = f->fsw;
	memset(m->b, 0, 32);
	memcpy(m->b, &f->fcw, 2);
	memcpy(m->b + 2, &fsw, 2);
	m->b[4] = f->ftw;
	memcpy(m->b + 24, &mxcsr, 4);
	memcpy(m->b + 32, f->st, sizeof(f->st));
	return held;
}

static void image_store(struct x87 *f, const struct image *m, u16 held)
{
	memcpy(&f->fsw, m->b + 2, 2);
	f->ftw = m->b[4];
	memcpy(f->st, m->b + 32, sizeof(f->st));
	if (held) {
		f->fsw |= held;
		x87_update_es(f);
	}
}

static void set_pointers(struct cpu *c, const struct insn *i)
{
	struct x87 *f = &c->x87;

	f->fop = (u16)((i->opcode & 7) << 8 | i->modrm);
	f->fip = c->r[R_RIP] - i->len;
	if (!c->d.long64)
		f->fip = (u32)f->fip;
	f->fcs = c->seg[SEG_CS].sel;
	if (!(i->flags & INSN_MEM))
		return;
	f->fdp = insn_ea(c, i);
	f->fds = c->seg[i->seg].sel;
}

/* An unmasked invalid, zero-divide, denormal, overflow or underflow exception keeps a store from storing; precision
 * does not (SDM 1, 8.5). */
static bool store_suppressed(const struct image *m, const struct x87 *f)
{
	u16 fsw;

	memcpy(&fsw, m->b + 2, 2);
	return fsw & ~f->fcw & (X87_FLAGS & ~X87_PE);
}

static int x87_checks(struct cpu *c, const struct vop *v)
{
	int out;

	if (!vec_has(c, v->feature))
		return cpu_ud(c);
	if (unlikely(c->cr0 & (CR0_EM | CR0_TS)))
		return cpu_raise(c, EXC_NM);
	out = x87_pending(c);
	return out;
}

static void x87_commit(struct cpu *c, const struct insn *i, const struct image *m, u16 held, u16 aflags)
{
	image_store(&c->x87, m, held);
	c->aflags = aflags;
	set_pointers(c, i);
	if (unlikely(c->x87.fsw & X87_ES))
		x87_ferr(c);
}

int exec_x87_reg(struct cpu *c, const struct insn *i)
{
	const struct vop *v = i->stub;
	u16 aflags = c->aflags, held;
	struct image m;
	int out = x87_checks(c, v);

	if (unlikely(out))
		return out;
	held = image_load(&m, &c->x87);
	if (unlikely(v->run_x87(&m, NULL, &aflags)))
		return cpu_ud(c);
	x87_commit(c, i, &m, held, aflags);
	return OUT_DONE;
}

int exec_x87_mem(struct cpu *c, const struct insn *i)
{
	const struct vop *v = i->stub;
	_Alignas(16) u8 buf[16] = { 0 };
	u16 aflags = c->aflags, held;
	struct image m;
	u64 lin;
	int out = x87_checks(c, v);

	if (unlikely(out))
		return out;
	out = insn_linear(c, i, v->mem_size, v->mem_written ? ACC_W : ACC_R, &lin);
	if (!out && v->mem_read)
		out = vec_load(c, lin, buf, v->mem_size, insn_acc(i, 0));
	if (unlikely(out))
		return out;
	held = image_load(&m, &c->x87);
	if (unlikely(v->run_x87(&m, buf, &aflags)))
		return cpu_ud(c);
	if (v->mem_written && store_suppressed(&m, &c->x87))
		out = vec_load(c, lin, buf, v->mem_size, insn_acc(i, ACC_RMW));
	else if (v->mem_written)
		out = vec_store(c, lin, buf, v->mem_size, insn_acc(i, 0));
	if (likely(!out))
		x87_commit(c, i, &m, held, aflags);
	return out;
}

/* ---- the opcode map (SDM 2D, appendix A.5; APM 3, appendix A)
 * -------------------------------------------------------- */

/* Memory forms by opcode and reg: R or W and size; 0 for those of x87_ctl.c and the undefined ones. */
#define R(n) (n)
#define W(n) (0x80 | (n))
static const u8 mem_form[8][8] = {
	[0] = { R(4), R(4), R(4), R(4), R(4), R(4), R(4), R(4) },
	[1] = { R(4), 0, W(4), W(4) },
	[2] = { R(4), R(4), R(4), R(4), R(4), R(4), R(4), R(4) },
	[3] = { R(4), W(4), W(4), W(4), 0, R(10), 0, W(10) },
	[4] = { R(8), R(8), R(8), R(8), R(8), R(8), R(8), R(8) },
	[5] = { R(8), W(8), W(8), W(8) },
	[6] = { R(2), R(2), R(2), R(2), R(2), R(2), R(2), R(2) },
	[7] = { R(2), W(2), W(2), W(2), R(10), R(8), W(10), W(8) },
};

/* Register forms: the ModRM bytes C0..FF that compute, 64 bits an opcode, bit 0 for C0. The gaps are undefined, or
 * control instructions. Aliases (FCOM2, FXCH4, FSTP8 and kin) are as the silicon has them. */
static const u64 reg_form[8] = {
	[0] = 0xffffffffffffffff, [1] = 0xffff7f33ff01ffff, [2] = 0x00000200ffffffff, [3] = 0x00ffff00ffffffff,
	[4] = 0xffffffffffffffff, [5] = 0x0000ffffffffffff, [6] = 0xffffffff02ffffff, [7] = 0x00ffff00ffffffff,
};

static bool is_fcmov_or_fcomi(u8 op, u8 modrm)
{
	unsigned reg = modrm >> 3 & 7;

	return ((op == 2 || op == 3) && reg < 4) || ((op == 3 || op == 7) && (reg == 5 || reg == 6));
}

static void form_features(struct vop *v, u8 op, u8 modrm)
{
	v->feature[0] = FEAT_FPU + 1;
	if (modrm >= 0xc0 && is_fcmov_or_fcomi(op, modrm))
		v->feature[1] = FEAT_CMOV + 1;
	if (modrm < 0xc0 && (op == 3 || op == 5 || op == 7) && (modrm >> 3 & 7) == 1)
		v->feature[1] = FEAT_SSE3 + 1;
}

static unsigned make_form(struct vop *v, u8 op, u8 modrm, u8 *text)
{
	bool flags = modrm >= 0xc0 && is_fcmov_or_fcomi(op, modrm);
	u8 f = modrm < 0xc0 ? mem_form[op][modrm >> 3 & 7] : 0;

	form_features(v, op, modrm);
	v->gate = GATE_X87;
	v->exec = modrm < 0xc0 ? exec_x87_mem : exec_x87_reg;
	v->mem_size = f & 0x7f;
	v->mem_written = f & 0x80;
	v->mem_read = f && !v->mem_written;
	return x87_emit(0xd8 | op, modrm, flags, flags && (modrm >> 3 & 7) >= 5, text);
}

static int exec_x87_overflow(struct cpu *c, const struct insn *i)
{
	u8 text[VEC_CODE_MAX];
	struct vop v = { .key_len = 0 };
	unsigned n = make_form(&v, i->opcode & 7, i->modrm, text);

	return vec_scratch_exec(c, i, &v, text, n);
}

bool x87_bind(struct insn *i)
{
	u8 text[VEC_CODE_MAX], op = i->opcode & 7, modrm = i->modrm >= 0xc0 ? i->modrm : i->modrm & 0x38;
	struct vop v = { .key_len = 3, .key = { 0xff, op, modrm } };
	const struct vop *found;

	if (x87_ctl_bind(i))
		return true;
	if (modrm < 0xc0 ? !mem_form[op][modrm >> 3] : !(reg_form[op] >> (modrm - 0xc0) & 1))
		return false;
	found = vec_cache_find(v.key, v.key_len);
	if (!found)
		found = vec_cache_add(&v, text, make_form(&v, op, modrm, text));
	i->stub = found;
	i->exec = found ? found->exec : exec_x87_overflow;
	return true;
}
