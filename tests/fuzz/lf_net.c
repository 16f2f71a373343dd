/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on what reads a guest's frames outside the library: the egress list, refusals, checksums. A frame that may
 * pass must name something on the list, whatever else stands in it.
 */
#include <stdlib.h>

#include "net/csum.h"
#include "net/egress.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static const struct net_spec spec = {
	.kind = NET_USER,
	.n_allowed = 2,
	.allowed = { { { 4, { 10, 1, 2, 3 } }, 443 }, { { 6, { 0x20, 1 } }, 0 } },
	.n_forwards = 1,
	.forward = { { { 4, { 127, 0, 0, 1 } }, 5000, 9, true } },
};

/* A SYN of IPv4 without options: the plain case, checked in a plain way. */
static void check_syn(const u8 *f, size_t n)
{
	static const u8 listed[4] = { 10, 1, 2, 3 }, names[4] = { 10, 0, 2, 3 };

	if (n < 54 || f[12] != 8 || f[13] || f[14] != 0x45 || f[23] != 6 || (f[47] & 18) != 2)
		return;
	if ((memcmp(f + 30, listed, 4) || f[36] != 1 || f[37] != 187) &&
	    (memcmp(f + 30, names, 4) || f[36] || f[37] != 53))
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct net_offload o;
	u8 answer[EGRESS_REFUSAL_MAX], *frame;
	size_t n = size > sizeof(o) ? size - sizeof(o) : 0;

	if (!n)
		return 0;
	memcpy(&o, data, sizeof(o));
	frame = malloc(n);
	memcpy(frame, data + sizeof(o), n);
	if (egress_allows(&spec, frame, n))
		check_syn(frame, n);
	else if (egress_refuse(frame, n, answer) > sizeof(answer))
		abort();
	csum_finish(frame, n, &o);
	free(frame);
	return 0;
}
