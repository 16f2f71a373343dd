/* SPDX-License-Identifier: Apache-2.0
 * Task switches: 16-bit and 32-bit TSSs, by JMP, CALL, an interrupt through a task gate and IRET; busy bits, the back
 * link, NT, TS, the T flag and the faults on the way. SDM 3A chapter 7.
 */
#include "kit32/kit.h"

enum { DB = 1, UD = 6, TS = 10, NP = 11, SS = 12, GP = 13 };
enum { S_TSS = K_FREE, S_GATE = K_FREE + 8, S_SEG = K_FREE + 16, S_LDT = K_FREE + 24 };
enum { JMP, CALL, INT, IRET };

static u8 tss[128] __attribute__((aligned(128)));
static u8 stack[4][4096] __attribute__((aligned(16)));
static u64 ldt[4];

SNIP(in_task, "nop");
SNIP(jmp_far, "ljmp *(%ebx)");
SNIP(call_far, "lcall *(%ebx)");
SNIP(do_int, "int $0x91");
SNIP(do_iret, "iretl");
SNIP(back_and_on, "iretl; nop");

static bool wide = true;

static void put(unsigned at32, unsigned at16, u32 v)
{
	if (wide)
		*(u32 *)(tss + at32) = v;
	else
		*(u16 *)(tss + at16) = (u16)v;
}

/* A 16-bit TSS reaches only the first 64 KiB of a segment: its segments start at the image. */
static u32 base_of(void)
{
	return wide ? 0 : 0x100000;
}

/* A task at ring cpl that runs code; descriptor with type access. */
static void make_task(unsigned cpl, const void *code, bool busy)
{
	static const u8 code_access[] = { 0x9b, 0xbb, 0xdb, 0xfb }, data_access[] = { 0x93, 0xb3, 0xd3, 0xf3 };
	u32 b = base_of(), esp = (u32)stack[cpl] + 4096;

	memset(tss, 0, sizeof(tss));
	kit_gdt[24] = kit_desc(b, 0xfffff, code_access[cpl], 12);
	kit_gdt[25] = kit_desc(b, 0xfffff, data_access[cpl], wide ? 12 : 8);
	kit_gdt[26] = kit_desc(b, 0xfffff, data_access[0], wide ? 12 : 8);
	put(4, 2, (u32)stack[0] + 2048 - b);
	put(8, 4, 26 * 8);
	put(32, 14, (u32)code - b);
	put(36, 16, 0x8d7);
	for (unsigned i = 0; i < 8; i++)
		put(40 + 4 * i, 18 + 2 * i, 0x5a5a1110 + i);
	put(56, 26, esp - b);
	put(72, 34, K_DATA3);
	put(76, 36, 24 * 8 | cpl);
	put(80, 38, 25 * 8 | cpl);
	put(84, 40, K_DATA3);
	if (wide) {
		put(88, 0, K_DATA3);
		put(92, 0, K_DATA3);
		put(100, 0, 104u << 16);
	}
	kit_gdt[S_TSS / 8] = kit_desc((u32)tss, wide ? 103 : 43, (wide ? 0xe9 : 0xe1) | (busy ? 2 : 0), 0);
	kit_gdt[S_GATE / 8] = kit_gate(0xdead, S_TSS, 0xe5, 0);
	kit_idt[0x91] = kit_gate(0xdead, S_TSS, 0xe5, 0);
}

/* Leaves the kit's own task current again. */
static void own_task(void)
{
	kit_gdt[K_TSS / 8] &= ~(2ull << 40);
	__asm__ volatile("ltr %w0; lldt %w1; clts; pushf; btrl $14, (%%esp); popf" ::"r"(K_TSS), "r"(0)
			 : "cc", "memory");
}

static u32 task_now(void)
{
	u16 tr;

	__asm__ volatile("str %0" : "=r"(tr));
	return tr;
}

static struct {
	u32 offset, sel;
} ptr;
static struct kit_ctx from;
static u32 cr0_after, tr_after;

