# Leadloom. The two commands to know: make run, make test.
BIN      := bin/leadloom
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO       ?= go
GOFLAGS_ := -trimpath -ldflags "-s -w -X leadloom/internal/app.version=$(VERSION)"
ADDR     ?= 127.0.0.1:8080
BENCH_FLAGS = $(if $(FOR),--for $(FOR)) $(if $(REPEAT),--repeat $(REPEAT)) $(if $(LEGS),--legs '$(LEGS)') $(if $(HISTORY),--history $(HISTORY))

.PHONY: run build deps test bench bench-compare scale crash faults load real fuzz hostile race audit lint fmt ui

run: build ## build and try it: demo data on this machine only
	@$(BIN) demo --addr $(ADDR)

build: ## one static binary in bin/
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_) -o $(BIN) ./cmd/leadloom

deps: ## what the tests need; installs it when it may, else says what to install
	@scripts/deps.sh

test: ## everything CI runs
	@scripts/test.sh

bench: build ## the product beside its ceilings: a table, bench/report.json, bench/report.html and the history; FOR=2s REPEAT=7 LEGS='create|update' HISTORY=DIR
	@$(GO) run ./test/bench/run ceilings $(BENCH_FLAGS)

bench-compare: build ## this tree beside an older commit: make bench-compare BASE=HEAD~1; or two recorded runs: OLD=a.json NEW=b.json; fails on a regression
	@$(GO) run ./test/bench/run $(if $(OLD),diff $(OLD) $(NEW),compare $(BASE) $(BENCH_FLAGS)) $(if $(THRESHOLD),--threshold $(THRESHOLD))

scale: build ## figures against 10,000, 100,000 and 1,000,000 leads: table, JSON, HTML in LEADLOOM_TEST_SCALE_OUT
	LEADLOOM_TEST_SCALE=$${LEADLOOM_TEST_SCALE:-10000,100000,1000000} LEADLOOM_TEST_SCALE_OUT=$${LEADLOOM_TEST_SCALE_OUT:-$(CURDIR)/scale-report} \
		$(GO) test ./test/scale/ -run TestScale -count=1 -v -timeout 4h

N          ?= 100
N_POSTGRES ?= $(shell expr $(N) / 5)
crash: ## N kill -9 on SQLite and N_POSTGRES (N/5) on PostgreSQL, at random and at every failpoint, under writers of every kind
	LEADLOOM_TEST_CRASH_SQLITE=$(N) LEADLOOM_TEST_CRASH_POSTGRES=$(N_POSTGRES) $(GO) test ./test/crash/ -count=1 -v -timeout 6h

faults: build ## every case of a database, clock, relay, CRM and receiver that misbehave; takes about twenty minutes
	LEADLOOM_TEST_FAULTS=all $(GO) test ./test/faults/ -count=1 -v -timeout 60m

load: build ## users, idle connections and a flood of logins against demos: USERS="50 500 5000" FOR=60s IDLE=10000 FLOOD=200
	@scripts/load.sh

real: build ## 5,000 real person records end to end
	$(GO) test ./test/real/ -count=1 -v -timeout 10m

fuzz: ## each fuzz target for a while with two workers: make fuzz FOR=10m [ONLY=lead]
	@scripts/fuzz.sh $(or $(FOR),1m) 2 '$(or $(ONLY),.)'

hostile: build ## 100,000 hostile requests on each engine, 1,000 bad connections; half an hour and more
	LEADLOOM_TEST_HOSTILE_REQUESTS=100000 LEADLOOM_TEST_HOSTILE_CONNECTIONS=1000 $(GO) test ./test/hostile/ -count=1 -v -timeout 3h

race: ## the race detector over all of internal/, package by package (needs a C compiler)
	@scripts/race.sh

audit: ## known vulnerabilities in what is called, and the licences of what is linked
	@scripts/audit.sh

lint: ## go vet, gofmt, layers and pinned versions
	$(GO) vet ./...
	@test -z "$$(gofmt -l cmd internal test)" || { echo "gofmt -w these files:"; gofmt -l cmd internal test; exit 1; }
	$(GO) test ./internal/arch_test/

fmt: ## rewrite the sources as gofmt has them
	gofmt -w cmd internal test

ui: ## the dashboard has no sources yet; / of the server is a plain page
	@echo "There is no dashboard yet: the server's / is a plain page that leads to the docs, jobs, CRM simulator and mail sink."
