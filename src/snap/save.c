/* SPDX-License-Identifier: Apache-2.0
 * Saving. Memory is written while the machine runs, and once more, while it stands still, what it has written
 * meanwhile; so that it stands for as long as its working set takes, not its size. Nothing of what is in path is lost
 * when the disk is full or the process dies: the new file has another name until it is complete and on the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/newfile.h"
#include "block/pool.h"
#include "snap/machine.h"
#include "snap/parts.h"
#include "snap/ram.h"
#include "snap/snap.h"
#include "snap/write.h"

static int write_start(struct snap_out *o, struct vm *vm)
{
	struct snap_machine m;

	snap_machine_of(vm, &m);
	return snap_put_header(o) || snap_put_state(o, "machine", &snap_machine_state, &m) ? -1 : 0;
}

static int write_parts(struct snap_out *o, struct vm *vm, struct snap_parts *p)
{
	char name[16];

	for (unsigned i = 0; i < p->n; i++)
		if (snap_put_state(o, p->part[i].name, &p->part[i].state, p->part[i].object))
			return -1;
	for (unsigned i = 0; i < vm->cfg.nr_disks; i++) {
		snprintf(name, sizeof(name), "disk%u", i);
		if (snap_put_overlay(o, name, vm->disk[i]))
			return -1;
	}
	return 0;
}

/* All but the start, of a machine that stands still; with the machine lock. */
static int write_rest(struct snap_out *o, struct vm *vm, enum snap_ram which, struct err *e)
{
	struct snap_parts p;
	u64 pages = 0;
	int ret;

	if (snap_parts_init(&p, vm, e))
		return -1;
	for (unsigned i = 0; i < p.n; i++)
		if (p.part[i].state.saving)
			p.part[i].state.saving(p.part[i].object);
	p.clock.now_ns = clock_ns(&vm->clock);
	p.clock.host_tsc = vm->ops.host_tsc(vm->vcpu[0]->cpu);
	p.clock.wall_ns = clock_wall_ns();
	ret = write_parts(o, vm, &p) || (which != SNAP_RAM_NONE && snap_put_ram(o, vm->mem, which, &pages)) ||
	      snap_put_end(o) || fflush(o->f);
	if (ret)
		ret = err_errno(e, "cannot write the snapshot");
	for (unsigned i = 0; i < p.n; i++)
		if (p.part[i].state.go_on)
			p.part[i].state.go_on(p.part[i].object);
	snap_parts_free(&p);
	counter_add(&vm->counters, CNT_SAVE_STANDING, pages);
	return ret;
}

static int write_with(struct vm *vm, FILE *f, enum snap_ram which, struct err *e)
{
	struct snap_out out = { .f = f };

	if (write_start(&out, vm))
		return err_errno(e, "cannot write the snapshot");
	return write_rest(&out, vm, which, e);
}

int snap_write(struct vm *vm, FILE *f, struct err *e)
{
	return write_with(vm, f, SNAP_RAM_ALL, e);
}

int snap_write_rest(struct vm *vm, FILE *f, struct err *e)
{
	return write_with(vm, f, SNAP_RAM_NONE, e);
}

void snap_stand_still(struct vm *vm)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (;;) {
		vm_pause(vm);
		if (vm->disk_pool)
			block_pool_drain(vm->disk_pool);
		pthread_mutex_lock(&vm->lock);
		if (!atomic_load(&vm->reset_wanted) || atomic_load(&vm->ended))
			return;
		pthread_mutex_unlock(&vm->lock);
		vm_resume(vm);
		nanosleep(&moment, NULL);
	}
}

void snap_stand_no_more(struct vm *vm)
{
	pthread_mutex_unlock(&vm->lock);
	vm_resume(vm);
}

static int has_ended(struct vm *vm, struct err *e)
{
	return atomic_load(&vm->ended) ? err_set(e, "the machine has ended") : 0;
}

/* The log of written frames is on when this has succeeded. */
static int begin_save(struct vm *vm, struct err *e)
{
	int ret;

	snap_stand_still(vm);
	ret = has_ended(vm, e) || mem_dirty_begin(vm->mem, e) ? -1 : 0;
	snap_stand_no_more(vm);
	return ret;
}

static int end_save(struct vm *vm, struct snap_out *o, bool failed, struct err *e)
{
	u64 began;
	int ret = -1;

	snap_stand_still(vm);
	began = clock_ns(&vm->clock);
	if (!failed && !has_ended(vm, e)) {
		mem_dirty_fetch(vm->mem);
		ret = write_rest(o, vm, SNAP_RAM_FETCHED, e);
	}
	mem_dirty_end(vm->mem);
	counter_add(&vm->counters, CNT_SAVE_STANDING_NS, clock_ns(&vm->clock) - began);
	snap_stand_no_more(vm);
	return ret;
}

/* All memory while the machine runs; then, while it stands still, everything else and what it has written since. */
static int save_to(struct vm *vm, FILE *f, struct err *e)
{
	struct snap_out out = { .f = f };
	u64 pages = 0;
	int ret;

	if (begin_save(vm, e))
		return -1;
	ret = write_start(&out, vm) || snap_put_ram(&out, vm->mem, SNAP_RAM_ALL, &pages);
	if (ret)
		err_errno(e, "cannot write the snapshot");
	pthread_mutex_lock(&vm->lock);
	counter_add(&vm->counters, CNT_SAVE_RUNNING, pages);
	pthread_mutex_unlock(&vm->lock);
	return end_save(vm, &out, ret, e);
}

static int can_save(const struct vm *vm, struct err *e)
{
	if (vm->cfg.deterministic)
		return err_set(e, "a run that is recorded or replayed cannot be saved");
	if (vm->cfg.nr_shares)
		return err_set(e,
			       "a machine with --share cannot be saved: what its guest has open is known to the file "
			       "server only");
	return 0;
}

int snap_save_fd(struct vm *vm, int fd, struct err *e)
{
	int own, ret;
	FILE *f;

	if (can_save(vm, e))
		return -1;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	f = own < 0 ? NULL : fdopen(own, "wb");
	if (!f) {
		if (own >= 0)
			close(own);
		return err_errno(e, "cannot write the snapshot");
	}
	ret = save_to(vm, f, e);
	if (!ret && fsync(own) && errno != EINVAL) /* a pipe has nothing to wait for */
		ret = err_errno(e, "cannot write the snapshot");
	if (fclose(f) && !ret)
		ret = err_errno(e, "cannot write the snapshot");
	return ret;
}

int snap_save(struct vm *vm, const char *path, struct err *e)
{
	struct newfile f;
	int ret;

	if (can_save(vm, e) || newfile_open(&f, path, e))
		return -1;
	ret = snap_save_fd(vm, f.fd, e);
	return newfile_close(&f, !ret, e) ? -1 : ret;
}
