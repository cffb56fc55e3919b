#!/bin/sh
# Shows the shared memory of the central, first with its own `server ipcs`, then with the system's tools as far as
# they can: `ipcs` knows System V segments only, `lsipc` shows POSIX ones, which ours are, from util-linux 2.41 on.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh
. scripts/processes.sh

if [ ! -d "$run" ] && containers_exist; then
    docker exec server /server ipcs
    echo "the system's ipcs and lsipc cannot show these: they look at this machine, and a container has its own /dev/shm"
    exit
fi

sh scripts/need.sh cargo ipcs
cargo build --release --quiet --package server
[ ! -f "$run/environment" ] || . "./$run/environment"
"${CARGO_TARGET_DIR:-target}/release/server" ipcs
ipcs -m
if lsipc -M >/dev/null 2>&1; then
    lsipc -M
else
    version=$(ipcs --version | sed 's/.*util-linux/util-linux/')
    echo "the system's tools ($version) show System V segments only; ours are POSIX ones, files in /dev/shm," \
        "which lsipc -M shows from util-linux 2.41 on"
fi
