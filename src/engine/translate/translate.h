/* SPDX-License-Identifier: Apache-2.0
 * The translator's private parts. It builds on the interpreter: the same decoded blocks, the same cache of them with
 * its invalidation, the same care between blocks. A block that is hot gets host code, reached by block.code.
 *
 * Host registers while translated code runs
 *	RSP	the private stack: struct frame_slot
 *	RAX	scratch, and the way of the flags (LAHF, SETO, SAHF)
 *	R14 R15	scratch: address, TLB slot, second operand
 *	others	guest registers, by host_of[]; four that compilers use little stay in struct cpu
 *	GS base	struct cpu
 *
 * Invariants
 *  1. At each block's entry, cpu->aflags are the flags and icount is exact. Inside, icount lacks what the block has
 *     retired so far, and r[R_RIP] is relative to the frame: RIP less the place in the frame, so that neither
 *     instructions nor links change it; code depends on no linear address. It is made RIP again before the library is
 *     called and before translated code is left.
 *  2. A lookaside probe that misses is followed by a refill, which saves no vector state and changes nothing that the
 *     guest could tell. Before anything that may fault or leave (a lookaside probe, a call of the library), everything
 *     that is not in its host register is in struct cpu, flags included; so an instruction that misses starts over in
 *     the library.
 *  3. Code goes on to another block only by a link (same frame; blocks.c unlinks), by a far link (guarded), or by
 *     lookup: of the linear address among the recent jumps (links.c), else of the fetch lookaside, the frame address
 *     and the key as build_find() does. A dropped block's code stays in place until everything is emptied, between
 *     blocks; its entry leaves.
 *  4. A link to a block that begins at or behind the place it is followed from skips the look at attention and count. A
 *     row of these retires at most a page of instructions, so FRAME_STOP lies that much before the real stop.
 *  5. Code is written through `rw` and run through `rx`: two mappings of one file.
 */
#ifndef ENGINE_TRANSLATE_H
#define ENGINE_TRANSLATE_H

#include "engine/interp/interp.h"
#include "engine/translate/emit.h"
#include "engine/translate/opts.h"

#define CODE_SIZE (64ul << 20)
#define CODE_COLD \
	(24ul << 20) /* from here on stands what is rarely taken, so that the rest is dense in the host's caches */
#define CODE_ROOM (128ul << 10) /* more than any block needs */
#define HEAT 2			/* runs by the interpreter before a block is translated */
#define CODE_LINKS 1024		/* likewise */
#define ROW_INSNS 4096		/* in a row of forward links, one a byte */
#define MAX_CROSS 8
#define SLOT 0xff /* host_of: the register stays in struct cpu */

/* Why translated code came back; lower values are outcomes of the instruction that ended it. */
enum leave { LEAVE_STOP = 0x100, LEAVE_LOOKUP, LEAVE_LINK, LEAVE_NEXT, LEAVE_GO };

#define GROUPS 8 /* shared probes that are held at a time */

/* The words at RSP, the most used ones first, where displacements are short. FRAME_SIZE keeps calls aligned. */
enum {
	FRAME_GROUPS = 0, /* gen_share.c */
	FRAME_STOP = FRAME_GROUPS + GROUPS * 8,
	FRAME_WANTED = FRAME_STOP + 8,
	FRAME_TEMP = FRAME_WANTED + 8,
	FRAME_CPU = FRAME_TEMP + 8,
	FRAME_RECENT = FRAME_CPU + 8,
	FRAME_SIZE = FRAME_RECENT + 8
};

static inline s32 frame_group(unsigned n)
{
	return (s32)(FRAME_GROUPS + 8 * n);
}

struct left {
	u64 why; /* enum leave, or an outcome */
	u64 at;	 /* LEAVE_LINK: the link; outcomes: instruction | how many its code has retired before it */
};

/* A way on to a block of the same frame: a jump, at first to code that leaves with the link's address. Or, if it is
 * far, to one of another frame, followed only where the guard in struct far_guard holds. */
struct link {
	struct block *from;
	u32 site, stub; /* of the jump's displacement, and where it leads to unlinked: offsets in the code */
	u16 to;		/* the target's place in its frame */
	bool forward;
	u32 far;	/* 0, or 1 + its number among the guards */
	s32 pages;	/* far: bytes from the frame's linear address to the target's */
	u32 next, prev; /* far and leading to a block: others that do, 1 + their numbers; 0 the last, the first */
	struct block *target;
	u64 lin; /* ... at */
};

/* Of a far link. tag: the linear address of the frame that it leads from ^ cpu->salt, or NO_TAG. left: how often it may
 * still be passed by before it is set anew. */
struct far_guard {
	u64 tag;
	s32 left;
	u32 link; /* 1 + the link's number while it leads to a block, 0 */
};

/* A far link among those that lead to pages of one number, by numbers of guards: 1 + n, 0 for none. */
struct far_place {
	u32 next, prev;
};

