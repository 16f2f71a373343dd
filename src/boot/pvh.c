/* SPDX-License-Identifier: Apache-2.0
 * ELF kernels with a PVH entry point: the note XEN_ELFNOTE_PHYS32_ENTRY names a 32-bit entry, EBX points to
 * hvm_start_info. Source: Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h.
 */
#include "boot/elf.h"

#define NOTE_PHYS32_ENTRY 18
#define START_MAGIC 0x336ec578

/* Where things go: low memory, below the EBDA, clear of page 0. */
#define GPA_INFO 0x10000u
#define GPA_MAP 0x11000u
#define GPA_CMDLINE 0x20000u
#define CMDLINE_ROOM 0x10000u

struct start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	u32 memmap_entries, reserved;
};

struct start_module {
	u64 paddr, size, cmdline_paddr, reserved;
};

struct start_map {
	u64 addr, size;
	u32 type, reserved;
};

_Static_assert(sizeof(struct start_info) == 56, "as the interface says");
_Static_assert(sizeof(struct start_map) == 24, "as the interface says");

static bool note_entry(const struct blob *k, const struct elf_segment *s, u64 *entry)
{
	u64 off = s->off, end = s->off + s->filesz;

	while (off < end && end - off >= 12) {
		u64 name = blob_u32(k, off), size = blob_u32(k, off + 4), type = blob_u32(k, off + 8);
		u64 desc = off + 12 + ALIGN_UP(name, 4), next = desc + ALIGN_UP(size, 4);

		if (type == NOTE_PHYS32_ENTRY && name == 4 && blob_has(k, desc, size) && size >= 4 &&
		    !memcmp(k->data + off + 12, "Xen", 4)) {
			*entry = blob_u32(k, desc);
			return true;
		}
		off = next;
	}
	return false;
}

static bool pvh_entry(const struct blob *k, const struct elf *f, u64 *entry)
{
	for (unsigned i = 0; i < f->nr_notes; i++)
		if (note_entry(k, &f->note[i], entry))
			return true;
	return false;
}

static int pvh_map(struct mem *m, const struct boot_map *map, struct err *e)
{
	struct start_map out[BOOT_MAP_MAX] = { 0 };

	for (unsigned i = 0; i < map->n; i++)
		out[i] = (struct start_map){ map->e[i].addr, map->e[i].size, map->e[i].type, 0 };
	return load_bytes(m, GPA_MAP, out, map->n * sizeof(out[0]), "the memory map", e);
}

/* The initrd, as high as it goes below 4 GiB. */
static int pvh_module(struct boot *b, struct mem *m, u64 kernel_end, struct start_module *mod, struct err *e)
{
	const struct blob *rd = &b->module[0].file;
	u64 top = load_low_top(m), at = rd->size <= top ? ALIGN_DOWN(top - rd->size, PAGE_SIZE) : 0;

	if (at < kernel_end)
		return err_set(e,
			       "the initrd '%.200s' (%llu bytes) does not fit above the kernel: give the machine more "
			       "memory with --memory",
			       rd->name, (unsigned long long)rd->size);
	*mod = (struct start_module){ .paddr = at, .size = rd->size };
	return load_bytes(m, at, rd->data, rd->size, "the initrd", e);
}

static int pvh_info(struct boot *b, struct mem *m, u64 kernel_end, const struct boot_map *map, u64 rsdp, struct err *e)
{
	struct start_info info = { START_MAGIC, 1, 0, 0, 0, GPA_CMDLINE, rsdp, GPA_MAP, map->n, 0 };
	struct start_module mod = { 0 };

	if (strlen(b->append) >= CMDLINE_ROOM)
		return err_set(e, "--append is %zu characters long; doppel takes %u", strlen(b->append),
			       CMDLINE_ROOM - 1);
	if (b->nr_modules) {
		if (pvh_module(b, m, kernel_end, &mod, e))
			return -1;
		info.nr_modules = 1;
		info.modlist_paddr = GPA_INFO + sizeof(info);
	}
	if (load_bytes(m, GPA_INFO, &info, sizeof(info), "start_info", e) ||
	    load_bytes(m, GPA_INFO + sizeof(info), &mod, sizeof(mod), "start_info", e) || pvh_map(m, map, e))
		return -1;
	return load_bytes(m, GPA_CMDLINE, b->append, strlen(b->append) + 1, "the command line", e);
}

static int pvh_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp, struct err *e)
{
	u64 lo, hi, entry = 0;
	struct elf f;

	if (elf_parse(&b->kernel, &f, e))
		return -1;
	if (!pvh_entry(&b->kernel, &f, &entry))
		return err_set(e, "'%.200s' has lost its PVH entry", b->kernel.name);
	elf_extent(&f, &lo, &hi);
	if (elf_place(&b->kernel, &f, m, e) || pvh_info(b, m, hi, map, rsdp, e))
		return -1;
	state_flat32(c, 0x10, 0x18, entry);
	c->r[RBX] = GPA_INFO;
	return 0;
}

int pvh_probe(struct boot *b, struct err *e)
{
	struct elf f;
	u64 entry;

	if (!elf_is(&b->kernel))
		return 0;
	if (elf_parse(&b->kernel, &f, e))
		return -1;
	if (!pvh_entry(&b->kernel, &f, &entry))
		return err_set(
		    e,
		    "the ELF file '%.200s' has neither a multiboot header in its first 8 KiB nor a PVH entry note: "
		    "doppel does not know how to start it",
		    b->kernel.name);
	b->kind = "ELF kernel, PVH entry";
	b->load = pvh_load;
	return 1;
}
