/* SPDX-License-Identifier: Apache-2.0
 * The silicon side. A signal frame is a complete user-visible CPU state that the kernel loads on return: the handler
 * writes the case into its own frame, returns into the instruction under test, and comes back by the INT3 behind it or
 * by the fault, with the resulting state in the next frame.
 */
#define _GNU_SOURCE
#include "isa.h"

#include <asm/ldt.h>
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define USER_CS64 0x33
#define USER_CS32 0x23
#define USER_DS 0x2b
#define LDT_CS16 0x07
#define LDT_DS16 0x0f
#define FLAGS_TESTED (FLAGS_ARITH | FLAG_DF)

/* The handler needs one path to its arguments; a test program may have it at file scope. */
static struct {
	const struct isa_case *t;
	struct isa_result *out;
	ucontext_t back;
	u8 fpback[8192];
	size_t fpsize;
	bool entering, code16;
	u32 off_avx, off_k, off_hi256, off_hi16;
	u64 features;
} host;

static u8 *component(u8 *x, u32 off)
{
	return off ? x + off : NULL;
}

static void fp_store(u8 *x, const struct isa_state *s)
{
	memcpy(x, &s->x87, 160);
	memcpy(x + 24, &s->mxcsr, 4);
	memset(x + 28, 0, 4);
	memcpy(x + 32, s->x87.st, 128);
	for (int i = 0; i < 16; i++) {
		memcpy(x + 160 + 16 * i, s->zmm[i].b, 16);
		if (host.off_avx)
			memcpy(x + host.off_avx + 16 * i, s->zmm[i].b + 16, 16);
		if (host.off_hi256)
			memcpy(x + host.off_hi256 + 32 * i, s->zmm[i].b + 32, 32);
		if (host.off_hi16)
			memcpy(x + host.off_hi16 + 64 * i, s->zmm[16 + i].b, 64);
	}
	if (component(x, host.off_k))
		memcpy(x + host.off_k, s->k, 64);
	memcpy(x + 512, &host.features, 8); /* XSTATE_BV: every component comes from the image */
}

static void fp_load(struct isa_state *s, u8 *x)
{
	u64 bv;

	memcpy(&bv, x + 512, 8);
	memcpy(&s->x87, x, 24);
	memcpy(s->x87.st, x + 32, 128);
	memcpy(&s->mxcsr, x + 24, 4);
	memset(s->zmm, 0, sizeof(s->zmm));
	memset(s->k, 0, sizeof(s->k));
	for (int i = 0; i < 16; i++) {
		if (bv & 2)
			memcpy(s->zmm[i].b, x + 160 + 16 * i, 16);
		if (bv & 4)
			memcpy(s->zmm[i].b + 16, x + host.off_avx + 16 * i, 16);
		if (bv & 0x40)
			memcpy(s->zmm[i].b + 32, x + host.off_hi256 + 32 * i, 32);
		if (bv & 0x80)
			memcpy(s->zmm[16 + i].b, x + host.off_hi16 + 64 * i, 64);
	}
	if (bv & 0x20)
		memcpy(s->k, x + host.off_k, 64);
	if (!(bv & 1)) {
		memset(&s->x87, 0, sizeof(s->x87));
		s->x87.fcw = 0x37f;
	}
}

static const int greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				 REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static void set_data_segments(u16 sel)
{
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" ::"r"(sel));
}

static void enter(ucontext_t *u)
{
	const struct isa_case *t = host.t;
	u16 cs = t->mode == CODE64 ? USER_CS64 : t->mode == CODE32 ? USER_CS32 : LDT_CS16;
	u16 ds = t->mode == CODE16 ? LDT_DS16 : USER_DS;

	set_data_segments(ds);

	for (int i = 0; i < 16; i++)
		u->uc_mcontext.gregs[greg_of[i]] = (greg_t)t->in.r[i];
	u->uc_mcontext.gregs[REG_RIP] = ISA_START - isa_code_base(t->mode);
	u->uc_mcontext.gregs[REG_EFL] = (greg_t)((t->in.rflags & FLAGS_TESTED) | FLAG_IF | 2);
	u->uc_mcontext.gregs[REG_CSGSFS] = (greg_t)((u->uc_mcontext.gregs[REG_CSGSFS] & 0x0000ffffffff0000) | cs |
						    (u64)ds << 48);
	fp_store((u8 *)u->uc_mcontext.fpregs, &t->in);
}

