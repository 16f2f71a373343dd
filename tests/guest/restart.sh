# SPDX-License-Identifier: Apache-2.0
# tests/guest/restart.c with 2 processors under the software engines, alone and taking turns. kvm: tests/kvm/inside.
elf=$BUILD/tests/guest/restart.elf
for options in "--engine interp" "--engine translate" "--engine translate --engine-switch-every 20000"; do
	"$DOPPEL" boot -q --cpus 2 $options --kernel "$elf" --debug-exit --timeout 50 >"$TMPDIR/out" 2>&1
	status=$?
	[ $status = 1 ] && grep -q "^2 processors" "$TMPDIR/out" && continue
	cat "$TMPDIR/out"
	echo "$options: status $status"
	exit 1
done
tail -n 1 "$TMPDIR/out"
