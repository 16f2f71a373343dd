/* SPDX-License-Identifier: Apache-2.0
 * A guest that means harm to its virtio devices: --append SEED. One processor brings them up, notifies, resets and
 * changes their registers, with requests under way; the others write into rings, descriptor tables and buffers all the
 * while. Most of it is nearly right, so that devices get to work; some rings lie over one another, at the edge of RAM
 * and beyond. It ends by itself.
 */
#include "kit/smp.h"

int guest_main(void);

#define AREA 0x1000000ull /* of rings: 64 KiB above the kernel */
#define AREA_SIZE 0x20000u
#define RING_SIZE 0x1000u    /* of which there are 32: descriptors, then the driver's part, then the device's */
#define RAM_END 0x2000000ull /* --memory 32M */
#define WINDOW 0xe0000000ull
#define DEVICES 8
#define ROUNDS 20000
#define SCRIBBLES 20 /* a round */

enum common {
	DRIVER_SELECT = 0x08,
	DRIVER_FEATURES = 0x0c,
	STATUS = 0x14,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_ENABLE = 0x1c,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
	QUEUE_RESET = 0x3a
};

static struct virtio {
	u64 common, notify;
	unsigned queues;
} devices[DEVICES];
static unsigned n_devices;
static u64 seed;
static volatile u64 rounds, over;

static u64 rnd(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x2545f4914f6cdd1dull >> 16;
}

static u32 config(unsigned slot, unsigned at)
{
	outl(0xcf8, 0x80000000u | slot << 11 | at);
	return inl(0xcfc);
}

static void set_config(unsigned slot, unsigned at, u32 v)
{
	outl(0xcf8, 0x80000000u | slot << 11 | at);
	outl(0xcfc, v);
}

static u8 byte_of(unsigned slot, unsigned at)
{
	return (u8)(config(slot, at & ~3u) >> 8 * (at & 3));
}

/* Its windows below 4 GiB; where its common registers and notifications are (virtio 1.2, 4.1.4). */
static void find_device(unsigned slot)
{
	struct virtio *v = &devices[n_devices];
	u64 base = WINDOW + (u64)slot * 0x100000;

	for (unsigned bar = 0x10; bar < 0x28; bar += 4) {
		u32 had = config(slot, bar);

		set_config(slot, bar, 0xffffffff);
		if (!config(slot, bar) || (had & 1))
			continue;
		set_config(slot, bar, (u32)base + (bar - 0x10) * 0x4000);
		if ((had & 6) == 4) {
			bar += 4;
			set_config(slot, bar, 0);
		}
	}
	set_config(slot, 4, 6);
	for (unsigned cap = byte_of(slot, 0x34); cap; cap = byte_of(slot, cap + 1)) {
		u64 at;

		if (byte_of(slot, cap) != 9)
			continue;
		at = (config(slot, 0x10 + 4 * byte_of(slot, cap + 4)) & ~15u) + config(slot, cap + 8);
		if (byte_of(slot, cap + 3) == 1)
			v->common = at;
		if (byte_of(slot, cap + 3) == 2)
			v->notify = at;
	}
	if (!v->common || !v->notify)
		return;
	v->queues = *(volatile u16 *)(v->common + 0x12);
	n_devices++;
}

static u64 place(u64 *s)
{
	switch (rnd(s) & 7) {
	case 0:
		return RAM_END - (rnd(s) & 0xff0);
	case 1:
		return 0xfee00000;
	case 2:
		return devices[0].common & ~15ull;
	case 3:
		return rnd(s) << 16 | rnd(s);
	default:
		return AREA + (rnd(s) % AREA_SIZE & ~15ull);
	}
}

static u64 ring(u64 *s)
{
	return AREA + rnd(s) % (AREA_SIZE / RING_SIZE) * RING_SIZE;
}

static void bring_up(struct virtio *v, u64 *s)
{
	volatile u8 *status = (volatile u8 *)(v->common + STATUS);

	*status = 0;
	*status = 1;
	*status = 3;
	for (u32 half = 0; half < 2; half++) {
		u32 offered;

		*(volatile u32 *)v->common = half;
		offered = *(volatile u32 *)(v->common + 4);
		*(volatile u32 *)(v->common + DRIVER_SELECT) = half;
		/* Rings of both kinds, indirect or not; whatever else the device has. */
		*(volatile u32 *)(v->common + DRIVER_FEATURES) = offered & ((u32)rnd(s) | half);
	}
	*status = 11;
	for (unsigned q = 0; q < v->queues; q++) {
		u64 base = ring(s);

		for (unsigned i = 0; i < RING_SIZE; i += 8)
			*(volatile u64 *)(base + i) = 0;
		*(volatile u16 *)(v->common + QUEUE_SELECT) = (u16)q;
		*(volatile u16 *)(v->common + QUEUE_SIZE) = (u16)(2u << rnd(s) % 5);
		for (unsigned at = QUEUE_DESC; at <= QUEUE_DEVICE; at += 8) {
			u64 where = rnd(s) & 127 ? base + (at - QUEUE_DESC) * 0x80 : place(s);

			*(volatile u32 *)(v->common + at) = (u32)where;
			*(volatile u32 *)(v->common + at + 4) = (u32)(where >> 32);
		}
		*(volatile u16 *)(v->common + QUEUE_ENABLE) = 1;
	}
	*status = 15;
}

