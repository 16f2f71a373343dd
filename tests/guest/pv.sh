# SPDX-License-Identifier: Apache-2.0
# tests/guest/pv.c with several processors under both engines; with four times as many as the host's, time is stolen.
elf=$BUILD/tests/guest/pv.elf
crowded=
[ -r /proc/self/schedstat ] && [ "$(nproc)" -le 4 ] && crowded=crowded
for engine in interp translate; do
	for cpus in 2 4 16; do
		[ $cpus = 16 ] && [ -n "$SHORT" ] && continue
		"$DOPPEL" boot -q --engine $engine --cpus $cpus --kernel "$elf" --append "$([ $cpus != 16 ] || echo $crowded)" \
			--debug-exit --timeout 200 >"$TMPDIR/out" 2>&1
		status=$?
		echo "$engine, $cpus processors: $(tail -n 1 "$TMPDIR/out")"
		[ $status = 1 ] && grep -q "^$cpus processors" "$TMPDIR/out" && continue
		cat "$TMPDIR/out"
		echo "status $status"
		exit 1
	done
done
