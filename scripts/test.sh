#!/bin/sh
# Everything CI runs, cheap things first. LEADLOOM_TEST_* variables lengthen the crash and load runs.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}

scripts/deps.sh
$GO build ./...
$GO vet ./...
unformatted=$(gofmt -l cmd internal test)
[ -z "$unformatted" ] || { echo "Not formatted (make fmt):" >&2; echo "$unformatted" >&2; exit 1; }

# Rules, store on both engines, API, suites; two packages at a time, so that waits in tests are not starved.
$GO test -count=1 -p 2 -timeout 8m ./cmd/... ./internal/...
# Real binary, real processes.
$GO test -count=1 -p 1 -timeout 8m ./test/...
