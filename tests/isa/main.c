/* SPDX-License-Identifier: Apache-2.0
 * isa [-s SEED] [-n CASES] [-f FORM] [-m MNEMONIC] [-v]: runs cases on silicon and in the library and compares. Each
 * failure prints the seed and form that repeat it; at most a few a mnemonic. Ends with `N passed, N failed`.
 */
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpu/decode.h"

struct tally {
	u64 passed, failed, shown;
	u64 per_opcode[4096];
};

static const char *const reg_name[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",	 "r9",	"r10", "r11", "r12", "r13", "r14", "r15" };

static int differ(const struct isa_case *t, const struct isa_result *h, const struct isa_result *l, FILE *f)
{
	int n = 0;
#define DIFF(cond, ...)                                           \
	do {                                                      \
		if (cond) {                                       \
			n++;                                      \
			if (f)                                    \
				fprintf(f, "      " __VA_ARGS__); \
		}                                                 \
	} while (0)
	DIFF(h->exc != l->exc, "exception: host %d, library %d\n", h->exc, l->exc);
	if (h->exc == l->exc && h->exc != ISA_NO_EXC) {
		DIFF(h->error != l->error, "error code: host %x, library %x\n", h->error, l->error);
		DIFF(h->cr2 != l->cr2, "cr2: host %lx, library %lx\n", h->cr2, l->cr2);
	}
	for (int i = 0; i < 16; i++)
		DIFF(h->st.r[i] != l->st.r[i], "%s: in %lx, host %lx, library %lx\n", reg_name[i], t->in.r[i],
		     h->st.r[i], l->st.r[i]);
	DIFF(h->st.rip != l->st.rip, "rip: host %lx, library %lx\n", h->st.rip, l->st.rip);
	DIFF(h->st.rflags != l->st.rflags, "flags: in %lx, host %lx, library %lx\n", t->in.rflags, h->st.rflags,
	     l->st.rflags);
	DIFF(h->st.mxcsr != l->st.mxcsr, "mxcsr: in %x, host %x, library %x\n", t->in.mxcsr, h->st.mxcsr, l->st.mxcsr);
	for (int i = 0; i < 8; i++)
		DIFF(h->st.k[i] != l->st.k[i], "k%d: host %lx, library %lx\n", i, h->st.k[i], l->st.k[i]);
	for (int i = 0; i < 32; i++)
		for (int q = 0; q < 8; q++)
			DIFF(h->st.zmm[i].q[q] != l->st.zmm[i].q[q], "zmm%d.q%d: in %lx, host %lx, library %lx\n", i, q,
			     t->in.zmm[i].q[q], h->st.zmm[i].q[q], l->st.zmm[i].q[q]);
	DIFF(h->st.x87.fcw != l->st.x87.fcw, "fcw: host %x, library %x\n", h->st.x87.fcw, l->st.x87.fcw);
	DIFF(h->st.x87.fsw != l->st.x87.fsw, "fsw: in %x (fcw %x), host %x, library %x\n", t->in.x87.fsw, t->in.x87.fcw,
	     h->st.x87.fsw, l->st.x87.fsw);
	DIFF(h->st.x87.ftw != l->st.x87.ftw, "ftw: in %x, host %x, library %x\n", t->in.x87.ftw, h->st.x87.ftw,
	     l->st.x87.ftw);
	for (int i = 0; i < 8; i++)
		DIFF(memcmp(h->st.x87.st[i], l->st.x87.st[i], 10),
		     "st%d differs: in %04x:%016lx host %04x:%016lx library %04x:%016lx\n", i,
		     *(const u16 *)(t->in.x87.st[i] + 8), *(const u64 *)t->in.x87.st[i],
		     *(const u16 *)(h->st.x87.st[i] + 8), *(const u64 *)h->st.x87.st[i],
		     *(const u16 *)(l->st.x87.st[i] + 8), *(const u64 *)l->st.x87.st[i]);
	for (unsigned i = 0; i < sizeof(h->mem); i++)
		if (h->mem[i] != l->mem[i]) {
			DIFF(1, "memory at data+%x: host %02x, library %02x\n", i, h->mem[i], l->mem[i]);
			if (n > 12)
				break;
		}
#undef DIFF
	return n;
}

static void show(const struct isa_case *t, u64 seed, u64 form, const char *text)
{
	printf("FAIL %s  [isa -s %lu -f %lu] mode %d:", text, seed, form,
	       t->mode == CODE64   ? 64
	       : t->mode == CODE32 ? 32
				   : 16);
	for (int i = 0; i < t->len && !(t->code[i] == 0xcc && t->code[i + 1] == 0xcc && t->code[14] == 0xcc); i++)
		printf(" %02x", t->code[i]);
	printf("\n");
}

static unsigned hash_text(const char *s)
{
	unsigned h = 5381;

	while (*s && *s != ' ')
		h = h * 33 + (u8)*s++;
	return h % 4096;
}

static void run_one(u64 seed, u64 form, const char *only, bool verbose, struct tally *y)
{
	static struct isa_case t;
	static struct isa_result h, l;
	struct isa_rng r = { seed ^ form * 0x9e3779b97f4a7c15ull };
	char text[128];

	memset(&t, 0, sizeof(t));
	if (!isa_make(form, &r, &t) || (t.mode == CODE16 && !isa_host_has_code16()))
		return;
	decode_text(t.code, t.len, t.mode, ISA_START, text, sizeof(text));
	if (only && (strncmp(text, only, strlen(only)) || (text[strlen(only)] != ' ' && text[strlen(only)])))
		return;
	if (verbose)
		show(&t, seed, form, text), fflush(stdout);
	isa_host_run(&t, &h);
	isa_lib_run(&t, &l);
	if (!differ(&t, &h, &l, NULL)) {
		y->passed++;
		return;
	}
	y->failed++;
	if (y->per_opcode[hash_text(text)]++ < 2 && y->shown++ < 400) {
		show(&t, seed, form, text);
		differ(&t, &h, &l, stdout);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	u64 seed = 1, cases = 200000, one = ~0ull;
	const char *only = NULL;
	bool verbose = false;
	static struct tally y;
	int o;

	while ((o = getopt(argc, argv, "s:n:f:m:v")) != -1) {
		if (o == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (o == 'n')
			cases = strtoull(optarg, NULL, 0);
		else if (o == 'f')
			one = strtoull(optarg, NULL, 0);
		else if (o == 'm')
			only = optarg;
		else if (o == 'v')
			verbose = true;
		else
			return 2;
	}
	isa_host_init();
	isa_lib_init();
	if (one != ~0ull) {
		run_one(seed, one, NULL, verbose, &y);
	} else {
		/* A stride coprime to the number of forms visits all of them, mixed, before any twice. */
		for (u64 n = 0, f = seed % isa_forms(), round = seed;
		     y.passed + y.failed < cases && n < 400 * isa_forms(); n++) {
			run_one(round, f, only, verbose, &y);
			f = (f + 104729) % isa_forms();
			if (n % isa_forms() == isa_forms() - 1)
				round++;
		}
	}
	printf("%lu passed, %lu failed\n", y.passed, y.failed);
	return y.failed != 0;
}
