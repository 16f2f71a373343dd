/* SPDX-License-Identifier: Apache-2.0
 * What a mirror has mapped: a cache of the guest's page tables, filled by faults, compared again behind flushes.
 *
 * It is kept by groups of 2 MiB, each with the guest's entries as they were when the pages were mapped, so that
 * comparing all costs one look at the upper tables a group and one word a page. A reverse map leads from frames to the
 * mappings.
 */
#include "engine/direct/direct.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/counter.h"
#include "cpu/lapic.h"
#include "mem/frame.h"

#define ADDR_MASK 0x000ffffffffff000ull
#define NX BIT(63)
/* In group.table, beside the address: what all upper levels allow, and whether it is a large page. */
enum { E_P = 1, E_W = 2, E_U = 4, E_NX = 8, E_LARGE = 0x10, E_A = 0x20, E_D = 0x40, E_PS = 0x80 };
#define MAX_MAPS 40000 /* of 65,530 that a process may have */
#define LOWEST 0x10000 /* hosts let nobody map below it */
#define GROUP_SIZE (512 * PAGE_SIZE)
#define INSN_MAX 15

/* ---- the guest's tables ----------------------------------------------------------------------------------------- */

static u64 entry_at(const struct direct *d, u64 table, u64 index)
{
	const u8 *p = mem_page(d->m, mem_a20(d->m, (table & ADDR_MASK) + 8 * index), false);

	return p ? __atomic_load_n((const u64 *)(const void *)p, __ATOMIC_RELAXED) : 0;
}

static u64 large(u64 entry, u64 size, u64 lin, u64 rights)
{
	u64 base = (entry & ADDR_MASK & ~(size - 1)) + (lin & (size - 1) & ~(GROUP_SIZE - 1));

	return base | rights | E_LARGE | (entry & (E_A | E_D));
}

static u64 both(u64 rights, u64 entry)
{
	return E_P | (rights & entry & (E_W | E_U)) | (rights & E_NX) | (entry & NX ? E_NX : 0);
}

/* What the upper tables say of the group that holds lin: struct group's `table`; 0: nothing there. */
static u64 path_of(const struct direct *d, u64 root, u64 lin)
{
	u64 rights = E_W | E_U, e = root;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		e = entry_at(d, e, lin >> shift & 511);
		if (!(e & E_P))
			return 0;
		rights = both(rights, e);
		if (shift < 39 && (e & E_PS))
			return large(e, BIT(shift), lin, rights);
	}
	return (e & ADDR_MASK) | rights;
}

static u64 large_leaf(u64 table, unsigned index)
{
	return ((table & ADDR_MASK) + index * PAGE_SIZE) | (table & (E_P | E_W | E_U | E_A | E_D)) |
	       (table & E_NX ? NX : 0);
}

static u64 small_leaf(u64 table, u64 e)
{
	return (e & (ADDR_MASK | E_P | E_A | E_D)) | (e & table & (E_W | E_U)) | ((e & NX) || (table & E_NX) ? NX : 0);
}

/* The page's entry, as all levels together allow. */
static u64 leaf_of(const struct direct *d, u64 table, unsigned index)
{
	return table & E_LARGE ? large_leaf(table, index) : small_leaf(table, entry_at(d, table, index));
}

bool pages_stub_free(const struct direct *d)
{
	return !(entry_at(d, d->c->cr3, STUB_BASE >> 39) & E_P);
}

/* ---- groups ----------------------------------------------------------------------------------------------------- */

static unsigned slot_of(u64 lin)
{
	return (unsigned)(lin >> 21 ^ lin >> 31) & (GROUP_HASH - 1);
}

static unsigned index_of(u64 lin)
{
	return (unsigned)(lin >> PAGE_SHIFT & 511);
}

static struct group *group_find(const struct mirror *m, u64 lin)
{
	struct group *g = m->hash[slot_of(lin)];

	while (g && (g->lin ^ lin) >> 21)
		g = g->hash_next;
	return g;
}

static struct group *group_get(struct mirror *m, u64 lin)
{
	struct group *g = group_find(m, lin);

