/* SPDX-License-Identifier: Apache-2.0
 * The log in memory is the log in the file: a head, then records (docs/replay.md). A recording to a file keeps nothing
 * in memory; one without a file does, for those who follow it.
 */
#include "base/inputs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/clock.h"

#define MAGIC "doppel inputs\n\x1a"
#define LOG_MAX (1ull << 30)
#define RANDOM_MAX 4096u
#define SOURCES 64u
#define INPUT_SETUP 16

struct head {
	char magic[16];
	u32 version, zero;
};
_Static_assert(sizeof(struct head) == 24 && sizeof(MAGIC) == 16, "as in the file");

struct record {
	u8 kind, zero;
	u16 source;
	u32 len; /* of the payload behind it */
};
_Static_assert(sizeof(struct record) == 8, "as in the file");

struct stamp {
	u64 turn, clock_ns;
};

struct result {
	s32 ret;
	u32 zero;
	u64 bytes;
	struct hash hash;
};
_Static_assert(sizeof(struct result) == 32, "as in the file");

struct end {
	struct stamp at;
	struct input_end end;
	u64 check; /* of all records before this one and of what stands above */
};
_Static_assert(sizeof(struct end) == 48, "as in the file");
_Static_assert(sizeof(struct inputs_setup) == 16 + 2 * INPUTS_NAME, "as in the file");

struct inputs {
	bool replaying, ended;
	struct inputs *leader; /* its buffer is read */
	FILE *file;
	char path[256];
	u8 *buf;
	size_t len, room, pos;
	struct inputs_setup setup;
	struct stamp now;
	struct hash check;
	char wrong[300];
};

/* ---- failure ------------------------------------------------------------------------------------------------------
 */

void inputs_diverge(struct inputs *in, const char *why, ...)
{
	va_list ap;

	if (!in || in->wrong[0])
		return;
	va_start(ap, why);
	vsnprintf(in->wrong, sizeof(in->wrong), why, ap);
	va_end(ap);
}

const char *inputs_wrong(const struct inputs *in)
{
	return in && in->wrong[0] ? in->wrong : NULL;
}

bool inputs_replaying(const struct inputs *in)
{
	return in && in->replaying;
}

/* ---- writing ------------------------------------------------------------------------------------------------------
 */

static void keep(struct inputs *in, const void *p, size_t n)
{
	if (in->len + n > in->room) {
		size_t room = MAX(2 * in->room, ALIGN_UP(in->len + n, (size_t)4096));
		u8 *buf = room <= LOG_MAX ? realloc(in->buf, room) : NULL;

		if (!buf) {
			inputs_diverge(in, "the record of inputs grew too long for memory");
			return;
		}
		in->buf = buf;
		in->room = room;
	}
	memcpy(in->buf + in->len, p, n);
	in->len += n;
}

static void put(struct inputs *in, const void *p, size_t n)
{
	if (!n)
		return;
	if (!in->file)
		keep(in, p, n);
	else if (fwrite(p, 1, n, in->file) != n)
		inputs_diverge(in, "cannot write %.200s: %s", in->path, strerror(errno));
}

static void write_record(struct inputs *in, unsigned kind, u16 source, const void *a, u32 na, const void *b, u32 nb)
{
	struct record r = { .kind = (u8)kind, .source = source, .len = na + nb };

	if (in->ended)
		return;
	put(in, &r, sizeof(r));
	put(in, a, na);
	put(in, b, nb);
	hash_add(&in->check, &r, sizeof(r));
	hash_add(&in->check, a, na);
	hash_add(&in->check, b, nb);
}

void inputs_arrive(struct inputs *in, enum input_kind kind, u16 source, const void *data, u32 n)
{
	struct end e = { .at = in->now };

	if (kind != INPUT_END) {
		write_record(in, kind, source, &in->now, sizeof(in->now), data, n);
		return;
	}
	memcpy(&e.end, data, sizeof(e.end));
	hash_add(&in->check, &e, offsetof(struct end, check));
	e.check = in->check.a;
	write_record(in, kind, 0, &e, sizeof(e), NULL, 0);
	in->ended = true;
}

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

/* The next record, or NULL at the end. */
static const struct record *next(const struct inputs *in, struct record *r)
{
	const struct inputs *from = in->leader ? in->leader : in;

	if (from->len - in->pos < sizeof(*r))
		return NULL;
	memcpy(r, from->buf + in->pos, sizeof(*r));
	return r;
}

