/* SPDX-License-Identifier: Apache-2.0
 * What the guest of `doppel run` starts from: the agent and the drivers, packed in memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "boot/modules.h"
#include "boot/newc.h"
#include "cli/agent_image.h"
#include "cli/run.h"

struct packing {
	struct newc n;
	char list[4096]; /* /modules/list */
	size_t len;
	struct warm *warm;
};

static int add_module(void *opaque, const struct module_file *m)
{
	struct packing *p = opaque;
	char path[128];
	const struct newc_file f = { .path = path, .mode = S_IFREG | 0644, .data = m->data, .len = m->len };
	int n;

	warm_uses(p->warm, m->path);
	snprintf(path, sizeof(path), "modules/%.60s.ko", m->name);
	newc_add(&p->n, &f);
	n = snprintf(p->list + p->len, sizeof(p->list) - p->len, "/%s\n", path);
	p->len += MIN((size_t)n, sizeof(p->list) - p->len - 1);
	return 0;
}

static int add_modules(struct packing *p, const struct guest_kernel *k, const struct run_options *o, bool net,
		       struct err *e)
{
	const char *const wanted[] = { "virtio_pci", "virtio_console", o->copy && !o->nr_shares ? NULL : "virtiofs",
				       o->copy ? NULL : "overlay", net ? "virtio_net" : NULL };
	struct modules *m = modules_open(k->modules, e);
	int ret = m ? 0 : -1;
	bool missing;

	for (unsigned i = 0; !ret && i < ARRAY_SIZE(wanted); i++)
		if (wanted[i])
			ret = modules_need(m, wanted[i], add_module, p, &missing, e);
	modules_free(m);
	return ret;
}

static bool has_net(const struct run_options *o)
{
	for (unsigned i = 0; i < o->nr_boot; i++)
		if (!strncmp(o->boot[i], "--net=", 6))
			return true;
	return false;
}

int initramfs_make(const struct guest_kernel *k, const struct run_options *o, struct warm *warm, struct err *e)
{
	struct packing p = { .warm = warm };
	struct newc_file f = { .path = "init", .mode = S_IFREG | 0755 };

	if (o->copy && newc_add_tree(&p.n, o->root, e))
		goto fail;
	/* Behind the tree: what stands later in an archive replaces what stands before it. */
	newc_add_dir(&p.n, "modules");
	newc_add_dir(&p.n, "dev");
	f.data = agent_image(&f.len);
	newc_add(&p.n, &f);
	if (k->modules[0] && add_modules(&p, k, o, has_net(o), e))
		goto fail;
	f = (struct newc_file){ .path = "modules/list", .mode = S_IFREG | 0644, .data = p.list, .len = p.len };
	newc_add(&p.n, &f);
	return newc_finish(&p.n, e);
fail:
	free(p.n.data);
	return -1;
}
