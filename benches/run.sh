#!/bin/sh
# Measures the central and reference servers in alternating rounds and prints a Markdown report:
#
#   bare C          pre-fork server that reads as many bytes, replies with three bytes and does
#                   nothing else (bare_prefork.c)
#   ours, process   the central, durability `process`
#   ours, disk      the central, durability `disk`
#   Python          `multiprocessing` server of the same protocol, written in the usual way
#                   (multiprocessing_server.py)
#   Python, tuned   the same with buffered reads and the fastest date parser of the standard library
#
# Every client opens a connection, sends one batch of 8 kB, reads the reply and closes. With
# BENCH_KEPT=1 it sends all its batches over one connection; BENCH_PROTOCOL must then be a dialect
# that keeps connections. The central writes up to 300 MB per second meanwhile. The files are
# deleted after each run.
#
# Settings, with their defaults:
#   BENCH_ROUNDS    5
#   BENCH_SECONDS   3, per run
#   BENCH_CLIENTS   4
#   BENCH_WORKERS   one per CPU, at least 2
#   BENCH_BATCH     empty; options such as "--four-fields" or "--bets-per-batch 10"
#   BENCH_SERVERS   "bare process disk python python-tuned"
#   BENCH_PROTOCOL  typed, the only one that the Python server implements
#   BENCH_KEPT      empty
#   BENCH_DIR       directory for the storage; by default the build directory
#
# shellcheck disable=SC2086 # BENCH_BATCH and enter contain several words
set -eu

invocation=$(env | sed -n 's/^\(BENCH_[A-Z]*\)=\(.*\)/\1="\2"/p' | sort | tr '\n' ' ')$0
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."

. scripts/programs.sh
sh scripts/need.sh cargo cc python3

cpus=$(nproc)
: "${BENCH_ROUNDS:=5}" "${BENCH_SECONDS:=3}" "${BENCH_CLIENTS:=4}" "${BENCH_BATCH:=}"
: "${BENCH_PROTOCOL:=typed}" "${BENCH_KEPT:=}"
if [ "$BENCH_PROTOCOL" = typed ]; then
    : "${BENCH_SERVERS:=bare process disk python python-tuned}"
else
    : "${BENCH_SERVERS:=bare process disk}"
    BENCH_BATCH="--protocol $BENCH_PROTOCOL $BENCH_BATCH"
fi
: "${BENCH_WORKERS:=$((cpus > 2 ? cpus : 2))}"

build server lottery-bench
: "${BENCH_DIR:=$(dirname "$(program server)")}"
mkdir -p "$BENCH_DIR"
BENCH_WORK=$(mktemp -d "$(cd "$BENCH_DIR" && pwd)/bench.XXXXXX")
BENCH_BIN=$BENCH_WORK/bin

run_pid=
cleanup() {
    if [ -n "$run_pid" ]; then
        kill -TERM "$run_pid" 2>/dev/null || true
        wait "$run_pid" 2>/dev/null || true
    fi
    rm -rf "$BENCH_WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$BENCH_BIN"
cp "$(program server)" "$(program lottery-bench)" "$BENCH_BIN"
cc -std=c11 -O2 -Wall -Wextra -o "$BENCH_BIN/bare_prefork" "$here/bare_prefork.c"

# Every run gets its own network namespace if possible. Then no firewall tracks its connections (at
# this rate a tracking table fills up within seconds and the whole machine loses packets), and no
# run inherits the closed connections of the previous one.
BENCH_NETWORK=host
enter=
for candidate in "unshare --net" "unshare --map-root-user --net"; do
    if $candidate ip link set lo up 2>/dev/null; then
        BENCH_NETWORK=private enter=$candidate
        break
    fi
done
export BENCH_PROTOCOL BENCH_KEPT BENCH_BIN BENCH_WORK BENCH_NETWORK BENCH_SECONDS BENCH_CLIENTS BENCH_WORKERS BENCH_BATCH

name_of() {
    case $1 in
    bare) echo "bare C" ;;
    process | disk) echo "ours, $1" ;;
    python) echo "Python" ;;
    python-tuned) echo "Python, tuned" ;;
    *) echo "BENCH_SERVERS contains $1, expected bare, process, disk, python or python-tuned" >&2; return 2 ;;
    esac
}

# measure KIND: performs one run and appends it to the list of runs.
measure() {
    name=$(name_of "$1")
    echo "round $round of $BENCH_ROUNDS: $name" >&2
    $enter "$here/measure.sh" "$1" "$name" >>"$BENCH_WORK/runs.jsonl" &
    run_pid=$!
    wait "$run_pid"
    run_pid=
}

round=1
while [ "$round" -le "$BENCH_ROUNDS" ]; do
    for kind in $BENCH_SERVERS; do
        measure "$kind"
    done
    round=$((round + 1))
done

set --
for kind in $BENCH_SERVERS; do
    case $kind in
    bare | python) set -- "$@" --against "$(name_of "$kind")" ;;
    esac
done
cat <<END
Medians (and extremes) of $BENCH_ROUNDS alternating rounds of $BENCH_SECONDS s; $BENCH_CLIENTS clients, $BENCH_WORKERS workers,
batches of $("$BENCH_BIN/lottery-bench" batch $BENCH_BATCH | wc -c) bytes in \`$BENCH_PROTOCOL\`, $([ -n "$BENCH_KEPT" ] && echo "one connection per client" || echo "one connection per batch"). Ratios are computed within each round.

- machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $cpus CPUs, $(uname -s) $(uname -r) $(uname -m)
- storage: $(stat -f -c %T "$BENCH_WORK"); network: loopback, $BENCH_NETWORK
- date: $(date -u +%Y-%m-%d)
- command: \`$invocation\`

END
"$BENCH_BIN/lottery-bench" report "$BENCH_WORK/runs.jsonl" "$@"
