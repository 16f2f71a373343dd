/* SPDX-License-Identifier: Apache-2.0
 * Who may run: entering and leaving the guest, exclusive execution, and holds (src/machine/vcpu.c: vcpu_enter(),
 * vcpu_leave(), vcpu_rested(), vcpu_exclusive_begin() and _end(), vm_pause(), vm_resume()).
 *
 * The mutex vm->park and the condition vm->parked are as POSIX has them: who waits sleeps until a broadcast, whatever
 * becomes of the condition meanwhile, so a broadcast that is missing shows as an invalid end state.
 *
 * Claims: while one vCPU is exclusive no other runs; while a hold is in force none runs, is in the middle of an
 * instruction, or looks at its APIC in its sleep; all come to their ends.
 *
 * -DNO_MIDWAY and -DNO_REST leave out what a hold waits for beside `running`, -DNO_TELL the broadcast of a vCPU that
 * lets another be exclusive first: spin finds each.
 */
#ifndef VCPUS
#define VCPUS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define HOLDER VCPUS
#define NOBODY 9

bool held, waits[VCPUS + 1];
bool running[VCPUS], midway[VCPUS], resting[VCPUS], kick[VCPUS];
byte hold, exclusive = NOBODY, finished;

inline lock() { atomic { !held -> held = true } }
inline unlock() { held = false }
inline wait(me)
{
	d_step { held = false; waits[me] = true };
	!waits[me];
	lock()
}
inline broadcast()
{
	d_step {
		byte w = 0;
		do
		:: w <= VCPUS -> waits[w] = false; w++
		:: else -> break
		od
	}
}

#ifdef NO_MIDWAY
#define BUSY(j) running[j]
#else
#define BUSY(j) (running[j] || midway[j])
#endif

inline stop_all_but(me)
{
	j = 0;
	do
	:: j < VCPUS && j != me && running[j] -> kick[j] = true; j++
	:: j < VCPUS && !(j != me && running[j]) -> j++
	:: else -> break
	od;
	j = 0;
	do
	:: j < VCPUS && j != me && running[j] -> wait(me)
	:: j < VCPUS && !(j != me && running[j]) -> j++
	:: j == VCPUS -> break
	od
}

inline exclusive_operation(me)
{
	lock();
	running[me] = false;
	midway[me] = true;
#ifndef NO_TELL
	broadcast();
#endif
	do
	:: exclusive != NOBODY -> wait(me)
	:: else -> break
	od;
	running[me] = true;
	midway[me] = false;
	exclusive = me;
	stop_all_but(me);
	unlock();
	j = 0;
	do
	:: j < VCPUS -> assert(j == me || !running[j]); j++
	:: else -> break
	od;
	lock();
	exclusive = NOBODY;
	broadcast();
	unlock()
}

proctype vcpu(byte me)
{
	byte n, j;

	do
	:: n < ROUNDS ->
		lock();
		do
		:: hold || (exclusive != NOBODY && exclusive != me) -> wait(me)
		:: else -> break
		od;
		running[me] = true;
		unlock();
		/* guest code: an instruction that needs to be exclusive, or none, then a kick is seen, or HLT, or nothing */
		if
		:: exclusive_operation(me)
		:: skip
		fi;
		kick[me] = false;
		lock();
		running[me] = false;
		if
		:: resting[me] = true
		:: skip
		fi;
		if
		:: hold || exclusive != NOBODY -> broadcast()
		:: else
		fi;
		unlock();
		if
		:: resting[me] ->
			/* HLT: until a kick, or an interrupt of its own */
			if
			:: kick[me]
			:: skip
			fi;
			lock();
			resting[me] = false;
			if
			:: hold -> broadcast()
			:: else
			fi;
			unlock()
		:: else
		fi;
		n++
	:: else -> break
	od;
	finished++
}

proctype holder()
{
	byte j, n;

	do
	:: n < ROUNDS ->
		lock();
		hold++;
		j = 0;
		do
		:: j < VCPUS && BUSY(j) -> kick[j] = true; wait(HOLDER)
		:: j < VCPUS && !BUSY(j) -> j++
		:: j == VCPUS -> break
		od;
#ifndef NO_REST
		j = 0;
		do
		:: j < VCPUS && resting[j] -> kick[j] = true; wait(HOLDER)
		:: j < VCPUS && !resting[j] -> j++
		:: j == VCPUS -> break
		od;
#endif
		unlock();
		j = 0;
		do
		:: j < VCPUS -> assert(!running[j] && !midway[j] && !resting[j]); j++
		:: else -> break
		od;
		lock();
		hold--;
		broadcast();
		unlock();
		n++
	:: else -> break
	od;
	finished++
}

init {
	byte i;

	atomic {
		do
		:: i < VCPUS -> run vcpu(i); i++
		:: else -> break
		od;
		run holder()
	}
}
