/* SPDX-License-Identifier: Apache-2.0
 * Nanobenchmarks in the form of Adams and Agesen's table ("A Comparison of Software and Hardware Techniques for x86
 * Virtualization", ASPLOS 2006): TSC cycles for one operation, the loop around it included, the least of RUNS runs. A
 * bare multiboot guest; with -DNATIVE a program of Linux with those rows that user mode can do (and its system call).
 */
#ifdef NATIVE
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
#define print printf
#else
#include "kit/smp.h"
#define print kit_printf
#endif

#define RUNS 7
#define COUNT 1000

typedef void operation(u64 n);

static inline u64 cycles(void)
{
	u32 a, d;

	__asm__ volatile("lfence; rdtsc" : "=a"(a), "=d"(d)::"memory");
	return (u64)d << 32 | a;
}

static void row(const char *name, operation *fn)
{
	u64 best = ~0ull;

	for (unsigned i = 0; i < RUNS; i++) {
		u64 t = cycles();

		fn(COUNT);
		t = cycles() - t;
		if (t < best)
			best = t;
	}
	print("NANO %s %u\n", name, (u32)((best + COUNT / 2) / COUNT));
}

/* ---- what any mode can do -----------------------------------------------------------------------------------------
 */

static u8 from[4096], to[4096];
static volatile u64 word;
static u8 *patched; /* mov $imm32, %eax; ret, on a page that may be written and executed */

static void nop_loop(u64 n)
{
	while (n--)
		__asm__ volatile("");
}

static void op_cpuid(u64 n)
{
	while (n--)
		__asm__ volatile("xor %%eax, %%eax; cpuid" ::: "eax", "ebx", "ecx", "edx");
}

static void op_rdtsc(u64 n)
{
	while (n--)
		__asm__ volatile("rdtsc" ::: "eax", "edx");
}

static void op_popf(u64 n)
{
	while (n--)
		__asm__ volatile("pushfq; popfq" ::: "memory", "cc");
}

static __attribute__((noinline)) void nothing(void)
{
	__asm__ volatile("");
}

static void op_call(u64 n)
{
	while (n--)
		nothing();
}

static __attribute__((noinline)) void nothing_else(void)
{
	__asm__ volatile("nop");
}

static void op_indirect(u64 n)
{
	void (*volatile fn[2])(void) = { nothing, nothing_else };

	while (n--)
		fn[n & 1]();
}

static void op_selfmod(u64 n)
{
	while (n--) {
		*(volatile u32 *)(patched + 1) = (u32)n;
		if (((u32(*)(void))patched)() != (u32)n)
			print("a store to code was not seen\n");
	}
}

static void op_movsb(u64 n)
{
	while (n--) {
		void *s = from, *d = to;
		u64 c = sizeof(to);

		__asm__ volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(c)::"memory");
	}
}

static void op_lock(u64 n)
{
	while (n--)
		__asm__ volatile("lock addq $1, %0" : "+m"(word)::"cc");
}

static void common_rows(void)
{
	memset(from, 1, sizeof(from));
	memcpy(patched, "\xb8\0\0\0\0\xc3", 6);
	row("empty-loop", nop_loop);
	row("cpuid", op_cpuid);
	row("rdtsc", op_rdtsc);
	row("pushf-popf", op_popf);
	row("call-return", op_call);
	row("indirect-call", op_indirect);
	row("self-modifying-store", op_selfmod);
	row("rep-movsb-4096", op_movsb);
	row("locked-add", op_lock);
}

#ifdef NATIVE
static void op_syscall(u64 n)
{
	while (n--)
		__asm__ volatile("syscall" ::"a"(110) : "rcx", "r11", "memory"); /* getppid */
}

int main(void)
{
	patched = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (patched == MAP_FAILED)
		return 1;
	common_rows();
	row("linux-getppid", op_syscall);
	return 0;
}
#else

/* ---- what takes a kernel ------------------------------------------------------------------------------------------
 */

#define VA 0x8000000000ull    /* PML4 entry 1: one page, mapped or not */
#define IPI_LIMIT 1000000000u /* cycles: then the other processor is thought deaf */

