/* SPDX-License-Identifier: Apache-2.0
 * A multiboot entry that stays in 32-bit protected mode without paging; kit_run() enters a context at any ring, in
 * virtual-8086 mode or in another code segment, and comes back by whatever that context raises.
 */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	movl	$boot_stack_top, %esp
	movl	%ebx, multiboot_info
	lgdt	kit_gdtr
	ljmp	$0x08, $1f
1:	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%cr0, %eax
	andl	$~0x6000000c, %eax
	orl	$0x00000033, %eax	/* NE, ET, MP, PE */
	movl	%eax, %cr0
	call	kit_init
	call	guest_main
	pushl	%eax
	call	kit_exit

/* int kit_run(const struct kit_ctx *): the vector that ended it. Offsets: see kit.h. */
	.globl	kit_run
kit_run:
	pushl	%ebx
	pushl	%ebp
	pushl	%esi
	pushl	%edi
	pushfl
	movl	%esp, kit_recover_esp
	movl	24(%esp), %ebx
	testl	$0x20000, 52(%ebx)
	jnz	2f
	testl	$3, 48(%ebx)
	jnz	3f
	/* ring 0: IRET will not load the stack, so do it here and build the frame there */
	mov	60(%ebx), %ss
	movl	56(%ebx), %esp
	jmp	4f
2:	pushl	76(%ebx)
	pushl	72(%ebx)
	pushl	68(%ebx)
	pushl	64(%ebx)
3:	pushl	60(%ebx)
	pushl	56(%ebx)
4:	pushl	52(%ebx)
	pushl	48(%ebx)
	pushl	44(%ebx)
	pushl	28(%ebx)	/* ds */
	pushl	32(%ebx)
	pushl	36(%ebx)
	pushl	40(%ebx)
	pushl	0(%ebx)		/* eax, ecx, edx, ebx, -, ebp, esi, edi: as PUSHA leaves them */
	pushl	4(%ebx)
	pushl	8(%ebx)
	pushl	12(%ebx)
	pushl	$0
	pushl	16(%ebx)
	pushl	20(%ebx)
	pushl	24(%ebx)
	popal
	popl	%gs
	popl	%fs
	popl	%es
	popl	%ds
	iretl

	.altmacro
	.macro	STUB n
	.align	16
	.if	\n == 8 || (\n >= 10 && \n <= 14) || \n == 17 || \n == 21
	nop
	nop
	.else
	pushl	$0
	.endif
	pushl	$\n
	jmp	trap_common
	.endm
	.align	16
	.globl	kit_stubs
kit_stubs:
	.set	i, 0
	.rept	256
	STUB	%i
	.set	i, i + 1
	.endr

/* The frame is copied away through SS, whatever that is now; then all segments are flat. */
trap_common:
	cld
	pushl	%ds
	pushl	%es
	pushl	%fs
	pushl	%gs
	pushal
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	mov	%ss, kit_trap_ss
	movl	%esp, kit_trap_esp
	movl	%esp, %esi
	larl	kit_trap_ss, %eax
	testl	$0x400000, %eax
	jnz	1f
	movzwl	%si, %esi
1:	movl	$kit_last, %edi
	movl	$23, %ecx
2:	movl	%ss:(%esi), %eax
	movl	%eax, (%edi)
	addl	$4, %esi
	addl	$4, %edi
	decl	%ecx
	jnz	2b
	movl	$0x10, %eax
	movl	%eax, %ss
	movl	$trap_work_top, %esp
	call	kit_trap
	testl	%eax, %eax
	jns	kit_unwind
	lss	kit_trap_esp, %esp
	popal
	popl	%gs
	popl	%fs
	popl	%es
	popl	%ds
	addl	$8, %esp
	iretl

	.globl	kit_unwind
kit_unwind:
	movl	$0x10, %ecx
	movl	%ecx, %ds
	movl	%ecx, %es
	movl	%ecx, %ss
	movl	%ecx, %fs
	movl	%ecx, %gs
	movl	kit_recover_esp, %esp
	movl	$0, kit_recover_esp
	popfl
	popl	%edi
	popl	%esi
	popl	%ebp
	popl	%ebx
	ret

/* #DF arrives through a task gate, so that it can be seen whatever the stack is. */
	.globl	kit_df_entry
kit_df_entry:
	popl	kit_df_error
	movl	$0x10, %eax
	call	kit_df
	movl	$8, %eax
	jmp	kit_unwind

	.data
	.align	16
	.globl	kit_gdt
kit_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* 08 code, ring 0 */
	.quad	0x00cf93000000ffff	/* 10 data, ring 0 */
	.quad	0x00cffb000000ffff	/* 18 code, ring 3 (1b) */
	.quad	0x00cff3000000ffff	/* 20 data, ring 3 (23) */
	.quad	0x00cfbb000000ffff	/* 28 code, ring 1 (29) */
	.quad	0x00cfb3000000ffff	/* 30 data, ring 1 (31) */
	.quad	0x00cfdb000000ffff	/* 38 code, ring 2 (3a) */
	.quad	0x00cfd3000000ffff	/* 40 data, ring 2 (42) */
	.quad	0			/* 48 TSS */
	.quad	0			/* 50 TSS of #DF */
	.quad	0x000f9b000000ffff	/* 58 code, 16 bits, 1 MiB */
	.quad	0x000093000000ffff	/* 60 data, 16 bits, 64 KiB */
	.quad	0			/* 68 LDT */
	.fill	50, 8, 0		/* 70.. free for tests */
kit_gdt_end:
	.globl	kit_gdtr
kit_gdtr:
	.word	kit_gdt_end - kit_gdt - 1
	.long	kit_gdt
	.globl	kit_recover_esp, kit_df_error, multiboot_info
	.align	4
kit_recover_esp: .long 0
kit_df_error:	.long 0
multiboot_info:	.long 0
kit_trap_esp:	.long 0
kit_trap_ss:	.long 0

	.bss
	.align	4096
	.skip	16384
	.globl	boot_stack_top
boot_stack_top:
	.skip	16384
trap_work_top:
	.section .note.GNU-stack, "", @progbits
