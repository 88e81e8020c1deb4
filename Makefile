# whosehop: whose hop broke this request?

SHELL := /bin/bash
BIN := $(CURDIR)/bin
TOOLS := $(CURDIR)/.cache/bin
LINT_VERSION := v2.12.2
LINT := $(TOOLS)/golangci-lint-$(LINT_VERSION)
ENGINE := deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
FAULT ?= leaf-error
FUZZTIME ?= 30s
# Recorded faults with their causes, and cases with their verdicts: docs/accuracy.md says what they are.
DATASETS ?= ../shared/datasets
CONFORMANCE ?= ../shared/conformance
# The linter's cache keeps the paths of files: shared by two checkouts it would report those of the other.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint
# Neither program needs cgo: the engine is loaded at run time.
export CGO_ENABLED := 0

.DEFAULT_GOAL := help
PEER := $(TOOLS)/peer-0.161.0

.PHONY: help build engine demo test lint fmt generate checkgenerate screenshots fuzz testdeps bench-engine bench-owners bench-accuracy bench-confidence bench-ingest bench-reads bench-analyzer bench-live bench-query crash-test

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

build: ## build bin/whosehop and bin/shop
	@mkdir -p $(BIN)
	go build -trimpath -o $(BIN)/ ./cmd/whosehop ./cmd/shop

engine: ## fetch the pinned embedded ClickHouse (npm, some 180 MB)
	@deploy/engine/fetch.sh

demo: engine build ## run the shop with a fault (FAULT=name) and print the first verdict
	@deploy/demo.sh $(FAULT)

testdeps: engine $(PEER) # what the tests need beside Go: Chromium, Prometheus, a Node.js SDK, telemetrygen, grpcurl, an OpenTelemetry Collector
	@deploy/testdeps.sh

test: testdeps ## run all tests
	go test -count=1 -timeout 20m -p 1 ./...

lint: $(LINT) ## run the linters
	$(LINT) run ./...

fmt: $(LINT) ## format the code
	$(LINT) fmt ./...

# The version is in the name: another one is built when it is pinned.
$(LINT):
	@mkdir -p $(TOOLS)
	@echo "Building golangci-lint $(LINT_VERSION) (a minute or two, once)…"
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(TOOLS)/golangci-lint $@

bench-engine: ## measure the judgement in memory, on one core
	cd benchmarks && go run ./engine

bench-owners: ## measure who-owns-what: 10,000 services and 50,000 rules, beside a scan over them (ARGS="-services N -rules N")
	cd benchmarks && go run ./owners $(ARGS)

bench-accuracy: build ## score the judgement on recorded faults (DATASETS=folder)
	cd benchmarks && go run ./accuracy -datasets $(abspath $(DATASETS)) -bin $(BIN)/whosehop

bench-confidence: engine build ## hold stated confidence against what proves right (DATASETS=folder CONFORMANCE=folder)
	cd benchmarks && go run ./confidence -datasets $(abspath $(DATASETS)) -conformance $(abspath $(CONFORMANCE)) -bin $(BIN)/whosehop

bench-ingest: engine build $(PEER) ## what storing a span costs, beside an OpenTelemetry Collector (ARGS="-spans N -rounds N")
	cd benchmarks && go run ./ingest -whosehop $(BIN)/whosehop -peer $(PEER) -engine ../$(ENGINE) $(ARGS)

bench-reads: engine ## the span table's two reads, beside the exporter's table (ARGS="-spans N")
	cd benchmarks && go run ./reads -engine ../$(ENGINE) $(ARGS)

bench-analyzer: engine build ## judging a history, beside reading it by a trace store's API (ARGS="-spans N -cases 25-2")
	cd benchmarks && go run ./analyzer -whosehop $(BIN)/whosehop -engine ../$(ENGINE) $(ARGS)

bench-live: engine build ## verdicts in time under load, at a cost that does not grow with what is stored (ARGS="-minutes N")
	cd benchmarks && go run ./live -whosehop $(BIN)/whosehop -engine ../$(ENGINE) $(ARGS)

bench-query: engine build ## every page and call over a week of a company's traces, and a large verdict in the browser (ARGS="-spans N -failing N -keep DIR")
	cd benchmarks && go run ./query -whosehop $(BIN)/whosehop -engine ../$(ENGINE) $(ARGS)

# The OpenTelemetry Collector that is tested and measured beside: a module of its own, large, built once.
$(PEER): benchmarks/peer/go.sum benchmarks/peer/main.go
	@mkdir -p $(TOOLS)
	@echo "Building the OpenTelemetry Collector (some two minutes, once)…"
	@cd benchmarks/peer && go list -deps . >/dev/null || \
		{ echo "The Go modules of the OpenTelemetry Collector are not to be had from $$(go env GOPROXY): the tests need them once; set GOPROXY to a module proxy that is within reach." >&2; exit 1; }
	cd benchmarks/peer && go build -trimpath -o $@ .

KILLS ?= 200
crash-test: engine ## kill collector and ClickHouse under load KILLS times, and count the spans
	go test -count=1 -timeout 120m -v ./internal/crash -crash.kills=$(KILLS) -crash.analyzer-kills=$$(($(KILLS) / 4))

generate: ## generate the Go of proto/ (needs protoc)
	proto/generate.sh

checkgenerate: generate ## fail if generated files are not up to date
	git diff --exit-code -- proto

screenshots: testdeps ## draw the pictures of docs/pages.md anew
	go test -count=1 -run 'TestShop/screens' ./query/web -update

fuzz: ## fuzz every decoder for FUZZTIME each
	go test -run '^$$' -fuzz 'FuzzDecode$$' -fuzztime $(FUZZTIME) ./otlp
	go test -run '^$$' -fuzz 'FuzzJSON$$' -fuzztime $(FUZZTIME) ./otlp
	go test -run '^$$' -fuzz FuzzLoad -fuzztime $(FUZZTIME) ./collector/spool
	go test -run '^$$' -fuzz FuzzSelect -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./storage/native
	go test -run '^$$' -fuzz FuzzRead -fuzztime $(FUZZTIME) ./analyzer/tracefile
	go test -run '^$$' -fuzz FuzzFits -fuzztime $(FUZZTIME) ./ownership
	go test -run '^$$' -fuzz FuzzParsePolicy -fuzztime $(FUZZTIME) ./ownership/lint
	go test -run '^$$' -fuzz 'FuzzOwn$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzDocumentsOfAnyFormat$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzBackstage$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzDatadog$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzOpsLevel$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzCortex$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzKubernetes$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzCodeOwners$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzSentry$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzPaths$$' -fuzzminimizetime 5x -fuzztime $(FUZZTIME) ./ownership/catalog
	go test -run '^$$' -fuzz 'FuzzTraceQL$$' -fuzztime $(FUZZTIME) ./query/compat
	go test -run '^$$' -fuzz 'FuzzParameters$$' -fuzztime $(FUZZTIME) ./query/compat
	go test -run '^$$' -fuzz FuzzJudge -fuzztime $(FUZZTIME) ./analyzer/blame
