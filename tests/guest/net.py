# SPDX-License-Identifier: Apache-2.0
"""The host's side of tests/guest/net.sh: net.py DIR TCP UDP serves files of DIR on a port of its own, whose number it
writes to DIR/port, and one that it only listens at (DIR/closed). When DIR/begin is there, it sends bytes through the
forwarded ports TCP and UDP and writes what came back; then the guest finds the file `forwarded`."""
import functools, hashlib, http.server, os, socket, sys, threading, time

where, tcp, udp = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def tell(name, text):
    with open(os.path.join(where, name + ".part"), "w") as f:
        f.write(text)
    os.rename(os.path.join(where, name + ".part"), os.path.join(where, name))


def through_tcp():
    data = os.urandom(3000000)
    with socket.create_connection(("127.0.0.1", tcp), 20) as s:
        threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
        back = bytearray()
        while len(back) < len(data):
            part = s.recv(1 << 16)
            if not part:
                break
            back += part
    return "ok" if bytes(back) == data else "%d of %d bytes" % (len(back), len(data))


def through_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        for _ in range(10):
            s.sendto(b"echo", ("127.0.0.1", udp))
            try:
                return "ok" if s.recv(100) == b"echo" else "other bytes"
            except OSError:
                pass
    return "no answer"


web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=where))
threading.Thread(target=web.serve_forever, daemon=True).start()
closed = socket.create_server(("127.0.0.1", 0))
reached = []
threading.Thread(target=lambda: reached.append(closed.accept()), daemon=True).start()
with open(os.path.join(where, "bytes"), "wb") as f:
    data = os.urandom(5000000)
    f.write(data)
tell("sum", hashlib.md5(data).hexdigest())
tell("closed", str(closed.getsockname()[1]))
tell("port", str(web.server_address[1]))
while not os.path.exists(os.path.join(where, "begin")):
    time.sleep(0.05)
tell("tcp", through_tcp())
tell("udp", through_udp())
tell("reached", "yes" if reached else "no")
tell("forwarded", "done")
time.sleep(60)
