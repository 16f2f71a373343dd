/* SPDX-License-Identifier: Apache-2.0 */
#include "api/dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int api_name_check(const char *name, struct err *e)
{
	size_t len = strlen(name);

	if (len && len <= API_NAME_MAX && *name != '.' && *name != '-' &&
	    strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len)
		return 0;
	return err_set(
	    e,
	    "'%.60s' is no name for a machine: use up to %d letters, digits, '.', '_' and '-', beginning with "
	    "a letter, a digit or '_'",
	    name, API_NAME_MAX);
}

/* Nobody else may have put it there, or may look into it. */
static int make_private(const char *path, struct err *e)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return err_errno(e, "cannot make the directory '%.200s' for control sockets", path);
	if (lstat(path, &st))
		return err_errno(e, "cannot look at the directory '%.200s'", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return err_set(e, "'%.200s' must be a directory of this user's with mode 0700 to hold control sockets",
			       path);
	return 0;
}

int api_dir(char *path, size_t size, struct err *e)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n;

	if (runtime && *runtime == '/' && !access(runtime, W_OK | X_OK))
		n = snprintf(path, size, "%s/doppel", runtime);
	else
		n = snprintf(path, size, "/tmp/doppel-%u", (unsigned)geteuid());
	if ((size_t)n >= size)
		return err_set(e, "the path in XDG_RUNTIME_DIR is too long");
	return make_private(path, e);
}

int api_address(const char *name, struct sockaddr_un *addr, struct err *e)
{
	char dir[200];

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (api_name_check(name, e) || api_dir(dir, sizeof(dir), e))
		return -1;
	if ((size_t)snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/%s" API_SUFFIX, dir, name) >=
	    sizeof(addr->sun_path))
		return err_set(e, "the path of the control socket is longer than %zu bytes: shorten XDG_RUNTIME_DIR",
			       sizeof(addr->sun_path) - 1);
	return 0;
}

int api_connect(const char *name, bool *dead, struct err *e)
{
	struct sockaddr_un addr;
	bool nobody;
	int fd;

	if (dead)
		*dead = false;
	if (api_address(name, &addr, e))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, "cannot make a socket");
	if (!connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	nobody = errno == ECONNREFUSED || errno == ENOENT;
	if (dead)
		*dead = errno == ECONNREFUSED;
	if (nobody)
		err_set(e, "no machine called '%s' is running: 'doppel ps' lists those that are", name);
	else
		err_errno(e, "cannot reach the machine '%s'", name);
	close(fd);
	return -1;
}

int api_each_name(void (*fn)(void *opaque, const char *name), void *opaque, struct err *e)
{
	const size_t suffix = strlen(API_SUFFIX);
	struct dirent *entry;
	char path[200];
	DIR *dir;

	if (api_dir(path, sizeof(path), e))
		return -1;
	dir = opendir(path);
	if (!dir)
		return err_errno(e, "cannot read the directory '%.200s'", path);
	while ((entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);

		if (len <= suffix || strcmp(entry->d_name + len - suffix, API_SUFFIX))
			continue;
		entry->d_name[len - suffix] = 0;
		if (!api_name_check(entry->d_name, NULL))
			fn(opaque, entry->d_name);
	}
	closedir(dir);
	return 0;
}
