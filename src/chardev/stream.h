/* SPDX-License-Identifier: Apache-2.0
 * What all backends over a file descriptor share: output that goes out at once when it can and waits in a bounded ring
 * when it cannot, input that is read only as far as the user has room.
 */
#ifndef CHARDEV_STREAM_H
#define CHARDEV_STREAM_H

#include "chardev/chardev.h"

#define STREAM_RING (64u << 10)
#define STREAM_IN 4096u

struct stream {
	struct chardev dev; /* first: a struct chardev * is a struct stream * */
	struct loop *loop;
	int in_fd, out_fd; /* -1: none; they may be the same */
	bool in_eof;
	bool lossy;   /* input beyond in[] is read and dropped (a terminal: its escape keys must be seen) */
	bool starved; /* else: input stays where it is until in[] has room */
	/* Looks at n bytes just read, may change them in place; returns how many go to the user. NULL: all. */
	size_t (*filter)(struct stream *s, u8 *p, size_t n);
	/* The far side hung up or failed. NULL: input ends, output is dropped. */
	void (*hangup)(struct stream *s);
	u32 head, tail;	      /* free-running positions in ring[] */
	u32 in_head, in_tail; /* and in in[] */
	u8 ring[STREAM_RING];
	u8 in[STREAM_IN];
};

void stream_init(struct stream *s, struct loop *loop, const struct chardev_ops *ops);
/* Gives it descriptors (again): begins to watch them. */
void stream_attach(struct stream *s, int in_fd, int out_fd);
void stream_detach(struct stream *s); /* stops watching; closes nothing; drops what is buffered */
size_t stream_write(struct chardev *c, const u8 *p, size_t n);
void stream_kick_input(struct chardev *c);
void stream_flush(struct stream *s, unsigned timeout_ms); /* bounded */

#endif
