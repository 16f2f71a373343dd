# SPDX-License-Identifier: Apache-2.0
# The console on a terminal: shell, job control, escape keys, power-off; and the terminal is given back in every case.
. tests/guest/debian.inc
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
tools/make-initramfs "$guest" || exit 1
exec python3 tests/guest/console.py "$DOPPEL" "$guest/vmlinuz" "$guest/initramfs.gz"
