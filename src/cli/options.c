/* SPDX-License-Identifier: Apache-2.0
 * The words behind `doppel boot`: each option's value is checked here, once.
 */
#include <stdlib.h>
#include <unistd.h>

#include "api/dir.h"
#include "cli/boot.h"
#include "dev/debugexit.h"
#include "dev/debugport.h"
#include "engine/translate/opts.h"

enum {
#define OPTION(id, name, value, arg, help) OPT_##id,
#include "cli/options.def"
#undef OPTION
};

static const struct option_row rows[] = {
#define OPTION(id, name, value, arg, help) { name, value, arg, OPT_##id, help },
#include "cli/options.def"
#undef OPTION
};

#define TIMEOUT_MAX (10u * 365 * 24 * 3600)

void boot_help(FILE *f)
{
	fputs(
	    "doppel boot [options] IMAGE | --kernel FILE | --firmware FILE\n\n"
	    "Boots a machine on this terminal: from a disk image (through SeaBIOS, with what --disk takes behind the\n"
	    "file's name; with --kernel or --firmware it is just the first disk), a kernel file, or firmware. It ends "
	    "when the guest switches it off (status "
	    "0),\n"
	    "writes to the debug-exit port, triple-faults (124, with a dump), or when doppel itself fails (125).\n\n",
	    f);
	option_help(rows, ARRAY_SIZE(rows), f);
	opts_help(f);
	fputs("\nOn the console, Ctrl-a and a letter: h help, x quit, t statistics, s save (to NAME.snap), b break, a "
	      "a literal Ctrl-a.\n",
	      f);
}

static u64 host_memory(void)
{
	return ALIGN_DOWN((u64)sysconf(_SC_PHYS_PAGES) * (u64)sysconf(_SC_PAGESIZE), (u64)1 << 20);
}

static int set_memory(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	if (option_size(name, val, 1 << 20, host_memory(), &o->vm.memory, e))
		return -1;
	o->vm.memory = ALIGN_DOWN(o->vm.memory, PAGE_SIZE);
	return 0;
}

static int set_cpus(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	u64 n;

	if (option_u64(name, val, 1, VM_CPUS_MAX, &n, e))
		return -1;
	o->vm.cpus = (unsigned)n;
	return 0;
}

static int set_linux_entry(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	o->vm.boot.linux_entry = (unsigned)atoi(val);
	if (!strcmp(val, "64") || !strcmp(val, "32") || !strcmp(val, "16"))
		return 0;
	return err_set(e, "--%s does not take '%.100s': give 64, 32 or 16", name, val);
}

static bool chardev_known(const char *val)
{
	return !strcmp(val, "stdio") || !strcmp(val, "none") || !strcmp(val, "pty") ||
	       (!strncmp(val, "file:", 5) && val[5]) || (!strncmp(val, "unix:", 5) && val[5]);
}

static int check_chardev(const char *name, const char *val, struct err *e)
{
	if (chardev_known(val))
		return 0;
	return err_set(e, "--%s does not take '%.100s': give stdio, file:FILE, pty, unix:PATH or none", name, val);
}

static int set_serial(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	if (o->nr_serial == VM_SERIAL_MAX)
		return err_set(e, "--serial '%.100s' is one too many: the machine has %d serial ports", val,
			       VM_SERIAL_MAX);
	o->vm.serial[o->nr_serial++] = val;
	return check_chardev(name, val, e);
}

static int set_disk(struct boot_options *o, const char *val, struct err *e)
{
	if (o->vm.nr_disks == VM_DISKS_MAX)
		return err_set(e, "--disk '%.100s' is one too many: the machine has %d disks", val, VM_DISKS_MAX);
	return block_parse(&o->vm.disk[o->vm.nr_disks++], val, e);
}

/* WHERE[,name=TEXT] */
static int set_virtio_console(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	const char *comma = strstr(val, ",name=");
	size_t len = comma ? (size_t)(comma - val) : strlen(val), name_len = comma ? strlen(comma + 6) : 0;
	unsigned n = o->vm.nr_ports;

	if (n == VM_PORTS_MAX)
		return err_set(e, "--%s '%.100s' is one too many: the console has %d ports", name, val, VM_PORTS_MAX);
	if (len >= sizeof(o->vm.port[n].where) || name_len >= sizeof(o->vm.port[n].name) || (comma && !name_len))
		return err_set(e, "--%s does not take '%.100s': give WHERE,name=TEXT with 1 to %zu characters", name,
			       val, sizeof(o->vm.port[n].name) - 1);
	memcpy(o->vm.port[n].where, val, len);
	if (comma)
		memcpy(o->vm.port[n].name, comma + 6, name_len);
	o->vm.nr_ports++;
	return check_chardev(name, o->vm.port[n].where, e);
}

