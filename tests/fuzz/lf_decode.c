/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on the decoder: any bytes, every code size, legacy mode and vendor. A decoded instruction lies within its
 * bytes, decodes alike when no byte more is given, asks for more when one is missing, and its text and operands are
 * made without harm.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cpu/decode.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define must(ok)                                                                  \
	do {                                                                      \
		if (!(ok)) {                                                      \
			fprintf(stderr, "%s: code %u, how %u\n", #ok, code, how); \
			abort();                                                  \
		}                                                                 \
	} while (0)

static void decode(const u8 *p, unsigned n, enum cpu_code code, unsigned how)
{
	struct insn i = { 0 }, again = { 0 };
	struct operands o;
	char text[128];

	if (decode_insn(&i, p, n, code, how) != DECODE_OK)
		return;
	must(i.len >= 1 && i.len <= n && i.exec);
	must(!memcmp(i.raw, p, i.len));
	/* How many bytes it takes to see that an instruction is none may depend on how many there are. */
	if (i.exec == exec_ud)
		return;
	must(decode_insn(&again, p, i.len, code, how) == DECODE_OK && again.len == i.len && again.exec == i.exec);
	must(i.len == 1 || decode_insn(&again, p, i.len - 1u, code, how) == DECODE_MORE);
	decode_text(p, i.len, code, 0x1000, text, sizeof(text));
	must(strlen(text) < sizeof(text));
	if (i.exec != exec_unimpl)
		decode_operands(&i, code, &o);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	u8 *exact = malloc(size ? size : 1);
	unsigned n = (unsigned)MIN(size, (size_t)15);

	/* A copy of its own: a byte read too many is seen. */
	if (!exact)
		return 0;
	memcpy(exact, data, n);
	for (unsigned code = CODE16; n && code <= CODE64; code++)
		for (unsigned how = 0; how < 4; how++)
			if (code != CODE64 || !(how & DECODE_LEGACY))
				decode(exact, n, (enum cpu_code)code, how);
	free(exact);
	return 0;
}
