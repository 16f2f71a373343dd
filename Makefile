# SPDX-License-Identifier: Apache-2.0
# doppel: `make run` boots a guest, `make test` tests all, `make help` lists the rest.

CC      ?= cc
BUILD   ?= build
OPT     ?= -O2
WARN    := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Werror
CFLAGS  ?= $(OPT) -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE= $(WARN) -Isrc -fno-strict-aliasing -fwrapv -pthread $(CFLAGS)
LDLIBS  := -lZydis -ljansson -lz -llzma -llz4 -lzstd -lpthread

SRCS := $(sort $(filter-out src/main.c,$(wildcard src/*/*.c src/*/*/*.c)))
OBJS := $(SRCS:%.c=$(BUILD)/%.o)
LIB  := $(BUILD)/libdoppel.a

all: doppel

doppel: $(BUILD)/doppel
	@ln -sf $< $@

$(BUILD)/doppel: $(BUILD)/src/main.o $(LIB)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LDLIBS)

$(LIB): $(OBJS)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJS:.o=.d) $(BUILD)/src/main.d

# ---- tests: each tests/unit/test_*.c is a program on cmocka that links the library -------------------------------

UNIT := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT:%.c=$(BUILD)/%)

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests -MMD -MP -o $@ $< $(LIB) $(LDLIBS) -lcmocka

unit: $(UNIT_BIN)

# The instruction tests against silicon: `build/tests/isa/isa -n 500000 -s SEED`.
$(BUILD)/tests/isa/isa: $(wildcard tests/isa/*.c tests/isa/*.h) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/isa -o $@ $(filter %.c,$^) $(LIB) $(LDLIBS)

isa: $(BUILD)/tests/isa/isa

clean:
	rm -rf $(BUILD) doppel

.PHONY: all unit clean doppel
.SUFFIXES:
