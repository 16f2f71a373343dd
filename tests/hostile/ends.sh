# SPDX-License-Identifier: Apache-2.0
# How guests end, and that those which mean harm end in what hardware would do. Small multiboot guests, made here.
bad=0

# guest NAME: assembly on stdin.
guest() {
	{
		printf '.section .text\n.align 4\n.long 0x1badb002, 0, -0x1badb002\n.globl _start\n_start:\n'
		cat
	} >"$TMPDIR/$1.s"
	as --32 -o "$TMPDIR/$1.o" "$TMPDIR/$1.s" &&
		ld -m elf_i386 -Ttext 0x100000 -e _start -o "$TMPDIR/$1" "$TMPDIR/$1.o" || exit 1
}

# ends NAME STATUS TEXT-IN-OUTPUT OPTIONS …
ends() {
	name=$1 want=$2 text=$3
	shift 3
	timeout 120 "$DOPPEL" boot -q --kernel "$TMPDIR/$name" --memory 16M "$@" >"$TMPDIR/out" 2>&1 </dev/null
	status=$?
	if [ $status != "$want" ] || { [ -n "$text" ] && ! grep -qF -- "$text" "$TMPDIR/out"; }; then
		echo "$name $*: status $status, wanted $want and '$text'; it said:"
		tail -5 "$TMPDIR/out"
		bad=1
	fi
}

guest exit <<'E'
	mov $21, %eax
	out %eax, $0xf4
	hlt
E
guest triple <<'E'
	lidt zero
	ud2
zero:	.long 0, 0
E
guest spin <<'E'
	cli
1:	jmp 1b
E
guest stop <<'E'
	cli
	hlt
E
guest reset_kbc <<'E'
	mov $0xfe, %al
	out %al, $0x64
1:	hlt
	jmp 1b
E
guest reset_cf9 <<'E'
	mov $0xcf9, %dx
	mov $6, %al
	out %al, %dx
1:	hlt
	jmp 1b
E
# Prints a letter and resets, until the third time: CMOS keeps the count.
guest again <<'E'
	mov $'r', %al
	mov $0x3f8, %dx
	out %al, %dx
	mov $0x50, %al
	out %al, $0x70
	in $0x71, %al
	inc %al
	mov %al, %bl
	mov $0x50, %al
	out %al, $0x70
	mov %bl, %al
	out %al, $0x71
	cmp $3, %bl
	jae 1f
	mov $0xfe, %al
	out %al, $0x64
	hlt
1:	mov $0, %eax
	out %eax, $0xf4
	hlt
E
guest off <<'E'
	mov $0x604, %dx
	mov $0x2001, %ax
	out %ax, %dx
	hlt
E
# Every port but those that end or reset the machine (and those from which a wide access reaches them), all three widths, three values; then reads of all.
guest ports <<'E'
	xor %edx, %edx
1:	cmp $0x5d, %dx
	jb 4f
	cmp $0x64, %dx
	jbe 2f
	cmp $0x8f, %dx
	jb 4f
	cmp $0x92, %dx
	jbe 2f
	cmp $0xaf, %dx
	jb 4f
	cmp $0xb3, %dx
	jbe 2f
	cmp $0xf1, %dx
	jb 4f
	cmp $0xf7, %dx
	jbe 2f
	cmp $0x5fd, %dx
	jb 4f
	cmp $0x63f, %dx
	jbe 2f
	cmp $0xcf5, %dx
	jb 4f
	cmp $0xcff, %dx
	jbe 2f
4:	xor %eax, %eax
	out %al, %dx
	out %ax, %dx
	out %eax, %dx
	dec %eax
	out %al, %dx
	out %ax, %dx
	out %eax, %dx
	mov $0x55aa5aa5, %eax
	out %al, %dx
	out %ax, %dx
	out %eax, %dx
2:	cmp $0xf4, %dx
	je 6f
	in %dx, %al
	in %dx, %ax
	in %dx, %eax
6:	inc %edx
	cmp $0x10000, %edx
	jb 1b
	mov $1, %eax
	out %eax, $0xf4
	hlt
E
# Writes all over the addresses of no memory and of devices.
guest mmio <<'E'
	mov $0xc0000000, %edi
1:	mov %edi, (%edi)
	mov (%edi), %eax
	add $0x1ffc, %edi
	jnc 1b
	mov $2, %eax
	out %eax, $0xf4
	hlt
E
ends exit 43 "" --debug-exit
# Little of the host: a small stack is enough; memory that there is not is told with a figure that is not 0.
(ulimit -s 256 && ends exit 43 "" --debug-exit && exit $bad) || bad=1
(ulimit -f 1 && ends exit 125 "cannot make 640 KiB of guest memory" && exit $bad) || bad=1
ends triple 124 "triple fault"
ends triple 124 "rip" --engine interp
ends spin 125 "--timeout" --timeout 2
ends stop 125 "--timeout" --timeout 2
ends reset_kbc 0 "" --no-reboot
ends reset_cf9 0 "" --no-reboot
ends reset_kbc 125 "--timeout" --timeout 2
ends again 1 "rrr" --debug-exit
ends off 0 ""
ends ports 3 "" --debug-exit --timeout 60 --testdev --serial none
ends mmio 5 "" --debug-exit --timeout 60
ends exit 43 "wall_seconds" --debug-exit --stats=json
[ $bad = 0 ] && echo "all ended as they should"
exit $bad
