/* SPDX-License-Identifier: Apache-2.0
 * Multiboot 1 kernels: ELF, or any file whose header gives addresses. Source: Multiboot Specification 0.6.96, sections
 * 3.1 (header), 3.2 (machine state), 3.3 (information). Module and kernel command lines are "FILE ARGS", as GRUB and
 * QEMU give them. A 64-bit ELF file is placed by its physical addresses and entered in 32-bit mode, as GRUB does.
 *
 * Header bit 2 (video) is a wish: there is no display, so no mode is told. The information goes to 0x9000, or behind
 * the modules if the kernel itself lies there; modules go page-aligned behind the kernel.
 */
#include <stdio.h>
#include <stdlib.h>

#include "boot/mbimage.h"

#define HEADER_MAGIC 0x1badb002
#define LOADER_MAGIC 0x2badb002
#define HEADER_SEARCH 8192
#define HEADER_ADDRESSES (1u << 16)

enum {
	INFO_MEMORY = 1,
	INFO_CMDLINE = 4,
	INFO_MODS = 8,
	INFO_ELF_SHDR = 0x20,
	INFO_MMAP = 0x40,
	INFO_LOADER_NAME = 0x200,
};

struct mb_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	u32 elf_num, elf_size, elf_addr, elf_shndx;
	u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name, apm_table;
	u32 vbe[4];
	u8 framebuffer[28];
};

struct mb_module {
	u32 start, end, cmdline, reserved;
};

struct mb_mmap {
	u32 size;
	u64 addr, len;
	u32 type;
} __attribute__((packed));

_Static_assert(offsetof(struct mb_info, boot_loader_name) == 64, "Multiboot 3.3");
_Static_assert(sizeof(struct mb_mmap) == 24, "Multiboot 3.3");

/* The information block while it is put together: bytes that will stand at gpa. */
struct info_block {
	u8 *p;
	u32 gpa, len;
	bool full;
};

static u32 info_add(struct info_block *k, const void *p, size_t len)
{
	u32 at = (u32)ALIGN_UP(k->len, 8);

	if (len > MB_INFO_MAX - at) {
		k->full = true;
		return 0;
	}
	memcpy(k->p + at, p, len);
	k->len = at + (u32)len;
	return k->gpa + at;
}

static u32 info_add_string(struct info_block *k, const char *s)
{
	return info_add(k, s, strlen(s) + 1);
}

static bool find_header(const struct blob *k, u64 *at)
{
	for (u64 off = 0; off + 12 <= MIN(k->size, (u64)HEADER_SEARCH); off += 4) {
		u32 flags = blob_u32(k, off + 4);

		if (blob_u32(k, off) != HEADER_MAGIC || HEADER_MAGIC + flags + blob_u32(k, off + 8))
			continue;
		*at = off;
		return true;
	}
	return false;
}

/* The kernel's image as the header wants it. */
static int mb_parse(const struct boot *b, struct mb_image *i, struct err *e)
{
	const struct blob *k = &b->kernel;
	struct mb_addresses a = {
		.header_addr = blob_u32(k, b->header + 12),
		.load_addr = blob_u32(k, b->header + 16),
		.load_end_addr = blob_u32(k, b->header + 20),
		.bss_end_addr = blob_u32(k, b->header + 24),
	};

	if (!(blob_u32(k, b->header + 4) & HEADER_ADDRESSES))
		return mb_image_elf(b, i, e);
	if (!blob_has(k, b->header, 32))
		return err_set(e, "the multiboot kernel '%.200s' is truncated inside its header", k->name);
	if (mb_image_raw(b, b->header, &a, i, e))
		return -1;
	i->entry = blob_u32(k, b->header + 28);
	return 0;
}

/* ---- information ------------------------------------------------------------------------------------------------ */

static void info_memory(struct mb_info *info, struct info_block *k, const struct boot_map *map)
{
	struct mb_mmap out[BOOT_MAP_MAX];

	for (unsigned i = 0; i < map->n; i++)
		out[i] = (struct mb_mmap){ 20, map->e[i].addr, map->e[i].size, map->e[i].type };
	mb_memory_sizes(map, &info->mem_lower, &info->mem_upper);
	info->flags |= INFO_MEMORY | INFO_MMAP;
	info->mmap_length = (u32)(map->n * sizeof(out[0]));
	info->mmap_addr = info_add(k, out, info->mmap_length);
}