enum { EFER = 0xc0000080, STAR = 0xc0000081, LSTAR = 0xc0000082, FMASK = 0xc0000084 };
enum { DIVIDE = 0, PAGE_FAULT = 14, VECTOR = 0x40, IPI_VECTOR = 0x50 };
enum { P = 1, W = 2, U = 4 };

/* Each handler knows the length of the one instruction that gets there. The user side comes back by UD2. */
__asm__("syscall_in: sysretq\n"
	"interrupt_in: iretq\n"
	"divide_in: addq $2, (%rsp); iretq\n"
	"fault_in: addq $8, %rsp; addq $3, (%rsp); iretq\n"
	"ipi_in: push %rax; incq ipi_seen(%rip); mov $0xfee000b0, %eax; movl $0, (%rax); pop %rax; iretq\n"
	"user_syscall: mov %rdi, %rbx; 1: syscall; dec %rbx; jnz 1b; ud2\n"
	"user_interrupt: mov %rdi, %rbx; 1: int $0x40; dec %rbx; jnz 1b; ud2\n"
	"user_divide: mov %rdi, %rbx; xor %ecx, %ecx; 1: div %ecx; dec %rbx; jnz 1b; ud2\n"
	"user_fault: mov %rdi, %rbx; mov $0x8000000000, %rsi; 1: movb $0, (%rsi); dec %rbx; jnz 1b; ud2\n"
	"user_empty: mov %rdi, %rbx; 1: dec %rbx; jnz 1b; ud2\n");
extern char syscall_in[], interrupt_in[], divide_in[], fault_in[], ipi_in[];
extern char user_syscall[], user_interrupt[], user_divide[], user_fault[], user_empty[];

volatile u64 ipi_seen;
static bool ipi_lost;
static u64 *pte;
static u8 user_stack[4096];

static void in_user(void *code, u64 n)
{
	kit_try_user(code, user_stack + sizeof(user_stack) - 64, (void *)n, 2);
}

static void op_syscall(u64 n)
{
	in_user(user_syscall, n);
}

static void op_interrupt(u64 n)
{
	in_user(user_interrupt, n);
}

static void op_divide(u64 n)
{
	in_user(user_divide, n);
}

static void op_fault(u64 n)
{
	in_user(user_fault, n);
}

static void op_user_empty(u64 n)
{
	in_user(user_empty, n);
}

static void op_pte(u64 n)
{
	while (n--) {
		*(volatile u64 *)pte = (u64)to | P | W | (n & 1) << 9;
		invlpg((void *)VA);
	}
}

/* The same with the page used in between, as a kernel would. */
static void op_pte_used(u64 n)
{
	while (n--) {
		*(volatile u64 *)pte = (u64)to | P | W | (n & 1) << 9;
		invlpg((void *)VA);
		*(volatile u8 *)VA;
	}
}

static void op_cr3(u64 n)
{
	u64 cr3 = rdcr3();

	while (n--)
		wrcr3(cr3);
}

static void op_cr3_keep(u64 n)
{
	u64 cr3 = rdcr3() | 1ull << 63;

	while (n--)
		wrcr3(cr3);
}

static void op_in(u64 n)
{
	while (n--)
		inb(0x64);
}

static void op_out(u64 n)
{
	while (n--)
		outb(0x80, 0);
}

static void op_cli_sti(u64 n)
{
	while (n--)
		__asm__ volatile("cli; sti" ::: "memory");
}

static void op_ipi(u64 n)
{
	while (n--) {
		u64 before = ipi_seen, begun = cycles();

		kit_ipi(1, IPI_VECTOR);
		while (ipi_seen == before && !ipi_lost) {
			pause();
			/* Deaf is who does not hear the first; later ones may take the host as long as it likes. */
			ipi_lost = !before && cycles() - begun > IPI_LIMIT;
		}
	}
}

static u64 *table_of(u64 *table, unsigned i)
{
	return (u64 *)(table[i] & 0xffffffffff000ull);
}

