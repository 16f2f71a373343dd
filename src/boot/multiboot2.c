/* SPDX-License-Identifier: Apache-2.0
 * Multiboot 2 kernels (Multiboot2 Specification 2.0, 3.1 header, 3.3 machine state, 3.6 information). A kernel with
 * headers of both versions is loaded by the first. The command line is what --append says; a module's is the text
 * behind its file name, as GRUB 2 gives both.
 *
 * Header tags that ask for what a machine without display and EFI does not have: a framebuffer is a wish and gets no
 * answer (GRUB boots such kernels "in blind mode"); EFI entries and boot services are for EFI machines; a console that
 * is required, or an unknown tag that is not marked optional, ends in a sentence.
 */
#include <stdlib.h>

#include "boot/mbimage.h"

#define HEADER_MAGIC 0xe85250d6
#define LOADER_MAGIC 0x36d76289
#define HEADER_SEARCH 32768
#define HEADER_SIZE 16
#define OPTIONAL 1
#define CONSOLE_REQUIRED 1

enum {
	TAG_END = 0,
	TAG_REQUEST = 1,
	TAG_ADDRESS = 2,
	TAG_ENTRY = 3,
	TAG_CONSOLE = 4,
	TAG_FRAMEBUFFER = 5,
	TAG_ALIGN_MODULES = 6,
	TAG_EFI_SERVICES = 7,
	TAG_EFI_ENTRY32 = 8,
	TAG_EFI_ENTRY64 = 9,
	TAG_RELOCATABLE = 10,
};

enum {
	INFO_END = 0,
	INFO_CMDLINE = 1,
	INFO_LOADER_NAME = 2,
	INFO_MODULE = 3,
	INFO_MEMORY = 4,
	INFO_MMAP = 6,
	INFO_SECTIONS = 9,
	INFO_SMBIOS = 13,
	INFO_RSDP_OLD = 14,
	INFO_RSDP_NEW = 15,
	INFO_LOAD_BASE = 21,
	INFO_LAST = 21, /* the last type that the specification knows */
};

#define SMBIOS_AREA 0xf0000u
#define RSDP_V1_SIZE 20u
#define RSDP_SIZE_MAX 64u

/* What the header's tags say. */
struct mb2_header {
	bool has_addresses, has_entry, relocatable;
	struct mb_addresses addresses;
	u32 entry;
	u32 min_addr, max_addr, align, preference;
};

static int malformed(const struct blob *k, const char *how, struct err *e)
{
	return err_set(e, "the multiboot2 header of '%.200s' is damaged: %s", k->name, how);
}

static bool find_header(const struct blob *k, u64 *at)
{
	for (u64 off = 0; off + HEADER_SIZE <= MIN(k->size, (u64)HEADER_SEARCH); off += 8) {
		u32 arch = blob_u32(k, off + 4), len = blob_u32(k, off + 8), sum = blob_u32(k, off + 12);

		if (blob_u32(k, off) != HEADER_MAGIC || HEADER_MAGIC + arch + len + sum)
			continue;
		*at = off;
		return true;
	}
	return false;
}

/* Known kinds of information may be asked for even where the machine has none of it. */
static int check_request(const struct blob *k, u64 at, u32 size, bool optional, struct err *e)
{
	for (u32 off = 8; off + 4 <= size && !optional; off += 4)
		if (blob_u32(k, at + off) > INFO_LAST)
			return err_set(e,
				       "the multiboot2 kernel '%.200s' requires information of type %u, which doppel "
				       "does not know",
				       k->name, blob_u32(k, at + off));
	return 0;
}

static u32 tag_size(unsigned type)
{
	static const u8 size[] = {
		[TAG_REQUEST] = 8,	[TAG_ADDRESS] = 24,	 [TAG_ENTRY] = 12,	 [TAG_CONSOLE] = 12,
		[TAG_FRAMEBUFFER] = 20, [TAG_ALIGN_MODULES] = 8, [TAG_EFI_SERVICES] = 8, [TAG_EFI_ENTRY32] = 12,
		[TAG_EFI_ENTRY64] = 12, [TAG_RELOCATABLE] = 24
	};

	return type < ARRAY_SIZE(size) ? size[type] : 8;
}