static const u8 *payload(const struct inputs *in)
{
	return (in->leader ? in->leader : in)->buf + in->pos + sizeof(struct record);
}

static void skip(struct inputs *in, const struct record *r)
{
	in->pos += sizeof(*r) + r->len;
}

static const char *kind_name(unsigned kind)
{
	static const char *const names[] = {
		[INPUT_START] = "the state at the start",
		[INPUT_WALL] = "the time of day",
		[INPUT_RANDOM] = "entropy",
		[INPUT_RESULT] = "an answer of a disk",
		[INPUT_DATA] = "console input",
		[INPUT_BREAK] = "a line break",
		[INPUT_END] = "the end",
	};

	return kind < ARRAY_SIZE(names) && names[kind] ? names[kind] : "the setup";
}

/* The payload of the next record, which must be an answer of this kind and source; NULL if it is not. */
static const u8 *answer(struct inputs *in, unsigned kind, u16 source, u32 *len)
{
	struct record r;
	const u8 *p;

	if (in->wrong[0])
		return NULL;
	if (!next(in, &r) || r.kind != kind || r.source != source) {
		inputs_diverge(in, "the guest asks for %s where the recording has %s", kind_name(kind),
			       next(in, &r) ? kind_name(r.kind) : "nothing");
		return NULL;
	}
	p = payload(in);
	*len = r.len;
	skip(in, &r);
	return p;
}

bool inputs_peek(struct inputs *in, struct input *i)
{
	struct record r;
	struct stamp at;

	if (in->wrong[0] || !next(in, &r) || r.kind < INPUT_DATA || r.kind > INPUT_END)
		return false;
	memcpy(&at, payload(in), sizeof(at));
	*i = (struct input){ .kind = r.kind,
			     .source = r.source,
			     .turn = at.turn,
			     .clock_ns = at.clock_ns,
			     .data = payload(in) + sizeof(at),
			     .len = r.len - (u32)sizeof(at) };
	return true;
}

void inputs_take(struct inputs *in)
{
	struct record r;

	if (next(in, &r))
		skip(in, &r);
}

/* ---- answers ------------------------------------------------------------------------------------------------------
 */

u64 inputs_wall_ns(struct inputs *in)
{
	u64 ns = 0;
	const u8 *p;
	u32 len;

	if (inputs_replaying(in)) {
		p = answer(in, INPUT_WALL, 0, &len);
		if (p)
			memcpy(&ns, p, sizeof(ns));
		return ns;
	}
	ns = clock_wall_ns();
	if (in)
		write_record(in, INPUT_WALL, 0, &ns, sizeof(ns), NULL, 0);
	return ns;
}

static bool replay_random(struct inputs *in, void *buf, u32 n)
{
	u32 len = 0;
	const u8 *p = answer(in, INPUT_RANDOM, 0, &len);

	memset(buf, 0, n);
	if (p && len && len != n)
		inputs_diverge(in, "the guest asks for %u random bytes where the recording has %u", n, len);
	else if (p)
		memcpy(buf, p, len);
	return p && len == n;
}

bool inputs_random(struct inputs *in, void *buf, u32 n)
{
	bool ok;

	if (inputs_replaying(in))
		return replay_random(in, buf, n);
	ok = n <= RANDOM_MAX && getrandom(buf, n, GRND_NONBLOCK) == (ssize_t)n;
	if (in)
		write_record(in, INPUT_RANDOM, 0, buf, ok ? n : 0, NULL, 0);
	return ok;
}

int inputs_result(struct inputs *in, u16 source, int ret, const void *bytes, u64 n)
{
	struct result r = { .ret = ret, .bytes = n }, had;
	const u8 *p;
	u32 len;

	if (!in)
		return ret;
	hash_init(&r.hash);
	hash_add(&r.hash, bytes, n);
	if (!in->replaying) {
		write_record(in, INPUT_RESULT, source, &r, sizeof(r), NULL, 0);
		return ret;
	}
	p = answer(in, INPUT_RESULT, source, &len);
	if (!p)
		return ret;
	memcpy(&had, p, sizeof(had));
	if (had.ret != ret || had.bytes != n || !hash_equal(&had.hash, &r.hash))
		inputs_diverge(in,
			       "disk %u does not hold what it held when this was recorded (use readonly or overlay for "
			       "disks of runs that are to be repeated)",
			       source);
	return had.ret;
}

/* ---- the setup ----------------------------------------------------------------------------------------------------
 */

