/* SPDX-License-Identifier: Apache-2.0
 * Loaders against files that lie: headers are made byte by byte, then every field takes hostile values and every
 * truncation is tried. Each file must load or end in one sentence; nothing may be read past its end (run under the
 * sanitizers by `make check`). Also the states and structures that the protocols promise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot/boot.h"

#include <elf.h> /* after x86.h: both have a PF_W */

#define MIB (1u << 20)
#define RAM (4 * MIB)

static void no_mode_changed(struct cpu *c)
{
	(void)c;
}

static const struct cpu_ops ops = { .mode_changed = no_mode_changed };
static const struct boot_map map = { .n = 2, .e = { { 0, 0x9fc00, E820_RAM }, { MIB, RAM - MIB, E820_RAM } } };

struct world {
	char kernel[64], module[64];
	struct mem *mem;
	struct cpu *cpu;
	struct err e;
};

static void put_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	fclose(f);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	snprintf(w->kernel, sizeof(w->kernel), "/tmp/doppel-boot-%d", getpid());
	snprintf(w->module, sizeof(w->module), "/tmp/doppel-mod-%d", getpid());
	w->mem = mem_new(&w->e);
	assert_int_equal(mem_add_ram(w->mem, 0, 0xa0000, &w->e), 0);
	assert_int_equal(mem_add_ram(w->mem, MIB, RAM - MIB, &w->e), 0);
	w->cpu = cpu_new(0, NULL, &ops);
	put_file(w->module, "module contents", 15);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	unlink(w->kernel);
	unlink(w->module);
	cpu_free(w->cpu);
	mem_free(w->mem);
	free(w);
	return 0;
}

/* Opens and loads; 0, or -1 with the sentence in w->e, which is checked to be one. */
static int load(struct world *w, const void *p, size_t n, const char *initrd, const char *append)
{
	struct boot_request r = { .kernel = w->kernel, .initrd = initrd, .append = append };
	struct boot *b;
	int ret = -1;

	put_file(w->kernel, p, n);
	w->e.text[0] = 0;
	b = boot_open(&r, &w->e);
	if (b)
		ret = boot_load(b, w->mem, w->cpu, &map, 0xe0000, &w->e);
	boot_free(b);
	if (ret) {
		assert_true(strlen(w->e.text) > 20);
		assert_null(strchr(w->e.text, '\n'));
	}
	return ret;
}

/* ---- the files -------------------------------------------------------------------------------------------------- */

struct image {
	size_t n;
	u8 b[16384];
};

static void put(struct image *k, size_t off, u64 v, unsigned size)
{
	memcpy(k->b + off, &v, size);
}

static void make_bzimage(struct image *k)
{
	memset(k, 0, sizeof(*k));
	k->n = 8192;
	k->b[0x1f1] = 3;
	put(k, 0x1f4, (8192 - 2048) / 16, 4);
	put(k, 0x1fe, 0xaa55, 2);
	k->b[0x201] = 0x6a;
	memcpy(k->b + 0x202, "HdrS", 4);
	put(k, 0x206, 0x20f, 2);
	k->b[0x211] = 1;
	put(k, 0x214, MIB, 4);
	put(k, 0x22c, 0x7fffffff, 4);
	put(k, 0x230, 0x200000, 4);
	k->b[0x234] = 1;
	put(k, 0x236, 1, 2);
	put(k, 0x238, 2047, 4);
	put(k, 0x258, 0x200000, 8);
	put(k, 0x260, 0x100000, 4);
	memset(k->b + 2048, 0xcc, 8192 - 2048);
}

/* 32-bit ELF at 1 MiB with one segment of 256 bytes and as much again of zeroes; header magic in it when asked. */
static void make_elf32(struct image *k, bool multiboot)
{
	Elf32_Ehdr h = { .e_type = ET_EXEC, .e_machine = EM_386, .e_version = 1, .e_entry = 0xc0100040 };
	Elf32_Phdr p = { .p_type = PT_LOAD,
			 .p_offset = 0x100,
			 .p_vaddr = 0xc0100000,
			 .p_paddr = MIB,
			 .p_filesz = 256,
			 .p_memsz = 512 };

	memset(k, 0, sizeof(*k));
	k->n = 512;
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS32;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_phoff = sizeof(h);
	h.e_phentsize = sizeof(p);
	h.e_phnum = 1;
	memcpy(k->b, &h, sizeof(h));
	memcpy(k->b + sizeof(h), &p, sizeof(p));
	memset(k->b + 0x100, 0x90, 256);
	if (!multiboot)
		return;
	put(k, 0x100, 0x1badb002, 4);
	put(k, 0x104, 3, 4);
	put(k, 0x108, (u32) - (0x1badb002 + 3), 4);
}

