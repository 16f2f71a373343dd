/* SPDX-License-Identifier: Apache-2.0
 * The translator's private parts. It builds on the interpreter: the same decoded blocks, the same cache of them with
 * its invalidation, the same care between blocks. A block that is hot gets host code, reached by block.code.
 *
 * Host registers while translated code runs
 *	RSP	the private stack: struct frame_slot
 *	RAX	scratch, and the way of the flags (LAHF, SETO, SAHF)
 *	R14 R15	scratch: address, TLB slot, second operand
 *	others	guest registers, by host_of[]; guest R12 to R15 stay in struct cpu
 *	GS base	struct cpu
 *
 * Invariants
 *  1. At each block's entry, cpu->r[R_RIP] is its first instruction, cpu->aflags the flags, icount exact. Inside,
 *r[R_RIP] is ahead of the block's start by a number that the translator knows at each point (gen.bias); code depends on
 *no linear address.
 *  2. Before anything that may fault or leave (a lookaside probe, a call of the library), everything that is not in its
 *     host register is in struct cpu, flags included; so an instruction that misses starts over in the library.
 *  3. Code goes on to another block only by a link (same frame; blocks.c unlinks), or by lookup, which compares the
 *     fetch lookaside, the frame address and the key as build_find() does. A dropped block's code stays in place until
 *     everything is emptied, between blocks.
 *  4. A link to a block that begins at or behind this one's end skips the look at attention and count. A row of these
 *     retires at most a page of instructions, so FRAME_STOP lies that much before the real stop.
 *  5. Code is written through `rw` and run through `rx`: two mappings of one file.
 */
#ifndef ENGINE_TRANSLATE_H
#define ENGINE_TRANSLATE_H

#include "engine/interp/interp.h"
#include "engine/translate/emit.h"
#include "engine/translate/opts.h"

#define CODE_SIZE (64ul << 20)
#define CODE_ROOM (64ul << 10) /* more than any block needs */
#define HEAT 2		       /* runs by the interpreter before a block is translated */
#define ROW_INSNS 4096	       /* in a row of forward links, one a byte */
#define SLOT 0xff	       /* host_of: the register stays in struct cpu */

/* Why translated code came back; lower values are outcomes of the instruction that ended it. */
enum leave { LEAVE_STOP = 0x100, LEAVE_LOOKUP, LEAVE_LINK0, LEAVE_LINK1, LEAVE_NEXT, LEAVE_GO };

/* The words at RSP. FRAME_SIZE keeps calls aligned. */
enum { FRAME_CPU = 0, FRAME_STOP = 8, FRAME_WANTED = 16, FRAME_RECENT = 24, FRAME_TEMP = 32, FRAME_SIZE = 56 };

struct left {
	u64 why; /* enum leave, or an outcome */
	u64 at;	 /* LEAVE_LINKx: the block; outcomes: instruction | its number in the block */
};

typedef struct left enter_fn(const void *code, struct cpu *c, u64 stop, u64 wanted, struct block **recent);

struct translate {
	struct interp in; /* first */
	u64 opts;	  /* BIT(OPT_x) */
	u64 stop;	  /* no block is entered behind its look at a higher instruction count */
	u8 *rw, *rx;
	size_t used, first; /* bytes of code; of it, what serves all blocks */
	unsigned look;	    /* bytes of a block's first part, the look at attention and count */
	/* those parts, by their address in rw */
	u8 *enter, *hand_over, *leave, *lookup, *lookup32, *cold, *link;
	u8 *live_save, *live_load;
};

extern const u8 host_of[16];

static inline bool opt(const struct translate *t, enum opt n)
{
	return t->opts >> n & 1;
}

static inline const void *code_rx(const struct translate *t, const u8 *rw)
{
	return t->rx + (rw - t->rw);
}

/* thunks.c: the parts that serve all blocks. */
void thunks_make(struct translate *t);

/* All of the guest's registers to struct cpu, or back. */
void thunks_guest_registers(struct emit *e, bool load);

/* gen_vec_live.c: what of the guest's vector state stands in host registers: bits of cpu->host_live. Before C code
 * runs, thunks_unlive() has to save it: the guest's general registers must be stored and RSP be aligned to 16. Clobbers
 * what C clobbers. */
enum live { LIVE_SSE = 1, LIVE_AVX = 2, LIVE_512 = 4, LIVE_FP = 8, LIVE_X87 = 16, LIVE_FULL = 32 };
void thunks_unlive(struct translate *t, struct emit *e);
void live_make(struct translate *t, struct emit *e);

/* What each block begins with. */
void thunks_look(struct translate *t, struct emit *e);

/* help.c: one instruction by the library: at = instruction | its number in the block, r[R_RIP] is behind it. why is
 * OUT_DONE where the block goes on, LEAVE_GO where another does (its code, at), else as in struct left. */
struct left hand_over(struct cpu *c, u64 at);

/* gen.c: host code for b; there is CODE_ROOM. */
void gen_block(struct translate *t, struct block *b);

#endif
