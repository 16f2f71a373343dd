// SPDX-License-Identifier: Apache-2.0
/* PUSH POP PUSHA POPA ENTER LEAVE. What a faulting instruction has already written below the stack pointer stays, as on
 * hardware; registers change only at the end. */
#include "cpu/int.h"
#include "cpu/stack.h"

#define W 16
#include "cpu/int_stack.inc.h"
#define W 32
#include "cpu/int_stack.inc.h"
#define W 64
#include "cpu/int_stack.inc.h"