static int go(int how, unsigned cpl, u32 sel)
{
	static const u8 *const code[] = { jmp_far, call_far, do_int, do_iret };
	int v;

	from = kit_ctx(cpl, code[how]);
	ptr.offset = 0xdeadbeef;
	ptr.sel = sel;
	from.ebx = (u32)&ptr;
	from.eax = 0x11223344;
	from.edi = 0x55667788;
	from.eflags = 0xad7 | (how == IRET ? 0x4000 : 0);
	memset(kit_tss, 0xee, 4);
	*(u32 *)(kit_tss + 36) = 0;
	if (how == IRET)
		*(u32 *)kit_tss = sel;
	v = kit_run(&from);
	cr0_after = rdcr0();
	tr_after = task_now();
	own_task();
	return v;
}

static void entered(int how, unsigned cpl, int v)
{
	static const u8 *const code[] = { jmp_far, call_far, do_int, do_iret };
	static const u8 length[] = { 2, 2, 2, 1 };
	const struct kit_frame *f = &kit_last;
	u32 *old = (u32 *)kit_tss, high = wide ? 0x5a5a0000 : 0xffff0000, b = base_of();

	kit_case("the new task runs", "SDM 3A 7.3", DONE, (u64)(s64)v);
	if (v != DONE)
		return;
	kit_case("TR of the new task", "SDM 3A 7.3", S_TSS, tr_after);
	kit_case("CR0.TS", "SDM 3A 7.3", 8, cr0_after & 8);
	kit_case("EIP of the new task", "SDM 3A 7.3", (u32)in_task + 3 - b, f->eip);
	kit_case("EAX of the new task", "SDM 3A 7.3", high | 0x1110, wide ? f->eax : f->eax | 0xffff0000);
	kit_case("ECX of the new task", "SDM 3A 7.3", high | 0x1111, wide ? f->ecx : f->ecx | 0xffff0000);
	kit_case("EDI of the new task", "SDM 3A 7.3", high | 0x1117, wide ? f->edi : f->edi | 0xffff0000);
	kit_case("CS of the new task", "SDM 3A 7.3", 24 * 8 | cpl, f->cs);
	kit_case("segments of the new task", "SDM 3A 7.3", wide ? 0x23232323 : 0x23230000,
		 f->es << 24 | f->ds << 16 | f->fs << 8 | f->gs);
	if (cpl) {
		kit_case("ESP of the new task", "SDM 3A 7.3", (u32)stack[cpl] + 4096 - b,
			 wide ? f->esp : f->esp & 0xffff);
		kit_case("SS of the new task", "SDM 3A 7.3", 25 * 8 | cpl, f->ss);
	}
	kit_case("EFLAGS of the new task", "SDM 3A 7.3, table 7-2", 0x8d7 | (how == CALL || how == INT ? 0x4000 : 0),
		 f->eflags);
	kit_case("busy bit of the new task", "SDM 3A table 7-2", 2, kit_gdt[S_TSS / 8] >> 40 & 2);
	if (how == CALL || how == INT)
		kit_case("link of the new task", "SDM 3A table 7-2", K_TSS, *(u16 *)tss);
	else
		kit_case("link left alone", "SDM 3A table 7-2", 0, *(u16 *)tss);
	kit_case("EIP saved", "SDM 3A 7.3", (u32)code[how] + length[how], old[8]);
	kit_case("EFLAGS saved", "SDM 3A table 7-2", from.eflags & ~(how == IRET ? 0x4000u : 0), old[9]);
	kit_case("EAX saved", "SDM 3A 7.3", from.eax, old[10]);
	kit_case("EBX saved", "SDM 3A 7.3", from.ebx, old[13]);
	kit_case("ESP saved", "SDM 3A 7.3", from.esp, old[14]);
	kit_case("EDI saved", "SDM 3A 7.3", from.edi, old[17]);
	kit_case("ES saved", "SDM 3A 7.3", K_DATA3, old[18] & 0xffff);
	kit_case("CS saved", "SDM 3A 7.3", from.cs, old[19] & 0xffff);
	kit_case("SS saved", "SDM 3A 7.3", from.ss, old[20] & 0xffff);
}

