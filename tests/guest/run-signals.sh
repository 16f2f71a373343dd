# SPDX-License-Identifier: Apache-2.0
# doppel run: signals reach the command, which may handle them; its end by a signal is doppel's status; a terminal is a
# terminal there; and a time limit.
. tests/guest/run.inc
exec python3 tests/guest/run.py "$DOPPEL"
