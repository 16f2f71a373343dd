# SPDX-License-Identifier: Apache-2.0
# doppel run with --net user, -p and --cpus; and on the engine that is not the default.
. tests/guest/run.inc

echo "in and out" | run --engine interp -- cat >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "--engine interp"
[ "$(cat "$TMPDIR/out")" = "in and out" ] || fail "--engine interp: $(cat "$TMPDIR/out")"
[ ! -s "$TMPDIR/err" ] || fail "--engine interp wrote to standard error"
run --no-share -- ls /sys/class/net </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
[ "$(cat "$TMPDIR/out")" = lo ] || fail "without --net there is a network: $(cat "$TMPDIR/out")"
exec python3 tests/guest/run-net.py "$DOPPEL"
