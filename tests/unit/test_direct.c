/* SPDX-License-Identifier: Apache-2.0
 * The engine `direct` without a guest: which bytes are refused, vector state to the host's layout and back, a mirror's
 * process that starts, maps and is confined.
 */
#include "engine/direct/direct.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu/cpuid.h"
#include "mem/frame.h"

enum { NR_URETPROBE = 335, NR_UPROBE = 336 };

static void test_scan(void **state)
{
	static const u8 refused[][4] = {
		{ 0x0f, 0xa2 },		    /* CPUID */
		{ 0x0f, 0x03, 0xc0 },	    /* LSL */
		{ 0x0f, 0x34 },		    /* SYSENTER */
		{ 0x0f, 0x01, 0xf9 },	    /* RDTSCP */
		{ 0x0f, 0x01, 0x00 },	    /* SGDT */
		{ 0x0f, 0x01, 0xe0 },	    /* SMSW */
		{ 0x0f, 0x01, 0xd9 },	    /* VMMCALL */
		{ 0xf3, 0x0f, 0xc7, 0xf8 }, /* RDPID */
		{ 0x0f, 0x01, 0xfd },	    /* RDPRU */
	};
	static const struct {
		unsigned vouch;
		u8 code[4];
	} vouched[] = {
		{ VOUCH_CPUID, { 0x0f, 0xa2 } },	   { VOUCH_LSL, { 0x0f, 0x03, 0xc0 } },
		{ VOUCH_SYSENTER, { 0x0f, 0x34 } },	   { VOUCH_AUX, { 0x0f, 0x01, 0xf9 } },
		{ VOUCH_AUX, { 0xf3, 0x0f, 0xc7, 0xf8 } }, { VOUCH_UMIP, { 0x0f, 0x01, 0x00 } },
		{ VOUCH_UMIP, { 0x0f, 0x01, 0x88 } }, /* SIDT */
		{ VOUCH_UMIP, { 0x0f, 0x01, 0xe0 } }, /* SMSW */
		{ VOUCH_UMIP, { 0x0f, 0x01, 0x66 } },	   { VOUCH_PKRU, { 0x0f, 0x01, 0xee } },
	};
	static const u8 taken[][4] = {
		{ 0x0f, 0x05 },		    /* SYSCALL traps */
		{ 0x0f, 0x01, 0xd0 },	    /* XGETBV: the first tier vouches */
		{ 0x0f, 0xc7, 0x0f, 0x90 }, /* CMPXCHG8B */
		{ 0x0f, 0x31 },		    /* RDTSC */
		{ 0xcd, 0x42 },
		{ 0xcd, 0x80 },
		{ 0xcd, 0x03 },
		{ 0xcd, 0x04 },
		{ 0xcc },
	};
	u8 page[PAGE_SIZE];

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(refused); k++)
		for (size_t at = 0; at <= PAGE_SIZE - 4; at += 4092 / 12) {
			memset(page, 0x90, sizeof(page));
			memcpy(page + at, refused[k], 4);
			assert_true(direct_scan(page, sizeof(page), 0));
		}
	for (size_t k = 0; k < ARRAY_SIZE(taken); k++) {
		memset(page, 0x90, sizeof(page));
		memcpy(page + 100, taken[k], 4);
		assert_false(direct_scan(page, sizeof(page), 0));
	}
	for (size_t k = 0; k < ARRAY_SIZE(vouched); k++) {
		memset(page, 0x90, sizeof(page));
		memcpy(page + 100, vouched[k].code, 4);
		assert_false(direct_scan(page, sizeof(page), vouched[k].vouch));
		assert_true(direct_scan(page, sizeof(page), ~vouched[k].vouch));
	}
}