/* Every way into a task at every ring from every ring. */
static void switches(void)
{
	for (u32 n = 0; n < 4 * 4 * 4 * 2 * 2; n++) {
		u32 how = n & 3, cpl = n >> 2 & 3, to = n >> 4 & 3, gate = n >> 6 & 1;
		int v;

		wide = !(n >> 7);
		if (how >= INT && gate)
			continue;
		kit_with("by %u from %u to %u gate/wide %x", how, cpl, to, gate << 4 | wide);
		make_task(to, in_task, how == IRET);
		v = go((int)how, cpl, gate ? S_GATE : S_TSS);
		entered((int)how, to, v);
		/* own_task() has just made it busy again: before that JMP and IRET had freed it */
	}
	wide = true;
}

static void old_busy(void)
{
	for (int how = JMP; how <= IRET; how++) {
		struct kit_ctx c;
		static const u8 *const code[] = { jmp_far, call_far, do_int, do_iret };

		make_task(0, in_task, how == IRET);
		c = kit_ctx(0, code[how]);
		c.eflags |= how == IRET ? 0x4000 : 0;
		*(u32 *)kit_tss = S_TSS;
		ptr.sel = S_TSS;
		c.ebx = (u32)&ptr;
		kit_run(&c);
		kit_with("by %u%c", (u32)how, ' ', 0, 0);
		kit_case("busy bit of the old task", "SDM 3A table 7-2", how == CALL || how == INT ? 2 : 0,
			 kit_gdt[K_TSS / 8] >> 40 & 2);
		own_task();
	}
}

/* CALL into a task whose IRET comes back, the old one going on behind the CALL; and a second CALL goes on in it. */
static void there_and_back(void)
{
	struct kit_ctx c;

	for (unsigned cpl = 0; cpl < 4; cpl++) {
		int v;

		make_task(0, back_and_on, false);
		c = kit_ctx(cpl, call_far);
		ptr.sel = S_TSS;
		c.ebx = (u32)&ptr;
		c.eax = 0xabcdef01;
		v = kit_run(&c);
		kit_with("cpl %u", cpl, 0, 0, 0);
		kit_case("back from a nested task", "SDM 3A 7.4", DONE, (u32)v);
		kit_case("EIP after the nested task", "SDM 3A 7.4", (u32)call_far + 4, kit_last.eip);
		kit_case("EAX after the nested task", "SDM 3A 7.4", 0xabcdef01, kit_last.eax);
		kit_case("NT after the nested task", "SDM 3A 7.4", 0, kit_last.eflags & 0x4000);
		kit_case("TR after the nested task", "SDM 3A 7.4", K_TSS, task_now());
		kit_case("nested task is free again", "SDM 3A table 7-2", 0, kit_gdt[S_TSS / 8] >> 40 & 2);
		kit_case("the first task stays busy", "SDM 3A table 7-2", 2, kit_gdt[K_TSS / 8] >> 40 & 2);
		kit_case("EIP saved by the nested task", "SDM 3A 7.3", (u32)back_and_on + 1, *(u32 *)(tss + 32));
		kit_case("NT saved by IRET", "SDM 3A table 7-2", 0, *(u32 *)(tss + 36) & 0x4000);
		own_task();
	}
	kit_with(NULL, 0, 0, 0, 0);
}

static void fault(const char *name, const char *manual, int v, u32 err, int got)
{
	kit_case(name, manual, (u64)v << 32 | err, got == DONE ? DONE : (u64)(u32)got << 32 | kit_last.error);
}

