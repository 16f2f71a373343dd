/* SPDX-License-Identifier: Apache-2.0
 * The registers as gdb numbers and sizes them, described to it by a target description that is made from one table.
 */
#ifndef DEBUG_GDB_REGS_H
#define DEBUG_GDB_REGS_H

#include "cpu/cpu.h"

/* How many registers this vCPU's model has for gdb. */
unsigned gdb_reg_count(const struct cpu *c);
/* Bytes of register n (0 when there is no such register), its value into out[64], and back. */
unsigned gdb_reg_size(const struct cpu *c, unsigned n);
void gdb_reg_get(const struct cpu *c, unsigned n, u8 *out);
/* The caller sees to the MMU after changes to control registers. */
void gdb_reg_set(struct cpu *c, unsigned n, const u8 *in);
/* Writes target.xml into buf; returns its length. */
size_t gdb_reg_xml(const struct cpu *c, char *buf, size_t size);

#endif