/* none takes back what was given before. */
static int set_net(struct boot_options *o, const char *val, struct err *e)
{
	struct net_spec s;

	if (net_parse(&s, val, o->vm.nr_nets, e))
		return -1;
	if (s.kind == NET_NONE)
		o->vm.nr_nets = 0;
	else if (o->vm.nr_nets == VM_NETS_MAX)
		return err_set(e, "--net '%.100s' is one too many: the machine has %d network cards", val, VM_NETS_MAX);
	else
		o->vm.net[o->vm.nr_nets++] = s;
	return 0;
}

static int add_share(struct boot_options *o, const char *val, struct err *e)
{
	struct vm_config *vm = &o->vm;

	if (vm->nr_shares == VM_SHARES_MAX)
		return err_set(e, "--share '%.100s' is one too many: the machine has %d shared directories", val,
			       VM_SHARES_MAX);
	if (share_parse(&vm->share[vm->nr_shares], val, e))
		return -1;
	for (unsigned i = 0; i < vm->nr_shares; i++)
		if (!strcmp(vm->share[i].tag, vm->share[vm->nr_shares].tag))
			return err_set(e, "--share '%.100s': the tag '%s' is another one's: give DIR:TAG", val,
				       vm->share[i].tag);
	vm->nr_shares++;
	return 0;
}

/* -p may stand before --net: forwards are kept apart until all options are there. */
static int give_forwards(struct boot_options *o, struct err *e)
{
	if (!o->forwards.n_forwards)
		return 0;
	for (unsigned i = 0; i < o->vm.nr_nets; i++) {
		struct net_spec *s = &o->vm.net[i];

		if (s->kind != NET_USER)
			continue;
		memcpy(s->forward, o->forwards.forward, sizeof(s->forward));
		s->n_forwards = o->forwards.n_forwards;
		return 0;
	}
	return err_set(e, "-p forwards a port into a user network: give --net user");
}

static int set_on_off(const char *name, const char *val, bool *on, struct err *e)
{
	*on = !strcmp(val, "on");
	if (*on || !strcmp(val, "off"))
		return 0;
	return err_set(e, "--%s does not take '%.100s': give on or off", name, val);
}

static int set_balloon(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	o->vm.balloon = strcmp(val, "off") != 0;
	o->vm.balloon_target = 0;
	if (!o->vm.balloon || !strcmp(val, "on"))
		return 0;
	return option_size(name, val, 4096, host_memory(), &o->vm.balloon_target, e);
}

/* WHERE[,port=N] */
static int set_debugcon(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	const char *comma = strstr(val, ",port=");
	size_t len = comma ? (size_t)(comma - val) : strlen(val);
	u64 port = DEBUGPORT;

	if (comma && option_u64(name, comma + 6, 1, 0xffff, &port, e))
		return -1;
	if (len >= sizeof(o->debugcon))
		return err_set(e, "--%s '%.60s…' is too long", name, val);
	memcpy(o->debugcon, val, len);
	o->debugcon[len] = 0;
	o->vm.debugcon = o->debugcon;
	o->vm.debugcon_port = (u16)port;
	return check_chardev(name, o->debugcon, e);
}

static int set_debug_exit(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	u64 port = DEBUGEXIT_PORT;

	if (val && option_u64(name, val, 1, 0xfffc, &port, e))
		return -1;
	o->vm.debug_exit = (int)port;
	return 0;
}

static int set_stats(struct boot_options *o, const char *val, struct err *e)
{
	o->stats = val ? STATS_JSON : STATS_TEXT;
	if (val && strcmp(val, "json"))
		return err_set(e, "--stats does not take '%.100s': give --stats or --stats=json", val);
	return 0;
}

static int set_timeout(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	u64 seconds;

	if (option_u64(name, val, 1, TIMEOUT_MAX, &seconds, e))
		return -1;
	o->vm.timeout_ns = seconds * NS_PER_SEC;
	return 0;
}

