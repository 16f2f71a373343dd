/* SPDX-License-Identifier: Apache-2.0
 * Interrupt controllers and timers together: local APIC as xAPIC and x2APIC, I/O APIC, the 8259 pair, PIT, RTC, and
 * HLT. SDM 3A chapter 10; datasheets of 82093AA (I/O APIC), 8259A, 8254, MC146818.
 */
#include "kit/kit.h"

enum { GP = 13, LOWV = 0x50, PIC = 0xa0, SPURIOUS = 0xff };
enum {
	ID = 0x20,
	VER = 0x30,
	TPR = 0x80,
	PPR = 0xa0,
	EOI = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR2 = 0x310,
	LVT_TIMER = 0x320,
	LVT_LINT0 = 0x350,
	LVT_LINT1 = 0x360,
	LVT_ERROR = 0x370,
	TMICT = 0x380,
	TMCCT = 0x390,
	TDCR = 0x3e0
};
#define MASKED 0x10000u

static bool x2;
static volatile u32 *const mmio = (volatile u32 *)0xfee00000;

static u32 rd(unsigned reg)
{
	return x2 ? (u32)rdmsr(0x800 + reg / 16) : mmio[reg / 4];
}

static void wr(unsigned reg, u32 v)
{
	if (x2)
		wrmsr(0x800 + reg / 16, v);
	else
		mmio[reg / 4] = v;
}

static bool bit_of(unsigned reg, unsigned vector)
{
	return rd(reg + vector / 32 * 16) >> (vector & 31) & 1;
}

static volatile unsigned taken, order[64];
static volatile bool no_eoi;
static bool seen_isr, seen_irr;

