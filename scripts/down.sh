#!/bin/sh
# Stops what `make up` or `make demo` started, and nothing else, and removes what it left, the bets too.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh
. scripts/processes.sh

if [ -d "$run" ]; then
    stop_all
    echo "the local processes are stopped"
fi
if engine_answers; then
    remove_project
fi
