#!/bin/sh
# Prints the logs of the running lottery from their beginning; with FOLLOW=1 it then follows them.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh
. scripts/processes.sh

if [ -d "$run" ]; then
    if [ "${FOLLOW:-0}" = 1 ]; then
        exec tail -n +1 -f "$run"/*.log
    fi
    for log in "$run"/server*.log "$run"/client*.log; do
        [ ! -f "$log" ] || sed "s/^/$(basename "$log" .log) | /" "$log"
    done
elif containers_exist; then
    if [ "${FOLLOW:-0}" = 1 ]; then
        compose logs --no-color --follow
    else
        compose logs --no-color
    fi
else
    echo "nothing is running: make up, make demo or make up-cluster starts it" >&2
    exit 1
fi
