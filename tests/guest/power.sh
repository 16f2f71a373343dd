# SPDX-License-Identifier: Apache-2.0
# The power button: `doppel stop`, and `power` in the monitor, reach the guest as ACPI's fixed event; a Debian guest with
# acpid switches itself off, and doppel ends with status 0. A guest that does not listen goes on.
. tests/guest/debian.inc
[ -z "$SHORT" ] || { echo "the sanitizers have tests/unit/test_acpipm.c"; exit 77; }
export XDG_RUNTIME_DIR="$TMPDIR/run"
mkdir -p "$XDG_RUNTIME_DIR"
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
tools/make-initramfs "$guest" tests/guest/power.commands || exit 1
(cd "$guest" && printf '%s\n' modules modules/button.ko modules/evdev.ko | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/power.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"

# press ENGINE CPUS COMMAND …: what presses the button
press() {
	engine=$1
	cpus=$2
	shift 2
	name=power-$$
	: >"$TMPDIR/console"
	timeout -k 5 400 "$DOPPEL" boot -q --name $name --engine "$engine" --cpus "$cpus" --kernel "$guest/vmlinuz" \
		--initrd "$TMPDIR/initrd" --append console=ttyS0 --timeout 300 --stats=json </dev/null >"$TMPDIR/console" 2>"$TMPDIR/stats" &
	pid=$!
	# As soon as there is a socket: nobody in the guest listens yet.
	i=0
	until [ -e "$XDG_RUNTIME_DIR/doppel/$name.sock" ] || [ $i = 300 ]; do
		sleep 0.1
		i=$((i + 1))
	done
	timeout 30 "$DOPPEL" stop $name >"$TMPDIR/answer" 2>&1 || { cat "$TMPDIR/answer"; fail "an early press was refused"; }
	i=0
	until grep -q "^listening" "$TMPDIR/console"; do
		i=$((i + 1))
		[ $i -lt 3000 ] && kill -0 $pid 2>/dev/null || { cat "$TMPDIR/stats"; fail "the guest does not listen"; }
		sleep 0.1
	done
	"$@" >"$TMPDIR/answer" 2>&1 || { cat "$TMPDIR/answer"; fail "'$*' failed"; }
	wait $pid
	status=$?
	[ $status = 0 ] || { cat "$TMPDIR/stats"; fail "after '$*' the guest ended with status $status"; }
	grep -q "^button: pressed" "$TMPDIR/console" || fail "the guest did not see the button"
	grep -q "insmod .* failed\|nothing came" "$TMPDIR/console" && fail "the guest has trouble"
	return 0
}

press translate 1 timeout 30 "$DOPPEL" stop power-$$
[ -n "$LONG" ] || exit 0
press translate 4 sh -c "echo power | timeout 30 '$DOPPEL' monitor power-$$"
press interp 2 timeout 30 "$DOPPEL" stop power-$$
