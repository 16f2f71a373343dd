/* SPDX-License-Identifier: Apache-2.0
 * Delivery: gates and frames of every mode, error codes with EXT, double and triple faults, flags, what the boundary
 * takes first, shadows, single step, breakpoints.
 */
#include "flat_cpu.h"

#include "cpu/lapic.h"

static struct event fault(u8 vector, bool has_error, u32 error)
{
	return (struct event){ .type = EV_FAULT, .vector = vector, .has_error = has_error, .error = error };
}

static void assert_at(struct flat *f, u8 vector)
{
	assert_int_equal(f->c->activity, ACT_RUNNING);
	assert_int_equal(f->c->r[R_RIP], flat_handler(vector));
}

/* ---- frames --------------------------------------------------------------------------------------------------------
 */

static void test_frame32(void **state)
{
	struct flat *f = flat_protected(3);
	struct cpu *c = f->c;
	struct event e = fault(EXC_GP, true, 0x1230);

	(void)state;
	cpu_set_rflags_raw(c, FLAG_IF | FLAG_TF | FLAG_NT | FLAG_CF | 2);
	event_deliver(c, &e);
	assert_at(f, EXC_GP);
	assert_int_equal(c->d.cpl, 0);
	assert_int_equal(c->r[RSP], FLAT_STACK0 - 24);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 4, 4), SEL_DATA3);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 8, 4), FLAT_STACK3);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 12, 4), FLAG_IF | FLAG_TF | FLAG_NT | FLAG_CF | FLAG_RF | 2);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 16, 4), SEL_CODE3);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 20, 4), FLAT_CODE);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 24, 4), 0x1230);
	assert_int_equal(cpu_rflags(c), FLAG_CF | 2);
	flat_free(f);
}

/* A trap gate leaves IF; an interrupt pushes RF as it is; the same level pushes no stack. */
static void test_trap_gate(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;
	struct event e = { .type = EV_EXT_INT, .vector = 16 };
	u64 sp = c->r[RSP];

	(void)state;
	flat_idt(f, 16, SEL_CODE0, SYS_TRAP32, 0);
	cpu_set_rflags_raw(c, FLAG_IF | 2);
	event_deliver(c, &e);
	assert_at(f, 16);
	assert_int_equal(c->r[RSP], sp - 12);
	assert_int_equal(flat_get(f, sp - 4, 4), FLAG_IF | 2);
	assert_true(c->rflags & FLAG_IF);
	flat_idt(f, 17, SEL_CODE0, SYS_INT16, 0);
	e.vector = 17;
	event_deliver(c, &e);
	assert_int_equal(c->r[R_RIP], flat_handler(17) & 0xffff);
	assert_int_equal(c->r[RSP], sp - 12 - 6);
	flat_free(f);
}

static void test_frame64(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;
	struct event e = fault(EXC_PF, true, 2);

	(void)state;
	e.payload = 0x123456789a;
	c->r[RSP] = FLAT_STACK1 - 3;
	event_deliver(c, &e);
	assert_at(f, EXC_PF);
	assert_int_equal(c->cr2, 0x123456789a);
	assert_int_equal(c->r[RSP], FLAT_STACK1 - 16 - 48); /* aligned down to 16 */
	assert_int_equal(flat_get(f, FLAT_STACK1 - 24, 8), SEL_DATA0);
	assert_int_equal(flat_get(f, FLAT_STACK1 - 32, 8), FLAT_STACK1 - 3);
	assert_int_equal(flat_get(f, FLAT_STACK1 - 64, 8), 2);
	flat_put(f, FLAT_IDT + 16 * 8 + 4, 1, 1); /* IST1 for #DF */
	e = fault(EXC_DF, true, 0);
	event_deliver(c, &e);
	assert_at(f, EXC_DF);
	assert_int_equal(c->r[RSP], FLAT_IST - 48);
	assert_int_equal(c->seg[SEG_SS].sel, SEL_DATA0); /* the same level keeps SS */
	flat_free(f);

	f = flat_long(3);
	e = fault(EXC_DE, false, 0);
	event_deliver(f->c, &e);
	assert_at(f, EXC_DE);
	assert_int_equal(f->c->r[RSP], FLAT_STACK0 - 40);
	assert_int_equal(f->c->seg[SEG_SS].sel, 0);
	flat_free(f);
}

