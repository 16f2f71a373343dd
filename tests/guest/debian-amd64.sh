# SPDX-License-Identifier: Apache-2.0
# Debian's stock generic kernel boots to init, runs a script of commands, and powers off.
. tests/guest/debian.inc
boot_debian amd64
