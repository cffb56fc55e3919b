#!/bin/sh
# Stops exactly what `make up`, `make demo` or `make up-cluster` started, and removes what it left,
# including the bets.
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
