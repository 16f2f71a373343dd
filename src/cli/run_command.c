/* SPDX-License-Identifier: Apache-2.0
 * What the agent is told before the command runs, in docs/run.md's order.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/run.h"

/* Bytes that grow. */
struct text {
	char *p;
	size_t len;
	bool failed;
};

static void add_bytes(struct text *t, const void *p, size_t len)
{
	char *grown = t->failed ? NULL : realloc(t->p, t->len + len + 1);

	if (!grown) {
		t->failed = true;
		return;
	}
	t->p = grown;
	memcpy(t->p + t->len, p, len);
	t->len += len;
}

static void add_string(struct text *t, const char *s)
{
	add_bytes(t, s, strlen(s) + 1);
}

/* Strings, up to a NULL. */
static void say_words(struct session *s, enum agent_message type, ...)
{
	struct text t = { 0 };
	const char *word;
	va_list ap;

	va_start(ap, type);
	while ((word = va_arg(ap, const char *)))
		add_string(&t, word);
	va_end(ap);
	if (!t.failed)
		session_say(s, type, t.p, t.len);
	free(t.p);
}

/* ---- who ----------------------------------------------------------------------------------------------------------
 */

static bool number(const char *s, u32 *n)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	*n = (u32)v;
	return *s >= '0' && *s <= '9' && !*end && v < 0xffffffff;
}

static void take_groups(struct agent_run *r, const gid_t *group, int n)
{
	r->groups = (u32)MAX(0, MIN(n, (int)ARRAY_SIZE(r->group)));
	for (u32 i = 0; i < r->groups; i++)
		r->group[i] = group[i];
}

/* USER[:GROUP], by this host's names. */
static int named_user(struct agent_run *r, const char *text, struct err *e)
{
	char user[256];
	const char *colon = strchr(text, ':');
	const struct passwd *pw;
	const struct group *gr;
	gid_t group[ARRAY_SIZE(r->group)];
	int n = ARRAY_SIZE(group);

	snprintf(user, sizeof(user), "%.*s", (int)(colon ? colon - text : (long)strlen(text)), text);
	pw = number(user, &r->uid) ? getpwuid(r->uid) : getpwnam(user);
	if (!pw && !number(user, &r->uid))
		return err_set(e, "--user '%.100s': this host has no user of that name; give a number", user);
	r->uid = pw ? pw->pw_uid : r->uid;
	r->gid = pw ? pw->pw_gid : r->uid;
	if (pw && !colon && getgrouplist(pw->pw_name, pw->pw_gid, group, &n) >= 0)
		take_groups(r, group, n);
	if (!colon || number(colon + 1, &r->gid))
		return 0;
	gr = getgrnam(colon + 1);
	if (!gr)
		return err_set(e, "--user '%.100s': this host has no group of that name; give a number", text);
	r->gid = gr->gr_gid;
	return 0;
}

static int find_user(struct agent_run *r, const struct run_options *o, struct err *e)
{
	gid_t group[ARRAY_SIZE(r->group)];

	if (o->user)
		return named_user(r, o->user, e);
	if (o->rootfs || o->exec)
		return 0; /* root */
	r->uid = geteuid();
	r->gid = getegid();
	take_groups(r, group, getgroups(ARRAY_SIZE(group), group));
	return 0;
}

/* ---- what ----------------------------------------------------------------------------------------------------------
 */

static bool is_replaced(const struct run_options *o, const char *var)
{
	size_t name = strcspn(var, "=") + 1;

	for (unsigned i = 0; i < o->nr_env; i++)
		if (!strncmp(o->env[i], var, name))
			return true;
	return false;
}

static u32 add_var(struct text *t, const struct run_options *o, const char *var)
{
	if (is_replaced(o, var))
		return 0;
	add_string(t, var);
	return 1;
}

