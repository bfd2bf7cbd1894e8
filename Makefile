# The two commands that matter: make demo, make test. `make help` lists the rest.

SHELL := /bin/bash
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
SCENARIO := testdata/scenarios/usb-coinminer.txtar

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## build bin/ashiato for this machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ashiato ./cmd/ashiato

.PHONY: demo
demo: build ## scan the USB coin-miner scenario, write the report and the diagram
	@scripts/demo $(SCENARIO)

# Property tests draw the same cases in every test run: a finding is good news that must not turn
# an unrelated change red. RAPID_SEED=0 draws others.
test test-full: export RAPID_SEED ?= 1

.PHONY: test
test: setup lint ## everything: checks, tests, cross-compilation; installs what it needs (as root)
	$(GO) test ./...
	@scripts/cross-build

.PHONY: test-full
test-full: setup lint ## the same with the long tests over all recordings
	ASHIATO_FULL=1 $(GO) test -timeout 60m ./...

.PHONY: properties
properties: ## 500 variants of the campaign and 200 working days: one incident in each, none in each
	ASHIATO_FULL=1 $(GO) test -count 1 -v -run '^(TestVariantsOfTheCampaign|TestWorkingDays)$$' -timeout 60m ./internal/evaluation

.PHONY: oracle
oracle: ## compare the rule engine with its slow reference on every event of every recording
	ASHIATO_FULL=1 $(GO) test -count 1 -v -run '^TestEngineAgreesWithReferenceOnRecordings$$' -timeout 60m ./internal/sigma

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (default 30s); findings land in testdata/fuzz
	@scripts/fuzz

.PHONY: setup
setup: ## install the independent oracles and the browser that tests use
	@scripts/setup

.PHONY: lint
lint: ## formatting and static checks
	@unformatted=$$($(GO) tool gofumpt -l cmd internal rules scripts); \
	if [ -n "$$unformatted" ]; then echo "not gofumpt-ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

.PHONY: bench
bench: ## the figures of docs/benchmarks.md, beside their bars and the stored baseline
	@scripts/bench

.PHONY: bench-baseline
bench-baseline: ## measure and store the baseline that bench compares to
	@scripts/bench --baseline

.PHONY: golden
golden: ## write the golden files and the pictures of the docs anew; look at the difference before committing
	$(GO) test ./internal/diagram ./internal/report ./internal/scan ./rules -update

.PHONY: dist
dist: ## cgo-free binaries for Linux, Windows and macOS on amd64 and arm64, in dist/
	@VERSION=$(VERSION) scripts/dist
