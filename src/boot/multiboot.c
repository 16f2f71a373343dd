/* SPDX-License-Identifier: Apache-2.0
 * Multiboot 1 kernels: ELF, or any file whose header gives addresses. Source: Multiboot Specification 0.6.96, sections
 * 3.1 (header), 3.2 (machine state), 3.3 (information). Module and kernel command lines are "FILE ARGS", as GRUB and
 * QEMU give them. A 64-bit ELF file is placed by its physical addresses and entered in 32-bit mode, as GRUB does.
 *
 * The information goes to 0x9000, or behind the modules if the kernel itself lies there; modules go page-aligned behind
 * the kernel.
 */
#include <stdio.h>
#include <stdlib.h>

#include "boot/elf.h"

#define HEADER_MAGIC 0x1badb002
#define LOADER_MAGIC 0x2badb002
#define HEADER_SEARCH 8192
#define HEADER_VIDEO 4u
#define HEADER_ADDRESSES (1u << 16)
#define GPA_INFO 0x9000u
#define GPA_INFO_END 0x9f000u
#define INFO_MAX (GPA_INFO_END - GPA_INFO)

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

	if (len > INFO_MAX - at) {
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

/* ---- the address fields of the header ("a.out kludge") ---------------------------------------------------------- */

struct raw_image {
	u64 off, load, size, bss_end, entry;
};

static int raw_parse(const struct boot *b, struct raw_image *r, struct err *e)
{
	const struct blob *k = &b->kernel;
	u64 header_addr = blob_u32(k, b->header + 12), load_end = blob_u32(k, b->header + 20);

	r->load = blob_u32(k, b->header + 16);
	r->bss_end = blob_u32(k, b->header + 24);
	r->entry = blob_u32(k, b->header + 28);
	if (!blob_has(k, b->header, 32) || header_addr < r->load || header_addr - r->load > b->header)
		return err_set(e,
			       "the multiboot kernel '%.200s' is damaged: its header's addresses contradict each other",
			       k->name);
	r->off = b->header - (header_addr - r->load);
	r->size = load_end ? load_end - r->load : k->size - r->off;
	if (load_end && load_end < r->load)
		return err_set(e, "the multiboot kernel '%.200s' is damaged: load_end_addr lies below load_addr",
			       k->name);
	if (!blob_has(k, r->off, r->size))
		return err_set(
		    e,
		    "the multiboot kernel '%.200s' is truncated: its header asks for %llu bytes from %llu, it has %llu",
		    k->name, (unsigned long long)r->size, (unsigned long long)r->off, (unsigned long long)k->size);
	if (r->bss_end && r->bss_end < r->load + r->size)
		return err_set(e, "the multiboot kernel '%.200s' is damaged: bss_end_addr lies below its data",
			       k->name);
	return 0;
}

/* What was placed: its physical extent and entry, and for ELF the parsed file. */
struct placed {
	u64 lo, hi, entry;
	bool is_elf;
	struct elf elf;
};

static int place_kernel(struct boot *b, struct mem *m, struct placed *p, struct err *e)
{
	struct raw_image r;

	if (!p->is_elf) {
		if (raw_parse(b, &r, e))
			return -1;
		*p = (struct placed){ .lo = r.load, .hi = MAX(r.bss_end, r.load + r.size), .entry = r.entry };
		if (load_bytes(m, r.load, b->kernel.data + r.off, r.size, "the kernel", e))
			return -1;
		return load_zero(m, r.load + r.size, p->hi - r.load - r.size, "the kernel", e);
	}
	if (elf_parse(&b->kernel, &p->elf, e) || elf_place(&b->kernel, &p->elf, m, e))
		return -1;
	elf_extent(&p->elf, &p->lo, &p->hi);
	p->entry = elf_entry_phys(&p->elf);
	if (p->entry >> 32)
		return err_set(e, "the kernel '%.200s' has its entry above 4 GiB", b->kernel.name);
	return 0;
}

/* ---- modules, symbols, information ------------------------------------------------------------------------------ */

static int place_modules(struct boot *b, struct mem *m, u64 *end, struct mb_module *out, struct err *e)
{
	for (unsigned i = 0; i < b->nr_modules; i++) {
		const struct blob *f = &b->module[i].file;
		u64 at = ALIGN_UP(*end, PAGE_SIZE);

		if (at + f->size > 1ull << 32)
			return err_set(e, "the module '%.200s' does not fit below 4 GiB", f->name);
		if (load_bytes(m, at, f->data, f->size, "a multiboot module", e))
			return -1;
		out[i] = (struct mb_module){ .start = (u32)at, .end = (u32)(at + f->size) };
		*end = at + f->size;
	}
	return 0;
}

/* Section headers with the contents that no segment loads (symbols, strings) behind the kernel: Multiboot 3.3, bit 5.
 * They are extras: what does not fit is left out. ELF32 only, since the fields that are patched differ. */
static void place_sections(struct boot *b, struct mem *m, const struct elf *f, u64 *end, struct mb_info *info)
{
	enum { SH_TYPE = 4, SH_ADDR = 12, SH_OFFSET = 16, SH_SIZE = 20, NOBITS = 8, ALLOC = 2, SH_FLAGS = 8 };
	u64 table_size = (u64)f->shnum * f->shentsize, at = ALIGN_UP(*end, PAGE_SIZE);
	u8 *table;

	if (f->is64 || !f->shnum || !load_fits(m, at, table_size) || !(table = malloc(table_size)))
		return;
	memcpy(table, b->kernel.data + f->shoff, table_size);
	for (u32 i = 1; i < f->shnum; i++) {
		u64 sh = f->shoff + (u64)i * f->shentsize, size = blob_u32(&b->kernel, sh + SH_SIZE);
		u64 off = blob_u32(&b->kernel, sh + SH_OFFSET), to = ALIGN_UP(at + table_size, 16);
		u32 addr = (u32)to;

		if (blob_u32(&b->kernel, sh + SH_ADDR) || blob_u32(&b->kernel, sh + SH_TYPE) == NOBITS ||
		    (blob_u32(&b->kernel, sh + SH_FLAGS) & ALLOC) || !size || !blob_has(&b->kernel, off, size) ||
		    to + size > 1ull << 32 || load_bytes(m, to, b->kernel.data + off, size, "symbols", NULL))
			continue;
		memcpy(table + i * f->shentsize + SH_ADDR, &addr, 4);
		at = to + size - table_size;
	}
	at = ALIGN_UP(at + table_size, 16);
	if (at + table_size <= 1ull << 32 && !load_bytes(m, at, table, table_size, "symbols", NULL)) {
		info->flags |= INFO_ELF_SHDR;
		info->elf_num = f->shnum;
		info->elf_size = f->shentsize;
		info->elf_addr = (u32)at;
		info->elf_shndx = f->shstrndx;
		*end = at + table_size;
	}
	free(table);
}

/* mem_lower and mem_upper in KiB: from 0, and from 1 MiB to the first hole. */
static void info_memory(struct mb_info *info, struct info_block *k, const struct boot_map *map)
{
	struct mb_mmap out[BOOT_MAP_MAX];

	for (unsigned i = 0; i < map->n; i++) {
		out[i] = (struct mb_mmap){ 20, map->e[i].addr, map->e[i].size, map->e[i].type };
		if (map->e[i].type == E820_RAM && map->e[i].addr == 0)
			info->mem_lower = (u32)MIN(map->e[i].size >> 10, 640);
		if (map->e[i].type == E820_RAM && map->e[i].addr == 1u << 20)
			info->mem_upper = (u32)(map->e[i].size >> 10);
	}
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

static int place_info(struct boot *b, struct mem *m, const struct placed *p, u64 end, struct mb_info *info,
		      struct mb_module *mods, const struct boot_map *map, u32 *gpa, struct err *e)
{
	struct info_block k = { .p = calloc(1, INFO_MAX), .gpa = GPA_INFO };
	int ret;

	if (!k.p)
		return err_set(e, "out of memory");
	if (p->lo < GPA_INFO_END && p->hi > GPA_INFO)
		k.gpa = (u32)ALIGN_UP(end, PAGE_SIZE);
	info_fill(b, info, &k, map, mods);
	if (k.full)
		ret = err_set(e, "the multiboot command lines are longer than %u bytes", INFO_MAX);
	else
		ret = load_bytes(m, k.gpa, k.p, k.len, "the multiboot information", e);
	free(k.p);
	*gpa = k.gpa;
	return ret;
}

static int multiboot_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp,
			  struct err *e)
{
	struct placed p = { .is_elf = !(blob_u32(&b->kernel, b->header + 4) & HEADER_ADDRESSES) };
	struct mb_module mods[BOOT_MODULES_MAX] = { 0 };
	struct mb_info info = { 0 };
	u32 gpa = 0;
	u64 end;

	(void)rsdp; /* multiboot kernels search for it */
	if (place_kernel(b, m, &p, e))
		return -1;
	end = MAX(p.hi, 1u << 20);
	if (p.hi <= 1u << 20 && load_low_top(m) <= 1u << 20)
		end = p.hi;
	if (place_modules(b, m, &end, mods, e))
		return -1;
	if (p.is_elf)
		place_sections(b, m, &p.elf, &end, &info);
	if (place_info(b, m, &p, end, &info, mods, map, &gpa, e))
		return -1;
	state_flat32(c, 0x10, 0x18, p.entry);
	c->r[RAX] = LOADER_MAGIC;
	c->r[RBX] = gpa;
	return 0;
}

int multiboot_probe(struct boot *b, struct err *e)
{
	const struct blob *k = &b->kernel;
	struct raw_image r;
	struct elf f;
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
	if (flags & HEADER_ADDRESSES ? raw_parse(b, &r, e) : elf_parse(k, &f, e))
		return -1;
	b->kind = flags & HEADER_ADDRESSES ? "multiboot image" : f.is64 ? "multiboot ELF, 64-bit" : "multiboot ELF";
	b->load = multiboot_load;
	b->many_modules = true;
	return 1;
}
