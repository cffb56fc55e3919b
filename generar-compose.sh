#!/bin/bash
# Writes a Compose file for the central and a number of agencies:
#
#   ./generar-compose.sh docker-compose-dev.yaml 5
#
# PROTOCOL=echo (or any other dialect) in the environment overrides the dialect of the configuration
# files. Options follow the number of agencies: --centrals 3 --engine postgres writes the file of
# three centrals that store their bets in PostgreSQL.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: [PROTOCOL=NAME] $0 FILE AGENCIES [OPTION...], for example $0 docker-compose-dev.yaml 5" >&2
    exit 2
fi
here=$PWD
cd "$(dirname "$0")"
. scripts/engine.sh
. scripts/programs.sh

# The first build takes minutes, so the program is kept in dist/.
if ! is_current dist/compose compose shared/lottery; then
    sh scripts/need.sh cargo rustc
    # Built like the programs in the images where possible, so that they share compiled
    # dependencies.
    if links_statically; then
        build_static compose
    else
        build compose
    fi
    keep compose
fi
compose=$PWD/dist/compose
cd "$here"
exec "$compose" --protocol "${PROTOCOL:-}" "$@"
