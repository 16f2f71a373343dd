/* SPDX-License-Identifier: Apache-2.0
 * What a 32-bit guest stands on: protected mode, flat segments, no paging. A test describes a context (every register,
 * every segment, any ring or virtual-8086 mode), enters it with kit_run(), and reads in kit_last how it ended.
 */
#ifndef GUEST_KIT32_H
#define GUEST_KIT32_H

#include "kit/console.h"

struct kit_ctx {
	u32 eax, ecx, edx, ebx, ebp, esi, edi;
	u32 ds, es, fs, gs;
	u32 eip, cs, eflags, esp, ss;
	u32 v_es, v_ds, v_fs, v_gs; /* of virtual-8086 mode; ds to gs above must then be loadable at ring 0 */
};

/* The last trap. esp and ss only when the ring changed, v_* only from virtual-8086 mode. */
struct kit_frame {
	u32 edi, esi, ebp, esp0, ebx, edx, ecx, eax;
	u32 gs, fs, es, ds;
	u32 vector, error, eip, cs, eflags, esp, ss;
	u32 v_es, v_ds, v_fs, v_gs;
};
extern struct kit_frame kit_last;
extern u32 kit_cr2;
extern u64 kit_gdt[], kit_idt[256];
extern u8 kit_stubs[], kit_tss[104 + 8192 + 32], kit_df_tss[104];
extern char kit_end[];
struct kit_dt {
	u16 limit;
	u32 base;
} __attribute__((packed));
extern struct kit_dt kit_gdtr, kit_idtr;

/* Selectors, RPL in place; K_FREE and up are for the tests. */
enum {
	K_CODE0 = 0x08, K_DATA0 = 0x10, K_CODE3 = 0x1b, K_DATA3 = 0x23, K_CODE1 = 0x29, K_DATA1 = 0x31, K_CODE2 = 0x3a,
	K_DATA2 = 0x42, K_TSS = 0x48, K_DF_TSS = 0x50, K_CODE16 = 0x58, K_DATA16 = 0x60, K_LDT = 0x68, K_FREE = 0x70,
};

/* A handler may take a vector itself: true resumes with kit_last as changed (general registers only). */
typedef bool kit_handler(struct kit_frame *f);
extern kit_handler *kit_handlers[256];

void kit_init(void);
int kit_run(const struct kit_ctx *c);
/* Flat at ring cpl, running code with a stack of its own, data segments of ring 3. Flags 2 and IOPL 0. */
struct kit_ctx kit_ctx(unsigned cpl, const void *code);
u32 kit_code_sel(unsigned cpl);
u32 kit_data_sel(unsigned cpl);
/* A descriptor: access is the byte at 5, flags the high four bits at 6 (8 G, 4 D/B, 2 L, 1 AVL). */
u64 kit_desc(u32 base, u32 limit, unsigned access, unsigned flags);
u64 kit_gate(u32 offset, u32 selector, unsigned access, unsigned params);
/* INT 0x80 at any ring ends a context well: DONE. */
#define DONE 0x80
void *kit_page(void);
bool kit_on_tcg(void);
extern u32 multiboot_info;

/* Code for a context: SNIP(name, "instructions"), ended by int $0x80. */
#define SNIP(name, text)                                                                                               \
	extern const u8 name[];                                                                                        \
	__asm__(".pushsection .text; .globl " #name "; " #name ": " text "; int $0x80; .popsection")

static inline u32 rdcr0(void) { u32 v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline u32 rdcr2(void) { u32 v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
static inline u32 rdcr3(void) { u32 v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline u32 rdcr4(void) { u32 v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static inline void wrcr0(u32 v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory"); }
static inline void wrcr3(u32 v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
static inline void wrcr4(u32 v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
static inline u64 rdmsr(u32 m) { u64 v; __asm__ volatile("rdmsr" : "=A"(v) : "c"(m)); return v; }
static inline void wrmsr(u32 m, u64 v) { __asm__ volatile("wrmsr" ::"c"(m), "A"(v) : "memory"); }
static inline void invlpg(void *p) { __asm__ volatile("invlpg (%0)" ::"r"(p) : "memory"); }
static inline void cpuid(u32 leaf, u32 sub, u32 r[4]) { __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub)); }

#endif
