# SPDX-License-Identifier: Apache-2.0
# The manual page has every verb and option that the help has, and nothing that groff or mandoc find wrong; bash completes
# verbs, options and values; make install puts both where they are looked for. No guest.
bad=0

wrong() {
	echo "$1"
	bad=1
}

tools/make-man --check || bad=1
n=0
for verb in $("$DOPPEL" help | sed -n 's/^  doppel \([a-z]*\).*/\1/p'); do
	grep -qx "\.It Cm $verb" docs/doppel.1 || wrong "the page lacks the verb $verb"
	[ "$verb" = help ] && continue
	for option in $("$DOPPEL" help "$verb" | grep -o -e '^  --\{0,1\}[A-Za-z][-a-z]*' -e '\[--[a-z]*\]' | tr -d '[] '); do
		grep -qE "^\.(It|Op) Fl $(printf %s "${option#-}" | sed 's/-/\\\\-/g')( |\$)" docs/doppel.1 ||
			[ "$option" = --help ] || wrong "the page lacks doppel $verb $option"
		n=$((n + 1))
	done
done
[ $n -ge 70 ] || wrong "the help has only $n options"

if command -v mandoc >/dev/null; then
	mandoc -Tlint -W warning docs/doppel.1 || wrong "mandoc finds something"
fi
if command -v groff >/dev/null; then
	groff -mdoc -Tascii -P-cbuo -ww -rCHECKSTYLE=1 docs/doppel.1 >"$TMPDIR/page" 2>"$TMPDIR/err"
	[ ! -s "$TMPDIR/err" ] || wrong "groff: $(head -n 5 "$TMPDIR/err")"
	grep -q 'virtiofsd(1)' "$TMPDIR/page" && grep -q -e '--engine-switch-every' "$TMPDIR/page" || wrong "the page is not whole"
fi

# complete WORDS...: what bash offers for the last of them.
complete() {
	bash -c '. tools/doppel.bash
		COMP_WORDS=("$@")
		COMP_CWORD=$(($# - 1))
		_doppel
		echo ${COMPREPLY[*]}' bash "$DOPPEL" "$@"
}
# offers WANT WORDS...
offers() {
	want=$1
	shift
	got=$(complete "$@")
	[ "$got" = "$want" ] || wrong "doppel $*: offered '$got', not '$want'"
}
if command -v bash >/dev/null; then
	offers "stop stat" st
	offers "--share --stats" run --s
	offers "--no-sandbox --no-share" run --no
	offers "-p" run -p
	offers "--kernel" boot --k
	offers "interp" run --engine i
	offers "interp" run --engine = i
	offers "on off" boot --rng o
	offers "json" boot --stats = j
	offers "--json" doctor --j
	offers "--now" stop --n
	offers "monitor" help mo
	offers "docs/doppel.1" boot --kernel docs/dop
	offers "docs" run -w doc
	offers "tools/doppel.bash" run -- cat tools/doppel.
	offers "" run --memory ""
fi

make -s install BUILD="$BUILD" DESTDIR="$TMPDIR/root" PREFIX=/usr >"$TMPDIR/install" 2>&1 ||
	wrong "make install: $(tail -n 5 "$TMPDIR/install")"
for file in bin/doppel share/man/man1/doppel.1 share/bash-completion/completions/doppel; do
	[ -s "$TMPDIR/root/usr/$file" ] || wrong "make install: no $file"
done
[ $bad = 0 ] && echo "$n options"
exit $bad
