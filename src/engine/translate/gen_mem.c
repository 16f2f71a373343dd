/* SPDX-License-Identifier: Apache-2.0
 * Memory operands: effective address, segment base, and the lookaside of cpu/access.h inline. What misses starts over
 * in the library.
 */
#include "cpu/optab.h"
#include "engine/translate/gen.h"

bool gen_can_address(const struct gen *g)
{
	const struct insn *i = g->i;
	s64 disp = (s64)i->disp + g->next + PAGE_SIZE;

	if (i->asz == 2 || (i->base == R_RIP && disp != (s32)disp))
		return false;
	if (gen_long64(g))
		return true;
	return !(g->b->key & (i->seg >= SEG_FS ? BLOCK_KEY_LEGACY : BLOCK_KEY_SEGMENTS)) && i->seg != SEG_CS;
}

struct opnd gen_ea(struct gen *g)
{
	const struct insn *i = g->i;
	struct opnd m = { .base = H_NONE, .index = H_NONE, .scale = i->scale, .disp = i->disp };

	if (i->base == R_RIP) {
		emit_load(&g->e, H_R14, guest_at(R_RIP));
		m.base = H_R14;
		m.disp += (s32)(g->next - g->bias);
	} else if (i->base != R_ZERO) {
		m.base = (u8)gen_read(g, i->base, H_R14);
	}
	if (i->index != R_ZERO)
		m.index = (u8)gen_read(g, i->index, H_R15);
	return m;
}

/* Outside 64-bit mode the block's key does not tell whether FS and GS are flat; user space often has none in GS. */
void gen_segment(struct gen *g)
{
	unsigned s = g->i->seg;
	bool outer = s >= SEG_FS;

	if (!gen_long64(g) && outer) {
		emit_rm(&g->e, 1, 0xf6, 0, CPU(d.seg_check)); /* test byte seg_check, bit */
		emit8(&g->e, 1u << s);
		gen_cold_if(g, CC_NE);
		g->flags = FLAGS_MEM;
	}
	if (outer || (g->b->key & BLOCK_KEY_BASES))
		emit_rm(&g->e, gen_width(g), 0x03, H_R14, cpu_at(offsetof(struct cpu, d.ebase) + 8 * s));
}

/* Places, to tell again an operand that is likely in the same page: a register; or a segment and, of what is relative
 * to nothing or RIP, the page. */
enum { KEY_REG = 0x100, KEY_FIXED = 1u << 24 };

static u32 place_of(const struct gen *g, const struct insn *i, unsigned next)
{
	s64 at = i->disp;

	if (i->index != R_ZERO)
		return 0;
	if (i->base != R_RIP && i->base != R_ZERO)
		return KEY_REG | (gen_long64(g) && i->seg < SEG_FS ? 0 : i->seg + 1u) << 4 | i->base;
	if (i->base == R_RIP)
		at += next - g->bias;
	return KEY_FIXED | (u32)(i->base == R_RIP) << 23 | (u32)i->seg << 20 | ((u32)(at >> PAGE_SHIFT) & 0xfffff);
}

void gen_linear(struct gen *g)
{
	const struct insn *i = g->i;
	struct opnd ea = gen_ea(g);

	if (i->asz != 8 || ea.index != H_NONE || ea.disp || ea.base == H_NONE)
		emit_rm(&g->e, i->asz, 0x8d, H_R14, ea);
	else if (ea.base != H_R14)
		emit_mov(&g->e, H_R14, ea.base);
	gen_segment(g);
	g->place = place_of(g, i, g->next);
	g->disp = i->disp;
}

void gen_linear_implied(struct gen *g, unsigned r, s32 d)
{
	if (d)
		emit_rm(&g->e, gen_width(g), 0x8d, H_R14, mem(host_of[r], d));
	else
		emit_rm(&g->e, gen_width(g), 0x8b, H_R14, reg(host_of[r]));
	g->place = KEY_REG | r;
	g->disp = d;
}

