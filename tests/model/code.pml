/* SPDX-License-Identifier: Apache-2.0
 * A frame becomes code while another vCPU may still write to it, and code changes under a vCPU that runs it
 * (src/mem/frame.c, src/mmu/tlb.c: fill(), revoke_write(); src/engine/interp/blocks.c).
 *
 * One frame with one byte `mem`, a writer and a runner, each with its own cache of blocks as every vCPU has. The writer
 * stores new versions, each followed by a flag; the runner, once it has seen a flag, passes a safepoint (a serializing
 * instruction ends a block) and runs the byte: by its block, if it has one.
 *
 * Plain stores go through a store buffer of the writer's, which fences (locked operations, system calls) drain.
 *
 * Claims: what the runner runs after it has seen flag n is version n or newer; a block never lasts longer than a
 * safepoint with bytes that differ from memory.
 *
 * Each -D below leaves out one step, and spin finds the failure: NO_SETTLE (bytes are read before a store begun earlier
 * has landed), NO_AFTER (a write is told only before it lands), NO_RECHECK (a tag is published without a second look at
 * the frame's state), NO_REVOKE.
 */
#define N 2

byte mem, flag;			/* what has landed */
bool code, writer_bit, fresh;	/* the frame's word: FW_CODE, FW_WRITER, FW_FRESH */
bool tag;			/* the writer's lookaside lets it store */
byte epoch, seen;		/* mem.epoch, and interp.seen of the writer */
bool want;			/* ATT_EXCL at the writer: pass a safepoint */
bool has_block, reserved, dirty;/* the runner's cache: frame.granules reserved, frame.dirty and its ATT_EXCL */
byte block;
/* the writer's store buffer, in order: the byte, then the flag */
bool buf_mem, buf_flag;
byte val_mem, val_flag;

inline drain()
{
	atomic {
		if
		:: buf_mem -> mem = val_mem; buf_mem = false
		:: else
		fi;
		if
		:: buf_flag -> flag = val_flag; buf_flag = false
		:: else
		fi
	}
}

/* The hardware empties the buffer whenever it likes, oldest first. */
active proctype buffer()
{
end:	do
	:: atomic { buf_mem -> mem = val_mem; buf_mem = false }
	:: atomic { buf_flag && !buf_mem -> flag = val_flag; buf_flag = false }
	od
}

/* mem_before_write(): who keeps blocks hears of it. The listener's lock drains the buffer. */
inline tell()
{
	drain();
	if
	:: reserved || has_block -> dirty = true
	:: else
	fi
}

active proctype writer()
{
	byte n = 1;
	bool was_code;

	do
	:: n <= N ->
		/* a safepoint: between blocks */
		if
		:: want -> want = false; drain(); seen = epoch
		:: else
		fi;
		if
		:: tag ->
			/* the compare was made; the store itself comes later */
			skip;
			atomic { !buf_mem && !buf_flag -> buf_mem = true; val_mem = n }
		:: else ->
			/* tlb fill: publish, then look */
			was_code = code;
			if
			:: !was_code ->
				drain();
				tag = true;
				atomic { drain(); writer_bit = true; was_code = code };
#ifndef NO_RECHECK
				if
				:: was_code -> tag = false
				:: else
				fi
#endif
			:: else
			fi;
			/* this store, by the state that the walk found */
			if
			:: was_code -> tell(); atomic { !buf_mem && !buf_flag -> buf_mem = true; val_mem = n };
#ifndef NO_AFTER
				drain(); tell()
#endif
			:: else -> atomic { !buf_mem && !buf_flag -> buf_mem = true; val_mem = n }
			fi
		fi;
		atomic { !buf_flag -> buf_flag = true; val_flag = n };
		n++
	:: else -> break
	od;
	/* from now on it passes safepoints */
end:	do
	:: want -> want = false; drain(); seen = epoch
	od
}

active proctype runner()
{
	byte saw, ran, mine;
	bool had_writer, settling;

	do
	:: saw = flag;
		/* the safepoint */
		if
		:: dirty -> dirty = false; has_block = false
		:: else
		fi;
		if
		:: has_block -> ran = block
		:: else ->
			/* frame_make(): mem_code_enter(), mem_code_settle() */
			if
			:: !code ->
				atomic { had_writer = writer_bit; writer_bit = false; code = true; fresh = true };
#ifndef NO_REVOKE
				if
				:: had_writer -> tag = false
				:: else
				fi;
#endif
				atomic { epoch++; mine = epoch };
				want = true;
				settling = true
			:: else
			fi;
			if
#ifdef NO_SETTLE
			:: true ->
#else
			:: settling && seen < mine ->
				/* not yet: the instruction is stepped, from memory */
				ran = mem
			:: !settling || seen >= mine ->
#endif
				settling = false;
				fresh = false;
				reserved = true;
				block = mem; /* the bytes are read */
				has_block = true;
				reserved = false;
				ran = block
			fi
		fi;
		assert(ran >= saw);
		if
		:: saw == N -> break
		:: else
		fi
	od
}