/* This host's root has this host's environment; another one has its own little. */
static u32 add_environment(struct text *t, const struct run_options *o)
{
	char term[300];
	u32 n = 0;

	for (char **var = environ; !o->rootfs && !o->exec && *var; var++)
		n += add_var(t, o, *var);
	if (o->rootfs || o->tty)
		snprintf(term, sizeof(term), "TERM=%.200s", getenv("TERM") ? getenv("TERM") : "dumb");
	if (o->exec && o->tty)
		n += add_var(t, o, term);
	if (o->rootfs) {
		n += add_var(t, o, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
		n += add_var(t, o, o->user ? "HOME=/" : "HOME=/root");
		n += add_var(t, o, term);
	}
	for (unsigned i = 0; i < o->nr_env; i++, n++)
		add_string(t, o->env[i]);
	return n;
}

static const char *find_shell(const struct run_options *o, const struct agent_run *r)
{
	const struct passwd *pw = o->rootfs || o->exec ? NULL : getpwuid(r->uid);
	const char *shell = o->rootfs || o->user || o->exec ? NULL : getenv("SHELL");

	if (shell && *shell == '/')
		return shell;
	return pw && pw->pw_shell && *pw->pw_shell == '/' ? pw->pw_shell : "/bin/sh";
}

/* A login shell's own name begins with a dash. */
static u32 add_command(struct text *t, const struct run_options *o, const struct agent_run *r)
{
	const char *shell;
	char name[256];
	u32 n = 0;

	if (o->command) {
		add_string(t, o->command[0]);
		for (; o->command[n]; n++)
			add_string(t, o->command[n]);
		return n;
	}
	shell = find_shell(o, r);
	snprintf(name, sizeof(name), "%s%.200s", o->tty ? "-" : "", strrchr(shell, '/') + 1);
	add_string(t, shell);
	add_string(t, name);
	return 1;
}

static const char *find_directory(const struct run_options *o)
{
	if (o->directory || o->exec)
		return o->directory ? o->directory : "";
	return !o->rootfs || !o->no_share ? o->cwd : "/";
}

void *run_command_body(const struct run_options *o, size_t *len, struct err *e)
{
	struct agent_run r = { .flags = (o->tty ? AGENT_TTY : 0) | (o->tty_err ? AGENT_TTY_ERR : 0) |
					(o->user ? AGENT_USER : 0) };
	struct winsize size;
	struct text t = { 0 };

	if (find_user(&r, o, e))
		return NULL;
	r.umask = umask(0);
	umask(r.umask);
	if (o->tty && !ioctl(STDIN_FILENO, TIOCGWINSZ, &size)) {
		r.rows = size.ws_row;
		r.cols = size.ws_col;
	}
	add_bytes(&t, &r, sizeof(r));
	add_string(&t, find_directory(o));
	r.args = add_command(&t, o, &r);
	r.env = add_environment(&t, o);
	if (t.failed || t.len > AGENT_MESSAGE_MAX) {
		free(t.p);
		err_set(e, "the command and its environment are too long");
		return NULL;
	}
	memcpy(t.p, &r, sizeof(r));
	*len = t.len;
	return t.p;
}

static int say_run(struct session *s, const struct run_options *o, struct err *e)
{
	size_t len;
	void *body = run_command_body(o, &len, e);

	if (!body)
		return -1;
	session_say(s, AGENT_RUN, body, len);
	free(body);
	return 0;
}

/* ---- where ---------------------------------------------------------------------------------------------------------
 */

static void say_place(struct session *s, const struct run_options *o, const struct vm_config *vm)
{
	struct utsname u;
	u8 entropy[64];
	bool user = false;

	if (getrandom(entropy, sizeof(entropy), 0) == sizeof(entropy))
		session_say(s, AGENT_ENTROPY, entropy, sizeof(entropy));
	uname(&u);
	say_words(s, AGENT_HOST, u.nodename, NULL);
	say_words(s, AGENT_ROOT, o->copy ? "" : "root", "overlay", NULL);
	for (unsigned i = 0; i < o->nr_shares; i++) {
		char tag[16];

		snprintf(tag, sizeof(tag), "share%u", i);
		say_words(s, AGENT_SHARE, tag, o->share[i].path, o->share[i].readonly ? "ro" : "rw", NULL);
	}
	for (unsigned i = 0; i < vm->nr_nets; i++)
		user |= !i && vm->net[i].kind == NET_USER;
	if (user)
		say_words(s, AGENT_NET, "10.0.2.15", "255.255.255.0", "10.0.2.2", "10.0.2.3", NULL);
	else
		say_words(s, AGENT_NET, "", "", "", "", NULL);
}

int run_command_say(struct session *s, const struct run_options *o, const struct vm_config *vm, struct err *e)
{
	say_place(s, o, vm);
	return say_run(s, o, e);
}
