#!/bin/sh
# result.sh NAME CODE: prints what an agency came to, from its log on standard input; fails when the agency did.
set -eu

# What it learnt last; in a dialect without winners, that it came to its end.
answer=$(awk '
    match($0, /action: consulta_ganadores.*/) { winners = substr($0, RSTART) }
    match($0, /action: loop_finished.*/) { end = substr($0, RSTART) }
    END { print winners ? winners : end }')
printf '%-8s exit code %s   %s\n' "$1" "$2" "${answer:-no answer about the winners}"
[ "$2" -eq 0 ]
