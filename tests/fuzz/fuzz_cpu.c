/* SPDX-License-Identifier: Apache-2.0
 * fuzz_cpu SECONDS [SEED]: random instructions in every mode, on a whole machine, in this thread.
 *
 * Each round puts one vCPU into a mode that a guest can reach, with descriptor tables, page tables and registers that
 * are sound, odd or hostile, and runs some hundred random instructions. Nothing is expected of the guest. The process
 * must not crash, hang, trip a sanitizer or an assertion. The seed of each round is kept, so that SEED repeats it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "boot/load.h"
#include "machine/pc.h"
#include "machine/vm.h"
#include "mmu/mmu.h"

enum {
	RAM = 16 << 20,
	GDT = 0x1000,
	IDT = 0x2000,
	TSS = 0x4000,
	CODE = 0x8000,
	TABLES = 0x100000,
	STACK = 0x30000,
	ROUND_INSNS = 400,
	ROUND_SECONDS = 20,
	TICKS_A_SECOND = 500,
};

enum mode { REAL, PROT16, PROT32, PAGED32, PAE32, COMPAT, LONG64, V86, NR_MODES_HERE };

static u64 rng, insns;
static volatile u64 round_seed;
static struct vm *vm;
static struct cpu *c;

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1d >> 8;
}

static u64 one_of(const u64 *v, size_t n)
{
	return v[rnd() % n];
}

/* Addresses, counts, ports and MSRs near which something may go wrong. */
static u64 value(void)
{
	/* clang-format off */
	static const u64 odd[] = {
		0, 1, 2, 7, 8, 64, 0x7f, 0x80, 0xff, 0x1000, CODE, CODE + 0x40, STACK, TABLES, GDT, IDT, TSS,
		0x9ffff, 0xa0000, 0xa0ffc, 0xbffff, 0xc0000, 0xf0000, 0xfffff, 0x100000, 0x10ffef, RAM - 1,
		RAM - 8, RAM, 0xfec00000, 0xfec00010, 0xfed00000, 0xfed000f0, 0xfed00ffc, 0xfee00000, 0xfee00300,
		0xfee00ffc, 0xff000000, 0xfffffff0, 0xffffffff, 0x100000000, 0xfffffffffffff, 0x7fffffffffff,
		0x800000000000, 0xffff800000000000, 1ull << 63, ~0ull, ~0ull - 7, 0x7fffffff, 0x80000000, 0x60,
		0x70, 0x3f8, 0xcf8, 0xcfc, 0x510, 0x514, 0x40, 0x43, 0x20, 0xb2, 0x600, 0x1b, 0x10, 0x3a, 0x277,
		0x2ff, 0x800, 0x80b, 0x830, 0x838, 0x6e0, 0xc0000080, 0xc0000082, 0xc0000100, 0xc0010015,
		0x4b564d00, 0x4b564d01, 0x4b564d03, 0x4b564d04, 0xda0, 0x1d9, 0x174, 0x400, 0x179,
	};
	/* clang-format on */
	u64 v = one_of(odd, ARRAY_SIZE(odd));

	switch (rnd() % 6) {
	case 0:
		return rnd() ^ rnd() << 32;
	case 1:
		return v + (rnd() & 0x1f) - 8;
	case 2:
		return CODE + (rnd() & 0xfff);
	default:
		return v;
	}
}

/* ---- random code --------------------------------------------------------------------------------------------------
 */

static unsigned emit_prefixes(u8 *p)
{
	static const u8 prefix[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36,
				     0x3e, 0x64, 0x65, 0x48, 0x41, 0x4f, 0x40 };
	unsigned n = 0;

	while (n < 4 && rnd() % 3 == 0)
		p[n++] = prefix[rnd() % sizeof(prefix)];
	return n;
}

