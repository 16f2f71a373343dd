/* SPDX-License-Identifier: Apache-2.0
 * The rows of segmentation, far transfers, software interrupts and flag-register instructions.
 */
#include "cpu/optab.h"
#include "cpu/segment.h"

#define ROW(map_, op, ext_, flags_, mem_, reg_)                                                                   \
	{                                                                                                         \
		.map = map_, .opcode = op, .ext = ext_, .pfx = PFX_ANY, .flags = flags_, .mem = mem_, .reg = reg_ \
	}
#define ANY(map, op, flags, f) ROW(map, op, EXT_ANY, flags, OPFN_ALL(f), OPFN_ALL(f))
#define EXT(map, op, ext, flags, f) ROW(map, op, ext, flags, OPFN_ALL(f), OPFN_ALL(f))
#define MEM(map, op, ext, flags, f) ROW(map, op, ext, flags, OPFN_ALL(f), OPFN_NONE)

static const struct optab_row rows[] = {
	ANY(MAP_1, 0x06, OP_NO64, exec_push_sreg),
	ANY(MAP_1, 0x07, OP_NO64, exec_pop_sreg),
	ANY(MAP_1, 0x0e, OP_NO64, exec_push_sreg),
	ANY(MAP_1, 0x16, OP_NO64, exec_push_sreg),
	ANY(MAP_1, 0x17, OP_NO64 | OP_END, exec_pop_sreg),
	ANY(MAP_1, 0x1e, OP_NO64, exec_push_sreg),
	ANY(MAP_1, 0x1f, OP_NO64, exec_pop_sreg),
	ANY(MAP_0F, 0xa0, OP_DEF64, exec_push_sreg),
	ANY(MAP_0F, 0xa1, OP_DEF64, exec_pop_sreg),
	ANY(MAP_0F, 0xa8, OP_DEF64, exec_push_sreg),
	ANY(MAP_0F, 0xa9, OP_DEF64, exec_pop_sreg),
	ANY(MAP_1, 0x8c, 0, exec_mov_from_sreg),
	EXT(MAP_1, 0x8e, 2, OP_END, exec_mov_to_sreg),
	ANY(MAP_1, 0x8e, 0, exec_mov_to_sreg),
	MEM(MAP_1, 0xc4, EXT_ANY, OP_NO64, exec_load_far_ptr),
	MEM(MAP_1, 0xc5, EXT_ANY, OP_NO64, exec_load_far_ptr),
	MEM(MAP_0F, 0xb2, EXT_ANY, OP_END, exec_load_far_ptr),
	MEM(MAP_0F, 0xb4, EXT_ANY, 0, exec_load_far_ptr),
	MEM(MAP_0F, 0xb5, EXT_ANY, 0, exec_load_far_ptr),

	EXT(MAP_0F, 0x00, 0, OP_PROT, exec_sldt),
	EXT(MAP_0F, 0x00, 1, OP_PROT, exec_str),
	EXT(MAP_0F, 0x00, 2, OP_PROT, exec_lldt),
	EXT(MAP_0F, 0x00, 3, OP_PROT, exec_ltr),
	EXT(MAP_0F, 0x00, 4, OP_PROT, exec_verr),
	EXT(MAP_0F, 0x00, 5, OP_PROT, exec_verw),
	MEM(MAP_0F, 0x01, 0, 0, exec_sgdt),
	MEM(MAP_0F, 0x01, 1, 0, exec_sidt),
	MEM(MAP_0F, 0x01, 2, 0, exec_lgdt),
	MEM(MAP_0F, 0x01, 3, 0, exec_lidt),
	ANY(MAP_0F, 0x02, OP_PROT, exec_lar),
	ANY(MAP_0F, 0x03, OP_PROT, exec_lsl),
	ANY(MAP_1, 0x63, OP_PROT | OP_NO64, exec_arpl),

	ANY(MAP_1, 0x9a, OP_NO64 | OP_END, exec_call_far_imm),
	ANY(MAP_1, 0xea, OP_NO64 | OP_END, exec_jmp_far_imm),
	MEM(MAP_1, 0xff, 3, OP_END, exec_call_far_mem),
	MEM(MAP_1, 0xff, 5, OP_END, exec_jmp_far_mem),
	ANY(MAP_1, 0xca, OP_END, exec_retf_imm),
	ANY(MAP_1, 0xcb, OP_END, exec_retf),
	ANY(MAP_1, 0xcc, OP_END, exec_int3),
	ANY(MAP_1, 0xcd, OP_END, exec_int_n),
	ANY(MAP_1, 0xce, OP_NO64 | OP_END, exec_into),
	ANY(MAP_1, 0xcf, OP_END, exec_iret),
	ANY(MAP_1, 0xf1, OP_END, exec_int1),

	ANY(MAP_1, 0x9c, OP_DEF64, exec_pushf),
	ANY(MAP_1, 0x9d, OP_DEF64 | OP_END, exec_popf),
	ANY(MAP_1, 0xfa, 0, exec_cli),
	ANY(MAP_1, 0xfb, OP_END, exec_sti),
};

const struct optab optab_segment = { .name = "segment", .rows = rows, .n = ARRAY_SIZE(rows) };
