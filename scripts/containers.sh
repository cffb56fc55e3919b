#!/bin/sh
# Runs the lottery in containers: the central and five agencies. Follows the agencies until they
# exit, prints their results and leaves the central running. First removes the containers and the
# bets of an earlier run, because this run's results would include those bets.
set -eu
cd "$(dirname "$0")/.."
. scripts/engine.sh
. scripts/programs.sh
sh scripts/need.sh cargo rustc docker

agencies="client1 client2 client3 client4 client5"

# Build all three at once: separate builds would compile the dependencies twice.
build_static server client compose
sh scripts/pack.sh "$(program server)" "$(program client)"
"$(program compose)" --protocol "${PROTOCOL:-}" "$compose_file" 5
remove_project
if ! compose up --detach; then
    echo "the containers did not start; the central's last lines:" >&2
    docker logs --tail 5 server >&2 || true
    exit 1
fi

follower=
# shellcheck disable=SC2317,SC2329 # called by the trap
stop_following() {
    [ -z "$follower" ] || kill "$follower" 2>/dev/null || true
}
trap stop_following EXIT
trap 'echo "no longer following; the containers keep running until make down"; exit 130' INT
trap 'exit 143' TERM

# shellcheck disable=SC2086 # several words
compose logs --follow --no-color $agencies &
follower=$!
# shellcheck disable=SC2086 # several words
docker wait $agencies >/dev/null
# Compose may still have to print the last lines.
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
