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

# Every package runs, also after one that failed: one run tells everything. The time-outs bound a hang; the slowest
# package takes 2 minutes on a quiet machine.
failed=""
log=$(mktemp)
trap 'rm -f "$log" "$log.rc"' EXIT
run() {
	{ "$@" 2>&1 || echo failed >"$log.rc"; } | tee "$log"
	[ ! -e "$log.rc" ] || failed="$failed
$(grep -E '^(--- FAIL|FAIL|panic:)' "$log" || echo "$*")"
	rm -f "$log.rc"
}
# Rules, store on both engines, API, suites; two packages at a time, so that waits in tests are not starved.
run $GO test -count=1 -p 2 -timeout 20m ./cmd/... ./internal/...
# Real binary, real processes.
run $GO test -count=1 -p 1 -timeout 20m ./test/...

# go test says nothing of a skipped test unless it is asked: a run that left something out must not look whole.
data=${LEADLOOM_TEST_DATA:-../shared/data}
[ -e "$data/febrl-dataset2.csv" ] || echo "NOT RUN: test/real, because $data has no febrl-dataset2.csv (set LEADLOOM_TEST_DATA)." >&2
[ "$(id -u)" = 0 ] || echo "NOT RUN unless this user may mount: the full disk and the read-only folder of test/faults; run as root for them." >&2
if [ -n "$failed" ]; then
	echo "FAILED:$failed" >&2
	exit 1
fi
