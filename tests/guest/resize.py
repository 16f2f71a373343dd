# SPDX-License-Identifier: Apache-2.0
"""resize.py CONSOLE COMMAND …: see resize.sh."""
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import threading
import time


def resize(fd, rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


terminal = bytearray()


def drain(fd):
    try:
        while chunk := os.read(fd, 4096):
            terminal.extend(chunk)
    except OSError:
        pass


def fail(why, text):
    sys.exit(f"{why}; the console's end: {text[-1500:]}; the terminal's: {terminal[-500:].decode(errors='replace')}")


def expect(path, want):
    for _ in range(2000):
        text = open(path, errors="replace").read() if os.path.exists(path) else ""
        if want in text:
            return
        if os.waitpid(pid, os.WNOHANG)[0]:
            fail(f"doppel ended before {want!r}", text)
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    fail(f"no {want!r}", text)


console, command = sys.argv[1], sys.argv[2:]
pid, master = pty.fork()
if pid == 0:
    time.sleep(0.5)
    os.execv(command[0], command)
resize(master, 30, 100)
threading.Thread(target=drain, args=(master,), daemon=True).start()
expect(console, "size: 30 100")
resize(master, 41, 123)
expect(console, "size: 41 123")
os.kill(pid, signal.SIGTERM)
os.waitpid(pid, 0)
