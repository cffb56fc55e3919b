#!/bin/sh
# documents.sh DIR PROGRAM...: writes the manual pages and the completion scripts of programs to
# DIR/man and DIR/completions. The programs print them.
set -eu

directory=$1
shift
mkdir -p "$directory/man" "$directory/completions"
for program; do
    name=$(basename "$program")
    "$program" man >"$directory/man/$name.1"
    commands=$(sed -n "s/^$(echo "$name" | sed 's/-/\\\\-/g')\\\\-\([a-z]*\)(1)\$/\1/p" "$directory/man/$name.1")
    for command in $commands; do
        # clap has no page for its own command.
        [ "$command" = help ] || "$program" man "$command" >"$directory/man/$name-$command.1"
    done
    for shell in bash zsh fish; do
        "$program" completions "$shell" >"$directory/completions/$name.$shell"
    done
done
