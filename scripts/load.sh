#!/bin/sh
# The load that the product must bear, against demos of its own, each figure with its limit: `make load`. Variables:
# USERS (several numbers are run one after another), FOR (of full load), IDLE and FLOOD (connections; 0 leaves it out), REPORTS (a folder).
set -eu
bin=${BIN:-bin/leadloom}
users=${USERS:-50 500 5000}
for=${FOR:-60s}
idle=${IDLE:-10000}
flood=${FLOOD:-200}
dir=${REPORTS:-reports}
mkdir -p "$dir"
failed=""

run() { # run name flags…
	name=$1
	shift
	echo
	echo "== $name"
	"$bin" bench --for "$for" --html "$dir/load-$name.html" --json "$dir/load-$name.json" "$@" || failed="$failed $name"
}

for n in $users; do
	limit=15ms
	[ "$n" -le 50 ] || limit=100ms
	[ "$n" -le 500 ] || limit=250ms
	run "users-$n" --users "$n" --max-p99 "$limit"
done
run open --users 200 --sessions 20 --rate 100 --max-p99 50ms
[ "$idle" = 0 ] || run "idle-$idle" --users 50 --sessions 20 --idle "$idle" --silent 500 --max-p99 25ms
[ "$flood" = 0 ] || run "flood-$flood" --users 50 --sessions 20 --flood "$flood" --max-ratio 2

[ -z "$failed" ] || { echo; echo "Above their limits:$failed" >&2; exit 1; }
