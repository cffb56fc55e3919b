#!/bin/sh
# The lottery as processes of this machine: the central and five agencies. Follows the agencies until they end,
# prints their results and leaves the central running. Everything the run writes is in .run/, and what an earlier
# run left there, its bets too, is removed first: they would be counted into this run's results.
set -eu
cd "$(dirname "$0")/.."
. scripts/processes.sh
SERVER_PORT=${SERVER_PORT:-12345}
case $SERVER_PORT in
'' | *[!0-9]* | 0)
    echo "SERVER_PORT is $SERVER_PORT: the demo needs a port that is known beforehand, such as 12345" >&2
    exit 2
    ;;
esac
case ${PROTOCOL:-} in
*[!a-z0-9-]*)
    echo "PROTOCOL is $PROTOCOL, which is no dialect" >&2
    exit 2
    ;;
esac
sh scripts/need.sh cargo

agencies="1 2 3 4 5"
programs=${CARGO_TARGET_DIR:-target}/release

cargo build --release --quiet --package server --package client
stop_all
mkdir -p "$run/storage"
trap 'stop_all; exit 130' INT
trap 'stop_all; exit 143' TERM

# Only for this machine: nobody else is meant to bet here. Kept in a file for `make ipcs`.
cat >"$run/environment" <<END
export SERVER_PORT=$SERVER_PORT SERVER_IP=127.0.0.1 SERVER_STORAGE_DIR=$run/storage
END
# A dialect other than that of the configuration files, as for generar-compose.sh.
[ -z "${PROTOCOL:-}" ] || echo "export SERVER_PROTOCOL=$PROTOCOL CLI_PROTOCOL=$PROTOCOL" >>"$run/environment"
. "./$run/environment"

# Says why there is no central, and ends.
no_central() {
    echo "the central did not start: $1" >&2
    stop_all
    exit 1
}

"$programs/server" run --config server/config.ini </dev/null >/dev/null 2>"$run/server.log" &
server=$!
remember server "$server"
tenths=0
while sleep 0.1; do
    if ! alive server; then
        code=0
        wait "$server" || code=$?
        [ "$code" -ne 5 ] || no_central "port $SERVER_PORT is taken; SERVER_PORT=12346 before the command uses another"
        no_central "exit code $code, $(tail -n 1 "$run/server.log")"
    fi
    "$programs/server" health --config server/config.ini >/dev/null 2>&1 && break
    tenths=$((tenths + 1))
    [ "$tenths" -lt 150 ] || no_central "not ready after 15 s, $(tail -n 1 "$run/server.log")"
done

# show NAME: passes a log on, with the name before every line, and keeps it.
show() {
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$run/$1.log" 2>/dev/null || true
        printf '%-8s | %s\n' "$1" "$line"
    done
}

# agency NUMBER: runs one agency to its end.
agency() {
    CLI_ID=$1 CLI_SERVER_ADDRESS=127.0.0.1:$SERVER_PORT \
        "$programs/client" run --config client/config.yaml </dev/null 2>&1 &
    remember "client$1" "$!"
    code=0
    wait "$!" || code=$?
    echo "$code" >"$run/client$1.code"
}

shows=
for number in $agencies; do
    agency "$number" | show "client$number" &
    shows="$shows $!"
done
# Not a bare `wait`: the central is a child too, and stays. Each agency's own code is in its file.
for show in $shows; do
    wait "$show" || true
done

if [ ! -d "$run" ] || [ -e "$run/stopping" ]; then
    echo "stopped by make down" >&2
    exit 1
elif ! alive server; then
    echo "the central has ended: $(tail -n 1 "$run/server.log")" >&2
    stop_all
    exit 1
fi

echo
failed=0
for number in $agencies; do
    touch "$run/client$number.log"
    sh scripts/result.sh "client$number" "$(cat "$run/client$number.code")" <"$run/client$number.log" || failed=1
done
"$programs/server" status --config server/config.ini | sed -n 's/^winners/central  winners/p'
echo "the central is running on port $SERVER_PORT: make logs, make ipcs; make down stops it and removes its bets"
exit "$failed"
