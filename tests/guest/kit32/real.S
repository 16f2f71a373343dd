/* SPDX-License-Identifier: Apache-2.0
 * To real mode and back. The part between real_begin and real_end is copied to REAL_BASE; real_run() then takes the
 * registers from real_regs in low memory, and any vector of the IVT brings them back there.
 */
#include "kit32/real.h"
#define LOW(x) (x - real_begin + REAL_BASE)

	.text
	.code32
	.globl	real_run, real_begin, real_end, real_common
real_run:
	pushl	%ebx
	pushl	%ebp
	pushl	%esi
	pushl	%edi
	movl	%esp, real_esp
	movl	$LOW(1f), %eax
	jmp	*%eax
real_begin:
1:	lidt	LOW(real_idtr)
	ljmp	$0x58, $LOW(2f)
	.code16
2:	movw	$0x60, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	%ax, %gs
	movw	REAL_REGS + 60, %ax	/* the selector whose limit FS keeps */
	movw	%ax, %fs
	movl	%cr0, %eax
	andl	$~1, %eax
	movl	%eax, %cr0
	ljmp	$0, $LOW(3f)
3:	xorw	%ax, %ax
	movw	%ax, %ds
	movw	REAL_REGS + 48, %ss
	movl	REAL_REGS + 28, %esp
	pushw	REAL_REGS + 56
	pushw	REAL_REGS + 52
	pushw	REAL_REGS + 54
	movl	REAL_REGS + 0, %eax
	movl	REAL_REGS + 4, %ecx
	movl	REAL_REGS + 8, %edx
	movl	REAL_REGS + 12, %ebx
	movl	REAL_REGS + 16, %ebp
	movl	REAL_REGS + 20, %esi
	movl	REAL_REGS + 24, %edi
	movw	REAL_REGS + 42, %es
	movw	REAL_REGS + 44, %fs
	movw	REAL_REGS + 46, %gs
	movw	REAL_REGS + 40, %ds
	iretw
real_common:			/* the vector lies on the stack */
	movw	%ds, %cs:REAL_REGS + 40
	pushw	%cs
	popw	%ds
	movl	%eax, REAL_REGS + 0
	movl	%ecx, REAL_REGS + 4
	movl	%edx, REAL_REGS + 8
	movl	%ebx, REAL_REGS + 12
	movl	%ebp, REAL_REGS + 16
	movl	%esi, REAL_REGS + 20
	movl	%edi, REAL_REGS + 24
	movw	%es, REAL_REGS + 42
	movw	%fs, REAL_REGS + 44
	movw	%gs, REAL_REGS + 46
	movw	%ss, REAL_REGS + 48
	popw	REAL_REGS + 58
	popw	REAL_REGS + 54
	popw	REAL_REGS + 52
	popw	REAL_REGS + 56
	movl	%esp, REAL_REGS + 28
	data32 lgdt LOW(real_gdtr)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$0x08, $real_back
	.code32
real_back:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	movl	real_esp, %esp
	lidt	kit_idtr
	popl	%edi
	popl	%esi
	popl	%ebp
	popl	%ebx
	ret
	.globl	real_idtr, real_gdtr
real_idtr: .word 0x3ff
	.long	0
real_gdtr: .word 0x1ff
	.long	kit_gdt
real_end:
	.data
real_esp: .long 0
	.section .note.GNU-stack, "", @progbits
