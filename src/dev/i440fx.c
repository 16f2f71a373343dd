/* SPDX-License-Identifier: Apache-2.0
 * 82441FX (290549), 82371SB (290550), 82371AB (290562): the registers that software of a PC touches; the rest of each
 * function's private space holds what is written.
 *
 * The functions carry the subsystem ID that firmware for virtual machines (SeaBIOS) knows this board and its fw_cfg by.
 * There is no SMM: the power management function says that SMIs from the APM port are on already (DEVACTB bit 25),
 * which makes firmware leave out its handler's installation.
 */
#include "dev/i440fx.h"

enum {
	HOST_PAM0 = 0x59,
	HOST_SMRAM = 0x72,
	ISA_PIRQRC = 0x60,
	PM_BASE = 0x40,
	PM_DEVACTB = 0x58,
	PM_MISC = 0x80,
};

#define SUBSYS 0x1af4, 0x1100

static bool touches(unsigned off, unsigned size, unsigned first, unsigned n)
{
	return off < first + n && off + size > first;
}

static void host_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct i440fx *f = d->opaque;

	if (touches(off, size, HOST_PAM0, 7) && f->pam_written)
		f->pam_written(f->pam_opaque, d->config + HOST_PAM0);
}

static void host_reset(struct pci_dev *d)
{
	host_written(d, HOST_PAM0, 7);
}

static void isa_written(struct pci_dev *d, unsigned off, unsigned size)
{
	if (!touches(off, size, ISA_PIRQRC, 4))
		return;
	for (unsigned p = 0; p < 4; p++)
		pci_route_pirq(d->bus, p, d->config[ISA_PIRQRC + p]);
}

static void isa_reset(struct pci_dev *d)
{
	isa_written(d, ISA_PIRQRC, 4);
}

static void pm_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct i440fx *f = d->opaque;

	if (touches(off, size, PM_BASE, 4) || touches(off, size, PM_MISC, 1))
		acpipm_set_base(f->acpi, d->config[PM_MISC] & 1 ? pci_get16(d, PM_BASE) & 0xffc0 : 0);
}

static void pm_reset(struct pci_dev *d)
{
	pm_written(d, PM_BASE, 4);
}

static const struct pci_dev_ops host_ops = { .config_written = host_written, .reset = host_reset };
static const struct pci_dev_ops isa_ops = { .config_written = isa_written, .reset = isa_reset };
static const struct pci_dev_ops pm_ops = { .config_written = pm_written, .reset = pm_reset };

static int add_host(struct i440fx *f, struct pci_bus *b, struct err *e)
{
	static const struct pci_ident id = { 0x8086, 0x1237, SUBSYS, 0x060000, 2, 0, false };

	if (pci_register_device(b, &f->host, PCI_DEVFN(0, 0), &id, &host_ops, f, e))
		return -1;
	pci_set16(&f->host, PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER);
	f->host.wmask[PCI_COMMAND] &= ~(PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_IO);
	pci_set16(&f->host, PCI_STATUS, 0x0280);
	f->host.config[HOST_SMRAM] = 0x02;
	memset(f->host.wmask + 0x50, 0xff, 0x50);
	return 0;
}

static int add_isa(struct i440fx *f, struct pci_bus *b, struct err *e)
{
	static const struct pci_ident id = { 0x8086, 0x7000, SUBSYS, 0x060100, 0, 0, true };
	struct pci_dev *d = &f->isa;

	if (pci_register_device(b, d, PCI_DEVFN(1, 0), &id, &isa_ops, f, e))
		return -1;
	pci_set16(d, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
	d->wmask[PCI_COMMAND] = 0;
	pci_set16(d, PCI_STATUS, 0x0200);
	d->config[0x4c] = 0x4d; /* ISA recovery timer */
	d->config[0x4e] = 0x03; /* keyboard and RTC chip selects */
	memset(d->config + ISA_PIRQRC, 0x80, 4);
	memset(d->wmask + 0x40, 0xff, 0x40);
	memset(d->wmask + ISA_PIRQRC, 0x8f, 4);
	return 0;
}

static int add_pm(struct i440fx *f, struct pci_bus *b, struct err *e)
{
	static const struct pci_ident id = { 0x8086, 0x7113, SUBSYS, 0x068000, 3, 1, false };
	struct pci_dev *d = &f->pm;

	if (pci_register_device(b, d, PCI_DEVFN(1, 3), &id, &pm_ops, f, e))
		return -1;
	pci_set16(d, PCI_STATUS, 0x0280);
	d->config[PCI_INT_LINE] = 9;
	d->config[PM_BASE] = 1; /* I/O space */
	d->wmask[PM_BASE] = 0xc0;
	d->wmask[PM_BASE + 1] = 0xff;
	d->wmask[PM_MISC] = 0x01;
	memset(d->wmask + 0x44, 0xff, 0x3c);
	d->config[PM_DEVACTB + 3] = 0x02;
	return 0;
}

struct i440fx *i440fx_new(struct pci_bus *b, struct acpipm *acpi, struct err *e)
{
	struct i440fx *f = dev_alloc(sizeof(*f), e);

	if (!f)
		return NULL;
	f->acpi = acpi;
	if (add_host(f, b, e) || add_isa(f, b, e) || (acpi && add_pm(f, b, e))) {
		i440fx_free(f);
		return NULL;
	}
	return f;
}

void i440fx_free(struct i440fx *f)
{
	if (!f)
		return;
	pci_unregister_device(&f->pm);
	pci_unregister_device(&f->isa);
	pci_unregister_device(&f->host);
	free(f);
}

void i440fx_post(struct i440fx *f)
{
	static const u8 routes[4] = PIIX_PIRQ_ROUTES;
	struct pci_bus *b = f->host.bus;

	pci_config_put(b, f->host.devfn, HOST_PAM0, 0x30, 1);
	for (unsigned i = 1; i < 7; i++)
		pci_config_put(b, f->host.devfn, HOST_PAM0 + i, 0x33, 1);

	for (unsigned p = 0; p < 4; p++)
		pci_config_put(b, f->isa.devfn, ISA_PIRQRC + p, routes[p], 1);
	if (!f->acpi)
		return;
	pci_config_put(b, f->pm.devfn, PM_BASE, ACPIPM_BASE | 1, 4);
	pci_config_put(b, f->pm.devfn, PM_MISC, 1, 1);
}

static int state_loaded(void *object, struct err *e)
{
	struct i440fx *f = object;

	(void)e;
	host_reset(&f->host);
	isa_reset(&f->isa);
	if (f->acpi)
		pm_reset(&f->pm);
	return 0;
}

const struct state i440fx_state = { .loaded = state_loaded };

_Static_assert(ACPIPM_BASE % ACPIPM_SIZE == 0, "the base register holds bits 15..6");
