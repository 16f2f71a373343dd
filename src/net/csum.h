/* SPDX-License-Identifier: Apache-2.0
 * The Internet checksum (RFC 1071), where a driver left it to its card.
 */
#ifndef NET_CSUM_H
#define NET_CSUM_H

#include "net/net.h"

/* The bytes' one's complement sum, folded to 16 bits, in the byte order in which it lies in memory. */
u16 csum_sum(const u8 *p, size_t n);
/* Writes the checksum that o asks for over what it names; false when that is not inside the frame. */
bool csum_finish(u8 *frame, size_t n, const struct net_offload *o);

#endif