static u8 cmos(unsigned reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static bool on_apic(struct frame *f)
{
	seen_isr = bit_of(ISR, (unsigned)f->vector);
	seen_irr = bit_of(IRR, (unsigned)f->vector);
	order[taken++ & 63] = (unsigned)f->vector;
	if (f->vector == 0x54 && taken >= 3)
		cmos(12); /* its line down, or it would never end */
	if (!no_eoi)
		wr(EOI, 0);
	return true;
}

static bool pic_eoi = true;

static bool on_pic(struct frame *f)
{
	order[taken++ & 63] = (unsigned)f->vector;
	if (pic_eoi) {
		if (f->vector >= PIC + 8)
			outb(0xa0, 0x20);
		outb(0x20, 0x20);
	}
	return true;
}

static void sti_nop(void)
{
	__asm__ volatile("sti; nop; nop; cli" ::: "memory");
}

/* Interrupts are let in until n were taken, or for very long. */
static void wait_for(unsigned n)
{
	for (unsigned i = 0; taken < n && i < 20000000; i++)
		sti_nop();
}

/* Interrupts are let in for about ms milliseconds, by channel 2 of the PIT. */
static void wait_ms(unsigned ms)
{
	while (ms--) {
		outb(0x61, (inb(0x61) & ~2u) | 1);
		outb(0x43, 0xb0);
		outb(0x42, 1193 & 0xff);
		outb(0x42, 1193 >> 8);
		while (!(inb(0x61) & 0x20))
			sti_nop();
	}
}

static void fresh(void)
{
	taken = 0;
	memset((void *)order, 0, sizeof(order));
}

static void self(unsigned vector)
{
	if (x2)
		wrmsr(0x83f, vector);
	else
		wr(ICR, 0x40000 | vector);
}

static void priorities(void)
{
	fresh();
	self(LOWV);
	kit_case("IRR holds it", "SDM 3A 10.8.4", 1, bit_of(IRR, LOWV));
	sti_nop();
	kit_case("self-IPI taken", "SDM 3A 10.6.1", 1, taken);
	kit_case("ISR in the handler", "SDM 3A 10.8.4", 1, seen_isr);
	kit_case("IRR in the handler", "SDM 3A 10.8.4", 0, seen_irr);
	kit_case("ISR after EOI", "SDM 3A 10.8.5", 0, bit_of(ISR, LOWV));
	fresh();
	wr(TPR, 0x55);
	kit_case("PPR is TPR", "SDM 3A 10.8.3.1", 0x55, rd(PPR));
	{
		u64 cr8;

		__asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
		kit_case("CR8 is TPR's class", "SDM 3A 10.8.6.1", 5, cr8);
		__asm__ volatile("mov %0, %%cr8" ::"r"(6ull));
		kit_case("TPR after MOV CR8", "SDM 3A 10.8.6.1", 0x60, rd(TPR));
	}
	wr(TPR, 0x50);
	self(LOWV + 15);
	self(LOWV + 16);
	sti_nop();
	kit_case("TPR holds back its class", "SDM 3A 10.8.3.1", 1, taken);
	kit_case("the class above comes", "SDM 3A 10.8.3.1", LOWV + 16, order[0]);
	wr(TPR, 0x4f);
	sti_nop();
	kit_case("a lower TPR lets it in", "SDM 3A 10.8.3.1", 2, taken);
	wr(TPR, 0);
	fresh();
	no_eoi = true;
	self(0x60);
	sti_nop();
	kit_case("PPR is the class in service", "SDM 3A 10.8.3.1", 0x60, rd(PPR));
	self(0x5f);
	self(0x6f);
	sti_nop();
	kit_case("its class and those below wait", "SDM 3A 10.8.3.1", 1, taken);
	self(0x70);
	sti_nop();
	kit_case("higher classes nest", "SDM 3A 10.8.4", 0x70, order[1]);
	no_eoi = false;
	wr(EOI, 0);
	sti_nop();
	kit_case("EOI ends the highest", "SDM 3A 10.8.5", 0, bit_of(ISR, 0x70));
	kit_case("the one below stays in service", "SDM 3A 10.8.5", 1, bit_of(ISR, 0x60));
	wr(EOI, 0);
	sti_nop();
	kit_case("then the rest by priority", "SDM 3A 10.8.3", 0x6f5f, order[2] << 8 | order[3]);
	fresh();
	self(LOWV);
	self(LOWV);
	sti_nop();
	kit_case("two of a vector before the first is taken are one", "SDM 3A 10.8.4", 1, taken);
}

static void errors(void)
{
	fresh();
	wr(LVT_ERROR, 0x58);
	wr(ESR, 0);
	wr(ESR, 0);
	kit_case("ESR clear", "SDM 3A 10.5.3", 0, rd(ESR));
	if (!x2 && !kit_on_tcg()) { /* which delivers vector 5 */
		wr(ICR, 0x40005);
		sti_nop();
		wr(ESR, 0);
		kit_case("ESR: illegal vector sent", "SDM 3A 10.5.3", 0x20, rd(ESR) & 0x20);
		kit_case("error interrupt", "SDM 3A 10.5.3", 0x58, order[0]);
		wr(ESR, 0);
		kit_case("ESR clear again", "SDM 3A 10.5.3", 0, rd(ESR));
	}
	wr(LVT_ERROR, MASKED);
}

static void timer(void)
{
	u32 r[4];

	wr(TDCR, 0xb);
	fresh();
	wr(LVT_TIMER, 0x52);
	wr(TMICT, 100000);
	kit_case("the count runs", "SDM 3A 10.5.4", 1, rd(TMCCT) <= 100000);
	wait_for(1);
	wait_ms(2);
	kit_case("one shot", "SDM 3A 10.5.4", 1, taken);
	kit_case("its vector", "SDM 3A 10.5.4", 0x52, order[0]);
	kit_case("the count ends at 0", "SDM 3A 10.5.4", 0, rd(TMCCT));
	fresh();
	wr(LVT_TIMER, 0x52 | MASKED);
	wr(TMICT, 10000);
	wait_ms(2);
	kit_case("masked", "SDM 3A 10.5.1", 0, taken);
	kit_case("counts all the same", "SDM 3A 10.5.4", 0, rd(TMCCT));
	wr(LVT_TIMER, 0x52);
	wait_ms(1);
	kit_case("what was masked is lost", "SDM 3A 10.5.1", 0, taken);
	wr(LVT_TIMER, 0x20052);
	wr(TMICT, 200000);
	wait_for(4);
	kit_case("periodic", "SDM 3A 10.5.4", 1, taken >= 4);
	wr(TMICT, 0);
	wait_ms(1);
	fresh();
	wait_ms(2);
	kit_case("an initial count of 0 stops it", "SDM 3A 10.5.4", 0, taken);
	cpuid(1, 0, r);
	if (r[2] >> 24 & 1) {
		wr(LVT_TIMER, 0x40052);
		fresh();
		wrmsr(0x6e0, 1);
		wait_for(1);
		kit_case("TSC deadline in the past", "SDM 3A 10.5.4.1", 1, taken);
		kit_case("the deadline is gone", "SDM 3A 10.5.4.1", 0, rdmsr(0x6e0));
		wrmsr(0x6e0, rdmsr(0x10) + 5000000);
		wait_for(2);
		kit_case("TSC deadline ahead", "SDM 3A 10.5.4.1", 2, taken);
		wrmsr(0x6e0, rdmsr(0x10) + (1ull << 40));
		kit_case("a deadline ahead reads back", "SDM 3A 10.5.4.1", 1, rdmsr(0x6e0) != 0);
		wrmsr(0x6e0, 0);
		kit_case("0 disarms", "SDM 3A 10.5.4.1", 0, rdmsr(0x6e0));
		wr(TMICT, 1000);
		kit_case("no initial count in deadline mode", "SDM 3A 10.5.4.1", 0, rd(TMCCT));
		wr(LVT_TIMER, 0x52 | MASKED);
		wrmsr(0x6e0, rdmsr(0x10) + 1000);
		kit_case("no deadline in one-shot mode", "SDM 3A 10.5.4.1", 0, rdmsr(0x6e0));
	}
	wr(LVT_TIMER, MASKED);
	fresh();
	wr(LVT_TIMER, 0x52);
	wr(TMICT, 100000);
	__asm__ volatile("sti; hlt; cli");
	kit_case("HLT ends with the timer", "SDM 2A HLT", 1, taken);
	wr(LVT_TIMER, MASKED);
}

static void disabled(void)
{
	wr(LVT_TIMER, 0x52);
	wr(SVR, 0xff);
	kit_case("software-disabled APIC masks its LVT", "SDM 3A 10.4.7.2", MASKED, rd(LVT_TIMER) & MASKED);
	wr(LVT_TIMER, 0x52);
	kit_case("and keeps it masked", "SDM 3A 10.4.7.2", MASKED, rd(LVT_TIMER) & MASKED);
	wr(SVR, 0x1ff);
	kit_case("enabling does not unmask", "SDM 3A 10.4.7.2", MASKED, rd(LVT_TIMER) & MASKED);
}

/* ---- 8259 ---- */

static void pic_init(unsigned icw4)
{
	outb(0x20, 0x11);
	outb(0x21, PIC);
	outb(0x21, 4);
	outb(0x21, icw4);
	outb(0xa0, 0x11);
	outb(0xa1, PIC + 8);
	outb(0xa1, 2);
	outb(0xa1, icw4);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

static void pit0(unsigned mode, unsigned count)
{
	outb(0x43, 0x30 | mode << 1);
	outb(0x40, count & 0xff);
	outb(0x40, count >> 8);
}

static void cmos_set(unsigned reg, u8 v)
{
	outb(0x70, reg);
	outb(0x71, v);
}

static u8 pic_read(unsigned port, unsigned ocw3)
{
	outb(port, ocw3);
	return inb(port);
}

static void spin_ms(unsigned ms)
{
	while (ms--) {
		outb(0x61, (inb(0x61) & ~2u) | 1);
		outb(0x43, 0xb0);
		outb(0x42, 1193 & 0xff);
		outb(0x42, 1193 >> 8);
		while (!(inb(0x61) & 0x20))
			;
	}
}

static void pics(void)
{
	wr(LVT_LINT0, 0x700);
	pic_init(1);
	kit_case("IMR reads back", "8259A OCW1", 0xff, inb(0x21));
	fresh();
	pit0(2, 1193);
	spin_ms(3);
	/* An edge that falls before INTA is withdrawn, so the request is not there all the time. */
	u8 irr = 0;
	for (unsigned n = 0; n < 100000 && !irr; n++)
		irr = pic_read(0x20, 0xa) & 1;
	kit_case("masked request is in IRR", "8259A IRR", 1, irr);
	sti_nop();
	kit_case("masked request waits", "8259A IMR", 0, taken);
	outb(0x21, 0xfe);
	wait_for(3);
	kit_case("the PIT interrupts", "8259A", 1, taken >= 3);
	kit_case("by vector", "8259A ICW2", PIC, order[0]);
	pic_eoi = false;
	fresh();
	wait_for(1);
	wait_ms(3);
	kit_case("none without EOI", "8259A", 1, taken);
	kit_case("ISR until EOI", "8259A ISR", 1, pic_read(0x20, 0xb));
	pic_eoi = true;
	outb(0x20, 0x20);
	kit_case("ISR after EOI", "8259A OCW2", 0, pic_read(0x20, 0xb));
	wait_for(2);
	kit_case("again after EOI", "8259A OCW2", 1, taken >= 2);
	pic_init(3);
	outb(0x21, 0xfe);
	pic_eoi = false;
	fresh();
	wait_for(3);
	kit_case("automatic EOI", "8259A ICW4", 1, taken >= 3);
	kit_case("ISR with automatic EOI", "8259A ICW4", 0, pic_read(0x20, 0xb));
	pic_eoi = true;
	pic_init(1);
	/* IRQ 8 through the cascade, with IRQ 0 at the same time: a single edge, or another may come before IRQ 8 is
	 * served */
	pit0(0, 1);
	outb(0x70, 0);
	cmos_set(10, 0x26);
	cmos_set(11, 0x42);
	cmos(12);
	spin_ms(5);
	kit_case("RTC's request", "8259A IRR", 1, pic_read(0xa0, 0xa) & 1);
	fresh();
	outb(0x21, 0xfa);
	outb(0xa1, 0xfe);
	wait_for(2);
	kit_case("IRQ 0 before IRQ 8", "8259A", PIC << 16 | (PIC + 8), order[0] << 16 | order[1]);
	fresh();
	outb(0x21, 0xfb);
	cmos(12);
	wait_for(1);
	kit_case("the RTC interrupts", "MC146818 PF", PIC + 8, order[0]);
	wait_ms(3);
	kit_case("once until register C is read", "MC146818 C", 1, taken);
	kit_case("register C says periodic", "MC146818 C", 0xc0, cmos(12) & 0xc0);
	cmos(12);
	wait_for(2);
	kit_case("again after it", "MC146818 C", 1, taken >= 2);
	cmos_set(11, 2);
	cmos(12);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	wr(LVT_LINT0, MASKED);
}

static u32 pit2_latched(void)
{
	u32 low;

	outb(0x43, 0x80);
	low = inb(0x42);
	return low | (u32)inb(0x42) << 8;
}

static void pit2(void)
{
	u8 status;

	outb(0x61, inb(0x61) & ~3u);
	outb(0x43, 0xb0);
	outb(0x42, 0x10);
	outb(0x42, 0);
	kit_case("OUT is low after the mode", "8254 mode 0", 0, inb(0x61) & 0x20);
	for (unsigned i = 0; i < 2000; i++)
		inb(0x61);
	kit_case("gate low holds the count", "8254 gate", 0, inb(0x61) & 0x20);
	outb(0x61, inb(0x61) | 1);
	for (unsigned i = 0; i < 100000 && !(inb(0x61) & 0x20); i++)
		;
	kit_case("gate high lets it end", "8254 mode 0", 0x20, inb(0x61) & 0x20);
	outb(0x43, 0xe8);
	status = inb(0x42);
	kit_case("read-back status", "8254 read-back", 0xb0, status & 0xbf);
	outb(0x43, 0xb4);
	outb(0x42, 0);
	outb(0x42, 0x80);
	{
		u32 a = pit2_latched(), b = a;

		for (unsigned i = 0; i < 100000 && b == a; i++)
			b = pit2_latched();
		kit_case("latched counts move", "8254 latch", 1, b != a && a <= 0x8000 && b <= 0x8000);
	}
	outb(0x61, inb(0x61) & ~3u);
}

/* ---- I/O APIC ---- */

static volatile u32 *const ioapic = (volatile u32 *)0xfec00000;

static u32 io_rd(unsigned reg)
{
	ioapic[0] = reg;
	return ioapic[4];
}

static void io_wr(unsigned reg, u32 v)
{
	ioapic[0] = reg;
	ioapic[4] = v;
}

static void io_apic(void)
{
	u32 dest = x2 ? rd(ID) << 24 : rd(ID) & 0xff000000;

	kit_case("24 pins", "82093AA 3.2.2", 0x17, io_rd(1) >> 16 & 0xff);
	kit_case("entries are masked at first", "82093AA 3.2.4", 0x10000, io_rd(0x10 + 2 * 20) & 0x10000);
	io_wr(0x10 + 2 * 8, 0xffffffff);
	kit_case("read-only bits of an entry", "82093AA 3.2.4", 0x1afff, io_rd(0x10 + 2 * 8) & 0x1ffff);
	io_wr(0x11 + 2 * 2, dest);
	io_wr(0x10 + 2 * 2, 0x53);
	pit0(2, 1193);
	fresh();
	wait_for(3);
	kit_case("edges from the PIT", "82093AA 3.2.4", 1, taken >= 3);
	kit_case("its vector", "82093AA 3.2.4", 0x53, order[0]);
	kit_case("TMR of an edge", "SDM 3A 10.8.4", 0, bit_of(TMR, 0x53));
	io_wr(0x10 + 2 * 2, 0x10053);
	wait_ms(2);
	fresh();
	wait_ms(3);
	kit_case("masked pin", "82093AA 3.2.4", 0, taken);
	pit0(0, 1); /* stop it */
	/* RTC, level triggered: its line stays up until register C is read */
	io_wr(0x11 + 2 * 8, dest);
	cmos_set(10, 0x26);
	cmos_set(11, 2);
	cmos(12);
	io_wr(0x10 + 2 * 8, 0x8054);
	cmos_set(11, 0x42);
	fresh();
	no_eoi = true;
	wait_for(1);
	kit_case("level from the RTC", "82093AA 3.2.4", 0x54, order[0]);
	kit_case("TMR of a level", "SDM 3A 10.8.4", 1, bit_of(TMR, 0x54));
	kit_case("remote IRR in service", "82093AA 3.2.4", 0x4000, io_rd(0x10 + 2 * 8) & 0x4000);
	sti_nop();
	kit_case("once in service", "82093AA 3.2.4", 1, taken);
	no_eoi = false;
	wr(EOI, 0);
	sti_nop();
	kit_case("EOI with the line up delivers again", "82093AA 3.2.4", 1, taken >= 2);
	cmos_set(11, 2);
	cmos(12);
	sti_nop();
	wait_ms(1);
	fresh();
	wait_ms(2);
	kit_case("line down", "82093AA 3.2.4", 0, taken);
	kit_case("remote IRR after EOI", "82093AA 3.2.4", 0, io_rd(0x10 + 2 * 8) & 0x4000);
	io_wr(0x10 + 2 * 8, 0x10000);
}

static void try_rd(void *msr)
{
	rdmsr((u32)(u64)msr);
}

static void try_wr(void *msr)
{
	wrmsr((u32)(u64)msr, (u64)msr >> 32);
}

static void gp(const char *name, void (*fn)(void *), u64 arg)
{
	kit_with("MSR %x value %x", (u32)arg, (u32)(arg >> 32), 0, 0);
	kit_case(name, "SDM 3A 10.12", GP, (u64)kit_try(fn, (void *)arg));
	kit_with(NULL, 0, 0, 0, 0);
}

static void x2apic(void)
{
	static const u16 absent[] = { 0x804, 0x80e, 0x831, 0x840, 0x8ff },
			 read_only[] = { 0x802, 0x803, 0x80a, 0x80d, 0x810, 0x820, 0x839 };
	u64 base = rdmsr(0x1b);
	u32 r[4], id = rd(ID) >> 24;

	cpuid(1, 0, r);
	if (!(r[2] >> 21 & 1))
		return;
	gp("x2APIC MSR in xAPIC mode", try_rd, 0x802);
	wrmsr(0x1b, base | 0x400);
	x2 = true;
	kit_case("x2APIC ID", "SDM 3A 10.12.5.1", id, rd(ID));
	kit_case("logical ID", "SDM 3A 10.12.10.2", (id >> 4) << 16 | 1u << (id & 15), rd(LDR));
	for (unsigned i = 0; i < sizeof(absent) / 2; i++)
		gp("x2APIC register that is not there", try_rd, absent[i]);
	for (unsigned i = 0; i < sizeof(read_only) / 2; i++)
		gp("x2APIC register that is read-only", try_wr, read_only[i]);
	gp("EOI of not 0", try_wr, 1ull << 32 | 0x80b);
	gp("ESR of not 0", try_wr, 1ull << 32 | 0x828);
	gp("reserved bit of SVR", try_wr, 1ull << 63 | 0x80f);
	wr(SVR, 0x1ff); /* for APICs that take it */
	gp("reserved bit of the TPR", try_wr, 0x100ull << 32 | 0x808);
	wr(TPR, 0);
	gp("self IPI register read", try_rd, 0x83f);
	gp("back to xAPIC at once", try_wr, (base & 0xfffffbff) << 32 | 0x1b);
	priorities();
	errors();
	timer();
	io_apic();
	fresh();
	wrmsr(0x830, (u64)id << 32 | 0x55);
	sti_nop();
	kit_case("64-bit ICR", "SDM 3A 10.12.9", 0x55, order[0]);
	wrmsr(0x1b, base & ~0xc00ull);
	x2 = false;
	gp("disabled to x2APIC at once", try_wr, ((base | 0xc00) & 0xffffffff) << 32 | 0x1b);
	cpuid(1, 0, r);
	kit_case("CPUID tells that it is off", "SDM 3A 10.4.3", 0, r[3] >> 9 & 1);
	wrmsr(0x1b, base);
}

static bool on_nmi(struct frame *f)
{
	(void)f;
	taken++;
	return true;
}

/* HLT with IF clear ends with an NMI only: here from the PIT, by an entry of the I/O APIC. The PIT is periodic, because
 * the first NMI comes before HLT where the host holds this CPU up. */
static void halts(void)
{
	fresh();
	kit_handlers[2] = on_nmi;
	io_wr(0x11 + 2 * 2, rd(ID) & 0xff000000);
	io_wr(0x10 + 2 * 2, 0x400);
	pit0(2, 20000);
	__asm__ volatile("cli; hlt");
	kit_case("HLT with IF clear ends with an NMI", "SDM 2A HLT", 1, taken >= 1);
	io_wr(0x10 + 2 * 2, 0x10000);
	pit0(0, 1);
}

/* The id of the xAPIC may be written, and is what messages are compared with; off and on is a power-up. */
static void identity(void)
{
	u64 base = rdmsr(0x1b);
	u32 own = rd(ID);

	if (kit_on_tcg()) /* which cannot switch its APIC on again */
		return;
	fresh();
	wr(ID, 0x5a000000);
	kit_case("ID reads back", "SDM 3A 11.4.6", 0x5a000000, rd(ID));
	wr(ICR2, own);
	wr(ICR, LOWV);
	sti_nop();
	kit_case("messages to the old id go nowhere", "SDM 3A 11.6.2.1", 0, taken);
	wr(ICR2, 0x5a000000);
	wr(ICR, LOWV);
	sti_nop();
	kit_case("messages to the new id arrive", "SDM 3A 11.6.2.1", 1, taken);
	wrmsr(0x1b, base & ~0x800ull);
	wrmsr(0x1b, base);
	kit_case("the first id after off and on", "SDM 3A 11.4.3", own, rd(ID));
	wr(SVR, 0x1ff);
	wr(LVT_LINT0, MASKED);
}

int guest_main(void)
{
	for (unsigned v = LOWV; v < 0x80; v++)
		kit_handlers[v] = on_apic;
	for (unsigned v = PIC; v < PIC + 16; v++)
		kit_handlers[v] = on_pic;
	pic_init(1);
	wr(SVR, 0x1ff);
	wr(LVT_LINT0, MASKED);
	kit_case("version", "SDM 3A 10.4.8", 1, (rd(VER) & 0xf0) == 0x10 && (rd(VER) >> 16 & 0xff) >= 4);
	identity();
	priorities();
	errors();
	timer();
	disabled();
	pit2();
	pics();
	io_apic();
	halts();
	x2apic();
	return kit_done();
}
