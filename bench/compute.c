/* SPDX-License-Identifier: Apache-2.0
 * A bare compute guest: a sieve, a hash over a table, an insertion sort, a string copy and calls, all in integer code and
 * in cache, a fixed amount of each. Prints BEGIN and END around the work and a checksum, so that two machines can be
 * timed over the same instructions.
 */
#include "kit/kit.h"

#ifndef ROUNDS
#define ROUNDS 60
#endif

static u8 sieve[65536];
static u32 table[16384];
static char text[32768], copy[32768];

static u32 count_primes(void)
{
	u32 n = 0;

	memset(sieve, 1, sizeof(sieve));
	for (u32 i = 2; i < sizeof(sieve); i++) {
		if (!sieve[i])
			continue;
		n++;
		for (u32 k = 2 * i; k < sizeof(sieve); k += i)
			sieve[k] = 0;
	}
	return n;
}

static u32 hash_table(u32 seed)
{
	u32 h = seed;

	for (u32 r = 0; r < 8; r++)
		for (u32 i = 0; i < 16384; i++) {
			h = (h ^ table[h & 16383]) * 0x01000193u;
			table[i] += h >> 7;
		}
	return h;
}

static u32 sort_some(u32 seed)
{
	static u32 v[512];

	for (u32 i = 0; i < 512; i++)
		v[i] = seed = seed * 1664525u + 1013904223u;
	for (u32 i = 1; i < 512; i++) {
		u32 x = v[i], k = i;

		for (; k && v[k - 1] > x; k--)
			v[k] = v[k - 1];
		v[k] = x;
	}
	return v[17] ^ v[500];
}

static u32 __attribute__((noinline)) fib(u32 n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static u32 copy_text(void)
{
	u32 n = 0;

	for (u32 i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 23);
	for (u32 i = 0; i < sizeof(text); i++)
		if ((copy[i] = text[i]) == 'e')
			n++;
	return n;
}

int guest_main(void)
{
	u32 sum = 0;

	kit_puts("BEGIN\n");
	for (u32 r = 0; r < ROUNDS; r++)
		sum += count_primes() + hash_table(r) + sort_some(r) + copy_text() + fib(18);
	kit_printf("END %x\n", sum);
	return 0;
}
