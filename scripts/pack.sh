#!/bin/sh
# pack.sh SERVER CLIENT: builds the images server:latest and client:latest around these two static
# programs.
set -eu
cd "$(dirname "$0")/.."

mkdir -p dist
for program in server client; do
    cp "$1" "dist/$program"
    shift
    # Docker's own output, and its advice on builders, matter only when the build fails.
    if ! steps=$(docker build --file "$program/Dockerfile" --tag "$program:latest" . 2>&1); then
        printf '%s\n' "$steps" >&2
        exit 1
    fi
    echo "image $program:latest is built"
done
