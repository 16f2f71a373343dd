/* SPDX-License-Identifier: Apache-2.0
 * The audit of the lookaside: walks again for every live entry of the current space and compares. A guest may leave its
 * tables ahead of the lookaside until it invalidates, so a disagreement is a bug only at a moment when it has done so.
 */
#include "base/log.h"
#include "mmu/state.h"

#define ADDR_MASK 0x000ffffffffff000ull

static const char *const mode_name[NR_MODES] = { "user", "supervisor, SMAP", "supervisor" };

/* The tables' translation of a page now: page | ATTR_*, A20 applied; 0 when there is none. */
static u64 rewalk(struct mmu *u, u64 lin)
{
	u32 error;
	u64 page;

	if (!walk(u, lin, 0, MODE_SUPER, false, &page, &error))
		return 0;
	return mem_a20(u->m, page & ADDR_MASK) | (page & ~ADDR_MASK);
}

static unsigned disagree(const char *what, u64 tag, u64 have, u64 walked)
{
	log_msg(LOG_WARN, "TLB audit: %s entry %016llx says %llx, the tables say %llx", what, (unsigned long long)tag,
		(unsigned long long)have, (unsigned long long)walked);
	return 1;
}

static bool live(u64 tag, u16 id)
{
	return (tag & ~PAGE_MASK) == id && tag != TLB_NO_TAG;
}

static unsigned audit_entry(struct mmu *u, const struct tlbe *e, enum tlb_mode mode)
{
	u16 id = mmu_tag(u, mode);
	u64 tag = live(e->r, id) ? e->r : live(e->w, id) ? e->w : 0, page, frame;
	unsigned rights;
	bool ok;

	if (!tag)
		return 0;
	page = rewalk(u, tag & PAGE_MASK);
	rights = page ? mmu_rights(u, page, mode) : 0;
	frame = mem_frame(u->m, page & ADDR_MASK);
	ok = (page & ADDR_MASK) == e->gpa && (rights & WALK_R) &&
	     (uintptr_t)frame_host(frame) == (uintptr_t)(tag & PAGE_MASK) + e->add;
	if (live(e->w, id))
		ok &= e->w == tag && (rights & WALK_W) && (page & ATTR_D) && (frame & (FW_RAM | FW_CODE)) == FW_RAM;
	return ok ? 0 : disagree(mode_name[mode], tag, e->gpa, page);
}

static unsigned audit_fetch(struct mmu *u, const struct fetch_tlbe *e, enum tlb_mode mode)
{
	u64 page;

	if (!live(e->tag, mmu_fetch_tag(u, mode == MODE_USER)))
		return 0;
	page = rewalk(u, e->tag & PAGE_MASK);
	if (page && (page & ADDR_MASK) == e->gpa && (mmu_rights(u, page, mode) & WALK_X) &&
	    frame_host(mem_frame(u->m, e->gpa)) == e->host)
		return 0;
	return disagree("fetch", e->tag, e->gpa, page);
}

/* The tables may give more rights than the entry, and be dirty where it is clean, without an invalidation (SDM 3A
 * 4.10.4.3): an access that the entry refuses walks again. Never the other way round. */
static unsigned audit_l2(struct mmu *u, const struct l2e *e)
{
	u64 page;
	u16 id = e->tag & ~PAGE_MASK;

	if (!e->tag || (id != u->id && id != u->gid))
		return 0;
	page = rewalk(u, e->tag & PAGE_MASK);
	if (page && !((page ^ e->page) & (ADDR_MASK | ATTR_U | ATTR_G)) && !(e->page & ~page & (ATTR_D | ATTR_W)) &&
	    !(page & ~e->page & ATTR_NX))
		return 0;
	return disagree("second-level", e->tag, e->page, page);
}

unsigned mmu_audit(struct cpu *c)
{
	struct mmu *u = cpu_mmu(c);
	unsigned bad = 0;

	for (enum tlb_mode mode = 0; mode < NR_MODES; mode++) {
		for (unsigned i = 0; i < TLB_SIZE; i++)
			bad += audit_entry(u, &u->l1[mode][i], mode);
		for (unsigned i = 0; i < VICTIMS; i++)
			bad += audit_entry(u, &u->victim[mode][i], mode);
	}
	for (unsigned i = 0; i < FETCH_SIZE; i++) {
		bad += audit_fetch(u, &u->fetch[0][i], MODE_SUPER);
		bad += audit_fetch(u, &u->fetch[1][i], MODE_USER);
	}
	for (unsigned i = 0; i < L2_SIZE; i++)
		bad += audit_l2(u, &u->l2[i]);
	return bad;
}
