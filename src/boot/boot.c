/* SPDX-License-Identifier: Apache-2.0
 * Finds out what a kernel file is and hands it to its loader.
 */
#include "boot/boot.h"

#include <stdlib.h>

#include "boot/load.h"

/* The next element of a comma-separated list, unescaped (",," is a comma); NULL at the end. Advances *list. */
static char *next_element(const char **list)
{
	const char *p = *list;
	char *out, *o;

	if (!p || !*p)
		return NULL;
	out = o = malloc(strlen(p) + 1);
	if (!out)
		return NULL;
	for (; *p; p++) {
		if (*p == ',' && p[1] != ',')
			break;
		if (*p == ',')
			p++;
		*o++ = *p;
	}
	*o = 0;
	*list = *p ? p + 1 : p;
	return out;
}

#define FILE_MAX (4ull << 30)
/* A kernel with all its symbols may be larger than the memory that it is loaded into. */
#define KERNEL_MAX (1ull << 30)

#define FIRMWARE_MAX (16ull << 20)

static int add_module(struct boot *b, char *spec, u64 max, struct err *e)
{
	struct module *mod = &b->module[b->nr_modules];
	char *space = strchr(spec, ' ');
	int ret;

	if (space)
		*space = 0;
	ret = blob_read(&mod->file, spec, "initrd", max, e);
	if (space)
		*space = ' ';
	mod->cmdline = spec;
	b->nr_modules++;
	return ret;
}

static int read_modules(struct boot *b, const char *list, bool many, u64 max, struct err *e)
{
	char *spec;

	if (!*list)
		return err_set(e, "--initrd is empty: give a file, or leave the option away");
	if (!many) {
		spec = strdup(list);
		if (!spec)
			return err_set(e, "out of memory");
		b->module[0].cmdline = spec;
		b->nr_modules = 1;
		return blob_read(&b->module[0].file, list, "initrd", max, e);
	}
	while ((spec = next_element(&list))) {
		if (b->nr_modules == BOOT_MODULES_MAX) {
			free(spec);
			return err_set(e, "--initrd names more than %d modules", BOOT_MODULES_MAX);
		}
		if (add_module(b, spec, max, e))
			return -1;
	}
	return 0;
}

static int boot_identify(struct boot *b, struct err *e)
{
	static int (*const probe[])(struct boot *, struct err *) = { bzimage_probe, multiboot_probe, multiboot2_probe,
								     pvh_probe };

	for (unsigned i = 0; i < ARRAY_SIZE(probe); i++) {
		int ret = probe[i](b, e);

		if (ret)
			return ret < 0 ? -1 : 0;
	}
	return err_set(e,
		       "'%.200s' is not a kernel that doppel can load: no Linux bzImage, no multiboot header, no ELF "
		       "file with a PVH entry",
		       b->kernel.name);
}

struct boot *boot_open(const struct boot_request *r, struct err *e)
{
	u64 max = r->memory ? r->memory : FILE_MAX;
	struct boot *b = calloc(1, sizeof(*b));

	if (b)
		b->append = strdup(r->append ? r->append : "");
	if (!b || !b->append) {
		err_set(e, "out of memory");
		goto fail;
	}
	b->entry = r->linux_entry;
	if (r->firmware) {
		if (blob_read(&b->kernel, r->firmware, "firmware", FIRMWARE_MAX, e) || firmware_check(b, e))
			goto fail;
		return b;
	}
	if (blob_read(&b->kernel, r->kernel, "kernel", MAX(max, KERNEL_MAX), e) || boot_identify(b, e))
		goto fail;
	if (r->initrd && read_modules(b, r->initrd, b->many_modules, max, e))
		goto fail;
	return b;
fail:
	boot_free(b);
	return NULL;
}

void boot_free(struct boot *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->nr_modules; i++) {
		blob_free(&b->module[i].file);
		free(b->module[i].cmdline);
	}
	blob_free(&b->kernel);
	free(b->append);
	free(b);
}

const u8 *boot_rom(const struct boot *b, u64 *size)
{
	*size = b->kernel.size;
	return b->firmware ? b->kernel.data : NULL;
}

bool boot_bios(const struct boot *b)
{
	return b->real_mode;
}

const char *boot_kind(const struct boot *b)
{
	return b->kind;
}

int boot_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp, struct err *e)
{
	if (!b->firmware && services_place(m, map, e))
		return -1;
	return b->load(b, m, c, map, rsdp, e);
}