static int set_gdb(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	u64 port = 1234;

	if (val && option_u64(name, val, 1, 65535, &port, e))
		return -1;
	o->gdb_port = (int)port;
	return 0;
}

/* A comma-separated list of which every element (a leading '-' aside) must be in `known`. */
static int check_list(const char *name, const char *val, const char *const *known, size_t n, struct err *e)
{
	for (const char *p = val;; p++) {
		size_t len = strcspn(p, ","), skip = *p == '-', i = 0;

		while (i < n && (strlen(known[i]) != len - skip || memcmp(known[i], p + skip, len - skip)))
			i++;
		if (i == n || !len)
			return err_set(e, "%s does not know '%.*s' in '%.60s': see 'doppel help boot'", name,
				       (int)MIN(len, 60u), p, val);
		p += len;
		if (!*p)
			return 0;
	}
}

static int set_verify(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	if (strncmp(val, "1/", 2))
		return err_set(e, "--%s does not take '%.100s': give 1/N", name, val);
	return option_u64(name, val + 2, 1, 1ull << 40, &o->vm.engine_options.verify, e);
}

static int set_dump(struct boot_options *o, const char *val, struct err *e)
{
	static const char *const known[] = { "blocks" };

	if (!o->vm.engine_options.dump_blocks)
		o->vm.engine_options.dump_blocks = "";
	return check_list("--dump", val, known, ARRAY_SIZE(known), e);
}

/* What only translated code has. */
static int check_translate(const struct boot_options *o, struct err *e)
{
	const struct engine_options *t = &o->vm.engine_options;
	const char *what = t->verify	    ? "--verify"
			   : t->dump_blocks ? "--dump"
			   : t->perf_map    ? "--perf-map"
			   : t->jit_symbols ? "--jit-symbols"
			   : t->code_size   ? "--code-cache"
					    : NULL;

	if (what && strcmp(o->engine, "translate") && strcmp(o->engine, "auto") &&
	    (t->verify || strcmp(o->engine, "direct"))) /* whose guest kernel is translated */
		return err_set(e, "%s is about translated code: give --engine translate", what);
	if (t->verify && o->vm.cpus > 1)
		return err_set(e,
			       "--verify compares two runs of a block, which other CPUs would disturb: give --cpus 1");
	return 0;
}

static int set_audit(struct boot_options *o, const char *val, struct err *e)
{
	static const char *const known[] = { "tlb", "blocks" };

	o->audit_tlb = strstr(val, "tlb");
	o->audit_blocks = strstr(val, "blocks");
	return check_list("--audit", val, known, ARRAY_SIZE(known), e);
}

/* N[:NS] */
static int set_switch(struct boot_options *o, const char *name, const char *val, struct err *e)
{
	const char *colon = strchr(val, ':');
	char n[32];

	snprintf(n, sizeof(n), "%.*s", colon ? (int)MIN(colon - val, 31) : 31, val);
	if (option_u64(name, n, 1, 1ull << 40, &o->vm.switch_every, e))
		return -1;
	o->vm.switch_ns = o->vm.switch_every;
	return colon ? option_u64(name, colon + 1, 1, 1ull << 40, &o->vm.switch_ns, e) : 0;
}

/* Where an option goes that is kept as it was written; NULL for others. */
static const char **text_of(struct boot_options *o, int id)
{
	switch (id) {
	case OPTION_POSITIONAL:
		return &o->image;
	case OPT_KERNEL:
		return &o->vm.boot.kernel;
	case OPT_FIRMWARE:
		return &o->vm.boot.firmware;
	case OPT_INITRD:
		return &o->vm.boot.initrd;
	case OPT_APPEND:
		return &o->vm.boot.append;
	case OPT_ENGINE:
		return &o->engine;
	case OPT_CPU:
		return &o->vm.cpu_model;
	case OPT_DUMP_FILE:
		return &o->vm.engine_options.dump_blocks;
	case OPT_TRACE:
		return &o->trace;
	case OPT_TRACE_FILE:
		return &o->trace_file;
	case OPT_SYMBOLS:
		return &o->symbols;
	case OPT_RECORD:
		return &o->record;
	case OPT_REPLAY:
		return &o->replay;
	case OPT_LOCKSTEP:
		return &o->lockstep;
	case OPT_LOAD:
		return &o->load;
	}
	return NULL;
}

