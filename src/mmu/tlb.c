/* SPDX-License-Identifier: Apache-2.0
 * The tagged lookaside: ids, flushes, fills, mode changes. The structure is told in state.h.
 *
 * All but revoke_write() belong to the vCPU's thread, or to another under exclusive execution. revoke_write() may be
 * called by any thread that enters code; it only clears write tags, which is harmless at any moment.
 */
#include "mmu/state.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/counter.h"
#include "cpu/debug.h"
#include "cpu/lapic.h"

#define ADDR_MASK 0x000ffffffffff000ull
#define ATTR_MASK 0x1ffull

#define CR0_KEY (CR0_PG | CR0_WP)
#define CR4_KEY (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP)
#define EFER_KEY (EFER_LMA | EFER_NXE)

/* The array that never hits: in force while every access has to be checked. */
static const struct tlbe never[TLB_SIZE] = { [0 ... TLB_SIZE - 1] = { .r = TLB_NO_TAG, .w = TLB_NO_TAG } };

/* ---- ids ------------------------------------------------------------------------------------------------------- */

static void empty(struct mmu *u)
{
	memset(u->pcid_id, 0, sizeof(u->pcid_id));
	memset(u->large2m, 0, sizeof(u->large2m));
	memset(u->large1g, 0, sizeof(u->large1g));
	memset(u->l1, 0, sizeof(u->l1));
	memset(u->victim, 0, sizeof(u->victim));
	memset(u->fetch, 0, sizeof(u->fetch));
	memset(u->l2, 0, sizeof(u->l2));
	u->gid = 1;
	u->floor = u->next_id = 2;
	u->id = u->sid = 0;
	if (u->hot.fetch_dropped)
		u->hot.fetch_dropped(u->hot.opaque, ~0ull);
}

/* The tags and the salt of the mode in force. */
static void take_tags(struct mmu *u)
{
	struct cpu *c = u->c;
	bool user = c->d.cpl == 3;

	c->ctx = mmu_tag(u, mmu_mode(u, 0));
	c->fetch_ctx = mmu_fetch_tag(u, user);
	for (unsigned ac = 0; ac < 2; ac++) {
		enum tlb_mode mode = u->smap && !ac ? MODE_SMAP : MODE_SUPER;

		u->hot.ac[ac].tlb = u->armed ? (struct tlbe *)never : u->l1[mode];
		u->hot.ac[ac].ctx = mmu_tag(u, mode);
	}
	c->salt = (u64)c->fetch_ctx << 48 | (u64)user << 60;
}

static void l1_drop(struct mmu *u, u64 lin);

/* The current space is another one, or has lost what is not global: is sid still right? Takes an id at most. */
static void select_shared(struct mmu *u)
{
	if (u->shared && u->sid && u->n_local <= MAX_LOCAL) {
		while (u->n_local)
			l1_drop(u, u->local[--u->n_local]);
		return;
	}
	if (u->n_local > MAX_LOCAL && ++u->renewed > MAX_RENEWED)
		u->shared = false;
	u->n_local = 0;
	u->sid = u->shared ? u->next_id++ : u->id;
}

/* Makes the space that CR3 names the current one. */
static void select_space(struct mmu *u)
{
	struct cpu *c = u->c;
	u16 *id = &u->pcid_id[c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0];

	u->cr3 = c->cr3;
	if (u->next_id >= ID_MAX)
		empty(u);
	if (*id < u->floor)
		*id = u->next_id++;
	if (*id != u->id) {
		u->id = *id;
		select_shared(u);
	}
	take_tags(u);
}

void tlb_flush_all(struct mmu *u)
{
	if (u->next_id >= ID_MAX) {
		empty(u);
	} else {
		u->gid = u->next_id++;
		u->floor = u->next_id;
		u->sid = 0;
		memset(u->large2m, 0, sizeof(u->large2m));
		memset(u->large1g, 0, sizeof(u->large1g));
	}
	u->hot.flushed_many++;
	counter_inc(u->c->counters, CNT_TLB_FLUSH_ALL);
	select_space(u);
}

static void flush_non_global(struct mmu *u)
{
	u->floor = u->next_id;
	u->hot.flushed_many++;
	counter_inc(u->c->counters, CNT_TLB_FLUSH_ASID);
	select_space(u);
}

static void flush_pcid(struct mmu *u, u32 pcid)
{
	u->pcid_id[pcid & 0xfff] = 0;
	u->hot.flushed_many++;
	counter_inc(u->c->counters, CNT_TLB_FLUSH_ASID);
	select_space(u);
}

