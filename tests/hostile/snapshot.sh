# SPDX-License-Identifier: Apache-2.0
# Snapshots that mean harm: cut, damaged, and changed with right checksums; each is refused in one sentence with status 125, or
# a guest runs from it. And places where none can be saved.
export XDG_RUNTIME_DIR="$TMPDIR/run"
mkdir -p "$XDG_RUNTIME_DIR"
: "${ASAN_OPTIONS:=exitcode=99}" "${UBSAN_OPTIONS:=exitcode=99}"
export ASAN_OPTIONS UBSAN_OPTIONS
name="hostile-$$"
"$DOPPEL" boot -q --name "$name" --cpus 2 --memory 16M --kernel "$BUILD/tests/guest/snapshot.elf" --append hold --debug-exit \
	--virtio-console none --timeout 100 >"$TMPDIR/console" 2>"$TMPDIR/errors" </dev/null &
pid=$!
tries=0
until grep -q "^ticks" "$TMPDIR/console"; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] || { echo "the guest did not start"; cat "$TMPDIR/errors"; exit 1; }
	sleep 0.1
done

bad=0
unsaved() {
	"$DOPPEL" save "$name" "$2" >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null
	status=$?
	if [ $status != 125 ] || [ "$(wc -l <"$TMPDIR/err")" != 1 ] || ! grep -q "$1" "$TMPDIR/err"; then
		echo "save to $2: status $status, said: $(cat "$TMPDIR/err")"
		bad=1
	fi
}
unsaved "cannot make a file" "$TMPDIR/no/such/place"
unsaved "is not a file" /dev/full
unsaved "is not a file" "$TMPDIR"
unsaved "too long" "/$(head -c 4090 /dev/zero | tr '\0' x)"
"$DOPPEL" save --stop "$name" "$TMPDIR/good" >"$TMPDIR/out" 2>&1 || { cat "$TMPDIR/out"; exit 1; }
wait $pid

# A full disk: what was there stays, nothing is left beside it, the machine goes on.
if unshare -rm true 2>/dev/null; then
	unshare -rm sh -c '
		mkdir "$TMPDIR/full" && mount -t tmpfs -o size=64k none "$TMPDIR/full" || exit 77
		echo precious >"$TMPDIR/full/snap"
		timeout 60 "$DOPPEL" boot -q --name "$1" --load "$TMPDIR/good" --virtio-console none </dev/null >"$TMPDIR/console" 2>&1 &
		for n in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; "$DOPPEL" ps | grep -q "^$1:" && break; done
		"$DOPPEL" save "$1" "$TMPDIR/full/snap" 2>"$TMPDIR/err" && exit 1
		grep -q "No space left" "$TMPDIR/err" || exit 2
		[ "$(cat "$TMPDIR/full/snap")" = precious ] && [ "$(ls "$TMPDIR/full" | wc -l)" = 1 ] || exit 3
		"$DOPPEL" stop --now "$1" >/dev/null || exit 4' sh "$name"
	status=$?
	[ $status = 0 ] || [ $status = 77 ] || { echo "a full disk: case $status, said: $(cat "$TMPDIR/err")"; bad=1; }
fi

python3 - "$DOPPEL" "$TMPDIR" "${LONG:-}" <<'END' || bad=1
import random, struct, subprocess, sys, zlib

doppel, tmp, long = sys.argv[1:4]
good = open(tmp + "/good", "rb").read()
random.seed(3)
wrong = ran = refused = 0


def run(data, what):
    global wrong, ran, refused
    with open(tmp + "/bad", "wb") as f:
        f.write(data)
    p = subprocess.run([doppel, "boot", "-q", "--load", tmp + "/bad", "--virtio-console", "none", "--timeout", "1",
                        "--no-reboot"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    err = p.stderr.decode("utf-8", "replace")
    lines = len(err.strip().splitlines())
    if p.returncode == 125 and lines == 1 and "--timeout" not in err:
        refused += 1
    elif p.returncode in (0, 1, 124) or (p.returncode == 125 and "--timeout" in err):
        ran += 1
    else:
        wrong += 1
        print(f"{what}: status {p.returncode}, said: {err[-600:]}")


def sections(data):
    at = 16
    while at < len(data):
        size, _, n = struct.unpack_from("<IIB", data, at)
        yield data[at + 9:at + 9 + n], data[at + 9 + n:at + 9 + n + size]
        at += 9 + n + size


def build(parts):
    out = bytearray(good[:16])
    for name, data in parts:
        out += struct.pack("<IIB", len(data), zlib.crc32(name + data), len(name)) + name + data
    return bytes(out)


parts = list(sections(good))
assert build(parts) == good
rounds = 400 if long else 40
for n in (0, 5, 16, 20, 100, len(good) // 2, len(good) - 1):
    run(good[:n], f"cut at {n}")
run(good + b"x", "a byte too many")
run(good[:8] + b"\2" + good[9:], "another version")
for _ in range(10):
    at = random.randrange(len(good))
    run(good[:at] + bytes([good[at] ^ 1 << random.randrange(8)]) + good[at + 1:], f"bit at {at}")
state = [i for i, (name, _) in enumerate(parts) if name not in (b"ram", b"end")]
for k in range(rounds):
    i = random.choice(state)
    name, data = parts[i]
    if not data:
        continue
    at = random.randrange(len(data))
    what = random.choice((b"\xff", b"\xff" * 8, b"\0" * 8, b"\x80", bytes([random.randrange(256)])))
    run(build(parts[:i] + [(name, data[:at] + what + data[at + len(what):])] + parts[i + 1:]), f"{name} at {at}: {what}")
for i in random.sample(range(len(parts)), 5):
    run(build(parts[:i] + parts[i + 1:]), f"without {parts[i][0]}")
ram = next(i for i, (name, _) in enumerate(parts) if name == b"ram")
for lead in (struct.pack("<QII", 1 << 51, 1, 0), struct.pack("<QII", 0x9f000, 256, 1), struct.pack("<QII", 0xfee00000, 1, 1),
             struct.pack("<QII", 0, 0xffffffff, 0), struct.pack("<QII", 0, 0, 1), struct.pack("<QII", 1, 1, 1)):
    run(build(parts[:ram] + [(b"ram", lead + parts[ram][1][16:])] + parts[ram + 1:]), f"pages {lead.hex()}")
for name in (b"cpu7", b"disk0", b"\x1b[31m", b"x" * 63, b"end", b"machine"):
    run(build(parts[:3] + [(name, b"")] + parts[3:]), f"section {name}")
print(f"{refused} refused, {ran} ran, {wrong} wrong")
sys.exit(wrong != 0 or refused < 20)
END
exit $bad
