/* SPDX-License-Identifier: Apache-2.0 */
#include "snap/format.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#define FIELDS_MAX 1024

struct header {
	char magic[8];
	u32 version, zero;
};

/* Before a section's name and payload. */
struct lead {
	u32 len, crc; /* of the payload; over the name and the payload */
	u8 name_len;
} __attribute__((packed));

_Static_assert(sizeof(struct header) == 16 && sizeof(struct lead) == 9, "as they lie in the file");

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static int put_bytes(struct snap_out *o, const void *p, size_t n)
{
	return fwrite(p, 1, n, o->f) == n ? 0 : -1;
}

int snap_put_header(struct snap_out *o)
{
	struct header h = { .version = SNAP_VERSION };

	memcpy(h.magic, SNAP_MAGIC, sizeof(h.magic));
	return put_bytes(o, &h, sizeof(h));
}

static u32 checksum(const char *name, size_t name_len, const void *data, u32 len)
{
	u32 crc = (u32)crc32(0, (const Bytef *)name, (uInt)name_len);

	return (u32)crc32(crc, data, len);
}

int snap_put(struct snap_out *o, const char *name, const void *data, u32 len)
{
	size_t name_len = strlen(name);
	struct lead lead = { .len = len, .crc = checksum(name, name_len, data, len), .name_len = (u8)name_len };

	o->sections++;
	return put_bytes(o, &lead, sizeof(lead)) || put_bytes(o, name, name_len) || put_bytes(o, data, len) ? -1 : 0;
}

int snap_put_end(struct snap_out *o)
{
	u32 n = o->sections;

	return snap_put(o, "end", &n, sizeof(n));
}

/* name length, name, kind, size of an element, count, elements */
static size_t field_bytes(const struct state_field *f)
{
	return 1 + strlen(f->name) + 1 + 4 + 4 + (size_t)f->size * f->count;
}

static u8 *put_field(u8 *p, const struct state_field *f, const void *object)
{
	size_t n = strlen(f->name);

	*p++ = (u8)n;
	memcpy(p, f->name, n);
	p += n;
	*p++ = f->kind;
	memcpy(p, &f->size, 4);
	memcpy(p + 4, &f->count, 4);
	p += 8;
	for (u32 i = 0; i < f->count; i++, p += f->size)
		state_get(f, object, i, p);
	return p;
}

int snap_put_state(struct snap_out *o, const char *name, const struct state *s, const void *object)
{
	size_t len = 0;
	u8 *buf, *p;
	int ret;

	for (unsigned i = 0; i < s->n; i++)
		len += field_bytes(&s->field[i]);
	if (len > SNAP_SECTION_MAX) {
		errno = EFBIG;
		return -1;
	}
	p = buf = malloc(len + 1);
	if (!buf)
		return -1;
	for (unsigned i = 0; i < s->n; i++)
		p = put_field(p, &s->field[i], object);
	ret = snap_put(o, name, buf, (u32)len);
	free(buf);
	return ret;
}

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

static int get_bytes(struct snap_in *in, void *p, size_t n, struct err *e)
{
	if (fread(p, 1, n, in->f) == n)
		return 0;
	if (ferror(in->f))
		return err_errno(e, "the snapshot cannot be read");
	return err_set(e, "the snapshot ends too early");
}

int snap_get_header(struct snap_in *in, struct err *e)
{
	struct header h;

	if (fread(&h, 1, sizeof(h), in->f) != sizeof(h) || memcmp(h.magic, SNAP_MAGIC, sizeof(h.magic)))
		return err_set(e, "this is no snapshot of doppel");
	if (h.version != SNAP_VERSION)
		return err_set(e, "the snapshot has format version %u, this doppel reads version %u", h.version,
			       SNAP_VERSION);
	return h.zero ? err_set(e, "the snapshot's header is damaged") : 0;
}

static int get_room(struct snap_section *s, u32 len, struct err *e)
{
	u8 *more;

	if (len < s->room)
		return 0;
	more = realloc(s->data, (size_t)len + 1);
	if (!more)
		return err_set(e, "out of memory for a section of the snapshot");
	s->data = more;
	s->room = len + 1;
	return 0;
}

