#!/bin/sh
# Kills workers and whole centrals with SIGKILL at random moments under load, in ROUNDS (100)
# rounds. Checks that acknowledged batches are stored exactly once and nothing is left behind.
# Prints a seed per round; `TEST_SEED=N cargo test -p server NAME` repeats one.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo

CHAOS_ROUNDS=${ROUNDS:-100} exec cargo test --locked --package server --test server -- \
    --nocapture deaths:: storage::round
