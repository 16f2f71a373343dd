# SPDX-License-Identifier: Apache-2.0
# Debian's cloud kernel with 4 processors, more than most hosts of this test have; the long form also with 2 and 8, and 4
# several times, because a lost wake-up does not show each time.
. tests/guest/debian.inc
CPUS=4
boot_debian cloud-amd64
[ -n "$LONG" ] || exit 0
ENGINE=interp
boot_debian cloud-amd64
ENGINE=auto
for CPUS in 2 8 4 4 4 4 4 4 4 4 4; do
	boot_debian cloud-amd64
done
