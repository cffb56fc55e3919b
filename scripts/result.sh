#!/bin/sh
# result.sh NAME CODE [NOTE]: prints an agency's exit code and last result, read from its log on
# standard input, with the note after a number of winners. Fails if the agency failed.
set -eu

# A dialect without winners has no result, so the last line of the run is shown instead.
answer=$(awk -v note="${3:-}" '
    match($0, /action: consulta_ganadores.*/) { winners = substr($0, RSTART) note }
    match($0, /action: loop_finished.*/) { end = substr($0, RSTART) }
    END { print winners ? winners : end }')
printf '%-8s exit code %s   %s\n' "$1" "$2" "${answer:-no answer about the winners}"
[ "$2" -eq 0 ]
