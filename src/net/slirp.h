/* SPDX-License-Identifier: Apache-2.0
 * The process of a user network: a TCP/IP stack (libslirp) that opens the host's sockets for the guest. The guest is
 * hostile and so are its frames; this process holds nothing but its end of the pair and those sockets.
 */
#ifndef NET_SLIRP_H
#define NET_SLIRP_H

#include "net/net.h"

/* Never returns. fd: a SOCK_SEQPACKET; the first packet that it sends is "ok", or why it could not begin. */
_Noreturn void slirp_process(const struct net_spec *s, u16 mtu, int fd);

#endif
