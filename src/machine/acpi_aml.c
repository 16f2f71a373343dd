/* SPDX-License-Identifier: Apache-2.0
 * Lengths of bodies are written in the three-byte form of PkgLength whatever their value, so that they can be filled in
 * when a body is closed without moving it.
 */
#include "machine/acpi_aml.h"

enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME = 0x2e,
	OP_MULTI_NAME = 0x2f,
	OP_EXT = 0x5b,
	OP_ARG0 = 0x68,
	OP_STORE = 0x70,
	OP_AND = 0x7b,
	OP_OR = 0x7d,
	OP_CREATE_DWORD_FIELD = 0x8a,
	OP_IF = 0xa0,
	OP_RETURN = 0xa4,
	EXT_REGION = 0x80,
	EXT_FIELD = 0x81,
	EXT_DEVICE = 0x82,
	PCI_CONFIG_SPACE = 2,
	PKG_LEN_BYTES = 3,
};

void aml_init(struct aml *a, void *buf, size_t cap)
{
	*a = (struct aml){ .buf = buf, .cap = cap };
}

bool aml_ok(const struct aml *a)
{
	return !a->overflow && !a->depth;
}

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	if (n > a->cap - a->len) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, p, n);
	a->len += n;
}

void aml_byte(struct aml *a, u8 v)
{
	aml_bytes(a, &v, 1);
}

void aml_le(struct aml *a, u64 v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		aml_byte(a, (u8)(v >> (i * 8)));
}

/* One segment of up to four letters; where the next begins. */
static const char *path_segment(struct aml *a, const char *s)
{
	unsigned n = 0;

	for (; *s && *s != '.'; s++, n++)
		aml_byte(a, (u8)*s);
	for (; n < 4; n++)
		aml_byte(a, '_');
	return *s ? s + 1 : s;
}

void aml_path(struct aml *a, const char *path)
{
	unsigned segments = 1;

	if (*path == '\\') {
		aml_byte(a, '\\');
		path++;
	}
	for (const char *s = path; *s; s++)
		segments += *s == '.';
	if (!*path) {
		aml_byte(a, OP_ZERO);
		return;
	}
	if (segments == 2) {
		aml_byte(a, OP_DUAL_NAME);
	} else if (segments > 2) {
		aml_byte(a, OP_MULTI_NAME);
		aml_byte(a, (u8)segments);
	}
	while (*path)
		path = path_segment(a, path);
}

void aml_int(struct aml *a, u64 v)
{
	if (v <= 1) {
		aml_byte(a, (u8)v);
	} else if (v <= 0xff) {
		aml_byte(a, OP_BYTE);
		aml_le(a, v, 1);
	} else if (v <= 0xffff) {
		aml_byte(a, OP_WORD);
		aml_le(a, v, 2);
	} else if (v <= 0xffffffff) {
		aml_byte(a, OP_DWORD);
		aml_le(a, v, 4);
	} else {
		aml_byte(a, OP_QWORD);
		aml_le(a, v, 8);
	}
}

static unsigned hex_digit(char c)
{
	return c >= 'A' ? (unsigned)(c - 'A') + 10 : (unsigned)(c - '0');
}

/* Three letters of five bits and four hexadecimal digits, most significant byte first. */
void aml_eisaid(struct aml *a, const char *id)
{
	unsigned v = (unsigned)(id[0] - '@') << 26 | (unsigned)(id[1] - '@') << 21 | (unsigned)(id[2] - '@') << 16 |
		     hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 | hex_digit(id[6]);

	aml_byte(a, OP_DWORD);
	aml_le(a, __builtin_bswap32(v), 4);
}

/* ---- bodies --------------------------------------------------------------------------------------------------- */

static void begin(struct aml *a)
{
	if (a->depth >= AML_DEPTH) {
		a->overflow = true;
		return;
	}
	a->open[a->depth++] = a->len;
	aml_le(a, 0, PKG_LEN_BYTES);
}

void aml_end(struct aml *a)
{
	size_t at, n;

	if (!a->depth || a->overflow) {
		a->overflow = true;
		return;
	}
	at = a->open[--a->depth];
	n = a->len - at;
	a->buf[at] = (u8)((PKG_LEN_BYTES - 1) << 6 | (n & 15));
	a->buf[at + 1] = (u8)(n >> 4);
	a->buf[at + 2] = (u8)(n >> 12);
}

void aml_begin_scope(struct aml *a, const char *path)
{
	aml_byte(a, OP_SCOPE);
	begin(a);
	aml_path(a, path);
}

void aml_begin_device(struct aml *a, const char *name)
{
	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_DEVICE);
	begin(a);
	aml_path(a, name);
}

void aml_begin_method(struct aml *a, const char *name, unsigned args)
{
	aml_byte(a, OP_METHOD);
	begin(a);
	aml_path(a, name);
	aml_byte(a, (u8)(args | 0x08)); /* serialized: the methods make names */
}

void aml_begin_package(struct aml *a, u8 elements)
{
	aml_byte(a, OP_PACKAGE);
	begin(a);
	aml_byte(a, elements);
}

void aml_begin_if(struct aml *a)
{
	aml_byte(a, OP_IF);
	begin(a);
}

