/* SPDX-License-Identifier: Apache-2.0
 * Where a start-up IPI sends a processor: from real mode to 64-bit mode in one step, then kit_ap_main(APIC id). Copied to
 * KIT_TRAMPOLINE.
 */
	.section .data
	.code16
	.globl	kit_trampoline, kit_trampoline_end
kit_trampoline:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	ap_gdtr - kit_trampoline
	movl	$0x6a0, %eax		/* PAE, PGE, OSFXSR, OSXMMEXCPT */
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
	ljmpl	$0x08, $ap_start
	.align	8
ap_gdtr:
	.word	0xff
	.long	kit_gdt
kit_trampoline_end:

	.text
	.code64
ap_start:
	movw	$0x10, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	xorl	%eax, %eax
	movw	%ax, %fs
	movw	%ax, %gs
	movl	$1, %eax
	cpuid
	shrl	$24, %ebx
	movl	%ebx, %edi
	incl	%ebx
	shll	$13, %ebx
	leaq	kit_ap_stacks(%rbx), %rsp
	lidt	kit_idtr
	call	kit_ap_main
	.section .note.GNU-stack, "", @progbits
