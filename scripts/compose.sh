#!/bin/sh
# compose.sh up|down|logs: the assignment's docker-compose-* targets, on docker-compose-dev.yaml.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh

case $1 in
up)
    [ -f "$compose_file" ] || ./generar-compose.sh "$compose_file" 5
    sh scripts/image.sh
    compose up --detach
    ;;
down)
    # The file sets a grace period for the central only, and an agency may be in the middle of a
    # batch.
    ! containers_exist || compose stop --timeout 15
    remove_project
    ;;
logs)
    if ! containers_exist; then
        echo "nothing is running: make docker-compose-up starts it" >&2
        exit 1
    fi
    compose logs --follow
    ;;
esac
