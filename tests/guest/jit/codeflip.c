/* SPDX-License-Identifier: Apache-2.0
 * What just-in-time compilers do with pages, by hand and with every answer known: W^X flips of one page, code written
 * through an alias, functions that cross pages, code read from a file, threads that run what another one writes.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

typedef uint32_t fn(uint32_t);

static void check(int ok, const char *what, unsigned n)
{
	if (ok)
		return;
	printf("%s: round %u is wrong\n", what, n);
	exit(1);
}

/* mov eax, edi; times: add eax, n; ret */
static size_t put(uint8_t *at, uint32_t n, unsigned times)
{
	uint8_t *p = at;

	*p++ = 0x89;
	*p++ = 0xf8;
	while (times--) {
		*p++ = 0x05;
		memcpy(p, &n, 4);
		p += 4;
	}
	*p++ = 0xc3;
	return (size_t)(p - at);
}

/* Enough runs that the code is translated before it changes. */
static void run(fn *f, uint32_t want, const char *what, unsigned n)
{
	for (uint32_t k = 0; k < 6; k++)
		check(f(k) == k + want, what, n);
}

static fn *as_fn(const void *p)
{
	return (fn *)(uintptr_t)p;
}

static void flips(void)
{
	uint8_t *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (unsigned n = 1; n <= 200; n++) {
		unsigned off = n * 37 % PAGE, times = 1 + n % 30;

		check(!mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE), "mprotect", n);
		put(p + off, n, times); /* often over the page's edge */
		check(!mprotect(p, 2 * PAGE, PROT_READ | PROT_EXEC), "mprotect", n);
		run(as_fn(p + off), n * times, "flips", n);
	}
	munmap(p, 2 * PAGE);
}

static void writable(void)
{
	uint8_t *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	put(p + PAGE - 20, 0, 20);
	for (uint32_t n = 1; n <= 3000; n++) { /* one immediate changes, now before and now behind the edge */
		uint32_t k = n % 20;

		memcpy(p + PAGE - 20 + 3 + 5 * k, &n, 4);
		if (k == 19)
			run(as_fn(p + PAGE - 20), (n - 19 + n) * 10, "writable", n);
		else if (n > 20)
			check(as_fn(p + PAGE - 20)(0) != 0, "writable", n);
	}
	munmap(p, 2 * PAGE);
}

static void aliases(void)
{
	int fd = memfd_create("code", MFD_CLOEXEC);
	uint8_t *rw, *rx;

	check(fd >= 0 && !ftruncate(fd, 2 * PAGE), "memfd", 0);
	rw = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rx = mmap(NULL, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	for (unsigned n = 1; n <= 400; n++) {
		unsigned off = n * 53 % (2 * PAGE - 200), times = 1 + n % 20;

		put(rw + off, n, times);
		run(as_fn(rx + off), n * times, "aliases", n);
	}
	for (unsigned n = 1; n <= 100; n++) { /* written by the kernel: pwrite() knows only the file */
		uint8_t code[200];
		size_t len = put(code, n, 1 + n % 20);

		check(pwrite(fd, code, len, PAGE - 40) == (ssize_t)len, "pwrite", n);
		run(as_fn(rx + PAGE - 40), n * (1 + n % 20), "pwrite", n);
	}
	munmap(rw, 2 * PAGE);
	munmap(rx, 2 * PAGE);
	close(fd);
}

/* The same address, other pages. */
static void remaps(void)
{
	int fd = memfd_create("pages", MFD_CLOEXEC);
	uint8_t *all, *at;

	check(fd >= 0 && !ftruncate(fd, 8 * PAGE), "memfd", 0);
	all = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	for (unsigned k = 0; k < 8; k++)
		put(all + k * PAGE + 16, k + 1, 3);
	for (unsigned n = 0; n < 300; n++) {
		unsigned k = n * 5 % 8;

		check(mmap(at, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, k * PAGE) == at, "mmap", n);
		run(as_fn(at + 16), 3 * (k + 1), "remaps", n);
	}
	close(fd);
}

struct shared {
	uint8_t *page;
	_Atomic(uint32_t) made, used;
};

/* Runs each version as it is announced; MFENCE and CPUID are what the manual asks of other CPUs' code. */
static void *user(void *arg)
{
	struct shared *s = arg;

	for (uint32_t n = 1; n <= 500; n++) {
		uint32_t a = 0, b, c = 0, d;

		while (atomic_load(&s->made) < n)
			sched_yield();
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
		run(as_fn(s->page), n * 4, "threads", n);
		atomic_store(&s->used, n);
	}
	return NULL;
}

static void threads(void)
{
	struct shared s = { .page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
					 -1, 0) };
	pthread_t t;

	check(!pthread_create(&t, NULL, user, &s), "pthread_create", 0);
	for (uint32_t n = 1; n <= 500; n++) {
		put(s.page, n, 4);
		atomic_store(&s.made, n);
		while (atomic_load(&s.used) < n)
			sched_yield();
	}
	pthread_join(t, NULL);
}

/* More code than fits anywhere, in rounds. */
static void much(void)
{
	size_t n = 4096;
	uint8_t *p = mmap(NULL, n * PAGE / 4, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (unsigned round = 1; round <= 2; round++) {
		for (uint32_t k = 0; k < n; k++)
			put(p + k * (PAGE / 4), k * round, 3 + k % 5);
		for (uint32_t k = 0; k < n; k++)
			run(as_fn(p + k * (PAGE / 4)), k * round * (3 + k % 5), "much", k);
	}
	munmap(p, n * PAGE / 4);
}

int main(void)
{
	flips();
	writable();
	aliases();
	remaps();
	threads();
	much();
	puts("codeflip: ok");
	return 0;
}
