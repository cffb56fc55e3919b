#!/bin/sh
# Tests that nothing acknowledged is lost or doubled: power losses in STATES (10000) simulated
# states of the disk, then ROUNDS (100) rounds of kills, stops, failing files and restarts under
# load. Prints a table of what was done and found. SEED repeats the choices of an earlier run.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo cc

TEST_SEED=${SEED:-$(date +%s)}
CRASH_STATES=${STATES:-10000}
CHAOS_ROUNDS=${ROUNDS:-100}
export TEST_SEED CRASH_STATES CHAOS_ROUNDS

code=0
# These states have tables of sessions, so each takes longer.
CRASH_STATES=$((CRASH_STATES / 10)) \
    cargo test --locked --package server --bin loteria-central -- --nocapture session_states || code=1
# The table is the last thing that is printed.
for tests in 'crash_states:: deaths::draw_at_random storage::round chaos::resumption' \
    chaos::whatever; do
    # shellcheck disable=SC2086 # several names
    cargo test --locked --package server --test server -- --nocapture $tests || code=1
done
exit "$code"
