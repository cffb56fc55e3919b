#!/bin/sh
# postgres.sh start DIRECTORY: starts a PostgreSQL server for tests with its data in DIRECTORY,
# which must not exist, and prints its URL.
# postgres.sh stop DIRECTORY: ends it and removes DIRECTORY.
# postgres.sh installed: fails with one line if PostgreSQL 14 or later is not installed.
# The server listens on 127.0.0.1 only. It syncs to disk, like a server in use.
set -eu

usage="usage: postgres.sh start|stop DIRECTORY, or postgres.sh installed"
command=${1:?$usage}

# Debian keeps the programs of each version in a directory of its own.
bin=$(command -v initdb || find /usr/lib/postgresql -path "*/bin/initdb" 2>/dev/null | sort -V | tail -1)
# `initdb --version` prints "initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
version=$([ -z "$bin" ] || "$bin" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
if [ "${version:-0}" -lt 14 ]; then
    echo "missing: PostgreSQL 14 or later; to get it: install Debian's package postgresql" >&2
    exit 1
fi
[ "$command" != installed ] || exit 0
directory=${2:?$usage}
bin=$(dirname "$bin")

# The server refuses to run as root.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

case $command in
start)
    mkdir -m 755 "$directory"
    [ "$(id -u)" -ne 0 ] || chown postgres: "$directory"
    cd "$directory"
    # The server asks for the password, so that tests cover SCRAM.
    echo lottery | as_owner tee "$directory/password" >/dev/null
    as_owner "$bin/initdb" --pgdata "$directory/data" --username lottery --auth scram-sha-256 \
        --pwfile "$directory/password" --encoding UTF8 --locale C.UTF-8 >"$directory/initdb.log" 2>&1 ||
        { cat "$directory/initdb.log" >&2; exit 1; }
    # The kernel may give a free port to another program before the server has it.
    for _ in 1 2 3 4 5; do
        port=$(shuf -i 20000-29999 -n 1)
        options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300"
        if as_owner "$bin/pg_ctl" --pgdata "$directory/data" --log "$directory/log" --wait \
            --options "$options" start >/dev/null 2>&1; then
            echo "postgres://lottery:lottery@127.0.0.1:$port/postgres"
            exit
        fi
    done
    cat "$directory/log" >&2
    exit 1
    ;;
stop)
    cd /
    as_owner "$bin/pg_ctl" --pgdata "$directory/data" --mode immediate stop >/dev/null || true
    rm -rf "$directory"
    ;;
*)
    echo "$usage" >&2
    exit 2
    ;;
esac
