#!/bin/sh
# Runs three centrals on three nodes of PostgreSQL under Patroni and etcd, each machine in
# namespaces of its own, and makes machines fail under load. Prints what was lost and for how long
# nothing was acknowledged. DRILL selects failures by words of their names.
#
# The namespaces are in others that end with this script, so that no process, address or mount is
# left, whatever ends it.
set -eu
cd "$(dirname "$0")/.."

# missing WHAT HOW: prints what this machine lacks and how to get it, and exits.
missing() {
    echo "missing: $1; to get it: $2" >&2
    exit 1
}

# Patroni needs a directory that the user postgres can read.
VENV=${DRILL_VENV:-/var/cache/lottery-drill}
[ "$(id -u)" -eq 0 ] || missing root "run make drill as root, which creates namespaces"
sh scripts/need.sh cargo cc
sh scripts/postgres.sh installed
for tool in psql:postgresql-client etcd:etcd-server etcdctl:etcd-client ip:iproute2 unshare:util-linux \
    setpriv:util-linux nsenter:util-linux pgrep:procps; do
    command -v "${tool%:*}" >/dev/null || missing "${tool%:*}" "install Debian's package ${tool#*:}"
done
[ -x "$VENV/bin/patroni" ] || missing Patroni "/usr/bin/python3 -m venv $VENV && $VENV/bin/pip install 'patroni[etcd3]==4.1.5' psycopg2-binary"
unshare --net --mount --pid --fork true || missing "the right to create namespaces" "run make drill outside of a container, or in a privileged one"

echo "building the tests: about 2 minutes the first time, seconds after that" >&2
cargo test --locked --package server --test server --no-run

NODES=$(mktemp -d)
# PostgreSQL and etcd run as another user.
chmod 711 "$NODES"
export NODES VENV
namespaces=
code=0
# shellcheck disable=SC2317,SC2329 # called by the trap
finish() {
    # --kill-child ends everything in the namespaces with it.
    [ -z "$namespaces" ] || kill -KILL "$namespaces" 2>/dev/null || true
    if [ "$code" -ne 0 ]; then
        mkdir -p target/drill
        for log in "$NODES"/*/log; do
            cp "$log" "target/drill/$(basename "$(dirname "$log")").log" 2>/dev/null || true
        done
        echo "the logs of the machines are in target/drill" >&2
    fi
    # The processes may write until they have ended.
    until rm -rf "$NODES" 2>/dev/null; do sleep 0.1; done
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A script that is killed does not run its trap, but its death ends the namespaces too.
setpriv --pdeathsig KILL unshare --net --mount --pid --mount-proc --fork --kill-child \
    cargo test --locked --package server --test server -- --ignored --exact --nocapture \
    drill::whichever_machine_fails_nothing_acknowledged_is_lost_or_stored_twice &
namespaces=$!
wait "$namespaces" || code=$?
namespaces=
exit "$code"
