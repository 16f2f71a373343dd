; SPDX-License-Identifier: Apache-2.0
; A boot sector for tests/guest/snapshot-bios.sh: about twice a second it reads the disk's second sector through the BIOS,
; and says on COM1 which turn it is and whether the sector was what it should be. After 12 turns it ends the machine.
	org	0x7c00
	bits	16
start:	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	sp, 0x7c00
	mov	[drive], dl
	sti
	call	wait_ticks		; SeaBIOS is still writing its own line
	mov	bx, line
	call	say
turn:	mov	si, packet
	mov	dl, [drive]
	mov	ah, 0x42		; extended read
	mov	dword [0x8000], 0
	int	0x13
	mov	bx, lost
	jc	.said
	cmp	dword [0x8000], 'SAVE'
	jne	.said
	mov	bx, right
.said:	call	say
	mov	al, [count]
	add	al, 'a'
	call	put
	mov	bx, line
	call	say
	call	wait_ticks
	inc	byte [count]
	cmp	byte [count], 12
	jb	turn
	mov	bx, over
	call	say
	mov	al, 0
	out	0xf4, al		; --debug-exit: status 1
	hlt

wait_ticks:
	mov	ah, 0
	int	0x1a			; CX:DX, 18.2 a second
	mov	bx, dx
.more:	hlt				; until a timer interrupt
	push	bx
	mov	ah, 0
	int	0x1a
	pop	bx
	sub	dx, bx
	cmp	dx, 9
	jb	.more
	ret

say:	mov	al, [bx]
	inc	bx
	test	al, al
	jz	.done
	call	put
	jmp	say
.done:	ret

put:	push	dx
	push	ax
	mov	dx, 0x3fd
.busy:	in	al, dx
	test	al, 0x20
	jz	.busy
	pop	ax
	mov	dx, 0x3f8
	out	dx, al
	pop	dx
	ret

right	db	'right ', 0
lost	db	'lost ', 0
line	db	13, 10, 0
over	db	'turns: over', 13, 10, 0
count	db	0
drive	db	0
	align	4
packet	db	16, 0
	dw	1
	dw	0x8000, 0
	dq	1
	times	510 - ($ - $$) db 0
	dw	0xaa55
	db	'SAVE'
	times	1024 - ($ - $$) db 0