static void leave(ucontext_t *u, struct isa_result *o)
{
	greg_t *g = u->uc_mcontext.gregs;

	for (int i = 0; i < 16; i++)
		o->st.r[i] = (u64)g[greg_of[i]];
	o->st.rip = (u64)g[REG_RIP] + isa_code_base(host.t->mode);
	for (int i = 0; i < 16 && host.t->mode != CODE64; i++)
		o->st.r[i] =
		    (u32)o->st.r[i]; /* the rest is undefined (SDM 1, 3.4.1.1): KMOVD, IRET leave things there */
	o->st.rflags = (u64)g[REG_EFL] & FLAGS_TESTED;
	o->exc = (u8)g[REG_TRAPNO];
	o->error = (u32)g[REG_ERR];
	o->cr2 = (u64)g[REG_CR2];
	fp_load(&o->st, (u8 *)u->uc_mcontext.fpregs);
	if (o->exc == EXC_BP) {
		o->exc = ISA_NO_EXC;
		o->st.rip--;
	} else if (o->exc == EXC_PF && o->cr2 == o->st.rip && o->st.rip != ISA_START) {
		o->exc = ISA_NO_EXC; /* a branch that retired: the fault is the target's fetch */
	}
	if (o->exc != EXC_PF)
		o->cr2 = 0;
	if (o->exc == ISA_NO_EXC)
		o->error = 0;
}

/* Copying a whole frame's register part, not its links. */
static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *u = ctx;

	(void)sig;
	(void)si;
	if (host.entering) {
		host.entering = false;
		memcpy(host.back.uc_mcontext.gregs, u->uc_mcontext.gregs, sizeof(gregset_t));
		memcpy(host.fpback, u->uc_mcontext.fpregs, host.fpsize);
		enter(u);
		return;
	}
	if (!host.out) {
		static const char text[] = "isa: fault outside a case\n";
		if (write(2, text, sizeof(text) - 1) < 0)
			_exit(126);
		_exit(125);
	}
	set_data_segments(USER_DS);
	leave(u, host.out);
	host.out = NULL;
	memcpy(u->uc_mcontext.gregs, host.back.uc_mcontext.gregs, sizeof(gregset_t));
	memcpy(u->uc_mcontext.fpregs, host.fpback, host.fpsize);
}

static void *map_at(u32 addr, size_t size, int prot)
{
	void *p = mmap((void *)(uintptr_t)addr, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED) {
		perror("isa: mmap");
		exit(2);
	}
	return p;
}

static bool ldt_entry(unsigned sel, u32 base, unsigned contents)
{
	struct user_desc d = { .entry_number = sel >> 3, .base_addr = base, .limit = 0xffff, .contents = contents };

	return !syscall(SYS_modify_ldt, 1, &d, sizeof(d));
}

bool isa_host_has_code16(void)
{
	return host.code16;
}

int isa_host_init(void)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t ss = { .ss_sp = malloc(1 << 20), .ss_size = 1 << 20 };
	u32 a, b, c, d;

	map_at(ISA_CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_at(ISA_DATA, ISA_PAGES * 4096, PROT_READ | PROT_WRITE);
	sigaltstack(&ss, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	__cpuid_count(0xd, 0, a, b, c, d);
	host.fpsize = b + 4 > sizeof(host.fpback) ? sizeof(host.fpback) : b + 4;
	host.features = a & 0xe7;
	for (unsigned i = 2; i < 8; i++) {
		__cpuid_count(0xd, i, a, b, c, d);
		if (!(host.features & BIT(i)))
			continue;
		*(i == 2 ? &host.off_avx : i == 5 ? &host.off_k : i == 6 ? &host.off_hi256 : &host.off_hi16) = b;
	}
	set_data_segments(USER_DS);
	host.code16 = ldt_entry(LDT_CS16, ISA_CODE, MODIFY_LDT_CONTENTS_CODE) &&
		      ldt_entry(LDT_DS16, ISA_BASE16, MODIFY_LDT_CONTENTS_DATA);
	return 0;
}

void isa_host_run(const struct isa_case *t, struct isa_result *out)
{
	void *code = (void *)(uintptr_t)ISA_CODE, *data = (void *)(uintptr_t)ISA_DATA;

	memset(code, 0xcc, 4096);
	memcpy((u8 *)code + (ISA_START - ISA_CODE), t->code, t->len);
	memcpy(data, t->mem, sizeof(t->mem));
	mprotect((u8 *)data + 4096, 4096, PROT_READ);
	host.t = t;
	host.out = out;
	host.entering = true;
	__asm__ volatile("int3" ::: "memory");
	mprotect((u8 *)data + 4096, 4096, PROT_READ | PROT_WRITE);
	memcpy(out->mem, data, sizeof(out->mem));
}
