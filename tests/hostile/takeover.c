/* SPDX-License-Identifier: Apache-2.0
 * doppel, but for this: a byte that its guest writes to the debug port is carried out by the vCPU's thread as an attack
 * of that letter, and what came of it is told on stderr. A stand-in for a guest that has found an error in a device.
 */
#include "hostile/attack.h"

#include "dev/debugport.h"

struct debugport *__real_debugport_new(struct mem *m, u16 port, struct chardev *backend, struct err *e);
struct debugport *__wrap_debugport_new(struct mem *m, u16 port, struct chardev *backend, struct err *e);

static size_t carry_out(struct chardev *c, const u8 *p, size_t n)
{
	(void)c;
	for (size_t i = 0; i < n; i++) {
		long got = attack((char)p[i]);

		dprintf(2, "attack %c: %s\n", p[i], got < 0 ? strerror(errno) : "SUCCEEDED");
	}
	return n;
}

struct debugport *__wrap_debugport_new(struct mem *m, u16 port, struct chardev *backend, struct err *e)
{
	static const struct chardev_ops ops = { .write = carry_out };
	static struct chardev puppet = { .ops = &ops };

	(void)backend;
	return __real_debugport_new(m, port, &puppet, e);
}
