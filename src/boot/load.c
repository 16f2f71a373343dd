/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOB_CHUNK (1u << 20)

/* ---- files ---------------------------------------------------------------------------------------------------- */

/* Reads to the end, whatever stat says: pipes work, and a file that shrinks meanwhile does no harm. hint: its size, if
 * known. One byte more finds the end without more room. */
static int blob_read_fd(struct blob *f, int fd, const char *path, const char *what, u64 hint, u64 max, struct err *e)
{
	u64 room = 0, first = MAX(MIN(hint, max) + 1, BLOB_CHUNK);
	ssize_t n;

	do {
		if (f->size == room) {
			u8 *bigger = f->size <= max ? realloc(f->data, room = room ? room * 2 : first) : NULL;

			if (!bigger)
				return err_set(e, "%s '%.200s' has more than %llu KiB: no memory for it", what, path,
					       (unsigned long long)(MIN(f->size, max) >> 10));
			f->data = bigger;
		}
		n = read(fd, f->data + f->size, room - f->size);
		if (n < 0 && errno != EINTR)
			return err_errno(e, "cannot read %s '%.200s'", what, path);
		f->size += n > 0 ? (u64)n : 0;
	} while (n);
	return 0;
}

int blob_read(struct blob *f, const char *path, const char *what, u64 max, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;
	struct stat st = { 0 };

	*f = (struct blob){ 0 };
	if (fd < 0)
		return err_errno(e, "cannot open %s '%.200s'", what, path);
	snprintf(f->name, sizeof(f->name), "%s", path);
	if (!fstat(fd, &st) && S_ISCHR(st.st_mode))
		ret = err_set(e, "%s '%.200s' is a device: give a file", what, path);
	else
		ret = blob_read_fd(f, fd, path, what, S_ISREG(st.st_mode) ? (u64)st.st_size : 0, max, e);
	close(fd);
	if (!ret && !f->size)
		ret = err_set(e, "%s '%.200s' is empty", what, path);
	if (ret)
		blob_free(f);
	return ret;
}

void blob_free(struct blob *f)
{
	free(f->data);
	*f = (struct blob){ 0 };
}

bool blob_has(const struct blob *f, u64 off, u64 len)
{
	return off <= f->size && len <= f->size - off;
}

static u64 blob_le(const struct blob *f, u64 off, unsigned n)
{
	u64 v = 0;

	if (blob_has(f, off, n))
		memcpy(&v, f->data + off, n);
	return v;
}

u16 blob_u16(const struct blob *f, u64 off)
{
	return (u16)blob_le(f, off, 2);
}

u32 blob_u32(const struct blob *f, u64 off)
{
	return (u32)blob_le(f, off, 4);
}

u64 blob_u64(const struct blob *f, u64 off)
{
	return blob_le(f, off, 8);
}

/* ---- guest memory --------------------------------------------------------------------------------------------- */

bool load_fits(struct mem *m, u64 gpa, u64 len)
{
	u64 start, size;

	for (unsigned i = 0; mem_ram_range(m, i, &start, &size); i++)
		if (gpa >= start && gpa - start <= size && len <= size - (gpa - start))
			return true;
	return false;
}

u64 load_low_top(struct mem *m)
{
	u64 start, size, top = 0;

	for (unsigned i = 0; mem_ram_range(m, i, &start, &size); i++)
		if (start <= 1u << 20 && start + size > top)
			top = start + size;
	return top;
}

static int does_not_fit(u64 gpa, u64 len, const char *what, struct err *e)
{
	return err_set(e, "%s needs guest memory from 0x%llx to 0x%llx, which the machine does not have (see --memory)",
		       what, (unsigned long long)gpa, (unsigned long long)(gpa + len));
}

int load_bytes(struct mem *m, u64 gpa, const void *p, u64 len, const char *what, struct err *e)
{
	if (!load_fits(m, gpa, len) || mem_write(m, gpa, p, len))
		return does_not_fit(gpa, len, what, e);
	return 0;
}

int load_zero(struct mem *m, u64 gpa, u64 len, const char *what, struct err *e)
{
	static const u8 zero[4096];

	if (!load_fits(m, gpa, len))
		return does_not_fit(gpa, len, what, e);
	for (u64 n; len; gpa += n, len -= n) {
		n = MIN(len, sizeof(zero));
		if (mem_write(m, gpa, zero, n))
			return does_not_fit(gpa, len, what, e);
	}
	return 0;
}

/* ---- processor states ----------------------------------------------------------------------------------------- */

enum {
	ATTR_CODE32 = SEG_A | SEG_R | SEG_CODE | SEG_S | SEG_P | SEG_D | SEG_G,
	ATTR_CODE64 = SEG_A | SEG_R | SEG_CODE | SEG_S | SEG_P | SEG_L | SEG_G,
	ATTR_DATA_16 = SEG_A | SEG_W | SEG_S | SEG_P,
	ATTR_DATA = SEG_A | SEG_W | SEG_S | SEG_P | SEG_D | SEG_G,
};

static void state_flat(struct cpu *c, u16 code_sel, u16 data_sel, u16 code_attr, u64 entry)
{
	for (unsigned i = 0; i < NR_SEGS; i++)
		c->seg[i] = (struct seg){ .sel = data_sel,
					  .attr = code_attr == ATTR_DATA_16 ? ATTR_DATA_16 : ATTR_DATA,
					  .limit = 0xffffffff };
	c->seg[SEG_CS] = (struct seg){ .sel = code_sel, .attr = code_attr, .limit = 0xffffffff };
	c->ldtr = (struct seg){ .attr = SEG_P | SYS_LDT, .limit = 0xffff };
	c->tr = (struct seg){ .attr = SEG_P | SYS_TSS32_BUSY, .limit = 0x67 };
	for (unsigned i = 0; i <= R15; i++)
		c->r[i] = 0;
	c->r[R_RIP] = entry;
	cpu_set_rflags_raw(c, 0);
}

void state_flat32(struct cpu *c, u16 code_sel, u16 data_sel, u64 entry)
{
	c->cr0 = CR0_PE | CR0_ET;
	c->cr4 = 0;
	c->efer = 0;
	state_flat(c, code_sel, data_sel, ATTR_CODE32, entry);
	cpu_update_mode(c);
}

void state_real(struct cpu *c, u16 cs, u16 ip, u16 data_seg, u16 sp)
{
	c->cr0 = CR0_ET;
	c->cr4 = 0;
	c->efer = 0;
	state_flat(c, cs, data_seg, ATTR_DATA_16, ip);
	for (unsigned i = 0; i < NR_SEGS; i++) {
		c->seg[i].base = (u32)c->seg[i].sel << 4;
		c->seg[i].limit = 0xffff;
	}
	c->r[RSP] = sp;
	c->idtr = (struct dtable){ .base = 0, .limit = 0x3ff };
	cpu_update_mode(c);
}

void state_flat64(struct cpu *c, u16 code_sel, u16 data_sel, u64 cr3, u64 entry)
{
	c->cr0 = CR0_PE | CR0_ET | CR0_PG;
	c->cr4 = CR4_PAE;
	c->cr3 = cr3;
	c->efer = EFER_LME | EFER_LMA;
	state_flat(c, code_sel, data_sel, ATTR_CODE64, entry);
	cpu_update_mode(c);
}
