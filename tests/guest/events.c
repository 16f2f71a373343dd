/* SPDX-License-Identifier: Apache-2.0
 * What happens between instructions: order of simultaneous events, shadows, breakpoints, NMI blocking, double faults.
 * SDM 3A 6.6 to 6.9 and 6.15, 3B 17.2 and 17.3.
 */
#include "kit/kit.h"

enum { DE, DB, NMI, BP, UD = 6, DF = 8, NP = 11, GP = 13, PF = 14, IRQ = 0x50, SOFT = 0x90 };
#define TF 0x100ull
#define IF 0x200ull
#define RF 0x10000ull

/* A scene: instructions with labels 1: to 9: numbered by hand as symbols name_1 and so on. */
#define SCENE(name, text) \
	extern u8 name[]; \
	__asm__(".pushsection .text; .globl " #name "; " #name ": " text "; ret; .popsection")
#define AT(symbol)                  \
	({                          \
		extern u8 symbol[]; \
		(u64) symbol;       \
	})

static struct event {
	u64 vector, error, rip, flags, dr6, top;
} log[32];
static unsigned events;
static u64 skip[256]; /* a handler adds this to RIP */
static u64 set_flags; /* and this to the flags of a #DB */

static u64 rddr6(void)
{
	u64 v;

	__asm__ volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}

static void wrdr(unsigned n, u64 v)
{
	switch (n) {
	case 0:
		__asm__ volatile("mov %0, %%dr0" ::"r"(v));
		break;
	case 1:
		__asm__ volatile("mov %0, %%dr1" ::"r"(v));
		break;
	case 2:
		__asm__ volatile("mov %0, %%dr2" ::"r"(v));
		break;
	case 3:
		__asm__ volatile("mov %0, %%dr3" ::"r"(v));
		break;
	case 6:
		__asm__ volatile("mov %0, %%dr6" ::"r"(v));
		break;
	default:
		__asm__ volatile("mov %0, %%dr7" ::"r"(v));
	}
}

static volatile u32 *const apic = (volatile u32 *)0xfee00000;

static void send_nmi(void)
{
	apic[0x310 / 4] = apic[0x20 / 4];
	apic[0x300 / 4] = 0x400;
}

static bool note(struct frame *f)
{
	if (events < 32)
		log[events++] = (struct event){
			f->vector, f->error, f->rip, f->rflags, f->vector == DB ? rddr6() & 0xe00f : 0, (u64)(f + 1)
		};
	if (f->vector == DB) {
		wrdr(6, 0xffff0ff0);
		f->rflags |= set_flags;
	}
	if (f->vector >= IRQ && f->vector < IRQ + 16)
		apic[0xb0 / 4] = 0;
	f->rip += skip[f->vector];
	return true;
}

static void run(u8 *scene)
{
	events = 0;
	memset(log, 0, sizeof(log));
	((void (*)(void))scene)();
	__asm__ volatile("cli");
}

/* Event n was vector at rip. */
static void saw(const char *name, const char *manual, unsigned n, u64 vector, u64 rip)
{
	kit_with("event %u of %u; got vector and RIP, RIP relative to what was wanted", n, events, 0, 0);
	kit_case(name, manual, vector << 32, n < events ? log[n].vector << 32 | (u32)(log[n].rip - rip) : ~0ull);
	kit_with(NULL, 0, 0, 0, 0);
}

static void count(const char *name, const char *manual, unsigned n)
{
	kit_case(name, manual, n, events);
}

#define SET_TF "pushfq; orq $0x100, (%rsp); popfq; "
#define CLEAR_TF "pushfq; andq $~0x100, (%rsp); popfq; "

SCENE(step, SET_TF "step_0: nop; step_1: nop; step_2: " CLEAR_TF "step_3: nop");
SCENE(step_ss, "mov %ss, %eax; " SET_TF "step_ss_0: mov %eax, %ss; step_ss_1: nop; step_ss_2: " CLEAR_TF);
SCENE(step_sti, SET_TF "step_sti_0: sti; step_sti_1: cli; step_sti_2: " CLEAR_TF);
SCENE(step_int, SET_TF "int $0x90; step_int_1: nop; step_int_2: " CLEAR_TF);
SCENE(step_ud, SET_TF "step_ud_0: ud2; step_ud_1: nop; step_ud_2: " CLEAR_TF);
SCENE(step_rep,
      "lea buffer(%rip), %rdi; mov $3, %ecx; " SET_TF "step_rep_0: rep stosb; step_rep_1: nop; step_rep_2: " CLEAR_TF);
SCENE(step_syscall,
      "lea syscall_in(%rip), %rdx; mov %rsp, %r10; " SET_TF "syscall; syscall_in: nop; syscall_1: " CLEAR_TF);
SCENE(step_btf, SET_TF "nop; stc; jnc step_btf_0; nop; jc step_btf_1; nop; step_btf_0: nop; step_btf_1: nop; "
		       "step_btf_2: " CLEAR_TF);
SCENE(step_btf_next, SET_TF "nop; jmp step_btf_3; step_btf_3: nop; step_btf_4: " CLEAR_TF);
SCENE(step_btf_rep,
      "lea buffer(%rip), %rdi; mov $3, %ecx; " SET_TF "rep stosb; call step_btf_5; step_btf_5: pop %rax; " CLEAR_TF);
static u8 buffer[64] __attribute__((aligned(64), used));

static void single_step(void)
{
	run(step);
	saw("first step is after the instruction behind POPF", "SDM 3B 17.3.1.4", 0, DB, AT(step_1));
	saw("second step", "SDM 3B 17.3.1.4", 1, DB, AT(step_2));
	kit_case("DR6.BS alone", "SDM 3B 17.2.3", 0x4000, log[0].dr6);
	kit_case("RF pushed by a step", "SDM 3B 17.3.1.1", 0, log[0].flags & RF);
	kit_case("TF pushed by a step", "SDM 3B 17.3.1.4", TF, log[0].flags & TF);
	saw("a step behind the POPF that clears TF", "SDM 3B 17.3.1.4", 4, DB, AT(step_3));
	count("steps", "SDM 3B 17.3.1.4", 5);
	kit_case("stack aligned to 16 bytes for a handler", "SDM 3A 6.14.2", 0, log[0].top & 15);
	run(step_ss);
	saw("MOV SS holds back the step", "SDM 3A 6.8.3", 0, DB, AT(step_ss_2));
	run(step_sti);
	saw("STI does not hold back the step", "SDM 2B STI", 0, DB, AT(step_sti_1));
	run(step_int);
	saw("INT n clears TF before its handler", "SDM 3B 17.3.1.4", 0, SOFT, AT(step_int_1));
	saw("step behind the IRET that sets TF", "SDM 3B 17.3.1.4", 1, DB, AT(step_int_2));
	kit_case("TF pushed by INT n", "SDM 2A INT", TF, log[0].flags & TF);
	skip[UD] = 2;
	run(step_ud);
	saw("a fault comes without a step", "SDM 3A 6.9", 0, UD, AT(step_ud_0));
	kit_case("RF pushed by a fault", "SDM 3B 17.3.1.1", RF | TF, log[0].flags & (RF | TF));
	saw("next step after a fault", "SDM 3A 6.9", 1, DB, AT(step_ud_2));
	skip[UD] = 0;
	run(step_rep);
	saw("step in REP", "SDM 3B 17.3.1.4", 0, DB, AT(step_rep_0));
	kit_case("RF pushed between repetitions", "SDM 3B 17.3.1.1", RF, log[0].flags & RF);
	saw("step in REP", "SDM 3B 17.3.1.4", 1, DB, AT(step_rep_0));
	saw("step at the end of REP", "SDM 3B 17.3.1.4", 2, DB, AT(step_rep_1));
	kit_case("RF pushed after the last repetition", "SDM 3B 17.3.1.1", 0, log[2].flags & RF);
	wrmsr(0x1d9, 2);
	run(step_btf);
	saw("a step only behind a taken branch", "SDM 3B 17.4.3", 0, DB, AT(step_btf_1));
	saw("#DB clears DEBUGCTL.BTF", "SDM 3B 17.4.3", 1, DB, AT(step_btf_2));
	kit_case("DEBUGCTL in the end", "SDM 3B 17.4.3", 0, rdmsr(0x1d9));
	wrmsr(0x1d9, 2);
	run(step_btf_next);
	saw("a jump to the next instruction is a branch", "SDM 3B 17.4.3", 0, DB, AT(step_btf_3));
	wrmsr(0x1d9, 2);
	run(step_btf_rep);
	saw("repetitions are no branches, a call is one", "SDM 3B 17.4.3", 0, DB, AT(step_btf_5));
	wrmsr(0x1d9, 0);
	wrmsr(0xc0000081, 0x8ull << 32);
	for (int masked = 0; masked < 2; masked++) {
		wrmsr(0xc0000082, AT(syscall_in));
		wrmsr(0xc0000084, masked ? 0x100 : 0);
		run(step_syscall);
		if (masked)
			count("SYSCALL whose mask clears TF", "SDM 2B SYSCALL", 0);
		else
			saw("SYSCALL that keeps TF", "SDM 2B SYSCALL", 0, DB, AT(syscall_in));
	}
}

SCENE(data_read, "lea buffer(%rip), %rdi; mov (%rdi), %eax; data_read_1: nop");
SCENE(data_write, "lea buffer(%rip), %rdi; movl %eax, (%rdi); data_write_1: nop");
SCENE(data_write_8, "lea buffer(%rip), %rdi; movq %rax, (%rdi); data_write_8_1: nop");
SCENE(data_push, "lea buffer+8(%rip), %rdi; xchg %rdi, %rsp; push %rax; data_push_1: xchg %rdi, %rsp");
SCENE(data_ss, "mov %ss, %eax; mov %eax, buffer(%rip); mov buffer(%rip), %ss; data_ss_1: nop; data_ss_2: nop");
SCENE(data_ss_icebp, "mov %ss, %eax; mov %eax, buffer(%rip); mov buffer(%rip), %ss; .byte 0xf1; data_ss_icebp_1: nop");
SCENE(data_step, "lea buffer(%rip), %rdi; " SET_TF "movl %eax, (%rdi); data_step_1: " CLEAR_TF);
SCENE(data_rep, "lea buffer(%rip), %rdi; mov $4, %ecx; data_rep_0: rep stosb; data_rep_1: nop");
SCENE(data_rmw, "lea buffer(%rip), %rdi; lock incl (%rdi); data_rmw_1: nop");
SCENE(data_movs, "lea buffer(%rip), %rsi; lea buffer+32(%rip), %rdi; movsb; data_movs_1: nop");

static u64 dr7_of(unsigned n, unsigned kind, unsigned bytes)
{
	static const u8 len[] = { 0, 0, 1, 0, 3, 0, 0, 0, 2 };

	return 2ull << (2 * n) | (u64)(kind | len[bytes] << 2) << (16 + 4 * n) | 0x600;
}

static void watch(unsigned n, u64 address, unsigned kind, unsigned bytes)
{
	wrdr(7, 0x400);
	wrdr(n, address);
	wrdr(6, 0xffff0ff0);
	wrdr(7, dr7_of(n, kind, bytes));
}

static void data_breakpoints(void)
{
	u64 b = (u64)buffer;

	for (unsigned n = 0; n < 4; n++) {
		watch(n, b, 1, 4);
		run(data_write);
		saw("write breakpoint is a trap", "SDM 3B 17.3.1.2", 0, DB, AT(data_write_1));
		kit_case("DR6.Bn", "SDM 3B 17.2.3", 1 << n, log[0].dr6);
		run(data_read);
		count("read does not match a write breakpoint", "SDM 3B 17.2.4", 0);
		watch(n, b, 3, 4);
		run(data_read);
		saw("access breakpoint on a read", "SDM 3B 17.3.1.2", 0, DB, AT(data_read_1));
		run(data_write);
		saw("access breakpoint on a write", "SDM 3B 17.3.1.2", 0, DB, AT(data_write_1));
	}
	for (unsigned bytes = 1; bytes <= 8; bytes *= 2) {
		for (int at = -8; at < 16; at += (int)bytes) {
			watch(0, b + (u64)(s64)at, 1, bytes);
			run(data_write);
			kit_with("%u bytes at %u+%u", bytes, (u32)(at + 16), 0, 0);
			kit_case("which write matches", "SDM 3B 17.2.5", at < 4 && at + (int)bytes > 0, events);
			run(data_write_8);
			kit_case("which 8-byte write matches", "SDM 3B 17.2.5", at < 8 && at + (int)bytes > 0, events);
			watch(0, (b + (u64)(s64)at) | (bytes - 1), 1, bytes);
			run(data_write);
			kit_case("low bits of the address are ignored", "SDM 3B 17.2.5", at < 4 && at + (int)bytes > 0,
				 events);
		}
	}
	kit_with(NULL, 0, 0, 0, 0);
	watch(2, b, 1, 8);
	run(data_push);
	saw("breakpoint on a push", "SDM 3B 17.3.1.2", 0, DB, AT(data_push_1));
	run(data_rmw);
	saw("breakpoint on a locked operation", "SDM 3B 17.3.1.2", 0, DB, AT(data_rmw_1));
	watch(2, b, 3, 1);
	run(data_movs);
	saw("breakpoint on the source of MOVS", "SDM 3B 17.3.1.2", 0, DB, AT(data_movs_1));
	watch(2, b, 1, 1);
	run(data_step);
	saw("breakpoint and step are one exception", "SDM 3A 6.9", 0, DB, AT(data_step_1));
	kit_case("DR6 with both", "SDM 3B 17.2.3", 0x4004, log[0].dr6);
	watch(1, b + 1, 1, 2);
	run(data_rep);
	saw("breakpoint in REP", "SDM 3B 17.3.1.2", 0, DB, AT(data_rep_0));
	kit_case("RF pushed by a trap in REP", "SDM 3B 17.3.1.1", RF, log[0].flags & RF);
	saw("second breakpoint in REP", "SDM 3B 17.3.1.2", 1, DB, AT(data_rep_0));
	count("breakpoints in REP", "SDM 3B 17.3.1.2", 2);
	watch(0, b, 3, 4);
	*(u32 *)buffer = 0x10;
	run(data_ss);
	saw("write before MOV SS", "SDM 3B 17.3.1.2", 0, DB, AT(data_ss_1) - 6);
	saw("breakpoint of MOV SS comes one later", "SDM 3A 6.8.3", 1, DB, AT(data_ss_2));
	if (!kit_on_tcg()) {
		run(data_ss_icebp);
		saw("breakpoint of MOV SS and INT1 are one exception", "SDM 3A 6.8.3", 1, DB, AT(data_ss_icebp_1));
		count("MOV SS, INT1", "SDM 3A 6.8.3", 2);
	}
	wrdr(7, 0x400);
	run(data_write);
	count("no breakpoint enabled", "SDM 3B 17.2.4", 0);
}

SCENE(code, "code_0: nop; code_1: nop; code_2: ud2; code_3: nop");
SCENE(code_ss, "mov %ss, %eax; mov %eax, %ss; code_ss_1: nop; code_ss_2: nop");
SCENE(code_rep, "lea buffer(%rip), %rdi; mov $3, %ecx; code_rep_0: rep stosb; nop");
SCENE(code_step, SET_TF "code_step_0: nop; code_step_1: nop; code_step_2: " CLEAR_TF);

static void code_breakpoints(void)
{
	skip[UD] = 2;
	set_flags = RF;
	watch(0, AT(code_1), 0, 1);
	run(code);
	saw("code breakpoint is a fault", "SDM 3B 17.3.1.1", 0, DB, AT(code_1));
	kit_case("DR6 of a code breakpoint", "SDM 3B 17.2.3", 1, log[0].dr6);
	kit_case("RF pushed by a code breakpoint", "SDM 3B 17.3.1.1", 0, log[0].flags & RF);
	saw("RF lets the instruction run", "SDM 3B 17.3.1.1", 1, UD, AT(code_2));
	count("breakpoint hit once", "SDM 3B 17.3.1.1", 2);
	watch(3, AT(code_2), 0, 1);
	run(code);
	saw("code breakpoint before #UD", "SDM 3A 6.9", 0, DB, AT(code_2));
	saw("and #UD after it", "SDM 3A 6.9", 1, UD, AT(code_2));
	kit_case("RF pushed by #UD", "SDM 3B 17.3.1.1", RF, log[1].flags & RF);
	watch(0, AT(code_ss_1), 0, 1);
	run(code_ss);
	count("no code breakpoint behind MOV SS", "SDM 3A 6.8.3", 0);
	watch(0, AT(code_ss_2), 0, 1);
	run(code_ss);
	count("code breakpoint one later", "SDM 3A 6.8.3", 1);
	watch(0, AT(code_rep_0), 0, 1);
	run(code_rep);
	count("code breakpoint on REP hits once", "SDM 3B 17.3.1.1", 1);
	watch(0, AT(code_step_1), 0, 1);
	set_flags = RF;
	run(code_step);
	saw("step before a breakpoint", "SDM 3A 6.9", 0, DB, AT(code_step_1));
	set_flags = 0;
	skip[UD] = 0;
	wrdr(7, 0x400);
}

SCENE(gd, "mov %dr7, %rax; or $0x2000, %eax; mov %rax, %dr7; gd_0: mov %dr0, %rcx; gd_1: mov %dr7, %rdx");
SCENE(icebp, ".byte 0xf1; icebp_1: nop");
SCENE(io, "mov $0x5a, %al; out %al, $0x80; io_1: in $0x80, %al; io_2: nop");
SCENE(bp, "int3; bp_1: nop");

static void other_breakpoints(void)
{
	wrdr(7, 0x400);
	wrdr(6, 0xffff0ff0);
	run(gd);
	saw("general detect is a fault", "SDM 3B 17.3.1.3", 0, DB, AT(gd_0));
	kit_case("DR6.BD", "SDM 3B 17.2.3", 0x2000, log[0].dr6);
	count("GD is cleared for the handler", "SDM 3B 17.2.4", 1);
	wrdr(7, 0x400);
	if (!kit_on_tcg()) { /* #UD there */
		run(icebp);
		saw("INT1 is a trap", "SDM 2A INT1", 0, DB, AT(icebp_1));
		kit_case("DR6 of INT1", "SDM 2A INT1", 0, log[0].dr6);
	}
	run(bp);
	saw("INT3 is a trap", "SDM 2A INT3", 0, BP, AT(bp_1));
	kit_case("RF pushed by INT3", "SDM 3B 17.3.1.1", 0, log[0].flags & RF);
	wrcr4(rdcr4() | 8);
	watch(1, 0x80, 2, 1);
	run(io);
	saw("I/O breakpoint on OUT", "SDM 3B 17.3.1.2", 0, DB, AT(io_1));
	saw("I/O breakpoint on IN", "SDM 3B 17.3.1.2", 1, DB, AT(io_2));
	kit_case("DR6 of an I/O breakpoint", "SDM 3B 17.2.3", 2, log[0].dr6);
	watch(1, 0x81, 2, 1);
	run(io);
	count("I/O breakpoint on another port", "SDM 3B 17.2.5", 0);
	wrcr4(rdcr4() & ~8ull);
	wrdr(7, 0x400);
}

#define SEND "mov $0xfee00300, %edx; movl $0x40050, (%rdx); "
SCENE(irq_sti, "cli; " SEND "sti; irq_sti_1: nop; irq_sti_2: nop");
SCENE(irq_sti_sti, "cli; " SEND "sti; sti; irq_sti_sti_2: nop");
SCENE(irq_sti_cli, "cli; " SEND "sti; cli; irq_sti_cli_2: sti; nop; irq_sti_cli_3: nop");
SCENE(irq_sti_ss, "mov %ss, %eax; cli; " SEND "sti; mov %eax, %ss; irq_sti_ss_1: nop; irq_sti_ss_2: nop");
SCENE(irq_popf, "cli; " SEND "pushfq; orq $0x200, (%rsp); popfq; irq_popf_1: nop");
SCENE(irq_iret, "cli; " SEND "mov %rsp, %rcx; push $0x10; push %rcx; pushfq; orq $0x200, (%rsp); push $8; "
		"lea irq_iret_1(%rip), %rcx; push %rcx; iretq; irq_iret_1: nop");
SCENE(irq_hlt, "cli; " SEND "sti; hlt; irq_hlt_1: nop");
SCENE(irq_if, "sti; nop; mov %ss, %eax; " SEND "irq_if_1: nop");
SCENE(irq_two, "cli; " SEND "movl $0x4005f, (%rdx); sti; nop; irq_two_1: nop");
SCENE(irq_step,
      "cli; " SEND "pushfq; orq $0x300, (%rsp); popfq; irq_step_1: nop; irq_step_2: nop; irq_step_3: " CLEAR_TF);
SCENE(irq_cr8, "cli; mov $6, %eax; mov %rax, %cr8; " SEND
	       "sti; nop; nop; irq_cr8_0: xor %eax, %eax; mov %rax, %cr8; irq_cr8_1: nop");

static void interrupts(void)
{
	run(irq_sti);
	saw("STI holds back for one instruction", "SDM 2B STI", 0, IRQ, AT(irq_sti_2));
	kit_case("IF pushed", "SDM 3A 6.8.1", IF, log[0].flags & IF);
	run(irq_sti_sti);
	saw("a second STI holds back nothing", "SDM 2B STI", 0, IRQ, AT(irq_sti_sti_2));
	run(irq_sti_cli);
	saw("STI, CLI let nothing in", "SDM 2B STI", 0, IRQ, AT(irq_sti_cli_3));
	run(irq_sti_ss);
	saw("STI then MOV SS", "SDM 3A 6.8.3", 0, IRQ, AT(irq_sti_ss_2));
	run(irq_popf);
	saw("POPF lets in at once", "SDM 3A 6.8.1", 0, IRQ, AT(irq_popf_1));
	run(irq_iret);
	saw("IRET lets in at once", "SDM 3A 6.8.1", 0, IRQ, AT(irq_iret_1));
	run(irq_hlt);
	saw("STI, HLT wakes", "SDM 2B STI", 0, IRQ, AT(irq_hlt_1));
	run(irq_if);
	saw("a self-IPI with IF set", "SDM 3A 10.6.1", 0, IRQ, AT(irq_if_1));
	run(irq_two);
	saw("the higher vector first", "SDM 3A 10.8.3", 0, IRQ + 15, AT(irq_two_1));
	saw("then the lower", "SDM 3A 10.8.3", 1, IRQ, AT(irq_two_1));
	run(irq_step);
	saw("interrupt at the POPF that sets TF and IF", "SDM 3A 6.9", 0, IRQ, AT(irq_step_1));
	saw("then the step", "SDM 3A 6.9", 1, DB, AT(irq_step_2));
	run(irq_cr8);
	saw("CR8 lets in at once", "SDM 3A 10.8.6", 0, IRQ, AT(irq_cr8_1));
	/* A trap of the instruction that raises an interrupt comes first. */
	watch(0, 0xfee00300, 1, 4);
	run(irq_if);
	saw("data breakpoint before the interrupt", "SDM 3A 6.9", 0, DB, AT(irq_if_1));
	saw("and the interrupt after it", "SDM 3A 6.9", 1, IRQ, AT(irq_if_1));
	wrdr(7, 0x400);
}

static unsigned nmi_depth, nmi_deepest, nmis, nmi_mode;

static bool on_nmi(struct frame *f)
{
	note(f);
	if (++nmi_depth > nmi_deepest)
		nmi_deepest = nmi_depth;
	if (nmis++ == 0) {
		send_nmi();
		if (nmi_mode)
			__asm__ volatile("int3"); /* its IRET ends the blocking */
		__asm__ volatile("nop; nop; nop");
	}
	nmi_depth--;
	return true;
}

SCENE(nmi, "mov $0xfee00300, %edx; mov -0x2e0(%rdx), %eax; mov %eax, 0x10(%rdx); movl $0x400, (%rdx); nmi_1: nop; nop");
SCENE(nmi_irq, "cli; " SEND "mov -0x2e0(%rdx), %eax; mov %eax, 0x10(%rdx); movl $0x400, (%rdx); nmi_irq_1: sti; nop; "
	       "nmi_irq_2: nop");

static void nmis_blocked(void)
{
	kit_handlers[NMI] = on_nmi;
	for (nmi_mode = 0; nmi_mode < 2; nmi_mode++) {
		nmis = nmi_depth = nmi_deepest = 0;
		run(nmi);
		kit_case("NMIs taken", "SDM 3A 6.7.1", 2, nmis);
		kit_case("NMIs nested only after an IRET", "SDM 3A 6.7.1", nmi_mode + 1, nmi_deepest);
		saw("NMI with IF clear", "SDM 3A 6.7", 0, NMI, AT(nmi_1));
	}
	kit_handlers[NMI] = note;
	run(nmi_irq);
	saw("NMI before the interrupt", "SDM 3A 6.9", 0, NMI, AT(nmi_irq_1));
	saw("interrupt after the NMI", "SDM 3A 6.9", 1, IRQ, AT(nmi_irq_2));
}

/* Double faults: first exception, and what its delivery meets. SDM 3A table 6-5. */
SCENE(do_de, "xor %ecx, %ecx; xor %edx, %edx; div %ecx");
SCENE(do_gp, "mov $0xfff8, %eax; mov %eax, %ds");
SCENE(do_np, "mov $0x98, %eax; mov %eax, %ds");
SCENE(do_pf, "mov $0x8000000000, %rax; mov (%rax), %eax");
SCENE(do_ud, "ud2");
SCENE(do_bp, "int3");
SCENE(do_int, "int $0x90");
SCENE(do_irq, "cli; " SEND "sti; nop; nop; nop");
SCENE(do_db, SET_TF "nop; nop; nop");
SCENE(do_icebp, ".byte 0xf1; nop");
SCENE(do_nmi, "mov $0xfee00300, %edx; mov -0x2e0(%rdx), %eax; mov %eax, 0x10(%rdx); movl $0x400, (%rdx); nop; nop");

enum obstacle { ABSENT_GATE, BAD_SELECTOR, BAD_IST, DATA_SELECTOR, OBSTACLES };

static u64 ist_stack[2][512] __attribute__((aligned(16)));

static void place(unsigned v, enum obstacle o, u64 old[2])
{
	old[0] = kit_idt[2 * v];
	old[1] = kit_idt[2 * v + 1];
	if (o == ABSENT_GATE)
		kit_idt[2 * v] &= ~(1ull << 47);
	else if (o == BAD_SELECTOR)
		kit_idt[2 * v] |= 0xfff8ull << 16;
	else if (o == DATA_SELECTOR)
		kit_idt[2 * v] = (kit_idt[2 * v] & ~(0xffffull << 16)) | 0x10 << 16;
	else
		kit_idt[2 * v] |= 2ull << 32; /* IST2: not mapped */
}

static void call_scene(void *scene)
{
	((void (*)(void))scene)();
}

static void double_faults(void)
{
	static const struct {
		u8 *scene;
		u8 vector, class; /* 0 benign, 1 contributory, 2 page fault */
		bool soft;
	} t[] = { { do_de, DE, 1, false },    { do_gp, GP, 1, false },	 { do_np, NP, 1, false },
		  { do_pf, PF, 2, false },    { do_ud, UD, 0, false },	 { do_bp, BP, 0, true },
		  { do_int, SOFT, 0, true },  { do_irq, IRQ, 0, false }, { do_db, DB, 0, false },
		  { do_icebp, DB, 0, false }, { do_nmi, NMI, 0, false } };
	static const u8 second[] = { NP, GP, PF, GP };

	kit_gdt[0x98 / 8] = 0x00cf13000000ffff;
	*(u64 *)(kit_tss + 36) = (u64)&ist_stack[0][512];
	*(u64 *)(kit_tss + 44) = 0x8000001000;
	kit_set_gate(DF, kit_stubs + 16 * DF, 0x8e, 1);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (unsigned o = 0; o < OBSTACLES; o++) {
			unsigned v = t[i].vector, want = second[o];
			kit_handler *h = kit_handlers[v];
			u64 error, old[2];
			int got;

			if (kit_on_tcg() && t[i].scene == do_icebp)
				continue;
			if (t[i].scene == do_np && o == ABSENT_GATE)
				continue; /* #NP whose own gate is absent: the same as #GP */
			error = o == ABSENT_GATE     ? v * 8 + 2
				: o == BAD_SELECTOR  ? 0xfff8
				: o == DATA_SELECTOR ? 0x10
						     : 2;
			if (o != BAD_IST && !t[i].soft)
				error |= 1;
			if ((t[i].class == 1 && want != PF) || t[i].class == 2)
				want = DF, error = 0;
			kit_handlers[v] = kit_handlers[GP] = kit_handlers[NP] = kit_handlers[PF] = NULL;
			place(v, (enum obstacle)o, old);
			wrdr(6, 0xffff0ff0);
			got = kit_try(call_scene, t[i].scene);
			apic[0xb0 / 4] = 0;
			__asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(0x10));
			kit_with("vector %u obstacle %u, scene %u", v, o, i, 0);
			kit_case("exception of a delivery that fails", "SDM 3A table 6-5", want, (u64)(s64)got);
			kit_case("error code of a delivery that fails", "SDM 3A 6.13", error, KIT_ERR);
			if (want == PF)
				kit_case("CR2 of a delivery that fails", "SDM 3A 6.15 #PF", 0x8000001000 - 8,
					 kit_last.cr2);
			kit_idt[2 * v] = old[0];
			kit_idt[2 * v + 1] = old[1];
			kit_handlers[v] = h;
			if (v == NMI) { /* its blocking ends with an IRET */
				__asm__ volatile(
				    "mov %%rsp, %%rcx; push $0x10; push %%rcx; pushfq; push $8; lea 1f(%%rip), %%rcx; "
				    "push %%rcx; iretq; 1:" ::
					: "rcx", "memory");
			}
		}
	}
	kit_with(NULL, 0, 0, 0, 0);
}

