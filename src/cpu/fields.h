/* SPDX-License-Identifier: Apache-2.0
 * The field table: every architectural field of struct cpu by name, from fields.def. Snapshot, `info`, gdb and lockstep
 * diff all walk this one table. A field's name is for ever; a later version of the table may only add rows.
 */
#ifndef CPU_FIELDS_H
#define CPU_FIELDS_H

#include <stdio.h>

#include "base/state.h"
#include "cpu/cpu.h"

#define CPU_FIELDS_VERSION 1

enum field_kind {
	FIELD_UINT, /* count little-endian integers of size bytes */
	FIELD_BOOL,
	FIELD_BYTES, /* count opaque values of size bytes (vector registers) */
};

enum field_flags {
	FIELD_DERIVED = 1 << 0, /* host pointers are never listed; this marks values a loader may recompute */
	FIELD_NO_DIFF = 1 << 1, /* may differ between engines that agree (XINUSE tracking, counters of time) */
};

struct cpu_field {
	const char *name;
	u32 offset; /* in struct cpu */
	u16 size;   /* of one element */
	u16 count;
	u8 kind, flags;
	u16 since; /* table version that introduced it */
};

/* The table and its length. */
const struct cpu_field *cpu_fields(size_t *n);
/* The same for snapshots: its `loaded` checks every rule that executing relies on, and puts right what follows. The
 * owner then moves the TSC, resets the MMU and drops what the engine keeps. */
extern const struct state cpu_state;
/* By name, or NULL. */
const struct cpu_field *cpu_field_find(const char *name);

/* Element i of a field in c, for FIELD_UINT and FIELD_BOOL up to 8 bytes. */
u64 cpu_field_get(const struct cpu *c, const struct cpu_field *f, unsigned i);
void cpu_field_set(struct cpu *c, const struct cpu_field *f, unsigned i, u64 val);
/* Text of element i, as hexadecimal without 0x; returns buf. */
const char *cpu_field_text(const struct cpu *c, const struct cpu_field *f, unsigned i, char *buf, size_t size);

/* Calls fn for each element that differs (fields with FIELD_NO_DIFF only when strict); returns how many. fn may be
 * NULL to count. */
typedef void cpu_field_diff_fn(void *opaque, const struct cpu_field *f, unsigned i, const struct cpu *a,
			       const struct cpu *b);
unsigned cpu_field_diff(const struct cpu *a, const struct cpu *b, bool strict, cpu_field_diff_fn *fn, void *opaque);

/* Registers, segments, tables, control registers and pending events as text, for fatal and triple-fault reports. */
void cpu_dump(const struct cpu *c, FILE *f);

#endif
