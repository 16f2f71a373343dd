# SPDX-License-Identifier: Apache-2.0
# The engine kvm: here if /dev/kvm runs guests, else in QEMU's TCG, which has AMD-V (tests/kvm). The short form is what an
# idle machine does in a minute; the long one, also `make test-kvm`, is everything.
[ -z "$SHORT" ] || { echo "the sanitizers have the engines that run everywhere"; exit 77; }
GUEST=build/guest
export GUEST
status=0
cases() {
	tests/kvm/run "$BUILD" "$@"
	s=$?
	[ $s != 77 ] || exit 77
	[ $s = 0 ] || status=1
}

if [ -z "$LONG" ]; then
	cases auto guest-exceptions guest-paging guest-selfmod
	exit $status
fi
LIMIT=1200
export LIMIT
cases auto auto-load gdb init model guest-realmode guest-events guest-exceptions guest-interrupts guest-paging guest-paging32 guest-ports \
	guest-segments guest-selfmod guest-system guest-tasks guest-smp guest-restart
cases apic-realmode apic-events apic-interrupts apic-paging apic-system apic-smp apic-restart
cases switch-realmode switch-events switch-interrupts switch-paging switch-selfmod switch-system switch-tasks switch-smp switch-restart
cases storm-ports storm-msrs storm-mmio storm-apic storm-timers storm-code
cases snap-1-kvm-interp-kvm snap-1-kvm-kvm snap-2-kvm-interp-kvm snap-2-kvm-translate clock
cases debian-1
cases debian-2
cases debian-switch-1
cases debian-switch-2
cases debian-apic-1
cases debian-apic-2
cases debian-virtio
cases rings
cases debian-snap-1-kvm-translate-kvm
exit $status
