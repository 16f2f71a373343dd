/* SPDX-License-Identifier: Apache-2.0
 * What a freestanding test guest stands on: console, exit, traps caught and reported, cases counted. A guest is one C
 * file with guest_main(); it runs the same under every engine of doppel and under QEMU as a witness.
 */
#ifndef GUEST_KIT_H
#define GUEST_KIT_H

#include "kit/console.h"

struct frame {
	u64 rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

/* The last trap that kit_try() or kit_try_user() caught. */
extern struct {
	struct frame f;
	u64 cr2, dr6;
} kit_last;

/* A test may take a vector itself: return true to resume the interrupted code with the (changed) frame. */
typedef bool kit_handler(struct frame *f);
extern kit_handler *kit_handlers[256];

extern u64 kit_pml4[512], kit_pdpt[512], kit_pd[4][512], kit_gdt[], kit_user_cs;
extern u32 multiboot_info, multiboot_magic;
extern u64 kit_idt[512];
extern u8 kit_stubs[];
extern u8 kit_tss[104 + 8192 + 8];
extern char kit_end[];
struct kit_dt {
	u16 limit;
	u64 base;
} __attribute__((packed));
extern struct kit_dt kit_gdtr, kit_idtr;

void kit_init(void);
int kit_try(void (*fn)(void *), void *arg);
int kit_try_user(void *code, void *stack, void *arg, u64 flags);
void kit_set_gate(unsigned vector, void *handler, unsigned type_dpl, unsigned ist);

/* Are we under QEMU's TCG, the witness whose known errors are named in ORACLES.md? */
bool kit_on_tcg(void);

/* Physical pages for page tables and the like, zeroed, above the image. */
void *kit_page(void);

#define KIT_ERR (kit_last.f.error)

static inline u64 rdmsr(u32 m) { u32 a, d; __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(m)); return (u64)d << 32 | a; }
static inline void wrmsr(u32 m, u64 v) { __asm__ volatile("wrmsr" ::"c"(m), "a"((u32)v), "d"((u32)(v >> 32)) : "memory"); }
static inline u64 rdcr0(void) { u64 v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline u64 rdcr2(void) { u64 v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
static inline u64 rdcr3(void) { u64 v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline u64 rdcr4(void) { u64 v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static inline void wrcr0(u64 v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory"); }
static inline void wrcr3(u64 v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
static inline void wrcr4(u64 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
static inline void invlpg(void *p) { __asm__ volatile("invlpg (%0)" ::"r"(p) : "memory"); }
static inline void cpuid(u32 leaf, u32 sub, u32 r[4]) { __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub)); }

#endif