static void test_real(void **state)
{
	struct flat *f = flat_real();
	struct cpu *c = f->c;
	struct event e = fault(EXC_GP, true, 0);

	(void)state;
	cpu_set_rflags_raw(c, FLAG_IF | FLAG_TF | FLAG_IOPL | 2);
	event_deliver(c, &e);
	assert_int_equal(c->r[R_RIP], 0x900d);
	assert_int_equal(c->r[RSP], 0x7000 - 6); /* no error code */
	assert_int_equal(flat_get(f, 0x7000 - 2, 2), FLAG_IF | FLAG_TF | FLAG_IOPL | 2);
	assert_int_equal(flat_get(f, 0x7000 - 6, 2), FLAT_CODE);
	assert_int_equal(c->rflags, FLAG_IOPL | 2);
	c->r[R_RIP] = FLAT_CODE;
	c->idtr.limit = 0x33; /* INT 40H and #GP are beyond the table, #DF is not */
	FLAT_STEP(f, 0xcd, 0x40);
	assert_int_equal(c->r[R_RIP], 0x9008);
	c->idtr.limit = 0x1f;
	FLAT_STEP(f, 0xcd, 0x40);
	assert_int_equal(c->activity, ACT_SHUTDOWN);
	flat_free(f);
}

/* ---- vectors and privileges of software interrupts
 * -------------------------------------------------------------------- */

static void test_software(void **state)
{
	struct flat *f = flat_protected(3);
	struct cpu *c = f->c;

	(void)state;
	FLAT_STEP(f, 0xcd, 0x10); /* gate DPL 0: #GP with the IDT's error code, EXT clear */
	assert_at(f, EXC_GP);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 24, 4), 0x10 * 8 + 2);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 20, 4), FLAT_CODE);
	flat_free(f);

	f = flat_protected(3);
	c = f->c;
	flat_idt(f, 0x10, SEL_CODE0, SYS_INT32, 3);
	cpu_set_rflags_raw(c, FLAG_TF | 2);
	FLAT_STEP(f, 0xcd, 0x10);
	assert_at(f, 0x10); /* no single-step trap after INT n */
	assert_int_equal(flat_get(f, FLAT_STACK0 - 20, 4), FLAT_CODE + 2);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 12, 4), FLAG_TF | 2);
	flat_free(f);

	f = flat_protected(3);
	FLAT_STEP(f, 0xf1); /* INT1 ignores the gate's DPL */
	assert_at(f, EXC_DB);
	assert_int_equal(f->c->dr[6], 0xffff0ff0);
	flat_free(f);

	f = flat_protected(3);
	f->c->aflags |= AF_OF;
	flat_idt(f, EXC_OF, SEL_CODE0, SYS_INT32, 3);
	FLAT_STEP(f, 0xce);
	assert_at(f, EXC_OF);
	flat_free(f);

	f = flat_protected(3);
	flat_idt(f, 0x20, SEL_CODE0, SYS_INT32, 3);
	flat_put(f, FLAT_IDT + 0x20 * 8 + 5, 0x6e, 1); /* not present */
	FLAT_STEP(f, 0xcd, 0x20);
	assert_at(f, EXC_NP);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 24, 4), 0x20 * 8 + 2);
	flat_free(f);
}

/* Every fault on the way to a handler, from an external interrupt: EXT is set. */
static void test_delivery_faults(void **state)
{
	static const struct {
		u16 sel;
		u8 type;
		u8 vector;
		u32 error;
	} cases[] = {
		{ SEL_CODE0, SYS_CALL32, EXC_GP, 0x20 * 8 + 3 },
		{ SEL_CODE0, SYS_LDT, EXC_GP, 0x20 * 8 + 3 },
		{ 0, SYS_INT32, EXC_GP, 1 },
		{ 0x400, SYS_INT32, EXC_GP, 0x401 },
		{ SEL_DATA0, SYS_INT32, EXC_GP, SEL_DATA0 | 1 },
		{ SEL_FREE, SYS_INT32, EXC_NP, SEL_FREE | 1 },
		{ SEL_FREE + 8, SYS_INT32, EXC_GP, 1 },		     /* offset beyond the limit */
		{ SEL_CODE1, SYS_INT32, EXC_TS, SEL_FREE + 16 + 1 }, /* SS1 is not fit */
		{ SEL_TSS, SYS_TASK_GATE, EXC_GP, SEL_TSS | 1 },     /* busy */
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(3);
		struct event e = { .type = EV_EXT_INT, .vector = 0x20 };

		flat_gdt(f, SEL_FREE, flat_desc(0, 0xfffff, SEG_S | SEG_CODE | SEG_D | SEG_G));
		flat_gdt(f, SEL_FREE + 8, flat_desc(0, 0xff, SEG_P | SEG_S | SEG_CODE | SEG_D));
		flat_put(f, FLAT_TSS + 16, SEL_FREE + 16, 2);
		flat_idt(f, 0x20, cases[n].sel, cases[n].type, 3);
		event_deliver(f->c, &e);
		assert_at(f, cases[n].vector);
		assert_int_equal(flat_get(f, FLAT_STACK0 - 24, 4), cases[n].error);
		assert_int_equal(flat_get(f, FLAT_STACK0 - 20, 4), FLAT_CODE);
		flat_free(f);
	}
}

