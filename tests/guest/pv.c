/* SPDX-License-Identifier: Apache-2.0
 * What KVM's CPUID leaf offers a guest, as Linux uses it (Documentation/virt/kvm/x86: cpuid, hypercalls, msr): kicks,
 * IPIs to many, yielding, a TLB flush left to a processor that does not run, stolen time, interrupts ended in memory.
 * On any number of processors; "crowded" on the command line: the host has fewer.
 */
#include "kit/smp.h"

#define VEC 0x40
#define MSR_STEAL_TIME 0x4b564d03u
#define MSR_PV_EOI 0x4b564d04u
#define WINDOW 0x300000000000ull

enum { F_STEAL = 5, F_EOI = 6, F_UNHALT = 7, F_FLUSH = 9, F_IPI = 11, F_YIELD = 13 };
enum { HC_KICK = 5, HC_SEND_IPI = 10, HC_YIELD = 11 };
enum { PREEMPTED = 1, FLUSH_TLB = 2 };
#define ENOSYS_KVM (-1000)
#define EINVAL_KVM (-22)

struct steal {
	volatile u64 steal;
	volatile u32 version, flags;
	volatile u8 preempted, pad[47];
} __attribute__((aligned(64)));

static struct steal steal[KIT_CPUS_MAX];
static volatile u32 eoi_word[KIT_CPUS_MAX];
static volatile u64 got[KIT_CPUS_MAX], nmis[KIT_CPUS_MAX], total, at, woke, seen, own;
static volatile bool leave_eoi;
static u64 *window_pte, *frames[2];
static u32 features;

