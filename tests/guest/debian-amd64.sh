# SPDX-License-Identifier: Apache-2.0
# Debian's stock generic kernel boots to init, runs a script of commands, and powers off; the long form under each engine.
. tests/guest/debian.inc
boot_debian amd64
[ -n "$LONG" ] || exit 0
ENGINE=interp
boot_debian amd64