/* Buffer: its length comes before its bytes; a word constant that is filled in at the end. */
void aml_begin_resources(struct aml *a)
{
	aml_byte(a, OP_BUFFER);
	begin(a);
	aml_byte(a, OP_WORD);
	aml_le(a, 0, 2);
}

void aml_end_resources(struct aml *a)
{
	size_t first, n;

	aml_byte(a, 0x79); /* end tag, checksum not used */
	aml_byte(a, 0);
	if (!a->depth || a->overflow) {
		a->overflow = true;
		return;
	}
	first = a->open[a->depth - 1] + PKG_LEN_BYTES + 3;
	n = a->len - first;
	a->buf[first - 2] = (u8)n;
	a->buf[first - 1] = (u8)(n >> 8);
	aml_end(a);
}

/* ---- terms ---------------------------------------------------------------------------------------------------- */

void aml_name(struct aml *a, const char *name)
{
	aml_byte(a, OP_NAME);
	aml_path(a, name);
}

void aml_name_int(struct aml *a, const char *name, u64 v)
{
	aml_name(a, name);
	aml_int(a, v);
}

void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	aml_name(a, name);
	aml_eisaid(a, id);
}

void aml_pci_region(struct aml *a, const char *name, u8 off, u8 len)
{
	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_REGION);
	aml_path(a, name);
	aml_byte(a, PCI_CONFIG_SPACE);
	aml_int(a, off);
	aml_int(a, len);
}

void aml_byte_fields(struct aml *a, const char *region, const char *prefix, unsigned n)
{
	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_FIELD);
	begin(a);
	aml_path(a, region);
	aml_byte(a, 0x01); /* ByteAcc, NoLock, Preserve */
	for (unsigned i = 0; i < n; i++) {
		aml_bytes(a, prefix, 3);
		aml_byte(a, (u8)('0' + i));
		aml_byte(a, 8); /* bits, as a one-byte PkgLength */
	}
	aml_end(a);
}

void aml_arg(struct aml *a, unsigned n)
{
	aml_byte(a, (u8)(OP_ARG0 + n));
}

void aml_return(struct aml *a)
{
	aml_byte(a, OP_RETURN);
}

void aml_store(struct aml *a)
{
	aml_byte(a, OP_STORE);
}

void aml_and(struct aml *a)
{
	aml_byte(a, OP_AND);
}

void aml_or(struct aml *a)
{
	aml_byte(a, OP_OR);
}

void aml_no_target(struct aml *a)
{
	aml_byte(a, OP_ZERO);
}

void aml_create_dword_field(struct aml *a)
{
	aml_byte(a, OP_CREATE_DWORD_FIELD);
}

/* ---- resources ------------------------------------------------------------------------------------------------ */

void aml_io(struct aml *a, u16 port, u8 len)
{
	aml_byte(a, 0x47);
	aml_byte(a, 1); /* 16-bit decode */
	aml_le(a, port, 2);
	aml_le(a, port, 2);
	aml_byte(a, 1);
	aml_byte(a, len);
}

void aml_irq(struct aml *a, unsigned irq)
{
	aml_byte(a, 0x22);
	aml_le(a, 1u << irq, 2);
}

void aml_interrupts(struct aml *a, const u32 *irqs, unsigned n)
{
	aml_byte(a, 0x89);
	aml_le(a, 2 + n * 4, 2);
	aml_byte(a, 0x09); /* consumer, level, active high, shared */
	aml_byte(a, (u8)n);
	for (unsigned i = 0; i < n; i++)
		aml_le(a, irqs[i], 4);
}

void aml_fixed_memory(struct aml *a, u32 base, u32 len)
{
	aml_byte(a, 0x86);
	aml_le(a, 9, 2);
	aml_byte(a, 1); /* read and write */
	aml_le(a, base, 4);
	aml_le(a, len, 4);
}

/* Word, dword and qword address space descriptors differ in their tag and the width of their five numbers. */
static void address_space(struct aml *a, unsigned width, u8 type, u8 type_flags, u64 min, u64 max)
{
	u8 tag = width == 2 ? 0x88 : width == 4 ? 0x87 : 0x8a;

	aml_byte(a, tag);
	aml_le(a, 3 + 5 * width, 2);
	aml_byte(a, type);
	aml_byte(a, 0x0c); /* both ends fixed, positive decode, producer */
	aml_byte(a, type_flags);
	aml_le(a, 0, width); /* granularity */
	aml_le(a, min, width);
	aml_le(a, max, width);
	aml_le(a, 0, width); /* translation */
	aml_le(a, max - min + 1, width);
}

void aml_bus_range(struct aml *a, u16 min, u16 max)
{
	address_space(a, 2, 2, 0, min, max);
}

void aml_io_range(struct aml *a, u16 min, u16 max)
{
	address_space(a, 2, 1, 0x03, min, max); /* ISA and non-ISA */
}

void aml_memory_range(struct aml *a, u32 min, u32 max)
{
	address_space(a, 4, 0, 0x01, min, max); /* read and write, not cacheable */
}

void aml_memory_range64(struct aml *a, u64 min, u64 max)
{
	address_space(a, 8, 0, 0x01, min, max);
}
