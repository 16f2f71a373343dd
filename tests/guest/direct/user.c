/* SPDX-License-Identifier: Apache-2.0
 * A program for a Linux guest whose user code runs natively: memory that changes under it, traps of every kind, vector
 * state across them, and hostile jumps to where the engine keeps its own code. Prints what failed, or "user: ok".
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define STUB 0x6fc51a570000ul /* src/engine/direct/stub.h */
#define PAGE 4096ul

static unsigned failed;
static sigjmp_buf back;
static volatile sig_atomic_t steps, ticks, last_signal, last_code;
static void *volatile last_addr;
static volatile greg_t last_rip;

/* In frames of their own, where the library's CPUIDs do not keep them from running natively. */
#define QUIET __attribute__((noinline, no_reorder, section(".text.quiet")))
#define QUIET_ALIGNED __attribute__((noinline, no_reorder, section(".text.quiet"), aligned(4096), used))

#define CHECK(x) check(x, #x, __LINE__)

static void check(int ok, const char *what, int line)
{
	if (ok)
		return;
	failed++;
	printf("user: line %d: %s (signal %d code %d addr %p rip %llx)\n", line, what, (int)last_signal, (int)last_code,
	       last_addr, (long long)last_rip);
}

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *u = ctx;

	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc"); /* AC comes along */
	last_signal = sig;
	last_code = si->si_code;
	last_addr = si->si_addr;
	last_rip = u->uc_mcontext.gregs[REG_RIP];
	if (sig == SIGALRM) {
		ticks++;
		return;
	}
	if (sig == SIGTRAP) {
		steps++;
		return;
	}
	u->uc_mcontext.gregs[REG_EFL] &= ~0x40000ll;
	siglongjmp(back, sig);
}

static void catch_all(void)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGALRM, SIGSYS };
	struct sigaction a = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };

	for (unsigned k = 0; k < sizeof(sigs) / sizeof(sigs[0]); k++)
		sigaction(sigs[k], &a, NULL);
}

/* The signal that it ends with, or 0. */
#define TRY(what)                              \
	({                                     \
		int got_ = sigsetjmp(back, 1); \
		if (!got_) {                   \
			what;                  \
		}                              \
		got_;                          \
	})

static void *map(void *at, size_t n, int prot, int flags, int fd)
{
	void *p = mmap(at, n, prot, flags, fd, 0);

	if (p == MAP_FAILED) {
		perror("user: mmap");
		exit(1);
	}
	return p;
}

static void test_memory(void)
{
	volatile unsigned char *p = map(NULL, 8 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1), *q;
	int status, fd;

	memset((void *)p, 1, 8 * PAGE);
	mprotect((void *)p, PAGE, PROT_READ);
	CHECK(TRY(p[5] = 9) == SIGSEGV && last_addr == p + 5 && last_code == SEGV_ACCERR);
	CHECK(p[5] == 1);
	mprotect((void *)p, PAGE, PROT_READ | PROT_WRITE);
	CHECK(TRY(p[5] = 9) == 0 && p[5] == 9);
	mprotect((void *)p, PAGE, PROT_NONE);
	CHECK(TRY((void)p[5]) == SIGSEGV);
	mprotect((void *)p, PAGE, PROT_READ | PROT_WRITE);
	CHECK(TRY(((void (*)(void))p)()) == SIGSEGV && last_addr == p);
	munmap((void *)(p + PAGE), PAGE);
	CHECK(TRY((void)p[PAGE]) == SIGSEGV && last_code == SEGV_MAPERR && last_addr == p + PAGE);
	map((void *)(p + PAGE), PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
	CHECK(p[PAGE] == 0);
	if (!fork()) {
		for (unsigned k = 2; k < 8; k++)
			p[k * PAGE] = 77;
		_exit(p[7 * PAGE] == 77 && p[5] == 9 ? 5 : 6);
	}
	wait(&status);
	CHECK(WEXITSTATUS(status) == 5 && p[7 * PAGE] == 1);
	fd = memfd_create("alias", 0);
	CHECK(!ftruncate(fd, PAGE));
	q = map(NULL, PAGE, 3, MAP_SHARED, fd);
	munmap((void *)p, 8 * PAGE);
	p = map((void *)p, PAGE, 3, MAP_SHARED | MAP_FIXED, fd);
	for (unsigned k = 0; k < 100; k++) {
		p[k] = (unsigned char)(k + 1);
		CHECK(q[k] == k + 1);
	}
	close(fd);
}

/* mov eax, n; ret */
static void put_code(unsigned char *p, unsigned n)
{
	const unsigned char code[] = { 0xb8, (unsigned char)n, (unsigned char)(n >> 8), 0, 0, 0xc3 };

	memcpy(p, code, sizeof(code));
	__asm__ volatile("" ::: "memory");
}

static void test_code(void)
{
	unsigned char *w, *x, *rwx = map(NULL, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int fd = memfd_create("code", 0);

	CHECK(!ftruncate(fd, PAGE));
	w = map(NULL, PAGE, 3, MAP_SHARED, fd);
	x = map(NULL, PAGE, 5, MAP_SHARED, fd);
	for (unsigned k = 0; k < 300; k++) {
		put_code(rwx, k);
		CHECK(((unsigned (*)(void))rwx)() == k);
		put_code(w + 64, k + 1);
		CHECK(((unsigned (*)(void))(x + 64))() == k + 1);
	}
	close(fd);
}

static void test_traps(void)
{
	volatile unsigned zero = 0, sink;
	unsigned eax = 0, b, c, d;
	extern char after_int3[];

	CHECK(TRY(sink = 5 / zero) == SIGFPE);
	CHECK(TRY(__asm__ volatile("ud2")) == SIGILL);
	CHECK(TRY(__asm__ volatile("hlt")) == SIGSEGV);
	CHECK(TRY(__asm__ volatile("int $0x42")) == SIGSEGV);
	CHECK(TRY(__asm__ volatile("in $0x80, %%al" ::: "rax")) == SIGSEGV);
	CHECK(TRY((void)*(volatile int *)0x8000000000000000ul) == SIGSEGV && last_addr == 0);
	steps = 0;
	__asm__ volatile("int3\n.globl after_int3\nafter_int3:");
	CHECK(steps == 1 && last_rip == (greg_t)(unsigned long)after_int3);
	steps = 0;
	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop; nop; pushfq; andl $~0x100, (%%rsp); popfq" ::
			     : "memory", "cc");
	CHECK(steps == 6);
	CHECK(TRY(__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; movl 1(%%rsp), %%eax" ::
				       : "memory", "cc", "rax")) == SIGBUS);
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(b), "=c"(c), "=d"(d));
	CHECK(eax >= 1);
	__asm__ volatile("int $0x80" : "=a"(eax) : "a"(20) : "r8", "r9", "r10", "r11", "memory");
	CHECK(eax == (unsigned)getpid() || eax == (unsigned)-38);
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%ds; mov %1, %%es" ::"r"(0x2b), "r"(0));
	(void)sink;
}

/* What looks alike from outside: traps and faults behind the same bytes; and what tells the processor's number. */
static void test_told_apart(void)
{
	extern char after_int[], at_hlt[], after_cd3[], at_int3[];
	unsigned limit = 77, lsl_ok, aux, a, d, b, c = 0;
	struct {
		unsigned short pad[3], limit;
		unsigned long base;
	} gdt = { .base = 5 }, idt = { .base = 5 };
	cpu_set_t all, first;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	CHECK(!sched_setaffinity(0, sizeof(first), &first));
	CHECK(TRY(__asm__ volatile(".byte 0xcd, 4\n.globl after_int\nafter_int: nop")) == SIGSEGV &&
	      last_rip == (greg_t)(unsigned long)after_int);
	CHECK(TRY(__asm__ volatile("jmp 1f; .byte 0xcd, 4\n.globl at_hlt\nat_hlt:\n1: hlt")) == SIGSEGV &&
	      last_rip == (greg_t)(unsigned long)at_hlt);
	steps = 0;
	__asm__ volatile(".byte 0xcd, 3\n.globl after_cd3\nafter_cd3:");
	CHECK(steps == 1 && last_rip == (greg_t)(unsigned long)after_cd3);
	__asm__ volatile("jmp 1f; .byte 0xcd, 3\n1: int3\n.globl at_int3\nat_int3:");
	CHECK(steps == 2 && last_rip == (greg_t)(unsigned long)at_int3);
	__asm__ volatile("lsl %2, %0; setz %b1" : "+r"(limit), "=q"(lsl_ok) : "r"(0x7b) : "cc");
	CHECK((lsl_ok & 0xff) && limit == 0); /* CPU 0, node 0 */
	__asm__ volatile("lsl %2, %0; setz %b1" : "+r"(limit), "=q"(lsl_ok) : "r"(0x2b) : "cc");
	CHECK((lsl_ok & 0xff) && limit == 0xffffffff);
	a = 0x80000001;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (d >> 27 & 1) {
		__asm__ volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(aux));
		CHECK(aux == 0);
	}
	if (!TRY(__asm__ volatile("sgdt %0" : "+m"(gdt.limit), "+m"(gdt.base))))
		CHECK(gdt.base >> 63 && gdt.base != 5);
	if (!TRY(__asm__ volatile("sidt %0" : "+m"(idt.limit), "+m"(idt.base))))
		CHECK(idt.base >> 63);
	printf("user: sgdt %x %lx sidt %x %lx\n", gdt.limit, gdt.base, idt.limit, idt.base);
	__asm__ volatile("int $0x80" : "=a"(a) : "a"(20) : "r8", "r9", "r10", "r11", "memory");
	CHECK(a == (unsigned)getpid() || a == (unsigned)-38);
	sched_setaffinity(0, sizeof(all), &all);
}

/* ---- CPUID in frames of its own: alone, where a breakpoint can stand before it, behind prefixes, where MOV SS keeps
 * breakpoints out, first of all that is fetched there; and so often that the frame is not executed natively. ----------
 */

struct form {
	unsigned char before[8], n, repeat;
};

#define CODE_AT 64

typedef void cpuid_fn(unsigned leaf, unsigned out[4]);

static cpuid_fn *cpuid_page(const struct form *f)
{
	static const unsigned char begin[] = { 0x53, 0x89, 0xf8, 0x31, 0xc9, 0x49, 0x89, 0xf0 },
				   end[] = { 0x41, 0x89, 0x00, 0x41, 0x89, 0x58, 0x04, 0x41, 0x89,
					     0x48, 0x08, 0x41, 0x89, 0x50, 0x0c, 0x5b, 0xc3 };
	unsigned char *page = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1),
		      *p = page + CODE_AT;

	memset(page, 0x90, PAGE);
	p = mempcpy(p, begin, sizeof(begin));
	p = mempcpy(p, f->before, f->n);
	p = mempcpy(p, "\x0f\xa2", 2);
	memcpy(p, end, sizeof(end));
	for (unsigned k = 0; k < f->repeat; k++)
		memcpy(page + 1000 + 10 * k, "\x0f\xa2", 2);
	mprotect(page, PAGE, PROT_READ | PROT_EXEC);
	return (cpuid_fn *)(void *)(page + CODE_AT);
}

/* Straight to the instruction, in a page that was not fetched from. */
static QUIET_ALIGNED void cpuid_at_once(unsigned leaf, unsigned out[4])
{
	unsigned char *page = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	*(volatile unsigned char *)(page +
				    CODE_AT) = 0x0f; /* not one constant: the bytes would be in this frame, too */
	*(volatile unsigned char *)(page + CODE_AT + 1) = 0xa2;
	page[CODE_AT + 2] = 0xc3;
	mprotect(page, PAGE, PROT_READ | PROT_EXEC);
	__asm__ volatile("call *%4"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "r"(page + CODE_AT), "a"(leaf), "c"(0)
			 : "memory");
	munmap(page, PAGE);
}

/* In a frame of its own, which nothing keeps from running natively. */
static void (*spin)(unsigned n);

static void make_spin(void)
{
	unsigned char *page = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memcpy(page, "\x89\xf8\xff\xc8\x75\xfc\xc3", 7); /* mov eax, edi; 1: dec eax; jnz 1b; ret */
	mprotect(page, PAGE, PROT_READ | PROT_EXEC);
	spin = (void (*)(unsigned))(void *)page;
}

/* Far enough from the last one that the mirror has the processor again. */
static QUIET void try_cpuid(cpuid_fn *fn, unsigned leaf, const unsigned want[4])
{
	unsigned got[4];

	spin(100000);
	fn(leaf, got);
	CHECK(!memcmp(want, got, sizeof(got)));
}

static QUIET_ALIGNED void quiet_end(void)
{
}

