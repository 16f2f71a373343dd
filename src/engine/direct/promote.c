/* SPDX-License-Identifier: Apache-2.0
 * Which address spaces run natively: those whose user code goes on long enough between two entries of the guest's
 * kernel for what a hand-over costs. One number a space, its credit, decides. While `translate` has it, the credit is
 * in instructions: looked at every LOOK_INSNS, a space found in user code gains them and pays for the entries of the
 * kernel since. While it runs natively, the credit is in nanoseconds: what it ran, less what hand-overs and faults
 * took.
 */
#include "engine/direct/direct.h"

#include "base/counter.h"
#include "engine/interp/interp.h"

/* The thresholds, and why. */
enum {
	/* as often as `translate` looks at events anyway: a clock and a few adds each time */
	LOOK_INSNS = 20000,
	/* a hand-over takes some 8 us, in which translated code runs as many instructions; twice that to be sure */
	ENTRY_INSNS = 20000,
	/* a mirror and its first few hundred faults take about as long as translated code does for these */
	PROMOTE_INSNS = 6000000,
	/* a stay has to be worth so many of the shortest ones, which are hand-over and nothing else; a stay in
	 * translated code would have taken about twice as long */
	STAY_WORTH = 3,
	STAY_NS = 8000, /* the shortest stay before there was one */
	/* the credit to begin with: the faults of a new mirror; and what no more is kept than, so that an hour of
	 * computing does not pay for seconds of the contrary */
	CREDIT_NS = 10000000,
	MAX_CREDIT_NS = 20000000,
	/* what a look and the faults of a stay can count for at most: others of the host may have had the CPU meanwhile
	 */
	MAX_LOOK_NS = 1000000,
	MAX_FAULT_NS = 100000,
	/* the CPU's clock of another process is read so often */
	RECKON_STAYS = 16,
	RECKON_NS = 1000000,
	/* a CPU is judged by so much of mirrors' time on it, twice as much behind each move, up to so often; it is
	 * crowded if the mirrors had less than three quarters of it */
	JUDGE_NS = 50000000,
	MAX_MOVES = 6,
	/* what it takes to give a page breakpoints that others had: a fault, two mappings, three system calls. On a CPU
	 * of another number more frames need some, and if that takes a quarter of the time, sharing the first was
	 * cheaper */
	UNGUARD_NS = 40000,
	/* each demotion doubles what the next promotion takes, up to so many times */
	MAX_DEMOTIONS = 6,
};

static struct space *space_of(struct direct *d)
{
	u64 root = d->c->cr3 & ROOT_MASK;
	struct space *s = &d->space[(root >> PAGE_SHIFT ^ root >> 20) % SPACES];

	if (s->root != root && !s->hot)
		*s = (struct space){ .root = root };
	return s->root == root ? s : NULL;
}

static u64 kernel_entries(const struct counters *k)
{
	return k ? k->n[CNT_SYSCALLS] + k->n[CNT_EXCEPTIONS] + k->n[CNT_INTERRUPTS] : 0;
}

bool promote_hot(struct direct *d)
{
	const struct space *s;

	if (d->always)
		return true;
	s = space_of(d);
	return s && s->hot;
}

static void demote(struct space *s)
{
	*s = (struct space){ .root = s->root, .demotions = (u8)MIN(s->demotions + 1, MAX_DEMOTIONS) };
}

static void credit(struct direct *d, struct space *s, s64 insns)
{
	s->credit = MAX(s->credit + insns, 0);
	if (s->credit < (s64)PROMOTE_INSNS << s->demotions)
		return;
	s->hot = true;
	s->credit = CREDIT_NS;
	counter_inc(d->c->counters, CNT_DIRECT_PROMOTED);
}

void promote_look(struct direct *d)
{
	u64 now = clock_host_ns(), entries = kernel_entries(d->c->counters), root = d->c->cr3 & ROOT_MASK;
	bool user = d->c->d.cpl == 3;
	struct space *s = space_of(d);

	if (user)
		counter_add(d->c->counters, CNT_DIRECT_TRANSLATED_NS, MIN(now - d->look_ns, (u64)MAX_LOOK_NS));
	if (s && !s->hot && !d->always && root == d->look_root)
		credit(d, s,
		       (user && tier_ok(d) ? LOOK_INSNS : 0) -
			   ENTRY_INSNS * (s64)MIN(entries - d->look_entries, 1000u));
	d->look_ns = now;
	d->look_root = root;
	d->look_entries = entries;
}

u64 promote_next_look(const struct direct *d)
{
	return d->c->icount + LOOK_INSNS;
}

/* The mirror's stays since the last reckoning, by the CPU time that they took: the clock runs on while others have the
 * CPU. */
static s64 earned(struct direct *d, struct mirror *m)
{
	u64 now = mirror_cpu_ns(m), used = MIN(now - m->cpu_ns, m->stays_ns);
	s64 sum = (s64)used - 2 * (s64)m->faults_ns - (s64)(m->stays * STAY_WORTH * d->shortest_ns);

	d->crowd_stays_ns += m->stays_ns - MIN(m->stays_ns, 2 * m->stays * d->shortest_ns + m->faults_ns);
	d->crowd_used_ns += used;
	d->away_ns += m->stays_ns;
	counter_add(d->c->counters, CNT_DIRECT_CPU_NS, now - MIN(m->cpu_ns, now));
	m->cpu_ns = now;
	m->stays = 0;
	m->stays_ns = m->faults_ns = 0;
	return sum;
}

void promote_stayed(struct direct *d, struct mirror *m, u64 ns, u64 fault_ns)
{
	struct space *s = space_of(d);
	s64 sum;

	d->shortest_ns = MIN(d->shortest_ns ? d->shortest_ns : STAY_NS, ns);
	d->look_ns = clock_host_ns();
	m->stays_ns += ns;
	m->faults_ns += MIN(fault_ns, (u64)MAX_FAULT_NS);
	if (++m->stays < RECKON_STAYS && m->stays_ns < RECKON_NS)
		return;
	sum = earned(d, m);
	if (d->always || !s || !s->hot)
		return;
	s->credit += sum;
	if (s->credit < 0) {
		demote(s);
		counter_inc(d->c->counters, CNT_DIRECT_DEMOTED);
	} else if (s->credit > MAX_CREDIT_NS) {
		s->credit = MAX_CREDIT_NS;
		s->demotions = 0;
	}
}

bool promote_crowded(struct direct *d)
{
	u64 stays = d->crowd_stays_ns, used = d->crowd_used_ns;

	if (stays < (u64)JUDGE_NS << d->moves)
		return false;
	d->crowd_stays_ns = d->crowd_used_ns = 0;
	if (used >= stays - stays / 4) {
		d->moves = 0;
		return false;
	}
	d->moves = MIN(d->moves + 1, MAX_MOVES);
	return true;
}

bool promote_homesick(struct direct *d)
{
	u64 ns = d->away_ns, lost = d->unguarded - d->away_lost;

	if (ns < JUDGE_NS)
		return false;
	d->away_ns = 0;
	d->away_lost = d->unguarded;
	if (lost * UNGUARD_NS <= ns / 4)
		return false;
	d->crowd_stays_ns = d->crowd_used_ns = 0;
	d->moves = MAX_MOVES;
	return true;
}

void promote_forget(struct direct *d)
{
	struct space *s = space_of(d);

	if (s)
		*s = (struct space){ .root = s->root };
}
