/* SPDX-License-Identifier: Apache-2.0 */
#include "base/newfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int newfile_open(struct newfile *f, const char *path, struct err *e)
{
	struct stat st;

	f->fd = -1;
	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		return err_set(e, "'%.200s' is not a file to save to", path);
	if ((size_t)snprintf(f->temporary, sizeof(f->temporary), "%s.XXXXXX", path) >= sizeof(f->temporary))
		return err_set(e, "the path '%.100s…' is too long", path);
	snprintf(f->path, sizeof(f->path), "%s", path);
	f->fd = mkostemp(f->temporary, O_CLOEXEC);
	return f->fd < 0 ? err_errno(e, "cannot make a file beside '%.200s'", path) : 0;
}

int newfile_close(struct newfile *f, bool ok, struct err *e)
{
	int ret = 0;

	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	if (ok && rename(f->temporary, f->path))
		ret = err_errno(e, "cannot give the snapshot its name '%.200s'", f->path);
	if (ret || !ok)
		unlink(f->temporary);
	return ret;
}
