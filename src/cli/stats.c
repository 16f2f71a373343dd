/* SPDX-License-Identifier: Apache-2.0
 * --stats: every counter of counters.def summed over the vCPUs, and the few figures that are not counters. A figure
 * that was not measured is not printed.
 */
#include <jansson.h>
#include <math.h>
#include <sys/resource.h>

#include "cli/boot.h"

struct figures {
	u64 n[NR_COUNTERS];
	double wall_s, cpu_s, vcpu_s;
	long peak_rss_kib;
};

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static void collect(const struct vm *vm, struct figures *f)
{
	struct rusage ru;

	*f = (struct figures){ 0 };
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		const struct vcpu *v = vm->vcpu[i];

		f->vcpu_s += (double)vcpu_cpu_ns(v) / 1e9;
		for (unsigned c = 0; c < NR_COUNTERS; c++)
			f->n[c] += counter_read(&v->counters, c);
		/* Engines that count keep the live count in the state. */
		if (!counter_read(&v->counters, CNT_INSNS))
			f->n[CNT_INSNS] += __atomic_load_n(&v->cpu->icount, __ATOMIC_RELAXED);
	}
	for (unsigned c = 0; c < NR_COUNTERS; c++)
		f->n[c] += vm->counters.n[c];
	getrusage(RUSAGE_SELF, &ru);
	f->wall_s = (double)(vm->run_ns ? vm->run_ns : clock_ns(&vm->clock)) / 1e9;
	f->cpu_s = seconds(&ru.ru_utime) + seconds(&ru.ru_stime) + (double)f->n[CNT_DIRECT_CPU_NS] / 1e9;
	f->peak_rss_kib = ru.ru_maxrss;
}

static double mips(const struct figures *f)
{
	return f->vcpu_s > 0 ? (double)f->n[CNT_INSNS] / f->vcpu_s / 1e6 : 0;
}

/* The instructions that engines left to the library most. */
static void add_row(void *opaque, const char *mnemonic, u64 n)
{
	json_array_append_new(opaque, json_pack("{s:s, s:I}", "instruction", mnemonic, "count", (json_int_t)n));
}

static void print_row(void *opaque, const char *mnemonic, u64 n)
{
	fprintf(opaque, "  %-20s %18llu\n", mnemonic, (unsigned long long)n);
}

static void report(const struct vm *vm, engine_report_fn *fn, void *opaque)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_report(vm->vcpu[i], fn, opaque);
}

/* Percent of the guest's user code's time. */
static double native_share(const struct figures *f)
{
	double native = (double)f->n[CNT_DIRECT_NS];

	return 100 * native / (native + (double)f->n[CNT_DIRECT_TRANSLATED_NS]);
}

static void print_json(const struct vm *vm, const struct figures *f, FILE *out)
{
	json_t *counters = json_object(), *root;

	for (unsigned c = 0; c < NR_COUNTERS; c++)
		json_object_set_new(counters, counter_name(c), json_integer((json_int_t)f->n[c]));
	root = json_pack("{s:s, s:i, s:s, s:f, s:f, s:f, s:i, s:I, s:o}", "engine", vm->cfg.engine->name, "status",
			 atomic_load(&vm->status), "end", vm->why, "wall_seconds", f->wall_s, "cpu_seconds", f->cpu_s,
			 "vcpu_seconds", f->vcpu_s, "cpus", (int)vm->nr_vcpus, "peak_rss_kib",
			 (json_int_t)f->peak_rss_kib, "counters", counters);
	if (f->n[CNT_INSNS])
		json_object_set_new(root, "mips", json_real(mips(f)));
	if (f->n[CNT_DIRECT_NS])
		json_object_set_new(root, "native_user_percent", json_real(native_share(f)));
	json_object_set_new(root, "resets", json_integer((json_int_t)vm->resets));
	if (vm->cfg.engine->report) {
		json_t *rows = json_array();

		report(vm, add_row, rows);
		json_object_set_new(root, "handed_over", rows);
	}
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	fputc('\n', out);
	json_decref(root);
}

static double share(const struct figures *f, double ns)
{
	return f->vcpu_s > 0 ? ns / f->vcpu_s / 1e7 : 0;
}

/* Percent of the vCPUs' time, with twice the standard error of what is a sample: 64 and 16 are the strides of the
 * counters. */
static void print_split(const struct figures *f, FILE *out)
{
	double library = share(f, (double)f->n[CNT_LIBRARY_NS]);
	double device = share(f, (double)f->n[CNT_DEVICE_NS]);
	double made = share(f, (double)f->n[CNT_TRANSLATOR_NS] + (double)f->n[CNT_DECODE_NS]);
	double library_error = share(f, 2 * 64 * sqrt((double)f->n[CNT_LIBRARY_SPREAD]));
	double device_error = share(f, 2 * 16 * sqrt((double)f->n[CNT_DEVICE_SPREAD]));

	fprintf(out,
		"vCPU time: library %.1f %% (± %.1f), devices %.1f %% of all (± %.1f, mostly in the library's), "
		"decoder and "
		"translator %.1f %%,\n  translated code and all else %.1f %%\n",
		library, library_error, device, device_error, made, MAX(100 - library - made, 0.0));
}

/* Counters that are 0 are left out; a blank line between groups (what stands before the first dot). */
static void print_text(const struct vm *vm, const struct figures *f, FILE *out)
{
	const char *group = "";
	size_t group_len = 0;

	fprintf(out, "engine %s, %u vCPU%s: %.3f s wall, %.3f s of host CPU, %.3f s of it vCPUs, peak RSS %ld MiB\n",
		vm->cfg.engine->name, vm->nr_vcpus, vm->nr_vcpus == 1 ? "" : "s", f->wall_s, f->cpu_s, f->vcpu_s,
		f->peak_rss_kib >> 10);
	if (f->n[CNT_INSNS])
		fprintf(out, "%.1f million instructions a second of vCPU time\n", mips(f));
	if (f->n[CNT_TRANSLATED_BLOCKS])
		print_split(f, out);
	if (f->n[CNT_DIRECT_NS])
		fprintf(out, "user code: %.1f %% of its time native, hand-overs included\n", native_share(f));
	for (unsigned c = 0; c < NR_COUNTERS; c++) {
		const char *name = counter_name(c);
		size_t len = strcspn(name, ".");

		if (!f->n[c])
			continue;
		if (len != group_len || memcmp(name, group, len))
			fputc('\n', out);
		group = name;
		group_len = len;
		fprintf(out, "%-22s %18llu  %s\n", name, (unsigned long long)f->n[c], counter_text(c));
	}
	if (f->n[CNT_HANDED_OVER]) {
		fprintf(out, "\nexecuted by the library from translated code:\n");
		report(vm, print_row, out);
	}
}

void stats_print(const struct vm *vm, enum stats_form form, FILE *f)
{
	struct figures figures;

	collect(vm, &figures);
	if (form == STATS_JSON)
		print_json(vm, &figures, f);
	else
		print_text(vm, &figures, f);
	fflush(f);
}
