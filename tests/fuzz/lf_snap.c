/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on snapshots: the input is a list of changes to a good one (bytes and runs of bytes in a section, sections
 * cut or left out). Checksums are made right again, so that what is behind them is reached. What loads is used a
 * little: timers fire, ports are read, the processor runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "machine/vm.h"
#include "snap/format.h"
#include "snap/snap.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define RAM (2u << 20)
#define SECTIONS 256
#define EDITS 64

struct section {
	char name[SNAP_NAME_MAX + 1];
	u8 *data;
	u32 len;
};

struct edit {
	u8 kind, section;
	u16 at;
	u8 val;
};

static struct vm *vm;
static struct section good[SECTIONS];
static unsigned n_good;
static char *file;
static size_t file_room;

static void die(const struct err *e)
{
	fprintf(stderr, "%s\n", e->text);
	abort();
}

static void take_sections(char *bytes, size_t n)
{
	struct snap_in in = { .f = fmemopen(bytes, n, "rb") };
	struct err e = { "" };

	if (snap_get_header(&in, &e))
		die(&e);
	do {
		struct section *s = &good[n_good++];

		if (snap_get(&in, &e))
			die(&e);
		memcpy(s->name, in.now.name, sizeof(s->name));
		s->len = in.now.len;
		s->data = malloc(s->len + 1);
		memcpy(s->data, in.now.data, s->len);
	} while (strcmp(in.now.name, "end"));
	snap_in_free(&in);
	fclose(in.f);
	n_good--; /* without the end */
}

static void begin(void)
{
	struct vm_config cfg = { .memory = RAM,
				 .cpus = 2,
				 .cpu_model = "x86-64-v2",
				 .engine = &engine_interp,
				 .serial = { "none" },
				 .debug_exit = 0xf4,
				 .testdev = true,
				 .rng = true,
				 .balloon = true,
				 .port = { { "none", "" }, { "none", "org.example" } },
				 .nr_ports = 2,
				 .loaded = true };
	struct err e = { "" };
	char *bytes;
	size_t n;
	FILE *f = open_memstream(&bytes, &n);

	vm = vm_new(&cfg, &e);
	if (!vm || snap_write(vm, f, &e))
		die(&e);
	fclose(f);
	take_sections(bytes, n);
	file_room = n * 2 + 65536;
	file = malloc(file_room);
	free(bytes);
}

/* The good sections with the changes, as a file; its size. */
static size_t build(const struct edit *edits, unsigned n)
{
	FILE *f = fmemopen(file, file_room, "wb");
	struct snap_out o = { .f = f };
	long size;

	snap_put_header(&o);
	for (unsigned i = 0; i < n_good; i++) {
		u32 len = good[i].len;
		u8 *copy = malloc(len + 1);
		bool gone = false;

		memcpy(copy, good[i].data, len);
		for (unsigned k = 0; k < n; k++) {
			const struct edit *x = &edits[k];
			u32 at = len ? x->at % len : 0;

			if (x->section % n_good != i || !len)
				continue;
			if (x->kind % 16 == 14)
				len = at;
			else if (x->kind % 16 == 15)
				gone = true;
			else if (x->kind % 2)
				memset(copy + at, x->val, MIN(len - at, 8u));
			else
				copy[at] = x->val;
		}
		if (!gone)
			snap_put(&o, good[i].name, copy, len);
		free(copy);
	}
	snap_put_end(&o);
	fflush(f);
	size = ftell(f);
	fclose(f);
	return (size_t)size;
}

static void use(void)
{
	for (unsigned i = 0; i < 3; i++) {
		pthread_mutex_lock(&vm->lock);
		timerq_run(&vm->timers, clock_ns(&vm->clock) + i * NS_PER_SEC);
		pthread_mutex_unlock(&vm->lock);
	}
	for (unsigned port = 0x20; port < 0x100; port++)
		mem_port_read(vm->mem, (u16)port, 1);
	for (unsigned i = 0; i < 2; i++) {
		cpu_post(vm->vcpu[i]->cpu, ATT_APIC | ATT_TIMER);
		vm->cfg.engine->run(vm->vcpu[i]->cpu, 100);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct edit edits[EDITS];
	unsigned n = 0;
	struct err e = { "" };
	struct snap *s;

	if (!vm)
		begin();
	for (; size >= 5 && n < EDITS; data += 5, size -= 5)
		edits[n++] = (struct edit){ data[0], data[1], (u16)(data[2] | data[3] << 8), data[4] };
	s = snap_open_file(fmemopen(file, build(edits, n), "rb"), &e);
	if (s && !snap_load(s, vm, &e))
		use();
	else if (!e.text[0])
		abort(); /* refused without a word */
	snap_close(s);
	return 0;
}
