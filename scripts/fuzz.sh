#!/bin/sh
# Runs every fuzz target for a while, one after another, and prints what each has tried and found:
#   scripts/fuzz.sh [FOR] [WORKERS] [NAMES]   FOR: 10m; WORKERS: 2; NAMES: an extended regexp on "package FuzzName", default all
# A finding is written to the target's testdata/fuzz, where `make test` tries it from then on; the run goes on with the
# next target and ends with exit code 1. Logs stay under FUZZ_LOGS (default: a new temporary folder).
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
for_=${1:-10m} workers=${2:-2} names=${3:-.}
logs=${FUZZ_LOGS:-$(mktemp -d)}
mkdir -p "$logs"

targets=$(grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' internal cmd | sed -E 's|^(.*)/[^/]*:func (Fuzz.*)$|\1 \2|' | sort | grep -E "$names") ||
	{ echo "No fuzz target is named like $names." >&2; exit 2; }
printf '%-52s %14s %9s\n' target executions findings
found=0
while read -r pkg name <&3; do
	log=$logs/$(echo "$pkg" | tr / _)_$name.log
	result=0
	$GO test "./$pkg" -run '^$' -fuzz "^$name\$" -fuzztime "$for_" -parallel "$workers" >"$log" 2>&1 </dev/null || result=1
	# The last line of progress says how many inputs were tried; a run that ends at once by a finding may have none.
	tried=$(sed -nE 's/.*execs: ([0-9]+).*/\1/p' "$log" | tail -1)
	findings=0
	if [ "$result" = 1 ]; then
		findings=1 found=1
	fi
	printf '%-52s %14s %9s\n' "${pkg#internal/} $name" "${tried:-0}" "$findings"
	if [ "$findings" = 1 ]; then
		grep -vE '^fuzz: (elapsed|minimizing)' "$log" | head -40 | sed 's/^/    /'
	fi
done 3<<END
$targets
END
echo "Logs: $logs"
exit $found
