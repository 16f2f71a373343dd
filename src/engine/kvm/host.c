/* SPDX-License-Identifier: Apache-2.0
 * The node, what it must be able to do, and what of a CPU model it can keep.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

/* VMX or SVM (SDM 2A CPUID, leaf 1; APM 3 E.4.1). Where the processor shows neither, what the node does cannot be the
 * hardware's work, which is known at once: to measure it costs ten milliseconds and more of each start. */
static bool shows_virtualization(void)
{
	unsigned a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & BIT(5)))
		return true;
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & BIT(2));
}

int kvm_open(int *sys, int *vm, struct err *e)
{
	*sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (*sys < 0)
		return errno == ENOENT || errno == ENXIO || errno == ENODEV
			   ? err_set(e, "there is no /dev/kvm that works: %s", strerror(errno))
			   : err_errno(e, "/dev/kvm cannot be opened");
	if (ioctl(*sys, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		err_set(e, "/dev/kvm speaks another version of its interface");
	else if (!shows_virtualization())
		err_set(e,
			"/dev/kvm opens, but the processor shows neither VMX nor SVM: it can only be emulating guests");
	else if ((*vm = ioctl(*sys, KVM_CREATE_VM, 0)) >= 0)
		return 0;
	else
		err_errno(e, "/dev/kvm opens, but makes no VM");
	close(*sys);
	*sys = -1;
	return -1;
}

int kvm_check_caps(int sys, struct err *e)
{
	static const struct {
		int cap;
		const char *what;
	} needed[] = {
		{ KVM_CAP_IMMEDIATE_EXIT, "immediate exits" },
		{ KVM_CAP_READONLY_MEM, "read-only memory" },
		{ KVM_CAP_SREGS2, "KVM_GET_SREGS2 (Linux 5.14)" },
		{ KVM_CAP_X86_USER_SPACE_MSR, "MSR exits" },
		{ KVM_CAP_X86_MSR_FILTER, "the MSR filter" },
		{ KVM_CAP_EXCEPTION_PAYLOAD, "payloads of exceptions" },
		{ KVM_CAP_VCPU_EVENTS, "pending events" },
		{ KVM_CAP_DEBUGREGS, "debug registers" },
		{ KVM_CAP_XSAVE, "vector state" },
		{ KVM_CAP_SPLIT_IRQCHIP, "the split irqchip" },
		{ KVM_CAP_X2APIC_API, "32-bit APIC ids" },
		{ KVM_CAP_MP_STATE, "activity states" },
		{ KVM_CAP_VCPU_ATTRIBUTES, "the TSC's offset (Linux 5.16)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(sys, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return err_set(e, "the KVM of this host's kernel lacks %s", needed[i].what);
	return 0;
}

int kvm_admit_kicks(int vcpu)
{
	struct {
		struct kvm_signal_mask mask;
		u64 set;
	} s = { .mask.len = sizeof(s.set) };
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	sigdelset(&now, KVM_KICK_SIGNAL);
	memcpy(s.mask.sigset, &now, sizeof(s.set));
	return ioctl(vcpu, KVM_SET_SIGNAL_MASK, &s);
}