static void read_relocatable(const struct blob *k, u64 at, struct mb2_header *h)
{
	h->relocatable = true;
	h->min_addr = blob_u32(k, at + 8);
	h->max_addr = blob_u32(k, at + 12);
	h->align = blob_u32(k, at + 16);
	h->preference = blob_u32(k, at + 20);
}

static int read_tag(const struct blob *k, u64 at, unsigned type, u32 size, bool optional, struct mb2_header *h,
		    struct err *e)
{
	switch (type) {
	case TAG_REQUEST:
		return check_request(k, at, size, optional, e);
	case TAG_ADDRESS:
		h->has_addresses = true;
		h->addresses = (struct mb_addresses){ blob_u32(k, at + 8), blob_u32(k, at + 12), blob_u32(k, at + 16),
						      blob_u32(k, at + 20) };
		return 0;
	case TAG_ENTRY:
		h->has_entry = true;
		h->entry = blob_u32(k, at + 8);
		return 0;
	case TAG_CONSOLE:
		if (optional || !(blob_u32(k, at + 8) & CONSOLE_REQUIRED))
			return 0;
		return err_set(e, "the multiboot2 kernel '%.200s' requires a display: the machine has none", k->name);
	case TAG_RELOCATABLE:
		read_relocatable(k, at, h);
		if (!h->align || (h->align & (h->align - 1)))
			return malformed(
			    k, "it wants to be relocated to a multiple of something that is no power of two", e);
		return 0;
	case TAG_FRAMEBUFFER:
	case TAG_ALIGN_MODULES:
	case TAG_EFI_SERVICES:
	case TAG_EFI_ENTRY32:
	case TAG_EFI_ENTRY64:
		return 0;
	}
	if (optional)
		return 0;
	return err_set(e, "the multiboot2 kernel '%.200s' demands a feature that doppel does not have (header tag %u)",
		       k->name, type);
}

static int read_header(const struct boot *b, struct mb2_header *h, struct err *e)
{
	const struct blob *k = &b->kernel;
	u64 at = b->header + HEADER_SIZE, end = b->header + blob_u32(k, b->header + 8);

	*h = (struct mb2_header){ 0 };
	if (blob_u32(k, b->header + 4))
		return err_set(e, "the multiboot2 kernel '%.200s' is for another architecture (%u)", k->name,
			       blob_u32(k, b->header + 4));
	if (end < at || !blob_has(k, b->header, end - b->header))
		return malformed(k, "its length is beyond the file's end", e);
	while (end - at >= 8) {
		unsigned type = blob_u16(k, at);
		bool optional = blob_u16(k, at + 2) & OPTIONAL;
		u32 size = blob_u32(k, at + 4);

		if (type == TAG_END)
			return 0;
		if (size < tag_size(type) || size > end - at)
			return malformed(k, "a tag's length is wrong", e);
		if (read_tag(k, at, type, size, optional, h, e))
			return -1;
		at += MIN(ALIGN_UP((u64)size, 8), end - at);
	}
	return malformed(k, "its tags have no end", e);
}

/* ---- where the kernel goes -------------------------------------------------------------------------------------- */

static int mb2_parse(const struct boot *b, struct mb2_header *h, struct mb_image *i, struct err *e)
{
	if (read_header(b, h, e))
		return -1;
	if (!h->has_addresses && !elf_is(&b->kernel))
		return err_set(e, "the multiboot2 kernel '%.200s' is neither ELF nor gives load addresses",
			       b->kernel.name);
	if (h->has_addresses && !h->has_entry)
		return malformed(&b->kernel, "it gives load addresses, but no entry", e);
	if (h->has_addresses ? mb_image_raw(b, b->header, &h->addresses, i, e) : mb_image_elf(b, i, e))
		return -1;
	if (h->has_entry)
		i->entry = h->entry;
	return 0;
}

static bool allowed(const struct mb2_header *h, const struct mb_image *i, struct mem *m, u64 lo)
{
	u64 size = i->hi - i->lo;

	return lo >= h->min_addr && lo + size <= (u64)h->max_addr + 1 && !(lo & (h->align - 1)) &&
	       load_fits(m, lo, size);
}

