# SPDX-License-Identifier: GPL-2.0
#
# What there is to make is said by "make help". Kbuild is the module's own part.

ifdef KDIR
# A kernel somebody else has prepared, and this machine's tools.
export KQUEUE_KDIR := $(abspath $(KDIR))
in-root :=
else
# Debian's kernel and the tools it was built with. What gives a warning there
# is an error; elsewhere, with other compilers, it is the builder's business.
in-root := scripts/in-root
strict := W=e
endif

# Which of the kernels scripts/setup makes: stock or debug.
export KERNEL ?= stock
out := $(if $(filter debug,$(KERNEL)),build/debug,build)

module:
	+$(in-root) scripts/kbuild . $(out)/module $(strict) modules
	@cp $(out)/module/kqueue.ko $(out)/kqueue.ko

# What only tests load. They use the module, and so are built after it.
modules: module
	+$(in-root) scripts/kbuild tests/modules $(out)/modules $(strict) \
		KBUILD_EXTRA_SYMBOLS=$(CURDIR)/$(out)/module/Module.symvers \
		KQUEUE_RMETA=$(CURDIR)/$(out)/module/rust/libkqueue.rmeta modules

clippy:
	+$(in-root) scripts/kbuild . $(out)/clippy $(strict) CLIPPY=1 modules

lib:
	+$(in-root) make -C lib O=$(CURDIR)/build

# The headers of the kernel's selftests come with its source.
tests: lib
	+$(in-root) sh -c 'exec make -C tests O=$(CURDIR)/build/tests KSRC="$$KQUEUE_KDIR"'

demo: module tests
	scripts/vm run --share build/tests -- /mnt/tests/demo

test: module tests modules
	scripts/test

test-runtimes: module
	scripts/runtimes

check: clippy
	scripts/check

# What things cost, compared with epoll; and what for it is built, for a profile.
bench: bench-programs
	tests/bench/run.sh

bench-programs: module lib
	tests/bench/run.sh --build

# spin is in the build root.
model:
	scripts/in-root tests/model/run.sh build/model

# TESTS names some; all take as long as "make test".
coverage: module tests
	scripts/coverage $(TESTS)

# SEED replays, or begins with another one.
SECONDS ?= 60
stress: module tests
	scripts/stress -d $(SECONDS) $(if $(SEED),-s $(SEED))

vm: module tests
	scripts/vm shell --share build/tests

setup:
	@scripts/setup >/dev/null

clean:
	rm -rf build

help:
	@echo 'make            build the module, build/kqueue.ko, for the default kernel'
	@echo 'make KVER=V     ... for another of Debian'\''s kernels'
	@echo 'make KERNEL=debug   ... for a kernel that finds mistakes; so with all below'
	@echo 'make KDIR=DIR   ... for the prepared kernel tree DIR, without the build root'
	@echo 'make lib        build/libkqueue.{a,so}, for programs'
	@echo 'make tests      the test programs, in build/tests'
	@echo 'make demo       a program that uses a kqueue, in a virtual machine'
	@echo 'make test       everything that is tested, in a virtual machine'
	@echo 'make test-runtimes  run-times and servers written for a kqueue: their own tests'
	@echo 'make bench      measure what things cost, compared with epoll'
	@echo 'make check      what can be checked without running it'
	@echo 'make model      check the model of the ready list'
	@echo 'make stress     everything at random, for SECONDS=60, from SEED=1'
	@echo 'make coverage   which lines of the module the tests run'
	@echo 'make vm         a shell in a virtual machine'
	@echo 'make setup      only what the others need: build root and kernel'
	@echo 'make clean      remove build/; the cache is not in the checkout'

# Of several jobs at first run, one sets up.
ifndef KDIR
module modules clippy lib tests model: | setup
endif

.DEFAULT_GOAL := module
.PHONY: module modules clippy lib tests demo test test-runtimes bench bench-programs check model coverage stress vm setup clean help
