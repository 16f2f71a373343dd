/* SPDX-License-Identifier: Apache-2.0
 * The program that a mirror's process starts as, put together here and run from memory: one page, code only, no data,
 * no stack. It has two parts: one system call, and the mapper's loop over the requests, which are mapped read-only
 * behind it.
 *
 * The mapper is steered by its registers, which guest code cannot reach, and by the requests, which it cannot write.
 * Guest code that jumps here finds instructions like any others: its own thread's system calls lead nowhere.
 */
#include "engine/direct/stub.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#define CODE_AT 0x100
#define BATCH_AT 0x110

/* SYSCALL; INT3 */
static const u8 call_code[] = { 0x0f, 0x05, 0xcc };

/* Carries out the requests one by one, in R12 the next, until one has a negative number: then INT3 at `done`; going on
 * behind that is the next batch. Where one fails: UD2, and RAX is what it gave. */
static const u8 batch_code[] = {
	0x49, 0xbc, 0x00, 0x10, 0x57, 0x1a, /* batch: mov r12, REQUESTS_BASE */
	0xc5, 0x6f, 0x00, 0x00,		    /*     (its upper half) */
	0x49, 0x8b, 0x04, 0x24,		    /* next: mov rax, [r12] */
	0x48, 0x85, 0xc0,		    /*     test rax, rax */
	0x78, 0x2e,			    /*     js done */
	0x49, 0x8b, 0x7c, 0x24, 0x08,	    /*     mov rdi, [r12+8] */
	0x49, 0x8b, 0x74, 0x24, 0x10,	    /*     mov rsi, [r12+16] */
	0x49, 0x8b, 0x54, 0x24, 0x18,	    /*     mov rdx, [r12+24] */
	0x4d, 0x8b, 0x54, 0x24, 0x20,	    /*     mov r10, [r12+32] */
	0x4d, 0x8b, 0x44, 0x24, 0x28,	    /*     mov r8, [r12+40] */
	0x4d, 0x8b, 0x4c, 0x24, 0x30,	    /*     mov r9, [r12+48] */
	0x0f, 0x05,			    /*     syscall */
	0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, /* cmp rax, -4095 */
	0x73, 0x09,			    /*     jae failed */
	0x49, 0x83, 0xc4, 0x38,		    /*     add r12, 56 */
	0xeb, 0xc9,			    /*     jmp next */
	0xcc,				    /* done: int3 */
	0xeb, 0xbc,			    /*     jmp batch */
	0x0f, 0x0b,			    /* failed: ud2 */
};
_Static_assert(REQUESTS_BASE == 0x6fc51a571000, "it stands in the code");

u64 stub_call(void)
{
	return STUB_BASE + CODE_AT;
}

u64 stub_batch(void)
{
	return STUB_BASE + BATCH_AT;
}

static void make_image(u8 page[PAGE_SIZE])
{
	const Elf64_Ehdr e = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = STUB_BASE + CODE_AT,
		.e_phoff = sizeof(e),
		.e_ehsize = sizeof(e),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	const Elf64_Phdr p[2] = { { .p_type = PT_LOAD,
				    .p_flags = PF_R | PF_X,
				    .p_vaddr = STUB_BASE,
				    .p_filesz = PAGE_SIZE,
				    .p_memsz = PAGE_SIZE,
				    .p_align = PAGE_SIZE },
				  { .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W } };

	memset(page, 0xcc, PAGE_SIZE);
	memcpy(page, &e, sizeof(e));
	memcpy(page + sizeof(e), p, sizeof(p));
	memcpy(page + CODE_AT, call_code, sizeof(call_code));
	memcpy(page + BATCH_AT, batch_code, sizeof(batch_code));
}
_Static_assert(sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr) <= CODE_AT, "headers stand before the code");

int stub_open(void)
{
	int fd = memfd_create("doppel-mirror", MFD_CLOEXEC);
	u8 page[PAGE_SIZE];

	if (fd < 0)
		return -1;
	make_image(page);
	if (write(fd, page, sizeof(page)) == (ssize_t)sizeof(page))
		return fd;
	close(fd);
	return -1;
}

bool host_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & 2;
}