	if (g)
		return g;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->lin = lin & ~(GROUP_SIZE - 1);
	g->hash_next = m->hash[slot_of(lin)];
	m->hash[slot_of(lin)] = g;
	g->next = m->groups;
	m->groups = g;
	return g;
}

bool pages_refused(const struct mirror *m, u64 lin)
{
	const struct group *g = group_find(m, lin);

	return g && (g->page[index_of(lin)] & PAGE_REFUSED);
}

/* ---- the reverse map -------------------------------------------------------------------------------------------- */

/* From any thread. */
static u32 *frame_of(struct direct *d, u64 gpa)
{
	return gpa >> PAGE_SHIFT < atomic_load(&d->n_frames) ? &d->frames[gpa >> PAGE_SHIFT] : NULL;
}

static bool more_maps(struct direct *d)
{
	u32 cap = d->cap_maps ? 2 * d->cap_maps : 4096;
	struct user_page *p = realloc(d->maps, cap * sizeof(*p));

	if (!p)
		return false;
	d->maps = p;
	d->cap_maps = cap;
	return true;
}

static bool map_note(struct direct *d, const struct mirror *m, u64 gpa, u64 lin)
{
	u32 *head = frame_of(d, gpa), n = d->free_maps;

	if (!head)
		return false;
	if (n) {
		d->free_maps = d->maps[n].next;
	} else {
		if (d->n_maps + 1 >= d->cap_maps && !more_maps(d))
			return false;
		n = ++d->n_maps;
	}
	d->maps[n] = (struct user_page){ .next = *head, .mirror = (u16)(m - d->mirror), .lin = lin };
	__atomic_store_n(head, n, __ATOMIC_SEQ_CST);
	return true;
}

static void map_forget(struct direct *d, const struct mirror *m, u64 gpa, u64 lin)
{
	u32 *p = frame_of(d, gpa);

	while (p && *p) {
		struct user_page *e = &d->maps[*p];
		u32 n = *p;

		if (e->mirror == m - d->mirror && e->lin == lin) {
			__atomic_store_n(p, e->next, __ATOMIC_SEQ_CST);
			e->next = d->free_maps;
			d->free_maps = n;
			return;
		}
		p = &e->next;
	}
}

/* ---- leaving ---------------------------------------------------------------------------------------------------- */

/* The record of a page goes; its mapping is the caller's. */
static void page_forget(struct direct *d, struct mirror *m, struct group *g, unsigned i)
{
	u64 gpa = g->entry[i] & ADDR_MASK;

	if (g->page[i] & PAGE_X)
		mem_code_leave(d->m, gpa);
	if (g->page[i] & PAGE_GUARDED)
		guard_forget(m, g->lin + i * PAGE_SIZE);
	if (g->page[i] & PAGE_R) {
		map_forget(d, m, gpa, g->lin + i * PAGE_SIZE);
		g->n--;
	}
	g->page[i] = 0;
}

static int page_drop(struct direct *d, struct mirror *m, struct group *g, unsigned i)
{
	bool there = g->page[i] & PAGE_R;

	page_forget(d, m, g, i);
	if (!there)
		return 0;
	counter_inc(d->c->counters, CNT_DIRECT_DROPPED);
	return mirror_request(m, SYS_munmap, g->lin + i * PAGE_SIZE, PAGE_SIZE, 0, 0, 0, 0);
}

static int group_drop(struct direct *d, struct mirror *m, struct group *g)
{
	unsigned there = g->n;

	for (unsigned i = 0; i < 512; i++)
		if (g->page[i])
			page_forget(d, m, g, i);
	return there ? mirror_request(m, SYS_munmap, g->lin, MIN(GROUP_SIZE, USER_END - g->lin), 0, 0, 0, 0) : 0;
}

static void groups_free(struct direct *d, struct mirror *m)
{
	struct group *g = m->groups, *next;

	for (; g; g = next) {
		next = g->next;
		for (unsigned i = 0; i < 512; i++)
			if (g->page[i])
				page_forget(d, m, g, i);
		free(g);
	}
	m->groups = NULL;
	memset(m->hash, 0, sizeof(m->hash));
	m->n_maps = 0;
}