/* SDM 3A table 6-5: first in the row, second by a broken gate (#NP, contributory) or a page fault. */
static void test_double_faults(void **state)
{
	static const struct {
		u8 first, type;
		bool page_fault; /* the second one */
		u8 then;
	} cases[] = {
		{ EXC_UD, EV_FAULT, false, EXC_NP },	{ EXC_UD, EV_FAULT, true, EXC_PF },
		{ EXC_DE, EV_FAULT, false, EXC_DF },	{ EXC_DE, EV_FAULT, true, EXC_PF },
		{ EXC_GP, EV_FAULT, false, EXC_DF },	{ EXC_TS, EV_FAULT, false, EXC_DF },
		{ EXC_SS, EV_FAULT, true, EXC_PF },	{ EXC_PF, EV_FAULT, false, EXC_DF },
		{ EXC_PF, EV_FAULT, true, EXC_DF },	{ EXC_AC, EV_FAULT, false, EXC_NP },
		{ EXC_GP, EV_EXT_INT, false, EXC_NP },	{ EXC_NMI, EV_NMI, false, EXC_NP },
		{ EXC_GP, EV_SOFT_INT, false, EXC_NP },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(0);
		struct event e = { .type = cases[n].type, .vector = cases[n].first };

		/* the first handler's segment: not present, or its descriptor in a hole */
		flat_idt(f, cases[n].first, cases[n].page_fault ? SEL_FREE + 0x100 : SEL_FREE, SYS_INT32, 0);
		flat_gdt(f, SEL_FREE, flat_desc(0, 0xfffff, SEG_S | SEG_CODE | SEG_D | SEG_G));
		f->hole_lo = FLAT_GDT + SEL_FREE + 0x100;
		f->hole_hi = f->hole_lo + 8;
		if (cases[n].first == EXC_PF && cases[n].page_fault)
			assert_int_equal(cases[n].then, EXC_DF);
		event_deliver(f->c, &e);
		assert_at(f, cases[n].then);
		if (cases[n].then == EXC_DF)
			assert_int_equal(flat_get(f, f->c->r[RSP], 4), 0);
		flat_free(f);
	}
}

static void test_triple_fault(void **state)
{
	struct flat *f = flat_protected(0);
	struct event e = fault(EXC_GP, true, 0);

	(void)state;
	f->c->idtr.limit = 0;
	assert_int_equal(event_deliver(f->c, &e), OUT_HALT);
	assert_int_equal(f->c->activity, ACT_SHUTDOWN);
	assert_false(event_poll(f->c));
	flat_free(f);
}

/* A page fault on the new stack leaves the registers alone and names the first slot that failed. */
static void test_stack_page_fault(void **state)
{
	struct flat *f = flat_protected(3);
	struct event e = { .type = EV_EXT_INT, .vector = 0x10 };

	(void)state;
	flat_put(f, FLAT_TSS + 4, 0x60008, 4);
	flat_idt(f, EXC_PF, SEL_CODE1, SYS_INT32, 0); /* on another stack */
	f->hole_lo = 0x5f000;
	f->hole_hi = 0x60000;
	event_deliver(f->c, &e);
	assert_at(f, EXC_PF);
	assert_int_equal(f->c->cr2, 0x5fffc);
	assert_int_equal(flat_get(f, FLAT_STACK1 - 8, 4), FLAT_STACK3);
	assert_int_equal(flat_get(f, FLAT_STACK1 - 24, 4), PF_W);
	flat_free(f);
}

/* ---- virtual-8086 mode
 * ------------------------------------------------------------------------------------------------ */

