#!/bin/sh
# For every primitive of the library, or those in ONLY, kills processes that use it at random with
# SIGKILL, KILLS (20000) of them, and checks that nothing hangs, no change is lost and nothing is
# left over. One line for each.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo

cargo build --release --quiet --package shm-multiprocessing --examples
# shellcheck disable=SC2086 # to be split
PROBE_KILLS=${KILLS:-20000} exec "${CARGO_TARGET_DIR:-target}/release/examples/soak" ${ONLY:-}
