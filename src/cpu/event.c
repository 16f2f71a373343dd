/* SPDX-License-Identifier: Apache-2.0
 * Delivery of one event through the IVT or IDT (event_deliver_once), and what becomes of faults on the way:
 * contributory, double and triple faults (SDM 3A table 6-5). Error codes of faults met while an external event or an
 * exception is delivered have EXT set; INT n, INT3 and INTO leave it clear (SDM 3A 6.13).
 *
 * A delivery checks everything and commits last. A task gate is the exception: after the switch the new task is current
 * and further faults belong to it.
 */
#include "cpu/event.h"

#include "base/counter.h"
#include "cpu/debug.h"
#include "cpu/stack.h"
#include "cpu/xfer.h"

/* An IDT entry taken apart. */
struct gate {
	u16 sel, attr;
	u64 off;
	unsigned ist;
};

/* Delivery state that every path needs. */
struct delivery {
	const struct event *e;
	bool soft; /* INT n, INT3, INTO: the gate's DPL counts, EXT is clear */
	u64 ret;   /* return address to push */
	u64 flags; /* image to push */
};

static int idt_fault(struct cpu *c, u8 vector, const struct event *e)
{
	return cpu_raise_error(c, vector, e->vector * 8u + 2);
}

/* RF in the pushed image: set by faults, but for instruction breakpoints; interrupts and traps push what is there; a
 * software interrupt has completed and thereby cleared it (SDM 3A 6.8.3, 3B 17.3.1.1). */
static u64 pushed_flags(const struct cpu *c, const struct event *e)
{
	u64 f = cpu_rflags(c);

	if (e->type == EV_SOFT_INT || e->type == EV_SOFT_EXC || e->type == EV_PRIV_SW)
		return f & ~(u64)FLAG_RF;
	if (e->type != EV_FAULT || e->vector == EXC_DF || e->vector == EXC_MC)
		return f;
	if (e->vector == EXC_DB && (e->payload & DR6_B))
		return f;
	return f | FLAG_RF;
}

static void flags_enter(struct cpu *c, u32 clear)
{
	c->rflags &= ~(clear | FLAG_TF);
}

/* ---- real mode ------------------------------------------------------------------------------------------------ */

/* Pushes FLAGS, CS, IP and enters sel:off with IF, TF (and AC in real mode) clear; clear names further flags. */
static int enter_8086(struct cpu *c, u16 sel, u16 off, u64 ret, u64 flags, u32 clear)
{
	struct xstack x = xstack_current(c);
	const u64 item[] = { flags, c->seg[SEG_CS].sel, ret };
	int out = off > c->seg[SEG_CS].limit ? cpu_gp(c, 0) : xstack_push(c, &x, item, 3, 2, 0);

	if (out)
		return out;
	xstack_commit(c, &x);
	seg_load_legacy(c, SEG_CS, sel);
	c->r[R_RIP] = off;
	flags_enter(c, clear);
	cpu_update_mode(c);
	return OUT_DONE;
}

static int deliver_real(struct cpu *c, const struct delivery *d)
{
	unsigned off = d->e->vector * 4u;
	u16 ivt[2];
	int out;

	if (off + 3 > c->idtr.limit)
		return idt_fault(c, EXC_GP, d->e);
	out = sys_load(c, (c->idtr.base + off) & 0xffffffff, ivt, 4);
	return out ? out : enter_8086(c, ivt[1], ivt[0], d->ret, d->flags, FLAG_IF | FLAG_AC | FLAG_RF);
}

/* ---- virtual-8086 mode: INT n and the redirection bitmap (SDM 3A 21.3.3) --------------------------------------- */

/* Is INT n redirected to the program's own vector table? *yes; OUT_FAULT when the bitmap cannot be read. */
static int vme_redirected(struct cpu *c, u8 vector, bool *yes)
{
	u16 map = 0;
	u8 byte = 0xff;
	int out;

	*yes = false;
	if ((c->tr.attr & 0xd) != SYS_TSS32_AVAIL || c->tr.limit < 0x67)
		return cpu_gp(c, 0);
	out = sys_load(c, (c->tr.base + 0x66) & 0xffffffff, &map, 2);
	if (out)
		return out;
	if (map < 32 || map - 32u + vector / 8 > c->tr.limit)
		return cpu_gp(c, 0);
	out = sys_load(c, (c->tr.base + map - 32 + vector / 8) & 0xffffffff, &byte, 1);
	*yes = !(byte >> (vector & 7) & 1);
	return out;
}