/* Where to stop: at the opcode and at each prefix before it, which may be bytes of another instruction. */
static void test_guards(void **state)
{
	static const struct {
		u8 code[8];
		unsigned n; /* bytes before the opcode */
		int sites;
	} row[] = {
		{ { 0xe8, 0x0f, 0xa2 }, 1, 1 },
		{ { 0x66, 0x0f, 0xa2 }, 1, 2 },
		{ { 0x90, 0x66, 0x48, 0x0f, 0xa2 }, 3, 3 },
		{ { 0x90, 0xf3, 0x2e, 0x65, 0x0f, 0xa2 }, 4, 4 },
		{ { 0xf3, 0x2e, 0x65, 0x4f, 0x0f, 0xa2 }, 4, -1 },
		{ { 0x8e, 0xd0, 0x0f, 0xa2 }, 2, -1 }, /* MOV SS */
		{ { 0x8e, 0xd0, 0x66, 0x0f, 0xa2 }, 3, -1 },
		{ { 0x8e, 0x94, 0x24, 1, 2, 3, 4 }, 7, 0 }, /* nothing behind it */
		{ { 0x8e, 0xd8, 0x0f, 0xa2 }, 2, 1 },	    /* MOV DS */
		{ { 0x17, 0x0f, 0xa2 }, 1, -1 },	    /* POP SS of 32-bit code */
		{ { 0x0f, 0x0f, 0xa2 }, 1, 1 },
		{ { 0x0f, 0x01, 0xf9 }, 0, 1 },
		{ { 0x0f, 0x01, 0xc1 }, 0, 1 },
	};
	u8 page[PAGE_SIZE];
	u16 at[GUARDS];

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(row); k++) {
		memset(page, 0x90, sizeof(page));
		memcpy(page + 100, row[k].code, sizeof(row[k].code));
		assert_int_equal(guard_sites(page, 0, at), row[k].sites);
		for (int n = 0; n < row[k].sites; n++)
			assert_int_equal(at[n], 100 + (int)row[k].n - row[k].sites + 1 + n);
	}
	memset(page, 0x90, sizeof(page));
	memcpy(page + 3, "\x0f\xa2", 2); /* may be of an instruction that begins in the frame before */
	assert_int_equal(guard_sites(page, 0, at), -1);
	memset(page, 0x90, sizeof(page));
	memcpy(page + 7, "\x0f\xa2", 2);
	assert_int_equal(guard_sites(page, 0, at), 1);
	memset(page, 0x66, 7); /* so may these */
	assert_int_equal(guard_sites(page, 0, at), -1);
	memset(page, 0x90, sizeof(page));
	memcpy(page + PAGE_SIZE - 2, "\x0f\xa2", 2);
	assert_int_equal(guard_sites(page, 0, at), 1);
	for (unsigned k = 0; k < GUARDS; k++)
		memcpy(page + 200 * (k + 1), "\x0f\xa2", 2);
	assert_int_equal(guard_sites(page, 0, at), -1);
	assert_int_equal(guard_sites(page, VOUCH_CPUID, at), 0);
}

/* A mirror's own: pages come, another makes room, each of them at some time. */
static void test_guards_turn(void **state)
{
	static const u16 two[] = { 5, 9 };
	struct mirror *m = calloc(1, sizeof(*m));
	unsigned given[2] = { 0, 0 };

	(void)state;
	guard_set(m, 0x1000, two, 2);
	guard_set(m, 0x5000, two, 2);
	assert_int_equal(guard_free(m), 0);
	assert_int_equal(guard_victim(m, 0x1008), 0x5000);
	for (unsigned k = 0; k < 200; k++)
		given[guard_victim(m, 0x3000) == 0x1000]++;
	assert_true(given[0] > 50 && given[1] > 50);
	assert_true(guard_covers(m, 0x1005) && guard_covers(m, 0x5009) && !guard_covers(m, 0x1006));
	guard_forget(m, 0x1000);
	assert_int_equal(guard_free(m), 2);
	guard_set(m, 0x3000, two, 1);
	assert_int_equal(guard_victim(m, 0x3000), 0x5000);
	guard_forget(m, 0x5000);
	assert_int_equal(guard_victim(m, 0x3000), 0);
	assert_false(guard_covers(m, 0x1005) || guard_covers(m, 0));
	free(m);
}