/* A request found that it was killed. One whose fault is being served still has the guest's registers: stay() fetches
 * them. */
static void found_dead(struct direct *d, struct mirror *m)
{
	if (m == d->serving)
		return;
	counter_inc(d->c->counters, CNT_DIRECT_DIED);
	mirror_stop(m);
}

void pages_clear(struct direct *d, struct mirror *m)
{
	const u64 end = REQUESTS_BASE + REQUESTS_SIZE;
	bool any = m->groups;

	groups_free(d, m);
	if (!m->alive || !any)
		return;
	if (mirror_request(m, SYS_munmap, 0, STUB_BASE, 0, 0, 0, 0) ||
	    mirror_request(m, SYS_munmap, end, USER_END - end, 0, 0, 0, 0) || mirror_flush(m))
		found_dead(d, m);
}

/* A frame is in `taking` first and in frames[] before it leaves that, so they are looked at in this order. */
static bool is_mapped(struct direct *d, u64 gpa)
{
	u32 *head = frame_of(d, gpa);

	return head && (atomic_load(&d->taking) == ((gpa & PAGE_MASK) | 1) || __atomic_load_n(head, __ATOMIC_SEQ_CST));
}

bool pages_drop_frame(struct direct *d, u64 gpa)
{
	if (!is_mapped(d, gpa))
		return false;
	pthread_mutex_lock(&d->lock);
	if (d->n_dropped == DROPS)
		d->drop_all = true;
	else
		d->dropped[d->n_dropped++] = gpa & PAGE_MASK;
	d->drop_some = true;
	pthread_mutex_unlock(&d->lock);
	return true;
}

static void frame_drop(struct direct *d, u64 gpa)
{
	u32 *head = frame_of(d, gpa);

	while (head && *head) {
		const struct user_page e = d->maps[*head];
		struct mirror *m = &d->mirror[e.mirror];
		struct group *g = group_find(m, e.lin);

		if (!g)
			break;
		if (page_drop(d, m, g, index_of(e.lin)))
			found_dead(d, m); /* other mirrors may have the frame, too */
	}
}

/* Carries out what pages_drop_frame() noted. */
static void drain(struct direct *d)
{
	u64 list[DROPS];
	unsigned n;

	if (!atomic_load(&d->drop_some))
		return;
	pthread_mutex_lock(&d->lock);
	n = d->n_dropped;
	memcpy(list, d->dropped, n * sizeof(list[0]));
	d->n_dropped = 0;
	d->drop_some = false;
	pthread_mutex_unlock(&d->lock);
	for (unsigned k = 0; k < n; k++)
		frame_drop(d, list[k]);
	for (unsigned k = 0; k < MIRRORS; k++)
		if (d->mirror[k].alive && mirror_flush(&d->mirror[k]))
			found_dead(d, &d->mirror[k]);
}

/* ---- coming ----------------------------------------------------------------------------------------------------- */

/* The frame's first or last bytes beside those of an executable neighbour. */
static bool seam_bad(struct direct *d, struct mirror *m, u64 lin, const u8 *page)
{
	for (int side = -1; side <= 1; side += 2) {
		u64 other = lin + (u64)(s64)(side * (s64)PAGE_SIZE);
		const struct group *g = group_find(m, other);
		const u8 *p;

		if (!g || !(g->page[index_of(other)] & PAGE_X))
			continue;
		p = mem_page(d->m, g->entry[index_of(other)] & ADDR_MASK, false);
		if (!p || (side < 0 ? direct_scan_seam(p + PAGE_SIZE, page, d->vouched)
				    : direct_scan_seam(page + PAGE_SIZE, p, d->vouched)))
			return true;
	}
	return false;
}

/* Pages that follow each other in the space and in the file, not yet asked for. */
struct run {
	u64 lin, offset, len;
	unsigned prot;
};

