/* SPDX-License-Identifier: Apache-2.0
 * The rows of the system instructions, and those of extensions that no model offers: they are undefined here because
 * CPUID says so, not because the library forgot them.
 */
#include "cpu/optab.h"
#include "cpu/sys.h"

#define BOTH(map, op, ext, pfx, flags, f) { map, op, ext, pfx, flags, 0, OPFN_ALL(f), OPFN_ALL(f) },
#define MEM(map, op, ext, pfx, flags, f) { map, op, ext, pfx, flags, 0, OPFN_ALL(f), OPFN_NONE },
#define REG(map, op, ext, pfx, flags, f) { map, op, ext, pfx, flags, 0, OPFN_NONE, OPFN_ALL(f) },
#define EXACT(op, modrm, pfx, flags, f) { MAP_0F, op, EXT_ANY, pfx, flags, 0x100 | (modrm), OPFN_NONE, OPFN_ALL(f) },
#define UD_EXACT(modrm) EXACT(0x01, modrm, PFX_ANY, OP_END, exec_ud)

static const struct optab_row rows[] = {
	BOTH(MAP_1, 0xf4, EXT_ANY, PFX_ANY, OP_END, sys_hlt)

	/* 0F 01 */
	EXACT(0x01, 0xc1, PFX_ANY, OP_END, sys_hypercall)
	EXACT(0x01, 0xd9, PFX_ANY, OP_END, sys_hypercall)
	EXACT(0x01, 0xc8, PFX_NONE, OP_END, sys_monitor)
	EXACT(0x01, 0xc9, PFX_NONE, OP_END, sys_mwait)
	EXACT(0x01, 0xca, PFX_NONE, 0, sys_clac)
	EXACT(0x01, 0xcb, PFX_NONE, 0, sys_stac)
	EXACT(0x01, 0xd0, PFX_NONE, 0, sys_xgetbv)
	EXACT(0x01, 0xd1, PFX_NONE, OP_END, sys_xsetbv)
	EXACT(0x01, 0xe8, PFX_NONE, OP_END, sys_serialize)
	EXACT(0x01, 0xf8, PFX_ANY, OP_ONLY64, sys_swapgs)
	EXACT(0x01, 0xf9, PFX_ANY, 0, sys_rdtscp)
	BOTH(MAP_0F, 0x01, 4, PFX_ANY, 0, sys_smsw)
	BOTH(MAP_0F, 0x01, 6, PFX_ANY, OP_END, sys_lmsw)
	MEM(MAP_0F, 0x01, 7, PFX_ANY, OP_END, sys_invlpg)

	BOTH(MAP_0F, 0x05, EXT_ANY, PFX_ANY, OP_END, sys_syscall)
	BOTH(MAP_0F, 0x06, EXT_ANY, PFX_ANY, OP_END, sys_clts)
	BOTH(MAP_0F, 0x07, EXT_ANY, PFX_ANY, OP_END, sys_sysret)
	BOTH(MAP_0F, 0x08, EXT_ANY, PFX_ANY, 0, sys_invd)
	BOTH(MAP_0F, 0x09, EXT_ANY, PFX_ANY, 0, sys_invd) /* WBINVD; F3: WBNOINVD */
	BOTH(MAP_0F, 0x0b, EXT_ANY, PFX_ANY, OP_END, exec_ud) /* UD2 */
	BOTH(MAP_0F, 0x20, EXT_ANY, PFX_ANY, 0, sys_mov_from_cr)
	BOTH(MAP_0F, 0x21, EXT_ANY, PFX_ANY, OP_END, sys_mov_from_dr)
	BOTH(MAP_0F, 0x22, EXT_ANY, PFX_ANY, OP_END, sys_mov_to_cr)
	BOTH(MAP_0F, 0x23, EXT_ANY, PFX_ANY, OP_END, sys_mov_to_dr)
	BOTH(MAP_0F, 0x30, EXT_ANY, PFX_ANY, OP_END, sys_wrmsr)
	BOTH(MAP_0F, 0x31, EXT_ANY, PFX_ANY, 0, sys_rdtsc)
	BOTH(MAP_0F, 0x32, EXT_ANY, PFX_ANY, OP_END, sys_rdmsr)
	BOTH(MAP_0F, 0x33, EXT_ANY, PFX_ANY, 0, sys_rdpmc)
	BOTH(MAP_0F, 0x34, EXT_ANY, PFX_ANY, OP_END, sys_sysenter)
	BOTH(MAP_0F, 0x35, EXT_ANY, PFX_ANY, OP_END, sys_sysexit)
	BOTH(MAP_0F, 0xa2, EXT_ANY, PFX_ANY, 0, sys_cpuid)

	REG(MAP_0F, 0xae, 0, PFX_F3, OP_SIZE_Y | OP_ONLY64, sys_rdfsbase)
	REG(MAP_0F, 0xae, 1, PFX_F3, OP_SIZE_Y | OP_ONLY64, sys_rdgsbase)
	REG(MAP_0F, 0xae, 2, PFX_F3, OP_SIZE_Y | OP_ONLY64, sys_wrfsbase)
	REG(MAP_0F, 0xae, 3, PFX_F3, OP_SIZE_Y | OP_ONLY64, sys_wrgsbase)
	REG(MAP_0F, 0xc7, 6, PFX_NONE, 0, sys_rdrand)
	REG(MAP_0F, 0xc7, 6, PFX_66, 0, sys_rdrand)
	REG(MAP_0F, 0xc7, 7, PFX_NONE, 0, sys_rdseed)
	REG(MAP_0F, 0xc7, 7, PFX_66, 0, sys_rdseed)
	REG(MAP_0F, 0xc7, 7, PFX_F3, OP_SIZE_Y, sys_rdpid)
	MEM(MAP_0F38, 0x82, EXT_ANY, PFX_66, OP_END, sys_invpcid)

	/* VMX, SMX, SGX, SVM and the rest of 0F 01 */
	UD_EXACT(0xc0) UD_EXACT(0xc2) UD_EXACT(0xc3) UD_EXACT(0xc4) UD_EXACT(0xc5) UD_EXACT(0xc6)
	UD_EXACT(0xcf) UD_EXACT(0xd4) UD_EXACT(0xd5) UD_EXACT(0xd6) UD_EXACT(0xd7) UD_EXACT(0xd8)
	UD_EXACT(0xda) UD_EXACT(0xdb) UD_EXACT(0xdc) UD_EXACT(0xdd) UD_EXACT(0xde) UD_EXACT(0xdf)
	UD_EXACT(0xea) UD_EXACT(0xee) UD_EXACT(0xef) UD_EXACT(0xfa) UD_EXACT(0xfb) UD_EXACT(0xfd)
	UD_EXACT(0xfe) UD_EXACT(0xff)
	MEM(MAP_0F, 0x01, 5, PFX_F3, OP_END, exec_ud) /* RSTORSSP */
	BOTH(MAP_0F, 0x37, EXT_ANY, PFX_ANY, OP_END, exec_ud) /* GETSEC */
	BOTH(MAP_0F, 0x78, EXT_ANY, PFX_NONE, OP_END, exec_ud) /* VMREAD */
	BOTH(MAP_0F, 0x79, EXT_ANY, PFX_NONE, OP_END, exec_ud) /* VMWRITE */
	BOTH(MAP_0F, 0xaa, EXT_ANY, PFX_ANY, OP_END, exec_ud) /* RSM outside SMM */
	MEM(MAP_0F, 0xc7, 6, PFX_ANY, OP_END, exec_ud) /* VMPTRLD, VMCLEAR, VMXON */
	MEM(MAP_0F, 0xc7, 7, PFX_ANY, OP_END, exec_ud) /* VMPTRST */
	REG(MAP_0F, 0xc7, 6, PFX_F3, OP_END, exec_ud) /* SENDUIPI */
	MEM(MAP_0F38, 0x80, EXT_ANY, PFX_66, OP_END, exec_ud) /* INVEPT */
	MEM(MAP_0F38, 0x81, EXT_ANY, PFX_66, OP_END, exec_ud) /* INVVPID */

	/* waiting, shadow stacks, protection keys, wide direct stores, Key Locker */
	REG(MAP_0F, 0xae, 5, PFX_F3, OP_END, exec_ud) /* INCSSP */
	REG(MAP_0F, 0xae, 6, PFX_F3, OP_END, exec_ud) /* UMONITOR */
	REG(MAP_0F, 0xae, 6, PFX_F2, OP_END, exec_ud) /* UMWAIT */
	REG(MAP_0F, 0xae, 6, PFX_66, OP_END, exec_ud) /* TPAUSE */
	BOTH(MAP_0F, 0xae, 4, PFX_F3, OP_END, exec_ud) /* PTWRITE */
	MEM(MAP_0F, 0xae, 6, PFX_F3, OP_END, exec_ud) /* CLRSSBSY */
	MEM(MAP_0F38, 0xf5, EXT_ANY, PFX_66, OP_END, exec_ud) /* WRUSS */
	MEM(MAP_0F38, 0xf8, EXT_ANY, PFX_66, OP_END, exec_ud) /* MOVDIR64B */
	MEM(MAP_0F38, 0xf8, EXT_ANY, PFX_F2, OP_END, exec_ud) /* ENQCMD */
	MEM(MAP_0F38, 0xf8, EXT_ANY, PFX_F3, OP_END, exec_ud) /* ENQCMDS */
	MEM(MAP_0F38, 0xf9, EXT_ANY, PFX_NONE, OP_END, exec_ud) /* MOVDIRI */
	BOTH(MAP_0F38, 0xfa, EXT_ANY, PFX_F3, OP_END, exec_ud) /* ENCODEKEY128 */
	BOTH(MAP_0F38, 0xfb, EXT_ANY, PFX_F3, OP_END, exec_ud) /* ENCODEKEY256 */

	/* transactional memory: XABORT, XBEGIN */
	{ MAP_1, 0xc6, EXT_ANY, PFX_ANY, OP_END, 0x1f8, OPFN_NONE, OPFN_ALL(exec_ud) },
	{ MAP_1, 0xc7, EXT_ANY, PFX_ANY, OP_END, 0x1f8, OPFN_NONE, OPFN_ALL(exec_ud) },
};

const struct optab optab_system = { "system", rows, ARRAY_SIZE(rows) };