static struct flat *vm86(u32 flags)
{
	struct flat *f = flat_protected(3);
	struct cpu *c = f->c;

	cpu_set_rflags_raw(c, flags | FLAG_VM | 2);
	for (unsigned s = 0; s < NR_SEGS; s++)
		seg_load_legacy(c, s, 0x4000);
	c->r[R_RIP] = 0x100;
	c->r[RSP] = 0x1000;
	c->tr.limit = 0x68 + 32 + 0x2000;
	flat_put(f, FLAT_TSS + 0x66, 0x68 + 32, 2);
	flat_put(f, 0x21 * 4, 0x50001234, 4);
	flat_idt(f, 0x21, SEL_CODE0, SYS_INT32, 3);
	cpu_update_mode(c);
	return f;
}

static void test_vm86(void **state)
{
	struct flat *f = vm86(FLAG_IOPL | FLAG_IF);
	struct cpu *c = f->c;

	(void)state;
	FLAT_STEP(f, 0xcd, 0x21);
	assert_at(f, 0x21);
	assert_false(c->d.vm86);
	assert_int_equal(c->r[RSP], FLAT_STACK0 - 36);
	assert_int_equal(c->seg[SEG_DS].sel, 0);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 4, 4), 0x4000);  /* GS */
	assert_int_equal(flat_get(f, FLAT_STACK0 - 20, 4), 0x4000); /* SS */
	assert_int_equal(flat_get(f, FLAT_STACK0 - 24, 4), 0x1000);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 28, 4), FLAG_VM | FLAG_IOPL | FLAG_IF | 2);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 36, 4), 0x102);
	flat_free(f);

	f = vm86(FLAG_IF); /* IOPL 0: #GP(0) */
	FLAT_STEP(f, 0xcd, 0x21);
	assert_at(f, EXC_GP);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 40, 4), 0);
	flat_free(f);

	f = vm86(FLAG_IOPL); /* the handler must be level 0 */
	flat_idt(f, 0x21, SEL_CODE1, SYS_INT32, 3);
	FLAT_STEP(f, 0xcd, 0x21);
	assert_at(f, EXC_GP);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 40, 4), SEL_CODE1 & ~3u);
	flat_free(f);
}

/* SDM 3A 21.3.3, table 21-2. */
static void test_vme(void **state)
{
	struct flat *f = vm86(FLAG_IOPL | FLAG_IF);
	struct cpu *c = f->c;

	(void)state;
	c->cr4 |= CR4_VME;
	FLAT_STEP(f, 0xcd, 0x21); /* redirected, IOPL 3: IF cleared */
	assert_true(c->d.vm86);
	assert_int_equal(c->seg[SEG_CS].sel, 0x5000);
	assert_int_equal(c->r[R_RIP], 0x1234);
	assert_false(c->rflags & FLAG_IF);
	assert_int_equal(flat_get(f, 0x40000 + 0x1000 - 2, 2), FLAG_IOPL | FLAG_IF | 2);
	flat_free(f);

	f = vm86(FLAG_IF | FLAG_VIF); /* IOPL 0: VIF instead, IOPL 3 in the image */
	c = f->c;
	c->cr4 |= CR4_VME;
	FLAT_STEP(f, 0xcd, 0x21);
	assert_int_equal(c->seg[SEG_CS].sel, 0x5000);
	assert_true(c->rflags & FLAG_IF);
	assert_false(c->rflags & FLAG_VIF);
	assert_int_equal(flat_get(f, 0x40000 + 0x1000 - 2, 2), FLAG_IOPL | FLAG_IF | 2);
	flat_free(f);

	f = vm86(FLAG_IOPL);
	f->c->cr4 |= CR4_VME;
	flat_put(f, FLAT_TSS + 0x68 + 0x21 / 8, 1 << (0x21 % 8), 1); /* bit set: protected-mode handler */
	FLAT_STEP(f, 0xcd, 0x21);
	assert_at(f, 0x21);
	flat_free(f);
}

/* ---- the boundary
 * -------------------------------------------------------------------------------------------------------- */

