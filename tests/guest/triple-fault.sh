#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A triple fault ends the machine, as a PC's would reset: boot says so by its status. SDM 3A 6.15 #DF.
set -u
out=$("$DOPPEL" boot -q --kernel "$BUILD/tests/guest/events.elf" --append triple --debug-exit --timeout 60 2>&1)
status=$?
echo "$out"
[ "$status" = 124 ] || { echo "status $status, want 124"; exit 1; }