static void test_cpuid(void)
{
	static const struct form forms[] = { { .repeat = 5 },
					     { .repeat = 0 },
					     { { 0x66 }, 1, 0 },
					     { { 0x66, 0x48 }, 2, 0 },
					     { { 0xf3, 0x2e, 0x65, 0x4f }, 4, 0 },
					     { { 0x8c, 0xd2, 0x8e, 0xd2 }, 4, 0 },
					     { { 0x8c, 0xd2, 0x8e, 0xd2, 0x66 }, 5, 0 } };
	static const unsigned leaves[] = { 0, 1, 7, 0x40000000, 0x40000001, 0x80000001, 0x80000008, 0x8000001e };
	cpuid_fn *fn[7];
	unsigned want[8][4];

	make_spin();
	for (unsigned k = 0; k < 7; k++)
		fn[k] = cpuid_page(&forms[k]);
	for (unsigned n = 0; n < 8; n++)
		fn[0](leaves[n], want[n]);
	spin(100000000); /* translate keeps what came there so often for a while */
	for (unsigned k = 1; k < 5; k++)
		for (unsigned n = 0; n < 8; n++)
			try_cpuid(fn[k], leaves[n], want[n]);
	for (unsigned n = 0; n < 8; n++)
		try_cpuid(cpuid_at_once, leaves[n], want[n]);
	for (unsigned k = 5; k < 7; k++)
		for (unsigned n = 0; n < 8; n++)
			try_cpuid(fn[k], leaves[n], want[n]);
}

/* WRGSBASE takes a kernel's address, too; what the host does not let a tracer set must not stand still. */
static void test_bases(void)
{
	static const unsigned long bases[] = { 0xffffffffffff0000, 0xffff800000000000, 0x7ffffffff000, 0x7fffffffefff };

	if (!(getauxval(AT_HWCAP2) & 2))
		return;
	for (unsigned k = 0; k < sizeof(bases) / sizeof(*bases); k++) {
		unsigned long now = 0;

		__asm__ volatile("wrgsbase %0" : : "r"(bases[k]));
		syscall(SYS_getppid);
		for (volatile unsigned n = 0; n < 100000; n++)
			;
		__asm__ volatile("rdgsbase %0" : "=r"(now));
		CHECK(now == bases[k]);
	}
	__asm__ volatile("wrgsbase %0" : : "r"(0ul));
}

static void test_vectors(void)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = { { 0, 0 }, { 0, 0 } };
	unsigned long in[8], out[8];
	time_t end = time(NULL) + 2;

	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned long n = 1; ticks < 40 && time(NULL) < end; n++) {
		for (unsigned k = 0; k < 8; k++)
			in[k] = n * (k + 3);
		__asm__ volatile("movdqu (%1), %%xmm3; movdqu 16(%1), %%xmm12; fldl 32(%1)\n"
				 "mov $20000, %%ecx\n1: dec %%ecx; jnz 1b\n"
				 "mov $39, %%eax; push %%r11; syscall; pop %%r11\n"
				 "movdqu %%xmm3, (%0); movdqu %%xmm12, 16(%0); fstpl 32(%0)" ::"r"(out),
				 "r"(in)
				 : "rax", "rcx", "xmm3", "xmm12", "memory", "cc");
		if (memcmp(in, out, 40)) {
			CHECK(!"vector registers");
			break;
		}
	}
	setitimer(ITIMER_REAL, &never, NULL);
	CHECK(ticks > 0);
}

