/* SPDX-License-Identifier: Apache-2.0
 * fw_cfg. Reads past an item's end give zeros. One DMA command moves at most 16 MiB beyond the item, so that a length
 * of 4 GiB costs no more than it is worth; longer ones end with the error bit.
 */
#include "dev/fwcfg.h"

enum {
	DMA_ERROR = 0x01,
	DMA_READ = 0x02,
	DMA_SKIP = 0x04,
	DMA_SELECT = 0x08,
	DMA_WRITE = 0x10,
	ID_PORTS = 0x01,
	ID_DMA = 0x02,
	DIR_ENTRY = 64,
	DIR_NAME = 8,
	DIR_NAME_LEN = 56,
};

#define DMA_BEYOND (16u << 20)
static const u8 dma_signature[8] = "QEMU CFG";

static const struct fwcfg_item *selected(const struct fwcfg *f)
{
	static const struct fwcfg_item none;
	u16 key = f->selector & 0x3fff; /* bit 14: for writing; bit 15: architecture's own, of which there are none */

	return key < FWCFG_ITEMS && !(f->selector & 0x8000) ? &f->item[key] : &none;
}

static void select_item(struct fwcfg *f, u16 key)
{
	f->selector = key;
	f->offset = 0;
	if (selected(f)->fresh)
		call_make(&f->refresh, key);
}

static u8 next_byte(struct fwcfg *f)
{
	const struct fwcfg_item *i = selected(f);

	return f->offset < i->len ? i->data[f->offset++] : 0;
}

/* ---- DMA ------------------------------------------------------------------------------------------------------ */

/* Into guest memory: what the item still has, then zeros. */
static int dma_read(struct fwcfg *f, u64 gpa, u32 len)
{
	const struct fwcfg_item *i = selected(f);
	u32 have = f->offset < i->len ? MIN(i->len - f->offset, len) : 0, part;
	static const u8 zeros[PAGE_SIZE];

	if (have && mem_write(f->mem, gpa, i->data + f->offset, have))
		return -1;
	f->offset += have;
	for (u32 done = have; done < len; done += part) {
		part = MIN(len - done, (u32)sizeof(zeros));
		if (mem_write(f->mem, gpa + done, zeros, part))
			return -1;
	}
	return 0;
}

static int dma_write(struct fwcfg *f, u64 gpa, u32 len)
{
	const struct fwcfg_item *i = selected(f);

	if (!i->writable || f->offset > i->len || len > i->len - f->offset)
		return -1;
	if (mem_read(f->mem, gpa, i->data + f->offset, len))
		return -1;
	f->offset += len;
	return 0;
}

static int dma_command(struct fwcfg *f, u32 control, u32 len, u64 gpa)
{
	u32 left;

	if (control & DMA_SELECT)
		select_item(f, (u16)(control >> 16));
	left = selected(f)->len - MIN(f->offset, selected(f)->len);
	if (control & (DMA_READ | DMA_WRITE)) {
		if (len > left && len - left > DMA_BEYOND)
			return -1;
		return control & DMA_READ ? dma_read(f, gpa, len) : dma_write(f, gpa, len);
	}
	if (control & DMA_SKIP)
		f->offset += MIN(len, left);
	return 0;
}

/* The command block is read once: control, length, address, all big-endian. Its control word becomes the result. */
static void dma_run(struct fwcfg *f, u64 gpa)
{
	struct {
		u32 control, len;
		u64 address;
	} block;
	u32 result;

	if (mem_read(f->mem, gpa, &block, sizeof(block)))
		return;
	result = dma_command(f, __builtin_bswap32(block.control), __builtin_bswap32(block.len),
			     __builtin_bswap64(block.address))
		     ? __builtin_bswap32(DMA_ERROR)
		     : 0;
	mem_write(f->mem, gpa, &result, sizeof(result));
}

static u64 dma_port_read(void *dev, u64 off, unsigned size)
{
	u64 v = 0;

	(void)dev;
	for (unsigned i = 0; i < size; i++)
		v |= (u64)dma_signature[(off + i) & 7] << (i * 8);
	return v;
}

/* Writing the low half (the second word) starts the command. */
static void dma_port_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct fwcfg *f = dev;
	u64 gpa;

	if (size != 4)
		return;
	if (off == 0) {
		f->dma_high = __builtin_bswap32((u32)val);
		return;
	}
	gpa = (u64)f->dma_high << 32 | __builtin_bswap32((u32)val);
	f->dma_high = 0;
	dma_run(f, gpa);
}

/* ---- ports ---------------------------------------------------------------------------------------------------- */

/* 0x510 takes 16 bits and cannot be read; 0x511 gives bytes. */
static u64 port_read(void *dev, u64 off, unsigned size)
{
	return off == 1 && size == 1 ? next_byte(dev) : 0;
}

static void port_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct fwcfg *f = dev;

	if (off == 0)
		select_item(f, (u16)(size == 1 ? (u8)val : val));
	/* The data port's writes do nothing any more: items are written by DMA. */
}

/* ---- content -------------------------------------------------------------------------------------------------- */

