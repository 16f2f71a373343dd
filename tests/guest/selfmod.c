/* SPDX-License-Identifier: Apache-2.0
 * Self-modifying code at every distance, through every mapping; code across pages whose second half is missing, not
 * executable or rewritten. SDM 3A 8.1.3 and 11.6: on one processor a store to code is seen by the next instruction of
 * any fetch, through another linear address only after a jump or serialization.
 */
#include "kit/kit.h"

enum { UD = 6, PF = 14 };
enum { P = 1, W = 2 };
#define NX (1ull << 63)
#define VA 0x8000000000ull /* PML4 entry 1: pages 0 to 7 as each test maps them */

static u64 *pt;
static u8 *frame[8];

typedef u64 code_fn(u64 a, u64 b, u64 c, u64 d);

static void map(unsigned n, u64 entry)
{
	pt[n] = entry;
	invlpg((void *)(VA + 4096 * n));
}

static void map_all(void)
{
	for (unsigned n = 0; n < 8; n++)
		map(n, (u64)frame[n] | P | W);
}

static u64 call(u64 at, u64 a, u64 b, u64 c, u64 d)
{
	return ((code_fn *)at)(a, b, c, d);
}

#define CODE(name, text)                      \
	extern const u8 name[], name##_end[]; \
	__asm__(".pushsection .rodata; " #name ": " text "; " #name "_end: .popsection")
#define PUT(at, name) memcpy((void *)(at), name, (size_t)(name##_end - name))

CODE(ret1, "mov $1, %eax; ret");
CODE(ret2, "mov $2, %eax; ret");
/* Writes sil to the immediate of the instruction behind the store. */
CODE(next, "mov %sil, 1f+1(%rip); 1: mov $1, %eax; ret");
CODE(loop_, "xor %eax, %eax; mov $100, %ecx; 1: addb $1, 2f+1(%rip); 2: add $0, %al; loop 1b; movzx %al, %eax; ret");
CODE(push_over,
     "lea 1f+9(%rip), %rdx; xchg %rdx, %rsp; push %rsi; xchg %rdx, %rsp; 1: nop; mov $1, %eax; ret; nop; nop");
CODE(movs_over, "lea 1f(%rip), %rdi; mov $6, %ecx; rep movsb; 1: mov $1, %eax; ret");
CODE(stos_ahead,
     "lea 1f(%rip), %rdi; mov $0x90, %al; mov $6, %ecx; rep stosb; mov $7, %eax; 1: mov $1, %eax; nop; ret");
CODE(xchg_over, "mov %sil, %al; lock xchg %al, 1f+1(%rip); 1: mov $1, %eax; ret");
CODE(behind, "xor %eax, %eax; mov $2, %ecx; 1: add $1, %eax; movb $0x10, 1b+2(%rip); loop 1b; ret");
CODE(branch, "xor %eax, %eax; movb $0x75, 1f(%rip); 1: jz 2f; mov $1, %eax; 2: ret");

/* Ways to code some way ahead. */
CODE(ahead, "jmp 1f; .skip 126, 0x90; 1: mov $1, %eax; ret");
CODE(ahead_if, "test %rsi, %rsi; jnz 1f; .skip 128, 0x90; 1: mov $1, %eax; ret");
CODE(writes_by_itself, "mov %dil, 1f+1(%rip); jmp 1f; .skip 126, 0x90; 1: mov $1, %eax; ret");

/* Code that has run often at a place, whose end, some way ahead, is another then. */
static void hot_ahead(const char *what, const u8 *text, size_t size)
{
	memcpy((void *)VA, text, size);
	for (unsigned n = 0; n < 20; n++)
		kit_case(what, "SDM 3A 8.1.3", 1, call(VA, 0, 1, 0, 0));
	for (u8 v = 2; v < 5; v++) {
		*(volatile u8 *)(VA + size - 5) = v; /* the immediate */
		for (unsigned n = 0; n < 5; n++)
			kit_case(what, "SDM 3A 8.1.3", v, call(VA, 0, 1, 0, 0));
	}
	*(volatile u8 *)(VA + size / 2) = 0x90; /* what no one has run, or the same again */
	kit_case(what, "SDM 3A 8.1.3", 4, call(VA, 0, 1, 0, 0));
}

static void ahead_of(void)
{
	map_all();
	hot_ahead("behind a jump", ahead, (size_t)(ahead_end - ahead));
	hot_ahead("behind a branch", ahead_if, (size_t)(ahead_if_end - ahead_if));
	kit_case("the other way", "SDM 3A 8.1.3", 4, call(VA, 0, 0, 0, 0));
	PUT(VA, writes_by_itself);
	for (u64 v = 2; v < 40; v++)
		kit_case("by itself", "SDM 3A 8.1.3", v, call(VA, v, 0, 0, 0));
}

static void same_stream(void)
{
	map_all();
	PUT(VA, next);
	for (u64 v = 2; v < 200; v += 9)
		kit_case("the next instruction", "SDM 3A 8.1.3", v & 0xff, call(VA, 0, v, 0, 0));
	PUT(VA, loop_);
	kit_case("an immediate that grows in a loop", "SDM 3A 8.1.3", (5050 & 0xff), call(VA, 0, 0, 0, 0));
	PUT(VA, push_over);
	kit_case("by a push", "SDM 3A 8.1.3", 2, call(VA, 0, 0x9090c300000002b8, 0, 0) & 0xff);
	PUT(VA, movs_over);
	kit_case("by REP MOVSB", "SDM 3A 8.1.3", 2, call(VA, 0, (u64)ret2, 0, 0));
	PUT(VA, stos_ahead);
	kit_case("by REP STOSB", "SDM 3A 8.1.3", 7, call(VA, 0, 0, 0, 0));
	PUT(VA, xchg_over);
	kit_case("by LOCK XCHG", "SDM 3A 8.1.3", 9, call(VA, 0, 9, 0, 0));
	PUT(VA, behind);
	kit_case("a loop's head", "SDM 3A 8.1.3", 0x11, call(VA, 0, 0, 0, 0));
	PUT(VA, branch);
	kit_case("the condition of a jump", "SDM 3A 8.1.3", 1, call(VA, 0, 0, 0, 0));
}

/* The same bytes through another mapping of the frame, and through physical memory. */
static void aliases(void)
{
	map_all();
	map(1, (u64)frame[0] | P | W);
	for (int round = 0; round < 3; round++) {
		PUT(VA, ret1);
		kit_case("code", "SDM 3A 8.1.3", 1, call(VA, 0, 0, 0, 0));
		kit_case("the same through an alias", "SDM 3A 8.1.3", 1, call(VA + 4096, 0, 0, 0, 0));
		PUT(VA + 4096, ret2);
		kit_case("changed through the alias", "SDM 3A 8.1.3", 2, call(VA, 0, 0, 0, 0));
		PUT(frame[0], ret1);
		kit_case("changed through the 2 MiB page", "SDM 3A 8.1.3", 1, call(VA + 4096, 0, 0, 0, 0));
		frame[0][1] = 77;
		kit_case("one byte changed", "SDM 3A 8.1.3", 77, call(VA, 0, 0, 0, 0));
	}
	/* read-only when it ran, writable later */
	PUT(frame[2], ret1);
	map(2, (u64)frame[2] | P);
	kit_case("read-only code", "SDM 3A 4.6", 1, call(VA + 0x2000, 0, 0, 0, 0));
	map(2, (u64)frame[2] | P | W);
	PUT(VA + 0x2000, ret2);
	kit_case("made writable and changed", "SDM 3A 4.10.4", 2, call(VA + 0x2000, 0, 0, 0, 0));
	/* another frame under the same address */
	PUT(frame[3], ret1);
	map(2, (u64)frame[3] | P | W);
	kit_case("another frame under the address", "SDM 3A 4.10.4", 1, call(VA + 0x2000, 0, 0, 0, 0));
	map(2, (u64)frame[2] | P | W);
	kit_case("and the first again", "SDM 3A 4.10.4", 2, call(VA + 0x2000, 0, 0, 0, 0));
	/* page tables are data that code may lie beside */
	for (unsigned i = 0; i < 64; i++) {
		frame[4][1] = (u8)i;
		PUT(frame[4], ret1);
		frame[4][1] = (u8)i;
		map(i & 7, (u64)frame[4] | P | W);
		kit_case("new code at changing addresses", "SDM 3A 4.10.4", i, call(VA + 4096 * (i & 7), 0, 0, 0, 0));
	}
	map_all();
}

/* mov $imm32, %eax across pages 0 and 1, at each split. */
static void crossing(void)
{
	for (unsigned split = 1; split < 6; split++) {
		u8 *at = (u8 *)VA + 4096 - split;
		int v;

		kit_with("%u bytes on the first page", split, 0, 0, 0);
		map_all();
		memcpy(at, "\xb8\x11\x22\x33\x44\xc3", 6);
		kit_case("instruction across pages", "SDM 3A 11.6", 0x44332211, call((u64)at, 0, 0, 0, 0));
		for (unsigned b = 1; b < 5; b++) {
			at[b] = (u8)(0x55 + b);
			kit_case("one byte of it changed", "SDM 3A 11.6", (u8)(0x55 + b),
				 call((u64)at, 0, 0, 0, 0) >> (8 * (b - 1)) & 0xff);
		}
		map(5, (u64)frame[1] | P | W);
		*(u8 *)(VA + 0x5000 + (5 - split)) = 0xc3; /* RET again, through an alias of the second page */
		memcpy(frame[6], frame[1], 64);
		if (split < 5) {
			frame[6][4 - split] = 0x99;
			map(1, (u64)frame[6] | P | W);
			kit_case("second page replaced", "SDM 3A 4.10.4", 0x99, call((u64)at, 0, 0, 0, 0) >> 24);
			map(1, (u64)frame[1] | P | W);
			kit_case("second page restored", "SDM 3A 4.10.4", 0x59, call((u64)at, 0, 0, 0, 0) >> 24);
		}
		map(1, 0);
		v = kit_try((void (*)(void *))at, NULL);
		kit_case("second page missing", "SDM 3A 4.7", PF, (u64)v);
		kit_case("its error code", "SDM 3A 4.7", 0x10, KIT_ERR);
		kit_case("its CR2", "SDM 3A 4.7", VA + 4096, kit_last.cr2);
		kit_case("its RIP", "SDM 3A 6.15 #PF", split == 5 ? VA + 4096 : (u64)at, kit_last.f.rip);
		map(1, (u64)frame[1] | P | W | NX);
		v = kit_try((void (*)(void *))at, NULL);
		kit_case("second page not executable", "SDM 3A 4.6", PF, (u64)v);
		kit_case("its error code", "SDM 3A 4.7", 0x11, KIT_ERR);
		map(1, (u64)frame[1] | P | W);
		kit_case("and executable again", "SDM 3A 4.6", 0x59, call((u64)at, 0, 0, 0, 0) >> 24);
	}
	kit_with(NULL, 0, 0, 0, 0);
	/* a complete instruction at the end of a page does not need the next */
	map_all();
	memcpy((u8 *)VA + 4090, "\xb8\x07\x00\x00\x00\xc3", 6);
	map(1, 0);
	kit_case("RET as the last byte before a missing page", "SDM 3A 4.7", 7, call(VA + 4090, 0, 0, 0, 0));
	memcpy((u8 *)VA + 4094, "\x0f\x0b", 2);
	kit_case("UD2 before a missing page", "SDM 3A 6.9", UD, (u64)kit_try((void (*)(void *))(VA + 4094), NULL));
	((u8 *)VA)[4095] = 0x0f;
	kit_case("0F before a missing page", "SDM 3A 6.9", PF, (u64)kit_try((void (*)(void *))(VA + 4095), NULL));
	map_all();
}

/* Code on two pages that jumps from one to the other while both change. */
static void hops(void)
{
	u8 *a = (u8 *)VA, *b = (u8 *)VA + 4096;
	u64 sum = 0;

	map_all();
	for (unsigned i = 0; i < 200; i++) {
		/* page 0: mov $i, %eax; jmp page 1; page 1: add $(i^5), %eax; ret */
		a[0] = 0xb8;
		*(u32 *)(a + 1) = i;
		a[5] = 0xe9;
		*(u32 *)(a + 6) = 4096 - 10;
		b[0] = 0x05;
		*(u32 *)(b + 1) = i ^ 5;
		b[5] = 0xc3;
		sum += call(VA, 0, 0, 0, 0) - (i + (i ^ 5));
		if (i % 7 == 0) {
			pt[1] = (u64)frame[i & 1 ? 1 : 7] | P | W;
			invlpg(b);
		}
	}
	kit_case("jumps between pages that change", "SDM 3A 11.6", 0, sum);
	map_all();
}

/* Data on the page of the code that uses it: correct, however slow. */
static void beside(void)
{
	static const u8 code[] = { 0x48, 0x89, 0xf9, 0x48, 0xff, 0x05, 0xf6, 0x00, 0x00, 0x00, 0xe2, 0xf7, 0xc3 };

	map_all();
	memcpy((void *)VA, code, sizeof(code));
	*(u64 *)(VA + 0x100) = 0;
	call(VA, 5000, 0, 0, 0);
	kit_case("a counter beside its code", "SDM 3A 8.1.3", 5000, *(u64 *)(VA + 0x100));
}

int guest_main(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page();

	pt = kit_page();
	for (unsigned n = 0; n < 8; n++)
		frame[n] = kit_page();
	kit_pml4[1] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	pd[0] = (u64)pt | 7;
	same_stream();
	ahead_of();
	aliases();
	crossing();
	hops();
	beside();
	return kit_done();
}
