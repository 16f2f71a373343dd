# SPDX-License-Identifier: Apache-2.0
# Programs that make code, in a Debian guest: pages that are now written, now executed, aliases, remapped pages, code written
# by another thread; LuaJIT and, LONG, node, whose compiled programs must print what their interpreters print.
guest=build/guest
packages=$guest/packages
root=$TMPDIR/root
memory=512M
[ -z "$LONG" ] || memory=1536M

cannot() {
	echo "$1"
	exit 77
}

fail() {
	echo "$1"
	tail -n 30 "$TMPDIR/console" 2>/dev/null
	exit 1
}

# What of these Debian packages programs need at run time, into the guest's root.
take() {
	for wanted in "$@"; do
		package=${wanted%%=*}
		tools/fetch-package $packages "$wanted" 2>"$TMPDIR/fetch" || cannot "$(tail -n 1 "$TMPDIR/fetch")"
		for part in lib lib64 usr/bin usr/lib usr/share/nodejs; do
			[ ! -d "$packages/$package/$part" ] || { mkdir -p "$root/$part" && cp -a "$packages/$package/$part/." "$root/$part"; }
		done
	done
}

tools/fetch-guest $guest >"$TMPDIR/fetch" 2>&1 || cannot "Debian's kernel could not be fetched"
mkdir -p "$root/jit"
${CC:-cc} -O2 -static -pthread -o "$root/jit/codeflip" tests/guest/jit/codeflip.c || cannot "no static program can be made"
cp tests/guest/jit/jit.lua tests/guest/jit/jit.js "$root/jit"
take luajit libluajit-5.1-2 libluajit-5.1-common libc6 libgcc-s1
[ -z "$LONG" ] || take "nodejs=18*" libnode108 libbrotli1 libc-ares2 libicu72 libnghttp2-14 libssl3 libstdc++6 libuv1 zlib1g node-acorn \
	node-cjs-module-lexer node-undici node-busboy node-xtend
tools/make-initramfs $guest tests/guest/jit.commands || exit 1
(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0) >"$TMPDIR/initrd" # the kernel wants it first: it has to be aligned
cat $guest/jit.commands.gz >>"$TMPDIR/initrd"

# boot_jit CPUS OPTIONS …
boot_jit() {
	cpus=$1
	shift
	timeout 900 "$DOPPEL" boot -q --memory "$memory" --cpus "$cpus" --timeout 850 --audit=tlb,blocks --kernel $guest/vmlinuz \
		--initrd "$TMPDIR/initrd" --append "console=ttyS0 jit=${LONG:+long}" "$@" >"$TMPDIR/console" 2>"$TMPDIR/err" || {
		cat "$TMPDIR/err"
		fail "the guest ended with an error"
	}
	tr -d '\r' <"$TMPDIR/console" >"$TMPDIR/lines"
	for want in "codeflip: ok" "luajit: same" ${LONG:+"node: same"} "script: done"; do
		grep -q "^$want" "$TMPDIR/lines" || fail "$cpus CPUs: the console lacks the line '$want'"
	done
	grep -qE "segfault|trap |Oops|BUG:" "$TMPDIR/lines" && fail "$cpus CPUs: the kernel complains"
	grep -q "block audit: .* differs" "$TMPDIR/err" && fail "$cpus CPUs: code and its copies differ"
	return 0
}

boot_jit 1 --engine translate
boot_jit 2 --engine translate
[ -z "$LONG" ] || boot_jit 1 --engine translate --verify=1/7
