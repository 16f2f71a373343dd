# SPDX-License-Identifier: Apache-2.0
# Every freestanding guest under both engines in lockstep, compared after each block, the long ones after some instructions.
fail() {
	echo "$1"
	tail -n 40 "$TMPDIR/err"
	exit 1
}

# lockstep CPUS N ELF
lockstep() {
	timeout 250 "$DOPPEL" boot -q --memory 128M --cpus "$1" --lockstep "interp,translate,$2" --kernel "$3" --debug-exit \
		--timeout 240 >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null
	status=$?
	[ $status = 1 ] || [ $status = 3 ] || fail "$3, $1 CPUs, every $2: status $status"
	grep -q "no difference" "$TMPDIR/err" || fail "$3, $1 CPUs, every $2: nothing was said"
}

for elf in "$BUILD"/tests/guest/*.elf; do
	case $elf in
	*/snapshot.elf) continue ;; # it waits to be saved
	*/smp.elf) lockstep 2 300 "$elf" ;;
	*/paging*.elf | */segments.elf | */inputs.elf | */interrupts.elf) lockstep 1 3000 "$elf" ;; # many instructions
	*/pv.elf | */crowd.elf) lockstep 1 10000 "$elf" ;; # hundreds of millions: they wait by the clock
	*) lockstep 1 1 "$elf" ;;
	esac
	echo "$(basename "$elf"): $(sed -n 's/^doppel: lockstep: //p' "$TMPDIR/err")"
done