static unsigned emit_opcode(u8 *p)
{
	switch (rnd() % 9) {
	case 0:
	case 1:
		p[0] = 0x0f;
		p[1] = (u8)rnd();
		return 2;
	case 2:
		p[0] = 0x0f;
		p[1] = rnd() & 1 ? 0x38 : 0x3a;
		p[2] = (u8)rnd();
		return 3;
	case 3:
		p[0] = 0xc5;
		p[1] = (u8)rnd();
		p[2] = (u8)rnd();
		return 3;
	case 4:
		p[0] = 0xc4;
		p[1] = (u8)((rnd() & 0xe0) | (1 + rnd() % 3));
		p[2] = (u8)rnd();
		p[3] = (u8)rnd();
		return 4;
	case 5:
		p[0] = 0x62;
		p[1] = (u8)((rnd() & 0xf0) | (1 + rnd() % 3));
		p[2] = (u8)(rnd() | 4);
		p[3] = (u8)rnd();
		p[4] = (u8)rnd();
		return 5;
	case 6: /* what touches the system most */
	{
		static const u8 system[][2] = { { 0x0f, 0x00 }, { 0x0f, 0x01 }, { 0x0f, 0x22 }, { 0x0f, 0x20 },
						{ 0x0f, 0x23 }, { 0x0f, 0x30 }, { 0x0f, 0x32 }, { 0x0f, 0xae },
						{ 0x0f, 0xc7 }, { 0x0f, 0x02 } };
		unsigned k = (unsigned)(rnd() % ARRAY_SIZE(system));

		p[0] = system[k][0];
		p[1] = system[k][1];
		return 2;
	}
	default:
		p[0] = (u8)rnd();
		return 1;
	}
}

static void random_code(u8 *p, size_t size)
{
	size_t n = 0;
	bool noise = rnd() % 4 == 0;

	while (n < size) {
		u8 insn[32];
		unsigned len = emit_prefixes(insn);

		len += emit_opcode(insn + len);
		for (unsigned tail = (unsigned)(rnd() % 7); tail; tail--)
			insn[len++] = (u8)rnd();
		if (noise)
			len = 1;
		for (unsigned k = 0; k < len && n < size; k++)
			p[n++] = noise ? (u8)rnd() : insn[k];
	}
}

/* ---- the world of a round -----------------------------------------------------------------------------------------
 */

static void put(u64 gpa, const void *p, u64 len)
{
	mem_write(vm->mem, gpa, p, len);
}

static u64 descriptor(u64 base, u64 limit, u64 access, u64 flags)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | access << 40 | (limit >> 16 & 15) << 48 | flags << 52 |
	       (base >> 24 & 0xff) << 56;
}

/* 0x08 code, 0x10 data, 0x18 code 16, 0x20 data 16, 0x28 user code, 0x30 user data, 0x38 TSS (two), then noise. */
static void make_gdt(enum mode m)
{
	u64 gdt[32] = { 0 };
	bool wide = m == LONG64 || m == COMPAT;

	gdt[1] = descriptor(0, 0xfffff, 0x9b, m == LONG64 ? 0xa : 0xc);
	gdt[2] = descriptor(0, 0xfffff, 0x93, 0xc);
	gdt[3] = descriptor(0, 0xffff, 0x9b, 0);
	gdt[4] = descriptor(0, 0xffff, 0x93, 0);
	gdt[5] = descriptor(0, 0xfffff, 0xfb, m == LONG64 ? 0xa : 0xc);
	gdt[6] = descriptor(0, 0xfffff, 0xf3, 0xc);
	gdt[7] = descriptor(TSS, rnd() % 4 ? 0x3067 : rnd() & 0x7f, 0x89, 0);
	for (unsigned i = wide ? 9 : 8; i < 32; i++)
		gdt[i] = rnd() & 1 ? descriptor(value(), rnd(), 0x80 | rnd(), rnd()) : rnd();
	put(GDT, gdt, sizeof(gdt));
}

