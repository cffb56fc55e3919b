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

# Build all of them at once: separate builds would compile the dependencies twice.
build_static server monitor client compose
keep loteria-monitor
keep compose
sh scripts/pack.sh "$(program loteria-central)" "$(program loteria-agency)"
"$(program compose)" --protocol "${PROTOCOL:-}" "$compose_file" 5
remove_project
if ! compose up --detach; then
    echo "the containers did not start; the central's last lines:" >&2
    docker logs --tail 5 server >&2 || true
    explain_failed_start >&2
    exit 1
fi

followers=
# shellcheck disable=SC2317,SC2329 # called by the trap
stop_following() {
    # shellcheck disable=SC2086 # several words
    [ -z "$followers" ] || kill $followers 2>/dev/null || true
}
trap stop_following EXIT
trap 'echo "no longer following; the containers keep running until make down"; exit 130' INT
trap 'exit 143' TERM

# follow NAME: copies a container's log to the terminal, each line after the name, until the
# container exits. Compose could follow all of them, but takes many seconds to start on a loaded
# machine.
follow() {
    docker logs --follow "$1" 2>&1 | while IFS= read -r line; do
        printf '%-8s | %s\n' "$1" "$line"
    done
}

echo "the central live: docker exec -it server /loteria-central top"
for name in $agencies; do
    follow "$name" &
    followers="$followers $!"
done
# shellcheck disable=SC2086 # several words
docker wait $agencies >/dev/null
for follower in $followers; do
    wait "$follower" || true
done
followers=

# Without a draw, an answer is the total at its moment, and other agencies may have sent bets later.
note=", so far"
if docker logs server 2>&1 | grep -q 'action: sorteo | result: success'; then
    note=
fi
echo
failed=0
for name in $agencies; do
    code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
    docker logs "$name" 2>&1 | sh scripts/result.sh "$name" "$code" "$note" || failed=1
done
docker exec server /loteria-central status | sed -n 's/^winners/central  winners/p'
echo "the central is running: make logs, make ipcs; make down stops it and removes its bets"
exit "$failed"
