/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on what doppel believes of the agent in a guest: any bytes on the control port, in pieces of any size, and
 * anything on the kernel's console; with a client of `doppel exec`, for which some of it is meant.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/session.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static size_t room(void *opaque)
{
	return *(const u8 *)opaque;
}

static void rx(void *opaque, const u8 *p, size_t n)
{
	if (n > room(opaque) || (n && !p))
		abort();
}

/* The first byte: how much is written at once, and how much the guest takes. The rest is what it says. */
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	/* No output that is the fuzzer's own is closed: the command's is a terminal. */
	const struct session_config cfg = { .tty = true, .tty_err = true };
	struct err e;
	struct session *s = session_new(&cfg, &e);
	struct chardev *control, *log;
	struct session_end end;
	u8 step = size ? data[0] : 0;
	const struct chardev_user user = { .room = room, .rx = rx, .opaque = &step };

	struct loop *loop = loop_new(&e);
	int pair[2] = { -1, -1 };

	if (!s || !loop || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	control = session_chardev(s, SESSION_PORT "0", loop, &e);
	log = session_chardev(s, SESSION_LOG, loop, &e);
	chardev_set_user(control, &user);
	session_say(s, AGENT_HOST, "host", 5);
	if (session_exec(s, pair[1], &e))
		abort();
	for (size_t at = 1, n; at < size; at += n) {
		n = MIN(size - at, (size_t)step + 1);
		if (chardev_write(control, data + at, n) != n || chardev_write(log, data + at, n) != n)
			abort();
		chardev_kick_input(control);
	}
	session_result(s, &end);
	if (end.ended || end.status < 0 || end.status > 255 || strlen(end.why) >= 400 || strlen(end.log) > 4096)
		abort();
	session_free(s);
	loop_free(loop);
	close(pair[0]);
	return 0;
}
