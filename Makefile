# `make` prints the targets. Tools are built into .bin from the modules under tools/, whose go.sum pins them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 5s

BIN      := $(CURDIR)/.bin
SERVICES := auth registry connector frontdoor
GO_BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-X github.com/dialback/dialback/internal/version.Version=$(VERSION)'

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build every binary into bin/
	$(GO_BUILD) -o bin/dialback ./cmd/agent
	$(GO_BUILD) -o bin/dialbackd ./cmd/standalone
	$(GO_BUILD) -o bin/ ./cmd/dialbackctl $(foreach s,$(SERVICES),./services/$(s)/cmd/$(s))

.PHONY: demo
demo: build ## Serve a sample page through dialbackd and an agent; Ctrl-C ends it
	bin/dialbackd demo

.PHONY: cluster
cluster: build .bin/.etcd.stamp ## Run a cluster of processes with a load balancer and an agent; says what to kill; Ctrl-C ends it
	hack/install-packages haproxy
	go build -o $(BIN)/cluster ./test/e2e/cmd/cluster
	exec $(BIN)/cluster

.PHONY: test
test: test-unit test-e2e ## Run every test with the race detector; installs what it needs (as root, on Debian)

.PHONY: test-unit
test-unit: .bin/.test.stamp ## Run the tests of every module but test/e2e
	hack/install-packages gcc ip
	hack/test unit

.PHONY: test-e2e
test-e2e: .bin/.test.stamp .bin/.etcd.stamp build ## Run the end-to-end tests
	hack/install-packages gcc nginx curl openssl nc h2load haproxy wrk ip unshare python3 ca-certificates
	hack/test e2e

.PHONY: bench-quick
bench-quick: build ## Measure throughput, latency and bursts against nginx in 2 minutes, into docs/PERFORMANCE.md (as root)
	hack/install-packages nginx wrk ip
	go run ./bench/cmd/bench --document docs/PERFORMANCE.md

.PHONY: bench-scale
bench-scale: build .bin/.etcd.stamp ## Measure how far the control plane carries in 10 minutes, into docs/PERFORMANCE.md
	go run ./bench/cmd/bench --group scale --document docs/PERFORMANCE.md

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (5s)
	hack/fuzz $(FUZZTIME)

.PHONY: lint
lint: .bin/.lint.stamp .bin/.buf.stamp ## Check style, dependency rules, protos and scripts
	hack/lint

.PHONY: generate
generate: .bin/.gen.stamp .bin/.rest.stamp .bin/.buf.stamp ## Generate api/gen, and a REST client for tests, from api/proto
	$(BIN)/buf generate

.PHONY: check-generate
check-generate: .bin/.gen.stamp .bin/.rest.stamp .bin/.buf.stamp ## Fail if api/gen is not what `make generate` writes
	hack/check-generate

.PHONY: tidy
tidy: ## Tidy every go.mod
	hack/modules --all | while read -r dir; do GOWORK=off go -C "$$dir" mod tidy; done

.PHONY: tools
tools: $(foreach t,buf gen rest lint test,.bin/.$(t).stamp) ## Build the pinned tools into .bin/

.PHONY: ci
ci: ## Run all that CI runs, with the time of each step
	.ci/run

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin .bin

# etcd's server is called "server" by its module.
.bin/.etcd.stamp: tools/etcd/go.mod tools/etcd/go.sum
	GOWORK=off GOBIN=$(BIN)/.etcd go -C tools/etcd install tool
	mv $(BIN)/.etcd/server $(BIN)/etcd
	mv $(BIN)/.etcd/etcdctl $(BIN)/etcdctl
	mv $(BIN)/.etcd/etcdutl $(BIN)/etcdutl
	@rmdir $(BIN)/.etcd
	@touch $@

# This plugin's source is here, too.
.bin/.rest.stamp: $(wildcard tools/rest/protoc-gen-rest/*)

.bin/.%.stamp: tools/%/go.mod tools/%/go.sum
	GOWORK=off GOBIN=$(BIN) go -C tools/$* install tool
	@touch $@