/* The same for options that are just there. */
static bool *flag_of(struct boot_options *o, int id)
{
	switch (id) {
	case OPT_TESTDEV:
		return &o->vm.testdev;
	case OPT_NO_REBOOT:
		return &o->vm.no_reboot;
	case OPT_NO_SANDBOX:
		return &o->no_sandbox;
	case OPT_QUIET:
		return &o->quiet;
	case OPT_PERF_MAP:
		return &o->vm.engine_options.perf_map;
	case OPT_JIT_SYMBOLS:
		return &o->vm.engine_options.jit_symbols;
	case OPT_WAIT:
		return &o->wait;
	case OPT_HELP:
		return &o->help;
	}
	return NULL;
}

static int set_option(void *opaque, int id, const char *name, const char *val, struct err *e)
{
	struct boot_options *o = opaque;
	const char **text = text_of(o, id);
	bool *flag = flag_of(o, id);

	if (id >= 0)
		o->given |= BIT(id);
	if (id == OPTION_POSITIONAL && o->image)
		return err_set(e, "'%.100s' is one image more than '%.100s': give other disks with --disk", val,
			       o->image);
	if (text)
		*text = val;
	if (flag)
		*flag = true;
	if (text || flag)
		return 0;
	switch (id) {
	case OPT_LINUX_ENTRY:
		return set_linux_entry(o, name, val, e);
	case OPT_MEMORY:
		return set_memory(o, name, val, e);
	case OPT_CPUS:
		return set_cpus(o, name, val, e);
	case OPT_SERIAL:
		return set_serial(o, name, val, e);
	case OPT_DISK:
		return set_disk(o, val, e);
	case OPT_NET:
		return set_net(o, val, e);
	case OPT_PUBLISH:
		return net_parse_forward(&o->forwards, val, e);
	case OPT_SHARE:
		return add_share(o, val, e);
	case OPT_VIRTIO_CONSOLE:
		return set_virtio_console(o, name, val, e);
	case OPT_RNG:
		return set_on_off(name, val, &o->vm.rng, e);
	case OPT_BALLOON:
		return set_balloon(o, name, val, e);
	case OPT_DEBUG_EXIT:
		return set_debug_exit(o, name, val, e);
	case OPT_DEBUGCON:
		return set_debugcon(o, name, val, e);
	case OPT_TIMEOUT:
		return set_timeout(o, name, val, e);
	case OPT_STATS:
		return set_stats(o, val, e);
	case OPT_NAME:
		o->name = val;
		o->named = true;
		return api_name_check(val, e);
	case OPT_VERBOSE:
		o->verbose++;
		return 0;
	case OPT_APIC:
		o->vm.engine_options.user_apic = !strcmp(val, "user");
		if (strcmp(val, "user") && strcmp(val, "kernel"))
			return err_set(e, "--%s does not take '%.100s': give kernel or user", name, val);
		return 0;
	case OPT_OPT:
		return opts_parse(val, &o->vm.engine_options.opts, e);
	case OPT_CODE_CACHE:
		return option_size(name, val, PAGE_SIZE, 64ul << 20, &o->vm.engine_options.code_size, e);
	case OPT_VERIFY:
		return set_verify(o, name, val, e);
	case OPT_DUMP:
		return set_dump(o, val, e);
	case OPT_AUDIT:
		return set_audit(o, val, e);
	case OPT_GDB:
		return set_gdb(o, name, val, e);
	case OPT_ENGINE_SWITCH:
		return set_switch(o, name, val, e);
	}
	return err_set(e, "option --%s is not handled", name);
}

/* stdio can be read by one only. */
static int check_one_stdio(const struct boot_options *o, struct err *e)
{
	unsigned users = o->vm.debugcon && !strcmp(o->vm.debugcon, "stdio");

	for (unsigned i = 0; i < VM_SERIAL_MAX; i++)
		users += o->vm.serial[i] && !strcmp(o->vm.serial[i], "stdio");
	for (unsigned i = 0; i < o->vm.nr_ports; i++)
		users += !strcmp(o->vm.port[i].where, "stdio");
	if (users < 2)
		return 0;
	return err_set(e, "stdio is given to %u of --serial, --virtio-console and --debugcon: one of them can have it",
		       users);
}

