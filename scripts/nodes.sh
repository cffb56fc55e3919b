#!/bin/sh
# The machines of `make drill`: db1, db2 and db3 run PostgreSQL, Patroni and etcd, and central1,
# central2 and central3 run a central each. drill.sh calls it in namespaces of its own, so the
# machines end when these namespaces end.
#
# A machine is a process that is the first one of its own namespaces of processes, network and
# mounts. A cable connects it to a bridge, where the agencies are.
#
# nodes.sh bridge          creates the bridge
# nodes.sh start MACHINE   starts a machine, with the data that it has
# nodes.sh kill MACHINE    SIGKILL of all its processes at once; its connections are reset
# nodes.sh freeze MACHINE  SIGSTOP of all its processes; thaw ends it
# nodes.sh cut MACHINE     pulls its cable; its packets are lost silently; join ends it
# nodes.sh lead MACHINE    makes its etcd the leader of the others
# nodes.sh primary         prints the machine whose PostgreSQL accepts writes; fails without one
# nodes.sh healthy         succeeds if the primary has two standbys that may confirm a commit
# nodes.sh sql TEXT [DATABASE]   executes SQL at the primary
#
# NODES is the directory of all data, VENV that of Patroni. A central gets its settings from the
# environment of `nodes.sh start`.
set -eu

network=10.75.74
bin=$(dirname "$(find /usr/lib/postgresql -path '*/bin/initdb' | sort -V | tail -1)")
primary="host=$network.11,$network.12,$network.13 user=postgres password=postgres
    target_session_attrs=read-write connect_timeout=5"

# address MACHINE
address() {
    case $1 in
    db[123]) echo "$network.1${1#db}" ;;
    central[123]) echo "$network.2${1#central}" ;;
    *)
        echo "$1 is not a machine" >&2
        exit 2
        ;;
    esac
}

# members FORMAT: prints the format for the machines 1, 2 and 3, separated by commas.
members() {
    for number in 1 2 3; do
        # shellcheck disable=SC2059 # the caller's format
        printf "$1," "$number" "$number"
    done | sed 's/,$//'
}

start() {
    machine=$1
    mkdir -p "$NODES/$machine"
    unshare --net --pid --mount --mount-proc --fork --kill-child \
        sh "$0" machine "$machine" </dev/null >>"$NODES/$machine/log" 2>&1 &
    until first=$(pgrep -P $!); do sleep 0.02; done
    echo "$first" >"$NODES/$machine/pid"
    until [ "$(readlink "/proc/$first/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    # The kernel removes the cable of a machine that has ended, but not at once.
    ip link delete "$machine" 2>/dev/null || true
    ip link add "$machine" type veth peer name cable netns "$first"
    ip link set "$machine" master bridge up
    nsenter --net --target "$first" ip link set lo up
    nsenter --net --target "$first" ip address add "$(address "$machine")/24" dev cable
    nsenter --net --target "$first" ip link set cable up
}

# processes MACHINE: prints the ids of all its processes.
processes() {
    namespace=$(readlink "/proc/$(cat "$NODES/$1/pid")/ns/pid") || return 0
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/pid")" != "$namespace" ] || echo "${process#/proc/}"
    done
}

# Runs in the namespaces of the machine.
machine() {
    until ip -4 address show dev cable up 2>/dev/null | grep -q inet; do sleep 0.05; done
    # A central and PostgreSQL have shared memory in files here.
    mount -t tmpfs tmpfs /dev/shm
    case $1 in
    central*) exec "$CENTRAL" run ;;
    esac
    data=$NODES/$1
    chown postgres: "$data"
    configuration "$1" >"$data/patroni.yml"
    # Restarts what ends, as the service manager of a machine does. With a pre-vote, a member that
    # was cut off does not disturb the others when it is back.
    keep_running etcd --name "$1" --data-dir "$data/etcd" --log-level error --pre-vote --enable-v2 \
        --heartbeat-interval 200 --election-timeout 2000 \
        --listen-client-urls "http://$(address "$1"):2379" \
        --advertise-client-urls "http://$(address "$1"):2379" \
        --listen-peer-urls "http://$(address "$1"):2380" \
        --initial-advertise-peer-urls "http://$(address "$1"):2380" \
        --initial-cluster "$(members "db%d=http://$network.1%d:2380")" --initial-cluster-state new &
    keep_running "$VENV/bin/patroni" "$data/patroni.yml" &
    wait
}