/* "None" as a preference keeps the kernel where it was linked, if that is allowed. */
static int relocate(const struct boot *b, const struct mb2_header *h, struct mb_image *i, struct mem *m, struct err *e)
{
	enum { NONE, LOWEST, HIGHEST };
	u64 size = i->hi - i->lo, top = MIN(load_low_top(m), (u64)h->max_addr + 1);
	u64 lowest = ALIGN_UP(MAX((u64)h->min_addr, 1u << 20), h->align);
	u64 highest = size <= top ? ALIGN_DOWN(top - size, h->align) : 0;
	u64 to = h->preference == HIGHEST ? highest : lowest;

	if (!h->relocatable || (h->preference != LOWEST && h->preference != HIGHEST && allowed(h, i, m, i->lo)))
		return 0;
	if (!allowed(h, i, m, to))
		return err_set(e, "the multiboot2 kernel '%.200s' finds no place between 0x%x and 0x%x (see --memory)",
			       b->kernel.name, h->min_addr, h->max_addr);
	mb_image_move(i, to);
	return 0;
}

/* ---- information: tags, each at a multiple of 8 -------------------------------------------------------------------
 */

struct info {
	u8 *p;
	u32 len;
	bool full;
};

/* Room for a tag with size bytes behind its type and length; NULL when there is none. */
static u8 *add_tag(struct info *k, u32 type, u64 size)
{
	u32 at = (u32)ALIGN_UP(k->len, 8), all = (u32)size + 8;

	if (size > MB_INFO_MAX || at + all > MB_INFO_MAX) {
		k->full = true;
		return NULL;
	}
	memcpy(k->p + at, &type, 4);
	memcpy(k->p + at + 4, &all, 4);
	k->len = at + all;
	return k->p + at + 8;
}

static void add_words(struct info *k, u32 type, const u32 *words, unsigned n, const char *text)
{
	size_t len = text ? strlen(text) + 1 : 0;
	u8 *p = add_tag(k, type, n * 4 + len);

	if (!p)
		return;
	if (n)
		memcpy(p, words, n * 4);
	if (text)
		memcpy(p + n * 4, text, len);
}

static void add_memory(struct info *k, const struct boot_map *map)
{
	struct {
		u64 addr, len;
		u32 type, reserved;
	} entry;
	u32 sizes[2], form[2] = { sizeof(entry), 0 };
	u8 *p;

	mb_memory_sizes(map, &sizes[0], &sizes[1]);
	add_words(k, INFO_MEMORY, sizes, 2, NULL);
	p = add_tag(k, INFO_MMAP, sizeof(form) + map->n * sizeof(entry));
	if (!p)
		return;
	memcpy(p, form, sizeof(form));
	for (unsigned i = 0; i < map->n; i++) {
		entry.addr = map->e[i].addr;
		entry.len = map->e[i].size;
		entry.type = map->e[i].type;
		entry.reserved = 0;
		memcpy(p + sizeof(form) + i * sizeof(entry), &entry, sizeof(entry));
	}
}

static void add_sections(struct info *k, const struct mb_sections *s)
{
	u32 words[3] = { s->n, s->entsize, s->shndx };
	u64 size = (u64)s->n * s->entsize;
	u8 *p;

	/* An extra, which must not be why a kernel does not start. */
	if (!s->table || size > MB_INFO_MAX / 2)
		return;
	p = add_tag(k, INFO_SECTIONS, sizeof(words) + size);
	if (!p)
		return;
	memcpy(p, words, sizeof(words));
	memcpy(p + sizeof(words), s->table, size);
}

/* Copies of the root pointer: its first 20 bytes are that of ACPI 1.0. */
static void add_rsdp(struct info *k, struct mem *m, u64 gpa)
{
	u8 rsdp[RSDP_SIZE_MAX], *p;
	u32 len;

	if (!gpa || mem_read(m, gpa, rsdp, sizeof(rsdp)))
		return;
	memcpy(&len, rsdp + RSDP_V1_SIZE, 4);
	p = add_tag(k, INFO_RSDP_OLD, RSDP_V1_SIZE);
	if (p)
		memcpy(p, rsdp, RSDP_V1_SIZE);
	if (rsdp[15] < 2 || len > sizeof(rsdp))
		return;
	p = add_tag(k, INFO_RSDP_NEW, len);
	if (p)
		memcpy(p, rsdp, len);
}

