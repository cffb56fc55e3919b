#!/bin/sh
# Runs three centrals of one lottery on one PostgreSQL, and AGENCIES (5) agencies with BETS (20000)
# bets each, as local processes. Kills one central with SIGKILL on the way, so that its agencies go
# on at another one. Then exports the bets and compares them with those of the agencies. Leaves the
# other centrals running.
set -eu
cd "$(dirname "$0")/.."
. scripts/lottery.sh
SERVER_PORT=${SERVER_PORT:-12345}
PROTOCOL=${PROTOCOL:-keyed}
AGENCIES=${AGENCIES:-5}
BETS=${BETS:-20000}
require_port
require_dialect
sh scripts/postgres.sh installed

ports="$SERVER_PORT $((SERVER_PORT + 1)) $((SERVER_PORT + 2))"
numbers=$(seq "$AGENCIES")

prepare_run
directory=$(mktemp -d)
# PostgreSQL runs as another user if root starts it.
chmod 711 "$directory"
echo "$directory" >"$run/postgres"
url=$(sh scripts/postgres.sh start "$directory/postgres")
"$client" generate --agencies "$AGENCIES" --bets "$BETS" --winners "$((BETS / 100))" --out "$run/data" >/dev/null

# `make ipcs` reads this file, which selects the second central: the first one is killed.
cat >"$run/environment" <<END
export SERVER_PORT=$((SERVER_PORT + 1)) SERVER_IP=127.0.0.1 SERVER_CENTRAL_NAME=server2
export SERVER_STORAGE=$url SERVER_AGENCIES=$AGENCIES SERVER_PROTOCOL=$PROTOCOL
export CLI_DATA=$run/data/agency-{id}.csv CLI_PROTOCOL=$PROTOCOL CLI_BATCH_MAXAMOUNT=10
END
# shellcheck disable=SC1090 # just written
. "./$run/environment"

number=1
for port in $ports; do
    export SERVER_CENTRAL_NAME="server$number"
    start_central "server$number" "$port"
    number=$((number + 1))
done
export SERVER_CENTRAL_NAME=server2
echo "three centrals are running on the ports $ports; $AGENCIES agencies send $BETS bets each"

# Prints the number of bets that are stored, over all centrals.
stored() {
    "$server" status --config server/config.ini | sed -n 's/^winners .*bets \([0-9]*\).*/\1/p' | tail -n 1
}

# addresses NUMBER: prints the addresses of all centrals. The agencies take turns to begin with
# each of them.
addresses() {
    echo "$ports" | awk -v first="$1" '{
        for (i = 0; i < NF; i++) printf "%s127.0.0.1:%s", i ? "," : "", $((first - 1 + i) % NF + 1)
    }'
}

agencies=
for number in $numbers; do
    agency "$number" "$(addresses "$number")" >>"$run/client$number.log" &
    agencies="$agencies $!"
done

while sleep 0.05; do
    bets=$(stored)
    [ "${bets:-0}" -lt $((AGENCIES * BETS / 3)) ] || break
    require_run
done
alive server1 && kill -KILL "$pid"
echo "the central server1 is killed (SIGKILL) after $bets bets"

for agency in $agencies; do
    wait "$agency" || true
done
require_run

echo
failed=0
# shellcheck disable=SC2086 # several words
print_results "" $numbers || failed=1

"$server" export --config server/config.ini "$run/export" 2>"$run/export.log" || { cat "$run/export.log" >&2; exit 1; }
for number in $numbers; do
    sed "s/^/$number,/" "$run/data/agency-$number.csv"
done | sort >"$run/sent"
sort "$run/export/bets.csv" >"$run/stored"
missing=$(comm -23 "$run/sent" "$run/stored" | wc -l)
more=$(comm -13 "$run/sent" "$run/stored" | wc -l)
echo "sent      $(wc -l <"$run/sent") bets"
echo "stored    $(wc -l <"$run/stored") bets: $missing missing, $more stored twice or unknown"
[ "$missing" -eq 0 ] && [ "$more" -eq 0 ] || failed=1
echo "winners   $(wc -l <"$run/export/winners.log"); the draw has $(sed 1d "$run/export/draw.csv" | wc -l)"
echo "the other centrals are running: make logs, make ipcs; make down stops them and removes the bets"
exit "$failed"