/* Checks made in the old task: it goes on as if nothing had been. */
static void faults_before(void)
{
	for (int how = JMP; how <= IRET; how++) {
		u32 ext = how == INT ? 0 : 0, own = how == INT ? S_TSS : S_TSS;

		kit_with("by %u%c", (u32)how, ' ', 0, 0);
		make_task(0, in_task, how != IRET);
		fault("switch to a busy (by IRET: free) task", "SDM 3A table 7-1", how == IRET ? TS : GP, own | ext,
		      go(how, 0, S_TSS));
		kit_case("EIP of the fault before the switch", "SDM 3A 7.3", from.eip, kit_last.eip);
		kit_case("NT of the fault before the switch", "SDM 3A 7.3", how == IRET ? 0x4000 : 0,
			 kit_last.eflags & 0x4000);
		make_task(0, in_task, how == IRET);
		kit_gdt[S_TSS / 8] &= ~(0x80ull << 40);
		fault("switch to an absent task", "SDM 3A table 7-1", NP, own, go(how, 0, S_TSS));
		make_task(0, in_task, how == IRET);
		kit_gdt[S_TSS / 8] = (kit_gdt[S_TSS / 8] & ~0xffffull) | 102;
		fault("limit of a TSS below 103", "SDM 3A table 7-1", TS, own, go(how, 0, S_TSS));
		make_task(0, in_task, how == IRET);
		kit_gdt[S_TSS / 8] |= 1ull << 55; /* G: page granular, large enough */
		kit_case("page granular limit of a TSS", "SDM 3A 7.2.2", DONE, (u32)go(how, 0, S_TSS));
		wide = false;
		make_task(0, in_task, how == IRET);
		kit_gdt[S_TSS / 8] = (kit_gdt[S_TSS / 8] & ~0xffffull) | 42;
		fault("limit of a 16-bit TSS below 43", "SDM 3A table 7-1", TS, own, go(how, 0, S_TSS));
		wide = true;
	}
	make_task(0, in_task, false);
	kit_gdt[S_TSS / 8] &= ~(0x60ull << 40);
	kit_with(NULL, 0, 0, 0, 0);
	fault("TSS of a lower DPL by JMP at CPL 3", "SDM 3A 7.3", GP, S_TSS, go(JMP, 3, S_TSS));
	fault("TSS of a lower DPL than RPL", "SDM 3A 7.3", GP, S_TSS, go(JMP, 0, S_TSS | 3));
	fault("TSS of a lower DPL by CALL at CPL 3", "SDM 3A 7.3", GP, S_TSS, go(CALL, 3, S_TSS));
	kit_case("through a gate its DPL does not matter", "SDM 3A 7.2.5", DONE, (u32)go(CALL, 3, S_GATE));
	make_task(0, in_task, false);
	kit_gdt[S_TSS / 8] &= ~(0x60ull << 40);
	kit_case("by INT its DPL does not matter", "SDM 3A 7.2.5", DONE, (u32)go(INT, 3, 0));
	make_task(0, in_task, false);
	kit_gdt[S_GATE / 8] &= ~(0x60ull << 40);
	fault("task gate of a lower DPL", "SDM 3A 7.2.5", GP, S_GATE, go(CALL, 3, S_GATE));
	kit_gdt[S_GATE / 8] = kit_gate(0, S_TSS, 0x65, 0);
	fault("absent task gate", "SDM 2A CALL", NP, S_GATE, go(CALL, 3, S_GATE));
	kit_gdt[S_GATE / 8] = kit_gate(0, S_TSS | 4, 0xe5, 0);
	fault("task gate into the LDT", "SDM 2A CALL", GP, S_TSS | 4, go(CALL, 3, S_GATE));
	kit_gdt[S_GATE / 8] = kit_gate(0, 0, 0xe5, 0);
	fault("null task gate", "SDM 2A CALL", GP, 0, go(CALL, 3, S_GATE));
	kit_gdt[S_GATE / 8] = kit_gate(0, K_CODE0, 0xe5, 0);
	fault("task gate to a code segment", "SDM 2A CALL", GP, K_CODE0, go(CALL, 3, S_GATE));
	kit_idt[0x91] = kit_gate(0, S_TSS, 0x85, 0);
	fault("INT n through a task gate of DPL 0 at CPL 3", "SDM 2A INT", GP, 0x91 * 8 + 2, go(INT, 3, 0));
	kit_idt[0x91] = kit_gate(0, S_TSS, 0x65, 0);
	fault("INT n through an absent task gate", "SDM 2A INT", NP, 0x91 * 8 + 2, go(INT, 3, 0));
	fault("IRET with NT and a null link", "SDM 2A IRET", TS, 0, go(IRET, 0, 0));
	fault("IRET with NT and a link into the LDT", "SDM 2A IRET", TS, S_TSS | 4, go(IRET, 0, S_TSS | 4));
	fault("IRET with NT and a link to a code segment", "SDM 2A IRET", TS, K_CODE0, go(IRET, 0, K_CODE0));
}

