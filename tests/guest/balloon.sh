# SPDX-License-Identifier: Apache-2.0
# The balloon in a Debian guest: memory that the guest frees goes back to the host without being asked for (free page
# reporting), the monitor shows the guest's own statistics, and asks for memory and gives it back.
. tests/guest/debian.inc
[ -z "$SHORT" ] || { echo "the sanitizers have tests/unit/test_virtio_devices.c"; exit 77; }
export XDG_RUNTIME_DIR="$TMPDIR/run"
mkdir -p "$XDG_RUNTIME_DIR"
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
tools/make-initramfs "$guest" tests/guest/balloon.commands || exit 1
(cd "$guest" && { echo modules; find modules -name "virtio*"; } | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/balloon.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"
name=balloon-$$
mkfifo "$TMPDIR/keys"
timeout -k 5 400 "$DOPPEL" boot -q --name $name --engine "${ENGINE:-translate}" --memory 512M --kernel "$guest/vmlinuz" \
	--initrd "$TMPDIR/initrd" --append console=ttyS0 --timeout 300 --stats=json <"$TMPDIR/keys" >"$TMPDIR/console" 2>"$TMPDIR/stats" &
pid=$!
trap 'kill $pid 2>/dev/null' EXIT # timeout(1) has put it into a process group of its own
exec 7>"$TMPDIR/keys"

# await SECONDS COMMAND …: until it is true
await() {
	tries=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		kill -0 $pid 2>/dev/null || { cat "$TMPDIR/stats"; fail "the guest ended before '$*'"; }
		[ $tries -gt 0 ] || { monitor "info balloon"; fail "never: $*"; }
		sleep 0.2
	done
}
monitor() { echo "$1" | timeout 30 "$DOPPEL" monitor $name | tee "$TMPDIR/answer"; }
# The host's memory that the machine holds, KiB.
held() {
	child=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
	child=${child%% *}
	awk '/^RssShmem/ { print $2 }' "/proc/${child:-$pid}/status"
}
said() { grep -q "$1" "$TMPDIR/console"; }
given_back() { monitor "info balloon" && grep -q "given back $1 KiB" "$TMPDIR/answer"; }
less_held() { [ "$(held)" -lt $(($1 - 100000)) ]; }

await 300 said "^filled"
monitor "info balloon" >/dev/null
for want in "given back 0 KiB" "^total: $(tr -d '\r' <"$TMPDIR/console" | sed -n 's/^total: //p') KiB" "^free: [0-9]* KiB" \
	"^available: " "^caches: 1[5-9][0-9][0-9][0-9][0-9] KiB" "^minor faults: [1-9]" "^major faults: "; do
	grep -q "$want" "$TMPDIR/answer" || { cat "$TMPDIR/answer"; fail "info balloon lacks '$want'"; }
done
free=$(sed -n 's/^free: \([0-9]*\) KiB/\1/p' "$TMPDIR/answer")
full=$(held)
[ "$full" -gt 150000 ] || fail "the machine holds $full KiB with 150 MiB filled"

echo >&7
await 30 said "^freed"
await 60 less_held "$full" # Linux reports after two seconds, in blocks of 2 MiB and more
monitor "info balloon" >/dev/null
[ "$(sed -n 's/^free: \([0-9]*\) KiB/\1/p' "$TMPDIR/answer")" -gt $((free + 100000)) ] ||
	{ cat "$TMPDIR/answer"; fail "the statistics stay as they were"; }

monitor "balloon 200M" >/dev/null
await 60 given_back 204800
echo >&7
await 30 said "^asked"
[ "$(tr -d '\r' <"$TMPDIR/console" | sed -n 's/^free: //p')" -lt 300000 ] || fail "the guest has as much memory as before"
monitor "balloon 0" >/dev/null
await 60 given_back 0
echo >&7
exec 7>&-
wait $pid
status=$?
[ $status = 0 ] || { cat "$TMPDIR/stats"; fail "the guest ended with status $status"; }
# 150 MiB of zeroes, in memory that was punched out before.
grep -q "^filled again: 3d3be108b6b902c41404da7adff4a8da" "$TMPDIR/console" || fail "memory that came back is not right"
[ "$(stat_of virtio.broken)" = 0 ] || fail "a device was stopped"
echo "$full KiB held when full, $(stat_of balloon.bytes) bytes given back"
