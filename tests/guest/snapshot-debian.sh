# SPDX-License-Identifier: Apache-2.0
# A Debian guest with a file open on a virtio disk, requests under way on it, a sleeper, a worker and a virtio console is saved, ends, and goes on in
# another process, with two CPUs, under another engine.
. tests/guest/debian.inc
[ -z "$SHORT" ] || { echo "the sanitizers have tests/guest/snapshot.sh"; exit 77; }
export XDG_RUNTIME_DIR="$TMPDIR/run"
mkdir -p "$XDG_RUNTIME_DIR"
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
[ -s "$guest/modules/virtio_blk.ko" ] || { echo "the kernel has no virtio modules"; exit 77; }
tools/make-initramfs "$guest" tests/guest/snapshot.commands || exit 1
(cd "$guest" && find modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/snapshot.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"
truncate -s 32M "$TMPDIR/disk"
truncate -s 1000448 "$TMPDIR/base" # no whole number of pages

timeout 400 "$DOPPEL" boot -q --name "deb-$$" --engine translate --cpus 2 --memory 256M --kernel "$guest/vmlinuz" \
	--initrd "$TMPDIR/initrd" --append "console=ttyS0" --disk "$TMPDIR/disk" --disk "$TMPDIR/base,overlay" \
	--virtio-console "file:$TMPDIR/hvc1" --timeout 300 </dev/null >"$TMPDIR/first" 2>"$TMPDIR/errors" &
pid=$!
tries=0
until grep -q "^step 3" "$TMPDIR/first"; do
	tries=$((tries + 1))
	[ $tries -lt 3000 ] && kill -0 $pid 2>/dev/null || { cat "$TMPDIR/first" >"$TMPDIR/console"; fail "step 3 never came"; }
	sleep 0.1
done
timeout 60 "$DOPPEL" save --stop "deb-$$" "$TMPDIR/snap" >"$TMPDIR/answer" 2>&1 || { cat "$TMPDIR/answer"; fail "save failed"; }
wait $pid || fail "the saved machine did not end with status 0"
cat "$TMPDIR/first" >"$TMPDIR/console"
grep -q "^step 8" "$TMPDIR/first" && fail "the machine was too fast to be saved"

timeout 400 "$DOPPEL" boot -q --load "$TMPDIR/snap" --engine interp --disk "$TMPDIR/disk" --disk "$TMPDIR/base,overlay" \
	--virtio-console "file:$TMPDIR/hvc2" --timeout 300 --stats=json </dev/null >"$TMPDIR/second" 2>"$TMPDIR/stats"
status=$?
cat "$TMPDIR/second" >>"$TMPDIR/console"
[ $status = 0 ] || { cat "$TMPDIR/stats"; fail "the loaded machine ended with status $status"; }

# A fast host's worker is done before the saving, a slow host's sleeper has woken.
tr -d '\r' <"$TMPDIR/console" | grep -q "^sleeper: woke" || fail "the sleeper did not wake"
tr -d '\r' <"$TMPDIR/console" | grep -q "^worker: 8f4e33f3dc3e414ff94e5fb6905cba8c" || fail "the worker has no sum, or a wrong one"
for want in "step 8" "lines: 8" "reader: 0 bad of [1-9]" "entropy: 512" "unmounted: ok" \
	"vdb: changed" "script: done"; do
	tr -d '\r' <"$TMPDIR/second" | grep -q "^$want" || fail "the loaded guest's console lacks the line '$want'"
done
for n in 1 2 3 4 5 6 7 8; do
	[ "$(tr -d '\r' <"$TMPDIR/console" | grep -c "^step $n$")" = 1 ] || fail "step $n came not once"
	[ "$(cat "$TMPDIR/hvc1" "$TMPDIR/hvc2" | tr -d '\r' | grep -c "^hvc $n$")" = 1 ] || fail "hvc $n came not once"
done
for bad in "Kernel panic" "BUG:" "WARNING:" "Oops" "I/O error" "insmod .* failed" "nobody cared" "no file system" "stall" \
	"lockup" "clocksource.*unstable"; do
	grep -q "$bad" "$TMPDIR/console" && fail "the console has a line with '$bad'"
done
if command -v e2fsck >/dev/null; then
	e2fsck -fn "$TMPDIR/disk" >"$TMPDIR/fsck" 2>&1 || { cat "$TMPDIR/fsck"; fail "e2fsck finds errors"; }
fi

[ "$(tr -d '\000' <"$TMPDIR/base" | wc -c)" = 0 ] || fail "a disk with an overlay was written"

# Other disks, or none, are refused.
for disks in "" "--disk $TMPDIR/fsck,readonly --disk $TMPDIR/base,overlay" \
	"--disk $TMPDIR/disk,readonly --disk $TMPDIR/base,overlay" "--disk $TMPDIR/disk --disk $TMPDIR/base"; do
	timeout 30 "$DOPPEL" boot -q --load "$TMPDIR/snap" $disks --virtio-console none </dev/null >"$TMPDIR/answer" 2>&1
	[ $? = 125 ] && [ "$(wc -l <"$TMPDIR/answer")" = 1 ] && grep -q disk "$TMPDIR/answer" ||
		{ cat "$TMPDIR/answer"; fail "other disks were taken: $disks"; }
done
echo "$(stat -c %s "$TMPDIR/snap") bytes of snapshot, $(stat_of wall_seconds) s after it"