/* LDT, CS and SS: the stack is not loaded yet, so only a task can handle their faults. SDM 3A 6.15 #TS. */
static bool needs_task(unsigned at)
{
	return at == 96 || at == 80 || at == 76;
}

/* Checks made in the new task: it is there already, its EIP is saved by the fault. SDM 3A 7.3, table 7-1. */
static void faults_after(void)
{
	static const struct {
		const char *name;
		unsigned at;
		u32 sel;
		u64 desc; /* at S_SEG */
		int v;
		u32 err;
	} t[] = {
		{ "null CS", 76, 0, 0, TS, 0 },
		{ "CS past the GDT", 76, 0xfff8, 0, TS, 0xfff8 },
		{ "data segment in CS", 76, S_SEG, 0x00cf93000000ffff, TS, S_SEG },
		{ "CS with DPL above RPL", 76, S_SEG, 0x00cffb000000ffff, TS, S_SEG },
		{ "CS with DPL below RPL", 76, S_SEG | 3, 0x00cf9b000000ffff, TS, S_SEG },
		{ "absent CS", 76, S_SEG, 0x00cf1b000000ffff, NP, S_SEG },
		{ "null SS", 80, 0, 0, TS, 0 },
		{ "SS with RPL not CPL", 80, S_SEG | 1, 0x00cf93000000ffff, TS, S_SEG },
		{ "SS with DPL not CPL", 80, S_SEG, 0x00cff3000000ffff, TS, S_SEG },
		{ "read-only SS", 80, S_SEG, 0x00cf91000000ffff, TS, S_SEG },
		{ "absent SS", 80, S_SEG, 0x00cf13000000ffff, SS, S_SEG },
		{ "execute-only DS", 84, S_SEG, 0x00cf99000000ffff, TS, S_SEG },
		{ "absent DS", 84, S_SEG, 0x00cf73000000ffff, NP, S_SEG },
		{ "system segment in ES", 72, S_SEG, 0x00008b000000ffff, TS, S_SEG },
		{ "absent FS", 88, S_SEG, 0x00cf73000000ffff, NP, S_SEG },
		{ "GS with RPL above DPL", 92, S_SEG | 3, 0x00cf93000000ffff, TS, S_SEG },
		{ "LDT in the LDT", 96, S_SEG | 4, 0, TS, S_SEG | 4 },
		{ "LDT that is none", 96, S_SEG, 0x00cf93000000ffff, TS, S_SEG },
		{ "absent LDT", 96, S_SEG, 0x000002000000ffff, TS, S_SEG },
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (int how = JMP; how <= IRET; how++) {
			int v;

			make_task(0, in_task, how == IRET);
			put(t[i].at, 0, t[i].sel);
			kit_gdt[S_SEG / 8] = t[i].desc;
			v = go(how, 0, S_TSS);
			kit_with("by %u%c", (u32)how, ' ', 0, 0);
			if (needs_task(t[i].at))
				continue;
			fault(t[i].name, "SDM 3A table 7-1", t[i].v, t[i].err, v);
			kit_case("EIP of a fault in the new task", "SDM 3A 7.3", (u32)in_task, kit_last.eip);
			kit_case("TR in a fault of the new task", "SDM 3A 7.3", S_TSS, tr_after);
		}
	}
	/* SS and CS, with the handler of the fault in a task of its own */
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		static u8 own[104] __attribute__((aligned(128)));
		int v;

		if (!needs_task(t[i].at))
			continue;
		memset(own, 0, sizeof(own));
		*(u32 *)(own + 32) = (u32)(kit_stubs + 16 * t[i].v);
		*(u32 *)(own + 36) = 2;
		*(u32 *)(own + 56) = (u32)stack[1] + 4096;
		*(u32 *)(own + 76) = K_CODE0;
		for (unsigned s = 72; s < 96; s += 4)
			if (s != 76)
				*(u32 *)(own + s) = K_DATA0;
		*(u32 *)(own + 100) = 104u << 16;
		kit_gdt[40] = kit_desc((u32)own, 103, 0x89, 0);
		u64 gate = kit_idt[t[i].v];
		kit_idt[t[i].v] = kit_gate(0, 40 * 8, 0x85, 0);
		make_task(0, in_task, false);
		put(t[i].at, 0, t[i].sel);
		kit_gdt[S_SEG / 8] = t[i].desc;
		v = go(JMP, 0, S_TSS);
		fault(t[i].name, "SDM 3A table 7-1", t[i].v, t[i].err, v);
		kit_case("link of the fault's task", "SDM 3A 7.4", S_TSS, *(u16 *)own);
		kit_case("EIP in the faulting TSS", "SDM 3A 7.3", (u32)in_task, *(u32 *)(tss + 32));
		kit_idt[t[i].v] = gate;
	}
	kit_with(NULL, 0, 0, 0, 0);
}

