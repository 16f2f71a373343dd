// SPDX-License-Identifier: Apache-2.0
/* BMI1, BMI2 and ADX, run as the host's own instruction: a model offers them only where the host has them. */
#include "cpu/cpuid.h"
#include "cpu/int.h"

#define W 32
#include "cpu/int_bmi.inc.h"
#define W 64
#include "cpu/int_bmi.inc.h"