/* ---- one page --------------------------------------------------------------------------------------------------- */

static bool bit_test(const u64 *map, u64 n)
{
	return map[n / 64] >> (n % 64) & 1;
}

static void note_large(struct mmu *u, u64 lin, u64 page)
{
	u64 m = lin >> 21, g = lin >> 30;

	if (page & ATTR_HUGE) {
		g &= BIT(LARGE1G_BITS) - 1;
		u->large1g[g / 64] |= BIT(g % 64);
	}
	if (page & ATTR_LARGE) {
		/* both halves of a 4 MiB page */
		m &= (BIT(LARGE2M_BITS) - 1) & (u->paging == PAGING_32 ? ~1ull : ~0ull);
		u->large2m[m / 64] |= (u->paging == PAGING_32 ? 3ull : 1ull) << (m % 64);
	}
}

static bool maybe_large(const struct mmu *u, u64 lin)
{
	return bit_test(u->large2m, lin >> 21 & (BIT(LARGE2M_BITS) - 1)) ||
	       bit_test(u->large1g, lin >> 30 & (BIT(LARGE1G_BITS) - 1));
}

static struct l2e *l2_slot(struct mmu *u, u64 lin, u16 id)
{
	return &u->l2[((lin >> PAGE_SHIFT) ^ id * 61u) & (L2_SIZE - 1)];
}

static void l2_drop(struct mmu *u, u64 lin, u16 id)
{
	struct l2e *e = l2_slot(u, lin, id);

	if (e->tag == ((lin & PAGE_MASK) | id))
		e->tag = 0;
}

static struct tlbe *victim_slot(struct mmu *u, unsigned mode, u64 lin)
{
	u64 page = lin >> PAGE_SHIFT;

	return &u->victim[mode][(page ^ page >> VICTIM_BITS ^ page >> TLB_BITS) & (VICTIMS - 1)];
}

static void entry_drop(struct tlbe *e, u64 lin)
{
	if (((e->r ^ lin) & PAGE_MASK) && ((tlb_write_tag(e) ^ lin) & PAGE_MASK))
		return;
	e->r = TLB_NO_TAG;
	__atomic_store_n(&e->w, TLB_NO_TAG, __ATOMIC_RELAXED);
}

/* Drops the page from the first level, in whatever space: global pages stand there under every user's id. */
static void l1_drop(struct mmu *u, u64 lin)
{
	for (unsigned i = 0; i < NR_MODES; i++) {
		entry_drop(&u->l1[i][(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)], lin);
		entry_drop(victim_slot(u, i, lin), lin);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct fetch_tlbe *e = &u->fetch[i][(lin >> PAGE_SHIFT) & (FETCH_SIZE - 1)];

		if (!((e->tag ^ lin) & PAGE_MASK))
			e->tag = TLB_NO_TAG;
	}
	if (u->hot.fetch_dropped)
		u->hot.fetch_dropped(u->hot.opaque, lin);
}

static void note_flushed(struct mmu *u, u64 lin)
{
	u->hot.flushed_page[u->hot.flushed_pages++ % FLUSHED_PAGES] = lin;
}

/* INVLPG: the current space's and global translations of the page that holds lin. */
void tlb_op_page(struct cpu *c, u64 lin)
{
	struct mmu *u = cpu_mmu(c);

	if (!lin_canonical(u, &lin))
		return;
	if (maybe_large(u, lin)) {
		tlb_flush_all(u);
		return;
	}
	note_flushed(u, lin);
	counter_inc(c->counters, CNT_TLB_FLUSH_PAGE);
	l1_drop(u, lin);
	l2_drop(u, lin, u->id);
	l2_drop(u, lin, u->gid);
}

static void flush_pcid_page(struct mmu *u, u32 pcid, u64 lin)
{
	u16 id = u->pcid_id[pcid & 0xfff];

	if (!lin_canonical(u, &lin))
		return;
	note_flushed(u, lin);
	if (id < u->floor)
		return;
	if (maybe_large(u, lin)) {
		flush_pcid(u, pcid);
		return;
	}
	counter_inc(u->c->counters, CNT_TLB_FLUSH_PAGE);
	l1_drop(u, lin);
	l2_drop(u, lin, id);
}

void tlb_op_flush(struct cpu *c, enum tlb_scope scope, u32 pcid, u64 lin)
{
	struct mmu *u = cpu_mmu(c);

	if (unlikely(!u))
		return;
	switch (scope) {
	case TLB_ALL:
		tlb_flush_all(u);
		break;
	case TLB_NON_GLOBAL:
		flush_non_global(u);
		break;
	case TLB_PCID:
		flush_pcid(u, pcid);
		break;
	case TLB_PCID_PAGE:
		flush_pcid_page(u, pcid, lin);
		break;
	}
}

