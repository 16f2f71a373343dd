/* SPDX-License-Identifier: Apache-2.0
 * The verbs that speak to running machines: ps, stop, stat, save, monitor.
 */
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/control.h"
#include "api/dir.h"
#include "base/log.h"
#include "base/newfile.h"
#include "cli/cli.h"

#define ANSWER_MS 5000 /* of what a machine does at once */

/* ---- words ----------------------------------------------------------------------------------------------------------
 */

struct words {
	const char *verb, *name, *file;
	bool now, stop, help;
};

enum { W_NOW, W_STOP, W_HELP };

static const struct option_row stop_rows[] = {
	{ "now", NULL, ARG_NONE, W_NOW, "Ends the machine at once, without asking the guest." },
	{ "help", NULL, ARG_NONE, W_HELP, "This text." },
};
static const struct option_row save_rows[] = {
	{ "stop", NULL, ARG_NONE, W_STOP, "Ends the machine once it is saved." },
	{ "help", NULL, ARG_NONE, W_HELP, "This text." },
};
static const struct option_row plain_rows[] = {
	{ "help", NULL, ARG_NONE, W_HELP, "This text." },
};

static int set_word(void *opaque, int id, const char *name, const char *val, struct err *e)
{
	struct words *w = opaque;

	(void)name;
	switch (id) {
	case OPTION_POSITIONAL:
		if (w->name && w->file)
			return err_set(e, "'doppel %s' takes no '%.100s'", w->verb, val);
		*(w->name ? &w->file : &w->name) = val;
		return 0;
	case W_NOW:
		w->now = true;
		return 0;
	case W_STOP:
		w->stop = true;
		return 0;
	default:
		w->help = true;
		return 0;
	}
}

/* want: how many words the verb takes. 1: the help was printed. */
static int parse(struct words *w, const char *verb, const struct option_row *rows, size_t n, unsigned want, int argc,
		 char **argv, void (*help)(FILE *f), struct err *e)
{
	*w = (struct words){ .verb = verb };
	if (option_parse(rows, n, verb, argc, argv, set_word, w, e))
		return -1;
	if (w->help) {
		help(stdout);
		return 1;
	}
	if (want < 2 && w->file)
		return err_set(e, "'doppel %s' takes no '%.100s'", verb, w->file);
	if (want < 1 && w->name)
		return err_set(e, "'doppel %s' takes no '%.100s'", verb, w->name);
	if (want >= 1 && !w->name)
		return err_set(e, "'doppel %s' needs the NAME of a machine: 'doppel ps' lists them", verb);
	if (want >= 2 && !w->file)
		return err_set(e, "'doppel %s' needs a FILE as well", verb);
	return w->name ? api_name_check(w->name, e) : 0;
}

static int tell(const char *name, const char *command, const char *arg, int fd, int timeout_ms, struct err *e)
{
	json_t *a = api_request(name, command, arg, fd, timeout_ms, e);
	const char *text;

	if (!a)
		return -1;
	text = json_string_value(json_object_get(a, "text"));
	if (text && *text)
		printf("%s%s", text, text[strlen(text) - 1] == '\n' ? "" : "\n");
	json_decref(a);
	return 0;
}

static int end(int ret, const struct err *e)
{
	return ret < 0 ? cli_fail(e) : 0;
}

/* ---- ps
 * --------------------------------------------------------------------------------------------------------------- */

void ps_help(FILE *f)
{
	fputs("doppel ps\n\nLists the machines of this user that were started with --name and are running.\n\n", f);
	option_help(plain_rows, ARRAY_SIZE(plain_rows), f);
}

/* A socket that nobody listens on any more is taken away. */
static void list_one(void *opaque, const char *name)
{
	struct sockaddr_un addr;
	struct err e = { "" };
	bool dead;
	int fd = api_connect(name, &dead, &e);

	(void)opaque;
	if (fd < 0) {
		if (dead && !api_address(name, &addr, &e))
			unlink(addr.sun_path);
		return;
	}
	close(fd);
	if (tell(name, "status", "", -1, ANSWER_MS, &e))
		printf("%s: %s\n", name, e.text);
}

int ps_main(int argc, char **argv)
{
	struct err e = { "" };
	struct words w;
	int ret = parse(&w, "ps", plain_rows, ARRAY_SIZE(plain_rows), 0, argc, argv, ps_help, &e);

	if (!ret)
		ret = api_each_name(list_one, NULL, &e);
	return end(ret, &e);
}

/* ---- stop
 * ------------------------------------------------------------------------------------------------------------- */

void stop_help(FILE *f)
{
	fputs("doppel stop [--now] NAME\n\nPresses the machine's power button; what comes of it is the guest's "
	      "decision.\n\n",
	      f);
	option_help(stop_rows, ARRAY_SIZE(stop_rows), f);
}

int stop_main(int argc, char **argv)
{
	struct err e = { "" };
	struct words w;
	int ret = parse(&w, "stop", stop_rows, ARRAY_SIZE(stop_rows), 1, argc, argv, stop_help, &e);

	if (!ret)
		ret = tell(w.name, w.now ? "quit" : "power", "", -1, ANSWER_MS, &e);
	return end(ret, &e);
}

