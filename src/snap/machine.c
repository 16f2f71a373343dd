/* SPDX-License-Identifier: Apache-2.0 */
#include "snap/machine.h"

#include <stdio.h>
#include <zlib.h>

#include "cpu/lapic.h"

#define TSC_TOLERANCE 1000 /* a thousandth: what two measurements of one clock may differ by */

#define S struct snap_machine
static const struct state_field fields[] = {
	STATE_RANGE(S, memory, 1 << 20, 1ull << 46),
	STATE_RANGE(S, cpus, 1, VM_CPUS_MAX),
	STATE_BYTES(S, model),
	STATE_ARRAY(S, features),
	STATE_RANGE(S, tsc_hz, 1000000, 1000000000000),
	STATE_UINT(S, xcr0_mask),
	STATE_UINT(S, xss_mask),
	STATE_UINT(S, phys_bits),
	STATE_UINT(S, lin_bits),
	STATE_UINT(S, apic_bus_hz),
	STATE_ROW(S, "serial", serial, 1, 1, VM_SERIAL_MAX, STATE_KIND_BOOL, 0, 1),
	STATE_BOOL(S, debugcon),
	STATE_BOOL(S, testdev),
	STATE_BOOL(S, rng),
	STATE_BOOL(S, balloon),
	STATE_RANGE(S, debug_exit, 0, 0x10000),
	STATE_UINT(S, debugcon_port),
	STATE_UINT(S, rom_bytes),
	STATE_UINT(S, rom_crc),
	STATE_RANGE(S, nr_disks, 0, VM_DISKS_MAX),
	STATE_RANGE(S, nr_ports, 0, VM_PORTS_MAX),
	STATE_RANGE(S, nr_nets, 0, VM_NETS_MAX),
	STATE_EACH_BOOL(S, disk, readonly),
	STATE_EACH_BOOL(S, disk, overlay),
	STATE_EACH(S, disk, bytes),
	STATE_EACH_BYTES(S, disk, serial),
	STATE_EACH_BYTES(S, port, name),
};
#undef S

const struct state snap_machine_state = { .field = fields, .n = ARRAY_SIZE(fields) };

void snap_machine_of(const struct vm *vm, struct snap_machine *m)
{
	const struct vm_config *cfg = &vm->cfg;
	const struct cpuid_model *c = vm->model;
	u64 rom_bytes = 0;
	const u8 *rom = vm->boot ? boot_rom(vm->boot, &rom_bytes) : NULL;

	*m = (struct snap_machine){
		.memory = cfg->memory,
		.cpus = cfg->cpus,
		.tsc_hz = c->tsc_hz,
		.xcr0_mask = c->xcr0_mask,
		.xss_mask = c->xss_mask,
		.phys_bits = c->phys_bits,
		.lin_bits = c->lin_bits,
		.apic_bus_hz = (u32)cpuid_apic_bus_hz(c),
		.debugcon = cfg->debugcon != NULL,
		.debugcon_port = cfg->debugcon_port,
		.testdev = cfg->testdev,
		.rng = cfg->rng,
		.balloon = cfg->balloon,
		.debug_exit = (u32)(cfg->debug_exit + 1),
		.nr_disks = cfg->nr_disks,
		.nr_ports = cfg->nr_ports,
		.nr_nets = cfg->nr_nets,
	};
	if (rom && rom_bytes) {
		m->rom_bytes = (u32)rom_bytes;
		m->rom_crc = (u32)crc32(0, rom, (uInt)rom_bytes);
	}
	snprintf(m->model, sizeof(m->model), "%s", cfg->cpu_model);
	memcpy(m->features, c->features, sizeof(m->features));
	for (unsigned i = 0; i < VM_SERIAL_MAX; i++)
		m->serial[i] = cfg->serial[i] != NULL;
	for (unsigned i = 0; i < cfg->nr_disks; i++) {
		m->disk[i].readonly = vm->disk[i]->readonly;
		m->disk[i].overlay = cfg->disk[i].overlay;
		m->disk[i].bytes = vm->disk[i]->size;
		memcpy(m->disk[i].serial, cfg->disk[i].serial, sizeof(cfg->disk[i].serial));
	}
	for (unsigned i = 0; i < cfg->nr_ports; i++)
		memcpy(m->port[i].name, cfg->port[i].name, sizeof(m->port[i].name));
}

int snap_machine_check(const struct snap_machine *m, struct err *e)
{
	bool ends = memchr(m->model, 0, sizeof(m->model)) && m->memory % PAGE_SIZE == 0 &&
		    (m->apic_bus_hz == APIC_BUS_HZ || m->apic_bus_hz == APIC_BUS_HZ_KVM);

	for (unsigned i = 0; i < VM_DISKS_MAX; i++)
		ends = ends && memchr(m->disk[i].serial, 0, sizeof(m->disk[i].serial));
	for (unsigned i = 0; i < VM_PORTS_MAX; i++)
		ends = ends && memchr(m->port[i].name, 0, sizeof(m->port[i].name));
	/* The model goes into messages. */
	for (const char *p = m->model; ends && *p; p++)
		ends = *p >= ' ' && *p <= '~';
	return ends ? 0 : err_set(e, "the snapshot's machine cannot be");
}

/* ---- is it the same? ----------------------------------------------------------------------------------------------
 */

/* Names of features that one has and the other has not; true if there are any. */
static bool missing(const u64 *has, const u64 *has_not, char *text, size_t size)
{
	size_t at = 0;

	*text = 0;
	for (unsigned f = 0; f < NR_FEATURES; f++) {
		if (!(has[f / 64] >> (f % 64) & 1) || (has_not[f / 64] >> (f % 64) & 1))
			continue;
		if (at < size)
			at += (size_t)snprintf(text + at, size - at, "%s%s", at ? "," : "", cpuid_feature_name(f));
	}
	return at != 0;
}

