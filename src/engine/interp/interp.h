/* SPDX-License-Identifier: Apache-2.0
 * The interpreter's private parts: decoded blocks, where they are kept, how code is fetched.
 *
 * Invariants
 *  1. A block lies in one page frame, which is FRAME_CODE as long as it holds a block; the bytes were read after
 *     mem_code_settled(). Until then the instructions are stepped, which keeps no copy that it does not compare.
 *  2. A block that was dropped is in no list, its key is KEY_DEAD, and no successor link leads to it. Its memory stays
 *     as it is until the cache is emptied, which happens between blocks only, so that the instruction that wrote to its
 *     own block can finish. What is in force when code changes (cpu->block_end) ends with that instruction; so does
 *     the chain, since ATT_EXCL is posted where it would not.
 *  3. Successor links lead to blocks of the same frame only and are followed only after a block that ended with
 *     OUT_DONE, so that neither the translation of the page nor the mode can have changed. Where CS has a limit to
 *     compare with, there are none.
 *  4. Instructions that leave their page are in no block: step.c decodes them afresh or compares their bytes.
 */
#ifndef ENGINE_INTERP_H
#define ENGINE_INTERP_H

#include <pthread.h>

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/decode.h"
#include "engine/engine.h"

#define BLOCK_INSNS 32
#define NO_BUDGET ~0ull /* icount_end of a run without a limit */
#define KEY_DEAD 0xffffu

struct block {
	u64 gpa;   /* of the first byte */
	u16 key;   /* cpu_derived.block_key, or KEY_DEAD */
	u16 cover; /* bytes from gpa on that its code depends on: its own or, translated with what follows, more */
	u16 bytes;
	u8 n;		       /* instructions; 0: the first one cannot be in a block */
	u8 heat;	       /* times run before it was translated */
	struct block *succ[2]; /* after falling through, after jumping; NULL unknown */
	struct block *hash_next, *frame_next;
	const struct insn *end; /* behind the last one */
	const void *code;	/* translated, or interp.no_code */
	_Alignas(64) struct insn insn[];
};
_Static_assert(sizeof(struct block) == 64, "the head of a block is one cache line");

/* A frame with blocks, or which is to get some. granules: bit g is set if a byte of [64 g, 64 g + 64) is in some block
 * or being decoded. */
struct frame {
	u64 gpa;
	struct frame *next;
	struct block *blocks;
	u64 granules;
	u64 dirty; /* granules that other threads wrote to, not yet looked at */
	struct frame *dirty_next;
	u64 settles; /* not 0: for mem_code_settled(), before which no block may be made */
};
_Static_assert(sizeof(struct frame) <= 64, "blocks_begin() keeps one cache line for it");

#define BLOCK_HASH (1u << 16)
#define FRAME_HASH (1u << 12)
#define RECENT (1u << 15)
#define STEP_CACHE (1u << 8)
#define NATIVE_SLACK 8192

/* Instructions run one at a time, checked against the bytes in memory at each use. */
struct stepped {
	u64 gpa;
	u32 key;
	struct insn insn;
};

struct interp;

/* Where a run of linked blocks ended without a link to go on by. */
struct chain_end {
	struct block *b; /* NULL: it ended otherwise */
	bool jumped;	 /* which of its links is wanted */
};

/* What an engine that builds on this one does in its own way. */
struct interp_hooks {
	/* As interp_run_chain(). */
	int (*run_chain)(struct interp *in, struct block *b, u64 stop, struct chain_end *last);
	/* b has no instructions: its first one is about to be stepped. May be NULL. */
	void (*stepping)(struct interp *in, struct block *b);
	/* All blocks are gone. */
	void (*flushed)(struct interp *in);
	/* No link of b may be followed; b must not be entered any more. */
	void (*unlinked)(struct interp *in, struct block *b);
	void (*dropped)(struct interp *in, struct block *b);
};

struct interp {
	struct mem *mem;
	struct cpu *cpu;
	const struct interp_hooks *hooks; /* or NULL */
	/* Runs user mode's next instructions, all it can, in another way; true: look at everything again, false:
	 * nothing more can be done so, and a slice of them is this engine's. NULL: there is no such way. */
	bool (*native)(struct interp *in);
	void *native_opaque;
	u64 native_cold; /* the value of CR3 with which it has nothing to do, ~0: none; not asked behind each change to
			    user mode */
	u64 native_look; /* ... but in any case from this instruction count on, in kernel mode, too, or up to
			    NATIVE_SLACK later: to stop exactly would be slow */
	const void *no_code;   /* block.code of what is not translated */
	struct block *nowhere; /* what a link leads to that leads nowhere: the address of no frame */
	struct block *hash[BLOCK_HASH];
	struct frame *frames[FRAME_HASH];
	struct block *recent[RECENT]; /* a front to hash[]: by gpa, may be dead */
	struct stepped stepped[STEP_CACHE];
	u8 *pool;
	size_t pool_size, pool_used;
	struct frame *free_frames;
	u64 icount_end;	   /* the budget */
	unsigned ignored;  /* level attention bits that could not be delivered when last looked at */
	u64 ignored_since; /* instruction count of that look */
	u64 level_check;   /* ... which is repeated after this many instructions */
	u64 debug_icount;  /* instruction count at the last EXIT_DEBUG */
	u64 flushes;
	atomic_bool flush_wanted;
	unsigned sample; /* counts blocks towards the next timed decode */
	u64 granules;	 /* those of the frame blocks_begin() found, without the ones it reserved */
	struct mem_listener listener;
	_Atomic u64 seen; /* the memory's epoch when a safepoint was last passed */