/* In front of each block's code. */
struct code_head {
	u32 first, n; /* its links */
	u32 gone;     /* what its entry becomes when it is dropped, offset in the code */
	u32 incoming; /* the first far link that leads to it: 1 + its number, or 0 */
};

/* Linear addresses that were jumped to, with the code of the blocks there. salt: cpu->salt; in flat 32-bit code also
 * BIT(JUMP_32). */
struct jump {
	u64 lin, salt;
	const void *code;
	u64 unused;
};

#define JUMP_BITS 13
#define JUMPS (1u << JUMP_BITS)
#define JUMP_HASH 0x9e3779b1u /* 2^32 by the golden ratio */
#define JUMP_32 47
#define JUMP_PAGES (1u << 16)
#define MAX_LINKS (1u << 20)
#define MAX_FAR (1u << 17)
#define FAR_TRIES 16
#define NO_TAG ~0ull /* the tag of no frame, the salt of no space */

/* What translated code finds by an absolute address. */
struct low {
	struct jump jump[JUMPS];
	struct far_guard far[MAX_FAR];
	bool page[JUMP_PAGES]; /* is there a jump or a far link to a page of that number? */
	bool any;	       /* ... to any at all? */
};

static inline unsigned jump_slot(u64 lin)
{
	return (u32)lin * JUMP_HASH >> (32 - JUMP_BITS);
}

typedef struct left enter_fn(const void *code, struct cpu *c, u64 stop, u64 wanted, struct block **recent);

struct report;
struct verify;

struct translate {
	struct interp in; /* first */
	bool about;	  /* engine_options.about */
	u64 opts;	  /* BIT(OPT_x) */
	u64 stop;	  /* no block is entered behind its look at a higher instruction count */
	u8 *rw, *rx;
	size_t used, first;   /* bytes of code; of it, what serves all blocks */
	size_t used_cold;     /* the same from CODE_COLD on, as an offset in all */
	size_t end, end_cold; /* where both may go to before everything is dropped */
	unsigned look;	      /* bytes of a block's first part, the look at attention and count */
	/* those parts, by their address in rw */
	u8 *enter, *hand_over, *leave, *lookup, *lookup32, *jump, *jump32, *cold, *missing;
	u8 *refill[2];		   /* for reading, for writing */
	u8 *step;		   /* the instruction at r[R_RIP], by step_over() */
	u8 *cross[MAX_CROSS];	   /* in hand_over's stead: cross.h */
	struct link *links, *left; /* left: by the last one that led nowhere, or NULL */
	u32 n_links, n_far;
	struct low *low;
	struct far_place *place; /* by number of their guard */
	u32 *to_page;		 /* 1 + the guard of the first far link to pages of that number; 0: none leads there */
	bool counting;		 /* each block looks at the instruction count on entry */
	unsigned sample;	 /* counts calls of the library towards the next timed one */
	u8 *live_save, *live_load;
	struct report *report;
	struct verify *verify; /* or NULL */
	bool failed;	       /* a difference was found */
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

/* What each block begins with: goes to `out` if something presses. */
void thunks_look(const struct translate *t, struct emit *e, const u8 *out);
/* The same where attention is not 0, whatever it is, or where instructions are counted: leaves for `out`, falls through
 * otherwise. */
void thunks_look_closely(struct emit *e, u8 *out[2]);
/* Sets t->look. */
void thunks_measure_look(struct translate *t);

/* On to the address in R15, in flat code: by the recent jumps, else by lookup. At each place, so that the host's branch
 * predictor tells them apart. */
void thunks_jump(struct translate *t, struct emit *e, bool long64);
/* The two halves: R14 = the entry of R15, or on to *miss; and on from there. */
void thunks_jump_find(struct translate *t, struct emit *e, bool long64, u8 *miss[2]);
void thunks_jump_take(struct translate *t, struct emit *e);

/* links.c: jumps between blocks. */
int links_init(struct translate *t);
void links_free(struct translate *t);
void links_flushed(struct interp *in);
void links_unlinked(struct interp *in, struct block *b);
void links_dropped(struct interp *in, struct block *b);
/* l leads to b, if that is still its target. */
void links_set(struct translate *t, struct link *l, struct block *b);
/* A guard for one more far link: 1 + its number, 0 if there are too many. */
u32 links_new_far(struct translate *t);
/* The block at lin, which the current mode may execute, has code: remembers that, if the mode's addresses are flat. */
void links_note_jump(struct translate *t, u64 lin, const struct block *b);

/* help.c: one instruction by the library: at = instruction | its number in the block, r[R_RIP] is behind it. why is
 * OUT_DONE where the block goes on, LEAVE_GO where another does (its code, at), else as in struct left. */
struct left hand_over(struct cpu *c, u64 at);

/* help.c: the instruction at r[R_RIP], which is in no block. LEAVE_GO or LEAVE_NEXT. */
struct left step_over(struct cpu *c);

/* gen.c: host code for b; there is CODE_ROOM. */
void gen_block(struct translate *t, struct block *b);

#endif
