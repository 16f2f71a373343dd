/* SPDX-License-Identifier: Apache-2.0
 * doppel fetch: Debian's cloud kernel with its modules, into the cache. apt does the work, and checks the signatures;
 * with lists of its own if the system's are not there, so that no rights are needed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "cli/program.h"
#include "cli/run.h"

/* $1: the cache. */
static const char script[] =
    "set -eu\n"
    "umask 022\n"
    "for tool in apt-get apt-cache dpkg-deb; do\n"
    "	command -v $tool >/dev/null || { echo \"doppel: fetching needs Debian's apt, and there is no $tool here:"
    " give 'doppel run' a kernel with --kernel\" >&2; exit 1; }\n"
    "done\n"
    "cache=$1\n"
    "work=$cache/fetch.$$\n"
    "mkdir -p \"$work\"\n"
    "trap 'rm -rf \"$work\"' EXIT\n"
    "trap 'exit 1' INT TERM HUP\n"
    "real_package() {\n"
    "	apt-cache \"$@\" depends linux-image-cloud-amd64 2>/dev/null |\n"
    "		sed -n 's/^ *Depends: *\\(linux-image-[0-9][^ ]*\\)$/\\1/p' | head -n 1\n"
    "}\n"
    "set --\n"
    "package=$(real_package)\n"
    "if [ -z \"$package\" ]; then\n"
    "	mkdir -p \"$work/lists/partial\" \"$work/archives/partial\"\n"
    "	set -- -o \"Dir::State=$work\" -o \"Dir::State::lists=$work/lists\" -o \"Dir::Cache=$work\"\n"
    "	echo 'doppel: fetching the lists of packages' >&2\n"
    "	apt-get \"$@\" update >&2 || { echo \"doppel: cannot fetch the lists of packages: is the network there?\""
    " >&2; exit 1; }\n"
    "	package=$(real_package \"$@\")\n"
    "fi\n"
    "[ -n \"$package\" ] || { echo 'doppel: the archive has no package linux-image-cloud-amd64' >&2; exit 1; }\n"
    "release=${package#linux-image-}\n"
    "if [ -s \"$cache/kernel/boot/vmlinuz-$release\" ]; then\n"
    "	echo \"doppel: $release is there already\" >&2\n"
    "	exit 0\n"
    "fi\n"
    "echo \"doppel: fetching $package\" >&2\n"
    "(cd \"$work\" && apt-get \"$@\" -o APT::Sandbox::User=root download \"$package\" >&2) ||\n"
    "	{ echo \"doppel: cannot fetch $package: is the network there?\" >&2; exit 1; }\n"
    "dpkg-deb -x \"$work\"/linux-image*.deb \"$work/kernel\"\n"
    "[ ! -d \"$work/kernel/usr/lib/modules\" ] || [ -d \"$work/kernel/lib\" ] || ln -s usr/lib \"$work/kernel/lib\"\n"
    "rm -rf \"$cache/kernel.old\"\n"
    "[ ! -d \"$cache/kernel\" ] || mv \"$cache/kernel\" \"$cache/kernel.old\"\n"
    "mv \"$work/kernel\" \"$cache/kernel\"\n"
    "rm -rf \"$cache/kernel.old\"\n"
    "echo \"doppel: $release is in $cache/kernel\" >&2\n";

void fetch_help(FILE *f)
{
	fputs("doppel fetch\n\n"
	      "Gets Debian's cloud kernel, by apt, into $XDG_CACHE_HOME/doppel (~/.cache/doppel), where 'doppel run' "
	      "finds\n"
	      "it. Once is enough; a second call gets a newer one, if there is one.\n",
	      f);
}

int fetch_main(int argc, char **argv)
{
	char cache[PATH_MAX];
	struct err e = { "" };
	int status, sig = 0;

	if (argc > 0 && !strcmp(argv[0], "--help")) {
		fetch_help(stdout);
		return 0;
	}
	if (argc > 0) {
		err_set(&e, "'doppel fetch' takes no '%.100s'", argv[0]);
		return cli_fail(&e);
	}
	if (cache_directory(cache, sizeof(cache), &e))
		return cli_fail(&e);
	status = program_run((char *[]){ "/bin/sh", "-c", (char *)script, "doppel-fetch", cache, NULL }, &sig);
	if (sig)
		raise(sig);
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : STATUS_FAILURE;
}
