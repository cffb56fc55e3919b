#!/bin/sh
# Runs the lottery: in containers where a Docker engine answers, else as processes of this machine.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh

if engine_answers; then
    exec sh scripts/containers.sh
fi
echo "no Docker engine answers: the same runs as local processes"
exec sh scripts/local.sh