static void prepare(void)
{
	u64 *pml4 = (u64 *)(rdcr3() & ~0xfffull), *pdpt = table_of(pml4, 0), *own[2];

	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 512; k++)
			table_of(pdpt, i)[k] |= U;
	own[0] = kit_page();
	own[1] = kit_page();
	pte = kit_page();
	pml4[1] = (u64)own[0] | P | W | U;
	own[0][0] = (u64)own[1] | P | W | U;
	own[1][0] = (u64)pte | P | W | U;
	wrcr3(rdcr3());
	wrmsr(STAR, 0x18ull << 48 | 0x08ull << 32);
	wrmsr(LSTAR, (u64)syscall_in);
	wrmsr(FMASK, 0);
	patched = kit_page();
}

static void pcid_rows(void)
{
	u32 r[4];

	row("cr3-load", op_cr3);
	cpuid(1, 0, r);
	if (!(r[2] >> 17 & 1))
		return;
	wrcr4(rdcr4() | 1u << 17);
	row("cr3-load-pcid-flush", op_cr3);
	row("cr3-load-pcid-keep", op_cr3_keep);
	wrcr4(rdcr4() & ~(1ull << 17));
}

static void gate_rows(void)
{
	row("user-entry-and-loop", op_user_empty);
	row("syscall-sysret", op_syscall);
	kit_set_gate(VECTOR, interrupt_in, 0xee, 0);
	row("interrupt-iret", op_interrupt);
	kit_set_gate(PAGE_FAULT, fault_in, 0x8e, 0);
	row("page-fault", op_fault);
	kit_set_gate(DIVIDE, divide_in, 0x8e, 0);
	row("divide-error", op_divide);
}

static void ipi_row(void)
{
	if (kit_smp_start() < 2)
		return;
	kit_set_gate(IPI_VECTOR, ipi_in, 0x8e, 0);
	op_ipi(1);
	if (!ipi_lost)
		row("ipi-and-answer", op_ipi);
}

/* ---- how late a timer is ------------------------------------------------------------------------------------------
 */

#define TIMER_VECTOR 0x45
#define TIMER_COUNT 0x380
#define TIMER_NOW 0x390
#define TIMER_PERIOD 15000000u /* cycles; what is later than that is counted as less */
#define SAMPLES 50

static u32 late[SAMPLES]; /* in ticks of the timer */
static volatile unsigned samples;

/* The counter has begun again when the interrupt was due. */
static bool on_timer(struct frame *f)
{
	u32 now = APIC(TIMER_NOW), n = samples;

	(void)f;
	if (n < SAMPLES) {
		for (now = APIC(TIMER_COUNT) - now; n && late[n - 1] > now; n--)
			late[n] = late[n - 1];
		late[n] = now;
		samples++;
	}
	APIC(APIC_EOI) = 0;
	return true;
}

/* From the moment at which a periodic timer is due to its handler, while the processor waits in HLT. */
static void timer_rows(void)
{
	u64 begun, passed;
	u32 ticks;

	kit_handlers[TIMER_VECTOR] = on_timer;
	APIC(APIC_SVR) = 0x1ff;
	APIC(0x3e0) = 0xb; /* every tick counts */
	APIC(0x320) = 1u << 16;
	APIC(TIMER_COUNT) = 0xffffffff;
	for (begun = cycles(); (passed = cycles() - begun) < 20000000;)
		pause();
	ticks = 0xffffffff - APIC(TIMER_NOW);
	APIC(0x320) = 1u << 17 | TIMER_VECTOR;
	APIC(TIMER_COUNT) = (u32)((u64)TIMER_PERIOD * ticks / passed);
	while (samples < SAMPLES)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	APIC(TIMER_COUNT) = 0;
	APIC(0x320) = 1u << 16;
	print("NANO timer-late-median %u\n", (u32)(late[SAMPLES / 2] * passed / ticks));
	print("NANO timer-late-worst %u\n", (u32)(late[SAMPLES - 1] * passed / ticks));
}

int guest_main(void)
{
	prepare();
	common_rows();
	gate_rows();
	row("pte-write-invlpg", op_pte);
	row("pte-write-invlpg-use", op_pte_used);
	pcid_rows();
	row("in-64", op_in);
	row("out-80", op_out);
	/* No interrupt is on its way: the controllers are as the loader left them, masked. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	row("cli-sti", op_cli_sti);
	__asm__ volatile("cli");
	timer_rows();
	ipi_row();
	print("NANO end 0\n");
	return 0;
}
#endif
