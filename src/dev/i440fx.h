/* SPDX-License-Identifier: Apache-2.0
 * The board's own PCI functions: the 82441FX host bridge 00:00.0, the PIIX3 ISA bridge 00:01.0, and the PIIX4 power
 * management function 00:01.3. Machine lock.
 */
#ifndef DEV_I440FX_H
#define DEV_I440FX_H

#include "dev/acpipm.h"
#include "dev/pci.h"

/* How firmware routes PIRQA to PIRQD; MADT, _PRT and ELCR follow it. */
#define PIIX_PIRQ_ROUTES       \
	{                      \
		10, 10, 11, 11 \
	}
#define PIIX_LEVEL_IRQS 0x0e20 /* ISA interrupts 5, 9 (SCI), 10, 11: ELCR */

struct i440fx {
	struct pci_dev host, isa, pm;
	struct acpipm *acpi;
	/* Told when PAM registers 0x59 to 0x5f change (shadow RAM); may be left NULL. */
	void (*pam_written)(void *opaque, const u8 pam[7]);
	void *pam_opaque;
};

/* acpi may be NULL: then function 3 is absent. */
struct i440fx *i440fx_new(struct pci_bus *b, struct acpipm *acpi, struct err *e);
void i440fx_free(struct i440fx *f);
/* What firmware does for a loader without one: shadow RAM, PIRQ routes, power management ports at ACPIPM_BASE. */
void i440fx_post(struct i440fx *f);

/* No fields of its own: what follows from config space, which is the bus's state. */
extern const struct state i440fx_state;

#endif