static int run_end(struct direct *d, struct mirror *m, struct run *r)
{
	int prot = PROT_READ | (r->prot & PAGE_W ? PROT_WRITE : 0) | (r->prot & PAGE_X ? PROT_EXEC : 0);

	if (!r->len)
		return 0;
	counter_inc(d->c->counters, CNT_DIRECT_MAPPINGS);
	counter_add(d->c->counters, CNT_DIRECT_PAGES, r->len >> PAGE_SHIFT);
	m->n_maps++;
	if (mirror_request(m, SYS_mmap, r->lin, r->len, (u64)prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, RAM_FD,
			   r->offset))
		return -1;
	r->len = 0;
	return 0;
}

/* Breakpoints for a page that needs n of them: others give theirs up, but not those of the page that is executing,
 * which may hold the first half of an instruction that needs both. */
static bool make_room(struct direct *d, struct mirror *m, unsigned n)
{
	while (guard_free(m) < n) {
		u64 lin = guard_victim(m, m->fetch_at);
		struct group *g = group_find(m, lin);

		if (!lin || !g || page_drop(d, m, g, index_of(lin)))
			return false;
		counter_inc(d->c->counters, CNT_DIRECT_UNGUARDED);
		d->unguarded++;
	}
	return true;
}

/* PAGE_* for a frame with such bytes: executable under guard where that is needed now, or as data until it is. */
static unsigned take_guarded(struct direct *d, struct mirror *m, u64 lin, const u8 *page, unsigned want)
{
	u16 at[GUARDS];
	int n = d->guards ? guard_sites(page, d->vouched, at) : -1;

	if (n < 0)
		return PAGE_REFUSED;
	if (!(want & PAGE_X))
		return 0;
	if (!make_room(d, m, (unsigned)n))
		return PAGE_REFUSED;
	guard_set(m, lin, at, (unsigned)n);
	counter_inc(d->c->counters, CNT_DIRECT_GUARDED);
	return PAGE_X | PAGE_GUARDED;
}

/* Other vCPUs could be about to store to a frame that is taken as code, or run in mirrors where it is writable: they
 * stand still until all of this fault's frames are scanned. */
static void be_alone(struct direct *d)
{
	if (d->alone || d->m->n_writers < 2 || !d->c->ops->exclusive_begin)
		return;
	d->c->ops->exclusive_begin(d->c);
	d->alone = true;
}

static void be_not_alone(struct direct *d)
{
	if (d->alone)
		d->c->ops->exclusive_end(d->c);
	d->alone = false;
}

/* Takes the frame as code, if it may be executed at lin: PAGE_*. Its other mappings go first, so none may be in r. */
static unsigned take_code(struct direct *d, struct mirror *m, u64 lin, u64 gpa, unsigned want, struct run *r)
{
	const u8 *page;
	unsigned p;
	bool some;

	be_alone(d);
	page = mem_page(d->m, gpa, false);
	if (!page || (!(r->prot & PAGE_X) && run_end(d, m, r)))
		return PAGE_REFUSED;
	atomic_store(&d->taking, (gpa & PAGE_MASK) | 1); /* a device's write behind the scan must not go unnoticed */
	if (mem_code_enter(d->m, gpa))
		return PAGE_REFUSED;
	some = atomic_load(&d->drop_some); /* writable mappings of it, for one thing */
	if (some && run_end(d, m, r)) {
		mem_code_leave(d->m, gpa);
		return PAGE_REFUSED;
	}
	if (some)
		drain(d);
	if (seam_bad(d, m, lin, page))
		p = PAGE_REFUSED;
	else
		p = direct_scan(page, PAGE_SIZE, d->vouched) ? take_guarded(d, m, lin, page, want) : PAGE_X;
	if (!(p & PAGE_X))
		mem_code_leave(d->m, gpa);
	if (p & PAGE_REFUSED)
		counter_inc(d->c->counters, CNT_DIRECT_REFUSED);
	return p;
}

/* How the page may be mapped now: PAGE_*. want: PAGE_X where it must be executable, if written it must be writable. A
 * page that is both is executable only if asked for. */
