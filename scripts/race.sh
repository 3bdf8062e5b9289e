#!/bin/sh
# The race detector over the packages named as arguments, default all of internal/, one at a time; exit code 1 on a race or a
# failure. It needs cgo, so a C compiler.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
command -v "${CC:-gcc}" >/dev/null || { echo "The race detector needs a C compiler (Debian: apt-get install gcc)." >&2; exit 2; }
bad=0
for pkg in $($GO list "${@:-./internal/...}"); do
	CGO_ENABLED=1 $GO test -race -count=1 -p 1 -timeout 30m "$pkg" || bad=1
done
exit $bad
