/* SPDX-License-Identifier: Apache-2.0
 * Four lanes take a word each in turn, so that a core's multiplier is kept busy; each step is a bijection of the lane,
 * so one changed word always changes its lane. The lanes are folded into the two halves behind each call.
 */
#include "base/hash.h"

#include <stdio.h>

#define ODD_A 0x9e3779b97f4a7c15ull /* 2^64 over the golden ratio */
#define ODD_B 0xd6e8feb86659fd93ull

static u64 step(u64 lane, u64 word)
{
	lane = (lane ^ word) * ODD_A;
	return lane ^ lane >> 29;
}

static u64 load(const u8 *p, size_t n)
{
	u64 word = 0;

	memcpy(&word, p, n);
	return word;
}

void hash_init(struct hash *h)
{
	*h = (struct hash){ ODD_A, ODD_B };
}

static void fold(struct hash *h, const u64 lane[4], u64 n)
{
	h->a = step(step(h->a, lane[0]), lane[1] + n);
	h->b = step(step(h->b, lane[2]), lane[3] ^ h->a);
	h->a ^= h->b * ODD_B;
}

void hash_add(struct hash *h, const void *p, size_t n)
{
	u64 lane[4] = { h->a, h->b, ODD_A, ODD_B };
	const u8 *q = p;
	size_t left = n;

	for (; left >= 32; q += 32, left -= 32)
		for (unsigned i = 0; i < 4; i++)
			lane[i] = step(lane[i], load(q + 8 * i, 8));
	for (unsigned i = 0; left; i++) {
		size_t part = MIN(left, (size_t)8);

		lane[i] = step(lane[i], load(q, part));
		q += part;
		left -= part;
	}
	fold(h, lane, n);
}

void hash_add_u64(struct hash *h, u64 val)
{
	hash_add(h, &val, sizeof(val));
}

const char *hash_text(const struct hash *h, char text[HASH_TEXT])
{
	snprintf(text, HASH_TEXT, "%016llx%016llx", (unsigned long long)h->a, (unsigned long long)h->b);
	return text;
}