static void make_pvh(struct image *k)
{
	Elf64_Ehdr h = { .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1, .e_entry = 0x100000 };
	Elf64_Phdr p[2] = { { .p_type = PT_LOAD, .p_offset = 0x200, .p_paddr = MIB, .p_filesz = 256, .p_memsz = 4096 },
			    { .p_type = PT_NOTE, .p_offset = 0x300, .p_filesz = 20, .p_memsz = 20 } };

	memset(k, 0, sizeof(*k));
	k->n = 0x400;
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_phoff = sizeof(h);
	h.e_phentsize = sizeof(p[0]);
	h.e_phnum = 2;
	memcpy(k->b, &h, sizeof(h));
	memcpy(k->b + sizeof(h), p, sizeof(p));
	put(k, 0x300, 4, 4);
	put(k, 0x304, 4, 4);
	put(k, 0x308, 18, 4);
	memcpy(k->b + 0x30c, "Xen", 4);
	put(k, 0x310, MIB + 0x80, 4);
}

static void make_aout(struct image *k)
{
	memset(k, 0, sizeof(*k));
	k->n = 4096;
	put(k, 64, 0x1badb002, 4);
	put(k, 68, 0x10000, 4);
	put(k, 72, (u32) - (0x1badb002 + 0x10000), 4);
	put(k, 76, MIB + 64, 4);   /* header_addr */
	put(k, 80, MIB, 4);	   /* load_addr */
	put(k, 84, MIB + 2048, 4); /* load_end_addr */
	put(k, 88, MIB + 8192, 4); /* bss_end_addr */
	put(k, 92, MIB + 128, 4);  /* entry_addr */
}

/* ---- what the protocols promise -----------------------------------------------------------------------------------
 */

static u32 mem32(struct world *w, u64 gpa)
{
	u32 v = 0;

	mem_read(w->mem, gpa, &v, 4);
	return v;
}

static void test_bzimage(void **state)
{
	struct world *w = *state;
	struct cpu *c = w->cpu;
	struct image k;
	char text[16];

	make_bzimage(&k);
	assert_int_equal(load(w, k.b, k.n, w->module, "console=ttyS0"), 0);
	assert_int_equal(c->r[R_RIP], 0x200200);
	assert_int_equal(c->seg[SEG_CS].sel, 0x10);
	assert_int_equal(c->seg[SEG_DS].sel, 0x18);
	assert_true(c->d.long64 && (c->cr0 & CR0_PG) && !(cpu_rflags(c) & FLAG_IF));
	assert_int_equal(mem32(w, 0x200000), 0xcccccccc);
	mem_read(w->mem, mem32(w, c->r[RSI] + 0x228), text, 14);
	assert_string_equal(text, "console=ttyS0");
	assert_int_equal(mem32(w, c->r[RSI] + 0x218), RAM - 4096);
	assert_int_equal(mem32(w, c->r[RSI] + 0x21c), 15);
	assert_int_equal(mem32(w, c->r[RSI] + 0x70), 0xe0000);
	assert_int_equal(mem32(w, c->r[RSI] + 0x1e8) & 0xff, 2);
	assert_int_equal(mem32(w, c->r[RSI] + 0x2d0 + 20), MIB);
	put(&k, 0x236, 0, 2); /* no 64-bit entry */
	assert_int_equal(load(w, k.b, k.n, NULL, NULL), 0);
	assert_int_equal(c->r[R_RIP], 0x200000);
	assert_true(c->d.code == CODE32 && !(c->cr0 & CR0_PG));
	put(&k, 0x206, 0x207, 2); /* iPXE's: the code at 1 MiB is no kernel's */
	assert_int_equal(load(w, k.b, k.n, NULL, NULL), 0);
	assert_int_equal(c->r[R_RIP], 0);
	assert_true(c->d.code == CODE16 && !(c->cr0 & CR0_PE));
}

