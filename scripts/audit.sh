#!/bin/sh
# Known vulnerabilities in what is really called (govulncheck; its data comes from vuln.go.dev), and the licences of all
# modules that are linked. Exit code 1 on a finding; a check that could not be made is said, and ends with 3.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.1.4
result=0
echo "Licences:"
$GO test -count=1 -run TestLicences ./internal/arch_test/ -v | grep -E '^(    |---|FAIL|ok)' || result=1
$GO test -count=1 -run TestLicences ./internal/arch_test/ >/dev/null || result=1
echo "Vulnerabilities:"
out=$($GO run "$GOVULNCHECK" ./cmd/leadloom 2>&1) && echo "$out" || {
	echo "$out"
	case $out in
	*"Vulnerability #"*) result=1 ;;
	*) echo "NOT CHECKED: govulncheck or its data could not be had." >&2; [ $result = 1 ] || result=3 ;;
	esac
}
exit $result
