#!/bin/sh
# Checks that source files have at most 400 lines and tests at most 600, so that each file keeps to
# one subject. Prints the longer files and fails if there are any.
set -eu
cd "$(dirname "$0")/.."

long=$(git ls-files --cached --others --exclude-standard '*.rs' | while IFS= read -r file; do
    [ -f "$file" ] || continue
    case $file in
    */tests/*) limit=600 ;;
    *) limit=400 ;;
    esac
    lines=$(wc -l <"$file")
    [ "$lines" -le "$limit" ] || echo "$file: $lines lines, the limit is $limit"
done)
[ -z "$long" ] || {
    printf '%s\n' "$long"
    exit 1
}