static void one_round(u64 *s)
{
	struct virtio *v = &devices[rnd(s) % n_devices];

	switch (rnd(s) & 31) {
	case 0:
	case 1:
	case 2:
		bring_up(v, s); /* with what is under way */
		break;
	case 3:
		*(volatile u16 *)(v->common + QUEUE_SELECT) = (u16)(rnd(s) % (v->queues + 1));
		*(volatile u16 *)(v->common + QUEUE_RESET) = 1;
		break;
	case 4:
		*(volatile u32 *)(v->common + (rnd(s) & 0x3c)) = (u32)rnd(s);
		break;
	default: {
		u16 q = (u16)(rnd(s) % (v->queues + 1));

		*(volatile u16 *)(v->notify + q * 4u) = q; /* the multiplier may be another: then it is another queue */
	}
	}
}

/* Descriptors that are nearly right, indices that move, and a little noise. */
static void scribble(u64 *s)
{
	u64 base = ring(s), at = base + (rnd(s) & 0x1f0);
	u32 n = (u32)rnd(s);

	switch (n & 31) {
	case 0:
		*(volatile u16 *)(AREA + rnd(s) % AREA_SIZE) = (u16)rnd(s);
		break;
	case 1:
		*(volatile u64 *)at = place(s);
		break;
	case 2:
		*(volatile u32 *)(at + 8) = (u32)rnd(s);
		break;
	case 3:
	case 4:
	case 5:
	case 6: /* packed: identifier, then flags with both wrap bits */
		*(volatile u16 *)(at + 12) = (u16)(n >> 8 & 31);
		*(volatile u16 *)(at + 14) = (u16)((n >> 16 & 3) | (n >> 20 & 1) << 7 | (n >> 21 & 1) << 15);
		break;
	case 7:
	case 8:
	case 9:
	case 10: /* split: one more is available */
		*(volatile u16 *)(base + 0x404 + (*(volatile u16 *)(base + 0x402) & 31) * 2) = (u16)((n >> 8 & 31) >>
												     (n >> 13 & 7));
		if ((u16)(*(volatile u16 *)(base + 0x402) - *(volatile u16 *)(base + 0x802)) < 2 || !(n >> 20 & 255))
			*(volatile u16 *)(base + 0x402) += 1;
		break;
	default:
		*(volatile u64 *)at = AREA + AREA_SIZE + (rnd(s) & 0xfff0);
		*(volatile u32 *)(at + 8) = (n >> 8 & 7) * (n >> 12 & 1 ? 512 : 16);
		*(volatile u16 *)(at + 12) = (u16)(n >> 16 & (n >> 20 & 15 ? 3 : 7));
		*(volatile u16 *)(at + 14) = (u16)((n >> 24 & 31) >> (n >> 29 & 7));
	}
}

static void work(unsigned cpu, void *arg)
{
	u64 s = seed + cpu * 0x9e3779b97f4a7c15ull;

	(void)arg;
	if (cpu) {
		while (!over) {
			u64 now = rounds;

			for (unsigned k = 0; k < SCRIBBLES; k++)
				scribble(&s);
			while (rounds == now && !over)
				pause();
		}
		return;
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		one_round(&s);
		for (unsigned k = 0; k < SCRIBBLES; k++)
			scribble(&s);
		rounds++;
	}
	over = 1;
}

int guest_main(void)
{
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *line = info[0] & 4 ? (const char *)(u64)info[4] : "";

	while (*line && *line != ' ')
		line++;
	while (*line == ' ')
		line++;
	while (*line >= '0' && *line <= '9')
		seed = seed * 10 + (u64)(*line++ - '0');
	seed = seed * 0x9e3779b97f4a7c15ull | 1;
	for (unsigned slot = 0; slot < 32 && n_devices < DEVICES; slot++)
		if ((config(slot, 0) & 0xffff) == 0x1af4)
			find_device(slot);
	kit_smp_start();
	kit_printf("%u processors, %u devices\n", kit_cpus, n_devices);
	if (n_devices < 4)
		return 40;
	kit_smp_run(work, NULL);
	return 0;
}
