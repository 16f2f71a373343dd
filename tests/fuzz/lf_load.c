/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on the loaders. The first byte chooses a sound kernel file of one kind, or none; the rest patches it
 * (offset, length, bytes), or is the whole file. It is then loaded as `doppel boot` would, into 16 MiB.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"
#include "cpu/cpu.h"
#include "cpu/cpuid.h"

#include <stdio.h>

#define RAM (16u << 20)

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct image {
	u8 b[8192];
	size_t n;
};

static void put(struct image *k, size_t off, u64 v, unsigned size)
{
	memcpy(k->b + off, &v, size);
}

static void make_bzimage(struct image *k)
{
	k->n = 8192;
	put(k, 0x1f1, 4, 1);
	put(k, 0x1f4, (8192 - 2560) / 16, 4);
	put(k, 0x1fe, 0xaa55, 2);
	put(k, 0x200, 0x66eb, 2);
	put(k, 0x202, 0x53726448, 4);
	put(k, 0x206, 0x20f, 2);
	put(k, 0x211, 1, 1);
	put(k, 0x214, 0x100000, 4);
	put(k, 0x22c, 0x7fffffff, 4);
	put(k, 0x230, 0x200000, 4);
	put(k, 0x234, 1, 1);
	put(k, 0x236, 1, 2);
	put(k, 0x238, 255, 4);
	put(k, 0x258, 0x200000, 8);
	put(k, 0x260, 0x10000, 4);
}

static void make_elf(struct image *k, bool wide, bool multiboot)
{
	size_t ph = wide ? 64 : 52;

	k->n = 8192;
	memcpy(k->b, "\177ELF\1\1\1", 7);
	k->b[4] = wide ? 2 : 1;
	put(k, 16, 2, 2);
	put(k, 18, wide ? 62 : 3, 2);
	put(k, 24, 0x100000, wide ? 8 : 4);
	put(k, wide ? 32 : 28, ph, wide ? 8 : 4);
	put(k, wide ? 54 : 42, wide ? 56 : 32, 2);
	put(k, wide ? 56 : 44, 2, 2);
	for (unsigned i = 0; i < 2; i++, ph += wide ? 56 : 32) {
		u64 v[] = { 0x1000 + i * 0x800, 0x100000, 0x100000, 0x400, i ? 0x400 : 0x2000 };

		put(k, ph, i ? 4 : 1, 4);
		for (unsigned f = 0; f < 5; f++)
			put(k, ph + (wide ? 8 + f * 8 : 4 + f * 4), v[f], wide ? 8 : 4);
	}
	put(k, 0x1800, 4, 4);
	put(k, 0x1804, 4, 4);
	put(k, 0x1808, 18, 4);
	memcpy(k->b + 0x180c, "Xen", 4);
	put(k, 0x1810, 0x100000, 4);
	if (multiboot) {
		put(k, 0x400, 0x1badb002, 4);
		put(k, 0x408, -0x1badb002u, 4);
	}
}

static void make_raw(struct image *k)
{
	k->n = 4096;
	put(k, 0, 0x1badb002, 4);
	put(k, 4, 0x10000, 4);
	put(k, 8, -(0x1badb002u + 0x10000), 4);
	for (unsigned i = 0; i < 5; i++)
		put(k, 12 + i * 4, i == 2 || i == 3 ? 0 : 0x100000, 4);
}

/* A tag with n words of contents behind `at`; where the next one begins. */
static size_t put_tag(struct image *k, size_t at, u32 type_flags, unsigned n, const u32 *words)
{
	put(k, at, type_flags, 4);
	put(k, at + 4, 8 + n * 4, 4);
	memcpy(k->b + at + 8, words, n * 4);
	return at + ALIGN_UP(8 + n * 4, 8);
}

/* Every header tag of multiboot 2; the kernel is ELF, or placed by the address tag. */
static void make_multiboot2(struct image *k, bool addresses)
{
	static const u32 kinds[] = { 1, 6, 14 }, place[] = { 0x100400, 0x100000, 0, 0x110000 }, one[] = { 0x100000 };
	static const u32 none[] = { 0, 0, 0 }, move[] = { 0x200000, 0xffffff, 4096, 2 };
	size_t at = 0x410;

	make_elf(k, false, false);
	at = put_tag(k, at, 1, 3, kinds);
	if (addresses)
		at = put_tag(k, at, 2, 4, place);
	at = put_tag(k, at, 3, 1, one);
	at = put_tag(k, at, 4, 1, none);
	at = put_tag(k, at, 5, 3, none);
	at = put_tag(k, at, 6, 0, none);
	at = put_tag(k, at, 8 | 0x10000, 1, one);
	at = put_tag(k, at, 10, 4, move);
	at = put_tag(k, at, 0, 0, none);
	put(k, 0x400, 0xe85250d6, 4);
	put(k, 0x408, at - 0x400, 4);
	put(k, 0x40c, -(0xe85250d6u + (u32)(at - 0x400)), 4);
}

static void make(struct image *k, unsigned kind)
{
	memset(k, 0, sizeof(*k));
	if (kind == 0)
		make_bzimage(k);
	else if (kind < 5)
		make_elf(k, kind & 1, kind & 2);
	else if (kind == 5)
		make_raw(k);
	else if (kind < 8)
		make_multiboot2(k, kind & 1);
}

/* Patches keep a multiboot header's sum right now and then, or nothing behind it would be reached. */
static void patch(struct image *k, const u8 *p, size_t n)
{
	while (n >= 3) {
		size_t off = (p[0] | p[1] << 8) % sizeof(k->b), len = p[2] & 15;

		p += 3;
		n -= 3;
		len = MIN(MIN(len, n), sizeof(k->b) - off);
		memcpy(k->b + off, p, len);
		p += len;
		n -= len;
	}
	if (n && p[0] < k->n && (p[0] & 1))
		k->n = (size_t)p[0] * 32;
}

static void mode_changed(struct cpu *c)
{
	(void)c;
}

static void load(const struct image *k, const u8 *data, size_t size)
{
	static const struct boot_map map = { .n = 1, .e = { { 0x100000, RAM - 0x100000, E820_RAM } } };
	static struct cpuid_model *model;
	static struct cpu *c;
	static struct mem *m;
	char path[64];
	struct boot_request r = { .kernel = path,
				  .initrd = size & 1 ? path : NULL,
				  .append = size & 2 ? "a b" : NULL,
				  .memory = RAM,
				  .linux_entry = size & 4   ? 16
						 : size & 8 ? 32
							    : 0 };
	struct err e = { "" };
	struct boot *b;
	int fd = memfd_create("kernel", 0);

	if (!m) {
		static const struct cpu_ops ops = { .mode_changed = mode_changed };

		m = mem_new(&e);
		model = cpuid_model_new("host", 1, &e);
		c = cpu_new(0, model, &ops);
		if (!m || mem_add_ram(m, 0, 0xa0000, &e) || mem_add_ram(m, 0x100000, RAM - 0x100000, &e))
			abort();
	}
	if (fd < 0 || write(fd, k ? k->b : data, k ? k->n : size) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	b = boot_open(&r, &e);
	if (b && boot_kind(b))
		boot_load(b, m, c, &map, 0xe0000, &e);
	boot_free(b);
	close(fd);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct image k;

	if (!size)
		return 0;
	if ((data[0] & 15) > 7) {
		load(NULL, data + 1, size - 1);
		return 0;
	}
	make(&k, data[0] & 7);
	patch(&k, data + 1, size - 1);
	load(&k, data, size);
	return 0;
}
