/* SPDX-License-Identifier: Apache-2.0
 * The packet layer of gdb's remote serial protocol over one TCP connection at a time (gdb manual, appendix E).
 */
#ifndef DEBUG_RSP_H
#define DEBUG_RSP_H

#include "base/err.h"

#define RSP_PACKET_MAX 16384

struct rsp {
	int listener, fd, wake; /* wake: an eventfd other threads write */
	bool no_ack;
	u8 in[4096];
	unsigned in_at, in_end;
	char packet[RSP_PACKET_MAX + 1];
	char reply[RSP_PACKET_MAX + 1];
};

enum rsp_event { RSP_PACKET, RSP_INTERRUPT, RSP_WOKEN, RSP_GONE };

/* Listens on 127.0.0.1:port; -1 with a sentence. */
int rsp_open(struct rsp *r, unsigned port, struct err *e);
void rsp_close(struct rsp *r);
/* Waits for a connection; false when rsp_wake() came first. */
bool rsp_accept(struct rsp *r);
/* Waits for the next packet (in r->packet, terminated), a Ctrl-C, rsp_wake(), or the end of the connection. */
enum rsp_event rsp_wait(struct rsp *r);
void rsp_wake(struct rsp *r);
int rsp_send(struct rsp *r, const char *text, size_t len);

/* Hexadecimal helpers; from_hex returns the number of bytes made (at most max), stopping at the first non-digit. */
void rsp_to_hex(char *out, const u8 *bytes, size_t n);
size_t rsp_from_hex(u8 *out, size_t max, const char *hex);

#endif