static int compare_model(const struct snap_machine *m, const struct cpuid_model *c, struct err *e)
{
	char text[160];

	if (missing(m->features, c->features, text, sizeof(text)))
		return err_set(e, "the snapshot's CPU model '%.60s' has features that the model here lacks: %s",
			       m->model, text);
	if (missing(c->features, m->features, text, sizeof(text)))
		return err_set(e, "the CPU model here has features that the snapshot's '%.60s' lacks: %s", m->model,
			       text);
	if (m->xcr0_mask != c->xcr0_mask || m->xss_mask != c->xss_mask || m->phys_bits != c->phys_bits ||
	    m->lin_bits != c->lin_bits)
		return err_set(
		    e,
		    "the snapshot's CPU has %u-bit physical addresses and state components %llx, here they are "
		    "%u and %llx",
		    m->phys_bits, (unsigned long long)m->xcr0_mask, c->phys_bits, (unsigned long long)c->xcr0_mask);
	if (m->tsc_hz > c->tsc_hz + c->tsc_hz / TSC_TOLERANCE || m->tsc_hz < c->tsc_hz - c->tsc_hz / TSC_TOLERANCE)
		return err_set(e, "the snapshot's TSC runs with %llu kHz, this host's with %llu kHz",
			       (unsigned long long)m->tsc_hz / 1000, (unsigned long long)c->tsc_hz / 1000);
	if (m->apic_bus_hz != cpuid_apic_bus_hz(c))
		return err_set(e, "the snapshot's APIC timers count with %u MHz, here they count with %llu MHz",
			       m->apic_bus_hz / 1000000, (unsigned long long)cpuid_apic_bus_hz(c) / 1000000);
	return 0;
}

static int compare_disks(const struct snap_machine *m, const struct snap_machine *here, struct err *e)
{
	if (m->nr_disks != here->nr_disks)
		return err_set(e, "the snapshot is of a machine with %u disks, and %u are given: give the same --disk",
			       m->nr_disks, here->nr_disks);
	for (unsigned i = 0; i < m->nr_disks; i++) {
		if (m->disk[i].bytes != here->disk[i].bytes)
			return err_set(e, "disk %u has %llu bytes, when it was saved it had %llu", i + 1,
				       (unsigned long long)here->disk[i].bytes, (unsigned long long)m->disk[i].bytes);
		if (m->disk[i].readonly != here->disk[i].readonly)
			return err_set(e, "disk %u is %s, when it was saved it was %s", i + 1,
				       here->disk[i].readonly ? "read-only" : "writable",
				       m->disk[i].readonly ? "read-only" : "writable");
		if (m->disk[i].overlay != here->disk[i].overlay)
			return err_set(e, "disk %u was saved with%s an overlay: give it with%s ,overlay", i + 1,
				       m->disk[i].overlay ? "" : "out", m->disk[i].overlay ? "" : "out");
		if (strcmp(m->disk[i].serial, here->disk[i].serial))
			return err_set(e, "disk %u has another serial= than when it was saved", i + 1);
	}
	return 0;
}

static int compare_consoles(const struct snap_machine *m, const struct snap_machine *here, struct err *e)
{
	for (unsigned i = 0; i < VM_SERIAL_MAX; i++)
		if (m->serial[i] != here->serial[i])
			return err_set(e,
				       "the snapshot's machine has %sserial port %u: give as many --serial as it had",
				       m->serial[i] ? "a " : "no ", i + 1);
	if (m->nr_ports != here->nr_ports)
		return err_set(e,
			       "the snapshot's virtio console has %u ports, and %u are given: give the same "
			       "--virtio-console",
			       m->nr_ports, here->nr_ports);
	for (unsigned i = 0; i < m->nr_ports; i++)
		if (strcmp(m->port[i].name, here->port[i].name))
			return err_set(e, "port %u of the virtio console has another name= than when it was saved",
				       i + 1);
	if (m->nr_nets != here->nr_nets)
		return err_set(e, "the snapshot's machine has %u network cards, and %u are given: give the same --net",
			       m->nr_nets, here->nr_nets);
	if (m->debugcon != here->debugcon || (m->debugcon && m->debugcon_port != here->debugcon_port))
		return err_set(e, "the snapshot's machine was started with%s --debugcon, or another port",
			       m->debugcon ? "" : "out");
	if (m->rom_bytes != here->rom_bytes || m->rom_crc != here->rom_crc)
		return err_set(e, "the snapshot's machine was started with %s",
			       m->rom_bytes ? "other firmware: give the same --firmware" : "no firmware");
	return 0;
}

int snap_machine_compare(const struct snap_machine *m, const struct vm *vm, struct err *e)
{
	struct snap_machine here;

	snap_machine_of(vm, &here);
	if (m->memory != here.memory || m->cpus != here.cpus)
		return err_set(e, "the snapshot's machine has %llu KiB of memory and %u CPUs, here are %llu KiB and %u",
			       (unsigned long long)m->memory >> 10, m->cpus, (unsigned long long)here.memory >> 10,
			       here.cpus);
	if (m->rng != here.rng || m->balloon != here.balloon || m->testdev != here.testdev ||
	    m->debug_exit != here.debug_exit)
		return err_set(e,
			       "the snapshot's machine has other devices: --rng, --balloon, --testdev or --debug-exit");
	if (compare_model(m, vm->model, e) || compare_disks(m, &here, e))
		return -1;
	return compare_consoles(m, &here, e);
}
