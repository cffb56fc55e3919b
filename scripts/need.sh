#!/bin/sh
# need.sh TOOL...: fails with one line that names the first missing tool and how to get it.
set -eu

for tool; do
    command -v "$tool" >/dev/null 2>&1 && continue
    case $tool in
    cargo | rustc) how="install Rust from https://rustup.rs" ;;
    docker) how="install Docker Engine from https://docs.docker.com/engine/install/" ;;
    ipcs | lsipc) how="install the package util-linux" ;;
    *) how="install it with the system's package manager" ;;
    esac
    echo "missing tool: $tool; to get it: $how" >&2
    exit 1
done
