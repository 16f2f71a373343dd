# SPDX-License-Identifier: Apache-2.0
# The warm start of doppel run: the second run goes on from the first one's image; time, random numbers, input and command
# are its own; what the image depends on makes another one; what cannot be trusted is made anew.
. tests/guest/run.inc

DOPPEL=$(realpath "$DOPPEL")
kernels=$XDG_CACHE_HOME/doppel/kernel
export XDG_CACHE_HOME=$TMPDIR/cache
mkdir -p "$XDG_CACHE_HOME/doppel" "$TMPDIR/work"
chmod 700 "$XDG_CACHE_HOME" "$XDG_CACHE_HOME/doppel"
ln -s "$kernels" "$XDG_CACHE_HOME/doppel/kernel"
warm=$XDG_CACHE_HOME/doppel/warm
cd "$TMPDIR/work" || exit 1

# start HOW WHAT [OPTION...]: a run with these options starts cold or warm, and its command runs.
start() {
	how=$1 what=$2
	shift 2
	run --stats "$@" -- sh -c 'cat; date +%s.%N; head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/boot_id
		echo >here
		[ "$(date +%s%N)" -ge "$(stat -c %.9Y here | tr -d .)" ] || echo "behind the host"' </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
	want 0 "$what"
	grep -q "^start: $how," "$TMPDIR/err" || fail "$what: not a $how start"
	! grep -q behind "$TMPDIR/out" || fail "$what: the guest's clock is behind the host's, which stamped a file just now"
	[ -e here ] || fail "$what: the directory is not shared"
	rm here
}

start cold "the first run"
[ "$(ls "$warm" | wc -l)" = 1 ] || fail "the first run left no image, or more than one"
[ "$(stat -c %a "$warm" "$warm"/* | tr '\n' ' ')" = "700 600 " ] || fail "the image is not its user's alone"
before=$(date +%s)
start warm "the second run"
grep -q 'cold, its agent had listened after' "$TMPDIR/err" || fail "--stats does not tell of the cold start"
cp "$TMPDIR/out" "$TMPDIR/second"
now=$(head -n 1 "$TMPDIR/out")
[ "${now%.*}" -ge "$before" ] && [ "${now%.*}" -le "$(date +%s)" ] || fail "the clock of a warm guest is wrong: $now"
start warm "the third run"
for line in 2 3; do
	[ "$(sed -n ${line}p "$TMPDIR/out")" != "$(sed -n ${line}p "$TMPDIR/second")" ] ||
		fail "two warm guests have the same random numbers"
done
start warm "statistics in another form, a longer time, no sandbox" --timeout 99 --no-sandbox

# Its TSC goes on where it stood, and so is not the host's: with the engine direct it traps there.
if "$DOPPEL" doctor 2>&1 | grep -q "ok *--engine direct"; then
	for how in cold warm; do
		run --engine direct --stats -- sh -c 'head -c 200000000 /dev/zero | md5sum; exec date +%s' >"$TMPDIR/out" 2>"$TMPDIR/err"
		want 0 "the engine direct, $how"
		grep -q "^start: $how," "$TMPDIR/err" || fail "the engine direct: not a $how start"
		grep -q "^user code: .* native" "$TMPDIR/err" || fail "the engine direct runs nothing natively after a $how start"
		[ $(($(date +%s) - $(tail -n 1 "$TMPDIR/out"))) -le 9 ] || fail "the clock under the engine direct, $how"
	done
	rm -f "$warm"/*
	start cold "after the engine direct"
fi

# Input that was there before the guest was, arguments, directory, status; standard error apart.
echo early | run -w / -e MORE=more -- sh -c 'cat; pwd; echo "$MORE $1" >&2; exit 5' sh argument >"$TMPDIR/out" 2>"$TMPDIR/err"
want 5 "the status of a warm command"
[ "$(cat "$TMPDIR/out")" = "early
/" ] || fail "input and directory of a warm command"
[ "$(cat "$TMPDIR/err")" = "more argument" ] || fail "environment and arguments of a warm command"
echo secret-of-the-first-run | run --append one=1 -- cat >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "a run that makes an image and has input"
! grep -q secret-of-the-first-run "$warm"/* || fail "input of a run is in the image that it made"

# --cold, and what the image depends on.
start cold "--cold" --cold
start cold "another memory" --memory 600M
start cold "another command line" --append quiet
start warm "the first machine again"
touch "$TMPDIR/more"
start cold "one more share" --share "$TMPDIR:/more"
[ "$(ls "$warm" | wc -l)" = 4 ] || fail "more than four images are kept: $(ls "$warm")"

# Two at the same time.
run -- cat /proc/sys/kernel/random/boot_id >"$TMPDIR/one" 2>"$TMPDIR/err" &
run -- cat /proc/sys/kernel/random/boot_id >"$TMPDIR/two" 2>>"$TMPDIR/err"
want 0 "one of two at once"
wait $!
want 0 "the other one of two at once"
[ -s "$TMPDIR/one" ] && [ -s "$TMPDIR/two" ] && ! cmp -s "$TMPDIR/one" "$TMPDIR/two" || fail "two at once"

# Images that are not to be believed.
rm -f "$warm"/*
start cold "after they were removed"
image=$(echo "$warm"/*)
anew() {
	start cold "$1"
	grep -q "is made anew: $2" "$TMPDIR/err" || fail "$1: no sentence"
	start warm "after $1"
}
printf x | dd of="$image" bs=1 seek=100 conv=notrunc 2>/dev/null
anew "a flipped byte" "its beginning is damaged"
truncate -s -1000 "$image"
anew "a cut" "it has been cut short"
chmod 644 "$image"
anew "an image that others can read" "it is not only this user's"
mv "$image" "$TMPDIR/moved" && ln -s "$TMPDIR/moved" "$image"
anew "a link" "it cannot be opened"
size=$(stat -c %s "$image")
printf 'xxxxxxxxxxxxxxxx' | dd of="$image" bs=1 seek=$((size - 3000)) conv=notrunc 2>/dev/null
anew "a damaged state" "the snapshot"
chmod 755 "$warm"
start cold "a directory that others can enter"
grep -q "is not used because it is not only this user's" "$TMPDIR/err" || fail "no sentence about the open directory"
chmod 700 "$warm"
: >"$image"
anew "an empty file" "it is no image"
exit 0
