/* SPDX-License-Identifier: Apache-2.0
 * A multiboot entry that leaves the loader's protected mode for 64-bit mode, with the first 4 GiB mapped one to one by
 * 2 MiB pages (supervisor, writable, executable), and calls guest_main(). Multiboot 1 specification, 3.2.
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
	movl	%eax, multiboot_magic
	/* one PML4, one PDPT, four page directories */
	movl	$kit_pdpt, %eax
	orl	$7, %eax
	movl	%eax, kit_pml4
	movl	$kit_pd, %eax
	orl	$7, %eax
	xorl	%ecx, %ecx
1:	movl	%eax, kit_pdpt(, %ecx, 8)
	addl	$0x1000, %eax
	incl	%ecx
	cmpl	$4, %ecx
	jb	1b
	xorl	%ecx, %ecx
	movl	$0x83, %eax
2:	movl	%eax, kit_pd(, %ecx, 8)
	addl	$0x200000, %eax
	incl	%ecx
	cmpl	$2048, %ecx
	jb	2b
	movl	%cr4, %eax
	orl	$0x6a0, %eax		/* PAE, PGE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	$kit_pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x901, %eax		/* SCE, LME, NXE */
	wrmsr
	movl	%cr0, %eax
	andl	$~0x60000000, %eax
	orl	$0x80010023, %eax	/* PG, WP, NE, MP, PE */
	movl	%eax, %cr0
	lgdt	kit_gdtr
	ljmp	$0x08, $1f
	.code64
1:	movw	$0x10, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	xorl	%eax, %eax
	movw	%ax, %fs
	movw	%ax, %gs
	movq	$boot_stack_top, %rsp
	call	kit_init
	call	guest_main
	movl	%eax, %edi
	call	kit_exit

/* int kit_try(void (*fn)(void *), void *arg): 0xffffffff-like -1 if fn came back, else the vector of its exception. */
	.globl	kit_try
kit_try:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushfq
	pushq	kit_recover_rsp
	movq	%rsp, kit_recover_rsp
	movq	%rdi, %rax
	movq	%rsi, %rdi
	call	*%rax
	movl	$-1, %eax
kit_try_out:
	popq	kit_recover_rsp
	popfq
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/* Runs code at rdi in ring 3 (CS 0x2b, SS 0x23) with stack rsi, argument rdx in rdi and flags rcx; comes back as
 * kit_try() does, by whatever exception or INT n that code raises. */
	.globl	kit_try_user
kit_try_user:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushfq
	pushq	kit_recover_rsp
	movq	%rsp, kit_recover_rsp
	movq	%rdi, %rax
	movq	%rdx, %rdi
	pushq	$0x23
	pushq	%rsi
	pushq	%rcx
	pushq	kit_user_cs
	pushq	%rax
	iretq

/* Every vector: an error code (or 0), the number, then kit_trap(frame). */
	.altmacro
	.macro	STUB n
	.align	16
	.if	\n == 8 || (\n >= 10 && \n <= 14) || \n == 17 || \n == 21
	nop
	nop
	.else
	pushq	$0
	.endif
	pushq	$\n
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

trap_common:
	cld
	pushq	%r15; pushq %r14; pushq %r13; pushq %r12; pushq %r11; pushq %r10; pushq %r9; pushq %r8
	pushq	%rdi; pushq %rsi; pushq %rbp; pushq %rbx; pushq %rdx; pushq %rcx; pushq %rax
	movq	%rsp, %rdi
	movq	%rsp, %rbp
	andq	$-16, %rsp
	call	kit_trap
	movq	%rbp, %rsp
	testl	%eax, %eax
	jns	3f			/* not ours to resume: unwind to kit_try */
	popq	%rax; popq %rcx; popq %rdx; popq %rbx; popq %rbp; popq %rsi; popq %rdi
	popq	%r8; popq %r9; popq %r10; popq %r11; popq %r12; popq %r13; popq %r14; popq %r15
	addq	$16, %rsp
	iretq
3:	movq	kit_recover_rsp, %rsp
	movw	$0x10, %cx
	movw	%cx, %ss
	movw	%cx, %ds
	movw	%cx, %es
	jmp	kit_try_out

	.data
	.align	16
	.globl	kit_gdt
kit_gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 08 code 64 */
	.quad	0x00cf93000000ffff	/* 10 data */
	.quad	0x00cf9b000000ffff	/* 18 code 32 */
	.quad	0x00cff3000000ffff	/* 20 user data (selector 23) */
	.quad	0x00affb000000ffff	/* 28 user code 64 (2b) */
	.quad	0x00cffb000000ffff	/* 30 user code 32 (33) */
	.quad	0, 0			/* 38 TSS, filled by kit_init */
	.fill	24, 8, 0		/* 48.. free for tests */
kit_gdt_end:
	.globl	kit_gdtr
kit_gdtr:
	.word	kit_gdt_end - kit_gdt - 1
	.quad	kit_gdt
	.globl	multiboot_info, multiboot_magic, kit_recover_rsp, kit_user_cs
multiboot_info:	.long 0
multiboot_magic: .long 0
	.align	8
kit_recover_rsp: .quad 0
kit_user_cs:	.quad 0x2b

	.bss
	.align	4096
	.globl	kit_pml4, kit_pdpt, kit_pd
kit_pml4: .skip	4096
kit_pdpt: .skip	4096
kit_pd:	.skip	4 * 4096
	.align	16
	.skip	32768
	.globl	boot_stack_top
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
