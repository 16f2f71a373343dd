/* SPDX-License-Identifier: Apache-2.0
 * Sources: Multiboot Specification 0.6.96, 3.1.3 and 3.3; Multiboot2 Specification 2.0, 3.1.5 to 3.1.12.
 */
#include "boot/mbimage.h"

#include <stdlib.h>

int mb_image_elf(const struct boot *b, struct mb_image *i, struct err *e)
{
	*i = (struct mb_image){ .is_elf = true };
	if (elf_parse(&b->kernel, &i->elf, e))
		return -1;
	elf_extent(&i->elf, &i->lo, &i->hi);
	i->entry = elf_entry_phys(&i->elf);
	return 0;
}

static int damaged(const struct blob *k, const char *how, struct err *e)
{
	return err_set(e, "the multiboot kernel '%.200s' is damaged: %s", k->name, how);
}

int mb_image_raw(const struct boot *b, u64 header, const struct mb_addresses *a, struct mb_image *i, struct err *e)
{
	const struct blob *k = &b->kernel;
	u64 load = a->load_addr;

	*i = (struct mb_image){ 0 };
	if (a->load_addr == ~0u && a->header_addr >= header)
		load = a->header_addr - header;
	if (a->header_addr < load || a->header_addr - load > header)
		return damaged(k, "its header's addresses contradict each other", e);
	if (a->load_end_addr && a->load_end_addr < load)
		return damaged(k, "load_end_addr lies below load_addr", e);
	i->off = header - (a->header_addr - load);
	i->size = a->load_end_addr ? a->load_end_addr - load : k->size - i->off;
	if (!blob_has(k, i->off, i->size))
		return err_set(
		    e,
		    "the multiboot kernel '%.200s' is truncated: its header asks for %llu bytes from %llu, it has %llu",
		    k->name, (unsigned long long)i->size, (unsigned long long)i->off, (unsigned long long)k->size);
	if (a->bss_end_addr && a->bss_end_addr < load + i->size)
		return damaged(k, "bss_end_addr lies below its data", e);
	i->lo = load;
	i->hi = MAX((u64)a->bss_end_addr, load + i->size);
	return 0;
}

void mb_image_move(struct mb_image *i, u64 lo)
{
	u64 by = lo - i->lo;

	i->slide += by;
	i->lo += by;
	i->hi += by;
	i->entry += by;
}

static void slide_elf(struct elf *f, u64 by)
{
	for (unsigned n = 0; n < f->n; n++)
		f->load[n].paddr += by;
}

int mb_image_place(const struct boot *b, const struct mb_image *i, struct mem *m, struct err *e)
{
	struct elf f;

	if (i->entry >> 32)
		return err_set(e, "the kernel '%.200s' has its entry above 4 GiB", b->kernel.name);
	if (i->is_elf) {
		f = i->elf;
		slide_elf(&f, i->slide);
		return elf_place(&b->kernel, &f, m, e);
	}
	if (load_bytes(m, i->lo, b->kernel.data + i->off, i->size, "the kernel", e))
		return -1;
	return load_zero(m, i->lo + i->size, i->hi - i->lo - i->size, "the kernel", e);
}

u64 mb_modules_from(const struct mb_image *i, struct mem *m)
{
	return i->hi <= 1u << 20 && load_low_top(m) <= 1u << 20 ? i->hi : MAX(i->hi, 1u << 20);
}

int mb_place_modules(const struct boot *b, struct mem *m, u64 *end, struct mb_span *out, struct err *e)
{
	for (unsigned i = 0; i < b->nr_modules; i++) {
		const struct blob *f = &b->module[i].file;
		u64 at = ALIGN_UP(*end, PAGE_SIZE);

		if (at + f->size > 1ull << 32)
			return err_set(e, "the module '%.200s' does not fit below 4 GiB", f->name);
		if (load_bytes(m, at, f->data, f->size, "a multiboot module", e))
			return -1;
		out[i] = (struct mb_span){ (u32)at, (u32)(at + f->size) };
		*end = at + f->size;
	}
	return 0;
}

/* ---- sections --------------------------------------------------------------------------------------------------- */

/* The fields of a section header, of either class. */
struct section {
	u32 type;
	u64 flags, addr, off, size;
};

enum { SHT_NOBITS_TYPE = 8, SHF_ALLOC_FLAG = 2 };

static struct section section_at(const struct blob *k, bool is64, u64 at)
{
	if (is64)
		return (struct section){ blob_u32(k, at + 4), blob_u64(k, at + 8), blob_u64(k, at + 16),
					 blob_u64(k, at + 24), blob_u64(k, at + 32) };
	return (struct section){ blob_u32(k, at + 4), blob_u32(k, at + 8), blob_u32(k, at + 12), blob_u32(k, at + 16),
				 blob_u32(k, at + 20) };
}

static void put_section_addr(u8 *header, bool is64, u64 addr)
{
	memcpy(header + (is64 ? 16 : 12), &addr, is64 ? 8 : 4);
}

/* Where the section's contents stand: 0 if nowhere. */
static u64 place_section(const struct blob *k, const struct section *s, struct mem *m, u64 *end)
{
	u64 at = ALIGN_UP(*end, 16);

	if (s->addr || s->type == SHT_NOBITS_TYPE || (s->flags & SHF_ALLOC_FLAG) || !s->size ||
	    !blob_has(k, s->off, s->size) || s->size >> 32 || at + s->size > 1ull << 32 ||
	    load_bytes(m, at, k->data + s->off, s->size, "symbols", NULL))
		return 0;
	*end = at + s->size;
	return at;
}

void mb_place_sections(const struct boot *b, const struct mb_image *i, struct mem *m, u64 *end, struct mb_sections *out)
{
	const struct elf *f = &i->elf;
	u64 size = (u64)f->shnum * f->shentsize;

	*out = (struct mb_sections){ 0 };
	if (!i->is_elf || !f->shnum || !(out->table = malloc(size)))
		return;
	memcpy(out->table, b->kernel.data + f->shoff, size);
	out->n = f->shnum;
	out->entsize = f->shentsize;
	out->shndx = f->shstrndx;
	for (u32 n = 1; n < f->shnum; n++) {
		struct section s = section_at(&b->kernel, f->is64, f->shoff + (u64)n * f->shentsize);
		u64 at = s.flags & SHF_ALLOC_FLAG ? s.addr + i->slide : place_section(&b->kernel, &s, m, end);

		if (at)
			put_section_addr(out->table + (u64)n * f->shentsize, f->is64, at);
	}
}

/* ---- information ------------------------------------------------------------------------------------------------ */

u32 mb_info_gpa(const struct mb_image *i, u64 end)
{
	return i->lo < MB_INFO_END && i->hi > MB_INFO_GPA ? (u32)ALIGN_UP(end, PAGE_SIZE) : MB_INFO_GPA;
}

void mb_memory_sizes(const struct boot_map *map, u32 *lower, u32 *upper)
{
	*lower = *upper = 0;
	for (unsigned i = 0; i < map->n; i++) {
		if (map->e[i].type == E820_RAM && map->e[i].addr == 0)
			*lower = (u32)MIN(map->e[i].size >> 10, 640);
		if (map->e[i].type == E820_RAM && map->e[i].addr == 1u << 20)
			*upper = (u32)(map->e[i].size >> 10);
	}
}
