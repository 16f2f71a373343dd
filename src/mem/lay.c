/* SPDX-License-Identifier: Apache-2.0
 * RAM that begins as a private copy of a file: nothing is read before it is touched, and what is not written is shared
 * with all who lay the same file. Another process can be given only what is in the memfd, so a step of it can move
 * there when somebody asks.
 *
 * The move: the bytes go to the memfd, and that is mapped where they stood, so host addresses stay as they are. A write
 * between the two would be lost. vCPUs are stopped (exclusive execution), devices write with the bus locked or by
 * mem_write(), which takes the frame's stripe.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/frame.h"

#define OWNED_MAX 16384u /* mappings; a process has 65,530 */
#define STEP_FRAMES (MEM_LAY_STEP >> PAGE_SHIFT)

_Static_assert(STEP_FRAMES <= FRAME_STRIPES, "each frame of a step has a stripe of its own");

static u64 step_of(const struct region *r, u64 gpa)
{
	return (gpa - r->gpa) / MEM_LAY_STEP;
}

static bool is_laid(const struct region *r, u64 gpa)
{
	u64 i = step_of(r, gpa);

	return r->laid && (atomic_load(&r->laid[i / 64]) >> (i % 64) & 1);
}

bool mem_is_laid(const struct mem *m, u64 gpa)
{
	struct region r;

	return mem_region(m, gpa, &r) && is_laid(&r, gpa);
}

/* The entry itself: at set-up. */
static struct region *range_of(struct mem *m, u64 gpa, u64 len)
{
	for (unsigned i = 0; i < m->n_regions; i++) {
		struct region *r = &m->regions[i];

		if (r->kind == REGION_RAM && !r->switched && gpa >= r->gpa && gpa - r->gpa < r->size)
			return len <= r->size - (gpa - r->gpa) ? r : NULL;
	}
	return NULL;
}

int mem_lay(struct mem *m, u64 gpa, u64 len, int fd, u64 offset, struct err *e)
{
	struct region *r = range_of(m, gpa, len);
	u64 end = gpa + len;

	if (!r || (gpa - r->gpa) % MEM_LAY_STEP || ((end - r->gpa) % MEM_LAY_STEP && end != r->gpa + r->size))
		return err_set(e, "there is no RAM to lay a file under");
	if (!r->laid)
		r->laid = calloc(r->size / MEM_LAY_STEP / 64 + 1, sizeof(*r->laid));
	if (!r->laid)
		return err_set(e, "no memory for the map of a laid file");
	if (mmap(r->hva + (gpa - r->gpa), len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
		 (off_t)offset) == MAP_FAILED)
		return err_errno(e, "cannot map the machine's memory");
	madvise(r->hva + (gpa - r->gpa), len, MADV_DONTDUMP);
	for (; gpa < end; gpa += MEM_LAY_STEP)
		atomic_fetch_or(&r->laid[step_of(r, gpa) / 64], BIT(step_of(r, gpa) % 64));
	return 0;
}

static int put(int fd, const u8 *p, u64 len, u64 offset)
{
	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno != EINTR)
			return -1;
		n = MAX(n, 0);
		p += n;
		len -= (u64)n;
		offset += (u64)n;
	}
	return 0;
}

/* With all writers kept out. */
static int move(struct mem *m, const struct region *r, u64 gpa, u64 len)
{
	u64 at = gpa - r->gpa, i = step_of(r, gpa);
	u8 *p = r->hva + at;

	if (put(m->fd, p, len, r->offset + at) ||
	    mmap(p, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, m->fd,
		 (off_t)(r->offset + at)) == MAP_FAILED)
		return -1;
	madvise(p, len, MADV_DONTDUMP);
	atomic_fetch_and(&r->laid[i / 64], ~BIT(i % 64));
	m->owned++;
	return 0;
}

int mem_own(struct mem *m, u64 gpa)
{
	struct region r;
	u64 start, len;
	int ret;

	if (m->private || !mem_region(m, gpa, &r))
		return -1;
	if (!is_laid(&r, gpa))
		return 0;
	start = r.gpa + step_of(&r, gpa) * MEM_LAY_STEP;
	len = MIN(MEM_LAY_STEP, r.gpa + r.size - start);
	mem_lock_bus(m);
	for (u64 i = 0; i < len; i += PAGE_SIZE)
		mem_stripe_lock(m, start + i);
	ret = m->owned < OWNED_MAX ? move(m, &r, start, len) : -1;
	for (u64 i = 0; i < len; i += PAGE_SIZE)
		mem_stripe_unlock(m, start + i);
	mem_unlock_bus(m);
	return ret;
}
