# SPDX-License-Identifier: Apache-2.0
"""disk-root.py INIT SCRIPT COMMAND …: the user of disk-root.sh, at the guest's console; what it says goes to stdout."""
import os
import re
import select
import subprocess
import sys
import time

LIMIT = 1500 if os.environ.get("LONG") else 600
PROMPT = "root@doppel:"


class Guest:
    def __init__(self, command):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.text = ""

    def send(self, line):
        self.p.stdin.write(line.encode() + b"\n")
        self.p.stdin.flush()

    def fail(self, why):
        self.p.kill()
        sys.exit(f"{why}; the console's last lines:\n{self.text[-1500:]}")

    def expect(self, want):
        """What came before it; the rest stays."""
        end = time.monotonic() + LIMIT
        while want not in self.text:
            if time.monotonic() > end:
                self.fail(f"no {want!r} within {LIMIT} s")
            if not select.select([self.p.stdout], [], [], 1)[0]:
                continue
            chunk = self.p.stdout.read1(65536)
            if not chunk:
                self.fail(f"the guest ended before {want!r}")
            text = chunk.decode("utf-8", "replace").replace("\r", "")
            sys.stdout.write(text)
            self.text += text
        before, self.text = self.text.split(want, 1)
        return before

    def login(self, init):
        self.expect("login: ")
        if init == "/sbin/init":
            self.send("root")
        self.expect(PROMPT)

    def run(self, line):
        """Output of a command: behind the prompt, the echoed line (whose quotes the output lacks) and what the shell's
        line editor tells the terminal."""
        self.send(f"{line}; echo 'e'nd-of-it")
        return re.sub(r".*\x1b\[\?2004l\n?", "", self.expect("end-of-it"), flags=re.S).strip()


def main():
    init, script = sys.argv[1:3]
    g = Guest(sys.argv[3:])
    g.login(init)
    if script:
        for line in open(script):
            if line.strip() and not line.startswith("#"):
                out = g.run(line.strip()).splitlines()
                if not out or out[-1] != "ok":
                    g.fail(f"{line.strip()!r} did not end with ok")
    g.run("stty -echo cols 200")
    g.run("echo written >/proof; head -c 3000000 /dev/urandom >/data; cp -r /etc /copy; rm -rf /copy/systemd")
    before = g.run("sync; sha256sum </data")
    g.send("sync; echo b >/proc/sysrq-trigger")
    g.login(init)
    g.run("stty -echo cols 200")
    after = g.run("sha256sum </data")
    if len(before.split(" ")[0]) != 64 or before != after or g.run("cat /proof") != "written":
        g.fail(f"before the reset {before!r}, after it {after!r}")
    g.send("mount -o remount,ro / 2>/dev/null || { sync; echo u >/proc/sysrq-trigger; sleep 1; }; echo o >/proc/sysrq-trigger")
    try:
        sys.stdout.write(g.p.communicate(timeout=LIMIT)[0].decode("utf-8", "replace"))
    except subprocess.TimeoutExpired:
        g.fail("the guest did not switch off")
    sys.exit(f"doppel ended with status {g.p.returncode}" if g.p.returncode else 0)


main()