static void others(void)
{
	int v;
	u64 dr6 = 0;

	make_task(3, in_task, false);
	ldt[1] = kit_desc(0, 0xfffff, 0xf3, 12);
	kit_gdt[S_LDT / 8] = kit_desc((u32)ldt, 31, 0x82, 0);
	put(96, 0, S_LDT);
	put(72, 0, 0xf);
	kit_case("ES from the LDT of the new task", "SDM 3A 7.3", DONE, (u32)go(JMP, 0, S_TSS));
	kit_case("ES loaded", "SDM 3A 7.3", 0xf, kit_last.es);
	make_task(0, in_task, false);
	put(100, 0, 104u << 16 | 1);
	__asm__ volatile("mov %0, %%dr6" ::"r"(0));
	v = go(JMP, 0, S_TSS);
	__asm__ volatile("mov %%dr6, %k0" : "=r"(dr6));
	kit_case("T flag of the new task", "SDM 3A 17.3.1.5", DB, (u32)v);
	kit_case("DR6.BT", "SDM 3A 17.2.3", 0x8000, dr6 & 0xe00f);
	kit_case("EIP of the T flag's #DB", "SDM 3A 17.3.1.5", (u32)in_task, kit_last.eip);
	make_task(3, in_task, false);
	put(36, 0, 0x102);
	v = go(JMP, 0, S_TSS);
	kit_case("TF in the new task", "SDM 3A 7.3", DB, (u32)v);
	kit_case("EIP of its first step", "SDM 3A 7.3", (u32)in_task + 1, kit_last.eip);
	make_task(0, in_task, false);
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x755));
	v = go(JMP, 0, S_TSS);
	kit_case("a task switch to run on", "SDM 3A 7.3", DONE, (u32)v);
	__asm__ volatile("mov %%dr7, %k0" : "=r"(dr6));
	kit_case("local breakpoints end with the task", "SDM 3A 17.2.4", 0x600,
		 dr6 & ~0x100ull); /* LE: of the 386 only */
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x400));
}

/* An exception with an error code through a task gate: the code is on the new stack. */
static void error_code(void)
{
	u64 gate = kit_idt[GP];
	int v;

	for (int w = 1; w >= 0; w--) {
		wide = w;
		make_task(3, in_task, false);
		kit_idt[GP] = kit_gate(0, S_TSS, 0x85, 0);
		ptr.sel = 0;
		v = go(JMP, 3, 0xfff8);
		kit_case("an exception into a task", "SDM 3A 6.12.2", DONE, (u32)v);
		kit_case("its stack holds an error code", "SDM 3A 6.12.2",
			 (u32)stack[3] + 4096 - base_of() - (wide ? 4 : 2),
			 wide ? kit_last.esp : kit_last.esp & 0xffff);
		kit_case("the error code", "SDM 3A 6.12.2", 0xfff8, *(u16 *)(stack[3] + 4096 - (wide ? 4 : 2)));
		kit_case("EIP saved is the faulting one", "SDM 3A 7.3", (u32)jmp_far, *(u32 *)(kit_tss + 32));
		kit_idt[GP] = gate;
	}
	wide = true;
}

int guest_main(void)
{
	switches();
	old_busy();
	there_and_back();
	faults_before();
	faults_after();
	others();
	error_code();
	return kit_done();
}
