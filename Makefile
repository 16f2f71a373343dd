# SPDX-License-Identifier: Apache-2.0
# doppel: `make run` boots a guest, `make test` tests all, `make help` lists the rest.

CC      ?= cc
BUILD   ?= build
OPT     ?= -O2
PREFIX  ?= /usr/local
WARN    := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Werror
CFLAGS  ?= $(OPT) -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE= $(WARN) -Isrc -fno-strict-aliasing -fwrapv -pthread $(CFLAGS)
# Sanitizers and coverage make system calls of their own at any time: no sandbox around those.
ALL_CFLAGS += $(if $(findstring -fsanitize,$(CFLAGS))$(findstring coverage,$(CFLAGS)),-DDOPPEL_INSTRUMENTED)
LDLIBS  := -lZydis -ljansson -lz -llzma -llz4 -lzstd -lslirp -lseccomp -lpthread -lm
Q       := $(if $(V),,@)

# What runs in the guest of `doppel run`: a static program that doppel carries in itself.
AGENT_SRCS := $(wildcard src/agent/*.c)
AGENT := $(BUILD)/agent.elf
SRCS := $(sort $(filter-out src/main.c $(AGENT_SRCS),$(wildcard src/*/*.c src/*/*/*.c)))
OBJS := $(SRCS:%.c=$(BUILD)/%.o)
LIB  := $(BUILD)/libdoppel.a

all: doppel

doppel: $(BUILD)/doppel
	@ln -sf $< $@

$(BUILD)/doppel: $(BUILD)/src/main.o $(LIB)
	@echo "  LD      $@"
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LDLIBS)

$(LIB): $(OBJS)
	@rm -f $@
	$(Q)ar rcs $@ $^

# Translated code calls it while the guest's vector state stands in the host's registers.
$(BUILD)/src/mmu/%.o: ALL_CFLAGS += -mgeneral-regs-only

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJS:.o=.d) $(BUILD)/src/main.d

