/* SPDX-License-Identifier: Apache-2.0
 * --audit=blocks: what the cache of blocks holds must be what stands in memory.
 */
#include "base/log.h"
#include "engine/interp/interp.h"

static bool same(const struct interp *in, const struct block *b)
{
	u64 gpa = b->gpa;
	u8 bytes[15];

	for (unsigned k = 0; k < b->n; k++) {
		const struct insn *i = &b->insn[k];

		if (mem_read(in->mem, gpa, bytes, i->len) || memcmp(bytes, i->raw, i->len))
			return false;
		gpa += i->len;
	}
	return true;
}

unsigned interp_audit(struct cpu *c)
{
	struct interp *in = c->engine;
	unsigned wrong = 0;

	for (unsigned k = 0; k < FRAME_HASH; k++)
		for (const struct frame *f = in->frames[k]; f; f = f->next)
			for (const struct block *b = f->blocks; b; b = b->frame_next) {
				if (same(in, b) || f->dirty)
					continue;
				wrong++;
				log_msg(LOG_ERROR, "block audit: %u instructions at physical %llx are not in memory",
					b->n, (unsigned long long)b->gpa);
			}
	return wrong;
}
