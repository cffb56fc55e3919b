#!/bin/sh
# Says whether the echo server answers a line with the same line. Netcat runs in a container in the server's network: this
# machine needs none, and no port is published. Prints one line, exits 0 on success and 1 on failure.
set -u
cd "$(dirname "$0")" || exit 1
. scripts/engine.sh

network=${project}_testing_net
host=server
port=$(sed -n 's/^[[:space:]]*SERVER_PORT[[:space:]]*[=:][[:space:]]*\([0-9]\{1,\}\).*/\1/p' server/config.ini | head -n 1)
port=${port:-12345}
container=$project-netcat-$$
# Different each time, so that nothing but an echo can know it.
message="echo test $$ $(od -An -N8 -tx8 /dev/urandom | tr -d ' ')"

# fail [REASON]: the result, and on standard error why.
fail() {
    [ $# -eq 0 ] || echo "validar-echo-server.sh: $1" >&2
    echo "action: test_echo_server | result: fail"
    exit 1
}

# What runs in the container, by busybox's shell: HOST PORT MESSAGE. Prints the first line that comes back. Its end is
# the end of netcat too, whatever the server does with the connection: as the container's first process it takes all
# others with it. Only a connection that is refused is tried again: the server may have been started a moment ago.
# shellcheck disable=SC2016 # to be expanded in the container
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
    fail "there is no network $network: the server has to be started first, with Compose"
image=$(sh scripts/netcat-image.sh) || fail

reply=$(docker run --rm --name "$container" --network "$network" "$image" \
    /bin/busybox sh -c "$probe" probe "$host" "$port" "$message")
case $? in
0) ;;
1) fail "no server listens at $host:$port" ;;
2) fail "$host:$port did not answer with a line" ;;
*) fail "netcat cannot be run in a container of $image" ;;
esac
[ "$reply" = "$message" ] || fail "$host:$port answered with other text: $reply"
echo "action: test_echo_server | result: success"