static s64 call(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	s64 ret;

	__asm__ volatile("vmcall" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return ret;
}

static bool on_ipi(struct frame *f)
{
	unsigned cpu = kit_cpu();

	(void)f;
	got[cpu]++;
	if (leave_eoi && (eoi_word[cpu] & 1))
		eoi_word[cpu] = 0; /* that is all */
	else
		APIC(APIC_EOI) = 0;
	lock_add(&total, 1);
	return true;
}

static bool on_nmi(struct frame *f)
{
	(void)f;
	nmis[kit_cpu()]++;
	lock_add(&total, 1);
	return true;
}

static bool halted(unsigned cpu)
{
	u64 begun = rdtsc();

	while (!(steal[cpu].preempted & PREEMPTED) && rdtsc() - begun < 100000000000ull)
		pause();
	return steal[cpu].preempted & PREEMPTED;
}

/* ---- kicks ------------------------------------------------------------------------------------------------------- */

static void test_kick_self(void)
{
	kit_case("a kick returns 0", "KVM_HC_KICK_CPU", 0, (u64)call(HC_KICK, 0, kit_cpu(), 0, 0));
	/* Without it nothing would ever end this. */
	__asm__ volatile("cli; hlt; sti" ::: "memory");
	kit_case("a kick that came first ends the next HLT", "KVM_HC_KICK_CPU", 0, total);
	kit_case("a kick to nobody", "KVM_HC_KICK_CPU", 0, (u64)call(HC_KICK, 0, 200, 0, 0));
}

static void kick_run(unsigned cpu, void *arg)
{
	if (cpu > 2)
		return;
	if (cpu) {
		lock_add(&at, 1);
		if (arg)
			__asm__ volatile("sti; hlt" ::: "memory");
		else
			__asm__ volatile("cli; hlt; sti" ::: "memory");
		lock_add(&own, steal[cpu].preempted);
		lock_add(&woke, 1);
		return;
	}
	kit_wait(&at, kit_cpus > 2 ? 2 : 1);
	kit_case("a halted processor says that it does not run", "MSR_KVM_STEAL_TIME", 1, halted(1));
	call(HC_KICK, 0, 1, 0, 0);
	kit_case("a kick ends HLT", "KVM_HC_KICK_CPU", 1, kit_wait(&woke, 1));
	if (kit_cpus > 2) {
		for (unsigned i = 0; i < 3000; i++)
			pause();
		kit_case("a kick is for one processor", "KVM_HC_KICK_CPU", 1, woke);
		call(HC_KICK, 0, 2, 0, 0);
	}
}

static void test_kicks(void)
{
	for (u64 k = 0; k < 8; k++) {
		at = woke = 0;
		kit_smp_run(kick_run, (void *)(k & 1));
	}
	kit_case("a processor that runs finds its own word empty", "MSR_KVM_STEAL_TIME", 0, own);
	kit_case("a kick delivers no interrupt", "KVM_HC_KICK_CPU", 0, total);
}

/* ---- IPIs -------------------------------------------------------------------------------------------------------- */

static void expect(const char *name, u64 mask, volatile u64 *counts)
{
	u64 ones = 0, taken = 0;

	for (unsigned i = 0; i < kit_cpus; i++)
		ones += mask >> i & 1;
	kit_wait(&total, ones);
	for (unsigned i = 0; i < 300; i++)
		pause();
	for (unsigned i = 0; i < kit_cpus; i++)
		taken |= (u64)(counts[i] == 1) << i;
	kit_case(name, "KVM_HC_SEND_IPI", mask, taken);
	kit_case("nobody else takes it", "KVM_HC_SEND_IPI", ones, total);
	for (unsigned i = 0; i < kit_cpus; i++)
		got[i] = nmis[i] = 0;
	total = 0;
}

static void test_ipis(void)
{
	u64 all = kit_cpus == 64 ? ~0ull : (1ull << kit_cpus) - 1, high = all & ~1ull;

	kit_case("how many were sent", "KVM_HC_SEND_IPI", kit_cpus, (u64)call(HC_SEND_IPI, all, 0, 0, VEC));
	expect("each bit is a processor", all, got);
	call(HC_SEND_IPI, high >> 1, 0, 1, VEC);
	expect("the first bit's processor is given", high, got);
	call(HC_SEND_IPI, high, 0, 0, 0x400);
	expect("NMIs", high, nmis);
	kit_case("a shorthand is refused", "KVM_HC_SEND_IPI", (u64)EINVAL_KVM,
		 (u64)call(HC_SEND_IPI, 1, 0, 0, 1 << 18 | VEC));
	expect("a refused call sends nothing", 0, got);
}

/* ---- the page of stolen time ------------------------------------------------------------------------------------- */

static void enable_run(unsigned cpu, void *arg)
{
	(void)arg;
	if (features >> F_STEAL & 1)
		wrmsr(MSR_STEAL_TIME, (u64)&steal[cpu] | 1);
}

static void flush_run(unsigned cpu, void *arg)
{
	volatile u64 *w = (u64 *)WINDOW;
	u8 was = PREEMPTED;

	(void)arg;
	if (cpu > 1)
		return;
	if (cpu) {
		seen = *w;
		lock_add(&at, 1);
		__asm__ volatile("cli; hlt; sti" ::: "memory");
		seen = *w;
		lock_add(&woke, 1);
		return;
	}
	kit_wait(&at, 1);
	halted(1);
	*(volatile u64 *)window_pte = (u64)frames[*window_pte == ((u64)frames[0] | 0x67)] | 0x67;
	kit_case("the flush is left to a processor that halts", "MSR_KVM_STEAL_TIME", 1,
		 __atomic_compare_exchange_n(&steal[1].preempted, &was, PREEMPTED | FLUSH_TLB, false, __ATOMIC_SEQ_CST,
					     __ATOMIC_SEQ_CST));
	call(HC_KICK, 0, 1, 0, 0);
	kit_wait(&woke, 1);
}

static void test_flush(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page();

	window_pte = kit_page();
	kit_pml4[WINDOW >> 39] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	pd[0] = (u64)window_pte | 7;
	for (u64 i = 0; i < 2; i++) {
		frames[i] = kit_page();
		frames[i][0] = 10 + i;
	}
	*window_pte = (u64)frames[0] | 0x67;
	for (u64 k = 0; k < 6; k++) {
		at = woke = 0;
		kit_smp_run(flush_run, NULL);
		kit_case("it is done before the processor goes on", "MSR_KVM_STEAL_TIME", 11 - (k & 1), seen);
	}
}

/* Everybody wants a CPU of the host's; what the APIC's timer is told is when the page may be renewed. */
static void busy_run(unsigned cpu, void *arg)
{
	u64 begun = rdtsc();

	(void)arg;
	APIC(0x320) = 0x10000;
	while (rdtsc() - begun < 400000000) {
		APIC(0x380) = 100000000;
		for (unsigned i = 0; i < 2000; i++)
			__asm__ volatile("" ::: "memory");
	}
	APIC(0x380) = 0;
	if (steal[cpu].version & 1)
		lock_add(&seen, 1);
}

static void test_stolen(void)
{
	const char *line = (const char *)(u64)((u32 *)(u64)multiboot_info)[4];
	u64 sum = 0;

	seen = 0;
	kit_smp_run(busy_run, NULL);
	kit_case("the page is whole", "MSR_KVM_STEAL_TIME", 0, seen);
	for (unsigned i = 0; i < kit_cpus; i++)
		sum += steal[i].steal;
	for (; *line; line++)
		if (*line == 'c' && line[1] == 'r')
			kit_case("processors wait for one another", "MSR_KVM_STEAL_TIME", 1, sum > 0);
}

/* ---- interrupts that end in memory ------------------------------------------------------------------------------- */

static void test_eoi(void)
{
	wrmsr(MSR_PV_EOI, (u64)&eoi_word[0] | 1);
	leave_eoi = true;
	for (u64 k = 1; k <= 3; k++) {
		kit_ipi(0, 1 << 18 | 0x4000 | VEC);
		kit_case("an interrupt after one that the word ended", "MSR_KVM_PV_EOI", 1, kit_wait(&total, k));
	}
	leave_eoi = false;
	kit_ipi(0, 1 << 18 | 0x4000 | VEC);
	kit_case("the register still ends one", "MSR_KVM_PV_EOI", 1, kit_wait(&total, 4));
	kit_case("then the word offers nothing", "MSR_KVM_PV_EOI", 0, eoi_word[0]);
	kit_case("nothing is in service", "MSR_KVM_PV_EOI", 0, APIC(0x100 + (VEC >> 5 << 4)));
	wrmsr(MSR_PV_EOI, 0);
	total = got[0] = 0;
}

static bool offered(unsigned feature)
{
	return features >> feature & 1;
}

int guest_main(void);
int guest_main(void)
{
	u32 r[4];

	cpuid(0x40000000, 0, r);
	if (r[1] != 0x4b4d564b || r[2] != 0x564b4d56 || r[3] != 0x4d) {
		kit_puts("KVM's leaves are not there\n");
		return kit_done();
	}
	cpuid(0x40000001, 0, r);
	features = r[0];
	kit_handlers[VEC] = on_ipi;
	kit_handlers[2] = on_nmi;
	kit_smp_start();
	kit_printf("%u processors\n", kit_cpus);
	__asm__ volatile("sti");
	kit_smp_run(enable_run, NULL);
	kit_case("a hypercall that nobody knows", "KVM hypercalls", (u64)ENOSYS_KVM, (u64)call(999, 0, 0, 0, 0));
	if (offered(F_YIELD))
		kit_case("yielding returns 0", "KVM_HC_SCHED_YIELD", 0, (u64)call(HC_YIELD, kit_cpus - 1, 0, 0, 0));
	if (offered(F_UNHALT))
		test_kick_self();
	if (offered(F_UNHALT) && offered(F_STEAL) && kit_cpus > 1)
		test_kicks();
	if (offered(F_IPI))
		test_ipis();
	if (offered(F_FLUSH) && offered(F_UNHALT) && kit_cpus > 1)
		test_flush();
	if (offered(F_EOI))
		test_eoi();
	if (offered(F_STEAL))
		test_stolen();
	__asm__ volatile("cli");
	return kit_done();
}
