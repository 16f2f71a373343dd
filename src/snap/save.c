/* SPDX-License-Identifier: Apache-2.0
 * Saving. Nothing of what is in path is lost when the disk is full or the process dies: the new file has another name
 * until it is complete and on the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "block/pool.h"
#include "snap/machine.h"
#include "snap/parts.h"
#include "snap/ram.h"
#include "snap/snap.h"

static int write_parts(struct snap_out *o, struct vm *vm, struct snap_parts *p)
{
	struct snap_machine m;
	char name[16];

	snap_machine_of(vm, &m);
	if (snap_put_header(o) || snap_put_state(o, "machine", &snap_machine_state, &m))
		return -1;
	for (unsigned i = 0; i < p->n; i++)
		if (snap_put_state(o, p->part[i].name, &p->part[i].state, p->part[i].object))
			return -1;
	for (unsigned i = 0; i < vm->cfg.nr_disks; i++) {
		snprintf(name, sizeof(name), "disk%u", i);
		if (snap_put_overlay(o, name, vm->disk[i]))
			return -1;
	}
	return snap_put_ram(o, vm->mem) || snap_put_end(o) ? -1 : 0;
}

int snap_write(struct vm *vm, FILE *f, struct err *e)
{
	struct snap_out out = { .f = f };
	struct snap_parts p;
	int ret;

	if (snap_parts_init(&p, vm, e))
		return -1;
	for (unsigned i = 0; i < p.n; i++)
		if (p.part[i].state.saving)
			p.part[i].state.saving(p.part[i].object);
	p.clock.now_ns = clock_ns(&vm->clock);
	p.clock.host_tsc = vm->ops.host_tsc(vm->vcpu[0]->cpu);
	p.clock.wall_ns = clock_wall_ns();
	ret = write_parts(&out, vm, &p) || fflush(f) ? err_errno(e, "cannot write the snapshot") : 0;
	for (unsigned i = 0; i < p.n; i++)
		if (p.part[i].state.go_on)
			p.part[i].state.go_on(p.part[i].object);
	snap_parts_free(&p);
	return ret;
}

/* All vCPUs stand, nothing is under way, no reset is due; with the machine lock held. */
static void stand_still(struct vm *vm)
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

static int save_to(struct vm *vm, FILE *f, struct err *e)
{
	int ret;

	stand_still(vm);
	ret = atomic_load(&vm->ended) ? err_set(e, "the machine has ended") : snap_write(vm, f, e);
	pthread_mutex_unlock(&vm->lock);
	vm_resume(vm);
	return ret;
}

int snap_save(struct vm *vm, const char *path, struct err *e)
{
	char temporary[4096];
	struct stat st;
	FILE *f;
	int fd, ret;

	if (vm->cfg.deterministic)
		return err_set(e, "a run that is recorded or replayed cannot be saved");
	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		return err_set(e, "'%.200s' is not a file to save to", path);
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
		return err_set(e, "the path '%.100s…' is too long", path);
	fd = mkostemp(temporary, O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "wb");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return err_errno(e, "cannot make a file beside '%.200s'", path);
	}
	ret = save_to(vm, f, e);
	if (!ret && fsync(fd))
		ret = err_errno(e, "cannot write the snapshot");
	if (fclose(f) && !ret)
		ret = err_errno(e, "cannot write the snapshot");
	if (!ret && rename(temporary, path))
		ret = err_errno(e, "cannot give the snapshot its name '%.200s'", path);
	if (ret)
		unlink(temporary);
	return ret;
}
