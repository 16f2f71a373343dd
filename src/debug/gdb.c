/* SPDX-License-Identifier: Apache-2.0
 * Who holds the machine: `held` counts the holds that belong to gdb. Each vCPU that stops by itself (breakpoint, step)
 * brings one hold with it (vm.h, debug_stop); Ctrl-C and a new connection take one. Going on gives all of them back.
 * The wishes a vCPU sees are written only while every vCPU stands still.
 */
#include "debug/gdb.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "debug/gdb_regs.h"
#include "debug/rsp.h"
#include "mmu/mmu.h"

struct gdb {
	struct rsp rsp;
	struct vm *vm;
	pthread_t thread;
	bool started, wait, attached;
	atomic_bool quit;
	atomic_uint stops; /* vCPUs that stopped and that the thread has not counted yet */
	atomic_uint stopped_cpu;
	unsigned held;
	unsigned cur; /* the vCPU that g, m and s speak of */
	struct debug_wishes wishes, step_wishes;
};

static struct cpu *cpu_of(struct gdb *g)
{
	return g->vm->vcpu[g->cur]->cpu;
}

static void reply(struct gdb *g, const char *text)
{
	rsp_send(&g->rsp, text, strlen(text));
}

/* ---- holding and going on -----------------------------------------------------------------------------------------
 */

static void on_debug_stop(void *opaque, struct vm *vm, unsigned vcpu)
{
	struct gdb *g = opaque;

	(void)vm;
	atomic_store(&g->stopped_cpu, vcpu);
	atomic_fetch_add(&g->stops, 1);
	rsp_wake(&g->rsp);
}

static void hold(struct gdb *g)
{
	if (g->held)
		return;
	vm_pause(g->vm);
	g->held = 1;
}

static void go_on(struct gdb *g, bool step)
{
	g->step_wishes = g->wishes;
	g->step_wishes.step = step;
	for (unsigned i = 0; i < g->vm->nr_vcpus; i++)
		g->vm->vcpu[i]->cpu->wishes = i == g->cur && step ? &g->step_wishes : g->wishes.n ? &g->wishes : NULL;
	for (; g->held; g->held--)
		vm_resume(g->vm);
}

static void report_stop(struct gdb *g, int sig)
{
	char text[64];

	snprintf(text, sizeof(text), "T%02xthread:%x;", sig, g->cur + 1);
	reply(g, text);
}

/* ---- registers and memory -----------------------------------------------------------------------------------------
 */

static void read_all_registers(struct gdb *g)
{
	struct cpu *c = cpu_of(g);
	char *p = g->rsp.reply;

	for (unsigned n = 0; n < gdb_reg_count(c); n++) {
		u8 v[64] = { 0 };

		gdb_reg_get(c, n, v);
		rsp_to_hex(p, v, gdb_reg_size(c, n));
		p += 2 * gdb_reg_size(c, n);
	}
	reply(g, g->rsp.reply);
}

static void after_register_write(struct cpu *c)
{
	c->rflags |= 2;
	cpu_update_mode(c);
	mmu_reset(c);
	cpu_post(c, ATT_EVENTS);
}

static void write_all_registers(struct gdb *g, const char *hex)
{
	struct cpu *c = cpu_of(g);

	for (unsigned n = 0; n < gdb_reg_count(c); n++) {
		unsigned size = gdb_reg_size(c, n);
		u8 v[64] = { 0 };

		if (rsp_from_hex(v, size, hex) != size)
			break;
		gdb_reg_set(c, n, v);
		hex += 2 * size;
	}
	after_register_write(c);
	reply(g, "OK");
}

static void one_register(struct gdb *g, char *p, bool write)
{
	struct cpu *c = cpu_of(g);
	unsigned n = (unsigned)strtoul(p, &p, 16), size = gdb_reg_size(c, n);
	u8 v[64] = { 0 };

	if (!size) {
		reply(g, "E01");
	} else if (!write) {
		gdb_reg_get(c, n, v);
		rsp_to_hex(g->rsp.reply, v, size);
		reply(g, g->rsp.reply);
	} else if (*p == '=' && rsp_from_hex(v, size, p + 1) == size) {
		gdb_reg_set(c, n, v);
		after_register_write(c);
		reply(g, "OK");
	} else {
		reply(g, "E01");
	}
}

/* Up to the end of the page or of the request, by the guest's translation; 0 when not mapped. */
static size_t touch(struct gdb *g, u64 addr, u8 *buf, size_t n, bool write)
{
	size_t done = 0;

	while (done < n) {
		size_t k = MIN(n - done, (size_t)(PAGE_SIZE - ((addr + done) & ~PAGE_MASK)));
		u64 gpa;

		if (!mmu_probe(cpu_of(g), addr + done, &gpa))
			break;
		if (write ? mem_write(g->vm->mem, gpa, buf + done, k) : mem_read(g->vm->mem, gpa, buf + done, k))
			break;
		done += k;
	}
	return done;
}