/* ---- windows ------------------------------------------------------------------------------------------------------
 * Which operand uses which window is a guess; what is in a window is compared each time. The stack has one of its own;
 * another is filled where the same register is seen to be used again before it is loaded anew.
 */

#define WINDOW_NEAR 512 /* bytes between two operands that may well be in one page */

/* Is place a register that i loads with something else? Additions leave it near. */
static bool loads_anew(const struct insn *i, u32 place)
{
	unsigned op = i->opcode, r = place & 15;
	bool to_reg, to_rm;

	if (place & KEY_FIXED)
		return false;
	to_reg = i->map == MAP_1 ? op == 0x8b || op == 0x63 || op == 0x8d || (op < 0x40 && (op & 7) == 3)
				 : i->map == MAP_0F && ((op & 0xf6) == 0xb6 || (op & 0xf0) == 0x40 || op == 0xaf);
	to_rm = i->map == MAP_1 && (((op == 0x89 || (op < 0x38 && (op & 7) == 1)) && !(i->flags & INSN_MEM)) ||
				    (op & 0xf8) == 0x58 || (op & 0xf8) == 0xb8);
	return (to_reg && i->reg == r) || (to_rm && i->rm == r);
}

static bool used_again(const struct gen *g)
{
	const struct insn *i = g->i;

	if (loads_anew(i, g->place))
		return false;
	for (unsigned next = g->next; ++i < g->end;) {
		next += i->len;
		if ((i->flags & INSN_MEM) && place_of(g, i, next) == g->place &&
		    (u32)(i->disp - g->disp + WINDOW_NEAR) < 2 * WINDOW_NEAR)
			return true;
		if (loads_anew(i, g->place))
			return false;
	}
	return false;
}

static bool window_fits(const struct gen *g, unsigned n)
{
	return g->window[n].place == g->place && (u32)(g->disp - g->window[n].disp + WINDOW_NEAR) < 2 * WINDOW_NEAR;
}

/* The window that the operand is likely in, or WINDOWS. */
static unsigned window_for(const struct gen *g, unsigned size, bool write)
{
	if (!g->place || size > WINDOW_MAX || !gen_opt(g, OPT_WINDOW))
		return WINDOWS;
	if (g->place == (KEY_REG | RSP) && (u32)(g->disp + WINDOW_NEAR) < 4 * WINDOW_NEAR)
		return WINDOW_STACK;
	for (unsigned n = WINDOW_WRITE; n < (write ? (unsigned)WINDOW_READ : (unsigned)WINDOWS); n++)
		if (window_fits(g, n))
			return n;
	return WINDOWS;
}

/* The one to be filled by what is probed now, or WINDOWS. */
static unsigned window_to_fill(struct gen *g, bool write)
{
	unsigned n = WINDOW_WRITE;

	if (!g->place || !gen_opt(g, OPT_WINDOW) || !used_again(g))
		return WINDOWS;
	if (!write)
		n = WINDOW_READ + (g->next_window++ & 1);
	g->window[n].place = g->place;
	g->window[n].disp = g->disp;
	return n;
}

static void gen_use_window(struct gen *g, unsigned n, unsigned size, bool write)
{
	struct emit *e = &g->e;

	emit_rm(e, 8, 0x2b, H_R14, mem(H_RSP, frame_window(n, WINDOW_page)));
	emit_rm(e, 8, 0x3b, H_R14, mem(H_RSP, frame_window(n, WINDOW_limit)));
	gen_cold_if(g, CC_AE);
	emit_rm(e, 8, 0x03, H_R14, mem(H_RSP, frame_window(n, WINDOW_host)));
	g->cold[g->n_cold - 1].window = true;
	g->cold[g->n_cold - 1].write = write;
	g->cold[g->n_cold - 1].n = (u8)n;
	g->cold[g->n_cold - 1].size = (u8)size;
	g->cold[g->n_cold - 1].filled = e->p;
}