	/* The lock guards what follows, and the list of frames with their granules and dirt. While the vCPU does not
	 * run, whoever has the lock may drop blocks in its stead. */
	pthread_mutex_t lock;
	pthread_t thread;
	atomic_bool running; /* in run(), on `thread`; changed under the lock, read anywhere */
	struct frame *dirty; /* by dirty_next */
};

/* blocks.c: where blocks are kept. All but the listeners, which take an opaque pointer, belong to the vCPU's thread. */
int blocks_init(struct interp *in, size_t pool_size, struct err *e);
void blocks_free(struct interp *in);
struct block *blocks_find(struct interp *in, u64 gpa, u32 key);
/* Room for one more block of BLOCK_INSNS at gpa, whose bytes may be read from now on; may empty the cache. NULL: the
 * page can hold no blocks, or not yet. */
struct block *blocks_begin(struct interp *in, u64 gpa);
/* Would blocks_begin() find room as it is? */
bool blocks_room(const struct interp *in);
/* Makes b, which blocks_begin() gave and which is filled in, part of the cache. */
void blocks_add(struct interp *in, struct block *b);
/* Makes b's links lead nowhere. */
void block_unlink(struct interp *in, struct block *b);
void blocks_flush(struct interp *in);
void blocks_code_write(void *opaque, u64 gpa, unsigned len);
void blocks_map_changed(void *opaque);
void blocks_want_safepoint(void *opaque);
bool blocks_passed_safepoint(void *opaque, u64 epoch);
/* Between blocks: drops what other threads wrote to. */
void blocks_drain(struct interp *in);

/* build.c: decoding. OUT_FAULT as mmu_fetch_page(); *b is NULL when the page cannot hold blocks. */
int build_find(struct interp *in, u64 lin, struct block **b);

/* The block at gpa, in a frame that holds blocks, for the mode in force; NULL if it would be a new one and there is no
 * room without emptying the cache. */
struct block *build_behind(struct interp *in, u64 gpa);

/* step.c: one instruction with every check there is. Returns an outcome; OUT_FAULT is already delivered. */
int step_insn(struct interp *in);

/* interp.c: what an outcome that is not OUT_DONE asks for; i is the instruction, r[R_RIP] is at it again unless it
 * retired. */
int interp_outcome(struct interp *in, const struct insn *i, int out);

/* Something that retires nothing was done, and counts against the budget, so that it cannot go on for ever. */
void interp_count_unretired(struct interp *in);

/* The instruction before i ended a run of b early. Counts what retired and deals with its outcome. */
int interp_leave_block(struct interp *in, const struct block *b, const struct insn *i, int out);

/* Runs b and the blocks linked behind it while nothing presses, up to instruction count stop (not reached yet). */
int interp_run_chain(struct interp *in, struct block *b, u64 stop, struct chain_end *last);

/* The contract of engine.h, for engines that build on this one: in is the head of theirs, zeroed. */
int interp_init(struct interp *in, struct cpu *c, struct mem *m, struct err *e);
void interp_fini(struct interp *in);
enum engine_exit interp_run(struct cpu *c, u64 budget);
void interp_kick(struct cpu *c);
void interp_invalidate(struct cpu *c, enum tlb_scope_engine scope, u64 gpa);

/* As engine_ops.audit. (audit.c) */
unsigned interp_audit(struct cpu *c);

/* Is interp.native to be asked now, behind a change to user mode? */
static inline bool interp_native(const struct interp *in)
{
	return unlikely(in->native) && in->cpu->d.cpl == 3 && in->cpu->cr3 != in->native_cold;
}

/* The linear address of the instruction at r[R_RIP]. */
static inline u64 interp_pc(const struct cpu *c)
{
	return (c->d.ebase[SEG_CS] + c->r[R_RIP]) & c->d.lin_mask;
}

/* DECODE_* for the mode in force. */
static inline unsigned interp_how(const struct cpu *c)
{
	return (!c->d.pe || c->d.vm86 ? DECODE_LEGACY : 0) | (cpu_is_amd(c) ? DECODE_AMD : 0);
}

/* The last offset in CS that may be fetched. */
static inline u64 interp_limit(const struct cpu *c)
{
	return c->d.long64 ? ~0ull : c->seg[SEG_CS].limit;
}

#endif
