/* SPDX-License-Identifier: Apache-2.0
 * What doppel and its agent in the guest tell each other, over the first port of the virtio console (docs/run.md).
 * Little-endian; neither side trusts the other. The bytes of standard input, output and error go over ports of their
 * own, unframed: where such a stream ends is said here, as the number of bytes that it has.
 */
#ifndef AGENT_PROTOCOL_H
#define AGENT_PROTOCOL_H

#include "base/base.h"

#define AGENT_VERSION 1u
#define AGENT_MESSAGE_MAX (8u << 20) /* bytes behind the head; arguments and environment fit in */

enum agent_port { AGENT_CONTROL, AGENT_IN, AGENT_OUT, AGENT_ERR, AGENT_PORTS };

/* "Strings" are bytes without 0, each with one 0 behind it. */
enum agent_message {
	/* doppel says, in any order before RUN: */
	AGENT_CLOCK = 1, /* struct agent_time; bytes beyond its ns may be missing */
	AGENT_ENTROPY,	 /* bytes */
	AGENT_HOST,	 /* string: the host's name */
	AGENT_ROOT,	 /* strings: tag of the file system, "overlay", "ro" or "rw"; no tag: the initramfs stays */
	AGENT_SHARE,	 /* strings: tag, path, "ro" or "rw"; after ROOT, outer ones first */
	AGENT_NET,	 /* strings: address, mask, gateway, name server */
	AGENT_RUN,	 /* struct agent_run, strings: directory, program, arguments, environment */
	/* and while the command runs: */
	AGENT_SIGNAL,  /* u32: a Linux signal, for the command's process group */
	AGENT_SIZE,    /* u16 rows, columns */
	AGENT_END,     /* u64: standard input ends after so many bytes */
	AGENT_REFUSED, /* u32: what is written to this port (AGENT_OUT or AGENT_ERR) has no reader any more */
	/* both say, of a session that is not 0, whose streams have no ports: */
	AGENT_DATA,   /* u32: which stream; up to AGENT_DATA_MAX bytes */
	AGENT_CREDIT, /* u32: which stream, u32: so many bytes more may come; at first it is AGENT_WINDOW */
	/* doppel says: */
	AGENT_GONE, /* who began the session is gone */
	/* the agent says: */
	AGENT_HELLO = 64, /* u32 version, u32 0, u64: ns since the kernel began */
	AGENT_STARTED,	  /* u64: ns since the kernel began; the command's first instruction comes next */
	AGENT_CLOSED,	  /* u32 port, u32 0, u64: nobody can write to it any more; so many bytes were */
	AGENT_EXIT,	  /* struct agent_exit, after everything is on disk */
	AGENT_FAILED,	  /* string: why there is no command */
};

struct agent_head {
	u32 len; /* of what follows the head */
	u16 type;
	u16 session; /* 0: the command of `doppel run`; others: of `doppel exec`, from RUN to EXIT or FAILED */
};

/* flags: the terminal is standard error, too; standard input and output. Of a session that is not 0: the user is the
 * one that is given, not that of the first command. (Its directory is the first one's if it is empty; its variables are
 * added to the first one's.) */
enum { AGENT_TTY_ERR = 1, AGENT_TTY = 2, AGENT_USER = 4 };

#define AGENT_WINDOW (64u << 10)
#define AGENT_DATA_MAX 8192u
#define AGENT_SESSIONS 8u /* besides 0, at once */

struct agent_time {
	u64 ns;	     /* UTC */
	u64 tsc, hz; /* of the guest, at that moment: on its way to the agent the time goes on; or 0 */
};

struct agent_run {
	u32 flags, umask, uid, gid;
	u16 rows, cols;
	u32 groups, args, env;
	u32 group[64];
};

struct agent_exit {
	u32 status; /* as the shell has it: 128 + N for signal N */
	u32 zero;
	u64 out, err; /* bytes written to these ports in all */
};

_Static_assert(sizeof(struct agent_head) == 8 && sizeof(struct agent_run) == 288 && sizeof(struct agent_exit) == 24,
	       "as they are sent");

#endif
