# Every task of this repository, the same for people and CI. `make` alone lists it.

SHELL := /bin/bash -eu -o pipefail
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TOOLS := target/tools
BIN := $(TOOLS)/bin
# What was green stays green until the code changes; `make soak` searches for histories that were never tried.
SEED := 1
# The end-to-end tests that also run on ministack, an emulator that is not of this repository.
SMOKE := life::the_walkthrough life::keys_of bootstrap:: shared::a_configuration
VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)
IMAGES := $(foreach arch,amd64 arm64,target/image/bucket-replication-operator-$(VERSION)-$(arch).tar)
# As images name it: amd64 or arm64.
ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(shell uname -m)))
# What takes the place of AWS: strict (tests/aws) or ministack.
ifneq ($(filter-out strict ministack,$(AWS)),)
$(error AWS=$(AWS) is not known: use AWS=strict or AWS=ministack)
endif
OPERATOR := target/debug/bucket-replication-operator
TESTBED := target/debug/testbed
timed = @start=$$(date +%s); $(2); echo "$(1): $$(( $$(date +%s) - start )) s"

include tests/tools/tools.mk

.PHONY: help
help: ## List all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build the operator and the testbed
	$(call timed,build,cargo build --locked --workspace)

# PODS= leaves out the node with the chart's own pods.
.PHONY: demo
demo: demo-tools build ## The walkthrough on this machine: two AWS accounts in an emulator, a real cluster (or that of KUBECONFIG=), replicated objects
	$(call timed,demo,PODS= $(TESTBED) demo --operator $(OPERATOR))

.PHONY: demo-pods
demo-pods: demo-tools build node-tools image ## The same with the chart's own pods, from the image, on a real node: needs root on Debian
	$(call timed,demo-pods,$(TESTBED) demo --operator $(OPERATOR))

.PHONY: test
test: tools build ## All tests but those of test-node: unit, golden, property, CEL, end to end
	$(call timed,test,PODS= AWS=strict PROPTEST_RNG_SEED=$(SEED) cargo test --locked --workspace)
	$(call timed,smoke,for tests in $(SMOKE); do AWS=ministack cargo test --locked --test e2e -- $$tests; done)

.PHONY: test-node
test-node: tools build node-tools image ## The chart's own pods, from the image, on a real node: needs root on Debian
	$(call timed,test-node,AWS=strict cargo test --locked --test node)

# Its figures are for a release build. With OPERATOR_BINARY= another build of the operator is measured; PHASES= leaves out those that are not named.
.PHONY: bench
bench: demo-tools ## Measure the operator for N buckets (1,100,1000), and print a table: see docs/scale.md
	$(call timed,build,cargo build --locked --release --package bench --package bucket-replication-operator --bins)
	@target/release/bench $(if $(N),--buckets $(N)) $(if $(OPERATOR_BINARY),--operator $(OPERATOR_BINARY)) $(if $(PHASES),--phases $(PHASES))

.PHONY: bench-aws
bench-aws: ## Measure how many calls a second the strict AWS of the tests answers on one core
	@cargo run --locked --quiet --release --package strict-aws --example speed

.PHONY: soak
soak: ## The property tests with other random histories and policies each time, until one fails or you stop it
	@while export PROPTEST_RNG_SEED=$$RANDOM$$RANDOM; cargo test --locked --quiet --test convergence --test sharing --test evaluator && cargo test --locked --quiet --test campaigns -- random_pairs && SOURCE_BUCKETS_HISTORIES=500 cargo test --locked --quiet --test source_buckets -- whatever; do date; done

.PHONY: check
check: fmt clippy docs deny charts checkov test test-node ## Everything that CI runs

.PHONY: fmt
fmt: ## Check the format
	cargo fmt --all --check

.PHONY: clippy
clippy: ## Lint, with warnings as errors
	$(call timed,clippy,cargo clippy --locked --workspace --all-targets -- -D warnings)

.PHONY: docs
docs: ## Build the documentation of the code, with warnings as errors
	$(call timed,docs,RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet)

.PHONY: deny
deny: $(BIN)/cargo-deny ## Check licences, bans and sources of all dependencies
	$(BIN)/cargo-deny --locked check bans licenses sources

