# `make help` tells what there is. GNU make, POSIX sh.
.DEFAULT_GOAL := help
.PHONY: help build run test bench soak fmt clean

export PATH := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin

TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
HEADTRAIL := $(TARGET)/release/headtrail

# Of `make bench`: turns of each variant, and more options of bench/http.py.
ROUNDS ?= 10
BENCH_FLAGS ?= --latency
# Of `make soak`: seconds for each fuzz target, cases of each property, runs of the end-to-end tests.
FUZZ_SECONDS ?= 60
PROPTEST_CASES_SOAK ?= 20000
E2E_RUNS ?= 5
# Kernels that `make soak` boots under QEMU, as Debian's packages name them.
KERNELS ?= linux-image-cloud-amd64 linux-image-6.12-cloud-amd64

help:
	@echo 'make build   installs what is missing and builds $(HEADTRAIL)'
	@echo 'make run     the same, and watches the HTTP traffic of this host (as root)'
	@echo 'make test    installs what is missing and runs every check and test (as root: those of the kernel, too)'
	@echo 'make bench   what it costs, beside other tools, into $(TARGET)/bench (as root; ROUNDS=10, BENCH_FLAGS=--latency)'
	@echo 'make soak    the long ones (FUZZ_SECONDS=60, PROPTEST_CASES_SOAK=20000, E2E_RUNS=5)'
	@echo 'make fmt     formats Rust and, where clang-format is there, C'
	@echo 'make clean   removes what was built'

build:
	@.ci/need build
	cargo build --release --locked --package headtrail

run:
	@if [ "$$(id -u)" != 0 ]; then echo 'make run loads programs into the kernel: start it as root' >&2; exit 3; fi
	@.ci/need run
	cargo build --release --locked --package headtrail
	@.ci/watch $(HEADTRAIL)

# The tests run in the order of cost; all of them run, also after one that fails. Servers that no package has are fetched before;
# where that fails, their tests say so.
test:
	@.ci/need test
	-@tests/servers/opensearch/fetch >/dev/null
	cargo xtask check
	cargo test --workspace --locked --no-fail-fast

bench: build
	@.ci/need bench
	bench/http.py --headtrail $(HEADTRAIL) --rounds $(ROUNDS) $(BENCH_FLAGS) --out $(TARGET)/bench/http.md
	bench/read.py --headtrail $(HEADTRAIL) --rounds $(ROUNDS) --out $(TARGET)/bench/read.md

soak: build
	@.ci/need soak
	for kernel in $(KERNELS); do tests/kernel/run.sh $$kernel $(HEADTRAIL) || exit 1; done
	.ci/fuzz $(FUZZ_SECONDS)
	cargo test --locked --package headtrail-assemble --test endless -- --ignored --nocapture --test-threads 1
	cargo test --locked --package headtrail --test mutations -- --ignored --nocapture
	PROPTEST_CASES=$(PROPTEST_CASES_SOAK) cargo test --workspace --locked --exclude headtrail
	cargo test --locked --package headtrail --test peers -- --ignored
	@run=1; while [ $$run -le $(E2E_RUNS) ]; do \
		echo "end-to-end tests, run $$run of $(E2E_RUNS)"; \
		cargo test --locked --package headtrail || exit 1; \
		run=$$((run + 1)); \
	done

fmt:
	cargo fmt --all
	@if command -v clang-format >/dev/null; then \
		clang-format -i crates/capture/src/bpf/*.[ch] crates/capture/src/bpf/lib/*.h bench/*.c; \
	fi

clean:
	cargo clean
