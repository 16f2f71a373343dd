/* SPDX-License-Identifier: Apache-2.0
 * What a program sees of faults, unmasked floating-point exceptions, single steps and signal frames, printed so that a
 * guest's output can be compared with its host's; and vector and x87 state in a loop that a timer interrupts.
 */
#define _GNU_SOURCE
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>

static sigjmp_buf back;
static volatile long ticks, steps;
extern char step_first[], step_last[];

static void catch (int sig, void (*f)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = f, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigaction(sig, &sa, NULL);
}

/* ---- state across handlers ----------------------------------------------------------------------------------------
 */

static void overwrite(int sig, siginfo_t *si, void *ctx)
{
	unsigned other = 0x7fbf;

	(void)sig, (void)si, (void)ctx;
	ticks++;
	__asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n vmovdqa %%ymm0, %%ymm6\n vmovdqa %%ymm0, %%ymm7\n"
			 "vmovdqa %%ymm0, %%ymm15\n fninit\n fldpi\n fldl2e\n ldmxcsr %0"
			 :
			 : "m"(other)
			 : "xmm0", "xmm6", "xmm7", "xmm15");
}

static int one_round(unsigned n)
{
	uint64_t in[4] = { n * 7ull, n * 11ull, n * 13ull, n * 17ull }, out[4];
	unsigned want = 0x1f80 | (n & 3) << 13, plain = 0x1f80, got;
	double x = n + 0.5, y;

	__asm__ volatile("ldmxcsr %5\n vmovdqu (%3), %%ymm7\n fldl %4\n"
			 ".rept 40\n pause\n vmovdqa %%ymm7, %%ymm6\n vpaddq %%ymm6, %%ymm7, %%ymm7\n"
			 "vpsrlq $1, %%ymm7, %%ymm7\n .endr\n"
			 "fstpl %1\n vmovdqu %%ymm7, %0\n stmxcsr %2\n ldmxcsr %6"
			 : "=m"(out), "=m"(y), "=m"(got)
			 : "r"(in), "m"(x), "m"(want), "m"(plain)
			 : "xmm6", "xmm7", "memory");
	return memcmp(in, out, sizeof(in)) || x != y || got != want;
}

static void state_across_handlers(void)
{
	struct itimerval on = { { 0, 500 }, { 0, 500 } }, off = { 0 };
	unsigned bad = 0;

	catch (SIGALRM, overwrite);
	setitimer(ITIMER_REAL, &on, NULL);
	for (unsigned n = 0; ticks < 300; n++)
		bad += (unsigned)one_round(n);
	setitimer(ITIMER_REAL, &off, NULL);
	printf("state across handlers: %u lost\n", bad);
}

/* ---- faults -------------------------------------------------------------------------------------------------------
 */

static void tell(int sig, siginfo_t *si, void *ctx)
{
	greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
	int memory = sig == SIGSEGV || sig == SIGBUS;

	__asm__ volatile("pushf\n andl $~0x40000, (%%rsp)\n popf" : : : "cc", "memory"); /* AC */
	printf("  signal %d code %d vector %lld error %llx CR2 %llx address %llx\n", sig, si->si_code, g[REG_TRAPNO],
	       g[REG_ERR], memory ? g[REG_CR2] : 0ll, memory ? (long long)si->si_addr : 0ll);
	siglongjmp(back, 1);
}

