/* SPDX-License-Identifier: Apache-2.0
 * The agent: process 1 of the guest of `doppel run`. Static, alone in its initramfs, one thread.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <sys/types.h>

#include "agent/protocol.h"

#define BUFFER (64u << 10)

/* What RUN says; the words are in its body. */
struct plan {
	struct agent_run r;
	const char *directory, *program;
	char **argv, **env;
	int fd[3]; /* what becomes 0, 1 and 2 */
};

struct exec;

struct agent {
	int port[AGENT_PORTS];
	int signals; /* signalfd */
	/* The message that is being received. */
	struct agent_head head;
	u8 *body;
	u32 have; /* of head and body */
	struct exec *exec[AGENT_SESSIONS];
	/* The command. */
	struct plan plan; /* stays, with its words: those of other sessions follow it */
	pid_t pid;	  /* 0: none yet */
	bool tty, exited;
	int status, pty;
	int slave; /* kept open until the command ends: the master of a terminal that nobody has open only fails */
	struct {
		int fd; /* our end of the pipe; -1: closed */
		u64 bytes;
		u32 at, len;
		bool closed, refused;
		u8 buf[BUFFER];
	} s[AGENT_PORTS]; /* of AGENT_IN, OUT, ERR */
	u64 in_end;
};

/* main.c: tells doppel why there will be no command, and waits for the end. */
_Noreturn void agent_fail(struct agent *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void agent_say(struct agent *a, enum agent_message type, const void *p, u32 len);
/* The same about another session; at most AGENT_DATA_MAX + 8 bytes. */
void agent_say_of(struct agent *a, u16 session, enum agent_message type, const void *p, u32 len);
u64 agent_clock(void);
/* The next string of a message's body; NULL behind the last one. */
const char *agent_string(u8 **at, const u8 *end);

/* setup.c: what stands before the command. */
void setup_early(void);
void setup_clock(const void *p, u32 len);
void setup_host(const char *name);
void setup_entropy(const void *p, u32 len);
void setup_root(struct agent *a, const char *tag, const char *how);
void setup_share(struct agent *a, const char *tag, const char *path, const char *how);
void setup_net(struct agent *a, const char *const word[4]);

/* command.c */
/* True: the body is kept. */
bool command_start(struct agent *a, u8 *body, u32 len);
/* NULL, or why not. The lists are the caller's to free. */
const char *plan_take(struct plan *p, u8 *body, u32 len);
/* A terminal of that size, and the user's. NULL, or why not. */
const char *plan_terminal(const struct agent_run *r, int *master, int *slave);
/* In a child. */
_Noreturn void plan_become(const struct plan *p);
void command_signal(struct agent *a, u32 sig);
void command_size(struct agent *a, u16 rows, u16 cols);
/* pump.c: moves bytes between ports and the command until it has ended and all it wrote is on its way. */
void pump_end(struct agent *a, u64 bytes);
void pump_refused(struct agent *a, u32 port);
_Noreturn void pump(struct agent *a);

/* exec.c: sessions besides the first. */
#define EXEC_WATCHED (3 * AGENT_SESSIONS)
struct pollfd;
void exec_handle(struct agent *a);
void exec_plan(const struct agent *a, struct pollfd *p);
void exec_serve(struct agent *a, const struct pollfd *p);
/* Tells of those that have ended. */
void exec_settle(struct agent *a);
void exec_reaped(struct agent *a, pid_t pid, int status);
/* main.c: reads from the control port, handles what is complete. */
void agent_receive(struct agent *a);

#endif