static void info_fill(struct boot *b, struct mb_info *info, struct info_block *k, const struct boot_map *map,
		      struct mb_module *mods)
{
	size_t size = strlen(b->kernel.name) + strlen(b->append) + 2;
	char *line = malloc(size);

	k->len = sizeof(*info);
	info_memory(info, k, map);
	if (line) {
		snprintf(line, size, "%s%s%s", b->kernel.name, *b->append ? " " : "", b->append);
		info->cmdline = info_add_string(k, line);
		info->flags |= INFO_CMDLINE;
		free(line);
	}
	for (unsigned i = 0; i < b->nr_modules; i++)
		mods[i].cmdline = info_add_string(k, b->module[i].cmdline);
	info->mods_count = b->nr_modules;
	info->mods_addr = info_add(k, mods, b->nr_modules * sizeof(mods[0]));
	info->boot_loader_name = info_add_string(k, "doppel");
	info->flags |= INFO_MODS | INFO_LOADER_NAME;
	memcpy(k->p, info, sizeof(*info));
}

static int place_info(struct boot *b, struct mem *m, u32 at, struct mb_info *info, struct mb_module *mods,
		      const struct boot_map *map, struct err *e)
{
	struct info_block k = { .p = calloc(1, MB_INFO_MAX), .gpa = at };
	int ret;

	if (!k.p)
		return err_set(e, "out of memory");
	info_fill(b, info, &k, map, mods);
	if (k.full)
		ret = err_set(e, "the multiboot command lines are longer than %u bytes", MB_INFO_MAX);
	else
		ret = load_bytes(m, k.gpa, k.p, k.len, "the multiboot information", e);
	free(k.p);
	return ret;
}

/* Section headers behind the kernel: 3.3, bit 5. */
static void info_sections(struct mb_info *info, struct mem *m, const struct mb_sections *s, u64 *end)
{
	u64 at = ALIGN_UP(*end, 16), size = (u64)s->n * s->entsize;

	if (!s->table || at + size > 1ull << 32 || load_bytes(m, at, s->table, size, "symbols", NULL))
		return;
	info->flags |= INFO_ELF_SHDR;
	info->elf_num = s->n;
	info->elf_size = s->entsize;
	info->elf_addr = (u32)at;
	info->elf_shndx = s->shndx;
	*end = at + size;
}

static int multiboot_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp,
			  struct err *e)
{
	struct mb_module mods[BOOT_MODULES_MAX] = { 0 };
	struct mb_span span[BOOT_MODULES_MAX];
	struct mb_sections sections;
	struct mb_info info = { 0 };
	struct mb_image image;
	u64 end;
	u32 gpa;

	(void)rsdp; /* multiboot kernels search for it */
	if (mb_parse(b, &image, e) || mb_image_place(b, &image, m, e))
		return -1;
	end = mb_modules_from(&image, m);
	if (mb_place_modules(b, m, &end, span, e))
		return -1;
	for (unsigned i = 0; i < b->nr_modules; i++)
		mods[i] = (struct mb_module){ .start = span[i].start, .end = span[i].end };
	mb_place_sections(b, &image, m, &end, &sections);
	info_sections(&info, m, &sections, &end);
	free(sections.table);
	gpa = mb_info_gpa(&image, end);
	if (place_info(b, m, gpa, &info, mods, map, e))
		return -1;
	state_flat32(c, 0x10, 0x18, image.entry);
	c->r[RAX] = LOADER_MAGIC;
	c->r[RBX] = gpa;
	return 0;
}

int multiboot_probe(struct boot *b, struct err *e)
{
	const struct blob *k = &b->kernel;
	struct mb_image image;
	u32 flags;

	if (!find_header(k, &b->header))
		return 0;
	flags = blob_u32(k, b->header + 4);
	if (flags & 0xfff8)
		return err_set(e,
			       "the multiboot kernel '%.200s' demands features that doppel does not have (flags 0x%x)",
			       k->name, flags);
	if (!(flags & HEADER_ADDRESSES) && !elf_is(k))
		return err_set(e, "the multiboot kernel '%.200s' is neither ELF nor gives load addresses", k->name);
	if (mb_parse(b, &image, e))
		return -1;
	b->kind = !image.is_elf ? "multiboot image" : image.elf.is64 ? "multiboot ELF, 64-bit" : "multiboot ELF";
	b->load = multiboot_load;
	b->many_modules = true;
	return 1;
}
