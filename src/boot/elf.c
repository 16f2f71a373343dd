/* SPDX-License-Identifier: Apache-2.0
 * Every offset and count in the file is a claim by somebody hostile: nothing is used before it was checked against the
 * file's size, and sums are made in a form that cannot wrap. Source: System V ABI, chapter 4 and 5.
 */
#include "boot/elf.h"

#include <elf.h>

bool elf_is(const struct blob *k)
{
	return blob_has(k, 0, SELFMAG) && !memcmp(k->data, ELFMAG, SELFMAG);
}

/* Field f of the header type for this class, at file offset off. */
#define FIELD(k, is64, off, type, f)                                                                       \
	((is64) ? (sizeof(((Elf64_##type *)0)->f) == 8	 ? blob_u64(k, (off) + offsetof(Elf64_##type, f))  \
		   : sizeof(((Elf64_##type *)0)->f) == 4 ? blob_u32(k, (off) + offsetof(Elf64_##type, f))  \
							 : blob_u16(k, (off) + offsetof(Elf64_##type, f))) \
		: (sizeof(((Elf32_##type *)0)->f) == 4 ? blob_u32(k, (off) + offsetof(Elf32_##type, f))    \
						       : blob_u16(k, (off) + offsetof(Elf32_##type, f))))

static int elf_check_ident(const struct blob *k, struct err *e)
{
	unsigned machine = blob_u16(k, 18), type = blob_u16(k, 16);

	if (!blob_has(k, 0, sizeof(Elf32_Ehdr)) ||
	    (k->data[EI_CLASS] == ELFCLASS64 && !blob_has(k, 0, sizeof(Elf64_Ehdr))))
		return err_set(e, "the ELF file '%.200s' is truncated: its header does not fit", k->name);
	if (k->data[EI_CLASS] != ELFCLASS32 && k->data[EI_CLASS] != ELFCLASS64)
		return err_set(e, "the ELF file '%.200s' is of unknown class %u", k->name, k->data[EI_CLASS]);
	if (k->data[EI_DATA] != ELFDATA2LSB || (machine != EM_386 && machine != EM_X86_64))
		return err_set(e, "the ELF file '%.200s' is not for x86 (machine %u)", k->name, machine);
	if (type != ET_EXEC && type != ET_DYN)
		return err_set(e, "the ELF file '%.200s' is not an executable (type %u)", k->name, type);
	return 0;
}

static int elf_add_segment(const struct blob *k, struct elf *f, u64 ph, unsigned i, struct err *e)
{
	u64 type = FIELD(k, f->is64, ph, Phdr, p_type);
	struct elf_segment s = {
		.off = FIELD(k, f->is64, ph, Phdr, p_offset),
		.vaddr = FIELD(k, f->is64, ph, Phdr, p_vaddr),
		.paddr = FIELD(k, f->is64, ph, Phdr, p_paddr),
		.filesz = FIELD(k, f->is64, ph, Phdr, p_filesz),
		.memsz = FIELD(k, f->is64, ph, Phdr, p_memsz),
	};

	if (type == PT_NOTE && blob_has(k, s.off, s.filesz))
		f->note[f->nr_notes++] = s;
	if (type != PT_LOAD || !s.memsz)
		return 0;
	if (!blob_has(k, s.off, s.filesz))
		return err_set(e, "the ELF file '%.200s' is truncated: segment %u ends at byte %llu of %llu", k->name,
			       i, (unsigned long long)(s.off + s.filesz), (unsigned long long)k->size);
	if (s.filesz > s.memsz)
		return err_set(e, "the ELF file '%.200s' is damaged: segment %u is larger in the file than in memory",
			       k->name, i);
	if (s.paddr + s.memsz < s.paddr)
		return err_set(e, "the ELF file '%.200s' is damaged: segment %u wraps around the address space",
			       k->name, i);
	f->load[f->n++] = s;
	return 0;
}

static int elf_parse_segments(const struct blob *k, struct elf *f, struct err *e)
{
	u64 phoff = FIELD(k, f->is64, 0, Ehdr, e_phoff);
	u64 n = FIELD(k, f->is64, 0, Ehdr, e_phnum), size = FIELD(k, f->is64, 0, Ehdr, e_phentsize);

	if (size < (f->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || !blob_has(k, phoff, n * size))
		return err_set(e, "the ELF file '%.200s' is truncated or damaged: its program headers do not fit",
			       k->name);
	if (n > ELF_SEGMENTS_MAX)
		return err_set(e, "the ELF file '%.200s' has %llu program headers; doppel takes %d", k->name,
			       (unsigned long long)n, ELF_SEGMENTS_MAX);
	for (unsigned i = 0; i < n; i++)
		if (elf_add_segment(k, f, phoff + i * size, i, e))
			return -1;
	if (!f->n)
		return err_set(e, "the ELF file '%.200s' has nothing to load", k->name);
	return 0;
}

/* Sections serve debuggers only: a table that does not fit counts as none. */
static void elf_parse_sections(const struct blob *k, struct elf *f)
{
	f->shoff = FIELD(k, f->is64, 0, Ehdr, e_shoff);
	f->shnum = (u32)FIELD(k, f->is64, 0, Ehdr, e_shnum);
	f->shentsize = (u32)FIELD(k, f->is64, 0, Ehdr, e_shentsize);
	f->shstrndx = (u32)FIELD(k, f->is64, 0, Ehdr, e_shstrndx);
	if (!f->shoff || !f->shnum || f->shentsize != (f->is64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr)) ||
	    !blob_has(k, f->shoff, (u64)f->shnum * f->shentsize))
		f->shoff = f->shnum = 0;
}

int elf_parse(const struct blob *k, struct elf *f, struct err *e)
{
	*f = (struct elf){ 0 };
	if (elf_check_ident(k, e))
		return -1;
	f->is64 = k->data[EI_CLASS] == ELFCLASS64;
	f->entry = FIELD(k, f->is64, 0, Ehdr, e_entry);
	if (elf_parse_segments(k, f, e))
		return -1;
	elf_parse_sections(k, f);
	return 0;
}

int elf_place(const struct blob *k, const struct elf *f, struct mem *m, struct err *e)
{
	for (unsigned i = 0; i < f->n; i++) {
		const struct elf_segment *s = &f->load[i];

		if (load_bytes(m, s->paddr, k->data + s->off, s->filesz, "the kernel", e) ||
		    load_zero(m, s->paddr + s->filesz, s->memsz - s->filesz, "the kernel", e))
			return -1;
	}
	return 0;
}

void elf_extent(const struct elf *f, u64 *lo, u64 *hi)
{
	*lo = ~0ull;
	*hi = 0;
	for (unsigned i = 0; i < f->n; i++) {
		*lo = MIN(*lo, f->load[i].paddr);
		*hi = MAX(*hi, f->load[i].paddr + f->load[i].memsz);
	}
}

u64 elf_entry_phys(const struct elf *f)
{
	for (unsigned i = 0; i < f->n; i++)
		if (f->entry - f->load[i].vaddr < f->load[i].memsz)
			return f->entry - f->load[i].vaddr + f->load[i].paddr;
	return f->entry;
}
