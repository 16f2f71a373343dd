/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/run_control.h"

#include <stdlib.h>

#include "api/control.h"
#include "api/dir.h"
#include "api/keeper.h"

struct run_control {
	struct vm *vm;
	struct session *session;
	struct keeper *keeper;
	struct control *control;
	const char *name;
};

/* In the sandbox no path leads anywhere: somebody else takes the socket away. */
int run_control_new(struct run_control **to, const struct boot_options *o, struct err *e)
{
	struct keeper_paths p = { .nr_sockets = 1 };
	struct sockaddr_un addr;
	struct run_control *c;

	*to = NULL;
	if (!o->named)
		return 0;
	if (api_address(o->name, &addr, e))
		return -1;
	*to = c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, "out of memory");
	c->name = o->name;
	p.socket[0] = addr.sun_path;
	if (!o->no_sandbox)
		c->keeper = keeper_new(&p, e);
	return o->no_sandbox || c->keeper ? 0 : -1;
}

static int on_save(void *opaque, const char *path, int fd, struct err *e)
{
	(void)opaque;
	(void)path;
	(void)fd;
	return err_set(e, "a machine of 'doppel run' is not saved: its file servers' state is this host's");
}

static void on_stat(void *opaque, FILE *f)
{
	stats_print(((struct run_control *)opaque)->vm, STATS_JSON, f);
}

static int on_exec(void *opaque, int fd, struct err *e)
{
	return session_exec(((struct run_control *)opaque)->session, fd, e);
}

int run_control_open(struct run_control *c, struct vm *vm, struct session *session, struct err *e)
{
	const struct control_config cfg = {
		.name = c ? c->name : NULL, .vm = vm, .save = on_save, .stats = on_stat, .exec = on_exec, .opaque = c
	};

	if (!c)
		return 0;
	c->vm = vm;
	c->session = session;
	c->control = control_new(&cfg, e);
	return !c->control || (c->keeper && keeper_arm(c->keeper, e)) ? -1 : 0;
}

int run_control_start(struct run_control *c, struct err *e)
{
	return c ? control_start(c->control, e) : 0;
}

void run_control_stop(struct run_control *c)
{
	if (!c)
		return;
	control_stop(c->control);
	c->control = NULL;
}

void run_control_free(struct run_control *c)
{
	if (!c)
		return;
	control_stop(c->control);
	keeper_free(c->keeper);
	free(c);
}
