/* SPDX-License-Identifier: Apache-2.0
 * A halted vCPU and those who post to it (src/machine/vcpu.c, vcpu_sleep() and vcpu_post(); src/cpu/poll.c).
 *
 * `att` are the attention bits, `posted` the words of the APIC that others set. A look takes the APIC's bit out of att
 * and folds what is posted; only some of it can be delivered (a vector behind the task priority cannot). Each statement
 * is one access to shared memory; all are sequentially consistent there (locked operations).
 *
 * Claim: when all posters are done, the sleeper is not in the futex while something deliverable is posted. A wake-up
 * that is lost shows as an invalid end state.
 *
 * With -DATTENTION the futex word is att itself, as it was once: spin finds the lost wake-up, which proves that the
 * model can tell.
 */
#define MASKED 1 /* posted, and cannot be delivered now */
#define WANTED 2 /* posted, and can */
#define APIC 1
#define EVENTS 2

byte att, posted, wakes;
bool asleep, unhalted, waiting, awake;

inline futex_wake() { waiting = false }

inline post(bits)
{
	att = att | bits;
	if
	:: asleep -> atomic { wakes++ }; futex_wake()
	:: else
	fi
}

proctype poster(byte what)
{
	posted = posted | what;
	post(APIC)
}

/* KVM_HC_KICK_CPU */
proctype kicker()
{
	unhalted = true;
	post(EVENTS)
}

active proctype sleeper()
{
	byte seen, folded, irr;

	asleep = true;
	do
	:: true ->
#ifdef ATTENTION
		seen = att;
#else
		seen = wakes;
#endif
		/* event_deliverable(): sync_apic(), then what is pending */
		if
		:: att & APIC ->
			att = att & ~APIC;
			d_step { folded = posted; posted = 0 }
			irr = irr | folded;
			if
			:: folded -> att = att | APIC /* lapic_accept() */
			:: else
			fi;
			/* the guest's EOI through its word in memory: lapic_eoi() */
			if
			:: att = att | EVENTS
			:: skip
			fi
		:: else
		fi;
		if
		:: irr & WANTED -> break
		:: unhalted -> break
		:: else
		fi;
		/* FUTEX_WAIT: compares and goes to sleep in one step */
		atomic {
#ifdef ATTENTION
			if
			:: att == seen -> waiting = true
			:: else
			fi
#else
			if
			:: wakes == seen -> waiting = true
			:: else
			fi
#endif
		}
		!waiting
	od;
	asleep = false;
	awake = true
}

init {
	atomic {
		run poster(MASKED);
#ifdef KICK
		run kicker()
#else
		run poster(WANTED)
#endif
	}
}
