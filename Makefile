# Leadloom. The two commands to know: make run, make test.
BIN      := bin/leadloom
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO       ?= go
GOFLAGS_ := -trimpath -ldflags "-s -w -X leadloom/internal/app.version=$(VERSION)"
ADDR     ?= 127.0.0.1:8080

.PHONY: run build test bench crash load real lint fmt ui deps

run: build ## build and try it: demo data on this machine only
	@$(BIN) demo --addr $(ADDR)

build: ## one static binary in bin/
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_) -o $(BIN) ./cmd/leadloom

deps: ## what the tests need; installs it when it may, else says what to install
	@scripts/deps.sh

test: ## everything CI runs
	@scripts/test.sh

bench: build ## the product beside a bare net/http + same driver ceiling, and the stress profile
	LEADLOOM_TEST_BENCH=1 $(GO) test ./test/bench/ -count=1 -v -timeout 15m

N          ?= 100
N_POSTGRES ?= $(shell expr $(N) / 5)
crash: ## N kill -9 on SQLite and N_POSTGRES (N/5) on PostgreSQL, at random and at every failpoint, under writers of every kind
	LEADLOOM_TEST_CRASH_SQLITE=$(N) LEADLOOM_TEST_CRASH_POSTGRES=$(N_POSTGRES) $(GO) test ./test/crash/ -count=1 -v -timeout 6h

load: build ## 50 users for 5 minutes against a demo
	$(BIN) bench --users 50 --for 5m --html load-report.html --max-p99 15ms

real: build ## 5,000 real person records end to end
	$(GO) test ./test/real/ -count=1 -v -timeout 10m

lint: ## go vet, gofmt, layers and pinned versions
	$(GO) vet ./...
	@test -z "$$(gofmt -l cmd internal test)" || { echo "gofmt -w these files:"; gofmt -l cmd internal test; exit 1; }
	$(GO) test ./internal/arch_test/

fmt: ## rewrite the sources as gofmt has them
	gofmt -w cmd internal test

ui: ## the dashboard has no sources yet; / of the server is a plain page
	@echo "There is no dashboard yet: the server's / is a plain page that leads to the docs, jobs, CRM simulator and mail sink."
