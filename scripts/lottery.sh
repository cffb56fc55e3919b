# shellcheck shell=sh
# Builds the programs, and starts centrals and agencies as local processes with the settings of the
# environment; to be sourced, from the root of the checkout.
. scripts/processes.sh
. scripts/programs.sh

# The paths of the programs.
server=
client=

# Builds the programs, stops what an earlier run left, and makes Ctrl-C stop this one.
prepare_run() {
    sh scripts/need.sh cargo
    build server client
    server=$(program loteria-central)
    client=$(program loteria-agency)
    stop_all
    mkdir -p "$run"
    trap 'stop_all; exit 130' INT
    trap 'stop_all; exit 143' TERM
}

# no_central NAME REASON: prints why a central is not running, and exits.
no_central() {
    echo "the central $1 did not start: $2" >&2
    stop_all
    exit 1
}

# start_central NAME PORT: starts a central on loopback and waits until it is ready.
start_central() {
    SERVER_IP=127.0.0.1 SERVER_PORT=$2 "$server" run --config server/config.ini \
        </dev/null >/dev/null 2>"$run/$1.log" &
    central=$!
    remember "$1" "$central"
    tenths=0
    while sleep 0.1; do
        if ! alive "$1"; then
            code=0
            wait "$central" || code=$?
            [ "$code" -ne 5 ] || no_central "$1" "port $2 is taken; SERVER_PORT=12346 before the command uses another"
            no_central "$1" "exit code $code, $(tail -n 1 "$run/$1.log")"
        fi
        SERVER_IP=127.0.0.1 SERVER_PORT=$2 "$server" health --config server/config.ini >/dev/null 2>&1 && break
        tenths=$((tenths + 1))
        [ "$tenths" -lt 150 ] || no_central "$1" "not ready after 15 s, $(tail -n 1 "$run/$1.log")"
    done
}

# agency NUMBER ADDRESSES: runs one agency until it exits, and writes its exit code to a file.
agency() {
    CLI_ID=$1 CLI_SERVER_ADDRESS=$2 "$client" run --config client/config.yaml </dev/null 2>&1 &
    remember "client$1" "$!"
    code=0
    wait "$!" || code=$?
    echo "$code" >"$run/client$1.code"
}

# print_results NOTE NUMBER...: prints the results of these agencies, with the note after a number
# of winners. Fails if one of them failed.
print_results() {
    note=$1
    shift
    failed=0
    for number; do
        touch "$run/client$number.log"
        sh scripts/result.sh "client$number" "$(cat "$run/client$number.code")" "$note" <"$run/client$number.log" || failed=1
    done
    return "$failed"
}

# require_port: fails unless SERVER_PORT is a port that agencies can be given in advance.
require_port() {
    case $SERVER_PORT in
    '' | *[!0-9]* | 0)
        echo "SERVER_PORT is $SERVER_PORT: the demo needs a fixed port from 1 to 65535, such as 12345" >&2
        exit 2
        ;;
    esac
}

# require_dialect: fails unless PROTOCOL is empty or may be a dialect.
require_dialect() {
    case ${PROTOCOL:-} in
    *[!a-z0-9-]*)
        echo "PROTOCOL is $PROTOCOL, which is not a dialect (loteria-agency --help lists them)" >&2
        exit 2
        ;;
    esac
}

# require_run: fails if the run was stopped meanwhile.
require_run() {
    if [ ! -d "$run" ] || [ -e "$run/stopping" ]; then
        echo "stopped by make down" >&2
        exit 1
    fi
}
