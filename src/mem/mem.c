/* SPDX-License-Identifier: Apache-2.0
 * Regions: RAM and ROM in one sparse memfd, or private, each region one linear mapping; device windows; listeners; the
 * A20 gate. Locking is told in frame.h.
 */
#include "mem/frame.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PHYS_LIMIT (1ull << 52)
#define LARGE_PAGE (2ull << 20)

static void *map_lazy(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct mem *mem_new(struct err *e)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m) {
		err_set(e, "no memory for the guest's physical space");
		return NULL;
	}
	m->a20_mask = ~0ull;
	atomic_flag_clear(&m->table_lock);
	for (unsigned i = 0; i < FRAME_STRIPES; i++)
		atomic_flag_clear(&m->stripe[i]);
	m->fd = memfd_create("doppel-ram", MFD_CLOEXEC);
	if (m->fd < 0) {
		err_errno(e, "cannot create the file that holds guest memory");
		goto fail_fd;
	}
	m->dir = map_lazy(FRAME_DIR_SIZE * sizeof(*m->dir));
	m->port_map = map_lazy(65536 * sizeof(*m->port_map));
	if (m->dir && m->port_map)
		return m;
	err_errno(e, "cannot map the tables of guest memory");
	mem_free(m);
	return NULL;
fail_fd:
	free(m);
	return NULL;
}

static void free_tables(struct mem *m)
{
	if (!m->dir)
		return;
	for (unsigned g = 0; g < m->dir_used; g++)
		if (m->dir[g])
			munmap(m->dir[g], FRAME_TABLE_SIZE * sizeof(frame_word));
	munmap(m->dir, FRAME_DIR_SIZE * sizeof(*m->dir));
}

void mem_free(struct mem *m)
{
	if (!m)
		return;
	free_tables(m);
	mem_dirty_free(m);
	for (unsigned i = 0; i < m->n_regions; i++) {
		if (m->regions[i].hva && !m->regions[i].switched)
			munmap(m->regions[i].hva, m->regions[i].size);
		free(m->regions[i].laid);
	}
	for (unsigned i = 0; i < m->n_banks; i++)
		munmap(m->bank[i].hva, m->bank[i].size);
	if (m->port_map)
		munmap(m->port_map, 65536 * sizeof(*m->port_map));
	close(m->fd);
	free(m);
}

/* Index of the first region that ends above gpa. */
static unsigned region_index(const struct mem *m, u64 gpa)
{
	unsigned lo = 0, hi = m->n_regions;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (m->regions[mid].gpa + m->regions[mid].size > gpa)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* The lock is no part of what a reader's const promises. */
static void lock_table(const struct mem *m)
{
	while (atomic_flag_test_and_set_explicit((atomic_flag *)&m->table_lock, memory_order_acquire))
		__builtin_ia32_pause();
}

static void unlock_table(const struct mem *m)
{
	atomic_flag_clear_explicit((atomic_flag *)&m->table_lock, memory_order_release);
}

bool mem_region(const struct mem *m, u64 gpa, struct region *r)
{
	bool found;
	unsigned i;

	lock_table(m);
	i = region_index(m, gpa);
	found = i < m->n_regions && m->regions[i].gpa <= gpa;
	if (found)
		*r = m->regions[i];
	unlock_table(m);
	return found;
}

bool mem_region_next(const struct mem *m, u64 gpa, struct region *r)
{
	bool found;
	unsigned i;

	lock_table(m);
	i = region_index(m, gpa);
	found = i < m->n_regions;
	if (found)
		*r = m->regions[i];
	unlock_table(m);
	return found;
}

/* Holes and device windows come and go untold: nobody caches their translations or code. */
static void tell_map_changed(struct mem *m)
{
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->map_changed)
			l->map_changed(l->opaque);
}

