/* SPDX-License-Identifier: Apache-2.0
 * Does /dev/kvm run guests, and at a hardware's pace? A scratch VM of 64 KiB takes a processor from real mode through
 * protected mode to long mode with paging and an interrupt, and each step leaves a number that is compared.
 *
 * The node alone says nothing: it opens without permission to make a VM, makes VMs where nothing executes, and there
 * are paravirtual KVMs under which unmodified kernels are emulated or do not run at all (host.c knows most of those
 * by the processor, without a VM).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/kvm/kvm.h"

#define PROBE_SIZE 0x10000u
/* CPU time. A hypervisor that emulates takes more than a microsecond for each of a turn's 2050 instructions; hardware 1
 * us for all, one that is itself emulated some hundred. The quickest of the first TRIES turns counts: the rest of a
 * guest that is emulated would cost every start of `auto` tens of milliseconds. */
#define PROBE_NS NS_PER_SEC /* for everything */
#define TURN_NS 1300000ull
#define LOOPS 683 /* of three instructions */
#define TURNS 8
#define TRIES 6
#define PORT_TURN 0x10 /* written before each turn; the next port behind the last */
#define SLOW "/dev/kvm opens, but runs guests so slowly that it must be emulating them"
#define PROBE_VECTOR 0x20
#define RESULTS 0x8000u

/* The guest, assembled for address 1000H. It keeps to registers and absolute addresses, and leaves at RESULTS: 0 the
 * sum made in real mode, 4 in protected mode, 8 read through a second mapping in long mode, 12 interrupts taken, 16
 * loops. */
__asm__(".pushsection .rodata\n"
	".balign 256\n"
	"kvm_probe_code:\n"
	"	.code16\n"
	"	mov $0x1234, %ax\n"
	"	add $0x1111, %ax\n"
	"	movzwl %ax, %eax\n"
	"	mov %eax, 0x8000\n"
	"	lgdtl 0x2ff0\n"
	"	mov %cr0, %eax\n"
	"	or $1, %eax\n"
	"	mov %eax, %cr0\n"
	"	ljmpl $8, $(0x1000 + 1f - kvm_probe_code)\n"
	"1:	.code32\n"
	"	mov $16, %eax\n"
	"	mov %eax, %ds\n"
	"	mov %eax, %ss\n"
	"	mov $0x9000, %esp\n"
	"	mov 0x8000, %eax\n"
	"	shl $16, %eax\n"
	"	push %eax\n"
	"	pop %ebx\n"
	"	mov %ebx, 0x8004\n"
	"	mov %cr4, %eax\n"
	"	or $0x20, %eax\n"
	"	mov %eax, %cr4\n"
	"	mov $0x4000, %eax\n"
	"	mov %eax, %cr3\n"
	"	mov $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	or $0x100, %eax\n"
	"	wrmsr\n"
	"	mov %cr0, %eax\n"
	"	or $0x80000000, %eax\n"
	"	mov %eax, %cr0\n"
	"	ljmpl $24, $(0x1000 + 2f - kvm_probe_code)\n"
	"2:	.code64\n"
	"	lidt 0x2fe0\n"
	"	mov $0x208004, %rbx\n"
	"	mov (%rbx), %eax\n"
	"	inc %eax\n"
	"	mov %eax, 4(%rbx)\n"
	"	xor %edx, %edx\n"
	"	mov $8, %esi\n"
	"4:	out %al, $0x10\n"
	"	mov $683, %ecx\n"
	"3:	add $3, %rdx\n"
	"	dec %ecx\n"
	"	jnz 3b\n"
	"	dec %esi\n"
	"	jnz 4b\n"
	"	sub $0x200000, %rbx\n"
	"	mov %edx, 12(%rbx)\n"
	"	out %al, $0x11\n"
	"	sti\n"
	"	nop\n"
	"	hlt\n"
	"	.balign 256\n"
	"	push %rbx\n" /* at 1100H: the interrupt's handler */
	"	mov $0x800c, %ebx\n"
	"	incl (%rbx)\n"
	"	pop %rbx\n"
	"	iretq\n"
	"kvm_probe_end:\n"
	"	.popsection\n");