static void read_memory(struct gdb *g, char *p)
{
	u64 addr = strtoull(p, &p, 16);
	size_t n = *p == ',' ? strtoul(p + 1, NULL, 16) : 0;
	u8 buf[RSP_PACKET_MAX / 2];

	n = touch(g, addr, buf, MIN(n, sizeof(buf)), false);
	if (!n) {
		reply(g, "E14");
		return;
	}
	rsp_to_hex(g->rsp.reply, buf, n);
	reply(g, g->rsp.reply);
}

static void write_memory(struct gdb *g, char *p)
{
	u64 addr = strtoull(p, &p, 16);
	size_t n = *p == ',' ? strtoul(p + 1, &p, 16) : 0;
	u8 buf[RSP_PACKET_MAX / 2];

	if (*p != ':' || n > sizeof(buf) || rsp_from_hex(buf, n, p + 1) != n || touch(g, addr, buf, n, true) != n)
		reply(g, "E14");
	else
		reply(g, "OK");
}

/* ---- breakpoints
 * ------------------------------------------------------------------------------------------------------ */

static void breakpoint(struct gdb *g, char *p, bool set)
{
	struct debug_wishes *w = &g->wishes;
	u64 addr;
	unsigned i = 0;

	if ((p[0] != '0' && p[0] != '1') || p[1] != ',') {
		reply(g, ""); /* watchpoints: not offered, gdb single-steps instead */
		return;
	}
	addr = strtoull(p + 2, NULL, 16);
	while (i < w->n && w->addr[i] != addr)
		i++;
	if (set && i == w->n) {
		if (w->n == ARRAY_SIZE(w->addr)) {
			reply(g, "E1c");
			return;
		}
		w->addr[w->n++] = addr;
	} else if (!set && i < w->n) {
		w->addr[i] = w->addr[--w->n];
	}
	reply(g, "OK");
}

/* ---- queries
 * ---------------------------------------------------------------------------------------------------------- */

static void send_xml(struct gdb *g, const char *range)
{
	static const size_t room = 32768;
	char *xml = malloc(room), *end;
	size_t at = strtoul(range, &end, 16), len = *end == ',' ? strtoul(end + 1, NULL, 16) : 0, n;

	if (!xml) {
		reply(g, "E01");
		return;
	}
	n = gdb_reg_xml(cpu_of(g), xml, room);
	at = MIN(at, n);
	len = MIN(MIN(len, n - at), (size_t)RSP_PACKET_MAX - 2);
	g->rsp.reply[0] = at + len < n ? 'm' : 'l';
	memcpy(g->rsp.reply + 1, xml + at, len);
	rsp_send(&g->rsp, g->rsp.reply, len + 1);
	free(xml);
}

static void send_threads(struct gdb *g)
{
	char *p = g->rsp.reply;

	for (unsigned i = 0; i < g->vm->nr_vcpus; i++)
		p += sprintf(p, "%c%x", i ? ',' : 'm', i + 1);
	reply(g, g->rsp.reply);
}

static void send_thread_name(struct gdb *g, unsigned thread)
{
	static const char *const text[] = { "running", "halted", "shut down", "waiting for SIPI" };
	char name[64];

	if (thread < 1 || thread > g->vm->nr_vcpus) {
		reply(g, "E01");
		return;
	}
	snprintf(name, sizeof(name), "vCPU %u, %s", thread - 1, text[g->vm->vcpu[thread - 1]->cpu->activity & 3]);
	rsp_to_hex(g->rsp.reply, (u8 *)name, strlen(name));
	reply(g, g->rsp.reply);
}

static void query(struct gdb *g, char *p)
{
	char text[128];

	if (!strncmp(p, "qSupported", 10)) {
		snprintf(text, sizeof(text), "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+",
			 RSP_PACKET_MAX);
		reply(g, text);
	} else if (!strncmp(p, "qXfer:features:read:target.xml:", 31)) {
		send_xml(g, p + 31);
	} else if (!strcmp(p, "qfThreadInfo")) {
		send_threads(g);
	} else if (!strcmp(p, "qsThreadInfo")) {
		reply(g, "l");
	} else if (!strncmp(p, "qThreadExtraInfo,", 17)) {
		send_thread_name(g, (unsigned)strtoul(p + 17, NULL, 16));
	} else if (!strcmp(p, "qC")) {
		snprintf(text, sizeof(text), "QC%x", g->cur + 1);
		reply(g, text);
	} else if (!strcmp(p, "qAttached")) {
		reply(g, "1");
	} else if (!strcmp(p, "QStartNoAckMode")) {
		reply(g, "OK");
		g->rsp.no_ack = true;
	} else {
		reply(g, "");
	}
}

static void choose_thread(struct gdb *g, const char *p)
{
	unsigned long n = strtoul(p, NULL, 16);

	if (*p != '-' && n >= 1 && n <= g->vm->nr_vcpus)
		g->cur = (unsigned)n - 1;
	reply(g, *p == '-' || n <= g->vm->nr_vcpus ? "OK" : "E01");
}

