/* SPDX-License-Identifier: Apache-2.0
 * Exceptions: which one, with what error code, saved instruction pointer and flags. SDM 3A chapter 6.
 */
#include "kit/kit.h"

#define TRY(name, manual, vec, err, ...)                                      \
	do {                                                                  \
		void __attribute__((noinline)) fn(void *arg)                  \
		{                                                             \
			(void)arg;                                            \
			__asm__ volatile(__VA_ARGS__);                        \
		}                                                             \
		int v = kit_try(fn, NULL);                                    \
		kit_case(name, manual, (u64)(s64)(vec), (u64)(s64)v);         \
		if (v >= 0)                                                   \
			kit_case(name " (error code)", manual, err, KIT_ERR); \
	} while (0)

/* QEMU's TCG does not make these checks (tests/ORACLES.md), and running on would end the witness. */
#define TRY_NOT_TCG(...)                  \
	do {                              \
		if (!kit_on_tcg())        \
			TRY(__VA_ARGS__); \
	} while (0)

int guest_main(void)
{
	kit_idt[2 * 0x7f] &= ~(1ull << 47); /* not present */
	TRY("div by zero", "SDM 3A 6.15 #DE", 0, 0, "xor %ecx, %ecx; xor %edx, %edx; mov $1, %eax; div %ecx");
	TRY("div overflow", "SDM 3A 6.15 #DE", 0, 0, "mov $1, %ecx; mov $1, %edx; mov $1, %eax; div %ecx");
	TRY("idiv most negative", "SDM 2A IDIV", 0, 0, "mov $-1, %ecx; mov $0x80000000, %eax; cltd; idiv %ecx");
	TRY("int3", "SDM 3A 6.15 #BP", 3, 0, "int3");
	TRY_NOT_TCG("int1", "SDM 3A 6.15 #DB", 1, 0, ".byte 0xf1");
	TRY("ud2", "SDM 3A 6.15 #UD", 6, 0, "ud2");
	TRY("ud0", "SDM 3A 6.15 #UD", 6, 0, ".byte 0x0f, 0xff, 0xc0");
	TRY("aam in 64-bit mode", "SDM 2A AAM", 6, 0, ".byte 0xd4, 0x0a");
	TRY("lock nop", "SDM 2A LOCK", 6, 0, ".byte 0xf0, 0x90");
	TRY("lock add to register", "SDM 2A LOCK", 6, 0, ".byte 0xf0, 0x01, 0xc0");
	TRY("non-canonical load", "SDM 1 3.3.7.1", 13, 0, "mov $0x8000000000000000, %rax; mov (%rax), %eax");
	TRY_NOT_TCG("non-canonical through rbp", "SDM 3A 6.15 #SS", 12, 0,
		    "push %rbp; mov $0x8000000000000000, %rbp; mov (%rbp), %eax; pop %rbp");
	TRY("null selector to SS at CPL 0 in 64-bit mode", "SDM 2B MOV", -1, 0,
	    "mov %ss, %ecx; xor %eax, %eax; mov %ax, %ss; mov %ecx, %ss");
	TRY("selector outside the GDT", "SDM 3A 6.15 #GP", 13, 0xfff8, "mov $0xfff8, %eax; mov %ax, %ds");
	TRY("LDT selector without LDT", "SDM 3A 6.15 #GP", 13, 0x4c, "mov $0x4c, %eax; mov %ax, %ds");
	TRY("code selector into SS", "SDM 2B MOV", 13, 0x08, "mov $0x08, %eax; mov %ax, %ss");
	TRY("mov to CS", "SDM 2B MOV", 6, 0, ".byte 0x8e, 0xc8");
	TRY_NOT_TCG("wrmsr unknown", "SDM 2C WRMSR", 13, 0, "mov $0x12345678, %ecx; wrmsr");
	TRY_NOT_TCG("rdmsr unknown", "SDM 2C RDMSR", 13, 0, "mov $0x12345678, %ecx; rdmsr");
	TRY_NOT_TCG("CR0.PG without PE", "SDM 3A 2.5", 13, 0, "mov %cr0, %rax; and $~1, %rax; mov %rax, %cr0");
	TRY_NOT_TCG("CR0.NW without CD", "SDM 3A 2.5", 13, 0, "mov %cr0, %rax; or $0x20000000, %rax; mov %rax, %cr0");
	TRY_NOT_TCG("CR4 reserved bit", "SDM 3A 2.5", 13, 0, "mov %cr4, %rax; bts $31, %rax; mov %rax, %cr4");
	TRY_NOT_TCG("CR4.PAE cleared in long mode", "SDM 3A 2.5", 13, 0,
		    "mov %cr4, %rax; btr $5, %rax; mov %rax, %cr4");
	TRY("EFER reserved bit", "SDM 4 IA32_EFER", 13, 0, "mov $0xc0000080, %ecx; rdmsr; or $2, %eax; wrmsr");
	TRY_NOT_TCG("EFER.LME change with paging", "SDM 4 IA32_EFER", 13, 0,
		    "mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr");
	TRY("lmsw cannot clear PE", "SDM 2A LMSW", -1, 0, "smsw %ax; and $~1, %eax; lmsw %ax");
	TRY("cr1", "SDM 2B MOV CR", 6, 0, ".byte 0x0f, 0x20, 0xc8");
	TRY("int n gate not present", "SDM 3A 6.15 #NP", 11, 0x7f * 8 + 2, "int $0x7f");
	TRY("cmpxchg16b unaligned", "SDM 2A CMPXCHG8B", 13, 0,
	    "lea -64(%rsp), %rsi; and $-16, %rsi; cmpxchg16b 8(%rsi)");
	TRY("movaps unaligned", "SDM 2B MOVAPS", 13, 0, "lea -64(%rsp), %rsi; and $-16, %rsi; movaps 4(%rsi), %xmm0");
	TRY("clflush non-canonical", "SDM 2A CLFLUSH", 13, 0, "mov $0x8000000000000000, %rax; clflush (%rax)");
	TRY("iret with NT in 64-bit mode", "SDM 2A IRET", 13, 0, "pushfq; orq $0x4000, (%rsp); popfq; iretq");
	return kit_done();
}