static int region_insert(struct mem *m, const struct region *r, struct err *e)
{
	unsigned i = region_index(m, r->gpa);

	if (!r->size || r->gpa >= PHYS_LIMIT || r->size > PHYS_LIMIT - r->gpa)
		return err_set(e, "physical range 0x%llx + 0x%llx does not exist", (unsigned long long)r->gpa,
			       (unsigned long long)r->size);
	if (i < m->n_regions && m->regions[i].gpa < r->gpa + r->size)
		return err_set(e, "physical range 0x%llx + 0x%llx overlaps another at 0x%llx",
			       (unsigned long long)r->gpa, (unsigned long long)r->size,
			       (unsigned long long)m->regions[i].gpa);
	if (m->n_regions == MEM_MAX_REGIONS)
		return err_set(e, "more than %d physical ranges", MEM_MAX_REGIONS);
	lock_table(m);
	memmove(&m->regions[i + 1], &m->regions[i], (m->n_regions - i) * sizeof(m->regions[0]));
	m->regions[i] = *r;
	m->n_regions++;
	unlock_table(m);
	if (r->kind != REGION_MMIO)
		tell_map_changed(m);
	return 0;
}

static int make_tables(struct mem *m, u64 gpa, u64 size, struct err *e)
{
	for (u64 g = gpa >> FRAME_DIR_SHIFT; g <= (gpa + size - 1) >> FRAME_DIR_SHIFT; g++) {
		if (!m->dir[g])
			m->dir[g] = map_lazy(FRAME_TABLE_SIZE * sizeof(frame_word));
		if (!m->dir[g])
			return err_errno(e, "cannot map the frame table of guest memory");
		m->dir_used = MAX(m->dir_used, (unsigned)g + 1);
	}
	return 0;
}

void mem_keep_private(struct mem *m)
{
	m->private = true;
}

/* At an address from which on large pages are large ones of the guest's, too. */
static u8 *map_private(u64 gpa, u64 size)
{
	u8 *p = map_lazy(size + LARGE_PAGE);
	u64 skip = (gpa - (uintptr_t)p) & (LARGE_PAGE - 1);

	if (!p)
		return MAP_FAILED;
	if (skip)
		munmap(p, skip);
	munmap(p + skip + size, LARGE_PAGE - skip);
	madvise(p + skip, size, MADV_HUGEPAGE);
	return p + skip;
}

/* Fresh space at the end of the memfd, or private, mapped in one piece. */
static int map_backing(struct mem *m, u64 gpa, u64 size, u8 **hva, u64 *offset, struct err *e)
{
	*offset = m->fd_size;
	if (ftruncate(m->fd, (off_t)(m->fd_size + size)))
		return err_errno(e, "cannot make %llu KiB of guest memory", (unsigned long long)(size >> 10));
	*hva = m->private ? map_private(gpa, size)
			  : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, (off_t)*offset);
	if (*hva == MAP_FAILED)
		return err_errno(e, "cannot map %llu KiB of guest memory", (unsigned long long)(size >> 10));
	madvise(*hva, size, MADV_DONTDUMP);
	return 0;
}

/* A RAM or ROM region. */
static int add_backed(struct mem *m, struct region *r, struct err *e)
{
	if ((r->gpa | r->size) & ~PAGE_MASK || !r->size)
		return err_set(e, "guest memory at 0x%llx is not made of whole pages", (unsigned long long)r->gpa);
	if (r->gpa >= PHYS_LIMIT || r->size > PHYS_LIMIT - r->gpa)
		return err_set(e, "guest memory at 0x%llx is out of reach", (unsigned long long)r->gpa);
	if (map_backing(m, r->gpa, r->size, &r->hva, &r->offset, e))
		return -1;
	if (make_tables(m, r->gpa, r->size, e) || region_insert(m, r, e)) {
		munmap(r->hva, r->size);
		return -1;
	}
	m->fd_size += r->size;
	return 0;
}

int mem_add_ram(struct mem *m, u64 gpa, u64 size, struct err *e)
{
	return add_backed(m, &(struct region){ .gpa = gpa, .size = size, .kind = REGION_RAM }, e);
}

