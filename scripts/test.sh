#!/bin/sh
# Runs every test: with cargo-nextest where it is installed, else with cargo test. Prints which
# tests this machine cannot run, and why.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo cc

echo "building the tests: about 2 minutes the first time, seconds after that" >&2

left_out() {
    echo "left out: $1" >&2
}
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
    left_out "tests with a Python process, and tests against the course's Python code: python3 3.8 or later is not installed"
fi
if [ "$(id -u)" -ne 0 ]; then
    left_out "tests on a full disk and tests with another user's processes: they need root"
fi
if ! chromium --version >/dev/null 2>&1 && ! chromium-browser --version >/dev/null 2>&1 \
    && ! google-chrome --version >/dev/null 2>&1; then
    left_out "tests of the monitor's page: chromium is not installed"
fi

# All tests with PostgreSQL share one server. Its URL is in TEST_POSTGRES.
if missing=$(sh scripts/postgres.sh installed 2>&1); then
    directory=$(mktemp -d)
    # The server runs as another user if root starts it.
    chmod 711 "$directory"
    trap 'sh scripts/postgres.sh stop "$directory/postgres"; rm -rf "$directory"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    TEST_POSTGRES=$(sh scripts/postgres.sh start "$directory/postgres")
    export TEST_POSTGRES
else
    left_out "tests with PostgreSQL as the storage: $missing"
fi

if cargo nextest --version >/dev/null 2>&1; then
    # Many tests mostly wait, so twice as many as there are processors keep these busy.
    cargo nextest run --workspace --locked --no-fail-fast --test-threads $((2 * $(nproc)))
    cargo test --workspace --locked --doc
else
    # Select no targets: one test runs the examples, which cargo builds only without a selection.
    cargo test --workspace --locked --no-fail-fast
fi