static void make_idt(enum mode m)
{
	u64 idt[512] = { 0 };
	bool wide = m == LONG64 || m == COMPAT;

	for (unsigned i = 0; i < 256; i++) {
		u64 target = CODE + (rnd() & 0xfff), sel = rnd() % 8 ? 8 : rnd() & 0xffff,
		    type = rnd() % 8 ? 0xee : 0x80 | rnd();

		if (m == REAL) {
			idt[i / 2] |= (target & 0xffff) << (i & 1) * 32;
			continue;
		}
		idt[wide ? i * 2 : i] = (target & 0xffff) | sel << 16 | (u64)(type & 0xff) << 40 |
					(target >> 16) << 48 | (wide ? (rnd() % 8 ? 0 : rnd() & 7) << 32 : 0);
	}
	put(m == REAL ? 0 : IDT, idt, m == REAL ? 1024 : sizeof(idt));
}

static void make_tss(void)
{
	u64 tss[16];

	for (unsigned i = 0; i < 16; i++)
		tss[i] = rnd() % 3 ? STACK | (u64)0x10 << 32 : value();
	put(TSS, tss, sizeof(tss));
}

/* Low 16 MiB one to one, then devices, then whatever. Some entries point at devices, the tables or beyond. */
static u64 entry(u64 at, u64 flags)
{
	return rnd() % 64 ? at | flags : (value() & ~0xfffull) | (rnd() & 0xfff);
}

static void make_tables32(void)
{
	u32 pd[1024];

	for (u64 i = 0; i < 1024; i++)
		pd[i] = (u32)entry(i << 22, 0xe7);
	if (rnd() % 4 == 0)
		pd[0] = TABLES | 7;
	put(TABLES, pd, sizeof(pd));
}

static void make_tables64(enum mode m)
{
	u64 t[512];

	for (unsigned i = 0; i < 512; i++)
		t[i] = entry(TABLES + 0x1000, 7);
	put(TABLES, t, sizeof(t));
	for (u64 i = 0; i < 512; i++)
		t[i] = entry(TABLES + 0x2000 + (i & 3) * 0x1000, m == PAE32 ? 1 : 7);
	put(TABLES + 0x1000, t, sizeof(t));
	for (u64 g = 0; g < 4; g++) {
		for (u64 i = 0; i < 512; i++)
			t[i] = entry(g << 30 | i << 21, 0xe7);
		if (!g && rnd() & 1)
			t[0] = (TABLES + 0x6000) | 7;
		put(TABLES + 0x2000 + g * 0x1000, t, sizeof(t));
	}
	for (u64 i = 0; i < 512; i++)
		t[i] = entry(i << 12, 0x67);
	put(TABLES + 0x6000, t, sizeof(t));
}

static void set_seg(unsigned n, u16 sel, u64 base, u32 limit, u16 attr)
{
	c->seg[n] = (struct seg){ .sel = sel, .attr = attr, .base = base, .limit = limit };
}

static void real_segments(u16 code_attr, u16 data_attr)
{
	for (unsigned i = 0; i < NR_SEGS; i++) {
		u16 sel = rnd() % 3 ? 0 : (u16)rnd();

		set_seg(i, sel, (u64)sel << 4, 0xffff, i == SEG_CS ? code_attr : data_attr);
	}
	set_seg(SEG_CS, 0, 0, 0xffff, code_attr);
}