/* The image is padded with ones to whole pages, as an erased chip reads. */
int mem_add_rom(struct mem *m, u64 gpa, const void *bytes, u64 size, struct err *e)
{
	struct region r = { .gpa = gpa, .size = ALIGN_UP(size, PAGE_SIZE), .kind = REGION_ROM };

	if (add_backed(m, &r, e))
		return -1;
	memcpy(r.hva, bytes, size);
	memset(r.hva + size, 0xff, r.size - size);
	return 0;
}

int mem_add_mmio(struct mem *m, u64 gpa, u64 size, const struct io_ops *ops, void *dev, struct err *e)
{
	return region_insert(
	    m, &(struct region){ .gpa = gpa, .size = size, .kind = REGION_MMIO, .ops = ops, .dev = dev }, e);
}

/* Whole pages of the frame table are given back, so that the cost is that of what was touched. */
static void forget_words(frame_word *first, frame_word *end)
{
	frame_word *lo = (frame_word *)ALIGN_UP((uintptr_t)first, PAGE_SIZE);
	frame_word *hi = (frame_word *)ALIGN_DOWN((uintptr_t)end, PAGE_SIZE);

	if (lo < hi && !madvise(lo, (size_t)((u8 *)hi - (u8 *)lo), MADV_DONTNEED)) {
		memset((void *)first, 0, (size_t)((u8 *)lo - (u8 *)first));
		first = hi;
	}
	memset((void *)first, 0, (size_t)((u8 *)end - (u8 *)first));
}

static void forget_frames(struct mem *m, const struct region *r)
{
	u64 step = BIT(FRAME_DIR_SHIFT);

	for (u64 gpa = r->gpa, end = r->gpa + r->size, next; gpa < end; gpa = next) {
		frame_word *first = mem_frame_slot(m, gpa);

		next = MIN(end, ALIGN_DOWN(gpa, step) + step);
		forget_words(first, first + ((next - gpa) >> PAGE_SHIFT));
	}
}

void mem_remove(struct mem *m, u64 gpa)
{
	unsigned i = region_index(m, gpa);
	struct region r;

	if (i == m->n_regions || m->regions[i].gpa != gpa)
		return;
	r = m->regions[i];
	lock_table(m);
	m->n_regions--;
	memmove(&m->regions[i], &m->regions[i + 1], (m->n_regions - i) * sizeof(m->regions[0]));
	unlock_table(m);
	if (!r.hva)
		return;
	forget_frames(m, &r);
	tell_map_changed(m);
	if (!r.switched)
		munmap(r.hva, r.size);
	free(r.laid);
}

/* ---- switched ranges ---------------------------------------------------------------------------------------------
 */

int mem_add_bank(struct mem *m, u64 size, struct mem_bank *b, struct err *e)
{
	if (m->n_banks == MEM_MAX_BANKS)
		return err_set(e, "more than %d banks of memory", MEM_MAX_BANKS);
	*b = (struct mem_bank){ .size = size };
	if (map_backing(m, 0, size, &b->hva, &b->offset, e))
		return -1;
	m->fd_size += size;
	m->bank[m->n_banks++] = *b;
	return 0;
}

static const struct io_ops nothing_ops;

int mem_add_switched(struct mem *m, u64 gpa, u64 size, struct err *e)
{
	struct region r = { .gpa = gpa, .size = size, .kind = REGION_MMIO, .ops = &nothing_ops, .switched = true };

	return make_tables(m, gpa, size, e) || region_insert(m, &r, e) ? -1 : 0;
}

/* The words are filled again at their next use. */
static void switch_words(struct mem *m, const struct region *r)
{
	for (u64 off = 0; off < r->size; off += PAGE_SIZE)
		atomic_fetch_and(mem_frame_slot(m, r->gpa + off), FW_STATE);
}

static void switch_to(struct mem *m, u64 gpa, const struct region *to)
{
	unsigned i = region_index(m, gpa);
	struct region *r = &m->regions[i];

	if (i == m->n_regions || r->gpa != gpa || !r->switched ||
	    (r->kind == to->kind && r->hva == to->hva && r->ops == to->ops && r->dev == to->dev))
		return;
	lock_table(m);
	r->kind = to->kind;
	r->hva = to->hva;
	r->offset = to->offset;
	r->ops = to->ops;
	r->dev = to->dev;
	unlock_table(m);
	switch_words(m, r);
	tell_map_changed(m);
}

