#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run-net.py DOPPEL: a command with a network and two processors. It asks a server on this host's loopback, and answers
a connection to a port of this host. Nothing leaves the host."""
import socket
import subprocess
import sys
import threading
import time

LIMIT = 100
GUEST = """
import os, socket, sys
asked = socket.create_connection(("10.0.2.2", int(sys.argv[1])), 30)
asked.sendall(b"question")
asked.shutdown(socket.SHUT_WR)
print("asked:", asked.makefile().read())
door = socket.create_server(("", 7000))
print("cpus:", os.cpu_count(), flush=True)
visitor, _ = door.accept()
visitor.sendall(visitor.recv(100).upper())
visitor.close()
"""


def serve(server):
    while True:
        s, _ = server.accept()
        with s:
            s.settimeout(LIMIT)
            if s.recv(100) == b"question":
                s.sendall(b"answer")


def visit(port):
    """What the guest answers; a connection that came too early ends at once."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.sendall(b"hello")
                back = s.recv(100)
            if back:
                return back
        except OSError:
            pass
        time.sleep(0.2)
    return None


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def main():
    server, port = socket.create_server(("127.0.0.1", 0)), free_port()
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    p = subprocess.Popen([sys.argv[1], "run", "--timeout", str(LIMIT), "--cpus", "2", "--net", "user,host-loopback",
                          "-p", f"{port}:7000", "--", "python3", "-c", GUEST, str(server.getsockname()[1])],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    said = [p.stdout.readline(), p.stdout.readline()]
    back = visit(port) if said[1] else None
    status = p.wait(LIMIT)
    if said != ["asked: answer\n", "cpus: 2\n"] or back != b"HELLO" or status:
        sys.exit(f"the guest said {said}, answered {back}; status {status}")
    print("asked, answered, two processors")


main()
