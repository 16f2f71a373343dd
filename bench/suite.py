# SPDX-License-Identifier: Apache-2.0
"""The suite of ordinary work: who runs it, how, and what its lines on the console mean."""
import os
import shutil
import subprocess

ROWS = "sha256 md5 xz gzip python perl sqlite gcc forkexec syscalls pipe find".split()
COMPUTE, KERNEL = ROWS[:8], ROWS[8:]
HERE = os.path.dirname(os.path.abspath(__file__))


def payload(work, rows, scale):
    """A small disk with the suite on it, and the same as a directory."""
    tree, image = os.path.join(work, "suite"), os.path.join(work, "suite.ext4")
    if not os.path.exists(tree):
        shutil.copytree(os.path.join(HERE, "suite"), tree)
    with open(os.path.join(tree, "config"), "w") as f:
        f.write("rows=%s\nscale=%d\n" % (rows, scale))
    if os.path.exists(image):
        os.unlink(image)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image, "8M"], check=True, stdout=subprocess.DEVNULL)
    return tree, image


def make_root(guest, suite, missing, who):
    """True if the root is there; else why not goes to `missing`."""
    p = subprocess.run([os.path.join(HERE, "../tools/make-root"), guest, suite], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    if p.returncode:
        missing.append("%s: %s" % (who, (p.stdout.strip().splitlines() or ["make-root failed"])[-1]))
    return p.returncode == 0


def native(guest, tree):
    """In the root's tree, in mounts of its own, on one processor as a guest has one."""
    root = os.path.join(guest, "bookworm.root")
    script = ("mount --make-rprivate / && mount -t proc proc %(r)s/proc && mount -t devtmpfs dev %(r)s/dev && "
              "mount -t tmpfs tmp %(r)s/tmp && mount --bind %(t)s %(r)s/mnt && "
              "exec taskset -c 1 env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root chroot %(r)s sh /mnt/run") % {"r": root, "t": tree}
    return ["unshare", "-m", "sh", "-c", script]


def qemu10(guest, work, files):
    """Debian 13's QEMU in its own root; what it reads is shown to it under /mnt."""
    root = os.path.join(guest, "trixie.root")
    script = ("mount --make-rprivate / && mount --bind %(w)s %(r)s/mnt && mount --bind %(g)s %(r)s/media && mount -t devtmpfs dev %(r)s/dev && "
              "exec chroot %(r)s qemu-system-x86_64 \"$@\"") % {"r": root, "w": work, "g": guest}
    return ["unshare", "-m", "sh", "-c", script, "qemu"] + [f.replace(work, "/mnt").replace(guest, "/media") for f in files]


def uml(guest, work, missing):
    """The kernel of Debian's user-mode-linux, unpacked and not installed; None, and why."""
    kernel = os.path.join(guest, "uml/usr/bin/linux.uml")
    if not os.path.exists(kernel):
        p = subprocess.run("mkdir -p uml && cd uml && apt-get download -q -o APT::Sandbox::User=root user-mode-linux && "
                           "dpkg-deb -x user-mode-linux_*.deb . && rm user-mode-linux_*.deb", shell=True, cwd=guest,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if p.returncode:
            missing.append("uml: package user-mode-linux: %s" % (p.stdout.strip().splitlines() or ["not fetched"])[-1])
            return None
    cow = os.path.join(work, "uml.cow")
    if os.path.exists(cow):
        os.unlink(cow)
    return ["taskset", "-c", "1", kernel, "mem=1G", "ubd0=%s,%s" % (cow, os.path.join(guest, "bookworm.ext4")),
            "ubd1=%s" % os.path.join(work, "suite.ext4"), "root=/dev/ubda", "rw", "init=/sbin/init.small", "bench=/dev/ubdb",
            "con=null", "con0=fd:0,fd:1", "quiet"]


def qemu_arguments(guest, work, append):
    return ["-accel", "tcg", "-cpu", "max", "-m", "1024", "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
            "-kernel", guest + "/vmlinuz", "-initrd", guest + "/root.gz", "-append", append,
            "-drive", "file=%s/bookworm.ext4,format=raw,if=virtio,snapshot=on" % guest,
            "-drive", "file=%s/suite.ext4,format=raw,if=virtio,snapshot=on" % work]


def warm(*paths):
    """Files into the host's page cache: the first contender's cold rows are as cold as the others'."""
    for path in paths:
        with open(path, "rb") as f:
            while f.read(1 << 20):
                pass


def contenders(args, work, missing):
    """Name to command, each of which runs the suite once and prints its lines."""
    guest, found = os.path.abspath(os.path.join(args.build, "guest")), {}
    if not make_root(guest, "bookworm", missing, "the suite"):
        return found
    tree, image = payload(work, args.suite_rows, args.scale)
    warm(os.path.join(guest, "bookworm.ext4"), image)
    append = "console=ttyS0 quiet root=/dev/vda init=/sbin/init.small bench=/dev/vdb"
    if os.geteuid() == 0:
        found["native"] = native(guest, tree)
    else:
        missing.append("native: chroot needs root")
    for engine in args.engines:
        found["doppel " + engine] = [
            os.path.join(args.build, "doppel"), "boot", "-q", "--engine", engine, "--memory", "1G", "--kernel", guest + "/vmlinuz",
            "--initrd", guest + "/root.gz", "--append", append, "--disk", guest + "/bookworm.ext4,overlay", "--disk", image + ",overlay"]
    qemu = shutil.which("qemu-system-x86_64")
    if "qemu" in args.peers and qemu:
        found["qemu 12"] = [qemu] + qemu_arguments(guest, work, append)
    elif "qemu" in args.peers:
        missing.append("Debian 12's qemu: package qemu-system-x86")
    if "qemu13" in args.peers and os.geteuid() == 0 and make_root(guest, "trixie", missing, "Debian 13's qemu"):
        found["qemu 13"] = qemu10(guest, work, qemu_arguments(guest, work, append))
    if "uml" in args.peers:
        command = uml(guest, work, missing)
        if command:
            found["uml"] = command
    return found