static void test_single_step(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	c->rflags |= FLAG_TF;
	FLAT_STEP(f, 0x90);
	assert_at(f, EXC_DB);
	assert_int_equal(c->dr[6], 0xffff0ff0 | DR6_BS);
	assert_int_equal(flat_get(f, c->r[RSP], 4), FLAT_CODE + 1);
	assert_int_equal(flat_get(f, c->r[RSP] + 8, 4), FLAG_TF | 2); /* a trap: no RF */
	flat_free(f);

	/* POPF that sets TF: the trap comes after the next instruction */
	f = flat_protected(0);
	c = f->c;
	flat_put(f, c->r[RSP], FLAG_TF | 2, 4);
	FLAT_STEP(f, 0x9d);
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 1);
	FLAT_STEP(f, 0x90);
	assert_at(f, EXC_DB);
	flat_free(f);

	/* none after MOV SS, but after the instruction behind it */
	f = flat_protected(0);
	c = f->c;
	c->rflags |= FLAG_TF;
	c->r[RAX] = SEL_DATA0;
	FLAT_STEP(f, 0x8e, 0xd0);
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 2);
	FLAT_STEP(f, 0x90);
	assert_at(f, EXC_DB);
	assert_int_equal(flat_get(f, c->r[RSP], 4), FLAT_CODE + 3);
	flat_free(f);
}

static void test_breakpoints(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	c->dr[0] = FLAT_CODE;
	c->dr[7] |= 1;
	FLAT_STEP(f, 0x90);
	assert_at(f, EXC_DB); /* before the instruction */
	assert_int_equal(c->dr[6], 0xffff0ff0 | 1);
	assert_int_equal(flat_get(f, c->r[RSP], 4), FLAT_CODE);
	assert_int_equal(flat_get(f, c->r[RSP] + 8, 4), 2); /* an instruction breakpoint sets no RF */
	c->r[R_RIP] = FLAT_CODE;
	c->rflags |= FLAG_RF;
	flat_step(f);
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 1);
	assert_false(c->rflags & FLAG_RF);
	flat_free(f);

	f = flat_protected(0);
	c = f->c;
	c->dr[1] = FLAT_DATA;
	c->dr[7] |= 1 << 2 | 0xdu << 20; /* DR1: write, 4 bytes */
	c->r[RBX] = FLAT_DATA + 3;
	FLAT_STEP(f, 0x8a, 0x03); /* mov al, [ebx]: no write */
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 2);
	FLAT_STEP(f, 0x88, 0x03);
	assert_at(f, EXC_DB);
	assert_int_equal(c->dr[6], 0xffff0ff0 | 2);
	assert_int_equal(flat_get(f, c->r[RSP], 4), FLAT_CODE + 4); /* a trap */
	flat_free(f);

	/* a data breakpoint met by MOV SS waits for the next instruction */
	f = flat_protected(0);
	c = f->c;
	c->dr[1] = FLAT_DATA;
	c->dr[7] |= 1 << 2 | 0xfu << 20;
	flat_put(f, FLAT_DATA, SEL_DATA0, 2);
	c->r[RBX] = FLAT_DATA;
	FLAT_STEP(f, 0x8e, 0x13); /* mov ss, [ebx] */
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 2);
	FLAT_STEP(f, 0x90);
	assert_at(f, EXC_DB);
	flat_free(f);
}