int fwcfg_set(struct fwcfg *f, enum fwcfg_key key, const void *data, u32 len, struct err *e)
{
	u8 *copy = malloc(len ? len : 1);

	if (!copy)
		return err_set(e, "out of memory for a fw_cfg item of %u bytes", len);
	memcpy(copy, data, len);
	free(f->item[key].data);
	f->item[key].data = copy;
	f->item[key].len = len;
	return 0;
}

static void put_be32(u8 *p, u32 v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, 4);
}

/* The directory is one item that grows by an entry a file: size, selector, reserved, name. */
static int add_entry(struct fwcfg *f, const char *name, struct err *e)
{
	struct fwcfg_item *dir = &f->item[FWCFG_FILE_DIR];
	u16 key = (u16)(FWCFG_FIRST_FILE + f->files);
	u8 *grown, *entry;

	if (f->files >= FWCFG_FILES)
		return err_set(e, "fw_cfg holds no more than %d files", FWCFG_FILES);
	if (strlen(name) >= DIR_NAME_LEN)
		return err_set(e, "the fw_cfg file name %s is too long", name);
	grown = realloc(dir->data, 4 + (f->files + 1) * DIR_ENTRY);
	if (!grown)
		return err_set(e, "out of memory for the fw_cfg directory");
	entry = grown + 4 + f->files * DIR_ENTRY;
	memset(entry, 0, DIR_ENTRY);
	entry[4] = (u8)(key >> 8);
	entry[5] = (u8)key;
	memcpy(entry + DIR_NAME, name, strlen(name));
	f->files++;
	put_be32(grown, f->files);
	*dir = (struct fwcfg_item){ .data = grown, .len = 4 + f->files * DIR_ENTRY };
	return 0;
}

static u8 *entry_of(struct fwcfg *f, unsigned n)
{
	return f->item[FWCFG_FILE_DIR].data + 4 + n * DIR_ENTRY;
}

static unsigned find_file(struct fwcfg *f, const char *name)
{
	unsigned n = 0;

	while (n < f->files && strncmp((char *)entry_of(f, n) + DIR_NAME, name, DIR_NAME_LEN))
		n++;
	return n;
}

void fwcfg_mark_fresh(struct fwcfg *f, const char *name)
{
	unsigned n = find_file(f, name);

	if (n < f->files)
		f->item[FWCFG_FIRST_FILE + n].fresh = true;
}

int fwcfg_set_file(struct fwcfg *f, const char *name, const void *data, u32 len, bool writable, struct err *e)
{
	unsigned n = find_file(f, name);

	if (n == f->files && add_entry(f, name, e))
		return -1;
	if (fwcfg_set(f, FWCFG_FIRST_FILE + n, data, len, e))
		return -1;
	f->item[FWCFG_FIRST_FILE + n].writable = writable;
	put_be32(entry_of(f, n), len);
	return 0;
}

static int fill(struct fwcfg *f, u64 ram_size, unsigned cpus, struct err *e)
{
	static const u8 uuid[16], no_files[4];
	u32 id = ID_PORTS | ID_DMA;
	u16 n = (u16)cpus, none = 0;

	/* Plain numbers are little-endian here; only the directory and DMA are not. */
	return fwcfg_set(f, FWCFG_SIGNATURE, "QEMU", 4, e) || fwcfg_set(f, FWCFG_ID, &id, 4, e) ||
	       fwcfg_set(f, FWCFG_UUID, uuid, 16, e) || fwcfg_set(f, FWCFG_RAM_SIZE, &ram_size, 8, e) ||
	       fwcfg_set(f, FWCFG_NOGRAPHIC, &none, 2, e) || fwcfg_set(f, FWCFG_NB_CPUS, &n, 2, e) ||
	       fwcfg_set(f, FWCFG_BOOT_MENU, &none, 2, e) || fwcfg_set(f, FWCFG_MAX_CPUS, &n, 2, e) ||
	       fwcfg_set(f, FWCFG_FILE_DIR, no_files, 4, e);
}

void fwcfg_reset(struct fwcfg *f)
{
	select_item(f, 0);
	f->dma_high = 0;
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 2 };
static const struct io_ops dma_ops = { .read = dma_port_read, .write = dma_port_write, .max_size = 4 };

struct fwcfg *fwcfg_new(struct mem *m, u64 ram_size, unsigned cpus, struct err *e)
{
	struct fwcfg *f = dev_alloc(sizeof(*f), e);

	if (!f)
		return NULL;
	f->mem = m;
	if (fill(f, ram_size, cpus, e) || mem_add_ports(m, 0x510, 2, &port_ops, f, e) ||
	    mem_add_ports(m, 0x514, 8, &dma_ops, f, e)) {
		fwcfg_free(f);
		return NULL;
	}
	return f;
}

void fwcfg_free(struct fwcfg *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < FWCFG_ITEMS; i++)
		free(f->item[i].data);
	free(f);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct fwcfg
static const struct state_field state_fields[] = {
	STATE_UINT(S, selector),
	STATE_UINT(S, offset),
	STATE_UINT(S, dma_high),
};
#undef S

const struct state fwcfg_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
