/* SPDX-License-Identifier: Apache-2.0
 * The file: a header, then sections, each with a name, a length and a checksum; the last is called "end" and counts the
 * others. A section of state is a list of fields that name themselves (base/state.h). docs/snapshot.md has every byte.
 * Integers are little-endian. What is read is not trusted: each length is bounded before it is used.
 */
#ifndef SNAP_FORMAT_H
#define SNAP_FORMAT_H

#include <stdio.h>

#include "base/err.h"
#include "base/state.h"

#define SNAP_VERSION 1
#define SNAP_MAGIC "DOPPELSN"
#define SNAP_NAME_MAX 63
#define SNAP_SECTION_MAX (4u << 20)

struct snap_out {
	FILE *f;
	u32 sections;
};

struct snap_section {
	char name[SNAP_NAME_MAX + 1];
	u8 *data;
	u32 len, room;
};

struct snap_in {
	FILE *f;
	u32 sections; /* read so far */
	struct snap_section now;
};

/* Writing: 0, or -1 with errno set. */
int snap_put_header(struct snap_out *o);
int snap_put(struct snap_out *o, const char *name, const void *data, u32 len);
int snap_put_state(struct snap_out *o, const char *name, const struct state *s, const void *object);
int snap_put_end(struct snap_out *o);

/* Reading: 0, or -1 with the sentence. */
int snap_get_header(struct snap_in *in, struct err *e);
/* The next section into in->now. At the end its name is "end", and its count and the file's end have been checked. */
int snap_get(struct snap_in *in, struct err *e);
/* The fields of a section into the object: each row of the table exactly once, and nothing else. On failure some may
 * have been stored; every one that was is in its row's range. */
int snap_get_state(const struct snap_section *sec, const struct state *s, void *object, struct err *e);
void snap_in_free(struct snap_in *in);

#endif
