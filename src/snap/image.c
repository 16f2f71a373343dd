/* SPDX-License-Identifier: Apache-2.0
 * The file: two pages that say what it is, RAM, and a snapshot without RAM. What comes first is written last.
 */
#include "snap/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "snap/parts.h"
#include "snap/ram.h"
#include "snap/write.h"

#define MAGIC "DOPPELIM"
#define VERSION 1u
#define HEAD (2 * PAGE_SIZE)

struct head {
	char magic[8];
	u32 version, crc; /* of the page, with 0 here */
	u64 ram, bytes;	  /* bytes of RAM, of the file */
	struct snap_image i;
	u8 zero[HEAD - 32 - sizeof(struct snap_image)];
};

_Static_assert(sizeof(struct head) == HEAD, "whole pages");

static u32 sum(struct head *h)
{
	h->crc = 0;
	return (u32)crc32(0, (const Bytef *)h, sizeof(*h));
}

static int write_head(struct head *h, int fd, const struct snap_image *i)
{
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	memcpy(h->magic, MAGIC, sizeof(h->magic));
	h->version = VERSION;
	h->bytes = (u64)st.st_size;
	h->i = *i;
	h->crc = sum(h);
	return pwrite(fd, h, sizeof(*h), 0) == (ssize_t)sizeof(*h) ? 0 : -1;
}

/* The machine stands still; machine lock. */
static int write_all(struct vm *vm, FILE *f, const struct snap_image *i, struct err *e)
{
	struct head *h = calloc(1, sizeof(*h));
	int ret = 0;

	if (!h)
		return err_set(e, "out of memory");
	h->ram = mem_ram_size(vm->mem);
	if (snap_put_plain(fileno(f), HEAD, vm->mem) || fseeko(f, (off_t)(HEAD + h->ram), SEEK_SET))
		ret = err_errno(e, "cannot write the image");
	if (!ret)
		ret = snap_write_rest(vm, f, e);
	if (!ret && write_head(h, fileno(f), i))
		ret = err_errno(e, "cannot write the image");
	free(h);
	return ret;
}

int snap_image_save(struct vm *vm, int fd, const struct snap_image *i, struct err *e)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), ret;
	FILE *f = own < 0 ? NULL : fdopen(own, "wb");

	if (!f) {
		if (own >= 0)
			close(own);
		return err_errno(e, "cannot write the image");
	}
	snap_stand_still(vm);
	ret = atomic_load(&vm->ended) ? err_set(e, "the machine has ended") : write_all(vm, f, i, e);
	snap_stand_no_more(vm);
	if (fclose(f) && !ret)
		ret = err_errno(e, "cannot write the image");
	return ret;
}

static int check(struct head *h, int fd, struct err *e)
{
	struct stat st;
	u32 crc;

	if (fstat(fd, &st) || pread(fd, h, sizeof(*h), 0) != (ssize_t)sizeof(*h) ||
	    memcmp(h->magic, MAGIC, sizeof(h->magic)))
		return err_set(e, "it is no image");
	crc = h->crc;
	if (h->version != VERSION)
		return err_set(e, "it is an image of version %u", h->version);
	if (crc != sum(h) || !memchr(h->i.about, 0, sizeof(h->i.about)) || !memchr(h->i.files, 0, sizeof(h->i.files)))
		return err_set(e, "its beginning is damaged");
	if (h->bytes != (u64)st.st_size || h->ram >= h->bytes)
		return err_set(e, "it has been cut short");
	return 0;
}

struct snap *snap_image_open(int fd, struct snap_image *i, struct err *e)
{
	struct head *h = calloc(1, sizeof(*h));
	FILE *f = h ? fdopen(fd, "rb") : NULL;
	struct snap *s = NULL;

	if (!f) {
		err_set(e, "out of memory");
		close(fd);
	} else if (check(h, fd, e) || fseeko(f, (off_t)(HEAD + h->ram), SEEK_SET)) {
		fclose(f);
	} else {
		*i = h->i;
		s = snap_open_behind(f, HEAD, h->ram, e);
	}
	free(h);
	return s;
}
