#!/bin/sh
# Runs the lottery as local processes: the central and five agencies. Until the agencies exit, shows
# the central live on a terminal. Elsewhere, with NO_COLOR or with --no-progress, prints the logs of
# the agencies. Then prints their results and leaves the central running. Writes only into .run/.
# First removes what an earlier run left there, including its bets, because this run's results would
# include them.
set -eu
cd "$(dirname "$0")/.."
. scripts/lottery.sh
SERVER_PORT=${SERVER_PORT:-12345}
require_port
require_dialect

agencies="1 2 3 4 5"
live=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${1:-}" != --no-progress ] && [ "${TERM:-dumb}" != dumb ]; then
    live=yes
fi

prepare_run
mkdir "$run/storage"

# The demo listens on loopback only. `make ipcs` reads this file.
cat >"$run/environment" <<END
export SERVER_PORT=$SERVER_PORT SERVER_IP=127.0.0.1 SERVER_STORAGE_DIR=$run/storage
END
# The agencies send all their bets in every demo, so their state files are those of this run.
echo "export CLI_STATE=$run/agency-{id}.resume" >>"$run/environment"
# PROTOCOL overrides the dialect of both configuration files, as in generar-compose.sh.
[ -z "${PROTOCOL:-}" ] || echo "export SERVER_PROTOCOL=$PROTOCOL CLI_PROTOCOL=$PROTOCOL" >>"$run/environment"
# shellcheck disable=SC1090 # just written
. "./$run/environment"

start_central server "$SERVER_PORT"

# show NAME: copies a log to the terminal, each line after the name, and to a file.
show() {
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$run/$1.log" 2>/dev/null || true
        printf '%-8s | %s\n' "$1" "$line"
    done
}

# follow NAME: copies a log to the terminal and to a file, or only to a file beside the live view.
follow() {
    if [ -n "$live" ]; then cat >"$run/$1.log"; else show "$1"; fi
}

# view: shows the central live until the agencies have ended or the user leaves.
view() {
    # A command in the background has no input otherwise.
    "$server" top --config server/config.ini </dev/tty &
    remember client-view "$!"
    wait "$!" || true
    [ -e "$run/ended" ] || echo "the agencies go on: make logs shows what they do, Ctrl-C stops all"
}

# winners: prints the number of winners in an agency's last answer, read from its log.
winners() {
    sed -n 's/.*action: consulta_ganadores | result: success | cant_ganadores: //p' | tail -n 1
}

# ask NUMBER: prints the total that an agency without further bets gets.
ask() {
    CLI_ID=$1 CLI_SERVER_ADDRESS=127.0.0.1:$SERVER_PORT CLI_DATA=/dev/null \
        "$client" run --config client/config.yaml --no-progress </dev/null 2>&1 | winners
}

shows=
for number in $agencies; do
    agency "$number" "127.0.0.1:$SERVER_PORT" | follow "client$number" &
    shows="$shows $!"
done
viewer=
if [ -n "$live" ]; then
    view &
    viewer=$!
fi
# A bare `wait` would wait for the central too. Each agency writes its exit code to its own file.
for show in $shows; do
    wait "$show" || true
done

if [ -n "$viewer" ]; then
    # The agencies of the demo end soon, and the last state should be legible.
    alive client-view && sleep 2
    touch "$run/ended" 2>/dev/null || true
    stop client-view
    wait "$viewer" || true
fi
require_run
if ! alive server; then
    echo "the central has exited: $(tail -n 1 "$run/server.log")" >&2
    stop_all
    exit 1
fi

# Without a draw, an answer is the total at its moment, and other agencies may have sent bets later.
answers=total note=", so far"
if grep -q 'action: sorteo | result: success' "$run/server.log"; then
    answers=own note=
fi
echo
failed=0
# shellcheck disable=SC2086 # several words
print_results "$note" $agencies || failed=1
status=$("$server" status --config server/config.ini | sed -n 's/^winners/central  winners/p')
echo "$status"
# The echo exercise has no winners. After a failure the answers of all agencies are not comparable.
if [ "$failed" -eq 0 ] && cat "$run"/client?.log | winners | grep -q .; then
    for number in $agencies; do
        if [ "$answers" = own ]; then winners <"$run/client$number.log"; else ask "$number"; fi
    done >"$run/answers"
    stored=$(echo "$status" | sed 's/central  winners \([0-9]*\).*/\1/')
    sh scripts/agreement.sh "$answers" "$stored" <"$run/answers" || failed=1
fi
echo "the central is running on port $SERVER_PORT: make logs, make ipcs; make down stops it and removes its bets"
exit "$failed"