static void test_seam(void **state)
{
	static const u8 bytes[] = { 0x0f, 0x01, 0xf9 };
	u8 both[32];

	(void)state;
	for (size_t before = 1; before < sizeof(bytes); before++) {
		memset(both, 0x90, sizeof(both));
		memcpy(both + 16 - before, bytes, sizeof(bytes));
		assert_true(direct_scan_seam(both + 16, both + 16, 0));
	}
	memset(both, 0x90, sizeof(both));
	assert_false(direct_scan_seam(both + 16, both + 16, 0));
}

static void test_vectors(void **state)
{
	_Alignas(64) u8 area[XSTATE_MAX], again[XSTATE_MAX];
	struct cpu *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct xlayout x;

	(void)state;
	if (!xstate_layout(&x))
		skip();
	a->x87.fcw = 0x27f;
	a->x87.ftw = 1;
	a->mxcsr = 0x1f80;
	memset(a->x87.st[0], 0x77, 10);
	for (unsigned k = 0; k < 16; k++)
		memset(a->zmm[k].b, (int)(k + 1), x.zmm_hi ? 64 : x.avx ? 32 : 16);
	for (unsigned k = 0; x.hi16 && k < 16; k++)
		memset(a->zmm[16 + k].b, (int)(k + 100), 64);
	a->k[3] = x.k ? 0x1234 : 0;
	xstate_from(&x, area, a);
	xstate_to(&x, b, area);
	assert_memory_equal(a->zmm, b->zmm, sizeof(a->zmm));
	assert_memory_equal(a->k, b->k, sizeof(a->k));
	assert_memory_equal(&a->x87, &b->x87, sizeof(a->x87));
	xstate_from(&x, again, b);
	assert_memory_equal(area, again, x.size);
	free(a);
	free(b);
}

/* A system call by the thread that runs guest code, let loose without PTRACE_SYSEMU: the filter is the second wall. */
static void try_call(struct mirror *m, u64 nr, u64 first)
{
	struct user_regs_struct r;
	int status;

	assert_int_equal(ptrace(PTRACE_GETREGS, m->tid, NULL, &r), 0);
	r.rip = stub_call();
	r.rax = nr;
	r.orig_rax = ~0ull;
	r.rdi = first;
	assert_int_equal(ptrace(PTRACE_SETREGS, m->tid, NULL, &r), 0);
	assert_int_equal(ptrace(PTRACE_CONT, m->tid, NULL, NULL), 0);
	status = mirror_wait(m, m->tid);
	assert_true(status >= 0);
	/* Filters do not see uretprobe and uprobe, which do nothing but for code that the kernel itself has placed. */
	if (nr != NR_URETPROBE && nr != NR_UPROBE)
		assert_int_equal(WSTOPSIG(status), SIGSYS);
}

static void test_confined(void **state)
{
	struct direct *d = calloc(1, sizeof(*d));
	struct mirror *m = &d->mirror[0];
	struct err e = { .text = "" };

	(void)state;
	d->m = mem_new(&e);
	assert_int_equal(mem_add_ram(d->m, 0, 16 * PAGE_SIZE, &e), 0);
	d->exec_fd = stub_open();
	if (mirror_start(d, m, &e)) {
		print_message("%s\n", e.text);
		skip();
	}
	for (u64 nr = 0; nr < 470; nr++)
		try_call(m, nr, nr == SYS_kill ? (u64)getpid() : 0);
	assert_int_equal(
	    mirror_request(m, SYS_mmap, 0x400000, PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, RAM_FD, PAGE_SIZE), 0);
	assert_int_equal(mirror_flush(m), 0);
	mem_page(d->m, PAGE_SIZE, true)[0] = 0x5a;
	errno = 0;
	assert_int_equal(ptrace(PTRACE_PEEKDATA, m->tid, (void *)0x400000, NULL) & 0xff, 0x5a);
	/* one that fails ends the batch, and is told */
	assert_int_equal(mirror_request(m, SYS_mmap, 0x400000, PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, 99, 0), 0);
	assert_int_equal(mirror_flush(m), -1);
	mirror_stop(m);
	assert_false(m->alive);
	close(d->exec_fd);
	mem_free(d->m);
	free(d);
}

