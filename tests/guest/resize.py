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


def drain(fd):
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass


def expect(path, want):
    for _ in range(2000):
        text = open(path, errors="replace").read() if os.path.exists(path) else ""
        if want in text:
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    sys.exit(f"no {want!r}; the console's end: {text[-1500:]}")


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
