# SPDX-License-Identifier: Apache-2.0
# Debian's stock cloud kernel boots to init, runs a script of commands, and powers off: interpreted. tests/guest/debian-smp.sh
# has it with more processors; the long form also runs it under the translator with one.
. tests/guest/debian.inc
ENGINE=interp
boot_debian cloud-amd64
[ -n "$LONG" ] || exit 0
ENGINE=translate
boot_debian cloud-amd64