/* ---- promotion: with this process in the mirror's place, whose CPU time is what it has used -----------------------
 */

static struct direct *one_space(struct mirror **m)
{
	struct direct *d = calloc(1, sizeof(*d));

	d->c = calloc(1, sizeof(*d->c));
	d->c->counters = calloc(1, sizeof(*d->c->counters));
	*m = &d->mirror[0];
	(*m)->pid = getpid();
	(*m)->cpu_ns = mirror_cpu_ns(*m);
	return d;
}

static void one_space_free(struct direct *d)
{
	free(d->c->counters);
	free(d->c);
	free(d);
}

static void compute(const struct mirror *m, u64 ns)
{
	u64 end = mirror_cpu_ns(m) + ns;

	while (mirror_cpu_ns(m) < end)
		;
}

/* Stays that are nothing but hand-overs end it, and each time later ones have to show more; long ones make up for that.
 */
static void test_demotion(void **state)
{
	struct mirror *m;
	struct direct *d = one_space(&m);
	struct space *s;

	(void)state;
	for (unsigned times = 1; times <= 3; times++) {
		assert_false(promote_hot(d));
		s = &d->space[0];
		s->hot = true;
		s->credit = 1000000;
		for (unsigned k = 0; k < 1000 && s->hot; k++)
			promote_stayed(d, m, 8000, 0);
		assert_false(s->hot);
		assert_int_equal(s->demotions, times);
		assert_int_equal(d->c->counters->n[CNT_DIRECT_DEMOTED], times);
	}
	s->hot = true;
	m->cpu_ns = mirror_cpu_ns(m);
	for (unsigned k = 0; k < 30; k++) {
		compute(m, 1000000);
		promote_stayed(d, m, 1000000, 0);
	}
	assert_true(s->hot);
	assert_int_equal(s->demotions, 0);
	promote_forget(d);
	assert_false(promote_hot(d));
	one_space_free(d);
}

static void test_crowded(void **state)
{
	struct mirror *m;
	struct direct *d = one_space(&m);

	(void)state;
	d->always = true;
	d->shortest_ns = 8000;
	for (unsigned k = 0; k < 60; k++) {
		compute(m, 1000000);
		promote_stayed(d, m, 1000000, 0);
	}
	assert_false(promote_crowded(d));
	assert_int_equal(d->crowd_stays_ns, 0); /* and that was a judgement */
	for (unsigned k = 0; k < 60; k++)
		promote_stayed(d, m, 1000000, 0);
	assert_true(promote_crowded(d));
	/* the next takes longer */
	for (unsigned k = 0; k < 60; k++)
		promote_stayed(d, m, 1000000, 0);
	assert_false(promote_crowded(d));
	one_space_free(d);
}

/* Where a page loses its breakpoints again and again, the vCPU goes back; never from its own CPU for that. */
static void test_homesick(void **state)
{
	struct mirror *m;
	struct direct *d = one_space(&m);

	(void)state;
	d->always = true;
	d->shortest_ns = 8000;
	for (unsigned k = 0; k < 60; k++) {
		promote_stayed(d, m, 1000000, 0);
		d->unguarded += 10;
	}
	assert_true(promote_homesick(d));
	assert_false(promote_homesick(d));
	for (unsigned k = 0; k < 60; k++) {
		promote_stayed(d, m, 1000000, 0);
		d->unguarded++;
	}
	assert_false(promote_homesick(d));
	one_space_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demotion), cmocka_unit_test(test_crowded), cmocka_unit_test(test_homesick),
		cmocka_unit_test(test_scan),	 cmocka_unit_test(test_guards),	 cmocka_unit_test(test_guards_turn),
		cmocka_unit_test(test_seam),	 cmocka_unit_test(test_vectors), cmocka_unit_test(test_confined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
