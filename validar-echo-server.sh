#!/bin/sh
# Checks that the echo server replies to a line with the same line. Netcat runs in a container in
# the server's network, so the host needs no netcat and the server publishes no port. Prints one
# line. Exits 0 on success and 1 on failure.
set -u
cd "$(dirname "$0")" || exit 1
. scripts/engine.sh

network=${project}_testing_net
host=server
port=$(sed -n 's/^[[:space:]]*SERVER_PORT[[:space:]]*[=:][[:space:]]*\([0-9]\{1,\}\).*/\1/p' server/config.ini | head -n 1)
port=${port:-12345}
container=$project-netcat-$$
# Different in each run, so that only an echo can return it.
message="echo test $$ $(od -An -N8 -tx8 /dev/urandom | tr -d ' ')"

# fail [REASON]: prints the result, and the reason on standard error.
fail() {
    [ $# -eq 0 ] || echo "validar-echo-server.sh: $1" >&2
    echo "action: test_echo_server | result: fail"
    exit 1
}

# Script for busybox's shell in the container, with the arguments HOST PORT MESSAGE. Prints the
# first line of the reply. As the container's first process it ends netcat when it exits, even if
# the server keeps the connection open. It retries only refused connections: the server may have
# just started.
# shellcheck disable=SC2016 # expanded in the container
probe='
trap "exit 1" INT TERM
/bin/busybox mkfifo /sent /received || exit 3
for attempt in 1 2 3 4 5 6 7 8; do
    /bin/busybox nc -w 5 "$1" "$2" </sent >/received 2>/dev/null &
    exec 3>/sent
    printf "%s\n" "$3" >&3
    if IFS= read -r -t 5 line </received; then
        printf "%s\n" "$line"
        exit 0
    fi
    exec 3>&-
    kill "$!" 2>/dev/null
    wait "$!" 2>/dev/null
    [ "$?" -eq 1 ] || exit 2
    /bin/busybox sleep 1
done
exit 1
'

trap 'docker rm --force "$container" >/dev/null 2>&1; fail interrupted' INT TERM HUP
engine_answers || fail "no Docker engine answers"
docker network inspect "$network" >/dev/null 2>&1 ||
    fail "there is no network $network: start the server with Compose first"
image=$(sh scripts/netcat-image.sh) || fail

# Prints the end of a sentence that names the dialect of the port, if the central has logged it.
spoken_dialect() {
    docker logs "$host" 2>&1 |
        sed -n "s/.*action: listen | result: success .*| port: $port | protocol: \([a-z0-9-]*\).*/\1/p" |
        tail -n 1 | sed "s/^echo\$//; s/.\{1,\}/; it speaks &: PROTOCOL=echo .\/generar-compose.sh FILE AGENCIES makes it speak echo/"
}

reply=$(docker run --rm --name "$container" --network "$network" "$image" \
    /bin/busybox sh -c "$probe" probe "$host" "$port" "$message")
case $? in
0) ;;
1) fail "no server listens at $host:$port" ;;
2) fail "$host:$port did not reply with a line$(spoken_dialect)" ;;
*) fail "cannot run netcat in a container of $image" ;;
esac
[ "$reply" = "$message" ] || fail "$host:$port replied with other text: $reply$(spoken_dialect)"
echo "action: test_echo_server | result: success"
