/* SPDX-License-Identifier: Apache-2.0
 * Which frames of the guest may pass where `allow=` lists what it may reach. Frames that open something are looked at:
 * a TCP SYN, each UDP packet, each ICMP echo. What the private network itself serves (ARP, neighbour discovery, DHCP,
 * names) passes; fragments and IPv6 extension headers, which could hide a port, do not.
 */
#ifndef NET_EGRESS_H
#define NET_EGRESS_H

#include "net/net.h"

/* The private network, as QEMU's users know it. */
#define EGRESS_NETWORK 0x0a000200u	     /* 10.0.2.0/24 */
#define EGRESS_GATEWAY 0x0a000202u	     /* .2 */
#define EGRESS_NAMES 0x0a000203u	     /* .3 */
#define EGRESS_GUEST 0x0a00020fu	     /* .15 */
#define EGRESS_PREFIX6 0xfec0000000000000ull /* fec0::/64, with ::2 and ::3 */

bool egress_allows(const struct net_spec *s, const u8 *frame, size_t n);

#define EGRESS_REFUSAL_MAX 74u
/* The answer to a frame that may not pass, as from the far side: a reset for a TCP SYN (RFC 9293, 3.5.2), so that the guest
 * need not wait for its timeout. Its length, 0 for frames that are just dropped. */
size_t egress_refuse(const u8 *frame, size_t n, u8 answer[EGRESS_REFUSAL_MAX]);

#endif
