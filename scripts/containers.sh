#!/bin/sh
# The lottery in containers: the central and five agencies. Follows the agencies until they end, prints their
# results and leaves the central running. What an earlier run left, its bets too, is removed first: they would be
# counted into this run's results.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh

agencies="client1 client2 client3 client4 client5"

sh scripts/image.sh
./generar-compose.sh "$compose_file" 5
remove_project
if ! compose up --detach; then
    echo "the containers did not start; the central's last lines:" >&2
    docker logs --tail 5 server >&2 || true
    exit 1
fi

follower=
# shellcheck disable=SC2329 # called by the trap
stop_following() {
    [ -z "$follower" ] || kill "$follower" 2>/dev/null || true
}
trap stop_following EXIT
trap 'echo "no longer following; the containers run on until make down"; exit 130' INT
trap 'exit 143' TERM

# shellcheck disable=SC2086 # to be split
compose logs --follow --no-color $agencies &
follower=$!
# shellcheck disable=SC2086 # to be split
docker wait $agencies >/dev/null
# The last lines may still be on their way.
tenths=0
while kill -0 "$follower" 2>/dev/null && [ "$tenths" -lt 20 ]; do
    sleep 0.1
    tenths=$((tenths + 1))
done

echo
failed=0
for name in $agencies; do
    code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
    docker logs "$name" 2>&1 | sh scripts/result.sh "$name" "$code" || failed=1
done
docker exec server /server status | sed -n 's/^winners/central  winners/p'
echo "the central is running: make logs, make ipcs; make down stops it and removes its bets"
exit "$failed"