void mem_switch(struct mem *m, u64 gpa, const struct mem_bank *b, u64 off, bool writable)
{
	switch_to(m, gpa,
		  &(struct region){
		      .kind = writable ? REGION_RAM : REGION_ROM, .hva = b->hva + off, .offset = b->offset + off });
}

void mem_switch_io(struct mem *m, u64 gpa, const struct io_ops *ops, void *dev)
{
	switch_to(m, gpa, &(struct region){ .kind = REGION_MMIO, .ops = ops ? ops : &nothing_ops, .dev = dev });
}

u64 mem_ram_size(const struct mem *m)
{
	u64 n = 0;

	for (unsigned i = 0; i < m->n_regions; i++)
		if (m->regions[i].kind == REGION_RAM && !m->regions[i].switched)
			n += m->regions[i].size;
	return n;
}

bool mem_ram_range(const struct mem *m, unsigned n, u64 *gpa, u64 *size)
{
	bool found = false;

	lock_table(m);
	for (unsigned i = 0; i < m->n_regions && !found; i++) {
		if (m->regions[i].kind != REGION_RAM || m->regions[i].switched || n--)
			continue;
		*gpa = m->regions[i].gpa;
		*size = m->regions[i].size;
		found = true;
	}
	unlock_table(m);
	return found;
}

bool mem_is_ram(const struct mem *m, u64 gpa, u64 len)
{
	while (len) {
		struct region r;
		u64 n;

		if (!mem_region(m, gpa, &r) || r.kind != REGION_RAM)
			return false;
		n = MIN(len, r.gpa + r.size - gpa);
		gpa += n;
		len -= n;
	}
	return true;
}

static int give_back(struct mem *m, const struct region *r, u64 gpa, u64 len)
{
	u64 at = gpa - r->gpa;

	return m->private
		   ? madvise(r->hva + at, len, MADV_DONTNEED)
		   : fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(r->offset + at), (off_t)len);
}

int mem_discard(struct mem *m, u64 gpa, u64 len)
{
	if ((gpa | len) & ~PAGE_MASK || !mem_is_ram(m, gpa, len))
		return -1;
	for (u64 n; len; gpa += n, len -= n) {
		struct region r;

		if (!mem_region(m, gpa, &r))
			return -1;
		n = MIN(MIN(len, r.gpa + r.size - gpa), r.laid ? MEM_LAY_STEP - (gpa - r.gpa) % MEM_LAY_STEP : BIT(30));
		mem_before_write(m, gpa, (unsigned)n);
		if (mem_is_laid(m, gpa) || give_back(m, &r, gpa, n))
			memset(r.hva + (gpa - r.gpa), 0, n);
		mem_before_write(m, gpa, (unsigned)n);
	}
	return 0;
}

int mem_where(struct mem *m, u64 gpa, u64 *offset)
{
	struct region r;

	if (m->private || !mem_region(m, gpa, &r) || !r.hva || mem_is_laid(m, gpa))
		return -1;
	*offset = r.offset + (gpa - r.gpa);
	return m->fd;
}

void mem_add_listener(struct mem *m, struct mem_listener *l)
{
	l->next = m->listeners;
	m->listeners = l;
	m->n_writers += l->revoke_write != NULL;
}

void mem_remove_listener(struct mem *m, struct mem_listener *l)
{
	for (struct mem_listener **p = &m->listeners; *p; p = &(*p)->next) {
		if (*p != l)
			continue;
		*p = l->next;
		m->n_writers -= l->revoke_write != NULL;
		return;
	}
}

void mem_set_a20(struct mem *m, bool on)
{
	u64 mask = on ? ~0ull : ~BIT(20);

	if (m->a20_mask == mask)
		return;
	m->a20_mask = mask;
	tell_map_changed(m);
}

bool mem_get_a20(const struct mem *m)
{
	return m->a20_mask == ~0ull;
}