static unsigned allow(struct direct *d, struct mirror *m, u64 lin, u64 leaf, unsigned want, struct run *r)
{
	u64 gpa = mem_a20(d->m, leaf & ADDR_MASK), w = mem_frame(d->m, gpa);
	unsigned p = PAGE_R;

	if (!(w & FW_RAM) || mem_is_laid(d->m, gpa) || lapic_claims(d->c, gpa) || !frame_of(d, gpa) || lin < LOWEST ||
	    lin >= USER_END - PAGE_SIZE || (leaf & (E_P | E_U | E_A)) != (E_P | E_U | E_A))
		return 0;
	if (!(leaf & NX) && ((want & PAGE_X) || !(leaf & E_W)) && !(want & PAGE_W))
		p |= take_code(d, m, lin, gpa, want, r);
	if (!(p & PAGE_X) && (leaf & E_W) && (leaf & E_D)) {
		atomic_store(&d->taking, (gpa & PAGE_MASK) | 1); /* and who takes it as code behind this is heard */
		p |= mem_note_writer(d->m, gpa) ? PAGE_W : 0;
	}
	return p;
}

/* The page comes in as p says. */
static int page_add(struct direct *d, struct mirror *m, struct group *g, unsigned i, u64 leaf, unsigned p,
		    struct run *r)
{
	u64 gpa = mem_a20(d->m, leaf & ADDR_MASK), lin = g->lin + i * PAGE_SIZE, offset;

	if (mem_where(d->m, gpa, &offset) != d->m->fd || !map_note(d, m, gpa, lin)) {
		if (p & PAGE_X)
			mem_code_leave(d->m, gpa);
		if (p & PAGE_GUARDED)
			guard_forget(m, lin);
		return -1;
	}
	atomic_store(&d->taking, 0);
	g->page[i] = (u8)p;
	g->entry[i] = (leaf & ~ADDR_MASK) | gpa;
	g->n++;
	p &= PAGE_W | PAGE_X;
	if (r->len && r->lin + r->len == lin && r->offset + r->len == offset && r->prot == p) {
		r->len += PAGE_SIZE;
		return 0;
	}
	if (run_end(d, m, r))
		return -1;
	*r = (struct run){ lin, offset, PAGE_SIZE, p };
	return 0;
}

/* All pages of the group that the guest has used. */
static int add_others(struct direct *d, struct mirror *m, struct group *g)
{
	const u64 used = E_P | E_U | E_A;
	const u64 *table = (const u64 *)(const void *)mem_page(d->m, mem_a20(d->m, g->table & ADDR_MASK), false);
	struct run r = { .len = 0 };

	if (!table && !(g->table & E_LARGE))
		return 0;
	for (unsigned i = 0; i < 512; i++) {
		u64 leaf;
		unsigned p;

		if (g->page[i])
			continue;
		leaf = g->table & E_LARGE ? large_leaf(g->table, i)
					  : small_leaf(g->table, __atomic_load_n(&table[i], __ATOMIC_RELAXED));
		if ((leaf & used) != used)
			continue;
		p = allow(d, m, g->lin + i * PAGE_SIZE, leaf, 0, &r);
		if (p && page_add(d, m, g, i, leaf, p, &r))
			return -1;
	}
	return run_end(d, m, &r);
}

/* PAGE_* that the access at lin needs, of which the mirror has `have`; 0: it has all. What kind of access it was the
 * host does not say: a page that is there was not fetched from if it is executable, and not read. */
static unsigned wanted(u64 lin, u64 fetch_at, unsigned have, u64 leaf)
{
	bool fetch = lin - fetch_at < INSN_MAX && !(leaf & NX) && !(have & PAGE_X);

	if (fetch && (lin == fetch_at || !(have & PAGE_R) || !((lin ^ fetch_at) >> PAGE_SHIFT)))
		return PAGE_X;
	if (!(have & PAGE_R))
		return PAGE_R;
	return have & PAGE_W ? 0 : PAGE_W;
}

