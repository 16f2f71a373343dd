/* SPDX-License-Identifier: Apache-2.0
 * Finds the verb.
 */
#include "cli/cli.h"

#include "base/log.h"
#include "cli/version.h"

static const struct verb verbs[] = {
	{ "run", "doppel run [options] [-- COMMAND]", "a command, or a shell, in a machine that sees this host's files",
	  run_main, run_help },
	{ "fetch", "doppel fetch", "gets the kernel that 'doppel run' starts", fetch_main, fetch_help },
	{ "boot", "doppel boot [options]", "a machine: from a disk image, a kernel or firmware", boot_main, boot_help },
	{ "ps", "doppel ps", "the machines that are running", ps_main, ps_help },
	{ "exec", "doppel exec [options] NAME [-- COMMAND]", "another command in a machine of 'doppel run --name NAME'",
	  exec_main, exec_help },
	{ "stop", "doppel stop NAME", "presses a machine's power button, or ends it (--now)", stop_main, stop_help },
	{ "save", "doppel save NAME FILE", "a snapshot of a running machine", save_main, save_help },
	{ "stat", "doppel stat NAME", "the counters of a running machine", stat_main, stat_help },
	{ "monitor", "doppel monitor NAME", "a prompt for a running machine", monitor_main, monitor_help },
	{ "doctor", "doppel doctor", "what this host offers, what was tried, and why not", doctor_main, doctor_help },
	{ "help", "doppel help [VERB]", "this, or a verb's options", help_main, help_help },
};

/* Verbs of the design that this version does not have. */
static const char *const absent[] = { "console" };

const struct verb *verb_get(unsigned n)
{
	return n < ARRAY_SIZE(verbs) ? &verbs[n] : NULL;
}

int cli_fail(const struct err *e)
{
	log_msg(LOG_ERROR, "%s", e->text);
	return STATUS_FAILURE;
}

static int unknown_verb(const char *word)
{
	struct err e;

	err_set(&e, "there is no command '%.100s': 'doppel help' lists what there is", word);
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
		if (!strcmp(word, absent[i]))
			err_set(&e, "'doppel %s' is not available in this version: 'doppel help' lists what is", word);
	return cli_fail(&e);
}

int cli_main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word) {
		help_help(stderr);
		return STATUS_FAILURE;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		return help_main(0, NULL);
	if (!strcmp(word, "--version")) {
		printf("doppel %s\n", DOPPEL_VERSION);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(word, verbs[i].name))
			return verbs[i].run(argc - 2, argv + 2);
	return unknown_verb(word);
}
