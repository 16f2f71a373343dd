# SPDX-License-Identifier: Apache-2.0
# A machine that SeaBIOS started, in the middle of a boot sector that uses the BIOS's clock and disk: saved and loaded
# twice, with the other engine each time; no turn is lost or comes twice. Without its firmware it is not loaded.
[ -z "$SHORT" ] || { echo "the sanitizers have tests/guest/snapshot.sh"; exit 77; }
bios=/usr/share/seabios/bios-256k.bin
[ -s $bios ] || { echo "the package seabios is not installed"; exit 77; }
command -v nasm >/dev/null || { echo "nasm is not installed"; exit 77; }
export XDG_RUNTIME_DIR="$TMPDIR/run"
mkdir -p "$XDG_RUNTIME_DIR"
nasm -f bin -o "$TMPDIR/disk" tests/guest/snapshot-bios.asm && truncate -s 16M "$TMPDIR/disk" || exit 1 # SeaBIOS counts cylinders
: >"$TMPDIR/all"

fail() {
	echo "$1"
	tail -n 30 "$TMPDIR/all" "$TMPDIR/console" "$TMPDIR/err" "$TMPDIR/answer" 2>/dev/null
	exit 1
}

# go ENGINE CPUS WORD OPTIONS …: runs until WORD was said, then saves and ends; WORD "over": to the end.
go() {
	engine=$1
	cpus=$2
	word=$3
	shift 3
	: >"$TMPDIR/console"
	timeout -k 5 100 "$DOPPEL" boot -q --name "bios-$$" --engine "$engine" $cpus --serial "file:$TMPDIR/console" --debug-exit \
		--timeout 90 --disk "$TMPDIR/disk" "$@" 2>"$TMPDIR/err" </dev/null &
	pid=$!
	while [ "$word" != over ] && ! grep -qa "$word" "$TMPDIR/console"; do
		kill -0 $pid 2>/dev/null || fail "$engine: ended before '$word'"
		sleep 0.1
	done
	if [ "$word" != over ]; then
		timeout 60 "$DOPPEL" save --stop "bios-$$" "$TMPDIR/snap" >"$TMPDIR/answer" 2>&1 || fail "$engine: save failed"
	fi
	wait $pid
	status=$?
	cat "$TMPDIR/console" >>"$TMPDIR/all"
	[ $status = "$([ "$word" = over ] && echo 1 || echo 0)" ] || fail "$engine: status $status"
}

pair() {
	: >"$TMPDIR/all"
	go "$1" "--cpus $3" "right c" --firmware $bios
	go "$2" "" "right f" --firmware $bios --load "$TMPDIR/snap"
	go "$1" "" over --firmware $bios --load "$TMPDIR/snap"
	[ "$(tr -d '\r' <"$TMPDIR/all" | grep -aoE '^(right|lost) .$' | tr '\n' ' ')" = \
		"right a right b right c right d right e right f right g right h right i right j right k right l " ] ||
		fail "$1, $2: turns are missing"
}

pair interp translate 2
pair translate interp 1
timeout 30 "$DOPPEL" boot -q --load "$TMPDIR/snap" --disk "$TMPDIR/disk" --serial none >"$TMPDIR/answer" 2>&1 </dev/null
[ $? = 125 ] && [ "$(wc -l <"$TMPDIR/answer")" = 1 ] && grep -q firmware "$TMPDIR/answer" || fail "loaded without firmware"
exit 0
