/* SPDX-License-Identifier: Apache-2.0
 * The file is found where the Makefile has the assembler look: in the build directory.
 */
#include "cli/agent_image.h"

__asm__(".pushsection .rodata\n"
	".balign 16\n"
	"agent_image_begin:\n"
	".incbin \"agent.elf\"\n"
	"agent_image_end:\n"
	".popsection\n");

extern const char agent_image_begin[], agent_image_end[];

const void *agent_image(size_t *len)
{
	*len = (size_t)(agent_image_end - agent_image_begin);
	return agent_image_begin;
}
