# shellcheck shell=sh
# Records the processes that local.sh and cluster.sh start in .run/, so that exactly these are
# stopped later; to be sourced.

run=.run

# Prints the start time of a process in ticks since boot, or nothing if it has exited, even if it
# is a zombie. A pid that the system has reused has another start time.
began() {
    # The name in parentheses may contain spaces. After it, the state is field 1 and the start time
    # field 20.
    # shellcheck disable=SC2046 # several words
    set -- $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)
    [ "${1:-Z}" = Z ] || echo "${20}"
}

# remember NAME PID
remember() {
    echo "$2 $(began "$2")" >"$run/$1.pid"
}

# alive NAME: succeeds if the process recorded under this name still runs; sets pid.
alive() {
    [ -f "$run/$1.pid" ] || return 1
    read -r pid time <"$run/$1.pid" || return 1
    [ -n "$time" ] && [ "$(began "$pid")" = "$time" ]
}

# stop NAME: sends TERM, waits longer than the central's own stop may take (8 s and 2 s), then
# sends KILL.
stop() {
    alive "$1" || return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    tenths=0
    while alive "$1"; do
        if [ "$tenths" -ge 120 ]; then
            echo "$1 ($pid) did not stop within 12 s: killing it" >&2
            kill -KILL "$pid" 2>/dev/null || return 0
            return 0
        fi
        sleep 0.1
        tenths=$((tenths + 1))
    done
}

# Stops every recorded process, agencies before centrals and these before PostgreSQL, and removes
# what the run left. From the file `stopping`, a script that follows the run sees that it was
# stopped.
stop_all() {
    [ -d "$run" ] || return 0
    touch "$run/stopping"
    for file in "$run"/client*.pid "$run"/server*.pid; do
        [ -f "$file" ] && stop "$(basename "$file" .pid)"
    done
    # The file has the path of its data.
    if [ -f "$run/postgres" ]; then
        sh scripts/postgres.sh stop "$(cat "$run/postgres")/postgres"
        rm -rf "$(cat "$run/postgres")"
    fi
    rm -rf "$run"
}
