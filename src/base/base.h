/* SPDX-License-Identifier: Apache-2.0
 * The vocabulary every file shares: fixed-width integers, bit helpers, branch hints. No code that can fail.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef unsigned __int128 u128;
typedef __int128 s128;

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1ull << (n))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define ALIGN_UP(x, a) (((x) + (a)-1) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define PAGE_MASK (~(PAGE_SIZE - 1))

/* Bits hi..lo of x, right-aligned. */
static inline u64 bits(u64 x, unsigned hi, unsigned lo)
{
	return (x >> lo) & (hi - lo == 63 ? ~0ull : (BIT(hi - lo + 1) - 1));
}

/* The low n bytes set (n 1..8). */
static inline u64 bytes_mask(unsigned n)
{
	return n >= 8 ? ~0ull : (BIT(n * 8) - 1);
}

#endif
