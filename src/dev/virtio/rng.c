/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/virtio/rng.h"

#define BYTES_MAX 4096u /* of a request; a buffer may be filled in part */

struct virtio_rng {
	struct virtio_dev d;
	struct inputs *inputs;
};

/* Nothing at all before the host has gathered its first entropy, which it has long before it runs us. */
static bool rng_request(struct virtio_dev *d, unsigned n, struct virtq_chain *c)
{
	u8 bytes[BYTES_MAX];
	u32 want = MIN(c->in_len, BYTES_MAX);

	(void)n;
	if (!c->in_len) {
		virtio_fail(d, c, "a request for entropy without a buffer");
		return true;
	}
	if (!inputs_random(container_of(d, struct virtio_rng, d)->inputs, bytes, want))
		want = 0;
	virtio_complete(d, c, virtq_put(c, 0, bytes, want));
	return true;
}

static const struct virtio_ops rng_ops = {
	.name = "virtio-rng",
	.type = VIRTIO_RNG,
	.class_code = 0x00ff00,
	.request = rng_request,
};

struct virtio_rng *virtio_rng_new(const struct virtio_board *b, struct inputs *inputs, struct err *e)
{
	struct virtio_rng *v = dev_alloc(sizeof(*v), e);

	if (v)
		v->inputs = inputs;
	if (!v || !virtio_init(&v->d, b, &rng_ops, 1, 64, e))
		return v;
	virtio_rng_free(v);
	return NULL;
}

void virtio_rng_free(struct virtio_rng *v)
{
	if (!v)
		return;
	virtio_deinit(&v->d);
	free(v);
}

int virtio_rng_each_state(struct virtio_rng *v, state_fn *fn, void *opaque)
{
	return fn(opaque, "virtio-rng", &virtio_state, &v->d);
}
