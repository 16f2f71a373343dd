/* SPDX-License-Identifier: Apache-2.0
 * Linux kernels by the 16-bit boot protocol (2.00 and later): the kernel's own setup code runs in real mode, asks the
 * BIOS's services and goes on to the protected-mode part. Source: Documentation/arch/x86/boot.rst, "Loading the rest of
 * the kernel" to "Running the kernel".
 *
 * A segment of 64 KiB holds setup, heap and stack, and the command line behind them: at 0x10000, or at 0x90000 before
 * protocol 2.02, where the end must lie below the EBDA.
 */
#include <stdlib.h>

#include "boot/bzimage.h"

#define SEGMENT 0x10000u
#define OLD_SEGMENT 0x90000u
#define HEAP_END 0xe000u
#define OLD_HEAP_END 0x9800u
#define OLD_CMDLINE_MAX 255u
#define LOW_KERNEL 0x10000u /* a zImage */
#define LOW_KERNEL_MAX 0x80000u

struct layout16 {
	u32 base, heap_end, cmdline_max;
};

static struct layout16 layout_of(const struct blob *k, const struct bz *z)
{
	struct layout16 l = { SEGMENT, HEAP_END, 0x10000u - HEAP_END - 1 };

	if (z->version < 0x202 || !(k->data[HDR_LOADFLAGS] & LOADED_HIGH))
		l = (struct layout16){ OLD_SEGMENT, OLD_HEAP_END, OLD_CMDLINE_MAX };
	if (z->version < 0x206)
		l.cmdline_max = OLD_CMDLINE_MAX;
	else
		l.cmdline_max = MIN(l.cmdline_max, blob_u32(k, HDR_CMDLINE_SIZE));
	return l;
}

static int place_kernel(const struct blob *k, struct mem *m, struct bz *z, struct err *e)
{
	u64 size = k->size - z->setup_size;

	if (k->data[HDR_LOADFLAGS] & LOADED_HIGH) {
		if (bzimage_place(k, m, z, e))
			return -1;
	} else {
		if (size > LOW_KERNEL_MAX)
			return err_set(e, "the Linux zImage '%.200s' is larger than 512 KiB", k->name);
		z->load = LOW_KERNEL;
		z->init_size = 1u << 20; /* an initrd goes above 1 MiB */
	}
	return load_bytes(m, z->load, k->data + z->setup_size, size, "the kernel", e);
}

static void fill_header(struct boot *b, const struct bz *z, const struct layout16 *l, u8 *setup)
{
	size_t len = strlen(b->append) + 1;

	setup[HDR_TYPE_OF_LOADER] = 0xff;
	if (b->kernel.data[HDR_LOADFLAGS] & LOADED_HIGH)
		bz_put(setup, HDR_CODE32_START, z->load, 4);
	if (z->version >= 0x201) {
		bz_put(setup, HDR_HEAP_END_PTR, l->heap_end - 0x200, 2);
		setup[HDR_LOADFLAGS] |= CAN_USE_HEAP;
	}
	if (z->version >= 0x202) {
		bz_put(setup, HDR_CMD_LINE_PTR, l->base + l->heap_end, 4);
		return;
	}
	bz_put(setup, HDR_SETUP_MOVE_SIZE, l->heap_end + len, 2);
	bz_put(setup, HDR_CMDLINE_MAGIC, 0xa33f, 2);
	bz_put(setup, HDR_CMDLINE_OFFSET, l->heap_end, 2);
}

int bzimage_load16(struct boot *b, struct mem *m, struct cpu *c, struct bz *z, struct err *e)
{
	const struct blob *k = &b->kernel;
	struct layout16 l = layout_of(k, z);
	size_t len = strlen(b->append);
	u8 *setup;
	int ret;

	if (len > l.cmdline_max)
		return err_set(e, "--append is %zu characters long; this kernel takes %u", len, l.cmdline_max);
	if (z->setup_size > l.heap_end - 0x1000)
		return err_set(e, "the Linux kernel '%.200s' is damaged: its setup code has %llu bytes", k->name,
			       (unsigned long long)z->setup_size);
	setup = malloc(z->setup_size);
	if (!setup)
		return err_set(e, "out of memory");
	memcpy(setup, k->data, z->setup_size);
	ret = place_kernel(k, m, z, e);
	if (!ret) {
		fill_header(b, z, &l, setup);
		ret = bzimage_initrd(b, m, z, setup, e) ||
		      load_bytes(m, l.base, setup, z->setup_size, "the kernel", e) ||
		      load_bytes(m, l.base + l.heap_end, b->append, len + 1, "the command line", e);
	}
	free(setup);
	state_real(c, (u16)(l.base / 16 + 0x20), 0, (u16)(l.base / 16), (u16)l.heap_end);
	return ret ? -1 : 0;
}