# Not part of check: a new advisory would fail changes that have nothing to do with it. A workflow runs it each day.
.PHONY: advisories
advisories: $(BIN)/cargo-deny ## Compare the dependencies with the RustSec advisory database
	$(BIN)/cargo-deny --locked check advisories

.PHONY: checkov
checkov: $(BIN)/helm $(BIN)/kube-apiserver $(TOOLS)/checkov/.stamp ## Scan the chart and the overlays with Checkov; exceptions and their reasons are in tests/tools/checkov
	@mkdir -p target/checkov
	$(BIN)/helm template bucket-replication-operator charts/bucket-replication-operator --namespace bucket-replication --no-hooks --set image.repository=registry.example.com/bucket-replication-operator > target/checkov/chart.yaml
	$(BIN)/kubectl kustomize deploy/kustomize/overlays/production > target/checkov/production.yaml
	$(TOOLS)/checkov/bin/checkov --compact --quiet -f target/checkov/chart.yaml --config-file tests/tools/checkov/defaults.yaml
	$(TOOLS)/checkov/bin/checkov --compact --quiet -f target/checkov/production.yaml --config-file tests/tools/checkov/production.yaml

.PHONY: release
release: $(BIN)/helm $(BIN)/jq $(IMAGES) ## Make the files of a release of the images in target/image, and print what a real one would push
	deploy/release

# Those that are there are taken: a release joins what other machines built.
target/image/bucket-replication-operator-$(VERSION)-%.tar:
	@$(MAKE) --no-print-directory image ARCH=$*

.PHONY: charts
charts: $(BIN)/helm $(BIN)/promtool ## Lint the chart, and try its alerts
	$(BIN)/helm lint --strict charts/bucket-replication-operator --set image.repository=registry.example.com/bucket-replication-operator
	$(BIN)/promtool test rules tests/alerts.yaml

.PHONY: update
update: $(BIN)/helm ## Regenerate all generated files and goldens
	UPDATE=1 cargo test --locked --test golden --test preflight --test foreign_roles --test preconditions --test refusals
	UPDATE=1 cargo test --locked --test generated
	UPDATE=1 cargo test --locked --test deploy -- the_base_is

.PHONY: env-up
env-up: tools build ## Start etcd, kube-apiserver, kube-controller-manager and ministack (or, with AWS=strict, tests/aws), and leave them running: see README.md
	@$(TESTBED) up

.PHONY: env-down
env-down: ## Stop what env-up started
	@if [ -x $(TESTBED) ]; then $(TESTBED) down; else echo "nothing was running"; fi

# Variables that the caller has set win over those of aws.env.
.PHONY: run
run: build ## Run the operator in the foreground against what env-up started
	@test -f target/env/aws.env || { echo "error: run make env-up first" >&2; exit 1; }
	@KUBECONFIG=$${KUBECONFIG:-$$PWD/target/env/kubeconfig} $(BIN)/kubectl get crd awsaccounts.bucketops.dev bucketreplications.bucketops.dev >/dev/null || \
	  { echo "error: the chart is not installed there: see \"Try it by hand\" in README.md" >&2; exit 1; }
	@given=$$(export -p); source target/env/aws.env; eval "$$given"; \
	export KUBECONFIG=$${KUBECONFIG:-$$PWD/target/env/kubeconfig} LISTEN_ADDRESS=$${LISTEN_ADDRESS:-127.0.0.1:8080}; \
	exec $(OPERATOR) run

.PHONY: image
image: $(BIN)/jq $(BIN)/cargo-cyclonedx $(TOOLS)/python/.stamp ## The image, as an OCI archive in target/image; with ARCH=arm64 for another architecture
	$(call timed,image,deploy/image/build $(ARCH))

# Linux has the image's own binary, which runs on every distribution.
.PHONY: archive
archive: ## On macOS: the binary as an archive in target/archives, for this architecture. For Linux, make image leaves it
	@[ "$$(uname -s)" != Linux ] || { echo "error: make image leaves the archive for Linux, with ARCH=arm64 for another architecture" >&2; exit 1; }
	cargo build --locked --release --bin bucket-replication-operator
	deploy/archive target/release/bucket-replication-operator $$(uname -s | tr A-Z a-z) $(ARCH)

.PHONY: clean
clean: env-down ## Remove everything that was built
	rm -rf target
