/* SPDX-License-Identifier: Apache-2.0
 * The words behind `doppel run`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/run.h"

enum {
#define RUN_OPTION(id, name, value, arg, help) RUN_##id,
#include "cli/run_options.def"
#undef RUN_OPTION
};

static const struct option_row rows[] = {
#define RUN_OPTION(id, name, value, arg, help) { name, value, arg, RUN_##id, help },
#include "cli/run_options.def"
#undef RUN_OPTION
};

void run_help(FILE *f)
{
	fputs(
	    "doppel run [options] [-- COMMAND [ARGUMENT ...]]\n\n"
	    "Runs a command, or a shell, in a machine of its own that sees this host's files: the root copy-on-write,\n"
	    "the current directory as it is. Standard input, output and error, signals and the exit status are the\n"
	    "command's (128 + N if signal N ended it); 125 is doppel's own failure, 126 a command that cannot be run,\n"
	    "127 one that there is not.\n\n",
	    f);
	option_help(rows, ARRAY_SIZE(rows), f);
	fputs("\n  doppel run -- make check\n  echo hi | doppel run -- cat | wc -c\n"
	      "  doppel run --net user -p 8080:80 -- python3 -m http.server 80\n"
	      "  doppel run --kernel arch/x86/boot/bzImage -- uname -r\n",
	      f);
}

/* DIR[:PATH][,ro] */
static int add_share(struct run_options *o, const char *val, struct err *e)
{
	struct run_share *s = &o->share[o->nr_shares];
	size_t len = strlen(val);
	char text[2048], dir[PATH_MAX], *colon;

	if (o->nr_shares == RUN_SHARES_MAX)
		return err_set(e, "--share '%.100s' is one too many: a guest can have %d", val, RUN_SHARES_MAX);
	*s = (struct run_share){ .readonly = len > 3 && !strcmp(val + len - 3, ",ro") };
	if (snprintf(text, sizeof(text), "%.*s", (int)(len - (s->readonly ? 3 : 0)), val) >= (int)sizeof(text))
		return err_set(e, "--share '%.100s...' is too long", val);
	colon = strrchr(text, ':');
	if (colon && colon[1] != '/')
		return err_set(e, "--share '%.100s': behind the colon a path of the guest, from / on", val);
	if (colon)
		*colon = 0;
	if (!realpath(text, dir))
		return err_errno(e, "--share '%.200s'", text);
	if (strlen(dir) >= sizeof(s->dir) || (colon && strlen(colon + 1) >= sizeof(s->path)))
		return err_set(e, "--share '%.100s...' is too long", val);
	strcpy(s->dir, dir);
	strcpy(s->path, colon ? colon + 1 : dir);
	o->nr_shares++;
	return !strcmp(s->path, "/")
		   ? err_set(e, "--share '%.100s' would hide the root: --rootfs gives another one", val)
		   : 0;
}

/* As `doppel boot` takes it: --name=VALUE, -pVALUE. */
static int hand_on(struct run_options *o, const char *name, const char *val, struct err *e)
{
	char *word;

	if (o->nr_boot >= RUN_WORDS_MAX)
		return err_set(e, "--%s is one option too many", name);
	if (asprintf(&word, "%s%s%s%s", name[1] ? "--" : "-", name, val && name[1] ? "=" : "", val ? val : "") < 0)
		return err_set(e, "out of memory");
	o->boot[o->nr_boot++] = word;
	return 0;
}

int run_options_add_env(struct run_options *o, const char *val, struct err *e)
{
	const char *here = strchr(val, '=') ? NULL : getenv(val);

	if (o->nr_env == RUN_WORDS_MAX)
		return err_set(e, "-e '%.100s' is one too many: %d can be given", val, RUN_WORDS_MAX);
	if (!*val || *val == '=')
		return err_set(e, "-e '%.100s': give VAR or VAR=VALUE", val);
	if (!strchr(val, '=') && !here)
		return 0;
	if (asprintf(&o->env[o->nr_env], here ? "%s=%s" : "%s", val, here) < 0)
		return err_set(e, "out of memory");
	o->nr_env++;
	return 0;
}

static int set_option(void *opaque, int id, const char *name, const char *val, struct err *e)
{
	struct run_options *o = opaque;

	switch (id) {
	case OPTION_POSITIONAL:
		return err_set(e, "'%.100s': the command comes behind '--', as in: doppel run -- %.100s", val, val);
	case RUN_SHARE:
		return add_share(o, val, e);
	case RUN_NO_SHARE:
		o->no_share = true;
		return 0;
	case RUN_ROOTFS:
		o->rootfs = val;
		return 0;
	case RUN_DIRECTORY:
		o->directory = val;
		return *val == '/' ? 0 : err_set(e, "-w '%.100s': give a path from / on", val);
	case RUN_ENV:
		return run_options_add_env(o, val, e);
	case RUN_USER:
		o->user = val;
		return 0;
	case RUN_KERNEL:
		o->kernel = val;
		return 0;
	case RUN_MODULES:
		o->modules = val;
		return 0;
	case RUN_APPEND:
		o->append = val;
		return 0;
	case RUN_COLD:
		o->cold = true;
		return 0;
	case RUN_VERBOSE:
		o->verbose++;
		return 0;
	case RUN_QUIET:
		o->quiet = true;
		return 0;
	case RUN_HELP:
		o->help = true;
		return 0;
	case RUN_BOOT_MEMORY:
		o->memory = true;
		break;
	}
	return hand_on(o, name, val, e);
}

/* The current directory, as the shell names it if that is true. */
static int find_here(struct run_options *o, struct err *e)
{
	struct run_share here = { 0 };

	if (!getcwd(o->cwd, sizeof(o->cwd)) || o->cwd[0] != '/') {
		if (o->no_share && (o->directory || o->rootfs))
			return 0;
		return err_errno(e, "the current directory cannot be named (--no-share and -w DIR do without)");
	}
	if (o->no_share || !strcmp(o->cwd, "/"))
		return 0;
	for (unsigned i = 0; i < o->nr_shares; i++)
		if (!strcmp(o->share[i].path, o->cwd))
			return 0;
	if (o->nr_shares == RUN_SHARES_MAX)
		return err_set(e, "the current directory is one --share too many: give --no-share, or %d of them",
			       RUN_SHARES_MAX - 1);
	snprintf(here.dir, sizeof(here.dir), "%s", o->cwd);
	snprintf(here.path, sizeof(here.path), "%s", o->cwd);
	o->share[o->nr_shares++] = here;
	return 0;
}

/* What is mounted inside another one comes after it. */
static int by_length(const void *a, const void *b)
{
	size_t la = strlen(((const struct run_share *)a)->path), lb = strlen(((const struct run_share *)b)->path);

	return la < lb ? -1 : la > lb;
}

int run_options_parse(struct run_options *o, int argc, char **argv, struct err *e)
{
	int own = 0;

	*o = (struct run_options){ 0 };
	while (own < argc && strcmp(argv[own], "--"))
		own++;
	if (own + 1 < argc)
		o->command = argv + own + 1;
	if (option_parse(rows, ARRAY_SIZE(rows), "run", own, argv, set_option, o, e))
		return -1;
	if (o->help)
		return 0;
	if (find_here(o, e) || rootfs_find(o, e))
		return -1;
	qsort(o->share, o->nr_shares, sizeof(o->share[0]), by_length);
	o->tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
	o->tty_err = o->tty && isatty(STDERR_FILENO);
	return 0;
}
