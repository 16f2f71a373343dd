#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py DOPPEL: what needs somebody at the other end: signals, terminals, when the end of input passes."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

DOPPEL = sys.argv[1]
LIMIT = 100


def fail(text):
    print(text)
    sys.exit(1)


def read_until(fd, want, seen=b""):
    """Reads until `want` is there; what was read."""
    end = time.monotonic() + LIMIT
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
    script = "n=0; trap 'n=$((n+1)); echo got usr1' USR1; trap 'n=$((n+1)); echo got int' INT; echo ready; " \
             "until [ $n = 2 ]; do sleep 0.05; done; cat; echo end; kill -TERM $$"
    p = subprocess.Popen([DOPPEL, "run", "--timeout", str(LIMIT), "--", "bash", "-c", script],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    out = p.stdout.fileno()
    read_until(out, b"ready\n")
    p.send_signal(signal.SIGUSR1)
    read_until(out, b"got usr1\n")
    p.send_signal(signal.SIGINT)
    read_until(out, b"got int\n")
    p.stdin.write(b"x\nyz\n")
    read_until(out, b"yz\n")
    p.stdin.close()
    read_until(out, b"end\n")
    if p.wait(LIMIT) != 128 + signal.SIGTERM:
        fail(f"a command that SIGTERM ended: status {p.returncode}")


def terminal():
    pid, fd = pty.fork()
    if not pid:
        os.environ["PS1"] = "prompt$ "
        os.execv(DOPPEL, [DOPPEL, "run", "--timeout", str(LIMIT), "--", "bash", "--norc", "-i"])
    before = termios.tcgetattr(fd)
    read_until(fd, b"prompt$ ")
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    os.write(fd, b"tty; test -t 2 && echo err is o''ne\n")
    seen = read_until(fd, b"err is one\r\n")
    if b"/dev/pts/" not in seen:
        fail(f"no terminal: {seen!r}")
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
    return before


def shell():
    """No command, on a terminal: the user's shell as a login shell."""
    pid, fd = pty.fork()
    if not pid:
        os.environ.update(PS1="prompt$ ", SHELL="/bin/sh")
        os.execv(DOPPEL, [DOPPEL, "run", "--timeout", str(LIMIT), "--no-share"])
    os.write(fd, b"echo name is $0, si''ze; stty -a | head -n 1\n")
    if b"name is -sh, size" not in read_until(fd, b"rows"):
        fail("no login shell")
    os.write(fd, b"kill -HUP $$ || exit 9\n")
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 128 + signal.SIGHUP:
        fail(f"status {os.waitstatus_to_exitcode(status)} of a shell that SIGHUP ended")


def limit():
    p = subprocess.run([DOPPEL, "run", "--timeout", "1", "--", "sleep", "100"], stdin=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, timeout=LIMIT)
    if p.returncode != 125 or b"--timeout" not in p.stderr:
        fail(f"--timeout: status {p.returncode}, {p.stderr!r}")


signal.signal(signal.SIGINT, signal.SIG_DFL)  # in the background it may be ignored, and so it would stay
signals()
terminal()
shell()
limit()
print("signals, two terminals, a limit")
