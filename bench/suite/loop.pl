# SPDX-License-Identifier: Apache-2.0
my ($x, %h) = (1);
for my $i (1 .. 400000) {
	$x = ($x * 1103515245 + 12345) & 0x7fffffff;
	$h{$x & 4095} += $i;
}
die unless keys(%h) == 4096;
