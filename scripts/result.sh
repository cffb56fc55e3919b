#!/bin/sh
# result.sh NAME CODE: prints what an agency came to, from its log on standard input; fails when the agency did.
set -eu

answer=$(sed -n 's/.*\(action: consulta_ganadores.*\)/\1/p' | tail -n 1)
printf '%-8s exit code %s   %s\n' "$1" "$2" "${answer:-no answer about the winners}"
[ "$2" -eq 0 ]