static void enter_mode(enum mode m)
{
	enum { DATA = SEG_A | SEG_W | SEG_S | SEG_P, CODE_ATTR = DATA | SEG_CODE };
	static const u64 extra4[] = { 0x600, 0x40600, 0x40610, 0x300600, 0x6a0 | 0x40600, 0x10000, 0x20000, 0x800 };
	static const u64 extra0[] = { 0, 0x20, 0x10020, 2, 8, 4, 0x50020 };
	bool wide = m == LONG64 || m == COMPAT, paged = m >= PAGED32 && (m != V86 || rnd() & 1);

	if (m == LONG64 || m == COMPAT)
		state_flat64(c, 8, 0x10, TABLES, CODE);
	else
		state_flat32(c, 8, 0x10, CODE);
	c->gdtr = (struct dtable){ GDT, 255 };
	c->idtr = (struct dtable){ m == REAL ? 0 : IDT, 0xfff };
	c->tr = (struct seg){ .sel = 0x38, .attr = SEG_P | SYS_TSS32_BUSY, .base = TSS, .limit = 0x3067 };
	c->cr4 = one_of(extra4, ARRAY_SIZE(extra4)) | (wide || m == PAE32 ? CR4_PAE : CR4_PSE);
	c->cr0 = CR0_PE | CR0_ET | one_of(extra0, ARRAY_SIZE(extra0)) | (paged ? CR0_PG : 0);
	c->cr4 &= ~(u64)(wide ? 0 : CR4_PCIDE);
	c->cr3 = m == PAE32 ? TABLES + 0x1000 : TABLES;
	c->efer |= rnd() & (EFER_SCE | (wide || m == PAE32 ? EFER_NXE : 0));
	if (m == PAE32)
		mem_read(vm->mem, TABLES + 0x1000, c->pdpte, sizeof(c->pdpte));
	if (m == REAL) {
		c->cr0 &= ~(u64)CR0_PE;
		real_segments(CODE_ATTR | SEG_R, DATA);
	}
	if (m == COMPAT || m == PROT16)
		c->seg[SEG_CS].attr = CODE_ATTR | SEG_R | (m == COMPAT && rnd() & 1 ? SEG_D | SEG_G : 0);
	if (m == PROT16)
		set_seg(SEG_SS, 0x20, 0, 0xffff, DATA);
	if (m == V86)
		real_segments((u16)(CODE_ATTR & ~SEG_CODE) | 3 << SEG_DPL_SHIFT, (u16)DATA | 3 << SEG_DPL_SHIFT);
}

static void random_registers(enum mode m)
{
	u64 flags = (rnd() & (FLAGS_ARITH | FLAG_IF | FLAG_DF | FLAG_AC | FLAG_NT | FLAG_RF | 0x3000)) | 2;

	if (rnd() % 16 == 0)
		flags |= FLAG_TF;
	if (m == V86)
		flags |= FLAG_VM;
	for (unsigned i = 0; i <= R15; i++)
		c->r[i] = m == LONG64 || m == COMPAT ? value() : (u32)value();
	c->r[RSP] = rnd() % 4 ? STACK + (rnd() & 0xff8) : value() & (m == LONG64 ? ~0ull : 0xffffffff);
	c->r[R_RIP] = CODE + (rnd() & 0x7ff);
	cpu_set_rflags_raw(c, flags);
	for (unsigned i = 0; i < 8 && rnd() % 8 == 0; i++)
		if (i != 4 && i != 5)
			c->dr[i] = i == 6   ? 0xffff0ff0
				   : i == 7 ? (rnd() & 0xffff03ff & ~0x2000ull) | 0x400
					    : (u32)value();
	for (unsigned i = 0; i < 32; i++)
		for (unsigned k = 0; k < 8; k++)
			c->zmm[i].q[k] = rnd() & 1 ? rnd() ^ rnd() << 40 : 0;
}

static void start_round(void)
{
	enum mode m = (enum mode)(rnd() % NR_MODES_HERE);
	u8 code[8192];

	vcpu_reset(vm->vcpu[0]);
	atomic_store(&c->attention, 0);
	random_code(code, sizeof(code));
	make_gdt(m);
	make_idt(m);
	make_tss();
	if (m == PAGED32 || m == V86)
		make_tables32();
	else
		make_tables64(m);
	put(CODE, code, sizeof(code));
	enter_mode(m);
	random_registers(m);
	cpu_update_mode(c);
	mmu_reset(c);
	if (rnd() % 4 == 0)
		cpu_post(c, ATT_NMI);
	cpu_post(c, ATT_EVENTS);
}

