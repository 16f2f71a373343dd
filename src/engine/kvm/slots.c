/* SPDX-License-Identifier: Apache-2.0
 * Guest memory as KVM sees it: one slot for each RAM or ROM range of the frame table. When the table changes while the
 * machine runs (shadow RAM), the slots that differ go and come again; an access in between exits as one to device
 * memory, and the bus answers it from the range itself.
 *
 * While A20 is off no slot can say so: every vCPU leaves KVM, and the interpreter runs (aside.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "engine/kvm/kvm.h"

static int set_slot(struct kvm_machine *m, unsigned i, const struct kvm_slot *s)
{
	struct kvm_userspace_memory_region r = { .slot = i,
						 .flags = s->flags | (m->logging ? KVM_MEM_LOG_DIRTY_PAGES : 0),
						 .guest_phys_addr = s->gpa,
						 .memory_size = s->size,
						 .userspace_addr = (uintptr_t)s->hva };

	return ioctl(m->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static bool same(const struct kvm_slot *a, const struct kvm_slot *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->hva == b->hva && a->flags == b->flags;
}

/* The ranges as they are now; how many. */
static unsigned wanted_slots(const struct kvm_machine *m, struct kvm_slot *want)
{
	struct region r;
	unsigned n = 0;

	for (u64 gpa = 0; n < MEM_MAX_REGIONS && mem_region_next(m->mem, gpa, &r); gpa = r.gpa + r.size)
		if (r.kind != REGION_MMIO)
			want[n++] = (struct kvm_slot){ .gpa = r.gpa,
						       .size = r.size,
						       .hva = r.hva,
						       .flags = r.kind == REGION_ROM ? KVM_MEM_READONLY : 0 };
	return n;
}

static bool find(const struct kvm_slot *list, unsigned n, const struct kvm_slot *s)
{
	for (unsigned k = 0; k < n; k++)
		if (same(&list[k], s))
			return true;
	return false;
}

static int add_slot(struct kvm_machine *m, const struct kvm_slot *s)
{
	for (unsigned i = 0; i < MEM_MAX_REGIONS; i++) {
		if (m->slot[i].size)
			continue;
		if (set_slot(m, i, s))
			return -1;
		m->slot[i] = *s;
		return 0;
	}
	errno = ENOSPC;
	return -1;
}

static int update_slots(struct kvm_machine *m)
{
	struct kvm_slot want[MEM_MAX_REGIONS];
	unsigned n = wanted_slots(m, want);

	for (unsigned i = 0; i < MEM_MAX_REGIONS; i++) {
		struct kvm_slot gone = m->slot[i];

		if (!gone.size || find(want, n, &gone))
			continue;
		gone.size = 0;
		if (set_slot(m, i, &gone))
			return -1;
		m->slot[i].size = 0;
	}
	for (unsigned k = 0; k < n; k++)
		if (!find(m->slot, MEM_MAX_REGIONS, &want[k]) && add_slot(m, &want[k]))
			return -1;
	return 0;
}

/* Other vCPUs see the change at once; the caller's own safepoint rule is kept by more than it asks. */
static void map_changed(void *opaque)
{
	struct kvm_machine *m = opaque;

	pthread_mutex_lock(&m->lock);
	if (update_slots(m) && !m->gone_wrong) {
		m->gone_wrong = true;
		log_msg(LOG_ERROR, "KVM refuses the guest's memory: %s", strerror(errno));
	}
	for (unsigned k = 0; k < KVM_VCPUS_MAX && !mem_get_a20(m->mem); k++)
		if (m->vcpu[k])
			cpu_post(m->vcpu[k]->cpu, ATT_EVENTS);
	pthread_mutex_unlock(&m->lock);
}

/* ---- dirty pages ------------------------------------------------------------------------------------------------- */

static int log_slot(struct kvm_machine *m, unsigned i, engine_dirty_fn *fn, void *opaque)
{
	const struct kvm_slot *s = &m->slot[i];
	u64 pages = s->size >> PAGE_SHIFT;
	u64 *map = calloc((pages + 63) / 64, sizeof(*map));
	struct kvm_dirty_log log = { .slot = i, .dirty_bitmap = map };
	int ret = map ? ioctl(m->fd, KVM_GET_DIRTY_LOG, &log) : -1;

	for (u64 w = 0; !ret && fn && w < (pages + 63) / 64; w++)
		for (u64 set = map[w]; set; set &= set - 1)
			fn(opaque, s->gpa + ((w * 64 + (u64)__builtin_ctzll(set)) << PAGE_SHIFT));
	free(map);
	return ret;
}

int kvm_dirty_log(void *machine, bool on, engine_dirty_fn *fn, void *opaque, struct err *e)
{
	struct kvm_machine *m = machine;
	bool change = m->logging != on;
	int ret = 0;

	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < MEM_MAX_REGIONS && !ret; i++) {
		if (!m->slot[i].size || (m->slot[i].flags & KVM_MEM_READONLY))
			continue;
		if (m->logging && fn)
			ret = log_slot(m, i, fn, opaque);
	}
	m->logging = on;
	for (unsigned i = 0; i < MEM_MAX_REGIONS && !ret && change; i++)
		if (m->slot[i].size)
			ret = set_slot(m, i, &m->slot[i]);
	pthread_mutex_unlock(&m->lock);
	return ret ? err_errno(e, "KVM's log of written pages cannot be had") : 0;
}

static void mark(void *opaque, u64 gpa)
{
	mem_mark_dirty(opaque, gpa, 1);
}

/* For memory's own log (mem/dirty.c): what vCPUs write through the slots. If KVM has no log, all was written. */
static void dirty_log(void *opaque, enum mem_dirty_step step)
{
	struct kvm_machine *m = opaque;
	struct err e;
	u64 gpa, size;

	if (!kvm_dirty_log(m, step != MEM_DIRTY_END, step == MEM_DIRTY_COLLECT ? mark : NULL, m->mem, &e) ||
	    step != MEM_DIRTY_COLLECT)
		return;
	log_msg(LOG_WARN, "%s", e.text);
	for (unsigned i = 0; mem_ram_range(m->mem, i, &gpa, &size); i++)
		mem_mark_dirty(m->mem, gpa, size);
}

/* ---- set-up ----------------------------------------------------------------------------------------------------- */

int kvm_slots_init(struct kvm_machine *m, struct err *e)
{
	m->listener = (struct mem_listener){ .map_changed = map_changed, .dirty_log = dirty_log, .opaque = m };
	mem_add_listener(m->mem, &m->listener);
	if (update_slots(m)) {
		mem_remove_listener(m->mem, &m->listener);
		return err_errno(e, "KVM refuses the guest's memory");
	}
	return 0;
}

void kvm_slots_fini(struct kvm_machine *m)
{
	mem_remove_listener(m->mem, &m->listener);
}
