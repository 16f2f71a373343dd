# SPDX-License-Identifier: Apache-2.0
# Debian's 32-bit kernel without PAE: two levels of page tables, no NX. Only in the long form; it has no SMP.
. tests/guest/debian.inc
[ -n "$LONG" ] || { echo "in the long form"; exit 77; }
for ENGINE in interp translate; do
	boot_debian 686
done
