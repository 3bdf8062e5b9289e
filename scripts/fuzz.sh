#!/bin/sh
# Runs every fuzz target for a while, one after another, and prints what each has tried and found:
#   scripts/fuzz.sh [FOR] [WORKERS] [NAMES]   FOR: 10m; WORKERS: 2; NAMES: an extended regexp on "package FuzzName", default all
# A finding is written to the target's testdata/fuzz, where `make test` tries it from then on; the run goes on with the
# next target and ends with exit code 1. Logs stay under FUZZ_LOGS (default: a new temporary folder).
#
# Only our own packages report coverage, which `go test -fuzz` cannot be told: with SQLite's and the driver's hundreds of
# thousands of counters looked at after each input, a target over the API tries a tenth as many and keeps inputs for what
# a background worker of the database happened to do.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
for_=${1:-10m} workers=${2:-2} names=${3:-.}
logs=${FUZZ_LOGS:-$(mktemp -d)}
mkdir -p "$logs"
cache=$($GO env GOCACHE)/fuzz/leadloom
# The databases of targets that need one are thrown away: in memory where that is at hand, so that no input waits for a disk.
work=$(if [ -w /dev/shm ]; then mktemp -d -p /dev/shm; else mktemp -d; fi)
trap 'rm -rf "$work"' EXIT INT TERM

targets=$(grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' internal cmd | sed -E 's|^(.*)/[^/]*:func (Fuzz.*)$|\1 \2|' | sort | grep -E "$names") ||
	{ echo "No fuzz target is named like $names." >&2; exit 2; }
printf '%-52s %14s %9s\n' target executions findings
found=0 built=
while read -r pkg name <&3; do
	log=$logs/$(echo "$pkg" | tr / _)_$name.log
	result=0
	if [ "$built" != "$pkg" ]; then
		$GO test -c -gcflags='leadloom/...=-d=libfuzzer' -o "$work/fuzz.test" "./$pkg"
		built=$pkg
	fi
	(cd "$pkg" && TMPDIR=$work "$work/fuzz.test" -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "$for_" -test.parallel "$workers" \
		-test.fuzzminimizetime 5s -test.fuzzcachedir "$cache/$pkg") >"$log" 2>&1 </dev/null || result=1
	# The last line of progress says how many inputs were tried; a run that ends at once by a finding may have none.
	tried=$(sed -nE 's/.*execs: ([0-9]+).*/\1/p' "$log" | tail -1)
	if [ "$result" = 1 ]; then
		found=1
	fi
	printf '%-52s %14s %9s\n' "${pkg#internal/} $name" "${tried:-0}" "$result"
	if [ "$result" = 1 ]; then
		grep -vE '^fuzz: (elapsed|minimizing)' "$log" | head -40 | sed 's/^/    /'
	fi
done 3<<END
$targets
END
echo "Logs: $logs"
exit $found
