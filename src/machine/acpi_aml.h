/* SPDX-License-Identifier: Apache-2.0
 * A small AML emitter (ACPI 6.3 chapter 20) into a buffer of fixed size. A term is appended in the order in which AML
 * wants it; what has a body is opened by aml_begin…() and closed by aml_end(). Nothing fails on the way: running out of
 * room is remembered and asked for at the end.
 */
#ifndef MACHINE_ACPI_AML_H
#define MACHINE_ACPI_AML_H

#include "base/base.h"

#define AML_DEPTH 16

struct aml {
	u8 *buf;
	size_t len, cap;
	size_t open[AML_DEPTH]; /* where the lengths of open bodies stand */
	unsigned depth;
	bool overflow;
};

void aml_init(struct aml *a, void *buf, size_t cap);
bool aml_ok(const struct aml *a); /* everything fitted, every body was closed */

void aml_byte(struct aml *a, u8 v);
void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_le(struct aml *a, u64 v, unsigned n);	/* n bytes, little-endian */
void aml_path(struct aml *a, const char *path); /* "\\_SB.PCI0.ISA": segments are padded with '_' */
void aml_int(struct aml *a, u64 v);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A03" */

void aml_begin_scope(struct aml *a, const char *path);
void aml_begin_device(struct aml *a, const char *name);
void aml_begin_method(struct aml *a, const char *name, unsigned args);
void aml_begin_package(struct aml *a, u8 elements);
void aml_begin_if(struct aml *a); /* the predicate follows */
/* Resource descriptors may follow; closed by aml_end_resources(). */
void aml_begin_resources(struct aml *a);
void aml_end_resources(struct aml *a);
void aml_end(struct aml *a);

void aml_name(struct aml *a, const char *name); /* Name(name, …): the object follows */
void aml_name_int(struct aml *a, const char *name, u64 v);
void aml_name_eisaid(struct aml *a, const char *name, const char *id);
void aml_pci_region(struct aml *a, const char *name, u8 off, u8 len);
/* Field(region, ByteAcc, NoLock, Preserve) of n bytes called prefix + "0", "1", … */
void aml_byte_fields(struct aml *a, const char *region, const char *prefix, unsigned n);
void aml_arg(struct aml *a, unsigned n);
void aml_return(struct aml *a); /* the value follows */
void aml_store(struct aml *a);	/* source and target follow */
/* And, Or: two operands and a target follow; without a target, aml_no_target(). */
void aml_and(struct aml *a);
void aml_or(struct aml *a);
void aml_no_target(struct aml *a);
void aml_create_dword_field(struct aml *a); /* buffer, byte index, name follow */

/* Resource descriptors (ACPI 6.3, 6.4). */
void aml_io(struct aml *a, u16 port, u8 len);
void aml_irq(struct aml *a, unsigned irq);			 /* edge, active high, exclusive */
void aml_interrupts(struct aml *a, const u32 *irqs, unsigned n); /* level, active high, shared */
void aml_fixed_memory(struct aml *a, u32 base, u32 len);
/* Address spaces of a bridge: min to max, both included. */
void aml_bus_range(struct aml *a, u16 min, u16 max);
void aml_io_range(struct aml *a, u16 min, u16 max);
void aml_memory_range(struct aml *a, u32 min, u32 max);
void aml_memory_range64(struct aml *a, u64 min, u64 max);

#endif
