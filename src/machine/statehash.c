/* SPDX-License-Identifier: Apache-2.0
 * One number for everything a guest's instructions can see of CPUs and memory. Fields that may differ between engines
 * that agree do not count; neither does how much of memory the host has allocated: pages of zeros are left out.
 */
#include <errno.h>
#include <unistd.h>

#include "base/hash.h"
#include "cpu/fields.h"
#include "machine/det.h"

static void add_cpu(const struct cpu *c, struct hash *h)
{
	size_t n;
	const struct cpu_field *f = cpu_fields(&n);

	for (size_t i = 0; i < n; i++)
		if (!(f[i].flags & FIELD_NO_DIFF))
			hash_add(h, (const u8 *)c + f[i].offset, (size_t)f[i].size * f[i].count);
}

static bool all_zero(const u8 *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE_SIZE - 1);
}

/* Reading the others would allocate them. */
u64 vm_next_data(struct vm *vm, u64 gpa, u64 end)
{
	struct mem *m = vm->mem;
	u64 at, there;
	int fd = mem_where(m, gpa, &at);
	off_t data = fd < 0 ? -1 : lseek(fd, (off_t)at, SEEK_DATA);

	if (data < 0)
		return fd >= 0 && errno == ENXIO ? end : gpa;
	if ((u64)data - at >= end - gpa)
		return end;
	gpa += ALIGN_DOWN((u64)data - at, PAGE_SIZE);
	return mem_where(m, gpa, &there) == fd && there == ALIGN_DOWN((u64)data, PAGE_SIZE) ? gpa : end;
}

static void add_range(struct vm *vm, u64 gpa, u64 size, struct hash *h)
{
	for (u64 end = gpa + size; (gpa = vm_next_data(vm, gpa, end)) < end; gpa += PAGE_SIZE) {
		const u8 *page = mem_page(vm->mem, gpa, false);

		if (!page || all_zero(page))
			continue;
		hash_add_u64(h, gpa);
		hash_add(h, page, PAGE_SIZE);
	}
}

void vm_state_hash(struct vm *vm, struct hash *h)
{
	u64 gpa, size;

	hash_init(h);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		add_cpu(vm->vcpu[i]->cpu, h);
	for (unsigned i = 0; mem_ram_range(vm->mem, i, &gpa, &size); i++)
		add_range(vm, gpa, size, h);
}
