# SPDX-License-Identifier: Apache-2.0
# Debian's stock generic kernel boots to init, runs a script of commands, and powers off. Under the sanitizers, in the short
# form, by the translator, whose code is as fast as ever there: the cloud kernel's boot is interpreted.
. tests/guest/debian.inc
[ -z "$SHORT" ] || ENGINE=translate
boot_debian amd64