static void test_interrupts(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	flat_idt(f, 0x30, SEL_CODE0, SYS_INT32, 0);
	f->extint = 0x30;
	c->lapic.lvt[LVT_LINT0] = APIC_DM_EXTINT << 8;
	cpu_post(c, ATT_EXTINT);
	assert_false(event_deliverable(c));
	FLAT_STEP(f, 0xfb); /* sti: one more instruction */
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 1);
	assert_false(event_deliverable(c));
	FLAT_STEP(f, 0x90);
	assert_at(f, 0x30);
	assert_int_equal(f->acks, 1);
	assert_int_equal(flat_get(f, c->r[RSP], 4), FLAT_CODE + 2);
	flat_free(f);

	/* sti; cli lets nothing in */
	f = flat_protected(0);
	c = f->c;
	c->lapic.lvt[LVT_LINT0] = APIC_DM_EXTINT << 8;
	cpu_post(c, ATT_EXTINT);
	FLAT_STEP(f, 0xfb);
	FLAT_STEP(f, 0xfa);
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 2);
	flat_free(f);

	/* NMI: blocked by MOV SS and until IRET; wakes a halted CPU */
	f = flat_protected(0);
	c = f->c;
	c->r[RAX] = SEL_DATA0;
	cpu_post(c, ATT_NMI);
	c->r[RBX] = c->r[RSP];
	FLAT_STEP(f, 0x8e, 0xd0);
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 2);
	FLAT_STEP(f, 0x90);
	assert_at(f, EXC_NMI);
	assert_true(c->nmi_blocked);
	cpu_post(c, ATT_NMI);
	FLAT_STEP(f, 0x90);
	assert_int_equal(c->r[R_RIP], flat_handler(EXC_NMI) + 1);
	FLAT_STEP(f, 0xcf);
	assert_at(f, EXC_NMI); /* the second one, at once */
	c->nmi_blocked = false;
	FLAT_STEP(f, 0xfa);
	FLAT_STEP(f, 0xfb); /* STI's shadow holds it back too (SDM 2B, STI) */
	cpu_post_nmi(c);
	assert_false(event_deliverable(c));
	FLAT_STEP(f, 0x90);
	assert_at(f, EXC_NMI);
	/* two before the first look: both; any number while one is served: one */
	c->nmi_blocked = false;
	cpu_post_nmi(c);
	cpu_post_nmi(c);
	cpu_post_nmi(c);
	assert_true(event_poll(c));
	assert_false(event_poll(c));
	cpu_post_nmi(c);
	FLAT_STEP(f, 0xcf);
	assert_at(f, EXC_NMI);
	FLAT_STEP(f, 0xcf);
	assert_false(c->nmi_blocked);
	c->activity = ACT_HALTED;
	assert_false(event_deliverable(c));
	cpu_post(c, ATT_NMI);
	assert_true(event_deliverable(c));
	assert_true(event_poll(c));
	assert_int_equal(c->activity, ACT_RUNNING);
	flat_free(f);
}

/* Traps of the last instruction come before NMI, NMI before interrupts (SDM 3A table 6-2). */
static void test_priority(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	flat_idt(f, 0x30, SEL_CODE0, SYS_INT32, 0);
	flat_idt(f, EXC_NMI, SEL_CODE0, SYS_TRAP32, 0);
	flat_idt(f, EXC_DB, SEL_CODE0, SYS_TRAP32, 0);
	f->extint = 0x30;
	c->lapic.lvt[LVT_LINT0] = APIC_DM_EXTINT << 8;
	c->rflags |= FLAG_IF;
	c->pending_db = DR6_BS;
	cpu_post(c, ATT_EXTINT | ATT_NMI | ATT_EVENTS);
	assert_true(event_poll(c));
	assert_at(f, EXC_DB);
	assert_true(atomic_load(&c->attention) & ATT_EVENTS);
	assert_true(event_poll(c));
	assert_at(f, EXC_NMI);
	assert_true(event_poll(c));
	assert_at(f, 0x30);
	assert_false(event_poll(c));
	flat_free(f);
}

static void test_init_sipi(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	c->apic_base &= ~(u64)APIC_BASE_BSP;
	c->zmm[3].q[0] = 77;
	c->pat = 5;
	cpu_post(c, ATT_INIT);
	assert_true(event_poll(c));
	assert_int_equal(c->activity, ACT_WAIT_SIPI);
	assert_int_equal(c->zmm[3].q[0], 77);
	assert_int_equal(c->pat, 5);
	assert_int_equal(c->cr0 & CR0_PE, 0);
	c->sipi_vector = 0x9a;
	cpu_post(c, ATT_SIPI);
	assert_true(event_poll(c));
	assert_int_equal(c->activity, ACT_RUNNING);
	assert_int_equal(c->seg[SEG_CS].sel, 0x9a00);
	assert_int_equal(c->seg[SEG_CS].base, 0x9a000);
	assert_int_equal(c->r[R_RIP], 0);
	cpu_post(c, ATT_SIPI); /* ignored by a running CPU */
	assert_false(event_poll(c));
	flat_free(f);

	f = flat_new();
	assert_int_equal(f->c->r[R_RIP], 0xfff0);
	assert_int_equal(f->c->seg[SEG_CS].base, 0xffff0000);
	assert_int_equal(f->c->cr0, 0x60000010);
	assert_int_equal(f->c->dr[7], 0x400);
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame32),
		cmocka_unit_test(test_trap_gate),
		cmocka_unit_test(test_frame64),
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_software),
		cmocka_unit_test(test_delivery_faults),
		cmocka_unit_test(test_double_faults),
		cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_stack_page_fault),
		cmocka_unit_test(test_vm86),
		cmocka_unit_test(test_vme),
		cmocka_unit_test(test_single_step),
		cmocka_unit_test(test_breakpoints),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_init_sipi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
