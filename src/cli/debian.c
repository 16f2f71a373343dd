/* SPDX-License-Identifier: Apache-2.0
 * --rootfs debian[:SUITE]: a fresh Debian root, made once by mmdebstrap or, as root, debootstrap, which check the
 * signatures. One doppel makes it while others wait at the lock; it has its name when all of it is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/program.h"
#include "cli/run.h"

#define SUITE_MAX 32u

/* $1: the suite, $2: where the root shall be, which is there and empty. What debootstrap mounts in it is in a mount
 * namespace of its own, so that nothing stays mounted however it ends. mmdebstrap without root makes files of owners
 * that only a namespace has: these go through an archive. */
static const char script[] =
    "set -eu\n"
    "umask 022\n"
    "mirror=${DEBIAN_MIRROR:-}\n"
    "no_tool() { echo \"doppel: --rootfs debian needs $1\" >&2; exit 1; }\n"
    "has_ids() {\n"
    "	command -v newuidmap >/dev/null && grep -qs \"^$(id -un):\" /etc/subuid && grep -qs \"^$(id -un):\" "
    "/etc/subgid\n"
    "}\n"
    "no_ids() {\n"
    "	[ \"$(id -u)\" = 0 ] || has_ids || echo \"doppel: for an ordinary user mmdebstrap needs the package uidmap "
    "and\" \\\n"
    "		\"subordinate ids: 65,536 of them for $(id -un) in /etc/subuid and /etc/subgid (subuid(5))\" >&2\n"
    "	exit 1\n"
    "}\n"
    "if command -v mmdebstrap >/dev/null; then\n"
    "	archive=$2.tar\n"
    "	trap 'rm -f \"$archive\"' EXIT\n"
    "	mmdebstrap --variant=minbase --format=tar \"$1\" \"$archive\" ${mirror:+\"$mirror\"} >&2 || no_ids\n"
    "	tar -C \"$2\" --numeric-owner --exclude='./dev/*' --exclude='dev/*' -xpf \"$archive\"\n"
    "elif PATH=$PATH:/usr/sbin:/sbin command -v debootstrap >/dev/null; then\n"
    "	PATH=$PATH:/usr/sbin:/sbin\n"
    "	[ \"$(id -u)\" = 0 ] || no_tool 'the package mmdebstrap (debootstrap works for root only)'\n"
    "	own=\n"
    "	! unshare -m true 2>/dev/null || own='unshare -m'\n"
    "	$own debootstrap --variant=minbase \"$1\" \"$2\" ${mirror:+\"$mirror\"} >&2\n"
    "	rm -rf \"$2\"/var/cache/apt/archives/*.deb \"$2\"/var/lib/apt/lists/*_*\n"
    "else\n"
    "	no_tool 'the package mmdebstrap (as root, debootstrap will do)'\n"
    "fi\n";

static int check_suite(const char *suite, struct err *e)
{
	size_t n = strspn(suite, "abcdefghijklmnopqrstuvwxyz0123456789-");

	if (!n || suite[n] || n > SUITE_MAX || *suite == '-')
		return err_set(e, "--rootfs 'debian:%.100s': give a suite of Debian, as in debian:bookworm", suite);
	return 0;
}

static bool is_there(const char *dir)
{
	struct stat st;

	return !stat(dir, &st) && S_ISDIR(st.st_mode);
}

/* An open file that is locked, or -1. */
static int lock(const char *root, struct err *e)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s.lock", root);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(e, "cannot make '%.200s'", path);
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	fputs("doppel: waits for another doppel, which makes the same root\n", stderr);
	while (flock(fd, LOCK_EX))
		if (errno != EINTR) {
			err_errno(e, "cannot lock '%.200s'", path);
			close(fd);
			return -1;
		}
	return fd;
}

/* With the lock: what another one has left is nobody's. */
static int make(const char *root, const char *suite, struct err *e)
{
	char part[PATH_MAX];
	int sig = 0, status;

	snprintf(part, sizeof(part), "%s.part", root);
	rootfs_remove(part, &sig);
	if (sig)
		raise(sig);
	if (mkdir(part, 0755))
		return err_errno(e, "cannot make '%.200s'", part);
	fprintf(stderr, "doppel: makes a root of Debian %s in %s, once\n", suite, root);
	status = program_run((char *[]){ "/bin/sh", "-c", (char *)script, "doppel-debian", (char *)suite, part, NULL },
			     &sig);
	if (!status && !sig && !rename(part, root))
		return 0;
	rootfs_remove(part, &sig);
	if (sig)
		raise(sig);
	return err_set(e,
		       "--rootfs debian: there is no root of Debian %s, and none could be made (DEBIAN_MIRROR names "
		       "another server)",
		       suite);
}

int debian_root(char *root, size_t len, const char *suite, struct err *e)
{
	char cache[512];
	int fd, ret;

	if (check_suite(suite, e) || cache_directory(cache, sizeof(cache), e))
		return -1;
	snprintf(root, len, "%s/rootfs-debian-%s", cache, suite);
	if (is_there(root))
		return 0;
	fd = lock(root, e);
	if (fd < 0)
		return -1;
	ret = is_there(root) ? 0 : make(root, suite, e);
	close(fd);
	return ret;
}
