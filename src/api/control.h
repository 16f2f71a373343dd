/* SPDX-License-Identifier: Apache-2.0
 * The control socket of a running machine, and those who speak to it. Lines of JSON: a request {"command": TEXT,
 * "arg": TEXT} gets one answer {"ok": true, "text": TEXT, …} or {"ok": false, "error": TEXT}. docs/control.md.
 */
#ifndef API_CONTROL_H
#define API_CONTROL_H

#include <jansson.h>
#include <stdio.h>

#include "machine/vm.h"

struct control;

/* What the control socket does through others. Called in its thread, without the machine lock. */
struct control_config {
	const char *name;
	struct vm *vm;
	/* Into the open file fd; -1: into a file at path. */
	int (*save)(void *opaque, const char *path, int fd, struct err *e);
	void (*stats)(void *opaque, FILE *f); /* as JSON */
	/* A command in the guest, whose streams are messages over fd, which it takes; NULL: there is no agent. */
	int (*exec)(void *opaque, int fd, struct err *e);
	void *opaque;
};

/* Has the name and its socket. NULL and the sentence: the name is in use, … */
struct control *control_new(const struct control_config *cfg, struct err *e);
/* Serves in a thread of its own until control_stop(). */
int control_start(struct control *c, struct err *e);
/* Where the socket is. */
const char *control_path(const struct control *c);
void control_stop(struct control *c);
/* From any thread: do the command as if it had come by the socket; the answer goes to stderr. */
void control_post(struct control *c, const char *command, const char *arg);

/* ---- monitor.c: the commands; in the control thread ---- */

struct monitor {
	struct control_config cfg;
	bool held; /* `stop` */
	int file;  /* that came along with the command, or -1 */
};

/* Its answer. */
json_t *monitor_do(struct monitor *m, const char *command, const char *arg);
/* Lets a machine that `stop` holds go. */
void monitor_release(struct monitor *m);

/* ---- client.c ---- */

/* One request to a running machine; the answer if it is "ok", else NULL and the sentence. timeout_ms -1: none. fd: goes
 * along with it, or -1. */
json_t *api_request(const char *name, const char *command, const char *arg, int fd, int timeout_ms, struct err *e);
/* The same over a connection that stays open. */
json_t *api_ask(FILE *to, FILE *from, const char *command, const char *arg, int fd, struct err *e);

#endif
