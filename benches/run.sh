#!/bin/sh
# Measures the central and other servers in alternating rounds, writes the results as JSON into
# benches/results/, and prints their tables. `make plots` then shows them in docs/measurements.md.
#
# Settings, with their defaults:
#   BENCH           main: the most important rows, a few minutes.
#                   goals: all that the goals and the plots need, about 10 minutes.
#                   all: every dialect, load, durability and size of batch, about an hour.
#                   Anything else: the rows whose identifiers contain one of these words, such as
#                   "disk/typed redis". `make bench BENCH=list` lists the identifiers.
#   BENCH_ROUNDS    3
#   BENCH_SECONDS   2, per run
#   BENCH_STORED    bets of the curve over the stored bets; 50000000 with goals and all, else 0
#   BENCH_WORKERS   one per CPU, at least 2
#   BENCH_DIR       directory for the storage; by default the build directory
#   BENCH_OUT       directory for the results; benches/results
#
# Redis and PostgreSQL are measured where they are installed (Debian: redis-server, postgresql).
set -eu

invocation=$(env | sed -n 's/^\(BENCH[A-Z_]*\)=\(.*\)/\1="\2"/p' | sort | tr '\n' ' ')
cd "$(dirname "$0")/.."

. scripts/programs.sh
sh scripts/need.sh cargo cc

: "${BENCH:=main}" "${BENCH_ROUNDS:=3}" "${BENCH_SECONDS:=2}" "${BENCH_OUT:=benches/results}"
case $BENCH in
goals | all) : "${BENCH_STORED:=50000000}" ;;
*) : "${BENCH_STORED:=0}" ;;
esac
cpus=$(nproc)
: "${BENCH_WORKERS:=$((cpus > 2 ? cpus : 2))}"

build server client lottery-bench
if [ "$BENCH" = list ]; then
    exec "$(program lottery-bench)" rows
fi

: "${BENCH_DIR:=$(dirname "$(program server)")}"
mkdir -p "$BENCH_DIR"
work=$(mktemp -d "$(cd "$BENCH_DIR" && pwd)/bench.XXXXXX")
cleanup() {
    # A server that is stopping may still write.
    rm -rf "$work" || { sleep 1 && rm -rf "$work"; }
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# PostgreSQL runs as its own user and must reach its files.
chmod 755 "$work"
mkdir "$work/bin"
cp "$(program server)" "$(program client)" "$(program lottery-bench)" "$work/bin"
cc -std=c11 -O2 -Wall -Wextra -o "$work/bin/bare_prefork" benches/bare_prefork.c

# shellcheck disable=SC2086 # BENCH contains several words
"$work/bin/lottery-bench" run $BENCH --rounds "$BENCH_ROUNDS" --seconds "$BENCH_SECONDS" \
    --stored "$BENCH_STORED" --workers "$BENCH_WORKERS" --command "${invocation}make bench" \
    --out "$BENCH_OUT" --programs "$work/bin" --sources "$PWD/benches" --work "$work"