static int vme_enter(struct cpu *c, const struct delivery *d)
{
	bool low_iopl = (c->rflags & FLAG_IOPL) != FLAG_IOPL;
	u64 flags = d->flags;
	u16 ivt[2] = { 0 };
	int out = cpu_ld(c, d->e->vector * 4u, ivt, 4, ACC_R);

	if (out)
		return out;
	if (low_iopl)
		flags = (flags & ~(u64)FLAG_IF) | FLAG_IOPL | (flags & FLAG_VIF ? FLAG_IF : 0);
	return enter_8086(c, ivt[1], ivt[0], d->ret, flags, FLAG_RF | (low_iopl ? FLAG_VIF : FLAG_IF));
}

/* INT n in virtual-8086 mode: *done when it was served by the program's own handler. */
static int vm86_int_n(struct cpu *c, const struct delivery *d, bool *done)
{
	bool redirected = false;
	int out = c->cr4 & CR4_VME ? vme_redirected(c, d->e->vector, &redirected) : OUT_DONE;

	*done = redirected;
	if (out)
		return out;
	if (redirected)
		return vme_enter(c, d);
	return (c->rflags & FLAG_IOPL) != FLAG_IOPL ? cpu_gp(c, 0) : OUT_DONE;
}

/* ---- protected mode -------------------------------------------------------------------------------------------- */

static int gate_fetch(struct cpu *c, const struct event *e, struct gate *g)
{
	unsigned size = c->d.lma ? 16 : 8;
	u64 raw[2] = { 0 };
	int out;

	if (e->vector * size + size - 1 > c->idtr.limit)
		return idt_fault(c, EXC_GP, e);
	out = sys_load(c, (c->idtr.base + e->vector * size) & (c->d.lma ? ~0ull : 0xffffffff), raw, size);
	g->sel = (u16)bits(raw[0], 31, 16);
	g->attr = (u16)bits(raw[0], 47, 40);
	g->ist = c->d.lma ? raw[0] >> 32 & 7 : 0;
	g->off = bits(raw[0], 15, 0) | bits(raw[0], 63, 48) << 16 | (raw[1] & 0xffffffff) << 32;
	if ((g->attr & SEG_TYPE) < SYS_TASK_GATE || (g->attr & SEG_TYPE) == SYS_INT16 ||
	    (g->attr & SEG_TYPE) == SYS_TRAP16)
		g->off &= 0xffff;
	return out;
}

static bool gate_type_valid(const struct cpu *c, const struct gate *g)
{
	switch (g->attr & (SEG_S | SEG_TYPE)) {
	case SYS_INT32:
	case SYS_TRAP32:
		return true;
	case SYS_TASK_GATE:
	case SYS_INT16:
	case SYS_TRAP16:
		return !c->d.lma;
	}
	return false;
}

static int gate_check(struct cpu *c, const struct delivery *d, struct gate *g)
{
	int out = gate_fetch(c, d->e, g);

	if (out)
		return out;
	if (!gate_type_valid(c, g) || (d->soft && (g->attr & SEG_DPL) >> SEG_DPL_SHIFT < c->d.cpl))
		return idt_fault(c, EXC_GP, d->e);
	return g->attr & SEG_P ? OUT_DONE : idt_fault(c, EXC_NP, d->e);
}

static int deliver_task(struct cpu *c, const struct delivery *d, const struct gate *g, bool *entered)
{
	struct desc tss;
	enum task_result r;
	struct xstack x;
	u64 error = d->e->error;
	int out = task_fetch(c, g->sel, false, EXC_GP, &tss);

	if (out)
		return out;
	c->r[R_RIP] = d->ret;
	r = task_switch(c, g->sel, &tss, TASK_EVENT, d->flags);
	*entered = r != TASK_FAULT;
	if (r != TASK_DONE)
		return OUT_FAULT;
	if (!d->e->has_error)
		return OUT_DONE;
	x = xstack_current(c);
	out = xstack_push(c, &x, &error, 1, c->tr.attr & 8 ? 4 : 2, 0);
	if (!out)
		xstack_commit(c, &x);
	return out;
}

/* Finds and checks the handler's code segment; *cpl is the level it runs at. */
static int handler_segment(struct cpu *c, const struct gate *g, struct desc *code, unsigned *cpl)
{
	int out;

	if (!(g->sel & 0xfffc))
		return cpu_gp(c, 0);
	out = desc_fetch(c, g->sel, code, EXC_GP);
	if (out)
		return out;
	if (!desc_is_code(code) || desc_dpl(code) > c->d.cpl)
		return seg_fault(c, EXC_GP, g->sel);
	if (c->d.lma && (desc_attr(code) & (SEG_L | SEG_D)) != SEG_L)
		return seg_fault(c, EXC_GP, g->sel);
	out = code_present(c, g->sel, code);
	*cpl = desc_conforms(code) ? c->d.cpl : desc_dpl(code);
	/* From virtual-8086 mode only to level 0. */
	if (!out && c->d.vm86 && *cpl)
		return seg_fault(c, EXC_GP, g->sel);
	return out;
}