static void triple_fault(void)
{
	struct kit_dt none = { 0, 0 };

	kit_puts("triple fault\n");
	__asm__ volatile("lidt %0; ud2" ::"m"(none));
}

static bool asked_for(const char *word)
{
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *s = info && (info[0] & 4) ? (const char *)(u64)info[4] : "";

	for (; *s; s++) {
		unsigned i = 0;

		while (word[i] && s[i] == word[i])
			i++;
		if (!word[i])
			return true;
	}
	return false;
}

/* INIT of the boot processor: first the machine begins anew, with memory as it was; then, as the CMOS says 0AH, the
 * processor goes on through 40:67, to code that ends with status 43. */
static void init_itself(void)
{
	static const u8 end[] = { 0xb0, 0x15, 0xe6, 0xf4, 0xf4 }; /* mov al, 15h; out 0f4h, al; hlt */
	volatile u32 *begun = (u32 *)0x7000;
	bool again = *begun == 0x494e4954;

	kit_puts(again ? "again\n" : "first\n");
	*begun = 0x494e4954;
	memcpy((void *)0x7100, end, sizeof(end));
	__asm__ volatile("movl $0x07000100, 0x467" ::: "memory");
	outb(0x70, 0x0f);
	outb(0x71, again ? 0x0a : 0);
	apic[0xf0 / 4] = 0x1ff;
	apic[0x300 / 4] = 0x44500;
	for (;;)
		__asm__ volatile("cli; hlt");
}

int guest_main(void)
{
	if (asked_for("triple"))
		triple_fault();
	if (asked_for("init"))
		init_itself();
	apic[0xf0 / 4] = 0x1ff;
	for (unsigned v = 0; v < 8; v++)
		kit_handlers[v] = note;
	kit_handlers[SOFT] = note;
	for (unsigned v = 0; v < 16; v++)
		kit_handlers[IRQ + v] = note;
	single_step();
	data_breakpoints();
	code_breakpoints();
	other_breakpoints();
	interrupts();
	nmis_blocked();
	double_faults();
	return kit_done();
}
