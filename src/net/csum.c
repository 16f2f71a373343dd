/* SPDX-License-Identifier: Apache-2.0 */
#include "net/csum.h"

/* Eight bytes at a time: sums of any width fold to the same (RFC 1071, 2 (B) and (C)). */
u16 csum_sum(const u8 *p, size_t n)
{
	u128 sum = 0;
	u64 word, fold;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		sum += word;
	}
	word = 0;
	memcpy(&word, p, n);
	sum += word;
	fold = (u64)(sum >> 64) + (u64)sum;
	fold += fold < (u64)sum;
	fold = (fold >> 32) + (u32)fold;
	fold = (fold >> 32) + (u32)fold;
	fold = (fold >> 16) + (u16)fold;
	fold = (fold >> 16) + (u16)fold;
	return (u16)fold;
}

bool csum_finish(u8 *frame, size_t n, const struct net_offload *o)
{
	size_t at = (size_t)o->csum_start + o->csum_offset;
	u16 sum;

	if (o->csum_start >= n || at + 2 > n)
		return false;
	sum = (u16)~csum_sum(frame + o->csum_start, n - o->csum_start);
	if (!sum)
		sum = 0xffff; /* for UDP 0 means that there is none (RFC 768); for TCP both are zero */
	memcpy(frame + at, &sum, 2);
	return true;
}
