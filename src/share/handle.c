/* SPDX-License-Identifier: Apache-2.0
 * What the guest has open.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "share/fs.h"

struct handle *handle_new(struct fs *f, struct node *n, int fd, bool directory)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->id = ids_new(&f->handles, h);
	if (!h->id) {
		free(h);
		return NULL;
	}
	h->fd = fd;
	h->directory = directory;
	h->writable = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
	h->node = n;
	node_hold(n);
	return h;
}

struct handle *handle_find(struct fs *f, u64 id, bool directory)
{
	struct handle *h = ids_find(&f->handles, id);

	return h && h->directory == directory ? h : NULL;
}

void handle_free(struct fs *f, struct handle *h)
{
	close(h->fd);
	ids_free(&f->handles, h->id);
	node_release(f, h->node);
	f->n_buffers -= h->buf != NULL;
	free(h->buf);
	free(h);
}