static unsigned long total;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *count(void *arg)
{
	(void)arg;
	for (unsigned k = 0; k < 20000; k++) {
		pthread_mutex_lock(&lock);
		total++;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t t[4];

	for (unsigned k = 0; k < 4; k++)
		pthread_create(&t[k], NULL, count, NULL);
	for (unsigned k = 0; k < 4; k++)
		pthread_join(t[k], NULL);
	CHECK(total == 80000);
}

/* ---- a debugger: system calls, single steps, a breakpoint and a watchpoint --------------------------------------- */

static volatile unsigned long watched;

static __attribute__((noinline)) void touch(unsigned long v)
{
	watched = v;
	__asm__ volatile("" ::: "memory");
}

static void debugged(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (int k = 0; k < 3; k++)
		syscall(SYS_getppid);
	touch(1);
	for (volatile int k = 0; k < 100000; k++)
		;
	touch(2);
	_exit(42);
}

/* The child's next stop, begun by `how`; its signal, 0: it has ended. */
static int next_stop(pid_t child, int how, int *status)
{
	ptrace(how, child, NULL, NULL);
	return waitpid(child, status, 0) == child && WIFSTOPPED(*status) ? WSTOPSIG(*status) : 0;
}

static void test_debugger(void)
{
	unsigned calls = 0, k;
	struct user_regs_struct r, before;
	int status;
	long code;
	pid_t child = fork();

	if (!child)
		debugged();
	waitpid(child, &status, 0);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD);
	while (calls < 6 && next_stop(child, PTRACE_SYSCALL, &status) == (SIGTRAP | 0x80)) {
		ptrace(PTRACE_GETREGS, child, NULL, &r);
		calls += r.orig_rax == SYS_getppid;
	}
	CHECK(calls == 6 && (long)r.rax == getpid());
	for (k = 0; k < 200; k++) {
		before = r;
		CHECK(next_stop(child, PTRACE_SINGLESTEP, &status) == SIGTRAP);
		ptrace(PTRACE_GETREGS, child, NULL, &r);
		CHECK(r.rip != before.rip && (r.rip - before.rip < 16 || r.rsp != before.rsp || k));
	}
	/* a breakpoint in the code, then a watchpoint in a register */
	code = ptrace(PTRACE_PEEKTEXT, child, (void *)touch, NULL);
	ptrace(PTRACE_POKETEXT, child, (void *)touch, (void *)((code & ~0xfful) | 0xcc));
	CHECK(next_stop(child, PTRACE_CONT, &status) == SIGTRAP);
	ptrace(PTRACE_GETREGS, child, NULL, &r);
	CHECK(r.rip == (unsigned long)touch + 1 && (r.rdi == 1 || r.rdi == 2));
	ptrace(PTRACE_POKETEXT, child, (void *)touch, (void *)code);
	r.rip--;
	ptrace(PTRACE_SETREGS, child, NULL, &r);
	ptrace(PTRACE_POKEUSER, child, (void *)offsetof(struct user, u_debugreg[0]), (void *)&watched);
	CHECK(!ptrace(PTRACE_POKEUSER, child, (void *)offsetof(struct user, u_debugreg[7]), (void *)0xd0001ul));
	CHECK(next_stop(child, PTRACE_CONT, &status) == SIGTRAP);
	CHECK(ptrace(PTRACE_PEEKDATA, child, (void *)&watched, NULL) == (long)r.rdi);
	ptrace(PTRACE_POKEUSER, child, (void *)offsetof(struct user, u_debugreg[7]), NULL);
	CHECK(next_stop(child, PTRACE_CONT, &status) == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static int call_stub(unsigned long at, unsigned long nr, void *requests)
{
	return TRY(
	    __asm__ volatile("mov %2, %%r12; xor %%edi, %%edi; xor %%esi, %%esi; xor %%edx, %%edx; call *%1" ::"a"(nr),
			     "r"(at), "r"(requests)
			     : "r12", "rdi", "rsi", "rdx", "rcx", "r11", "memory"));
}

/* Each must be what it would be if nothing were there: a fault. */
static void test_hostile(void)
{
	long requests[14] = { SYS_kill, 0, SIGKILL, 0, 0, 0, 0, -1 };
	time_t (*old_time)(time_t *) = (time_t(*)(time_t *))0xffffffffff600400ul;
	time_t now;

	for (unsigned long nr = 0; nr < 500; nr++)
		CHECK(call_stub(STUB + 0x100, nr, NULL) == SIGSEGV && (unsigned long)last_addr == STUB + 0x100);
	for (long nr = 0; nr < 500; nr++) {
		requests[0] = nr;
		CHECK(call_stub(STUB + 0x110, 0, requests) == SIGSEGV);
	}
	CHECK(call_stub(STUB + 0x110, 0, (void *)(STUB + PAGE)) == SIGSEGV || last_signal == SIGTRAP);
	CHECK(TRY(*(volatile char *)(STUB + 0x100) = 1) == SIGSEGV);
	CHECK(TRY(*(volatile char *)(STUB + PAGE) = 1) == SIGSEGV);
	if (!TRY(now = old_time(NULL)))
		CHECK(now - time(NULL) < 2 && time(NULL) - now < 2);
	/* a guest may have the place for itself */
	memset(map((void *)STUB, 4 * PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1), 0x5a, 4 * PAGE);
	CHECK(*(volatile unsigned char *)(STUB + 2 * PAGE) == 0x5a);
	put_code((unsigned char *)STUB + 0x100, 99);
	CHECK(((unsigned (*)(void))(STUB + 0x100))() == 99);
	munmap((void *)STUB, 4 * PAGE);
}

int main(void)
{
	unsigned long spin = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	catch_all();
	test_memory();
	test_code();
	test_traps();
	test_told_apart();
	test_cpuid();
	test_bases();
	test_vectors();
	test_threads();
	test_debugger();
	test_hostile();
	for (volatile unsigned k = 0; k < 20000000; k++)
		spin += k;
	puts(failed ? "user: failed" : "user: ok");
	return failed != 0;
}
