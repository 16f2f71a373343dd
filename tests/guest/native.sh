# SPDX-License-Identifier: Apache-2.0
# Programs that print what they see of the processor through signals and ptrace (tests/guest/native/*.c): in a Debian guest
# they must print what they print on this host.
guest=build/guest
root=$TMPDIR/root

cannot() {
	echo "$1"
	exit 77
}

fail() {
	echo "$1"
	tail -n 30 "$TMPDIR/console" 2>/dev/null
	exit 1
}

tools/fetch-guest $guest >"$TMPDIR/fetch" 2>&1 || cannot "Debian's kernel could not be fetched"
mkdir -p "$root/native"
for program in signals stepping; do
	${CC:-cc} -O2 -static -mno-red-zone -o "$root/native/$program" tests/guest/native/$program.c -lm ||
		cannot "no static program can be made"
	timeout 60 "$root/native/$program" >"$root/native/$program.host" || cannot "$program does not come to its end on this host"
done
tools/make-initramfs $guest tests/guest/native.commands || exit 1
(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0) >"$TMPDIR/initrd" # the kernel wants it first: it has to be aligned
cat $guest/native.commands.gz >>"$TMPDIR/initrd"

# boot_native OPTIONS …
boot_native() {
	timeout 240 "$DOPPEL" boot -q --memory 256M --timeout 200 --kernel $guest/vmlinuz --initrd "$TMPDIR/initrd" \
		--append "console=ttyS0 quiet" "$@" >"$TMPDIR/console" 2>"$TMPDIR/err" </dev/null || {
		cat "$TMPDIR/err"
		fail "$*: the guest ended with an error"
	}
	tr -d '\r' <"$TMPDIR/console" >"$TMPDIR/lines"
	for want in "signals: same" "stepping: same" "script: done"; do
		grep -q "^$want" "$TMPDIR/lines" || fail "$*: the console lacks the line '$want'"
	done
}

boot_native --engine translate --cpus 2
[ -z "$LONG" ] || boot_native --engine interp --cpus 1
"$DOPPEL" doctor 2>&1 | grep -q "ok *--engine direct" || exit 0
boot_native --engine direct -O -promote --cpus 1