static void test_multiboot(void **state)
{
	struct world *w = *state;
	struct cpu *c = w->cpu;
	char list[200], text[100];
	struct image k;
	u32 mods;

	make_elf32(&k, true);
	snprintf(list, sizeof(list), "%s a=1,%s", w->module, w->module);
	assert_int_equal(load(w, k.b, k.n, list, "x y"), 0);
	assert_int_equal(c->r[R_RIP], MIB + 0x40);
	assert_int_equal(c->r[RAX], 0x2badb002);
	assert_true(c->d.code == CODE32 && (c->cr0 & CR0_PE) && !(c->cr0 & CR0_PG));
	assert_int_equal(mem32(w, c->r[RBX]) & 0x24d, 0x24d);
	assert_int_equal(mem32(w, c->r[RBX] + 4), 639);
	assert_int_equal(mem32(w, c->r[RBX] + 8), (RAM - MIB) >> 10);
	assert_int_equal(mem32(w, c->r[RBX] + 20), 2);
	mods = mem32(w, c->r[RBX] + 24);
	assert_int_equal(mem32(w, mods) & 0xfff, 0);
	assert_int_equal(mem32(w, mods + 4) - mem32(w, mods), 15);
	mem_read(w->mem, mem32(w, mods + 8), text, sizeof(text));
	assert_non_null(strstr(text, " a=1"));
	mem_read(w->mem, mem32(w, c->r[RBX] + 16), text, sizeof(text));
	assert_non_null(strstr(text, " x y"));
	assert_int_equal(mem32(w, MIB + 256), 0);
	make_aout(&k);
	assert_int_equal(load(w, k.b, k.n, NULL, NULL), 0);
	assert_int_equal(c->r[R_RIP], MIB + 128);
}

static void test_pvh(void **state)
{
	struct world *w = *state;
	struct cpu *c = w->cpu;
	struct image k;

	make_pvh(&k);
	assert_int_equal(load(w, k.b, k.n, w->module, "x"), 0);
	assert_int_equal(c->r[R_RIP], MIB + 0x80);
	assert_int_equal(mem32(w, c->r[RBX]), 0x336ec578);
	assert_int_equal(mem32(w, c->r[RBX] + 12), 1);
	assert_int_equal(mem32(w, c->r[RBX] + 32), 0xe0000);
	assert_int_equal(mem32(w, c->r[RBX] + 48), 2);
}

/* ---- lies ------------------------------------------------------------------------------------------------------- */

static void attack(struct world *w, const struct image *good, size_t header)
{
	static const u64 evil[] = { 0,	    1,		0x7f,	    0x80,	0xff,	   0x7fff,
				    0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffff000 };
	struct image *k = malloc(sizeof(*k));

	for (size_t n = 0; n < good->n; n += n < header ? 1 : 97)
		load(w, good->b, n, NULL, "x");
	for (size_t off = 0; off + 4 <= header; off++) {
		for (unsigned i = 0; i < ARRAY_SIZE(evil); i++) {
			*k = *good;
			put(k, off, evil[i], off & 3 ? 1 : 4);
			load(w, k->b, k->n, w->module, "x");
		}
	}
	free(k);
}

static void test_lies(void **state)
{
	struct world *w = *state;
	struct image k;

	make_elf32(&k, true);
	attack(w, &k, 0x10c);
	make_elf32(&k, false);
	attack(w, &k, 84);
	make_aout(&k);
	attack(w, &k, 96);
	make_pvh(&k);
	attack(w, &k, 64 + 2 * 56);
}

static void test_lies_bzimage(void **state)
{
	struct world *w = *state;
	struct image k;
	char append[4000];

	make_bzimage(&k);
	k.n = 4096;
	put(&k, 0x1f4, (4096 - 2048) / 16, 4);
	attack(w, &k, 0x26c);
	memset(append, 'a', sizeof(append) - 1);
	append[sizeof(append) - 1] = 0;
	assert_int_equal(load(w, k.b, k.n, NULL, append), -1);
	assert_non_null(strstr(w->e.text, "--append"));
}

static void test_refusals(void **state)
{
	struct world *w = *state;
	struct boot_request r = { .kernel = "/nonexistent/kernel" };
	struct image k;

	assert_null(boot_open(&r, &w->e));
	assert_int_equal(load(w, "", 0, NULL, NULL), -1);
	make_elf32(&k, false);
	assert_int_equal(load(w, k.b, k.n, NULL, NULL), -1);
	make_elf32(&k, true);
	put(&k, 0x34 + 12, RAM, 4); /* p_paddr: no memory there */
	assert_int_equal(load(w, k.b, k.n, NULL, NULL), -1);
	assert_non_null(strstr(w->e.text, "--memory"));
	make_elf32(&k, true);
	assert_int_equal(load(w, k.b, k.n, "/nonexistent/initrd", NULL), -1);
	assert_int_equal(load(w, k.b, k.n, "", NULL), -1);
	make_bzimage(&k);
	assert_int_equal(load(w, k.b, k.n, "", NULL), -1);
	k.n = 6000; /* syssize says more */
	assert_int_equal(load(w, k.b, k.n, NULL, NULL), -1);
	assert_non_null(strstr(w->e.text, "truncated"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bzimage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_multiboot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pvh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies_bzimage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
