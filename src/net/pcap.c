/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pcap.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"

#define MAGIC_NS 0xa1b23c4du
#define LINK_ETHERNET 1u
#define SNAP_LEN 262144u

struct pcap {
	FILE *f;
	bool failed;
};

static void put(struct pcap *p, const void *bytes, size_t n)
{
	if (p->failed || fwrite(bytes, n, 1, p->f) == 1)
		return;
	p->failed = true;
	log_msg(LOG_ERROR, "the file of pcap= cannot be written: it ends here");
}

struct pcap *pcap_new(const char *path, struct err *e)
{
	struct {
		u32 magic;
		u16 major, minor;
		u32 zone, accuracy, snap, link;
	} head = { MAGIC_NS, 2, 4, 0, 0, SNAP_LEN, LINK_ETHERNET };
	struct pcap *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, "out of memory");
		return NULL;
	}
	p->f = fopen(path, "we");
	if (!p->f) {
		err_errno(e, "--net: pcap=%.200s cannot be written", path);
		free(p);
		return NULL;
	}
	put(p, &head, sizeof(head));
	return p;
}

void pcap_frame(struct pcap *p, const u8 *frame, u32 len)
{
	struct timespec t;
	u32 head[4];

	if (!p || p->failed)
		return;
	clock_gettime(CLOCK_REALTIME, &t);
	head[0] = (u32)t.tv_sec;
	head[1] = (u32)t.tv_nsec;
	head[2] = head[3] = len;
	put(p, head, sizeof(head));
	put(p, frame, len);
}

void pcap_free(struct pcap *p)
{
	if (!p)
		return;
	if (fclose(p->f) && !p->failed)
		log_msg(LOG_ERROR, "the file of pcap= could not be written to its end");
	free(p);
}