extern const u8 kvm_probe_code[], kvm_probe_end[];

struct probe {
	int sys, vm, vcpu;
	u8 *mem;
	struct kvm_run *run;
	size_t run_size;
	u64 turn_began, quickest;
	unsigned turns;
};

static void put(struct probe *p, u32 at, u64 val, unsigned size)
{
	memcpy(p->mem + at, &val, size);
}

/* Descriptor tables and page tables: 2 MiB of linear space, twice. */
static void lay_out(struct probe *p)
{
	static const u64 gdt[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff };

	memcpy(p->mem + 0x1000, kvm_probe_code, (size_t)(kvm_probe_end - kvm_probe_code));
	memcpy(p->mem + 0x2000, gdt, sizeof(gdt));
	put(p, 0x2ff0, sizeof(gdt) - 1, 2);
	put(p, 0x2ff2, 0x2000, 4);
	put(p, 0x3000 + PROBE_VECTOR * 16, 0x1100 | 24u << 16 | 0x8e0000000000, 8);
	put(p, 0x2fe0, 0xfff, 2);
	put(p, 0x2fe2, 0x3000, 8);
	put(p, 0x4000, 0x5003, 8);
	put(p, 0x5000, 0x6003, 8);
	put(p, 0x6000, 0x83, 8);
	put(p, 0x6008, 0x83, 8);
}

/* Without a CPUID there is no long mode. */
static int give_cpuid(struct probe *p, struct err *e)
{
	const unsigned n = 256;
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + n * sizeof(c->entries[0]));
	int ret = 0;

	if (c)
		c->nent = n;
	if (!c || ioctl(p->sys, KVM_GET_SUPPORTED_CPUID, c) || ioctl(p->vcpu, KVM_SET_CPUID2, c))
		ret = err_errno(e, "/dev/kvm offers no CPUID");
	free(c);
	return ret;
}

static int make(struct probe *p, struct err *e)
{
	struct kvm_userspace_memory_region region = { .memory_size = PROBE_SIZE };
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = 0x1000, .rflags = 2 };

	p->mem = mmap(NULL, PROBE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED)
		return err_errno(e, "no memory to probe /dev/kvm with");
	lay_out(p);
	region.userspace_addr = (uintptr_t)p->mem;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region))
		return err_errno(e, "/dev/kvm takes no memory");
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	if (p->vcpu < 0)
		return err_errno(e, "/dev/kvm makes no vCPU");
	p->run_size = (size_t)ioctl(p->sys, KVM_GET_VCPU_MMAP_SIZE, 0);
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	if (p->run == MAP_FAILED || ioctl(p->vcpu, KVM_GET_SREGS, &s))
		return err_errno(e, "/dev/kvm shows no vCPU");
	if (give_cpuid(p, e))
		return -1;
	s.cs.selector = 0;
	s.cs.base = 0;
	if (ioctl(p->vcpu, KVM_SET_SREGS, &s) || ioctl(p->vcpu, KVM_SET_REGS, &r))
		return err_errno(e, "/dev/kvm takes no registers");
	return 0;
}

static u32 result(const struct probe *p, u32 off)
{
	return *(volatile u32 *)(p->mem + RESULTS + off);
}

static int judge(const struct probe *p, struct err *e)
{
	if (result(p, 0) != 0x2345)
		return err_set(e, "/dev/kvm opens, but real-mode code does not run under it");
	if (result(p, 4) != 0x23450000)
		return err_set(e, "/dev/kvm opens, but protected-mode code does not run under it");
	if (result(p, 8) != 0x23450001 || result(p, 16) != 3 * LOOPS * TURNS)
		return err_set(e, "/dev/kvm opens, but long-mode code does not run under it");
	if (result(p, 12) != 1)
		return err_set(e, "/dev/kvm opens, but interrupts do not reach the guest");
	return 0;
}

