/* SPDX-License-Identifier: Apache-2.0
 * The host's side of a command in a guest: what the agent is told and tells (agent/protocol.h), the command's standard
 * input, output and error, and when all of it is over. docs/run.md has the protocol in words.
 *
 * Locking: the machine lock, but for session_signal() and session_resized().
 */
#ifndef API_SESSION_H
#define API_SESSION_H

#include "agent/protocol.h"
#include "machine/vm.h"

struct session;

struct session_config {
	bool tty;     /* standard input and output are the command's terminal */
	bool tty_err; /* so is standard error */
	bool tell;    /* what the guest's kernel writes goes to stderr */
	/* The agent listens, and nothing of this session has gone into the guest yet; NULL: nobody wants to know.
	 * Machine lock; from the machine's own thread. */
	void (*listens)(void *opaque, struct vm *vm);
	void *opaque;
};

/* The chardev specs that session_chardev() makes: the agent's ports 0 to AGENT_PORTS - 1, and the kernel's console. */
#define SESSION_PORT "@port"
#define SESSION_LOG "@log"

struct session *session_new(const struct session_config *cfg, struct err *e);
void session_free(struct session *s);
/* As struct vm_companion has them; opaque is the session. */
struct chardev *session_chardev(void *opaque, const char *spec, struct loop *loop, struct err *e);
void session_poll(void *opaque, struct vm *vm);
/* Before the machine runs; listens: its agent does already, for it stands where it did so in another run. */
void session_attach(struct session *s, struct vm *vm, bool listens);
/* Something for the agent: it gets it as soon as it listens. */
void session_say(struct session *s, enum agent_message type, const void *p, size_t len);
/* A client of `doppel exec` (api/exec.h): its socket, which becomes the session's, or -1 with a sentence. */
int session_exec(struct session *s, int fd, struct err *e);
/* Async-signal-safe: the signal is the command's, or ends the machine while there is no command. */
void session_signal(void *session, int sig);
void session_resized(void *session);

struct session_end {
	bool ended;	 /* there was a command, and it has ended: status */
	int status;	 /* as the shell has it */
	const char *why; /* the agent's sentence about why there was none; "" */
	const char *log; /* the last lines of the guest's kernel */
	u64 hello_ns, started_ns, guest_hello_ns,
	    guest_started_ns; /* VM clock; the guest's own. 0: did not come to that */
};
void session_result(const struct session *s, struct session_end *end);

#endif
