/* SPDX-License-Identifier: Apache-2.0
 * Instruction tests against silicon: one instruction with a whole user-visible state goes through the host CPU and
 * through the library (decode_insn() and cpu_exec()), and everything must agree: registers, flags, vector state,
 * memory, and the exception with its error code and address.
 *
 * Both sides see the same little world: the instruction at ISA_CODE on a page of INT3s, a read-write data page at
 * ISA_DATA followed by a read-only one, nothing mapped around them. All of it lies below 4 GiB so that 32-bit code runs
 * in a compatibility segment. 16-bit code runs in segments of 64 KiB from the LDT: code from ISA_CODE, stack and data
 * from ISA_BASE16, so that limits, bases and the 16-bit stack pointer are compared as well.
 */
#ifndef TESTS_ISA_H
#define TESTS_ISA_H

#include "cpu/cpu.h"

#define ISA_CODE 0x10000000u
#define ISA_START (ISA_CODE + 0x800)
#define ISA_DATA 0x20001000u
#define ISA_BASE16 (ISA_DATA - 0x4000)
#define ISA_PAGES 2 /* the second one is read-only */
#define ISA_NO_EXC 0xff

struct isa_state {
	u64 r[16], rip, rflags;
	union vreg zmm[32];
	u64 k[8];
	struct x87 x87;
	u32 mxcsr;
};

struct isa_case {
	u8 code[16];
	u8 len;
	enum cpu_code mode;
	struct isa_state in;
	u8 mem[ISA_PAGES * 4096];
};

/* Linear address of offset 0 of the code segment. */
static inline u32 isa_code_base(enum cpu_code mode)
{
	return mode == CODE16 ? ISA_CODE : 0;
}

struct isa_result {
	struct isa_state st;
	u8 exc; /* vector, or ISA_NO_EXC */
	u32 error;
	u64 cr2;
	u8 mem[ISA_PAGES * 4096];
};

/* host.c: one instruction on the host CPU. isa_host_init() once a process; it takes over the fault signals. */
int isa_host_init(void);
bool isa_host_has_code16(void); /* not where the kernel has no modify_ldt() */
void isa_host_run(const struct isa_case *t, struct isa_result *out);

/* lib.c: the same by the library. */
void isa_lib_init(void);
void isa_lib_run(const struct isa_case *t, struct isa_result *out);

/* gen.c: encodings and operands. */
struct isa_rng {
	u64 s;
};
u64 isa_rand(struct isa_rng *r);
/* The number of encodings to visit, and the n-th one (its free fields drawn from r): false where the host must not run
 * it or it is no case of its own. */
u64 isa_forms(void);
bool isa_make(u64 form, struct isa_rng *r, struct isa_case *t);

#endif
