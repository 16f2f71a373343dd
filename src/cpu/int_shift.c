// SPDX-License-Identifier: Apache-2.0
/* Shifts and rotates, SHLD and SHRD. The host masks the counts as the guest's processor does. */
#include "cpu/int.h"

#define W 8
#include "cpu/int_shift.inc.h"
#define W 16
#include "cpu/int_shift.inc.h"
#define W 32
#include "cpu/int_shift.inc.h"
#define W 64
#include "cpu/int_shift.inc.h"
