// SPDX-License-Identifier: Apache-2.0
/* MUL IMUL DIV IDIV. A quotient that does not fit is found before the host divides, so the host never traps. */
#include "cpu/int.h"

#define W 8
#include "cpu/int_mul.inc.h"
#define W 16
#include "cpu/int_mul.inc.h"
#define W 32
#include "cpu/int_mul.inc.h"
#define W 64
#include "cpu/int_mul.inc.h"
