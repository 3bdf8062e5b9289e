#!/bin/sh
# Brings what the tests need: Go, git, curl (the README's walk-through) and PostgreSQL's server programs. Installs the
# latter two from Debian's packages when it may, else says exactly what to install and fails.
# LEADLOOM_TEST_POSTGRES=postgres://… names a running server instead; a few tests start one of their own all the same.
set -eu

command -v go >/dev/null 2>&1 || { echo "The tests need Go 1.26 or newer: https://go.dev/dl/" >&2; exit 1; }

have_postgres() {
	command -v initdb >/dev/null 2>&1 && return 0
	for bin in /usr/lib/postgresql/*/bin/initdb; do
		[ -x "$bin" ] && return 0
	done
	return 1
}

missing=""
command -v curl >/dev/null 2>&1 || missing="$missing curl"
have_postgres || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "The tests need$missing: curl, and PostgreSQL 13 or newer with its initdb and pg_ctl in PATH." >&2
	exit 1
fi
if [ "$(id -u)" = 0 ]; then
	as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	echo "The tests need packages. Run:  sudo apt-get update && sudo apt-get install -y$missing" >&2
	exit 1
fi
echo "Installing for the tests, from Debian's packages:$missing."
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# shellcheck disable=SC2086 # one word a package
$as_root apt-get install -y -q --no-install-recommends $missing
have_postgres || { echo "The package postgresql is installed but its initdb is not found; put it into PATH." >&2; exit 1; }