static int check_end(struct snap_in *in, struct err *e)
{
	u32 n;

	if (in->now.len != sizeof(n))
		return err_set(e, "the snapshot's end is damaged");
	memcpy(&n, in->now.data, sizeof(n));
	if (n != in->sections - 1 || fgetc(in->f) != EOF)
		return err_set(e, "the snapshot's end is damaged");
	return 0;
}

int snap_get(struct snap_in *in, struct err *e)
{
	struct snap_section *s = &in->now;
	struct lead lead;

	if (get_bytes(in, &lead, sizeof(lead), e))
		return -1;
	if (!lead.name_len || lead.name_len > SNAP_NAME_MAX || lead.len > SNAP_SECTION_MAX)
		return err_set(e, "the snapshot is damaged behind section %u", in->sections);
	if (get_room(s, lead.len, e) || get_bytes(in, s->name, lead.name_len, e) || get_bytes(in, s->data, lead.len, e))
		return -1;
	s->name[lead.name_len] = 0;
	if (strspn(s->name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != lead.name_len)
		return err_set(e, "the snapshot is damaged behind section %u", in->sections);
	s->len = lead.len;
	in->sections++;
	if (checksum(s->name, lead.name_len, s->data, s->len) != lead.crc)
		return err_set(e, "the snapshot is damaged: a checksum is wrong in section %u", in->sections);
	return strcmp(s->name, "end") ? 0 : check_end(in, e);
}

void snap_in_free(struct snap_in *in)
{
	free(in->now.data);
	in->now = (struct snap_section){ 0 };
}

/* ---- fields -------------------------------------------------------------------------------------------------------
 */

struct cursor {
	const u8 *p;
	size_t left;
};

static const u8 *take(struct cursor *c, size_t n)
{
	const u8 *p = c->p;

	if (n > c->left)
		return NULL;
	c->p += n;
	c->left -= n;
	return p;
}

static int wrong(const struct snap_section *sec, const struct state_field *f, const char *what, struct err *e)
{
	return err_set(e, "the snapshot's section %.40s %s%s%.40s", sec->name, what, f ? ": " : "", f ? f->name : "");
}

static int get_elements(const struct snap_section *sec, struct cursor *c, const struct state_field *f, void *object,
			struct err *e)
{
	const u8 *data = take(c, (size_t)f->size * f->count);

	if (!data)
		return wrong(sec, f, "ends inside a field", e);
	for (u32 i = 0; i < f->count; i++)
		if (state_set(f, object, i, data + (size_t)i * f->size))
			return wrong(sec, f, "has a value that cannot be", e);
	return 0;
}

static int get_field(const struct snap_section *sec, struct cursor *c, const struct state *s, void *object, bool *seen,
		     struct err *e)
{
	const u8 *len = take(c, 1), *name = len ? take(c, *len) : NULL, *shape = name ? take(c, 9) : NULL;
	const struct state_field *f;
	u32 size, count;

	if (!shape)
		return wrong(sec, NULL, "ends inside a field", e);
	f = state_find(s, (const char *)name, *len);
	if (!f)
		return wrong(sec, NULL, "has a field that this doppel does not know", e);
	memcpy(&size, shape + 1, 4);
	memcpy(&count, shape + 5, 4);
	if (shape[0] != f->kind || size != f->size || count != f->count)
		return wrong(sec, f, "has a field of another shape", e);
	if (seen[f - s->field])
		return wrong(sec, f, "has a field twice", e);
	seen[f - s->field] = true;
	return get_elements(sec, c, f, object, e);
}

int snap_get_state(const struct snap_section *sec, const struct state *s, void *object, struct err *e)
{
	struct cursor c = { sec->data, sec->len };
	bool seen[FIELDS_MAX] = { false };

	if (s->n > FIELDS_MAX)
		return wrong(sec, NULL, "has more fields than can be", e);
	while (c.left)
		if (get_field(sec, &c, s, object, seen, e))
			return -1;
	for (unsigned i = 0; i < s->n; i++)
		if (!seen[i] && s->field[i].since <= SNAP_VERSION)
			return wrong(sec, &s->field[i], "lacks a field", e);
	return 0;
}
