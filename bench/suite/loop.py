# SPDX-License-Identifier: Apache-2.0
d = {}
x = 1
for i in range(400000):
    x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    d[x & 4095] = d.get(x & 4095, 0) + i
assert len(d) == 4096
