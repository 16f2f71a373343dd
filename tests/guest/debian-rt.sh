# SPDX-License-Identifier: Apache-2.0
# Debian's real-time kernel: interrupt handlers are threads, locks sleep. Only in the long form.
. tests/guest/debian.inc
[ -n "$LONG" ] || { echo "in the long form"; exit 77; }
for ENGINE in interp translate; do
	for CPUS in 1 2 4; do
		boot_debian rt-amd64
	done
done
