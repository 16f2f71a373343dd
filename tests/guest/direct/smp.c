/* SPDX-License-Identifier: Apache-2.0
 * A program whose threads run natively on several vCPUs: each CPU shows its own number by whatever way; a thread writes
 * code that others execute, now and then with CPUID in it; pages come, go and change their rights while all use them;
 * a lock of futexes. Run in a guest by tests/guest/direct.sh, and anywhere else as well.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 300
#define PAGE 4096

static int failed;

#define CHECK(ok)                                                    \
	do {                                                         \
		if (!(ok)) {                                         \
			printf("smp: line %d: %s\n", __LINE__, #ok); \
			failed = 1;                                  \
		}                                                    \
	} while (0)

static int put_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static __attribute__((noinline)) void cpuid(unsigned leaf, unsigned r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static void test_number(int cpu)
{
	unsigned limit = ~0u, a, d, aux, r[4], got = ~0u;

	__asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"(0x7b) : "cc");
	CHECK((limit & 0xfff) == (unsigned)cpu);
	cpuid(0x80000001, r);
	if (r[3] >> 27 & 1) {
		__asm__ volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(aux));
		CHECK((aux & 0xfff) == (unsigned)cpu);
	}
	CHECK(sched_getcpu() == cpu);
	CHECK(!syscall(SYS_getcpu, &got, NULL, NULL) && got == (unsigned)cpu);
	cpuid(1, r);
	CHECK(r[1] >> 24 == (unsigned)cpu); /* as doppel numbers its local APICs */
}

static void test_numbers(void)
{
	volatile unsigned spin = 0;

	for (int cpu = 0; !put_on(cpu); cpu++) {
		for (unsigned k = 0; k < 3000000; k++)
			spin += k;
		test_number(cpu);
	}
}

/* ---- code that another CPU writes -------------------------------------------------------------------------------- */

/* MOV EAX, n; RET, or with CPUID of leaf 0 between, whose EAX is added. */
static unsigned char *code;
static atomic_uint version, seen[THREADS];
static unsigned expected[2];

static void write_code(unsigned n)
{
	const unsigned char plain[] = { 0xb8, 0, 0, 0, 0, 0xc3 };
	const unsigned char with_cpuid[] = { 0x53, 0x31, 0xc0, 0x31, 0xc9, 0x0f, 0xa2, 0x5b, 0xc3 };

	if (n % 3 == 2) {
		memcpy(code, with_cpuid, sizeof(with_cpuid));
		return;
	}
	memcpy(code, plain, sizeof(plain));
	memcpy(code + 1, &n, sizeof(n));
}

static unsigned call_code(void)
{
	unsigned r[4];

	cpuid(0, r); /* serializes: what was written before is what is executed (SDM 3A 9.1.3) */
	return ((unsigned (*)(void))(unsigned long)code)();
}

static void *executor(void *arg)
{
	unsigned me = (unsigned)(unsigned long)arg, last = 0;

	while (last != ROUNDS) {
		unsigned n = atomic_load(&version);

		if (n == last) {
			sched_yield();
			continue;
		}
		last = n;
		CHECK(call_code() == (n % 3 == 2 ? expected[0] : n));
		atomic_store(&seen[me], n);
	}
	return NULL;
}

static void test_written_code(void)
{
	pthread_t t[THREADS];
	unsigned r[4];

	cpuid(0, r);
	expected[0] = r[0];
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(code != MAP_FAILED);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_create(&t[k], NULL, executor, (void *)(unsigned long)k);
	for (unsigned n = 1; n <= ROUNDS; n++) {
		write_code(n);
		atomic_store(&version, n);
		for (unsigned k = 0; k < THREADS; k++)
			while (atomic_load(&seen[k]) != n)
				sched_yield();
	}
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(t[k], NULL);
}

/* ---- pages that all use, and one changes --------------------------------------------------------------------------
 */

#define PAGES 64
static volatile unsigned char *area;
static atomic_int stop;
static __thread sigjmp_buf *back;

static void on_fault(int sig)
{
	if (back)
		siglongjmp(*back, sig);
	_exit(70);
}

/* Bytes of a page are 0, or what was written since it was last taken away. */
static void *reader(void *arg)
{
	sigjmp_buf here;
	volatile unsigned long n = (unsigned long)arg;

	while (!atomic_load(&stop)) {
		n = n * 6364136223846793005ul + 1442695040888963407ul;
		if (!sigsetjmp(here, 1)) {
			back = &here;
			unsigned char v = area[(n >> 33) % PAGES * PAGE];

			CHECK(v == 0 || v == 0x5a);
		}
		back = NULL;
	}
	return NULL;
}

static void test_pages(void)
{
	pthread_t t[THREADS];

	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	signal(SIGSEGV, on_fault);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_create(&t[k], NULL, reader, (void *)(unsigned long)(k + 1));
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned char *p = (unsigned char *)area + n * 7 % PAGES * PAGE;

		CHECK(!mprotect(p, PAGE, PROT_READ | PROT_WRITE));
		*(volatile unsigned char *)p = 0x5a;
		CHECK(!mprotect(p, PAGE, n & 1 ? PROT_READ : PROT_NONE));
		if (n % 3 == 0)
			CHECK(!madvise(p, PAGE, MADV_DONTNEED));
	}
	atomic_store(&stop, 1);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(t[k], NULL);
	signal(SIGSEGV, SIG_DFL);
}

/* ---- a lock -------------------------------------------------------------------------------------------------------
 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long counted;
static atomic_ulong counted_atomic;

static void *counter(void *arg)
{
	for (unsigned k = 0; k < 20000; k++) {
		pthread_mutex_lock(&lock);
		counted++;
		pthread_mutex_unlock(&lock);
		atomic_fetch_add(&counted_atomic, 3);
	}
	return arg;
}

static void test_lock(void)
{
	pthread_t t[THREADS];

	for (unsigned k = 0; k < THREADS; k++)
		pthread_create(&t[k], NULL, counter, NULL);
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(t[k], NULL);
	CHECK(counted == THREADS * 20000 && counted_atomic == 3 * counted);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	test_lock();
	test_pages();
	test_written_code();
	if (argc > 1 && !strcmp(argv[1], "numbers"))
		test_numbers();
	puts(failed ? "smp: failed" : "smp: ok");
	return failed;
}