keep_running() {
    while :; do
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@" || true
        sleep 1
    done
}

# configuration MACHINE: prints the configuration of Patroni.
configuration() {
    cat <<END
scope: lottery
name: $1
restapi: {listen: "$(address "$1"):8008", connect_address: "$(address "$1"):8008"}
# Not etcd3: a leader of etcd 3.4.23 that was frozen revokes the leases of others when it goes on.
# Then an old primary takes its role back, and what the new one has acknowledged is lost. Keys of
# version 2 have no leases.
etcd: {hosts: "$(members "$network.1%.0s%d:2379")"}
bootstrap:
  dcs:
    # The shortest ttl that Patroni accepts: a primary that is gone is replaced after at most that
    # time. loop_wait + 2 * retry_timeout must not exceed it. A primary that cannot reach etcd for
    # retry_timeout gives up its role, so that has to be longer than an election of etcd.
    ttl: 20
    loop_wait: 2
    retry_timeout: 8
    # A standby that lags may not become the primary.
    maximum_lag_on_failover: 0
    # A commit waits for one of the two standbys, and without any standby it waits for one to come.
    synchronous_mode: quorum
    synchronous_mode_strict: true
    synchronous_node_count: 1
    # A primary that has crashed is replaced instead of waiting for its recovery.
    primary_start_timeout: 0
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 100
        synchronous_commit: "on"
        # A primary that was away needs the log since then to join again.
        wal_keep_size: 1GB
        wal_log_hints: "on"
        jit: "off"
  initdb: [{encoding: UTF8}, {locale: C.UTF-8}, data-checksums, {auth-host: scram-sha-256}]
postgresql:
  listen: "$(address "$1"):5432"
  connect_address: "$(address "$1"):5432"
  data_dir: $NODES/$1/data
  bin_dir: $bin
  pgpass: $NODES/$1/pgpass
  # The base backup of a new standby does not wait for the next checkpoint.
  basebackup: [{checkpoint: fast}]
  parameters: {unix_socket_directories: "", password_encryption: scram-sha-256}
  pg_hba:
    - host all all $network.0/24 scram-sha-256
    - host replication replicator $network.0/24 scram-sha-256
  authentication:
    superuser: {username: postgres, password: postgres}
    replication: {username: replicator, password: replicator}
END
}

command=${1:?"usage: see the beginning of nodes.sh"}
shift
case $command in
bridge)
    ip link set lo up
    ip link add bridge type bridge
    ip address add "$network.1/24" dev bridge
    ip link set bridge up
    ;;
start) start "$1" ;;
machine) machine "$1" ;;
kill) kill -KILL "$(cat "$NODES/$1/pid")" ;;
freeze)
    # A process may fork before it is stopped.
    for _ in 1 2 3; do
        # shellcheck disable=SC2046 # several ids
        kill -STOP $(processes "$1") 2>/dev/null || true
    done
    ;;
thaw)
    # shellcheck disable=SC2046 # several ids
    kill -CONT $(processes "$1")
    ;;
lead)
    # The columns of the status: address, member, version, size, true for the leader, and others.
    status=$(ETCDCTL_API=3 etcdctl --endpoints "http://$(address "$1"):2379" endpoint status)
    case $status in
    *", true, "*) ;;
    *)
        member=$(echo "$status" | cut -d , -f 2)
        endpoints=$(members "http://$network.1%.0s%d:2379")
        ETCDCTL_API=3 etcdctl --endpoints "$endpoints" move-leader "${member# }"
        ;;
    esac
    ;;
cut) ip link set "$1" nomaster ;;
join) ip link set "$1" master bridge ;;
primary)
    host=$(psql "$primary dbname=postgres" -XAtc 'SELECT host(inet_server_addr())')
    echo "db${host#"$network".1}"
    ;;
healthy)
    streaming="FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'"
    [ "$(psql "$primary dbname=postgres" -XAtc "SELECT count(*) $streaming")" = 2 ]
    ;;
sql) psql "$primary dbname=${2:-postgres}" -XAtqc "$1" ;;
*)
    echo "nodes.sh: unknown command $command" >&2
    exit 2
    ;;
esac