static unsigned walk_acc(unsigned want)
{
	return want & PAGE_X ? ACC_X : want & PAGE_W ? ACC_W : ACC_R;
}

/* The group as the tables are now; NULL: no memory, or the mirror is lost. */
static struct group *group_now(struct direct *d, struct mirror *m, u64 lin)
{
	struct group *g = group_get(m, lin);
	u64 table = path_of(d, m->root, lin);

	if (!g)
		return NULL;
	if (g->table != table && group_drop(d, m, g))
		return NULL;
	g->table = table;
	return g;
}

/* What is this process's alone cannot be mapped in another. */
static void own(struct direct *d, u64 gpa)
{
	struct cpu *c = d->c;

	if (!mem_is_laid(d->m, gpa))
		return;
	if (c->ops->exclusive_begin)
		c->ops->exclusive_begin(c);
	mem_own(d->m, gpa);
	if (c->ops->exclusive_end)
		c->ops->exclusive_end(c);
}

static bool fault(struct direct *d, struct mirror *m, u64 lin, u64 fetch_at)
{
	unsigned i = index_of(lin), want, p;
	struct run r = { .len = 0 };
	struct group *g;
	struct walk w;
	u64 leaf;

	if (lin >= USER_END)
		return false;
	m->fetch_at = fetch_at;
	g = group_now(d, m, lin);
	if (!g)
		return false;
	leaf = leaf_of(d, g->table, i);
	if ((g->page[i] & PAGE_R) && ((g->entry[i] ^ leaf) & ADDR_MASK) && page_drop(d, m, g, i))
		return false;
	want = wanted(lin, fetch_at, g->page[i], leaf);
	if ((want & PAGE_X) && (g->page[i] & PAGE_REFUSED))
		want = 0;
	if (!want || mmu_walk(d->c, lin, walk_acc(want), true, &w))
		return mirror_flush(m) && false;
	own(d, mem_a20(d->m, w.gpa));
	g = group_now(d, m, lin);
	if (!g)
		return false;
	leaf = leaf_of(d, g->table, i);
	if (g->page[i])
		page_forget(d, m, g, i); /* what is mapped over it replaces it */
	p = allow(d, m, lin & PAGE_MASK, leaf, want, &r);
	if (!p)
		mirror_request(m, SYS_munmap, lin & PAGE_MASK, PAGE_SIZE, 0, 0, 0, 0);
	if ((p && page_add(d, m, g, i, leaf, p, &r)) || run_end(d, m, &r) || add_others(d, m, g) || mirror_flush(m)) {
		m->n_maps = MAX_MAPS; /* see pages_sync() */
		return false;
	}
	counter_inc(d->c->counters, CNT_DIRECT_INSTALLS);
	return p & want;
}

static bool after_fault(struct direct *d, struct mirror *m, u64 lin, u64 fetch_at)
{
	struct run r = { .len = 0 };
	unsigned i = index_of(lin), p;
	struct group *g;
	u64 leaf;

	if (lin >= USER_END || !(g = group_now(d, m, lin)) || g->page[i])
		return true;
	m->fetch_at = fetch_at;
	leaf = leaf_of(d, g->table, i);
	p = allow(d, m, lin & PAGE_MASK, leaf, lin == fetch_at ? PAGE_X : 0, &r);
	if (!p)
		return !mirror_flush(m);
	if (page_add(d, m, g, i, leaf, p, &r) || run_end(d, m, &r) || add_others(d, m, g) || mirror_flush(m)) {
		m->n_maps = MAX_MAPS; /* see pages_sync() */
		return false;
	}
	counter_inc(d->c->counters, CNT_DIRECT_AHEAD);
	return true;
}

bool pages_fault(struct direct *d, struct mirror *m, u64 lin, u64 fetch_at)
{
	bool done;

	d->serving = m;
	done = fault(d, m, lin, fetch_at);
	d->serving = NULL;
	be_not_alone(d);
	return done;
}

