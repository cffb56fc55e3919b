#!/bin/sh
# For every primitive of the library, or those in ONLY, kills processes that use it at random with
# SIGKILL, KILLS (20000) of them, and checks that nothing hangs, no change is lost and nothing is
# left over. Prints one line for each.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo

# Cargo names the program: the build directory depends on the user's configuration.
messages=$(cargo test --release --locked --package shm-multiprocessing --test soaks --no-run \
    --message-format json-render-diagnostics)
program=$(printf '%s\n' "$messages" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
# shellcheck disable=SC2086 # to be split
PROBE_KILLS=${KILLS:-20000} exec "$program" --long ${ONLY:-}
