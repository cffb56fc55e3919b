#!/bin/sh
# For every primitive of the library, or those in ONLY, kills KILLS (20000) processes that use it,
# with SIGKILL at random moments. Checks that nothing hangs, no change is lost and nothing is left
# behind. Prints one line per primitive.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo

# Cargo reports the program's path, which depends on the user's configuration.
messages=$(cargo test --release --locked --package shm-multiprocessing --test soaks --no-run \
    --message-format json-render-diagnostics)
program=$(printf '%s\n' "$messages" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
# shellcheck disable=SC2086 # to be split
PROBE_KILLS=${KILLS:-20000} exec "$program" --long ${ONLY:-}
