/* SPDX-License-Identifier: Apache-2.0
 * Ends a width template: see int_width.inc.h.
 */
#undef INT_CAT_
#undef INT_CAT
#undef T
#undef S
#undef H
#undef X
#undef BYTES
#undef LD
#undef STO
#undef REG
#undef RM
#undef SLOW_HALF
#undef LOAD_INSN
#undef LOAD_INSN_FROM
#undef STORE_INSN
#undef RMW_INSN
#undef W
