#!/bin/sh
# Performs one run of the bench: starts a server, sends load to it, stops it, and prints the figures
# as one line of JSON.
#
#     measure.sh bare|process|disk|python|python-tuned NAME
#
# run.sh calls it and sets BENCH_BIN (directory of the programs), BENCH_WORK (directory for
# temporary files), BENCH_NETWORK (private or host), BENCH_SECONDS, BENCH_CLIENTS, BENCH_WORKERS,
# BENCH_PROTOCOL, BENCH_KEPT (1: one connection per client) and BENCH_BATCH (options of the batch).
#
# shellcheck disable=SC2086 # BENCH_BATCH contains several words
set -eu

kind=$1
name=$2
here=$(cd "$(dirname "$0")" && pwd)
bench=$BENCH_BIN/lottery-bench
storage=$BENCH_WORK/storage
log=$BENCH_WORK/server.log
server_pid=
load_pid=

# Time limits in seconds for a server to listen, and to stop before it is killed.
START_LIMIT=15
STOP_LIMIT=15

# Stops process $1 with SIGTERM, and with SIGKILL after the limit.
stop() {
    kill -TERM "$1" 2>/dev/null || return 0
    tries=$((STOP_LIMIT * 10))
    while [ "$tries" -gt 0 ] && kill -0 "$1" 2>/dev/null; do
        tries=$((tries - 1))
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
}

cleanup() {
    for pid in $load_pid $server_pid; do
        stop "$pid"
    done
    rm -rf "$storage"
}
trap cleanup EXIT
trap 'exit 143' INT TERM

# In a new network namespace the loopback interface is down.
[ "$BENCH_NETWORK" = host ] || ip link set lo up

# Replaces this shell by the server.
serve() {
    cd "$BENCH_WORK"
    case $kind in
    bare)
        bytes=$("$bench" batch $BENCH_BATCH | wc -c)
        # A worker serves one connection at a time, so each kept connection needs its own.
        if [ -n "$BENCH_KEPT" ]; then
            set -- "$BENCH_BIN/bare_prefork" 0 "$BENCH_CLIENTS" "$bytes" kept
        else
            set -- "$BENCH_BIN/bare_prefork" 0 "$BENCH_WORKERS" "$bytes"
        fi ;;
    python)
        set -- python3 "$here/multiprocessing_server.py" 0 "$BENCH_WORKERS" "$storage" plain ;;
    python-tuned)
        set -- python3 "$here/multiprocessing_server.py" 0 "$BENCH_WORKERS" "$storage" tuned ;;
    process | disk)
        set -- env SERVER_IP=127.0.0.1 SERVER_PORT=0 SERVER_PROTOCOL="$BENCH_PROTOCOL" SERVER_WORKERS="$BENCH_WORKERS" \
            SERVER_STORAGE_DIR="$storage" SERVER_DURABILITY="$kind" LOGGING_LEVEL=INFO "$BENCH_BIN/server" run ;;
    esac
    exec "$@"
}

# Waits until the server logs that it listens, and sets `address`.
await_server() {
    tries=$((START_LIMIT * 10))
    while [ "$tries" -gt 0 ] && kill -0 "$server_pid" 2>/dev/null; do
        port=$(sed -n 's/.*action: listen | result: success.* port: \([0-9]*\).*/\1/p' "$log")
        if [ -n "$port" ]; then
            address=127.0.0.1:$port
            return
        fi
        tries=$((tries - 1))
        sleep 0.1
    done
    echo "$name has ended or does not listen after $START_LIMIT s; its output:" >&2
    cat "$log" >&2
    return 1
}

# Sends load for $1 seconds; the other arguments are options.
load() {
    seconds=$1
    shift
    "$bench" load --address "$address" --clients "$BENCH_CLIENTS" --seconds "$seconds" $BENCH_BATCH "$@" &
    load_pid=$!
    wait "$load_pid"
    load_pid=
}

mkdir -p "$storage"
: >"$log" # await_server reads it immediately
serve >"$log" 2>&1 &
server_pid=$!
await_server
if [ "$kind" = bare ]; then
    set -- --raw-reply 3
else
    set --
fi
[ -z "$BENCH_KEPT" ] || set -- "$@" --kept
load 0.5 "$@" >/dev/null
load "$BENCH_SECONDS" "$@" --name "$name" --server-pid "$server_pid" --json
