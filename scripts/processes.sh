# The processes that local.sh starts, remembered in .run/ so that exactly they are stopped later; to be sourced.

run=.run

# Prints when a process began, in ticks since the machine did; nothing when it has ended, waited for or not.
# A number that the system has given to another process since then comes with another time.
began() {
    # The name in parentheses may hold blanks, so the fields are counted after it: state is 1, start time is 20.
    # shellcheck disable=SC2046 # to be split
    set -- $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)
    [ "${1:-Z}" = Z ] || echo "${20}"
}

# remember NAME PID
remember() {
    echo "$2 $(began "$2")" >"$run/$1.pid"
}

# alive NAME: whether the process remembered by this name still runs; sets pid.
alive() {
    [ -f "$run/$1.pid" ] || return 1
    read -r pid time <"$run/$1.pid" || return 1
    [ -n "$time" ] && [ "$(began "$pid")" = "$time" ]
}

# stop NAME: TERM, then as long as the central may take for its own stop (8 s and 2 s), then KILL.
stop() {
    alive "$1" || return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    tenths=0
    while alive "$1"; do
        if [ "$tenths" -ge 120 ]; then
            echo "$1 ($pid) did not stop within 12 s and is killed" >&2
            kill -KILL "$pid" 2>/dev/null || return 0
            return 0
        fi
        sleep 0.1
        tenths=$((tenths + 1))
    done
}

# Stops every remembered process, agencies before the central, and removes what the run has left.
# Whoever is following the run sees by the file `stopping` that its end is not the run's own.
stop_all() {
    [ -d "$run" ] || return 0
    touch "$run/stopping"
    for file in "$run"/client*.pid "$run"/server.pid; do
        [ -f "$file" ] && stop "$(basename "$file" .pid)"
    done
    rm -rf "$run"
}
