/* SPDX-License-Identifier: Apache-2.0
 * Pages of the inflate queue, and free pages that are reported, are punched out of the file that holds guest memory:
 * the host has them back at once, and they read as zero when the guest uses them again.
 */
#include "dev/virtio/balloon.h"

enum feature { F_STATS_VQ = 1, F_DEFLATE_ON_OOM = 2, F_REPORTING = 5 };
enum config { CFG_NUM_PAGES = 0, CFG_ACTUAL = 4, CFG_LEN = 8 };
enum queue { Q_INFLATE, Q_DEFLATE, Q_STATS, Q_REPORTING };
#define PFNS 1024u	     /* read at a time */
#define PFNS_MAX (64u << 10) /* of a request: 256 MiB */

struct virtio_balloon {
	struct virtio_dev d;
	struct virtq_chain *stats; /* the driver's buffer: given back to ask for the next ones */
	u64 stat[NR_BALLOON_STATS];
	u64 answers; /* how often statistics came */
	u32 pfns[PFNS];
};

static u32 config32(const struct virtio_dev *d, unsigned at)
{
	u32 v;

	memcpy(&v, d->config + at, 4);
	return v;
}

static void give_back(struct virtio_balloon *v, u64 gpa, u64 len)
{
	if (len && !mem_discard(v->d.board.mem, gpa, len))
		counter_add(v->d.board.counters, CNT_BALLOON_BYTES, len);
}

/* Neighbours, upwards or downwards, go together. */
static void inflate(struct virtio_balloon *v, unsigned n)
{
	u64 from = 0, len = 0;

	for (unsigned i = 0; i < n; i++) {
		u64 gpa = (u64)v->pfns[i] << PAGE_SHIFT;

		if (len && gpa == from + len) {
			len += PAGE_SIZE;
		} else if (len && gpa + PAGE_SIZE == from) {
			from = gpa;
			len += PAGE_SIZE;
		} else {
			give_back(v, from, len);
			from = gpa;
			len = PAGE_SIZE;
		}
	}
	give_back(v, from, len);
}

static bool take_pfns(struct virtio_balloon *v, struct virtq_chain *c)
{
	if (c->out_len > PFNS_MAX * 4) {
		virtio_fail(&v->d, c, "a balloon request with too many pages");
		return true;
	}
	for (u32 off = 0, n; (n = virtq_get(c, off, v->pfns, sizeof(v->pfns)) / 4); off += n * 4)
		inflate(v, n);
	virtio_complete(&v->d, c, 0);
	return true;
}

/* Only whole pages inside what is reported; the rest of a page may be in use. */
static bool take_free_pages(struct virtio_balloon *v, struct virtq_chain *c)
{
	for (unsigned i = 0; i < c->n_in; i++) {
		const struct virtq_seg *s = &c->seg[c->n_out + i];
		u64 from = ALIGN_UP(s->gpa, PAGE_SIZE), end = ALIGN_DOWN(s->gpa + s->len, PAGE_SIZE);

		if (from < end)
			give_back(v, from, end - from);
	}
	virtio_complete(&v->d, c, 0);
	return true;
}

/* Tags and values, ten bytes each. The buffer stays here until statistics are asked for again. */
static bool take_stats(struct virtio_balloon *v, struct virtq_chain *c)
{
	u8 raw[10];

	for (u32 off = 0; off < 64 * sizeof(raw) && virtq_get(c, off, raw, sizeof(raw)) == sizeof(raw);
	     off += sizeof(raw)) {
		unsigned tag = raw[0] | raw[1] << 8;

		if (tag < NR_BALLOON_STATS)
			memcpy(&v->stat[tag], raw + 2, 8);
	}
	if (v->stats)
		virtio_complete(&v->d, v->stats, 0);
	v->stats = c;
	v->answers++;
	return true;
}