const struct inputs_setup *inputs_setup(const struct inputs *in)
{
	return &in->setup;
}

static int differ(struct err *e, const char *what, u64 had, u64 have)
{
	return err_set(e, "this machine is not the recorded one: %s %llu, recorded with %llu", what,
		       (unsigned long long)have, (unsigned long long)had);
}

int inputs_begin(struct inputs *in, const struct inputs_setup *s, struct err *e)
{
	const struct inputs_setup *had = &in->setup;

	if (!in->replaying) {
		in->setup = *s;
		write_record(in, INPUT_SETUP, 0, s, sizeof(*s), NULL, 0);
		return 0;
	}
	if (had->memory != s->memory)
		return differ(e, "bytes of memory", had->memory, s->memory);
	if (had->cpus != s->cpus)
		return differ(e, "CPUs", had->cpus, s->cpus);
	if (strcmp(had->model, s->model))
		return err_set(e, "this machine is not the recorded one: CPU model %.60s, recorded with %.60s",
			       s->model, had->model);
	return 0;
}

int inputs_start(struct inputs *in, const struct hash *start, struct err *e)
{
	const u8 *p;
	u32 len;

	if (!in->replaying) {
		write_record(in, INPUT_START, 0, start, sizeof(*start), NULL, 0);
		return 0;
	}
	p = answer(in, INPUT_START, 0, &len);
	if (!p)
		return err_set(e, "%s", in->wrong);
	if (!memcmp(p, start, sizeof(*start)))
		return 0;
	return err_set(e,
		       "this machine is not the recorded one: kernel, initrd, command line, devices or the host's CPU "
		       "differ");
}

void inputs_at(struct inputs *in, u64 turn, u64 clock_ns)
{
	if (in)
		in->now = (struct stamp){ turn, clock_ns };
}

/* ---- opening ------------------------------------------------------------------------------------------------------
 */

static struct inputs *new_inputs(const char *path, struct err *e)
{
	struct inputs *in = calloc(1, sizeof(*in));

	if (!in) {
		err_set(e, "out of memory");
		return NULL;
	}
	hash_init(&in->check);
	if (path)
		snprintf(in->path, sizeof(in->path), "%s", path);
	return in;
}

static void free_inputs(struct inputs *in)
{
	if (in->file)
		fclose(in->file);
	free(in->buf);
	free(in);
}

struct inputs *inputs_record(const char *path, struct err *e)
{
	struct head h = { .magic = MAGIC, .version = INPUTS_VERSION };
	struct inputs *in = new_inputs(path, e);

	if (!in || !path)
		return in;
	in->file = fopen(path, "wbe");
	if (!in->file) {
		err_errno(e, "cannot write %.200s", path);
		free_inputs(in);
		return NULL;
	}
	put(in, &h, sizeof(h));
	return in;
}

static int read_whole(struct inputs *in, struct err *e)
{
	struct stat st;

	if (fstat(fileno(in->file), &st))
		return err_errno(e, "cannot look at %.200s", in->path);
	if (!S_ISREG(st.st_mode) || (u64)st.st_size > LOG_MAX)
		return err_set(e, "%.200s is not a recording: it is no regular file or too large", in->path);
	in->len = (size_t)st.st_size;
	in->buf = malloc(in->len + 1);
	if (!in->buf)
		return err_set(e, "out of memory for %.200s", in->path);
	if (fread(in->buf, 1, in->len, in->file) != in->len)
		return err_set(e, "cannot read %.200s", in->path);
	return 0;
}

static bool kind_and_length_fit(const struct record *r)
{
	switch (r->kind) {
	case INPUT_WALL:
		return r->len == sizeof(u64);
	case INPUT_START:
		return r->len == sizeof(struct hash);
	case INPUT_RANDOM:
		return r->len <= RANDOM_MAX;
	case INPUT_RESULT:
		return r->len == sizeof(struct result);
	case INPUT_DATA:
		return r->len > sizeof(struct stamp) && r->len <= sizeof(struct stamp) + 65536;
	case INPUT_BREAK:
		return r->len == sizeof(struct stamp);
	case INPUT_END:
		return r->len == sizeof(struct end) && !r->source; /* no check sum has this record's head */
	default:
		return false;
	}
}