# Of the sanitizers only the host's side has any use.
$(AGENT): $(AGENT_SRCS) $(wildcard src/agent/*.h) src/base/base.h
	@mkdir -p $(@D)
	@echo "  AGENT   $@"
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE= $(WARN) -Isrc -Os -static -s -o $@ $(AGENT_SRCS)

$(BUILD)/src/cli/agent_image.o: $(AGENT)
$(BUILD)/src/cli/agent_image.o: ALL_CFLAGS += -Wa,-I$(BUILD)

# ---- a guest on this terminal ------------------------------------------------------------------------------------

GUEST := $(BUILD)/guest

# The packages come first: before them nothing here may need to be compiled.
run:
	@tools/install-deps
	@$(MAKE) --no-print-directory all
	@tools/fetch-guest $(GUEST)
	@tools/make-initramfs $(GUEST)
	@$(BUILD)/doppel boot --memory 512M --cpus 1 --kernel $(GUEST)/vmlinuz --initrd $(GUEST)/initramfs.gz \
		--append "console=ttyS0"

# ---- tests: each tests/unit/test_*.c is a program on cmocka, each tests/guest/*.c a freestanding guest --------------

UNIT     := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT:%.c=$(BUILD)/%)
ISA_BIN  := $(if $(wildcard tests/isa/main.c),$(BUILD)/tests/isa/isa)
KIT      := $(wildcard tests/guest/kit/*)
KIT32    := $(wildcard tests/guest/kit32/* tests/guest/kit/console.*)
KITS     := $(sort $(wildcard tests/guest/*.c))
KIT_ELF  := $(KITS:%.c=$(BUILD)/%.elf)
KITS32   := $(if $(KITS),$(shell grep -l '"kit32/' $(KITS)))
FUZZ     := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ:%.c=$(BUILD)/%)
# libFuzzer comes with clang, and does not go together with a library that gcc's sanitizers are in.
CLANG    ?= clang
LFUZZ    := $(sort $(wildcard tests/fuzz/lf_*.c))
LFUZZ_BIN := $(if $(findstring -fsanitize,$(CFLAGS)),,$(if $(shell command -v $(CLANG)),$(LFUZZ:%.c=$(BUILD)/%)))
KIT_CFLAGS = -std=gnu11 -O2 -g -Wall -Wextra -Itests/guest -ffreestanding -fno-pie -no-pie -nostdlib -static \
	-mno-red-zone -mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fcf-protection=none -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -MMD -MP -o $@ $< $(LIB) $(LDLIBS) -lcmocka

$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -MMD -MP -o $@ $< $(LIB) $(LDLIBS)

# What is fuzzed is compiled anew, for coverage; the rest is the library's.
LF_load   := $(wildcard src/boot/*.c src/mem/*.c)
LF_decode := $(wildcard src/cpu/decode*.c)
LF_board  := $(wildcard src/dev/*.c src/dev/*/*.c src/mem/*.c) src/base/clock.c src/machine/pc.c
LF_virtio := $(wildcard src/dev/virtio/*.c src/block/*.c src/mem/*.c) src/dev/pci.c src/dev/pci_msi.c
LF_net    := src/net/egress.c src/net/csum.c
LF_fuse   := src/share/ids.c src/share/node.c src/share/fuse.c src/share/attr.c src/share/name.c src/share/handle.c \
	src/share/file.c src/share/dir.c src/share/xattr.c
LF_session := src/api/session.c
LF_snap   := $(wildcard src/snap/*.c src/dev/*.c src/dev/virtio/*.c src/cpu/lapic*.c) src/base/state.c src/base/clock.c \
	src/cpu/state.c src/cpu/event.c src/cpu/poll.c
$(BUILD)/tests/fuzz/lf_%: tests/fuzz/lf_%.c $(LIB)
	@mkdir -p $(@D)
	@echo "  FUZZ    $<"
	$(Q)$(CLANG) $(ALL_CFLAGS) -O1 -Wno-missing-prototypes -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o $@ $< $(LF_$*) $(LIB) $(LDLIBS)

$(BUILD)/tests/isa/isa: $(wildcard tests/isa/*.c tests/isa/*.h) $(LIB)
	@mkdir -p $(@D)
	@echo "  CC      tests/isa"
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -o $@ $(filter %.c,$^) $(LIB) $(LDLIBS)

# A guest that includes a header of kit32 is a 32-bit program on that kit.
$(KITS32:%.c=$(BUILD)/%.elf): $(BUILD)/tests/guest/%.elf: tests/guest/%.c $(KIT32)
	@mkdir -p $(@D)
	@echo "  GUEST32 $<"
	$(Q)$(CC) $(KIT_CFLAGS) -m32 -fno-pic -T tests/guest/kit/kit.ld -o $@ $< $(filter %.c %.S,$(KIT32))

$(BUILD)/tests/guest/%.elf: tests/guest/%.c $(KIT)
	@mkdir -p $(@D)
	@echo "  GUEST   $<"
	$(Q)$(CC) $(KIT_CFLAGS) -T tests/guest/kit/kit.ld -o $@ $< $(filter %.c %.S,$(KIT))

# Processes that do what they are sent; nothing of that is in doppel.
TAKEOVER := $(BUILD)/tests/hostile/takeover
$(BUILD)/tests/unit/test_takeover: LDLIBS += -Wl,--wrap=fs_request,--wrap=slirp_input
$(TAKEOVER): tests/hostile/takeover.c tests/hostile/attack.h $(BUILD)/src/main.o $(LIB)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-missing-prototypes -Itests -Wl,--wrap=debugport_new -o $@ $< $(BUILD)/src/main.o $(LIB) $(LDLIBS)

-include $(UNIT_BIN:%=%.d)

$(BUILD)/tests/kvm/rsp: tests/kvm/rsp.c
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $<

unit: $(UNIT_BIN)
guests: $(KIT_ELF) $(BUILD)/tests/kvm/rsp $(TAKEOVER)
tests: $(BUILD)/doppel unit guests $(ISA_BIN) $(FUZZ_BIN) $(LFUZZ_BIN)

# Everything that has to hold, in at most 20 minutes; the last line is `N passed, N failed`.
test:
	@tools/install-deps --test
	@$(MAKE) --no-print-directory tests
	@tests/run --build $(BUILD) --check

# The long form: more cases, every kernel, the sanitizers on whole guests.
test-all:
	@tools/install-deps --test
	@$(MAKE) --no-print-directory tests
	@tests/run --build $(BUILD) --check --long

# The engine kvm alone, all of it; where there is no /dev/kvm that runs guests, in a machine of QEMU's that has it.
test-kvm:
	@tools/install-deps --test
	@$(MAKE) --no-print-directory all guests
	@tests/run --build $(BUILD) --long guest/kvm

fuzz: $(BUILD)/doppel $(FUZZ_BIN) $(LFUZZ_BIN) $(ISA_BIN)
	@tests/run --build $(BUILD) --fuzz

# ---- figures: doppel beside its peers, interleaved; ROUNDS, ROWS, ENGINES, PEERS, SUITE and SCALE choose (docs/bench.md) ----

ROUNDS  ?= 5
ROWS    ?= boot,compute,suite,idle,nano
ENGINES ?= interp,translate
PEERS   ?= bochs,qemu,qemu13,uml
SUITE   ?= all
SCALE   ?= 100
bench:
	@tools/install-deps --bench
	@$(MAKE) --no-print-directory all $(BUILD)/bench/compute.elf $(BUILD)/bench/nano.elf $(BUILD)/bench/nano \
		$(BUILD)/tests/guest/crowd.elf
	@tools/fetch-guest $(GUEST)
	@tools/make-initramfs $(GUEST) --root
	@bench/run --build $(BUILD) --rounds $(ROUNDS) --rows $(ROWS) --engines $(ENGINES) --peers $(PEERS) \
		--suite-rows $(SUITE) --scale $(SCALE) --json $(BUILD)/bench/results.json

$(BUILD)/bench/nano: bench/nano.c
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(ALL_CFLAGS) -DNATIVE -o $@ $<

$(BUILD)/bench/%.elf: bench/%.c $(KIT)
	@mkdir -p $(@D)
	@echo "  GUEST   $<"
	$(Q)$(CC) $(KIT_CFLAGS) -T tests/guest/kit/kit.ld -o $@ $< $(filter %.c %.S,$(KIT))

# ---- what else must be true of the source --------------------------------------------------------------------------

check: check-layers check-sizes check-format check-warnings check-sanitizers

check-layers:
	@tools/check-layers
check-sizes:
	@tools/check-sizes
check-format:
	@tools/check-format
# Structures of the kernel that end in an array stand in others which hold it: clang calls that an extension.
check-warnings:
	@tools/check-warnings "-std=gnu11 -D_GNU_SOURCE= $(WARN) -Isrc -fno-strict-aliasing -fwrapv -Wno-unknown-warning-option \
		-Wno-gnu-variable-sized-type-not-at-end"

# Everything again under the sanitizers, in the short form.
check-sanitizers:
	@$(MAKE) --no-print-directory tests BUILD=$(BUILD)/asan CFLAGS="$(SANITIZE)" >$(BUILD)/asan.log 2>&1 || \
		{ cat $(BUILD)/asan.log; exit 1; }
	@tests/run --build $(BUILD)/asan --short

# Guest accesses are unaligned by nature, in the types that DESIGN section 2 demands: not a finding.
SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize=alignment -fno-omit-frame-pointer \
	-fno-sanitize-recover=undefined
sanitize:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan CFLAGS="$(SANITIZE)" $(BUILD)/asan/doppel

# Several threads at once, under the thread sanitizer: processors, the control socket, snapshots, disks' threads. gcc's
# knows no fences; what they order is atomic besides. The long form of the tests has it as a stage.
THREADS := -O1 -g -fsanitize=thread -Wno-tsan -Wno-maybe-uninitialized
check-threads:
	@mkdir -p $(BUILD)
	@$(MAKE) --no-print-directory all guests BUILD=$(BUILD)/tsan CFLAGS="$(THREADS)" >$(BUILD)/tsan.log 2>&1 || \
		{ cat $(BUILD)/tsan.log; exit 1; }
	@TSAN_OPTIONS="exitcode=66 suppressions=$(CURDIR)/tests/tsan.supp" tests/run --build $(BUILD)/tsan --short \
		guest/smp guest/snapshot guest/virtio hostile/guests

# ---- the rest ----------------------------------------------------------------------------------------------------

install: $(BUILD)/doppel
	install -D -m 755 $(BUILD)/doppel $(DESTDIR)$(PREFIX)/bin/doppel
	install -D -m 644 docs/doppel.1 $(DESTDIR)$(PREFIX)/share/man/man1/doppel.1
	install -D -m 644 tools/doppel.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/doppel

clean:
	rm -rf $(BUILD) doppel

help:
	@echo "make            build ./doppel"
	@echo "make run        install what is missing, build, fetch Debian's kernel, boot it to a shell here"
	@echo "make test       all tests, at most 20 minutes; make test-all: the long form"
	@echo "make test-kvm   the engine kvm, here or in a machine of QEMU's that has /dev/kvm"
	@echo "make fuzz       random cases until stopped or after FUZZ_SECONDS"
	@echo "make bench      times doppel beside native, QEMU, Bochs and UML: docs/bench.md"
	@echo "make check      layers, sizes, formatting, warnings of gcc and clang, tests under the sanitizers"
	@echo "make check-threads tests with several threads under the thread sanitizer"
	@echo "make sanitize   $(BUILD)/asan/doppel"
	@echo "make install    to PREFIX (default /usr/local)"
	@echo "make clean      removes $(BUILD)"

.PHONY: all run bench test test-all test-kvm fuzz check check-layers check-sizes check-format check-warnings check-sanitizers check-threads sanitize install clean help \
	unit guests tests doppel
.SUFFIXES:
.DELETE_ON_ERROR:
