# SPDX-License-Identifier: Apache-2.0
# The models of what vCPUs' threads race over, by spin: each must hold, and must fail with any of its steps left out.
command -v spin >/dev/null || { echo "spin is not installed"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
cd "$TMPDIR" || exit 1

# model NAME ERRORS [-D…]: an exhaustive search must find that many errors (it stops at the first)
model() {
	name=$1 errors=$2
	shift 2
	rm -f pan pan.*
	spin -a "$@" "$here/$name.pml" >out 2>&1 && ${CC:-cc} -O0 -w -DSAFETY -DCOLLAPSE -DMEMLIM=2000 -o pan pan.c >>out 2>&1 ||
		{ cat out; echo "$name: does not build"; exit 1; }
	timeout 600 ./pan -m1000000 >out 2>&1
	echo "$name $*: $(grep -o 'errors: [0-9]*' out), $(grep -o '[0-9.e+]* states, stored' out)"
	grep -q "errors: $errors\$" out && ! grep -q "max search depth too small\|out of memory\|timed out" out ||
		{ cat out; echo "$name $*: expected $errors errors"; exit 1; }
}

model sleep 0
model sleep 0 -DKICK
model sleep 1 -DATTENTION
model sleep 1 -DATTENTION -DKICK
model code 0
for step in NO_SETTLE NO_AFTER NO_RECHECK NO_REVOKE; do
	model code 1 -D$step
done
model park 0
for step in NO_MIDWAY NO_REST NO_TELL; do
	model park 1 -D$step
done
[ -n "$LONG" ] || exit 0
model park 0 -DROUNDS=2
model park 0 -DVCPUS=3