static void run_round(u64 seed)
{
	static u8 nothing[4096];
	u64 before;

	round_seed = seed;
	rng = seed * 0x9e3779b97f4a7c15ull | 1;
	if (seed % 64 == 0) {
		struct err e;

		for (unsigned i = 0; i < RAM / 4096; i++)
			if (i < 0x100)
				put((u64)i << 12, nothing, sizeof(nothing));
		pc_reset(vm->pc, &e);
	}
	start_round();
	before = c->icount;
	for (unsigned k = 0; k < 4; k++) {
		enum engine_exit why = vm->cfg.engine->run(c, ROUND_INSNS / 4);

		timerq_run(&vm->timers, clock_ns(&vm->clock));
		if (why == EXIT_SHUTDOWN || why == EXIT_FATAL)
			break;
		if (why == EXIT_HALT)
			cpu_post(c, ATT_NMI);
	}
	insns += c->icount - before;
	atomic_store(&vm->ended, false);
	atomic_store(&vm->reset_wanted, false);
	mem_set_a20(vm->mem, true);
}

/* ---- main ---------------------------------------------------------------------------------------------------------
 */

static struct vm *make_vm(void)
{
	static const u32 kernel[] = { 0x1badb002, 0x10000,   (u32) - (0x1badb002 + 0x10000), 0x200000, 0x200000, 0, 0,
				      0x200000,	  0xf4f4f4f4 };
	static char path[32];
	struct vm_config cfg = { .memory = RAM,
				 .cpus = 2,
				 .cpu_model = "host",
				 .engine = &engine_interp,
				 .debug_exit = 0xf4,
				 .testdev = true,
				 .no_reboot = true,
				 .serial = { "none", "none" },
				 .debugcon = "none" };
	int fd = memfd_create("kernel", 0);
	struct err e = { "" };

	if (fd < 0 || write(fd, kernel, sizeof(kernel)) != sizeof(kernel))
		exit(2);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	cfg.boot.kernel = path;
	vm = vm_new(&cfg, &e);
	if (!vm) {
		fprintf(stderr, "%s\n", e.text);
		exit(2);
	}
	close(fd);
	c = vm->vcpu[0]->cpu;
	vm->vcpu[0]->running = true;
	return vm;
}

/* Endless string instructions and faults without end retire nothing: each tick asks the engine to come back. If it does
 * not for many ticks, that is a bug: the process ends with the round's seed. */
static void on_tick(int sig)
{
	static u64 last_seed, ticks;
	char text[80];
	ssize_t done;
	int n;

	(void)sig;
	cpu_post(c, ATT_KICK);
	ticks = last_seed == round_seed ? ticks + 1 : 0;
	last_seed = round_seed;
	if (ticks < ROUND_SECONDS * TICKS_A_SECOND)
		return;
	n = snprintf(text, sizeof(text), "fuzz_cpu: a round hangs; repeat with: fuzz_cpu 0 %llu\n",
		     (unsigned long long)round_seed);
	done = write(2, text, (size_t)n);
	(void)done;
	abort();
}

static void start_ticks(void)
{
	struct itimerval every = { { 0, 1000000 / TICKS_A_SECOND }, { 0, 1000000 / TICKS_A_SECOND } };
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_RESTART };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

/* Linked into the sanitizers' report. */
void __asan_on_error(void);
void __asan_on_error(void)
{
	fprintf(stderr, "fuzz_cpu: repeat with: fuzz_cpu 0 %llu\n", (unsigned long long)round_seed);
}

int main(int argc, char **argv)
{
	u64 seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 10, seed = (u64)time(NULL) << 20, first, rounds = 0;
	time_t end = time(NULL) + (time_t)seconds;

	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	first = seed;
	log_set_level(LOG_ERROR);
	make_vm();
	start_ticks();
	do {
		if (rounds % 1024 == 0)
			fprintf(stderr, "fuzz_cpu: at seed %llu\n", (unsigned long long)seed);
		run_round(seed++);
		rounds++;
	} while (time(NULL) < end);
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	printf("%llu rounds, %llu instructions, from seed %llu: nothing broke\n", (unsigned long long)rounds,
	       (unsigned long long)insns, (unsigned long long)first);
	vm_free(vm);
	return 0;
}
