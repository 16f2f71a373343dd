/* SPDX-License-Identifier: Apache-2.0
 * Every frame of a card in a file that tcpdump and wireshark read: the pcap format with nanoseconds
 * (draft-ietf-opsawg-pcap), link type Ethernet. Checksums that a driver leaves to its card are not made yet in it.
 */
#ifndef NET_PCAP_H
#define NET_PCAP_H

#include "base/err.h"

struct pcap;

struct pcap *pcap_new(const char *path, struct err *e);
/* A NULL file takes all and keeps nothing. */
void pcap_frame(struct pcap *p, const u8 *frame, u32 len);
void pcap_free(struct pcap *p);

#endif