#define FAULT(...)                       \
	do {                             \
		puts(#__VA_ARGS__);      \
		if (!sigsetjmp(back, 1)) \
			__VA_ARGS__;     \
	} while (0)
#define INSN(text) FAULT(__asm__ volatile(text : : : "rax", "rcx", "rdx", "memory", "cc"))

static void memory_faults(void)
{
	volatile char *p = mmap((void *)0x10000000, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	munmap((void *)(p + 4096), 4096);
	FAULT(p[5] = 1);
	FAULT((void)p[4096 + 7]);
	FAULT(((void (*)(void))p)());
	FAULT((void)*(volatile char *)0x8000000000000000);
	FAULT((void)*(volatile char *)0xffff888000000000);
	FAULT((void)*(volatile char *)8);
	FAULT((void)*(volatile uint64_t *)(p + 4095));
	INSN("mov $0x8000000000000000, %%rax\n push %%rax\n ret");
	INSN("movaps 1(%%rsp), %%xmm0");
	INSN("pushf\n orl $0x40000, (%%rsp)\n popf\n mov 1(%%rsp), %%eax");
}

static void instruction_faults(void)
{
	INSN("ud2");
	INSN("int3");
	INSN(".byte 0xf1");
	INSN("int $0x42");
	INSN("int $4");
	INSN("hlt");
	INSN("cli");
	INSN("in $0x80, %%al");
	INSN("mov %%cr0, %%rax");
	INSN("mov %%dr7, %%rax");
	INSN("rdmsr");
	INSN("rdpmc");
	INSN("wbinvd");
	INSN("invlpg (%%rsp)");
	INSN("lgdt (%%rsp)");
	INSN("swapgs");
	INSN("sysretl");
	INSN("xor %%ecx, %%ecx\n xor %%edx, %%edx\n mov $7, %%eax\n xsetbv");
	INSN("mov $0x33, %%eax\n mov %%eax, %%ss");
	INSN("mov $0x1234, %%eax\n mov %%eax, %%ds");
	INSN("xor %%ecx, %%ecx\n xor %%edx, %%edx\n mov $5, %%eax\n idivl %%ecx");
	INSN("mov $0x80000000, %%eax\n cdq\n mov $-1, %%ecx\n idivl %%ecx");
	INSN(".byte 0x06");
	INSN(".byte 0xf0, 0x89, 0xc0");
	INSN(".rept 15\n .byte 0x66\n .endr\n .byte 0x90");
	prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
	INSN("rdtsc");
	prctl(PR_SET_TSC, PR_TSC_ENABLE);
	INSN("rdtsc");
}

static void tell_fp(int sig, siginfo_t *si, void *ctx)
{
	const struct _libc_fpstate *fp = ((ucontext_t *)ctx)->uc_mcontext.fpregs;

	(void)sig;
	printf("  code %d MXCSR %x FSW %x FCW %x\n", si->si_code, fp->mxcsr, fp->swd, fp->cwd);
	siglongjmp(back, 1);
}

static void fp_exceptions(void)
{
	static const struct {
		int what;
		double a, b;
	} row[] = { { FE_DIVBYZERO, 1, 0 },
		    { FE_INVALID, 0, 0 },
		    { FE_OVERFLOW, 1e308, 1e-10 },
		    { FE_UNDERFLOW, 1e-308, 1e10 },
		    { FE_INEXACT, 1, 3 } };
	unsigned plain = 0x1f80;
	static volatile unsigned k, x87;

	catch (SIGFPE, tell_fp);
	for (k = 0; k < 5; k++)
		for (x87 = 0; x87 < 2; x87++) {
			volatile double a = row[k].a, b = row[k].b, r;

			printf("exception %x by %s\n", (unsigned)row[k].what, x87 ? "x87" : "SSE");
			if (!sigsetjmp(back, 1)) {
				feenableexcept(row[k].what);
				if (x87)
					__asm__ volatile("fldl %1\n fdivl %2\n fstpl %0\n fwait"
							 : "=m"(r)
							 : "m"(a), "m"(b));
				else
					r = a / b;
			}
			__asm__ volatile("fninit\n ldmxcsr %0" : : "m"(plain));
		}
}

/* ---- frames and steps ---------------------------------------------------------------------------------------------
 */

/* XMM0's low quarter and the upper half of YMM0 in the frame's XSAVE area, RAX, and past the UD2. */
static void edit(int sig, siginfo_t *si, void *ctx)
{
	mcontext_t *m = &((ucontext_t *)ctx)->uc_mcontext;
	uint64_t low = 0x1122334455667788, high = 0x99aabbccddeeff00, *present;
	uint8_t *fp = (uint8_t *)m->fpregs;

	(void)sig, (void)si;
	memcpy(fp + 160, &low, 8);
	memcpy(fp + 576, &high, 8);
	present = (uint64_t *)(fp + 512);
	*present |= 6;
	m->gregs[REG_RAX] = 77;
	m->gregs[REG_RIP] += 2;
}

static void edited_frame(void)
{
	uint64_t y[4], rax;

	catch (SIGILL, edit);
	__asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n mov $5, %%eax\n ud2\n vmovdqu %%ymm0, %0\n mov %%rax, %1"
			 : "=m"(y), "=m"(rax)
			 :
			 : "rax", "xmm0");
	printf("edited: %lx %lx %lx %lx, RAX %lu\n", y[0], y[1], y[2], y[3], rax);
}

static void count_step(int sig, siginfo_t *si, void *ctx)
{
	char *rip = (char *)((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP];

	(void)sig, (void)si;
	steps += rip >= step_first && rip <= step_last;
}

/* Steps over POPF, PUSHF, REP, SYSCALL and CPUID. */
static void single_steps(void)
{
	catch (SIGTRAP, count_step);
	__asm__ volatile("pushf\n orq $0x100, (%%rsp)\n popf\n"
			 ".globl step_first\nstep_first:\n mov $60, %%ecx\n"
			 "1: add $3, %%eax\n and $0x8d5, %%eax\n push %%rax\n popf\n"
			 "pushf\n orq $0x100, (%%rsp)\n popf\n dec %%ecx\n jnz 1b\n"
			 "mov $39, %%eax\n syscall\n mov $20, %%ecx\n lea -200(%%rsp), %%rdi\n rep stosb\n cpuid\n"
			 "pushf\n andq $~0x100, (%%rsp)\n popf\n nop\n"
			 ".globl step_last\nstep_last:\n nop"
			 :
			 :
			 : "rax", "rbx", "rcx", "rdx", "rdi", "r11", "memory", "cc");
	printf("steps: %ld\n", steps);
}

int main(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE };
	static char stack[1 << 18];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaltstack(&ss, NULL);
	if (__builtin_cpu_supports("avx2"))
		state_across_handlers();
	for (unsigned k = 0; k < sizeof(signals) / sizeof(*signals); k++)
		catch (signals[k], tell);
	memory_faults();
	instruction_faults();
	fp_exceptions();
	if (__builtin_cpu_supports("avx2"))
		edited_frame();
	single_steps();
	return 0;
}
