/* SPDX-License-Identifier: Apache-2.0
 * Loading. The file is read once, front to back: its machine is compared with the one that stands ready, every section
 * goes to its part, memory to memory; then each part checks itself and makes what follows from its fields.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/logged.h"
#include "machine/det.h"
#include "mmu/mmu.h"
#include "snap/machine.h"
#include "snap/parts.h"
#include "snap/ram.h"
#include "snap/snap.h"
#include "snap/write.h"

struct snap {
	struct snap_in in;
	u64 start, ram; /* of an image: where its RAM begins, how much it is; or 0 */
	struct snap_machine machine;
};

static int read_machine(struct snap *s, struct err *e)
{
	if (snap_get_header(&s->in, e) || snap_get(&s->in, e))
		return -1;
	if (strcmp(s->in.now.name, "machine"))
		return err_set(e, "the snapshot does not begin with its machine");
	return snap_get_state(&s->in.now, &snap_machine_state, &s->machine, e) || snap_machine_check(&s->machine, e)
		   ? -1
		   : 0;
}

struct snap *snap_open_file(FILE *f, struct err *e)
{
	struct snap *s = calloc(1, sizeof(*s));

	if (!s) {
		fclose(f);
		err_set(e, "out of memory");
		return NULL;
	}
	s->in.f = f;
	if (!read_machine(s, e))
		return s;
	snap_close(s);
	return NULL;
}

struct snap *snap_open(const char *path, struct err *e)
{
	FILE *f = fopen(path, "rbe");
	struct err why = { "" };
	struct snap *s;

	if (!f) {
		err_errno(e, "cannot open the snapshot '%.200s'", path);
		return NULL;
	}
	s = snap_open_file(f, &why);
	if (!s)
		err_set(e, "'%.100s': %s", path, why.text);
	return s;
}

struct snap *snap_open_behind(FILE *f, u64 start, u64 ram, struct err *e)
{
	struct snap *s = snap_open_file(f, e);

	if (s) {
		s->start = start;
		s->ram = ram;
	}
	return s;
}

void snap_close(struct snap *s)
{
	if (!s)
		return;
	snap_in_free(&s->in);
	fclose(s->in.f);
	free(s);
}

void snap_shape(const struct snap *s, struct vm_config *cfg)
{
	const struct snap_machine *m = &s->machine;

	cfg->memory = m->memory;
	cfg->cpus = m->cpus;
	cfg->cpu_model = m->model;
	cfg->apic_bus_hz = m->apic_bus_hz;
	cfg->debug_exit = (int)m->debug_exit - 1;
	cfg->testdev = m->testdev;
	cfg->rng = m->rng;
	cfg->balloon = m->balloon;
	cfg->loaded = true;
}

u64 snap_tsc_hz(const struct snap *s)
{
	return s->machine.tsc_hz;
}

const u64 *snap_features(const struct snap *s)
{
	return s->machine.features;
}

/* ---- the rest of the file -----------------------------------------------------------------------------------------
 */

static int read_section(struct snap *s, struct vm *vm, struct snap_parts *p, struct err *e)
{
	const struct snap_section *sec = &s->in.now;
	struct snap_part *part;

	if (!strcmp(sec->name, "ram"))
		return snap_get_ram(sec, vm->mem, e);
	for (unsigned i = 0; i < vm->cfg.nr_disks; i++) {
		char name[16];

		snprintf(name, sizeof(name), "disk%u", i);
		if (!strcmp(sec->name, name) && vm->cfg.disk[i].overlay)
			return snap_get_overlay(sec, block_logged_inner(vm->disk[i]), e);
	}
	part = snap_parts_find(p, sec->name);
	if (!part)
		return err_set(e, "the snapshot has a device %.40s that the machine here lacks", sec->name);
	if (part->seen)
		return err_set(e, "the snapshot has the section %.40s twice", sec->name);
	part->seen = true;
	return snap_get_state(sec, &part->state, part->object, e);
}

static int read_sections(struct snap *s, struct vm *vm, struct snap_parts *p, struct err *e)
{
	for (;;) {
		if (snap_get(&s->in, e))
			return -1;
		if (!strcmp(s->in.now.name, "end"))
			break;
		if (read_section(s, vm, p, e))
			return -1;
	}
	for (unsigned i = 0; i < p->n; i++)
		if (!p->part[i].seen)
			return err_set(e, "the snapshot lacks the state of %s", p->part[i].name);
	return 0;
}

/* The TSC goes on where it stood: all vCPUs' move by the same amount. */
static void move_tsc(struct vm *vm, const struct snap_clock *c)
{
	u64 by = c->host_tsc - vm->ops.host_tsc(vm->vcpu[0]->cpu);

	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vm->vcpu[i]->cpu->tsc_offset += by;
}

static int check_parts(struct snap_parts *p, struct err *e)
{
	struct err why = { "" };

	for (unsigned i = 0; i < p->n; i++)
		if (p->part[i].state.loaded && p->part[i].state.loaded(p->part[i].object, &why))
			return err_set(e, "the snapshot cannot be taken over: %s", why.text);
	return 0;
}

static void go_on(struct vm *vm, struct snap_parts *p)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		mmu_reset(vm->vcpu[i]->cpu);
		vcpu_invalidate_all(vm->vcpu[i]);
	}
	for (unsigned i = 0; i < p->n; i++)
		if (p->part[i].state.go_on)
			p->part[i].state.go_on(p->part[i].object);
}

static int load_ram(struct snap *s, struct vm *vm, struct err *e)
{
	off_t here = ftello(s->in.f);

	if (snap_clear_ram(vm->mem, e))
		return -1;
	if (!s->ram)
		return 0; /* it comes in sections */
	if (s->ram != mem_ram_size(vm->mem))
		return err_set(e, "the image has %llu MiB of RAM, the machine %llu", (unsigned long long)s->ram >> 20,
			       (unsigned long long)mem_ram_size(vm->mem) >> 20);
	if (snap_lay_plain(fileno(s->in.f), s->start, vm->mem, e))
		return -1;
	return fseeko(s->in.f, here, SEEK_SET) ? err_errno(e, "the image cannot be read") : 0;
}

int snap_load(struct snap *s, struct vm *vm, struct err *e)
{
	struct snap_parts p;
	int ret;

	if (vm->cfg.deterministic)
		det_take_tsc(vm, s->machine.tsc_hz);
	if (snap_machine_compare(&s->machine, vm, e) || snap_parts_init(&p, vm, e))
		return -1;
	pthread_mutex_lock(&vm->lock);
	vm->model->tsc_hz = s->machine.tsc_hz;
	ret = load_ram(s, vm, e) || read_sections(s, vm, &p, e) || check_parts(&p, e) ? -1 : 0;
	if (!ret) {
		move_tsc(vm, &p.clock);
		go_on(vm, &p);
	}
	pthread_mutex_unlock(&vm->lock);
	snap_parts_free(&p);
	return !ret && vm->cfg.deterministic ? det_loaded(vm, e) : ret;
}