/* The optional queues have numbers only if their feature was accepted. */
static enum queue which(const struct virtio_dev *d, unsigned n)
{
	return n == 2 && !virtio_has(d, F_STATS_VQ) ? Q_REPORTING : (enum queue)n;
}

static bool balloon_request(struct virtio_dev *d, unsigned n, struct virtq_chain *c)
{
	struct virtio_balloon *v = container_of(d, struct virtio_balloon, d);

	switch (which(d, n)) {
	case Q_INFLATE:
		return take_pfns(v, c);
	case Q_STATS:
		return take_stats(v, c);
	case Q_REPORTING:
		return take_free_pages(v, c);
	default: /* deflated pages come back by being used */
		virtio_complete(d, c, 0);
		return true;
	}
}

static void balloon_reset(struct virtio_dev *d)
{
	struct virtio_balloon *v = container_of(d, struct virtio_balloon, d);

	if (v->stats && virtq_stale(v->stats)) {
		virtio_complete(d, v->stats, 0);
		v->stats = NULL;
	}
	if (!d->status)
		memset(d->config + CFG_ACTUAL, 0, 4);
}

static void balloon_hold(struct virtio_dev *d)
{
	struct virtio_balloon *v = container_of(d, struct virtio_balloon, d);

	if (v->stats)
		virtq_unpop(v->stats);
	v->stats = NULL;
}

static const struct virtio_ops balloon_ops = {
	.name = "virtio-balloon",
	.type = VIRTIO_BALLOON,
	.class_code = 0x00ff00,
	.request = balloon_request,
	.reset = balloon_reset,
	.hold = balloon_hold,
};

void virtio_balloon_set_target(struct virtio_balloon *v, u64 bytes)
{
	u32 pages = (u32)MIN(bytes >> PAGE_SHIFT, 0xffffffffull);

	memcpy(v->d.config + CFG_NUM_PAGES, &pages, 4);
	virtio_config_changed(&v->d);
}

u64 virtio_balloon_actual(const struct virtio_balloon *v)
{
	return (u64)config32(&v->d, CFG_ACTUAL) << PAGE_SHIFT;
}

void virtio_balloon_ask_stats(struct virtio_balloon *v)
{
	struct virtq_chain *c = v->stats;

	v->stats = NULL;
	if (c)
		virtio_complete(&v->d, c, 0);
}

u64 virtio_balloon_answers(const struct virtio_balloon *v)
{
	return v->answers;
}

u64 virtio_balloon_stat(const struct virtio_balloon *v, enum balloon_stat stat)
{
	return v->stat[stat];
}

struct virtio_balloon *virtio_balloon_new(const struct virtio_board *b, u64 target, struct err *e)
{
	struct virtio_balloon *v = dev_alloc(sizeof(*v), e);

	if (!v)
		return NULL;
	v->d.offered = BIT(F_STATS_VQ) | BIT(F_DEFLATE_ON_OOM) | BIT(F_REPORTING);
	v->d.config_len = CFG_LEN;
	memset(v->d.wmask + CFG_ACTUAL, 0xff, 4);
	memset(v->stat, 0xff, sizeof(v->stat));
	if (virtio_init(&v->d, b, &balloon_ops, 4, 128, e)) {
		virtio_balloon_free(v);
		return NULL;
	}
	virtio_balloon_set_target(v, target);
	return v;
}

void virtio_balloon_free(struct virtio_balloon *v)
{
	if (!v)
		return;
	virtio_deinit(&v->d);
	free(v);
}

#define S struct virtio_balloon
static const struct state_field own_fields[] = {
	STATE_ARRAY(S, stat),
};
#undef S
static const struct state own_state = { .field = own_fields, .n = ARRAY_SIZE(own_fields) };

int virtio_balloon_each_state(struct virtio_balloon *v, state_fn *fn, void *opaque)
{
	return fn(opaque, "virtio-balloon.own", &own_state, v) || fn(opaque, "virtio-balloon", &virtio_state, &v->d)
		   ? -1
		   : 0;
}
