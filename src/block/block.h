/* SPDX-License-Identifier: Apache-2.0
 * A disk image on the host. It knows nothing of the guest; errors of the host come back as -errno, so that a disk that
 * is full, shrinks or fails becomes the guest's I/O error.
 *
 * Offsets and lengths are bytes; a request that reaches beyond the size fails with -EIO. Requests finish before the
 * call returns. From any thread, several at a time; the order of those that overlap is nobody's.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/err.h"

#define BLOCK_SECTOR 512u

struct block;

struct block_ops {
	int (*read)(struct block *b, u64 off, void *buf, u64 len);
	int (*write)(struct block *b, u64 off, const void *buf, u64 len);
	/* The same if it can be done without waiting for the host's disk, else -EAGAIN and any part of it done. May be
	 * NULL. */
	int (*read_now)(struct block *b, u64 off, void *buf, u64 len);
	int (*write_now)(struct block *b, u64 off, const void *buf, u64 len);
	int (*flush)(struct block *b); /* what was written is on stable storage */
	/* The bytes read as zero; if unmap, their space may be given back. */
	int (*zero)(struct block *b, u64 off, u64 len, bool unmap);
	/* Their contents do not matter any more. */
	int (*discard)(struct block *b, u64 off, u64 len);
	void (*free)(struct block *b);
};

struct block {
	const struct block_ops *ops;
	u64 size; /* a multiple of BLOCK_SECTOR */
	bool readonly;
};

/* What a --disk option says. */
struct block_spec {
	char path[1024];
	char serial[21]; /* what the guest sees; "" if none was given */
	bool readonly, overlay;
};

/* FILE[,readonly][,overlay][,serial=TEXT]; a doubled comma in FILE stands for one. */
int block_parse(struct block_spec *s, const char *text, struct err *e);
/* The same file, and one of them would be written: one machine cannot have both. */
bool block_excludes(const struct block_spec *a, const struct block_spec *b);
/* The image, locked against use by another doppel: writable ones are nobody else's, read-only ones may be shared. With
 * overlay, writes go to a temporary file that ends with the process. */
struct block *block_open(const struct block_spec *s, struct err *e);
void block_free(struct block *b);

/* Checked here, once, for every format. */
int block_read(struct block *b, u64 off, void *buf, u64 len);
int block_write(struct block *b, u64 off, const void *buf, u64 len);
/* -EAGAIN: it would have to wait; do it with block_read(), block_write(). */
int block_read_now(struct block *b, u64 off, void *buf, u64 len);
int block_write_now(struct block *b, u64 off, const void *buf, u64 len);
int block_flush(struct block *b);
int block_zero(struct block *b, u64 off, u64 len, bool unmap);
int block_discard(struct block *b, u64 off, u64 len);

/* ---- formats ---- */
struct block *raw_open(const char *path, bool readonly, struct err *e);
/* Takes base over, also when it fails. */
struct block *overlay_new(struct block *base, struct err *e);
/* Whole grains of OVERLAY_GRAIN bytes that were written to an overlay: the first run of them at or behind *off; its
 * length, at most max. 0: there is none, or b is no overlay. */
#define OVERLAY_GRAIN 4096u
u64 overlay_written(struct block *b, u64 *off, u64 max);

#endif
