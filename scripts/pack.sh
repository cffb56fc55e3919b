#!/bin/sh
# pack.sh CENTRAL AGENCY: builds the images server:latest and client:latest around these two static
# programs.
set -eu
cd "$(dirname "$0")/.."

mkdir -p dist
cp "$1" dist/loteria-central
cp "$2" dist/loteria-agency
for image in server client; do
    # Docker's own output, and its advice on builders, matter only when the build fails.
    if ! steps=$(docker build --file "$image/Dockerfile" --tag "$image:latest" . 2>&1); then
        printf '%s\n' "$steps" >&2
        exit 1
    fi
    echo "image $image:latest is built"
done
