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

if cargo nextest --version >/dev/null 2>&1; then
    # Many tests mostly wait, so half as many again as there are processors keep these busy.
    threads=$(nproc)
    cargo nextest run --workspace --locked --no-fail-fast --test-threads $((threads + threads / 2))
    cargo test --workspace --locked --doc
else
    # Select no targets: one test runs the examples, which cargo builds only without a selection.
    cargo test --workspace --locked --no-fail-fast
fi
