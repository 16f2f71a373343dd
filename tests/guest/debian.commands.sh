# SPDX-License-Identifier: Apache-2.0
# Runs in the guest; tests/guest/debian.inc knows what must come out.
set -u
uname -srm | sed 's/^/uname: /'
sum=0; i=1
while [ $i -le 100 ]; do sum=$((sum + i)); i=$((i + 1)); done
echo "sum: $sum"
echo "sha256: $(printf test | sha256sum)"
echo "float: $(awk 'BEGIN { printf "%.5f", 355 / 113 }')"
echo "pipe: $(seq 1000 | sort -r | tac | wc -l)"
n=0; i=0
while [ $i -lt 100 ]; do (exit 7); [ $? = 7 ] && n=$((n + 1)); i=$((i + 1)); done
echo "fork: $n children"
dd if=/dev/urandom of=/tmp/a bs=64k count=16 2>/dev/null
gzip -c /tmp/a | gunzip >/tmp/b && cmp /tmp/a /tmp/b && echo "files: ok"
trap 'echo "signals: ok"' USR1
kill -USR1 $$
sleep 1
[ -t 0 ] && stty | grep -q 'speed .* baud' && echo "tty: ok"
cat /proc/cpuinfo /proc/interrupts /proc/meminfo

echo "script: done"
