/* SPDX-License-Identifier: Apache-2.0
 * A character device in front of another one, for deterministic runs: what the guest writes is always taken at once,
 * and input reaches the guest only where the loop says so, as an arrival of base/inputs.h. So nothing the guest can see
 * depends on how fast the far side reads or when it writes.
 */
#ifndef CHARDEV_LOGGED_H
#define CHARDEV_LOGGED_H

#include "base/inputs.h"
#include "chardev/chardev.h"

/* Takes inner over, also when it fails; inner may be NULL: output is dropped, input comes from a recording only. */
struct chardev *logged_new(struct chardev *inner, struct inputs *in, u16 source, struct err *e);
/* Is there something that logged_deliver() would hand to the guest now? */
bool logged_waits(struct chardev *c);
/* Recording: hands over what has come and the guest has room for. */
void logged_deliver(struct chardev *c);
/* Replaying: hands over a recorded arrival. */
void logged_give(struct chardev *c, const struct input *i);
/* Too much output waits for the far side: the guest should not go on before loop_dispatch() has moved some of it. */
bool logged_is_behind(struct chardev *c);

#endif
