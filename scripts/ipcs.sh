#!/bin/sh
# Shows the shared memory of the central with `loteria-central ipcs`, then with the system's tools.
# `ipcs` lists System V segments only. `lsipc` lists POSIX segments, which the central uses, from
# util-linux 2.41 on.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh
. scripts/processes.sh
. scripts/programs.sh

if [ ! -d "$run" ] && containers_exist; then
    docker exec server /loteria-central ipcs
    echo "the system's ipcs and lsipc cannot show these: they look at this machine, and a container has its own /dev/shm"
    exit
fi

sh scripts/need.sh cargo ipcs
build server client
# shellcheck disable=SC1090 # written by local.sh
[ ! -f "$run/environment" ] || . "./$run/environment"
"$(program loteria-central)" ipcs
ipcs -m
if lsipc -M >/dev/null 2>&1; then
    lsipc -M
else
    version=$(ipcs --version | sed 's/.*util-linux/util-linux/')
    echo "the system's tools ($version) show System V segments only; the central's are POSIX segments, files in /dev/shm," \
        "which lsipc -M shows from util-linux 2.41 on"
fi