/* Arrivals may not go back in time; what is behind the end was not written by us. */
static bool place_fits(const struct inputs *in, const struct record *r, struct stamp *last)
{
	struct stamp at;

	if (r->kind < INPUT_DATA)
		return true;
	memcpy(&at, payload(in), sizeof(at));
	if (at.turn < last->turn || at.clock_ns < last->clock_ns)
		return false;
	*last = at;
	return r->kind != INPUT_END || in->pos + sizeof(*r) + r->len == in->len;
}

static bool check_fits(struct inputs *in, const struct record *r)
{
	struct end e;

	if (r->kind != INPUT_END) {
		u32 head = r->kind == INPUT_DATA || r->kind == INPUT_BREAK ? sizeof(struct stamp) : r->len;

		hash_add(&in->check, r, sizeof(*r));
		hash_add(&in->check, payload(in), head);
		hash_add(&in->check, payload(in) + head, r->len - head);
		return true;
	}
	memcpy(&e, payload(in), sizeof(e));
	hash_add(&in->check, &e, offsetof(struct end, check));
	return e.check == in->check.a;
}

static int check_records(struct inputs *in, struct err *e)
{
	struct stamp last = { 0 };
	struct record r = { 0 };

	while (next(in, &r)) {
		if (r.len > in->len - in->pos - sizeof(r))
			break;
		if (r.zero || r.source >= SOURCES || !kind_and_length_fit(&r) || !place_fits(in, &r, &last))
			return err_set(e, "%.200s is damaged: what stands at byte %zu is no input", in->path, in->pos);
		if (!check_fits(in, &r))
			return err_set(e, "%.200s is damaged: its check sum is wrong", in->path);
		skip(in, &r);
	}
	if (r.kind != INPUT_END || in->pos != in->len)
		return err_set(e, "%.200s is not whole: the recording was cut short", in->path);
	return 0;
}

static bool name_ends(const char *name)
{
	return memchr(name, 0, INPUTS_NAME);
}

static int check_whole(struct inputs *in, struct err *e)
{
	struct inputs_setup *s = &in->setup;
	struct head h;
	struct record r;
	size_t first;

	if (in->len < sizeof(h))
		return err_set(e, "%.200s is not a recording", in->path);
	memcpy(&h, in->buf, sizeof(h));
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)))
		return err_set(e, "%.200s is not a recording", in->path);
	if (h.version != INPUTS_VERSION || h.zero)
		return err_set(e, "%.200s is a recording of version %u; this doppel reads version %u", in->path,
			       h.version, INPUTS_VERSION);
	in->pos = sizeof(h);
	if (!next(in, &r) || r.kind != INPUT_SETUP || r.len != sizeof(*s) || in->len - in->pos - sizeof(r) < sizeof(*s))
		return err_set(e, "%.200s is not whole: the recording was cut short", in->path);
	memcpy(s, payload(in), sizeof(*s));
	if (!name_ends(s->engine) || !name_ends(s->model) || !s->cpus)
		return err_set(e, "%.200s is damaged: its description of the machine makes no sense", in->path);
	check_fits(in, &r);
	skip(in, &r);
	first = in->pos;
	if (check_records(in, e))
		return -1;
	in->pos = first;
	return 0;
}

struct inputs *inputs_replay(const char *path, struct err *e)
{
	struct inputs *in = new_inputs(path, e);
	int ret;

	if (!in)
		return NULL;
	in->replaying = true;
	in->file = fopen(path, "rbe");
	ret = in->file ? read_whole(in, e) : err_errno(e, "cannot open %.200s", path);
	if (!ret && !check_whole(in, e))
		return in;
	free_inputs(in);
	return NULL;
}

struct inputs *inputs_follow(struct inputs *leader, struct err *e)
{
	struct inputs *in = new_inputs(NULL, e);

	if (!in)
		return NULL;
	in->replaying = true;
	in->leader = leader;
	in->setup = leader->setup;
	in->pos = leader->setup.cpus ? sizeof(struct record) + sizeof(struct inputs_setup) : 0;
	return in;
}

void inputs_rewind(struct inputs *in)
{
	in->replaying = true;
	in->pos = sizeof(struct record) + sizeof(struct inputs_setup);
	in->wrong[0] = 0;
}

int inputs_close(struct inputs *in, struct err *e)
{
	bool bad;

	if (!in)
		return 0;
	bad = !in->replaying && !in->wrong[0] && in->file && (fflush(in->file) || ferror(in->file));
	if (bad)
		err_errno(e, "cannot write %.200s", in->path);
	free_inputs(in);
	return bad ? -1 : 0;
}
