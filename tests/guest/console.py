# SPDX-License-Identifier: Apache-2.0
"""console.py DOPPEL KERNEL INITRAMFS: see console.sh."""
import os
import pty
import select
import signal
import sys
import termios
import time


class Console:
    """doppel on a terminal of its own."""

    def __init__(self, *more):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        doppel, kernel, initrd = sys.argv[1:4]
        command = [doppel, "boot", "--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0", *more]
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.login_tty(self.slave) if hasattr(os, "login_tty") else self.take(self.slave)
            os.execv(command[0], command)

    @staticmethod
    def take(fd):
        import fcntl

        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
        for target in 0, 1, 2:
            os.dup2(fd, target)

    def send(self, text):
        os.write(self.master, text.encode())

    def expect(self, want, limit=400):
        end = time.monotonic() + limit
        while want not in self.text:
            if time.monotonic() > end or not select.select([self.master], [], [], 5)[0] and time.monotonic() > end:
                sys.exit(f"no {want!r} within {limit} s; the console's last lines:\n{self.text[-1500:]}")
            if select.select([self.master], [], [], 0)[0]:
                self.text += os.read(self.master, 4096).decode("utf-8", "replace")
        self.text = self.text.split(want, 1)[1]

    def end(self, want, what):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 4096).decode("utf-8", "replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
        else:
            sys.exit(f"{what}: did not end")
        status = os.waitstatus_to_exitcode(status)
        if status not in (want if isinstance(want, tuple) else (want,)):
            sys.exit(f"{what}: status {status}, not {want}:\n{self.text[-1500:]}")
        if termios.tcgetattr(self.slave) != self.before:
            sys.exit(f"{what}: the terminal was not restored")
        print(f"{what}: ok", flush=True)
        os.close(self.master)
        os.close(self.slave)


def raw(c):
    """Waits until the terminal is raw: doppel has it."""
    end = time.monotonic() + 60
    while termios.tcgetattr(c.slave) == c.before:
        if time.monotonic() > end:
            sys.exit("the terminal did not become raw")
        time.sleep(0.05)


def shell():
    c = Console()
    c.expect("/root # ")
    c.send("echo $((6 * 7)) answers\n")
    c.expect("42 answers")
    c.expect("/root # ")
    c.send("sleep 1000\n")
    time.sleep(1)
    c.send("\x03")
    c.expect("/root # ", 30)
    c.send("sleep 1000 &\n")
    c.expect("/root # ", 30)
    c.send("jobs; kill %1\n")
    c.expect("Running", 30)
    c.expect("/root # ", 30)
    for key, answer in ("h", "x quit"), ("t", "instructions"), ("d", "not available"), ("c", "doppel monitor"):
        c.send("\x01" + key)
        c.expect(answer, 30)
    c.send("cat -v\n\x01a\n")
    c.expect("^A", 30)
    c.send("\x03")
    c.expect("/root # ", 30)
    c.send("poweroff\n")
    c.end(0, "poweroff")


def leave(what, want, act):
    c = Console("--timeout", "120")
    raw(c)
    time.sleep(1)
    act(c)
    c.end(want, what)


leave("Ctrl-a x", 0, lambda c: c.send("\x01x"))
leave("SIGTERM", 128 + signal.SIGTERM, lambda c: os.kill(c.pid, signal.SIGTERM))
for number in signal.SIGABRT, signal.SIGSEGV:
    # 1 is what a sanitizer, which has the signal after us, ends with.
    leave(number.name, (-number, 1), lambda c: os.kill(c.pid, number))
shell()
