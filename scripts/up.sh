#!/bin/sh
# Runs the lottery: in containers where Docker with Compose is installed, else as local processes.
# --no-progress prints the logs of local processes instead of the live view of the central.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh

missing=$(missing_for_containers)
if [ -z "$missing" ]; then
    exec sh scripts/containers.sh
fi
echo "$missing: the lottery runs as local processes"
exec sh scripts/local.sh "$@"