/* vCont;s:1;c and the like: the first action that steps names the vCPU to step; all others go on. */
static void v_packet(struct gdb *g, char *p)
{
	char *s;

	if (!strcmp(p, "vCont?")) {
		reply(g, "vCont;c;C;s;S");
		return;
	}
	if (strncmp(p, "vCont;", 6)) {
		reply(g, "");
		return;
	}
	s = strpbrk(p + 6, "sS");
	if (s && (s = strchr(s, ':'))) {
		unsigned long n = strtoul(s + 1, NULL, 16);

		if (n >= 1 && n <= g->vm->nr_vcpus)
			g->cur = (unsigned)n - 1;
	}
	go_on(g, strpbrk(p + 6, "sS") != NULL);
}

static void set_pc_if_given(struct gdb *g, const char *p)
{
	if (*p)
		cpu_of(g)->r[R_RIP] = strtoull(p, NULL, 16);
}

static void leave(struct gdb *g)
{
	g->wishes.n = 0;
	g->attached = false;
	go_on(g, false);
}

static void packet(struct gdb *g)
{
	char *p = g->rsp.packet;

	switch (p[0]) {
	case '?':
		report_stop(g, SIGTRAP);
		break;
	case 'g':
		read_all_registers(g);
		break;
	case 'G':
		write_all_registers(g, p + 1);
		break;
	case 'p':
	case 'P':
		one_register(g, p + 1, p[0] == 'P');
		break;
	case 'm':
		read_memory(g, p + 1);
		break;
	case 'M':
		write_memory(g, p + 1);
		break;
	case 'c':
	case 's':
		set_pc_if_given(g, p + 1);
		go_on(g, p[0] == 's');
		break;
	case 'Z':
	case 'z':
		breakpoint(g, p + 1, p[0] == 'Z');
		break;
	case 'H':
		choose_thread(g, p + 2);
		break;
	case 'T':
		reply(g, strtoul(p + 1, NULL, 16) - 1 < g->vm->nr_vcpus ? "OK" : "E01");
		break;
	case 'q':
	case 'Q':
		query(g, p);
		break;
	case 'v':
		v_packet(g, p);
		break;
	case 'D':
		reply(g, "OK");
		leave(g);
		break;
	case 'k':
		vm_end(g->vm, 0, "gdb killed the machine");
		leave(g);
		break;
	default:
		reply(g, "");
	}
}

/* ---- the thread
 * ------------------------------------------------------------------------------------------------------- */

/* vCPUs that stopped by themselves have each brought a hold. */
static void collect_stops(struct gdb *g)
{
	unsigned n = atomic_exchange(&g->stops, 0);

	if (!n)
		return;
	g->held += n;
	g->cur = atomic_load(&g->stopped_cpu);
	if (g->attached)
		report_stop(g, SIGTRAP);
	else
		go_on(g, false);
}

static void serve(struct gdb *g)
{
	g->attached = true;
	hold(g);
	while (g->attached && !atomic_load(&g->quit)) {
		switch (rsp_wait(&g->rsp)) {
		case RSP_PACKET:
			packet(g);
			break;
		case RSP_INTERRUPT:
			if (!g->held) {
				hold(g);
				report_stop(g, SIGINT);
			}
			break;
		case RSP_WOKEN:
			collect_stops(g);
			break;
		case RSP_GONE:
			hold(g);
			leave(g);
			break;
		}
	}
}

static void *gdb_main(void *arg)
{
	struct gdb *g = arg;

	pthread_setname_np(pthread_self(), "gdb");
	if (g->wait)
		g->held = 1; /* the machine begins held (vm_config.paused) */
	while (!atomic_load(&g->quit)) {
		if (!rsp_accept(&g->rsp))
			collect_stops(g);
		else if (g->rsp.fd >= 0)
			serve(g);
	}
	return NULL;
}

struct gdb *gdb_new(unsigned port, bool wait, struct vm_config *cfg, struct err *e)
{
	struct gdb *g = calloc(1, sizeof(*g));

	if (!g) {
		err_set(e, "out of memory for the gdb stub");
		return NULL;
	}
	if (rsp_open(&g->rsp, port, e)) {
		rsp_close(&g->rsp);
		free(g);
		return NULL;
	}
	g->wait = wait;
	cfg->paused = wait;
	cfg->debug_stop = on_debug_stop;
	cfg->debug_opaque = g;
	return g;
}

int gdb_start(struct gdb *g, struct vm *vm, struct err *e)
{
	g->vm = vm;
	if (pthread_create(&g->thread, NULL, gdb_main, g))
		return err_errno(e, "cannot start a thread for gdb");
	g->started = true;
	return 0;
}

void gdb_free(struct gdb *g, int status)
{
	char text[8];

	if (!g)
		return;
	if (g->started) {
		atomic_store(&g->quit, true);
		rsp_wake(&g->rsp);
		pthread_join(g->thread, NULL);
		snprintf(text, sizeof(text), "W%02x", status & 0xff);
		if (g->rsp.fd >= 0)
			reply(g, text);
	}
	rsp_close(&g->rsp);
	free(g);
}
