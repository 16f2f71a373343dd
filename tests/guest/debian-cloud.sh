# SPDX-License-Identifier: Apache-2.0
# Debian's stock cloud kernel boots to init, runs a script of commands, and powers off: interpreted.
. tests/guest/debian.inc
ENGINE=interp
boot_debian cloud-amd64
