#!/bin/sh
# Builds the two images, server:latest and client:latest, around static binaries that are put into dist/ first.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo rustc docker

target=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
case $target in
*-linux-*) ;;
*)
    echo "images need Linux programs and $target makes others: set CARGO_BUILD_TARGET to a Linux target" >&2
    exit 1
    ;;
esac

# The target is named even where it is the machine's own: without it the flag would also reach the macros that the
# compiler itself loads, and those cannot be static.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
    cargo build --release --quiet --target "$target" --package server --package client

mkdir -p dist
for program in server client; do
    cp "${CARGO_TARGET_DIR:-target}/$target/release/$program" "dist/$program"
    # Its steps, and its advice on builders, are of interest only when it fails.
    if ! steps=$(docker build --file "$program/Dockerfile" --tag "$program:latest" . 2>&1); then
        printf '%s\n' "$steps" >&2
        exit 1
    fi
    echo "image $program:latest is built"
done