/* What the guest got to before it stopped for a reason that is not its own. */
static int stopped(const struct probe *p, struct err *e)
{
	const char *mode = !result(p, 0) ? "real mode" : !result(p, 4) ? "protected mode" : "long mode";

	return err_set(e, "/dev/kvm opens, but does not run unmodified kernels: it gave up in %s (exit %u%s)", mode,
		       p->run->exit_reason,
		       p->run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? ", internal error"
		       : p->run->exit_reason == KVM_EXIT_SHUTDOWN     ? ", shutdown"
		       : p->run->exit_reason == KVM_EXIT_FAIL_ENTRY   ? ", entry failed"
								      : "");
}

static u64 cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec;
}

/* Between two turns. */
static int take_time(struct probe *p, struct err *e)
{
	u64 now = cpu_ns();

	if (p->turn_began) {
		p->quickest = MIN(p->quickest, now - p->turn_began);
		if (++p->turns >= TRIES && p->quickest > TURN_NS)
			return err_set(e, SLOW);
	}
	p->turn_began = cpu_ns();
	return 1;
}

/* One exit: 1 to go on, 0 at the end, -1. */
static int step(struct probe *p, struct err *e)
{
	struct kvm_interrupt irq = { .irq = PROBE_VECTOR };

	switch (p->run->exit_reason) {
	case KVM_EXIT_IO:
		p->run->request_interrupt_window = p->run->io.port != PORT_TURN;
		return take_time(p, e);
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		p->run->request_interrupt_window = 0;
		return ioctl(p->vcpu, KVM_INTERRUPT, &irq) ? err_errno(e, "/dev/kvm takes no interrupt") : 1;
	case KVM_EXIT_HLT:
		return judge(p, e);
	default:
		return stopped(p, e);
	}
}

static int run_guest(struct probe *p, struct err *e)
{
	int more = 1;

	while (more > 0) {
		if (!ioctl(p->vcpu, KVM_RUN, 0))
			more = step(p, e);
		else if (errno == EINTR)
			return err_set(e, SLOW);
		else
			return err_errno(e, "/dev/kvm opens, but does not run a vCPU");
	}
	return more;
}

/* The signal of kicks, blocked but inside KVM_RUN, ends a guest that does not end by itself. */
static int run_limited(struct probe *p, struct err *e)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KVM_KICK_SIGNAL };
	const struct timespec now = { 0 };
	struct itimerspec limit = { .it_value.tv_sec = PROBE_NS / NS_PER_SEC };
	sigset_t kick, old;
	timer_t timer;
	int ret;

	ev._sigev_un._tid = gettid();
	if (kvm_admit_kicks(p->vcpu))
		return err_errno(e, "/dev/kvm takes no signal mask");
	sigemptyset(&kick);
	sigaddset(&kick, KVM_KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, &old);
	if (timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &timer)) {
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		return err_errno(e, "no timer to probe /dev/kvm with");
	}
	timer_settime(timer, 0, &limit, NULL);
	ret = run_guest(p, e);
	timer_delete(timer);
	while (sigtimedwait(&kick, NULL, &now) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

int kvm_probe(struct err *e)
{
	struct probe p = { .quickest = ~0ull, .sys = -1, .vm = -1, .vcpu = -1, .mem = MAP_FAILED, .run = MAP_FAILED };
	int ret = kvm_open(&p.sys, &p.vm, e);

	if (ret)
		return -1;
	ret = kvm_check_caps(p.sys, e);
	if (!ret)
		ret = make(&p, e);
	if (!ret)
		ret = run_limited(&p, e);
	if (p.run != MAP_FAILED)
		munmap(p.run, p.run_size);
	if (p.vcpu >= 0)
		close(p.vcpu);
	close(p.vm);
	close(p.sys);
	if (p.mem != MAP_FAILED)
		munmap(p.mem, PROBE_SIZE);
	return ret;
}