/* ---- stat
 * ------------------------------------------------------------------------------------------------------------- */

void stat_help(FILE *f)
{
	fputs("doppel stat NAME\n\nPrints all counters of a running machine, as --stats=json does at its end.\n\n", f);
	option_help(plain_rows, ARRAY_SIZE(plain_rows), f);
}

int stat_main(int argc, char **argv)
{
	struct err e = { "" };
	struct words w;
	int ret = parse(&w, "stat", plain_rows, ARRAY_SIZE(plain_rows), 1, argc, argv, stat_help, &e);

	if (!ret)
		ret = tell(w.name, "stat", "", -1, ANSWER_MS, &e);
	return end(ret, &e);
}

/* ---- save
 * ------------------------------------------------------------------------------------------------------------- */

void save_help(FILE *f)
{
	fputs("doppel save [--stop] NAME FILE\n\n"
	      "Saves a running machine, its CPUs, devices and memory, to FILE; 'doppel boot --load FILE' goes on from "
	      "there.\n"
	      "What is on its disks is not in FILE: keep them as they were at that moment (--stop, or copies).\n\n",
	      f);
	option_help(save_rows, ARRAY_SIZE(save_rows), f);
}

/* The machine may have another working directory. */
static int absolute(const char *file, char *path, size_t size, struct err *e)
{
	char cwd[PATH_MAX];
	int n;

	if (*file != '/' && !getcwd(cwd, sizeof(cwd)))
		return err_errno(e, "cannot tell the working directory");
	n = *file == '/' ? snprintf(path, size, "%s", file) : snprintf(path, size, "%s/%s", cwd, file);
	return (size_t)n >= size ? err_set(e, "the path '%.100s…' is too long", file) : 0;
}

int save_main(int argc, char **argv)
{
	struct err e = { "" };
	struct words w;
	char path[PATH_MAX];
	struct newfile f;
	int ret = parse(&w, "save", save_rows, ARRAY_SIZE(save_rows), 2, argc, argv, save_help, &e);

	if (!ret)
		ret = absolute(w.file, path, sizeof(path), &e);
	if (!ret)
		ret = newfile_open(&f, path, &e);
	if (ret)
		return end(ret, &e);
	ret = tell(w.name, w.stop ? "save-and-quit" : "save", path, f.fd, -1, &e);
	if (newfile_close(&f, !ret, &e))
		ret = -1;
	return end(ret, &e);
}

/* ---- monitor
 * ---------------------------------------------------------------------------------------------------------- */

void monitor_help(FILE *f)
{
	fputs("doppel monitor NAME\n\nA prompt for a running machine; 'help' lists what can be said there. It ends "
	      "with the\n"
	      "end of its input; the machine goes on.\n\n",
	      f);
	option_help(plain_rows, ARRAY_SIZE(plain_rows), f);
}

/* One line; false: the machine is gone. */
static bool monitor_line(FILE *to, FILE *from, char *line)
{
	char *command = line + strspn(line, " \t"), *arg, path[PATH_MAX];
	struct newfile f = { .fd = -1 };
	struct err e = { "" };
	bool save;
	const char *text;
	json_t *a;

	command[strcspn(command, "\r\n")] = 0;
	arg = command + strcspn(command, " \t");
	if (*arg)
		*arg++ = 0;
	arg += strspn(arg, " \t");
	if (!*command)
		return true;
	save = !strncmp(command, "save", 4) && *arg;
	if (save && (absolute(arg, path, sizeof(path), &e) || newfile_open(&f, path, &e))) {
		printf("%s\n", e.text);
		return true;
	}
	a = api_ask(to, from, command, save ? path : arg, f.fd, &e);
	if (save && newfile_close(&f, a, &e)) {
		json_decref(a);
		a = NULL;
	}
	text = a ? json_string_value(json_object_get(a, "text")) : e.text;
	if (text && *text)
		printf("%s%s", text, text[strlen(text) - 1] == '\n' ? "" : "\n");
	json_decref(a);
	return !ferror(to) && !feof(from) && !ferror(from);
}

static int monitor_loop(FILE *to, FILE *from)
{
	bool tty = isatty(STDIN_FILENO);
	char *line = NULL;
	size_t room = 0;

	do {
		if (tty)
			fputs("doppel> ", stdout);
		fflush(stdout);
	} while (getline(&line, &room, stdin) > 0 && monitor_line(to, from, line));
	free(line);
	return 0;
}

int monitor_main(int argc, char **argv)
{
	struct err e = { "" };
	struct words w;
	FILE *to, *from;
	int fd, ret = parse(&w, "monitor", plain_rows, ARRAY_SIZE(plain_rows), 1, argc, argv, monitor_help, &e);

	if (ret)
		return end(ret, &e);
	fd = api_connect(w.name, NULL, &e);
	if (fd < 0)
		return cli_fail(&e);
	from = fdopen(fd, "r");
	to = fdopen(dup(fd), "w");
	ret = from && to ? monitor_loop(to, from) : err_errno(&e, "cannot speak to the machine");
	if (to)
		fclose(to);
	if (from)
		fclose(from);
	return end(ret, &e);
}
