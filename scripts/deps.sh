#!/bin/sh
# Brings what the tests need: Go, git, and PostgreSQL's server programs. Installs the latter from Debian's packages
# when it may, else says exactly what to install and fails. LEADLOOM_TEST_POSTGRES=postgres://… names a running server instead.
set -eu

command -v go >/dev/null 2>&1 || { echo "The tests need Go 1.26 or newer: https://go.dev/dl/" >&2; exit 1; }

have_postgres() {
	[ -n "${LEADLOOM_TEST_POSTGRES:-}" ] && return 0
	command -v initdb >/dev/null 2>&1 && return 0
	for bin in /usr/lib/postgresql/*/bin/initdb; do
		[ -x "$bin" ] && return 0
	done
	return 1
}

have_postgres && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "The tests need PostgreSQL 13 or newer: put its initdb and pg_ctl into PATH, or set LEADLOOM_TEST_POSTGRES to the URL of a server whose user may create databases." >&2
	exit 1
fi
if [ "$(id -u)" = 0 ]; then
	as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	echo "The tests need PostgreSQL. Run:  sudo apt-get update && sudo apt-get install -y postgresql" >&2
	exit 1
fi
echo "Installing PostgreSQL for the tests (Debian package postgresql)."
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
$as_root apt-get install -y -q --no-install-recommends postgresql
have_postgres || { echo "The package postgresql is installed but initdb is not there; set LEADLOOM_TEST_POSTGRES." >&2; exit 1; }
