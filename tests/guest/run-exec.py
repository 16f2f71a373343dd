#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run-exec.py DOPPEL NAME: signals and a terminal of doppel exec."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

DOPPEL, NAME = sys.argv[1:]
LIMIT = 60


def fail(text):
    print(text)
    sys.exit(1)


def read_until(fd, want):
    seen, end = b"", time.monotonic() + LIMIT
    while want not in seen:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            fail(f"waited for {want!r}, saw {seen[-500:]!r}")
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        if not data:
            fail(f"ended before {want!r}, saw {seen[-500:]!r}")
        seen += data
    return seen


def signals():
    script = "trap 'echo got usr1' USR1; trap 'echo got int; kill -TERM $$' INT; echo ready; while :; do sleep 0.05; done"
    p = subprocess.Popen([DOPPEL, "exec", NAME, "--", "bash", "-c", script], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, bufsize=0)
    out = p.stdout.fileno()
    read_until(out, b"ready\n")
    p.send_signal(signal.SIGUSR1)
    read_until(out, b"got usr1\n")
    p.send_signal(signal.SIGINT)
    read_until(out, b"got int\n")
    if p.wait(LIMIT) != 128 + signal.SIGTERM:
        fail(f"status {p.returncode} of what SIGTERM ended")


def terminal():
    pid, fd = pty.fork()
    if not pid:
        os.execv(DOPPEL, [DOPPEL, "exec", "-e", "PS1=prompt$ ", NAME, "--", "bash", "--norc", "-i"])
    read_until(fd, b"prompt$ ")
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    os.write(fd, b"test -t 0 && test -t 2 && tty && echo is o''ne\n")
    if b"/dev/pts/" not in read_until(fd, b"is one\r\n"):
        fail("no terminal")
    os.write(fd, b"stty size; echo siz''ed\n")
    if b"33 99" not in read_until(fd, b"sized\r\n"):
        fail("the size did not pass")
    os.write(fd, b"sleep 1000\n")
    read_until(fd, b"sleep 1000\r\n")
    time.sleep(0.5)
    os.write(fd, b"\x03")
    read_until(fd, b"prompt$ ")
    os.write(fd, b"exit 5\n")
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 5:
        fail(f"status {os.waitstatus_to_exitcode(status)} of a shell on a terminal")


def shell():
    """Its own terminal goes away: the shell there hears of it."""
    pid, fd = pty.fork()
    if not pid:
        os.execv(DOPPEL, [DOPPEL, "exec", NAME])
    os.write(fd, b"echo is $$ rea''dy\n")
    there = re.search(rb"is (\d+) ready\r\n", read_until(fd, b" ready\r\n"))[1].decode()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    end = time.monotonic() + LIMIT
    while not subprocess.run([DOPPEL, "exec", NAME, "--", "kill", "-0", there], stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > end:
            fail("a shell did not hear that its terminal has gone")
        time.sleep(0.1)


signal.signal(signal.SIGINT, signal.SIG_DFL)
signals()
terminal()
shell()
