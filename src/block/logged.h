/* SPDX-License-Identifier: Apache-2.0
 * A disk in front of another one, for deterministic runs: every request is done at once, and its outcome is an input
 * (base/inputs.h), so that a replay over another image is found out.
 */
#ifndef BLOCK_LOGGED_H
#define BLOCK_LOGGED_H

#include "base/inputs.h"
#include "block/block.h"

/* Takes inner over, also when it fails. */
struct block *block_logged_new(struct block *inner, struct inputs *in, u16 source, struct err *e);

/* The disk behind it; b itself when it is another kind. For who restores a disk's state, which is no input. */
struct block *block_logged_inner(struct block *b);

#endif