/* Debian's seabios package, and where QEMU's own builds and other distributions have it. */
static const char *find_seabios(void)
{
	static const char *const places[] = { "/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin",
					      "/usr/local/share/qemu/bios-256k.bin" };

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		if (!access(places[i], R_OK))
			return places[i];
	return NULL;
}

/* IMAGE goes before the disks that options name. */
static int add_image(struct boot_options *o, struct err *e)
{
	struct vm_config *vm = &o->vm;

	if (set_disk(o, o->image, e))
		return -1;
	for (unsigned i = vm->nr_disks - 1; i; i--) {
		struct block_spec last = vm->disk[i];

		vm->disk[i] = vm->disk[i - 1];
		vm->disk[i - 1] = last;
	}
	return 0;
}

/* The lock on an image would find it, and take it for another machine's. */
static int check_disks_differ(const struct boot_options *o, struct err *e)
{
	const struct block_spec *disk = o->vm.disk;

	for (unsigned i = 1; i < o->vm.nr_disks; i++)
		for (unsigned k = 0; k < i; k++)
			if (block_excludes(&disk[i], &disk[k]))
				return err_set(e,
					       "disk '%.200s' is given twice: both must be ',readonly' or ',overlay'",
					       disk[i].path);
	return 0;
}

static int check_what_boots(struct boot_options *o, struct err *e)
{
	struct boot_request *b = &o->vm.boot;

	if (b->kernel && b->firmware)
		return err_set(e, "--kernel and --firmware exclude each other: a kernel is started without firmware");
	if (!b->kernel && (b->initrd || b->append))
		return err_set(e, "--%s is for a kernel: give --kernel FILE", b->initrd ? "initrd" : "append");
	if (o->image && add_image(o, e))
		return -1;
	if (b->kernel || b->firmware)
		return 0;
	if (!o->image && o->load)
		return 0;
	if (!o->image)
		return err_set(e, "nothing to boot: give a disk image, --kernel FILE or --firmware FILE");
	b->firmware = find_seabios();
	return b->firmware ? 0
			   : err_set(e,
				     "booting '%.200s' needs SeaBIOS: install the package seabios, or give "
				     "--firmware FILE",
				     o->image);
}

int boot_options_parse(struct boot_options *o, int argc, char **argv, struct err *e)
{
	*o = (struct boot_options){ .vm = { .memory = 512 << 20,
					    .cpus = 1,
					    .cpu_model = "host",
					    .engine_options = { .opts = opts_default() },
					    .debug_exit = -1,
					    .rng = true,
					    .balloon = true },
				    .name = "doppel",
				    .engine = "auto" };
	if (option_parse(rows, ARRAY_SIZE(rows), "boot", argc, argv, set_option, o, e))
		return -1;
	if (o->help)
		return 0;
	if (check_what_boots(o, e) || check_disks_differ(o, e))
		return -1;
	if (!o->nr_serial)
		o->vm.serial[0] = "stdio";
	if (o->trace_file && !o->trace)
		return err_set(e, "--trace-file '%.100s' would stay empty: say what to trace with --trace",
			       o->trace_file);
	if (o->wait && !o->gdb_port)
		return err_set(e, "--wait waits for gdb: give --gdb as well");
	return give_forwards(o, e) || check_one_stdio(o, e) || check_translate(o, e) || repeat_check(o, e) ? -1 : 0;
}

void boot_options_take_shape(struct boot_options *o, const struct vm_config *shape)
{
	struct vm_config *vm = &o->vm;

	vm->loaded = true;
	if (!(o->given & BIT(OPT_MEMORY)))
		vm->memory = shape->memory;
	if (!(o->given & BIT(OPT_CPUS)))
		vm->cpus = shape->cpus;
	if (!(o->given & BIT(OPT_CPU)))
		vm->cpu_model = shape->cpu_model;
	vm->apic_bus_hz = shape->apic_bus_hz;
	if (!(o->given & BIT(OPT_DEBUG_EXIT)))
		vm->debug_exit = shape->debug_exit;
	if (!(o->given & BIT(OPT_TESTDEV)))
		vm->testdev = shape->testdev;
	if (!(o->given & BIT(OPT_RNG)))
		vm->rng = shape->rng;
	if (!(o->given & BIT(OPT_BALLOON)))
		vm->balloon = shape->balloon;
}

_Static_assert(OPT_HELP < 64, "an option is a bit of `given`");
