/* SPDX-License-Identifier: Apache-2.0
 * The second half of making a CPU model: the leaves, once its features are chosen. For cpuid_model.c only.
 */
#ifndef CPU_CPUID_BUILD_H
#define CPU_CPUID_BUILD_H

#include "cpu/cpuid.h"

/* The host's 12-character vendor string with its NUL. */
void cpuid_host_vendor(char v[13]);
/* Vendor, signature, brand string, address widths; brand NULL takes the host's. */
void cpuid_build_identity(struct cpuid_model *m, const char *brand);
/* Every other leaf but the feature bits; demands the features. */
void cpuid_build_leaves(struct cpuid_model *m);
void cpuid_set_bit(struct cpuid_model *m, u32 leaf, u32 sub, unsigned reg, unsigned bit);
/* AMD repeats the bits of leaf 1 EDX in leaf 80000001H EDX. After all cpuid_set_bit(). */
void cpuid_build_mirror(struct cpuid_model *m);

#endif
