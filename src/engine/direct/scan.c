/* SPDX-License-Identifier: Apache-2.0
 * The second tier: is there, at any byte offset, an instruction that does not trap in user mode and whose result would
 * be the host's and not the guest's? Popek and Goldberg's theorem for one frame. docs/direct.md has the table.
 *
 * Prefixes need no look: what stands behind them is found at its own offset.
 */
#include "engine/direct/direct.h"

#include <emmintrin.h>

/* 0F 01: SGDT, SIDT, SMSW; of the others those that this host may have and a guest may not. */
static bool group7(u8 modrm, unsigned vouched)
{
	unsigned reg = modrm >> 3 & 7;

	if ((modrm < 0xc0 && reg <= 1) || reg == 4)
		return !(vouched & VOUCH_UMIP);
	switch (modrm) {
	case 0xee: /* RDPKRU, WRPKRU */
	case 0xef:
		return !(vouched & VOUCH_PKRU);
	case 0xf9: /* RDTSCP */
		return !(vouched & VOUCH_AUX);
	case 0xc1: /* VMCALL, VMMCALL: the host's own hypervisor would answer */
	case 0xd9:
	case 0xfa: /* MONITORX, MWAITX */
	case 0xfb:
	case 0xfd: /* RDPRU */
		return true;
	default:
		return false;
	}
}

/* p has at least one byte behind 0F; n of them. */
static bool two_byte(const u8 *p, size_t n, unsigned vouched)
{
	switch (p[0]) {
	case 0xa2:
		return !(vouched & VOUCH_CPUID);
	case 0x03: /* LSL: one limit tells the processor's number */
		return !(vouched & VOUCH_LSL);
	case 0x34:
		return !(vouched & VOUCH_SYSENTER);
	case 0x01:
		return n > 1 && group7(p[1], vouched);
	case 0xc7: /* RDPID, and RDSEED with it */
		return n > 1 && p[1] >= 0xf8 && !(vouched & VOUCH_AUX);
	default:
		return false;
	}
}

bool direct_site(const u8 *p, size_t n, unsigned vouched)
{
	return unlikely(p[0] == 0x0f) && n > 1 && two_byte(p + 1, n - 1, vouched);
}

/* 0F stands at one byte in fifty: 16 are looked at together, which takes a tenth of the time. */
bool direct_scan(const u8 *p, size_t n, unsigned vouched)
{
	const __m128i escape = _mm_set1_epi8(0x0f);
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		unsigned at = (unsigned)_mm_movemask_epi8(
		    _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + i)), escape));

		for (; at; at &= at - 1) {
			size_t k = i + (unsigned)__builtin_ctz(at);

			if (direct_site(p + k, n - k, vouched))
				return true;
		}
	}
	for (; i + 1 < n; i++)
		if (direct_site(p + i, n - i, vouched))
			return true;
	return false;
}

bool direct_scan_seam(const u8 *a_end, const u8 *b, unsigned vouched)
{
	u8 both[2 * (SEAM - 1)];

	memcpy(both, a_end - (SEAM - 1), SEAM - 1);
	memcpy(both + SEAM - 1, b, SEAM - 1);
	return direct_scan(both, sizeof(both), vouched);
}
