#!/bin/bash
# Writes a Compose file for the central and a number of agencies:
#   ./generar-compose.sh docker-compose-dev.yaml 5
# With PROTOCOL=echo (or any other dialect) before it, all of them speak that, whatever their configuration files say.
# A thin front of the `compose` program, which it builds first when needed.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: [PROTOCOL=NAME] $0 FILE AGENCIES, for example $0 docker-compose-dev.yaml 5" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")" && pwd)
sh "$root/scripts/need.sh" cargo
exec cargo run --quiet --manifest-path "$root/Cargo.toml" --package compose -- --protocol "${PROTOCOL:-}" "$1" "$2"