bool pages_after_fault(struct direct *d, struct mirror *m, u64 lin, u64 fetch_at)
{
	bool done = after_fault(d, m, lin, fetch_at);

	be_not_alone(d);
	return done;
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

/* Does the mapping still say what the guest's entry does? */
static bool page_right(const struct direct *d, const struct group *g, unsigned i)
{
	u64 mask = ADDR_MASK | E_P | E_W | E_U | NX | (g->page[i] & PAGE_W ? E_D : 0), leaf = leaf_of(d, g->table, i);

	leaf = (leaf & ~ADDR_MASK) | mem_a20(d->m, leaf & ADDR_MASK);
	return !((g->entry[i] ^ leaf) & mask);
}

static int group_check(struct direct *d, struct mirror *m, struct group *g, u64 table)
{
	u64 was = g->table;

	if (was == table && !g->n)
		return 0;
	g->table = table;
	if ((was ^ table) & ~(u64)E_A)
		return group_drop(d, m, g);
	for (unsigned i = 0; i < 512; i++)
		if (g->page[i] && !page_right(d, g, i) && page_drop(d, m, g, i))
			return -1;
	return 0;
}

static int check_all(struct direct *d, struct mirror *m)
{
	unsigned before = 0, after = 0;

	counter_inc(d->c->counters, CNT_DIRECT_CHECKS);
	for (struct group *g = m->groups; g; g = g->next) {
		before += g->n;
		if (group_check(d, m, g, path_of(d, m->root, g->lin)))
			return -1;
		after += g->n;
	}
	m->replaced = after < before / 4; /* so much no process unmaps between two stays */
	return 0;
}

static int check_flushed(struct direct *d, struct mirror *m)
{
	const struct mmu_hot *hot = d->c->mmu;

	for (u64 n = m->pages_seen; n != hot->flushed_pages; n++) {
		u64 lin = hot->flushed_page[n % FLUSHED_PAGES];
		struct group *g = group_find(m, lin);
		unsigned i = index_of(lin);
		u64 table;

		if (!g)
			continue;
		table = path_of(d, m->root, lin);
		if ((g->table ^ table) & ~(u64)E_A) {
			if (group_check(d, m, g, table))
				return -1;
		} else if (g->page[i] && !page_right(d, g, i) && page_drop(d, m, g, i)) {
			return -1;
		}
	}
	return 0;
}

bool pages_sync(struct direct *d, struct mirror *m)
{
	const struct mmu_hot *hot = d->c->mmu;
	int bad = 0;

	drain(d);
	if (atomic_exchange(&d->drop_all, false))
		for (unsigned k = 0; k < MIRRORS; k++)
			pages_clear(d, &d->mirror[k]);
	if (m->n_maps >= MAX_MAPS)
		pages_clear(d, m);
	if (!m->alive)
		return false;
	if (m->all_seen != hot->flushed_many || hot->flushed_pages - m->pages_seen > FLUSHED_PAGES)
		bad = check_all(d, m);
	else if (m->pages_seen != hot->flushed_pages)
		bad = check_flushed(d, m);
	m->all_seen = hot->flushed_many;
	m->pages_seen = hot->flushed_pages;
	if (!bad && !mirror_flush(m))
		return true;
	groups_free(d, m);
	found_dead(d, m);
	return false;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

int pages_init(struct direct *d)
{
	u64 gpa, size, end = 0;
	void *frames;

	for (unsigned i = 0; mem_ram_range(d->m, i, &gpa, &size); i++)
		end = MAX(end, gpa + size);
	frames = mmap(NULL, (end >> PAGE_SHIFT) * sizeof(*d->frames) + 1, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (frames == MAP_FAILED)
		return -1;
	d->frames = frames;
	atomic_store(&d->n_frames, end >> PAGE_SHIFT); /* others may ask from now on */
	return 0;
}

void pages_free(struct direct *d)
{
	for (unsigned k = 0; k < MIRRORS; k++)
		groups_free(d, &d->mirror[k]);
	free(d->maps);
	if (d->frames)
		munmap(d->frames, d->n_frames * sizeof(*d->frames) + 1);
}
