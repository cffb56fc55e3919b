#!/bin/sh
# Kills processes that use the library's primitives at random, KILLS (20000) for each primitive or for those in ONLY. Checks
# that nothing hangs, no change is lost and nothing is left over, and prints a line for each.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo

cargo test --release --quiet --package shm-multiprocessing --test soaks --no-run
# Cargo knows where the program is.
program=$(cargo test --release --quiet --package shm-multiprocessing --test soaks --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
# shellcheck disable=SC2086 # to be split
PROBE_KILLS=${KILLS:-20000} exec "$program" --long ${ONLY:-}