static int handler_stack(struct cpu *c, const struct gate *g, unsigned cpl, struct xstack *x)
{
	int out = OUT_DONE;
	u64 sp = 0;

	*x = xstack_current(c);
	if (g->ist) {
		out = tss_stack64(c, g->ist + 3, &sp);
		if (cpl != c->d.cpl)
			*x = xstack_inner64(sp, cpl);
		x->sp = sp;
	} else if (cpl != c->d.cpl) {
		out = xstack_from_tss(c, cpl, x);
	}
	if (c->d.lma) {
		x->long64 = true;
		x->mask = ~0ull;
		x->sp &= ~15ull;
	}
	return out;
}

/* The frame, first pushed first; the number of items. */
static unsigned handler_frame(const struct cpu *c, const struct delivery *d, bool with_stack, u64 item[10])
{
	unsigned n = 0;

	if (c->d.vm86) {
		item[n++] = c->seg[SEG_GS].sel;
		item[n++] = c->seg[SEG_FS].sel;
		item[n++] = c->seg[SEG_DS].sel;
		item[n++] = c->seg[SEG_ES].sel;
	}
	if (with_stack) {
		item[n++] = c->seg[SEG_SS].sel;
		item[n++] = c->r[RSP];
	}
	item[n++] = d->flags;
	item[n++] = c->seg[SEG_CS].sel;
	item[n++] = d->ret;
	if (d->e->has_error)
		item[n++] = d->e->error;
	return n;
}

static void handler_commit(struct cpu *c, const struct gate *g, const struct landing *l, const struct xstack *x)
{
	static const u8 data_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	bool trap = g->attr & 1;

	for (unsigned n = 0; c->d.vm86 && n < ARRAY_SIZE(data_segs); n++)
		seg_set_null(c, data_segs[n], 0);
	xstack_commit(c, x);
	landing_commit(c, l);
	flags_enter(c, FLAG_NT | FLAG_RF | FLAG_VM | (trap ? 0u : FLAG_IF));
	cpu_update_mode(c);
}

static int deliver_gate(struct cpu *c, const struct delivery *d, const struct gate *g)
{
	unsigned size = c->d.lma ? 8 : g->attr & 8 ? 4 : 2, cpl = 0, n;
	struct desc code;
	struct landing l;
	struct xstack x;
	u64 item[10];
	int out = handler_segment(c, g, &code, &cpl);

	if (out)
		return out;
	out = handler_stack(c, g, cpl, &x);
	if (!out)
		out = code_land(c, g->sel, &code, cpl, g->off, &l);
	if (out)
		return out;
	n = handler_frame(c, d, c->d.lma || cpl != c->d.cpl, item);
	out = xstack_push(c, &x, item, n, size, cpl != c->d.cpl ? x.ss.sel : 0);
	if (!out)
		handler_commit(c, g, &l, &x);
	return out;
}

static int deliver_protected(struct cpu *c, const struct delivery *d, bool *entered)
{
	struct gate g;
	int out;

	if (c->d.vm86 && d->e->type == EV_SOFT_INT) {
		bool done = false;

		out = vm86_int_n(c, d, &done);
		if (out || done)
			return out;
	}
	out = gate_check(c, d, &g);
	if (out)
		return out;
	if ((g.attr & SEG_TYPE) == SYS_TASK_GATE)
		return deliver_task(c, d, &g, entered);
	return deliver_gate(c, d, &g);
}

/* ---- delivery and its faults ------------------------------------------------------------------------------------ */

static bool event_is_soft(const struct event *e)
{
	return e->type == EV_SOFT_INT || e->type == EV_SOFT_EXC;
}

static bool vector_has_selector(u8 vector)
{
	return vector == EXC_TS || vector == EXC_NP || vector == EXC_SS || vector == EXC_GP;
}

/* One attempt. OUT_FAULT: nothing has changed unless a task gate entered its task; cpu->exc says why. */
static int event_deliver_once(struct cpu *c, const struct event *e)
{
	struct delivery d = { .e = e, .soft = event_is_soft(e), .ret = c->r[R_RIP], .flags = pushed_flags(c, e) };
	u64 rip = c->r[R_RIP];
	bool entered = false;
	int out;

	if (d.soft || e->type == EV_PRIV_SW)
		d.ret = (rip + e->insn_len) & c->d.lin_mask;
	out = c->d.pe ? deliver_protected(c, &d, &entered) : deliver_real(c, &d);
	if (out) {
		if (!entered)
			c->r[R_RIP] = rip;
		if (!d.soft && vector_has_selector(c->exc.vector))
			c->exc.error |= 1;
	}
	return out;
}

enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum fault_class fault_class(const struct event *e)
{
	if (e->type != EV_FAULT)
		return BENIGN;
	switch (e->vector) {
	case EXC_DE:
	case EXC_TS:
	case EXC_NP:
	case EXC_SS:
	case EXC_GP:
		return CONTRIBUTORY;
	case EXC_PF:
		return PAGE_FAULT;
	case EXC_DF:
		return DOUBLE_FAULT;
	}
	return BENIGN;
}

/* What a fault met while delivering `first` becomes; false: shutdown. SDM 3A table 6-5. */
static bool fault_combine(const struct event *first, struct event *second)
{
	enum fault_class a = fault_class(first), b = fault_class(second);

	if (a == DOUBLE_FAULT)
		return false;
	if ((a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && b != BENIGN))
		*second = (struct event){ .type = EV_FAULT, .vector = EXC_DF, .has_error = true };
	return true;
}

/* CR2 and the debug registers take an event's payload when it is raised and delivered, respectively. */
static void payload_apply(struct cpu *c, const struct event *e)
{
	if (e->vector == EXC_PF && e->type == EV_FAULT)
		c->cr2 = e->payload;
	if (e->vector == EXC_DB && (e->type == EV_FAULT || e->type == EV_TRAP)) {
		c->dr[6] = (c->dr[6] & ~(u64)DR6_B) | e->payload;
		c->dr[7] &= ~(u64)DR7_GD;
		c->debugctl &= ~(u64)(DEBUGCTL_LBR | DEBUGCTL_BTF);
	}
}

static void event_count(struct cpu *c, const struct event *e)
{
	switch (e->type) {
	case EV_EXT_INT:
		counter_inc(c->counters, CNT_INTERRUPTS);
		break;
	case EV_NMI:
		counter_inc(c->counters, CNT_NMIS);
		break;
	case EV_SOFT_INT:
	case EV_SOFT_EXC:
	case EV_PRIV_SW:
		counter_inc(c->counters, CNT_SYSCALLS);
		cpu_trace(c, TRACE_SOFT, e->vector, c->r[RAX], 0);
		break;
	default:
		counter_inc(c->counters, CNT_EXCEPTIONS);
		cpu_trace(c, TRACE_EXCEPTION, e->vector, e->has_error ? e->error : ~0ull, e->payload);
	}
}

int event_deliver(struct cpu *c, const struct event *e)
{
	struct event cur = *e;
	u64 deferred = 0;

	/* A #DB put off by MOV SS survives a software interrupt, not a fault or a hardware event. */
	if (event_is_soft(e) && e->type != EV_PRIV_SW)
		deferred = c->pending_db;
	else if (e->type == EV_PRIV_SW && c->pending_db) /* INT1 is a #DB itself: one exception for both */
		c->dr[6] = (c->dr[6] & ~(u64)DR6_B) | c->pending_db;
	c->pending_db = 0;
	c->injected.type = EV_NONE;
	if (e->type == EV_NMI)
		c->nmi_blocked = true;
	if (c->activity == ACT_HALTED)
		c->activity = ACT_RUNNING;
	for (;;) {
		event_count(c, &cur);
		payload_apply(c, &cur);
		if (!event_deliver_once(c, &cur))
			break;
		struct event next = c->exc;

		payload_apply(c, &(struct event){ .type = next.vector == EXC_PF ? EV_FAULT : EV_NONE,
						  .vector = EXC_PF,
						  .payload = next.payload });
		if (!fault_combine(&cur, &next)) {
			c->activity = ACT_SHUTDOWN;
			return OUT_HALT;
		}
		cur = next;
	}
	c->int_shadow = 0;
	c->pending_db |= deferred;
	if (event_waiting(c))
		cpu_post(c, ATT_EVENTS);
	return OUT_DONE;
}

/* ---- INT n, INT3, INTO, INT1 --------------------------------------------------------------------------------------
 */

static int soft_event(struct cpu *c, const struct insn *i, enum event_type type, u8 vector)
{
	struct event e = { .type = (u8)type, .vector = vector, .insn_len = i->len };

	c->no_step = c->rflags & FLAG_TF;
	c->r[R_RIP] = (c->r[R_RIP] - i->len) & c->d.lin_mask;
	event_deliver(c, &e);
	return c->activity == ACT_RUNNING ? OUT_END : OUT_HALT;
}

int exec_int_n(struct cpu *c, const struct insn *i)
{
	return soft_event(c, i, EV_SOFT_INT, (u8)i->imm);
}

int exec_int3(struct cpu *c, const struct insn *i)
{
	return soft_event(c, i, EV_SOFT_EXC, EXC_BP);
}

int exec_into(struct cpu *c, const struct insn *i)
{
	return c->aflags & AF_OF ? soft_event(c, i, EV_SOFT_EXC, EXC_OF) : OUT_DONE;
}

int exec_int1(struct cpu *c, const struct insn *i)
{
	return soft_event(c, i, EV_PRIV_SW, EXC_DB);
}
