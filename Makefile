# The one entry to everything. `make` alone lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Two cargo runs at once only wait for each other's lock.
.NOTPARALLEL:

PYTHON := .venv/bin/python
CARGO := cargo
# Crates that exist as WebAssembly only: natively they are checked but have nothing to run.
WASM_ONLY := portcullis-noop portcullis-host-verify
# These need what `make build` leaves behind, so they run after it and not with the native tests.
MODULE_TEST := portcullis-wasm-imports
HOST_TEST := portcullis-test-host
FUZZ_SECONDS ?= 60
# Of each target, in `make test`.
FUZZ_SMOKE_SECONDS ?= 8
COUNT ?= 10000000
SEED ?= 1
MINUTES ?= 3
SOAK_REPORT ?= docs/soak.md
BENCH_KEYS ?= 1000000

headline = @printf '\n\033[1m── %s ──\033[0m\n' '$(1)'

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what is missing (quick when nothing is)
	@scripts/setup

.PHONY: build
build: setup ## dist/portcullis.wasm and dist/portcullis
	@scripts/build

.PHONY: demo
demo: build ## real Envoy, issuer and agent to try by hand; ONCE=1 shows and ends
	@$(PYTHON) demo/run.py $(if $(ONCE),--once)

.PHONY: package
package: build ## dist/release: module, program, OCI images, schemas, bills of materials, digests
	@scripts/package

.PHONY: package-verify
package-verify: setup ## builds the committed sources in two other folders (about 10 minutes) and compares every byte
	@scripts/package-verify

.PHONY: test
test: setup ## everything: lint, native, Node, the module, end to end, conformance, a short soak, a little fuzzing
	@$(MAKE) --no-print-directory lint test-native test-instructions test-wasm test-bench test-module test-host test-package test-docs test-e2e test-conformance
	@$(MAKE) --no-print-directory soak MINUTES=3 SOAK_REPORT=target/soak.md
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(FUZZ_SMOKE_SECONDS)
	$(call headline,all tests passed)

.PHONY: lint
lint: setup ## formatting, clippy (native and wasm), docs, dependencies
	$(call headline,lint: formatting)
	$(CARGO) fmt --all --check
	$(call headline,lint: clippy (native))
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(call headline,lint: clippy (wasm32-wasip1))
	scripts/cargo-wasm wasm32-wasip1 clippy -p portcullis-host -p portcullis-auth $(addprefix -p ,$(WASM_ONLY)) -- -D warnings
	@$(MAKE) --no-print-directory docs
	$(call headline,lint: dependencies)
	scripts/deny

.PHONY: docs
docs: ## the API documentation, into target/doc
	$(call headline,docs)
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

.PHONY: test-native
test-native: setup ## unit and integration tests on this machine
	$(call headline,tests: native)
	$(CARGO) test --locked --workspace $(foreach p,$(WASM_ONLY) $(MODULE_TEST) $(HOST_TEST),--exclude $(p))

.PHONY: test-wasm
test-wasm: setup ## the core's tests as WebAssembly in Node
	$(call headline,tests: the core in Node (wasm32-unknown-unknown))
	scripts/test-wasm

.PHONY: test-bench
test-bench: setup ## the benchmark's statistics, its page and its plots
	$(call headline,tests: the benchmark)
	$(PYTHON) -m pytest benches/tests -q -p no:cacheprovider

.PHONY: test-module
test-module: build ## what the built module imports, exports and weighs
	$(call headline,tests: the built module)
	$(CARGO) test --locked -p $(MODULE_TEST)

.PHONY: test-package
test-package: package ## the release, and the examples for every host
	$(call headline,tests: packages and examples)
	$(PYTHON) -m pytest tests/packaging -q -p no:cacheprovider

.PHONY: test-docs
test-docs: build ## links, configurations and commands of the documentation
	$(call headline,tests: the documentation)
	$(PYTHON) -m pytest tests/docs -q -p no:cacheprovider

.PHONY: site
site: setup ## the documentation as a book, in target/site/book; builds mdBook the first time
	@scripts/site

.PHONY: test-host
test-host: build ## the built module on the host emulator, as Envoy and as nginx
	$(call headline,tests: the host emulator)
	$(CARGO) test --locked -p $(HOST_TEST)

.PHONY: test-instructions
test-instructions: setup ## instructions of the core's hot paths, against the agreed figures
	$(call headline,tests: instructions)
	scripts/instructions

.PHONY: test-e2e
test-e2e: build ## end to end in real Envoy
	$(call headline,tests: end to end in Envoy)
	$(PYTHON) -m pytest tests/e2e -q

.PHONY: test-conformance
test-conformance: build ## published and hostile vectors, natively, in Node and in Envoy
	$(call headline,tests: conformance)
	@scripts/build-conformance
	$(PYTHON) -m pytest tests/conformance -q -p no:cacheprovider
	$(PYTHON) tests/conformance/run.py

.PHONY: fuzz
fuzz: setup ## every fuzz target for FUZZ_SECONDS (60), guided by coverage
	$(call headline,fuzz)
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz

.PHONY: prove-es256
prove-es256: setup ## ES256 by tables beside the p256 crate, on COUNT (10000000) signatures from SEED (1)
	$(call headline,ES256 by tables and by the p256 crate)
	$(CARGO) run --locked --release -p portcullis-fuzz --bin prove-es256 -- $(COUNT) $(SEED)

.PHONY: speed
speed: setup ## microseconds of one signature verification, natively and as WebAssembly in Node
	$(call headline,signature verification)
	@scripts/speed

.PHONY: attacks-page
attacks-page: setup ## docs/attacks.md from the corpus of attacks
	cd tests/e2e && ../../$(PYTHON) -m attacks --markdown >../../docs/attacks.md

.PHONY: bench
bench: build ## against Envoy's own filters, under 15 minutes; writes docs/performance.md (BENCH_WORKLOADS=repeated,chain)
	@scripts/build-noop
	$(PYTHON) benches/run
	@$(MAKE) --no-print-directory bench-keys

.PHONY: soak
soak: build ## good and hostile callers, outages and reloads for MINUTES (3), seeded (SEED=…); the report goes to docs/soak.md
	$(call headline,soak)
	cd tests/e2e && ../../$(PYTHON) -m soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) --report $(abspath $(SOAK_REPORT))

.PHONY: floods
floods: build ## unknown keys for a minute and a million distinct tokens (about half an hour)
	$(call headline,floods)
	PORTCULLIS_FLOOD_SECONDS=60 PORTCULLIS_TOKENS=1000000 $(PYTHON) -m pytest tests/e2e/test_floods.py -q -s

.PHONY: bench-scale
bench-scale: build ## cost as work grows, about 15 minutes; writes docs/performance.md (BENCH_WORKLOADS=globs,jwks)
	$(PYTHON) benches/scale

.PHONY: bench-page
bench-page: setup ## docs/performance.md and its plots from the kept numbers
	$(PYTHON) benches/page.py

.PHONY: bench-keys
bench-keys: build ## the key service with a million keys (BENCH_KEYS), on SQLite and PostgreSQL
	$(call headline,bench: the key service)
	$(PYTHON) benches/keys --keys $(BENCH_KEYS) --page

.PHONY: fmt
fmt: ## format the Rust sources
	$(CARGO) fmt --all

.PHONY: clean
clean: ## remove what was built; keeps .venv and .tools
	$(CARGO) clean
	rm -rf dist
