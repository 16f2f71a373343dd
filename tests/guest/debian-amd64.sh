# SPDX-License-Identifier: Apache-2.0
# Debian's stock generic kernel boots to init, runs a script of commands, and powers off; the long form under each engine
# with 1, 2 and 4 processors.
. tests/guest/debian.inc
boot_debian amd64
[ -n "$LONG" ] || exit 0
for ENGINE in translate interp; do
	for CPUS in 1 2 4; do
		boot_debian amd64
	done
done