/* RAX, the tag in TLB entry R15, is lost. */
static void gen_fill_window(struct gen *g, unsigned n)
{
	struct emit *e = &g->e;

	emit_alu_imm(e, 8, ALU_AND, reg(H_RAX), -(s32)PAGE_SIZE);
	emit_store(e, mem(H_RSP, frame_window(n, WINDOW_page)), H_RAX);
	emit_rm(e, 8, 0x03, H_RAX, mem(H_R15, offsetof(struct tlbe, add)));
	emit_store(e, mem(H_RSP, frame_window(n, WINDOW_host)), H_RAX);
	emit_rm(e, 8, 0xc7, 0, mem(H_RSP, frame_window(n, WINDOW_limit)));
	emit_bytes(e, WINDOW_LIMIT, 4);
}

/* ---- the soft TLB -------------------------------------------------------------------------------------------------
 */

/* R15 = its entry for R14, RAX = the tag wanted there; ZF: it has that. */
static void gen_tlb_compare(struct gen *g, unsigned size, bool write)
{
	struct emit *e = &g->e;
	size_t tag = write ? offsetof(struct tlbe, w) : offsetof(struct tlbe, r);

	emit_mov(e, H_R15, H_R14);
	emit_rm(e, 8, 0xc1, 5, reg(H_R15)); /* shr r15, 7 */
	emit8(e, PAGE_SHIFT - 5);
	emit_alu_imm(e, 4, ALU_AND, reg(H_R15), (TLB_SIZE - 1) << 5);
	emit_rm(e, 8, 0x03, H_R15, CPU(tlb));
	if (size > 1)
		emit_rm(e, 8, 0x8d, H_RAX, mem(H_R14, (s32)size - 1));
	else
		emit_mov(e, H_RAX, H_R14);
	emit_alu_imm(e, 8, ALU_AND, reg(H_RAX), -(s32)PAGE_SIZE);
	emit_rm(e, 2, 0x0b, H_RAX, CPU(ctx)); /* or ax, ctx */
	emit_rm(e, 8, 0x3b, H_RAX, mem(H_R15, (s32)tag));
}
_Static_assert(sizeof(struct tlbe) == 1 << 5, "the probe shifts by PAGE_SHIFT - 5");

void gen_probe(struct gen *g, unsigned size, bool write)
{
	struct emit *e = &g->e;
	unsigned n = window_for(g, size, write);

	if (!gen_opt(g, OPT_TLB))
		gen_cold_if(g, CC_ALWAYS);
	if (n != WINDOWS) {
		gen_use_window(g, n, size, write);
	} else {
		gen_tlb_compare(g, size, write);
		gen_cold_if(g, CC_NE);
		if (gen_opt(g, OPT_REFILL)) {
			g->cold[g->n_cold - 1].refill = write ? 2 : 1;
			g->cold[g->n_cold - 1].probed = e->p;
		}
		n = window_to_fill(g, write);
		if (n != WINDOWS)
			gen_fill_window(g, n);
		emit_rm(e, 8, 0x03, H_R14, mem(H_R15, offsetof(struct tlbe, add)));
	}
	g->place = 0;
	g->flags = FLAGS_MEM;
}

void gen_window_miss(struct gen *g, const struct cold *c)
{
	struct emit *e = &g->e;
	u8 *miss, *hit, *only_read = NULL;

	emit_rm(e, 8, 0x03, H_R14, mem(H_RSP, frame_window(c->n, WINDOW_page)));
	gen_tlb_compare(g, c->size, c->write);
	miss = emit_forward(e, CC_NE);
	hit = e->p;
	if (c->n < WINDOW_READ && !c->write) {
		emit_rm(e, 8, 0x3b, H_RAX, mem(H_R15, offsetof(struct tlbe, w)));
		only_read = emit_forward(e, CC_NE);
	}
	gen_fill_window(g, c->n);
	if (only_read)
		emit_patch(only_read, e->p);
	emit_rm(e, 8, 0x03, H_R14, mem(H_R15, offsetof(struct tlbe, add)));
	emit_jump(e, CC_ALWAYS, c->filled);
	emit_patch(miss, e->p);
	if (!gen_opt(g, OPT_REFILL))
		return;
	gen_call_thunk(g, g->t->refill[c->write]);
	emit_jump(e, CC_E, hit);
}
