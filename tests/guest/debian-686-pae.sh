# SPDX-License-Identifier: Apache-2.0
# Debian's 32-bit kernel with PAE; the long form with both engines and with 2 and 4 processors.
. tests/guest/debian.inc
ENGINE=translate
boot_debian 686-pae
[ -n "$LONG" ] || exit 0
for ENGINE in interp translate; do
	for CPUS in 1 2 4; do
		boot_debian 686-pae
	done
done
