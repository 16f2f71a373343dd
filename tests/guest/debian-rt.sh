# SPDX-License-Identifier: Apache-2.0
# Debian's real-time kernel: interrupt handlers are threads, locks sleep. The long form with both engines and 1, 2 and 4
# processors.
. tests/guest/debian.inc
[ -z "$SHORT" ] || { echo "the sanitizers have other kernels"; exit 77; }
ENGINE=translate
CPUS=2
boot_debian rt-amd64
[ -n "$LONG" ] || exit 0
for ENGINE in interp translate; do
	for CPUS in 1 2 4; do
		boot_debian rt-amd64
	done
done
