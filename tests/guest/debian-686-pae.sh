# SPDX-License-Identifier: Apache-2.0
# Debian's 32-bit kernel with PAE; only in the long form, with both engines and 1, 2 and 4 processors.
. tests/guest/debian.inc
[ -n "$LONG" ] || { echo "in the long form"; exit 77; }
for ENGINE in interp translate; do
	for CPUS in 1 2 4; do
		boot_debian 686-pae
	done
done
