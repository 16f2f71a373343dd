/* SPDX-License-Identifier: Apache-2.0
 * The console of a guest, its cases and its end; see console.c.
 */
#ifndef GUEST_CONSOLE_H
#define GUEST_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

void kit_exit(int code) __attribute__((noreturn));
void kit_puts(const char *s);
void kit_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One case: name, the manual's section, what the manual says and what happened. Prints only
 * the first failure of a name, and how many there were at the end. */
void kit_case(const char *name, const char *manual, u64 want, u64 got);
/* What the next cases are about (numbers only), printed when one fails; NULL for nothing. */
void kit_with(const char *fmt, u32 a, u32 b, u32 c, u32 d);
/* Prints `N passed, N failed`; the value guest_main() should return. */
int kit_done(void);
void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);

static inline void outb(u16 port, u8 v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline void outw(u16 port, u16 v) { __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
static inline void outl(u16 port, u32 v) { __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u16 inw(u16 port) { u16 v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u32 inl(u16 port) { u32 v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }

#endif
