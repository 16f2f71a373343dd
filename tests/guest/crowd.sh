# SPDX-License-Identifier: Apache-2.0
# Four times as many vCPUs as the host lets us use take at most 1.3 times the host CPU of as many vCPUs as CPUs, although
# most of them wait in loops most of the time. CPU seconds, so that other work on the host matters little; best of three.
[ -z "$SHORT" ] || exit 77
cpus=$(nproc)
[ "$cpus" -gt 2 ] && cpus=2

# used CPUS: CPU seconds of a run of that many vCPUs
used() {
	python3 - "$DOPPEL" boot -q --engine translate --cpus "$1" --kernel "$BUILD/tests/guest/crowd.elf" \
		--append phases=60 --debug-exit --timeout 100 <<'EOF'
import os, resource, subprocess, sys
p = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
if p.returncode != 1:
    sys.exit(f"status {p.returncode}: {p.stdout}")
u = resource.getrusage(resource.RUSAGE_CHILDREN)
print(round(u.ru_utime + u.ru_stime, 3))
EOF
}

for try in 1 2 3; do
	few=$(used "$cpus") && many=$(used $((4 * cpus))) || exit 1
	echo "$cpus vCPUs $few s, $((4 * cpus)) vCPUs $many s of host CPU"
	python3 -c "import sys; sys.exit(not $many <= 1.3 * $few)" && exit 0
done
echo "more than 1.3 times"
exit 1
