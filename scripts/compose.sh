#!/bin/sh
# compose.sh up|down|logs: the assignment's docker-compose-* targets, on docker-compose-dev.yaml.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh

case $1 in
up)
    if [ ! -f "$compose_file" ]; then
        ./generar-compose.sh "$compose_file" 5
    elif [ -n "${PROTOCOL:-}" ]; then
        # The dialect is in the file, which says itself that changes are lost.
        agencies=$(grep -c '^  client[0-9]*:$' "$compose_file" || true)
        echo "writing $compose_file again, for $agencies agencies that speak $PROTOCOL"
        ./generar-compose.sh "$compose_file" "$agencies"
    fi
    sh scripts/image.sh
    if ! compose up --detach; then
        explain_failed_start >&2
        exit 1
    fi
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