static void add_smbios(struct info *k, struct mem *m)
{
	u8 entry[32], *p;

	for (u64 gpa = SMBIOS_AREA; gpa < 1u << 20; gpa += 16) {
		if (mem_read(m, gpa, entry, sizeof(entry)) || memcmp(entry, "_SM_", 4) || entry[5] > sizeof(entry))
			continue;
		p = add_tag(k, INFO_SMBIOS, 8u + entry[5]);
		if (!p)
			return;
		p[0] = entry[6];
		p[1] = entry[7];
		memcpy(p + 8, entry, entry[5]);
		return;
	}
}

static void add_modules(const struct boot *b, struct info *k, const struct mb_span *span)
{
	for (unsigned i = 0; i < b->nr_modules; i++) {
		const char *space = strchr(b->module[i].cmdline, ' ');
		u32 words[2] = { span[i].start, span[i].end };

		add_words(k, INFO_MODULE, words, 2, space ? space + 1 : "");
	}
}

static int place_info(const struct boot *b, struct mem *m, u32 at, const struct info *k, struct err *e)
{
	if (k->full)
		return err_set(e, "the multiboot2 command lines of '%.200s' are longer than %u bytes", b->kernel.name,
			       MB_INFO_MAX);
	memcpy(k->p, &k->len, 4);
	return load_bytes(m, at, k->p, k->len, "the multiboot2 information", e);
}

static int give_info(const struct boot *b, struct mem *m, u32 at, const struct mb_image *image, bool relocatable,
		     const struct mb_span *span, const struct mb_sections *s, const struct boot_map *map, u64 rsdp,
		     struct err *e)
{
	struct info k = { .p = calloc(1, MB_INFO_MAX), .len = 8 };
	u32 base = (u32)image->lo;
	int ret;

	if (!k.p)
		return err_set(e, "out of memory");
	add_words(&k, INFO_CMDLINE, NULL, 0, b->append);
	add_words(&k, INFO_LOADER_NAME, NULL, 0, "doppel");
	add_modules(b, &k, span);
	add_memory(&k, map);
	add_sections(&k, s);
	add_smbios(&k, m);
	add_rsdp(&k, m, rsdp);
	if (relocatable)
		add_words(&k, INFO_LOAD_BASE, &base, 1, NULL);
	add_tag(&k, INFO_END, 0);
	ret = place_info(b, m, at, &k, e);
	free(k.p);
	return ret;
}

static int multiboot2_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp,
			   struct err *e)
{
	struct mb_span span[BOOT_MODULES_MAX];
	struct mb_sections sections;
	struct mb_image image;
	struct mb2_header h;
	u64 end;
	u32 gpa;

	if (mb2_parse(b, &h, &image, e) || relocate(b, &h, &image, m, e) || mb_image_place(b, &image, m, e))
		return -1;
	end = mb_modules_from(&image, m);
	if (mb_place_modules(b, m, &end, span, e))
		return -1;
	mb_place_sections(b, &image, m, &end, &sections);
	gpa = mb_info_gpa(&image, end);
	if (give_info(b, m, gpa, &image, h.relocatable, span, &sections, map, rsdp, e)) {
		free(sections.table);
		return -1;
	}
	free(sections.table);
	state_flat32(c, 0x10, 0x18, image.entry);
	c->r[RAX] = LOADER_MAGIC;
	c->r[RBX] = gpa;
	return 0;
}

int multiboot2_probe(struct boot *b, struct err *e)
{
	struct mb_image image;
	struct mb2_header h;

	if (!find_header(&b->kernel, &b->header))
		return 0;
	if (mb2_parse(b, &h, &image, e))
		return -1;
	b->kind = !image.is_elf ? "multiboot2 image" : image.elf.is64 ? "multiboot2 ELF, 64-bit" : "multiboot2 ELF";
	b->load = multiboot2_load;
	b->many_modules = true;
	return 1;
}