/* ---- translation and fills --------------------------------------------------------------------------------------- */

/* A page that is not global comes under sid. */
static void note_local(struct mmu *u, u64 lin)
{
	unsigned n = u->n_local;

	if (!u->shared || n > MAX_LOCAL || (n && u->local[n - 1] == (lin & PAGE_MASK)))
		return;
	if (n < MAX_LOCAL)
		u->local[n] = lin & PAGE_MASK;
	u->n_local++;
}

/* *e becomes *v, whose right to write is there only if the frame is no code when all is done. */
static void put(struct mmu *u, struct tlbe *e, const struct tlbe *v)
{
	__atomic_store_n(&e->w, TLB_NO_TAG, __ATOMIC_RELAXED);
	__atomic_store_n(&e->gpa, v->gpa, __ATOMIC_RELAXED);
	e->add = v->add;
	e->r = v->r;
	if (v->w == TLB_NO_TAG)
		return;
	__atomic_store_n(&e->w, v->w, __ATOMIC_RELAXED);
	if (!mem_note_writer(u->m, v->gpa))
		__atomic_store_n(&e->w, TLB_NO_TAG, __ATOMIC_RELAXED);
}

static struct tlbe entry_of(const struct tlbe *e)
{
	return (struct tlbe){ .r = e->r, .w = tlb_write_tag(e), .add = e->add, .gpa = e->gpa };
}

/* Before another page takes the place of *e. What is of no use now is lost. */
static void evict(struct mmu *u, enum tlb_mode mode, const struct tlbe *e, u64 lin)
{
	struct tlbe old = entry_of(e);

	if ((old.r & ~PAGE_MASK) == mmu_tag(u, mode) && ((old.r ^ lin) & PAGE_MASK))
		put(u, victim_slot(u, mode, old.r), &old);
}

static void fill(struct mmu *u, u64 lin, enum tlb_mode mode, u64 page, u64 frame)
{
	struct tlbe *e = &u->l1[mode][(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)];
	struct tlbe v = { .r = (lin & PAGE_MASK) | mmu_tag(u, mode), .w = TLB_NO_TAG, .gpa = page & ADDR_MASK };

	if (mode == MODE_SMAP && !(page & ATTR_G))
		note_local(u, lin);
	v.add = (uintptr_t)frame_host(frame) - (uintptr_t)(lin & PAGE_MASK);
	if ((frame & (FW_RAM | FW_CODE)) == FW_RAM && (page & ATTR_D) && (mmu_rights(u, page, mode) & WALK_W))
		v.w = v.r;
	evict(u, mode, e, lin);
	put(u, e, &v);
}

/* The page's entry changes places with the one that had displaced it, if it has the wanted right. */
static bool recall(struct mmu *u, u64 lin, enum tlb_mode mode, bool write)
{
	struct tlbe *e = &u->l1[mode][(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)], *from = victim_slot(u, mode, lin);
	struct tlbe v = entry_of(from);

	if ((write ? v.w : v.r) != ((lin & PAGE_MASK) | mmu_tag(u, mode)))
		return false;
	from->r = TLB_NO_TAG;
	__atomic_store_n(&from->w, TLB_NO_TAG, __ATOMIC_RELAXED);
	evict(u, mode, e, lin);
	put(u, e, &v);
	return true;
}

/* The second level's translation of lin if it gives the wanted right (and is dirty for a write), else 0. */
static u64 l2_lookup(struct mmu *u, u64 lin, unsigned want, enum tlb_mode mode)
{
	const u16 ids[2] = { u->id, u->gid };

	for (unsigned i = 0; i < 2; i++) {
		const struct l2e *e = l2_slot(u, lin, ids[i]);

		if (e->tag != ((lin & PAGE_MASK) | ids[i]))
			continue;
		if ((mmu_rights(u, e->page, mode) & want) && (want != WALK_W || (e->page & ATTR_D)))
			return e->page;
	}
	return 0;
}

static void l2_fill(struct mmu *u, u64 lin, u64 page)
{
	u16 id = page & ATTR_G ? u->gid : u->id;
	struct l2e *e = l2_slot(u, lin, id);

	/* An older translation of the other kind must not outlive this one. */
	l2_drop(u, lin, page & ATTR_G ? u->id : u->gid);
	if (page & (ATTR_LARGE | ATTR_HUGE))
		note_large(u, lin, page);
	e->tag = (lin & PAGE_MASK) | id;
	e->page = page;
}

/* Through the second level or a walk; *page is the 4 KiB page, A20 applied, | ATTR_*. */
static int find(struct mmu *u, u64 lin, unsigned want, enum tlb_mode mode, u64 *page)
{
	u32 error;

	*page = l2_lookup(u, lin, want, mode);
	if (*page)
		return OUT_DONE;
	if (unlikely(!walk(u, lin, want, mode, true, page, &error))) {
		counter_inc(u->c->counters, CNT_PAGE_FAULTS);
		return cpu_pf(u->c, lin, error);
	}
	*page = mem_a20(u->m, *page & ADDR_MASK) | (*page & ATTR_MASK);
	l2_fill(u, lin, *page);
	return OUT_DONE;
}

static bool l1_hit(const struct mmu *u, u64 lin, unsigned want, enum tlb_mode mode, struct xlate *x)
{
	const struct tlbe *e = &u->l1[mode][(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)];

	if ((want == WALK_W ? tlb_write_tag(e) : e->r) != ((lin & PAGE_MASK) | mmu_tag(u, mode)))
		return false;
	x->host = (u8 *)(lin + e->add);
	x->gpa = e->gpa | (lin & ~PAGE_MASK);
	x->frame = FW_RAM;
	return true;
}

int tlb_translate(struct mmu *u, u64 lin, unsigned acc, struct xlate *x)
{
	enum tlb_mode mode = mmu_mode(u, acc);
	unsigned want = acc_want(acc);
	u64 page, frame;

	if (l1_hit(u, lin, want, mode, x) || (recall(u, lin, mode, want == WALK_W) && l1_hit(u, lin, want, mode, x)))
		return OUT_DONE;
	counter_inc(u->c->counters, want == WALK_W ? CNT_TLB_MISS_W : CNT_TLB_MISS_R);
	if (find(u, lin, want, mode, &page))
		return OUT_FAULT;
	x->gpa = (page & ADDR_MASK) | (lin & ~PAGE_MASK);
	frame = lapic_claims(u->c, x->gpa) ? 0 : mem_frame(u->m, x->gpa);
	x->host = frame ? frame_host(frame) + (lin & ~PAGE_MASK) : NULL;
	x->frame = (u32)(frame & ~PAGE_MASK);
	if (likely(frame))
		fill(u, lin, mode, page, frame);
	return OUT_DONE;
}

void mmu_refill(struct cpu *c, u64 lin, bool write)
{
	unsigned want = write ? WALK_W : WALK_R;
	struct mmu *u = cpu_mmu(c);
	enum tlb_mode mode = mmu_mode(u, 0);
	u64 page, frame;
	u32 error;

	if (!tlb_in_use(u) || !lin_canonical(u, &lin) || recall(u, lin, mode, write))
		return;
	page = l2_lookup(u, lin, want, mode);
	if (!page) {
		if (c->host_live || !walk(u, lin, want, mode, true, &page, &error))
			return;
		page = mem_a20(u->m, page & ADDR_MASK) | (page & ATTR_MASK);
		l2_fill(u, lin, page);
	}
	frame = mem_frame_known(u->m, page & ADDR_MASK);
	if (!frame || lapic_claims(c, page & ADDR_MASK))
		return;
	counter_inc(c->counters, write ? CNT_TLB_MISS_W : CNT_TLB_MISS_R);
	fill(u, lin, mode, page, frame);
}

int mmu_fetch_page(struct cpu *c, u64 lin, const u8 **host, u64 *gpa)
{
	struct mmu *u = cpu_mmu(c);
	struct fetch_tlbe *e;
	u64 page, frame;

	if (mmu_fetch_hit(c, lin, host, gpa))
		return OUT_DONE;
	if (!lin_canonical(u, &lin))
		return cpu_gp(c, 0);
	counter_inc(c->counters, CNT_TLB_MISS_X);
	if (find(u, lin, WALK_X, mmu_mode(u, 0), &page))
		return OUT_FAULT;
	*gpa = (page & ADDR_MASK) | (lin & ~PAGE_MASK);
	frame = lapic_claims(c, *gpa) ? 0 : mem_frame(u->m, *gpa);
	*host = frame ? frame_host(frame) + (lin & ~PAGE_MASK) : NULL;
	if (!frame)
		return OUT_DONE;
	e = &u->fetch[c->d.cpl == 3][(lin >> PAGE_SHIFT) & (FETCH_SIZE - 1)];
	e->tag = (lin & PAGE_MASK) | c->fetch_ctx;
	if (c->d.cpl != 3 && u->smep && !(page & ATTR_G))
		note_local(u, lin);
	e->host = frame_host(frame);
	e->gpa = page & ADDR_MASK;
	return OUT_DONE;
}

/* ---- mode -------------------------------------------------------------------------------------------------------- */

static bool paging_changed(const struct mmu *u)
{
	const struct cpu *c = u->c;

	return ((c->cr0 ^ u->cr0) & CR0_KEY) | ((c->cr4 ^ u->cr4) & CR4_KEY) | ((c->efer ^ u->efer) & EFER_KEY) |
	       (c->apic_base ^ u->apic_base);
}

static void take_registers(struct mmu *u)
{
	const struct cpu *c = u->c;

	u->cr0 = c->cr0;
	u->cr4 = c->cr4;
	u->efer = c->efer;
	u->apic_base = c->apic_base;
	walk_refresh(u);
	u->shared = u->pge;
	u->n_local = u->renewed = 0;
}

void tlb_op_mode_changed(struct cpu *c)
{
	struct mmu *u = cpu_mmu(c);
	bool user = c->d.cpl == 3;

	if (unlikely(!u)) { /* a vCPU being made: mmu_new() follows */
		c->tlb = (struct tlbe *)never;
		return;
	}
	if (unlikely(paging_changed(u))) {
		take_registers(u);
		tlb_flush_all(u);
		if (u->hot.fetch_dropped)
			u->hot.fetch_dropped(u->hot.opaque, ~0ull);
	} else if (c->cr3 != u->cr3) {
		if (c->cr4 & CR4_PCIDE)
			select_space(u);
		else
			flush_pcid(u, 0);
	}
	u->armed = (c->dr[7] & DR7_ENABLES) && debug_data_armed(c);
	u->hot.fetch = u->fetch[user];
	take_tags(u);
	if (unlikely(u->armed || (user && (c->cr0 & CR0_AM) && (c->rflags & FLAG_AC))))
		c->tlb = (struct tlbe *)never;
	else
		c->tlb = u->l1[mmu_mode(u, 0)];
}

void tlb_reset(struct mmu *u)
{
	take_registers(u);
	empty(u);
	select_space(u);
	tlb_op_mode_changed(u->c);
}

void mmu_reset(struct cpu *c)
{
	tlb_reset(cpu_mmu(c));
}

/* ---- life cycle and listeners -------------------------------------------------------------------------------------
 */

static void revoke_write(void *opaque, u64 gpa)
{
	struct mmu *u = opaque;
	struct tlbe *e = &u->l1[0][0];

	for (unsigned i = 0; i < NR_L1; i++, e++)
		if (__atomic_load_n(&e->gpa, __ATOMIC_RELAXED) == gpa)
			__atomic_store_n(&e->w, TLB_NO_TAG, __ATOMIC_RELAXED);
}

/* The vCPU does not run. The next write of each page comes to fill(), which marks it. */
static void dirty_log(void *opaque, enum mem_dirty_step step)
{
	struct mmu *u = opaque;
	struct tlbe *e = &u->l1[0][0];

	if (step == MEM_DIRTY_END)
		return;
	for (unsigned i = 0; i < NR_L1; i++, e++)
		__atomic_store_n(&e->w, TLB_NO_TAG, __ATOMIC_RELAXED);
}

/* From any thread. The arrays are the vCPU's own: it drops them at its next safepoint; without an engine it runs
 * nothing. */
static void map_changed(void *opaque)
{
	struct mmu *u = opaque;

	if (!u->c->engine) {
		tlb_flush_all(u);
		return;
	}
	atomic_store(&u->map_stale, true);
	cpu_post(u->c, ATT_EXCL);
}

void mmu_safepoint(struct cpu *c)
{
	struct mmu *u = cpu_mmu(c);

	if (atomic_exchange(&u->map_stale, false))
		tlb_flush_all(u);
}

struct mmu *mmu_new(struct cpu *c, struct mem *m)
{
	struct mmu *u = mmap(NULL, sizeof(*u), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (u == MAP_FAILED)
		return NULL;
	u->c = c;
	u->m = m;
	c->mmu = u;
	u->listener = (struct mem_listener){
		.revoke_write = revoke_write, .map_changed = map_changed, .dirty_log = dirty_log, .opaque = u
	};
	mem_add_listener(m, &u->listener);
	tlb_reset(u);
	return u;
}

void mmu_free(struct mmu *u)
{
	if (!u)
		return;
	mem_remove_listener(u->m, &u->listener);
	u->c->mmu = NULL;
	u->c->tlb = (struct tlbe *)never;
	munmap(u, sizeof(*u));
}
