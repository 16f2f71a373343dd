/* SPDX-License-Identifier: Apache-2.0
 * The one way in for what a guest's run does not determine by itself: the host's time and entropy, what arrives at a
 * console, how a disk answers, when somebody ends the machine. A recording writes each such value to a log at the place
 * where it takes effect; a replay takes it from there and never asks the host. docs/replay.md has the log's format.
 *
 * Two kinds of input. An answer comes where the run asks for it: its order in the log is its place. An arrival comes by
 * itself: it carries the turn of the deterministic loop (machine/det.c) and the VM clock at which it takes effect.
 *
 * A NULL struct inputs * stands for an ordinary run: answers come from the host, nothing is kept.
 *
 * A log is hostile input. It is checked whole when it is opened; afterwards a run that asks for something else than what
 * comes next has left the recording. inputs_wrong() tells; answers are then zeros.
 *
 * Locking: a deterministic run has one thread; nothing here is locked.
 */
#ifndef BASE_INPUTS_H
#define BASE_INPUTS_H

#include "base/err.h"
#include "base/hash.h"

#define INPUTS_VERSION 1
#define INPUTS_NAME 64

struct inputs;

/* What must be the same for a replay to make sense. */
struct inputs_setup {
	u64 memory, cpus;
	char engine[INPUTS_NAME];	/* it was recorded with; another may repeat it */
	char model[INPUTS_NAME];	/* of the CPU */
};

enum input_kind {
	INPUT_START = 1,	/* answer: the hash of the state before the first instruction */
	INPUT_WALL,		/* answer: UTC, nanoseconds since 1970 */
	INPUT_RANDOM,		/* answer: entropy; no bytes: none was to be had */
	INPUT_RESULT,		/* answer: what a disk said, and a hash of the bytes that came with it */
	INPUT_DATA,		/* arrival: bytes at a console */
	INPUT_BREAK,		/* arrival: a line break there */
	INPUT_END,		/* arrival: the machine ends */
};

/* An arrival. */
struct input {
	u8 kind;
	u16 source;		/* which console */
	u64 turn, clock_ns;
	const u8 *data;
	u32 len;
};

/* How the run ended. */
struct input_end {
	u32 status;
	u32 outside;		/* 1: somebody ended it; 0: the guest did, in the course of its instructions */
	struct hash state;
};

/* Begins a log. path NULL: in memory only, for inputs_follow(). */
struct inputs *inputs_record(const char *path, struct err *e);
/* Opens a log and checks its form. */
struct inputs *inputs_replay(const char *path, struct err *e);
/* Replays what leader records, as it grows; leader must outlive it. */
struct inputs *inputs_follow(struct inputs *leader, struct err *e);
/* From the beginning again, of what was recorded: a second run of it. in itself records no more. */
void inputs_rewind(struct inputs *in);
/* 0, or -1 when not all could be written and inputs_wrong() did not say so yet. */
int inputs_close(struct inputs *in, struct err *e);

bool inputs_replaying(const struct inputs *in);
/* Recording: writes the setup. Replaying: compares with it, -1 and a sentence that says what differs. Before all else. */
int inputs_begin(struct inputs *in, const struct inputs_setup *s, struct err *e);
/* The state before the first instruction; -1 and a sentence when it is not the recorded one. */
int inputs_start(struct inputs *in, const struct hash *start, struct err *e);
/* Replaying, before the machine is made: what it was recorded with. */
const struct inputs_setup *inputs_setup(const struct inputs *in);

/* Where the run is: what arrivals are stamped with. */
void inputs_at(struct inputs *in, u64 turn, u64 clock_ns);

/* Answers. */
u64 inputs_wall_ns(struct inputs *in);
bool inputs_random(struct inputs *in, void *buf, u32 n);	/* n <= 4096; false: no entropy now */
/* A host request of the source came to ret, with these bytes: the answer to give. */
int inputs_result(struct inputs *in, u16 source, int ret, const void *bytes, u64 n);

/* Recording: something has come, here and now. */
void inputs_arrive(struct inputs *in, enum input_kind kind, u16 source, const void *data, u32 n);
/* Replaying: the next input if it is an arrival, else false. It stays the next one until inputs_take(). */
bool inputs_peek(struct inputs *in, struct input *i);
void inputs_take(struct inputs *in);

/* The run is not the recorded one (or writing failed): says why; the first reason stays. */
void inputs_diverge(struct inputs *in, const char *why, ...) __attribute__((format(printf, 2, 3)));
/* The reason, or NULL. */
const char *inputs_wrong(const struct inputs *in);

#endif
