// SPDX-License-Identifier: Apache-2.0
/* ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT in every form and width (SDM 2). */
#include "cpu/int.h"

#define W 8
#include "cpu/int_alu.inc.h"
#define W 16
#include "cpu/int_alu.inc.h"
#define W 32
#include "cpu/int_alu.inc.h"
#define W 64
#include "cpu/int_alu.inc.h"
